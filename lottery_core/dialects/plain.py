"""Files and names of torch itself."""

from __future__ import annotations

import re

from lottery_core.dialects.dialect import Dialect

PLAIN = Dialect(
    name="plain",
    title="torch",
    file="a torch file of a state dict, safetensors",
    self_contained=True,
    buffers=frozenset({"running_mean", "running_var", "num_batches_tracked"}),
    outside_layers=re.compile(r"embed|norm|(^|\.)ln_?\w*\.|lm_head", re.IGNORECASE),
    not_sequential=re.compile(r"embed|attn|attention|[qkv]_proj|downsample|shortcut|residual", re.IGNORECASE),
    running_mean=re.compile(r"running_mean$"),
)
