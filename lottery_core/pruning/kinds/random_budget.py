"""The random ticket at the winning ticket's whole budget: what the search costs is spent on training it."""

from __future__ import annotations

from lottery_core.pruning.kinds.kind import FRESH, Control
from lottery_core.pruning.kinds.random import make

KIND = Control(
    "random-budget",
    "The random ticket, trained as long as finding and training the winning one takes.",
    make,
    FRESH,
    budget=True,
)
