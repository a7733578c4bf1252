"""``lottery report`` begins with the answer: of folders, of rows alone, of those of version 0.1; and bad input."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.text import Annotation

from lottery_core.cli import main
from lottery_core.errors import ConfigError
from lottery_core.experiments import read_csv, write_csv
from lottery_core.experiments.progress import Progress
from lottery_core.experiments.runner import Runner
from lottery_core.files import read_json
from lottery_core.reports import answer, source_of
from recipes.upkeep import report_results, stability_rows
from sb3_lottery.find import Found
from tests.lottery_core.reports.answer.rows import rows
from tests.lottery_core.toy import Here, Toy, experiment

ROOT = Path(__file__).parents[3]
RESULTS = sorted((ROOT / "recipes/results").glob("*/results*.csv"))
OLD = ROOT / "tests/data/version-0.1"
SCORES = {"winning": [[1.0, 1.0, 0.2]] * 3, "random": [[1.0, 0.5, 0.1]] * 3}


def test_pages_have_the_tables_of_ways_of_their_rows() -> None:
    for page in {path.parents[1] / "README.md" for path in (ROOT / "recipes/results").glob("*/*/ways.csv")}:
        text = page.read_text()
        assert report_results.with_ways(text, page.parent, write=False) == text


@pytest.mark.parametrize("path", sorted((ROOT / "recipes/results").glob("*/lines-*.csv")), ids=lambda path: path.stem)
def test_the_page_of_a_probe_has_the_table_of_its_rows(path: Path) -> None:
    page = (path.parent / "README.md").read_text()
    assert stability_rows.renewed(page, path) == page


def test_there_are_results() -> None:
    assert len(RESULTS) >= 8


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_page_of_a_result_has_the_answer_of_its_rows(path: Path) -> None:
    """Every sentence of the answer, and the table, stand in its README, letter by letter."""
    source = source_of(path)
    found = answer(source.rows, source.question(None))
    page = (path.parent / "README.md").read_text()
    assert report_results.renewed(page, source) == page
    old = re.sub(rf"(?m)^(    {source.name}: the answer of ).*\n.*", r"\1old rows\n    that said other things", page)
    assert old != page
    assert report_results.renewed(old, source) == page
    assert found.no_answer is None
    assert not found.question.assumed
    assert found.question.lower_is_better == (path.parent.name == "wikitext2-valid")


def test_rows_written_and_read_are_the_same(tmp_path: Path) -> None:
    data = rows(SCORES, (1.0,) * 3)
    write_csv(tmp_path / "rows.csv", data)
    again = read_csv(tmp_path / "rows.csv")
    assert [row.score for row in again] == [row.score for row in data]
    assert [(row.kind, row.collapsed, row.eval_score, row.noise) for row in again] == [
        (row.kind, row.collapsed, row.eval_score, row.noise) for row in data
    ]


def test_the_report_of_rows_alone_begins_with_the_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_csv(tmp_path / "results-short.csv", rows(SCORES, (1.0,) * 3))
    words = ["report", str(tmp_path / "results-short.csv"), "--json", str(tmp_path / "a.json"), "--margin", "10%"]
    assert main([*words, "--effect", "0.2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "x: the answer of 3 seeds (mean return of the last 100 training episodes; higher is better)"
    assert lines[1].startswith(
        "  How small, within 10% of the distance from floor to dense, 0.1 (dense 1 ± 0; floor 0)"
    )
    assert any(line.startswith("x: mean return of the last 100 training episodes; 3 seeds") for line in lines)
    assert (tmp_path / "curve-short.png").stat().st_size > 5000
    data = json.loads((tmp_path / "a.json").read_text())["x"]
    assert data["thresholds"][0]["kind"] == "winning"
    assert data["whole"]["difference"]["estimate"] == pytest.approx(0.275)
    assert data["question"]["effect"] == 0.2


@pytest.mark.parametrize("name", ["sb3", "fairseq"])
@pytest.mark.parametrize("part", ["", "results.csv"])
def test_what_version_01_left_is_answered(
    name: str, part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(OLD / name, tmp_path / name)
    assert main(["report", str(run / part)]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith(f"{name}: the answer of 1 seed (")
    assert first.endswith(f"{'lower' if name == 'fairseq' else 'higher'} is better)")
    assert (run / "curve.png").exists()


def test_what_find_tickets_found_is_answered() -> None:
    found = Found((), OLD / "sb3", "score").answer()
    assert (found.seeds, found.question.label) == ((1,), "mean return of the last 5 training episodes")
    assert found.whole is not None


def _lines(tmp_path: Path) -> list[dict[str, str]]:
    write_csv(tmp_path / "r.csv", rows(SCORES, (1.0,) * 3))
    with (tmp_path / "r.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _written(path: Path, lines: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return path


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("score", "high", "line 3: score must be a number, not 'high'"),
        ("round", "1.5", "line 3: round must be a number, not '1.5'"),
        ("kind", "winning", "line 3: tickets have rounds from 1, and dense has round 0"),
        ("score", "1e300", "line 3: 'score' is 1e+300, more than can be averaged"),
        ("eval_score", "1e308", "line 3: 'eval_score' is 1e+308, more than can be averaged"),
        ("score: ter", "1e308", "line 3: 'score: ter' is 1e+308, more than can be averaged"),
        ("steps", "-5", "line 3: 'steps' must be a number of at least 0, not -5"),
        ("steps", "1" + 400 * "0", "line 3: steps must be a number, not '1000"),
        ("wall_seconds", "inf", "line 3: 'wall_seconds' must be a number of at least 0, not inf"),
        ("pruned", "999", "line 3: its counts of parameters contradict each other"),
        ("experiment", "y", "these are rows of 2 experiments (x, y): report one experiment at a time"),
        ("score_label", "BLEU", "these are rows of 2 scores"),
        ("seed", "", "line 3: seed must be a number"),
    ],
)
def test_bad_rows_are_one_line(column: str, value: str, told: str, tmp_path: Path) -> None:
    lines = _lines(tmp_path)
    for line in lines:
        line.setdefault(column, "")
    lines[1][column] = value
    with pytest.raises(ConfigError) as caught:
        source_of(_written(tmp_path / "bad.csv", lines))
    assert told in str(caught.value)
    assert str(tmp_path / "bad.csv") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_rows_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = _lines(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "empty.csv").touch()
    (tmp_path / "binary.csv").write_bytes(b"\x89PNG\r\n\x00\xff")
    (tmp_path / "short.csv").write_text("".join((tmp_path / "r.csv").open().readlines()[:2])[:300])
    _written(tmp_path / "columns.csv", [{k: v for k, v in line.items() if k not in ("seed", "pool")} for line in lines])
    told = {
        "folder.csv": "Is a directory",
        "empty.csv": "holds no row",
        "binary.csv": "cannot read",
        "columns.csv": "has no column seed, pool",
        "missing.csv": "No such file",
        "short.csv": "csv",
    }
    for name, words in told.items():
        assert main(["report", str(tmp_path / name)]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1
    for option, value in (("--margin", "150%"), ("--margin", "0"), ("--effect", "-1"), ("--effect", "x")):
        assert main(["report", str(tmp_path / "r.csv"), f"{option}={value}"]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert main(["report", str(tmp_path / "r.csv"), "--csv", str(tmp_path / "r.csv")]) == 2
    assert not list(tmp_path.glob("*.png"))


def test_names_from_a_file_are_not_read_as_formulas(tmp_path: Path) -> None:
    lines = [{**line, "experiment": "cost $x_{ $"} for line in _lines(tmp_path)]
    lines = [{**line, "kind": "a $\\frac" if line["kind"] == "random" else line["kind"]} for line in lines]
    assert main(["report", str(_written(tmp_path / "r.csv", lines))]) == 0
    assert (tmp_path / "r.png").exists()


def test_a_folder_that_has_got_another_name_is_one_experiment(tmp_path: Path) -> None:
    """Runs that were done before it and after it."""
    folder = tmp_path / "later"
    shutil.copytree(OLD / "sb3", folder)
    marker = next(folder.glob("seed-*/dense/result.json"))
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "experiment": "earlier"}))
    found = source_of(folder)
    assert {row.experiment for row in found.rows} == {"later"}
    assert answer(found.rows, found.question(None)).experiment == "later"


def test_a_table_of_ones_own_needs_six_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("dense", 0, 1000, 0.9), ("winning", 1, 500, 0.9), ("random", 1, 500, 0.5), ("floor", 0, 1000, 0.1)]
    lines = ["seed,kind,round,pool,surviving,score", *(f"1,{kind},{n},1000,{left},{x}" for kind, n, left, x in rows)]
    (tmp_path / "mine.csv").write_text("\n".join(lines))
    assert main(["report", str(tmp_path / "mine.csv")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "mine: the answer of 1 seed" in said
    assert "floor 0.1" in said
    assert "winning against random: +0.4 [+0.50]" in said
    (tmp_path / "mine.csv").write_text("\n".join(lines).replace("surviving", "left"))
    assert main(["report", str(tmp_path / "mine.csv")]) == 2
    assert "no column surviving: rows of results have seed, kind, round, pool" in capsys.readouterr().err


def told(path: Path, capsys: pytest.CaptureFixture[str], rows: list[tuple], *words: str) -> str:
    """What a report says of a table of one's own."""
    lines = ["seed,kind,round,pool,surviving,score", *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines))
    assert main(["report", str(path), "-o", str(path.with_suffix(".png")), *words]) == 0
    return " ".join(capsys.readouterr().out.split())


def told_of(path: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a report says of a file of rows."""
    assert main(["report", str(path), *words]) == 0
    return capsys.readouterr().out


ENDS = [(1, "dense", 0, 1000, 1000, 100), (1, "floor", 0, 1000, 1000, 0)]


def test_rounds_need_not_follow_the_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The answer is that of the same table with rounds in the order of their sizes."""
    scores = {500: (90, 90), 100: (40, 40), 250: (80, 70)}
    said = []
    for sizes in ((500, 250, 100), (500, 100, 250), (100, 250, 500)):
        rows = list(ENDS)
        for round_, size in enumerate(sizes, 1):
            rows += [(1, kind, round_, 1000, size, scores[size][kind == "random"]) for kind in ("winning", "random")]
        text = told(tmp_path / "t.csv", capsys, rows)
        said.append(text.partition("t: score")[0])
    assert "winning against random: +5" in said[0]
    assert said[0] == said[1] == said[2]


def test_the_best_draw_where_lower_is_better(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the table as in the answer."""
    head = "seed,kind,round,noise,pool,surviving,score"
    rows = ["1,dense,0,1,1000,1000,0.1", "1,floor,0,1,1000,1000,2.0", "1,winning,1,1,1000,500,0.2"]
    rows += [f"1,random-best,1,{draw},1000,500,{score}" for draw, score in ((1, 1.5), (2, 0.25))]
    (tmp_path / "t.csv").write_text("\n".join([head, *rows]))
    assert main(["report", str(tmp_path / "t.csv"), "--lower-is-better", "--html", str(tmp_path / "p.html")]) == 0
    out = capsys.readouterr().out
    assert "0.2500" in out
    assert "1.500" not in out
    means = (tmp_path / "p.html").read_text().partition("random-best, round 1")[0]  # before the table of all trainings
    assert "0.25" in means
    assert "1.500" not in means


def test_a_direction_that_the_rows_say_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The option is for the other table of the command."""
    own = [(1, "dense", 0, 1000, 1000, 0.1), (1, "floor", 0, 1000, 1000, 2.0), (1, "winning", 1, 1000, 500, 0.2)]
    told(tmp_path / "mine.csv", capsys, own, "--lower-is-better")
    games = [replace(row, versions="stable-baselines3=2", experiment="games") for row in rows(SCORES, (1.0,) * 3)]
    write_csv(tmp_path / "games.csv", games)
    assert main(["report", str(tmp_path / "games.csv"), str(tmp_path / "mine.csv"), "--lower-is-better"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"games: the answer of 3 seeds \(mean .*; higher is better\)", said)
    assert "mine: the answer of 1 seed (score; lower is better)" in said
    assert said.count("WARNING: --lower-is-better does not count for games, whose scores say the direction: mean") == 1
    assert said.count("--lower-is-better") == 1


def test_the_best_draw_by_evaluations_where_lower_is_better(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = best_of_two(tmp_path / "best.csv")
    text = told_of(path, capsys, "--eval", "--lower-is-better")
    assert "40.00 ± 0.00" in text
    assert "20.00" not in text


def best_of_two(path: Path, **more: dict[str, float]) -> Path:
    """random-best has the draw with the better score and the worse evaluation, or further score."""
    found = []
    for seed in (1, 2, 3):
        for kind, noise, score, other in (("dense", 1, 100, 90), ("winning", 1, 80, 70), ("random-best", 1, 60, 20),
                                          ("random-best", 2, 50, 40)):  # fmt: skip
            left = 100 if kind == "dense" else 50
            counts = {"pool": 100, "pruned": 100 - left, "surviving": left}
            line = {"seed": seed, "kind": kind, "round": int(left < 100), **counts, "score": score, "noise": noise}
            found.append({**line, "eval_score": other, "eval_episodes": 10, "score: ter": other})
    return _written(path, found)


def test_the_best_draw_is_chosen_by_the_score_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = best_of_two(tmp_path / "best.csv")
    for words, name in ((["--eval"], "best"), ([], "best, ter")):
        assert main(["report", str(path), "--json", str(tmp_path / "a.json"), *words]) == 0
        out = capsys.readouterr().out
        assert "20.00 ± 0.00" in out
        assert "40.00" not in out
        data = read_json(tmp_path / "a.json")[name]
        (contrast,) = [each for each in data["others"] if each["contrast"]["second"] == "random-best"]
        assert contrast["difference"]["estimate"] == 50
    assert (tmp_path / "best-eval.png").exists()
    assert (tmp_path / "best.png").exists()


def test_the_best_of_draws_waits_for_all_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One draw is a random ticket, and the best of two is not that of three."""
    path = best_of_two(tmp_path / "best.csv")
    found = [replace(row, steps=10) for row in read_csv(path)]
    write_csv(path, [row for row in found if (row.seed, row.noise) != (3, 2)])
    assert main(["report", str(path), "--json", str(tmp_path / "a.json"), "--html", str(tmp_path / "p.html")]) == 0
    out = " ".join(capsys.readouterr().out.split())
    line = "left out until all draws have finished, of which the best counts: 1 level of random-best"
    assert f"Note: {line}." in out
    assert "60.00 ± 0.00 (n=2)" in out
    data = read_json(tmp_path / "a.json")
    for name in ("best", "best, ter"):
        (contrast,) = [each for each in data[name]["others"] if each["contrast"]["second"] == "random-best"]
        assert contrast["seeds"] == 2
        assert line in data[name]["warnings"]
    assert "random-best: finished for fewer than 3 seeds: round 1 (2)" in (tmp_path / "p.html").read_text()
    write_csv(path, [row for row in found if row.noise == 1])
    assert main(["report", str(path)]) == 0
    out = capsys.readouterr().out
    assert "3 levels of random-best" in out
    assert "random-best 10" not in out.partition("best: score")[0]
    assert "one ticket of round 1 (search + training): winning 20 (10 + 10)\n" in out


def test_an_output_that_the_command_reads_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = experiment(tmp_path / "run", rounds=1, kinds=("winning",))
    Runner(done, Toy(), Here(done.out), Progress(io.StringIO())).run()
    for name in ("floor.json", "seed-1/dense/curve.csv", "seed-1/winning/round-01/ticket.safetensors"):
        path = done.out / name
        path.touch()
        before = path.read_bytes()
        assert main(["report", str(done.out), "--json", str(path)]) == 2
        assert path.read_bytes() == before
    capsys.readouterr()
    assert main(["report", str(done.out), "--json", str(tmp_path / "x"), "--csv", str(tmp_path / "x")]) == 2
    assert "is given for two outputs" in capsys.readouterr().err
    page = str(tmp_path / "x.html")
    for option in ("--json", "--csv", "-o"):
        assert main(["report", str(done.out), option, page, "--html", page]) == 2
        assert "x.html is given for two outputs" in capsys.readouterr().err
    assert main(["report", str(done.out), str(done.out / ".." / "run"), "--json", str(tmp_path / "x")]) == 2
    assert "run is given twice: report each experiment once" in capsys.readouterr().err
    assert main(["report", str(done.out), str(done.out / "results.csv"), "--json", str(tmp_path / "x")]) == 2
    assert "results.csv is given twice: report each experiment once" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_a_default_picture_that_cannot_be_written_costs_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_csv(tmp_path / "r.csv", rows(SCORES, (1.0,) * 3))
    (tmp_path / "r.png").mkdir()
    words = ["--json", str(tmp_path / "a.json"), "--csv", str(tmp_path / "b.csv")]
    said = told_of(tmp_path / "r.csv", capsys, *words)
    assert re.search(r"WARNING: there is no picture: cannot write .*r\.png.*; -o writes it elsewhere", said)
    for name in ("a.json", "b.csv"):
        (tmp_path / name).unlink()
    assert main(["report", str(tmp_path / "r.csv"), *words, "-o", str(tmp_path / "r.png")]) == 2
    assert (tmp_path / "a.json").exists()
    assert (tmp_path / "b.csv").exists()


def test_rows_of_a_probe_are_no_tickets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = _lines(tmp_path)
    for line in lines:
        if line["kind"] == "random":
            line["kind"] = "copy"
    assert main(["report", str(_written(tmp_path / "probe.csv", lines))]) == 2
    assert "has the rows of a stability probe: report its folder" in capsys.readouterr().err


def test_empty_cells_are_missing_ones(tmp_path: Path) -> None:
    lines = _lines(tmp_path)
    for line in lines:
        line |= dict.fromkeys(("score_se", "steps", "noise", "returns", "pruned", "wall_seconds", "eval_score"), "")
    rows = source_of(_written(tmp_path / "gaps.csv", lines)).rows
    assert [row.score for row in rows] == [float(line["score"]) for line in lines]
    assert {(row.noise, row.returns, row.steps, row.eval_score) for row in rows} == {(1, 1, 0, None)}


def test_a_line_that_ends_in_failed_trainings_is_labelled_where_it_ends(tmp_path: Path) -> None:
    from lottery_core.reports.plot import draw

    rows = [(1, "winning", 1, 1000, 500, 90), (1, "winning", 2, 1000, 250, "nan"), (1, "random", 1, 1000, 500, "nan")]
    lines = ["seed,kind,round,pool,surviving,score", *(",".join(map(str, row)) for row in [*ENDS, *rows])]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    figure = draw({"t": read_csv(tmp_path / "t.csv")})
    labels = {each.get_text().split()[0]: each for each in figure.axes[0].texts if isinstance(each, Annotation)}
    assert labels["winning"].xy[1] == 90
    assert labels["winning"].arrow_patch is not None
    assert labels["random"].arrow_patch is None
    figure.clear()


def test_tables_as_other_programs_write_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a mark of the encoding, and whole numbers as 1.0; two floors count as the better one."""
    rows = [*ENDS, (1, "floor", 0, 1000, 1000, 10), (1, "winning", 1, 1000, 500, 90), (1, "random", 1, 1000, 500, 55)]
    floats = [(f"{seed}.0", kind, f"{n}.0", pool, left, score) for seed, kind, n, pool, left, score in rows]
    lines = ["seed,kind,round,pool,surviving,score", *(",".join(map(str, row)) for row in floats)]
    (tmp_path / "t.csv").write_text("\n".join(lines), encoding="utf-8-sig")
    assert main(["report", str(tmp_path / "t.csv")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "floor 10" in said
    assert "winning against random: +35" in said
    for wrong, line in (
        ("1,,1,1000,500,90", "line 7: it has no kind"),
        ("1.5,winning,1,1000,500,90", "seed must be a number"),
    ):
        (tmp_path / "t.csv").write_text("\n".join([*lines, wrong]))
        assert main(["report", str(tmp_path / "t.csv")]) == 2
        assert line in capsys.readouterr().err


def test_a_failed_training_says_nothing_of_luck(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = "seed,kind,round,noise,pool,surviving,score"
    rows = ["1,dense,0,1,1000,1000,100", "1,floor,0,1,1000,1000,0"]
    scores = {(1, 1): 90, (1, 2): 80, (2, 1): 60, (2, 2): "nan", (3, 1): 50, (3, 2): 40}
    rows += [f"{seed},winning,1,{noise},1000,500,{score}" for (seed, noise), score in scores.items()]
    (tmp_path / "t.csv").write_text("\n".join([head, *rows]))
    assert main(["report", str(tmp_path / "t.csv")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "nan" not in said.partition("t: score")[0]
    assert "7.07" in said  # the spread of 90 and 80, of 50 and 40
