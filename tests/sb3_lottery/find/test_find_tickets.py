"""``find_tickets`` around a user's own function."""

from __future__ import annotations

import copy
import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.wrappers import TransformReward
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecNormalize

from lottery_core import Ticket, read_weights
from lottery_core.errors import ConfigError, PruneError, RunError
from lottery_core.experiments.graph.plan import Run
from lottery_core.experiments.results import read_csv, read_floor, read_rows
from sb3_lottery import LotteryCallback, find_tickets
from sb3_lottery.backends import env_spec
from sb3_lottery.find import floor_of
from sb3_lottery.training.fingerprint import describe_model
from tests import preloaded
from tests.sb3_lottery.helpers import assert_dead, make

SMALL = {"total_timesteps": 256, "rounds": 2, "prune_rate": 0.5, "score_episodes": 5, "progress": False, "floor": False}


def make_model(seed: int):
    return make("ppo", seed)


def impatient(seed: int):
    model = make_model(seed)
    model.gamma = 0.9
    return model


def test_a_rewind_point_before_the_first_update_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {**SMALL, "rounds": 1, "kinds": ("winning",), "progress": True}
    for rewind, told in (("timesteps:32", True), ("timesteps:33", False), ("init", False), ("lr", False)):
        find_tickets(make_model, tmp_path / rewind, rewind=rewind, **options)
        before, _, after = capsys.readouterr().err.partition("[0/2]")
        words = f"WARNING: the rewind point {rewind} lies before the first update, which PPO makes after 32 timesteps"
        assert (words in before) == told, rewind
        words = f"WARNING: seed 1 dense: nothing had changed at the rewind point {rewind} ("
        assert (words in after) == told, rewind
    find_tickets(make_model, tmp_path / "kinds", rewind="timesteps:32", **{**options, "kinds": ("no-rewind",)})
    err = capsys.readouterr().err
    assert "nothing had changed" not in err
    assert "before the first update" not in err


def test_the_default_rewind_point_comes_after_the_first_update(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A twentieth of 256 timesteps is 12; PPO's first update comes after 32, and with long rollouts it is the last."""
    options = {**SMALL, "rounds": 1, "kinds": ("winning",), "progress": True}
    found = find_tickets(make_model, tmp_path / "x", **options)
    err = capsys.readouterr().err
    assert "rewind point timesteps:33, just after the first update: a twentieth of the length (timesteps:12)" in err
    assert "WARNING" not in err
    assert Ticket.load(found.ticket(1, "winning", 1)).origin.rewind == "timesteps:33"

    def long_rollouts(seed: int):
        return PPO("MlpPolicy", "CartPole-v1", seed=seed, n_steps=300, batch_size=100, n_epochs=2, device="cpu")

    found = find_tickets(long_rollouts, tmp_path / "y", **options)
    assert Ticket.load(found.ticket(1, "winning", 1)).origin.rewind == "updates:1"
    assert "nothing had changed" not in capsys.readouterr().err


def test_a_length_that_whole_rollouts_exceed_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {**SMALL, "rounds": 0, "progress": True}
    find_tickets(make_model, tmp_path / "x", **{**options, "total_timesteps": 100})
    assert "100 timesteps are asked for and 128 will be trained: PPO " in capsys.readouterr().err
    find_tickets(make_model, tmp_path / "y", **options)
    assert "asked for" not in capsys.readouterr().err


def test_a_folder_that_began_with_the_earlier_default_goes_on_with_it(tmp_path: Path) -> None:
    options = {**SMALL, "kinds": ("winning",)}
    find_tickets(make_model, tmp_path, rewind="timesteps:12", **{**options, "rounds": 1})
    found = find_tickets(make_model, tmp_path, **options)
    assert Ticket.load(found.ticket(1, "winning", 2)).origin.rewind == "timesteps:12"


def test_without_a_monitor_returns_are_sums_of_rewards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def bare(seed: int):
        return make("ppo", seed, env=DummyVecEnv([lambda: gymnasium.make("CartPole-v1")] * 2))

    def monitored(seed: int):
        return make("ppo", seed, env=make_vec_env("CartPole-v1", 2))

    options = {**SMALL, "rounds": 1, "kinds": ("winning",), "progress": True}
    scores = {}
    for function in (bare, monitored):
        found = find_tickets(function, tmp_path / function.__name__, **options)
        scores[function] = [(row.score, row.returns) for row in found.rows]
        told = capsys.readouterr().err.count("WARNING: there is no Monitor around the environments")
        assert told == (function is bare)
    assert scores[bare] == scores[monitored]


@pytest.mark.parametrize(
    ("rewind", "kinds", "norm_obs", "warns"),
    [
        ("timesteps:64", ("random", "winning"), True, True),
        ("timesteps:64", ("no-rewind",), True, False),
        ("timesteps:64", ("winning",), False, False),
        ("init", ("winning",), True, False),
    ],
)
def test_statistics_that_are_not_rewound_are_told(
    rewind: str, kinds: Any, norm_obs: bool, warns: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def normalized(seed: int) -> Any:
        env = VecNormalize(DummyVecEnv([lambda: gymnasium.make("CartPole-v1")]), norm_obs=norm_obs)
        return make("ppo", seed, env=env)

    monkeypatch.setattr("lottery_core.experiments.Runner.run", lambda _: [])
    find_tickets(normalized, tmp_path, **{**SMALL, "progress": True, "rewind": rewind, "kinds": kinds})
    told = "WARNING: the statistics of VecNormalize are not rewound: tickets that start from the weights at timesteps"
    assert (told in capsys.readouterr().err) == warns


def test_rewards_that_are_normalised_are_summed_as_they_were(tmp_path: Path) -> None:
    def normalized(seed: int):
        env = VecNormalize(DummyVecEnv([lambda: gymnasium.make("CartPole-v1")]))
        return make("ppo", seed, env=env)

    options = {**SMALL, "rounds": 0, "eval_episodes": 3}
    (row,) = find_tickets(normalized, tmp_path, **options).rows
    assert row.score == round(row.score * row.returns) / row.returns
    assert row.eval_score is not None
    assert row.eval_score * 3 == pytest.approx(round(row.eval_score * 3))


@pytest.mark.parametrize("part", ["model", "policy"])
def test_one_model_for_all_runs_is_refused(part: str, tmp_path: Path) -> None:
    shared = make_model(1)

    def make_shared(seed: int):
        if part == "model":
            return shared
        model = make_model(seed)
        model.policy = shared.policy
        return model

    with pytest.raises(ConfigError, match="make_model returned the same model"):
        find_tickets(make_shared, tmp_path / "x", **SMALL)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("part", ["normalisation", "simulator"])
def test_one_environment_for_all_runs_is_refused(part: str, tmp_path: Path) -> None:
    """Measuring the floor would switch its normalisation off for every training."""
    shared: Any = gymnasium.make("CartPole-v1")
    if part == "normalisation":
        shared = VecNormalize(make_vec_env("CartPole-v1"))
    with pytest.raises(ConfigError, match="make_model returned the same environment twice"):
        find_tickets(lambda seed: make("ppo", seed, env=shared), tmp_path / "x", **SMALL)
    assert not (tmp_path / "x").exists()


def test_a_module_in_every_model_is_refused(tmp_path: Path) -> None:
    """The dense run of the second seed would start from what the tickets of the first one have left."""
    encoder = torch.nn.Linear(4, 8)

    class Encoded(BaseFeaturesExtractor):
        def __init__(self, space: Any, encoder: torch.nn.Module) -> None:
            super().__init__(space, 8)
            self.encoder = encoder

        def forward(self, seen: torch.Tensor) -> torch.Tensor:
            return self.encoder(seen)

    def encoded(seed: int, encoder: torch.nn.Module = encoder):
        own = {"features_extractor_class": Encoded, "features_extractor_kwargs": {"encoder": encoder}}
        return make("a2c", seed, **own)

    with pytest.raises(ConfigError, match="puts the same module into two models: runs would train and prune it for"):
        find_tickets(encoded, tmp_path / "x", **SMALL)
    assert not (tmp_path / "x").exists()
    options = {**SMALL, "rounds": 0}
    assert find_tickets(lambda seed: encoded(seed, copy.deepcopy(encoder)), tmp_path, **options).rows


def test_a_seed_that_is_ignored_is_refused_and_weights_of_no_seed_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="make_model ignores its seed: the model has the seed 7 whatever it is given"):
        find_tickets(lambda seed: make("a2c", 7), tmp_path / "x", **SMALL)
    assert not (tmp_path / "x").exists()
    state = make("a2c", 3).policy.state_dict()

    def filled(seed: int):
        model = make("a2c", seed)
        model.policy.load_state_dict(state)
        return model

    find_tickets(filled, tmp_path, **{**SMALL, "rounds": 0, "progress": True})
    assert "gives the same weights whatever its seed" in capsys.readouterr().err


class NotANumber(gymnasium.RewardWrapper):
    def reward(self, reward: float) -> float:
        return math.nan


def test_a_return_that_is_not_a_number_ends_the_run_at_once(tmp_path: Path) -> None:
    def broken(seed: int):
        return make("dqn", seed, env=NotANumber(gymnasium.make("CartPole-v1")))

    words = "the return of an episode is nan: the environment's rewards must be finite numbers"
    with pytest.raises(RunError, match=words):
        find_tickets(broken, tmp_path, **{**SMALL, "floor": False})
    assert not (tmp_path / "seed-1/dense/model.zip").exists()
    with pytest.raises(RunError, match=words):
        floor_of(broken, lambda seed: make_vec_env(lambda: NotANumber(gymnasium.make("CartPole-v1"))), 1, 2)


class Plain(torch.optim.Optimizer):
    """Steps as its inner optimizer does; it never called ``Optimizer.__init__``, so it has no hooks."""

    def __init__(self, parameters: Any, lr: float) -> None:
        self.inner = torch.optim.SGD(parameters, lr=lr)
        self.param_groups, self.state = self.inner.param_groups, self.inner.state
        self.defaults = self.inner.defaults

    def step(self, closure: Any = None) -> Any:
        return self.inner.step(closure)

    def state_dict(self) -> Any:
        return self.inner.state_dict()

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.inner.zero_grad(set_to_none)


def test_updates_are_counted_at_an_optimizer_without_hooks_and_not_at_one_of_an_extractor(tmp_path: Path) -> None:
    class Auxiliary(FlattenExtractor):
        def __init__(self, space: Any) -> None:
            super().__init__(space)
            self.own = torch.nn.Linear(2, 2)
            self.optimizer = torch.optim.Adam(self.own.parameters())

    def auxiliary(seed: int):
        return make("a2c", seed, features_extractor_class=Auxiliary, optimizer_class=Plain)

    options = {**SMALL, "rounds": 0, "rewind": "updates:3"}
    assert find_tickets(auxiliary, tmp_path, **options).rows
    assert json.loads((tmp_path / "seed-1/dense/rewind.json").read_text())["updates"] == 3


def test_models_that_the_user_keeps_are_no_shared_model(tmp_path: Path) -> None:
    kept = []

    def keeping(seed: int):
        kept.append(make_model(seed))
        return kept[-1]

    assert find_tickets(keeping, tmp_path, **{**SMALL, "rounds": 0}).rows


def test_fewer_episodes_than_the_score_is_said_to_be_of_are_told(tmp_path: Path) -> None:
    options = {**SMALL, "rounds": 1, "kinds": ("winning",)}
    found = find_tickets(make_model, tmp_path / "x", **{**options, "score_episodes": 1000})
    fewest = min(row.returns for row in found.rows)
    assert f"fewer than 1000 episodes ended, as few as {fewest}" in str(found)
    assert "fewer" not in str(find_tickets(make_model, tmp_path / "y", **options))


def test_actor_and_critic_are_pruned_at_the_same_rate_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {**SMALL, "rounds": 1, "progress": True}
    found = find_tickets(make_model, tmp_path / "x", rewind="init", scope_shares="separate", **options)
    ticket = Ticket.load(found.ticket(1, "winning", 1))
    assert ticket.origin.scope_shares == "separate"
    assert "surviving 49.9% (actor 50.0%, critic 49.9%), score" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="has only 'q_net'"):
        find_tickets(lambda seed: make("dqn", seed), tmp_path / "y", scope_shares="separate", **SMALL)
    with pytest.raises(ConfigError, match="unknown scope shares 'same'"):
        find_tickets(make_model, tmp_path / "y", scope_shares="same", **SMALL)
    assert not (tmp_path / "y").exists()


def test_one_level_is_enough(tmp_path: Path) -> None:
    for name, given in (("a", {"score_rounds": 2}), ("b", {"score_at": "25%"}), ("c", {"score_at": 0.25})):
        settings = {name: value for name, value in SMALL.items() if name != "rounds"} | {"prune_rate": 0.5}
        found = find_tickets(make_model, tmp_path / name, **settings, **given, kinds="random", search="0.5")
        assert {row.round for row in found.rows} == {0, 2}


def test_tickets_table_and_picture(tmp_path: Path) -> None:
    found = find_tickets(make_model, tmp_path / "x", rewind="timesteps:64", seeds=(1, 2), **SMALL)
    assert len(found.rows) == 2 * 5
    text = io.StringIO()
    found.table(file=text)
    assert text.getvalue() == f"{found}\n"
    assert "winning" in text.getvalue()
    assert "mean environment steps of a scored run: dense 256, winning 256, random 256" in text.getvalue()
    assert found.plot(tmp_path / "curve.png").stat().st_size > 5000
    path = found.ticket(1, "winning", 2)
    ticket = Ticket.load(path)
    assert_dead(dict(read_weights(path.with_name("model.zip")).tensors), ticket.masks)
    model = make_model(3)
    model.learn(64, callback=LotteryCallback(path))
    assert_dead(model.policy.state_dict(), ticket.masks)


def test_the_same_seed_gives_the_same_tickets_and_scores(tmp_path: Path) -> None:
    found = [find_tickets(make_model, tmp_path / name, rewind="updates:3", **SMALL) for name in "ab"]
    for row, other in zip(found[0].rows, found[1].rows, strict=True):
        assert (row.run, row.score, row.ticket) == (other.run, other.score, other.ticket)
    paths = [one.ticket(1, "random", 2) for one in found]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_later_calls_reuse_what_is_there_and_refuse_other_models(tmp_path: Path) -> None:
    find_tickets(make_model, tmp_path, **SMALL)
    made: list[int] = []

    def counting(seed: int):
        made.append(seed)
        return make_model(seed)

    find_tickets(counting, tmp_path, **SMALL)
    assert len(made) == 2  # the look before the start
    find_tickets(counting, tmp_path, **{**SMALL, "rounds": 3})
    assert len(made) == 4 + 3  # a random ticket draws its values from a model of its own
    with pytest.raises(ConfigError, match=r"settings\.model\.parameters\.action_net\.weight: 2 16 -> 2 8"):
        find_tickets(lambda seed: make("ppo", seed, net_arch=[8, 8]), tmp_path, **SMALL)
    with pytest.raises(ConfigError, match=r"settings\.model\.gamma: 0\.99 -> 0\.9[);]"):
        find_tickets(impatient, tmp_path, **SMALL)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"prune_rate": 0}, PruneError, "strictly between 0 and 1"),
        ({"rewind": "timesteps:257"}, ConfigError, "beyond the training length timesteps:256"),
        ({"kinds": ("lucky",)}, ConfigError, "unknown kind of ticket 'lucky'"),
        ({"seeds": ()}, ConfigError, "no seed"),
        ({"seeds": ("a",)}, ConfigError, "each seed must be a whole number, not 'a'"),
        ({"seeds": (True,)}, ConfigError, "each seed must be a whole number, not True"),
        ({"score_rounds": "2"}, ConfigError, "each of score_rounds must be a whole number, not '2'"),
        ({"score_rounds": [1.5]}, ConfigError, "each of score_rounds must be a whole number, not 1.5"),
        ({"score_rounds": [True]}, ConfigError, "each of score_rounds must be a whole number, not True"),
        ({"score_at": "5"}, ConfigError, r"--score-at must lie strictly between 0 and 1 \(0% and 100%\), not 5"),
        ({"score_at": [None]}, ConfigError, "--score-at 'None' is not a share"),
        ({"seeds": np.int64(3)}, ConfigError, "each seed must be a whole number"),
        ({"eval_episodes": "5"}, ConfigError, "eval_episodes must be a whole number, not '5'"),
        ({"eval_episodes": True}, ConfigError, "eval_episodes must be a whole number, not True"),
        ({"deterministic": True}, ConfigError, "deterministic is for evaluations: it needs eval_episodes"),
        ({"seeds": -1}, ConfigError, r"seeds must not be negative, and must be below 2\*\*32"),
        ({"seeds": 2**32}, ConfigError, r"seeds must not be negative, and must be below 2\*\*32"),
        ({"rewind": 0}, ConfigError, "rewind 0 has no unit"),
        ({"rewind": ""}, ConfigError, "rewind '' is not understood"),
        ({"rewind": "later"}, ConfigError, "timesteps:N, init, lr, none, where N is a whole number"),
        ({"total_timesteps": 0}, ConfigError, "total_timesteps must be at least 1"),
        ({"rounds": 1.5}, ConfigError, "rounds must be a whole number, not 1.5"),
        ({"prune_rate": "x"}, ConfigError, "prune_rate must be a number, not 'x'"),
        ({"rewind": "episodes:300"}, ConfigError, "at most 256 episodes"),
        ({"rewind": "updates:33"}, ConfigError, "which has at most 32 updates"),
        ({"score_episodes": 0}, ConfigError, "at least 1 episode"),
    ],
)
def test_bad_input_is_a_named_exception_and_nothing_is_written(changes, error, words: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=words):
        find_tickets(make_model, tmp_path / "x", **{**SMALL, **changes})
    assert not (tmp_path / "x").exists()


def test_a_function_that_makes_no_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="make_model must return a Stable-Baselines3 model, not NoneType"):
        find_tickets(lambda seed: None, tmp_path / "x", **SMALL)  # type: ignore[arg-type, return-value]


def test_a_rewind_point_that_is_never_reached(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="rewind point episodes:200 was not reached"):
        find_tickets(make_model, tmp_path / "x", rewind="episodes:200", **SMALL)


def test_a_model_without_a_seed_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def unseeded(seed: int):
        return A2C("MlpPolicy", "CartPole-v1", device="cpu", policy_kwargs={"ortho_init": False})

    find_tickets(unseeded, tmp_path / "x", **{**SMALL, "rounds": 1, "kinds": ("winning",)})
    assert "WARNING: make_model makes a model without seed=" in capsys.readouterr().err


def test_memory_stays_flat_over_rounds(tmp_path: Path) -> None:
    """Live tensors after each round: the garbage collector's count, exact where resident memory is noisy."""
    import gc

    import torch

    counts: list[int] = []

    def counting(seed: int):
        gc.collect()
        counts.append(sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects()))
        return make_model(seed)

    find_tickets(counting, tmp_path / "x", **{**SMALL, "rounds": 6, "prune_rate": 0.2})
    assert len(counts) == 15 + 6  # each random ticket draws its values from a model of its own
    assert max(counts[12:]) <= max(counts[3:12]) + 5, counts


def test_what_tells_models_apart_is_the_same_in_every_process_and_sees_changes() -> None:
    env = {**os.environ, preloaded.PARENT: "sb3"}
    code = (
        "import json; from sb3_lottery.training import describe_model; from tests.sb3_lottery.helpers import make\n"
        "import functools, torch\n"
        "print(json.dumps(describe_model(make('ppo', activation_fn=lambda: torch.nn.ReLU(),"
        " optimizer_class=functools.partial(torch.optim.Adam, eps=1e-5)))))"
    )
    shown = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env).stdout
        for _ in range(2)
    ]
    assert shown[0] == shown[1]
    assert " at 0x" not in shown[0]

    def described(**changes) -> dict:
        kwargs = {"env": "CartPole-v1", "n_steps": 32, "batch_size": 16, "device": "cpu", **changes}
        return describe_model(PPO("MlpPolicy", **kwargs))

    for changes in (
        {"env": "CartPole-v0"},
        {"clip_range": 0.3},
        {"learning_rate": lambda left: 3e-4 * left},
        {"env": make_vec_env("CartPole-v1", wrapper_class=lambda env: TransformReward(env, lambda reward: reward / 2))},
    ):
        assert described(**changes) != described()
    assert described(seed=1) == described(seed=2)


def test_a_failing_run_is_an_error_and_the_others_are_still_done(tmp_path: Path) -> None:
    def breaks(seed: int):
        if seed == Run(1, "random", 1).control_seed:
            raise ValueError("logits are NaN")
        return make_model(seed)

    with pytest.raises(RunError, match=r"seed 1 random round 1 failed: ValueError: logits are NaN"):
        find_tickets(breaks, tmp_path / "x", **SMALL)
    assert len(read_rows(tmp_path / "x")) == 4


def test_lone_values_are_taken(tmp_path: Path) -> None:
    found = find_tickets(make_model, tmp_path / "x", **{**SMALL, "rounds": 1}, kinds="winning", seeds=3)
    assert [(row.seed, row.kind) for row in found.rows] == [(3, "dense"), (3, "winning")]


def test_buffers_of_the_policy_are_not_pruned(tmp_path: Path) -> None:
    class Scaled(FlattenExtractor):
        def __init__(self, space) -> None:
            super().__init__(space)
            self.register_buffer("scale", torch.full((4,), 1e-9))

    def scaled(seed: int):
        return make("ppo", seed, features_extractor_class=Scaled)

    found = find_tickets(scaled, tmp_path / "x", **SMALL, kinds=("winning",))
    ticket = Ticket.load(found.ticket(1, "winning", 2))
    assert "features_extractor.scale" in ticket.rest
    assert found.rows[0].pool == ticket.masks.pool == sum(mask.numel() for mask in ticket.masks.values())


def test_models_are_told_apart_by_more_than_numbers() -> None:
    from stable_baselines3 import DQN, TD3
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.noise import NormalActionNoise
    from stable_baselines3.common.vec_env import VecNormalize

    def dqn(**more: Any) -> Any:
        return describe_model(DQN("MlpPolicy", "CartPole-v1", buffer_size=10, **more))

    def td3(sigma: float) -> Any:
        noise = NormalActionNoise(np.zeros(1), np.full(1, sigma))
        return describe_model(TD3("MlpPolicy", "Pendulum-v1", buffer_size=10, action_noise=noise))

    def normalized(**more: Any) -> Any:
        return describe_model(A2C("MlpPolicy", VecNormalize(make_vec_env("CartPole-v1"), **more)))

    def pendulum(g: float) -> Any:
        return describe_model(A2C("MlpPolicy", make_vec_env("Pendulum-v1", env_kwargs={"g": g})))

    assert dqn(train_freq=4) == dqn(train_freq=4)
    different = [dqn(train_freq=4), dqn(train_freq=1), dqn(train_freq=(1, "episode")), td3(0.1), td3(0.5)]
    different += [normalized(), normalized(norm_obs=False), normalized(gamma=0.9), pendulum(9.8), pendulum(5.0)]
    texts = [json.dumps(one, sort_keys=True) for one in different]
    assert len(set(texts)) == len(texts)


def test_environments_in_processes_are_described_although_pickle_refuses_a_wrappers_lambda() -> None:
    """The process of an environment whose ``spec`` is asked for would die."""

    def scaled(kind: type[VecEnv], **more: Any) -> VecEnv:
        wrap = lambda env: TransformReward(env, lambda reward: reward / 100)  # noqa: E731
        return make_vec_env("CartPole-v1", 2, wrapper_class=wrap, vec_env_cls=kind, vec_env_kwargs=more)

    env = scaled(SubprocVecEnv, start_method="fork")
    model = A2C("MlpPolicy", env, device="cpu")
    spec = env_spec(env)
    assert spec is not None
    assert [each.name for each in spec.additional_wrappers] == ["Monitor", "TransformReward"]
    here, there = (describe_model(A2C("MlpPolicy", scaled(DummyVecEnv), device="cpu")), describe_model(model))
    assert here["environment"].pop("wrappers")
    assert not there["environment"].pop("wrappers")
    assert here == there
    assert there["environment"]["max_episode_steps"] == 500
    assert env.reset().shape == (2, 4), "both processes live"
    env.close()


def test_the_floor_is_measured_once_and_stands_in_the_answer(tmp_path: Path) -> None:
    options = {**SMALL, "rounds": 1, "kinds": ("winning",), "floor": True}
    found = find_tickets(make_model, tmp_path / "x", **options)
    assert {row.kind for row in found.rows} == {"dense", "winning"}
    measured = read_floor(tmp_path / "x")
    assert measured is not None
    assert 8 < measured < 60, "CartPole without learning"
    assert found.answer().scale is None or found.answer().scale.floor == measured
    (row,) = [row for row in read_csv(tmp_path / "x/results.csv") if row.kind == "floor"]
    assert row.score == measured
    made: list[int] = []

    def counting(seed: int):
        made.append(seed)
        return make_model(seed)

    assert find_tickets(counting, tmp_path / "x", **options).rows == found.rows
    assert len(made) == 2, "only looked at"


def test_a_floor_that_cannot_be_measured_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no episodes today")

    monkeypatch.setattr(sys.modules[find_tickets.__module__], "floor_of", fails)
    found = find_tickets(make_model, tmp_path / "x", **{**SMALL, "rounds": 0, "floor": True})
    assert len(found.rows) == 1
    assert "the floor could not be measured: RuntimeError: no episodes today" in capsys.readouterr().err


def test_ctrl_c_while_the_floor_is_measured_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules[find_tickets.__module__], "floor_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        find_tickets(make_model, tmp_path / "x", **{**SMALL, "progress": True, "floor": True})
    *_, measuring, stopped = capsys.readouterr().err.splitlines()
    assert "measuring the floor, 100 episodes of each policy" in measuring
    assert "find_tickets: stopped; call it again to resume" in stopped
