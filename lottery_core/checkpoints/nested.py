"""Finding the state dict in a torch file: people nest it under names of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from lottery_core.errors import CheckpointError
from lottery_core.files import printable

_USUAL = ("model", "state_dict", "model_state_dict")
_DEPTH = 4
_OPTIMIZER = "param_groups"  # only an optimizer's state has it


def find_state_dict(content: Any, source: str, key: str | None = None) -> dict[str, Tensor]:
    """The mapping of names to tensors in the content of a torch file.

    A mapping below the top is preferred to tensors beside it ({"net": state, "accuracy": tensor}); of several the one
    with a usual name is taken. The states of optimizers are passed over.

    :param content: what ``torch.load`` gave
    :param source: the file, for messages
    :param key: the path of keys to it, parted by dots
    :raises CheckpointError: there is none, or none at ``key``; or several that could be meant: names them
    """
    states = dict(_states(content))
    if key is not None:
        if key not in states:
            raise CheckpointError(f"cannot read {source}: there is no state dict at '{printable(key)}'{_those(states)}")
        return states[key]
    below = {path: state for path, state in states.items() if path}
    for path in below:
        if path in _USUAL:
            return below[path]
    usual = [path for path in below if path.rpartition(".")[2] in _USUAL]
    candidates = usual or list(below)
    if len(candidates) > 1:
        raise CheckpointError(f"cannot read {source}: several state dicts could be meant{_those(below)}: give --key")
    if candidates:
        return below[candidates[0]]
    if "" in states:
        return states[""]
    raise CheckpointError(f"cannot read {source}: there is no state dict in it")


def _states(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    if not isinstance(value, Mapping) or _OPTIMIZER in value or depth > _DEPTH:
        return
    tensors = {name: part for name, part in value.items() if isinstance(name, str) and isinstance(part, Tensor)}
    if tensors:
        yield path, tensors
    for name, part in value.items():
        if isinstance(name, str):
            yield from _states(part, f"{path}.{name}" if path else name, depth + 1)


def _those(states: Mapping[str, Any]) -> str:
    names = [f"'{printable(path, 40)}'" for path in states if path]
    return f" ({', '.join(names[:8])})" if names else ""


def stepped_parameters(content: Any, depth: int = 0) -> int | None:
    """How many parameters the optimizers in a file step; ``None`` where it holds no optimizer's state.

    :param content: what ``torch.load`` gave
    :param depth: how deep in the file it is
    """
    if not isinstance(content, Mapping) or depth > _DEPTH:
        return None
    groups = content.get(_OPTIMIZER)
    if isinstance(groups, list):
        members = [group.get("params") for group in groups if isinstance(group, Mapping)]
        return sum(len(each) for each in members if isinstance(each, list))
    counts = [stepped_parameters(part, depth + 1) for part in content.values()]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
