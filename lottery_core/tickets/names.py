"""Names of parameters as a bare model has them, whatever wraps the model or wrote the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping

from torch import nn

# What torch.compile, DataParallel and DistributedDataParallel, and Lightning put before names.
COMPILED, PARALLEL, LIGHTNING = "_orig_mod.", "module.", "model."
_COMPILED_PART = re.compile(r"(^|\.)(?:_orig_mod\.)+")


def plain_names(model: nn.Module) -> Callable[[str], str]:
    """A function from the names that a wrapped model has for its parameters to those of the bare model.

    ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel`` are unwrapped, at the top and inside.

    :param model: any module
    """
    wrapped = []
    for path, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            wrapped.append((f"{path}." if path else "", PARALLEL))
        elif COMPILED.rstrip(".") in module._modules and hasattr(module, "_orig_mod"):
            wrapped.append((f"{path}." if path else "", COMPILED))
    wrapped.sort(key=lambda each: -len(each[0]))  # the innermost first: the paths before it stay what they are

    def plain(name: str) -> str:
        for path, prefix in wrapped:
            if name.startswith(path + prefix):
                name = path + name[len(path) + len(prefix) :]
        return name

    return plain


def first_names(model: nn.Module) -> dict[str, str]:
    """Every name that a model has for a parameter -> the first one, which files and tickets use; all of them plain.

    :param model: any module
    """
    plain = plain_names(model)
    by_identity: dict[int, str] = {}
    return {
        plain(name): by_identity.setdefault(id(parameter), plain(name))
        for name, parameter in model.named_parameters(remove_duplicate=False)
    }


def plain_file_names(names: Collection[str]) -> dict[str, str]:
    """Names in a file -> names of the bare model: without the prefixes of ``torch.compile`` and DataParallel."""
    plain = {name: _COMPILED_PART.sub(r"\1", name) for name in names}
    while plain and all(name.startswith(PARALLEL) for name in plain.values()):
        plain = {name: short.removeprefix(PARALLEL) for name, short in plain.items()}
    return plain if len(set(plain.values())) == len(plain) else {name: name for name in names}


def without_prefix(names: Iterable[str], others: Iterable[str]) -> dict[str, str] | None:
    """``names`` -> ``others`` where the two differ by nothing but one prefix before all names of one side.

    :returns: the mapping; ``None`` where they differ otherwise
    """
    ours, theirs = set(names), set(others)
    if ours == theirs:
        return {name: name for name in ours}
    if not ours or len(ours) != len(theirs):
        return None
    first = min(ours)
    for other in theirs:
        if first.endswith(f".{other}"):
            prefix = first[: -len(other)]
            if {prefix + each for each in theirs} == ours:
                return {prefix + each: each for each in theirs}
        elif other.endswith(f".{first}"):
            prefix = other[: -len(first)]
            if {prefix + each for each in ours} == theirs:
                return {each: prefix + each for each in ours}
    return None


def prefix_hint(expected: Mapping[str, object], actual: Mapping[str, object], actual_in: str) -> str:
    """Which prefix to strip where two sides share most names but for it; empty where that is not so."""
    shared = len(expected.keys() & actual.keys())
    for prefix in (LIGHTNING, PARALLEL, COMPILED):
        for names, others, where in ((actual, expected, actual_in), (expected, actual, "the other side")):
            stripped = {name.removeprefix(prefix) for name in names}
            if len(stripped & others.keys()) > max(shared, len(others) // 2):
                return f"; names in {where} begin with '{prefix}': strip that prefix"
    return ""
