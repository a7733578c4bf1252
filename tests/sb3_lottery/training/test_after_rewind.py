"""``--after-rewind remaining``: T - k more, with the schedule from k on (Frankle et al. 2020)."""

from __future__ import annotations

from pathlib import Path

import pytest
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm

from lottery_core.errors import ConfigError
from lottery_core.experiments import Point, Run, paths
from lottery_core.files import read_json
from sb3_lottery import find_tickets
from sb3_lottery.training.spec import TrainingSpec
from sb3_lottery.training.train import train_run
from tests.sb3_lottery.find.test_find_tickets import SMALL, make_model
from tests.sb3_lottery.helpers import SMALL as COMMAND
from tests.sb3_lottery.helpers import make, request_for, ticket_for

REST = {**SMALL, "rewind": "timesteps:64", "after_rewind": "remaining", "rounds": 1}


def test_tickets_and_controls_train_what_remains(tmp_path: Path) -> None:
    kinds = ("winning", "one-shot", "no-rewind", "random")
    found = find_tickets(make_model, tmp_path, **REST, kinds=kinds)
    steps = {row.kind: row.steps for row in found.rows}
    assert steps == {"dense": 256, "winning": 192, "one-shot": 192, "no-rewind": 256, "random": 192}
    assert found.rows[0].rewind_steps == 64
    text = str(found)
    assert "tickets train what remains after the rewind point timesteps:64" in text.splitlines()[0]
    assert "in all, with those before the rewind point: dense 256, winning 256, one-shot 256, no-rewind 256, " in text
    with pytest.raises(ConfigError, match="after_rewind: remaining -> full"):
        find_tickets(make_model, tmp_path, **{**REST, "after_rewind": "full"})


def test_the_schedule_goes_on_from_the_rewind_point(tmp_path: Path) -> None:
    models: list[list[float]] = []

    def scheduled(seed: int) -> BaseAlgorithm:
        seen: list[float] = []
        models.append(seen)

        def rate(left: float) -> float:
            seen.append(left)
            return 0.01 * left

        return PPO(
            "MlpPolicy", "CartPole-v1", learning_rate=rate, n_steps=32, batch_size=16, n_epochs=1, seed=seed,
            device="cpu", policy_kwargs={"net_arch": [16, 16], "ortho_init": False},
        )  # fmt: skip

    find_tickets(scheduled, tmp_path, **REST, kinds="winning")
    dense, ticket = (sorted({*seen} - {0.0, 1.0}, reverse=True) for seen in models[-2:])
    assert dense == pytest.approx([1 - done / 256 for done in range(32, 256, 32)])
    assert ticket == pytest.approx([1 - done / 256 for done in range(96, 256, 32)])


@pytest.mark.parametrize(
    ("epoch", "rewind"), [("episodes:5", "updates:7"), ("updates:10", "episodes:3"), ("timesteps:100", "updates:7")]
)
def test_lengths_and_rewind_points_in_every_unit(epoch: str, rewind: str, tmp_path: Path) -> None:
    """What is counted at the rewind point, in the unit of the length, is taken off."""
    length, point = (Point(unit, int(count)) for unit, _, count in (epoch.partition(":"), rewind.partition(":")))
    spec = TrainingSpec(length, 4, point, 5, after_rewind="remaining")
    reports: list[int] = []

    def train(run: Run):
        return train_run(
            tmp_path, run, lambda seed: make("a2c", seed), spec, lambda state: reports.append(state["epoch"])
        )

    dense = train(Run(1, "dense", 0))
    counts = read_json(tmp_path / "seed-1/dense" / paths.REWIND_COUNTS)
    assert dense.rewind_steps == counts["timesteps"]
    assert counts[point.unit] == point.count
    run = Run(1, "winning", 1)
    ticket_for(make("a2c", 1)).save(tmp_path / run.folder / paths.TICKET)
    reports.clear()
    score = train(run)
    assert reports == list(range(counts[length.unit] // length.count + 1, 5))
    if length.unit == "timesteps":
        assert 0 <= score.steps - (400 - counts["timesteps"]) < 8  # whole rollouts
    if length.unit == "updates":
        assert score.steps // 8 == 40 - counts["updates"]


def test_a_replay_buffer_is_filled_again(tmp_path: Path) -> None:
    def dqn(seed: int, starts: int = 40) -> BaseAlgorithm:
        return DQN(
            "MlpPolicy", "CartPole-v1", learning_starts=starts, train_freq=4, buffer_size=500, seed=seed, device="cpu",
            policy_kwargs={"net_arch": [16]},
        )  # fmt: skip

    rows = find_tickets(dqn, tmp_path / "x", **REST, kinds="winning").rows
    assert [row.steps for row in rows] == [256, 192]
    trained = DQN.load(tmp_path / "x/seed-1/winning/round-01/model.zip")
    assert trained.num_timesteps == 256
    assert trained.learning_starts == 40, "not those of the training that began at the rewind point"
    assert trained._n_updates == (256 - 64 - 40) // 4
    with pytest.raises(ConfigError, match="would not update once in the timesteps:56 that remain"):
        find_tickets(lambda seed: dqn(seed, 100), tmp_path / "y", **{**REST, "rewind": "timesteps:200"})


def test_nothing_remains(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing remains of timesteps:256 after the rewind point timesteps:256"):
        find_tickets(make_model, tmp_path / "x", **{**REST, "rewind": "timesteps:256"})


def test_the_option_of_the_command() -> None:
    for words, word in (("", "full"), ("--after-rewind remaining", "remaining")):
        request = request_for(f"{COMMAND} --out x {words}")
        assert request.experiment.after_rewind == request.settings.training.after_rewind == word
        assert type(request.settings).of(request.experiment) == request.settings
    with pytest.raises(ConfigError, match="unknown length after the rewind point 'rest'"):
        request_for(f"{COMMAND} --out x --after-rewind rest")
