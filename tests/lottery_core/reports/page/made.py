"""Experiments that are written in a moment: rows, tickets and learning curves without any training."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lottery_core import Masks, Ticket
from lottery_core.experiments import Experiment, paths
from lottery_core.experiments.graph.plan import Run
from lottery_core.experiments.results import Row, read_rows, write_csv, write_marker
from lottery_core.files import CurveFile, CurvePoint, write_json
from lottery_core.pruning import DENSE, schedule
from lottery_core.tickets import Origin

LAYERS = {"0.weight": (16, 4), "0.bias": (16,), "2.weight": (16, 16), "2.bias": (16,), "4.weight": (2, 16)}


def write_experiment(
    out: Path,
    kinds: Sequence[str] = ("winning", "random"),
    seeds: Sequence[int] = (1, 2, 3),
    rounds: int = 3,
    done: int | None = None,
    curve: int = 5,
    **changes: Any,
) -> list[Row]:
    """Write an experiment as its runs would have left it.

    :param out: its folder
    :param kinds: kinds of ticket
    :param seeds: seeds
    :param rounds: rounds
    :param done: how many runs are finished; ``None`` is all
    :param curve: points of each learning curve
    :param changes: other settings of the experiment
    :returns: the rows
    """
    options: dict[str, Any] = {"framework": "toy", "settings": {"lr": 0.01}, "prune_rate": 0.4, "rewind": "updates:5"}
    experiment = Experiment(out, kinds=tuple(kinds), seeds=tuple(seeds), rounds=rounds, **{**options, **changes})
    experiment.write()
    plan = experiment.plan()
    for run in plan[:done]:
        _write_run(experiment, run, curve)
    rows = read_rows(out, experiment) if done != 0 else []
    write_csv(out / paths.RESULTS, rows)
    return rows


def _write_run(experiment: Experiment, run: Run, curve: int) -> None:
    folder = experiment.out / run.folder
    chance = random.Random(f"{run}")
    pool = sum(torch.Size(shape).numel() for shape in LAYERS.values())
    left = schedule(pool, experiment.prune_rate, run.round)[run.round]
    score = 200 - chance.random() * 10 * (1 + run.round * (4 if run.kind == "random" else 1))
    digest, collapsed = "", ()
    write_json(folder / paths.STARTED, {})
    if run.kind != DENSE:
        ticket = _ticket(run, left, pool)
        ticket.save(folder / paths.TICKET)
        digest, collapsed = ticket.digest, tuple(ticket.masks.collapsed())
    file = CurveFile(folder / paths.LEARNING)
    for epoch in range(1, curve + 1):
        file.add(CurvePoint(epoch, 100 * epoch, score * epoch / curve))
    file.write()
    row = Row(
        *(experiment.name, run.seed, run.kind, run.round, pool, pool - left, left, 1 - left / pool, left / pool),
        *(score, chance.random(), 100, 100 * curve, 60 * chance.random(), 50 * chance.random(), collapsed, digest),
        " ".join(f"{name}={version}" for name, version in sorted(experiment.versions.items())),
    )
    write_marker(folder, row, experiment)


def _ticket(run: Run, left: int, pool: int) -> Ticket:
    # A seed's chain is nested; a random ticket keeps other places.
    own = "shuffled" if run.kind in ("random", "shuffled", "uniform") else "chain"
    generator = torch.Generator().manual_seed(run.seed * 1000 + (run.round if own == "shuffled" else 0))
    flat = torch.zeros(pool, dtype=torch.bool)
    flat[torch.randperm(pool, generator=generator)[:left]] = True
    masks, start = {}, 0
    for name, shape in LAYERS.items():
        size = torch.Size(shape).numel()
        masks[name] = flat[start : start + size].reshape(shape)
        start += size
    weights = {name: torch.ones(shape) for name, shape in LAYERS.items()}
    return Ticket.of(Masks(masks), weights, Origin(kind=run.kind, round=run.round, seed=run.seed))
