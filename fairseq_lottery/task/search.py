"""Watch the mask of a run of an experiment: log its distance, and end a search run before the others end.

fairseq stops when ``num_updates >= cfg.optimization.max_update`` (``fairseq_cli/train.py:validate_and_save``), right
after the update. A search run lowers that limit when it has found its mask. Its learning rates are those of the full
training, cut off, because schedulers have read the length before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from fairseq_lottery.lengths import batches_of_epoch
from fairseq_lottery.task.loss_scale import skips_step
from lottery_core.experiments import Experiment, Run, mask_watch, paths
from lottery_core.files import write_json
from lottery_core.pruning import Look, MaskWatch
from lottery_core.tickets import Ticket, Weights, snapshot

log = logging.getLogger("fairseq_lottery")
_BEGUN, _MASKS = "begun", "masks"


class SearchWatch:
    """Checks the mask of a training at the end of each epoch, and at least twenty times in all.

    :param watch: the rule
    :param folder: the run's folder
    :param max_update: last update of the full training, 0 for no limit
    :param max_epoch: last epoch of the full training, 0 for no limit
    :param write: whether this process writes files, as exactly one rank must
    """

    def __init__(self, watch: MaskWatch, folder: Path, max_update: int, max_epoch: int, write: bool) -> None:
        self.watch, self.folder, self.write = watch, folder, write
        self._limits = max_update, max_epoch
        self._begun: float | None = None
        # The dense run of a criterion that compares with the rewind point writes it on the way.
        self._rewind = folder / paths.REWIND if watch.criterion.uses_rewind and write else None

    @classmethod
    def of(cls, options: Any, model: nn.Module, ticket: Ticket | None, write: bool) -> SearchWatch | None:
        """Return the watch over a run of an experiment; ``None`` if the next round would prune nothing.

        :param options: a lottery task's configuration; ``--save-dir`` is the run's folder
        :param model: the bare model
        :param ticket: the run's ticket; ``None`` for a dense run
        :param write: whether this process writes files
        """
        folder = Path(options.save_dir).absolute()
        out, run = Run.of_folder(folder)
        limits = int(options.max_update or 0), int(options.max_epoch or 0)
        watch = mask_watch(Experiment.load(out), run, snapshot(model), ticket, limits[1] or 1)
        if watch is not None and ticket is not None:
            watch.rewind(ticket.start())  # a resumed training does not begin with them
        return None if watch is None else cls(watch, folder, *limits, write)

    @property
    def look(self) -> Look | None:
        """The last check; ``None`` before the first one."""
        return self.watch.look

    def before_update(self, done: int, batches: Any, weights: Callable[[], Weights]) -> None:
        """Take the mask of the start values before the first update of a new run.

        :param done: updates since the start of the schedule
        :param batches: fairseq's iterator over the training data
        :param weights: takes a snapshot of the model
        """
        if self._begun is None:
            self._begun = self._share(done, batches) if done else 0.0
            self.watch.start(weights().tensors)

    def after_update(self, optimizer: Any, done: int, batches: Any, weights: Callable[[], Weights]) -> bool:
        """Check the mask if that is due; call this after every update, and after a step that ``--amp`` skips.

        :param optimizer: fairseq's optimizer
        :param done: updates since the start of the schedule, including this one
        :param batches: fairseq's iterator over the training data
        :param weights: takes a snapshot of the model
        :returns: whether a search run ends here
        """
        begun = self._begun or 0.0
        share = (self._share(done, batches) - begun) / (1 - begun)
        if not self.watch.due(share) or skips_step(optimizer):
            return False
        if self._rewind is not None and self._rewind.exists():
            self.watch.rewind(Weights.load(self._rewind).tensors)
            self._rewind = None
        self.watch.check(share, weights().tensors)
        if self.watch.search.full:
            return False
        if self.write:
            write_json(self.folder / paths.SEARCH_END, {"share": self.watch.share, "stopped": self.watch.outcome()})
        if self.watch.stopped:
            log.info("search run: %s", self.watch.outcome())
        return self.watch.stopped

    def state(self) -> dict[str, Any]:
        """Return what a killed search run needs to go on; a scored run only loses the distances that remain."""
        if self.watch.search.full or self._begun is None:
            return {}
        return {_BEGUN: self._begun, _MASKS: self.watch.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` returned.

        :param state: the state in a checkpoint, empty for a scored run
        """
        self._begun = float(state.get(_BEGUN, 0.0))
        if state.get(_MASKS):
            self.watch.restore(state[_MASKS])

    def _share(self, done: int, batches: Any) -> float:
        # The share of the full training that is done, by whichever limit is reached first.
        updates, epochs = self._limits
        by_updates = done / updates if updates else 0.0
        if not epochs or batches is None:
            return by_updates
        within = 1.0 if batches.end_of_epoch() else batches.iterations_in_epoch / max(1, batches_of_epoch(batches))
        return max(by_updates, float(batches.epoch - 1 + within) / epochs)


def stop_after(cfg: Any, updates: int) -> None:
    """Let fairseq stop after an update that has just been made.

    :param cfg: fairseq's configuration, the trainer's own
    :param updates: number of updates
    """
    cfg.optimization.max_update = updates
