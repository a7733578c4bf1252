"""The command ``sb3-lottery``: its options, presets and subcommands, and the worker process that trains one run."""

from sb3_lottery.cli.command import main

__all__ = ["main"]
