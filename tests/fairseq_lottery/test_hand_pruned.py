"""``lottery prune`` and ``lottery export`` by hand, on fairseq's checkpoints: what the files know is read from them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lottery_core import Ticket
from lottery_core.checkpoints.read import Facts
from lottery_core.cli.hand_pruned import rewind_word
from lottery_core.files import write_json
from tests.conftest import one_line
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import load


def test_the_rewind_point_and_the_seed_come_from_the_files(dense: Path, ticket: Path, tmp_path: Path) -> None:
    origin = Ticket.load(ticket).origin
    assert (origin.rewind, origin.seed) == ("updates:3", 3)
    trained, previous = dense / "checkpoint_last.pt", ["--previous", ticket]
    # Of the second round: the ticket that was trained knows it.
    state = load(trained)
    for name, mask in Ticket.load(ticket).masks.items():
        for alias in helpers.tied(state["model"], name):
            state["model"][alias] = state["model"][alias].masked_fill(~mask, 0)
    torch.save(state, tmp_path / "trained.pt")
    words = ["--rewind", dense / "rewind.safetensors", "--rate", 0.5, "-o", tmp_path / "second.safetensors"]
    helpers.lottery("prune", tmp_path / "trained.pt", *previous, *words)
    origin = Ticket.load(tmp_path / "second.safetensors").origin
    assert (origin.round, origin.rewind, origin.seed) == (2, "updates:3", 3)


@pytest.mark.parametrize(("earlier", "expected"), [("init", "init"), ("checkpoint", "updates:2"), ("word", "epoch:7")])
def test_what_the_earlier_weights_are(earlier: str, expected: str, dense: Path, tmp_path: Path) -> None:
    file, more = dense / "init.safetensors", ["--rewind-point", "epoch:7"] if earlier == "word" else []
    if earlier == "checkpoint":
        state = load(dense / "checkpoint_last.pt")
        state["optimizer_history"][-1]["num_updates"] = 2
        name = "encoder.layers.0.fc1.weight"
        state["model"][name] = state["model"][name] + 1
        file = tmp_path / "earlier.pt"
        torch.save(state, file)
    words = ["--rewind", file, "--rate", 0.5, *more, "-o", tmp_path / "t.safetensors"]
    helpers.lottery("prune", dense / "checkpoint_last.pt", *words)
    assert Ticket.load(tmp_path / "t.safetensors").origin.rewind == expected


@pytest.mark.parametrize(
    ("word", "counts", "expected"),
    [
        ("updates:1200", {"updates": 1000}, "updates:1000"),
        ("updates:1200", None, "updates:1200"),
        ("epochs:2", {"updates": 1000}, "epochs:2"),
        ("init", {"updates": 0}, "init"),
    ],
)
def test_the_weights_say_more_than_the_last_option(
    word: str, counts: dict[str, int] | None, expected: str, tmp_path: Path
) -> None:
    """The option may have changed after they were written, in versions that did not refuse it."""
    if counts is not None:
        write_json(tmp_path / "rewind.json", counts)
    files = tmp_path / "checkpoint_last.pt", tmp_path / "rewind.safetensors"
    assert rewind_word(*files, Facts(origin={"rewind_point": word}), Facts(), None) == expected


@pytest.mark.parametrize("form", ["plain", "csr", "shrunk"])
def test_a_ticket_is_no_checkpoint(form: str, ticket: Path, tmp_path: Path) -> None:
    done = helpers.lottery("export", ticket, "-o", tmp_path / "x", "--form", form, status=2)
    one_line(done, "is a lottery-ticket", "train it, and give the checkpoint of that training", "lottery inspect")
    assert not (tmp_path / "x").exists()
