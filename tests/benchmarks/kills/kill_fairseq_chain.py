"""Kill a chain of fairseq-train with SIGKILL at random moments, run the same command again, compare with a calm one.

    python -m tests.benchmarks.kills.kill_fairseq_chain [--kills 10] [--seed 0]

The kills fall all along the chain, by turns within a training that has written a checkpoint, while a run is scored,
just after a run has ended, when the next ticket is pruned, and anywhere. Passes when every ticket file has the same
SHA-256, and every score and every tensor of every ``checkpoint_last.pt`` are the same to the last bit.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

from tests.benchmarks.kills.killing import children, finish, finished, outcome, start, wait_until
from tests.fairseq_lottery.helpers import ADAM, TRANSFORMER, load, write_parallel
from tests.fairseq_lottery.helpers import command as fairseq

LAST = "checkpoint_last.pt"
OPTIONS = shlex.split(
    "--rounds 3 --prune-rate 0.3 --rewind epoch:2 --kinds winning random --average 2 --jobs 2 --quiet --generate"
)
TRAINING = shlex.split(
    "--task translation --label-smoothing 0.1 --criterion lottery_label_smoothed_cross_entropy --max-tokens 200 "
    "--max-epoch 30 --save-interval-updates 4 --keep-interval-updates 1 --clip-norm 0.2 --num-workers 0 --cpu"
)
WITHIN, SCORING, ENDED, ANYWHERE = "training, a checkpoint was written", "scoring", "a run has just ended", "anywhere"
AIMS = (WITHIN, ENDED, WITHIN, SCORING, WITHIN, ANYWHERE)


def data(folder: Path) -> Path:
    """Binary data of fairseq-preprocess."""
    write_parallel(folder)
    parts = [word for part in ("train", "valid", "test") for word in (f"--{part}pref", folder / part)]
    languages = shlex.split("--source-lang en --target-lang de --joined-dictionary --destdir")
    subprocess.run(fairseq("fairseq-preprocess", *languages, folder / "bin", *parts), check=True, capture_output=True)
    return folder / "bin"


def tensors(out: Path) -> dict[str, str]:
    """SHA-256 of every tensor of the models in every last checkpoint."""
    found = {}
    for path in sorted(out.rglob(LAST)):
        for name, tensor in load(path)["model"].items():
            content = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            found[f"{path.relative_to(out)} {name}"] = hashlib.sha256(content).hexdigest()
    return found


def compare(out: Path) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """What must be the same: tickets, scores, tensors."""
    return *outcome(out), tensors(out)


def under_way(driver: int, since: float) -> set[str]:
    """What the runs are doing, told by their processes and by what was written ``since``."""
    found = set()
    for run in children(driver):
        folder = next((Path(word) for word in words(run) if "/seed-" in word), None)
        for process in children(run):
            if "fairseq_cli.generate" in words(process):
                found.add(SCORING)
            elif "fairseq_cli.train" in words(process):
                last = folder and folder / LAST
                written = last and last.exists() and last.stat().st_mtime > since
                found.add(WITHIN if written else "training, no checkpoint yet")
    return found or {"pruning, or a run begins or ends"}


def words(process: int) -> list[str]:
    """The command line of a process."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text().split("\0")
    except OSError:
        return []


def due(aim: str, driver: int, out: Path, since: float) -> Callable[[], bool]:
    """When the kill that has ``aim`` is due, but for a random while."""
    before = finished(out)
    if aim == ENDED:
        return lambda: finished(out) > before
    return lambda: bool(children(driver)) if aim == ANYWHERE else aim in under_way(driver, since)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    moments = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = [*OPTIONS, "--beam 1", "--", str(data(folder)), *TRAINING, *TRANSFORMER, *ADAM]
        calm, killed = folder / "calm", folder / "killed"

        def command(out: Path) -> list[str]:
            return [sys.executable, "-m", "fairseq_lottery.launcher", "--out", str(out), *arguments]

        began = time.monotonic()
        finish(command(calm))
        runs, expected = finished(calm), compare(calm)
        print(f"undisturbed: {runs} runs in {time.monotonic() - began:.0f} s", flush=True)
        kills, same, met = 0, True, Counter[str]()
        while kills < args.kills:
            aim, wanted = AIMS[kills % len(AIMS)], kills * (runs - 2) // args.kills
            driver, began, since = start(command(killed)), time.monotonic(), time.time()
            wait_until(lambda wanted=wanted: finished(killed) >= wanted, driver)
            wait_until(due(aim, driver.pid, killed, since), driver)
            time.sleep(moments.uniform(0, 20 if aim == ANYWHERE else 1.5))
            found = under_way(driver.pid, since)
            if driver.poll():
                raise SystemExit(f"the command failed with exit {driver.returncode}")
            if driver.poll() is not None:  # it came to its end first: compare, and kill another chain
                same &= compare(killed) == expected
                shutil.rmtree(killed)
                continue
            driver.kill()
            driver.wait()
            kills += 1
            met.update(found)
            what = f"{' and '.join(sorted(found))}; {finished(killed)} runs done"
            print(f"kill {kills:2} after {time.monotonic() - began:4.1f} s: {what}", flush=True)
        finish(command(killed))
        found_last = compare(killed)
        logs = [path.read_text() for path in killed.rglob("train.log")]
    for what, one, other in zip(("tickets", "scores", "tensors"), expected, found_last, strict=True):
        differing = [key for key in sorted({*one, *other}) if one.get(key) != other.get(key)]
        if differing:
            print(f"{len(differing)} other {what}, the first is {differing[0]}")
    same &= expected == found_last
    again, on = (sum(log.count(f"the run was interrupted, and {text}") for log in logs) for text in ("begins", "goes"))
    print(f"interrupted runs: {on} went on, {again} began again; killed in: {dict(met)}")
    counts = ", ".join(
        f"{len(part)} {what}" for part, what in zip(found_last, ("tickets", "scores", "tensors"), strict=True)
    )
    print(f"{kills} kills, {counts}: {'all the same' if same else 'DIFFERENT'}")
    return 0 if same and kills == args.kills else 1


if __name__ == "__main__":
    sys.exit(main())
