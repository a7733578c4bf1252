"""Which ticket a run trains: the given ticket, or a control made from it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fairseq_lottery.names import LAST
from fairseq_lottery.task.checks import is_master
from lottery_core.checkpoints import read_weights
from lottery_core.errors import ConfigError, LotteryError
from lottery_core.experiments import paths
from lottery_core.pruning import (
    CHAINS,
    CONTROLS,
    FRESH,
    IN_TRAINING,
    REWIND,
    WINNING,
    check_kind,
    control_ticket,
    derive_seed,
    ticket_without_search,
)
from lottery_core.tickets import ALL, Masks, Ticket, network_lines, snapshot, ticket_warnings, versions

log = logging.getLogger("fairseq_lottery")


def needs_fresh(ticket: Ticket, kind: str) -> bool:
    """Return whether a control needs a model that was initialised with another seed than the dense run's.

    :param ticket: the given ticket
    :param kind: kind of the ticket to train
    :raises ConfigError: the kind is unknown, or its tickets must be found by pruning
    """
    if check_kind(kind) in (WINNING, ticket.origin.kind):
        return False
    if kind in CHAINS:
        raise ConfigError(
            f"a ticket of kind '{kind}' cannot be made from one of kind '{ticket.origin.kind}'; "
            f"--ticket-kind accepts {', '.join([WINNING, *CONTROLS])}"
        )
    return CONTROLS[kind].needs == FRESH


def build_ticket(options: Any, build: Callable[[], Any]) -> tuple[Any, Ticket, bool]:
    """Build the model of a run, and return it with the ticket that it trains; nothing is written.

    :param options: the lottery task's configuration
    :param build: builds a newly initialised model
    :returns: the model, the ticket, and whether the ticket is new: :func:`keep_ticket` is to write it
    :raises LotteryError: see :func:`ticket_to_train` and :func:`ticket_without_file`
    """
    kind = options.ticket_kind
    if not options.ticket:
        model = build()
        return model, ticket_without_file(options, model), kind not in IN_TRAINING
    given = Ticket.load(options.ticket)
    if options.scope and tuple(options.scope.split()) != given.origin.scope:
        raise ConfigError(f"--scope cannot change: {options.ticket} has scope {' '.join(given.origin.scope)}")
    if kind in IN_TRAINING and (given.origin.kind != kind or given.masks.pruned or options.surviving is None):
        raise ConfigError(
            f"a {kind} ticket is found while it trains: leave --ticket out and give --surviving. To train one that is "
            "found already, leave --ticket-kind out"
        )
    seed = control_seed(options, given)
    if needs_fresh(given, kind):
        # The new values of a control must differ from the initial weights of the dense run with the same --seed.
        before = torch.random.get_rng_state()
        torch.default_generator.manual_seed(fresh_seed(seed))
        model = build()
        torch.random.set_rng_state(before)
    else:
        model = build()
    rewind = Path(options.rewind) if options.rewind else None
    path, folder = Path(options.ticket), Path(options.save_dir)
    ticket, new = ticket_to_train(given, path, kind, seed, model, rewind, folder, options.outside)
    return model, ticket, new


def keep_ticket(options: Any, ticket: Ticket) -> None:
    """Write a ticket that was made for this run into its folder, if this process writes files.

    :param options: the lottery task's configuration
    :param ticket: the ticket
    :raises WriteError: the file cannot be written
    """
    if is_master():
        ticket.save(Path(options.save_dir) / paths.TICKET)


def control_seed(options: Any, given: Ticket | None = None) -> int:
    """Return the seed of a control's shuffles and fresh values: ``--ticket-seed``, or one for each run.

    :param options: the lottery task's configuration
    :param given: the ticket from which the control is made; ``None`` without one
    """
    if options.ticket_seed is not None:
        return int(options.ticket_seed)
    kind, earlier = options.ticket_kind, Path(options.save_dir) / paths.TICKET
    # Without a checkpoint the run begins anew, and a file that another run has left there says nothing of it.
    if earlier.is_file() and (options.restore_file != LAST or (earlier.parent / LAST).exists()):
        with suppress(LotteryError):  # a run that is resumed keeps its control: 1 was the default of version 0.1
            origin = Ticket.load(earlier).origin
            if origin.kind == kind and origin.seed is not None and (given is None or origin.parent == given.digest):
                return origin.seed
    return derive_seed("control", options.seed, kind, 0 if given is None else given.origin.round)


def fresh_seed(seed: int) -> int:
    """Derive the seed of a control's new initial values; it differs from any seed that users give to the dense run."""
    return derive_seed("fairseq fresh values", seed)


def ticket_without_file(options: Any, model: nn.Module) -> Ticket:
    """Return the ticket that a run without ``--ticket`` trains, made from the model's initial weights.

    :param options: the lottery task's configuration
    :param model: the model, newly initialised
    :raises LotteryError: the kind needs a ticket, or the share or the scope is wrong
    """
    return ticket_without_search(
        options.ticket_kind,
        snapshot(model),
        options.surviving,
        scope=options.scope.split() if options.scope else ALL,
        seed=control_seed(options),
    )


def ticket_to_train(
    given: Ticket,
    path: Path,
    kind: str,
    seed: int,
    model: nn.Module,
    rewind: Path | None,
    folder: Path,
    outside: str = REWIND,
) -> tuple[Ticket, bool]:
    """Return the ticket that a run trains; a control is reread on resume, from ``ticket.safetensors``.

    :param given: the ticket given by ``--ticket``
    :param path: file of the given ticket
    :param kind: ``"winning"`` for the given ticket itself, or the kind of a control
    :param seed: seed of the control
    :param model: model initialised with :func:`fresh_seed`, for controls with new initial values
    :param rewind: file of the weights at the rewind point, for the kinds ``"shuffled"`` and
        ``"at-start"``
    :param folder: folder of the run
    :param outside: where parameters outside the scope start, see :func:`lottery_core.control_ticket`
    :returns: the ticket, and whether it is a new control
    :raises LotteryError: the model has another architecture, a required file is missing, or the kind is unknown
    """
    if kind in (WINNING, given.origin.kind):
        return given, False
    target = folder / paths.TICKET
    if target.resolve() == path.resolve():
        raise ConfigError(f"the {kind} ticket would overwrite {path}: keep that file outside --save-dir")
    made = _earlier_control(target, given, kind, seed)
    if made is not None:
        return made, False
    if CONTROLS[kind].needs == REWIND and rewind is None:
        raise ConfigError(f"a ticket of kind '{kind}' starts from the rewind point: give its weights, --rewind FILE")
    weights = None if rewind is None else read_weights(rewind)
    return control_ticket(kind, given, seed, fresh=snapshot(model), rewind=weights, outside=outside), True


def masks_of_checkpoint(options: Any, model: nn.Module) -> Masks | None:
    """Return the masks of the ticket that a loaded checkpoint has trained.

    :param options: the lottery task's configuration in the checkpoint
    :param model: the model with its weights
    :returns: the masks; ``None`` if the ticket's file is missing, or if not all its pruned weights are zero in
        ``model``
    """
    values = dict(model.named_parameters())
    for path in (Path(options.save_dir) / paths.TICKET, *([Path(options.ticket)] if options.ticket else [])):
        try:
            masks = Ticket.load(path).named_for(model).masks
        except LotteryError:
            continue
        if all(not values[name].detach()[~mask.to(values[name].device)].any() for name, mask in masks.items()):
            return masks
    return None


def shares_of_pool(options: Any, masks: Masks | None, loaded: Sequence[nn.Module]) -> dict[str, float]:
    """Return the shares of the pool that are pruned and that survive; empty if they are not known.

    :param options: the lottery task's configuration
    :param masks: masks of the model that trains; ``None`` without a ticket
    :param loaded: models that were loaded from a checkpoint, under ``fairseq-validate``
    """
    if masks is None and loaded and (options.ticket or options.ticket_kind != WINNING):
        masks = masks_of_checkpoint(options, loaded[-1])
        if masks is None:
            where = options.ticket or Path(options.save_dir) / paths.TICKET
            log.warning("the ticket of this checkpoint, %s, is not here: pruned and surviving are not known", where)
            return {}
    if masks is None:
        return {"pruned": 0.0, "surviving": 1.0}
    return {"pruned": masks.pruned / masks.pool, "surviving": masks.surviving / masks.pool}


def _earlier_control(target: Path, given: Ticket, kind: str, seed: int) -> Ticket | None:
    if not target.exists():
        return None
    try:
        made = Ticket.load(target)
    except LotteryError:
        return None
    origin = made.origin
    same = (origin.kind, origin.seed, origin.parent, dict(origin.versions)) == (kind, seed, given.digest, versions())
    return made if same else None


def log_ticket(ticket: Ticket) -> None:
    """Log the ticket of a run: its kind and counts, its networks, and warnings about it.

    :param ticket: the ticket
    """
    masks = ticket.masks
    log.info(
        "training a %s ticket, round %d: pruned %.2f%%, surviving %.2f%% of %s",
        ticket.origin.kind,
        ticket.origin.round,
        100 * masks.pruned / masks.pool,
        100 * masks.surviving / masks.pool,
        f"{masks.pool:,}",
    )
    for line in network_lines(ticket):
        log.info(line.strip())
    log_warnings(ticket)


def log_warnings(ticket: Ticket) -> None:
    """Log the warnings about a ticket, e.g. of layers without a survivor.

    :param ticket: the ticket
    """
    for line in ticket_warnings(ticket, "this ticket"):
        log.warning(line.removeprefix("WARNING: "))
