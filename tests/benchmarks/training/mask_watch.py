"""Cost of the checks of a training's mask distance, against the updates of the training alone.

    python -m tests.benchmarks.training.mask_watch [--only CartPole]

Measures the CPU time of a check, on one thread, in a ticket of 20%, and that of an update (``model.train()`` of A2C
without the steps of its environments; a whole update of fairseq's Transformer and LSTM, as ``fairseq_update.py``
does). Shows the share that the checks of a training of usual length add.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import torch

from lottery_core import prune, snapshot
from lottery_core.pruning import MaskWatch
from lottery_core.tickets import Weights
from sb3_lottery.models.parameters import weights_of
from tests.benchmarks.training import fairseq_update, masked_update

LIMIT = 0.01
CHECKS = 20
# Name -> updates of a usual training: the preset cartpole-steps, and the committed results of Multi30k and WikiText-2.
UPDATES = {"A2C, torch's RMSprop (the preset)": 4_000, "Transformer 6 x 256": 1_176, "LSTM 2 x 650": 2_180}


def check_seconds(weights: Weights, checks: int) -> float:
    """The median CPU time of a check in a ticket of 20%, whose weights move a little from one to the next."""
    ticket = prune(weights, weights, fraction=0.8)
    watch = MaskWatch(ticket.masks, round(0.8 * ticket.masks.surviving))
    values = {name: weights.tensors[name].clone() for name in ticket.masks}
    watch.start(values)
    found = []
    for number in range(checks):
        for value in values.values():
            value += 1e-3 * value.abs().mean() * torch.randn_like(value)
        begin = time.process_time()
        watch.check((number + 1) / checks, values)
        found.append(time.process_time() - begin)
    return statistics.median(found)


def update_seconds(name: str) -> tuple[Weights, float]:
    """The weights of a model, and the median CPU time of one of its updates."""
    if name.startswith("A2C"):
        case = next(case for case in masked_update.CASES if case[0] == name)
        model = masked_update.ready(*case[1:5])
        return weights_of(model), statistics.median(masked_update.seconds(model, 20) / 20 for _ in range(10))
    build, words = (fairseq_update.lstm, 12_000) if name.startswith("LSTM") else (fairseq_update.transformer, 4_000)
    training = fairseq_update.Training(build, words, masked=False)
    training.see_every_word()
    return snapshot(training.model), statistics.median(training.seconds() for _ in range(5))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases with these words in their name")
    args = parser.parse_args()
    fairseq_update.with_malloc_settings()
    torch.set_num_threads(1)
    fine = True
    print(f"{'training':46}{'update ms':>11}{'check ms':>10}{'updates':>9}{'share':>9}   limit")
    for name, updates in UPDATES.items():
        if args.only in name:
            weights, update = update_seconds(name)
            check = check_seconds(weights, CHECKS)
            share = CHECKS * check / (updates * update)
            fine &= share <= LIMIT
            print(
                f"{name:46}{1000 * update:11.2f}{1000 * check:10.2f}{updates:9,}{share:9.3%}   {LIMIT:.0%}", flush=True
            )
    print(f"limit {'met' if fine else 'MISSED'}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
