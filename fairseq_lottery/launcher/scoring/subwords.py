"""Detect subword units in text that is to be scored as words: BLEU of subword units is a different number."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from fairseq_lottery.names import SUBWORD_BLEU

_SHARE = 0.01  # share of the sentences; a few sentences may contain a mark by chance


@dataclass(frozen=True)
class _Units:
    """One way to mark subword units.

    :param title: the name of the method
    :param mark: matches a mark in a line of tokens
    :param option: the option of ``fairseq-generate`` that joins the units
    """

    title: str
    mark: re.Pattern[str]
    option: str


# fairseq/data/data_utils.py:post_process
_UNITS = (
    _Units("sentencepiece", re.compile("\u2581"), "--remove-bpe sentencepiece"),
    _Units("BPE (@@)", re.compile(r"\S@@(?= |$)"), "--remove-bpe"),
    _Units("BPE (_EOW)", re.compile(r"_EOW(?= |$)"), "--remove-bpe _EOW"),
    _Units("GPT-2's BPE", re.compile(r"^\d+( \d+)+$"), "--bpe gpt2"),
)
_NUMBERS = _UNITS[-1]


def why_not_words(lines: Sequence[str], references: Sequence[str], generate: str) -> str | None:
    """Say why text consists of subword units instead of words, and which option joins them; ``None`` for words.

    :param lines: hypotheses or references, as printed by ``fairseq-generate``
    :param references: detokenised references, if any; numbers count as units only if these are not numbers
    :param generate: value of ``--generate``
    """
    for units in _UNITS:
        marked = [line for line in lines if units.mark.search(line)]
        if units is _NUMBERS and (not references or any(units.mark.search(line) for line in references)):
            continue
        if marked and len(marked) >= (len(lines) / 2 if units is _NUMBERS else _SHARE * len(lines)):
            example = " ".join(marked[0].split(" ")[:4])
            return (
                f"what fairseq-generate prints is in units of {units.title} ('{example}'), so its score would be one "
                f"of units, not of words: give --generate {shlex.quote(_mended(generate, units.option))} "
                f"(or --score {SUBWORD_BLEU}, if BLEU of the units is what you want)"
            )
    return None


def _mended(generate: str, option: str) -> str:
    words, kept = shlex.split(generate), []
    skip = False
    for index, word in enumerate(words):
        if skip:
            skip = False
        elif word in ("--remove-bpe", "--post-process"):
            skip = index + 1 < len(words) and not words[index + 1].startswith("-")
        elif word.partition("=")[0] not in ("--remove-bpe", "--post-process"):
            kept.append(word)
    return shlex.join([*kept, *option.split()])
