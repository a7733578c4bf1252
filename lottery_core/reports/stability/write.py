"""The report of a stability probe: its table and answer, and the same as JSON values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lottery_core.errors import WriteError
from lottery_core.experiments import THRESHOLD, paths
from lottery_core.files import printable, refuse_link_out, write_json
from lottery_core.reports.answer import number
from lottery_core.reports.stability.picture import draw_stability
from lottery_core.reports.stability.result import PointStability, Stability, stability

_LONGEST = 300  # characters of a line


def stability_report(out: Path, threshold: float = THRESHOLD) -> Stability:
    """Print the table of a probe, and write ``stability.json`` and ``stability.png`` into its folder.

    If they cannot be written there, the table is printed with a warning.

    :param out: folder of the probe
    :param threshold: see :func:`stability`
    :raises LotteryError: see :func:`stability`, or one of the files is a link out of the folder
    """
    found = stability(out, threshold)
    for name in (paths.STABILITY, paths.STABILITY_PICTURE):
        refuse_link_out(out, out / name)
    lines = stability_lines(found, out.resolve().name)
    try:
        write_json(out / paths.STABILITY, as_data(found))
        draw_stability(found, out / paths.STABILITY_PICTURE)
        lines.append(f"picture: {out / paths.STABILITY_PICTURE}")
    except WriteError as error:
        lines.append(f"WARNING: a file of this report is missing, or that of an earlier one: {error}")
    finally:
        # Printed last: if the reader of the output stops early (| head), this process ends as well.
        for line in lines:
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
    rows += [_cells(point, found.threshold) for point in found.points]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [f"{name}: stability; {found.label}; {count} seed{'s' * (count > 1)}"]
    lines += ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.append(
        f"instability: by how much the worst of {len(found.points[0].lines[0].shares)} networks on the line between "
        "two copies is worse than their mean"
    )
    lines.append(f"stable: an instability of at most {_threshold(found.threshold)} of {found.scale}")
    running = sorted({name for point in found.points for line in point.lines for name in line.running})
    if running:
        lines.append(f"running statistics were interpolated like the weights, not recomputed: {', '.join(running[:4])}")
    unlearnt = [point.point for point in found.points if not point.learnt]
    if unlearnt:
        lines.append(f"copies that are no better than the floor, and so say nothing: {', '.join(unlearnt)}")
    early = found.earliest
    if found.missing:
        lines.append(f"{found.missing} of {found.lines} lines are not done, so there is no earliest stable point yet")
    elif early is None and not found.points[-1].learnt:
        lines.append("no candidate is known to be stable: train the copies longer or otherwise")
    elif early is None:
        lines.append("no candidate is stable with all later ones: give later --points, or a larger --threshold")
    else:
        lines.append(f"earliest stable point: {early.point}")
    return lines


def _threshold(value: float) -> str:
    return f"{value:.1%}" if round(value, 3) == value else f"{100 * value:g}%"


def _cells(point: PointStability, threshold: float) -> list[str]:
    low, high = point.interval.low, point.interval.high
    ends = "-" if low is None or high is None else f"{number(low)} to {number(high)}"
    share = _share(point.share, threshold) if point.learnt else "-"
    stable = "yes" if point.stable else "no"
    return [point.point, number(point.barrier, 4), ends, share, number(point.ends, 4), stable]


def _share(value: float, threshold: float) -> str:
    # One digit behind the point, and more where the threshold would look the same.
    digits = 1
    while digits < 6 and value != threshold and f"{value:.{digits}%}" == f"{threshold:.{digits}%}":
        digits += 1
    return f"{value:.{digits}%}"


def as_data(found: Stability) -> dict[str, Any]:
    """Return a result as JSON values; numbers that are not finite are ``None``.

    :param found: the result
    """
    early = found.earliest
    return {
        "earliest": None if early is None else early.point,
        "threshold": found.threshold,
        "scale": found.scale,
        "seeds": list(found.seeds),
        "label": found.label,
        "missing": found.missing,
        "points": [
            {
                "point": point.point,
                "trained": point.trained,
                "instability": _finite(point.barrier),
                "error": _finite(point.error),
                "interval": None if point.interval.low is None else [point.interval.low, point.interval.high],
                "share": _finite(point.share),
                "copies": _finite(point.ends),
                "stable": point.stable,
                "lines": [
                    {"shares": line.shares, "scores": [_finite(score) for score in line.scores]} for line in point.lines
                ],
            }
            for point in found.points
        ],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
