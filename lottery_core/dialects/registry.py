"""The known dialects: those of this project, and those that installed packages provide through entry points."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Collection
from importlib.metadata import entry_points

from lottery_core.dialects.dialect import Dialect
from lottery_core.dialects.fairseq import FAIRSEQ
from lottery_core.dialects.plain import PLAIN
from lottery_core.dialects.sb3 import SB3

GROUP = "lottery.dialects"
_BUILT_IN = (PLAIN, SB3, FAIRSEQ)


@functools.cache
def every() -> tuple[Dialect, ...]:
    """Return all dialects: the built-in ones first, then those of other packages, by name.

    An entry point that cannot be loaded, or that is not a new dialect, is skipped with a warning.
    """
    rows = {row.name: row for row in _BUILT_IN}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            row = point.load()
        except Exception as error:  # the code of another package
            warnings.warn(f"the dialect {point.name} ({point.value}) cannot be loaded: {error}", stacklevel=2)
            continue
        if not isinstance(row, Dialect) or row.name in rows:
            warnings.warn(f"the entry point {point.name} ({point.value}) is no new dialect", stacklevel=2)
            continue
        rows[row.name] = row
    return tuple(rows.values())


def named(name: str) -> Dialect:
    """Return the dialect of a framework, or the dialect of plain torch if the framework has none."""
    return next((row for row in every() if row.name == name), PLAIN)


def of_names(names: Collection[str]) -> Dialect:
    """Return the dialect that recognises the names of a state dict, or the dialect of plain torch if none does."""
    return next((row for row in every() if row.recognises(names)), PLAIN)


def of_versions(packages: Collection[str]) -> Dialect:
    """Return the dialect whose experiments record one of these packages, else the dialect of plain torch."""
    return next((row for row in every() if not row.packages.isdisjoint(packages)), PLAIN)


def is_running(name: str) -> bool:
    """Return whether a tensor is a running mean or a running variance of a norm.

    :param name: its name
    """
    mean = re.sub(r"var$", "mean", name)
    return any(row.running_mean is not None and row.running_mean.search(mean) for row in every())


def is_target(name: str) -> bool:
    """Return whether the parameter ``name`` belongs to a target network, in the naming of any dialect."""
    return any(row.target_network.match(name) for row in every() if row.target_network is not None)
