"""The registry of kinds of ticket, one line per kind, in the order of plans, tables and pictures."""

from __future__ import annotations

from collections.abc import Iterable

from lottery_core.errors import unknown_choice
from lottery_core.pruning.kinds import (
    at_start,
    erk,
    no_rewind,
    one_shot,
    permuted,
    random,
    random_scaled,
    reinit,
    rewound_dense,
    shuffled,
    signs,
    uniform,
    winning,
)
from lottery_core.pruning.kinds.kind import FRESH, REWIND, Chain, Control, Kind

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
    rewound_dense.KIND,
)

KINDS: tuple[str, ...] = tuple(kind.name for kind in _KINDS)
CHAINS: dict[str, Chain] = {kind.name: kind for kind in _KINDS if isinstance(kind, Chain)}
# Kinds whose tickets keep every parameter, in a single run a seed.
UNPRUNED: tuple[str, ...] = tuple(name for name, chain in CHAINS.items() if not chain.prunes)
CONTROLS: dict[str, Control] = {kind.name: kind for kind in _KINDS if isinstance(kind, Control)}
MEANINGS: dict[str, str] = {kind.name: kind.meaning for kind in _KINDS}


def any_rewinds(kinds: Iterable[str]) -> bool:
    """Return whether any of the kinds is a chain that resets its survivors to the rewind point."""
    return any(kind in CHAINS and CHAINS[kind].rewinds for kind in kinds)


def starts_rewound(kind: str) -> bool:
    """Return whether tickets of a kind start from values of the rewind point, not from fresh or initial values."""
    if kind in CHAINS:
        return CHAINS[kind].rewinds
    return kind in CONTROLS and CONTROLS[kind].needs != FRESH


def needs_rewind_point(kind: str) -> bool:
    """Return whether tickets of a kind are found at the rewind point itself, so that there must be one."""
    return kind in CONTROLS and CONTROLS[kind].needs == REWIND and CONTROLS[kind].alone


def check_kind(kind: str) -> str:
    """Check the name of a kind of ticket and return it unchanged.

    :raises ConfigError: there is no such kind; the message suggests similar names
    """
    if kind not in KINDS:
        raise unknown_choice(kind, "kind of ticket", KINDS)
    return kind
