"""Blocks that end with sentences (``--sample-break-mode eos``), under numpy 2.

Mends ``fairseq/data/token_block_dataset.py:_build_slice_indices``, which ends in an AttributeError: ``np.compat.long``.
"""

from __future__ import annotations

import importlib
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy


class _Numpy(ModuleType):
    compat = SimpleNamespace(long=numpy.int64)

    def __getattr__(self, name: str) -> Any:
        return getattr(numpy, name)


def install() -> None:
    """Give that module the name; calling it again changes nothing."""
    if not hasattr(numpy, "compat"):
        importlib.import_module("fairseq.data.token_block_dataset").np = _Numpy("numpy")  # type: ignore[attr-defined]
