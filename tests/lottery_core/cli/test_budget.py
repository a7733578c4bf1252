"""``--budget``: what is chosen from a dense run, and that seeds follow from the spread alone."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from lottery_core.cli.budget import (
    CPU,
    RUNS,
    WALL,
    Budget,
    check_ways,
    parse_budget,
    plan_within,
    run_within,
    seeds_by_spread,
    sentence,
    ways,
)
from lottery_core.cli.common import run_experiment
from lottery_core.cli.search_options import chosen_of
from lottery_core.errors import ConfigError, PruneError
from lottery_core.experiments import TicketSource, paths
from lottery_core.experiments.configuration import Experiment
from lottery_core.experiments.graph import Run, dense
from lottery_core.experiments.progress import Progress
from lottery_core.experiments.results import Row, Score, read_rows, write_floor
from lottery_core.experiments.runner import Runner
from lottery_core.pruning import Look
from lottery_core.reports.saved import costs
from tests.lottery_core.toy import Here, Toy, experiment

# A mask that comes to rest at a quarter of the training.
LOOKS = [Look(check / 20, 0.1 if check < 3 else 0.005, check > 1) for check in range(1, 21)]


def first(wall: float = 100.0, cpu: float = 50.0) -> Row:
    counts = {"pool": 1000, "pruned": 0, "surviving": 1000, "pruned_fraction": 0.0, "surviving_fraction": 1.0}
    took = {"steps": 20, "wall_seconds": wall, "cpu_seconds": cpu, "collapsed": (), "ticket": "", "versions": ""}
    return Row(
        experiment="x", seed=1, kind="dense", round=0, score=1.0, score_se=0.1, returns=1, **counts, **took
    )  # fmt: skip


def paper(out: Path, **changes) -> Experiment:
    return experiment(out, **{"rounds": 20, "prune_rate": 0.2, **changes})


@pytest.mark.parametrize(
    ("word", "budget"),
    [
        ("6h", Budget(WALL, 6 * 3600)),
        ("90min", Budget(WALL, 5400)),
        ("1.5d", Budget(WALL, 1.5 * 86400)),
        ("12cpuh", Budget(CPU, 12 * 3600)),
        ("40runs", Budget(RUNS, 40)),
        ("40", Budget(RUNS, 40)),
    ],
)
def test_words(word: str, budget: Budget) -> None:
    assert parse_budget(word) == budget


@pytest.mark.parametrize("word", ["", "soon", "0h", "6 weeks", "-3h", "40cpu", "40cpuruns", "h"])
def test_bad_words_are_one_line(word: str) -> None:
    with pytest.raises(ConfigError, match=r"not understood; accepted: 6h, 90min, 2d, 12cpuh, or 40runs"):
        parse_budget(word)


def planned(out: Path, budget: str, chosen: tuple[str, ...] = (), jobs: int = 1, looks=LOOKS, **changes):
    options = ways(paper(out, **changes), chosen, looks)
    return plan_within(parse_budget(budget), first(), options, range(1, 100), jobs, most=3)


def test_a_large_budget_changes_nothing(tmp_path: Path) -> None:
    plan = planned(tmp_path, "200runs")
    assert (plan.experiment.score_rounds, plan.experiment.search, plan.experiment.seeds) == ((), "full", (1, 2, 3))
    assert plan.cost.total == 3 * 41


def test_fewer_levels_before_shorter_searches(tmp_path: Path) -> None:
    # Three seeds of 18 winning rounds and 5 random ones are 72 trainings; 3 x 41 are too many.
    plan = planned(tmp_path, "80runs")
    assert plan.experiment.score_rounds == (3, 7, 10, 13, 18)
    assert plan.experiment.search == "full"
    assert plan.cost.total == 3 * (1 + 18 + 5)
    plan = planned(tmp_path, "50runs")
    assert plan.experiment.search == "settled:0.02"
    assert plan.share == 0.25
    assert plan.cost.total == pytest.approx(3 * (1 + 17 * 0.25 + 2 * 5))
    assert "--search settled:0.02, of which the dense run expects 25% of a training" in sentence(
        parse_budget("50runs"), first(), plan, 1
    )


def test_a_small_budget_has_fewer_seeds_and_a_smaller_one_is_refused(tmp_path: Path) -> None:
    assert planned(tmp_path, "20runs").experiment.seeds == (1,)
    with pytest.raises(ConfigError, match=r"--budget 10 trainings is too small: the dense run alone took 2 min"):
        planned(tmp_path, "10runs")


def test_wall_clock_time_counts_jobs_and_the_longest_chain(tmp_path: Path) -> None:
    one, two = (planned(tmp_path, "2500s", jobs=jobs).experiment for jobs in (1, 2))
    assert len(one.seeds) < len(two.seeds)
    many = planned(tmp_path, "2500s", jobs=1000)
    assert many.cost.critical * 100 <= 2500  # a chain of 20 rounds takes 2100 s, however many jobs there are
    assert many.experiment.score_rounds == ()
    assert len(planned(tmp_path, "40cpuh").experiment.seeds) == 3


def test_what_the_user_chose_stays(tmp_path: Path) -> None:
    plan = planned(tmp_path, "60runs", ("levels",))
    assert plan.experiment.score_rounds == ()
    plan = planned(tmp_path, "80runs", ("search",), search="0.5")
    assert plan.experiment.search == "0.5"
    assert plan.share == 0.5
    assert chosen_of({"rounds": 8, "out": "x"}) == {"levels"}
    assert chosen_of({"search": "full", "seeds": [1], "score_at": ["50%"]}) == {"levels", "search", "seeds"}


def test_a_mask_that_never_settles_saves_nothing(tmp_path: Path) -> None:
    plan = planned(tmp_path, "80runs", looks=[Look(check / 20, 0.1, True) for check in range(1, 21)])
    assert plan.experiment.search == "full"


class Scripted(Toy):
    """Scores with a given difference and spread between seeds."""

    def __init__(self, difference: float, spread: float) -> None:
        self.difference, self.spread = difference, spread

    def score(self, folder: Path) -> Score:
        run = Run.of_folder(folder)[1]
        noise = self.spread * (run.seed % 3 - 1)
        values = {
            "dense": 100.0,
            "winning": 90.0 + self.difference + noise,
            "random": 90.0,
            "one-shot": 90.0,
            "transfer": 90.0,
        }
        return Score(values[run.kind], 0.5, 10, 20, 10.0, 5.0)


def done(out: Path, word: str, framework: Toy, chosen: tuple[str, ...] = ("levels", "search"), **changes):
    said: list[str] = []
    trained: list[Run] = []

    def run(some: Experiment) -> object:
        executor = Here(out)
        result = Runner(some, framework, executor, Progress(io.StringIO())).run()
        trained.extend(executor.trained)
        return result

    asked = experiment(out, **{"rounds": 2, "kinds": ("winning", "random"), **changes})
    return run_within(word, asked, chosen, 1, run, said.append), trained, said


def test_the_spread_of_the_pilot_fixes_the_seeds(tmp_path: Path) -> None:
    write_floor(tmp_path, Score(0.0, 0.5, 100), "random actions")
    result, trained, said = done(tmp_path, "1000runs", Scripted(5.0, 5.0))
    assert trained[0] == dense(1)
    pilot = [row for row in read_rows(tmp_path) if row.seed in (1, 2, 3, -1)]
    wanted = seeds_by_spread(result, pilot)
    assert wanted is not None
    assert len(result.seeds) == wanted > 3
    assert f"the spread of the whole effect asks for {wanted} seeds, {wanted} are trained" in said[-1]
    assert said[-1].startswith("seeds: the spread of the whole effect asks for ")
    kept = json.loads((tmp_path / paths.BUDGET).read_text())
    assert kept["fixed"] is True
    # The same command has nothing left to do, whatever came out of the seeds.
    again, more, _ = done(tmp_path, "1000runs", Scripted(5.0, 5.0))
    assert (again.seeds, more) == (result.seeds, [])


def test_the_difference_plays_no_part(tmp_path: Path) -> None:
    seeds = []
    for name, difference in (("no", 0.0), ("large", 60.0)):
        write_floor(tmp_path / name, Score(0.0, 0.5, 100), "random actions")
        seeds.append(done(tmp_path / name, "1000runs", Scripted(difference, 4.0))[0].seeds)
    assert seeds[0] == seeds[1]


def test_the_budget_limits_the_seeds_that_the_spread_asks_for(tmp_path: Path) -> None:
    write_floor(tmp_path, Score(0.0, 0.5, 100), "random actions")
    result, trained, said = done(tmp_path, "21runs", Scripted(5.0, 8.0))
    assert len(result.seeds) == 4
    assert len(trained) <= 21
    assert "4 are trained" in said[-1]


def test_chosen_seeds_are_trained_as_far_as_they_fit(tmp_path: Path) -> None:
    for word, count, end in (("1000runs", 6, "6 are trained"), ("22runs", 4, "4 are trained, as many as fit")):
        out = tmp_path / word
        write_floor(out, Score(0.0, 0.5, 100), "random actions")
        chosen = ("levels", "search", "seeds")
        result, _, said = done(out, word, Scripted(5.0, 0.1), chosen, seeds=(1, 2, 3, 4, 5, 6))
        assert len(result.seeds) == count
        assert said[-1] == f"seeds: 6 were chosen, {end}"


def test_levels_that_take_too_many_rounds_are_no_way(tmp_path: Path) -> None:
    first = experiment(tmp_path, rounds=20, prune_rate=0.003)
    assert [some.score_rounds for some, _ in ways(first, (), [])][-1] == (231, 536, 766, 997)


def test_only_levels_and_seeds_that_have_tickets_are_chosen(tmp_path: Path) -> None:
    """The other experiment has 8 rounds of 10%, of which half survives in the 7th, and two seeds."""
    there, short = tmp_path / "there", {"prune_rate": 0.1, "settings": {"lr": 0.01, "steps": 2, "rewind": 1}}
    source = experiment(there, kinds=("winning",), seeds=(1, 2), rounds=8, search="0.5", score_rounds=(8,), **short)
    Runner(source, Toy(), Here(there), Progress(io.StringIO())).run()
    out = tmp_path / "x"
    write_floor(out, Score(0.0, 0.5, 100), "random actions")
    options = {"kinds": ("transfer",), "transfer": TicketSource(there).as_json(out), "rounds": 8, **short}
    result, trained, _ = done(out, "5runs", Scripted(5.0, 5.0), (), **options)
    assert (result.score_rounds, result.seeds) == ((7,), (1, 2))
    assert len(trained) == 4
    result, trained, _ = done(out, "100runs", Scripted(5.0, 5.0), (), **options)
    assert (result.seeds, trained) == ((1, 2), [])
    with pytest.raises(ConfigError, match="seed 3 transfer round 1 needs"):
        done(tmp_path / "y", "100runs", Scripted(5.0, 5.0), ("levels",), **options, seeds=(3,))


def test_levels_that_a_budget_chooses_are_checked_in_place_of_the_rounds(tmp_path: Path) -> None:
    """20 rounds of 20% leave 1%, which whole units may not reach, and levels end at 2%."""

    def check(some: Experiment, last: int = 18) -> list[str]:
        if some.last_round > last:
            raise PruneError(f"cannot leave round {some.last_round}")
        return [f"round {some.last_round}"]

    for word, chosen in ((None, ()), ("50runs", ("levels",))):
        with pytest.raises(PruneError, match="round 20"):
            check_ways(word, paper(tmp_path), chosen, check)
    assert check_ways("50runs", paper(tmp_path), (), check) == ["round 18"]
    assert check_ways("50runs", paper(tmp_path), (), partial(check, last=8)) == ["round 7"]
    with pytest.raises(PruneError, match="round 20"):
        check_ways("50runs", paper(tmp_path), (), partial(check, last=2))
    assert paper(tmp_path, rounds=30, score_rounds=(3, 5)).last_round == 5
    plan = plan_within(parse_budget("200runs"), first(), ways(paper(tmp_path), (), [], check), [1], 1, 1, check)
    assert plan.experiment.score_rounds == (3, 7, 10, 13, 18)


def test_a_copied_run_costs_nothing(tmp_path: Path) -> None:
    own = experiment(tmp_path, rounds=1, kinds=("winning", "one-shot"), seeds=(1,), score_rounds=(1,))
    assert [cost.total for cost in costs(own, [])] == [2.0, 2.0]


@pytest.mark.parametrize(
    ("chosen", "changes", "line"),
    [
        (
            (),
            {"kinds": ("winning", "random", "one-shot")},
            "planned without the kinds one-shot: give another",
        ),
        (("seeds",), {"seeds": (1, 2, 3, 4, 5)}, "was planned without other seeds: give another amount"),
        ((), {"repeat_noise": 3}, "was planned without further trainings of each ticket: give another amount"),
        (
            ("levels",),
            {"rounds": 4},
            "for the scored rounds 1 to 2 and --search full, and other levels would be ignored",
        ),
        (
            ("search",),
            {"search": "0.5"},
            "and another search would be ignored: leave these options out, or leave --budget out",
        ),
    ],
)
def test_what_a_budget_was_not_planned_for_is_refused(
    chosen: tuple[str, ...], changes: dict, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kinds would be trained beyond it, and other choices ignored, without a word."""
    write_floor(tmp_path, Score(0.0, 0.5, 100), "random actions")
    done(tmp_path, "15runs", Scripted(5.0, 5.0))
    before = (tmp_path / paths.BUDGET).read_text()
    with pytest.raises(ConfigError, match=line):
        done(tmp_path, "15runs", Scripted(5.0, 5.0), chosen, **changes)
    asked = experiment(tmp_path, **{"rounds": 2, **changes})
    with pytest.raises(ConfigError, match=line):
        run_experiment(asked, Toy(), Here(tmp_path), dry_run=True, budget="15runs", chosen=chosen)
    assert (tmp_path / paths.BUDGET).read_text() == before
    without = json.loads(before)
    del without["asked"]  # as earlier versions wrote it
    (tmp_path / paths.BUDGET).write_text(json.dumps(without))
    assert done(tmp_path, "15runs", Scripted(5.0, 5.0))[1] == []


def test_another_budget_is_planned_with_new_kinds(tmp_path: Path) -> None:
    write_floor(tmp_path, Score(0.0, 0.5, 100), "random actions")
    done(tmp_path, "15runs", Scripted(5.0, 5.0))
    kinds = ("winning", "random", "one-shot")
    _, trained, _ = done(tmp_path, "21runs", Scripted(5.0, 5.0), kinds=kinds)
    assert {run.kind for run in trained} >= {"one-shot"}
    rows = [row for row in read_rows(tmp_path) if row.kind != "floor" and not row.same_as]
    assert len(rows) <= 21


def test_another_amount_may_have_other_seeds_where_levels_are_in_use(tmp_path: Path) -> None:
    write_floor(tmp_path, Score(0.0, 0.5, 100), "random actions")
    levels = {"rounds": 2, "score_rounds": (1, 2)}
    done(tmp_path, "6runs", Scripted(5.0, 5.0), ("levels", "seeds"), **levels, seeds=(1, 2))
    result, trained, _ = done(tmp_path, "12runs", Scripted(5.0, 5.0), ("levels", "seeds"), **levels, seeds=(4, 5))
    assert {run.seed for run in trained} == set(result.seeds) == {4, 5}


def test_a_search_that_rises_needs_no_tickets_before_the_budget_is_planned(tmp_path: Path) -> None:
    write_floor(tmp_path, Score(0.0, 0.5, 100), "random actions")
    result, trained, _ = done(tmp_path, "30runs", Scripted(5.0, 5.0), rounds=4, score_rounds=(2, 4), search="0.2-0.6")
    assert trained[0] == dense(1)
    assert (result.search, result.score_rounds) == ("0.2-0.6", (2, 4))


def test_a_folder_that_has_tickets_keeps_its_levels(tmp_path: Path) -> None:
    """Also if the budget is the first one there: nothing is planned that the folder would refuse."""
    write_floor(tmp_path, Score(0.0, 0.5, 100), "random actions")
    asked = experiment(tmp_path, rounds=2, kinds=("winning", "random"))
    Runner(asked, Scripted(5.0, 5.0), Here(tmp_path), Progress(io.StringIO())).run()
    result, _, _ = done(tmp_path, "10runs", Scripted(5.0, 5.0), (), rounds=20)
    assert (result.rounds, result.score_rounds, result.seeds) == (2, (), (1, 2))


@pytest.mark.parametrize("word", ["6000s", "600s"])
def test_the_pilot_is_kept_when_there_are_fewer_jobs(word: str, tmp_path: Path) -> None:
    """Its seeds have been trained: with less room for parallel runs there are no more of them, but no fewer."""
    write_floor(tmp_path, Score(0.0, 0.5, 100), "random actions")
    done(tmp_path, "15runs", Slow(5.0, 50.0))
    kept = json.loads((tmp_path / paths.BUDGET).read_text())
    assert kept["seeds"] == [1, 2, 3]
    kept |= {"budget": word, "fixed": False}
    (tmp_path / paths.BUDGET).write_text(json.dumps(kept))
    result, _, said = done(tmp_path, word, Slow(5.0, 50.0))
    assert result.seeds == (1, 2, 3)
    assert "3 are trained" in said[-1]


class Slow(Scripted):
    """One whose trainings take long, as far as their rows say."""

    def score(self, folder: Path) -> Score:
        return replace(super().score(folder), wall_seconds=1000.0)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"fixed": None}, "'fixed' must be true or false, not null"),
        ({"share": "x"}, "'share' must be a number"),
        ({"asked": [1]}, "'asked' must be an object"),
        ({"asked": {"repeat_noise": [3]}}, "in 'asked', 'repeat_noise' must be a whole number or null"),
        ({"seeds": "1"}, "'seeds' must be a list"),
        ({"rounds": 2.5}, "'rounds' must be a whole number"),
    ],
)
def test_a_damaged_choice_is_one_line(change: dict, line: str, tmp_path: Path) -> None:
    write_floor(tmp_path, Score(0.0, 0.5, 100), "random actions")
    done(tmp_path, "15runs", Scripted(5.0, 5.0))
    kept = json.loads((tmp_path / paths.BUDGET).read_text())
    (tmp_path / paths.BUDGET).write_text(json.dumps(kept | change))
    with pytest.raises(ConfigError, match=f"{paths.BUDGET} is damaged: {line}"):
        done(tmp_path, "15runs", Scripted(5.0, 5.0))
    (tmp_path / paths.BUDGET).write_text(json.dumps({key: kept[key] for key in kept if key != "fixed"}))
    with pytest.raises(ConfigError, match="is damaged: the key 'fixed' is missing"):
        done(tmp_path, "15runs", Scripted(5.0, 5.0))


def test_a_plan_that_is_only_shown_says_what_the_budget_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = experiment(tmp_path, rounds=2)
    run_experiment(asked, Toy(), Here(tmp_path), dry_run=True, budget="15runs")
    line = "--budget 15runs: the dense run of seed 1 is trained first, then levels, search and seeds are chosen"
    assert line in capsys.readouterr().out
    write_floor(tmp_path, Score(0.0, 0.5, 100), "random actions")
    result, _, _ = done(tmp_path, "15runs", Scripted(5.0, 5.0))
    run_experiment(asked, Toy(), Here(tmp_path), dry_run=True, budget="15runs")
    out = capsys.readouterr().out
    assert f"chose the scored rounds 1 to 2 and --search full with {len(result.seeds)} seeds, as above" in out
    assert f"seed {result.seeds[-1]} winning round 2 (done)" in out
