"""What a foreign checkpoint may ask to unpickle beside tensors: plain containers of options and of numbers.

Named here one by one, and none of them runs code when it is made. A name whose package is not installed is skipped.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

# Options of a fairseq checkpoint, and numbers that its meters hold (under numpy's old and new module name).
NAMES = (
    "argparse.Namespace",
    "collections.defaultdict",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
)
_DTYPES = ("Bool", "Int8", "UInt8", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64")
_FLOATS = ("Float16", "Float32", "Float64")
NUMPY_DTYPES = tuple(f"numpy.dtypes.{name}DType" for name in (*_DTYPES, *_FLOATS))


def allowed(names: Iterable[str] = (*NAMES, *NUMPY_DTYPES)) -> list[Any]:
    """The objects of ``names``, for ``torch.serialization.safe_globals``.

    :param names: dotted names; those that cannot be imported are left out
    """
    found: list[Any] = []
    for name in names:
        module, _, attribute = name.rpartition(".")
        try:
            value = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError):
            continue
        found.append(value)
        if module.startswith("numpy._core."):  # files of numpy 1 say numpy.core
            found.append((value, name.replace("numpy._core.", "numpy.core.", 1)))
    return found


@contextmanager
def safe_loading() -> Iterator[None]:
    """While it lasts ``torch.load`` with ``weights_only=True`` also takes the list; afterwards what it took before.

    torch's own context would also take away what somebody had allowed for good.
    """
    before = torch.serialization.get_safe_globals()
    try:
        with torch.serialization.safe_globals(allowed()):
            yield
    finally:
        torch.serialization.add_safe_globals(before)
