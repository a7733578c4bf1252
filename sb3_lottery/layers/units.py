"""The whole units of an SB3 model that can be pruned: by the names of its tensors, held against the policy itself."""

from __future__ import annotations

from collections.abc import Sequence

from stable_baselines3.common.base_class import BaseAlgorithm

from lottery_core.errors import ConfigError
from lottery_core.pruning import Layout, layout_of_weights
from lottery_core.tickets import Weights
from sb3_lottery.layers.layer_graph import LayerGraph, check_known, has_batch_norm
from sb3_lottery.models import bare_policy


def units_of(model: BaseAlgorithm, weights: Weights, scope: str | Sequence[str], granularity: str) -> Layout | None:
    """Find the units of a model that are pruned whole, and check that the policy uses its layers as their names say.

    :param model: any SB3 model
    :param weights: its weights
    :param scope: which parameters are in the pool
    :param granularity: ``"weight"`` or ``"unit"``
    :returns: the units; ``None`` if parameters are pruned one by one
    :raises ConfigError: the policy, or its features extractor, is a class of the user's own, which may use its layers
        differently
    """
    layout = layout_of_weights(weights, scope, granularity)
    if layout is None:
        return None
    policy = bare_policy(model)
    check_known(policy)
    if not has_batch_norm(policy):  # of such a policy no unit can be removed exactly, but each can be pruned
        known = {unit.layer for unit in LayerGraph(policy).units}
        for layer in layout.counts:
            if layer not in known:
                raise ConfigError(
                    f"granularity 'unit': '{layer}' is no layer whose readers are known in this "
                    f"{type(policy).__name__} (a features extractor of your own, an activation with weights or over "
                    "several units such as PReLU and Softmax, or gSDE behind an LSTM): leave it out of the scope, or "
                    "use granularity 'weight'"
                )
    return layout
