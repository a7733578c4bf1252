"""Where a report reads its rows: from the folder of an experiment, or from a file of rows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from lottery_core import dialects
from lottery_core.errors import ConfigError
from lottery_core.experiments import (
    COPY,
    KEPT,
    LINE,
    Experiment,
    Row,
    paths,
    read_csv,
    read_row,
    read_rows,
    read_searches,
)
from lottery_core.pruning import DENSE, FLOOR, TRANSFERS, UNPRUNED, starts_rewound
from lottery_core.reports.answer import EFFECT, Margin, Question, best_draws, check_one_experiment, question_of
from lottery_core.reports.table import evaluated

_RESULTS = Path(paths.RESULTS).stem


@dataclass(frozen=True)
class Asked:
    """The user's choices; None stands for the usual value for such scores.

    :param margin: how much worse than dense counts as equally good
    :param effect: the difference of normalised areas that would matter
    :param lower_is_better: whether lower scores are better, where the rows do not say so
    """

    margin: Margin | None = None
    effect: float = EFFECT
    lower_is_better: bool | None = None


@dataclass(frozen=True)
class Source:
    """The rows of one experiment and what is known about their scores.

    :param name: the experiment's name
    :param rows: its rows
    :param experiment: its configuration; None if there are only rows
    :param framework: the name of the framework's dialect
    :param label: description of the scores; empty if it is unknown
    :param searches: rows of runs that only searched
    """

    name: str
    rows: Sequence[Row]
    experiment: Experiment | None
    framework: str
    label: str
    searches: Sequence[Row] = ()

    def question(self, asked: Asked | None) -> Question:
        """Return the question about these scores with the user's choices."""
        asked = asked or Asked()
        return question_of(self.label, self.framework, asked.margin, asked.effect, asked.lower_is_better)

    def evaluated(self, asked: Asked | None = None) -> Source:
        """Return the same source with the scores of the evaluations.

        :param asked: what a user asked; of it the direction of the scores matters for the best of several draws
        :raises ConfigError: there are no evaluations
        """
        rows = evaluated(best_draws((row for row in self.rows if row.kind != FLOOR), self.question(asked).sign))
        if not rows:
            raise ConfigError(
                f"{self.name} has no evaluations: they are made with --eval-episodes N (find_tickets: eval_episodes=N)"
            )
        floor = [row for row in self.rows if row.kind == FLOOR]  # returns of whole episodes, as in evaluations
        return replace(self, rows=[*rows, *floor], label=evaluation_label(rows, self.experiment, self.framework))


def evaluation_label(rows: Sequence[Row], experiment: Experiment | None, framework: str) -> str:
    """Describe the scores of evaluations; empty without rows.

    :param rows: rows with an evaluation
    :param experiment: the configuration; None if there is none
    :param framework: the name of the framework's dialect
    """
    settings = experiment.settings if experiment else {}
    return dialects.named(framework).evaluation_label(settings, rows[0].eval_episodes) if rows else ""


def is_file(run: Path) -> bool:
    """Return whether a path means a file of rows, not a folder."""
    return run.is_file() or run.suffix.lower() == ".csv"


def source_of(run: Path) -> Source:
    """Read the rows of an experiment.

    :param run: its folder, or a file of its rows
    :raises ConfigError: there is no such folder or file, or it is damaged
    """
    if is_file(run):
        return _of_file(run)
    experiment = Experiment.load(run) if read_row(run) else None
    rows = read_rows(run, experiment)
    return replace(of_rows(rows, experiment), name=run.resolve().name, searches=read_searches(run, experiment))


def _of_file(path: Path) -> Source:
    rows = read_csv(path)
    if any(row.kind in (COPY, LINE) for row in rows):
        raise ConfigError(f"{path} has the rows of a stability probe: report its folder")
    try:
        check_one_experiment(rows)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return replace(of_rows(rows, None), searches=_searches_beside(path, rows[0].experiment))


def _searches_beside(path: Path, name: str) -> list[Row]:
    # An experiment's folder has the rounds that were searched in a file beside that of the scored ones.
    beside = path.with_name(paths.SEARCHED)
    if path.name != paths.RESULTS or not beside.exists():
        return []
    with suppress(ConfigError):  # somebody's own file of that name
        return [row for row in read_csv(beside) if row.search and row.experiment == name]
    return []


def of_rows(rows: Sequence[Row], experiment: Experiment | None) -> Source:
    """Find out what is known about rows, from the experiment's configuration or from the rows alone.

    :param rows: rows of one experiment
    :param experiment: its configuration; None if there is none
    """
    name = rows[0].experiment
    if experiment is not None:
        if experiment.rewind in KEPT:
            rows = from_trained(rows)
        return Source(name, rows, experiment, experiment.framework, experiment.score_label)
    packages = {word.partition("=")[0] for row in rows for word in row.versions.split()}
    dialect = dialects.of_versions(packages)
    told = next((row.score_label for row in rows if row.score_label), "")
    label = told or dialect.label_of_returns(max(row.returns for row in rows))
    return Source(name, rows, None, dialect.name, label)


def from_trained(rows: Sequence[Row]) -> list[Row]:
    """Return rows of an experiment whose tickets keep their trained weights, with what was trained before some of them.

    Kinds that need no search here would otherwise look as if they started from nothing: they start from the trained
    dense network of their seed, whose length becomes their ``rewind_steps``.

    :param rows: rows of one experiment
    """
    dense = {row.seed: row.steps for row in rows if row.kind == DENSE and row.noise == 1}

    def begins_trained(row: Row) -> bool:
        return row.kind in (*UNPRUNED, *TRANSFERS) and starts_rewound(row.kind) and not row.not_run

    return [replace(row, rewind_steps=dense.get(row.seed)) if begins_trained(row) else row for row in rows]


def curve_file(run: Path, name: str = paths.CURVE) -> Path:
    """Return the default file of the picture: ``curve.png`` in a folder, or ``curve-X.png`` beside ``results-X.csv``.

    :param run: a folder, or a file of rows
    :param name: the picture's name in a folder
    """
    if not is_file(run):
        return run / name
    if run.stem.startswith(_RESULTS):
        stem = Path(name).stem + run.stem.removeprefix(_RESULTS)
    else:
        stem = run.stem + Path(name).stem.removeprefix(Path(paths.CURVE).stem)
    return run.with_name(stem + Path(name).suffix)
