"""Reports of stability probes: how unstable each candidate rewind point is, and the earliest stable one."""

from lottery_core.reports.stability.picture import draw_stability
from lottery_core.reports.stability.result import (
    PointStability,
    Stability,
    check_threshold,
    of_lines,
    stability,
    threshold_before,
)
from lottery_core.reports.stability.write import stability_lines, stability_report

__all__ = [
    "PointStability",
    "Stability",
    "check_threshold",
    "draw_stability",
    "of_lines",
    "stability",
    "stability_lines",
    "stability_report",
    "threshold_before",
]
