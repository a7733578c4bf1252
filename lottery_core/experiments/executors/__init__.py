"""Train runs as processes on this machine, or as jobs of a Slurm cluster.

A plugin's command adds :func:`add_executor_options` to its parser and gets its executor from :func:`make_executor`.
"""

from lottery_core.experiments.executors.gpus import cores, hide_gpus, shares, visible_gpus
from lottery_core.experiments.executors.local import Processes, die_with
from lottery_core.experiments.executors.options import (
    SLURM,
    add_executor_options,
    gpus_of_a_job,
    make_executor,
    nodes_of_a_job,
    tasks_of_a_job,
)
from lottery_core.experiments.executors.slurm_queue import Queue, require_slurm, slurm_options

__all__ = [
    "Processes",
    "Queue",
    "SLURM",
    "add_executor_options",
    "cores",
    "die_with",
    "gpus_of_a_job",
    "hide_gpus",
    "make_executor",
    "nodes_of_a_job",
    "require_slurm",
    "shares",
    "slurm_options",
    "tasks_of_a_job",
    "visible_gpus",
]
