"""One run of an experiment as a process: ``python -m fairseq_lottery.launcher.worker EXPERIMENT/seed-1/dense``."""

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

from fairseq_lottery.argv import value_of, with_user_dir, without
from fairseq_lottery.checkpoint import CheckpointProgress
from fairseq_lottery.launcher.scores import (
    average,
    bleu,
    by_command,
    generate_words,
    log_perplexity,
)
from fairseq_lottery.names import BLEU, LAST, LOG_PPL, TOKENIZED_BLEU
from lottery_core.cli import Parser, run_command
from lottery_core.errors import RunError, WriteError
from lottery_core.experiments import Experiment, Run, Score, dense, paths, write_score
from lottery_core.experiments.executors import die_with
from lottery_core.files import write_json
from lottery_core.pruning import CONTROLS, DENSE

_ERROR = re.compile(r"^[\w.-]+: error: (.+)")
_NO_ROOM = tuple(f"[Errno {number}]" for number in (errno.ENOSPC, errno.EDQUOT))
_START = ("--finetune-from-model", "--continue-once", "--restore-file")
_STATS = re.compile(r"\| (train_inner|train|valid\w*) \| (\{.*\})\s*$")


def training_words(experiment: Experiment, run: Run, out: Path) -> list[str]:
    """The arguments of fairseq-train for ``run``.

    :param experiment: with the user's own arguments
    :param run: dense, of a chain, or a control
    :param out: the experiment's folder
    """
    words = with_user_dir(experiment.settings["arguments"])
    folder = out / run.folder
    words += ["--save-dir", str(folder), "--seed", str(run.seed)]
    if value_of(words, "--log-format") is None:
        words += ["--log-format", "json"]
    count = experiment.settings["average"]
    if count > 1 and value_of(words, "--keep-last-epochs") is None:
        words += ["--keep-last-epochs", str(count)]
    elif count == 1 and "--no-epoch-checkpoints" not in words:
        words += ["--no-epoch-checkpoints"]
    if run.kind == DENSE:
        return [*words, "--rewind-point", experiment.rewind]
    for option in _START:  # the dense run's start; the ticket has its own
        words = without(words, option)
    if run.kind in CONTROLS:
        words += ["--ticket", str(out / run.winning.folder / paths.TICKET), "--ticket-kind", run.kind]
        return [
            *words,
            "--ticket-seed",
            str(run.control_seed),
            "--rewind",
            str(out / dense(run.seed).folder / paths.REWIND),
        ]
    return [*words, "--ticket", str(folder / paths.TICKET)]


def _train(experiment: Experiment, run: Run, out: Path, launcher: str | None) -> None:
    start = [sys.executable] if launcher is None else shlex.split(launcher)
    command = [*start, "-m", "fairseq_cli.train", *training_words(experiment, run, out)]
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
    seen: dict[str, Any] = {}
    for line in process.stdout:
        try:
            sys.stdout.write(line)
        except OSError:  # the disk is full: fairseq itself finds out when it saves
            lost = True
        last = line.strip() or last
        refused = _ERROR.match(line)
        refusal = refused.group(1) if refused else refusal  # torchrun ends with pages of its own
        match = _STATS.search(line)
        if match:
            with suppress(ValueError):  # a line of somebody else's that only looks like one
                seen |= json.loads(match.group(2))
            with suppress(WriteError):
                write_json(out / run.folder / paths.PROGRESS, {"text": _text(seen)})
    if process.wait():
        for part in (out / run.folder).glob("*.pt.tmp"):  # fairseq leaves it, and on a full disk no room to say why
            part.unlink(missing_ok=True)
        if lost:
            print("\n(the disk was full: lines are missing here)")
        at_fault = bool(refusal) or any(code in last for code in _NO_ROOM)
        raise RunError(f"fairseq-train: {(refusal or last)[:400]}", 2 if at_fault else 1)
    if not (out / run.folder / LAST).exists():
        raise RunError(f"fairseq-train ended well, but left no {LAST}: {shlex.join(start)} trained nothing", 2)


def _text(seen: Mapping[str, Any]) -> str:
    parts = [f"epoch {seen['epoch']}"] if "epoch" in seen else []
    for name, label in (("train_num_updates", "updates"), ("num_updates", "updates")):
        if name in seen and not any("updates" in part for part in parts):
            parts.append(f"{seen[name]} {label}")
    for name in ("valid_log_ppl", "valid_bleu", "valid_loss", "log_ppl", "loss"):
        if name in seen:
            parts.append(f"{name.replace('_', ' ', 1)} {seen[name]}")
            break
    return ", ".join(parts)


def _score(experiment: Experiment, folder: Path) -> tuple[float, int]:
    settings = experiment.settings
    arguments = settings["arguments"]
    checkpoint = average(folder, settings["average"])
    if settings["score"] == LOG_PPL:
        return log_perplexity(checkpoint, settings["gen_subset"], "--cpu" in arguments)
    if settings["score"] in (BLEU, TOKENIZED_BLEU):
        reference = settings["reference"]
        words = generate_words(arguments, settings)
        found = bleu(checkpoint, words, folder, None if reference is None else Path(reference))
        print(", ".join(f"{name} {value:.2f}" for name, value in found.items()))
        return found[settings["score"]], 1
    return by_command(settings["score"], checkpoint, folder), 1


def _run(args: argparse.Namespace) -> None:
    out, run = Run.of_folder(args.folder.absolute())
    experiment = Experiment.load(out)
    folder = out / run.folder
    # What is there was found good to go on from when the run was started.
    before = CheckpointProgress.of(folder / LAST) if (folder / LAST).exists() else None
    wall = time.perf_counter() - (before.seconds if before else 0)
    if before and before.at_end:
        print(f"trained before: {before.updates} updates")
    else:
        _train(experiment, run, out, args.launcher)
    if run.kind == DENSE and not (folder / paths.REWIND).exists():
        raise RunError(f"the rewind point {experiment.rewind} was not reached in the dense run")
    value, count = _score(experiment, folder)
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

    :returns: exit status: 0, 1 for a failed training, 2 for bad input
    """
    parser = Parser(prog="fairseq_lottery.launcher.worker", description=__doc__)
    parser.add_argument("folder", type=Path, help="of the run, in an experiment that fairseq-lottery has begun")
    parser.add_argument("--launcher", help="starts the training instead of python")
    args = parser.parse_args(argv)
    return run_command(lambda: _run(args), "fairseq_lottery.launcher.worker")


if __name__ == "__main__":
    sys.exit(main())
