"""Files that run code when they are loaded: who wrote them, and what a zip of SB3 would unpickle."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lottery_core.errors import ConfigError
from lottery_core.files import parse_json, printable, unsigned, why_not_regular

_MOST_BYTES = 1 << 24  # of the member that lists the objects; SB3 writes some kilobytes
_MOST_NAMES = 4


def require_own(place: Path, files: Sequence[Path], what_runs: Sequence[str]) -> None:
    """Check that this user's own commands wrote the files that run code when a folder or a file is loaded.

    :param place: the folder, or the file itself
    :param files: the files that run code
    :param what_runs: descriptions of the code that would run
    :raises ConfigError: a file is not signed by this user, or belongs to another user; the message has the descriptions
    """
    foreign = unsigned(files)
    if foreign:
        names = ", ".join("it" if path == place else str(path.relative_to(place)) for path in foreign)
        raise ConfigError(
            f"{printable(str(place))} can run code, and your own commands on this machine did not write {names}: "
            f"{'; '.join(what_runs)}. If you trust whoever made it, add --trust"
        )


def what_it_unpickles(path: Path) -> str:
    """Describe the objects that loading a zip would unpickle: how many, and the names of the first.

    :param path: zip that ``model.save`` wrote; anything else is described as having none
    """
    objects = _pickled(path)
    shown = ", ".join(objects[:_MOST_NAMES]) + (", ..." if len(objects) > _MOST_NAMES else "")
    listed = f" ({printable(shown, 120)})" if objects else ""
    return f"{printable(path.name, 80)} has {len(objects)} pickled objects{listed}"


def readable_settings(path: Path) -> dict[str, Any]:
    """Read the settings of a model as far as they can be read without unpickling them: ``save_util.py:data_to_json``.

    :param path: zip that ``model.save`` wrote
    :returns: name -> JSON value; of a pickled object its type and the texts of its attributes. Empty if there are none
    """
    if why_not_regular(path) is not None:
        return {}
    try:
        with zipfile.ZipFile(path) as archive, archive.open("data") as member:
            data = parse_json(member.read(_MOST_BYTES).decode())
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError):
        return {}
    return data if isinstance(data, dict) else {}


def _pickled(path: Path) -> list[str]:
    data = readable_settings(path)
    return [str(name) for name, value in data.items() if isinstance(value, dict) and ":serialized:" in value]
