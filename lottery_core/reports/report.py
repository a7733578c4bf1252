"""Report on experiments: print their answers and tables, draw the picture, write the rows and the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lottery_core import dialects
from lottery_core.errors import ConfigError, WriteError
from lottery_core.experiments import FULL, Experiment, Row, paths, read_row, read_searches, write_csv
from lottery_core.files import counted, printable, refuse_inputs, refuse_link_out, write_json
from lottery_core.pruning import DENSE, FLOOR
from lottery_core.reports.answer import SCORE, Answer, answer, filled, measured, once, sentences
from lottery_core.reports.costs import cost_lines, steps_lines
from lottery_core.reports.plot import plot
from lottery_core.reports.saved import saved_lines, threshold_line
from lottery_core.reports.source import Asked, Source, curve_file, evaluation_label, is_file, of_rows, source_of
from lottery_core.reports.stability import stability_report, threshold_before
from lottery_core.reports.table import evaluated, further_scores, interval_table, table

_LONGEST = 2000  # maximum characters of a line; names and labels come from files


def report(
    runs: Sequence[Path],
    picture: Path | None = None,
    csv: Path | None = None,
    evaluations: bool = False,
    asked: Asked | None = None,
    json: Path | None = None,
    page: Path | None = None,
) -> None:
    """Print the answer and the table of each experiment, write the rows and the data, draw the picture.

    :param runs: folders of experiments, or files of their rows (``results.csv``)
    :param picture: the picture's file. By default, for one experiment, ``curve.png`` in its folder, or
        ``curve-eval.png`` with ``evaluations``, and ``curve-X.png`` beside a file ``results-X.csv``; for several
        experiments no picture
    :param csv: a file for the rows of all experiments; by default they are not written
    :param evaluations: use the scores of the evaluations instead of those of training, in answers and picture
    :param asked: the margin and the effect of the answers; by default the usual ones for such scores
    :param json: a file for everything in the answers, as data; by default it is not written
    :param page: a page that is written afterwards, so that nothing else is written there
    :raises ConfigError: a folder has no finished run, or no evaluation, or a file does not contain rows, or one is
        given twice
    :raises WriteError: a file cannot be written; without the default picture the report is printed, with a warning
    """
    twice = _twice(runs, list(map(_folder_of, runs)))
    if twice is not None:
        raise ConfigError(f"{twice} is given twice: report each experiment once")
    plain = picture is csv is json is None and not evaluations and asked in (None, Asked())
    if refuse_probes(runs, alone=plain):
        stability_report(runs[0], threshold_before(runs[0]))
        return
    texts: list[str] = []
    sources: dict[str, Source] = {}
    answers: dict[str, Answer] = {}
    everything: list[Row] = []
    for run in runs:
        source = source_of(run)
        shown = source.evaluated(asked) if evaluations else source
        name = source.name if source.name not in sources else str(run)
        sources[name], answers[name] = shown, answer(shown.rows, shown.question(asked), shown.searches)
        texts += [sentences(answers[name]), *_unused(name, shown, asked)]
        texts += tables(source.rows, source.experiment, asked, source.searches)
        everything += source.rows
        if not evaluations:
            for further, rows in further_scores(source.rows, source.question(asked).sign).items():
                more = _further(source, further, rows)
                sources[f"{name}, {further}"] = more
                answers[f"{name}, {further}"] = answer(more.rows, more.question(_for_further(asked)), more.searches)
    default = picture is None
    if picture is None and len(runs) == 1:
        picture = curve_file(runs[0], paths.CURVE_EVAL if evaluations else paths.CURVE)
        if not is_file(runs[0]):
            refuse_link_out(runs[0], picture)
    inputs = [path for run in runs for path in _inputs(run)]
    outputs = [output for output in (picture, csv, json, page) if output is not None]
    for output in outputs:
        refuse_inputs(output, inputs)
    twice = _twice(outputs, outputs)
    if twice is not None:
        raise ConfigError(f"{twice} is given for two outputs")
    try:
        if csv is not None:
            write_csv(csv, everything)
            texts.append(f"rows: {csv}")
        if json is not None:
            write_json(json, {name: found.data() for name, found in answers.items()})
            texts.append(f"answers: {json}")
        if picture is not None:
            drawn = {name: source.rows for name, source in sources.items()}
            labels = {name: source.label or "score" for name, source in sources.items()}
            try:
                plot(drawn, picture, labels, answers)
                texts.append(f"picture: {picture}")
            except WriteError as error:
                if not default:
                    raise
                texts.append(f"WARNING: there is no picture: {error}; -o writes it elsewhere")
    finally:
        # Printed last: if the reader of the output stops early (| head), this process ends as well.
        print("\n".join(printable(line, _LONGEST) for text in texts for line in text.split("\n")))


def _folder_of(run: Path) -> Path:
    # The results.csv of a folder has the rows of the folder.
    beside = run.name == paths.RESULTS and (run.parent / paths.EXPERIMENT).exists()
    return run.parent if beside else run


def _twice(files: Sequence[Path], means: Sequence[Path]) -> Path | None:
    # The first file or folder that means what an earlier one means.
    known = [path.resolve() for path in means]
    return next((path for number, path in enumerate(files) if known[number] in known[:number]), None)


def _unused(name: str, source: Source, asked: Asked | None) -> list[str]:
    # The direction that was asked for may be meant for another experiment of the same command.
    question = source.question(asked)
    if asked is None or asked.lower_is_better in (None, question.lower_is_better):
        return []
    return [f"WARNING: --lower-is-better does not count for {name}, whose scores say the direction: {source.label}\n"]


def refuse_probes(runs: Sequence[Path], alone: bool = False) -> bool:
    """Check that no folder is that of a stability probe, which has a report of its own.

    :param runs: folders of experiments, or files of rows
    :param alone: whether a single probe is accepted
    :returns: whether the one folder is that of a probe
    :raises ConfigError: a folder is that of a probe, and is not accepted
    """
    probes = [run for run in runs if not is_file(run) and read_row(run).get("probe")]
    if probes and not (alone and len(runs) == 1):
        raise ConfigError(
            f"{probes[0]} is a stability probe: report it alone, without -o, --csv, --json, --html, --eval, "
            "--margin, --effect and --lower-is-better"
        )
    return bool(probes)


def tables(
    rows: Sequence[Row],
    experiment: Experiment | None,
    asked: Asked | None = None,
    searches: Sequence[Row] | None = None,
) -> list[str]:
    """Return the tables of an experiment: scores, steps by kind, intervals over seeds, and the same for evaluations.

    :param rows: rows of the experiment
    :param experiment: the experiment's configuration; ``None`` if there is none
    :param asked: what a user asked; of it the direction of the scores matters here
    :param searches: rows of runs that only searched; by default those of the experiment's folder
    :returns: one text per table, each ending in a newline
    :raises ConfigError: there are no rows
    """
    if not rows:
        raise ConfigError("there is no finished run to report")
    source = of_rows(rows, experiment)
    sign = source.question(asked).sign
    unfilled, rows = source.rows, shown(source.rows, sign)
    if not rows:
        raise ConfigError("there is no finished run to report")
    dialect = dialects.named(source.framework)
    returns = dialect.returns_asked(experiment.settings if experiment else {})
    notes = _setting_notes(experiment)
    done = measured(rows)
    if searches is None:
        searches = read_searches(experiment.out, experiment) if experiment is not None else []
    costs = cost_lines(done, dialect.steps, searches)
    last = [*steps_lines(done, dialect.steps), *costs, *_mixed(rows, experiment)]
    if experiment is not None and {row.kind for row in rows} == {DENSE}:
        line = threshold_line(experiment.out, [row.run for row in rows])
        last += [] if line is None else [line]
    last += saved_lines(experiment, searches) if experiment is not None else []
    texts = _tables(rows, source.label or "score", returns, last, notes)
    for name, some in further_scores(unfilled, sign).items():
        more = _further(source, name, some)
        known = shown(some, more.question(_for_further(asked)).sign)
        lost = sum(bool(row.not_run) for row in once(some)) - sum(bool(row.not_run) for row in known)
        unknown = [f"left out, since these scores have no floor: {counted(lost, 'level')} not run"] if lost else []
        texts += _tables(known, more.label, last=unknown, notes=notes)
    fresh = evaluated(rows)
    return texts + _tables(fresh, evaluation_label(fresh, experiment, source.framework), notes=notes)


def shown(rows: Sequence[Row], sign: float) -> list[Row]:
    """Return the rows that a table shows: one per ticket, levels that were not run at the floor, without the floor.

    :param rows: rows of one experiment
    :param sign: 1 where higher scores are better, -1 where lower ones are
    """
    return once((row for row in filled(rows, sign=sign) if row.kind != FLOOR), sign)


def _inputs(run: Path) -> list[Path]:
    if is_file(run):
        return [run]
    made = {paths.RESULTS, paths.CURVE, paths.CURVE_EVAL}
    return [path for path in [*run.iterdir(), *run.glob("seed-*/**/*")] if path.name in paths.ALL - made]


def _further(source: Source, name: str, rows: Sequence[Row]) -> Source:
    # Rows without a configuration say how they were scored.
    scoring = source.experiment.scoring if source.experiment else dialects.parse_scoring(source.rows[0].scoring)
    return replace(source, rows=rows, label=dialects.named(source.framework).score_label(scoring, name))


def _for_further(asked: Asked | None) -> Asked | None:
    # A direction, or a margin in units of the score, is that of the main score.
    if asked is None:
        return None
    absolute = asked.margin is not None and asked.margin.of == SCORE
    return replace(asked, lower_is_better=None, margin=None if absolute else asked.margin)


def _mixed(rows: Sequence[Row], experiment: Experiment | None) -> list[str]:
    # The settings differ only during a rescoring, or after one that failed.
    now = rows[0].scoring if experiment is None else experiment.scoring_text
    other = [row for row in measured(rows) if row.scoring != now]
    if not other:
        return []
    return [
        f"WARNING: {len(other)} of {len(rows)} scores came from other settings ({other[0].scoring or 'not said'}) than "
        f"those of this experiment ({now or 'not said'}), so they do not compare: score these runs again"
    ]


def _setting_notes(experiment: Experiment | None) -> list[str]:
    # Settings that are not the default, for the title of a table.
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
