"""Export a checkpoint so that it works without this project: plain, smaller, or sparse.

The plugin of each framework exports that framework's checkpoints; the dialect names the function.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from lottery_core import dialects
from lottery_core.checkpoints import dialect_of, is_safetensors, state_of
from lottery_core.errors import CheckpointError, ConfigError, unknown_choice
from lottery_core.inference.sparse_file import save_sparse

PLAIN, SHRUNK, CSR, ONNX, CTRANSLATE2 = "plain", "shrunk", "csr", "onnx", "ctranslate2"
FORMS = {
    PLAIN: "does not depend on this project",
    SHRUNK: "plain, without dead units",
    CSR: "sparse, as small as a ticket; read by lottery_core.load_sparse",
    ONNX: "policies for onnxruntime: actions, without torch or Python (extra 'onnx')",
    CTRANSLATE2: "translation models for CTranslate2, a folder (extra 'ctranslate2')",
}
# Option -> the forms that have it.
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "shrunk": (ONNX, CTRANSLATE2),
    "int8": (ONNX, CTRANSLATE2),
    "normalize": (ONNX,),
    "env": (ONNX,),
    "episodes": (ONNX,),
    "data": (CTRANSLATE2,),
}


class Exporter(Protocol):
    """The function that a dialect names as ``export``."""

    def __call__(self, path: Path, output: Path, form: str, trust: bool, **options: Any) -> str:
        """Export the checkpoint ``path`` to ``output`` in one of :data:`FORMS`; return a description of the result.

        With ``trust``, code that the checkpoint contains may run. ``options`` are those of :data:`OPTIONS` that were
        given, which only some forms have.
        """


def export(path: str | Path, output: str | Path, form: str = PLAIN, trust: bool = False, **options: Any) -> str:
    """Export a checkpoint to another form.

    Some forms have options:

    - ``shrunk=True`` (``onnx``, ``ctranslate2``): remove dead units first, as the form ``shrunk`` does
    - ``int8=True`` (``onnx``, ``ctranslate2``): store the weights in 8 bits
    - ``normalize=True`` (``onnx``): the model normalises observations itself
    - ``env="ID"`` (``onnx``): the environment that the model is checked in
    - ``episodes=N`` (``onnx`` with ``int8``): episodes that are played before and after
    - ``data="FOLDER"`` (``ctranslate2``): the folder with the dictionaries and the test split

    :param path: a framework's checkpoint
    :param output: the file to write
    :param form: one of :data:`FORMS`
    :param trust: whether code in the file may run, if its framework needs that
    :param options: options of the form, see above; ``None`` and ``False`` are as if not given
    :returns: a description of what was written
    :raises CheckpointError: the file cannot be read, needs no export, cannot be exported to this form, or its plugin is
        not installed
    :raises ConfigError: the form is unknown or has no such option, a package that it needs is missing, or the file
        would run code and ``trust`` is ``False``
    :raises WriteError: the file cannot be written
    """
    path, output = Path(path), Path(output)
    if form not in FORMS:
        raise unknown_choice(form, "form", FORMS)
    options = _checked(form, options)
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
    return exporter(path, output, form, trust, **options)


def _checked(form: str, options: Mapping[str, Any]) -> dict[str, Any]:
    # Only the options that were given, so that exporters of other packages need not know those of later versions.
    given = {name: value for name, value in options.items() if value is not None and value is not False}
    for name in given:
        if name not in OPTIONS:
            raise unknown_choice(name, "option of an export", OPTIONS)
        if form not in OPTIONS[name]:
            raise ConfigError(f"--{name} is an option of --form {' and '.join(OPTIONS[name])}, not of {form}")
    if "episodes" in given:
        if "int8" not in given:
            raise ConfigError("--episodes needs --int8: it is the number of episodes played before and after")
        if given["episodes"] < 2:
            raise ConfigError(f"--episodes must be at least 2, not {given['episodes']}")
    return given
