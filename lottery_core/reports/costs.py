"""What one ticket of a kind costs: everything that has to be trained before it, and its own training."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from lottery_core.experiments import Row
from lottery_core.pruning import (
    ALONE_PRUNED,
    CHAINS,
    CONTROLS,
    DENSE,
    TRANSFERS,
    UNPRUNED,
    WINNING,
    WITHOUT_SEARCH,
    starts_rewound,
)
from lottery_core.reports.table import kinds_of


def search_cost(rows: Sequence[Row], kind: str, round_: int, searches: Sequence[Row] = ()) -> float | None:
    """Return the mean steps that are trained before the ticket of a round can be trained.

    A chain needs the dense training and, if it is iterative, its earlier rounds. A control needs what its winning
    ticket does, also if it takes no more than the layers' shares from it. Kinds for which the number of survivors
    suffices need no search; those that start from the rewind point need the dense training up to there, and so do those
    whose masks come from another experiment, unless the trained dense network prunes the tensors without a partner.

    :param rows: rows of one experiment
    :param kind: the kind
    :param round_: the ticket's round
    :param searches: rows of runs that only searched, where the earlier rounds were such runs
    :returns: ``None`` if one of these trainings is not among the rows
    """
    if kind == DENSE:
        return 0.0
    dense = [row for row in rows if row.kind == DENSE]
    elsewhere = kind in TRANSFERS and not any(row.kind == kind and row.unmatched == ALONE_PRUNED for row in rows)
    if kind in WITHOUT_SEARCH or kind in UNPRUNED or elsewhere:
        before = [row.rewind_steps for row in dense if row.rewind_steps is not None]
        return (statistics.fmean(before) if before else None) if starts_rewound(kind) else 0.0
    chain = WINNING if kind in CONTROLS else kind
    needed = [_mean(rows, DENSE, 0)]
    if chain not in CHAINS:
        return None
    if CHAINS[chain].iterative:
        needed += [_mean(searches or rows, chain, earlier) for earlier in range(1, round_)]
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
