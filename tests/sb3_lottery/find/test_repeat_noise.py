"""``find_tickets(repeat_noise=...)``: real agents, the same tickets under other noise."""

from __future__ import annotations

from pathlib import Path

import torch

from lottery_core import Ticket, Weights
from lottery_core.experiments.graph.plan import Run, dense
from sb3_lottery import find_tickets
from tests.sb3_lottery import tiny
from tests.sb3_lottery.trace import Trace

OPTIONS = {
    "total_timesteps": 96,
    "rewind": "timesteps:24",
    "rounds": 1,
    "prune_rate": 0.5,
    "score_episodes": 5,
    "floor": False,
}


def test_tickets_stay_and_noise_differs(tmp_path: Path) -> None:
    traces: list[Trace] = []

    def callbacks(seed: int) -> Trace:
        traces.append(Trace())
        return traces[-1]

    def make_model(seed: int):
        return tiny.make("a2c", seed)

    found = find_tickets(make_model, tmp_path, **OPTIONS, repeat_noise=2, progress=False, callbacks=callbacks)
    assert [(row.kind, row.noise) for row in found.rows] == [
        *(("dense", 1), ("dense", 2), ("winning", 1), ("winning", 2), ("random", 1), ("random", 2)),
    ]
    first, again = [trace.seen for trace in traces[-6:-3]], [trace.seen for trace in traces[-3:]]
    assert first[0] == first[1] == first[2]
    assert again[0] == again[1] == again[2]
    assert first[0] != again[0]
    for kind in ("winning", "random"):
        one, other = (tmp_path / Run(1, kind, 1, noise).folder / "ticket.safetensors" for noise in (1, 2))
        assert one.read_bytes() == other.read_bytes()
    start = Weights.load(tmp_path / dense(1).folder / "init.safetensors")
    whole = Ticket.load(tmp_path / Run(1, "dense", 0, 2).folder / "ticket.safetensors")
    assert all(torch.equal(whole.start()[name], tensor) for name, tensor in start.tensors.items())
