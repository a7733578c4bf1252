"""The command ``fairseq-lottery``: whole experiments around one ``fairseq-train`` command, with a process per run."""

from fairseq_lottery.launcher.command import main

__all__ = ["main"]
