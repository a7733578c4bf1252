"""The format of the ticket file, and how to read it without trusting it; :meth:`Ticket.save` writes it.

The file is safetensors, readable without this project: ``mask`` (packed bits of the pool in sorted name order) and
``values.DTYPE.I`` (byte I of every surviving value), each a zstd frame; ``rest.NAME`` (parameters outside the scope,
and buffers) as plain tensors; and a metadata entry ``lottery`` with everything else as JSON.
"""

from __future__ import annotations

import itertools
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lottery_core import dialects
from lottery_core.errors import TicketError
from lottery_core.files import believable, parse_json, printable, why_no_shape, why_not_regular
from lottery_core.tickets.encoding import pack_bits, pack_planes, unpack_bits, unpack_planes, why_not_stored
from lottery_core.tickets.masks import Masks
from lottery_core.tickets.origin import Origin, check_words

FORMAT = "lottery-ticket"
FORMAT_VERSION = 1
_HEADER = "lottery"
_MASK, _VALUES, _REST = "mask", "values.", "rest."
_DTYPES = {str(dtype)[6:]: dtype for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)}


@dataclass(frozen=True)
class _Entry:
    """A tensor of the pool, as described in the header."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    survivors: int

    @property
    def count(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class TicketContent:
    """The content of a ticket file; the digest is the one that the file claims to have."""

    masks: Masks
    weights: dict[str, Tensor]
    rest: dict[str, Tensor]
    origin: Origin
    digest: str


def header_of(masks: Masks, weights: Mapping[str, Tensor], origin: Origin) -> dict[str, Any]:
    """Return everything about a ticket except its masks and values, as JSON values.

    :raises TicketError: a tensor is not floating point
    """
    for name in masks:
        if weights[name].dtype not in _DTYPES.values():
            raise TicketError(f"'{printable(name)}' has the type {weights[name].dtype}, not floating point")
    survivors = masks.survivors()
    check_words([*masks, origin.as_json()])
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "pool": masks.pool,
        "pruned": masks.pruned,
        "surviving": masks.surviving,
        "origin": origin.as_json(),
        "tensors": [
            [name, list(mask.shape), str(weights[name].dtype)[6:], survivors[name]] for name, mask in masks.items()
        ],
    }


def encode(
    masks: Masks, weights: Mapping[str, Tensor], rest: Mapping[str, Tensor], origin: Origin, digest: str
) -> bytes:
    """Return the bytes of a ticket file; the same content gives the same bytes.

    :param masks: which parameters survive
    :param weights: start values of the pool
    :param rest: start values of everything outside the pool
    :param origin: how the ticket was found
    :param digest: digest of the content
    :raises TicketError: a tensor is not floating point, or the file could not be read again
    """
    from safetensors.torch import save

    payload = {_MASK: pack_bits(torch.cat([mask.reshape(-1) for mask in masks.values()]))}
    for word, dtype in _DTYPES.items():
        names = [name for name in masks if weights[name].dtype == dtype]
        if names:
            values = torch.cat([weights[name][masks[name]] for name in names])
            payload |= {f"{_VALUES}{word}.{index}": plane for index, plane in enumerate(pack_planes(values))}
    payload |= {f"{_REST}{name}": tensor.contiguous() for name, tensor in rest.items()}
    check_words(list(rest))
    reason = why_not_stored(rest)
    if reason is not None:
        raise TicketError(reason)
    Origin.of_json(parse_json(json.dumps(origin.as_json())))
    header = json.dumps({**header_of(masks, weights, origin), "digest": digest}, sort_keys=True)
    data = bytes(save(payload, {_HEADER: header}))
    memory = masks.pool + sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    if not believable(masks.pool, memory, _held(payload)):
        raise TicketError(f"{masks.surviving} survivors of {masks.pool} parameters are too few for a ticket file")
    return data


def decode(path: str | Path, values: bool = True) -> TicketContent:
    """Read a ticket file. Memory is allocated only as far as the file's size can account for it.

    :param path: the file
    :param values: whether to unpack the values of the survivors, which takes most of the time
    :raises TicketError: the file is missing, corrupted, truncated, foreign or of a later format
    """
    path = Path(path)
    header, payload = _open(path)
    try:
        entries, digest = _entries(header, payload), header["digest"]
        memory = sum(entry.count * (1 + _DTYPES[entry.dtype].itemsize) for entry in entries)
        if not believable(header["pool"], memory, _held(payload)):
            raise TicketError(f"it claims {header['pool']} parameters, more than a file of its size can hold")
        masks = _masks(entries, payload[_MASK], header["pool"])
        weights = _weights(entries, masks, payload) if values else {}
        rest = {name.removeprefix(_REST): tensor for name, tensor in payload.items() if name.startswith(_REST)}
        if not masks.keys().isdisjoint(rest):
            raise TicketError("a tensor is both in the pool and outside it")
        origin = Origin.of_json(header["origin"])
        check_words([*masks, *rest, origin.as_json()])
        return TicketContent(masks, weights, rest, origin, digest)
    except TicketError as error:
        raise TicketError(f"cannot read {path}: {error}") from error
    except Exception as error:  # a damaged or hostile file may raise anything
        raise TicketError(f"cannot read {path}: the header does not fit the data ({printable(error)})") from error


def claimed_digest(path: str | Path) -> str:
    """Read the digest that a ticket file claims to have; only its header is read.

    :param path: the file
    :raises TicketError: the file is not a ticket file
    """
    header, _ = _open(Path(path), with_data=False)
    return str(header.get("digest"))


def _held(payload: Mapping[str, Tensor]) -> int:
    # Counts the bytes of masks and values; tensors outside the pool are stored unpacked.
    return sum(tensor.numel() for name, tensor in payload.items() if not name.startswith(_REST))


def _open(path: Path, with_data: bool = True) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    if path.is_dir():
        raise TicketError(_folder(path))
    reason = why_not_regular(path)
    if reason is not None:
        raise TicketError(f"cannot read {path}: {reason}")
    title = _model_zip(path)
    if title is not None:
        raise TicketError(
            f"{path} is the zip of a {title} model, not a ticket: `lottery prune` makes tickets (of an experiment: "
            "ticket.safetensors beside the zip)"
        )
    try:
        with safe_open(str(path), framework="pt") as file:
            text = (file.metadata() or {}).get(_HEADER)
            header = parse_json(text) if text else {}
            if not isinstance(header, dict) or header.get("format") != FORMAT:
                raise TicketError(f"{path} is not a ticket (a safetensors file without a ticket's header)")
            version = header.get("version")
            if version != FORMAT_VERSION or isinstance(version, (bool, float)):
                raise TicketError(
                    f"{path} has ticket format {printable(version, 40)}; this version reads format {FORMAT_VERSION}"
                )
            return header, {name: file.get_tensor(name) for name in file.keys() if with_data}  # noqa: SIM118
    except TicketError:
        raise
    except Exception as error:  # a damaged or hostile file may raise anything
        why = getattr(error, "strerror", None) or error
        kind = "not a ticket, or damaged" if isinstance(error, (SafetensorError, OSError, ValueError)) else "damaged"
        raise TicketError(f"cannot read {path}: {kind} ({printable(why)})") from error


def _folder(path: Path) -> str:
    # Looks in the folder of a run or of an experiment, but no deeper, because the folder may be anything.
    tickets = sorted(some for way in ("", "seed-*/*/round-*/") for some in path.glob(f"{way}ticket.safetensors"))
    if tickets:
        return f"cannot read {path}: it is a folder (Is a directory); a ticket in it is {printable(tickets[0])}"
    return f"cannot read {path}: Is a directory, without a ticket in it"


def _model_zip(path: Path) -> str | None:
    # Names the framework whose model the zip file is.
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except Exception:  # a damaged zip is not a ticket either
        return None
    return next((row.title for row in dialects.every() if row.archive_member in names), None)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _entries(header: Mapping[str, Any], payload: Mapping[str, Tensor]) -> list[_Entry]:
    for key in ("pool", "pruned", "surviving"):
        if not _whole(header.get(key)):
            raise TicketError(f"the header's '{key}' must be a whole number, not {printable(header.get(key), 40)}")
    if not isinstance(header.get("digest"), str) or not isinstance(header.get("tensors"), list):
        raise TicketError("the header has no digest or no tensors")
    entries = []
    for each in header["tensors"]:
        if not isinstance(each, list) or len(each) != 4:
            raise TicketError("the header describes a tensor in another form")
        name, shape, dtype, survivors = each
        right = isinstance(name, str) and isinstance(shape, list) and all(map(_whole, shape)) and len(shape) <= 64
        if not right or dtype not in _DTYPES or not _whole(survivors):
            raise TicketError(f"the header describes the tensor '{printable(name, 60)}' in another form")
        entries.append(_Entry(name, tuple(shape), dtype, survivors))
    shapes = [
        *((entry.name, entry.shape) for entry in entries),
        *((name, each.shape) for name, each in payload.items()),
    ]
    for name, reason in ((name, why_no_shape(shape)) for name, shape in shapes):
        if reason is not None:
            raise TicketError(f"'{printable(name, 60)}' has no believable shape: {reason}")
    names = [entry.name for entry in entries]
    if names != sorted(set(names)):
        raise TicketError("the header names tensors twice, or not in order")
    if sum(entry.count for entry in entries) != header["pool"] or not header["pool"]:
        raise TicketError("the pool has another length than the header says")
    if any(entry.survivors > entry.count for entry in entries):
        raise TicketError("a tensor has more survivors than parameters")
    surviving = sum(entry.survivors for entry in entries)
    if surviving != header["surviving"] or header["pool"] - surviving != header["pruned"]:
        raise TicketError("the header's counts of pruned and surviving parameters contradict each other")
    _check_payload(entries, payload)
    return entries


def _check_payload(entries: list[_Entry], payload: Mapping[str, Tensor]) -> None:
    words = sorted({entry.dtype for entry in entries})
    expected = {_MASK, *(f"{_VALUES}{word}.{index}" for word in words for index in range(_DTYPES[word].itemsize))}
    blobs = {name for name in payload if not name.startswith(_REST)}
    if blobs != expected:
        name = min(blobs ^ expected)
        raise TicketError(f"the block of data '{printable(name, 60)}' is {'unknown' if name in blobs else 'missing'}")
    if any(payload[name].dtype != torch.uint8 or payload[name].dim() != 1 for name in expected):
        raise TicketError("a block of data has another type than bytes")


def _ends(counts: list[int]) -> list[int]:
    return list(itertools.accumulate(counts[:-1]))


def _masks(entries: list[_Entry], blob: Tensor, pool: int) -> Masks:
    flat = unpack_bits(blob, pool)
    masks = {
        entry.name: part.reshape(entry.shape)
        for entry, part in zip(entries, flat.tensor_split(_ends([entry.count for entry in entries])), strict=True)
    }
    for entry in entries:
        if int(masks[entry.name].sum()) != entry.survivors:
            raise TicketError(f"the mask of '{printable(entry.name)}' has another count of survivors than the header")
    return Masks(masks)


def _weights(entries: list[_Entry], masks: Masks, payload: Mapping[str, Tensor]) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    for word in {entry.dtype for entry in entries}:
        dtype = _DTYPES[word]
        those = [entry for entry in entries if entry.dtype == word]
        blobs = [payload[f"{_VALUES}{word}.{index}"] for index in range(dtype.itemsize)]
        values = unpack_planes(blobs, sum(entry.survivors for entry in those), dtype)
        for entry, part in zip(those, values.tensor_split(_ends([entry.survivors for entry in those])), strict=True):
            weights[entry.name] = torch.zeros(entry.shape, dtype=dtype, device="cpu")
            weights[entry.name][masks[entry.name]] = part
    return {entry.name: weights[entry.name] for entry in entries}
