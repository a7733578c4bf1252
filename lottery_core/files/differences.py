"""Where two JSON values differ, for people."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lottery_core.files.printable import printable

_OPTION = re.compile(r"--?[A-Za-z]")


def differences(before: Any, now: Any, where: str = "") -> list[str]:
    """Where two JSON values differ, as ``name: old -> new``, in the order of their names.

    Two command lines (lists of words with options among them) are compared option by option.

    :param before: the old value
    :param now: the new value
    :param where: the name of the values
    """
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        changes: list[str] = []
        for key in sorted({*before, *now}):
            changes += differences(before.get(key), now.get(key), f"{where}.{key}" if where else str(key))
        return changes
    if same_json(before, now):
        return []
    if _is_command(before) and _is_command(now):
        changes = _of_commands(before, now, where)
        return changes or [f"{where}: the same options in another order"]
    return [f"{where}: {_short(before)} -> {_short(now)}"]


def same_json(first: Any, second: Any) -> bool:
    """Return whether two JSON values are the same; 1 is 1.0, and unlike in Python NaN is NaN.

    :param first: a value
    :param second: a value
    """
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(same_json(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)):
        return len(first) == len(second) and all(map(same_json, first, second))
    both_nan = isinstance(first, float) and isinstance(second, float) and math.isnan(first) and math.isnan(second)
    return bool(both_nan or first == second)


def _short(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return printable(" ".join(map(str, value)))
    return "not set" if value is None else printable(value)


def _is_command(value: Any) -> bool:
    words = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    return any(isinstance(word, str) and _OPTION.match(word) for word in words)


def _of_commands(before: Sequence[Any], now: Sequence[Any], where: str) -> list[str]:
    old, new = _by_option(before), _by_option(now)
    return [
        f"{f'{where} {name}'.rstrip()}: {_given(old.get(name))} -> {_given(new.get(name))}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]


def _given(values: Sequence[str] | None) -> str:
    if values is None:
        return "not given"
    return printable(" ".join(values)) or "given"


def _by_option(words: Sequence[Any]) -> dict[str, tuple[str, ...]]:
    # Option -> what follows it up to the next option; words before the first option are under "".
    # Of an option that is given twice the last one counts.
    options: dict[str, tuple[str, ...]] = {}
    name = ""
    for word in map(str, words):
        if _OPTION.match(word):
            name, equals, value = word.partition("=")
            options[name] = (value,) if equals else ()
        else:
            options[name] = (*options.get(name, ()), word)
    return options
