"""The options that take tickets from another experiment."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lottery_core.cli.completion import accept
from lottery_core.cli.help_text import listed
from lottery_core.errors import ConfigError
from lottery_core.experiments import TicketSource
from lottery_core.pruning import ALONE_DENSE, TRANSFERS, UNMATCHED

_KIND = "transfer"  # the kind that is added where none of them was chosen
TRANSFER_DEFAULTS: dict[str, Any] = {"tickets_from": None, "map": None, "unmatched": None}


def add_transfer_options(group: argparse._ActionsContainer) -> None:
    """Add ``--tickets-from``, ``--map`` and ``--unmatched``.

    :param group: a parser or an argument group
    """
    add = group.add_argument
    add(
        "--tickets-from",
        type=Path,
        metavar="RUN",
        help=f"folder of another experiment, whose winning tickets the kinds {', '.join(TRANSFERS)} get, seed by seed "
        f"and round by round; or RUN/seed-N for those of one seed. Adds the kind {_KIND} if none of them is given",
    )
    add(
        "--map",
        nargs="+",
        metavar="REGEX=REPLACEMENT",
        help="change names of the other experiment's tensors before they are compared with those here",
    )
    how = listed(f"tensors without a partner of their name and shape ({ALONE_DENSE})", UNMATCHED)
    accept(add("--unmatched", metavar="HOW", help=how), UNMATCHED)


def transfer_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of an experiment that the options choose: its kinds and its transfer.

    :param values: values of the options, with ``out`` and ``kinds``
    :raises ConfigError: a word is not understood, or an option needs ``--tickets-from``
    """
    kinds = tuple(values["kinds"])
    if values["tickets_from"] is None:
        for name in ("map", "unmatched"):
            if values[name] is not None:
                raise ConfigError(f"--{name} is for tickets of another experiment: it needs --tickets-from RUN")
        return {"kinds": kinds, "transfer": {}}
    source = TicketSource(values["tickets_from"], tuple(values["map"] or ()), values["unmatched"] or ALONE_DENSE)
    if not TRANSFERS.keys() & set(kinds):
        kinds = (*kinds, _KIND)
    return {"kinds": kinds, "transfer": source.as_json(Path(values["out"]))}
