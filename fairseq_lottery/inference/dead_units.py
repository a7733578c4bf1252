"""Take dead heads and dead feed-forward units out of a Transformer in memory, before it translates or scores.

A file cannot say that they are gone: in fairseq's options all attentions are as wide as the embeddings, and all blocks
of a side are equally wide. In memory each attention and each block keeps just the units that it needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lottery_core.inference import Reads, Units, shrink

_ALIGNED = "encoder_attn"  # of the decoder layers whose heads are returned, for alignments


@dataclass(frozen=True)
class Removed:
    """What was taken out.

    :param heads: number of heads before and after
    :param units: number of feed-forward units before and after
    """

    heads: tuple[int, int]
    units: tuple[int, int]

    def __bool__(self) -> bool:
        return self.heads[0] > self.heads[1] or self.units[0] > self.units[1]

    def __str__(self) -> str:
        words = (("heads", self.heads), ("feed-forward units", self.units))
        return "dead units taken out: " + ", ".join(
            f"{before - after:,} of {before:,} {what}" for what, (before, after) in words
        )


@torch.no_grad()
def remove_dead_units(model: nn.Module) -> Removed:
    """Take dead heads and units out of fairseq's own layers, in place; the outputs stay the same.

    Each layer keeps at least one. The heads with which a decoder's last layer, and the ``--alignment-layer`` of
    ``transformer_align``, attend to the encoder stay, since they are returned as the alignment. Layers of other
    classes, with norms over units, or without biases stay as well.

    :param model: a fairseq model in evaluation mode, on any device
    """
    heads, units = [0, 0], [0, 0]  # before and after
    for attention in _attentions(model):
        values = attention.v_proj
        alive = living_heads(attention.out_proj.weight, values.weight, values.bias, attention.num_heads)
        if not bool(alive.all()):
            size, kept = attention.head_dim, alive.nonzero().flatten().tolist() or [0]
            attention._adaptive_prune_heads([(head * size, (head + 1) * size) for head in kept])
            attention._set_skip_embed_dim_check()
        heads = [heads[0] + len(alive), heads[1] + attention.num_heads]
    for block in _blocks(model):
        before = block.fc1.out_features
        _narrow(block)
        units = [units[0] + before, units[1] + block.fc1.out_features]
    return Removed((heads[0], heads[1]), (units[0], units[1]))


def _attentions(model: Any) -> Iterator[Any]:
    from fairseq.modules import MultiheadAttention

    layers = getattr(getattr(model, "decoder", None), "layers", None)
    decoder = list(layers) if isinstance(layers, nn.ModuleList) else []
    chosen = getattr(model, "alignment_layer", None)
    aligned = [*decoder[-1:], *([] if chosen is None else decoder[chosen:][:1])]
    kept = [getattr(layer, _ALIGNED, None) for layer in aligned]
    for module in model.modules():
        if type(module) is not MultiheadAttention or any(module is attention for attention in kept):
            continue
        projections = [getattr(module, f"{word}_proj") for word in ("q", "k", "v", "out")]
        plain = all(type(each) is nn.Linear and each.bias is not None for each in projections)
        if plain and module.bias_k is None and not module.use_xformers:
            yield module


def living_heads(output: Tensor, values: Tensor | None, bias: Tensor | None, heads: int) -> Tensor:
    """Return which heads of an attention are alive: something reads them, and their values are not all 0.

    :param output: weights of the output projection, (embedding, heads * size of a head)
    :param values: weights of the projection of values, (heads * size of a head, inputs); ``None`` if they are unknown
    :param bias: bias of that projection; ``None`` if it has none
    :param heads: number of heads
    :returns: of each head, whether it is alive, (heads,)
    """
    alive: Tensor = (output != 0).any(0).reshape(heads, -1).any(1)
    if values is not None:
        filled = (values != 0).any(1) if bias is None else (values != 0).any(1) | (bias != 0)
        alive = alive & filled.reshape(heads, -1).any(1)
    return alive


def _blocks(model: nn.Module) -> Iterator[Any]:
    for module in model.modules():
        layers = getattr(module, "fc1", None), getattr(module, "fc2", None)
        own = type(module).__module__.partition(".")[0] == "fairseq" and hasattr(module, "activation_fn")
        if own and all(type(layer) is nn.Linear for layer in layers) and not getattr(module, "ffn_layernorm", None):
            yield module


def _narrow(block: Any) -> None:
    tensors = {
        f"{name}.{kind}": value for name in ("fc1", "fc2") for kind, value in getattr(block, name).named_parameters()
    }
    where = block.fc1.weight.device
    on_cpu = {name: value.detach().cpu() for name, value in tensors.items()}

    def activation(values: Tensor) -> Tensor:
        result: Tensor = block.activation_fn(values.to(where)).cpu()
        return result

    small = shrink(on_cpu, [Units("fc1", (Reads("fc2", (activation,)),))])
    if small.widths["fc1"][1] == block.fc1.out_features:
        return
    for name in tensors:
        layer, _, kind = name.partition(".")
        setattr(getattr(block, layer), kind, nn.Parameter(small.tensors[name].to(where), requires_grad=False))
    block.fc1.out_features = block.fc2.in_features = small.widths["fc1"][1]
