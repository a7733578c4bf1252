"""The queue of an experiment's runs: which are waiting, running or failed, and which are tried again."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from lottery_core.errors import DamagedError, LostError, LotteryError, RunError, WriteError
from lottery_core.experiments import paths
from lottery_core.experiments.plan import Run, needs
from lottery_core.experiments.progress import Progress
from lottery_core.experiments.protocols import Executor, Training
from lottery_core.experiments.results import Row
from lottery_core.files import write_json

POLL = 0.2  # seconds between two checks of the runs in progress


class RunQueue:
    """Starts each run as soon as the runs that it needs are done, finishes it, and records failures.

    :param out: the experiment's folder
    :param waiting: the runs to do, in the order in which to do them
    :param done: the runs that are done already
    :param executor: the executor, which sets the number of parallel runs and of retries
    :param progress: display of events
    :param alike: the run that trains the same ticket as a given one, which then waits for it; ``None`` if there is none
    """

    def __init__(
        self,
        out: Path,
        waiting: Iterable[Run],
        done: Iterable[Run],
        executor: Executor,
        progress: Progress,
        alike: Callable[[Run], Run | None] = lambda run: None,
    ) -> None:
        self.out, self.progress, self.alike = out, progress, alike
        self.jobs, self.retries = executor.jobs, executor.retries
        self.waiting, self.done = list(waiting), set(done)
        self.running: dict[Run, Training] = {}
        self.failed: dict[Run, LotteryError] = {}
        self._attempts: dict[Run, int] = defaultdict(int)
        self._damaged: set[Run] = set()

    def work(self, begin: Callable[[Run], Training], finish: Callable[[Run], Row]) -> None:
        """Do all runs; after a failure, the runs that do not need the failed run are still done.

        :param begin: prepares a run and starts its training
        :param finish: records a run whose training has succeeded
        :raises RunError: a run failed; the message names the first one
        """
        try:
            while self.running or self._ready():
                for run in self._ready()[: self.jobs - len(self.running)]:
                    self._begin(run, begin)
                for run, training in list(self.running.items()):
                    self._look_at(run, training, finish)
                self.progress.status({run: training.progress() for run, training in self.running.items()})
                if self.running:
                    time.sleep(POLL)
        finally:
            self.progress.end()
            self._stop()
        self._raise_first_failure()

    def _ready(self) -> list[Run]:
        unfinished = {*self.waiting, *self.running}
        return [
            run
            for run in self.waiting
            if all(other in self.done for other in needs(run)) and self.alike(run) not in unfinished
        ]

    def _begin(self, run: Run, begin: Callable[[Run], Training]) -> None:
        self.waiting.remove(run)
        try:
            self.progress.started(run)
            self.running[run] = begin(run)
        except DamagedError as error:
            self._train_again(run, error)
        except LotteryError as error:
            self._fail(run, error)

    def _look_at(self, run: Run, training: Training, finish: Callable[[Run], Row]) -> None:
        try:
            if training.finished():
                del self.running[run]
                self.progress.finished(run, finish(run))
                self.done.add(run)
        except LostError as error:
            del self.running[run]
            self._try_again(run, error)
        except LotteryError as error:
            self.running.pop(run, None)
            self._fail(run, error)

    def _try_again(self, run: Run, error: LostError) -> None:
        self._attempts[run] += 1
        if self._attempts[run] > self.retries:
            self._fail(run, error)
            return
        self.waiting.insert(0, run)
        self.progress.say(f"{run}: {error}; started again ({self._attempts[run]} of {self.retries})")

    def _train_again(self, run: Run, error: DamagedError) -> None:
        # A file of a finished run was damaged later: repeat that run with the ticket that it started with.
        _, damaged = Run.of_folder(error.folder)
        if damaged in self._damaged:
            self._fail(run, error)
            return
        self._damaged.add(damaged)
        self.progress.say(f"WARNING: {error}: {damaged} is trained again from where it began")
        self.progress.again(damaged)
        (error.folder / paths.MARKER).unlink(missing_ok=True)
        self.done.discard(damaged)
        self.waiting[:0] = [damaged, run]

    def _fail(self, run: Run, error: LotteryError) -> None:
        self.failed[run] = error
        self.progress.failed(run, str(error))
        with suppress(WriteError):  # e.g. on a full disk: the message must say why the run failed
            write_json(self.out / run.folder / paths.FAILED, {"reason": str(error)})

    def _stop(self) -> None:
        notices = [notice for training in self.running.values() if (notice := training.stop())]
        for line in [*notices, "rerun the same command to find them again"] if notices else []:
            self.progress.say(line)

    def _raise_first_failure(self) -> None:
        if not self.failed:
            return
        first, cause = next(iter(self.failed.items()))
        more = ""
        if len(self.failed) + len(self.waiting) > 1:
            more = f" ({len(self.failed)} runs failed, {len(self.waiting)} could not start)"
        raise RunError(f"{first} failed: {cause}{more}", cause.status) from cause
