"""The command ``fairseq-lottery``: whole experiments around one ``fairseq-train`` command, with a process per run."""

from fairseq_lottery.launcher.command import main
from fairseq_lottery.launcher.floor import floor_parser
from fairseq_lottery.launcher.options import parser, stability_parser
from fairseq_lottery.launcher.rescore import rescore_parser
from lottery_core.cli import Parser

__all__ = ["main", "parsers"]


def parsers() -> dict[str, Parser]:
    """Return the parsers of the command and its subcommands by the words that call them, for the reference."""
    return {
        "fairseq-lottery": parser(),
        "fairseq-lottery rescore": rescore_parser(),
        "fairseq-lottery floor": floor_parser(),
        "fairseq-lottery stability": stability_parser(),
    }
