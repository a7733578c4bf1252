"""The paper's procedure: dense, then for each round prune, train, score; each step skipped when done.

Everything between two runs is files, so a killed experiment goes on from the last finished run, or within the one
that was killed, and gives the same tickets, bit for bit, as one that was never disturbed.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from lottery_core.errors import DamagedError, LostError, LotteryError, RunError, WriteError
from lottery_core.experiments import paths
from lottery_core.experiments.experiment import Experiment
from lottery_core.experiments.next_ticket import find_ticket, is_readable, make_row, warnings_about
from lottery_core.experiments.plan import Run, needs
from lottery_core.experiments.progress import Progress
from lottery_core.experiments.protocols import Executor, Framework, Training
from lottery_core.experiments.restart import identity, prepare_folder, started_as
from lottery_core.experiments.results import Row, read_marker, read_rows, write_csv, write_marker
from lottery_core.files import FolderLock, remove_parts, write_json
from lottery_core.pruning import CHAINS, DENSE

POLL = 0.2  # seconds between two looks at the running trainings


class Runner:
    """Does the runs of an experiment.

    :param experiment: the configuration
    :param framework: how to read what a run leaves
    :param executor: starts trainings, at most its ``jobs`` at a time
    :param progress: where to show how far it is
    """

    def __init__(self, experiment: Experiment, framework: Framework, executor: Executor, progress: Progress) -> None:
        self.experiment, self.framework = experiment, framework
        self.executor, self.progress = executor, progress
        self.out = experiment.out
        self._tries: dict[Run, int] = defaultdict(int)
        self._damaged: set[Run] = set()

    def run(self) -> list[Row]:
        """Do what is not done yet; the rows of all finished runs of the experiment.

        :raises BusyError: another process works in the folder
        :raises ConfigError: the folder holds an experiment of another configuration
        :raises RunError: a run failed; those that do not need it were still done
        """
        with FolderLock(self.out) as lock:
            remove_parts(self.out)
            for change in self.experiment.version_changes():
                self.progress.say(f"WARNING: other versions than before, so the bits may differ: {change}")
            self.experiment.write()
            plan = self.experiment.plan()
            done = {run: row for run in plan if (row := self._done(run)) is not None}
            waiting = [run for run in plan if run not in done]
            self.progress.begin(waiting, done.values(), self.executor.jobs)
            if waiting:
                self._go(waiting, set(done), lock)
            rows = read_rows(self.out, self.experiment)
            write_csv(self.out / paths.RESULTS, rows)
            return rows

    def _go(self, waiting: list[Run], done: set[Run], lock: FolderLock) -> None:
        running: dict[Run, Training] = {}
        failed: dict[Run, LotteryError] = {}
        try:
            while running or any(self._ready(run, done) for run in waiting):
                for run in [run for run in waiting if self._ready(run, done)][: self.executor.jobs - len(running)]:
                    waiting.remove(run)
                    try:
                        self.progress.started(run)
                        running[run] = self._start(run, lock)
                    except DamagedError as error:
                        self._train_again(error, run, waiting, done, failed)
                    except LotteryError as error:
                        self._fail(run, error, failed)
                for run, training in list(running.items()):
                    try:
                        if training.finished():
                            del running[run]
                            self.progress.finished(run, self._record(run))
                            done.add(run)
                    except LostError as error:
                        del running[run]
                        self._try_again(run, error, waiting, failed)
                    except LotteryError as error:
                        running.pop(run, None)
                        self._fail(run, error, failed)
                self.progress.status({run: training.progress() for run, training in running.items()})
                if running:
                    time.sleep(POLL)
        finally:
            self.progress.end()
            going = [line for training in running.values() if (line := training.stop())]
            for line in [*going, "the same command finds them again"] if going else []:
                self.progress.say(line)
        if failed:
            first, cause = next(iter(failed.items()))
            more = (
                f" ({len(failed)} runs failed, {len(waiting)} could not start)"
                if len(failed) + len(waiting) > 1
                else ""
            )
            raise RunError(f"{first} failed: {cause}{more}", cause.status) from cause

    def _fail(self, run: Run, error: LotteryError, failed: dict[Run, LotteryError]) -> None:
        failed[run] = error
        self.progress.failed(run, str(error))
        with suppress(WriteError):  # on a full disk, say: what is told must be why the run failed
            write_json(self.out / run.folder / paths.FAILED, {"reason": str(error)})

    def _try_again(self, run: Run, error: LostError, waiting: list[Run], failed: dict[Run, LotteryError]) -> None:
        self._tries[run] += 1
        if self._tries[run] > self.executor.retries:
            self._fail(run, error, failed)
            return
        waiting.insert(0, run)
        self.progress.say(f"{run}: {error}; started again ({self._tries[run]} of {self.executor.retries})")

    def _train_again(
        self, error: DamagedError, run: Run, waiting: list[Run], done: set[Run], failed: dict[Run, LotteryError]
    ) -> None:
        # A file of a finished run has been damaged since: that run goes back to the ticket that it began with.
        _, damaged = Run.of_folder(error.folder)
        if damaged in self._damaged:
            self._fail(run, error, failed)
            return
        self._damaged.add(damaged)
        self.progress.say(f"WARNING: {error}: {damaged} is trained again from where it began")
        self.progress.again(damaged)
        (error.folder / paths.MARKER).unlink(missing_ok=True)
        done.discard(damaged)
        waiting[:0] = [damaged, run]

    def _ready(self, run: Run, done: set[Run]) -> bool:
        return all(other in done for other in needs(run))

    def _done(self, run: Run) -> Row | None:
        return read_marker(self.out / run.folder, self.experiment)

    def _start(self, run: Run, lock: FolderLock) -> Training:
        folder, target = self.out / run.folder, None
        if run.kind != DENSE:
            # A control reads the winning ticket of its round, which may not have been pruned yet.
            chain_run = run if run.kind in CHAINS else run.winning
            target = self.out / chain_run.folder / paths.TICKET
        going = self.executor.adopt(run, folder)
        if going is not None:
            known = target is None or target.exists()
            if known and started_as(folder) == identity(self.experiment, target):
                self.progress.say(f"{run}: goes on in the job that an earlier command submitted")
                return going
            going.cancel()
        if target is not None and (run.kind in CHAINS or not is_readable(target)):
            find_ticket(self.experiment, self.framework, chain_run).save(target)
        (folder / paths.FAILED).unlink(missing_ok=True)
        prepare_folder(run, folder, identity(self.experiment, target), self.framework)
        return self.executor.start(run, folder, lock)

    def _record(self, run: Run) -> Row:
        row = make_row(self.experiment, self.framework, run)
        for warning in warnings_about(self.experiment, run, row):
            self.progress.say(warning)
        write_marker(self.out / run.folder, row, self.experiment)
        write_csv(self.out / paths.RESULTS, read_rows(self.out, self.experiment))
        return row


def commands(experiment: Experiment, framework: Framework) -> Iterable[tuple[Run, Path, list[str]]]:
    """The plan for people: each run, its folder and its command."""
    for run in experiment.plan():
        folder = experiment.out / run.folder
        yield run, folder, framework.command(run, folder)
