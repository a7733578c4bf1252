"""The procedure of arXiv 1906.02768, section 3.1: train dense; then, in each round, prune, train, score.

Each step is skipped if it is done already. All data between two runs is in files, so a killed experiment resumes after
the last finished run, or within the interrupted run, and gives the same tickets, bit for bit, as an undisturbed one.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from lottery_core.errors import ConfigError, DamagedError
from lottery_core.experiments.configuration import Experiment
from lottery_core.experiments.graph import COPY, FloorStop, Run, dense, paths
from lottery_core.experiments.next_ticket import check_files, find_ticket, is_readable
from lottery_core.experiments.progress import Progress
from lottery_core.experiments.protocols import Executor, FinishedInProcess, Framework, Training
from lottery_core.experiments.queue import RunQueue, floor_stop
from lottery_core.experiments.restart import (
    copy_outcome,
    identity,
    is_same_start,
    keep_earlier,
    prepare_folder,
    rescored,
    stale,
    started_as,
    write_scores,
)
from lottery_core.experiments.results import (
    FolderRows,
    Row,
    forget_left_out,
    read_marker,
    write_csv,
    write_marker,
    write_not_run,
)
from lottery_core.experiments.run_outcome import make_row, trained_already, trained_ticket, warnings_about
from lottery_core.files import FolderLock, remove_parts
from lottery_core.pruning import CHAINS, IN_TRAINING


class Runner:
    """Does the runs of an experiment.

    :param experiment: the configuration
    :param framework: makes the command of each run, and reads the weights and the score of a trained run
    :param executor: starts training runs, at most its ``jobs`` at a time
    :param progress: display of progress
    :param stop_at_floor: number of scored levels in a row at the measured floor after which a kind ends in its repeat;
        ``None`` does every run
    """

    def __init__(
        self,
        experiment: Experiment,
        framework: Framework,
        executor: Executor,
        progress: Progress,
        stop_at_floor: int | None = None,
    ) -> None:
        self.stop_at_floor = stop_at_floor
        self.experiment, self.framework = experiment, framework
        self.executor, self.progress = executor, progress
        self.out = experiment.out
        self._rows = FolderRows(self.out, experiment, progress.say)

    def run(self) -> list[Row]:
        """Do the runs that are not done yet.

        :returns: the rows of all finished runs of the experiment
        :raises BusyError: another process is using the folder
        :raises ConfigError: the folder holds an experiment of another configuration
        :raises RunError: a run failed; runs that do not need it were still done
        """
        self._floor_stop({})  # before anything is written
        with FolderLock(self.out) as lock:
            self._open_folder()
            finished = self._finished()
            self._score_again(stale(finished, self.experiment), finished, lock)
            plan = self.experiment.plan()
            done = {run: finished[run] for run in plan if run in finished}
            waiting = [run for run in plan if run not in done]
            stop = self._floor_stop(done)
            gone = set() if stop is None else {*stop.left_out(waiting)}
            untrained = gone | {run for run in waiting if self.experiment.alike(run) is not None}
            self.progress.begin(waiting, done.values(), self.executor.jobs, self._what(), untrained)
            forget_left_out(self.out, (run for run in waiting if run not in gone))
            graph = self.experiment.needs, self.experiment.alike, stop
            queue = RunQueue(self.out, waiting, done, self.executor, self.progress, *graph)
            queue.work(begin=partial(self.begin, lock=lock), finish=self.score, leave_out=self.leave_out)
            self._rows.forget()
            return self._write_rows()

    def rescore(self, everything: bool = False) -> list[Row]:
        """Score finished runs again if they were scored with other settings; nothing is trained.

        :param everything: whether to score runs with unchanged settings as well
        :returns: the rows of all finished runs of the experiment
        :raises ConfigError: no run has finished
        :raises LotteryError: see :meth:`run`
        """
        with FolderLock(self.out) as lock:
            self._open_folder()
            finished = self._finished()
            if not finished:
                raise ConfigError(f"{self.out} holds no finished run, so there is nothing to score again")
            runs = [run for run in finished if not run.search] if everything else stale(finished, self.experiment)
            self._score_again(runs, finished, lock)
            self._rows.forget()
            return self._write_rows()

    def begin(self, run: Run, lock: FolderLock) -> Training:
        """Find the ticket of ``run`` and start its training, or return the training that is already under way."""
        ticket = self._ticket_of(run)
        try:
            return self._under_way(run, ticket) or self.train(run, self.prune(run, ticket), lock)
        except DamagedError:  # the run that it names is not done any more
            self._rows.forget()
            raise

    def prune(self, run: Run, ticket: Path | None) -> Path | None:
        """Find the ticket that ``run`` trains; a control is made later from the winning ticket of its round."""
        own = run.kind in (*CHAINS, COPY) or run.repeats
        if ticket is not None and (own or not is_readable(ticket)):
            chain_run = run if own else run.winning
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                found = find_ticket(self.experiment, self.framework, chain_run)
            for warning in caught:
                self.progress.say(f"{chain_run}: {warning.message}")
            found.save(ticket)
        check_files(self.experiment, self.framework, run)
        return ticket

    def train(self, run: Run, ticket: Path | None, lock: FolderLock) -> Training:
        """Start training ``run``, if no other kind has trained this ticket; resume it if that gives the same bits."""
        folder = self.out / run.folder
        (folder / paths.FAILED).unlink(missing_ok=True)
        other = trained_already(self.experiment, run)
        if other is not None:
            copy_outcome(other, self.out / other.folder, folder)
            return FinishedInProcess()
        prepare_folder(run, folder, identity(self.experiment, run, ticket), self.framework, self.experiment.accepts)
        return self.executor.start(run, folder, lock)

    def score(self, run: Run) -> Row:
        """Record the score of ``run``, whose training has ended, and mark it as done."""
        ticket = trained_ticket(self.experiment, run)
        row = make_row(self.experiment, self.framework, run, ticket)
        for warning in warnings_about(self.experiment, run, ticket):
            self.progress.say(warning)
        write_marker(self.out / run.folder, row, self.experiment)
        self._rows.add(row)
        self._write_rows()
        return row

    def leave_out(self, run: Run) -> None:
        """Record that ``run`` is left out, because its kind has ended at the floor."""
        first = read_marker(self.out / dense(run.seed).folder, self.experiment)
        if not run.search and first is not None:
            write_not_run(self.experiment, run, first)
            self._rows.forget()

    def _floor_stop(self, done: Mapping[Run, Row]) -> FloorStop | None:
        return floor_stop(self.experiment, self.framework, done, self.stop_at_floor)

    def _what(self) -> str:
        chosen = self.experiment
        if chosen.probed is not None:
            count = len(chosen.seeds)
            return (
                f"{count} seed{'s' * (count > 1)} x (dense + {len(chosen.probed.points)} points x 2 copies and a line)"
            )
        seeds, kinds = len(set(chosen.seeds)), len(chosen.kinds)
        rounds = min(chosen.rounds, len(chosen.score_rounds) or chosen.rounds)
        each = "level" if chosen.score_rounds else "round"
        tickets = f" + {kinds} kind{'s' * (kinds > 1)} x {rounds} {each}{'s' * (rounds > 1)}" if rounds else ""
        searches = f" + searches by {chosen.search}" if any(run.search for run in chosen.plan()) else ""
        times = f", each trained {chosen.repeat_noise} times" if chosen.repeat_noise > 1 else ""
        return f"{seeds} seed{'s' * (seeds > 1)} x (dense{tickets}{searches}){times}"

    def _open_folder(self) -> None:
        remove_parts(self.out)
        for change in self.experiment.version_changes():
            self.progress.say(f"WARNING: other versions than before, so the bits may differ: {change}")
        self.experiment.write()

    def _finished(self) -> dict[Run, Row]:
        # Include the runs of earlier commands in the same folder, because a table has them all.
        plan = Experiment.load(self.out).plan()
        return {run: row for run in plan if (row := read_marker(self.out / run.folder, self.experiment))}

    def _score_again(self, runs: list[Run], done: dict[Run, Row], lock: FolderLock) -> None:
        # All scores in a table must come from the same settings, so old runs are scored again before new ones start.
        if not runs:
            return
        self.progress.say(f"{len(runs)} of {len(done)} finished runs are scored again ({self.experiment.scoring_text})")
        self.progress.begin(runs, [], self.executor.jobs)
        queue = RunQueue(self.out, runs, done, self.executor, self.progress, self.experiment.needs)
        queue.work(begin=partial(self._start_scoring, lock=lock), finish=lambda run: self._rescored(run, done))

    def _start_scoring(self, run: Run, lock: FolderLock) -> Training:
        # The process only scores a trained run. An earlier command's job is cancelled: it may score differently.
        folder = self.out / run.folder
        job = self.executor.adopt(run, folder)
        if job is not None:
            job.cancel()
        return self.executor.start(run, folder, lock)

    def _rescored(self, run: Run, done: dict[Run, Row]) -> Row:
        folder = self.out / run.folder
        row = rescored(done[run], self.framework.score(folder), self.experiment.score_label)
        keep_earlier(folder, done[run])
        write_marker(folder, row, self.experiment)
        done[run] = row
        self._rows.forget()
        self._write_rows()
        return row

    def _ticket_of(self, run: Run) -> Path | None:
        # A control reads the winning ticket of its round, which may not have been pruned yet. A ticket that is pruned
        # in training is written at the end of it.
        if not run.has_ticket or run.kind in IN_TRAINING:
            return None
        own = run.kind in (*CHAINS, COPY) or run.repeats
        return self.out / (run if own else run.winning).folder / paths.TICKET

    def _under_way(self, run: Run, ticket: Path | None) -> Training | None:
        # An earlier command may have submitted a job; it is cancelled if it trains something else.
        folder = self.out / run.folder
        job = self.executor.adopt(run, folder)
        if job is None:
            return None
        exists = ticket is None or ticket.exists()
        now = identity(self.experiment, run, ticket) if exists else {}
        if exists and is_same_start(started_as(folder), now, self.experiment.accepts):
            self.progress.say(f"{run}: continues in the job that an earlier command submitted")
            (folder / paths.FAILED).unlink(missing_ok=True)
            return job
        job.cancel()
        return None

    def _write_rows(self) -> list[Row]:
        rows, searched = self._rows.scored(), self._rows.searches()
        write_csv(self.out / paths.RESULTS, rows)
        if searched:
            write_csv(self.out / paths.SEARCHED, searched)
        if self._rows.fresh or (self.out / paths.SCORES).exists():
            write_scores(self.out, rows)
        return rows


def commands(experiment: Experiment, framework: Framework) -> Iterable[tuple[Run, Path, list[str]]]:
    """Yield each run of the plan with its folder and its command."""
    for run in experiment.plan():
        folder = experiment.out / run.folder
        yield run, folder, framework.command(run, folder)
