"""Make text from files safe to print: it must neither control the terminal nor fill it."""

from __future__ import annotations

import math


def percentage(share: float, digits: int = 1) -> str:
    """Return a share as a percentage, with two significant digits of what is left where that is less than 0.1%.

    :param share: the share: 0.5 is ``50.0%``, 0.99975 is ``99.975%``, and 0.00025 ``0.025%``
    :param digits: digits behind the point
    """
    rest = 100 * min(abs(share), abs(1 - share))
    if 0 < rest < 0.1:
        digits = 1 - math.floor(math.log10(rest))
    return f"{100 * share:.{digits}f}%"


def counted(count: int, word: str) -> str:
    """Return a number with its noun: ``1 run``, ``2 runs``, ``1,000 runs``.

    :param count: the number
    :param word: the noun, in the singular
    """
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def printable(text: object, most: int = 200) -> str:
    """Return ``text`` as one line with unprintable characters escaped; long text is shortened in the middle.

    :param text: text that may come from an untrusted file
    :param most: maximum length of the result, in characters
    """
    line = "".join(letter if letter.isprintable() else _escaped(letter) for letter in str(text)[: 4 * most])
    if len(line) <= most and len(str(text)) <= 4 * most:
        return line
    half = (most - 5) // 2
    end = "".join(letter if letter.isprintable() else _escaped(letter) for letter in str(text)[-half:])
    return f"{line[:half]} ... {end[-half:]}"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type if there is none.

    :param error: an error of foreign code, which may have raised anything
    """
    return (str(error).splitlines() or [""])[0] or type(error).__name__


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
