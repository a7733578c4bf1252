"""Words that a framework adds to those of a scope, such as ``actor``.

A plugin names its way in its packaging, as an entry point of the group ``lottery.scope`` with the format's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from lottery_core.checkpoints import format_of
from lottery_core.scope import ALL, LAYERS

GROUP = "lottery.scope"
_WORD = re.compile(r"[a-z]+")


class Translator(Protocol):
    """What an entry point of the group is."""

    def __call__(self, scope: Sequence[str], names: Iterable[str]) -> tuple[str, ...]:
        """``scope`` with the framework's words turned into regular expressions over the parameters' ``names``."""


def translated(scope: Sequence[str], path: Path, names: Iterable[str]) -> tuple[str, ...]:
    """``scope`` with the words of the framework that wrote ``path`` turned into regular expressions.

    :param scope: words of a scope
    :param path: a checkpoint
    :param names: of its parameters
    :raises ScopeError: this checkpoint has no such part
    """
    if any(_WORD.fullmatch(word) and word not in (ALL, LAYERS) for word in scope):
        for point in entry_points(group=GROUP, name=format_of(path)):
            translate: Translator = point.load()
            return translate(scope, names)
    return tuple(scope)
