"""Files and names of fairseq (``fairseq/trainer.py:state_dict``)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lottery_core.dialects.dialect import LOWER_IS_BETTER, Dialect

_LOG_PPL, _BLEU = "log perplexity", "BLEU"
_LOWER = (_LOG_PPL, "loss", "TER")
_DTYPES = ("Bool", "Int8", "UInt8", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64")
_FLOATS = ("Float16", "Float32", "Float64")


def _steps_trained(checkpoint: Mapping[str, Any]) -> Mapping[str, int]:
    history = checkpoint.get("optimizer_history")
    last = history[-1] if isinstance(history, (list, tuple)) and history else None
    count = last.get("num_updates") if isinstance(last, Mapping) else None
    return {"updates": count} if type(count) is int else {}


def _origin(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    cfg = checkpoint.get("cfg")
    sections = cfg if isinstance(cfg, Mapping) else {}
    found: dict[str, Any] = {}
    seed = _option(sections.get("common"), "seed")
    if type(seed) is int:
        found["seed"] = seed
    point = _option(sections.get("task"), "rewind_point")
    if isinstance(point, str):
        unit, colon, count = point.partition(":")
        found["rewind_point"] = f"{unit.removesuffix('s')}s:{count}" if colon else point
    return found


def _option(section: Any, name: str) -> Any:
    return section.get(name) if isinstance(section, Mapping) else getattr(section, name, None)


def _networks(names: Collection[str]) -> Mapping[str, Sequence[str]]:
    if not all(any(name.startswith(part) for name in names) for part in ("encoder.", "decoder.")):
        return {}
    # With --share-all-embeddings the only embedding matrix has the encoder's name.
    own = any(name.startswith("decoder.embed_tokens.") for name in names)
    shared = () if own else (r"^encoder\.embed_tokens\.",)
    return {"encoder": (r"^encoder\.",), "decoder": (*shared, r"^decoder\.")}


_SCORES = {
    "log_ppl": "log perplexity (nats a token)",
    "loss": "loss (bits a token)",
    "bleu": "BLEU (sacrebleu, detokenised)",
    "tokenized-bleu": "BLEU (tokenised, case-sensitive)",
    "subword-bleu": "BLEU (of subword units as they are)",
    "chrf": "chrF2 (sacrebleu, detokenised)",
    "ter": "TER (sacrebleu, detokenised)",
}


# Scores of translations; the second set compares with untokenised references.
_TRANSLATED = {"bleu", "tokenized-bleu", "subword-bleu", "chrf", "ter"}
_DETOKENISED = {"bleu", "chrf", "ter"}


def _scoring(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    if "score" not in settings:
        return {}
    score = settings["score"]
    scores = [score] if isinstance(score, str) else list(score)  # 0.1 stored a single score
    return {
        "score": scores,
        "average": settings.get("average", 1),
        "gen_subset": settings.get("gen_subset", "test"),
        "generate": settings.get("generate") if _TRANSLATED.intersection(scores) else None,
        "reference": settings.get("reference") if _DETOKENISED.intersection(scores) else None,
        **({"lower_is_better": True} if settings.get("lower_is_better") else {}),
    }


def _score_label(scoring: Mapping[str, Any], name: str) -> str:
    if name in _SCORES:
        return f"{_SCORES[name]} on the {scoring.get('gen_subset')} split"
    return f"score of {name}{LOWER_IS_BETTER if scoring.get('lower_is_better') else ''}"


FAIRSEQ = Dialect(
    name="fairseq",
    title="fairseq",
    file="a fairseq checkpoint",
    checkpoint_key="optimizer_history",
    steps_trained=_steps_trained,
    origin=_origin,
    # A model from a GPU or in fp16 is saved with every alias as a separate tensor.
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
    # Layers that compute the logits: of words, of an adaptive softmax with its class projections, of fconv, of a class.
    outside_layers=re.compile(
        r"output_projection|(^|\.)(fc_out|adaptive_softmax)\.|(^|\.)decoder\.fc3\."
        r"|(^|\.)(classification_heads\.[^.]+\.out_proj|sentence_projection_layer|lm_output_learned_bias|ctc_proj)(\.|$)"
        r"|(^|\.)w[tp]e\.",  # embeddings of Hugging Face's GPT-2, tied to its output
        re.IGNORECASE,
    ),
    steps="updates",
    scoring=_scoring,
    score_label=_score_label,
    networks=_networks,
    # fairseq/modules/multihead_attention.py:forward passes the projections' weights to torch unless this is set.
    fused_flag="skip_embed_dim_check",
    # A difference of 0.03 nats in log perplexity is 3% of the perplexity.
    lower_is_better=lambda label: label.startswith(_LOWER) or label.endswith(LOWER_IS_BETTER),
    margin=lambda label: (
        "score:0.03" if label.startswith(_LOG_PPL) else "dense:1%" if label.startswith(_BLEU) else "5%"
    ),
    least=lambda label: 0.0 if label.startswith(_BLEU) else None,
    packages=frozenset({"fairseq", "fairseq-fixed"}),
    # A log perplexity averages over words; BLEU and other scores are single numbers.
    label_of_returns=lambda returns: f"{_LOG_PPL} (nats a word)" if returns > 1 else "",
    export="fairseq_lottery.inference:export",
    build="fairseq_lottery.inference:build",
)
