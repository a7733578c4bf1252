"""The best of several random tickets, at the winning ticket's budget."""

from __future__ import annotations

from pathlib import Path

from stable_baselines3.common.base_class import BaseAlgorithm

from lottery_core import Ticket
from lottery_core.experiments import paths, read_rows
from lottery_core.reports import answer, once, source_of
from sb3_lottery import find_tickets
from sb3_lottery.analysis.finished_run import FinishedRun
from tests.sb3_lottery.helpers import make


def make_model(seed: int) -> BaseAlgorithm:
    return make("ppo", seed)


def test_each_draw_is_another_ticket_and_the_best_one_counts(tmp_path: Path) -> None:
    found = find_tickets(
        make_model,
        tmp_path,
        total_timesteps=320,
        rounds=2,
        kinds=("random-best",),
        score_episodes=5,
        floor=False,
        repeat_noise=2,
        progress=False,
    )
    rows = [row for row in read_rows(tmp_path) if row.kind == "random-best"]
    assert sorted((row.round, row.noise) for row in rows) == [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3)]
    tickets = [Ticket.load(tmp_path / row.run.folder / paths.TICKET) for row in rows]
    assert len({ticket.content for ticket in tickets}) == len(rows)
    winning = {row.round: row.surviving for row in found.rows if row.kind == "winning"}
    assert all(row.surviving == winning[row.round] for row in rows)

    best = {row.round: row.score for row in once(found.rows) if row.kind == "random-best"}
    assert best == {number: max(row.score for row in rows if row.round == number) for number in (1, 2)}
    for row in once(found.rows):
        if row.kind == "random-best":
            assert found.ticket(1, "random-best", row.round) == tmp_path / row.run.folder / paths.TICKET
            finished = FinishedRun.of(tmp_path, "random-best", row.round, 1, f"{__name__}:make_model")
            assert finished.run == row.run
    assert any(row.noise > 1 for row in once(found.rows) if row.kind == "random-best")
    lowest = {row.round: row.score for row in once(found.rows, -1) if row.kind == "random-best"}
    assert lowest == {number: min(row.score for row in rows if row.round == number) for number in (1, 2)}
    source = source_of(tmp_path)
    assert "random-best" not in {luck.kind for luck in answer(source.rows, source.question(None)).luck}
    assert "random-best 1,600 (1,280 + 320)" in str(found), "dense, round 1 and two more draws; its own training"
