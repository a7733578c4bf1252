"""Markers: the file that says that a run is done, or was left out, and the rows of all runs of a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

from lottery_core.errors import ConfigError, TicketError
from lottery_core.experiments.configuration import Experiment
from lottery_core.experiments.graph import Run, paths, with_needs
from lottery_core.experiments.results.row import Row, check_numbers
from lottery_core.files import from_json, printable, read_json, read_object, stamp, write_json
from lottery_core.pruning import DENSE, KINDS
from lottery_core.tickets import claimed_digest

_ROUNDED = 1e-6  # tolerance for fractions, compared with the counts


def write_marker(folder: Path, row: Row, experiment: Experiment) -> None:
    """Write ``result.json``, the marker that the run is done, atomically and last.

    :raises WriteError: the marker cannot be written
    """
    write_json(folder / paths.MARKER, {"configuration": experiment.digest_for(row.run), **asdict(row)})


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
    row = replace(row, experiment=experiment.name, scoring=row.scoring or experiment.scoring_of_0_1())
    if not row.scoring or row.scoring != experiment.scoring_text:
        return row
    return replace(row, score_label=experiment.score_label)  # earlier versions kept the label of the first scoring


@dataclass(frozen=True)
class _Marker:
    configuration: str
    row: Row


# Every finished run reads all markers of its experiment: hundreds, of which one is new.
@lru_cache(maxsize=1 << 14)
def _known(path: Path, of_marker: tuple[int, ...], of_ticket: tuple[int, ...]) -> tuple[_Marker | None, str | None]:
    marker = _read(path.parent, path.name)
    return marker, None if marker is None or marker.row.not_run else why_foreign(marker.row, path.parent)


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
    check_numbers(row, damaged)
    for name, count in (("pruned_fraction", row.pruned), ("surviving_fraction", row.surviving)):
        if not abs(getattr(row, name) - count / row.pool) < _ROUNDED:
            raise damaged(f"'{name}' is {getattr(row, name)}, and {count} of {row.pool} are {count / row.pool}")
    return _Marker(value["configuration"], replace(row, noise=max(1, row.noise)))


def forget_left_out(out: Path, runs: Iterable[Run]) -> None:
    """Remove the records of runs that were left out, which a command begins to train.

    :param out: the experiment's folder
    :param runs: the runs
    """
    for run in runs:
        (out / run.folder / paths.NOT_RUN).unlink(missing_ok=True)


def left_out(experiment: Experiment) -> set[Run]:
    """Return the runs that an earlier command left out at the floor, and the searches that no other run needs.

    :param experiment: the configuration
    """
    plan = experiment.plan()
    waiting = [run for run in plan if not (experiment.out / run.folder / paths.MARKER).exists()]
    found = {run for run in waiting if _is_left_out(experiment, run)}
    if not found:
        return found
    needed = with_needs((run for run in waiting if not run.search and run not in found), experiment.needs)
    return found | {run for run in waiting if run.search and run not in needed}


def _is_left_out(experiment: Experiment, run: Run) -> bool:
    # Of another configuration, or by other scores, the record says nothing; see read_all.
    record = read_object(experiment.out / run.folder / paths.NOT_RUN)
    if not record.get("not_run") or not experiment.accepts(str(record.get("configuration"))):
        return False
    return (record.get("scoring") or experiment.scoring_of_0_1()) == experiment.scoring_text


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


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Return rows sorted by seed, kind and round."""
    order = {kind: index for index, kind in enumerate((DENSE, *KINDS))}
    return sorted(rows, key=lambda row: (row.seed, order.get(row.kind, len(order)), row.kind, row.round, row.noise))


def read_all(out: Path, experiment: Experiment | None, warn: Callable[[str], None]) -> Iterator[Row]:
    """Yield the rows of all finished runs of a folder, scored and searching ones.

    :param out: the experiment's folder
    :param experiment: the configuration; rows of any other are skipped; ``None`` accepts all
    :param warn: shows a warning about a marker that is skipped
    :raises ConfigError: a marker is damaged
    """
    files = (path for name in (paths.MARKER, paths.NOT_RUN) for path in out.glob(f"seed-*/**/{name}"))
    for path in sorted(files):
        marker, reason = _known(path, stamp(path), stamp(path.parent / paths.TICKET))
        if marker is None or (experiment is not None and not experiment.accepts(marker.configuration)):
            continue
        if marker.row.not_run and (path.parent / paths.MARKER).exists():  # done by a later command
            continue
        row = _scored(marker.row, experiment)
        if row.not_run and experiment is not None and row.scoring != experiment.scoring_text:
            continue  # whether the kind has ended by these scores, too, is not known
        if reason is None:
            yield row
        else:
            warn(f"WARNING: {path} is left out: {reason}")
