"""Half precision: the fp32 masters start at the ticket, and a resumed training goes on with the same bits.

There is no GPU here: flat masters are those of a GPU by a trick, the others are fairseq's own on a CPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lottery_core import Ticket
from lottery_core.tickets.weights import Weights
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import ADAM, TRANSFORMER, TRANSLATION, assert_dead, load, split, train

BASE = [*TRANSLATION, *TRANSFORMER]
# Flat masters as on a GPU: all that the CPU lacks for them is the number of the current device.
ON_A_GPU = "import torch\ntorch.cuda.current_device = lambda: None"
# The loss scale grows every third update: not at the same ones after a resume that forgets when it last grew.
WINDOW = "--fp16-scale-window 3"
PRECISIONS = {
    "fp32": "",
    "flat-fp16": f"--fp16 {WINDOW}",
    "fp16": f"--fp16 --fp16-no-flatten-grads {WINDOW}",
    "memory-efficient-fp16": f"--memory-efficient-fp16 {WINDOW}",
    "amp": "--amp",
    "bf16": "--bf16",
}
ROUNDED = {"memory-efficient-fp16": torch.float16}  # no masters: the weights themselves are fp16


def words_of(name: str, folder: Path) -> list[Any]:
    """The arguments of a precision."""
    words: list[Any] = split(PRECISIONS[name])
    if name == "flat-fp16":
        words += ["--user-dir", helpers.own_user_dir(folder / "user", "on_a_gpu", ON_A_GPU)]
    return words


@pytest.mark.parametrize("name", PRECISIONS)
def test_a_ticket_starts_exactly(name: str, translation_data: Path, ticket: Path, tmp_path: Path) -> None:
    """At a learning rate of 0, what a checkpoint has after an epoch are the start values; also for plain torch."""
    words = [*BASE, *split("--optimizer adam --lr 0 --max-epoch 1"), "--ticket", ticket, *words_of(name, tmp_path)]
    train(translation_data, tmp_path / "run", *words)
    trained = load(tmp_path / "run/checkpoint_last.pt")["model"]
    masks = Ticket.load(ticket).masks
    differ = 0
    for key, value in Ticket.load(ticket).start().items():
        expected = value.to(ROUNDED[name]).float() if name in ROUNDED else value
        differ += int((trained[key] != expected).sum())
    assert not differ, f"{differ} of {masks.surviving} survivors differ"
    assert_dead(trained, ticket, aliases=3)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == "bf16" else pytest.mark.slow) for name in PRECISIONS if name != "fp32"],
)
def test_a_resumed_training_has_the_same_bits(
    name: str, translation_data: Path, dense: Path, ticket: Path, tmp_path: Path
) -> None:
    """Also those of a moving average; and the next ticket is pruned from what it leaves."""
    words = [*BASE, *ADAM, *split("--weight-decay 0.01"), "--ticket", ticket, *words_of(name, tmp_path)]
    ema = name.endswith("fp16")
    words += split("--store-ema --ema-decay 0.9 --ema-fp32") if ema else []
    user_dir = [] if "--user-dir" in words else ["--user-dir", helpers.USER_DIR]
    at_once = [
        [translation_data, *user_dir, "--save-dir", tmp_path / folder, *helpers.COMMON, *words, *more]
        for folder, more in (("whole", []), ("parts", ["--max-update", 4]))
    ]
    helpers.side_by_side(at_once, [{}, {}])
    train(translation_data, tmp_path / "parts", *words)
    whole, parts = (load(tmp_path / folder / "checkpoint_last.pt") for folder in ("whole", "parts"))
    assert whole["optimizer_history"][-1]["num_updates"] == parts["optimizer_history"][-1]["num_updates"] > 4
    differ = sum(int((value != parts["model"][key]).sum()) for key, value in whole["model"].items())
    assert not differ, f"{differ} weights differ"
    assert_dead(parts["model"], ticket, aliases=3)
    if ema:
        assert_dead(parts["extra_state"]["ema_fp32_params"], ticket, aliases=3)
        assert helpers.same(*(state["extra_state"]["ema_fp32_params"] for state in (whole, parts)))
    again = tmp_path / "next.safetensors"
    options = ["--rewind", dense / "rewind.safetensors", "--previous", ticket, "--rate", 0.5, "-o", again]
    done = helpers.lottery("prune", tmp_path / "parts/checkpoint_last.pt", *options)
    assert "are not zero" not in done.stderr, "its mask was not held"
    assert Ticket.load(again).masks.pool == Ticket.load(ticket).masks.pool, "a tied tensor was counted twice"


def test_a_dense_bf16_run_keeps_its_masters(translation_data: Path, tmp_path: Path) -> None:
    """What is pruned, and what tickets rewind to, are the masters; the model is their rounding."""
    words = [*BASE, *ADAM, "--bf16", "--rewind-point", "update:8", "--max-update", 8]
    train(translation_data, tmp_path, *words)
    last = load(tmp_path / "checkpoint_last.pt")
    rewind = Weights.load(tmp_path / "rewind.safetensors")
    assert all(torch.equal(last["model"][name], tensor) for name, tensor in rewind.tensors.items())
    values = last["model"]["encoder.layers.0.fc1.weight"]
    assert not torch.equal(values, values.bfloat16().float()), "rounded"
