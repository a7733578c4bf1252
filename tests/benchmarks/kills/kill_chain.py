"""Kill one small chain with SIGKILL at random moments, run the same command again, compare with an undisturbed one.

    python -m tests.benchmarks.kills.kill_chain [--kills 20] [--seed 0] [--cheap]

Every fourth time one of its trainings is killed first, and the command a moment later. Passes when every ticket
file has the same SHA-256 and every score is the same to the last bit.
"""

from __future__ import annotations

import argparse
import os
import random
import shlex
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.kills.killing import children, finish, finished, outcome, start, wait_until

OPTIONS = shlex.split(
    "--algo a2c --env CartPole-v1 --rounds 6 --prune-rate 0.3 --epoch timesteps:10000 --epochs 4 --rewind epoch:1 "
    "--n-envs 8 --net-arch 32 32 --kinds winning random permuted --jobs 2 --score-episodes 20 --quiet"
)


CHEAP = shlex.split("--search settled:0.2 --score-rounds 2 4 6")


def command(out: Path, cheap: bool) -> list[str]:
    return [sys.executable, "-m", "sb3_lottery.cli", *OPTIONS, *(CHEAP if cheap else []), "--out", str(out)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--cheap", action="store_true", help="searches that end early, three levels scored")
    args = parser.parse_args()
    moments = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        calm, killed = Path(folder) / "calm", Path(folder) / "killed"
        began = time.monotonic()
        finish(command(calm, args.cheap))
        took, runs = time.monotonic() - began, finished(calm)
        one_run = 2 * took / runs  # two side by side
        print(f"undisturbed: {runs} runs in {took:.0f} s", flush=True)
        kills, same, expected = 0, True, outcome(calm)
        while kills < args.kills:
            driver = start(command(killed, args.cheap))
            # A quarter of the kills wait for one more finished run, so that they fall all along the chain.
            began, before = time.monotonic(), finished(killed)
            wanted = before + moments.choice((0, 0, 0, 1))
            wait_until(lambda wanted=wanted: finished(killed) >= wanted, driver)
            time.sleep(moments.uniform(0.5, one_run))
            moment = time.monotonic() - began
            trainings = children(driver.pid) if kills % 4 == 3 else []
            if trainings:
                os.kill(moments.choice(trainings), signal.SIGKILL)
                time.sleep(moments.uniform(0, 0.5))
            if driver.poll() is not None:  # it came to its end first: compare, and kill another chain
                same &= outcome(killed) == expected
                shutil.rmtree(killed)
                continue
            driver.kill()
            driver.wait()
            kills += 1
            done = finished(killed)
            what = "a training and the command" if trainings else "the command"
            print(f"kill {kills:2} after {moment:4.1f} s: {what}; {done} runs done", flush=True)
        finish(command(killed, args.cheap))
        found = outcome(killed)
    last = "seed-1/winning/round-06/ticket.safetensors"
    print(f"undisturbed {expected[0][last]}\nkilled      {found[0][last]}")
    same &= expected == found
    print(
        f"{kills} kills, {len(found[0])} tickets and {len(found[1])} scores: {'all the same' if same else 'DIFFERENT'}"
    )
    return 0 if same and kills == args.kills else 1


if __name__ == "__main__":
    sys.exit(main())
