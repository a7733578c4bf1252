"""Options of the form ``name:value name:value``."""

from __future__ import annotations

import argparse
import ast
from typing import Any

# Constants as JSON and YAML write them: as a string, "false" would count as true.
_CONSTANTS = {"true": "True", "false": "False", "none": "None", "null": "None"}


class KeyValue(argparse.Action):
    """An argparse action that collects ``name:value ...`` in a dict; a value is a Python literal, else a string."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        parsed = dict(getattr(namespace, self.dest, None) or {})
        for text in values:
            name, colon, value = text.partition(":")
            if not colon or not name.isidentifier():
                parser.error(f"{option}: '{text}' is not of the form name:value")
            try:
                parsed[name] = ast.literal_eval(_CONSTANTS.get(value.lower(), value))
            except (ValueError, SyntaxError, TypeError):
                parsed[name] = value
        setattr(namespace, self.dest, parsed)
