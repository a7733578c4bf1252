"""The paper's winning ticket (arXiv 1906.02768, section 3.1)."""

from lottery_core.pruning.kinds.kind import WINNING, Chain

KIND = Chain(
    name=WINNING,
    meaning="Iterative pruning with late rewinding: the paper's winning ticket.",
    iterative=True,
    rewinds=True,
)
