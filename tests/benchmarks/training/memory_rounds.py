"""Resident memory over the rounds of one process: ``find_tickets`` on tiny agents.

    python -m tests.benchmarks.training.memory_rounds [--algo ppo] [--rounds 20] [--steps 128]

Reads the resident set (VmRSS of /proc/self/status) before every run; the dense run and the first rounds are the
warm-up. Exit status 1 where the last run began with more than 2% above the run after the warm-up.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import sys
import tempfile
from pathlib import Path

import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_lottery import find_tickets
from tests.sb3_lottery.tiny import make

LIMIT = 1.02
WARM_UP = 3  # rounds: torch and matplotlib load parts of themselves, and the allocator finds its size


def resident() -> int:
    """Kibibytes of this process in memory, less what the allocator could give back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algo", default="ppo")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=128, help="timesteps of each run")
    args = parser.parse_args()
    torch.set_num_threads(1)
    seen: list[int] = []

    def counting(seed: int) -> BaseAlgorithm:
        seen.append(resident())
        return make(args.algo, seed)

    with tempfile.TemporaryDirectory() as folder:
        find_tickets(
            counting,
            Path(folder) / "x",
            total_timesteps=args.steps,
            rounds=args.rounds,
            prune_rate=0.1,
            score_episodes=5,
            progress=False,
        )
    seen.append(resident())
    # One look before the start, the dense run, and a winning and a random ticket a round.
    start, end = seen[2 + 2 * WARM_UP], seen[-1]
    print(f"{args.algo}, {args.rounds} rounds, {len(seen) - 1} models: MiB {[round(kib / 1024, 1) for kib in seen]}")
    print(f"after the warm-up {start / 1024:.1f} MiB, at the end {end / 1024:.1f} MiB: x {end / start:.4f}")
    return 0 if end <= LIMIT * start else 1


if __name__ == "__main__":
    sys.exit(main())
