"""The command ``sb3-lottery``: its options, presets and subcommands, and the worker process that trains one run."""

from lottery_core.cli import Parser
from sb3_lottery.cli import analyse
from sb3_lottery.cli.command import main
from sb3_lottery.cli.options import parser, stability_parser

__all__ = ["main", "parsers"]


def parsers() -> dict[str, Parser]:
    """Return the parsers of the command and its subcommands by the words that call them, for the reference."""
    return {"sb3-lottery": parser(), **analyse.parsers(), "sb3-lottery stability": stability_parser()}
