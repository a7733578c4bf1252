"""Names of parameters as in the bare model, even if the model is wrapped or a wrapper wrote the file."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from lottery_core.errors import MismatchError
from lottery_core.files import printable

# Prefixes that torch.compile, DataParallel and DistributedDataParallel, and Lightning add to names.
COMPILED, PARALLEL, LIGHTNING = "_orig_mod.", "module.", "model."
_CHECKPOINTED = "_checkpoint_wrapped_module."  # of torch's activation checkpointing, whose state dict lacks it
EXTRA_STATE = "_extra_state"  # torch/nn/modules/module.py: anything that a module adds to its state
_MOST_PREFIXES = 64  # maximum number of prefixes to try
_COMPILED_PART = re.compile(r"(^|\.)(?:_orig_mod\.|_checkpoint_wrapped_module\.)+")
_PARALLEL_PART = re.compile(r"(?:module\.)*")
_WRAPPER_PART = re.compile(r"(?:(?<=\.)|^)(?:_orig_mod\.|_checkpoint_wrapped_module\.|module\.)+")


def is_own(name: str, value: object) -> bool:
    """Return whether an entry of a state dict is a parameter or a buffer, not the result of ``get_extra_state``.

    :param name: the entry's name
    :param value: the entry
    """
    return isinstance(value, Tensor) and name.rpartition(".")[2] != EXTRA_STATE


def plain_names(model: nn.Module) -> Callable[[str], str]:
    """Return a function from a wrapped model's parameter names to those of the bare model.

    ``torch.compile``, ``DataParallel``, ``DistributedDataParallel`` and torch's activation checkpointing are unwrapped,
    at the top and inside.

    :param model: any module
    """
    wrapped = []
    for path, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            wrapped.append((f"{path}." if path else "", PARALLEL))
        else:
            inside = (prefix for prefix in (COMPILED, _CHECKPOINTED) if prefix.rstrip(".") in module._modules)
            wrapped.extend((f"{path}." if path else "", prefix) for prefix in inside)
    wrapped.sort(key=lambda each: -len(each[0]))  # the innermost first, so that the outer paths do not change meanwhile

    def plain(name: str) -> str:
        for path, prefix in wrapped:
            if name.startswith(path + prefix):
                name = path + name[len(path) + len(prefix) :]
        return name

    return plain


def first_names(model: nn.Module) -> dict[str, str]:
    """Map every name that a model has for a parameter to its first name, which files and tickets use; all are plain.

    :param model: any module
    """
    plain = plain_names(model)
    by_identity: dict[int, str] = {}
    return {
        plain(name): by_identity.setdefault(id(parameter), plain(name))
        for name, parameter in model.named_parameters(remove_duplicate=False)
    }


def plain_file_names(names: Collection[str]) -> dict[str, str]:
    """Map names in a file to names of the bare model, without the prefixes of ``torch.compile`` and DataParallel."""
    plain = {name: _COMPILED_PART.sub(r"\1", name) for name in names}
    depth = min((len(_PARALLEL_PART.match(name)[0]) for name in plain.values()), default=0)  # type: ignore[index]
    plain = {name: short[depth:] for name, short in plain.items()}
    return plain if len(set(plain.values())) == len(plain) else {name: name for name in names}


def matching(
    names: Iterable[str], required: Collection[str], optional: Collection[str] = (), surplus: bool = False
) -> dict[str, str] | None:
    """Map names to the other side's names, if these differ only by wrappers and one common prefix.

    :param names: names of a ticket or a file
    :param required: names of the other side, each of which must have a partner
    :param optional: names of the other side that may have a partner
    :param surplus: whether ``names`` may contain more names than the other side
    :returns: the mapping; ``None`` if the names differ otherwise
    """
    ours, theirs = list(names), {*required, *optional}

    def fits(mapping: Mapping[str, str]) -> bool:
        met = set(mapping.values())
        return len(met) == len(ours) and met >= set(required) and (surplus or met <= theirs)

    exact = {name: name for name in ours}
    if fits(exact):
        return exact
    bare_theirs = {_bare(name): name for name in theirs}
    if not ours or not required or len(bare_theirs) < len(theirs):
        return None
    bare_ours = {name: _bare(name) for name in ours}
    prefixes = _prefixes(min(map(_bare, required)), bare_ours.values())
    for added, removed in itertools.islice(prefixes, _MOST_PREFIXES):
        others = {name: added + bare.removeprefix(removed) for name, bare in bare_ours.items()}
        result = {name: bare_theirs.get(other, other) for name, other in others.items()}
        if fits(result):
            return result
    return None


def _prefixes(name: str, others: Iterable[str]) -> Iterator[tuple[str, str]]:
    # Yields prefixes to add to the others, or to remove from them, so that one of them becomes the name.
    yield "", ""
    for other in others:
        if name.endswith(f".{other}"):
            yield name.removesuffix(other), ""
        elif other.endswith(f".{name}"):
            yield "", other.removesuffix(name)


def _bare(name: str) -> str:
    # Removes the parts that wrappers of the model, or of its modules, have inserted.
    return _WRAPPER_PART.sub("", name)


def prefix_hint(expected: Mapping[str, object], actual: Mapping[str, object], expected_in: str, actual_in: str) -> str:
    """Say which prefix to strip if it is the only difference between most names; empty if it is not."""
    shared = len(expected.keys() & actual.keys())
    for prefix in (LIGHTNING, PARALLEL, COMPILED):
        for names, others, where in ((actual, expected, actual_in), (expected, actual, expected_in)):
            stripped = {name.removeprefix(prefix) for name in names}
            if len(stripped & others.keys()) > max(shared, len(others) // 2):
                return f"; names in {where} begin with '{prefix}': strip that prefix"
    return ""


def heads_of(model: nn.Module, names: Collection[str]) -> dict[str, int]:
    """Return the number of heads of each attention that has projections of its own for queries, keys and values.

    :param model: a model, on any device
    :param names: names of its tensors
    """
    plain, heads = plain_names(model), {}
    for name, module in model.named_modules():
        count, query = getattr(module, "num_heads", None), plain(f"{name}.q_proj.weight")
        if type(count) is int and query in names:
            heads[query.removesuffix(".q_proj.weight")] = count
    return heads


def renamed_heads(heads: Mapping[str, int], mapping: Mapping[str, str]) -> dict[str, int]:
    """Return numbers of heads under the names that attentions have once their tensors have other names.

    :param heads: attention -> number of its heads
    :param mapping: names of tensors -> their new names
    """
    result = {}
    for attention, count in heads.items():
        tensor = next((name for name in mapping if name.startswith(f"{attention}.")), None)
        if tensor is not None:
            result[mapping[tensor].removesuffix(tensor.removeprefix(attention))] = count
    return result


def require_same_shapes(
    expected: Mapping[str, torch.Size], actual: Mapping[str, torch.Size], expected_in: str, actual_in: str
) -> None:
    """Check that two sets of names and shapes agree.

    :param expected: expected shapes by name
    :param actual: actual shapes by name
    :param expected_in: where the expected ones come from, for messages
    :param actual_in: where the actual ones come from, for messages
    :raises MismatchError: they differ; the message names the first tensor that does, and both shapes
    """
    for name in sorted({*expected, *actual}):
        if expected.get(name) != actual.get(name):
            sides = [
                f"{'no such tensor' if name not in shapes else tuple(shapes[name])} in {where}"
                for shapes, where in ((expected, expected_in), (actual, actual_in))
            ]
            hint = prefix_hint(expected, actual, expected_in, actual_in)
            raise MismatchError(f"different architectures: '{printable(name)}' is {sides[0]}, but {sides[1]}{hint}")
