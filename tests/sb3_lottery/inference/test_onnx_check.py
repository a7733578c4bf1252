"""The check of an exported policy: what it refuses, and right policies that it must not refuse."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from lottery_core.cli.lottery import main
from lottery_core.errors import CheckpointError, WriteError
from sb3_lottery.inference.onnx.check import Comparison, _count
from sb3_lottery.inference.onnx.graph import PolicyGraph, to_onnx
from sb3_lottery.inference.onnx.int8 import quantised
from sb3_lottery.inference.onnx.write import write_onnx
from tests.sb3_lottery import tiny


class Price(tiny.Tiny):
    """Observations around 30,000."""

    def __init__(self) -> None:
        super().__init__(continuous=True)
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        _, infos = super().reset(seed=seed)
        return self._price(), infos

    def step(self, action: Any) -> Any:
        _, *more = super().step(action)
        return self._price(), *more

    def _price(self) -> np.ndarray:
        return (30_000.3 + self.np_random.normal(size=3)).astype(np.float32)


class Ranges(tiny.Tiny):
    """Continuous actions within given bounds."""

    def __init__(self, low: list[float], high: list[float]) -> None:
        super().__init__(continuous=True)
        self.action_space = spaces.Box(np.float32(low), np.float32(high), dtype=np.float32)


class Branching(ActorCriticPolicy):
    """What it does depends on the numbers, which a trace does not see."""

    def _predict(self, observation: Any, deterministic: bool = False) -> torch.Tensor:
        return super()._predict(observation if observation.sum() > 0 else -10 * observation, deterministic)


@pytest.fixture
def registered() -> Iterator[Any]:
    """Register an environment under the name Checked-v0 for the duration of a test."""

    def register(kind: type) -> None:
        gymnasium.registry.pop("Checked-v0", None)
        gymnasium.register("Checked-v0", kind)

    yield register
    gymnasium.registry.pop("Checked-v0", None)


def exported(folder: Path, *words: str) -> int:
    """Run the command for the model of a folder, in the environment of the test."""
    out = ["-o", str(folder / "out.onnx"), "--form", "onnx", "--trust", "--env", "Checked-v0"]
    return main(["export", str(folder / "model.zip"), *out, *words])


def test_normalised_in_float64(registered: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In float32 a mean of 30,000 would leave three digits of the observations."""
    registered(Price)
    env = VecNormalize(DummyVecEnv([Price]))
    words = {"ortho_init": False, "net_arch": [16]}
    model = PPO("MlpPolicy", env, n_steps=256, batch_size=64, seed=0, device="cpu", policy_kwargs=words)
    model.learn(512)
    with torch.no_grad():
        model.policy.action_net.weight.mul_(20)
    model.save(tmp_path / "model.zip")
    env.save(str(tmp_path / "vecnormalize.pkl"))
    assert exported(tmp_path, "--normalize") == 0, capsys.readouterr().err
    assert "the same actions as predict on 1,000 observations of Checked-v0" in capsys.readouterr().out


def test_statistics_that_leave_observations_alone(
    registered: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registered(tiny.Tiny)
    tiny.make("ppo").save(tmp_path / "model.zip")
    for norm_obs in (True, False):
        VecNormalize(DummyVecEnv([tiny.Tiny]), norm_obs=norm_obs).save(str(tmp_path / "vecnormalize.pkl"))
        assert exported(tmp_path) == 0
        assert ("are to be normalised first" in capsys.readouterr().out) == norm_obs
    (tmp_path / "out.onnx").unlink()
    assert exported(tmp_path, "--normalize") == 2
    assert "normalises no observations, so leave the option out" in capsys.readouterr().err
    assert not (tmp_path / "out.onnx").exists()


def test_no_room_for_temporary_files() -> None:
    model = to_onnx(PolicyGraph(tiny.make("ppo").policy.eval()))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(WriteError, match=r"cannot write in /\S+, where temporary files go: File too large"):
            quantised(model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("low", "high"),
    [([-5e-5], [5e-5]), ([-1e-2, -1000], [1e-2, 1000]), ([-1, -1], [1, 1]), ([-1e-3, 100], [1e-3, 101])],
)
def test_ranges_of_actions(low: list[float], high: list[float], tmp_path: Path) -> None:
    """A policy that acts differently on an axis of a small range is refused, a right one is not."""
    for kind in (ActorCriticPolicy, Branching):
        words = {"ortho_init": False}
        model = PPO(kind, Ranges(low, high), policy_kwargs=words, n_steps=8, batch_size=8, device="cpu", seed=1)
        with torch.no_grad():
            model.policy.action_net.weight.mul_(30)
            if high[-1] > 100:  # the other axis is a large constant
                model.policy.action_net.weight[1] = 0
                model.policy.action_net.bias[1] = 900.0
        if kind is Branching:
            with pytest.raises(CheckpointError, match="acts differently"):
                write_onnx(model.policy, tmp_path / "m.zip", tmp_path / "b.onnx", True, observations=100)
        else:
            write_onnx(model.policy, tmp_path / "m.zip", tmp_path / "m.onnx", True, observations=100)


@pytest.mark.parametrize(
    ("bound", "action", "difference", "same"),
    [
        (np.inf, 0.5, 9e-5, True),
        (np.inf, 0.5, 2e-4, False),
        (np.inf, 1000.0, 5e-2, True),
        (1e-3, 5e-4, 1e-6, True),
        (1e-3, 5e-4, 1e-5, False),
    ],
)
def test_the_limit_of_an_axis(bound: float, action: float, difference: float, same: bool) -> None:
    graph = PolicyGraph(tiny.make("sac").policy.eval())
    graph.policy.action_space = spaces.Box(-np.float32(bound), np.float32(bound), (1,), np.float32)
    comparison = Comparison("")
    _count(comparison, graph, np.array([[action]]), {"action": np.array([[action + difference]])})
    assert comparison.fine == same


@pytest.mark.parametrize("words", [[], ["--int8"]])
def test_an_environment_without_masks(
    words: list[str], registered: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registered(tiny.Tiny)
    tiny.make("maskableppo").save(tmp_path / "model.zip")
    assert exported(tmp_path, *words) == 2
    said = capsys.readouterr().err
    assert "Checked-v0 has no method action_masks, which the policy needs" in said
    assert said.count("\n") == 1


class Failing(tiny.Masked):
    """It fails in one of its methods; ``where`` is set by the test."""

    where = ""

    def reset(self, **words: Any) -> Any:
        self._fail("reset")
        return super().reset(**words)

    def step(self, action: Any) -> Any:
        self._fail("step")
        observation, *more = super().step(action)
        return observation * (np.nan if self.where == "observation" else 1), *more

    def action_masks(self) -> np.ndarray:
        self._fail("action_masks")
        return np.ones(2 if self.where == "length" else 3, dtype=bool)

    def _fail(self, name: str) -> None:
        if self.where == name:
            raise RuntimeError("the simulator is lost\nand more")


@pytest.mark.parametrize("words", [[], ["--int8"]])
@pytest.mark.parametrize(
    ("where", "expected"),
    [
        *((name, "the simulator is lost") for name in ("reset", "step", "action_masks")),
        ("observation", "an observation is not a number (NaN)"),
        ("length", "its action_masks must have 3 entries, not the shape (2,)"),
    ],
)
def test_an_environment_that_fails(
    where: str,
    expected: str,
    words: list[str],
    registered: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Failing, "where", where)
    registered(Failing)
    tiny.make("maskableppo").save(tmp_path / "model.zip")
    assert exported(tmp_path, *words) == 2
    said = capsys.readouterr().err
    assert f"cannot play environment 'Checked-v0': {expected}" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize("where", ["step", "reset"])
def test_an_environment_that_fails_later(
    where: str, registered: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the episodes that are played for --int8, after the check."""
    registered(Failing)
    tiny.make("maskableppo").save(tmp_path / "model.zip")

    def failing(content: bytes) -> bytes:
        monkeypatch.setattr(Failing, "where", where)
        return content

    monkeypatch.setattr("sb3_lottery.inference.onnx.write.quantised", failing)
    assert exported(tmp_path, "--int8") == 2
    said = capsys.readouterr().err
    assert "cannot play environment 'Checked-v0': the simulator is lost" in said
    assert said.count("\n") == 1
