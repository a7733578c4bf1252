"""The command ``lottery``: prune, inspect, export, report and status, for tickets of any plugin."""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from lottery_core import dialects
from lottery_core.checkpoints import read_with_facts
from lottery_core.cli.common import Parser, run_command
from lottery_core.cli.hand_pruned import rewind_word
from lottery_core.errors import LotteryError
from lottery_core.experiments import KEPT, NOTHING, Experiment
from lottery_core.experiments.executors import Queue
from lottery_core.files import printable, refuse_inputs
from lottery_core.inference import FORMS, export
from lottery_core.pruning import CRITERIA, check_rate, check_scope_shares, criterion_named, prune
from lottery_core.reports import EFFECT, Asked, parse_effect, parse_margin, report, states
from lottery_core.reports import render as render_status
from lottery_core.reports.page import answered, check_page, subject_of, write_page
from lottery_core.tickets import Ticket, Weights, by_names, describe, equal_bits, network_lines, render, ticket_warnings
from lottery_core.version import VERSION


def _parser() -> Parser:
    parser = Parser(
        prog="lottery", description="Lottery tickets: find one, inspect it, export it, report an experiment."
    )
    parser.add_argument("--version", action="version", version=f"lottery {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_prune(commands.add_parser("prune", help="find the next ticket from two files of weights"))

    inspect = commands.add_parser("inspect", help="show what is in a ticket")
    inspect.add_argument("ticket", type=Path, metavar="TICKET")
    inspect.add_argument("--json", action="store_true", help="print JSON")

    exporting = commands.add_parser("export", help="write a checkpoint that works without this project")
    exporting.add_argument("checkpoint", type=Path, metavar="CKPT", help=_files())
    exporting.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="the file to write")
    forms = "; ".join(f"{form}: {meaning}" for form, meaning in FORMS.items())
    exporting.add_argument("--form", default="plain", metavar="FORM", help=f"form of the output (plain). {forms}")
    exporting.add_argument(
        "--trust", action="store_true", help="run the code that a file brings along, in its pickled objects"
    )

    reporting = commands.add_parser("report", help="answer, table and picture of experiments, finished or not")
    reporting.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="folders of experiments, or files of their rows (results.csv)"
    )
    reporting.add_argument("-o", "--output", type=Path, metavar="PICTURE", help="default, for one RUN: RUN/curve.png")
    reporting.add_argument(
        "--eval",
        action="store_true",
        help="draw the scores of the evaluations instead of those of training (picture: RUN/curve-eval.png)",
    )
    reporting.add_argument("--csv", type=Path, metavar="FILE", help="write all result rows")
    reporting.add_argument("--json", type=Path, metavar="FILE", help="write everything that the answer says, as data")
    reporting.add_argument(
        "--margin",
        metavar="M",
        help="how much worse than dense is as good: a share of the distance from floor to dense (5%%), of the dense "
        "score (dense:1%%), or a difference of scores (score:0.03); the default is the first, dense:1%% for BLEU and "
        "score:0.03 for log perplexity",
    )
    reporting.add_argument(
        "--effect",
        metavar="E",
        help="a difference that would matter, for the number of seeds: a share of the area under the curve, where "
        "dense is 1 and the floor 0 (0.10)",
    )
    reporting.add_argument(
        "--lower-is-better", action="store_true", help="lower scores are better, where the rows do not say so"
    )
    page = "write one page with everything that is known, which needs no network (extra 'html')"
    reporting.add_argument("--html", type=Path, metavar="PAGE", help=page)

    status = commands.add_parser("status", help="which runs are done, running, waiting or failed; the time left")
    status.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of experiments")
    status.add_argument("--all", action="store_true", help="show done and waiting runs as well")
    status.add_argument("--html", type=Path, metavar="PAGE", help=page)
    return parser


def _add_prune(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("trained", type=Path, metavar="TRAINED", help=f"trained weights: {_files()}")
    add("--rewind", type=Path, required=True, metavar="EARLIER", help="weights at the rewind point")
    add("--previous", type=Path, metavar="TICKET", help="the ticket that was trained; its mask is pruned further")
    amount = parser.add_mutually_exclusive_group(required=True)
    amount.add_argument("--rate", type=float, metavar="P", help="share of the remaining parameters to prune")
    amount.add_argument(
        "--fraction", type=float, metavar="F", help="share of the whole pool that is pruned afterwards (one-shot)"
    )
    add(
        "--scope",
        nargs="+",
        default=None,
        metavar="SCOPE",
        help="'all' (default), 'layers' (no embeddings, norms, output layers), 'trainable' (nothing frozen), 'actor' "
        "or 'critic' of an agent, or regular expressions",
    )
    criteria = "; ".join(f"{name}: {criterion.meaning}" for name, criterion in CRITERIA.items())
    ranking = "how parameters are ranked (as for --previous, else magnitude)"
    add("--criterion", metavar="NAME", help=f"{ranking}. {criteria}")
    add(
        "--scope-shares",
        metavar="HOW",
        help="together: all networks are one pool; separate: actor and critic, or encoder and decoder, are each pruned "
        "at the same rate (as for --previous, else together)",
    )
    add("--key", metavar="NAME", help="where the state dict is in files that hold several, e.g. generator")
    add(
        "--rewind-point",
        metavar="WORD",
        help="what EARLIER is, e.g. epoch:1; kept in the ticket (what the files say, else unknown)",
    )
    add("-o", "--output", type=Path, required=True, metavar="TICKET", help="the ticket to write")


def _files() -> str:
    return ", ".join(row.file for row in (*dialects.every()[1:], dialects.every()[0]) if row.file)


def _prune(args: argparse.Namespace) -> None:
    for value, name in ((args.rate, "prune rate"), (args.fraction, "pruned fraction")):
        if value is not None:
            check_rate(value, name)
    if args.criterion is not None:
        criterion_named(args.criterion)
    if args.scope_shares is not None:
        check_scope_shares(args.scope_shares)
    refuse_inputs(args.output, (args.trained, args.rewind, args.previous))
    previous = None if args.previous is None else Ticket.load(args.previous)
    rewind, earlier = read_with_facts(args.rewind, args.key)
    trained, facts = read_with_facts(args.trained, args.key)
    _check_order(args, facts.steps, earlier.steps)
    trained = trained.like(rewind)
    rewind = rewind.like(trained)
    _check_differ(args, trained, rewind)
    scope = None if args.scope is None else by_names(args.scope, trained.tensors)
    if previous is not None:
        _check_previous(previous, trained, scope, args)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ticket = prune(
            trained,
            rewind,
            rate=args.rate,
            fraction=args.fraction,
            previous=previous,
            scope=scope or "all",
            kind="one-shot" if args.fraction is not None and previous is None else None,
            rewind_point=args.rewind_point or rewind_word(args.trained, args.rewind, facts, earlier, previous),
            seed=facts.origin.get("seed") if previous is None else previous.origin.seed,
            criterion=args.criterion,
            scope_shares=args.scope_shares,
        )
    for warning in caught:
        _warn(str(warning.message))
    ticket.save(args.output)
    masks = ticket.masks
    print(
        f"{args.output}: round {ticket.origin.round}, pool {masks.pool:,}, pruned {masks.pruned:,} "
        f"({masks.pruned / masks.pool:.2%}), surviving {masks.surviving:,} ({masks.surviving / masks.pool:.2%})"
    )
    for line in network_lines(ticket):
        print(printable(line))
    for line in ticket_warnings(ticket, str(args.output)):
        _warn(line)


def _check_previous(
    previous: Ticket, trained: Weights, scope: tuple[str, ...] | None, args: argparse.Namespace
) -> None:
    if scope not in (None, previous.origin.scope):
        raise LotteryError(f"--scope cannot change: {args.previous} has scope {' '.join(previous.origin.scope)}")
    if args.criterion not in (None, previous.origin.criterion):
        raise LotteryError(f"--criterion cannot change: {args.previous} has criterion {previous.origin.criterion}")
    if args.scope_shares not in (None, previous.origin.scope_shares):
        raise LotteryError(
            f"--scope-shares cannot change: {args.previous} has scope shares {previous.origin.scope_shares}"
        )
    previous = previous.named_as(trained.tensors)
    previous.require_fit({name: tensor.shape for name, tensor in trained.tensors.items()}, trained.source)
    alive = sum(int(trained.tensors[name][~mask].count_nonzero()) for name, mask in previous.masks.items())
    if alive:
        _warn(f"WARNING: {alive} weights that {args.previous} prunes are not zero in {args.trained}")


def _check_order(args: argparse.Namespace, steps: Mapping[str, int], steps_before: Mapping[str, int]) -> None:
    for unit, count in steps.items():
        before = steps_before.get(unit, count)
        if before > count:
            raise LotteryError(
                f"{args.rewind} was trained longer ({before:,} {unit}) than {args.trained} ({count:,}): --rewind takes "
                "the earlier weights; are the two files swapped?"
            )


def _check_differ(args: argparse.Namespace, trained: Weights, rewind: Weights) -> None:
    if args.rewind_point in KEPT:
        return
    same = trained.tensors.keys() == rewind.tensors.keys() and all(
        equal_bits(value, rewind.tensors[name]) for name, value in trained.tensors.items()
    )
    if same:
        raise LotteryError(
            f"{args.trained} and {args.rewind} hold the same weights: --rewind takes weights from an earlier point "
            f"of training (with --rewind-point {NOTHING} the survivors keep their trained weights)"
        )


def _warn(line: str) -> None:
    print(line, file=sys.stderr)


def _inspect(args: argparse.Namespace) -> None:
    ticket = Ticket.load(args.ticket)
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    print(json.dumps(describe(ticket), indent=2) if args.json else render(ticket, colour))


def _export(args: argparse.Namespace) -> None:
    print(f"{args.output}: {export(args.checkpoint, args.output, args.form, args.trust)}")


def _report(args: argparse.Namespace) -> None:
    asked = Asked(
        None if args.margin is None else parse_margin(args.margin),
        EFFECT if args.effect is None else parse_effect(args.effect),
        True if args.lower_is_better else None,
    )
    if args.html is not None:
        check_page(args.html, args.runs)
    report(args.runs, args.output, args.csv, args.eval, asked, args.json)
    _write_page(args, Queue(), asked)


def _write_page(args: argparse.Namespace, queue: Queue, asked: Asked | None = None) -> None:
    if args.html is not None:
        write_page(args.html, [answered(subject_of(run, queue.state), asked) for run in args.runs])
        print(f"page: {args.html}")


def _status(args: argparse.Namespace) -> None:
    if args.html is not None:
        check_page(args.html, args.runs)
    queue = Queue()
    for run in args.runs:
        experiment = Experiment.load(run)
        print(render_status(str(run), states(experiment, queue.state), args.all))
    _write_page(args, queue)


_COMMANDS = {"prune": _prune, "inspect": _inspect, "export": _export, "report": _report, "status": _status}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command ``lottery``.

    :param argv: command-line arguments; ``None`` means those of ``sys.argv``
    :returns: exit status: 0, or 2 for bad input
    """
    args = _parser().parse_args(argv)
    return run_command(lambda: _COMMANDS[args.command](args), "lottery")
