"""Faults of a chain, on the toy framework: what is said, and that the same command ends with the same tickets.

A full disk and damaged checkpoints of the real plugins are in tests/sb3_lottery/training/test_faults.py and
tests/fairseq_lottery/launcher/test_faults.py; what Slurm loses in test_submitting.py and tests/slurm.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lottery_core.errors import RunError, WriteError
from lottery_core.experiments import paths
from lottery_core.experiments.executors.local import Processes
from lottery_core.experiments.graph.plan import Run, dense
from lottery_core.experiments.progress import Progress
from lottery_core.experiments.results import read_rows
from lottery_core.experiments.runner import Runner
from lottery_core.files import FolderLock, is_locked, read_object
from tests import preloaded
from tests.conftest import SmallDisk
from tests.lottery_core.experiments.test_runner import DRIVER, here, scores, tickets
from tests.lottery_core.toy import Here, Toy, experiment


@pytest.mark.parametrize("name", ["trained.safetensors", "ticket.safetensors"])
def test_a_file_damaged_since_takes_its_run_back_to_where_it_began(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A truncated checkpoint or ticket of round 1: trained again from the dense run, and the end is the same."""
    here(tmp_path / "whole", kinds=("winning",))
    here(tmp_path / "cut", kinds=("winning",), rounds=1)
    file = tmp_path / "cut/seed-1/winning/round-01" / name
    file.write_bytes(file.read_bytes()[:100])
    capsys.readouterr()
    executor = Here(tmp_path / "cut")
    rows = Runner(experiment(tmp_path / "cut", kinds=("winning",)), Toy(), executor, Progress()).run()
    said = capsys.readouterr().err
    assert "seed 1 winning round 1 is trained again from where it began" in said
    assert executor.trained == [Run(1, "winning", round_) for round_ in (1, 2, 3)]
    wanted = read_rows(tmp_path / "whole")
    assert [(row.run, row.ticket, row.score) for row in rows] == [(row.run, row.ticket, row.score) for row in wanted]


@pytest.mark.parametrize("name", ["trained.safetensors", "rewind.safetensors"])
def test_two_runs_that_meet_the_same_damage_wait_for_one_training(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both chains read the dense run; what a job of a cluster left there is not taken for the new training."""
    kinds = ("winning", "one-shot", "random")
    here(tmp_path / "whole", kinds=kinds, rounds=2)
    here(tmp_path / "cut", kinds=("winning",), rounds=0)
    folder = tmp_path / "cut/seed-1/dense"
    (folder / name).write_bytes((folder / name).read_bytes()[:100])
    (folder / paths.JOB).write_text("{}")
    capsys.readouterr()
    executor = Here(tmp_path / "cut")
    executor.jobs = 3
    rows = Runner(experiment(tmp_path / "cut", kinds=kinds, rounds=2), Toy(), executor, Progress()).run()
    assert capsys.readouterr().err.count("seed 1 dense is trained again from where it began") == 1
    assert executor.trained.count(dense(1)) == 1
    assert not (folder / paths.JOB).exists()
    wanted = read_rows(tmp_path / "whole")
    assert [(row.run, row.ticket, row.score) for row in rows] == [(row.run, row.ticket, row.score) for row in wanted]


@pytest.mark.parametrize(
    ("kind", "name"),
    [("random", "rewind.safetensors"), ("snip", "rewind.safetensors"), ("gradual", "init.safetensors")],
)
def test_a_run_that_reads_the_dense_one_in_its_own_process_is_no_exception(
    kind: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here(tmp_path, kinds=("winning",), rounds=1)
    (tmp_path / "seed-1/dense" / name).write_bytes(b"no")
    executor = Here(tmp_path)
    Runner(experiment(tmp_path, kinds=("winning", kind), rounds=1), Toy(), executor, Progress()).run()
    assert "seed 1 dense is trained again from where it began" in capsys.readouterr().err
    assert executor.trained == [dense(1), Run(1, kind, 1)]


def test_a_rewind_point_that_stays_damaged_fails_by_name(tmp_path: Path) -> None:
    here(tmp_path, kinds=("winning",), rounds=1)

    class Damaging(Here):
        def start(self, run: Run, folder: Path, lock: FolderLock) -> Any:
            done = super().start(run, folder, lock)
            (tmp_path / "seed-1/dense/rewind.safetensors").write_bytes(b"no")
            return done

    (tmp_path / "seed-1/dense/rewind.safetensors").write_bytes(b"no")
    with pytest.raises(RunError, match=r"seed 1 winning round 2 failed: .*rewind\.safetensors"):
        Runner(
            experiment(tmp_path, kinds=("winning",), rounds=2), Toy(), Damaging(tmp_path), Progress(quiet=True)
        ).run()


def test_a_lock_file_of_a_dead_process_locks_nothing(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("process 999999 on elsewhere")
    assert not is_locked(tmp_path)
    assert len(here(tmp_path, rounds=1)[0]) == 3


def test_results_opened_elsewhere_are_no_obstacle(tmp_path: Path) -> None:
    here(tmp_path, rounds=1)
    with open(tmp_path / "results.csv", "r+") as opened:
        first = opened.read()
        here(tmp_path, rounds=2)
        opened.seek(0)
        assert opened.read() == first  # what was opened stays what it was
    assert len(read_rows(tmp_path)) == 5
    (tmp_path / "results.csv").unlink()
    (tmp_path / "results.csv").mkdir()
    with pytest.raises(WriteError, match=r"results\.csv"):
        here(tmp_path, rounds=2)


def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here(tmp_path / "calm", rounds=1)
    clock = itertools.cycle([4e9, 0.0, 1e9])
    monkeypatch.setattr("time.time", lambda: next(clock))
    here(tmp_path / "wild", rounds=1)
    rows = [[(row.run, row.ticket, row.score) for row in read_rows(tmp_path / name)] for name in ("calm", "wild")]
    assert rows[0] == rows[1]


KILLED = """
import os, signal, sys; from pathlib import Path
import lottery_core.files.atomic, lottery_core.experiments.runner
from lottery_core.experiments.progress import Progress; from lottery_core.experiments.runner import Runner
from tests.lottery_core.toy import Here, Toy, experiment
die = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
MOMENT
out = Path(sys.argv[1])
Runner(experiment(out, rounds=1), Toy(), Here(out), Progress()).run()
"""
MOMENTS = {
    "before the ticket": "lottery_core.experiments.next_ticket.prune = die",
    "half the ticket written": """
replace = os.replace
os.replace = lambda part, path: die() if path.name == "ticket.safetensors" else replace(part, path)
""",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_while_pruning(moment: str, tmp_path: Path) -> None:
    """No ticket is there, or a part that is swept; the same command prunes again."""
    here(tmp_path / "calm", rounds=1)
    out = tmp_path / "killed"
    code = KILLED.replace("MOMENT", MOMENTS[moment])
    words, env = [sys.executable, "-c", code, str(out)], {**os.environ, preloaded.PARENT: "core"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == -9, done.stderr
    assert done.stderr.splitlines()[-1] == "[1/3] seed 1 winning round 1: started"
    assert not tickets(out)
    left = list(out.rglob(".*.part"))
    assert len(left) == (moment == "half the ticket written")
    assert here(out, rounds=1)[1] == [Run(1, "winning", 1), Run(1, "random", 1)]
    assert tickets(out) == tickets(tmp_path / "calm")
    assert scores(out) == scores(tmp_path / "calm")
    assert not list(out.rglob(".*.part"))


def test_two_commands_on_one_folder(tmp_path: Path) -> None:
    """The second one is refused in a line that names the first, and touches nothing."""
    impatient = "import lottery_core.files.atomic; lottery_core.files.atomic.PATIENCE = 0.1\n" + DRIVER
    with FolderLock(tmp_path):
        words, env = [sys.executable, "-c", impatient, str(tmp_path)], {**os.environ, preloaded.PARENT: "core"}
        second = subprocess.run(words, capture_output=True, text=True, check=False, env=env)
    assert second.returncode == 2
    (line,) = second.stderr.splitlines()
    assert line.startswith(f"driver: error: {tmp_path} is in use by process {os.getpid()} on ")
    assert line.endswith("; wait for it or stop it")
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_disk_too_full_for_the_log(small_disk: SmallDisk) -> None:
    """What a training says is lost; that the disk is full is told all the same, and why it failed stays so."""
    code = "import sys\nwhile True: print('x' * 1000, flush=True)"
    executor = Processes(lambda run, folder: [sys.executable, "-c", code])
    found = experiment(small_disk.folder / "x", rounds=0)
    with pytest.raises(RunError, match=r"seed 1 dense failed: x+ \(exit 1; the disk is full, see .*train\.log\)"):
        Runner(found, Toy(), executor, Progress(quiet=True)).run()
    assert not read_object(found.out / dense(1).folder / paths.FAILED)
