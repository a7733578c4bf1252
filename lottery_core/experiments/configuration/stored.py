"""The file ``experiment.json``: its entries, those that earlier versions lack, and what has begun in its folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lottery_core import dialects
from lottery_core.errors import ConfigError
from lottery_core.experiments.graph import FRESH_APART, SHARED, paths
from lottery_core.files import from_json, printable, read_json
from lottery_core.pruning import DENSE, FRESH, FULL, GRADUAL, MAGNITUDE, SEARCH_FULL, TRANSFERS
from lottery_core.tickets import TOGETHER, WEIGHT

_KEYS = {
    *("framework", "settings", "prune_rate", "rewind", "scope", "score_label"),
    *("kinds", "seeds", "rounds", "versions"),
}
# The key under which entries of 0.1 are kept whose form has changed since.
OF_0_1 = "version_0_1"
# Settings that folders of earlier versions lack, with the values that these used.
DEFAULTS: dict[str, Any] = {
    "criterion": MAGNITUDE.name,
    "scope_shares": TOGETHER,
    "after_rewind": FULL,
    "seeding": FRESH_APART,
    "gradual": str(GRADUAL),
    "outside": FRESH,
    "search": SEARCH_FULL,
    "first": None,
    "granularity": WEIGHT,
    "score_rounds": [],
    "probe": {},
}
# Settings that say how tickets are searched for and which are scored; a folder with only dense runs takes any.
SEARCHING = ("search", "first", "score_rounds")


def read_row(out: Path) -> dict[str, Any]:
    """Read ``experiment.json`` in the folder ``out``; empty if there is none.

    :raises ConfigError: the file is not the configuration of an experiment; the message names the file and the key
    """
    path = out / paths.EXPERIMENT
    try:
        row = read_json(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {printable(error)}") from error
    if row is None:
        return {}
    if not isinstance(row, dict) or not row.keys() >= _KEYS:
        raise ConfigError(f"{path} is not an experiment's configuration")
    from_json(_Row, row, lambda why: ConfigError(f"cannot read {path}: {why}"))
    return _with_scoring(row)


def only_dense(out: Path) -> bool:
    """Return whether no run other than a dense one has been started in an experiment's folder."""
    files = (path for name in (paths.STARTED, paths.MARKER) for path in out.glob(f"seed-*/**/{name}"))
    return all(path.parent.name == DENSE for path in files)


def has_transfers(out: Path, kinds: Iterable[str]) -> bool:
    """Return whether a run with a ticket of another experiment has been started in an experiment's folder.

    :param out: the experiment's folder
    :param kinds: the kinds that its configuration has
    """
    if TRANSFERS.keys().isdisjoint(kinds):  # a look at every run is long
        return False
    # A run that was copied, here or from another folder, was never started here.
    names = (paths.STARTED, paths.MARKER, paths.SAME_AS)
    return any(any(out.glob(f"seed-*/**/{kind}/*/{name}")) for kind in TRANSFERS for name in names)


def configuration_digest(out: Path) -> str:
    """Return the SHA-256 of what determines the tickets of an experiment; empty if its folder holds none.

    :param out: the experiment's folder
    :raises ConfigError: the configuration cannot be read
    """
    row = read_row(out)
    names = [name for name in DEFAULTS if name != "score_rounds" and row.get(name, DEFAULTS[name]) != DEFAULTS[name]]
    names += ["framework", "prune_rate", "rewind", "scope", "settings"]
    return digest_of({name: row[name] for name in names}) if row else ""


def seeding_of(out: Path) -> str:
    """Return which runs of a repeat share the noise of training, as the folder began; shared in a new one."""
    row = read_row(out)
    return str({**DEFAULTS, **row}["seeding"]) if row else SHARED


def _with_scoring(row: dict[str, Any]) -> dict[str, Any]:
    # 0.1 stored the scoring among the settings, and included it in the digest of its markers.
    settings, scoring = dialects.split_scoring(row["framework"], row["settings"])
    if not scoring or "scoring" in row:
        return row
    fixed = {name: row[name] for name in ("framework", "prune_rate", "rewind", "scope", "score_label", "settings")}
    later = {name: row[name] for name, default in DEFAULTS.items() if row.get(name, default) != default}
    of_0_1 = {"configuration": digest_of({**fixed, **later}), "scoring": dialects.scoring_text(scoring)}
    return {**row, "settings": settings, "scoring": scoring, OF_0_1: of_0_1}


def digest_of(value: Mapping[str, Any]) -> str:
    """Return the SHA-256 of JSON values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class _Row:
    """The entries of ``experiment.json`` with their types, see :meth:`Experiment.write`."""

    framework: str
    settings: Mapping[str, Any]
    prune_rate: float
    rewind: str
    kinds: tuple[str, ...]
    seeds: tuple[int, ...]
    rounds: int
    scope: tuple[str, ...]
    score_label: str
    versions: Mapping[str, str]
    command: str = ""
    criterion: str = MAGNITUDE.name
    scope_shares: str = TOGETHER
    after_rewind: str = FULL
    gradual: str = str(GRADUAL)
    outside: str = FRESH
    scoring: Mapping[str, Any] = field(default_factory=dict)
    search: str = SEARCH_FULL
    first: float | None = None
    score_rounds: tuple[int, ...] = ()
    seeding: str = FRESH_APART
    repeat_noise: int = 1
    granularity: str = WEIGHT
    transfer: Mapping[str, Any] = field(default_factory=dict)
    probe: Mapping[str, Any] = field(default_factory=dict)
    version_0_1: Mapping[str, str] = field(default_factory=dict)
