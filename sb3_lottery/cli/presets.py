"""Presets: games with their settings, as values of the command's options; any option overrides them.

The paper's twelve games (Table A1), its three classic games with equal steps for all kinds of ticket, and its nine
Atari games at a tenth of the cost with SB3's own network. A new game is one row of :data:`PRESETS`: values of options,
and the source of the settings for ``--list-presets``.
"""

from __future__ import annotations

from typing import Any

from sb3_lottery.training import EVALUATION

SOURCE = "source"  # entry of a row that is not an option: where its settings come from

# Section 3.1, for all games: 20 rounds of 20%, rewound to the end of epoch 1.
_PAPER: dict[str, Any] = {
    SOURCE: "the paper (arXiv 1906.02768), Table A1 and section 3.3",
    "rewind": "epoch:1",
    "rounds": 20,
    "prune_rate": 0.2,
}

# Section 3.3: 32 environments, 4 steps per update, rewards / 100, RMSprop lr 1e-4, alpha 0.99, eps 1e-8.
_CLASSIC = _PAPER | {
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
}

_CARTPOLE = _CLASSIC | {"env": "CartPole-v0", "net_arch": [128, 128, 128], "epoch": "episodes:160"}
_ACROBOT = _CLASSIC | {"env": "Acrobot-v1", "net_arch": [256, 256, 256], "epoch": "episodes:320"}
# v3 replaces v2 if no backend has v2.
_LUNARLANDER = _CLASSIC | {"env": "LunarLander-v2", "net_arch": [256, 256, 256], "epoch": "episodes:640"}

# Section 3.3: 1024 environments, 6 steps each, minibatches of 128, one pass, entropy 0.01, rewards clipped, Adam.
# PPO replaces A2C with importance correction: a clip range of 0.5 clamps the ratio at 1.5 (and at 0.5).
# The paper clips advantages to [-1, 1]; SB3's PPO normalises them in each minibatch instead.
_ATARI = _PAPER | {
    "algo": "ppo",
    "n_envs": 1024,
    "clip_reward": True,
    "frame_size": (105, 80),
    "policy": "cnn",
    "cnn": "pooling",
    "net_arch": [512, 512],
    "activation": "relu",
    "hyperparams": {
        "n_steps": 6,
        "batch_size": 128,
        "n_epochs": 1,
        "ent_coef": 0.01,
        "clip_range": 0.5,
        "learning_rate": 1e-3,
    },
    "optimizer": "adam",
    "optimizer_kwargs": {"betas": [0.9, 0.999], "eps": 1e-3},
    "epoch": "updates:1000",
    "epochs": 25,
    "score_episodes": 1024,
}

# rl_zoo3's hyperparameters of PPO for Atari, without schedules and without episodes of one life; 1 million steps, not
# 10 million.
_NATURE = _PAPER | {
    SOURCE: "rl_zoo3's hyperparameters of PPO for Atari, a tenth of its steps",
    "algo": "ppo",
    "n_envs": 8,
    "clip_reward": True,
    "policy": "cnn",
    "cnn": "nature",
    "net_arch": [512],
    "activation": "relu",
    "hyperparams": {
        "n_steps": 128,
        "batch_size": 256,
        "n_epochs": 4,
        "ent_coef": 0.01,
        "vf_coef": 0.5,
        "clip_range": 0.1,
        "learning_rate": 2.5e-4,
    },
    "epoch": "timesteps:40960",
    "epochs": 25,
    "score_episodes": 100,
}

# The paper counts training in episodes, so an agent that fails trains less (CartPole) or more (Acrobot) than one that
# plays well. Here every run has as many steps as a dense run has on average with the paper's episodes
# (512,576, 585,899 and 4,629,291; recipes/results), in whole rollouts. The score is that of fresh episodes: of the last
# training episodes of 32 environments the short ones end first, and are counted more often.
_STEPS = {
    SOURCE: f"{_PAPER[SOURCE]}, with a length in steps instead of episodes: the fair comparison of kinds",
    "eval_episodes": 100,
    "score_by": EVALUATION,
}

_GAMES = ["Assault", "Berzerk", "Breakout", "Centipede", "Kangaroo", "Krull", "Qbert", "Seaquest", "SpaceInvaders"]

PRESETS: dict[str, dict[str, Any]] = {
    "cartpole": _CARTPOLE,
    "acrobot": _ACROBOT,
    "lunarlander": _LUNARLANDER,
    "cartpole-steps": _CARTPOLE | _STEPS | {"epoch": "timesteps:25600"},
    "acrobot-steps": _ACROBOT | _STEPS | {"epoch": "timesteps:29312"},
    "lunarlander-steps": _LUNARLANDER | _STEPS | {"epoch": "timesteps:231424"},
    # v4: without sticky actions, as was usual in 2019.
    **{game.lower(): _ATARI | {"env": f"{game}NoFrameskip-v4"} for game in _GAMES},
    **{f"{game.lower()}-nature": _NATURE | {"env": f"{game}NoFrameskip-v4"} for game in _GAMES},
}
