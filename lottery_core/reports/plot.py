"""The picture of an experiment: score against pruned fraction, a line a kind, mean and spread over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lottery_core.errors import ConfigError, WriteError
from lottery_core.experiments import Row
from lottery_core.files import write_atomically
from lottery_core.pruning import DENSE
from lottery_core.reports.answer import Answer
from lottery_core.reports.table import by_round, kinds_of, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {
    "winning": "#0b5fa5",
    "one-shot": "#7b3294",
    "no-rewind": "#1b7837",
    "random": "#d95f02",
    "reinit": "#c51b7d",
    "permuted": "#a6761d",
    "shuffled": "#e6ab02",
    "uniform": "#666666",
}
_MARKERS = dict(zip(_COLOURS, "osD^vP*X", strict=True))
# For kinds that are not in the tables above, in turn.
_MORE_COLOURS = ("#17a2b8", "#8c564b", "#2ca02c", "#e377c2", "#1f1f1f", "#bcbd22", "#9467bd", "#d62728")
_MORE_MARKERS = "<>hpd8H"
_COLLAPSED: dict[str, Any] = {
    "linestyle": "none", "marker": "x", "color": "black", "markersize": 7, "markeredgewidth": 1.5, "zorder": 5,
}  # fmt: skip
_SAME_LEVEL = 0.001  # of the pool


def plot(
    experiments: Mapping[str, Sequence[Row]],
    path: str | Path,
    score_label: str | Mapping[str, str] = "score",
    answers: Mapping[str, Answer] | None = None,
) -> None:
    """Draw the curves of one or several experiments into a picture, atomically.

    The horizontal axis is spaced as the rounds are (the logarithm of what survives) and ends at the fraction that the
    last round pruned. Each kind has a line, its mean over seeds, and one standard deviation as a band; dense is grey. A
    cross marks a level at which a layer of some ticket has collapsed. Scores with different labels get a panel each.

    :param experiments: name -> rows
    :param path: the picture; its suffix is the format (png, pdf, svg)
    :param score_label: what the scores are; or name -> what the scores of that experiment are
    :raises ConfigError: no rows, or an unknown format
    :raises WriteError: it cannot be written
    """
    from matplotlib import pyplot

    path = Path(path)
    figure = draw(experiments, score_label)
    try:
        ending = path.suffix.lstrip(".") or "png"
        try:
            write_atomically(path, lambda file: figure.savefig(file, format=ending, dpi=150))
        except WriteError:
            raise
        except ValueError as error:
            raise ConfigError(f"cannot draw {path}: {error}") from error
    finally:
        pyplot.close(figure)


def draw(experiments: Mapping[str, Sequence[Row]], score_label: str | Mapping[str, str] = "score") -> Figure:
    """The picture of :func:`plot` as a figure, which the caller closes.

    :param experiments: name -> rows
    :param score_label: what the scores are; or name -> what the scores of that experiment are
    :raises ConfigError: no rows
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawn = {name: list(rows) for name, rows in experiments.items() if rows}
    if not drawn:
        raise ConfigError("there is no finished run to draw")
    panels: dict[str, dict[str, list[Row]]] = {}
    for name, rows in drawn.items():
        label = score_label if isinstance(score_label, str) else score_label.get(name, "score")
        panels.setdefault(label, {})[name] = rows
    widths = [8 if len(some) == 1 else 10.5 for some in panels.values()]  # a legend beside the axes takes room
    figure, grid = pyplot.subplots(
        1, len(panels), figsize=(sum(widths), 4.8), width_ratios=widths, layout="constrained", squeeze=False
    )
    styles = {name: ("-", "--", ":", "-.")[index % 4] for index, name in enumerate(drawn)}
    for axes, (label, some) in zip(grid[0], panels.items(), strict=True):
        _panel(axes, some, label, styles)
    return figure


def _panel(axes: Axes, experiments: Mapping[str, Sequence[Row]], label: str, styles: Mapping[str, str]) -> None:
    several = len(experiments) > 1
    for name, rows in experiments.items():
        _draw(axes, rows, f"{name}: " if several else "", styles[name])
    places = _levels([row for rows in experiments.values() for row in rows])
    chosen = _spaced(places)
    axes.set_xticks([place for place, _ in chosen], [_percent(pruned) for _, pruned in chosen])
    axes.set_xticks([place for place, _ in places], minor=True)
    axes.set_xlabel("parameters pruned (equal steps are equal shares of what is left)")
    axes.set_ylabel(label)
    axes.set_title("\n".join(f"{name} ({_seeds(rows)})" for name, rows in experiments.items()))
    axes.grid(alpha=0.25)
    collapsed = [row for rows in experiments.values() for row in rows if row.collapsed]
    if collapsed:
        axes.plot([], [], label="a layer has collapsed", **_COLLAPSED)
    if several:
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    else:
        axes.legend(framealpha=0.85, edgecolor="none")


def _seeds(rows: Sequence[Row]) -> str:
    many = len({row.seed for row in rows})
    if _counts_differ(rows):
        return "mean and standard deviation over seeds"
    return f"mean and standard deviation over {many} seeds" if many > 1 else "one seed"


def _counts(rows: Sequence[Row], kind: str) -> list[int]:
    # How many seeds there are in each round of a kind.
    return [len(cells[kind]) for cells in by_round(rows).values() if kind in cells]


def _counts_differ(rows: Sequence[Row]) -> bool:
    return len({count for kind in {row.kind for row in rows} for count in _counts(rows, kind)}) > 1


def _seeds_of(rows: Sequence[Row], kind: str) -> str:
    # For the legend, where not all kinds and rounds have the same number.
    if not _counts_differ(rows):
        return ""
    counts = _counts(rows, kind)
    number = f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else f"{counts[0]}"
    return f" ({number} seed{'' if max(counts) == 1 else 's'})"


def _place(row: Row) -> float:
    return -math.log(row.surviving_fraction)


def _levels(rows: Sequence[Row]) -> list[tuple[float, float]]:
    # Where the levels of pruning lie, and the fractions that are pruned there, from the left: each of them once.
    found = sorted({(_place(row), row.pruned_fraction) for row in rows if row.kind != DENSE})
    result: list[tuple[float, float]] = []
    for place, pruned in found or [(0.0, 0.0)]:
        if not result or pruned - result[-1][1] > _SAME_LEVEL:
            result.append((place, pruned))
    return result


def _draw(axes: Axes, rows: Sequence[Row], prefix: str, style: str) -> None:
    dense = [row.score for row in rows if row.kind == DENSE]
    if dense:
        level, width = statistics.fmean(dense), spread(dense)
        label = f"{prefix}dense{_seeds_of(rows, DENSE)}"
        axes.axhline(level, color="grey", linestyle=style, linewidth=1.5, label=label, zorder=1)
        axes.axhspan(level - width, level + width, color="grey", alpha=0.15, linewidth=0, zorder=0)
    kinds = kinds_of(rows)
    for kind in kinds:
        cells = sorted((round_, cells[kind]) for round_, cells in by_round(rows).items() if kind in cells)
        places = [_place(some[0]) for _, some in cells]
        means = [statistics.fmean(row.score for row in some) for _, some in cells]
        spreads = [spread([row.score for row in some]) for _, some in cells]
        colour, marker = _look(kind, kinds)
        label = f"{prefix}{kind}{_seeds_of(rows, kind)}"
        line = axes.plot(places, means, style, color=colour, marker=marker, markersize=5, label=label)[0]
        if any(spreads):
            low = [mean - spread for mean, spread in zip(means, spreads, strict=True)]
            high = [mean + spread for mean, spread in zip(means, spreads, strict=True)]
            axes.fill_between(places, low, high, color=line.get_color(), alpha=0.18, linewidth=0)
        gone = [index for index, (_, some) in enumerate(cells) if any(row.collapsed for row in some)]
        if gone:
            axes.plot([places[index] for index in gone], [means[index] for index in gone], **_COLLAPSED)


def _look(kind: str, kinds: Sequence[str]) -> tuple[str, str]:
    if kind in _COLOURS:
        return _COLOURS[kind], _MARKERS[kind]
    number = [other for other in kinds if other not in _COLOURS].index(kind)
    return _MORE_COLOURS[number % len(_MORE_COLOURS)], _MORE_MARKERS[number % len(_MORE_MARKERS)]


def _spaced(places: Sequence[tuple[float, float]], most: int = 11) -> list[tuple[float, float]]:
    # From the right, so that the last round, the one people look for, always has its label.
    gap = (places[-1][0] - places[0][0]) / most
    chosen = [places[-1]]
    for place in reversed(places[:-1]):
        if chosen[-1][0] - place[0] >= gap:
            chosen.append(place)
    return chosen[::-1]


def _percent(fraction: float) -> str:
    return f"{fraction:.0%}" if fraction < 0.9 else f"{fraction:.1%}"
