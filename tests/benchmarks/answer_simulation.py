"""False positives, coverage and power of the answers of ``lottery report``, by simulation.

    python -m tests.benchmarks.answer_simulation [--experiments 4000]

Two worlds of scores between 0 (floor) and 1 (dense). *Smooth*: a score falls along a logistic curve, with normal noise.
*Bimodal*, as A2C's: a training ends at the top (85% of them above the threshold of its ticket, 3% below), or anywhere
in the lower four fifths. Thresholds of seeds vary by 0.4 halvings. Prints the tables of ``docs/statistics.md``.
"""

from __future__ import annotations

import argparse
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from lottery_core.reports.answer.contrasts import SHOWN, WHOLE, compare, contrasts_of, parting, tested
from lottery_core.reports.answer.curves import Curve, share
from lottery_core.reports.answer.seeds import power, seeds_needed
from lottery_core.reports.answer.thresholds import levels_kept, threshold

Array = NDArray[np.float64]
SEEDS = (3, 5, 8, 10)
KINDS = ("winning", "one-shot", "no-rewind", "random", "reinit", "permuted", "uniform")
LEVELS = {0.2: 16, 0.42: 6}  # prune rate -> levels
LIMIT, MIDDLE, BETWEEN, NOISE, SLOPE, TOP, LATE = 0.95, 3.0, 0.4, 0.03, 0.25, 0.85, 0.03


def places(rate: float) -> Array:
    """The levels of a prune rate, in halvings of the pool."""
    return -math.log2(1 - rate) * np.arange(1, LEVELS[rate] + 1)


def smooth(thresholds: Array, at: Array, rng: np.random.Generator) -> Array:
    """Scores by seed and level that cross 0.95 at the thresholds, but for the noise."""
    middle = thresholds + SLOPE * math.log(LIMIT / (1 - LIMIT))
    return 1 / (1 + np.exp((at - middle[:, None]) / SLOPE)) + NOISE * rng.standard_normal((len(thresholds), len(at)))


def bimodal(thresholds: Array, at: Array, rng: np.random.Generator) -> Array:
    """Scores by seed and level: mostly at the top above the threshold, mostly at the bottom below it."""
    size = (len(thresholds), len(at))
    good = rng.random(size) < np.where(at <= thresholds[:, None], TOP, LATE)
    return np.where(good, 1 - 0.02 * rng.random(size), 0.8 * rng.random(size))


WORLDS: dict[str, Callable[[Array, Array, np.random.Generator], Array]] = {"smooth": smooth, "bimodal": bimodal}


def _last(inside: Sequence[bool]) -> int:
    return max((index for index, good in enumerate(inside, 1) if good), default=0)


def _median_of_three(scores: Array) -> list[bool]:
    return [float(np.median(scores[max(0, i - 1) : i + 2])) >= LIMIT for i in range(len(scores))]


def _isotonic(scores: Array) -> list[bool]:
    blocks: list[list[float]] = []
    for score in scores:
        blocks.append([float(score), 1.0])
        while len(blocks) > 1 and blocks[-2][0] < blocks[-1][0]:
            (high, many), (low, some) = blocks.pop(), blocks.pop()
            blocks.append([(high * many + low * some) / (many + some), many + some])
    return [value >= LIMIT for value, count in blocks for _ in range(int(count))]


# What reads the number of levels kept off the scores of one seed.
READINGS: dict[str, Callable[[Array], int]] = {
    "the first level outside": lambda scores: next((i for i, s in enumerate(scores) if s < LIMIT), len(scores)),
    "the last level inside": lambda scores: _last([score >= LIMIT for score in scores]),
    "the last with a running median of three inside": lambda scores: _last(_median_of_three(scores)),
    "an isotonic fit by seed": lambda scores: _last(_isotonic(scores)),
    "the cheapest split (ours)": lambda scores: levels_kept([score >= LIMIT for score in scores]),
}


def curves_of(scores: Array, at: Array) -> dict[int, Curve]:
    """Curves of seeds from an array of scores by seed and level."""
    return {
        seed: Curve(seed, {index: (float(x), float(y)) for index, (x, y) in enumerate(zip(at, line, strict=True), 1)})
        for seed, line in enumerate(scores, 1)
    }


def bias_of_readings(world: str, rate: float, count: int, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    """Reading -> its mean error in halvings, and its root mean square error."""
    at = places(rate)
    truth = MIDDLE + BETWEEN * rng.standard_normal(count)
    scores = WORLDS[world](truth, at, rng)
    ends = np.concatenate([[0.0], at, at[-1:]])
    found = {}
    for name, read in READINGS.items():
        kept = np.array([read(line) for line in scores])
        errors = (ends[kept] + ends[kept + 1]) / 2 - truth
        found[name] = float(errors.mean()), float(np.sqrt((errors**2).mean()))
    return found


def coverage_of_sizes(world: str, rate: float, seeds: int, experiments: int, rng: np.random.Generator) -> float:
    """How often the 95% interval of "how small" has the size in it; dense has noise of its own."""
    at, hits = places(rate), 0
    for _ in range(experiments):
        truth = MIDDLE + BETWEEN * rng.standard_normal(seeds)
        dense = WORLDS[world](np.full(seeds, at[-1] + 9), np.zeros(1), rng) if world == "smooth" else 1.0
        limit = float(np.mean(dense)) - (1 - LIMIT)
        found = threshold("winning", curves_of(WORLDS[world](truth, at, rng), at), limit)
        low, high = found.low or 0.0, found.high or 1.0
        hits += low <= share(MIDDLE) <= high
    return hits / experiments


def scores_of(
    world: str, shifts: Mapping[str, float], seeds: int, rng: np.random.Generator, at: Array
) -> dict[str, Array]:
    """Scores of several kinds; the thresholds of one seed have half of their variance in common.

    :param shifts: kind -> by how many halvings its threshold lies lower
    """
    shared = rng.standard_normal(seeds)
    result = {}
    for kind, shift in shifts.items():
        own = BETWEEN * math.sqrt(0.5) * (shared + rng.standard_normal(seeds))
        result[kind] = WORLDS[world](MIDDLE - shift + own, at, rng)
    return result


def kinds_of(
    world: str, shifts: Mapping[str, float], seeds: int, rng: np.random.Generator
) -> dict[str, dict[int, Curve]]:
    """Curves of several kinds, see :func:`scores_of`."""
    at = places(0.2)
    return {kind: curves_of(scores, at) for kind, scores in scores_of(world, shifts, seeds, rng, at).items()}


def tests_of(curves: Mapping[str, Mapping[int, Curve]]) -> tuple[bool, bool, bool]:
    """Whether the whole effect is shown, whether any other contrast is, and whether a level parts."""
    whole, others = tested(
        compare(WHOLE, curves, 1.0), [found for c in contrasts_of(curves) if (found := compare(c, curves, 1.0))]
    )
    assert whole is not None
    return whole.verdict == SHOWN, any(o.verdict == SHOWN for o in others), parting(curves, whole) is not None


def false_positives(world: str, seeds: int, experiments: int, rng: np.random.Generator) -> tuple[float, float, float]:
    """How often the whole effect is shown where all kinds are equal, another contrast where only random differs.

    :returns: the whole effect; any other contrast that is null, where the whole effect is large; a level that parts
        where all kinds are equal
    """
    equal = [tests_of(kinds_of(world, dict.fromkeys(KINDS, 0.0), seeds, rng)) for _ in range(experiments)]
    # Random and uniform lie lower, so the contrasts that are null are those between the other kinds, and of the two.
    shifts = {kind: 1.5 if kind in ("random", "uniform") else 0.0 for kind in KINDS}
    wrong = 0
    for _ in range(experiments):
        curves = kinds_of(world, shifts, seeds, rng)
        null = [contrast for contrast in contrasts_of(curves) if shifts[contrast.first] == shifts[contrast.second]]
        all_of_them = [found for c in contrasts_of(curves) if (found := compare(c, curves, 1.0))]
        _, others = tested(compare(WHOLE, curves, 1.0), all_of_them)
        wrong += any(other.verdict == SHOWN and other.contrast in null for other in others)
    whole, _, parts = (sum(found[i] for found in equal) / experiments for i in range(3))
    return whole, wrong / experiments, parts


@functools.cache
def area_difference(world: str, shift: float) -> tuple[float, float]:
    """Mean and standard deviation over seeds of the difference of two areas, whose thresholds lie so far apart."""
    scores = scores_of(world, {"winning": 0.0, "random": shift}, 20_000, np.random.default_rng(7), places(0.2))
    differences = scores["winning"] - scores["random"]
    ends = (differences[:, 0] + differences[:, -1]) / 2  # the trapezoidal rule, of equal steps
    areas = (differences.sum(1) - ends) / (differences.shape[1] - 1)
    return float(areas.mean()), float(areas.std(ddof=1))


def coverage_of_areas(world: str, seeds: int, experiments: int, rng: np.random.Generator, shift: float = 0.5) -> float:
    """How often the 95% interval of the whole effect has the difference in it."""
    truth, hits = area_difference(world, shift)[0], 0
    for _ in range(experiments):
        found = compare(WHOLE, kinds_of(world, {"winning": 0.0, "random": shift}, seeds, rng), 1.0)
        assert found is not None
        low, high = found.difference.low, found.difference.high
        assert low is not None
        assert high is not None
        hits += low <= truth <= high
    return hits / experiments


def power_reached(world: str, seeds: int, experiments: int, rng: np.random.Generator) -> tuple[float, float]:
    """The shift of thresholds that so many seeds tell with 80% power by the plan, and the power that they reach."""

    def planned(shift: float) -> float:
        mean, spread = area_difference(world, round(shift, 3))
        return power(mean / spread, seeds, 0.05) - 0.8

    shift = round(float(brentq(planned, 0.01, 4.0, xtol=0.005)), 3)
    shown = sum(tests_of(kinds_of(world, {"winning": 0.0, "random": shift}, seeds, rng))[0] for _ in range(experiments))
    return shift, shown / experiments


def planned_from_pilot(world: str, seeds: int, experiments: int, rng: np.random.Generator) -> float:
    """How often a plan from the spread of so many seeds has at least 80% power for a difference of 0.10."""
    spread, enough = area_difference(world, 0.5)[1], 0
    for _ in range(experiments):
        found = compare(WHOLE, kinds_of(world, {"winning": 0.0, "random": 0.5}, seeds, rng), 1.0)
        assert found is not None
        need = seeds_needed([found], 0.10, 1, 1.0)
        assert need is not None
        enough += need.seeds is None or power(0.10 / spread, need.seeds, 0.05) >= 0.78
    return enough / experiments


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    print("\n| " + " | ".join(head) + " |\n|" + " --- |" * len(head))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--experiments", type=int, default=4000)
    experiments = parser.parse_args().experiments
    rng = np.random.default_rng(1)
    cases = [(world, rate) for world in WORLDS for rate in LEVELS]
    found = {case: bias_of_readings(*case, 10 * experiments, rng) for case in cases}
    head = ["reading", *(f"{world}, rate {rate}" for world, rate in cases)]
    _table(head, [[name, *("{:+.2f} / {:.2f}".format(*found[case][name]) for case in cases)] for name in READINGS])
    counts = [f"{seeds} seeds" for seeds in SEEDS]
    rows = []
    for world, rate in cases:
        values = [coverage_of_sizes(world, rate, seeds, experiments, rng) for seeds in SEEDS]
        rows.append([f"how small: coverage, {world}, rate {rate}", *(f"{value:.1%}" for value in values)])
    for world in WORLDS:
        values = [coverage_of_areas(world, seeds, experiments, rng) for seeds in SEEDS]
        rows.append([f"difference of areas: coverage, {world}", *(f"{value:.1%}" for value in values)])
    for world in WORLDS:
        wrong = [false_positives(world, seeds, experiments // 2, rng) for seeds in SEEDS]
        for index, name in enumerate(("the whole effect", "any other contrast", "a level that parts")):
            shown = [
                f"{value[index]:.1%}" if seeds >= 5 else "no test" for seeds, value in zip(SEEDS, wrong, strict=True)
            ]
            rows.append([f"false positives, {name}, {world}", *shown])
    for world in WORLDS:
        reached = [power_reached(world, seeds, experiments, rng) for seeds in SEEDS[1:]]
        rows.append([f"power where 80% are planned, {world}", "no test", *(f"{value:.1%}" for _, value in reached)])
        rows.append(
            [f"the difference of thresholds, halvings, {world}", "-", *(f"{shift:.2f}" for shift, _ in reached)]
        )
    _table(["what", *counts], rows)
    plans = [[world, *(f"{planned_from_pilot(world, seeds, 100, rng):.0%}" for seeds in SEEDS)] for world in WORLDS]
    _table(["plans from so many seeds that have 80% power", *counts], plans)


if __name__ == "__main__":
    main()
