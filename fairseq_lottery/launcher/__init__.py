"""The command ``fairseq-lottery``: whole experiments around one ``fairseq-train`` command, a process for each run."""

from fairseq_lottery.launcher.command import main

__all__ = ["main"]
