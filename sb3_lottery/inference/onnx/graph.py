"""A policy as one function of tensors, from observations to the actions that ``predict`` returns, written as ONNX."""

from __future__ import annotations

import inspect
import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor, nn

from lottery_core.errors import ConfigError

OPSET = 17  # the newest that every runtime of the last years reads
OBSERVATION, MASKS, HIDDEN, CELL, START = "observation", "action_masks", "hidden", "cell", "episode_start"
ACTION, LOGITS, Q_VALUES, NEXT_HIDDEN, NEXT_CELL = "action", "logits", "q_values", "next_hidden", "next_cell"
_BATCH = 2  # of the example; 1 would let the trace take the batch for a constant
_LIBRARIES = ("stable_baselines3.", "sb3_contrib.")


class PolicyGraph(nn.Module):
    """The deterministic action of a policy, as ``predict`` returns it: clipped or scaled to the action space.

    Inputs are the observation (or one input for each entry of a dictionary), for recurrent policies the state of the
    LSTM and whether an episode starts, and for MaskablePPO the valid actions. Outputs are the action, logits or Q
    values if the policy has them, and the next state of the LSTM.

    :param policy: a policy on the CPU, in evaluation mode
    :param statistics: ``VecNormalize`` with the statistics that normalise observations; ``None`` if there are none
    :param normalize: whether the function normalises observations itself; otherwise its inputs are what the policy sees
    """

    def __init__(self, policy: BasePolicy, statistics: Any = None, normalize: bool = True) -> None:
        super().__init__()
        self.policy: Any = policy
        arguments = inspect.signature(policy._predict).parameters
        self.recurrent, self.maskable = "lstm_states" in arguments, MASKS in arguments
        space = policy.observation_space
        self.keys = list(space.spaces) if isinstance(space, spaces.Dict) else [None]
        self.observations = [OBSERVATION if key is None else f"{OBSERVATION}.{key}" for key in self.keys]
        norms = {} if statistics is None else _norms(statistics)
        self.normalised = nn.ModuleDict({name: _Normalised(*found) for name, found in norms.items() if normalize})
        self.before = set(norms) - set(self.normalised)  # what somebody else has normalised
        more = [HIDDEN, CELL, START] if self.recurrent else [MASKS] if self.maskable else []
        self.inputs = [*self.observations, *more]
        self.values = self._kind_of_values()
        self.outputs = [
            *(ACTION, *([self.values] if self.values else [])),
            *([NEXT_HIDDEN, NEXT_CELL] if self.recurrent else []),
        ]
        box = policy.action_space
        self.low: Tensor | None = None
        self.high: Tensor | None = None
        if isinstance(box, spaces.Box):
            self.low, self.high = (torch.as_tensor(bound, dtype=torch.float32) for bound in (box.low, box.high))

    def _kind_of_values(self) -> str | None:
        # What stands behind the action, if the library's own code takes the action from it.
        policy = self.policy
        if not _of_library(policy):
            return None
        for name in ("q_net", "quantile_net"):
            if hasattr(policy, name):
                return Q_VALUES if _of_library(getattr(policy, name)) else None
        countable = isinstance(policy.action_space, (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary))
        return LOGITS if countable and hasattr(policy, "get_distribution") else None

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for inputs in the order of :attr:`inputs`."""
        given = dict(zip(self.inputs, tensors, strict=True))
        observation: Any = {}
        for key, name in zip(self.keys, self.observations, strict=True):
            module = _module_name(key)
            value = given[name]
            observation[key] = self.normalised[module](value) if module in self.normalised else value
        if self.keys == [None]:
            observation = observation[None]
        states: tuple[Tensor, ...] = ()
        more: tuple[Any, ...] = ()
        if self.recurrent:
            # The state is zero where an episode starts (sb3_contrib's _process_sequence, which branches on the data).
            going_on = (1.0 - given[START]).view(1, -1, 1)
            more = ((given[HIDDEN] * going_on, given[CELL] * going_on), torch.zeros_like(given[START]))
        elif self.maskable:
            more = (given[MASKS],)
        action, values, states = self._act(observation, more)
        action = action.reshape(-1, *self.policy.action_space.shape)
        return (self._in_space(action), *(() if values is None else (values,)), *states)

    def _act(self, observation: Any, more: tuple[Any, ...]) -> tuple[Tensor, Tensor | None, tuple[Tensor, ...]]:
        policy = self.policy
        if self.values == Q_VALUES:
            values = policy.q_net(observation) if hasattr(policy, "q_net") else policy.quantile_net(observation).mean(1)
            return values.argmax(dim=1), values, ()
        if self.values == LOGITS:
            found = policy.get_distribution(observation, *more)
            distribution, states = found if self.recurrent else (found, ())
            return distribution.get_actions(deterministic=True), _logits(distribution), tuple(states)
        if self.recurrent:
            action, states = policy._predict(observation, *more, deterministic=True)
            return action, None, tuple(states)
        named = {MASKS: more[0]} if self.maskable else {}
        return policy._predict(observation, deterministic=True, **named), None, ()

    def _in_space(self, action: Tensor) -> Tensor:
        # BasePolicy.predict
        if self.low is None or self.high is None:
            return action
        if self.policy.squash_output:
            return self.low + (0.5 * (action + 1.0) * (self.high - self.low))
        return torch.minimum(torch.maximum(action, self.low), self.high)

    def example(self) -> tuple[Tensor, ...]:
        """Return inputs for a batch of two, in the order of :attr:`inputs`."""
        space = self.policy.observation_space
        space.seed(0)
        samples: Any = [space.sample() for _ in range(_BATCH)]
        found = {}
        for key, name in zip(self.keys, self.observations, strict=True):
            found[name] = torch.as_tensor(np.stack([sample if key is None else sample[key] for sample in samples]))
            if _module_name(key) in self.before:
                found[name] = found[name].float()  # whatever the space has: bytes, say
        if self.recurrent:
            layers, _, size = self.policy.lstm_hidden_state_shape
            found[HIDDEN], found[CELL] = torch.randn(2, layers, _BATCH, size)
            found[START] = torch.tensor([1.0, 0.0])
        if self.maskable:
            found[MASKS] = torch.ones(_BATCH, sum(choices_of(self.policy.action_space)), dtype=torch.bool)
        return tuple(found[name] for name in self.inputs)

    def batch_axes(self) -> dict[str, dict[int, str]]:
        """Return the axis of the batch for every input and output."""
        states = {HIDDEN, CELL, NEXT_HIDDEN, NEXT_CELL}
        return {name: {1 if name in states else 0: "batch"} for name in (*self.inputs, *self.outputs)}


class _Normalised(nn.Module):
    # VecNormalize._normalize_obs, in float64 as there: in float32 a mean of 30,000 leaves observations three digits.
    def __init__(self, mean: np.ndarray, deviation: np.ndarray, clip: float) -> None:
        super().__init__()
        self.mean = torch.as_tensor(mean, dtype=torch.float64)
        self.deviation = torch.as_tensor(deviation, dtype=torch.float64)
        self.clip = clip

    def forward(self, observation: Tensor) -> Tensor:
        return ((observation.double() - self.mean) / self.deviation).clamp(-self.clip, self.clip).float()


def _module_name(key: str | None) -> str:
    return "whole" if key is None else f"entry {key}".replace(".", " ")


def _norms(statistics: Any) -> Mapping[str, tuple[np.ndarray, np.ndarray, float]]:
    if not statistics.norm_obs:
        return {}
    moments = statistics.obs_rms if isinstance(statistics.obs_rms, dict) else {None: statistics.obs_rms}
    return {
        _module_name(key): (each.mean, np.sqrt(each.var + statistics.epsilon), float(statistics.clip_obs))
        for key, each in moments.items()
    }


def _of_library(module: Any) -> bool:
    method: Any = type(module)._predict
    return str(method.__module__).startswith(_LIBRARIES)


def _logits(distribution: Any) -> Tensor:
    # sb3-contrib's maskable distributions of several choices have a list, "distributions".
    parts = getattr(distribution, "distributions", None) or distribution.distribution
    parts = parts if isinstance(parts, (list, tuple)) else [parts]
    return torch.cat([part.logits for part in parts], dim=1)


def choices_of(space: spaces.Space[Any]) -> list[int]:
    """Return how many values each part of an action has; its masks are one after the other.

    See ``sb3_contrib/common/maskable/utils.py``.
    """
    if isinstance(space, spaces.Discrete):
        return [int(space.n)]
    if isinstance(space, spaces.MultiDiscrete):
        return [int(count) for count in space.nvec.ravel()]
    assert isinstance(space, spaces.MultiBinary)
    return [2] * int(np.prod(space.shape))


def to_onnx(graph: PolicyGraph) -> bytes:
    """Trace a policy and write it as ONNX.

    :param graph: the policy
    :returns: the file's content; the batch has any size
    :raises ConfigError: the policy cannot be traced, e.g. because a class of the user's own branches on its input
    """
    file = io.BytesIO()
    try:
        with _quiet_trace(), torch.no_grad():
            torch.onnx.export(
                graph,
                graph.example(),
                file,  # type: ignore[arg-type]
                input_names=graph.inputs,
                output_names=graph.outputs,
                dynamic_axes=graph.batch_axes(),
                opset_version=OPSET,
                dynamo=False,  # the other exporter needs two packages more
            )
    except Exception as error:  # the policy may have layers of the user's own
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ConfigError(f"the policy {type(graph.policy).__name__} cannot be traced: {reason}") from error
    return file.getvalue()


@contextmanager
def _quiet_trace() -> Iterator[None]:
    # Checks of arguments would become part of the trace, and warnings that a branch is constant are not for users.
    checks = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.distributions.Distribution.set_default_validate_args(checks)
