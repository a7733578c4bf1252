"""The command ``sb3-lottery``."""

from sb3_lottery.cli.command import main

__all__ = ["main"]
