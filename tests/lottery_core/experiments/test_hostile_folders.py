"""Run folders written or changed by others: one line with the file and the key; later versions' keys are kept."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lottery_core.cli import main
from lottery_core.errors import ConfigError, LotteryError, RunError
from lottery_core.experiments import Experiment, paths
from lottery_core.experiments.progress import Progress
from lottery_core.experiments.results import read_rows, read_score
from lottery_core.experiments.runner import Runner
from tests.lottery_core.toy import Here, Toy, experiment


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "x"
    Runner(experiment(out, rounds=2), Toy(), Here(out), Progress(quiet=True)).run()
    return out


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "x")


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_marker_of_another_run_is_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(folder / "seed-1/winning/round-02/result.json", seed=7, kind="random", score=999.0)
    rows = read_rows(folder, Experiment.load(folder))
    assert len(rows) == 4
    assert all(row.score != 999 for row in rows)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert "round-02/result.json is left out: it is the marker of seed 7 random round 2" in told[0]
    assert main(["report", str(folder)]) == 0
    assert main(["status", str(folder)]) == 0
    assert "4 done" in capsys.readouterr().out


def test_a_copied_repeat_does_not_count_twice(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(folder / "seed-1", folder / "seed-2")
    assert len(read_rows(folder)) == 5
    assert len(capsys.readouterr().err.splitlines()) == 5


def test_a_marker_names_its_ticket(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(folder / "seed-1/winning/round-01" / paths.TICKET, folder / "seed-1/winning/round-02" / paths.TICKET)
    assert len(read_rows(folder)) == 4
    assert "it names another ticket than the one beside it" in capsys.readouterr().err


def test_what_does_not_fit_is_trained_again(folder: Path) -> None:
    shutil.copytree(folder / "seed-1", folder / "seed-2")
    here = Here(folder)
    rows = Runner(experiment(folder, rounds=2, seeds=(1, 2)), Toy(), here, Progress(quiet=True)).run()
    assert len(rows) == 10
    assert {run.seed for run in here.trained} == {2}
    assert len(here.trained) == 5


def test_keys_of_a_later_version_are_ignored_and_kept(folder: Path) -> None:
    change(folder / "experiment.json", later={"deep": [1, 2]})
    change(folder / "seed-1/dense/result.json", later=3)
    change(folder / "seed-1/dense/score.json", later=3)
    assert len(read_rows(folder, Experiment.load(folder))) == 5
    read_score(folder / "seed-1/dense")
    here = Here(folder)
    assert len(Runner(experiment(folder, rounds=3), Toy(), here, Progress(quiet=True)).run()) == 7
    assert len(here.trained) == 2
    assert json.loads((folder / "experiment.json").read_text())["later"] == {"deep": [1, 2]}


WRONG: dict[str, Any] = {"text": "x", "number": 3, "list": [1, "a"], "object": {"a": 1}, "null": None, "true": True}
READERS: dict[str, Callable[[Path], object]] = {
    "experiment.json": lambda out: Experiment.load(out),
    "seed-1/dense/result.json": lambda out: read_rows(out),
    "seed-1/dense/score.json": lambda out: read_score(out / "seed-1/dense"),
}


@pytest.mark.parametrize("name", READERS)
def test_values_of_every_wrong_type_are_one_line(name: str, folder: Path) -> None:
    """Every key of every file with every kind of value: read, or refused in one line that names the file."""
    path = folder / name
    whole = json.loads(path.read_text())
    lines: list[tuple[str, str]] = []
    for key in whole:
        for value in WRONG.values():
            path.write_text(json.dumps({**whole, key: value}))
            try:
                READERS[name](folder)
            except LotteryError as error:
                lines.append((key, str(error)))
    assert len(lines) >= 2 * len(whole)
    for key, line in lines:
        assert len(line.splitlines()) == 1
        assert key in line or name.rpartition("/")[2] in line
    for text in ("[1]", "3", '"x"', "null x", "{", "[" * 100_000, '{"a": ' * 3000):
        path.write_text(text)
        with pytest.raises((ConfigError, RunError)) as caught:
            READERS[name](folder)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("rounds", [1e9, 10**9, -1, "20"])
def test_a_number_of_rounds_that_nobody_has_does_not_hang(rounds: Any, folder: Path) -> None:
    change(folder / "experiment.json", rounds=rounds)
    with pytest.raises(ConfigError, match="rounds"):
        Experiment.load(folder)
    assert main(["status", str(folder)]) == 2


def test_devices_are_not_read(folder: Path) -> None:
    (folder / "experiment.json").unlink()
    os.mkfifo(folder / "experiment.json")
    with pytest.raises(ConfigError, match="is not a regular file"):
        Experiment.load(folder)


def test_escape_sequences_do_not_reach_the_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(folder / "experiment.json", score_label="\x1b]0;owned\x07score\x9b2J")
    change(folder / "seed-1/dense/result.json", collapsed=["\x1b[2Jlayer"])
    (folder / "seed-1/random/round-02/result.json").unlink()
    (folder / "seed-1/random/round-02/failed.json").write_text(json.dumps({"reason": "\x1b[31m" + "x" * 100_000}))
    # The marker is of another configuration now: without the experiment all rows are read.
    for command in (["status", str(folder), "--all"], ["report", str(folder)]):
        main(command)
        captured = capsys.readouterr()
        for line in [*captured.out.splitlines(), *captured.err.splitlines()]:
            assert line.isprintable() or not line
            assert len(line) < 3000


def test_errors_are_printable_and_short(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path / ("\x1b[31m" + "x" * 200))]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert r"\x1b[31m" in line
