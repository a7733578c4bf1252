"""Symbolic links that lead out of a run folder: a command would delete or overwrite what they point to."""

from __future__ import annotations

import os
from pathlib import Path

from lottery_core.errors import WriteError


def refuse_links_out(folder: Path) -> None:
    """Refuse a run folder with a symbolic link to a place outside it. The folder itself may be a link.

    :param folder: the run folder; it may be missing
    :raises WriteError: the folder has such a link
    """
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            refuse_link_out(folder, Path(place, name))


def refuse_link_out(folder: Path, path: Path) -> None:
    """Refuse to write a file of a run folder through a symbolic link to a place outside it.

    :param folder: the run folder
    :param path: a path in it; it may be missing
    :raises WriteError: the path is such a link
    """
    if path.is_symlink() and Path(os.path.realpath(folder)) not in Path(os.path.realpath(path)).parents:
        raise WriteError(
            f"{path} is a link that leads out of {folder}, and files there would be overwritten: put what it points to "
            "in its place"
        )
