"""The queue of an experiment's runs: which are waiting, running or failed, and which are tried again."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from lottery_core import dialects
from lottery_core.errors import ConfigError, DamagedError, LostError, LotteryError, RunError, WriteError
from lottery_core.experiments.configuration import Experiment
from lottery_core.experiments.graph import FloorStop, Run, dense, paths
from lottery_core.experiments.progress import Progress
from lottery_core.experiments.protocols import Executor, Framework, Training
from lottery_core.experiments.restart import forget_end
from lottery_core.experiments.results import Row, floor_scoring, read_floor
from lottery_core.files import write_json

POLL = 0.2  # seconds between two checks of the runs in progress; of many runs (on Slurm) more
_AT_ONCE, _LONGEST = 25, 5.0  # runs that are checked so often; seconds between two checks of however many


class RunQueue:
    """Starts each run as soon as the runs that it needs are done, finishes it, and records failures.

    :param out: the experiment's folder
    :param waiting: the runs to do, in the order in which to do them
    :param done: the runs that are done already
    :param executor: the executor, which sets the number of parallel runs and of retries
    :param progress: display of events
    :param stop: leaves runs out whose kind has ended at the floor; ``None`` does all
    :param needs: returns the runs that must be done before a run can start
    :param alike: the run that trains the same ticket as a given one, which then waits for it; ``None`` if there is none
    """

    def __init__(
        self,
        out: Path,
        waiting: Iterable[Run],
        done: Iterable[Run],
        executor: Executor,
        progress: Progress,
        needs: Callable[[Run], Iterable[Run]],
        alike: Callable[[Run], Run | None] = lambda run: None,
        stop: FloorStop | None = None,
    ) -> None:
        self.out, self.progress, self.needs, self.alike = out, progress, needs, alike
        self.jobs, self.retries = executor.jobs, executor.retries
        self._rest: Callable[[float], object] = getattr(executor, "rest", time.sleep)  # some know when a run ends
        self.waiting, self.done = list(waiting), set(done)
        self.stop = stop
        self.running: dict[Run, Training] = {}
        self.failed: dict[Run, LotteryError] = {}
        self._changed = (
            True  # since it was last asked which runs are ready: with thousands of them the answer takes time
        )
        self._attempts: dict[Run, int] = defaultdict(int)
        self._damaged: set[Run] = set()
        self._held: dict[Run, Run] = {}  # run -> the damaged one that it waits for

    def work(
        self,
        begin: Callable[[Run], Training],
        finish: Callable[[Run], Row],
        leave_out: Callable[[Run], None] = lambda run: None,
    ) -> None:
        """Do all runs; after a failure, the runs that do not need the failed run are still done.

        :param begin: prepares a run and starts its training
        :param finish: records a run whose training has succeeded
        :param leave_out: records a run that is left out at the floor
        :raises RunError: a run failed, or never became ready; the message names the first one
        """
        try:
            while self.running or self._changed:
                if self._changed:
                    self._changed = False
                    self._leave_out(leave_out)
                    for run in self._ready()[: self.jobs - len(self.running)]:
                        self._begin(run, begin)
                for run, training in list(self.running.items()):
                    self._look_at(run, training, finish)
                self.progress.status((run, training.progress) for run, training in self.running.items())
                if self.running and not self._changed:
                    self._rest(min(_LONGEST, POLL * max(1.0, len(self.running) / _AT_ONCE)))
        finally:
            self.progress.end()
            self._stop()
        self._raise_first_failure()
        if self.waiting:
            raise RunError(
                f"nothing failed, but {len(self.waiting)} of the runs never started, first {self.waiting[0]}: "
                "give the same command again"
            )

    def _ready(self) -> list[Run]:
        unfinished = {*self.waiting, *self.running}
        return [
            run
            for run in self.waiting
            if all(other in self.done for other in self.needs(run))
            and self._held.get(run) not in unfinished
            and self.alike(run) not in unfinished
            and not (self.stop is not None and self.stop.holds(run))
        ]

    def _leave_out(self, leave_out: Callable[[Run], None]) -> None:
        for run in self.stop.left_out(self.waiting) if self.stop is not None else ():
            self.waiting.remove(run)
            self.progress.left_out(run)
            leave_out(run)

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
                self._changed = True
                row = finish(run)
                self.progress.finished(run, row)
                self.done.add(run)
                if self.stop is not None:
                    self.stop.learn(run, row.score)
                    self._warn_without_floor(run)
        except LostError as error:
            del self.running[run]
            self._changed = True
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
        again = damaged in self.waiting or damaged in self.running  # another run has met the damage
        if damaged in self._damaged and not again:
            self._fail(run, error)
            return
        self._changed = True
        self._held[run] = damaged
        self.waiting.insert(0, run)
        if again:
            return
        self._damaged.add(damaged)
        self.progress.say(f"WARNING: {error}: {damaged} is trained again from where it began")
        self.progress.again(damaged)
        forget_end(error.folder)
        self.done.discard(damaged)
        self.waiting.insert(0, damaged)

    def _fail(self, run: Run, error: LotteryError) -> None:
        self.failed[run] = error
        self._changed = True
        self.progress.failed(run, str(error))
        self._warn_without_floor(run)
        with suppress(WriteError):  # e.g. on a full disk: the message must say why the run failed
            write_json(self.out / run.folder / paths.FAILED, {"reason": str(error)})

    def _warn_without_floor(self, run: Run) -> None:
        if self.stop is not None and self.stop.lost_floor(run):
            self.progress.say(
                f"WARNING: the floor was not measured (see {self.out / run.folder / paths.LOG}), so --stop-at-floor "
                "leaves no run out"
            )

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


def floor_stop(
    experiment: Experiment, framework: Framework, done: Mapping[Run, Row], count: int | None
) -> FloorStop | None:
    """Return what leaves runs out once their kind has ended at the floor; ``None`` if all runs are to be done.

    :param experiment: the configuration
    :param framework: the plugin's framework; with ``floor`` the first dense run measures the floor
    :param done: the runs that are done, with their rows
    :param count: number of scored levels in a row at the floor; ``None`` leaves no run out
    :raises ConfigError: the floor was not measured, and will not be
    """
    if count is None:
        return None
    first = experiment.first_seed
    measures = getattr(framework, "floor", False) and first in experiment.seeds and dense(first) not in done

    def floor() -> float | None:  # one of another score says nothing
        out = experiment.out
        return read_floor(out) if floor_scoring(out) == experiment.scoring_text else None

    if floor() is None and not measures:
        command = dialects.named(experiment.framework).floor_command
        remedy = (
            f": leave --no-floor out, or train the dense run of seed {first} and then measure it with {command} "
            f"{experiment.out}"
            if command
            else ""
        )
        raise ConfigError(
            f"--stop-at-floor needs the measured floor, and {experiment.out / paths.FLOOR} "
            f"{'is missing' if read_floor(experiment.out) is None else 'is of another score'}{remedy}"
        )
    scored = experiment.score_rounds or range(1, experiment.rounds + 1)
    lower = dialects.named(experiment.framework).lower_is_better(experiment.score_label)
    sign = -1.0 if lower else 1.0
    measured_by = dense(first) if measures else None
    stop = FloorStop(count, floor, scored, experiment.needs, sign, measured_by)
    for run, row in done.items():
        stop.learn(run, row.score)
    return stop
