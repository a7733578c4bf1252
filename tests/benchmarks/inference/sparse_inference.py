"""``fairseq-generate`` of a Transformer Base, dense against ``--sparse-inference auto``; and its sparse file's loading.

    python -m tests.benchmarks.inference.sparse_inference [--pruned 67 80 90 95] [--batches 1 4 8]
        [--pairs 3] [--work DIR]

Random weights of the architecture ``transformer`` (63M parameters, 37,000 words, one embedding for all) with random
masks on every matrix: for speed they do as well as a ticket's. One thread, beam 4, 16 sentences of 20 to 30 words, 25
words each translated. Each number is what fairseq-generate says of its speed, medians over alternated processes.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from lottery_core.inference.sparsify import sparsify
from lottery_core.inference.timings import Timings

WORDS, SENTENCES, LENGTH, BEAM = 37_000, 16, 25, 4
LIMITS = {90: 1.8, 67: 1.0}
SLACK = 0.97  # auto may be slower than dense by 3%
FILE_LIMIT = 0.35
ROOT = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
LOADING = r"""
import re, sys, time
import torch
torch.set_num_threads(1)
import fairseq_lottery
import fairseq.models.transformer
from fairseq import checkpoint_utils
from lottery_core import load_sparse
def peak():  # ru_maxrss would begin with that of the process that started this one
    return int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1])
before = peak()
path, data = sys.argv[1:]
start = time.perf_counter()
if path.endswith(".csr"):
    load_sparse(path, data=data)
else:
    checkpoint_utils.load_model_ensemble([path], {"data": data})
print(time.perf_counter() - start, (peak() - before) / 1024)
"""


def command(name: str, *arguments: object) -> str:
    """Run a command of this environment; what it says."""
    words = [str(Path(sys.executable).parent / name), *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout + done.stderr


def make_data(work: Path) -> Path:
    """Sentences of random words, and the dictionary."""
    rng = random.Random(1)
    (work / "dict.txt").write_text("".join(f"w{index} {WORDS - index}\n" for index in range(WORDS - 4)))
    for side in ("en", "de"):
        lines = [
            " ".join(f"w{rng.randrange(WORDS - 4)}" for _ in range(rng.randrange(20, 31))) for _ in range(SENTENCES)
        ]
        (work / f"test.{side}").write_text("\n".join(lines) + "\n")
    words = [
        "--testpref",
        work / "test",
        "--srcdict",
        work / "dict.txt",
        "--joined-dictionary",
        "--destdir",
        work / "bin",
    ]
    command("fairseq-preprocess", "--source-lang", "en", "--target-lang", "de", *words)
    return work / "bin"


def make_model(data: Path, *more: str) -> tuple[Any, dict[str, Any]]:
    """A Transformer Base, or one with other options, and the rest of a checkpoint of it."""
    from fairseq import tasks
    from omegaconf import OmegaConf

    import fairseq_lottery  # noqa: F401
    from fairseq_lottery.argv import FairseqArguments
    from fairseq_lottery.checkpoint import without_namespaces
    from fairseq_lottery.launcher.options import parse_fairseq

    words = ["--task", "translation", "--arch", "transformer", "--share-all-embeddings", "--max-tokens", "100", "--cpu"]
    words += more
    cfg = parse_fairseq(FairseqArguments([str(data), "--source-lang", "en", "--target-lang", "de", *words]))
    torch.manual_seed(1)
    model = tasks.setup_task(cfg.task).build_model(cfg.model)
    history = {"criterion_name": "C", "optimizer_name": "O", "lr_scheduler_state": {}, "num_updates": 1}
    held = without_namespaces(OmegaConf.to_container(cfg, resolve=True, enum_to_str=True))  # type: ignore[arg-type]
    rest = {"args": None, "cfg": held, "optimizer_history": [history], "extra_state": {"train_iterator": {"epoch": 1}}}
    return model, rest


def prune_randomly(model: Any, start: dict[str, torch.Tensor], percent: int) -> None:
    """Random masks on the matrices of the model's start values."""
    torch.manual_seed(percent)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(start[name])
            if parameter.dim() > 1:
                parameter[torch.rand_like(parameter) < percent / 100] = 0


def speed(data: Path, path: Path, batch: int, mode: str) -> float:
    """Words a second, as fairseq-generate counts."""
    words = [data, "--path", path, "--user-dir", ROOT / "fairseq_lottery", "--task", "lottery_translation", "--cpu"]
    words += ["--beam", BEAM, "--batch-size", batch, "--required-batch-size-multiple", 1, "--num-workers", 0]
    words += ["--max-len-a", 0, "--max-len-b", LENGTH, "--min-len", LENGTH, "--sparse-inference", mode]
    found = re.search(r"Translated .* ([\d.]+) tokens/s", command("fairseq-generate", *words))
    assert found
    return float(found[1])


def generating(data: Path, paths: dict[int, Path], batches: list[int], pairs: int) -> bool:
    print("fairseq-generate, beam 4, words a second: dense, sparse (auto), ratio of medians", flush=True)
    met = True
    for percent, path in paths.items():
        for batch in batches:
            speed(data, path, batch, "auto")  # measures the layers of these sizes, which is remembered
            found: dict[str, list[float]] = {"off": [], "auto": []}
            for _ in range(pairs):
                for mode, mine in found.items():
                    mine.append(speed(data, path, batch, mode))
            dense, sparse = (statistics.median(mine) for mine in found.values())
            limit = LIMITS.get(percent, SLACK)
            fine = sparse / dense >= limit
            met &= fine
            said = f"limit {limit} {'met' if fine else 'MISSED'}"
            print(
                f"  {percent}% pruned, batch {batch}: {dense:7.1f} {sparse:7.1f}  {sparse / dense:.2f}x  {said}",
                flush=True,
            )
    return met


def layers(model: Any, start: dict[str, torch.Tensor], percents: list[int]) -> None:
    print("time dense / time sparse of one layer (what auto decides by; it takes one from 1.05 on)")
    counts = (1, 4, 32, 128, 512)
    names = {"512x512": "encoder.layers.0.self_attn.q_proj", "2048x512": "encoder.layers.0.fc1"}
    names |= {"512x2048": "encoder.layers.0.fc2", "37000x512": "decoder.output_projection"}
    for percent in percents:
        prune_randomly(model, start, percent)
        for shape, name in names.items():
            found = []
            for count in counts:
                layer = torch.nn.Sequential(model.get_submodule(name), torch.nn.Identity()).eval()
                # The room of a whole model, which copies of the layer fill.
                layer.register_buffer("others", torch.zeros(1 << 24))
                report = sparsify(layer, tokens=count, timings=Timings())
                found.append(report.layers[0].speed_up or 0.0)
            print(
                f"  {percent}% {shape:>9}: "
                + "  ".join(f"{n} tokens {x:.1f}" for n, x in zip(counts, found, strict=True))
            )


def loading(data: Path, path: Path, pairs: int) -> bool:
    sparse = path.with_suffix(".csr")
    print(command("lottery", "export", path, "-o", sparse, "--form", "csr").strip())
    found: dict[Path, list[tuple[float, float]]] = {path: [], sparse: []}
    for _ in range(max(3, pairs)):
        for one, mine in found.items():
            words = [sys.executable, "-W", "ignore", "-c", LOADING, str(one), str(data)]
            done = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, check=True)
            numbers = done.stdout.split()
            mine.append((float(numbers[-2]), float(numbers[-1])))
    met = True
    for index, what in enumerate(("seconds to load", "MB of peak memory above the imports")):
        dense, small = (statistics.median(one[index] for one in mine) for mine in found.values())
        fine = small / dense <= FILE_LIMIT
        met &= fine
        said = f"limit {FILE_LIMIT} {'met' if fine else 'MISSED'}"
        print(f"  {what}: dense {dense:.2f}, sparse file {small:.2f}, {small / dense:.2f} of it  {said}")
    return met


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pruned", type=int, nargs="+", default=[67, 80, 90, 95])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument(
        "--work", type=Path, help="for the data and checkpoints, 250 MB each; by default a temporary one"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        work = args.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        ENVIRONMENT["LOTTERY_CACHE"] = os.environ["LOTTERY_CACHE"] = str(work)
        data = make_data(work)
        model, rest = make_model(data)
        start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        paths = {percent: work / f"pruned-{percent}.pt" for percent in args.pruned}
        for percent, path in paths.items():
            prune_randomly(model, start, percent)
            torch.save({**rest, "model": model.state_dict()}, path)
        met = generating(data, paths, args.batches, args.pairs)
        if 90 in paths:
            met &= loading(data, paths[90], args.pairs)
        layers(model, start, args.pruned)
    print("all limits met" if met else "a limit was MISSED")
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
