"""Read the weights in foreign files without unpickling anything but tensors.

Supported are safetensors, torch files of a state dict (also nested under ``model`` or ``state_dict``), and the
checkpoints and zips of every framework that has a dialect.
"""

from __future__ import annotations

import io
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lottery_core import dialects
from lottery_core.checkpoints.bombs import check_memory
from lottery_core.checkpoints.nested import find_state_dict, stepped_parameters
from lottery_core.checkpoints.safe_globals import safe_loading
from lottery_core.dialects import Dialect
from lottery_core.errors import CheckpointError, LotteryError
from lottery_core.files import parse_json, printable, why_not_regular
from lottery_core.tickets import Weights, plain_file_names, weights_of_file, without_aliases, without_copies


def read_weights(path: str | Path, key: str | None = None) -> Weights:
    """Read the weights in a file of any supported format.

    :param path: a safetensors file, a torch file or a framework's zip, recognised by its content
    :param key: position of the state dict in a torch file that has several, e.g. ``"generator"`` or ``"nets.actor"``
    :raises CheckpointError: the file is missing, has another format, or its pickle asks for more than tensors; or there
        are several candidates for the state dict, which the message names; or a key is given for another format
    """
    return read_with_facts(path, key)[0]


@dataclass(frozen=True)
class Facts:
    """What a file says about how its weights were trained.

    :param steps: unit -> number of steps, e.g. ``{"updates": 1000}``; empty if unknown
    :param origin: the ``seed`` of the run, and the ``rewind_point`` that it wrote, if they are known
    :param heads: attention -> number of its heads, as far as they are known
    """

    steps: Mapping[str, int] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)
    heads: Mapping[str, int] = field(default_factory=dict)


def read_with_facts(path: str | Path, key: str | None = None) -> tuple[Weights, Facts]:
    """Read the weights in a file, and what it says about how they were trained.

    :param path: see :func:`read_weights`
    :param key: see :func:`read_weights`
    :returns: the weights and the facts about their training
    :raises CheckpointError: see :func:`read_weights`
    """
    path = _regular(path)
    if is_safetensors(path):
        if key is not None:
            raise _no_key(path, key)
        return Weights.load(path), Facts()
    with _one_line(path):
        content = _read(path, key)
        weights = weights_of_state(content.state, str(path), content.dialect, content.parameters)
        return replace(weights, heads=content.facts.heads), content.facts


def state_of(path: str | Path) -> Mapping[str, Tensor]:
    """Read the state dict in a file of any supported format unchanged, with aliases, target networks and buffers.

    :raises CheckpointError: see :func:`read_weights`
    """
    path = _regular(path)
    if is_safetensors(path):
        return Weights.load(path).tensors
    with _one_line(path):
        return _read(path, None).state


def dialect_of(path: str | Path) -> Dialect:
    """Return the dialect of a file; for a file with nothing but weights, the dialect of plain torch.

    :param path: a file that :func:`read_weights` can read
    :raises CheckpointError: see :func:`read_weights`
    """
    path = _regular(path)
    if is_safetensors(path):
        return dialects.named("plain")
    with _one_line(path):
        archive = _archive(path)
        if archive is not None and archive.dialect is not None:
            return archive.dialect
        return _checkpoint_dialect(load_checkpoint(path)) or dialects.named("plain")


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Load everything in a torch file to the CPU, under the allow-list; empty if the content is not a dictionary.

    :raises CheckpointError: the file is missing, has another format, or its pickle needs more than the allow-list
    """
    content = _load(_regular(path), str(path))
    return content if isinstance(content, dict) else {}


def weights_of_state(
    state: Mapping[str, Tensor], source: str, dialect: Dialect | None = None, parameters: int | None = None
) -> Weights:
    """Return the weights in a state dict, each tied parameter once, and without target networks.

    :param state: a state dict; its tensors are not copied
    :param source: the file or model that it comes from, for messages
    :param dialect: identifies target networks; if ``None``, it is recognised by the names
    :param parameters: number of parameters that the optimizers in the same file step; ``None`` if unknown
    """
    row = dialect or dialects.of_names(state)
    if row.target_network is not None:
        pattern = row.target_network
        state = {name: tensor for name, tensor in without_aliases(state).items() if not pattern.match(name)}
    return weights_of_file(state, source, parameters)


@dataclass(frozen=True)
class _Content:
    """The content of a file.

    :param state: the state dict
    :param dialect: the dialect that recognised the file
    :param parameters: number of parameters that its optimizers step; ``None`` if it has no optimizers
    :param facts: what it says about the training of its weights
    """

    state: dict[str, Tensor]
    dialect: Dialect | None
    parameters: int | None
    facts: Facts = field(default_factory=Facts)


def _read(path: Path, key: str | None) -> _Content:
    archive = _archive(path)
    if archive is not None and key is not None:
        raise _no_key(path, key)
    if archive is not None:
        return archive
    content = _load(path, str(path))
    row = _checkpoint_dialect(content) if isinstance(content, Mapping) else None
    state, alone = find_state_dict(content, str(path), key)
    parameters = stepped_parameters(content) if row is None and alone else None
    facts = _facts(row or dialects.named("plain"), content, state) if isinstance(content, Mapping) else Facts()
    return _Content(without_copies(state) if row is not None and row.unties else state, row, parameters, facts)


def _no_key(path: Path, key: str) -> CheckpointError:
    return CheckpointError(
        f"there is no '{printable(key)}' in {path}, whose format has a single state dict: leave the key out"
    )


def _facts(row: Dialect, content: Mapping[str, Any], state: Mapping[str, Tensor]) -> Facts:
    names = set(plain_file_names(state).values())
    return Facts(row.steps_trained(content), row.origin(content), row.heads(content, names))


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    # The content of a hostile file may be anything, and may raise anything when it is examined.
    try:
        yield
    except LotteryError:
        raise
    except Exception as error:
        raise unreadable(error, str(path)) from error


def _regular(path: str | Path) -> Path:
    reason = why_not_regular(path)
    if reason is not None:
        raise CheckpointError(f"cannot read {path}: {reason}")
    return Path(path)


def is_safetensors(path: Path) -> bool:
    """Return whether a file begins as a safetensors file does.

    :raises CheckpointError: the file cannot be read
    """
    try:
        with open(path, "rb") as file:
            return file.read(10)[8:9] == b"{"  # eight bytes of length, then JSON
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error


def _archive(path: Path) -> _Content | None:
    # Reads the state dict that is a member of a framework's zip; torch's own zips have no such member.
    if not zipfile.is_zipfile(path):
        return None
    check_memory(path, str(path))
    for row in dialects.every():
        if row.archive_member is None:
            continue
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
                if row.archive_member not in names:
                    continue
                member = io.BytesIO(archive.read(row.archive_member))
                pattern = row.optimizer_members
                facts = archive.read(row.archive_facts) if row.archive_facts in names else b"{}"
                optimizers = [io.BytesIO(archive.read(name)) for name in names if pattern and pattern.match(name)]
        except Exception as error:  # a damaged file may raise anything
            raise CheckpointError(f"cannot read {path}: it is damaged ({printable(error)})") from error
        state, _ = find_state_dict(_load(member, f"{path} ({row.archive_member})"), str(path))
        counts = [stepped_parameters(_load(optimizer, f"{path} (optimizer)")) for optimizer in optimizers]
        return _Content(state, row, sum(filter(None, counts)) or None, _facts(row, _json_object(facts), state))
    return None


def _json_object(data: bytes) -> Mapping[str, Any]:
    # Only a warning depends on these facts, so files without readable facts are accepted.
    try:
        value = parse_json(data.decode())
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _checkpoint_dialect(content: Mapping[str, Any]) -> Dialect | None:
    rows = (row for row in dialects.every() if row.checkpoint_key is not None)
    return next((row for row in rows if row.checkpoint_key in content), None)


def _load(file: Path | io.BytesIO, name: str) -> Any:
    check_memory(file, name)
    try:
        with safe_loading(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's warnings about the file; the error below says what is wrong
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may raise anything
        raise unreadable(error, name) from error


def unreadable(error: Exception, name: str, what: str = "file of weights") -> CheckpointError:
    """Make the error for a file that ``torch.load`` with ``weights_only=True`` could not load.

    :param error: the exception that it raised
    :param name: the file's name
    :param what: what the file should have been
    """
    if isinstance(error, pickle.UnpicklingError):
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        why = f"it asks to unpickle {printable(wanted.group(1), 80)}" if wanted else f"it is not a {what}"
    else:
        reason = printable((str(error).splitlines() or [""])[0])
        why = f"it is not a {what}, or damaged ({reason})"
    return CheckpointError(f"cannot read {name}: {why}")
