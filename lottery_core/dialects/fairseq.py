"""Files and names of fairseq (``fairseq/trainer.py:state_dict``)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lottery_core.dialects.dialect import Dialect

_DTYPES = ("Bool", "Int8", "UInt8", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64")
_FLOATS = ("Float16", "Float32", "Float64")


def _steps_trained(checkpoint: Mapping[str, Any]) -> Mapping[str, int]:
    history = checkpoint.get("optimizer_history")
    last = history[-1] if isinstance(history, (list, tuple)) and history else None
    count = last.get("num_updates") if isinstance(last, Mapping) else None
    return {"updates": count} if type(count) is int else {}


def _networks(names: Collection[str]) -> Mapping[str, Sequence[str]]:
    if not all(any(name.startswith(part) for name in names) for part in ("encoder.", "decoder.")):
        return {}
    # With --share-all-embeddings the only embedding matrix has the encoder's name.
    own = any(name.startswith("decoder.embed_tokens.") for name in names)
    shared = () if own else (r"^encoder\.embed_tokens\.",)
    return {"encoder": (r"^encoder\.",), "decoder": (*shared, r"^decoder\.")}


FAIRSEQ = Dialect(
    name="fairseq",
    title="fairseq",
    file="a fairseq checkpoint",
    checkpoint_key="optimizer_history",
    steps_trained=_steps_trained,
    # Checkpoints of a model on a GPU or in fp16 hold every alias as a tensor of its own.
    unties=True,
    # The types of its options, and of the numbers in its meters.
    safe_globals=(
        "argparse.Namespace",
        "collections.defaultdict",
        "numpy.dtype",
        "numpy.ndarray",
        "numpy._core.multiarray._reconstruct",
        "numpy._core.multiarray.scalar",
        *(f"numpy.dtypes.{name}DType" for name in (*_DTYPES, *_FLOATS)),
    ),
    buffers=frozenset({"_float_tensor", "version", "_flat_weights"}),
    outside_layers=re.compile(r"output_projection|(^|\.)fc_out\.", re.IGNORECASE),
    steps="updates",
    networks=_networks,
    # fairseq/modules/multihead_attention.py:forward passes the projections' weights to torch unless this is set.
    fused_flag="skip_embed_dim_check",
    export="fairseq_lottery.inference:export",
    build="fairseq_lottery.inference:build",
)
