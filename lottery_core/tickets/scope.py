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
# Numbered layers of which the last is the output: of Stable-Baselines3's Q networks, deterministic actors and critics;
# and the heads of its stochastic actors.
_STACK = re.compile(r"^((?:q_net\.q_net|quantile_net\.quantile_net|actor\.mu|critic\.qf\d+)\.)(\d+)\.")
_HEAD = re.compile(r"^actor\.(mu|log_std)\.(weight|bias)$")
# Whatever keeps running means is a norm (BatchNorm's, CrossQ's).
_RUNNING_MEAN = re.compile(r"(running|ra)_mean$")


# What actor and critic are in SB3's policies of two networks, and of one: there it is what comes after the features
# extractor. Of two, SAC's critic uses the actor's extractor where they share one: it stands under the actor's name.
TWO_NETWORKS = {"actor": r"^actor\.", "critic": r"^critic\."}
ONE_POLICY = {
    "actor": r"^(mlp_extractor\.policy_net|action_net|lstm_actor)\.",
    "critic": r"^(mlp_extractor\.value_net|value_net|lstm_critic|critic)\.",
}


def as_scope(scope: str | Sequence[str]) -> tuple[str, ...]:
    """``scope`` as a tuple of words, as it is kept in tickets."""
    return (scope,) if isinstance(scope, str) else tuple(scope)


def by_names(scope: str | Sequence[str], names: Iterable[str]) -> tuple[str, ...]:
    """``scope`` with ``actor`` and ``critic`` turned into regular expressions, where ``names`` are of SB3's policies.

    :param names: of all parameters; of another network the words stay what they are
    """
    parts = {name.partition(".")[0] for name in names}
    words = TWO_NETWORKS if {"actor", "critic"} <= parts else ONE_POLICY if "action_net" in parts else {}
    return tuple(words.get(word, word) for word in as_scope(scope))


def pool_names(names: Iterable[str], scope: str | Sequence[str] = ALL, outside: Collection[str] = ()) -> list[str]:
    """The names in the pool, sorted: the order in which ties are broken, the same whatever file they came from.

    :param names: names of all parameters, each tied parameter once
    :param scope: ``"all"``; ``"layers"`` (all but embeddings, norms and output layers, told by their names); or regular
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
            found = _layers(candidates, outside)
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


def _layers(names: Sequence[str], outside: Collection[str]) -> list[str]:
    norms = {_RUNNING_MEAN.sub("", name) for name in outside if _RUNNING_MEAN.search(name)}
    last: dict[str, int] = {}
    for stack in filter(None, map(_STACK.match, names)):
        last[stack[1]] = max(int(stack[2]), last.get(stack[1], 0))

    def counts(name: str) -> bool:
        stack = _STACK.match(name)
        output = _HEAD.match(name) or (stack is not None and int(stack[2]) == last[stack[1]])
        return not (_NOT_A_LAYER.search(name) or output or name.rpartition(".")[0] + "." in norms)

    return [name for name in names if counts(name)]
