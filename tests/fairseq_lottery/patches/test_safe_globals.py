"""The types that rank 0 sends to the other ranks."""

from __future__ import annotations

import io
import pickle
from argparse import Namespace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq.distributed import utils
from omegaconf import OmegaConf

from fairseq_lottery.patches import safe_globals
from fairseq_lottery.patches.safe_globals import BROADCAST
from lottery_core.checkpoints import safe_loading
from tests.fairseq_lottery.patches.upstream import source


def test_upstream_names_no_types() -> None:
    assert 'obj = torch.load(buffer, map_location="cpu")' in source(utils._broadcast_object_slow)


STATE = {
    "args": Namespace(arch="transformer"),
    "cfg": OmegaConf.create({"model": {"_name": "transformer"}}),
    "model": {0: utils._TensorPlaceholder(0)},
}


def loaded(value: Any) -> Any:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    buffer.seek(0)
    return torch.load(buffer, map_location="cpu")


def test_what_is_sent_is_read_while_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks resume in ``tests/fairseq_lottery/task``; here the second one is alone with what the first sent."""
    buffer = io.BytesIO()
    torch.save(STATE, buffer)
    sent = iter([torch.LongTensor([len(buffer.getvalue())]), torch.ByteTensor(list(buffer.getvalue()))])
    monkeypatch.setattr(utils, "get_rank", lambda group: 1)
    monkeypatch.setattr(utils, "broadcast", lambda tensor, src, group: tensor.copy_(next(sent)))
    before = set(torch.serialization.get_safe_globals())
    patched = utils._broadcast_object_slow
    safe_globals.install()
    assert utils._broadcast_object_slow is patched
    assert utils._broadcast_object_slow(None, 0, None, torch.device("cpu")) == STATE
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError, match="Unsupported global"):
        loaded(STATE)
    with safe_loading(BROADCAST):
        assert loaded(STATE) == STATE
        with pytest.raises(pickle.UnpicklingError, match=r"fractions\.Fraction"):
            loaded(Fraction(1, 2))


def test_a_checkpoint_may_hold_fewer_types(tmp_path: Path) -> None:
    """Configurations of OmegaConf are objects with a state of their own: no file needs them."""
    from fairseq import checkpoint_utils

    torch.save({**STATE, "model": {}}, tmp_path / "c.pt")
    with pytest.raises(Exception, match=r"c\.pt: it asks to unpickle omegaconf"):
        checkpoint_utils.load_checkpoint_to_cpu(str(tmp_path / "c.pt"))
