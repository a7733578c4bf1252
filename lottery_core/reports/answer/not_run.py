"""Levels that were not run because their kind had ended at the floor: what tables and answers take them for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from lottery_core.experiments import Row
from lottery_core.files import counted
from lottery_core.pruning import DENSE, FLOOR
from lottery_core.reports.answer.curves import usual_sign


def measured(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of runs that were trained."""
    return [row for row in rows if not row.not_run]


def filled(rows: Sequence[Row], share: float = 0.0, sign: float | None = None) -> list[Row]:
    """Give the levels that were not run a score near the floor, so that no mean is taken over the other seeds alone.

    :param rows: rows of one experiment, with the floor's
    :param share: share of the distance from the floor to the dense score of the seed; 0 is the floor itself
    :param sign: 1 where higher scores are better, -1 where lower ones are; ``None``: as usual for their label
    :returns: the rows; levels are left out if the floor or the dense score of their seed is missing, or if that score
        is no better than the floor, so that nothing is known of them: an earlier command may have left them out
    """
    sign = usual_sign(rows) if sign is None else sign
    floors = [row.score for row in rows if row.kind == FLOOR]
    dense = {row.seed: row.score for row in rows if row.kind == DENSE and row.noise == 1}
    result = []
    for row in rows:
        if not row.not_run:
            result.append(row)
        elif floors and 0 < sign * (dense.get(row.seed, math.nan) - floors[0]) < math.inf:
            result.append(replace(row, score=floors[0] + share * (dense[row.seed] - floors[0])))
    return result


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
