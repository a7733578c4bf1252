"""Intervals and tests over seeds: t intervals, exact sign flips, Welch's test, Holm's correction, max-T over levels.

Sources: Student (1908), Welch (1947), Fisher's randomisation test (1935), Holm (1979), Westfall and Young (1993); see
``docs/statistics.md``.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CONFIDENCE = 0.95
ALPHA = 0.05
FEWEST_FOR_A_TEST = 5  # seeds: the smallest p of a sign flip of 4 is 1/16
_ALL_FLIPS = 12  # number of seeds up to which every flip is tried
_DRAWN_FLIPS = 8191  # number of random flips for more seeds
_TIE = 1e-9  # relative: sums that differ by less count as equal


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval.

    :param estimate: the estimate
    :param low: lower end; None if there is no interval
    :param high: upper end; None if there is no interval
    """

    estimate: float
    low: float | None = None
    high: float | None = None

    def scaled(self, factor: float) -> Interval:
        """Return the estimate and its interval in other units.

        :param factor: a positive factor
        """
        low, high = (None if end is None else end * factor for end in (self.low, self.high))
        return Interval(self.estimate * factor, low, high)


def t_interval(values: Sequence[float]) -> Interval:
    """Return the mean with its 95% t interval; a single value has no interval.

    :param values: one value per seed
    """
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return Interval(mean)
    from scipy import stats

    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * stats.sem(values))
    return Interval(mean, mean - half, mean + half)


def welch_interval(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Return the difference of two means with Welch's 95% interval.

    There is none if a side has a single value, or if neither has any spread.

    :param first: one value per seed
    :param second: one value per seed, for other seeds
    """
    difference = math.fsum(first) / len(first) - math.fsum(second) / len(second)
    if min(len(first), len(second)) < 2 or len({*first}) == len({*second}) == 1:
        return Interval(difference)
    from scipy import stats

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a side without any spread
        ends = stats.ttest_ind(first, second, equal_var=False).confidence_interval(CONFIDENCE)
    return Interval(difference, float(ends.low), float(ends.high))


def welch_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the one-sided p value of Welch's test that the mean of ``first`` is the higher one.

    It is not below the smallest p value of a permutation test of as many seeds: with little or no spread, that of
    Welch's test rests on its assumption of normality alone.

    :param first: one value per seed, two or more
    :param second: one value per seed, for other seeds, two or more
    """
    from scipy import stats

    least = 1 / math.comb(len(first) + len(second), len(first))
    if len({*first}) == len({*second}) == 1:
        return least if first[0] > second[0] else 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a side without any spread
        return max(least, float(stats.ttest_ind(first, second, equal_var=False, alternative="greater").pvalue))


def flips(count: int) -> Array:
    """Return signs for flipping ``count`` paired differences, one flip per row; the first row flips nothing.

    Up to 12 pairs these are all flips; beyond, 8,191 random ones, always the same.
    """
    if count <= _ALL_FLIPS:
        return np.array(list(itertools.product((1.0, -1.0), repeat=count)))
    drawn = np.random.default_rng(count).choice((1.0, -1.0), size=(_DRAWN_FLIPS, count))
    return np.vstack([np.ones((1, count)), drawn])


def smallest_p(count: int) -> float:
    """Return the smallest p value that a one-sided sign-flip test of ``count`` pairs can give."""
    return 1 / len(flips(count)) if count > _ALL_FLIPS else 2.0**-count


def sign_flip_p(differences: Sequence[float]) -> float:
    """Return the one-sided p value of the exact sign-flip test that paired differences lie above 0.

    :param differences: one difference per seed
    :returns: the share of flips whose mean is at least as high as the observed one
    """
    values = np.asarray(differences, dtype=float)
    sums = flips(len(values)) @ values
    return float(np.mean(sums >= sums[0] - _TIE * np.abs(values).sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values by Holm's method; the order is kept.

    :param p_values: p values of the tests of one family
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def max_t(differences: Sequence[Sequence[float]]) -> list[float]:
    """Return p values by level, adjusted for all levels at once: step-down max-T over sign flips (Westfall and Young).

    A flip changes the sign of a whole seed, which keeps the correlation between levels. The statistic is the mean
    divided by the sum of its standard error and the median standard error of all levels, so that levels with very
    little variance do not dominate.

    :param differences: for each seed, its paired differences by level
    :returns: one one-sided adjusted p value per level
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
