"""Reading fairseq's checkpoints without fairseq and without unpickling strangers."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from lottery_core import prune, read_weights
from lottery_core.errors import CheckpointError
from lottery_core.tickets.weights import Weights


def checkpoint(state: dict[str, torch.Tensor], **more: Any) -> dict[str, Any]:
    """What fairseq's trainer saves, as far as reading goes."""
    best = {"best": numpy.float64(1.5), "array": numpy.arange(3)}
    return {"cfg": argparse.Namespace(arch="x"), "model": state, "optimizer_history": [], "extra_state": best, **more}


def model_state() -> dict[str, torch.Tensor]:
    embedding = torch.randn(5, 3)
    return {
        "encoder.version": torch.tensor([3.0]),
        "encoder.embed_tokens.weight": embedding,
        "encoder.norm.weight": torch.ones(3),
        "decoder.norm.weight": torch.ones(3),
        "decoder.output_projection.weight": embedding,
    }


def test_a_namespace_and_numbers_of_numpy_are_allowed(tmp_path: Path) -> None:
    torch.save(checkpoint(model_state()), tmp_path / "c.pt")
    weights = read_weights(tmp_path / "c.pt")
    assert weights.outside == {"encoder.version"}
    assert weights.names() == ["encoder.embed_tokens.weight", "encoder.norm.weight", "decoder.norm.weight"]


def test_tied_tensors_count_once_where_the_file_lost_the_tie(tmp_path: Path) -> None:
    """fairseq writes a model from a GPU, or in fp16, with every alias as a tensor of its own."""
    torch.save(checkpoint({name: tensor.clone() for name, tensor in model_state().items()}), tmp_path / "c.pt")
    weights = read_weights(tmp_path / "c.pt")
    assert "decoder.output_projection.weight" not in weights.tensors
    assert "decoder.norm.weight" in weights.tensors, "equal constants are no sign of a tie"


def test_the_rewind_weights_tell_ties_of_constant_tensors() -> None:
    rewind = Weights({"a": torch.randn(4, 3), "b": torch.randn(3)})
    trained = Weights({"a": torch.zeros(4, 3), "b": torch.randn(3), "alias": torch.zeros(4, 3)})
    assert set(prune(trained, rewind, rate=0.5).masks) == {"a", "b"}


def test_a_class_off_the_list_is_refused(tmp_path: Path) -> None:
    class Stranger:
        def __reduce__(self) -> Any:
            return os.system, ("true",)

    torch.save(checkpoint(model_state(), task=Stranger()), tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match=r"it asks to unpickle .*system"):
        read_weights(tmp_path / "c.pt")


def test_the_list_ends_with_the_call(tmp_path: Path) -> None:
    before = set(torch.serialization.get_safe_globals())  # torch keeps a set: its order means nothing
    torch.save(checkpoint(model_state()), tmp_path / "c.pt")
    read_weights(tmp_path / "c.pt")
    assert set(torch.serialization.get_safe_globals()) == before
