"""The chart of score against surviving fraction, one line per kind; experiments with equal kinds of score share it."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from lottery_core.experiments import Row
from lottery_core.pruning import FLOOR
from lottery_core.reports import (
    COLLAPSED,
    OTHER_SHARE,
    OTHER_SHARE_MEANS,
    by_round,
    by_size,
    carried_lines,
    evaluated,
    filled,
    marks,
    measured,
    not_run_line,
    of_line,
    once,
)
from lottery_core.reports.page.figures import (
    NOTHING,
    Budget,
    Cell,
    Chart,
    Section,
    Table,
    exact,
    kinds_among,
    look,
    mean,
    number,
    percent,
    seed_of,
)
from lottery_core.reports.page.subject import Subject

VARIANTS = ("mean", "median", "interquartile mean")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_MOST_NAMES = 2  # number of collapsed layers that a hint names


def curve_section(subjects: Sequence[Subject], budget: Budget) -> Section:
    """Make the section with the curves of all experiments and the tables of their numbers.

    :param subjects: the experiments
    :param budget: limits how many runs the tables name
    """
    section = Section("curve", "Score against what survives")
    panels: dict[str, list[tuple[Subject, Sequence[Row]]]] = defaultdict(list)
    for subject in subjects:
        panels[subject.label].append((subject, _once(subject)))
    for subject in subjects:
        fresh = evaluated(_once(subject))
        if fresh:
            panels[f"evaluation: mean of {max(row.eval_episodes for row in fresh)} fresh episodes"].append(
                (subject, fresh)
            )
    for label, members in panels.items():
        drawn = [(subject, finite) for subject, rows in members if (finite := _finite(rows))]
        if drawn:
            section.charts.append(_chart(label, drawn))
        several = len(subjects) > 1
        section.tables += [_means(subject, rows, label, several) for subject, rows in members if rows]
    share = budget.share(len(subjects)).rows
    section.tables += [_runs(subject, len(subjects) > 1, share) for subject in subjects if measured(subject.rows)]
    section.text += [line for subject in subjects if (line := not_run_line(_once(subject))) is not None]
    section.text += [line for subject in subjects for line in carried_lines(_once(subject))]
    signs = {sign for chart in section.charts for series in chart.data["series"] for sign in series["marks"]}
    section.text += [text for sign, text in _SIGNS.items() if sign in signs]
    if not any(subject.rows for subject in subjects):
        section.text.append("No run has finished yet.")
    return section


_SIGNS = {
    "x": "A cross marks a level at which a layer of some ticket has collapsed.",
    "circle-open": "A ring marks a level that was not run in some seed, where it is taken as the floor.",
}


def _once(subject: Subject) -> list[Row]:
    return once(by_size(filled(subject.rows, sign=subject.sign)), subject.sign)


def _finite(rows: Iterable[Row]) -> list[Row]:
    # A mean without a seed that has diverged would be too good, so such a level is left out.
    kept = [row for row in rows if row.surviving_fraction > 0]
    broken = {(row.kind, row.round) for row in kept if not math.isfinite(row.score)}
    return [row for row in kept if (row.kind, row.round) not in broken]


def _chart(label: str, members: Sequence[tuple[Subject, Sequence[Row]]]) -> Chart:
    series: list[dict[str, Any]] = []
    legend: list[tuple[str, str, tuple[str, ...]]] = []
    several = len(members) > 1
    levels = sorted({row.surviving_fraction for _, rows in members for row in rows} | {1.0})
    for index, (subject, rows) in enumerate(members):
        kinds = kinds_among(rows)
        for kind in kinds:
            own = [row for row in rows if row.kind == kind]
            light, dark, dash, marker, sign = look(kind, kinds)
            name = f"{subject.name}: {kind}" if several else kind
            looks = (light, dark, _DASHES[index % len(_DASHES)] if several else dash, marker, sign)
            switch = f"{index}-{kind}"
            legend.append((switch, f"{name} ({_seeds(own)})", looks))
            series.append(_series(switch, name, own, looks))
    names = ", ".join(f"{subject.name}" for subject, _ in members)
    alt = (
        f"Line chart of {names}: {label} against the share of parameters that survive, from the whole network on the "
        f"left; lines for {', '.join(name for _, name, _ in legend)}. The tables below have its numbers."
    )
    data = {
        "type": "lines",
        "x": {"title": "parameters surviving (equal steps are equal shares of what is left)", "log": True},
        "y": {"title": label},
        "ticks": [[level, percent(level)] for level in reversed(levels)],
        "variants": list(VARIANTS),
        "series": series,
    }
    return Chart(label, alt, data, legend)


def _seeds(rows: Sequence[Row]) -> str:
    counts = [len(some) for some in _by_round(rows).values()]
    least, most = min(counts), max(counts)
    return f"{least} to {most} seeds" if least < most else f"{most} seed{'' if most == 1 else 's'}"


def _by_round(rows: Iterable[Row]) -> dict[int, list[Row]]:
    rounds: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        rounds[row.round].append(row)
    return dict(sorted(rounds.items()))


def _series(switch: str, name: str, rows: Sequence[Row], looks: tuple[str, ...]) -> dict[str, Any]:
    rounds = _by_round(rows)
    cells = list(rounds.values())
    return {
        "switch": switch,
        "name": name,
        "look": list(looks),
        "flat": list(rounds) == [0],  # a kind that is not pruned becomes a horizontal line
        "x": [mean([row.surviving_fraction for row in some]) for some in cells],
        "y": [[_statistic(variant, [row.score for row in some]) for some in cells] for variant in VARIANTS],
        "head": [f"{name}, {_level(some[0])}" for some in cells],
        "seeds": [[[seed_of(row), row.score, _gone(row)] for row in some] for some in cells],
        "marks": [_sign(some) for some in cells],
    }


def _sign(rows: Sequence[Row]) -> str:
    # The marker instead of the kind's own.
    return "circle-open" if any(row.not_run for row in rows) else "x" if any(row.collapsed for row in rows) else ""


def _statistic(variant: str, scores: Sequence[float]) -> float:
    if variant == "median":
        return statistics.median(scores)
    cut = len(scores) // 4 if variant == "interquartile mean" else 0
    return mean(sorted(scores)[cut : len(scores) - cut])


def _level(row: Row) -> str:
    return f"round {row.round}, {percent(row.pruned_fraction)} pruned, {percent(row.surviving_fraction)} surviving"


def _gone(row: Row) -> str:
    if row.not_run:
        return f"; not run: {row.not_run}"
    few, more = row.collapsed[:_MOST_NAMES], len(row.collapsed) - _MOST_NAMES
    return f"; collapsed: {', '.join(few)}{f' and {more} more' if more > 0 else ''}" if few else ""


def _means(subject: Subject, rows: Sequence[Row], label: str, several: bool) -> Table:
    kinds = kinds_among(rows)
    seeds = len({row.seed for row in rows if row.kind != FLOOR})
    lines = []
    for round_, cells in sorted(by_round(rows).items()):
        first = of_line(cells)
        line = [Cell(str(round_)), Cell(percent(first.pruned_fraction), exact(first.pruned_fraction))]
        line.append(Cell(percent(first.surviving_fraction), exact(first.surviving_fraction)))
        lines.append(
            [*line, *(_mean_cell(cells.get(kind, ()), 1 if kind == FLOOR else seeds, first) for kind in kinds)]
        )
    caption = f"{f'{subject.name}: ' if several else ''}{label}, by round: mean ± standard deviation over seeds"
    if any(row.collapsed for row in rows):
        caption += f"; {COLLAPSED} a layer has collapsed"
    if any(OTHER_SHARE in cell.text for line in lines for cell in line):
        caption += f"; {OTHER_SHARE_MEANS}"
    return Table(caption, ["round", "pruned", "surviving", *kinds], lines)


def _mean_cell(rows: Sequence[Row], seeds: int, line: Row) -> Cell:
    if not rows:
        return Cell(NOTHING)
    scores = [row.score for row in rows]
    value = mean(scores) if all(map(math.isfinite, scores)) else sum(scores)
    text = number(value) if not math.isnan(value) else "nan"
    if len(scores) > 1 and math.isfinite(value):
        text += f" ± {number(statistics.stdev(scores))}"
    return Cell(text + marks(rows, seeds, line), exact(value))


def _runs(subject: Subject, several: bool, most: int) -> Table:
    finished = measured(subject.rows)
    rows = finished[:most]
    with_evaluation = any(row.eval_score is not None for row in rows)
    head = ["run", "pruned", "surviving", "score", "standard error", "steps", "wall time (s)", "CPU time (s)"]
    head += ["evaluation"] if with_evaluation else []
    lines = []
    for row in rows:
        name = f"{seed_of(row)}, {row.kind}" + (f", round {row.round}" if row.round else "")
        line = [Cell(name), _count(row.pruned), _count(row.surviving), _number(row.score), _number(row.score_se)]
        line += [_count(row.steps), _number(row.wall_seconds), _number(row.cpu_seconds)]
        lines.append([*line, *([_number(row.eval_score)] if with_evaluation else [])])
    left = len(finished) - len(rows)
    caption = f"{f'{subject.name}: ' if several else ''}every finished run" + (f" but the last {left}" if left else "")
    return Table(caption, head, lines, f"{caption} ({len(rows)}), as in results.csv", f"runs-{subject.name}")


def _count(value: int) -> Cell:
    return Cell(f"{value:,}", exact(value))


def _number(value: float | None) -> Cell:
    return Cell(number(value), exact(value))
