"""Files and names of torch itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lottery_core.dialects.dialect import Dialect

# From the finest to the coarsest; the first of two keys of one unit counts.
_COUNTERS = {"num_updates": "updates", "global_step": "steps", "step": "steps", "epoch": "epochs"}


def _steps_trained(checkpoint: Mapping[str, Any]) -> Mapping[str, int]:
    counts: dict[str, int] = {}
    for key, unit in _COUNTERS.items():
        if type(checkpoint.get(key)) is int:
            counts.setdefault(unit, checkpoint[key])
    return counts


PLAIN = Dialect(
    name="plain",
    title="torch",
    file="a torch file of a state dict, safetensors",
    steps_trained=_steps_trained,
    self_contained=True,
    buffers=frozenset({"running_mean", "running_var", "num_batches_tracked"}),
    outside_layers=re.compile(r"embed|norm|(^|\.)ln_?\w*\.|lm_head", re.IGNORECASE),
    not_sequential=re.compile(r"embed|attn|attention|[qkv]_proj|downsample|shortcut|residual", re.IGNORECASE),
    running_mean=re.compile(r"running_mean$"),
)
