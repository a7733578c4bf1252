"""Iterative pruning without late rewinding (arXiv 1906.02768, section 3.1)."""

from lottery_core.pruning.kinds.kind import Chain

KIND = Chain("no-rewind", "Iterative pruning, survivors reset to their initialisation.", iterative=True, rewinds=False)
