"""How ``--help`` looks: short lines in groups, lists with a line for each word."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from lottery_core.tickets import UNIT, WEIGHT, versions
from lottery_core.version import VERSION

GRANULARITIES = {
    WEIGHT: "single parameters",
    UNIT: "whole units: hidden units, channels, heads of attentions, units of LSTMs, with their biases",
}


class HelpFormatter(argparse.HelpFormatter):
    """Keeps the line breaks of help texts; lines that begin with spaces are the entries of a list."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        lines = []
        for line in text.splitlines():
            indent = "  " if line.startswith(" ") else ""
            lines += textwrap.wrap(
                " ".join(line.split()),
                width,
                initial_indent=indent,
                subsequent_indent=2 * indent,
                break_on_hyphens=False,
            )
        return lines


def listed(text: str, meanings: Mapping[str, str]) -> str:
    """Return a help text followed by a list of words and what they mean.

    :param text: what the option sets
    :param meanings: word -> meaning
    """
    rows = (f"  {word}: {meaning}" for word, meaning in meanings.items())
    return "\n".join([text, *(row.replace("%", "%%") for row in rows)])


def version_line(program: str, *packages: str) -> str:
    """Return a command's version and the versions that matter for a bug report.

    :param program: the command's name
    :param packages: further packages to name, if they are installed
    """
    found = {name: text for name, text in versions().items() if name != "lottery"}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return f"{program} {VERSION} ({', '.join(f'{name} {text}' for name, text in found.items())})"
