"""Replace scores: which runs need a new score, and where the earlier scores are kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lottery_core.experiments import paths
from lottery_core.experiments.experiment import Experiment
from lottery_core.experiments.graph import Run
from lottery_core.experiments.results import Row, Score, write_lines
from lottery_core.files import read_object, write_json


def stale(done: Mapping[Run, Row], experiment: Experiment) -> list[Run]:
    """Return the finished runs that were scored with other settings than the experiment's; search runs have no score.

    :param done: run -> its row
    :param experiment: the configuration
    """
    return [run for run, row in done.items() if row.scoring != experiment.scoring_text and not run.search]


def rescored(row: Row, score: Score) -> Row:
    """Return the row of a finished run with a new score; the other columns of its training are kept."""
    return replace(
        row,
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
    if earlier[-1:] != [entry]:  # a killed rescoring has already kept it
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
    lines: list[list[Any]] = [["seed", "kind", "round", "scoring", "name", "score", "current"]]
    for row in rows:
        now = {"scoring": row.scoring, "score": row.score, "more": row.more}
        for current, entry in [*(("no", each) for each in _earlier(out / row.run.folder)), ("yes", now)]:
            more = entry.get("more") if isinstance(entry.get("more"), Mapping) else {}
            for name, value in {"": entry.get("score"), **more}.items():
                lines.append([row.seed, row.kind, row.round, entry.get("scoring"), name or "score", value, current])
    if any(line[-1] == "no" for line in lines):
        write_lines(out / paths.SCORES, lines)
