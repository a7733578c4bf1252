"""Finished runs are scored again where their scores came from other settings; nothing is trained."""

from __future__ import annotations

import math
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from lottery_core.errors import ConfigError, RunError
from lottery_core.experiments import (
    Experiment,
    FinishedInProcess,
    Progress,
    Row,
    Run,
    Runner,
    Score,
    dense,
    paths,
    read_rows,
)
from lottery_core.experiments.restart import keep_earlier, write_scores
from lottery_core.experiments.results import read_marker, write_marker
from lottery_core.files import read_json, write_json
from lottery_core.reports import answer, source_of, tables

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
    assert "1,dense,0,--score 1,score,1.0,no,1" in (experiment.out / "scores.csv").read_text()


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


def test_another_score_has_its_own_label(experiment: Experiment) -> None:
    """Also where rows of its file are read, which know no configuration; and where it has failed half-way."""
    label = "log perplexity (nats a token) on the test split"
    bleu = replace(experiment, score_label="BLEU on the test split")
    for seed in SEEDS:
        marker = read_marker(bleu.out / dense(seed).folder, bleu)
        assert marker is not None
        write_marker(bleu.out / dense(seed).folder, marker, bleu)
    changed = replace(bleu, scoring={"score": 5}, score_label=label)
    with pytest.raises(RunError, match="seed 2 dense failed"):
        runner(Scorer(changed, broken=dense(2))).rescore()
    half = source_of(bleu.out)
    assert {row.score_label for row in half.rows} == {bleu.score_label, label}
    told = answer(half.rows, half.question(None)).no_answer
    assert told == f"the scores are of 2 kinds ({bleu.score_label}, {label}): score these runs again"
    runner(Scorer(changed)).rescore()
    whole = source_of(bleu.out / paths.RESULTS)
    assert {row.score_label for row in whole.rows} == {whole.label} == {label}


def test_a_label_that_an_earlier_version_kept_is_mended(experiment: Experiment) -> None:
    changed = replace(experiment, scoring={"score": 5}, score_label="log perplexity")
    runner(Scorer(changed)).rescore()
    path = experiment.out / dense(1).folder / paths.MARKER
    write_json(path, {**read_json(path), "score_label": "BLEU"})
    assert {row.score_label for row in read_rows(experiment.out, changed)} == {"log perplexity"}


def test_trainings_of_one_ticket_are_told_apart_and_a_killed_rescoring_keeps_a_score_once(tmp_path: Path) -> None:
    row = Row(
        "x", 1, "winning", 1, 10, 5, 5, 0.5, 0.5, math.nan, 0.1, 1, 70, 8.0, 9.0, (), "", "v", scoring="--score 1"
    )
    rows = [row, replace(row, noise=2)]
    for each in rows * 2:
        keep_earlier(tmp_path / each.run.folder, each)
    write_scores(tmp_path, rows)
    lines = (tmp_path / paths.SCORES).read_text().splitlines()
    assert lines[0] == "seed,kind,round,scoring,name,score,current,noise"
    assert [line.rpartition("nan,")[2] for line in lines[1:]] == ["no,1", "yes,1", "no,2", "yes,2"]


def test_nothing_to_score(tmp_path: Path) -> None:
    made = Experiment(tmp_path, "plain", {}, 0.2, "init", ("winning",), SEEDS, 0, scoring={"score": 1})
    with pytest.raises(ConfigError, match="holds no finished run, so there is nothing to score again"):
        runner(Scorer(made)).rescore()
