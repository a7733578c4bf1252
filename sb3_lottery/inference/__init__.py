"""Faster inference with a trained ticket: smaller policies without dead units, and policies with sparse layers."""

from sb3_lottery.inference.export import export
from sb3_lottery.inference.shrink import shrink_policy
from sb3_lottery.inference.sparse import load_sparse_policy, sparsify_policy

__all__ = ["export", "load_sparse_policy", "shrink_policy", "sparsify_policy"]
