"""The model of an experiment of ``find_tickets``: its class and its environment, from the user's own function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, unwrap_vec_normalize

from lottery_core.errors import ConfigError
from lottery_core.files import first_line
from sb3_lottery.backends import env_spec
from sb3_lottery.find import function_named
from sb3_lottery.training import call_make_model

OPTION = "--make-model"


def _made_again(spec: EnvSpec, render_mode: str) -> gymnasium.Env[Any, Any]:
    # Monitor, which does not record its arguments, sees the rewards that it sees in training.
    wrappers = [each for each in spec.additional_wrappers if each.name != Monitor.__name__]
    names = [each.name for each in spec.additional_wrappers]
    inside = names.index(Monitor.__name__) if Monitor.__name__ in names else len(names)
    own = replace(spec, additional_wrappers=tuple(wrappers[:inside]))
    env: Any = Monitor(gymnasium.make(own, render_mode=render_mode))
    for wrapper in wrappers[inside:]:
        env = load_env_creator(wrapper.entry_point)(env=env, **(wrapper.kwargs or {}))
    return env  # type: ignore[no-any-return]


class UserModel:
    """The class and the environment of the model that the user's function makes; used instead of settings.

    :param reference: ``"module:function"``
    :param seed: seed of the run
    :param description: description of the model in the experiment's settings
    :raises ConfigError: there is no such function, or it makes a different model
    """

    def __init__(self, reference: str, seed: int, description: Mapping[str, Any]) -> None:
        make_model = function_named(reference, OPTION)
        try:
            model = call_make_model(make_model, seed)
        except ConfigError:
            raise
        except Exception as error:  # the function is the user's
            raise ConfigError(f"{OPTION} {reference} failed: {type(error).__name__}: {first_line(error)}") from error
        assert model.env is not None
        try:
            self.model_class: type[BaseAlgorithm] = type(model)
            if self.model_class.__name__ != description.get("algorithm"):
                raise ConfigError(
                    f"{OPTION} {reference} makes {self.model_class.__name__}, but the experiment trained "
                    f"{description.get('algorithm')}"
                )
            self.normalizes = unwrap_vec_normalize(model.env) is not None
            self._spaces = model.observation_space, model.action_space
            self._spec = env_spec(model.env)
        finally:
            model.env.close()
        self.env = str(getattr(self._spec, "id", "the environment"))

    def rendered_env(self, seed: int, render_mode: str) -> VecEnv:
        """Make a single environment that can be rendered.

        :param seed: seed of the environment
        :param render_mode: gymnasium's ``"human"`` or ``"rgb_array"``
        :raises ConfigError: the environment is not registered with gymnasium, or has wrappers that cannot be repeated
        """
        if self._spec is None:
            raise ConfigError(
                "make_model's environment is not registered with gymnasium, so it cannot be made to render"
            )
        wrappers = list(self._spec.additional_wrappers)
        lost = [each.name for each in wrappers if each.kwargs is None and each.name != Monitor.__name__]
        if lost:
            raise ConfigError(
                f"{self.env} has the wrapper {lost[0]}, which cannot be repeated: its arguments are not known"
            )
        env: VecEnv = DummyVecEnv([partial(_made_again, self._spec, render_mode)])
        env.seed(seed)
        env = BaseAlgorithm._wrap_env(env, verbose=0)  # e.g. transposed images, as in training
        for what, found, asked in zip(
            ("observations", "actions"), (env.observation_space, env.action_space), self._spaces, strict=True
        ):
            if found != asked:
                env.close()
                raise ConfigError(
                    f"{self.env} by itself has {what} {found}, and make_model's has {asked}: its wrappers around "
                    "several environments cannot be repeated here"
                )
        return env
