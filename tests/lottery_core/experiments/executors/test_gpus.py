"""Parallel runs share the GPUs equally."""

from __future__ import annotations

import pytest
import torch

from lottery_core.experiments.executors.gpus import shares, visible_gpus


@pytest.mark.parametrize(
    ("gpus", "jobs", "expected"),
    [
        ("", 2, []),
        ("3", 2, []),
        ("0 1 2 3", 1, []),
        ("0 1 2 3", 2, ["0,1", "2,3"]),
        ("4 5 6 7 8", 2, ["4,5", "6,7"]),
        ("0 1 2 3", 3, ["0", "1", "2"]),
        ("GPU-a GPU-b", 5, ["GPU-a", "GPU-b"]),
    ],
)
def test_gpus_are_shared_equally(gpus: str, jobs: int, expected: list[str]) -> None:
    assert shares(gpus.split(), jobs) == expected


def test_gpus_are_named_as_the_environment_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert visible_gpus() == ["5", "7"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_gpus() == ["0", "1"]
