"""Write the fp32 masters, and the options of an ``--arch`` as a dictionary, so that plain fairseq can read them.

Mends two lines of ``fairseq/trainer.py:Trainer.state_dict``:

- ``"model": self.model.state_dict()`` contains weights rounded to fp16 or bf16, so tickets would be pruned from rounded
  weights and killed runs would resume from them; a lottery task saves the masters instead;
- ``OmegaConf.to_container(self.cfg, resolve=True, enum_to_str=True)`` leaves the options of an ``--arch`` in an
  ``argparse.Namespace``, which ``torch.load`` refuses to unpickle wherever :mod:`fairseq_lottery.patches.safe_globals`
  is not in force. Models that fairseq cannot build from a dictionary keep their ``Namespace``, see
  :func:`fairseq_lottery.checkpoint.without_namespaces`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairseq.trainer import Trainer

from fairseq_lottery.checkpoint import without_namespaces
from fairseq_lottery.patches.wrap_once import wrap_once


def install() -> None:
    """Replace ``Trainer.state_dict``; calling it again changes nothing."""
    wrap_once(Trainer, "state_dict", _writing_dictionaries)


def _writing_dictionaries(original: Callable[..., Any]) -> Callable[..., Any]:
    def state_dict(trainer: Any) -> dict[str, Any]:
        state: dict[str, Any] = original(trainer)
        in_full_precision = getattr(trainer.task, "in_full_precision", None)
        if in_full_precision is not None:
            state["model"] = in_full_precision(state["model"], trainer.optimizer)
        return {**state, "cfg": without_namespaces(state["cfg"])}

    return state_dict
