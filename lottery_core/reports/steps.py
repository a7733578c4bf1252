"""The length of the scored training runs by kind of ticket; a fair comparison of kinds needs equal lengths."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from lottery_core.experiments import Row
from lottery_core.pruning import BUDGET, DENSE, starts_rewound
from lottery_core.reports.table import by_round, kinds_of

_MOST = 0.05  # share by which the lengths of runs may differ
_LITTLE = 0.01  # differences below this share are not reported


def steps_lines(rows: Sequence[Row], unit: str) -> list[str]:
    """Return the mean length of the scored runs by kind, and a warning if kinds differ by more than a twentieth.

    :param rows: rows of one experiment
    :param unit: the framework's unit, e.g. ``"updates"``
    :returns: the lines; none if no row has a length
    """
    kinds = [kind for kind in (DENSE, *kinds_of(rows)) if any(row.kind == kind for row in rows)]
    means = {kind: _mean([row for row in rows if row.kind == kind]) for kind in kinds}
    if not any(means.values()):
        return []
    lines = [f"mean {unit} of a scored run: {', '.join(f'{kind} {mean:,.0f}' for kind, mean in means.items())}"]
    dense = means.get(DENSE, 0)
    differing = [
        text
        for kind in kinds
        if kind not in (DENSE, *BUDGET) and dense
        for text in [_difference(rows, kind, dense)]
        if text
    ]
    if differing:
        lines.append(
            f"WARNING: runs of different lengths, compared with dense: {'; '.join(differing)}: this may explain part "
            f"of a difference in score; a length in {unit} is the same for all kinds"
        )
    in_all = {kind: means[kind] + _before(rows, kind) for kind in kinds}
    if dense and any(abs(in_all[kind] - dense) > _LITTLE * dense for kind in kinds) and in_all != means:
        shown = ", ".join(f"{kind} {mean:,.0f}" for kind, mean in in_all.items())
        lines.append(f"mean {unit} in all, with those before the rewind point: {shown}")
    return lines


def _before(rows: Sequence[Row], kind: str) -> float:
    # How long a ticket's start values had been trained; new and initial values had not been trained.
    known = [row.rewind_steps for row in rows if row.kind == DENSE and row.rewind_steps is not None]
    return statistics.fmean(known) if known and starts_rewound(kind) else 0


def _difference(rows: Sequence[Row], kind: str, dense: float) -> str:
    # The mean difference, and the difference in the most different round: a kind may fail from some round on.
    mean = _mean([row for row in rows if row.kind == kind]) / dense - 1
    rounds = {round_: _mean(cells[kind]) / dense - 1 for round_, cells in by_round(rows).items() if kind in cells}
    worst = max(rounds, key=lambda round_: abs(rounds[round_]))
    if abs(rounds[worst]) <= _MOST:
        return ""
    return f"{kind} {mean:+.0%}, in round {worst} {rounds[worst]:+.0%}"


def _mean(rows: Sequence[Row]) -> float:
    return statistics.fmean(row.steps for row in rows)
