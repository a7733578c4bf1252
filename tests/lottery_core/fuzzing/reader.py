"""What a reader is, how a mutant is made, and what counts as a finding."""

from __future__ import annotations

import contextlib
import io
import random
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lottery_core import Weights, prune
from lottery_core.errors import LotteryError
from lottery_core.tickets import render

Files = dict[str, bytes]


@dataclass(frozen=True)
class Reader:
    """A reader, and mutants for it.

    :param name: its name
    :param seeds: makes the files to begin from: several alternatives, each a folder's files by name
    :param change: changes such files; may use the folder
    :param read: reads the files in a folder, in a way that goes by turns; may raise a :class:`LotteryError` and nothing
        else
    """

    name: str
    seeds: Callable[[Path], Sequence[Files]]
    change: Callable[[Files, random.Random, Path], Files]
    read: Callable[[Path, int], object]


@dataclass(frozen=True)
class Finding:
    """A mutant that was not read, nor refused in one line.

    :param number: the mutant's number
    :param what: the last lines of the traceback, or why the message is none
    """

    number: int
    what: str


def mutant(reader: Reader, seeds: Sequence[Files], seed: int, number: int, folder: Path) -> None:
    """Write a mutant into a folder.

    :param reader: the reader
    :param seeds: what :attr:`Reader.seeds` made
    :param seed: the seed of all mutants
    :param number: the mutant's number; the same number is the same mutant
    :param folder: where it is written
    """
    rng = random.Random(f"{seed} {reader.name} {number}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Python's zipfile, about members that stand twice
        files = reader.change(dict(rng.choice(list(seeds))), rng, folder)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).unlink(missing_ok=True)  # writing over a file waits for the disk
        (folder / name).write_bytes(data)


def try_mutant(reader: Reader, number: int, folder: Path) -> Finding | None:
    """Read a mutant.

    :returns: ``None`` where it was read, or refused by a short printable line
    """
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            _warnings_are_errors(),
        ):
            reader.read(folder, number)
    except LotteryError as error:
        line = str(error)
        fits = len(line.splitlines()) == 1 and len(line) < 3000
        return None if fits else Finding(number, f"{type(error).__name__}, no line: {line[:300]!r}")
    except Exception:
        return Finding(number, "".join(traceback.format_exc().splitlines(keepends=True)[-9:]))
    return None


@contextlib.contextmanager
def _warnings_are_errors() -> Iterator[None]:
    # A line of numpy's or torch's beside ours; our own are for people.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UserWarning)
        yield


def bytes_of(write: Callable[[Path], object], folder: Path) -> bytes:
    """The bytes that a writer writes."""
    path = folder / "seed"
    write(path)
    return path.read_bytes()


def use(weights: Weights, turn: int) -> None:
    """Do with weights that were read what people do with them."""
    scope = ("all", "all", "layers", "weight")[turn % 4]
    ticket = prune(weights, weights, rate=0.5, scope=scope)
    if turn % 3 == 0:
        render(ticket)
    ticket.to_bytes()
