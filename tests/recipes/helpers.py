"""Recipes as processes, and what their ``--dry-run`` says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests import preloaded

ROOT = Path(__file__).parents[2]
RECIPES = (
    "wikitext2_lstm",
    "wmt14_transformer_base",
    "wmt14_transformer_big",
    "classic_control",
    "atari",
    "multi30k_transformer",
)


def environment(folder: Path) -> dict[str, str]:
    """The environment of a recipe whose commands start from parents, see :mod:`tests.preloaded`.

    :param folder: where scripts are written
    """
    served = preloaded.scripts(folder / "venv/bin", python=[sys.executable])
    return {**os.environ, **served, "LOTTERY_VENV": str(folder / "venv")}


def run(name: str, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a recipe with no settings in the environment but those given."""
    kept = {key: value for key, value in os.environ.items() if key in ("HOME", "PATH", "TMPDIR", "LANG")}
    return subprocess.run(
        ["bash", str(ROOT / f"recipes/{name}.sh"), *map(str, words)],
        capture_output=True,
        text=True,
        env={**kept, **environment},
        timeout=900,
        check=False,
    )


@dataclass(frozen=True)
class Plan:
    """What a recipe would do: its settings, and the commands of each stage."""

    settings: dict[str, str]
    stages: dict[str, list[list[str]]]

    def chain(self, stage: str = "rounds") -> tuple[list[str], list[str]]:
        """The words of the one command of a stage, before and behind its ``--``."""
        (command,) = self.stages[stage]
        place = command.index("--") if "--" in command else len(command)
        return command[:place], command[place + 1 :]


def plans(name: str, *words: object, **environment: str) -> list[Plan]:
    """The plans of ``--dry-run``, one a game where there are several."""
    done = run(name, "--dry-run", *words, **environment)
    assert done.returncode == 0, done.stderr
    found = []
    for part in re.split(r"^settings\n", done.stdout, flags=re.M)[1:]:
        head, *stages = re.split(r"^stage (\w+)\n", part, flags=re.M)
        settings = dict(shlex.split(line)[0].split("=", 1) for line in head.splitlines())
        commands = {
            stage: [shlex.split(line) for line in text.splitlines()]
            for stage, text in zip(stages[::2], stages[1::2], strict=True)
        }
        found.append(Plan(settings, commands))
    return found


def plan(name: str, *words: object, **environment: str) -> Plan:
    """The plan of a recipe of one experiment."""
    (found,) = plans(name, *words, **environment)
    return found


def options(words: list[str]) -> dict[str, list[str]]:
    """option -> its values, on a command line; what stands before the first option is ``""``'s."""
    found: dict[str, list[str]] = {"": []}
    last = ""
    for word in words:
        if re.fullmatch(r"--[a-z][a-z0-9-]*", word):
            last = word
            found[last] = []
        else:
            found[last].append(word)
    return found
