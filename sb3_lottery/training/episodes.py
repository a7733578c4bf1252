"""Returns of training episodes: the paper's score is the mean of the last L (PAPER 3.3)."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Mapping
from typing import Any

from lottery_core.errors import ConfigError


class Episodes:
    """Counts finished episodes and keeps the returns of the last ones.

    SB3's own ``ep_info_buffer`` lags a step behind its callbacks and is shorter (``stats_window_size``).

    :param last: L, how many returns to keep, at least 1
    """

    def __init__(self, last: int) -> None:
        if last < 1:
            raise ConfigError(f"the score needs at least 1 episode, not {last}")
        self.count = 0
        self.returns: deque[float] = deque(maxlen=last)

    def add(self, local: Mapping[str, Any]) -> int:
        """Add what finished in one step, from a callback's ``locals`` (``infos`` as Monitor writes them).

        Returns are undiscounted and not scaled: those that Monitor saw.

        :returns: how many episodes finished
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
        """Mean of the kept returns; NaN before the first."""
        return statistics.fmean(self.returns) if self.returns else math.nan

    @property
    def standard_error(self) -> float:
        """Of :attr:`score`; NaN for fewer than two returns."""
        many = len(self.returns)
        return statistics.stdev(self.returns) / math.sqrt(many) if many > 1 else math.nan
