"""torch's allow-list for fairseq's checkpoints."""

from __future__ import annotations

import io
import pickle
from argparse import Namespace
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.distributed import utils
from omegaconf import OmegaConf

from fairseq_lottery.patches import safe_globals
from tests.fairseq_lottery.patches.upstream import source


@pytest.fixture
def nothing_allowed() -> Iterator[None]:
    """torch's own allow-list, which is empty."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    yield
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(before)


def test_upstream_names_no_types() -> None:
    read = source(checkpoint_utils.load_checkpoint_to_cpu)
    assert 'state = torch.load(f, map_location=torch.device("cpu"))' in read
    assert 'obj = torch.load(buffer, map_location="cpu")' in source(utils._broadcast_object_slow)


VALUES = {
    "options": Namespace(arch="transformer"),
    "broadcast": {"cfg": OmegaConf.create({"model": {"_name": "transformer"}}), 0: utils._TensorPlaceholder(0)},
}


def loaded(value: Any) -> Any:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    buffer.seek(0)
    return torch.load(buffer, map_location="cpu")


@pytest.mark.usefixtures("nothing_allowed")
@pytest.mark.parametrize("name", VALUES)
def test_what_checkpoints_contain_is_read(name: str) -> None:
    with pytest.raises(pickle.UnpicklingError, match="Unsupported global"):
        loaded(VALUES[name])
    safe_globals.install()
    safe_globals.install()
    assert loaded(VALUES[name]) == VALUES[name]
    with pytest.raises(pickle.UnpicklingError, match=r"fractions\.Fraction"):
        loaded(Fraction(1, 2))
