"""A command from a preloaded parent is what a start from nothing would have given."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lottery_core.experiments.executors import die_with
from lottery_core.files import FolderLock
from tests import preloaded
from tests.conftest import wait_until
from tests.preloaded import client

WORDS = [sys.executable, "-m", "tests.preloaded.started"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="parents are for Linux")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that a command runs in, with what its path needs."""
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def environment(**more: str) -> dict[str, str]:
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return {**os.environ, **threads, "PYTHONPATH": str(preloaded.ROOT), **more}


def start(*words: str, status: int = 0, **options: Any) -> tuple[dict[str, Any], str]:
    """What a process says of its start, and what it wrote to standard error."""
    options = {"env": environment(), "capture_output": True, "text": True, **options}
    done = subprocess.run([*WORDS, *words], check=False, **options)
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout), done.stderr


def test_a_fork_sees_what_a_new_process_sees(folder: Path) -> None:
    """Arguments, folder, path, environment, input, open files, parent, session, limits, signals, threads."""
    read, write = os.pipe()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    mask = os.umask(0o027)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**8, before[1]))
    try:
        options: dict[str, Any] = {"cwd": folder, "input": "some words", "pass_fds": [write], "start_new_session": True}
        env = environment(ONE="two\n=ü")
        fork, told = start("3", "ü", "", status=3, env=env, **options)
        real, real_told = start("3", "ü", "", status=3, env={**env, preloaded.REAL: "1"}, **options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        os.umask(mask)
        os.close(read)
        os.close(write)
    for loaded in ("preloaded", "project"):
        assert (fork.pop(loaded), real.pop(loaded)) == (True, False)
    assert fork.pop("pid") != real.pop("pid")
    for one, other in zip(fork.pop("drawn"), real.pop("drawn"), strict=True):
        assert one != other
    del real["environment"][preloaded.REAL]
    for seen in (fork, real):  # torch's compiler sets it when it is loaded, here or there
        seen["environment"].pop("TORCHINDUCTOR_CACHE_DIR", None)
    assert fork == real
    assert real["input"] == "some words"
    assert real["parent"] == os.getpid()
    assert real["leads"] == [True, True]
    assert real["umask"] == 0o027
    assert told == real_told == ""


def test_fairseqs_options_become_the_same_configuration() -> None:
    """Parents keep what Hydra would parse and look up anew: also of words that are no plain ones."""
    code = """
import json, sys
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.options import get_generation_parser, get_training_parser, parse_args_and_arch
from omegaconf import OmegaConf

for words in json.loads(sys.argv[1]):
    for parser in (get_training_parser(), get_training_parser()) if "--arch" in words else (get_generation_parser(),):
        print(OmegaConf.to_yaml(convert_namespace_to_omegaconf(parse_args_and_arch(parser, words))))
print("tests.preloaded.parent" in sys.modules)
"""
    train = ["a folder/{b}", "--arch", "transformer_iwslt_de_en", "--save-dir", "it's [1, 2]", "--lr", "1e-3,2e-3"]
    train += ["--adam-betas", "(0.9, 0.98)", "--optimizer", "adam", "--restore-file", "", "--reset-lr-scheduler"]
    generate = ["data=x", "--path", "a:b c", "--model-overrides", "{'x': [1, 'y']}", "--beam", "3"]
    command = [sys.executable, "-c", code, json.dumps([train, generate])]
    fork, real = (
        subprocess.run(command, capture_output=True, text=True, check=True, env=environment(**env)).stdout.split()
        for env in ({preloaded.PARENT: "fairseq"}, {preloaded.REAL: "1"})
    )
    assert (fork.pop(), real.pop()) == ("True", "False")
    assert fork == real


@pytest.mark.parametrize("name", preloaded.SCRIPTS)
def test_the_scripts_are_forks_too(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an environment, by their path there; not those of another."""
    begin, from_nothing = client._start, list[Path]()

    def start(process: Any, args: list[Path], *more: Any) -> None:
        from_nothing.append(args[0])
        begin(process, args, *more)

    monkeypatch.setattr(client, "_start", start)
    own, other = Path(sys.executable).parent / name, tmp_path / name
    done = subprocess.run([own, "--help"], capture_output=True, text=True, check=True, env=environment())
    assert re.search(f"^(usage: )?{name}|^hydra_train is powered by Hydra", done.stdout, re.MULTILINE)
    assert own not in from_nothing
    with pytest.raises(FileNotFoundError):
        subprocess.run([other, "--help"], check=False)
    assert from_nothing[-1] == other


def test_forks_draw_differently() -> None:
    (first, _), (second, _) = start(), start()
    assert first["preloaded"]
    assert second["preloaded"]
    for one, other in zip(first["drawn"], second["drawn"], strict=True):
        assert one != other


def test_a_forks_own_command_is_a_fork_too() -> None:
    """It is the child of the command that starts it, and leads a session of its own."""
    done = subprocess.run([*WORDS, "nested"], capture_output=True, text=True, check=True, env=environment())
    outer, status, inner = json.loads(done.stdout)
    assert status == 3
    assert inner["preloaded"]
    assert inner["parent"] == outer["pid"]
    assert outer["leads"] == [False, False]
    assert inner["leads"] == [True, True]


@pytest.mark.parametrize(("words", "last"), [("fail", "RuntimeError: on purpose"), ("words", "a last word")])
def test_an_error_ends_like_one(words: str, last: str) -> None:
    seen, errors = start(words, status=1)
    assert seen["preloaded"]
    assert errors.splitlines()[-1] == last


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_a_fork_and_all_that_it_holds(number: int, tmp_path: Path) -> None:
    """The exit status names the signal; the folder's lock, which it held, is free, and its output ends."""
    with FolderLock(tmp_path) as lock:
        options: dict[str, Any] = {"pass_fds": (lock.fileno,), "preexec_fn": die_with(os.getpid())}
        process = subprocess.Popen([*WORDS, "wait"], stdout=subprocess.PIPE, text=True, env=environment(), **options)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["preloaded"]
    process.send_signal(number)
    assert process.wait(600) == -number
    assert process.stdout.read() == ""
    process.stdout.close()
    with FolderLock(tmp_path, patience=60):
        pass


def test_a_fork_dies_with_its_parent(tmp_path: Path) -> None:
    """``die_with`` of the executor holds for a fork."""
    code = """
import os, subprocess, sys
from lottery_core.experiments.executors import die_with
from tests import preloaded
preloaded.install()
words = [sys.executable, "-m", "tests.preloaded.started", "wait"]
child = subprocess.Popen(words, start_new_session=True, preexec_fn=die_with(os.getpid()))
child.wait()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment()) as driver:
        assert driver.stdout is not None
        child = json.loads(driver.stdout.readline())
        assert child["preloaded"]
        assert child["parent"] == driver.pid
        driver.kill()
        assert driver.stdout.read() == ""  # ends once nobody holds it


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts a shell script in which ``started`` is the command of these tests."""
    more = preloaded.scripts(tmp_path / "bin", started=[*WORDS])
    path = os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]])

    def script(text: str, **env: str) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        env = environment(PATH=path, **more, **env)
        return subprocess.Popen(["bash", "-c", text], env=env, text=True, start_new_session=True, **pipes)

    return script


def test_a_shell_script(shell: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    """Arguments, folder, input, environment and exit status; a script of this environment; one that starts really."""
    text = f"cd {tmp_path}; echo word | ONE=1 started 3 'a b'; echo $?; lottery --version; {preloaded.REAL}=1 started"
    out, errors = shell(text, TWO="2").communicate()
    fork, status, version, real = out.splitlines()
    seen = json.loads(fork)
    assert (seen["preloaded"], seen["argv"], seen["input"], status) == (True, ["3", "a b"], "word\n", "3")
    assert (seen["folder"], seen["environment"]["ONE"], seen["environment"]["TWO"]) == (str(tmp_path), "1", "2")
    assert version.startswith("lottery ")
    assert not json.loads(real)["preloaded"]
    assert errors == ""


WAITING = "started wait </dev/null & echo $!; wait $!; echo $?"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_to_a_command_of_a_shell(number: int, shell: Callable[..., subprocess.Popen[str]]) -> None:
    """To the one that the shell knows, and by Ctrl-C to its process group."""
    process = shell(WAITING if number != signal.SIGINT else "started wait </dev/null")
    assert process.stdout
    words = [process.stdout.readline() for _ in range(1 if number == signal.SIGINT else 2)]
    (fork,) = [json.loads(word) for word in words if word.startswith("{")]
    assert fork["preloaded"]
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
        assert process.wait() == -number
    else:
        os.kill(next(int(word) for word in words if not word.startswith("{")), number)
        assert process.stdout.read().split() == [str(128 + number)]
    assert wait_until(lambda: not Path(f"/proc/{fork['pid']}").exists())
    process.communicate()


def test_what_a_fork_could_not_be_starts_from_nothing(tmp_path: Path) -> None:
    """Another hash seed, more threads, other modules first on the path, a function of this process."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path/torch.py").write_text("def initial_seed(): return 7\ndef get_num_threads(): return 5\n")
    assert start(env=environment(PYTHONHASHSEED="5"))[0]["preloaded"] is False
    assert start(env=environment(OMP_NUM_THREADS="2", MKL_NUM_THREADS="2"))[0]["threads"] == 2
    assert start(env=environment(PYTHONPATH=f"{tmp_path}/path{os.pathsep}{preloaded.ROOT}"))[0]["threads"] == 5
    changed = list[int]()
    assert start(preexec_fn=lambda: changed.append(1))[0]["preloaded"] is False
    assert start(preexec_fn=partial(os.nice, 1))[0]["preloaded"] is True


def test_another_copy_of_the_project_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the tests' own is not first on the path, a parent that has not loaded it starts the command."""
    asked: list[tuple[str, bool]] = []
    ask = client._ask

    def remembered(name: str, *order: Any) -> int:
        asked.append((name, bool(pid := ask(name, *order))))
        return pid

    (tmp_path / "copy/lottery_core").mkdir(parents=True)
    seen, _ = start(env=environment(PYTHONPATH=f"{tmp_path}/copy{os.pathsep}{preloaded.ROOT}"))
    assert (seen["preloaded"], seen["project"]) == (True, False)
    monkeypatch.setattr(client, "_ask", remembered)
    script = Path(sys.executable).parent / "fairseq-train"
    plain = environment(PYTHONPATH="", PYTHONSAFEPATH="1")
    subprocess.run([script, "--help"], env=plain, cwd=preloaded.ROOT, check=True, capture_output=True)
    assert asked[-2:] == [("fairseq", False), ("fairseq-bare", True)]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        subprocess.run(WORDS, cwd=tmp_path / "nowhere", check=False)


@pytest.mark.real_starts
def test_the_mark_starts_from_nothing() -> None:
    assert start()[0]["preloaded"] is False
