"""Signatures that mark a file as written by this user's own commands, for files that run code when they are read.

A signature is the HMAC-SHA256 of a file's name and content under a random key of the user, which is made on first use
in ``$XDG_STATE_HOME/lottery``, else in ``~/.local/state/lottery``. The signatures of the files in a folder are kept in
its ``signatures.json``. Files from somebody else, or from a machine with another key, have no valid signature.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from lottery_core.files.atomic import read_object, write_json
from lottery_core.files.regular import why_not_regular

SIGNATURES = "signatures.json"
_BYTES = 32


def sign(path: Path) -> None:
    """Sign a file that this user's own command wrote; do nothing if no key can be stored.

    :param path: the completely written file
    :raises WriteError: the folder cannot be written
    """
    key = _key(make=True)
    if key is not None:
        known = read_object(path.parent / SIGNATURES)
        write_json(path.parent / SIGNATURES, {**known, path.name: _signature(key, path)})


def unsigned(paths: Iterable[Path]) -> list[Path]:
    """Return the files that this user's own commands did not write, or that have changed since.

    Files that another user owns are among them even if the signature is valid: the owner could change them while they
    are read.

    :param paths: files to check; missing files are left out
    """
    key = _key(make=False)
    return [path for path in paths if path.exists() and not _is_own(key, path)]


def _is_own(key: bytes | None, path: Path) -> bool:
    if key is None or why_not_regular(path) is not None or path.stat().st_uid != os.geteuid():
        return False
    known = str(read_object(path.parent / SIGNATURES).get(path.name))
    return hmac.compare_digest(known.encode(errors="replace"), _signature(key, path).encode())


def _signature(key: bytes, path: Path) -> str:
    signature = hmac.new(key, os.fsencode(path.name) + b"\0", "sha256")
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            signature.update(block)
    return signature.hexdigest()


def _key(make: bool) -> bytes | None:
    try:
        folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "lottery"
        path = folder / "key"
        if make and not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _write_key(path)
        own = path.stat()
        key = path.read_bytes()
    except (OSError, RuntimeError):  # RuntimeError: there is no home folder
        return None
    return key if len(key) == _BYTES and own.st_uid == os.geteuid() and not own.st_mode & 0o077 else None


def _write_key(path: Path) -> None:
    # If two processes make the first key at the same time, the first one is kept.
    part = path.with_name(f".key.{os.getpid()}.part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with open(handle, "wb") as file:
            file.write(secrets.token_bytes(_BYTES))
        try:
            os.link(part, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
