"""How a ticket was found."""

from __future__ import annotations

import platform
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch

from lottery_core.errors import TicketError
from lottery_core.files import from_json, printable
from lottery_core.version import VERSION

_CRITERION = "magnitude"  # the default; files of 0.1 have no other
TOGETHER, SEPARATE = "together", "separate"  # scope shares
WEIGHT, UNIT = "weight", "unit"  # granularities


def versions() -> dict[str, str]:
    """Return the versions of the packages that can change a ticket's bits."""
    return {"lottery": VERSION, "torch": str(torch.__version__), "python": platform.python_version()}


@dataclass(frozen=True)
class Origin:
    """How a ticket was found.

    :param kind: kind of ticket: winning, random, ...
    :param round: round of pruning; 0 is dense
    :param scope: words of the scope
    :param prune_rate: share of the remaining parameters that this round pruned; ``None`` if a count was given
    :param rewind: origin of the start values, e.g. ``"episodes:160"``
    :param seed: seed of the experiment, or of a control's new values and shuffles; ``None`` if unknown
    :param parent: digest of the ticket that this one was pruned or derived from; ``None`` for the first
    :param versions: versions of the packages that can change the ticket's bits
    :param criterion: how parameters were ranked for pruning
    :param spared: tensor name -> number of survivors kept, despite low scores, as the last of a slice of a normalised
        weight
    :param scope_shares: ``"together"``: all networks are one pool; ``"separate"``: each (actor, critic; encoder,
        decoder) is pruned at the same rate
    :param granularity: ``"weight"``: parameters were pruned one by one; ``"unit"``: all parameters of a unit together
    :param asked: number of survivors that the round asked for; whole units meet it to within one unit. ``None`` if
        parameters were pruned one by one
    :param heads: attention -> number of its heads, which are units; empty if parameters were pruned one by one
    :param carried: names of the tensors whose masks came from a ticket of another experiment, the parent; empty if the
        ticket was found here
    :param further: keys of a file that are unknown to this version; they are kept
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
    spared: Mapping[str, int] = field(default_factory=dict)
    scope_shares: str = TOGETHER
    granularity: str = WEIGHT
    asked: int | None = None
    heads: Mapping[str, int] = field(default_factory=dict)
    carried: tuple[str, ...] = ()
    further: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the origin as plain values, without fields that earlier files lack if they have their default."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "further"}
        values |= {"versions": dict(self.versions), "spared": dict(self.spared), "carried": list(self.carried)}
        if self.criterion == _CRITERION:
            del values["criterion"]
        if not self.spared:
            del values["spared"]
        if self.scope_shares == TOGETHER:
            del values["scope_shares"]
        values["heads"] = dict(self.heads)
        for name, default in (("granularity", WEIGHT), ("asked", None), ("heads", {}), ("carried", [])):
            if values[name] == default:
                del values[name]
        return {**self.further, **values}

    @classmethod
    def of_json(cls, value: Any) -> Origin:
        """Invert :meth:`as_json`.

        :raises TicketError: a value has the wrong type
        """
        origin = from_json(cls, value, lambda message: TicketError(f"its origin is damaged: {message}"))
        if origin.round < 0 or not origin.scope or (origin.prune_rate is not None and not 0 <= origin.prune_rate <= 1):
            raise TicketError("its origin is damaged: a round, a scope or a prune rate that no ticket has")
        known = {entry.name for entry in fields(cls)} - {"further"}
        return replace(origin, further={key: part for key, part in value.items() if key not in known})


def check_words(value: Any) -> None:
    """Check every text in a JSON value by the same rule for writing and reading.

    Names may contain spaces of every kind, but no control characters of a terminal, and no surrogates, which cannot be
    encoded.

    :param value: a text, or lists and objects of texts and other values
    :raises TicketError: a text contains such a character; the message names the text
    """
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if isinstance(value, (list, tuple)):
        for part in value:
            check_words(part)
    elif isinstance(value, str) and any(
        unicodedata.category(letter) in ("Cc", "Cs") for letter in value if letter not in "\t\n\r"
    ):
        raise TicketError(f"'{printable(value, 60)}' has control characters, which no name in a ticket has")
