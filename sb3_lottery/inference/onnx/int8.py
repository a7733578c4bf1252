"""Store the weights of an exported policy in 8 bits, and measure what that does to its score."""

from __future__ import annotations

import logging
import statistics
import tempfile
from pathlib import Path
from typing import Any

from stable_baselines3.common.evaluation import evaluate_policy

from lottery_core.errors import ConfigError, WriteError
from sb3_lottery.inference.onnx.agent import OnnxAgent
from sb3_lottery.inference.onnx.surroundings import Surroundings
from sb3_lottery.training import check_returns, refuse_endless, standard_error

EPISODES = 20


def quantised(model: bytes) -> bytes:
    """Quantise the weights of an ONNX file dynamically: 8 bits, a scale for each matrix, activations as they come.

    :param model: content of the file
    :returns: content of the smaller file
    :raises ConfigError: onnxruntime cannot quantise it
    :raises WriteError: there is no room for temporary files
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    convolves = any(node.op_type == "Conv" for node in onnx.load_from_string(model).graph.node)
    # onnxruntime multiplies unsigned weights only in convolutions (ConvInteger).
    kind = QuantType.QUInt8 if convolves else QuantType.QInt8
    root = logging.getLogger()
    level = root.level
    with tempfile.TemporaryDirectory() as folder:
        full, small = Path(folder, "full.onnx"), Path(folder, "small.onnx")
        try:
            root.setLevel(logging.ERROR)  # it recommends a preparation, which changes nothing here
            full.write_bytes(model)
            quantize_dynamic(full, small, weight_type=kind)
        except OSError as error:
            reason = error.strerror or error
            raise WriteError(f"cannot write in {folder}, where temporary files go: {reason}") from error
        except Exception as error:  # of a layer that onnxruntime does not know
            raise ConfigError(
                f"onnxruntime cannot quantise the policy: {' '.join(str(error).split())[:200]}"
            ) from error
        finally:
            root.setLevel(level)
        return small.read_bytes()


class _Sees:
    # Gives an agent what it takes: observations as they are, or normalised.
    def __init__(self, agent: OnnxAgent, surroundings: Surroundings, folded: bool) -> None:
        self.agent, self.surroundings, self.folded = agent, surroundings, folded

    def predict(self, observation: Any, *args: Any, **kwargs: Any) -> Any:
        seen = observation if self.folded else self.surroundings.normalised(observation)
        return self.agent.predict(seen, *args, **kwargs)


def score(agent: OnnxAgent, surroundings: Surroundings, folded: bool, maskable: bool, episodes: int, seed: int) -> str:
    """Play episodes with an exported policy; return their mean return and its standard error, as text.

    :param agent: the exported policy
    :param surroundings: its environment and normalisation
    :param folded: whether the policy normalises observations itself
    :param maskable: whether it takes the valid actions
    :param episodes: number of episodes, at least 2
    :param seed: seed of the environment
    :raises ConfigError: the environment fails
    :raises RunError: an episode does not end, or its return is not finite
    """
    evaluate: Any = evaluate_policy
    if maskable:
        from sb3_contrib.common.maskable.evaluation import evaluate_policy as evaluate
    assert surroundings.make is not None
    env = surroundings.make(seed)
    try:
        player = _Sees(agent, surroundings, folded)
        returns, _ = evaluate(
            player, env, episodes, deterministic=True, callback=refuse_endless, return_episode_rewards=True, warn=False
        )
    finally:
        env.close()
    check_returns(returns)
    return f"{statistics.fmean(returns):.4g} ± {standard_error(returns):.2g}"
