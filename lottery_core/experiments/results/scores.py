"""Files of scores: that of a run, and that of the floor."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from lottery_core.errors import ConfigError, RunError
from lottery_core.experiments.graph import paths
from lottery_core.experiments.results.row import Row, Score, check_numbers
from lottery_core.files import from_json, printable, read_json, read_object, refuse_link_out, write_json
from lottery_core.pruning import FLOOR


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
    check_numbers(score, lambda why: RunError(f"cannot read {path}: {why}"))
    return score


def write_score(folder: Path, score: Score) -> None:
    """Write ``score.json``, see :func:`read_score`."""
    write_json(folder / paths.SCORE, asdict(score))


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
    refuse_link_out(out, out / paths.FLOOR)
    write_json(out / paths.FLOOR, {**asdict(floor), "policy": policy})


def floor_scoring(out: Path) -> str | None:
    """Return how the floor of the experiment in ``out`` was scored; ``None`` if there is no floor."""
    value = read_object(out / paths.FLOOR)
    return str(value.get("scoring", "")) if value else None


def _damaged_floor(out: Path, why: object) -> ConfigError:
    return ConfigError(f"cannot read {out / paths.FLOOR}: {why}")


def floor_row(out: Path, some: Row) -> list[Row]:
    """Return the row of the measured floor; none if it was not measured, or scored otherwise than the runs.

    :param out: the experiment's folder
    :param some: a row of the experiment
    """
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
