"""The command ``lottery``, and what the commands of the plugins share with it."""

from lottery_core.cli.budget import check_ways
from lottery_core.cli.common import Parser, add_trust, run_command, run_experiment
from lottery_core.cli.completion import accept, typed_words
from lottery_core.cli.experiment_options import DEFAULTS, add_experiment_options, experiment_settings
from lottery_core.cli.help_text import listed, version_line
from lottery_core.cli.lottery import main
from lottery_core.cli.lottery_options import parsers
from lottery_core.cli.search_options import SEARCH_DEFAULTS, chosen_of, search_lines, search_settings
from lottery_core.cli.stability import (
    PROBE_DEFAULTS,
    STABILITY,
    add_stability_options,
    as_stability_parser,
    probe_line,
    probe_of,
    refuse_ticket_options,
    threshold_of,
    with_probed_point,
    without_ticket_options,
)
from lottery_core.cli.transfer_options import add_transfer_options, transfer_settings

__all__ = [
    "DEFAULTS",
    "STABILITY",
    "add_stability_options",
    "add_transfer_options",
    "PROBE_DEFAULTS",
    "without_ticket_options",
    "as_stability_parser",
    "threshold_of",
    "with_probed_point",
    "probe_line",
    "probe_of",
    "refuse_ticket_options",
    "Parser",
    "SEARCH_DEFAULTS",
    "accept",
    "add_trust",
    "add_experiment_options",
    "experiment_settings",
    "check_ways",
    "chosen_of",
    "listed",
    "main",
    "parsers",
    "run_command",
    "run_experiment",
    "search_lines",
    "search_settings",
    "transfer_settings",
    "typed_words",
    "version_line",
]
