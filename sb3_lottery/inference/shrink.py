"""Policies without the units that are dead exactly: ordinary ones of SB3, smaller, with the same actions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import NatureCNN
from torch import nn

from lottery_core.dialects import is_target
from lottery_core.errors import ConfigError
from lottery_core.inference import Report, shrink
from lottery_core.masking import is_held
from sb3_lottery.inference.layer_graph import LayerGraph, trunk_of
from sb3_lottery.networks import NarrowNatureCNN, PoolingCNN, SharedTrunk


def shrink_policy(model: BaseAlgorithm) -> Report:
    """Remove the units of ``model.policy`` that are dead, in place: it predicts the same actions, faster.

    A unit is dead that nothing reads, or that nothing feeds (its constant goes into the next biases), see
    :func:`lottery_core.inference.shrink`. The policy is an ordinary one with a smaller ``net_arch``: ``model.save``
    writes a zip that plain ``PPO.load`` reads where this project is not installed. Hidden layers of MLPs, NatureCNN and
    the extractors of :mod:`sb3_lottery.networks` shrink; other features extractors and LSTMs stay as they are. The
    optimizer starts anew. Where no unit is dead the model is not touched.

    .. warning::
        A ticket does not fit the smaller network: shrink after the last training.

    :param model: trained; any algorithm but CrossQ (batch normalisation) and ARS
    :returns: what went; false where nothing did
    :raises ConfigError: the policy is not one of SB3's, has batch normalisation, or is training a ticket now
    """
    if any(map(is_held, model.policy.parameters())):
        raise ConfigError("the model is training a ticket: shrink it when learn() has returned")

    old = model.policy
    policy, kwargs, report = smaller(old, model.policy_kwargs, lambda kwargs: make_policy(model.__dict__, kwargs))
    if report:
        model.policy, model.policy_kwargs = policy.to(model.device), kwargs
        policy.set_training_mode(old.training)
        if hasattr(model, "_create_aliases"):  # model.actor, model.q_net ...
            model._create_aliases()
        if model.use_sde:
            policy.reset_noise()  # type: ignore[operator]  # as SB3 does after loading
    return report


def make_policy(data: Mapping[str, Any], kwargs: Mapping[str, Any]) -> BasePolicy:
    """A policy as the algorithm itself would make it.

    :param data: the algorithm's attributes, of a model or of a saved zip
    :param kwargs: ``policy_kwargs``
    """
    if data.get("use_sde"):
        kwargs = {**kwargs, "use_sde": True}
    policy: BasePolicy = data["policy_class"](
        data["observation_space"], data["action_space"], data["lr_schedule"], **kwargs
    )
    return policy


@torch.no_grad()
def smaller(
    policy: BasePolicy, kwargs: Mapping[str, Any], make: Callable[[Mapping[str, Any]], BasePolicy]
) -> tuple[BasePolicy, dict[str, Any], Report]:
    """A policy without the units of ``policy`` that are dead; ``policy`` itself where there is none.

    :param policy: not changed
    :param kwargs: that it was made with
    :param make: makes a fresh one
    :returns: the smaller policy with a fresh optimizer, the arguments that it was made with, what went
    :raises ConfigError: see :class:`sb3_lottery.inference.layer_graph.LayerGraph`
    """
    wiring = LayerGraph(policy)
    tensors = {name: parameter.detach() for name, parameter in policy.named_parameters()}
    shrunk = shrink(tensors, wiring.units, alike=wiring.alike, level=wiring.level)
    report = shrunk.report(tensors, is_target)
    if not report:
        return policy, dict(kwargs), report

    def rows(stack: nn.Module) -> list[int]:
        return [shrunk.tensors[f"{layer}.weight"].shape[0] for layer in wiring.layers(stack)]

    kwargs = {**kwargs, **_architecture(policy, rows)}
    with torch.random.fork_rng(devices=[]):  # sampled actions stay what they were, too
        made = make(kwargs)
    if _kinds(made) != _kinds(policy):
        raise ConfigError("the policy has layers that its arguments do not make: somebody has exchanged them")
    first = {id(parameter): name for name, parameter in policy.named_parameters()}
    named = policy.named_parameters(remove_duplicate=False)
    smaller_by_name = {name: shrunk.tensors[first[id(parameter)]] for name, parameter in named}
    made.load_state_dict({**policy.state_dict(), **smaller_by_name})
    return made, kwargs, report


def _kinds(policy: nn.Module) -> list[str]:
    return [type(module).__qualname__ for module in policy.modules() if not any(module.children())]


def _architecture(policy: Any, rows: Callable[[nn.Module], list[int]]) -> dict[str, Any]:
    if hasattr(policy, "mlp_extractor"):
        nets = policy.mlp_extractor
        arch: Any = {"pi": rows(nets.policy_net), "vf": rows(nets.value_net)}
        owner = policy
    elif hasattr(policy, "actor"):
        owner = policy.actor
        # TD3's last layer is the action itself; SAC's are two, behind their own stack.
        pi = rows(owner.latent_pi) if hasattr(owner, "latent_pi") else rows(owner.mu)[:-1]
        arch = {"pi": pi, "qf": rows(policy.critic.q_networks[0])[:-1]}
    else:
        name = "q_net" if hasattr(policy, "q_net") else "quantile_net"
        owner = getattr(policy, name)
        arch = rows(getattr(owner, name))[:-1]
    return {"net_arch": arch, **_extractor(policy, owner.features_extractor, rows)}


def _extractor(policy: Any, extractor: nn.Module, rows: Callable[[nn.Module], list[int]]) -> dict[str, Any]:
    stacks = trunk_of(extractor)
    if not stacks:
        return {}
    kind: Any = next(kind for kind in (SharedTrunk, PoolingCNN, NatureCNN) if kind.__name__ in type(extractor).__name__)
    kwargs = dict(policy.features_extractor_kwargs)
    convolutions = sum(isinstance(module, nn.Conv2d) for module in extractor.modules())
    sizes = [size for stack in stacks for size in rows(getattr(extractor, stack))]
    channels, sizes = sizes[:convolutions], sizes[convolutions:]
    if kind is NatureCNN:
        kind = NarrowNatureCNN
        kwargs["features_dim"] = sizes[0]
    else:
        kwargs["sizes"] = sizes
    if channels:
        kwargs["channels"] = channels
    return {"features_extractor_class": kind, "features_extractor_kwargs": kwargs}
