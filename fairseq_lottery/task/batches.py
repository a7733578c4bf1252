"""Batches of a resumed training: those of a training that was never stopped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def drawn_once(task: Any, dataset: Any, options: Mapping[str, Any]) -> bool:
    """Whether fairseq will now draw the batches for all epochs to come, and only shuffle them from epoch to epoch.

    It draws by ``seed + epoch`` (``fairseq/tasks/fairseq_task.py:make_batches``), so a training that is resumed in
    epoch 3 has to draw them by the first epoch too, or it goes on with sentences that are grouped otherwise.

    :param task: of fairseq
    :param dataset: that the batches are made of
    :param options: keyword arguments of ``get_batch_iterator``
    """
    again = options.get("disable_iterator_cache") or options.get("update_epoch_batch_itr")
    return not again and task.can_reuse_epoch_itr(dataset) and dataset not in task.dataset_to_epoch_iter
