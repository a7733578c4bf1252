"""Writing a checkpoint that its framework reads without this project: each plugin brings its own way, by format.

A plugin names it in its packaging, as an entry point of the group ``lottery.export``.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from lottery_core.checkpoints import SB3, STATE, format_of
from lottery_core.errors import CheckpointError

GROUP = "lottery.export"


class Exporter(Protocol):
    """What an entry point of the group is."""

    def __call__(self, path: Path, output: Path) -> str:
        """Write ``output`` from the checkpoint ``path``; says in a few words what it is now."""


def export(path: Path, output: Path) -> str:
    """Write a checkpoint that does not name this project.

    :param path: a checkpoint of a framework
    :param output: the file to write
    :returns: what was written, for people
    :raises CheckpointError: the file cannot be read, needs no export, or its plugin is not installed
    :raises WriteError: the file cannot be written
    """
    kind = format_of(path)
    if kind in (SB3, STATE):
        raise CheckpointError(f"{path} names nothing of this project: it can be used as it is")
    for point in entry_points(group=GROUP, name=kind):
        exporter: Exporter = point.load()
        return exporter(path, output)
    raise CheckpointError(f"exporting a checkpoint of {kind} needs the plugin of {kind}: pip install it")
