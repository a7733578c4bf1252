"""Result rows: one a finished run, its marker of being done, and the table ``results.csv``."""

from __future__ import annotations

import csv
import io
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from lottery_core.errors import ConfigError, RunError, TicketError
from lottery_core.experiments import paths
from lottery_core.experiments.experiment import Experiment
from lottery_core.experiments.plan import Run
from lottery_core.files import from_json, printable, read_json, read_object, why_not_regular, write_json, write_text
from lottery_core.pruning import DENSE, FLOOR, KINDS, MAGNITUDE
from lottery_core.tickets import TOGETHER, claimed_digest


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
    score_label: str = ""  # what the score is; rows of 0.1 do not say
    noise: int = 0  # which training of the same ticket, under other noise

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
    if min(counts) < 0 or row.pool < 1 or row.pruned + row.surviving != row.pool or row.round < 0:
        raise damaged("its counts of parameters contradict each other")
    return _Marker(value["configuration"], row)


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
    rows += _floor_row(out, rows[0])
    order = {kind: index for index, kind in enumerate((DENSE, *KINDS))}
    return sorted(rows, key=lambda row: (row.seed, order.get(row.kind, len(order)), row.kind, row.round))


def write_floor(out: Path, floor: Score, policy: str) -> None:
    """Write the score without any learning, which the report of the experiment takes as its floor.

    :param out: the experiment's folder
    :param floor: the score
    :param policy: what reached it, e.g. ``"random actions"``
    :raises WriteError: it cannot be written
    """
    write_json(out / paths.FLOOR, {**asdict(floor), "policy": policy})


def _floor_row(out: Path, some: Row) -> list[Row]:
    value = read_object(out / paths.FLOOR)
    if not value:
        return []
    found = from_json(Score, value, lambda why: ConfigError(f"cannot read {out / paths.FLOOR}: {why}"))
    whole = {"pruned": 0, "surviving": some.pool, "pruned_fraction": 0.0, "surviving_fraction": 1.0}
    names = {"kind": FLOOR, "round": 0, "ticket": "", "collapsed": (), "networks": ""}
    values: dict[str, Any] = {**names, **whole, **asdict(found)}
    return [replace(some, **values)]


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


_LARGEST = 1e100  # a score, whose square is still a number
_NUMBERS: dict[str, Callable[[str], int | float]] = {"int": int, "float": float}


def read_csv(path: Path) -> list[Row]:
    """The rows of a file that :func:`write_csv`, of this version or an earlier one, has written.

    Columns that earlier versions did not write have their defaults; columns that this version does not know are left.

    :param path: the file
    :raises ConfigError: no such file, a column is missing, or a value is damaged; names the line
    """
    reason = why_not_regular(path)
    if reason is not None:
        raise ConfigError(f"cannot read {path}: {reason}")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigError(f"cannot read {path}: it is no CSV file ({printable(error)})") from error
    known = set(lines[0]) if lines else set()
    needed = [entry.name for entry in fields(Row) if entry.default is MISSING]
    missing = [name for name in needed if name not in known]
    if lines and missing:
        raise ConfigError(f"{path} has no column {', '.join(missing)}: it is not the results.csv of an experiment")
    if not lines:
        raise ConfigError(f"{path} holds no row")
    return [_row_of(line, f"cannot read {path}, line {number}") for number, line in enumerate(lines, 2)]


def _row_of(line: dict[str, Any], where: str) -> Row:
    values: dict[str, Any] = {}
    for entry in fields(Row):
        text = line.get(entry.name)
        if text is None and entry.name in line:
            raise ConfigError(f"{where}: it ends before the column {entry.name}")
        if text is None or (text == "" and entry.default is None):
            continue
        convert = _NUMBERS.get(str(entry.type).removesuffix(" | None"))
        try:
            values[entry.name] = convert(text) if convert else text
        except ValueError as error:
            raise ConfigError(f"{where}: {entry.name} must be a number, not '{printable(text, 60)}'") from error
    row = Row(**{**values, "collapsed": tuple(values["collapsed"].split())})
    counts = row.pruned, row.surviving - 1, row.round
    if min(counts) < 0 or row.pruned + row.surviving != row.pool:
        raise ConfigError(f"{where}: its counts of parameters contradict each other")
    if (row.round == 0) != (row.kind in (DENSE, FLOOR)):
        raise ConfigError(f"{where}: tickets have rounds from 1, and {DENSE} has round 0")
    if math.isfinite(row.score) and abs(row.score) > _LARGEST:
        raise ConfigError(f"{where}: its score cannot be averaged: {row.score}")
    return replace(row, pruned_fraction=row.pruned / row.pool, surviving_fraction=row.surviving / row.pool)


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
    return from_json(Score, value, lambda why: RunError(f"cannot read {path}: {why}"))


def write_score(folder: Path, score: Score) -> None:
    """Write ``score.json``, see :func:`read_score`."""
    write_json(folder / paths.SCORE, asdict(score))
