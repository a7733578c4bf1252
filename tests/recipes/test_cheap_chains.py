"""The comparison of cheap ways with the plain chain, on experiments of a toy."""

from __future__ import annotations

import csv
import importlib.util
import io
import math
import shutil
import sys
from dataclasses import fields, replace
from pathlib import Path
from statistics import fmean
from types import ModuleType

import pytest

from lottery_core import Ticket
from lottery_core.experiments import Score, paths, read_csv, read_searches, write_floor
from lottery_core.experiments.progress import Progress
from lottery_core.experiments.runner import Runner
from lottery_core.pruning import level_after, parse_share
from lottery_core.reports import source_of
from sb3_lottery.cli.options import parser
from tests.lottery_core.toy import Here, Toy, experiment

RECIPE = Path(__file__).parents[2] / "recipes" / "cheap_chains" / "__main__.py"


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cheap_chains", RECIPE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["cheap_chains"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, recipe: ModuleType) -> Path:
    """A plain chain and a cheap one that begins with its dense runs, of two seeds."""
    folder = tmp_path_factory.mktemp("ways")
    plain, cheap = folder / "tiny" / "plain", folder / "tiny" / "half"
    trained = []
    for place, more in ((plain, {}), (cheap, {"search": "0.5", "score_rounds": (2, 3)})):
        if place == cheap:
            cheap.mkdir()
            recipe.begin_with_dense(plain, cheap)
        executor = Here(place)
        chosen = experiment(place, rounds=3, seeds=(1, 2), **more)
        Runner(chosen, Toy(), executor, Progress(io.StringIO())).run()
        trained.append([run.kind for run in executor.trained])
        if place == plain:
            write_floor(plain, Score(1.0, 0.1, 10), "random actions")
    assert trained[0].count("dense") == 2
    assert trained[1].count("dense") == 0
    return folder


def test_a_line_of_the_table(out: Path, recipe: ModuleType) -> None:
    (line,) = recipe.lines(out / "tiny")
    assert (line.experiment, line.way, line.seeds) == ("tiny", "half", 2)
    # A dense run, two searches at a half, two levels of two kinds; the plain chain trains 7, all of 20 steps.
    assert line.cost == pytest.approx((1 + 2 * 0.5 + 4) / 7)
    assert line.critical == pytest.approx(1 + 2 * 0.5 + 1)
    plain, cheap = (
        Ticket.load(out / f"tiny/{way}/seed-{seed}/winning/round-{round_:02d}" / paths.TICKET)
        for way, seed, round_ in (("plain", 1, 2), ("half", 1, 2))
    )
    assert plain.masks.overlap(cheap.masks) < 1
    assert 0 < line.chance < line.overlap < 1
    assert line.difference == pytest.approx(line.area - line.area_plain)
    assert line.bound < line.difference


def test_the_table_and_its_file(out: Path, recipe: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert recipe.main([str(out), "--experiment", "tiny", "--table"]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0].startswith("| experiment | way | seeds | cost | critical |")
    assert text.splitlines()[2].startswith("| tiny | half | 2 | 0.86 | 3.0 |")
    with open(out / "tiny" / "ways.csv") as file:
        (row,) = csv.DictReader(file)
    assert float(row["cost"]) == pytest.approx(6 / 7)


def test_what_is_published_follows_from_its_rows(out: Path, recipe: ModuleType, tmp_path: Path) -> None:
    """The table is computed again from the rows, whatever the file says; the overlap needs the tickets and is kept."""
    from recipes.upkeep import report_results

    page = "Before.\n\n| experiment | way | old |\n| --- | --- | --- |\n| x | y | z |\n\nBehind.\n"
    (tmp_path / "README.md").write_text(page)
    assert recipe.main([str(out), "--experiment", "tiny", "--publish", str(tmp_path)]) == 0
    folder = tmp_path / "tiny"
    assert {path.name for path in folder.iterdir()} == {
        "ways.csv", "curve.png", "plain.csv", "half.csv", "half-search.csv"
    }  # fmt: skip
    (line,) = recipe.lines(out / "tiny")
    (folder / "ways.csv").write_text((folder / "ways.csv").read_text().replace(str(line.cost), "0.01"))
    publish = sys.modules["publish"]
    assert publish.read_ways(folder / "ways.csv")[0].cost == 0.01
    (again,) = publish.recomputed(folder)
    for name, value in vars(line).items():
        assert vars(again)[name] == (value if isinstance(value, str) else pytest.approx(value, nan_ok=True)), name
    new = report_results.with_ways(page, tmp_path, write=False)
    assert new == page.replace(page[page.index("|") : page.rindex("|") + 1], recipe.table([line]))
    with pytest.raises(ValueError, match="has no table that begins"):
        report_results.with_ways("", tmp_path, write=False)


def test_unfinished_seeds_are_left_out(out: Path, recipe: ModuleType, tmp_path: Path) -> None:
    copy = tmp_path / "x"
    shutil.copytree(out, copy)
    (copy / "tiny/half/seed-2/random/round-03" / paths.MARKER).unlink()
    (line,) = recipe.lines(copy / "tiny")
    assert line.seeds == 1
    assert math.isnan(line.bound)
    assert "| - |" in recipe.table([line])


def test_area_and_bound(recipe: ModuleType) -> None:
    table = sys.modules["table"]
    assert table.area([(1.0, 10.0), (2.0, 10.0), (4.0, 6.0)]) == pytest.approx((10 * 1 + 8 * 2) / 3)
    assert table.area([(1.0, 10.0)]) == 10
    assert math.isnan(table.lower_bound([0.1]))
    # Neither has a spread that would say how wrong its mean may be.
    assert math.isnan(table.lower_bound([0.1, 0.1]))
    assert math.isnan(table.lower_bound([0.1, math.nan]))
    assert math.isnan(table.lower_bound([0.1, math.inf, 0.2]))
    # Student's t of one degree of freedom at 95% is 6.3138; the standard error of -1 and 1 is 1.
    assert table.lower_bound([-1.0, 1.0]) == pytest.approx(-6.3138, abs=1e-3)


def test_only_levels_that_both_score_are_compared(out: Path, recipe: ModuleType, tmp_path: Path) -> None:
    """Neither the plain chain's other levels nor the dense network, which is the same in both, make a difference."""
    copy = tmp_path / "x"
    shutil.copytree(out / "tiny", copy)
    (before,) = recipe.lines(copy)
    results = copy / "plain/results.csv"
    rows = read_csv(results)
    first = [row for row in rows if row.round == 1]
    assert {row.kind for row in first} == {"winning", "random"}
    source = source_of(copy / "plain")
    others = [replace(row, score=row.score / 2) if row.round == 1 else row for row in source.rows]
    table, cheap = sys.modules["table"], source_of(copy / "half")
    found = table.compared(replace(source, rows=others), cheap, read_searches(copy / "half"), [1, 2])
    for name in ("area_plain", "area", "difference", "effect_plain", "small_plain"):
        assert found[name] == pytest.approx(vars(before)[name], nan_ok=True), name
    winning = {(row.seed, row.round): row for row in source.rows if row.kind == "winning"}
    dense = fmean(row.score for row in source.rows if row.kind == "dense")
    shares = [(winning[seed, 2].score + winning[seed, 3].score) / 2 for seed in (1, 2)]
    assert before.area_plain == pytest.approx(fmean((share - 1) / (dense - 1) for share in shares))


def test_a_training_that_diverged_counts_as_the_worst(out: Path, recipe: ModuleType) -> None:
    """And without a floor there is no area, which must not end the table."""
    table = sys.modules["table"]
    full, cheap = (source_of(out / "tiny" / way) for way in ("plain", "half"))
    searches = read_searches(out / "tiny" / "half")

    def with_score(score: float) -> dict[str, float]:
        rows = [
            replace(row, score=score) if (row.kind, row.seed, row.round) == ("winning", 1, 3) else row
            for row in cheap.rows
        ]
        return table.compared(full, replace(cheap, rows=rows), searches, [1, 2])

    worst = min(row.score for row in cheap.rows if (row.kind, row.seed, row.round) != ("winning", 1, 3))
    assert with_score(math.nan) == pytest.approx(with_score(worst), nan_ok=True)
    assert math.isfinite(with_score(math.inf)["bound"])
    alike = [
        replace(source, rows=[replace(row, score=1.0) for row in source.rows if row.kind != "floor"])
        for source in (full, cheap)
    ]
    found = table.compared(*alike, searches, [1, 2])
    assert all(math.isnan(found[name]) for name in ("area", "difference", "bound"))


@pytest.mark.parametrize(
    ("seeds", "bound", "said"), [(4, 0.1, "-"), (5, 0.1, "yes"), (5, -0.1, "not shown"), (9, math.nan, "-")]
)
def test_a_verdict_takes_five_seeds(seeds: int, bound: float, said: str, recipe: ModuleType) -> None:
    line_of = sys.modules["table"].Line
    numbers = dict.fromkeys((field.name for field in fields(line_of)), 0.5)
    line = line_of(**{**numbers, "experiment": "x", "way": "y", "seeds": seeds, "bound": bound})
    assert f"| {said} |" in recipe.table([line]).splitlines()[2]


@pytest.mark.parametrize("short", [False, True])
def test_the_commands_are_those_of_sb3_lottery(recipe: ModuleType, tmp_path: Path, short: bool) -> None:
    levels = []
    for name in recipe.EXPERIMENTS:
        for way, options in recipe.ways(recipe.SHORT if short else recipe.LONG).items():
            words = recipe.command(["sb3-lottery", *recipe.EXPERIMENTS[name].split()], options, tmp_path, ["1-3"], 2)
            given = vars(parser().parse_args(words[1:]))
            assert given["seeds"] == [1, 2, 3]
            assert ("score_rounds" in given) == (way != recipe.PLAIN)
            if way != recipe.PLAIN:
                first = parse_share(given["first"], "") if "first" in given else None
                levels.append([level_after(each, given["prune_rate"], first) for each in given["score_rounds"]])
    for found in levels:  # all ways score the same levels
        assert found == pytest.approx([0.336, 0.113, 0.038], rel=0.01)


def test_a_command_of_the_users_keeps_its_training_arguments(recipe: ModuleType, tmp_path: Path) -> None:
    words = ["fairseq-lottery", "--rewind", "update:5", "--", "data", "--arch", "transformer"]
    found = recipe.command(words, ["--rounds", "6"], tmp_path, ["1"], 1)
    assert found[:5] == ["fairseq-lottery", "--rewind", "update:5", "--rounds", "6"]
    assert found[-4:] == words[-4:]
    assert found.index("--out") < found.index("--")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--", "sb3-lottery"], "give the experiment a name"),
        (["--experiment", "mine"], "give its command behind --"),
        (["--experiment", "mine", "--table"], "has no way with a finished seed"),
    ],
)
def test_what_is_refused(
    recipe: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        recipe.main([str(tmp_path), *words])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
