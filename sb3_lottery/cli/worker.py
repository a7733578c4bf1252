"""Train one run of an experiment in its own process: ``python -m sb3_lottery.cli.worker EXPERIMENT/seed-1/dense``."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gymnasium.spaces import Discrete
from stable_baselines3.common.base_class import BaseAlgorithm
from torch.distributions import Distribution

from lottery_core.cli import Parser, run_command
from lottery_core.experiments import LINE, Experiment, Run, Score, dense, paths, write_floor, write_score
from lottery_core.files import counted, write_json
from sb3_lottery.analysis import floor, score_line_of
from sb3_lottery.models import ModelSettings, environment_line, make_env, make_model, with_few_environments
from sb3_lottery.training import RunSettings, train_run


def _train(args: argparse.Namespace) -> None:
    out, run = Run.of_folder(args.folder.absolute())
    experiment = Experiment.load(out)
    settings = RunSettings.of(experiment)
    settings = replace(settings, model=replace(settings.model, env_threads=args.env_threads))
    torch.set_num_threads(settings.threads)
    print(f"environments: {environment_line(settings.model)}")
    if run.kind == LINE:
        _score_line(experiment, run)
        return
    log = str(out / run.folder / "tensorboard") if args.tensorboard else None

    def report(progress: Mapping[str, Any]) -> None:
        print(f"{progress['text']}, {progress['steps']} steps")
        write_json(out / run.folder / paths.PROGRESS, progress)

    def make_fresh(seed: int) -> BaseAlgorithm:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a batch of fewer environments
            return make_model(with_few_environments(settings.model), seed)

    def make(seed: int) -> BaseAlgorithm:
        model = make_model(settings.model, seed, log)
        if settings.start is not None and not run.has_ticket:  # a ticket has its own start
            settings.start.load_into(model, out)
        # Saves up to 8% of the time of A2C, with the same bits. Sampling from a categorical distribution still refuses
        # NaN without this check; sampling from a normal distribution does not.
        Distribution.set_default_validate_args(not isinstance(model.action_space, Discrete))
        return model

    evaluate = None
    if settings.evaluation is not None:
        evaluate = partial(settings.evaluation, fresh_env=partial(make_env, settings.model), seed=run.noise_seed)
    if args.floor and run == dense(experiment.seeds[0]) and not (out / paths.FLOOR).exists():
        _measure_floor(out, settings.model, run.seed)  # first: a kill in it would lose a finished training
    score = train_run(
        out, run, make, settings.training, report, evaluate, seeding=experiment.seeding, make_fresh=make_fresh
    )
    print(f"score {score.score:.6g} ± {score.score_se:.3g} over {counted(score.returns, 'episode')}")
    if score.eval_episodes:
        print(f"evaluation {score.eval_score:.6g} over {score.eval_episodes} fresh episodes")


def _score_line(experiment: Experiment, run: Run) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    line = score_line_of(experiment, run)
    line.write(experiment.out / run.folder)
    wall, cpu = (time.perf_counter() - wall, time.process_time() - cpu)
    write_score(
        experiment.out / run.folder,
        Score(line.barrier, line.error, len(line.scores), wall_seconds=wall, cpu_seconds=cpu),
    )
    print(f"instability {line.barrier:.6g}, worst at {line.shares[line.worst]:.0%} of the way")


def _measure_floor(out: Path, settings: ModelSettings, seed: int) -> None:
    try:
        score, policy, _ = floor(settings, seed)
    except Exception as error:  # a user's environment may raise anything, and its training may be possible without
        print(f"the floor could not be measured: {type(error).__name__}: {error}")
        return
    write_floor(out, score, policy)
    print(f"floor {score.score:.6g} ({policy})")


def main(argv: list[str] | None = None) -> int:
    """Train the run in a given folder.

    :param argv: command-line arguments; ``None`` means those of ``sys.argv``
    :returns: exit status: 0, 1 for a failed training run, 2 for bad input
    """
    parser = Parser(prog="sb3_lottery.cli.worker", description=__doc__)
    parser.add_argument("folder", type=Path, help="the run's folder, in an experiment that sb3-lottery began")
    parser.add_argument("--tensorboard", action="store_true", help="also write TensorBoard files")
    parser.add_argument(
        "--floor", action="store_true", help="also measure the floor, in the dense run of the first seed"
    )
    parser.add_argument("--env-threads", type=int, metavar="N", help="threads that step the environments")
    args = parser.parse_args(argv)
    return run_command(lambda: _train(args), "sb3_lottery.cli.worker")


if __name__ == "__main__":
    sys.exit(main())
