"""Messages that a stranger sent, read without trust and without copies.

``msgpack``'s own reader copies every byte string, which for a batch of images takes longer than the
network. This one hands out views of what was received. Nothing is allocated for what is announced,
only for what is there; depth, number of values and length of strings are bounded, since an array of
one-byte values takes eight times its bytes as a list, and a string up to four times its own.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from holdstep.errors import MalformedMessageError

_MAX_DEPTH = 16
_MAX_VALUES = 200_000
MAX_STRING_BYTES = 1 << 20
_NUMBERS = {
    0xCA: struct.Struct(">f"),
    0xCB: struct.Struct(">d"),
    0xCC: struct.Struct(">B"),
    0xCD: struct.Struct(">H"),
    0xCE: struct.Struct(">I"),
    0xCF: struct.Struct(">Q"),
    0xD0: struct.Struct(">b"),
    0xD1: struct.Struct(">h"),
    0xD2: struct.Struct(">i"),
    0xD3: struct.Struct(">q"),
}
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
_LENGTHS = {
    0xC4: 1,
    0xC5: 2,
    0xC6: 4,
    0xD9: 1,
    0xDA: 2,
    0xDB: 4,
    0xDC: 2,
    0xDD: 4,
    0xDE: 2,
    0xDF: 4,
}
"""Bytes of the length that follows: of raw bytes, of strings, of arrays, of maps."""


def read_message(data: memoryview, on_map: Callable[[dict[Any, Any]], Any]) -> Any:
    """The one value in ``data``.

    Args:
        data: what was received.
        on_map: called with every map, innermost first, whose raw bytes are views of ``data``;
            returns what stands for it, such as an array, or the map itself.

    Raises:
        MalformedMessageError: it is not msgpack, not whole, followed by something, too deep, of too
            many values, or holds an extension type.
    """
    reader = _Reader(data, on_map)
    value = reader.value(depth=0)
    if reader.offset != len(data):
        raise MalformedMessageError(f"{len(data) - reader.offset} bytes after its end")
    return _owned(value)


class _Reader:
    def __init__(self, data: memoryview, on_map: Callable[[dict[Any, Any]], Any]) -> None:
        self.offset = 0
        self._data = data
        self._on_map = on_map
        self._num_values = 0

    def value(self, depth: int) -> Any:
        self._num_values += 1
        if self._num_values > _MAX_VALUES:
            raise MalformedMessageError(f"more than {_MAX_VALUES} values")
        if depth > _MAX_DEPTH:
            raise MalformedMessageError(f"nested deeper than {_MAX_DEPTH} levels")
        kind = self._take(1)[0]
        if kind < 0x80:
            return kind
        if kind >= 0xE0:
            return kind - 0x100
        if kind < 0x90:
            return self._map(kind & 0x0F, depth)
        if kind < 0xA0:
            return self._array(kind & 0x0F, depth)
        if kind < 0xC0:
            return self._string(kind & 0x1F)
        if kind in _CONSTANTS:
            return _CONSTANTS[kind]
        if kind in _NUMBERS:
            number = _NUMBERS[kind]
            return number.unpack(self._take(number.size))[0]
        if kind not in _LENGTHS:
            raise MalformedMessageError(f"a value of type 0x{kind:02x}, which is not accepted")
        length = int.from_bytes(self._take(_LENGTHS[kind]), "big")
        if kind <= 0xC6:
            return self._take(length)
        if kind <= 0xDB:
            return self._string(length)
        return self._array(length, depth) if kind <= 0xDD else self._map(length, depth)

    def _take(self, length: int) -> memoryview:
        end = self.offset + length
        if end > len(self._data):
            raise MalformedMessageError(
                f"cut off: {length} bytes announced at byte {self.offset} of {len(self._data)}"
            )
        part = self._data[self.offset : end]
        self.offset = end
        return part

    def _string(self, length: int) -> str:
        # Python's strings take up to four times their bytes: one emoji is enough.
        if length > MAX_STRING_BYTES:
            raise MalformedMessageError(f"a string of {length} bytes; {MAX_STRING_BYTES} may be")
        try:
            return str(self._take(length), "utf-8")
        except UnicodeDecodeError as error:
            raise MalformedMessageError("a string that is not UTF-8") from error

    def _array(self, length: int, depth: int) -> list[Any]:
        return [_owned(self.value(depth + 1)) for _ in range(length)]

    def _map(self, length: int, depth: int) -> Any:
        entries: dict[Any, Any] = {}
        for _ in range(length):
            key = _owned(self.value(depth + 1))
            if not isinstance(key, str | bytes | int):
                raise MalformedMessageError(f"a map with a key of type {type(key).__name__}")
            if key in entries:
                raise MalformedMessageError(f"a map with two keys {key!r:.60}")
            entries[key] = self.value(depth + 1)
        made = self._on_map(entries)
        if made is entries:
            for key, item in entries.items():
                entries[key] = _owned(item)
        return made


def _owned(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value
