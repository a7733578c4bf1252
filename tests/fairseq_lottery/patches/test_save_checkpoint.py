"""What the trainer writes: options of an ``--arch`` as a dictionary."""

from __future__ import annotations

import inspect
from argparse import Namespace
from types import SimpleNamespace
from typing import Any

import pytest
from fairseq.trainer import Trainer
from omegaconf import OmegaConf
from torch import nn

from fairseq_lottery.patches import save_checkpoint
from tests.fairseq_lottery.patches.upstream import source

ORIGINAL = inspect.unwrap(Trainer.state_dict)


class SmallTrainer(SimpleNamespace):
    """As much of a trainer as ``Trainer.state_dict`` uses."""

    def __init__(self, arch: str) -> None:
        cfg = {
            "ema": {"store_ema": False},
            "checkpoint": {"no_save_optimizer_state": True},
            "model": Namespace(arch=arch),
        }
        stateful = SimpleNamespace(state_dict=dict)
        super().__init__(
            cfg=OmegaConf.create(cfg, flags={"allow_objects": True}),
            model=nn.Linear(2, 2),
            criterion=nn.Identity(),
            optimizer=stateful,
            lr_scheduler=stateful,
            task=None,
            is_fsdp=False,
            get_criterion=nn.Identity,
            get_num_updates=lambda: 3,
            cumulative_training_time=lambda: 1.0,
            _optim_history=None,
        )


def test_upstream_writes_the_configuration_as_it_is() -> None:
    assert "OmegaConf.to_container(self.cfg, resolve=True, enum_to_str=True)" in source(ORIGINAL)


@pytest.mark.parametrize(("arch", "written_as"), [("transformer_iwslt_de_en", dict), ("bart_base", Namespace)])
def test_a_dictionary_where_fairseq_builds_from_one(arch: str, written_as: type) -> None:
    trainer: Any = SmallTrainer(arch)
    assert isinstance(ORIGINAL(trainer)["cfg"]["model"], Namespace)
    patched = Trainer.state_dict
    save_checkpoint.install()
    assert Trainer.state_dict is patched
    state = Trainer.state_dict(trainer)
    assert type(state["cfg"]["model"]) is written_as
    assert state["optimizer_history"][-1]["num_updates"] == 3
