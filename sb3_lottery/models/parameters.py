"""What of an SB3 model is in the pool, who steps it, and its target networks."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor, nn
from torch.optim import Optimizer

from lottery_core.checkpoints import weights_of_state
from lottery_core.dialects import is_target
from lottery_core.tickets import Masks, Weights
from sb3_lottery.models.algorithms import no_optimizer

_TARGET = "_target"


def weights_of(model: BaseAlgorithm) -> Weights:
    """Copy the weights of the policy: what the saved zip holds, less target networks.

    :param model: any SB3 model
    :returns: clones on the CPU; ``get_parameters()`` would give live tensors
    """
    state = {name: value for name, value in model.policy.state_dict().items() if isinstance(value, Tensor)}
    weights = weights_of_state(state, "the model")
    parameters = {name for name, _ in model.policy.named_parameters()}
    copies = {name: tensor.detach().cpu().clone() for name, tensor in weights.tensors.items()}
    return Weights(copies, weights.outside | (copies.keys() - parameters))


def target_names(policy: nn.Module) -> frozenset[str]:
    """Names of the parameters of target networks, which follow the online ones and are no part of a ticket."""
    return frozenset(name for name, _ in policy.named_parameters() if is_target(name))


def optimizers_of(model: BaseAlgorithm) -> list[Optimizer]:
    """The optimizers of the policy: one, or one each of actor and critic, in this order.

    That of SAC's entropy coefficient is not among them: it steps no parameter of the policy. The last one steps at
    every update, the actor's perhaps at every second one (TD3, CrossQ).

    :raises OptimizerError: there is none (ARS)
    """
    found = {}
    for module in model.policy.modules():
        optimizer = getattr(module, "optimizer", None)
        if isinstance(optimizer, Optimizer):
            found[id(optimizer)] = optimizer
    if not found:
        raise no_optimizer(type(model).__name__)
    return list(found.values())


def _targets(policy: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    for name, target in policy.named_children():
        online = getattr(policy, name.removesuffix(_TARGET), None) if name.endswith(_TARGET) else None
        if isinstance(online, nn.Module):
            yield online, target


def copy_to_targets(policy: nn.Module) -> None:
    """Start every target network as a copy of its online network, as SB3 does for a new model."""
    for online, target in _targets(policy):
        target.load_state_dict(online.state_dict())


@torch.no_grad()
def mask_targets(policy: nn.Module, masks: Masks) -> None:
    """Zero in every target network what ``masks`` prune in its online network."""
    # By identity: a features extractor that actor and critic share has the actor's name, and a twin in the target.
    names = {id(parameter): name for name, parameter in policy.named_parameters()}
    for online, target in _targets(policy):
        twins = dict(target.named_parameters())
        for name, parameter in online.named_parameters():
            mask = masks.get(names[id(parameter)])
            if mask is not None:
                twins[name].masked_fill_(~mask.to(twins[name].device), 0)
