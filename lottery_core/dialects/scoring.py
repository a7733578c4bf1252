"""How the runs of an experiment are scored: settings that do not affect training, and that may change later."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from lottery_core.dialects.registry import named


def scoring_text(scoring: Mapping[str, Any]) -> str:
    """Format scoring settings as command line options in a fixed order, so that equal settings give equal texts.

    :param scoring: setting -> JSON value; settings that are ``None`` are left out
    """
    words = []
    for name, value in sorted(scoring.items()):
        if value is True:
            words.append(f"--{name.replace('_', '-')}")
        elif value is not None:
            values = value if isinstance(value, list | tuple) else [value]
            words += [f"--{name.replace('_', '-')}", *(shlex.quote(str(each)) for each in values)]
    return " ".join(words)


def parse_scoring(text: str) -> dict[str, Any]:
    """Return scoring settings as far as :func:`scoring_text` tells them: every value is text.

    :param text: the options
    :returns: setting -> value, several ones as a list, or true where the option has none; empty for damaged text
    """
    found: dict[str, list[str]] = {}
    try:
        words = shlex.split(text)
    except ValueError:
        return {}
    for word in words:
        if word.startswith("--"):
            found[word[2:].replace("-", "_")] = []
        elif found:
            found[next(reversed(found))].append(word)
    return {name: values[0] if len(values) == 1 else values or True for name, values in found.items()}


def split_scoring(framework: str, settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split the settings that a folder of 0.1 contains into those of training and those of scoring.

    :param framework: name of the framework's dialect
    :param settings: all settings
    :returns: the settings of training, and those of scoring; the latter are empty if the dialect has none
    """
    scoring = dict(named(framework).scoring(settings))
    return {name: value for name, value in settings.items() if name not in scoring}, scoring
