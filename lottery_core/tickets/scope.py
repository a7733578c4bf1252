"""Which parameters are in the pool that is pruned.

In arXiv 1906.02768 the pool is all weights and biases of all layers (section 3.1); Figure 3 prunes only the
Transformer's layers.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from lottery_core import dialects
from lottery_core.errors import ScopeError

ALL = "all"
LAYERS = "layers"
TRAINABLE = "trainable"


def as_scope(scope: str | Sequence[str]) -> tuple[str, ...]:
    """Return ``scope`` as a tuple of words, the form in which tickets store it."""
    return (scope,) if isinstance(scope, str) else tuple(scope)


def by_names(scope: str | Sequence[str], names: Iterable[str]) -> tuple[str, ...]:
    """Replace words that a framework defines for a scope (``actor``, ``critic``) by their regular expressions.

    :param scope: words of a scope
    :param names: names of all parameters; a word that no framework defines for them stays a regular expression
    """
    parameters = list(names)
    words: dict[str, str] = {}
    for row in dialects.every():
        words |= row.scope_words(parameters)
    return tuple(words.get(word, word) for word in as_scope(scope))


def pool_names(
    names: Iterable[str],
    scope: str | Sequence[str] = ALL,
    outside: Collection[str] = (),
    frozen: Collection[str] | None = None,
) -> list[str]:
    """Return the names in the pool, sorted, so that ties are broken in the same order for every file format.

    :param names: names of all parameters, each tied parameter once
    :param scope: ``"all"``; ``"layers"`` (all but embeddings, norms and output layers, recognised by their names);
        ``"trainable"`` (all but frozen parameters); or regular expressions, at least one of which must match
        (``re.search``) a name in the pool
    :param outside: names that are never in the pool: buffers, ``log_std``
    :param frozen: names of frozen parameters; ``None`` if unknown
    :raises ScopeError: a regular expression is invalid or matches nothing, or the pool is empty
    """
    words = as_scope(scope)
    candidates = sorted(name for name in names if name not in outside)
    chosen: set[str] = set()
    for word in words:
        if word == ALL:
            matching = candidates
        elif word == LAYERS:
            matching = _layers(candidates, outside)
        elif word == TRAINABLE:
            if frozen is None:
                raise ScopeError(
                    "the scope 'trainable' needs to know which parameters are frozen, and this file does not say: give "
                    "regular expressions instead"
                )
            matching = [name for name in candidates if name not in frozen]
        else:
            try:
                pattern = re.compile(word)
            except re.error as error:
                raise ScopeError(f"scope '{word}' is not a regular expression: {error}") from error
            matching = [name for name in candidates if pattern.search(name)]
        if not matching:
            some = ", ".join(candidates[:3]) or "none"
            raise ScopeError(f"scope '{word}' matches none of the {len(candidates)} parameters ({some}, ...)")
        chosen.update(matching)
    if not chosen:
        raise ScopeError("the scope is empty: give 'all', 'layers' or regular expressions")
    return sorted(chosen)


def _layers(names: Sequence[str], outside: Collection[str]) -> list[str]:
    norms = _norms(outside)
    outputs = _output_layers(names)
    patterns = [row.outside_layers for row in dialects.every() if row.outside_layers is not None]
    return [
        name
        for name in names
        if not any(pattern.search(name) for pattern in patterns)
        and name not in outputs
        and name.rpartition(".")[0] + "." not in norms
    ]


def _norms(outside: Collection[str]) -> set[str]:
    # A module with a running mean is a norm, whatever its name.
    patterns = [row.running_mean for row in dialects.every() if row.running_mean is not None]
    return {pattern.sub("", name) for pattern in patterns for name in outside if pattern.search(name)}


def _output_layers(names: Sequence[str]) -> set[str]:
    outputs: set[str] = set()
    for pattern in (row.stacks for row in dialects.every() if row.stacks is not None):
        layers = [(match[1], int(match[2]), name) for name in names if (match := pattern.match(name))]
        last = {stack: max(number for other, number, _ in layers if other == stack) for stack, _, _ in layers}
        outputs |= {name for stack, number, name in layers if number == last[stack]}
    return outputs
