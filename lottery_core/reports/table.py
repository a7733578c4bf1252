"""The table and the picture: score against pruned fraction, a line a kind, mean and spread over seeds."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lottery_core.errors import ConfigError, WriteError
from lottery_core.experiments import Row
from lottery_core.files import write_atomically
from lottery_core.pruning import DENSE, KINDS
from lottery_core.reports.statistics import FEWEST, interquartile_mean


def _spread(scores: Sequence[float]) -> float:
    return statistics.stdev(scores) if len(scores) > 1 else 0.0


def _by_round(rows: Iterable[Row]) -> dict[int, dict[str, list[Row]]]:
    grouped: dict[int, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        grouped[row.round][row.kind].append(row)
    return grouped


def _kinds(rows: Iterable[Row]) -> list[str]:
    found = {row.kind for row in rows} - {DENSE}
    return [*(kind for kind in KINDS if kind in found), *sorted(found - set(KINDS))]


def table(rows: Sequence[Row], score_label: str = "score", returns: int = 1) -> str:
    """The rows of one experiment as a text table: a line a round, a column a kind, the dense score beside.

    With several seeds a cell is mean ± standard deviation; a cell marked ``*`` had a collapsed layer.

    :param rows: of one experiment
    :param score_label: what the score is
    :param returns: how many values each score was to be the mean of; a last line tells where there were fewer
    :raises ConfigError: no rows
    """
    if not rows:
        raise ConfigError("there is no finished run to report")
    kinds = _kinds(rows)
    dense = [row.score for row in rows if row.kind == DENSE]
    seeds = len({row.seed for row in rows})
    head = ["round", "pruned", "surviving", *kinds, DENSE]
    lines = [head]
    for round_, cells in sorted(_by_round(rows).items()):
        if round_ == 0:
            continue
        some = next(iter(cells.values()))[0]
        line = [str(round_), f"{some.pruned_fraction:.1%}", f"{some.surviving_fraction:.1%}"]
        lines.append([*line, *(_cell(cells.get(kind, []), seeds) for kind in kinds), _mean([*dense])])
    if len(lines) == 1:
        lines.append(["0", "0.0%", "100.0%", *("-" for _ in kinds), _mean(dense)])
    text = _aligned(lines)
    notes = [f"{rows[0].experiment}: {score_label}; {seeds} seed{'s, mean ± standard deviation' if seeds > 1 else ''}"]
    notes += [f"pool of {rows[0].pool:,} parameters"]
    collapsed = sorted({name for row in rows for name in row.collapsed})
    last = [f"* a layer has collapsed (no survivor): {', '.join(collapsed)}"] if collapsed else []
    fewest = min(row.returns for row in rows)
    if fewest < returns:
        last.append(f"in some trainings fewer than {returns} episodes ended: {fewest} at the fewest")
    return "\n".join([", ".join(notes), *text, *last])


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]


def evaluated(rows: Sequence[Row]) -> list[Row]:
    """The rows that have an evaluation, with it as their score."""
    return [
        replace(row, score=row.eval_score, score_se=math.nan if row.eval_se is None else row.eval_se)
        for row in rows
        if row.eval_score is not None
    ]


def interval_table(rows: Sequence[Row]) -> str:
    """Interquartile means over seeds with their 95% bootstrap intervals, a line a round, a column a kind.

    :param rows: of one experiment
    :returns: empty where no cell has :data:`~lottery_core.reports.statistics.FEWEST` seeds
    """
    grouped = sorted(_by_round(rows).items())
    enough = {kind for _, cells in grouped for kind, some in cells.items() if len(some) >= FEWEST}
    if not enough:
        return ""
    kinds = [kind for kind in (*_kinds(rows), DENSE) if kind in enough]
    lines = [["round", *kinds]]
    for round_, cells in grouped:
        if any(len(cells.get(kind, ())) >= FEWEST for kind in kinds):
            lines.append([str(round_), *(_interval(cells.get(kind, ())) for kind in kinds)])
    title = "interquartile mean over seeds [95% bootstrap interval]"
    if any(len(cells.get(kind, ())) == FEWEST for _, cells in grouped for kind in kinds):
        title += f"; of {FEWEST} seeds it leaves none out, and the interval is about their range"
    return "\n".join([title, *_aligned(lines)])


def _interval(rows: Sequence[Row]) -> str:
    if len(rows) < FEWEST:
        return "-"
    mean, low, high = interquartile_mean([row.score for row in rows])
    digits = _digits(mean)
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _mean(scores: Sequence[float]) -> str:
    if not scores:
        return "-"
    mean = statistics.fmean(scores)
    if not math.isfinite(mean):
        return f"{mean}"
    digits = _digits(mean)
    return f"{mean:.{digits}f}" + (f" ± {_spread(scores):.{digits}f}" if len(scores) > 1 else "")


def _digits(mean: float) -> int:
    # Four digits of the mean, and the spread to the same place.
    return max(0, 3 - math.floor(math.log10(abs(mean)))) if mean and math.isfinite(mean) else 1


def _cell(rows: Sequence[Row], seeds: int) -> str:
    some = f" (n={len(rows)})" if 0 < len(rows) < seeds else ""  # an unfinished experiment
    return _mean([row.score for row in rows]) + ("*" if any(row.collapsed for row in rows) else "") + some


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
_MARKERS = dict(zip(KINDS, "osD^vP*X", strict=True))


def plot(experiments: Mapping[str, Sequence[Row]], path: str | Path, score_label: str = "score") -> None:
    """Draw the curves of one or several experiments into a picture, atomically.

    The horizontal axis is spaced as the rounds are (the logarithm of what survives) and ends at the fraction that
    the last round pruned. A line a kind: mean over seeds, with one standard deviation as a band; dense is grey.

    :param experiments: name -> rows
    :param path: the picture; its ending says the format (png, pdf, svg)
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
        level, spread = statistics.fmean(dense), _spread(dense)
        axes.axhline(level, color="grey", linestyle=style, linewidth=1.5, label=f"{prefix}dense", zorder=1)
        axes.axhspan(level - spread, level + spread, color="grey", alpha=0.15, linewidth=0, zorder=0)
    for kind in _kinds(rows):
        cells = sorted((round_, cells[kind]) for round_, cells in _by_round(rows).items() if kind in cells)
        places = [_place(some[0]) for _, some in cells]
        means = [statistics.fmean(row.score for row in some) for _, some in cells]
        spreads = [_spread([row.score for row in some]) for _, some in cells]
        colour = _COLOURS.get(kind)
        line = axes.plot(
            places, means, style, color=colour, marker=_MARKERS.get(kind, "o"), markersize=5, label=f"{prefix}{kind}"
        )[0]
        if any(spreads):
            low = [mean - spread for mean, spread in zip(means, spreads, strict=True)]
            high = [mean + spread for mean, spread in zip(means, spreads, strict=True)]
            axes.fill_between(places, low, high, color=line.get_color(), alpha=0.18, linewidth=0)
    return {_place(row): row.pruned_fraction for row in rows if row.kind != DENSE} or {0.0: 0.0}


def _spaced(ticks: list[tuple[float, float]], most: int = 11) -> list[tuple[float, float]]:
    # From the right, so that the last round, the one people look for, always has its label.
    step = math.ceil(len(ticks) / most)
    return ticks[::-1][::step][::-1]


def _percent(fraction: float) -> str:
    return f"{fraction:.0%}" if fraction < 0.9 else f"{fraction:.1%}"
