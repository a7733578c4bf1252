"""Runs as Slurm jobs, without a cluster; ``tests/slurm`` tests them on a real one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lottery_core.cli.lottery import main
from lottery_core.errors import ConfigError, LostError, RunError
from lottery_core.experiments import paths
from lottery_core.experiments.executors.local import Processes
from lottery_core.experiments.executors.slurm import Job, Slurm, Work
from lottery_core.experiments.executors.slurm_queue import Queue, slurm_options, with_cpus
from lottery_core.experiments.graph.plan import Run, dense
from lottery_core.experiments.progress import Progress
from lottery_core.experiments.results import read_rows
from lottery_core.experiments.runner import Runner
from lottery_core.files import FolderLock, read_json, write_json
from lottery_core.reports.status import render, states
from tests.lottery_core.toy import Here, Toy, experiment

pytest.importorskip("submitit")

TOKEN = "0123456789ab"


class FakeQueue(Queue):
    """Gives the answers of its arguments, one per call; then the last one again."""

    def __init__(self, *answers: str | None) -> None:
        super().__init__()
        self.answers = list(answers)
        self.cancelled: list[str] = []

    def state(self, name: str, now: bool = False) -> str | None:
        self.looks += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def number(self, name: str) -> str:
        return "7"

    def cancel(self, name: str) -> None:
        self.cancelled.append(name)
        self.answers = [None]


def test_options_are_submitits_with_numbers_as_numbers() -> None:
    options = slurm_options("partition=gpu, gpus-per-node=8,timeout_min=600,,mem_gb=64")
    assert options == {"partition": "gpu", "gpus_per_node": 8, "timeout_min": 600, "mem_gb": 64}
    assert slurm_options("") == {}
    options = slurm_options("exclusive,account=0042,exclude=n1,n2,nodelist=a[1,3],mem_gb=7.5,gpus-per-node=a100:8")
    assert options == {
        "exclusive": True, "account": "0042", "exclude": "n1,n2", "nodelist": "a[1,3]", "mem_gb": 7.5,
        "gpus_per_node": "a100:8",
    }  # fmt: skip
    assert slurm_options("exclusive=true,qos=007") == {"exclusive": True, "qos": "007"}
    assert slurm_options("partition=a, exclusive=user")["exclusive"] == "user"
    assert with_cpus(options, 1, 3) == options


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("partitio=gpu", "unknown Slurm option 'partitio': did you mean partition"),
        ("gpu", "'gpu' is not of this form"),
        ("partition=", "'partition=' is not of this form"),
        ("nodes=two", "Slurm option nodes must be a whole number, not 'two'"),
        ("use_srun=1", "unknown Slurm option 'use_srun'"),
    ],
)
def test_invalid_options_are_one_line(text: str, line: str) -> None:
    with pytest.raises(ConfigError) as error:
        slurm_options(text)
    assert line in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_without_submitit_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ConfigError, match="pip install submitit"):
        slurm_options("")


def test_without_slurm_its_commands_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="not found: sbatch, squeue, srun"):
        Slurm(Toy().command, tmp_path, {})
    assert Slurm(Toy().command, tmp_path, {}, require_installed=False).jobs > 100  # a dry run needs no Slurm


@pytest.mark.parametrize(("name", "value"), [("jobs", 0), ("threads", 0), ("retries", -1)])
def test_numbers_that_cannot_be(name: str, value: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"--{name} must"):
        Slurm(Toy().command, tmp_path, {}, require_installed=False, **{name: value})


def test_the_batch_file_of_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """sbatch gets our options, one process and no requeueing; the job id is read from its output."""
    (tmp_path / "sbatch").write_text('#!/bin/sh\ncp "$1" "$SEEN"\necho Submitted batch job 77\n')
    for name in ("sbatch", "squeue", "srun"):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SEEN", str(tmp_path / "seen.sh"))
    out = tmp_path / "my experiment"
    folder = out / "seed-1/winning/round-02"
    options = with_cpus(slurm_options("partition=gpu,gpus_per_node=8,nodes=2"), 1, 3)
    slurm = Slurm(Toy().command, out, options)
    assert slurm.description() == (
        "each job: cpus_per_task=24, gpus_per_node=8, nodes=2, partition=gpu, timeout_min=1440"
    )
    with FolderLock(out) as lock:
        job = slurm.start(Run(1, "winning", 2), folder, lock)
    text = (tmp_path / "seen.sh").read_text()
    for line in ("partition=gpu", "gpus-per-node=8", "nodes=2", "cpus-per-task=24", "time=1440", "no-requeue"):
        assert f"#SBATCH --{line}\n" in text
    submitted = read_json(folder / paths.JOB)
    assert f"#SBATCH --job-name={submitted['name']}\n" in text
    assert submitted["name"] == f"lottery-my-experiment-seed-1-winning-round-2-{submitted['token']}"
    assert "srun" not in text
    assert job.number == "77"


def test_options_as_slurm_gets_them(tmp_path: Path) -> None:
    options = slurm_options("exclusive,account=0042,gpus_per_node=a100:8,mem_gb=7.5")
    slurm = Slurm(lambda run, folder: [], tmp_path, options, require_installed=False)
    with_name = slurm._executor("lottery-x").parameters
    assert (with_name["exclusive"], with_name["account"]) == (True, "0042")
    assert (with_name["gpus_per_node"], with_name["mem"]) == ("a100:8", "7680MB")


def test_a_folder_where_a_job_trains_is_not_taken_by_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is given again without --executor slurm, while its jobs go on."""
    name = f"lottery-x-1-{TOKEN}"
    squeue, local = tmp_path / "squeue", Processes(lambda run, folder: [])
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    write_json(tmp_path / paths.JOB, {"token": TOKEN, "name": name})
    for answer, said in (
        (f"echo '{name}|RUNNING|8'", f"job 8 .*running.*scancel --name {name}"),
        ("exit 1", "may still be"),
    ):
        squeue.write_text(f"#!/bin/sh\n{answer}\n")
        squeue.chmod(0o755)
        with pytest.raises(RunError, match=said):
            local.adopt(Run(1, "winning", 1), tmp_path)
    squeue.write_text("#!/bin/sh\n")  # the job has vanished
    local.adopt(Run(1, "winning", 1), tmp_path)
    squeue.write_text("#!/bin/sh\nexit 1\n")
    write_json(tmp_path / paths.JOB_END, {"token": TOKEN, "code": 1})
    local.adopt(Run(1, "winning", 1), tmp_path)


def test_the_queue_as_squeue_lists_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\nprintf 'a|b-c|PENDING|7\\nother|RUNNING|8\\n'\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    queue = Queue()
    assert [queue.state(name) for name in ("a|b-c", "other", "nobody's")] == ["PENDING", "RUNNING", None]
    assert queue.number("other") == "8"
    squeue.write_text("#!/bin/sh\nexit 1\n")  # the controller is unreachable: the last known state stays
    assert queue.state("other", now=True) == "RUNNING"
    squeue.write_text("#!/bin/sh\n")
    assert queue.state("other") == "RUNNING"  # not refreshed within seconds
    assert queue.state("other", now=True) is None


def test_a_controller_that_does_not_answer_is_not_asked_by_every_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is a job of an earlier command given up, which may still be running."""
    asked = tmp_path / "asked"
    (tmp_path / "squeue").write_text(f"#!/bin/sh\necho once >> {asked}\nexit 1\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    queue = Queue()
    for _ in range(20):
        assert [queue.state(name) for name in "abc"] == [None] * 3
    assert asked.read_text().count("once") == 1
    slurm = Slurm(Toy().command, tmp_path, {}, require_installed=False)
    for index in range(5):
        folder = tmp_path / str(index)
        folder.mkdir()
        write_json(folder / paths.JOB, {"token": TOKEN, "name": f"lottery-x-{index}-{TOKEN}"})
        said = rf"squeue does not answer \(.*exit status 1.*\), and lottery-x-{index}-{TOKEN} may still"
        with pytest.raises(RunError, match=said):
            slurm.adopt(dense(1), folder)
    assert asked.read_text().count("once") == 2
    (tmp_path / "squeue").write_text(f"#!/bin/sh\nprintf 'lottery-x-3-{TOKEN}|RUNNING|8\\n'\n")
    slurm.queue.state("", now=True)
    adopted = [slurm.adopt(dense(1), tmp_path / str(index)) is not None for index in range(5)]
    assert adopted == [False, False, False, True, False]


def test_scontrol_is_asked_once_a_look_at_the_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = tmp_path / "asked"
    for name, answer in (("squeue", ""), ("scontrol", f"echo once >> {asked}; echo JobState=COMPLETED")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{answer}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    submitted = Job(Queue(), tmp_path, "abc", "lottery-x-abc", "7")
    assert not any(submitted.finished() for _ in range(10))
    assert asked.read_text().count("once") == 1


@pytest.mark.parametrize(
    ("squeue", "scontrol"), [("exit 1", "echo"), ("exit 1", "echo JobState=RUNNING"), ("", "echo JobState=PENDING")]
)
def test_a_job_that_lives_or_of_which_nothing_is_known_is_not_lost(
    squeue: str, scontrol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was submitted after squeue had answered last."""
    for name, answer in (("squeue", squeue), ("scontrol", scontrol)):
        (tmp_path / name).write_text(f"#!/bin/sh\n{answer}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    submitted = Job(Queue(), tmp_path, "abc", "lottery-x-abc", "7")
    monkeypatch.setattr(submitted, "grace", 0.0)
    assert not any(submitted.finished() for _ in range(3))


def test_only_queued_and_successful_jobs_are_adopted(tmp_path: Path) -> None:
    slurm = Slurm(Toy().command, tmp_path, {}, require_installed=False)
    write_json(tmp_path / paths.JOB, {"token": TOKEN, "name": f"lottery-x-{TOKEN}"})
    for code, state, adopted in (
        (None, "RUNNING", True),
        (None, None, False),
        (0, None, True),
        (1, "COMPLETING", False),
    ):
        slurm.queue = FakeQueue(state)
        if code is not None:
            write_json(tmp_path / paths.JOB_END, {"token": TOKEN, "code": code})
        assert (slurm.adopt(dense(1), tmp_path) is not None) == adopted
    (tmp_path / paths.JOB).write_text("{")
    assert slurm.adopt(dense(1), tmp_path) is None


def test_a_job_of_another_name_is_not_taken_for_a_run_and_cancelled(tmp_path: Path) -> None:
    slurm = Slurm(Toy().command, tmp_path, {}, require_installed=False)
    slurm.queue = FakeQueue("RUNNING")
    for name in ("jupyter", f"lottery-x-{TOKEN}\n", "lottery-x-*", f"lottery-{TOKEN}"):
        write_json(tmp_path / paths.JOB, {"token": TOKEN, "name": name})
        assert slurm.adopt(dense(1), tmp_path) is None


def job(folder: Path, *answers: str | None) -> Job:
    submitted = Job(FakeQueue(*answers), folder, "abc", "lottery-x-abc", "7")
    submitted.queue.patience = 2
    return submitted


def test_a_job_that_succeeds(tmp_path: Path) -> None:
    submitted = job(tmp_path, "PENDING", "PENDING", "RUNNING", "RUNNING", "RUNNING")
    assert not submitted.finished()
    assert submitted.progress() == {"text": "pending as job 7"}
    assert not submitted.finished()
    write_json(tmp_path / "progress.json", {"text": "epoch 3"})
    assert submitted.progress() == {"text": "epoch 3"}
    write_json(tmp_path / paths.JOB_END, {"token": "another", "code": 0})
    assert not submitted.finished()
    write_json(tmp_path / paths.JOB_END, {"token": "abc", "code": 0})
    assert submitted.finished()


@pytest.mark.parametrize(("code", "kind"), [(1, LostError), (-9, LostError), (2, RunError)])
def test_a_job_that_fails_names_its_log(code: int, kind: type[Exception], tmp_path: Path) -> None:
    (tmp_path / paths.LOG).write_text("first\nit went wrong\n")
    write_json(tmp_path / paths.JOB_END, {"token": "abc", "code": code})
    with pytest.raises(RunError, match="it went wrong") as error:
        job(tmp_path, "COMPLETING").finished()
    assert type(error.value) is kind
    assert error.value.status == (2 if code == 2 else 1)


def test_a_job_that_vanishes_is_lost_after_a_grace_for_slow_file_systems(tmp_path: Path) -> None:
    submitted = job(tmp_path, "RUNNING", None)
    assert not submitted.finished()
    assert not submitted.finished()
    submitted.grace = 0.0
    with pytest.raises(LostError, match="is gone from the queue"):
        submitted.finished()


def test_a_job_that_could_not_start_quotes_submitits_log(tmp_path: Path) -> None:
    """If its node has another environment, say, the reason is only in submitit's log."""
    log = tmp_path / "7_0_log.err"
    log.write_text("Traceback ...\nModuleNotFoundError: No module named 'lottery_core'\n")
    submitted = job(tmp_path, None)
    submitted.grace = 0.0
    with pytest.raises(LostError) as error:
        submitted.finished()
    line = f"job 7 is gone from the queue (ModuleNotFoundError: No module named 'lottery_core', see {log})"
    assert str(error.value) == line


def test_a_clock_that_jumps_loses_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted = job(tmp_path, None)
    assert not submitted.finished()
    monkeypatch.setattr("time.time", lambda: 4e9)
    assert not submitted.finished()


def test_work_writes_its_exit_status_last(tmp_path: Path) -> None:
    write_json(tmp_path / paths.JOB, {"token": "abc", "name": "x"})
    command = [sys.executable, "-c", "import os; print(os.environ['OMP_NUM_THREADS']); raise SystemExit(3)"]
    assert Work(command, tmp_path, "abc", 2)() == 3
    assert read_json(tmp_path / paths.JOB_END) == {"token": "abc", "code": 3}
    assert (tmp_path / paths.LOG).read_text().splitlines()[-1] == "2"
    before = (tmp_path / paths.LOG).read_text()
    assert Work(["no such command"], tmp_path, "abc", 1)() == 2
    assert "cannot start no such command" in (tmp_path / paths.LOG).read_text()
    assert (tmp_path / paths.LOG).read_text().startswith(before)
    for words, code in ((["no such caf\udce9"], 2), (["test", "-n", "caf\udce9"], 0)):  # a path that is no text
        assert Work(words, tmp_path, "abc", 1)() == code
    assert "cannot start no such caf?" in (tmp_path / paths.LOG).read_text()


def test_the_work_of_a_replaced_job_does_nothing(tmp_path: Path) -> None:
    write_json(tmp_path / paths.JOB, {"token": "later", "name": "x"})
    assert Work([sys.executable, "-c", "open('ran', 'w')"], tmp_path, "abc", 1)() == 0
    assert [path.name for path in tmp_path.iterdir()] == [paths.JOB]


def test_a_node_that_lacks_a_package_says_so(tmp_path: Path) -> None:
    write_json(tmp_path / paths.JOB, {"token": "abc", "name": "x"})
    command = [sys.executable, "-c", "import sys; sys.modules['sb3_contrib'] = None; import sb3_contrib"]
    assert Work(command, tmp_path, "abc", 1)() == 1
    with pytest.raises(LostError, match="sb3_contrib"):
        job(tmp_path, "RUNNING").finished()


class Cluster(Here):
    """Trains in this process; loses its first ``losses`` jobs, and may find one left by an earlier command."""

    retries = 2

    def __init__(self, out: Path, losses: int = 0, left: Any = None) -> None:
        super().__init__(out)
        self.losses, self.left = losses, left

    def start(self, run: Run, folder: Path, lock: FolderLock) -> Any:
        if run == Run(1, "winning", 1) and self.losses:
            self.losses -= 1
            lost = job(folder, None)
            lost.grace = 0.0
            return lost
        return super().start(run, folder, lock)

    def adopt(self, run: Run, folder: Path) -> Any:
        adopted, self.left = (self.left, None) if run == Run(1, "winning", 1) else (None, self.left)
        return adopted


def run(cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    done = experiment(cluster.out, kinds=("winning",), rounds=2)
    try:
        Runner(done, Toy(), cluster, Progress()).run()
    finally:
        printed = capsys.readouterr().err
    return printed


def test_a_lost_run_is_started_again_a_bounded_number_of_times(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = run(Cluster(tmp_path / "a", losses=2), tmp_path, capsys)
    assert "started again (1 of 2)" in printed
    assert "started again (2 of 2)" in printed
    run(Cluster(tmp_path / "undisturbed"), tmp_path, capsys)
    rows = [[(row.run, row.ticket, row.score) for row in read_rows(tmp_path / name)] for name in ("a", "undisturbed")]
    assert rows[0] == rows[1]
    with pytest.raises(RunError, match=r"seed 1 winning round 1 failed: job 7 is gone .*1 could not start"):
        run(Cluster(tmp_path / "b", losses=3), tmp_path, capsys)
    text = render("b", states(experiment(tmp_path / "b", kinds=("winning",), rounds=2), FakeQueue(None).state))
    assert text.splitlines()[0] == "b: 1 done, 1 failed, 1 waiting, of 3 runs"
    assert "failed   seed 1 winning round 1  job 7 is gone from the queue" in text
    assert "rerun the original command to resume" in text


def test_a_job_left_by_an_earlier_command_is_not_started_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a"
    with pytest.raises(KeyboardInterrupt):
        run(Interrupted(out), tmp_path, capsys)
    left = job(out / "seed-1/winning/round-01", "RUNNING")
    Here(out).start(Run(1, "winning", 1), left.folder, None)  # type: ignore[arg-type]
    write_json(left.folder / paths.JOB_END, {"token": "abc", "code": 0})
    cluster = Cluster(out, left=left)
    assert "continues in the job that an earlier command submitted" in run(cluster, tmp_path, capsys)
    assert cluster.trained == [Run(1, "winning", 2)]


def test_a_job_left_with_another_ticket_is_ended_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a"
    left = job(out / "seed-1/winning/round-01", "RUNNING")
    cluster = Cluster(out, left=left)
    run(cluster, tmp_path, capsys)
    assert left.queue.cancelled == ["lottery-x-abc"]  # type: ignore[attr-defined]
    assert Run(1, "winning", 1) in cluster.trained


class Interrupted(Cluster):
    """The user presses Ctrl-C while the first ticket trains as a job."""

    def start(self, run: Run, folder: Path, lock: FolderLock) -> Any:
        if run == dense(1):
            return super().start(run, folder, lock)
        waits = job(folder, "RUNNING")
        waits.finished = lambda: (_ for _ in ()).throw(KeyboardInterrupt())  # type: ignore[method-assign]
        return waits


def test_ctrl_c_leaves_jobs_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a"
    done = experiment(out, kinds=("winning",), rounds=2)
    with pytest.raises(KeyboardInterrupt):
        Runner(done, Toy(), Interrupted(out), Progress()).run()
    printed = capsys.readouterr().err
    assert f"job 7 ({out / 'seed-1/winning/round-01'}) keeps running" in printed
    assert "rerun the same command to find them again" in printed
    write_json(out / "seed-1/winning/round-01" / paths.JOB, {"token": "abc", "name": "x"})
    for state, word in (("PENDING", "queued"), ("RUNNING", "running"), (None, "stopped")):
        by_run = {entry.run: entry for entry in states(done, lambda _, state=state: state)}
        assert by_run[Run(1, "winning", 1)].word == word
    assert by_run[Run(1, "winning", 2)].text == "for seed 1 winning round 1"


def test_status_of_a_command_at_work(tmp_path: Path) -> None:
    done = experiment(tmp_path, kinds=("winning",), rounds=2)
    Runner(experiment(tmp_path, kinds=("winning",), rounds=1), Toy(), Here(tmp_path), Progress(quiet=True)).run()
    folder = tmp_path / "seed-1/winning/round-02"
    write_json(folder / "started.json", {})
    write_json(folder / "progress.json", {"text": "epoch 3"})
    with FolderLock(tmp_path):
        text = render("x", states(done, FakeQueue(None).state))
    assert text.splitlines()[0] == "x: 2 done, 1 running, of 3 runs"
    assert "running  seed 1 winning round 2  epoch 3" in text
    assert "about 0 s left, with 1 at a time" in text
    text = render("x", states(done, FakeQueue(None).state), everything=True)
    assert "stopped  seed 1 winning round 2  epoch 3" in text
    assert "done     seed 1 dense            pruned 0.0%, surviving 100.0%, score" in text


def test_the_command_status(tmp_path: Path) -> None:
    Runner(experiment(tmp_path, rounds=1), Toy(), Here(tmp_path), Progress(quiet=True)).run()
    command = [sys.executable, "-m", "lottery_core.cli", "status"]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path}: 3 done, of 3 runs\n"
    refused = subprocess.run([*command, str(tmp_path / "x")], capture_output=True, text=True, check=False)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert "holds no experiment" in refused.stderr


def test_the_state_of_a_job_is_unknown_where_squeue_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a machine that only sees the cluster's files; nobody is to start the run a second time."""
    begun = experiment(tmp_path / "x", kinds=("winning",), rounds=1)
    Runner(begun, Toy(), Here(begun.out), Progress(quiet=True)).run()
    folder = begun.out / Run(1, "winning", 1).folder
    (folder / paths.MARKER).unlink()
    write_json(folder / paths.JOB, {"token": TOKEN, "name": f"lottery-x-{TOKEN}"})
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["status", str(tmp_path / "x")]) == 0
    said = capsys.readouterr().out
    assert "queued   seed 1 winning round 1  unknown, squeue does not answer" in said
    assert "rerun the original command" not in said
