"""The report of experiments: their tables printed, the picture drawn, the rows written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lottery_core.errors import ConfigError
from lottery_core.experiments import Experiment, Row, paths, read_row, read_rows, write_csv
from lottery_core.reports.table import evaluated, interval_table, plot, table


def report(
    runs: Sequence[Path], picture: Path | None = None, csv: Path | None = None, evaluations: bool = False
) -> None:
    """Print the table of each experiment, draw the picture, write the rows.

    :param runs: folders of experiments
    :param picture: where the picture goes; for one run, ``curve.png`` in it by default; for more, none
    :param csv: where the rows of all go; none by default
    :param evaluations: draw the scores of the evaluations in fresh episodes
    :raises ConfigError: a folder holds no finished run, or no evaluation
    :raises WriteError: a file cannot be written
    """
    everything: list[Row] = []
    texts: list[str] = []
    drawn, labels = {}, set()
    for run in runs:
        known = bool(read_row(run))
        experiment = Experiment.load(run) if known else None
        rows = read_rows(run, experiment)
        label = experiment.score_label if experiment else "score"
        texts += _tables(rows, label, _asked_returns(experiment))
        everything += rows
        fresh = evaluated(rows)
        fresh_label = _fresh_label(fresh, experiment)
        texts += _tables(fresh, fresh_label)
        if evaluations:
            if not fresh:
                raise ConfigError(f"{run} has no evaluations: they are made with --eval-episodes N")
            rows, label = fresh, fresh_label
        labels.add(label)
        name = run.resolve().name
        drawn[name if name not in drawn else str(run)] = rows
    if picture is None and len(runs) == 1:
        picture = runs[0] / paths.CURVE
    try:
        if picture is not None:
            plot(drawn, picture, labels.pop() if len(labels) == 1 else "score")
            texts.append(f"picture: {picture}")
        if csv is not None:
            write_csv(csv, everything)
            texts.append(f"rows: {csv}")
    finally:
        # After the files: whoever reads the tables may stop early (| head), and the process with them.
        print("\n".join(texts))


def _asked_returns(experiment: Experiment | None) -> int:
    # How many returns each score was to be the mean of, where the settings of an experiment say it.
    return int(experiment.settings.get("score_episodes", 1)) if experiment else 1


def _fresh_label(rows: Sequence[Row], experiment: Experiment | None) -> str:
    if not rows:
        return ""
    evaluation = experiment.settings.get("evaluation", {}) if experiment else {}
    how = ", deterministic actions" if evaluation.get("deterministic") else ""
    return f"mean return of {rows[0].eval_episodes} fresh episodes{how}"


def _tables(rows: Sequence[Row], label: str, returns: int = 1) -> list[str]:
    if not rows:
        return []
    intervals = interval_table(rows)
    return [table(rows, label, returns) + "\n", *([intervals + "\n"] if intervals else [])]
