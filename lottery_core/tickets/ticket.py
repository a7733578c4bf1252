"""The ticket: masks, the values that the survivors start from, and how it was found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lottery_core.errors import TicketError
from lottery_core.files import write_bytes
from lottery_core.tickets.masks import Masks
from lottery_core.tickets.names import first_names, matching, plain_names, renamed_heads, require_same_shapes
from lottery_core.tickets.origin import Origin
from lottery_core.tickets.ticket_file import decode, encode, header_of
from lottery_core.tickets.ties import live_parameters


@dataclass(frozen=True, eq=False)
class Ticket:
    """A mask over the pool together with the values that training starts from (arXiv 1906.02768, section 3.1).

    Treat it as read-only. Tickets with the same digest are equal.

    :param masks: which parameters survive
    :param weights: start values of the pool, by name, exactly 0.0 where pruned
    :param rest: start values of parameters outside the scope, and buffers
    :param origin: how the ticket was found
    """

    masks: Masks
    weights: Mapping[str, Tensor]
    rest: Mapping[str, Tensor] = field(default_factory=dict)
    origin: Origin = field(default_factory=Origin)

    def __eq__(self, other: object) -> bool:
        return self.digest == other.digest if isinstance(other, Ticket) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)

    @classmethod
    def of(cls, masks: Masks, start: Mapping[str, Tensor], origin: Origin) -> Ticket:
        """Make the ticket that starts at ``masks`` x ``start``; values outside the masks' pool are kept unchanged.

        :param masks: which parameters survive
        :param start: start values by name, at least those of the pool
        :param origin: how the ticket was found
        :raises MaskError: ``start`` lacks a tensor of the pool or has another shape
        """
        rest = {name: tensor.detach().cpu().clone() for name, tensor in start.items() if name not in masks}
        return cls(masks, {name: tensor.cpu() for name, tensor in masks.apply(start).items()}, rest, origin)

    def start(self) -> dict[str, Tensor]:
        """Return all start values by name, of the pool and of the rest."""
        return {**self.weights, **self.rest}

    def load_into(self, model: nn.Module, ignore: Collection[str] = ()) -> None:
        """Set the parameters and buffers of ``model`` to the start values, bit for bit.

        :param model: the model
        :param ignore: names of parameters of ``model`` that are not part of the ticket, e.g. of a target network
        :raises MismatchError: a tensor is missing, surplus or has another shape; the model is then unchanged
        """
        ticket = self.named_for(model, ignore)
        targets = ticket.require_fit_of(model, ignore)
        with torch.no_grad():
            for name, tensor in ticket.start().items():
                targets[name].copy_(tensor)

    def require_fit_of(self, model: nn.Module, ignore: Collection[str] = ()) -> dict[str, Tensor]:
        """Check that the ticket's tensors fit those of a model; their names must be those in the model.

        :param model: the model
        :param ignore: names of parameters of ``model`` that are not part of the ticket
        :returns: the model's parameters and buffers that the ticket has values for, by name
        :raises MismatchError: they differ; the message names the first tensor that does, and both shapes
        """
        plain, start = plain_names(model), self.start()
        targets: dict[str, Tensor] = {
            plain(name): buffer for name, buffer in model.named_buffers() if plain(name) in start
        }
        targets |= {name: same[0] for name, same in live_parameters(model, ignore).items()}
        self.require_fit({name: tensor.shape for name, tensor in targets.items()})
        return targets

    def named_as(self, names: Iterable[str]) -> Ticket:
        """Return the same ticket under other names, if these differ from its own only by a common prefix.

        :param names: names of a model's or a file's tensors
        """
        own = self.start()
        mapping = matching(own, list(names))
        return self if mapping is None else self._renamed(mapping)

    def named_for(self, model: nn.Module, ignore: Collection[str] = ()) -> Ticket:
        """Return the same ticket under the names that ``model`` has.

        All names may differ by a common prefix, and a tied parameter may have another of its names.

        :param model: the model
        :param ignore: names of parameters of ``model`` that are not part of the ticket
        """
        own = self.start()
        first = first_names(model)
        parameters = list(live_parameters(model, ignore))
        buffers = {plain_names(model)(name) for name, _ in model.named_buffers()}
        mapping = matching(own, parameters, buffers)
        if mapping is None:
            aliases = {name: first.get(name, name) for name in own}
            renamed = (
                matching(aliases.values(), parameters, buffers) if len(set(aliases.values())) == len(own) else None
            )
            mapping = None if renamed is None else {name: renamed[alias] for name, alias in aliases.items()}
        return self if mapping is None else self._renamed(mapping)

    def _renamed(self, mapping: Mapping[str, str]) -> Ticket:
        if all(name == other for name, other in mapping.items()):
            return self
        masks = Masks({mapping[name]: mask for name, mask in self.masks.items()})
        weights = {mapping[name]: tensor for name, tensor in self.weights.items()}
        rest = {mapping[name]: tensor for name, tensor in self.rest.items()}
        origin = replace(
            self.origin,
            heads=renamed_heads(self.origin.heads, mapping),
            spared={mapping.get(name, name): count for name, count in self.origin.spared.items()},
            carried=tuple(sorted(mapping.get(name, name) for name in self.origin.carried)),
        )
        return replace(self, masks=masks, weights=weights, rest=rest, origin=origin)

    def require_fit(self, shapes: Mapping[str, torch.Size], where: str = "the model") -> None:
        """Check that the ticket's tensors fit those of a model or a file.

        :param shapes: shapes by name
        :param where: the model or file, for messages
        :raises MismatchError: they differ; the message names the first tensor that does, and both shapes
        """
        own = {name: tensor.shape for name, tensor in self.start().items()}
        require_same_shapes(own, shapes, "the ticket", where)

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 of the content: the same masks, values and origin give the same digest, on any machine.

        It is computed from uncompressed masks and values, so it does not depend on the version of zstd.
        """
        header = json.dumps(header_of(self.masks, self.weights, self.origin), sort_keys=True)
        return self._digest_after(header)

    @cached_property
    def content(self) -> str:
        """Return the SHA-256 of the masks and the values alone: tickets with the same content train alike."""
        return self._digest_after("")

    def _digest_after(self, header: str) -> str:
        digest = hashlib.sha256(header.encode())
        for name, mask in self.masks.items():
            _add(digest, "mask", name, mask)
            _add(digest, "values", name, self.weights[name][mask])
        for name in sorted(self.rest):
            _add(digest, "rest", name, self.rest[name])
        return digest.hexdigest()

    def to_bytes(self) -> bytes:
        """Return the bytes of the ticket file; the same ticket gives the same bytes.

        :raises TicketError: a tensor is not floating point, or there are too few survivors for a file that can be read
        """
        tensors = {name: self.weights[name] for name in self.masks}
        return encode(self.masks, tensors, self.rest, self.origin, self.digest)

    def save(self, path: str | Path) -> None:
        """Write the ticket file, atomically.

        :raises WriteError: the file cannot be written
        """
        write_bytes(path, self.to_bytes())

    @classmethod
    def load(cls, path: str | Path) -> Ticket:
        """Read a ticket file and check it against its digest.

        :raises TicketError: the file is missing, corrupted, truncated, foreign or of a later format
        """
        content = decode(path)
        ticket = cls(content.masks, content.weights, content.rest, content.origin)
        if ticket.digest != content.digest:
            raise TicketError(f"cannot read {path}: the content does not match its digest (file damaged?)")
        return ticket

    def with_masks(self, masks: Masks) -> Ticket:
        """Return the ticket of these masks with the same start values.

        :param masks: masks of the same pool that prune what this ticket's do, and more
        """
        return Ticket.of(masks, self.start(), self.origin)

    def with_origin(self, **changes: Any) -> Ticket:
        """Return a copy with some fields of the origin changed."""
        return replace(self, origin=replace(self.origin, **changes))


def read_masks(path: str | Path) -> Masks:
    """Read the masks of a ticket file; its values stay packed, so its digest, which covers them, is not checked.

    :param path: the file
    :raises TicketError: the file is missing, truncated, foreign or of a later format
    """
    return decode(path, values=False).masks


def read_masks_and_names(path: str | Path) -> tuple[Masks, tuple[str, ...]]:
    """Read the masks of a ticket file, and the names of its tensors outside the pool; see :func:`read_masks`.

    :param path: the file
    :raises TicketError: the file is missing, truncated, foreign or of a later format
    """
    content = decode(path, values=False)
    return content.masks, tuple(content.rest)


def _add(digest: hashlib._Hash, what: str, name: str, tensor: Tensor) -> None:
    digest.update(f"\n{what} {name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
    digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
