"""Files that are there or not: written beside, flushed, renamed; and the lock on an experiment folder."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from lottery_core.errors import BusyError, WriteError


def write_atomically(path: str | Path, write: Callable[[IO[bytes]], object]) -> None:
    """Call ``write`` with a file beside ``path``, flush it to the disk, then rename it to ``path``.

    A reader, or a kill at any moment, finds the old file or the new one, never a part.

    :param path: where the file goes; its folder is made when missing
    :param write: gets an open binary file
    :raises WriteError: the folder cannot be made, the disk is full, no permission
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(beside, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        _flush_folder(path.parent)
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error


def _flush_folder(folder: Path) -> None:
    # The rename itself must survive a power cut, not only the bytes.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network file systems refuse to flush a folder
    finally:
        os.close(handle)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically, see :func:`write_atomically`."""
    write_atomically(path, lambda file: file.write(data))


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 ``text`` to ``path`` atomically, see :func:`write_atomically`."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON to ``path`` atomically, see :func:`write_atomically`."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: str | Path) -> Any:
    """The value in the JSON file at ``path``; ``None`` where there is no such file."""
    try:
        return json.loads(Path(path).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_object(path: Path) -> dict[str, Any]:
    """The object in the JSON file at ``path``; empty where there is none, or something else stands there."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def last_line(path: Path) -> str:
    """The last line with something in it of a text file; what it is about where there is none."""
    try:
        lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    return lines[-1][:400] if lines else "no output"


def disk_full(folder: Path) -> bool:
    """Whether the disk that holds ``folder`` has no block left."""
    try:
        return os.statvfs(folder).f_bavail == 0
    except OSError:
        return False


def remove_parts(folder: Path) -> None:
    """Remove what a killed :func:`write_atomically` may have left in ``folder``."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


PATIENCE = 3.0
LOCK = ".lock"


class FolderLock:
    """One process at a time in an experiment folder (``flock``: the kernel frees it when its holders die).

    The lock is inherited by child processes that are given :attr:`fileno`, so it also holds
    while training processes of a killed command are still alive.

    :param folder: the experiment folder; made when missing
    :param patience: seconds to wait for the last process of a killed command to go
    :raises BusyError: another process holds the lock; the line names it
    :raises WriteError: the folder cannot be made or written
    """

    def __init__(self, folder: Path, patience: float | None = None) -> None:
        self.path = folder / LOCK
        self.patience = PATIENCE if patience is None else patience
        self._file: IO[str] | None = None

    @property
    def fileno(self) -> int:
        """The descriptor to pass on to child processes."""
        assert self._file is not None, "the lock is not held"
        return self._file.fileno()

    def __enter__(self) -> FolderLock:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = open(self.path, "a+")
        except OSError as error:
            raise WriteError(f"cannot write in {self.path.parent}: {error.strerror or error}") from error
        give_up = time.monotonic() + self.patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up:
                    file.seek(0)
                    holder = file.read().strip() or "an unknown process"
                    file.close()
                    raise BusyError(f"{self.path.parent} is in use by {holder}; wait for it or stop it") from None
                time.sleep(0.1)
        with suppress(OSError):  # a full disk takes no name; the lock is held without it
            file.truncate(0)
            os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}".encode())
        self._file = file
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._file is not None
        self._file.close()
        self._file = None


def held(folder: Path) -> bool:
    """Whether a process works in the experiment folder now, or left children that do. Changes nothing."""
    try:
        with open(folder / LOCK) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no such file, or a file system without locks
        return False
    return False
