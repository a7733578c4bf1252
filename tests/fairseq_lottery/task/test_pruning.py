"""Pruning in training, in real fairseq-train processes: exact zeros, exact counts, the same bits after a resume."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fairseq.data.iterators import CountingIterator, EpochBatchIterator, GroupedIterator
from fairseq_cli.train import should_stop_early
from torch import nn
from torch.utils.data import TensorDataset

from fairseq_lottery.lengths import Lengths, batches_of_epoch, updates_of_epoch
from fairseq_lottery.task.pruning import forget_best, length_of
from fairseq_lottery.task.rewind_point import RewindPoint, check_lengths, parse_rewind
from fairseq_lottery.task.search import SearchWatch
from lottery_core import Ticket
from lottery_core.errors import ConfigError
from lottery_core.tickets.weights import Weights
from tests.fairseq_lottery import helpers
from tests.fairseq_lottery.helpers import ADAM, TRANSFORMER, TRANSLATION, assert_dead, load, split, train
from tests.fairseq_lottery.task.test_masks import ALIASES, OPTIMIZERS
from tests.fairseq_lottery.task.test_precisions import PRECISIONS, words_of

BASE = [*TRANSLATION, *TRANSFORMER]
GRADUAL = ["--ticket-kind", "gradual", "--surviving", "0.2", "--gradual", "0 0.75 4"]
SNIP = ["--ticket-kind", "snip", "--surviving", "0.2"]


def found(folder: Path) -> Ticket:
    ticket = Ticket.load(folder / "ticket.safetensors")
    assert ticket.masks.surviving == round(0.2 * ticket.masks.pool)
    return ticket


EVERY = {"adam": "1", "sgd": "3"}  # optimizer -> updates between two steps of the moving average


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_gradual_under_every_optimizer(name: str, translation_data: Path, tmp_path: Path) -> None:
    """A moving average is masked, too; the ticket starts at the initialisation, and can be trained again."""
    ema = split("--store-ema --ema-decay 0.9 --ema-fp32") if name in EVERY else []
    ema += ["--ema-update-freq", EVERY[name]] if name in EVERY else []
    text = train(translation_data, tmp_path, *BASE, *split(OPTIMIZERS[name]), *GRADUAL, *ema)
    state, ticket = load(tmp_path / "checkpoint_last.pt"), found(tmp_path)
    assert_dead(state["model"], ticket, ALIASES)
    if ema:
        assert_dead(state["extra_state"]["ema"], ticket, ALIASES)
        assert_dead(state["extra_state"]["ema_fp32_params"], ticket, ALIASES)
    share = round(ticket.masks.pruned / ticket.masks.pool, 5)
    assert f'"train_pruned": "{share}", "train_surviving": "{round(1 - share, 5)}"' in text
    assert (ticket.origin.kind, ticket.origin.rewind) == ("gradual", "init")


QUICK = ("bf16", "flat-fp16")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in PRECISIONS if name != "fp32"],
)
def test_gradual_under_every_precision(name: str, translation_data: Path, tmp_path: Path) -> None:
    words = [*BASE, *ADAM, *split("--weight-decay 0.01"), *GRADUAL, *words_of(name, tmp_path)]
    train(translation_data, tmp_path / "run", *words)
    assert_dead(load(tmp_path / "run/checkpoint_last.pt")["model"], found(tmp_path / "run"), ALIASES)


@pytest.mark.parametrize("kind", [GRADUAL, SNIP], ids=["gradual", "snip"])
@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
def test_resuming_inside_the_schedule_has_the_same_bits(
    kind: list[str], precision: str, translation_data: Path, tmp_path: Path
) -> None:
    words = [*BASE, *ADAM, *kind, *words_of(precision, tmp_path)]
    at_once = [
        [translation_data, "--user-dir", helpers.USER_DIR, "--save-dir", tmp_path / folder, *helpers.COMMON, *words]
        for folder in ("whole", "parts")
    ]
    at_once[1] += ["--save-interval-updates", "3", "--keep-interval-updates", "9"]
    helpers.side_by_side(at_once, [{}, {}])
    middle = tmp_path / "parts/checkpoint_1_3.pt"
    (_, pruning) = next(
        (name, value["pruning"])
        for name, value in load(middle)["extra_state"].items()
        if isinstance(value, dict) and "pruning" in value
    )
    assert 0 < pruning["done"] < (4 if kind is GRADUAL else 5), "the checkpoint is not from within the schedule"
    middle.rename(tmp_path / "parts/checkpoint_last.pt")
    (tmp_path / "parts/ticket.safetensors").unlink()
    train(translation_data, tmp_path / "parts", *words)
    whole, parts = (load(tmp_path / folder / "checkpoint_last.pt") for folder in ("whole", "parts"))
    assert helpers.same(whole["model"], parts["model"])
    assert found(tmp_path / "whole").digest == found(tmp_path / "parts").digest
    assert_dead(parts["model"], found(tmp_path / "parts"), ALIASES)


def test_two_ranks_prune_alike(translation_data: Path, tmp_path: Path) -> None:
    texts = helpers.two_ranks(translation_data, tmp_path, *BASE, *ADAM, *GRADUAL)
    lines = [line.rpartition("| ")[2] for line in texts[0].splitlines() if "ranks have the same masks" in line]
    assert len(set(lines)) == 4
    assert_dead(load(tmp_path / "checkpoint_last.pt")["model"], found(tmp_path), ALIASES)


def test_snip_starts_from_the_given_weights_and_from_the_model(translation_data: Path, tmp_path: Path) -> None:
    train(translation_data, tmp_path, *BASE, *ADAM, *SNIP)
    ticket = found(tmp_path)
    assert_dead(load(tmp_path / "checkpoint_last.pt")["model"], ticket, ALIASES)
    assert ticket.origin.kind == "snip"


@pytest.mark.parametrize("kind", ["erk", "at-start"])
def test_kinds_that_need_neither_ticket_nor_training(
    kind: str, translation_data: Path, dense: Path, tmp_path: Path
) -> None:
    """The same seed gives the dense run's initialisation; a restart finds the same ticket."""
    words = [*BASE, *ADAM, "--ticket-kind", kind, "--surviving", "0.2"]
    train(translation_data, tmp_path, *words, "--max-update", 2)
    before = found(tmp_path)
    start = before.masks.apply(Weights.load(dense / "init.safetensors").tensors)
    assert all(torch.equal(before.weights[name], start[name]) for name in before.masks)
    text = train(translation_data, tmp_path, *words, "--max-update", 4)
    assert "@ 2 updates" in text
    assert found(tmp_path).digest == before.digest
    assert_dead(load(tmp_path / "checkpoint_last.pt")["model"], before, ALIASES)


def test_a_training_that_ends_before_its_schedule_is_said(translation_data: Path, tmp_path: Path) -> None:
    """``--patience`` ends it: the network is denser than asked for, and no ticket is written."""
    still = split("--lr 0.0 --lr-scheduler fixed --max-epoch 8 --patience 1")
    text = train(translation_data, tmp_path, *BASE, *ADAM, *GRADUAL, *still)
    assert "of 4 of the schedule of pruning: its network is denser than asked for, and there is no ticket" in text
    assert not (tmp_path / "ticket.safetensors").exists()


def test_the_best_checkpoint_is_one_of_the_complete_masks(translation_data: Path, tmp_path: Path) -> None:
    """Denser networks before score better; a training that is resumed elsewhere writes its ticket there, too."""
    words = [*BASE, *ADAM, *split("--ticket-kind gradual --surviving 0.02 --max-epoch 4"), "--gradual", "0 0.7 4"]
    text = train(translation_data, tmp_path / "a", *words)
    assert "the training ended" not in text
    ticket = Ticket.load(tmp_path / "a/ticket.safetensors")
    assert_dead(load(tmp_path / "a/checkpoint_best.pt")["model"], ticket, ALIASES)
    train(translation_data, tmp_path / "b", *words, "--restore-file", tmp_path / "a/checkpoint_last.pt")
    assert Ticket.load(tmp_path / "b/ticket.safetensors").digest == ticket.digest


@pytest.mark.parametrize(("whole", "updates"), [(True, 2), (False, 3)])
def test_batches_too_few_for_an_update_count_as_in_fairseq(whole: bool, updates: int) -> None:
    """``--skip-remainder-batch`` leaves them out."""
    options = SimpleNamespace(max_update=0, max_epoch=5, update_freq=[4], skip_remainder_batch=whole)
    assert length_of(options, 10) == (5 * updates, updates)
    assert Lengths(0, 5, (10,), (4,), whole).until(5) == 5 * updates
    grouped = GroupedIterator(CountingIterator(range(10)), 4, skip_remainder_batch=whole)
    assert len(list(grouped)) == updates


@pytest.mark.parametrize(("whole", "frequency", "updates"), [(True, 1, 7), (True, 4, 1), (False, 4, 2)])
def test_the_batches_of_an_epoch_are_counted_as_in_fairseq(whole: bool, frequency: int, updates: int) -> None:
    """Its iterator over 8 batches leaves out the last one, although it is whole."""
    sampler = [[number] for number in range(8)]
    own = {"dataset": TensorDataset(torch.arange(8)), "collate_fn": list, "batch_sampler": sampler}
    batches = EpochBatchIterator(**own, skip_remainder_batch=whole)
    known = batches_of_epoch(batches)
    assert updates_of_epoch(known, frequency, whole) == updates
    grouped = GroupedIterator(batches.next_epoch_itr(), frequency, skip_remainder_batch=whole)
    assert len(list(grouped)) == updates
    options = SimpleNamespace(update_freq=[frequency], skip_remainder_batch=whole)
    for last, refused in ((updates, False), (updates - 1, True)):
        point = RewindPoint(Path(), parse_rewind("epoch:1"), False, last, 0)
        with pytest.raises(ConfigError, match="is never reached") if refused and last else nullcontext():
            check_lengths([point], options, known)


def test_a_skipped_step_of_amp_ranks_no_weights(tmp_path: Path) -> None:
    """fairseq calls the task even where a gradient overflows, and repeats the batch."""
    task = helpers.bare_task(tmp_path, lambda: nn.Linear(2, 1), ticket_kind="snip", surviving=0.5, seed=1)
    model = task.build_model(SimpleNamespace())
    optimizer = SimpleNamespace(scaler=torch.amp.GradScaler("cpu"), params=list(model.parameters()))
    model.weight.grad, model.bias.grad = torch.ones(1, 2), torch.tensor([float("inf")])
    task._pruning.before_step(optimizer)
    assert not task._pruning.state()["sums"]
    # An overflow in the first update, where the first step of pruning is due: it comes with the repetition.
    task._pruning._total = 1
    assert not task._pruning.after_step(optimizer, 1)
    model.bias.grad = torch.ones(1)
    task._pruning.before_step(optimizer)
    assert torch.equal(task._pruning.state()["sums"]["weight"], model.weight.detach())
    model.bias.grad = torch.tensor([float("inf")])
    # Nor does a search look at the mask of an update that was not made.
    watch = SearchWatch(
        SimpleNamespace(criterion=SimpleNamespace(uses_rewind=False), due=lambda share: True), tmp_path, 10, 0, False
    )
    model.bias.grad = torch.tensor([float("inf")])
    assert not watch.after_update(optimizer, 5, None, pytest.fail)
    optimizer.scaler = None  # without a scaler the step is made, and the fault is to be seen
    task._pruning.before_step(optimizer)
    assert not task._pruning.state()["sums"]["bias"].isfinite().all()


def test_patience_counts_from_the_complete_masks_on() -> None:
    vars(should_stop_early)["best"] = 1.0
    forget_best()
    assert not hasattr(should_stop_early, "best")
