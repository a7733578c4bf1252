"""Reject small files that would take gigabytes of memory or endless time, before torch loads them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lottery_core.checkpoints.pickles import HostileError, PickleWalk
from lottery_core.errors import CheckpointError
from lottery_core.files import printable

# Bytes that a zip may unpack to: per byte of the file, and in any case. torch itself does not compress.
_MOST_PER_BYTE, _ALWAYS = 64, 1 << 26
_LONGEST_PICKLE = 1 << 20  # bytes; for zips that are smaller than that
_ZIP = b"PK\x03\x04"  # the first bytes by which torch recognises zips
_OLD_PICKLES = 5  # in torch's files before zip: magic number, version, system, content, keys; the weights follow


def check_memory(file: Path | io.BytesIO, name: str) -> None:
    """Check that loading a torch file takes no more memory than the size of the file can account for.

    :param file: the file, at its start
    :param name: the file, for messages
    :raises CheckpointError: it would take more, or the file is a damaged zip
    """
    held = len(file.getbuffer()) if isinstance(file, io.BytesIO) else file.stat().st_size
    try:
        for stream in _pickles(file, held):
            walk = PickleWalk(stream, held)
            for _ in range(_OLD_PICKLES):
                if not walk.walk():
                    break
    except HostileError as error:
        raise CheckpointError(f"cannot read {name}: {printable(error)}") from error
    except Exception as error:  # a damaged file may raise anything
        raise CheckpointError(f"cannot read {name}: it is damaged ({printable(error)})") from error
    finally:
        if isinstance(file, io.BytesIO):
            file.seek(0)


def _pickles(file: Path | io.BytesIO, held: int) -> Iterator[IO[bytes]]:
    # The pickles of a zip are members; those of torch's older files come before the weights, and a zip may follow.
    with open(file, "rb") if isinstance(file, Path) else io.BytesIO(file.getbuffer()) as stream:
        is_torch_zip = stream.read(len(_ZIP)) == _ZIP
        if is_torch_zip or zipfile.is_zipfile(stream):
            yield from _members(stream, held)
        if not is_torch_zip:
            stream.seek(0)
            yield stream


def _members(stream: IO[bytes], held: int) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        size = sum(member.file_size for member in members)
        if size > max(_ALWAYS, _MOST_PER_BYTE * held):
            raise HostileError(f"it would take {size} bytes, far more than it has")
        for member in members:
            if member.filename.endswith("data.pkl"):
                if member.file_size > max(_LONGEST_PICKLE, held):
                    raise HostileError(f"it would take {member.file_size} bytes, far more than it has")
                yield io.BytesIO(archive.read(member))
