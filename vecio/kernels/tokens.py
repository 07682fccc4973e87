"""Compiled sentence vectors: chunks of text looked up in a table of known ones, their ids, and means of rows.

The table (`vecio/_tokenizer.py`) is a tuple: cells int32 (a power of two; entry + 1, 0 empty), hashes uint64, bounds
and bytes of the entries, bounds and ids of what they stand for, and flags (1: only the library may cut a text with
this chunk). Entries from `known` on are being written by others and count as missing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._jit import jit
from .rows import add_rows, copy_row

_BASIS, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_MIX = np.uint64(0x9E3779B97F4A7C15)


@jit
def _hash(blob: Any, start: int, stop: int) -> Any:
    found = _BASIS
    for i in range(start, stop):
        found = np.uint64((found ^ np.uint64(blob[i])) * _PRIME)
    found = np.uint64(found * _MIX)
    return np.uint64(found ^ (found >> np.uint64(32)))


@jit
def _find(blob: Any, start: int, stop: int, table: Any, known: int) -> int:
    """Return the entry that holds these bytes, or -1."""
    cells, hashes, bounds, keys = table[0], table[1], table[2], table[3]
    mask = len(cells) - 1
    wanted = _hash(blob, start, stop)
    slot = np.int64(wanted) & mask
    while True:
        entry = np.int64(cells[slot]) - 1
        if entry < 0 or entry >= known:
            return -1
        if hashes[entry] == wanted:
            first = bounds[entry]
            if bounds[entry + 1] - first == stop - start:
                same = True
                for i in range(stop - start):
                    if keys[first + i] != blob[start + i]:
                        same = False
                        break
                if same:
                    return entry
        slot = (slot + 1) & mask


@jit
def find_chunks(
    blob: Any,
    bounds: Any,
    start: int,
    stop: int,
    todo: Any,
    spaces: Any,
    runs: bool,
    longest: int,
    table: Any,
    known: int,
    places: Any,
    entries: Any,
    counts: Any,
    last: bool,
) -> None:
    """Look up the chunks of the texts `start` .. `stop - 1` that are `todo`.

    Text i is `blob[bounds[i]:bounds[i + 1]]`; its entries go to `entries[places[i]:]`, their number to counts[i]; a
    chunk that begins at byte p and is missing is the entry -1 - p. counts[i] is -1 where the library must see the
    whole text, which in the `last` pass is also where a chunk is missing.
    """
    flags = table[6]
    for i in range(start, stop):
        if not todo[i]:
            continue
        place, at, end = places[i], bounds[i], bounds[i + 1]
        if not runs and end > at and (spaces[blob[at]] or spaces[blob[end - 1]]):
            counts[i] = -1
            continue
        whole = False
        while at < end:
            if spaces[blob[at]]:
                at += 1
                if not runs and spaces[blob[at]]:  # the last byte is none: there is one more
                    whole = True
                    break
                continue
            begin = at
            while at < end and not spaces[blob[at]]:
                at += 1
            if at - begin > longest:
                whole = True
                break
            entry = _find(blob, begin, at, table, known)
            if entry < 0:
                if last:
                    whole = True
                    break
                entry = -1 - begin
            elif flags[entry]:
                whole = True
                break
            entries[place] = entry
            place += 1
        counts[i] = -1 if whole else place - places[i]


@jit
def count_missing(entries: Any, places: Any, counts: Any, todo: Any) -> int:
    """Return how many chunks are missing; leave only texts with such chunks `todo`."""
    total = 0
    for i in range(len(counts)):
        before = total
        for k in range(places[i], places[i] + max(counts[i], 0)):
            total += entries[k] < 0
        todo[i] = total > before
    return total


@jit
def list_missing(
    blob: Any, bounds: Any, spaces: Any, entries: Any, places: Any, counts: Any, out: Any
) -> None:
    """Write begin and end of each missing chunk to `out` (n, 2)."""
    done = 0
    for i in range(len(counts)):
        for k in range(places[i], places[i] + max(counts[i], 0)):
            if entries[k] < 0:
                begin = -1 - entries[k]
                at = begin
                while at < bounds[i + 1] and not spaces[blob[at]]:
                    at += 1
                out[done, 0] = begin
                out[done, 1] = at
                done += 1


@jit
def _append(
    blob: Any, a: int, b: int, ids: Any, first: int, count: int, flag: int, table: Any, known: int
) -> bool:
    """Make the bytes from `a` to `b` entry `known`, with `count` ids; return whether there was room."""
    cells, hashes, bounds, keys, id_bounds, own_ids, flags = table
    place, id_place = bounds[known], id_bounds[known]
    if known == len(hashes) or place + b - a > len(keys) or id_place + count > len(own_ids):
        return False
    for j in range(b - a):
        keys[place + j] = blob[a + j]
    for j in range(count):
        own_ids[id_place + j] = ids[first + j]
    bounds[known + 1] = place + b - a
    id_bounds[known + 1] = id_place + count
    flags[known] = flag
    hashes[known] = _hash(blob, a, b)
    _place(cells, len(cells) - 1, hashes[known], known)
    return True


@jit
def add_chunks(
    blob: Any, bounds: Any, ids: Any, id_bounds: Any, flags: Any, start: int, table: Any, known: int
) -> Any:
    """Add the chunks from `start` on while there is room; return how many entries there are and the next chunk."""
    for i in range(start, len(bounds) - 1):
        if _find(blob, bounds[i], bounds[i + 1], table, known) >= 0:
            continue
        first, count = id_bounds[i], id_bounds[i + 1] - id_bounds[i]
        if not _append(blob, bounds[i], bounds[i + 1], ids, first, count, flags[i], table, known):
            return known, i
        known += 1
    return known, len(bounds) - 1


@jit
def cut_words(
    blob: Any,
    chunks: Any,
    start: int,
    rest: Any,
    avoid: Any,
    lower: bool,
    prefix: Any,
    numbers: Any,
    pieces: Any,
    npieces: int,
    table: Any,
    known: int,
) -> Any:
    """Add the chunks from `start` on that are plain ASCII, cut as BERT's tokenizer does; return as `add_chunks` does.

    chunks: begin and end of each (n, 2). rest[i] becomes True for a chunk with a byte that is not printable ASCII or is
    to be avoided: the library's. prefix: what marks a piece inside a word. numbers: the id of the unknown token, the
    longest word that is cut, the longest piece. pieces: a table as of chunks, with one id for each piece.
    """
    word = np.empty(len(prefix) + 256, np.uint8)
    ids = np.empty(256, np.int64)
    for i in range(start, len(chunks)):
        a, b = chunks[i, 0], chunks[i, 1]
        if _find(blob, a, b, table, known) >= 0:
            continue
        plain = b - a <= 256
        for j in range(a, b):
            if blob[j] < 0x21 or blob[j] > 0x7E or avoid[blob[j]]:
                plain = False
                break
        if not plain:
            rest[i] = True
            continue
        count, begin = 0, a
        while begin < b:
            end = begin + 1
            if not _is_punctuation(blob[begin]):
                while end < b and not _is_punctuation(blob[end]):
                    end += 1
            count = _cut_word(blob, begin, end, lower, prefix, numbers, pieces, npieces, word, ids, count)
            begin = end
        if not _append(blob, a, b, ids, 0, count, 0, table, known):
            return known, i
        known += 1
    return known, len(chunks)


@jit
def _is_punctuation(byte: int) -> bool:
    return 33 <= byte <= 47 or 58 <= byte <= 64 or 91 <= byte <= 96 or 123 <= byte <= 126


@jit
def _cut_word(
    blob: Any,
    begin: int,
    end: int,
    lower: bool,
    prefix: Any,
    numbers: Any,
    pieces: Any,
    npieces: int,
    word: Any,
    ids: Any,
    count: int,
) -> int:
    """Write the ids of one word's pieces behind the `count` that are there: the longest piece first, from the left."""
    before = count
    length, shift = end - begin, len(prefix)
    if length > numbers[1]:
        ids[count] = numbers[0]
        return count + 1
    for j in range(length):
        byte = blob[begin + j]
        word[shift + j] = byte + 32 if lower and 65 <= byte <= 90 else byte
    place = 0
    while place < length:
        first = shift + place
        if place > 0:  # over what is done
            first -= shift
            for j in range(shift):
                word[first + j] = prefix[j]
        stop = shift + min(length, place + numbers[2])
        found = -1
        while stop > shift + place:
            found = _find(word, first, stop, pieces, npieces)
            if found >= 0:
                break
            stop -= 1
        if found < 0:
            ids[before] = numbers[0]
            return before + 1
        ids[count] = pieces[5][pieces[4][found]]
        count += 1
        place = stop - shift
    return count


@jit
def _place(cells: Any, mask: int, wanted: Any, entry: int) -> None:
    slot = np.int64(wanted) & mask
    while cells[slot]:
        slot = (slot + 1) & mask
    cells[slot] = entry + 1


@jit
def place_all(cells: Any, hashes: Any, known: int) -> None:
    """Fill the empty cells of a table that has grown."""
    for entry in range(known):
        _place(cells, len(cells) - 1, hashes[entry], entry)


@jit
def count_ids(entries: Any, places: Any, counts: Any, id_bounds: Any, lengths: Any) -> None:
    """Write to `lengths` how many ids the chunks of each text have."""
    for i in range(len(counts)):
        total = 0
        for k in range(places[i], places[i] + max(counts[i], 0)):
            total += id_bounds[entries[k] + 1] - id_bounds[entries[k]]
        lengths[i] = total


@jit
def spread_ids(
    entries: Any, places: Any, counts: Any, id_bounds: Any, own_ids: Any, starts: Any, ids: Any
) -> None:
    """Write the ids of each text to `ids[starts[i]:]`."""
    for i in range(len(counts)):
        at = starts[i]
        for k in range(places[i], places[i] + max(counts[i], 0)):
            for j in range(id_bounds[entries[k]], id_bounds[entries[k] + 1]):
                ids[at] = own_ids[j]
                at += 1


@jit
def pool(rows: Any, bounds: Any, counts: Any, start: int, stop: int, storage: Any, out: Any) -> None:
    """Write to out[i] the sum of the rows `rows[bounds[i]:bounds[i + 1]]`, in order, divided by counts[i]."""
    for i in range(start, stop):
        out[i] = 0
        a, b = bounds[i], bounds[i + 1]
        if b > a:
            add_rows(out, i, rows, a, b, np.int64(1) << 62, storage, storage)
            divisor = np.float32(counts[i])
            for j in range(out.shape[1]):
                out[i, j] /= divisor


@jit
def pool_weighted(
    rows: Any, weights: Any, bounds: Any, counts: Any, start: int, stop: int, storage: Any, out: Any
) -> None:
    """Do what `pool` does with each row multiplied by its weight first."""
    row = np.empty((1, out.shape[1]), np.float32)
    for i in range(start, stop):
        out[i] = 0
        a, b = bounds[i], bounds[i + 1]
        for k in range(a, b):
            copy_row(row, 0, storage, rows[k])
            for j in range(out.shape[1]):
                out[i, j] += np.float32(weights[k] * row[0, j])
        if b > a:
            divisor = np.float32(counts[i])
            for j in range(out.shape[1]):
                out[i, j] /= divisor
