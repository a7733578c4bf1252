"""The learning curve of a training run as a CSV file: written whole and atomically, read without trust."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lottery_core.files.atomic import write_text
from lottery_core.files.regular import why_not_regular

_COLUMNS = ("epoch", "steps", "score", "measure")
_OF_MASKS = ("mask_distance", "mask_slows")  # in files of runs that check the mask
_PAUSE = 1.0  # seconds between two writes: a file of many short epochs is not flushed to the disk at each of them
_MOST_BYTES = 1 << 24
_WORDS = {None: "", True: "yes", False: "no"}


@dataclass(frozen=True)
class CurvePoint:
    """A point of a learning curve.

    :param epoch: the epoch that ended, from 1
    :param steps: environment steps or updates trained
    :param score: the score; NaN where there is none yet
    :param measure: what the score is, e.g. ``"loss, valid"``; empty where it is the experiment's own score
    :param distance: share of the next round's survivors that change in a twentieth of the training; ``None`` without a
        check of the mask
    :param slows: whether the mask has moved and now moves more slowly; ``None`` without a check
    """

    epoch: int
    steps: int
    score: float
    measure: str = ""
    distance: float | None = None
    slows: bool | None = None


class CurveFile:
    """Collects the learning curve of a run and keeps its file up to date.

    :param path: the CSV file
    :param pause: seconds between two writes; :meth:`write` does not wait
    """

    def __init__(self, path: Path, pause: float = _PAUSE) -> None:
        self.path, self.pause = path, pause
        self.points: list[CurvePoint] = []
        self._written = -math.inf

    def resume(self, steps: int) -> None:
        """Go on with the curve in the file, as far as the checkpoint that the training resumes from.

        :param steps: steps of the checkpoint; later points are left out, since they are trained again
        """
        self.points = [point for point in read_curve(self.path) if point.steps <= steps]

    def add(self, point: CurvePoint) -> None:
        """Add a point; write the file unless it was written a moment ago.

        :param point: the point
        :raises WriteError: the file cannot be written
        """
        self.points.append(point)
        if time.monotonic() - self._written >= self.pause:
            self.write()

    def write(self) -> None:
        """Write the file, atomically.

        :raises WriteError: it cannot be written
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        checked = any(point.distance is not None for point in self.points)
        writer.writerow([*_COLUMNS, *(_OF_MASKS if checked else ())])
        for point in self.points:
            score = "" if math.isnan(point.score) else repr(point.score)
            mask = ["" if point.distance is None else repr(point.distance), _WORDS[point.slows]]
            writer.writerow([point.epoch, point.steps, score, point.measure, *(mask if checked else ())])
        write_text(self.path, text.getvalue())
        self._written = time.monotonic()


def read_curve(path: Path) -> list[CurvePoint]:
    """The learning curve in a file; points that cannot be read, or have no finite score, are left out.

    :param path: the file
    :returns: no point where there is no such file, or it is something else
    """
    if why_not_regular(path) is not None:
        return []
    try:
        with open(path, encoding="utf-8", errors="replace", newline="") as file:
            lines = list(csv.DictReader(io.StringIO(file.read(_MOST_BYTES))))
    except (OSError, csv.Error):
        return []
    return list(_points(lines))


def _points(lines: Iterable[dict[str, str]]) -> Iterable[CurvePoint]:
    for line in lines:
        try:
            distance, slows = line.get("mask_distance"), line.get("mask_slows")
            point = CurvePoint(
                int(line["epoch"]),
                int(line["steps"]),
                float(line["score"]),
                str(line.get("measure") or ""),
                float(distance) if distance else None,
                slows == _WORDS[True] if slows else None,
            )
        except (KeyError, TypeError, ValueError):
            continue
        if math.isfinite(point.score) and max(abs(point.epoch), abs(point.steps)) < 1 << 53:
            yield point
