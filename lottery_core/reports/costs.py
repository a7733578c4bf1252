"""How long runs are: what one ticket of a kind costs with its search, and whether kinds were trained equally long."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from lottery_core.experiments import Row, trainings
from lottery_core.pruning import (
    ALONE_PRUNED,
    BEST_OF,
    BUDGET,
    CHAINS,
    CONTROLS,
    DENSE,
    TRANSFERS,
    UNPRUNED,
    WINNING,
    WITHOUT_SEARCH,
    starts_rewound,
)
from lottery_core.reports.answer import trained_before
from lottery_core.reports.table import by_round, kinds_of

_MOST = 0.05  # share by which the lengths of runs may differ
_LITTLE = 0.01  # differences below this share are not reported


def search_cost(rows: Sequence[Row], kind: str, round_: int, searches: Sequence[Row] = ()) -> float | None:
    """Return the mean steps that are trained before the ticket of a round can be trained.

    A chain needs the dense training and, if it is iterative, its earlier rounds. A control needs what its winning
    ticket does, also if it takes no more than the layers' shares from it. Kinds for which the number of survivors
    suffices need no search; those that start from the rewind point need the dense training up to there, and so do those
    whose masks come from another experiment, unless the trained dense network prunes the tensors without a partner.
    Where the best of several tickets counts, the others were trained for it, too.

    :param rows: rows of one experiment
    :param kind: the kind
    :param round_: the ticket's round
    :param searches: rows of runs that only searched, where the earlier rounds were such runs
    :returns: ``None`` if one of these trainings is not among the rows
    """
    if kind == DENSE:
        return 0.0
    elsewhere = kind in TRANSFERS and not any(row.kind == kind and row.unmatched == ALONE_PRUNED for row in rows)
    if kind in WITHOUT_SEARCH or kind in UNPRUNED or elsewhere:
        return trained_before(rows, kind) if starts_rewound(kind) else 0.0
    chain = WINNING if kind in CONTROLS else kind
    needed = [_mean(rows, DENSE, 0)]
    if chain not in CHAINS:
        return None
    if CHAINS[chain].iterative:
        needed += [_mean(searches or rows, chain, earlier) for earlier in range(1, round_)]
    if kind in BEST_OF:  # the draws that were not the best
        own = _mean(rows, kind, round_)
        needed.append(None if own is None else own * (trainings(round_) - 1))
    known = [each for each in needed if each is not None]
    return sum(known) if len(known) == len(needed) else None


def cost_lines(rows: Sequence[Row], unit: str, searches: Sequence[Row] = ()) -> list[str]:
    """Return a line with the cost of one ticket of the last round by kind, search and training.

    :param rows: rows of one experiment
    :param unit: the framework's unit, e.g. ``"updates"``
    :param searches: rows of runs that only searched
    :returns: the line; none without a ticket or without lengths
    """
    last = max((row.round for row in rows), default=0)
    shown = []
    for kind in kinds_of(rows):
        round_ = 0 if kind in UNPRUNED else last
        search, own = search_cost(rows, kind, round_, searches), _mean(rows, kind, round_)
        if search is not None and own:
            shown.append(f"{kind} {search + own:,.0f}" + (f" ({search:,.0f} + {own:,.0f})" if search else ""))
    return [f"mean {unit} for one ticket of round {last} (search + training): {', '.join(shown)}"] if shown else []


def _mean(rows: Sequence[Row], kind: str, round_: int) -> float | None:
    steps = [row.steps for row in rows if row.kind == kind and row.round == round_]
    return statistics.fmean(steps) if steps else None


def steps_lines(rows: Sequence[Row], unit: str) -> list[str]:
    """Return the mean length of the scored runs by kind, and a warning if kinds differ by more than a twentieth.

    :param rows: rows of one experiment
    :param unit: the framework's unit, e.g. ``"updates"``
    :returns: the lines; none if no row has a length
    """
    kinds = [kind for kind in (DENSE, *kinds_of(rows)) if any(row.kind == kind for row in rows)]
    means = {kind: _mean_of([row for row in rows if row.kind == kind]) for kind in kinds}
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
    mean = _mean_of([row for row in rows if row.kind == kind]) / dense - 1
    rounds = {round_: _mean_of(cells[kind]) / dense - 1 for round_, cells in by_round(rows).items() if kind in cells}
    worst = max(rounds, key=lambda round_: abs(rounds[round_]))
    if abs(rounds[worst]) <= _MOST:
        return ""
    return f"{kind} {mean:+.0%}, in round {worst} {rounds[worst]:+.0%}"


def _mean_of(rows: Sequence[Row]) -> float:
    return statistics.fmean(row.steps for row in rows)
