"""Cost of an update under a mask that is pruned further all the time, against the same update under a fixed mask.

    python -m tests.benchmarks.training.gradual_update [--pairs 15] [--updates 100]

Times ``model.train()`` as ``masked_update.py`` does. A step of pruning comes every 100 updates, as with 30 steps in the
first three quarters of 4,000 updates, and is timed with them: ranking, new masks, new hooks. A pair runs fixed,
gradual, gradual, fixed; the median ratio is shown.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import Any

import torch

from lottery_core import apply_ticket, prune
from lottery_core.pruning import PruningInTraining, PruningSchedule, ticket_without_search
from lottery_core.tickets import live_parameters
from sb3_lottery.models.parameters import optimizers_of, target_names, weights_of
from tests.benchmarks.training.masked_update import CASES, ready, seconds

LIMIT = 1.02
SURVIVING = 0.2


def ratio(case: tuple[Any, ...], pairs: int, updates: int) -> tuple[float, float]:
    """Median ratio gradual / fixed, and the milliseconds of an update under the fixed mask."""
    _, kind, kwargs, n_envs, policy, _ = case
    fixed, gradual = ready(kind, kwargs, n_envs, policy), ready(kind, kwargs, n_envs, policy)
    targets = target_names(fixed.policy)
    weights = weights_of(fixed)
    ticket = prune(weights, weights, fraction=1 - SURVIVING)
    held = apply_ticket(ticket, fixed.policy, *optimizers_of(fixed), ignore=targets)
    start = ticket_without_search("gradual", weights_of(gradual), SURVIVING)
    pruning = PruningInTraining.of(start, PruningSchedule(0, 1, 2 * pairs), ticket.masks.surviving)
    keeper = apply_ticket(start, gradual.policy, *optimizers_of(gradual), ignore=targets)
    parameters = {name: same[0] for name, same in live_parameters(gradual.policy, targets).items()}
    seconds(fixed, updates // 4)
    seconds(gradual, updates // 4)

    def under_gradual() -> float:
        begin = time.process_time()
        keeper.change(pruning.prune(parameters, (pruning.done + 1) / (2 * pairs)))
        return time.process_time() - begin + seconds(gradual, updates)

    ratios, plain = [], []
    for _ in range(pairs):
        first, second, third, last = seconds(fixed, updates), under_gradual(), under_gradual(), seconds(fixed, updates)
        ratios.append((second + third) / (first + last))
        plain.append((first + last) / 2 / updates)
    keeper.check()
    held.check()
    assert pruning.complete
    assert pruning.masks.surviving == ticket.masks.surviving
    return statistics.median(ratios), 1000 * statistics.median(plain)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--updates", type=int, default=100, help="between two steps of pruning")
    parser.add_argument("--only", default="", help="cases with these words in their name")
    args = parser.parse_args()
    torch.set_num_threads(1)
    fine = True
    print(f"{'update':36}{'fixed ms':>10}{'gradual/fixed':>15}   limit")
    for case in CASES:
        if args.only in case[0]:
            found, milliseconds = ratio(case, args.pairs, args.updates)
            fine &= found <= LIMIT
            print(f"{case[0]:36}{milliseconds:10.2f}{found:15.3f}   {LIMIT}", flush=True)
    print(f"limit {'met' if fine else 'MISSED'}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
