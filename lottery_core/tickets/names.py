"""Names of parameters as a bare model has them, whatever wraps the model or wrote the file."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from torch import Tensor, nn

# What torch.compile, DataParallel and DistributedDataParallel, and Lightning put before names.
COMPILED, PARALLEL, LIGHTNING = "_orig_mod.", "module.", "model."
EXTRA_STATE = "_extra_state"  # torch/nn/modules/module.py: anything that a module adds to its state
_MOST_PREFIXES = 64  # tries: of names that end alike few can be meant
_COMPILED_PART = re.compile(r"(^|\.)(?:_orig_mod\.)+")
_PARALLEL_PART = re.compile(r"(?:module\.)*")
_WRAPPER_PART = re.compile(r"(?:(?<=\.)|^)(?:_orig_mod\.|module\.)+")


def is_own(name: str, value: object) -> bool:
    """Whether an entry of a state dict is a parameter or a buffer, not what a module's ``get_extra_state`` added.

    :param name: the entry's name
    :param value: the entry
    """
    return isinstance(value, Tensor) and name.rpartition(".")[2] != EXTRA_STATE


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
    depth = min((len(_PARALLEL_PART.match(name)[0]) for name in plain.values()), default=0)  # type: ignore[index]
    plain = {name: short[depth:] for name, short in plain.items()}
    return plain if len(set(plain.values())) == len(plain) else {name: name for name in names}


def matching(
    names: Iterable[str], required: Collection[str], optional: Collection[str] = (), surplus: bool = False
) -> dict[str, str] | None:
    """Names of one side -> names of the other, where the two differ by wrappers and one prefix before all names.

    :param names: names of a ticket or a file
    :param required: names of the other side, each of which must be met
    :param optional: names of the other side that may be met
    :param surplus: whether ``names`` may have more than the other side
    :returns: the mapping; ``None`` where they differ otherwise
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
    # What may have to be added to the others, or removed from them, so that one of them becomes the name.
    yield "", ""
    for other in others:
        if name.endswith(f".{other}"):
            yield name.removesuffix(other), ""
        elif other.endswith(f".{name}"):
            yield "", other.removesuffix(name)


def _bare(name: str) -> str:
    # Without what wrappers of the whole or of parts have put in.
    return _WRAPPER_PART.sub("", name)


def prefix_hint(expected: Mapping[str, object], actual: Mapping[str, object], expected_in: str, actual_in: str) -> str:
    """Which prefix to strip where two sides share most names but for it; empty where that is not so."""
    shared = len(expected.keys() & actual.keys())
    for prefix in (LIGHTNING, PARALLEL, COMPILED):
        for names, others, where in ((actual, expected, actual_in), (expected, actual, expected_in)):
            stripped = {name.removeprefix(prefix) for name in names}
            if len(stripped & others.keys()) > max(shared, len(others) // 2):
                return f"; names in {where} begin with '{prefix}': strip that prefix"
    return ""
