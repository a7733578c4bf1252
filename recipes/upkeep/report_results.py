"""Regenerate what is drawn and printed of the committed results: answers and tables in their pages, and the pictures.

    python recipes/upkeep/report_results.py [--check]

Each ``recipes/results/NAME/results*.csv`` gives the answer and the table that stand in the ``README.md`` beside it as
blocks of code, and ``curve*.png``. Each ``recipes/results/NAME/EXPERIMENT/ways.csv`` (of ``recipes/cheap_chains``)
gives lines of the table of ways in the ``README.md`` of NAME, computed again from the rows beside it, and
``curve.png``. Each ``recipes/results/NAME/lines-EXPERIMENT.csv`` (of ``stability_rows.py``) gives the table of a
stability probe, and ``stability-EXPERIMENT.png``. ``--check`` writes nothing, and fails where a page does not have
them.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from lottery_core.files import write_text
from lottery_core.reports import Source, answer, plot, sentences, shown, source_of, table

RESULTS = Path(__file__).parents[1] / "results"
sys.path.insert(0, str(RESULTS.parent / "cheap_chains"))
sys.path.insert(0, str(Path(__file__).parent))
import publish as ways  # noqa: E402
import stability_rows  # noqa: E402
from table import table as table_of_ways  # noqa: E402


def block(text: str) -> str:
    """A text as a block of code in a page."""
    return "".join(f"    {line}".rstrip() + "\n" for line in text.rstrip("\n").split("\n"))


def blocks(source: Source) -> tuple[str, str]:
    """The answer of an experiment, and its table without the title, as blocks of code."""
    lines = table(shown(source.rows, source.question(None).sign), source.label).split("\n")[1:]
    lines = [re.sub(r"(\* a layer has collapsed \(no survivor\)).*", r"\1", line) for line in lines]
    return block(sentences(answer(source.rows, source.question(None)))), block("\n".join(lines))


def renewed(page: str, source: Source) -> str:
    """A page with the answer and the table of its rows in the place of those that it has.

    :raises ValueError: the page has no place for them: a block of code that begins as they do
    """
    start = page.find(f"    {source.name}: the answer of")
    if start < 0:
        raise ValueError(f"the page of {source.name} has no block of code that begins '{source.name}: the answer of'")
    # A page may have several experiments, each with its answer first and its table behind.
    before, rest = page[:start], page[start:]
    for new, first in zip(blocks(source), (re.escape(f"    {source.name}: the answer of"), "    round "), strict=True):
        rest, count = re.subn(rf"^{first}.*\n(?:    .*\n)*", lambda _, new=new: new, rest, count=1, flags=re.M)
        if not count:
            raise ValueError(f"the page of {source.name} has no table behind its answer")
    return before + rest


def with_ways(page: str, folder: Path, write: bool) -> str:
    """A page with the table of the ways of every experiment in its folder.

    :param page: the page
    :param folder: its folder
    :param write: write the tables' files, too, and the pictures
    :raises ValueError: the page has no table of ways
    """
    found = []
    for path in sorted(folder.glob(f"*/{ways.WAYS}")):
        lines = ways.recomputed(path.parent)
        found += lines
        if write:
            ways.write_ways(path, lines)
            ways.draw(path.parent)
    text = "".join(f"{line}\n" for line in table_of_ways(found).split("\n"))
    new, count = re.subn(r"^\| experiment \| way \|.*\n(?:\|.*\n)*", lambda _: text, page, count=1, flags=re.M)
    if not count:
        raise ValueError(f"{folder}/README.md has no table that begins '| experiment | way |'")
    return new


def main() -> int:
    """Regenerate, or check.

    :returns: exit status: 1 where ``--check`` found a difference
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page is not up to date")
    check = parser.parse_args().check
    differing = []
    for rows in sorted(RESULTS.glob("*/results*.csv")):
        source = source_of(rows)
        path = rows.parent / "README.md"
        page = path.read_text()
        new = renewed(page, source)
        if check:
            differing += [str(path)] if new != page else []
            continue
        write_text(path, new)
        found = answer(source.rows, source.question(None))
        picture = rows.with_name(rows.stem.replace("results", "curve") + ".png")
        plot({source.name: source.rows}, picture, source.label, {source.name: found})
        print(picture)
    for folder in sorted({path.parents[1] for path in RESULTS.glob(f"*/*/{ways.WAYS}")}):
        page = (folder / "README.md").read_text()
        new = with_ways(page, folder, write=not check)
        if check:
            differing += [str(folder / "README.md")] if new != page else []
        else:
            write_text(folder / "README.md", new)
    for rows in sorted(RESULTS.glob(f"*/{stability_rows.BEGIN}*.csv")):
        path = rows.parent / "README.md"
        page = path.read_text()
        new = stability_rows.renewed(page, rows)
        if check:
            differing += [str(path)] if new != page else []
        else:
            write_text(path, new)
            print(stability_rows.draw(rows))
    for name in differing:
        print(f"{name} is not up to date: python recipes/upkeep/report_results.py", file=sys.stderr)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
