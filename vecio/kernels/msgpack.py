"""Reads the pairs of a MessagePack map of numbers; the plain twin is `_msgpack._read_pair`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._jit import jit

U = np.uint64


@jit
def _width(first: int) -> int:
    """Return how many bytes follow the first byte of a number, -1 where it is none."""
    if first < 0x80:
        return 0
    if 0xCC <= first <= 0xCF:
        return 1 << (first - 0xCC)
    if 0xD0 <= first <= 0xD3:
        return 1 << (first - 0xD0)
    return -1


@jit
def _number(data: Any, place: int, width: int) -> Any:
    """Return the number that begins at `place` as uint64."""
    if width == 0:
        return U(data[place])
    value = U(0)
    for i in range(width):
        value = (value << U(8)) | U(data[place + 1 + i])
    return value


@jit
def read_pairs(data: Any, begin: int, keys: Any, values: Any) -> Any:
    """Fill keys (uint64) and values (int64). Returns how many pairs were read, and where the next one begins.

    It stops before the first pair that is cut, no number, or negative.
    """
    place, size = begin, len(data)
    for i in range(len(keys)):
        if place >= size:
            return i, place
        width = _width(int(data[place]))
        after = place + 1 + width
        if width < 0 or after >= size:
            return i, place
        wide = _width(int(data[after]))
        end = after + 1 + wide
        if wide < 0 or end > size:
            return i, place
        if data[place] >= 0xD0 and data[place + 1] >= 0x80:
            return i, place
        if (data[after] >= 0xD0 or data[after] == 0xCF) and data[after + 1] >= 0x80:
            return i, place
        keys[i] = _number(data, place, width)
        values[i] = np.int64(_number(data, after, wide))
        place = end
    return len(keys), place
