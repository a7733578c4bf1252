"""Links in a run folder that lead out of it: nothing there is deleted or overwritten."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from lottery_core.errors import WriteError
from lottery_core.experiments import Progress, Runner, Score, write_floor
from lottery_core.files import FolderLock, write_text
from lottery_core.reports import report, stability_report
from tests.lottery_core import toy
from tests.lottery_core.experiments.test_stability import probe, run


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A file of the user that no command may touch."""
    path = tmp_path / "elsewhere/mine.txt"
    path.parent.mkdir()
    path.write_text("mine")
    return path


@pytest.mark.parametrize("name", [".lock", "seed-1", "seed-1/dense", "seed-1/dense/train.log", ".jobs", "results.csv"])
@pytest.mark.parametrize("whole", [False, True])
def test_no_command_trains_in_such_a_folder(name: str, whole: bool, elsewhere: Path, tmp_path: Path) -> None:
    link = tmp_path / "out" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere.parent if whole else elsewhere)
    with pytest.raises(WriteError, match="is a link that leads out of"), FolderLock(tmp_path / "out"):
        pass
    assert elsewhere.read_text() == "mine"
    assert os.listdir(elsewhere.parent) == ["mine.txt"]


def test_links_within_the_folder_and_a_folder_that_is_a_link_are_fine(tmp_path: Path) -> None:
    (tmp_path / "out/seed-1").mkdir(parents=True)
    (tmp_path / "out/seed-2").symlink_to("seed-1")
    (tmp_path / "named").symlink_to("out")
    with FolderLock(tmp_path / "named"):
        pass


def test_a_report_writes_through_no_such_link(elsewhere: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    Runner(toy.experiment(out, rounds=1), toy.Toy(), toy.Here(out), Progress(quiet=True)).run()
    (out / "curve.png").symlink_to(elsewhere)
    with pytest.raises(WriteError, match=r"curve\.png is a link that leads out of"):
        report([out])
    rows = out / "results.csv"
    shutil.copy(rows, tmp_path / "rows.csv")
    (tmp_path / "drawn.png").write_bytes(b"")
    (tmp_path / "rows.png").symlink_to("drawn.png")
    report([tmp_path / "rows.csv"])  # a file of rows is no run folder
    run(probe(tmp_path / "probe"))
    for name in ("stability.json", "stability.png"):
        (tmp_path / "probe" / name).unlink(missing_ok=True)
        (tmp_path / "probe" / name).symlink_to(elsewhere)
        with pytest.raises(WriteError, match=rf"{name} is a link that leads out of"):
            stability_report(tmp_path / "probe")
        (tmp_path / "probe" / name).unlink()
    (out / "floor.json").unlink(missing_ok=True)
    (out / "floor.json").symlink_to(elsewhere)
    with pytest.raises(WriteError, match=r"floor\.json is a link"):
        write_floor(out, Score(1.0, 0.1, 1, 1, 1.0, 1.0), "nothing")
    assert elsewhere.read_text() == "mine"


def test_a_planted_temporary_file_is_not_written_through(elsewhere: Path, tmp_path: Path) -> None:
    (tmp_path / f".a.{os.getpid()}.part").symlink_to(elsewhere)
    write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"
    assert elsewhere.read_text() == "mine"
