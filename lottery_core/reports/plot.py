"""The picture of an experiment: score against pruned fraction, a line a kind, mean and spread over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from lottery_core.errors import ConfigError, WriteError
from lottery_core.experiments import Row
from lottery_core.files import write_atomically
from lottery_core.pruning import DENSE
from lottery_core.reports.table import by_round, kinds_of, spread

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


def plot(experiments: Mapping[str, Sequence[Row]], path: str | Path, score_label: str = "score") -> None:
    """Draw the curves of one or several experiments into a picture, atomically.

    The horizontal axis is spaced as the rounds are (the logarithm of what survives) and ends at the fraction that the
    last round pruned. Each kind has a line, its mean over seeds, and one standard deviation as a band; dense is grey.

    :param experiments: name -> rows
    :param path: the picture; its suffix is the format (png, pdf, svg)
    :raises ConfigError: no rows, or an unknown format
    :raises WriteError: it cannot be written
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    path = Path(path)
    drawn = {name: list(rows) for name, rows in experiments.items() if rows}
    if not drawn:
        raise ConfigError("there is no finished run to draw")
    figure, axes = pyplot.subplots(figsize=(8, 4.8), layout="constrained")
    try:
        ticks: dict[float, float] = {}
        for index, (name, rows) in enumerate(drawn.items()):
            ticks |= _draw(axes, rows, f"{name}: " if len(drawn) > 1 else "", ("-", "--", ":", "-.")[index % 4])
        chosen = _spaced(sorted(ticks.items()))
        axes.set_xticks([place for place, _ in chosen], [_percent(pruned) for _, pruned in chosen])
        axes.set_xlabel("parameters pruned (equal steps are equal shares of what is left)")
        axes.set_ylabel(score_label)
        axes.set_title("\n".join(f"{name} ({_seeds(rows)})" for name, rows in drawn.items()))
        axes.grid(alpha=0.25)
        if len(drawn) > 1:
            axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
        else:
            axes.legend(framealpha=0.85, edgecolor="none")
        ending = path.suffix.lstrip(".") or "png"
        try:
            write_atomically(path, lambda file: figure.savefig(file, format=ending, dpi=150))
        except WriteError:
            raise
        except ValueError as error:
            raise ConfigError(f"cannot draw {path}: {error}") from error
    finally:
        pyplot.close(figure)


def _seeds(rows: Sequence[Row]) -> str:
    many = len({row.seed for row in rows})
    return f"mean and standard deviation over {many} seeds" if many > 1 else "one seed"


def _place(row: Row) -> float:
    return -math.log(row.surviving_fraction)


def _draw(axes: object, rows: Sequence[Row], prefix: str, style: str) -> dict[float, float]:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    dense = [row.score for row in rows if row.kind == DENSE]
    if dense:
        level, width = statistics.fmean(dense), spread(dense)
        axes.axhline(level, color="grey", linestyle=style, linewidth=1.5, label=f"{prefix}dense", zorder=1)
        axes.axhspan(level - width, level + width, color="grey", alpha=0.15, linewidth=0, zorder=0)
    kinds = kinds_of(rows)
    for kind in kinds:
        cells = sorted((round_, cells[kind]) for round_, cells in by_round(rows).items() if kind in cells)
        places = [_place(some[0]) for _, some in cells]
        means = [statistics.fmean(row.score for row in some) for _, some in cells]
        spreads = [spread([row.score for row in some]) for _, some in cells]
        colour, marker = _look(kind, kinds)
        line = axes.plot(places, means, style, color=colour, marker=marker, markersize=5, label=f"{prefix}{kind}")[0]
        if any(spreads):
            low = [mean - spread for mean, spread in zip(means, spreads, strict=True)]
            high = [mean + spread for mean, spread in zip(means, spreads, strict=True)]
            axes.fill_between(places, low, high, color=line.get_color(), alpha=0.18, linewidth=0)
    return {_place(row): row.pruned_fraction for row in rows if row.kind != DENSE} or {0.0: 0.0}


def _look(kind: str, kinds: Sequence[str]) -> tuple[str, str]:
    if kind in _COLOURS:
        return _COLOURS[kind], _MARKERS[kind]
    number = [other for other in kinds if other not in _COLOURS].index(kind)
    return _MORE_COLOURS[number % len(_MORE_COLOURS)], _MORE_MARKERS[number % len(_MORE_MARKERS)]


def _spaced(ticks: list[tuple[float, float]], most: int = 11) -> list[tuple[float, float]]:
    # From the right, so that the last round, the one people look for, always has its label.
    step = math.ceil(len(ticks) / most)
    return ticks[::-1][::step][::-1]


def _percent(fraction: float) -> str:
    return f"{fraction:.0%}" if fraction < 0.9 else f"{fraction:.1%}"
