"""What an experiment of thousands of runs does again and again stays small: it counts calls, not seconds."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from lottery_core import Ticket
from lottery_core.experiments import queue, read_rows, read_searches, runner
from lottery_core.experiments.graph import Run, dense
from lottery_core.experiments.progress import Progress
from lottery_core.experiments.queue import RunQueue
from lottery_core.experiments.results import Row
from lottery_core.experiments.runner import Runner
from tests.lottery_core.toy import Here, Toy, experiment

WAITING = [Run(seed, "random", 1) for seed in range(1, 201)]


class Waits:
    """A training that ends after some looks at it."""

    def __init__(self, asked: Counter[str], looks: int) -> None:
        self.asked, self.looks = asked, looks

    def finished(self) -> bool:
        self.looks -= 1
        return self.looks < 0

    def progress(self) -> Mapping[str, Any]:
        self.asked["progress"] += 1
        return {"text": "epoch 1/2"}

    def stop(self) -> str:
        return ""


class Executor:
    jobs, retries = 5, 0


class Silent(Progress):
    def finished(self, run: Run, row: Row) -> None:
        pass


def worked(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, quiet: bool) -> Counter[str]:
    """Do 200 runs, five at a time, that need 50 looks each; what was asked for how often."""
    asked: Counter[str] = Counter()

    def needs(run: Run) -> Iterable[Run]:
        asked["needs"] += 1
        return [dense(1)]

    def slept(seconds: float) -> None:
        asked["polls"] += 1

    monkeypatch.setattr(queue.time, "sleep", slept)
    work = RunQueue(Path(), WAITING, [dense(1)], cast(Any, Executor()), Silent(stream, quiet=quiet), needs)
    work.work(lambda run: cast(Any, Waits(asked, 50)), lambda run: cast(Row, None))
    assert not work.waiting
    return asked


@pytest.mark.parametrize("quiet", [True, False])
def test_a_poll_asks_only_what_may_have_changed(quiet: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = worked(monkeypatch, io.StringIO(), quiet)
    assert asked["polls"] > 1500
    assert asked["needs"] <= len(WAITING) * (len(WAITING) / 5 + 1)  # once a waiting run after every five
    assert asked["progress"] == 0  # no line was due


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminals_line_is_estimated_once_a_finished_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from lottery_core.experiments import progress

    estimated = []
    monkeypatch.setattr(progress, "seconds_left", lambda *_: estimated.append(1) and None)
    asked = worked(monkeypatch, Terminal(), quiet=False)
    assert asked["progress"] > 1500
    assert len(estimated) <= len(WAITING) + 1


def test_the_tables_of_a_chain_are_those_of_its_folder_after_every_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are kept in memory, and read whole at the beginning and at the end."""
    kinds = ("winning", "random", "one-shot")
    found = experiment(tmp_path, rounds=3, kinds=kinds, search="0.5", score_rounds=(1, 3), seeds=(1, 2))
    write, seen, read = runner.write_csv, Counter[str](), Counter[str]()

    def compared(path: Path, rows: Iterable[Row]) -> None:
        reader = read_searches if path.name == "search.csv" else read_rows
        assert repr([*rows]) == repr(reader(tmp_path, found))
        seen[path.name] += 1
        write(path, rows)

    class Counted(runner.FolderRows):
        def _all(self) -> list[Row]:
            read["whole"] += self._rows is None
            return super()._all()

    monkeypatch.setattr(runner, "write_csv", compared)
    monkeypatch.setattr(runner, "FolderRows", Counted)
    rows = Runner(found, Toy(), Here(tmp_path), Progress(quiet=True)).run()
    assert seen["results.csv"] > len(rows)
    assert seen["search.csv"] > 4
    assert read["whole"] == 2


def test_a_further_control_reads_the_winning_ticket_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have hundreds of megabytes: the process of the control reads it, and the one that starts it does not."""
    read: Counter[Path] = Counter()
    load = Ticket.load.__func__  # type: ignore[attr-defined]

    def counted(cls: type[Ticket], path: Path) -> Ticket:
        read[path] += 1
        return cast(Ticket, load(cls, path))

    monkeypatch.setattr(Ticket, "load", classmethod(counted))
    few = ("winning", "random")
    many = (*few, "reinit", "permuted", "shuffled", "signs")
    for name, kinds in (("few", few), ("many", many)):
        found = experiment(tmp_path / name, rounds=2, kinds=kinds)
        Runner(found, Toy(), Here(tmp_path / name), Progress(quiet=True)).run()
    winning, random = (Path(Run(1, kind, 1).folder) / "ticket.safetensors" for kind in few)
    assert read[tmp_path / "many" / winning] == read[tmp_path / "few" / winning] + 4
    assert read[tmp_path / "many" / random] <= 2
