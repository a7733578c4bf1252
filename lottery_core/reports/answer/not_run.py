"""Levels without a score of their own: not run, at the floor, or the best of draws that are not all finished."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from lottery_core.experiments import BOUND, Row
from lottery_core.files import counted
from lottery_core.pruning import DENSE, FLOOR
from lottery_core.reports.answer.curves import finished_draws, usual_sign


def measured(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of runs that were trained."""
    return [row for row in rows if not row.not_run]


def filled(rows: Sequence[Row], share: float = 0.0, sign: float | None = None, score: float | None = None) -> list[Row]:
    """Give the levels that were not run a score near the floor, so that no mean is taken over the other seeds alone.

    Tickets that are the best of several draws are left out until all of these have finished.

    :param rows: rows of one experiment, with the floor's
    :param share: share of the distance from the floor to the dense score of the seed; 0 is the floor itself
    :param sign: 1 where higher scores are better, -1 where lower ones are; ``None``: as usual for their label
    :param score: the score that they get instead, in all seeds alike
    :returns: the rows; levels are left out if the floor or the dense score of their seed is missing, or if that score
        is no better than the floor, so that nothing is known of them: an earlier command may have left them out
    """
    bounds = _bounds(rows, share, usual_sign(rows) if sign is None else sign)
    return [
        replace(row, score=bounds[row.seed] if score is None else score) if row.not_run else row
        for row in finished_draws(rows)
        if not row.not_run or row.seed in bounds
    ]


def worst_at_floor(rows: Sequence[Row], sign: float) -> tuple[float, bool]:
    """Return the worst score that levels at the floor have: a level that was not run may well be as low.

    :param rows: rows of one experiment, with the floor's
    :param sign: 1 where higher scores are better, -1 where lower ones are
    :returns: the score, and whether a level has it; otherwise it is the floor's own
    """
    bounds = _bounds(rows, BOUND, sign)
    tickets = (row for row in measured(rows) if row.kind not in (DENSE, FLOOR) and math.isfinite(row.score))
    low = [sign * row.score for row in tickets if sign * (bounds.get(row.seed, -sign * math.inf) - row.score) >= 0]
    floor = sign * next(row.score for row in rows if row.kind == FLOOR)
    return sign * min([floor, *low]), min(low, default=floor) < floor


def _bounds(rows: Sequence[Row], share: float, sign: float) -> dict[int, float]:
    # Seed -> the score at a share of the distance from the floor to dense, for seeds where dense is better.
    floors = [row.score for row in rows if row.kind == FLOOR]
    dense = {row.seed: row.score for row in rows if row.kind == DENSE and row.noise == 1}
    return {
        seed: floors[0] + share * (score - floors[0])
        for seed, score in dense.items()
        if floors and 0 < sign * (score - floors[0]) < math.inf
    }


def not_run_line(rows: Sequence[Row]) -> str | None:
    """Return a line about the levels that were not run; ``None`` if all were.

    :param rows: rows of one experiment, see :func:`filled`
    """
    missing = [row for row in rows if row.not_run]
    if not missing:
        return None
    runs = {(row.seed, row.kind) for row in missing}
    levels = f"{counted(len(missing), 'level')} of {counted(len(runs), 'chain')}"
    return (
        f"† not run: at the floor ({levels}, taken as the floor); the same command without --stop-at-floor trains them"
    )
