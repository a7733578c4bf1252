"""Each backend of environments against gymnasium's own, and SB3's semantics of a vector environment."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv

from sb3_lottery import LotteryCallback
from sb3_lottery.backends import EnvRequest
from sb3_lottery.backends.ale_vec import AleVecEnv
from sb3_lottery.backends.ale_vec import installed as ale_installed
from sb3_lottery.backends.envpool_vec import EnvPoolVecEnv
from sb3_lottery.backends.envpool_vec import installed as envpool_installed
from sb3_lottery.backends.gymnasium_vec import _reward, make_gymnasium
from sb3_lottery.models.build import make_model
from sb3_lottery.models.environments import make_env
from sb3_lottery.models.parameters import weights_of
from sb3_lottery.models.settings import ModelSettings
from tests.sb3_lottery.helpers import assert_dead, ticket_for

BREAKOUT = "BreakoutNoFrameskip-v4"
needs_envpool = pytest.mark.skipif(not envpool_installed(), reason="EnvPool is not installed")
needs_ale = pytest.mark.skipif(not ale_installed(), reason="ale-py is not installed")
envpool, ale = pytest.param("envpool", marks=needs_envpool), pytest.param("ale", marks=needs_ale)
NATIVE = [pytest.param("envpool", "CartPole-v1", marks=needs_envpool), pytest.param("ale", BREAKOUT, marks=needs_ale)]


def make(backend: str, env: str, n_envs: int = 2, seed: int = 3, **more: Any) -> VecEnv:
    request = EnvRequest(env, n_envs, **more)
    if backend == "gymnasium":
        return make_gymnasium(request, seed)
    made: VecEnv = EnvPoolVecEnv(request) if backend == "envpool" else AleVecEnv(request)
    made.seed(seed)
    return made


def play(env: VecEnv, steps: int, seed: int = 0) -> list[Any]:
    """Observations, rewards, ends and infos of random play."""
    env.action_space.seed(seed)
    seen: list[Any] = [env.reset()]
    for _ in range(steps):
        seen.append(env.step(np.array([env.action_space.sample() for _ in range(env.num_envs)])))
    return seen


@pytest.mark.parametrize("backend", [ale, envpool])
def test_atari_frames_rewards_and_ends_are_those_of_gymnasium(backend: str) -> None:
    pytest.importorskip("cv2")
    ours, theirs = (
        play(make(name, BREAKOUT, noop_max=1, frame_size=(105, 80)), 180) for name in (backend, "gymnasium")
    )
    ended = 0
    fresh = 0  # EnvPool begins a stack with four times the first frame
    for step, (mine, other) in enumerate(zip(ours[1:], theirs[1:], strict=True)):
        assert np.array_equal(mine[1], other[1])
        assert np.array_equal(mine[2], other[2])
        fresh = 0 if mine[2].any() else fresh + 1
        if backend == "ale" or (step > 2 and fresh > 3):
            assert np.array_equal(mine[0], other[0]), step
        for info, wanted in zip(mine[3], other[3], strict=True):
            assert info["TimeLimit.truncated"] is wanted["TimeLimit.truncated"] is False
            assert ("episode" in info) == ("episode" in wanted)
            if "episode" in info:
                ended += 1
                assert {key: info["episode"][key] for key in "rl"} == {key: wanted["episode"][key] for key in "rl"}
                assert np.array_equal(info["terminal_observation"], wanted["terminal_observation"])
    assert ended == 1


@needs_envpool
def test_envpools_cartpole_moves_as_gymnasiums_from_the_same_state() -> None:
    env = make("envpool", "CartPole-v0", n_envs=1)
    (first,) = env.reset()
    reference = gymnasium.make("CartPole-v0")
    reference.reset()
    reference.unwrapped.state = first.astype(np.float64)
    for _ in range(200):
        action = int(first[2] + 0.5 * first[3] > 0)  # keeps it up for the 200 steps of the limit
        (first,), (reward,), (done,), (info,) = env.step(np.array([action]))
        wanted, paid, terminated, truncated, _ = reference.step(action)
        assert (reward, done) == (paid, terminated or truncated)
        assert np.allclose(info["terminal_observation"] if done else first, wanted, atol=0.02)
    assert done
    assert info["TimeLimit.truncated"]
    assert (info["episode"]["r"], info["episode"]["l"]) == (200.0, 200)
    assert np.abs(first).max() <= 0.05  # of the next episode already


@needs_envpool
def test_envpools_acrobot_moves_as_gymnasiums_from_the_same_state() -> None:
    env = make("envpool", "Acrobot-v1", n_envs=1)
    (first,) = env.reset()
    reference = gymnasium.make("Acrobot-v1")
    reference.reset()
    angles = [np.arctan2(first[1], first[0]), np.arctan2(first[3], first[2])]
    reference.unwrapped.state = np.array([*angles, first[4], first[5]], dtype=np.float64)
    for action in np.random.default_rng(0).integers(0, 3, 60):
        (first,), (reward,), _, _ = env.step(np.array([action]))
        wanted, paid, *_ = reference.step(action)
        assert reward == paid
        assert np.allclose(first, wanted, atol=1e-3)


@needs_envpool
def test_envpools_lander_has_the_returns_and_lengths_of_gymnasiums() -> None:
    found = {}
    for backend in ("gymnasium", "envpool"):
        env, episodes = make(backend, "LunarLander-v3", n_envs=16, reward_scale=0.01), []
        env.reset()
        actions = np.random.default_rng(1)
        while len(episodes) < 500:
            infos = env.step(actions.integers(0, 4, 16))[3]
            episodes += [(info["episode"]["r"], info["episode"]["l"]) for info in infos if "episode" in info]
        found[backend] = np.array(episodes)
    for column in (0, 1):
        one, other = (values[:, column] for values in found.values())
        error = np.sqrt(one.var() / len(one) + other.var() / len(other))
        assert abs(one.mean() - other.mean()) < 4 * error
        # The spread without the rare long flights.
        spreads = [np.subtract(*np.quantile(values[:, column], (0.9, 0.1))) for values in found.values()]
        assert 0.75 < spreads[0] / spreads[1] < 1.33


@pytest.mark.parametrize(("backend", "env"), NATIVE)
def test_the_same_seed_is_the_same_play_and_environments_differ(backend: str, env: str) -> None:
    made = make(backend, env)
    first = play(made, 20)
    assert not np.array_equal(first[-1][0][0], first[-1][0][1])
    later = made.reset()
    assert made.reset_infos == [{}, {}]
    made.seed(3)
    again = play(made, 20)
    other = play(make(backend, env), 20)
    for one, two, three in zip(first[1:], again[1:], other[1:], strict=True):
        for mine in (two, three):
            assert all(np.array_equal(one[part], mine[part]) for part in (0, 1, 2))
    if env == "CartPole-v1":  # without a seed the next episode is another one
        assert not np.array_equal(later, first[0])
    # Environment 1 of seed 3 is environment 0 of seed 4, as in SB3.
    shifted = make(backend, env, seed=4)
    assert np.array_equal(shifted.reset()[0], first[0][1])
    for each in (made, shifted):
        each.close()
        each.close()


@pytest.mark.parametrize(("backend", "env"), NATIVE)
def test_observations_are_nobody_elses(backend: str, env: str) -> None:
    made = make(backend, env)
    seen = [made.reset()]
    copies = [seen[0].copy()]
    for _ in range(60):
        seen.append(made.step(np.array([made.action_space.sample() for _ in range(2)]))[0])
        copies.append(seen[-1].copy())
    assert all(np.array_equal(one, other) for one, other in zip(seen, copies, strict=True))


@needs_envpool
def test_episodes_are_as_monitor_tells_them_and_the_model_sees_scaled_rewards() -> None:
    env = make("envpool", "CartPole-v1", n_envs=3, reward_scale=0.01)
    returns, lengths, ended = np.zeros(3), np.zeros(3), 0
    observations = env.reset()
    for _ in range(100):
        before = observations
        observations, rewards, dones, infos = env.step(np.zeros(3, dtype=int))
        assert rewards.dtype == np.float32
        assert np.allclose(rewards, 0.01)
        returns, lengths = returns + 1, lengths + 1
        for index, info in enumerate(infos):
            assert ("episode" in info) == ("terminal_observation" in info) == bool(dones[index])
            if dones[index]:
                ended += 1
                assert (info["episode"]["r"], info["episode"]["l"]) == (returns[index], lengths[index])
                assert info["TimeLimit.truncated"] is False
                assert abs(info["terminal_observation"][2]) > 0.2  # fallen
                assert abs(info["terminal_observation"][2] - before[index][2]) < 0.1
                assert abs(observations[index][2]) <= 0.05  # the next episode's first
                returns[index] = lengths[index] = 0
    assert ended > 20


@pytest.mark.parametrize("clip", [True, False])
def test_one_reward_is_seen_as_many_are(clip: bool) -> None:
    """Two ways of the same numbers, to the last bit: of native backends, and of one gymnasium environment."""
    request = EnvRequest("CartPole-v1", clip_reward=clip, reward_scale=0.01)
    rewards = np.array([-7.3, -1.0, -0.0, 0.0, 1e-3, 1 / 3, 1.0, 250.0, np.inf, np.nan])
    one = np.array([_reward(clip, 0.01, reward) for reward in rewards])
    assert one.tobytes() == request.for_training(rewards).tobytes()


def test_clipped_rewards_are_for_training_alone() -> None:
    request = EnvRequest("CartPole-v1", clip_reward=True, reward_scale=0.5)
    assert request.for_training(np.array([-7.0, -0.5, 0.0, 4.0])).tolist() == [-0.5, -0.25, 0.0, 0.5]
    env = make("gymnasium", "Acrobot-v1", 1, clip_reward=True, reward_scale=0.5)
    env.reset()
    assert env.step([0])[1][0] == -0.5


@pytest.mark.parametrize(("backend", "env"), NATIVE)
def test_what_native_environments_lack_is_said(backend: str, env: str) -> None:
    made = make(backend, env)
    assert made.get_attr("render_mode") == [None, None]
    assert made.get_attr("spec", 0)[0].id == env
    assert made.env_is_wrapped(Monitor) == [True, True]
    assert not made.has_attr("action_masks")
    for call in (lambda: made.get_attr("gravity"), lambda: made.set_attr("gravity", 1), lambda: made.env_method("f")):
        with pytest.raises(AttributeError, match="the backend 'gymnasium' has one Python object"):
            call()
    made.set_options({"low": 0})
    with pytest.raises(ValueError, match="has no reset options"):
        made.reset()


@needs_envpool
def test_evaluate_policy_takes_them(recwarn: pytest.WarningsRecorder) -> None:
    settings = ModelSettings("a2c", "CartPole-v1", n_envs=2, env_backend="envpool")
    mean, _ = evaluate_policy(make_model(settings, 1), make_env(settings, 5), n_eval_episodes=4)
    assert mean >= 8
    assert not [warning for warning in recwarn if "Monitor" in str(warning.message)]


CASES = [
    pytest.param("gymnasium", "CartPole-v1", {}, id="gymnasium"),
    pytest.param(
        "envpool", "Acrobot-v1", {"reward_scale": 0.01, "shared_trunk": True}, id="envpool", marks=needs_envpool
    ),
    pytest.param("envpool", "Pendulum-v1", {}, id="envpool-continuous", marks=needs_envpool),
    pytest.param("ale", BREAKOUT, {"clip_reward": True, "net_arch": (32,)}, id="ale", marks=needs_ale),
]


@pytest.mark.parametrize(("backend", "env", "more"), CASES)
def test_a_ticket_trains_on_every_backend_and_a_seed_decides_all(backend: str, env: str, more: dict) -> None:
    settings = ModelSettings("a2c", env, **{"n_envs": 4, "net_arch": (16, 16), "env_backend": backend, **more})
    ends = []
    for _ in range(2):
        model = make_model(settings, seed=7)
        ticket = ticket_for(model)
        callback = LotteryCallback(ticket)
        model.learn({"ale": 40, "gymnasium": 400}.get(backend, 2100), callback=callback)
        assert_dead(model.policy.state_dict(), ticket.masks)
        ends.append((weights_of(model).tensors, list(callback.episodes.returns)))
        assert model.env is not None
        model.env.close()
    assert all(torch.equal(ends[0][0][name], ends[1][0][name]) for name in ends[0][0])
    assert ends[0][1] == ends[1][1]
    if env == "Acrobot-v1":
        assert ends[0][1]
        assert set(ends[0][1]) <= set(np.arange(-500.0, 0.0))


def test_subproc_steps_as_dummy_does() -> None:
    settings = ModelSettings("a2c", "CartPole-v1", n_envs=2, subproc=True, reward_scale=0.1)
    env = make_env(settings, 5)
    assert isinstance(env, SubprocVecEnv)
    ours, theirs = play(env, 15), play(make("gymnasium", "CartPole-v1", seed=5, reward_scale=0.1), 15)
    env.close()
    for mine, other in zip(ours[1:], theirs[1:], strict=True):
        assert all(np.allclose(mine[part], other[part]) for part in (0, 1, 2))


@needs_envpool
def test_a_saved_agent_of_envpool_fits_gymnasiums_environment(tmp_path) -> None:
    from stable_baselines3 import A2C

    make_model(ModelSettings("a2c", "LunarLander-v3", env_backend="envpool"), 1).save(tmp_path / "m.zip")
    A2C.load(tmp_path / "m.zip", env=gymnasium.make("LunarLander-v3"), device="cpu").learn(10)


@pytest.mark.parametrize("backend", [ale, envpool])
def test_threads_change_nothing_but_the_speed(backend: str) -> None:
    one, two = (play(make(backend, BREAKOUT, n_envs=5, threads=threads), 12) for threads in (1, 2))
    for first, second in zip(one[1:], two[1:], strict=True):
        assert all(np.array_equal(*pair) for pair in zip(first[:3], second[:3], strict=True))
