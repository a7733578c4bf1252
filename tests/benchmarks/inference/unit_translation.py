"""Tickets of a translation run as their users would run them: shrunk, in fairseq and in CTranslate2; BLEU and speed.

    python -m tests.benchmarks.inference.unit_translation RUN [RUN ...] [--seed 1] [--batches 1 8 64] [--pairs 3]
        [--work FOLDER] [--json FILE]

RUN is a folder of ``fairseq-lottery``, of Transformers. The dense network of the first and all winning tickets of all
are exported, without their dead units where there are any. BLEU: the whole test split, beam 4, as ``lottery export
--form ctranslate2`` checks it. Speed: beam 4, the first sentences of that split, 25 words each translated, one thread;
all ways take turns, and every number is a median over turns. fairseq uses sparse layers where they are faster.
In ``--work`` what was exported is kept, and not exported again; ``--batches`` without numbers exports and no more.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import tempfile
from pathlib import Path

import torch

from lottery_core.cli.lottery import main as lottery
from lottery_core.experiments import Experiment, Row, read_rows
from tests.benchmarks.inference.deployed_translation import LENGTH, speeds
from tests.benchmarks.taking_turns import Row as Line
from tests.benchmarks.taking_turns import megabytes, table

FORMS = {"plain": [], "float32": ["--form", "ctranslate2"], "int8": ["--form", "ctranslate2", "--int8"]}


def checkpoints(runs: list[Path], seed: int) -> dict[str, tuple[Row, Path]]:
    """Name -> row and checkpoint, of the dense network and of the winning tickets."""
    found: dict[str, tuple[Row, Path]] = {}
    for out in runs:
        for row in read_rows(out):
            if row.seed == seed and (row.kind == "winning" or (row.kind == "dense" and "dense" not in found)):
                name = "dense" if row.kind == "dense" else f"{row.granularity}s, {row.surviving_fraction:.0%}"
                path = out / row.run.folder / "checkpoint_best.pt"
                found[name if name not in found else f"{name} ({path.parent})"] = row, path
    return found


def stem(row: Row, path: Path) -> str:
    """The name under which a checkpoint is exported, another one for each: ``--work`` may be that of other runs."""
    return f"{row.kind}-{row.round}-{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"


def exported(path: Path, output: Path, form: str) -> bool:
    """Export without dead units, or as it is where none are dead; whether there were any."""
    done = output.with_name(f"{output.name}.json")
    if done.exists():
        return bool(json.loads(done.read_text())["shrunk"])
    for shrunk in (True, False):
        words = ["--shrunk"] if form != "plain" else ["--form", "shrunk"]
        with contextlib.redirect_stderr(io.StringIO()) as said:
            status = lottery(["export", str(path), "-o", str(output), *FORMS[form], *(words if shrunk else [])])
        if status == 0:
            done.write_text(json.dumps({"shrunk": shrunk}))
            return shrunk
        if "dead" not in said.getvalue() or not shrunk:
            raise SystemExit(said.getvalue())
    raise AssertionError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 8, 64])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--work", type=Path, help="keep what is exported there")
    parser.add_argument("--json", type=Path, help="write the rows there as well")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = Path(Experiment.load(args.runs[0]).settings["data"])
    lines: dict[str, Line] = {}
    files: dict[str, Path] = {}
    folders: dict[tuple[str, str], Path] = {}
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["LOTTERY_CACHE"] = temporary
        work = args.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        for name, (row, path) in checkpoints(args.runs, args.seed).items():
            for form in FORMS:
                output = work / f"{stem(row, path)}.{'pt' if form == 'plain' else form}"
                shrunk = exported(path, output, form)
                line: Line = {"ticket": name, "runtime": "fairseq", "dead units": "removed" if shrunk else "none"}
                line |= {"surviving": row.surviving, "score": row.score, "MB": megabytes(output)}
                if form == "plain":
                    files[name] = output
                else:
                    folders[name, form] = output
                    ours, theirs = json.loads((output / "lottery.json").read_text())["check"]["bleu"]
                    lines[f"{name}/fairseq"]["BLEU"] = ours
                    line |= {"runtime": f"CTranslate2 {form}", "BLEU": theirs}
                lines[f"{name}/{'fairseq' if form == 'plain' else form}"] = line
        for batch in args.batches:
            for name, value in speeds(files, folders, data, batch, args.pairs).items():
                lines[name][f"words/s, batch {batch}"] = value
            for line in lines.values():
                line[f"x{batch}"] = line[f"words/s, batch {batch}"] / lines["dense/fairseq"][f"words/s, batch {batch}"]
    table(f"Beam 4, {LENGTH} words each, one thread (x: times as fast as fairseq dense)", list(lines.values()))
    if args.json:
        args.json.write_text(json.dumps(list(lines.values()), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
