"""``sb3-lottery`` with a budget and with an end at the floor, where a folder has begun."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lottery_core.experiments import paths
from lottery_core.experiments.results import read_rows
from sb3_lottery.cli.command import main

WORDS = (
    "--algo a2c --env CartPole-v1 --epoch timesteps:64 --epochs 2 --rewind epoch:1 --net-arch 8 --n-envs 1 "
    "--prune-rate 0.6 --kinds winning --seeds 1 --no-floor"
)


def test_what_a_budget_chose_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The levels are not in the command: it is shown, resumed and planned anew with those of the folder."""
    out = tmp_path / "x"
    words = [*WORDS.split(), "--out", str(out)]
    assert main([*words, "--budget", "5runs"]) == 0
    trained = len(read_rows(out))
    kept = json.loads((out / paths.BUDGET).read_text())
    assert kept["score_rounds"]
    for more in (["--budget", "5runs"], ["--budget", "5runs", "--dry-run"], ["--budget", "9runs"]):
        assert main([*words, *more]) == 0
        assert len(read_rows(out)) == trained
    capsys.readouterr()
    (out / f"seed-1/winning/round-{kept['rounds']:02d}" / paths.MARKER).unlink()  # as if killed before
    assert main([*words, "--budget", "9runs", "--dry-run"]) == 0
    assert f"{trained} runs, {trained - 1} done, 1 to do" in capsys.readouterr().out
    assert main([*words, "--budget", "9runs"]) == 0
    assert len(read_rows(out)) == trained


def test_the_floor_is_measured_for_another_first_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The processes measure it in the dense run of the folder's first seed, which is none of this command."""
    words = [*WORDS.replace(" --seeds 1 --no-floor", "").split(), "--out", str(tmp_path)]
    assert main([*words, "--seeds", "1", "--rounds", "0", "--no-floor"]) == 0
    assert not (tmp_path / paths.FLOOR).exists()
    capsys.readouterr()
    assert main([*words, "--seeds", "2", "--rounds", "1", "--stop-at-floor", "1", "--dry-run"]) == 0
    shown = capsys.readouterr()
    assert "the command will first measure the floor" in shown.err
    assert "2 runs, 0 done, 2 to do" in shown.out
    assert not (tmp_path / paths.FLOOR).exists()
    assert main([*words, "--seeds", "2", "--rounds", "1", "--stop-at-floor", "1"]) == 0
    assert (tmp_path / paths.FLOOR).exists()
    assert "floor: " in capsys.readouterr().err
