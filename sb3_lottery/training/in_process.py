"""Train the runs of an experiment one after the other in this process."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from lottery_core.errors import ConfigError, LotteryError, RunError
from lottery_core.experiments import SHARED, FinishedInProcess, Run
from lottery_core.files import FolderLock
from lottery_core.tickets import Weights
from sb3_lottery.models import weights_of
from sb3_lottery.training.evaluation import Evaluation
from sb3_lottery.training.spec import TrainingSpec
from sb3_lottery.training.train import train_run

_SAME_WEIGHTS = (
    "WARNING: make_model gives the same weights whatever its seed, as a pretrained model has: all repeats start from "
    "them, and so do controls with fresh values, so that random is shuffled, and reinit is winning"
)
MakeModel = Callable[[int], BaseAlgorithm]
MakeCallbacks = Callable[[int], BaseCallback | Sequence[BaseCallback] | None]


def call_make_model(make_model: MakeModel, seed: int) -> BaseAlgorithm:
    """Call ``make_model`` and check that it returns a model.

    The global random number generators are seeded first, so that the initialisation depends on the seed even if
    ``make_model`` does not pass it on.

    :param make_model: makes a fresh model from a seed
    :param seed: the seed
    :raises ConfigError: the function does not take one argument, or does not return a model
    """
    set_random_seed(seed)
    try:
        model = make_model(seed)
    except TypeError as error:
        raise ConfigError(
            f"make_model({seed}) failed: TypeError: {error} (make_model takes the seed as its only argument)"
        ) from error
    if not isinstance(model, BaseAlgorithm):
        raise ConfigError(f"make_model must return a Stable-Baselines3 model, not {type(model).__name__}")
    return model


def call_callbacks(callbacks: MakeCallbacks | None, seed: int) -> list[BaseCallback]:
    """Call ``callbacks`` and check that it returns callbacks.

    :param callbacks: a function from a seed to new callbacks; ``None`` for no callbacks
    :param seed: the run's seed
    :returns: the callbacks as a list
    :raises ConfigError: the function does not return callbacks
    """
    if callbacks is None:
        return []
    if not callable(callbacks):
        raise ConfigError(
            f"callbacks must be a function that makes new ones from a seed, not {type(callbacks).__name__}"
        )
    try:
        made = callbacks(seed)
    except TypeError as error:
        raise ConfigError(
            f"callbacks({seed}) failed: TypeError: {error} (callbacks takes the seed as its only argument)"
        ) from error
    some: list[Any] = [] if made is None else list(made) if isinstance(made, Iterable) else [made]
    for callback in some:
        if not isinstance(callback, BaseCallback):
            raise ConfigError(
                f"callbacks must return Stable-Baselines3 callbacks for a seed, not {type(callback).__name__}"
            )
    return some


def references_to(model: BaseAlgorithm) -> list[weakref.ref[Any]]:
    """Return references to what no two runs may share: the model, its policy and its tensors, and all layers of its
    environments.

    :param model: any SB3 model
    """
    return [weakref.ref(part) for part in (model, model.policy, *_tensors(model), *_layers(model.env))]


def _tensors(model: BaseAlgorithm) -> Iterator[torch.Tensor]:
    yield from model.policy.parameters()
    yield from model.policy.buffers()


def _layers(env: VecEnv | None) -> Iterator[Any]:
    # Wrappers have the statistics of a normalisation, for example.
    layer: Any = env
    while layer is not None:
        yield layer
        for single in layer.envs if isinstance(layer, DummyVecEnv) else ():
            inner: Any = single
            while isinstance(inner, gymnasium.Env):
                yield inner
                inner = getattr(inner, "env", None)
        layer = getattr(layer, "venv", None)


def check_another(
    make_model: MakeModel, seed: int, earlier: Sequence[weakref.ref[Any]], own_seed: int | None, weights: Weights
) -> str | None:
    """Check that ``make_model`` makes another model with new environments for another seed.

    :param make_model: makes a fresh model from a seed
    :param seed: the other seed
    :param earlier: :func:`references_to` the model of the first call
    :param own_seed: the seed that the first model has
    :param weights: its weights
    :returns: a warning if both models have the same weights, as pretrained ones do
    :raises ConfigError: the second model is the first one, has its policy, its modules or its environments, or its seed
    """
    gc.collect()
    model = call_make_model(make_model, seed)
    shared = [part for part in (reference() for reference in earlier) if part is not None]
    if any(part is other for part in (model, model.policy) for other in shared):
        raise ConfigError(
            "make_model returned the same model (or policy) twice: every run trains a model of its own, so make a new "
            "one in each call"
        )
    try:
        if any(part is other for part in _tensors(model) for other in shared):
            raise ConfigError(
                "make_model puts the same module into two models: runs would train and prune it for each other, so "
                "make a new one in each call, e.g. features_extractor_kwargs={'encoder': copy.deepcopy(encoder)}"
            )
        if any(part is other for part in _layers(model.env) for other in shared):
            raise ConfigError(
                "make_model returned the same environment twice: runs would share its state and its normalisation, and "
                "close it for each other, so make a new one in each call"
            )
        if own_seed is not None and model.seed == own_seed:
            raise ConfigError(
                f"make_model ignores its seed: the model has the seed {own_seed} whatever it is given, so all repeats "
                "would be the same training; pass it on, e.g. PPO(..., seed=seed), PPO.load(..., seed=seed)"
            )
        return _SAME_WEIGHTS if weights_of(model) == weights else None
    finally:
        if model.env is not None:
            model.env.close()


class InProcess:
    """An executor that trains in this process, see :class:`lottery_core.experiments.protocols.Executor`.

    :param out: the experiment's folder
    :param make_model: makes a fresh model from a seed
    :param spec: length of training, rewind point and score
    :param report: called with a run and its progress at the end of every epoch
    :param evaluation: how the trained models are evaluated; ``None`` for no evaluation
    :param callbacks: makes the user's own callbacks from a seed; ``None`` for none
    :param seeding: the experiment's seeding
    """

    jobs = 1
    retries = 0

    def __init__(
        self,
        out: Path,
        make_model: MakeModel,
        spec: TrainingSpec,
        report: Callable[[Run, Mapping[str, Any]], None],
        evaluation: Evaluation | None,
        callbacks: MakeCallbacks | None = None,
        seeding: str = SHARED,
    ) -> None:
        self.out, self.spec, self.report, self.evaluation = out, spec, report, evaluation
        self.callbacks, self.seeding = callbacks, seeding
        self.make_model = partial(call_make_model, make_model)

    def start(self, run: Run, folder: Path, lock: FolderLock) -> FinishedInProcess:
        """Train a run, and return when it is done.

        :param run: the run
        :param folder: the run's folder
        :param lock: lock of the experiment's folder
        :raises LotteryError: see :meth:`train`
        """
        self.train(run)
        return FinishedInProcess()

    def train(self, run: Run) -> None:
        """Train a run.

        :param run: the run
        :raises LotteryError: see :func:`sb3_lottery.training.train.train`
        :raises RunError: training raised any other exception; runs that do not depend on it are still trained
        """
        evaluate = None
        if self.evaluation is not None:
            evaluate = partial(self.evaluation, fresh_env=self._fresh_env, seed=run.noise_seed)
        report = partial(self.report, run)
        try:
            more = call_callbacks(self.callbacks, run.noise_seed)
            train_run(self.out, run, self.make_model, self.spec, report, evaluate, more, self.seeding)
        except LotteryError:
            raise
        except Exception as error:  # a user's model may raise anything
            raise RunError(f"{type(error).__name__}: {error}") from error

    def adopt(self, run: Run, folder: Path) -> None:
        """Return ``None``: a run ends with this process.

        :param run: the run
        :param folder: the run's folder
        """

    def _fresh_env(self, seed: int) -> VecEnv:
        env = self.make_model(seed).env
        assert env is not None
        return env
