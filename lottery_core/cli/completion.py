"""Completion of options and their words in the shell, by argcomplete if it is installed.

The shell runs the command itself to complete it, with what was typed in the environment instead of in ``sys.argv``.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterable

_ASKED = "_ARGCOMPLETE"  # set by the shell: the number of words before the arguments


def accept(action: argparse.Action, words: Iterable[str]) -> None:
    """Let the shell complete the words of an option that is checked later than by the parser.

    :param action: the option
    :param words: the words that it accepts
    """
    accepted = list(words)
    # argcomplete looks for this attribute.
    action.completer = lambda **_: accepted  # type: ignore[attr-defined]


def typed_words() -> list[str]:
    """Return the arguments of this process, or those typed so far while the shell completes them."""
    if _ASKED not in os.environ:
        return sys.argv[1:]
    line = os.environ.get("COMP_LINE", "")
    try:
        return shlex.split(line)[1:]
    except ValueError:  # an open quotation mark
        return line.split()[1:]


def complete(parser: argparse.ArgumentParser, commands: Iterable[str] = ()) -> None:
    """Answer the shell and end this process, if the shell asks for completions.

    :param parser: the parser of the command; that of a subcommand has the words before its options in its ``prog``
    :param commands: subcommands that other parsers serve
    """
    if _ASKED not in os.environ:
        return
    try:
        import argcomplete
    except ImportError:
        return
    if commands:
        parser.add_argument("subcommand", nargs="?", choices=list(commands))
    os.environ[_ASKED] = str(len(parser.prog.split()))
    argcomplete.autocomplete(parser)
