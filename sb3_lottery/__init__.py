"""Lottery tickets for Stable-Baselines3: the callback, ``find_tickets`` and the command ``sb3-lottery``."""

from lottery_core.version import VERSION as __version__
from sb3_lottery.find import Found, find_tickets
from sb3_lottery.inference import load_sparse_policy, shrink_policy, sparsify_policy
from sb3_lottery.networks import PoolingCNN, SharedTrunk
from sb3_lottery.training import LotteryCallback

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
