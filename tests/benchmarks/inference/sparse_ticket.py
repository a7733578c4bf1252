"""A trained ticket translating dense, with sparse layers, and from its sparse file: BLEU, time, memory.

    python -m tests.benchmarks.inference.sparse_ticket DATA CHECKPOINT [--batches 1 8 64] [--pairs 3]

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

from tests.benchmarks.inference.sparse_inference import ROOT, command

TIE = 1e-4  # of a hypothesis's score: two that differ by less are as good as one another


def translate(data: Path, path: Path, batch: int, mode: str) -> tuple[float, str, dict[str, tuple[float, str]]]:
    """Seconds of generating, BLEU and the hypotheses."""
    words = [data, "--path", path, "--user-dir", ROOT / "fairseq_lottery", "--task", "lottery_translation", "--cpu"]
    words += ["--batch-size", batch, "--required-batch-size-multiple", 1, "--num-workers", 0, "--beam", 5]
    words += ["--remove-bpe", "sentencepiece", "--scoring", "sacrebleu", "--sparse-inference", mode]
    said = command("fairseq-generate", *words)
    seconds = re.search(r"Translated .* in ([\d.]+)s", said)
    bleu = re.search(r"BLEU\S* = ([\d.]+)", said)
    assert seconds
    assert bleu
    lines = [line.split("\t") for line in said.splitlines() if line.startswith("H-")]
    return float(seconds[1]), bleu[1], {name: (float(score), words) for name, score, words in lines}


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
            found: dict[str, list[tuple[float, str, dict[str, tuple[float, str]]]]] = {name: [] for name in ways}
            translate(args.data, plain, batch, "auto")  # measures the layers, which is remembered
            for _ in range(args.pairs):
                for name, (path, mode) in ways.items():
                    found[name].append(translate(args.data, path, batch, mode))
            dense = found["dense"][0]
            for name, runs in found.items():
                seconds = statistics.median(run[0] for run in runs)
                ratio = statistics.median(run[0] for run in found["dense"]) / seconds
                pairs = [(runs[0][2][key], dense[2][key]) for key in dense[2]]
                apart = [abs(one[0] - other[0]) for one, other in pairs if one[1] != other[1]]
                same &= runs[0][1] == dense[1] and all(gap <= TIE for gap in apart)
                print(
                    f"  batch {batch:3d} {name:>5}: {seconds:6.1f} s, {ratio:.2f}x, BLEU {runs[0][1]}, "
                    f"{len(apart)} of {len(dense[2])} hypotheses differ"
                    + (f", their scores by {max(apart):.1e} at most" if apart else ""),
                    flush=True,
                )
    print("the same translations, but for ties" if same else "translations DIFFER")
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
