"""Remove dead units from a policy: an ordinary, smaller SB3 policy with the same actions."""

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
from sb3_lottery.layers import LayerGraph, trunk_of
from sb3_lottery.networks import NarrowNatureCNN, PoolingCNN, SharedTrunk


def shrink_policy(model: BaseAlgorithm) -> Report:
    """Remove the dead units of ``model.policy`` in place; it predicts the same actions, faster.

    A unit is dead if no surviving weight reads it, or if its value is constant because no surviving weight feeds it;
    the constant is added to the next biases, see :func:`lottery_core.inference.shrink`. The result is an ordinary
    policy with a smaller ``net_arch``: ``model.save`` writes a zip that plain ``PPO.load`` reads where this project is
    not installed. Hidden layers of MLPs, NatureCNN, the extractors of :mod:`sb3_lottery.networks` and LSTMs shrink (SB3
    has one width for all LSTMs of a policy, so the narrower ones keep units of zeros); other features extractors are
    not changed. The state of the optimizer is reset. A model without dead units is
    not changed.

    .. warning::
        A ticket does not fit the smaller network: shrink after the last training run.

    :param model: a trained model of any algorithm except ARS; of CrossQ only without batch normalisation
    :returns: what was removed, a report that is false if nothing was removed
    :raises ConfigError: the policy is not one of SB3's, has no known network or batch normalisation, does not match its
        ``policy_kwargs``, or is being trained with a ticket
    """
    if any(map(is_held, model.policy.parameters())):
        raise ConfigError(
            "the model is training a ticket: shrink it after learn() has returned (if Ctrl-C or an exception has ended "
            "it, call release() of its LotteryCallback first)"
        )

    old = model.policy
    policy, kwargs, report = smaller(old, model.policy_kwargs, lambda kwargs: make_policy(model.__dict__, kwargs))
    if report:
        model.policy, model.policy_kwargs = policy.to(model.device), kwargs
        policy.set_training_mode(old.training)
        if hasattr(model, "_create_aliases"):  # model.actor, model.q_net ...
            model._create_aliases()
        if hasattr(model, "_last_lstm_states"):
            _forget_states(model)
        if model.use_sde:
            policy.reset_noise()  # type: ignore[operator]  # as SB3 does after loading
    return report


def _forget_states(model: Any) -> None:
    # sb3_contrib/ppo_recurrent/ppo_recurrent.py:_setup_model; the states between two rollouts have the units' shape.
    lstm, buffer = model.policy.lstm_actor, model.rollout_buffer
    zeros = torch.zeros(lstm.num_layers, model.n_envs, lstm.hidden_size, device=model.device)
    model._last_lstm_states = type(model._last_lstm_states)((zeros, zeros.clone()), (zeros.clone(), zeros.clone()))
    buffer.hidden_state_shape = (buffer.buffer_size, *zeros.shape)
    buffer.reset()


def make_policy(data: Mapping[str, Any], kwargs: Mapping[str, Any]) -> BasePolicy:
    """Make a policy as the algorithm itself would make it.

    :param data: attributes of the algorithm, from a model or a saved zip
    :param kwargs: ``policy_kwargs``
    """
    if data.get("use_sde"):
        kwargs = {**kwargs, "use_sde": True}
    kind = data["policy_class"]
    # ARS has no optimizer, so its policies take no learning rate.
    rate = [] if any(base.__name__ == "ARSPolicy" for base in kind.__mro__) else [data["lr_schedule"]]
    policy: BasePolicy = kind(data["observation_space"], data["action_space"], *rate, **kwargs)
    return policy


@torch.no_grad()
def smaller(
    policy: BasePolicy, kwargs: Mapping[str, Any], make: Callable[[Mapping[str, Any]], BasePolicy]
) -> tuple[BasePolicy, dict[str, Any], Report]:
    """Make a copy of a policy without its dead units.

    :param policy: the policy, which is not changed
    :param kwargs: the ``policy_kwargs`` of the policy
    :param make: makes a fresh policy from ``policy_kwargs``
    :returns: the smaller policy with a fresh optimizer, its ``policy_kwargs`` and a report of what was removed; the
        policy itself if it has no dead units
    :raises ConfigError: see :class:`sb3_lottery.layers.LayerGraph`
    """
    graph = LayerGraph(policy)
    tensors = {name: parameter.detach() for name, parameter in policy.named_parameters()}
    shrunk = shrink(tensors, graph.units, alike=graph.alike, level=graph.level)
    report = shrunk.report(tensors, is_target)
    if not report:
        return policy, dict(kwargs), report

    def rows(stack: nn.Module) -> list[int]:
        return [shrunk.tensors[f"{layer}.weight"].shape[0] for layer in graph.layers(stack)]

    kwargs = {**kwargs, **_architecture(policy, rows)}
    recurrent = [shrunk.widths[layer][1] for layer in graph.recurrent if layer in shrunk.widths]
    if recurrent:
        kwargs["lstm_hidden_size"] = recurrent[0]  # all are as wide, see LayerGraph.level
    with torch.random.fork_rng(devices=[]):  # so that the same actions are sampled afterwards
        small = make(kwargs)
    if _kinds(small) != _kinds(policy):
        raise ConfigError("the layers of the policy differ from those that its policy_kwargs make")
    first = {id(parameter): name for name, parameter in policy.named_parameters()}
    named = policy.named_parameters(remove_duplicate=False)
    smaller_by_name = {name: shrunk.tensors[first[id(parameter)]] for name, parameter in named}
    small.load_state_dict({**policy.state_dict(), **smaller_by_name})
    return small, kwargs, report


def _kinds(policy: nn.Module) -> list[str]:
    return [type(module).__qualname__ for module in policy.modules() if not any(module.children())]


def _architecture(policy: Any, rows: Callable[[nn.Module], list[int]]) -> dict[str, Any]:
    if hasattr(policy, "mlp_extractor"):
        nets = policy.mlp_extractor
        arch: Any = {"pi": rows(nets.policy_net), "vf": rows(nets.value_net)}
        owner = policy
    elif hasattr(policy, "actor"):
        owner = policy.actor
        # TD3's last layer is the action; SAC has two last layers after a stack of its own.
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
