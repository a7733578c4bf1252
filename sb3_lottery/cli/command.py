"""The command ``sb3-lottery``: a whole experiment with one kind of agent."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lottery_core.cli import (
    STABILITY,
    check_ways,
    chosen_of,
    probe_line,
    refuse_ticket_options,
    run_command,
    run_experiment,
    search_lines,
    threshold_of,
    typed_words,
    with_probed_point,
)
from lottery_core.errors import ConfigError
from lottery_core.experiments import (
    Executor,
    Experiment,
    Progress,
    as_kept,
    check_levels,
    dense,
    read_floor,
    read_marker,
    write_floor,
)
from lottery_core.experiments.executors import SLURM, cores, make_executor
from lottery_core.files import counted, first_line
from lottery_core.pruning import PruningSchedule, any_rewinds, check_scope_shares
from lottery_core.reports import stability_report
from sb3_lottery.analysis import floor
from sb3_lottery.backends import GYMNASIUM, step_threads
from sb3_lottery.cli import analyse
from sb3_lottery.cli.options import DEFAULTS, parser, stability_parser
from sb3_lottery.cli.preset_list import MEASURED_WITH, preset_list, seconds_of_a_run
from sb3_lottery.cli.presets import PRESETS
from sb3_lottery.cli.request import Request, probe_request, request_of
from sb3_lottery.layers import units_of
from sb3_lottery.models import (
    ModelSettings,
    check_device,
    check_environment,
    environment_line,
    make_model,
    several_gpus,
    weights_of,
    with_few_environments,
)
from sb3_lottery.training import (
    Sb3,
    check_model,
    check_points,
    check_room,
    early_rewind,
    new_statistics,
    whole_rollouts,
)

_CORES_OF_A_JOB = 16  # of a cluster, at most, where nobody says how many


def _preflight(request: Request, here: bool, given: Mapping[str, Any]) -> list[str]:
    # Raises the errors that would stop the first run, before anything is written; returns warnings.
    experiment, settings = request.experiment, request.settings.model
    experiment.check_same_as_before()
    check_environment(settings)
    if here:  # the nodes of a cluster may have a GPU that its front end lacks
        check_device(settings.device)
    # On the CPU: this process would hold a context on the GPU during the whole experiment.
    few = replace(with_few_environments(settings), device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = make_model(few, experiment.seeds[0])
    try:
        training = request.settings.training
        check_model(model, training, settings.n_envs)
        points = () if experiment.probed is None else experiment.probed.points
        same = check_points(model, training, points, settings.n_envs)
        if request.settings.start is not None:
            request.settings.start.load_into(model, experiment.out)
        weights = weights_of(model)
        check_scope_shares(experiment.scope_shares, weights.pool(experiment.scope), weights.tensors)
        layout = units_of(model, weights, experiment.scope, experiment.granularity)
        check = partial(check_levels, weights=weights, layout=layout)
        carried = check_ways(given.get("budget"), experiment, chosen_of(given), check)
        schedule = PruningSchedule.parse(experiment.gradual)
        check_room(model, training, experiment.kinds, schedule, experiment.search, settings.n_envs)
        longer = whole_rollouts(model, training.length, settings.n_envs)
        rewound = early_rewind(model, training, settings.n_envs), new_statistics(model, training)
        lines = (experiment.frozen_line(weights), longer, *(rewound if any_rewinds(experiment.kinds) else ()))
        return [*same, *carried, *(line for line in lines if line)]
    finally:
        assert model.env is not None
        model.env.close()


def _run(args: argparse.Namespace) -> None:
    if args.list_presets:
        print(preset_list())
        return
    given = with_probed_point(vars(args), _stability, _check)
    if given is not None:
        _do(argparse.Namespace(**given), request_of(given))


def _stability(given: Mapping[str, Any]) -> None:
    refuse_ticket_options(given)
    request = probe_request(given)
    _do(argparse.Namespace(**given), request, partial(stability_report, threshold=threshold_of(given)))


def _check(given: Mapping[str, Any]) -> None:
    _prepare(argparse.Namespace(**given), request_of(given))


def _prepare(args: argparse.Namespace, request: Request) -> tuple[Sb3, Executor, list[str]]:
    # What trains the runs, and the warnings of everything that is checked before the first one.
    experiment, model = request.experiment, request.settings.model
    if args.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ConfigError("--tensorboard needs TensorBoard, which is not installed: pip install tensorboard")
    told, threads = _env_threads(args, model)
    framework = Sb3(args.tensorboard, told, not args.no_floor)
    cpus = max(args.threads, threads)
    trainer = make_executor(args, framework.command, experiment.out, several_gpus(model.device), cpus, cpus)
    planned = replace(request, experiment=_planned(args, experiment))
    return framework, trainer, _preflight(planned, args.executor != SLURM, vars(args))


def _planned(args: argparse.Namespace, experiment: Experiment) -> Experiment:
    # With the levels that a budget has chosen before.
    return as_kept(experiment, chosen_of(vars(args)), vars(args).get("budget"))


def _do(args: argparse.Namespace, request: Request, finish: Callable[[Path], object] | None = None) -> None:
    experiment, model, training = request.experiment, request.settings.model, request.settings.training
    framework, trainer, warned = _prepare(args, request)
    planned = _planned(args, experiment)
    lines = (
        f"environments: {environment_line(model)}",
        f"each run: {counted(training.epochs, 'epoch')} of {training.epoch}; rewind: {training.rewind_word}",
        *search_lines(planned),
        *([] if experiment.probed is None else [probe_line(experiment)]),
    )
    if request.settings.start is not None and not args.dry_run:
        request.settings.start.remember(experiment.out)
    for line in (*request.notes, *lines, *warned):
        Progress(quiet=args.quiet).say(line)
    stop = vars(args).get("stop_at_floor")
    if stop is not None and not args.no_floor and _lacks_floor(request.experiment):
        if args.dry_run:
            Progress(quiet=args.quiet).say("the command will first measure the floor, without which all runs are shown")
            stop = None
        else:
            _measure_floor(request, args.quiet)
    seconds = _seconds(vars(args), request)
    run_experiment(
        experiment,
        framework,
        trainer,
        args.dry_run,
        args.quiet,
        seconds,
        stop_at_floor=stop,
        budget=vars(args).get("budget"),
        chosen=chosen_of(vars(args)),
        finish=finish,
    )


def _lacks_floor(experiment: Experiment) -> bool:
    # The folder's first dense run measures the floor, unless it is done already, or is none of this command.
    first = experiment.first_seed
    done = read_marker(experiment.out / dense(first).folder, experiment)
    return (done is not None or first not in experiment.seeds) and read_floor(experiment.out) is None


def _measure_floor(request: Request, quiet: bool) -> None:
    experiment, model = request.experiment, request.settings.model
    Progress(quiet=quiet).say("measuring the floor, 100 episodes of each policy that has learned nothing")
    try:
        score, policy, _ = floor(replace(model, device="cpu"), experiment.first_seed)
    except Exception as error:  # a user's environment may raise anything
        reason = first_line(error)
        raise ConfigError(f"cannot measure the floor of '{model.env}' (--no-floor leaves it out): {reason}") from error
    write_floor(experiment.out, score, policy)
    Progress(quiet=quiet).say(f"floor: {score.score:.4g} ({policy})")


def _env_threads(args: argparse.Namespace, model: ModelSettings) -> tuple[int | None, int]:
    # What each run is told (a run that has all cores of its machine or job finds them by itself); and how many it has.
    several = args.executor != SLURM and (args.jobs or 1) > 1
    found = cores() // args.jobs if several else _CORES_OF_A_JOB if args.executor == SLURM else cores()
    threads = model.env_threads or step_threads(model.env_backend, model.env, model.n_envs, found)
    return threads if model.env_threads or (several and model.env_backend != GYMNASIUM) else None, threads


def _seconds(given: Mapping[str, Any], request: Request) -> float | None:
    # The longest duration of a run, from the speed that was measured for the preset's game, network and backend.
    preset = PRESETS.get(given.get("preset", ""))
    if preset is None or any(
        name in given and given[name] != preset.get(name, DEFAULTS.get(name)) for name in MEASURED_WITH
    ):
        return None
    model, training = request.settings.model, request.settings.training
    length = {"epoch": str(training.epoch), "epochs": training.epochs}
    values = {"n_envs": model.n_envs, "hyperparams": model.hyperparams, "env_backend": model.env_backend}
    return seconds_of_a_run({**preset, **length, **values})


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``sb3-lottery``.

    :param argv: arguments; ``None`` is ``sys.argv``
    :returns: exit status: 0, 1 for a failed run, 2 for bad input, 130 after Ctrl-C
    """
    words = typed_words() if argv is None else list(argv)
    if argv is None and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # as with python -m: --env MODULE:ID may name a file in the current folder
    if words and words[0] in analyse.COMMANDS:
        return analyse.main(words)
    if words[:1] == [STABILITY]:
        given = vars(stability_parser().parse_args(words[1:]))
        return run_command(lambda: _stability(given), f"sb3-lottery {STABILITY}")
    own = parser()
    own.commands = (*analyse.COMMANDS, STABILITY)
    args = own.parse_args(words)
    return run_command(lambda: _run(args), "sb3-lottery")
