"""Every way to run a trained ticket, beside the others: size, time to load, latency of one, throughput of many.

    python -m tests.benchmarks.inference.deployment [--only translation policy] [--quick] [--pruned 50 67 80 90 95]
        [--units 50 75 90] [--pairs 3] [--batches 1 8 64] [--work DIR] [--json FILE]

Translation: a Transformer Base (63M parameters, 37,000 words, one embedding for all) with random weights, and random
masks of its matrices (``--pruned``) or of whole feed-forward units and attention heads (``--units``): for speed they do
as well as a ticket's. fairseq's beam search, dense, with sparse layers and shrunk, and CTranslate2 in float32 and in 8
bits, of the dense model and of the shrunk ones. Beam 4, sentences of 20 to 30 words, 25 words each translated. A mask
of single weights changes nothing for CTranslate2, whose speed with it is that of the dense model.

Policy: PPO with actor and critic of 256-256, 24 observed numbers and 4 continuous actions: ``model.predict``, with
sparse layers, and onnxruntime in float32 and in 8 bits; dense, masked and shrunk.

One thread. All ways take turns, and every number is a median over turns. ``--quick`` does less: a small Transformer,
two levels, one turn; its numbers say nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
from pathlib import Path

import torch

from tests.benchmarks.inference import sparse_inference
from tests.benchmarks.taking_turns import Row, table

WAYS = ("translation", "policy")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--pruned", type=int, nargs="+", default=[50, 67, 80, 90, 95])
    parser.add_argument("--units", type=int, nargs="+", default=[50, 75, 90])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--work", type=Path, help="for data and models, 4 GB; by default a temporary folder")
    parser.add_argument("--json", type=Path, help="write the rows there as well")
    args = parser.parse_args()
    if args.quick:
        args.pruned, args.units, args.batches, args.pairs = args.pruned[-1:], args.units[:1], [1, 4], 1
    torch.set_num_threads(1)
    random.seed(1)
    found: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = args.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        sparse_inference.ENVIRONMENT["LOTTERY_CACHE"] = os.environ["LOTTERY_CACHE"] = str(work)
        # Each half works where the other's framework is not installed.
        if "translation" in args.only:
            from tests.benchmarks.inference.deployed_translation import translation

            found["translation"] = translation(args, work)
            table("Transformer, beam 4, one thread (x: times as fast as fairseq dense)", found["translation"])
        if "policy" in args.only:
            from tests.benchmarks.inference.deployed_policy import policy

            found["policy"] = policy(args, work)
            table("PPO 256-256, one thread (x: times as fast as model.predict dense)", found["policy"])
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
