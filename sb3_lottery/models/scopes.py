"""The words ``actor`` and ``critic`` of a scope, as regular expressions over SB3's parameter names."""

from __future__ import annotations

from collections.abc import Sequence

from stable_baselines3.common.base_class import BaseAlgorithm

from lottery_core.dialects import ONE_POLICY, TWO_NETWORKS
from lottery_core.errors import ScopeError
from lottery_core.tickets import as_scope
from sb3_lottery.models.algorithms import ALGORITHMS, Algorithm


def scope_words(scope: str | Sequence[str], row: Algorithm | None) -> tuple[str, ...]:
    """``scope`` with ``actor`` and ``critic`` turned into regular expressions; other words stay.

    :param scope: words of a scope
    :param row: the algorithm; ``None`` where it is not known
    :raises ScopeError: the algorithm has no actor and critic (DQN, QRDQN)
    """
    found: dict[str, str] = {}
    if row is not None and (row.two_networks or row.on_policy):
        found = TWO_NETWORKS if row.two_networks else ONE_POLICY
    words = as_scope(scope)
    for word in words:
        if word in TWO_NETWORKS and not found:
            title = "this algorithm" if row is None else row.title
            raise ScopeError(f"scope '{word}': {title} has no actor and critic; accepted: all, regular expressions")
    return tuple(found.get(word, word) for word in words)


def algorithm_of(model: BaseAlgorithm) -> Algorithm | None:
    """The row of a model's algorithm; ``None`` for one that is not known."""
    rows = {row.title: row for row in ALGORITHMS.values()}
    return next((rows[kind.__name__] for kind in type(model).__mro__ if kind.__name__ in rows), None)
