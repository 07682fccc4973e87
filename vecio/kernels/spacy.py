"""Vectors by spaCy's reading of a floret table.

The plain twins are `Subwords.rows` of the kind "spacy" and `compose.scaled_mean`. It differs from `lookup.embed` in
everything that costs time there: the order of the strings, any text before and behind a word, and each row is scaled
before it is added.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._jit import jit
from .lookup import murmur3, murmur_bucket
from .rows import copy_row


@jit
def _starts(text: Any, length: int, starts: Any) -> int:
    """Write where the characters of `text[:length]` begin, and its length; return how many there are."""
    count = 0
    for i in range(length):
        if (text[i] & 0xC0) != 0x80:
            starts[count] = i
            count += 1
    starts[count] = length
    return count


@jit
def _add_string(
    text: Any,
    start: int,
    stop: int,
    hashes: int,
    bucket: int,
    scale: Any,
    table: Any,
    row: Any,
    out: Any,
    o: int,
) -> None:
    """Add the scaled rows of the string `text[start:stop]` to `out[o]`; `row` is room for one row."""
    h1, h2 = murmur3(text, start, stop)
    for k in range(hashes):
        copy_row(row, 0, table, murmur_bucket(h1, h2, k, bucket))
        for j in range(out.shape[1]):
            out[o, j] += row[0, j] * scale


@jit
def embed(
    query: Any,
    bounds: Any,
    space: int,
    start: int,
    stop: int,
    begin: Any,
    end: Any,
    minn: int,
    maxn: int,
    hashes: int,
    bucket: int,
    table: Any,
    out: Any,
) -> None:
    """Write the vectors of the query words `start` .. `stop - 1` to `out` (float32, N x D); zeros for an empty one.

    begin, end: the bytes that a word is put between. maxn is cut to the word's length by the caller's bounds on time.
    """
    longest = 0
    for i in range(start, stop):
        longest = max(longest, bounds[i + 1] - space - bounds[i])
    longest += len(begin) + len(end)
    text = np.empty(longest, np.uint8)
    starts = np.empty(longest + 1, np.int64)
    row = np.empty((1, out.shape[1]), np.float32)
    for i in range(start, stop):
        out[i] = np.float32(0)
        size = bounds[i + 1] - space - bounds[i]
        if size == 0:
            continue
        text[: len(begin)] = begin
        text[len(begin) : len(begin) + size] = query[bounds[i] : bounds[i] + size]
        length = len(begin) + size + len(end)
        text[len(begin) + size : length] = end
        count = _starts(text, length, starts)
        most = min(maxn, count)
        strings = 1
        for n in range(minn, most + 1):
            strings += count - n + 1
        scale = np.float32(1.0 / (strings * hashes))
        _add_string(text, 0, length, hashes, bucket, scale, table, row, out, i)
        for n in range(minn, most + 1):
            for a in range(count - n + 1):
                _add_string(text, starts[a], starts[a + n], hashes, bucket, scale, table, row, out, i)
