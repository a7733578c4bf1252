"""The rows of a folder: read once, and while its runs are being done one more a run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lottery_core.errors import ConfigError
from lottery_core.experiments.configuration import Experiment
from lottery_core.experiments.graph import Run
from lottery_core.experiments.results.markers import in_order, read_all
from lottery_core.experiments.results.not_run import at_their_levels
from lottery_core.experiments.results.row import Row
from lottery_core.experiments.results.scores import floor_row
from lottery_core.files import printable


class FolderRows:
    """The rows of all finished runs of a folder that no other process writes to.

    :param out: the experiment's folder
    :param experiment: the configuration; rows of any other are skipped; ``None`` accepts all
    :param warn: shows a warning about a marker that is skipped
    :ivar fresh: whether the rows were read from the folder, and none was added since
    """

    def __init__(self, out: Path, experiment: Experiment | None, warn: Callable[[str], None]) -> None:
        self.out, self.experiment, self.warn = out, experiment, warn
        self._rows: dict[Run, Row] | None = None
        self.fresh = False

    def add(self, row: Row) -> None:
        """Take note of a run whose marker was just written."""
        if self._rows is not None:
            self._rows[row.run] = row
            self.fresh = False

    def forget(self) -> None:
        """Read the folder again the next time: a marker has been removed or changed."""
        self._rows = None

    def scored(self) -> list[Row]:
        """Return the rows of scored runs and of the floor, sorted by seed, kind and round.

        :raises ConfigError: no run has finished, or a marker is damaged
        """
        rows = [row for row in at_their_levels(self._all()) if not row.search]
        if not rows:
            raise ConfigError(f"{self.out} holds no finished run")
        return in_order([*rows, *floor_row(self.out, rows[0])])  # the floor may have been measured since

    def searches(self) -> list[Row]:
        """Return the rows of search runs, sorted by seed, kind and round.

        :raises ConfigError: a marker is damaged
        """
        return in_order(row for row in self._all() if row.search)

    def _all(self) -> list[Row]:
        if self._rows is None:
            self._rows = {row.run: row for row in read_all(self.out, self.experiment, self.warn)}
            self.fresh = True
        return [*self._rows.values()]


def read_rows(out: Path, experiment: Experiment | None = None, warn: Callable[[str], None] | None = None) -> list[Row]:
    """Read the rows of all finished, scored runs in the experiment folder ``out``, sorted by seed, kind and round.

    Markers that belong to another run, or name another ticket, are skipped with a warning.

    :param out: the experiment's folder
    :param experiment: the configuration; rows of any other are skipped; ``None`` accepts all
    :param warn: shows a warning; by default prints it to standard error
    :raises ConfigError: there is no such folder, or no run has finished
    """
    if not out.is_dir():
        raise ConfigError(f"{out} is not an experiment's folder")
    return FolderRows(out, experiment, warn or _warn).scored()


def read_searches(out: Path, experiment: Experiment | None = None) -> list[Row]:
    """Read the rows of all finished search runs in an experiment's folder, sorted by seed, kind and round.

    :param out: the experiment's folder
    :param experiment: the configuration; rows of any other are skipped; ``None`` accepts all
    """
    return FolderRows(out, experiment, lambda line: None).searches()


def _warn(line: str) -> None:
    with suppress(OSError):  # nobody reads it any more
        print(printable(line, 1000), file=sys.stderr)
