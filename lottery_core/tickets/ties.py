"""Tied parameters: one tensor under several names, in models, in state dicts, and in files that do not record ties."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lottery_core.errors import MismatchError
from lottery_core.files import printable
from lottery_core.tickets.names import plain_names

_FSDP, _DDP = "FullyShardedDataParallel", "DistributedDataParallel"


def live_parameters(model: nn.Module, ignore: Collection[str] = ()) -> dict[str, list[nn.Parameter]]:
    """Return every distinct parameter of a model by its plain name, with all objects that share its memory.

    :param model: any module
    :param ignore: names to leave out, whole ones
    :returns: the first name of each, as in :func:`snapshot` -> one parameter, or several that are tied by ``.data``
    :raises MismatchError: see :func:`check_memory`; or the model has no parameter with a name to leave out
    """
    plain = plain_names(model)
    missing = sorted({*ignore} - {plain(name) for name, _ in model.named_parameters(remove_duplicate=False)})
    if missing:
        raise MismatchError(f"the model has no parameter '{printable(missing[0])}' to ignore")
    check_memory(model)
    by_memory: dict[Any, str] = {}
    result: dict[str, list[nn.Parameter]] = {}
    for raw, parameter in model.named_parameters():
        name = plain(raw)
        if name in ignore:
            continue
        place = _place(parameter) if parameter.numel() else name
        first = by_memory.setdefault(place, name)
        result.setdefault(first, []).append(parameter)
    return result


def _place(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tuple(tensor.shape), tensor.stride()


def without_aliases(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return each tensor of a state dict once, under its first name; state dicts list tied parameters several times."""
    seen = set()
    result = {}
    for name, tensor in state.items():
        place = _place(tensor)
        if tensor.numel() and place in seen:
            continue
        seen.add(place)
        result[name] = tensor
    return result


def without_copies(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return each value of a state dict once, for files that do not record which parameters were tied.

    Two trained matrices never agree in every bit unless they are tied. Constant tensors may (norms, new biases), so
    they are all kept; :meth:`Weights.without_lost_aliases` drops them if another file records the ties.
    """
    result: dict[str, Tensor] = {}
    seen = set[Any]()
    for name, tensor in without_aliases(state).items():
        own = content(tensor) if _varies(tensor) else name
        if own not in seen:
            result[name] = tensor
        seen.add(own)
    return result


def tied_names(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Map the names that :func:`without_copies` drops to the names that it keeps for the same tensors."""
    kept = without_copies(state)
    copies = [name for name in state if name not in kept]
    first = {content(tensor): name for name, tensor in reversed(kept.items())} if copies else {}
    return {name: first[content(state[name])] for name in copies}


def equal_bits(first: Tensor, second: Tensor) -> bool:
    """Return whether two tensors agree in type, shape and every bit; NaN equals NaN, e.g. after a diverged run."""
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return torch.equal(*(tensor.detach().contiguous().reshape(-1).view(torch.uint8) for tensor in (first, second)))


def content(tensor: Tensor) -> tuple[Any, ...]:
    """Return a key that is equal if :func:`equal_bits` holds; comparing every pair of tensors would take too long."""
    bits: Any = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return tensor.dtype, tensor.shape, hashlib.sha256(bits).digest()


def _varies(tensor: Tensor) -> bool:
    flat = tensor.detach().reshape(-1)
    values = flat if flat.element_size() > 1 else flat.view(torch.uint8)  # float8 cannot be compared
    return tensor.numel() > 1 and bool((values != values[0]).any())


def check_memory(model: nn.Module) -> None:
    """Check that every parameter has memory, and that two parameters share all of it or none.

    :param model: any module
    :raises MismatchError: a parameter belongs to a lazy module, is on the device ``meta``, has no memory of its own
        (DTensor), is a shard (FSDP, ZeRO-3), or is a view of another one in another shape, so that a mask over one
        would prune the other
    """
    if any(type(module).__name__ == _FSDP for module in model.modules()):
        raise MismatchError(f"{_FSDP} keeps shards of parameters, which cannot be masked: train with {_DDP}")
    extents: dict[int, list[tuple[int, int, str, nn.Parameter]]] = {}
    for name, parameter in model.named_parameters():
        if isinstance(parameter, nn.UninitializedParameter) or parameter.is_meta:
            how = (
                "has no values yet: run a batch through the model first (a lazy module), or give it memory with "
                "to_empty and load its weights (the device meta)"
            )
            raise MismatchError(f"the parameter '{printable(name)}' {how}")
        if hasattr(parameter, "ds_id"):
            raise MismatchError(
                f"the parameter '{printable(name)}' is sharded by DeepSpeed (ZeRO-3), so it cannot be masked: train "
                f"with {_DDP}"
            )
        if parameter.numel() and parameter.layout is torch.strided:
            start = int(parameter.storage_offset())
            steps = zip(parameter.shape, parameter.stride(), strict=True)
            end = start + sum((size - 1) * int(step) for size, step in steps)
            extents.setdefault(_address(parameter, name), []).append((start, end, name, parameter))
    for same in extents.values():
        same.sort(key=lambda each: each[:2])
        for first, second in zip(same, same[1:]):  # noqa: B905, RUF007 (neighbours)
            overlap = first[1] >= second[0] and _place(first[3]) != _place(second[3])
            if overlap and _shares_elements(first[3], second[3]):
                names = " and ".join(f"'{printable(each[2])}'" for each in (first, second))
                raise MismatchError(f"the parameters {names} share memory, but not their shape: they cannot be masked")


def _address(parameter: nn.Parameter, name: str) -> int:
    try:
        return parameter.untyped_storage().data_ptr()
    except RuntimeError as error:  # torch raises it for subclasses that wrap other tensors
        raise MismatchError(
            f"the parameter '{printable(name)}' is a {type(parameter).__name__} without memory of its own: sharded "
            "parameters (fully_shard, tensor parallel) cannot be masked"
        ) from error


def _shares_elements(first: Tensor, second: Tensor) -> bool:
    # Extents may overlap without a common element, e.g. those of the columns of one matrix.
    size = first.untyped_storage().nbytes() // first.element_size()
    taken = torch.zeros(size, dtype=torch.bool, device="cpu")
    first_place, second_place = ((each.shape, each.stride(), each.storage_offset()) for each in (first, second))
    taken.as_strided(*first_place).fill_(True)
    return bool(taken.as_strided(*second_place).any())
