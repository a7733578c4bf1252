"""A snapshot of a network's weights: every distinct tensor once, by name, on the CPU."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from lottery_core import dialects
from lottery_core.errors import CheckpointError, MismatchError
from lottery_core.files import write_bytes

_HEADER = "lottery"
_FORMAT = "lottery-weights"


@dataclass(frozen=True)
class Weights:
    """Weights by name.

    :param tensors: name -> tensor on the CPU; a tied parameter appears once, under its first name
    :param outside: names that are never pruned: buffers and ``log_std``
    :param source: the file or model they come from, for messages
    """

    tensors: Mapping[str, Tensor]
    outside: frozenset[str] = field(default_factory=frozenset)
    source: str = "the model"

    def names(self) -> list[str]:
        """The names of the parameters that may be pruned."""
        return [name for name in self.tensors if name not in self.outside]

    def require_same_shapes(self, other: Weights) -> None:
        """Compare with the tensors of ``other``.

        :raises MismatchError: they differ; names the first tensor that does, and both shapes
        """
        shapes = {name: tensor.shape for name, tensor in self.tensors.items()}
        require_same_shapes(shapes, {name: t.shape for name, t in other.tensors.items()}, self.source, other.source)

    def without_lost_aliases(self, other: Weights) -> Weights:
        """Drop tied copies that ``other`` lacks: some files store a tied parameter once for each of its names."""
        copies = []
        for name in self.tensors.keys() - other.tensors.keys():
            same = (self.tensors[kept] for kept in other.tensors if kept in self.tensors)
            if any(_equal(self.tensors[name], tensor) for tensor in same):
                copies.append(name)
        if not copies:
            return self
        tensors = {name: tensor for name, tensor in self.tensors.items() if name not in copies}
        return Weights(tensors, self.outside - set(copies), self.source)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, atomically.

        :raises WriteError: it cannot be written
        """
        from safetensors.torch import save

        header = json.dumps({"format": _FORMAT, "outside": sorted(self.outside)})
        tensors = {name: tensor.contiguous() for name, tensor in self.tensors.items()}
        write_bytes(path, save(tensors, {_HEADER: header}))

    @classmethod
    def load(cls, path: str | Path) -> Weights:
        """Read a safetensors file, ours or another's.

        :raises CheckpointError: not a safetensors file, or a ticket
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="pt") as file:
                header = json.loads((file.metadata() or {}).get(_HEADER, "{}"))
                if not isinstance(header, dict):
                    raise CheckpointError(f"{path} has a damaged header")
                if header.get("format", _FORMAT) != _FORMAT:
                    raise CheckpointError(f"{path} is a {header['format']}, not a file of weights")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"cannot read {path}: {error}") from error
        outside = header["outside"] if "outside" in header else outside_by_name(tensors)
        return cls(tensors, frozenset(outside), str(path))


def require_same_shapes(
    expected: Mapping[str, torch.Size], found: Mapping[str, torch.Size], expected_in: str, found_in: str
) -> None:
    """Compare two sets of named shapes.

    :raises MismatchError: they differ; names the first tensor that does, and both shapes
    """
    for name in sorted({*expected, *found}):
        if expected.get(name) != found.get(name):
            sides = [
                f"{'no such tensor' if name not in shapes else tuple(shapes[name])} in {where}"
                for shapes, where in ((expected, expected_in), (found, found_in))
            ]
            raise MismatchError(f"different architectures: '{name}' is {sides[0]}, but {sides[1]}")


def outside_by_name(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of tensors that are never pruned, judged by the last part of the name and by the type: files do not say."""
    never = frozenset[str]().union(*(row.buffers | row.never_pruned for row in dialects.every()))
    return [name for name, t in tensors.items() if name.rpartition(".")[2] in never or not t.is_floating_point()]


def snapshot(model: nn.Module) -> Weights:
    """Copy the weights of ``model``: parameters (tied ones once) and the buffers that its state dict holds.

    Take it in full precision: before a framework casts the model to fp16.

    :param model: any module, on any device
    :returns: clones on the CPU, which later training does not change
    """
    state = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    state = without_aliases(state)
    parameters = {name for name, _ in model.named_parameters()}
    never = frozenset[str]().union(*(row.never_pruned for row in dialects.every()))
    outside = {name for name in state if name not in parameters or name.rpartition(".")[2] in never}
    return Weights({name: tensor.detach().cpu().clone() for name, tensor in state.items()}, frozenset(outside))


def without_aliases(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor of a state dict once, under its first name: a state dict lists a tied parameter several times."""
    seen = set()
    result = {}
    for name, tensor in state.items():
        key = (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tuple(tensor.shape), tensor.stride())
        if tensor.numel() and key in seen:
            continue
        seen.add(key)
        result[name] = tensor
    return result


def without_copies(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each value of a state dict once, for files that do not record which parameters were tied.

    Two trained matrices never agree in every bit unless they are one. Constant tensors do (norms, new biases), so
    they all stay; :meth:`Weights.without_lost_aliases` drops them where another file knows the ties.
    """
    result: dict[str, Tensor] = {}
    for name, tensor in without_aliases(state).items():
        if not any(_equal(tensor, kept) and _varies(tensor) for kept in result.values()):
            result[name] = tensor
    return result


def tied_names(state: Mapping[str, Tensor]) -> dict[str, str]:
    """The names that :func:`without_copies` drops, each with the name it keeps for the same tensor."""
    kept = without_copies(state)
    copies = [name for name in state if name not in kept]
    return {name: next(first for first, tensor in kept.items() if _equal(tensor, state[name])) for name in copies}


def _equal(first: Tensor, second: Tensor) -> bool:
    # Bit by bit, so that NaN equals NaN: a diverged run is then reported as such.
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return torch.equal(*(tensor.detach().contiguous().reshape(-1).view(torch.uint8) for tensor in (first, second)))


def _varies(tensor: Tensor) -> bool:
    return tensor.numel() > 1 and bool((tensor != tensor.reshape(-1)[0]).any())
