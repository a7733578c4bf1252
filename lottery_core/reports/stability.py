"""The report of a stability probe: how unstable each candidate rewind point is, and the earliest stable one."""

from __future__ import annotations

import math
import statistics
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
    mean_barrier,
    paths,
    point_folder,
    read_floor,
    read_marker,
)
from lottery_core.files import printable, read_object, write_atomically, write_json

_Z = 1.96  # of a 95% interval
_LONGEST = 300  # characters of a line


@dataclass(frozen=True)
class PointStability:
    """How unstable a candidate rewind point is.

    :param point: the point, as the framework types it
    :param trained: how far the dense run had come there, by unit; empty if it is not recorded
    :param ends: mean score of the copies
    :param barrier: mean instability over seeds, in units of the score
    :param error: its standard error: over seeds, or of the evaluations of a single seed; NaN if there is none
    :param share: the barrier as a share of the scale
    :param stable: whether the share is at most the threshold
    :param lines: the line of each seed
    """

    point: str
    trained: dict[str, Any]
    ends: float
    barrier: float
    error: float
    share: float
    stable: bool
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Stability:
    """The result of a stability probe.

    :param points: one entry per candidate point whose lines are done, in their order
    :param threshold: largest share of the scale at which a point counts as stable
    :param scale: what barriers are shares of: ``"the distance from floor to the copies"``, or ``"the copies' score"``
    :param seeds: the seeds
    :param label: description of the score
    """

    points: tuple[PointStability, ...]
    threshold: float
    scale: str
    seeds: tuple[int, ...]
    label: str

    @property
    def earliest(self) -> PointStability | None:
        """The earliest stable point from which every later one is stable, too; ``None`` if the last one is not."""
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
    if not 0 < threshold < math.inf:
        raise ConfigError(f"--threshold must be larger than 0, not {threshold:g}")
    floor = read_floor(out)
    points = []
    for number, point in enumerate(probe.points, 1):
        runs = [Run(seed, LINE, number) for seed in experiment.seeds]
        done = [run for run in runs if read_marker(out / run.folder, experiment) is not None]
        lines = [Line.read(out / run.folder) for run in done]
        if not lines:
            continue
        barrier, error = mean_barrier(lines)
        ends = statistics.fmean(line.ends for line in lines)
        size = abs(ends) if floor is None else abs(ends - floor)
        share = barrier / size if size else (math.inf if barrier else 0.0)
        dense = out / f"seed-{done[0].seed}" / "dense"
        trained = read_object(point_folder(dense, number) / paths.REWIND_COUNTS)
        known = {unit: count for unit, count in trained.items() if isinstance(count, int)}
        points.append(PointStability(point, known, ends, barrier, error, share, share <= threshold, tuple(lines)))
    if not points:
        raise ConfigError(f"{out} has no finished line: the probe has not come that far")
    scale = "the copies' score" if floor is None else "the distance from the measured floor to the copies' score"
    return Stability(tuple(points), threshold, scale, tuple(experiment.seeds), experiment.score_label)


def stability_report(out: Path, threshold: float = THRESHOLD) -> Stability:
    """Print the table of a probe, and write ``stability.json`` and ``stability.png`` into its folder.

    :param out: folder of the probe
    :param threshold: see :func:`stability`
    :raises LotteryError: see :func:`stability`, or a file cannot be written
    """
    found = stability(out, threshold)
    write_json(out / paths.STABILITY, as_data(found))
    draw_stability(found, out / paths.STABILITY_PICTURE)
    for line in [*stability_lines(found, out.resolve().name), f"picture: {out / paths.STABILITY_PICTURE}"]:
        print(printable(line, _LONGEST))
    return found


def stability_lines(found: Stability, name: str) -> list[str]:
    """Return the table of a probe and its answer, as lines of text.

    :param found: the result
    :param name: the probe's name
    """
    count = len(found.seeds)
    head = ["point", "instability", "95%", "share", "copies", "stable"]
    rows = [head]
    for point in found.points:
        ends = "-"
        if math.isfinite(point.error):
            ends = f"{point.barrier - _Z * point.error:.3g} to {point.barrier + _Z * point.error:.3g}"
        rows.append(
            [
                point.point,
                f"{point.barrier:.4g}",
                ends,
                f"{point.share:.1%}",
                f"{point.ends:.4g}",
                "yes" if point.stable else "no",
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [f"{name}: stability; {found.label}; {count} seed{'s' * (count > 1)}"]
    lines += ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.append(
        f"instability: by how much the worst of {len(found.points[0].lines[0].shares)} networks on the line between "
        "two copies is worse than their mean"
    )
    lines.append(f"stable: an instability of at most {found.threshold:.1%} of {found.scale}")
    running = sorted({name for point in found.points for line in point.lines for name in line.running})
    if running:
        lines.append(f"running statistics were interpolated like the weights, not recomputed: {', '.join(running[:4])}")
    early = found.earliest
    if early is None:
        lines.append("no candidate is stable with all later ones: give later --points, or a larger --threshold")
    else:
        lines.append(f"earliest stable point: {early.point}")
    return lines


def as_data(found: Stability) -> dict[str, Any]:
    """Return a result as JSON values.

    :param found: the result
    """
    early = found.earliest
    return {
        "earliest": None if early is None else early.point,
        "threshold": found.threshold,
        "scale": found.scale,
        "seeds": list(found.seeds),
        "label": found.label,
        "points": [
            {
                "point": point.point,
                "trained": point.trained,
                "instability": point.barrier,
                "error": point.error if math.isfinite(point.error) else None,
                "share": point.share if math.isfinite(point.share) else None,
                "copies": point.ends,
                "stable": point.stable,
                "lines": [{"shares": line.shares, "scores": line.scores} for line in point.lines],
            }
            for point in found.points
        ],
    }


def draw_stability(found: Stability, path: Path) -> None:
    """Draw instability against the point, and the lines themselves.

    :param found: the result
    :param path: the picture, .png
    :raises WriteError: the picture cannot be written
    """
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    try:
        places = list(range(len(found.points)))
        errors = [_Z * point.error if math.isfinite(point.error) else 0.0 for point in found.points]
        left.errorbar(places, [point.barrier for point in found.points], errors, marker="o", capsize=3, color="#0b5fa5")
        left.set_xticks(places, _labels(found.points), rotation=20)
        left.set_ylabel(f"instability: {found.label}")
        left.set_xlabel("rewind point")
        left.axhline(0, color="#999999", linewidth=0.8)
        early = found.earliest
        if early is not None:
            left.axvline(found.points.index(early), color="#1b7837", linestyle=":", label=f"stable from {early.point}")
            left.legend(frameon=False)
        colours = pyplot.get_cmap("viridis")
        for number, point in enumerate(found.points):
            colour = colours(number / max(1, len(found.points) - 1) * 0.9)
            for index, line in enumerate(point.lines):
                right.plot(line.shares, line.scores, color=colour, label=point.point if not index else None)
        right.set_xlabel("from the first copy to the second")
        right.set_ylabel(found.label)
        right.legend(title="rewind point", frameon=False)
        write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=150))
    finally:
        pyplot.close(figure)


def _labels(points: Sequence[PointStability]) -> list[str]:
    return [point.point.replace(":", " ") for point in points]
