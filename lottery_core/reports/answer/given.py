"""How long each kind was trained: the lengths of its scored runs, and of the runs before them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

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
from lottery_core.reports.answer.curves import kinds_in

LITTLE = 0.05  # share by which lengths may differ


@dataclass(frozen=True)
class Given:
    """How long a kind was trained, in the framework's unit of length; means over seeds and levels.

    :param kind: a kind of ticket, or dense
    :param scored: length of the scored run
    :param shortest: the mean over seeds at the level with the shortest runs
    :param longest: the mean over seeds at the level with the longest runs
    :param before: how long its start values were trained before the rewind point; None if that is unknown
    :param search: length of the runs that found the ticket of its last level: dense, the rounds before, and further
        draws; 0 for kinds that need none of these, None if one of these lengths is unknown
    """

    kind: str
    scored: float
    shortest: float
    longest: float
    before: float | None
    search: float | None


def given_to(rows: Sequence[Row], searches: Sequence[Row] = ()) -> list[Given]:
    """Compute how long each kind was trained.

    :param rows: rows of one experiment, one per run
    :param searches: rows of runs that only searched, where rounds were searched in runs of their own
    """
    searched = {row.kind: _by_round([other for other in searches if other.kind == row.kind]) for row in searches}
    lengths = {kind: _by_round([row for row in rows if row.kind == kind]) for kind in (DENSE, *kinds_in(rows))}
    dense = lengths[DENSE].get(0, 0.0)
    result = []
    for kind, rounds in lengths.items():
        if not rounds:
            continue
        before = 0.0 if not starts_rewound(kind) or kind == DENSE else trained_before(rows, kind)
        pruned = any(row.kind == kind and row.unmatched == ALONE_PRUNED for row in rows)
        alone = kind in (DENSE, *WITHOUT_SEARCH, *UNPRUNED) or (kind in TRANSFERS and not pruned)
        earlier = 0.0 if alone else _rounds_before(kind, lengths, searched)
        search = earlier if alone or earlier is None else dense + earlier
        if kind in BEST_OF and search is not None:  # the draws that were not the best
            search += rounds[max(rounds)] * (trainings(max(rounds)) - 1)
        values = list(rounds.values())
        result.append(Given(kind, statistics.fmean(values), min(values), max(values), before, search))
    return result


def trained_before(rows: Sequence[Row], kind: str) -> float | None:
    """Return how long the start values of a kind that rewinds had been trained, on average; None if that is unknown.

    :param rows: rows of one experiment
    :param kind: the kind. Its own rows count before those of dense runs, which have the length of the rewind point
    """
    for name in (kind, DENSE):
        known = [row.rewind_steps for row in rows if row.kind == name and row.rewind_steps is not None]
        if known:
            return statistics.fmean(known)
    return None


def _by_round(rows: Sequence[Row]) -> dict[int, float]:
    rounds = sorted({row.round for row in rows})
    return {round_: statistics.fmean(row.steps for row in rows if row.round == round_) for round_ in rounds}


def _rounds_before(
    kind: str, lengths: dict[str, dict[int, float]], searched: dict[str, dict[int, float]]
) -> float | None:
    # None if rounds are missing: they may have been searched in runs that are not among the rows.
    chain = WINNING if kind in CONTROLS else kind
    if chain in CHAINS and not CHAINS[chain].iterative:
        return 0.0
    known = (searched or lengths).get(chain, {})
    needed = range(1, max(lengths[kind]))
    return sum(known[round_] for round_ in needed) if all(round_ in known for round_ in needed) else None


def unequal(given: Sequence[Given]) -> list[str]:
    """Return a phrase for each kind whose runs differ in length from the dense runs by more than a twentieth."""
    dense = next((some.scored for some in given if some.kind == DENSE), 0.0)
    if not dense:
        return []
    phrases = []
    for some in given:
        worst = max((some.scored, some.shortest, some.longest), key=lambda length: abs(length - dense))
        if some.kind not in (DENSE, *BUDGET) and abs(worst - dense) > LITTLE * dense:
            phrases.append(f"{some.kind} {_times(some.shortest / dense)} to {_times(some.longest / dense)}")
    return phrases


def _times(ratio: float) -> str:
    return f"{ratio:.2f}"
