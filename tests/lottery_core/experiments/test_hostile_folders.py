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
from lottery_core.experiments import Experiment, duration, paths
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


NUMBERS: dict[str, tuple[dict[str, Any], str]] = {
    "an infinite time": ({"wall_seconds": float("inf")}, "'wall_seconds' must be a number of at least 0, not inf"),
    "a time that is no number": ({"cpu_seconds": float("nan")}, "'cpu_seconds' must be a number of at least 0"),
    "a negative time": ({"wall_seconds": -1.0}, "'wall_seconds' must be a number of at least 0"),
    "a time of aeons": ({"wall_seconds": 1e300}, "'wall_seconds' is 1e+300, more than can be averaged"),
    "a score that no sum holds": ({"score": 1.7e308}, "'score' is 1.7e+308, more than can be averaged"),
    "a whole score that no float holds": ({"score": 10**400}, "'score' must be a number"),
    "negative steps": ({"steps": -5}, "'steps' must be a number of at least 0"),
    "a fraction of another count": ({"pruned_fraction": 0.75}, "'pruned_fraction' is 0.75, and 193 of 386 are 0.5"),
    "a fraction that is no number": ({"surviving_fraction": float("nan")}, "'surviving_fraction' is nan"),
    "counts that contradict": ({"pruned": 1}, "contradict each other"),
    "nothing that survives": (
        {"pruned": 386, "surviving": 0, "pruned_fraction": 1.0, "surviving_fraction": 0.0},
        "contradict each other",
    ),
}


@pytest.mark.parametrize("what", NUMBERS)
def test_numbers_that_no_run_has_are_one_line(what: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values, words = NUMBERS[what]
    path = folder / "seed-1/winning/round-01/result.json"
    change(path, **values)
    with pytest.raises(ConfigError) as caught:
        read_rows(folder)
    assert words in str(caught.value)
    for command in ("status", "report"):
        assert main([command, str(folder)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "result.json" in line


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf"), 1e99])
def test_scores_that_are_no_numbers_are_shown(score: float, folder: Path) -> None:
    """A training can diverge: that is a result."""
    for path in folder.glob("seed-*/**/result.json"):
        change(path, score=score, score_se=score, eval_score=score)
    for seed in range(2, 7):  # the interquartile mean and its interval need some
        shutil.copytree(folder / "seed-1", folder / f"seed-{seed}")
        for path in folder.glob(f"seed-{seed}/**/result.json"):
            change(path, seed=seed, score=score if seed < 4 else float(seed))
    assert main(["status", str(folder), "--all"]) == 0
    assert main(["report", str(folder), "--csv", str(folder / "rows.csv")]) == 0


@pytest.mark.parametrize(
    ("seconds", "words"), [(12.0, "12 s"), (float("inf"), "an unknown time"), (float("nan"), "an un")]
)
def test_a_duration_is_words_whatever_it_is(seconds: float, words: str) -> None:
    assert duration(seconds).startswith(words)


def test_half_characters_reach_no_file(folder: Path) -> None:
    for path in folder.glob("seed-*/**/result.json"):
        change(path, experiment="\ud800", collapsed=["\udfff"], versions="\ud800")
    assert main(["report", str(folder), "--csv", str(folder / "rows.csv")]) == 0
    assert "?" in (folder / "rows.csv").read_text()


@pytest.mark.parametrize("name", ["experiment.json", "seed-1/dense/result.json"])
def test_a_report_does_not_overwrite_what_it_reads(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (folder / name).read_bytes()
    (folder / "link.csv").symlink_to(folder / name)
    for output in (folder / name, folder / "link.csv"):
        assert main(["report", str(folder), "--csv", str(output)]) == 2
        assert "which this command reads; name another file" in capsys.readouterr().err
    assert (folder / name).read_bytes() == before


@pytest.mark.parametrize("name", [".lock", "seed-1/random/round-02/train.log"])
def test_a_fifo_in_the_place_of_a_file_does_not_hang(name: str, folder: Path) -> None:
    run = folder / "seed-1/random/round-02"
    (run / "result.json").unlink()
    (run / "job.json").write_text(json.dumps({"name": "j", "token": "a"}))
    (run / "job-end.json").write_text(json.dumps({"token": "a", "code": 1}))
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    assert main(["status", str(folder), "--all"]) == 0
    with pytest.raises(LotteryError, match=r"(?i)not a regular file"):
        Runner(experiment(folder, rounds=2), Toy(), Here(folder), Progress(quiet=True)).run()


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
