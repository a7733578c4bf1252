"""The cost of an experiment by kind, and the runs that remain."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from lottery_core.experiments import Row, duration, seconds_left
from lottery_core.files import counted
from lottery_core.pruning import FLOOR
from lottery_core.reports import DONE, FAILED_, LEFT_OUT, RUNNING, filled, measured, saved_lines, search_cost
from lottery_core.reports.page.figures import NOTHING, Cell, Section, Table, exact, kinds_among, mean
from lottery_core.reports.page.subject import Subject

_MOST_ROWS = 200


def costs_section(subject: Subject) -> Section:
    """Make the section with CPU and wall-clock time by kind, the state of the runs, and the time left.

    :param subject: the experiment
    """
    section = Section("costs", "Costs and what is left")
    rows = [row for row in measured(subject.rows) if row.kind != FLOOR]
    searches = subject.searches
    if rows:
        compared = measured(filled(subject.rows, sign=subject.sign))
        kinds = kinds_among(rows)
        lines = [
            _line(kind, [row for row in rows if row.kind == kind], _ticket(compared, kind, searches)) for kind in kinds
        ]
        head = ["kind", "runs", "CPU time", "wall time", "mean wall time of a run", "mean steps of a run"]
        head.append("steps for one ticket of its last round, search and training")
        caption = "time of the finished runs; trainings side by side count each"
        lines += [
            _line(f"{kind}, search only", [row for row in searches if row.kind == kind], Cell(NOTHING))
            for kind in dict.fromkeys(row.kind for row in searches)
        ]
        section.tables.append(Table(caption, head, [*lines, _line("all", [*rows, *searches], Cell(NOTHING))]))
        if subject.experiment is not None:
            section.text += saved_lines(subject.experiment, searches)
    states = subject.states
    if subject.folder is None:
        section.title = "Costs"
        return section
    if not states:
        section.text.append("The folder has no configuration, so what is left is not known.")
        return section
    counts = Counter(state.word for state in states)
    section.text.append(
        f"{', '.join(f'{count} {word}' for word, count in counts.items())}, of {counted(len(states), 'run')}."
    )
    took: dict[str, list[float]] = defaultdict(list)
    for row in (*rows, *searches):
        if not row.same_as:
            took[row.run.pace].append(row.wall_seconds)
    left = [state.run for state in states if state.word not in (DONE, FAILED_, LEFT_OUT) and not state.copied]
    jobs = max(1, counts[RUNNING])
    seconds = seconds_left(left, took, jobs, any(state.run.search for state in states))
    if seconds is not None:
        section.text.append(
            f"About {duration(seconds)} left, with {jobs} at a time, if runs take as long as those that are done."
        )
    elif left:
        section.text.append("How long the rest will take is not known before the first run is done.")
    waiting = [state for state in states if state.word != DONE]
    if waiting:
        lines = [[Cell(str(state.run)), Cell(state.word), Cell(state.text)] for state in waiting[:_MOST_ROWS]]
        more = len(waiting) - len(lines)
        caption = "runs that are not done" + (f" (and {more} more)" if more else "")
        section.tables.append(Table(caption, ["run", "state", ""], lines, f"{len(waiting)} runs that are not done"))
    return section


def _ticket(rows: Sequence[Row], kind: str, searches: Sequence[Row]) -> Cell:
    own = [row for row in rows if row.kind == kind]
    if not own:
        return Cell(NOTHING)
    last = max(row.round for row in own)
    search = search_cost(rows, kind, last, searches)
    if search is None:
        return Cell(NOTHING)
    total = search + mean([row.steps for row in own if row.round == last])
    return Cell(f"{total:,.0f}", exact(total))


def _line(kind: str, rows: list[Row], ticket: Cell) -> list[Cell]:
    cpu, wall = sum(row.cpu_seconds for row in rows), sum(row.wall_seconds for row in rows)
    return [
        Cell(kind),
        Cell(f"{len(rows):,}"),
        Cell(duration(cpu), exact(cpu)),
        Cell(duration(wall), exact(wall)),
        Cell(duration(wall / len(rows)), exact(wall / len(rows))),
        Cell(f"{mean([row.steps for row in rows]):,.0f}"),
        ticket,
    ]
