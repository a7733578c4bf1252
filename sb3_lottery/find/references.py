"""Names of functions that another process can import: ``module:function``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lottery_core.errors import ConfigError
from lottery_core.files import first_line

_HOW = (
    "define it at the top level of a module of its own (my_models.py, say) and import it from there: from my_models "
    "import {name}"
)


def reference_to(function: Callable[..., Any], role: str) -> tuple[str, str]:
    """Return the name of a function, and the folder from which its module is imported.

    :param function: the function
    :param role: the function's name in messages, e.g. ``"make_model"``
    :returns: ``"module:function"``, and a folder for ``sys.path``
    :raises ConfigError: another process cannot import the function; the message says how to change that
    """
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    how = _HOW.format(name=role)
    if not module or not name or "<" in name:
        raise ConfigError(
            f"with jobs=, other processes must be able to import {role}, and it is a local function: {how}"
        )
    if module == "__main__":
        raise ConfigError(
            f"with jobs=, other processes must be able to import {role}, and it is defined in the script itself: {how}"
        )
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    file = getattr(sys.modules.get(module), "__file__", None)
    if found is not function or file is None:
        raise ConfigError(
            f"with jobs=, other processes must be able to import {role}, and {module}:{name} cannot be imported: {how}"
        )
    place = Path(file).resolve()
    depth = module.count(".") + (place.name == "__init__.py")
    return f"{module}:{name}", str(place.parents[depth])


def function_named(reference: str, option: str) -> Callable[..., Any]:
    """Import a function.

    :param reference: ``"module:function"``
    :param option: name of the option, for messages
    :raises ConfigError: the function cannot be imported
    """
    module, colon, name = reference.partition(":")
    if not colon or not module or not name:
        raise ConfigError(f"{option} '{reference}': the form is MODULE:FUNCTION, e.g. my_models:make_model")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{option} {reference}: {error}; run the command in the folder of {module.partition('.')[0]}.py"
        ) from error
    except AttributeError as error:
        raise ConfigError(f"{option} {reference}: {error}") from error
    except Exception as error:  # a module of the user's may raise anything
        raise ConfigError(f"{option} {reference}: {type(error).__name__}: {first_line(error)}") from error
    if not callable(found):
        raise ConfigError(f"{option} {reference} is not a function")
    return found  # type: ignore[no-any-return]


def worker_command(make_model: Any, callbacks: Any, folder: Path) -> list[str]:
    """Return the command line that trains a run.

    :param make_model: the user's function, see :func:`reference_to`
    :param callbacks: the user's function, or ``None``
    :param folder: the run's folder
    :raises ConfigError: another process cannot import a function
    """
    words = [sys.executable, "-m", "sb3_lottery.find.worker", str(folder)]
    for option, function in (("make_model", make_model), ("callbacks", callbacks)):
        if function is not None:
            name, place = reference_to(function, option)
            words += [f"--{option.replace('_', '-')}", name, "--path", place]
    return words
