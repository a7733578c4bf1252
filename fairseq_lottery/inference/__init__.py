"""Trained tickets in use: plain, shrunk and sparse checkpoints, and sparse layers for generation and scoring."""

from fairseq_lottery.inference.export import export
from fairseq_lottery.inference.sparse import MODES, loads_of_generation, loads_of_scoring, make_sparse
from fairseq_lottery.inference.sparse_checkpoints import build, build_for_checkpoint

__all__ = [
    "MODES",
    "build",
    "build_for_checkpoint",
    "export",
    "loads_of_generation",
    "loads_of_scoring",
    "make_sparse",
]
