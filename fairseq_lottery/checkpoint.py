"""What a checkpoint of fairseq says: how far its training is, of which ticket it is, with which options."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fairseq_lottery.names import TICKET
from lottery_core.checkpoints import safe_loading, unreadable

# Models whose build_model takes a dictionary too; others (bart, lightconv, ...) look for a Namespace's attributes.
FROM_DICTIONARY = {
    *("transformer", "transformer_align", "transformer_lm", "multilingual_transformer", "roberta", "masked_lm"),
    *("lstm", "lstm_lm", "fconv", "fconv_lm"),
    *("nonautoregressive_transformer", "cmlm_transformer", "insertion_transformer"),
}


@dataclass(frozen=True)
class CheckpointProgress:
    """How far a checkpoint of fairseq is.

    :param cfg: the training's configuration
    :param updates: done since the start
    :param epoch: the one that goes on or comes next, from 1
    :param batches: of that epoch that are done
    :param seconds: of training since the start
    :param tickets: task's class -> digest of the ticket that it trained, empty for a dense run
    """

    cfg: Mapping[str, Any]
    updates: int
    epoch: int
    batches: int
    seconds: float
    tickets: Mapping[str, str]

    @classmethod
    def of(cls, checkpoint: Path) -> CheckpointProgress:
        """Read it; the tensors stay on the disk.

        :raises CheckpointError: it is not a training's checkpoint, or a part of one
        """
        try:
            with safe_loading():
                state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
            batches = state["extra_state"]["train_iterator"]
            return cls(
                state["cfg"],
                int(state["optimizer_history"][-1]["num_updates"]),
                int(batches["epoch"]),
                int(batches["iterations_in_epoch"]),
                float(state["extra_state"]["previous_training_time"]),
                {
                    name: value[TICKET]
                    for name, value in state["extra_state"].items()
                    if isinstance(value, dict) and TICKET in value
                },
            )
        except Exception as error:  # a damaged file can raise anything
            raise unreadable(error, str(checkpoint), "checkpoint of fairseq") from error

    def option(self, section: str, name: str, default: Any = None) -> Any:
        """The value of an option in the configuration."""
        values = self.cfg.get(section)
        values = vars(values) if isinstance(values, Namespace) else values or {}
        return values.get(name, default)

    @property
    def at_end(self) -> bool:
        """Whether the training had reached its end; fairseq would add an update to one that ``--max-update`` ended."""
        most = self.option("optimization", "max_update") or 0
        last = self.option("optimization", "max_epoch") or 0
        return bool(most and self.updates >= most) or bool(last and self.epoch > last)


def without_namespaces(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration in a checkpoint with a dictionary for every ``Namespace``, where fairseq takes both."""
    from fairseq.models import ARCH_MODEL_NAME_REGISTRY

    arch = getattr(cfg.get("model"), "arch", None)
    if arch is not None and ARCH_MODEL_NAME_REGISTRY.get(arch, arch) not in FROM_DICTIONARY:
        return dict(cfg)
    return {name: dict(vars(part)) if isinstance(part, Namespace) else part for name, part in cfg.items()}
