"""Downloads one file: broken off, it goes on where it stopped; its checksums decide. Standard library only."""

from __future__ import annotations

import hashlib
import http.client
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

CHECKSUMS = ("sha256", "md5")
# Some servers refuse urllib's own name.
AGENT = "Mozilla/5.0 (compatible; lottery-recipes)"
BLOCK = 1 << 20
TIMEOUT = 30  # seconds without a byte
SHOWN = 10.0  # seconds between two lines of progress
AGAIN = (408, 425, 429)  # of the answers 4xx those that are worth another try


class FetchError(Exception):
    """One line that a person can act on; ``status`` is the exit status."""

    status = 2


class Unreachable(FetchError):
    """The network, or what answers there."""

    status = 1


class Refused(Exception):
    """An address that another try would not help."""


class Broken(Exception):
    """A download that may go on at another try."""


def say(line: str) -> None:
    """One line for people."""
    print(f"fetch: {line}", file=sys.stderr, flush=True)


def digests(path: Path) -> dict[str, str]:
    """Both checksums of a file, in one pass."""
    sums = [hashlib.new(kind, usedforsecurity=False) for kind in CHECKSUMS]
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            for one in sums:
                one.update(block)
    return {one.name: one.hexdigest() for one in sums}


def difference(found: Mapping[str, str], entry: Mapping[str, Any], before: str | None) -> str:
    """How a file's checksums differ from those wanted; empty where they agree.

    :param entry: the file's entry in the list
    :param before: the SHA-256 that an earlier run kept, where there is one
    """
    for kind in CHECKSUMS:
        if kind in entry and found[kind] != entry[kind]:
            return f"its {kind.upper()} is {found[kind]}, not {entry[kind]} as published"
    if before is not None and found["sha256"] != before:
        return f"its SHA256 is {found['sha256']}, not {before} as when it was fetched first"
    return ""


def download(entry: Mapping[str, Any], part: Path, before: str | None, tries: int, wait: float) -> str:
    """Download a file of the list into ``part``, verified.

    :param entry: the file's entry in the list
    :param part: the file for it, with what was downloaded before, if anything
    :param before: the SHA-256 that an earlier run kept, where there is one
    :param tries: number of tries of each address
    :param wait: seconds before the second try, then twice as long each time
    :returns: the address that it is from
    :raises FetchError: what was downloaded has another checksum, or cannot be written
    :raises Unreachable: no address gives it
    """
    urls, reason, mismatch = list(entry["urls"]), "the list gives no address", ""
    for attempt in range(tries):
        if attempt and urls:
            say(f"{entry['name']}: {reason}; trying again in {wait * 2 ** (attempt - 1):g} s")
            time.sleep(wait * 2 ** (attempt - 1))
        for url in list(urls):
            try:
                _get(url, part, entry)
            except Refused as error:
                urls.remove(url)
                reason = f"{error} ({url})"
                continue
            except Broken as error:
                reason = f"{error} ({url})"
                continue
            mismatch = difference(digests(part), entry, before)
            if not mismatch:
                return str(url)
            part.unlink()  # nothing of it is to be gone on with
            urls.remove(url)
            reason = f"{mismatch} ({url})"
    if mismatch:
        raise FetchError(f"{entry['name']}: checksum mismatch: {reason}")
    raise Unreachable(reason)


def _get(url: str, part: Path, entry: Mapping[str, Any]) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = Request(url, headers={"User-Agent": AGENT, **({"Range": f"bytes={have}-"} if have else {})})
    try:
        with urlopen(request, timeout=TIMEOUT) as answer:
            if answer.headers.get_content_type() == "text/html":
                raise Refused("a web page came instead of the file")
            goes_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            have = have if goes_on else 0
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else None
            if total is not None and total != entry.get("size", total):
                raise Refused(f"the file there has {total:,} bytes, not {entry['size']:,}")
            if goes_on:
                say(f"{entry['name']}: going on after {have:,} bytes")
            got = have + _store(answer, part, goes_on, entry["name"], have, total)
    except HTTPError as error:
        if error.code == 416:  # nothing behind what is there: a whole file, which the checksum decides
            if error.headers.get("Content-Range", "").rpartition("/")[2] != str(have):
                part.unlink()
                raise Broken("what was there before is longer than the file") from error
            return
        refused = 400 <= error.code < 500 and error.code not in AGAIN
        raise (Refused if refused else Broken)(f"the server answers {error.code} {error.reason}") from error
    except URLError as error:
        raise Broken(str(getattr(error.reason, "strerror", None) or error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise Broken(str(error) or type(error).__name__) from error
    if total is not None and got < total:
        raise Broken(f"the connection ended after {got:,} of {total:,} bytes")


def _store(answer: Any, part: Path, goes_on: bool, name: str, have: int, total: int | None) -> int:
    got, shown = 0, time.monotonic()
    try:
        file = part.open("ab" if goes_on else "wb")
    except OSError as error:
        raise FetchError(f"cannot write {part}: {error.strerror}") from error
    with file:
        while block := answer.read(BLOCK):
            try:
                file.write(block)
                file.flush()
            except OSError as error:  # a full disk: no other try helps
                raise FetchError(f"cannot write {part}: {error.strerror}") from error
            got += len(block)
            if time.monotonic() - shown > SHOWN:
                shown = time.monotonic()
                say(f"{name}: {have + got:,}{f' of {total:,}' if total else ''} bytes")
    return got
