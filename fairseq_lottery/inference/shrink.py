"""Remove dead units of Transformers' feed-forward blocks and of LSTM language models; the outputs stay the same."""

from __future__ import annotations

import re
from argparse import Namespace
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from fairseq_lottery.inference.dead_units import living_heads
from lottery_core.errors import CheckpointError
from lottery_core.inference import Reads, Report, Shrunk, Units, shrink
from lottery_core.tickets import outside_by_name, without_copies

# fairseq/modules/transformer_layer.py; also encoder.sentence_encoder of roberta, decoder.layers_msk of levenshtein, and
# encoder.transformer_layers of s2t_transformer.
_STACK = r"(encoder|decoder)\.(?:sentence_encoder\.)?(?:transformer_)?layers\w*"
_BLOCK = re.compile(rf"^((?:.*\.)?{_STACK}\.\d+)\.fc1\.weight$")
_OUT = "out_proj.weight"
_ATTENTION = re.compile(rf"^(?:.*\.)?(encoder|decoder)\..*_attn\.{re.escape(_OUT)}$")
_WIDTH = "ffn_embed_dim"
# fairseq/models/lstm.py: the layers of lstm_lm are cells, with the names of torch's LSTM but for the number at the end.
_CELL = re.compile(r"^decoder\.layers\.(\d+)\.((?:weight|bias)_[ih]h)$")
_OUTPUT = "decoder.fc_out"


def shrink_state(state: Mapping[str, Any], source: str, *, heads_stay: bool = True) -> tuple[dict[str, Any], Report]:
    """Remove dead units from a checkpoint, and change its options accordingly.

    In fairseq all feed-forward blocks of an encoder (or of a decoder) have the same width, as have all layers of an
    LSTM, so each keeps as many units as the one with the most live units.

    :param state: plain state, see :func:`fairseq_lottery.inference.export.plain_state`; not changed
    :param source: the checkpoint's path, for messages
    :param heads_stay: whether dead attention heads stay in the file; if not, the report leaves them out, and a
        Transformer without dead units is no error
    :returns: the smaller state, and a report of what was removed
    :raises CheckpointError: the architecture has no such units, they cannot be removed exactly, or none are dead
    """
    model: Mapping[str, Tensor] = state["model"]
    options = state["cfg"]["model"]
    options = vars(options) if isinstance(options, Namespace) else options
    if any(map(_CELL.match, model)):
        return _shrink_lstm(state, options, source)
    blocks: dict[str, list[str]] = defaultdict(list)
    for match in filter(None, map(_BLOCK.match, model)):
        blocks[match[2]].append(match[1])
    if not blocks:
        raise CheckpointError(f"{source} has no feed-forward blocks of a Transformer: there is nothing to shrink")
    _check(options, model, blocks, source)
    from fairseq.utils import get_activation_fn

    activation = get_activation_fn(_option(options, "activation_fn") or "relu")
    layers = [block for side in blocks.values() for block in side]
    units = [Units(f"{block}.fc1", (Reads(f"{block}.fc2", (activation,)),)) for block in layers]
    level = [{f"{block}.fc1" for block in side} for side in blocks.values()]
    shrunk = shrink(model, units, level=level)
    dead = _dead_heads(model, options) if heads_stay else 0
    stay = f"; {dead} dead heads stay, as zeros: fairseq's attentions are as wide as their embeddings" if dead else ""
    report = replace(_report(model, shrunk), note=stay)
    if not report and heads_stay:
        raise CheckpointError(f"{source}: {report.line}{stay}")
    widths = {(side, _WIDTH): shrunk.widths[f"{names[0]}.fc1"][1] for side, names in blocks.items()}
    return {**state, "cfg": _with_widths(state["cfg"], widths), "model": shrunk.tensors}, report


def _shrink_lstm(state: Mapping[str, Any], options: Mapping[str, Any], source: str) -> tuple[dict[str, Any], Report]:
    # Of lstm_lm, as plain_state makes it of our own LSTM.
    as_lstm = {name: _CELL.sub(r"decoder.lstm.\2_l\1", name) for name in state["model"]}
    model = {as_lstm[name]: tensor for name, tensor in state["model"].items()}
    hidden, layers = _option(options, "decoder_hidden_size"), _option(options, "decoder_layers")
    for reason, wrong in (
        ("an attention reads its LSTM", any(name.startswith(("encoder.", "decoder.attention.")) for name in model)),
        ("its output is not one linear layer (tied embeddings, adaptive softmax)", f"{_OUTPUT}.weight" not in model),
        ("a layer lies between its LSTM and the output", _option(options, "decoder_out_embed_dim") != hidden),
        ("it adds each layer's inputs to its outputs (residuals)", bool(_option(options, "residuals"))),
    ):
        if wrong:
            raise CheckpointError(f"cannot shrink {source}: {reason}")
    names = [f"decoder.lstm.{number}" for number in range(layers)]
    readers = [*(Reads(name, recurrent=True) for name in names[1:]), Reads(_OUTPUT)]
    units = [Units(name, (reads,), recurrent=True) for name, reads in zip(names, readers, strict=True)]
    shrunk = shrink(model, units, level=[names])
    report = _report(model, shrunk)
    if not report:
        raise CheckpointError(f"{source}: {report.line}")
    tensors = {name: shrunk.tensors[as_lstm[name]] for name in state["model"]}
    width = shrunk.widths[names[0]][1]
    cfg = _with_widths(state["cfg"], {("decoder", "hidden_size"): width, ("decoder", "out_embed_dim"): width})
    return {**state, "cfg": cfg, "model": tensors}, report


def _dead_heads(model: Mapping[str, Tensor], options: Mapping[str, Any]) -> int:
    dead = 0
    for name, weight in model.items():
        match = _ATTENTION.match(name)
        count = _option(options, f"{match[1]}_attention_heads") if match is not None else None
        if type(count) is int and weight.shape[1] % count == 0:
            values = name.removesuffix(_OUT) + "v_proj."
            alive = living_heads(weight, model.get(f"{values}weight"), model.get(f"{values}bias"), count)
            dead += int((~alive).sum())
    return dead


def _report(model: Mapping[str, Tensor], shrunk: Shrunk) -> Report:
    counted = without_copies(model)
    outside = outside_by_name(counted)
    return shrunk.report(counted, lambda name: name in outside or (name in model and name not in counted))


def _check(
    options: Mapping[str, Any], model: Mapping[str, Tensor], blocks: Mapping[str, list[str]], source: str
) -> None:
    if any(name.endswith("ffn_layernorm.weight") for name in model):
        raise CheckpointError(f"cannot shrink {source}: --scale-fc normalises over the units of a block")
    if _option(options, "base_layers") or _option(options, "quant_noise_pq"):
        raise CheckpointError(f"cannot shrink {source}: it has --base-layers or --quant-noise-pq")
    for side, names in blocks.items():
        width = _option(options, f"{side}_{_WIDTH}")
        for name in names:
            units = model[f"{name}.fc1.weight"].shape[0]
            if units != width:
                raise CheckpointError(
                    f"cannot shrink {source}: {name} has {units} units, but its --{side}-ffn-embed-dim is {width}"
                )


def _option(options: Mapping[str, Any], name: str) -> Any:
    """Return the value of a model option, in a flat configuration (``--arch``) or a nested one (Hydra)."""
    if name in options:
        return options[name]
    part, _, rest = name.partition("_")
    nested = options.get("quant_noise" if part == "quant" else part)
    rest = rest.removeprefix("noise_") if part == "quant" else rest
    return nested.get(rest) if isinstance(nested, Mapping) else None


def _with_widths(cfg: Mapping[str, Any], widths: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    # (side, option) -> its new value. With --arch every part of the configuration may hold every option.
    return {part: _changed(value, widths) for part, value in cfg.items()}


def _changed(options: Any, widths: Mapping[tuple[str, str], int]) -> Any:
    if isinstance(options, Namespace):
        return Namespace(**_changed(vars(options), widths))
    if not isinstance(options, Mapping):
        return options
    changed = dict(options)
    for (side, option), width in widths.items():
        if f"{side}_{option}" in changed:
            changed[f"{side}_{option}"] = width
        if isinstance(changed.get(side), Mapping) and option in changed[side]:
            changed[side] = {**changed[side], option: width}
    return changed
