"""Sentencepiece units: one model of two languages, and PART.sp.LANGUAGE beside each PART.LANGUAGE.

python recipes/data/units.py FOLDER --size 4000 --parts train valid test --languages en de
python recipes/data/units.py FOLDER --model OTHER/units.model     # units that were learnt from another text
"""

from __future__ import annotations

import argparse
from pathlib import Path

import sentencepiece


def main() -> None:
    """Learn from the first part, apply to all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=4000, help="size of the vocabulary (4000)")
    parser.add_argument("--parts", nargs="+", default=["train", "valid", "test"], help="the first one is learnt from")
    parser.add_argument("--languages", nargs="+", default=["en", "de"])
    parser.add_argument("--model", type=Path, help="a file of units, instead of learning them")
    args = parser.parse_args()
    model = args.model or args.folder / "units.model"
    if args.model is None:
        sentencepiece.SentencePieceTrainer.train(
            input=[str(args.folder / f"{args.parts[0]}.{language}") for language in args.languages],
            model_prefix=str(model.with_suffix("")),
            vocab_size=args.size,
            model_type="bpe",
            character_coverage=1.0,
            minloglevel=2,
        )
    units = sentencepiece.SentencePieceProcessor(model_file=str(model))
    for part in args.parts:
        for language in args.languages:
            lines = (args.folder / f"{part}.{language}").read_text(encoding="utf-8").removesuffix("\n").split("\n")
            pieces = [" ".join(units.encode(line, out_type=str)) for line in lines]
            (args.folder / f"{part}.sp.{language}").write_text("\n".join(pieces) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
