"""Overlap of masks between seeds, kinds and rounds, beside the overlap expected by chance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from lottery_core.experiments import Row, Run
from lottery_core.reports import by_round, of_line
from lottery_core.reports.page.figures import NOTHING, Budget, Cell, Chart, Section, Table, look, mean
from lottery_core.reports.page.tickets import Tickets

_MOST_SEEDS = 10  # maximum number of seeds that are compared in pairs
Pairs = Mapping[int, list[tuple[float, float]]]  # round -> (Jaccard index, index expected by chance) of each pair


def overlap_section(tickets: Tickets, rows: Sequence[Row], budget: Budget) -> Section:
    """Make the section with the Jaccard indices of masks.

    :param tickets: the experiment's tickets
    :param rows: the experiment's rows, with the survivors of each round
    :param budget: limits the number of cells in a table
    """
    section = Section("overlap", "Overlap of masks")
    kinds = tickets.kinds()
    levels = {round_: of_line(cells).surviving_fraction for round_, cells in by_round(rows).items()}
    # A kind with the counts of another experiment has levels of its own.
    own = {kind: levels | _levels(row for row in rows if row.kind == kind) for kind in kinds}
    between_seeds = {kind: pairs for kind in kinds if (pairs := _between_seeds(tickets, kind))}
    between_kinds = _between_kinds(tickets, kinds)
    if not between_seeds and not between_kinds and len(tickets.rounds()) < 2:
        section.text.append("There are not yet two finished tickets to compare.")
        return section
    section.text.append(
        "Jaccard index: the parameters that survive in both masks, over those that survive in either; 1 for equal "
        "masks. Chance is the index of two masks that keep as many in each tensor, in places drawn at random."
    )
    if between_seeds:
        title = "Between seeds: masks of one kind and round, of two seeds"
        section.charts.append(_lines(title, between_seeds, levels, kinds, own))
        section.tables.append(_table(title, between_seeds, budget.cells))
    else:
        section.text.append("Between seeds: one seed has nothing to be compared with.")
    if between_kinds:
        title = "Between kinds: masks of one seed and round, of two kinds"
        shown = {name: pairs for name, pairs in between_kinds.items() if name.startswith(f"{kinds[0]} and ")}
        section.charts.append(_lines(f"{title} ({kinds[0]} and each other)", shown, levels, kinds))
        section.tables.append(_table(title, between_kinds, budget.cells))
        section.text.append(
            "Kinds that take the winning mask (reinit, permuted) overlap with it fully by construction, and those that "
            "shuffle it within each tensor (random, shuffled) as chance does."
        )
    _between_rounds(section, tickets, budget.cells)
    return section


def _levels(rows: Iterable[Row]) -> dict[int, float]:
    return {row.round: row.surviving_fraction for row in rows}


def _pairs(tickets: Tickets, pairs: Iterable[tuple[Run, Run]]) -> Pairs:
    found: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for one, other in pairs:
        if one in tickets.known and other in tickets.known:
            found[one.round].append(tickets.compare(one, other))
    return dict(sorted(found.items()))


def _between_seeds(tickets: Tickets, kind: str) -> Pairs:
    seeds = tickets.seeds()[:_MOST_SEEDS]
    return _pairs(
        tickets,
        (
            (Run(one, kind, round_), Run(other, kind, round_))
            for round_ in tickets.rounds()
            for one, other in combinations(seeds, 2)
        ),
    )


def _between_kinds(tickets: Tickets, kinds: Sequence[str]) -> dict[str, Pairs]:
    # By seed and round, so that the masks of one cell are read once for all their pairs.
    names = list(combinations(kinds, 2))
    found: dict[tuple[str, str], dict[int, list[tuple[float, float]]]] = {pair: defaultdict(list) for pair in names}
    for seed in tickets.seeds()[:_MOST_SEEDS]:
        for round_ in tickets.rounds():
            cell = {kind: run for kind in kinds if (run := Run(seed, kind, round_)) in tickets.known}
            for one, other in combinations(cell, 2):
                found[one, other][round_].append(tickets.compare(cell[one], cell[other]))
    return {f"{one} and {other}": dict(sorted(found[one, other].items())) for one, other in names if found[one, other]}


def _lines(
    title: str,
    found: Mapping[str, Pairs],
    levels: Mapping[int, float],
    kinds: Sequence[str],
    own: Mapping[str, Mapping[int, float]] | None = None,
) -> Chart:
    # With own (kind -> round -> share), a line is drawn at the shares that its kind keeps.
    series: list[dict[str, Any]] = []
    legend = []
    for name, pairs in found.items():
        kind = name.rpartition(" and ")[2]
        light, dark, _, marker, sign = look(kind, kinds)
        legend.append((kind, name, (light, dark, "solid", marker, sign)))
        for index, (what, dash) in enumerate((("", "solid"), ("chance: ", "dot"))):
            values = [[mean([pair[index] for pair in some]) for some in pairs.values()]]
            series.append(
                {
                    "switch": kind,
                    "name": what + name,
                    "look": [light, dark, dash, "circle" if index else marker, sign],
                    "faint": bool(index),
                    "x": [(own or {}).get(name, levels)[round_] for round_ in pairs],
                    "y": values,
                    "head": [f"{what}{name}, round {round_}" for round_ in pairs],
                    "tail": [f"{len(some)} pair{'' if len(some) == 1 else 's'}" for some in pairs.values()],
                }
            )
    rounds = sorted({round_ for pairs in found.values() for round_ in pairs})
    data = {
        "type": "lines",
        "x": {"title": "parameters surviving", "log": True},
        "y": {"title": "Jaccard index (dotted: chance)", "range": [0, 1.03]},
        "ticks": [[levels[round_], f"{100 * levels[round_]:.3g}%"] for round_ in rounds],
        "variants": ["mean"],
        "series": series,
    }
    alt = f"Line chart. {title}; a solid line each for {', '.join(found)}, and a dotted one for chance."
    return Chart(title, alt, data, legend)


def _table(title: str, found: Mapping[str, Pairs], most: int) -> Table:
    rounds = sorted({round_ for pairs in found.values() for round_ in pairs})
    kept = list(found.items())[: max(1, most // max(1, len(rounds)))]
    lines = [[Cell(name), *(_cell(pairs.get(round_, [])) for round_ in rounds)] for name, pairs in kept]
    caption = f"{title}: mean over pairs, and chance in brackets"
    return Table(caption, ["", *(f"round {round_}" for round_ in rounds)], lines, f"As a table: {title}")


def _cell(some: Sequence[tuple[float, float]]) -> Cell:
    if not some:
        return Cell(NOTHING)
    value, chance = (mean([pair[index] for pair in some]) for index in (0, 1))
    return Cell(f"{value:.2f} ({chance:.2f})")


def _between_rounds(section: Section, tickets: Tickets, most: int) -> None:
    groups = []
    for kind in tickets.kinds():
        rounds = sorted({run.round for run in tickets.runs if run.kind == kind})
        if len(rounds) < 2:
            continue
        found: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
        for seed in tickets.seeds()[:_MOST_SEEDS]:
            own = [run for round_ in rounds if (run := Run(seed, kind, round_)) in tickets.known]
            for one, other in combinations(own, 2):
                pair = tickets.compare(one, other)
                found[one.round, other.round].append(pair)
                found[other.round, one.round].append(pair)
            for run in own:
                found[run.round, run.round].append(tickets.compare(run, run))
        groups.append(_round_group(kind, rounds, found))
    if not groups:
        return
    title = "Between rounds: masks of one seed and kind, of two rounds"
    section.text.append(
        "Between rounds: a chain prunes further what it has pruned, so its masks are nested, and their index is the "
        "share of the earlier survivors that are left."
    )
    data = {"type": "heat", "x": {"title": "round"}, "y": {"title": "round"}, "scale": "index", "groups": groups}
    alt = f"Heat map. {title}, for {', '.join(group['name'] for group in groups)}. The tables below have its numbers."
    names = [group["name"] for group in groups]
    section.charts.append(Chart(title, alt, data, choices=names, choice="kind of ticket"))
    for group in groups:
        if len(groups) * len(group["x"]) ** 2 > most and group is not groups[0]:
            continue
        lines = [
            [Cell(f"round {name}"), *(Cell(text) for text in texts)]
            for name, texts in zip(group["x"], group["text"], strict=True)
        ]
        head = ["", *(f"round {name}" for name in group["x"])]
        section.tables.append(Table(f"{title}: {group['name']}", head, lines, f"As a table: {title}: {group['name']}"))


def _round_group(
    kind: str, rounds: Sequence[int], found: Mapping[tuple[int, int], Sequence[tuple[float, float]]]
) -> dict[str, Any]:
    def each(index: int, one: int, other: int) -> float | None:
        some = found.get((one, other), ())
        return mean([pair[index] for pair in some]) if some else None

    texts = [
        [NOTHING if each(0, a, b) is None else f"{each(0, a, b):.2f} ({each(1, a, b):.2f})" for b in rounds]
        for a in rounds
    ]
    return {
        "name": kind,
        "x": [f"{round_}" for round_ in rounds],
        "y": [f"{round_}" for round_ in rounds],
        "z": [[each(0, one, other) for other in rounds] for one in rounds],
        "text": texts,
    }
