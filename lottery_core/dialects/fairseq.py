"""Files and names of fairseq (``fairseq/trainer.py:state_dict``)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lottery_core.dialects.dialect import LOWER_IS_BETTER, Dialect

_LOG_PPL, _BLEU = "log perplexity", "BLEU"
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
    # With --share-all-embeddings the one matrix has the encoder's name.
    own = any(name.startswith("decoder.embed_tokens.") for name in names)
    shared = () if own else (r"^encoder\.embed_tokens\.",)
    return {"encoder": (r"^encoder\.",), "decoder": (*shared, r"^decoder\.")}


FAIRSEQ = Dialect(
    name="fairseq",
    title="fairseq",
    file="a fairseq checkpoint",
    checkpoint_key="optimizer_history",
    steps_trained=_steps_trained,
    # A model from a GPU or in fp16 is written with every alias as a tensor of its own.
    unties=True,
    # Its options, and the numbers that its meters hold.
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
    # fairseq/modules/multihead_attention.py:forward gives torch the projections' weights unless this is set.
    fused_flag="skip_embed_dim_check",
    # Log perplexity, the paper's score of language models: 0.03 nats are 3% of perplexity.
    lower_is_better=lambda label: label.startswith(_LOG_PPL) or label.endswith(LOWER_IS_BETTER),
    margin=lambda label: (
        "score:0.03" if label.startswith(_LOG_PPL) else "dense:1%" if label.startswith(_BLEU) else "5%"
    ),
    least=lambda label: 0.0 if label.startswith(_BLEU) else None,
    packages=frozenset({"fairseq", "fairseq-fixed"}),
    # A log perplexity averages words; BLEU and the scores of other commands are one number.
    label_of_returns=lambda returns: f"{_LOG_PPL} (nats a word)" if returns > 1 else "",
    export="fairseq_lottery.inference:export",
    build="fairseq_lottery.inference:build",
)
