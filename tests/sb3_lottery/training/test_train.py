"""One run: lengths, rewind points, score."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EveryNTimesteps
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv

from lottery_core import Ticket, Weights, read_weights
from lottery_core.errors import ConfigError, RunError
from lottery_core.experiments.results import Score, read_score
from lottery_core.files import read_curve
from lottery_core.pruning.timepoints import Point
from lottery_core.reports.table import evaluated
from sb3_lottery import find_tickets
from sb3_lottery.models.parameters import optimizers_of, weights_of
from sb3_lottery.training.evaluation import Evaluation
from sb3_lottery.training.spec import TrainingSpec
from sb3_lottery.training.train import train
from tests.sb3_lottery.helpers import make, ticket_for
from tests.sb3_lottery.tiny import Tiny


def spec(epoch: str, epochs: int, rewind: str, last: int = 10) -> TrainingSpec:
    points = [Point(unit, int(count)) for unit, _, count in (epoch.partition(":"), rewind.partition(":"))]
    return TrainingSpec(points[0], epochs, points[1], last)


def run(model, found: TrainingSpec, folder: Path):
    told: list[dict] = []
    return train(model, found, folder, None, lambda state: told.append(dict(state))), told


@pytest.mark.parametrize(
    ("epoch", "rewind"), [("episodes:5", "episodes:5"), ("updates:10", "updates:7"), ("timesteps:100", "timesteps:64")]
)
def test_lengths_in_every_unit(epoch: str, rewind: str, tmp_path: Path) -> None:
    score, told = run(make("a2c"), spec(epoch, 4, rewind), tmp_path)
    assert [state["epoch"] for state in told] == [1, 2, 3, 4]
    assert read_score(tmp_path) == score
    curve = read_curve(tmp_path / "curve.csv")
    assert [(point.epoch, point.steps) for point in curve] == [(state["epoch"], state["steps"]) for state in told]
    assert [f"{point.score:.4g}" for point in curve] == [state["text"].rpartition(" ")[2] for state in told]
    if epoch.startswith("timesteps"):
        assert score.steps == 400
    if epoch.startswith("updates"):
        assert score.steps == pytest.approx(40 * 8, abs=8)
    init, point, end = (Weights.load(tmp_path / f"{name}.safetensors") for name in ("init", "rewind", "rewind"))
    trained = read_weights(tmp_path / "model.zip")
    init.require_same_shapes(trained)
    assert not torch.equal(init.tensors["action_net.weight"], point.tensors["action_net.weight"])
    assert not torch.equal(end.tensors["action_net.weight"], trained.tensors["action_net.weight"])


def test_a_rollout_longer_than_the_training_ends_its_last_epoch_once(tmp_path: Path) -> None:
    score, told = run(make("ppo"), spec("timesteps:6", 2, "timesteps:8"), tmp_path)
    assert score.steps == 32
    assert [state["epoch"] for state in told] == [1, 2]


def test_a_rewind_point_in_updates_is_right_after_that_optimizer_step(tmp_path: Path) -> None:
    model, seen = make("ppo"), {}

    class Spy(BaseCallback):
        def _on_training_start(self) -> None:
            self.count = 0

            def count(*_):
                self.count += 1
                seen[self.count] = weights_of(self.model)

            optimizers_of(self.model)[0].register_step_post_hook(count)

        def _on_step(self) -> bool:
            return True

    run(model, spec("timesteps:128", 1, "updates:3"), tmp_path)
    other = make("ppo")
    other.learn(128, callback=Spy())
    kept = Weights.load(tmp_path / "rewind.safetensors").tensors
    assert all(torch.equal(kept[name], tensor) for name, tensor in seen[3].tensors.items())


def test_no_folder_is_left_among_the_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    run(make("a2c"), spec("timesteps:64", 1, "timesteps:32"), tmp_path)
    assert not list((tmp_path / "temporary").iterdir())


def test_a_trained_model_dies_with_its_last_reference(tmp_path: Path) -> None:
    """Also under callbacks that keep the variables of ``learn``: a replay buffer may take gigabytes."""
    make("dqn", env=Monitor(Tiny()))  # torch keeps the frames that imported its optimizers
    gc.collect()
    gc.disable()
    try:
        model = make("dqn", env=Monitor(Tiny()))
        alive = weakref.ref(model)
        each = EveryNTimesteps(8, CheckpointCallback(1000, str(tmp_path)))
        found = spec("timesteps:32", 1, "timesteps:8")
        ticket = ticket_for(model)
        train(model, found, tmp_path, ticket, lambda _: None, more=[each])
        del model
        assert alive() is None
    finally:
        gc.enable()


def test_init_is_the_initialisation(tmp_path: Path) -> None:
    model = make("a2c")
    before = weights_of(model).tensors
    run(model, spec("timesteps:64", 1, "episodes:0"), tmp_path)
    for name in ("init", "rewind"):
        kept = Weights.load(tmp_path / f"{name}.safetensors").tensors
        assert all(torch.equal(kept[key], before[key]) for key in before)


def test_the_score_is_the_mean_of_the_last_returns(tmp_path: Path) -> None:
    class Count(BaseCallback):
        def __init__(self) -> None:
            super().__init__()
            self.returns: list[float] = []

        def _on_step(self) -> bool:
            self.returns += [info["episode"]["r"] for info in self.locals["infos"] if "episode" in info]
            return True

    score, _ = run(make("a2c"), spec("timesteps:400", 1, "timesteps:8", last=5), tmp_path)
    count = Count()
    make("a2c").learn(400, callback=count)
    assert score.score == pytest.approx(sum(count.returns[-5:]) / 5)
    assert score.returns == 5
    spread = torch.tensor(count.returns[-5:]).std()
    assert score.score_se == pytest.approx(float(spread) / 5**0.5, rel=1e-5)


def test_what_cannot_be_counted_or_reached_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"rewind point episodes:50 was not reached in timesteps:64: \d+ episode"):
        run(make("a2c"), spec("timesteps:64", 1, "episodes:50"), tmp_path / "a")
    with pytest.raises(RunError, match="no episode ended"):
        run(
            PPO("MlpPolicy", "Pendulum-v1", n_steps=32, batch_size=16, device="cpu"),  # episodes of 200 steps
            spec("timesteps:64", 1, "timesteps:2"),
            tmp_path,
        )
    assert not (tmp_path / "score.json").exists()


@pytest.mark.parametrize("is_score", [True, False])
def test_an_evaluation_is_a_score_without_a_training_episode(is_score: bool, tmp_path: Path) -> None:
    def evaluate(model: Any, score: Score) -> Score:
        return Evaluation(2, is_score=is_score)(model, score, lambda seed: DummyVecEnv([lambda: Monitor(Tiny())]), 1)

    def trained() -> Score:
        model = A2C("MlpPolicy", Monitor(Tiny()), n_steps=2, device="cpu")
        return train(model, spec("timesteps:4", 1, "timesteps:2"), tmp_path, None, lambda _: None, evaluate)

    if not is_score:
        with pytest.raises(RunError, match="no episode ended"):
            trained()
        return
    score = trained()
    assert (score.returns, score.more) == (2, {})
    assert read_score(tmp_path) == score


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (("episodes:10", 5, "episodes:51"), "rewind point episodes:51 lies beyond the training length episodes:50"),
        (("episodes:0", 5, "episodes:0"), "an epoch must be at least 1"),
        (("episodes:1", 0, "episodes:0"), "epochs must be at least 1"),
        (("episodes:1", 1, "episodes:0", 0), "at least 1 episode"),
    ],
)
def test_specs_that_cannot_be(values: tuple, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        spec(*values)


def test_dqn_wants_timesteps(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="DQN explores for a share of all timesteps"):
        run(make("dqn"), spec("episodes:10", 2, "episodes:1"), tmp_path)


@pytest.mark.parametrize("word", ["lr", "none"])
def test_keeping_the_trained_weights(word: str, tmp_path: Path) -> None:
    """A ticket starts from what its own round before was trained to; ``none`` also keeps the last learning rate."""

    def make_model(seed: int) -> PPO:
        rate = LinearSchedule(1e-2, 1e-3, 1.0)
        kwargs = {"net_arch": [16], "ortho_init": False}
        return PPO("MlpPolicy", "CartPole-v1", rate, n_steps=32, batch_size=16, seed=seed, policy_kwargs=kwargs)

    found = find_tickets(
        make_model,
        tmp_path,
        total_timesteps=128,
        rounds=2,
        prune_rate=0.4,
        rewind=word,
        kinds="winning",
        progress=False,
    )
    before = read_weights(tmp_path / "seed-1" / "dense" / "model.zip")
    for round_ in (1, 2):
        folder = tmp_path / "seed-1" / "winning" / f"round-0{round_}"
        ticket = Ticket.load(found.ticket(1, "winning", round_))
        assert ticket.origin.rewind == word
        for name, mask in ticket.masks.items():
            assert torch.equal(ticket.start()[name], torch.where(mask, before.tensors[name], 0.0))
        before = read_weights(folder / "model.zip")
        model = PPO.load(folder / "model.zip")
        assert model.lr_schedule(1.0) == pytest.approx(1e-2 if word == "lr" else 1e-3)
    assert PPO.load(tmp_path / "seed-1" / "dense" / "model.zip").lr_schedule(1.0) == pytest.approx(1e-2)


def test_a_last_rate_of_zero_is_refused(tmp_path: Path) -> None:
    def make_model(seed: int) -> PPO:
        return PPO("MlpPolicy", "CartPole-v1", LinearSchedule(1e-2, 0.0, 1.0), n_steps=32, batch_size=16, seed=seed)

    with pytest.raises(ConfigError, match="the learning rate ends at 0"):
        find_tickets(make_model, tmp_path / "out", total_timesteps=64, rewind="none", progress=False)
    assert not (tmp_path / "out").exists()


def test_evaluations_are_of_fresh_episodes(tmp_path: Path) -> None:
    """Beside the score of the training: in results.csv, in the table, and the same in a second experiment."""
    options = {"total_timesteps": 64, "rounds": 1, "kinds": "winning", "eval_episodes": 3, "deterministic": True}
    found = find_tickets(make_ppo, tmp_path / "one", progress=False, **options)
    again = find_tickets(make_ppo, tmp_path / "two", progress=False, **options)
    assert [row.eval_score for row in found.rows] == [row.eval_score for row in again.rows]
    assert [row.eval_episodes for row in found.rows] == [3, 3]
    assert all(row.eval_score >= 8 and row.eval_score != row.score for row in found.rows)
    assert [row.score for row in evaluated(found.rows)] == [row.eval_score for row in found.rows]
    options |= {"eval_episodes": 0, "deterministic": False}
    plain = find_tickets(make_ppo, tmp_path / "three", progress=False, **options)
    assert [row.score for row in plain.rows] == [row.score for row in found.rows], "an evaluation changes nothing"
    assert not evaluated(plain.rows)
    with pytest.raises(ConfigError, match="another configuration"):
        find_tickets(make_ppo, tmp_path / "one", progress=False, **{**options, "eval_episodes": 4})


def make_ppo(seed: int) -> PPO:
    kwargs = {"net_arch": [16], "ortho_init": False}
    return PPO("MlpPolicy", "CartPole-v1", n_steps=32, batch_size=16, seed=seed, policy_kwargs=kwargs)
