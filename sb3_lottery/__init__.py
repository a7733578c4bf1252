"""Lottery tickets for Stable-Baselines3: a callback, a function and the command ``sb3-lottery``."""

from lottery_core.version import VERSION as __version__
from sb3_lottery.callback import LotteryCallback
from sb3_lottery.find import Found, find_tickets
from sb3_lottery.networks import PoolingCNN, SharedTrunk
from sb3_lottery.shrinking import shrink_policy
from sb3_lottery.sparse import load_sparse_policy, sparsify_policy

__all__ = [
    "Found",
    "LotteryCallback",
    "PoolingCNN",
    "SharedTrunk",
    "__version__",
    "find_tickets",
    "load_sparse_policy",
    "shrink_policy",
    "sparsify_policy",
]
