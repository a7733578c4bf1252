"""sb3_lottery.training."""

from sb3_lottery.training.callback import LotteryCallback
from sb3_lottery.training.checks import check_model
from sb3_lottery.training.evaluation import Evaluation, evaluation_of
from sb3_lottery.training.fingerprint import describe_model
from sb3_lottery.training.framework import Sb3, all_versions, score_label
from sb3_lottery.training.spec import UNITS, TrainingSpec, rewind_of
from sb3_lottery.training.train import MODEL, NORMALIZE, train_run

__all__ = [
    "Evaluation",
    "LotteryCallback",
    "MODEL",
    "NORMALIZE",
    "Sb3",
    "TrainingSpec",
    "UNITS",
    "all_versions",
    "check_model",
    "describe_model",
    "evaluation_of",
    "rewind_of",
    "score_label",
    "train_run",
]
