"""The bytes of tickets and sparse models: masks as packed bits or gaps, values as byte planes, compressed with zstd.

The exponent bytes of weights repeat and the mantissa bytes do not, so planes of one byte each compress, while the
floats themselves do not.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lottery_core.errors import TicketError
from lottery_core.files import printable

# The types that every version of safetensors can write and read.
_STORED = {
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64),
    *(torch.bool, torch.complex64),
}
_NO_STOP = 255
_LEVEL = 1  # higher levels cost time and gain nothing on mantissa bytes and random bits


def why_not_stored(tensors: Mapping[str, Tensor]) -> str | None:
    """Name a tensor whose type this project's files cannot store; ``None`` if all can be stored.

    :param tensors: tensors by name
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in _STORED or tensor.layout is not torch.strided or tensor.is_quantized:
            return f"'{printable(name)}' has the type {str(tensor.dtype)[6:]}, which no file of this project holds"
    return None


def pack_bits(mask: Tensor) -> Tensor:
    """Pack a flat bool tensor as zstd-compressed bits (first element in the lowest bit of the first byte).

    :returns: uint8 tensor, flat
    """
    import numpy

    return _compress(numpy.packbits(mask.numpy(), bitorder="little").tobytes())


def unpack_bits(blob: Tensor, count: int) -> Tensor:
    """Invert :func:`pack_bits` for ``count`` elements.

    :raises TicketError: the bytes do not encode ``count`` bits
    """
    import numpy

    packed = numpy.frombuffer(_expand(blob, (count + 7) // 8), dtype=numpy.uint8)
    if count % 8 and packed[-1] >> (count % 8):
        raise TicketError("a block of data is damaged: bits are set behind its end")
    return torch.from_numpy(numpy.unpackbits(packed, count=count, bitorder="little")).view(torch.bool)


def pack_planes(values: Tensor) -> list[Tensor]:
    """Pack a flat tensor as one zstd-compressed blob per byte of its type: all first bytes, all second bytes, ...

    :returns: uint8 tensors, one per byte of the type
    """
    planes = values.contiguous().view(torch.uint8).reshape(-1, values.element_size()).T
    return [_compress(plane.contiguous().numpy().tobytes()) for plane in planes]


def unpack_planes(blobs: list[Tensor], count: int, dtype: torch.dtype) -> Tensor:
    """Invert :func:`pack_planes` for ``count`` elements of ``dtype``.

    :raises TicketError: the bytes do not encode ``count`` values
    """
    for blob in blobs:  # before memory is allocated for an untrusted count
        _frame(blob, count)
    planes = torch.empty(count, len(blobs), dtype=torch.uint8, device="cpu")
    for index, blob in enumerate(blobs):
        data = bytearray(_expand(blob, count))
        if count:
            planes[:, index] = torch.frombuffer(data, dtype=torch.uint8)
    return planes.view(dtype).reshape(-1) if count else torch.empty(0, dtype=dtype, device="cpu")


def pack_gaps(mask: Tensor) -> tuple[Tensor, int]:
    """Delta-encode the positions of True; for sparse masks, this is faster to read than bits.

    Each byte is the distance from the previous ``True`` (at first from -1); 255 leads to a position that is not
    ``True``.

    :param mask: bool, flat
    :returns: uint8 tensor, flat, zstd-compressed; and the number of encoded steps
    """
    import numpy

    gaps = numpy.diff(numpy.flatnonzero(mask.numpy()), prepend=-1)
    long = gaps // _NO_STOP
    steps = numpy.full(len(gaps) + int(long.sum()), _NO_STOP, dtype=numpy.uint8)
    steps[numpy.cumsum(long + 1) - 1] = gaps % _NO_STOP
    return _compress(steps.tobytes()), len(steps)


def unpack_gaps(blob: Tensor, steps: int, stops: int, count: int) -> Tensor:
    """Invert :func:`pack_gaps`: return the positions where the mask is ``True``.

    :param blob: from :func:`pack_gaps`
    :param steps: number of steps, from :func:`pack_gaps`
    :param stops: number of positions that are ``True``
    :param count: length of the mask
    :returns: ascending int32 (int64 for a mask of 2^31 and more), flat
    :raises TicketError: the bytes do not encode such positions
    """
    import numpy

    if not stops <= steps <= stops + count // _NO_STOP:
        raise TicketError("a block of data is damaged: so many steps cannot be")
    read = numpy.frombuffer(_expand(blob, steps), dtype=numpy.uint8)
    still = numpy.flatnonzero(read == 0)  # a step of 0 repeats a position, except after steps of 255
    twice = len(still) and (not still[0] or bool((read[still - 1] != _NO_STOP).any()))
    if twice or int(read.sum(dtype=numpy.int64)) > count:
        raise TicketError("a block of data is damaged: its steps lead elsewhere, or to a place twice")
    places = numpy.cumsum(read, dtype=numpy.int32 if count < 1 << 31 else numpy.int64)
    places -= 1
    if stops < steps:
        places = places[read != _NO_STOP]
    if len(places) != stops:
        raise TicketError("a block of data is damaged: its steps lead elsewhere")
    return torch.from_numpy(places)


def _compress(data: bytes) -> Tensor:
    import zstandard

    return torch.frombuffer(bytearray(zstandard.ZstdCompressor(level=_LEVEL).compress(data)), dtype=torch.uint8)


def _frame(blob: Tensor, size: int) -> bytes:
    # Check the length that an untrusted frame claims before allocating memory for it. Whether the whole file can
    # account for such a length is checked by its reader.
    import zstandard

    frame = blob.numpy().tobytes()
    try:
        if zstandard.frame_content_size(frame) != size:
            raise TicketError("a block of data has another length than the header says")
    except zstandard.ZstdError as error:
        raise TicketError(f"a block of data is damaged: {error}") from error
    return frame


def _expand(blob: Tensor, size: int) -> bytes:
    import zstandard

    frame = _frame(blob, size)
    try:
        data = zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise TicketError(f"a block of data is damaged: {error}") from error
    if len(data) != size:
        raise TicketError("a block of data has another length than the header says")
    return data
