"""Result rows: one a finished run, its marker of being done, and the table ``results.csv``."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lottery_core.errors import ConfigError, RunError
from lottery_core.experiments import paths
from lottery_core.experiments.experiment import Experiment
from lottery_core.experiments.plan import Run
from lottery_core.files import read_json, write_json, write_text
from lottery_core.pruning import KINDS, MAGNITUDE


@dataclass(frozen=True)
class Score:
    """What one training run reached.

    :param score: the score
    :param score_se: the score's standard error; NaN where there is none
    :param returns: number of values that the score averages (the last L episodes, say)
    :param steps: environment steps or updates trained
    :param wall_seconds: wall-clock time of the run
    :param cpu_seconds: CPU time of the run; of its last process where it was interrupted and resumed
    :param eval_score: mean return of the trained agent in fresh episodes; None where there was no evaluation
    :param eval_se: the standard error of ``eval_score``; None for fewer than two episodes
    :param eval_episodes: number of fresh episodes
    :param rewind_steps: steps, as in ``steps``, that the dense run had trained at the rewind point; None where unknown
    """

    score: float
    score_se: float = math.nan
    returns: int = 1
    steps: int = 0
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    eval_score: float | None = None
    eval_se: float | None = None
    eval_episodes: int = 0
    rewind_steps: int | None = None


@dataclass(frozen=True)
class Row:
    """One finished run. ``pruned`` and ``surviving`` count parameters of the pool; the fractions are of the pool."""

    experiment: str
    seed: int
    kind: str
    round: int
    pool: int
    pruned: int
    surviving: int
    pruned_fraction: float
    surviving_fraction: float
    score: float
    score_se: float
    returns: int
    steps: int
    wall_seconds: float
    cpu_seconds: float
    collapsed: tuple[str, ...]
    ticket: str
    versions: str
    eval_score: float | None = None
    eval_se: float | None = None
    eval_episodes: int = 0
    rewind_steps: int | None = None
    criterion: str = MAGNITUDE.name

    @property
    def run(self) -> Run:
        """The run that this row records."""
        return Run(self.seed, self.kind, self.round)


def write_marker(folder: Path, row: Row, experiment: Experiment) -> None:
    """Write ``result.json``, the marker that the run is done, atomically and last.

    :raises WriteError: it cannot be written
    """
    write_json(folder / paths.MARKER, {"configuration": experiment.digest(), **asdict(row)})


def read_marker(folder: Path, experiment: Experiment | None = None) -> Row | None:
    """The row in ``folder``; ``None`` where the run is not done (under this ``experiment``'s configuration).

    :raises ConfigError: the file is damaged
    """
    try:
        value = read_json(folder / paths.MARKER)
        if value is None:
            return None
        configuration = value.pop("configuration")
        row = Row(**{**value, "collapsed": tuple(value["collapsed"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"cannot read {folder / paths.MARKER}: {error} (without it the run counts as not done)"
        ) from error
    return None if experiment is not None and configuration != experiment.digest() else row


def read_rows(out: Path, experiment: Experiment | None = None) -> list[Row]:
    """All finished runs in the experiment folder ``out``, by seed, kind and round.

    :param experiment: rows of another configuration are left out; ``None`` takes all
    :raises ConfigError: no such folder, or none has finished
    """
    if not out.is_dir():
        raise ConfigError(f"{out} is not an experiment's folder")
    rows = [row for path in out.glob(f"seed-*/**/{paths.MARKER}") if (row := read_marker(path.parent, experiment))]
    if not rows:
        raise ConfigError(f"{out} holds no finished run")
    order = {kind: index for index, kind in enumerate(("dense", *KINDS))}
    return sorted(rows, key=lambda row: (row.seed, order.get(row.kind, len(order)), row.kind, row.round))


def write_csv(path: Path, rows: Iterable[Row]) -> None:
    """Write ``rows`` as CSV with a header, atomically; numbers in full.

    :raises WriteError: it cannot be written
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [entry.name for entry in fields(Row)]
    writer.writerow(names)
    for row in rows:
        values: dict[str, Any] = {**asdict(row), "collapsed": " ".join(row.collapsed)}
        writer.writerow([values[name] for name in names])
    write_text(path, text.getvalue())


def read_score(folder: Path) -> Score:
    """The score that a training process left in ``score.json``.

    :raises RunError: it left none
    """
    value = read_json(folder / paths.SCORE)
    if value is None:
        raise RunError(f"the run left no score: {folder / 'score.json'} is missing")
    return Score(**value)


def write_score(folder: Path, score: Score) -> None:
    """Write ``score.json``, see :func:`read_score`."""
    write_json(folder / paths.SCORE, asdict(score))
