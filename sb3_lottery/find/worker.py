"""Train one run of ``find_tickets`` in its own process: ``python -m sb3_lottery.find.worker FOLDER ...``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lottery_core.cli import Parser, run_command
from lottery_core.experiments import Experiment, Run, paths
from lottery_core.files import write_json
from sb3_lottery.find.references import function_named
from sb3_lottery.training import Evaluation, InProcess, spec_of_length


def _train(args: argparse.Namespace) -> None:
    # First, as a script's own folder is: another module of the same name may lie in this folder or be installed.
    sys.path[:] = [*args.path, *(place for place in sys.path if place not in args.path)]
    torch.set_num_threads(args.threads)
    out, run = Run.of_folder(args.folder.absolute())
    experiment = Experiment.load(out)
    settings = experiment.settings
    evaluation = settings.get("evaluation")

    def report(progress: Mapping[str, Any]) -> None:
        print(f"{progress['text']}, {progress['steps']} steps")
        write_json(out / run.folder / paths.PROGRESS, progress)

    trainer = InProcess(
        out,
        function_named(args.make_model, "--make-model"),
        spec_of_length(
            settings["total_timesteps"], experiment.rewind, settings["score_episodes"], experiment.after_rewind
        ),
        lambda _, progress: report(progress),
        None if evaluation is None else Evaluation(**evaluation),
        None if args.callbacks is None else function_named(args.callbacks, "--callbacks"),
        experiment.seeding,
    )
    trainer.train(run)


def main(argv: list[str] | None = None) -> int:
    """Train the run in a given folder.

    :param argv: command-line arguments; ``None`` means those of ``sys.argv``
    :returns: exit status: 0, 1 for a failed training run, 2 for bad input
    """
    parser = Parser(prog="sb3_lottery.find.worker", description=__doc__)
    parser.add_argument("folder", type=Path, help="the run's folder, in an experiment that find_tickets began")
    parser.add_argument("--make-model", required=True, metavar="MODULE:FUNCTION", help="makes a model from a seed")
    parser.add_argument("--callbacks", metavar="MODULE:FUNCTION", help="makes callbacks from a seed")
    parser.add_argument("--path", action="append", default=[], metavar="DIR", help="where the modules are")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="number of torch threads (1)")
    args = parser.parse_args(argv)
    return run_command(lambda: _train(args), "sb3_lottery.find.worker")


if __name__ == "__main__":
    sys.exit(main())
