"""Find the layers of a model that can become sparse, and make their sparse forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from lottery_core import dialects
from lottery_core.inference.layers import CsrMatrix, SparseLinear
from lottery_core.inference.lstm import SparseLSTM, SparseLSTMCell

_WITHOUT_SPARSE_FORM = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.GRU, nn.RNN, nn.GRUCell, nn.Bilinear)
_READ_WEIGHTS_DIRECTLY = (nn.MultiheadAttention, nn.TransformerEncoderLayer)
_ON_CPU = (torch.float32, torch.float64)
_ON_GPU = (*_ON_CPU, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Layer:
    """A layer with weights.

    :param name: the layer's name in the model, the first if it has several
    :param module: the layer
    :param places: every module that holds the layer, with the layer's name in it
    :param matrices: the layer's weights, (outputs, inputs) each
    :param why: reason that the layer must stay dense; ``None`` if it can become sparse
    """

    name: str
    module: nn.Module
    places: tuple[tuple[nn.Module, str], ...]
    matrices: tuple[Tensor, ...]
    why: str | None

    @cached_property
    def pruned(self) -> float:
        """Fraction of the weights that are 0."""
        total = sum(matrix.numel() for matrix in self.matrices)
        return 1 - sum(int(matrix.count_nonzero()) for matrix in self.matrices) / max(1, total)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first matrix."""
        return tuple(self.matrices[0].shape) if self.matrices else ()

    def replace(self, module: nn.Module) -> None:
        """Put ``module`` in every place of the layer, and make its parents call it."""
        for parent, name in self.places:
            setattr(parent, name, module)
        for parent, flag in self.fused_parents():
            setattr(parent, flag, True)

    def fused_parents(self) -> list[tuple[nn.Module, str]]:
        """Return the parents that pass the layer's weights to torch's fused implementation instead of calling it.

        :returns: each parent with the name of the attribute that makes it call the layer
        """
        flags = [row.fused_flag for row in dialects.every() if row.fused_flag is not None]
        return [(parent, flag) for parent, _ in self.places for flag in flags if not getattr(parent, flag, True)]

    @property
    def fused(self) -> bool:
        """Whether a sparse layer takes a parent out of torch's fused implementation."""
        return bool(self.fused_parents())


def memory(model: nn.Module) -> int:
    """Return the bytes of a model's parameters and buffers; shared ones count once."""
    tensors = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def places_in(model: nn.Module) -> dict[int, list[tuple[nn.Module, str]]]:
    """Map the ``id`` of each submodule to its parents and its name in each."""
    places: dict[int, list[tuple[nn.Module, str]]] = {}
    for parent in model.modules():
        for name, child in parent._modules.items():
            if child is not None:
                places.setdefault(id(child), []).append((parent, name))
    return places


def layers_of(model: nn.Module) -> list[Layer]:
    """Return every layer with weights except embeddings, which take no time; also layers that must stay dense."""
    places = places_in(model)
    readers = [module for module in model.modules() if isinstance(module, _READ_WEIGHTS_DIRECTLY)]
    read_directly = {id(child) for reader in readers for child in reader.modules()}
    layers = []
    for name, module in model.named_modules():
        matrices, why = matrices_of(module), None
        if matrices is None:
            kind = type(module)
            quantised = "quantized" in kind.__module__ and not kind.__name__.endswith("PackedParams")
            if not isinstance(module, _WITHOUT_SPARSE_FORM) and not quantised:
                continue
            matrices = tuple(p for p in module.parameters(recurse=False) if p.dim() > 1)
            why = "quantised" if quantised else f"torch has no sparse {kind.__name__}"
        elif id(module) in read_directly:
            why = "its parent reads its weights directly"
        elif module is model:
            why = "it is the model itself: wrap it in nn.Sequential"
        elif module._forward_hooks or module._forward_pre_hooks:
            why = "it has forward hooks"
        elif isinstance(module, nn.LSTM) and (module.bidirectional or module.proj_size):
            why = "a bidirectional LSTM, or one with projections"
        elif not all(matrix.numel() for matrix in matrices):
            why = "no weights"
        else:
            why = why_no_product(matrices[0])
        layers.append(Layer(name, module, tuple(places.get(id(module), ())), matrices, why))
    return layers


def why_no_product(matrix: Tensor) -> str | None:
    """Explain why torch cannot multiply a sparse matrix of this device and type; ``None`` if it can."""
    device, dtype = matrix.device.type, matrix.dtype
    if device not in ("cpu", "cuda", "meta"):  # "meta": a model before its weights are loaded
        return f"torch has no sparse product on {device}"
    if dtype not in (_ON_GPU if device == "cuda" else _ON_CPU):
        return f"torch has no sparse product in {str(dtype)[6:]} on {device}"
    return None


def matrices_of(module: nn.Module) -> tuple[Tensor, ...] | None:
    """Return the matrices of a layer that has a sparse form; ``None`` for any other module."""
    if isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward:
        return (module.weight,)
    if isinstance(module, nn.LSTMCell) and type(module).forward is nn.LSTMCell.forward:
        return module.weight_ih, module.weight_hh
    if isinstance(module, nn.LSTM) and type(module).forward is nn.LSTM.forward:
        return tuple(weight for layer in lstm_weights(module) for weight in layer[:2])
    return None


def lstm_weights(lstm: nn.LSTM) -> list[list[Tensor]]:
    """Return, for each layer (and direction) of an LSTM, the weights of input and state and the biases, if any."""
    return [[getattr(lstm, name) for name in names] for names in lstm._all_weights]


def sparse_form(module: nn.Module, matrix: Callable[[Tensor], CsrMatrix] = CsrMatrix.of) -> nn.Module:
    """Make the sparse layer that computes what a dense layer computes.

    :param module: a layer for which :func:`matrices_of` returns matrices
    :param matrix: makes the sparse matrix of a weight of the layer
    :returns: the sparse layer, in evaluation mode
    """
    sparse: nn.Module
    if isinstance(module, nn.Linear):
        sparse = SparseLinear(matrix(module.weight), module.bias)
    elif isinstance(module, nn.LSTMCell):
        bias = module.bias_ih + module.bias_hh if module.bias else None
        sparse = SparseLSTMCell(matrix(module.weight_ih), matrix(module.weight_hh), bias)
    else:
        assert isinstance(module, nn.LSTM)
        cells = []
        for weights in lstm_weights(module):
            bias = weights[2] + weights[3] if module.bias else None
            cells.append(SparseLSTMCell(matrix(weights[0]), matrix(weights[1]), bias))
        sparse = SparseLSTM(cells, module.batch_first)
    return sparse.train(False)
