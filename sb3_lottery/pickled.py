"""The pickled objects in the zip of an SB3 model, without loading them."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from lottery_core.files import parse_json, printable, why_not_regular

_MOST_BYTES = 1 << 24  # of the member that lists the objects; SB3 writes some kilobytes
_MOST_NAMES = 4


def what_it_unpickles(path: Path) -> str:
    """Describe the objects that loading a zip would unpickle: how many, and the names of the first.

    :param path: zip that ``model.save`` wrote; anything else is described as having none
    """
    objects = _pickled(path)
    shown = ", ".join(objects[:_MOST_NAMES]) + (", ..." if len(objects) > _MOST_NAMES else "")
    listed = f" ({printable(shown, 120)})" if objects else ""
    return f"{printable(path.name, 80)} has {len(objects)} pickled objects{listed}"


def _pickled(path: Path) -> list[str]:
    # The entries of a zip of SB3 that are pickled: save_util.py:data_to_json.
    if why_not_regular(path) is not None:
        return []
    try:
        with zipfile.ZipFile(path) as archive, archive.open("data") as member:
            data = parse_json(member.read(_MOST_BYTES).decode())
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError):
        return []
    if not isinstance(data, dict):
        return []
    return [str(name) for name, value in data.items() if isinstance(value, dict) and ":serialized:" in value]
