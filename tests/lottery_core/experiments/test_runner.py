"""The paper's procedure, on a toy framework: in this process and with real processes."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lottery_core import KINDS, Ticket, Weights, schedule
from lottery_core.errors import ConfigError, RunError
from lottery_core.experiments import paths, progress
from lottery_core.experiments.configuration import Experiment
from lottery_core.experiments.executors.local import Processes
from lottery_core.experiments.graph.plan import Run, dense
from lottery_core.experiments.progress import Progress, current_seconds, duration, seconds_left
from lottery_core.experiments.results import read_rows
from lottery_core.experiments.runner import Runner, commands
from lottery_core.files import FolderLock
from lottery_core.pruning import TRANSFERS
from lottery_core.reports.report import report
from tests import preloaded
from tests.lottery_core.toy import Here, Toy, experiment

DRIVER = """
import sys; from pathlib import Path
from lottery_core.cli import run_command; from lottery_core.experiments.executors.local import Processes
from lottery_core.experiments.progress import Progress; from lottery_core.experiments.runner import Runner
from tests.lottery_core.toy import Toy, experiment
exp = experiment(Path(sys.argv[1]), rounds=2, kinds=("winning",))
run = lambda: Runner(exp, Toy(), Processes(Toy().command, jobs=2), Progress()).run() and None
sys.exit(run_command(run, "driver"))
"""


def quiet() -> Progress:
    return Progress(io.StringIO())


def here(out: Path, **changes) -> tuple[list, list[Run]]:
    found = experiment(out, **changes)
    executor = Here(out)
    return Runner(found, Toy(), executor, quiet()).run(), executor.trained


def tickets(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob(paths.TICKET))}


def scores(out: Path) -> dict[Run, float]:
    return {row.run: row.score for row in read_rows(out)}


def test_the_whole_procedure_with_every_kind(tmp_path: Path) -> None:
    kinds = [kind for kind in KINDS if kind not in TRANSFERS]
    rows, trained = here(tmp_path, kinds=kinds)
    draws = 1 + 2 + 3  # of random-best, more than one a round
    assert len(rows) == 2 + 3 * (len(kinds) - 1) + draws  # rewound-dense is one run
    assert {row.run for row in rows} - set(trained) == {Run(1, "one-shot", 1)}  # the same ticket as winning
    counts = schedule(386, 0.5, 3)
    for row in rows:
        assert (row.pool, row.surviving, row.pruned) == (386, counts[row.round], 386 - counts[row.round])
        assert row.pruned_fraction == pytest.approx(1 - row.surviving_fraction)
    winning = [Ticket.load(tmp_path / Run(1, "winning", k).folder / paths.TICKET) for k in (1, 2, 3)]
    assert winning[1].origin.parent == winning[0].digest
    assert winning[1].masks.subset_of(winning[0].masks)
    rewound = Ticket.load(tmp_path / Run(1, "rewound-dense", 0).folder / paths.TICKET)
    assert rewound.masks.surviving == 386
    rewind = Weights.load(tmp_path / dense(1).folder / paths.REWIND)
    assert all(torch.equal(rewound.weights[name], rewind.tensors[name]) for name in rewound.masks)
    one_shot = Ticket.load(tmp_path / Run(1, "one-shot", 2).folder / paths.TICKET)
    assert one_shot.origin.parent is None
    assert one_shot.origin.round == 2
    assert one_shot.masks != winning[1].masks
    reset = Ticket.load(tmp_path / Run(1, "no-rewind", 1).folder / paths.TICKET)
    assert reset.masks == winning[0].masks
    assert reset.origin.rewind == "init"
    assert not torch.equal(reset.weights["0.weight"], winning[0].weights["0.weight"])
    text = (tmp_path / "results.csv").read_text().splitlines()
    assert len(text) == 1 + len(rows)
    assert text[0].startswith("experiment,seed,kind,round,pool,pruned,surviving,pruned_fraction")


def test_processes_side_by_side_give_the_same_tickets_and_scores(tmp_path: Path) -> None:
    here(tmp_path / "one", rounds=1)
    out = tmp_path / "three"
    Runner(experiment(out, rounds=1), Toy(), Processes(Toy().command, jobs=3), quiet()).run()
    assert tickets(out) == tickets(tmp_path / "one")
    assert scores(out) == scores(tmp_path / "one")


def test_finished_runs_are_not_repeated_and_later_ones_reuse_them(tmp_path: Path) -> None:
    assert len(here(tmp_path)[1]) == 7
    assert here(tmp_path)[1] == []
    assert here(tmp_path, kinds=("winning", "random", "reinit"))[1] == [Run(1, "reinit", k) for k in (1, 2, 3)]
    assert here(tmp_path, rounds=4)[1] == [Run(1, "winning", 4), Run(1, "random", 4)]
    assert {run.seed for run in here(tmp_path, seeds=(1, 2))[1]} == {2}
    kept = json.loads((tmp_path / "experiment.json").read_text())
    assert kept["kinds"] == ["winning", "random", "reinit"]
    assert (kept["rounds"], kept["seeds"]) == (4, [1, 2])


def test_a_changed_configuration_is_refused_with_the_difference(tmp_path: Path) -> None:
    here(tmp_path, rounds=1)
    before = (tmp_path / "experiment.json").read_bytes()
    with pytest.raises(ConfigError, match=r"prune_rate: 0\.5 -> 0\.2; settings\.lr: 0\.01 -> 0\.02\)"):
        here(tmp_path, prune_rate=0.2, settings={"lr": 0.02, "steps": 20})
    assert (tmp_path / "experiment.json").read_bytes() == before


def test_a_failed_run_names_its_log_and_the_others_are_still_done(tmp_path: Path) -> None:
    broken = {"lr": 0.01, "steps": 20, "fail": "seed-1/random/round-01"}
    found = experiment(tmp_path, settings=broken, rounds=1)
    with pytest.raises(
        RunError, match=r"seed 1 random round 1 failed: .*the toy is broken \(exit 1, see .*train.log\)"
    ):
        Runner(found, Toy(), Processes(Toy().command, jobs=2), quiet()).run()
    assert {row.kind for row in read_rows(tmp_path)} == {"dense", "winning"}
    assert not (tmp_path / "seed-1/random/round-01/result.json").exists()


def test_nan_weights_stop_the_chain_by_name(tmp_path: Path) -> None:
    broken = {"lr": 0.01, "steps": 20, "nan": "seed-1/winning/round-01"}
    with pytest.raises(RunError, match=r"winning round 2 failed: cannot prune: \d+ weights of '0.bias' are NaN"):
        here(tmp_path, settings=broken, kinds=("winning",))
    assert len(read_rows(tmp_path)) == 2


def test_rows_of_another_configuration_are_not_mixed_in(tmp_path: Path) -> None:
    here(tmp_path, rounds=2)
    (tmp_path / "experiment.json").unlink()  # past the refusal
    rows, _ = here(tmp_path, rounds=1, prune_rate=0.3)
    assert [row.surviving for row in rows] == [386, 270, 270]
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 4


def test_other_versions_than_before_are_told(tmp_path: Path) -> None:
    here(tmp_path, rounds=1, versions={"torch": "1.0"})
    stream = io.StringIO()
    Runner(experiment(tmp_path, rounds=1, versions={"torch": "2.0"}), Toy(), Here(tmp_path), Progress(stream)).run()
    assert "WARNING: other versions than before, so the bits may differ: torch: 1.0 -> 2.0" in stream.getvalue()


def test_logs_get_longer_and_are_not_overwritten(tmp_path: Path) -> None:
    found = experiment(tmp_path, rounds=0, kinds=("winning",))
    Runner(found, Toy(), Processes(Toy().command, jobs=2), quiet()).run()
    log, marker = (tmp_path / dense(1).folder / name for name in ("train.log", "result.json"))
    before = log.read_text()
    marker.unlink()
    Runner(found, Toy(), Processes(Toy().command), quiet()).run()
    assert log.read_text().startswith(before)
    assert log.read_text().count("tests.lottery_core.toy") == 2


def start(out: Path, sleep: float) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOY_SLEEP": str(sleep), preloaded.PARENT: "core"}
    command = [sys.executable, "-c", DRIVER, str(out)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


def wait_for(condition, seconds: float = 900) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.02)


def test_killed_the_same_command_ends_with_the_same_tickets(tmp_path: Path) -> None:
    here(tmp_path / "calm", rounds=2, kinds=("winning",))
    out = tmp_path / "killed"
    driver = start(out, sleep=0.5)
    wait_for((out / "seed-1/winning/round-01/progress.json").exists)
    driver.kill()
    driver.wait()
    assert not (out / "seed-1/winning/round-01/result.json").exists()
    driver = start(out, sleep=0)
    assert driver.wait(900) == 0, driver.stderr
    assert tickets(out) == tickets(tmp_path / "calm")
    assert scores(out) == scores(tmp_path / "calm")
    assert not list(out.rglob("*.part"))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_stops_the_runs_with_one_line(number: int, status: int, tmp_path: Path) -> None:
    driver = start(tmp_path, sleep=3600)
    wait_for((tmp_path / "seed-1/dense/progress.json").exists)
    driver.send_signal(number)
    assert driver.wait(900) == status
    assert driver.stderr is not None
    assert driver.stderr.read().splitlines()[-1] == "driver: stopped; rerun the same command to resume"
    with FolderLock(tmp_path, patience=0):  # its trainings are gone too
        pass


def test_a_dry_run_names_each_run_its_folder_and_its_command(tmp_path: Path) -> None:
    plan = list(commands(experiment(tmp_path), Toy()))
    assert len(plan) == 7
    run, folder, command = plan[1]
    assert (run, folder) == (Run(1, "winning", 1), tmp_path / "seed-1/winning/round-01")
    assert command[-1] == str(folder)
    assert not (tmp_path / "experiment.json").exists()


def test_the_dense_run_first_and_its_tickets_later(tmp_path: Path) -> None:
    first = Runner(experiment(tmp_path, rounds=0), Toy(), Here(tmp_path), Progress(io.StringIO())).run()
    assert [row.run for row in first] == [dense(1)]
    assert not (tmp_path / "seed-1/winning").exists()
    report([tmp_path])
    stream = io.StringIO()
    rows = Runner(experiment(tmp_path), Toy(), Here(tmp_path), Progress(stream)).run()
    assert stream.getvalue().startswith("1 of 7 runs are done already")
    assert rows[0] == first[0]
    assert len(rows) == 7


def test_progress_counts_runs_and_tells_the_time_left(tmp_path: Path) -> None:
    stream = io.StringIO()
    Runner(experiment(tmp_path, rounds=1), Toy(), Here(tmp_path), Progress(stream)).run()
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("3 runs, 1 seed x (dense + 2 kinds x 1 round): how long they take is told once")
    assert lines[1] == "[0/3] seed 1 dense: started"
    assert lines[2].startswith("[1/3] seed 1 dense: pruned 0.0%, surviving 100.0%, score ")
    assert lines[2].endswith("left")
    assert lines[-1].startswith("[3/3] seed 1 random round 1: pruned 50.0%, surviving 50.0%, score ")
    assert "\x1b" not in stream.getvalue()
    assert [duration(s) for s in (5, 89, 600, 11100)] == ["5 s", "89 s", "10 min", "3 h 05 min"]


def test_a_terminal_gets_one_status_line(tmp_path: Path) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    shown = Progress(stream)
    shown.begin([dense(1)], [], 1)
    stream.truncate(0)
    stream.seek(0)
    shown.status([(dense(1), lambda: {"text": "epoch 3/20, score 21"})])
    assert stream.getvalue() == "\r\x1b[K[0/1] seed 1 dense: epoch 3/20, score 21"


def test_a_run_that_is_as_long_as_a_search_counts_as_many_trainings(tmp_path: Path) -> None:
    """A random-budget run of round k takes k + 1 trainings."""
    plan = experiment(tmp_path, kinds=("winning", "random-budget"), rounds=20, prune_rate=0.2).plan()
    every = 1 + 20 + sum(range(2, 22))
    assert seconds_left(plan, {"dense": [60.0]}, 1, False) == 60.0 * every
    done = Run(1, "random-budget", 1)
    waiting = [run for run in plan if run != done]
    times = {"dense": [60.0], "winning": [60.0], done.pace: [130.0]}
    found = seconds_left(waiting, current_seconds({done.pace: [130.0]}, times), 1, False)
    assert found == 60.0 * 21 + 65.0 * sum(range(3, 22))
    told = io.StringIO()
    Progress(told, seconds=60.0).begin(waiting, [], 1)
    assert f"about {duration(60.0 * (every - 2))} with 1 at a time (at most, at the measured speed)" in told.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_that_nobody_reads_ends_no_training(
    terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of ``2>&1 | head``, and on a disk that is full for a while."""

    class Broken(io.StringIO):
        def isatty(self) -> bool:
            return terminal

        def write(self, text: str) -> int:
            lines.append(text)
            raise OSError(errno.ENOSPC, "no space") if len(lines) < 3 else BrokenPipeError

    lines: list[str] = []
    monkeypatch.setattr(progress, "HEARTBEAT", 0.0)
    rows = Runner(experiment(tmp_path, rounds=1), Toy(), Here(tmp_path), Progress(Broken())).run()
    assert len(rows) == len(lines) == 3  # nothing is written once the reader has ended


def test_each_process_gets_the_gpu_with_the_fewest(tmp_path: Path) -> None:
    code = "import os, time; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); time.sleep(3600)"
    executor = Processes(lambda run, folder: [sys.executable, "-c", code], jobs=3, gpus=["4", "7"])

    def given(seed: int) -> str:
        return (tmp_path / str(seed) / "train.log").read_text().splitlines()[-1]

    with FolderLock(tmp_path) as lock:
        started = [executor.start(dense(seed), tmp_path / str(seed), lock) for seed in range(3)]
        wait_for(lambda: all(given(seed).isdigit() for seed in range(3)))
        started[1].stop()
        started.append(executor.start(dense(3), tmp_path / "3", lock))
        wait_for(lambda: given(3).isdigit())
        for training in started:
            training.stop()
    assert [given(seed) for seed in range(4)] == ["4", "7", "4", "7"]


@pytest.mark.parametrize("jobs", [0, -1])
def test_no_jobs_is_refused(jobs: int) -> None:
    with pytest.raises(ConfigError, match="--jobs must be at least 1"):
        Processes(Toy().command, jobs=jobs)


def test_a_collapsed_layer_is_told_and_the_run_goes_on(tmp_path: Path) -> None:
    stream = io.StringIO()
    found = experiment(tmp_path, prune_rate=0.9, rounds=2, kinds=("winning",))
    rows = Runner(found, Toy(), Here(tmp_path), Progress(stream)).run()
    assert rows[-1].surviving == 4
    assert "2.weight" in rows[-1].collapsed or "0.weight" in rows[-1].collapsed
    assert f"the layer '{rows[-1].collapsed[0]}' has collapsed" in stream.getvalue()


def test_an_experiment_is_read_back(tmp_path: Path) -> None:
    found = experiment(tmp_path)
    found.write()
    assert Experiment.load(tmp_path).fixed() == found.fixed()
    with pytest.raises(ConfigError, match="holds no experiment"):
        Experiment.load(tmp_path / "nowhere")
    (tmp_path / "experiment.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot read"):
        Experiment.load(tmp_path)
    for other in ("[1]", '{"settings": 3}'):
        (tmp_path / "experiment.json").write_text(other)
        with pytest.raises(ConfigError, match="is not an experiment's configuration"):
            Experiment.load(tmp_path)
