"""Sums in English words as the text of a tiny language model, which needs no download.

    python recipes/data/number_sums.py FOLDER     # train.txt, valid.txt, test.txt: no sum in two of them

"seven plus five is twelve": what comes after "is" follows from words up to eight places before it, so a model that
carries its state has something to learn, and one that knows only how often words come does worse.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from number_words import english

LIMIT = 100  # each of the two numbers is smaller


def sentence(first: int, second: int) -> str:
    """``first`` plus ``second`` in words, each part of a number a word of its own."""
    words = (english(number).replace("-", " ") for number in (first, second, first + second))
    return "{} plus {} is {}".format(*words)


def write(folder: Path, sizes: dict[str, int], seed: int = 1) -> None:
    """Write ``PART.txt``, a sum a line.

    :param folder: folder for the texts, made if missing
    :param sizes: number of sums in each part; no sum comes twice
    :param seed: seed of the choice
    """
    folder.mkdir(parents=True, exist_ok=True)
    pairs = iter(random.Random(seed).sample([(a, b) for a in range(LIMIT) for b in range(LIMIT)], sum(sizes.values())))
    for part, size in sizes.items():
        lines = [sentence(*next(pairs)) for _ in range(size)]
        (folder / f"{part}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=6000, help="sums to train on (6000)")
    parser.add_argument("--held-out", type=int, default=500, help="sums to validate on, and as many to test (500)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the choice (1)")
    args = parser.parse_args()
    write(args.folder, {"train": args.train, "valid": args.held_out, "test": args.held_out}, args.seed)


if __name__ == "__main__":
    main()
