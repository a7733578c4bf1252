"""Make the batches of a resumed run equal to those of an uninterrupted one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def drawn_once(task: Any, dataset: Any, options: Mapping[str, Any]) -> bool:
    """Return whether fairseq is about to divide the data into batches once, and only shuffle them in each epoch.

    fairseq divides them with ``seed + epoch`` (``fairseq/tasks/fairseq_task.py:make_batches``). A run that resumes in
    epoch 3 must therefore also use the number of the first epoch, or it groups the sentences differently.

    :param task: a fairseq task
    :param dataset: the data set that is divided into batches
    :param options: keyword arguments of ``get_batch_iterator``
    """
    redrawn = options.get("disable_iterator_cache") or options.get("update_epoch_batch_itr")
    return not redrawn and task.can_reuse_epoch_itr(dataset) and dataset not in task.dataset_to_epoch_iter
