"""Compute the answer from an experiment's rows: how small, and is it the mask, the start or luck."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lottery_core.errors import ConfigError
from lottery_core.experiments import BOUND, Row
from lottery_core.files import counted
from lottery_core.pruning import BEST_OF, DENSE, FLOOR, UNPRUNED
from lottery_core.reports.answer.contrasts import (
    WHOLE,
    Comparison,
    compare,
    contrasts_of,
    longer_training,
    parting,
    tested,
)
from lottery_core.reports.answer.curves import Curves, by_size, curves_of, finished_draws, number, once, percent
from lottery_core.reports.answer.given import Given, given_to
from lottery_core.reports.answer.luck import Luck, luck_of
from lottery_core.reports.answer.not_run import filled, measured, worst_at_floor
from lottery_core.reports.answer.question import Question
from lottery_core.reports.answer.scale import (
    Scale,
    better_than_dense,
    did_not_learn,
    scale_of,
    why_no_answer,
)
from lottery_core.reports.answer.seeds import SeedsNeeded, seeds_needed
from lottery_core.reports.answer.thresholds import Threshold, threshold


@dataclass(frozen=True)
class Answer:
    """The answer of an experiment as data. Shares are of the whole pool.

    :param experiment: the experiment's name
    :param question: the question that is answered
    :param seeds: the seeds that have a row
    :param pool: parameters in the pool
    :param no_answer: why there is no answer; None if there is one. If it is not None, the attributes below are empty,
        apart from ``longer`` where no kind prunes
    :param scale: the dense score and the floor
    :param margin: the margin as a difference of scores; None if it is a share of an unknown distance
    :param thresholds: how small each kind can be; empty without a margin
    :param whole: winning against random tickets; None if one of them is missing
    :param others: the other contrasts
    :param longer: kinds that keep everything, e.g. rewound-dense, against dense; estimates without a test
    :param parts_at: share of the pool at the first level from which winning and random differ, and its p value
    :param needed: number of seeds that the whole effect needs, and the number that all other contrasts need, as far as
        their spread is known
    :param luck: noise of training against differences between tickets, if tickets were trained several times
    :param given: how long each kind was trained
    :param warnings: warnings for the reader of the answer
    """

    experiment: str
    question: Question
    seeds: tuple[int, ...]
    pool: int
    no_answer: str | None = None
    scale: Scale | None = None
    margin: float | None = None
    thresholds: tuple[Threshold, ...] = ()
    whole: Comparison | None = None
    others: tuple[Comparison, ...] = ()
    longer: tuple[Comparison, ...] = ()
    parts_at: tuple[float, float] | None = None
    needed: tuple[SeedsNeeded, ...] = ()
    luck: tuple[Luck, ...] = ()
    given: tuple[Given, ...] = ()
    warnings: tuple[str, ...] = ()

    def data(self) -> dict[str, Any]:
        """Return everything as JSON values; numbers that are not finite become null."""
        return {key: _json(value) for key, value in asdict(self).items()}


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def answer(rows: Sequence[Row], question: Question, searches: Sequence[Row] = ()) -> Answer:
    """Answer a question from the rows of one experiment; reads and writes no file.

    Levels that were not run because their kind had ended are taken for the floor. Sizes and contrasts are also computed
    with them at both ends: the worst score at the floor, and the bound below which a kind ends. A contrast has one of
    its kinds at one end and the other kind at the other. A warning says if that changes a conclusion.

    :param rows: rows of one experiment, finished or not
    :param question: the question
    :param searches: rows of runs that only searched
    :raises ConfigError: there are no rows, rows of two experiments, or two rows of one run
    """
    # Of a folder with scores of two kinds the tables can still be shown, so that is no error here.
    check_one_experiment(rows, of_one_score=False)
    rows = by_size(rows)
    taken = filled(rows, sign=question.sign)
    low = _answer(taken, question, searches)
    missing = _levels_not_run(once(taken, question.sign))
    unknown = _levels_not_run(once(rows, question.sign)) - missing
    if unknown:
        line = f"left out, since nothing more is known of it: {counted(unknown, 'level')} not run, at the floor"
        low = replace(low, warnings=(*low.warnings, line))
    low = replace(low, warnings=(*low.warnings, *_unfinished_draws(rows)))
    if not missing or low.no_answer is not None:
        return low
    worst, of_level = worst_at_floor(rows, question.sign)
    ends = (
        curves_of(_trained(once(some, question.sign)), question.sign)
        for some in (filled(rows, sign=question.sign, score=worst), filled(rows, BOUND, question.sign))
    )
    line = (
        f"not run, at the floor: {counted(missing, 'level')}, between {number(worst, 4)} "
        f"({'the worst level at the floor' if of_level else 'the floor'}) and {BOUND:.0%} of the distance to dense"
    )
    return replace(low, warnings=(*low.warnings, line + _ends(low, *ends)))


def _levels_not_run(rows: Sequence[Row]) -> int:
    return sum(bool(row.not_run) for row in rows)


def _unfinished_draws(rows: Sequence[Row]) -> list[str]:
    done = finished_draws(rows)
    lines = []
    for kind in BEST_OF:
        before, after = ({(row.seed, row.round) for row in some if row.kind == kind} for some in (rows, done))
        if before - after:
            levels = counted(len(before - after), "level")
            lines.append(f"left out until all draws have finished, of which the best counts: {levels} of {kind}")
    return lines


def _ends(found: Answer, low: Curves, high: Curves) -> str:
    assert found.scale is not None
    changed = []
    if found.margin is not None:
        limit = found.question.sign * found.scale.dense - found.margin
        sizes = {kind: [threshold(kind, some[kind], limit).surviving for some in (low, high)] for kind in low}
        changed += [
            f"{kind} down to {' or '.join(map(percent, two))}" for kind, two in sizes.items() if two[0] != two[1]
        ]
    pairs = zip(_contrasts(found, low, high), _contrasts(found, high, low), strict=True)
    for one, other in ((one, other) for one, other in pairs if one is not None and other is not None):
        ends = [(end.normalised or end.difference).estimate for end in (one, other)]
        if one.verdict != other.verdict or min(ends) < 0 < max(ends):
            changed.append(f"{one.contrast.name} {ends[0]:+.2g}, {one.verdict}, or {ends[1]:+.2g}, {other.verdict}")
    if not changed:
        return ", and both ends give the same conclusions"
    return f"; the two ends DISAGREE: {'; '.join(changed)}: run these levels, without --stop-at-floor"


def _contrasts(found: Answer, first: Curves, second: Curves) -> list[Comparison | None]:
    # The contrasts with the first kind of each from one set of curves, and the second kind from another.
    assert found.scale is not None
    results = []
    for known in (found.whole, *found.others):
        some = None if known is None else known.contrast
        curves = {} if some is None else {some.first: first[some.first], some.second: second[some.second]}
        results.append(None if some is None else compare(some, curves, found.scale.distance))
    whole, others = tested(results[0], [other for other in results[1:] if other is not None])
    return [whole, *others]


def _trained(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.kind not in UNPRUNED] or list(rows)


def _answer(rows: Sequence[Row], question: Question, searches: Sequence[Row]) -> Answer:
    sign = question.sign
    everything = once(rows, sign)
    trained = _trained(everything)
    curves = curves_of(trained, sign)
    seeds = tuple(sorted({row.seed for row in trained if row.kind != FLOOR}))
    pool = next((row.pool for row in rows if row.kind != FLOOR), rows[0].pool)
    empty = Answer(rows[0].experiment, question, seeds, pool, given=tuple(given_to(measured(everything), searches)))
    reason = _why_not_comparable(rows)
    if reason is not None:
        return replace(empty, no_answer=reason)
    reason = why_no_answer(everything, curves)
    if reason is not None:
        return replace(empty, no_answer=reason, longer=tuple(longer_training(everything, sign, None)))
    scale = scale_of(trained, curves, sign, question.least)
    reason = did_not_learn(scale)
    if reason is not None:
        return replace(empty, scale=scale, no_answer=reason)
    margin = scale.margin(question.margin)
    limit = None if margin is None else sign * scale.dense - margin
    thresholds = () if limit is None else tuple(threshold(kind, some, limit) for kind, some in curves.items())
    whole = compare(WHOLE, curves, scale.distance)
    found = [compare(contrast, curves, scale.distance) for contrast in contrasts_of(curves)]
    whole, others = tested(whole, [other for other in found if other is not None])
    compared = [other for other in others if other.shares is None]
    needs = (
        seeds_needed([] if whole is None else [whole], question.effect, 1, scale.distance),
        seeds_needed(compared, question.effect, len(compared), scale.distance, whole=False),
    )
    return replace(
        empty,
        scale=scale,
        margin=margin,
        thresholds=thresholds,
        whole=whole,
        others=tuple(others),
        longer=tuple(longer_training(everything, sign, scale.distance)),
        parts_at=parting(curves, whole),
        needed=tuple(need for need in needs if need is not None),
        luck=tuple(luck_of(measured(rows))),
        warnings=tuple(_warnings(rows, scale, better_than_dense(scale, curves, margin, sign))),
    )


def check_one_experiment(rows: Sequence[Row], of_one_score: bool = True) -> None:
    """Check that all rows belong to one experiment, and that each run has one row.

    :param rows: the rows
    :param of_one_score: whether all scores must be of one kind, as they are unless a rescoring has failed
    :raises ConfigError: there are no rows, there are several experiments, or a run has two rows
    """
    if not rows:
        raise ConfigError("there is no finished run to report")
    for name, values in (
        ("experiments", {row.experiment for row in rows}),
        ("pools", {f"{row.pool:,}" for row in rows if row.kind != FLOOR}),
        ("scores", _labels(rows) if of_one_score else set()),
    ):
        if len(values) > 1:
            shown = ", ".join(sorted(value or "none" for value in values)[:5])
            raise ConfigError(f"these are rows of {len(values)} {name} ({shown}): report one experiment at a time")
    runs = Counter((row.seed, row.kind, row.round, row.noise) for row in rows if row.kind != FLOOR)
    twice = next((run for run, count in runs.items() if count > 1), None)
    if twice is not None:
        raise ConfigError(f"there are two rows of seed {twice[0]} {twice[1]} round {twice[2]}: leave one out")


def _labels(rows: Sequence[Row]) -> set[str]:
    return {row.score_label for row in rows if row.score_label}


def _why_not_comparable(rows: Sequence[Row]) -> str | None:
    # A rescoring by another score has failed half-way, or is under way.
    labels = sorted(_labels(rows))
    if len(labels) < 2:
        return None
    return f"the scores are of {len(labels)} kinds ({', '.join(labels[:5])}): score these runs again"


def _warnings(rows: Sequence[Row], scale: Scale, better: str | None) -> list[str]:
    lines = [] if better is None else [better]
    broken = sum(not math.isfinite(row.score) for row in once(rows) if row.kind not in (DENSE, FLOOR))
    if broken:
        lines.append(
            f"without a finite score: {counted(broken, 'training')} of tickets, taken as the worst that is finite"
        )
    again = len({(row.seed, row.kind, row.round) for row in rows}) - len(once(rows))
    if again:
        lines.append(
            f"left out: {counted(again, 'ticket')} whose first training is missing, although a further one is there"
        )
    if scale.floor is None:
        lines.append(
            "no floor was measured, and no level is worse than dense by more than two standard errors: prune further, "
            "or give a margin in units of the score (--margin score:X)"
        )
    return lines
