"""Follow a pickle without building its objects, to find calls that would take endless memory or time.

torch's own reader (``torch/_weights_only_unpickler.py``) calls only functions on its list. These can still fill the
memory from a file of a hundred bytes: ``bytearray(10 ** 10)``, a codec that doubles its text thirty times over, a copy
of one list a million times, a key that takes a year to hash.
"""

from __future__ import annotations

import encodings.aliases
import math
import pickle
import re
import struct
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import torch

_MOST_HASHED = 1000  # values in a dictionary key; the keys of state dicts are strings
_MOST_COPIED = 1 << 20  # objects that calls may copy in any case; larger files may copy one per byte
_MOST_SETS = 1 << 12  # an empty set takes 200 times the byte that creates it
_MOST_WEIGHT = 1 << 40
_MOST_NUMBER = 255  # largest number in the arguments of numpy's functions
_DTYPE = re.compile(r"^[<>=|]?[?a-zA-Z]\d{0,2}$")
_CODECS = encodings.aliases.aliases
_SAFE_CODECS = {"latin_1", "ascii", "utf_8"}
_METHODS = {
    "collections.OrderedDict": frozenset(dir(OrderedDict)),
    "collections.Counter": frozenset(dir(Counter)),
    "collections.defaultdict": frozenset(dir(defaultdict)),
}
_OF_TENSORS = frozenset(name for name in dir(torch.Tensor) if not name.startswith("_"))
_NUMPY = re.compile(r"^numpy\.(_?core\.multiarray\.(_reconstruct|scalar)|ndarray|dtype|dtypes\.\w+)$")
_SUBCLASS = "torch._tensor._rebuild_from_type_v2"
_WITH_STATE = "torch._utils._rebuild_parameter_with_state"
_VIEW = "torch._utils._rebuild_tensor"
_COPY = "torch._utils._rebuild_device_tensor_from_cpu_tensor"
_ELEMENTS = 16  # tensor elements that count as one object
_SIZED = re.compile(r"^torch\.(\w+\.)*\w*(Tensor|Storage)$")


class HostileError(Exception):
    """The pickle asks for something that no file of weights needs; the message describes it in a few words."""


class _BeyondError(Exception):
    """The pickle contains an operation that torch's reader does not support either."""


@dataclass(slots=True)
class _Thing:
    """What is known of an object that the pickle would build.

    :param name: the full name of a global, or of the global whose call built the object
    :param made: whether a call built it
    :param value: a text, a number or bytes
    :param items: the members of a tuple, a list, a set or a dictionary
    :param weight: approximate number of objects in it, each counted as often as it occurs
    :param elements: number of elements that a tensor claims to have
    :param keys: the strings among a dictionary's keys
    """

    name: str = ""
    made: bool = False
    value: Any = None
    items: Sequence[_Thing] = ()
    weight: int = 1
    elements: int = 0
    keys: set[str] | None = None


class PickleWalk:
    """Walks through the pickles in a stream, one after the other.

    :param stream: the stream, at the start of a pickle
    :param held: size of the file in bytes
    """

    def __init__(self, stream: IO[bytes], held: int) -> None:
        self._read, self._readline = stream.read, stream.readline
        self._budget = max(_MOST_COPIED, held)
        self._copied = self._sets = 0
        self._stack: list[_Thing] = []
        self._marks: list[list[_Thing]] = []
        self._memo: dict[int, _Thing] = {}

    def walk(self) -> bool:
        """Follow one pickle to its end.

        :returns: whether the pickle was complete; ``False`` if torch's reader would fail as well
        :raises HostileError: the pickle asks for something that no file of weights needs
        """
        self._stack, self._marks, self._memo = [], [], {}
        try:
            while True:
                code = self._read(1)
                if code == pickle.STOP:
                    return True
                _CODES[code](self)
        except (_BeyondError, IndexError, KeyError, ValueError, struct.error):
            return False

    def _constant(self, value: Any) -> None:
        self._stack.append(_Thing(value=value))

    def _small(self, thing: _Thing) -> None:
        self._stack.append(thing)

    def _container(self) -> None:
        self._stack.append(_Thing(items=[]))

    def _container_set(self) -> None:
        self._sets += 1
        if self._sets > max(_MOST_SETS, self._budget >> 8):
            raise HostileError("it asks for thousands of sets")
        self._container()

    def _number(self, kind: str) -> Any:
        return struct.unpack(kind, self._read(struct.calcsize(kind)))[0]

    def _text(self) -> str:
        return str(self._read(self._number("<I")), "utf-8", "surrogatepass")

    def _bytes(self) -> bytes:
        return self._read(self._read(1)[0])

    def _global(self) -> None:
        module, name = (self._readline()[:-1].decode("utf-8") for _ in range(2))
        if (module, name) in NAME_MAPPING:
            module, name = NAME_MAPPING[module, name]
        full = f"{IMPORT_MAPPING.get(module, module)}.{name}"
        if full == "builtins.bytearray":
            raise HostileError("it asks to unpickle bytearray")
        self._stack.append(_Thing(full))

    def _tuple(self, size: int) -> _Thing:
        items = self._stack[len(self._stack) - size :] if size else []
        if len(items) < size:
            raise IndexError
        del self._stack[len(self._stack) - size :]
        return _tuple(items)

    def _mark(self) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def _pop_mark(self) -> list[_Thing]:
        items, self._stack = self._stack, self._marks.pop()
        return items

    def _tuple_of_mark(self) -> None:
        self._small(_tuple(self._pop_mark()))

    def _append(self, items: Sequence[_Thing]) -> None:
        target = self._stack[-1]
        if isinstance(target.items, list):
            target.items.extend(items)
        target.weight = min(_MOST_WEIGHT, target.weight + sum(item.weight for item in items))

    def _set(self, items: Sequence[_Thing]) -> None:
        for key in items[::2]:
            self._hash(key)
            if isinstance(key.value, str):
                if self._stack[-1].keys is None:
                    self._stack[-1].keys = set()
                self._stack[-1].keys.add(key.value)
        self._stack[-1].weight += len(items)

    def _hash(self, thing: _Thing) -> None:
        if thing.weight > _MOST_HASHED:
            raise HostileError("it has a key of thousands of parts")

    def _put(self, place: int) -> None:
        self._memo[place] = self._stack[-1]

    def _get(self, place: int) -> None:
        self._stack.append(self._memo[place])

    def _persistent(self) -> None:
        self._hash(self._stack.pop())
        self._stack.append(_Thing("storage", made=True))

    def _call(self) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        self._check(function, arguments.items, arguments.weight)
        made = _Thing(function.name, made=True)
        if function.name.startswith(_VIEW) and len(arguments.items) > 2:
            sizes = [size.value for size in arguments.items[2].items if isinstance(size.value, int)]
            made.elements = min(_MOST_WEIGHT, math.prod(map(abs, sizes)))
        self._stack.append(made)

    def _check(self, function: _Thing, arguments: Sequence[_Thing], weight: int) -> None:
        name = function.name
        if not name or function.made:
            raise _BeyondError
        self._copy(weight)
        if name == "_codecs.encode":
            codec = arguments[1].value if len(arguments) > 1 else "utf-8"
            plain = codec.lower().replace("-", "_") if isinstance(codec, str) else ""
            if _CODECS.get(plain, plain) not in _SAFE_CODECS:
                raise HostileError(f"it asks to encode as {codec}")
            self._copy(len(arguments[0].value or "") >> 6 if isinstance(arguments[0].value, str) else 0)
        elif _NUMPY.match(name):
            for part in _leaves(arguments):
                if isinstance(part, int) and abs(part) > _MOST_NUMBER:
                    raise HostileError(f"it asks {name} for a size of {part}")
                if isinstance(part, str) and not _DTYPE.match(part):
                    raise HostileError(f"it asks for the numpy type {part[:40]}")
        elif name in ("builtins.set", "collections.Counter", "collections.OrderedDict", "collections.defaultdict"):
            for part in arguments:
                for item in part.items:
                    self._hash(item)
        elif name == _SUBCLASS and len(arguments) > 2:
            self._check(arguments[0], arguments[2].items, arguments[2].weight)
            self._check_shadows(arguments[3:], _OF_TENSORS)
        elif name == _WITH_STATE:
            self._check_shadows(arguments, _OF_TENSORS)
        elif name == _COPY:
            self._copy(sum(part.elements for part in arguments) // _ELEMENTS)
        elif _SIZED.match(name) and arguments:
            raise HostileError(f"it asks to unpickle {name} of a size")

    def _copy(self, weight: int) -> None:
        self._copied += weight
        if self._copied > self._budget:
            raise HostileError("it asks for far more objects than it has bytes")

    def _build(self) -> None:
        state, made = self._stack.pop(), self._stack[-1]
        self._copy(state.weight)
        if made.name == "numpy.dtype" and any(part.weight > 1 or part.name for part in state.items):
            raise HostileError("it asks for a numpy type of several parts")
        self._check_shadows([state], _METHODS.get(made.name, frozenset()))

    def _check_shadows(self, states: Sequence[_Thing], methods: frozenset[str]) -> None:
        for state in (*states, *(part for each in states for part in each.items)):
            if state.keys is not None and not state.keys.isdisjoint(methods):
                raise HostileError(f"it redefines '{min(state.keys & methods)}' of an object")


def _tuple(items: Sequence[_Thing]) -> _Thing:
    return _Thing(items=items, weight=min(_MOST_WEIGHT, 1 + sum(item.weight for item in items)))


def _leaves(things: Sequence[_Thing], most: int = 1000) -> Iterator[Any]:
    waiting = list(things)
    while waiting:
        most -= 1
        if not most:
            raise HostileError("it has a call of thousands of parts")
        thing = waiting.pop()
        if thing.value is not None and not thing.made:
            yield thing.value
        waiting.extend(thing.items)


_NONE, _FALSE, _TRUE = _Thing(), _Thing(value=False), _Thing(value=True)
_BYTES = [_Thing(value=number) for number in range(256)]
# The operations that torch's reader supports, except STOP.
_CODES: dict[bytes, Callable[[PickleWalk], object]] = {
    pickle.PROTO: lambda walk: walk._read(1)[0],
    pickle.NONE: lambda walk: walk._small(_NONE),
    pickle.NEWFALSE: lambda walk: walk._small(_FALSE),
    pickle.NEWTRUE: lambda walk: walk._small(_TRUE),
    pickle.BININT1: lambda walk: walk._small(_BYTES[walk._read(1)[0]]),
    pickle.BININT2: lambda walk: walk._constant(walk._number("<H")),
    pickle.BININT: lambda walk: walk._constant(walk._number("<i")),
    pickle.LONG1: lambda walk: walk._constant(pickle.decode_long(walk._bytes())),
    pickle.BINFLOAT: lambda walk: walk._constant(walk._number(">d")),
    pickle.BINUNICODE: lambda walk: walk._constant(walk._text()),
    pickle.SHORT_BINSTRING: lambda walk: walk._constant(walk._bytes()),
    pickle.EMPTY_TUPLE: lambda walk: walk._small(walk._tuple(0)),
    pickle.TUPLE1: lambda walk: walk._small(walk._tuple(1)),
    pickle.TUPLE2: lambda walk: walk._small(walk._tuple(2)),
    pickle.TUPLE3: lambda walk: walk._small(walk._tuple(3)),
    pickle.EMPTY_LIST: PickleWalk._container,
    pickle.EMPTY_DICT: PickleWalk._container,
    pickle.EMPTY_SET: PickleWalk._container_set,
    pickle.GLOBAL: PickleWalk._global,
    pickle.MARK: PickleWalk._mark,
    pickle.TUPLE: PickleWalk._tuple_of_mark,
    pickle.APPEND: lambda walk: walk._append([walk._stack.pop()]),
    pickle.APPENDS: lambda walk: walk._append(walk._pop_mark()),
    pickle.SETITEM: lambda walk: walk._set(walk._tuple(2).items),
    pickle.SETITEMS: lambda walk: walk._set(walk._pop_mark()),
    pickle.BINGET: lambda walk: walk._get(walk._read(1)[0]),
    pickle.LONG_BINGET: lambda walk: walk._get(walk._number("<I")),
    pickle.BINPUT: lambda walk: walk._put(walk._read(1)[0]),
    pickle.LONG_BINPUT: lambda walk: walk._put(walk._number("<I")),
    pickle.BINPERSID: PickleWalk._persistent,
    pickle.REDUCE: PickleWalk._call,
    pickle.NEWOBJ: PickleWalk._call,
    pickle.BUILD: PickleWalk._build,
}
