"""A named set of bool masks: True survives, False is pruned."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from lottery_core.errors import MaskError


class Masks(Mapping[str, Tensor]):
    """Masks by parameter name, in the order of the pool (sorted names). Treat the tensors as read-only.

    :param masks: name -> mask of the parameter's shape; bool, or numbers that are all 0 or 1
    :raises MaskError: a value is neither 0 nor 1, or there is no mask
    """

    def __init__(self, masks: Mapping[str, Tensor]) -> None:
        if not masks:
            raise MaskError("there are no masks: the pool is empty")
        self._masks = {name: _as_bool(name, masks[name]) for name in sorted(masks)}

    @classmethod
    def ones(cls, tensors: Mapping[str, Tensor]) -> Masks:
        """Return masks of the shapes of ``tensors`` in which everything survives."""
        return cls({name: torch.ones(tensor.shape, dtype=torch.bool, device="cpu") for name, tensor in tensors.items()})

    def __getitem__(self, name: str) -> Tensor:
        return self._masks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Masks):
            return NotImplemented
        return list(self) == list(other) and all(torch.equal(self[name], other[name]) for name in self)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Masks({len(self)} tensors, pool {self.pool}, pruned {self.pruned}, surviving {self.surviving})"

    @property
    def pool(self) -> int:
        """The number of parameters in the pool."""
        return sum(mask.numel() for mask in self.values())

    @property
    def surviving(self) -> int:
        """The number of surviving parameters."""
        return sum(self.survivors().values())

    @property
    def pruned(self) -> int:
        """The number of pruned parameters."""
        return self.pool - self.surviving

    def survivors(self) -> dict[str, int]:
        """Return the number of surviving parameters of each tensor."""
        return {name: int(mask.sum()) for name, mask in self.items()}

    def collapsed(self) -> list[str]:
        """Return the names of collapsed layers: tensors of two or more dimensions without a survivor."""
        return [name for name, mask in self.items() if is_layer(name, mask) and mask.numel() and not bool(mask.any())]

    def subset_of(self, other: Masks) -> bool:
        """Return whether everything that survives here also survives in ``other``."""
        return list(self) == list(other) and not any(bool((self[name] & ~other[name]).any()) for name in self)

    def overlap(self, other: Masks) -> float:
        """Return the Jaccard index: surviving in both over surviving in either, from 0 to 1; 1 for two empty masks.

        :raises MaskError: the masks have different pools
        """
        if list(self) != list(other):
            raise MaskError("the masks are of different pools")
        both = sum(int((self[name] & other[name]).sum()) for name in self)
        either = sum(int((self[name] | other[name]).sum()) for name in self)
        return both / either if either else 1.0

    def apply(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return copies of the pool's tensors with exactly 0.0 in every pruned element.

        :param tensors: name -> tensor, at least those of the pool
        :raises MaskError: a tensor is missing or has another shape
        """
        result = {}
        for name, mask in self.items():
            tensor = tensors.get(name)
            if tensor is None or tensor.shape != mask.shape:
                actual = "missing" if tensor is None else f"of shape {tuple(tensor.shape)}"
                raise MaskError(f"the tensor '{name}' is {actual}, its mask has shape {tuple(mask.shape)}")
            # masked_fill, not a product: inf x 0 is nan, and -1 x 0 is -0.0.
            result[name] = tensor.detach().masked_fill(~mask.to(tensor.device), 0)
        return result

    def digest(self) -> str:
        """Return a SHA-256 over names, shapes and masks: equal on two ranks or machines exactly if the masks are."""
        digest = hashlib.sha256()
        for name, mask in self.items():
            digest.update(f"{name} {tuple(mask.shape)}\n".encode())
            digest.update(mask.contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def is_layer(name: str, mask: Tensor) -> bool:
    """Return whether a mask is that of a layer: it has two or more dimensions, and is not a bias.

    :param name: the parameter's name
    :param mask: its mask, or a tensor of its shape
    """
    # A bias or a token of shape (1, 1, C) is a vector despite its dimensions; a matrix with one row is a layer.
    shape = list(mask.shape)
    while len(shape) > 2 and shape[0] == 1:
        shape.pop(0)
    vector = len(mask.shape) > 2 and len(shape) == 2 and shape[0] == 1
    return len(shape) >= 2 and not vector and name.rpartition(".")[2] != "bias"


def _as_bool(name: str, mask: Tensor) -> Tensor:
    mask = mask.detach().to("cpu")
    if mask.dtype == torch.bool:
        return mask
    as_bool = mask != 0
    if not torch.equal(as_bool.to(mask.dtype), mask):
        raise MaskError(f"the mask of '{name}' holds something other than 0 and 1")
    return as_bool
