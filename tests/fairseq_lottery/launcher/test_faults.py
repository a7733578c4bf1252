"""Faults under real trainings of fairseq: a kill, a full disk, damaged checkpoints."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lottery_core.experiments import paths
from lottery_core.experiments.graph.plan import Run, dense
from lottery_core.experiments.results import read_rows
from lottery_core.files import read_curve
from tests.conftest import SmallDisk, wait_until
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import assert_dead, load
from tests.fairseq_lottery.launcher.test_command import LSTM, chain

LAST = "checkpoint_last.pt"
FIRST = Run(1, "winning", 1)


def words(out: Path, data: Path, rounds: int = 1) -> list[str]:
    own = ["--out", out, "--rounds", rounds, "--kinds", "winning", "--prune-rate", 0.36, "--rewind", "epoch:1"]
    own.append("--no-floor")
    return chain(*own, "--", data, *LSTM, "--save-interval-updates", 10, "--keep-interval-updates", 1)


@pytest.fixture(scope="module")
def whole(lm_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed chain of one round."""
    out = tmp_path_factory.mktemp("chains") / "whole"
    done = helpers.run(words(out, lm_data))
    assert "log perplexity (nats a token) on the test split" in done.stdout
    assert_dead(load(out / FIRST.folder / LAST)["model"], out / FIRST.folder / paths.TICKET)
    return out


def assert_same(out: Path, whole: Path) -> None:
    rows = [(row.run, row.score, row.ticket) for row in read_rows(whole)]
    assert [(row.run, row.score, row.ticket) for row in read_rows(out)] == rows
    assert [run for run, _, _ in rows] == [dense(1), FIRST]
    for run, _, _ in rows:
        assert helpers.same(*(load(where / run.folder / LAST)["model"] for where in (out, whole)))
        # A kill between a validation and the next line may cost its point, no more.
        # A resumed training logs no further distances of masks.
        curve, other = (
            [replace(point, distance=None, slows=None) for point in read_curve(where / run.folder / paths.LEARNING)]
            for where in (out, whole)
        )
        assert curve[-1] == other[-1]
        assert set(curve) <= set(other)
        assert [point.steps for point in curve] == sorted({point.steps for point in curve})
    assert (out / FIRST.folder / paths.TICKET).read_bytes() == (whole / FIRST.folder / paths.TICKET).read_bytes()


def kill_when(condition: Callable[[], bool], command: list[str]) -> None:
    """Start a chain and kill it with no chance to tidy up."""
    started = subprocess.Popen(command, env=helpers.environment(), stderr=subprocess.DEVNULL)
    assert wait_until(condition)
    assert started.poll() is None, "it came to its end first"
    of_it = helpers.descendants(started.pid)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    assert wait_until(lambda: not any(map(helpers.alive, of_it))), "its training went on"


def test_a_killed_chain_ends_like_an_undisturbed_one(whole: Path, lm_data: Path, tmp_path: Path) -> None:
    """A ticket's training begins again after a half-written checkpoint, goes on after a whole one."""
    command = words(tmp_path, lm_data)
    folder = tmp_path / FIRST.folder
    log, last = folder / "train.log", folder / LAST
    kill_when(last.exists, command)
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    # The half-written checkpoint is there until the training starts.
    kill_when(lambda: "fairseq_cli.train" in log.read_text().partition("begins again")[2] and last.exists(), command)
    begun = log.read_text()
    assert f"the run was interrupted, and begins again: {last} was not written to its end" in begun
    assert "Loaded checkpoint" not in begun
    helpers.run(command)
    went_on = log.read_text().removeprefix(begun)
    assert "the run was interrupted, and is resumed" in went_on
    found = re.search(r"Loaded checkpoint \S+/checkpoint_last.pt \(epoch \d+ @ (\d+) updates\)", went_on)
    assert found
    assert int(found.group(1)) >= 10
    assert_same(tmp_path, whole)


def test_a_truncated_checkpoint_takes_its_run_back_to_where_it_began(
    whole: Path, lm_data: Path, tmp_path: Path
) -> None:
    """The dense run, from which round 1 is to be pruned, is trained again, and the end is the same to the last bit."""
    out = tmp_path / "whole"
    shutil.copytree(whole, out)
    shutil.rmtree(out / FIRST.folder)
    last = out / dense(1).folder / LAST
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    said = helpers.run(words(out, lm_data)).stderr
    assert f"WARNING: cannot read {last}: " in said
    assert ": seed 1 dense is trained again from where it began" in said
    assert f"begins again: {last} was not written to its end" in (out / dense(1).folder / "train.log").read_text()
    assert_same(out, whole)


def test_a_disk_too_full_for_a_checkpoint(lm_data: Path, small_disk: SmallDisk) -> None:
    """fairseq's own writing fails: one line, also in the log, and nothing that could be taken for a checkpoint."""
    out = small_disk.folder / "x"
    small_disk.fill(leave=124)
    line = helpers.run(words(out, lm_data, rounds=0), status=2).stderr.splitlines()[-1]
    assert "seed 1 dense failed: fairseq_lottery.launcher.worker: error: fairseq-train: " in line
    assert "[Errno 28] No space left on device (exit 2, see " in line
    log = (out / dense(1).folder / "train.log").read_text()
    assert "\n(the disk was full: lines are missing here)\n" in log
    assert not list(out.rglob("*.pt*"))
