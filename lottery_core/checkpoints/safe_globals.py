"""The allow-list of what checkpoints may unpickle besides tensors: plain containers of options and of numbers.

Each dialect names its own, one by one; none of them runs code when it is made. A name whose package is not installed
is skipped.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from lottery_core import dialects


def allowed(names: Iterable[str] | None = None) -> list[Any]:
    """The objects that dotted names stand for, as ``torch.serialization.safe_globals`` takes them.

    :param names: dotted names, those of every dialect by default; names that cannot be imported are skipped
    """
    if names is None:
        names = dict.fromkeys(name for row in dialects.every() for name in row.safe_globals)
    objects: list[Any] = []
    for name in names:
        module, _, attribute = name.rpartition(".")
        try:
            value = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError):
            continue
        objects.append(value)
        if module.startswith("numpy._core."):  # files of numpy 1 say numpy.core
            objects.append((value, name.replace("numpy._core.", "numpy.core.", 1)))
    return objects


@contextmanager
def safe_loading() -> Iterator[None]:
    """Let ``torch.load(..., weights_only=True)`` accept the allow-list within the ``with`` block.

    torch's own context manager would also remove what other code has allowed for the whole process.
    """
    before = torch.serialization.get_safe_globals()
    try:
        with torch.serialization.safe_globals(allowed()):
            yield
    finally:
        torch.serialization.add_safe_globals(before)
