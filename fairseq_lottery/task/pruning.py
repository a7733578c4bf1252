"""Prune a model while fairseq trains it: when steps are due, what ranks the weights, and what a checkpoint keeps."""

from __future__ import annotations

import atexit
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fairseq_lottery.lengths import Lengths
from fairseq_lottery.patches import ended_badly, is_fairseq_command
from fairseq_lottery.task.checks import is_master, require_same_on_all_ranks
from fairseq_lottery.task.fp32_masters import masters_of
from fairseq_lottery.task.loss_scale import skips_step
from fairseq_lottery.task.masks import TaskMasks
from fairseq_lottery.task.ticket import log_warnings
from lottery_core.errors import ConfigError, RunError
from lottery_core.experiments import paths
from lottery_core.pruning import GradientSums, PruningInTraining, PruningSchedule, survivors_of
from lottery_core.tickets import Masks, Ticket

log = logging.getLogger("fairseq_lottery")


class TaskPruning:
    """Finds the masks of a ticket while it trains, after updates, and writes the ticket when they are complete.

    :param start: the ticket to start from, in which everything survives, with the names of the model
    :param options: the lottery task's configuration
    :param held: the masks over the model
    :param model: the bare model
    """

    def __init__(self, start: Ticket, options: Any, held: TaskMasks, model: nn.Module) -> None:
        self._start, self._held, self._folder = start, held, Path(options.save_dir)
        survivors = survivors_of(options.surviving, start.masks.pool)
        self._pruning = PruningInTraining.of(start, PruningSchedule.parse(options.gradual), survivors)
        self._parameters = {name: each for name, each in model.named_parameters() if name in start.masks}
        self._sums = GradientSums(start.masks)
        self._resumed: Mapping[str, Any] | None = None
        self._begin, self._total = 0, 0  # updates
        if is_master() and is_fairseq_command():
            # Tasks have no method for the end: fairseq also stops for time, patience or a low learning rate.
            atexit.register(self.warn_if_incomplete)

    def plan(self, options: Any, batches: int | None, begin: int = 0) -> None:
        """Set the length of the training, before its first update; calling it again changes nothing.

        :param options: the lottery task's configuration
        :param batches: number of batches in an epoch; ``None`` if it is not known
        :param begin: number of updates that count as done at the start
        :raises ConfigError: the schedule has more steps than there are updates, or the length is not known
        :raises RunError: the checkpoint that is resumed is of another schedule
        """
        if self._total:
            return
        total, of_an_epoch = length_of(options, batches)
        self._begin, self._total = begin, total
        pruning = self._pruning
        pruning.schedule = pruning.schedule.for_kind(pruning.kind, max(1, total - begin) / max(1, of_an_epoch))
        if not pruning.kind.by_gradient:
            pruning.schedule.check_fits(total - begin, "updates")
        if self._resumed is not None:
            pruning.resume(self._held.masks, int(self._resumed["done"]))
            self._resumed = None

    def before_step(self, optimizer: Any) -> None:
        """Sum up the gradients of an update, if they rank the weights.

        :param optimizer: fairseq's optimizer
        """
        if not self._pruning.kind.by_gradient or self._pruning.complete or skips_step(optimizer):
            return
        # Mixed-precision optimizers multiply by the inverse of the loss scale only when they step.
        factor = getattr(optimizer, "_multiply_factor", 1.0)
        masters = {id(parameter): master for parameter, master in masters_of(optimizer)}
        for name, parameter in self._parameters.items():
            if parameter.grad is not None:
                values = masters.get(id(parameter), parameter)
                self._sums.add(name, values, parameter.grad.float() * factor)

    def after_step(self, optimizer: Any, updates: int) -> bool:
        """Prune if a step is due; return whether the masks have changed.

        A step that ``--amp`` skips is no update: fairseq comes back with the same number.

        :param optimizer: fairseq's optimizer, which has stepped
        :param updates: number of updates since the start, including this one
        """
        pruning, share = self._pruning, (updates - self._begin) / max(1, self._total - self._begin)
        if pruning.complete or not pruning.is_due(share) or skips_step(optimizer):
            return False
        values: Mapping[str, Tensor]
        if pruning.kind.by_gradient:
            values = self._sums.over(self._parameters)
        else:
            masters = {id(parameter): master for parameter, master in masters_of(optimizer)}
            values = {name: masters.get(id(each), each.detach()) for name, each in self._parameters.items()}
        masks = pruning.prune(values, share)
        require_same_on_all_ranks(masks.digest(), "masks")
        self._held.change(masks)
        self._sums.clear()
        if pruning.complete:
            self._finish(masks)
            forget_best()
        return True

    def _finish(self, masks: Masks) -> None:
        found = self._start.with_masks(masks)
        if is_master():
            found.save(self._folder / paths.TICKET)
        log.info("the masks are complete: pruned %s, surviving %s of %s", masks.pruned, masks.surviving, masks.pool)
        log_warnings(found)

    def warn_if_incomplete(self) -> None:
        """Warn if the training has ended before the last step of pruning, unless it failed."""
        done, steps = self._pruning.done, self._pruning.schedule.steps
        if self._total and done < steps and not ended_badly():
            log.warning(
                f"the training ended at step {done} of {steps} of the schedule of pruning: its network is denser than "
                f"asked for, and there is no {paths.TICKET}"
            )

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs to continue: the masks, eight weights in a byte, and the sums of gradients."""
        packed = {name: _pack(mask) for name, mask in self._pruning.masks.items()}
        return {"done": self._pruning.done, "masks": packed, "sums": dict(self._sums.values)}

    def resume(self, kept: Mapping[str, Any] | None) -> None:
        """Continue from what :meth:`state` returned; call it after the model was loaded.

        :param kept: the state; ``None`` if the checkpoint has none
        :raises RunError: there is none
        """
        if kept is None:
            raise RunError("the checkpoint does not keep the masks of a training that is pruned: begin again", 2)
        shapes = {name: mask.shape for name, mask in self._start.masks.items()}
        masks = Masks({name: _unpack(kept["masks"][name], shape) for name, shape in shapes.items()})
        self._held.change(masks)
        self._sums.values = {
            name: value.to(self._parameters[name].device) for name, value in kept["sums"].items() if name in shapes
        }
        self._resumed = kept
        steps = self._pruning.schedule.for_kind(self._pruning.kind, 1).steps
        if kept["done"] == steps and not (self._folder / paths.TICKET).exists():  # resumed in another folder
            self._finish(masks)


def forget_best() -> None:
    """Let ``checkpoint_best.pt`` be the best from now on, and ``--patience`` count from now on.

    The scores so far are of denser networks.
    """
    from fairseq.checkpoint_utils import save_checkpoint

    vars(save_checkpoint).pop("best", None)  # as in a new training; the checkpoints keep it from there
    for name in ("__main__", "fairseq_cli.train"):  # python -m fairseq_cli.train, or the script fairseq-train
        stop = getattr(sys.modules.get(name), "should_stop_early", None)
        if stop is not None:
            vars(stop).pop("best", None)


def length_of(options: Any, batches: int | None) -> tuple[int, int]:
    """Return the number of updates of a run, and of an epoch.

    :param options: a lottery task's configuration
    :param batches: number of batches in an epoch; ``None`` if it is not known
    :raises ConfigError: the configuration does not say how long the training is
    """
    max_update, max_epoch = int(options.max_update or 0), int(options.max_epoch or 0)
    if batches is None:
        if not max_update:
            raise ConfigError("give --max-update: with sharded data, a ticket that is pruned in training needs it")
        return max_update, max_update
    lengths = Lengths(0, max_epoch, (batches,), tuple(options.update_freq), bool(options.skip_remainder_batch))
    limits = ([max_update] if max_update else []) + ([lengths.until(max_epoch)] if max_epoch else [])
    if not limits:
        raise ConfigError("give --max-epoch or --max-update: a ticket that is pruned in training needs its length")
    return min(limits), lengths.until(1)


def _pack(mask: Tensor) -> Tensor:
    import numpy

    return torch.from_numpy(numpy.packbits(mask.reshape(-1).numpy()))


def _unpack(packed: Tensor, shape: torch.Size) -> Tensor:
    import numpy

    bits = numpy.unpackbits(packed.cpu().numpy(), count=shape.numel())
    return torch.from_numpy(bits.astype(bool)).reshape(shape)
