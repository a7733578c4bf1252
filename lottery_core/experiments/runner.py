"""The paper's procedure (PAPER 3.1): train the dense network; then, round by round, prune, train, score.

Each step is skipped when it is done. Everything between two runs is files, so a killed experiment resumes after the
last finished run, or within the interrupted one, and gives the same tickets, bit for bit, as an undisturbed one.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from lottery_core.experiments import paths
from lottery_core.experiments.experiment import Experiment
from lottery_core.experiments.next_ticket import find_ticket, is_readable, make_row, warnings_about
from lottery_core.experiments.plan import Run
from lottery_core.experiments.progress import Progress
from lottery_core.experiments.protocols import Executor, Framework, Training
from lottery_core.experiments.queue import RunQueue
from lottery_core.experiments.restart import identity, prepare_folder, started_as
from lottery_core.experiments.results import Row, read_marker, read_rows, write_csv, write_marker
from lottery_core.files import FolderLock, remove_parts
from lottery_core.pruning import CHAINS, DENSE


class Runner:
    """Does the runs of an experiment.

    :param experiment: the configuration
    :param framework: knows how to train, and how to read what a training leaves
    :param executor: starts trainings, at most its ``jobs`` at a time
    :param progress: where progress is shown
    """

    def __init__(self, experiment: Experiment, framework: Framework, executor: Executor, progress: Progress) -> None:
        self.experiment, self.framework = experiment, framework
        self.executor, self.progress = executor, progress
        self.out = experiment.out

    def run(self) -> list[Row]:
        """Do what is not done yet.

        :returns: the rows of all finished runs of the experiment
        :raises BusyError: another process works in the folder
        :raises ConfigError: the folder holds an experiment of another configuration
        :raises RunError: a run failed; those that do not need it were still done
        """
        with FolderLock(self.out) as lock:
            self._open_folder()
            plan = self.experiment.plan()
            done = {run: row for run in plan if (row := read_marker(self.out / run.folder, self.experiment))}
            waiting = [run for run in plan if run not in done]
            self.progress.begin(waiting, done.values(), self.executor.jobs, self._what())
            queue = RunQueue(self.out, waiting, done, self.executor, self.progress)
            queue.work(begin=partial(self.begin, lock=lock), finish=self.score)
            return self._write_rows()

    def begin(self, run: Run, lock: FolderLock) -> Training:
        """Prune for ``run`` unless it is dense, and start its training, or find the one that is under way."""
        ticket = self._ticket_of(run)
        return self._under_way(run, ticket) or self.train(run, self.prune(run, ticket), lock)

    def prune(self, run: Run, ticket: Path | None) -> Path | None:
        """Find the ticket that ``run`` trains; a control is made later from the winning ticket of its round."""
        if ticket is not None and (run.kind in CHAINS or not is_readable(ticket)):
            chain_run = run if run.kind in CHAINS else run.winning
            find_ticket(self.experiment, self.framework, chain_run).save(ticket)
        return ticket

    def train(self, run: Run, ticket: Path | None, lock: FolderLock) -> Training:
        """Start the training of ``run``; an interrupted one is resumed where that gives the same bits."""
        folder = self.out / run.folder
        (folder / paths.FAILED).unlink(missing_ok=True)
        prepare_folder(run, folder, identity(self.experiment, ticket), self.framework)
        return self.executor.start(run, folder, lock)

    def score(self, run: Run) -> Row:
        """Record the score of ``run``, whose training has ended, and mark it as done."""
        row = make_row(self.experiment, self.framework, run)
        for warning in warnings_about(self.experiment, run, row):
            self.progress.say(warning)
        write_marker(self.out / run.folder, row, self.experiment)
        self._write_rows()
        return row

    def _what(self) -> str:
        seeds, kinds, rounds = len(set(self.experiment.seeds)), len(self.experiment.kinds), self.experiment.rounds
        tickets = f" + {kinds} kind{'s' * (kinds > 1)} x {rounds} round{'s' * (rounds > 1)}" if rounds else ""
        return f"{seeds} seed{'s' * (seeds > 1)} x (dense{tickets})"

    def _open_folder(self) -> None:
        remove_parts(self.out)
        for change in self.experiment.version_changes():
            self.progress.say(f"WARNING: other versions than before, so the bits may differ: {change}")
        self.experiment.write()

    def _ticket_of(self, run: Run) -> Path | None:
        # A control reads the winning ticket of its round, which may not have been pruned yet.
        if run.kind == DENSE:
            return None
        return self.out / (run if run.kind in CHAINS else run.winning).folder / paths.TICKET

    def _under_way(self, run: Run, ticket: Path | None) -> Training | None:
        # A job that an earlier command submitted; it is cancelled where it trains something else.
        folder = self.out / run.folder
        job = self.executor.adopt(run, folder)
        if job is None:
            return None
        exists = ticket is None or ticket.exists()
        if exists and started_as(folder) == identity(self.experiment, ticket):
            self.progress.say(f"{run}: continues in the job that an earlier command submitted")
            return job
        job.cancel()
        return None

    def _write_rows(self) -> list[Row]:
        rows = read_rows(self.out, self.experiment, self.progress.say)
        write_csv(self.out / paths.RESULTS, rows)
        return rows


def commands(experiment: Experiment, framework: Framework) -> Iterable[tuple[Run, Path, list[str]]]:
    """The plan for people: each run, its folder and its command."""
    for run in experiment.plan():
        folder = experiment.out / run.folder
        yield run, folder, framework.command(run, folder)
