"""Let ``--ddp-backend c10d`` wrap a model on the CPU.

Mends ``fairseq/models/distributed_fairseq_model.py:DistributedFairseqModel``, which always names a GPU:
``device_ids=[args.device_id]``, ``output_device=args.device_id``. torch's ``DistributedDataParallel`` refuses both for
a model on the CPU.
"""

from __future__ import annotations

from typing import Any

from fairseq.models import distributed_fairseq_model
from torch.nn.parallel import DistributedDataParallel


def install() -> None:
    """Replace ``distributed_fairseq_model.DistributedDataParallel``; calling it again changes nothing."""
    distributed_fairseq_model.DistributedDataParallel = _wrap


def _wrap(**options: Any) -> Any:
    if all(parameter.device.type == "cpu" for parameter in options["module"].parameters()):
        options |= {"device_ids": None, "output_device": None}
    return DistributedDataParallel(**options)
