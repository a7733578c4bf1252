"""What a cheap way to find tickets costs and loses against the plain chain: a line a way.

- cost: steps of all trainings and searches over those of the plain chain, which scores every round;
- critical: trainings one after the other, whatever the number of jobs;
- how small: parameters down to which winning tickets keep the dense score within the margin, plain and cheap;
- area: mean normalised score of winning tickets (dense is 1, the floor 0), and the difference with its one-sided 95%
  bound over seeds; not inferior above -0.03, a verdict that fewer than five seeds do not get;
- whole effect: winning against random tickets, each way's own, as the answer of its report has it;
- overlap: Jaccard index of the winning masks, and the one of masks drawn at random.

The last four look only at the levels that both chains score, and not at the dense network, which both share.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lottery_core import Ticket
from lottery_core.experiments import Experiment, Row, paths, read_row, read_rows, read_searches
from lottery_core.pruning import FLOOR, WINNING, same_level
from lottery_core.reports import Answer, Source, answer, costs, filled, once, percent, source_of
from lottery_core.reports.answer.curves import curves_of
from lottery_core.reports.answer.significance import FEWEST_FOR_A_TEST

MARGIN = -0.03  # difference of normalised areas above which a way is not inferior
PLAIN = "plain"


@dataclass(frozen=True)
class Line:
    """A line of the table.

    :param experiment: name of the experiment
    :param way: name of the way
    :param seeds: seeds that both ways have finished
    :param cost: steps over those of the plain chain
    :param critical: trainings one after the other
    :param small_plain: share of the pool down to which winning tickets of the plain chain keep the score, read at the
        levels that both chains score, as are the columns behind it
    :param small: the same for the cheap way
    :param area_plain: mean normalised score of the plain chain
    :param area: the same for the cheap way
    :param difference: mean difference of the areas over seeds
    :param bound: its one-sided 95% bound; NaN for one seed, and where all seeds differ by the same
    :param effect_plain: the normalised whole effect, winning against random, in the plain chain
    :param effect: the same for the cheap way
    :param overlap: mean Jaccard index of the winning masks
    :param chance: the index of masks drawn at random, with as many survivors
    """

    experiment: str
    way: str
    seeds: int
    cost: float
    critical: float
    small_plain: float
    small: float
    area_plain: float
    area: float
    difference: float
    bound: float
    effect_plain: float
    effect: float
    overlap: float
    chance: float


def lines(out: Path) -> list[Line]:
    """Return the table of the ways that are in an experiment's folder beside its plain chain, in order of their cost.

    :param out: folder of the ways, a folder each
    """
    plain = out / PLAIN
    found = [
        line
        for folder in sorted(out.iterdir())
        if folder.name != PLAIN and read_row(folder)
        for line in _line(plain, folder)
    ]
    return sorted(found, key=lambda line: line.cost)


def _line(plain: Path, folder: Path) -> Iterator[Line]:
    before, after = read_rows(plain), read_rows(folder)
    seeds = sorted(finished(plain, before) & finished(folder, after))
    if not seeds:
        return
    searches = [row for row in read_searches(folder) if row.seed in seeds]
    found = compared(source_of(plain), source_of(folder), searches, seeds)
    ours, theirs = ([row for row in rows if row.seed in seeds] for rows in (after, before))
    overlaps = list(_overlaps(plain, folder, theirs, ours)) or [(math.nan, math.nan)]
    overlap, chance = (statistics.fmean(each) for each in zip(*overlaps, strict=True))
    critical = costs(Experiment.load(folder), searches)[0].critical
    name = folder.resolve().parent.name
    yield Line(name, folder.name, len(seeds), critical=critical, overlap=overlap, chance=chance, **found)


def compared(full: Source, cheap: Source, searches: Sequence[Row], seeds: Collection[int]) -> dict[str, float]:
    """Return the columns of a line that follow from rows alone.

    :param full: the plain chain
    :param cheap: the cheap way
    :param searches: rows of its searches
    :param seeds: the seeds to look at
    """
    kinds = {row.kind for row in cheap.rows} - {FLOOR}  # the plain chain may have others
    theirs, ours = ([row for row in source.rows if row.seed in seeds and row.kind in kinds] for source in (full, cheap))
    sources = [
        replace(source, rows=_at_levels_of(other, source.rows, seeds))
        for source, other in ((full, ours), (cheap, theirs))
    ]
    answers = [answer(source.rows, source.question(None)) for source in sources]
    curves = [_curves(source) for source in sources]
    areas = [_areas(*(some[seed] for some in curves), answers[0]) for seed in sorted(seeds)]
    differences = [after - before for before, after in areas]
    searched = [row for row in searches if row.seed in seeds]
    return {
        "cost": sum(row.steps for row in [*ours, *searched]) / sum(row.steps for row in theirs),
        "small_plain": _how_small(answers[0]),
        "small": _how_small(answers[1]),
        "area_plain": statistics.fmean(before for before, _ in areas),
        "area": statistics.fmean(after for _, after in areas),
        "difference": statistics.fmean(differences),
        "bound": lower_bound(differences),
        "effect_plain": _whole_effect(answers[0]),
        "effect": _whole_effect(answers[1]),
    }


def _at_levels_of(others: Sequence[Row], rows: Sequence[Row], seeds: Collection[int]) -> list[Row]:
    # Those of a kind and a level that the other chain has scored in the same seed, too; of dense and floor all.
    shares: dict[tuple[int, str], list[float]] = {}
    for row in others:
        shares.setdefault((row.seed, row.kind), []).append(row.surviving_fraction)

    def both(row: Row) -> bool:
        return any(same_level(row.surviving_fraction, share) for share in shares.get((row.seed, row.kind), []))

    return [row for row in rows if row.kind == FLOOR or (row.seed in seeds and (not row.round or both(row)))]


def _how_small(found: Answer) -> float:
    kept = (each for each in found.thresholds if each.kind == WINNING and each.kept)
    return next((each.surviving for each in kept), math.nan)


def _whole_effect(found: Answer) -> float:
    if found.whole is None or found.whole.normalised is None:
        return math.nan
    return found.whole.normalised.estimate


def finished(out: Path, rows: Sequence[Row]) -> set[int]:
    """Return the seeds whose scored runs are all there.

    :param out: the experiment's folder
    :param rows: its rows
    """
    experiment, done = Experiment.load(out), {row.run for row in rows}
    return {
        seed
        for seed in experiment.seeds
        if all(run in done or run.search for run in experiment.plan() if run.seed == seed)
    }


def _curves(source: Source) -> Mapping[int, list[tuple[float, float]]]:
    # seed -> (halvings of the pool, score) of winning tickets; scores that are not finite as in the answer
    sign = source.question(None).sign
    winning = curves_of(once(filled(source.rows, sign=sign), sign), sign).get(WINNING, {})
    return {seed: [(place, sign * score) for place, score in some.points.values()] for seed, some in winning.items()}


def area(points: Sequence[tuple[float, float]]) -> float:
    """Return the mean score over the halvings between the first and the last point, by the trapezoidal rule.

    :param points: (halvings of the pool, score), by rising halvings
    """
    width = points[-1][0] - points[0][0]
    if width <= 0:
        return points[0][1]
    steps = itertools.pairwise(points)
    return math.fsum((right - left) * (one + other) / 2 for (left, one), (right, other) in steps) / width


def _areas(
    full: Sequence[tuple[float, float]], cheap: Sequence[tuple[float, float]], found: Answer
) -> tuple[float, float]:
    scale = found.scale
    if scale is None or scale.floor is None or scale.distance is None:
        return math.nan, math.nan
    one, two = ((area(points) - scale.floor) / (scale.dense - scale.floor) for points in (full, cheap))
    return one, two


def lower_bound(differences: Sequence[float]) -> float:
    """Return the one-sided 95% bound below the mean of paired differences, by Student's t.

    :param differences: one difference per seed
    :returns: the bound; NaN without two of them, or a spread that says something of their error, or where one is NaN
    """
    if len({*differences}) < 2 or not all(map(math.isfinite, differences)):
        return math.nan
    from scipy import stats

    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return statistics.fmean(differences) - float(stats.t.ppf(0.95, len(differences) - 1)) * error


def _overlaps(plain: Path, folder: Path, full: Sequence[Row], cheap: Sequence[Row]) -> Iterator[tuple[float, float]]:
    for row in _winning(cheap):
        for other in _winning(full):
            one, two = other.surviving_fraction, row.surviving_fraction
            if other.seed != row.seed or not same_level(one, two):
                continue
            tickets = (
                Ticket.load(out / run.folder / paths.TICKET) for out, run in ((plain, other.run), (folder, row.run))
            )
            masks = [ticket.masks for ticket in tickets]
            yield masks[0].overlap(masks[1]), one * two / (one + two - one * two)


def _winning(rows: Sequence[Row]) -> list[Row]:
    # Those that were trained.
    return [row for row in rows if row.kind == WINNING and not row.not_run]


def table(found: Sequence[Line]) -> str:
    """Return the table in Markdown.

    :param found: its lines
    """
    head = [
        *("experiment", "way", "seeds", "cost", "critical", "how small, plain", "cheap", "area, plain", "cheap"),
        *("difference", "95% bound", "not inferior", "whole effect, plain", "cheap", "overlap", "chance"),
    ]
    rows = [head, ["---"] * len(head)]
    for line in found:
        small = ["-" if math.isnan(value) else percent(value) for value in (line.small_plain, line.small)]
        rows.append(
            [
                *(line.experiment, line.way, str(line.seeds), f"{line.cost:.2f}", f"{line.critical:.1f}", *small),
                *(_number(line.area_plain, ".3f"), _number(line.area, ".3f")),
                *(_number(line.difference, "+.3f"), _number(line.bound, "+.3f"), verdict(line)),
                *(_number(line.effect_plain, "+.2f"), _number(line.effect, "+.2f")),
                *(_number(line.overlap, ".2f"), _number(line.chance, ".2f")),
            ]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def verdict(line: Line) -> str:
    """Return whether a way is not inferior: ``yes``, ``not shown``, or ``-`` where there are too few seeds for a test.

    :param line: its line
    """
    if math.isnan(line.bound) or line.seeds < FEWEST_FOR_A_TEST:
        return "-"
    return "yes" if line.bound > MARGIN else "not shown"


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)
