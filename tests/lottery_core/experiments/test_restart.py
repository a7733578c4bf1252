"""A killed run goes on only from files that are its own, and of the very same configuration, versions and ticket."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from lottery_core.experiments import paths
from lottery_core.experiments.graph.plan import Run, dense
from lottery_core.experiments.progress import Progress
from lottery_core.experiments.restart import clear, identity, prepare_folder
from lottery_core.experiments.runner import Runner
from tests.lottery_core.toy import Here, Toy, experiment

CHECKPOINT = "checkpoint.pt"


class Going(Toy):
    """A framework that can go on wherever its checkpoint is."""

    def why_not_resumable(self, run: Run, folder: Path) -> str | None:
        return None if (folder / CHECKPOINT).exists() else "it had no checkpoint yet"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a killed run with a checkpoint."""
    folder = tmp_path / "run"
    prepare_folder(dense(1), folder, {"ticket": "a"}, Going())
    # A part of a process that is alive would stay; this one writes none now.
    for name in (CHECKPOINT, paths.LOG, paths.TICKET, "score.json", f".score.json.{os.getpid()}.part"):
        (folder / name).write_text("")
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_it_goes_on_from_its_own_files(folder: Path) -> None:
    prepare_folder(dense(1), folder, {"ticket": "a"}, Going())
    assert names(folder) == {CHECKPOINT, paths.LOG, paths.TICKET, paths.STARTED, "score.json"}
    assert (folder / paths.LOG).read_text().endswith("the run was interrupted, and is resumed\n")


def test_it_begins_again_with_another_ticket(folder: Path) -> None:
    prepare_folder(dense(1), folder, {"ticket": "b"}, Going())
    assert names(folder) == {paths.LOG, paths.TICKET, paths.STARTED}
    assert "begins again: it was started with another configuration" in (folder / paths.LOG).read_text()
    (folder / CHECKPOINT).write_text("")
    prepare_folder(dense(1), folder, {"ticket": "b"}, Going())
    assert CHECKPOINT in names(folder)


def test_it_begins_again_where_the_framework_sees_an_obstacle(folder: Path) -> None:
    (folder / CHECKPOINT).unlink()
    prepare_folder(dense(1), folder, {"ticket": "a"}, Going())
    assert names(folder) == {paths.LOG, paths.TICKET, paths.STARTED}
    assert (folder / paths.LOG).read_text().endswith("begins again: it had no checkpoint yet\n")


@pytest.mark.parametrize("text", [None, "{"])
def test_files_of_unknown_origin_are_not_used(text: str | None, folder: Path) -> None:
    (folder / paths.STARTED).unlink() if text is None else (folder / paths.STARTED).write_text(text)
    prepare_folder(dense(1), folder, {"ticket": "a"}, Going())
    assert names(folder) == {paths.LOG, paths.TICKET, paths.STARTED}


def test_a_kill_while_clearing_leaves_nothing_that_looks_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(self: Path) -> None:
        raise KeyboardInterrupt

    (folder / paths.MARKER).write_text("")
    monkeypatch.setattr(Path, "iterdir", kill)
    with pytest.raises(KeyboardInterrupt):
        clear(folder)
    monkeypatch.undo()
    assert not {paths.MARKER, paths.STARTED} & names(folder)


def test_identity_names_configuration_versions_and_ticket(tmp_path: Path) -> None:
    ticket = tmp_path / paths.TICKET
    ticket.write_bytes(b"one")
    found = [
        identity(experiment(tmp_path, **changes), run, path)
        for run, changes, path in (
            (dense(1), {}, None),
            (dense(1), {"settings": {"lr": 0.02}}, None),
            (dense(1), {"versions": {"torch": "1.0"}}, None),
            (Run(1, "winning", 1), {}, ticket),
        )
    ]
    ticket.write_bytes(b"other")
    found.append(identity(experiment(tmp_path), Run(1, "winning", 1), ticket))
    assert all(one != other for index, one in enumerate(found) for other in found[:index])
    for changes in ({"rounds": 9, "kinds": ("winning",)}, {"search": "0.5", "first": 0.5}):
        assert identity(experiment(tmp_path, **changes), dense(1), None) == found[0], "more rounds change no dense run"
    searched = identity(experiment(tmp_path, search="0.5"), Run(1, "winning", 1), ticket)
    assert searched != found[-1], "another search finds other tickets"


def test_the_runner_hands_a_killed_run_its_files(tmp_path: Path) -> None:
    """Also a control: it is known by the winning ticket that it is made from."""
    found = experiment(tmp_path, rounds=1)
    executor = Here(tmp_path)
    Runner(found, Going(), executor, Progress(io.StringIO())).run()
    folders = [tmp_path / run.folder for run in executor.trained]
    for folder in folders:
        (folder / paths.MARKER).unlink()
        (folder / CHECKPOINT).write_text("")
    Runner(found, Going(), executor, Progress(io.StringIO())).run()
    assert len(executor.trained) == 6
    assert all((folder / CHECKPOINT).exists() for folder in folders)


def test_a_number_that_is_written_otherwise_is_the_same_setting(tmp_path: Path) -> None:
    """1 and 1.0, null and nothing: what is trained stays, under the digest with which the folder began."""
    settings = {"lr": 0.01, "steps": 20, "clip": 1, "nested": {"gamma": 1.0, "seed": None}}
    other = {"lr": 0.01, "steps": 20.0, "clip": 1.0, "nested": {"gamma": 1}}
    digests = set()
    for given, kinds in (
        (settings, ("winning",)),
        (other, ("winning", "random")),
        (settings, ("winning", "no-rewind")),
    ):
        executor = Here(tmp_path)
        chosen = experiment(tmp_path, rounds=1, kinds=kinds, settings=given)
        Runner(chosen, Toy(), executor, Progress(io.StringIO())).run()
        assert executor.trained == [*([dense(1)] if kinds == ("winning",) else []), Run(1, kinds[-1], 1)]
        digests.add(chosen.digest())
    assert len(digests) == 1
