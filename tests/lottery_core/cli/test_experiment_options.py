"""Options of an experiment: ranges of seeds; and what is said before the first run."""

from __future__ import annotations

import argparse
import io
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lottery_core.cli import Parser, add_experiment_options
from lottery_core.experiments import Progress, Row, Run
from tests.lottery_core.reports.test_report import row


def parsed(*words: str) -> list[int]:
    """The seeds of the words behind ``--seeds``."""
    parser = Parser(argument_default=argparse.SUPPRESS)
    add_experiment_options(parser, "", "")
    found: list[int] = parser.parse_args(["--seeds", *words]).seeds
    return found


def test_ranges_of_seeds() -> None:
    assert parsed("1-10") == list(range(1, 11))
    assert parsed("7", "1-3", "2-4", "0") == [7, 1, 2, 3, 4, 0]
    assert parsed("5-5") == [5]


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("10-1", "'10-1' is no range of seeds: it goes up, as 1-10 does"),
        ("0-10000", "at most 10,000 seeds"),
        ("1-9999999999", "at most 10,000 seeds"),
        ("1-2-3", "invalid seeds value: '1-2-3'"),
        ("1-", "invalid seeds value"),
        ("one", "invalid seeds value: 'one'"),
        ("1,2", "separate values by spaces: --seeds 1 2"),
    ],
)
def test_bad_seeds_are_one_line(word: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parsed(word)
    error = capsys.readouterr().err
    assert caught.value.code == 2
    assert told in error
    assert error.count("\n") == 1


def begun(waiting: int, done: list[Row], seconds: float | None) -> str:
    """The line about the cost, before the first run."""
    shown = io.StringIO()
    runs = [Run(1, "winning", round_) for round_ in range(1, waiting + 1)]
    Progress(shown, seconds=seconds).begin(runs, done, 2, "1 seed x (dense + 1 kind x 4 rounds)")
    return shown.getvalue().splitlines()[-1]


def test_the_cost_is_said_before_the_start() -> None:
    what = "runs, 1 seed x (dense + 1 kind x 4 rounds): "
    assert begun(5, [], None) == f"5 {what}how long they take is told once the first is done"
    assert begun(4, [], 60) == f"4 {what}about 4 min with 2 at a time (at most, at the measured speed)"
    done = [replace(row("dense", 0, 1.0), wall_seconds=120.0)]
    assert begun(4, done, 60) == f"5 {what}about 8 min with 2 at a time (as long as the runs that are done)"


def test_a_machine_that_was_busy_or_asleep_does_not_count_any_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    def again(kind: str, round_: int, seconds: float) -> Row:
        return replace(row(kind, round_, 1.0), wall_seconds=seconds)

    done = [
        again("dense", 0, 100.0),
        *(again("winning", each, seconds) for each, seconds in ((1, 90), (2, 110), (3, 9e4))),
    ]
    waiting = [Run(1, "winning", 4), *(Run(1, "random", each) for each in range(1, 5))]
    done += [again("random", 5, 50.0)]
    stream = io.StringIO()
    shown = Progress(stream)
    shown.begin(waiting, done, 1)
    assert "about 5 min with 1 at a time" in stream.getvalue()  # 110 + 4 x 50 s, without the night
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    shown.started(waiting[0])
    clock[0] = 11.0  # a tenth of what it took before
    shown.finished(waiting[0], again("winning", 4, 11.0))
    assert stream.getvalue().endswith("about 20 s left\n")


def test_a_finished_experiment_costs_nothing(tmp_path: Path) -> None:
    assert begun(0, [row("dense", 0, 1.0)], None) == "1 of 1 run is done already"
