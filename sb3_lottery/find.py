"""``find_tickets``: a whole experiment, in this process, with a model that the user's own function makes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from stable_baselines3.common.base_class import BaseAlgorithm

from lottery_core.errors import ConfigError
from lottery_core.experiments import KEPT, Experiment, Point, Progress, Row, Run, Runner, paths
from lottery_core.pruning import check_scope_shares
from lottery_core.reports import plot, table
from sb3_lottery.models import algorithm_of, scope_words, weights_of
from sb3_lottery.training import (
    Evaluation,
    InProcess,
    MakeModel,
    Sb3,
    TrainingSpec,
    all_versions,
    call_make_model,
    check_model,
    describe_model,
    parse_rewind,
    score_label,
)

_EPOCHS = 20  # how often the progress is reported


@dataclass(frozen=True)
class Found:
    """The results of :func:`find_tickets`.

    :param rows: one row per finished run
    :param out: the experiment's folder
    :param score_label: what the score is
    :param score_episodes: L, the number of returns in a score unless fewer episodes ended
    """

    rows: Sequence[Row]
    out: Path
    score_label: str
    score_episodes: int = 1

    def __str__(self) -> str:
        return table(self.rows, self.score_label, self.score_episodes)

    def table(self, file: TextIO | None = None) -> None:
        """Print the table: one line per round, one column per kind.

        :param file: where to print; ``None`` is ``sys.stdout``
        """
        print(self, file=file or sys.stdout)

    def plot(self, path: str | Path) -> Path:
        """Plot the score against the pruned fraction.

        :param path: path of the plot, .png, .pdf or .svg
        :returns: ``path``
        :raises ConfigError: another format
        :raises WriteError: the plot cannot be written
        """
        plot({self.out.resolve().name: self.rows}, path, self.score_label)
        return Path(path)

    def ticket(self, seed: int, kind: str, round: int) -> Path:
        """Return the path of a ticket, for :class:`~sb3_lottery.LotteryCallback`.

        :param seed: seed of the run
        :param kind: kind of ticket
        :param round: round of pruning, from 1
        :raises ConfigError: there is no such ticket
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
    criterion: str = "magnitude",
    scope_shares: str = "together",
) -> Found:
    """Find winning tickets for the model that ``make_model`` makes, and train controls beside them.

    Runs are trained one after the other in this process. Interrupt it any time; repeat the call to resume in the same
    folder. A different model in the same folder is refused, as far as :func:`describe_model` can tell two models apart.

    .. warning::
        Pass ``seed=seed`` to the model, and ``policy_kwargs=dict(ortho_init=False)`` if the algorithm has it: with
        SB3's orthogonal initialisation pruning removes the action head first.

    :param make_model: makes a fresh model with its environment from a seed, a new one in every call
    :param out: the experiment's folder
    :param total_timesteps: length of each training in environment steps
    :param rounds: rounds of pruning; with 0 only the dense runs are trained
    :param prune_rate: share of the remaining parameters that each round removes, in (0, 1)
    :param rewind: rewind point: ``"timesteps:N"``, ``"episodes:N"``, ``"updates:N"`` (optimizer steps) or ``"init"``.
        ``None`` is a twentieth of the length, which corresponds to the paper's end of epoch 1 of 20. With ``"lr"`` the
        survivors keep their trained weights and only the learning rate schedule restarts; with ``"none"`` the schedule
        does not restart either
    :param kinds: kinds of ticket, see :data:`lottery_core.KINDS`
    :param seeds: the whole experiment is repeated for each seed. SB3 seeds environment i with ``seed + i``, so with
        many environments seeds that lie far apart are more independent
    :param scope: see :func:`lottery_core.pool_names`; also ``"actor"`` or ``"critic"``
    :param score_episodes: L: the score is the mean return of the last L training episodes
    :param eval_episodes: also evaluate each trained model in this number of fresh episodes, in the environment of
        another model from ``make_model``
    :param deterministic: evaluate with the best action instead of sampling
    :param progress: print the progress
    :param criterion: how parameters are ranked for pruning, one of :data:`lottery_core.CRITERIA`
    :param scope_shares: ``"together"``: actor and critic are one pool; ``"separate"``: each is pruned at the same rate
    :raises LotteryError: a value that cannot work; then nothing is written
    :raises RunError: a run failed, or the rewind point was not reached
    """
    kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    seeds = tuple(seeds) if isinstance(seeds, Iterable) else (seeds,)
    _check_types(
        total_timesteps=total_timesteps,
        rounds=rounds,
        prune_rate=prune_rate,
        score_episodes=score_episodes,
        eval_episodes=eval_episodes,
        seeds=seeds,
    )
    evaluation = _evaluation(eval_episodes, deterministic)
    spec = _training_spec(total_timesteps, rewind, score_episodes)
    model = _describe(make_model, seeds[0], spec, scope, scope_shares)
    experiment = Experiment(
        out=Path(out),
        framework=Sb3.name,
        settings={
            "model": model.description,
            "total_timesteps": total_timesteps,
            "score_episodes": score_episodes,
            **({} if evaluation is None else {"evaluation": evaluation.as_json()}),
        },
        prune_rate=prune_rate,
        rewind=spec.rewind_word,
        scope=model.scope,
        kinds=kinds,
        seeds=seeds,
        rounds=rounds,
        score_label=score_label(score_episodes),
        versions=all_versions(model.packages),
        criterion=criterion,
        scope_shares=scope_shares,
    )
    shown = Progress(quiet=not progress)
    executor = InProcess(experiment.out, make_model, spec, shown, evaluation)
    rows = Runner(experiment, Sb3(), executor, shown).run()
    return Found(rows, experiment.out, experiment.score_label, score_episodes)


def _check_types(prune_rate: object, seeds: Sequence[object], **whole: object) -> None:
    for name, value in (*whole.items(), *(("each seed", seed) for seed in seeds)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise ConfigError(f"{name} must be a whole number, not {value!r}")
    if not isinstance(prune_rate, (int, float)) or isinstance(prune_rate, bool):
        raise ConfigError(f"prune_rate must be a number, not {prune_rate!r}")
    if not seeds:
        raise ConfigError("no seed was given: give at least one")


def _evaluation(episodes: int, deterministic: bool) -> Evaluation | None:
    if deterministic and not episodes:
        raise ConfigError("deterministic is for evaluations: it needs eval_episodes")
    return Evaluation(episodes, deterministic) if episodes else None


def _training_spec(total_timesteps: int, rewind: str | None, score_episodes: int) -> TrainingSpec:
    if total_timesteps < 1:
        raise ConfigError(f"total_timesteps must be at least 1, not {total_timesteps}")
    # The number of epochs divides the length, so that the length is exact.
    epochs = next(count for count in range(min(_EPOCHS, total_timesteps), 0, -1) if total_timesteps % count == 0)
    word = str(rewind or f"timesteps:{total_timesteps // _EPOCHS}")
    point, rate_restarts = parse_rewind(word, option="rewind", words=KEPT)
    return TrainingSpec(Point("timesteps", total_timesteps // epochs), epochs, point, score_episodes, rate_restarts)


@dataclass(frozen=True)
class _Described:
    """What the experiment needs to know about the user's model.

    :param description: see :func:`describe_model`
    :param scope: words of the scope
    :param packages: packages of the model's classes
    """

    description: dict[str, Any]
    scope: tuple[str, ...]
    packages: set[str]


def _describe(
    make_model: MakeModel, seed: int, spec: TrainingSpec, scope: str | Sequence[str], scope_shares: str
) -> _Described:
    # Makes one model, checks that it can be trained, and closes its environment.
    model: BaseAlgorithm = call_make_model(make_model, seed)
    try:
        check_model(model, spec)
        weights = weights_of(model)
        words = scope_words(scope, algorithm_of(model))
        check_scope_shares(scope_shares, weights.pool(words), weights.tensors)
        description = describe_model(model)
    finally:
        if model.env is not None:
            model.env.close()
    if model.seed is None:
        Progress().say("WARNING: make_model makes a model without seed=: pass the seed, or runs cannot be repeated")
    return _Described(description, words, {kind.__module__.partition(".")[0] for kind in type(model).__mro__})
