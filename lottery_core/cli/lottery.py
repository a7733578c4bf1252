"""The command ``lottery``: prune, inspect, export, report and status, for tickets of any plugin."""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from lottery_core.checkpoints import Facts, read_with_facts
from lottery_core.cli.common import run_command
from lottery_core.cli.doctor import doctor
from lottery_core.cli.hand_pruned import rewind_word
from lottery_core.cli.lottery_options import parser
from lottery_core.errors import CheckpointError, LotteryError
from lottery_core.experiments import KEPT, NOTHING, Experiment
from lottery_core.experiments.executors import Queue
from lottery_core.files import printable, refuse_inputs
from lottery_core.inference import OPTIONS, export
from lottery_core.pruning import INIT, check_granularity, check_rate, check_scope_shares, criterion_named, prune
from lottery_core.reports import EFFECT, Asked, parse_effect, parse_margin, refuse_probes, report, states
from lottery_core.reports import render as render_status
from lottery_core.reports.page import answered, check_page, subject_of, write_page
from lottery_core.tickets import (
    Ticket,
    Weights,
    asked_lines,
    by_names,
    describe,
    equal_bits,
    network_lines,
    render,
    ticket_warnings,
)


def _read_both(rewind: Path, trained: Path, key: str | None) -> list[tuple[Weights, Facts]]:
    # The key may be of one file, if the other has a single state dict.
    found: dict[Path, tuple[Weights, Facts]] = {}
    for path in (rewind, trained):
        try:
            found[path] = read_with_facts(path, key)
        except CheckpointError:
            if key is None:
                raise
    if not found:
        return [read_with_facts(path, key) for path in (rewind, trained)]  # raises what is wrong
    return [found[path] if path in found else read_with_facts(path) for path in (rewind, trained)]


def _prune(args: argparse.Namespace) -> None:
    for value, name in ((args.rate, "prune rate"), (args.fraction, "pruned fraction")):
        if value is not None:
            check_rate(value, name)
    if args.criterion is not None:
        criterion_named(args.criterion)
    if args.scope_shares is not None:
        check_scope_shares(args.scope_shares)
    if args.granularity is not None:
        check_granularity(args.granularity)
    refuse_inputs(args.output, (args.trained, args.rewind, args.previous))
    previous = None if args.previous is None else Ticket.load(args.previous)
    (rewind, earlier), (trained, facts) = _read_both(args.rewind, args.trained, args.key)
    _check_order(args, facts.steps, earlier.steps)
    trained = trained.like(rewind)
    rewind = rewind.like(trained)
    _check_differ(args, trained, rewind)
    scope = None if args.scope is None else by_names(args.scope, trained.tensors)
    if previous is not None:
        _check_previous(previous, scope, args)
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
            granularity=args.granularity,
        )
    for warning in caught:
        _warn(str(warning.message))
    ticket.save(args.output)
    masks = ticket.masks
    print(
        f"{args.output}: round {ticket.origin.round}, pool {masks.pool:,}, pruned {masks.pruned:,} "
        f"({masks.pruned / masks.pool:.2%}), surviving {masks.surviving:,} ({masks.surviving / masks.pool:.2%})"
    )
    for line in (*asked_lines(ticket), *network_lines(ticket)):
        print(printable(line))
    for line in ticket_warnings(ticket, str(args.output)):
        _warn(line)


def _check_previous(previous: Ticket, scope: tuple[str, ...] | None, args: argparse.Namespace) -> None:
    if scope not in (None, previous.origin.scope):
        raise LotteryError(f"--scope cannot change: {args.previous} has scope {' '.join(previous.origin.scope)}")
    if args.criterion not in (None, previous.origin.criterion):
        raise LotteryError(f"--criterion cannot change: {args.previous} has criterion {previous.origin.criterion}")
    if args.scope_shares not in (None, previous.origin.scope_shares):
        raise LotteryError(
            f"--scope-shares cannot change: {args.previous} has scope shares {previous.origin.scope_shares}"
        )
    if args.granularity not in (None, previous.origin.granularity):
        raise LotteryError(
            f"--granularity cannot change: {args.previous} has granularity {previous.origin.granularity}"
        )


def _check_order(args: argparse.Namespace, steps: Mapping[str, int], steps_before: Mapping[str, int]) -> None:
    for unit, count in steps.items():
        before = steps_before.get(unit, count)
        if before > count:
            if args.rewind_point is not None:  # whoever names it knows which file is which
                _warn(
                    f"WARNING: {args.rewind} was trained longer ({before:,} {unit}) than {args.trained} ({count:,}), "
                    "unless the training counted from 0 again (fine-tuning)"
                )
                return
            raise LotteryError(
                f"{args.rewind} was trained longer ({before:,} {unit}) than {args.trained} ({count:,}): --rewind takes "
                "the earlier weights; are the two files swapped? If the training counted from 0 again (fine-tuning), "
                f"say what the earlier weights are: --rewind-point {INIT}"
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
    options = {name: getattr(args, name) for name in OPTIONS}
    done = export(args.checkpoint, args.output, args.form, args.trust, **options)
    print(f"{args.output}: {printable(done, 4_000)}")


def _report(args: argparse.Namespace) -> None:
    asked = Asked(
        None if args.margin is None else parse_margin(args.margin),
        EFFECT if args.effect is None else parse_effect(args.effect),
        True if args.lower_is_better else None,
    )
    if args.html is not None:
        refuse_probes(args.runs)
        check_page(args.html, args.runs)
    report(args.runs, args.output, args.csv, args.eval, asked, args.json, args.html)
    _write_page(args, Queue(), asked, args.eval)


def _write_page(args: argparse.Namespace, queue: Queue, asked: Asked | None = None, evaluations: bool = False) -> None:
    if args.html is not None:
        write_page(args.html, [answered(subject_of(run, queue.shown), asked, evaluations) for run in args.runs])
        print(f"page: {args.html}")


def _status(args: argparse.Namespace) -> None:
    if args.html is not None:
        refuse_probes(args.runs)
        check_page(args.html, args.runs)
    queue = Queue()
    for run in args.runs:
        experiment = Experiment.load(run)
        print(render_status(str(run), states(experiment, queue.shown), args.all))
    _write_page(args, queue)


def _doctor(args: argparse.Namespace) -> int:
    return doctor()


_COMMANDS = {
    "prune": _prune,
    "inspect": _inspect,
    "export": _export,
    "report": _report,
    "status": _status,
    "doctor": _doctor,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command ``lottery``.

    :param argv: command-line arguments; ``None`` means those of ``sys.argv``
    :returns: exit status: 0, or 2 for bad input
    """
    args = parser().parse_args(argv)
    return run_command(lambda: _COMMANDS[args.command](args), "lottery")
