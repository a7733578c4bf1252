"""Write a whole folder at once: it is there or it is not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lottery_core.errors import WriteError
from lottery_core.files.atomic import flush

T = TypeVar("T")


def write_folder(path: Path, write: Callable[[Path], T]) -> T:
    """Write a folder beside ``path`` and rename it when it is complete.

    :param path: the folder to write; nothing may be there yet
    :param write: called with the folder to fill; its result is returned
    :raises WriteError: something is there already, the disk is full, or permission is denied
    """
    if path.exists() or path.is_symlink():
        raise WriteError(f"cannot write {path}: it exists already; name another folder")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            temporary.mkdir(parents=True)
            result = write(temporary)
            for file in temporary.iterdir():
                flush(file)
            os.rename(temporary, path)
            flush(path.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error
    return result
