"""Checked JSON: make dataclasses from the objects of untrusted files."""

from __future__ import annotations

import functools
import json
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, TypeVar, Union

from lottery_core.files.printable import printable

T = TypeVar("T")
_DEEPEST = 64
_WORDS = {int: "a whole number", float: "a number", str: "a string", bool: "true or false", type(None): "null"}


def parse_json(text: str | bytes) -> Any:
    """Parse a JSON text.

    :raises ValueError: the text is not JSON, or is nested too deeply for code that copies, writes or compares its value
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > _DEEPEST:
            raise ValueError("it is nested too deeply")
        inner = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, (dict, list))]
        level = [part for parts in inner for part in parts if isinstance(part, (dict, list))]
    return value


def from_json(
    kind: type[T],
    value: Any,
    error: Callable[[str], Exception],
    convert: Mapping[str, Callable[[Any], Any]] | None = None,
) -> T:
    """Make the dataclass ``kind`` from a JSON object; unknown keys, which a later version may write, are ignored.

    Fields may be annotated with ``int``, ``float``, ``str``, ``bool``, ``None``, ``tuple[X, ...]``,
    ``Mapping[str, X]``, ``Any`` and unions of these.

    :param kind: the dataclass
    :param value: the JSON value
    :param error: makes the exception from a message about a key, or about the value itself
    :param convert: field name -> function that converts the JSON value, for fields of other types
    :raises Exception: the exception that ``error`` makes, if a value has the wrong type or a key is missing
    """
    if not isinstance(value, Mapping):
        raise error(f"it must be an object, not {_shown(value)}")
    hints = _hints(kind)  # type: ignore[arg-type]
    arguments: dict[str, Any] = {}
    for entry in fields(kind):  # type: ignore[arg-type]
        if not entry.init:
            continue
        if entry.name not in value:
            if entry.default is MISSING and entry.default_factory is MISSING:
                raise error(f"the key '{entry.name}' is missing")
            continue
        given = value[entry.name]
        if convert is not None and entry.name in convert:
            arguments[entry.name] = convert[entry.name](given)
        else:
            arguments[entry.name] = _checked(hints[entry.name], given, entry.name, error)
    return kind(**arguments)


@functools.cache
def _hints(kind: type) -> Mapping[str, Any]:
    return typing.get_type_hints(kind)


def _checked(hint: Any, value: Any, key: str, error: Callable[[str], Exception]) -> Any:
    if not _fits(hint, value):
        for name, entry, each in _entries(hint, value):  # the object or list is right, an entry of it is not
            _checked(entry, each, f"{key}.{name}", error)
        raise error(f"'{printable(key)}' must be {_described(hint)}, not {_shown(value)}")
    return _as_hinted(hint, value)


def _entries(hint: Any, value: Any) -> Iterator[tuple[Any, Any, Any]]:
    # Name, annotation and value of each entry, if the value is an object or a list as it is annotated.
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if not isinstance(origin, type) or not arguments:
        return
    if isinstance(value, Mapping) and issubclass(origin, Mapping):
        yield from ((name, arguments[1], each) for name, each in value.items())
    elif isinstance(value, list) and issubclass(origin, Sequence):
        yield from ((index, arguments[0], each) for index, each in enumerate(value))


def _fits(hint: Any, value: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(each, value) for each in arguments)
    if origin is tuple:
        return isinstance(value, list) and all(_fits(arguments[0], each) for each in value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        inner = arguments[1] if arguments else Any
        return isinstance(value, Mapping) and all(_fits(inner, each) for each in value.values())
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return isinstance(value, list) and all(_fits(arguments[0], each) for each in value)
    if hint in (None, type(None)):
        return value is None
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and not _is_huge(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63
    return isinstance(value, hint)


def _is_huge(value: float) -> bool:
    # Larger whole numbers do not fit in a float; NaN and infinity are valid scores.
    return isinstance(value, int) and abs(value) > 1 << 1000


def _as_hinted(hint: Any, value: Any) -> Any:
    if typing.get_origin(hint) is tuple:
        return tuple(value)
    if typing.get_origin(hint) in (Union, types.UnionType) and isinstance(value, list):
        return tuple(value)
    return value


def _described(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_described(each) for each in arguments)
    if origin is not None:
        return "an object" if isinstance(origin, type) and issubclass(origin, Mapping) else "a list"
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def _shown(value: Any) -> str:
    return printable(json.dumps(value, default=str), 60)
