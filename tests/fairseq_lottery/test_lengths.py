"""How long a training is, as fairseq counts it: shards of the data, and parts of a split."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fairseq_lottery.argv import FairseqArguments
from fairseq_lottery.launcher.options import parse_fairseq
from fairseq_lottery.lengths import Lengths
from lottery_core.errors import ConfigError
from tests.fairseq_lottery.helpers import ADAM, LM, LM_DATA, TRANSFORMER_LM


@pytest.fixture
def shards(lm_data: Path, tmp_path: Path) -> str:
    """Two shards, the first one in two parts."""
    first, second = (shutil.copytree(lm_data, tmp_path / name) for name in ("a", "b"))
    for end in ("bin", "idx"):
        shutil.copy(lm_data / f"valid.{end}", first / f"train1.{end}")
        shutil.copy(lm_data / f"test.{end}", second / f"train.{end}")
    return f"{first}:{second}"


@pytest.mark.parametrize("epochs", [1, 3])
def test_shards_and_parts_count_as_in_fairseq(epochs: int, shards: str) -> None:
    from fairseq import tasks
    from fairseq.trainer import Trainer

    words = [shards, *LM, *LM_DATA, *TRANSFORMER_LM, *ADAM, "--cpu", "--max-epoch", str(epochs)]
    cfg = parse_fairseq(FairseqArguments(words))
    task = tasks.setup_task(cfg.task)
    trainer = Trainer(cfg, task, task.build_model(cfg.model), task.build_criterion(cfg.criterion))
    numbers = range(1, epochs + 1)
    found = [len(trainer.get_train_iterator(epoch=epoch, load_dataset=True)) for epoch in numbers]
    lengths = Lengths.of(cfg)
    assert [lengths.until(epoch) for epoch in numbers] == [sum(found[:epoch]) for epoch in numbers]
    assert lengths.updates == sum(found)


@pytest.mark.parametrize(
    ("updates", "epochs", "batches", "whole"),
    [(32, 0, (27, 5), 2), (58, 0, (27, 5), 2), (59, 0, (27, 5), 3), (59, 2, (27, 5), 2)],
)
def test_epochs_that_the_training_ends(updates: int, epochs: int, batches: tuple[int, ...], whole: int) -> None:
    assert Lengths(updates, epochs, batches, (1,)).whole_epochs() == whole


@pytest.mark.parametrize(("batches", "frequencies"), [((0,), (1,)), ((300,), (1, 400)), ((300, 5), (8, 4, 301))])
def test_a_training_that_never_ends_is_refused(batches: tuple[int, ...], frequencies: tuple[int, ...]) -> None:
    """Its later epochs have no update: ``--skip-remainder-batch`` leaves too few batches out."""
    with pytest.raises(ConfigError, match=r"--max-update 1000 is never reached: after [0-9]+ updates all epochs have"):
        Lengths(1000, 0, batches, frequencies, whole=True).whole_epochs()
