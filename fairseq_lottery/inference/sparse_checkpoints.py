"""Sparse files (``lottery export --form csr``) where fairseq reads checkpoints, and for ``load_sparse``."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch
from fairseq import checkpoint_utils, tasks
from torch import nn

from lottery_core.errors import CheckpointError, ConfigError, LotteryError, unknown_choice
from lottery_core.inference import SparseFile, fill, give_memory, is_sparse_file, parameters_on_meta, save_sparse

FRAMEWORK = "fairseq"
_expected = False  # whether the checkpoint that was read last is a sparse file: its model needs no memory


class SparseState(dict[str, Any]):
    """Stands for a state dict until a lottery task's model takes its file; anybody else is told."""

    def __init__(self, file: SparseFile) -> None:
        super().__init__()
        self.file = file

    def _refuse(self, *_: Any) -> NoReturn:
        raise CheckpointError(f"{self.file.path} is a sparse file: give the lottery task, --task lottery_...")

    __iter__ = keys = items = values = __getitem__ = _refuse


def write(state: Mapping[str, Any], output: Path) -> str:
    """Write the plain state of a checkpoint as a sparse file.

    :param state: as :func:`fairseq_lottery.inference.export.plain_state` gives it
    :param output: the file
    :returns: what was written, for people
    :raises CheckpointError: nothing in it is pruned, or its configuration cannot be written down
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


def expect(path: Any) -> bool:
    """Whether ``path`` is a sparse file; the next model that is built for a checkpoint is built for it."""
    global _expected
    _expected = Path(str(path)).is_file() and is_sparse_file(str(path))
    return _expected


def state_of(path: Any, plain: Callable[..., dict[str, Any]], *args: Any, **kwargs: Any) -> dict[str, Any]:
    """What ``checkpoint_utils.load_checkpoint_to_cpu`` returns, for a sparse file.

    :param plain: that function; it takes ``args`` and ``kwargs``, too
    :raises CheckpointError: the file cannot be read, or is of another framework
    """
    file = SparseFile(path)
    if file.framework != FRAMEWORK:
        raise CheckpointError(f"{path} is a sparse file, but of no fairseq model")
    return {**_without_weights(file.config, plain, *args, **kwargs), "model": SparseState(file)}


def _without_weights(
    config: Mapping[str, Any], plain: Callable[..., dict[str, Any]], *args: Any, **kwargs: Any
) -> dict[str, Any]:
    # By fairseq itself, from a file, so that its configuration is what fairseq makes of one.
    history = {"criterion_name": config["criterion_name"], "num_updates": config["num_updates"]}
    history |= {"optimizer_name": "", "lr_scheduler_state": {}}
    state = {"args": None, "cfg": dict(config["cfg"]), "model": {}, "optimizer_history": [history]}
    with tempfile.NamedTemporaryFile(suffix=".pt") as small:
        torch.save({**state, "extra_state": {"train_iterator": {"epoch": 1}}}, small)
        small.flush()
        return plain(small.name, *args, **kwargs)


def build_for_checkpoint(build: Callable[[], Any]) -> Any:
    """The model of a checkpoint that was just read, ready for its weights.

    :param build: builds it
    """
    global _expected
    if not _expected:
        return build()
    _expected = False
    with parameters_on_meta():
        model = build()
    model.load_state_dict = partial(_load, model)
    return model


def _load(model: nn.Module, state: Any, *args: Any, **kwargs: Any) -> Any:
    if not isinstance(state, SparseState):
        give_memory(model)  # it was built for another file than that which is loaded
        return type(model).load_state_dict(model, state, *args, **kwargs)
    fill(model, state.file)
    return None


def build(config: Mapping[str, Any], options: Mapping[str, Any]) -> nn.Module:
    """The entry point for :func:`lottery_core.load_sparse`.

    :param config: of the file
    :param options: other values of the task's and the model's options, ``data`` above all
    :raises CheckpointError: the configuration is damaged, or its model cannot be built here
    :raises ConfigError: no such option, or no such folder
    """
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
    except Exception as error:  # the configuration of a damaged or foreign file can lead anywhere
        raise CheckpointError(f"its model cannot be built: {error!r}") from error
    return model
