"""The scopes ``actor`` and ``critic`` as regular expressions over SB3's parameter names."""

from __future__ import annotations

from collections.abc import Sequence

from stable_baselines3.common.base_class import BaseAlgorithm

from lottery_core.dialects import ONE_POLICY, TWO_NETWORKS
from lottery_core.errors import ScopeError
from lottery_core.tickets import SEPARATE, as_scope
from sb3_lottery.models.algorithms import ALGORITHMS, Algorithm


def scope_words(scope: str | Sequence[str], algorithm: Algorithm | None) -> tuple[str, ...]:
    """Replace ``actor`` and ``critic`` in a scope by regular expressions; other words stay as they are.

    :param scope: one or more words
    :param algorithm: row of the algorithm; ``None`` for an unknown algorithm
    :raises ScopeError: the algorithm has no actor and critic (DQN, QRDQN)
    """
    patterns: dict[str, str] = {}
    if algorithm is not None and (algorithm.two_networks or algorithm.on_policy):
        patterns = TWO_NETWORKS if algorithm.two_networks else ONE_POLICY
    words = as_scope(scope)
    for word in words:
        if word in TWO_NETWORKS and not patterns:
            title = "this algorithm" if algorithm is None else algorithm.title
            raise ScopeError(
                f"scope '{word}': {title} has no actor and critic; accepted: all, layers, trainable, regular "
                "expressions"
            )
    return tuple(patterns.get(word, word) for word in words)


def checked_shares(scope_shares: str, algorithm: Algorithm) -> str:
    """Check the scope shares for an algorithm and return them unchanged.

    :param scope_shares: ``"together"`` or ``"separate"``
    :param algorithm: row of the algorithm
    :raises ScopeError: the shares are separate and the algorithm has no actor and critic (DQN, QRDQN)
    """
    if scope_shares == SEPARATE and not (algorithm.two_networks or algorithm.on_policy):
        raise ScopeError(f"scope shares '{SEPARATE}': {algorithm.title} has no actor and critic; leave them 'together'")
    return scope_shares


def algorithm_of(model: BaseAlgorithm) -> Algorithm | None:
    """Return the row of a model's algorithm, ``None`` for an unknown algorithm."""
    rows = {row.title: row for row in ALGORITHMS.values()}
    return next((rows[kind.__name__] for kind in type(model).__mro__ if kind.__name__ in rows), None)
