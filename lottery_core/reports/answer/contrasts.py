"""Mask, start or luck: compare kinds by the area under the curve, with the tests that the number of seeds allows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from lottery_core.experiments import Row
from lottery_core.files import percentage
from lottery_core.pruning import DENSE, UNPRUNED, WINNING, same_level
from lottery_core.reports.answer.curves import Curve, Curves, area, common_rounds, percent, share
from lottery_core.reports.answer.significance import (
    ALPHA,
    FEWEST_FOR_A_TEST,
    Interval,
    holm,
    max_t,
    sign_flip_p,
    smallest_p,
    t_interval,
    welch_interval,
    welch_p,
)

SHOWN, NOT_SHOWN, NOT_TESTED = "shown", "not shown", "not tested"


@dataclass(frozen=True)
class Contrast:
    """Two kinds that differ in one property. The direction, first better than second, is fixed in advance.

    :param name: the property in which they differ
    :param first: the kind that should be better
    :param second: the kind without that property
    """

    name: str
    first: str
    second: str


WHOLE = Contrast("the whole effect", WINNING, "random")
LONGER = "training longer after rewinding"
CONTRASTS = (
    Contrast("the start", WINNING, "reinit"),
    Contrast("the exact values of the start", WINNING, "permuted"),
    Contrast("the scale of the start", "permuted", "reinit"),
    Contrast("the mask", "reinit", "random"),
    Contrast("late rewinding", WINNING, "no-rewind"),
    Contrast("iteration", WINNING, "one-shot"),
    Contrast("the places of the mask", WINNING, "shuffled"),
    Contrast("the shares of layers", "random", "uniform"),
    Contrast("the shares of layers", "random", "erk"),
    Contrast("more than the signs of the start", WINNING, "signs"),
    Contrast("the scale of the start", "random-scaled", "random"),
    Contrast("training before pruning", WINNING, "at-start"),
    Contrast("training before pruning", WINNING, "snip"),
    Contrast("rounds instead of one training", WINNING, "gradual"),
    Contrast("a search of its own", WINNING, "transfer"),
    Contrast("the places of the mask of another experiment", "transfer", "transfer-random"),
    Contrast("the values of another experiment", "transfer-values", "transfer"),
)


@dataclass(frozen=True)
class Comparison:
    """The estimate of a contrast. Differences are positive if the first kind is better.

    :param contrast: the contrast
    :param paired: whether runs are paired by seed; if not, the kinds have different seeds
    :param seeds: number of pairs or, if not paired, of the seeds of the kind that has fewer
    :param sides: number of seeds of the first and of the second kind that are compared
    :param left_out: seeds that are left out because a kind is unfinished there
    :param levels: shares of the pool at the first and the last level compared
    :param rounds: number of levels compared, and of all levels that any kind has
    :param difference: difference of the areas (mean scores over halvings), with the 95% interval
    :param normalised: the same on the scale with dense at 1 and the floor at 0; None if their distance is unknown
    :param p: one-sided p value; None if there is no test
    :param adjusted: the p value adjusted by Holm's method over all tests after the first one
    :param verdict: :data:`SHOWN`, :data:`NOT_SHOWN` or :data:`NOT_TESTED`
    :param why: why there is no test; empty if there is one
    :param ahead: shares of the pool between which the first kind is ahead in every seed; None if there are none
    :param differences: difference by seed, for paired runs
    :param dropped: shares of the pool at levels that are left out because not all seeds have them
    :param shares: shares of the pool that the two kinds keep in a round where they differ by more than 5%, so that they
        are not compared; None if they keep the same
    """

    contrast: Contrast
    paired: bool
    seeds: int
    sides: tuple[int, int]
    left_out: tuple[int, ...]
    levels: tuple[float, float]
    rounds: tuple[int, int]
    difference: Interval
    normalised: Interval | None
    p: float | None = None
    adjusted: float | None = None
    verdict: str = NOT_TESTED
    why: str = ""
    ahead: tuple[float, float] | None = None
    differences: tuple[float, ...] = ()
    dropped: tuple[float, ...] = ()
    shares: tuple[float, float] | None = None


def contrasts_of(curves: Curves) -> Iterator[Contrast]:
    """Yield the contrasts that the kinds allow, except the whole effect; other kinds are compared with winning."""
    there = [each for each in (WHOLE, *CONTRASTS) if each.first in curves and each.second in curves]
    yield from (each for each in there if each is not WHOLE)
    compared = {WINNING, *(kind for each in there for kind in (each.first, each.second))}
    for kind in curves if WINNING in curves else ():
        if kind not in compared:
            yield Contrast(f"what {kind} lacks", WINNING, kind)


def compare(contrast: Contrast, curves: Curves, distance: float | None) -> Comparison | None:
    """Estimate a contrast, without its test.

    Runs are paired by the seeds that both kinds have, if these are all seeds of one kind, or enough for a test.

    :param contrast: the contrast
    :param curves: the curves
    :param distance: the distance from floor to dense
    :returns: the estimate; None if a kind has no row, or the kinds have no level in common
    """
    if contrast.first not in curves or contrast.second not in curves:
        return None
    first, second = curves[contrast.first], curves[contrast.second]
    both = sorted(first.keys() & second.keys())
    paired = bool(both) and (len(both) >= FEWEST_FOR_A_TEST or len(both) == min(len(first), len(second)))
    if paired:
        rounds, (used,) = common_rounds([first[seed].points.keys() & second[seed].points.keys() for seed in both])
        seeds = [both[index] for index in used]
        if not rounds:
            return None
        differences = tuple(area(first[seed], rounds) - area(second[seed], rounds) for seed in seeds)
        interval, sides, ahead = _paired(differences), (len(seeds), len(seeds)), _ahead(curves, contrast, seeds, rounds)
        left_out = tuple(seed for seed in both if seed not in seeds)
        further = {round_ for seed in seeds for round_ in first[seed].points.keys() & second[seed].points.keys()}
    else:
        further = {round_ for curve in first.values() for round_ in curve.points} & {
            round_ for curve in second.values() for round_ in curve.points
        }
        rounds, (its, others) = common_rounds(
            *([curve.points.keys() & further for curve in side.values()] for side in (first, second))
        )
        if not rounds:
            return None
        areas = [
            [area(list(side.values())[index], rounds) for index in used]
            for side, used in ((first, its), (second, others))
        ]
        interval, sides, ahead = welch_interval(*areas), (len(its), len(others)), None
        left_out = (*_missing(list(first), its), *_missing(list(second), others))
        differences = ()
    shares = _other_shares(first.values(), second.values(), rounds)
    any_curve = next(curve for curve in first.values() if set(rounds) <= set(curve.points))
    levels = share(any_curve.points[rounds[0]][0]), share(any_curve.points[rounds[-1]][0])
    every = {round_ for kind in curves.values() for curve in kind.values() for round_ in curve.points}
    result = Comparison(
        contrast, paired, min(sides), sides, left_out, levels, (len(rounds), len(every)), Interval(math.nan), None
    )
    if shares is not None:
        return replace(result, shares=shares)
    return replace(
        result,
        difference=interval,
        normalised=None if distance is None else interval.scaled(1 / distance),
        p=None if paired or min(sides) < 2 else welch_p(*areas),
        ahead=ahead,
        differences=differences,
        dropped=tuple(_share_at(first.values(), round_) for round_ in sorted(further - {*rounds})),
    )


def _paired(differences: Sequence[float]) -> Interval:
    # Equal differences show no spread, which an interval of zero width would claim to know.
    return Interval(differences[0]) if len({*differences}) == 1 else t_interval(differences)


def _other_shares(first: Iterable[Curve], second: Iterable[Curve], rounds: Sequence[int]) -> tuple[float, float] | None:
    # The first of the rounds in which the kinds keep different shares of the pool.
    for round_ in rounds:
        one, other = (_share_at(some, round_) for some in (first, second))
        if not same_level(one, other):
            return one, other
    return None


def _share_at(curves: Iterable[Curve], round_: int) -> float:
    return statistics.fmean(share(curve.points[round_][0]) for curve in curves if round_ in curve.points)


def longer_training(rows: Sequence[Row], sign: float, distance: float | None) -> list[Comparison]:
    """Compare kinds whose tickets keep everything, e.g. rewound-dense, with the dense network they come from.

    :param rows: rows of one experiment, one per run
    :param sign: 1 where higher scores are better, -1 where lower ones are
    :param distance: the distance from floor to dense
    :returns: one estimate for each such kind, at the level of the dense network; there is no test
    """
    whole = [row for row in rows if row.kind in (DENSE, *UNPRUNED) and math.isfinite(row.score)]
    curves: dict[str, dict[int, Curve]] = {}
    for row in whole:
        curves.setdefault(row.kind, {})[row.seed] = Curve(row.seed, {0: (0.0, sign * row.score)})
    contrasts = [Contrast(LONGER, kind, DENSE) for kind in UNPRUNED]
    found = [compare(contrast, curves, distance) for contrast in contrasts]
    return [replace(each, p=None, ahead=None) for each in found if each is not None]


def _missing(seeds: Sequence[int], used: Sequence[int]) -> list[int]:
    return [seed for index, seed in enumerate(seeds) if index not in used]


def _ahead(
    curves: Curves, contrast: Contrast, seeds: Sequence[int], rounds: Sequence[int]
) -> tuple[float, float] | None:
    # The longest stretch of levels at which the first kind is ahead in every seed; the earlier of equal ones.
    best: list[float] = []
    stretch: list[float] = []
    for round_ in rounds:
        points = [(curves[contrast.first][s].points[round_], curves[contrast.second][s].points[round_]) for s in seeds]
        stretch = [*stretch, share(points[0][0][0])] if all(one[1] > other[1] for one, other in points) else []
        best = stretch if len(stretch) > len(best) else best
    return (best[0], best[-1]) if best else None


def tested(whole: Comparison | None, others: Sequence[Comparison]) -> tuple[Comparison | None, list[Comparison]]:
    """Test the whole effect first, alone, at 5%; if it is significant, test the other contrasts by Holm's method.

    :param whole: the whole effect; None if a kind is missing
    :param others: the other contrasts
    """
    if whole is not None:
        why = _why_no_test(whole)
        p = _p(whole)
        if why or p is None:
            whole = replace(whole, p=None, why=why or "no test")
        else:
            whole = replace(whole, p=p, adjusted=p, verdict=SHOWN if p <= ALPHA else NOT_SHOWN)
    if whole is None or whole.verdict != SHOWN:
        why = "the whole effect is not known" if whole is None else "the whole effect is not shown"
        return whole, [replace(other, p=None, why=_why_no_test(other) or why) for other in others]
    found = [(other, _why_no_test(other)) for other in others]
    family = [other for other, why in found if not why]
    if family and all(other.paired and smallest_p(other.seeds) > ALPHA / len(family) for other in family):
        many = seeds_for(len(family))
        why = f"{len(family)} tests need {many} seeds"
        return whole, [replace(other, p=None, why=reason or why) for other, reason in found]
    values = [_p(other) or 0.0 for other in family]
    adjusted = iter(zip(values, holm(values), strict=True))
    result = []
    for other, why in found:
        if why:
            result.append(replace(other, p=None, why=why))
            continue
        p, by_holm = next(adjusted)
        result.append(replace(other, p=p, adjusted=by_holm, verdict=SHOWN if by_holm <= ALPHA else NOT_SHOWN))
    return whole, result


def _p(comparison: Comparison) -> float | None:
    return sign_flip_p(comparison.differences) if comparison.paired else comparison.p


def _why_no_test(comparison: Comparison) -> str:
    if comparison.shares is not None:
        shares = [percent(each) for each in comparison.shares]
        if len({*shares}) == 1:  # 12.5% and 13.3%
            shares = [percentage(each) for each in comparison.shares]
        return f"their tickets keep other shares: {' and '.join(shares)}"
    few = comparison.seeds < max(FEWEST_FOR_A_TEST, seeds_for(1) if comparison.paired else 0)
    return f"{comparison.seeds} seed{'' if comparison.seeds == 1 else 's'} carry no test" if few else ""


def seeds_for(tests: int) -> int:
    """Return the fewest pairs of seeds with which a sign-flip test can pass Holm's first step among ``tests`` tests."""
    return max(FEWEST_FOR_A_TEST, math.ceil(math.log2(tests / ALPHA)))


def parting(curves: Curves, whole: Comparison | None) -> tuple[float, float] | None:
    """Find the first level from which winning and random tickets differ, by a max-T permutation test over levels.

    :returns: share of the pool at that level, and its adjusted p value; None if the whole effect is not shown on paired
        seeds, or no single level differs
    """
    if whole is None or whole.verdict != SHOWN or not whole.paired:
        return None
    first, second = curves[whole.contrast.first], curves[whole.contrast.second]
    both = sorted(first.keys() & second.keys())
    rounds, (used,) = common_rounds([first[seed].points.keys() & second[seed].points.keys() for seed in both])
    seeds = [both[index] for index in used]
    matrix = [[first[seed].points[r][1] - second[seed].points[r][1] for r in rounds] for seed in seeds]
    for round_, p in zip(rounds, max_t(matrix), strict=True):
        if p <= ALPHA:
            return share(first[seeds[0]].points[round_][0]), p
    return None
