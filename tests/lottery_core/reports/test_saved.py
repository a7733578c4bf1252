"""What a cheap chain saved, in the report, the status, the plan and the page."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest

from lottery_core.cli.common import run_experiment
from lottery_core.errors import ConfigError
from lottery_core.experiments import paths, read_searches
from lottery_core.experiments.progress import Progress
from lottery_core.experiments.runner import Runner
from lottery_core.files import CurveFile, CurvePoint
from lottery_core.reports import answer, costs, render, report, saved_lines, source_of, states
from lottery_core.reports.page import render_page, subject_of, write_page
from tests.lottery_core.toy import Here, Toy, experiment

CHEAP = {"rounds": 4, "search": "0.5", "score_rounds": (2, 4)}
LINES = [
    "search (--search 0.5): 3 rounds, 50% of a training on average",
    "cost: 6.5 trainings, 72% of the 9 with every round trained and scored; 3.5 one after the other instead of 5",
]


@pytest.fixture(scope="module")
def cheap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("saved") / "x"
    Runner(experiment(out, **CHEAP), Toy(), Here(out), Progress(io.StringIO())).run()
    return out


def test_costs_before_and_after_the_first_search(tmp_path: Path, cheap: Path) -> None:
    own, plain = costs(experiment(tmp_path, **{**CHEAP, "search": "settled"}), [])
    assert (own.total, plain.total) == (1 + 3 + 4, 9)  # nothing is known of how soon masks settle
    assert saved_lines(experiment(tmp_path, **{**CHEAP, "search": "settled"}), [])[0].startswith("cost: at most 8.0 ")
    assert saved_lines(experiment(cheap, **CHEAP), read_searches(cheap)) == LINES
    assert saved_lines(experiment(tmp_path), []) == []


def test_both_ends_of_the_comparison_are_at_the_last_level(tmp_path: Path) -> None:
    """Rounds beyond the last scored one are trained by neither."""
    levels = {"rounds": 9, "score_rounds": (2, 4)}
    own, plain = costs(experiment(tmp_path, **levels), [])
    assert (own.total, plain.total, plain.critical) == (1 + 4 + 2, 9, 5)


def test_the_report_says_it(cheap: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report([cheap])
    out = capsys.readouterr().out
    assert all(line in out for line in LINES)
    rounds = [line.split()[0] for line in out.splitlines() if line.strip()[:2] in ("1 ", "2 ", "3 ", "4 ")]
    assert rounds == ["2", "4"]


def test_the_status_shows_both_kinds_of_runs(cheap: Path) -> None:
    text = render("x", states(experiment(cheap, **CHEAP), lambda name: None), everything=True)
    assert "8 done, of 8 runs" in text
    assert "seed 1 winning search round 3" in text
    assert "stopped at 50%" in text
    assert "search rounds: 50% of a training on average" in text


def test_the_plan_shows_both_kinds_of_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_experiment(experiment(tmp_path / "new", **CHEAP), Toy(), Here(tmp_path), dry_run=True)
    out = capsys.readouterr().out
    assert "seed 1 winning search round 3" in out
    assert "seed-1/winning/search-03" in out
    assert "8 runs, 0 done, 8 to do" in out
    assert LINES[1] in out
    assert not (tmp_path / "new").exists()


def test_the_page_says_it(cheap: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_page(path, [subject_of(cheap, lambda name: None)])
    text = path.read_text()
    assert LINES[1] in text
    assert "winning, search only" in text


def test_a_dense_run_says_what_thresholds_would_save(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "x"
    Runner(experiment(out, rounds=0), Toy(), Here(out), Progress(io.StringIO())).run()
    report([out])
    assert "searches would have ended" not in capsys.readouterr().out
    curve = CurveFile(out / "seed-1/dense" / paths.LEARNING, pause=0.0)
    for check in range(1, 21):
        distance = 0.1 if check < 4 else 0.03 if check < 9 else 0.001
        curve.add(CurvePoint(check, 10 * check, 1.0, distance=distance, slows=check > 2))
    report([out])
    line = "in seed 1 dense: settled:0.05 at 30%, settled:0.02 at 55%, settled:0.01 at 55%"
    assert line in capsys.readouterr().out
    assert line in render_page([subject_of(out, lambda name: None)])


def test_the_length_of_a_search_is_that_of_its_runs(cheap: Path, tmp_path: Path) -> None:
    source = source_of(cheap)
    given = {each.kind: each for each in answer(source.rows, source.question(None), source.searches).given}
    assert given["winning"].search == 20 + 3 * 10  # a dense run of 20 steps, three searches of half of that
    assert given["dense"].search == 0
    known = source_of(cheap / paths.RESULTS)  # beside it are the searches
    assert {run.run: run.steps for run in known.searches} == {run.run: run.steps for run in source.searches}
    page = render_page([subject_of(cheap / paths.RESULTS, lambda name: None)])
    assert "winning, search only" in page
    shutil.copy(cheap / paths.RESULTS, tmp_path / paths.RESULTS)
    assert not source_of(tmp_path / paths.RESULTS).searches
    (tmp_path / paths.SEARCHED).write_text("who,when\nme,now\n")
    assert not source_of(tmp_path / paths.RESULTS).searches


def test_a_ticket_of_the_whole_budget_needs_full_searches(tmp_path: Path) -> None:
    kinds = ("winning", "random-budget")
    with pytest.raises(ConfigError, match=r"random-budget is given as much training as a search .* --search 0.5 out"):
        experiment(tmp_path, **CHEAP, kinds=kinds)
    chosen = experiment(tmp_path, rounds=2, score_rounds=(2,), kinds=kinds)
    assert costs(chosen, [])[0].total == 1 + 2 + 3
