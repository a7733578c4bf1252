"""A trained ticket translating dense, with sparse layers, and from its sparse file: BLEU, time, memory.

    python tests/benchmarks/sparse_ticket.py DATA CHECKPOINT [--batches 1 8 64] [--pairs 3]

DATA is a folder of fairseq-preprocess, CHECKPOINT that of a run of ``fairseq-lottery`` (``seed-1/winning/round-05/
checkpoint_best.pt``). One thread; medians over alternated ``fairseq-generate`` of the split "test", beam 5, words from
sentencepiece.
"""

from __future__ import annotations

import argparse
import re
import statistics
import tempfile
from pathlib import Path

from tests.benchmarks.sparse_inference import ROOT, command


def translate(data: Path, path: Path, batch: int, mode: str) -> tuple[float, str, list[str]]:
    """Seconds of generating, BLEU and the hypotheses."""
    words = [data, "--path", path, "--user-dir", ROOT / "fairseq_lottery", "--task", "lottery_translation", "--cpu"]
    words += ["--batch-size", batch, "--required-batch-size-multiple", 1, "--num-workers", 0, "--beam", 5]
    words += ["--remove-bpe", "sentencepiece", "--scoring", "sacrebleu", "--sparse-inference", mode]
    said = command("fairseq-generate", *words)
    seconds = re.search(r"Translated .* in ([\d.]+)s", said)
    bleu = re.search(r"BLEU\S* = ([\d.]+)", said)
    assert seconds
    assert bleu
    hypotheses = sorted(
        line.split("\t")[0] + line.split("\t")[2] for line in said.splitlines() if line.startswith("H-")
    )
    return float(seconds[1]), bleu[1], hypotheses


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--pairs", type=int, default=3)
    args = parser.parse_args()
    same = True
    with tempfile.TemporaryDirectory() as folder:
        plain, sparse = Path(folder) / "plain.pt", Path(folder) / "ticket.csr"
        print(command("lottery", "export", args.checkpoint, "-o", plain).strip())
        print(command("lottery", "export", args.checkpoint, "-o", sparse, "--form", "csr").strip())
        print(f"files: dense {plain.stat().st_size / 1e6:.1f} MB, sparse {sparse.stat().st_size / 1e6:.1f} MB")
        for batch in args.batches:
            ways = {"dense": (plain, "off"), "auto": (plain, "auto"), "csr": (plain, "csr"), "file": (sparse, "auto")}
            found: dict[str, list[tuple[float, str, list[str]]]] = {name: [] for name in ways}
            translate(args.data, plain, batch, "auto")  # measures the layers, which is remembered
            for _ in range(args.pairs):
                for name, (path, mode) in ways.items():
                    found[name].append(translate(args.data, path, batch, mode))
            dense = found["dense"][0]
            for name, runs in found.items():
                seconds = statistics.median(run[0] for run in runs)
                ratio = statistics.median(run[0] for run in found["dense"]) / seconds
                differ = sum(one != other for one, other in zip(runs[0][2], dense[2], strict=True))
                same &= runs[0][1] == dense[1]
                print(
                    f"  batch {batch:3d} {name:>5}: {seconds:6.1f} s, {ratio:.2f}x, BLEU {runs[0][1]}, "
                    f"{differ} of {len(dense[2])} hypotheses differ",
                    flush=True,
                )
    print("the same BLEU" if same else "BLEU differs")
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
