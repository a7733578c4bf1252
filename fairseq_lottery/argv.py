"""Command lines of fairseq as lists of words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

USER_DIR = str(Path(__file__).parent)


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """What stands before the first ``--`` and what behind it."""
    words = list(argv)
    place = words.index("--") if "--" in words else len(words)
    return words[:place], words[place + 1 :]


def with_user_dir(words: Sequence[str]) -> list[str]:
    """The fairseq arguments with the plugin's user-dir, unless there is one of the user's own.

    It is no part of an experiment's settings: the plugin may lie elsewhere when the experiment goes on.
    """
    return [*words] if value_of(words, "--user-dir") is not None else [*words, "--user-dir", USER_DIR]


def value_of(words: Sequence[str], option: str) -> str | None:
    """The value of ``option`` on a command line, the last where there are several."""
    found = None
    for index, word in enumerate(words):
        if word == option and index + 1 < len(words):
            found = words[index + 1]
        elif word.startswith(f"{option}="):
            found = word.partition("=")[2]
    return found


def without(words: Sequence[str], option: str) -> list[str]:
    """The command line without ``option`` and its value."""
    result: list[str] = []
    skip = False
    for word in words:
        if skip or word.startswith(f"{option}="):
            skip = False
        elif word == option:
            skip = True
        else:
            result.append(word)
    return result
