"""The command ``lottery``: prune, inspect, export and report, for tickets of any plugin."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lottery_core.cli.common import Parser, run_command
from lottery_core.errors import LotteryError
from lottery_core.version import VERSION

if TYPE_CHECKING:
    from lottery_core.tickets import Weights


def _parser() -> Parser:
    parser = Parser(prog="lottery", description="Lottery tickets: find one, look into one, report an experiment.")
    parser.add_argument("--version", action="version", version=f"lottery {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    prune = commands.add_parser("prune", help="find the next ticket from two files of weights")
    prune.add_argument(
        "trained",
        type=Path,
        metavar="TRAINED",
        help="trained weights: fairseq checkpoint, SB3 zip, torch file, safetensors",
    )
    prune.add_argument("--rewind", type=Path, required=True, metavar="EARLIER", help="weights at the rewind point")
    prune.add_argument("--previous", type=Path, metavar="TICKET", help="the ticket that was trained; its mask goes on")
    how = prune.add_mutually_exclusive_group(required=True)
    how.add_argument("--rate", type=float, metavar="P", help="share of the remaining parameters to remove")
    how.add_argument(
        "--fraction", type=float, metavar="F", help="share of the whole pool to be pruned in all (one-shot)"
    )
    prune.add_argument(
        "--scope",
        nargs="+",
        default=None,
        metavar="SCOPE",
        help="'all' (default), 'layers' (no embeddings, norms, output layers), of SB3 'actor' or 'critic', or regular "
        "expressions",
    )
    prune.add_argument("--rewind-point", default="unknown", metavar="WORD", help="what EARLIER is, e.g. epoch:1; noted")
    prune.add_argument("-o", "--output", type=Path, required=True, metavar="TICKET", help="the ticket to write")

    inspect = commands.add_parser("inspect", help="what is in a ticket")
    inspect.add_argument("ticket", type=Path, metavar="TICKET")
    inspect.add_argument("--json", action="store_true", help="as JSON")

    export = commands.add_parser("export", help="a checkpoint without this project: plain, smaller, or sparse")
    export.add_argument(
        "checkpoint", type=Path, metavar="CKPT", help="a fairseq checkpoint, or the zip of an SB3 model"
    )
    export.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="the file to write")
    export.add_argument(
        "--form",
        default="plain",
        metavar="FORM",
        help="plain (default): names only what is the framework's own; shrunk: also without units that are dead; "
        "csr: a ticket's size, for lottery_core.load_sparse",
    )

    report = commands.add_parser("report", help="table and picture of experiments, finished or not")
    report.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of experiments")
    report.add_argument("-o", "--output", type=Path, metavar="PICTURE", help="default: RUN/curve.png, for one RUN")
    report.add_argument("--eval", action="store_true", help="draw the evaluations' scores instead of the training's")
    report.add_argument("--csv", type=Path, metavar="FILE", help="write all result rows")

    status = commands.add_parser("status", help="which runs are done, running, waiting or failed; the time left")
    status.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of experiments")
    status.add_argument("--all", action="store_true", help="show done and waiting runs, too")
    return parser


def _status(args: argparse.Namespace) -> None:
    from lottery_core.experiments import Experiment
    from lottery_core.experiments.executors import Queue
    from lottery_core.reports import render, states

    queue = Queue()
    for run in args.runs:
        experiment = Experiment.load(run)
        print(render(str(run), states(experiment, queue.state), args.all))


def _prune(args: argparse.Namespace) -> None:
    from lottery_core.checkpoints import read_weights
    from lottery_core.pruning import check_rate, prune
    from lottery_core.tickets import Ticket, by_names

    for value, name in ((args.rate, "prune rate"), (args.fraction, "pruned fraction")):
        if value is not None:
            check_rate(value, name)
    previous = None if args.previous is None else Ticket.load(args.previous)
    rewind = read_weights(args.rewind)
    trained = read_weights(args.trained).without_lost_aliases(rewind)
    scope = None if args.scope is None else by_names(args.scope, trained.tensors)
    if previous is not None and scope not in (None, previous.origin.scope):
        raise LotteryError(f"--scope cannot change: {args.previous} has scope {' '.join(previous.origin.scope)}")
    if previous is not None:
        previous.require_fit({name: tensor.shape for name, tensor in trained.tensors.items()}, trained.source)
        alive = sum(int(trained.tensors[name][~mask].count_nonzero()) for name, mask in previous.masks.items())
        if alive:
            print(
                f"WARNING: {alive} weights that {args.previous} prunes are not zero in {args.trained}", file=sys.stderr
            )
    if previous is None:
        _warn_of_zeros(trained, rewind, args)
    ticket = prune(
        trained,
        rewind,
        rate=args.rate,
        fraction=args.fraction,
        previous=previous,
        scope=scope or "all",
        kind="one-shot" if args.fraction is not None and previous is None else None,
        rewind_point=args.rewind_point,
        seed=None if previous is None else previous.origin.seed,
    )
    ticket.save(args.output)
    masks = ticket.masks
    print(
        f"{args.output}: round {ticket.origin.round}, pool {masks.pool:,}, pruned {masks.pruned:,} "
        f"({masks.pruned / masks.pool:.2%}), surviving {masks.surviving:,} ({masks.surviving / masks.pool:.2%})"
    )
    _warn_of_collapse(masks.collapsed(), str(args.output))


def _warn_of_zeros(trained: Weights, rewind: Weights, args: argparse.Namespace) -> None:
    # A network that was trained as a ticket, pruned without it, would give the same ticket again.
    pairs = [(value, rewind.tensors.get(name)) for name, value in trained.tensors.items()]
    dead = sum(
        int(((value == 0) & (early != 0)).sum())
        for value, early in pairs
        if early is not None and early.shape == value.shape
    )
    if dead:
        print(
            f"WARNING: {dead:,} weights of {args.trained} are exactly 0, and not in {args.rewind}: if it has trained a "
            "ticket, give that, --previous TICKET, or its weights are pruned again instead of others",
            file=sys.stderr,
        )


def _warn_of_collapse(names: Sequence[str], where: str) -> None:
    from lottery_core.tickets import collapse_warning

    for name in names:
        print(collapse_warning(name, where), file=sys.stderr)


def _inspect(args: argparse.Namespace) -> None:
    from lottery_core.tickets import Ticket, describe, render

    ticket = Ticket.load(args.ticket)
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    print(json.dumps(describe(ticket), indent=2) if args.json else render(ticket, colour))


def _export(args: argparse.Namespace) -> None:
    from lottery_core.inference import export

    print(f"{args.output}: {export(args.checkpoint, args.output, args.form)}")


def _report(args: argparse.Namespace) -> None:
    from lottery_core.reports import report

    report(args.runs, args.output, args.csv, args.eval)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``lottery``.

    :param argv: arguments, ``sys.argv`` when ``None``
    :returns: exit status: 0, 2 for bad input
    """
    args = _parser().parse_args(argv)
    commands = {"prune": _prune, "inspect": _inspect, "export": _export, "report": _report, "status": _status}
    return run_command(lambda: commands[args.command](args), "lottery")
