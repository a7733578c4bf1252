"""Using trained tickets: export, exact shrinking, sparse layers, and sparse files read as checkpoints."""

from fairseq_lottery.inference.decoding import take_shortcuts
from fairseq_lottery.inference.export import export
from fairseq_lottery.inference.sparse import MODES, loads_of_generation, loads_of_scoring, make_sparse
from fairseq_lottery.inference.sparse_checkpoints import (
    build,
    build_for_checkpoint,
    is_sparse_checkpoint,
    read_sparse_checkpoint,
)

__all__ = [
    "MODES",
    "build",
    "build_for_checkpoint",
    "export",
    "is_sparse_checkpoint",
    "loads_of_generation",
    "loads_of_scoring",
    "make_sparse",
    "read_sparse_checkpoint",
    "take_shortcuts",
]
