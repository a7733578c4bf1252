"""The part of ``deployment.py`` about policies: Stable-Baselines3 and onnxruntime."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO

from sb3_lottery import shrink_policy, sparsify_policy
from sb3_lottery.inference.onnx.agent import OnnxAgent
from sb3_lottery.inference.onnx.graph import PolicyGraph, to_onnx
from sb3_lottery.inference.onnx.int8 import quantised
from tests.benchmarks.taking_turns import Row, megabytes, seconds, turns

OBSERVED, ACTIONS, MANY = 24, 4, 64


class Nothing(gymnasium.Env[Any, Any]):
    """The spaces of a robot, and no robot."""

    observation_space = gymnasium.spaces.Box(-1, 1, (OBSERVED,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (ACTIONS,), np.float32)


def policy(args: argparse.Namespace, work: Path) -> list[Row]:
    """The rows of the policy."""
    agents: dict[tuple[str, str], Any] = {}
    files: dict[tuple[str, str], Path] = {}
    variants = [("dense", 0, False), *((f"{percent}% of weights", percent, False) for percent in args.pruned)]
    variants += [(f"{percent}% of units, shrunk", percent, True) for percent in args.units]
    for name, percent, whole in variants:
        arch = {"net_arch": {"pi": [256, 256], "vf": [256, 256]}}
        model = PPO("MlpPolicy", Nothing(), policy_kwargs=arch, device="cpu", seed=1)
        prune_policy(model, percent, whole)
        if whole:
            shrink_policy(model)
        path = work / f"{name.replace(' ', '-')}.zip"
        model.save(path)
        agents[name, "predict"], files[name, "predict"] = model, path
        if percent and not whole:
            sparse = PPO.load(path, device="cpu")
            sparsify_policy(sparse)
            agents[name, "predict, sparse auto"], files[name, "predict, sparse auto"] = sparse, path
        if whole or not percent:  # a mask of single weights changes nothing
            for kind in ("float32", "int8"):
                files[name, f"onnxruntime {kind}"] = file = path.with_suffix(f".{kind}.onnx")
                file.write_bytes(as_onnx(model, kind))
                agents[name, f"onnxruntime {kind}"] = OnnxAgent(file.read_bytes())
    rows: dict[tuple[str, str], Row] = {
        key: {"model": key[0], "runtime": key[1], "MB": megabytes(files[key])} for key in agents
    }
    loads: dict[Any, Callable[[], float]] = {}
    for key, path in files.items():
        load = (
            (lambda path=path: PPO.load(path, device="cpu"))
            if path.suffix == ".zip"
            else (lambda path=path: OnnxAgent(path.read_bytes()))
        )
        loads[key] = lambda load=load: seconds(load)
    for key, value in turns(loads, args.pairs).items():
        rows[key]["load ms"] = 1e3 * value
    # Short turns, and many: what disturbs the machine for some seconds disturbs few of them.
    calls, many = (20, 1) if args.quick else (250, 8 * args.pairs)
    for count, column in ((1, "us, 1 observation"), (MANY, f"us, {MANY} observations")):
        observations = np.random.default_rng(0).uniform(-1, 1, (count, OBSERVED)).astype(np.float32)

        def each(agent: Any, seen: np.ndarray = observations) -> float:
            return 1e6 / calls * seconds(lambda: [agent.predict(seen, deterministic=True) for _ in range(calls)])

        ways: dict[Any, Callable[[], float]] = {
            key: lambda agent=agent, each=each: each(agent) for key, agent in agents.items()
        }
        for key, value in turns(ways, many).items():
            rows[key][column] = value
        for row in rows.values():
            row[f"x{count}"] = rows["dense", "predict"][column] / row[column]
    return list(rows.values())


def as_onnx(model: Any, kind: str) -> bytes:
    content = to_onnx(PolicyGraph(model.policy.eval()))
    return quantised(content) if kind == "int8" else content


def prune_policy(model: Any, percent: int, whole: bool) -> None:
    """Random masks of the hidden layers' weights, or of whole hidden units."""
    torch.manual_seed(percent)
    with torch.no_grad():
        for stack in (model.policy.mlp_extractor.policy_net, model.policy.mlp_extractor.value_net):
            for layer in stack:
                if not isinstance(layer, torch.nn.Linear):
                    continue
                if whole:
                    dead = torch.randperm(len(layer.weight))[: len(layer.weight) * percent // 100]
                    layer.weight[dead] = 0
                    layer.bias[dead] = 0
                else:
                    layer.weight[torch.rand_like(layer.weight) < percent / 100] = 0
