"""``fairseq-lottery --search``: rounds that only search end early, unscored, and go on after a kill."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

from lottery_core import Ticket, Weights, prune, read_weights
from lottery_core.experiments import paths
from lottery_core.experiments.graph.plan import Run, dense
from lottery_core.experiments.results import read_rows, read_searches
from lottery_core.files import read_curve
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import load
from tests.fairseq_lottery.launcher.test_after_rewind import SCHEDULE, rates
from tests.fairseq_lottery.launcher.test_command import LSTM, chain
from tests.fairseq_lottery.launcher.test_faults import LAST, kill_when

SEARCH, SCORED = Run(1, "winning", 1, search=True), Run(1, "winning", 2)


def words(out: Path, data: Path, *more: object) -> list[str]:
    own = ["--out", out, "--score-rounds", 2, "--kinds", "winning", "--prune-rate", 0.36, "--rewind", "update:5"]
    saving = ["--save-interval-updates", 5, "--keep-interval-updates", 1]
    return chain(*own, "--no-floor", *more, "--", data, *LSTM, *SCHEDULE, *saving)


@pytest.fixture(scope="module")
def settled(lm_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("search") / "x"
    helpers.run(words(out, lm_data, "--search", "settled:0.5"), timeout=900)
    return out


def test_a_settled_mask_ends_the_search_and_cuts_off_the_schedule(settled: Path) -> None:
    (row,) = read_searches(settled)
    assert row.run == SEARCH
    assert math.isnan(row.score)
    assert row.stopped.startswith(f"settled at {row.share:.0%} of the training, mask distance ")
    length = next(other.steps for other in read_rows(settled) if other.run == dense(1))
    assert 0 < row.steps < length
    assert row.share == pytest.approx(row.steps / length, abs=0.03)
    assert {other.run for other in read_rows(settled)} == {dense(1), SCORED}
    # The same updates at the same rates as in a full training, of which there are fewer.
    searched, full = rates(settled / SEARCH.folder), rates(settled / dense(1).folder)
    assert searched.items() <= full.items()
    assert max(searched) == row.steps
    assert json.loads((settled / SEARCH.folder / paths.MARKER).read_text())["search"] == "settled:0.5"


def test_the_next_ticket_is_pruned_from_the_search(settled: Path) -> None:
    rewind = Weights.load(settled / dense(1).folder / paths.REWIND)
    trained = read_weights(settled / SEARCH.folder / LAST).like(rewind)
    previous = Ticket.load(settled / SEARCH.folder / paths.TICKET)
    found = Ticket.load(settled / SCORED.folder / paths.TICKET)
    assert prune(trained, rewind, rate=0.36, previous=previous).masks == found.masks


def test_full_trainings_log_the_distance(settled: Path) -> None:
    for run in (dense(1), SCORED):
        points = read_curve(settled / run.folder / paths.LEARNING)
        assert points
        assert all(point.distance is not None and 0 <= point.distance <= 1 for point in points)
    assert '"valid_mask_distance"' in (settled / dense(1).folder / "train.log").read_text()


def test_a_killed_search_stops_where_an_undisturbed_one_does(settled: Path, lm_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "x"
    shutil.copytree(settled, out)
    for run in (SEARCH, SCORED):
        shutil.rmtree(out / run.folder)
    command = words(out, lm_data, "--search", "settled:0.5")
    kill_when((out / SEARCH.folder / LAST).exists, command)
    helpers.run(command, timeout=900)
    assert "and is resumed" in (out / SEARCH.folder / "train.log").read_text()
    (row,), (other,) = read_searches(out), read_searches(settled)
    assert (row.share, row.stopped, row.steps, row.ticket) == (other.share, other.stopped, other.steps, other.ticket)
    files = [where / SCORED.folder / paths.TICKET for where in (out, settled)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert helpers.same(*(load(where / SCORED.folder / LAST)["model"] for where in (out, settled)))


def test_a_share_of_the_training(lm_data: Path, settled: Path, tmp_path: Path) -> None:
    """In the folder of a dense run that is there already."""
    out = tmp_path / "x"
    shutil.copytree(settled / "seed-1/dense", out / "seed-1/dense")
    row = json.loads((settled / paths.EXPERIMENT).read_text())
    (out / paths.EXPERIMENT).write_text(json.dumps(row))
    helpers.run(words(out, lm_data, "--search", "0.5"), timeout=900)
    (searched,) = read_searches(out)
    length = next(other.steps for other in read_rows(out) if other.run == dense(1))
    assert searched.steps == math.ceil(length / 2)
    assert searched.stopped.startswith("stopped at 5")


def test_a_budget_is_resumed_and_shown_with_the_levels_that_it_chose(lm_data: Path, tmp_path: Path) -> None:
    own = ["--out", tmp_path / "x", "--kinds", "winning", "--prune-rate", 0.9, "--rewind", "update:5", "--seeds", 1]
    command = chain(*own, "--no-floor", "--budget", "3runs", "--", lm_data, *LSTM, *SCHEDULE)
    helpers.run(command)
    kept = json.loads((tmp_path / "x" / paths.BUDGET).read_text())
    assert kept["score_rounds"]
    (tmp_path / "x" / Run(1, "winning", kept["rounds"]).folder / paths.MARKER).unlink()
    cut = command.index("--budget")
    shown = helpers.run([*command[:cut], "--dry-run", *command[cut:]]).stdout
    assert "1 to do" in shown
    assert "--budget 3runs chose the scored rounds" in shown
    helpers.run(command)
    assert {row.round for row in read_rows(tmp_path / "x") if row.kind == "winning"} == set(kept["score_rounds"])
