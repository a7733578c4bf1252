"""The parts of the page: tables, and charts that ``page.js`` draws; plain values that JSON can hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lottery_core.experiments import Row
from lottery_core.files import percentage
from lottery_core.pruning import DENSE, KINDS

NOTHING = "\N{EN DASH}"  # shown in a cell without a number
# Per kind: colours on light and on dark paper, a dash and a marker, so that kinds differ not only by colour.
_LOOKS = (
    ("#0b5fa5", "#6cb6f5", "solid", "circle", "●"),
    ("#7b3294", "#cf9bea", "dash", "square", "■"),
    ("#1b7837", "#6fd08c", "dashdot", "diamond", "◆"),
    ("#b84600", "#ff9d57", "solid", "triangle-up", "▲"),
    ("#b0146a", "#ff85c4", "dash", "triangle-down", "▼"),
    ("#7d5200", "#dcb765", "dot", "pentagon", "⬟"),
    ("#5f6b00", "#c9d64a", "dashdot", "star", "★"),
    ("#555555", "#bdbdbd", "longdash", "x", "✖"),
)
_ORDER = ("winning", "one-shot", "no-rewind", "random", "reinit", "permuted", "shuffled", "uniform")
_DENSE_LOOK = ("#222222", "#eeeeee", "solid", "line-ew", "━")


@dataclass(frozen=True)
class Budget:
    """Limits for the unbounded parts of a page, so that it stays small.

    :param rows: number of runs in the tables of finished runs
    :param cells: number of cells in the tables of layers and of overlaps
    :param points: number of points in all learning curves
    """

    rows: int = 4000
    cells: int = 8000
    points: int = 16_000

    def share(self, parts: int) -> Budget:
        """Return the budget of one of several equal parts."""
        return Budget(self.rows // parts, self.cells // parts, self.points // parts)


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    :param text: the text that is shown
    :param value: the exact number behind it, as in ``results.csv``; ``None`` if the text is everything
    """

    text: str
    value: str | None = None


@dataclass(frozen=True)
class Table:
    """A table; the first cell of each row is its header.

    :param caption: what the table shows
    :param head: the headers of the columns
    :param rows: the cells of each row
    :param summary: the text that unfolds a folded table; empty for a table that is not folded
    :param key: an id for tests and links
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    summary: str = ""
    key: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart.

    :param title: its title
    :param alt: what it shows, as alternative text
    :param data: the data that ``page.js`` draws
    :param legend: (key, label, look) of each entry that the legend can switch
    :param choices: the entries of its list of groups; without entries there is no list
    :param choice: the title of that list
    """

    title: str
    alt: str
    data: dict[str, Any]
    legend: Sequence[tuple[str, str, tuple[str, ...]]] = ()
    choices: Sequence[str] = ()
    choice: str = ""


@dataclass
class Section:
    """A section about an experiment.

    :param key: its id, unique within the experiment
    :param title: its heading
    :param text: paragraphs, and lists within the text
    :param charts: its charts
    :param tables: its tables
    :param items: entries of a list
    :param code: preformatted text, e.g. a command
    """

    key: str
    title: str
    text: list[str | list[str]] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    code: str = ""


def look(kind: str, kinds: Sequence[str]) -> tuple[str, ...]:
    """Return the colours (light, dark), dash, marker and sign of a kind.

    :param kind: a kind of ticket, or ``dense``
    :param kinds: all kinds that are drawn
    """
    if kind == DENSE:
        return _DENSE_LOOK
    if kind in _ORDER:
        return _LOOKS[_ORDER.index(kind)]
    others = [other for other in kinds if other not in _ORDER and other != DENSE]
    # Unknown kinds start from the last look, with the dash and marker of another one: colours repeat before looks do.
    number = others.index(kind) if kind in others else 0
    colours, lines = _LOOKS[-1 - number % len(_LOOKS)], _LOOKS[(number + 2) % len(_LOOKS)]
    return (*colours[:2], *lines[2:])


def kinds_among(rows: Sequence[Row]) -> list[str]:
    """Return the kinds among the rows, dense first, then in their usual order."""
    present = {row.kind for row in rows}
    return [kind for kind in (DENSE, *KINDS) if kind in present] + sorted(present - {DENSE, *KINDS})


def seed_of(row: Row) -> str:
    """Format the repeat that a row belongs to."""
    return f"seed {row.seed}, noise {row.noise}" if row.noise > 1 else f"seed {row.seed}"


def number(value: float | None, digits: int = 4) -> str:
    """Format a number with four digits, but with all digits before the decimal point; a dash for ``None``."""
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return str(value)
    size = math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{max(0, digits - 1 - size)}f}" if size > -5 else f"{value:.{digits - 1}e}"


def exact(value: object) -> str:
    """Format a number as in ``results.csv``; empty for ``None``."""
    return "" if value is None else str(value)


def percent(fraction: float) -> str:
    """Format a fraction; small ones, and those near 1, keep two digits of what is left."""
    if 0.999 < fraction < 1:
        return percentage(fraction)
    return f"{100 * fraction:.3g}%" if fraction >= 1e-4 or not fraction else f"{100 * fraction:.1e}%"


def mean(values: Sequence[float]) -> float:
    """Return the mean; NaN for no values."""
    return math.fsum(values) / len(values) if values else math.nan
