"""Where a kind may end: in one repeat, after some scored levels in a row at the floor."""

import math

import pytest

from lottery_core.errors import ConfigError
from lottery_core.experiments.graph import FloorStop, Level, Run, at_floor, dense, ends_after, needs

SCORED = (2, 4, 6, 8, 10)


@pytest.mark.parametrize(
    ("score", "dense_score", "floor", "sign", "low"),
    [
        (29, 200, 20, 1, True),  # exactly 5% of the distance
        (29.1, 200, 20, 1, False),
        (10, 200, 20, 1, True),
        (4.9, 2.0, 5.0, -1, True),  # lower is better
        (4.7, 2.0, 5.0, -1, False),
        (7.0, 2.0, 5.0, -1, True),
        (math.nan, 200, 20, 1, True),
        (20, 20, 20, 1, False),  # no range
        (20, math.nan, 20, 1, False),
        (198.0, 9.4, 22.0, 1, False),  # a failed dense network turns nothing round
        (9.0, 9.4, 22.0, 1, False),
        (7.0, 5.5, 5.0, -1, False),
    ],
)
def test_at_the_floor(score: float, dense_score: float, floor: float, sign: float, low: bool) -> None:
    assert at_floor(score, dense_score, floor, sign) == low


def levels(*scores: float) -> "list[Level]":
    return [Level(round_, score) for round_, score in zip(SCORED, scores, strict=False)]


def test_a_kind_ends_after_levels_in_a_row() -> None:
    assert ends_after(levels(150, 21, 20), SCORED, 200, 20, 2) == 6
    assert ends_after(levels(150, 21, 60, 20), SCORED, 200, 20, 2) is None  # not in a row
    assert ends_after(levels(150, 21, 60, 20, 20), SCORED, 200, 20, 2) == 10
    assert ends_after(levels(150, 21), SCORED, 200, 20, 1) == 4
    assert ends_after(levels(), SCORED, 200, 20, 1) is None
    missing = [Level(2, 20.0), Level(6, 20.0)]
    assert ends_after(missing, SCORED, 200, 20, 2) is None  # level 4 is not known


def stop(count: int = 2) -> FloorStop:
    found = FloorStop(count, lambda: 20, SCORED, lambda run: needs(run, True))
    found.learn(dense(1), 200)
    return found


def test_runs_beyond_the_end_are_left_out_with_the_search_that_only_they_need() -> None:
    found = stop()
    for round_, score in ((2, 150.0), (4, 20.0), (6, 22.0)):
        found.learn(Run(1, "winning", round_), score)
    search = [Run(1, "winning", round_, search=True) for round_ in (7, 8, 9)]
    random = [Run(1, "random", round_) for round_ in (8, 10)]
    late = [Run(1, "winning", 8), Run(1, "winning", 10), Run(1, "winning", 8, 2)]
    # While random tickets go on, the winning masks are searched, and only the winning trainings are left out.
    assert found.left_out([*search, *late, *random]) == late
    for round_ in (2, 4):
        found.learn(Run(1, "random", round_), 20)
    waiting = [*search, *late, *random]
    assert found.left_out(waiting) == waiting
    assert found.left_out([Run(2, "winning", 10)]) == []  # another repeat


def test_a_level_waits_until_it_is_known_whether_its_kind_has_ended() -> None:
    found = stop()
    assert not found.holds(Run(1, "random", 4))  # one level before it: too few to end
    assert found.holds(Run(1, "random", 6))
    found.learn(Run(1, "random", 4), 20)
    assert found.holds(Run(1, "random", 6))  # 4 is at the floor, 2 is not known
    found.learn(Run(1, "random", 2), 150)
    assert not found.holds(Run(1, "random", 6))
    assert not found.holds(Run(1, "winning", 9, search=True))
    assert not found.holds(dense(1))


def test_levels_wait_for_the_run_that_measures_the_floor() -> None:
    """Chains of another seed may be ahead of it."""
    floor: list[float] = []
    found = FloorStop(2, lambda: next(iter(floor), None), SCORED, needs, measured_by=dense(1))
    for round_, score in ((0, 200.0), (2, 150.0), (4, 21.0)):
        found.learn(Run(2, "winning" if round_ else "dense", round_), score)
        assert not found.lost_floor(Run(2, "winning", round_))
    assert not found.holds(Run(2, "winning", 4))
    assert found.holds(Run(2, "winning", 6))
    floor.append(20.0)
    assert not found.holds(Run(2, "winning", 6))
    assert not found.lost_floor(dense(1))
    unmeasured = FloorStop(1, lambda: None, SCORED, needs, measured_by=dense(1))
    unmeasured.learn(Run(2, "winning", 2), 20.0)
    assert unmeasured.holds(Run(2, "winning", 4))
    assert unmeasured.lost_floor(dense(1))
    assert not unmeasured.holds(Run(2, "winning", 4))


def test_searches_and_repeated_trainings_do_not_count() -> None:
    found = stop(1)
    found.learn(Run(1, "winning", 4, search=True), 20)
    found.learn(Run(1, "winning", 4, 2), 20)
    assert found.left_out([Run(1, "winning", 6)]) == []


def test_no_level_is_no_rule() -> None:
    with pytest.raises(ConfigError, match="at least 1 level, not 0"):
        stop(0)
