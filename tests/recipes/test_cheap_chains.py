"""The comparison of cheap ways with the plain chain, on experiments of a toy."""

from __future__ import annotations

import csv
import importlib.util
import io
import math
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from lottery_core import Ticket
from lottery_core.experiments import Score, paths, write_floor
from lottery_core.experiments.progress import Progress
from lottery_core.experiments.runner import Runner
from sb3_lottery.cli.options import parser
from tests.lottery_core.toy import Here, Toy, experiment

RECIPE = Path(__file__).parents[2] / "recipes" / "cheap_chains.py"


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cheap_chains", RECIPE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

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
    (line,) = recipe.lines(out, "tiny")
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


def test_unfinished_seeds_are_left_out(out: Path, recipe: ModuleType, tmp_path: Path) -> None:
    copy = tmp_path / "x"
    shutil.copytree(out, copy)
    (copy / "tiny/half/seed-2/random/round-03" / paths.MARKER).unlink()
    (line,) = recipe.lines(copy, "tiny")
    assert line.seeds == 1
    assert math.isnan(line.bound)
    assert "| - |" in recipe.table([line])


def test_area_and_bound(recipe: ModuleType) -> None:
    points = [(0.0, 10.0), (1.0, 10.0), (3.0, 6.0)]
    assert recipe.area(points, [0.0, 1.0, 3.0]) == pytest.approx((10 * 1 + 8 * 2) / 3)
    assert recipe.area(points, [0.0, 2.0]) == pytest.approx((10 + 8) / 2)
    assert math.isnan(recipe.lower_bound([0.1]))
    assert recipe.lower_bound([0.1, 0.1]) == pytest.approx(0.1)
    # Student's t of one degree of freedom at 95% is 6.3138; the standard error of -1 and 1 is 1.
    assert recipe.lower_bound([-1.0, 1.0]) == pytest.approx(-6.3138, abs=1e-3)


def test_the_commands_are_those_of_sb3_lottery(recipe: ModuleType, tmp_path: Path) -> None:
    for name in recipe.EXPERIMENTS:
        for way in recipe.WAYS:
            words = recipe.command(name, way, tmp_path, ["1-3"], 2)[3:]
            given = vars(parser().parse_args(words))
            assert given["seeds"] == [1, 2, 3]
            assert ("score_at" in given) == (way != recipe.PLAIN)
            assert ("rounds" in given) == (way == recipe.PLAIN)
