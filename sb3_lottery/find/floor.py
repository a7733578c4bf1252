"""The floor of a game: the score of an agent that has learned nothing."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import numpy
from gymnasium.spaces import Discrete
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from lottery_core.errors import ConfigError
from lottery_core.experiments import Score
from lottery_core.pruning import derive_seed
from sb3_lottery.models import needs_action_masks, weights_of
from sb3_lottery.training import Evaluation, FreshEnv, Watch, check_returns, standard_error

_MOST_ACTIONS = 32  # number of constant actions that are tried
_MOST_STEPS = 1000  # steps of an episode on average: an action may be one with which an episode never ends


class _EnoughError(Exception):
    """Ends the episodes of a policy that takes too many steps."""


class _Actions:
    """Takes actions without looking at observations: always the same action, or random ones.

    :param space: the action space
    :param action: the action; ``None`` draws random actions
    """

    def __init__(self, space: Any, action: int | None) -> None:
        self.space, self.action = space, action

    def predict(self, observation: Any, state: Any = None, **_: Any) -> tuple[Any, Any]:
        """Return the actions for a batch of observations."""
        first = next(iter(observation.values())) if isinstance(observation, dict) else observation
        actions = [self.space.sample() if self.action is None else self.action for _ in range(len(first))]
        return numpy.asarray(actions), state


def floor_of(
    make: Callable[[int], BaseAlgorithm], fresh_env: FreshEnv, seed: int, episodes: int = 100
) -> tuple[Score, str, dict[str, float]]:
    """Measure the floor: the best of random actions, each constant action, and the untrained network.

    A policy, also the network, that takes more than 1,000 steps an episode is stopped; the episodes that have ended by
    then count, and without any it is left out. A model that needs action masks is compared with no policy that ignores
    them. A model that ``make`` loads is drawn anew, as ``load`` itself does before it reads the weights.

    :param make: makes a fresh model from a seed
    :param fresh_env: makes environments from a seed; they are closed here
    :param seed: seed of the environments, the actions and the network
    :param episodes: number of episodes for each policy
    :returns: the best score, the name of the policy that reached it, and the mean return of each policy
    :raises ConfigError: ``episodes`` is below 1, or no policy has ended an episode
    """
    if episodes < 1:
        raise ConfigError(f"--episodes must be at least 1, not {episodes}")
    own = derive_seed("floor", seed)
    model = make(own)
    try:
        if model.num_timesteps or _has_the_weights_of(model, make(derive_seed("another", seed))):
            model._setup_model()  # it was loaded: the floor is that of what has learned nothing
        untrained = _scored(episodes, partial(Evaluation(episodes).play, model, fresh_env, own))
        space, masked = model.action_space, needs_action_masks(model)
    finally:
        if model.env is not None:
            model.env.close()
    scores = {"the untrained network": untrained}
    space.seed(own)
    constant = range(int(space.n)) if isinstance(space, Discrete) and space.n <= _MOST_ACTIONS else ()
    policies = {"random actions": _Actions(space, None), **{f"action {a} always": _Actions(space, a) for a in constant}}
    for name, policy in () if masked else policies.items():
        scores[name] = _scored(episodes, partial(_play, fresh_env(own), policy, episodes))
    ended = {name: found for name, found in scores.items() if found is not None}
    if not ended:
        raise ConfigError(f"no episode has ended in {_MOST_STEPS * episodes:,} steps of any policy: there is no floor")
    best = max(ended, key=lambda name: ended[name].score)
    return ended[best], best, {name: found.score for name, found in ended.items()}


def _has_the_weights_of(model: BaseAlgorithm, other: BaseAlgorithm) -> bool:
    if other.env is not None:
        other.env.close()
    return weights_of(model) == weights_of(other)


def _scored(episodes: int, play: Callable[[Watch], object]) -> Score | None:
    # The score of the episodes that have ended before the policy has taken too many steps; None if none has.
    steps, returns = 0, []

    def count(evaluation: Mapping[str, Any], _: object) -> None:
        nonlocal steps, returns
        steps, returns = steps + 1, evaluation["episode_rewards"]
        if steps > _MOST_STEPS * episodes:
            raise _EnoughError

    with suppress(_EnoughError):
        play(count)
    values = [float(value) for value in returns]
    if not values:
        return None
    check_returns(values)
    return Score(statistics.fmean(values), standard_error(values), len(values))


def _play(env: VecEnv, policy: Any, episodes: int, watch: Watch) -> None:
    normalizer = unwrap_vec_normalize(env)
    if normalizer is not None:
        normalizer.norm_reward = False
    try:
        evaluate_policy(policy, env, episodes, callback=watch, return_episode_rewards=True, warn=False)
    finally:
        env.close()
