"""The result of a stability probe: how unstable each candidate rewind point is, and the earliest stable one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lottery_core.errors import ConfigError
from lottery_core.experiments import (
    LINE,
    THRESHOLD,
    Experiment,
    Line,
    Run,
    dense,
    mean_barrier,
    paths,
    point_folder,
    read_floor,
    read_marker,
)
from lottery_core.files import read_object
from lottery_core.reports.answer import Interval, t_interval

_Z = 1.96  # of a 95% interval from standard errors of evaluations
_PROGRESS = ("timesteps", "updates")  # units in which every framework counts, for the order of points


@dataclass(frozen=True)
class PointStability:
    """How unstable a candidate rewind point is.

    :param point: the point, as the framework types it
    :param trained: how far the dense run had come there, by unit; empty if it is not recorded
    :param ends: mean score of the copies
    :param barrier: mean instability over seeds, in units of the score
    :param error: its standard error: over seeds, or of the evaluations of a single seed; NaN if there is none
    :param interval: the mean with its 95% interval: Student's t over seeds, or from the errors of a single seed
    :param share: the barrier as a share of the scale; infinite if the copies are no better than the floor
    :param stable: whether the share is at most the threshold
    :param lines: the line of each seed
    :param learnt: whether the copies are better than the floor, if that was measured
    """

    point: str
    trained: dict[str, Any]
    ends: float
    barrier: float
    error: float
    interval: Interval
    share: float
    stable: bool
    lines: tuple[Line, ...]
    learnt: bool = True


@dataclass(frozen=True)
class Stability:
    """The result of a stability probe.

    :param points: one entry per candidate point of which a line is done, the one that was reached first in front
    :param threshold: largest share of the scale at which a point counts as stable
    :param scale: what barriers are shares of: ``"the distance from floor to the copies"``, or ``"the copies' score"``
    :param seeds: the seeds
    :param label: description of the score
    :param lines: number of lines of the whole probe
    """

    points: tuple[PointStability, ...]
    threshold: float
    scale: str
    seeds: tuple[int, ...]
    label: str
    lines: int

    @property
    def missing(self) -> int:
        """The number of lines that are not done."""
        return self.lines - sum(len(point.lines) for point in self.points)

    @property
    def earliest(self) -> PointStability | None:
        """The earliest stable point from which every later one is stable, too.

        ``None`` if the last one is not, or as long as a line is missing.
        """
        if self.missing:
            return None
        found = None
        for point in reversed(self.points):
            if not point.stable:
                break
            found = point
        return found


def stability(out: Path, threshold: float = THRESHOLD) -> Stability:
    """Compute how unstable each candidate point of a probe is.

    :param out: folder of the probe
    :param threshold: largest instability of a stable point, as a share of the distance from the measured floor to the
        copies' score; without a floor, of that score
    :raises ConfigError: the folder holds no probe, or no line is done
    :raises RunError: a line cannot be read
    """
    experiment = Experiment.load(out)
    probe = experiment.probed
    if probe is None:
        raise ConfigError(f"{out} is no stability probe")
    points = []
    for number, point in enumerate(probe.points, 1):
        runs = [Run(seed, LINE, number) for seed in experiment.seeds]
        done = [run for run in runs if read_marker(out / run.folder, experiment) is not None]
        if done:
            lines = [Line.read(out / run.folder) for run in done]
            points.append((point, _trained(out, done[0], number), lines))
    if not points:
        raise ConfigError(f"{out} has no finished line: the probe has not come that far")
    seeds, count = tuple(experiment.seeds), len(probe.points) * len(experiment.seeds)
    return of_lines(points, read_floor(out), threshold, seeds, experiment.score_label, count)


def of_lines(
    points: Sequence[tuple[str, dict[str, int], Sequence[Line]]],
    floor: float | None,
    threshold: float,
    seeds: tuple[int, ...],
    label: str,
    count: int,
) -> Stability:
    """Compute how unstable candidate points are from their lines.

    :param points: for each point its name, how far the dense run had come there by unit, and the lines that are done
    :param floor: score of the floor; ``None`` if it was not measured
    :param threshold: see :func:`stability`
    :param seeds: seeds of the probe
    :param label: description of the score
    :param count: number of lines of the whole probe
    """
    threshold = check_threshold(threshold)
    found = []
    for point, known, lines in points:
        barrier, error = mean_barrier(lines)
        ends = sum(line.ends for line in lines) / len(lines)
        sign = -1.0 if lines[0].lower_is_better else 1.0
        size = abs(ends) if floor is None else sign * (ends - floor)
        learnt = floor is None or not size <= 0
        share = (barrier / size if size else math.inf if barrier else 0.0) if learnt else math.inf
        interval = _interval(barrier, error, [line.barrier for line in lines])
        stable = share <= threshold
        found.append(PointStability(point, known, ends, barrier, error, interval, share, stable, tuple(lines), learnt))
    scale = "the copies' score" if floor is None else "the distance from the measured floor to the copies' score"
    return Stability(tuple(_in_order(found)), threshold, scale, seeds, label, count)


def check_threshold(threshold: float) -> float:
    """Check the largest instability of a stable point, and return it unchanged.

    :raises ConfigError: it is not larger than 0, or not finite
    """
    if not 0 < threshold < math.inf:
        raise ConfigError(f"--threshold must be larger than 0, not {threshold:g}")
    return threshold


def threshold_before(out: Path) -> float:
    """Return the threshold of the last report of a probe, or the usual one.

    :param out: folder of the probe
    :raises ConfigError: the entry of the report is damaged
    """
    path = out / paths.STABILITY
    value = read_object(path).get("threshold", THRESHOLD)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ConfigError(f"cannot read {path}: its threshold is no number larger than 0: remove the file")
    return float(value)


def _interval(mean: float, error: float, values: Sequence[float]) -> Interval:
    if len(values) > 1:
        return t_interval(values) if all(map(math.isfinite, values)) else Interval(mean)
    return Interval(mean, mean - _Z * error, mean + _Z * error) if math.isfinite(error) else Interval(mean)


def _trained(out: Path, run: Run, number: int) -> dict[str, int]:
    counts = read_object(point_folder(out / dense(run.seed).folder, number) / paths.REWIND_COUNTS)
    return {unit: count for unit, count in counts.items() if isinstance(count, int)}


def _in_order(points: Sequence[PointStability]) -> list[PointStability]:
    # As the dense run reached them; as they were given where it is not recorded how far it had come.
    for unit in _PROGRESS:
        if all(unit in point.trained for point in points):
            return sorted(points, key=lambda point: int(point.trained[unit]))
    return list(points)
