"""Compare cheap ways to find tickets with the plain chain: levels, searches that end early, larger steps.

    nice python recipes/cheap_chains OUT [--experiment cartpole] [--seeds 1-10] [--ways third rising ...] [--jobs 2]
    nice python recipes/cheap_chains OUT --experiment mine -- sb3-lottery --env Pendulum-v1 --algo ppo ...
    python recipes/cheap_chains OUT --table     # only the table of what is there
    python recipes/cheap_chains OUT --publish recipes/results/cheap-chains

Each way is an experiment of its own in ``OUT/EXPERIMENT/WAY`` that begins with the dense runs of the plain chain. A
command that is stopped goes on where it was. The table is printed and written to ``OUT/EXPERIMENT/ways.csv``; its
columns are described in ``table.py``. ``--publish`` writes it with all rows and a picture into ``FOLDER/EXPERIMENT``.
The experiment is one of those below, or any command of sb3-lottery or fairseq-lottery behind ``--``, without folder
and rounds.

The plain chain has 15 rounds of 19.6% and scores each; the cheap ways score its rounds 5, 10 and 15 (34%, 11% and 3.8%
survive; ``--short``: 6 rounds of 42%, of which 2, 4 and 6 are scored, the same levels).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lottery_core.experiments import paths
from lottery_core.pruning import DENSE, WINNING, level_after

sys.path.insert(0, str(Path(__file__).parent))
from publish import WAYS, publish, write_ways
from table import PLAIN, lines, table

EXPERIMENTS = {
    "cartpole": "--preset cartpole-steps --epoch timesteps:16000 --eval-episodes 100",  # as in evidence.sh
    "acrobot": "--preset acrobot-steps --eval-episodes 100",
    "tiny": "--algo a2c --env CartPole-v1 --epoch timesteps:256 --epochs 20 --rewind epoch:1 --net-arch 32 32 "
    "--eval-episodes 5",
}


@dataclass(frozen=True)
class Chain:
    """The rounds of a plain chain, and those that cheap ways score.

    :param rounds: number of rounds
    :param rate: share of the remaining parameters that each round prunes
    :param scored: the rounds that cheap ways score
    """

    rounds: int
    rate: float
    scored: tuple[int, ...]

    @property
    def options(self) -> list[str]:
        """The options of a chain that scores every round."""
        return ["--rounds", str(self.rounds), "--prune-rate", str(self.rate)]

    @property
    def scoring(self) -> list[str]:
        """The options that score some rounds only."""
        return ["--score-rounds", *map(str, self.scored)]

    def from_first_level(self) -> list[str]:
        """The options of a chain whose first round goes to the first scored level at once."""
        first, *_ = self.scored
        left = Chain(self.rounds - first + 1, self.rate, tuple(round_ - first + 1 for round_ in self.scored))
        return [*left.options, *left.scoring, "--first", f"{level_after(first, self.rate):.4f}"]


SHORT = Chain(6, 0.42, (2, 4, 6))
LONG = Chain(15, 0.196, (5, 10, 15))  # the same levels by smaller steps, the paper's (20%)


def ways(chain: Chain) -> dict[str, list[str]]:
    """Return the ways and their options.

    :param chain: the plain chain
    """
    scored = [*chain.options, *chain.scoring]
    found = {
        PLAIN: chain.options,
        "half": [*scored, "--search", "0.5"],
        "third": [*scored, "--search", "0.33"],
        "rising": [*scored, "--search", "0.15-0.6"],
        "settled-0.05": [*scored, "--search", "settled:0.05"],
        "settled": [*scored, "--search", "settled:0.02"],
        "first-half": [*chain.from_first_level(), "--search", "0.5"],
    }
    if chain.rounds > SHORT.rounds:
        found["large-steps"] = [*SHORT.options, *SHORT.scoring]
    return found


def command(words: Sequence[str], options: Sequence[str], out: Path, seeds: Sequence[str], jobs: int) -> list[str]:
    """Return the command of one way.

    :param words: the experiment's command; arguments of fairseq-train behind ``--``
    :param options: options of the way
    :param out: its folder
    :param seeds: words of ``--seeds``
    :param jobs: number of parallel runs
    """
    end = words.index("--") if "--" in words else len(words)
    ours = ["--kinds", WINNING, "random", "--seeds", *seeds, "--out", str(out), "--jobs", str(jobs)]
    return [*words[:end], *options, *ours, *words[end:]]


def begin_with_dense(plain: Path, out: Path) -> None:
    """Copy the dense runs of the plain chain into the folder of a way that has none yet.

    :param plain: folder of the plain chain
    :param out: folder of the way
    """
    for marker in sorted(plain.glob(f"seed-*/{DENSE}/{paths.MARKER}")):
        target = out / marker.parent.relative_to(plain)
        if not target.exists():
            part = target.with_name(f".{target.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(marker.parent, part)
            part.rename(target)
    if not (out / paths.EXPERIMENT).exists() and (plain / paths.FLOOR).exists():
        shutil.copy(plain / paths.FLOOR, out / paths.FLOOR)


def run(out: Path, words: Sequence[str], chosen: dict[str, list[str]], seeds: Sequence[str], jobs: int) -> None:
    """Do the plain chain, then the other ways; each is resumed where it was.

    :param out: folder of the ways
    :param words: the experiment's command
    :param chosen: the ways and their options, the plain chain among them
    :param seeds: words of ``--seeds``
    :param jobs: number of parallel runs
    """
    plain = out / PLAIN
    for way, options in chosen.items():
        folder = out / way
        folder.mkdir(parents=True, exist_ok=True)
        if way != PLAIN:
            begin_with_dense(plain, folder)
        subprocess.run(command(words, options, folder, seeds, jobs), check=True)
        if way == PLAIN and Path(words[0]).name == "sb3-lottery" and not (plain / paths.FLOOR).exists():
            subprocess.run([words[0], "floor", str(plain)], check=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Do the ways and print their table.

    :param argv: command-line arguments; ``None`` means those of ``sys.argv``
    """
    given = list(sys.argv[1:] if argv is None else argv)
    end = given.index("--") if "--" in given else len(given)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [way for way in ways(LONG) if way != PLAIN]
    parser.add_argument("out", type=Path)
    known = f"{', '.join(EXPERIMENTS)} (default: cartpole), or a name for the command behind --"
    parser.add_argument("--experiment", metavar="NAME", help=known)
    parser.add_argument("--ways", nargs="+", choices=names, default=names)
    parser.add_argument("--seeds", nargs="+", default=["1-10"], metavar="SEED")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="a plain chain of 6 rounds instead of 15")
    parser.add_argument("--table", action="store_true", help="only the table of what is there")
    parser.add_argument("--publish", type=Path, metavar="FOLDER", help="write what is there as a result")
    args = parser.parse_args(given[:end])
    words = given[end + 1 :]
    if words and args.experiment is None:
        parser.error("give the experiment a name, that of its folder: --experiment NAME")
    experiment = args.experiment or "cartpole"
    out = args.out / experiment
    if not words and experiment in EXPERIMENTS:
        words = ["sb3-lottery", *EXPERIMENTS[experiment].split()]
    if not args.table and args.publish is None:
        if not words:
            parser.error(f"there is no experiment '{experiment}' here: give its command behind --")
        all_ways = ways(SHORT if args.short else LONG)
        os.nice(10)
        chosen = {way: all_ways[way] for way in (PLAIN, *args.ways) if way in all_ways}
        run(out, words, chosen, args.seeds, args.jobs)
    found = lines(out) if out.is_dir() else []
    if not found:
        parser.error(f"{out} has no way with a finished seed to compare with the plain chain")
    write_ways(out / WAYS, found)
    if args.publish is not None:
        publish(out, args.publish / experiment)
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
