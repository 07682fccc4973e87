"""What finalfusion files ask of compiled code: walking their strings, and unknown words by their n-gram rules.

The plain twins are `formats.finalfusion.reader._walk_plain`, `Subwords.rows` of the kinds "fifu-*" and
`compose.unit_sum`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._jit import jit
from .lookup import FNV_START, crc32, fnv_step, murmur3, murmur_bucket, probe, pruned_row
from .rows import add_rows, prefetch_row

U = np.uint64
_START64, _PRIME64, _BYTE = U(0xCBF29CE484222325), U(0x100000001B3), U(0xFF)
#: Which hash makes a row number of an n-gram.
FNV32, FNV64, TABLE, MURMUR = range(4)
#: Row numbers that are collected before they are summed up.
PENDING = 1024


@jit
def walk(data: Any, place: int, stop: int, count: int, extra: int, offsets: Any) -> Any:
    """Walk `count` strings from `place`: u32 length, bytes, then `extra` bytes; all of it must end at `stop`.

    Fills offsets (count + 1): where the bytes of each string begin, counted from the first one's; the last number is
    where those of one more would. Returns (strings walked, place): all of them and the end, or the first broken one.
    """
    first = place + 4
    for i in range(count):
        if stop - place < 4:
            return i, place
        size = (
            int(data[place])
            | int(data[place + 1]) << 8
            | int(data[place + 2]) << 16
            | int(data[place + 3]) << 24
        )
        if size + extra > stop - place - 4:
            return i, place
        offsets[i] = place + 4 - first
        place += 4 + size + extra
    offsets[count] = place + 4 - first
    return count, place


@jit
def _characters(text: Any, length: int, starts: Any, letters: Any) -> Any:
    """Write where the characters of `text` begin, its length, and their numbers; return count and if it is UTF-8."""
    count, i = 0, 0
    valid = True
    while i < length:
        c = U(text[i])
        starts[count] = i
        i += 1
        value, more, least = c, 0, U(0)
        if c >= U(0xF0):
            value, more, least = c & U(7), 3, U(0x10000)
            valid = valid and c < U(0xF5)
        elif c >= U(0xE0):
            value, more, least = c & U(15), 2, U(0x800)
        elif c >= U(0xC0):
            value, more, least = c & U(31), 1, U(0x80)
        elif c >= U(0x80):
            valid = False
        while i < length and (text[i] & 0xC0) == 0x80:
            value = (value << U(6)) | U(text[i] & 0x3F)
            more -= 1
            i += 1
        surrogate = U(0xD800) <= value < U(0xE000)
        if more != 0 or value < least or value > U(0x10FFFF) or surrogate:
            valid = False
        letters[count] = value
        count += 1
    starts[count] = length
    return count, valid


@jit
def _fnv64(letters: Any, start: int, stop: int) -> Any:
    """Return finalfusion's hash of the characters `start` .. `stop - 1`."""
    h, n = _START64, U(stop - start)
    for b in range(8):
        h = (h ^ ((n >> U(8 * b)) & _BYTE)) * _PRIME64
    for i in range(start, stop):
        for b in range(4):
            h = (h ^ ((letters[i] >> U(8 * b)) & _BYTE)) * _PRIME64
    return h


@jit
def _push(
    text: Any, start: int, stop: int, hashed: Any, kind: int, rule: Any, table: Any, ids: Any, n: int
) -> int:
    """Append the rows of one string; `hashed`: its hash where that is one number."""
    _, _, bucket, hashes, pruned = rule
    if kind == MURMUR:
        h1, h2 = murmur3(text, start, stop)
        for k in range(hashes):
            row = pruned_row(murmur_bucket(h1, h2, k, bucket), pruned)
            if row >= 0:
                ids[n] = row
                n += 1
        return n
    if kind == TABLE:
        number = probe(text, start, stop, crc32(text, start, stop), *table)
        if number < 0:
            return n
        row = pruned_row(number, pruned)
    else:
        row = pruned_row(np.int64(hashed % U(bucket)), pruned)
    if row >= 0:
        ids[n] = row
        n += 1
    return n


@jit
def embed(
    query: Any,
    bounds: Any,
    space: int,
    start: int,
    stop: int,
    longest: int,
    begin: Any,
    end: Any,
    kind: int,
    rule: Any,
    table: Any,
    grams: Any,
    out: Any,
    made: Any,
) -> None:
    """Write the vectors of unknown words `start` .. `stop - 1` to `out`: sums of n-gram rows, scaled to length 1.

    made[i] becomes the number of rows of word i, or -1 for a word that is left to the plain code (not UTF-8, where the
    hash is one of characters). longest: bytes of the longest word.
    """
    minn, maxn, _, hashes, _ = rule
    minn = max(minn, 1)
    size = longest + len(begin) + len(end)
    text = np.empty(size, np.uint8)
    starts = np.empty(size + 1, np.int64)
    letters = np.empty(size, np.uint64)
    partial = np.empty(min(maxn, size) + 1, np.uint64)
    a_start = (min(maxn, size) + 1) * max(hashes, 1)
    ids = np.empty(PENDING + a_start, np.int64)
    for i in range(start, stop):
        length = 0
        for part, first, last in (
            (begin, 0, len(begin)),
            (query, bounds[i], bounds[i + 1] - space),
            (end, 0, len(end)),
        ):
            for j in range(first, last):
                text[length] = part[j]
                length += 1
        count, valid = _characters(text, length, starts, letters)
        out[i] = np.float32(0)
        if not valid:
            made[i] = -1
            continue
        n, rows = 0, 0
        if kind == MURMUR:
            n = _push(text, 0, length, U(0), kind, rule, table, ids, n)
        for a in range(count - minn + 1):
            most = min(maxn, count - a)
            if kind == FNV32:
                h = FNV_START
                for k in range(most):
                    for j in range(starts[a + k], starts[a + k + 1]):
                        h = fnv_step(h, text[j])
                    partial[k + 1] = h
            for k in range(most, minn - 1, -1):
                hashed = U(0)
                if kind == FNV32:
                    hashed = partial[k]
                elif kind == FNV64:
                    hashed = _fnv64(letters, a, a + k)
                before = n
                n = _push(text, starts[a], starts[a + k], hashed, kind, rule, table, ids, n)
                for j in range(before, n):
                    prefetch_row(grams, ids[j])
            if n >= PENDING:
                add_rows(out, i, ids, 0, n, 0, grams, grams)
                rows += n
                n = 0
        add_rows(out, i, ids, 0, n, 0, grams, grams)
        made[i] = rows + n
        total = 0.0
        for j in range(out.shape[1]):
            total += np.float64(out[i, j]) * np.float64(out[i, j])
        norm = np.sqrt(total)
        if norm > 0:
            for j in range(out.shape[1]):
                out[i, j] = np.float32(np.float64(out[i, j]) / norm)
