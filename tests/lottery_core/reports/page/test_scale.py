"""The scale at which tickets start, on the page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lottery_core.reports.page.scale import scale_section
from tests.lottery_core.reports.test_report import row


def test_the_scale_is_a_mean_over_seeds_by_kind_and_round() -> None:
    scales = [("winning", 1, 2.0), ("winning", 1, 4.0), ("winning", 2, 1e-5), ("random", 1, 0.25)]
    section = scale_section([replace(row(kind, round_, 9.0), output_scale=scale) for kind, round_, scale in scales])
    assert section is not None
    (table,) = section.tables
    assert table.head == ["round", "winning", "random"]
    assert [[cell.text for cell in line] for line in table.rows] == [
        ["1", "3", "0.25"],
        ["2", "1e-05", "\N{EN DASH}"],
    ]
    assert float(table.rows[0][1].value or 0) == pytest.approx(3.0)


def test_rows_of_earlier_versions_have_none() -> None:
    assert scale_section([row("winning", 1, 9.0)]) is None
