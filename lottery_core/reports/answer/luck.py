"""Luck itself: how much of the spread is noise of training, and how much is difference between tickets."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from lottery_core.experiments import Row
from lottery_core.pruning import FLOOR


@dataclass(frozen=True)
class Luck:
    """The spread of scores, split by trainings of the same tickets under other noise (one-way random effects).

    :param kind: the kind
    :param tickets: how many tickets were trained several times
    :param trainings: how many trainings these had in all
    :param noise: standard deviation between trainings of one ticket
    :param tickets_differ: standard deviation between tickets of one level; None where no level has two such tickets
    :param share: share of the variance that is noise; None with ``tickets_differ``, or where nothing varies
    """

    kind: str
    tickets: int
    trainings: int
    noise: float
    tickets_differ: float | None
    share: float | None


def luck_of(rows: Sequence[Row]) -> list[Luck]:
    """Split the spread of each kind whose tickets were trained several times.

    :param rows: rows of one experiment; those with one seed, kind and round differ in their noise
    """
    groups: dict[str, dict[tuple[int, int], list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.kind != FLOOR:
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
    for round_ in {key[0] for key in cells}:
        level = [scores for key, scores in cells.items() if key[0] == round_]
        if len(level) > 1:
            # The mean of k trainings carries a k-th of their noise, which is not the ticket's.
            size = len(level) / sum(1 / len(scores) for scores in level)
            between.append(statistics.variance(statistics.fmean(scores) for scores in level) - within / size)
    trainings = sum(map(len, cells.values()))
    if not between:
        return Luck(kind, len(cells), trainings, within**0.5, None, None)
    tickets = max(0.0, statistics.fmean(between))
    total = within + tickets
    return Luck(kind, len(cells), trainings, within**0.5, tickets**0.5, within / total if total else None)
