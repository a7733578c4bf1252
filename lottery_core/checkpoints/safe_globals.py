"""The allow-list of what checkpoints may unpickle besides tensors: plain containers of options and numbers.

Each dialect lists its own names; none of these objects runs code when it is created. Names whose package is not
installed are skipped.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import _weights_only_unpickler as torch_unpickler

from lottery_core import dialects

_LOCK = threading.Lock()
_this_thread = threading.local()


def allowed(names: Iterable[str] | None = None) -> list[Any]:
    """Return the objects for dotted names, in the form that ``torch.serialization.safe_globals`` takes.

    :param names: dotted names, by default those of every dialect; names that cannot be imported are skipped
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
        if module.startswith("numpy._core."):  # files written with numpy 1 say numpy.core
            objects.append((value, name.replace("numpy._core.", "numpy.core.", 1)))
    return objects


@contextmanager
def safe_loading(names: Iterable[str] = ()) -> Iterator[None]:
    """Let ``torch.load(..., weights_only=True)`` accept the allow-list within the ``with`` block, in this thread only.

    torch's own list is shared by the whole process: its context manager would also affect loads in other threads, and
    could remove what other code has allowed.

    :param names: dotted names that are accepted in addition to those of the dialects
    """
    _answer_by_thread()
    before = getattr(_this_thread, "accepted", {})
    _this_thread.accepted = {**before, **_by_path([*allowed(), *allowed(names)])}
    try:
        yield
    finally:
        _this_thread.accepted = before


def _by_path(objects: Iterable[Any]) -> dict[str, Any]:
    # Named as in torch/_weights_only_unpickler.py:_get_user_allowed_globals.
    pairs = (each if isinstance(each, tuple) else (each, f"{each.__module__}.{each.__qualname__}") for each in objects)
    return {path: value for value, path in pairs}


def _answer_by_thread() -> None:
    # The unpickler calls this function for every global that is not on torch's own list.
    with _LOCK:
        original: Callable[[], dict[str, Any]] = torch_unpickler._get_user_allowed_globals
        if getattr(original, "of_lottery", False):
            return

        def user_allowed_globals() -> dict[str, Any]:
            return {**original(), **getattr(_this_thread, "accepted", {})}

        user_allowed_globals.of_lottery = True  # type: ignore[attr-defined]
        torch_unpickler._get_user_allowed_globals = user_allowed_globals
