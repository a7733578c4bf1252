"""Reading weights out of other people's files, never unpickling anything but tensors.

Understood: safetensors, torch files of a state dict (also one under ``model`` or ``state_dict``), checkpoints of
fairseq (``fairseq/trainer.py:state_dict``), and the zips that Stable-Baselines3 saves
(``stable_baselines3/common/save_util.py:save_to_zip_file``).
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

from lottery_core.checkpoints.safe_globals import safe_loading
from lottery_core.errors import CheckpointError
from lottery_core.tickets import Weights, outside_by_name, without_aliases, without_copies

FAIRSEQ, SB3, STATE = "fairseq", "stable-baselines3", "state"
_OF_FAIRSEQ = "optimizer_history"
_SB3_POLICY = "policy.pth"
_TARGET_NETWORK = re.compile(r"^[^.]*_target\.")


def read_weights(path: str | Path) -> Weights:
    """The weights in a file of any of the formats above.

    :param path: a safetensors file, a torch file or an SB3 zip; told by content, not by name
    :raises CheckpointError: no such file, not one of these, or a pickle that asks for more than tensors
    """
    path = Path(path)
    return Weights.load(path) if _is_safetensors(path) else weights_of_state(state_of(path), str(path))


def state_of(path: str | Path) -> Mapping[str, Tensor]:
    """The state dict in a file of any of the formats above, as it is: with aliases, target networks, buffers.

    :raises CheckpointError: as :func:`read_weights`
    """
    path = Path(path)
    if _is_safetensors(path):
        return Weights.load(path).tensors
    state = _sb3_policy(path) if zipfile.is_zipfile(path) else None
    return _state_dict(_load(path, str(path)), path) if state is None else state


def format_of(path: str | Path) -> str:
    """Whose file it is: :data:`FAIRSEQ`, :data:`SB3`, or :data:`STATE` for weights and nothing else.

    :param path: a file that :func:`read_weights` understands
    :raises CheckpointError: it is none
    """
    path = Path(path)
    if _is_safetensors(path):
        return STATE
    if zipfile.is_zipfile(path) and _sb3_policy(path) is not None:
        return SB3
    return FAIRSEQ if _OF_FAIRSEQ in load_checkpoint(path) else STATE


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Everything in a torch file, on the CPU, under the allow-list.

    :raises CheckpointError: no such file, not one of torch, or a pickle that asks for more than the list has
    """
    found = _load(Path(path), str(path))
    return found if isinstance(found, dict) else {}


def weights_of_state(state: Mapping[str, Tensor], source: str) -> Weights:
    """The weights in a state dict: tied parameters once, no target networks (they follow the online ones).

    :param state: a state dict; its tensors are not copied
    :param source: where it is from, for messages
    """
    tensors = {name: tensor for name, tensor in without_aliases(state).items() if not is_target(name)}
    return Weights(tensors, frozenset(outside_by_name(tensors)), source)


def is_target(name: str) -> bool:
    """Whether the parameter ``name`` is of a target network, as SB3 names them (``q_net_target.`` ...)."""
    return bool(_TARGET_NETWORK.match(name))


def _is_safetensors(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(10)[8:9] == b"{"  # eight bytes of length, then JSON
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error


def _sb3_policy(path: Path) -> dict[str, Tensor] | None:
    try:
        with zipfile.ZipFile(path) as archive:
            if _SB3_POLICY not in archive.namelist():
                return None
            policy = io.BytesIO(archive.read(_SB3_POLICY))
    except Exception as error:  # a damaged file can raise anything
        raise CheckpointError(f"cannot read {path}: it is damaged ({error})") from error
    return _state_dict(_load(policy, f"{path} ({_SB3_POLICY})"), path)


def _load(file: Path | io.BytesIO, name: str) -> Any:
    try:
        with safe_loading():
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise anything
        raise unreadable(error, name) from error


def unreadable(error: Exception, name: str, what: str = "file of weights") -> CheckpointError:
    """The error for a file that ``torch.load`` with ``weights_only=True`` gave up on.

    :param error: what it raised
    :param name: of the file
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
                # fairseq writes a model from a GPU or in fp16 with every alias as a tensor of its own.
                return without_copies(state) if _OF_FAIRSEQ in value else state
        tensors = {
            name: tensor for name, tensor in value.items() if isinstance(name, str) and isinstance(tensor, Tensor)
        }
        if tensors:
            return tensors
    raise CheckpointError(f"cannot read {path}: there is no state dict in it")
