"""Faults under real agents: a full disk, a damaged zip, a node without an extra."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3.common.base_class import BaseAlgorithm

from lottery_core.errors import RunError, WriteError
from lottery_core.experiments import paths
from lottery_core.experiments.executors.slurm import Job, Work
from lottery_core.experiments.executors.slurm_queue import Queue
from lottery_core.experiments.graph.plan import dense
from lottery_core.experiments.results import read_rows
from lottery_core.files import write_json
from sb3_lottery import find_tickets
from sb3_lottery.training.framework import Sb3
from tests.conftest import SmallDisk
from tests.sb3_lottery.helpers import make, request_for

OPTIONS: dict[str, Any] = {
    "rewind": "timesteps:64",
    "total_timesteps": 256,
    "kinds": ("winning",),
    "prune_rate": 0.5,
    "score_episodes": 5,
    "floor": False,
}


def agent(seed: int) -> BaseAlgorithm:
    """Its ticket is larger than the few blocks that a nearly full disk has left."""
    return make("a2c", seed, net_arch=[64, 64])


def assert_same(out: Path, calm: Path) -> None:
    rows, wanted = read_rows(out), read_rows(calm)
    assert [(row.run, row.ticket, row.score) for row in rows] == [(row.run, row.ticket, row.score) for row in wanted]
    for row in rows[1:]:
        path = row.run.folder / paths.TICKET
        assert (out / path).read_bytes() == (calm / path).read_bytes()


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed chain of two rounds."""
    return find_tickets(agent, tmp_path_factory.mktemp("calm") / "x", rounds=2, progress=False, **OPTIONS).out


def test_a_disk_too_full_for_the_zip_and_for_the_ticket(calm: Path, small_disk: SmallDisk) -> None:
    """Each time the line names the file and nothing half-written is there; with room again the end is the same."""
    out = small_disk.folder / "x"
    start = (calm / "seed-1/dense/init.safetensors").stat().st_size // 1024

    def refused(error: type[Exception], leave: int, rounds: int) -> str:
        small_disk.fill(leave)
        with pytest.raises(error, match="No space left on device") as told:
            find_tickets(agent, out, rounds=rounds, progress=False, **OPTIONS)
        small_disk.empty()
        assert not list(out.rglob(".*.part"))
        return str(told.value)

    line = refused(RunError, leave=2 * start + 40, rounds=0)
    assert re.fullmatch(r"seed 1 dense failed: cannot write \S+/model\.zip: No space left on device", line)
    assert not (out / "seed-1/dense/model.zip").exists()
    find_tickets(agent, out, rounds=0, progress=False, **OPTIONS)
    line = refused(RunError, leave=12, rounds=2)
    assert line.startswith("seed 1 winning round 1 failed: cannot write ")
    assert "/ticket.safetensors: No space left on device" in line
    assert not (out / "seed-1/winning/round-01/ticket.safetensors").exists()
    assert "/experiment.json: No space left on device" in refused(WriteError, leave=0, rounds=2)
    find_tickets(agent, out, rounds=2, progress=False, **OPTIONS)
    assert_same(out, calm)


@pytest.mark.parametrize("share", [0.0, 0.6])
def test_a_truncated_zip_takes_its_round_back_to_its_ticket(
    share: float, calm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Round 1 is trained again from the ticket that it began with, and the end is the same."""
    out = tmp_path / "x"
    find_tickets(agent, out, rounds=1, progress=False, **OPTIONS)
    model = out / "seed-1/winning/round-01/model.zip"
    model.write_bytes(model.read_bytes()[: int(share * model.stat().st_size)])
    find_tickets(agent, out, rounds=2, **OPTIONS)
    said = capsys.readouterr().err
    assert f"WARNING: cannot read {model}: " in said
    assert ": seed 1 winning round 1 is trained again from where it began" in said
    assert "seed 1 dense: started" not in said
    assert_same(out, calm)


LACKS = {
    "sb3_contrib": ("--algo qrdqn --env CartPole-v1", "sb3-contrib"),
    "envpool": ("--algo a2c --env CartPole-v1 --env-backend envpool", "envpool"),
}


@pytest.mark.parametrize("module", LACKS)
def test_a_node_that_lacks_an_extra(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command has, and the node where a job lands has not: one line with what to install, not tried again."""
    pytest.importorskip(module)
    options, wanted = LACKS[module]
    words = f"{options} --epoch timesteps:64 --epochs 1 --rounds 1 --rewind init --n-envs 1 --score-episodes 2"
    request_for([*shlex.split(words), "--out", str(tmp_path / "x")]).experiment.write()
    folder = tmp_path / "x" / dense(1).folder
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / f"{module}.py").write_text(
        f"raise ModuleNotFoundError(\"No module named '{module}'\", name='{module}')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "node"))
    write_json(folder / paths.JOB, {"token": "abc", "name": "x"})
    assert Work(Sb3().command(dense(1), folder), folder, "abc", 1)() == 2
    with pytest.raises(RunError) as told:
        Job(Queue(), folder, "abc", "x").finished()
    assert type(told.value) is RunError, "a node that lacks it is no reason to try again"
    assert wanted in str(told.value)
    assert "pip install" in str(told.value)
    assert "Traceback" not in (folder / paths.LOG).read_text()
