"""MaskablePPO as ONNX: actions of several parts, each with masks of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import MaskablePPO

from sb3_lottery.inference.onnx.agent import OnnxAgent
from sb3_lottery.inference.onnx.check import compare
from sb3_lottery.inference.onnx.graph import PolicyGraph, choices_of, to_onnx
from sb3_lottery.inference.onnx.surroundings import Surroundings
from sb3_lottery.inference.onnx.write import write_onnx
from tests.sb3_lottery import tiny

ACTIONS: dict[str, spaces.Space[Any]] = {
    "several choices": spaces.MultiDiscrete([3, 2, 4]),
    "switches": spaces.MultiBinary(3),
}


class Parts(tiny.Tiny):
    """Actions of several parts."""

    def __init__(self, actions: spaces.Space[Any], network: str = "mlp") -> None:
        super().__init__(network=network)
        self.action_space = actions

    def action_masks(self) -> np.ndarray:
        return np.ones(sum(choices_of(self.action_space)), dtype=bool)


def maskable(actions: spaces.Space[Any], network: str, seed: int = 1) -> Any:
    """A model whose actions differ."""
    policy = {"mlp": "MlpPolicy", "multi": "MultiInputPolicy"}[network]
    words = {"net_arch": [8], "ortho_init": False}
    env = Parts(actions, network)
    model = MaskablePPO(policy, env, n_steps=8, batch_size=8, policy_kwargs=words, device="cpu", seed=seed)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.mul_(4)
    return model


def masks_for(actions: spaces.Space[Any], batch: int) -> np.ndarray:
    """Random masks with at least one valid choice a part."""
    masks = np.random.default_rng(batch).random((batch, sum(choices_of(actions)))) < 0.5
    start = 0
    for count in choices_of(actions):
        masks[:, start] |= ~masks[:, start : start + count].any(axis=1)
        start += count
    return masks


@pytest.mark.parametrize("network", ["mlp", "multi"])
@pytest.mark.parametrize("kind", ACTIONS)
def test_actions_of_several_parts(kind: str, network: str, tmp_path: Path) -> None:
    model, path = maskable(ACTIONS[kind], network), tmp_path / "policy.onnx"
    assert "the same actions" in write_onnx(model.policy, tmp_path / "model.zip", path, True, observations=30)
    session = onnxruntime.InferenceSession(str(path))
    space = model.observation_space
    space.seed(7)
    for batch in (1, 2, 64):
        samples = [space.sample() for _ in range(batch)]
        masks = masks_for(model.action_space, batch)
        if network == "multi":
            seen: Any = {key: np.stack([each[key] for each in samples]) for key in samples[0]}
            named = {f"observation.{key}": value for key, value in seen.items()}
        else:
            seen = np.stack(samples)
            named = {"observation": seen}
        action, logits = session.run(["action", "logits"], {**named, "action_masks": masks})
        expected, _ = model.predict(seen, deterministic=True, action_masks=masks)
        assert (action == expected).all()
        assert (action != model.predict(seen, deterministic=True)[0]).any() or batch < 64  # the masks decide
        assert (logits[~masks] < -1e6).all()
        assert (logits[masks] > -1e6).all()


@pytest.mark.parametrize("kind", ACTIONS)
def test_the_check_masks_every_part(kind: str) -> None:
    """A file without the masks' effect is seen, although no environment gives masks."""
    policy = maskable(ACTIONS[kind], "mlp").policy.eval()
    graph, agent = PolicyGraph(policy), OnnxAgent(to_onnx(PolicyGraph(policy)))
    nothing = Surroundings({}, None, None, None)
    assert compare(graph, agent, nothing, seed=1, count=60).fine
    given: list[np.ndarray] = []
    whole = agent.run

    def unmasked(observation: Any, state: Any, start: Any, masks: np.ndarray) -> Any:
        given.append(masks)
        return whole(observation, state, start, np.ones_like(masks))

    agent.run = unmasked  # type: ignore[method-assign,assignment]
    assert not compare(graph, agent, nothing, seed=1, count=60).fine
    masks = np.concatenate(given)
    start = 0
    for count in choices_of(ACTIONS[kind]):
        part = masks[:, start : start + count]
        assert part.any(axis=1).all()
        assert not part.all(axis=0).any()
        start += count
