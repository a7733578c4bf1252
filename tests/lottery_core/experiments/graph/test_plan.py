"""The graph of runs, and points in a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from lottery_core.errors import ConfigError
from lottery_core.experiments.graph.plan import Run, dense, needs, plan_runs, pruned_run
from lottery_core.pruning.kinds import KINDS
from lottery_core.pruning.timepoints import Point, parse_point


def test_every_run_comes_after_those_it_needs() -> None:
    plan = plan_runs(KINDS, [1, 2], 5)
    draws = sum(range(1, 6))  # of random-best: one more than the round
    assert len(plan) == len(set(plan)) == 2 * (2 + 5 * (len(KINDS) - 1) + draws)  # rewound-dense is one run a seed
    for index, run in enumerate(plan):
        assert all(other in plan[:index] for other in needs(run))


def test_who_needs_whom() -> None:
    assert needs(dense(1)) == []
    assert needs(Run(1, "winning", 1)) == [dense(1)]
    assert needs(Run(1, "winning", 3)) == [Run(1, "winning", 2), dense(1)]
    assert needs(Run(1, "no-rewind", 3)) == [Run(1, "no-rewind", 2), dense(1)]
    assert needs(Run(1, "one-shot", 3)) == [dense(1)]
    # A control needs the winning ticket of its round, not that ticket's training.
    assert needs(Run(1, "random", 3)) == [Run(1, "winning", 2), dense(1)]
    assert pruned_run(Run(1, "uniform", 1)) == dense(1)


def test_the_rewound_dense_network_is_one_run_a_seed() -> None:
    run = Run(1, "rewound-dense", 0)
    assert plan_runs(["rewound-dense"], [1], 3) == [dense(1), run]
    assert needs(run) == [dense(1)]
    assert run.folder == Path("seed-1/rewound-dense/round-00")
    assert plan_runs(["rewound-dense"], [1], 0) == [dense(1)]


def test_the_best_of_several_random_tickets_has_a_draw_for_each_training_of_the_winning_one() -> None:
    plan = plan_runs(["random-best"], [1], 3, noises=2, scored=[1, 3])
    draws = [run for run in plan if run.kind == "random-best"]
    assert sorted(run.noise for run in draws if run.round == 3) == [1, 2, 3, 4]
    assert sorted(run.noise for run in draws if run.round == 1) == [1, 2]
    assert {run.round for run in draws} == {1, 3}
    last = draws[-1]
    assert not last.repeats
    assert last.noise > 1
    assert needs(last) == [Run(1, "winning", last.round - 1), dense(1)]
    assert last.folder == Path(f"seed-1/noise-{last.noise}/random-best/round-{last.round:02d}")
    for seeds in ({run.control_seed for run in draws}, {(run.round, run.noise_seed) for run in draws}):
        assert len(seeds) == len(draws)


def test_controls_bring_the_winning_chain_with_them() -> None:
    assert {run.kind for run in plan_runs(["random"], [1], 2)} == {"dense", "winning", "random"}
    assert {run.kind for run in plan_runs(["one-shot"], [1], 2)} == {"dense", "one-shot"}


def test_no_rounds_are_the_dense_runs_alone() -> None:
    assert plan_runs(["random"], [1, 2], 0) == [dense(1), dense(2)]


def test_folders_and_back() -> None:
    for run in plan_runs(KINDS, [1, 23], 2):
        assert Run.of_folder(Path("runs/x") / run.folder) == (Path("runs/x"), run)
    assert Run(1, "winning", 5).folder == Path("seed-1/winning/round-05")
    for bad in ("runs/x", "runs/x/seed-1/winning", "dense", "seed-a/dense", "x/seed-1/winning/round-5"):
        with pytest.raises(ConfigError, match="not a run's folder"):
            Run.of_folder(Path(bad))


@pytest.mark.parametrize(
    ("kinds", "seeds", "rounds", "words"),
    [
        (["winnning"], [1], 1, "did you mean winning"),
        ([], [1], 1, "no kind"),
        (["winning"], [], 1, "no seed"),
        (["winning"], [-1], 1, "negative"),
        (["winning"], [1], -1, "rounds must not be negative"),
    ],
)
def test_plans_that_cannot_be(kinds: list[str], seeds: list[int], rounds: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plan_runs(kinds, seeds, rounds)


def test_points_as_users_type_them() -> None:
    units, epoch = ("episodes", "updates", "timesteps"), Point("episodes", 160)
    assert parse_point("epoch:2", units, "--rewind", epoch) == Point("episodes", 320)
    assert parse_point("update:7", units, "--rewind") == parse_point("updates:7", units, "--rewind")
    assert str(parse_point("init", units, "--rewind")) == "init"
    assert str(parse_point("timesteps:10", units, "--rewind")) == "timesteps:10"
    with pytest.raises(ConfigError, match="--epoch 10 has no unit: did you mean updates:10 or episodes:10"):
        parse_point("10", ("updates", "episodes"), "--epoch")
    for bad in ("episodes", "episodes:", "episodes:-1", "episodes:1.5", "years:3", "epoch:1", ""):
        with pytest.raises(ConfigError, match=r"--rewind '.*accepted: episodes:N"):
            parse_point(bad, units, "--rewind")
