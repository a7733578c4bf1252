"""The graph of the layers of an SB3 policy: which layer reads which, for :func:`lottery_core.inference.shrink`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import NatureCNN
from torch import Tensor, nn

from lottery_core.dialects import is_target
from lottery_core.errors import ConfigError
from lottery_core.inference import ELEMENTWISE, Activation, Reads, Units
from sb3_lottery.networks import NarrowNatureCNN, PoolingCNN, SharedTrunk

# Class of a known features extractor, by name since a class loaded from a zip is a copy -> its stacks of layers.
_TRUNKS = {
    (kind.__module__, kind.__qualname__): trunk
    for kind, trunk in (
        (SharedTrunk, ("trunk",)),
        (PoolingCNN, ("trunk",)),
        (NatureCNN, ("cnn", "linear")),
        (NarrowNatureCNN, ("cnn", "linear")),
    )
}
_TARGET = "_target"
_LINEAR_CRITIC = "critic"  # of a recurrent policy without an LSTM for the critic; as wide as the actor's LSTM


def trunk_of(extractor: nn.Module) -> tuple[str, ...]:
    """Return the names of a features extractor's stacks of layers, in order; empty for an unknown extractor."""
    kind = type(extractor)
    return _TRUNKS.get((kind.__module__, kind.__qualname__), ())


@dataclass(frozen=True)
class _Part:
    # Consecutive numbers of a signal: the units of a layer, or (None) values that cannot be removed.
    layer: str | None
    numbers: int
    activations: tuple[Activation, ...] = ()


_Signal = tuple[_Part, ...]


class LayerGraph:
    """The layers of a policy, and which layer reads which.

    :param policy: policy of SB3 or sb3-contrib
    :raises ConfigError: the policy is a user's own class, has batch normalisation, or has no known network
    """

    def __init__(self, policy: nn.Module) -> None:
        check_policy(policy)
        self.policy: Any = policy  # each algorithm has its own class
        self.names = {id(module): name for name, module in policy.named_modules()}
        self.stacks: dict[str, list[str]] = {}
        self._readers: dict[str, list[Reads]] = defaultdict(list)
        self.recurrent: set[str] = set()  # layers of LSTMs, NAME.0
        self._fixed: set[str] = set()
        self._features: dict[int, _Signal] = {}
        if hasattr(policy, "mlp_extractor"):
            self._actor_critic()
        elif hasattr(policy, "actor"):
            self._actor_and_critics(policy.actor, policy.critic)
            if hasattr(policy, f"critic{_TARGET}"):  # CrossQ has none
                self._actor_and_critics(getattr(policy, f"actor{_TARGET}", None), getattr(policy, f"critic{_TARGET}"))
        else:
            for name, net in policy.named_children():
                self._through(getattr(net, name.removesuffix(_TARGET)), self._features_of(net))
        if self.recurrent - (self._readers.keys() - self._fixed):  # one that cannot shrink keeps the others as wide
            self._fixed |= self._as_wide_as_lstms()

    def _as_wide_as_lstms(self) -> set[str]:
        return self.recurrent | ({_LINEAR_CRITIC} & self._readers.keys())

    @property
    def units(self) -> list[Units]:
        """The layers whose units may be removed."""
        return [
            Units(layer, tuple(readers), layer in self.recurrent)
            for layer, readers in self._readers.items()
            if layer not in self._fixed
        ]

    @property
    def alike(self) -> list[set[str]]:
        """Each layer of a target network together with its online layer."""
        paths = {name: id(module) for name, module in self.policy.named_modules(remove_duplicate=False)}
        pairs = []
        for layer in filter(lambda name: is_target(f"{name}."), self._readers):
            online = paths.get(layer.replace(f"{_TARGET}.", ".", 1))
            if online is not None:
                pairs.append({self.names[online], layer})
        return pairs

    @property
    def level(self) -> list[set[str]]:
        """Layers that share one width in the policy's arguments: of several critics or extractors, of all LSTMs."""
        sets: dict[str, set[str]] = defaultdict(set)
        for layer in self._readers:
            owner, _, last = layer.partition("features_extractor.")
            if last:
                sets[last].add(layer)
            elif ".qf" in owner:
                sets["qf." + owner.rpartition(".")[2]].add(layer)
        return [*sets.values(), *([self._as_wide_as_lstms()] if self.recurrent else [])]

    def layers(self, stack: nn.Module) -> list[str]:
        """Return the names of the layers of a stack, in order.

        :param stack: a module of the policy, e.g. an ``nn.Sequential``
        """
        return self.stacks[self.names[id(stack)]]

    def _actor_critic(self) -> None:
        policy = self.policy
        nets = policy.mlp_extractor
        signals = [self._features_of(policy, f"{which}_features_extractor") for which in ("pi", "vf")]
        if hasattr(policy, "lstm_actor"):
            signals = self._recurrent(signals)
        actor = self._through(nets.policy_net, signals[0])
        if getattr(policy, "use_sde", False):  # the exploration noise reads them too
            self._fix(actor)
        self._through(policy.action_net, actor)
        self._through(policy.value_net, self._through(nets.value_net, signals[1]))

    def _recurrent(self, features: list[_Signal]) -> list[_Signal]:
        policy = self.policy
        actor = self._lstm(policy.lstm_actor, features[0])
        if policy.lstm_critic is not None:
            return [actor, self._lstm(policy.lstm_critic, features[1])]
        if policy.shared_lstm:
            return [actor, actor]
        return [actor, self._read(policy.critic, features[1])]

    def _lstm(self, module: nn.LSTM, signal: _Signal) -> _Signal:
        known = type(module) is nn.LSTM and not module.bidirectional and not module.proj_size
        for number in range(module.num_layers):
            name = f"{self.names[id(module)]}.{number}"
            self._columns(name, getattr(module, f"weight_ih_l{number}"), signal, recurrent=True)
            self.recurrent.add(name)
            signal = (_Part(name if known else None, module.hidden_size),)
        return signal

    def _actor_and_critics(self, actor: Any, critic: Any) -> None:
        if actor is not None:
            latent = self._features_of(actor)
            if hasattr(actor, "latent_pi"):
                latent = self._through(actor.latent_pi, latent)
                if isinstance(actor.log_std, nn.Module):
                    self._through(actor.log_std, latent)
                else:
                    self._fix(latent)
            self._through(actor.mu, latent)
        features = (*self._features_of(critic), _Part(None, get_action_dim(critic.action_space)))
        for network in critic.q_networks:
            self._through(network, features)

    def _features_of(self, network: Any, name: str = "features_extractor") -> _Signal:
        extractor = getattr(network, name)
        if id(extractor) not in self._features:
            signal: _Signal = (_Part(None, extractor.features_dim),)
            for stack in trunk_of(extractor):
                signal = self._through(getattr(extractor, stack), signal)
            self._features[id(extractor)] = signal
        return self._features[id(extractor)]

    def _through(self, stack: nn.Module, signal: _Signal) -> _Signal:
        modules = [stack] if not isinstance(stack, nn.Sequential) else stack
        layers = self.stacks.setdefault(self.names[id(stack)], [])
        for module in modules:
            if isinstance(module, (nn.Linear, nn.Conv2d)) and type(module) in (nn.Linear, nn.Conv2d):
                signal = self._read(module, signal)
                layers.append(self.names[id(module)])
            elif type(module) in ELEMENTWISE:
                signal = tuple(replace(part, activations=(*part.activations, module)) for part in signal)
            elif not isinstance(module, (nn.Flatten, nn.MaxPool2d)):  # in these a constant channel stays constant
                self._fix(signal)
                signal = tuple(replace(part, layer=None) for part in signal)
        return signal

    def _read(self, module: nn.Linear | nn.Conv2d, signal: _Signal) -> _Signal:
        name = self.names[id(module)]
        padded = isinstance(module, nn.Conv2d) and any(map(bool, module.padding))
        self._columns(name, module.weight, signal, padded)
        return (_Part(name, module.weight.shape[0]),)

    def _columns(
        self, name: str, weight: Tensor, signal: _Signal, padded: bool = False, recurrent: bool = False
    ) -> None:
        columns, start = weight.shape[1], 0
        fixed = sum(part.numbers for part in signal if part.layer is None)
        for part in signal:
            if part.layer is None:
                start += part.numbers
                continue
            # A flattened channel is a block of columns.
            block = (columns - fixed) // sum(other.numbers for other in signal if other.layer is not None)
            self._readers[part.layer].append(Reads(name, part.activations, start, block, padded, recurrent))
            start += part.numbers * block

    def _fix(self, signal: Iterable[_Part]) -> None:
        self._fixed |= {part.layer for part in signal if part.layer is not None}


def check_policy(policy: nn.Module) -> None:
    """Check that the structure of a policy is known.

    :param policy: any policy
    :raises ConfigError: see :class:`LayerGraph`
    """
    norm = has_batch_norm(policy)
    if norm:
        raise ConfigError(
            f"{type(policy).__name__} has batch normalisation ({norm}): its units cannot be removed exactly"
        )
    check_known(policy)


def has_batch_norm(policy: nn.Module) -> str:
    """Return the class of a policy's batch normalisation; empty if it has none."""
    kinds = (type(module).__name__ for module in policy.modules())
    return next((kind for kind in kinds if "Batch" in kind), "")


def check_known(policy: nn.Module) -> None:
    """Check that a policy is one of SB3's own, and has a known network.

    :param policy: any policy
    :raises ConfigError: it is a user's own class, or has no known network
    """
    kind = type(policy)
    if kind.__module__.partition(".")[0] not in ("stable_baselines3", "sb3_contrib"):
        raise ConfigError(
            f"{kind.__name__} is a policy of {kind.__module__}, which may use its layers differently: only "
            "policies of stable_baselines3 and sb3_contrib can be shrunk"
        )
    if not any(hasattr(policy, name) for name in ("mlp_extractor", "actor", "q_net", "quantile_net")):
        raise ConfigError(f"{kind.__name__} has no known network, so no unit can be removed")
