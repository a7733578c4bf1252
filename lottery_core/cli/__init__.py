"""The command ``lottery``, and what the commands of the plugins share with it."""

from lottery_core.cli.common import Parser, do_experiment, guarded
from lottery_core.cli.lottery import main

__all__ = ["Parser", "do_experiment", "guarded", "main"]
