"""Table, picture and rows."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot

from lottery_core.errors import ConfigError, WriteError
from lottery_core.experiments.results import Row, write_csv
from lottery_core.pruning import BEST_OF, KINDS, schedule
from lottery_core.reports import Question, answer
from lottery_core.reports.plot import draw, plot
from lottery_core.reports.plot_parts import STRIP, interval, look, spread_out
from lottery_core.reports.table import evaluated, interval_table, table


def row(kind: str, round_: int, score: float, seed: int = 1, collapsed: tuple[str, ...] = ()) -> Row:
    left = round(1000 * 0.8**round_)
    shares = (1000, 1000 - left, left, 1 - left / 1000, left / 1000)
    return Row("x", seed, kind, round_, *shares, score, 0.1, 100, 5, 1.0, 1.0, collapsed, "", "torch=2")


def rows_of(scores: Mapping[str, Sequence[Sequence[float]]], dense: Sequence[float]) -> list[Row]:
    """Rows of an experiment: kind -> for each seed the score of each round."""
    found = [row("dense", 0, score, seed) for seed, score in enumerate(dense, 1)] + [row("floor", 0, 0.0)]
    for kind, seeds in scores.items():
        found += [row(kind, r, s, seed) for seed, line in enumerate(seeds, 1) for r, s in enumerate(line, 1)]
    return found


ROWS = [
    row("dense", 0, 200.0),
    *(row("winning", k, 200.0 - k) for k in range(1, 21)),
    *(row("random", k, 100.0 - k) for k in range(1, 21)),
]


def test_a_table_has_a_line_a_round_and_a_column_a_kind() -> None:
    lines = table(ROWS, "mean return").splitlines()
    assert lines[0] == "x: mean return; 1 seed, pool of 1,000 parameters"
    assert lines[1].split() == ["round", "pruned", "surviving", "winning", "random", "dense"]
    assert lines[2].split() == ["1", "20.0%", "80.0%", "199.0", "99.00", "200.0"]
    assert len(lines) == 22


def test_seeds_give_mean_and_spread_and_collapsed_layers_are_marked() -> None:
    rows = [row("dense", 0, 10.0), row("winning", 1, 8.0), row("winning", 1, 12.0, 2, ("action_net.weight",))]
    text = table(rows)
    assert "10.00 ± 2.83*" in text
    assert "* a layer has collapsed (no survivor): action_net.weight" in text
    assert "2 seeds, mean ± standard deviation" in text


def test_unfinished_experiments_can_be_reported() -> None:
    assert table([row("dense", 0, 5.0)]).splitlines()[2].split() == ["0", "0.0%", "100.0%", "5.000"]
    lines = table([*ROWS[:3], row("random", 1, 3.0)]).splitlines()
    assert lines[3].split() == ["2", "36.0%", "64.0%", "198.0", "-", "200.0"]
    assert "198.0 (n=1)" in table([*ROWS[:3], row("dense", 0, 5.0, seed=2)])
    with pytest.raises(ConfigError, match="no finished run"):
        table([])


def test_the_dense_column_has_its_number_of_seeds() -> None:
    rows = [row("dense", 0, 5.0, 1), row("dense", 0, 6.0, 2), *(row("winning", 1, 4.0, seed) for seed in (1, 2, 3))]
    assert table(rows).splitlines()[2].endswith("5.500 ± 0.707 (n=2)")
    assert table([*rows, row("dense", 0, 5.5, 3)]).splitlines()[2].endswith("5.500 ± 0.500")


def test_scores_of_fewer_values_than_asked_for_are_told() -> None:
    rows = [row("dense", 0, 5.0), replace(row("winning", 1, 4.0), returns=61)]
    assert table(rows, "mean", 100).splitlines()[-1] == "in some runs fewer than 100 episodes ended, as few as 61"
    assert "fewer" not in table(rows, "mean", 61)


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_pictures(ending: str, tmp_path: Path) -> None:
    more = [row("dense", 0, 190.0, 2), row("winning", 1, 180.0, 2)]
    plot({"x": [*ROWS, *more], "y": ROWS}, tmp_path / f"c.{ending}", "mean return")
    assert (tmp_path / f"c.{ending}").stat().st_size > 5000
    plot({"only dense": ROWS[:1]}, tmp_path / f"d.{ending}")


def drawn(experiments: dict[str, list[Row]], label: str | dict[str, str] = "score") -> list[Any]:
    """The axes of the picture of some experiments."""
    figure = draw(experiments, label)
    pyplot.close(figure)
    return list(figure.axes)


def ends(axes: Any) -> list[str]:
    """The labels at the ends of lines, from the top."""
    return [text.get_text() for text in axes.texts]


def legend(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()] if axes.get_legend() else []


def test_the_number_of_seeds_stands_beside_each_kind_where_kinds_differ() -> None:
    (axes,) = drawn({"x": [*ROWS, row("dense", 0, 190.0, 2)]})
    assert axes.get_title() == "x (mean and range over seeds)"
    assert ends(axes) == ["dense (2 seeds)", "winning (1 seed)", "random (1 seed)"]
    (axes,) = drawn({"x": [*ROWS, row("winning", 1, 190.0, 2)], "y": ROWS})
    assert axes.get_title().split("\n") == ["x (mean and range over seeds)", "y (one seed)"]
    assert set(ends(axes)) >= {"x: dense (1 seed)", "x: winning (1 to 2 seeds)", "x: random (1 seed)", "y: dense"}
    (axes,) = drawn({"x": [replace(some, seed=seed) for some in ROWS for seed in (1, 2)]})
    assert axes.get_title() == "x (mean and range of 2 seeds)"
    assert ends(axes) == ["dense", "winning", "random"]
    (axes,) = drawn({"x": [replace(some, seed=seed) for some in ROWS for seed in range(5)]})
    assert axes.get_title() == "x (mean and 95% bootstrap interval of 5 seeds)"


def test_bands_stay_within_the_scores() -> None:
    """A standard deviation around a mean near the best possible score would leave what is possible."""
    assert interval([200.0, 200.0, 40.0]) == (40.0, 200.0)
    low, high = interval([200.0] * 9 + [40.0])
    assert 40 < low < 184 < high <= 200
    assert interval([7.0] * 5) == (7.0, 7.0)


def test_labels_at_the_ends_of_lines_do_not_overlap() -> None:
    heights = spread_out([0.95, 0.05, 0.04, 0.04, 0.04, 0.0], 0.1)
    assert heights[0] == 0.95
    assert heights[1:] == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.0])
    assert spread_out([1.0, 1.0, 0.5], 0.1) == pytest.approx([1.0, 0.9, 0.5])
    kinds = [*KINDS, "dense", "floor"]
    some = [row(kind, int(kind in KINDS), 1.0) for kind in kinds]
    again = [replace(one, noise=2) for one in some if one.kind in BEST_OF]  # the second draw of round 1
    (axes,) = drawn({"x": [*some, *again]})
    assert sorted(ends(axes)) == sorted(kinds)
    places = sorted(text.get_position()[1] for text in axes.texts)
    assert min(b - a for a, b in pairwise(places)) > 0.04


def test_the_floor_is_a_line_and_no_kind() -> None:
    rows = [*ROWS, row("floor", 0, 21.0)]
    assert ends(drawn({"x": rows})[0])[-1] == "floor"
    assert table(rows) == table(ROWS)


def test_the_strip_has_how_small_each_kind_can_be() -> None:
    scores = {"winning": [[1.0, 1.0, 1.0], [1.0, 1.0, 0.2]], "random": [[1.0, 0.2, 0.1]] * 2, "reinit": [[0.1] * 3] * 2}
    data = rows_of(scores, (1.0, 1.0))
    figure = draw({"x": data}, "score", {"x": answer(data, Question())})
    pyplot.close(figure)
    axes, strip = figure.axes
    assert strip.get_label() == STRIP
    assert [text.get_text() for text in strip.get_yticklabels()] == ["winning", "random", "reinit"]
    assert [text.get_text() for text in strip.texts] == ["not kept at any level"]
    random = next(line for line in strip.get_lines() if line.get_marker() == "^")
    assert random.get_xdata()[0] == pytest.approx(-math.log(math.sqrt(0.8 * 0.64)))
    assert any(line.get_marker() == ">" for line in strip.get_lines())  # winning: smaller ones may do
    assert strip.get_xlim() == axes.get_xlim()
    several = draw({"x": data, "y": data}, "score", {name: answer(data, Question()) for name in "xy"})
    pyplot.close(several)
    assert len(several.axes) == 1


def test_scores_that_are_infinite_in_both_directions_are_not_drawn() -> None:
    both = [(1, math.inf), (2, -math.inf)]
    rows = [row("dense", 0, score, seed) for seed, score in both] + [row("floor", 0, score) for _, score in both]
    rows += [row("winning", 1, score, seed) for seed, score in both] + [row("winning", 2, 1.0, 1)]
    (axes,) = drawn({"x": rows})
    line = next(line for line in axes.get_lines() if len(line.get_xdata()) == 2 and line.get_marker() != "None")
    assert np.isnan(line.get_ydata()[0])


def test_levels_at_which_a_layer_has_collapsed_have_another_marker() -> None:
    rows = [*ROWS[:12], *(replace(some, collapsed=("action_net.weight",)) for some in ROWS[12:])]
    (axes,) = drawn({"x": rows})
    assert legend(axes) == ["a layer has collapsed"]
    crosses = [line for line in axes.get_lines() if line.get_marker() == "x" and len(line.get_xdata())]
    assert sorted(len(line.get_ydata()) for line in crosses) == [9, 20]  # of winning from round 12 on, of all random
    assert min(float(value) for line in crosses for value in line.get_ydata()) == 80.0
    assert "a layer has collapsed" not in legend(drawn({"x": ROWS})[0])


def tiny(kind: str, round_: int, left: int) -> Row:
    counts = {"pool": 10**6, "pruned": 10**6 - left, "surviving": left}
    return replace(
        row(kind, round_, 100.0 / round_), **counts, pruned_fraction=1 - left / 1e6, surviving_fraction=left / 1e6
    )


def test_levels_far_below_a_thousandth_are_told_apart() -> None:
    lefts = (1000, 500, 250, 120)
    rows = [replace(row("dense", 0, 100.0), pool=10**6, pruned=0, surviving=10**6), row("floor", 0, 0.0)]
    rows += [tiny("winning", round_, left) for round_, left in enumerate(lefts, 1)]
    axes = drawn({"x": rows})[0]
    words = [text.get_text() for text in axes.get_xticklabels()]
    assert words == ["99.9%", "99.950%", "99.975%", "99.988%"]
    assert len({round(place, 6) for place in axes.get_xticks()}) == 4
    assert [line.split()[1:3] for line in table(rows).splitlines()[2:6]] == [
        ["99.9%", "0.1%"], ["99.950%", "0.050%"], ["99.975%", "0.025%"], ["99.988%", "0.012%"],
    ]  # fmt: skip


def test_a_cell_has_as_many_digits_as_its_larger_number_allows() -> None:
    rows = [row("dense", 0, 100.0, 1), *(row("winning", 1, score, seed) for seed, score in ((1, 100.0), (2, -100.0)))]
    assert "0.0 ± 141.4" in table(rows)
    assert "inf" in table([*rows, row("random", 1, math.inf), row("random", 1, 1.0, 2)])
    assert "nan" in table([*rows, row("random", 1, math.inf), row("random", 1, -math.inf, 2)])


def test_levels_that_coincide_share_one_tick() -> None:
    def run(pool: int, rounds: int) -> list[Row]:
        lefts = schedule(pool, 0.2, rounds)
        return [
            replace(row("winning", k, 1.0), surviving_fraction=left / pool, pruned_fraction=1 - left / pool)
            for k, left in enumerate(lefts)
            if k
        ]

    alone, joint = drawn({"x": run(34_051, 10)}), drawn({"x": run(34_051, 10), "y": run(1_001, 8)})
    labels = [[text.get_text() for text in axes.get_xticklabels()] for (axes,) in (alone, joint)]
    assert labels[0] == labels[1]
    assert len(labels[0]) == 10
    (axes,) = drawn({"x": run(34_051, 20), "y": run(60_000, 20)})
    assert len(axes.get_xticks(minor=True)) == 20 - len(axes.get_xticks())
    assert [text.get_text() for text in axes.get_xticklabels()][-1] == "98.8%"


def test_scores_of_different_labels_are_never_on_one_axis() -> None:
    labels = {"x": "mean return", "y": "BLEU", "z": "mean return"}
    first, second = drawn({"x": ROWS, "y": ROWS[:5], "z": ROWS}, labels)
    assert (first.get_ylabel(), second.get_ylabel()) == ("mean return", "BLEU")
    assert len(ends(first)) == 6
    assert ends(second) == ["dense", "winning"]
    (axes,) = drawn({"x": ROWS, "z": ROWS}, labels)
    assert axes.get_ylabel() == "mean return"


def test_bad_pictures(tmp_path: Path, no_write: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot draw .*c\.doc"):
        plot({"x": ROWS}, tmp_path / "c.doc")
    with pytest.raises(WriteError, match="cannot write"):
        plot({"x": ROWS}, no_write / "c.png")
    assert not list(tmp_path.glob("c*"))


def test_rows_in_full(tmp_path: Path) -> None:
    some = replace(row("winning", 1, 1 / 3, collapsed=("a", "b")), more={"chrf": 2 / 3})
    write_csv(tmp_path / "r.csv", [some])
    with open(tmp_path / "r.csv", newline="") as file:
        (found,) = csv.DictReader(file)
    assert float(found["score"]) == 1 / 3
    assert found["collapsed"] == "a b"
    assert float(found["score: chrf"]) == 2 / 3
    assert set(found) == {
        "experiment", "seed", "kind", "round", "pool", "pruned", "surviving", "pruned_fraction", "surviving_fraction",
        "score", "score_se", "returns", "steps", "wall_seconds", "cpu_seconds", "collapsed", "ticket", "versions",
        "eval_score", "eval_se", "eval_episodes", "criterion", "rewind_steps", "networks", "scope_shares", "scoring",
        "score: chrf", "score_label", "noise", "same_as", "output_scale", "gradual", "granularity",
    }  # fmt: skip


def test_evaluations_are_scores_of_their_own() -> None:
    rows = [replace(row("winning", 1, 5.0), eval_score=7.0, eval_se=0.5, eval_episodes=20), row("winning", 2, 4.0)]
    (found,) = evaluated(rows)
    assert (found.score, found.score_se, found.round) == (7.0, 0.5, 1)


def test_interquartile_means_with_intervals() -> None:
    """Of three seeds or more; the mean without the highest and the lowest quarter."""
    few = [row("winning", 1, score, seed) for seed, score in enumerate((1.0, 2.0))]
    assert interval_table(few) == ""
    many = [row("winning", 1, score, seed) for seed, score in enumerate((1.0, 9.0, 10.0, 30.0))]
    lines = interval_table([*many, row("dense", 0, 3.0)]).splitlines()
    assert lines[1].split() == ["round", "winning"]
    mean, low, high = (float(part.strip("[],")) for part in lines[2].split()[1:])
    assert mean == 9.5
    assert 1 <= low < mean < high <= 30
    assert interval_table(many) == interval_table(many)
    assert (
        interval_table(many[:3])
        .splitlines()[0]
        .endswith("with 3 seeds it leaves none out, and the interval is about their range")
    )
    assert interval_table(many[:3]).splitlines()[2].split()[1:] == ["6.667", "[1.000,", "10.000]"]
    assert "leaves none out" not in interval_table(many)
    text = interval_table([*many[:3], replace(many[3], not_run="at the floor", score=1.0)])
    assert "; † not run in some seeds, taken as the floor\n" in text
    assert text.endswith("]†")


def test_any_number_of_kinds(tmp_path: Path) -> None:
    """Kinds that this version does not know: each has a column, a line and a look of its own."""
    kinds = [*KINDS, *(f"later-{number}" for number in range(12))]
    rows = [row("dense", 0, 10.0), *(row(kind, k, 9.0 - k) for kind in kinds for k in (1, 2))]
    assert table(rows).splitlines()[1].split()[3:-1] == [*KINDS, *sorted(kinds[len(KINDS) :])]
    plot({"x": rows}, tmp_path / "many.png")
    assert (tmp_path / "many.png").stat().st_size > 10_000
    looks = [look(kind, kinds) for kind in kinds[: len(KINDS) + 8]]
    assert len(set(looks)) == len(looks)
