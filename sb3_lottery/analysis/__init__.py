"""Analysis of finished runs: show or record the agent, and list the inputs that its ticket still reads."""

from sb3_lottery.analysis.finished_run import FinishedRun
from sb3_lottery.analysis.inputs import feature_names, input_features, ticket_inputs
from sb3_lottery.analysis.play import play_episodes

__all__ = ["FinishedRun", "feature_names", "input_features", "play_episodes", "ticket_inputs"]
