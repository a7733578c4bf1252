"""The layers of a model that could be sparse, and what they would be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from lottery_core.inference.layers import CsrMatrix, SparseLinear
from lottery_core.inference.lstm import SparseLSTM, SparseLSTMCell

# fairseq's attention gives torch the weights of its projections, past them, for whole sequences; unless this is set.
SKIPS = "skip_embed_dim_check"  # fairseq/modules/multihead_attention.py:forward
_OTHERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.GRU, nn.RNN, nn.GRUCell, nn.Bilinear)
_READERS = (nn.MultiheadAttention, nn.TransformerEncoderLayer)
_ON_CPU = (torch.float32, torch.float64)
_ON_GPU = (*_ON_CPU, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Layer:
    """A layer with weights.

    :param name: its first name in the model
    :param module: the layer
    :param places: the modules that hold it, and as what
    :param matrices: its weights themselves, (outputs x inputs) each
    :param why: what keeps it dense; ``None`` where it could be sparse
    """

    name: str
    module: nn.Module
    places: tuple[tuple[nn.Module, str], ...]
    matrices: tuple[Tensor, ...]
    why: str | None

    @cached_property
    def pruned(self) -> float:
        """Share of the weights that are 0."""
        total = sum(matrix.numel() for matrix in self.matrices)
        return 1 - sum(int(matrix.count_nonzero()) for matrix in self.matrices) / max(1, total)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the first matrix."""
        return tuple(self.matrices[0].shape) if self.matrices else ()

    def replace(self, module: nn.Module) -> None:
        """Put ``module`` in its place, everywhere; and let its parent call it."""
        for parent, name in self.places:
            setattr(parent, name, module)
            if hasattr(parent, SKIPS):
                setattr(parent, SKIPS, True)

    @property
    def fused(self) -> bool:
        """Whether its parent leaves a fused form, for whole sequences, when the layer becomes sparse."""
        return any(not getattr(parent, SKIPS, True) for parent, _ in self.places)


def memory(model: nn.Module) -> int:
    """Bytes of the parameters and buffers of a model, shared ones once."""
    tensors = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def places_in(model: nn.Module) -> dict[int, list[tuple[nn.Module, str]]]:
    """Where each module stands, by ``id``: its parents, and its name in each."""
    places: dict[int, list[tuple[nn.Module, str]]] = {}
    for parent in model.modules():
        for name, child in parent._modules.items():
            if child is not None:
                places.setdefault(id(child), []).append((parent, name))
    return places


def layers_of(model: nn.Module) -> list[Layer]:
    """Every layer with weights, also of a kind that torch has no sparse form of; but embeddings, which cost no time."""
    places = places_in(model)
    read = {id(child) for parent in model.modules() if isinstance(parent, _READERS) for child in parent.modules()}
    found = []
    for name, module in model.named_modules():
        matrices, why = matrices_of(module), None
        if matrices is None:
            kind = type(module)
            quantised = "quantized" in kind.__module__ and not kind.__name__.endswith("PackedParams")
            if not isinstance(module, _OTHERS) and not quantised:
                continue
            matrices = tuple(p for p in module.parameters(recurse=False) if p.dim() > 1)
            why = "quantised" if quantised else f"torch has no sparse {kind.__name__}"
        elif id(module) in read:
            why = "its parent reads its weights past it"
        elif module is model:
            why = "it is the model itself: put it into nn.Sequential"
        elif module._forward_hooks or module._forward_pre_hooks:
            why = "it has forward hooks"
        elif isinstance(module, nn.LSTM) and (module.bidirectional or module.proj_size):
            why = "an LSTM of both directions or with projections"
        else:
            why = no_product(matrices[0])
        found.append(Layer(name, module, tuple(places.get(id(module), ())), matrices, why))
    return found


def no_product(matrix: Tensor) -> str | None:
    """Why torch has no sparse product for such a matrix; ``None`` where it has."""
    device, dtype = matrix.device.type, matrix.dtype
    if device not in ("cpu", "cuda", "meta"):  # on "meta" a model waits for its weights
        return f"torch has no sparse product on {device}"
    if dtype not in (_ON_GPU if device == "cuda" else _ON_CPU):
        return f"torch has no sparse product of {str(dtype)[6:]} on {device}"
    return None


def matrices_of(module: nn.Module) -> tuple[Tensor, ...] | None:
    """The matrices of a layer that has a sparse form; ``None`` for any other module."""
    if isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward:
        return (module.weight,)
    if isinstance(module, nn.LSTMCell) and type(module).forward is nn.LSTMCell.forward:
        return module.weight_ih, module.weight_hh
    if isinstance(module, nn.LSTM) and type(module).forward is nn.LSTM.forward:
        return tuple(weight for layer in lstm_weights(module) for weight in layer[:2])
    return None


def lstm_weights(lstm: nn.LSTM) -> list[list[Tensor]]:
    """Weights of input and state, then biases where there are any, layer by layer (and direction by direction)."""
    return [[getattr(lstm, name) for name in names] for names in lstm._all_weights]


def sparse_form(module: nn.Module, matrix: Callable[[Tensor], CsrMatrix] = CsrMatrix.of) -> nn.Module:
    """The sparse layer that does what a dense one does, in evaluation mode.

    :param module: a layer that :func:`matrices_of` knows
    :param matrix: makes each sparse matrix from a weight of the layer
    """
    made: nn.Module
    if isinstance(module, nn.Linear):
        made = SparseLinear(matrix(module.weight), module.bias)
    elif isinstance(module, nn.LSTMCell):
        bias = module.bias_ih + module.bias_hh if module.bias else None
        made = SparseLSTMCell(matrix(module.weight_ih), matrix(module.weight_hh), bias)
    else:
        assert isinstance(module, nn.LSTM)
        cells = []
        for weights in lstm_weights(module):
            bias = weights[2] + weights[3] if module.bias else None
            cells.append(SparseLSTMCell(matrix(weights[0]), matrix(weights[1]), bias))
        made = SparseLSTM(cells, module.batch_first)
    return made.train(False)
