"""Interquartile means over seeds with bootstrap intervals, as Agarwal et al. recommend (arXiv 2108.13264).

For one task their stratified bootstrap (rliable's) resamples the seeds; scipy does just that. rliable itself is not
used: what it is built on does not import beside pandas 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

FEWEST = 3  # seeds
_RESAMPLES = 10_000


def interquartile_mean(scores: Sequence[float]) -> tuple[float, float, float]:
    """The mean without the lowest and the highest quarter, and its 95% percentile-bootstrap interval.

    :param scores: a score a seed, :data:`FEWEST` or more
    :returns: mean, lower end, upper end; the same for the same scores; NaN where a score is NaN or infinite
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
