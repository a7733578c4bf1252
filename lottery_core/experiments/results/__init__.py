"""Results: rows of finished runs, markers, scores and ``results.csv``."""

from lottery_core.experiments.results.folder_rows import FolderRows, read_rows, read_searches
from lottery_core.experiments.results.markers import (
    forget_left_out,
    left_out,
    read_marker,
    why_foreign,
    write_marker,
)
from lottery_core.experiments.results.not_run import AT_FLOOR, write_not_run
from lottery_core.experiments.results.row import Row, Score
from lottery_core.experiments.results.scores import floor_scoring, read_floor, read_score, write_floor, write_score
from lottery_core.experiments.results.tables import read_csv, write_csv, write_lines

__all__ = [
    "FolderRows",
    "AT_FLOOR",
    "forget_left_out",
    "left_out",
    "read_marker",
    "read_rows",
    "read_searches",
    "why_foreign",
    "write_marker",
    "write_not_run",
    "Row",
    "Score",
    "floor_scoring",
    "read_floor",
    "read_score",
    "write_floor",
    "write_score",
    "read_csv",
    "write_csv",
    "write_lines",
]
