"""Ways to change a file: its bytes, its JSON, the blocks of its safetensors."""

from __future__ import annotations

import json
import random
import struct
from typing import Any

import zstandard

WORDS = [
    "",
    "x",
    "weight",
    "\ud800",
    "\x1b[2J",
    "\u00a0",
    "a" * 5000,
    "1",
    "float64",
    "float8",
    "../../x",
    "-",
    "winning",
]
NUMBERS = [0, 1, -1, 2, 7, 255, 2**16, 2**31, 2**32, 2**40, 2**63, -(2**63), 10**18, 10**30, 10**400, 0.5, -0.0, 1e300]
OTHERS: list[Any] = [None, True, False, float("nan"), float("inf"), -float("inf"), [], {}, [[]], {"a": {"b": []}}]


def flip(data: bytes, rng: random.Random) -> bytes:
    """Change, cut, repeat, move or insert a few bytes."""
    result = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        place = rng.randrange(len(result) + 1)
        how = rng.randrange(6)
        if how == 0 and place < len(result):
            result[place] ^= 1 << rng.randrange(8)
        elif how == 1 and place < len(result):
            result[place] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        elif how == 2:
            del result[place : place + rng.choice([1, 4, 100, len(result)])]
        elif how == 3:
            result[place:place] = rng.randbytes(rng.choice([1, 4, 30]))
        elif how == 4:
            size = rng.choice([4, 16, 200])
            other = rng.randrange(len(result) + 1)
            result[place : place + size] = result[other : other + size]
        else:
            result[place : place + 8] = struct.pack("<Q", rng.choice([0, 1, 255, 2**31, 2**32 - 1, 2**40, 2**63]))
    return bytes(result)


def value(rng: random.Random, deep: int = 2) -> Any:
    """A JSON value that nobody expects."""
    kind = rng.randrange(8)
    if kind < 3:
        return rng.choice(NUMBERS)
    if kind < 5:
        return rng.choice(WORDS)
    if kind < 7 or not deep:
        return rng.choice(OTHERS)
    if rng.random() < 0.1:
        nested: Any = 1
        for _ in range(rng.choice([60, 70, 300])):
            nested = [nested] if rng.random() < 0.5 else {"a": nested}
        return nested
    inner = [value(rng, deep - 1) for _ in range(rng.randrange(4))]
    return inner if rng.random() < 0.5 else {rng.choice(WORDS): each for each in inner}


def change_json(tree: Any, rng: random.Random) -> Any:
    """A copy of a JSON value with a few changes anywhere in it."""
    tree = json.loads(json.dumps(tree))
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        places = list(_places(tree))
        if not places:
            return value(rng)
        holder, key = rng.choice(places)
        how = rng.randrange(6)
        if how < 3:
            holder[key] = value(rng)
        elif how == 3:
            del holder[key]
        elif how == 4:
            other, name = rng.choice(places)
            holder[key] = json.loads(json.dumps(other[name])) if name in range_or_keys(other) else None
        elif isinstance(holder, list):
            holder.insert(key, json.loads(json.dumps(holder[key])) if rng.random() < 0.5 else value(rng))
        elif rng.random() < 0.5:
            holder[rng.choice(WORDS)] = value(rng)
        elif isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
            holder[key] = holder[key] + rng.choice([-1, 1, 0.5])
    return tree


def range_or_keys(holder: Any) -> Any:
    """What a list or an object can be indexed with."""
    return range(len(holder)) if isinstance(holder, list) else holder.keys()


def _places(tree: Any) -> Any:
    waiting = [tree]
    while waiting:
        holder = waiting.pop()
        if isinstance(holder, (list, dict)):
            keys = list(range_or_keys(holder))
            yield from ((holder, key) for key in keys)
            waiting.extend(holder[key] for key in keys)


def dump(tree: Any, rng: random.Random) -> str:
    """JSON text; rarely with a key that stands twice, or nested beyond any reader."""
    text = json.dumps(tree)
    if rng.random() < 0.02:
        return "[" * 50_000 + text
    if rng.random() < 0.03 and text.startswith("{") and len(text) > 2:
        return '{"pool": 3, "format": 1, ' + text[1:]
    return text


Blocks = dict[str, tuple[dict[str, Any], bytes]]


def split_safetensors(data: bytes) -> tuple[dict[str, str], Blocks]:
    """The metadata of a safetensors file, and each tensor's entry and bytes."""
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    metadata = header.pop("__metadata__", {})
    start = 8 + size
    blocks = {}
    for name, entry in header.items():
        first, last = entry.pop("data_offsets")
        blocks[name] = (entry, data[start + first : start + last])
    return metadata, blocks


def join_safetensors(metadata: Any, blocks: Blocks, rng: random.Random | None = None) -> bytes:
    """The bytes of a safetensors file; with ``rng`` its outer header is changed, too."""
    header: Any = {"__metadata__": metadata} if metadata is not None else {}
    body = b""
    for name, (entry, data) in blocks.items():
        header[name] = {**entry, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = dump(change_json(header, rng), rng) if rng else json.dumps(header)
    encoded = text.encode(errors="surrogatepass")
    return struct.pack("<Q", len(encoded)) + encoded + body


def change_blocks(blocks: Blocks, rng: random.Random) -> Blocks:
    """Change the bytes of a tensor, what its frame unpacks to, its shape or its name; or drop or add one."""
    result = dict(blocks)
    name = rng.choice(list(result))
    entry, data = result[name]
    how = rng.randrange(8)
    if how == 0:
        del result[name]
    elif how == 1:
        result[rng.choice([*WORDS, f"rest.{name}", f"values.{name}", "rest.", "mask"])] = result[name]
    elif how == 2:
        result[name] = ({**entry, "shape": [0, rng.choice([1, 2**20, 2**40])]}, b"")
    elif how == 3:
        result[name] = (entry, flip(data, rng)[: len(data)].ljust(len(data), b"\0"))
    elif how == 4:
        other = rng.choice(list(result))
        result[name], result[other] = result[other], result[name]
    else:
        frame = _change_frame(data, rng)
        result[name] = ({"dtype": "U8", "shape": [len(frame)]}, frame)
    return result


def _change_frame(data: bytes, rng: random.Random) -> bytes:
    try:
        plain = zstandard.ZstdDecompressor().decompress(data)
    except zstandard.ZstdError:
        plain = data
    how = rng.randrange(5)
    if how == 0:
        plain = bytes(rng.choice([0, 1, 10**5, 1 << 20]))
    elif how == 1:
        plain = bytes(len(plain))
    elif how == 2:
        plain = b"\xff" * len(plain)
    elif how == 3:
        plain = flip(plain, rng)
    frame = zstandard.ZstdCompressor().compress(plain)
    return frame + rng.randbytes(9) if how == 4 else frame
