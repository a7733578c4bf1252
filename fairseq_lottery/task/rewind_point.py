"""The rewind point of a dense run: its weights, in fp32, as a file beside the checkpoints."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Callable
from pathlib import Path

from fairseq_lottery.patches import ended_badly, is_fairseq_command
from lottery_core.errors import ConfigError
from lottery_core.experiments import Point, parse_point, paths
from lottery_core.tickets import Weights

log = logging.getLogger("fairseq_lottery")
UNITS = ("updates", "epochs")


def parse_rewind(text: str, option: str = "--rewind-point") -> Point:
    """A rewind point as users type it: ``update:N``, ``epoch:N`` or ``init``.

    :param option: that it was given by, for messages
    :raises ConfigError: another form
    """
    return parse_point(text, UNITS, option)


class RewindPoint:
    """Writes ``init.safetensors`` at the start and ``rewind.safetensors`` at the rewind point.

    :param folder: where to
    :param point: the rewind point; ``None`` keeps only the start
    :param write: whether this process writes (one rank does)
    :param max_update: of the training, 0 for no limit
    :param max_epoch: of the training, 0 for no limit
    :raises ConfigError: the point lies beyond the end
    """

    def __init__(self, folder: Path, point: Point | None, write: bool, max_update: int, max_epoch: int) -> None:
        self.folder, self.point, self.write = folder, point, write
        self._max_epoch = max_epoch
        self._started = False
        self._epoch_done = self._done = 0
        if point is not None:
            limit = {"updates": max_update, "epochs": max_epoch}[point.unit]
            if limit and point.count > limit:
                raise ConfigError(f"the rewind point {point} is never reached: the training ends at {limit}")
            if write and is_fairseq_command():
                # No hook of a task is the last one: fairseq stops for time, patience or a small learning rate too.
                atexit.register(self.warn_if_missed)

    def check_epoch_length(self, updates: int) -> None:
        """:raises ConfigError: epochs of so many updates end before the rewind point"""
        if self.point is not None and self.point.unit == "updates" and self._max_epoch:
            most = updates * self._max_epoch
            if self.point.count > most:
                raise ConfigError(
                    f"the rewind point {self.point} is never reached: {self._max_epoch} epochs have {most} updates"
                )

    def before_update(self, done: int, weights: Callable[[], Weights]) -> None:
        """Called before an update, ``done`` updates after the start; ``weights`` makes a snapshot."""
        if self._started or done:
            return
        self._started = True
        if self.write:
            start = weights()
            start.save(self.folder / paths.INIT)
            if self.point is not None and self.point.count == 0:
                self._save(start)

    def after_update(self, done: int, epoch: int, epoch_ends: bool, weights: Callable[[], Weights]) -> None:
        """Called after an update. A skipped one (overflow under ``--amp``) comes again and is written again.

        :param done: updates since the start, this one included
        :param epoch: its epoch, from 1
        :param epoch_ends: it is the epoch's last
        """
        self._done = done
        if self.point is None or not self.point.count or not self.write:
            return
        reached = done == self.point.count if self.point.unit == "updates" else False
        if self.point.unit == "epochs" and epoch == self.point.count and epoch_ends:
            reached, self._epoch_done = True, epoch
        if reached:
            self._save(weights())

    def epoch_begins(self, epoch: int, weights: Callable[[], Weights] | None) -> None:
        """Catches an epoch whose last update was skipped; ``weights`` is ``None`` before the first update."""
        point = self.point
        if point is None or point.unit != "epochs" or not self.write or weights is None:
            return
        if point.count == epoch - 1 != self._epoch_done:
            self._epoch_done = point.count
            self._save(weights())

    def warn_if_missed(self) -> None:
        """Called at the end: says so where a training that ended well did not reach the point."""
        if not ended_badly() and not (self.folder / paths.REWIND).exists():
            log.warning(
                "the training ended after %d updates, before the rewind point %s: there is no %s, "
                "so no winning ticket can be made of this run",
                self._done,
                self.point,
                self.folder / paths.REWIND,
            )

    def _save(self, weights: Weights) -> None:
        weights.save(self.folder / paths.REWIND)
        log.info("rewind point %s: %s", self.point, self.folder / paths.REWIND)
