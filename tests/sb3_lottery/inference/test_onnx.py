"""Policies as ONNX: the actions of ``predict`` from onnxruntime alone, and one line where that is impossible."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import ARS
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from lottery_core import Ticket
from lottery_core.cli.lottery import main
from lottery_core.errors import CheckpointError, ConfigError
from lottery_core.files import read_object
from sb3_lottery.cli.command import main as sb3_lottery
from sb3_lottery.inference.onnx.agent import OnnxAgent
from sb3_lottery.inference.onnx.check import compare
from sb3_lottery.inference.onnx.graph import PolicyGraph, to_onnx
from sb3_lottery.inference.onnx.surroundings import Surroundings
from sb3_lottery.inference.onnx.write import write_onnx
from tests.sb3_lottery import helpers, tiny
from tests.sb3_lottery.inference.test_shrink import CASES, Own, prune_, run

COUNT = 40


def sampled(model: BaseAlgorithm, count: int = COUNT) -> Any:
    """Observations of the model's space, as a batch."""
    space = model.observation_space
    space.seed(7)
    samples = [space.sample() for _ in range(count)]
    if isinstance(space, spaces.Dict):
        return {key: np.stack([each[key] for each in samples]) for key in samples[0]}
    return np.stack(samples)


def inputs_of(model: BaseAlgorithm, session: Any, **more: np.ndarray) -> dict[str, np.ndarray]:
    """The inputs of a file, as a user writes them down."""
    found = sampled(model)
    named = {f"observation.{key}": value for key, value in found.items()} if isinstance(found, dict) else {}
    named = named or {"observation": found}
    assert {each.name for each in session.get_inputs()} == {*named, *more}
    return {**named, **more}


@pytest.mark.parametrize("case", [*CASES, "crossq"])
def test_every_algorithm_and_network(case: str, tmp_path: Path) -> None:
    """Actions, logits, Q values and states by a session of onnxruntime, against the model's own methods."""
    algo, network, kwargs = CASES.get(case, (case, "mlp", {}))
    model: Any = tiny.make(algo, network=network, **kwargs)
    if algo != "crossq":
        prune_(model)
    path = tmp_path / "policy.onnx"
    said = write_onnx(model.policy, tmp_path / "model.zip", path, True, observations=30)
    assert "the same actions as predict on 30 random observations" in said
    session = onnxruntime.InferenceSession(str(path))
    names = [each.name for each in session.get_outputs()]
    more, given = {}, {}
    rng = np.random.default_rng(3)
    if algo == "maskableppo":
        masks = rng.random((COUNT, 3)) < 0.5
        masks[:, 0] |= ~masks.any(axis=1)
        more["action_masks"] = given["action_masks"] = masks
    if algo == "recurrentppo":
        hidden, cell = rng.normal(size=(2, 1, COUNT, 8)).astype(np.float32)
        starts = (rng.random(COUNT) < 0.3).astype(np.float32)
        more = {"hidden": hidden, "cell": cell, "episode_start": starts}
        given = {"state": (hidden, cell), "episode_start": starts.astype(bool)}
    found = dict(zip(names, session.run(None, inputs_of(model, session, **more)), strict=True))
    action, state = model.predict(sampled(model), deterministic=True, **given)
    assert found["action"].dtype == action.dtype
    np.testing.assert_allclose(found["action"], action, atol=1e-5)
    assert len(np.unique(action)) > 1 or found[names[1]].std(axis=0).max() > 1e-3  # not a constant
    observation, _ = model.policy.obs_to_tensor(sampled(model))
    with torch.no_grad():
        if algo == "recurrentppo":
            np.testing.assert_allclose(found["next_hidden"], state[0], atol=1e-5)
            np.testing.assert_allclose(found["next_cell"], state[1], atol=1e-5)
        elif algo == "dqn":
            np.testing.assert_allclose(found["q_values"], model.q_net(observation), atol=1e-4)
        elif algo == "qrdqn":
            np.testing.assert_allclose(found["q_values"], model.quantile_net(observation).mean(1), atol=1e-4)
        elif model.policy.__class__.__name__.startswith("ActorCritic"):
            logits = model.policy.get_distribution(observation).distribution.logits
            np.testing.assert_allclose(found["logits"], logits, atol=1e-4)
        elif algo == "maskableppo":
            assert (found["logits"][~masks] < -1e6).all()
        else:
            assert names == ["action"] or network == "multi"


class Spaces(tiny.Tiny):
    """Observations and actions of other kinds."""

    def __init__(self, observations: spaces.Space[Any], actions: spaces.Space[Any]) -> None:
        super().__init__()
        self.observation_space, self.action_space = observations, actions


BOX = spaces.Box(-1, 1, (3,), np.float32)
SPACES: dict[str, tuple[spaces.Space[Any], spaces.Space[Any]]] = {
    "several choices": (BOX, spaces.MultiDiscrete([3, 2])),
    "switches": (BOX, spaces.MultiBinary(3)),
    "an action with two axes": (BOX, spaces.Box(-2, np.float32(0.5), (2, 2), np.float32)),
    "a number": (spaces.Discrete(5), spaces.Discrete(3)),
    "several numbers": (spaces.MultiDiscrete([4, 3]), spaces.Discrete(3)),
    "bits": (spaces.MultiBinary(6), spaces.Discrete(3)),
    "float64": (spaces.Box(-1, 1, (2, 3), np.float64), spaces.Discrete(3)),
    "float16": (spaces.Box(-1, 1, (3,), np.float16), spaces.Discrete(3)),
}


@pytest.mark.parametrize("kind", SPACES)
def test_every_kind_of_space(kind: str, tmp_path: Path) -> None:
    model = PPO("MlpPolicy", Spaces(*SPACES[kind]), n_steps=8, batch_size=8, device="cpu", seed=1)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.mul_(20)  # so that actions differ
        model.policy.action_net.weight.mul_(20)  # and leave the box
    path = tmp_path / "p.onnx"
    write_onnx(model.policy, tmp_path / "model.zip", path, True, observations=30)
    session = onnxruntime.InferenceSession(str(path))
    (found,) = session.run(["action"], inputs_of(model, session))
    action, _ = model.predict(sampled(model), deterministic=True)
    np.testing.assert_allclose(found, action, atol=1e-5)
    assert len(np.unique(action)) > 1
    if isinstance(model.action_space, spaces.Box):
        assert (found == model.action_space.high).any()


def test_ars(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It trains no ticket, but it has a policy."""
    model = ARS("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8]}, device="cpu", seed=0)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.normal_()
    model.save(tmp_path / "m.zip")
    words = ["-o", str(tmp_path / "m.onnx"), "--form", "onnx", "--trust", "--env", "Pendulum-v1"]
    assert main(["export", str(tmp_path / "m.zip"), *words]) == 0
    assert "the same actions as predict on 1,000 observations of Pendulum-v1" in capsys.readouterr().out


WITHOUT_TORCH = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "stable_baselines3", "gymnasium", "lottery_core", "sb3_lottery"}:
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
import numpy, onnxruntime
for folder in sys.argv[1:]:
    session = onnxruntime.InferenceSession(f"{folder}/policy.onnx")
    inputs = dict(numpy.load(f"{folder}/inputs.npz"))
    numpy.save(f"{folder}/actions.npy", session.run(["action"], inputs)[0])
print([name for name in sys.modules if name.partition(".")[0] in ("torch", "lottery_core", "sb3_lottery")])
"""


def test_where_neither_torch_nor_this_project_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = {}
    for case in ("a2c", "sac", "dqn, images", "ppo, dictionaries", "recurrentppo"):
        algo, network, kwargs = CASES[case]
        model, folder = tiny.make(algo, network=network, **kwargs), tmp_path / algo
        folder.mkdir()
        prune_(model)
        model.save(folder / "model.zip")
        words = ["-o", str(folder / "policy.onnx"), "--form", "onnx", "--trust"]
        assert main(["export", str(folder / "model.zip"), *words]) == 0
        assert "the same actions as predict on 1,000 random observations" in capsys.readouterr().out
        zeros = np.zeros((1, COUNT, 8), np.float32)
        more = {"hidden": zeros, "cell": zeros, "episode_start": np.ones(COUNT, np.float32)}
        session = onnxruntime.InferenceSession(str(folder / "policy.onnx"))
        inputs = inputs_of(model, session, **(more if algo == "recurrentppo" else {}))
        np.savez(folder / "inputs.npz", **inputs)
        expected[folder] = model.predict(sampled(model), deterministic=True)[0]
    assert run(WITHOUT_TORCH, *expected, PYTHONPATH="", PYTHONSAFEPATH="1") == "[]\n"
    for folder, action in expected.items():
        assert len(np.unique(action)) > 1
        np.testing.assert_allclose(np.load(folder / "actions.npy"), action, atol=1e-5)


@pytest.fixture(scope="module")
def normalised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose observations are normalised."""
    out = tmp_path_factory.mktemp("onnx") / "run"
    words = helpers.SMALL.replace("--rounds 2", "--rounds 1") + " --normalize --kinds winning"
    assert sb3_lottery([*words.split(), "--out", str(out)]) == 0
    return out / "seed-1" / "winning" / "round-01"


def exported(folder: Path, path: Path, *words: str) -> int:
    """Run the command for the model of a run."""
    return main(["export", str(folder / "model.zip"), "-o", str(path), "--form", "onnx", *words])


def test_a_run_with_normalised_observations(
    normalised: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its environment is known; with --normalize the file takes what the environment gives."""
    path, bare = tmp_path / "policy.onnx", tmp_path / "bare.onnx"
    assert exported(normalised, path, "--normalize") == 0
    said = capsys.readouterr().out
    assert "the same actions as predict on 1,000 observations of CartPole-v1" in said
    assert "are to be normalised first" not in said
    assert exported(normalised, bare) == 0
    assert "observations are to be normalised first (vecnormalize.pkl)" in capsys.readouterr().out
    model = helpers.ALGORITHMS["a2c"][0].load(normalised / "model.zip", device="cpu")
    statistics = VecNormalize.load(str(normalised / "vecnormalize.pkl"), helpers.make("a2c").get_env())
    raw = np.random.default_rng(0).normal(scale=2.0, size=(200, 4)).astype(np.float32)
    expected = model.predict(statistics.normalize_obs(raw), deterministic=True)[0]
    assert 0 < expected.mean() < 1
    for file, observations in ((path, raw), (bare, statistics.normalize_obs(raw))):
        session = onnxruntime.InferenceSession(str(file))
        found = session.run(["action"], {"observation": observations})[0]
        assert (found == expected).mean() >= 0.99  # normalised in float32 and in float64
    facts = {each.key: each.value for each in onnx.load(path).metadata_props}
    row = read_object(normalised / "result.json")
    assert facts["lottery.ticket"] == Ticket.load(normalised / "ticket.safetensors").digest == row["ticket"]
    assert float(facts["lottery.score"]) == row["score"]
    assert (facts["lottery.kind"], facts["lottery.round"]) == ("winning", "1")
    assert facts["lottery.normalizes"] == "true"


def test_the_run_folder_of_another_noise(normalised: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its runs lie one folder deeper."""
    shutil.copytree(normalised.parents[2], tmp_path / "run")
    seed = tmp_path / "run" / "seed-1"
    (seed / "winning").rename(seed / "noise-2")
    folder = seed / "noise-2" / "winning" / "round-01"
    folder.parent.mkdir()
    (seed / "noise-2" / "round-01").rename(folder)
    assert exported(folder, tmp_path / "policy.onnx", "--trust") == 0
    assert "the same actions as predict on 1,000 observations of CartPole-v1" in capsys.readouterr().out


class Bytes(gymnasium.ObservationWrapper[np.ndarray, int, np.ndarray]):
    """CartPole whose observations are whole numbers."""

    def __init__(self, **words: Any) -> None:
        super().__init__(gymnasium.make("CartPole-v1", **words))
        self.observation_space = spaces.Box(0, 255, (4,), np.uint8)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return np.clip(128 + 30 * observation, 0, 255).astype(np.uint8)


def test_normalised_observations_are_no_whole_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Even where the environment's are."""
    gymnasium.register("Bytes-v0", Bytes)
    try:
        model = PPO("MlpPolicy", VecNormalize(DummyVecEnv([Bytes])), n_steps=64, batch_size=64, device="cpu")
        model.learn(256)
        model.save(tmp_path / "model.zip")
        model.get_vec_normalize_env().save(str(tmp_path / "vecnormalize.pkl"))
        for more, kind in ((["--normalize"], "uint8"), ([], "float")):
            assert exported(tmp_path, tmp_path / "p.onnx", "--trust", "--env", "Bytes-v0", *more) == 0
            assert f"inputs observation (batch, 4) {kind}" in capsys.readouterr().out
    finally:
        del gymnasium.registry["Bytes-v0"]


def test_int8(normalised: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A quarter of the size, and two scores; convolutions and LSTMs too."""
    path = tmp_path / "small.onnx"
    assert exported(normalised, path, "--normalize", "--int8", "--episodes", "3") == 0
    said = capsys.readouterr().out
    assert re.search(r"mean return of 3 episodes [\d.]+ ± \S+ before, [\d.]+ ± \S+ after", said), said
    assert "so small a policy is larger in 8 bits" in said
    wide = helpers.make("ppo", net_arch=[256, 256])
    wide.save(tmp_path / "model.zip")
    words = ["--trust", "--env", "CartPole-v1"]
    assert exported(tmp_path, tmp_path / "full.onnx", *words) == 0
    assert exported(tmp_path, path, *words, "--int8", "--episodes", "2") == 0
    assert path.stat().st_size < 0.35 * (tmp_path / "full.onnx").stat().st_size
    types = {each.data_type for each in onnx.load(path).graph.initializer if len(each.dims) == 2}
    assert onnx.TensorProto.INT8 in types
    for case in ("dqn, images", "recurrentppo", "maskableppo"):
        algo, network, kwargs = CASES[case]
        model = tiny.make(algo, network=network, **kwargs)
        gymnasium.register("Exported-v0", type(model.get_env().envs[0].unwrapped), kwargs={"network": network})
        try:
            model.save(tmp_path / "model.zip")
            more = ["--trust", "--env", "Exported-v0", "--int8", "--episodes", "2"]
            capsys.readouterr()
            assert exported(tmp_path, path, *more) == 0, case
            assert "before" in capsys.readouterr().out
        finally:
            del gymnasium.registry["Exported-v0"]


def test_shrunk_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny.make("ppo", net_arch=[60, 60])
    prune_(model)
    model.save(tmp_path / "model.zip")
    assert exported(tmp_path, tmp_path / "full.onnx", "--trust") == 0
    capsys.readouterr()
    assert exported(tmp_path, tmp_path / "small.onnx", "--trust", "--shrunk") == 0
    for name, shrunk in (("full", "false"), ("small", "true")):
        facts = {each.key: each.value for each in onnx.load(tmp_path / f"{name}.onnx").metadata_props}
        assert facts["lottery.shrunk"] == shrunk
    assert "units" in capsys.readouterr().out
    actions = []
    for name in ("full", "small"):
        session = onnxruntime.InferenceSession(str(tmp_path / f"{name}.onnx"))
        actions.append(session.run(["action"], {"observation": sampled(model)})[0])
    assert (actions[0] == actions[1]).all()
    assert (tmp_path / "small.onnx").stat().st_size < (tmp_path / "full.onnx").stat().st_size


class Scaled(Own):
    """A policy of a user's own that traces."""

    def _predict(self, observation: Any, deterministic: bool = False) -> torch.Tensor:
        return super()._predict(observation * 2 - 0.5, deterministic)


class Branching(Own):
    """What it does depends on the numbers, which a trace does not see."""

    def _predict(self, observation: Any, deterministic: bool = False) -> torch.Tensor:
        return super()._predict(observation if observation.sum() > 0 else -10 * observation, deterministic)


class Untraceable(Own):
    """It uses something that has no trace."""

    def _predict(self, observation: Any, deterministic: bool = False) -> torch.Tensor:
        return torch.linalg.svdvals(super()._predict(observation, deterministic).float().reshape(1, -1)).long()


def own(kind: type[ActorCriticPolicy]) -> Any:
    """A policy of a class, with actions that differ."""
    model = PPO(kind, tiny.Tiny(), policy_kwargs={"ortho_init": False}, device="cpu", seed=2)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.mul_(4)
    return model


def test_a_policy_of_the_users_own(tmp_path: Path) -> None:
    path = tmp_path / "p.onnx"
    model = own(Scaled)
    write_onnx(model.policy, tmp_path / "m.zip", path, True, observations=50)
    session = onnxruntime.InferenceSession(str(path))
    found = session.run(["action"], {"observation": sampled(model)})[0]
    assert (found == model.predict(sampled(model), deterministic=True)[0]).all()
    assert len(np.unique(found)) > 1
    path.unlink()
    with pytest.raises(CheckpointError, match=r"acts differently: the same action .* of 200 random observations"):
        write_onnx(own(Branching).policy, tmp_path / "m.zip", path, True, observations=200)
    with pytest.raises(ConfigError, match="the policy Untraceable cannot be traced: "):
        write_onnx(own(Untraceable).policy, tmp_path / "m.zip", path, True)
    assert not path.exists()


def test_the_check_sees_another_policy() -> None:
    """Against the file of another model: fewer are the same, and the difference is large."""
    nothing = Surroundings({}, None, None, None)
    for make in (lambda seed: tiny.make("ppo", seed=seed), lambda seed: tiny.make("sac", seed=seed)):
        one, other = make(0), make(1)
        for model in (one, other):
            prune_(model)
        graph = PolicyGraph(one.policy.eval())
        agent = OnnxAgent(to_onnx(PolicyGraph(other.policy.eval())))
        found = compare(graph, agent, nothing, seed=1, count=60)
        assert not found.fine
        assert found.same < 60 == found.observations
        assert found.difference > 1e-2
        assert compare(graph, OnnxAgent(to_onnx(graph)), nothing, seed=1, count=60).fine


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--normalize"], "--normalize: there are no statistics beside"),
        (["--int8"], "is in no run folder with its environment: give --env ID"),
        (["--episodes", "5"], "--episodes needs --int8: it is the number of episodes played"),
        (["--int8", "--episodes", "1"], "--episodes must be at least 2, not 1"),
        (["--env", "Nowhere-v0"], "cannot make environment 'Nowhere-v0'"),
        (["--env", "Pendulum-v1"], "Pendulum-v1 has actions Box("),
        (["--env", "CartPole-v1"], "CartPole-v1 has observations Box("),
        (["--data", "bin"], "--data is an option of --form ctranslate2, not of onnx"),
        (["--form", "shrunk", "--int8"], "--int8 is an option of --form onnx and ctranslate2, not of shrunk"),
        (["--form", "ctranslate2"], "an SB3 model cannot be exported in the form ctranslate2"),
    ],
)
def test_refusals(words: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.make("ppo").save(tmp_path / "model.zip")
    assert exported(tmp_path, tmp_path / "out.onnx", "--trust", *words) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert expected in line
    assert not (tmp_path / "out.onnx").exists()


def test_files_that_run_code(normalised: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The zip and the statistics of a folder that somebody else wrote are not unpickled."""
    for name in ("model.zip", "vecnormalize.pkl", "result.json"):
        (tmp_path / name).write_bytes((normalised / name).read_bytes())
    assert exported(tmp_path, tmp_path / "out.onnx") == 2
    assert "can run code" in capsys.readouterr().err
    assert exported(tmp_path, tmp_path / "out.onnx", "--normalize", "--trust") == 0


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.make("ppo").save(tmp_path / "model.zip")
    monkeypatch.setitem(sys.modules, package, None)
    assert exported(tmp_path, tmp_path / "out.onnx", "--trust") == 2
    said = capsys.readouterr().err
    assert "pip install -c constraints.txt -e '.[onnx]'" in said
    assert said.count("\n") == 1
