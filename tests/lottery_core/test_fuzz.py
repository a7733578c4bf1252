"""Mutants of every file that the core reads: read, or refused in one line, for little time and memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lottery_core.fuzzing import READERS, mutant, try_mutant

COUNT, SEED = 1000, 1


@pytest.mark.parametrize("name", READERS)
def test_mutants_are_read_or_refused_in_one_line(name: str, tmp_path: Path) -> None:
    """``python -m tests.benchmarks.fuzz N`` tries more, and measures time and memory."""
    reader = READERS[name]
    (tmp_path / "seeds").mkdir()
    (tmp_path / "mutant").mkdir()
    seeds = reader.seeds(tmp_path / "seeds")
    findings = []
    for number in range(COUNT):
        mutant(reader, seeds, SEED, number, tmp_path / "mutant")
        finding = try_mutant(reader, number, tmp_path / "mutant")
        findings += [] if finding is None else [finding]
    assert not findings, f"{len(findings)} of {COUNT}, first {findings[0].number}:\n{findings[0].what}"
