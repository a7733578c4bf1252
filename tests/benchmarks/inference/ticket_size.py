"""Bytes of a ticket file against ``4 bytes x survivors + n x H(s) bits``, on a model of 10M parameters.

    python -m tests.benchmarks.inference.ticket_size

H(s) is the entropy of a mask entry in bits: with the values stored in full, no code that treats the entries as
independent can be smaller than the bound. Two cases: a winning ticket found by pruning a Transformer trained for
a few steps, and the hardest one, a mask drawn uniformly with Gaussian values.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from lottery_core import Ticket, Weights, control_ticket, prune, snapshot


def trained_model() -> tuple[Weights, Weights]:
    """A Transformer of about 10M parameters after 10 and after 20 steps of Adam."""
    torch.manual_seed(0)
    # Layers of their own: nn.TransformerEncoder would start them all as copies of one, which compress too well.
    layers = [nn.TransformerEncoderLayer(400, 4, 1600, batch_first=True, dropout=0.0) for _ in range(5)]
    net = nn.Sequential(nn.Embedding(1000, 400), *layers, nn.Linear(400, 1000))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    before = snapshot(net)
    for step in range(20):
        if step == 10:
            before = snapshot(net)
        tokens = torch.randint(1000, (4, 16))
        loss = nn.functional.cross_entropy(net(tokens).flatten(0, 1), tokens.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return before, snapshot(net)


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rewind, trained = trained_model()
    gaussian = Weights({name: torch.randn_like(tensor) for name, tensor in rewind.tensors.items()})
    fine = True
    print(
        f"{'ticket':10}{'pruned':>8}{'surviving':>12}{'bytes':>14}{'bound':>14}{'ratio':>8}{'save s':>8}{'load s':>8}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for case, fraction in ((case, level) for case in ("winning", "uniform") for level in (0.67, 0.90, 0.98)):
            ticket, path = prune(trained, rewind, fraction=fraction), Path(folder) / "t.safetensors"
            if case == "uniform":
                ticket = control_ticket("uniform", ticket, seed=1, fresh=gaussian)
            start = time.perf_counter()
            ticket.save(path)
            saved = time.perf_counter()
            Ticket.load(path)
            loaded = time.perf_counter()
            n, s = ticket.masks.pool, ticket.masks.surviving / ticket.masks.pool
            entropy = -s * math.log2(s) - (1 - s) * math.log2(1 - s)
            bound = 4 * ticket.masks.surviving + n * entropy / 8
            size = path.stat().st_size
            fine &= size <= bound
            print(
                f"{case:10}{1 - s:8.1%}{ticket.masks.surviving:12,}{size:14,}{bound:14,.0f}{size / bound:8.3f}"
                f"{saved - start:8.2f}{loaded - saved:8.2f}"
            )
    print(f"pool {n:,}; limit 1.00: {'met' if fine else 'MISSED'}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
