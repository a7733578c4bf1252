"""Remove the dead units from the feed-forward blocks of Transformers; the outputs stay exactly the same."""

from __future__ import annotations

import re
from argparse import Namespace
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lottery_core.errors import CheckpointError
from lottery_core.inference import Reads, Report, Units, shrink
from lottery_core.tickets import outside_by_name, without_copies

# fairseq/modules/transformer_layer.py; also encoder.sentence_encoder of roberta and decoder.layers_msk of levenshtein.
_BLOCK = re.compile(r"^((?:.*\.)?(encoder|decoder)\.(?:sentence_encoder\.)?layers\w*\.\d+)\.fc1\.weight$")
_WIDTH = "ffn_embed_dim"


def shrink_state(state: Mapping[str, Any], source: str) -> tuple[dict[str, Any], Report]:
    """Remove dead units from the feed-forward blocks of a checkpoint, and change its options accordingly.

    In fairseq all blocks of an encoder (or of a decoder) have the same width, so each keeps as many units as the block
    with the most live units.

    :param state: plain state, see :func:`fairseq_lottery.inference.export.plain_state`; not changed
    :param source: the checkpoint's path, for messages
    :returns: the smaller state, and a report of what was removed
    :raises CheckpointError: the architecture has no such blocks, their units cannot be removed exactly, or there are no
        dead units
    """
    model: Mapping[str, Tensor] = state["model"]
    options = state["cfg"]["model"]
    options = vars(options) if isinstance(options, Namespace) else options
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
    counted = without_copies(model)
    outside = outside_by_name(counted)
    report = shrunk.report(counted, lambda name: name in outside or (name in model and name not in counted))
    if not report:
        raise CheckpointError(f"{source}: {report.line}")
    widths = {side: shrunk.widths[f"{names[0]}.fc1"][1] for side, names in blocks.items()}
    cfg = {part: _with_widths(value, widths) for part, value in state["cfg"].items()}
    return {**state, "cfg": cfg, "model": shrunk.tensors}, report


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


def _with_widths(options: Any, widths: Mapping[str, int]) -> Any:
    # With --arch every part of the configuration may hold every option.
    if isinstance(options, Namespace):
        return Namespace(**_with_widths(vars(options), widths))
    if not isinstance(options, Mapping):
        return options
    changed = dict(options)
    for side, width in widths.items():
        if f"{side}_{_WIDTH}" in changed:
            changed[f"{side}_{_WIDTH}"] = width
        if isinstance(changed.get(side), Mapping) and _WIDTH in changed[side]:
            changed[side] = {**changed[side], _WIDTH: width}
    return changed
