"""The table of ways as a committed result: its lines, the rows that they follow from, a picture."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict, fields, replace
from pathlib import Path

from table import PLAIN, Line, compared, finished, lines

from lottery_core.experiments import read_csv, read_rows, read_searches, write_csv
from lottery_core.pruning import DENSE, FLOOR, WINNING
from lottery_core.reports import Source, plot, source_of

WAYS, PICTURE, SEARCHES = "ways.csv", "curve.png", "-search.csv"


def write_ways(path: Path, found: Iterable[Line]) -> None:
    """Write lines of the table.

    :param path: the file
    :param found: the lines
    """
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Line)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(line) for line in found)


def read_ways(path: Path) -> list[Line]:
    """Read lines of the table.

    :param path: the file
    """
    kinds = {"experiment": str, "way": str, "seeds": int}
    with open(path, newline="", encoding="utf-8") as file:
        return [
            Line(**{name: kinds.get(name, float)(value) for name, value in row.items()}) for row in csv.DictReader(file)
        ]


def publish(out: Path, folder: Path) -> list[Line]:
    """Write the finished ways of an experiment into a folder of results.

    :param out: the folder of the ways
    :param folder: where the table, the rows and the picture are written
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = lines(out)
    write_ways(folder / WAYS, found)
    for way in (PLAIN, *(line.way for line in found)):
        # The dense rows are the plain chain's.
        rows = read_rows(out / way)
        seeds = finished(out / way, rows)
        kept = [row for row in rows if row.seed in seeds or row.kind == FLOOR]
        write_csv(folder / f"{way}.csv", [replace(row, experiment=way) for row in kept])
        if searches := [row for row in read_searches(out / way) if row.seed in seeds]:
            write_csv(folder / f"{way}{SEARCHES}", searches)
    draw(folder)
    return found


def recomputed(folder: Path) -> list[Line]:
    """Return the lines of a folder of results with every column that follows from its rows computed again.

    :param folder: the folder of :func:`publish`
    """
    full = _source(folder, PLAIN)
    found = []
    for line in read_ways(folder / WAYS):
        cheap, path = _source(folder, line.way), folder / f"{line.way}{SEARCHES}"
        seeds = {row.seed for row in full.rows} & {row.seed for row in cheap.rows if row.kind != FLOOR}
        found.append(replace(line, **compared(full, cheap, read_csv(path) if path.exists() else [], seeds)))
    return found


def draw(folder: Path) -> None:
    """Draw the winning tickets of every way into one picture.

    :param folder: the folder of :func:`publish`
    """
    ways = (PLAIN, *(line.way for line in read_ways(folder / WAYS)))
    sources = {way: _source(folder, way) for way in ways}
    rows = {way: [row for row in source.rows if row.kind in (DENSE, WINNING)] for way, source in sources.items()}
    plot(rows, folder / PICTURE, sources[PLAIN].label)


def _source(folder: Path, way: str) -> Source:
    return source_of(folder / f"{way}.csv")
