"""Reading weights out of other people's files without unpickling anything but tensors.

Supported are safetensors, torch files of a state dict (also one under ``model`` or ``state_dict``), and the checkpoints
and zips of every framework that has a dialect.
"""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lottery_core import dialects
from lottery_core.checkpoints.safe_globals import safe_loading
from lottery_core.dialects import Dialect
from lottery_core.errors import CheckpointError
from lottery_core.tickets import Weights, outside_by_name, without_aliases, without_copies


def read_weights(path: str | Path) -> Weights:
    """Read the weights in a file of any supported format.

    :param path: a safetensors file, a torch file or a framework's zip, recognised by its content
    :raises CheckpointError: a missing file, another format, or a pickle that asks for more than tensors
    """
    path = Path(path)
    return Weights.load(path) if _is_safetensors(path) else weights_of_state(state_of(path), str(path))


def state_of(path: str | Path) -> Mapping[str, Tensor]:
    """Read the state dict in a file of any supported format as it is: with aliases, target networks and buffers.

    :raises CheckpointError: see :func:`read_weights`
    """
    path = Path(path)
    if _is_safetensors(path):
        return Weights.load(path).tensors
    archive = _archive(path)
    return _state_dict(_load(path, str(path)), path) if archive is None else archive[1]


def dialect_of(path: str | Path) -> Dialect:
    """The dialect of a file; that of plain torch for weights and nothing else.

    :param path: a file that :func:`read_weights` can read
    :raises CheckpointError: see :func:`read_weights`
    """
    path = Path(path)
    plain = dialects.named("plain")
    if _is_safetensors(path):
        return plain
    archive = _archive(path)
    return archive[0] if archive is not None else _checkpoint_dialect(load_checkpoint(path)) or plain


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Load everything in a torch file to the CPU, under the allow-list; empty for a file that is no dictionary.

    :raises CheckpointError: a missing file, another format, or a pickle that asks for more than the list has
    """
    content = _load(Path(path), str(path))
    return content if isinstance(content, dict) else {}


def weights_of_state(state: Mapping[str, Tensor], source: str) -> Weights:
    """The weights in a state dict: tied parameters once, without target networks, which follow the online ones.

    :param state: a state dict; its tensors are not copied
    :param source: the file or model it comes from, for messages
    """
    tensors = {name: tensor for name, tensor in without_aliases(state).items() if not dialects.is_target(name)}
    return Weights(tensors, frozenset(outside_by_name(tensors)), source)


def _is_safetensors(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(10)[8:9] == b"{"  # eight bytes of length, then JSON
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error


def _archive(path: Path) -> tuple[Dialect, dict[str, Tensor]] | None:
    # The state dict that is a member of a framework's zip; torch's own files are zips without such a member.
    if not zipfile.is_zipfile(path):
        return None
    for row in dialects.every():
        if row.archive_member is None:
            continue
        try:
            with zipfile.ZipFile(path) as archive:
                if row.archive_member not in archive.namelist():
                    continue
                member = io.BytesIO(archive.read(row.archive_member))
        except Exception as error:  # a damaged file can raise anything
            raise CheckpointError(f"cannot read {path}: it is damaged ({error})") from error
        return row, _state_dict(_load(member, f"{path} ({row.archive_member})"), path)
    return None


def _checkpoint_dialect(content: Mapping[str, Any]) -> Dialect | None:
    rows = (row for row in dialects.every() if row.checkpoint_key is not None)
    return next((row for row in rows if row.checkpoint_key in content), None)


def _load(file: Path | io.BytesIO, name: str) -> Any:
    try:
        with safe_loading():
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise anything
        raise unreadable(error, name) from error


def unreadable(error: Exception, name: str, what: str = "file of weights") -> CheckpointError:
    """The error for a file that ``torch.load`` with ``weights_only=True`` could not load.

    :param error: the exception that it raised
    :param name: the file's name
    :param what: what the file should have been
    """
    if isinstance(error, pickle.UnpicklingError):
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        why = f"it asks to unpickle {wanted.group(1)}" if wanted else f"it is not a {what}"
    else:
        reason = (str(error).splitlines() or [""])[0]
        why = f"it is not a {what}, or damaged ({reason})"
    return CheckpointError(f"cannot read {name}: {why}")


def _state_dict(value: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(value, Mapping):
        for key in ("model", "state_dict", "model_state_dict"):
            if isinstance(value.get(key), Mapping):
                state = _state_dict(value[key], path)
                row = _checkpoint_dialect(value)
                return without_copies(state) if row is not None and row.unties else state
        tensors = {
            name: tensor for name, tensor in value.items() if isinstance(name, str) and isinstance(tensor, Tensor)
        }
        if tensors:
            return tensors
    raise CheckpointError(f"cannot read {path}: there is no state dict in it")
