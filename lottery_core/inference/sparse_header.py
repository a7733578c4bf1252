"""The header of a sparse file, checked before memory is allocated for its tensors."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lottery_core.errors import CheckpointError
from lottery_core.files import believable, from_json, printable, why_no_shape

FORMAT = "lottery-sparse"
VERSION = 1
DTYPES = {str(dtype)[6:]: dtype for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)}
REST, GAPS, VALUES = "rest.", "gaps.", "values."
_MOST_DIMENSIONS = 64
_MOST_INDEX = 1 << 31  # columns and values have 4-byte indices


@dataclass(frozen=True)
class Packed:
    """A matrix that is stored sparse.

    :param shape: the tensor's shape, with two or more dimensions
    :param dtype: the type of its values
    :param count: number of stored values
    :param steps: number of steps that encode the positions of the values, see
        :func:`lottery_core.tickets.encoding.pack_gaps`
    """

    shape: torch.Size
    dtype: torch.dtype
    count: int
    steps: int

    @property
    def parts(self) -> int:
        """The number of blocks of bytes that hold the values."""
        return self.dtype.itemsize


@dataclass(frozen=True)
class Header:
    """The content of the header, as JSON values except for ``packed``; see :func:`read_header`.

    :param framework: name of the framework that can build the model from ``config``
    :param config: the model's configuration
    :param aliases: further names of tied tensors -> the name under which the tensor is stored
    :param packed: matrices that are stored sparse, by name
    """

    framework: str
    config: Mapping[str, Any]
    aliases: Mapping[str, str]
    packed: Mapping[str, Packed] = field(default_factory=dict)


def read_header(header: Mapping[str, Any], payload: Mapping[str, Tensor]) -> Header:
    """Read the header and check it against the tensors that the file contains.

    :param header: the JSON object in the file
    :param payload: the file's tensors by name
    :raises CheckpointError: a value has a wrong type, a tensor is missing or unknown, a name occurs twice, or there are
        more weights than the file's bytes can hold
    """
    result = from_json(Header, header, CheckpointError, {"packed": _packed})
    for name, matrix in result.packed.items():
        _check_size(name, matrix)
    _check_blocks(result, payload)
    _check_names(result, payload)
    held = sum(tensor.numel() for name, tensor in payload.items() if not name.startswith(REST))
    weights = sum(matrix.shape.numel() for matrix in result.packed.values())
    memory = sum(matrix.shape.numel() * matrix.dtype.itemsize for matrix in result.packed.values())
    if not believable(weights, memory, held):
        raise CheckpointError(f"it claims {weights} weights, more than a file of its size can hold")
    return result


def _packed(value: Any) -> dict[str, Packed]:
    if not isinstance(value, list):
        raise CheckpointError("'packed' must be a list")
    result: dict[str, Packed] = {}
    for entry in value:
        if not isinstance(entry, list) or len(entry) != 5:
            raise CheckpointError("the header describes a matrix in another form")
        name, shape, dtype, count, steps = entry
        right = isinstance(name, str) and isinstance(shape, list) and 2 <= len(shape) <= _MOST_DIMENSIONS
        if not right or not all(map(_whole, (*shape, count, steps))) or not isinstance(dtype, str):
            raise CheckpointError(f"the header describes the matrix '{printable(name, 60)}' in another form")
        if dtype not in DTYPES or max(shape) >= _MOST_INDEX or math.prod(shape) >= 1 << 62:
            raise CheckpointError(f"the matrix '{printable(name, 60)}' has a shape or a type that no matrix has")
        if name in result:
            raise CheckpointError(f"the header names '{printable(name, 60)}' twice")
        result[name] = Packed(torch.Size(shape), DTYPES[dtype], count, steps)
    return result


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62


def _check_size(name: str, matrix: Packed) -> None:
    reason = why_no_shape(matrix.shape)
    if reason is None and not matrix.count <= min(matrix.shape.numel(), _MOST_INDEX):
        reason = f"it has {matrix.count} values in {matrix.shape.numel()} places"
    if reason is None and matrix.steps < matrix.count:
        reason = f"it has {matrix.steps} steps to {matrix.count} values"
    if reason is not None:
        raise CheckpointError(f"the header does not fit the data: '{printable(name, 60)}': {reason}")


def _check_blocks(header: Header, payload: Mapping[str, Tensor]) -> None:
    packed = header.packed.items()
    expected = {f"{GAPS}{name}" for name, _ in packed}
    expected |= {f"{VALUES}{name}.{index}" for name, matrix in packed for index in range(matrix.parts)}
    blocks = {name for name in payload if not name.startswith(REST)}
    if blocks != expected:
        name = min(blocks ^ expected)
        what = "unknown" if name in blocks else "missing"
        raise CheckpointError(f"the header does not fit the data: '{printable(name, 60)}' is {what}")
    for name in expected:
        if payload[name].dtype != torch.uint8 or payload[name].dim() != 1:
            raise CheckpointError(f"the header does not fit the data: '{printable(name, 60)}' is no block of bytes")
    for name in payload.keys() - expected:
        reason = why_no_shape(payload[name].shape)
        if reason is not None:
            raise CheckpointError(f"'{printable(name, 60)}' has no believable shape: {reason}")


def _check_names(header: Header, payload: Mapping[str, Tensor]) -> None:
    rest = {name.removeprefix(REST) for name in payload if name.startswith(REST)}
    twice = [*(header.packed.keys() & rest), *(header.aliases.keys() & (header.packed.keys() | rest))]
    if twice:
        raise CheckpointError(f"the header names '{printable(min(twice), 60)}' twice")
    names = {*header.packed, *rest}
    lost = set(header.aliases.values()) - names
    if lost:
        raise CheckpointError(f"the header does not fit the data: there is no '{printable(min(lost), 60)}'")
    for text in (*names, *header.aliases, header.framework):
        if not text.isprintable():
            raise CheckpointError(f"'{printable(text, 60)}' has control characters, which no name has")


def checksum(header: bytes, payload: Mapping[str, Tensor]) -> int:
    """Compute the CRC-32 of the header and every tensor, in the order of their names.

    :param header: the header's JSON without its checksum, with sorted keys
    :param payload: the file's tensors by name
    """
    total = zlib.crc32(header)
    for name in sorted(payload):
        data: Any = payload[name].contiguous().reshape(-1).view(torch.uint8).numpy()
        total = zlib.crc32(data, zlib.crc32(name.encode(), total))
    return total
