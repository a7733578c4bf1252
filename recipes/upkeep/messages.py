"""The messages of the packages, read off the source: what is raised for a person's mistake, and what is warned of.

Used by recipes/upkeep/reference.py for docs/reference/messages.md, and by tests/test_docs.py.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from message_topics import TOPICS, Topic

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("lottery_core", "sb3_lottery", "fairseq_lottery")
WARNING = "WARNING: "
_SHOWN = {"printable", "str", "shown", "_shown", "tuple", "sorted"}  # calls that only show their argument
_OF_TEXT = {"replace", "removeprefix", "removesuffix", "split", "strip", "format", "title"}  # methods of what is shown


@dataclass(frozen=True)
class Message:
    """A message.

    :param module: where it stands
    :param text: its text, with capitals for what differs: ``cannot read PATH: REASON``
    :param is_warning: whether it is a warning, and nothing is refused
    """

    module: str
    text: str
    is_warning: bool = False


def topic_of(message: Message) -> Topic:
    """The topic of a message."""
    return next(topic for topic in TOPICS if any(message.module.startswith(prefix) for prefix in topic.modules))


def pieces(text: str) -> list[str]:
    """The parts of a message that are always the same, longest first.

    :param text: see :class:`Message`
    """
    parts = re.split(r"\b[A-Z][A-Z_]+\b|\.\.\.", text)
    return sorted((part.strip(" '`,;:().") for part in parts), key=len, reverse=True)


class _Reader:
    def __init__(self, module: str, tree: ast.Module) -> None:
        self.module = module
        self.tree = tree
        self.globals = vars(importlib.import_module(module))

    def _constant(self, node: ast.expr) -> Any:
        names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
        if not all(name.isupper() or name == "paths" for name in names) or not names <= set(self.globals):
            return None
        try:
            return eval(compile(ast.Expression(node), "", "eval"), self.globals)
        except Exception:
            return None

    def _place(self, node: ast.expr) -> str:
        # A word for what stands there: the constant, or the name of what is shown.
        value = self._constant(node)
        if isinstance(value, (str, int, float)):
            return str(value)
        if isinstance(node, ast.IfExp):
            sides = [self.text(side) for side in (node.body, node.orelse)]
            return "/".join(side for side in sides if side)
        if isinstance(node, ast.JoinedStr):
            return self.text(node) or ""
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and node.func.attr == "join" and node.args:
                return self._place(node.args[0])
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            if name == "len":
                return "N"
            if node.args and name in _SHOWN:
                return self._place(node.args[0])
            if name in ("getattr", "next", "repr"):
                return "VALUE"
            if node.args and name in ("min", "max", "map"):
                return self._place(node.args[-1])
            if isinstance(node.func, ast.Attribute) and node.func.attr in _OF_TEXT:
                return self._place(node.func.value)
            if isinstance(node.func, ast.Attribute) and node.func.attr == "get":
                return "VALUE"
            return self._place(node.func)
        if isinstance(node, (ast.GeneratorExp, ast.ListComp)):
            return self._place(node.generators[0].iter)
        if isinstance(node, (ast.Subscript, ast.Starred, ast.BoolOp)):
            return self._place(node.values[0] if isinstance(node, ast.BoolOp) else node.value)
        if isinstance(node, ast.Attribute):
            return node.attr.strip("_").upper() if node.attr != "__name__" else self._place(node.value)
        return node.id.strip("_").upper() if isinstance(node, ast.Name) else "VALUE"

    def text(self, node: ast.expr) -> str | None:
        """The text of an expression, where it is a message written there."""
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, str) else None
        if isinstance(node, ast.JoinedStr):
            text = ""
            for part in node.values:
                if isinstance(part, ast.Constant):
                    text += str(part.value)
                elif isinstance(part, ast.FormattedValue):
                    place = self._place(part.value)
                    # Behind a word: an addition, such as a hint.
                    text += " ..." if place.isupper() and text[-1:].isalpha() else place
            return text
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            sides = [self.text(side) for side in (node.left, node.right)]
            return None if None in sides else "".join(side or "" for side in sides)
        value = self._constant(node)
        return value if isinstance(value, str) else None

    def _of_raise(self, call: ast.Call) -> str | None:
        name = call.func.id if isinstance(call.func, ast.Name) else ""
        if name == "unknown_choice" and len(call.args) > 1:
            return f"unknown {self.text(call.args[1]) or 'WORD'} 'WORD': did you mean ...?, or: accepted: ..."
        error = self.globals.get(name)
        inner = isinstance(error, type) and issubclass(error, Exception) and error.__module__.split(".")[0] in PACKAGES
        helper = name in ("damaged", "unreadable")
        if not call.args or not (inner or helper):
            return None
        text = self.text(call.args[0])
        return f"cannot read PATH: {text}" if helper and text else text

    def _logged(self, args: list[ast.expr]) -> str | None:
        text = self.text(args[0])
        if text is None:
            return None
        places = iter(args[1:])
        return WARNING + re.sub(r"%[sd]", lambda _: self._place(next(places)), text).removeprefix(WARNING)

    def messages(self) -> Iterator[Message]:
        """Every message of the module, in order."""
        for node in ast.walk(self.tree):
            text = None
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                text = self._of_raise(node.exc)
            elif isinstance(node, ast.Return) and isinstance(node.value, ast.Call):  # a function that makes an error
                text = self._of_raise(node.value)
            elif isinstance(node, (ast.JoinedStr, ast.Constant)):
                whole = self.text(node)
                text = whole if whole and whole.startswith(WARNING) and len(whole) > len(WARNING) else None
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("log.warning"):
                text = self._logged(node.args)
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn":
                text = self.text(node.args[0])
                text = text and WARNING + text.removeprefix(WARNING)
            if text and any(len(piece) > 2 for piece in pieces(text)):
                words = " ".join(text.removeprefix(WARNING).split())
                yield Message(self.module, words, text.startswith(WARNING))


def messages() -> list[Message]:
    """Every message of the packages, by module; each text once."""
    found: dict[str, Message] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            if module.endswith("__main__"):
                continue
            for message in _Reader(module, ast.parse(path.read_text(encoding="utf-8"))).messages():
                found.setdefault(message.text, message)
    # The constant parts of a longer warning are warnings for ast too.
    whole = [text for text, message in found.items() if message.is_warning]
    return [
        message
        for text, message in found.items()
        if not (message.is_warning and any(text != other and other.startswith(text) for other in whole))
    ]
