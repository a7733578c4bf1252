"""Check that a path is a regular file: reading a device or a FIFO may never end."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from lottery_core.errors import ConfigError

_PART = 1 << 20  # bytes


def why_not_regular(path: str | Path) -> str | None:
    """Return why ``path`` cannot be read as a file, in a few words; ``None`` for a regular file or a link to one.

    Call this before opening the path: opening a FIFO waits for a writer.

    :param path: the path that the user gave
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return error.strerror or str(error)
    if stat.S_ISDIR(mode):
        return "Is a directory"
    return None if stat.S_ISREG(mode) else "Not a regular file"


def stamp(path: Path) -> tuple[int, ...]:
    """Return what changes when a file does: times, size and inode; empty if there is no file.

    :param path: the file
    """
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def file_digest(path: Path, option: str) -> str:
    """Return the SHA-256 of a file that an option names.

    :param path: the file
    :param option: the option, for the message
    :raises ConfigError: it cannot be read
    """
    why = why_not_regular(path)
    if why is None:
        try:
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while part := file.read(_PART):
                    digest.update(part)
            return digest.hexdigest()
        except OSError as error:
            why = error.strerror or str(error)
    raise ConfigError(f"{option}: cannot read {path}: {why}")
