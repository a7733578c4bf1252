"""What to know before trusting the numbers, and how to reproduce them: warnings, command, configuration."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lottery_core import dialects
from lottery_core.experiments import Row
from lottery_core.files import counted
from lottery_core.pruning import DENSE, KINDS
from lottery_core.reports import FAILED_, STOPPED, filled, measured, steps_lines
from lottery_core.reports.page.figures import Cell, Section, Table, kinds_among
from lottery_core.reports.page.subject import Subject
from lottery_core.reports.page.tickets import Tickets

_MOST = 60  # maximum number of lines of one kind


def warnings_section(subject: Subject, tickets: Tickets) -> Section:
    """Make the section with failures, collapsed layers, scores that average too few values, and missing numbers.

    :param subject: the experiment
    :param tickets: its tickets
    """
    section = Section("warnings", "Warnings")
    rows = measured(subject.rows)
    failed = [f"{state.run} failed: {state.text}" for state in subject.states if state.word == FAILED_]
    stopped = [f"{state.run} was stopped: {state.text}" for state in subject.states if state.word == STOPPED]
    settings = subject.experiment.settings if subject.experiment else {}
    dialect = dialects.named(subject.experiment.framework if subject.experiment else "")
    trained = [row for row in rows if row.round or row.kind == DENSE]
    lengths = steps_lines(trained, dialect.steps) if trained else []
    told = [line.removeprefix("WARNING: ") for line in lengths if line.startswith("WARNING: ")]
    sorts = (
        failed,
        stopped,
        list(_collapsed(rows)),
        list(_short(rows, dialect.returns_asked(settings))),
        [f"{row.run}: its score is {row.score}" for row in rows if not math.isfinite(row.score)],
        list(_missing(filled(subject.rows, sign=subject.sign))),
        told,
        [notice.removeprefix("WARNING: ") for notice in subject.notices],
        tickets.damaged,
    )
    for lines in sorts:
        section.items += lines[:_MOST]
        if len(lines) > _MOST:
            section.items.append(f"and {len(lines) - _MOST} more like the last")
    if not section.items:
        section.text.append("None.")
    return section


def _collapsed(rows: Iterable[Row]) -> Iterable[str]:
    found: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    for row in sorted(rows, key=lambda row: row.round):
        for layer in row.collapsed:
            found[row.kind, layer].setdefault(row.seed, row.round)
    for (kind, layer), seeds in sorted(found.items()):
        where = ", ".join(f"round {round_} (seed {seed})" for seed, round_ in sorted(seeds.items()))
        yield f"{kind}: the layer “{layer}” has collapsed, no parameter of it survives: from {where}"


def _short(rows: Sequence[Row], returns: int) -> Iterable[str]:
    short = [row for row in rows if row.returns < returns]
    if short:
        fewest = min(short, key=lambda row: row.returns)
        yield (
            f"in {counted(len(short), 'run')} fewer than {returns} episodes ended, so their score averages fewer: "
            f"{fewest.returns} at the fewest ({fewest.run})"
        )


def _missing(rows: Sequence[Row]) -> Iterable[str]:
    # Means over different seeds cannot be compared.
    every = {row.seed for row in rows}
    for kind in kinds_among(rows):
        seeds: dict[int, set[int]] = defaultdict(set)
        for row in rows:
            if row.kind == kind:
                seeds[row.round].add(row.seed)
        few = [f"round {round_} ({len(own)})" for round_, own in sorted(seeds.items()) if own != every]
        if few and kind in (DENSE, *KINDS):
            yield f"{kind}: finished for fewer than {len(every)} seeds: {', '.join(few)}"


def configuration_section(subject: Subject) -> Section:
    """Make the section with the exact command, configuration and versions.

    :param subject: the experiment
    """
    section = Section("configuration", "Command, configuration and versions")
    experiment = subject.experiment
    versions = dict.fromkeys(row.versions for row in subject.rows)
    if subject.folder is None:
        section.text.append("This page is made from rows alone: it has no tickets, learning curves or configuration.")
    elif experiment is None:
        section.text.append("There is no configuration: experiment.json is missing.")
    if experiment is not None:
        section.code = experiment.command
        plan: dict[str, Any] = {"kinds": list(experiment.kinds), "seeds": list(experiment.seeds)}
        plan["rounds"] = experiment.rounds
        if experiment.score_rounds:
            plan["score_rounds"] = list(experiment.score_rounds)
        values = {**plan, **experiment.fixed()}
        lines = [[Cell(name), Cell(text)] for name, text in _flat(values)]
        section.tables.append(Table("configuration", ["setting", "value"], lines))
        packages = [[Cell(name), Cell(version)] for name, version in sorted(experiment.versions.items())]
        section.tables.append(Table("versions", ["package", "version"], packages))
    if len(versions) > 1 or experiment is None:
        section.items += [f"versions of the runs: {text}" for text in versions if text]
    return section


def _flat(values: Mapping[str, Any], where: str = "") -> Iterable[tuple[str, str]]:
    for name, value in values.items():
        key = f"{where}.{name}" if where else str(name)
        if isinstance(value, Mapping) and value:
            yield from _flat(value, key)
        else:
            yield key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
