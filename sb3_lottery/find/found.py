"""The results of ``find_tickets``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from lottery_core.errors import ConfigError
from lottery_core.experiments import Experiment, Row, Run, paths, read_row
from lottery_core.files import printable
from lottery_core.pruning import BEST_OF
from lottery_core.reports import Answer, Asked, answer, once, plot, source_of, table, tables

_PICTURES = (".png", ".pdf", ".svg")

_LONGEST = 10_000  # characters of a line


@dataclass(frozen=True)
class Found:
    """The results of :func:`find_tickets`.

    :param rows: one row per finished run, without that of the floor
    :param out: the experiment's folder
    :param score_label: description of the score
    :param score_episodes: L, the number of returns in a score unless fewer episodes ended
    """

    rows: Sequence[Row]
    out: Path
    score_label: str
    score_episodes: int = 1

    def __str__(self) -> str:
        if not read_row(self.out):
            return table(self.rows, self.score_label, self.score_episodes)
        return "\n".join(tables(self.rows, Experiment.load(self.out))).rstrip("\n")

    def table(self, file: TextIO | None = None) -> None:
        """Print the tables of ``lottery report``: one line per round, one column per kind; also for evaluations.

        :param file: stream to print to; ``None`` is ``sys.stdout``
        """
        print("\n".join(printable(line, _LONGEST) for line in str(self).split("\n")), file=file or sys.stdout)

    def answer(self, asked: Asked | None = None) -> Answer:
        """Say how small the network can be, and whether it is the mask, the start or luck.

        :param asked: the margin and the effect, where they are not the usual ones
        :returns: the answer as data; :func:`lottery_core.reports.sentences` makes the sentences of ``lottery report``
        :raises ConfigError: no run has finished
        """
        source = source_of(self.out)
        return answer(source.rows, source.question(asked), source.searches)

    def plot(self, path: str | Path) -> Path:
        """Plot the score against the pruned fraction.

        :param path: path of the plot, .png, .pdf or .svg
        :returns: ``path``
        :raises ConfigError: the path has another suffix
        :raises WriteError: the plot cannot be written
        """
        path = Path(path)
        if path.suffix.lower() not in _PICTURES:
            raise ConfigError(f"a picture must end in {', '.join(_PICTURES)}, not in '{path.suffix}' ({path.name})")
        rows = source_of(self.out).rows if read_row(self.out) else self.rows  # with the floor
        plot({self.out.resolve().name: rows}, path, self.score_label)
        return path

    def ticket(self, seed: int, kind: str, round: int) -> Path:
        """Return the path of a ticket, for :class:`~sb3_lottery.LotteryCallback`.

        :param seed: seed of the run
        :param kind: kind of ticket; of ``"random-best"`` it is the best draw, as in the table
        :param round: round of pruning, from 1; 0 for ``"rewound-dense"``, which prunes nothing
        :raises ConfigError: there is no such ticket
        """
        draws = [row for row in self.rows if (row.seed, row.kind, row.round) == (seed, kind, round)]
        run = once(draws)[0].run if kind in BEST_OF and draws else Run(seed, kind, round)
        path = self.out / run.folder / paths.TICKET
        if not path.exists():
            raise ConfigError(f"there is no ticket of seed {seed}, kind '{kind}', round {round} in {self.out}")
        return path
