"""The command ``lottery``, and what the commands of the plugins share with it."""

from lottery_core.cli.common import Parser, run_command, run_experiment
from lottery_core.cli.experiment_options import DEFAULTS, add_experiment_options
from lottery_core.cli.lottery import main
from lottery_core.cli.search_options import SEARCH_DEFAULTS, chosen_of, search_lines, search_settings

__all__ = [
    "DEFAULTS",
    "Parser",
    "SEARCH_DEFAULTS",
    "add_experiment_options",
    "chosen_of",
    "main",
    "run_command",
    "run_experiment",
    "search_lines",
    "search_settings",
]
