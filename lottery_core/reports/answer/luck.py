"""Luck: how much of the variance of scores is noise of training, and how much is difference between tickets."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from lottery_core.experiments import Row
from lottery_core.pruning import BEST_OF, FLOOR


@dataclass(frozen=True)
class Luck:
    """The variance of scores, split by training the same tickets under different noise (one-way random effects).

    :param kind: the kind
    :param tickets: how many tickets were trained several times
    :param trainings: number of runs of these tickets in total
    :param noise: standard deviation between runs of one ticket
    :param tickets_differ: standard deviation between tickets of one level; None if no level has two such tickets
    :param share: share of the variance that is noise; None if ``tickets_differ`` is None, or if nothing varies
    :param low: lower end of the 95% interval of ``share``, exact where all tickets were trained equally often (scores
        normally distributed); None if there is no ``share``
    :param high: its upper end
    """

    kind: str
    tickets: int
    trainings: int
    noise: float
    tickets_differ: float | None
    share: float | None
    low: float | None = None
    high: float | None = None


def luck_of(rows: Sequence[Row]) -> list[Luck]:
    """Split the variance of each kind whose tickets were trained several times.

    :param rows: rows of one experiment; rows with the same seed, kind and round differ in their noise. Scores that are
        not finite are left out
    """
    groups: dict[str, dict[tuple[int, int], list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        # A training that diverged has no distance from the others.
        if row.kind != FLOOR and row.kind not in BEST_OF and math.isfinite(row.score):
            groups[row.kind][row.round, row.seed].append(row.score)
    result = []
    for kind, cells in groups.items():
        several = {key: scores for key, scores in cells.items() if len(scores) > 1}
        if several:
            result.append(_split(kind, several))
    return result


def _split(kind: str, cells: dict[tuple[int, int], list[float]]) -> Luck:
    freedom = sum(len(scores) - 1 for scores in cells.values())
    within = sum((len(scores) - 1) * statistics.variance(scores) for scores in cells.values()) / freedom
    between: list[float] = []
    sizes: list[float] = []
    compared = 0  # degrees of freedom between tickets
    for round_ in {key[0] for key in cells}:
        level = [scores for key, scores in cells.items() if key[0] == round_]
        if len(level) > 1:
            # The variance of the mean of k runs includes 1/k of the noise variance, which is subtracted.
            size = len(level) / sum(1 / len(scores) for scores in level)
            sizes.append(size)
            compared += len(level) - 1
            between.append(statistics.variance(statistics.fmean(scores) for scores in level) - within / size)
    trainings = sum(map(len, cells.values()))
    if not between:
        return Luck(kind, len(cells), trainings, within**0.5, None, None)
    differ = statistics.fmean(between)
    tickets = max(0.0, differ)
    total = within + tickets
    share, low, high = within / total if total else None, None, None
    if within:
        low, high = _interval(1 + statistics.fmean(sizes) * differ / within, statistics.fmean(sizes), compared, freedom)
    return Luck(kind, len(cells), trainings, within**0.5, tickets**0.5, share, low, high)


def _interval(ratio: float, size: float, compared: int, freedom: int) -> tuple[float, float]:
    # The ratio of the mean squares, over 1 + size x (variance between tickets / noise), has an F distribution.
    from scipy import stats

    ends = [(ratio / float(stats.f.ppf(point, compared, freedom)) - 1) / size for point in (0.025, 0.975)]
    low, high = (1 / (1 + max(0.0, end)) for end in ends)
    return low, high
