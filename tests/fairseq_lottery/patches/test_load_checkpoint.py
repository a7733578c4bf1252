"""Reading checkpoints: one line for a bad one, no code from options, a ``Namespace`` for old models."""

from __future__ import annotations

import inspect
import pickle
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import checkpoint_utils, utils
from fairseq.models import fconv

from fairseq_lottery.patches import load_checkpoint
from lottery_core.errors import CheckpointError
from tests.fairseq_lottery.patches.upstream import source

ORIGINAL = inspect.unwrap(checkpoint_utils.load_checkpoint_to_cpu)


def test_upstream_reads_without_a_word_and_evaluates_options() -> None:
    read = source(ORIGINAL)
    assert 'state = torch.load(f, map_location=torch.device("cpu"))' in read
    assert 'state["cfg"] = OmegaConf.create(state["cfg"], flags={"allow_objects": True})' in read
    assert "x = eval(x)" in source(utils.eval_str_list)
    assert "eval(args.encoder_layers)" in source(fconv.FConvModel.build_model)


def test_installing_twice_wraps_once() -> None:
    patched = checkpoint_utils.load_checkpoint_to_cpu
    assert patched is not ORIGINAL
    load_checkpoint.install()
    assert checkpoint_utils.load_checkpoint_to_cpu is patched


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "damaged.pt"
    path.write_bytes(pickle.dumps({"model": object()}, protocol=2)[:20])
    with pytest.raises(Exception) as raised:  # noqa: PT011
        ORIGINAL(str(path))
    assert not isinstance(raised.value, CheckpointError)
    with pytest.raises(CheckpointError, match=r"damaged\.pt: ") as refused:
        checkpoint_utils.load_checkpoint_to_cpu(str(path))
    assert "\n" not in str(refused.value)


def saved(path: Path, model: dict[str, Any]) -> str:
    history = [{"criterion_name": "C", "optimizer_name": "O", "lr_scheduler_state": {}, "num_updates": 1}]
    cfg = {"model": model, "task": {"_name": "translation"}}
    state = {"args": None, "cfg": cfg, "model": {}, "optimizer_history": history}
    torch.save({**state, "extra_state": {"train_iterator": {"epoch": 1}}}, path)
    return str(path)


def test_an_option_that_is_code(tmp_path: Path) -> None:
    """It is refused as soon as the file has been read; and, by our own wrapper, as it is returned."""
    path = saved(tmp_path / "c.pt", {"_name": "transformer", "adaptive_softmax_cutoff": "[exit()]"})
    for read in (ORIGINAL, checkpoint_utils.load_checkpoint_to_cpu):
        with pytest.raises(CheckpointError, match=r"c\.pt: its option model\.adaptive_softmax_cutoff is code"):
            read(path)
    plain = saved(tmp_path / "plain.pt", {"_name": "transformer", "adaptive_softmax_cutoff": "5,6"})
    with pytest.raises(CheckpointError, match=r"plain\.pt: its option \S+cutoff is an interpolation"):
        checkpoint_utils.load_checkpoint_to_cpu(plain, {"adaptive_softmax_cutoff": "${task._name}"})


def test_nothing_is_allowed_for_others(tmp_path: Path) -> None:
    """Neither after a checkpoint was read nor, in other threads, while it is read."""
    path = saved(tmp_path / "c.pt", {"arch": "fconv", "options": Namespace(a=1)})
    before = set(torch.serialization.get_safe_globals())
    checkpoint_utils.load_checkpoint_to_cpu(path)
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError, match=r"argparse\.Namespace"):
        torch.load(path)
    assert checkpoint_utils.torch is not torch
    assert checkpoint_utils.torch.HalfTensor is torch.HalfTensor


@pytest.mark.parametrize(("arch", "old"), [("fconv", True), ("transformer_lm", False)])
def test_models_without_a_configuration_class_get_a_namespace(arch: str, old: bool, tmp_path: Path) -> None:
    path = saved(tmp_path / "c.pt", {"arch": arch, "dropout": 0.1})
    assert not isinstance(ORIGINAL(path)["cfg"].model, Namespace)
    model = checkpoint_utils.load_checkpoint_to_cpu(path)["cfg"].model
    assert isinstance(model, Namespace) == old
    assert model.dropout == 0.1
