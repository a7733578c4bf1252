"""Levels apart from rounds: search runs are the chain, and scored runs hang off it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from lottery_core import Ticket, Weights, prune
from lottery_core.cli.search_options import SEARCH_DEFAULTS, search_lines, search_settings
from lottery_core.errors import ConfigError, PruneError
from lottery_core.experiments import paths
from lottery_core.experiments.configuration import Experiment
from lottery_core.experiments.graph.plan import Run, dense, needs, plan_runs
from lottery_core.experiments.progress import Progress
from lottery_core.experiments.results import read_csv, read_marker, read_rows, read_searches
from lottery_core.experiments.runner import Runner
from lottery_core.files import read_json
from tests.lottery_core.toy import Here, Toy, experiment

CHEAP = {"rounds": 4, "search": "0.5", "score_rounds": (2, 4), "kinds": ("winning", "random", "one-shot")}


def here(out: Path, **changes) -> tuple[list, list[Run]]:
    executor = Here(out)
    return Runner(experiment(out, **changes), Toy(), executor, Progress(io.StringIO())).run(), executor.trained


def values(**changes):
    return {**SEARCH_DEFAULTS, "rounds": 20, "prune_rate": 0.2, **changes}


def test_without_the_options_the_plan_is_as_it_was() -> None:
    plan = plan_runs(["winning", "random", "one-shot"], [1, 2], 3)
    assert not any(run.search for run in plan)
    assert plan == plan_runs(["winning", "random", "one-shot"], [1, 2], 3, scored=(1, 2, 3))


def test_search_runs_are_a_chain_from_which_scored_runs_hang() -> None:
    plan = plan_runs(["winning", "random", "one-shot"], [7], 5, scored=(2, 4), searches=True)
    chain = [Run(7, "winning", round_, search=True) for round_ in (1, 2, 3)]
    scored = [Run(7, kind, round_) for round_ in (2, 4) for kind in ("winning", "one-shot", "random")]
    assert sorted(plan, key=str) == sorted([dense(7), *chain, *scored], key=str)  # nothing after the last level
    for index, run in enumerate(plan):
        assert all(other in plan[:index] for other in needs(run, True))
        assert not any(other.kind != "dense" and not other.search for other in needs(run, True))
    assert needs(Run(7, "winning", 4), True) == needs(Run(7, "random", 4), True) == [chain[2], dense(7)]
    assert needs(Run(7, "one-shot", 4), True) == [dense(7)]


def test_levels_without_search_runs_train_the_chain_in_full() -> None:
    plan = plan_runs(["winning", "random", "no-rewind", "rewound-dense"], [1], 4, scored=(2, 4))
    assert {run.round for run in plan if run.kind == "winning"} == {1, 2, 3, 4}
    assert {run.round for run in plan if run.kind == "no-rewind"} == {1, 2, 3, 4}
    assert {run.round for run in plan if run.kind == "random"} == {2, 4}
    assert Run(1, "rewound-dense", 0) in plan


@pytest.mark.parametrize("scored", [(2, 2), (3, 1), (0, 1), (5,)])
def test_scored_rounds_rise_within_the_rounds(scored: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="scored rounds must rise and lie between 1 and 4"):
        plan_runs(["winning"], [1], 4, scored=scored)


def test_folders_of_search_runs() -> None:
    run = Run(3, "winning", 12, search=True)
    assert run.folder == Path("seed-3/winning/search-12")
    assert Run.of_folder(Path("/x/exp") / run.folder) == (Path("/x/exp"), run)
    assert str(run) == "seed 3 winning search round 12"


def test_the_whole_procedure_with_search_runs(tmp_path: Path) -> None:
    rows, trained = here(tmp_path, **CHEAP)
    assert [run for run in trained if run.search] == [Run(1, "winning", round_, search=True) for round_ in (1, 2, 3)]
    assert len(trained) == 1 + 3 + 2 * 3
    assert {(row.kind, row.round) for row in rows if row.round} == {
        (kind, round_) for kind in CHEAP["kinds"] for round_ in (2, 4)
    }
    assert not any(row.search for row in read_csv(tmp_path / paths.RESULTS))
    searched = read_csv(tmp_path / paths.SEARCHED)
    assert searched == read_searches(tmp_path)
    assert [row.round for row in searched] == [1, 2, 3]
    assert {(row.search, row.share, row.steps) for row in searched} == {("0.5", 0.5, 10)}
    assert json.loads((tmp_path / "seed-1/winning/search-02/result.json").read_text())["stopped"] == "stopped at 50%"
    # Each ticket is pruned from the search run before it, and the scored run trains the ticket of its round's search.
    rewind = Weights.load(tmp_path / "seed-1/dense/rewind.safetensors")
    for round_ in (2, 3, 4):
        before = tmp_path / f"seed-1/winning/search-{round_ - 1:02d}"
        previous = Ticket.load(before / paths.TICKET)
        trained_weights = Toy().weights(before).like(rewind)
        expected = prune(trained_weights, rewind, rate=0.5, previous=previous)
        names = [f"search-{round_:02d}", f"round-{round_:02d}"]
        found = [tmp_path / "seed-1/winning" / name / paths.TICKET for name in names]
        assert {Ticket.load(path).masks.digest() for path in found if path.exists()} == {expected.masks.digest()}
    assert here(tmp_path, **CHEAP)[1] == []  # everything is done


def test_searches_that_get_longer_the_deeper_the_level(tmp_path: Path) -> None:
    here(tmp_path, **{**CHEAP, "search": "0.25-0.75"})
    found = [(row.round, row.search, row.share) for row in read_searches(tmp_path)]
    assert found == [(1, "0.25", 0.25), (2, "0.5", 0.5), (3, "0.75", 0.75)]


def test_searches_can_only_get_longer_up_to_a_known_round(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="rises to the last scored round, which must be known: give --score-at"):
        experiment(tmp_path, search="0.25-0.75", rounds=4)


def test_a_lost_search_run_is_trained_again_with_the_same_tickets(tmp_path: Path) -> None:
    here(tmp_path, **CHEAP)
    before = {path: path.read_bytes() for path in tmp_path.rglob(paths.TICKET)}
    scores = {row.run: row.score for row in read_rows(tmp_path)}
    (tmp_path / "seed-1/winning/search-03" / paths.MARKER).unlink()
    (tmp_path / "seed-1/random/round-04" / paths.MARKER).unlink()
    assert here(tmp_path, **CHEAP)[1] == [Run(1, "winning", 3, search=True), Run(1, "random", 4)]
    assert {path: path.read_bytes() for path in tmp_path.rglob(paths.TICKET)} == before
    assert {row.run: row.score for row in read_rows(tmp_path)} == scores


def test_seeds_and_kinds_can_be_added(tmp_path: Path) -> None:
    here(tmp_path, **{**CHEAP, "kinds": ("winning",)})
    trained = here(tmp_path, **{**CHEAP, "seeds": (1, 2), "kinds": ("random",)})[1]
    assert {run for run in trained if run.seed == 1} == {Run(1, "random", 2), Run(1, "random", 4)}
    assert sum(run.search for run in trained) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search": "settled"}, "search: 0.5 -> settled"),
        ({"search": "full"}, "search: 0.5 -> full"),
        ({"score_rounds": (1, 4)}, "score_rounds: 2 4 -> 1 4"),
        ({"score_rounds": ()}, "score_rounds: 2 4 -> "),
        ({"first": 0.4}, "first: not set -> 0.4"),
    ],
)
def test_another_way_to_search_is_another_experiment(changes: dict, message: str, tmp_path: Path) -> None:
    here(tmp_path, **{**CHEAP, "kinds": ("winning",)})
    with pytest.raises(ConfigError, match=message) as caught:
        experiment(tmp_path, **{**CHEAP, **changes}).write()
    assert "\n" not in str(caught.value)


def test_a_plain_folder_refuses_levels_in_one_line(tmp_path: Path) -> None:
    here(tmp_path, rounds=2, kinds=("winning",))
    with pytest.raises(ConfigError, match=r"score_rounds: .* -> 2"):
        experiment(tmp_path, rounds=2, score_rounds=(2,)).check_same_as_before()


def test_kinds_of_an_earlier_command_stay_where_the_search_allows_them(tmp_path: Path) -> None:
    """Also of one that ended before its first ticket: the folder's plan is what the status and the page show."""
    kinds = ("winning", "random", "random-budget", "reinit")
    experiment(tmp_path, kinds=kinds).write()
    experiment(tmp_path, kinds=("winning",), seeds=(4,)).write()
    assert set(Experiment.load(tmp_path).kinds) == set(kinds)
    experiment(tmp_path, kinds=("one-shot",), search="0.5").write()
    assert set(Experiment.load(tmp_path).kinds) == {"winning", "random", "reinit", "one-shot"}
    experiment(tmp_path / "dense", rounds=0, kinds=kinds).write()  # which plans no ticket
    experiment(tmp_path / "dense", kinds=("winning",)).write()
    assert Experiment.load(tmp_path / "dense").kinds == ("winning",)


def test_a_folder_of_dense_runs_takes_any_way_to_search(tmp_path: Path) -> None:
    """So that a dense run can show beforehand what a threshold would save; also by kinds that have no search."""
    here(tmp_path, rounds=0, kinds=("winning", "random-budget"))
    marker = read_marker(tmp_path / "seed-1/dense")
    trained = here(tmp_path, **CHEAP)[1]
    assert dense(1) not in trained
    assert read_marker(tmp_path / "seed-1/dense") == marker
    assert Experiment.load(tmp_path).search == "0.5"
    assert set(Experiment.load(tmp_path).kinds) == set(CHEAP["kinds"])
    assert here(tmp_path, **CHEAP)[1] == []


def test_a_plain_experiment_writes_no_new_key(tmp_path: Path) -> None:
    experiment(tmp_path).write()
    assert not {"search", "first", "score_rounds"} & json.loads((tmp_path / paths.EXPERIMENT).read_text()).keys()


def test_the_first_round_prunes_more(tmp_path: Path) -> None:
    rows, _ = here(tmp_path, rounds=2, first=0.25, kinds=("winning",))
    pool = rows[0].pool
    left = pool - round(0.75 * pool)
    assert [row.surviving for row in rows] == [pool, left, left - round(0.5 * left)]


def test_options_become_settings() -> None:
    plain = {"rounds": 20, "first": None, "search": "full", "score_rounds": ()}
    assert search_settings(values(), False) == plain
    chosen = search_settings(values(score_at=["50%", "20%", "2%"], search="settled", first="60%"), False)
    assert chosen["search"] == "settled:0.02"
    assert chosen["first"] == 0.6
    assert chosen["score_rounds"][-1] == chosen["rounds"] == 16
    assert search_settings(values(score_rounds=[5, 10]), False)["rounds"] == 10
    assert search_settings(values(score_rounds=[5, 10], rounds=12), True)["rounds"] == 12
    assert search_settings(values(score_at=["50%", "2%"], rounds=0), True)["score_rounds"] == (3, 18)


def test_dense_runs_are_added_to_a_folder_whatever_its_levels_and_search_are(tmp_path: Path) -> None:
    """With them or without them; the folder keeps them, and the tickets their place in its rows."""
    here(tmp_path, **CHEAP)
    for seed, given in ((2, {}), (3, {"search": "0.5", "score_rounds": (2, 4)})):
        _, trained = here(tmp_path, rounds=0, seeds=(seed,), **given)
        assert trained == [dense(seed)]
        kept = read_json(tmp_path / paths.EXPERIMENT)
        assert (kept["search"], kept["score_rounds"], kept["rounds"]) == ("0.5", [2, 4], 4)
        assert {row.kind for row in read_rows(tmp_path)} == {"dense", *CHEAP["kinds"]}
    with pytest.raises(ConfigError, match="another configuration"):
        here(tmp_path, rounds=0, seeds=(4,), search="0.25")


@pytest.mark.parametrize("change", [{"search": "settled"}, {"search": "full"}, {"first": 0.5}])
def test_a_dense_run_is_kept_when_the_search_changes(change: dict, tmp_path: Path) -> None:
    assert here(tmp_path, rounds=0, search="0.5")[1] == [dense(1)]
    assert here(tmp_path, rounds=0, **change)[1] == []
    assert dense(1) not in here(tmp_path, rounds=2, **change)[1]


@pytest.mark.parametrize(
    ("changes", "given", "message"),
    [
        ({"score_at": ["50%"], "score_rounds": [3]}, False, "leave one out"),
        ({"score_at": ["2%"], "rounds": 5}, True, "--rounds 5 ends before the last scored round, 18"),
        ({"score_at": ["20%", "50%"]}, False, "must fall"),
        ({"first": "2"}, False, "--first must lie strictly between"),
        ({"search": "quick"}, False, "--search 'quick' is not understood"),
    ],
)
def test_bad_options_are_one_line(changes: dict, given: bool, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        search_settings(values(**changes), given)
    with pytest.raises(PruneError, match="prune rate"):
        search_settings(values(prune_rate=1.5, score_at=["50%"]), False)


def test_lines_about_levels(tmp_path: Path) -> None:
    assert search_lines(experiment(tmp_path)) == []
    lines = search_lines(experiment(tmp_path, **CHEAP))
    assert lines[0] == "scored rounds, and what survives: 2 (25.0%), 4 (6.2%)"
    assert "--search 0.5" in lines[1]
    unsearched = experiment(tmp_path, kinds=("one-shot", "gradual"), search="0.5")
    assert search_lines(unsearched) == []  # no round searches for another one
    told = io.StringIO()
    unsearched = experiment(
        tmp_path / "x", kinds=("one-shot",), search="0.5", rounds=1, settings={"steps": 1, "lr": 0.1}
    )
    Runner(unsearched, Toy(), Here(unsearched.out), Progress(told)).run()
    assert "1 seed x (dense + 1 kind x 1 round): " in told.getvalue()
    _, line = search_lines(experiment(tmp_path, rounds=20, score_rounds=(5, 10)))
    assert line == "rounds 11 to 20 are not trained: none of them is scored, and no scored round needs them"
