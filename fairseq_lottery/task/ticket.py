"""Which ticket a run trains: the given one, or a control made from it with the model's own fresh values."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from lottery_core.checkpoints import read_weights
from lottery_core.errors import ConfigError, LotteryError
from lottery_core.experiments import paths
from lottery_core.pruning import CHAINS, CONTROLS, FRESH, REWIND, WINNING, check_kind, control_ticket, derive_seed
from lottery_core.tickets import Ticket, snapshot, versions


def needs_fresh(ticket: Ticket, kind: str) -> bool:
    """Whether the run of ``kind`` needs a model that was initialised under another seed than the dense run's.

    :raises ConfigError: unknown kind, or one that is found by pruning
    """
    if check_kind(kind) in (WINNING, ticket.origin.kind):
        return False
    if kind in CHAINS:
        raise ConfigError(
            f"a {kind} ticket is found by pruning, not made from a {ticket.origin.kind} one; "
            f"--ticket-kind accepts {', '.join([WINNING, *CONTROLS])}"
        )
    return CONTROLS[kind].needs == FRESH


def fresh_seed(seed: int) -> int:
    """The seed of a control's fresh values: none that a person gives to the dense run."""
    return derive_seed("fairseq fresh values", seed)


def ticket_to_train(
    given: Ticket, path: Path, kind: str, seed: int, model: nn.Module, rewind: Path | None, folder: Path, write: bool
) -> Ticket:
    """The ticket that a run trains; a control is written as ``ticket.safetensors``, and read there on a resume.

    :param given: the ticket of ``--ticket``
    :param path: its file
    :param kind: winning (as it is) or a control
    :param seed: of the control
    :param model: freshly initialised under :func:`fresh_seed`, for the controls that start from fresh values
    :param rewind: file of the weights at the rewind point, for the kind shuffled
    :param folder: of the run
    :param write: whether this process writes (one rank does)
    :raises LotteryError: the model is of another architecture, a needed file is missing, an unknown kind
    """
    if kind in (WINNING, given.origin.kind):
        return given
    target = folder / paths.TICKET
    if target.resolve() == path.resolve():
        raise ConfigError(f"the {kind} ticket would overwrite {path}: keep that file outside --save-dir")
    made = _made_before(target, given, kind, seed)
    if made is None:
        if CONTROLS[kind].needs == REWIND and rewind is None:
            raise ConfigError(f"a {kind} ticket starts from the rewind point: give its file, --rewind FILE")
        weights = None if rewind is None else read_weights(rewind)
        made = control_ticket(kind, given, seed, fresh=snapshot(model), rewind=weights)
        if write:
            made.save(target)
    return made


def _made_before(target: Path, given: Ticket, kind: str, seed: int) -> Ticket | None:
    if not target.exists():
        return None
    try:
        made = Ticket.load(target)
    except LotteryError:
        return None
    origin = made.origin
    same = (origin.kind, origin.seed, origin.parent, dict(origin.versions)) == (kind, seed, given.digest, versions())
    return made if same else None
