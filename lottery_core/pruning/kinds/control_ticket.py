"""Make a control ticket from the winning ticket of its round."""

from __future__ import annotations

import operator

import torch

from lottery_core.errors import ConfigError, unknown_choice
from lottery_core.pruning.criteria import of_values_alone
from lottery_core.pruning.kinds.kind import FRESH, NOTHING, REWIND, Values
from lottery_core.pruning.kinds.registry import CONTROLS, check_units
from lottery_core.tickets import Origin, Ticket, Weights, require_same_shapes


def check_outside(outside: str) -> str:
    """Check where parameters outside the scope start, and return it unchanged.

    :raises ConfigError: it is neither ``"rewind"`` nor ``"fresh"``
    """
    if outside not in (REWIND, FRESH):
        raise unknown_choice(outside, "start of parameters outside the scope", (REWIND, FRESH))
    return outside


def control_ticket(
    kind: str,
    winning: Ticket,
    seed: int,
    *,
    fresh: Weights | None = None,
    rewind: Weights | None = None,
    outside: str = REWIND,
) -> Ticket:
    """Make a control for a winning ticket: as many survivors, with another mask or other start values.

    :param kind: one of :data:`CONTROLS`
    :param winning: the winning ticket of the round
    :param seed: seeds the shuffles; the same seed gives the same control, bit for bit
    :param fresh: weights that the model's own initialiser drew under another seed; required for the random
        kinds, reinit, uniform and erk
    :param rewind: weights at the rewind point; required for shuffled and at-start
    :param outside: where parameters outside the scope start if those in it are fresh: at the ``"rewind"`` point, as in
        the winning ticket, or at ``"fresh"`` values, as in version 0.1
    :raises ConfigError: the kind or ``outside`` is unknown, the weights that it needs are missing, or the kind has no
        tickets of whole units
    :raises MismatchError: the weights belong to another architecture
    """
    if kind not in CONTROLS:
        raise unknown_choice(kind, "control", CONTROLS)
    check_outside(outside)
    control, seed = CONTROLS[kind], operator.index(seed)  # numpy's numbers are not JSON
    check_units(kind, winning.origin.granularity)
    source = {FRESH: fresh, REWIND: rewind, NOTHING: None}[control.needs]
    if source is None and control.needs != NOTHING:
        raise ConfigError(f"a ticket of kind '{kind}' needs {control.needs} weights: give {control.needs}=")
    if source is not None:
        expected = {name: tensor.shape for name, tensor in winning.start().items()}
        given = {name: tensor.shape for name, tensor in source.tensors.items()}
        require_same_shapes(expected, given, "the winning ticket", source.source)
    generator = torch.Generator().manual_seed(seed)  # on the CPU: the same masks whatever the device
    values: Values = {} if source is None else source.tensors
    if source is not None and control.needs == FRESH and outside == REWIND:
        # Only parameters: fresh buffers (statistics of norms) belong to fresh values.
        values = {**values, **{name: value for name, value in winning.rest.items() if name not in source.outside}}
    masks, start = control.make(winning, values, generator)
    origin = Origin(
        kind=kind,
        round=winning.origin.round,
        scope=winning.origin.scope,
        prune_rate=winning.origin.prune_rate,
        rewind=winning.origin.rewind if control.needs != FRESH else "fresh",
        seed=seed,
        parent=winning.digest,
        criterion=of_values_alone(winning.origin.criterion).name if control.ranks else winning.origin.criterion,
        scope_shares=winning.origin.scope_shares,
        granularity=winning.origin.granularity,
        asked=winning.origin.asked,
        heads=winning.origin.heads,
    )
    return Ticket.of(masks, start, origin)
