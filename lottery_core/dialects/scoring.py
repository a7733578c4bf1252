"""How the trainings of an experiment are scored: settings that no training depends on, and that may change later."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from lottery_core.dialects.registry import named


def scoring_text(scoring: Mapping[str, Any]) -> str:
    """Scoring settings as options of a command line, in one order: equal settings have equal texts.

    :param scoring: setting -> JSON value; what is ``None`` is left out
    """
    words = []
    for name, value in sorted(scoring.items()):
        if value is True:
            words.append(f"--{name.replace('_', '-')}")
        elif value is not None:
            values = value if isinstance(value, list | tuple) else [value]
            words += [f"--{name.replace('_', '-')}", *(shlex.quote(str(each)) for each in values)]
    return " ".join(words)


def split_scoring(framework: str, settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divide the settings that a folder of 0.1 keeps into those of its trainings and those of their scoring.

    :param framework: name of the framework's dialect
    :param settings: all settings
    :returns: the settings of the trainings, and of the scoring; the latter is empty where the dialect has none
    """
    scoring = dict(named(framework).scoring(settings))
    return {name: value for name, value in settings.items() if name not in scoring}, scoring
