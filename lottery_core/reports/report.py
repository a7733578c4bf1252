"""Report on experiments: print their tables, draw the picture, and write the rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lottery_core import dialects
from lottery_core.errors import ConfigError
from lottery_core.experiments import FULL, Experiment, Row, paths, read_row, read_rows, write_csv
from lottery_core.files import printable, refuse_inputs
from lottery_core.reports.plot import plot
from lottery_core.reports.steps import steps_lines
from lottery_core.reports.table import evaluated, further_scores, interval_table, table

_LONGEST = 2000  # maximum characters of a line; names and labels come from files


def report(
    runs: Sequence[Path], picture: Path | None = None, csv: Path | None = None, evaluations: bool = False
) -> None:
    """Print the tables of each experiment, draw the picture, and write the rows.

    :param runs: folders of experiments
    :param picture: the picture to write; by default, for one experiment ``curve.png`` in its folder
        (``curve-eval.png`` with ``evaluations``), for several none
    :param csv: the file for the rows of all experiments; none by default
    :param evaluations: whether to draw the scores of the evaluations instead of those of training
    :raises ConfigError: a folder holds no finished run, or no evaluation
    :raises WriteError: a file cannot be written, or is one that is read
    """
    everything: list[Row] = []
    texts: list[str] = []
    drawn: dict[str, list[Row]] = {}
    labels: dict[str, str] = {}
    for run in runs:
        experiment = Experiment.load(run) if read_row(run) else None
        rows = read_rows(run, experiment)
        label = experiment.score_label if experiment else "score"
        texts += tables(rows, experiment)
        everything += rows
        if evaluations:
            fresh = evaluated(rows)
            if not fresh:
                raise ConfigError(f"{run} has no evaluations: they are made with --eval-episodes N")
            rows, label = fresh, _evaluation_label(fresh, experiment)
        name = run.resolve().name
        name = name if name not in drawn else str(run)
        drawn[name], labels[name] = rows, label
        if not evaluations:
            for further, further_rows in further_scores(rows).items():
                drawn[f"{name}, {further}"] = further_rows
                labels[f"{name}, {further}"] = _further_label(further, experiment)
    if picture is None and len(runs) == 1:
        picture = runs[0] / (paths.CURVE_EVAL if evaluations else paths.CURVE)
    inputs = [path for run in runs for path in (run / paths.EXPERIMENT, *run.glob(f"seed-*/**/{paths.MARKER}"))]
    for output in (picture, csv):
        if output is not None:
            refuse_inputs(output, inputs)
    try:
        if picture is not None:
            plot(drawn, picture, labels)
            texts.append(f"picture: {picture}")
        if csv is not None:
            write_csv(csv, everything)
            texts.append(f"rows: {csv}")
    finally:
        # Printed last: if the reader of the output stops early (| head), this process ends as well.
        print("\n".join(printable(line, _LONGEST) for text in texts for line in text.split("\n")))


def tables(rows: Sequence[Row], experiment: Experiment | None) -> list[str]:
    """Return the tables of an experiment: scores, steps by kind, intervals over seeds, and the same for evaluations.

    :param rows: rows of the experiment
    :param experiment: the experiment's configuration; ``None`` if the folder has none
    :returns: one text per table, each ending in a newline
    :raises ConfigError: there are no rows
    """
    if not rows:
        raise ConfigError("there is no finished run to report")
    dialect = dialects.named(experiment.framework if experiment else "")
    returns = dialect.returns_asked(experiment.settings if experiment else {})
    label = experiment.score_label if experiment else "score"
    notes = _setting_notes(experiment)
    last = [*steps_lines(rows, dialect.steps), *_mixed(rows, experiment)]
    texts = _tables(rows, label, returns, last, notes)
    for name, some in further_scores(rows).items():
        texts += _tables(some, _further_label(name, experiment), notes=notes)
    fresh = evaluated(rows)
    return texts + _tables(fresh, _evaluation_label(fresh, experiment), notes=notes)


def _further_label(name: str, experiment: Experiment | None) -> str:
    dialect = dialects.named(experiment.framework if experiment else "")
    return dialect.score_label(experiment.scoring if experiment else {}, name)


def _mixed(rows: Sequence[Row], experiment: Experiment | None) -> list[str]:
    # Only while a rescoring is under way, or after one that failed.
    now = rows[0].scoring if experiment is None else experiment.scoring_text
    other = [row for row in rows if row.scoring != now]
    if not other:
        return []
    return [
        f"WARNING: {len(other)} of {len(rows)} scores came from other settings ({other[0].scoring or 'not said'}) than "
        f"those of this experiment ({now or 'not said'}), so they do not compare: score these runs again"
    ]


def _evaluation_label(rows: Sequence[Row], experiment: Experiment | None) -> str:
    dialect = dialects.named(experiment.framework if experiment else "")
    return dialect.evaluation_label(experiment.settings if experiment else {}, rows[0].eval_episodes) if rows else ""


def _setting_notes(experiment: Experiment | None) -> list[str]:
    # For a table's title: settings that differ from the default.
    if experiment is None or experiment.after_rewind == FULL:
        return []
    return [f"tickets train what remains after the rewind point {experiment.rewind}"]


def _tables(
    rows: Sequence[Row], label: str, returns: int = 1, last: Sequence[str] = (), notes: Sequence[str] = ()
) -> list[str]:
    if not rows:
        return []
    intervals = interval_table(rows)
    return ["\n".join([table(rows, label, returns, notes), *last]) + "\n", *([intervals + "\n"] if intervals else [])]
