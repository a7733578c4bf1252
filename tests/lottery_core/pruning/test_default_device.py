"""Under ``torch.set_default_device("cuda")`` tickets are made on the CPU all the same; ``meta`` stands in for a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lottery_core import CONTROLS, Ticket, apply_ticket, control_ticket, prune, snapshot
from lottery_core.pruning import IN_TRAINING, ticket_without_search, transferred
from lottery_core.tickets import Weights, networks_of
from tests.lottery_core.helpers import mlp

MODEL = mlp()
START = snapshot(MODEL)
LAYERS = {"policy": ("mlp_extractor.policy_net.0", "mlp_extractor.policy_net.2", "action_net")}
LAYERS["value"] = ("mlp_extractor.value_net.0", "mlp_extractor.value_net.2", "value_net")
AGENT = Weights(
    {
        f"{layers[int(name[0]) // 2]}{name[1:]}": tensor
        for network, layers in LAYERS.items()
        for name, tensor in snapshot(mlp(len(network))).tensors.items()
    }
)
TICKET = prune(START, START, rate=0.5)
UNITS = prune(AGENT, AGENT, rate=0.5, granularity="unit")


@pytest.fixture(autouse=True)
def device() -> Iterator[None]:
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


def test_files(tmp_path: Path) -> None:
    TICKET.save(tmp_path / "t")
    assert Ticket.load(tmp_path / "t").digest == TICKET.digest


@pytest.mark.parametrize("options", [{}, {"granularity": "unit"}, {"criterion": "magnitude-layer"}])
def test_pruning(options: dict[str, str]) -> None:
    ticket = prune(AGENT, AGENT, rate=0.5, **options)  # type: ignore[arg-type]
    assert ticket.masks.surviving in (386, UNITS.masks.surviving)
    again = prune(Weights(ticket.start()), AGENT, rate=0.5, previous=ticket)
    assert again.masks.subset_of(ticket.masks)
    assert networks_of(again.masks, again.rest)


def test_ties_and_separate_shares() -> None:
    equal = Weights({"w": torch.ones(400, 400, device="cpu")})
    with pytest.warns(UserWarning, match="are rounded to bfloat16"):
        assert prune(equal, equal, rate=0.5).masks.surviving == 80_000
    for options in ({}, {"granularity": "unit", "criterion": "magnitude-layer"}):
        separate = prune(AGENT, AGENT, rate=0.5, scope_shares="separate", **options)  # type: ignore[arg-type]
        assert networks_of(separate.masks, separate.rest)


@pytest.mark.parametrize("kind", CONTROLS)
def test_controls(kind: str) -> None:
    for ticket in (TICKET, UNITS) if CONTROLS[kind].units else (TICKET,):
        weights = START if ticket is TICKET else AGENT
        control = control_ticket(kind, ticket, 1, fresh=weights, rewind=weights)
        assert {mask.device.type for mask in control.masks.values()} == {"cpu"}
        assert {tensor.device.type for tensor in control.start().values()} == {"cpu"}


def test_other_ways_to_a_ticket() -> None:
    for kind in ("erk", *IN_TRAINING):
        assert ticket_without_search(kind, START, 0.5).digest
    other = Weights({name: tensor for name, tensor in START.tensors.items() if name[0] != "0"})
    there = prune(other, other, rate=0.5)
    for kind in ("transfer", "transfer-random"):
        assert transferred(kind, there, START, START, lambda pool: pool // 2, unmatched="prune").digest


def test_masks_are_held() -> None:
    for kind in (torch.optim.Adam, torch.optim.Muon):
        optimizer = kind([parameter for parameter in MODEL.parameters() if parameter.dim() == 2], lr=0.01)
        with apply_ticket(TICKET, MODEL, optimizer):
            MODEL(torch.ones(2, 4, device="cpu")).sum().backward()
            optimizer.step()
