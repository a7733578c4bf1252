"""The settings of an agent: their JSON, and the values that are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lottery_core.errors import ConfigError, OptimizerError
from sb3_lottery.models.settings import ModelSettings

EVERYTHING: dict[str, Any] = {
    "n_envs": 3,
    "reward_scale": 0.5,
    "net_arch": (8, 4),
    "activation": "tanh",
    "ortho_init": True,
    "optimizer": "adam",
    "optimizer_kwargs": {"eps": 1e-5},
    "hyperparams": {"n_steps": 4, "learning_rate": "lin_1e-3"},
    "policy_kwargs": {"log_std_init": -1.0},
    "env_backend": "ale",
    "frame_size": (105, 80),
    "clip_reward": True,
    "policy": "cnn",
    "cnn": "pooling",
    "normalize": {"norm_obs": False},
}


def test_json_holds_everything() -> None:
    settings = ModelSettings("ppo", "BreakoutNoFrameskip-v4", **EVERYTHING)
    assert ModelSettings.from_json(json.loads(json.dumps(settings.as_json()))) == settings


def test_json_leaves_out_later_settings_at_their_default() -> None:
    assert set(ModelSettings("a2c", "CartPole-v1").as_json()) == {
        "algo", "env", "n_envs", "reward_scale", "net_arch", "shared_trunk", "activation", "ortho_init", "optimizer",
        "optimizer_kwargs", "hyperparams", "device",
    }  # fmt: skip
    plain = ModelSettings("a2c", "CartPole-v1", net_arch=None)
    assert ModelSettings.from_json(plain.as_json()) == plain


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "algorithm": ({"algo": "pppo"}, "unknown algorithm 'pppo': did you mean ppo"),
    "activation": ({"activation": "rellu"}, "unknown activation 'rellu': did you mean relu"),
    "optimizer": ({"optimizer": "adm"}, "unknown optimizer 'adm': did you mean adam"),
    "arguments of no optimizer": ({"optimizer_kwargs": {"eps": 1}}, "--optimizer-kwargs needs --optimizer"),
    "environments": ({"n_envs": 0}, "--n-envs must be at least 1, not 0"),
    "no scale": ({"reward_scale": 0.0}, r"--reward-scale must be a number other than 0, not 0\.0"),
    "infinite scale": ({"reward_scale": float("inf")}, "--reward-scale must be a number other than 0, not inf"),
    "no layers": ({"net_arch": ()}, "--net-arch needs one or more layers"),
    "an empty layer": ({"net_arch": (4, 0)}, "--net-arch needs one or more layers"),
    "a trunk without layers": ({"net_arch": None, "shared_trunk": True}, "need the layers: --net-arch UNITS"),
    "the paper's CNN without layers": ({"net_arch": None, "cnn": "pooling"}, "need the layers: --net-arch UNITS"),
    "a trunk of two networks": ({"algo": "sac", "shared_trunk": True}, "one optimizer, not for SAC"),
    "backend": ({"env_backend": "gym"}, "unknown backend of environments 'gym': did you mean gymnasium"),
    "processes": ({"env_backend": "ale", "subproc": True}, "--subproc is for the gymnasium backend"),
    "frames": ({"frame_size": (84, 84)}, "--frame-size is for Atari games; CartPole-v1 is not one"),
    "policy": ({"policy": "mpl"}, "unknown policy 'mpl': did you mean mlp"),
    "CNN": ({"cnn": "natur"}, "unknown CNN 'natur': did you mean nature"),
    "normalization": ({"normalize": {"norm_ob": True}}, "unknown argument of VecNormalize 'norm_ob'"),
    "a number for a flag": (
        {"normalize": {"norm_obs": 1}},
        "--normalize norm_obs:1 has the wrong type: SB3's default is True",
    ),
    "a word for a number": (
        {"normalize": {"clip_obs": "x"}},
        r"--normalize clip_obs:x has the wrong type: SB3's default is 10\.0",
    ),
    "hyperparameter": ({"hyperparams": {"n_step": 1}}, "unknown hyperparameter of PPO 'n_step'"),
    "zero": ({"hyperparams": {"batch_size": 0}}, "hyperparameter batch_size must be at least 1, not 0"),
    "zero in a pair": ({"algo": "dqn", "hyperparams": {"train_freq": [0, "step"]}}, "train_freq must be at least 1"),
    "a fraction": (
        {"hyperparams": {"n_epochs": 1.5}},
        r"n_epochs must be a whole number \(SB3's default is 10\), not 1\.5",
    ),
    "a word": ({"hyperparams": {"gamma": "high"}}, r"gamma must be a number \(SB3's default is 0\.99\), not 'high'"),
    "a schedule": ({"hyperparams": {"gamma": "lin_1"}}, "gamma takes no schedule"),
    "policy's argument": ({"policy_kwargs": {"n_critics": 2}}, "unknown argument of the policy of PPO 'n_critics'"),
    "policy's layers": ({"policy_kwargs": {"net_arch": [8]}}, "for a list of layers use --net-arch"),
}


@pytest.mark.parametrize("case", BAD)
def test_each_bad_value_is_one_line(case: str) -> None:
    values, words = BAD[case]
    with pytest.raises(ConfigError, match=words) as caught:
        ModelSettings(**{"algo": "ppo", "env": "CartPole-v1", **values})
    assert "\n" not in str(caught.value)


def test_an_algorithm_without_an_optimizer() -> None:
    with pytest.raises(OptimizerError, match="ARS trains without an optimizer"):
        ModelSettings("ars", "CartPole-v1")


def test_pairs_and_schedules_are_accepted() -> None:
    ModelSettings("dqn", "CartPole-v1", hyperparams={"train_freq": [1, "episode"], "learning_rate": "lin_1e-3"})
