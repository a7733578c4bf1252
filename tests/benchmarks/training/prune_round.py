"""Time and memory of pruning one round, against ``torch.nn.utils.prune.global_unstructured``, alternated.

    python -m tests.benchmarks.training.prune_round [--parameters 61000000] [--repeats 5]

Each call runs in a fresh process on one thread. Time is CPU time; memory is the peak resident set during the
call, less the resident set before it (weights and, in the second case, the masks of the round before).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time

import torch
from torch import nn

RATE = 0.2
LIMIT_TIME, LIMIT_BYTES = 0.10, 4.0


def model(parameters: int) -> nn.Module:
    """About ``parameters`` weights in layers of a Transformer's shapes."""
    torch.manual_seed(0)
    block = 512 * 2048 + 2048 + 2048 * 512 + 512 + 4 * (512 * 512 + 512)
    layers: list[nn.Module] = []
    for _ in range(max(1, parameters // block)):
        layers += [nn.Linear(512, 2048), nn.Linear(2048, 512), *(nn.Linear(512, 512) for _ in range(4))]
    return nn.Sequential(*layers)


class Peak:
    """The highest resident set while the block runs, in bytes above the start (sampled every millisecond)."""

    @staticmethod
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    def __enter__(self) -> Peak:
        self.start = self.highest = self.resident()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def watch(self) -> None:
        while not self.stop.wait(0.001):
            self.highest = max(self.highest, self.resident())

    def __exit__(self, *_: object) -> None:
        self.highest = max(self.highest, self.resident())
        self.stop.set()
        self.thread.join()


def one(how: str, parameters: int) -> None:
    torch.set_num_threads(1)
    net = model(parameters)
    total = sum(p.numel() for p in net.parameters())
    weights = {name: p.detach() for name, p in net.named_parameters()}
    if how == "torch":
        from torch.nn.utils import prune

        pool = [(module, kind) for module in net if isinstance(module, nn.Linear) for kind in ("weight", "bias")]
        with Peak() as peak:
            start = time.process_time()
            prune.global_unstructured(pool, pruning_method=prune.L1Unstructured, amount=RATE)
            seconds = time.process_time() - start
        left = sum(int(getattr(module, f"{kind}_mask").sum()) for module, kind in pool)
    else:
        from lottery_core import prune_masks

        first = how == "ours"
        masks = prune_masks(weights, weights, total - 1)  # also loads what is loaded lazily
        given = list(weights) if first else masks
        left_before = total if first else masks.surviving
        with Peak() as peak:
            start = time.process_time()
            result = prune_masks(weights, given, left_before - round(RATE * left_before))
            seconds = time.process_time() - start
        left = result.surviving
    row = {"cpu_s": seconds, "bytes": (peak.highest - peak.start) / total, "left": left, "total": total}
    print(json.dumps(row))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parameters", type=int, default=61_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--one", choices=("torch", "ours", "ours-later"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(args.one, args.parameters)
        return 0
    rows: dict[str, list[dict[str, float]]] = {"torch": [], "ours": [], "ours-later": []}
    for _ in range(args.repeats):
        for how, found in rows.items():
            command = [sys.executable, __file__, "--one", how, "--parameters", str(args.parameters)]
            found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    total = int(rows["torch"][0]["total"])
    print(f"pruning {RATE:.0%} of {total:,} parameters, one thread, median of {args.repeats}, alternated")
    print(f"{'':34}{'CPU s':>8}{'ratio':>8}{'bytes/weight':>14}{'left':>14}")
    names = {
        "torch": "torch.nn.utils.prune",
        "ours": "lottery_core, first round",
        "ours-later": "lottery_core, masks of before",
    }
    fine = True
    reference = statistics.median(row["cpu_s"] for row in rows["torch"])
    for how, found in rows.items():
        seconds = statistics.median(row["cpu_s"] for row in found)
        extra = statistics.median(row["bytes"] for row in found)
        print(f"{names[how]:34}{seconds:8.3f}{seconds / reference:8.3f}{extra:14.2f}{int(found[0]['left']):14,}")
        if how != "torch":
            fine &= seconds <= LIMIT_TIME * reference and extra <= LIMIT_BYTES
    print(f"limits: {LIMIT_TIME} of the time, {LIMIT_BYTES} bytes a weight: {'met' if fine else 'MISSED'}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
