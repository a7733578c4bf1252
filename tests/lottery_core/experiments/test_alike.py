"""Runs that train the same ticket under the same noise are trained once."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from lottery_core import Ticket, Weights
from lottery_core.cli.common import run_experiment
from lottery_core.experiments import paths
from lottery_core.experiments.configuration import Experiment
from lottery_core.experiments.executors.local import Processes
from lottery_core.experiments.graph.plan import Run, alike
from lottery_core.experiments.progress import Progress
from lottery_core.experiments.results import read_csv, read_marker, read_rows
from lottery_core.experiments.run_outcome import trained_already
from lottery_core.experiments.runner import Runner
from lottery_core.files import read_json, write_json
from lottery_core.reports import render, states
from tests.lottery_core.experiments.test_runner import here, quiet
from tests.lottery_core.toy import Here, Toy, experiment

KINDS = ("winning", "one-shot", "no-rewind")
WINNING, ONE_SHOT = Run(1, "winning", 1), Run(1, "one-shot", 1)


def test_which_runs_are_alike_by_their_rules() -> None:
    assert alike(ONE_SHOT, KINDS, "epochs:1") == WINNING
    assert alike(ONE_SHOT, ("one-shot", "no-rewind"), "epochs:1") is None
    assert alike(Run(1, "one-shot", 2), KINDS, "epochs:1") is None
    assert alike(Run(1, "no-rewind", 1), KINDS, "epochs:1") is None
    assert alike(Run(2, "no-rewind", 3), KINDS, "init") == Run(2, "winning", 3)
    assert alike(Run(1, "one-shot", 1), KINDS, "none") == WINNING
    for run in (WINNING, Run(1, "dense", 0), Run(1, "random", 1), Run(1, "rewound-dense", 0)):
        assert alike(run, (*KINDS, "random", "rewound-dense"), "init") is None


@pytest.mark.parametrize("search", ["full", "0.5"])
def test_a_run_that_is_not_planned_gives_nothing(search: str, tmp_path: Path) -> None:
    """In round 1, which is not scored, there is no one-shot ticket to take over."""
    chosen = experiment(
        tmp_path, kinds=("one-shot", "no-rewind"), rewind="init", rounds=3, score_rounds=(3,), search=search
    )
    assert all(chosen.alike(run) is None for run in chosen.plan())


@pytest.mark.parametrize("jobs", [1, 3])
def test_one_shot_takes_over_the_first_winning_run(jobs: int, tmp_path: Path) -> None:
    stream = io.StringIO()
    chosen = experiment(tmp_path, rounds=2, kinds=("winning", "one-shot"))
    executor = Here(tmp_path) if jobs == 1 else Processes(Toy().command, jobs=jobs)
    Runner(chosen, Toy(), executor, Progress(stream)).run()
    rows = {row.run: row for row in read_rows(tmp_path)}
    one, other = rows[WINNING], rows[ONE_SHOT]
    assert (other.same_as, other.wall_seconds, other.cpu_seconds) == ("winning/round-01", 0, 0)
    assert (other.score, other.steps, other.surviving) == (one.score, one.steps, one.surviving)
    assert one.wall_seconds > 0
    assert other.ticket != one.ticket  # each says how it was found
    assert [row.same_as for row in read_csv(tmp_path / "results.csv") if row.same_as] == ["winning/round-01"]
    assert rows[Run(1, "one-shot", 2)].same_as == ""
    assert read_json(tmp_path / ONE_SHOT.folder / paths.MARKER)["same_as"] == "winning/round-01"
    assert not (tmp_path / ONE_SHOT.folder / paths.LOG).exists()
    assert stream.getvalue().count("seed 1 one-shot round 1: pruned 50.0%, surviving 50.0%") == 1
    assert f"score {one.score:.4g}, the same as winning/round-01" in stream.getvalue()
    assert "the same as winning/round-01" in render("x", states(chosen, lambda _: None), everything=True)
    assert Runner(chosen, Toy(), Here(tmp_path), quiet()).run() == list(rows.values())


def test_it_has_the_bits_that_its_own_training_would_have_given(tmp_path: Path) -> None:
    here(tmp_path / "both", rounds=1, kinds=("winning", "one-shot"))
    here(tmp_path / "alone", rounds=1, kinds=("one-shot",))
    copied, own = (
        Weights.load(tmp_path / name / ONE_SHOT.folder / "trained.safetensors") for name in ("both", "alone")
    )
    assert all(copied.tensors[name].equal(tensor) for name, tensor in own.tensors.items())
    tickets = [Ticket.load(tmp_path / name / ONE_SHOT.folder / paths.TICKET) for name in ("both", "alone")]
    assert tickets[0].digest == tickets[1].digest


def test_a_later_command_takes_over_what_an_earlier_one_trained(tmp_path: Path) -> None:
    here(tmp_path, rounds=1, kinds=("winning",))
    rows, trained = here(tmp_path, rounds=2, kinds=("one-shot",))
    assert trained == [Run(1, "one-shot", 2)]
    assert {row.run: row.same_as for row in rows}[ONE_SHOT] == "winning/round-01"


@pytest.mark.parametrize("after_rewind", ["full", "remaining"])
def test_whole_chains_without_late_rewinding(after_rewind: str, tmp_path: Path) -> None:
    """From the initialisation on, all of the length remains."""
    changes = {"rewind": "init", "settings": NO_REWIND, "after_rewind": after_rewind}
    rows, trained = here(tmp_path, rounds=3, kinds=("winning", "no-rewind"), **changes)
    assert [run.kind for run in trained] == ["dense", "winning", "winning", "winning"]
    assert [row.same_as for row in rows if row.kind == "no-rewind"] == [f"winning/round-0{k}" for k in (1, 2, 3)]


NO_REWIND = {"lr": 0.01, "steps": 20, "rewind": 0}


def test_other_masks_or_values_are_trained(tmp_path: Path) -> None:
    _, trained = here(tmp_path, rounds=1, kinds=("winning", "no-rewind"))
    assert Run(1, "no-rewind", 1) in trained
    assert trained_already(Experiment.load(tmp_path), Run(1, "no-rewind", 1)) is None


def test_a_copy_is_no_source_and_a_damaged_source_is_trained_again(tmp_path: Path) -> None:
    """The cost stays with one run."""
    chosen = {"rounds": 1, "kinds": ("winning", "one-shot")}
    here(tmp_path, **chosen)
    (tmp_path / WINNING.folder / paths.MARKER).unlink()
    assert here(tmp_path, **chosen)[1] == [WINNING]
    (tmp_path / ONE_SHOT.folder / paths.MARKER).unlink()  # killed after the files were copied
    assert here(tmp_path, **chosen)[1] == []
    row = read_marker(tmp_path / ONE_SHOT.folder)
    assert row is not None
    assert row.same_as == "winning/round-01"


def test_where_the_other_run_fails_it_is_trained(tmp_path: Path) -> None:
    broken = {"lr": 0.01, "steps": 20, "fail": "seed-1/winning/round-01"}
    chosen = experiment(tmp_path, rounds=1, kinds=("winning", "one-shot"), settings=broken)
    with pytest.raises(Exception, match="winning round 1 failed"):
        Runner(chosen, Toy(), Processes(Toy().command, jobs=2), quiet()).run()
    rows = {row.run: row for row in read_rows(tmp_path)}
    assert rows[ONE_SHOT].same_as == ""
    assert rows[ONE_SHOT].wall_seconds > 0


def test_what_is_copied_takes_no_time(tmp_path: Path) -> None:
    settings = {"rewind": "init", "settings": NO_REWIND, "kinds": ("winning", "no-rewind")}
    here(tmp_path, rounds=0, **settings)
    shown = io.StringIO()
    path = tmp_path / "seed-1/dense" / paths.MARKER
    write_json(path, {**read_json(path), "wall_seconds": 100.0})
    asked = experiment(tmp_path, rounds=3, **settings)
    asked.write()
    assert "about 5 min left" in render("x", states(asked, lambda _: None))
    Runner(asked, Toy(), Here(tmp_path), Progress(shown)).run()
    assert "7 runs, 1 seed x (dense + 2 kinds x 3 rounds): about 5 min with 1 at a time" in shown.getvalue()


def test_a_dry_run_says_what_will_not_be_trained_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = experiment(tmp_path, rounds=2, kinds=("winning", "one-shot"))
    run_experiment(chosen, Toy(), Here(tmp_path), dry_run=True)
    out = capsys.readouterr().out
    assert "seed 1 one-shot round 1 (will be the same as seed 1 winning round 1, not trained again)\n" in out
    assert out.endswith("5 runs, 0 done, 4 to do, 1 to copy\n")
    here(tmp_path, rounds=2, kinds=("winning", "one-shot"))
    run_experiment(chosen, Toy(), Here(tmp_path), dry_run=True)
    assert "seed 1 one-shot round 1 (done, the same as winning/round-01)\n" in capsys.readouterr().out
