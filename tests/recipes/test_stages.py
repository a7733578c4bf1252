"""Stages: what is done is left out, a stopped recipe goes on, other settings are noticed. Commands are stand-ins."""

from __future__ import annotations

import gzip
import re
import stat
import sys
from pathlib import Path

import pytest

from tests.conftest import Result, one_line
from tests.recipes.helpers import run

# Notes its name and what tells the stages apart, makes the folder that is asked for, fails where it is told to.
STAND_IN = """#!/usr/bin/env bash
name=$(basename "$0")
line=$name
while (($#)); do
    case $1 in
        --rounds) line+=" $2" ;;
        --dry-run) if [[ $name = fairseq-lottery ]]; then line+=" dry"; fi ;;
        --destdir) mkdir -p "$2" ;;
        *.py) line+=" $(basename "$1")" ;;
    esac
    shift
done
echo "$line" >>"$CALLS"
echo "said by $line"
if [[ $line = "${FAILS:-}" ]]; then
    echo "no luck" >&2
    exit 3
fi
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A virtual environment of stand-ins, and folders of the test's own."""
    (tmp_path / "venv/bin").mkdir(parents=True)
    for name in ("fairseq-lottery", "fairseq-preprocess", "sb3-lottery", "lottery", "python"):
        path = tmp_path / "venv/bin" / name
        path.write_text(STAND_IN)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return {
        "LOTTERY_VENV": str(tmp_path / "venv"),
        "CALLS": str(tmp_path / "calls"),
        "OUT": str(tmp_path / "out"),
        "PREPARED": str(tmp_path / "work"),
        "GPUS": "0",
    }


DATA = ["python fetch.py", "fairseq-preprocess"]
TRIED, DENSE, ROUNDS, REPORT = "fairseq-lottery 20 dry", "fairseq-lottery 0", "fairseq-lottery 20", "lottery"


def called(environment: dict[str, str], *words: str, status: int = 0, **more: str) -> tuple[list[str], Result]:
    """What a recipe calls."""
    calls = Path(environment["CALLS"])
    calls.unlink(missing_ok=True)
    done = run("wikitext2_lstm", *words, **environment, **more)
    assert done.returncode == status, done.stderr
    return calls.read_text().splitlines() if calls.exists() else [], done


def test_all_stages_then_only_the_report(environment: dict[str, str], tmp_path: Path) -> None:
    assert called(environment)[0] == [*DATA, TRIED, DENSE, ROUNDS, REPORT]
    assert (tmp_path / "work/data-bin").is_dir()
    log = (tmp_path / "out/recipe.log").read_text()
    assert len(re.findall(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \w+: \w", log, re.M)) == 7
    assert f"said by {ROUNDS}" in log
    again, done = called(environment)
    assert again == [REPORT]
    assert "wikitext2_lstm: stage rounds: done before" in done.stderr
    grown = (tmp_path / "out/recipe.log").read_text()
    assert grown.startswith(log)
    assert grown[len(log) :].endswith(f" report: lottery report {tmp_path / 'out'}\n")
    assert grown.count("\n") == log.count("\n") + 1


def test_from_one_stage_to_another(environment: dict[str, str]) -> None:
    refused, done = called(environment, "--stage", "rounds", status=2)
    assert refused == []
    one_line(done, "rounds needs data, which is not done: begin with --stage data, or without --stage")
    assert called(environment, "--stop-stage", "data")[0] == DATA
    one_line(called(environment, "--stage", "report", status=2)[1], "report needs dense")
    assert called(environment, "--stage", "dense", "--stop-stage", "dense")[0] == [TRIED, DENSE]
    assert called(environment, "--stage", "rounds")[0] == [ROUNDS, REPORT]


@pytest.mark.parametrize(
    ("fails", "before", "after"),
    [
        ("python fetch.py", DATA[:1], [*DATA, TRIED, DENSE, ROUNDS, REPORT]),
        ("fairseq-preprocess", DATA, [*DATA, TRIED, DENSE, ROUNDS, REPORT]),
        (TRIED, [*DATA, TRIED], [TRIED, DENSE, ROUNDS, REPORT]),
        (DENSE, [*DATA, TRIED, DENSE], [TRIED, DENSE, ROUNDS, REPORT]),
        (ROUNDS, [*DATA, TRIED, DENSE, ROUNDS], [ROUNDS, REPORT]),
    ],
)
def test_a_stopped_recipe_goes_on(fails: str, before: list[str], after: list[str], environment: dict[str, str]) -> None:
    stopped, done = called(environment, FAILS=fails, status=3)
    assert stopped == before
    if fails == "fairseq-preprocess":
        log = f"{environment['PREPARED']}/data.log"
        assert f"wikitext2_lstm: error: fairseq-preprocess failed: no luck, see {log}" in done.stderr
        assert "said by fairseq-preprocess" in Path(log).read_text()
    assert called(environment)[0] == after


@pytest.mark.parametrize(
    ("name", "words", "folder"),
    [("quickstart", ["--data", "numbers"], "out-numbers-data/bin"), ("wikitext2_valid_lstm", [], "work/data-bin")],
)
def test_data_that_were_half_made_are_made_again(
    name: str, words: list[str], folder: str, environment: dict[str, str], tmp_path: Path
) -> None:
    """fairseq-preprocess refuses a folder that has a dictionary."""
    for text in ("valid", "test"):
        (tmp_path / f"{text}.txt.gz").write_bytes(gzip.compress(b"one\ntwo\n"))
    environment |= {"WORK": str(tmp_path / "work"), "DATA": str(tmp_path)}
    made = tmp_path / folder
    made.mkdir(parents=True)
    (made / "dict.txt").touch()  # of an older version that was stopped
    done = run(name, *words, **environment, FAILS="fairseq-preprocess")
    assert (done.returncode, made.exists()) == (3, False)
    log = made.parent / "preprocess.log"
    assert done.stderr == f"{name}: error: fairseq-preprocess failed: no luck, see {log}\n"
    assert run(name, *words, **environment).returncode == 0
    assert list(made.iterdir()) == []


def test_other_settings_are_noticed(environment: dict[str, str], tmp_path: Path) -> None:
    called(environment)
    assert called(environment, "ROUNDS=25")[0] == ["fairseq-lottery 25", REPORT]
    # Where the files are from and how many workers there are decide nothing.
    assert called(environment, "ROUNDS=25", "WORKERS=7", "--from", str(tmp_path))[0] == [REPORT]
    refused, done = called(environment, "--small", status=2)
    assert refused == []
    assert f"{environment['PREPARED']} was made with other settings" in done.stderr


def test_games_one_after_the_other(environment: dict[str, str], tmp_path: Path) -> None:
    del environment["PREPARED"]
    done = run("classic_control", "cartpole", "acrobot", "--stop-stage", "dense", **environment)
    assert done.returncode == 0, done.stderr
    assert Path(environment["CALLS"]).read_text().splitlines() == ["sb3-lottery 20", "sb3-lottery 0"] * 2
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"cartpole", "acrobot"}
    Path(environment["CALLS"]).unlink()
    failed = run("classic_control", "acrobot", "cartpole", **environment, FAILS="sb3-lottery 20")
    assert failed.returncode == 3
    assert "classic_control: acrobot" in failed.stderr
    assert Path(environment["CALLS"]).read_text().splitlines() == ["sb3-lottery 20"], "the other game was not begun"


def test_a_pair_of_transfer_gets_the_further_seeds_of_its_target(environment: dict[str, str], tmp_path: Path) -> None:
    done = tmp_path / "out/acrobot/seed-1/dense/result.json"
    for seed in ("1", "2"):
        text = tmp_path / f"out/acrobot/seed-{seed}/dense/result.json"
        text.parent.mkdir(parents=True)
        text.touch()
        assert run("transfer", "cartpole-to-acrobot", **environment).returncode == 0
        assert (tmp_path / f"out/cartpole-to-acrobot/seed-{seed}/dense/result.json").exists()
        done.write_text("changed")  # what is there is not copied again
    assert (tmp_path / "out/cartpole-to-acrobot/seed-1/dense/result.json").read_text() == ""
    assert {path.name for path in (tmp_path / "out/cartpole-to-acrobot").iterdir()} == {"seed-1", "seed-2"}


def test_more_gpus_than_there_are(environment: dict[str, str]) -> None:
    python = Path(environment["LOTTERY_VENV"]) / "bin/python"
    python.write_text("#!/usr/bin/env bash\necho 2\n")
    done = run("wikitext2_lstm", "--gpus", "3", "--stop-stage", "data", **environment)
    one_line(done, "GPUS=3, but torch sees 2 here: give --gpus N, or 0 for the CPU")


def test_what_slurm_does_not_know_is_told_before_the_data_stage(environment: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    environment["LOTTERY_VENV"] = sys.prefix
    done = run("wikitext2_lstm", "--slurm", "partitio=gpu", **environment)
    one_line(done, "wikitext2_lstm: error: unknown Slurm option 'partitio': did you mean partition")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "work").exists()


def test_no_such_environment(environment: dict[str, str]) -> None:
    environment["LOTTERY_VENV"] = "/nowhere"
    one_line(run("wikitext2_lstm", **environment), "LOTTERY_VENV=/nowhere is not a virtual environment")
