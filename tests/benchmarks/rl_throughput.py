"""Environment steps a second of A2C with a ticket, against a plain script of Stable-Baselines3, alternated.

    python tests/benchmarks/rl_throughput.py [--pairs 5] [--steps 40000] [--repeats 3] [--skip-jobs]

The plain script is SB3's A2C on a DummyVecEnv with 32 environments and the preset's network, on one thread; ours has
the callback with a ticket at 20% surviving, by the backend named. A pair runs plain, ours, ours, plain; the median
ratio is shown. Then ``--jobs 2`` against ``--jobs 1``: finished runs an hour of the command ``sb3-lottery``. On a busy
machine neither says anything.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from stable_baselines3 import A2C
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv

from lottery_core import Ticket, prune
from sb3_lottery import LotteryCallback, SharedTrunk
from sb3_lottery.backends import envpool_vec
from sb3_lottery.build import ModelSettings, make_model
from sb3_lottery.policy import weights_of

# environment, units of the three layers, our backend, the goal
CASES = (
    ("CartPole-v0", 128, "gymnasium", 0.97),
    ("Acrobot-v1", 256, "envpool", 1.3),
    ("LunarLander-v3", 256, "envpool", 2.0),
)
JOBS_GOAL = 1.8


def plain(env: str, units: int) -> BaseAlgorithm:
    """As a user of SB3 would write the paper's setting."""
    policy: dict[str, Any] = {
        "features_extractor_class": SharedTrunk,
        "features_extractor_kwargs": {"sizes": (units,) * 3},
        "net_arch": [],
        "ortho_init": False,
        "optimizer_class": torch.optim.RMSprop,
        "optimizer_kwargs": {"alpha": 0.99, "eps": 1e-8},
    }
    envs = make_vec_env(env, 32, seed=1, vec_env_cls=DummyVecEnv)
    return A2C("MlpPolicy", envs, n_steps=4, learning_rate=1e-4, policy_kwargs=policy, seed=1, device="cpu")


def ours(env: str, units: int, backend: str) -> BaseAlgorithm:
    """The same by this project."""
    settings = ModelSettings(
        "a2c",
        env,
        n_envs=32,
        reward_scale=0.01,
        net_arch=(units,) * 3,
        shared_trunk=True,
        optimizer="rmsprop",
        optimizer_kwargs={"alpha": 0.99, "eps": 1e-8},
        hyperparams={"n_steps": 4, "learning_rate": 1e-4},
    )
    return make_model(replace(settings, env_backend=backend), seed=1)


def speed(model: BaseAlgorithm, ticket: Ticket | None, steps: int) -> float:
    """Steps a second, by the clock: EnvPool works in threads of its own."""
    start = time.perf_counter()
    model.learn(steps, callback=None if ticket is None else LotteryCallback(ticket))
    return steps / (time.perf_counter() - start)


def ratio(case: tuple[str, int, str, float], pairs: int, steps: int) -> tuple[float, float]:
    """Median of ours / plain, and of the plain script's steps a second."""
    env, units, backend, _ = case
    dense, sparse = plain(env, units), ours(env, units, backend)
    weights = weights_of(sparse)
    ticket = prune(weights, weights, fraction=0.8)
    for model, chosen in ((dense, None), (sparse, ticket)):
        speed(model, chosen, steps // 10)
    ratios, rates = [], []
    for _ in range(pairs):
        found = [speed(*one, steps) for one in ((dense, None), (sparse, ticket), (sparse, ticket), (dense, None))]
        ratios.append((found[1] + found[2]) / (found[0] + found[3]))
        rates.append((found[0] + found[3]) / 2)
    for model in (dense, sparse):
        assert model.env is not None
        model.env.close()
    return statistics.median(ratios), statistics.median(rates)


def runs_per_hour(jobs: int, steps: int) -> float:
    """Of two seeds with two rounds each, dense runs included."""
    with tempfile.TemporaryDirectory() as folder:
        words = f"--preset cartpole --rounds 2 --seeds 1 2 --epoch timesteps:{steps // 20} --quiet --jobs {jobs}"
        command = [sys.executable, "-m", "sb3_lottery.cli", *words.split(), "--out", str(Path(folder) / "x")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        return 10 / (time.perf_counter() - start) * 3600


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40_000, help="of each training")
    parser.add_argument("--repeats", type=int, default=3, help="of the experiments with --jobs 1 and 2")
    parser.add_argument("--skip-jobs", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    fine = True
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'environment':16}{'backend':>11}{'plain steps/s':>15}{'ours/plain':>12}   goal")
    for case in CASES:
        env, _, backend, goal = case
        if backend == "envpool" and not envpool_vec.installed():
            print(f"{env:16}{backend:>11}   not installed")
            continue
        found, rate = ratio(case, args.pairs, args.steps)
        fine &= found >= goal
        print(f"{env:16}{backend:>11}{rate:15,.0f}{found:12.3f}   {goal}", flush=True)
    if not args.skip_jobs:
        one, two = (statistics.median(runs_per_hour(jobs, args.steps) for _ in range(args.repeats)) for jobs in (1, 2))
        fine &= two / one >= JOBS_GOAL
        print(f"runs an hour: {one:,.0f} with --jobs 1, {two:,.0f} with --jobs 2: {two / one:.2f}, goal {JOBS_GOAL}")
    print(f"goals {'met' if fine else 'MISSED'}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
