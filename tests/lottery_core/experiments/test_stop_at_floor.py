"""``--stop-at-floor``: which runs are left out, what rows and reports say, and that they can be done later."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from lottery_core.cli.common import run_experiment
from lottery_core.cli.search_options import SEARCH_DEFAULTS, search_settings
from lottery_core.errors import ConfigError, RunError
from lottery_core.experiments import TicketSource, paths
from lottery_core.experiments.graph import Run, dense
from lottery_core.experiments.progress import Progress
from lottery_core.experiments.protocols import FinishedInProcess
from lottery_core.experiments.queue import RunQueue, floor_stop
from lottery_core.experiments.results import Row, Score, read_csv, read_rows, write_floor
from lottery_core.experiments.runner import Runner
from lottery_core.files import read_json, write_json
from lottery_core.reports import filled, measured, render, report, source_of, states
from lottery_core.reports.answer import answer
from lottery_core.reports.report import tables
from tests.lottery_core.toy import Here, Toy, experiment

SCORES = {"dense": [200.0], "winning": [199.0, 150.0, 90.0, 60.0, 40.0], "random": [190.0, 22.0, 21.0, 20.0, 20.0]}
SETTINGS = {"rounds": 5, "prune_rate": 0.4}


class Scripted(Toy):
    """A toy whose scores are given: kind -> score of each round."""

    def __init__(self, scores: Mapping[str, list[float]]) -> None:
        self.scores = scores

    def score(self, folder: Path) -> Score:
        run = Run.of_folder(folder)[1]
        if run.search:
            return super().score(folder)
        return Score(self.scores[run.kind][max(0, run.round - 1)], 0.5, 10, 20, 0.1, 0.1)


def done(out: Path, stop: int | None, scores: Mapping[str, list[float]] = SCORES, **changes) -> list[Run]:
    executor, shown = Here(out), io.StringIO()
    Runner(experiment(out, **{**SETTINGS, **changes}), Scripted(scores), executor, Progress(shown), stop).run()
    return executor.trained


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    out = tmp_path / "x"
    write_floor(out, Score(20.0, 0.5, 100), "random actions")
    trained = done(out, 2)
    assert [run.round for run in trained if run.kind == "random"] == [1, 2, 3]
    assert [run.round for run in trained if run.kind == "winning"] == [1, 2, 3, 4, 5]
    return out


def test_rows_say_that_levels_were_not_run(stopped: Path) -> None:
    rows = {row.run: row for row in read_rows(stopped) if row.kind != "floor"}
    missing = {run: row for run, row in rows.items() if row.not_run}
    assert set(missing) == {Run(1, "random", 4), Run(1, "random", 5)}
    for run, row in missing.items():
        assert (row.not_run, row.returns, row.ticket) == ("at the floor", 0, "")
        assert math.isnan(row.score)
        assert row.surviving == rows[Run(1, "winning", run.round)].surviving
    again = {row.run: row.not_run for row in read_csv(stopped / paths.RESULTS) if row.not_run}
    assert again == dict.fromkeys(missing, "at the floor")


class Actor(nn.Module):
    """A network whose hidden units can be pruned, by the names of an actor: 393 parameters."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        hidden = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh())
        self.mlp_extractor = nn.ModuleDict({"policy_net": hidden, "value_net": nn.Sequential(nn.Linear(4, 1))})
        self.action_net, self.value_net = nn.Linear(16, 2), nn.Linear(1, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        values = self.value_net(self.mlp_extractor["value_net"](inputs))
        return self.action_net(self.mlp_extractor["policy_net"](inputs)) + 0 * values


def test_levels_not_run_have_the_counts_of_their_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole units meet the schedule's number to within one unit, and a control is as large as its winning ticket."""
    monkeypatch.setattr("tests.lottery_core.toy.mlp", Actor)
    out = tmp_path / "x"
    write_floor(out, Score(20.0, 0.5, 100), "random actions")
    scores = {**SCORES, "random": [20.0] * 5, "one-shot": [180.0, *[20.0] * 4], "snip": [180.0, *[20.0] * 4]}
    chosen = {"granularity": "unit", "kinds": ("random", "one-shot", "snip"), "rounds": 3, "prune_rate": 0.35}
    done(out, 1, scores, **chosen)
    rows = read_rows(out)
    counts = {(row.kind, row.round): row.surviving for row in rows}
    assert {(row.kind, row.round) for row in rows if row.not_run} == {
        *(("random", 2), ("random", 3), ("one-shot", 3), ("snip", 3)),
    }
    winning = [counts["winning", round_] for round_ in (1, 2, 3)]
    asked = experiment(out, **{**SETTINGS, **chosen})
    pool = next(row.pool for row in rows if row.kind == "winning")
    assert winning != asked.schedule(pool, 3)[1:]  # this network shows the difference
    assert all(counts[row.kind, row.round] == winning[row.round - 1] for row in rows if row.not_run)
    criteria = {row.kind: row.criterion for row in rows if row.not_run}
    assert criteria == {row.kind: row.criterion for row in rows if row.round == 1 and row.kind in criteria}
    source = source_of(out)
    found = answer(source.rows, source.question(None)).whole
    assert found is not None
    assert found.shares is None  # not refused for other shares


def test_levels_not_run_of_another_experiments_masks(tmp_path: Path) -> None:
    there, out = tmp_path / "there", tmp_path / "x"
    short = {"settings": {"lr": 0.01, "steps": 4}}
    done(there, None, kinds=("winning",), rounds=3, prune_rate=0.2, **short)
    write_floor(out, Score(20.0, 0.5, 100), "random actions")
    found = TicketSource(there, (r"^0\.weight=none",), "dense").as_json(out)  # stays dense here
    kinds = {"kinds": ("transfer", "transfer-random"), "transfer": found, "rounds": 3}
    scores = {**SCORES, "transfer": [199.0, 20.0, 20.0], "transfer-random": [20.0] * 3}
    done(out, 1, scores, **kinds, **short)
    rows = {(row.kind, row.round): row for row in read_rows(out)}
    left_out = [("transfer", 3), ("transfer-random", 2), ("transfer-random", 3)]
    assert [place for place, row in sorted(rows.items()) if row.not_run] == left_out
    assert rows["transfer-random", 2].surviving == rows["transfer", 2].surviving
    assert {(row.carried, row.unmatched) for row in rows.values() if row.kind.startswith("transfer")} == {
        (322, "dense")
    }
    done(out, None, scores, **kinds, **short)
    after = {(row.kind, row.round): row for row in read_rows(out)}
    for place in left_out:
        counts = [(row.pruned, row.surviving, row.surviving_fraction) for row in (rows[place], after[place])]
        assert counts[0] == counts[1], place


def test_tables_and_curves_take_them_for_the_floor(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report([stopped])
    out = capsys.readouterr().out
    table = [line.split() for line in out.splitlines() if line.strip().startswith(("4 ", "5 "))]
    assert [line[4] for line in table] == ["20.00†", "20.00†"]
    assert "† not run: at the floor (2 levels of 1 chain, taken as the floor)" in out
    assert (stopped / paths.CURVE).exists()
    rows = filled(read_rows(stopped), 0.05)
    assert {row.score for row in rows if row.not_run} == {20 + 0.05 * 180}
    assert len(measured(rows)) == len(rows) - 2


def test_both_ends_are_answered(stopped: Path) -> None:
    source = source_of(stopped)
    found = answer(source.rows, source.question(None))
    (line,) = [line for line in found.warnings if "not run" in line]
    assert "not run, at the floor: 2 levels, between 20 (the floor) and 5% of the distance to dense" in line
    assert "both ends give the same conclusions" in line
    assert found.whole is not None
    assert found.whole.difference.estimate > 0


def test_ends_that_disagree_are_said(tmp_path: Path) -> None:
    """Two kinds at the floor: which one is ahead depends on what the missing levels are taken for."""
    out = tmp_path / "x"
    write_floor(out, Score(20.0, 0.5, 100), "random actions")
    scores = {**SCORES, "random": [190.0, 22.0, 21.0, 20.0, 20.0], "winning": [183.0, 23.0, 27.0, 26.0, 26.0]}
    done(out, None, scores)
    for round_ in (4, 5):  # as if random had ended at round 3
        for name in (paths.MARKER, paths.STARTED):
            (out / f"seed-1/random/round-{round_:02d}" / name).unlink(missing_ok=True)
    source = source_of(out)
    assert not any("DISAGREE" in line for line in answer(source.rows, source.question(None)).warnings)
    stopped = Runner(experiment(out, **SETTINGS), Scripted(scores), Here(out), Progress(io.StringIO()), 2)
    stopped.run()
    source = source_of(out)
    (line,) = [line for line in answer(source.rows, source.question(None)).warnings if "not run" in line]
    assert "the two ends DISAGREE: the whole effect" in line


def test_a_later_command_trains_them(stopped: Path) -> None:
    assert done(stopped, 2) == []  # the same command leaves the same out
    assert done(stopped, None) == [Run(1, "random", 4), Run(1, "random", 5)]
    rows = read_rows(stopped)
    assert not any(row.not_run for row in rows)
    assert "not_run" not in (stopped / paths.RESULTS).read_text().partition("\n")[0]
    assert {row.score for row in rows if row.kind == "random"} == set(SCORES["random"])


def test_the_state_of_levels_that_were_not_run(stopped: Path) -> None:
    found = states(experiment(stopped, **SETTINGS), lambda name: None)
    assert {state.run for state in found if state.word == "not run"} == {Run(1, "random", 4), Run(1, "random", 5)}
    text = render("x", found)
    assert "9 done, 2 not run, of 11 runs" in text.replace("x: ", "")
    assert "left" not in text


def test_what_was_begun_and_is_left_out_now_is_neither_stopped_nor_failed(stopped: Path) -> None:
    asked = experiment(stopped, **SETTINGS)
    write_json(stopped / Run(1, "random", 4).folder / paths.STARTED, {})
    write_json(stopped / Run(1, "random", 5).folder / paths.FAILED, {"reason": "out of memory"})
    assert render("x", states(asked, lambda name: None)) == "x: 9 done, 2 not run, of 11 runs"


def test_winning_rounds_go_on_while_another_kind_needs_them(tmp_path: Path) -> None:
    write_floor(tmp_path, Score(20.0, 0.5, 100), "random actions")
    scores = {**SCORES, "winning": SCORES["random"], "random": SCORES["winning"]}
    trained = done(tmp_path, 2, scores)
    # Round 4 is pruned from the winning round 3; the last winning round gives nobody a ticket.
    assert [run.round for run in trained if run.kind == "winning"] == [1, 2, 3, 4]
    assert [run.round for run in trained if run.kind == "random"] == [1, 2, 3, 4, 5]


def test_a_chain_ends_also_between_its_scored_rounds(tmp_path: Path) -> None:
    """Rounds that are not scored are trained as the others are where no searches are apart."""
    write_floor(tmp_path, Score(20.0, 0.5, 100), "random actions")
    low = {"dense": [200.0], "winning": [21.0] * 10, "random": [21.0] * 10}
    trained = done(tmp_path, 2, low, rounds=10, score_rounds=(2, 4, 6, 8, 10))
    assert len(trained) == 7
    assert trained[0] == dense(1)
    assert [run.round for run in trained if run.kind == "winning"] == [1, 2, 3, 4]
    assert [run.round for run in trained if run.kind == "random"] == [2, 4]


def test_what_is_left_out_is_neither_waiting_nor_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_floor(tmp_path, Score(20.0, 0.5, 100), "random actions")
    low = {"dense": [200.0], "winning": [21.0] * 10, "random": [21.0] * 10}
    settings = {"rounds": 10, "score_rounds": (2, 4, 6, 8, 10), "search": "0.5"}
    trained = done(tmp_path, 2, low, **settings)
    asked = experiment(tmp_path, **{**SETTINGS, **settings})
    left = len(asked.plan()) - len(trained)
    text = render("x", states(asked, lambda name: None))
    assert text.splitlines()[0] == f"x: {len(trained)} done, {left} not run, of {len(asked.plan())} runs"
    assert "rerun" not in text
    for stop, line in ((2, f"0 to do, {left} not run: at the floor"), (None, f"{left} to do")):
        run_experiment(asked, Scripted(low), Here(tmp_path), dry_run=True, stop_at_floor=stop)
        assert line in capsys.readouterr().out
    report([tmp_path])
    searched = sum(run.search for run in trained)
    assert f"cost: {len(trained) - searched + searched / 2:.1f} trainings" in capsys.readouterr().out


def test_a_floor_is_that_of_the_folders_first_seed(tmp_path: Path) -> None:
    """The processes know the whole folder: those of another command's first seed measure nothing."""
    seed_1 = experiment(tmp_path, **{**SETTINGS, "rounds": 0})
    Runner(seed_1, Scripted(SCORES), Here(tmp_path), Progress(io.StringIO())).run()
    with pytest.raises(ConfigError, match="needs the measured floor"):
        Runner(
            experiment(tmp_path, **SETTINGS, seeds=(2,)), Measuring(SCORES), Here(tmp_path), Progress(io.StringIO()), 2
        ).run()


def test_scores_of_other_settings_say_nothing_of_the_floor(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After rescoring it is not known that a kind had ended by the new scores, too."""
    record = stopped / "seed-1/random/round-04" / paths.NOT_RUN
    write_json(record, {**read_json(record), "scoring": "--beam 5"})
    rows = read_rows(stopped, experiment(stopped, **SETTINGS))
    assert [row.round for row in rows if row.not_run] == [5]
    found = states(experiment(stopped, **SETTINGS), lambda name: None)
    assert [(state.run.round, state.word) for state in found if state.row is None] == [(4, "waiting"), (5, "not run")]
    report([stopped])
    assert "came from other settings" not in capsys.readouterr().out


def test_levels_are_counted_once_whatever_the_noises_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_floor(tmp_path, Score(20.0, 0.5, 100), "random actions")
    done(tmp_path, 2, repeat_noise=2)
    report([tmp_path])
    out = capsys.readouterr().out
    assert "not run, at the floor: 2 levels, between 20 (the floor) and" in " ".join(out.split())
    assert "† not run: at the floor (2 levels of 1 chain" in out


def test_further_scores_of_levels_that_were_not_run() -> None:
    """They are taken for that score's floor; if it has none, no mean is taken over the other seeds in silence."""

    def row(seed: int, kind: str, round_: int, score: float, more: dict, not_run: str = "") -> Row:
        left = {0: 100, 1: 60, 2: 36}[round_]
        counts = {"pool": 100, "pruned": 100 - left, "surviving": left}
        shares = {"pruned_fraction": 1 - left / 100, "surviving_fraction": left / 100}
        took = {"steps": 20, "wall_seconds": 1.0, "cpu_seconds": 1.0, "collapsed": (), "ticket": "", "versions": ""}
        named = {"experiment": "x", "seed": seed, "kind": kind, "round": round_, "score": score, "score_se": 0.1}
        return Row(**named, returns=1, **counts, **shares, **took, more=more, not_run=not_run)

    rows = [row(seed, "dense", 0, 30.0, {"bleu": 60.0}) for seed in (1, 2)]
    rows += [row(seed, "winning", 1, 25.0, {"bleu": 50.0}) for seed in (1, 2)]
    rows += [row(1, "winning", 2, 22.0, {"bleu": 40.0}), row(2, "winning", 2, math.nan, {}, "at the floor")]
    for more, cell, line in (
        ({"bleu": 2.0}, "21.00 ± 26.87†", "† not run: at the floor (1 level of 1 chain"),
        ({}, "40.00 (n=1)", "left out, since these scores have no floor: 1 level not run"),
    ):
        _, further = tables([*rows, row(-1, "floor", 0, 2.0, more)], None)
        assert cell in further
        assert line in further


def test_a_dry_run_leaves_out_what_the_command_does(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not what an earlier command has left out, with another number of levels or without a kind that needs them."""
    again = experiment(stopped, **SETTINGS)
    for stop, line in ((2, "9 done, 0 to do, 2 not run: at the floor"), (4, "9 done, 2 to do")):
        run_experiment(again, Scripted(SCORES), Here(stopped), dry_run=True, stop_at_floor=stop)
        assert line in capsys.readouterr().out
    assert [run.round for run in done(stopped, 4)] == [4, 5]


def test_runs_that_a_command_trains_are_not_left_out(stopped: Path) -> None:
    class Killed(Here):
        def start(self, run: Run, folder: Path, lock: object) -> FinishedInProcess:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Runner(experiment(stopped, **SETTINGS), Scripted(SCORES), Killed(stopped), Progress(io.StringIO())).run()
    assert "9 done, 1 stopped, 1 waiting" in render("x", states(experiment(stopped, **SETTINGS), lambda _: None))


def test_without_a_floor_nothing_is_begun(tmp_path: Path) -> None:
    out = tmp_path / "x"
    for dry_run in (True, False):
        with pytest.raises(ConfigError, match="needs the measured floor"):
            run_experiment(experiment(out, **SETTINGS), Scripted(SCORES), Here(out), dry_run=dry_run, stop_at_floor=2)
        assert not out.exists()


def test_a_further_score_has_its_own_direction(stopped: Path) -> None:
    rows = [
        replace(row, score_label="BLEU", more={} if row.not_run else {"ter": 100.0 - row.score / 4})
        for row in read_rows(stopped)
    ]
    _, further = tables(rows, replace(experiment(stopped, **SETTINGS), framework="fairseq"))
    assert "not run: at the floor (2 levels of 1 chain" in further


def test_search_runs_end_with_the_last_kind(tmp_path: Path) -> None:
    write_floor(tmp_path, Score(20.0, 0.5, 100), "random actions")
    low = [20.0] * 5
    trained = done(tmp_path, 1, {**SCORES, "winning": [150.0, *low], "random": low}, search="0.5")
    assert [run.round for run in trained if run.search] == [1, 2]  # of four: each begins before its round is scored
    assert dense(1) in trained


def test_the_floor_must_be_measured(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--stop-at-floor needs the measured floor, and .*floor\.json is missing"):
        done(tmp_path, 2)


def test_a_floor_of_another_score_says_nothing(stopped: Path) -> None:
    """After rescoring by something that has no floor, such as a command of the user."""
    dense_ = dense(1)
    row = next(row for row in read_rows(stopped) if row.run == dense_)
    chosen = experiment(stopped, **SETTINGS, framework="fairseq", scoring={"score": ["./metric.sh"]})
    with pytest.raises(ConfigError, match=r"needs the measured floor, and .*floor\.json is of another score: "):
        floor_stop(chosen, Toy(), {dense_: row}, 2)


def test_a_failed_dense_network_ends_no_kind(tmp_path: Path) -> None:
    """Its score lies below the floor: that the tickets' scores lie above both says nothing against them."""
    write_floor(tmp_path, Score(22.0, 0.5, 100), "random actions")
    scores = {"dense": [9.4], "winning": [198.0, 190, 170, 160, 150], "random": [9.0, 9.0, 9.0, 9.0, 9.0]}
    trained = done(tmp_path, 2, scores)
    for kind in ("winning", "random"):
        assert [run.round for run in trained if run.kind == kind] == [1, 2, 3, 4, 5]


class Losses(Scripted):
    """A framework whose scores are better the lower they are."""

    name = "fairseq"


def test_the_direction_is_that_of_the_score(tmp_path: Path) -> None:
    write_floor(tmp_path, Score(9.0, 0.1, 100), "the unigram model")
    scores = {"dense": [4.0], "winning": [4.1, 4.2, 4.5, 5.0, 6.0], "random": [5.0, 8.9, 9.1, 9.1, 9.1]}
    shown = io.StringIO()
    asked = experiment(tmp_path, **SETTINGS, framework="fairseq", score_label="loss")
    executor = Here(tmp_path)
    Runner(asked, Losses(scores), executor, Progress(shown), 2).run()
    assert [run.round for run in executor.trained if run.kind == "winning"] == [1, 2, 3, 4, 5]
    assert [run.round for run in executor.trained if run.kind == "random"] == [1, 2, 3]


def test_levels_that_an_earlier_command_left_out_beside_a_failed_dense_network_are_unknown(stopped: Path) -> None:
    rows = [replace(row, score=9.4) if row.kind == "dense" else row for row in read_rows(stopped)]
    for share in (0.0, 0.05):
        assert not any(row.not_run for row in filled(rows, share))
    assert any(row.not_run for row in filled(rows, 0.05, sign=-1.0))  # as if lower were better


@pytest.mark.parametrize("low", [False, True])
def test_random_best_is_trained_at_every_level(low: bool, tmp_path: Path) -> None:
    write_floor(tmp_path, Score(22.0, 0.5, 100), "random actions")
    scores = {**SCORES, "random-best": [22.0] * 5 if low else [150.0, 120, 100, 90, 80]}
    trained = done(tmp_path, 2, scores, kinds=("winning", "random-best"))
    assert {run.round for run in trained if run.kind == "random-best"} == {1, 2, 3, 4, 5}


def test_runs_that_never_start_are_no_success(tmp_path: Path) -> None:
    """Whatever makes them wait."""
    runs = [Run(1, "winning", 1), Run(1, "winning", 2)]
    queue = RunQueue(tmp_path, runs, [], Here(tmp_path), Progress(io.StringIO()), lambda run: [dense(1)])
    with pytest.raises(RunError, match="nothing failed, but 2 of the runs never started, first seed 1 winning round 1"):
        queue.work(lambda run: FinishedInProcess(), lambda run: None)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"stop_at_floor": 0}, "--stop-at-floor must be at least 1 level, not 0"),
        ({"stop_at_floor": -1}, "--stop-at-floor must be at least 1 level, not -1"),
        ({"score_rounds": [0]}, "--score-rounds must be from 1 on, not 0: the dense network is always scored"),
        ({"score_rounds": [-2, 3]}, "--score-rounds must be from 1 on, not -2"),
    ],
)
def test_numbers_below_1_are_refused_as_they_are_read(given: dict, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        search_settings({**SEARCH_DEFAULTS, "rounds": 20, "prune_rate": 0.2, **given}, rounds_given=False)


class Unmeasured(Scripted):
    """A toy whose first dense run was to measure the floor, and could not."""

    floor = True


def test_a_floor_that_could_not_be_measured_is_told(tmp_path: Path) -> None:
    shown = io.StringIO()
    executor = Here(tmp_path)
    Runner(experiment(tmp_path, **SETTINGS), Unmeasured(SCORES), executor, Progress(shown), 2).run()
    assert len(executor.trained) == 11
    log = tmp_path / dense(1).folder / paths.LOG
    line = f"WARNING: the floor was not measured (see {log}), so --stop-at-floor leaves no run out\n"
    assert shown.getvalue().count(line) == 1


class Measuring(Scripted):
    """A toy whose first dense run measures the floor, as the processes of sb3-lottery do."""

    floor = True

    def score(self, folder: Path) -> Score:
        if Run.of_folder(folder)[1] == dense(1):
            write_floor(folder.parents[1], Score(20.0, 0.5, 100), "random actions")
        return super().score(folder)


def test_the_first_dense_run_may_measure_the_floor(tmp_path: Path) -> None:
    executor = Here(tmp_path)
    Runner(experiment(tmp_path, **SETTINGS), Measuring(SCORES), executor, Progress(io.StringIO()), 2).run()
    assert [run.round for run in executor.trained if run.kind == "random"] == [1, 2, 3]
    (tmp_path / paths.FLOOR).unlink()
    for framework, command in (("sb3", "sb3-lottery floor"), ("fairseq", "fairseq-lottery floor")):
        with pytest.raises(ConfigError, match=rf"is missing: .* measure it with {command} {tmp_path}"):
            floor_stop(experiment(tmp_path / framework, framework=framework), Toy(), {}, 2)
    with pytest.raises(ConfigError, match="needs the measured floor"):  # it will not be measured again
        Runner(experiment(tmp_path, **SETTINGS), Measuring(SCORES), executor, Progress(io.StringIO()), 2).run()
