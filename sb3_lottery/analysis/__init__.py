"""Analysis: show or record the agent of a run, list the inputs that its ticket reads, measure the floor of a game."""

from sb3_lottery.analysis.finished_run import FinishedRun
from sb3_lottery.analysis.floor import floor
from sb3_lottery.analysis.inputs import feature_names, input_features, ticket_inputs
from sb3_lottery.analysis.line import EPISODES, score_line_of
from sb3_lottery.analysis.play import play_episodes
from sb3_lottery.analysis.trust import require_own_experiment

__all__ = [
    "EPISODES",
    "FinishedRun",
    "feature_names",
    "floor",
    "input_features",
    "play_episodes",
    "require_own_experiment",
    "score_line_of",
    "ticket_inputs",
]
