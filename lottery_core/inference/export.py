"""Writing a checkpoint that goes on working without this project: plain, smaller, or sparse.

A plugin names its way in its packaging, as an entry point of the group ``lottery.export`` with the format's name.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from lottery_core.checkpoints import SB3, STATE, format_of, state_of
from lottery_core.errors import CheckpointError, unknown_choice

GROUP = "lottery.export"
PLAIN, SHRUNK, CSR = "plain", "shrunk", "csr"
FORMS = {
    PLAIN: "names nothing of this project",
    SHRUNK: "plain, without the units that are dead",
    CSR: "a ticket's size, for lottery_core.load_sparse",
}


class Exporter(Protocol):
    """What an entry point of the group is."""

    def __call__(self, path: Path, output: Path, form: str) -> str:
        """Write ``output`` from the checkpoint ``path`` in one of :data:`FORMS`; says in a few words what it is now."""


def export(path: Path, output: Path, form: str = PLAIN) -> str:
    """Write a checkpoint in another form.

    :param path: a checkpoint of a framework
    :param output: the file to write
    :param form: one of :data:`FORMS`
    :returns: what was written, for people
    :raises CheckpointError: the file cannot be read, needs no export, has no such form, or its plugin is not installed
    :raises ConfigError: no such form
    :raises WriteError: the file cannot be written
    """
    if form not in FORMS:
        raise unknown_choice(form, "form", FORMS)
    kind = format_of(path)
    if form == PLAIN and kind in (SB3, STATE):
        raise CheckpointError(f"{path} names nothing of this project: it can be used as it is")
    if form == SHRUNK and kind == STATE:
        raise CheckpointError(
            f"{path} holds weights alone, not how they are connected: give the framework's checkpoint"
        )
    if output.exists() and output.samefile(path):
        raise CheckpointError(f"{output} is the checkpoint itself, which a training can go on from: name another file")
    if form == CSR and kind in (SB3, STATE):
        from lottery_core.inference.sparse_file import save_sparse

        return save_sparse(state_of(path), output)
    for point in entry_points(group=GROUP, name=kind):
        exporter: Exporter = point.load()
        return exporter(path, output, form)
    raise CheckpointError(f"exporting a checkpoint of {kind} needs the plugin of {kind}: pip install it")
