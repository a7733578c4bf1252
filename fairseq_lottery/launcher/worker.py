"""Train and score one run in a process: ``python -m fairseq_lottery.launcher.worker EXPERIMENT/seed-1/dense``."""

from __future__ import annotations

import argparse
import errno
import json
import math
import os
import re
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from fairseq_lottery.argv import FairseqArguments
from fairseq_lottery.checkpoint import CheckpointProgress
from fairseq_lottery.launcher.learning import LearningCurve
from fairseq_lottery.launcher.options import import_user_dir
from fairseq_lottery.launcher.pretrained import require_same_files
from fairseq_lottery.launcher.scoring import measure_floor, score_line_of, score_run
from fairseq_lottery.launcher.training import begins_late, training_arguments, training_command
from fairseq_lottery.names import LAST
from fairseq_lottery.task import Beginning
from lottery_core.checkpoints import read_weights
from lottery_core.cli import Parser, run_command
from lottery_core.errors import RunError, WriteError
from lottery_core.experiments import (
    KEPT,
    LINE,
    Experiment,
    Run,
    Score,
    dense,
    floor_scoring,
    paths,
    prune_in_training,
    read_marker,
    start_folder,
    write_floor,
    write_score,
)
from lottery_core.experiments.executors import die_with, hide_gpus
from lottery_core.files import read_object, write_json
from lottery_core.pruning import IN_TRAINING
from lottery_core.tickets import Weights

_ERROR = re.compile(r"^[\w.-]+: error: (.+)")
_NO_ROOM = tuple(f"[Errno {number}]" for number in (errno.ENOSPC, errno.EDQUOT))
_COST = ("steps", "rewind_steps", "wall_seconds", "cpu_seconds")  # values that a run keeps when it is scored again
_STATS = re.compile(r"\| ([^|\s]+) \| (\{.*\})\s*$")  # of the training, or of the validation subset of that name


def _train(arguments: FairseqArguments, folder: Path, launcher: str | None, curve: LearningCurve) -> None:
    command = training_command(arguments, launcher)
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
            refusal = error_line.group(1)  # not always the last line: torchrun adds its own output
        tag, now = _stats_of(line)
        if now:
            stats |= now
            with suppress(WriteError):
                curve.add(tag, now)
            with suppress(WriteError):
                write_json(folder / paths.PROGRESS, {"text": _progress_line(stats, curve.subset)})
    status = process.wait()
    if status:
        for part in folder.glob("*.pt.tmp"):  # left by fairseq; on a full disk it leaves no room for an error message
            part.unlink(missing_ok=True)
        if lost:
            print("\n(the disk was full: lines are missing here)")
        # A launcher such as torchrun has its own exit status.
        at_fault = bool(refusal) and (status != 1 or launcher is not None)
        at_fault = at_fault or any(code in last for code in _NO_ROOM)
        raise RunError(f"fairseq-train: {(refusal or last)[:400]}", 2 if at_fault else 1)
    if not (folder / LAST).exists():
        start = launcher or sys.executable
        raise RunError(f"fairseq-train exited with status 0 but left no {LAST}: {start} trained nothing", 2)


def _stats_of(line: str) -> tuple[str, dict[str, Any]]:
    # Of a line of the log: what the statistics are of, and the statistics; empty for any other line.
    match = _STATS.search(line)
    try:
        stats = json.loads(match.group(2)) if match else {}
    except ValueError:  # another line that only looks like it, such as fairseq's configuration
        stats = {}
    named = match is not None and ("epoch" in stats or f"{match.group(1)}_num_updates" in stats)
    return (match.group(1), stats) if match and named else ("", {})


def _progress_line(stats: Mapping[str, Any], subset: str) -> str:
    parts = [f"epoch {stats['epoch']}"] if "epoch" in stats else []
    updates = stats.get("train_num_updates", stats.get("num_updates"))
    if updates is not None:
        parts.append(f"{updates} updates")
    names = {f"{subset}_{measure}": f"{subset} {measure}" for measure in ("log_ppl", "bleu", "loss")}
    names |= {"log_ppl": "log ppl", "loss": "loss"}
    parts += [f"{title} {stats[name]}" for name, title in names.items() if name in stats][:1]
    return ", ".join(parts)


def _run(args: argparse.Namespace) -> None:
    out, run = Run.of_folder(args.folder.absolute())
    experiment = Experiment.load(out)
    arguments = FairseqArguments(experiment.settings["arguments"])
    if arguments.cpu:
        hide_gpus()
    import_user_dir(arguments)
    folder = out / run.folder
    if run.kind == LINE:
        _score_line(experiment, run)
        return
    done = read_marker(folder)
    if done is not None:
        write_score(folder, replace(_score(experiment, folder), **{name: getattr(done, name) for name in _COST}))
        _measure_floor(experiment, run, (out / paths.FLOOR).exists())
        return
    # If there is a checkpoint, the runner has verified that the run may resume from it.
    before = CheckpointProgress.of(folder / LAST) if (folder / LAST).exists() else None
    wall = time.perf_counter()
    if before and before.at_end:
        print(f"already trained: {before.updates} updates")
    else:
        if not run.has_ticket and before is None:
            require_same_files(experiment)
        words = training_arguments(arguments, experiment, run, out)
        Path(words.value("--log-file") or folder).parent.mkdir(parents=True, exist_ok=True)  # fairseq does not
        if run.kind in IN_TRAINING:
            prune_in_training(out, run)[0].save(folder / paths.START)
            if before is None:  # an earlier training of this run may have left one
                (folder / paths.TICKET).unlink(missing_ok=True)
        curve = LearningCurve(folder, before.updates if before else None, not arguments.given("--disable-validation"))
        _train(words, folder, args.launcher, curve)
    if run.kind in IN_TRAINING:
        if not (folder / paths.TICKET).exists():
            raise RunError(f"the training ended before the last step of pruning, so there is no {run.kind} ticket", 2)
        (folder / paths.START).unlink(missing_ok=True)
    if not run.has_ticket and experiment.rewind in KEPT:  # used by tickets, and by some controls
        read_weights(folder / LAST).like(Weights.load(folder / paths.INIT)).save(folder / paths.REWIND)
    if not run.has_ticket and not (folder / paths.REWIND).exists():
        raise RunError(f"the rewind point {experiment.rewind} was not reached in the dense run")
    score = _searched(experiment, run, folder) if run.search else _score(experiment, folder)
    rewind = out / start_folder(run) / paths.REWIND
    before_rewind = Beginning.beside(rewind).updates if (rewind.parent / paths.REWIND_COUNTS).exists() else None
    earlier = (before_rewind or 0) if begins_late(experiment, run) else 0
    wall_seconds, cpu_seconds = _with_earlier(time.perf_counter() - wall, _cpu_seconds(), before)
    score = replace(
        score,
        steps=CheckpointProgress.of(folder / LAST).updates - earlier,
        rewind_steps=before_rewind if not run.has_ticket else None,
        wall_seconds=wall_seconds,
        cpu_seconds=cpu_seconds,
    )
    write_score(folder, score)
    _measure_floor(experiment, run, args.floor)


def _cpu_seconds() -> float:
    # Of this process and of all that it has waited for.
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def _with_earlier(wall: float, cpu: float, before: CheckpointProgress | None) -> tuple[float, float]:
    # A killed process leaves no CPU time behind: it is taken to have kept as many CPUs busy as this one, at least one.
    earlier = before.seconds if before else 0.0
    return wall + earlier, cpu + earlier * max(1.0, cpu / max(wall, 1e-9))


def _measure_floor(experiment: Experiment, run: Run, wanted: bool) -> None:
    # Once for each scoring, by the dense run of the first seed, whose checkpoint and initial weights are there.
    if not wanted or run != dense(experiment.seeds[0]) or floor_scoring(experiment.out) == experiment.scoring_text:
        return
    try:
        found = measure_floor(experiment, experiment.out / run.folder)
    except Exception as error:  # a user's task or model may raise anything, and the run has been trained
        print(f"the floor could not be measured: {type(error).__name__}: {error}")
        return
    if found is not None:
        write_floor(experiment.out, *found)
        print(f"floor {found[0].score:.6g} ({found[1]})")


def _score_line(experiment: Experiment, run: Run) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    line = score_line_of(experiment, run)
    line.write(experiment.out / run.folder)
    wall, cpu = (time.perf_counter() - wall, time.process_time() - cpu)
    score = Score(
        line.barrier, returns=len(line.scores), scoring=experiment.scoring_text, wall_seconds=wall, cpu_seconds=cpu
    )
    write_score(experiment.out / run.folder, score)
    print(f"instability {line.barrier:.6g}, worst at {line.shares[line.worst]:.0%} of the way")


def _searched(experiment: Experiment, run: Run, folder: Path) -> Score:
    # A search run is not scored: generating translations may take longer than the search itself.
    end = read_object(folder / paths.SEARCH_END)
    share, stopped = end.get("share"), end.get("stopped")
    if not isinstance(share, float) or not isinstance(stopped, str):
        raise RunError(f"{folder / paths.SEARCH_END} does not say where the search run ended")
    print(stopped)
    return Score(score=math.nan, returns=0, search=str(experiment.search_of(run)), share=share, stopped=stopped)


def _score(experiment: Experiment, folder: Path) -> Score:
    values, count = score_run(experiment, folder)
    print(", ".join(f"{name} {value:.6g}" for name, value in values.items()))
    first, *more = values
    further = {name: values[name] for name in more}
    return Score(score=values[first], returns=count, more=further, scoring=experiment.scoring_text)


def main(argv: list[str] | None = None) -> int:
    """Train and score the run whose folder is given.

    :param argv: command line, by default ``sys.argv[1:]``
    :returns: exit status: 0, 1 for a failed run, 2 for bad input
    """
    parser = Parser(prog="fairseq_lottery.launcher.worker", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of a run, in an experiment that fairseq-lottery has started")
    parser.add_argument(
        "--floor", action="store_true", help="also measure the floor, in the dense run of the first seed"
    )
    parser.add_argument("--launcher", help="command that starts the training instead of python")
    args = parser.parse_args(argv)
    return run_command(lambda: _run(args), "fairseq_lottery.launcher.worker")


if __name__ == "__main__":
    sys.exit(main())
