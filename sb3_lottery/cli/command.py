"""The command ``sb3-lottery``: a whole experiment around one agent."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace

from lottery_core.cli import run_command, run_experiment
from lottery_core.errors import ConfigError
from lottery_core.experiments import Experiment, Progress
from lottery_core.experiments.executors import SLURM, make_executor
from lottery_core.tickets import pool_names
from sb3_lottery.cli import analyse as looking
from sb3_lottery.cli.options import experiment_of, parser, resolve, training_spec
from sb3_lottery.cli.preset_list import preset_list
from sb3_lottery.models import (
    ModelSettings,
    check_device,
    check_environment,
    environment_line,
    make_model,
    several_gpus,
    weights_of,
)
from sb3_lottery.training import Sb3, check_model

_A_FEW = 16  # environments


def _preflight(experiment: Experiment, here: bool) -> None:
    # Whatever would fail in the first run fails here, before anything is written.
    settings = ModelSettings.from_json(experiment.settings["model"])
    experiment.check_same_as_before()
    check_environment(settings)
    if here:  # the nodes of a cluster may have what its front end lacks
        check_device(settings.device)
    # On the CPU: a context on a GPU would be held as long as the experiment runs. A thousand emulators take minutes.
    few = replace(settings, device="cpu", n_envs=min(settings.n_envs, _A_FEW))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = make_model(few, experiment.seeds[0])
    try:
        check_model(model, training_spec(experiment), settings.n_envs)
        weights = weights_of(model)
        pool_names(weights.names(), experiment.scope, weights.outside)
    finally:
        assert model.env is not None
        model.env.close()


def _run(args: argparse.Namespace) -> None:
    if args.list_presets:
        print(preset_list())
        return
    values = resolve(vars(args))
    experiment = experiment_of(values)
    if args.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ConfigError("--tensorboard needs TensorBoard, which is not installed: pip install tensorboard")
    framework = Sb3(args.tensorboard)
    gpus = several_gpus(experiment.settings["model"]["device"])
    trainer = make_executor(args, framework.command, experiment.out, gpus)
    _preflight(experiment, args.executor != SLURM)
    settings = ModelSettings.from_json(experiment.settings["model"])
    length = f"{experiment.settings['epochs']} epochs of {experiment.settings['epoch']}"
    lines = (f"environments: {environment_line(settings)}", f"each run: {length}; rewind: {experiment.rewind}")
    for line in (*values.get("notes", ()), *lines):
        Progress(quiet=args.quiet).say(line)
    run_experiment(experiment, framework, trainer, args.dry_run, args.quiet)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``sb3-lottery``.

    :param argv: arguments, ``sys.argv`` when ``None``
    :returns: exit status: 0, 1 for a failed run, 2 for bad input, 130 after Ctrl-C
    """
    words = sys.argv[1:] if argv is None else list(argv)
    if argv is None and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # as python -m has it: --env MODULE:ID may be a file that lies here
    if words and words[0] in looking.COMMANDS:
        return looking.main(words)
    args = parser().parse_args(words)
    return run_command(lambda: _run(args), "sb3-lottery")
