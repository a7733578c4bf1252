"""How often something is masked: on a GPU each time is a kernel to launch."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lottery_core import Ticket
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import ADAM, TRANSFORMER, TRANSLATION, assert_dead, load, split, train
from tests.fairseq_lottery.task.test_precisions import ON_A_GPU

COUNTING = """
import atexit
from lottery_core.masking.eraser import Eraser
calls = []
erase = Eraser.__call__
Eraser.__call__ = lambda eraser, values: calls.append(1) or erase(eraser, values)
atexit.register(lambda: print(f"erasures {len(calls)}", flush=True))
"""
# Updates of four batches; how often each tensor is masked in one.
TRAININGS = {
    "adam": (ADAM, 1),
    "flat fp16": ([*ADAM, "--fp16"], 1),
    "masters": ([*ADAM, *split("--fp16 --fp16-no-flatten-grads")], 1),
    "noisy flat fp16": ([*ADAM, *split("--fp16")], 2),  # and one flat mask
}
NOISY = """
from lottery_core.masking import optimizers
from fairseq_lottery.task import masks
masks.preserves_zeros = lambda optimizer: False
"""


@pytest.mark.parametrize("name", TRAININGS)
def test_once_an_update(name: str, translation_data: Path, ticket: Path, tmp_path: Path) -> None:
    words, times = TRAININGS[name]
    code = COUNTING + ON_A_GPU + (NOISY if name.startswith("noisy") else "")
    user_dir = helpers.own_user_dir(tmp_path / "user", f"counting_{len(name)}", code)
    more = ["--ticket", ticket, "--update-freq", 4, "--max-epoch", 2, "--clip-norm", 0.2, "--user-dir", user_dir]
    text = train(translation_data, tmp_path / "run", *TRANSLATION, *TRANSFORMER, *words, *more)
    state = load(tmp_path / "run/checkpoint_last.pt")
    updates = state["optimizer_history"][-1]["num_updates"]
    masks = Ticket.load(ticket).masks
    tensors = sum(not bool(mask.all()) for _, mask in masks.items())
    (erasures,) = map(int, re.findall(r"^erasures (\d+)$", text, re.M))
    at_the_start = 6 * tensors  # the loaded ticket, new masters, a new state of the optimizer
    assert erasures <= times * updates * (tensors + 1) + at_the_start, f"{erasures / updates / tensors:.1f} an update"
    assert_dead(state["model"], ticket, aliases=3)
