"""Find the state dict in a torch file: files nest it under various names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lottery_core.errors import CheckpointError
from lottery_core.files import printable, why_no_shape
from lottery_core.tickets import EXTRA_STATE

_USUAL = ("model", "state_dict", "model_state_dict")
_DEPTH = 4
_OPTIMIZER = "param_groups"  # only the state of an optimizer has this key
# Limits for views (``expand``), which take few bytes in the file: bytes in total, plus a multiple of the stored bytes.
_MOST_REPEATED, _MOST_VIEWS = 1 << 26, 4


def find_state_dict(content: Any, source: str, key: str | None = None) -> tuple[dict[str, Tensor], bool]:
    """Find the state dict in the content of a torch file, and say whether the file contains no other network.

    A nested mapping is preferred to numbers beside it ({"net": state, "accuracy": tensor}); of several, the one with a
    usual name is taken. The states of optimizers are ignored.

    :param content: the result of ``torch.load``
    :param source: the file, for messages
    :param key: the keys that lead to the state dict, separated by dots
    :raises CheckpointError: there is no state dict, or none at ``key``; there are several candidates, which the message
        names; or it contains something other than dense tensors
    """
    states = dict(_states(content))
    path = _path(states, source, key)
    # Averages of the same network are not another network.
    shapes = _shapes(states[path])
    others = [other for other, state in states.items() if _has_layers(state) and _shapes(state) != shapes]
    state = {name: _dense(tensor, name, source) for name, tensor in states[path].items()}
    _check_repeated(state, source)
    return state, not others


def _path(states: Mapping[str, Mapping[str, Tensor]], source: str, key: str | None) -> str:
    if key is not None:
        if key not in states:
            raise CheckpointError(f"cannot read {source}: there is no state dict at '{printable(key)}'{_those(states)}")
        return key
    if not states:
        raise CheckpointError(f"cannot read {source}: there is no state dict in it")
    with_layers = [path for path, state in states.items() if _has_layers(state)]
    candidates = with_layers or [path for path in states if path] or list(states)
    for usual in (
        [path for path in candidates if path in _USUAL],
        [path for path in candidates if path.rpartition(".")[2] in _USUAL],
    ):
        candidates = usual or candidates
    if len(candidates) > 1:
        raise CheckpointError(
            f"cannot read {source}: it has several state dicts{_those(candidates)}: name one (lottery prune: "
            "--key NAME; Python: key=NAME), or save it in a file of its own"
        )
    return candidates[0]


def _shapes(state: Mapping[str, Tensor]) -> list[Any]:
    return [(name, None if tensor.is_nested else tensor.shape) for name, tensor in state.items()]


def _has_layers(state: Mapping[str, Tensor]) -> bool:
    # Numbers beside the weights, such as scores and step counts, are scalars; the state of a random generator is bytes.
    return any(tensor.dim() and (tensor.is_floating_point() or tensor.is_complex()) for tensor in state.values())


def _states(value: Any) -> Iterator[tuple[str, dict[str, Tensor]]]:
    level, seen = [("", value)], set[int]()
    for _ in range(_DEPTH + 2):
        below = []
        for path, part in level:
            # Examine a mapping only once, because a small file can refer to it very many times.
            if not isinstance(part, Mapping) or _OPTIMIZER in part or id(part) in seen:
                continue
            seen.add(id(part))
            named = [(name, inner) for name, inner in part.items() if isinstance(name, str)]
            tensors = {name: inner for name, inner in named if isinstance(inner, Tensor)}
            if tensors:
                yield path, tensors
            below += [
                (f"{path}.{name}" if path else name, inner)
                for name, inner in named
                if isinstance(inner, Mapping) and name.rpartition(".")[2] != EXTRA_STATE
            ]
        level = below


def _dense(tensor: Tensor, name: str, source: str) -> Tensor:
    kind = None
    if tensor.layout is not torch.strided or tensor.is_nested:
        kind = "sparse or nested"
    elif tensor.is_quantized:
        kind = "quantized"
    elif tensor.device.type != "cpu":
        kind = f"on the device {tensor.device.type}, without values"
    elif type(tensor) not in (Tensor, nn.Parameter):
        kind = f"a {type(tensor).__name__}"
    elif why_no_shape(tensor.shape) is not None:
        kind = f"of an impossible shape ({why_no_shape(tensor.shape)})"
    if kind is not None:
        raise CheckpointError(f"cannot read {source}: '{printable(name)}' is {kind}; only dense tensors are read")
    return tensor.detach()


def _check_repeated(state: Mapping[str, Tensor], source: str) -> None:
    # A copy of a view takes memory for every element, even if the view stores only a few.
    storages: dict[int, int] = {}
    views: dict[Any, int] = {}
    for tensor in state.values():
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        place = storage.data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride()
        views[place] = tensor.numel() * tensor.element_size()
    if sum(views.values()) > _MOST_REPEATED + _MOST_VIEWS * sum(storages.values()):
        name, tensor = max(state.items(), key=lambda each: each[1].numel() * each[1].element_size())
        raise CheckpointError(
            f"cannot read {source}: '{printable(name)}' is of shape {tuple(tensor.shape)}, with fewer values than that "
            "in the file; only dense tensors are read"
        )


def _those(paths: Any) -> str:
    names = [f"'{printable(path, 40)}'" if path else "'' (the top)" for path in paths]
    return f" ({', '.join(names[:8])})" if names else ""


def stepped_parameters(content: Any) -> int | None:
    """Count the parameters that the optimizers in a file step; ``None`` if there is no optimizer's state.

    :param content: the result of ``torch.load``
    """
    counts = []
    level, seen = [content], set[int]()
    for _ in range(_DEPTH + 2):
        new = list({id(part): part for part in level if isinstance(part, Mapping) and id(part) not in seen}.values())
        seen.update(map(id, new))
        for part in new:
            groups = part.get(_OPTIMIZER)
            if isinstance(groups, list):
                members = [group.get("params") for group in groups if isinstance(group, Mapping)]
                counts.append(sum(len(each) for each in members if isinstance(each, list)))
        level = [inner for part in new if _OPTIMIZER not in part for inner in part.values()]
    return sum(counts) if counts else None
