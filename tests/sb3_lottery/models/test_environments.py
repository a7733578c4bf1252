"""Environments made from settings, and what is refused."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import pytest
from stable_baselines3.common.env_util import make_vec_env

from lottery_core.errors import ConfigError
from sb3_lottery.backends.ale_vec import installed as ale_installed
from sb3_lottery.backends.envpool_vec import installed as envpool_installed
from sb3_lottery.models.environments import check_environment, make_env
from sb3_lottery.models.settings import ModelSettings
from sb3_lottery.training.episodes import Episodes

BREAKOUT = "BreakoutNoFrameskip-v4"
needs_envpool = pytest.mark.skipif(not envpool_installed(), reason="EnvPool is not installed")
needs_ale = pytest.mark.skipif(not ale_installed(), reason="ale-py is not installed")


@pytest.mark.parametrize(
    ("module", "backend", "env", "words"),
    [
        ("envpool", "envpool", "CartPole-v1", "--env-backend envpool needs EnvPool, .*: pip install envpool"),
        ("ale_py", "ale", BREAKOUT, "Atari needs ale-py, .*: pip install ale-py"),
        ("ale_py", "gymnasium", BREAKOUT, "Atari needs ale-py, .*: pip install ale-py"),
        pytest.param(
            "cv2", "gymnasium", BREAKOUT, "needs OpenCV, .*: pip install opencv-python-headless", marks=needs_ale
        ),
        pytest.param(
            None, "envpool", "CartPol-v1", "EnvPool has no environment 'CartPol-v1'.*CartPole", marks=needs_envpool
        ),
        pytest.param(
            None, "ale", "BreakotNoFrameskip-v4", "unknown Atari game 'Breakot': did you mean Breakout", marks=needs_ale
        ),
        (None, "ale", "CartPole-v1", "ale has Atari games only; CartPole-v1 is not one"),
        (None, "gymnasium", "LunarLander-v2", "unknown environment 'LunarLander-v2': did you mean LunarLander-v3"),
        pytest.param(
            None, "ale", "Pong-v5", "'Pong-v5': did you mean ALE/Pong-v5 or PongNoFrameskip-v4", marks=needs_ale
        ),
        pytest.param(
            None, "gymnasium", "PongDeterministic-v0", "did you mean ALE/Pong-v5 or PongNoFrameskip-v4", marks=needs_ale
        ),
        pytest.param(None, "gymnasium", "Pong-v4", "'Pong-v4': did you mean ALE/Pong-v5", marks=needs_ale),
        pytest.param(None, "gymnasium", "Pong-v4", "'Pong-v4': did you mean ALE/Pong-v5", marks=needs_ale, id="again"),
        pytest.param(
            None,
            "gymnasium",
            "ale_py:ALE/Pong-v5",
            "trained on raw frames: leave 'ale_py:' out, and choose",
            marks=needs_ale,
        ),
        pytest.param(
            None,
            "gymnasium",
            "json:PongNoFrameskip-v4",
            "raw frames: leave 'json:' out, and choose .*Pong",
            marks=needs_ale,
        ),
        pytest.param(
            None, "gymnasium", "ale_py:Pong-v4", "leave 'ale_py:' out, and choose ALE/Pong-v5", marks=needs_ale
        ),
        pytest.param(
            None, "envpool", "Pong-v5", "'Pong-v5': did you mean ALE/Pong-v5", marks=(needs_ale, needs_envpool)
        ),
    ],
)
def test_what_is_missing_is_one_line(
    module: str | None, backend: str, env: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if module:
        monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(ConfigError, match=words) as caught:
        check_environment(ModelSettings("a2c", env, env_backend=backend))
    assert "\n" not in str(caught.value)


def test_an_environment_of_ones_own_may_be_called_like_an_atari_game(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the module that registers it: its frames are its own business."""
    code = "gymnasium.register('SnakeNoFrameskip-v4', 'gymnasium.envs.classic_control:CartPoleEnv')"
    (tmp_path / "my_snake.py").write_text(f"import gymnasium\n{code}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("gymnasium.registry", dict(gymnasium.registry))
    monkeypatch.setattr("gymnasium.envs.registration.registry", gymnasium.registry)
    assert check_environment(ModelSettings("a2c", "my_snake:SnakeNoFrameskip-v4")).n == 2


def test_rewards_are_scaled_for_training_and_not_for_the_score() -> None:
    from sb3_lottery.models.settings import ModelSettings

    env = make_env(ModelSettings("a2c", "CartPole-v0", n_envs=2, reward_scale=0.01), seed=3)
    env.reset()
    episodes, rewards = Episodes(10), set()
    for _ in range(60):
        _, reward, _, infos = env.step([env.action_space.sample() for _ in range(2)])
        rewards |= set(reward.tolist())
        episodes.add({"infos": infos})
    assert {round(reward, 5) for reward in rewards} == {0.01}
    assert episodes.score > 5
    assert make_vec_env("CartPole-v0", 2, seed=3).reset() == pytest.approx(
        make_env(ModelSettings("a2c", "CartPole-v0", n_envs=2), seed=3).reset()
    )
