"""Learning curves: the score during each run, from the ``curve.csv`` in its folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from lottery_core import dialects
from lottery_core.experiments import Run, paths
from lottery_core.files import CurvePoint, read_curve
from lottery_core.pruning import DENSE
from lottery_core.reports import threshold_line
from lottery_core.reports.page.figures import Budget, Cell, Chart, Section, Table, exact, look, number
from lottery_core.reports.page.subject import Subject

_FEWEST = 8  # minimum number of points that are kept of a curve
_MOST_ROWS = 300
_ALL = "all rounds"
_DISTANCE = "mask distance (share of the next round's survivors that change in a twentieth of the training)"


def learning_section(subject: Subject, budget: Budget) -> Section:
    """Make the section with the learning curves of all runs that have one, finished or not.

    :param subject: the experiment
    :param budget: limits the number of points; longer curves are thinned
    """
    section = Section("learning", "Learning curves")
    curves = _curves(subject)
    if not curves:
        section.text.append("No run has a learning curve (curve.csv beside result.json); version 0.1 wrote none.")
        return section
    dialect = dialects.named(subject.experiment.framework if subject.experiment else "")
    measures: dict[str, dict[Run, list[CurvePoint]]] = defaultdict(dict)
    for run, points in curves.items():
        # A file has one measure, unless the run was resumed with a version of the framework that logs another.
        measures[points[-1].measure][run] = [point for point in points if point.measure == points[-1].measure]
    drawn = _drawn(list(curves), budget.points // _FEWEST)
    if len(drawn) < len(curves):
        section.text.append(
            f"Drawn are the runs of {_seeds(drawn)}, {len(drawn):,} of {len(curves):,}: more would make the page too "
            "large."
        )
    for measure, some in measures.items():
        kept = {run: points for run, points in some.items() if run in drawn}
        if kept:
            most = max(_FEWEST, budget.points // len(drawn))
            section.charts.append(_chart(measure or subject.label, kept, dialect.steps, most))
    checked = {run: looked for run, points in curves.items() if (looked := _distances(points))}
    kept = {run: points for run, points in checked.items() if run in drawn}
    if kept:
        most = max(_FEWEST, budget.points // len(kept))
        section.charts.append(_chart(_DISTANCE, kept, dialect.steps, most))
    if checked:
        first = [run for run in checked if run.kind == DENSE]
        line = threshold_line(subject.folder, first) if subject.folder is not None else None
        section.text += [] if line is None else [line[0].upper() + line[1:] + "."]
    section.tables.append(_table(curves, dialect.steps))
    return section


def _drawn(runs: Sequence[Run], most: int) -> set[Run]:
    # Whole seeds as far as they fit, at least the first run.
    by_seed: dict[int, list[Run]] = defaultdict(list)
    for run in runs:
        by_seed[run.seed].append(run)
    found: list[Run] = []
    for some in by_seed.values():
        if found and len(found) + len(some) > most:
            break
        found += some
    return set(found[: max(1, most)])


def _seeds(runs: Iterable[Run]) -> str:
    seeds = sorted({run.seed for run in runs})
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"


def _distances(points: Sequence[CurvePoint]) -> list[CurvePoint]:
    return [replace(point, score=point.distance) for point in points if point.distance is not None]


def _curves(subject: Subject) -> dict[Run, list[CurvePoint]]:
    if subject.folder is None:
        return {}
    runs = dict.fromkeys([*(state.run for state in subject.states), *(row.run for row in subject.rows)])
    found = {run: read_curve(subject.folder / run.folder / paths.LEARNING) for run in runs}
    return {run: points for run, points in found.items() if points}


def _chart(label: str, curves: Mapping[Run, Sequence[CurvePoint]], steps: str, most: int) -> Chart:
    kinds = list(dict.fromkeys(run.kind for run in sorted(curves, key=lambda run: run.kind != DENSE)))
    rounds = sorted({run.round for run in curves if run.round})
    groups: dict[tuple[str, int], list[Run]] = defaultdict(list)
    for run in curves:
        groups[run.kind, run.round].append(run)
    series = []
    for (kind, round_), runs in groups.items():
        lines = []
        for run in runs:
            points = _thinned(curves[run], most)
            line = {
                "name": str(run),
                "epoch": [point.epoch for point in points],
                "x": [point.steps for point in points],
            }
            lines.append({**line, "y": [float(f"{point.score:.4g}") for point in points]})
        series.append(
            {
                "switch": kind,
                "name": kind,
                "look": list(look(kind, kinds)),
                "group": f"round {round_}" if round_ else "",
                "thin": True,
                "runs": lines,
            }
        )
    data = {
        "type": "lines",
        "x": {"title": steps, "log": False},
        "y": {"title": label},
        "variants": [""],
        "series": series,
    }
    alt = f"Line chart: {label} against {steps} while training, a line a run: {len(curves)} runs of {', '.join(kinds)}."
    legend = [(kind, kind, look(kind, kinds)) for kind in kinds]
    choices = [_ALL, *(f"round {round_}" for round_ in rounds)] if len(rounds) > 1 else []
    return Chart(label, alt, data, legend, choices, "rounds")


def _thinned(points: Sequence[CurvePoint], most: int) -> list[CurvePoint]:
    if len(points) <= most:
        return list(points)
    return [points[round(index * (len(points) - 1) / (most - 1))] for index in range(most)]


def _table(curves: Mapping[Run, Sequence[CurvePoint]], steps: str) -> Table:
    lines = []
    for run, points in list(curves.items())[:_MOST_ROWS]:
        first, last = points[0], points[-1]
        line = [Cell(str(run)), Cell(f"{len(points):,}"), Cell(f"{last.epoch:,}"), Cell(f"{last.steps:,}")]
        lines.append(
            [*line, Cell(number(first.score), exact(first.score)), Cell(number(last.score), exact(last.score))]
        )
    more = f" (the first {len(lines)} of {len(curves)} runs)" if len(lines) < len(curves) else ""
    caption = f"Where the learning curves begin and end{more}"
    head = ["run", "points", "epochs", steps, "first score", "last score"]
    return Table(caption, head, lines, f"As a table: {caption[0].lower()}{caption[1:]}")
