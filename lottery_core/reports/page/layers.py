"""Survivors by layer and by input, round by round: heat maps and tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from lottery_core import dialects
from lottery_core.errors import TicketError
from lottery_core.experiments import Run
from lottery_core.reports.page.figures import Budget, Cell, Chart, Section, Table, mean, percent
from lottery_core.reports.page.subject import Subject
from lottery_core.reports.page.tickets import Tickets
from lottery_core.tickets import Masks, read_masks

_MAPS = 5  # a cell of a map takes a fifth of the bytes of a table's cell
CROSS = "\N{MULTIPLICATION SIGN}"
Counts = Mapping[str, tuple[float, int]]  # name -> survivors, and the number before pruning


class InputsOf(Protocol):
    """The function that :attr:`lottery_core.dialects.Dialect.inputs` names."""

    def __call__(self, masks: Masks, settings: Mapping[str, Any]) -> Sequence[tuple[str, int, int]]:
        """Return name, surviving weights and all weights of each input of a model; empty if they are unknown."""


def layers_section(tickets: Tickets, budget: Budget) -> Section:
    """Make the section with the survivors by layer and round.

    :param tickets: the experiment's tickets
    :param budget: limits the number of cells in the tables
    """
    section = Section("layers", "Survivors by layer and round")
    counts = {run: tickets.layers[run] for run in tickets.runs}
    if not counts:
        section.text.append("There is no finished ticket to look into.")
        return section
    section.text.append(
        "The share of each tensor's parameters that survive, mean over seeds. A cross marks a tensor of which nothing "
        "survives in at least one seed."
    )
    _fill(section, counts, "tensor", "survivors of each tensor", budget.cells)
    return section


def inputs_section(subject: Subject, tickets: Tickets, budget: Budget) -> Section | None:
    """Make the section with the input features and the rounds in which they lose their last weight.

    :param subject: the experiment
    :param tickets: its tickets
    :param budget: limits the number of cells in the tables
    :returns: the section; ``None`` if the inputs are unknown
    """
    dialect = dialects.named(subject.experiment.framework if subject.experiment else "")
    if subject.experiment is None or dialect.inputs is None or not tickets.runs:
        return None
    section = Section("inputs", "Input features")
    try:
        inputs_of: InputsOf = dialects.load(dialect.inputs)
    except ImportError as error:
        section.text.append(f"Not shown: {dialect.title} is not installed here ({error}).")
        return section
    settings = subject.experiment.settings
    counts = {run: features for run in tickets.runs if (features := _inputs(tickets, run, inputs_of, settings))}
    if not counts:
        return None
    section.text.append(
        "The share of the weights that read each input feature and survive, mean over seeds, over all networks that "
        "read the observation."
    )
    lost = _lost(counts)
    section.items += lost or ["No feature has lost its last weight."]
    _fill(section, counts, "feature", "weights that read each input feature", budget.cells)
    return section


def _inputs(tickets: Tickets, run: Run, inputs_of: InputsOf, settings: Mapping[str, Any]) -> Counts:
    if run not in tickets.inputs:
        try:
            found = inputs_of(read_masks(tickets.path(run)), settings)
        except TicketError:  # the file has changed since it was counted
            found = []
        tickets.inputs[run] = {name: (surviving, total) for name, surviving, total in found if total}
    return tickets.inputs[run]


def _lost(counts: Mapping[Run, Counts]) -> list[str]:
    died: dict[str, dict[str, dict[int, int]]] = defaultdict(lambda: defaultdict(dict))
    for run in sorted(counts, key=lambda run: run.round):
        for name, (surviving, _) in counts[run].items():
            if not surviving:
                died[name][run.kind].setdefault(run.seed, run.round)
    return [
        f"No weight reads “{name}”: {'; '.join(f'{kind} from {_rounds(some)}' for kind, some in kinds.items())}"
        for name, kinds in died.items()
    ]


def _rounds(by_seed: Mapping[int, int]) -> str:
    return ", ".join(f"round {round_} (seed {seed})" for seed, round_ in sorted(by_seed.items()))


def _fill(section: Section, counts: Mapping[Run, Counts], what: str, caption: str, most: int) -> None:
    names = list(next(iter(counts.values())))
    kinds = _equal_kinds(counts, names)
    groups: list[dict[str, Any]] = []
    cells = 0
    for label, kind in kinds.items():
        group = _group(label, counts, kind, names)
        cells += len(names) * len(group["x"])
        if groups and cells > _MAPS * most:
            section.text.append(f"Not shown, since the page would grow too large: {label}; `lottery inspect` has it.")
            continue
        groups.append(group)
        if cells <= most:
            section.tables.append(_table(group, what, caption))
        else:
            section.text.append(f"No table for {label}: it is too long for a page; `lottery inspect` has it.")
    shown = [group["name"] for group in groups]
    alt = f"Heat map: {caption}, a line a {what}, a column a round, for {'; '.join(shown)}."
    if section.tables:
        alt += " The tables below have its numbers."
    data = {"type": "heat", "x": {"title": "round"}, "y": {"title": ""}, "scale": "survivors", "groups": groups}
    section.charts.append(Chart(section.title, alt, data, choices=shown, choice="kind of ticket"))


def _equal_kinds(counts: Mapping[Run, Counts], names: Sequence[str]) -> dict[str, str]:
    # Kinds whose tickets keep equal numbers everywhere, as winning and random do, share one map.
    by_numbers: dict[object, list[str]] = defaultdict(list)
    for kind in dict.fromkeys(run.kind for run in counts):
        numbers = [
            (run.seed, run.round, tuple(counts[run].get(name) for name in names)) for run in counts if run.kind == kind
        ]
        by_numbers[tuple(sorted(numbers, key=lambda some: some[:2]))].append(kind)
    return {", ".join(kinds): kinds[0] for kinds in by_numbers.values()}


def _group(label: str, counts: Mapping[Run, Counts], kind: str, names: Sequence[str]) -> dict[str, Any]:
    rounds = sorted({run.round for run in counts if run.kind == kind})
    by_round = {round_: [counts[run] for run in counts if (run.kind, run.round) == (kind, round_)] for round_ in rounds}

    def each(tell: Callable[[Sequence[tuple[float, int]]], Any]) -> list[list[Any]]:
        return [[tell([some[name] for some in by_round[round_]]) for round_ in rounds] for name in names]

    return {
        "name": label,
        "x": [f"{round_}" for round_ in rounds],
        "y": list(names),
        "z": each(lambda some: float(f"{mean([surviving / total for surviving, total in some]):.4g}")),
        "gone": [
            [y, x]
            for y, name in enumerate(names)
            for x, round_ in enumerate(rounds)
            if any(not some[name][0] for some in by_round[round_])
        ],
        "total": [counts[next(iter(counts))][name][1] for name in names],
        "seeds": [len(by_round[round_]) for round_ in rounds],
    }


def _table(group: Mapping[str, Any], what: str, caption: str) -> Table:
    gone = {(y, x) for y, x in group["gone"]}
    lines = []
    for y, (name, shares) in enumerate(zip(group["y"], group["z"], strict=True)):
        cells = [Cell(percent(share) + (CROSS if (y, x) in gone else "")) for x, share in enumerate(shares)]
        lines.append([Cell(name), *cells])
    title = f"share of {caption}: {group['name']}"
    return Table(title, [what, *(f"round {round_}" for round_ in group["x"])], lines, f"As a table: {title}")
