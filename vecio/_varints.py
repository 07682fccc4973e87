"""Whole numbers packed in bytes: 7 bits a byte, the lowest first, the highest bit says that more follow (LEB128).

Small numbers take one byte: lengths of words, counts of rare words, gaps between sorted numbers. A negative number is
taken as the unsigned one with the same 64 bits (10 bytes).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

#: Bytes of the longest number: 64 bits.
LONGEST = 10
#: Numbers that are packed at a time.
BLOCK = 1 << 16


def pack(values: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """Return the bytes of int64 (or uint64) numbers, one behind the other."""
    numbers = np.asarray(values).astype(np.int64, copy=False).reshape(-1).view(np.uint64)
    parts = [_pack(numbers[start : start + BLOCK]) for start in range(0, len(numbers), BLOCK)]
    return np.concatenate(parts) if parts else np.empty(0, np.uint8)


def _pack(numbers: Array) -> npt.NDArray[np.uint8]:
    digits = np.empty((len(numbers), LONGEST), np.uint8)
    rest = numbers.copy()
    used = np.ones(len(numbers), np.int64)
    for place in range(LONGEST):
        digits[:, place] = rest & np.uint64(0x7F)
        rest >>= np.uint64(7)
        used += rest > 0
    more = np.arange(LONGEST) < used[:, None] - 1
    digits |= (more * 0x80).astype(np.uint8)
    return digits[np.arange(LONGEST) < used[:, None]]


def unpack(data: Array, count: int) -> npt.NDArray[np.int64]:
    """Return the `count` numbers that `data` (uint8) holds, int64. Raises ValueError where it holds anything else."""
    if not count <= len(data) <= LONGEST * count:
        raise ValueError(f"{len(data)} bytes cannot hold {count} numbers")
    values = np.empty(count, np.int64)
    place = done = 0
    while place < len(data):
        block = data[place : place + BLOCK]
        ends = np.flatnonzero(block < 0x80)
        if not len(ends):
            raise ValueError("the last number is cut")
        if done + len(ends) > count:
            raise ValueError(f"more than {count} numbers")
        values[done : done + len(ends)] = _unpack(block, ends)
        done += len(ends)
        place += int(ends[-1]) + 1
    if done != count:
        raise ValueError(f"{done} numbers, not {count}")
    return values


def _unpack(block: Array, ends: Array) -> npt.NDArray[np.int64]:
    starts = np.zeros(len(ends), np.int64)
    starts[1:] = ends[:-1] + 1
    lengths = ends - starts + 1
    longest = int(lengths.max())
    if longest > LONGEST:
        raise ValueError(f"a number of {longest} bytes")
    values = np.zeros(len(ends), np.uint64)
    for place in range(longest):
        long = np.flatnonzero(lengths > place)
        digit = (block[starts[long] + place] & 0x7F).astype(np.uint64)
        if place == LONGEST - 1 and (digit > 1).any():
            raise ValueError("a number of more than 64 bits")
        values[long] |= digit << np.uint64(7 * place)
    return values.view(np.int64)
