"""The command ``fairseq-lottery``: whole experiments around one ``fairseq-train`` command."""

from fairseq_lottery.launcher.command import main

__all__ = ["main"]
