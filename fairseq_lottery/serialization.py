"""fairseq's checkpoints under torch's ``weights_only=True``, by an allow-list: resuming, generating, two ranks.

fairseq calls ``torch.load`` without saying how (``checkpoint_utils.load_checkpoint_to_cpu``), so the list is
torch's process-wide one; nothing is ever unpickled that is not named here or in :mod:`lottery_core.allowed`.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from fairseq import checkpoint_utils

from lottery_core.allowed import NAMES, NUMPY_DTYPES, allowed
from lottery_core.checkpoints import unreadable

# What rank 0 sends to the others when a run is resumed (fairseq/distributed/utils.py:broadcast_object).
BROADCAST = (
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.nodes.AnyNode",
    "omegaconf.base.Metadata",
    "omegaconf.base.ContainerMetadata",
    "fairseq.distributed.utils._TensorPlaceholder",
    "typing.Any",
    "builtins.dict",
    "builtins.list",
    "builtins.int",
)


def allow() -> None:
    """Let torch read fairseq's checkpoints; doing it twice is fine."""
    torch.serialization.add_safe_globals(allowed((*NAMES, *NUMPY_DTYPES, *BROADCAST)))


def install() -> None:
    """Name the file where fairseq cannot read a checkpoint: one line instead of torch's page; twice is fine."""
    plain = checkpoint_utils.load_checkpoint_to_cpu
    if getattr(plain, "of_lottery", False):
        return

    @functools.wraps(plain)
    def load(path: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return plain(path, *args, **kwargs)
        except Exception as error:  # a damaged file can raise anything
            raise unreadable(error, str(path), "checkpoint of fairseq") from error

    load.of_lottery = True  # type: ignore[attr-defined]
    checkpoint_utils.load_checkpoint_to_cpu = load
