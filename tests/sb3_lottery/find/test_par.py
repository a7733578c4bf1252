"""``find_tickets`` can do what the command can: processes, callbacks, evaluations, play and inputs, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3.common.callbacks import BaseCallback, StopTrainingOnMaxEpisodes

from lottery_core.errors import ConfigError
from sb3_lottery import find_tickets
from sb3_lottery.cli.command import main
from sb3_lottery.find.references import function_named, reference_to
from tests import preloaded
from tests.sb3_lottery.find.test_find_tickets import SMALL, make_model

ROOT = Path(__file__).parents[3]
ONE = {**SMALL, "rounds": 1, "rewind": "timesteps:64"}


class Marks(BaseCallback):
    """Leaves a file a run, named by its seed."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        with open(Path(os.environ["MARKS"]) / str(self.seed), "a") as file:
            file.write(f"{self.num_timesteps}\n")


def marks(seed: int) -> list[BaseCallback]:
    return [Marks(seed)]


def test_processes_side_by_side_give_the_same_tickets_and_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKS", str(tmp_path))
    options = {**ONE, "eval_episodes": 2, "callbacks": marks}
    found = [find_tickets(make_model, tmp_path / f"jobs-{jobs}", jobs=jobs, **options) for jobs in (1, 2)]
    for row, other in zip(found[0].rows, found[1].rows, strict=True):
        assert (row.run, row.score, row.ticket, row.eval_score) == (
            other.run,
            other.score,
            other.ticket,
            other.eval_score,
        )
    assert (tmp_path / "1").read_text() == "256\n" * 6
    assert "mean return of 2 fresh episodes" in str(found[0])


def test_a_function_that_another_process_cannot_import(tmp_path: Path) -> None:
    for function in (lambda seed: make_model(seed), test_lambda := _local()):
        with pytest.raises(
            ConfigError,
            match=r"with jobs=, other processes must .* make_model, and it is a local function: define it at the top",
        ):
            find_tickets(function, tmp_path / "x", jobs=2, **ONE)
    assert test_lambda is not None
    with pytest.raises(ConfigError, match="jobs must be at least 1, not 0"):
        find_tickets(make_model, tmp_path / "x", jobs=0, **ONE)
    assert not (tmp_path / "x").exists()


def _local():
    def function(seed: int):
        return make_model(seed)

    return function


def test_a_function_of_the_script(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "from sb3_lottery import find_tickets\nfrom tests.sb3_lottery.helpers import make\n"
        "def make_model(seed):\n    return make('ppo', seed)\n"
        "find_tickets(make_model, 'x', total_timesteps=64, rounds=0, jobs=2)\n"
    )
    done = _script(tmp_path)
    assert "is defined in the script itself: define it at the top level of a module" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "x").exists()


def _script(folder: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), preloaded.PARENT: "sb3"}
    return subprocess.run(
        [sys.executable, "script.py"], cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=900
    )


def test_references() -> None:
    name, place = reference_to(make_model, "make_model")
    assert name == "tests.sb3_lottery.find.test_find_tickets:make_model"
    assert Path(place) == ROOT
    assert function_named(name, "--make-model") is make_model
    for bad, words in (
        ("make_model", "the form is MODULE:FUNCTION"),
        ("my_modelz:make", "run the command in the folder of my_modelz.py"),
        ("tests.sb3_lottery.helpers:nothing", "has no attribute 'nothing'"),
        ("tests.sb3_lottery.helpers:SMALL", "is not a function"),
    ):
        with pytest.raises(ConfigError, match=words):
            function_named(bad, "--make-model")


def test_the_module_of_the_script_comes_before_another_of_its_name(tmp_path: Path) -> None:
    for name, units in (("mine", 5), ("elsewhere", 6)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "models.py").write_text(
            "from tests.sb3_lottery.helpers import make\n"
            f"def make_model(seed):\n    return make('ppo', seed, net_arch=[{units}])\n"
        )
    (tmp_path / "mine/script.py").write_text(
        "from models import make_model\nfrom sb3_lottery import find_tickets\n"
        "if __name__ == '__main__':\n"
        "    find_tickets(make_model, 'x', total_timesteps=64, rounds=0, jobs=2, seeds=[1, 2], progress=False)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "LOTTERY_TEST_PARENT": "sb3"}
    done = subprocess.run(
        [sys.executable, "../mine/script.py"],
        cwd=tmp_path / "elsewhere", env=env, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for seed in (1, 2):
        zipped = zipfile.ZipFile(tmp_path / f"elsewhere/x/seed-{seed}/dense/model.zip")
        assert json.loads(zipped.read("data"))["policy_kwargs"]["net_arch"] == [5]


def test_a_module_that_cannot_be_imported_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name, code, words in (
        ("broken_a", "raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("broken_b", "def", "SyntaxError: "),
        ("broken_c", "from json import nothing_like_it", "ImportError: cannot import name"),
    ):
        (tmp_path / f"{name}.py").write_text(code + "\n")
        with pytest.raises(ConfigError, match=f"--make-model {name}:make: {words}") as caught:
            function_named(f"{name}:make", "--make-model")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("callbacks", "words"),
    [
        ([StopTrainingOnMaxEpisodes(9)], "callbacks must be a function that makes new ones from a seed, not list"),
        (StopTrainingOnMaxEpisodes(9), "callbacks must be a function .* not StopTrainingOnMaxEpisodes"),
        (lambda: None, "callbacks takes the seed as its only argument"),
        (lambda seed: print, "callbacks must return Stable-Baselines3 callbacks for a seed, not builtin_function"),
    ],
)
def test_what_makes_no_callbacks_is_one_line(callbacks: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        find_tickets(make_model, tmp_path / "x", callbacks=callbacks, **ONE)
    assert not (tmp_path / "x").exists()


def test_callbacks_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="callbacks must return Stable-Baselines3 callbacks for a seed, not int"):
        find_tickets(make_model, tmp_path / "x", callbacks=lambda seed: [seed], **ONE)  # type: ignore[arg-type]
    assert not (tmp_path / "x").exists()


def test_an_ending_that_is_no_picture(tmp_path: Path) -> None:
    found = find_tickets(make_model, tmp_path / "x", **{**ONE, "rounds": 0})
    for name in ("curve.doc", "curve", "curve.png.txt"):
        with pytest.raises(ConfigError, match=r"a picture must end in \.png, \.pdf, \.svg"):
            found.plot(tmp_path / name)


def test_ctrl_c_is_one_line_and_no_traceback_through_this_project(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "from pathlib import Path\nfrom sb3_lottery import find_tickets\nfrom stable_baselines3.common.callbacks import"
        " BaseCallback\nfrom tests.sb3_lottery.helpers import make\n"
        "class Begun(BaseCallback):\n    def _on_step(self):\n        Path('begun').touch()\n        return True\n"
        "def make_model(seed):\n    return make('ppo', seed)\n"
        "find_tickets(make_model, 'x', total_timesteps=10**7, rounds=0, callbacks=lambda seed: [Begun()])\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), preloaded.PARENT: "sb3"}
    with subprocess.Popen(
        [sys.executable, "script.py"], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True
    ) as process:
        for _ in range(90000):
            if (tmp_path / "begun").exists():
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=900)
    assert process.returncode != 0
    assert err.count("find_tickets: stopped; call it again to resume") == 1
    files = [line.split('"')[1] for line in err.splitlines() if line.startswith("  File ")]
    assert [Path(file).name for file in files] == ["script.py", "find_tickets.py"], err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("found") / "x"
    find_tickets(make_model, out, **ONE)
    return out


REFERENCE = "tests.sb3_lottery.find.test_find_tickets:make_model"


def test_a_folder_of_find_tickets_plays(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("imageio.v2", reason="videos need imageio")
    video = tmp_path / "a.gif"
    assert main(["play", str(folder), "--make-model", REFERENCE, "-o", str(video)]) == 0
    assert "seed 1 winning round 1: return " in capsys.readouterr().out
    assert video.stat().st_size > 1000


def test_a_folder_of_find_tickets_has_inputs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inputs", str(folder), "--make-model", REFERENCE]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("cart position")


@pytest.mark.parametrize("command", ["play", "inputs"])
def test_without_the_function_the_line_says_how(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, str(folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is an experiment of find_tickets: name the function that makes its model, --make-model MODULE:FUNC" in line
    assert main([command, str(folder), "--make-model", "tests.sb3_lottery.find.test_par:dqn"]) == 2
    assert "makes DQN, but the experiment trained PPO" in capsys.readouterr().err


def dqn(seed: int):
    from tests.sb3_lottery.helpers import make

    return make("dqn", seed)
