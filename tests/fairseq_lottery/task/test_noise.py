"""Kinds of ticket share the noise of training: the order of the data and the dropout."""

from __future__ import annotations

from pathlib import Path

from fairseq_lottery.argv import FairseqArguments
from fairseq_lottery.launcher.training import training_arguments
from lottery_core.experiments.configuration import Experiment
from tests.fairseq_lottery import helpers

TELLS = """
import hashlib, torch
from fairseq.tasks.fairseq_task import FairseqTask
original = FairseqTask.train_step
def train_step(self, sample, *args, **kwargs):
    state = hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest()
    print("noise", sample["id"].tolist(), state, flush=True)
    return original(self, sample, *args, **kwargs)
FairseqTask.train_step = train_step
"""


def test_kinds_see_the_same_batches_and_the_same_dropout(translation_data: Path, ticket: Path, tmp_path: Path) -> None:
    mine = helpers.own_user_dir(tmp_path, "tells", TELLS)
    words = [*helpers.TRANSLATION, *helpers.TRANSFORMER, *helpers.ADAM, "--user-dir", mine]
    runs = {
        "dense": ["--rewind-point", "update:3"],
        "winning": ["--ticket", ticket],
        "random": ["--ticket", ticket, "--ticket-kind", "random", "--ticket-seed", 7],
        "reinit": ["--ticket", ticket, "--ticket-kind", "reinit", "--ticket-seed", 8],
    }
    lines = [
        [translation_data, "--save-dir", tmp_path / name, *helpers.COMMON, *words, *own] for name, own in runs.items()
    ]
    texts = helpers.side_by_side(lines, [{}] * len(lines))
    first, *others = [[line for line in text.splitlines() if line.startswith("noise ")] for text in texts]
    assert len(set(first)) == len(first) == 12
    assert all(other == first for other in others)


def test_the_launcher_gives_each_kind_the_same_seed_and_a_control_one_of_its_own(tmp_path: Path) -> None:
    experiment = Experiment(
        out=tmp_path, framework="fairseq", settings={}, prune_rate=0.5, rewind="updates:1", kinds=("random", "reinit"),
        seeds=(3, 4), rounds=2, scoring={"average": 1},
    )  # fmt: skip
    arguments = FairseqArguments(["data", "--arch", "transformer"])
    made = {run: training_arguments(arguments, experiment, run, tmp_path) for run in experiment.plan()}
    assert {(run.seed, words.value("--seed")) for run, words in made.items()} == {(3, "3"), (4, "4")}
    own = [words.value("--ticket-seed") for run, words in made.items() if run.kind in ("random", "reinit")]
    assert len(set(own)) == len(own) == 8


def test_further_trainings_have_other_seeds_and_the_same_ticket(tmp_path: Path) -> None:
    experiment = Experiment(
        out=tmp_path, framework="fairseq", settings={}, prune_rate=0.5, rewind="updates:1", kinds=("random",),
        seeds=(3,), rounds=1, scoring={"average": 1}, repeat_noise=2,
    )  # fmt: skip
    arguments = FairseqArguments(["data", "--arch", "transformer"])
    made = {run: training_arguments(arguments, experiment, run, tmp_path) for run in experiment.plan()}
    assert len({words.value("--seed") for run, words in made.items() if run.noise == 2}) == 1
    for run, words in made.items():
        if run.noise == 2:
            assert words.value("--ticket") == str(tmp_path / run.folder / "ticket.safetensors")
            assert words.value("--seed") != "3"
            assert not words.given("--ticket-kind")
            assert not words.given("--rewind-point")
