"""The downloader of the recipes' data, against a server on this machine that misbehaves in the ways servers do."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TEXT = " ".join(random.Random(3).choices(["eins", "zwei", "drei", "vier"], k=40_000)).encode()
PACKED = gzip.compress(TEXT, mtime=0)


class Server(ThreadingHTTPServer):
    """Serves ``content``; each request takes the next of ``moods``, then all is well.

    Moods: ``error`` 500, ``busy`` 429, ``gone`` 404, ``short`` breaks off half-way, ``page`` a web page, ``whole``
    knows no ranges.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.moods, self.ranges = content, list[str](), list[str | None]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/words.gz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        mood = self.server.moods.pop(0) if self.server.moods else "well"
        if mood in ("error", "busy", "gone"):
            return self.send_error({"error": 500, "busy": 429, "gone": 404}[mood])
        content, kind = self.server.content, "application/gzip"
        if mood == "page":
            content, kind = b"<html>too many people want this file</html>", "text/html"
        begin = int(wanted[6:-1]) if wanted and mood != "whole" else 0
        if begin >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        body = content[begin:]
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if mood == "short" else body)
        return None

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(PACKED) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def listing(folder: Path, *urls: str, content: bytes = PACKED, **changes: Any) -> Path:
    entry = {
        "name": "words.gz",
        "urls": urls,
        "sha256": hashlib.sha256(content).hexdigest(),
        "md5": hashlib.md5(content).hexdigest(),
        "unpack": {"words.txt": ""},
        **changes,
    }
    path = folder / "list.json"
    path.write_text(json.dumps({"files": [{name: value for name, value in entry.items() if value is not None}]}))
    return path


def fetch(path: Path, folder: Path, *more: object) -> tuple[int, list[str]]:
    words = [sys.executable, ROOT / "recipes/data/fetch.py", path, folder, "--wait", "0.01", *more]
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=900, check=False)
    assert "Traceback" not in done.stderr
    assert not done.stdout
    return done.returncode, done.stderr.splitlines()


def refused(path: Path, folder: Path, *more: object, status: int = 2) -> str:
    code, lines = fetch(path, folder, *more)
    assert code == status, lines
    assert sum(line.startswith("fetch: error: ") for line in lines) == 1
    assert not (folder / "words.txt").exists()
    return lines[-1]


def test_verified_and_unpacked_and_not_fetched_twice(server: Server, tmp_path: Path) -> None:
    path = listing(tmp_path, server.url, size=len(PACKED))
    for _ in range(2):
        assert fetch(path, tmp_path / "data") == (0, ["fetch: words.gz: SHA256 AND MD5 as published"])
    assert (tmp_path / "data/words.txt").read_bytes() == TEXT
    assert len(server.ranges) == 1
    assert not list((tmp_path / "data").glob(".*"))
    kept = json.loads((tmp_path / "data/fetched.json").read_text())["words.gz"]
    assert (kept["sha256"], kept["verified"]) == (hashlib.sha256(PACKED).hexdigest(), ["sha256", "md5"])


def test_a_broken_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.moods = ["short", "error", "busy", "short"]
    code, lines = fetch(listing(tmp_path, server.url), tmp_path / "data")
    assert code == 0
    half = len(PACKED) // 2
    rest = half + (len(PACKED) - half) // 2
    assert server.ranges == [None, *[f"bytes={half}-"] * 3, f"bytes={rest}-"]
    assert any(f"the connection ended after {half:,} of {len(PACKED):,} bytes" in line for line in lines)
    assert any(f"going on after {rest:,} bytes" in line for line in lines)
    assert (tmp_path / "data/words.txt").read_bytes() == TEXT


def test_what_an_earlier_run_left_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    server.moods = ["short"]
    path = listing(tmp_path, server.url)
    line = refused(path, tmp_path / "data", "--tries", 1, status=1)
    assert f"put it into {tmp_path / 'data'}, or name the folder of a copy by --from" in line
    assert fetch(path, tmp_path / "data")[0] == 0
    assert server.ranges[1] == f"bytes={len(PACKED) // 2}-"


def test_a_server_without_ranges_and_a_part_of_something_else(server: Server, tmp_path: Path) -> None:
    for number, (part, mood) in enumerate(((PACKED[:100], "whole"), (PACKED, "well"), (PACKED + b"more", "well"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / ".words.gz.part").write_bytes(part)
        server.moods = [mood]
        code, lines = fetch(listing(tmp_path, server.url), folder)
        assert code == 0, lines
        assert (folder / "words.txt").read_bytes() == TEXT


def test_another_checksum_leaves_nothing_behind(server: Server, tmp_path: Path) -> None:
    for kind in ("sha256", "md5"):
        path = listing(tmp_path, server.url, **{kind: "0" * 32})
        line = refused(path, tmp_path / kind)
        assert f"words.gz: checksum mismatch: its {kind.upper()} is " in line
        assert f"not {'0' * 32} as published ({server.url})" in line
        assert not list((tmp_path / kind).iterdir())


def test_the_next_address_where_one_has_something_else(server: Server, tmp_path: Path) -> None:
    with Server(b"another file") as other:
        thread = threading.Thread(target=other.serve_forever, args=(0.01,))
        thread.start()
        for number, moods in enumerate((["well"], ["page"], ["gone"])):
            other.moods = moods
            code, lines = fetch(listing(tmp_path, other.url, server.url), tmp_path / str(number))
            assert code == 0, lines
        code, lines = fetch(listing(tmp_path, other.url, server.url, size=len(PACKED)), tmp_path / "size")
        assert code == 0, lines
        other.shutdown()
        thread.join()
    assert len(server.ranges) == 4


@pytest.mark.parametrize(("mood", "words"), [("page", "a web page came instead"), ("gone", "the server answers 404")])
def test_what_no_other_try_would_help(mood: str, words: str, server: Server, tmp_path: Path) -> None:
    server.moods = [mood] * 9
    assert words in refused(listing(tmp_path, server.url), tmp_path / "data", status=1)
    assert len(server.ranges) == 1


def test_no_network_is_one_line_with_the_files_and_where_to_put_them(tmp_path: Path) -> None:
    path = listing(tmp_path, "http://127.0.0.1:9/words.gz")
    line = refused(path, tmp_path / "data", "--tries", 2, status=1)
    assert line.startswith(
        "fetch: error: cannot download words.gz: Connection refused (http://127.0.0.1:9/words.gz); put"
    )
    (tmp_path / "data/words.gz").write_bytes(PACKED)
    assert fetch(path, tmp_path / "data")[0] == 0


def test_from_a_folder(tmp_path: Path) -> None:
    path, copy = listing(tmp_path, "http://127.0.0.1:9/words.gz"), tmp_path / "copy"
    assert f"--from {copy} is not a folder" in refused(path, tmp_path / "data", "--from", copy)
    copy.mkdir()
    assert f"{copy} has neither words.gz nor words.txt" in refused(path, tmp_path / "data", "--from", copy)
    (copy / "words.gz").write_bytes(PACKED[:-1])
    assert f"{copy / 'words.gz'}: checksum mismatch" in refused(path, tmp_path / "data", "--from", copy)
    (copy / "words.gz").write_bytes(PACKED)
    assert fetch(path, tmp_path / "data", "--from", copy)[0] == 0
    assert (tmp_path / "data/words.txt").read_bytes() == TEXT


def test_texts_without_their_archive_are_told_apart_later(tmp_path: Path) -> None:
    path, copy = listing(tmp_path, unpack={"words.txt": "deep/tokens"}), tmp_path / "copy"
    copy.mkdir()
    (copy / "tokens").write_bytes(TEXT)
    code, lines = fetch(path, tmp_path / "data", "--from", copy)
    assert (code, lines) == (
        0,
        [
            f"fetch: tokens: SHA256 {hashlib.sha256(TEXT).hexdigest()}; no checksum of it is published, so it was not "
            "verified against one"
        ],
    )
    assert (tmp_path / "data/words.txt").read_bytes() == TEXT
    (tmp_path / "data/words.txt").unlink()
    (copy / "tokens").write_bytes(TEXT[1:])
    assert "as when it was fetched first" in refused(path, tmp_path / "data", "--from", copy)


def test_without_a_published_checksum_the_first_one_counts(server: Server, tmp_path: Path) -> None:
    path = listing(tmp_path, server.url, sha256=None, md5=None)
    code, lines = fetch(path, tmp_path / "data")
    assert code == 0
    assert f"SHA256 {hashlib.sha256(PACKED).hexdigest()}; no checksum of it is published" in lines[-1]
    for name in ("words.gz", "words.txt"):
        (tmp_path / "data" / name).unlink()
    server.content = gzip.compress(b"something else", mtime=0)
    assert "as when it was fetched first" in refused(path, tmp_path / "data")


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("deep/words", TEXT)
        file.writestr("../outside", b"never")
    return out.getvalue()


def tarred() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as file:
        for name, text in (("../outside", b"never"), ("./deep/words", TEXT)):
            info = tarfile.TarInfo(name)
            info.size = len(text)
            file.addfile(info, io.BytesIO(text))
    return out.getvalue()


@pytest.mark.parametrize(("name", "content"), [("w.zip", zipped()), ("w.tar.gz", tarred())])
def test_archives_give_what_is_asked_for_and_nothing_else(name: str, content: bytes, tmp_path: Path) -> None:
    copy, data = tmp_path / "copy", tmp_path / "data"
    copy.mkdir()
    (copy / name).write_bytes(content)
    good = listing(tmp_path, content=content, name=name, unpack={"words.txt": "deep/words"})
    assert fetch(good, data, "--from", copy)[0] == 0
    assert (data / "words.txt").read_bytes() == TEXT
    assert {path.name for path in data.iterdir()} == {"words.txt", "fetched.json"}
    assert not (tmp_path / "outside").exists()
    (data / "words.txt").unlink()
    bad = listing(tmp_path, content=content, name=name, unpack={"words.txt": "deep/numbers"})
    assert "holds no deep/numbers" in refused(bad, data, "--from", copy)
    (copy / name).write_bytes(content[:60])
    broken = listing(tmp_path, content=content[:60], name=name, unpack={"words.txt": "deep/words"})
    assert "cannot unpack" in refused(broken, tmp_path / "new", "--from", copy)


@pytest.mark.parametrize("name", ["wikitext-2", "wmt14-en-de", "multi30k"])
def test_the_lists_are_whole(name: str) -> None:
    for entry in json.loads((ROOT / f"recipes/data/{name}.json").read_text())["files"]:
        assert all(url.startswith("https://") for url in entry["urls"])
        sizes = {"sha256": 64, "md5": 32}
        assert set(sizes) & set(entry), "a published checksum"
        assert all(len(bytes.fromhex(entry[kind])) * 2 == size for kind, size in sizes.items() if kind in entry)
        assert entry["unpack"]
