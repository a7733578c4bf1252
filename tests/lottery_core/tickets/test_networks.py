"""Networks of a ticket: what survives of each, how many inputs reach an output, and the warnings before a collapse."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lottery_core import Masks, Ticket
from lottery_core.tickets import describe, network_of_each, networks_of, render, ticket_warnings
from lottery_core.tickets.networks import dead_units, thin_layers

PPO = {
    "action_net.weight": (4, 64),
    "mlp_extractor.policy_net.0.weight": (64, 8),
    "mlp_extractor.policy_net.2.weight": (64, 64),
    "mlp_extractor.value_net.0.weight": (64, 8),
    "mlp_extractor.value_net.2.weight": (64, 64),
    "value_net.weight": (1, 64),
}
SAC = {
    **{f"actor.{name}.weight": shape for name, shape in (("latent_pi.0", (16, 3)), ("latent_pi.2", (16, 16)))},
    **{f"actor.{name}.weight": (2, 16) for name in ("mu", "log_std")},
    **{f"critic.qf{i}.{n}.weight": shape for i in (0, 1) for n, shape in ((0, (16, 5)), (2, (16, 16)), (4, (1, 16)))},
}
CNN = {
    "features_extractor.cnn.0.weight": (8, 3, 4, 4),
    "features_extractor.cnn.2.weight": (8, 8, 2, 2),
    "features_extractor.linear.0.weight": (32, 8 * 9),
    "action_net.weight": (4, 32),
    "value_net.weight": (1, 32),
}


def whole(shapes: dict[str, tuple[int, ...]], **changes: Any) -> Masks:
    """Masks in which everything survives, but for those that ``changes`` replaces; ``__`` stands for a dot."""
    changed = {name.replace("__", "."): mask for name, mask in changes.items()}
    return Masks({name: changed.get(name, torch.ones(shape)) for name, shape in shapes.items()})


def only(shape: tuple[int, ...], *places: tuple[int, ...]) -> torch.Tensor:
    """A mask with survivors at these places alone."""
    mask = torch.zeros(shape)
    for place in places:
        mask[place] = 1
    return mask


def flows(masks: Masks, **outside: torch.Tensor) -> dict[str, tuple[int | None, int | None]]:
    """Network -> inputs that reach an output, inputs."""
    rest = {name.replace("__", "."): tensor for name, tensor in outside.items()}
    return {network.name: (network.reaching, network.inputs) for network in networks_of(masks, rest)}


def ticket_of(masks: Masks) -> Ticket:
    return Ticket(masks, {name: mask.float() for name, mask in masks.items()})


def test_inputs_that_reach_an_output_by_network() -> None:
    """Unit 5 of the actor's first layer reads inputs 1 and 2 and is the only one that is read on."""
    assert flows(whole(PPO)) == {"actor": (8, 8), "critic": (8, 8)}
    masks = whole(
        PPO,
        mlp_extractor__policy_net__0__weight=only((64, 8), (5, 1), (5, 2), (9, 7)),
        mlp_extractor__policy_net__2__weight=only((64, 64), (3, 5), (4, 9)),
        action_net__weight=only((4, 64), (0, 3)),
    )
    assert flows(masks) == {"actor": (2, 8), "critic": (8, 8)}
    actor, critic = networks_of(masks, {})
    assert (actor.surviving, actor.pool) == (6, 64 * 8 + 64 * 64 + 4 * 64)
    assert str(actor) == "actor: surviving 6 of 4,864 (0.12%), 2 of 8 inputs reach an output"
    assert critic.surviving == critic.pool


def test_two_heads_and_twin_critics() -> None:
    """An input counts that reaches either head; of twin critics the one counts that fewer inputs reach."""
    assert flows(whole(SAC)) == {"actor": (3, 3), "critic": (5, 5)}
    masks = whole(
        SAC,
        actor__latent_pi__0__weight=only((16, 3), (0, 0), (1, 1), (2, 2)),
        actor__latent_pi__2__weight=torch.eye(16),
        actor__mu__weight=only((2, 16), (0, 0)),
        actor__log_std__weight=only((2, 16), (1, 1)),
        critic__qf1__0__weight=only((16, 5), (0, 4)),
    )
    assert flows(masks) == {"actor": (2, 3), "critic": (1, 5)}


def test_convolutions_that_actor_and_critic_share() -> None:
    """A channel is read at nine places; the shared layers count for both, and their survivors for neither."""
    assert flows(whole(CNN)) == {"actor": (3, 3), "critic": (3, 3), "shared": (None, None)}
    masks = whole(
        CNN,
        features_extractor__cnn__0__weight=only((8, 3, 4, 4), (0, 1, 3, 3), (7, 2, 0, 0)),
        features_extractor__cnn__2__weight=only((8, 8, 2, 2), (2, 0, 1, 1), (3, 7, 0, 1)),
        features_extractor__linear__0__weight=only((32, 72), (1, 2 * 9 + 4), (6, 3 * 9)),
        action_net__weight=only((4, 32), (0, 1)),
    )
    assert flows(masks) == {"actor": (1, 3), "critic": (2, 3), "shared": (None, None)}
    assert network_of_each(CNN)["features_extractor.linear.0.weight"] == "shared"


def test_layers_outside_the_pool_are_whole() -> None:
    names = [name for name in PPO if "value" not in name]
    masks = Masks({name: torch.ones(PPO[name]) for name in names if name != "action_net.weight"})
    outside = {name.replace(".", "__"): torch.zeros(PPO[name]) for name in PPO if name not in masks}
    assert flows(masks, **outside) == {"actor": (8, 8)}
    assert flows(masks, action_net__weight=torch.zeros(4, 63)) == {"actor": (None, None)}


def test_a_model_of_no_known_networks_is_one_chain_by_name_order() -> None:
    shapes: dict[str, tuple[int, ...]] = {f"net.{2 * i}.weight": (16, 16) for i in range(7)} | {"net.0.weight": (16, 4)}
    assert flows(whole(shapes)) == {"model": (4, 4)}
    assert flows(whole(shapes, net__10__weight=torch.zeros(16, 16))) == {"model": (0, 4)}
    assert flows(whole({**shapes, "norm.weight": (16,), "net.0.bias": (16,)})) == {"model": (4, 4)}


@pytest.mark.parametrize(
    "shapes",
    [
        {"a.weight": (8, 4), "b.weight": (2, 9)},
        {"a.weight": (8, 4), "attention.weight": (8, 8), "b.weight": (2, 8)},
        {"attn.k_proj.weight": (8, 8), "attn.q_proj.weight": (8, 8)},
        {"embed.weight": (8, 8), "fc.weight": (2, 8)},
        {"lstm.weight_ih_l0": (32, 4), "lstm.weight_hh_l0": (32, 8)},
        {"in_proj_weight": (8, 8), "out.weight": (8, 8)},
        {**SAC, "critic.qf1.0.weight": (16, 6)},
        {**CNN, "features_extractor.more.weight": (8, 5)},
    ],
)
def test_layers_that_cannot_be_chained_are_only_counted(shapes: dict[str, tuple[int, ...]]) -> None:
    found = {network.name: network for network in networks_of(whole(shapes), {})}
    last = found.get("critic") or found["model"]
    assert (last.inputs, last.reaching) == (None, None)
    assert last.surviving == last.pool > 0
    assert "inputs" not in str(last)


def test_encoder_and_decoder_and_the_embeddings_that_they_share() -> None:
    names = ["encoder.embed_tokens.weight", "encoder.layers.0.fc1.weight", "decoder.layers.0.fc1.weight"]
    assert network_of_each(names) == dict(zip(names, ("shared", "encoder", "decoder"), strict=True))
    assert network_of_each([*names, "decoder.embed_tokens.weight"])[names[0]] == "encoder"
    assert set(network_of_each(["decoder.fc.weight", "x"]).values()) == {"model"}


def test_a_layer_that_is_starved_is_warned_of_before_its_last_weight() -> None:
    """The fault: an actor's layer keeps 2 of 4,096 weights where the whole pool keeps a quarter."""
    quarter = {name: (torch.arange(torch.Size(shape).numel()) % 4 == 0).reshape(shape) for name, shape in PPO.items()}
    masks = Masks({**quarter, "mlp_extractor.policy_net.2.weight": only((64, 64), (0, 1), (2, 3))})
    assert thin_layers(Masks(quarter)) == []
    assert thin_layers(masks) == ["mlp_extractor.policy_net.2.weight"]
    warnings = ticket_warnings(ticket_of(masks), "seed 1 winning round 4")
    assert warnings[0].startswith(
        "WARNING: seed 1 winning round 4: the layer 'mlp_extractor.policy_net.2.weight' keeps"
    )
    assert "2 of 4,096 weights (0.05%; the whole pool keeps" in warnings[0]
    assert "collapses soon if pruning goes on" in warnings[0]
    assert "actor and critic at the same rate (scope shares 'separate')" in warnings[0]
    separate = ticket_of(masks).with_origin(scope_shares="separate")
    assert "separate" not in ticket_warnings(separate, "x")[0]


@pytest.mark.parametrize(
    ("left", "pool_left", "thin"),
    [
        (7, 40, True),  # fewer than 8, and less than 1%
        (8, 40, False),
        (39, 4096, True),  # less than one a unit, and a tenth of the share of the pool
        (41, 300, False),
        (64, 4096, False),  # one a unit
        (0, 4096, False),  # collapsed: that is another warning
    ],
)
def test_when_a_layer_is_thin(left: int, pool_left: int, thin: bool) -> None:
    layer = (torch.arange(4096) < left).reshape(64, 64)
    rest = (torch.arange(4096) < pool_left).reshape(4, 1024)
    assert ("a.weight" in thin_layers(Masks({"a.weight": layer, "b.weight": rest}))) == thin


def test_a_large_layer_that_keeps_a_small_share_is_not_starved() -> None:
    large = torch.zeros(512, 512)
    large.view(-1)[:1000] = 1
    assert thin_layers(Masks({"large.weight": large, "small.weight": torch.ones(300, 900)})) == []


def test_a_network_that_few_inputs_pass_is_warned_of() -> None:
    few = only((64, 8), *((unit, unit % 3) for unit in range(64)))
    ticket = ticket_of(whole(PPO, mlp_extractor__policy_net__0__weight=few))
    (line,) = ticket_warnings(ticket, "this ticket")
    assert line == "WARNING: this ticket: only 3 of the 8 inputs of the actor still reach an output"
    cut = whole(
        PPO,
        mlp_extractor__policy_net__0__weight=only((64, 8), (5, 1)),
        mlp_extractor__policy_net__2__weight=torch.eye(64),
        action_net__weight=only((4, 64), (0, 7)),
    )
    lines = ticket_warnings(ticket_of(cut), "x")
    assert lines[-1] == "WARNING: x: none of the 8 inputs of the actor still reaches an output"
    half = only((64, 8), *((unit, unit % 4) for unit in range(64)))
    assert ticket_warnings(ticket_of(whole(PPO, mlp_extractor__policy_net__0__weight=half)), "x") == []
    collapsed = ticket_of(whole(PPO, mlp_extractor__policy_net__0__weight=torch.zeros(64, 8)))
    (line,) = ticket_warnings(collapsed, "x")
    assert "has collapsed" in line


def test_a_unit_of_an_lstm_has_four_rows_and_a_head_several() -> None:
    gates = only((12, 2), (0, 0), (3, 1), (10, 0)).bool()  # units 0, 0 and 1 of 3
    for name in ("lstm_actor.weight_ih_l0", "decoder.lstm.weight_hh_l1", "layers.0.weight_ih"):
        assert dead_units(name, gates) == (1, 0)
    projection = only((6, 4), (0, 1), (1, 1), (2, 0)).bool()
    assert dead_units("layers.0.self_attn.q_proj.weight", projection, {"layers.0.self_attn": 3}) == (1, 2)
    assert dead_units("layers.0.self_attn.out_proj.weight", projection, {"layers.0.self_attn": 3}) == (3, 2)
    assert dead_units("layers.0.self_attn.q_proj.weight", projection) == (3, 2)


def test_dead_units_by_layer() -> None:
    mask = only((4, 3), (0, 0), (2, 0)).bool()
    assert dead_units("a.weight", mask) == (2, 2)
    assert dead_units("a.weight", only((4, 3, 2, 2), (1, 2, 0, 1)).bool()) == (3, 2)
    facts = describe(ticket_of(Masks({"a.weight": mask, "a.bias": torch.ones(4)})))
    assert [entry.get("dead_units") for entry in facts["tensors"]] == [None, 2]
    assert [entry.get("unread_inputs") for entry in facts["tensors"]] == [None, 2]
    text = render(ticket_of(Masks({"a.weight": mask, "a.bias": torch.ones(4)})))
    (head,) = [line for line in text.splitlines() if line.startswith("tensor")]
    (line,) = [line for line in text.splitlines() if line.startswith("a.weight")]
    assert head.endswith("dead units  unread inputs")
    assert line.split()[-2:] == ["2", "2"]
    assert "1 of 3 inputs reach an output" in text


def test_names_and_shapes_of_strangers() -> None:
    """Numbers of any length, of any script; tensors without elements."""
    names = ["a.²weight.weight", f"a.{'9' * 5000}.weight", "a.٣.weight", "b.weight"]
    masks = Masks(
        {**{name: torch.ones(3, 3) for name in names}, "c.weight": torch.zeros(0, 3), "d.bias": torch.ones(3)}
    )
    assert [network.name for network in networks_of(masks, {})] == ["model"]
    assert networks_of(Masks({"a.weight": torch.zeros(0, 3)}), {}) == []
    assert ticket_warnings(ticket_of(Masks({"a.weight": torch.ones(3, 0), "b.bias": torch.ones(2)})), "x") == []
