"""Check an exported policy: the same actions as ``predict`` on observations of the environment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv

from lottery_core.errors import ConfigError
from lottery_core.pruning import derive_seed
from sb3_lottery.inference.onnx.agent import OnnxAgent
from sb3_lottery.inference.onnx.graph import ACTION, PolicyGraph, choices_of
from sb3_lottery.inference.onnx.surroundings import Surroundings

OBSERVATIONS = 1000
_EPISODE = 50  # steps, where there is no environment
_CLOSE = 1e-4  # of the action, or 1 if it is smaller: continuous actions that are the same
_SHARE = 1e-3  # of the range of the axis, where that is less: else every action of a small range would be the same
_ROUNDING = 1e-6  # of the action: what float32 does not tell apart, in a small range of large numbers
_TIE = 1e-5  # of the largest value: values that float32 does not tell apart


@dataclass
class Comparison:
    """The actions of an exported policy beside those of ``predict``.

    :param source: where the observations come from
    :param observations: number of observations
    :param same: number of observations with the same action
    :param ties: number of observations whose actions differ, but have values that float32 does not tell apart
    :param difference: largest difference between continuous actions, or between values of discrete ones if the policy
        gives them
    """

    source: str
    observations: int = 0
    same: int = 0
    ties: int = 0
    difference: float = 0.0

    @property
    def fine(self) -> bool:
        """Whether every action is the same, or ties."""
        return self.same + self.ties == self.observations

    def __str__(self) -> str:
        if self.same == self.observations:
            what = f"the same actions as predict on {self.observations:,} {self.source}"
        else:
            what = f"the same action as predict on {self.same:,} of {self.observations:,} {self.source}"
        ties = f" ({self.ties} differ by a tie)" if self.ties else ""
        return f"{what}{ties}, largest difference {self.difference:.2g}"


def compare(
    graph: PolicyGraph,
    agent: OnnxAgent,
    surroundings: Surroundings,
    seed: int,
    count: int = OBSERVATIONS,
) -> Comparison:
    """Act in the environment with ``predict``, and compare the actions of an exported policy step by step.

    The observations are then given once more as one batch.

    :param graph: the policy
    :param agent: the exported policy
    :param surroundings: the environment and the normalisation of the policy; without an environment the observations
        are random points of the observation space
    :param seed: seed of the environment
    :param count: number of observations
    :raises ConfigError: the environment fails
    """
    source = f"observations of {surroundings.environment}" if surroundings.make else "random observations"
    comparison = Comparison(source)
    folded = bool(graph.normalised)
    policy: BasePolicy = graph.policy
    steps = _steps_in_environment if surroundings.make else _random_steps
    state = other = None
    seen, given = [], []
    masked: list[Any] = []
    act = _Acting()
    for observation, start, masks in steps(graph, surroundings, derive_seed("export", seed), act):
        normalised = surroundings.normalised(observation)
        more: dict[str, Any] = {} if masks is None else {"action_masks": masks}
        act.action, state = policy.predict(normalised, state, start, True, **more)
        mine, other = agent.run(observation if folded else normalised, other, start, masks)
        _count(comparison, graph, act.action, mine)
        seen.append(normalised)
        given.append(observation if folded else normalised)
        masked.append(masks)
        if comparison.observations == count:
            break
    first = np.ones(len(seen))
    masks = np.concatenate(masked) if graph.maskable else None
    more = {} if masks is None else {"action_masks": masks}
    action, _ = policy.predict(_batch(seen), None, first, True, **more)
    mine, _ = agent.run(_batch(given), None, first, masks)
    together = Comparison(source)
    _count(together, graph, action, mine)
    if not together.fine:  # the trace took the size of the batch for a constant
        comparison.same, comparison.ties = min(comparison.same, together.same), 0
    comparison.difference = max(comparison.difference, together.difference)
    if graph.values is not None:
        arrays = agent.arrays(_batch(given), None, first, masks)
        with torch.no_grad():
            outputs = graph(*(torch.as_tensor(arrays[name]) for name in graph.inputs))
        values = outputs[graph.outputs.index(graph.values)].numpy()
        comparison.difference = max(comparison.difference, float(np.abs(values - mine[graph.values]).max(initial=0.0)))
    return comparison


class _Acting:
    # The action that the loop above chose for the observation that a generator gave it.
    action: Any = None


def _count(comparison: Comparison, graph: PolicyGraph, action: np.ndarray, found: dict[str, np.ndarray]) -> None:
    mine = found[ACTION]
    batch = len(mine)
    comparison.observations += batch
    if mine.shape != action.shape:
        return
    if isinstance(graph.policy.action_space, spaces.Box):
        distance = np.abs(mine.astype(np.float64) - action)
        comparison.difference = max(comparison.difference, float(distance.max(initial=0.0)))
        fine = distance <= _limit(graph.policy.action_space, np.abs(action.astype(np.float64)))
        comparison.same += int(fine.reshape(batch, -1).all(axis=1).sum())
        return
    same = (mine == action).reshape(batch, -1).all(axis=1)
    comparison.same += int(same.sum())
    values = None if graph.values is None else found[graph.values]
    if values is None or not isinstance(graph.policy.action_space, spaces.Discrete):
        return
    rows = np.arange(batch)
    gap = np.abs(values[rows, mine] - values[rows, action])
    comparison.ties += int((~same & (gap <= _TIE * np.maximum(1.0, np.abs(values[rows, mine])))).sum())


def _limit(space: spaces.Box, size: np.ndarray) -> np.ndarray:
    # For each axis of each action: the largest difference between actions that are the same.
    extent = space.high.astype(np.float64) - space.low  # infinite without bounds
    limit: np.ndarray = np.minimum(_CLOSE * np.maximum(1.0, size), _SHARE * extent) + _ROUNDING * size
    return limit


def _batch(observations: list[Any]) -> Any:
    if isinstance(observations[0], dict):
        return {key: np.concatenate([each[key] for each in observations]) for key in observations[0]}
    return np.concatenate(observations)


Step = tuple[Any, np.ndarray, np.ndarray | None]


def _steps_in_environment(graph: PolicyGraph, surroundings: Surroundings, seed: int, act: _Acting) -> Iterator[Step]:
    assert surroundings.make is not None
    env: VecEnv = surroundings.make(seed)
    masks_of: Any = None
    if graph.maskable:
        from sb3_contrib.common.maskable.utils import get_action_masks as masks_of
    try:
        observation, start = env.reset(), np.ones(1, dtype=bool)
        while True:
            yield observation, start, _right_masks(masks_of(env), graph, surroundings) if masks_of else None
            observation, _, start, _ = env.step(act.action)
    finally:
        env.close()


def _right_masks(masks: np.ndarray, graph: PolicyGraph, surroundings: Surroundings) -> np.ndarray:
    right = (1, sum(choices_of(graph.policy.action_space)))
    if masks.shape != right:
        raise ConfigError(
            f"cannot play environment '{surroundings.environment}': its action_masks must have {right[1]} entries, not "
            f"the shape {masks.shape[1:]}"
        )
    return masks


def _random_steps(graph: PolicyGraph, surroundings: Surroundings, seed: int, act: _Acting) -> Iterator[Step]:
    space = graph.policy.observation_space
    space.seed(seed)
    rng = np.random.default_rng(seed)
    step = 0
    while True:
        sample = space.sample()
        sample = {key: value[None] for key, value in sample.items()} if isinstance(sample, dict) else sample[None]
        masks = _random_masks(graph.policy.action_space, rng) if graph.maskable else None
        yield sample, np.array([step % _EPISODE == 0]), masks
        step += 1


def _random_masks(space: spaces.Space[Any], rng: np.random.Generator) -> np.ndarray:
    # Each part of the action has at least one valid choice.
    parts = []
    for count in choices_of(space):
        valid = rng.random(count) < 0.5
        valid[rng.integers(count)] = True
        parts.append(valid)
    return np.concatenate(parts)[None]
