"""The page without a browser: its numbers, its words, its markup."""

from __future__ import annotations

import csv
import json
import math
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from markupsafe import escape

from lottery_core import Ticket
from lottery_core.errors import ConfigError, WriteError
from lottery_core.experiments import Row, paths
from lottery_core.files import write_json
from lottery_core.pruning import KINDS
from lottery_core.reports import answer, of_rows, sentences
from lottery_core.reports.page import (
    Contrast,
    PageAnswer,
    Subject,
    answered,
    check_page,
    render_page,
    subject_of,
    write_page,
)
from lottery_core.reports.page.curve import curve_section
from lottery_core.reports.page.figures import Budget
from lottery_core.reports.page.overlap import overlap_section
from lottery_core.reports.page.tickets import Tickets
from tests.lottery_core.reports.page.made import LAYERS, write_experiment
from tests.lottery_core.reports.page.parsed import Page
from tests.lottery_core.reports.test_report import row

HOSTILE = "<b>x</b></script <!--></script><script>hacked=1</script><img src=x onerror=hacked=1>&amp;'\"{{7*7}}"


def no_job(name: str) -> None:
    """There is no Slurm."""


def page_of(*folders: Path) -> Page:
    """The page of some folders."""
    return Page(render_page([subject_of(folder, no_job) for folder in folders]))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row], Page]:
    """A finished experiment: its folder, its rows, its page."""
    out = tmp_path_factory.mktemp("page") / "mine"
    rows = write_experiment(out, rounds=2)
    return out, rows, page_of(out)


def test_the_numbers_are_those_of_results_csv(made: tuple[Path, list[Row], Page]) -> None:
    out, _, page = made
    with open(out / paths.RESULTS, newline="") as file:
        lines = list(csv.DictReader(file))
    names = ("pruned", "surviving", "score", "score_se", "steps", "wall_seconds", "cpu_seconds")
    head, *rows = page.table("every finished run")
    assert [text for text, _ in head][1:5] == ["pruned", "surviving", "score", "standard error"]
    assert [[value for _, value in cells[1:]] for cells in rows] == [[line[name] for name in names] for line in lines]
    assert rows[1][0][0] == "seed 1, winning, round 1"


def test_the_curve_has_every_seed_and_three_statistics(made: tuple[Path, list[Row], Page]) -> None:
    _, rows, page = made
    chart = page.chart("mine: score")
    assert chart["variants"] == ["mean", "median", "interquartile mean"]
    by_switch = {series["switch"]: series for series in chart["series"]}
    assert set(by_switch) == {"0-dense", "0-winning", "0-random"}
    assert by_switch["0-dense"]["flat"]
    for kind in ("winning", "random"):
        series = by_switch[f"0-{kind}"]
        for place, round_ in enumerate((1, 2)):
            scores = [some.score for some in rows if (some.kind, some.round) == (kind, round_)]
            assert [score for _, score, _ in series["seeds"][place]] == scores
            assert [y[place] for y in series["y"]] == pytest.approx(
                [statistics.fmean(scores), statistics.median(scores), statistics.fmean(scores)]
            )
    means = page.table("by round: mean")
    assert float(means[2][4][1]) == pytest.approx(by_switch["0-winning"]["y"][0][0])


def test_the_interquartile_mean_leaves_out_quarters() -> None:
    rows = [
        row("dense", 0, 1.0),
        *(row("winning", 1, score, seed) for seed, score in enumerate((1.0, 9.0, 10.0, 30.0))),
    ]
    (chart,) = Page(render_page([Subject("x", rows)])).charts.values()
    assert [y[0] for y in chart["series"][1]["y"]] == [12.5, 9.5, 9.5]


def test_the_means_have_the_marks_of_the_table() -> None:
    """The share of a line is not that of a kind with the counts of another experiment."""
    other = {"surviving": 900, "surviving_fraction": 0.9, "pruned_fraction": 0.1, "carried": 500}
    rows = [
        *(row("dense", 0, 100.0, seed) for seed in (1, 2)),
        row("floor", 0, 0.0),
        *(replace(row("transfer", 1, 70.0, seed), **other) for seed in (1, 2)),
        *(row("winning", 1, 90.0, seed, ("0.weight",)) for seed in (1, 2)),
        row("random", 1, 80.0),
        *(replace(row("random", 2, math.nan, seed), not_run="at the floor") for seed in (1, 2)),
    ]
    section = curve_section([Subject("x", rows)], Budget())
    means = section.tables[0]
    assert means.head == ["round", "pruned", "surviving", "dense", "winning", "random", "transfer", "floor"]
    lines = [[cell.text for cell in line] for line in means.rows]
    assert lines[1][2:7] == ["80%", "\N{EN DASH}", "90.00 ± 0.000*", "80.00 (n=1)", "70.00 ± 0.000‡"]
    assert (lines[0][7], lines[2][5]) == ("0.000", "0.000 ± 0.000†")
    assert means.caption.endswith(
        "; * a layer has collapsed; ‡ keeps another share of the pool than its line says, so it is of another level"
    )
    text = " ".join(str(part) for part in section.text)
    assert "transfer: masks of another experiment for 500 of 1,000 parameters" in text
    assert "A ring marks a level that was not run" in text
    random = next(series for series in section.charts[0].data["series"] if series["switch"] == "0-random")
    assert random["marks"] == ["", "circle-open"]
    assert random["seeds"][1][0] == ["seed 1", 0.0, "; not run: at the floor"]


def test_a_level_that_was_not_run_is_not_missing() -> None:
    """Means count it at the floor, so they are over the same seeds."""
    rows = [*(row(kind, int(kind != "dense"), 9.0, seed) for kind in ("dense", "random") for seed in (1, 2))]
    rows += [
        row("floor", 0, 0.0),
        row("random", 2, 1.0),
        replace(row("random", 2, math.nan, 2), not_run="at the floor"),
    ]
    rows += [row("winning", 1, 9.0)]
    words = Page(render_page([Subject("x", rows)])).words
    assert "winning: finished for fewer than 2 seeds: round 1 (1)" in words
    assert "random: finished" not in words


def test_overlaps_are_drawn_at_the_shares_that_kinds_keep(made: tuple[Path, list[Row], Page]) -> None:
    """A last row of another share, as of transfer-random, moves only its own line."""
    out, rows, _ = made
    moved = [replace(some, surviving_fraction=0.9) if some.kind == "random" else some for some in rows]
    section = overlap_section(Tickets(out, rows), moved, Budget())
    shares = {some.round: some.surviving_fraction for some in rows}
    by_name = {series["name"]: series["x"] for series in section.charts[0].data["series"]}
    assert by_name["winning"] == [shares[1], shares[2]]
    assert by_name["random"] == [0.9, 0.9]
    assert [tick for tick, _ in section.charts[1].data["ticks"]] == [shares[1], shares[2]]


def test_survivors_and_overlaps_are_those_of_the_tickets(made: tuple[Path, list[Row], Page]) -> None:
    out, _, page = made
    tickets = {
        (seed, kind, round_): Ticket.load(out / f"seed-{seed}/{kind}/round-0{round_}/ticket.safetensors").masks
        for seed in (1, 2, 3)
        for kind in ("winning", "random")
        for round_ in (1, 2)
    }
    group = page.chart("survivors of each tensor")["groups"][0]
    assert group["name"] == "winning"
    assert group["y"] == sorted(LAYERS)
    for place, name in enumerate(group["y"]):
        shares = [tickets[seed, "winning", 2].survivors()[name] / group["total"][place] for seed in (1, 2, 3)]
        assert group["z"][place][1] == pytest.approx(statistics.fmean(shares), rel=1e-3)
    series = page.chart("Between seeds")["series"][0]
    pairs = [(1, 2), (1, 3), (2, 3)]
    for round_ in (1, 2):
        some = [tickets[a, "winning", round_].overlap(tickets[b, "winning", round_]) for a, b in pairs]
        assert series["y"][0][round_ - 1] == pytest.approx(statistics.fmean(some))
    kinds = page.chart("Between kinds")["series"][0]
    same = [tickets[seed, "winning", 1].overlap(tickets[seed, "random", 1]) for seed in (1, 2, 3)]
    assert kinds["y"][0][0] == pytest.approx(statistics.fmean(same))
    nested = page.chart("Between rounds")["groups"][0]
    left = [tickets[seed, "winning", 2].surviving / tickets[seed, "winning", 1].surviving for seed in (1, 2, 3)]
    assert nested["z"][0][1] == pytest.approx(statistics.fmean(left))


def test_chance_is_what_masks_drawn_at_random_have(tmp_path: Path) -> None:
    """Seeds of random tickets overlap as chance says; nothing else ties their places."""
    write_experiment(tmp_path / "x", kinds=("random",), seeds=range(1, 11), rounds=1, curve=0)
    solid, dotted = (series for series in page_of(tmp_path / "x").chart("Between seeds")["series"][2:])
    assert "chance" in dotted["name"]
    assert solid["y"][0][0] == pytest.approx(dotted["y"][0][0], abs=0.03)
    assert solid["tail"] == ["45 pairs"]


def test_learning_curves_costs_command_configuration_versions(made: tuple[Path, list[Row], Page]) -> None:
    out, rows, page = made
    series = page.chart("while training")["series"]
    assert [run["x"] for some in series for run in some["runs"]] == [[100, 200, 300, 400, 500]] * len(rows)
    last = {run["name"]: run["y"][-1] for some in series for run in some["runs"]}
    assert last["seed 2 random round 1"] == pytest.approx(
        next(some.score for some in rows if (some.seed, some.kind, some.round) == (2, "random", 1)), rel=1e-3
    )
    costs = page.table("time of the finished runs")
    assert [line[0][0] for line in costs] == ["kind", "dense", "winning", "random", "all"]
    assert float(costs[-1][2][1]) == pytest.approx(sum(some.cpu_seconds for some in rows))
    written = json.loads((out / "experiment.json").read_text())
    assert written["command"] in page.words
    settings = {line[0][0]: line[1][0] for line in page.table("configuration")}
    assert settings["settings.lr"] == "0.01"
    assert settings["prune_rate"] == "0.4"
    assert {line[0][0]: line[1][0] for line in page.table("versions")[1:]} == written["versions"]


def test_what_people_should_know_is_listed(tmp_path: Path) -> None:
    write_experiment(tmp_path, rounds=2, done=12, curve=0)
    failed = tmp_path / "seed-3/random/round-01"
    write_json(failed / paths.FAILED, {"reason": "the disk is full"})
    (tmp_path / "seed-2/winning/round-01/ticket.safetensors").write_bytes(b"damaged")
    subject = subject_of(tmp_path, no_job)
    rows = [replace(some, score=math.nan) if some.run.seed == 2 and some.round == 2 else some for some in subject.rows]
    rows[1] = replace(rows[1], collapsed=("0.weight",))
    page = Page(render_page([replace(subject, rows=rows)]))
    for text in (
        "seed 3 random round 1 failed: the disk is full",
        "winning: the layer “0.weight” has collapsed, no parameter of it survives: from round 1 (seed 1)",
        "seed 2 winning round 2: its score is nan",
        "winning: finished for fewer than 3 seeds: round 2 (2)",
        "seed 2 winning round 1: cannot read",
        "12 done, 1 failed, 2 waiting, of 15 runs.",
    ):
        assert text in page.words, text


def test_scores_of_fewer_episodes_are_told() -> None:
    old = Path("tests/data/version-0.1/sb3")
    subject = subject_of(old, no_job)
    short = [replace(subject.rows[0], returns=3), *subject.rows[1:]]
    assert "in 1 run fewer than 5 episodes ended" in Page(render_page([replace(subject, rows=short)])).words


@pytest.mark.parametrize("framework", ["sb3", "fairseq"])
def test_folders_of_version_0_1(framework: str) -> None:
    """One seed, no learning curves, no later column; the games' inputs by name."""
    page = page_of(Path("tests/data/version-0.1") / framework)
    assert "version 0.1 wrote none" in page.words
    assert "one seed has nothing to be compared with" in page.words
    assert ("cart position" in page.words) == (framework == "sb3")
    assert (2, "Survivors by layer and round") in page.headings


def test_an_experiment_that_has_only_begun(tmp_path: Path) -> None:
    write_experiment(tmp_path / "none", done=0)
    page = page_of(tmp_path / "none")
    assert "No run has finished yet." in page.words
    assert "21 waiting, of 21 runs" in page.words
    write_experiment(tmp_path / "dense", done=1)
    page = page_of(tmp_path / "dense")
    assert page.chart("dense: score")["series"][0]["flat"]
    assert "There is no finished ticket to look into." in page.words


def test_rows_alone(tmp_path: Path) -> None:
    """Without a folder there are the rows; kinds and scores that nobody knew of are shown, too."""
    rows = [row("dense", 0, -1.0), row("floor", 0, -9.0), row("later", 1, -2.0), row("winning", 1, math.inf)]
    page = Page(render_page([Subject("x", rows)]))
    flat = {series["name"]: series["flat"] for series in page.chart("x: score")["series"]}
    assert flat == {"dense": True, "later": False, "floor": True}
    assert [cells[3][1] for cells in page.table("every finished run")[1:]] == ["-1.0", "-9.0", "-2.0", "inf"]
    with pytest.raises(ConfigError, match="no finished run"):
        subject_of(tmp_path, no_job)


def test_several_experiments_share_an_axis_where_their_scores_do(tmp_path: Path) -> None:
    for name, changes in (("one", {}), ("two", {}), ("else", {"score_label": "BLEU"})):
        write_experiment(tmp_path / name, seeds=(1,), rounds=1, curve=0, **changes)
    page = page_of(*(tmp_path / name for name in ("one", "two", "else")))
    names = [series["name"] for series in page.chart("one, two: score")["series"]]
    assert names == ["one: dense", "one: winning", "one: random", "two: dense", "two: winning", "two: random"]
    assert len(page.chart("else: BLEU")["series"]) == 3
    assert [text for level, text in page.headings if level == 2][1:] == ["one", "two", "else"]
    again = page_of(tmp_path / "one", tmp_path / "one")
    assert again.headings[0][1] == f"{tmp_path / 'one'} (1), {tmp_path / 'one'} (2)"


ANSWER = PageAnswer(
    ["Winning tickets keep it down to 9%.", HOSTILE],
    [Contrast("winning - random", 0.31, 0.22, 0.4, 0.03), Contrast("mask", 0.1, -0.1, 0.3, None)],
)


def test_the_answer_stands_first() -> None:
    page = Page(render_page([Subject("x", [row("dense", 0, 1.0)], answer=ANSWER)]))
    assert page.headings[1] == (2, "Answer")
    assert "Winning tickets keep it down to 9%." in page.words
    rows = page.table("differences between kinds")
    assert [text for text, _ in rows[1]] == ["winning - random", "0.3100", "0.2200", "0.4000", "0.030"]
    assert [value for _, value in rows[1]][1:4] == ["0.31", "0.22", "0.4"]
    assert rows[2][4][0] == "not tested"
    assert "Answer" not in Page(render_page([Subject("x", [row("dense", 0, 1.0)])])).words


def test_the_answer_of_committed_rows_is_not_cut_into_lines() -> None:
    """Statements are paragraphs and lists, however a terminal would wrap them; what rows lack has no section."""
    subject = answered(subject_of(Path("recipes/results/cartpole/results.csv"), no_job))
    assert subject.answer is not None
    text = render_page([subject])
    for statement in subject.answer.statements:
        tag = "li" if statement.startswith(" ") else "p"
        assert f"<{tag}>{escape(statement.strip())}</{tag}>" in text
    joined = " ".join(" ".join(subject.answer.statements).split())
    assert joined == " ".join(sentences(answer(subject.rows, of_rows(subject.rows, None).question(None))).split())
    titles = [title for _, title in Page(text).headings]
    assert "Learning curves" not in titles
    assert "made from rows alone" in text


def test_a_page_stays_small() -> None:
    """Eight kinds, twenty rounds, ten seeds; with less room, tables and learning curves are shortened."""
    rows = [
        row(kind, round_, 1 / 3 + round_, seed) for seed in range(10) for kind in KINDS[:8] for round_ in range(1, 21)
    ]
    rows += [row("dense", 0, 1 / 7, seed) for seed in range(10)]
    page = render_page([Subject("x", rows)])
    assert len(page.encode()) < 6_000_000
    assert len(Page(page).table("every finished run")) == 1 + len(rows)
    small = render_page([Subject("x", rows)], most=len(page.encode()) - 1)
    assert len(small) < len(page)
    assert len(Page(small).table("every finished run but the last 610")) == 1001


def test_a_damaged_or_foreign_curve_is_left_out(tmp_path: Path) -> None:
    write_experiment(tmp_path, seeds=(1,), rounds=1)
    curve = tmp_path / "seed-1/dense/curve.csv"
    curve.write_bytes(
        b"epoch,steps,score\n1,10,\n2,20,nan\n3,x,1\n4,40,5.5\n5,\xff\n,,\n6,99999999999999999999,1\n7,70"
    )
    (tmp_path / "seed-1/winning/round-01/curve.csv").write_text("nothing of the kind")
    (tmp_path / "seed-1/random/round-01/curve.csv").unlink()
    (tmp_path / "seed-1/random/round-01/curve.csv").mkdir()
    (series,) = page_of(tmp_path).chart("while training")["series"]
    assert series["runs"] == [{"name": "seed 1 dense", "epoch": [4], "x": [40], "y": [5.5]}]


def test_what_cannot_be_a_page_is_refused_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"ends in \.html"):
        check_page(tmp_path / "results.csv", [])
    (tmp_path / "rows.html").write_text("")
    with pytest.raises(WriteError, match="which this command reads"):
        check_page(tmp_path / "rows.html", [tmp_path / "rows.html"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="needs jinja2 and plotly"):
        write_page(tmp_path / "page.html", [Subject("x", [])])
    assert not (tmp_path / "page.html").exists()
