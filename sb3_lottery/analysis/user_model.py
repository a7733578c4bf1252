"""The model of an experiment of ``find_tickets``: its class and its environment, from the user's own function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gymnasium
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, unwrap_vec_normalize

from lottery_core.errors import ConfigError
from sb3_lottery.find import function_named
from sb3_lottery.training import call_make_model

OPTION = "--make-model"


class UserModel:
    """The class and the environment of the model that the user's function makes; used instead of settings.

    :param reference: ``"module:function"``
    :param seed: seed of the run
    :param description: description of the model in the experiment's settings
    :raises ConfigError: there is no such function, or it makes a different model
    """

    def __init__(self, reference: str, seed: int, description: Mapping[str, Any]) -> None:
        model = call_make_model(function_named(reference, OPTION), seed)
        assert model.env is not None
        try:
            self.model_class: type[BaseAlgorithm] = type(model)
            if self.model_class.__name__ != description.get("algorithm"):
                raise ConfigError(
                    f"{OPTION} {reference} makes {self.model_class.__name__}, but the experiment trained "
                    f"{description.get('algorithm')}"
                )
            self.normalizes = unwrap_vec_normalize(model.env) is not None
            self._space = model.observation_space
            try:
                self._spec = model.env.get_attr("spec", 0)[0]
            except (AttributeError, RuntimeError):
                self._spec = None
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
        # The specification lists wrappers, such as Monitor, that cannot be rebuilt from it.
        spec = replace(self._spec, additional_wrappers=())
        env: VecEnv = DummyVecEnv([lambda: Monitor(gymnasium.make(spec, render_mode=render_mode))])
        env.seed(seed)
        env = BaseAlgorithm._wrap_env(env, verbose=0)  # e.g. transposed images, as in training
        if env.observation_space != self._space:
            found = env.observation_space
            env.close()
            raise ConfigError(
                f"{self.env} by itself has observations {found}, and make_model's has {self._space}: its wrappers "
                "around several environments cannot be repeated here"
            )
        return env
