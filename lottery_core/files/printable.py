"""Text from files, made fit to be printed: it must not drive a terminal, nor fill it."""

from __future__ import annotations


def printable(text: object, most: int = 200) -> str:
    """``text`` on one line, with everything that is not printable escaped, shortened in the middle.

    :param text: text from a file that anybody may have written
    :param most: the longest result, in characters
    """
    line = "".join(letter if letter.isprintable() else _escaped(letter) for letter in str(text)[: 4 * most])
    if len(line) <= most and len(str(text)) <= 4 * most:
        return line
    half = (most - 5) // 2
    end = "".join(letter if letter.isprintable() else _escaped(letter) for letter in str(text)[-half:])
    return f"{line[:half]} ... {end[-half:]}"


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
