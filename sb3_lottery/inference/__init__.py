"""sb3_lottery.inference."""

from sb3_lottery.inference.shrink import shrink_policy
from sb3_lottery.inference.sparse import load_sparse_policy, sparsify_policy

__all__ = ["load_sparse_policy", "shrink_policy", "sparsify_policy"]
