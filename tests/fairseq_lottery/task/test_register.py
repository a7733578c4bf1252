"""Other architectures and other tasks, the plugin imported in every way."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fairseq_lottery.task.fp32_masters import full_precision, masters_of
from lottery_core.errors import ConfigError
from tests import preloaded
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import ADAM, assert_dead, load, split, train


def test_one_line_for_another_task(lm_data: Path, tmp_path: Path) -> None:
    """A user-dir of one line trains a ticket of a masked language model."""
    line = 'fairseq_lottery.lottery_task("masked_lm")'
    package = helpers.own_user_dir(tmp_path / "user", "one_line", line)
    words = split(
        "--task lottery_masked_lm --criterion masked_lm --arch roberta --encoder-layers 1 --encoder-embed-dim 16 "
        "--encoder-ffn-embed-dim 32 --encoder-attention-heads 2 --max-positions 64 --tokens-per-sample 32 "
        "--sample-break-mode none --batch-size 4 --max-update 6"
    )
    shared = [*words, *ADAM, "--user-dir", package]
    train(lm_data, tmp_path / "dense", *shared, "--rewind-point", "update:2")
    ticket = tmp_path / "t.safetensors"
    start = ["--rewind", tmp_path / "dense" / "rewind.safetensors", "--rate", 0.5]
    helpers.lottery("prune", tmp_path / "dense" / "checkpoint_last.pt", *start, "-o", ticket)
    text = train(lm_data, tmp_path / "run", *shared, "--ticket", ticket)
    assert_dead(load(tmp_path / "run" / "checkpoint_last.pt")["model"], ticket, aliases=2)
    assert '"train_surviving": "0.5' in text


def test_imported_twice_and_by_name(tmp_path: Path) -> None:
    """Installed and imported, then given as --user-dir; and imported under its path first."""
    code = f"""
import argparse
import fairseq_lottery
from fairseq import utils
from fairseq.tasks import TASK_REGISTRY
args = argparse.Namespace(user_dir={str(helpers.USER_DIR)!r})
utils.import_user_module(args)
utils.import_user_module(args)
assert fairseq_lottery.lottery_task("translation") is TASK_REGISTRY["lottery_translation"]
import importlib
importlib.reload(fairseq_lottery)
"""
    helpers.run([sys.executable, "-c", code], **{preloaded.PARENT: "fairseq-bare"})


def test_no_such_task() -> None:
    from fairseq_lottery import lottery_task

    with pytest.raises(ConfigError, match="unknown task 'translate': did you mean translation"):
        lottery_task("translate")


class FlatMasters:
    """An optimizer with flat masters, as on a GPU: ``{device: tensor}``."""

    def __init__(self, model: nn.Module) -> None:
        self.fp16_params = list(model.parameters())
        values = torch.cat([parameter.detach().float().reshape(-1) for parameter in self.fp16_params])
        self.fp32_params = {0: nn.Parameter(values + 1e-6)}
        self.optimizer = torch.optim.SGD(self.fp32_params.values())


def test_flat_masters_are_masked_and_give_the_rewind_point_in_fp32() -> None:
    from fairseq_lottery.task.masks import TaskMasks
    from lottery_core import Masks

    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)).half()
    optimizer = FlatMasters(model)
    weights = full_precision(model, optimizer)
    assert all(tensor.dtype == torch.float32 for tensor in weights.tensors.values())
    assert weights.frozen == frozenset()  # known, as --scope trainable asks
    assert torch.equal(weights.tensors["0.weight"].reshape(-1), optimizer.fp32_params[0].detach()[:6])
    mask = torch.tensor([[True, False, True], [False, False, True]])
    held = TaskMasks(model, Masks({"0.weight": mask}))
    held.after_step(optimizer, 1)
    views = {id(parameter): master for parameter, master in masters_of(optimizer)}
    assert torch.equal(views[id(model[0].weight)] != 0, mask)
    assert optimizer.fp32_params[0].count_nonzero() == sum(p.numel() for p in model.parameters()) - 3
    held.check()
