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
from fairseq_lottery.patches.load_checkpoint import require_no_calls
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
    path = saved(tmp_path / "c.pt", {"_name": "transformer", "adaptive_softmax_cutoff": "[exit()]"})
    assert ORIGINAL(path)["cfg"].model.adaptive_softmax_cutoff == "[exit()]"
    with pytest.raises(CheckpointError, match="its option adaptive_softmax_cutoff is code, which fairseq would run"):
        checkpoint_utils.load_checkpoint_to_cpu(path)


@pytest.mark.parametrize(
    "value", ["[(512, 3)] * 20", "[2, 4]", "words (of a kind), or two", "{'beam': 4}", "runs/x(1)/y z"]
)
def test_options_that_call_nothing_are_fine(value: str) -> None:
    require_no_calls({"model": {"layers": [value]}})


@pytest.mark.parametrize(("arch", "old"), [("fconv", True), ("transformer_lm", False)])
def test_models_without_a_configuration_class_get_a_namespace(arch: str, old: bool, tmp_path: Path) -> None:
    path = saved(tmp_path / "c.pt", {"arch": arch, "dropout": 0.1})
    assert not isinstance(ORIGINAL(path)["cfg"].model, Namespace)
    model = checkpoint_utils.load_checkpoint_to_cpu(path)["cfg"].model
    assert isinstance(model, Namespace) == old
    assert model.dropout == 0.1
