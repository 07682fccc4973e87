"""Words and rows: the entries of a dictionary as packed bytes, offsets and a hash table, all of them mappable.

Entries are words first (0 .. V-1), then labels (V .. size-1), and keys are bytes: text is only a view of them. Entry i
is `blob[offsets[i] : offsets[i + 1] - gap]`, where `gap` counts the bytes that a file keeps between two entries. The
table is open addressing with linear probing over a power of two of cells: `cell = crc32(word) << 32 | entry + 1`, 0 is
empty, the first cell looked at is `crc32(word) & (len - 1)`. Of entries that are the same word the first wins.

CRC-32 is the hash because zlib computes it at C speed from plain Python: one look-up needs neither numba nor a dict.
This file knows no format, except that a dictionary may be found in bytes that are walked once (`EntryScanner`).
"""

from __future__ import annotations

import itertools
import operator
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, overload

import numpy as np
import numpy.typing as npt

from . import _effort, _threads

Array = npt.NDArray[Any]
#: blob uint8, offsets int64 (size + 1), gap, table uint64 (a power of two)
Kernel = tuple[Array, Array, int, Array]

#: Seconds of plain Python that making one table cell costs.
CELL_COST = 0.6e-6
#: Seconds of plain Python that a word costs whose row is there.
ROW_COST = 1.5e-6


def encode(word: str | bytes) -> bytes:
    """Return the key of a word: UTF-8, with surrogate escapes turned back into the bytes they stand for.

    Every str has a key: a lone surrogate that stands for no byte is written in its three-byte form.
    """
    if isinstance(word, bytes):
        return word
    try:
        return word.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return word.encode("utf-8", "surrogatepass")


def decode(key: bytes) -> str:
    """Return the text of a key; bytes that are not UTF-8 become surrogate escapes, so that nothing is lost."""
    return key.decode("utf-8", "surrogateescape")


def pack(words: Sequence[str | bytes]) -> tuple[Array, Array, int]:
    """Pack a batch of words for the kernels: word i is `blob[offsets[i] : offsets[i + 1] - gap]`.

    Returns blob (uint8), offsets (int64, N + 1) and gap. Costs about 30 ns a word for a list of str.
    """
    joined = _join(words)
    if joined is not None:
        blob = np.frombuffer(joined, np.uint8)
        ends = np.flatnonzero(blob == 0)
        if len(ends) == len(words):
            offsets = np.zeros(len(words) + 1, np.int64)
            np.add(ends, 1, out=offsets[1:])
            return blob, offsets, 1
    keys = [encode(word) for word in words]
    offsets = np.zeros(len(keys) + 1, np.int64)
    np.cumsum([len(key) for key in keys], out=offsets[1:])
    return np.frombuffer(b"".join(keys), np.uint8), offsets, 0


def _join(words: Sequence[str | bytes]) -> bytes | None:
    """Return all words, each with a NUL behind it, or None where they are not all str of ordinary characters."""
    try:
        text = "\0".join(words)  # type: ignore[arg-type]
        return (text + "\0").encode("utf-8", "surrogateescape") if words else b""
    except (TypeError, UnicodeEncodeError):
        return None


class Scanner(Protocol):
    """Where a dictionary lies inside a file: what `Vocabulary` asks before (or instead of) having an index."""

    def find(self, key: bytes) -> int:
        """Return the entry with this key, or -1, by searching the bytes; UNDECIDED when only an index can tell."""

    def find_cost(self) -> float:
        """Return about how many seconds one `find` (or `entry`) takes."""

    def entry(self, i: int) -> bytes:
        """Return the key of entry `i` by walking to it."""

    def index(self) -> tuple[Array, Array, int]:
        """Walk all entries: return blob (uint8), offsets (int64, size + 1) and gap."""

    def counts(self, offsets: Array) -> Array | None:
        """Return how often training saw each entry (int64), or None where the file does not say."""


#: What `Scanner.find` returns when only an index can tell.
UNDECIDED = -2


class Vocabulary:
    """The words (and labels) of a model. `len` counts the words, `size` all entries.

    Made from arrays (`blob`, `offsets`, `table`; mapped or not), or from a scanner that makes them when they are first
    needed. All methods are safe to call from several threads.
    """

    def __init__(
        self,
        size: int,
        nwords: int,
        *,
        arrays: tuple[Array, Array, int] | None = None,
        table: Array | None = None,
        counts: Array | None = None,
        scanner: Scanner | None = None,
        damaged: Callable[[str, int], Exception] | None = None,
    ) -> None:
        self.size = size
        self._nwords = nwords
        self._scanner = scanner
        self._counts = counts
        self._damaged = damaged or (lambda message, entry: ValueError(f"{message} (entry {entry})"))
        self._lock = _threads.Lock()
        self._spent = 0.0
        self._walkable = False
        self._arrays = arrays
        self._table: Array | None = None
        self._views: tuple[memoryview, memoryview, int, memoryview, int] | None = None
        if arrays is not None and table is not None:
            self._set_table(table)

    @classmethod
    def from_words(
        cls,
        words: Iterable[str | bytes],
        counts: Sequence[int] | Array | None = None,
        nwords: int | None = None,
    ) -> Vocabulary:
        """Make a vocabulary from words in row order (then labels, when `nwords` is less than their number)."""
        blob, offsets, gap = pack(list(words))
        size = len(offsets) - 1
        numbers = None if counts is None else np.asarray(counts, np.int64)
        if numbers is not None and numbers.shape != (size,):
            raise ValueError(f"counts must be one for each of the {size} words, not of shape {numbers.shape}")
        return cls(size, size if nwords is None else nwords, arrays=(blob, offsets, gap), counts=numbers)

    def __len__(self) -> int:
        return self._nwords

    # -- one word, in plain Python -------------------------------------------------------------------------------

    def find(self, key: bytes) -> int:
        """Return the entry of `key`, or -1. O(1) once there is a table."""
        views = self._views
        if views is None:
            if self._search_is_cheaper():
                assert self._scanner is not None
                found = self._scanner.find(key)
                if found != UNDECIDED:
                    return found
            self._make_table()
            views = self._views
            assert views is not None
        blob, offsets, gap, table, mask = views
        crc = zlib.crc32(key)
        first = slot = crc & mask
        cell = table[slot]
        while cell:
            if cell >> 32 == crc:
                entry = (cell & 0xFFFFFFFF) - 1
                if 0 <= entry < self.size and blob[offsets[entry] : offsets[entry + 1] - gap] == key:
                    return entry
            slot = (slot + 1) & mask
            if slot == first:  # a damaged table without an empty cell
                break
            cell = table[slot]
        return -1

    def find_all(self, words: Sequence[str | bytes]) -> Array:
        """Return the entry of each word, or -1: int64 (N,)."""
        if _effort.kernels_due(len(words) * ROW_COST):
            return self.find_batch(words)
        return np.array([self.find(encode(word)) for word in words], np.int64)

    def find_batch(self, words: Sequence[str | bytes]) -> Array:
        """Do what `find_all` does by the kernel, on several threads."""
        from .kernels import lookup

        blob, bounds, gap = pack(words)
        found = np.empty(len(words), np.int64)
        arrays = self.kernel()
        _threads.run_chunks(
            lambda start, stop: lookup.find_words(blob, bounds, gap, start, stop, arrays, found),
            len(words),
            1 << 16,
        )
        return found

    def entry(self, i: int) -> bytes:
        """Return the key of entry `i` (0 <= i < size)."""
        if self._arrays is None:
            assert self._scanner is not None
            if self._search_is_cheaper():
                return self._scanner.entry(i)
            self._make_arrays()
        assert self._arrays is not None
        blob, offsets, gap = self._arrays
        start, stop = int(offsets[i]), int(offsets[i + 1]) - gap
        if not 0 <= start <= stop <= len(blob):
            raise self._damaged("the offsets of the vocabulary are out of order", i)
        return bytes(blob.data[start:stop])

    def entries(self, start: int, stop: int) -> list[bytes]:
        """Return the keys of the entries `start` .. `stop - 1`."""
        if self._arrays is None and stop - start > 1:
            self._make_arrays()
        if self._arrays is None or stop - start < 8:
            return [self.entry(i) for i in range(start, stop)]
        blob, offsets, gap = self._arrays
        bounds = np.asarray(offsets[start : stop + 1])
        low, high = int(bounds[0]), int(bounds[-1])
        if (bounds[1:] - bounds[:-1] < gap).any() or low < 0 or high > len(blob):  # `entry` says which
            return [self.entry(i) for i in range(start, stop)]
        data, places = blob[low:high].tobytes(), (bounds - low).tolist()
        return [data[a : b - gap] for a, b in itertools.pairwise(places)]

    @property
    def counts(self) -> Array | None:
        """How often training saw each entry: int64 (size,), or None where the file does not say."""
        if self._counts is None and self._scanner is not None:
            self._make_arrays()
            assert self._arrays is not None
            self._counts = self._scanner.counts(self._arrays[1])
        return self._counts

    # -- the arrays, for kernels and writers ---------------------------------------------------------------------

    def kernel(self) -> Kernel:
        """Return blob (uint8), offsets (int64, size + 1), gap and table (uint64), making what is not there yet."""
        if self._table is None:
            self._make_table()
        assert self._arrays is not None and self._table is not None
        return (*self._arrays, self._table)

    def walkable(self) -> Kernel:
        """Return `kernel()` for code that walks all entries: every offset is known to lie in order, inside the blob.

        Checked once, for offsets come from a file; the error is the one that `damaged` makes. (A look-up needs no such
        pass: it checks the one entry that it meets.)
        """
        blob, offsets, gap, table = self.kernel()
        if not self._walkable:
            for start in range(0, self.size, 1 << 16):
                bounds = offsets[start : start + (1 << 16) + 1]
                fallen = np.flatnonzero(
                    (bounds[1:] - bounds[:-1] < gap) | (bounds[:-1] < 0) | (bounds[1:] > len(blob))
                )
                if len(fallen):
                    raise self._damaged(
                        "the offsets of the vocabulary are out of order", start + int(fallen[0])
                    )
            self._walkable = True
        return blob, offsets, gap, table

    def _search_is_cheaper(self) -> bool:
        """Say whether one more search of the bytes is cheaper than an index (ski rental, as in `_effort`)."""
        if self._scanner is None or self._views is not None:
            return False
        price = self.size * CELL_COST if self.size * CELL_COST < _effort.START else _effort.START
        if self._spent > price or _effort.loaded():
            return False
        self._spent += self._scanner.find_cost()
        return True

    def _make_arrays(self) -> None:
        with self._lock:
            if self._arrays is None:
                assert self._scanner is not None
                self._arrays = self._scanner.index()

    def _make_table(self) -> None:
        if self._arrays is None:
            self._make_arrays()
        assert self._arrays is not None
        with self._lock:
            if self._table is None:
                self._set_table(_build_table(*self._arrays))

    def _set_table(self, table: Array) -> None:
        assert self._arrays is not None
        blob, offsets, gap = self._arrays
        self._table = table
        self._views = (blob.data, offsets.data, gap, table.data, len(table) - 1)


def table_length(size: int) -> int:
    """Return the number of cells for `size` entries: the smallest power of two that is at least twice as many."""
    return 1 << max(1, (2 * size - 1).bit_length())


def _build_table(blob: Array, offsets: Array, gap: int) -> Array:
    """Return the table of all entries (uint64), by the kernel where there are many."""
    size = len(offsets) - 1
    table = np.zeros(table_length(size), np.uint64)
    if _effort.kernels_due(size * CELL_COST):
        from .kernels import lookup

        lookup.build_table(blob, offsets, gap, table)
        return table
    mask = len(table) - 1
    view, cells = blob.data, table.data
    bounds = offsets.tolist()
    for i in range(size):
        key = view[bounds[i] : bounds[i + 1] - gap]
        crc = zlib.crc32(key)
        slot = crc & mask
        while cells[slot]:
            other = (cells[slot] & 0xFFFFFFFF) - 1
            if cells[slot] >> 32 == crc and view[bounds[other] : bounds[other + 1] - gap] == key:
                break  # the first of equal words wins
            slot = (slot + 1) & mask
        else:
            cells[slot] = crc << 32 | (i + 1)
    return table


class Words(Sequence[str]):
    """The words of a vocabulary (or its labels) as text, decoded when they are asked for.

    Bytes that are not UTF-8 become surrogate escapes: `word.encode("utf-8", "surrogateescape")` gives them back.
    """

    def __init__(self, vocabulary: Vocabulary, start: int, stop: int, check: Callable[[], None]) -> None:
        self._vocabulary, self._start, self._stop = vocabulary, start, stop
        self._check = check  # raises when the file cannot be read any more

    def __len__(self) -> int:
        return self._stop - self._start

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> list[str]: ...
    def __getitem__(self, i: int | slice) -> str | list[str]:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        position = operator.index(i)
        if position < 0:
            position += len(self)
        if not 0 <= position < len(self):
            raise IndexError(f"row {i} of {len(self)}")
        self._check()
        return decode(self._vocabulary.entry(self._start + position))

    def __iter__(self) -> Iterator[str]:
        for start in range(self._start, self._stop, 4096):
            self._check()
            yield from map(decode, self._vocabulary.entries(start, min(start + 4096, self._stop)))

    def __contains__(self, word: object) -> bool:
        if not isinstance(word, (str, bytes)):
            return False
        self._check()
        return self._start <= self._vocabulary.find(encode(word)) < self._stop

    def index(self, word: str, start: int = 0, stop: int | None = None) -> int:
        """Return the row of `word`; ValueError when it is not there."""
        self._check()
        found = self._vocabulary.find(encode(word)) - self._start
        if not start <= found < (len(self) if stop is None else stop):
            raise ValueError(f"{word!r} is not in the vocabulary")
        return found

    def __repr__(self) -> str:
        return f"<{len(self)} words>"
