"""Training longer after rewinding: the rewound dense network against the dense one; and what the search cost."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
from scipy import stats

from lottery_core.reports.answer import Question, answer, sentences
from tests.lottery_core.reports.answer.rows import rows
from tests.lottery_core.reports.test_report import row

DENSE, REWOUND = (0.8, 1.0, 0.9), (1.0, 1.1, 1.15)
TICKETS = {"winning": [[0.9, 0.8]] * 3, "random": [[0.5, 0.1]] * 3}


def test_rewound_dense_is_a_contrast_at_the_dense_level() -> None:
    plain = rows(TICKETS, DENSE)
    data = [*plain, *(replace(row("rewound-dense", 0, score, seed), steps=7) for seed, score in enumerate(REWOUND, 1))]
    found, without = answer(data, Question()), answer(plain, Question())
    (longer,) = found.longer
    differences = [one - other for one, other in zip(REWOUND, DENSE, strict=True)]
    half = stats.t.ppf(0.975, 2) * statistics.stdev(differences) / 3**0.5
    assert longer.difference.estimate == pytest.approx(statistics.fmean(differences))
    assert longer.difference.low == pytest.approx(statistics.fmean(differences) - half)
    assert longer.difference.high == pytest.approx(statistics.fmean(differences) + half)
    assert longer.normalised is not None
    assert longer.normalised.estimate == pytest.approx(statistics.fmean(differences) / statistics.fmean(DENSE))
    assert (longer.seeds, longer.paired, longer.levels, longer.p) == (3, True, (1.0, 1.0), None)
    # It is in no curve, no threshold and no family of tests.
    assert (found.whole, found.others, found.thresholds) == (without.whole, without.others, without.thresholds)
    assert without.longer == ()
    text = " ".join(sentences(found).split())
    assert "training longer after rewinding, rewound-dense against dense: +0.183 [+0.20] (95%: " in text
    assert "an estimate, no test" in text
    assert {some.kind: some.scored for some in found.given}["rewound-dense"] == 7


def test_the_sign_follows_the_direction_of_the_scores() -> None:
    data = [*rows(TICKETS, DENSE, floor=2.0), *(row("rewound-dense", 0, s, seed) for seed, s in enumerate(REWOUND, 1))]
    (longer,) = answer(data, Question(lower_is_better=True)).longer
    assert longer.difference.estimate < 0


def test_one_seed_and_a_score_that_is_not_finite() -> None:
    data = [*rows({"winning": [[0.9]]}), row("rewound-dense", 0, 0.9)]
    (longer,) = answer(data, Question()).longer
    assert (longer.difference.low, longer.difference.high) == (None, None)
    assert answer([*data[:-1], row("rewound-dense", 0, float("nan"))], Question()).longer == ()


def test_the_search_stands_beside_the_scored_trainings() -> None:
    data = [replace(some, steps=100) for some in rows({"winning": [[0.9, 0.8]], "one-shot": [[0.9, 0.7]]})]
    text = " ".join(sentences(answer(data, Question())).split())
    assert "of the scored trainings: dense 100; winning 100; one-shot 100. Before them, to find the ticket" in text
    assert "to find the ticket of the last level: winning 200, one-shot 100." in text


def test_rewound_dense_alone_is_compared_with_dense() -> None:
    data = [*rows({}, DENSE), *(row("rewound-dense", 0, score, seed) for seed, score in enumerate(REWOUND, 1))]
    found = answer(data, Question())
    assert found.no_answer is not None
    assert found.longer[0].difference == answer([*data, row("winning", 1, 0.5)], Question()).longer[0].difference
    text = " ".join(sentences(found).split())
    assert "No answer: no ticket that prunes has finished: only dense and rewound-dense are there, which keep" in text
    assert "training longer after rewinding, rewound-dense against dense: +0.183 (95%: " in text


def test_no_search_is_told_of_which_rounds_are_missing() -> None:
    """They may have been searched in shorter runs, which are not among the rows."""
    data = [replace(some, steps=100) for some in rows({"winning": [[0.9, 0.8]], "one-shot": [[0.9, 0.7]]})]
    few = [some for some in data if (some.kind, some.round) != ("winning", 1)]
    assert "to find the ticket of the last level: one-shot 100." in " ".join(sentences(answer(few, Question())).split())
