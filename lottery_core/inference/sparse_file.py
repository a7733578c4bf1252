"""The file of a sparse model: of a ticket's size, and read into sparse layers without a dense copy.

It is safetensors: ``gaps.NAME`` (steps from value to value) and ``values.NAME.I`` (byte I of every value that is not
zero), each a zstd frame, for every matrix of which enough is pruned; ``rest.NAME`` for every other tensor; and one
metadata entry ``lottery`` with everything else as JSON.
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
_LEAST_PRUNED = 0.1  # below, packing gains nothing
_DTYPES = {str(dtype)[6:]: dtype for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)}


def save_sparse(
    state: Mapping[str, Tensor], output: Path, framework: str = "", config: Mapping[str, Any] | None = None
) -> str:
    """Write the weights of a model.

    :param state: its state dict; a tensor that stands in it several times is written once
    :param output: the file
    :param framework: whose ``config`` it is
    :param config: what its plugin builds the model from, as JSON has it
    :returns: what was written, for people
    :raises CheckpointError: nothing in it is pruned
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
    """Whether the file is one of :func:`save_sparse`, by its header."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(_HEADER, "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError):
        return False
    return isinstance(header, dict) and header.get("format") == FORMAT


class SparseFile:
    """An opened file of :func:`save_sparse`; each tensor is read when it is asked for.

    :param path: the file
    :raises CheckpointError: no such file, another file, damaged, or of a later format
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
                    raise CheckpointError(f"{path} is no sparse model; lottery export --form csr writes one")
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
            mine = {f"gaps.{name}", *(f"values.{name}.{index}" for index in range(dtype.itemsize))}
            blobs |= mine
            if not (isinstance(count, int) and isinstance(steps, int) and mine <= self._payload.keys()):
                return False
        names = self.shapes().keys()
        if blobs != self._payload.keys() or not set(self.aliases.values()) <= names:
            return False
        return all(map(str.isprintable, [*names, *self.aliases, self.framework]))  # they must not drive a terminal

    def shapes(self) -> dict[str, torch.Size]:
        """Every tensor and its shape, without aliases."""
        rest = {name[5:]: tensor.shape for name, tensor in self._payload.items() if name.startswith("rest.")}
        return {**{name: shape for name, (shape, *_) in self._packed.items()}, **rest}

    def is_floating_point(self, name: str) -> bool:
        """Whether a tensor is of floating point numbers."""
        return name in self._packed or self._payload[f"rest.{name}"].is_floating_point()

    def pruned(self, name: str) -> float:
        """Share of a tensor that is zero; 0.0 for one that is not packed."""
        if name not in self._packed:
            return 0.0
        shape, _, count, _ = self._packed[name]
        return 1 - count / shape.numel()

    def tensor(self, name: str) -> Tensor:
        """A tensor, dense.

        :raises CheckpointError: it is damaged
        """
        if name not in self._packed:
            return self._payload[f"rest.{name}"]
        shape, dtype, _, _ = self._packed[name]
        places, values = self._places(name), self._values(name)  # checked before memory is given to a hostile shape
        dense = torch.zeros(shape, dtype=dtype)
        dense.view(-1)[places.long()] = values
        return dense

    def matrix(self, name: str) -> CsrMatrix:
        """A packed matrix, sparse; what it has more than two dimensions is taken as columns.

        :raises CheckpointError: it is damaged
        """
        shape = self._packed[name][0]
        rows, columns = shape[0], shape[1:].numel()
        places = self._places(name).numpy()
        starts = numpy.searchsorted(places, numpy.arange(rows + 1, dtype=places.dtype) * places.dtype.type(columns))
        indices = (places % places.dtype.type(columns)).astype(numpy.int32, copy=False)
        row_starts = torch.from_numpy(starts.astype(numpy.int32))
        return CsrMatrix(row_starts, torch.from_numpy(indices), self._values(name), columns)

    def _places(self, name: str) -> Tensor:
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
