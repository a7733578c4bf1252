"""Ticket files that somebody else wrote: refused in one line, for no more memory than their bytes account for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from lottery_core import Ticket, Weights, prune, snapshot
from lottery_core.cli import main
from lottery_core.errors import PruneError, TicketError
from lottery_core.tickets.encoding import pack_bits
from tests.lottery_core.helpers import a_ticket

Change = Callable[[dict[str, Any], dict[str, torch.Tensor]], object]


def changed(path: Path, change: Change) -> None:
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["lottery"])
    payload = load_file(path)
    change(header, payload)
    save_file(payload, path, {"lottery": json.dumps(header)})


def padding(header: dict[str, Any], payload: dict[str, torch.Tensor]) -> None:
    ticket = a_ticket()
    bits = torch.cat([mask.reshape(-1) for mask in ticket.masks.values()])
    assert len(bits) % 8
    payload["mask"] = pack_bits(torch.cat([bits, torch.ones(8 - len(bits) % 8, dtype=torch.bool)]))


def behind(header: dict[str, Any], payload: dict[str, torch.Tensor]) -> None:
    payload["mask"] = torch.cat([payload["mask"], torch.ones(1000, dtype=torch.uint8)])


def moved(header: dict[str, Any], payload: dict[str, torch.Tensor]) -> None:
    header["tensors"][0][3] -= 1
    header["tensors"][1][3] += 1


CHANGES: dict[str, tuple[Change, str]] = {
    "pool is text": (lambda h, p: h.update(pool="1"), "'pool' must be a whole number"),
    "pool is null": (lambda h, p: h.update(pool=None), "'pool' must be a whole number"),
    "version is no number": (lambda h, p: h.update(version="1"), "format 1; this version reads format 1"),
    "version is true": (lambda h, p: h.update(version=True), "format True; this version reads"),
    "counts that contradict": (lambda h, p: h.update(pruned=h["pruned"] - 1), "contradict each other"),
    "surviving is wrong": (
        lambda h, p: h.update(surviving=h["surviving"] + 1, pruned=h["pruned"] - 1),
        "contradict each other",
    ),
    "an unknown block": (lambda h, p: p.update(more=torch.zeros(3)), "the block of data 'more' is unknown"),
    "a missing block": (lambda h, p: p.pop("values.float32.2"), "'values.float32.2' is missing"),
    "a block of floats": (lambda h, p: p.update(mask=torch.zeros(3)), "another type than bytes"),
    "bits behind the end": (padding, "bits are set behind its end"),
    "tensors is a number": (lambda h, p: h.update(tensors=5), "no digest or no tensors"),
    "a tensor in another form": (lambda h, p: h["tensors"].__setitem__(0, ["a", 3]), "in another form"),
    "a negative shape": (lambda h, p: h["tensors"][0].__setitem__(1, [-4, -4]), "in another form"),
    "an unknown type": (lambda h, p: h["tensors"][0].__setitem__(2, "float8"), "in another form"),
    "names twice": (lambda h, p: h["tensors"].__setitem__(1, h["tensors"][0]), "names tensors twice"),
    "a number of heads is text": (
        lambda h, p: h["origin"].update(heads={"a": 2, "b": "2"}),
        "its origin is damaged: 'heads.b' must be",
    ),
    "origin is a list": (lambda h, p: h.update(origin=[1]), "its origin is damaged: it must be an object"),
    "origin of a wrong type": (lambda h, p: h["origin"].update(round="one"), "'round' must be a whole number"),
    "a scope of numbers": (lambda h, p: h["origin"].update(scope=[1, 2]), "'scope.0' must be a string"),
    "a rate of text": (lambda h, p: h["origin"].update(prune_rate="0.2"), "'prune_rate' must be a number or null"),
    "versions are a text": (lambda h, p: h["origin"].update(versions="1"), "'versions' must be an object"),
    "digest is a number": (lambda h, p: h.update(digest=5), "no digest"),
    "half a character in a name": (lambda h, p: h["tensors"][0].__setitem__(0, "\ud800"), "in order"),
    "half a character in a word": (lambda h, p: h["origin"].update(rewind="\ud800"), "has control characters"),
    "half a character in a later key": (lambda h, p: h["origin"].update(later=["\udfff"]), "has control characters"),
    "an empty tensor in it": (lambda h, p: h["tensors"].insert(0, ["-", [0, 10**12], "float32", 0]), "believable"),
    "an empty tensor outside": (lambda h, p: p.update({"rest.x": torch.zeros(0, 10**12)}), "no believable shape"),
    "bytes behind a block": (behind, "unused data"),
    "survivors of another tensor": (moved, "another count of survivors than the header"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_lie_is_one_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, words = CHANGES[name]
    path = tmp_path / "t.safetensors"
    a_ticket().save(path)
    changed(path, change)
    with pytest.raises(TicketError) as caught:
        Ticket.load(path)
    assert words in str(caught.value)
    assert main(["inspect", str(path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("empty", [(3, 0, 2), (0, 4, 2), (0, 3)])
def test_a_ticket_with_an_empty_layer_is_shown(empty: tuple[int, ...], tmp_path: Path) -> None:
    weights = Weights({"0.weight": torch.zeros(empty), "1.weight": torch.randn(4, 4)})
    path = tmp_path / "t.safetensors"
    prune(weights, weights, rate=0.5).save(path)
    assert main(["inspect", str(path)]) == 0
    assert main(["inspect", str(path), "--json"]) == 0


def test_deep_json_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"lottery": "[" * 100_000 + "]" * 100_000})
    with pytest.raises(TicketError, match="nested too deeply"):
        Ticket.load(path)


def test_a_key_of_a_later_version_is_kept(tmp_path: Path) -> None:
    """The digest covers it, so it must survive loading and saving."""
    path, again = tmp_path / "t.safetensors", tmp_path / "again.safetensors"
    later = a_ticket()
    later = later.with_origin(further={"strategy": {"name": "new"}})
    later.save(path)
    loaded = Ticket.load(path)
    assert loaded.origin.further == {"strategy": {"name": "new"}}
    loaded.save(again)
    assert again.read_bytes() == path.read_bytes()


LIMITED = """
import resource, sys
import torch, numpy, safetensors.torch, zstandard
from lottery_core import Ticket
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 400 * 2**20,) * 2)
try:
    Ticket.load(sys.argv[1])
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space are Linux's")
@pytest.mark.parametrize(("pool", "padding"), [(40_000_000, 0), (40_000_000, 1 << 20), (10**12, 0)])
def test_a_small_file_gets_little_memory(pool: int, padding: int, tmp_path: Path) -> None:
    """A mask of zeros compresses to nothing, so a small file can claim a huge pool, with a right digest, too.

    What is beside the masks and values does not make a claim more believable.
    """
    path = tmp_path / "bomb.safetensors"
    origin = a_ticket().origin.as_json()
    mask = pack_bits(torch.zeros(min(pool, 10**9), dtype=torch.bool))
    payload = {"mask": mask} | {f"values.float32.{i}": pack_bits(torch.zeros(0, dtype=torch.bool)) for i in range(4)}
    header = {
        "format": "lottery-ticket",
        "version": 1,
        "pool": pool,
        "pruned": pool,
        "surviving": 0,
        "origin": origin,
        "tensors": [["w", [pool], "float32", 0]],
        "digest": "0" * 64,
    }
    if padding:
        payload["rest.x"] = torch.zeros(padding, dtype=torch.uint8)
    save_file(payload, path, {"lottery": json.dumps(header)})
    assert path.stat().st_size < 20_000 + padding
    done = subprocess.run([sys.executable, "-c", LIMITED, path], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("TicketError"), (done.stdout, done.stderr[-500:])
    assert f"claims {pool} parameters, more than a file of its size can hold" in done.stdout


@pytest.mark.parametrize("kind", ["device", "fifo", "folder"])
def test_only_regular_files_are_read(kind: str, tmp_path: Path) -> None:
    path = {"device": Path("/dev/zero"), "fifo": tmp_path / "fifo", "folder": tmp_path}[kind]
    if kind == "fifo":
        os.mkfifo(path)
    with pytest.raises(TicketError, match="Is a directory" if kind == "folder" else "Not a regular file"):
        Ticket.load(path)


@pytest.mark.parametrize("space", ["\u00a0", "\t", "\n", "\u3000", " "])
def test_spaces_of_every_kind_go_through_the_file(
    space: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = nn.ModuleDict({f"front{space}camera": nn.Linear(2, 2)})
    start = snapshot(model)
    ticket = prune(start, start, rate=0.5, rewind_point=f"epoch 1{space}seed 3")
    path = tmp_path / "t.safetensors"
    ticket.save(path)
    assert Ticket.load(path).digest == ticket.digest
    assert main(["inspect", str(path)]) == 0
    shown = capsys.readouterr().out
    assert all(line.isprintable() for line in shown.splitlines())
    assert len(shown.splitlines()) == 10


def test_control_characters_are_refused_before_they_are_written(tmp_path: Path) -> None:
    ticket = a_ticket().with_origin(rewind="\x1b]0;gone\x07")
    with pytest.raises(TicketError, match=r"'\\x1b\]0;gone\\x07' has control characters"):
        ticket.save(tmp_path / "t.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_rewind_weights_that_are_not_finite_are_refused_as_trained_ones_are(bad: float) -> None:
    good = Weights({"w": torch.randn(4, 4)})
    rewind = Weights({"w": good.tensors["w"].clone()}, source="early.pt")
    rewind.tensors["w"][1, 2] = bad
    with pytest.raises(PruneError, match=r"1 weights of 'w' in early.pt are NaN or infinite"):
        prune(good, rewind, rate=0.5)
