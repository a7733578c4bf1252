"""Export a checkpoint so that it works without this project: plain, smaller, or sparse.

The plugin of each framework exports that framework's checkpoints; the dialect names the function.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from lottery_core import dialects
from lottery_core.checkpoints import dialect_of, is_safetensors, state_of
from lottery_core.errors import CheckpointError, unknown_choice
from lottery_core.inference.sparse_file import save_sparse

PLAIN, SHRUNK, CSR = "plain", "shrunk", "csr"
FORMS = {
    PLAIN: "does not depend on this project",
    SHRUNK: "plain, without dead units",
    CSR: "sparse, as small as a ticket; read by lottery_core.load_sparse",
}


class Exporter(Protocol):
    """The function that a dialect names as ``export``."""

    def __call__(self, path: Path, output: Path, form: str, trust: bool) -> str:
        """Export the checkpoint ``path`` to ``output`` in one of :data:`FORMS`; return a description of the result.

        With ``trust``, code that the checkpoint contains may run.
        """


def export(path: Path, output: Path, form: str = PLAIN, trust: bool = False) -> str:
    """Export a checkpoint to another form.

    :param path: a framework's checkpoint
    :param output: the file to write
    :param form: one of :data:`FORMS`
    :param trust: whether code in the file may run, if its framework needs that
    :returns: a description of what was written
    :raises CheckpointError: the file cannot be read, needs no export, cannot be exported to this form, or its plugin is
        not installed
    :raises ConfigError: the form is unknown, or the file would run code and ``trust`` is ``False``
    :raises WriteError: the file cannot be written
    """
    if form not in FORMS:
        raise unknown_choice(form, "form", FORMS)
    dialect = dialect_of(path)
    if dialect.self_contained and is_safetensors(path):
        state_of(path)  # raises an error for a ticket, which is not a model
    if form == PLAIN and dialect.self_contained:
        raise CheckpointError(f"{path} does not depend on this project: it can be used as it is")
    if form == SHRUNK and dialect.export is None:
        raise CheckpointError(
            f"{path} holds only weights, not how layers are connected: give the framework's checkpoint"
        )
    if output.exists() and output.samefile(path):
        raise CheckpointError(
            f"{output} is the checkpoint itself, which is needed to resume training: choose another output file"
        )
    if form == CSR and dialect.self_contained:
        return save_sparse(state_of(path), output)
    if dialect.export is None:
        raise CheckpointError(f"checkpoints of {dialect.title} have no form {form}")
    try:
        exporter: Exporter = dialects.load(dialect.export)
    except ImportError as error:
        raise CheckpointError(
            f"exporting a checkpoint of {dialect.title} needs its plugin, which is not installed here: {error}"
        ) from error
    return exporter(path, output, form, trust)
