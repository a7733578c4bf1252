"""Layers: which layer of a policy reads which, and the whole units that can be pruned or taken out."""

from sb3_lottery.layers.layer_graph import LayerGraph, check_known, has_batch_norm, trunk_of
from sb3_lottery.layers.units import units_of

__all__ = ["LayerGraph", "check_known", "has_batch_norm", "trunk_of", "units_of"]
