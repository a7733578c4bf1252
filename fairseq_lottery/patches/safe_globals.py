"""Let torch unpickle the types that fairseq's checkpoints contain; nothing else from a checkpoint is unpickled.

Mends two calls of ``torch.load``, whose default has become ``weights_only=True``:

- ``fairseq/checkpoint_utils.py:load_checkpoint_to_cpu``: ``state = torch.load(f, map_location=torch.device("cpu"))``.
  Options lie in an ``argparse.Namespace``, the meters of ``--eval-bleu`` hold numpy's numbers.
- ``fairseq/distributed/utils.py:_broadcast_object_slow``: ``obj = torch.load(buffer, map_location="cpu")``.
  A resumed run sends its state from rank 0 to the other ranks, with the configuration as OmegaConf objects.

fairseq passes no arguments for this, so the allow-list is torch's process-wide one. It holds the types named here and
those of the dialects.
"""

from __future__ import annotations

import torch

from lottery_core.checkpoints import allowed

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
    """Extend torch's allow-list; calling it again changes nothing."""
    torch.serialization.add_safe_globals([*allowed(), *allowed(BROADCAST)])
