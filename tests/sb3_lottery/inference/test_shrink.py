"""Smaller policies: the same numbers from every head, zips that SB3 alone loads, training that goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import get_action_dim
from torch import Tensor, nn

from lottery_core import apply_ticket
from lottery_core.cli.lottery import main
from lottery_core.errors import ConfigError
from lottery_core.inference.shrink import Report
from sb3_lottery import LotteryCallback, PoolingCNN, SharedTrunk, shrink_policy
from sb3_lottery.models.algorithms import ALGORITHMS
from sb3_lottery.models.parameters import copy_to_targets, weights_of
from tests import preloaded
from tests.sb3_lottery import helpers, tiny

ROOT = Path(__file__).parents[2]
SHARED: dict[str, Any] = {
    "features_extractor_class": SharedTrunk,
    "features_extractor_kwargs": {"sizes": [60, 60]},
    "net_arch": [],
}
WIDE = {"net_arch": [60, 60]}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    **{algo: (algo, "mlp", WIDE) for algo in ALGORITHMS if algo != "crossq"},
    **{f"{algo}, dictionaries": (algo, "multi", WIDE) for algo in ("ppo", "dqn", "sac", "recurrentppo")},
    **{f"{algo}, images": (algo, "cnn", {}) for algo in ("a2c", "dqn", "td3", "recurrentppo")},
    "sac, one extractor": ("sac", "cnn", {"share_features_extractor": True}),
    "ppo, two extractors": ("ppo", "cnn", {"share_features_extractor": False}),
    "a2c, shared trunk": ("a2c", "mlp", SHARED),
    "a2c, two trunks": ("a2c", "mlp", {**SHARED, "net_arch": [30], "share_features_extractor": False}),
    "sac, state-dependent noise": ("sac", "mlp", {**WIDE, "use_sde": True}),
    "sac, activations in place": ("sac", "mlp", {**WIDE, "activation_fn": partial(nn.SiLU, inplace=True)}),
    "ppo, activations in place": ("ppo", "mlp", {**WIDE, "activation_fn": partial(nn.ELU, inplace=True)}),
    "crossq, no batch normalisation": ("crossq", "mlp", {**WIDE, "batch_norm": False}),
    "recurrentppo, a linear critic": ("recurrentppo", "mlp", {**WIDE, "enable_critic_lstm": False}),
}


def prune_(model: BaseAlgorithm, seed: int = 1) -> None:
    """Nine of ten weights of the large layers, whole channels; the rest is large, so that something passes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.policy.named_parameters():
            if name.endswith("log_std"):
                continue
            parameter.mul_(8)
            fraction = 0.93 if parameter.numel() > 3000 else 0.6
            parameter[torch.rand(parameter.shape, generator=generator) < fraction] = 0.0
            if parameter.dim() == 4:
                parameter[::3] = 0.0
    copy_to_targets(model.policy)


def outputs_of(model: BaseAlgorithm) -> dict[str, Tensor]:
    """What every linear layer that nothing else stands behind gives, target networks among them."""
    policy: Any = model.policy
    model.observation_space.seed(0)
    observations = [model.observation_space.sample() for _ in range(40)]
    stacked: Any = np.stack(observations)
    if isinstance(model.observation_space, spaces.Dict):
        stacked = {name: np.stack([each[name] for each in observations]) for name in observations[0]}
    inputs, _ = policy.obs_to_tensor(stacked)
    found: dict[str, Tensor] = {}
    with torch.no_grad():
        if hasattr(policy, "lstm_actor"):
            state = torch.zeros(policy.lstm_hidden_state_shape).repeat(1, 40, 1)
            arguments = (inputs, (state, state), torch.zeros(40))
            found["values"] = policy.predict_values(*arguments)
            found["logits"] = policy.get_distribution(*arguments)[0].distribution.logits
        elif hasattr(policy, "mlp_extractor"):
            found["values"] = policy.predict_values(inputs)
            found["logits"] = policy.get_distribution(inputs).distribution.logits
        elif hasattr(policy, "actor"):
            size = get_action_dim(model.action_space)
            actions = torch.linspace(-1, 1, 40 * size).view(40, size)
            found["actions"] = policy._predict(inputs, deterministic=True)
            if not hasattr(policy.actor, "latent_pi"):
                found["target actions"] = policy.actor_target(inputs)
            elif isinstance(policy.actor.log_std, nn.Module):
                found["log_std"] = policy.actor.get_action_dist_params(inputs)[1]
            for name in ("critic", "critic_target") if hasattr(policy, "critic_target") else ("critic",):
                values = getattr(policy, name)(inputs, actions)
                values = [values] if isinstance(values, Tensor) else values
                found |= {f"{name} {index}": value.flatten(1) for index, value in enumerate(values)}
        else:
            found = {name: net(inputs).flatten(1) for name, net in policy.named_children()}
    return found


def assert_same(before: dict[str, Tensor], after: dict[str, Tensor]) -> None:
    """Equal to 2e-6 of the largest number, and not constants, which anything would reproduce."""
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert float((value - after[name]).abs().max()) <= 2e-6 * max(1.0, float(value.abs().max())), name
        assert float(value.std(0).max()) > 1e-4, name


@pytest.mark.parametrize("case", CASES)
def test_every_algorithm_and_network(case: str, tmp_path: Path) -> None:
    algo, network, kwargs = CASES[case]
    model = tiny.make(algo, network=network, **kwargs)
    prune_(model)
    before = outputs_of(model)
    report = shrink_policy(model)
    assert 0 < report.removed < sum(count for count, _ in report.units.values())
    assert report.parameters[1] < report.parameters[0]
    assert_same(before, outputs_of(model))
    assert not shrink_policy(model)
    model.save(tmp_path / "small.zip")
    loaded: BaseAlgorithm = type(model).load(tmp_path / "small.zip")
    assert_same(before, outputs_of(loaded))
    weights = {name: tensor.clone() for name, tensor in loaded.policy.state_dict().items()}
    loaded.set_env(model.get_env())
    loaded.learn(24)  # every alias is of the new policy
    assert any(not torch.equal(tensor, weights[name]) for name, tensor in loaded.policy.state_dict().items())
    model.learn(24)


def pooling() -> PPO:
    environment = tiny.Tiny()
    environment.observation_space = spaces.Box(0, 255, (1, 105, 80), np.uint8)
    policy = {"features_extractor_class": PoolingCNN, "features_extractor_kwargs": {"sizes": (40, 40)}, "net_arch": []}
    return PPO("CnnPolicy", environment, policy_kwargs={**policy, "ortho_init": False}, device="cpu", seed=1)


def test_the_papers_cnn() -> None:
    """Convolutions that pad, with pooling: constants above 0 stay in front of the padding."""
    model = pooling()
    prune_(model)
    before = outputs_of(model)
    report = shrink_policy(model)
    assert all(after < count for count, after in list(report.units.values())[:4]), report
    assert_same(before, outputs_of(model))
    assert not shrink_policy(model)


ANOTHER_PROCESS = """
import sys
from pathlib import Path
from sb3_lottery.inference.export import export
for path in map(Path, sys.argv[1:]):
    print(export(path, path.with_suffix(".small"), "shrunk", trust=True))
"""


def run(code: str, *words: object, parent: str = "", **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", preloaded.PARENT: parent, **environment},
    )
    assert not done.returncode, done.stderr
    return done.stdout


def test_classes_that_a_zip_carries(tmp_path: Path) -> None:
    """In a process that did not save it, a zip's classes are copies of ours: known all the same."""
    models: list[BaseAlgorithm] = [pooling(), tiny.make("a2c", **SHARED), tiny.make("dqn", network="cnn")]
    paths = [tmp_path / f"{index}.zip" for index in range(len(models))]
    lines = []
    for model, path in zip(models, paths, strict=True):
        prune_(model)
        model.save(path)
        lines.append(shrink_policy(model).line)
    assert run(ANOTHER_PROCESS, *paths, parent="sb3", PYTHONPATH=str(ROOT)).splitlines() == lines
    for model, path in zip(models, paths, strict=True):
        assert_same(outputs_of(model), outputs_of(type(model).load(path.with_suffix(".small"))))


PLAIN = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"lottery_core", "sb3_lottery", "tests"}:
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
import numpy, stable_baselines3
for name, folder in zip(sys.argv[1::2], sys.argv[2::2]):
    model = getattr(stable_baselines3, name).load(f"{folder}/small.zip")
    observations = numpy.load(f"{folder}/observations.npy")
    numpy.save(f"{folder}/actions.npy", model.predict(observations, deterministic=True)[0])
print([name for name in sys.modules if name.partition(".")[0] in ("lottery_core", "sb3_lottery")])
"""


def test_the_command_writes_plain_zips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same actions where this project is not installed; a second time there is nothing to remove."""
    models, words = {}, []
    for case in ("td3, images", "a2c, shared trunk", "dqn", "sac"):
        algo, network, kwargs = CASES[case]
        model, folder = tiny.make(algo, network=network, **kwargs), tmp_path / algo
        prune_(model)
        folder.mkdir()
        full, small = folder / "model.zip", folder / "small.zip"
        model.save(full)
        assert main(["export", str(full), "-o", str(small), "--form", "shrunk", "--trust"]) == 0
        said = capsys.readouterr().out
        assert said == f"{small}: {shrink_policy(type(model).load(full)).line}\n"
        with zipfile.ZipFile(full) as one, zipfile.ZipFile(small) as other:
            assert one.namelist() == other.namelist()
        assert_same(outputs_of(model), outputs_of(type(model).load(small)))
        model.observation_space.seed(3)
        np.save(folder / "observations.npy", np.stack([model.observation_space.sample() for _ in range(200)]))
        models[folder] = model
        words += [type(model).__name__, folder]
        assert main(["export", str(small), "-o", str(folder / "again.zip"), "--form", "shrunk", "--trust"]) == 2
        assert ": nothing to remove (" in capsys.readouterr().err
        assert not (folder / "again.zip").exists()
    assert run(PLAIN, *words, parent="sb3-bare", PYTHONPATH="", PYTHONSAFEPATH="1") == "[]\n"
    for folder, model in models.items():
        expected = model.predict(np.load(folder / "observations.npy"), deterministic=True)[0]
        assert len(np.unique(expected)) > 1
        assert np.allclose(np.load(folder / "actions.npy"), expected, atol=1e-6)


def test_a_trained_ticket() -> None:
    """Pruned by the project itself, trained with its masks held, on CartPole."""
    model = helpers.make("ppo", net_arch=[64, 64])
    model.learn(64, callback=LotteryCallback(helpers.ticket_for(model, 0.88)))
    before, full = outputs_of(model), model.policy
    torch.manual_seed(5)
    sampled = model.predict(np.zeros((50, 4)))[0]
    report = shrink_policy(model)
    assert report.removed > 30
    assert model.policy is not full
    assert model.policy.net_arch == model.policy_kwargs["net_arch"]
    assert_same(before, outputs_of(model))
    torch.manual_seed(5)
    assert np.array_equal(sampled, model.predict(np.zeros((50, 4)))[0])


def test_a_target_network_that_lags_keeps_its_own_numbers() -> None:
    model = helpers.make("dqn", net_arch=[64, 64])
    ticket = helpers.ticket_for(model, 0.9)
    model.learn(70, callback=LotteryCallback(ticket))
    before = outputs_of(model)
    assert not torch.equal(before["q_net"], before["q_net_target"])
    assert isinstance(model, DQN)
    assert shrink_policy(model).removed > 20
    assert_same(before, outputs_of(model))
    assert model.q_net is model.policy.q_net


def test_a_model_without_dead_units_is_not_touched() -> None:
    model = helpers.make("ppo")
    policy, kwargs = model.policy, model.policy_kwargs
    report = shrink_policy(model)
    assert not report
    assert report == Report(report.units, (755, 755))
    assert model.policy is policy
    assert model.policy_kwargs is kwargs


class Centred(nn.ReLU):
    """An activation in which units see one another."""

    def forward(self, states: Tensor) -> Tensor:
        return super().forward(states) - states.mean(-1, keepdim=True)


class Blind(nn.Linear):
    """A layer that is not what its class's name says."""

    def forward(self, states: Tensor) -> Tensor:
        return super().forward(states).cumsum(-1)


def test_classes_of_somebodys_own_keep_their_units() -> None:
    model = tiny.make("ppo", net_arch=[60, 60], activation_fn=Centred)
    prune_(model)
    before = outputs_of(model)
    shrink_policy(model)
    assert_same(before, outputs_of(model))
    model = tiny.make("ppo", net_arch=[60, 60])
    model.policy.mlp_extractor.policy_net[2] = Blind(60, 60)
    prune_(model)
    before = outputs_of(model)
    with pytest.raises(ConfigError, match="the layers of the policy differ from those that its policy_kwargs make"):
        shrink_policy(model)
    assert_same(before, outputs_of(model))


@pytest.mark.parametrize("shape", [(2, 3), (10, 10)])
def test_actions_of_several_dimensions(shape: tuple[int, ...]) -> None:
    env = tiny.Tiny(continuous=True)
    env.action_space = spaces.Box(-1, 1, shape, np.float32)
    policy = {**SHARED, "net_arch": [40]}
    for seed in range(3):
        model = SAC("MlpPolicy", env, policy_kwargs=policy, seed=seed, device="cpu", buffer_size=10)
        prune_(model, seed)
        before = outputs_of(model)
        assert shrink_policy(model)
        after = outputs_of(model)
        assert any(float(value.std(0).max()) > 1e-3 for name, value in before.items() if name.startswith("critic"))
        for name, value in before.items():
            torch.testing.assert_close(after[name], value, rtol=1e-5, atol=1e-5)


class Own(ActorCriticPolicy):
    """Might do anything with its layers."""


def test_refusals() -> None:
    with pytest.raises(ConfigError, match=r"CrossQPolicy has batch normalisation \(BatchRenorm"):
        shrink_policy(tiny.make("crossq"))
    with pytest.raises(ConfigError, match=r"Own is a policy of tests.*, which may use its layers"):
        shrink_policy(PPO(Own, "CartPole-v1", device="cpu"))
    model = helpers.make("a2c")
    keeper = apply_ticket(helpers.ticket_for(model), model.policy, model.policy.optimizer)
    with pytest.raises(ConfigError, match=r"is training a ticket: shrink it after learn\(\) has returned"):
        shrink_policy(model)
    keeper.detach()
    assert shrink_policy(model).parameters[0] == sum(
        t.numel() for t in weights_of(helpers.make("a2c")).tensors.values()
    )


def test_bad_zips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, and nothing written."""
    model, path, out = helpers.make("ppo"), tmp_path / "m.zip", tmp_path / "out.zip"

    def refused(*words: str, form: str = "shrunk", more: Sequence[str] = ("--trust",)) -> None:
        assert main(["export", str(path), "-o", str(out), "--form", form, *more]) == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        assert all(word in line for word in words), line
        assert not out.exists()

    model.save(path)
    refused("can run code", "pickled objects (", "add --trust", more=())
    refused("no unit is dead")
    tiny.make("crossq").save(path)
    refused("cannot shrink", "CrossQPolicy has batch normalisation")
    model.policy_kwargs = {**model.policy_kwargs, "net_arch": [7]}
    model.save(path)
    refused("cannot make the policy of", "size mismatch")
    with zipfile.ZipFile(path) as archive:
        policy = archive.read("policy.pth")
    for data, words in (
        (None, "it has no policy_class"),
        ('{"policy_class": {":serialized:": "AAAA"}}', "cannot read"),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("policy.pth", policy)
            if data:
                archive.writestr("data", data)
        refused(words)


def test_observations_of_a_real_game_give_the_same_actions() -> None:
    """Those that the agent meets, one by one."""
    model = helpers.make("a2c", net_arch=[64, 64])
    model.learn(200, callback=LotteryCallback(helpers.ticket_for(model, 0.9)))
    env, seen = gymnasium.make("CartPole-v1"), []
    observation, _ = env.reset(seed=1)
    for _ in range(200):
        action = int(model.predict(observation, deterministic=True)[0])
        seen.append((observation, action))
        observation, _, ended, cut, _ = env.step(action)
        if ended or cut:
            observation, _ = env.reset()
    assert shrink_policy(model)
    assert [int(model.predict(each, deterministic=True)[0]) for each, _ in seen] == [action for _, action in seen]
