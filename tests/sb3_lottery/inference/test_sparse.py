"""Policies with sparse layers play as before."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from lottery_core.cli.lottery import main
from lottery_core.errors import ConfigError, MismatchError
from lottery_core.inference.layers import SparseLinear
from lottery_core.inference.timings import Timings
from sb3_lottery import load_sparse_policy, sparsify_policy
from sb3_lottery.models.algorithms import ALGORITHMS
from tests.sb3_lottery.tiny import make


def pruned(model: BaseAlgorithm) -> BaseAlgorithm:
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            if parameter.dim() > 1:
                parameter.mul_(torch.rand_like(parameter) > 0.7).mul_(4)
    return model


def actions(model: BaseAlgorithm) -> list[np.ndarray]:
    model.observation_space.seed(1)
    found = []
    for count in (1, 7):
        observations = np.stack([model.observation_space.sample() for _ in range(count)])
        state = None
        for _ in range(3):
            action, state = model.predict(observations, state, deterministic=True)
            found.append(action)
    return found


@pytest.mark.parametrize("algo", [name for name in ALGORITHMS if name != "ars"])
def test_the_same_actions(algo: str) -> None:
    model = pruned(make(algo))
    before = actions(model)
    report = sparsify_policy(model, form="csr")
    assert report.sparse >= 3
    for one, other in zip(before, actions(model), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_where_it_is_slower_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Timings, "compare", lambda *_: (0.9, 1.0))
    model = pruned(make("a2c"))
    before = {name: type(module) for name, module in model.policy.named_modules()}
    report = sparsify_policy(model, observations=4)
    assert report.sparse == 0
    assert {name: type(module) for name, module in model.policy.named_modules()} == before
    model.save(tmp_path / "model.zip")


def test_a_sparse_model_neither_learns_nor_is_saved(tmp_path: Path) -> None:
    model = pruned(make("a2c"))
    sparsify_policy(model, form="csr")
    with pytest.raises(ConfigError, match="sparse layers are for inference"):
        model.learn(100)
    with pytest.raises(ConfigError, match="keep the zip that it was loaded from") as caught:
        model.save(tmp_path / "model.zip")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("algo", ["a2c", "sac", "dqn"])
def test_the_parameters_of_a_sparse_model_are_refused_and_nothing_is_patched(algo: str) -> None:
    model = pruned(make(algo))
    sparsify_policy(model, form="csr")
    before = actions(model)
    assert "save" not in vars(model)
    with pytest.raises(ConfigError, match="cannot be saved as an SB3 zip"):
        model.get_parameters()
    for copied in (copy.deepcopy(model.policy), pickle.loads(pickle.dumps(model.policy))):
        with pytest.raises(ConfigError, match="cannot be saved as an SB3 zip"):
            copied.state_dict()
    for one, other in zip(before, actions(model), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_dense_model(capsys: pytest.CaptureFixture[str]) -> None:
    report = sparsify_policy(make("a2c"), observations=4)
    assert "it is unchanged" in report.summary()
    assert "it is unchanged" in sparsify_policy(make("a2c"), observations=np.int64(4)).summary()
    for wrong in (0, True, 2.5, "3"):
        with pytest.raises(ConfigError, match=f"observations must be a whole number, at least 1, not {wrong}"):
            sparsify_policy(make("a2c"), observations=wrong)


def test_a_sparse_file_of_a_zip(tmp_path: Path) -> None:
    model, zipped, sparse = pruned(make("dqn")), str(tmp_path / "model.zip"), str(tmp_path / "model.csr")
    model.save(zipped)
    assert main(["export", zipped, "-o", sparse, "--form", "csr"]) == 0
    other = make("dqn", seed=5)
    assert load_sparse_policy(sparse, other) is other
    assert any(isinstance(module, SparseLinear) for module in other.policy.q_net_target.modules())
    for one, two in zip(actions(model), actions(other), strict=True):
        np.testing.assert_array_equal(one, two)
    with pytest.raises(ConfigError, match="keep the zip that it was loaded from"):
        other.save(zipped)
    with pytest.raises(MismatchError):
        load_sparse_policy(sparse, make("dqn", net_arch=[8, 9]))
