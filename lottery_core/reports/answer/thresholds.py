"""How small: the fewest parameters at which a kind keeps the dense score within a margin, with a threshold per seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lottery_core.reports.answer.curves import Curve, common_rounds, share
from lottery_core.reports.answer.significance import Interval, t_interval

LAST, FIRST = "inside at the last level", "outside at the first level"
_LATE = 2  # cost of a level inside the margin below the threshold; a level outside above it costs 1


@dataclass(frozen=True)
class SeedThreshold:
    """The threshold of one seed.

    :param seed: the seed
    :param surviving: share of the pool, half-way (in halvings) between the last level inside and the first outside
    :param censored: :data:`LAST` if smaller networks may suffice, :data:`FIRST` if no level counts as kept; else empty
    :param luck: number of levels that are inside although they are smaller than the threshold
    """

    seed: int
    surviving: float
    censored: str = ""
    luck: int = 0


@dataclass(frozen=True)
class Threshold:
    """How small a kind can be.

    :param kind: the kind
    :param seeds: the threshold of each seed that is finished
    :param surviving: geometric mean of the thresholds, as a share of the pool
    :param low: lower end of its 95% interval; None for one seed, and if a seed is inside at the last level
    :param high: upper end of its 95% interval; None for one seed
    :param left_out: seeds that are left out as unfinished
    """

    kind: str
    seeds: tuple[SeedThreshold, ...]
    surviving: float
    low: float | None
    high: float | None
    left_out: tuple[int, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether any seed keeps the score at any level, other than by luck."""
        return self.censored(FIRST) < len(self.seeds)

    @property
    def lucky(self) -> bool:
        """Whether a seed that keeps the score at no level is inside at a smaller one, which counts as luck."""
        return any(seed.luck for seed in self.seeds if seed.censored == FIRST)

    def censored(self, how: str) -> int:
        """Count the seeds that are censored in the given way."""
        return sum(seed.censored == how for seed in self.seeds)


def levels_kept(inside: Sequence[bool]) -> int:
    """Count the levels, from the largest network on, at which a curve with dips keeps the score: the cheapest split.

    A level outside the margin above the split costs 1 (a run that fell into a dip), a level inside below it costs 2
    (luck, which is rare for small networks); of equal splits, the one with more levels is taken. It is the crossing of
    an isotonic regression at the quantile 2/3. The costs were chosen by simulation, see ``docs/statistics.md``.

    :param inside: whether the score of each level is within the margin, the largest network first
    """
    cost = _LATE * sum(inside)
    best, kept = cost, 0
    for index, good in enumerate(inside, 1):
        cost += -_LATE if good else 1
        if cost <= best:
            best, kept = cost, index
    return kept


def threshold(kind: str, curves: Mapping[int, Curve], limit: float) -> Threshold:
    """Compute the threshold of a kind: mean and 95% t interval of log2(size) over the seeds.

    Sizes between two levels were not tried, so half the distance between levels is added to the interval (as the root
    of the sum of squares). A seed that lacks the last levels of the others is left out, as it has not been inside
    there; a level that it lacks in between only makes that distance larger.

    :param kind: the kind
    :param curves: seed -> curve, at least one, each with at least one level
    :param limit: the score to keep; higher is better
    """
    found, gaps = [], []
    everything = list(curves)
    every = {round_ for curve in curves.values() for round_ in curve.points}
    ends = (max(curve.points) for curve in curves.values())
    _, (used,) = common_rounds([[round_ for round_ in every if round_ <= end] for end in ends])
    for seed in (everything[index] for index in used):
        curve = curves[seed]
        points = sorted(curve.points.values())
        places = [0.0, *(place for place, _ in points)]
        inside = [score >= limit for _, score in points]
        kept = levels_kept(inside)
        beyond = places[kept + 1] if kept < len(points) else places[kept]
        gaps.append(beyond - places[kept] if kept < len(points) else places[kept] - places[kept - 1])
        censored = LAST if kept == len(points) else FIRST if kept == 0 else ""
        middle = (places[kept] + beyond) / 2
        found.append((SeedThreshold(seed, share(middle), censored, sum(inside[kept:])), middle))
    interval = _with_gap(t_interval([halvings for _, halvings in found]), statistics.fmean(gaps) / 2)
    seeds = tuple(seed for seed, _ in found)
    open_end = any(seed.censored == LAST for seed in seeds)
    low = None if interval.high is None or open_end else share(interval.high)
    high = None if interval.low is None else min(1.0, share(interval.low))
    left_out = tuple(seed for index, seed in enumerate(everything) if index not in used)
    return Threshold(kind, seeds, share(interval.estimate), low, high, left_out)


def _with_gap(interval: Interval, half_gap: float) -> Interval:
    if interval.low is None or interval.high is None:
        return interval
    half = math.hypot((interval.high - interval.low) / 2, half_gap)
    return Interval(interval.estimate, interval.estimate - half, interval.estimate + half)
