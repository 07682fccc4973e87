"""The one MessagePack value that vecio meets: a map from 64-bit keys to row numbers (spaCy's `key2row`).

Only maps of whole numbers that are not negative are read; everything else (text, lists, maps in maps) is refused where
it stands, so nothing nests. Numbers are big-endian, as everywhere in MessagePack. Source: the MessagePack
specification, sections "Integer" and "Map".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _effort
from ._binary import MappedFile
from .errors import FormatError, TruncatedError

Array = npt.NDArray[Any]

#: First byte of a number -> bytes that follow: unsigned, then signed forms.
WIDTHS = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
#: How many keys there are that take less than five bytes.
SHORT_KEYS = 1 << 16
#: Seconds of plain Python for one pair.
PAIR_COST = 0.6e-6


def read_map(file: MappedFile) -> tuple[Array, Array]:
    """Return the keys (uint64) and values (int64) of a map in the file's order; of equal keys the last counts.

    Raises FormatError for anything but one map of numbers that ends with the file.
    """
    count, begin = _map_header(file)
    least = max(2 * count, 6 * (count - SHORT_KEYS))
    if least > file.size - begin:
        raise TruncatedError(
            file.path,
            f"a map of {count} keys does not fit",
            offset=0,
            expected=f"at least {least} bytes",
            found=f"{file.size - begin} bytes",
        )
    keys, values = np.empty(count, np.uint64), np.empty(count, np.int64)
    if _effort.kernels_due(count * PAIR_COST):
        from .kernels import msgpack

        done, end = msgpack.read_pairs(np.frombuffer(file.map, np.uint8), begin, keys, values)
        if done < count:  # the plain reader finds the place and says it
            _read_pair(file, end)
    else:
        end = begin
        for i in range(count):
            keys[i], values[i], end = _read_pair(file, end)
    if end != file.size:
        raise FormatError(
            file.path, "bytes after the map", offset=end, expected=f"{end} bytes", found=f"{file.size} bytes"
        )
    return last_of_equal(keys, values)


def _map_header(file: MappedFile) -> tuple[int, int]:
    """Return how many pairs a map has, and where they begin."""
    first = file.map[0]
    if 0x80 <= first <= 0x8F:
        return first - 0x80, 1
    width = {0xDE: 2, 0xDF: 4}.get(first)
    if width is None:
        raise FormatError(file.path, "not a MessagePack map", offset=0, found=f"byte {first:#04x}")
    return _number(file, 1, width, "the number of pairs"), 1 + width


def _read_pair(file: MappedFile, place: int) -> tuple[int, int, int]:
    """Return key, value, and where the next pair begins."""
    key, place = _read_number(file, place, "a key")
    value, end = _read_number(file, place, "a row number")
    if value >= 1 << 63:
        raise FormatError(file.path, "an impossible row number", offset=place, found=value)
    return key, value, end


def _read_number(file: MappedFile, place: int, what: str) -> tuple[int, int]:
    if place >= file.size:
        raise TruncatedError(
            file.path, f"the file ends before {what}", offset=file.size, expected="a number", found="the end"
        )
    first = file.map[place]
    if first < 0x80:
        return first, place + 1
    width = WIDTHS.get(first)
    if width is None:
        raise FormatError(
            file.path,
            f"{what} is no whole number of at least 0",
            offset=place,
            expected="an integer of MessagePack",
            found=f"byte {first:#04x}",
        )
    value = _number(file, place + 1, width, what)
    if first >= 0xD0 and value >> (8 * width - 1):
        raise FormatError(file.path, f"{what} is negative", offset=place, expected="at least 0", found=value)
    return value, place + 1 + width


def _number(file: MappedFile, place: int, width: int, what: str) -> int:
    data = file.map[place : place + width]
    if len(data) < width:
        raise TruncatedError(
            file.path,
            f"the file ends inside {what}",
            offset=place,
            expected=f"{width} bytes",
            found=f"{len(data)} bytes",
        )
    return int.from_bytes(data, "big")


def last_of_equal(keys: Array, values: Array) -> tuple[Array, Array]:
    """Drop pairs whose key comes again: the last one counts, at the place of the first, as in a Python dict."""
    order = np.argsort(keys, kind="stable")
    new = np.ones(len(keys), np.bool_)
    new[1:] = keys[order[1:]] != keys[order[:-1]]
    if new.all():
        return keys, values
    starts = np.flatnonzero(new)
    first = order[starts]
    last = order[np.append(starts[1:], len(keys)) - 1]
    by_place = np.argsort(first)
    return keys[first[by_place]], values[last[by_place]]


def map_pieces(keys: Array, values: Array) -> Iterator[bytes]:
    """Yield the bytes of a map of keys and values (each in its shortest unsigned form), in blocks."""
    count = len(keys)
    if count < 16:
        yield bytes([0x80 + count])
    elif count < 1 << 16:
        yield b"\xde" + count.to_bytes(2, "big")
    else:
        yield b"\xdf" + count.to_bytes(4, "big")
    for start in range(0, count, 1 << 16):
        numbers = np.empty((min(1 << 16, count - start), 2), np.uint64)
        numbers[:, 0] = keys[start : start + (1 << 16)]
        numbers[:, 1] = values[start : start + (1 << 16)]
        yield _packed(numbers.reshape(-1))


def _packed(numbers: Array) -> bytes:
    """Return the bytes of numbers (uint64), each in its shortest unsigned form."""
    width = np.zeros(len(numbers), np.int64)  # bytes behind the first one
    for bits, code in ((7, 1), (8, 2), (16, 4), (32, 8)):
        width[numbers >= np.uint64(1 << bits)] = code
    places = np.cumsum(width + 1) - width - 1
    out = np.empty(int(places[-1] + width[-1] + 1), np.uint8)
    first = np.array([0, 0xCC, 0xCD, 0, 0xCE, 0, 0, 0, 0xCF], np.uint8)[width]
    out[places] = np.where(width == 0, numbers, first).astype(np.uint8)
    for i in range(8):
        some = np.flatnonzero(width > i)
        shift = (8 * (width[some] - 1 - i)).astype(np.uint64)
        out[places[some] + 1 + i] = (numbers[some] >> shift & np.uint64(255)).astype(np.uint8)
    return out.tobytes()
