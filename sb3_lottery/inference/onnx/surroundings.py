"""What belongs to a saved model: its run folder, the environment that it was trained in, its normalisation."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from lottery_core.errors import ConfigError
from lottery_core.experiments import Experiment, paths
from lottery_core.files import first_line, printable, read_object, why_not_regular
from sb3_lottery.analysis import require_own_experiment
from sb3_lottery.backends import NamedFailures
from sb3_lottery.inference.onnx.graph import MASKS
from sb3_lottery.models import ModelSettings, make_env
from sb3_lottery.pickled import require_own
from sb3_lottery.training import NORMALIZE, saved_model

_DEPTH = 5  # RUN/seed-1/noise-2/winning/round-01/model.zip


@dataclass(frozen=True)
class Surroundings:
    """What is known about a saved model.

    :param result: content of ``result.json`` beside it, empty if there is none
    :param environment: id of its environment; ``None`` if it is unknown
    :param make: makes one such environment from a seed, without normalisation; ``None`` if it is unknown
    :param statistics: the statistics that normalise its observations; ``None`` if it has none
    """

    result: dict[str, Any]
    environment: str | None
    make: Callable[[int], VecEnv] | None
    statistics: VecNormalize | None

    @classmethod
    def of(cls, path: Path, policy: BasePolicy, env: str | None, trust: bool) -> Surroundings:
        """Find the run folder of a saved model, and read what belongs to it.

        :param path: the zip
        :param policy: the policy of the model
        :param env: id of an environment that takes the place of the experiment's
        :param trust: whether files may run code even if others wrote them
        :raises ConfigError: the statistics cannot be read, a file would run code that this user did not write, or the
            environment is unknown or has other observations or actions
        """
        result = read_object(path.parent / paths.MARKER)
        statistics = _statistics(path.parent / NORMALIZE, trust)
        name, make = env, None
        if env is not None:
            make = lambda seed: _registered(env, seed)  # noqa: E731
        else:
            settings = _settings(path, trust) if result else None
            if settings is not None:
                one = replace(settings, n_envs=1, subproc=False, normalize=None)
                name, make = one.env, lambda seed: make_env(one, seed)
        if make is None:
            return cls(result, None, None, statistics)
        found = cls(result, name, lambda seed: _wrapped(make, name, seed), statistics)
        found._check(policy)
        return found

    def _check(self, policy: BasePolicy) -> None:
        assert self.make is not None
        env = self.make(0)
        try:
            for what, mine, its in (
                ("observations", policy.observation_space, env.observation_space),
                ("actions", policy.action_space, env.action_space),
            ):
                if _shapes(mine) != _shapes(its):
                    raise ConfigError(f"{self.environment} has {what} {its}, and those of the model are {mine}")
            if MASKS in inspect.signature(policy._predict).parameters and not env.has_attr(MASKS):
                raise ConfigError(f"{self.environment} has no method {MASKS}, which the policy needs")
        finally:
            env.close()

    def normalised(self, observation: Any) -> Any:
        """Return what the policy sees of an observation of the environment."""
        return observation if self.statistics is None else self.statistics.normalize_obs(observation)


def _wrapped(make: Callable[[int], VecEnv], name: str | None, seed: int) -> VecEnv:
    try:
        env = BaseAlgorithm._wrap_env(make(seed), verbose=0)  # e.g. transposed images, as in training
    except ConfigError:
        raise
    except Exception as error:  # a user's environment may raise anything
        reason = first_line(error)
        raise ConfigError(f"cannot make environment '{name}': {printable(reason, 200)}") from error
    return NamedFailures(env, name)


def _registered(name: str, seed: int) -> VecEnv:
    env: VecEnv = DummyVecEnv([lambda: Monitor(gymnasium.make(name))])
    env.seed(seed)
    return env


def _settings(path: Path, trust: bool) -> ModelSettings | None:
    for folder in path.resolve().parents[:_DEPTH]:
        if (folder / paths.EXPERIMENT).exists():
            experiment = Experiment.load(folder)
            model = saved_model(experiment.framework, experiment.settings)
            if model is None:
                return None
            if not trust:
                require_own_experiment(folder)
            return ModelSettings.from_json(model)
    return None


def _statistics(path: Path, trust: bool) -> VecNormalize | None:
    if not path.exists():
        return None
    if not trust:
        require_own(path, [path], [f"{NORMALIZE} is a pickle"])
    why = why_not_regular(path)
    if why is None:
        try:
            statistics = pickle.loads(path.read_bytes())
            if isinstance(statistics, VecNormalize):
                return statistics
            why = f"it holds a {type(statistics).__name__}"
        except Exception as error:  # unpickling a damaged file may raise anything
            why = f"{type(error).__name__}: {printable(str(error), 200)}"
    raise ConfigError(f"cannot read {path}: {why}")


def _shapes(space: spaces.Space[Any]) -> Any:
    if isinstance(space, spaces.Dict):
        return {key: _shapes(part) for key, part in space.spaces.items()}
    kinds = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
    if isinstance(space, kinds):
        return str(space)
    return (type(space).__name__, space.shape, space.dtype == np.uint8)
