"""How many seeds an experiment needs, from a difference fixed in advance and an upper limit of the standard deviation.

The observed difference is never used: its "observed power" says no more than its p value (Hoenig and Heisey, 2001). The
standard deviation of few seeds is itself uncertain, so its upper 80% limit is used (Browne, 1995).
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lottery_core.reports.answer.contrasts import Comparison, seeds_for
from lottery_core.reports.answer.significance import ALPHA, flips

POWER = 0.80
LIMIT = 0.80  # confidence level of the upper limit of the standard deviation
MOST = 100  # largest number of seeds that is reported
_EXACT = 10  # seeds up to which the power of the sign flip is simulated
_DRAWS = 2000


@dataclass(frozen=True)
class SeedsNeeded:
    """How many seeds show a difference with 80% power.

    :param effect: the difference, normalised: dense is 1, the floor 0
    :param spread: standard deviation over seeds of the paired differences, normalised; the largest of the contrasts
    :param limit: upper 80% limit of ``spread``, from which ``seeds`` is computed
    :param tests: number of tests that are corrected for
    :param seeds: the fewest seeds; None if more than :data:`MOST` are needed
    :param whole: whether they are those of the whole effect, not of the other contrasts
    """

    effect: float
    spread: float
    limit: float
    tests: int
    seeds: int | None
    whole: bool


def upper_limit(spread: float, seeds: int) -> float:
    """Return the upper 80% limit of a standard deviation, by the chi-squared distribution.

    :param spread: the standard deviation
    :param seeds: number of values that it was computed from, at least 2
    """
    from scipy import stats

    return spread * math.sqrt((seeds - 1) / float(stats.chi2.ppf(1 - LIMIT, seeds - 1)))


@functools.cache
def power(ratio: float, seeds: int, alpha: float) -> float:
    """Return the power of the one-sided sign-flip test for normal paired differences.

    It is simulated up to 10 seeds, always with the same random numbers; beyond, the power of the t test is used.

    :param ratio: mean divided by standard deviation of the differences
    :param seeds: number of pairs
    :param alpha: level of the test
    """
    if seeds > _EXACT:
        from scipy import stats

        critical = stats.t.ppf(1 - alpha, seeds - 1)
        return float(stats.nct.sf(critical, seeds - 1, ratio * math.sqrt(seeds)))
    allowed = math.floor(alpha * 2**seeds + 1e-9)
    if allowed < 1:
        return 0.0
    draws = np.random.default_rng(seeds).standard_normal((_DRAWS, seeds)) + ratio
    sums = draws @ flips(seeds).T
    return float(np.mean((sums >= sums[:, :1] - 1e-9).sum(1) <= allowed))


def seeds_needed(
    comparisons: Sequence[Comparison], effect: float, tests: int, distance: float | None, whole: bool = True
) -> SeedsNeeded | None:
    """Compute how many seeds the tests need, each at the level that Holm's method gives the first of them.

    :param comparisons: paired contrasts; the one with the largest standard deviation is used
    :param effect: the difference that would matter, normalised
    :param tests: number of tests that are corrected for
    :param distance: the distance from floor to dense
    :param whole: whether the contrast is the whole effect
    :returns: None if no contrast has two pairs, or there is no scale
    """
    if distance is None:
        return None
    spreads = []
    for values in (comparison.differences for comparison in comparisons):
        if len(values) > 1:
            spread = statistics.stdev(values) / distance
            spreads.append((upper_limit(spread, len(values)), spread))
    if not spreads:
        return None
    limit, spread = max(spreads)
    return SeedsNeeded(effect, spread, limit, tests, _fewest(effect, limit, tests), whole)


def _fewest(effect: float, spread: float, tests: int) -> int | None:
    least = seeds_for(tests)
    if spread <= 0:
        return least
    for count in range(least, MOST + 1):
        if power(effect / spread, count, ALPHA / tests) >= POWER:
            return count
    return None
