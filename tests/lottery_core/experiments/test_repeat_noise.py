"""``--repeat-noise``: the same tickets trained again under other noise."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch

from lottery_core import Ticket, Weights
from lottery_core.cli import main as lottery
from lottery_core.errors import ConfigError
from lottery_core.experiments import paths
from lottery_core.experiments.configuration import Experiment
from lottery_core.experiments.graph.plan import Run, dense, needs, plan_runs
from lottery_core.experiments.progress import Progress
from lottery_core.experiments.results import read_csv, read_rows
from lottery_core.experiments.runner import Runner
from lottery_core.reports import answer, of_rows, sentences, tables
from lottery_core.reports.answer.luck import luck_of
from tests.lottery_core.experiments.test_runner import here
from tests.lottery_core.toy import Here, Toy, experiment

KINDS = ("winning", "random", "reinit")


def test_the_runs_their_folders_and_what_they_need() -> None:
    first, again = plan_runs(KINDS, [1, 2], 2), plan_runs(KINDS, [1, 2], 2, 3)
    assert again[: len(first)] == first
    assert len(again) == len(set(again)) == 3 * len(first)
    for index, run in enumerate(again):
        assert all(other in again[:index] for other in needs(run))
        assert Run.of_folder(Path("x") / run.folder) == (Path("x"), run)
    run = Run(1, "random", 2, 3)
    assert str(run) == "seed 1 random round 2, noise 3"
    assert run.folder == Path("seed-1/noise-3/random/round-02")
    assert Run(1, "dense", 0, 2).folder == Path("seed-1/noise-2/dense")
    assert len({each.noise_seed for each in again}) == 6
    assert {each.noise_seed for each in first} == {1, 2}
    for wrong in (0, 101):
        with pytest.raises(ConfigError, match=f"--repeat-noise must be from 1 to 100, not {wrong}"):
            plan_runs(KINDS, [1], 1, wrong)
    with pytest.raises(ConfigError, match="not a run's folder"):
        Run.of_folder(Path("x/seed-1/noise-1/dense"))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("noise")
    here(folder, kinds=(*KINDS, "one-shot"), seeds=(1, 2), rounds=2, repeat_noise=3, scope=("weight",))
    return folder


def test_the_same_tickets_other_noise(out: Path) -> None:
    rows = {row.run: row for row in read_rows(out)}
    assert len(rows) == 2 * (1 + 4 * 2) * 3
    assert len({row.pool for row in rows.values()}) == 1
    for run, row in rows.items():
        one = rows[run.first]
        assert (row.noise, row.surviving) == (run.noise, one.surviving)
        if run.noise > 1:
            assert row.score != one.score
        if run.noise > 1 and run.kind != "dense":
            assert row.ticket == one.ticket
            files = [out / each.folder / paths.TICKET for each in (run, run.first)]
            assert files[0].read_bytes() == files[1].read_bytes()
    whole = Ticket.load(out / Run(1, "dense", 0, 2).folder / paths.TICKET)
    start = Weights.load(out / dense(1).folder / paths.INIT)
    assert whole.masks.pruned == 0
    assert all(torch.equal(whole.start()[name], tensor) for name, tensor in start.tensors.items())
    assert rows[Run(1, "one-shot", 1, 2)].same_as == "noise-2/winning/round-01"
    assert [row.run for row in read_csv(out / "results.csv")] == list(rows)


def test_they_count_as_luck_and_as_nothing_else(out: Path, tmp_path: Path) -> None:
    rows = read_rows(out)
    first = [row for row in rows if row.noise == 1]
    loaded = Experiment.load(out)
    assert tables(rows, loaded) == tables(first, loaded)
    found, plain = (answer(some, of_rows(some, loaded).question(None)) for some in (rows, first))
    assert (found.whole, found.others, found.thresholds) == (plain.whole, plain.others, plain.thresholds)
    assert (found.scale, found.given) == (plain.scale, plain.given)
    assert plain.luck == ()
    assert [luck.kind for luck in luck_of(rows)] == ["dense", *("winning", "one-shot", "random", "reinit")]
    assert all(luck.noise > 0 for luck in found.luck)
    assert {luck.kind: (luck.tickets, luck.trainings) for luck in found.luck}["winning"] == (4, 12)
    text = " ".join(sentences(found).split())
    if found.no_answer is None:
        assert "Luck itself: winning tickets trained again under other noise (12 trainings of 4) spread by" in text
    assert lottery(["report", str(out), "--html", str(tmp_path / "page.html"), "-o", str(tmp_path / "c.png")]) == 0
    assert "seed 1, noise 2" in (tmp_path / "page.html").read_text()


def test_what_is_pruned_in_training_is_not_called_a_ticket_that_is_trained_again(tmp_path: Path) -> None:
    """Under other noise it finds another mask; the answer says so."""
    here(tmp_path, kinds=("winning", "gradual"), seeds=(1, 2), rounds=1, repeat_noise=2)
    first, second = (Ticket.load(tmp_path / Run(1, "gradual", 1, noise).folder / paths.TICKET) for noise in (1, 2))
    assert first.content != second.content
    rows = read_rows(tmp_path)
    text = " ".join(sentences(answer(rows, of_rows(rows, experiment(tmp_path)).question(None))).split())
    told = "gradual, the whole training with its pruning again under other noise (4 trainings from 2 starts) spread by"
    assert f"Luck itself: {told}" in text
    assert "gradual tickets trained again" not in text
    assert "winning tickets trained again under other noise (4 trainings of 2) spread by" in text


def test_noise_can_be_added_later_and_is_resumed(tmp_path: Path) -> None:
    here(tmp_path, rounds=1)
    before = (tmp_path / dense(1).folder / paths.MARKER).read_bytes()
    _, trained = here(tmp_path, rounds=1, repeat_noise=2)
    assert trained == [Run(1, "dense", 0, 2), Run(1, "winning", 1, 2), Run(1, "random", 1, 2)]
    assert (tmp_path / dense(1).folder / paths.MARKER).read_bytes() == before
    (tmp_path / trained[1].folder / paths.MARKER).unlink()
    assert here(tmp_path, rounds=1, repeat_noise=2)[1] == [trained[1]]
    rows, trained = here(tmp_path, rounds=1)
    assert trained == []
    assert len(rows) == 6
    assert json.loads((tmp_path / "experiment.json").read_text())["repeat_noise"] == 2
    stream = io.StringIO()
    Runner(experiment(tmp_path, rounds=2, repeat_noise=2), Toy(), Here(tmp_path), Progress(stream)).run()
    assert "1 seed x (dense + 2 kinds x 2 rounds), each trained 2 times" in stream.getvalue()


def test_rows_without_the_column_are_of_the_first_training(tmp_path: Path) -> None:
    here(tmp_path, rounds=1)
    path = tmp_path / "results.csv"
    lines = [line.split(",") for line in path.read_text().splitlines()]
    for change in ("absent", "0"):
        index = lines[0].index("noise")
        some = [
            [cell for place, cell in enumerate(line) if place != index]
            if change == "absent"
            else [change if place == index and number else cell for place, cell in enumerate(line)]
            for number, line in enumerate(lines)
        ]
        (tmp_path / f"{change}.csv").write_text("\n".join(",".join(line) for line in some) + "\n")
        assert {row.noise for row in read_csv(tmp_path / f"{change}.csv")} == {1}
