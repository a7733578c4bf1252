"""The weights of an SB3 model, its optimizers and its target networks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn
from torch.optim import Optimizer

from lottery_core.dialects import is_target
from lottery_core.tickets import Masks, Weights, plain_names, snapshot
from sb3_lottery.models.algorithms import no_optimizer

_TARGET = "_target"


def weights_of(model: BaseAlgorithm) -> Weights:
    """Copy the weights of the policy as in a saved zip, but without target networks.

    :param model: any SB3 model
    :returns: clones on the CPU; ``get_parameters()`` would return the tensors in use
    """
    weights = snapshot(bare_policy(model))
    tensors = {name: tensor for name, tensor in weights.tensors.items() if not is_target(name)}
    return replace(weights, tensors=tensors, outside=weights.outside & tensors.keys())


def bare_policy(model: BaseAlgorithm) -> nn.Module:
    """Return the policy itself, even if ``torch.compile`` has wrapped it."""
    policy: nn.Module = getattr(model.policy, "_orig_mod", model.policy)
    return policy


def target_names(policy: nn.Module) -> frozenset[str]:
    """Return the names of the parameters of target networks, which follow the online networks and are in no ticket."""
    plain = plain_names(policy)
    return frozenset(plain(name) for name, _ in policy.named_parameters() if is_target(plain(name)))


def optimizers_of(model: BaseAlgorithm) -> list[Optimizer]:
    """Return the optimizers of the policy: one, or two for actor and critic, in this order.

    Modules inside, a features extractor for example, may have optimizers of their own, which follow. The optimizer of
    SAC's entropy coefficient is not included: it steps no parameter of the policy. The critic's optimizer steps at
    every update, the actor's perhaps only at every second update (TD3, CrossQ).

    :raises OptimizerError: the model has no optimizer (ARS)
    """
    optimizers = {}
    for module in bare_policy(model).modules():
        optimizer = getattr(module, "optimizer", None)
        if isinstance(optimizer, Optimizer):
            optimizers[id(optimizer)] = optimizer
    if not optimizers:
        raise no_optimizer(type(model).__name__)
    return list(optimizers.values())


def own_optimizers_of(model: BaseAlgorithm) -> list[Optimizer]:
    """Return the optimizers that the algorithm steps, without those of modules inside: one, or actor's and critic's.

    The last one steps at every update, see :func:`optimizers_of`.

    :raises OptimizerError: the model has no optimizer (ARS)
    """
    policy = bare_policy(model)
    parts = [policy] if hasattr(policy, "optimizer") else [getattr(policy, name, None) for name in ("actor", "critic")]
    own = [getattr(part, "optimizer", None) for part in parts]
    return [each for each in own if isinstance(each, Optimizer)] or optimizers_of(model)


def _targets(policy: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    for name, target in policy.named_children():
        online = getattr(policy, name.removesuffix(_TARGET), None) if name.endswith(_TARGET) else None
        if isinstance(online, nn.Module):
            yield online, target


def copy_to_targets(policy: nn.Module) -> None:
    """Copy every online network to its target network, as SB3 does for a new model."""
    for online, target in _targets(policy):
        bare, copied = (getattr(network, "_orig_mod", network) for network in (online, target))
        copied.load_state_dict(bare.state_dict())


@torch.no_grad()
def mask_targets(policy: nn.Module, masks: Masks) -> None:
    """Zero the parameters of every target network that ``masks`` prune in its online network.

    :param policy: policy of an SB3 model
    :param masks: masks of the online networks
    """
    # By identity: a features extractor that actor and critic share has the actor's name, and a copy in the target.
    plain = plain_names(policy)
    names = {id(parameter): plain(name) for name, parameter in policy.named_parameters()}
    for online, target in _targets(policy):
        of_online, of_target = plain_names(online), plain_names(target)
        targets = {of_target(name): parameter for name, parameter in target.named_parameters()}
        for name, parameter in online.named_parameters():
            mask, copied = masks.get(names[id(parameter)]), targets[of_online(name)]
            if mask is not None:
                copied.masked_fill_(~mask.to(copied.device), 0)
