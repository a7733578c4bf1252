"""The curves of an experiment: the scores by level for each kind and seed, with the sign changed if lower is better."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from lottery_core import dialects
from lottery_core.experiments import Row, trainings
from lottery_core.pruning import BEST_OF, DENSE, FLOOR, KINDS, TRANSFERS


@dataclass(frozen=True)
class Curve:
    """The scores of one kind in one seed.

    :param seed: the seed
    :param points: round -> (position in halvings of the pool, score); higher scores are better
    """

    seed: int
    points: Mapping[int, tuple[float, float]]


Curves = Mapping[str, Mapping[int, Curve]]  # kind -> seed -> curve, kinds in their usual order
_MOST_SETS = 4096  # sets of levels that are considered, of which many seeds with gaps could have millions


def place(row: Row) -> float:
    """Return how often the pool was halved: log2 of the pool over the survivors."""
    return math.log2(row.pool / max(1, row.surviving))


def share(halvings: float) -> float:
    """Return the share of the pool that survives after this many halvings."""
    return float(2.0**-halvings)


def percent(share_: float) -> str:
    """Format a share with two digits: 0.0931 is ``9.3%`` and 0.51 is ``51%``."""
    value = 100 * share_
    return f"{value:.0f}%" if value >= 9.95 else f"{value:.1f}%" if value >= 0.995 else f"{value:.2g}%"


def number(value: float, digits: int = 3, sign: str = "") -> str:
    """Format a number with three digits, but with all digits before the decimal point, as in tables.

    :param value: the number
    :param digits: number of digits
    :param sign: ``"+"`` to write the sign of positive numbers, too
    """
    large = 10**digits - 0.5 <= abs(value) < 1e15  # the half: 999.7 has four digits once it is rounded
    return format(value, f"{sign},.0f" if large else f"{sign}.{digits}g")


def once(rows: Iterable[Row], sign: float | None = None) -> list[Row]:
    """Return one row per ticket: its first training, or the best of those of several draws that are there.

    A ticket whose first training is missing is left out: another one in its place would have other noise than the rest.

    :param rows: rows of one experiment
    :param sign: 1 where higher scores are better, -1 where lower ones are; ``None``: as usual for their label
    """
    rows = list(rows)
    sign = sign if sign is not None else usual_sign(rows)
    several = (*BEST_OF, FLOOR)
    lowest = min((row.noise for row in rows if row.kind not in several), default=1)
    chosen: dict[tuple[int, str, int], Row] = {}
    for row in rows:
        known = chosen.get((row.seed, row.kind, row.round))
        if row.kind in several:
            better = known is None or _value(row, sign) > _value(known, sign)
        else:
            better = known is None and row.noise == lowest
        if better:
            chosen[row.seed, row.kind, row.round] = row
    return list(chosen.values())


def best_draws(rows: Iterable[Row], sign: float) -> list[Row]:
    """Give each draw of a kind that is the best of several the values of the best one; other rows stay as they are.

    There are still as many rows as draws have finished, so :func:`finished_draws` can be asked afterwards.

    :param rows: rows of one experiment
    :param sign: 1 where higher scores are better, -1 where lower ones are
    """
    rows = list(rows)
    best = {_ticket(row): row for row in once((row for row in rows if row.kind in BEST_OF), sign)}
    return [replace(best[_ticket(row)], noise=row.noise) if row.kind in BEST_OF else row for row in rows]


def finished_draws(rows: Iterable[Row]) -> list[Row]:
    """Leave out tickets of kinds that are the best of several draws while some of their draws are not finished.

    :param rows: rows of one experiment, each with its draw
    """
    rows = list(rows)
    draws: dict[tuple[int, str, int], set[int]] = defaultdict(set)
    for row in rows:
        draws[_ticket(row)].add(row.noise)
    return [row for row in rows if row.kind not in BEST_OF or len(draws[_ticket(row)]) >= trainings(row.round)]


def _ticket(row: Row) -> tuple[int, str, int]:
    return row.seed, row.kind, row.round


def by_size(rows: Sequence[Row]) -> list[Row]:
    """Number rounds anew where they do not follow the size: a table of somebody's own may have them in any order.

    :param rows: rows of one experiment
    :returns: the rows; in a later round the kind with most rounds has fewer survivors
    """
    places: dict[str, dict[int, float]] = defaultdict(dict)
    for row in rows:
        if row.round and row.kind not in TRANSFERS:  # their counts are of another experiment
            places[row.kind].setdefault(row.round, place(row))
    sizes = max(places.values(), key=len, default={})
    rounds = sorted(sizes)
    ranked = sorted(rounds, key=sizes.__getitem__)  # rounds of one size stay in their order
    if ranked == rounds:
        return list(rows)
    new = dict(zip(ranked, rounds, strict=True))
    return [replace(row, round=new.get(row.round, row.round)) for row in rows]


def usual_sign(rows: Sequence[Row]) -> float:
    """Return the direction that the label of the scores says: 1 where higher ones are better, -1 where lower ones are.

    :param rows: rows of one experiment
    """
    packages = {word.partition("=")[0] for row in rows for word in row.versions.split()}
    label = next((row.score_label for row in rows if row.score_label), "")
    return -1.0 if dialects.of_versions(packages).lower_is_better(label) else 1.0


def _value(row: Row, sign: float) -> float:
    return sign * row.score if math.isfinite(row.score) else -math.inf


def kinds_in(rows: Iterable[Row]) -> list[str]:
    """Return the kinds of ticket among the rows, in their usual order; unknown ones last."""
    present = {row.kind for row in rows} - {DENSE, FLOOR}
    return [*(kind for kind in KINDS if kind in present), *sorted(present - set(KINDS))]


def curves_of(rows: Sequence[Row], sign: float) -> Curves:
    """Return the curves of an experiment. A score that is not finite is replaced by the worst finite one.

    :param rows: rows of one experiment, one per run
    :param sign: 1 where higher scores are better, -1 where lower ones are
    """
    finite = [sign * row.score for row in rows if math.isfinite(row.score)]
    worst = min(finite, default=0.0)
    points: dict[str, dict[int, dict[int, tuple[float, float]]]] = defaultdict(lambda: defaultdict(dict))
    for row in sorted(rows, key=lambda row: row.round):
        score = sign * row.score if math.isfinite(row.score) else worst
        points[row.kind][row.seed][row.round] = (place(row), score)
    return {kind: {seed: Curve(seed, some) for seed, some in sorted(points[kind].items())} for kind in kinds_in(rows)}


def common_rounds(*sides: Iterable[Iterable[int]]) -> tuple[list[int], list[list[int]]]:
    """Return the rounds that are compared, and which of the seeds have all of them.

    A seed without some rounds of another seed is unfinished. Either it is left out, so that the others stay whole,
    or the rounds that it lacks are: whichever keeps more scores; of equal choices, the one with more rounds. With
    several sides, each keeps a seed, and the scores of the side that keeps fewer seeds count first.

    :param sides: for each side the rounds of each of its seeds
    :returns: the rounds, ascending, and for each side the indices of the seeds; empty if there is no such choice
    """
    sets = [[frozenset(rounds) for rounds in side] for side in sides]
    used = {
        kept: [[index for index, rounds in enumerate(side) if rounds >= kept] for side in sets]
        for kept in _intersections([rounds for side in sets for rounds in side])
    }

    def scores(kept: frozenset[int]) -> tuple[int, int, int]:
        counts = list(map(len, used[kept]))
        return len(kept) * min(counts), len(kept) * sum(counts), len(kept)

    best = max((kept for kept, seeds in used.items() if all(seeds)), key=scores, default=frozenset[int]())
    return sorted(best), used.get(best, [[] for _ in sets])


def _intersections(sets: Sequence[frozenset[int]]) -> list[frozenset[int]]:
    # The sets and what any of them have in common, without the empty set; the sets themselves come first.
    found = dict.fromkeys(some for some in sets if some)
    for some in list(found):
        for other in list(found):
            if len(found) < _MOST_SETS and some & other:
                found.setdefault(some & other)
    return list(found)


def area(curve: Curve, rounds: Sequence[int]) -> float:
    """Return the mean score over the levels, by the trapezoidal rule in halvings of the pool.

    :param curve: the curve
    :param rounds: rounds that the curve has, ascending
    """
    places = [curve.points[round_][0] for round_ in rounds]
    scores = [curve.points[round_][1] for round_ in rounds]
    width = places[-1] - places[0]
    if width <= 0:
        return statistics.fmean(scores)
    steps = zip(places, places[1:], scores, scores[1:], strict=False)
    return math.fsum((right - left) * (high + low) / 2 for left, right, high, low in steps) / width


def level_means(curves: Mapping[int, Curve]) -> dict[int, tuple[float, float, int]]:
    """Map each round of one kind to its position, its mean score over seeds, and the number of seeds."""
    found: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for curve in curves.values():
        for round_, point in curve.points.items():
            found[round_].append(point)
    return {
        round_: (some[0][0], statistics.fmean(score for _, score in some), len(some))
        for round_, some in sorted(found.items())
    }
