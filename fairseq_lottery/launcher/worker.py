"""Train and score one run in a process: ``python -m fairseq_lottery.launcher.worker EXPERIMENT/seed-1/dense``."""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fairseq_lottery.argv import FairseqArguments
from fairseq_lottery.checkpoint import CheckpointProgress
from fairseq_lottery.launcher.learning import LearningCurve
from fairseq_lottery.launcher.scores import average, bleu, by_command, generate_arguments, log_perplexity
from fairseq_lottery.names import BLEU, LAST, LOG_PPL, TOKENIZED_BLEU
from lottery_core.cli import Parser, run_command
from lottery_core.errors import RunError, WriteError
from lottery_core.experiments import Experiment, Run, Score, dense, paths, write_score
from lottery_core.experiments.executors import die_with
from lottery_core.files import write_json
from lottery_core.pruning import CONTROLS, DENSE

_ERROR = re.compile(r"^[\w.-]+: error: (.+)")
_NO_ROOM = tuple(f"[Errno {number}]" for number in (errno.ENOSPC, errno.EDQUOT))
# Options that give the dense run its initial weights.
_INITIAL_WEIGHTS = ("--finetune-from-model", "--continue-once", "--restore-file")
_STATS = re.compile(r"\| (train_inner|train|valid\w*) \| (\{.*\})\s*$")


def training_arguments(arguments: FairseqArguments, experiment: Experiment, run: Run, out: Path) -> FairseqArguments:
    """Make the arguments of ``fairseq-train`` for a run.

    :param arguments: the user's own arguments
    :param experiment: the experiment
    :param run: the run: dense, a ticket, or a control
    :param out: folder of the experiment
    """
    folder = out / run.folder
    arguments = arguments.with_user_dir().plus("--save-dir", str(folder), "--seed", str(run.seed))
    if arguments.log_format is None:
        arguments = arguments.plus("--log-format", "json")
    count = experiment.settings["average"]
    if count > 1 and arguments.keep_last_epochs is None:
        arguments = arguments.plus("--keep-last-epochs", str(count))
    elif count == 1 and not arguments.no_epoch_checkpoints:
        arguments = arguments.plus("--no-epoch-checkpoints")
    if run.kind == DENSE:
        return arguments.plus("--rewind-point", experiment.rewind)
    arguments = arguments.without(*_INITIAL_WEIGHTS)  # a ticket has its own
    if run.kind not in CONTROLS:
        return arguments.plus("--ticket", str(folder / paths.TICKET))
    winning, rewind = out / run.winning.folder / paths.TICKET, out / dense(run.seed).folder / paths.REWIND
    arguments = arguments.plus("--ticket", str(winning), "--ticket-kind", run.kind)
    return arguments.plus("--ticket-seed", str(run.control_seed), "--rewind", str(rewind))


def _train(arguments: FairseqArguments, folder: Path, launcher: str | None, curve: LearningCurve) -> None:
    start = [sys.executable] if launcher is None else shlex.split(launcher)
    command = [*start, "-m", "fairseq_cli.train", *arguments.words]
    print(shlex.join(command), flush=True)
    try:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            preexec_fn=die_with(os.getpid()),
        )
    except OSError as error:
        raise RunError(f"cannot start {command[0]}: {error.strerror or error}") from error
    assert process.stdout is not None
    last = refusal = ""
    lost = False
    stats: dict[str, Any] = {}
    for line in process.stdout:
        try:
            sys.stdout.write(line)
        except OSError:  # the disk is full; fairseq itself will fail when it saves
            lost = True
        last = line.strip() or last
        error_line = _ERROR.match(line)
        if error_line:
            refusal = error_line.group(1)  # not always the last line: torchrun adds pages of its own
        match = _STATS.search(line)
        if match:
            with suppress(ValueError, WriteError):  # some other line that only looks like fairseq's
                now = json.loads(match.group(2))
                stats |= now
                curve.add(match.group(1), now)
            with suppress(WriteError):
                write_json(folder / paths.PROGRESS, {"text": _progress_line(stats)})
    if process.wait():
        for part in folder.glob("*.pt.tmp"):  # left by fairseq; on a full disk it leaves no room for an error message
            part.unlink(missing_ok=True)
        if lost:
            print("\n(the disk was full: lines are missing here)")
        at_fault = bool(refusal) or any(code in last for code in _NO_ROOM)
        raise RunError(f"fairseq-train: {(refusal or last)[:400]}", 2 if at_fault else 1)
    if not (folder / LAST).exists():
        raise RunError(f"fairseq-train exited with status 0 but left no {LAST}: {shlex.join(start)} trained nothing", 2)


def _progress_line(stats: Mapping[str, Any]) -> str:
    parts = [f"epoch {stats['epoch']}"] if "epoch" in stats else []
    updates = stats.get("train_num_updates", stats.get("num_updates"))
    if updates is not None:
        parts.append(f"{updates} updates")
    scores = [name for name in ("valid_log_ppl", "valid_bleu", "valid_loss", "log_ppl", "loss") if name in stats]
    parts += [f"{name.replace('_', ' ', 1)} {stats[name]}" for name in scores[:1]]
    return ", ".join(parts)


def _score(arguments: FairseqArguments, settings: Mapping[str, Any], folder: Path) -> tuple[float, int]:
    checkpoint = average(folder, settings["average"])
    if settings["score"] == LOG_PPL:
        return log_perplexity(checkpoint, settings["gen_subset"], arguments.cpu)
    if settings["score"] in (BLEU, TOKENIZED_BLEU):
        reference = settings["reference"]
        generating = generate_arguments(arguments, settings)
        scores = bleu(checkpoint, generating, folder, None if reference is None else Path(reference))
        print(", ".join(f"{name} {value:.2f}" for name, value in scores.items()))
        return scores[settings["score"]], 1
    return by_command(settings["score"], checkpoint, folder), 1


def _run(args: argparse.Namespace) -> None:
    out, run = Run.of_folder(args.folder.absolute())
    experiment = Experiment.load(out)
    arguments = FairseqArguments(experiment.settings["arguments"])
    folder = out / run.folder
    # If there is a checkpoint, the runner has verified that the run may resume from it.
    before = CheckpointProgress.of(folder / LAST) if (folder / LAST).exists() else None
    wall = time.perf_counter() - (before.seconds if before else 0)
    if before and before.at_end:
        print(f"already trained: {before.updates} updates")
    else:
        curve = LearningCurve(folder, before.updates if before else None, not arguments.given("--disable-validation"))
        _train(training_arguments(arguments, experiment, run, out), folder, args.launcher, curve)
    if run.kind == DENSE and not (folder / paths.REWIND).exists():
        raise RunError(f"the rewind point {experiment.rewind} was not reached in the dense run")
    value, count = _score(arguments, experiment.settings, folder)
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    score = Score(
        score=value,
        returns=count,
        steps=CheckpointProgress.of(folder / LAST).updates,
        wall_seconds=time.perf_counter() - wall,
        cpu_seconds=own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime,
    )
    write_score(folder, score)
    print(f"score {value:.6g}")


def main(argv: list[str] | None = None) -> int:
    """Train and score the run whose folder is given.

    :param argv: command line, by default ``sys.argv[1:]``
    :returns: exit status: 0, 1 for a failed training, 2 for bad input
    """
    parser = Parser(prog="fairseq_lottery.launcher.worker", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of a run, in an experiment that fairseq-lottery has started")
    parser.add_argument("--launcher", help="command that starts the training instead of python")
    args = parser.parse_args(argv)
    return run_command(lambda: _run(args), "fairseq_lottery.launcher.worker")


if __name__ == "__main__":
    sys.exit(main())
