"""A ticket without its dead units against the masked full policy: times of a forward pass and of ``predict``; actions.

    python -m tests.benchmarks.inference.shrunk_policy [--out DIR] [--skip-chain] [--skip-ticket]

One thread. First a chain of ``find_tickets``: PPO on CartPole-v1 (Stable-Baselines3's defaults, ``ortho_init=False``),
actor and critic of 256-256-256 each, 16,384 steps a run, six rounds of 36%. The tickets of 89 and 93% are timed for
1 and for 1,024 observations: the actor's layers alone (``network``), SB3's whole ``model.predict``, alternated,
medians of pairs. The limits are for the actor's layers: of ``predict`` for one observation three quarters are SB3's
own Python, the same for both. At 89% few units are dead yet, so the exit status goes by the ticket of 93%.

Then the ticket of 9% of the paper's experiment (recipes/results/cartpole) is trained again, exported by the command,
and its actions are compared with those of the full model on 5,000 observations that it meets and 5,000 random ones.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.base_class import BaseAlgorithm

from lottery_core.pruning.timepoints import Point
from lottery_core.tickets.ticket import Ticket
from sb3_lottery import find_tickets, shrink_policy
from sb3_lottery.cli.presets import PRESETS
from sb3_lottery.models import ModelSettings, make_model
from sb3_lottery.training.spec import TrainingSpec
from sb3_lottery.training.train import MODEL, train

LIMITS = {1: 1.15, 1024: 2.0}
ROUNDS = (5, 6)
TICKET = Path(__file__).parents[3] / "recipes/results/cartpole/winning-seed-1-round-11.safetensors"


def fresh(seed: int) -> PPO:
    """The model of the chain."""
    policy = {"net_arch": [256, 256, 256], "ortho_init": False}
    return PPO("MlpPolicy", "CartPole-v1", policy_kwargs=policy, seed=seed, device="cpu")


def calls_of(model: Any, observations: np.ndarray) -> dict[str, Callable[[], object]]:
    """What is timed."""
    inputs = torch.as_tensor(observations)
    actor, head = model.policy.mlp_extractor.policy_net, model.policy.action_net
    one = observations[0] if len(observations) == 1 else observations
    return {
        "network": torch.no_grad()(lambda: head(actor(inputs))),
        "predict": lambda: model.predict(one, deterministic=True),
    }


def microseconds(call: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return 1e6 * (time.perf_counter() - start) / calls


def compare(full: Callable[[], object], small: Callable[[], object], pairs: int) -> tuple[float, float, float]:
    """Medians of both, in microseconds, and of the ratios; a pair runs full, small, small, full."""
    calls = max(10, round(2e4 / microseconds(full, 20)))
    times = [[microseconds(call, calls) for call in (full, small, small, full)] for _ in range(pairs)]
    ratios = [(one + four) / (two + three) for one, two, three, four in times]
    medians = (statistics.median(each) for each in ([t[0] + t[3] for t in times], [t[1] + t[2] for t in times]))
    first, second = medians
    return first / 2, second / 2, statistics.median(ratios)


def chain(out: Path, pairs: int) -> bool:
    """The table of times; whether the limits are met at 93%."""
    found = find_tickets(
        fresh,
        out,
        total_timesteps=16_384,
        rounds=max(ROUNDS),
        prune_rate=0.36,
        rewind="timesteps:4096",
        kinds="winning",
        score_episodes=20,
    )
    print(found)
    rows, fine = [], True
    for round_ in ROUNDS:
        path = found.ticket(1, "winning", round_).parent / MODEL
        full, small = PPO.load(path, device="cpu"), PPO.load(path, device="cpu")
        pruned = 1 - 0.64**round_
        print(f"\n{pruned:.1%} pruned:\n{shrink_policy(small)}")
        for count, limit in LIMITS.items():
            observations = np.random.default_rng(0).normal(0, 0.1, (count, 4)).astype(np.float32)
            one, other = calls_of(full, observations), calls_of(small, observations)
            for name in one:
                times = compare(one[name], other[name], pairs)
                verdict = ""
                if name == "network":
                    met = times[2] >= limit
                    verdict = f"{limit:.2f}x {'limit met' if met else 'MISSED'}"
                    fine &= met or round_ != max(ROUNDS)
                rows.append((pruned, count, name, *times, verdict))
    print(f"\n{'pruned':>7}{'observations':>14}  {'what':8}{'full us':>10}{'shrunk us':>11}{'faster':>9}   limit")
    for pruned, count, name, before, after, ratio, verdict in rows:
        print(f"{pruned:7.1%}{count:14,}  {name:8}{before:10.1f}{after:11.1f}{ratio:8.2f}x   {verdict}")
    return fine


def observations_of(model: BaseAlgorithm, count: int) -> np.ndarray:
    """So many that the agent meets, and as many at random over where it may be."""
    env = gymnasium.make("CartPole-v1")
    met = [env.reset(seed=0)[0]]
    while len(met) < count:
        action = int(model.predict(met[-1])[0])
        observation, _, ended, cut, _ = env.step(action)
        met.append(env.reset()[0] if ended or cut else observation)
    drawn = np.random.default_rng(1).uniform([-2.4, -3, -0.21, -3], [2.4, 3, 0.21, 3], (count, 4))
    return np.concatenate([np.stack(met), drawn]).astype(np.float32)


def trained_again(out: Path) -> bool:
    """Whether the exported model acts as the full one does, wherever the full one's two logits are no tie."""
    preset = PRESETS["cartpole"]
    names = ("algo", "env", "n_envs", "reward_scale", "net_arch", "shared_trunk", "activation", "optimizer")
    more = {name: preset[name] for name in ("optimizer_kwargs", "hyperparams")}
    model = make_model(ModelSettings(**{name: preset[name] for name in names}, **more), 1)
    spec = TrainingSpec(Point("episodes", 160), preset["epochs"], None, preset["score_episodes"])
    score = train(model, spec, out, Ticket.load(TICKET), lambda progress: None)
    print(f"\n{TICKET.name} trained again: score {score.score:.1f}")
    full, small = out / MODEL, out / "small.zip"
    words = ["export", str(full), "-o", str(small), "--form", "shrunk", "--trust"]
    done = subprocess.run(
        [sys.executable, "-m", "lottery_core.cli", *words], capture_output=True, text=True, check=True
    )
    print(done.stdout.replace(f"{out}/", "").strip())
    models = [A2C.load(path, device="cpu") for path in (full, small)]
    observations = observations_of(models[0], 5_000)
    actions = [each.predict(observations, deterministic=True)[0] for each in models]
    differ = np.flatnonzero(actions[0] != actions[1])
    print(f"same action on {len(observations) - len(differ):,} of {len(observations):,} observations")
    with torch.no_grad():
        inputs = torch.as_tensor(observations)
        logits = [each.policy.get_distribution(inputs).distribution.logits for each in models]  # type: ignore[union-attr]
    margins = (logits[0][:, 0] - logits[0][:, 1]).abs()
    print(f"logits differ by at most {float((logits[0] - logits[1]).abs().max()):.1e}")
    for index in differ[:5]:
        print(f"  a tie: the full model's logits differ by {float(margins[index]):.1e}")
    return bool((margins[torch.as_tensor(differ)] < 1e-5).all())


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="keep the chain here, and take it from here the next time")
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--skip-chain", action="store_true")
    parser.add_argument("--skip-ticket", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    fine = True
    with tempfile.TemporaryDirectory() as name:
        if not args.skip_chain:
            fine &= chain(args.out or Path(name) / "chain", args.pairs)
        if not args.skip_ticket:
            fine &= trained_again(Path(name) / "ticket")
    print("limits met at 93%" if fine else "MISSED")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
