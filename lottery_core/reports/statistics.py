"""Interquartile means over seeds with bootstrap intervals, as Agarwal et al. recommend (arXiv 2108.13264).

For a single task, their stratified bootstrap (in the package rliable) resamples the seeds, as scipy does. rliable
itself is not used, because its dependencies cannot be imported with pandas 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

FEWEST = 3  # seeds that an interval needs
_RESAMPLES = 10_000


def interquartile_mean(scores: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean without the lowest and the highest quarter, and its 95% percentile-bootstrap interval.

    :param scores: one score per seed, at least :data:`FEWEST`
    :returns: mean, lower end and upper end of the interval; the same scores always give the same interval; NaN if a
        score is NaN or infinite
    """
    from scipy import stats

    def mean(values: object, axis: int = -1) -> object:
        return stats.trim_mean(values, 0.25, axis=axis)

    if not all(map(math.isfinite, scores)):
        return math.nan, math.nan, math.nan
    if len(set(scores)) == 1:
        return scores[0], scores[0], scores[0]
    found = stats.bootstrap(
        (scores,), mean, n_resamples=_RESAMPLES, method="percentile", confidence_level=0.95, rng=0, vectorized=True
    ).confidence_interval
    return float(stats.trim_mean(scores, 0.25)), float(found.low), float(found.high)
