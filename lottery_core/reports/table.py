"""The tables of an experiment: one line per round, one column per kind, mean and spread over seeds."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from lottery_core.errors import ConfigError
from lottery_core.experiments import Row
from lottery_core.files import percentage
from lottery_core.pruning import (
    ALONE_DENSE,
    ALONE_PRUNED,
    DENSE,
    FLOOR,
    GRADIENT,
    KINDS,
    MAGNITUDE,
    TRANSFERS,
    same_level,
)
from lottery_core.reports.answer import best_draws, measured, not_run_line
from lottery_core.reports.statistics import FEWEST, interquartile_mean
from lottery_core.tickets import SEPARATE, UNIT

COLLAPSED, NOT_RUN, OTHER_SHARE = "*", "†", "‡"  # marks behind the mean of a cell
OTHER_SHARE_MEANS = f"{OTHER_SHARE} keeps another share of the pool than its line says, so it is of another level"


def spread(scores: Sequence[float]) -> float:
    """Return the standard deviation over seeds; 0.0 for one seed, NaN if a score is NaN or infinite."""
    if not all(map(math.isfinite, scores)):
        return math.nan
    return statistics.stdev(scores) if len(scores) > 1 else 0.0


def by_round(rows: Iterable[Row]) -> dict[int, dict[str, list[Row]]]:
    """Group rows by round, then by kind; each group has one row per seed."""
    grouped: dict[int, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        grouped[row.round][row.kind].append(row)
    return grouped


def kinds_of(rows: Iterable[Row]) -> list[str]:
    """Return the kinds of ticket among the rows, in their usual order; unknown ones last."""
    present = {row.kind for row in rows} - {DENSE, FLOOR}
    return [*(kind for kind in KINDS if kind in present), *sorted(present - set(KINDS))]


def table(rows: Sequence[Row], score_label: str = "score", returns: int = 1, more: Sequence[str] = ()) -> str:
    """Format the rows of one experiment as a table: one line per round, one column per kind, and the dense score.

    With several seeds a cell is mean ± standard deviation; a cell marked ``*`` had a collapsed layer, one marked ``†``
    has seeds in which the kind had ended at the floor, and one marked ``‡`` keeps another share than its line says.

    :param rows: rows of one experiment
    :param score_label: description of the score
    :param returns: number of returns that each score was meant to average; a last line says if there were fewer
    :param more: further notes for the title
    :raises ConfigError: there are no rows
    """
    if not rows:
        raise ConfigError("there is no finished run to report")
    kinds = kinds_of(rows)
    dense = [row.score for row in rows if row.kind == DENSE]
    seeds = len({row.seed for row in rows})
    of_dense = _mean(dense) + _of_few(dense, seeds)
    head = ["round", "pruned", "surviving", *kinds, DENSE]
    lines = [head]
    for round_, cells in sorted(by_round(rows).items()):
        if set(cells) <= {DENSE, FLOOR}:
            continue
        some = of_line(cells)
        line = [str(round_), percentage(some.pruned_fraction), percentage(some.surviving_fraction)]
        lines.append([*line, *(_cell(cells.get(kind, []), seeds, some) for kind in kinds), of_dense])
    if len(lines) == 1:
        lines.append(["0", "0.0%", "100.0%", *("-" for _ in kinds), of_dense])
    text = _aligned(lines)
    notes = [f"{rows[0].experiment}: {score_label}; {seeds} seed{'s, mean ± standard deviation' if seeds > 1 else ''}"]
    notes += [f"pool of {rows[0].pool:,} parameters", *_criterion_notes(rows)]
    notes += ["networks pruned separately"] if any(row.scope_shares == SEPARATE for row in rows) else []
    notes += ["whole units pruned"] if any(row.granularity == UNIT for row in rows) else []
    schedules = sorted({row.gradual for row in rows} - {""})
    notes += [f"gradual: begin, end and steps {schedule}" for schedule in schedules]
    notes += more
    collapsed = sorted({name for row in rows for name in row.collapsed})
    last = [f"* a layer has collapsed (no survivor): {', '.join(collapsed)}"] if collapsed else []
    if any(OTHER_SHARE in cell for line in lines for cell in line):
        last.append(OTHER_SHARE_MEANS)
    last += carried_lines(rows)
    missing = not_run_line(rows)
    last += [missing] if missing is not None else []
    fewest = min((row.returns for row in measured(rows)), default=returns)
    if fewest < returns:
        last.append(f"in some runs fewer than {returns} episodes ended, as few as {fewest}")
    return "\n".join([", ".join(notes), *text, *last])


def _criterion_notes(rows: Sequence[Row]) -> list[str]:
    # A kind that ranks nothing but its start, or what it is while it trains, may have another criterion.
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for row in [row for row in rows if row.kind not in (DENSE, FLOOR)] or rows:
        if row.criterion != GRADIENT:
            found[row.criterion][row.kind] = None
    notes = []
    for criterion in sorted(found.keys() - {MAGNITUDE.name}):
        others = {kind for other, kinds in found.items() if other != criterion for kind in kinds}
        without = ", ".join(kind for kind in kinds_of(rows) if kind in others)
        notes.append(f"criterion {criterion}" + (f" (not {without})" if without else ""))
    return notes


def of_line(cells: Mapping[str, Sequence[Row]]) -> Row:
    """Return the row whose share of the pool stands in the line of a round.

    :param cells: kind -> rows of one round. Kinds with the counts of another experiment are taken only if there is no
        other
    """
    own = (group[0] for kind, group in cells.items() if kind not in TRANSFERS)
    return next(own, next(iter(cells.values()))[0])


def marks(rows: Sequence[Row], seeds: int, line: Row) -> str:
    """Return the marks behind the mean of a cell.

    :param rows: rows of the cell
    :param seeds: number of seeds of the experiment: a cell with fewer is of an unfinished kind
    :param line: the row whose share stands in the line, see :func:`of_line`
    """
    found = COLLAPSED if any(row.collapsed for row in rows) else ""
    found += NOT_RUN if any(row.not_run for row in rows) else ""
    if any(not same_level(row.surviving_fraction, line.surviving_fraction) for row in rows):
        found += OTHER_SHARE
    return found + _of_few(rows, seeds)


def _of_few(cell: Sequence[object], seeds: int) -> str:
    return f" (n={len(cell)})" if 0 < len(cell) < seeds else ""


def carried_lines(rows: Sequence[Row]) -> list[str]:
    """Return a line about each sort of kinds whose masks come from another experiment.

    Their counts are those of the other experiment, so a round's share in a table is not theirs.
    """
    kinds: dict[str, list[str]] = defaultdict(list)
    for kind in kinds_of(rows):
        some = [row for row in rows if row.kind == kind and row.carried is not None]
        if some:
            kinds[_carried(some)].append(kind)
    return [f"{', '.join(names)}: {text}" for text, names in kinds.items()]


def _carried(rows: Sequence[Row]) -> str:
    counts = sorted({row.carried or 0 for row in rows})
    pool = rows[0].pool
    shown = " to ".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1])))
    rest = {ALONE_DENSE: ", the others stay dense", ALONE_PRUNED: ", the others are pruned here"}
    what = rest.get(rows[0].unmatched, "") if counts[0] < pool else ""
    rounds = sorted({row.round for row in rows})
    left = [statistics.fmean(row.surviving_fraction for row in rows if row.round == round_) for round_ in rounds]
    return (
        f"masks of another experiment for {shown} of {pool:,} parameters ({counts[-1] / pool:.1%}){what}; surviving in "
        f"rounds {' '.join(map(str, rounds))}: {' '.join(map(percentage, left))}"
    )


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]


def evaluated(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that have an evaluation, with the evaluation as their score, and levels that were not run."""
    found = [
        replace(row, score=row.eval_score, score_se=math.nan if row.eval_se is None else row.eval_se)
        for row in rows
        if row.eval_score is not None
    ]
    return [*found, *(row for row in rows if row.not_run)] if found else []


def further_scores(rows: Sequence[Row], sign: float) -> dict[str, list[Row]]:
    """Map the name of each further score to the rows that have it, with it as their score, and levels not run.

    :param rows: rows of one experiment; the levels that were not run have no score, see :func:`filled`. Of several
        draws the one with the best main score is taken
    :param sign: 1 where higher main scores are better, -1 where lower ones are
    """
    rows = best_draws(rows, sign)

    def of(row: Row, name: str) -> Row:
        return row if row.not_run else replace(row, score=row.more[name], score_se=math.nan, more={})

    names = dict.fromkeys(name for row in rows for name in row.more)
    return {name: [of(row, name) for row in rows if row.not_run or name in row.more] for name in names}


def interval_table(rows: Sequence[Row]) -> str:
    """Format interquartile means over seeds with 95% bootstrap intervals: one line per round, one column per kind.

    :param rows: rows of one experiment
    :returns: the table; empty if no cell has :data:`~lottery_core.reports.statistics.FEWEST` seeds
    """
    grouped = sorted(by_round(rows).items())
    enough = {kind for _, cells in grouped for kind, some in cells.items() if len(some) >= FEWEST}
    if not enough:
        return ""
    kinds = [kind for kind in (*kinds_of(rows), DENSE) if kind in enough]
    lines = [["round", *kinds]]
    for round_, cells in grouped:
        if any(len(cells.get(kind, ())) >= FEWEST for kind in kinds):
            lines.append([str(round_), *(_interval(cells.get(kind, ())) for kind in kinds)])
    title = "interquartile mean over seeds [95% bootstrap interval]"
    if any(len(cells.get(kind, ())) == FEWEST for _, cells in grouped for kind in kinds):
        title += f"; with {FEWEST} seeds it leaves none out, and the interval is about their range"
    if any(NOT_RUN in cell for line in lines for cell in line):
        title += f"; {NOT_RUN} not run in some seeds, taken as the floor"
    return "\n".join([title, *_aligned(lines)])


def _interval(rows: Sequence[Row]) -> str:
    if len(rows) < FEWEST:
        return "-"
    mean, low, high = interquartile_mean([row.score for row in rows])
    digits = _digits(max(abs(mean), (high - low) / 2))
    mark = NOT_RUN if any(row.not_run for row in rows) else ""
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]{mark}"


def _mean(scores: Sequence[float]) -> str:
    if not scores:
        return "-"
    if not all(map(math.isfinite, scores)):
        return f"{sum(scores)}"
    mean, deviation = statistics.fmean(scores), spread(scores)
    digits = _digits(max(abs(mean), deviation))
    return f"{mean:.{digits}f}" + (f" ± {deviation:.{digits}f}" if len(scores) > 1 else "")


def _digits(largest: float) -> int:
    # The largest number has four digits; the others get as many decimals.
    return max(0, 3 - math.floor(math.log10(largest))) if largest and math.isfinite(largest) else 1


def _cell(rows: Sequence[Row], seeds: int, line: Row) -> str:
    return _mean([row.score for row in rows]) + marks(rows, seeds, line)
