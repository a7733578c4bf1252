"""Leave dead attention heads out of a model for CTranslate2, which knows heads of any number and size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np


def leave_out_dead_heads(spec: Any) -> tuple[int, int]:
    """Remove heads whose output is always 0, in place; the translations stay the same.

    A head is dead if the output projection does not read it, or if its values are 0. All attention layers of an encoder
    (or of a decoder) have as many heads as the one with the most live heads. A decoder whose alignments are those of
    certain heads (``transformer_align``) keeps all.

    :param spec: ``ctranslate2.specs.TransformerSpec`` of a translation model, with the weights of its converter
    :returns: how many heads were removed, and how many there were
    """
    removed = total = 0
    for side in (spec.encoder, spec.decoder):
        heads = int(side.num_heads)
        layers = list(_attentions(side))
        live = [_live(layer, heads) for layer in layers]
        count = max(1, *(len(found) for found in live))
        if getattr(side, "alignment_heads", 0):
            count = heads
        total += heads * len(layers)
        if count == heads:
            continue
        removed += (heads - count) * len(layers)
        for layer, found in zip(layers, live, strict=True):
            dead = [head for head in range(heads) if head not in found]
            _keep(layer, heads, sorted([*found, *dead[: count - len(found)]]))
        side.num_heads = np.dtype("int16").type(count)
    return removed, total


def _attentions(side: Any) -> Iterator[Any]:
    for layer in side.layer:
        yield layer.self_attention
        if hasattr(layer, "attention"):
            yield layer.attention


def _parts(attention: Any) -> list[tuple[Any, int]]:
    # The layers whose rows belong to heads, each with the number of projections that it joins: q k v, or q and k v.
    inner = attention.linear[:-1]
    return [(linear, 3 if len(inner) == 1 else index + 1) for index, linear in enumerate(inner)]


def _live(attention: Any, heads: int) -> list[int]:
    read = attention.linear[-1].weight.reshape(len(attention.linear[-1].weight), heads, -1)
    joined, count = _parts(attention)[-1]
    values = joined.weight.reshape(count, heads, -1)[-1]
    biases = joined.bias.reshape(count, heads, -1)[-1] if isinstance(joined.bias, np.ndarray) else np.zeros((heads, 1))
    return [head for head in range(heads) if read[:, head].any() and (values[head].any() or biases[head].any())]


def _keep(attention: Any, heads: int, kept: Sequence[int]) -> None:
    output = attention.linear[-1]
    rows = len(output.weight)
    size = output.weight.shape[1] // heads
    output.weight = np.ascontiguousarray(output.weight.reshape(rows, heads, size)[:, kept].reshape(rows, -1))
    for linear, count in _parts(attention):
        inputs = linear.weight.shape[1]
        weight = linear.weight.reshape(count, heads, size, inputs)[:, kept]
        linear.weight = np.ascontiguousarray(weight.reshape(-1, inputs))
        if isinstance(linear.bias, np.ndarray):
            linear.bias = np.ascontiguousarray(linear.bias.reshape(count, heads, size)[:, kept].reshape(-1))
    vars(attention)["head_dim"] = np.dtype("int32").type(size)  # the converter of fairseq makes no room for it
