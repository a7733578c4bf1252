"""fairseq's checkpoints under torch's ``weights_only=True``: resuming, generating, two ranks.

Reading: by an allow-list. fairseq calls ``torch.load`` without saying how
(``checkpoint_utils.load_checkpoint_to_cpu``), so the list is torch's process-wide one; nothing is ever unpickled
that is not named here or in :mod:`lottery_core.checkpoints.safe_globals`.

Writing: with the options of an ``--arch`` as a plain dictionary instead of an ``argparse.Namespace``, so that fairseq
reads our checkpoints where there is no allow-list of ours; for the models that fairseq can build from one.
"""

from __future__ import annotations

import ast
import functools
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

import torch
from fairseq import checkpoint_utils
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from fairseq_lottery.checkpoint import without_namespaces
from fairseq_lottery.inference import sparse_checkpoints
from lottery_core.checkpoints import allowed, unreadable
from lottery_core.errors import CheckpointError, LotteryError

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


_CALLS = (ast.Call, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Await, ast.JoinedStr)


def allow() -> None:
    """Let torch read fairseq's checkpoints; doing it twice is fine."""
    torch.serialization.add_safe_globals([*allowed(), *allowed(BROADCAST)])


def read_clearly() -> None:
    """Name the file where fairseq cannot read a checkpoint: one line instead of torch's page; twice is fine."""
    plain = checkpoint_utils.load_checkpoint_to_cpu
    if getattr(plain, "of_lottery", False):
        return

    @functools.wraps(plain)
    def load(path: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            if sparse_checkpoints.expect(path):
                state = sparse_checkpoints.state_of(path, plain, *args, **kwargs)
            else:
                state = plain(path, *args, **kwargs)
            require_no_calls(state.get("cfg"))
            return with_namespace(state)
        except LotteryError:
            raise
        except Exception as error:  # a damaged file can raise anything
            raise unreadable(error, str(path), "checkpoint of fairseq") from error

    load.of_lottery = True  # type: ignore[attr-defined]
    checkpoint_utils.load_checkpoint_to_cpu = load


def require_no_calls(value: Any, name: str = "") -> None:
    """fairseq evaluates options that are text (``models/fconv.py``, ``utils.py:eval_str_list``), whoever wrote them.

    :param value: the configuration of a checkpoint, or a part of it
    :raises CheckpointError: an option would call something
    """
    if isinstance(value, (DictConfig, ListConfig)):
        value = OmegaConf.to_container(value, resolve=False)
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, Mapping):
        for key, part in value.items():
            require_no_calls(part, str(key))
    elif isinstance(value, (list, tuple)):
        for part in value:
            require_no_calls(part, name)
    elif isinstance(value, str) and "(" in value:
        try:
            nodes = list(ast.walk(ast.parse(value.strip(), mode="eval")))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return  # no expression: fairseq could not evaluate it either
        if any(isinstance(node, _CALLS) for node in nodes):
            raise CheckpointError(f"its option {name} is code, which fairseq would run: {value[:80]!r}")


def with_namespace(state: dict[str, Any]) -> dict[str, Any]:
    """The state of a checkpoint with a ``Namespace`` again for a model without a configuration class of its own."""
    from fairseq.models import ARCH_MODEL_NAME_REGISTRY, MODEL_DATACLASS_REGISTRY

    cfg: Any = state.get("cfg")
    model = None if cfg is None else cfg.get("model")
    arch = model.get("arch") if isinstance(model, DictConfig) else None
    if arch and not {arch, ARCH_MODEL_NAME_REGISTRY.get(arch)} & MODEL_DATACLASS_REGISTRY.keys():
        options: Any = OmegaConf.to_container(model)
        with open_dict(cfg):
            cfg.model = Namespace(**options)
    return state


def write_plainly() -> None:
    """Let the trainer's checkpoints hold no ``Namespace``; doing it twice is fine."""
    from fairseq.trainer import Trainer

    original = Trainer.state_dict
    if getattr(original, "of_lottery", False):
        return

    @functools.wraps(original)
    def state_dict(trainer: Any) -> dict[str, Any]:
        state: dict[str, Any] = original(trainer)
        return {**state, "cfg": without_namespaces(state["cfg"])}

    state_dict.of_lottery = True  # type: ignore[attr-defined]
    Trainer.state_dict = state_dict
