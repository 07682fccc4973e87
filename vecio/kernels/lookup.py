"""From words to rows to vectors, for a million words at a time: CRC-32 and the table, n-grams and their hashes, sums.

The plain twins are `zlib.crc32`, `vocabulary._build_table`, `subwords.Subwords` and `compose.Composer.plain`.
All hashing is done in uint64 with masks: numba widens, and a hash that is not cut back at every step is silently wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._jit import jit
from .rows import add_rows, copy_row, prefetch, prefetch_row

U = np.uint64


def _crc_table() -> Any:
    """Return the table of the reflected polynomial 0xEDB88320, one entry a byte (RFC 1952, section 8)."""
    table = np.zeros(256, np.uint64)
    for i in range(256):
        c = i
        for _ in range(8):
            c = c >> 1 ^ (0xEDB88320 if c & 1 else 0)
        table[i] = c
    return table


_CRC = _crc_table()
_FULL, _BYTE, _ONE, _ZERO = U(0xFFFFFFFF), U(0xFF), U(1), U(0)
_8, _32 = U(8), U(32)
#: What a CRC-32 begins with, and is xor-ed with at its end; what fastText's hash begins with.
CRC_MASK, FNV_START = _FULL, U(2166136261)
_FNV_PRIME, _SIGN = U(16777619), U(0xFFFFFF00)
_LT, _GT = np.uint8(60), np.uint8(62)

#: Rows asked for before they are added: enough to hide the memory's latency, and few enough for the first cache.
AHEAD = 24
#: Words that are looked up together, so that the table's memory is on its way before it is needed.
GROUP = 64
#: Row numbers that are collected before they are summed up.
PENDING = 4096


@jit
def crc_step(c: Any, byte: Any) -> Any:
    """Return the state of a CRC-32 (uint64, inverted; it begins and ends with `CRC_MASK`) with one more byte."""
    return _CRC[(c ^ U(byte)) & _BYTE] ^ (c >> _8)


@jit
def crc32(blob: Any, start: int, stop: int) -> Any:
    """Return zlib's CRC-32 of `blob[start:stop]` as uint64."""
    c = CRC_MASK
    for i in range(start, stop):
        c = crc_step(c, blob[i])
    return c ^ CRC_MASK


@jit
def fnv_step(h: Any, byte: Any) -> Any:
    """Return fastText's hash (uint64 below 2**32) with one more byte."""
    c = U(byte)
    if byte >= 128:
        c |= _SIGN
    return ((h ^ c) * _FNV_PRIME) & _FULL


@jit
def fnv1a(blob: Any, start: int, stop: int) -> Any:
    """Return fastText's hash of `blob[start:stop]` as uint64."""
    h = FNV_START
    for i in range(start, stop):
        h = fnv_step(h, blob[i])
    return h


@jit
def _equal(a: Any, start: int, stop: int, b: Any, begin: int) -> bool:
    for i in range(stop - start):
        if a[start + i] != b[begin + i]:
            return False
    return True


@jit
def scan_entries(blob: Any, size: int, nwords: int, offsets: Any) -> Any:
    """Walk fastText's dictionary entries: word, NUL, int64 count, type byte (0 for the first `nwords`, then 1).

    Fills offsets (size + 1). Returns (entries walked, place): all of them and the end, or the first broken entry (no
    NUL, cut, or of the wrong type) and where it begins.
    """
    place, length = 0, len(blob)
    for i in range(size):
        end = place
        while end < length and blob[end] != 0:
            end += 1
        if end + 10 > length or blob[end + 9] != (0 if i < nwords else 1):
            return i, place
        offsets[i] = place
        place = end + 10
    offsets[size] = place
    return size, place


@jit
def build_table(blob: Any, offsets: Any, gap: int, table: Any) -> None:
    """Fill the empty table with all entries; the first of equal words wins (see `vocabulary`)."""
    size, mask = len(offsets) - 1, U(len(table) - 1)
    crcs = np.empty(GROUP, np.uint64)
    for start in range(0, size, GROUP):
        stop = min(start + GROUP, size)
        for i in range(start, stop):
            crcs[i - start] = crc32(blob, offsets[i], offsets[i + 1] - gap)
            prefetch(table, np.int64(crcs[i - start] & mask))
        for i in range(start, stop):
            crc = crcs[i - start]
            slot = crc & mask
            while table[slot] != _ZERO:
                if table[slot] >> _32 == crc:
                    other = np.int64(table[slot] & _FULL) - 1
                    if offsets[other + 1] - offsets[other] == offsets[i + 1] - offsets[i] and _equal(
                        blob, offsets[i], offsets[i + 1] - gap, blob, offsets[other]
                    ):
                        break
                slot = (slot + _ONE) & mask
            if table[slot] == _ZERO:
                table[slot] = crc << _32 | U(i + 1)


@jit
def probe(query: Any, start: int, stop: int, crc: Any, blob: Any, offsets: Any, gap: int, table: Any) -> int:
    """Return the entry of the word `query[start:stop]` with this CRC-32, or -1.

    A table or offsets that were damaged in the file lead to -1, never outside the arrays.
    """
    mask = U(len(table) - 1)
    slot = crc & mask
    for _ in range(len(table)):
        cell = table[slot]
        if cell == _ZERO:
            return -1
        if cell >> _32 == crc:
            entry = np.int64(cell & _FULL) - 1
            if 0 <= entry < len(offsets) - 1:
                begin = offsets[entry]
                end = offsets[entry + 1] - gap
                if (
                    end - begin == stop - start
                    and begin >= 0
                    and end <= len(blob)
                    and _equal(query, start, stop, blob, begin)
                ):
                    return entry
        slot = (slot + _ONE) & mask
    return -1


@jit
def find_group(
    query: Any, bounds: Any, space: int, start: int, stop: int, vocabulary: Any, entries: Any
) -> None:
    """Look up the query words `start` .. `stop - 1` (at most GROUP of them): entries[i - start] = entry or -1."""
    blob, offsets, gap, table = vocabulary
    mask = U(len(table) - 1)
    crcs = np.empty(GROUP, np.uint64)
    for i in range(start, stop):
        crcs[i - start] = crc32(query, bounds[i], bounds[i + 1] - space)
        prefetch(table, np.int64(crcs[i - start] & mask))
    for i in range(start, stop):
        cell = table[crcs[i - start] & mask]
        entries[i - start] = np.int64(cell & _FULL) - 1
        if cell != _ZERO and entries[i - start] < len(offsets):
            prefetch(offsets, entries[i - start])
    for i in range(start, stop):
        entry = entries[i - start]
        if 0 <= entry < len(offsets) - 1 and 0 <= offsets[entry] < len(blob):
            prefetch(blob, offsets[entry])
    for i in range(start, stop):
        entries[i - start] = probe(
            query, bounds[i], bounds[i + 1] - space, crcs[i - start], blob, offsets, gap, table
        )


@jit
def find_words(query: Any, bounds: Any, space: int, start: int, stop: int, vocabulary: Any, out: Any) -> None:
    """Look up any number of query words: out[i] = entry or -1."""
    for a in range(start, stop, GROUP):
        b = min(a + GROUP, stop)
        find_group(query, bounds, space, a, b, vocabulary, out[a:b])


@jit
def pruned_row(bucket: int, pruned: Any) -> int:
    """Return the row that pruning kept for this bucket, or -1; `pruned` is what `subwords._pruning` packs."""
    if len(pruned) == 0:
        return bucket
    bit = bucket & pruned[1]
    if (pruned[4 + (bit >> 6)] >> (bit & 63)) & 1 == 0:
        return -1
    bins, pairs = pruned[2], pruned[3]
    part = bins + (bucket >> pruned[0])
    if part + 1 >= pairs:
        return -1
    low, end = pruned[part], pruned[part + 1]
    high = end
    while low < high:
        middle = (low + high) >> 1
        if pruned[pairs + 2 * middle] < bucket:
            low = middle + 1
        else:
            high = middle
    if low < end and pruned[pairs + 2 * low] == bucket:
        return pruned[pairs + 2 * low + 1]
    return -1


@jit
def _rotl(x: Any, r: Any) -> Any:
    return (x << r) | (x >> (U(64) - r))


@jit
def _finish(k: Any) -> Any:
    k = (k ^ (k >> U(33))) * U(0xFF51AFD7ED558CCD)
    k = (k ^ (k >> U(33))) * U(0xC4CEB9FE1A85EC53)
    return k ^ (k >> U(33))


@jit
def _word64(text: Any, start: int, count: int) -> Any:
    value = _ZERO
    for b in range(count):
        value |= U(text[start + b]) << U(8 * b)
    return value


@jit
def murmur3(text: Any, start: int, stop: int) -> Any:
    """Return both 64-bit halves of floret's hash of `text[start:stop]`."""
    c1, c2 = U(0x87C37B91114253D5), U(0x4CF5AD432745937F)
    h1, h2 = FNV_START, FNV_START  # floret's seed happens to be FNV's start
    length = stop - start
    i = start
    while i + 16 <= stop:
        h1 ^= _rotl(_word64(text, i, 8) * c1, U(31)) * c2
        h1 = (_rotl(h1, U(27)) + h2) * U(5) + U(0x52DCE729)
        h2 ^= _rotl(_word64(text, i + 8, 8) * c2, U(33)) * c1
        h2 = (_rotl(h2, U(31)) + h1) * U(5) + U(0x38495AB5)
        i += 16
    if stop - i > 8:
        h2 ^= _rotl(_word64(text, i + 8, stop - i - 8) * c2, U(33)) * c1
    if stop > i:
        h1 ^= _rotl(_word64(text, i, min(8, stop - i)) * c1, U(31)) * c2
    h1 ^= U(length)
    h2 ^= U(length)
    h1 += h2
    h2 += h1
    h1, h2 = _finish(h1), _finish(h2)
    h1 += h2
    h2 += h1
    return h1, h2


@jit
def murmur_bucket(h1: Any, h2: Any, k: int, bucket: int) -> Any:
    """Return the bucket of the k-th of the four numbers that both halves of `murmur3` hold."""
    h = h1 if k < 2 else h2
    if k & 1:
        h >>= _32
    return np.int64((h & _FULL) % U(bucket))


@jit
def _push_floret(
    text: Any, start: int, stop: int, bucket: int, hashes: int, base: int, ids: Any, n: int
) -> int:
    h1, h2 = murmur3(text, start, stop)
    for k in range(hashes):
        ids[n] = base + murmur_bucket(h1, h2, k, bucket)
        n += 1
    return n


@jit
def rows_a_start(subwords: Any, length: int) -> int:
    """Return how many row numbers one start position of a bracketed word of `length` bytes can give at the most."""
    return min(max(subwords[1], 0), length) * max(subwords[3], 1) + 4


@jit
def push_ascii(
    text: Any, length: int, place: int, subwords: Any, base: int, ids: Any, n: int, room: int
) -> Any:
    """Do what `push_ngrams` does, for words of ASCII and fastText's hash only: each byte is a character. Half as long.

    The caller knows what the word is made of from having read it; to look here would cost what is gained.
    """
    minn, maxn, bucket, _, pruned = subwords
    need, shortest = rows_a_start(subwords, length), max(minn, 1)
    while place <= length - shortest:
        if n + need > room:
            return n, place
        h = FNV_START
        for count in range(1, min(maxn, length - place) + 1):
            h = ((h ^ U(text[place + count - 1])) * _FNV_PRIME) & _FULL
            if count >= shortest:
                if count == 1 and (place == 0 or place == length - 1):
                    continue
                row = pruned_row(np.int64(h % U(bucket)), pruned)
                if row >= 0:
                    ids[n] = base + row
                    n += 1
        place += 1
    return n, length


@jit
def push_ngrams(
    text: Any, length: int, place: int, subwords: Any, base: int, ids: Any, n: int, room: int
) -> Any:
    """Append the rows (`base` + row) of the n-grams of the bracketed word `text[:length]` from `place` on.

    Stops when fewer than `rows_a_start` places are left of the `room` in `ids`. Returns the new n, and the place to go
    on from (`length` when done). fastText's order: by start, then by length; `computeSubwords` in `src/dictionary.cc`.
    """
    minn, maxn, bucket, hashes, pruned = subwords
    need = rows_a_start(subwords, length)
    if hashes > 0 and place == 0:  # floret: the whole word first
        n = _push_floret(text, 0, length, bucket, hashes, base, ids, n)
    while place < length:
        if n + need > room:
            return n, place
        if (text[place] & 0xC0) == 0x80:
            place += 1
            continue
        h = FNV_START
        end, count = place, 0
        while end < length and count < maxn:
            h = fnv_step(h, text[end])
            end += 1
            while end < length and (text[end] & 0xC0) == 0x80:
                h = fnv_step(h, text[end])
                end += 1
            count += 1
            if count >= minn and not (count == 1 and (place == 0 or end == length)):
                if hashes > 0:
                    n = _push_floret(text, place, end, bucket, hashes, base, ids, n)
                else:
                    row = pruned_row(np.int64(h % U(bucket)), pruned)
                    if row >= 0:
                        ids[n] = base + row
                        n += 1
        place += 1
    return n, place


@jit
def has_ngrams(subwords: Any) -> bool:
    """Say whether words of this model have n-grams (`Subwords.has_ngrams`)."""
    return subwords[3] > 0 or (subwords[1] > 0 and subwords[0] <= subwords[1])


@jit
def is_end(blob: Any, start: int, stop: int) -> bool:
    """Say whether the word is `</s>`."""
    return (
        stop - start == 4
        and blob[start] == 60
        and blob[start + 1] == 47
        and blob[start + 2] == 115
        and blob[start + 3] == 62
    )


@jit
def bracket(blob: Any, start: int, stop: int, text: Any) -> int:
    """Write `<word>` to `text`; return its length."""
    text[0] = _LT
    for i in range(stop - start):
        text[i + 1] = blob[start + i]
    text[stop - start + 1] = _GT
    return stop - start + 2


@jit
def own_row(entry: int, end: bool, limit: int, subwords: Any) -> int:
    """Return the row that a known word brings besides its n-grams, or -1 (`subwords.own_row`)."""
    if entry < 0 or entry >= limit:
        return -1
    if subwords[3] > 0 and has_ngrams(subwords) and entry > 0:
        return -1  # floret words have no row of their own, except entry 0
    return entry


@jit
def _ask(ids: Any, start: int, stop: int, base: int, words: Any, grams: Any) -> None:
    """Ask for the memory of the rows `ids[start:stop]`."""
    for k in range(start, stop):
        row = ids[k]
        if row < 0:
            prefetch_row(words, -1 - row)
        elif row < base:
            prefetch_row(words, row)
        else:
            prefetch_row(grams, row - base)


@jit
def _add(ids: Any, owners: Any, start: int, stop: int, base: int, words: Any, grams: Any, out: Any) -> None:
    """Add the rows `ids[start:stop]` to the output rows of their owners; a negative id is a row to be copied."""
    k = start
    while k < stop:
        first, owner = k, owners[k]
        k += 1
        if ids[first] < 0:
            copy_row(out, owner, words, -1 - ids[first])
            continue
        while k < stop and owners[k] == owner:
            k += 1
        add_rows(out, owner, ids, first, k, base, words, grams)


@jit
def embed(
    query: Any,
    bounds: Any,
    space: int,
    start: int,
    stop: int,
    longest: int,
    vocabulary: Any,
    nwords: int,
    limit: int,
    accumulated: bool,
    words: Any,
    grams: Any,
    subwords: Any,
    out: Any,
    made: Any,
) -> None:
    """Write the vectors of the query words `start` .. `stop - 1` to `out` (float32, N x D).

    made[i] becomes the number of rows that made up word i; 0 leaves a row of zeros. longest: bytes of the longest word.
    The rows of a word are asked for when its n-grams are hashed and added AHEAD rows later, so that the memory works
    while the next words are hashed.
    """
    entries = np.empty(GROUP, np.int64)
    text = np.empty(longest + 2, np.uint8)
    room = PENDING + 2 + rows_a_start(subwords, longest + 2)
    ids = np.empty(room, np.int64)
    owners = np.empty(room, np.int64)
    with_ngrams = has_ngrams(subwords)
    for a in range(start, stop, GROUP):
        b = min(a + GROUP, stop)
        find_group(query, bounds, space, a, b, vocabulary, entries)
        n, done = 0, 0
        out[a:b] = np.float32(0)
        for i in range(a, b):
            entry = entries[i - a]
            first = n
            made[i] = 0
            if accumulated and 0 <= entry < nwords:
                ids[n] = -1 - entry
                owners[n] = i
                n += 1
                made[i] = 1
                _ask(ids, first, n, nwords, words, grams)
            else:
                begin, end = bounds[i], bounds[i + 1] - space
                closing = is_end(query, begin, end)
                own = own_row(entry, closing, limit, subwords)
                if own >= 0:
                    ids[n] = own
                    n += 1
                place, length = 0, 0
                if with_ngrams and not closing:
                    length = bracket(query, begin, end, text)
                while True:
                    if place < length:
                        n, place = push_ngrams(text, length, place, subwords, nwords, ids, n, room)
                    owners[first:n] = i
                    made[i] += n - first
                    _ask(ids, first, n, nwords, words, grams)
                    if place >= length:
                        break
                    _add(
                        ids, owners, done, n, nwords, words, grams, out
                    )  # a very long word: no room for the rest
                    n, done, first = 0, 0, 0
            if n >= PENDING:
                _add(ids, owners, done, n, nwords, words, grams, out)
                n, done = 0, 0
            elif n - done >= 2 * AHEAD:
                _add(ids, owners, done, n - AHEAD, nwords, words, grams, out)
                done = n - AHEAD
        _add(ids, owners, done, n, nwords, words, grams, out)
        for i in range(a, b):
            if made[i] > 1:
                out[i] *= np.float32(1.0 / made[i])


@jit
def embed_one(key: Any, own: int, nwords: int, words: Any, grams: Any, subwords: Any, out: Any) -> int:
    """Write the vector of one word made of sub-words to `out` (1 x D); return the number of rows.

    key: bytes; own: the row that the word brings besides its n-grams, or -1.
    """
    text = np.empty(len(key) + 2, np.uint8)
    length = bracket(key, 0, len(key), text)
    room = 256 + rows_a_start(subwords, length)
    ids = np.empty(room, np.int64)
    owners = np.zeros(room, np.int64)
    out[0] = np.float32(0)
    n, made, place = 0, 0, 0
    if own >= 0:
        ids[0] = own
        n = 1
    while True:
        n, place = push_ngrams(text, length, place, subwords, nwords, ids, n, room)
        _ask(ids, 0, n, nwords, words, grams)
        _add(ids, owners, 0, n, nwords, words, grams, out)
        made += n
        n = 0
        if place >= length:
            break
    if made > 1:
        out[0] *= np.float32(1.0 / made)
    return made


@jit
def ngrams_seen(
    vocabulary: Any,
    nwords: int,
    longest: int,
    minn: int,
    maxn: int,
    text: Any,
    bounds: Any,
    hashes: Any,
    seen: Any,
) -> None:
    """Find out which of some n-grams (`text[bounds[q]:bounds[q + 1]]`, with their FNV hashes) any vocabulary word has.

    Sets seen[q] to 1; ends as soon as all were seen.
    """
    blob, offsets, gap, _ = vocabulary
    word = np.empty(longest + 2, np.uint8)
    sieve = np.zeros(4096, np.bool_)
    for q in range(len(hashes)):
        sieve[hashes[q] & U(4095)] = True
    missing = len(hashes) - seen.sum()
    for i in range(nwords):
        if missing == 0:
            return
        begin, end = offsets[i], offsets[i + 1] - gap
        if is_end(blob, begin, end):
            continue
        length = bracket(blob, begin, end, word)
        for place in range(length):
            if (word[place] & 0xC0) == 0x80:
                continue
            h = FNV_START
            stop, count = place, 0
            while stop < length and count < maxn:
                h = fnv_step(h, word[stop])
                stop += 1
                while stop < length and (word[stop] & 0xC0) == 0x80:
                    h = fnv_step(h, word[stop])
                    stop += 1
                count += 1
                if count >= minn and sieve[h & U(4095)]:
                    for q in range(len(hashes)):
                        if (
                            hashes[q] == h
                            and seen[q] == 0
                            and bounds[q + 1] - bounds[q] == stop - place
                            and _equal(text, bounds[q], bounds[q + 1], word, place)
                        ):
                            seen[q] = 1
                            missing -= 1
