"""Lines of the paper's Table A1 as defaults of the command's options; any option overrides them."""

from __future__ import annotations

from typing import Any

# Section 3.3: 32 environments, 4 steps an update, rewards / 100, RMSprop lr 1e-4, alpha 0.99, eps 1e-8.
_CLASSIC: dict[str, Any] = {
    "algo": "a2c",
    "n_envs": 32,
    "reward_scale": 0.01,
    "hyperparams": {"n_steps": 4, "learning_rate": 1e-4},
    "optimizer": "rmsprop",
    "optimizer_kwargs": {"alpha": 0.99, "eps": 1e-8},
    "shared_trunk": True,
    "activation": "relu",
    "epochs": 20,
    "score_episodes": 100,
    "rewind": "epoch:1",
    "rounds": 20,
    "prune_rate": 0.2,
}

PRESETS: dict[str, dict[str, Any]] = {
    "cartpole": _CLASSIC | {"env": "CartPole-v0", "net_arch": [128, 128, 128], "epoch": "episodes:160"},
    "acrobot": _CLASSIC | {"env": "Acrobot-v1", "net_arch": [256, 256, 256], "epoch": "episodes:320"},
    # The paper's LunarLander-v2 has left Gymnasium; v3 is its successor.
    "lunarlander": _CLASSIC | {"env": "LunarLander-v3", "net_arch": [256, 256, 256], "epoch": "episodes:640"},
}
