"""Ways to change a torch file: the operations of its pickles, the members of its zip, the sizes in it."""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import random
import struct
import zipfile

from tests.lottery_core.fuzzing.mutations import change_json, dump, flip

_CALLS = [
    b"cbuiltins\nbytearray\n(J\xff\xff\xff\x7ftR",
    b"c_codecs\nencode\n(X\x05\x00\x00\x00aaaaaX\x03\x00\x00\x00hextR",
    b"ccollections\nOrderedDict\n)R",
    b"ctorch\nFloatTensor\n(J\xff\xff\xff\x0ftR",
    b"ctorch\nSize\n(J\xff\xff\xff\x7fK\x02ttR",
    b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(J\xff\xff\xff\x7ftC\x01btR",
    b"cposix\nsystem\n(X\x02\x00\x00\x00idtR",
    b"cargparse\nNamespace\n)\x81}X\x01\x00\x00\x00aK\x01sb",
]
_CODES = [
    b"(",
    b")",
    b"]",
    b"}",
    b"N",
    b"\x88",
    b"K\x07",
    b"0",
    b"2",
    b"t",
    b"\x85",
    b"\x86",
    b"a",
    b"e",
    b"s",
    b"u",
    b"b",
]
_CODES += [
    b"R",
    b"\x81",
    b"Q",
    b"h\x00",
    b"h\x05",
    b"q\x05",
    b"X\x01\x00\x00\x00a",
    b"J\xff\xff\xff\x7f",
    b"G\x7f\xf0" + bytes(6),
]


def change_pickle(data: bytes, rng: random.Random) -> bytes:
    """Change the operations of a pickle: numbers, order, repetition, and calls that are put in."""
    try:
        starts = [place for _, _, place in pickletools.genops(data) if place is not None]
    except Exception:
        return flip(data, rng)
    result = data
    for _ in range(rng.choice([1, 1, 2, 4])):
        starts = [place for place in starts if place < len(result)] or [0]
        first = rng.choice(starts)
        later = [place for place in starts if place > first]
        end = later[0] if later else len(result)
        how = rng.randrange(7)
        code = result[first : first + 1]
        if how == 0 and code in (pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1):
            result = result[:first] + b"J" + struct.pack("<i", rng.choice([-1, 0, 1, 2**20, 2**31 - 1])) + result[end:]
        elif how < 2:
            result = result[:first] + result[end:]
        elif how == 2:
            result = result[:first] + rng.choice(_CODES) * rng.choice([1, 1, 2, 100]) + result[first:]
        elif how == 3:
            result = result[:first] + rng.choice(_CALLS) + result[first:]
        elif how == 4:
            other = rng.choice(starts)
            result = result[:first] + result[other : other + end - first] + result[end:]
        elif how == 5:
            result = result[:end] + result[first:end] * rng.choice([1, 2, 50]) + result[end:]
        else:
            words = [b"FloatStorage", b"LongStorage", b"ByteStorage", b"ComplexFloatStorage", b"BFloat16Storage"]
            result = result.replace(rng.choice(words), rng.choice(words))
    return result


def change_zip(data: bytes, rng: random.Random) -> bytes:
    """Change the members of a zip, or the sizes and offsets that it states; a zip in it is changed inside."""
    if rng.random() < 0.25:
        return _change_sizes(data, rng)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    number = rng.randrange(len(members))
    pickles = [index for index, (name, _) in enumerate(members) if name.endswith(("data.pkl", ".pth"))]
    if pickles and rng.random() < 0.7:
        number = rng.choice(pickles)
    name, content = members[number]
    if content[:4] == b"PK\x03\x04":
        content = change_zip(content, rng)
    elif name.endswith(".pkl"):
        content = change_pickle(content, rng)
    elif name == "data":
        content = dump(change_json(json.loads(content), rng), rng).encode(errors="surrogatepass")
    else:
        content = flip(content, rng)
    how = rng.randrange(12)
    if how == 0:
        del members[number]
    elif how == 1:
        members.append((name, content))
    elif how == 2:
        members[number] = (name, bytes(1 << 20))
    else:
        members[number] = (name, content)
    stream = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if rng.random() < 0.2 else zipfile.ZIP_STORED
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


def _change_sizes(data: bytes, rng: random.Random) -> bytes:
    # 4 bytes each: checksum, sizes and offsets in local headers, in the directory and at its end.
    result = bytearray(data)
    fields = {
        b"PK\x03\x04": (14, 18, 22),
        b"PK\x01\x02": (16, 20, 24, 42),
        b"PK\x05\x06": (8, 12, 16),
        b"PK\x06\x06": (24, 40, 48),
    }
    signature = rng.choice(list(fields))
    places = [place for place in range(len(data)) if data.startswith(signature, place)]
    if not places:
        return flip(data, rng)
    place = rng.choice(places) + rng.choice(fields[signature])
    result[place : place + 4] = struct.pack("<I", rng.choice([0, 1, 100, 2**20, 2**30, 2**31, 2**32 - 1]))
    return bytes(result)
