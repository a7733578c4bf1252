"""What the page is made of: tables, and charts that ``page.js`` draws; plain values, as JSON has them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lottery_core.experiments import Row
from lottery_core.pruning import DENSE, KINDS

NOTHING = "\N{EN DASH}"  # in a cell without a number
# Colours on light and on dark paper, a dash and a marker a kind: no kind is told by its colour alone.
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
    """How much of what has no end a page holds, so that it stays small.

    :param rows: runs that the tables of all finished runs name
    :param cells: cells of the tables of layers and of overlaps
    :param points: points of all learning curves
    """

    rows: int = 4000
    cells: int = 8000
    points: int = 16_000

    def share(self, parts: int) -> Budget:
        """The budget of one of several parts."""
        return Budget(self.rows // parts, self.cells // parts, self.points // parts)


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    :param text: what is shown
    :param value: the exact number behind it, as in ``results.csv``; ``None`` where the text is all
    """

    text: str
    value: str | None = None


@dataclass(frozen=True)
class Table:
    """A table; the first cell of a row is its header.

    :param caption: what the table shows
    :param head: the headers of the columns
    :param rows: the cells of each row
    :param summary: where the table is folded: what unfolds it; empty where it is open
    :param key: an id, where a test or a link needs one
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
    :param alt: what it shows, for those who do not see it
    :param data: what ``page.js`` draws it from
    :param legend: (key, label, look) of what its legend switches
    :param choices: what its list of groups offers; with none there is no list
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
    """A part of an experiment's account.

    :param key: its id, unique within the experiment
    :param title: its heading
    :param text: paragraphs
    :param charts: its charts
    :param tables: its tables
    :param items: a list
    :param code: text that is shown as it is, e.g. a command
    """

    key: str
    title: str
    text: list[str] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    code: str = ""


def look(kind: str, kinds: Sequence[str]) -> tuple[str, ...]:
    """The colours (light, dark), dash, marker and sign of a kind.

    :param kind: a kind of ticket, or ``dense``
    :param kinds: all kinds that are drawn
    """
    if kind == DENSE:
        return _DENSE_LOOK
    if kind in _ORDER:
        return _LOOKS[_ORDER.index(kind)]
    others = [other for other in kinds if other not in _ORDER and other != DENSE]
    # From the end, and with the next one's dash: colours repeat before looks do.
    number = others.index(kind) if kind in others else 0
    colours, lines = _LOOKS[-1 - number % len(_LOOKS)], _LOOKS[(number + 2) % len(_LOOKS)]
    return (*colours[:2], *lines[2:])


def kinds_among(rows: Sequence[Row]) -> list[str]:
    """The kinds among rows, dense first, then in their usual order."""
    present = {row.kind for row in rows}
    return [kind for kind in (DENSE, *KINDS) if kind in present] + sorted(present - {DENSE, *KINDS})


def seed_of(row: Row) -> str:
    """The repeat that a row belongs to, for people."""
    noise = getattr(row, "noise", 0)
    return f"seed {row.seed}, repeat {noise}" if noise else f"seed {row.seed}"


def number(value: float | None, digits: int = 4) -> str:
    """A number for people: four digits, never fewer than before the decimal point; a dash where there is none."""
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return str(value)
    size = math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{max(0, digits - 1 - size)}f}" if size > -5 else f"{value:.{digits - 1}e}"


def exact(value: object) -> str:
    """A number as ``results.csv`` has it; empty for ``None``."""
    return "" if value is None else str(value)


def percent(fraction: float) -> str:
    """A fraction for people; small ones keep two digits."""
    return f"{100 * fraction:.3g}%" if fraction >= 1e-4 or not fraction else f"{100 * fraction:.1e}%"


def mean(values: Sequence[float]) -> float:
    """The mean; NaN of nothing."""
    return math.fsum(values) / len(values) if values else math.nan
