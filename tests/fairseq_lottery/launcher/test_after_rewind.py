"""``fairseq-lottery --after-rewind remaining``: a chain whose tickets train what remains."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from fairseq_lottery.argv import FairseqArguments
from fairseq_lottery.launcher import command as cli
from fairseq_lottery.launcher.options import experiment_of, parser, resolve
from fairseq_lottery.launcher.worker import begins_late, training_arguments
from lottery_core.experiments.graph.plan import Run, dense
from lottery_core.experiments.results import read_rows
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import load, split
from tests.fairseq_lottery.launcher.test_command import LSTM, chain
from tests.fairseq_lottery.launcher.test_faults import FIRST, LAST, kill_when

SCHEDULE = ["--lr-scheduler", "inverse_sqrt", "--warmup-updates", 5, "--log-interval", 1]


def words(out: Path, data: Path, *more: object) -> list[str]:
    own = ["--out", out, "--rounds", 1, "--kinds", "winning", "--rewind", "update:12", "--after-rewind", "remaining"]
    saving = ["--save-interval-updates", 10, "--keep-interval-updates", 1]
    return chain(*own, "--no-floor", *more, "--", data, *LSTM, *SCHEDULE, *saving)


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
    """Steps, schedules and counts; killed in a ticket's training, it ends with the same bits."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = helpers.run(words(whole, lm_data), timeout=900)
    rows = {row.run: row for row in read_rows(whole)}
    length = rows[dense(1)].steps
    assert {run: row.steps for run, row in rows.items()} == {dense(1): length, FIRST: length - 12}
    assert {run: row.rewind_steps for run, row in rows.items()} == {dense(1): 12, FIRST: None}
    assert "WARNING: runs of different lengths, compared with dense: winning -" in done.stdout
    assert rates(whole / dense(1).folder).keys() == set(range(1, length + 1))
    assert rates(whole / FIRST.folder).items() <= rates(whole / dense(1).folder).items()
    assert rates(whole / FIRST.folder).keys() == set(range(13, length + 1))
    state = load(whole / FIRST.folder / LAST)
    assert state["optimizer_history"][-1]["num_updates"] == length
    helpers.assert_dead(state["model"], whole / FIRST.folder / "ticket.safetensors")
    # In the middle of a training that began at the rewind point.
    shutil.copytree(whole, killed)
    shutil.rmtree(killed / FIRST.folder)
    kill_when((killed / FIRST.folder / LAST).exists, words(killed, lm_data))
    helpers.run(words(killed, lm_data), timeout=900)
    log = (killed / FIRST.folder / "train.log").read_text()
    assert "the run was interrupted, and is resumed" in log
    assert log.count("begins at the rewind point: 12 updates") == 1
    again = next(row for row in read_rows(killed) if row.run == FIRST)
    assert (again.score, again.ticket, again.steps) == (rows[FIRST].score, rows[FIRST].ticket, rows[FIRST].steps)
    assert helpers.same(*(load(folder / FIRST.folder / LAST)["model"] for folder in (whole, killed)))


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


@pytest.mark.parametrize("word", ["full", "remaining"])
def test_a_random_ticket_at_the_whole_budget(word: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Dense and two rounds of what a ticket trains; the dense run is not there yet, or its checkpoint says how long."""
    arguments = FairseqArguments([*split("bin --task lottery_translation --max-epoch 2 --total-num-update 12 --cpu")])
    given = vars(parser().parse_args(["--out", str(tmp_path), "--rewind", "update:3", "--after-rewind", word]))
    experiment = experiment_of(resolve(given), arguments)
    before = tmp_path / "seed-1" / "dense"
    shutil.copytree(request.getfixturevalue("dense"), before)  # the name of a function here
    run = Run(1, "random-budget", 2)
    made = training_arguments(arguments, experiment, run, tmp_path)
    assert made.value("--after-rewind") is None
    if word == "full":
        assert (made.value("--max-epoch"), made.value("--total-num-update")) == ("6", "36")
    else:
        assert (made.value("--max-epoch"), made.value("--max-update")) == (None, str(12 + 2 * 9))
        assert made.value("--total-num-update") == str(12 + 2 * 9)


@pytest.mark.parametrize(
    ("own", "more", "line"),
    [
        (["--rewind", "epoch:2"], [], "nothing remains to be trained after the rewind point epochs:2"),
        (["--rewind", "update:2"], ["--lr-scheduler", "reduce_lr_on_plateau"], "reduce_lr_on_plateau follows earlier"),
    ],
)
def test_refused_before_the_first_training(
    own: list[str], more: list[str], line: str, lm_data: Path, tmp_path: Path
) -> None:
    own = ["--out", str(tmp_path / "out"), "--after-rewind", "remaining", *own]
    done = helpers.run(chain(*own, "--", lm_data, *LSTM, *more), status=2, timeout=900)
    assert line in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_words_that_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = ["--out", str(tmp_path / "out"), "--after-rewind"]
    assert cli.main([*own, "rest", "--", "data"]) == 2
    assert "unknown length after the rewind point 'rest'" in capsys.readouterr().err
    assert cli.main([*own, "full", "--", "data", "--after-rewind", "full"]) == 2
    assert "--after-rewind is set by fairseq-lottery for each round" in capsys.readouterr().err
