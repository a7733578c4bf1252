"""Finished runs are scored again where their scores came from other settings; nothing is trained."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from lottery_core.errors import ConfigError, RunError
from lottery_core.experiments import Experiment, FinishedInProcess, Progress, Row, Run, Runner, Score, dense, read_rows
from lottery_core.experiments.results import read_marker, write_marker
from lottery_core.reports import tables

SEEDS = (1, 2, 3)


class Scorer:
    """A framework and an executor that only score, by what the experiment says; it cannot score ``broken``."""

    name = "plain"
    jobs, retries = 1, 0

    def __init__(self, experiment: Experiment, broken: Run | None = None) -> None:
        self.experiment, self.broken = experiment, broken
        self.scored: list[Run] = []

    def start(self, run: Run, *_: Any) -> FinishedInProcess:
        if run == self.broken:
            raise RunError("it cannot be scored")
        self.scored.append(run)
        return FinishedInProcess()

    def adopt(self, *_: Any) -> None:
        return None

    def score(self, folder: Path) -> Score:
        value = float(self.experiment.scoring["score"])
        return Score(score=value, more={"other": -value}, scoring=self.experiment.scoring_text)


def runner(scorer: Scorer) -> Runner:
    framework: Any = scorer
    return Runner(scorer.experiment, framework, framework, Progress(StringIO()))


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    """Three finished dense runs, scored by settings of their own."""
    made = Experiment(tmp_path, "plain", {}, 0.2, "init", ("winning",), SEEDS, 0, scoring={"score": 1})
    made.write()
    for seed in SEEDS:
        row = Row(
            "x", seed, "dense", 0, 10, 0, 10, 0.0, 1.0, 1.0, 0.1, 1, 70, 8.0, 9.0, (), "", "v", scoring="--score 1"
        )
        write_marker(tmp_path / dense(seed).folder, row, made)
    return made


def test_only_what_came_from_other_settings(experiment: Experiment) -> None:
    same = Scorer(experiment)
    runner(same).rescore()
    assert same.scored == []
    runner(same).rescore(everything=True)
    assert len(same.scored) == 3
    changed = replace(experiment, scoring={"score": 5})
    assert changed.digest() == experiment.digest()
    scorer = Scorer(changed)
    runner(scorer).run()
    assert scorer.scored == [dense(seed) for seed in SEEDS]
    for row in read_rows(experiment.out, changed):
        assert (row.score, row.steps, row.wall_seconds, row.scoring) == (5.0, 70, 8.0, "--score 5")
    assert "1,dense,0,--score 1,score,1.0,no" in (experiment.out / "scores.csv").read_text()


def test_one_that_fails_is_told_and_tried_again(experiment: Experiment) -> None:
    changed = replace(experiment, scoring={"score": 5})
    with pytest.raises(RunError, match="seed 2 dense failed: it cannot be scored"):
        runner(Scorer(changed, broken=dense(2))).run()
    text = "\n".join(tables(read_rows(experiment.out, changed), changed))
    assert (
        "WARNING: 1 of 3 scores came from other settings (--score 1) than those of this experiment (--score 5)" in text
    )
    again = Scorer(changed)
    runner(again).run()
    assert again.scored == [dense(2)]
    row = read_marker(experiment.out / dense(2).folder, changed)
    assert row is not None
    assert dict(row.more) == {"other": -5.0}
    text = "\n".join(tables(read_rows(experiment.out, changed), changed))
    assert "WARNING" not in text
    assert "other; 3 seeds" in text


def test_nothing_to_score(tmp_path: Path) -> None:
    made = Experiment(tmp_path, "plain", {}, 0.2, "init", ("winning",), SEEDS, 0, scoring={"score": 1})
    with pytest.raises(ConfigError, match="holds no finished run, so there is nothing to score again"):
        runner(Scorer(made)).rescore()
