"""The registry of kinds of ticket, one line per kind, in the order of plans, tables and pictures."""

from __future__ import annotations

from collections.abc import Iterable

from lottery_core.errors import ConfigError, unknown_choice
from lottery_core.pruning.kinds import (
    at_start,
    erk,
    gradual,
    no_rewind,
    one_shot,
    permuted,
    random,
    random_best,
    random_budget,
    random_scaled,
    reinit,
    rewound_dense,
    shuffled,
    signs,
    snip,
    transfer,
    transfer_random,
    transfer_values,
    uniform,
    winning,
)
from lottery_core.pruning.kinds.kind import FRESH, REWIND, Chain, Control, InTraining, Kind, Transfer
from lottery_core.tickets import UNIT

_KINDS: tuple[Kind, ...] = (
    winning.KIND,
    one_shot.KIND,
    no_rewind.KIND,
    random.KIND,
    reinit.KIND,
    permuted.KIND,
    shuffled.KIND,
    uniform.KIND,
    erk.KIND,
    at_start.KIND,
    signs.KIND,
    random_scaled.KIND,
    random_budget.KIND,
    random_best.KIND,
    rewound_dense.KIND,
    transfer.KIND,
    transfer_values.KIND,
    transfer_random.KIND,
    snip.KIND,
    gradual.KIND,
)

KINDS: tuple[str, ...] = tuple(kind.name for kind in _KINDS)
CHAINS: dict[str, Chain] = {kind.name: kind for kind in _KINDS if isinstance(kind, Chain)}
# Kinds whose masks come from another experiment.
TRANSFERS: dict[str, Transfer] = {kind.name: kind for kind in _KINDS if isinstance(kind, Transfer)}
# Kinds whose tickets keep every parameter, in a single run a seed.
UNPRUNED: tuple[str, ...] = tuple(name for name, chain in CHAINS.items() if not chain.prunes)
# Kinds whose runs are longer than the others by what their name says.
BUDGET: tuple[str, ...] = tuple(kind.name for kind in _KINDS if isinstance(kind, Control) and kind.budget)
# Kinds of which several tickets are drawn and trained in each round; the best one counts.
BEST_OF: tuple[str, ...] = tuple(kind.name for kind in _KINDS if isinstance(kind, Control) and kind.best_of)
CONTROLS: dict[str, Control] = {kind.name: kind for kind in _KINDS if isinstance(kind, Control)}
IN_TRAINING: dict[str, InTraining] = {kind.name: kind for kind in _KINDS if isinstance(kind, InTraining)}
MEANINGS: dict[str, str] = {kind.name: kind.meaning for kind in _KINDS}


def any_rewinds(kinds: Iterable[str]) -> bool:
    """Return whether any of the kinds resets its survivors to the rewind point, or starts there."""
    return any((kind in CHAINS or kind in IN_TRAINING) and starts_rewound(kind) for kind in kinds)


def starts_rewound(kind: str) -> bool:
    """Return whether tickets of a kind start from values of the rewind point, not from fresh or initial values."""
    if kind in CHAINS:
        return CHAINS[kind].rewinds
    if kind in IN_TRAINING:
        return IN_TRAINING[kind].rewinds
    return kind in CONTROLS and CONTROLS[kind].needs != FRESH


def needs_rewind_point(kind: str) -> bool:
    """Return whether tickets of a kind are found at the rewind point itself, so that there must be one."""
    if kind in IN_TRAINING:
        return IN_TRAINING[kind].rewinds
    return kind in CONTROLS and CONTROLS[kind].needs == REWIND and CONTROLS[kind].alone


def check_units(kind: str, granularity: str) -> str:
    """Check that a kind of ticket has tickets of a granularity, and return the kind unchanged.

    :raises ConfigError: the kind has single weights only, and whole units are pruned
    """
    if granularity == UNIT and kind in CONTROLS and not CONTROLS[kind].units:
        raise ConfigError(f"the kind {kind} draws single weights: it has no tickets of granularity '{UNIT}'")
    if granularity == UNIT and kind in TRANSFERS:
        raise ConfigError(
            f"the kind {kind} carries masks over tensor by tensor, which would break units: it has no tickets of "
            f"granularity '{UNIT}'"
        )
    return kind


def check_kind(kind: str) -> str:
    """Check the name of a kind of ticket and return it unchanged.

    :raises ConfigError: there is no such kind; the message suggests similar names
    """
    if kind not in KINDS:
        raise unknown_choice(kind, "kind of ticket", KINDS)
    return kind
