"""Writes the pages of docs/reference that follow from the code: the options of each command, and the Python names.

python recipes/upkeep/reference.py            # write them
python recipes/upkeep/reference.py --check    # exit status 1 if one is out of date
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from message_topics import TOPICS
from messages import messages, topic_of

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs/reference"
_NOTE = "<!-- Written by recipes/upkeep/reference.py from the code: change it there. -->"
# A command and the face that has its parsers.
COMMANDS = {
    "lottery": "lottery_core.cli",
    "sb3-lottery": "sb3_lottery.cli",
    "fairseq-lottery": "fairseq_lottery.launcher",
}
# The faces whose names are for others, and for whom.
FACES = {
    "lottery_core": "For any torch model.",
    "sb3_lottery": "For Stable-Baselines3.",
    "fairseq_lottery": "For fairseq.",
}
FRAMEWORK = ROOT / "docs/add_a_framework.md"  # whose imports are for a framework of your own


def _entry(formatter: argparse.HelpFormatter, action: argparse.Action) -> list[str]:
    metavar = action.metavar or action.dest
    names = action.option_strings or [metavar if isinstance(metavar, str) else " ".join(metavar)]
    arguments = ""
    if action.option_strings and action.nargs != 0:
        arguments = " " + formatter._format_args(action, action.dest.upper())
    first, *rest = (formatter._expand_help(action) if action.help else "").splitlines() or [""]
    lines = [f"- `{', '.join(names)}{arguments}`: {_plain(first)}"]
    for line in rest:
        word, _, meaning = line.strip().partition(": ")
        lines.append(f"    - `{word}`: {_plain(meaning)}")
    return lines


def _plain(text: str) -> str:
    # Patterns and environment names are not Markdown.
    return re.sub(r"([*_<>\[\]])", r"\\\1", text)


def _usage(parser: argparse.ArgumentParser, formatter: argparse.HelpFormatter) -> str:
    # Short, and the same under every version of Python: what must be given.
    def shown(action: argparse.Action) -> str:
        arguments = "" if action.nargs == 0 else formatter._format_args(action, action.dest.upper())
        return " ".join([*action.option_strings[-1:], *([arguments] if arguments else [])])

    commands = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    given = [
        action
        for action in parser._actions
        if action not in commands and (action.required or not action.option_strings)
    ]
    either = [group._group_actions for group in parser._mutually_exclusive_groups if group.required]
    words = [shown(action) for action in sorted(given, key=lambda action: bool(action.option_strings))]
    words += [f"({' | '.join(map(shown, group))})" for group in either]
    return " ".join([parser.prog, *words, *("COMMAND" for _ in commands), "[option ...]"])


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The section of a parser, and of its subcommands.

    :param parser: the parser of a command
    """
    formatter = parser._get_formatter()
    yield from (f"## {parser.prog}", "", parser.description or "", "", "```text")
    yield from (parser.usage or _usage(parser, formatter), "```", "")
    children: dict[str, argparse.ArgumentParser] = {}
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.dest != "help"]
        for action in actions:
            if isinstance(action, argparse._SubParsersAction):
                helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
                children |= action.choices
                yield from (f"### {parser.prog}: commands", "")
                yield from (f"- [`{name}`](#{parser.prog}-{name}): {text}" for name, text in helps.items())
                yield ""
        actions = [action for action in actions if not isinstance(action, argparse._SubParsersAction)]
        if actions:
            yield from (f"### {parser.prog}: {(group.title or '').removeprefix('positional ')}", "")
            for action in actions:
                yield from _entry(formatter, action)
            yield ""
    for name, child in children.items():
        child.description = child.description or _sentence(helps[name])
        yield from options(child)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def page_of_options(command: str, face: str) -> str:
    """The page of a command.

    :param command: the command's name
    :param face: the module whose ``parsers()`` are the command's
    """
    parsers: Mapping[str, argparse.ArgumentParser] = importlib.import_module(face).parsers()
    lines = [f"# Options of {command}", "", _NOTE, ""]
    lines += ["Defaults stand in brackets.", ""]
    for parser in parsers.values():
        lines += options(parser)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _signature(name: str, value: Any) -> str:
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return name
    plain = [
        each.replace(annotation=each.empty, default=_short(each.default)) for each in signature.parameters.values()
    ]
    return f"{name}{signature.replace(parameters=plain, return_annotation=signature.empty)}"


class _Left:
    def __repr__(self) -> str:
        return "..."


def _short(default: Any) -> Any:
    # Objects, and factories of dataclasses, say nothing in a signature.
    plain = default is None or default is inspect.Parameter.empty or isinstance(default, (bool, int, float, str, tuple))
    return default if plain else _Left()


def _name(face: str, name: str, value: Any, title: str = "") -> Iterator[str]:
    yield from (f"### {title or name}", "")
    if inspect.isclass(value) or inspect.isroutine(value):
        summary = (inspect.getdoc(value) or "").splitlines()[0]
        summary = re.sub(r":\w+:`[~.]?([^`]+)`", r"`\1`", summary).replace("``", "`")
        yield from (f"<!-- api: {face}.{name} -->", f"`{_signature(name, value)}`", "", summary, "<!-- end -->", "")
    elif isinstance(value, Mapping):
        yield from (f"A mapping with the keys {', '.join(f'`{key}`' for key in value)}.", "")
    elif inspect.ismodule(value):
        yield from ((inspect.getdoc(value) or "").splitlines()[0], "")
    else:
        yield from (f"`{value!r}`", "")


def _names_of_a_framework() -> list[tuple[str, str]]:
    # Face and name of everything that the page's code imports from the core, and what its plugin is made of.
    found = {("lottery_core.experiments", "Framework"), ("lottery_core.dialects", "Dialect")}
    for block in re.findall(r"^```python\n(.*?)^```", FRAMEWORK.read_text(), re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            face = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
            if face.startswith("lottery_core.") and not face.startswith("lottery_core.dialects."):
                found |= {(face, alias.name) for alias in node.names}
    return sorted(found)


def page_of_names() -> str:
    """The page of the Python names."""
    lines = ["# Python reference", "", _NOTE, ""]
    lines += [
        "These names are for your own programs. Parameters, shapes and errors are in the documentation of each,",
        "`help(prune)`, which the site shows here.",
        "",
    ]
    shown: set[str] = set()
    for face, whom in FACES.items():
        module = importlib.import_module(face)
        lines += [f"## {face}", "", whom, ""]
        for name in module.__all__:
            if not name.startswith("__"):
                lines += _name(face, name, getattr(module, name))
                shown.add(name)
    lines += ["## A framework of your own", "", "What the code of [that page](../add_a_framework.md) uses.", ""]
    for face, name in _names_of_a_framework():
        if name not in shown:
            lines += _name(face, name, getattr(importlib.import_module(face), name), f"{face}.{name}")
            shown.add(name)
    return "\n".join(lines).rstrip() + "\n"


def page_of_messages() -> str:
    """The page of the messages."""
    lines = ["# Every message", "", _NOTE, ""]
    lines += [
        "What the commands and functions say about a mistake, by topic. Words in capitals stand for what differs. An",
        "error is one line, and a command that prints one exits with status 2, or 1 if a training failed.",
        "[Troubleshooting](../troubleshooting.md) has the warnings, and the questions behind these.",
        "",
    ]
    found = [message for message in messages() if not message.is_warning]
    for topic in TOPICS:
        own = sorted({message.text for message in found if topic_of(message) == topic})
        if own:
            lines += [f"## {topic.title}", "", topic.cause, "", *(f"- {_code(text)}" for text in own), ""]
    return "\n".join(lines).rstrip() + "\n"


def _code(text: str) -> str:
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def pages() -> dict[str, str]:
    """Name -> content of each page that follows from the code."""
    return {
        **{f"{command}.md": page_of_options(command, face) for command, face in COMMANDS.items()},
        "python.md": page_of_names(),
        "messages.md": page_of_messages(),
    }


def main() -> int:
    """Write or check the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    os.environ["COLUMNS"] = "100"  # of usage lines
    stale = [
        name for name, text in pages().items() if not (FOLDER / name).exists() or (FOLDER / name).read_text() != text
    ]
    if check:
        for name in stale:
            print(f"docs/reference/{name} is out of date: python recipes/upkeep/reference.py", file=sys.stderr)
        return int(bool(stale))
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in stale:
        (FOLDER / name).write_text(pages()[name])
        print(f"docs/reference/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
