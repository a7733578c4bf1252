"""Environments whose failures are one line that names them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from lottery_core.errors import ConfigError, LotteryError
from lottery_core.files import first_line, printable


class NamedFailures(VecEnvWrapper):
    """Environments that raise :class:`ConfigError` if one of them fails, or if an observation is not a number.

    :param venv: the environments
    :param name: their id, for the message
    """

    def __init__(self, venv: VecEnv, name: str | None) -> None:
        super().__init__(venv)
        self.name = name

    def reset(self) -> Any:
        """Reset the environments.

        :raises ConfigError: one of them fails
        """
        with self._named():
            return self._checked(self.venv.reset())

    def step_async(self, actions: np.ndarray) -> None:
        """Begin a step.

        :param actions: the action of each environment
        :raises ConfigError: one of them fails
        """
        with self._named():
            self.venv.step_async(actions)

    def step_wait(self) -> Any:
        """Finish a step.

        :raises ConfigError: one of the environments fails
        """
        with self._named():
            observations, *more = self.venv.step_wait()
            return self._checked(observations), *more

    def env_method(self, method_name: str, *args: Any, **kwargs: Any) -> list[Any]:
        """Call a method of the environments, e.g. ``action_masks``.

        :param method_name: name of the method
        :raises ConfigError: one of the environments fails
        """
        with self._named():
            return self.venv.env_method(method_name, *args, **kwargs)

    def _checked(self, observations: Any) -> Any:
        parts = observations.values() if isinstance(observations, dict) else [observations]
        if any(np.isnan(part).any() for part in parts if np.issubdtype(part.dtype, np.floating)):
            raise ConfigError(f"cannot play environment '{self.name}': an observation is not a number (NaN)")
        return observations

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except LotteryError:
            raise
        except Exception as error:  # a user's environment may raise anything
            reason = first_line(error)
            raise ConfigError(f"cannot play environment '{self.name}': {printable(reason, 200)}") from error
