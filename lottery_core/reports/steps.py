"""How long the trainings behind the scores were, by kind of ticket: kinds are compared fairly at equal steps."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from lottery_core.experiments import Row
from lottery_core.pruning import DENSE, starts_rewound
from lottery_core.reports.table import by_round, kinds_of

_MOST = 0.05  # share by which trainings may differ
_LITTLE = 0.01  # share that is not worth a line


def steps_lines(rows: Sequence[Row], unit: str) -> list[str]:
    """The mean length of the scored trainings by kind, and a warning where kinds differ by more than a twentieth.

    :param rows: rows of one experiment
    :param unit: what the framework counts, e.g. ``"updates"``
    :returns: no line where no row has a length
    """
    kinds = [kind for kind in (DENSE, *kinds_of(rows)) if any(row.kind == kind for row in rows)]
    means = {kind: _mean([row for row in rows if row.kind == kind]) for kind in kinds}
    if not any(means.values()):
        return []
    lines = [f"mean {unit} of a scored training: {', '.join(f'{kind} {mean:,.0f}' for kind, mean in means.items())}"]
    dense = means.get(DENSE, 0)
    differing = [text for kind in kinds if kind != DENSE and dense for text in [_difference(rows, kind, dense)] if text]
    if differing:
        lines.append(
            f"WARNING: trainings of different length, against dense: {'; '.join(differing)}: part of a difference in "
            f"score may be this; a length that counts {unit} is the same for all kinds"
        )
    in_all = {kind: means[kind] + _before(rows, kind) for kind in kinds}
    if dense and any(abs(in_all[kind] - dense) > _LITTLE * dense for kind in kinds) and in_all != means:
        shown = ", ".join(f"{kind} {mean:,.0f}" for kind, mean in in_all.items())
        lines.append(f"mean {unit} in all, with those before the rewind point: {shown}")
    return lines


def _before(rows: Sequence[Row], kind: str) -> float:
    # What the weights that a ticket starts from were trained for. Fresh values, and those at the start, were not.
    known = [row.rewind_steps for row in rows if row.kind == DENSE and row.rewind_steps is not None]
    return statistics.fmean(known) if known and starts_rewound(kind) else 0


def _difference(rows: Sequence[Row], kind: str, dense: float) -> str:
    # On average, and in the round that differs most: a kind that fails early in the rounds is long or short from there.
    mean = _mean([row for row in rows if row.kind == kind]) / dense - 1
    rounds = {
        round_: _mean(cells[kind]) / dense - 1 for round_, cells in by_round(rows).items() if round_ and kind in cells
    }
    worst = max(rounds, key=lambda round_: abs(rounds[round_]))
    if abs(rounds[worst]) <= _MOST:
        return ""
    return f"{kind} {mean:+.0%}, in round {worst} {rounds[worst]:+.0%}"


def _mean(rows: Sequence[Row]) -> float:
    return statistics.fmean(row.steps for row in rows)
