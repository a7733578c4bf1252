"""Atomic writes and the folder lock."""

from __future__ import annotations

import errno
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lottery_core.errors import BusyError, WriteError
from lottery_core.files import (
    FolderLock,
    believable,
    is_locked,
    last_line,
    read_json,
    refuse_inputs,
    remove_parts,
    sign,
    unsigned,
    write_atomically,
    write_bytes,
    write_json,
    write_text,
)


def test_a_failing_writer_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"old": 1})

    def fail(file) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a.json", fail)
    assert read_json(tmp_path / "a.json") == {"old": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert read_json(tmp_path / "missing.json") is None


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_folder_after_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str]] = []
    replace = os.replace

    def spy_on_replace(old: Path, new: Path) -> None:
        done.append(("named", new.name))
        replace(old, new)

    def spy_on_fsync(file: int) -> None:
        done.append(("flushed", Path(f"/proc/self/fd/{file}").readlink().name))

    monkeypatch.setattr(os, "fsync", spy_on_fsync)
    monkeypatch.setattr(os, "replace", spy_on_replace)
    write_text(tmp_path / "a", "new")
    part = f".a.{os.getpid()}.part"
    assert done == [("flushed", part), ("named", "a"), ("flushed", tmp_path.name)]
    assert (tmp_path / "a").read_text() == "new"


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    # The kernel refuses bytes past the limit just as a full disk does (Python ignores SIGXFSZ).
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(WriteError, match=r"cannot write .*big: File too large"):
            write_atomically(tmp_path / "big", lambda file: file.write(b"x" * 100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_kill_in_the_middle_of_writing_leaves_the_old_file_and_a_part_that_is_swept(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"old": 1})
    code = (
        "import os, sys; from lottery_core.files import write_atomically\n"
        "write_atomically(sys.argv[1], lambda file: (file.write(b'half'), file.flush(), os.kill(os.getpid(), 9)))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.json")], check=False)
    assert read_json(tmp_path / "a.json") == {"old": 1}
    assert len(list(tmp_path.iterdir())) == 2
    remove_parts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_parts_of_a_writer_at_work_stay_and_folders_go(tmp_path: Path) -> None:
    parent = tmp_path / f".curve.png.{os.getppid()}.part"  # it is alive
    own, old, folder = (tmp_path / f".{name}.{os.getpid()}.part" for name in ("a", "b", "c"))
    for path in (parent, own, old):
        path.write_text("half")
    folder.mkdir()
    (folder / "model.bin").write_text("half")
    remove_parts(tmp_path)
    assert list(tmp_path.iterdir()) == [parent]
    os.utime(parent, (0, 0))  # the number is another process's by now
    remove_parts(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(WriteError, match=rf"cannot lock {tmp_path}: Function not implemented .*no locks"):
        FolderLock(tmp_path).__enter__()


def test_a_home_without_hard_links_has_a_key_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "experiment.json"
    for text in ("{}", "[]"):
        path.write_text(text)
        assert unsigned([path]) == [path]
        sign(path)
        assert unsigned([path]) == []
    assert [file.name for file in (tmp_path / "state/lottery").iterdir()] == ["key"]


def test_one_process_at_a_time_and_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    with FolderLock(tmp_path), pytest.raises(BusyError, match=f"in use by process {os.getpid()} on "):
        FolderLock(tmp_path, patience=0).__enter__()
    code = "import os, sys; from pathlib import Path; from lottery_core.files import FolderLock\n"
    code += "FolderLock(Path(sys.argv[1])).__enter__(); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    with FolderLock(tmp_path, patience=0):
        pass


def test_a_folder_that_cannot_be_made(no_write: Path) -> None:
    with pytest.raises(WriteError, match="cannot write in"):
        FolderLock(no_write).__enter__()


@pytest.mark.parametrize("kind", ["device", "fifo", "folder", "socket"])
def test_only_regular_files_are_replaced(kind: str, tmp_path: Path) -> None:
    path = tmp_path / kind
    if kind == "device":
        path = Path("/dev/null")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        socket.socket(socket.AF_UNIX).bind(str(path))
    before = path.stat()
    with pytest.raises(WriteError, match="it is a folder" if kind == "folder" else "it is not a regular file"):
        write_bytes(path, b"new")
    assert path.stat().st_mode == before.st_mode
    assert path.stat().st_ino == before.st_ino


def test_an_output_that_is_an_input_is_refused_by_every_name(tmp_path: Path) -> None:
    source, link, hard = tmp_path / "source", tmp_path / "link", tmp_path / "hard"
    source.write_bytes(b"old")
    link.symlink_to(source)
    hard.hardlink_to(source)
    for output in (source, link, hard, tmp_path / "." / "source"):
        with pytest.raises(WriteError, match="which this command reads"):
            refuse_inputs(output, (None, source))
    refuse_inputs(tmp_path / "other", (source, tmp_path / "missing"))


def test_the_last_line_of_a_log_is_read_from_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * 10_000_000 + b"\n\xff the end\n\n")
    assert last_line(log) == "\ufffd the end"
    assert last_line(tmp_path / "missing") == last_line(Path("/dev/zero")) == "no output"
    assert not is_locked(tmp_path)


@pytest.mark.parametrize(
    ("parameters", "memory", "held", "right"),
    [(10**6, 10**7, 10, True), (10**9, 5 * 10**9, 10**5, False), (61_000_000, 305_000_000, 330_000, True)],
)
def test_how_much_a_file_may_claim(parameters: int, memory: int, held: int, right: bool) -> None:
    """The last one is a Transformer of 61 million parameters, pruned to 99.9%."""
    assert believable(parameters, memory, held) is right


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    target, link, second = tmp_path / "deep/target", tmp_path / "link", tmp_path / "second"
    target.write_bytes(b"old")
    link.symlink_to(target)
    second.symlink_to(link)
    write_bytes(second, b"new")
    assert target.read_bytes() == b"new"
    assert link.is_symlink()
    assert second.is_symlink()
    assert not list(tmp_path.rglob(".*.part"))
    (tmp_path / "dangling").symlink_to(tmp_path / "deep/later")
    write_bytes(tmp_path / "dangling", b"x")
    assert (tmp_path / "deep/later").read_bytes() == b"x"
