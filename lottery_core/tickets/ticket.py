"""The ticket: masks, the values that the survivors start from, and how it was found; and the ticket file.

The file is safetensors, readable without this project: ``mask`` (packed bits of the pool in sorted name order) and
``values.DTYPE.I`` (byte I of every surviving value), each a zstd frame; ``rest.NAME`` (parameters outside the scope,
and buffers) as plain tensors; and a metadata entry ``lottery`` with everything else as JSON.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lottery_core.errors import TicketError
from lottery_core.files import write_bytes
from lottery_core.tickets.encoding import pack_bits, pack_planes, unpack_bits, unpack_planes
from lottery_core.tickets.masks import Masks
from lottery_core.tickets.weights import require_same_shapes
from lottery_core.version import VERSION

FORMAT = "lottery-ticket"
FORMAT_VERSION = 1
_HEADER = "lottery"
_CRITERION = "magnitude"  # the default; files of 0.1 know no other
_MOST = 10**12  # parameters; no ticket has more, but a small hostile file can claim them
_DTYPES = {str(dtype)[6:]: dtype for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)}


def versions() -> dict[str, str]:
    """Versions of what decides a ticket's bits."""
    return {"lottery": VERSION, "torch": str(torch.__version__), "python": platform.python_version()}


@dataclass(frozen=True)
class Origin:
    """How a ticket was found.

    :param kind: kind of ticket: winning, random, ...
    :param round: round of pruning; 0 is dense
    :param scope: words of the scope
    :param prune_rate: share of the remaining parameters that this round pruned; ``None`` where a count was given
    :param rewind: origin of the start values, e.g. ``"episodes:160"``
    :param seed: seed of the experiment, or of a control's fresh values and shuffles; ``None`` where unknown
    :param parent: digest of the ticket that this one was pruned or derived from; ``None`` for the first
    :param versions: versions of what decides the bits
    :param criterion: how parameters were ranked for pruning
    """

    kind: str = "winning"
    round: int = 1
    scope: tuple[str, ...] = ("all",)
    prune_rate: float | None = None
    rewind: str = "unknown"
    seed: int | None = None
    parent: str | None = None
    versions: Mapping[str, str] = field(default_factory=versions)
    criterion: str = _CRITERION

    def as_json(self) -> dict[str, Any]:
        """The origin as plain values, without the default criterion, which earlier files lack."""
        values = asdict(self)
        if self.criterion == _CRITERION:
            del values["criterion"]
        return values


@dataclass(frozen=True)
class Ticket:
    """A mask over the pool together with the values that training starts from (PAPER 3.1). Treat it as read-only.

    :param masks: which parameters survive
    :param weights: start values of the pool, by name, exactly 0.0 where pruned
    :param rest: start values of parameters outside the scope, and buffers
    :param origin: how it was found
    """

    masks: Masks
    weights: Mapping[str, Tensor]
    rest: Mapping[str, Tensor] = field(default_factory=dict)
    origin: Origin = field(default_factory=Origin)

    @classmethod
    def of(cls, masks: Masks, start: Mapping[str, Tensor], origin: Origin) -> Ticket:
        """Make the ticket that starts at ``masks`` x ``start``; what is outside the masks' pool is kept whole.

        :param masks: which parameters survive
        :param start: start values by name, at least those of the pool
        :param origin: how it was found
        :raises MaskError: ``start`` lacks a tensor of the pool or has another shape
        """
        rest = {name: tensor.detach().cpu().clone() for name, tensor in start.items() if name not in masks}
        return cls(masks, {name: tensor.cpu() for name, tensor in masks.apply(start).items()}, rest, origin)

    def start(self) -> dict[str, Tensor]:
        """All start values by name, of the pool and of the rest."""
        return {**self.weights, **self.rest}

    def load_into(self, model: nn.Module, ignore: Collection[str] = ()) -> None:
        """Set the parameters and buffers of ``model`` to the start values, bit for bit.

        :param model: the model
        :param ignore: names of parameters of ``model`` that are not part of the ticket, e.g. of a target network
        :raises MismatchError: a missing or surplus tensor, or one of another shape; the model is then unchanged
        """
        start = self.start()
        parameters = {name: p for name, p in model.named_parameters() if name not in ignore}
        targets = {**{name: b for name, b in model.named_buffers() if name in start}, **parameters}
        self.require_fit({name: tensor.shape for name, tensor in targets.items()})
        with torch.no_grad():
            for name, tensor in start.items():
                targets[name].copy_(tensor)

    def require_fit(self, shapes: Mapping[str, torch.Size], where: str = "the model") -> None:
        """Compare the ticket's tensors with those of a model or a file.

        :param shapes: shapes by name
        :param where: the model or file, for messages
        :raises MismatchError: they differ; names the first tensor that does, and both shapes
        """
        own = {name: tensor.shape for name, tensor in self.start().items()}
        require_same_shapes(own, shapes, "the ticket", where)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content: the same masks, values and origin give the same digest, on any machine.

        It covers masks, survivors and the rest uncompressed, so another version of zstd changes nothing.
        """
        digest = hashlib.sha256(json.dumps(self._info(), sort_keys=True).encode())
        for name, mask in self.masks.items():
            _add(digest, "mask", name, mask)
            _add(digest, "values", name, self.weights[name][mask])
        for name in sorted(self.rest):
            _add(digest, "rest", name, self.rest[name])
        return digest.hexdigest()

    def _payload(self) -> dict[str, Tensor]:
        masks = torch.cat([self.masks[name].reshape(-1) for name in self.masks])
        payload = {"mask": pack_bits(masks)}
        for name, dtype in _DTYPES.items():
            keys = [key for key in self.masks if self.weights[key].dtype == dtype]
            if keys:
                values = torch.cat([self.weights[key][self.masks[key]] for key in keys])
                payload |= {f"values.{name}.{index}": plane for index, plane in enumerate(pack_planes(values))}
        return payload | {f"rest.{name}": tensor.contiguous() for name, tensor in self.rest.items()}

    def _info(self) -> dict[str, Any]:
        unpackable = [name for name in self.masks if self.weights[name].dtype not in _DTYPES.values()]
        if unpackable:
            raise TicketError(f"'{unpackable[0]}' is of type {self.weights[unpackable[0]].dtype}, not floating point")
        survivors = self.masks.survivors()
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "pool": self.masks.pool,
            "pruned": self.masks.pruned,
            "surviving": self.masks.surviving,
            "origin": self.origin.as_json(),
            "tensors": [
                [name, list(mask.shape), str(self.weights[name].dtype)[6:], survivors[name]]
                for name, mask in self.masks.items()
            ],
        }

    def to_bytes(self) -> bytes:
        """The ticket file's bytes; the same ticket gives the same bytes."""
        from safetensors.torch import save

        header = json.dumps({**self._info(), "digest": self.digest}, sort_keys=True)
        return bytes(save(self._payload(), {_HEADER: header}))

    def save(self, path: str | Path) -> None:
        """Write the ticket file, atomically.

        :raises WriteError: it cannot be written
        """
        write_bytes(path, self.to_bytes())

    @classmethod
    def load(cls, path: str | Path) -> Ticket:
        """Read a ticket file and check it against its digest.

        :raises TicketError: a missing, corrupted, truncated or foreign file, or one of a later format
        """
        info, payload = _read(path)
        try:
            masks, weights = _unpack(info, payload)
            origin = {**info["origin"], "scope": tuple(info["origin"]["scope"])}
            rest = {name[len("rest.") :]: tensor for name, tensor in payload.items() if name.startswith("rest.")}
            ticket = cls(masks, weights, rest, Origin(**origin))
            shown = _words([*masks, *rest, asdict(ticket.origin)])  # escape sequences must not reach a terminal
            damaged = ticket.digest != info.get("digest")
            if not masks.keys().isdisjoint(rest) or not all(map(str.isprintable, shown)):
                raise TicketError("the header holds names that no ticket has")
        except TicketError as error:
            raise TicketError(f"cannot read {path}: {error}") from error
        except Exception as error:  # a damaged or hostile file can raise anything
            raise TicketError(f"cannot read {path}: the header does not fit the data ({error})") from error
        if damaged:
            raise TicketError(f"cannot read {path}: the content does not match its digest (file damaged?)")
        return ticket

    def with_origin(self, **changes: Any) -> Ticket:
        """A copy with some fields of the origin changed."""
        return replace(self, origin=replace(self.origin, **changes))


def _add(digest: hashlib._Hash, what: str, name: str, tensor: Tensor) -> None:
    digest.update(f"\n{what} {name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
    digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())


def _words(value: object) -> list[str]:
    if isinstance(value, Mapping):
        return [word for pair in value.items() for part in pair for word in _words(part)]
    if isinstance(value, (list, tuple)):
        return [word for part in value for word in _words(part)]
    return [value] if isinstance(value, str) else []


def _read(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise TicketError(f"cannot read {path}: {'Is a directory' if Path(path).is_dir() else 'No such file'}")
    try:
        with safe_open(str(path), framework="pt") as file:
            header = (file.metadata() or {}).get(_HEADER)
            info = json.loads(header) if header else {}
            if not isinstance(info, dict) or info.get("format") != FORMAT:
                raise TicketError(f"{path} is not a ticket (a safetensors file without a ticket's header)")
            version = info.get("version")
            if version != FORMAT_VERSION:
                raise TicketError(f"{path} has ticket format {version}; this version reads format {FORMAT_VERSION}")
            if info.get("pool", 0) > _MOST:
                raise TicketError(f"{path} says that it has {info['pool']} parameters: not believable")
            return info, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except TicketError:
        raise
    except (SafetensorError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TicketError(f"cannot read {path}: not a ticket, or damaged ({reason})") from error


def _unpack(info: Mapping[str, Any], payload: Mapping[str, Tensor]) -> tuple[Masks, dict[str, Tensor]]:
    if sum(torch.Size(shape).numel() for _, shape, _, _ in info["tensors"]) != info["pool"]:
        raise TicketError("the pool has another length than the header says")
    flat = unpack_bits(payload["mask"], info["pool"])
    masks, position = {}, 0
    for name, shape, _, survivors in info["tensors"]:
        count = torch.Size(shape).numel()
        masks[name] = flat[position : position + count].reshape(shape).clone()
        position += count
        if int(masks[name].sum()) != survivors:
            raise TicketError(f"the mask of '{name}' has another count of survivors than the header")
    weights: dict[str, Tensor] = {}
    for dtype_name in {entry[2] for entry in info["tensors"]}:
        dtype = _DTYPES[dtype_name]
        entries = [entry for entry in info["tensors"] if entry[2] == dtype_name]
        blobs = [payload[f"values.{dtype_name}.{index}"] for index in range(dtype.itemsize)]
        values, position = unpack_planes(blobs, sum(entry[3] for entry in entries), dtype), 0
        for name, shape, _, survivors in entries:
            weights[name] = torch.zeros(shape, dtype=dtype)
            weights[name][masks[name]] = values[position : position + survivors]
            position += survivors
    return Masks(masks), weights
