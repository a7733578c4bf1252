"""Reading weights out of other people's files without unpickling anything but tensors.

Supported are safetensors, torch files of a state dict (also one under ``model`` or ``state_dict``), and the checkpoints
and zips of every framework that has a dialect.
"""

from __future__ import annotations

import io
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from lottery_core.tickets import Weights, weights_of_file, without_aliases, without_copies


def read_weights(path: str | Path, key: str | None = None) -> Weights:
    """Read the weights in a file of any supported format.

    :param path: a safetensors file, a torch file or a framework's zip, recognised by its content
    :param key: where the state dict is in a torch file that holds several, e.g. ``"generator"`` or ``"nets.actor"``
    :raises CheckpointError: a missing file, another format, a pickle that asks for more than tensors, or several state
        dicts that could be meant; names them
    """
    return read_with_facts(path, key)[0]


@dataclass(frozen=True)
class Facts:
    """What a file says about the training of its weights.

    :param steps: unit -> number of what they were trained for, e.g. ``{"updates": 1000}``; empty where it does not say
    :param origin: the ``seed`` of the training, and the ``rewind_point`` that it wrote, where it says so
    """

    steps: Mapping[str, int] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)


def read_with_facts(path: str | Path, key: str | None = None) -> tuple[Weights, Facts]:
    """Read the weights in a file, and what it says about their training.

    :param path: see :func:`read_weights`
    :param key: see :func:`read_weights`
    :returns: the weights, and what the file says
    :raises CheckpointError: see :func:`read_weights`
    """
    path = _regular(path)
    if is_safetensors(path):
        return Weights.load(path), Facts()
    with _one_line(path):
        content = _read(path, key)
        return weights_of_state(content.state, str(path), content.dialect, content.parameters), content.facts


def state_of(path: str | Path) -> Mapping[str, Tensor]:
    """Read the state dict in a file of any supported format as it is: with aliases, target networks and buffers.

    :raises CheckpointError: see :func:`read_weights`
    """
    path = _regular(path)
    if is_safetensors(path):
        return Weights.load(path).tensors
    with _one_line(path):
        return _read(path, None).state


def dialect_of(path: str | Path) -> Dialect:
    """The dialect of a file; that of plain torch for weights and nothing else.

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
    """Load everything in a torch file to the CPU, under the allow-list; empty for a file that is no dictionary.

    :raises CheckpointError: a missing file, another format, or a pickle that asks for more than the list has
    """
    content = _load(_regular(path), str(path))
    return content if isinstance(content, dict) else {}


def weights_of_state(
    state: Mapping[str, Tensor], source: str, dialect: Dialect | None = None, parameters: int | None = None
) -> Weights:
    """The weights in a state dict: tied parameters once, without target networks, which follow the online ones.

    :param state: a state dict; its tensors are not copied
    :param source: the file or model it comes from, for messages
    :param dialect: says which networks are target networks; recognised by the names where it is ``None``
    :param parameters: how many parameters the optimizers in the same file step, where it has optimizers
    """
    row = dialect or dialects.of_names(state)
    if row.target_network is not None:
        pattern = row.target_network
        state = {name: tensor for name, tensor in without_aliases(state).items() if not pattern.match(name)}
    return weights_of_file(state, source, parameters)


@dataclass(frozen=True)
class _Content:
    """What a file holds.

    :param state: the state dict
    :param dialect: the dialect that recognised the file
    :param parameters: how many parameters its optimizers step, where it has optimizers
    :param facts: what it says about the training
    """

    state: dict[str, Tensor]
    dialect: Dialect | None
    parameters: int | None
    facts: Facts = field(default_factory=Facts)


def _read(path: Path, key: str | None) -> _Content:
    archive = _archive(path)
    if archive is not None:
        return archive
    content = _load(path, str(path))
    row = _checkpoint_dialect(content) if isinstance(content, Mapping) else None
    state, alone = find_state_dict(content, str(path), key)
    parameters = stepped_parameters(content) if row is None and alone else None
    facts = _facts(row or dialects.named("plain"), content) if isinstance(content, Mapping) else Facts()
    return _Content(without_copies(state) if row is not None and row.unties else state, row, parameters, facts)


def _facts(row: Dialect, content: Mapping[str, Any]) -> Facts:
    return Facts(row.steps_trained(content), row.origin(content))


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    # What a hostile file holds can be anything, and raise anything when it is looked at.
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
    """Whether a file begins as safetensors do.

    :raises CheckpointError: it cannot be read
    """
    try:
        with open(path, "rb") as file:
            return file.read(10)[8:9] == b"{"  # eight bytes of length, then JSON
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error


def _archive(path: Path) -> _Content | None:
    # The state dict that is a member of a framework's zip; torch's own files are zips without such a member.
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
        except Exception as error:  # a damaged file can raise anything
            raise CheckpointError(f"cannot read {path}: it is damaged ({printable(error)})") from error
        state, _ = find_state_dict(_load(member, f"{path} ({row.archive_member})"), str(path))
        counts = [stepped_parameters(_load(optimizer, f"{path} (optimizer)")) for optimizer in optimizers]
        return _Content(state, row, sum(filter(None, counts)) or None, _facts(row, _json_object(facts)))
    return None


def _json_object(data: bytes) -> Mapping[str, Any]:
    # Nothing depends on it but a warning: what cannot be read says nothing.
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
            warnings.simplefilter("ignore")  # what torch thinks of the file; the line below says what is wrong
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
        why = f"it asks to unpickle {printable(wanted.group(1), 80)}" if wanted else f"it is not a {what}"
    else:
        reason = printable((str(error).splitlines() or [""])[0])
        why = f"it is not a {what}, or damaged ({reason})"
    return CheckpointError(f"cannot read {name}: {why}")
