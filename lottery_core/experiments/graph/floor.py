"""Where a kind may end in one repeat: after some scored levels in a row at the floor.

The rule looks at one repeat alone. A test over seeds is no rule: of three PPO runs at 99% pruned one reached 302 where
the others were at 22.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lottery_core.errors import ConfigError
from lottery_core.experiments.graph.plan import Run
from lottery_core.pruning import BEST_OF, DENSE

BOUND = 0.05  # share of the distance from the floor to the dense score


@dataclass(frozen=True)
class Level:
    """A scored level of one kind in one repeat.

    :param round: the round
    :param score: its score
    """

    round: int
    score: float


def at_floor(score: float, dense: float, floor: float, sign: float = 1.0, bound: float = BOUND) -> bool:
    """Return whether a score lies within a share of the range above the floor, or below the floor.

    A score that is not finite counts as the floor: such a training has diverged.

    :param score: the score
    :param dense: score of the dense network of the same repeat
    :param floor: the measured score without any learning
    :param sign: 1 where higher scores are better, -1 where lower ones are
    :param bound: share of the distance from the floor to the dense score
    :returns: ``False`` if the dense network is not better than the floor by a finite distance, so there is no range
    """
    distance = dense - floor
    if not math.isfinite(distance) or sign * distance <= 0:  # a dense training that failed says nothing of tickets
        return False
    return not math.isfinite(score) or (score - floor) / distance <= bound


def ends_after(
    levels: Iterable[Level], scored: Iterable[int], dense: float, floor: float, count: int, sign: float = 1.0
) -> int | None:
    """Return the round after which a kind need not be trained in one repeat; ``None`` if it goes on.

    :param levels: the finished levels of the kind in the repeat
    :param scored: all scored rounds, rising
    :param dense: score of the dense network of the repeat
    :param floor: the measured score without any learning
    :param count: number of scored levels in a row that must lie at the floor, at least 1
    :param sign: 1 where higher scores are better, -1 where lower ones are
    """
    scores = {level.round: level.score for level in levels}
    row = 0
    for round_ in scored:
        known = scores.get(round_)
        row = row + 1 if known is not None and at_floor(known, dense, floor, sign) else 0
        if row == count:
            return round_
    return None


def check_levels_at_floor(count: int | None) -> None:
    """Check the number of scored levels in a row at the floor after which a kind ends.

    :param count: the number; ``None`` if no kind ends
    :raises ConfigError: it is below 1
    """
    if count is not None and count < 1:
        raise ConfigError(f"--stop-at-floor must be at least 1 level, not {count}")


def with_needs(runs: Iterable[Run], needs: Callable[[Run], Iterable[Run]]) -> set[Run]:
    """Return runs with all that must be done before them.

    :param runs: the runs
    :param needs: returns the runs that must be done before a run can start
    """
    found: set[Run] = set()
    open_ = list(runs)
    while open_:
        run = open_.pop()
        if run not in found:
            found.add(run)
            open_ += needs(run)
    return found


class FloorStop:
    """Decides which runs are left out because their kind has ended at the floor in their repeat.

    :param count: number of scored levels in a row at the floor after which a kind ends, at least 1
    :param floor: returns the measured score without any learning; ``None`` as long as it is not measured
    :param scored: all scored rounds, rising
    :param needs: returns the runs that must be done before a run can start
    :param sign: 1 where higher scores are better, -1 where lower ones are
    :param measured_by: the run whose process measures the floor, if it is not measured yet; levels wait for it
    :raises ConfigError: ``count`` is below 1
    """

    def __init__(
        self,
        count: int,
        floor: Callable[[], float | None],
        scored: Iterable[int],
        needs: Callable[[Run], Iterable[Run]],
        sign: float = 1.0,
        measured_by: Run | None = None,
    ) -> None:
        check_levels_at_floor(count)
        self.count, self.needs = count, needs
        self._read, self._sign = floor, sign
        self._floor: float | None = None
        self._measured_by = measured_by
        self.scored = sorted(scored)
        self._scores: dict[tuple[int, str], dict[int, float]] = defaultdict(dict)  # seed, kind -> round -> score

    def learn(self, run: Run, score: float) -> None:
        """Take note of a finished run.

        :param run: the run; those that only search, or repeat a ticket under other noise, do not count, nor does a
            single draw of several
        :param score: its score
        """
        if not run.search and run.noise == 1 and run.kind not in BEST_OF:
            self._scores[run.seed, run.kind][run.round] = score

    def lost_floor(self, run: Run) -> bool:
        """Take note of a run that has ended, and return whether it was to measure the floor but did not.

        :param run: a run that has finished or failed
        """
        if run != self._measured_by:
            return False
        self._measured_by = None
        return self._measured() is None

    def left_out(self, waiting: Iterable[Run]) -> list[Run]:
        """Return the waiting runs that are not needed: their kind has ended, and no run that goes on needs them.

        :param waiting: the runs that have not started
        """
        runs = list(waiting)
        needed = with_needs((run for run in runs if not run.search and not self._ended(run)), self.needs)
        return [run for run in runs if run not in needed]

    def holds(self, run: Run) -> bool:
        """Return whether a run must wait until it is known whether its kind has ended before it.

        :param run: a run that has all that it needs
        """
        if run.search or run.kind in BEST_OF or run.round not in self.scored:
            return False  # no single draw of several ends its kind
        place = self.scored.index(run.round)
        before = self.scored[max(0, place - self.count) : place]
        scores = [self._scores[run.seed, run.kind].get(round_) for round_ in before]
        if len(before) < self.count:
            return False
        if self._measured_by is not None and self._measured() is None:  # soon it is known which scores are low
            return True
        unknown = any(score is None for score in scores)
        return unknown and all(score is None or self._low(run, score) for score in scores)

    def _ended(self, run: Run) -> bool:
        dense_score, floor = self._dense(run), self._measured()
        if dense_score is None or floor is None:
            return False
        levels = [Level(round_, score) for round_, score in self._scores[run.seed, run.kind].items()]
        end = ends_after(levels, self.scored, dense_score, floor, self.count, self._sign)
        return end is not None and run.round > end

    def _low(self, run: Run, score: float) -> bool:
        dense_score, floor = self._dense(run), self._measured()
        return dense_score is not None and floor is not None and at_floor(score, dense_score, floor, self._sign)

    def _dense(self, run: Run) -> float | None:
        return self._scores[run.seed, DENSE].get(0)

    def _measured(self) -> float | None:
        # The process of the first dense run may measure it.
        if self._floor is None:
            self._floor = self._read()
        return self._floor
