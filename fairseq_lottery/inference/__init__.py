"""fairseq_lottery.inference."""

from fairseq_lottery.inference.sparse import MODES, loads_of_generation, loads_of_scoring, make_sparse
from fairseq_lottery.inference.sparse_checkpoints import build_for_checkpoint

__all__ = ["MODES", "build_for_checkpoint", "loads_of_generation", "loads_of_scoring", "make_sparse"]
