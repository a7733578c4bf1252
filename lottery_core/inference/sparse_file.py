"""The file format of a sparse model: as small as a ticket, and read without a dense copy.

It is a safetensors file. A matrix at least 10% pruned is stored as ``gaps.NAME`` (distances between non-zero values)
and ``values.NAME.I`` (byte I of every non-zero value), each a zstd frame; any other tensor as ``rest.NAME``. The
metadata entry ``lottery`` holds everything else as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from lottery_core.errors import CheckpointError, TicketError
from lottery_core.files import parse_json, printable, why_not_regular, write_bytes
from lottery_core.inference.layers import CsrMatrix
from lottery_core.inference.sparse_header import DTYPES, FORMAT, GAPS, REST, VALUES, VERSION, checksum, read_header
from lottery_core.tickets import is_own, pack_gaps, pack_planes, tied_names, unpack_gaps, unpack_planes, why_not_stored

_HEADER = "lottery"
_LEAST_PRUNED = 0.1  # below, packing saves nothing


def save_sparse(
    state: Mapping[str, Tensor], output: Path, framework: str = "", config: Mapping[str, Any] | None = None
) -> str:
    """Write the weights of a model to a sparse file.

    :param state: the model's state dict; tied tensors are written once
    :param output: the file to write
    :param framework: name of the framework that can build the model from ``config``
    :param config: the model's configuration, of JSON types
    :returns: a description of what was written
    :raises CheckpointError: no matrix is pruned, or the file could not be read again, e.g. because hardly a weight
        survives
    :raises WriteError: the file cannot be written
    """
    from safetensors.torch import save

    state = {name: tensor for name, tensor in state.items() if is_own(name, tensor)}
    aliases = tied_names(state)
    kept = {name: tensor for name, tensor in state.items() if name not in aliases}
    payload: dict[str, Tensor] = {}
    packed: list[list[Any]] = []
    total = zeros = 0
    for name, tensor in kept.items():
        tensor = tensor.detach().cpu()
        may_be_packed = tensor.dim() > 1 and tensor.numel() > 0 and tensor.dtype in DTYPES.values()
        count = int(tensor.count_nonzero()) if may_be_packed else 0
        if not may_be_packed or count > (1 - _LEAST_PRUNED) * tensor.numel():
            payload[f"{REST}{name}"] = tensor.contiguous().clone()
            continue
        mask = (tensor != 0).reshape(-1)
        payload[f"{GAPS}{name}"], steps = pack_gaps(mask)
        planes = pack_planes(tensor.reshape(-1)[mask])
        payload |= {f"{VALUES}{name}.{index}": plane for index, plane in enumerate(planes)}
        packed.append([name, list(tensor.shape), str(tensor.dtype)[6:], count, steps])
        total, zeros = total + tensor.numel(), zeros + tensor.numel() - count
    if not packed:
        raise CheckpointError(
            "no matrix contains zeros (is this the checkpoint of a trained ticket?): a sparse file would be no smaller"
        )
    reason = why_not_stored(payload)
    if reason is not None:
        raise CheckpointError(reason)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "framework": framework,
        "config": config or {},
        "aliases": aliases,
        "packed": packed,
    }
    try:
        read_header(header, payload)
    except CheckpointError as error:
        raise CheckpointError(f"the sparse file could not be read again: {error}") from error
    header["crc"] = _crc(header, payload)
    data = save(payload, {_HEADER: json.dumps(header, sort_keys=True)})
    write_bytes(output, data)
    dense = sum(tensor.numel() * tensor.element_size() for tensor in kept.values())
    return (
        f"{len(packed)} matrices, {zeros / total:.1%} of their weights pruned; {len(data) / 1e6:.1f} MB for "
        f"{dense / 1e6:.1f} MB of weights"
    )


def is_sparse_file(path: str | Path) -> bool:
    """Return whether :func:`save_sparse` wrote the file, judging by its header."""
    from safetensors import SafetensorError, safe_open

    if why_not_regular(path) is not None:
        return False
    try:
        with safe_open(str(path), framework="pt") as file:
            header = parse_json((file.metadata() or {}).get(_HEADER, "{}"))
    except (SafetensorError, OSError, ValueError):
        return False
    return isinstance(header, dict) and header.get("format") == FORMAT


class SparseFile:
    """A sparse file opened for reading; tensors are unpacked on request.

    :param path: a file that :func:`save_sparse` wrote
    :raises CheckpointError: the file is missing, damaged, of a later format or not a sparse file
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        reason = why_not_regular(path)
        if reason is not None:
            raise CheckpointError(f"cannot read {path}: {reason}")
        header, self._payload = self._open()
        try:
            if header.pop("crc", None) != _crc(header, self._payload):
                raise CheckpointError("the content does not match its checksum (file damaged?)")
            checked = read_header(header, self._payload)
        except CheckpointError as error:
            raise CheckpointError(f"cannot read {path}: {error}") from error
        except Exception as error:  # a damaged or hostile file may raise anything
            raise CheckpointError(f"cannot read {path}: it is damaged ({printable(error)})") from error
        self.framework, self.config = checked.framework, dict(checked.config)
        self.aliases, self._packed = dict(checked.aliases), checked.packed

    def _open(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        from safetensors import safe_open

        path = self.path
        try:
            with safe_open(str(path), framework="pt") as file:
                header = parse_json((file.metadata() or {}).get(_HEADER, "{}"))
                if not isinstance(header, dict) or header.get("format") != FORMAT:
                    raise CheckpointError(f"{path} is not a sparse model; lottery export --form csr writes one")
                version = header.get("version")
                if version != VERSION or isinstance(version, (bool, float)):
                    raise CheckpointError(
                        f"{path} has format {printable(version, 40)} of sparse models; this version reads {VERSION}"
                    )
                return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except CheckpointError:
            raise
        except Exception as error:  # a damaged or hostile file may raise anything
            why = f"not a sparse model, or damaged ({printable(error)})"
            raise CheckpointError(f"cannot read {path}: {why}") from error

    def shapes(self) -> dict[str, torch.Size]:
        """Map the name of every tensor to its shape; aliases are left out."""
        rest = {
            name.removeprefix(REST): tensor.shape for name, tensor in self._payload.items() if name.startswith(REST)
        }
        return {**{name: matrix.shape for name, matrix in self._packed.items()}, **rest}

    def is_floating_point(self, name: str) -> bool:
        """Return whether a tensor holds floating-point numbers."""
        return name in self._packed or self._payload[f"{REST}{name}"].is_floating_point()

    def pruned(self, name: str) -> float:
        """Return the fraction of a tensor that is zero; 0.0 if it is stored dense."""
        if name not in self._packed:
            return 0.0
        matrix = self._packed[name]
        return 1 - matrix.count / max(1, matrix.shape.numel())

    def tensor(self, name: str) -> Tensor:
        """Read a tensor as a dense one.

        :param name: the tensor's name
        :raises CheckpointError: the tensor is damaged
        """
        if name not in self._packed:
            return self._payload[f"{REST}{name}"]
        matrix = self._packed[name]
        positions, values = self._positions(name), self._values(name)
        dense = torch.zeros(matrix.shape, dtype=matrix.dtype)
        dense.view(-1)[positions.long()] = values
        return dense

    def matrix(self, name: str) -> CsrMatrix:
        """Read a packed matrix as a sparse one; dimensions after the first are flattened into columns.

        :param name: the matrix's name
        :raises CheckpointError: the matrix is damaged
        """
        shape = self._packed[name].shape
        rows, columns = shape[0], shape[1:].numel()
        positions = self._positions(name).numpy()
        starts = numpy.searchsorted(
            positions, numpy.arange(rows + 1, dtype=positions.dtype) * positions.dtype.type(columns)
        )
        indices = (positions % positions.dtype.type(columns)).astype(numpy.int32, copy=False)
        row_starts = torch.from_numpy(starts.astype(numpy.int32))
        return CsrMatrix(row_starts, torch.from_numpy(indices), self._values(name), columns)

    def _positions(self, name: str) -> Tensor:
        matrix = self._packed[name]
        try:
            return unpack_gaps(self._payload[f"{GAPS}{name}"], matrix.steps, matrix.count, matrix.shape.numel())
        except TicketError as error:
            raise CheckpointError(f"cannot read {self.path}: {error}") from error

    def _values(self, name: str) -> Tensor:
        matrix = self._packed[name]
        blobs = [self._payload[f"{VALUES}{name}.{index}"] for index in range(matrix.parts)]
        try:
            return unpack_planes(blobs, matrix.count, matrix.dtype)
        except TicketError as error:
            raise CheckpointError(f"cannot read {self.path}: {error}") from error


def _crc(header: Mapping[str, Any], payload: Mapping[str, Tensor]) -> int:
    return checksum(json.dumps(header, sort_keys=True).encode(), payload)
