"""The table of the paper's claims comes from the committed rows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lottery_core.experiments import write_csv
from lottery_core.reports import Answer, answer, question_of
from recipes.upkeep import claims
from tests.lottery_core.reports.answer.rows import LABEL, rows

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


def _answered(scores: dict[str, list[list[float]]], seeds: int) -> Answer:
    return answer(rows(scores, (1.0,) * seeds), question_of(LABEL, ""))


def test_a_contrast_behind_one_that_is_not_shown_is_not_tested() -> None:
    """Its interval contradicts a claim all the same."""
    high, low = ([[score - seed / 100 for score in line] for seed in range(8)] for line in (HIGH, LOW))
    late = claims.Claim("late", "winning", "no-rewind", ())
    spread = [[score + seed / 500 for score in line] for seed, line in enumerate(high)]
    found = claims.of_contrast(late, _answered({"winning": high, "random": high, "no-rewind": spread[::-1]}, 8))
    assert found is not None
    assert found[:2] == (8, "not tested")
    gone = _answered({"winning": low, "random": low, "no-rewind": spread}, 8)
    found = claims.of_contrast(late, gone)
    assert found is not None
    assert found[:2] == (8, "contradicted")
    few = {"winning": low[:3], "random": low[:3], "no-rewind": spread[:3]}
    found = claims.of_contrast(late, _answered(few, 3))
    assert found is not None
    assert found[:2] == (3, "cannot tell")


@pytest.mark.parametrize(("seeds", "verdict"), [(5, "contradicted"), (1, "cannot tell")])
def test_a_size_that_is_kept_at_no_level(seeds: int, verdict: str) -> None:
    claim = claims.Claim("small", "winning", "", (), 1 / 3)
    found = _answered({"winning": [[0.1] * 4] * seeds}, seeds)
    assert claims.of_size(claim, found) == (seeds, verdict, "keeps it at no level")


def test_the_seeds_of_a_size_are_those_that_are_finished() -> None:
    scores = {"winning": [[1.0, 1.0, 0.1, 0.1]] * 3 + [[1.0]]}
    found = claims.of_size(claims.Claim("small", "winning", "", (), 0.9), _answered(scores, 4))
    assert found is not None
    assert found[:2] == (3, "shown")


@pytest.mark.parametrize(("surviving", "verdict"), [(0.9, "shown"), (0.001, "contradicted")])
def test_the_verdict_of_a_size(surviving: float, verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "RESULTS", tmp_path)
    (tmp_path / "games").mkdir()
    scores = {"winning": [[1.0, 1.0, 0.1, 0.1], [1.0, 1.0, 1.0, 0.1], [1.0, 1.0, 0.1, 0.1]]}
    write_csv(tmp_path / "games/results.csv", rows(scores, (1.0,) * 3))
    (found,) = claims.findings(claims.Claim("small", "winning", "", ("games",), surviving))
    assert (found.seeds, found.verdict) == (3, verdict)
