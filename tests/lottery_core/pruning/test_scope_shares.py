"""Scope shares: all networks in one pool, or each pruned at the same rate."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lottery_core import Ticket, Weights, prune
from lottery_core.errors import ConfigError
from lottery_core.pruning import schedule, ticket_without_search, transferred
from lottery_core.tickets import describe, networks_of, render
from tests.lottery_core.helpers import random_weights

SHAPES = {
    "action_net__weight": (4, 64),
    "action_net__bias": (4,),
    "mlp_extractor__policy_net__0__weight": (64, 8),
    "mlp_extractor__value_net__0__weight": (64, 8),
    "value_net__weight": (1, 64),
    "features_extractor__cnn__0__weight": (8, 3, 3, 3),
}
POOL = 4 * 64 + 4 + 2 * 64 * 8 + 64 + 8 * 27


def loud_critic(seed: int = 1) -> Weights:
    """Weights of a critic that are a hundred times the actor's."""
    weights = random_weights(seed, **SHAPES)
    return Weights({name: value * (100 if "value" in name else 1) for name, value in weights.tensors.items()})


def shares(ticket: Ticket) -> dict[str, float]:
    return {network.name: network.surviving / network.pool for network in networks_of(ticket.masks, ticket.rest)}


def test_the_critic_starves_the_actor_unless_shares_are_separate() -> None:
    trained = loud_critic()
    together = prune(trained, trained, rate=0.5)
    assert shares(together)["critic"] > 0.95 > 0.5 > shares(together)["actor"]
    separate = prune(trained, trained, rate=0.5, scope_shares="separate")
    assert set(shares(separate)) == {"actor", "critic", "shared"}
    assert all(share == pytest.approx(0.5, abs=0.005) for share in shares(separate).values())
    assert together.masks.surviving == separate.masks.surviving == POOL - POOL // 2


def test_each_network_keeps_its_largest_weights() -> None:
    trained = loud_critic()
    ticket = prune(trained, trained, rate=0.7, scope_shares="separate")
    actor = [name for name in ticket.masks if name.startswith(("action", "mlp_extractor.policy"))]
    kept = torch.cat([trained.tensors[name][ticket.masks[name]].abs() for name in actor])
    gone = torch.cat([trained.tensors[name][~ticket.masks[name]].abs() for name in actor])
    assert float(kept.min()) >= float(gone.max())


def test_counts_stay_exact_over_twenty_rounds() -> None:
    trained, ticket = loud_critic(), None
    for left in schedule(POOL, 0.2, 20)[1:]:
        ticket = prune(trained, trained, rate=0.2, previous=ticket, scope_shares=None if ticket else "separate")
        assert ticket.masks.surviving == left
        assert ticket.origin.scope_shares == "separate"
        for network in networks_of(ticket.masks, ticket.rest):
            assert abs(network.surviving - left * network.pool / POOL) < 5


def test_each_tensor_keeps_its_share_with_a_criterion_by_layer() -> None:
    trained = loud_critic()
    by_layer = prune(trained, trained, rate=0.5, criterion="magnitude-layer", scope_shares="separate")
    assert by_layer.masks == prune(trained, trained, rate=0.5, criterion="magnitude-layer").masks


def test_slices_that_are_needed_come_from_their_own_network() -> None:
    """A weight that is divided by the norm of each slice keeps a survivor in each, at the cost of its own network."""
    shapes = {
        **SHAPES,
        "mlp_extractor__policy_net__2__weight_v": (64, 64),
        "mlp_extractor__policy_net__2__weight_g": (64, 1),
    }
    trained = random_weights(3, **shapes)
    for survivors in (3000, 900, 200):
        ticket = prune(trained, trained, survivors=survivors, scope_shares="separate")
        assert ticket.masks.surviving == survivors
        assert bool(ticket.masks["mlp_extractor.policy_net.2.weight_v"].any(1).all())


def test_a_file_keeps_its_shares_and_those_of_0_1_stay_what_they_were(tmp_path: Path) -> None:
    trained = loud_critic()
    for word in ("together", "separate"):
        ticket = prune(trained, trained, rate=0.5, scope_shares=word)
        ticket.save(tmp_path / "t.safetensors")
        loaded = Ticket.load(tmp_path / "t.safetensors")
        assert loaded.origin.scope_shares == describe(loaded)["scope_shares"] == word
        assert loaded.digest == ticket.digest
        assert ("scope_shares" in ticket.origin.as_json()) == (word == "separate")
        assert ("scope shares separate" in render(loaded)) == (word == "separate")
    assert prune(trained, trained, rate=0.5).digest == prune(trained, trained, rate=0.5, scope_shares="together").digest


def test_separate_shares_need_several_networks() -> None:
    plain = random_weights(a__weight=(8, 8))
    with pytest.raises(ConfigError, match=r"need a pool of several networks .* has only 'model'"):
        prune(plain, plain, rate=0.5, scope_shares="separate")
    trained = loud_critic()
    with pytest.raises(ConfigError, match="has only 'critic'"):
        prune(trained, trained, rate=0.5, scope=r"^(mlp_extractor\.)?value_net\.", scope_shares="separate")
    with pytest.raises(ConfigError, match="unknown scope shares 'seperate': did you mean separate"):
        prune(trained, trained, rate=0.5, scope_shares="seperate")


def test_every_way_to_a_ticket_checks_its_shares() -> None:
    trained, plain = loud_critic(), random_weights(a__weight=(8, 8))
    ticket, other = prune(trained, trained, rate=0.5), prune(plain, plain, rate=0.5)
    for kind in ("at-start", "erk", "gradual"):
        with pytest.raises(ConfigError, match="unknown scope shares 'separat'"):
            ticket_without_search(kind, trained, 0.5, scope_shares="separat")
        with pytest.raises(ConfigError, match="has only 'model'"):
            ticket_without_search(kind, plain, 0.5, scope_shares="separate")
    with pytest.raises(ConfigError, match="unknown scope shares 'separat'"):
        transferred("transfer", ticket, trained, trained, lambda pool: pool, scope_shares="separat")
    with pytest.raises(ConfigError, match="has only 'model'"):
        transferred("transfer", other, plain, plain, lambda pool: pool, scope_shares="separate")
