"""``fairseq-lottery --after-rewind remaining``: a chain whose tickets train what remains."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fairseq_lottery.argv import FairseqArguments
from fairseq_lottery.launcher.options import experiment_of, parser, resolve
from fairseq_lottery.launcher.worker import begins_late, training_arguments
from lottery_core.experiments.plan import Run, dense
from lottery_core.experiments.results import read_rows
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import load
from tests.fairseq_lottery.launcher.test_command import LSTM, chain
from tests.fairseq_lottery.launcher.test_faults import FIRST, LAST, kill_when

SCHEDULE = ["--lr-scheduler", "inverse_sqrt", "--warmup-updates", 5, "--log-interval", 1]
RANDOM, FRESH = Run(1, "random", 1), Run(1, "no-rewind", 1)


def words(out: Path, data: Path, *more: object) -> list[str]:
    own = ["--out", out, "--rounds", 1, "--kinds", "winning", "random", "no-rewind", "--after-rewind", "remaining"]
    saving = ["--save-interval-updates", 10, "--keep-interval-updates", 1]
    return chain(*own, "--rewind", "update:12", *more, "--", data, *LSTM, *SCHEDULE, *saving)


def rates(folder: Path) -> dict[int, float]:
    """Learning rate by the count of updates, as logged."""
    found = {}
    for line in (folder / "train.log").read_text().splitlines():
        match = re.search(r"\| train_inner \| (\{.*\})", line)
        if match:
            stats = json.loads(match.group(1))
            found[int(stats["num_updates"])] = float(stats["lr"])
    return found


def test_a_chain(lm_data: Path, tmp_path: Path) -> None:
    """Steps, schedules and counts of each kind; killed in a ticket's training, it ends with the same bits."""
    done = helpers.run(words(tmp_path / "whole", lm_data))
    rows = {row.run: row for row in read_rows(tmp_path / "whole")}
    length = rows[dense(1)].steps
    assert {run: row.steps for run, row in rows.items()} == {
        dense(1): length,
        FIRST: length - 12,
        RANDOM: length - 12,
        FRESH: length,
    }
    assert {run: row.rewind_steps for run, row in rows.items() if row.rewind_steps is not None} == {dense(1): 12}
    assert "WARNING: trainings of different length, against dense: " in done.stdout
    assert f"mean updates in all, with those before the rewind point: dense {length}, winning {length}" in done.stdout
    all_rates = {run: rates(tmp_path / "whole" / run.folder) for run in rows}
    for run in (FIRST, RANDOM):
        assert set(all_rates[run]) == set(range(13, length + 1))
        assert all(all_rates[dense(1)][update] == rate for update, rate in all_rates[run].items())
    assert all_rates[FRESH] == all_rates[dense(1)]
    state = load(tmp_path / "whole" / FIRST.folder / LAST)
    assert state["optimizer_history"][-1]["num_updates"] == length
    helpers.assert_dead(state["model"], tmp_path / "whole" / FIRST.folder / "ticket.safetensors")
    # In the middle of a training that began at the rewind point.
    command = words(tmp_path / "killed", lm_data)
    kill_when((tmp_path / "killed" / FIRST.folder / LAST).exists, command)
    helpers.run(command)
    log = (tmp_path / "killed" / FIRST.folder / "train.log").read_text()
    assert "the run was interrupted, and is resumed" in log
    assert log.count("begins at the rewind point: 12 updates") == 1
    for run, row in rows.items():
        again = next(other for other in read_rows(tmp_path / "killed") if other.run == run)
        assert (again.score, again.ticket, again.steps) == (row.score, row.ticket, row.steps)
        assert helpers.same(*(load(tmp_path / where / run.folder / LAST)["model"] for where in ("whole", "killed")))


def test_which_runs_begin_late(tmp_path: Path) -> None:
    """Tickets that are rewound, and their controls; in full trainings none."""
    arguments = FairseqArguments(["bin", "--task", "lottery_translation", "--cpu"])
    given = vars(parser().parse_args(["--out", str(tmp_path), "--rewind", "update:3", "--after-rewind", "remaining"]))
    runs = [dense(1), Run(1, "winning", 2), Run(1, "one-shot", 2), Run(1, "random", 2), Run(1, "no-rewind", 2)]
    late, full = (experiment_of(resolve({**given, "after_rewind": word}), arguments) for word in ("remaining", "full"))
    assert [begins_late(late, run) for run in runs] == [False, True, True, True, False]
    assert not any(begins_late(full, run) for run in runs)
    rewind = str(tmp_path / "seed-1" / "dense" / "rewind.safetensors")
    for run in runs:
        made = training_arguments(arguments, late, run, tmp_path)
        assert (made.value("--after-rewind") == "remaining") == begins_late(late, run)
        assert not begins_late(late, run) or made.value("--rewind") == rewind


@pytest.mark.parametrize(
    ("own", "more", "line"),
    [
        (["--rewind", "epoch:2"], [], "nothing remains to be trained after the rewind point epochs:2"),
        (["--rewind", "update:2"], ["--lr-scheduler", "reduce_lr_on_plateau"], "reduce_lr_on_plateau follows earlier"),
        (["--after-rewind", "rest"], [], "unknown length after the rewind point 'rest'"),
        (["--rewind", "init"], ["--after-rewind", "full"], "--after-rewind is set by fairseq-lottery for each round"),
    ],
)
def test_refused_before_the_first_training(
    own: list[str], more: list[str], line: str, lm_data: Path, tmp_path: Path
) -> None:
    own = ["--out", str(tmp_path / "out"), "--after-rewind", "remaining", *own]
    done = helpers.run(chain(*own, "--", lm_data, *LSTM, *more), status=2)
    assert line in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()
