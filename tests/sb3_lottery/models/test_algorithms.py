"""The ten rules for every algorithm and optimizer; tests/test_ten_rules.py has them for one, end to end."""

from __future__ import annotations

import copy
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from torch import nn

from lottery_core import Masks, Ticket, read_weights, schedule
from lottery_core.dialects import is_target
from lottery_core.errors import ConfigError
from lottery_core.tickets.scope import pool_names
from sb3_lottery import LotteryCallback, find_tickets
from sb3_lottery.models.algorithms import ALGORITHMS, algorithm, writes_beside_optimizers
from sb3_lottery.models.parameters import weights_of
from tests.sb3_lottery.helpers import assert_dead, ticket_for
from tests.sb3_lottery.tiny import POLICY, make

CLIPS = {"a2c", "ppo", "recurrentppo", "maskableppo", "dqn", "qrdqn"}
WAYS = {"a2c", "dqn", "sac"}
_EPS: dict[str, Any] = {"eps": 1e-5}
_SGD: dict[str, Any] = {"momentum": 0.9, "nesterov": True}
OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]] | None] = {
    "own": None,
    "adam": (torch.optim.Adam, _EPS),
    "adam, decay": (torch.optim.Adam, {**_EPS, "weight_decay": 0.1}),
    "adam, fused": (torch.optim.Adam, {**_EPS, "fused": True}),
    "adamw": (torch.optim.AdamW, {**_EPS, "weight_decay": 0.0}),
    "adamw, decay": (torch.optim.AdamW, {**_EPS, "weight_decay": 0.1}),
    "rmsprop": (torch.optim.RMSprop, {**_EPS, "momentum": 0.9}),
    "rmsprop, decay": (torch.optim.RMSprop, {**_EPS, "weight_decay": 0.1}),
    "rmsprop-tf": (RMSpropTFLike, _EPS),
    "rmsprop-tf, decay": (RMSpropTFLike, {**_EPS, "weight_decay": 0.1}),
    "sgd": (torch.optim.SGD, _SGD),
    "sgd, decay": (torch.optim.SGD, {**_SGD, "weight_decay": 0.1}),
}


def pairs() -> list[Any]:
    """Every algorithm with every optimizer; of those that are not slow, each optimizer with each way to step.

    A2C has one optimizer for its network, DQN a target network beside it, SAC several optimizers and targets.
    """
    usual = {"own", "adam, decay", "rmsprop-tf, decay"}
    return [
        pytest.param(algo, optimizer, marks=() if algo in WAYS or optimizer in usual else pytest.mark.slow)
        for optimizer in OPTIMIZERS
        for algo in ALGORITHMS
    ]


def policy_kwargs(optimizer: str) -> dict[str, Any]:
    chosen = OPTIMIZERS[optimizer]
    return {} if chosen is None else {"optimizer_class": chosen[0], "optimizer_kwargs": chosen[1]}


def masks_of_targets(policy: nn.Module, masks: Masks) -> dict[str, torch.Tensor]:
    """Masks of all parameters by every name that they have, target networks included."""
    names = {id(parameter): name for name, parameter in policy.named_parameters()}
    every = {name: masks.get(names[id(p)]) for name, p in policy.named_parameters(remove_duplicate=False)}
    targets = [name for name, _ in policy.named_parameters(remove_duplicate=False) if is_target(name)]
    every |= {name: every[name.replace("_target.", ".", 1)] for name in targets}
    return {name: mask for name, mask in every.items() if mask is not None}


class EveryForwardPass(BaseCallback):
    """Asserts before each forward pass of each layer that its pruned parameters are 0.0; keeps the start too.

    Stands after :class:`LotteryCallback`, so that its hooks see what the layer will see.
    """

    def __init__(self, masks: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.masks, self.passes = masks, 0
        self.state: dict[str, torch.Tensor] = {}
        self._handles: list[Any] = []

    def _on_training_start(self) -> None:
        policy = self.model.policy
        self.state = {name: value.clone() for name, value in policy.state_dict().items()}
        named = {id(p): name for name, p in policy.named_parameters(remove_duplicate=False) if name in self.masks}

        def look(module: nn.Module, _: Any) -> None:
            for parameter in module.parameters(recurse=False):
                name = named.get(id(parameter))
                if name is not None:
                    assert not bool(parameter.detach()[~self.masks[name]].count_nonzero()), name
                    self.passes += 1

        self._handles = [module.register_forward_pre_hook(look) for module in policy.modules()]

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        for handle in self._handles:
            handle.remove()


def spy_on_clipping(model: BaseAlgorithm, masks: Masks, monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """Norms that clipping sees, each with that of the gradients of the living."""
    norms: list[tuple[float, float]] = []
    clip = torch.nn.utils.clip_grad_norm_
    outside = [name for name, _ in model.policy.named_parameters() if name not in masks and not is_target(name)]

    def spy(parameters: Any, *args: Any, **kwargs: Any) -> Any:
        parameters = list(parameters)
        named = dict(model.policy.named_parameters())
        living = [named[name].grad[mask] for name, mask in masks.items()] + [named[name].grad for name in outside]
        norms.append((float(clip(parameters, 1e9)), float(torch.cat([part.reshape(-1) for part in living]).norm())))
        return clip(parameters, *args, **kwargs)

    monkeypatch.setattr("torch.nn.utils.clip_grad_norm_", spy)
    return norms


@pytest.mark.parametrize(("algo", "optimizer"), pairs())
def test_a_ticket_from_its_start_to_the_saved_zip_and_on(
    algo: str, optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make(algo, **policy_kwargs(optimizer))
    ticket = ticket_for(model, 0.6)
    assert ticket.masks.surviving == ticket.masks.pool - round(0.6 * ticket.masks.pool)
    assert not any(map(is_target, ticket.start()))
    model.learn(18)  # momenta and targets from before the ticket
    keys, masks = list(model.policy.state_dict()), masks_of_targets(model.policy, ticket.masks)
    norms = spy_on_clipping(model, ticket.masks, monkeypatch)
    start = EveryForwardPass(masks)
    model.learn(36, callback=[LotteryCallback(ticket), start])
    assert start.passes > 36
    for name, value in ticket.start().items():
        assert torch.equal(start.state[name].reshape(-1).view(torch.uint8), value.reshape(-1).view(torch.uint8)), name
    for name in filter(is_target, start.state):
        assert torch.equal(start.state[name], start.state[name.replace("_target.", ".", 1)]), name
    assert bool(norms) == (algo in CLIPS)
    assert all(seen == pytest.approx(living, rel=1e-5) for seen, living in norms)
    state = model.policy.state_dict()
    assert_dead(state, Masks(masks))
    assert list(state) == keys
    moved = [name for name in ticket.masks if not torch.equal(state[name], ticket.weights[name])]
    assert len(moved) > 4

    model.save(tmp_path / "m.zip")
    with zipfile.ZipFile(tmp_path / "m.zip") as archive:
        assert b"lottery" not in archive.read("data")
    assert_dead(dict(read_weights(tmp_path / "m.zip").tensors), ticket.masks)
    loaded = type(model).load(tmp_path / "m.zip", env=model.env, device="cpu")
    before = weights_of(loaded).tensors
    loaded.learn(18, callback=[LotteryCallback(ticket), start])
    assert all(torch.equal(start.state[name], value) for name, value in before.items())
    assert_dead(loaded.policy.state_dict(), Masks(masks))


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_same_seed_same_tickets_and_exact_counts(algo: str, tmp_path: Path) -> None:
    found = [
        find_tickets(
            lambda seed: make(algo, seed),
            tmp_path / name,
            total_timesteps=40,
            rewind="updates:3",
            rounds=2,
            prune_rate=0.5,
            kinds="winning",
            score_episodes=5,
            floor=False,
            progress=False,
        )
        for name in "ab"
    ]
    for row, other in zip(found[0].rows, found[1].rows, strict=True):
        assert (row.run, row.score, row.ticket) == (other.run, other.score, other.ticket)
        assert row.surviving == schedule(row.pool, 0.5, 2)[row.round]
    tickets = [one.ticket(1, "winning", 2) for one in found]
    assert tickets[0].read_bytes() == tickets[1].read_bytes()
    ticket, rewind = Ticket.load(tickets[0]), read_weights(tmp_path / "a/seed-1/dense/rewind.safetensors")
    init = read_weights(tmp_path / "a/seed-1/dense/init.safetensors")
    assert any(not torch.equal(init.tensors[name], rewind.tensors[name]) for name in init.tensors)
    assert all(torch.equal(ticket.weights[name], value) for name, value in ticket.masks.apply(rewind.tensors).items())


def test_trpos_conjugate_gradients_see_the_survivors_only(monkeypatch: pytest.MonkeyPatch) -> None:
    import sb3_contrib.trpo.trpo as module

    model, seen = make("trpo"), []
    ticket = ticket_for(model, 0.6)
    compute = module.TRPO._compute_actor_grad

    def spy(self: Any, *args: Any) -> Any:
        parameters, *flat, shapes = compute(self, *args)
        names = {id(parameter): name for name, parameter in self.policy.named_parameters()}
        alive = torch.cat([ticket.masks[names[id(parameter)]].reshape(-1) for parameter in parameters])
        for gradient in (*flat, self.hessian_vector_product(parameters, flat[1], torch.ones_like(flat[1]))):
            seen.append(gradient.detach()[~alive])
            assert bool(gradient.detach()[alive].count_nonzero())
        return parameters, *flat, shapes

    monkeypatch.setattr(module.TRPO, "_compute_actor_grad", spy)
    model.learn(36, callback=LotteryCallback(ticket))
    assert len(seen) == 9
    for index, dead in enumerate(seen):
        # The product adds cg_damping times the vector, here of ones.
        assert torch.equal(dead, torch.full_like(dead, model.cg_damping if index % 3 == 2 else 0.0))


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_a_copy_of_trpos_policy_in_the_middle_does_not_write_to_the_original(how: str) -> None:
    model = make("trpo")
    ticket, copies = ticket_for(model, 0.6), []

    class Copy(BaseCallback):
        def _on_step(self) -> bool:
            policy = self.model.policy
            copies[:] = [copy.deepcopy(policy) if how == "deepcopy" else pickle.loads(pickle.dumps(policy))]
            return True

    model.learn(12, callback=[LotteryCallback(ticket), Copy()])
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.fill_(1)
        copies[0].predict(model.observation_space.sample())
    assert all(bool((parameter == 1).all()) for parameter in model.policy.parameters())


def test_which_algorithms_are_held_before_every_forward_pass_too() -> None:
    assert [algo for algo in ALGORITHMS if writes_beside_optimizers(make(algo))] == ["trpo"]


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_the_scope_layers_has_hidden_layers_only(algo: str) -> None:
    """By shapes: what it has takes or gives 8 numbers, and all that is left whole is output layers and norms."""
    model = make(algo)
    weights = weights_of(model)
    pool = pool_names(weights.names(), "layers", weights.outside)
    hidden = 4 * POLICY.get(algo, {}).get("lstm_hidden_size", 0) or 8
    modules = dict(model.policy.named_modules())
    assert {weights.tensors[name].shape[0] for name in pool} <= {8, hidden}
    for name in set(weights.names()) - set(pool) - weights.outside:
        layer = modules[name.rpartition(".")[0]]
        output = isinstance(layer, nn.Linear) and layer.out_features != 8
        assert output or type(layer).__name__ == "BatchRenorm1d", name
    assert sum(isinstance(modules[name.rpartition(".")[0]], nn.Linear) for name in pool) >= 4


def test_sb3_contrib_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    with pytest.raises(ConfigError, match="TRPO is in sb3-contrib, which is not installed: pip install sb3-contrib"):
        algorithm("trpo").load()


def test_crossq_has_mlps_only() -> None:
    with pytest.raises(ConfigError, match="unknown network of CrossQ 'cnn': accepted: mlp"):
        algorithm("crossq").policy("cnn")
