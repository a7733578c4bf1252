"""Which parameters are in the pool that is pruned.

The paper's pool is all weights and biases of all layers (3.1); Figure 3 prunes the Transformer's layers only.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from lottery_core.errors import ScopeError

ALL = "all"
LAYERS = "layers"

# Embeddings, norms and output layers by the names that torch, fairseq and Stable-Baselines3 give them.
_NOT_A_LAYER = re.compile(
    r"embed|norm|(^|\.)ln_?\w*\.|output_projection|lm_head|(^|\.)fc_out\.|^(action_net|value_net)\.",
    re.IGNORECASE,
)


def as_scope(scope: str | Sequence[str]) -> tuple[str, ...]:
    """``scope`` as a tuple of words, as it is kept in tickets."""
    return (scope,) if isinstance(scope, str) else tuple(scope)


def pool_names(names: Iterable[str], scope: str | Sequence[str] = ALL, outside: Collection[str] = ()) -> list[str]:
    """The names in the pool, sorted: the order in which ties are broken, the same whatever file they came from.

    :param names: names of all parameters, each tied parameter once
    :param scope: ``"all"``; ``"layers"`` (all but embeddings, norms and output layers, told by name); or regular
        expressions, of which one must be found (``re.search``) in a name
    :param outside: names never in the pool: buffers, ``log_std``
    :raises ScopeError: not a regular expression, one that matches nothing, or nothing is left
    """
    words = as_scope(scope)
    candidates = sorted(name for name in names if name not in outside)
    chosen: set[str] = set()
    for word in words:
        if word == ALL:
            found = candidates
        elif word == LAYERS:
            found = [name for name in candidates if not _NOT_A_LAYER.search(name)]
        else:
            try:
                pattern = re.compile(word)
            except re.error as error:
                raise ScopeError(f"scope '{word}' is not a regular expression: {error}") from error
            found = [name for name in candidates if pattern.search(name)]
        if not found:
            some = ", ".join(candidates[:3]) or "none"
            raise ScopeError(f"scope '{word}' matches none of the {len(candidates)} parameters ({some}, ...)")
        chosen.update(found)
    if not chosen:
        raise ScopeError("the scope is empty: give 'all', 'layers' or regular expressions")
    return sorted(chosen)
