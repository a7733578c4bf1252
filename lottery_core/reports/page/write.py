"""Write the page about one or several experiments: a single file that needs no network."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lottery_core.errors import ConfigError
from lottery_core.files import counted, printable, refuse_inputs, write_text
from lottery_core.pruning import FLOOR
from lottery_core.reports import DONE, measured
from lottery_core.reports.page.costs import costs_section
from lottery_core.reports.page.curve import curve_section
from lottery_core.reports.page.figures import Budget, Cell, Section, Table, number
from lottery_core.reports.page.layers import inputs_section, layers_section
from lottery_core.reports.page.learning import learning_section
from lottery_core.reports.page.notes import configuration_section, warnings_section
from lottery_core.reports.page.overlap import overlap_section
from lottery_core.reports.page.scale import scale_section
from lottery_core.reports.page.subject import Subject
from lottery_core.reports.page.tickets import Tickets

TEMPLATES = Path(__file__).parent / "templates"
_LONGEST = 4000  # maximum characters of a text from a file
MOST_BYTES = 6_000_000
_NEEDED = ("jinja2", "plotly")
_EXTRA = "the page needs jinja2 and plotly: pip install -c constraints.txt -e '.[html]'"


@dataclass(frozen=True)
class Account:
    """The sections of one experiment.

    :param name: the experiment's name
    :param sections: its sections
    """

    name: str
    sections: Sequence[Section]


def check_page(path: Path, runs: Sequence[Path]) -> None:
    """Check that a page can be made, before any work is done.

    :param path: the page's file
    :param runs: the experiments' folders or files
    :raises ConfigError: a package is missing, or the file's suffix is not that of a page
    :raises WriteError: the file is one of ``runs``
    """
    if any(importlib.util.find_spec(name) is None for name in _NEEDED):
        raise ConfigError(_EXTRA)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--html writes a page, so its name ends in .html, which {path} does not")
    refuse_inputs(path, [run for run in runs if run.is_file()])


def write_page(path: Path, subjects: Sequence[Subject]) -> None:
    """Write the page about some experiments, atomically.

    :param path: the page's file
    :param subjects: the experiments, see :func:`~lottery_core.reports.page.subject.subject_of`
    :raises ConfigError: a package is missing
    :raises WriteError: the file cannot be written
    """
    check_page(path, [])
    write_text(path, render_page(subjects))


def render_page(subjects: Sequence[Subject], most: int = MOST_BYTES) -> str:
    """Return the page as HTML; everything that comes from files is escaped.

    :param subjects: the experiments
    :param most: maximum size in bytes; long tables and learning curves are shortened to fit
    """
    subjects, budget = _distinct(subjects), Budget()
    tickets = [Tickets(subject.folder, subject.rows) for subject in subjects]
    size = math.inf
    while True:
        page = _render(subjects, tickets, budget)
        before, size = size, len(page.encode())
        if size <= most or size >= before or not budget.rows:  # what is left cannot be shortened
            return page
        budget = budget.share(4)


def _distinct(subjects: Sequence[Subject]) -> list[Subject]:
    # Two folders may have the same name.
    many = Counter(subject.name for subject in subjects)
    return [
        replace(subject, name=f"{subject.folder or subject.name} ({index})") if many[subject.name] > 1 else subject
        for index, subject in enumerate(subjects, 1)
    ]


def _render(subjects: Sequence[Subject], tickets: Sequence[Tickets], budget: Budget) -> str:
    import jinja2
    import plotly.offline
    from markupsafe import Markup

    common = [section for subject in subjects if (section := _answer_section(subject, len(subjects) > 1))]
    common.append(curve_section(subjects, budget))
    own = budget.share(len(subjects))
    accounts = [
        Account(subject.name, _sections(subject, some, own)) for subject, some in zip(subjects, tickets, strict=True)
    ]
    content: dict[str, Any] = _clean(
        {
            "title": ", ".join(subject.name for subject in subjects),
            "lead": [_lead(subject) for subject in subjects],
            "common": [asdict(section) for section in common],
            "accounts": [asdict(account) for account in accounts],
        }
    )
    sections = [*content["common"], *(part for account in content["accounts"] for part in account["sections"])]
    _number_charts(sections)
    charts = {chart["id"]: chart["data"] for section in sections for chart in section["charts"]}
    scripts = [plotly.offline.get_plotlyjs(), (TEMPLATES / "page.js").read_text(encoding="utf-8")]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html.j2").render(
        content,
        style=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
        scripts=[Markup(script) for script in scripts],
        # Browsers refuse any script other than these, whatever the files contain.
        hashes=[base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts],
        charts=Markup(_json(charts)),
    )


def _sections(subject: Subject, tickets: Tickets, budget: Budget) -> list[Section]:
    of_folder = (
        []
        if subject.folder is None
        else [
            layers_section(tickets, budget),
            overlap_section(tickets, subject.rows, budget),
            inputs_section(subject, tickets, budget),
            learning_section(subject, budget),
        ]
    )
    scale = scale_section(subject.rows)
    found = [
        warnings_section(subject, tickets),
        *of_folder,
        scale,
        costs_section(subject),
        configuration_section(subject),
    ]
    return [section for section in found if section is not None]


def _lead(subject: Subject) -> str:
    rows = [row for row in measured(subject.rows) if row.kind != FLOOR]
    if not rows:
        return f"{subject.name}: no run has finished yet"
    seeds = len({row.seed for row in rows})
    of = f"{sum(state.word == DONE for state in subject.states)} of " if subject.states else ""
    runs = counted(len(subject.states) or len(rows), "run")
    return (
        f"{subject.name}: {subject.label}; {of}{runs} finished, {counted(seeds, 'seed')}, "
        f"pool of {rows[0].pool:,} parameters"
    )


def _answer_section(subject: Subject, several: bool) -> Section | None:
    answer = subject.answer
    if answer is None or not (answer.statements or answer.contrasts):
        return None
    section = Section("answer", f"Answer: {subject.name}" if several else "Answer", _nested(answer.statements))
    if answer.contrasts:
        lines = []
        for contrast in answer.contrasts:
            p = "not tested" if contrast.p is None else number(contrast.p, 2)
            values = (contrast.estimate, contrast.low, contrast.high)
            cells = (Cell("-") if value is None else Cell(number(value), repr(value)) for value in values)
            lines.append([Cell(contrast.name), *cells, Cell(p)])
        head = ["contrast", "estimate", "95% from", "to", "p"]
        section.tables.append(Table("differences between kinds of ticket, with their intervals", head, lines))
    return section


def _nested(statements: Sequence[str]) -> list[str | list[str]]:
    # Paragraphs, and lists of what belongs to the one above.
    found: list[str | list[str]] = []
    for statement in statements:
        if not statement.startswith(" "):
            found.append(statement)
        elif found and isinstance(found[-1], list):
            found[-1].append(statement.strip())
        else:
            found.append([statement.strip()])
    return found


def _number_charts(sections: Sequence[dict[str, Any]]) -> None:
    # Names come from files, so ids are numbers.
    for index, section in enumerate(sections, 1):
        section["id"] = f"s{index}"
        for place, chart in enumerate(section["charts"], 1):
            chart["id"] = f"c{index}-{place}"


def _clean(value: Any) -> Any:
    # Make texts printable; numbers that JSON cannot express become null.
    if isinstance(value, str):
        return "\n".join(printable(line, _LONGEST) for line in value.split("\n"))
    if isinstance(value, Mapping):
        return {key: _clean(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _json(value: Any) -> str:
    # Escaped so that no character of the text can end the script element or begin another.
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
