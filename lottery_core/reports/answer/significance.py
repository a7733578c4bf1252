"""Intervals and tests over seeds: t intervals, exact sign flips, Welch's test, Holm's correction, max-T over levels.

Sources: Student (1908), Welch (1947), Fisher's randomisation test (1935), Holm (1979), Westfall and Young (1993); see
``docs/statistics.md``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CONFIDENCE = 0.95
ALPHA = 0.05
FEWEST_FOR_A_TEST = 5  # seeds: the smallest p of a sign flip of 4 is 1/16
_ALL_FLIPS = 12  # seeds up to which every flip is tried
_DRAWN_FLIPS = 8191  # beyond
_TIE = 1e-9  # relative: sums that differ by less are equal


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval.

    :param estimate: the estimate
    :param low: lower end; None where there is none
    :param high: upper end; None where there is none
    """

    estimate: float
    low: float | None = None
    high: float | None = None

    def scaled(self, factor: float) -> Interval:
        """The same in other units.

        :param factor: a positive factor
        """
        low, high = (None if end is None else end * factor for end in (self.low, self.high))
        return Interval(self.estimate * factor, low, high)


def t_interval(values: Sequence[float]) -> Interval:
    """The mean with its 95% t interval; without an interval for a single value.

    :param values: a value a seed
    """
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return Interval(mean)
    from scipy import stats

    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * stats.sem(values))
    return Interval(mean, mean - half, mean + half)


def welch_interval(first: Sequence[float], second: Sequence[float]) -> Interval:
    """The difference of two means with its 95% interval by Welch; without one where a side has a single value.

    :param first: a value a seed
    :param second: a value a seed, of other seeds
    """
    difference = math.fsum(first) / len(first) - math.fsum(second) / len(second)
    if min(len(first), len(second)) < 2:
        return Interval(difference)
    from scipy import stats

    if len({*first}) == len({*second}) == 1:
        return Interval(difference, difference, difference)
    ends = stats.ttest_ind(first, second, equal_var=False).confidence_interval(CONFIDENCE)
    return Interval(difference, float(ends.low), float(ends.high))


def welch_p(first: Sequence[float], second: Sequence[float]) -> float:
    """The one-sided p value of Welch's test that the mean of ``first`` is the higher one.

    :param first: a value a seed, two or more
    :param second: a value a seed, of other seeds, two or more
    """
    from scipy import stats

    if len({*first}) == len({*second}) == 1:
        return 0.0 if first[0] > second[0] else 1.0
    return float(stats.ttest_ind(first, second, equal_var=False, alternative="greater").pvalue)


def flips(count: int) -> Array:
    """Signs to flip ``count`` paired differences with, a row a flip; the first row flips nothing.

    All of them up to 12 pairs, then 8,191 that are drawn, always the same.
    """
    if count <= _ALL_FLIPS:
        return np.array(list(itertools.product((1.0, -1.0), repeat=count)))
    drawn = np.random.default_rng(count).choice((1.0, -1.0), size=(_DRAWN_FLIPS, count))
    return np.vstack([np.ones((1, count)), drawn])


def smallest_p(count: int) -> float:
    """The smallest p value that a one-sided sign flip of ``count`` pairs can give."""
    return 1 / len(flips(count)) if count > _ALL_FLIPS else 2.0**-count


def sign_flip_p(differences: Sequence[float]) -> float:
    """The one-sided p value of the exact sign-flip test that paired differences lie above 0.

    :param differences: a difference a seed
    :returns: the share of flips whose mean is at least as high as the observed one
    """
    values = np.asarray(differences, dtype=float)
    sums = flips(len(values)) @ values
    return float(np.mean(sums >= sums[0] - _TIE * np.abs(values).sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted by Holm's method, in the order given.

    :param p_values: p values of the tests of one family
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def max_t(differences: Sequence[Sequence[float]]) -> list[float]:
    """P values by level, adjusted for all levels at once: step-down max-T over sign flips (Westfall and Young).

    A flip changes the sign of a whole seed, so what levels have in common stays. The statistic is the mean over its
    standard error plus the median standard error of all levels, so that levels without any spread do not win.

    :param differences: for each seed its paired differences, a number a level
    :returns: a one-sided adjusted p value a level
    """
    values = np.asarray(differences, dtype=float)
    count = len(values)
    means = flips(count) @ values / count
    squares = (values**2).sum(0)
    variances = np.maximum(squares - count * means**2, 0) / (count - 1)
    errors = np.sqrt(variances / count)
    guard = float(np.median(errors[0])) or float(errors[0].max()) or 1.0
    ratios = means / (errors + guard)
    order = np.argsort(-ratios[0], kind="stable")
    adjusted, highest = [1.0] * len(order), 0.0
    for rank, index in enumerate(order):
        most = ratios[:, order[rank:]].max(1)
        highest = max(highest, float(np.mean(most >= ratios[0, index] - _TIE)))
        adjusted[index] = highest
    return adjusted
