"""Returns of training episodes: the score is the mean of the last L of them (PAPER, section 3.3)."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Mapping
from typing import Any

from lottery_core.errors import ConfigError


class Episodes:
    """Count finished episodes and keep the returns of the last L.

    SB3's own ``ep_info_buffer`` lags one step behind its callbacks and is shorter (``stats_window_size``).

    :param last: L, the number of returns to keep, at least 1
    :raises ConfigError: ``last`` below 1
    """

    def __init__(self, last: int) -> None:
        if last < 1:
            raise ConfigError(f"the score needs at least 1 episode, not {last}")
        self.count = 0
        self.returns: deque[float] = deque(maxlen=last)

    def add(self, local: Mapping[str, Any]) -> int:
        """Add the episodes that finished in one step.

        Returns are those of ``Monitor``: undiscounted and not scaled.

        :param local: ``locals`` of a callback, with ``infos`` as ``Monitor`` writes them
        :returns: number of episodes that finished
        """
        before = self.count
        for info in local["infos"]:
            episode = info.get("episode")
            if episode is not None:
                self.count += 1
                self.returns.append(float(episode["r"]))
        return self.count - before

    @property
    def score(self) -> float:
        """Mean of the kept returns; NaN before the first episode has finished."""
        return statistics.fmean(self.returns) if self.returns else math.nan

    @property
    def standard_error(self) -> float:
        """Standard error of :attr:`score`; NaN for fewer than two returns."""
        count = len(self.returns)
        return statistics.stdev(self.returns) / math.sqrt(count) if count > 1 else math.nan
