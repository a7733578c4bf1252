"""The table of the paper's claims comes from the committed rows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lottery_core.experiments import write_csv
from recipes.upkeep import claims
from tests.lottery_core.reports.answer.rows import rows

HIGH, LOW = [1.0, 1.0, 0.9], [1.0, 0.5, 0.1]


def test_the_page_has_the_table_of_the_rows() -> None:
    page = claims.PAGE.read_text()
    assert claims.renewed(page) == page
    assert sum(page.count(f"| {word} |") for word in ("cannot tell", "shown", "not shown", "contradicted")) > 10
    old = re.sub(r"(?m)^\| Winning tickets beat.*", "| what was said before |", page)
    assert old != page
    assert claims.renewed(old) == page
    with pytest.raises(ValueError, match="the page has no lines"):
        claims.renewed("no table here")


@pytest.mark.parametrize(
    ("winning", "random", "seeds", "verdict"),
    [(HIGH, LOW, 8, "shown"), (LOW, HIGH, 8, "contradicted"), (HIGH, LOW, 3, "cannot tell")],
)
def test_the_verdict_of_a_difference(
    winning: list[float],
    random: list[float],
    seeds: int,
    verdict: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(claims, "RESULTS", tmp_path)
    scores = {
        kind: [[score - sign * seed / 100 for score in one] for seed in range(seeds)]
        for kind, one, sign in (("winning", winning, 1), ("random", random, 2))
    }
    (tmp_path / "games").mkdir()
    write_csv(tmp_path / "games/results.csv", rows(scores, (1.0,) * seeds))
    claim = claims.Claim("winning beats random", "winning", "random", ("games", "not-there"))
    (found,) = claims.findings(claim)
    assert (found.name, found.seeds, found.verdict) == ("games", seeds, verdict)
    assert re.fullmatch(r"[+-][\d.]+ \([+-][\d.]+ to [+-][\d.]+\)", found.effect)
    # Without a measured floor the worst level of a kind is none.
    write_csv(tmp_path / "games/results.csv", rows(scores, (1.0,) * seeds, floor=None, label="reward"))
    (found,) = claims.findings(claim)
    assert re.fullmatch(r"[+-][\d.]+ in reward \([+-][\d.]+ to [+-][\d.]+\)", found.effect)


@pytest.mark.parametrize(("surviving", "verdict"), [(0.9, "shown"), (0.001, "contradicted")])
def test_the_verdict_of_a_size(surviving: float, verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "RESULTS", tmp_path)
    (tmp_path / "games").mkdir()
    scores = {"winning": [[1.0, 1.0, 0.1, 0.1], [1.0, 1.0, 1.0, 0.1], [1.0, 1.0, 0.1, 0.1]]}
    write_csv(tmp_path / "games/results.csv", rows(scores, (1.0,) * 3))
    (found,) = claims.findings(claims.Claim("small", "winning", "", ("games",), surviving))
    assert (found.seeds, found.verdict) == (3, verdict)
