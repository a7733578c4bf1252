"""Reports of stability probes: how unstable each candidate rewind point is, and the earliest stable one."""

from lottery_core.reports.stability.result import (
    PointStability,
    Stability,
    check_threshold,
    stability,
    threshold_before,
)
from lottery_core.reports.stability.write import stability_report

__all__ = [
    "PointStability",
    "Stability",
    "check_threshold",
    "stability",
    "stability_report",
    "threshold_before",
]
