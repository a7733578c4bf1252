"""Chains with kinds that are pruned while they train: exact counts, and the same bits where a run is killed inside."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fairseq_lottery.launcher.command import main
from fairseq_lottery.launcher.training import surviving_share
from lottery_core import Ticket, schedule, snapshot
from lottery_core.experiments import paths
from lottery_core.experiments.graph.plan import Run, dense
from lottery_core.experiments.results import read_rows
from lottery_core.pruning import survivors_of
from lottery_core.tickets.weights import Weights
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import load
from tests.fairseq_lottery.launcher.test_command import LSTM, chain
from tests.fairseq_lottery.launcher.test_faults import LAST, kill_when
from tests.lottery_core.helpers import mlp
from tests.lottery_core.toy import experiment

GRADUAL, SNIP = Run(1, "gradual", 1), Run(1, "snip", 1)


def words(out: Path, data: Path, *more: object) -> list[str]:
    own = ["--out", out, "--rounds", 1, "--prune-rate", 0.5, "--kinds", "gradual", "snip", "--rewind", "update:2"]
    saving = ["--save-interval-updates", 2, "--keep-interval-updates", 1, "--log-interval", 1]
    return chain(*own, "--gradual", 0, 0.9, 6, "--no-floor", *more, "--", data, *LSTM, *saving)


def test_a_chain_killed_inside_the_schedule(lm_data: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    plan = helpers.run(words(whole, lm_data, "--dry-run"), timeout=900).stdout
    assert "--ticket-kind gradual --surviving 0.5 --gradual '0 0.9 6'" in plan
    done = helpers.run(words(whole, lm_data), timeout=900)
    assert "gradual: begin, end and steps 0 0.9 6" in done.stdout
    rows = {row.run: row for row in read_rows(whole)}
    assert rows.keys() == {dense(1), GRADUAL, SNIP}, "neither needs a winning ticket"
    pool = rows[dense(1)].pool
    for run, start in ((GRADUAL, "init.safetensors"), (SNIP, "rewind.safetensors")):
        row, ticket = rows[run], Ticket.load(whole / run.folder / "ticket.safetensors")
        assert (row.surviving, row.steps) == (schedule(pool, 0.5, 1)[1], rows[dense(1)].steps)
        assert ticket.digest == row.ticket
        values = ticket.masks.apply(Weights.load(whole / dense(1).folder / start).tensors)
        assert all((ticket.weights[name] == values[name]).all() for name in ticket.masks)
        helpers.assert_dead(load(whole / run.folder / LAST)["model"], ticket)
        assert not (whole / run.folder / "start.safetensors").exists()
    shutil.copytree(whole, killed)
    shutil.rmtree(killed / GRADUAL.folder)
    kill_when((killed / GRADUAL.folder / LAST).exists, words(killed, lm_data))
    helpers.run(words(killed, lm_data), timeout=900)
    assert "the run was interrupted, and is resumed" in (killed / GRADUAL.folder / "train.log").read_text()
    again = next(row for row in read_rows(killed) if row.run == GRADUAL)
    assert (again.score, again.ticket) == (rows[GRADUAL].score, rows[GRADUAL].ticket)
    assert helpers.same(*(load(folder / GRADUAL.folder / LAST)["model"] for folder in (whole, killed)))


def test_the_first_level_counts_for_them_too(tmp_path: Path) -> None:
    """``--first``: as many survive as in the winning ticket of the round, before and after the dense run has begun."""
    asked = experiment(tmp_path, first=0.1, prune_rate=0.2, rounds=3, kinds=("winning", "gradual", "snip"))
    before = tmp_path / dense(1).folder
    for kind in ("gradual", "snip"):
        shares = [surviving_share(asked, Run(1, kind, round_), before) for round_ in (1, 2, 3)]
        assert shares == pytest.approx([0.1, 0.08, 0.064])
    snapshot(mlp(1)).save(before / paths.INIT)
    start = Weights.load(before / paths.INIT)
    pool = sum(start.tensors[name].numel() for name in start.pool(asked.scope))
    for round_ in (1, 2, 3):
        share = surviving_share(asked, Run(1, "gradual", round_), before)
        assert survivors_of(share, pool) == asked.schedule(pool, round_)[round_]


@pytest.mark.parametrize(
    ("own", "more", "line"),
    [
        (["--gradual", 0, 2, 3], [], "0 <= BEGIN < END <= 1 of the training, not at 0 and 2"),
        (["--gradual", "a", "b", "c"], [], "--gradual 'a b c' is not understood: give BEGIN END STEPS"),
        (
            ["--gradual", 0, 1, 9],
            ["--max-update", 8],
            "has 9 steps, and between 0 and 1 of the training there are only 8",
        ),
        (
            ["--average", 2, "--gradual", 0, 1, 3],
            [],
            "--average 2 takes checkpoints from before the last step of pruning",
        ),
        ([], ["--surviving", "0.1"], "--surviving is set by fairseq-lottery for each round"),
        (["--rewind", "none", "--kinds", "snip"], [], "the kind snip needs a rewind point, and 'none' sets none"),
    ],
)
def test_refused_before_the_first_training(
    own: list[object], more: list[str], line: str, lm_data: Path, tmp_path: Path
) -> None:
    done = helpers.run(
        chain("--out", tmp_path / "out", "--kinds", "gradual", *own, "--", lm_data, *LSTM, *more), status=2, timeout=900
    )
    assert line in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


UPDATES = ["--max-epoch", 100, "--max-update", 80]  # of 32 in an epoch, so two whole epochs
AVERAGE = ["--average", 2, "--rewind", "update:2"]


@pytest.mark.parametrize(
    ("own", "more", "line"),
    [
        (["--kinds", "gradual", "--gradual", 0, 0.5, 30], ["--max-epoch", 1], "of the training there are only 16"),
        ([*AVERAGE, "--kinds", "gradual", "--gradual", 0, 0.7, 3], UPDATES, "let --gradual end before 0.4"),
        ([*AVERAGE, "--kinds", "gradual", "--gradual", 0, 0.7, 3], ["--max-epoch", 0, *UPDATES[2:]], "before 0.4"),
        ([*AVERAGE, "--kinds", "gradual", "--gradual", 0, 0.4, 3], UPDATES, ""),
        (["--kinds", "gradual"], ["--max-epoch", 100, "--save-interval", 3, "--max-update", 50], ""),
        (["--kinds", "winning"], ["--save-interval", 3, "--max-update", 64], ""),
        (["--kinds", "winning"], ["--save-interval", 3, "--max-update", 65], "does not save the last of 2 epochs"),
    ],
)
def test_the_length_of_the_training_is_known_before_it(
    own: list[object], more: list[object], line: str, lm_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--out", tmp_path / "out", "--dry-run", "--no-floor", *own, "--", lm_data, *LSTM, *more]
    status = main([str(word) for word in words])
    told = capsys.readouterr().err
    assert (status, line in told) == (2 if line else 0, True), told


@pytest.mark.parametrize("kind", ["gradual", "snip"])
def test_shards_of_data_need_a_number_of_updates(
    kind: str, lm_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--out", tmp_path / "out", "--dry-run", "--kinds", kind, "--", f"{lm_data}:{lm_data}", *LSTM]
    assert main([str(word) for word in words]) == 2
    assert "give --max-update: with sharded data" in capsys.readouterr().err
