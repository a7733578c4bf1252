"""Number words in English and German as a parallel corpus that needs no download.

    python recipes/data/number_words.py FOLDER     # train.en, train.de, valid.en, ...: no number in two of them

"three hundred and seven" / "dreihundertsieben". English as in Britain (with "and"), German as in the Duden, where
everything below a million is one word. (num2words 0.5.14 was tried: it says "einhunderteinstausend".)
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

LIMIT = 1_000_000
# fmt: off
_ONES_EN = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]
_TENS_EN = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_ONES_DE = [
    "null", "ein", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf", "zwölf",
    "dreizehn", "vierzehn", "fünfzehn", "sechzehn", "siebzehn", "achtzehn", "neunzehn",
]
_TENS_DE = ["zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig"]
# fmt: on


def english(number: int) -> str:
    """``number`` in words.

    :param number: 0 to 999,999
    :raises ValueError: another number
    """
    _check(number)
    if number < 20:
        return _ONES_EN[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS_EN[tens - 2] + (f"-{_ONES_EN[ones]}" if ones else "")
    if number < 1000:
        hundreds, rest = divmod(number, 100)
        return f"{_ONES_EN[hundreds]} hundred" + (f" and {english(rest)}" if rest else "")
    thousands, rest = divmod(number, 1000)
    joint = " and " if rest < 100 else " "
    return f"{english(thousands)} thousand" + (joint + english(rest) if rest else "")


def german(number: int) -> str:
    """``number`` in one word.

    :param number: 0 to 999,999
    :raises ValueError: another number
    """
    _check(number)
    # A one that ends the word is "eins"; before hundert, tausend and und it is "ein".
    return _german(number) + ("s" if number % 100 == 1 else "")


def _german(number: int) -> str:
    if number < 20:
        return _ONES_DE[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return (f"{_ONES_DE[ones]}und" if ones else "") + _TENS_DE[tens - 2]
    size, name = (100, "hundert") if number < 1000 else (1000, "tausend")
    many, rest = divmod(number, size)
    return _german(many) + name + (_german(rest) if rest else "")


def _check(number: int) -> None:
    if not 0 <= number < LIMIT:
        raise ValueError(f"{number} is not between 0 and {LIMIT - 1:,}")


def write(folder: Path, sizes: dict[str, int], seed: int = 1, between: tuple[int, int] = (0, LIMIT)) -> None:
    """Write ``PART.en`` and ``PART.de``, a number a line.

    :param folder: folder for the texts, made if missing
    :param sizes: number of numbers in each part; no number comes twice
    :param seed: seed of the choice
    :param between: the smallest number, and the one behind the largest
    :raises ValueError: there are fewer numbers between them
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = iter(random.Random(seed).sample(range(*between), sum(sizes.values())))
    for part, size in sizes.items():
        chosen = [next(numbers) for _ in range(size)]
        for suffix, words in (("en", english), ("de", german)):
            text = "\n".join(words(number) for number in chosen)
            (folder / f"{part}.{suffix}").write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=10_000, help="numbers to train on (10000)")
    parser.add_argument("--held-out", type=int, default=500, help="numbers to validate on, and as many to test (500)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the choice (1)")
    parser.add_argument("--from", dest="low", type=int, default=0, help="the smallest number (0)")
    parser.add_argument("--to", type=int, default=LIMIT - 1, help=f"the largest number ({LIMIT - 1:,})")
    args = parser.parse_args()
    sizes = {"train": args.train, "valid": args.held_out, "test": args.held_out}
    count = sum(sizes.values())
    if not 0 <= args.low <= args.to < LIMIT or count > args.to - args.low + 1:
        parser.error(f"there are no {count:,} numbers from {args.low:,} to {args.to:,}, at most {LIMIT - 1:,}")
    write(args.folder, sizes, args.seed, (args.low, args.to + 1))


if __name__ == "__main__":
    main()
