"""The callback in people's own scripts: real agents, real environments."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import torch
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    EvalCallback,
    EveryNTimesteps,
)
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

from lottery_core import prune, read_weights
from lottery_core.errors import ConfigError, LotteryError, MismatchError, OptimizerError, PrunedWeightAlive
from sb3_lottery import LotteryCallback, shrink_policy
from sb3_lottery.models.parameters import weights_of
from sb3_lottery.training import callback as callback_module
from sb3_lottery.training.episodes import NO_MONITOR
from tests.sb3_lottery.helpers import ALGORITHMS, assert_dead, make, ticket_for


class Start(BaseCallback):
    """Keeps the weights before the first step."""

    def _on_training_start(self) -> None:
        self.state = {name: value.clone() for name, value in self.model.policy.state_dict().items()}

    def _on_step(self) -> bool:
        return True


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_training_starts_at_the_ticket_bit_for_bit(algo: str) -> None:
    ticket, start = ticket_for(make(algo, seed=1)), Start()
    make(algo, seed=2).learn(1, callback=[LotteryCallback(ticket), start])
    for name, value in ticket.start().items():
        assert torch.equal(start.state[name].view(torch.uint8), value.view(torch.uint8)), name
    if algo == "dqn":
        for name, value in ticket.start().items():
            assert torch.equal(start.state[name.replace("q_net.", "q_net_target.", 1)], value)


def test_a_zip_saved_in_the_middle_of_training_holds_zeros_too(tmp_path: Path) -> None:
    model = make("ppo")
    ticket = ticket_for(model)
    saver = CheckpointCallback(50, str(tmp_path))
    model.learn(128, callback=CallbackList([saver, LotteryCallback(ticket)]))
    paths = sorted(tmp_path.glob("*.zip"))
    assert len(paths) == 2
    for path in paths:
        assert_dead(dict(read_weights(path).tensors), ticket.masks)


def test_evaluation_beside_it_sees_the_masked_policy() -> None:
    model, seen = make("ppo"), []
    ticket = ticket_for(model)

    class Look(EvalCallback):
        def _on_step(self) -> bool:
            assert_dead(self.model.policy.state_dict(), ticket.masks)
            seen.append(self.num_timesteps)
            return super()._on_step()

    look = Look(make_vec_env("CartPole-v1"), eval_freq=50, n_eval_episodes=1, verbose=0, warn=False)
    model.learn(128, callback=[LotteryCallback(ticket), look])
    assert len(seen) == 128


def test_a_saved_ticket_goes_on_training_after_loading(tmp_path: Path) -> None:
    model = make("ppo")
    ticket = ticket_for(model)
    ticket.save(tmp_path / "t")
    model.learn(64, callback=LotteryCallback(str(tmp_path / "t")))
    model.save(tmp_path / "m.zip")
    loaded, start = PPO.load(tmp_path / "m.zip", env=make_vec_env("CartPole-v1"), device="cpu"), Start()
    assert loaded.n_steps == 32
    before = weights_of(loaded).tensors
    loaded.learn(64, callback=[LotteryCallback(tmp_path / "t"), start])
    assert all(torch.equal(start.state[name], before[name]) for name in ticket.masks)
    assert_dead(loaded.policy.state_dict(), ticket.masks)
    loaded.learn(64, callback=[LotteryCallback(tmp_path / "t", restart=True), start])
    assert all(torch.equal(start.state[name], ticket.weights[name]) for name in ticket.masks)


TICKET = ticket_for(make("a2c", seed=3))


def same(start: Start, weights: Mapping[str, torch.Tensor]) -> bool:
    return all(torch.equal(start.state[name], value) for name, value in weights.items())


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "erk", "surviving": 1.0},
        {"kind": "gradual", "surviving": 0.5, "gradual": "0.5 1 5"},  # interrupted before its first step
        {"ticket": ticket_for(make("a2c", seed=3), 1e-9)},
        {"ticket": TICKET, "kind": "permuted"},
    ],
)
def test_a_second_learn_goes_on_whether_anything_is_pruned_or_not(options: dict[str, Any]) -> None:
    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps >= 24:
                raise KeyboardInterrupt
            return True

    model, callback, start = make("a2c"), LotteryCallback(**options), Start()
    with pytest.raises(KeyboardInterrupt):
        model.learn(160, callback=[callback, Stop()])
    trained = weights_of(model).tensors
    model.learn(160, callback=[callback, start], reset_num_timesteps=False)
    assert same(start, trained)
    if "ticket" in options:  # another callback with the same ticket
        trained = weights_of(model).tensors
        model.learn(8, callback=[LotteryCallback(**options), start])
        assert same(start, trained)


def test_another_ticket_with_the_same_mask_starts_from_its_own_values(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, start = make("a2c"), Start()
    ticket = ticket_for(make("a2c", seed=3))
    model.learn(16, callback=LotteryCallback(ticket, kind="reinit"))
    model.save(tmp_path / "reinit.zip")
    assert "another ticket" not in caplog.text
    model.learn(16, callback=[LotteryCallback(ticket), start])
    assert same(start, ticket.start())
    assert "has been trained with another ticket that keeps the same weights" in caplog.text
    caplog.clear()
    loaded = A2C.load(tmp_path / "reinit.zip", env=model.get_env(), device="cpu")
    trained = weights_of(loaded).tensors
    loaded.learn(16, callback=[LotteryCallback(ticket), start])
    assert same(start, trained), "only its zeros are known"
    assert "its training goes on from the model's weights; restart=True starts from the ticket" in caplog.text


@pytest.mark.parametrize("options", [{"kind": "erk", "surviving": 0.3}, {"ticket": TICKET, "kind": "random"}])
def test_a_loaded_model_goes_on_with_its_control_or_the_loss_is_said(
    options: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, start = make("a2c"), Start()
    model.learn(16, callback=LotteryCallback(**options, seed=0))  # the default of version 0.1
    model.save(tmp_path / "m.zip")
    loaded = A2C.load(tmp_path / "m.zip", env=model.get_env(), device="cpu")
    trained = weights_of(loaded).tensors
    loaded.learn(16, callback=[LotteryCallback(**options), start])
    assert same(start, trained)
    assert "that training is lost" not in caplog.text
    loaded = A2C.load(tmp_path / "m.zip", env=model.get_env(), device="cpu")
    loaded.learn(16, callback=[LotteryCallback(**options, seed=5), start])
    assert not same(start, trained)
    assert "another ticket was trained, and that training is lost" in caplog.text


@pytest.mark.parametrize(("kind", "drawn"), [("random", True), ("reinit", False)])
def test_a_mask_that_is_the_same_in_each_run_is_said(kind: str, drawn: bool, caplog: pytest.LogCaptureFixture) -> None:
    for seed in (3, None):
        model = A2C("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [16, 16]}, seed=seed, device="cpu")
        model.learn(8, callback=LotteryCallback(TICKET, kind=kind))
        assert ("the model has no seed, so the mask" in caplog.text) == (drawn and seed is None)
    assert "that training is lost" not in caplog.text


@pytest.mark.parametrize(("few", "many"), [(0.3, 0.7), (0.05, 0.07)])
def test_a_smaller_and_a_larger_ticket_on_the_same_model_both_start_afresh(few: float, many: float) -> None:
    model, start = make("ppo"), Start()
    large, small = ticket_for(model, few), ticket_for(model, many)
    for ticket in (large, small, large):
        model.learn(64, callback=[LotteryCallback(ticket), start])
        assert all(torch.equal(start.state[name], ticket.weights[name]) for name in ticket.masks)


def test_a_dead_learn_leaves_nothing_that_a_second_ticket_trips_over() -> None:
    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            raise RuntimeError("stop")

    model = make("a2c")
    first, second = ticket_for(model, 0.8), ticket_for(make("a2c", seed=4), 0.2)
    with pytest.raises(RuntimeError, match="stop"):
        model.learn(64, callback=[LotteryCallback(first), Stop()])
    model.learn(64, callback=LotteryCallback(second))
    survivors = weights_of(model).tensors
    alive = sum(int(survivors[name].count_nonzero()) for name in second.masks)
    assert alive > 0.99 * second.masks.surviving


@pytest.mark.parametrize(
    "inside", [lambda one: EveryNTimesteps(10, one), lambda one: EveryNTimesteps(10, CallbackList([one]))]
)
def test_inside_a_callback_that_passes_on_steps_alone_it_is_refused(inside: Any) -> None:
    with pytest.raises(ConfigError, match="stands inside EveryNTimesteps, which does not tell it when rollouts and"):
        make("a2c").learn(16, callback=inside(LotteryCallback(kind="gradual", surviving=0.1)))
    make("a2c").learn(16, callback=CallbackList([CallbackList([LotteryCallback(TICKET)])]))


def test_after_a_dead_learn_the_masks_are_released_by_hand() -> None:
    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            raise KeyboardInterrupt

    model = make("a2c")
    callback = LotteryCallback(ticket_for(model, 0.8))
    with pytest.raises(KeyboardInterrupt):
        model.learn(64, callback=[callback, Stop()])
    with pytest.raises(ConfigError, match=r"call release\(\) of its LotteryCallback"):
        shrink_policy(model)
    callback.release()
    callback.release()
    shrink_policy(model)


class Reviving(BaseCallback):
    """Writes into the weights once, as a callback that resets or perturbs layers does."""

    def _on_step(self) -> bool:
        if self.num_timesteps == 48:
            with torch.no_grad():
                for parameter in self.model.policy.parameters():
                    parameter.add_(0.1)
        return True


@pytest.mark.parametrize("algo", ["a2c", "dqn"])
def test_weights_that_another_callback_revives_are_an_error(algo: str) -> None:
    """Scores would be those of a denser network than the one that is saved."""
    model = make(algo)
    callback = LotteryCallback(ticket_for(model))
    with pytest.raises(PrunedWeightAlive, match=r"pruned parameters of .* are alive"):
        model.learn(96, callback=[callback, Reviving()])


@pytest.mark.parametrize("algo", ["a2c", "dqn"])
def test_they_are_found_long_before_the_end(algo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callback_module, "_CHECK_EVERY", 32)
    model = make(algo)
    with pytest.raises(PrunedWeightAlive):
        model.learn(400, callback=[LotteryCallback(ticket_for(model)), Reviving()])
    assert model.num_timesteps < 120


def test_ending_twice_is_fine() -> None:
    model = make("a2c")
    callback = LotteryCallback(ticket_for(model))
    model.learn(32, callback=callback)
    callback.on_training_end()  # rl_zoo3 does this to its first callback
    assert_dead(model.policy.state_dict(), ticket_for(make("a2c")).masks)


def test_copies_and_pickles_of_the_policy_in_the_middle() -> None:
    model = make("a2c")
    ticket, copies = ticket_for(model), []

    class Copy(BaseCallback):
        def _on_step(self) -> bool:
            if not copies:
                copies.extend([copy.deepcopy(self.model.policy), pickle.loads(pickle.dumps(self.model.policy))])
            return True

    model.learn(32, callback=[LotteryCallback(ticket), Copy()])
    for twin in copies:
        assert_dead(twin.state_dict(), ticket.masks)


def test_the_logger_gets_round_surviving_and_score(tmp_path: Path) -> None:
    model = make("ppo")
    model.set_logger(configure(str(tmp_path), ["csv", "tensorboard"]))
    callback = LotteryCallback(ticket_for(model, 0.6))
    model.learn(320, callback=callback)
    header, *_, last = (tmp_path / "progress.csv").read_text().splitlines()
    found = dict(zip(header.split(","), last.split(","), strict=True))
    assert float(found["lottery/round"]) == 1
    assert float(found["lottery/surviving"]) == pytest.approx(0.4, abs=0.01)
    assert float(found["lottery/score"]) == pytest.approx(callback.episodes.score)
    assert list(tmp_path.glob("events.out.tfevents.*"))


@pytest.mark.parametrize("kind", ["random", "reinit", "uniform", "permuted", "shuffled"])
def test_a_control_is_made_on_the_spot(kind: str, tmp_path: Path) -> None:
    ticket, model, start = ticket_for(make("ppo", seed=1)), make("ppo", seed=2), Start()
    fresh = weights_of(model)
    weights_of(make("ppo", seed=1)).save(tmp_path / "rewind")
    rewind = tmp_path / "rewind" if kind == "shuffled" else None
    model.learn(32, callback=[LotteryCallback(ticket, kind=kind, seed=5, rewind=rewind), start])
    alive = {name: start.state[name] != 0 for name in ticket.masks}
    assert sum(int(mask.sum()) for mask in alive.values()) == ticket.masks.surviving
    if kind in ("random", "reinit", "uniform"):
        for name, mask in alive.items():
            assert torch.equal(start.state[name][mask], fresh.tensors[name][mask])


def test_a_control_is_drawn_anew_for_each_round_and_seed() -> None:
    """Unless a seed is given, which gives nested masks."""
    made = {}
    first = ticket_for(make("ppo"))
    second = prune(weights_of(make("ppo")), weights_of(make("ppo")), rate=0.5, previous=first)
    for ticket, seed, given in ((first, 1, None), (second, 1, None), (second, 2, None), (first, 1, 3), (second, 1, 3)):
        callback = LotteryCallback(ticket, kind="random", seed=given)
        make("ppo", seed=seed).learn(1, callback=callback)
        assert callback.final_ticket is not None
        masks = callback.final_ticket.masks
        made[ticket.origin.round, seed, given] = torch.cat([mask.flatten() for mask in masks.values()])
    assert bool((made[2, 1, None] & ~made[1, 1, None]).any())
    assert not torch.equal(made[2, 1, None], made[2, 2, None])


def test_a_continuous_policys_spread_is_not_in_the_pool() -> None:
    model = A2C("MlpPolicy", "Pendulum-v1", n_steps=8, seed=0, policy_kwargs={"ortho_init": False}, device="cpu")
    ticket = ticket_for(model)
    assert "log_std" not in ticket.masks
    assert "log_std" in ticket.rest
    model.learn(40, callback=LotteryCallback(ticket))
    assert_dead(model.policy.state_dict(), ticket.masks)


def test_collapse_is_a_loud_warning_and_training_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    model = make("a2c", ortho_init=True)
    ticket = ticket_for(model, 0.9)
    assert "action_net.weight" in ticket.masks.collapsed()
    model.learn(32, callback=LotteryCallback(ticket))
    assert "'action_net.weight' has collapsed" in caplog.text
    assert "ortho_init" in caplog.text


@pytest.mark.parametrize(
    ("case", "error", "words"),
    [
        (
            "other architecture",
            MismatchError,
            r"'action_net.weight' is \(2, 16\) in the ticket, but \(2, 8\) in",
        ),
        ("other algorithm", MismatchError, "no such tensor"),
        ("eps of zero", OptimizerError, "eps=0"),
        ("no such file", LotteryError, "No such file"),
    ],
)
def test_bad_input_is_one_clear_line(case: str, error: type[LotteryError], words: str) -> None:
    ticket: object = ticket_for(make("ppo"))
    model = make("ppo")
    if case == "other architecture":
        model = make("ppo", net_arch=[8, 8])
    elif case == "other algorithm":
        model = make("dqn")
    elif case == "eps of zero":
        model = make("ppo", optimizer_kwargs={"eps": 0.0})
    else:
        ticket = "nowhere.safetensors"
    before = weights_of(model).tensors
    with pytest.raises(error, match=words) as caught:
        model.learn(32, callback=LotteryCallback(ticket))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in weights_of(model).tensors.items())
    with pytest.raises(LotteryError, match="unknown kind of ticket 'randm': did you mean random"):
        LotteryCallback("t", kind="randm")


def test_plain_stable_baselines_reads_what_we_save(tmp_path: Path) -> None:
    for algo, kind in (("a2c", A2C), ("ppo", PPO), ("dqn", DQN)):
        model = make(algo)
        keys = list(model.policy.state_dict())
        model.learn(64, callback=LotteryCallback(ticket_for(model)))
        assert list(model.policy.state_dict()) == keys
        model.save(tmp_path / algo)
        loaded = kind.load(tmp_path / algo, device="cpu")
        obs = make_vec_env("CartPole-v1", seed=1).reset()
        assert loaded.predict(obs, deterministic=True)[0] == model.predict(obs, deterministic=True)[0]


def test_a_model_is_no_ticket(tmp_path: Path) -> None:
    model = make("a2c", 1)
    model.save(tmp_path / "model.zip")
    with pytest.raises(LotteryError, match=r"model\.zip is the zip of a Stable-Baselines3 model, not a ticket: "):
        make("a2c", 1).learn(8, callback=LotteryCallback(tmp_path / "model.zip"))


def test_a_monitor_around_the_normalisation_is_not_asked(caplog: pytest.LogCaptureFixture) -> None:
    """It sees normalised rewards; the score is in the game's own, as the floor is."""
    env = VecMonitor(VecNormalize(make_vec_env("Pendulum-v1", 1)))
    model = PPO("MlpPolicy", env, n_steps=64, batch_size=64, seed=1, device="cpu")
    callback = LotteryCallback(ticket_for(model))
    model.learn(448, callback=callback)
    assert callback.episodes.count == 2
    assert callback.episodes.score < -300
    assert NO_MONITOR not in caplog.text


def test_without_a_monitor_the_score_is_summed_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    model = make("a2c", 1, env=DummyVecEnv([lambda: gymnasium.make("CartPole-v1")]))
    callback = LotteryCallback(ticket_for(model))
    with caplog.at_level("WARNING", logger="sb3_lottery"):
        model.learn(300, callback=callback)
    assert callback.episodes.count > 3
    assert callback.episodes.score > 5
    assert [record.message for record in caplog.records].count(NO_MONITOR) == 1
