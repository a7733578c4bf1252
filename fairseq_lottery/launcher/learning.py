"""The learning curve of a run, from the lines of statistics that ``fairseq-train`` logs as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lottery_core.experiments import paths
from lottery_core.files import CurveFile, CurvePoint

# The first of these that is logged is used; BLEU is logged only with --eval-bleu.
_MEASURES = ("bleu", "log_ppl", "loss")
_TRAIN = "train"


class LearningCurve:
    """Writes ``curve.csv``: one point per validation or, if nothing is validated, one point per epoch of training.

    :param folder: the run's folder
    :param resumed: updates of the checkpoint that the run resumes from; ``None`` for a new run
    :param validates: whether there will be validations
    """

    def __init__(self, folder: Path, resumed: int | None, validates: bool = True) -> None:
        self.file = CurveFile(folder / paths.LEARNING, pause=0.0)  # unwritten points would be lost on resume
        self.validates = validates
        self.subset = ""  # only the first validation subset counts
        if resumed is not None:
            self.file.resume(resumed)

    def add(self, tag: str, stats: Mapping[str, Any]) -> None:
        """Process one line of statistics.

        :param tag: ``"train"``, ``"train_inner"`` or the name of a validation subset
        :param stats: the values of the line; their names begin with the tag
        :raises WriteError: the file cannot be written
        """
        if tag == "train_inner" or self.validates == (tag == _TRAIN):
            return
        measure = next((name for name in _MEASURES if f"{tag}_{name}" in stats), None)
        self.subset = self.subset or (tag if measure is not None else "")
        if tag != self.subset or measure is None:
            return
        score = _number(stats[f"{tag}_{measure}"])
        epoch, steps = _number(stats.get("epoch")), _number(stats.get(f"{tag}_num_updates"))
        if math.isfinite(epoch) and math.isfinite(steps):
            distance, slows = (_number(stats.get(f"{tag}_{name}")) for name in ("mask_distance", "mask_slows"))
            point = CurvePoint(int(epoch), int(steps), score, f"{measure.replace('_', ' ')}, {tag}")
            checked = math.isfinite(distance)
            self.file.add(replace(point, distance=distance, slows=slows == 1) if checked else point)


def _number(value: Any) -> float:
    # fairseq logs most numbers as text.
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
