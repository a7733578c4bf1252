"""Chains of both plugins as jobs of a real Slurm, disturbed; ``recipes/test-slurm.sh`` starts one and calls this."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lottery_core import Ticket
from lottery_core.experiments.results import Row, read_rows
from tests.fairseq_lottery import helpers

pytestmark = pytest.mark.skipif("LOTTERY_TEST_SLURM" not in os.environ, reason="bash recipes/test-slurm.sh calls these")

SB3 = (
    "--algo a2c --env CartPole-v1 --rounds 3 --prune-rate 0.5 --epoch timesteps:400 --epochs 2 --rewind epoch:1 "
    "--n-envs 2 --net-arch 16 16 --score-episodes 10 --no-floor"
)
ON_SLURM = ["--executor", "slurm", "--slurm", "partition=test,timeout_min=10"]


def command(plugin: str, out: Path, *words: object) -> list[str]:
    return [f"{sys.prefix}/bin/{plugin}", "--out", str(out), *map(str, words)]


@contextmanager
def local_run(words: list[str]) -> Iterator[None]:
    """The same chain as processes of this machine, beside the disturbed one; it has ended well on leaving."""
    done = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=helpers.environment())
    try:
        yield
        _, said = done.communicate(timeout=900)
        assert done.returncode == 0, said[-2000:]
    finally:
        done.kill()


def wait_for(what: Callable[[], Any], seconds: float = 900) -> None:
    give_up = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.2)


def text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def names(form: str = "%j") -> list[str]:
    answer = subprocess.run(["squeue", "--noheader", "--format", form], capture_output=True, text=True, check=True)
    return answer.stdout.split()


def assert_same(found: Path, wanted: Path) -> list[Row]:
    rows, others = read_rows(found), read_rows(wanted)
    assert [(r.run, r.ticket, r.score, r.surviving) for r in rows] == [
        (r.run, r.ticket, r.score, r.surviving) for r in others
    ]
    for row in rows[1:]:
        path = row.run.folder / "ticket.safetensors"
        assert Ticket.load(found / path).digest == Ticket.load(wanted / path).digest
    return rows


def lottery_status(out: Path) -> str:
    return helpers.lottery("status", out).stdout


def test_sb3_with_a_job_cancelled_and_the_command_killed(tmp_path: Path) -> None:
    with local_run(command("sb3-lottery", tmp_path / "local", *shlex.split(SB3))):
        sb3_disturbed(tmp_path)
    assert len(assert_same(tmp_path / "slurm", tmp_path / "local")) == 7


def sb3_disturbed(tmp_path: Path) -> None:
    out = tmp_path / "slurm"
    words = command("sb3-lottery", out, *shlex.split(SB3), *ON_SLURM)
    with open(tmp_path / "first.log", "w") as log:
        driver = subprocess.Popen(words, stdout=log, stderr=log, env=helpers.environment())
    dense, winning = out / "seed-1/dense", out / "seed-1/winning/round-01"
    try:
        wait_for(lambda: "environments:" in text_of(dense / "train.log"))
        subprocess.run(["scancel", "--name", json.loads((dense / "job.json").read_text())["name"]], check=True)
        wait_for(lambda: "started again (1 of 2)" in text_of(tmp_path / "first.log"))
        assert "is gone from the queue: CANCELLED" in text_of(tmp_path / "first.log")
        wait_for(lambda: "environments:" in text_of(winning / "train.log"))
    finally:
        driver.kill()
        driver.wait()
    shown = lottery_status(out)
    assert "1 done" in shown
    assert "running  seed 1 winning round 1" in shown or "trained; its result is not recorded yet" in shown
    again = helpers.run(words)
    assert "seed 1 winning round 1: continues in the job that an earlier command submitted" in again.stderr
    assert (winning / "train.log").read_text().count(" job ") == 1  # trained once
    assert (dense / "train.log").read_text().count(" job ") == 2
    assert lottery_status(out).splitlines() == [f"{out}: 7 done, of 7 runs"]
    wait_for(lambda: not [name for name in names() if name.startswith("lottery-slurm-")])


LSTM = shlex.split(
    "--criterion lottery_cross_entropy --task language_modeling --arch lottery_lstm_lm --decoder-embed-dim 16 "
    "--decoder-hidden-size 16 --truncated-bptt 7 --batch-size 3 --max-epoch 1 --optimizer adam --lr 0.01 --cpu"
)


def test_fairseq_interrupted_and_a_run_killed_on_its_node(lm_data: Path, tmp_path: Path) -> None:
    own = shlex.split("--rounds 3 --prune-rate 0.4 --rewind update:5 --kinds winning --no-floor")
    with local_run([*command("fairseq-lottery", tmp_path / "local", *own), "--", str(lm_data), *LSTM]):
        fairseq_disturbed([*own, *ON_SLURM, "--", str(lm_data), *LSTM], tmp_path)
    rows = assert_same(tmp_path / "slurm", tmp_path / "local")
    assert len(rows) == 4
    for row in rows:
        states = [helpers.load(tmp_path / at / row.run.folder / "checkpoint_last.pt") for at in ("slurm", "local")]
        assert helpers.same(states[0]["model"], states[1]["model"])


def fairseq_disturbed(more: list[str], tmp_path: Path) -> None:
    out = tmp_path / "slurm"
    words = command("fairseq-lottery", out, *more)
    with open(tmp_path / "first.log", "w") as log:
        driver = subprocess.Popen(words, stdout=log, stderr=log, env=helpers.environment())
    first = out / "seed-1/winning/round-01"
    try:
        wait_for(lambda: "fairseq_cli.train" in text_of(first / "train.log"))
        subprocess.run(["pkill", "-KILL", "-f", f"fairseq_lottery.launcher.worker {first}"], check=True)
        wait_for(lambda: "started again (1 of 2)" in text_of(tmp_path / "first.log"))
        wait_for(lambda: text_of(first / "train.log").count("fairseq_cli.train") == 2)
        driver.send_signal(signal.SIGINT)
        assert driver.wait(900) == 130
    finally:
        driver.kill()
        driver.wait()
    told = text_of(tmp_path / "first.log")
    assert "killed by signal 9" in told
    assert f"({first}) keeps running" in told
    assert "rerun the same command to find them again" in told
    again = helpers.run(words)
    assert "seed 1 winning round 1: continues in the job that an earlier command submitted" in again.stderr


# Waits, once it has checkpoints, for a time limit of a minute, which Slurm enforces up to half a minute late.
SLOWLY = """
import time
from fairseq_lottery import LotteryTask
step = LotteryTask.optimizer_step
def optimizer_step(task, optimizer, model, update_num):
    time.sleep(150 if update_num == 4 else 0)
    return step(task, optimizer, model, update_num)
LotteryTask.optimizer_step = optimizer_step
"""


def test_a_job_that_hits_its_time_limit_goes_on_in_the_next(lm_data: Path, tmp_path: Path) -> None:
    """In half precision, whose fp32 masters its checkpoints hold, though this machine has no GPU."""
    words = [str(lm_data), *LSTM, *shlex.split("--max-update 8 --bf16 --save-interval-updates 1")]
    own = shlex.split("--rounds 0 --rewind update:2 --kinds winning")
    with local_run([*command("fairseq-lottery", tmp_path / "local", *own), "--", *words]):
        text = limited([*own, *ON_SLURM, "--", *words], tmp_path)
    assert "the run was interrupted, and is resumed" in text
    assert re.search(r"Loaded checkpoint .* @ [1-9]\d* updates", text)
    folders = [tmp_path / name / "seed-1/dense" for name in ("slurm", "local")]
    assert helpers.same(*(helpers.load(folder / "checkpoint_last.pt")["model"] for folder in folders))


def limited(more: list[str], tmp_path: Path) -> str:
    """A chain whose first job reaches a time limit, set when it has a checkpoint; the log of its run."""
    dense = tmp_path / "slurm/seed-1/dense"
    slow = ["--user-dir", str(helpers.own_user_dir(tmp_path / "user", "slowly", SLOWLY))]
    with open(tmp_path / "first.log", "w") as log:
        words = [*command("fairseq-lottery", tmp_path / "slurm", *more), *slow]
        driver = subprocess.Popen(words, stdout=log, stderr=log, env=helpers.environment())
    try:
        wait_for((dense / "checkpoint_last.pt").exists)
        name = json.loads((dense / "job.json").read_text())["name"]
        queue = subprocess.run(
            ["squeue", "--noheader", "--format", "%j|%i"], capture_output=True, text=True, check=True
        )
        number = dict(line.split("|") for line in queue.stdout.split())[name]
        subprocess.run(["scontrol", "update", f"jobid={number}", "timelimit=1"], check=True)
        wait_for(lambda: "is gone from the queue: TIMEOUT" in text_of(tmp_path / "first.log"))
        (tmp_path / "user/slowly/__init__.py").write_text("import fairseq_lottery")
        assert driver.wait(300) == 0
    finally:
        driver.kill()
        driver.wait()
    return text_of(dense / "train.log")


def test_two_ranks_by_srun(lm_data: Path, tmp_path: Path) -> None:
    ranks = shlex.split("--distributed-world-size 2 --distributed-backend gloo --distributed-port 29519")
    own = shlex.split(
        "--rounds 1 --kinds winning --rewind update:5 --no-floor --executor slurm --slurm tasks_per_node=2"
    )
    own += ["--launcher", f"srun --overlap --kill-on-bad-exit=1 --ntasks 2 {sys.executable}"]
    helpers.run([*command("fairseq-lottery", tmp_path, *own), "--", str(lm_data), *LSTM, *ranks])
    for row in read_rows(tmp_path):
        folder = tmp_path / row.run.folder
        text = (folder / "train.log").read_text()
        assert "rank 1" in text
        assert text.count("\nlog_ppl ") == 1
        assert helpers.load(folder / "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"] == row.steps == 27
    helpers.assert_dead(helpers.load(folder / "checkpoint_last.pt")["model"], folder / "ticket.safetensors")


def test_what_slurm_refuses_is_one_line(tmp_path: Path) -> None:
    words = command("sb3-lottery", tmp_path, *shlex.split(SB3), "--executor", "slurm", "--slurm", "partition=nowhere")
    refused = helpers.run([*words, "--quiet"], status=2)
    # Above it is what sbatch itself says.
    assert "Slurm refuses the job: sbatch: error: invalid partition" in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr
    assert "failed   seed 1 dense" in lottery_status(tmp_path)
