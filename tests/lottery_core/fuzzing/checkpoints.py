"""Mutants of other people's checkpoints."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import pickle
import pickletools
import random
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy
import torch
from torch import nn

from lottery_core import Weights, read_weights
from lottery_core.checkpoints import dialect_of, state_of
from tests.lottery_core.fuzzing import archives, mutations
from tests.lottery_core.fuzzing.reader import Files, Reader, bytes_of, use
from tests.lottery_core.helpers import Tied, mlp


def _checkpoint_seeds(folder: Path) -> Sequence[Files]:
    torch.manual_seed(0)
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    state, tied = model.state_dict(), Tied().state_dict()
    history = [{"num_updates": 5, "criterion_name": "x"}]
    fairseq = {
        "args": argparse.Namespace(arch="x"),
        "model": tied,
        "optimizer_history": history,
        "best": numpy.float64(3.5),
    }
    contents: list[object] = [
        state,
        {"net": state, "acc": torch.tensor(93.1), "epoch": 3, "optimizer": optimizer.state_dict()},
        {"state_dict": OrderedDict((f"module.{name}", value) for name, value in tied.items()), "step": 7},
        {"generator": state, "discriminator": {"a.weight": torch.randn(3, 3)}, "random": numpy.arange(3.0)},
        fairseq,
        {"weight": nn.Parameter(torch.randn(3, 3)), "std": torch.ones(3), "pe": torch.randn(1, 3, 3).expand(2, 3, 3)},
    ]
    seeds = [{"c": bytes_of(lambda path, content=content: torch.save(content, path), folder)} for content in contents]
    for content in contents[:3]:
        old = io.BytesIO()
        torch.save(content, old, _use_new_zipfile_serialization=False)
        seeds.append({"c": old.getvalue()})
    policy, adam = io.BytesIO(), io.BytesIO()
    torch.save({"q_net.0.weight": torch.randn(3, 2), "q_net_target.0.weight": torch.randn(3, 2)}, policy)
    torch.save(optimizer.state_dict(), adam)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("data", json.dumps({"num_timesteps": 640, "policy_class": {":type:": "x"}}))
        archive.writestr("policy.pth", policy.getvalue())
        archive.writestr("policy.optimizer.pth", adam.getvalue())
    return [*seeds, {"c": stream.getvalue()}]


def _change_checkpoint(files: Files, rng: random.Random, folder: Path) -> Files:
    data = files["c"]
    if rng.random() < 0.2:
        return {"c": mutations.flip(data, rng)}
    if data[:4] == b"PK\x03\x04":
        return {"c": archives.change_zip(data, rng)}
    # torch's older files: five pickles, then the weights.
    stream, parts = io.BytesIO(data), []
    for _ in range(5):
        first = stream.tell()
        with contextlib.suppress(Exception):
            for operation, _, _ in pickletools.genops(stream):
                if operation.code.encode("latin1") == pickle.STOP:
                    break
        parts.append(data[first : stream.tell()])
    number = rng.choice([3, 3, 3, 4, rng.randrange(5)])
    parts[number] = archives.change_pickle(parts[number], rng)
    return {"c": b"".join(parts) + data[stream.tell() :]}


def _read_checkpoint(folder: Path, turn: int) -> None:
    path = folder / "c"
    ways = [dialect_of, state_of, lambda path: read_weights(path, "net"), *[read_weights] * 3]
    weights = ways[turn % len(ways)](path)
    if isinstance(weights, Weights):
        use(weights, turn)


CHECKPOINT = Reader("checkpoint", _checkpoint_seeds, _change_checkpoint, _read_checkpoint)
