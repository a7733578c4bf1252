"""Weights that are divided by the norm of a slice: no slice loses its last survivor, and counts stay exact."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import utils
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from lottery_core import CONTROLS, CRITERIA, apply_ticket, prune, snapshot
from lottery_core.errors import PruneError
from lottery_core.pruning import control_ticket
from lottery_core.tickets import ticket_warnings

MODELS: dict[str, Callable[[], nn.Module]] = {
    "weight_norm": lambda: nn.Sequential(weight_norm(nn.Linear(8, 32)), nn.ReLU(), weight_norm(nn.Linear(32, 2))),
    "weight_norm of columns": lambda: nn.Sequential(weight_norm(nn.Linear(8, 32), dim=1)),
    "weight_norm of the whole": lambda: nn.Sequential(weight_norm(nn.Linear(8, 32), dim=None)),
    "the older weight_norm": lambda: nn.Sequential(utils.weight_norm(nn.Linear(8, 32)), nn.Linear(32, 2)),
    "weight_norm of a convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 4)), weight_norm(nn.Conv1d(2, 8, 3)), nn.Flatten(), nn.Linear(16, 4)
    ),
    "spectral_norm": lambda: nn.Sequential(spectral_norm(nn.Linear(8, 32)), nn.Linear(32, 2)),
    "the older spectral_norm": lambda: nn.Sequential(utils.spectral_norm(nn.Linear(8, 32)), nn.Linear(32, 2)),
}


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("kind", MODELS)
def test_no_output_is_nan_however_much_is_pruned(kind: str, criterion: str) -> None:
    torch.manual_seed(0)
    model = MODELS[kind]()
    early = snapshot(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    start = snapshot(model)
    ticket = prune(start, early, rate=0.5, criterion=criterion)
    for _ in range(3):
        ticket = prune(start, early, rate=0.3, previous=ticket)
    pool = sum(parameter.numel() for parameter in model.parameters())
    left = pool - round(0.5 * pool)
    for _ in range(3):
        left -= round(0.3 * left)
    assert ticket.masks.surviving == left
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    with apply_ticket(ticket, model, optimizer) as keeper:
        for _ in range(3):
            out = model(torch.randn(4, 8))
            assert bool(torch.isfinite(out).all())
            out.pow(2).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        keeper.check()


def test_what_survives_for_its_slice_alone_is_told() -> None:
    torch.manual_seed(0)
    model = MODELS["weight_norm of columns"]()
    with torch.no_grad():
        model[0].parametrizations.weight.original1[:, 0] *= 1e-6
    start = snapshot(model)
    ticket = prune(start, start, rate=0.9)
    name = "0.parametrizations.weight.original1"
    assert ticket.origin.spared[name] >= 1
    assert any(f"'{name}' survive, each the last of its slice" in line for line in ticket_warnings(ticket, "t"))
    with pytest.raises(PruneError, match=r"normalised weights .* need 8, one in each slice"):
        prune(start, start, survivors=7)


@pytest.mark.parametrize("kind", CONTROLS)
def test_controls_keep_a_survivor_in_each_slice(kind: str) -> None:
    torch.manual_seed(0)
    make = MODELS["weight_norm"]
    start = snapshot(make())
    winning = prune(start, start, rate=0.9)
    control = control_ticket(kind, winning, 1, fresh=snapshot(make()), rewind=start)
    assert control.masks.surviving == winning.masks.surviving
    model = make()
    with apply_ticket(control, model):
        assert bool(torch.isfinite(model(torch.randn(4, 8))).all())


def test_other_names_that_end_alike_are_no_norms() -> None:
    """Attention calls gates and values so."""
    model = nn.ParameterDict({"w_g": nn.Parameter(torch.randn(1, 4)), "w_v": nn.Parameter(torch.randn(4, 4) * 1e-6)})
    model["w"] = nn.Parameter(torch.randn(4, 4))
    start = snapshot(model)
    ticket = prune(start, start, survivors=20)
    assert ticket.masks.survivors()["w_v"] == 0
    assert not ticket.origin.spared
