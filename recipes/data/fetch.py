"""Fetches the files of a list, verifies them, and unpacks the texts that a recipe needs. Standard library only.

    python recipes/data/fetch.py recipes/data/wikitext-2.json FOLDER [--from DIR]

A broken download goes on where it stopped. A file must have every checksum that its list gives; where the list gives
none, its SHA-256 is printed and kept in FOLDER/fetched.json, and later runs want the same one. ``--from DIR`` takes the
files, or the texts that are in them, from a folder instead of the network.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

from download import BLOCK, CHECKSUMS, FetchError, Unreachable, difference, digests, download, say

RECORD = "fetched.json"


def unpack(archive: Path, wanted: Mapping[str, str], folder: Path) -> None:
    """Write the wanted texts of an archive (zip, tar, or one gzipped text), each there whole or not at all.

    :param wanted: file in ``folder`` -> name in the archive (of a gzipped text: empty)
    :raises FetchError: one is missing, or the archive cannot be read
    """
    left = dict(wanted)
    try:
        for name, file in _members(archive):
            for target in [target for target, member in left.items() if member == name]:
                _write(file, folder / target)
                del left[target]
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FetchError(f"cannot unpack {archive}: {error}") from error
    if left:
        raise FetchError(f"{archive} holds no {', '.join(left.values())}")


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as outer:
            for name in outer.namelist():
                with outer.open(name) as file:
                    yield name, file
    elif archive.name.endswith((".tar.gz", ".tgz")):
        with tarfile.open(archive, "r|gz") as tar:  # in one pass; only regular files are read, by their own names
            for member in tar:
                inner = tar.extractfile(member) if member.isfile() else None
                if inner is not None:
                    yield member.name.removeprefix("./"), inner
    else:
        with gzip.open(archive, "rb") as text:
            yield "", cast("IO[bytes]", text)


def _write(file: IO[bytes], target: Path) -> None:
    part = target.with_name(f".{target.name}.part")
    with part.open("wb") as out:
        shutil.copyfileobj(file, out, BLOCK)
    os.replace(part, target)


class Fetcher:
    """Does a list.

    :param listing: the list, a JSON file
    :param folder: folder for the texts, made if missing
    :param source: a folder that has the files already
    :param tries: number of tries of each address
    :param wait: seconds before the second try
    """

    def __init__(self, listing: Path, folder: Path, source: Path | None, tries: int, wait: float) -> None:
        self.folder, self.source, self.tries, self.wait = folder, source, tries, wait
        self.entries: list[dict[str, Any]] = json.loads(listing.read_text(encoding="utf-8"))["files"]
        if source is not None and not source.is_dir():
            raise FetchError(f"--from {source} is not a folder")
        folder.mkdir(parents=True, exist_ok=True)
        record = folder / RECORD
        self.record: dict[str, Any] = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}

    def all(self) -> None:
        """Fetch, verify and unpack every file.

        :raises FetchError: a file is wrong, or missing in ``--from``
        :raises Unreachable: not all could be downloaded
        """
        failed: dict[str, FetchError] = {}
        for entry in self.entries:
            try:
                self._one(entry)
            except Unreachable as error:
                failed[entry["name"]] = error
        if failed:
            names = ", ".join(failed)
            raise Unreachable(
                f"cannot download {names}: {next(iter(failed.values()))}; put {'it' if len(failed) == 1 else 'them'} "
                f"into {self.folder}, or name the folder of a copy by --from"
            )

    def _one(self, entry: Mapping[str, Any]) -> None:
        name = entry["name"]
        place = (self.source or self.folder) / name
        came_from = str(place)
        if not place.exists() and self.source is not None:
            self._texts(entry)
            return
        if not place.exists():
            part = self.folder / f".{name}.part"
            came_from = download(entry, part, self._before(name), self.tries, self.wait)
            os.replace(part, place)
        found = digests(place)
        wrong = difference(found, entry, self._before(name))
        if wrong:
            raise FetchError(f"{place}: checksum mismatch: {wrong}")
        published = [kind for kind in CHECKSUMS if kind in entry]
        if published:
            say(f"{name}: {' and '.join(published).upper()} as published")
        else:
            self._unpublished(name, found["sha256"])
        unpack(place, entry["unpack"], self.folder)
        self._note(name, found["sha256"], came_from, published)

    def _texts(self, entry: Mapping[str, Any]) -> None:
        # Without the archive, the texts that are in it will do: under their own names, or where they lie in it.
        assert self.source is not None
        for target, member in entry["unpack"].items():
            names = [member, Path(member).name] if member else [target]
            path = next((self.source / name for name in names if (self.source / name).is_file()), None)
            if path is None:
                raise FetchError(f"{self.source} has neither {entry['name']} nor {names[-1]}")
            sha256 = digests(path)["sha256"]
            wrong = difference({"sha256": sha256}, {}, self._before(target))
            if wrong:
                raise FetchError(f"{path}: checksum mismatch: {wrong}")
            self._unpublished(path.name, sha256)
            with path.open("rb") as file:
                _write(file, self.folder / target)
            self._note(target, sha256, str(path), [])

    def _before(self, name: str) -> str | None:
        return str(self.record[name]["sha256"]) if name in self.record else None

    def _unpublished(self, name: str, sha256: str) -> None:
        say(f"{name}: SHA256 {sha256}; no checksum of it is published, so it was not verified against one")

    def _note(self, name: str, sha256: str, came_from: str, published: list[str]) -> None:
        self.record[name] = {"sha256": sha256, "from": came_from, "verified": published}
        part = self.folder / f".{RECORD}.part"
        part.write_text(json.dumps(self.record, indent=2) + "\n", encoding="utf-8")
        os.replace(part, self.folder / RECORD)


def main() -> int:
    """The command.

    :returns: exit status: 0, 1 where the network fails, 2 for a wrong or missing file
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", type=Path, help="list of files, their addresses and checksums")
    parser.add_argument("folder", type=Path, help="folder for the texts")
    parser.add_argument("--from", dest="source", type=Path, metavar="DIR", help="folder that has the files already")
    parser.add_argument("--tries", type=int, default=5, help="number of tries of each address (5)")
    parser.add_argument("--wait", type=float, default=1.0, help="seconds before the second try, then doubled (1)")
    args = parser.parse_args()
    try:
        Fetcher(args.list, args.folder, args.source, args.tries, args.wait).all()
    except FetchError as error:
        print(f"fetch: error: {error}", file=sys.stderr)
        return error.status
    except (OSError, ValueError, KeyError) as error:
        print(f"fetch: error: {type(error).__name__}: {error}", file=sys.stderr)
        return FetchError.status
    except KeyboardInterrupt:
        print("fetch: stopped; rerun the same command to resume", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
