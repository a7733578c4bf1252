"""Policies for onnxruntime: traced, checked against ``predict``, written as ONNX."""

from sb3_lottery.inference.onnx.agent import OnnxAgent, require_packages
from sb3_lottery.inference.onnx.write import write_onnx

__all__ = ["OnnxAgent", "require_packages", "write_onnx"]
