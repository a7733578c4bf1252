"""The rule that says when a mask has settled, on masks that move in known ways."""

import pytest
import torch

from lottery_core.errors import MaskError
from lottery_core.pruning.settling import PackedMask, Settling
from lottery_core.pruning.settling.rule import settles_at
from lottery_core.tickets import Masks

POOL, SURVIVING = 4000, 1000


def moved(steps: float) -> PackedMask:
    """A window of survivors that has moved by ``steps``: each step changes one survivor."""
    mask = torch.zeros(POOL, dtype=torch.bool)
    first = round(steps)
    mask[first : first + SURVIVING] = True
    return PackedMask.of(Masks({"w": mask}))


def watched(position: "list[float]", checks: int | None = None) -> Settling:
    settling = Settling(moved(0))
    count = len(position)
    for index, place in enumerate(position, 1):
        settling.add(index / (checks or count), moved(place))
    return settling


def test_a_mask_that_comes_to_rest_settles_soon_after() -> None:
    position = [min(60 * check, 300) for check in range(1, 21)]  # moves for 5 checks of 20, then rests
    settling = watched(position)
    # The mask at half the time is compared as well: at check 9 it is still another one, at 13 it no longer is.
    share = settles_at(settling.looks, 0.01)
    assert share is not None
    assert 0.4 < share < 0.7
    assert settling.settled(0.01)


def test_distances_are_of_a_twentieth_whatever_the_number_of_checks() -> None:
    few, many = watched([30 * check for check in range(1, 21)]), watched([6 * check for check in range(1, 101)])
    assert few.looks[-1].distance == pytest.approx(many.looks[-1].distance) == pytest.approx(0.03)
    assert few.looks[9].distance == pytest.approx(many.looks[49].distance)


def test_a_mask_that_creeps_at_one_speed_never_settles() -> None:
    # A small learning rate: each check changes a thousandth of the survivors, far below the threshold.
    settling = watched([float(check) for check in range(1, 101)])
    assert max(look.distance for look in settling.looks) < 0.02
    assert settles_at(settling.looks, 0.02) is None
    assert not any(look.slows for look in settling.looks)


def test_a_mask_that_never_moved_has_not_settled() -> None:
    assert settles_at(watched([0.0] * 20).looks, 0.02) is None


def test_one_small_distance_is_not_enough() -> None:
    position = [100, 200, 300, 300, 400, 500, 600, 600, 700, 800]
    settling = watched(position)
    assert settles_at(settling.looks, 0.02) is None


def test_half_the_time_is_seen_where_neighbours_hardly_differ() -> None:
    # Ten checks that find the same mask, but at half the time it was another: a learning rate that has just fallen.
    position = [200.0 * check for check in range(1, 6)] + [1000.0] * 2
    settling = watched(position, checks=20)
    assert settling.looks[-1].distance > 0.02


def test_checks_go_forward() -> None:
    settling = watched([10, 20])
    with pytest.raises(MaskError, match="cannot follow"):
        settling.add(1.0, moved(30))


def test_masks_before_half_the_time_are_dropped() -> None:
    settling = watched([float(check) for check in range(1, 101)])
    shares = [share for share, _ in settling._masks]
    assert shares[0] == 0
    assert min(shares[1:]) >= 0.49
