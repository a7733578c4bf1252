"""Files do not say what is a parameter: what they do say is used, and otherwise a scope is asked for, never guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune
from torch.nn.utils.parametrizations import spectral_norm

from lottery_core import Weights, apply_ticket, prune, read_weights, snapshot
from lottery_core.cli import main
from lottery_core.errors import MismatchError, ScopeError

LAYER = {"net.weight": torch.randn(6, 4), "net.bias": torch.randn(6)}
BUFFERS: dict[str, dict[str, Tensor]] = {
    "observation statistics": {"std": torch.full((4,), 0.01), "mean": torch.zeros(4)},
    "sinusoidal positions": {"pe": torch.randn(1, 9, 4)},
    "class weights": {"loss.class_weights": torch.ones(3), "loss.pos_weight": torch.ones(3)},
    "a causal mask": {
        "attention.bias": torch.tril(torch.ones(1, 1, 4, 4)),
        "attention.masked_bias": torch.tensor(-1e4),
    },
    "gates called as weight_norm's": {"w_g": torch.randn(1, 4), "w_v": torch.randn(4, 4), "w": torch.randn(4, 4)},
}


@pytest.mark.filterwarnings("ignore:WARNING")
@pytest.mark.parametrize("what", BUFFERS)
def test_what_may_be_a_buffer_is_never_pruned_by_guessing(what: str, tmp_path: Path) -> None:
    state = LAYER | BUFFERS[what]
    torch.save(state, tmp_path / "late.pt")
    torch.save({name: value + 1 for name, value in state.items()}, tmp_path / "early.pt")
    late, early = (read_weights(tmp_path / name) for name in ("late.pt", "early.pt"))
    for scope in ("all", "layers"):
        with pytest.raises(
            ScopeError, match=r"does not say whether .* are parameters or buffers: give a scope"
        ) as caught:
            prune(late, early, rate=0.5, scope=scope)
    assert f"'{min(BUFFERS[what])}'" in str(caught.value)
    ticket = prune(late, early, rate=0.5, scope=["net"])
    assert sorted(ticket.masks) == sorted(LAYER)
    assert all(torch.equal(ticket.start()[name], value + 1) for name, value in BUFFERS[what].items())


@pytest.mark.parametrize("what", BUFFERS)
def test_what_either_file_knows_is_used(what: str, tmp_path: Path) -> None:
    """A rewind point that this project wrote knows the buffers; so does an optimizer beside the weights."""
    names = BUFFERS[what]
    model = nn.Module()
    model.net = nn.Linear(4, 6)
    for name, value in names.items():
        module, _, last = name.rpartition(".")
        if module and not hasattr(model, module):
            setattr(model, module, nn.Module())
        (getattr(model, module) if module else model).register_buffer(last, value)
    snapshot(model).save(tmp_path / "rewind.safetensors")
    torch.save({name: value + 1 for name, value in model.state_dict().items()}, tmp_path / "late.pt")
    late, rewind = read_weights(tmp_path / "late.pt"), read_weights(tmp_path / "rewind.safetensors")
    assert sorted(prune(late, rewind, rate=0.5).masks) == sorted(LAYER)
    assert sorted(prune(rewind, late, rate=0.5).masks) == sorted(LAYER)
    optimizer = torch.optim.Adam(model.parameters())
    torch.save({"net": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "both.pt")
    both = read_weights(tmp_path / "both.pt")
    assert sorted(both.pool("all")) == sorted(LAYER)
    assert sorted(prune(late, both, rate=0.5).masks) == sorted(LAYER)


def test_statistics_of_norms_and_the_vectors_of_spectral_norm_are_buffers(tmp_path: Path) -> None:
    new, old = nn.Linear(4, 6), nn.Linear(6, 2)
    model = nn.Sequential(spectral_norm(new), nn.BatchNorm1d(6), nn.utils.spectral_norm(old))
    torch.save(model.state_dict(), tmp_path / "m.pt")
    weights = read_weights(tmp_path / "m.pt")
    assert sorted(weights.pool("all")) == sorted(name for name, _ in model.named_parameters())
    assert weights.outside == {name for name, _ in model.named_buffers()}


def test_what_torch_has_pruned_is_read_as_the_masked_weight(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 2))
    torch_prune.l1_unstructured(model[0], "weight", 0.25)
    torch_prune.random_unstructured(model[1], "bias", 0.5)
    torch.save(model.state_dict(), tmp_path / "m.pt")
    weights = read_weights(tmp_path / "m.pt")
    assert sorted(weights.names()) == ["0.bias", "0.weight", "1.bias", "1.weight"]
    assert torch.equal(weights.tensors["0.weight"], model[0].weight)
    assert int((weights.tensors["0.weight"] == 0).sum()) == 32
    assert torch.equal(weights.tensors["1.bias"], model[1].bias)


def test_the_command_asks_for_a_scope(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for shift, name in enumerate(("late", "early")):
        torch.save(
            {key: value + shift for key, value in (LAYER | BUFFERS["sinusoidal positions"]).items()}, tmp_path / name
        )
    command = ["prune", str(tmp_path / "late"), "--rewind", str(tmp_path / "early"), "--rate", "0.5"]
    assert main([*command, "-o", str(tmp_path / "t")]) == 2
    assert "does not say whether 'pe' are parameters or buffers" in capsys.readouterr().err
    assert not (tmp_path / "t").exists()
    assert main([*command, "-o", str(tmp_path / "t"), "--scope", "weight", "bias"]) == 0


def test_frozen_parameters_are_left_out_by_a_scope(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    weights = snapshot(model)
    weights.save(tmp_path / "w.safetensors")
    for each in (weights, Weights.load(tmp_path / "w.safetensors")):
        assert each.pool("trainable") == ["1.bias", "1.weight"]
        assert len(each.pool("all")) == 4
    torch.save(model.state_dict(), tmp_path / "m.pt")
    with pytest.raises(ScopeError, match="this file does not say"):
        read_weights(tmp_path / "m.pt").pool("trainable")


@pytest.mark.parametrize("buffers", ["none", "sinusoidal positions"])
def test_a_copy_in_safetensors_knows_no_more_than_its_source(buffers: str, tmp_path: Path) -> None:
    torch.save(LAYER | BUFFERS.get(buffers, {}), tmp_path / "m.pt")
    weights = read_weights(tmp_path / "m.pt")
    weights.save(tmp_path / "copy.safetensors")
    copied = read_weights(tmp_path / "copy.safetensors")
    assert copied == weights
    assert copied.frozen is None
    with pytest.raises(ScopeError, match="this file does not say"):
        copied.pool("trainable")
    if buffers != "none":
        with pytest.raises(ScopeError, match="does not say whether 'pe' are parameters or buffers"):
            copied.pool("all")
    known = snapshot(nn.Linear(4, 4))
    known.save(tmp_path / "known.safetensors")
    assert read_weights(tmp_path / "known.safetensors") == known
    assert known != weights
    assert known.frozen == frozenset()


def test_a_snapshot_has_every_parameter_whatever_the_state_dict_has() -> None:
    class Adapter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
            self.register_buffer("copy", self.base.weight.data)  # comes first in the state dict

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.base(x))  # type: ignore[no-any-return]

    class HeadOnly(Adapter):
        def state_dict(self, *args: Any, **more: Any) -> dict[str, Any]:  # type: ignore[override]
            return {name: value for name, value in super().state_dict(*args, **more).items() if "base" not in name}

    for model in (Adapter(), HeadOnly()):
        weights = snapshot(model)
        assert sorted(weights.tensors) == ["base.bias", "base.weight", "head.bias", "head.weight"]
        assert not weights.outside
        with apply_ticket(prune(weights, weights, rate=0.5), model) as keeper:
            keeper.check()


def test_a_snapshot_has_the_values_that_train_not_those_of_hooks_on_the_state_dict() -> None:
    def halved(module: nn.Module, state: dict[str, Any], prefix: str, meta: Any) -> None:
        state.update({name: (value / 2).bfloat16() for name, value in state.items() if name.startswith(prefix)})

    model = nn.Linear(4, 3)
    model.register_buffer("shift", torch.randn(3))
    model.register_state_dict_post_hook(halved)
    before = {name: value.clone() for name, value in [*model.named_parameters(), *model.named_buffers()]}
    weights = snapshot(model)
    assert all(torch.equal(weights.tensors[name], value) for name, value in before.items())
    ticket = prune(weights, weights, rate=0.5)
    with apply_ticket(ticket, model):
        assert torch.equal(model.weight, ticket.masks["weight"] * before["weight"])
        assert torch.equal(model.shift, before["shift"])


@pytest.mark.parametrize("how", ["fsdp", "zero"])
def test_shards_of_parameters_are_refused(how: str) -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    if how == "fsdp":
        model.append(type("FullyShardedDataParallel", (nn.Module,), {})())
    else:
        model[0].weight.ds_id = 3
    with pytest.raises(MismatchError, match="train with DistributedDataParallel"):
        snapshot(model)


def test_a_name_to_ignore_that_is_none_is_refused() -> None:
    model = nn.Linear(4, 4)
    weights = snapshot(model)
    with pytest.raises(MismatchError, match="the model has no parameter 'wieght' to ignore"):
        apply_ticket(prune(weights, weights, rate=0.5), model, ignore=["wieght"])


def test_a_parameter_without_memory_of_its_own_is_refused() -> None:
    """As a DTensor, which wraps its shard."""

    class Shard(Tensor):
        @staticmethod
        def __new__(cls) -> Any:
            return Tensor._make_wrapper_subclass(cls, (4, 4))  # type: ignore[attr-defined]

        @classmethod
        def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), more: Any = None) -> Any:
            return Shard()

    model = nn.Module()
    model.weight = nn.Parameter(Shard())  # type: ignore[call-arg]
    with pytest.raises(MismatchError, match="'weight' is a Shard without memory of its own: sharded"):
        snapshot(model)


def test_a_bias_of_several_dimensions_is_no_collapsed_layer() -> None:
    weights = Weights(
        {"bias": torch.full((1, 1, 4), 1e-9), "token": torch.full((1, 1, 8), 1e-9), "w": torch.randn(8, 4)}
    )
    ticket = prune(weights, weights, survivors=20)
    assert ticket.masks.survivors() == {"bias": 0, "token": 0, "w": 20}
    assert ticket.masks.collapsed() == []
