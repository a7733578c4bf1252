"""Files and names of fairseq (``fairseq/trainer.py:state_dict``)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lottery_core.dialects.dialect import LOWER_IS_BETTER, Dialect
from lottery_core.dialects.units import Shapes, UnitFinder, UnitGroup
from lottery_core.errors import ConfigError
from lottery_core.files import printable

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


# fairseq/modules/transformer_layer.py; also encoder.sentence_encoder of roberta, decoder.layers_msk of levenshtein, and
# encoder.transformer_layers of s2t_transformer.
_LAYER = re.compile(r"^((?:.*\.)?(encoder|decoder)\.(?:sentence_encoder\.)?(?:transformer_)?layers\w*\.\d+)\.")
_OF_ATTENTION = re.compile(r"^(.*)\.\d+\.\w*attn\.")  # its stack of layers
_ATTENTIONS = ("self_attn", "encoder_attn")


def _units(shapes: Shapes, heads: Mapping[str, int]) -> list[UnitGroup]:
    find = UnitFinder(shapes)
    layers = dict.fromkeys(match[1] for match in map(_LAYER.match, shapes) if match is not None)
    for layer in layers:
        for attention in (f"{layer}.{word}" for word in _ATTENTIONS):
            if all(f"{attention}.{word}_proj.weight" in shapes for word in ("q", "k", "v", "out")):
                find.attention(attention, _heads_of(attention, heads, shapes))
        if f"{layer}.fc2.weight" in shapes and f"{layer}.fc1.weight" in shapes:
            units = find.layer(f"{layer}.fc1", None)
            find.norm(f"{layer}.ffn_layernorm", units)  # of --scale-fc
            find.layer(f"{layer}.fc2", units)
    # Our own LSTM; with tied embeddings its last layer is read by the embeddings, which stay whole.
    if "decoder.lstm.weight_ih_l0" in shapes and len(shapes.get("decoder.embed_tokens.weight", ())) == 2:
        top = find.lstm("decoder.lstm", None)
        find.layer("decoder.output_projection", top)
    groups = find.groups()
    _require_whole_network(groups, shapes)
    return groups


def _require_whole_network(groups: Sequence[UnitGroup], shapes: Shapes) -> None:
    # A network with known and unknown layers would be pruned in the former alone.
    known = {group.layer.rpartition(".")[0].rpartition(".")[0] for group in groups}
    for name, shape in shapes.items():
        match = _OF_ATTENTION.match(name)
        if known and match is not None and len(shape) == 2 and match[1] not in known:
            raise ConfigError(
                f"granularity 'unit': which units '{printable(name, 80)}' has is not known, so they would never be "
                "pruned: use granularity 'weight'"
            )


def _heads_of(attention: str, heads: Mapping[str, int], shapes: Shapes) -> int:
    count, rows = heads.get(attention), shapes[f"{attention}.q_proj.weight"][0]
    if count is None:
        raise ConfigError(
            f"how many heads '{printable(attention, 80)}' has is not known: give a checkpoint, or weights of a model "
            "that this version wrote"
        )
    if count < 1 or rows % count:
        raise ConfigError(f"'{printable(attention, 80)}' cannot have {count} heads: it has {rows} rows")
    return count


def _heads(checkpoint: Mapping[str, Any], names: Collection[str]) -> Mapping[str, int]:
    cfg = checkpoint.get("cfg")
    model = cfg.get("model") if isinstance(cfg, Mapping) else checkpoint.get("args")
    found: dict[str, int] = {}
    for layer, side in {match[1]: match[2] for match in map(_LAYER.match, names) if match is not None}.items():
        count = _option(model, f"{side}_attention_heads")
        count = _option(_option(model, side), "attention_heads") if count is None else count
        if type(count) is int:
            attentions = (f"{layer}.{word}" for word in _ATTENTIONS)
            found |= {attention: count for attention in attentions if f"{attention}.q_proj.weight" in names}
    return found


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
_TOKENIZER = "sacrebleu_tokenizer"  # of languages for which sacrebleu's default is wrong


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
        **({_TOKENIZER: settings[_TOKENIZER]} if settings.get(_TOKENIZER) else {}),
        **({"lower_is_better": True} if settings.get("lower_is_better") else {}),
    }


def _score_label(scoring: Mapping[str, Any], name: str) -> str:
    if name in _SCORES:
        split, tokenizer = scoring.get("gen_subset"), scoring.get(_TOKENIZER)
        title = _SCORES[name]
        if tokenizer and name == "bleu":
            title = title.replace("sacrebleu", f"sacrebleu {tokenizer}")
        return title + (f" on the {split} split" if split else "")
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
    units=_units,
    heads=_heads,
    # fairseq/modules/multihead_attention.py:forward passes the projections' weights to torch unless this is set.
    fused_flag="skip_embed_dim_check",
    # A difference of 0.03 nats in log perplexity is 3% of the perplexity.
    lower_is_better=lambda label: label.startswith(_LOWER) or label.endswith(LOWER_IS_BETTER),
    # By the whole word: BLEU, or BLEU (sacrebleu, ...), but not BLEURT.
    higher_is_better=lambda label: re.match(r"(BLEU|chrF2)( \(|$)", label) is not None,
    margin=lambda label: (
        "score:0.03" if label.startswith(_LOG_PPL) else "dense:1%" if label.startswith(_BLEU) else "5%"
    ),
    least=lambda label: 0.0 if label.startswith(_BLEU) else None,
    floor_command="fairseq-lottery floor",
    packages=frozenset({"fairseq", "fairseq-fixed"}),
    # A log perplexity averages over words; BLEU and other scores are single numbers.
    label_of_returns=lambda returns: f"{_LOG_PPL} (nats a word)" if returns > 1 else "",
    export="fairseq_lottery.inference:export",
    build="fairseq_lottery.inference:build",
)
