"""Training of agents and tickets: the callback for any script, and the runs of an experiment with their scores."""

from sb3_lottery.training.callback import LotteryCallback
from sb3_lottery.training.checks import check_model, check_points, early_rewind, first_update, whole_rollouts
from sb3_lottery.training.episodes import NO_MONITOR, check_returns, is_monitored, standard_error
from sb3_lottery.training.evaluation import EVALUATION, SCORES, TRAINING, Evaluation, FreshEnv, Watch, refuse_endless
from sb3_lottery.training.fingerprint import describe_model
from sb3_lottery.training.framework import Sb3, all_versions, score_label
from sb3_lottery.training.in_process import (
    InProcess,
    MakeCallbacks,
    MakeModel,
    call_callbacks,
    call_make_model,
    check_another,
    references_to,
)
from sb3_lottery.training.pruner import check_room
from sb3_lottery.training.recorder import new_statistics
from sb3_lottery.training.run_settings import RunSettings, saved_model
from sb3_lottery.training.spec import UNITS, TrainingSpec, parse_rewind, spec_of_length
from sb3_lottery.training.train import MODEL, NORMALIZE, train_run

__all__ = [
    "EVALUATION",
    "Evaluation",
    "FreshEnv",
    "InProcess",
    "LotteryCallback",
    "MODEL",
    "MakeCallbacks",
    "MakeModel",
    "NORMALIZE",
    "NO_MONITOR",
    "RunSettings",
    "SCORES",
    "Sb3",
    "TRAINING",
    "TrainingSpec",
    "UNITS",
    "Watch",
    "all_versions",
    "call_callbacks",
    "call_make_model",
    "check_another",
    "check_model",
    "check_points",
    "check_returns",
    "check_room",
    "describe_model",
    "early_rewind",
    "first_update",
    "is_monitored",
    "new_statistics",
    "parse_rewind",
    "references_to",
    "refuse_endless",
    "saved_model",
    "score_label",
    "spec_of_length",
    "standard_error",
    "train_run",
    "whole_rollouts",
]
