"""One run of an experiment, in a process of its own: ``python -m sb3_lottery.cli.worker EXPERIMENT/seed-1/dense``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gymnasium.spaces import Discrete
from stable_baselines3.common.base_class import BaseAlgorithm
from torch.distributions import Distribution

from lottery_core.cli import Parser, run_command
from lottery_core.experiments import Experiment, Run, paths
from lottery_core.files import write_json
from sb3_lottery.cli.options import training_spec
from sb3_lottery.models import ModelSettings, environment_line, make_env, make_model
from sb3_lottery.training import evaluation_of, train_run


def _train(args: argparse.Namespace) -> None:
    out, run = Run.of_folder(args.folder.absolute())
    experiment = Experiment.load(out)
    torch.set_num_threads(experiment.settings["threads"])
    settings = ModelSettings.from_json(experiment.settings["model"])
    print(f"environments: {environment_line(settings)}")
    log = str(out / run.folder / "tensorboard") if args.tensorboard else None

    def report(progress: Mapping[str, Any]) -> None:
        print(f"{progress['text']}, {progress['steps']} steps")
        write_json(out / run.folder / paths.PROGRESS, progress)

    def make(seed: int) -> BaseAlgorithm:
        model = make_model(settings, seed, log)
        # Up to 8% of the time of A2C, and the same bits. Sampling itself still refuses NaN; that of Box would not.
        Distribution.set_default_validate_args(not isinstance(model.action_space, Discrete))
        return model

    spec = training_spec(experiment)
    evaluation = evaluation_of(experiment.settings)
    evaluate = None
    if evaluation is not None:
        evaluate = partial(evaluation, fresh_env=lambda seed: make_env(settings, seed), seed=run.seed)
    score = train_run(out, run, make, spec, report, evaluate)
    print(f"score {score.score:.6g} ± {score.score_se:.3g} over {score.returns} episodes")
    if score.eval_episodes:
        print(f"evaluation {score.eval_score:.6g} over {score.eval_episodes} fresh episodes")


def main(argv: list[str] | None = None) -> int:
    """Train the run whose folder is given.

    :returns: exit status: 0, 1 for a failed training, 2 for bad input
    """
    parser = Parser(prog="sb3_lottery.cli.worker", description=__doc__)
    parser.add_argument("folder", type=Path, help="of the run, in an experiment that sb3-lottery has begun")
    parser.add_argument("--tensorboard", action="store_true", help="also write TensorBoard's files")
    args = parser.parse_args(argv)
    return run_command(lambda: _train(args), "sb3_lottery.cli.worker")


if __name__ == "__main__":
    sys.exit(main())
