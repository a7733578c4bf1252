"""State dicts that stand somewhere in a torch file: found, or the places named that could be meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lottery_core import apply_ticket, prune, read_weights, snapshot
from lottery_core.cli import main
from lottery_core.errors import CheckpointError
from tests.lottery_core.helpers import mlp

STATE = nn.Linear(8, 2).state_dict()
OTHER = nn.Linear(3, 3).state_dict()
FOUND: dict[str, Any] = {
    "a number beside it": {"net": STATE, "acc": torch.tensor(93.1), "epoch": 3},
    "DeepSpeed": {"module": STATE, "global_steps": torch.tensor(3.0)},
    "alone": {"net": STATE, "epoch": 3},
    "a configuration as model": {"model": {"name": "mlp", "width": 16}, "state_dict": STATE},
    "deep": {"checkpoint": {"nets": {"policy": STATE}}, "args": {"lr": 0.1}},
    "averages beside it": {"model": STATE, "ema": STATE, "optimizer": {"state": {}, "param_groups": []}},
    "an optimizer beside it": {"net": STATE, "opt": torch.optim.Adam(nn.Linear(8, 2).parameters()).state_dict()},
    "the state of a random generator": {"net": STATE, "rng": torch.get_rng_state(), "scale": torch.tensor(2.0)},
    "what a module adds": STATE | {"_extra_state": {"scale": torch.ones(3)}, "inner._extra_state": torch.ones(2)},
    "names that are numbers": {"net": STATE, 3: torch.ones(2)},
}


@pytest.mark.parametrize("where", FOUND)
def test_the_mapping_that_holds_the_tensors_is_found(where: str, tmp_path: Path) -> None:
    torch.save(FOUND[where], tmp_path / "c.pt")
    weights = read_weights(tmp_path / "c.pt")
    assert weights.names() == ["weight", "bias"]
    assert torch.equal(weights.tensors["weight"], STATE["weight"])


def test_several_that_could_be_meant_are_named_and_chosen_by_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / "late.pt", tmp_path / "early.pt"]
    for shift, path in enumerate(files):
        nets = {
            name: {key: value + shift for key, value in state.items()} for name, state in (("g", STATE), ("d", OTHER))
        }
        torch.save({"nets": nets}, path)
    with pytest.raises(CheckpointError, match=r"\('nets.g', 'nets.d'\): name one \(lottery prune: --key NAME"):
        read_weights(files[0])
    assert read_weights(files[0], "nets.d").tensors["weight"].shape == (3, 3)
    command = ["prune", str(files[0]), "--rewind", str(files[1]), "--rate", "0.5", "-o", str(tmp_path / "t")]
    assert main(command) == 2
    assert main([*command, "--key", "nets.d"]) == 0
    assert main([*command, "--key", "nets.x"]) == 2
    assert "no state dict at 'nets.x' ('nets.g', 'nets.d')" in capsys.readouterr().err


def test_what_get_extra_state_adds_is_left_alone(tmp_path: Path) -> None:
    class Extra(nn.Linear):
        def get_extra_state(self) -> Tensor:
            return torch.ones(3)

        def set_extra_state(self, state: Any) -> None:
            assert state.shape == (3,)

    model = nn.Sequential(Extra(4, 4))
    torch.save(model.state_dict(), tmp_path / "m.pt")
    for weights in (read_weights(tmp_path / "m.pt"), snapshot(model)):
        assert sorted(weights.tensors) == ["0.bias", "0.weight"]
        ticket = prune(weights, weights, rate=0.5)
        with apply_ticket(ticket, model) as keeper:
            model.load_state_dict(model.state_dict())
            keeper.check()


def test_a_tied_weight_that_was_saved_under_its_other_name_fits(tmp_path: Path) -> None:
    model = nn.ModuleDict({"a": nn.Linear(4, 4, bias=False), "b": nn.Linear(4, 4, bias=False)})
    model["b"].weight = model["a"].weight
    torch.save({"b.weight": model["a"].weight.detach().clone()}, tmp_path / "m.pt")
    weights = read_weights(tmp_path / "m.pt")
    ticket = prune(weights, weights, rate=0.5)
    with apply_ticket(ticket, model) as keeper:
        keeper.check()
    assert int((model["a"].weight == 0).sum()) == 8


def test_parameters_that_are_tied_by_their_data_are_one() -> None:
    model = nn.ModuleDict({"a": nn.Linear(4, 4, bias=False), "b": nn.Linear(4, 4, bias=False)})
    model["b"].weight.data = model["a"].weight.data
    weights = snapshot(model)
    assert list(weights.tensors) == ["a.weight"]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with apply_ticket(prune(weights, weights, rate=0.5), model, optimizer) as keeper:
        for _ in range(3):
            sum(layer(torch.ones(2, 4)).pow(2).sum() for layer in model.values()).backward()
            optimizer.step()
        keeper.check()
    assert int((model["b"].weight == 0).sum()) == 8


def test_a_module_named_target_is_a_target_network_where_the_dialect_says_so(tmp_path: Path) -> None:
    plain = {"text_target.weight": torch.randn(3, 3), "text.weight": torch.randn(3, 3)}
    torch.save(plain, tmp_path / "plain.pt")
    assert read_weights(tmp_path / "plain.pt").names() == list(plain)
    agent = {"q_net.weight": torch.randn(3, 3), "q_net_target.weight": torch.randn(3, 3)}
    torch.save(agent, tmp_path / "agent.pt")
    assert read_weights(tmp_path / "agent.pt").names() == ["q_net.weight"]


def test_weights_of_several_files_of_one_training(tmp_path: Path) -> None:
    """A nested checkpoint against a bare one, and against safetensors."""
    early, late = mlp(0), mlp(1)
    torch.save({"net": early.state_dict(), "acc": torch.tensor(1.0)}, tmp_path / "early.pt")
    torch.save(late.state_dict(), tmp_path / "late.pt")
    snapshot(early).save(tmp_path / "early.safetensors")
    tickets = [
        prune(read_weights(tmp_path / "late.pt"), read_weights(tmp_path / name), rate=0.5)
        for name in ("early.pt", "early.safetensors")
    ]
    assert tickets[0].masks == tickets[1].masks
