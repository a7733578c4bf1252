"""Use a trained ticket: export it, make it smaller, or run it with sparse layers.

:func:`shrink` removes dead units and leaves a dense network; :func:`sparsify` replaces layers by sparse ones;
:func:`save_sparse` and :func:`load_sparse` write and read sparse files.
"""

from lottery_core.inference.export import CTRANSLATE2, FORMS, ONNX, OPTIONS, PLAIN, SHRUNK, export
from lottery_core.inference.layers import CsrMatrix, SparseLinear
from lottery_core.inference.load_sparse import fill, give_memory, load_sparse, parameters_on_meta
from lottery_core.inference.shrink import ELEMENTWISE, Activation, Reads, Report, Shrunk, Units, shrink
from lottery_core.inference.sparse_file import SparseFile, is_sparse_file, save_sparse
from lottery_core.inference.sparse_report import SparseReport
from lottery_core.inference.sparsify import AUTO, CSR, sparsify
from lottery_core.inference.timings import Load, Timings

__all__ = [
    "AUTO",
    "Activation",
    "CSR",
    "CTRANSLATE2",
    "CsrMatrix",
    "ELEMENTWISE",
    "FORMS",
    "Load",
    "ONNX",
    "OPTIONS",
    "PLAIN",
    "Reads",
    "Report",
    "SHRUNK",
    "Shrunk",
    "SparseFile",
    "SparseLinear",
    "SparseReport",
    "Timings",
    "Units",
    "export",
    "fill",
    "give_memory",
    "is_sparse_file",
    "load_sparse",
    "parameters_on_meta",
    "save_sparse",
    "shrink",
    "sparsify",
]
