"""Which files are read: regular ones. A device or a FIFO has no end, or nothing to give."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def why_not_regular(path: str | Path) -> str | None:
    """Why ``path`` cannot be read as a file, in a few words; ``None`` for a regular file or a link to one.

    Ask before anything opens the path: opening a FIFO waits for a writer.

    :param path: what the user gave as a file
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return error.strerror or str(error)
    if stat.S_ISDIR(mode):
        return "Is a directory"
    return None if stat.S_ISREG(mode) else "Not a regular file"
