"""``lottery export --form onnx``: trace a policy, check it, and write the file with the ticket that it comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stable_baselines3.common.policies import BasePolicy

from lottery_core.errors import CheckpointError, ConfigError
from lottery_core.files import write_bytes
from lottery_core.pruning import derive_seed
from lottery_core.version import VERSION
from sb3_lottery.inference.onnx.agent import OnnxAgent, require_packages
from sb3_lottery.inference.onnx.check import OBSERVATIONS, compare
from sb3_lottery.inference.onnx.graph import OPSET, PolicyGraph, to_onnx
from sb3_lottery.inference.onnx.int8 import EPISODES, quantised, score
from sb3_lottery.inference.onnx.surroundings import Surroundings
from sb3_lottery.training import NORMALIZE

_PREFIX = "lottery."
# Entries of result.json that the file names.
_RESULT = ("ticket", "kind", "round", "seed", "pruned", "surviving", "score", "eval_score")


def write_onnx(
    policy: BasePolicy,
    path: Path,
    output: Path,
    trust: bool,
    *,
    shrunk: bool = False,
    normalize: bool = False,
    int8: bool = False,
    env: str | None = None,
    episodes: int = EPISODES,
    observations: int = OBSERVATIONS,
) -> str:
    """Write a policy as ONNX, after checking that it gives the actions of ``predict``.

    :param policy: the policy, on the CPU
    :param path: the zip that it was read from; its run folder has the environment and the statistics
    :param output: the file to write
    :param trust: whether files of the run folder may run code even if others wrote them
    :param shrunk: whether dead units were removed from the policy before
    :param normalize: whether the model normalises observations itself
    :param int8: whether to store the weights in 8 bits
    :param env: id of the environment, if it is not that of the run folder
    :param episodes: episodes that are played before and after quantising
    :param observations: observations of the check
    :returns: a description of the file and of the check
    :raises ConfigError: a package, the environment or the statistics are missing, the statistics normalise no
        observations, the environment fails, or the policy cannot be traced
    :raises CheckpointError: the exported policy acts differently
    :raises WriteError: the file cannot be written
    """
    require_packages()
    surroundings = Surroundings.of(path, policy, env, trust)
    statistics = surroundings.statistics
    if normalize and statistics is None:
        raise ConfigError(f"--normalize: there are no statistics beside {path} ({NORMALIZE})")
    if normalize and statistics is not None and not statistics.norm_obs:
        raise ConfigError(f"--normalize: {NORMALIZE} beside {path} normalises no observations, so leave the option out")
    if int8 and surroundings.make is None:
        raise ConfigError(f"--int8 plays episodes, and {path} is in no run folder with its environment: give --env ID")
    policy.set_training_mode(False)
    graph = PolicyGraph(policy, statistics, normalize)
    facts = _facts(policy, surroundings, {"shrunk": shrunk, "normalizes": normalize, "int8": int8})
    model = _with_facts(to_onnx(graph), facts)
    agent, seed = _loaded(model), int(surroundings.result.get("seed") or 0)
    comparison = compare(graph, agent, surroundings, seed, observations)
    if not comparison.fine:
        raise CheckpointError(
            f"the exported policy acts differently: {comparison} (a policy that branches on its input cannot be traced)"
        )
    lines = [f"{type(policy).__name__}, opset {OPSET}: {_named(agent)}; {comparison}"]
    if statistics is not None and statistics.norm_obs and not normalize:
        lines.append(f"observations are to be normalised first ({NORMALIZE}); --normalize makes the model do it")
    if int8:
        small = _with_facts(quantised(model), facts)
        other = _loaded(small)
        play = derive_seed("export", seed)
        before, after = (
            score(each, surroundings, normalize, graph.maskable, episodes, play) for each in (agent, other)
        )
        comparison = compare(graph, other, surroundings, seed, observations)
        lines.append(
            f"int8: {len(small):,} bytes for {len(model):,}; {comparison}; mean return of {episodes} episodes {before} "
            f"before, {after} after"
        )
        if len(small) >= len(model):
            lines.append("so small a policy is larger in 8 bits: leave --int8 out")
        model = small
    write_bytes(output, model)
    return "; ".join(lines)


def _loaded(model: bytes) -> OnnxAgent:
    try:
        return OnnxAgent(model)
    except Exception as error:  # of an operator that onnxruntime lacks
        raise ConfigError(f"onnxruntime cannot run the policy: {' '.join(str(error).split())[:200]}") from error


def _named(agent: OnnxAgent) -> str:
    inputs = ", ".join(f"{name} {_shape(each.shape)} {each.type[7:-1]}" for name, each in agent.inputs.items())
    return f"inputs {inputs}, outputs {', '.join(agent.outputs)}"


def _shape(shape: list[Any]) -> str:
    return f"({', '.join(map(str, shape))})"


def _facts(policy: BasePolicy, surroundings: Surroundings, used: Mapping[str, bool]) -> dict[str, str]:
    values: dict[str, Any] = {name: surroundings.result.get(name) for name in _RESULT}
    values |= {
        "policy": type(policy).__name__,
        "observation_space": str(policy.observation_space),
        "action_space": str(policy.action_space),
        "environment": surroundings.environment,
        **used,
        "version": VERSION,
    }
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
        if value is not None
    }


def _with_facts(model: bytes, facts: Mapping[str, str]) -> bytes:
    import onnx

    loaded = onnx.load_from_string(model)
    onnx.helper.set_model_props(loaded, {f"{_PREFIX}{name}": value for name, value in facts.items()})
    onnx.checker.check_model(loaded)
    content: bytes = loaded.SerializeToString()
    return content
