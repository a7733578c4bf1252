"""The mix-in that turns any fairseq task into one that trains tickets.

It acts in three methods of a task: ``build_model`` loads the ticket's initial weights before the trainer casts them;
``train_step`` restores the unrounded values of the fp32 masters, and zeroes gradients before they are reduced,
clipped or copied; ``optimizer_step`` masks the masters and the weights.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from fairseq_lottery.inference import build_for_checkpoint, loads_of_generation, loads_of_scoring, make_sparse
from fairseq_lottery.lengths import batches_of_epoch
from fairseq_lottery.names import PRECISION, PRUNING, SEARCH, TICKET
from fairseq_lottery.task.batches import drawn_once
from fairseq_lottery.task.beginning import Beginning
from fairseq_lottery.task.checks import (
    check_options,
    is_master,
    loads_other_weights,
    reading,
    require_first_update,
    require_one_training,
    require_own_folder,
    require_same_on_all_ranks,
    settle_layers,
)
from fairseq_lottery.task.fp32_masters import FullValues, full_precision, in_half_precision, with_masters
from fairseq_lottery.task.loss_scale import restore_scaler, scaler_state, skips_step
from fairseq_lottery.task.masks import TaskMasks
from fairseq_lottery.task.pruning import TaskPruning
from fairseq_lottery.task.rewind_point import RewindPoint, check_lengths, points_of
from fairseq_lottery.task.search import SearchWatch, stop_after
from fairseq_lottery.task.ticket import build_ticket, keep_ticket, log_ticket, shares_of_pool
from lottery_core.errors import ConfigError
from lottery_core.experiments import REMAINING
from lottery_core.pruning import IN_TRAINING, WINNING
from lottery_core.tickets import Ticket, Weights, snapshot

log = logging.getLogger("fairseq_lottery")


class LotteryTask:
    """Mix-in, placed before a fairseq task by :func:`~fairseq_lottery.lottery_task`.

    The task's configuration must contain :class:`~fairseq_lottery.options.LotteryOptions`.
    """

    _held: TaskMasks | None = None
    _rewinding: Sequence[RewindPoint] = ()
    _bare_model: nn.Module | None = None
    _full_values: FullValues | None = None
    _scaler: Mapping[str, Any] | None = None  # from the checkpoint that is resumed
    _optimizer: Any = None
    _train_batches: Any = None
    _check_due = True
    _length_checked = False
    _shares: dict[str, float] | None = None
    _digest = ""  # digest of the ticket that is trained
    _loaded: Sequence[Any] = ()  # models built to load a checkpoint
    _begins: Beginning | None = None
    _pruning: TaskPruning | None = None
    _ticket: Ticket | None = None
    _updates = 0
    _watch: SearchWatch | None = None
    _trainer: Any = None

    @classmethod
    def setup_task(cls, cfg: Any, **kwargs: Any) -> Any:
        """Set up the task after checking its options and its data folders.

        :raises ConfigError: a data folder is missing, or the options contradict each other
        """
        check_options(cfg)
        data = getattr(cfg, "data", None)
        for folder in str(data).split(":") if data else []:
            if "://" not in str(data) and not Path(folder).is_dir():
                raise ConfigError(f"the data folder {folder} does not exist: make it with fairseq-preprocess")
        try:
            return super().setup_task(cfg, **kwargs)  # type: ignore[misc]
        except FileNotFoundError as error:
            raise ConfigError(f"cannot read the data in {data}: {error}") from error

    @property
    def lottery_options(self) -> Any:
        """The task's configuration, wherever the task keeps it."""
        cfg = getattr(self, "cfg", None)
        return cfg if cfg is not None else self.args  # type: ignore[attr-defined]

    def load_dataset(self, split: str, *args: Any, **kwargs: Any) -> Any:
        """Load a split.

        :raises ConfigError: the split is missing, empty or damaged
        """
        with reading(split):
            return super().load_dataset(split, *args, **kwargs)  # type: ignore[misc]

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """Build the model: with the ticket's initial weights and masks, or unchanged if a checkpoint will be loaded.

        :param cfg: the model's configuration
        :param from_checkpoint: whether a checkpoint will be loaded, for inference
        :raises LotteryError: the ticket cannot be read, or belongs to another architecture; or each of several
            processes would run the whole training
        """
        build = super().build_model  # type: ignore[misc]
        options = self.lottery_options
        check_options(options)
        if from_checkpoint:
            more = {"from_checkpoint": True} if "from_checkpoint" in inspect.signature(build).parameters else {}
            model = build_for_checkpoint(cfg, lambda: build(cfg, **more))
            self._loaded = [*self._loaded, model]
            return model
        require_one_training()
        if not options.ticket and options.ticket_kind == WINNING:
            require_own_folder(options, "", type(self).__name__)
            if options.rewind_point or options.probe_points:
                require_first_update(options)
            model = build(cfg)
            self._full_values = FullValues(model)
            if options.scope:
                weights = snapshot(model)
                pool = sum(weights.tensors[name].numel() for name in weights.pool(options.scope.split()))
                log.info("dense run; the scope %s has %s parameters", options.scope, f"{pool:,}")
            self._rewinding = points_of(options, is_master())
        else:
            model = self._build_ticket(lambda: build(cfg))
        settle_layers(cfg, loads_more=loads_other_weights(options) is not None)
        if options.mask_watch:
            self._watch = SearchWatch.of(options, model, self._ticket, is_master())
        self._bare_model = model
        return model

    def _build_ticket(self, build: Callable[[], Any]) -> Any:
        options = self.lottery_options
        model, ticket, new = build_ticket(options, build)
        if options.after_rewind == REMAINING:
            self._begins = Beginning.beside(Path(options.rewind))
        self._digest = ticket.digest
        require_own_folder(options, self._digest, type(self).__name__)
        require_same_on_all_ranks(self._digest, "tickets")
        if new:
            keep_ticket(options, ticket)
        ticket = ticket.named_for(model)
        ticket.load_into(model)
        self._ticket = ticket
        self._full_values = FullValues(model)
        self._full_values.keep(ticket.start())
        self._held = TaskMasks(model, ticket.masks)
        if options.ticket_kind in IN_TRAINING and not ticket.masks.pruned:
            self._pruning = TaskPruning(ticket, options, self._held, model)
        log_ticket(ticket)
        return model

    def get_batch_iterator(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the task's batches; those of the training data are the same with and without an interruption."""
        training = dataset is getattr(self, "datasets", {}).get(self.lottery_options.train_subset)
        epoch = kwargs.get("epoch", 1)
        resumes_late = training and epoch > 1 and drawn_once(self, dataset, kwargs)
        batches = super().get_batch_iterator(dataset, *args, **{**kwargs, "epoch": 1} if resumes_late else kwargs)  # type: ignore[misc]
        if resumes_late:
            batches.epoch = epoch
            dataset.set_epoch(epoch)
        if training:
            self._train_batches = batches
        return batches

    def meet(self, trainer: Any) -> None:
        """Remember the trainer, whose configuration limits the run; see :mod:`fairseq_lottery.patches.begin_late`."""
        self._trainer = trainer

    def begin_late(self, trainer: Any, batches: Any, **options: Any) -> Any:
        """Move a new run to the rewind point under ``--after-rewind remaining``.

        See :mod:`fairseq_lottery.patches.begin_late`.

        :raises ConfigError: no updates remain after the rewind point
        """
        begins = self._begins
        return batches if begins is None or not begins.updates else begins.start(trainer, batches, **options)

    def begin_epoch(self, epoch: int, model: Any) -> None:
        """Prepare an epoch.

        :raises ConfigError: the rewind point lies beyond the last epoch
        """
        super().begin_epoch(epoch, model)  # type: ignore[misc]
        self._check_due = True
        if self._pruning is not None:
            known = self._train_batches is not None and not self.has_sharded_data("train")  # type: ignore[attr-defined]
            begin = self._begins.updates if self._begins else 0
            batches = batches_of_epoch(self._train_batches) if known else None
            self._pruning.plan(self.lottery_options, batches, begin)
        if not self._rewinding:
            return
        if not self._length_checked and self._train_batches is not None:
            self._length_checked = True
            if not self.has_sharded_data("train"):  # type: ignore[attr-defined]
                check_lengths(self._rewinding, self.lottery_options, batches_of_epoch(self._train_batches))
        at = Beginning(self._updates, {"epoch": epoch, "iterations_in_epoch": 0})
        for rewinding in self._rewinding:
            rewinding.epoch_begins(epoch, self._weights if self._optimizer is not None else None, at)

    def begin_valid_epoch(self, epoch: int, model: Any) -> None:
        """Prepare a validation; the masks are checked at its first batch."""
        super().begin_valid_epoch(epoch, model)  # type: ignore[misc]
        self._check_due = True

    def train_step(
        self, sample: Any, model: Any, criterion: Any, optimizer: Any, update_num: int, *args: Any, **kwargs: Any
    ) -> Any:
        """Run forward and backward; gradients of pruned weights are zeroed before the optimizer reads them."""
        self._optimizer = optimizer
        if self._full_values is not None:
            self._full_values.settle(optimizer, None if self._held is None else self._held.erase_if_masked)
        if self._scaler is not None:
            restore_scaler(optimizer, self._scaler)
            self._scaler = None
        for rewinding in self._rewinding:
            rewinding.before_update(update_num, self._weights)
        if self._watch is not None:
            self._watch.before_update(update_num, self._train_batches, self._weights)
        result = super().train_step(sample, model, criterion, optimizer, update_num, *args, **kwargs)  # type: ignore[misc]
        if self._held is not None:
            self._held.after_backward(optimizer)
        return result

    def optimizer_step(self, optimizer: Any, model: Any, update_num: int) -> None:
        """Run the optimizer step, then mask the masters and the weights."""
        if self._held is not None:
            self._held.zero_due_gradients()
        if self._pruning is not None:
            self._pruning.before_step(optimizer)
        super().optimizer_step(optimizer, model=model, update_num=update_num)  # type: ignore[misc]
        if self._pruning is not None and self._pruning.after_step(optimizer, update_num + 1):
            self._shares = None
        if self._held is not None:
            self._held.after_step(optimizer, update_num + 1)
        if self._rewinding:
            batches = self._train_batches
            epoch, ends = (batches.epoch, batches.end_of_epoch()) if batches is not None else (0, False)
            skipped = ends and skips_step(optimizer)  # epoch_begins then writes the weights
            self._updates = update_num + (not skipped)
            at = None if batches is None else Beginning(self._updates, batches.state_dict())
            for rewinding in () if skipped else self._rewinding:
                rewinding.after_update(self._updates, epoch, ends, self._weights, at)
        done, watch = update_num + 1, self._watch
        if watch is not None and watch.after_update(optimizer, done, self._train_batches, self._weights):
            stop_after(self._trainer.cfg, done)

    def get_checkpoint_dict(self) -> dict[str, Any]:
        """Return the task's entries in a checkpoint: the ticket's digest, and the state of the loss scaler."""
        more: dict[str, Any] = getattr(super(), "get_checkpoint_dict", dict)()
        name = type(self).__name__
        half = self._bare_model is not None and in_half_precision(self._bare_model)
        scaler = scaler_state(self._optimizer)
        precision = {PRECISION: {"scaler": scaler}} if half or scaler else {}
        pruning = {} if self._pruning is None else {PRUNING: self._pruning.state()}
        state = self._watch.state() if self._watch is not None else {}
        search = {SEARCH: state} if state else {}
        return {**more, name: {**more.get(name, {}), TICKET: self._digest, **precision, **pruning, **search}}

    def set_checkpoint_dict(self, kept: dict[str, Any]) -> None:
        """Restore the entries that :meth:`get_checkpoint_dict` returned for the run that is resumed."""
        getattr(super(), "set_checkpoint_dict", lambda _: None)(kept)
        self._scaler = kept.get(PRECISION, {}).get("scaler")
        if self._pruning is not None:
            self._pruning.resume(kept.get(PRUNING))
        if self._watch is not None:
            self._watch.restore(kept.get(SEARCH, {}))

    def in_full_precision(self, state: Mapping[str, Any], optimizer: Any) -> Mapping[str, Any]:
        """Return the model's state dict with the fp32 masters in place of the rounded weights, for a checkpoint."""
        return state if self._bare_model is None else with_masters(state, self._bare_model, optimizer)

    def build_generator(self, models: Any, args: Any, *more: Any, **kwargs: Any) -> Any:
        """Build the task's generator, after making the models sparse under ``--sparse-inference``."""
        beam = int(getattr(args, "beam", 5))
        if getattr(args, "score_reference", False):  # decoders see whole sentences
            split = self.datasets.get(self.lottery_options.gen_subset)  # type: ignore[attr-defined]
            scored = loads_of_scoring(self, split)
            make_sparse(models, self.lottery_options, lambda _: scored)
        else:
            make_sparse(models, self.lottery_options, lambda model: loads_of_generation(self, model, beam))
        return super().build_generator(models, args, *more, **kwargs)  # type: ignore[misc]

    def eval_lm_dataloader(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the task's data loader, after making the models sparse under ``--sparse-inference``."""
        make_sparse(self._loaded, self.lottery_options, lambda _: loads_of_scoring(self, dataset))
        return super().eval_lm_dataloader(dataset, *args, **kwargs)  # type: ignore[misc]

    def reduce_metrics(self, logging_outputs: Any, criterion: Any) -> None:
        """Log the task's metrics, and ``pruned`` and ``surviving``, both as shares of the pool."""
        from fairseq.logging import metrics

        super().reduce_metrics(logging_outputs, criterion)  # type: ignore[misc]
        if self._shares is None:
            masks = None if self._held is None else self._held.masks
            self._shares = shares_of_pool(self.lottery_options, masks, self._loaded)
        for name, value in self._shares.items():
            metrics.log_scalar(name, value, weight=0, priority=1900, round=5)
        look = None if self._watch is None else self._watch.look
        if look is not None:
            metrics.log_scalar("mask_distance", look.distance, weight=0, priority=1901, round=5)
            metrics.log_scalar("mask_slows", float(look.slows), weight=0, priority=1902, round=0)

    def check_masks_if_due(self) -> None:
        """Check the masks once after the start, and at the beginning of each epoch and of each validation.

        :raises PrunedWeightAlive: a pruned weight is not 0.0
        """
        if self._check_due and self._held is not None:
            self._held.check()
        self._check_due = False

    def _weights(self) -> Weights:
        assert self._bare_model is not None
        return full_precision(self._bare_model, self._optimizer)
