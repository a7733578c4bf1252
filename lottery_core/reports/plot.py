"""Draw the picture of an experiment: score against pruned fraction, a line per kind, and how small each kind can be."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lottery_core.errors import ConfigError, WriteError
from lottery_core.experiments import Row
from lottery_core.files import percentage, write_atomically
from lottery_core.pruning import DENSE, FLOOR
from lottery_core.reports.answer import Answer, by_size, filled, once
from lottery_core.reports.plot_parts import STRIP, End, draw_strip, interval, interval_words, label_ends, look
from lottery_core.reports.table import by_round, kinds_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLLAPSED: dict[str, Any] = {
    "linestyle": "none", "marker": "x", "color": "black", "markersize": 7, "markeredgewidth": 1.5, "zorder": 5,
}  # fmt: skip
_NOT_RUN: dict[str, Any] = {
    "linestyle": "none", "marker": "o", "color": "black", "markersize": 8, "fillstyle": "none", "zorder": 5,
}  # fmt: skip
_SAME_LEVEL = 0.01  # in the logarithm of what survives
_MANY = 4  # with more kinds, the bands are drawn fainter


def plot(
    experiments: Mapping[str, Sequence[Row]],
    path: str | Path,
    score_label: str | Mapping[str, str] = "score",
    answers: Mapping[str, Answer] | None = None,
) -> None:
    """Draw the curves of one or several experiments into a picture, atomically.

    The horizontal axis is spaced by rounds (the logarithm of the surviving fraction) and ends at the fraction that the
    last round pruned. Each kind has a line, its mean over seeds, and a bootstrap interval as a band, which stays within
    the range of the scores; dense is grey, the floor dotted. A cross marks a level at which a layer of some ticket has
    collapsed, a ring a level that was not run in some seed, at the floor. Scores with different labels get a panel
    each. A strip below shows the size down to which each kind keeps the score.

    :param experiments: name -> rows
    :param path: the picture's file; its suffix is the format (png, pdf, svg)
    :param score_label: description of the scores; or name -> description of that experiment's scores
    :param answers: name -> the answer, for the strip; a panel with several experiments has no strip
    :raises ConfigError: there are no rows, or the format is unknown
    :raises WriteError: the file cannot be written
    """
    from matplotlib import pyplot

    path = Path(path)
    figure = draw(experiments, score_label, answers)
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


def draw(
    experiments: Mapping[str, Sequence[Row]],
    score_label: str | Mapping[str, str] = "score",
    answers: Mapping[str, Answer] | None = None,
) -> Figure:
    """Return the picture of :func:`plot` as a figure, which the caller closes.

    :param experiments: name -> rows
    :param score_label: description of the scores; or name -> description of that experiment's scores
    :param answers: name -> the answer
    :raises ConfigError: there are no rows
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    known = answers or {}
    signs = {name: known[name].question.sign if name in known else None for name in experiments}
    drawn = {
        name: once(by_size(filled(rows, sign=signs[name])), signs[name]) for name, rows in experiments.items() if rows
    }
    if not drawn:
        raise ConfigError("there is no finished run to draw")
    panels: dict[str, dict[str, list[Row]]] = {}
    for name, rows in drawn.items():
        label = score_label if isinstance(score_label, str) else score_label.get(name, "score")
        panels.setdefault(label, {})[name] = rows
    small = {label: _strip_of(some, answers or {}) for label, some in panels.items()}
    strip = max((0.45 + 0.17 * len(found.thresholds) for found in small.values() if found), default=0.0)
    # Names come from files; a dollar sign in them must not start a formula.
    with matplotlib.rc_context({"text.parse_math": False}):
        figure = pyplot.figure(figsize=(8.8 * len(panels), 4.8 + strip), layout="constrained")
        grid = figure.add_gridspec(2 if strip else 1, len(panels), height_ratios=[4.8, strip] if strip else None)
        styles = {name: ("-", "--", ":", "-.")[index % 4] for index, name in enumerate(drawn)}
        for column, (label, some) in enumerate(panels.items()):
            axes = figure.add_subplot(grid[0, column])
            width = _panel(axes, some, label, styles)
            found = small[label]
            if found is not None:
                below = figure.add_subplot(grid[1, column], sharex=axes, label=STRIP)
                draw_strip(below, found, kinds_of(next(iter(some.values()))), width)
    return figure


def _strip_of(experiments: Mapping[str, Sequence[Row]], answers: Mapping[str, Answer]) -> Answer | None:
    found = [answers[name] for name in experiments if name in answers]
    return found[0] if len(experiments) == 1 and found and found[0].thresholds else None


def _panel(axes: Axes, experiments: Mapping[str, Sequence[Row]], label: str, styles: Mapping[str, str]) -> float:
    # Returns the position of the last level.
    several = len(experiments) > 1
    ends: list[End] = []
    tickets = [row for rows in experiments.values() for row in rows if row.kind not in (DENSE, FLOOR)]
    places, width = _levels(tickets), max(map(_place, tickets), default=0.0)
    for name, rows in experiments.items():
        ends += _draw(axes, rows, f"{name}: " if several else "", styles[name], width)
    chosen = _spaced(places)
    words = [percentage(pruned, 0 if pruned < 0.9 else 1) for _, pruned in chosen]
    axes.set_xticks([place for place, _ in chosen], words)
    axes.set_xticks([place for place, _ in places], minor=True)
    axes.set_xlabel("parameters pruned (equal steps are equal shares of what is left)")
    axes.set_ylabel(label)
    axes.set_title("\n".join(f"{name} ({_seeds(rows)})" for name, rows in experiments.items()))
    axes.grid(alpha=0.25)
    axes.set_ylim(axes.get_ylim())
    label_ends(axes, ends)
    everything = [row for rows in experiments.values() for row in rows]
    marks = [("a layer has collapsed", _COLLAPSED)] if any(row.collapsed for row in everything) else []
    marks += [("not run: at the floor", _NOT_RUN)] if any(row.not_run for row in everything) else []
    if marks:
        handle = [axes.plot([], [], label=text, **style)[0] for text, style in marks]
        legend = axes.get_legend()
        axes.legend(handles=handle, framealpha=0.85, edgecolor="none", fontsize=8.5, loc="best")
        if legend is not None:
            axes.add_artist(legend)
    return width


def _seeds(rows: Sequence[Row]) -> str:
    return interval_words([count for kind in {row.kind for row in rows} - {FLOOR} for count in _counts(rows, kind)])


def _counts(rows: Sequence[Row], kind: str) -> list[int]:
    # Returns the number of seeds in each round of a kind.
    return [len(cells[kind]) for cells in by_round(rows).values() if kind in cells]


def _counts_differ(rows: Sequence[Row]) -> bool:
    return len({count for kind in {row.kind for row in rows} - {FLOOR} for count in _counts(rows, kind)}) > 1


def _seeds_of(rows: Sequence[Row], kind: str) -> str:
    # For the legend, if kinds or rounds differ in their number of seeds.
    if not _counts_differ(rows):
        return ""
    counts = _counts(rows, kind)
    number = f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else f"{counts[0]}"
    return f" ({number} seed{'' if max(counts) == 1 else 's'})"


def _place(row: Row) -> float:
    return -math.log(row.surviving_fraction)


def _levels(rows: Sequence[Row]) -> list[tuple[float, float]]:
    # Returns the positions of the levels and the fractions pruned there, from left to right, each once.
    found = sorted({(_place(row), row.pruned_fraction) for row in rows})
    result: list[tuple[float, float]] = []
    for place, pruned in found or [(0.0, 0.0)]:
        if not result or place - result[-1][0] > _SAME_LEVEL:
            result.append((place, pruned))
    return result


def _draw(axes: Axes, rows: Sequence[Row], prefix: str, style: str, last: float) -> list[End]:
    # Returns the ends of the lines that were drawn.
    ends = []
    dense = [row.score for row in rows if row.kind == DENSE]
    if dense:
        level = _mean(dense)
        axes.axhline(level, color="grey", linestyle=style, linewidth=1.5, zorder=1)
        axes.axhspan(*interval(dense), color="grey", alpha=0.15, linewidth=0, zorder=0)
        ends.append(End(f"{prefix}dense{_seeds_of(rows, DENSE)}", "#555555", [level], last))
    floors = [row.score for row in rows if row.kind == FLOOR]
    if floors:
        level = _mean(floors)
        axes.axhline(level, color="black", linestyle=(0, (1, 2)), linewidth=1.2, zorder=1)
        ends.append(End(f"{prefix}floor", "black", [level], last))
    kinds = kinds_of(rows)
    for kind in kinds:
        cells = sorted((round_, cells[kind]) for round_, cells in by_round(rows).items() if kind in cells)
        places = [_place(some[0]) for _, some in cells]
        means = [_mean([row.score for row in some]) for _, some in cells]
        colour, marker = look(kind, kinds)
        many = len(kinds) > _MANY
        axes.plot(places, means, style, color=colour, marker=marker, markersize=4 if many else 5)
        bands = [interval([row.score for row in some]) for _, some in cells]
        if any(low < high for low, high in bands):
            low, high = zip(*bands, strict=True)
            axes.fill_between(places, low, high, color=colour, alpha=0.07 if many else 0.15, linewidth=0)
        end = max((index for index, mean in enumerate(means) if math.isfinite(mean)), default=len(means) - 1)
        ends.append(End(f"{prefix}{kind}{_seeds_of(rows, kind)}", colour, means[: end + 1], places[end]))
        gone = [index for index, (_, some) in enumerate(cells) if any(row.collapsed for row in some)]
        if gone:
            axes.plot([places[index] for index in gone], [means[index] for index in gone], **_COLLAPSED)
        left = [index for index, (_, some) in enumerate(cells) if any(row.not_run for row in some)]
        if left:
            axes.plot([places[index] for index in left], [means[index] for index in left], **_NOT_RUN)
    return ends


def _mean(scores: Sequence[float]) -> float:
    return statistics.fmean(scores) if all(map(math.isfinite, scores)) else math.nan


def _spaced(places: Sequence[tuple[float, float]], most: int = 11) -> list[tuple[float, float]]:
    # Starts from the right, so that the last round, which matters most, always has its label.
    gap = (places[-1][0] - places[0][0]) / most
    chosen = [places[-1]]
    for place in reversed(places[:-1]):
        if chosen[-1][0] - place[0] >= gap:
            chosen.append(place)
    return chosen[::-1]
