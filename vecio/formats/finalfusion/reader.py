"""Reading a finalfusion file in place.

What a chunk says about its length is not believed where the content tells it; a large vocabulary is stepped over by it
all the same, if a storage that fits lies there, and walked when its index is needed.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ... import _effort, _toml
from ..._binary import Cursor, MappedFile
from ...embeddings import Embeddings, Parts
from ...errors import FormatError, TruncatedError, UnsupportedError
from ...matrix import Float32, Gathered, Matrix, ProductQuantised, Projected
from ...subwords import FLORET_SEED, Subwords
from ...vocabulary import UNDECIDED, Vocabulary
from .chunks import (
    CENTROIDS,
    CHUNKS,
    DENSE,
    EXPLICIT,
    F32,
    FASTTEXT,
    FLORET,
    MAGIC,
    METADATA,
    MOST,
    NAME,
    NORMS,
    QUANTISED,
    SIMPLE,
    STORAGES,
    U8,
    VERSION,
    VOCABULARIES,
)

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

#: A vocabulary up to this size is walked when the file is opened.
EAGER = 1 << 20
#: Seconds for a byte that is searched, and for a string that is walked over by plain Python.
BYTE_COST, WALK_COST = 0.6e-9, 0.2e-6
#: Columns up to which fewer than 256 centroids are filled up.
MOST_COLUMNS = 1 << 14
#: Codes that are looked at in one go.
BLOCK = 1 << 20


def detect(file: MappedFile) -> str | None:
    """Return None for a finalfusion file, one in the wrong byte order among them; else why it is none."""
    return None if file.map[:4] in (MAGIC, MAGIC[::-1]) else "does not begin with 'FiFu'"


def read(file: MappedFile, *, unnormalize: bool = False) -> Embeddings:
    """Open a finalfusion file in place. Raises FormatError where any number contradicts another or the file's length.

    unnormalize: give the word vectors the lengths that they had before they were scaled to length 1; UnsupportedError
    where the file does not know them.
    """
    cursor = Cursor(file)
    listed = _read_header(cursor)
    chunk = _chunk(cursor, (METADATA, *VOCABULARIES), "the metadata or the vocabulary")
    metadata: Mapping[str, Any] = {}
    if chunk.kind == METADATA:
        place = cursor.skip(chunk.size, "the metadata")
        metadata = _toml.Settings(file.bytes(place, place + chunk.size))
        chunk = _chunk(cursor, VOCABULARIES, "the vocabulary")
    words = _read_vocabulary(cursor, chunk)
    storage = _read_storage(cursor, words.size, words.rows)
    lengths = _read_norms(cursor, words.size, NORMS in listed)
    matrix = storage.part(0, words.size)
    if unnormalize:
        if lengths is None:
            raise UnsupportedError(f"{file.path}: there are no norms to multiply the vectors by")
        matrix, lengths = Gathered(matrix, np.arange(words.size), lengths), None
    subwords = words.subwords
    return Embeddings(
        Parts(
            words.vocabulary,
            matrix,
            NAME,
            file=file,
            grams=None if subwords is None else storage.part(words.size, words.rows),
            subwords=subwords,
            unit=subwords is not None,
            lengths=lengths,
            metadata=metadata,
        )
    )


def _read_header(cursor: Cursor) -> list[int]:
    """Return the chunk ids that the header lists."""
    file = cursor.file
    magic = file.bytes(0, cursor.skip(4, "the magic letters") + 4)
    if magic != MAGIC:
        wrong = magic == MAGIC[::-1]
        reason = "the file was written by a big-endian machine" if wrong else "not a finalfusion file"
        raise FormatError(file.path, reason, offset=0, expected=ascii(MAGIC)[1:], found=ascii(magic)[1:])
    _expect(cursor, "the version", VERSION)
    place = cursor.offset
    count = cursor.u32("the number of chunks")
    if count > len(CHUNKS):
        raise FormatError(
            file.path,
            "impossible number of chunks",
            offset=place,
            expected=f"2 to {len(CHUNKS)}",
            found=count,
        )
    listed = [cursor.u32(f"chunk id {i} of {count}") for i in range(count)]
    for i, found in enumerate(listed):
        if found not in CHUNKS:
            raise FormatError(
                file.path, f"unknown chunk id {i}", offset=place + 4 + 4 * i, expected="1 to 9", found=found
            )
    return listed


class _Chunk(NamedTuple):
    """A chunk's header. start: where its data begin."""

    kind: int
    size: int
    start: int


def _chunk(cursor: Cursor, wanted: tuple[int, ...], what: str) -> _Chunk:
    """Read the header of the next chunk, which must be one of those that are wanted."""
    place = cursor.offset
    number = cursor.u32(f"the chunk id of {what}")
    if number not in wanted:
        expected = " or ".join(f"{i} ({CHUNKS[i]})" for i in wanted)
        found = f"{number} ({CHUNKS[number]})" if number in CHUNKS else number
        raise FormatError(
            cursor.file.path, f"{what} is missing here", offset=place, expected=expected, found=found
        )
    length = cursor.u64(f"the length of {what}")
    return _Chunk(number, length, cursor.offset)


def _expect(cursor: Cursor, name: str, expected: int) -> None:
    """Read a u32 that can have only one value."""
    place = cursor.offset
    found = cursor.u32(name)
    if found != expected:
        raise FormatError(
            cursor.file.path, f"wrong value of {name}", offset=place, expected=expected, found=found
        )


def _pad(cursor: Cursor) -> None:
    """Step over the padding before numbers: 4 bytes where the place is a multiple of 4 already."""
    cursor.skip(4 - cursor.offset % 4, "the padding")


# -- the vocabulary ------------------------------------------------------------------------------------------------


class _Words(NamedTuple):
    """A vocabulary chunk. rows: how many the storage must have."""

    vocabulary: Vocabulary
    subwords: Subwords | None
    size: int
    rows: int


def _read_vocabulary(cursor: Cursor, chunk: _Chunk) -> _Words:
    """Read a vocabulary chunk; the cursor ends where the storage chunk begins."""
    if chunk.kind == FLORET:
        return _read_floret(cursor)
    place = cursor.offset
    count = cursor.u64("the number of words")
    _fits(cursor, count, 4, "words", place)
    if chunk.kind == EXPLICIT:
        return _read_explicit(cursor, count)
    subwords, rows = None, 0
    if chunk.kind != SIMPLE:
        minn, maxn = _read_range(cursor)
        place = cursor.offset
        number = cursor.u32("the number of buckets" if chunk.kind == FASTTEXT else "the exponent of buckets")
        most = MOST if chunk.kind == FASTTEXT else 31
        if not 1 <= number <= most:
            name = "number" if chunk.kind == FASTTEXT else "exponent"
            raise FormatError(
                cursor.file.path,
                f"impossible {name} of buckets",
                offset=place,
                expected=f"1 to {most}",
                found=number,
            )
        rows = number if chunk.kind == FASTTEXT else 1 << number
        kind = "fifu-fasttext" if chunk.kind == FASTTEXT else "fifu-buckets"
        subwords = Subwords(minn, maxn, rows, kind)
    start = cursor.offset
    end = chunk.start + chunk.size
    if end - start > EAGER and _storage_follows(cursor.file, end, count + rows):
        cursor.offset = end
        scanner = Strings(cursor.file, start, end, count)
        vocabulary = Vocabulary(count, count, scanner=scanner, damaged=_damaged(cursor.file, start))
    else:
        vocabulary = _vocabulary(cursor.file, start, *_walked(cursor, count, "word"))
    return _Words(vocabulary, subwords, count, count + rows)


def _fits(cursor: Cursor, count: int, each: int, what: str, place: int) -> None:
    """Refuse a count of things that the rest of the file cannot hold."""
    room = cursor.file.size - cursor.offset
    if count * each > room:
        raise TruncatedError(
            cursor.file.path,
            f"{count} {what} do not fit",
            offset=place,
            expected=f"at least {count * each} bytes",
            found=f"{room} bytes",
        )
    if count >= MOST:
        raise UnsupportedError(f"{cursor.file.path}: {count} {what} are more than can be numbered")


def _read_range(cursor: Cursor) -> tuple[int, int]:
    """Read min_n and max_n."""
    place = cursor.offset
    minn, maxn = cursor.u32("min_n"), cursor.u32("max_n")
    if not 1 <= minn <= maxn < 1 << 31:
        raise FormatError(
            cursor.file.path,
            "impossible lengths of n-grams",
            offset=place,
            expected="1 <= min_n <= max_n < 2^31",
            found=f"{minn} and {maxn}",
        )
    return minn, maxn


def _storage_follows(file: MappedFile, place: int, rows: int) -> bool:
    """Say whether a storage chunk with so many rows begins at `place`."""
    if place + 40 > file.size:
        return False
    number = struct.unpack_from("<I", file.map, place)[0]
    at = place + 12 + (20 if number == QUANTISED else 0)
    return number in STORAGES and bool(struct.unpack_from("<Q", file.map, at)[0] == rows)


def _damaged(file: MappedFile, start: int) -> Callable[[str, int], Exception]:
    return lambda message, entry: FormatError(file.path, f"{message} (entry {entry})", offset=start)


def _walked(cursor: Cursor, count: int, what: str, extra: int = 0) -> tuple[Array, Array, int]:
    """Read `count` strings, each with `extra` bytes behind it, as packed words; the cursor ends behind them."""
    file, start = cursor.file, cursor.offset
    offsets, cursor.offset = walk(file, start, file.size, count, what, extra)
    return _blob(file, start, cursor.offset), offsets, 4 + extra


def _vocabulary(file: MappedFile, start: int, blob: Array, offsets: Array, gap: int) -> Vocabulary:
    size = len(offsets) - 1
    return Vocabulary(size, size, arrays=(blob, offsets, gap), damaged=_damaged(file, start))


def _blob(file: MappedFile, start: int, end: int) -> Array:
    """Return the bytes of strings from the first one's on; a length of 4 bytes too much counts as the last gap."""
    return file.array(np.uint8, end - start, min(start + 4, file.size), "what follows the vocabulary")


def walk(file: MappedFile, start: int, stop: int, count: int, what: str, extra: int = 0) -> tuple[Array, int]:
    """Walk strings from `start`; return where their bytes begin, from the first on (count + 1), and where they end.

    Raises FormatError with the string's number and place.
    """
    if _effort.kernels_due(count * WALK_COST):
        from ...kernels import finalfusion as kernels

        offsets = np.empty(count + 1, np.int64)
        data = file.array(np.uint8, stop, 0, "the file")
        done, place = kernels.walk(data, start, stop, count, extra, offsets)
    else:
        offsets, done, place = _walk_plain(file, start, stop, count, extra)
    if done < count:
        raise _string_error(file, f"{what} {done} of {count}", place, stop, extra)
    return offsets, place


def _walk_plain(file: MappedFile, start: int, stop: int, count: int, extra: int) -> tuple[Array, int, int]:
    data, unpack = file.map, struct.Struct("<I").unpack_from
    offsets = array("q")  # a list of numbers would take five times as much
    place, first, last = start, start + 4, stop - 4
    for i in range(count):
        if place > last:
            return np.zeros(0, np.int64), i, place
        (size,) = unpack(data, place)
        if size + extra > last - place:
            return np.zeros(0, np.int64), i, place
        offsets.append(place + 4 - first)
        place += 4 + size + extra
    offsets.append(place + 4 - first)
    return np.frombuffer(offsets, np.int64), count, place


def _string_error(file: MappedFile, name: str, place: int, stop: int, extra: int) -> FormatError:
    """Say what is wrong with the string at `place`."""
    room = stop - place - 4
    if room < 0:
        return TruncatedError(
            file.path,
            f"the file ends inside the length of {name}",
            offset=min(place, file.size),
            expected="4 bytes",
            found=f"{max(stop - place, 0)} bytes",
        )
    size = struct.unpack_from("<I", file.map, place)[0]
    return TruncatedError(
        file.path,
        f"{name} does not fit",
        offset=place,
        expected=f"{size + extra} bytes",
        found=f"{room} bytes",
    )


def _read_explicit(cursor: Cursor, count: int) -> _Words:
    """Read the rest of an explicit vocabulary: the words, then n-grams with their rows."""
    file, place = cursor.file, cursor.offset
    grams = cursor.u64("the number of n-grams")
    _fits(cursor, grams, 12, "n-grams", place)
    minn, maxn = _read_range(cursor)
    start = cursor.offset
    vocabulary = _vocabulary(file, start, *_walked(cursor, count, "word"))
    start = cursor.offset
    packed = _walked(cursor, grams, "n-gram", 8)
    rows, indices = _read_indices(file, start, *packed)
    pruned = None
    if not np.array_equal(indices, np.arange(grams)):
        pruned = np.stack([np.arange(grams), indices], axis=1)
    table = _vocabulary(file, start, *packed)
    subwords = Subwords(minn, maxn, max(grams, 1), "fifu-explicit", pruned=pruned, table=table)
    return _Words(vocabulary, subwords, count, count + rows)


def _read_indices(file: MappedFile, start: int, blob: Array, offsets: Array, gap: int) -> tuple[int, Array]:
    """Return how many rows the n-grams have, and the row of each: every number up to the largest must occur."""
    grams = len(offsets) - 1
    indices = np.empty(grams, np.int64)
    for i in range(0, grams, 1 << 16):
        places = offsets[i + 1 : i + 1 + (1 << 16), None] - gap + np.arange(8)
        indices[i : i + len(places)] = blob[places].view("<i8")[:, 0]
    wrong = np.flatnonzero((indices < 0) | (indices >= grams))
    if len(wrong):
        first = int(wrong[0])
        raise FormatError(
            file.path,
            f"the index of n-gram {first} of {grams} is too large",
            offset=start + 4 + int(offsets[first + 1]) - gap,
            expected=f"0 to {grams - 1}",
            found=int(indices[first]) & 0xFFFFFFFFFFFFFFFF,
        )
    rows = int(indices.max(initial=-1)) + 1
    unused = np.flatnonzero(np.bincount(indices, minlength=rows) == 0)
    if len(unused):
        raise FormatError(
            file.path,
            "the indices of the n-grams have gaps",
            offset=start,
            expected=f"each of 0 to {rows - 1}",
            found=f"none is {unused[0]}",
        )
    return rows, indices


def _read_floret(cursor: Cursor) -> _Words:
    """Read a floret vocabulary: a rule, and no words."""
    minn, maxn = _read_range(cursor)
    place = cursor.offset
    buckets = cursor.u64("the number of buckets")
    if buckets < 1:
        raise FormatError(
            cursor.file.path, "impossible number of buckets", offset=place, expected="at least 1", found=0
        )
    place = cursor.offset
    hashes = cursor.u32("the number of hashes")
    if not 1 <= hashes <= 4:
        raise FormatError(
            cursor.file.path, "impossible number of hashes", offset=place, expected="1 to 4", found=hashes
        )
    seed = cursor.u32("the seed of the hash")
    ends = []
    for name in ("begin", "end"):
        size = cursor.u32(f"the length of the mark for a word's {name}")
        place = cursor.skip(size, f"the mark for a word's {name}")
        ends.append(cursor.file.bytes(place, place + size))
    if seed != FLORET_SEED:
        raise UnsupportedError(f"{cursor.file.path}: a floret vocabulary with the seed {seed}")
    subwords = Subwords(minn, maxn, buckets, "fifu-floret", hashes, begin=ends[0], end=ends[1])
    return _Words(Vocabulary.from_words([]), subwords, 0, buckets)


class Strings:
    """A vocabulary's strings where they lie, not walked yet: the scanner of a `Vocabulary`.

    A single word is found by searching the mapped bytes for its length and letters; it is one if walking all strings
    before it ends exactly there.
    """

    #: Wrong candidates after which an index is the better way.
    PATIENCE = 4

    def __init__(self, file: MappedFile, start: int, end: int, count: int) -> None:
        self._file, self._start, self._end, self._count = file, start, end, count

    def find_cost(self) -> float:
        return (self._end - self._start) * BYTE_COST + self._count * WALK_COST / 2

    def find(self, key: bytes) -> int:
        text, place = struct.pack("<I", len(key)) + key, self._start
        for _ in range(self.PATIENCE):
            place = self._file.map.find(text, place, self._end)
            if place < 0:
                return -1
            row, reached = self._walk(place, self._count)
            if reached == place:
                return row if row < self._count else -1
            place += 1
        return UNDECIDED

    def _walk(self, stop: int, most: int) -> tuple[int, int]:
        """Walk up to `stop`, at most `most` strings; return how many, and the place."""
        data, unpack, last = self._file.map, struct.Struct("<I").unpack_from, self._end - 4
        place, count = self._start, 0
        while place < stop and count < most and place <= last:
            place += 4 + unpack(data, place)[0]
            count += 1
        return count, place

    def entry(self, i: int) -> bytes:
        count, place = self._walk(self._end, i)
        size = struct.unpack_from("<I", self._file.map, place)[0] if place + 4 <= self._end else self._end
        if count != i or place + 4 + size > self._end:
            raise _string_error(self._file, f"word {count} of {self._count}", place, self._end, 0)
        return self._file.bytes(place + 4, place + 4 + size)

    def index(self) -> tuple[Array, Array, int]:
        offsets, place = walk(self._file, self._start, self._end, self._count, "word")
        if place != self._end:
            raise FormatError(
                self._file.path,
                "the words do not end where the storage begins",
                offset=place,
                expected=self._end,
                found=place,
            )
        return _blob(self._file, self._start, self._end), offsets, 4

    def counts(self, offsets: Array) -> Array | None:
        return None


# -- storage and norms ---------------------------------------------------------------------------------------------


def _read_storage(cursor: Cursor, words: int, rows: int) -> Matrix:
    chunk = _chunk(cursor, STORAGES, "the storage")
    return (_read_dense if chunk.kind == DENSE else _read_quantised)(cursor, words, rows)


def _expect_rows(cursor: Cursor, words: int, rows: int) -> None:
    place = cursor.offset
    found = cursor.u64("the number of rows")
    if found != rows:
        raise FormatError(
            cursor.file.path,
            "wrong number of rows",
            offset=place,
            expected=f"{rows} ({words} words and {rows - words} n-gram rows)",
            found=found,
        )


def _columns(cursor: Cursor, name: str) -> int:
    place = cursor.offset
    found = cursor.u32(name)
    if found < 1:
        raise FormatError(
            cursor.file.path, f"impossible {name}", offset=place, expected="at least 1", found=found
        )
    return found


def _read_dense(cursor: Cursor, words: int, rows: int) -> Matrix:
    _expect_rows(cursor, words, rows)
    dim = _columns(cursor, "the number of columns")
    _expect(cursor, "the type of the numbers", F32)
    _pad(cursor)
    place = cursor.skip(4 * rows * dim, "the rows")
    return Float32(cursor.file.array("<f4", (rows, dim), place, "the rows"))


def _read_quantised(cursor: Cursor, words: int, rows: int) -> Matrix:
    file = cursor.file
    projected, normed = _flag(cursor, "the projection"), _flag(cursor, "the norms of the storage")
    place = cursor.offset
    pieces = _columns(cursor, "the number of sub-quantisers")
    dim = _columns(cursor, "the number of columns")
    if dim % pieces:
        raise FormatError(
            file.path,
            "the sub-quantisers do not divide the columns",
            offset=place,
            expected=f"a divisor of {dim}",
            found=pieces,
        )
    count = _columns(cursor, "the number of centroids")
    _expect_rows(cursor, words, rows)
    _expect(cursor, "the type of the codes", U8)
    _expect(cursor, "the type of the numbers", F32)
    _pad(cursor)
    projection = None
    if projected:
        place = cursor.skip(4 * dim * dim, "the projection")
        projection = file.array("<f4", (dim, dim), place, "the projection").T
    first = cursor.skip(4 * count * dim, "the centroids")
    norms: Array = np.zeros(0, np.float32)
    if normed:
        place = cursor.skip(4 * rows, "the norms of the storage")
        norms = file.array("<f4", rows, place, "the norms of the storage")
    place = cursor.skip(rows * pieces, "the codes")
    codes = file.array(np.uint8, (rows, pieces), place, "the codes")
    _check_codes(file, codes, count, place)
    centroids = _centroids(file, first, pieces, count, dim)
    if projection is None:
        return ProductQuantised(codes, centroids, dim, dim // pieces, norms)
    plain = ProductQuantised(codes, centroids, dim, dim // pieces, np.zeros(0, np.float32))
    return Projected(plain, projection, norms if normed else None)


def _flag(cursor: Cursor, name: str) -> bool:
    place = cursor.offset
    found = cursor.u32(f"the flag of {name}")
    if found > 1:
        raise FormatError(
            cursor.file.path, f"wrong flag of {name}", offset=place, expected="0 or 1", found=found
        )
    return found == 1


def _check_codes(file: MappedFile, codes: Array, count: int, place: int) -> None:
    """Refuse codes that have no centroid. Reads all of them, where there are fewer than 256 centroids."""
    if count >= CENTROIDS:
        return
    flat = codes.reshape(-1)
    for start in range(0, len(flat), BLOCK):
        wrong = np.flatnonzero(flat[start : start + BLOCK] >= count)
        if len(wrong):
            at = start + int(wrong[0])
            raise FormatError(
                file.path,
                f"a code of row {at // codes.shape[1]} has no centroid",
                offset=place + at,
                expected=f"0 to {count - 1}",
                found=int(flat[at]),
            )


def _centroids(file: MappedFile, place: int, pieces: int, count: int, dim: int) -> Floats:
    """Return 256 centroids a piece, one piece after the other: a copy, filled up or cut."""
    if count < CENTROIDS and dim > MOST_COLUMNS:
        raise UnsupportedError(f"{file.path}: {count} centroids of {dim} columns")
    stored = file.array("<f4", (pieces, count, dim // pieces), place, "the centroids")
    whole = np.zeros((pieces, CENTROIDS, dim // pieces), np.float32)
    whole[:, :count] = stored[:, :CENTROIDS]
    return whole.reshape(-1)


def _read_norms(cursor: Cursor, words: int, listed: bool) -> Array | None:
    """Read the norms chunk, which may be there although the header does not list it; then the file must end."""
    file, place = cursor.file, cursor.offset
    if place == file.size and not listed:
        return None
    left = file.size - place
    if not listed and (left < 12 or struct.unpack_from("<I", file.map, place)[0] != NORMS):
        raise _after_the_end(file, place)
    _chunk(cursor, (NORMS,), "the norms chunk")
    place = cursor.offset
    count = cursor.u64("the number of norms")
    if count != words:
        raise FormatError(
            file.path, "wrong number of norms", offset=place, expected=f"{words}, one a word", found=count
        )
    _expect(cursor, "the type of the norms", F32)
    _pad(cursor)
    place = cursor.skip(4 * words, "the norms")
    norms = file.array("<f4", words, place, "the norms")
    if cursor.offset != file.size:
        raise _after_the_end(file, cursor.offset)
    return norms


def _after_the_end(file: MappedFile, place: int) -> FormatError:
    return FormatError(
        file.path,
        "there are bytes after the end of the model",
        offset=place,
        expected=f"{place} bytes",
        found=f"{file.size} bytes",
    )
