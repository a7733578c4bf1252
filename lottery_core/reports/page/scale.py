"""The scale at which tickets start, by kind and round."""

from __future__ import annotations

from collections.abc import Sequence

from lottery_core.experiments import Row
from lottery_core.reports.page.figures import NOTHING, Cell, Section, Table, exact, kinds_among, mean


def scale_section(rows: Sequence[Row]) -> Section | None:
    """Make the section with the output scale of the tickets; ``None`` if no row has one.

    :param rows: the experiment's rows
    """
    known = [row for row in rows if row.output_scale is not None]
    if not known:
        return None
    section = Section("scale", "Output scale at the start")
    section.text.append(
        "The product of the root mean squares of every layer's survivors when training starts. Where a kind starts "
        "at another scale than the winning ticket, part of a difference in score may come from it; random-scaled and "
        "permuted start at the winning ticket's."
    )
    kinds = kinds_among(known)
    lines = []
    for round_ in sorted({row.round for row in known}):
        cells = [_cell([row for row in known if (row.kind, row.round) == (kind, round_)]) for kind in kinds]
        lines.append([Cell(str(round_)), *cells])
    section.tables.append(Table("mean over seeds, by round", ["round", *kinds], lines))
    return section


def _cell(rows: Sequence[Row]) -> Cell:
    values = [row.output_scale for row in rows if row.output_scale is not None]
    return Cell(f"{mean(values):.3g}", exact(mean(values))) if values else Cell(NOTHING)
