"""Read checkpoints safely and report unreadable ones in one line; read sparse files as checkpoints.

Mends ``fairseq/checkpoint_utils.py``: ``load_checkpoint_to_cpu`` and ``load_ema_from_checkpoint``. Four statements
make this necessary:

- ``state = torch.load(f, map_location=torch.device("cpu"))``: its default has become ``weights_only=True``, which
  refuses the ``argparse.Namespace`` of the options and numpy's numbers in the meters of ``--eval-bleu``. For a damaged
  or foreign file it raises an error of many lines that does not name the file, and it cannot read a sparse file
  (``lottery export --form csr``). The patch applies the allow-list while fairseq reads a checkpoint, and at no other
  time.
- ``state["cfg"] = OmegaConf.create(state["cfg"], flags={"allow_objects": True})``: options that
  :mod:`fairseq_lottery.patches.save_checkpoint` wrote as a dictionary become a ``DictConfig``, but models without a
  configuration class expect a ``Namespace``.
- ``setattr(args, arg_name, arg_val)`` and ``convert_namespace_to_omegaconf(state["args"])``: the options of old
  checkpoints are composed, with their interpolations.
- ``return state``: the options are returned unchanged, and fairseq later evaluates some that are text
  (``fairseq/utils.py:eval_str_list``: ``x = eval(x)``; ``fairseq/models/fconv.py``). So they are checked against the
  allow-list of :mod:`fairseq_lottery.safety` when the file has been read, and again when they are returned.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from fairseq import checkpoint_utils
from omegaconf import DictConfig, OmegaConf, open_dict

from fairseq_lottery.inference import is_sparse_checkpoint, read_sparse_checkpoint
from fairseq_lottery.patches.wrap_once import wrap_once
from fairseq_lottery.safety import require_plain_state
from lottery_core.checkpoints import safe_loading, unreadable
from lottery_core.errors import LotteryError


def install() -> None:
    """Replace ``load_checkpoint_to_cpu`` and ``torch`` in ``checkpoint_utils``; calling it again changes nothing."""
    if checkpoint_utils.torch is torch:
        checkpoint_utils.torch = _torch_that_checks()
    wrap_once(checkpoint_utils, "load_checkpoint_to_cpu", _reading_safely)


def _torch_that_checks() -> ModuleType:
    # Seen as torch by one module of fairseq: a different load, everything else unchanged.
    module = ModuleType("torch", torch.__doc__)
    vars(module).update(load=_load, __getattr__=lambda name: getattr(torch, name))
    return module


def _load(file: Any, *args: Any, **kwargs: Any) -> Any:
    with safe_loading():
        state = torch.load(file, *args, **{**kwargs, "weights_only": True})
    require_plain_state(state, str(getattr(file, "name", file)))
    return state


def _reading_safely(original: Callable[..., Any]) -> Callable[..., Any]:
    def load_checkpoint_to_cpu(path: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            if is_sparse_checkpoint(path):
                state = read_sparse_checkpoint(path, original, *args, **kwargs)
            else:
                state = original(path, *args, **kwargs)
            require_plain_state(state, str(path))
            return with_namespace(state)
        except LotteryError:
            raise
        except Exception as error:  # a damaged file may raise anything
            raise unreadable(error, str(path), "checkpoint of fairseq") from error

    return load_checkpoint_to_cpu


def with_namespace(state: dict[str, Any]) -> dict[str, Any]:
    """Turn the model's options into a ``Namespace`` again if the model has no configuration class.

    :param state: a checkpoint as read by fairseq, changed in place
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
