"""Small torch files that ask for gigabytes, or for years: refused in one line before torch loads them."""

from __future__ import annotations

import _codecs
import io
import pickle
import struct
import subprocess
import sys
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import nn

from lottery_core import read_weights
from lottery_core.checkpoints.pickles import HostileError, PickleWalk
from lottery_core.errors import CheckpointError
from tests.lottery_core.helpers import mlp

WEIGHT = torch.ones(4, 4)


class Call:
    """Unpickles as the result of a call, with a state where there is one."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, state: Any = None) -> None:
        self.result = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.result


def doubled(times: int) -> Any:
    text: Any = Call(_codecs.encode, "a" * 100, "latin1")
    for _ in range(times):
        text = Call(_codecs.encode, text, "hex")
    return text


# A tuple of one tuple twice, sixty levels deep: here nothing hashes it. Then it is a key, or the member of a set.
NESTED = b"\x80\x02K\x01\x85q\x00" + b"h\x00h\x00\x86q\x00" * 60


def raw(program: bytes) -> Callable[[Path], None]:
    """A torch file with these operations as its pickle, in a zip that is compressed."""

    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data.pkl", program)
            archive.writestr("archive/version", "3\n")
            archive.writestr("archive/byteorder", "little")

    return write


def holding(content: Any, new: bool = True) -> Callable[[Path], None]:
    return lambda path: torch.save(content, path, _use_new_zipfile_serialization=new)


def deflated(path: Path) -> None:
    stream = io.BytesIO()
    torch.save({"weight": torch.zeros(18_000_000)}, stream)
    with zipfile.ZipFile(stream) as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for info in plain.infolist():
            archive.writestr(info.filename, plain.read(info))


def before_a_zip(path: Path) -> None:
    """What Python takes for a zip, and torch for one of its older files."""
    stream = io.BytesIO()
    torch.save({"weight": WEIGHT, "x": Call(bytearray, 10**10)}, stream, _use_new_zipfile_serialization=False)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("readme", "nothing")
    path.write_bytes(stream.getvalue() + archive.getvalue())


COPIES = b"\x80\x02(" + b"".join(b"X\x01\x00\x00\x00a" for _ in range(20_000)) + b"tq\x00]("
COPIES += b"ccollections\nCounter\nq\x01h\x00\x85q\x02R" + b"h\x01h\x02R" * 20_000 + b"e."
RECONSTRUCT, SCALAR = numpy._core.multiarray._reconstruct, numpy._core.multiarray.scalar
SUBCLASS = torch._tensor._rebuild_from_type_v2
BOMBS: dict[str, tuple[Callable[[Path], object], str]] = {
    "bytearray": (holding({"weight": WEIGHT, "x": Call(bytearray, 10**10)}), "asks to unpickle bytearray"),
    "bytearray in an older file": (holding({"weight": WEIGHT, "x": Call(bytearray, 10**10)}, False), "bytearray"),
    "bytearray before a zip": (before_a_zip, "asks to unpickle bytearray"),
    "bytearray through a subclass": (
        holding({"x": Call(SUBCLASS, bytearray, nn.Parameter, (10**10,), {})}),
        "bytearray",
    ),
    "a text that doubles": (holding({"weight": WEIGHT, "x": doubled(30)}), "asks to encode as hex"),
    "an array": (holding({"x": Call(RECONSTRUCT, numpy.ndarray, (10**10,), b"b")}), "for a size of 10000000000"),
    "a number of gigabytes": (
        holding({"x": Call(SCALAR, Call(numpy.dtype, "V2000000000"))}),
        "the numpy type V2000000000",
    ),
    "a tensor of a size": (holding({"weight": Call(torch.FloatTensor, 10**9)}), "torch.FloatTensor of a size"),
    "a key that takes years": (raw(NESTED + b"}h\x00K\x01s."), "a key of thousands of parts"),
    "a member that takes years": (raw(NESTED + b"cbuiltins\nset\n]h\x00a\x85R."), "far more objects than"),
    "copies": (raw(COPIES), "far more objects than it has bytes"),
    "sets": (raw(b"\x80\x02(" + b"\x8f" * 900_000 + b"t."), "asks for thousands of sets"),
    "a long pickle": (raw(b"\x80\x02(" + b"N" * 3_000_000 + b"t."), "far more than it has"),
    "compressed zeros": (deflated, "far more than it has"),
    "a view": (holding({"weight": torch.ones(1).expand(1 << 15, 1 << 15)}), "with fewer values than that"),
    "many views": (
        holding({f"{i}.weight": torch.ones(1).expand(2000 + i, 2000) for i in range(100)}),
        "with fewer values than that",
    ),
    "nothing of a terabyte": (holding({"weight": torch.ones(0, 10**12)}), "an empty tensor"),
    "a method that is none": (
        holding({"model": Call(OrderedDict, state={"items": 5, "weight": WEIGHT})}),
        "redefines 'items' of an object",
    ),
}
LIMITED = """
import resource, sys
import numpy, torch, zstandard
from lottery_core import read_weights
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 600 * 2**20,) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (100, resource.getrlimit(resource.RLIMIT_CPU)[1]))
for path in sys.argv[1:]:
    try:
        read_weights(path)
        print("read")
    except Exception as error:
        print(type(error).__name__, error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space are Linux's")
def test_bombs_are_found_before_torch_loads_them(tmp_path: Path) -> None:
    paths = []
    for number, (write, _) in enumerate(BOMBS.values()):
        paths.append(tmp_path / f"{number}.pt")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            write(paths[-1])
        assert paths[-1].stat().st_size < 1_000_000, number
    done = subprocess.run([sys.executable, "-c", LIMITED, *paths], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert len(lines) == len(BOMBS), (done.stdout, done.stderr[-800:])
    assert not done.stderr
    for (name, (_, words)), line in zip(BOMBS.items(), lines, strict=True):
        assert line.startswith("CheckpointError"), (name, line)
        assert words in line, (name, line)


def test_what_people_save_is_read(tmp_path: Path) -> None:
    """Options, meters, random states, parameters with attributes, and a text that is a codec's name."""
    model = mlp()
    parameter = nn.Parameter(WEIGHT.clone())
    parameter.sharding = "rows"
    content = {
        "model": model.state_dict() | {"more.weight": parameter},
        "best": numpy.float64(3.5),
        "losses": numpy.arange(300.0),
        "random": torch.get_rng_state(),
        "hex": "hex",
        "key": {(1, "a"): 3},
        "set": {1, 2},
    }
    for new in (True, False):
        torch.save(content, tmp_path / "c.pt", _use_new_zipfile_serialization=new)
        assert read_weights(tmp_path / "c.pt").tensors.keys() == content["model"].keys()


def test_a_walk_ends_where_torch_ends() -> None:
    """What torch's reader does not know ends the walk: it ends torch's, too."""
    for program in (b"", b"\x80\x02", b"\x80\x04\x95" + struct.pack("<Q", 9), b"tR.", b"h\x05.", b"cposix\n", b"\xff"):
        assert PickleWalk(io.BytesIO(program), 100).walk() is False
    assert PickleWalk(io.BytesIO(pickle.dumps({"a": [1, 2.5, "b", None, True]}, protocol=2)), 100).walk() is True
    with pytest.raises(HostileError, match="bytearray"):
        PickleWalk(io.BytesIO(b"c__builtin__\nbytearray\n."), 100).walk()


KINDS: dict[str, tuple[Callable[[], torch.Tensor], str]] = {
    "sparse": (lambda: WEIGHT.to_sparse(), "sparse or nested"),
    "compressed rows": (lambda: WEIGHT.to_sparse_csr(), "sparse or nested"),
    "nested": (lambda: torch.nested.nested_tensor([WEIGHT, WEIGHT[:2]]), "sparse or nested"),
    "jagged": (lambda: torch.nested.nested_tensor([WEIGHT, WEIGHT[:2]], layout=torch.jagged), "sparse or nested"),
    "quantised": (lambda: torch.quantize_per_tensor(WEIGHT, 0.1, 0, torch.qint8), "quantized"),
    "without values": (lambda: WEIGHT.to("meta"), "on the device meta"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_are_not_dense_are_one_line(kind: str, tmp_path: Path) -> None:
    make, words = KINDS[kind]
    torch.save({"a.weight": make(), "b.weight": WEIGHT}, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match=rf"'a.weight' is .*{words}.*; only dense tensors are read") as caught:
        read_weights(tmp_path / "c.pt")
    assert len(str(caught.value).splitlines()) == 1
