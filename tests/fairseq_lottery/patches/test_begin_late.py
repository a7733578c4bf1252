"""A task may say where a new training begins; one that resumes from a checkpoint goes on from there."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from fairseq import checkpoint_utils

from fairseq_lottery.patches import begin_late
from tests.fairseq_lottery.patches.upstream import source

ORIGINAL = inspect.unwrap(checkpoint_utils.load_checkpoint)


def test_upstream_begins_at_the_first_epoch() -> None:
    read = source(ORIGINAL)
    assert "extra_state = trainer.load_checkpoint(" in read
    assert "epoch_itr = trainer.get_train_iterator( epoch=1, load_dataset=True, **passthrough_args )" in read
    assert "return extra_state, epoch_itr" in read


@pytest.mark.parametrize(
    ("task", "state", "expected"),
    [
        (SimpleNamespace(), None, "first"),
        (
            SimpleNamespace(begin_late=lambda trainer, batches, **_: f"later than {batches}"),
            None,
            "later than first",
        ),
        (SimpleNamespace(begin_late=lambda trainer, batches, **_: "later"), {"epoch": 1}, "first"),
    ],
)
def test_who_is_asked(task: Any, state: Any, expected: str) -> None:
    patched = begin_late._asking_the_task(lambda cfg, trainer, **options: (state, "first"))
    assert patched(None, SimpleNamespace(task=task), disable_iterator_cache=False) == (state, expected)


def test_installing_twice_wraps_once() -> None:
    begin_late.install()
    patched = checkpoint_utils.load_checkpoint
    begin_late.install()
    assert checkpoint_utils.load_checkpoint is patched is not ORIGINAL
