"""Environment steps a second of A2C with a ticket, against a plain script of Stable-Baselines3, alternated.

    python -m tests.benchmarks.training.rl_throughput [--pairs 5] [--steps 40000] [--repeats 3] [--skip-jobs]

The plain script is SB3's A2C on a DummyVecEnv with 32 environments and the preset's network, on one thread; ours has
the callback with a ticket at 20% surviving, by the backend named. A pair runs plain, ours, ours, plain; the median
ratio is shown. Every training begins from the start, since a trained CartPole ends fewer episodes and so steps faster.
The callback alone: ours with it against ours without it, both at the ticket's start with a learning rate of zero, so
that they play alike. Last ``--jobs 2`` against ``--jobs 1``, alternated: finished runs an hour of the command
``sb3-lottery``, beside the same for plain scripts that share nothing, which is what the machine gives. On a busy
machine none of it says anything.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from stable_baselines3 import A2C
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor

from lottery_core import Ticket, prune
from sb3_lottery import LotteryCallback, SharedTrunk
from sb3_lottery.backends import envpool_vec
from sb3_lottery.models import ModelSettings, make_model
from sb3_lottery.models.parameters import weights_of

JOBS_GOAL = 1.8
RUNS = 10  # of a comparison of jobs


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


def ours(env: str, units: int, backend: str, lr: float = 1e-4) -> BaseAlgorithm:
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
        hyperparams={"n_steps": 4, "learning_rate": lr},
    )
    return make_model(replace(settings, env_backend=backend), seed=1)


class Contender:
    """A model that trains again and again from the same start, with or without a ticket.

    :param start: state dict of its policy
    """

    def __init__(self, model: BaseAlgorithm, start: Mapping[str, Tensor], ticket: Ticket | None) -> None:
        self.model, self.ticket = model, ticket
        self._start = {name: value.clone() for name, value in start.items()}

    def speed(self, steps: int) -> float:
        """Steps a second, by the clock: EnvPool works in threads of its own."""
        self.model.policy.load_state_dict(self._start)
        self.model.policy.optimizer.state.clear()
        callback = None if self.ticket is None else LotteryCallback(self.ticket, restart=True)
        start = time.perf_counter()
        self.model.learn(steps, callback=callback)
        return steps / (time.perf_counter() - start)

    def close(self) -> None:
        assert self.model.env is not None
        self.model.env.close()


def ratio(bare: Contender, ticket: Contender, pairs: int, steps: int) -> tuple[float, float]:
    """Median of ticket / bare, and of the bare one's steps a second."""
    for contender in (bare, ticket):
        contender.speed(steps // 10)
    ratios, rates = [], []
    for _ in range(pairs):
        found = [contender.speed(steps) for contender in (bare, ticket, ticket, bare)]
        ratios.append((found[1] + found[2]) / (found[0] + found[3]))
        rates.append((found[0] + found[3]) / 2)
    for contender in (bare, ticket):
        contender.close()
    return statistics.median(ratios), statistics.median(rates)


def against_plain(env: str, units: int, backend: str) -> tuple[Contender, Contender]:
    """The plain script, and a ticket by ``backend``."""
    dense, sparse = plain(env, units), ours(env, units, backend)
    return Contender(dense, dense.policy.state_dict(), None), Contender(
        sparse, sparse.policy.state_dict(), smaller(sparse)
    )


def callback_alone(env: str, units: int, backend: str) -> tuple[Contender, Contender]:
    """The same model twice, the second with the callback; nothing is learned, so that both play alike."""
    without, with_it = ours(env, units, backend, lr=0.0), ours(env, units, backend, lr=0.0)
    ticket = smaller(with_it)
    ticket.load_into(without.policy)
    start = without.policy.state_dict()
    return Contender(without, start, None), Contender(with_it, start, ticket)


def smaller(model: BaseAlgorithm) -> Ticket:
    """A ticket of ``model`` at 20% surviving."""
    weights = weights_of(model)
    return prune(weights, weights, fraction=0.8)


def lottery_runs(jobs: int, steps: int) -> float:
    """Runs an hour of the command: two seeds with two rounds each, dense runs included."""
    with tempfile.TemporaryDirectory() as folder:
        words = f"--preset cartpole --rounds 2 --seeds 1 2 --epoch timesteps:{steps // 20} --quiet --jobs {jobs}"
        start = time.perf_counter()
        run([sys.executable, "-m", "sb3_lottery.cli", *words.split(), "--out", str(Path(folder) / "x")])
        return RUNS / (time.perf_counter() - start) * 3600


def plain_runs(jobs: int, steps: int) -> float:
    """Runs an hour of so many plain scripts, ``jobs`` at a time."""
    code = f"import torch, rl_throughput as r; torch.set_num_threads(1); r.plain('CartPole-v0', 128).learn({steps})"
    start = time.perf_counter()
    with ThreadPoolExecutor(jobs) as pool:
        for done in [pool.submit(run, [sys.executable, "-c", code]) for _ in range(RUNS)]:
            done.result()
    return RUNS / (time.perf_counter() - start) * 3600


def run(command: Sequence[str]) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40_000, help="of each training")
    parser.add_argument("--repeats", type=int, default=3, help="of the experiments with --jobs 1 and 2")
    parser.add_argument("--skip-jobs", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # CartPole-v0 is out of date: so is the paper's
    fine = True
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'environment':16}{'backend':>11}{'against':>20}{'steps/s':>10}{'ticket':>9}   goal")
    for against, make, env, units, backend, goal in CASES:
        if backend == "envpool" and not envpool_vec.installed():
            print(f"{env:16}{backend:>11}   not installed")
            continue
        found, rate = ratio(*make(env, units, backend), args.pairs, args.steps)
        fine &= found >= goal
        print(f"{env:16}{backend:>11}{against:>20}{rate:10,.0f}{found:9.3f}   {goal}", flush=True)
    if not args.skip_jobs:
        print(f"{'runs an hour':36}{'--jobs 1':>10}{'--jobs 2':>10}{'ratio':>8}   goal")
        for who, rate_of, goal in (("plain scripts", plain_runs, None), ("sb3-lottery", lottery_runs, JOBS_GOAL)):
            rates = [(rate_of(1, args.steps), rate_of(2, args.steps)) for _ in range(args.repeats)]
            one, two = (statistics.median(each) for each in zip(*rates, strict=True))
            found = statistics.median(both / alone for alone, both in rates)
            fine &= goal is None or found >= goal
            print(f"{who:36}{one:10,.0f}{two:10,.0f}{found:8.2f}   {goal or ''}", flush=True)
    print(f"goals {'met' if fine else 'MISSED'}")
    return 0 if fine else 1


# against what, its makers, environment, units of the three layers, our backend, the goal
CASES = (
    ("a plain script", against_plain, "CartPole-v0", 128, "gymnasium", 0.97),
    ("no callback", callback_alone, "CartPole-v0", 128, "gymnasium", 0.97),
    ("a plain script", against_plain, "Acrobot-v1", 256, "envpool", 1.3),
    ("a plain script", against_plain, "LunarLander-v3", 256, "envpool", 2.0),
)


if __name__ == "__main__":
    sys.exit(main())
