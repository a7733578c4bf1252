"""Steps by kind: kinds are compared at equal steps, or the report says that they are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lottery_core.experiments.results import Row
from lottery_core.experiments.runner import Runner
from lottery_core.reports.answer.given import given_to
from lottery_core.reports.costs import cost_lines, search_cost, steps_lines
from lottery_core.reports.report import report
from lottery_core.reports.source import of_rows
from tests.lottery_core.experiments.test_runner import quiet
from tests.lottery_core.reports.test_report import row
from tests.lottery_core.toy import Here, Toy, experiment


def rows(random: tuple[int, ...], dense: int = 500_000) -> list[Row]:
    """Rows of dense and winning runs of equal length, and of random ones."""
    result = [replace(row("dense", 0, 9.0), steps=dense)]
    for index, steps in enumerate(random, 1):
        result += [
            replace(row("winning", index, 9.0), steps=dense),
            replace(row("random", index, 9.0), steps=steps),
        ]
    return result


def test_kinds_that_trained_for_fewer_steps_are_told() -> None:
    first, warning = steps_lines(rows((500_000, 510_000, 72_000)), "environment steps")
    assert first == "mean environment steps of a scored run: dense 500,000, winning 500,000, random 360,667"
    assert warning.startswith("WARNING: runs of different lengths, compared with dense: random -28%, in round 3 -86%: ")
    assert "winning" not in warning


def test_a_difference_in_one_round_is_told_even_if_the_mean_hides_it() -> None:
    assert "random +0%, in round 1 -20%" in steps_lines(rows((400_000, 600_000)), "updates")[1]


def test_equal_steps_are_one_line() -> None:
    assert len(steps_lines(rows((500_000, 520_000)), "updates")) == 1
    assert steps_lines(rows((0, 0), dense=0), "updates") == []


def test_the_report_has_the_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Runner(experiment(tmp_path, rounds=1), Toy(), Here(tmp_path), quiet()).run()
    report([tmp_path])
    assert "\nmean steps of a scored run: dense 20, winning 20, random 20\n" in capsys.readouterr().out


def test_steps_before_the_rewind_point_are_counted_where_the_sums_differ() -> None:
    """A winning ticket starts from weights that were trained before; a random one from fresh values."""
    equal = rows((500_000,))
    equal[0] = replace(equal[0], rewind_steps=50_000)
    assert (
        steps_lines(equal, "updates")[-1] == "mean updates in all, with those before the rewind point: dense 500,000, "
        "winning 550,000, random 500,000"
    )
    rest = [equal[0], *(replace(some, steps=450_000) for some in equal[1:])]
    assert steps_lines(rest, "updates")[-1].endswith("dense 500,000, winning 500,000, random 450,000")
    assert len(steps_lines([replace(some, rewind_steps=None) for some in equal], "updates")) == 1


def test_what_tickets_train_after_the_rewind_point_is_in_the_title(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for word, told in (("full", False), ("remaining", True)):
        out = tmp_path / word
        Runner(experiment(out, rounds=1, after_rewind=word), Toy(), Here(out), quiet()).run()
        report([out])
        shown = "tickets train what remains after the rewind point updates:5" in capsys.readouterr().out
        assert shown == told


def test_a_ticket_costs_its_search_and_its_training() -> None:
    """Round 2: dense 100 and the first round come before the winning ticket, and before what is made from it."""
    own = {"winning": 90, "one-shot": 100, "no-rewind": 100, "random": 90, "erk": 90, "snip": 95, "gradual": 100}
    made = [replace(row("dense", 0, 9.0), steps=100, rewind_steps=10), replace(row("rewound-dense", 0, 9.0), steps=90)]
    made += [replace(row(kind, round_, 9.0), steps=steps) for kind, steps in own.items() for round_ in (1, 2)]
    before = {kind: search_cost(made, kind, 2) for kind in own}
    assert before == {
        "winning": 190,
        "random": 190,
        "one-shot": 100,
        "no-rewind": 200,
        "erk": 0,
        "gradual": 0,
        "snip": 10,
    }
    assert search_cost(made, "rewound-dense", 0) == 10
    (line,) = cost_lines(made, "updates")
    assert line.startswith("mean updates for one ticket of round 2 (search + training): winning 280 (190 + 90), ")
    assert line.endswith("rewound-dense 100 (10 + 90), snip 105 (10 + 95), gradual 100")
    assert search_cost([each for each in made if each.round != 1], "random", 2) is None, "its first round is not here"


def test_the_other_draws_are_search_in_the_answer_as_well() -> None:
    """Of random-best in round 2: dense, the first winning round, and two draws that were not the best."""
    made = [replace(row("dense", 0, 9.0), steps=100)]
    made += [replace(row(kind, round_, 9.0), steps=50) for kind in ("winning", "random-best") for round_ in (1, 2)]
    (best,) = [each for each in given_to(made) if each.kind == "random-best"]
    assert best.search == search_cost(made, "random-best", 2) == 100 + 50 + 2 * 50


def test_search_and_training_of_kinds_that_need_no_search_in_the_answer() -> None:
    made = [replace(row("dense", 0, 9.0), steps=100)]
    made += [replace(row(kind, round_, 9.0), steps=50) for kind in ("winning", "gradual") for round_ in (1, 2)]
    assert {each.kind: each.search for each in given_to(made)} == {"dense": 0, "winning": 150, "gradual": 0}


def test_the_trained_network_that_a_kind_starts_from_is_told(tmp_path: Path) -> None:
    """Under --rewind lr and none rewound-dense and transfer begin with what the dense run has trained."""
    kinds = ("winning", "rewound-dense", "transfer", "random")
    made = [replace(row("dense", 0, 9.0), steps=100)]
    made += [replace(row(kind, int(kind != "rewound-dense"), 9.0), steps=50) for kind in kinds]
    for word in ("lr", "none"):
        found = of_rows(made, experiment(tmp_path, rewind=word)).rows
        given = {each.kind: (each.before, each.search) for each in given_to(found)}
        assert given["rewound-dense"] == given["transfer"] == (100, 0)
        assert (given["winning"], given["random"]) == ((None, 100), (0, 100))
        assert search_cost(found, "rewound-dense", 0) == search_cost(found, "transfer", 1) == 100
    found = of_rows(made, experiment(tmp_path)).rows
    assert search_cost(found, "rewound-dense", 0) is None
