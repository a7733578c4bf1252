"""Let a task know its trainer, and say where a new run begins.

Mends ``fairseq/checkpoint_utils.py:load_checkpoint``: without a checkpoint, ``epoch_itr = trainer.get_train_iterator(
epoch=1, load_dataset=True, ...)`` always begins at the first update.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairseq import checkpoint_utils

from fairseq_lottery.patches.wrap_once import wrap_once


def install() -> None:
    """Replace ``checkpoint_utils.load_checkpoint``; calling it again changes nothing."""
    wrap_once(checkpoint_utils, "load_checkpoint", _asking_the_task)


def _asking_the_task(original: Callable[..., Any]) -> Callable[..., Any]:
    def load_checkpoint(cfg: Any, trainer: Any, **options: Any) -> Any:
        meet = getattr(trainer.task, "meet", None)
        if meet is not None:
            meet(trainer)
        state, batches = original(cfg, trainer, **options)
        begin = getattr(trainer.task, "begin_late", None)
        if state is None and begin is not None:
            batches = begin(trainer, batches, **options)
        return state, batches

    return load_checkpoint
