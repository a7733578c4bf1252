"""Write the weights of a dense run at its rewind point, in fp32, beside the checkpoints."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fairseq_lottery.lengths import Lengths, updates_of_epoch
from fairseq_lottery.patches import ended_badly, is_fairseq_command
from fairseq_lottery.task.beginning import Beginning
from lottery_core.errors import ConfigError
from lottery_core.experiments import Point, parse_point, paths, point_folder
from lottery_core.tickets import Weights

log = logging.getLogger("fairseq_lottery")
UNITS = ("updates", "epochs")
_START = Beginning(0, {"epoch": 1, "iterations_in_epoch": 0})


def parse_rewind(text: str, option: str = "--rewind-point", words: Sequence[str] = ()) -> Point:
    """Parse a rewind point: ``update:N``, ``epoch:N`` or ``init``.

    :param text: the rewind point as given by the user
    :param option: the name of the option, for messages
    :param words: further words that the option accepts, for messages
    :raises ConfigError: the text has another form
    """
    return parse_point(text, UNITS, option, words=words)


class RewindPoint:
    """Writes ``init.safetensors`` at the start of a run and ``rewind.safetensors`` at its rewind point.

    :param folder: folder for both files
    :param point: the rewind point; ``None`` writes only ``init.safetensors``
    :param write: whether this process writes files, as exactly one rank must
    :param max_update: last update of the run, 0 for no limit
    :param max_epoch: last epoch of the run, 0 for no limit
    :raises ConfigError: the rewind point lies beyond the end of the run
    """

    def __init__(self, folder: Path, point: Point | None, write: bool, max_update: int, max_epoch: int) -> None:
        self.folder, self.point, self.write = folder, point, write
        self._max_epoch, self._max_update = max_epoch, max_update
        self._started = False
        self._epoch_done = self._done = 0
        self._epoch = 1
        if point is not None:
            limit = {"updates": max_update, "epochs": max_epoch}[point.unit]
            if limit and point.count > limit:
                raise ConfigError(
                    f"the rewind point {point} is never reached: the training ends at {point.unit}:{limit}"
                )
            if write and is_fairseq_command():
                # Tasks have no method for the end: fairseq also stops for time, patience or a low learning rate.
                atexit.register(self.warn_if_missed)

    def check_epoch_length(self, updates: int) -> None:
        """Check that the run reaches a rewind point in updates.

        :param updates: most updates in an epoch
        :raises ConfigError: the last epoch ends before the rewind point
        """
        if self.point is not None and self.point.unit == "updates" and self._max_epoch:
            most = updates * self._max_epoch
            if self.point.count > most:
                raise ConfigError(
                    f"the rewind point {self.point} is never reached: with --max-epoch {self._max_epoch} the "
                    f"training has {most} updates"
                )

    def check_epochs(self, updates: int) -> None:
        """Check that the run reaches a rewind point in epochs.

        :param updates: updates until the rewind point
        :raises ConfigError: the last update comes before the rewind point
        """
        if self.point is not None and self.point.unit == "epochs" and 0 < self._max_update < updates:
            raise ConfigError(
                f"the rewind point {self.point} is never reached: it comes after {updates} updates, and the training "
                f"ends at {self._max_update}"
            )

    def before_update(self, done: int, weights: Callable[[], Weights]) -> None:
        """Write the initial weights before the first update; call this before every update.

        What an earlier training, or an earlier rewind point, has left is removed.

        :param done: updates since the start
        :param weights: takes a snapshot of the model
        :raises ConfigError: the run is resumed after its rewind point, and its weights there were not written
        """
        if self._started:
            return
        self._started = True
        if not self.write:
            return
        if done and self._has_passed(done):
            self._require_written(done)
            return
        if self.point is not None:
            for name in (paths.REWIND, paths.REWIND_COUNTS):  # the weights first: they mark the point as complete
                (self.folder / name).unlink(missing_ok=True)
        if not done:
            start = weights()
            start.save(self.folder / paths.INIT)
            if self.point is not None and self.point.count == 0:
                self._save(start, _START)

    def _has_passed(self, done: int) -> bool:
        point = self.point
        return point is not None and (point.count <= done if point.unit == "updates" else point.count < self._epoch)

    def _require_written(self, done: int) -> None:
        path, counts = self.folder / paths.REWIND, self.folder / paths.REWIND_COUNTS
        assert self.point is not None
        reason = "" if path.exists() else f"there is no {path}"
        if not reason and counts.exists():  # not where the position in the data is not known
            written = Beginning.beside(path)
            if not written.is_at(self.point):
                reason = f"{path} has the weights after {written.updates} updates"
        if reason:
            raise ConfigError(
                f"the rewind point {self.point} has passed, at {done} updates, and {reason}: give --rewind-point as "
                "it was, or begin again in another --save-dir"
            )

    def after_update(
        self,
        done: int,
        epoch: int,
        epoch_ends: bool,
        weights: Callable[[], Weights],
        position: Beginning | None = None,
    ) -> None:
        """Write the weights if this update is the rewind point; call this after every update.

        An update that is skipped (overflow under ``--amp``) is repeated, and the weights are then written again.

        :param done: updates since the start, including this one
        :param epoch: epoch of the update, counted from 1
        :param epoch_ends: whether the update is the last of its epoch
        :param weights: takes a snapshot of the model
        :param position: how far the run has come
        """
        self._done = done
        if self.point is None or not self.point.count or not self.write:
            return
        reached = done == self.point.count if self.point.unit == "updates" else False
        if self.point.unit == "epochs" and epoch == self.point.count and epoch_ends:
            reached, self._epoch_done = True, epoch
        if reached:
            self._save(weights(), position)

    def epoch_begins(
        self, epoch: int, weights: Callable[[], Weights] | None, position: Beginning | None = None
    ) -> None:
        """Write the weights if the rewind point is the end of an epoch whose last update was skipped.

        :param epoch: epoch that begins, counted from 1
        :param weights: takes a snapshot of the model; ``None`` before the first update
        :param position: how far the run has come
        """
        self._epoch, point = epoch, self.point
        if point is None or point.unit != "epochs" or not self.write or weights is None:
            return
        if point.count == epoch - 1 != self._epoch_done:
            self._epoch_done = point.count
            self._save(weights(), position)

    def warn_if_missed(self) -> None:
        """Warn if a run has ended without an error but before the rewind point."""
        if not ended_badly() and not (self.folder / paths.REWIND).exists():
            log.warning(
                "the training ended after %d updates, before the rewind point %s: there is no %s, "
                "so this run cannot give a winning ticket",
                self._done,
                self.point,
                self.folder / paths.REWIND,
            )

    def _save(self, weights: Weights, position: Beginning | None) -> None:
        if position is not None:
            position.write(self.folder)  # first, because the weights mark the rewind point as complete
        weights.save(self.folder / paths.REWIND)
        log.info("rewind point %s: %s", self.point, self.folder / paths.REWIND)


def points_of(options: Any, write: bool) -> list[RewindPoint]:
    """Return what writes the weights of a dense run: at its rewind point, and at the candidates of a stability probe.

    :param options: the lottery task's configuration
    :param write: whether this process writes files
    :raises ConfigError: a point is not understood, or lies beyond the end of the run
    """
    folder, limits = Path(options.save_dir), (int(options.max_update or 0), int(options.max_epoch or 0))
    own = parse_rewind(options.rewind_point) if options.rewind_point else None
    candidates = [parse_rewind(word, "--probe-points") for word in (options.probe_points or "").split()]
    more = [RewindPoint(point_folder(folder, each), at, write, *limits) for each, at in enumerate(candidates, 1)]
    return [RewindPoint(folder, own, write, *limits), *more]


def check_lengths(points: Sequence[RewindPoint], options: Any, batches: int) -> None:
    """Check that the run reaches its rewind points.

    :param points: the rewind points
    :param options: the lottery task's configuration
    :param batches: number of batches of an epoch
    :raises ConfigError: the training ends before one of them
    """
    frequencies, whole = tuple(options.update_freq), bool(options.skip_remainder_batch)
    for each in points:
        each.check_epoch_length(updates_of_epoch(batches, min(frequencies), whole))
        count = each.point.count if each.point is not None else 0
        each.check_epochs(Lengths(0, 0, (batches,), frequencies, whole).until(count))
