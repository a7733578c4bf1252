"""The runs of a stability probe: a dense run, and from each candidate point two copies and the line between them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from lottery_core.experiments.graph.plan import COPY, LINE, Run, dense, plan_runs
from lottery_core.pruning import WINNING

COPIES = 2  # their round is the number of the point, from 1


def plan_probe(seeds: Iterable[int], points: int) -> list[Run]:
    """Return the runs of a probe, each after those that it needs.

    :param seeds: the seeds of the repeats
    :param points: number of candidate points
    :raises ConfigError: there is no seed, or a seed or the number of points is out of range
    """
    runs = []
    for first in plan_runs([WINNING], seeds, 0):
        runs.append(first)
        for number in range(1, points + 1):
            copy = Run(first.seed, COPY, number)
            runs += [replace(copy, noise=noise) for noise in range(1, COPIES + 1)]
            runs.append(Run(first.seed, LINE, number))
    return runs


def probe_needs(run: Run) -> list[Run]:
    """Return the runs that must be done before a run of a probe can start.

    :param run: the run
    """
    if run.kind == LINE:
        return [dense(run.seed), *copies(run)]
    return [dense(run.seed)] if run.kind == COPY else []


def copies(run: Run) -> list[Run]:
    """Return the copies between whose ends a line runs.

    :param run: the run of the line
    """
    return [Run(run.seed, COPY, run.round, noise) for noise in range(1, COPIES + 1)]


def start_folder(run: Run) -> Path:
    """Return the folder, within the experiment's, of the weights that a ticket is rewound to.

    :param run: a run; a copy starts from its own point
    """
    folder = dense(run.seed).folder
    return point_folder(folder, run.round) if run.kind == COPY else folder


def point_folder(folder: Path, number: int) -> Path:
    """Return the folder in which a dense run keeps its weights at a candidate point.

    :param folder: the dense run's folder
    :param number: number of the point, from 1
    """
    return folder / f"point-{number:02d}"
