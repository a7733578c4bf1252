"""Result rows: one a finished run, its marker of being done, and the table ``results.csv``."""

from __future__ import annotations

import csv
import io
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lottery_core.errors import ConfigError, RunError, TicketError
from lottery_core.experiments import paths
from lottery_core.experiments.experiment import Experiment
from lottery_core.experiments.plan import Run
from lottery_core.files import from_json, printable, read_json, write_json, write_text
from lottery_core.pruning import DENSE, KINDS, MAGNITUDE
from lottery_core.tickets import TOGETHER, claimed_digest

_LARGEST = 1e100  # of what is squared and summed in tables
_ROUNDED = 1e-6  # of a fraction, against the counts


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
    networks: str = ""  # survivors by network where there are several: "actor=12/4610 critic=900/4545"
    scope_shares: str = TOGETHER

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
    """The row in a run's folder; ``None`` where the run is not done, or the marker belongs to another run or ticket.

    :param folder: the run's folder
    :param experiment: a marker of another configuration counts as not done; ``None`` takes any
    :raises ConfigError: the file is damaged
    """
    marker = _read(folder)
    if marker is None or (experiment is not None and marker.configuration != experiment.digest()):
        return None
    return None if why_foreign(marker.row, folder) else marker.row


@dataclass(frozen=True)
class _Marker:
    configuration: str
    row: Row


def _read(folder: Path) -> _Marker | None:
    path = folder / paths.MARKER

    def damaged(why: object) -> ConfigError:
        return ConfigError(f"cannot read {path}: {printable(why)} (without it the run is not done)")

    try:
        value = read_json(path)
    except (OSError, ValueError) as error:
        raise damaged(error) from error
    if value is None:
        return None
    row = from_json(Row, value, damaged)
    if not isinstance(value.get("configuration"), str):
        raise damaged("the key 'configuration' is missing")
    counts = row.pool, row.pruned, row.surviving
    if min(counts) < 0 or row.surviving < 1 or row.pruned + row.surviving != row.pool or row.round < 0:
        raise damaged("its counts of parameters contradict each other")
    _check_numbers(row, damaged)
    for name, count in (("pruned_fraction", row.pruned), ("surviving_fraction", row.surviving)):
        if not abs(getattr(row, name) - count / row.pool) < _ROUNDED:
            raise damaged(f"'{name}' is {getattr(row, name)}, and {count} of {row.pool} are {count / row.pool}")
    return _Marker(value["configuration"], row)


def _check_numbers(row: Row | Score, damaged: Callable[[object], Exception]) -> None:
    # A score may be NaN or infinite; a time or a count may not, nor may anything be as large as no training gives.
    for name in ("returns", "steps", "wall_seconds", "cpu_seconds", "eval_episodes", "rewind_steps"):
        value = getattr(row, name)
        if value is not None and not 0 <= value < math.inf:
            raise damaged(f"'{name}' must be a number of at least 0, not {value}")
    for name in ("score", "score_se", "wall_seconds", "cpu_seconds", "eval_score", "eval_se"):
        value = getattr(row, name)
        if value is not None and math.isfinite(value) and abs(value) > _LARGEST:
            raise damaged(f"'{name}' is {value:g}, more than can be averaged")


def why_foreign(row: Row, folder: Path) -> str | None:
    """Why a marker does not belong where it lies: it names another run, or another ticket; ``None`` where it does.

    :param row: the marker's row
    :param folder: the run's folder
    """
    own = row.run.folder.parts
    if folder.absolute().parts[-len(own) :] != own:
        return f"it is the marker of {printable(row.run, 80)}"
    if row.kind == DENSE:
        return None
    try:
        digest = claimed_digest(folder / paths.TICKET)
    except TicketError:  # reported where the ticket is needed
        return None
    return None if digest == row.ticket else "it names another ticket than the one beside it"


def read_rows(out: Path, experiment: Experiment | None = None, warn: Callable[[str], None] | None = None) -> list[Row]:
    """All finished runs in the experiment folder ``out``, by seed, kind and round.

    Markers that belong to another run, or name another ticket, are left out with a warning.

    :param out: the experiment's folder
    :param experiment: rows of another configuration are left out; ``None`` takes all
    :param warn: shows a warning; standard error by default
    :raises ConfigError: no such folder, or none has finished
    """
    if not out.is_dir():
        raise ConfigError(f"{out} is not an experiment's folder")
    rows = []
    for path in sorted(out.glob(f"seed-*/**/{paths.MARKER}")):
        marker = _read(path.parent)
        if marker is None or (experiment is not None and marker.configuration != experiment.digest()):
            continue
        reason = why_foreign(marker.row, path.parent)
        if reason is None:
            rows.append(marker.row)
        else:
            (warn or _warn)(f"WARNING: {path} is left out: {reason}")
    if not rows:
        raise ConfigError(f"{out} holds no finished run")
    order = {kind: index for index, kind in enumerate((DENSE, *KINDS))}
    return sorted(rows, key=lambda row: (row.seed, order.get(row.kind, len(order)), row.kind, row.round))


def _warn(line: str) -> None:
    print(printable(line, 1000), file=sys.stderr)


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

    :param folder: the run's folder
    :raises RunError: it left none, or a damaged one
    """
    path = folder / paths.SCORE
    try:
        value = read_json(path)
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {path}: {printable(error)}") from error
    if value is None:
        raise RunError(f"the run left no score: {path} is missing")
    score = from_json(Score, value, lambda why: RunError(f"cannot read {path}: {why}"))
    _check_numbers(score, lambda why: RunError(f"cannot read {path}: {why}"))
    return score


def write_score(folder: Path, score: Score) -> None:
    """Write ``score.json``, see :func:`read_score`."""
    write_json(folder / paths.SCORE, asdict(score))
