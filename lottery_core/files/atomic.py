"""Atomic writes and the folder lock."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from lottery_core.errors import BusyError, WriteError
from lottery_core.files.json_values import parse_json
from lottery_core.files.links import refuse_links_out
from lottery_core.files.regular import why_not_regular


def write_atomically(path: str | Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that it always holds the old or the new content, never a part, even after a kill.

    The content goes into a temporary file in the same folder, which is flushed to the disk and renamed to ``path``.

    A symbolic link is followed; only regular files are replaced.

    :param path: the file to write; its folder is created if missing
    :param write: called with the temporary file, open for writing bytes
    :raises WriteError: the folder cannot be created, the disk is full, permission is denied, or ``path`` is a device, a
        FIFO, a socket or a folder
    """
    path = _target(Path(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.unlink(missing_ok=True)
            with open(temporary, "xb") as file:  # never through a link that stands there
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        flush(path.parent)
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error


def _target(path: Path) -> Path:
    # Follow a link: renaming over the link would leave its target unchanged.
    if path.is_symlink():
        path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "not a regular file"
        raise WriteError(f"cannot write {path}: it is {kind}")
    return path


def refuse_inputs(output: Path, inputs: Iterable[Path | None]) -> None:
    """Refuse to write over a file that the same command reads.

    :param output: the file to write
    :param inputs: the files that are read; ``None`` for a file that was not given
    :raises WriteError: the output is one of them, even under another name
    """
    if not output.exists():
        return
    own = output.stat()
    for path in inputs:  # of a large experiment many thousands
        if path is not None and path.exists() and os.path.samestat(own, path.stat()):
            raise WriteError(f"cannot write {output}: it is {path}, which this command reads; name another file")


def flush(path: Path) -> None:
    """Flush a file or a folder to the disk, so that a rename in it survives a power cut.

    :param path: the file or folder
    """
    handle = os.open(path, os.O_RDONLY)
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
    """Write ``text`` as UTF-8 to ``path`` atomically, see :func:`write_atomically`.

    Half characters (surrogates, as JSON may have them) are written as ``?``.
    """
    write_bytes(path, text.encode(errors="replace"))


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON to ``path`` atomically, see :func:`write_atomically`."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    :param path: the file
    :returns: its value; ``None`` if there is no such file
    :raises ValueError: the file is not JSON, or nested too deeply
    :raises OSError: the file cannot be read, or is not a regular file
    """
    if Path(path).exists() and not Path(path).is_file():
        raise OSError(f"{path} is not a regular file")
    try:
        return parse_json(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty if the file is missing, unreadable or holds something else."""
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def last_line(path: Path) -> str:
    """Return the last non-blank line of a text file, at most 400 characters; ``"no output"`` if there is none."""
    if why_not_regular(path) is not None:
        return "no output"
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            text = file.read(_TAIL).decode(errors="replace")
    except OSError:
        text = ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:400] if lines else "no output"


def disk_full(folder: Path) -> bool:
    """Return whether the file system of ``folder`` has no free block left."""
    try:
        return os.statvfs(folder).f_bavail == 0
    except OSError:
        return False


def remove_parts(folder: Path) -> None:
    """Remove temporary files and folders that a killed process may have left in ``folder``.

    Those of a process of this machine that is alive stay, such as the picture of a report that is just written.

    :param folder: the folder
    """
    for part in folder.glob(".*.part"):
        writer = re.search(r"\.(\d+)\.part$", part.name)
        if writer is not None and int(writer[1]) != os.getpid() and _is_alive(int(writer[1])) and _is_young(part):
            continue
        if part.is_dir() and not part.is_symlink():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def _is_young(path: Path) -> bool:
    # The number of a killed process may be that of another one by now.
    try:
        return time.time() - path.lstat().st_mtime < _AT_WORK
    except OSError:
        return False


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


_AT_WORK = 600.0  # seconds within which a writer ends
_TAIL = 1 << 16  # bytes at the end of a log that are looked at
PATIENCE = 3.0  # seconds to wait for a lock
LOCK = ".lock"


class FolderLock:
    """Context manager that allows one process at a time in an experiment folder without links that lead out of it.

    It uses ``flock``, which the kernel releases when every holder has died. Child processes that are given
    :attr:`fileno` inherit the lock, so it is held while training processes of a killed command are still alive.

    :param folder: the experiment folder; created if missing
    :param patience: seconds to wait for the lock, by default :data:`PATIENCE`
    :raises BusyError: another process holds the lock; the message names it
    :raises WriteError: the folder cannot be created or written, or has a symbolic link that leads out of it
    """

    def __init__(self, folder: Path, patience: float | None = None) -> None:
        self.path = folder / LOCK
        self.patience = PATIENCE if patience is None else patience
        self._file: IO[str] | None = None

    @property
    def fileno(self) -> int:
        """The file descriptor that child processes inherit."""
        assert self._file is not None, "the lock is not held"
        return self._file.fileno()

    def __enter__(self) -> FolderLock:
        refuse_links_out(self.path.parent)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists() and why_not_regular(self.path) is not None:
                raise WriteError(f"cannot lock {self.path.parent}: {self.path} is not a regular file")
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
                    holder = file.read(200).strip() or "an unknown process"
                    file.close()
                    raise BusyError(f"{self.path.parent} is in use by {holder}; wait for it or stop it") from None
                time.sleep(0.1)
            except OSError as error:
                file.close()
                raise WriteError(
                    f"cannot lock {self.path.parent}: {error.strerror or error} (its file system has no locks; choose "
                    "a folder on another one)"
                ) from error
        with suppress(OSError):  # on a full disk the lock is held, but does not name its holder
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


def is_locked(folder: Path) -> bool:
    """Return whether a process, or a child that it left behind, holds the lock of an experiment folder."""
    if why_not_regular(folder / LOCK) is not None:
        return False
    try:
        with open(folder / LOCK) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock file, or a file system without locks
        return False
    return False
