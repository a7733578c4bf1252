"""Read checkpoints safely and report unreadable ones in one line; read sparse files as checkpoints.

Mends ``fairseq/checkpoint_utils.py:load_checkpoint_to_cpu``, in which three statements make it necessary:

- ``state = torch.load(f, map_location=torch.device("cpu"))``: for a damaged or foreign file it raises an error of many
  lines that does not name the file; and a sparse file (``lottery export --form csr``) is not a file of torch.
- ``state["cfg"] = OmegaConf.create(state["cfg"], flags={"allow_objects": True})``: options that
  :mod:`fairseq_lottery.patches.save_checkpoint` wrote as a dictionary become a ``DictConfig``, but models without a
  configuration class expect a ``Namespace``.
- ``return state``: the options are returned as the file has them, and fairseq later evaluates those that are text
  (``fairseq/utils.py:eval_str_list``: ``x = eval(x)``; ``fairseq/models/fconv.py``).
"""

from __future__ import annotations

import ast
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

from fairseq import checkpoint_utils
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from fairseq_lottery.inference import is_sparse_checkpoint, read_sparse_checkpoint
from fairseq_lottery.patches.wrap_once import wrap_once
from lottery_core.checkpoints import unreadable
from lottery_core.errors import CheckpointError, LotteryError

_CALLS = (ast.Call, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Await, ast.JoinedStr)


def install() -> None:
    """Replace ``checkpoint_utils.load_checkpoint_to_cpu``; calling it again changes nothing."""
    wrap_once(checkpoint_utils, "load_checkpoint_to_cpu", _reading_safely)


def _reading_safely(original: Callable[..., Any]) -> Callable[..., Any]:
    def load_checkpoint_to_cpu(path: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            if is_sparse_checkpoint(path):
                state = read_sparse_checkpoint(path, original, *args, **kwargs)
            else:
                state = original(path, *args, **kwargs)
            require_no_calls(state.get("cfg"))
            return with_namespace(state)
        except LotteryError:
            raise
        except Exception as error:  # a damaged file can raise anything
            raise unreadable(error, str(path), "checkpoint of fairseq") from error

    return load_checkpoint_to_cpu


def require_no_calls(value: Any, name: str = "") -> None:
    """Refuse options that would run code, because fairseq evaluates options that are text, whoever wrote them.

    :param value: the configuration of a checkpoint, or a part of it
    :param name: name of the option that ``value`` belongs to, for the message
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
            return  # not an expression: fairseq could not evaluate it either
        if any(isinstance(node, _CALLS) for node in nodes):
            raise CheckpointError(f"its option {name} is code, which fairseq would run: {value[:80]!r}")


def with_namespace(state: dict[str, Any]) -> dict[str, Any]:
    """Turn the model's options into a ``Namespace`` again if the model has no configuration class of its own.

    :param state: a checkpoint as fairseq read it, changed in place
    :returns: the same checkpoint
    """
    from fairseq.models import ARCH_MODEL_NAME_REGISTRY, MODEL_DATACLASS_REGISTRY

    cfg: Any = state.get("cfg")
    model = None if cfg is None else cfg.get("model")
    arch = model.get("arch") if isinstance(model, DictConfig) else None
    if arch and not {arch, ARCH_MODEL_NAME_REGISTRY.get(arch)} & MODEL_DATACLASS_REGISTRY.keys():
        options: Any = OmegaConf.to_container(model)
        with open_dict(cfg):
            cfg.model = Namespace(**options)
    return state
