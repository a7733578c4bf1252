"""Smaller networks: remove dead units of named tensors, given a description of which layer reads which."""

from lottery_core.inference.shrink.network import ELEMENTWISE, Activation, Reads, Units
from lottery_core.inference.shrink.shrink import Report, Shrunk, shrink

__all__ = ["ELEMENTWISE", "Activation", "Reads", "Report", "Shrunk", "Units", "shrink"]
