"""The batches of a resumed training, which must be those of an uninterrupted one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def drawn_once(task: Any, dataset: Any, options: Mapping[str, Any]) -> bool:
    """Whether fairseq is about to draw the batches of all epochs, and will only shuffle them from epoch to epoch.

    fairseq draws them by ``seed + epoch`` (``fairseq/tasks/fairseq_task.py:make_batches``). A training that resumes in
    epoch 3 must therefore also draw them by the first epoch, or it groups the sentences differently.

    :param task: a fairseq task
    :param dataset: the data set that is divided into batches
    :param options: keyword arguments of ``get_batch_iterator``
    """
    redrawn = options.get("disable_iterator_cache") or options.get("update_epoch_batch_itr")
    return not redrawn and task.can_reuse_epoch_itr(dataset) and dataset not in task.dataset_to_epoch_iter
