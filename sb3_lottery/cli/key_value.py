"""Options of the form ``name:value name:value``."""

from __future__ import annotations

import argparse
import ast
from typing import Any

# As JSON and YAML write them, too: the word false would count as true.
_CONSTANTS = {"true": "True", "false": "False", "none": "None", "null": "None"}


class KeyValue(argparse.Action):
    """``name:value ...`` as a dict; values are Python literals or words."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        found = dict(getattr(namespace, self.dest, None) or {})
        for text in values:
            name, colon, value = text.partition(":")
            if not colon or not name.isidentifier():
                parser.error(f"{option}: '{text}' is not of the form name:value")
            try:
                found[name] = ast.literal_eval(_CONSTANTS.get(value.lower(), value))
            except (ValueError, SyntaxError, TypeError):
                found[name] = value
        setattr(namespace, self.dest, found)
