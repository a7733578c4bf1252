"""One-shot pruning (arXiv 1906.02768, section 3.1)."""

from lottery_core.pruning.kinds.kind import Chain

KIND = Chain(
    "one-shot", "The dense network pruned to the round's count at once, then rewound.", iterative=False, rewinds=True
)
