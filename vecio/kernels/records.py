"""Walking the records of a word2vec file: word, space, D float32, and the line ends between them.

The plain twin is `formats.word2vec._Walk.plain`. A walk goes in chunks; what must be known from one to the next is in
`state`, int64: place in the file, line ends between two records (-1: not known yet), words with a line end in them,
bytes of words so far.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._jit import jit
from .lookup import GROUP, U, crc32
from .rows import prefetch

PLACE, LINES, BROKEN, USED = 0, 1, 2, 3
_FULL, _ONE, _ZERO, _32 = U(0xFFFFFFFF), U(1), U(0), U(32)


@jit
def walk(
    data: Any,
    start: int,
    stop: int,
    rows: int,
    width: int,
    state: Any,
    blob: Any,
    offsets: Any,
    places: Any,
    crcs: Any,
) -> int:
    """Walk the records `start` .. `stop - 1` of `rows`; vectors have `width` bytes. Return how far it came.

    Fills blob with the words, one behind the other, offsets (from `start + 1` on), places (of vectors) and crcs. It
    stops at the first record that is broken, and leaves `state` as it was before that record. A record that leaves no
    room for those after it is broken; so the words never need more room than the file has besides the vectors.
    """
    size = len(data)
    for i in range(start, stop):
        place = state[0]
        while place < size and data[place] == 10:
            place += 1
        lines = place - state[0]
        if i > 0 and state[1] >= 0 and lines != state[1]:
            return i
        begin, limit = place, size - width - (rows - 1 - i) * (1 + width)
        broken = 0
        while place < limit and data[place] != 32:
            if data[place] == 10:
                broken = 1
            place += 1
        if place + 1 > limit or (place > begin and data[begin] == 13 and data[begin + 1] == 10):
            return i
        if i > 0:
            state[1] = lines
        if state[1] > 0 and state[2] + broken > 0:
            return i
        state[2] += broken
        used = state[3]
        for k in range(begin, place):
            blob[used] = data[k]
            used += 1
        crcs[i] = crc32(data, begin, place)
        state[3] = used
        offsets[i + 1] = used
        places[i] = place + 1
        state[0] = place + 1 + width
    return stop


@jit
def fill_table(blob: Any, offsets: Any, crcs: Any, table: Any) -> None:
    """Fill the empty table of a vocabulary without gaps whose CRC-32s are known; the first of equal words wins."""
    size, mask = len(offsets) - 1, U(len(table) - 1)
    for start in range(0, size, GROUP):
        stop = min(start + GROUP, size)
        for i in range(start, stop):
            prefetch(table, np.int64(U(crcs[i]) & mask))
        for i in range(start, stop):
            crc = U(crcs[i])
            slot = crc & mask
            while table[slot] != _ZERO:
                if table[slot] >> _32 == crc:
                    other = np.int64(table[slot] & _FULL) - 1
                    length = offsets[i + 1] - offsets[i]
                    if offsets[other + 1] - offsets[other] == length:
                        k = 0
                        while k < length and blob[offsets[other] + k] == blob[offsets[i] + k]:
                            k += 1
                        if k == length:
                            break
                slot = (slot + _ONE) & mask
            if table[slot] == _ZERO:
                table[slot] = crc << _32 | U(i + 1)
