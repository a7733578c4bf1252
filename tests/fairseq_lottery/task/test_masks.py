"""Dead is dead: exact zeros in what real fairseq-train processes save."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lottery_core import Masks, Ticket
from lottery_core.tickets import Origin
from lottery_core.tickets.weights import Weights
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import ADAM, TRANSFORMER, TRANSLATION, assert_dead, load, split, train

BASE = [*TRANSLATION, *TRANSFORMER]
# The embedding stands in the state dict as the encoder's, the decoder's and the output layer's.
ALIASES = 3

OPTIMIZERS = {
    "adam": "--optimizer adam --lr 0.003 --weight-decay 0.01",
    "sgd": "--optimizer sgd --momentum 0.9 --lr 0.1 --weight-decay 0.01",
    "nag": "--optimizer nag --lr 0.1 --weight-decay 0.01 --update-freq 2",
    "adafactor": "--optimizer adafactor --lr 0.01",
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name: str, translation_data: Path, ticket: Path, tmp_path: Path) -> None:
    ema = split("--store-ema --ema-decay 0.9 --ema-fp32") if name == "adam" else []
    text = train(translation_data, tmp_path, *BASE, *split(OPTIMIZERS[name]), "--ticket", ticket, *ema)
    state = load(tmp_path / "checkpoint_last.pt")
    assert_dead(state["model"], ticket, ALIASES)
    if ema:
        assert_dead(state["extra_state"]["ema"], ticket, ALIASES)
        assert_dead(state["extra_state"]["ema_fp32_params"], ticket, ALIASES)
        assert not helpers.same(state["extra_state"]["ema"], state["model"])
    assert '"train_pruned": "0.5", "train_surviving": "0.5"' in text
    assert '"valid_pruned": "0.5", "valid_surviving": "0.5"' in text
    assert "valid_log_ppl" in text


def test_thin_layers_are_warned_of_in_the_log(translation_data: Path, dense: Path, tmp_path: Path) -> None:
    rewind = Weights.load(dense / "rewind.safetensors")
    whole = Masks.ones({name: rewind.tensors[name] for name in rewind.pool("all")})
    thin = torch.zeros_like(whole["encoder.layers.0.fc1.weight"])
    thin[0, :3] = True
    masks = Masks({**whole, "encoder.layers.0.fc1.weight": thin})
    Ticket.of(masks, rewind.tensors, Origin(kind="winning", round=1, scope=("all",))).save(tmp_path / "t")
    text = train(translation_data, tmp_path, *BASE, *ADAM, "--max-update", 1, "--ticket", tmp_path / "t")
    assert "this ticket: the layer 'encoder.layers.0.fc1.weight' keeps 3 of 512 weights" in text
    assert "or prune each network at the same rate (scope shares 'separate')" in text
    assert "encoder: surviving " in text
    assert "decoder: surviving " in text


def test_tensorboard_holds_both_shares(translation_data: Path, ticket: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = [*BASE, *ADAM, "--max-epoch", 1, "--ticket", ticket, "--tensorboard-logdir", tmp_path / "events"]
    train(translation_data, tmp_path, *words)
    for part in ("train", "train_inner", "valid"):
        events = EventAccumulator(str(tmp_path / "events" / part)).Reload()
        for name in ("pruned", "surviving"):
            assert [event.value for event in events.Scalars(name)] == [0.5], (part, name)


def test_a_dense_checkpoint_with_momenta(translation_data: Path, dense: Path, ticket: Path, tmp_path: Path) -> None:
    start = ["--restore-file", dense / "checkpoint_last.pt", "--max-epoch", 3, "--weight-decay", 0.01]
    train(translation_data, tmp_path, *BASE, *ADAM, *start, "--ticket", ticket)
    assert_dead(load(tmp_path / "checkpoint_last.pt")["model"], ticket, ALIASES)


def test_resuming_in_the_middle(translation_data: Path, ticket: Path, tmp_path: Path) -> None:
    """Of the first epoch and of the second: fairseq groups sentences into batches by the epoch in which it starts."""
    words = [*BASE, *ADAM, "--ticket", ticket]
    train(translation_data, tmp_path / "whole", *words)
    for updates, epoch in ((4, 1), (8, 2)):
        train(translation_data, tmp_path / "parts", *words, "--max-update", updates)
        state = load(tmp_path / "parts" / "checkpoint_last.pt")
        assert state["optimizer_history"][-1]["num_updates"] == updates
        assert state["extra_state"]["train_iterator"]["epoch"] == epoch
    train(translation_data, tmp_path / "parts", *words)
    whole, parts = (load(tmp_path / name / "checkpoint_last.pt") for name in ("whole", "parts"))
    assert_dead(parts["model"], ticket, ALIASES)
    assert helpers.same(whole["model"], parts["model"])


@pytest.mark.parametrize("backend", ["legacy_ddp", "c10d"])
def test_two_ranks(backend: str, translation_data: Path, ticket: Path, tmp_path: Path) -> None:
    words = [*BASE, *ADAM, "--ticket", ticket, "--ticket-kind", "random"]
    for updates in (2, 4):  # the second resumes the first
        more = ["--ddp-backend", backend, "--max-update", updates]
        texts = helpers.two_ranks(translation_data, tmp_path, *words, *more)
        lines = [line for text in texts for line in text.splitlines() if "Loaded checkpoint" in line]
        assert any("@ 2 updates" in line for line in lines) == (updates == 4)
    state = load(tmp_path / "checkpoint_last.pt")
    assert state["optimizer_history"][-1]["num_updates"] == 4
    made = Ticket.load(tmp_path / "ticket.safetensors")
    assert made.origin.kind == "random"
    assert_dead(state["model"], made, ALIASES)


def test_rewind_point_and_start(translation_data: Path, dense: Path, ticket: Path, tmp_path: Path) -> None:
    """The rewind weights are those of the checkpoint at that update; a ticket starts at mask x rewind weights."""
    words = [*BASE, *ADAM, "--rewind-point", "epoch:1", "--max-epoch", 1, "--save-interval-updates", 3]
    train(translation_data, tmp_path / "dense", *words)
    at_three = load(tmp_path / "dense" / "checkpoint_1_3.pt")["model"]
    rewind = Weights.load(dense / "rewind.safetensors")
    assert all(torch.equal(at_three[name], tensor) for name, tensor in rewind.tensors.items())
    at_epoch = load(tmp_path / "dense" / "checkpoint_last.pt")["model"]
    epoch = Weights.load(tmp_path / "dense" / "rewind.safetensors")
    assert all(torch.equal(at_epoch[name], tensor) for name, tensor in epoch.tensors.items())
    train(
        translation_data, tmp_path / "still", *BASE, *split("--optimizer sgd --lr 0 --max-epoch 1"), "--ticket", ticket
    )
    start = load(tmp_path / "still" / "checkpoint_last.pt")["model"]
    expected = Ticket.load(ticket).start()
    assert all(torch.equal(start[name], tensor) for name, tensor in expected.items())
    mask = Ticket.load(ticket).masks
    assert all(torch.equal(expected[name][mask[name]], rewind.tensors[name][mask[name]]) for name in mask)
