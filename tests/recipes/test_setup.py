"""``recipes/setup.sh``: the environment that it makes, and when it makes it anew. A stand-in is the python."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import one_line
from tests.recipes.helpers import ROOT

# The version that constraints.txt pins.
TORCH = re.search(r"^torch==\S+", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[0]
# Stands in for a python of a version: makes an environment whose python is itself, or keeps the one there as venv does,
# and writes down what it would install with what.
PYTHON = """#!/usr/bin/env bash
case $* in
    *sys.version_info*) ;;
    *Python.h*) [[ -z ${HEADLESS-} ]] ;;
    *hashlib*) echo "VERSION ${!#}" ;;
    *"print(sys.version)"*) echo VERSION ;;
    "-m venv "*)
        echo "$*" >>made
        if [[ $* == *--clear* ]]; then rm -rf .venv; fi
        mkdir -p .venv/bin
        if [[ ! -e .venv/bin/python ]]; then cp "$0" .venv/bin/python && cp "$0" .venv/bin/python3; fi
        ;;
    "-m pip install"*)
        echo "${CUDA_HOME-unset} $*" >>installed
        for word in "$@"; do
            # As for pip a build is there where the same version is.
            folder=.venv/lib/python3/site-packages/${word/==/-}
            if [[ $word == torch==* && ! -d $folder+cpu.dist-info ]]; then mkdir -p "$folder.dist-info"; fi
        done
        [[ -z ${FAILING-} || $* != *"$FAILING"* ]]
        ;;
esac
"""


def python(folder: Path, version: str = "3.11") -> str:
    """The path of the stand-in of a version."""
    path = folder / f"python{version}"
    path.write_text(PYTHON.replace("VERSION", version))
    path.chmod(0o755)
    return str(path)


def set_up(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """What recipes/setup.sh does in a checkout, with a python that installs nothing."""
    (folder / "recipes").mkdir(exist_ok=True)
    for name in ("recipes/setup.sh", "constraints.txt"):
        shutil.copy(ROOT / name, folder / name)
    given = {key: value for key, value in os.environ.items() if key not in ("TORCH", "CXX")}
    return subprocess.run(
        ["bash", str(folder / "recipes/setup.sh")],
        env={**given, "PYTHON": python(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_setup_compiles_nothing_for_cuda(tmp_path: Path) -> None:
    assert set_up(tmp_path, CUDA_HOME="/usr/local/cuda").returncode == 0
    lines = (tmp_path / "installed").read_text().splitlines()
    assert any("fairseq-fixed" in line for line in lines)
    assert {line.split()[0] for line in lines} == {"unset"}


def with_gpu(folder: Path, said: str) -> str:
    """A PATH on which nvidia-smi says something."""
    (folder / "tools").mkdir()
    (folder / "tools/nvidia-smi").write_text(f"#!/bin/sh\necho '{said}'\n")
    (folder / "tools/nvidia-smi").chmod(0o755)
    return os.pathsep.join([str(folder / "tools"), os.environ["PATH"]])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is one wheel")
@pytest.mark.parametrize(
    ("torch", "gpu", "wheel", "told"),
    [
        ("", "No devices were found", f"{TORCH}+cpu", "for cpu (no GPU is seen; TORCH=cuda takes the other)"),
        ("", "GPU 0: NVIDIA H200", TORCH, "for CUDA (nvidia-smi lists a GPU)"),
        ("cpu", "GPU 0: NVIDIA H200", f"{TORCH}+cpu", "for cpu (as TORCH says)"),
        ("cuda", "No devices were found", TORCH, "for CUDA (as TORCH says)"),
    ],
)
def test_setup_takes_the_build_of_torch_that_the_machine_can_use(
    torch: str, gpu: str, wheel: str, told: str, tmp_path: Path
) -> None:
    done = set_up(tmp_path, PATH=with_gpu(tmp_path, gpu), **({"TORCH": torch} if torch else {}))
    assert done.returncode == 0, done.stderr
    assert told in done.stdout
    words = (tmp_path / "installed").read_text().split()
    assert [word for word in words if word.startswith("torch==")] == [wheel]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is one wheel")
def test_setup_never_takes_the_wheel_for_cuda_instead(tmp_path: Path) -> None:
    """No wheel for the CPU: PyTorch's own index is tried, then it ends."""
    path = with_gpu(tmp_path, "none")
    done = set_up(tmp_path, PATH=path, FAILING="+cpu")
    assert done.returncode == 2
    assert f"there is no {TORCH}+cpu for this Python" in done.stderr
    lines = (tmp_path / "installed").read_text().splitlines()
    assert ["download.pytorch.org" in line for line in lines] == [False, True]


def test_setup_refuses_another_build(tmp_path: Path) -> None:
    done = set_up(tmp_path, TORCH="tpu")
    assert (done.returncode, done.stderr) == (2, "setup: error: TORCH is cuda or cpu, not 'tpu'\n")


def environments(folder: Path) -> list[str]:
    """How the environment was made, each time; forgotten with it."""
    made = folder / "made"
    words = made.read_text().splitlines()
    made.unlink()
    return words


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is one wheel")
def test_another_build_of_torch_makes_the_environment_anew(tmp_path: Path) -> None:
    """For pip ``torch==2.13.0`` is there where ``2.13.0+cpu`` is."""
    path = with_gpu(tmp_path, "none")
    for build, words in [("cpu", ["-m venv .venv"]), ("cuda", ["-m venv --clear .venv"])]:
        done = set_up(tmp_path, TORCH=build, PATH=path)
        assert (done.returncode, environments(tmp_path)) == (0, words), done.stderr
    (found,) = (tmp_path / ".venv/lib/python3/site-packages").iterdir()
    assert found.name == f"{TORCH.replace('==', '-')}.dist-info"
    # What was asked for once stays, where nothing is said and no GPU is seen.
    done = set_up(tmp_path, PATH=path)
    assert (done.returncode, done.stdout) == (0, "")


def test_another_python_makes_the_environment_anew(tmp_path: Path) -> None:
    set_up(tmp_path, TORCH="cpu")
    done = set_up(tmp_path, TORCH="cpu", PYTHON=python(tmp_path, "3.13"))
    assert done.returncode == 0, done.stderr
    assert "setup: .venv is of another Python, or of one that is gone, and is made anew\n" in done.stdout
    assert environments(tmp_path) == ["-m venv .venv", "-m venv --clear .venv"]
    # Without PYTHON it stays as it is, whatever python3 is.
    assert set_up(tmp_path, TORCH="cpu", PYTHON="").stdout == ""
    for name in ("python", "python3"):
        (tmp_path / ".venv/bin" / name).unlink()
        (tmp_path / ".venv/bin" / name).symlink_to("/nowhere/python")
    assert set_up(tmp_path, TORCH="cpu").returncode == 0
    assert environments(tmp_path) == ["-m venv --clear .venv"]


def test_an_environment_of_an_older_setup_is_kept(tmp_path: Path) -> None:
    set_up(tmp_path, TORCH="cpu")
    (tmp_path / ".venv/.stamp").write_text("of another constraints.txt\n")
    (tmp_path / ".venv/mine").touch()
    assert set_up(tmp_path, TORCH="cpu").returncode == 0
    assert (tmp_path / ".venv/mine").exists()


@pytest.mark.parametrize(
    ("environment", "missing"),
    [
        ({}, "a C++ compiler (c++): on"),
        ({"HEADLESS": "yes"}, "a C++ compiler (c++) and the headers of "),
        ({"HEADLESS": "yes", "CXX": "ccache g++"}, "needs the headers of "),
    ],
)
def test_what_builds_fairseq_is_there_before_anything_is_fetched(
    environment: dict[str, str], missing: str, tmp_path: Path
) -> None:
    path = with_gpu(tmp_path, "none")
    (tmp_path / "tools/c++").write_text("#!/bin/sh\nexit 1\n")  # as macOS's, without Apple's tools
    (tmp_path / "tools/c++").chmod(0o755)
    done = set_up(tmp_path, PATH=path, **environment)
    one_line(done, "setup: error: fairseq is built from source, which needs ", missing, "g++ python3-dev, on macOS")
    assert not (tmp_path / ".venv").exists()


def test_every_version_that_is_named_is_that_of_the_constraints() -> None:
    pins = dict(re.findall(r"^([\w-]+)==([^\s;]+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    pages = [ROOT / "setup.py", ROOT / "fairseq_lottery/patches/preflight.py", *sorted((ROOT / "recipes").glob("*.sh"))]
    pages += [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    named = [
        (page.name, package, version)
        for page in pages
        for package, version in re.findall(r"\b(fairseq-fixed|torch)==(\d[\d.]*\d)", page.read_text())
    ]
    assert {"setup.py", "preflight.py", "fairseq_train.md"} <= {page for page, *_ in named}
    assert [(page, package) for page, package, version in named if version != pins[package]] == []
