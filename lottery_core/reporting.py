"""The report of experiments: their tables printed, the picture drawn, the rows written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lottery_core.errors import ConfigError
from lottery_core.experiment import Experiment, read_row
from lottery_core.layout import CURVE
from lottery_core.report import evaluated, interval_table, plot, table
from lottery_core.results import Row, read_rows, write_csv


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
    drawn, labels = {}, set()
    for run in runs:
        known = bool(read_row(run))
        experiment = Experiment.load(run) if known else None
        rows = read_rows(run, experiment)
        label = experiment.score_label if experiment else "score"
        _show(rows, label)
        everything += rows
        fresh = evaluated(rows)
        if fresh:
            _show(fresh, f"mean return of {fresh[0].eval_episodes} fresh episodes")
        if evaluations:
            if not fresh:
                raise ConfigError(f"{run} has no evaluations: they are made with --eval-episodes N")
            rows, label = fresh, f"mean return of {fresh[0].eval_episodes} fresh episodes"
        labels.add(label)
        name = run.resolve().name
        drawn[name if name not in drawn else str(run)] = rows
    if picture is None and len(runs) == 1:
        picture = runs[0] / CURVE
    if picture is not None:
        plot(drawn, picture, labels.pop() if len(labels) == 1 else "score")
        print(f"picture: {picture}")
    if csv is not None:
        write_csv(csv, everything)
        print(f"rows: {csv}")


def _show(rows: Sequence[Row], label: str) -> None:
    print(table(rows, label), end="\n\n")
    intervals = interval_table(rows)
    if intervals:
        print(intervals, end="\n\n")
