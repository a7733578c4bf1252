"""The subject of a page: the rows of an experiment, its configuration, the state of its runs, its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from lottery_core.experiments import Experiment, Row, read_row, read_rows
from lottery_core.reports import Asked, State, answer, is_file, of_rows, source_of, statements, states


class Contrast(NamedTuple):
    """A difference between two kinds of ticket.

    :param name: the name of the contrast
    :param estimate: the difference
    :param low: lower end of its interval; ``None`` for a single seed, and if all differences are equal
    :param high: upper end of its interval; ``None`` if ``low`` is
    :param p: p-value of its test; ``None`` if it was not tested
    """

    name: str
    estimate: float
    low: float | None
    high: float | None
    p: float | None


@dataclass(frozen=True)
class PageAnswer:
    """The part of an experiment's answer that the page shows first.

    :param statements: the answer in words; what belongs to the one above is indented
    :param contrasts: differences between kinds of ticket
    """

    statements: Sequence[str]
    contrasts: Sequence[Contrast] = ()


@dataclass(frozen=True)
class Subject:
    """One experiment on a page.

    :param name: its name
    :param rows: its finished runs
    :param experiment: its configuration; ``None`` if there are only rows
    :param folder: its folder; ``None`` if there are only rows
    :param states: the state of each of its runs
    :param answer: its answer; ``None`` if there is none
    :param sign: 1 where higher scores are better, -1 where lower ones are; ``None``: as usual for their label
    :param notices: notices that came up while it was read
    :param score_label: description of the score; if empty, the configuration's label is used
    :param searches: rows of runs that only searched
    """

    name: str
    rows: Sequence[Row]
    experiment: Experiment | None = None
    folder: Path | None = None
    states: Sequence[State] = ()
    answer: PageAnswer | None = None
    sign: float | None = None
    notices: Sequence[str] = ()
    score_label: str = ""
    searches: Sequence[Row] = ()

    @property
    def label(self) -> str:
        """The description of the score."""
        return self.score_label or (self.experiment.score_label if self.experiment else "score")


def subject_of(folder: Path, job_state: Callable[[str], str | None]) -> Subject:
    """Read an experiment from its folder, which may have no finished run yet, or from a file of its rows.

    :param folder: the experiment's folder, or its ``results.csv``
    :param job_state: job name -> Slurm's state of the job, see :func:`lottery_core.reports.states`
    :raises ConfigError: there is neither a configuration nor a finished run, or a file is damaged
    """
    if is_file(folder):
        source = source_of(folder)
        return Subject(source.name, source.rows, score_label=source.label, searches=source.searches)
    experiment = Experiment.load(folder) if read_row(folder) else None
    notices: list[str] = []
    found = states(experiment, job_state) if experiment else []
    nothing = experiment is not None and not any(state.row for state in found)
    rows = [] if nothing else of_rows(read_rows(folder, experiment, notices.append), experiment).rows
    searches = [state.row for state in found if state.row is not None and state.row.search]
    name = folder.resolve().name
    return Subject(name, rows, experiment, folder, found, notices=tuple(notices), searches=searches)


def answered(subject: Subject, asked: Asked | None = None, evaluations: bool = False) -> Subject:
    """Return the subject with the answer of its rows, if it has any.

    :param subject: the subject of the page
    :param asked: the margin and the effect of the answer; by default the usual ones for such scores
    :param evaluations: answer by the evaluations instead of the scores of training
    :raises ConfigError: there are no evaluations
    """
    if not subject.rows:
        return subject
    trained = of_rows(subject.rows, subject.experiment)
    source = trained.evaluated(asked) if evaluations else trained
    found = answer(source.rows, source.question(asked), subject.searches)
    contrasts = []
    for each in (found.whole, *found.others, *found.longer):
        if each is not None and each.shares is None:
            size = each.normalised or each.difference
            p = each.p if each.adjusted is None else each.adjusted
            name = f"{each.contrast.name}: {each.contrast.first} - {each.contrast.second}"
            contrasts.append(Contrast(name, size.estimate, size.low, size.high, p))
    return replace(subject, answer=PageAnswer(statements(found), contrasts), sign=trained.question(asked).sign)
