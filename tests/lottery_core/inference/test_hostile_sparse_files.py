"""Sparse files that somebody else wrote: refused in one line, before anything gets memory for what they claim."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import zstandard
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lottery_core import load_sparse
from lottery_core.cli.lottery import main
from lottery_core.errors import CheckpointError
from lottery_core.inference.sparse_file import SparseFile, _crc, is_sparse_file, save_sparse
from tests.lottery_core.inference.test_sparse_file import Net, net

__all__ = ["net"]

HEADERS: dict[str, tuple[Any, str]] = {
    "an alias of nothing": (lambda h: h["aliases"].update({"out.weight": "nope"}), "there is no 'nope'"),
    "an alias of itself": (lambda h: h["aliases"].update({"last.bias": "last.bias"}), "names 'last.bias' twice"),
    "an unknown tensor": (lambda h: h["packed"][0].__setitem__(0, "nope"), "does not fit the data: 'gaps.nope'"),
    "a wider type": (lambda h: h["packed"][0].__setitem__(2, "float64"), "'values.words.weight.4' is missing"),
    "a count in words": (lambda h: h["packed"][0].__setitem__(3, "many"), "'words.weight' in another form"),
    "a count that is true": (lambda h: h["packed"][0].__setitem__(3, True), "'words.weight' in another form"),
    "more values than places": (lambda h: h["packed"][0].__setitem__(3, 10**9), "1000000000 values in 1440 places"),
    "fewer steps than values": (lambda h: h["packed"][0].__setitem__(4, 1), "1 steps to"),
    "a matrix twice": (lambda h: h["packed"].append(h["packed"][0]), "names 'words.weight' twice"),
    "a vector": (lambda h: h["packed"][0].__setitem__(1, [1440]), "'words.weight' in another form"),
    "a negative shape": (lambda h: h["packed"][0].__setitem__(1, [-60, -24]), "'words.weight' in another form"),
    "an unknown type": (lambda h: h["packed"][0].__setitem__(2, "float8"), "a shape or a type that no matrix has"),
    "a great many rows": (lambda h: h["packed"][0].__setitem__(1, [10**15, 0]), "a shape or a type that no"),
    "many empty rows": (lambda h: h["packed"][0].__setitem__(1, [10**9, 0]), "claims to be an empty tensor"),
    "a huge shape": (lambda h: h["packed"][0].__setitem__(1, [10**6, 10**6]), "more than a file of its size can hold"),
    "too few entries": (lambda h: h.update(packed=[[]]), "a matrix in another form"),
    "no list": (lambda h: h.update(packed=3), "'packed' must be a list"),
    "a configuration of numbers": (lambda h: h.update(config=3), "'config' must be an object"),
    "aliases of numbers": (lambda h: h.update(aliases={"a": 3}), "'aliases.a' must be a string"),
    "no framework": (lambda h: h.pop("framework"), "the key 'framework' is missing"),
    "a version that is no number": (
        lambda h: h.update(version="1"),
        "has format 1 of sparse models; this version reads",
    ),
    "terminal codes": (lambda h: h.update(framework="\x1b[2J"), "has control characters"),
    "half a character": (lambda h: h.update(framework="\ud800"), "has control characters"),
    "a deep configuration": (
        lambda h: h.update(config=json.loads('{"a":' * 200 + "1" + "}" * 200)),
        "nested too deeply",
    ),
}


def rewritten(net: Net, path: Path, change: Any) -> None:
    """Write the file of a network with another header, and the checksum that belongs to it."""
    save_sparse(net.state_dict(), path)
    payload = load_file(path)
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["lottery"])
    del header["crc"]
    change(header, payload)
    header["crc"] = _crc(header, payload)
    save_file(payload, path, {"lottery": json.dumps(header)})


@pytest.mark.parametrize("change", HEADERS)
def test_a_header_that_does_not_fit(change: str, net: Net, tmp_path: Path) -> None:
    """Also where somebody has made the checksum right."""
    rewritten(net, tmp_path / "bad", lambda header, payload: HEADERS[change][0](header))
    with pytest.raises(CheckpointError) as caught:
        load_sparse(tmp_path / "bad", Net())
    assert HEADERS[change][1] in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_key_of_a_later_version_is_ignored(net: Net, tmp_path: Path) -> None:
    rewritten(net, tmp_path / "later", lambda header, payload: header.update(later=[1]))
    words = torch.randint(0, 60, (5, 4))
    torch.testing.assert_close(load_sparse(tmp_path / "later", Net())(words), net(words))


BLOCKS: dict[str, tuple[Any, str]] = {
    "an unknown block": (lambda p: p.update(more=torch.zeros(3)), "'more' is unknown"),
    "a block of floats": (lambda p: p.update({"gaps.words.weight": torch.zeros(3)}), "is no block of bytes"),
    "a tensor packed and whole": (lambda p: p.update({"rest.words.weight": torch.zeros(3)}), "'words.weight' twice"),
    "an empty tensor of a terabyte": (lambda p: p.update({"rest.x": torch.zeros(0, 10**12)}), "no believable shape"),
}


@pytest.mark.parametrize("change", BLOCKS)
def test_blocks_that_do_not_fit(change: str, net: Net, tmp_path: Path) -> None:
    rewritten(net, tmp_path / "bad", lambda header, payload: BLOCKS[change][0](payload))
    with pytest.raises(CheckpointError, match=BLOCKS[change][1]):
        SparseFile(tmp_path / "bad")


def test_a_place_that_stands_twice_is_refused(net: Net, tmp_path: Path) -> None:
    def twice(header: dict[str, Any], payload: dict[str, torch.Tensor]) -> None:
        name, _, _, count, steps = header["packed"][0]
        assert steps == count
        data = bytearray(zstandard.ZstdDecompressor().decompress(payload[f"gaps.{name}"].numpy().tobytes()))
        data[5] = 0
        frame = zstandard.ZstdCompressor().compress(bytes(data))
        payload[f"gaps.{name}"] = torch.frombuffer(bytearray(frame), dtype=torch.uint8)

    rewritten(net, tmp_path / "bad", twice)
    with pytest.raises(CheckpointError, match="a place twice"):
        load_sparse(tmp_path / "bad", Net())


def test_a_frame_that_claims_more_is_not_unpacked(net: Net, tmp_path: Path) -> None:
    """Zeros compress to nothing: 4 GB of them are 130 kB."""

    def claim(header: dict[str, Any], payload: dict[str, torch.Tensor]) -> None:
        frame = zstandard.ZstdCompressor().compress(bytes(1 << 24))
        for name in ("gaps.words.weight", *(f"values.words.weight.{index}" for index in range(4))):
            payload[name] = torch.frombuffer(bytearray(frame), dtype=torch.uint8)
        header["packed"][0][1:] = [[1 << 14, 1 << 10], "float32", 1 << 24, 1 << 24]

    rewritten(net, tmp_path / "bad", claim)
    assert (tmp_path / "bad").stat().st_size < 100_000
    with pytest.raises(CheckpointError, match="more than a file of its size can hold"):
        SparseFile(tmp_path / "bad")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model."])
def test_prefixes_of_wrappers_are_no_other_architecture(prefix: str, net: Net, tmp_path: Path) -> None:
    state = {f"{prefix}{name}": tensor for name, tensor in net.state_dict().items()}
    state |= {f"{prefix}_extra_state": torch.ones(3)}
    torch.save(state, tmp_path / "net.pt")
    assert main(["export", str(tmp_path / "net.pt"), "-o", str(tmp_path / "net.csr"), "--form", "csr"]) == 0
    words = torch.randint(0, 60, (5, 4))
    torch.testing.assert_close(load_sparse(tmp_path / "net.csr", Net())(words), net(words))


@pytest.mark.parametrize("kind", ["device", "fifo"])
def test_only_regular_files_are_opened(kind: str, tmp_path: Path) -> None:
    path = Path("/dev/zero") if kind == "device" else tmp_path / "fifo"
    if kind == "fifo":
        os.mkfifo(path)
    assert not is_sparse_file(path)
    with pytest.raises(CheckpointError, match="Not a regular file"):
        SparseFile(path)


def test_a_nested_header(net: Net, tmp_path: Path) -> None:
    save_file({"x": torch.ones(1)}, tmp_path / "bad", {"lottery": "[" * 100_000})
    assert not is_sparse_file(tmp_path / "bad")
    with pytest.raises(CheckpointError):
        load_sparse(tmp_path / "bad", net)
