"""Cost of an update with masks held, against the same update of the dense model, alternated.

    python -m tests.benchmarks.training.masked_update [--pairs 40]

Times ``model.train()`` alone (forward, backward, clipping, optimizer step) on one rollout of CartPole, one thread,
MLP 128-128-128, the ticket at 20% surviving. A pair runs dense, masked, masked, dense; the median ratio is shown.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import Any

import torch
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from torch import nn

from lottery_core import apply_ticket, prune
from sb3_lottery.models.parameters import optimizers_of, target_names, weights_of
from sb3_lottery.networks import SharedTrunk

LIMIT = 1.08
TRUNK: dict[str, Any] = {"features_extractor_class": SharedTrunk, "net_arch": []}
SEPARATE: dict[str, Any] = {"net_arch": [128, 128, 128], "activation_fn": nn.ReLU}
RMSPROP: dict[str, Any] = {"optimizer_class": torch.optim.RMSprop, "optimizer_kwargs": {"alpha": 0.99, "eps": 1e-8}}
FUSED: dict[str, Any] = {"optimizer_kwargs": {"fused": True, "eps": 1e-5}}
# name, algorithm, its arguments, environments, policy arguments, whether the limit is for it
CASES = (
    ("A2C, SB3's RMSprop", A2C, {"n_steps": 4}, 32, TRUNK, True),
    ("A2C, torch's RMSprop (the preset)", A2C, {"n_steps": 4}, 32, TRUNK | RMSPROP, True),
    ("A2C, two networks", A2C, {"n_steps": 4}, 32, SEPARATE, True),
    ("PPO, fused Adam", PPO, {"n_steps": 64, "n_epochs": 2}, 8, TRUNK | FUSED, True),
    ("PPO, fused Adam, two networks", PPO, {"n_steps": 64, "n_epochs": 2}, 8, SEPARATE | FUSED, True),
    ("PPO, default Adam", PPO, {"n_steps": 64, "n_epochs": 2}, 8, TRUNK, True),
    ("PPO, default Adam, two networks", PPO, {"n_steps": 64, "n_epochs": 2}, 8, SEPARATE, True),
    ("DQN, default Adam", DQN, {"learning_starts": 50, "buffer_size": 1000}, 1, SEPARATE, True),
)


def ready(kind: type[BaseAlgorithm], kwargs: dict[str, Any], n_envs: int, policy: dict[str, Any]) -> Any:
    """A model that has trained a little and holds one rollout."""
    env = make_vec_env("CartPole-v1", n_envs, seed=0)
    if kind is not DQN:
        policy = {"ortho_init": False, **policy}
    make: Any = kind
    # Next to no learning rate: the same rollout is trained on many times, and the weights must not drift far apart.
    kwargs = {**kwargs, "learning_rate": 1e-9}
    model = make("MlpPolicy", env, policy_kwargs=policy, seed=0, device="cpu", **kwargs)
    model.learn(200 if kind is DQN else 3 * model.n_steps * n_envs)
    return model


def seconds(model: Any, calls: int) -> float:
    arguments = (1, 64) if isinstance(model, DQN) else ()
    start = time.process_time()
    for _ in range(calls):
        model.train(*arguments)
    return time.process_time() - start


def ratio(case: tuple[Any, ...], pairs: int) -> tuple[float, float]:
    """Median ratio masked / dense, and the dense update's milliseconds."""
    _, kind, kwargs, n_envs, policy, _ = case
    dense, masked = ready(kind, kwargs, n_envs, policy), ready(kind, kwargs, n_envs, policy)
    weights = weights_of(masked)
    ticket, targets = prune(weights, weights, fraction=0.8), target_names(masked.policy)
    keeper = apply_ticket(ticket, masked.policy, *optimizers_of(masked), ignore=targets)
    calls = max(1, round(0.1 / max(seconds(dense, 3) / 3, 1e-4)))
    seconds(masked, calls)
    ratios, plain = [], []
    for _ in range(pairs):
        times = [seconds(model, calls) for model in (dense, masked, masked, dense)]
        ratios.append((times[1] + times[2]) / (times[0] + times[3]))
        plain.append((times[0] + times[3]) / 2 / calls)
    keeper.check()
    return statistics.median(ratios), 1000 * statistics.median(plain)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--only", default="", help="cases with these words in their name")
    args = parser.parse_args()
    torch.set_num_threads(1)
    fine = True
    print(f"{'update':36}{'dense ms':>10}{'masked/dense':>14}   limit")
    for case in CASES:
        if args.only not in case[0]:
            continue
        found, milliseconds = ratio(case, args.pairs)
        fine &= found <= LIMIT or not case[-1]
        print(f"{case[0]:36}{milliseconds:10.2f}{found:14.3f}   {LIMIT if case[-1] else 'none'}", flush=True)
    print(f"limit {'met' if fine else 'MISSED'}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
