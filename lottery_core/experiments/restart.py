"""Do a run again: resume it if it was killed and that is bit-exact, else restart it; or replace its score."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from lottery_core.errors import CheckpointError, WriteError
from lottery_core.experiments.configuration import Experiment
from lottery_core.experiments.graph import Run, paths
from lottery_core.experiments.protocols import Framework
from lottery_core.experiments.results import Row, Score, write_lines
from lottery_core.files import read_json, read_object, remove_parts, same_json, stamp, why_not_regular, write_json
from lottery_core.tickets import Weights

# Files that are of one run, whatever ticket it trains.
_ITS_OWN = {
    *(paths.TICKET, paths.MARKER, paths.STARTED, paths.LOG, paths.PROGRESS, paths.SAME_AS, paths.EARLIER_SCORES),
    *(paths.FAILED, paths.JOB, paths.JOB_END),
}


def identity(experiment: Experiment, run: Run, ticket: Path | None) -> dict[str, Any]:
    """Return everything that determines a run's results besides its folder: configuration, versions and ticket.

    :param experiment: the configuration
    :param run: the run
    :param ticket: the ticket that the run trains, or that a control is made from; ``None`` for a dense run
    """
    return {
        "configuration": experiment.digest_for(run),
        "versions": dict(experiment.versions),
        "ticket": None if ticket is None else _sha256(ticket, stamp(ticket)),
    }


@lru_cache(maxsize=1 << 14)
def _sha256(path: Path, of_file: tuple[int, ...]) -> str:
    # Every control of a round asks for that of the winning ticket.
    return hashlib.sha256(path.read_bytes()).hexdigest()


def prepare_folder(
    run: Run,
    folder: Path,
    now: Mapping[str, Any],
    framework: Framework,
    accepts: Callable[[str], bool] = lambda configuration: False,
) -> None:
    """Keep in ``folder`` what ``run`` can resume from, or remove what an unfinished run left; the log says which.

    :param run: the run that will be started
    :param folder: the run's folder
    :param now: the run's :func:`identity`
    :param framework: decides whether the files allow a bit-exact resume
    :param accepts: whether another digest is equivalent to the configuration's
    :raises WriteError: the folder cannot be written
    """
    log = folder / paths.LOG
    if log.exists() and why_not_regular(log) is not None:  # opening a FIFO would wait for a reader
        raise WriteError(f"cannot write {log}: {why_not_regular(log)}")
    before = started_as(folder)
    reason: str | None = "it was started with another configuration, other versions or another ticket"
    if is_same_start(before, now, accepts):
        reason = framework.why_not_resumable(run, folder)
    if before is not None:
        _log(folder, "is resumed" if reason is None else f"begins again: {reason}")
    if reason is None:
        remove_parts(folder)
        for name in (paths.JOB, paths.JOB_END):  # of a job that has vanished: whoever trains it now may be no job
            (folder / name).unlink(missing_ok=True)
    else:
        clear(folder)
        write_json(folder / paths.STARTED, now)


def started_as(folder: Path) -> Any:
    """Return the :func:`identity` of the run that was last started in ``folder``; ``None`` if it is not recorded."""
    try:
        return read_json(folder / paths.STARTED)
    except (OSError, ValueError):
        return None


def is_same_start(before: Any, now: Mapping[str, Any], accepts: Callable[[str], bool]) -> bool:
    """Return whether two values of :func:`identity` describe the same start.

    :param before: the recorded value, see :func:`started_as`
    :param now: the value for a start now
    :param accepts: whether another digest is equivalent to the configuration's
    """
    if not isinstance(before, Mapping) or before == now:
        return bool(before == now)
    known = accepts(str(before.get("configuration")))
    return known and {**before, "configuration": now["configuration"]} == now


def _log(folder: Path, text: str) -> None:
    try:
        with open(folder / paths.LOG, "a", encoding="utf-8") as log:
            log.write(f"\n{time.strftime('%Y-%m-%d %H:%M:%S')} the run was interrupted, and {text}\n")
    except OSError as error:
        raise WriteError(f"cannot write {folder / paths.LOG}: {error.strerror or error}") from error


def copy_outcome(other: Run, source: Path, folder: Path) -> None:
    """Copy what a finished run left, instead of training the same ticket again; ``same-as.json`` names that run.

    :param other: the finished run
    :param source: its folder
    :param folder: the folder of the run that trains the same ticket
    :raises WriteError: the files cannot be copied
    """
    clear(folder)
    write_json(folder / paths.SAME_AS, {"run": other.folder.relative_to(other.folder.parts[0]).as_posix()})
    try:
        for path in source.iterdir():
            if path.is_file() and path.name not in _ITS_OWN:
                shutil.copy2(path, folder / path.name)
    except OSError as error:
        raise WriteError(f"cannot copy {source} to {folder}: {error.strerror or error}") from error


def clear(folder: Path) -> None:
    """Remove what an unfinished run left in ``folder``, except its ticket and its log, which is continued."""
    if not folder.exists():
        return
    try:
        # Remove these first, because they mark the other files as complete and a kill may come in between.
        for name in (paths.MARKER, paths.STARTED):
            (folder / name).unlink(missing_ok=True)
        remove_parts(folder)
        for path in folder.iterdir():
            if path.name not in (paths.LOG, paths.TICKET):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    except OSError as error:
        raise WriteError(f"cannot clear {folder}: {error.strerror or error}") from error


def forget_end(folder: Path) -> None:
    """Remove what says that a run has ended, and its weights that cannot be read, so that it is trained again.

    :param folder: the folder of a finished run
    :raises WriteError: a file cannot be removed
    """
    try:
        for name in (paths.MARKER, paths.JOB, paths.JOB_END):  # a job that has ended would be taken for its training
            (folder / name).unlink(missing_ok=True)
        for path in [*folder.rglob(paths.INIT), *folder.rglob(paths.REWIND)]:
            with suppress(CheckpointError):
                Weights.load(path)
                continue
            path.unlink()
    except OSError as error:
        raise WriteError(f"cannot clear {folder}: {error.strerror or error}") from error


def stale(done: Mapping[Run, Row], experiment: Experiment) -> list[Run]:
    """Return the finished runs that were scored with other settings than the experiment's; search runs have no score.

    :param done: run -> its row
    :param experiment: the configuration
    """
    return [run for run, row in done.items() if row.scoring != experiment.scoring_text and not run.search]


def rescored(row: Row, score: Score, label: str) -> Row:
    """Return the row of a finished run with a new score; the other columns of its training are kept.

    :param row: the row
    :param score: the new score
    :param label: description of the new score
    """
    return replace(
        row,
        score_label=label,
        score=score.score,
        score_se=score.score_se,
        returns=score.returns,
        more=score.more,
        scoring=score.scoring,
    )


def keep_earlier(folder: Path, row: Row) -> None:
    """Append the score in ``row`` to ``earlier-scores.json`` in the run's folder, before a new score replaces it.

    :raises WriteError: the file cannot be written
    """
    entry = {"scoring": row.scoring, "score": row.score, "more": dict(row.more)}
    earlier = _earlier(folder)
    if not same_json(earlier[-1:], [entry]):  # a killed rescoring has already kept it; NaN does not equal NaN
        write_json(folder / paths.EARLIER_SCORES, {"scores": [*earlier, entry]})


def _earlier(folder: Path) -> list[Any]:
    scores = read_object(folder / paths.EARLIER_SCORES).get("scores", [])
    return [entry for entry in scores if isinstance(entry, dict)] if isinstance(scores, list) else []


def write_scores(out: Path, rows: Iterable[Row]) -> None:
    """Write ``scores.csv``, with every score of every run and its settings; do nothing if no run was rescored.

    :param out: the experiment's folder
    :param rows: the finished runs
    :raises WriteError: the file cannot be written
    """
    lines: list[list[Any]] = [["seed", "kind", "round", "scoring", "name", "score", "current", "noise"]]
    replaced = False
    for row in rows:
        now = {"scoring": row.scoring, "score": row.score, "more": row.more}
        for current, entry in [*(("no", each) for each in _earlier(out / row.run.folder)), ("yes", now)]:
            more = entry.get("more") if isinstance(entry.get("more"), Mapping) else {}
            for name, value in {"": entry.get("score"), **more}.items():
                scored = [row.seed, row.kind, row.round, entry.get("scoring"), name or "score", value, current]
                lines.append([*scored, row.noise])
                replaced |= current == "no"
    if replaced:
        write_lines(out / paths.SCORES, lines)
