"""Lottery tasks: a mix-in that turns any fairseq task into one that trains tickets, and the registered tasks."""

from fairseq_lottery.task.beginning import Beginning, require_schedule
from fairseq_lottery.task.checks import require_first_update, settle_layers
from fairseq_lottery.task.pruning import length_of
from fairseq_lottery.task.register import lottery_task
from fairseq_lottery.task.rewind_point import RewindPoint, parse_rewind
from fairseq_lottery.task.task import LotteryTask

__all__ = [
    "Beginning",
    "LotteryTask",
    "RewindPoint",
    "length_of",
    "lottery_task",
    "parse_rewind",
    "require_first_update",
    "require_schedule",
    "settle_layers",
]
