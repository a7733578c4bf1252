"""lottery_core.experiments.executors."""

from lottery_core.experiments.executors.gpus import shares, visible_gpus
from lottery_core.experiments.executors.local import die_with
from lottery_core.experiments.executors.options import (
    SLURM,
    add_executor_options,
    executor,
    gpus_of_a_job,
    nodes_of_a_job,
)
from lottery_core.experiments.executors.slurm_queue import Queue

__all__ = [
    "Queue",
    "SLURM",
    "add_executor_options",
    "die_with",
    "executor",
    "gpus_of_a_job",
    "nodes_of_a_job",
    "shares",
    "visible_gpus",
]
