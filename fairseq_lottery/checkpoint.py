"""What a fairseq checkpoint says about its training run: progress, ticket, options."""

from __future__ import annotations

from argparse import Namespace
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fairseq_lottery.names import PRECISION, TICKET
from fairseq_lottery.safety import require_plain_state
from lottery_core.checkpoints import load_checkpoint, safe_loading, unreadable
from lottery_core.errors import LotteryError

# Models whose build_model also takes a dictionary; others (bart, lightconv, ...) read attributes of a Namespace.
FROM_DICTIONARY = {
    *("transformer", "transformer_align", "transformer_lm", "multilingual_transformer", "roberta", "masked_lm"),
    *("lstm", "lstm_lm", "fconv", "fconv_lm"),
    *("nonautoregressive_transformer", "cmlm_transformer", "insertion_transformer"),
}


@dataclass(frozen=True)
class CheckpointProgress:
    """How far a fairseq run had come when it wrote a checkpoint, and which ticket it was training.

    Read from the file by :meth:`of`. It decides whether a killed run may resume, whether a run has already reached its
    end, and whether a ``--save-dir`` belongs to the ticket that is about to be trained.

    :param cfg: configuration of the run, by section (``"optimization"``, ``"checkpoint"``, ...)
    :param updates: optimizer updates since the start of the run
    :param epoch: epoch that the checkpoint continues or that comes next, counted from 1
    :param batches: batches of that epoch that are done
    :param seconds: training time since the start
    :param tickets: class name of a lottery task -> digest of the ticket that it trained, empty for a dense run
    :param full_precision: whether the checkpoint of a run in half precision contains the state of the loss scaler and,
        if the run has them, the fp32 masters; checkpoints of version 0.1 do not
    """

    cfg: Mapping[str, Any]
    updates: int
    epoch: int
    batches: int
    seconds: float
    tickets: Mapping[str, str]
    full_precision: bool = False

    @classmethod
    def of(cls, checkpoint: Path) -> CheckpointProgress:
        """Read the progress from a checkpoint; its tensors stay on the disk (``mmap=True``).

        :param checkpoint: the file, written by fairseq's trainer
        :raises CheckpointError: the file is damaged or not a training checkpoint, or its options are not plain data
        """
        try:
            with safe_loading():
                state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
            require_plain_state(state, str(checkpoint))
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
                any(isinstance(value, dict) and PRECISION in value for value in state["extra_state"].values()),
            )
        except LotteryError:
            raise
        except Exception as error:  # a damaged file can raise anything
            raise unreadable(error, str(checkpoint), "checkpoint of fairseq") from error

    def option(self, section: str, name: str, default: Any = None) -> Any:
        """Return the value of an option in the configuration, ``default`` if it is missing."""
        values = self.cfg.get(section)
        values = vars(values) if isinstance(values, Namespace) else values or {}
        return values.get(name, default)

    @property
    def at_end(self) -> bool:
        """Whether the run had reached its end. Resumed after ``--max-update``, fairseq would add one update."""
        max_update = self.option("optimization", "max_update") or 0
        max_epoch = self.option("optimization", "max_epoch") or 0
        return bool(max_update and self.updates >= max_update) or bool(max_epoch and self.epoch > max_epoch)


def load_state(checkpoint: Path) -> dict[str, Any]:
    """Read a checkpoint whose content will be written again, or passed to fairseq.

    :param checkpoint: the file, written by fairseq's trainer
    :raises CheckpointError: the file cannot be read, or its options are not plain data
    """
    state = load_checkpoint(checkpoint)
    require_plain_state(state, str(checkpoint))
    return state


def with_attributes(options: Mapping[str, Any]) -> Any:
    """Return options as entries and as attributes of one object, which torch unpickles without being told to.

    It does so for an ``OrderedDict`` with attributes (``_weights_only_unpickler.py``), but not for a ``Namespace``.

    :param options: name -> value
    """
    result: OrderedDict[str, Any] = OrderedDict(options)
    vars(result).update(options)
    return result


def without_namespaces(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Replace every ``Namespace`` in a configuration by a dictionary, if fairseq can build the model from one.

    :param cfg: configuration of a training run, by section
    :returns: a copy; the sections are unchanged for models outside :data:`FROM_DICTIONARY`
    """
    from fairseq.models import ARCH_MODEL_NAME_REGISTRY

    arch = getattr(cfg.get("model"), "arch", None)
    if arch is not None and ARCH_MODEL_NAME_REGISTRY.get(arch, arch) not in FROM_DICTIONARY:
        return dict(cfg)
    return {name: dict(vars(part)) if isinstance(part, Namespace) else part for name, part in cfg.items()}
