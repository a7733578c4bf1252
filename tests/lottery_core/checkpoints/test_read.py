"""Reading weights out of other people's files."""

from __future__ import annotations

import argparse
import contextlib
import fractions
import io
import os
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lottery_core import read_weights, snapshot
from lottery_core.errors import CheckpointError
from tests.lottery_core.helpers import Tied, a_ticket, mlp


def sb3_zip(path: Path, state: dict[str, torch.Tensor]) -> None:
    """The layout of ``stable_baselines3/common/save_util.py:save_to_zip_file``."""
    policy = io.BytesIO()
    torch.save(state, policy)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", "{}")
        archive.writestr("policy.pth", policy.getvalue())


def test_state_dicts_bare_and_under_a_key_and_safetensors(tmp_path: Path) -> None:
    expected = snapshot(mlp())
    state = dict(expected.tensors)
    torch.save(state, tmp_path / "bare.pt")
    torch.save({"model": state, "epoch": 3}, tmp_path / "model.pt")
    torch.save({"state_dict": state, "optimizer": {}}, tmp_path / "lightning.ckpt")
    save_file(state, tmp_path / "st.safetensors")
    expected.save(tmp_path / "ours.safetensors")
    sb3_zip(tmp_path / "sb3.zip", state)
    for name in ("bare.pt", "model.pt", "lightning.ckpt", "st.safetensors", "ours.safetensors", "sb3.zip"):
        found = read_weights(tmp_path / name)
        assert found.tensors.keys() == expected.tensors.keys(), name
        assert all(torch.equal(found.tensors[key], expected.tensors[key]) for key in expected.tensors), name


def test_tied_parameters_once_and_buffers_outside(tmp_path: Path) -> None:
    model = Tied()
    torch.save(model.state_dict(), tmp_path / "m.pt")
    for found in (read_weights(tmp_path / "m.pt"), snapshot(model)):
        assert "embed.weight" in found.tensors
        assert "output.weight" not in found.tensors
        assert found.outside == {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}


def test_target_networks_are_no_part_and_log_std_is_outside(tmp_path: Path) -> None:
    state = {name: torch.randn(2, 2) for name in ("q_net.0.weight", "q_net_target.0.weight", "log_std")}
    sb3_zip(tmp_path / "m.zip", state)
    found = read_weights(tmp_path / "m.zip")
    assert list(found.tensors) == ["q_net.0.weight", "log_std"]
    assert found.names() == ["q_net.0.weight"]


class Evil:
    """Runs a command when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("wrap", [lambda evil: evil, lambda evil: {"model": {"a": torch.zeros(1)}, "extra": evil}])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(wrap, tmp_path: Path) -> None:
    marker = tmp_path / "owned"
    torch.save(wrap(Evil(marker)), tmp_path / "evil.pt")
    sb3_zip(tmp_path / "evil.zip", wrap(Evil(marker)))
    for name in ("evil.pt", "evil.zip"):
        with pytest.raises(CheckpointError, match=r"asks to unpickle posix\.system") as caught:
            read_weights(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not marker.exists()


def test_numbers_that_are_not_floating_are_outside_the_pool(tmp_path: Path) -> None:
    torch.save({"embed.position_ids": torch.arange(4), "embed.weight": torch.ones(4, 2)}, tmp_path / "m.pt")
    assert read_weights(tmp_path / "m.pt").names() == ["embed.weight"]


def test_damaged_files_of_every_kind_are_one_line(tmp_path: Path) -> None:
    torch.save(mlp().state_dict(), tmp_path / "m.pt")
    sb3_zip(tmp_path / "m.zip", mlp().state_dict())
    for name in ("m.pt", "m.zip"):
        data, path = (tmp_path / name).read_bytes(), tmp_path / f"damaged-{name}"
        for place in range(0, len(data), 97):
            path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
            with contextlib.suppress(CheckpointError):  # the only exception there may be
                read_weights(path)


def test_other_files_are_refused_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello, I am a file")
    (tmp_path / "empty").write_bytes(b"")
    torch.save(mlp().state_dict(), tmp_path / "whole.pt")
    (tmp_path / "half.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:1000])
    torch.save(fractions.Fraction(1, 2), tmp_path / "fraction.pt")
    torch.save({"steps": 3}, tmp_path / "numbers.pt")
    a_ticket().save(tmp_path / "ticket.safetensors")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme", "nothing")
    (tmp_path / "folder").mkdir()
    words = {
        "text": "not a file of weights",
        "empty": "not a file of weights",
        "half.pt": "damaged",
        "fraction.pt": "asks to unpickle fractions.Fraction",
        "numbers.pt": "no state dict",
        "ticket.safetensors": "is a lottery-ticket, not a file of weights",
        "other.zip": "not a file of weights",
        "folder": "Is a directory",
        "missing": "No such file",
    }
    for name, word in words.items():
        with pytest.raises(CheckpointError, match=word) as caught:
            read_weights(tmp_path / name)
        assert "\n" not in str(caught.value), name
        assert name in str(caught.value)


def test_a_key_is_of_torch_files_alone(tmp_path: Path) -> None:
    state = dict(snapshot(mlp()).tensors)
    save_file(state, tmp_path / "m.safetensors")
    sb3_zip(tmp_path / "m.zip", state)
    for name in ("m.safetensors", "m.zip"):
        with pytest.raises(CheckpointError, match=r"no 'generator' in .*, whose format has a single state dict"):
            read_weights(tmp_path / name, key="generator")


def test_reading_takes_nothing_away_that_was_allowed(tmp_path: Path) -> None:
    """torch's own context removes what it was given, also where somebody had allowed it for the whole process."""
    torch.save({"model": {"a": torch.ones(1)}, "args": argparse.Namespace(a=1)}, tmp_path / "c.pt")
    before = torch.serialization.get_safe_globals()
    read_weights(tmp_path / "c.pt")
    assert set(map(str, torch.serialization.get_safe_globals())) == set(map(str, before))
    torch.serialization.add_safe_globals([argparse.Namespace])
    try:
        read_weights(tmp_path / "c.pt")
        assert argparse.Namespace in torch.serialization.get_safe_globals()
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)
