"""What a round of fairseq-lottery adds to its training: pruning, writing the ticket, start-up; scored by echo.

    python -m tests.benchmarks.training.round_overhead [--pairs 3]

Alternates a plain fairseq-train without the plugin (a Transformer of 6 + 6 layers of width 256 on number words, a few
updates) with a chain of a dense run and one round of just that training.
The difference for each run of the chain does not grow with the training; it is shown against one of ten minutes.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.fairseq_lottery import helpers

LIMIT = 0.05
ROUND = 600.0  # seconds
SIZES = " ".join(
    f"--{side}-layers 6 --{side}-embed-dim 256 --{side}-ffn-embed-dim 1024 --{side}-attention-heads 4"
    for side in ("encoder", "decoder")
)
TRAINING = shlex.split(
    f"--source-lang en --target-lang de --arch transformer {SIZES} --share-all-embeddings --optimizer adam --lr 1e-4 "
    "--criterion cross_entropy --max-tokens 200 --max-update 6 --disable-validation --no-epoch-checkpoints --cpu"
)


def seconds(words: Sequence[object]) -> float:
    """Wall time of a command."""
    start = time.perf_counter()
    subprocess.run([*map(str, words)], check=True, capture_output=True, env=helpers.environment())
    return time.perf_counter() - start


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    args = parser.parse_args()
    added = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        helpers.write_parallel(folder)
        prefixes = [word for part in ("train", "valid", "test") for word in (f"--{part}pref", folder / part)]
        words = ["--source-lang", "en", "--target-lang", "de", "--joined-dictionary", "--destdir", folder / "bin"]
        helpers.run(helpers.command("fairseq-preprocess", *words, *prefixes))
        for pair in range(args.pairs):
            out = folder / f"{pair}"
            own = ["--rounds", 1, "--kinds", "winning", "--rewind", "update:1", "--score", "echo 1", "--quiet"]
            chain = [sys.executable, "-m", "fairseq_lottery.launcher", "--out", out / "chain", *own, "--"]
            plain = helpers.command("fairseq-train", folder / "bin", "--seed", 1, *TRAINING, "--save-dir")
            runs = [[*plain, out / "one"], [*chain, folder / "bin", *TRAINING], [*plain, out / "two"]]
            times = [seconds(run) for run in runs]
            added.append((times[1] - times[0] - times[2]) / 2)
            print(f"plain {times[0]:.1f} s and {times[2]:.1f} s, chain of two {times[1]:.1f} s", flush=True)
    found = statistics.median(added)
    print(f"a round adds {found:.1f} s: {found / ROUND:.1%} of one of ten minutes (limit {LIMIT:.0%})")
    return 0 if found / ROUND < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
