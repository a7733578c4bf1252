"""``lottery status``: which runs of an experiment are done, running, waiting or failed, and the time left."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lottery_core.experiments import (
    AT_FLOOR,
    Experiment,
    Row,
    Run,
    duration,
    left_out,
    outcome,
    paths,
    percents,
    read_marker,
    seconds_left,
    took,
)
from lottery_core.files import counted, is_locked, last_line, printable, read_object

DONE, RUNNING, QUEUED, STOPPED, FAILED_, WAITING = "done", "running", "queued", "stopped", "failed", "waiting"
LEFT_OUT = "not run"


@dataclass(frozen=True)
class State:
    """The state of a run.

    :param run: the run
    :param word: ``done``, ``running``, ``queued`` (a job that Slurm has not started), ``stopped`` (begun, but not being
        trained now), ``failed``, ``waiting``, or ``not run`` (left out at the floor)
    :param text: details for users
    :param row: the result of a run that is done
    :param copied: whether a run that is waiting will be copied from another one, which trains the same ticket
    """

    run: Run
    word: str
    text: str = ""
    row: Row | None = None
    copied: bool = False


Job = Callable[[str], str | None]


def states(experiment: Experiment, job_state: Job) -> list[State]:
    """Return the state of every run, from the files in its folder and from whether a process holds the folder's lock.

    :param experiment: the experiment; nothing in its folder is changed
    :param job_state: job name -> Slurm's state of the job; ``None`` if there is no such job
    """
    busy, gone = is_locked(experiment.out), left_out(experiment)
    return [_state(experiment, run, busy, run in gone, job_state) for run in experiment.plan()]


def _state(experiment: Experiment, run: Run, busy: bool, gone: bool, job_state: Job) -> State:
    folder = experiment.out / run.folder
    row = read_marker(folder, experiment)
    if row is not None:
        return State(run, DONE, f"{percents(row)}, {outcome(row)}, {took(row)}", row)
    # What an earlier command has begun may be left out now; a search may still be under way.
    if gone and not (run.search and (busy or (folder / paths.JOB).exists())):
        return State(run, LEFT_OUT, AT_FLOOR)
    failure = read_object(folder / paths.FAILED)
    if failure:
        return State(run, FAILED_, str(failure.get("reason", "")))
    job = read_object(folder / paths.JOB)
    if job:
        return _of_job(run, folder, job, busy, job_state)
    if (folder / paths.STARTED).exists():
        text = str(read_object(folder / paths.PROGRESS).get("text", ""))
        return State(run, RUNNING, text) if busy else State(run, STOPPED, text)
    if gone:
        return State(run, LEFT_OUT, AT_FLOOR)
    same = experiment.alike(run)
    others = [*experiment.needs(run), *([] if same is None else [same])]
    missing = [str(other) for other in others if read_marker(experiment.out / other.folder, experiment) is None]
    return State(run, WAITING, f"for {missing[0]}" if missing else "", copied=same is not None)


def _of_job(run: Run, folder: Path, job: dict[str, Any], busy: bool, job_state: Job) -> State:
    ended = read_object(folder / paths.JOB_END)
    if ended.get("token") == job.get("token"):
        # The run is trained but its result is not recorded yet, or it has failed and is not resubmitted yet.
        if ended.get("code") == 0:
            return State(run, RUNNING if busy else STOPPED, "trained; its result is not recorded yet")
        return State(run, WAITING if busy else FAILED_, last_line(folder / paths.LOG))
    state = job_state(str(job.get("name")))
    if state is None:
        return State(run, WAITING if busy else STOPPED, "its job has vanished")
    if state in ("RUNNING", "COMPLETING"):
        return State(run, RUNNING, str(read_object(folder / paths.PROGRESS).get("text", "")))
    return State(run, QUEUED, state.lower())


def render(name: str, run_states: Sequence[State], everything: bool = False) -> str:
    """Format the states as text: the counts, each run that is neither done nor waiting, and the time left.

    :param name: the experiment's name
    :param run_states: states of the runs, from :func:`states`
    :param everything: whether to show done and waiting runs as well
    """
    counts = Counter(state.word for state in run_states)
    order = (DONE, RUNNING, QUEUED, STOPPED, FAILED_, WAITING, LEFT_OUT)
    words = ", ".join(f"{counts[word]} {word}" for word in order if counts[word])
    lines = [f"{name}: {words}, of {counted(len(run_states), 'run')}"]
    shown = [state for state in run_states if everything or state.word not in (DONE, WAITING, LEFT_OUT)]
    width = max((len(str(state.run)) for state in shown), default=0)
    lines += [f"{state.word:8} {state.run!s:{width}}  {state.text}".rstrip() for state in shown]
    spent: dict[str, list[float]] = defaultdict(list)
    for state in run_states:
        if state.row is not None and not state.row.same_as:
            spent[state.run.pace].append(state.row.wall_seconds)
    searched = [state.row.share for state in run_states if state.row is not None and state.row.search]
    if searched:
        lines.append(f"search rounds: {statistics.fmean(searched):.0%} of a training on average")
    left = [state.run for state in run_states if state.word not in (DONE, FAILED_, LEFT_OUT) and not state.copied]
    seconds = seconds_left(left, spent, max(1, counts[RUNNING]), any(state.run.search for state in run_states))
    if seconds is not None:
        lines.append(f"about {duration(seconds)} left, with {max(1, counts[RUNNING])} at a time")
    if counts[STOPPED] or (counts[WAITING] and not counts[RUNNING] and not counts[QUEUED]):
        lines.append("not running; rerun the original command to resume")
    return "\n".join(printable(line, 1000) for line in lines)
