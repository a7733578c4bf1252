"""An exported policy as an agent: onnxruntime behind the method ``predict`` of Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lottery_core.errors import ConfigError
from sb3_lottery.inference.onnx.graph import ACTION, CELL, HIDDEN, MASKS, NEXT_CELL, NEXT_HIDDEN, OBSERVATION, START

EXTRA = "the form onnx needs onnx and onnxruntime: pip install -c constraints.txt -e '.[onnx]'"
_TYPES: dict[str, Any] = {
    "tensor(float16)": np.float16,
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(bool)": np.bool_,
    **{
        f"tensor({name})": np.dtype(name)
        for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
    },
}


def require_packages() -> None:
    """Check that onnx and onnxruntime are installed.

    :raises ConfigError: one is not; the message has the pip command
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ConfigError(EXTRA) from error


class OnnxAgent:
    """Predicts actions with onnxruntime on one thread of the CPU.

    :param model: content of the ONNX file
    """

    def __init__(self, model: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.inputs = {each.name: each for each in self.session.get_inputs()}
        self.outputs = [each.name for each in self.session.get_outputs()]

    def predict(
        self,
        observation: Any,
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = True,
        action_masks: np.ndarray | None = None,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Return actions and the next state, as ``BaseAlgorithm.predict`` does for a batch.

        :param observation: observations, (batch, ...), or a dictionary of them
        :param state: hidden and cell state of the LSTM; ``None`` for zeros
        :param episode_start: whether an episode starts, (batch,)
        :param deterministic: ignored, the action is deterministic
        :param action_masks: valid actions, (batch, actions); ``None`` if all are valid
        """
        found, state = self.run(observation, state, episode_start, action_masks)
        return found[ACTION], state

    def run(
        self,
        observation: Any,
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        action_masks: np.ndarray | None = None,
    ) -> tuple[dict[str, np.ndarray], tuple[np.ndarray, ...] | None]:
        """Return every output by its name, and the next state, see :meth:`predict`."""
        arrays = self.arrays(observation, state, episode_start, action_masks)
        found = dict(zip(self.outputs, self.session.run(None, arrays), strict=True))
        return found, (found[NEXT_HIDDEN], found[NEXT_CELL]) if NEXT_HIDDEN in found else None

    def arrays(
        self,
        observation: Any,
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        action_masks: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Return the inputs of the file by their names, see :meth:`predict`."""
        many = isinstance(observation, Mapping)
        given = {f"{OBSERVATION}.{key}": value for key, value in observation.items()} if many else {}
        given = given or {OBSERVATION: observation}
        batch = len(next(iter(given.values())))
        if HIDDEN in self.inputs:
            layers, _, size = self.inputs[HIDDEN].shape
            given[HIDDEN], given[CELL] = state or (np.zeros((layers, batch, size)),) * 2
            given[START] = np.zeros(batch) if episode_start is None else episode_start
        if MASKS in self.inputs:
            given[MASKS] = np.ones((batch, self.inputs[MASKS].shape[1])) if action_masks is None else action_masks
        return {name: np.asarray(given[name], _TYPES[each.type]) for name, each in self.inputs.items()}
