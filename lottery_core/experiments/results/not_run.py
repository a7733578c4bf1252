"""Rows of runs that were left out at the floor: the counts of the tickets that they would have had, and no score."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, replace

from lottery_core.errors import LotteryError
from lottery_core.experiments.configuration import Experiment
from lottery_core.experiments.graph import Run, paths
from lottery_core.experiments.graph import dense as dense_of
from lottery_core.experiments.results.row import Row
from lottery_core.files import write_json
from lottery_core.pruning import CONTROLS, GRADIENT, GRADUALLY, IN_TRAINING, TRANSFERS, WINNING, of_values_alone
from lottery_core.tickets import Weights

AT_FLOOR = "at the floor"


def write_not_run(experiment: Experiment, run: Run, dense: Row) -> None:
    """Record that a run was left out at the floor; a later command that does not leave it out removes the record.

    :param experiment: the configuration
    :param run: the run
    :param dense: row of the dense run of its repeat
    :raises WriteError: the record cannot be written
    """
    row = replace(
        dense,
        kind=run.kind,
        round=run.round,
        noise=run.noise,
        not_run=AT_FLOOR,
        ticket="",
        networks="",
        criterion=_criterion(experiment, run.kind),
        gradual=experiment.gradual if run.kind == GRADUALLY else "",
        score=math.nan,
        score_se=math.nan,
        returns=0,
        steps=0,
        wall_seconds=0.0,
        cpu_seconds=0.0,
        eval_score=None,
        eval_se=None,
        eval_episodes=0,
        rewind_steps=None,
        more={},
    )
    row = _transferred(experiment, row) or _with_survivors(row, experiment.survivors(row.pool, run.round))
    write_json(experiment.out / run.folder / paths.NOT_RUN, {"configuration": experiment.digest(), **asdict(row)})


def _transferred(experiment: Experiment, row: Row) -> Row | None:
    # With the counts of the other experiment's ticket; None for any other kind, or if its files cannot be read.
    source = experiment.tickets_from
    if row.kind not in TRANSFERS or source is None:
        return None
    try:
        weights = Weights.load(experiment.out / dense_of(row.seed).folder / paths.INIT)
        ticket = source.load(row.run)
        found, survivors = source.kept(ticket.masks, row.round, weights, experiment.scope, experiment.survivors)
    except LotteryError:
        return None
    pruned_here = found.alone and not source.leaves_dense
    criterion = experiment.criterion if pruned_here else ticket.origin.criterion
    row = replace(row, carried=found.carried, unmatched=source.unmatched, criterion=criterion)
    return _with_survivors(row, survivors)


def _criterion(experiment: Experiment, kind: str) -> str:
    # As in the ticket of such a kind.
    if kind in IN_TRAINING and IN_TRAINING[kind].by_gradient:
        return GRADIENT
    ranks = kind in IN_TRAINING or (kind in CONTROLS and CONTROLS[kind].ranks)
    return of_values_alone(experiment.criterion).name if ranks else experiment.criterion


def _with_survivors(row: Row, survivors: int) -> Row:
    pruned = row.pool - survivors
    return replace(
        row,
        pruned=pruned,
        pruned_fraction=pruned / row.pool,
        surviving=survivors,
        surviving_fraction=survivors / row.pool,
    )


def at_their_levels(rows: Iterable[Row]) -> list[Row]:
    """Return rows in which runs that were left out have the counts of their round, where another kind has trained it.

    Tickets of whole units keep the schedule's number only to within one unit. A control keeps as many as the winning
    ticket of its round, which may have been found after the control was left out.

    :param rows: rows of one experiment
    """
    rows = list(rows)
    if not any(row.not_run for row in rows):
        return rows
    levels: dict[tuple[int, int, bool], Row] = {}
    for row in sorted(rows, key=lambda row: (row.kind != WINNING, row.kind not in CONTROLS)):
        if not row.not_run:
            levels.setdefault(_level(row), row)
    return [_like(row, levels.get(_level(row))) if row.not_run else row for row in rows]


def _level(row: Row) -> tuple[int, int, bool]:
    # Masks of another experiment keep other shares.
    return row.seed, row.round, row.kind in TRANSFERS


def _like(row: Row, other: Row | None) -> Row:
    if other is None or other.pool != row.pool:
        return row
    if other.kind in TRANSFERS:  # both have the masks of one ticket
        row = replace(row, carried=other.carried, unmatched=other.unmatched, criterion=other.criterion)
    return _with_survivors(row, other.surviving)
