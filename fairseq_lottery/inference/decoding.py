"""Take Python's share of a decoding step where sparse layers stand; the numbers stay the same, bit for bit.

At batch 1 a product with a pruned matrix takes microseconds, and what stands around it as long: three projections of
one input, copies of transposed tensors, and a search for modules in every step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from fairseq.modules import MultiheadAttention
from fairseq.modules.transformer_layer import TransformerDecoderLayerBase, TransformerEncoderLayerBase
from torch import Tensor, nn
from torch.nn import functional

from lottery_core.inference import CsrMatrix, SparseLinear

_REORDER = "reorder_incremental_state_scripting"


def take_shortcuts(model: nn.Module) -> None:
    """Take shortcuts around the sparse layers of a model, in place; calling it again changes nothing.

    :param model: a fairseq model for inference
    """
    for module in model.modules():
        if isinstance(module, MultiheadAttention):
            _join_projections(module)
        elif isinstance(module, (TransformerEncoderLayerBase, TransformerDecoderLayerBase)):
            _keep_columns(module)
    for module in list(model.modules()):
        if hasattr(module, _REORDER) and _REORDER not in vars(module):
            _remember_modules(module)


class _Joint:
    """Several matrices that read one input, as one matrix; the output of each is kept until it is asked for.

    :param parts: layers with sparse weights for inputs of one size, all with a bias or none
    """

    def __init__(self, parts: Sequence[SparseLinear]) -> None:
        matrices = [part.matrix for part in parts]
        ends = torch.tensor([0, *(len(matrix.values) for matrix in matrices)]).cumsum(0).tolist()
        starts = [matrix.row_starts[:-1] + begin for matrix, begin in zip(matrices, ends, strict=False)]
        starts.append(matrices[-1].row_starts[-1:] + ends[-2])
        self.matrix = CsrMatrix(
            torch.cat(starts).int(),
            torch.cat([matrix.column_indices for matrix in matrices]),
            torch.cat([matrix.values.detach() for matrix in matrices]),
            matrices[0].shape[1],
        )
        biases = [part.bias for part in parts if part.bias is not None]
        self.bias = torch.cat([bias.detach() for bias in biases]) if biases else None
        self.rows = [matrix.shape[0] for matrix in matrices]
        self.valid = True
        self._last: tuple[Tensor, int, list[Tensor | None]] | None = None
        for matrix, begin, end in zip(matrices, ends, ends[1:], strict=False):
            # The parts keep no copy of their own.
            matrix.column_indices = self.matrix.column_indices[begin:end]
            matrix.values.data = self.matrix.values.data[begin:end]

    def output(self, tokens: Tensor, index: int) -> Tensor:
        """Return the output of one part, (..., rows of the part); the others wait for a call with the same tensor."""
        version = tokens._version
        last = self._last
        if last is not None and last[0] is tokens and last[1] == version:
            output, last[2][index] = last[2][index], None
            if not any(each is not None for each in last[2]):
                self._last = None
            if output is not None:
                return output
        columns = tokens.reshape(-1, self.matrix.shape[1]).t().contiguous()
        products = torch.split(self.matrix.times_columns(columns, self.bias), self.rows)
        shape = tokens.shape[:-1]
        outputs: list[Tensor | None] = [part.t().contiguous().view(*shape, len(part)) for part in products]
        output, outputs[index] = outputs[index], None
        self._last = tokens, version, outputs
        assert output is not None
        return output


class _JointLinear(SparseLinear):
    # One of several layers that read one input.
    def __init__(self, layer: SparseLinear, joint: _Joint, index: int) -> None:
        super().__init__(layer.matrix, None)
        self.bias = layer.bias
        self._joint, self._index = joint, index

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self._joint.valid = False  # the part moves to another device or type, and the joint matrix does not
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def forward(self, tokens: Tensor) -> Tensor:
        # A tensor of inference mode does not tell whether it was changed in place.
        alone = not self._joint.valid or tokens.is_inference() or not tokens.numel()
        if alone or torch.is_autocast_enabled(tokens.device.type):
            return super().forward(tokens)
        return self._joint.output(tokens, self._index)


def _join_projections(attention: MultiheadAttention) -> None:
    names = ("q_proj", "k_proj", "v_proj")
    layers = [getattr(attention, name) for name in names]
    if not attention.self_attention or any(type(layer) is not SparseLinear for layer in layers):
        return
    if len({(layer.in_features, layer.matrix.values.dtype, layer.bias is None) for layer in layers}) > 1:
        return
    if len({id(layer.matrix) for layer in layers}) < len(layers):
        return
    joint = _Joint(layers)
    for index, (name, layer) in enumerate(zip(names, layers, strict=True)):
        setattr(attention, name, _JointLinear(layer, joint, index).train(False))


def _keep_columns(layer: Any) -> None:
    # relu does not mind the order in which numbers are stored, and a sparse fc2 wants that in which fc1 gives them.
    plain = getattr(layer, "ffn_layernorm", None) is None and layer.activation_fn is functional.relu
    if plain and type(layer.fc1) is SparseLinear and type(layer.fc2) is SparseLinear:
        layer.fc1.contiguous = False


def _remember_modules(decoder: nn.Module) -> None:
    # fairseq/models/fairseq_incremental_decoder.py:reorder_incremental_state_scripting looks for them in every step.
    if type(decoder).__dict__.get(_REORDER) is not None:  # a class with a way of its own
        return
    modules = [module for module in decoder.modules() if hasattr(module, "reorder_incremental_state")]
    setattr(decoder, _REORDER, partial(_reorder, modules))


def _reorder(modules: Sequence[Any], incremental_state: Any, new_order: Tensor) -> None:
    for module in modules:
        reorder: Callable[..., Any] = module.reorder_incremental_state
        result = reorder(incremental_state, new_order)
        if result is not None:
            incremental_state = result
