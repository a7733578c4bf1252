"""The best of many random tickets: what the search costs is spent on drawing and training them."""

from __future__ import annotations

from lottery_core.pruning.kinds.kind import FRESH, Control
from lottery_core.pruning.kinds.random import make

KIND = Control(
    "random-best",
    "The best of as many random tickets as finding and training the winning one takes trainings.",
    make,
    FRESH,
    best_of=True,
)
