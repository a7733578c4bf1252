"""Let the ranks of a run unpickle the state that rank 0 sends them, and nothing else.

Mends ``fairseq/distributed/utils.py:_broadcast_object_slow``: ``obj = torch.load(buffer, map_location="cpu")``. The
default of ``torch.load`` has become ``weights_only=True``, but a resumed run sends its state, with the configuration as
OmegaConf objects, from rank 0 to the other ranks. Rank 0 has read it under
:mod:`fairseq_lottery.patches.load_checkpoint`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairseq.distributed import utils

from fairseq_lottery.patches.wrap_once import wrap_once
from lottery_core.checkpoints import safe_loading

# Types in the state that rank 0 sends to the other ranks.
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


def install() -> None:
    """Replace ``distributed.utils._broadcast_object_slow``; calling it again changes nothing."""
    wrap_once(utils, "_broadcast_object_slow", _accepting)


def _accepting(original: Callable[..., Any]) -> Callable[..., Any]:
    def _broadcast_object_slow(*args: Any, **kwargs: Any) -> Any:
        with safe_loading(BROADCAST):
            return original(*args, **kwargs)

    return _broadcast_object_slow
