"""Importing the room patches nothing; installing does."""

from __future__ import annotations

import sys

from tests.fairseq_lottery import helpers

CODE = """
import sys, types
package = types.ModuleType("fairseq_lottery")
package.__path__ = [{path!r}]
sys.modules["fairseq_lottery"] = package  # without what its own __init__ does
hook = sys.excepthook
from fairseq_lottery import patches
assert sys.excepthook is hook
assert not any(name.partition(".")[0] == "fairseq" for name in sys.modules)
patches.install()
from fairseq import checkpoint_utils, trainer
from fairseq.distributed import utils
from fairseq.models import distributed_fairseq_model as ddp
import torch
before = [
    checkpoint_utils.load_checkpoint_to_cpu, trainer.Trainer.state_dict, utils.call_main, ddp.DistributedDataParallel
]
assert all(function.__module__.startswith("fairseq_lottery") or hasattr(function, "__wrapped__") for function in before)
assert ddp.DistributedDataParallel is not torch.nn.parallel.DistributedDataParallel
patches.install()
assert before == [
    checkpoint_utils.load_checkpoint_to_cpu, trainer.Trainer.state_dict, utils.call_main, ddp.DistributedDataParallel
]
"""


def test_importing_patches_nothing() -> None:
    helpers.run([sys.executable, "-c", CODE.format(path=str(helpers.USER_DIR))])
