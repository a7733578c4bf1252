"""``sb3-lottery play``, ``inputs`` and ``floor``: analyse a finished run, or the game of an experiment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lottery_core.cli import Parser, add_trust, run_command
from lottery_core.errors import ConfigError
from lottery_core.experiments import Experiment, paths, write_floor
from lottery_core.pruning import WINNING
from sb3_lottery.analysis import (
    FinishedRun,
    feature_names,
    floor,
    input_features,
    play_episodes,
    require_own_experiment,
)
from sb3_lottery.training import RunSettings, Sb3, saved_model


def _parser(command: str, description: str) -> Parser:
    parser = Parser(prog=f"sb3-lottery {command}", description=description)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of an experiment")
    parser.add_argument("--kind", default=WINNING, metavar="KIND", help="kind of ticket, or dense (winning)")
    parser.add_argument("--round", type=int, metavar="N", help="round (the last finished round)")
    parser.add_argument("--seed", type=int, metavar="SEED", help="seed (the first seed)")
    parser.add_argument(
        "--make-model", metavar="MODULE:FUNCTION", help="for folders of find_tickets: the function that makes the model"
    )
    add_trust(parser)
    return parser


def _play_parser() -> Parser:
    parser = _parser("play", "Show or record a trained agent.")
    parser.add_argument("--episodes", type=int, default=1, metavar="N", help="number of episodes (1)")
    parser.add_argument("--deterministic", action="store_true", help="take the best action instead of sampling")
    parser.add_argument("-o", "--output", type=Path, metavar="VIDEO", help=".mp4 or .gif (a window on the screen)")
    return parser


def _play(argv: Sequence[str]) -> None:
    args = _play_parser().parse_args(argv)
    finished = FinishedRun.of(args.run, args.kind, args.round, args.seed, args.make_model, args.trust)
    returns = play_episodes(finished, args.episodes, args.deterministic, args.output)
    print(f"{finished.run}: return {', '.join(f'{value:g}' for value in returns)}")
    if args.output is not None:
        print(f"video: {args.output}")


def _inputs_parser() -> Parser:
    return _parser("inputs", "List how many weights of a ticket still read each input.")


def _inputs(argv: Sequence[str]) -> None:
    args = _inputs_parser().parse_args(argv)
    finished = FinishedRun.of(args.run, args.kind, args.round, args.seed, args.make_model, args.trust)
    model = finished.model()
    space, action = model.observation_space, model.action_space
    names = feature_names(space, finished.settings.env)
    masks = finished.ticket().masks
    features = input_features(masks, names, action.shape[0] if action.shape else 0)
    if not features or not features[0].total:
        raise ConfigError(f"no layer of this ticket reads the observation {space} number by number")
    print(f"{finished.run}: surviving {masks.surviving / masks.pool:.2%} of {masks.pool:,}")
    width = max(map(len, names))
    for feature in features:
        mark = "  LOST" if feature.lost else ""
        print(f"{feature.name:{width}}  {feature.surviving:8,} of {feature.total:8,}{mark}")
    lost = [feature.name for feature in features if feature.lost]
    print(f"lost: {', '.join(lost) if lost else 'none'}")


def _floor_parser() -> Parser:
    parser = Parser(prog="sb3-lottery floor", description="Measure what an agent scores that has learned nothing.")
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of an experiment; its report then has this floor")
    parser.add_argument("--episodes", type=int, default=100, metavar="N", help="episodes of each policy (100)")
    add_trust(parser)
    return parser


def _floor(argv: Sequence[str]) -> None:
    args = _floor_parser().parse_args(argv)
    experiment = Experiment.load(args.run)
    if experiment.framework != Sb3.name or saved_model(Sb3.name, experiment.settings) is None:
        raise ConfigError(
            f"{args.run} is not an experiment of sb3-lottery, so its environments cannot be made from its settings "
            "(find_tickets measures the floor itself, floor=True)"
        )
    if not args.trust:
        require_own_experiment(args.run)
    score, policy, means = floor(RunSettings.of(experiment).model, experiment.seeds[0], args.episodes)
    for name, mean in means.items():
        print(f"{name}: {mean:.4g}")
    write_floor(args.run, score, policy)
    print(f"floor: {score.score:.4g} ({policy}), in {args.run / paths.FLOOR}")


def parsers() -> dict[str, Parser]:
    """Return the parsers of the subcommands by the words that call them."""
    return {parser.prog: parser for parser in (_play_parser(), _inputs_parser(), _floor_parser())}


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {"play": _play, "inputs": _inputs, "floor": _floor}


def main(argv: Sequence[str]) -> int:
    """Run a subcommand of ``sb3-lottery``.

    :param argv: name of the subcommand, one of :data:`COMMANDS`, followed by its arguments
    :returns: exit status: 0, 2 for bad input, 130 after Ctrl-C
    """
    return run_command(lambda: COMMANDS[argv[0]](argv[1:]), f"sb3-lottery {argv[0]}")
