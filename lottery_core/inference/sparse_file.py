"""The file format of a sparse model, as small as a ticket and read without a dense copy.

It is a safetensors file. A matrix at least 10% pruned is stored as ``gaps.NAME`` (distances between non-zero values)
and ``values.NAME.I`` (byte I of every non-zero value), each a zstd frame; any other tensor as ``rest.NAME``. The
metadata entry ``lottery`` holds everything else as JSON.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from lottery_core.errors import CheckpointError, TicketError
from lottery_core.files import write_bytes
from lottery_core.inference.layers import CsrMatrix
from lottery_core.tickets import pack_gaps, pack_planes, tied_names, unpack_gaps, unpack_planes

FORMAT = "lottery-sparse"
_VERSION = 1
_HEADER = "lottery"
_LEAST_PRUNED = 0.1  # below, packing saves nothing
_DTYPES = {str(dtype)[6:]: dtype for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)}


def save_sparse(
    state: Mapping[str, Tensor], output: Path, framework: str = "", config: Mapping[str, Any] | None = None
) -> str:
    """Write the weights of a model to a sparse file.

    :param state: the model's state dict; tied tensors are written once
    :param output: the file to write
    :param framework: name of the framework that can build the model from ``config``
    :param config: the model's configuration, of JSON types
    :returns: a description of what was written
    :raises CheckpointError: no matrix is pruned
    :raises WriteError: the file cannot be written
    """
    from safetensors.torch import save

    aliases = tied_names(state)
    kept = {name: tensor for name, tensor in state.items() if name not in aliases}
    payload: dict[str, Tensor] = {}
    packed: list[list[Any]] = []
    total = zeros = 0
    for name, tensor in kept.items():
        tensor = tensor.detach().cpu()
        count = int(tensor.count_nonzero())
        if tensor.dim() < 2 or tensor.dtype not in _DTYPES.values() or count > (1 - _LEAST_PRUNED) * tensor.numel():
            payload[f"rest.{name}"] = tensor.contiguous().clone()
            continue
        mask = (tensor != 0).reshape(-1)
        payload[f"gaps.{name}"], steps = pack_gaps(mask)
        planes = pack_planes(tensor.reshape(-1)[mask])
        payload |= {f"values.{name}.{index}": plane for index, plane in enumerate(planes)}
        packed.append([name, list(tensor.shape), str(tensor.dtype)[6:], count, steps])
        total, zeros = total + tensor.numel(), zeros + tensor.numel() - count
    if not packed:
        raise CheckpointError("no matrix has zeros in it (is it a ticket?): a sparse file would be no smaller")
    header = {
        "format": FORMAT,
        "version": _VERSION,
        "framework": framework,
        "config": config or {},
        "aliases": aliases,
        "packed": packed,
    }
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

    try:
        with safe_open(str(path), framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(_HEADER, "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError):
        return False
    return isinstance(header, dict) and header.get("format") == FORMAT


class SparseFile:
    """A sparse file opened for reading; tensors are unpacked on request.

    :param path: a file that :func:`save_sparse` wrote
    :raises CheckpointError: the file is missing, damaged, of a later format or not a sparse file
    """

    def __init__(self, path: str | Path) -> None:
        from safetensors import safe_open

        self.path = Path(path)
        self._packed: dict[str, tuple[torch.Size, torch.dtype, int, int]] = {}
        self._payload: dict[str, Tensor] = {}
        if not self.path.is_file():
            raise CheckpointError(f"cannot read {path}: {'Is a directory' if self.path.is_dir() else 'No such file'}")
        try:
            with safe_open(str(path), framework="pt") as file:
                header = json.loads((file.metadata() or {}).get(_HEADER, "{}"))
                if not isinstance(header, dict) or header.get("format") != FORMAT:
                    raise CheckpointError(f"{path} is not a sparse model; lottery export --form csr writes one")
                if header["version"] != _VERSION:
                    raise CheckpointError(
                        f"{path} has format {header['version']} of sparse models; this version reads {_VERSION}"
                    )
                self._payload = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            self.framework, self.config = str(header["framework"]), dict(header["config"])
            self.aliases = {str(name): str(first) for name, first in header["aliases"].items()}
            self._packed = {
                name: (torch.Size(shape), _DTYPES[dtype], count, steps)
                for name, shape, dtype, count, steps in header["packed"]
            }
            damaged = header.pop("crc") != _crc(header, self._payload)
            fits = self._fits()
        except CheckpointError:
            raise
        except Exception as error:  # a damaged or hostile file can raise anything
            raise CheckpointError(f"cannot read {path}: not a sparse model, or damaged ({error})") from error
        if damaged:
            raise CheckpointError(f"cannot read {path}: the content does not match its checksum (file damaged?)")
        if not fits:
            raise CheckpointError(f"cannot read {path}: the header does not fit the data")

    def _fits(self) -> bool:
        blobs = {name for name in self._payload if name.startswith("rest.")}
        for name, (_, dtype, count, steps) in self._packed.items():
            parts = {f"gaps.{name}", *(f"values.{name}.{index}" for index in range(dtype.itemsize))}
            blobs |= parts
            if not (isinstance(count, int) and isinstance(steps, int) and parts <= self._payload.keys()):
                return False
        names = self.shapes().keys()
        if blobs != self._payload.keys() or not set(self.aliases.values()) <= names:
            return False
        return all(map(str.isprintable, [*names, *self.aliases, self.framework]))  # no terminal escape codes

    def shapes(self) -> dict[str, torch.Size]:
        """Map the name of every tensor to its shape; aliases are left out."""
        rest = {name[5:]: tensor.shape for name, tensor in self._payload.items() if name.startswith("rest.")}
        return {**{name: shape for name, (shape, *_) in self._packed.items()}, **rest}

    def is_floating_point(self, name: str) -> bool:
        """Return whether a tensor holds floating-point numbers."""
        return name in self._packed or self._payload[f"rest.{name}"].is_floating_point()

    def pruned(self, name: str) -> float:
        """Return the fraction of a tensor that is zero; 0.0 if it is stored dense."""
        if name not in self._packed:
            return 0.0
        shape, _, count, _ = self._packed[name]
        return 1 - count / shape.numel()

    def tensor(self, name: str) -> Tensor:
        """Read a tensor as a dense one.

        :param name: the tensor's name
        :raises CheckpointError: the tensor is damaged
        """
        if name not in self._packed:
            return self._payload[f"rest.{name}"]
        shape, dtype, _, _ = self._packed[name]
        positions, values = (
            self._positions(name),
            self._values(name),
        )  # validated before allocating a possibly hostile shape
        dense = torch.zeros(shape, dtype=dtype)
        dense.view(-1)[positions.long()] = values
        return dense

    def matrix(self, name: str) -> CsrMatrix:
        """Read a packed matrix as a sparse one; dimensions after the first are flattened into columns.

        :param name: the matrix's name
        :raises CheckpointError: the matrix is damaged
        """
        shape = self._packed[name][0]
        rows, columns = shape[0], shape[1:].numel()
        positions = self._positions(name).numpy()
        starts = numpy.searchsorted(
            positions, numpy.arange(rows + 1, dtype=positions.dtype) * positions.dtype.type(columns)
        )
        indices = (positions % positions.dtype.type(columns)).astype(numpy.int32, copy=False)
        row_starts = torch.from_numpy(starts.astype(numpy.int32))
        return CsrMatrix(row_starts, torch.from_numpy(indices), self._values(name), columns)

    def _positions(self, name: str) -> Tensor:
        shape, _, count, steps = self._packed[name]
        try:
            return unpack_gaps(self._payload[f"gaps.{name}"], steps, count, shape.numel())
        except TicketError as error:
            raise CheckpointError(f"cannot read {self.path}: {error}") from error

    def _values(self, name: str) -> Tensor:
        _, dtype, count, _ = self._packed[name]
        blobs = [self._payload[f"values.{name}.{index}"] for index in range(dtype.itemsize)]
        return unpack_planes(blobs, count, dtype)


def _crc(header: Mapping[str, Any], payload: Mapping[str, Tensor]) -> int:
    total = zlib.crc32(json.dumps(header, sort_keys=True).encode())
    for name in sorted(payload):
        data: Any = payload[name].contiguous().reshape(-1).view(torch.uint8).numpy()
        total = zlib.crc32(data, zlib.crc32(name.encode(), total))
    return total
