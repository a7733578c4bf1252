"""Replace a function by a wrapper, once, and such that ``inspect.unwrap`` returns the original."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def wrap_once(owner: Any, name: str, wrapper_of: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace the function ``name`` of ``owner`` by a wrapper, unless it has been replaced already.

    :param owner: module or class that holds the function
    :param name: the function's name
    :param wrapper_of: makes the wrapper from the original function
    """
    original = getattr(owner, name)
    if getattr(original, "of_lottery", False):
        return
    wrapper = functools.wraps(original)(wrapper_of(original))
    wrapper.of_lottery = True  # type: ignore[attr-defined]
    setattr(owner, name, wrapper)
