"""Mutants of tickets, sparse files and files of weights."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from lottery_core import Ticket, Weights, prune, read_weights, snapshot
from lottery_core.errors import LotteryError
from lottery_core.inference.load_sparse import load_sparse
from lottery_core.inference.sparse_file import SparseFile, _crc, save_sparse
from lottery_core.tickets import claimed_digest, describe, render
from lottery_core.tickets.ticket_file import decode
from tests.lottery_core.fuzzing import mutations
from tests.lottery_core.fuzzing.reader import Files, Reader, bytes_of, use
from tests.lottery_core.helpers import Tied, a_ticket, mlp


def _ticket_seeds(folder: Path) -> Sequence[Files]:
    torch.manual_seed(0)
    tied = snapshot(Tied())
    convolution = snapshot(nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3)))
    half = Weights(
        {"a.weight": torch.randn(9, 5).half(), "b.weight": torch.randn(3, 9).double(), "e": torch.randn(0, 3)}
    )
    names = {f"{part}.{layer}.weight": torch.randn(4, 4) for part in ("encoder", "decoder") for layer in "ab"}
    tickets = [
        a_ticket(),
        prune(tied, tied, rate=0.6, rewind_point="epoch:1", seed=3),
        prune(convolution, convolution, rate=0.9),
        prune(half, half, rate=0.5, scope=["weight", "e"]),
        prune(Weights(names), Weights(names), rate=0.5, scope_shares="separate"),
    ]
    return [{"t": bytes_of(ticket.save, folder)} for ticket in tickets]


def _change_ticket(files: Files, rng: random.Random, folder: Path) -> Files:
    data = files["t"]
    how = rng.random()
    if how < 0.2:
        return {"t": mutations.flip(data, rng)}
    metadata, blocks = mutations.split_safetensors(data)
    if how < 0.3:
        return {"t": mutations.join_safetensors(metadata, blocks, rng)}
    header = json.loads(metadata["lottery"])
    if how < 0.8:
        header = mutations.change_json(header, rng)
    if how > 0.7:
        blocks = mutations.change_blocks(blocks, rng)
    metadata["lottery"] = mutations.dump(header, rng)
    data = mutations.join_safetensors(metadata, blocks)
    if isinstance(header, dict) and rng.random() < 0.5:  # a digest that fits, so that what follows is reached
        (folder / "t").write_bytes(data)
        with contextlib.suppress(Exception):
            content = decode(folder / "t")
            header["digest"] = Ticket(content.masks, content.weights, content.rest, content.origin).digest
            data = mutations.join_safetensors({"lottery": json.dumps(header)}, blocks)
    return {"t": data}


def _read_ticket(folder: Path, turn: int) -> None:
    path = folder / "t"
    if turn % 4 == 0:
        claimed_digest(path)
    ticket = Ticket.load(path)
    json.dumps(describe(ticket))
    render(ticket)
    weights = Weights(ticket.start())
    again = prune(weights, weights, rate=0.5, previous=ticket)
    assert Ticket.load(path).digest == ticket.digest
    again.to_bytes()


class _Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(30, 8)
        self.first = nn.Linear(8, 16)
        self.last = nn.Linear(16, 30, bias=False)
        self.last.weight = nn.Parameter(self.last.weight.detach())


def _small() -> _Small:
    torch.manual_seed(1)
    model = _Small()
    for parameter in model.parameters():
        parameter.data[torch.rand_like(parameter) < 0.9] = 0
    return model


def _sparse_seeds(folder: Path) -> Sequence[Files]:
    state = _small().state_dict()
    tied = {**state, "more.weight": state["words.weight"]}
    half = {name: tensor.half() for name, tensor in state.items()}
    config = {"framework": "fairseq", "config": {"model": {"a": 1}, "list": [1, 2]}}
    return [
        {"s": bytes_of(lambda path: save_sparse(state, path), folder)},
        {"s": bytes_of(lambda path: save_sparse(tied, path, **config), folder)},
        {"s": bytes_of(lambda path: save_sparse(half, path), folder)},
    ]


def _change_sparse(files: Files, rng: random.Random, folder: Path) -> Files:
    data = files["s"]
    how = rng.random()
    if how < 0.2:
        return {"s": mutations.flip(data, rng)}
    metadata, blocks = mutations.split_safetensors(data)
    if how < 0.3:
        return {"s": mutations.join_safetensors(metadata, blocks, rng)}
    header = json.loads(metadata["lottery"])
    if how < 0.8:
        header = mutations.change_json(header, rng)
    if how > 0.65:
        blocks = mutations.change_blocks(blocks, rng)
    if isinstance(header, dict) and rng.random() < 0.8:  # a checksum that fits
        (folder / "s").write_bytes(mutations.join_safetensors({}, blocks))
        header.pop("crc", None)
        with contextlib.suppress(Exception):
            header["crc"] = _crc(header, Weights.load(folder / "s").tensors)
    metadata["lottery"] = mutations.dump(header, rng)
    return {"s": mutations.join_safetensors(metadata, blocks)}


def _read_sparse(folder: Path, turn: int) -> None:
    file = SparseFile(folder / "s")
    for name in file.shapes():
        file.pruned(name)
        file.is_floating_point(name)
        with contextlib.suppress(LotteryError):
            file.tensor(name)
        if name in file._packed:
            with contextlib.suppress(LotteryError):
                file.matrix(name)
    model = load_sparse(folder / "s", _Small())
    model.first(torch.ones(1, 8))


def _weights_seeds(folder: Path) -> Sequence[Files]:
    model = mlp()
    model[0].requires_grad_(False)
    tied = Tied()
    return [
        {"w": bytes_of(snapshot(model).save, folder)},
        {"w": bytes_of(snapshot(tied).save, folder)},
        {"w": mutations.join_safetensors(None, mutations.split_safetensors(bytes_of(snapshot(tied).save, folder))[1])},
    ]


def _change_weights(files: Files, rng: random.Random, folder: Path) -> Files:
    data = files["w"]
    how = rng.random()
    if how < 0.3:
        return {"w": mutations.flip(data, rng)}
    metadata, blocks = mutations.split_safetensors(data)
    if how < 0.6:
        return {"w": mutations.join_safetensors(metadata, blocks, rng)}
    if metadata:
        metadata["lottery"] = mutations.dump(mutations.change_json(json.loads(metadata["lottery"]), rng), rng)
    for _ in range(rng.randrange(3)):
        blocks = mutations.change_blocks(blocks, rng)
    types = ["F64", "F16", "I8", "U8", "BOOL", "C64", "F8_E4M3", "F8_E5M2", "BF16", "I64", "U16", "F8_E8M0", "F4"]
    name = rng.choice(list(blocks))
    if rng.random() < 0.5:
        blocks[name] = ({"dtype": rng.choice(types), "shape": [len(blocks[name][1])]}, blocks[name][1])
    return {"w": mutations.join_safetensors(metadata, blocks)}


def _read_weights(folder: Path, turn: int) -> None:
    weights = read_weights(folder / "w")
    if turn % 2:
        weights.save(folder / "again")
    else:
        use(weights, turn)


TICKET = Reader("ticket", _ticket_seeds, _change_ticket, _read_ticket)
SPARSE = Reader("sparse", _sparse_seeds, _change_sparse, _read_sparse)
WEIGHTS = Reader("weights", _weights_seeds, _change_weights, _read_weights)
