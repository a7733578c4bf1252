"""The picture of a stability probe: instability against the point, and the lines themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lottery_core.files import write_atomically
from lottery_core.reports.stability.result import PointStability, Stability


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
        errors = [0.0 if (high := point.interval.high) is None else high - point.barrier for point in found.points]
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
