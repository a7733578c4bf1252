"""The words ``actor`` and ``critic`` of a scope, as regular expressions over SB3's parameter names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from stable_baselines3.common.base_class import BaseAlgorithm

from lottery_core.errors import ScopeError
from lottery_core.scope import as_scope
from sb3_lottery.algorithms import ALGORITHMS, Algorithm

# SAC's critic uses the actor's features extractor where they share one: it stands under the actor's name.
_TWO_NETWORKS = {"actor": r"^actor\.", "critic": r"^critic\."}
# What comes after the features extractor, which policy and value may share.
_ONE_POLICY = {
    "actor": r"^(mlp_extractor\.policy_net|action_net|lstm_actor)\.",
    "critic": r"^(mlp_extractor\.value_net|value_net|lstm_critic|critic)\.",
}


def scope_words(scope: str | Sequence[str], row: Algorithm | None) -> tuple[str, ...]:
    """``scope`` with ``actor`` and ``critic`` turned into regular expressions; other words stay.

    :param scope: words of a scope
    :param row: the algorithm; ``None`` where it is not known
    :raises ScopeError: the algorithm has no actor and critic (DQN, QRDQN)
    """
    found: dict[str, str] = {}
    if row is not None and (row.two_networks or row.on_policy):
        found = _TWO_NETWORKS if row.two_networks else _ONE_POLICY
    return _translated(scope, found, "this algorithm" if row is None else row.title)


def words_of_checkpoint(scope: Sequence[str], names: Iterable[str]) -> tuple[str, ...]:
    """As :func:`scope_words`, for a policy of which only the parameters' ``names`` are known.

    :raises ScopeError: it has no actor and critic
    """
    parts = {name.partition(".")[0] for name in names}
    found = _TWO_NETWORKS if "actor" in parts else _ONE_POLICY if "action_net" in parts else {}
    return _translated(scope, found, "this policy")


def _translated(scope: str | Sequence[str], found: Mapping[str, str], title: str) -> tuple[str, ...]:
    words = as_scope(scope)
    for word in words:
        if word in _TWO_NETWORKS and not found:
            raise ScopeError(f"scope '{word}': {title} has no actor and critic; accepted: all, regular expressions")
    return tuple(found.get(word, word) for word in words)


def algorithm_of(model: BaseAlgorithm) -> Algorithm | None:
    """The row of a model's algorithm; ``None`` for one that is not known."""
    rows = {row.title: row for row in ALGORITHMS.values()}
    return next((rows[kind.__name__] for kind in type(model).__mro__ if kind.__name__ in rows), None)
