"""What levels apart from rounds, and searches that end early, save against training and scoring every round."""

from __future__ import annotations

import statistics
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path

from lottery_core.experiments import Cost, Experiment, Row, Run, alike, cost_of, left_out, paths, plan_runs, trainings
from lottery_core.files import CurvePoint, read_curve
from lottery_core.pruning import BUDGET, Look, parse_search, settles_at

_THRESHOLDS = (0.05, 0.02, 0.01)


def costs(experiment: Experiment, searches: Sequence[Row], gone: Container[Run] = ()) -> tuple[Cost, Cost]:
    """Return the cost of an experiment, and of the same one with every round trained in full and scored.

    A search run that is not done counts as the others did on average; before the first, as its share of the training,
    or in full.

    :param experiment: the configuration
    :param searches: rows of the finished search runs
    :param gone: runs that are left out at the floor, which do not count
    """
    shares: Mapping[Run, float] = {row.run: row.share for row in searches}
    usual = statistics.fmean(shares.values()) if shares else 1.0

    def share(run: Run) -> float:
        if run.search:
            return shares.get(run, experiment.search_of(run).share or usual)
        return length(run, experiment.alike(run))

    last = max(experiment.score_rounds, default=experiment.rounds)  # both end at the same level
    plain = plan_runs(experiment.kinds, experiment.seeds, last, experiment.repeat_noise)
    own = cost_of((run for run in experiment.plan() if run not in gone), experiment.needs, share)

    def plain_length(run: Run) -> float:
        return length(run, alike(run, experiment.kinds, experiment.rewind))

    return own, cost_of(plain, experiment.plain_needs, plain_length)


def length(run: Run, same: Run | None = None) -> float:
    """Return how many full trainings a scored run takes: one, or as many as a whole search, see ``random-budget``.

    :param run: the run
    :param same: the run that trains the same ticket, whose outcome is copied; ``None`` if there is none
    """
    if same is not None:
        return 0.0
    return float(trainings(run.round)) if run.kind in BUDGET else 1.0


def saved_lines(experiment: Experiment, searches: Sequence[Row], gone: Container[Run] | None = None) -> list[str]:
    """Return lines about the search runs and what was saved; none for a plain experiment.

    :param experiment: the configuration
    :param searches: rows of the finished search runs
    :param gone: runs that are left out at the floor; ``None``: those of the folder
    """
    if not experiment.rounds or not (experiment.searches or experiment.score_rounds):
        return []
    lines = []
    if searches:
        mean = statistics.fmean(row.share for row in searches)
        full = sum(row.share >= 1 for row in searches)
        lines.append(
            f"search (--search {experiment.search}): {len(searches)} rounds, {mean:.0%} of a training on average"
            + (f", {full} of them trained in full" if full else "")
        )
    own, plain = costs(experiment, searches, left_out(experiment) if gone is None else gone)
    most = "at most " if experiment.searches and not searches and parse_search(experiment.search).share is None else ""
    lines.append(
        f"cost: {most}{own.total:.1f} trainings, {own.total / plain.total:.0%} of the {plain.total:.0f} with every "
        f"round trained and scored; {own.critical:.1f} one after the other instead of {plain.critical:.0f}"
    )
    return lines


def threshold_line(out: Path, runs: Iterable[Run]) -> str | None:
    """Return where searches would have ended in finished trainings, for several thresholds.

    :param out: the experiment's folder
    :param runs: the runs, dense ones say
    :returns: a line; ``None`` if no run has checked its mask
    """
    found = {run: looks for run in runs if (looks := looks_of(read_curve(out / run.folder / paths.LEARNING)))}
    if not found:
        return None
    ends = []
    for threshold in _THRESHOLDS:
        shares = [settles_at(looks, threshold) or 1.0 for looks in found.values()]
        ends.append(f"settled:{threshold:g} at {statistics.fmean(shares):.0%}")
    who = ", ".join(map(str, found)) if len(found) < 3 else f"{len(found)} dense runs"
    return f"searches would have ended, as a share of the training, in {who}: {', '.join(ends)}"


def looks_of(points: Sequence[CurvePoint]) -> list[Look]:
    """Return the checks of the mask in a finished training.

    :param points: its learning curve
    """
    length = max((point.steps for point in points), default=1)
    return [
        Look(point.steps / length, point.distance, bool(point.slows)) for point in points if point.distance is not None
    ]
