"""Read and write sparse files (``lottery export --form csr``) as fairseq checkpoints, and build their models.

fairseq loads a checkpoint in three steps (``fairseq/checkpoint_utils.py:load_model_ensemble_and_task``): it reads the
state, builds the model of ``state["cfg"].model``, and loads ``state["model"]`` into it. A sparse file's configuration
is marked during these steps, so that its model, and no other, is built without allocating memory.
"""

from __future__ import annotations

import json
import tempfile
from argparse import Namespace
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch
from fairseq import checkpoint_utils, tasks
from omegaconf import DictConfig, open_dict
from torch import nn

from fairseq_lottery.safety import require_plain
from lottery_core.errors import CheckpointError, ConfigError, LotteryError, unknown_choice
from lottery_core.inference import SparseFile, fill, give_memory, is_sparse_file, parameters_on_meta, save_sparse

FRAMEWORK = "fairseq"
MARK = "lottery_sparse_file"  # key in the model's configuration while a sparse file is being loaded


class SparseState(dict[str, Any]):
    """Placeholder state dict of a sparse file; only models of lottery tasks may load it.

    :param file: the file; its tensors are read when a model is filled
    """

    def __init__(self, file: SparseFile) -> None:
        super().__init__()
        self.file = file

    def _refuse(self, *_: Any) -> NoReturn:
        raise CheckpointError(
            f"{self.file.path} is a sparse file, which only lottery tasks load: add --task lottery_..."
        )

    __iter__ = keys = items = values = __getitem__ = _refuse


def write(state: Mapping[str, Any], output: Path) -> str:
    """Write a checkpoint as a sparse file.

    :param state: plain state, see :func:`fairseq_lottery.inference.export.plain_state`
    :param output: the file to write
    :returns: one line that describes the file
    :raises CheckpointError: no weight is pruned, or the configuration cannot be written as JSON
    :raises WriteError: the file cannot be written
    """
    cfg = {name: dict(vars(part)) if hasattr(part, "__dict__") else part for name, part in state["cfg"].items()}
    last = state["optimizer_history"][-1]
    config = {"cfg": cfg, "criterion_name": last["criterion_name"], "num_updates": last.get("num_updates", 0)}
    try:
        config = json.loads(json.dumps(config))
    except TypeError as error:
        raise CheckpointError(f"its configuration cannot be written as JSON: {error}") from error
    return save_sparse(state["model"], output, FRAMEWORK, config)


def is_sparse_checkpoint(path: Any) -> bool:
    """Return whether ``path``, in the form in which fairseq passes it, is a sparse file."""
    return Path(str(path)).is_file() and is_sparse_file(str(path))


def read_sparse_checkpoint(path: Any, read: Callable[..., dict[str, Any]], *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Read a sparse file as ``checkpoint_utils.load_checkpoint_to_cpu`` reads a checkpoint.

    :param path: the sparse file
    :param read: fairseq's ``load_checkpoint_to_cpu``, called with ``args`` and ``kwargs`` for the configuration
    :returns: the state; ``state["model"]`` is a :class:`SparseState`, ``state["cfg"].model`` carries the mark
    :raises CheckpointError: the file cannot be read, or belongs to another framework
    """
    file = SparseFile(path)
    if file.framework != FRAMEWORK:
        raise CheckpointError(f"{path} is a sparse file, but not of a fairseq model")
    require_plain(file.config, str(path))
    state = _without_weights(file.config, read, *args, **kwargs)
    with open_dict(state["cfg"].model):
        state["cfg"].model[MARK] = True
    return {**state, "model": SparseState(file)}


def _without_weights(
    config: Mapping[str, Any], read: Callable[..., dict[str, Any]], *args: Any, **kwargs: Any
) -> dict[str, Any]:
    # fairseq reads the configuration from a file, so that it goes through fairseq's own conversions.
    history = {"criterion_name": config["criterion_name"], "num_updates": config["num_updates"]}
    history |= {"optimizer_name": "", "lr_scheduler_state": {}}
    state = {"args": None, "cfg": dict(config["cfg"]), "model": {}, "optimizer_history": [history]}
    with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        torch.save({**state, "extra_state": {"train_iterator": {"epoch": 1}}}, file)
        file.flush()
        return read(file.name, *args, **kwargs)


def build_for_checkpoint(cfg: Any, build: Callable[[], Any]) -> Any:
    """Build the model of a checkpoint, without allocating memory if its configuration comes from a sparse file.

    :param cfg: the model's configuration from the checkpoint; the mark of a sparse file is removed from it
    :param build: builds the model of ``cfg``
    :returns: the model, ready for ``load_state_dict``
    """
    if not _take_mark(cfg):
        return build()
    with parameters_on_meta():
        model = build()
    model.load_state_dict = partial(_load, model)
    return model


def _take_mark(cfg: Any) -> bool:
    if isinstance(cfg, Namespace):  # see fairseq_lottery/patches/load_checkpoint.py:with_namespace
        return bool(vars(cfg).pop(MARK, False))
    if not isinstance(cfg, DictConfig) or MARK not in cfg:
        return False
    with open_dict(cfg):
        return bool(cfg.pop(MARK))


def _load(model: nn.Module, state: Any, *args: Any, **kwargs: Any) -> Any:
    if not isinstance(state, SparseState):
        give_memory(model)  # built from the configuration of a sparse file, but loaded with other weights
        return type(model).load_state_dict(model, state, *args, **kwargs)
    fill(model, state.file)
    return None


def build(config: Mapping[str, Any], options: Mapping[str, Any]) -> nn.Module:
    """Build the model of a sparse file; this is the entry point for :func:`lottery_core.load_sparse`.

    :param config: configuration from the file
    :param options: new values for options of the task and the model, in particular ``data``
    :returns: the model, its parameters on the device "meta"
    :raises CheckpointError: the configuration is damaged, or its model cannot be built here
    :raises ConfigError: an option is unknown, or a folder does not exist
    """
    require_plain(config, "the sparse file")
    try:
        known = {name for part in config["cfg"].values() if isinstance(part, Mapping) for name in part}
        for name in options:
            if name not in known:
                raise unknown_choice(name, "option", known)
        cfg = _without_weights(config, checkpoint_utils.load_checkpoint_to_cpu, dict(options))["cfg"]
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"its configuration is damaged: {error!r}") from error
    try:
        with parameters_on_meta():
            model: nn.Module = tasks.setup_task(cfg.task).build_model(cfg.model)
    except LotteryError:
        raise
    except FileNotFoundError as error:
        raise ConfigError(f"{error}: give data=..., the folder of the dictionaries") from error
    except Exception as error:  # the configuration of a damaged or foreign file may raise anything
        raise CheckpointError(f"its model cannot be built: {error!r}") from error
    return model
