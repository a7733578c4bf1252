"""The two ends of the scale, the dense network and the floor, and whether rows between them allow an answer."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

from lottery_core.experiments import Row
from lottery_core.files import percentage
from lottery_core.pruning import DENSE, FLOOR, UNPRUNED
from lottery_core.reports.answer.curves import Curve, Curves, level_means, number, percent, share
from lottery_core.reports.answer.question import DENSE_SHARE, SCORE, Margin

_ERRORS = 2  # number of standard errors that a difference must exceed
_LUCK = 0.05  # how often tickets as good as dense may seem better
MEASURED = "measured"


@dataclass(frozen=True)
class Scale:
    """The ends of the scale; scores have the experiment's own direction.

    :param dense: mean score of the dense networks
    :param spread: the standard deviation of the dense scores over seeds; None for one seed
    :param error: standard error of ``dense``; for one seed that of its own score, 0 if it has none
    :param floor: the score without any learning; None if it is unknown
    :param floor_from: :data:`MEASURED`, or the level whose score is used as the floor; empty if there is no floor
    :param distance: by how much dense is better than the floor; None if that is unknown or not above 0
    :param seeds: number of dense networks
    """

    dense: float
    spread: float | None
    error: float
    floor: float | None
    floor_from: str
    distance: float | None
    seeds: int

    def margin(self, margin: Margin) -> float | None:
        """Return the margin as a difference of scores; None if it is a share of an unknown distance."""
        if margin.of == SCORE:
            return margin.amount
        if margin.of == DENSE_SHARE:
            return margin.amount * abs(self.dense)
        return None if self.distance is None else margin.amount * self.distance


def scale_of(rows: Sequence[Row], curves: Curves, sign: float, least: float | None = None) -> Scale:
    """Determine the ends of the scale.

    If no floor was measured, ``least`` is used (no BLEU is below 0), or the lowest level: the level with the worst mean
    of any kind, if it is worse than dense by more than two standard errors.

    :param rows: rows of one experiment, one per run; at least one of them is dense
    :param curves: their curves
    :param sign: 1 where higher scores are better, -1 where lower ones are
    :param least: the lowest possible score, which an untrained network reaches; None if there is none
    """
    dense = [row for row in rows if row.kind == DENSE]
    scores = [row.score for row in dense]
    mean = statistics.fmean(scores)
    spread = statistics.stdev(scores) if len(scores) > 1 else None
    error = _standard_error(scores, dense[0].score_se if math.isfinite(dense[0].score_se) else 0.0)
    floors = [row.score for row in rows if row.kind == FLOOR and math.isfinite(row.score)]
    if floors:
        floor: float | None = sign * max(sign * score for score in floors)
        name = MEASURED
    elif least is not None:
        floor, name = least, "where such scores begin"
    else:
        floor, name = _lowest(curves, sign)
        if floor is not None and sign * (mean - floor) <= _ERRORS * error:
            floor, name = None, ""
    distance = None if floor is None else sign * (mean - floor)
    distance = distance if distance is not None and distance > 0 else None
    return Scale(mean, spread, error, floor, name, distance, len(dense))


def _standard_error(scores: Sequence[float], of_one: float) -> float:
    return statistics.stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else of_one


def _lowest(curves: Curves, sign: float) -> tuple[float | None, str]:
    levels = [(score, kind, place) for kind, some in curves.items() for place, score, _ in level_means(some).values()]
    if not levels:
        return None, ""
    score, kind, place = min(levels)
    return sign * score, f"{kind} tickets at {percent(share(place))} of the pool"


def why_no_answer(rows: Sequence[Row], curves: Curves) -> str | None:
    """Say why the rows do not allow an answer; None if they do.

    :param rows: rows of one experiment, one per run
    :param curves: the curves of kinds that prune
    """
    dense = [row.score for row in rows if row.kind == DENSE]
    if not dense:
        return "no dense network has finished, and there is nothing to compare tickets with"
    if not all(math.isfinite(score) for score in dense):
        return f"the dense network has no finite score ({', '.join(f'{score}' for score in dense)})"
    if curves:
        return None
    whole = [kind for kind in UNPRUNED if any(row.kind == kind for row in rows)]
    if whole:
        return f"no ticket that prunes has finished: only dense and {', '.join(whole)} are there, which keep everything"
    return "no ticket has finished: only the dense network is there"


def did_not_learn(scale: Scale) -> str | None:
    """Say why a scale allows no answer: dense is not above the floor, by two standard errors if that was measured."""
    if scale.floor is None:
        return None
    if scale.distance is not None and (scale.floor_from != MEASURED or scale.distance > _ERRORS * scale.error):
        return None
    better = "no better than the floor"
    if scale.distance is not None:
        better = f"not better by two standard errors, of {number(scale.error)}, than the floor"
    return (
        f"the dense network did not learn: its score {number(scale.dense, 4)} is {better}, {number(scale.floor, 4)}, "
        "which needs no training; train it longer or otherwise"
    )


def better_than_dense(scale: Scale, curves: Curves, margin: float | None, sign: float) -> str | None:
    """Return a sentence if tickets beat the dense network by more than the margin at two neighbouring levels.

    The difference must also exceed what luck gives at the best of all such pairs of levels: as many standard errors as
    a one-sided test at 5% asks for, divided by the number of pairs. A level of one seed has the error of dense.
    """
    pairs = [(kind, pair) for kind, some in curves.items() for pair in pairwise(_levels(some, scale.error))]
    if not pairs:
        return None
    errors = max(_ERRORS, NormalDist().inv_cdf(1 - _LUCK / len(pairs)))
    best: tuple[float, str, float] | None = None
    for kind, pair in pairs:
        ahead = (score - sign * scale.dense - errors * math.hypot(scale.error, error) for _, score, error in pair)
        if min(ahead) > 0 and min(score for _, score, _ in pair) - sign * scale.dense > (margin or 0.0):
            place, score, _ = max(pair, key=lambda level: level[1])
            best = max(best or (score, kind, place), (score, kind, place))
    if best is None:
        return None
    score, kind, place = best
    return (
        f"tickets score higher than the dense network ({kind} {number(sign * score, 4)} at {percentage(share(place))} "
        f"of the pool, dense {number(scale.dense, 4)}), which may not be trained to its end"
    )


def _levels(some: Mapping[int, Curve], error: float) -> list[tuple[float, float, float]]:
    # Position, mean score and its standard error of every round.
    found = []
    for round_, (place, mean, _) in level_means(some).items():
        scores = [curve.points[round_][1] for curve in some.values() if round_ in curve.points]
        found.append((place, mean, _standard_error(scores, error)))
    return found
