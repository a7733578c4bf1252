"""sb3_lottery.analysis."""

from sb3_lottery.analysis.finished_run import Finished
from sb3_lottery.analysis.inputs import feature_names, input_features
from sb3_lottery.analysis.play import play

__all__ = ["Finished", "feature_names", "input_features", "play"]
