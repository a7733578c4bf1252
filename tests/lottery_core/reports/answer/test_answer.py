"""The answer of rows: how small, mask or start or luck, how many seeds; and rows that cannot answer."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from lottery_core.errors import ConfigError
from lottery_core.experiments import Row
from lottery_core.reports.answer import Answer, Question, answer, parse_margin, question_of, sentences
from lottery_core.reports.answer.contrasts import (
    NOT_SHOWN,
    NOT_TESTED,
    SHOWN,
    WHOLE,
    _why_no_test,
    compare,
    contrasts_of,
    seeds_for,
)
from lottery_core.reports.answer.curves import area, common_rounds, curves_of, number
from lottery_core.reports.answer.seeds import power, seeds_needed, upper_limit
from lottery_core.reports.answer.thresholds import FIRST, LAST, levels_kept
from tests.lottery_core.reports.answer.rows import LABEL, Scores, rows

HIGH, LOW = [1.0, 1.0, 1.0, 0.2], [1.0, 0.5, 0.2, 0.1]


def asked(scores: Scores, dense: tuple[float, ...] = (1.0,), **options: float | None) -> Answer:
    return answer(rows(scores, dense, **options), question_of(LABEL, ""))  # type: ignore[arg-type]


def one_line(found: Answer) -> str:
    """The sentences without their line breaks."""
    return " ".join(sentences(found).split())


def jitter(line: list[float], seeds: int) -> list[list[float]]:
    """The same curve for each seed, a little higher each, with the same mean."""
    return [[score + 0.001 * (seed - (seeds - 1) / 2) for score in line] for seed in range(seeds)]


@pytest.mark.parametrize(
    ("inside", "kept"),
    [
        ("1111000", 4),
        ("1101100", 5),  # a dip
        ("1100010", 2),  # one stroke of luck far below
        ("1110110", 6),
        ("0000", 0),
        ("1111", 4),
        ("0111", 4),
        ("1", 1),
        ("0", 0),
    ],
)
def test_levels_that_a_curve_with_dips_keeps(inside: str, kept: int) -> None:
    assert levels_kept([letter == "1" for letter in inside]) == kept


def test_how_small_is_a_threshold_a_seed_and_an_interval_over_seeds() -> None:
    """Levels at 80, 64, 51.2, 41% of the pool; thresholds are half-way between the levels, in halvings."""
    found = asked({"winning": [HIGH, HIGH, [1.0, 1.0, 0.5, 0.2]]}, (1.0, 1.0, 1.0))
    (small,) = found.thresholds
    shares = [seed.surviving for seed in small.seeds]
    assert shares == pytest.approx([(0.512 * 0.41) ** 0.5] * 2 + [(0.64 * 0.512) ** 0.5])
    assert small.surviving == pytest.approx((shares[0] ** 2 * shares[2]) ** (1 / 3))
    assert small.low is not None
    assert small.high is not None
    assert small.low < min(shares) < max(shares) < small.high
    same = asked({"winning": [HIGH] * 3}, (1.0,) * 3).thresholds[0]
    assert same.low is not None
    assert same.low == pytest.approx(0.41)  # not a point: what lies between the levels was not tried
    text = one_line(found)  # shares are of the pool, which a scope may make smaller than the network
    assert "of the 1,000 parameters in the pool: winning: down to 49% of the pool (2.0 times smaller; 95%: " in text


def test_thresholds_beyond_the_levels_are_censored() -> None:
    found = asked({"winning": [[1.0] * 4, HIGH], "random": [[0.1] * 4] * 2}, (1.0, 1.0))
    winning, random = found.thresholds
    assert [seed.censored for seed in winning.seeds] == [LAST, ""]
    assert (winning.low, random.censored(FIRST)) == (None, 2)
    text = one_line(found)
    assert "1 of 2 seeds is inside at the last level, so smaller may do" in text
    assert "random: not kept at any level (all 2 seeds)." in text


def test_seeds_that_keep_no_level_may_be_inside_at_a_small_one() -> None:
    """A stroke of luck far below: by the cheapest split they keep nothing, and yet one level is inside."""
    lucky, low = [0.1, 0.2, 0.1, 1.0, 0.1, 0.1], [0.1] * 6
    two = one_line(asked({"winning": [[1.0, 1.0, *low[2:]], lucky, low]}, (1.0,) * 3))
    assert "; 2 of 3 seeds keep the score at no level, apart from deeper levels that count as luck)." in two
    assert "; 1 of 2 seeds keeps the score at no level)." in one_line(
        asked({"winning": [[1.0, 1.0, *low[2:]], low]}, (1.0,) * 2)
    )
    none = asked({"winning": [lucky, low]}, (1.0,) * 2)
    assert [seed.luck for seed in none.thresholds[0].seeds] == [1, 0]
    assert "not kept at any level (all 2 seeds, apart from deeper levels that count as luck)." in one_line(none)


def test_the_area_is_a_mean_over_halvings() -> None:
    """Levels that lie further apart count for more; a trapezium between each two."""
    levels = zip(rows({"winning": [[1.0, 0.5, 0.0]]}, floor=None)[1:], (32, 16, 4), strict=True)
    data = [replace(some, pool=64, surviving=left, pruned=64 - left) for some, left in levels]
    (curve,) = curves_of(data, 1.0)["winning"].values()
    assert area(curve, [1, 2, 3]) == pytest.approx((0.75 * 1 + 0.25 * 2) / 3)
    assert area(curve, [2]) == 0.5


def test_three_seeds_are_estimates_without_a_test() -> None:
    found = asked({"winning": jitter(HIGH, 3), "random": [LOW] * 3}, (1.0,) * 3)
    assert found.whole is not None
    assert (found.whole.verdict, found.whole.p) == (NOT_TESTED, None)
    assert found.whole.difference.low is not None
    assert found.whole.difference.low < found.whole.difference.estimate
    assert "With 3 seeds there are estimates and no tests; 5 carry one of the whole effect." in sentences(found)


def test_the_whole_effect_is_tested_first_and_opens_the_gate() -> None:
    kinds = {"winning": jitter(HIGH, 8), "reinit": jitter(LOW, 8)[::-1]}
    good = asked({**kinds, "random": [LOW] * 8}, (1.0,) * 8)
    assert good.whole is not None
    assert (good.whole.verdict, good.whole.p) == (SHOWN, 2**-8)
    start, mask = good.others
    assert (start.contrast.name, start.verdict, start.adjusted) == ("the start", SHOWN, 2**-7)
    assert (mask.contrast.first, mask.contrast.second) == ("reinit", "random")
    assert good.parts_at is not None
    assert good.parts_at[0] == pytest.approx(0.64)
    assert "part at 64% of the pool" in sentences(good)
    assert ": the mean score over all levels" in sentences(good).replace(", by", ":")
    shut = asked({**kinds, "random": jitter(HIGH, 8)}, (1.0,) * 8)
    assert shut.whole is not None
    assert shut.whole.verdict == NOT_SHOWN
    assert [(other.verdict, other.why) for other in shut.others] == [(NOT_TESTED, "the whole effect is not shown")] * 2
    assert shut.parts_at is None


def test_equal_differences_have_no_interval() -> None:
    found = asked({"winning": [HIGH] * 3, "random": [LOW] * 3}, (1.0,) * 3)
    assert found.whole is not None
    assert found.whole.difference.low is None
    assert "(no spread, so no interval); an estimate, no test" in one_line(found)


def test_more_tests_need_more_seeds() -> None:
    assert [seeds_for(tests) for tests in (1, 6, 10)] == [5, 7, 8]
    others = ("one-shot", "no-rewind", "reinit", "permuted", "uniform")
    found = asked({"winning": jitter(HIGH, 5), **{kind: [LOW] * 5 for kind in ("random", *others)}}, (1.0,) * 5)
    assert len(found.others) == 7
    assert {other.why for other in found.others} == {"7 tests need 8 seeds"}


def test_a_kind_without_its_partner_is_compared_with_winning() -> None:
    found = asked({"winning": [HIGH], "uniform": [LOW], "transfer-random": [LOW], "reinit": [LOW]})
    pairs = [(other.contrast.first, other.contrast.second) for other in found.others]
    assert sorted(pairs) == [("winning", "reinit"), ("winning", "transfer-random"), ("winning", "uniform")]
    found = asked({"winning": [HIGH], "random": [LOW], "uniform": [LOW]})
    assert [other.contrast.first for other in found.others] == ["random"]


def test_seeds_that_differ_are_compared_by_welch() -> None:
    data = rows({"winning": jitter(HIGH, 6), "random": jitter(LOW, 6)}, (1.0,) * 6)
    apart = [replace(some, seed=some.seed + 10) if some.kind == "random" else some for some in data]
    found = answer(apart, question_of(LABEL, "")).whole
    assert found is not None
    assert (found.paired, found.seeds, found.verdict) == (False, 6, SHOWN)
    assert found.difference.low is not None
    assert "not paired: the seeds differ, 6 against 6." in one_line(answer(apart, question_of(LABEL, "")))


def test_seeds_and_levels_of_a_line_are_told_where_they_are_not_those_of_the_title() -> None:
    """Random tickets have three of five seeds, and two of four levels."""
    scores: Scores = {"winning": jitter(HIGH, 5), "reinit": jitter(LOW, 5), "random": jitter(LOW, 3)}
    data = [some for some in rows(scores, (1.0,) * 5) if some.kind != "random" or some.round in (2, 4)]
    found = answer(data, question_of(LABEL, ""))
    text = one_line(found)
    assert found.whole is not None
    assert (found.whole.seeds, found.whole.sides, found.whole.rounds) == (3, (3, 3), (2, 4))
    assert "by the mean score over the levels that both kinds have" in text
    whole, start = text.partition("winning against random")[2].split("the start, winning against reinit")
    assert "; 3 pairs; over 2 of 4 levels, from 64% to 41%." in whole
    assert "pair" not in start.partition(".")[0]
    small = one_line(asked({"winning": [HIGH] * 5, "random": [HIGH] * 3}, (1.0,) * 5)).partition(" winning: ")[2]
    assert re.match(r"down to 46% of the pool \(2\.2 times smaller; 95%: .*; 3 seeds; 95%: ", small)
    one = [some for some in data if some.kind != "random" or some.round == 2]
    assert "; 3 pairs; at 64% alone." in one_line(answer(one, question_of(LABEL, "")))


def test_an_unfinished_seed_is_left_out_and_a_kind_that_ended_early_is_compared_where_it_is() -> None:
    found = asked({"winning": [HIGH, HIGH, HIGH[:2]], "random": [LOW[:3]] * 3}, (1.0,) * 3)
    assert found.whole is not None
    assert (found.whole.left_out, found.whole.seeds) == ((3,), 2)
    assert found.whole.levels == pytest.approx((0.8, 0.512))
    assert "left out as unfinished: seed 3" in sentences(found)


def test_an_unfinished_seed_is_not_censored() -> None:
    """It has only round 1, and there it is inside."""
    two, three = (asked({"winning": [HIGH, HIGH, HIGH[:1]][:count]}, (1.0,) * count) for count in (2, 3))
    assert three.thresholds[0].left_out == (3,)
    assert replace(three.thresholds[0], left_out=()) == two.thresholds[0]
    assert "left out as unfinished: seed 3" in one_line(three)


def test_one_seed_that_is_ahead_does_not_leave_the_others_out() -> None:
    ahead = [*([HIGH[:3]] * 7), HIGH]
    found = asked({"winning": ahead, "random": [LOW[:3]] * 7 + [LOW]}, (1.0,) * 8)
    assert found.whole is not None
    assert (found.whole.seeds, found.whole.left_out, found.whole.verdict) == (8, (), SHOWN)
    assert found.whole.dropped == pytest.approx((0.41,), abs=0.001)
    assert "left out because some seeds lack them: level 41%" in one_line(found)


def test_seeds_that_each_lack_another_level_keep_the_others() -> None:
    """A control that failed once in each seed, each time in another round, leaves most scores."""
    data = rows({"winning": jitter([1.0] * 9 + [0.1], 5), "random": jitter([0.5] * 10, 5)[::-1]}, (1.0,) * 5)
    data = [some for some in data if some.kind != "random" or some.round != some.seed + 1]
    found = answer(data, question_of(LABEL, ""))
    assert found.whole is not None
    assert (found.whole.seeds, found.whole.left_out, found.whole.rounds) == (5, (), (5, 10))
    assert len(found.whole.dropped) == 5
    assert found.whole.p == 2**-5
    random = found.thresholds[1]
    assert (len(random.seeds), random.left_out) == (5, ())  # each has its last level
    apart = [replace(some, seed=some.seed + 9) if some.kind == "random" else some for some in data]
    whole = answer(apart, question_of(LABEL, "")).whole
    assert whole is not None
    assert (whole.sides, whole.rounds) == ((5, 5), (5, 10))


def test_levels_and_seeds_that_are_compared() -> None:
    whole, short = range(1, 11), range(1, 6)
    assert common_rounds([whole, whole, [1]]) == ([*whole], [[0, 1]])
    assert common_rounds([whole, short], [short] * 2) == ([*short], [[0, 1], [0, 1]])
    # One seed against nine would keep more scores, and no interval.
    assert common_rounds([whole, *[short] * 4], [whole] * 9) == ([*short], [[*range(5)], [*range(9)]])
    assert common_rounds([[1, 2]], [[3]]) == ([], [[], []])
    many = [[round_ for round_ in range(40) if round_ != seed] for seed in range(40)]  # 2^40 intersections
    assert len(common_rounds(many)[0]) >= 10


def test_the_seeds_of_other_contrasts_are_not_those_of_the_whole_effect() -> None:
    found = asked({"winning": [HIGH] * 3, "random": [LOW], "reinit": jitter(LOW, 3)}, (1.0,) * 3)
    assert [need.whole for need in found.needed] == [False]
    assert "the whole effect" not in one_line(found).partition("80% power: ")[2].partition(".")[0]


def test_a_dense_score_where_scores_begin_has_learnt_nothing() -> None:
    data = rows({"winning": [[0.0] * 4]}, (0.0,), floor=None, label="BLEU")
    found = answer(data, question_of("BLEU", "fairseq"))
    assert found.no_answer is not None
    assert "the dense network did not learn: its score 0 is no better than the floor, 0" in found.no_answer


def test_one_seed_and_a_missing_control() -> None:
    found = asked({"winning": [HIGH], "reinit": [LOW]})
    assert found.whole is None
    assert found.others[0].difference.low is None
    assert found.others[0].why == "1 seed carry no test"
    text = one_line(found)
    assert "the whole effect is not known" in text
    assert "one seed, so no interval" in text


def test_lower_is_better_and_negative_scores_give_the_same_answer() -> None:
    scores = {"winning": jitter(HIGH, 5), "random": jitter(LOW, 5)}
    up = asked(scores, (1.0,) * 5)
    negated = {kind: [[-score for score in line] for line in lines] for kind, lines in scores.items()}
    data = rows(negated, (-1.0,) * 5, floor=0.0, label="loss, lower is better")
    down = answer(data, question_of("loss, lower is better", ""))
    assert down.question.lower_is_better
    assert [(t.surviving, t.low, t.high) for t in down.thresholds] == [
        (t.surviving, t.low, t.high) for t in up.thresholds
    ]
    assert down.whole is not None
    assert up.whole is not None
    assert down.whole.difference == up.whole.difference
    assert down.needed == up.needed
    assert "lower is better)" in sentences(down)
    below = asked({kind: [[s - 500 for s in line] for line in lines] for kind, lines in scores.items()}, (-499.0,) * 5,
                  floor=-500.0)  # fmt: skip
    assert below.whole is not None
    assert below.whole.difference.estimate == pytest.approx(up.whole.difference.estimate)


def test_tickets_better_than_dense_are_told() -> None:
    text = one_line(asked({"winning": [[1.4, 1.5, 1.2, 0.2]]}))
    assert "tickets score higher than the dense network (winning 1.5 at 64.0% of the pool, dense" in text
    assert "which may not be trained to its end" in text
    assert asked({"winning": [[1.5]]}).warnings == ()  # a single level has no neighbour
    alike = asked({"winning": [[1.4, 1.5, 0.2], [0.7, 0.6, 0.2], [1.2, 1.3, 0.2]]}, (1.0, 1.01, 0.99))
    assert alike.warnings == ()  # within the spread of the tickets themselves
    once = asked({"winning": [[1.0, 1.4, 1.0, 0.2]]})  # at one level only: luck
    assert once.warnings == ()
    noisy = asked({"winning": [[1.4, 1.5, 1.2, 0.2]] * 2}, (0.2, 1.8))  # within two standard errors of dense
    assert noisy.warnings == ()


def test_a_dense_network_that_did_not_learn_has_no_answer() -> None:
    found = asked({"winning": [HIGH] * 3}, (0.05, 0.0, 0.04), floor=0.04)
    assert "the dense network did not learn: its score 0.03 is no better than the floor, 0.04" in str(found.no_answer)
    assert found.thresholds == ()
    assert "No answer: the dense network did not learn" in sentences(found)


def test_a_dense_network_above_the_floor_within_its_error_says_so() -> None:
    found = asked({"winning": [HIGH] * 3}, (0.9, 0.0, 0.05), floor=0.04)
    line = r"its score 0\.3\d* is not better by two standard errors, of 0\.\d+, than the floor, 0\.04, which needs"
    assert re.search(line, str(found.no_answer))


def test_rows_that_cannot_answer_say_why() -> None:
    dense_only = answer(rows({}), Question())
    assert dense_only.no_answer == "no ticket has finished: only the dense network is there"
    tickets = [some for some in rows({"winning": [HIGH]}) if some.kind != "dense"]
    assert str(answer(tickets, Question()).no_answer).startswith("no dense network has finished")
    broken = rows({"winning": [HIGH]}, (float("nan"),))
    assert str(answer(broken, Question()).no_answer).startswith("the dense network has no finite score")
    with pytest.raises(ConfigError, match="no finished run"):
        answer([], Question())


def test_scores_that_are_not_finite_count_as_the_worst() -> None:
    found = asked({"winning": [[1.0, float("nan"), 0.3, float("inf")]]})
    assert found.warnings == ("without a finite score: 2 trainings of tickets, taken as the worst that is finite",)
    assert found.thresholds[0].seeds[0].surviving == pytest.approx((0.8 * 0.64) ** 0.5)
    assert "NaN" not in json.dumps(found.data(), allow_nan=False)


def test_without_a_floor_the_lowest_level_stands_for_it() -> None:
    found = asked({"winning": [HIGH], "random": [LOW]}, floor=None)
    assert found.scale is not None
    assert (found.scale.floor, found.scale.floor_from) == (0.1, "random tickets at 41% of the pool")
    flat = asked({"winning": [[1.0] * 4]}, floor=None)
    assert (flat.margin, flat.thresholds) == (None, ())
    assert "prune further" in flat.warnings[0]
    chosen = answer(rows({"winning": [[1.0] * 4]}, floor=None), question_of(LABEL, "", parse_margin("score:0.1")))
    assert chosen.thresholds[0].censored(LAST) == 1


def test_luck_is_split_into_noise_of_training_and_tickets() -> None:
    """Two tickets, three trainings each: the tickets differ by 0.4, trainings of one by 0.01."""
    data = rows({"winning": [[0.9], [0.5]], "random": [[0.1], [0.2]]}, (1.0, 1.0))
    again = [
        replace(some, noise=noise, score=some.score + shift)
        for some in data for noise, shift in ((2, 0.01), (3, -0.01)) if some.kind == "winning"
    ]  # fmt: skip
    (luck,) = answer([*data, *again], Question()).luck
    assert (luck.kind, luck.tickets, luck.trainings) == ("winning", 2, 6)
    assert luck.noise == pytest.approx(0.01)
    assert luck.tickets_differ == pytest.approx((0.08 - 0.0001 / 3) ** 0.5)
    assert luck.share is not None
    assert luck.share < 0.01
    assert asked({"winning": [HIGH]}).luck == ()


def test_a_further_training_does_not_take_the_place_of_a_first_one_that_failed() -> None:
    scores: Scores = {"winning": jitter(HIGH, 3), "random": [LOW] * 3}
    data = rows(scores, (1.0,) * 3)
    again = [replace(some, noise=2, score=some.score + 0.3) for some in data if some.kind == "random"]
    failed = [some for some in data if (some.kind, some.seed, some.round) != ("random", 1, 2)]
    found, without = (answer([*failed, *more], question_of(LABEL, "")) for more in (again, []))
    assert found.whole is not None
    assert found.whole == without.whole
    assert "left out: 1 ticket whose first training is missing, although a further one is there" in found.warnings
    assert "whose first training is missing" not in one_line(without)
    assert "whose first training is missing" not in one_line(answer([*data, *again], question_of(LABEL, "")))
    assert answer([replace(some, noise=7) for some in data], Question()).whole == answer(data, Question()).whole


@pytest.mark.parametrize(
    ("value", "digits", "sign", "text"),
    [
        (999.4, 3, "", "999"),
        (999.7, 3, "", "1,000"),
        (-999.6, 3, "+", "-1,000"),
        (9999.7, 4, "", "10,000"),
        (12345.6, 4, "", "12,346"),
        (0.01234, 3, "+", "+0.0123"),
        (float("inf"), 3, "", "inf"),
    ],
)
def test_numbers_have_all_digits_before_the_point(value: float, digits: int, sign: str, text: str) -> None:
    assert number(value, digits, sign) == text


def test_large_scores_have_all_their_digits() -> None:
    found = asked({"winning": [HIGH] * 3}, (12345.6,) * 3, floor=20000.0)
    assert "its score 12,346 is no better than the floor, 20,000," in str(found.no_answer)
    assert str(parse_margin("score:1500000")) == "1,500,000"


def test_the_number_of_dense_seeds_stands_beside_their_score() -> None:
    data = [some for some in rows({"winning": [HIGH] * 3}, (1.0, 0.98, 1.02)) if (some.kind, some.seed) != ("dense", 3)]
    assert "(dense 0.99 ± 0.0141 of 2 seeds; floor 0)" in one_line(answer(data, question_of(LABEL, "")))


def test_the_number_of_seeds_comes_from_the_effect_and_the_limit_of_the_spread() -> None:
    """Not from the difference that was seen: it is the same whatever that is."""
    small, large = ([[0.5 + 0.01 * seed + shift] * 2 for seed in range(5)] for shift in (0.0, 0.4))
    needed = [
        asked({"winning": winning, "random": [[0.4] * 2] * 5}, (1.0,) * 5).needed[0] for winning in (small, large)
    ]
    assert needed[0].seeds == needed[1].seeds
    assert needed[0].limit == pytest.approx(upper_limit(needed[0].spread, 5))
    assert needed[0].limit > needed[0].spread
    assert upper_limit(1.0, 5) == pytest.approx(1.558, abs=1e-3)  # sqrt(4 / 1.6488), chi-squared at 20%
    # A t test of 26 pairs tells half a standard deviation with 80% power (one-sided, 5%: G*Power has 27).
    assert power(0.5, 27, 0.05) == pytest.approx(0.8118, abs=0.005)
    assert power(3.0, 4, 0.05) == 0.0


def test_more_tests_and_smaller_effects_need_more_seeds() -> None:
    curves = curves_of(rows({"winning": [[0.5 + 0.05 * s] * 2 for s in range(5)], "random": [[0.4] * 2] * 5}), 1.0)
    whole = compare(WHOLE, curves, 1.0)
    assert whole is not None
    few, many, finer = (seeds_needed([whole], e, t, 1.0) for e, t in ((0.1, 1), (0.1, 6), (0.05, 1)))
    assert few is not None
    assert many is not None
    assert finer is not None
    assert (few.seeds or 0) < (many.seeds or 0)
    assert (few.seeds or 0) < (finer.seeds or 0)
    assert list(contrasts_of(curves)) == []


def test_what_every_kind_was_given() -> None:
    data = [replace(some, steps=1000) for some in rows({"winning": [HIGH], "random": [LOW]})]
    data = [replace(some, steps=140) if some.kind == "random" and some.round == 4 else some for some in data]
    data = [replace(some, rewind_steps=50) if some.kind == "dense" else some for some in data]
    found = {some.kind: some for some in answer(data, Question()).given}
    assert (found["winning"].before, found["winning"].search) == (50, 4000)
    assert (found["random"].before, found["random"].shortest, found["random"].search) == (0, 140, 4000)
    text = one_line(answer(data, Question()))
    assert "winning 1,000 after 50" in text
    assert "differ in length by more than 5% (times dense, by level): random 0.14 to 1.00" in text


def test_rows_of_two_experiments_are_refused() -> None:
    data = rows({"winning": [HIGH]}, floor=None)

    def refused(some: list[Row], match: str) -> None:
        with pytest.raises(ConfigError, match=match):
            answer(some, Question())

    refused([*data, replace(data[-1], experiment="y", seed=2)], r"rows of 2 experiments \(x, y\)")
    refused([*data, replace(data[-1], pool=7, seed=2)], "rows of 2 pools")
    refused([*data, data[-1]], "two rows of seed 1 winning round 4")


@pytest.mark.parametrize("word", ["0", "0%", "100%", "1", "-0.1", "150%", "nan", "score:0", "score:-1", "score:nan",
                                  "dense:2", "x", "", "score:", "floor:1%", "5 %"])  # fmt: skip
def test_bad_margins(word: str) -> None:
    with pytest.raises(ConfigError, match="margin"):
        parse_margin(word)


def test_margins() -> None:
    question = question_of("BLEU (tokenised)", "fairseq")
    assert str(question.margin) == "1% of the dense score"
    assert (question.least, question.lower_is_better) == (0.0, False)
    question = question_of("log perplexity (nats a word) on the test split", "fairseq")
    assert (str(question.margin), question.lower_is_better) == ("0.03", True)
    assert str(question_of(LABEL, "sb3").margin) == "5% of the distance from floor to dense"
    assert str(parse_margin("0.05")) == str(parse_margin("5%"))
    assert question_of("", "").assumed
    assert not question_of("", "", lower=True).assumed


@pytest.mark.parametrize(
    ("label", "framework", "counts"),
    [
        ("", "", True),
        ("loss of mine", "", True),
        ("score of ./loss.sh", "fairseq", True),
        (LABEL, "sb3", False),
        ("mean return of 100 fresh episodes", "sb3", False),
        ("BLEU (sacrebleu, detokenised) on the test split", "fairseq", False),
        ("chrF2 (sacrebleu, detokenised)", "fairseq", False),
        ("BLEU (sacrebleu zh, detokenised) on the test split", "fairseq", False),
        ("mean return of the last 4 episodes", "sb3", False),
        ("perplexity on the test split", "fairseq", True),
        ("BLEURT gap", "fairseq", True),
        ("steps to goal", "sb3", True),
    ],
)
def test_a_direction_that_is_asked_for_counts_where_the_label_has_none(
    label: str, framework: str, counts: bool
) -> None:
    assert question_of(label, framework, lower=True).lower_is_better == counts


@pytest.mark.parametrize(("shares", "words"), [((0.5, 0.8), "50% and 80%"), ((0.1251, 0.133), "12.5% and 13.3%")])
def test_shares_that_differ_look_different(shares: tuple[float, float], words: str) -> None:
    assert _why_no_test(SimpleNamespace(shares=shares)) == f"their tickets keep other shares: {words}"
