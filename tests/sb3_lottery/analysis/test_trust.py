"""``play`` and ``inputs`` run no code from a folder that somebody else wrote; the folders here try to."""

from __future__ import annotations

import base64
import json
import os
import pickle
import shlex
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lottery_core.experiments import Experiment
from lottery_core.files import unsigned
from lottery_core.files.signatures import SIGNATURES
from sb3_lottery.cli.command import main
from tests.conftest import Result, one_line

MADE = (
    "--algo a2c --env CartPole-v1 --rounds 1 --prune-rate 0.5 --epoch timesteps:200 --epochs 2 --rewind timesteps:50 "
    "--n-envs 2 --net-arch 8 --score-episodes 4 --normalize --kinds winning"
)
DENSE = Path("seed-1/dense")


class Canary:
    """Makes a folder as soon as it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (self.path,)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment with statistics of observations, made by this user's own command."""
    out = tmp_path_factory.mktemp("trust") / "run"
    assert main([*shlex.split(MADE), "--out", str(out), "--quiet"]) == 0
    return out


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def test_what_own_commands_wrote_needs_no_word(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Moved to another place, too."""
    assert (folder / DENSE / SIGNATURES).exists()
    assert main(["inputs", str(folder)]) == 0
    assert "cart position" in capsys.readouterr().out


def put_into_model(folder: Path, canary: Path) -> None:
    path = folder / DENSE / "model.zip"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    data = json.loads(members["data"])
    pickled = base64.b64encode(pickle.dumps(Canary(canary))).decode()
    data["ep_info_buffer"] = {":type:": "<class 'collections.deque'>", ":serialized:": pickled}
    members["data"] = json.dumps(data).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def put_into_statistics(folder: Path, canary: Path) -> None:
    (folder / DENSE / "vecnormalize.pkl").write_bytes(pickle.dumps(Canary(canary)))


def put_into_environment(folder: Path, canary: Path) -> None:
    (folder.parent / "strange_module.py").write_text(f"import os\nos.mkdir({str(canary)!r})\n")
    row = json.loads((folder / "experiment.json").read_text())
    row["settings"]["model"]["env"] = "strange_module:CartPole-v1"
    (folder / "experiment.json").write_text(json.dumps(row))
    for marker in folder.glob("**/result.json"):
        result = {**json.loads(marker.read_text()), "configuration": Experiment.load(folder).digest()}
        marker.write_text(json.dumps(result))


WAYS = {
    "model.zip": (put_into_model, "pickled objects ("),
    "vecnormalize.pkl": (put_into_statistics, "vecnormalize.pkl is a pickle"),
    "experiment.json": (put_into_environment, "imports the module strange_module"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_folder_of_somebody_else_runs_nothing(
    way: str, folder: Path, tmp_path: Path, call: Callable[..., Result]
) -> None:
    """The real command; with ``--trust`` the canary shows that it is a real way in."""
    put, said = WAYS[way]
    canary = tmp_path / "canary"
    put(folder, canary)
    words = ["play", folder, "--kind", "dense", "-o", tmp_path / "film.gif"]
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    refused = call("sb3_lottery.cli", *words, PYTHONPATH=path)
    assert said in one_line(refused, way, "add --trust")
    assert not canary.exists()
    call("sb3_lottery.cli", *words, "--trust", PYTHONPATH=path)
    assert canary.exists()


def test_inputs_asks_as_well(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_into_model(folder, tmp_path / "canary")
    assert main(["inputs", str(folder), "--kind", "dense"]) == 2
    assert "add --trust" in capsys.readouterr().err
    assert not (tmp_path / "canary").exists()


def test_the_floor_of_a_strange_game_asks_as_well(folder: Path, tmp_path: Path, call: Callable[..., Result]) -> None:
    put_into_environment(folder, tmp_path / "canary")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    refused = call("sb3_lottery.cli", "floor", folder, PYTHONPATH=path)
    assert "imports the module strange_module" in one_line(refused, "experiment.json", "add --trust")
    assert not (tmp_path / "canary").exists()


def test_without_signatures_or_with_another_key_it_is_somebody_elses(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["inputs", str(folder), "--kind", "dense"]
    with monkeypatch.context() as patched:
        patched.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
        assert main(words) == 2
        assert "add --trust" in capsys.readouterr().err
    assert main(words) == 2
    assert "a dense run has no ticket" in capsys.readouterr().err  # it got beyond the question
    (folder / DENSE / SIGNATURES).unlink()
    assert main(words) == 2
    assert "add --trust" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_asked_about_though_its_signature_fits(folder: Path) -> None:
    path = folder / DENSE / "model.zip"
    assert not unsigned([path])
    os.chown(path, 12345, -1)
    assert unsigned([path]) == [path]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", None])
def test_a_damaged_model_is_one_line(content: bytes | None, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / DENSE / "model.zip"
    path.unlink()
    if content is None:
        os.mkfifo(path)
    else:
        path.write_bytes(content)
    for more in ([], ["--trust"]):
        assert main(["inputs", str(folder), "--kind", "dense", *more]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
