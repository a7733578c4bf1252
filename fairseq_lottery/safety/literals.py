"""Compute the value of a text that fairseq would evaluate, without evaluating it: literals and simple list arithmetic.

``ast.literal_eval`` rejects ``[(512, 3)] * 20 + [(1024, 1)]``, which is how fairseq writes convolutions. Here ``+`` and
``*`` of numbers and of lists are accepted as well, and the size of the result is limited.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

LONGEST = 4096  # characters
_MOST = 10_000  # values in total
_DEEPEST = 40
_LARGEST = 2**63
_CONSTANTS = (int, float, bool, str, type(None))
_SIGNS: dict[type, Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}


class NoLiteralError(ValueError):
    """The text is not a literal."""


def parse(text: str) -> ast.expr | None:
    """Parse a text as Python's ``eval`` would.

    :param text: any text
    :returns: the expression; ``None`` if the text is not an expression, so that ``eval`` cannot run it either
    :raises NoLiteralError: the text cannot be parsed for another reason, e.g. because it is too long or too deep
    """
    if len(text) > LONGEST:
        raise NoLiteralError(f"it has {len(text)} characters")
    try:
        return ast.parse(text.lstrip(" \t"), mode="eval").body
    except SyntaxError:
        return None
    except Exception as error:  # e.g. nested too deeply for this parser, though perhaps not for eval
        raise NoLiteralError(f"it cannot be parsed: {type(error).__name__}") from error


def literal(text: str) -> Any:
    """Return the value of a text: a number, boolean, string or ``None``, or a list, tuple or dictionary of these.

    :param text: a text that fairseq would evaluate, e.g. ``"[(512, 3)] * 20"``
    :raises NoLiteralError: the text is anything else, or contains more than 10,000 values
    """
    expression = parse(text)
    if expression is None:
        raise NoLiteralError("it is no expression")
    value, _ = _value(expression, 0)
    if isinstance(value, str):
        raise NoLiteralError("it is a string")
    return value


def _value(node: ast.expr, depth: int) -> tuple[Any, int]:
    # Returns the value, and the number of values in it.
    if depth > _DEEPEST:
        raise NoLiteralError("it is nested too deeply")
    if isinstance(node, ast.Constant) and type(node.value) in _CONSTANTS:
        return _bounded(node.value, 1)
    if isinstance(node, (ast.List, ast.Tuple)):
        parts = [_value(part, depth + 1) for part in node.elts]
        values = [value for value, _ in parts]
        return _bounded(values if isinstance(node, ast.List) else tuple(values), 1 + sum(size for _, size in parts))
    if isinstance(node, ast.Dict) and None not in node.keys:
        keys = [_value(key, depth + 1) for key in node.keys if key is not None]
        parts = [_value(part, depth + 1) for part in node.values]
        if not all(isinstance(key, (str, int, float, type(None))) for key, _ in keys):
            raise NoLiteralError("its keys are not plain")
        pairs = zip(keys, parts, strict=True)
        return _bounded({key: value for (key, _), (value, _) in pairs}, 1 + sum(size for _, size in [*keys, *parts]))
    if isinstance(node, ast.UnaryOp) and type(node.op) in _SIGNS:
        value, size = _value(node.operand, depth + 1)
        return _bounded(_SIGNS[type(node.op)](_number(value)), size)
    if isinstance(node, ast.BinOp):
        return _combined(node.op, _value(node.left, depth + 1), _value(node.right, depth + 1))
    raise NoLiteralError(f"{type(node).__name__} is no literal")


def _combined(op: ast.operator, left: tuple[Any, int], right: tuple[Any, int]) -> tuple[Any, int]:
    (first, size), (second, more) = left, right
    if isinstance(op, ast.Add):
        if type(first) is type(second) and isinstance(first, (list, tuple)):
            return _bounded(first + second, size + more)
        return _bounded(_number(first) + _number(second), 1)
    if isinstance(op, ast.Mult):
        if isinstance(second, (list, tuple)):
            (first, size), (second, more) = right, left
        if isinstance(first, (list, tuple)) and type(second) is int:
            size *= max(second, 1)
            _bounded(None, size)  # checked before the list is made
            return first * second, size
        return _bounded(_number(first) * _number(second), 1)
    raise NoLiteralError(f"{type(op).__name__} is no literal")


def _number(value: Any) -> Any:
    if type(value) not in (int, float):
        raise NoLiteralError(f"a {type(value).__name__} is no number")
    return value


def _bounded(value: Any, size: int) -> tuple[Any, int]:
    if size > _MOST:
        raise NoLiteralError(f"it has more than {_MOST:,} values")
    if type(value) is int and abs(value) > _LARGEST:
        raise NoLiteralError("its numbers are too large")
    return value, size
