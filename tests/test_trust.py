"""docs/trust.md has a row for everything that reads a file."""

from __future__ import annotations

import re
from pathlib import Path

import lottery_core
import sb3_lottery
from fairseq_lottery.launcher import command as fairseq_command
from lottery_core.cli import lottery
from sb3_lottery.cli import analyse

PAGE = Path(__file__).parents[1] / "docs" / "trust.md"
ROWS = [line for line in PAGE.read_text().splitlines() if line.startswith(("| `", "| the "))]
NAMED = {name for row in ROWS for name in re.findall(r"`([^`]+)`", row.split("|")[1])}
READ_FILES = {
    *(f"lottery {command}" for command in lottery._COMMANDS if command != "doctor"),  # it reads no files
    *(f"sb3-lottery {command}" for command in analyse.COMMANDS),
    *(f"fairseq-lottery {command}" for command in fairseq_command.COMMANDS),
    *("sb3-lottery", "fairseq-lottery", "fairseq-train", "fairseq-generate", "fairseq-validate", "fairseq-eval-lm"),
    *("read_weights", "Ticket.load", "load_sparse", "load_sparse_policy", "find_tickets", "shrink_policy"),
}


def test_every_command_and_function_has_a_row() -> None:
    assert {name for name in READ_FILES if not any(re.match(rf"{name}\b", known) for known in NAMED)} == set()
    functions = {name for name in NAMED if re.fullmatch(r"[a-z_]+_[a-z_]+", name)}
    assert functions <= {*lottery_core.__all__, *sb3_lottery.__all__}


def test_every_row_says_it() -> None:
    for row in ROWS:
        assert re.match(r"(never|\*\*yes\*\*)", row.split("|")[3].strip()), row


def test_the_readme_leads_there() -> None:
    assert "(docs/trust.md)" in (PAGE.parents[1] / "README.md").read_text()
