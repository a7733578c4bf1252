"""``find_tickets``: a whole experiment around a model that the user's own function makes, in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv

from lottery_core.errors import ConfigError, LotteryError, RunError
from lottery_core.experiments import KEPT, Experiment, FinishedInProcess, Point, Progress, Row, Run, Runner, paths
from lottery_core.files import FolderLock
from lottery_core.reports import plot, table
from lottery_core.tickets import pool_names
from sb3_lottery.models import algorithm_of, scope_words, weights_of
from sb3_lottery.training import (
    Evaluation,
    Sb3,
    TrainingSpec,
    all_versions,
    check_model,
    describe_model,
    rewind_of,
    score_label,
    train_run,
)

MakeModel = Callable[[int], BaseAlgorithm]
_EPOCHS = 20  # how often the progress is told


@dataclass(frozen=True)
class Found:
    """What :func:`find_tickets` found.

    :param rows: one a finished run
    :param out: the experiment's folder
    :param score_label: what the score is
    :param score_episodes: L, how many returns each score was to be the mean of
    """

    rows: Sequence[Row]
    out: Path
    score_label: str
    score_episodes: int = 1

    def __str__(self) -> str:
        return table(self.rows, self.score_label, self.score_episodes)

    def table(self, file: TextIO | None = None) -> None:
        """Print the table: a line a round, a column a kind."""
        print(self, file=file or sys.stdout)

    def plot(self, path: str | Path) -> Path:
        """Draw the curve.

        :param path: the picture; png, pdf or svg by its ending
        :returns: ``path``
        :raises ConfigError: an unknown ending
        :raises WriteError: it cannot be written
        """
        plot({self.out.resolve().name: self.rows}, path, self.score_label)
        return Path(path)

    def ticket(self, seed: int, kind: str, round: int) -> Path:
        """The path of a ticket, for :class:`~sb3_lottery.LotteryCallback`.

        :raises ConfigError: it was not found
        """
        path = self.out / Run(seed, kind, round).folder / paths.TICKET
        if not path.exists():
            raise ConfigError(f"there is no ticket of seed {seed}, kind '{kind}', round {round} in {self.out}")
        return path


def find_tickets(
    make_model: MakeModel,
    out: str | Path,
    *,
    total_timesteps: int,
    rounds: int = 20,
    prune_rate: float = 0.2,
    rewind: str | None = None,
    kinds: Sequence[str] | str = ("winning", "random"),
    seeds: Sequence[int] | int = (1,),
    scope: str | Sequence[str] = "all",
    score_episodes: int = 100,
    eval_episodes: int = 0,
    deterministic: bool = False,
    progress: bool = True,
) -> Found:
    """Find winning tickets for the model that ``make_model`` makes, and train controls beside them.

    Runs one after the other in this process. Killed or stopped, the same call goes on in the same folder. Another
    model in the same folder is refused, as far as two models can be told apart (``describe_model``).

    .. warning::
        Give the model ``seed=seed``, and ``policy_kwargs=dict(ortho_init=False)`` where the algorithm has it:
        with SB3's orthogonal start pruning kills the action head first.

    :param make_model: makes a fresh model with its environment from a seed, every time anew
    :param out: the experiment's folder
    :param total_timesteps: length of each training, in environment steps
    :param rounds: rounds of pruning; 0: the dense runs alone
    :param prune_rate: share of the remaining parameters that each round removes, in (0, 1)
    :param rewind: rewind point: ``"timesteps:N"``, ``"episodes:N"``, ``"updates:N"`` (optimizer steps) or ``"init"``;
        a twentieth of the length by default, as the paper's end of epoch 1 of 20. ``"lr"``: the survivors keep
        their trained weights, only the learning rate's schedule restarts; ``"none"``: nor does that
    :param kinds: kinds of ticket, see :data:`lottery_core.KINDS`
    :param seeds: one repeat of everything a seed; SB3 seeds environment i with seed + i, so with many of them
        seeds that lie far apart are the more independent
    :param scope: see :func:`lottery_core.pool_names`; also ``"actor"`` or ``"critic"``
    :param score_episodes: L: the score is the mean return of the last L training episodes
    :param eval_episodes: also evaluate each trained model in so many fresh episodes, in the environment of a model
        that ``make_model`` makes anew
    :param deterministic: evaluate with the best action instead of a sampled one
    :param progress: print how far it is
    :raises LotteryError: a value that cannot work; nothing is written then
    :raises RunError: a run failed, or the rewind point was not reached
    """
    kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    seeds = tuple(seeds) if isinstance(seeds, Iterable) else (seeds,)
    checked: list[tuple[str, object, type | tuple[type, ...]]] = [
        ("total_timesteps", total_timesteps, int),
        ("rounds", rounds, int),
        ("prune_rate", prune_rate, (int, float)),
        ("score_episodes", score_episodes, int),
        ("eval_episodes", eval_episodes, int),
        *(("each seed", seed, int) for seed in seeds),
    ]
    for name, value, kind in checked:
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ConfigError(f"{name} must be a {'number' if name == 'prune_rate' else 'whole number'}, not {value!r}")
    if deterministic and not eval_episodes:
        raise ConfigError("deterministic is for evaluations: it needs eval_episodes")
    if total_timesteps < 1:
        raise ConfigError(f"total_timesteps must be at least 1, not {total_timesteps}")
    # Told in steps of an epoch that divides the length, so that the length stays exact.
    epochs = next(count for count in range(min(_EPOCHS, total_timesteps), 0, -1) if total_timesteps % count == 0)
    word = str(rewind or f"timesteps:{total_timesteps // _EPOCHS}")
    spec = TrainingSpec(
        Point("timesteps", total_timesteps // epochs),
        epochs,
        **rewind_of(word, option="rewind", words=KEPT),
        score_episodes=score_episodes,
    )
    if not seeds:
        raise ConfigError("no seed was given: give at least one")
    model = _make(make_model, seeds[0])
    try:
        check_model(model, spec)
        weights = weights_of(model)
        scope = scope_words(scope, algorithm_of(model))
        pool_names(weights.names(), scope, weights.outside)
        settings = {
            "model": describe_model(model),
            "total_timesteps": total_timesteps,
            "score_episodes": score_episodes,
        }
        if model.seed is None:
            Progress().say(
                "WARNING: make_model makes a model without seed=: give it the seed, or runs cannot be repeated"
            )
    finally:
        if model.env is not None:
            model.env.close()
    evaluation = Evaluation(eval_episodes, deterministic) if eval_episodes else None
    if evaluation is not None:
        settings["evaluation"] = evaluation.as_json()
    experiment = Experiment(
        out=Path(out),
        framework="sb3",
        settings=settings,
        prune_rate=prune_rate,
        rewind=word if spec.rewind is None else str(spec.rewind),
        scope=scope,
        kinds=kinds,
        seeds=seeds,
        rounds=rounds,
        score_label=score_label(score_episodes),
        versions=all_versions({kind.__module__.partition(".")[0] for kind in type(model).__mro__}),
    )
    shown = Progress(quiet=not progress)
    rows = Runner(experiment, Sb3(), _InProcess(experiment.out, make_model, spec, shown, evaluation), shown).run()
    return Found(rows, experiment.out, experiment.score_label, spec.score_episodes)


def _make(make_model: MakeModel, seed: int) -> BaseAlgorithm:
    # Seeds the initialisation even where make_model forgets to pass the seed on.
    set_random_seed(seed)
    try:
        model = make_model(seed)
    except TypeError as error:
        raise ConfigError(f"make_model must be a function of one seed: {error}") from error
    if not isinstance(model, BaseAlgorithm):
        raise ConfigError(f"make_model must return a Stable-Baselines3 model, not {type(model).__name__}")
    return model


class _InProcess:
    """Trains in this process; see :class:`lottery_core.experiments.protocols.Executor`."""

    jobs = 1
    retries = 0

    def __init__(
        self, out: Path, make_model: MakeModel, spec: TrainingSpec, progress: Progress, evaluation: Evaluation | None
    ) -> None:
        self.out, self.make_model, self.spec, self.progress = out, make_model, spec, progress
        self.evaluation = evaluation

    def start(self, run: Run, folder: Path, lock: FolderLock) -> FinishedInProcess:
        def report(state: Mapping[str, Any]) -> None:
            self.progress.status({run: state})

        evaluate = None
        if self.evaluation is not None:
            evaluate = partial(self.evaluation, fresh_env=self._fresh_env, seed=run.seed)
        try:
            train_run(self.out, run, lambda seed: _make(self.make_model, seed), self.spec, report, evaluate)
        except LotteryError:
            raise
        except Exception as error:  # as a run in a process of its own: the runs that do not need it are still done
            raise RunError(f"{type(error).__name__}: {error}") from error
        return FinishedInProcess()

    def adopt(self, run: Run, folder: Path) -> None:
        """None: a run ends with this process."""

    def _fresh_env(self, seed: int) -> VecEnv:
        env = _make(self.make_model, seed).env
        assert env is not None
        return env
