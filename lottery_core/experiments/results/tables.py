"""``results.csv``: rows written and read, those of earlier versions too."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

from lottery_core.errors import ConfigError
from lottery_core.experiments.results.row import Row, check_numbers
from lottery_core.files import printable, why_not_regular, write_text
from lottery_core.pruning import DENSE, FLOOR, UNPRUNED

_MORE = "score: "  # prefix of the columns of further scores
_OF_TRANSFER = ("carried", "unmatched")  # columns of tables with tickets of other experiments
_OF_SEARCH = ("search", "share", "stopped")  # columns of search.csv only


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
        values: dict[str, Any] = {**vars(row), "collapsed": " ".join(row.collapsed)}
        lines.append([*(values[name] for name in names), *(row.more.get(name, "") for name in more)])
    write_lines(path, lines)


def write_lines(path: Path, lines: Iterable[Iterable[Any]]) -> None:
    """Write ``lines`` as CSV, atomically.

    :raises WriteError: the file cannot be written
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    write_text(path, text.getvalue())


def _whole(text: str) -> int:
    # Other programs write 1.0 in a column with gaps.
    number = int(text.removesuffix(".0"))
    if abs(number) >= 1 << 63:
        raise ValueError("no run counts so far")
    return number


_NUMBERS: dict[str, Callable[[str], int | float]] = {"int": _whole, "float": float}
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
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets write a mark
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
        optional = entry.default is not MISSING or entry.name in (*_UNKNOWN, "pruned", "experiment")
        if text is None or (text == "" and optional):  # other programs leave NaN empty
            continue
        if text == "" and entry.name == "score" and line.get("not_run"):
            text = "nan"
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
    if not row.kind:
        raise ConfigError(f"{where}: it has no kind")
    counts = row.pruned, row.surviving - 1, row.round
    if min(counts) < 0 or row.pruned + row.surviving != row.pool:
        raise ConfigError(f"{where}: its counts of parameters contradict each other")
    if (row.round == 0) != (row.kind in (DENSE, FLOOR, *UNPRUNED)):
        raise ConfigError(f"{where}: tickets have rounds from 1, and {DENSE} has round 0")
    check_numbers(row, lambda why: ConfigError(f"{where}: {why}"))
    row = replace(row, noise=max(1, row.noise))
    return replace(row, pruned_fraction=row.pruned / row.pool, surviving_fraction=row.surviving / row.pool)
