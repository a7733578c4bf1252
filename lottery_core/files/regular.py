"""Check that a path is a regular file: reading a device or a FIFO may never end."""

from __future__ import annotations

import os
import stat
from pathlib import Path


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
