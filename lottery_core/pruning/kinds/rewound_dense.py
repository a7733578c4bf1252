"""The dense network from the rewind point: the control for training longer after rewinding."""

from __future__ import annotations

from lottery_core.pruning.kinds.kind import Chain

KIND = Chain(
    "rewound-dense", "Everything survives and starts from the rewind point; one run a seed.", False, True, prunes=False
)
