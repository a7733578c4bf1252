"""Random tickets at the winning ticket's whole budget."""

from __future__ import annotations

from pathlib import Path

import pytest

from lottery_core.experiments import Point
from sb3_lottery import find_tickets
from sb3_lottery.training.spec import TrainingSpec
from tests.sb3_lottery.helpers import make


@pytest.mark.parametrize("after_rewind", ["full", "remaining"])
def test_a_random_ticket_trains_as_long_as_search_and_training_of_the_winning_one(
    after_rewind: str, tmp_path: Path
) -> None:
    found = find_tickets(
        lambda seed: make("ppo", seed),
        tmp_path,
        total_timesteps=320,
        rounds=2,
        rewind="timesteps:64",
        after_rewind=after_rewind,
        kinds=("random-budget",),
        score_episodes=5,
        floor=False,
        progress=False,
    )
    steps = {(row.kind, row.round): row.steps for row in found.rows}
    each = {"full": 320, "remaining": 256}[after_rewind]
    assert steps["winning", 1] == steps["winning", 2] == each
    assert [steps["random-budget", round_] for round_ in (1, 2)] == [320 + each, 320 + 2 * each]
    assert "random-budget +" not in str(found), "no warning about a length that its name says"


def test_a_length_that_no_epoch_divides_is_still_exact() -> None:
    spec = TrainingSpec(Point("updates", 10), 5, Point("updates", 7), 1, after_rewind="remaining")
    assert spec.of_whole_search(3, 7).length == Point("updates", 50 + 3 * 43)
    assert spec.of_whole_search(3).length == Point("updates", 200)
