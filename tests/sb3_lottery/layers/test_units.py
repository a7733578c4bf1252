"""Tickets of whole units of every algorithm: the names say what the policy says, and what is dead can be taken out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import NatureCNN
from torch import nn

from lottery_core import Masks, Ticket, control_ticket, dialects, prune
from lottery_core.cli.lottery import main
from lottery_core.dialects import is_target
from lottery_core.errors import ConfigError, MaskError, PruneError
from lottery_core.pruning import layout_of_weights
from sb3_lottery import LotteryCallback, shrink_policy
from sb3_lottery.layers import units_of
from sb3_lottery.layers.layer_graph import LayerGraph
from sb3_lottery.models.algorithms import ALGORITHMS
from sb3_lottery.models.parameters import weights_of
from tests.sb3_lottery import tiny
from tests.sb3_lottery.inference.test_shrink import CASES, outputs_of

CASES = {
    **CASES,
    "recurrentppo, a shared LSTM": (
        "recurrentppo",
        "mlp",
        {"shared_lstm": True, "enable_critic_lstm": False, "n_lstm_layers": 2},
    ),
}


def agent(case: str) -> BaseAlgorithm:
    algo, network, kwargs = CASES[case]
    model = tiny.make(algo, network=network, **kwargs)
    with torch.no_grad():  # orthogonal or tiny starts would tell layers apart
        generator = torch.Generator().manual_seed(3)
        for name, parameter in model.policy.named_parameters():
            if not is_target(name) and not name.endswith("log_std"):
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def unit_ticket(model: BaseAlgorithm, fraction: float = 0.6, **changes: Any) -> Ticket:
    weights = weights_of(model)
    return prune(weights, weights, fraction=fraction, granularity="unit", rewind_point="init", **changes)


@pytest.mark.parametrize("case", CASES)
def test_the_names_say_what_the_layers_of_the_policy_say(case: str) -> None:
    model = agent(case)
    shapes = {name: tuple(tensor.shape) for name, tensor in weights_of(model).tensors.items()}
    named = {
        group.layer: sorted((part.tensor, part.start, part.block) for part in group.parts if not part.own)
        for group in dialects.named("sb3").units(shapes, {})
    }
    graph = {
        unit.layer: sorted(
            (reads.weight, reads.start, reads.block) for reads in unit.readers if not is_target(reads.weight)
        )
        for unit in LayerGraph(model.policy).units
        if not is_target(unit.layer)
    }
    assert named == graph
    assert units_of(model, weights_of(model), "all", "unit") is not None


@pytest.mark.parametrize("case", CASES)
def test_a_ticket_of_units_shrinks_to_its_survivors_and_computes_the_same(case: str) -> None:
    model = agent(case)
    ticket = unit_ticket(model)
    layout = layout_of_weights(weights_of(model), "all", "unit")
    assert layout is not None
    assert layout.are_whole(ticket.masks)
    assert 0.35 < ticket.masks.surviving / ticket.masks.pool < 0.45
    ticket.load_into(model.policy, [name for name, _ in model.policy.named_parameters() if is_target(name)])
    for name, module in model.policy.named_children():
        online = getattr(model.policy, name.removesuffix("_target"), None)
        if name.endswith("_target") and online is not None:
            module.load_state_dict(online.state_dict())
    before = outputs_of(model)
    report = shrink_policy(model)
    after = outputs_of(model)
    assert before.keys() == after.keys()
    for name, values in before.items():
        torch.testing.assert_close(after[name], values, rtol=1e-4, atol=1e-4, msg=name)
    never = {"log_std"}
    left = sum(t.numel() for name, t in weights_of(model).tensors.items() if name.rpartition(".")[2] not in never)
    # Some layers of these must be equally wide, so the narrower ones keep units of zeros.
    if {"recurrentppo", "sac", "td3", "tqc", "ddpg", "crossq", "two"} & set(case.replace(",", "").split()):
        assert ticket.masks.surviving <= left < ticket.masks.pool
    else:
        assert left == ticket.masks.surviving
    assert report.removed > 0


def test_batch_norms_belong_to_their_units() -> None:
    model = tiny.make("crossq", net_arch=[32, 32])
    ticket = unit_ticket(model, 0.4, criterion="magnitude-layer")
    dead = ~ticket.masks["actor.latent_pi.1.weight"].any(1)
    assert 0 < int(dead.sum()) < len(dead)
    for name in ("actor.latent_pi.1.bias", "actor.latent_pi.3.scale", "actor.latent_pi.3.bias"):
        assert torch.equal(ticket.masks[name], ~dead)
    assert not ticket.masks["actor.latent_pi.4.weight"][:, dead].any()
    assert bool(ticket.masks["actor.latent_pi.0.scale"].all())  # a norm over observations
    assert units_of(model, weights_of(model), "all", "unit") is not None


class Own(ActorCriticPolicy):
    """A user's policy."""


class Skips(NatureCNN):
    """A user's extractor with the names of SB3's."""

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.linear(self.cnn(observations)) * 2


@pytest.mark.parametrize("activation", [nn.Softshrink, nn.Tanhshrink, nn.PReLU, nn.Softmax])
def test_activations(activation: type[nn.Module]) -> None:
    """Those that take each unit for itself, and have no weights."""
    model = tiny.make("a2c", activation_fn=activation)
    weights = weights_of(model)
    if activation in (nn.PReLU, nn.Softmax):
        with pytest.raises(ConfigError, match=r"activation with weights|has no hidden layers, or the names"):
            units_of(model, weights, "all", "unit")
    else:
        assert units_of(model, weights, "all", "unit") is not None


def test_classes_of_the_users_own_are_refused() -> None:
    model = tiny.make("ppo")
    model.policy.__class__ = Own
    with pytest.raises(ConfigError, match=r"Own is a policy of tests\.sb3_lottery"):
        units_of(model, weights_of(model), "all", "unit")
    assert units_of(model, weights_of(model), "all", "weight") is None
    model = tiny.make("ppo", network="cnn", features_extractor_class=Skips)
    with pytest.raises(ConfigError, match=r"'features_extractor\.cnn\.0' is no layer whose readers are known"):
        units_of(model, weights_of(model), "all", "unit")
    own = "mlp_extractor|action_net|value_net"
    layout = units_of(model, weights_of(model), own, "unit")
    assert layout is not None
    assert all(layer.startswith("mlp_extractor") for layer in layout.counts)


@pytest.mark.parametrize("algo", sorted(ALGORITHMS))
def test_every_algorithm_trains_a_ticket_of_units_with_its_dead_units_at_zero(algo: str) -> None:
    model = tiny.make(algo)
    ticket = unit_ticket(model, 0.3)
    model.learn(48, callback=LotteryCallback(ticket))
    state = weights_of(model).tensors
    for name, mask in ticket.masks.items():
        assert not bool(state[name][~mask].count_nonzero()), name
        assert not bool(torch.signbit(state[name][~mask]).any()), name


def test_a_recurrent_model_learns_and_loads_after_shrinking(tmp_path: Path) -> None:
    model = tiny.make("recurrentppo")
    model.learn(24)
    ticket = unit_ticket(model, 0.5)
    model.learn(24, callback=LotteryCallback(ticket))
    model.save(tmp_path / "m.zip")
    width = model.policy.lstm_actor.hidden_size
    assert shrink_policy(model)
    assert model.policy.lstm_actor.hidden_size < width
    assert model.policy_kwargs["lstm_hidden_size"] == model.policy.lstm_actor.hidden_size
    model.save(tmp_path / "s.zip")
    assert main(["export", str(tmp_path / "m.zip"), "-o", str(tmp_path / "e.zip"), "--form", "shrunk", "--trust"]) == 0
    for name in ("s.zip", "e.zip"):
        loaded = type(model).load(tmp_path / name, env=model.get_env(), device="cpu")
        for key, value in model.policy.state_dict().items():
            assert torch.equal(loaded.policy.state_dict()[key], value)
    loaded.learn(24)
    model.learn(24)


def test_kinds_of_units(tmp_path: Path) -> None:
    model = agent("ppo")
    weights, fresh = weights_of(model), weights_of(tiny.make("ppo", seed=9, net_arch=[60, 60]))
    ticket = unit_ticket(model)
    layout = layout_of_weights(weights, "all", "unit")
    assert layout is not None
    units = {layer: int(some.sum()) for layer, some in layout.alive(ticket.masks).items()}
    for kind in ("random", "shuffled", "random-scaled", "random-budget", "random-best"):
        made = control_ticket(kind, ticket, 5, fresh=fresh, rewind=weights)
        assert layout.are_whole(made.masks)
        assert {layer: int(some.sum()) for layer, some in layout.alive(made.masks).items()} == units
        assert made.masks.survivors() == ticket.masks.survivors()
        assert made.masks != ticket.masks
        assert made.origin.granularity == "unit"
    for kind in ("uniform", "at-start"):
        made = control_ticket(kind, ticket, 5, fresh=fresh, rewind=fresh)
        assert layout.are_whole(made.masks)
        assert abs(made.masks.surviving - ticket.masks.surviving) < 130  # a unit has at most 60 + 60 + 1 parameters
        assert made.masks != ticket.masks
    for kind in ("reinit", "permuted", "signs"):
        assert control_ticket(kind, ticket, 5, fresh=fresh, rewind=weights).masks == ticket.masks
    torn = {name: mask.clone() for name, mask in ticket.masks.items()}
    torn["action_net.bias"][0] = False
    with pytest.raises(MaskError, match="the masks of this winning ticket do not prune whole units"):
        control_ticket("random", ticket.with_masks(Masks(torn)), 5, fresh=fresh, rewind=weights)
    with pytest.raises(ConfigError, match="the kind erk draws single weights"):
        control_ticket("erk", ticket, 5, fresh=fresh, rewind=weights)


def test_the_command_prunes_whole_units_round_by_round(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny.make("a2c", net_arch=[32, 32])
    model.save(tmp_path / "early.zip")
    model.learn(96)
    model.save(tmp_path / "late.zip")
    words = [str(tmp_path / "late.zip"), "--rewind", str(tmp_path / "early.zip"), "--rate", "0.3"]
    assert main(["prune", *words, "--granularity", "unit", "-o", str(tmp_path / "1.safetensors")]) == 0
    assert "whole units: " in capsys.readouterr().out
    first = Ticket.load(tmp_path / "1.safetensors")
    further = ["--previous", str(tmp_path / "1.safetensors"), "-o", str(tmp_path / "2.safetensors")]
    assert main(["prune", *words, *further]) == 0
    second = Ticket.load(tmp_path / "2.safetensors")
    layout = layout_of_weights(weights_of(model), "all", "unit")
    assert layout is not None
    for ticket in (first, second):
        assert ticket.origin.granularity == "unit"
        assert layout.are_whole(ticket.masks)
        assert abs(ticket.masks.surviving - ticket.origin.asked) <= 33  # half a unit of 32 + 32 + 1 parameters
    assert second.masks.subset_of(first.masks)
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "2.safetensors")]) == 0
    shown = capsys.readouterr().out
    assert "granularity unit" in shown
    assert f"{second.masks.surviving:,} survive where {second.origin.asked:,} were asked for" in shown
    assert main(["prune", *words, *further, "--granularity", "weight"]) == 2
    assert "--granularity cannot change" in capsys.readouterr().err
    assert main(["prune", *words, "--granularity", "layer", "-o", str(tmp_path / "3.safetensors")]) == 2
    assert "unknown granularity 'layer'" in capsys.readouterr().err
    single = prune(weights_of(model), weights_of(model), rate=0.3)
    with pytest.raises(PruneError, match="prunes single weights"):
        prune(weights_of(model), weights_of(model), rate=0.3, previous=single, granularity="unit")
