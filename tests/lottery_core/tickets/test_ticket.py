"""The ticket and its file."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lottery_core import Masks, Origin, Ticket, prune
from lottery_core.errors import MismatchError, TicketError, WriteError
from lottery_core.tickets.ticket_file import FORMAT_VERSION
from tests.lottery_core.helpers import a_ticket, mlp, random_weights


def same(one: Ticket, other: Ticket) -> bool:
    values = {**one.start()}.keys() == {**other.start()}.keys() and all(
        torch.equal(one.start()[n].view(torch.uint8), other.start()[n].view(torch.uint8)) for n in one.start()
    )
    return values and one.masks == other.masks and one.origin == other.origin


def test_save_and_load_give_the_same_ticket_bit_for_bit(tmp_path: Path) -> None:
    ticket = a_ticket()
    ticket.save(tmp_path / "t.safetensors")
    loaded = Ticket.load(tmp_path / "t.safetensors")
    assert same(ticket, loaded)
    assert ticket.digest == loaded.digest
    assert loaded.to_bytes() == (tmp_path / "t.safetensors").read_bytes() == ticket.to_bytes()


def test_tickets_of_the_same_digest_are_equal(tmp_path: Path) -> None:
    ticket = a_ticket()
    ticket.save(tmp_path / "t")
    loaded = Ticket.load(tmp_path / "t")
    assert loaded == ticket
    assert len({ticket, loaded, a_ticket(seed=1), ticket.with_origin(seed=8)}) == 3
    assert ticket != "a ticket"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_every_float_type_and_every_value_survives_the_file(dtype: torch.dtype, tmp_path: Path) -> None:
    values = torch.tensor([0.0, -0.0, math.inf, -math.inf, math.nan, 1e-7, -3.5, 2.0]).to(dtype)
    masks = Masks({"a": torch.tensor([True] * 7 + [False]), "b": torch.ones(1)})
    ticket = Ticket.of(masks, {"a": values, "b": torch.ones(1), "steps": torch.tensor(3)}, Origin())
    ticket.save(tmp_path / "t")
    loaded = Ticket.load(tmp_path / "t")
    assert torch.equal(loaded.weights["a"][:7].view(torch.uint8), values[:7].view(torch.uint8))
    assert loaded.weights["a"][7] == 0
    assert loaded.rest["steps"] == 3


def test_a_survivor_that_is_zero_stays_a_survivor(tmp_path: Path) -> None:
    ticket = Ticket.of(Masks({"a": torch.tensor([1, 0])}), {"a": torch.zeros(2)}, Origin())
    ticket.save(tmp_path / "t")
    assert Ticket.load(tmp_path / "t").masks["a"].tolist() == [True, False]


@pytest.mark.parametrize("pattern", [torch.zeros, torch.ones])
def test_empty_and_full_masks_go_through_the_file(pattern, tmp_path: Path) -> None:
    ticket = Ticket.of(Masks({"a": pattern(13)}), {"a": torch.randn(13)}, Origin())
    ticket.save(tmp_path / "t")
    assert same(Ticket.load(tmp_path / "t"), ticket)


def test_the_file_is_plain_safetensors_with_a_header_for_people(tmp_path: Path) -> None:
    ticket = a_ticket().with_origin(kind="winning", seed=7)
    ticket.save(tmp_path / "t.safetensors")
    with safe_open(tmp_path / "t.safetensors", framework="pt") as file:
        header = json.loads(file.metadata()["lottery"])
    assert header["version"] == FORMAT_VERSION
    assert (header["pool"], header["pruned"], header["surviving"]) == (386, 193, 193)
    assert header["origin"]["rewind"] == "updates:0"
    assert header["origin"]["seed"] == 7
    assert set(header["origin"]) >= {"kind", "round", "scope", "prune_rate", "parent", "versions"}


def test_a_file_is_smaller_than_its_survivors_and_the_masks_entropy(tmp_path: Path) -> None:
    weights = random_weights(a=(1000, 500))
    for fraction in (0.67, 0.9, 0.98):
        prune(weights, weights, fraction=fraction).save(tmp_path / "t")
        s = 1 - fraction
        entropy = -s * math.log2(s) - fraction * math.log2(fraction)
        assert (tmp_path / "t").stat().st_size <= 4 * s * 500_000 + 500_000 * entropy / 8


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))


def _foreign(path: Path) -> None:
    save_file({"a": torch.zeros(2)}, path)


def _text(path: Path) -> None:
    path.write_text("this is no ticket, it is a story about one")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _change_header(path: Path, change: Callable[[dict], object]) -> None:
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["lottery"])
    change(header)
    save_file(load_file(path), path, {"lottery": json.dumps(header)})


def _of_the_future(path: Path) -> None:
    _change_header(path, lambda header: header.update(version=99))


def _forged_count(path: Path) -> None:
    _change_header(path, lambda header: header.update(pool=10**9))


def _hostile_count(path: Path) -> None:
    _change_header(path, lambda header: header.update(pool=10**15))


def _terminal_codes(path: Path) -> None:
    _change_header(path, lambda header: header["origin"].update(kind="\x1b[2J"))


def _shadowing_rest(path: Path) -> None:
    ticket = Ticket.load(path)
    dataclasses.replace(ticket, rest={"0.weight": torch.ones(16, 4)}).save(path)


def _header_without_tensors(path: Path) -> None:
    save_file({"a": torch.zeros(1)}, path, {"lottery": json.dumps({"format": "lottery-ticket", "version": 1})})


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_truncated, "damaged"),
        (_flipped, "cannot read"),
        (_foreign, "not a ticket"),
        (_text, "not a ticket"),
        (_empty, "not a ticket"),
        (_of_the_future, "format 99; this version reads format 1"),
        (_forged_count, "another length"),
        (_hostile_count, "another length"),
        (_terminal_codes, "control characters, which no name in a ticket has"),
        (_shadowing_rest, "both in the pool and outside it"),
        (_header_without_tensors, "must be a whole number, not None"),
        (Path.unlink, "No such file"),
    ],
)
def test_a_bad_file_is_refused_with_one_line(damage, words: str, tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    a_ticket().save(path)
    damage(path)
    with pytest.raises(TicketError, match=words) as caught:
        Ticket.load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_every_single_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    ticket = a_ticket()
    data = ticket.to_bytes()
    for place in range(0, len(data), 37):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x40]) + data[place + 1 :])
        try:
            loaded = Ticket.load(path)
        except TicketError:
            continue
        assert same(loaded, ticket), place  # a byte of JSON white space, say


def test_load_into_sets_the_model_and_refuses_another(tmp_path: Path) -> None:
    ticket = a_ticket()
    model = mlp(seed=5)
    ticket.load_into(model)
    assert all(torch.equal(parameter, ticket.weights[name]) for name, parameter in model.named_parameters())
    other = torch.nn.Sequential(torch.nn.Linear(4, 8))
    before = other[0].weight.clone()
    with pytest.raises(MismatchError, match=r"'0.bias' is \(16,\) in the ticket, but \(8,\) in the model"):
        ticket.load_into(other)
    assert torch.equal(other[0].weight, before)


def test_what_cannot_be_written_is_one_line_and_leaves_nothing(no_write: Path, tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="cannot write"):
        a_ticket().save(no_write / "t.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["a-file"]


def test_numbers_that_are_not_floating_cannot_be_in_the_pool() -> None:
    ticket = Ticket.of(Masks({"a": torch.ones(2)}), {"a": torch.ones(2, dtype=torch.int64)}, Origin())
    with pytest.raises(TicketError, match="int64"):
        ticket.to_bytes()


def test_the_digest_is_of_the_content_not_of_its_compression(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ticket = a_ticket()
    monkeypatch.setattr("lottery_core.tickets.encoding._LEVEL", 19)
    ticket.save(tmp_path / "t")
    assert Ticket.load(tmp_path / "t").digest == a_ticket().digest
