"""Results: one row per finished run, the marker that a run is done, and the table ``results.csv``."""

from __future__ import annotations

import csv
import io
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from lottery_core.errors import ConfigError, RunError, TicketError
from lottery_core.experiments.experiment import Experiment
from lottery_core.experiments.graph import Run, paths
from lottery_core.files import from_json, printable, read_json, read_object, why_not_regular, write_json, write_text
from lottery_core.pruning import DENSE, FLOOR, KINDS, MAGNITUDE, UNPRUNED
from lottery_core.tickets import TOGETHER, WEIGHT, claimed_digest

_LARGEST = 1e100  # tables square and sum values, which must not overflow
_MORE = "score: "  # prefix of the columns of further scores
AT_FLOOR = "at the floor"
_OF_TRANSFER = ("carried", "unmatched")  # columns of tables with tickets of other experiments
_OF_SEARCH = ("search", "share", "stopped")  # columns of search.csv only
_ROUNDED = 1e-6  # tolerance for fractions, compared with the counts


@dataclass(frozen=True)
class Score:
    """The score of one run, and what the run took.

    :param score: the score
    :param score_se: the score's standard error; NaN if there is none
    :param returns: number of values that the score averages, e.g. of the last L episodes
    :param steps: number of environment steps or updates trained
    :param wall_seconds: wall-clock time of the run in seconds
    :param cpu_seconds: CPU time of the run in seconds; only that of its last process if it was resumed
    :param eval_score: mean return of the trained agent in new episodes; ``None`` without an evaluation
    :param eval_se: the standard error of ``eval_score``; ``None`` for fewer than two episodes
    :param eval_episodes: number of new episodes
    :param rewind_steps: steps, as in ``steps``, that the dense run had trained at the rewind point; None if unknown
    :param more: name -> value of further scores of the same run
    :param scoring: how the run was scored, as options of a command line; empty if training itself gives the score
    :param search: how far the run was to train, if it only searched for the next ticket; empty for a scored run
    :param share: share of the training that was done, in (0, 1]
    :param stopped: where a search run ended, for users
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
    more: Mapping[str, float] = field(default_factory=dict, hash=False)
    scoring: str = ""
    search: str = ""
    share: float = 1.0
    stopped: str = ""


@dataclass(frozen=True)
class Row:
    """The result of one finished run. Its counts and fractions are those of the parameters in the pool."""

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
    networks: str = ""  # survivors by network if there are several: "actor=12/4610 critic=900/4545"
    scope_shares: str = TOGETHER
    scoring: str = ""
    more: Mapping[str, float] = field(default_factory=dict, hash=False)
    score_label: str = ""  # description of the score; missing in rows of 0.1
    search: str = ""  # how far a search run was to train; empty for a scored run
    share: float = 1.0  # of the training that was done
    stopped: str = ""  # where a search run ended
    noise: int = 1  # number of the training of this ticket; further ones have other noise
    not_run: str = ""  # why the run was left out, "at the floor"; it has no score then
    same_as: str = ""  # the run of the same ticket, "winning/round-01", whose outcome was copied instead of training
    output_scale: float | None = None  # product of the layers' root mean squares at the start of a ticket
    gradual: str = ""  # begin, end and steps of the schedule of a ticket that was pruned gradually
    granularity: str = WEIGHT
    carried: int | None = None  # parameters in tensors whose masks came from another experiment; None for other kinds
    unmatched: str = ""  # what happened to the other tensors of such a ticket

    @property
    def run(self) -> Run:
        """The run that this row records."""
        return Run(self.seed, self.kind, self.round, self.noise, bool(self.search))


def write_marker(folder: Path, row: Row, experiment: Experiment) -> None:
    """Write ``result.json``, the marker that the run is done, atomically and last.

    :raises WriteError: the marker cannot be written
    """
    write_json(folder / paths.MARKER, {"configuration": experiment.digest(), **asdict(row)})


def read_marker(folder: Path, experiment: Experiment | None = None) -> Row | None:
    """Read the row in a run's folder; ``None`` if the run is not done, or the marker is of another run or ticket.

    :param folder: the run's folder
    :param experiment: the configuration that the marker must have for the run to be done; ``None`` accepts any
    :raises ConfigError: the marker is damaged
    """
    marker = _read(folder)
    if marker is None or (experiment is not None and not experiment.accepts(marker.configuration)):
        return None
    return None if why_foreign(marker.row, folder) or marker.row.not_run else _scored(marker.row, experiment)


def _scored(row: Row, experiment: Experiment | None) -> Row:
    if experiment is None:
        return row
    # The folder may have had another name when the run was done.
    return replace(row, experiment=experiment.name, scoring=row.scoring or experiment.scoring_of_0_1())


@dataclass(frozen=True)
class _Marker:
    configuration: str
    row: Row


def _read(folder: Path, name: str = paths.MARKER) -> _Marker | None:
    path = folder / name

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
    return _Marker(value["configuration"], replace(row, noise=max(1, row.noise)))


def _check_numbers(row: Row | Score, damaged: Callable[[object], Exception]) -> None:
    # A score may be NaN or infinite, but not a time or a count; and no value may be larger than any run can produce.
    for name in ("returns", "steps", "wall_seconds", "cpu_seconds", "eval_episodes", "rewind_steps", "share"):
        value = getattr(row, name)
        if value is not None and not 0 <= value < math.inf:
            raise damaged(f"'{name}' must be a number of at least 0, not {value}")
    for name in ("score", "score_se", "wall_seconds", "cpu_seconds", "eval_score", "eval_se", "output_scale"):
        value = getattr(row, name, None)
        if value is not None and math.isfinite(value) and abs(value) > _LARGEST:
            raise damaged(f"'{name}' is {value:g}, more than can be averaged")


def write_not_run(experiment: Experiment, run: Run, dense: Row) -> None:
    """Record that a run was left out at the floor; a later command that does not leave it out removes the record.

    :param experiment: the configuration
    :param run: the run
    :param dense: row of the dense run of its repeat
    :raises WriteError: the record cannot be written
    """
    survivors = experiment.schedule(dense.pool, run.round)[run.round]
    row = replace(
        dense,
        kind=run.kind,
        round=run.round,
        noise=run.noise,
        not_run=AT_FLOOR,
        ticket="",
        networks="",
        pruned=dense.pool - survivors,
        pruned_fraction=1 - survivors / dense.pool,
        surviving=survivors,
        surviving_fraction=survivors / dense.pool,
        score=math.nan,
        score_se=math.nan,
        returns=0,
        steps=0,
        wall_seconds=0.0,
        cpu_seconds=0.0,
        eval_score=None,
        eval_se=None,
        eval_episodes=0,
        rewind_steps=None,
        more={},
    )
    write_json(experiment.out / run.folder / paths.NOT_RUN, {"configuration": experiment.digest(), **asdict(row)})


def why_foreign(row: Row, folder: Path) -> str | None:
    """Return why a marker does not belong in its folder: it names another run or ticket; ``None`` if it belongs there.

    :param row: the marker's row
    :param folder: the run's folder
    """
    own = row.run.folder.parts
    if folder.absolute().parts[-len(own) :] != own:
        return f"it is the marker of {printable(row.run, 80)}"
    if not row.run.has_ticket:
        return None
    try:
        digest = claimed_digest(folder / paths.TICKET)
    except TicketError:  # reported when the ticket is needed
        return None
    return None if digest == row.ticket else "it names another ticket than the one beside it"


def read_rows(out: Path, experiment: Experiment | None = None, warn: Callable[[str], None] | None = None) -> list[Row]:
    """Read the rows of all finished, scored runs in the experiment folder ``out``, sorted by seed, kind and round.

    Markers that belong to another run, or name another ticket, are skipped with a warning.

    :param out: the experiment's folder
    :param experiment: the configuration; rows of any other are skipped; ``None`` accepts all
    :param warn: shows a warning; by default prints it to standard error
    :raises ConfigError: there is no such folder, or no run has finished
    """
    if not out.is_dir():
        raise ConfigError(f"{out} is not an experiment's folder")
    rows = [row for row in _read_all(out, experiment, warn or _warn) if not row.search]
    if not rows:
        raise ConfigError(f"{out} holds no finished run")
    rows += _floor_row(out, rows[0])
    return _in_order(rows)


def read_searches(out: Path, experiment: Experiment | None = None) -> list[Row]:
    """Read the rows of all finished search runs in an experiment's folder, sorted by seed, kind and round.

    :param out: the experiment's folder
    :param experiment: the configuration; rows of any other are skipped; ``None`` accepts all
    """
    return _in_order([row for row in _read_all(out, experiment, lambda line: None) if row.search])


def _in_order(rows: Iterable[Row]) -> list[Row]:
    order = {kind: index for index, kind in enumerate((DENSE, *KINDS))}
    return sorted(rows, key=lambda row: (row.seed, order.get(row.kind, len(order)), row.kind, row.round, row.noise))


def _read_all(out: Path, experiment: Experiment | None, warn: Callable[[str], None]) -> Iterator[Row]:
    files = (path for name in (paths.MARKER, paths.NOT_RUN) for path in out.glob(f"seed-*/**/{name}"))
    for path in sorted(files):
        marker = _read(path.parent, path.name)
        if marker is None or (experiment is not None and not experiment.accepts(marker.configuration)):
            continue
        if marker.row.not_run and (path.parent / paths.MARKER).exists():  # done by a later command
            continue
        reason = None if marker.row.not_run else why_foreign(marker.row, path.parent)
        if reason is None:
            yield _scored(marker.row, experiment)
        else:
            warn(f"WARNING: {path} is left out: {reason}")


def read_floor(out: Path) -> float | None:
    """Return the measured score without any learning; ``None`` if it was not measured.

    :param out: the experiment's folder
    :raises ConfigError: the file is damaged
    """
    value = read_object(out / paths.FLOOR)
    damaged = partial(_damaged_floor, out)
    return from_json(Score, value, damaged).score if value else None


def write_floor(out: Path, floor: Score, policy: str) -> None:
    """Write the score without any learning, which is the floor in the experiment's report.

    :param out: the experiment's folder
    :param floor: the score
    :param policy: the policy that reached the score, e.g. ``"random actions"``
    :raises WriteError: the file cannot be written
    """
    write_json(out / paths.FLOOR, {**asdict(floor), "policy": policy})


def floor_scoring(out: Path) -> str | None:
    """Return how the floor of the experiment in ``out`` was scored; ``None`` if there is no floor."""
    value = read_object(out / paths.FLOOR)
    return str(value.get("scoring", "")) if value else None


def _damaged_floor(out: Path, why: object) -> ConfigError:
    return ConfigError(f"cannot read {out / paths.FLOOR}: {why}")


def _floor_row(out: Path, some: Row) -> list[Row]:
    value = read_object(out / paths.FLOOR)
    if not value:
        return []
    found = from_json(Score, value, partial(_damaged_floor, out))
    if found.scoring != some.scoring:  # runs were scored again since
        return []
    whole = {"pruned": 0, "surviving": some.pool, "pruned_fraction": 0.0, "surviving_fraction": 1.0}
    names = {"kind": FLOOR, "round": 0, "ticket": "", "collapsed": (), "networks": "", "noise": 1, "same_as": ""}
    values: dict[str, Any] = {**names, **whole, **asdict(found)}
    return [replace(some, **values)]


def _warn(line: str) -> None:
    print(printable(line, 1000), file=sys.stderr)


def write_csv(path: Path, rows: Iterable[Row]) -> None:
    """Write ``rows`` as CSV with a header, atomically and with all digits. Each further score has a column at the end.

    :raises WriteError: the file cannot be written
    """
    rows = list(rows)
    left_out = ["more", *(() if any(row.search for row in rows) else _OF_SEARCH)]
    left_out += [] if any(row.not_run for row in rows) else ["not_run"]
    left_out += [] if any(row.carried is not None for row in rows) else _OF_TRANSFER
    names = [entry.name for entry in fields(Row) if entry.name not in left_out]
    more = list(dict.fromkeys(name for row in rows for name in row.more))
    lines: list[list[Any]] = [[*names, *(f"{_MORE}{name}" for name in more)]]
    for row in rows:
        values: dict[str, Any] = {**asdict(row), "collapsed": " ".join(row.collapsed)}
        lines.append([*(values[name] for name in names), *(row.more.get(name, "") for name in more)])
    write_lines(path, lines)


def write_lines(path: Path, lines: Iterable[Iterable[Any]]) -> None:
    """Write ``lines`` as CSV, atomically.

    :raises WriteError: the file cannot be written
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    write_text(path, text.getvalue())


_NUMBERS: dict[str, Callable[[str], int | float]] = {"int": int, "float": float}
_NEEDED = ("seed", "kind", "round", "pool", "surviving", "score")
# What a table of a user's own may lack; the fractions are computed from the counts.
_UNKNOWN: dict[str, Any] = {
    "pruned_fraction": 0.0,
    "surviving_fraction": 0.0,
    "score_se": math.nan,
    "returns": 1,
    "steps": 0,
    "wall_seconds": 0.0,
    "cpu_seconds": 0.0,
    "collapsed": "",
    "ticket": "",
    "versions": "",
}


def read_csv(path: Path) -> list[Row]:
    """Read a file that was written by :func:`write_csv` of this version or an earlier one.

    Columns that the file lacks get their defaults, so a table of a user's own needs only seed, kind, round, pool,
    surviving and score. Columns that this version does not know are ignored.

    :param path: the file
    :raises ConfigError: the file or a column is missing, or a value is damaged; the message names the line
    """
    reason = why_not_regular(path)
    if reason is not None:
        raise ConfigError(f"cannot read {path}: {reason}")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigError(f"cannot read {path}: it is no CSV file ({printable(error)})") from error
    missing = [name for name in _NEEDED if lines and name not in lines[0]]
    if missing:
        raise ConfigError(
            f"{path} has no column {', '.join(missing)}: rows of results have {', '.join(_NEEDED)} at least"
        )
    if not lines:
        raise ConfigError(f"{path} holds no row")
    return [_row_of(line, path.stem, f"cannot read {path}, line {number}") for number, line in enumerate(lines, 2)]


def _is_further(name: object) -> bool:
    return isinstance(name, str) and name.startswith(_MORE)


def _row_of(line: dict[str, Any], experiment: str, where: str) -> Row:
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
    try:
        more = {name.removeprefix(_MORE): float(text) for name, text in line.items() if _is_further(name) and text}
    except ValueError as error:
        raise ConfigError(f"{where}: a further score is no number: {printable(error)}") from error
    values = {"experiment": experiment, "pruned": values["pool"] - values["surviving"], **_UNKNOWN, **values}
    row = Row(**{**values, "collapsed": tuple(values["collapsed"].split()), "more": more})
    counts = row.pruned, row.surviving - 1, row.round
    if min(counts) < 0 or row.pruned + row.surviving != row.pool:
        raise ConfigError(f"{where}: its counts of parameters contradict each other")
    if (row.round == 0) != (row.kind in (DENSE, FLOOR, *UNPRUNED)):
        raise ConfigError(f"{where}: tickets have rounds from 1, and {DENSE} has round 0")
    if math.isfinite(row.score) and abs(row.score) > _LARGEST:
        raise ConfigError(f"{where}: its score cannot be averaged: {row.score}")
    row = replace(row, noise=max(1, row.noise))
    return replace(row, pruned_fraction=row.pruned / row.pool, surviving_fraction=row.surviving / row.pool)


def read_score(folder: Path) -> Score:
    """Read the score that a run's process left in ``score.json``.

    :param folder: the run's folder
    :raises RunError: the score is missing or damaged
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
