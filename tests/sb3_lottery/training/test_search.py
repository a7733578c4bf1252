"""Search rounds of real trainings: cut off at a share or when the mask has settled, and otherwise the same training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from lottery_core import Ticket, Weights, prune, read_weights
from lottery_core.experiments import paths
from lottery_core.experiments.results import read_marker, read_searches
from lottery_core.files import read_curve
from lottery_core.pruning import CHECKS
from sb3_lottery import find_tickets

LENGTH = 640
rates: list[float] = []


def scheduled(seed: int) -> BaseAlgorithm:
    def rate(left: float) -> float:
        rates.append(left)
        return 0.01 * left

    return PPO(
        "MlpPolicy", "CartPole-v1", learning_rate=rate, n_steps=32, batch_size=16, n_epochs=1, seed=seed, device="cpu",
        policy_kwargs={"net_arch": [16, 16], "ortho_init": False},
    )  # fmt: skip


class Keep(BaseCallback):
    """Keeps the values that are logged, and the weights after each check."""

    logged: list[float] = []  # noqa: RUF012

    def _on_step(self) -> bool:
        value = self.logger.name_to_value.get("lottery/mask_distance")
        if value is not None:
            self.logged.append(value)
        return True


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("half") / "x"
    settings = {"total_timesteps": LENGTH, "prune_rate": 0.5, "progress": False, "kinds": "winning"}
    find_tickets(scheduled, out, **settings, search="0.5", score_rounds=[1, 3], callbacks=lambda seed: Keep())
    return out


def test_a_search_run_is_the_beginning_of_the_scored_run(half: Path) -> None:
    searched, scored = (half / f"seed-1/winning/{name}-01" for name in ("search", "round"))
    short, full = (read_curve(folder / paths.LEARNING) for folder in (searched, scored))
    assert len(full) >= CHECKS  # a check at the end of every twentieth
    assert short == full[: len(short)]
    assert short[-1].steps == LENGTH / 2
    row = read_marker(searched)
    assert row is not None
    assert (row.search, row.share, row.steps) == ("0.5", 0.5, LENGTH / 2)
    assert row.stopped.startswith("stopped at 50% of the training, mask distance ")
    assert [row.round for row in read_searches(half)] == [1, 2]


def test_the_learning_rate_is_cut_off_not_compressed(half: Path) -> None:
    """Half of a linear schedule ends at half the rate; the other runs go on to its end."""
    rows = {row.steps for row in read_searches(half)}
    assert rows == {LENGTH / 2}
    runs, last = [], 2.0
    for left in (left for left in rates if left not in (0.0, 1.0)):  # the ends are also asked beforehand
        if left > last:
            runs.append(last)
        last = left
    runs.append(last)
    assert sorted(round(left, 3) for left in runs)[:3] == [0.05] * 3  # dense and two scored tickets
    assert sorted(round(left, 3) for left in runs)[-2:] == [0.55] * 2


def test_the_next_ticket_comes_from_the_cut_training(half: Path) -> None:
    rewind = Weights.load(half / "seed-1/dense/rewind.safetensors")
    searched = half / "seed-1/winning/search-02"
    trained, ticket = read_weights(searched / "model.zip").like(rewind), Ticket.load(searched / paths.TICKET)
    expected = prune(trained, rewind, rate=0.5, previous=ticket)
    found = Ticket.load(half / "seed-1/winning/round-03" / paths.TICKET)
    assert found.masks == expected.masks
    # The last distance was measured on the mask that was then pruned.
    last = read_curve(searched / paths.LEARNING)[-1]
    assert last.distance is not None
    assert 0 <= last.distance <= 1


def test_the_distance_is_logged_in_full_trainings_too(half: Path) -> None:
    dense = read_curve(half / "seed-1/dense" / paths.LEARNING)
    distances = [point.distance for point in dense if point.distance is not None]
    assert len(distances) == CHECKS
    assert any(distances)
    assert set(distances) <= set(Keep.logged)


def test_a_threshold_decides_by_the_mask_and_one_that_never_settles_trains_in_full(tmp_path: Path) -> None:
    settings = {"total_timesteps": LENGTH, "prune_rate": 0.5, "progress": False, "kinds": "winning", "rounds": 2}
    for threshold, stops in (("settled:0.9", True), ("settled:0.0001", False)):
        out = tmp_path / threshold.replace(":", "-")
        find_tickets(scheduled, out, **settings, search=threshold)
        (row,) = read_searches(out)
        points = read_curve(out / row.run.folder / paths.LEARNING)
        assert (row.share < 1) == stops == (row.steps < LENGTH)
        if stops:
            assert row.stopped.startswith(f"settled at {row.share:.0%} of the training")
            assert points[-1].slows
        else:
            assert row.stopped.startswith("never settled below 0.0001: trained in full")
            scored = read_weights(out / "seed-1/winning/round-01/model.zip").tensors
            for name, tensor in read_weights(out / row.run.folder / "model.zip").tensors.items():
                assert torch.equal(tensor, scored[name])


def unscheduled(seed: int) -> BaseAlgorithm:
    return PPO("MlpPolicy", "CartPole-v1", n_steps=32, batch_size=16, n_epochs=1, seed=seed, device="cpu")


def test_searches_get_longer_up_to_the_last_scored_round(tmp_path: Path) -> None:
    settings = {"total_timesteps": LENGTH, "prune_rate": 0.5, "progress": False, "kinds": "winning"}
    find_tickets(unscheduled, tmp_path / "x", **settings, search="0.25-0.75", score_rounds=[4])
    found = [(row.round, row.search, row.share, row.steps) for row in read_searches(tmp_path / "x")]
    assert found == [(1, "0.25", 0.25, LENGTH / 4), (2, "0.5", 0.5, LENGTH / 2), (3, "0.75", 0.75, LENGTH * 0.75)]
