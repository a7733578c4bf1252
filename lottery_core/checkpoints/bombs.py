"""Small files that would take gigabytes: found before torch loads them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lottery_core.errors import CheckpointError
from lottery_core.files import printable

# Bytes that a zip may unpack to, for each byte that it has, or in any case: torch itself does not compress.
_MOST_PER_BYTE, _ALWAYS = 64, 1 << 26
# torch lets a pickle call bytearray(10 ** 10); weights have no use for it.
_FILLED = b"builtin", b"\nbytearray\n"
_CHUNK = 1 << 20


def check_memory(file: Path | io.BytesIO, name: str) -> None:
    """Check that loading a torch file takes no more memory than its bytes can account for.

    :param file: the file, at its start
    :param name: the file, for messages
    :raises CheckpointError: it would take more, or is a damaged zip
    """
    try:
        suspicious = any(_asks_for_filled(stream) for stream in _pickles(file, name))
    except CheckpointError:
        raise
    except Exception as error:  # a damaged file can raise anything
        raise CheckpointError(f"cannot read {name}: it is damaged ({printable(error)})") from error
    finally:
        if isinstance(file, io.BytesIO):
            file.seek(0)
    if suspicious:
        raise CheckpointError(f"cannot read {name}: it asks to unpickle bytearray")


def _pickles(file: Path | io.BytesIO, name: str) -> Iterator[IO[bytes]]:
    # The pickles of a zip are members; those of torch's older files stand somewhere before the weights.
    if not zipfile.is_zipfile(file):
        if isinstance(file, io.BytesIO):
            file.seek(0)
            yield file
        else:
            with open(file, "rb") as stream:
                yield stream
        return
    held = len(file.getbuffer()) if isinstance(file, io.BytesIO) else file.stat().st_size
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        size = sum(member.file_size for member in members)
        if size > max(_ALWAYS, _MOST_PER_BYTE * held):
            raise CheckpointError(f"cannot read {name}: it would take {size} bytes, far more than it has")
        for member in members:
            if member.filename.endswith("data.pkl"):
                with archive.open(member) as stream:
                    yield stream


def _asks_for_filled(stream: IO[bytes]) -> bool:
    before = b""
    while chunk := stream.read(_CHUNK):
        window = before + chunk
        if _FILLED[1] in window and _FILLED[0] in window:
            return True
        before = window[-64:]
    return False
