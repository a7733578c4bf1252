"""Export a checkpoint to a form that works without this project, or is smaller or sparse.

A plugin registers its exporter as an entry point of the group ``lottery.export``, named after the checkpoint's format.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from lottery_core.checkpoints import SB3, STATE, format_of, state_of
from lottery_core.errors import CheckpointError, unknown_choice
from lottery_core.inference.sparse_file import save_sparse

GROUP = "lottery.export"
PLAIN, SHRUNK, CSR = "plain", "shrunk", "csr"
FORMS = {
    PLAIN: "does not depend on this project",
    SHRUNK: "plain, without dead units",
    CSR: "sparse, as small as a ticket; read by lottery_core.load_sparse",
}


class Exporter(Protocol):
    """The signature of an entry point of the group ``lottery.export``."""

    def __call__(self, path: Path, output: Path, form: str) -> str:
        """Export the checkpoint ``path`` to ``output`` in one of :data:`FORMS`; return a description of the result."""


def export(path: Path, output: Path, form: str = PLAIN) -> str:
    """Export a checkpoint to another form.

    :param path: the checkpoint of a framework
    :param output: the file to write
    :param form: one of :data:`FORMS`
    :returns: a description of what was written
    :raises CheckpointError: the file cannot be read, needs no export, cannot be exported to this form, or its plugin is
        not installed
    :raises ConfigError: the form is unknown
    :raises WriteError: the file cannot be written
    """
    if form not in FORMS:
        raise unknown_choice(form, "form", FORMS)
    kind = format_of(path)
    if form == PLAIN and kind in (SB3, STATE):
        raise CheckpointError(f"{path} does not depend on this project: it can be used as it is")
    if form == SHRUNK and kind == STATE:
        raise CheckpointError(
            f"{path} holds only weights, not how layers are connected: give the framework's checkpoint"
        )
    if output.exists() and output.samefile(path):
        raise CheckpointError(
            f"{output} is the checkpoint itself, which is needed to resume training: choose another output file"
        )
    if form == CSR and kind in (SB3, STATE):
        return save_sparse(state_of(path), output)
    for point in entry_points(group=GROUP, name=kind):
        exporter: Exporter = point.load()
        return exporter(path, output, form)
    raise CheckpointError(f"exporting a checkpoint of {kind} needs the plugin of {kind}: install it with pip")
