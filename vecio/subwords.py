"""N-grams and their hashes: which rows of the n-gram matrix make up a word.

Two rules are known: fastText's (one row an n-gram, chosen by a sign-extending FNV-1a hash) and floret's (the whole
bracketed word and its n-grams, one to four rows each, chosen by MurmurHash3). Everything here is plain Python for one
word; `kernels/lookup.py` does the same for a million. Sources: fastText `src/dictionary.cc` (`hash`,
`computeSubwords`, `getSubwords`, `pushHash`), floret `src/dictionary.cc`, Appleby's `MurmurHash3_x64_128`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import UnsupportedError

Array = npt.NDArray[Any]

BEGIN, END = b"<", b">"
#: The token that stands for the end of a line; it never has n-grams.
END_OF_SENTENCE = b"</s>"
#: More n-grams than this in one word are refused: `maxn` is then without bound and the word a megabyte.
MOST_NGRAMS = 1 << 24
#: The seed of floret's hash: always this one.
FLORET_SEED = 2166136261

_M32, _M64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
#: What each byte is xor-ed with: bytes from 0x80 on are sign-extended to 32 bits, fastText's quirk.
_SIGNED = tuple(c if c < 128 else c + 0xFFFFFF00 for c in range(256))


def fnv1a(data: bytes) -> int:
    """Return fastText's 32-bit hash: FNV-1a with sign-extended bytes (ordinary FNV-1a for ASCII)."""
    h = 2166136261
    for c in data:
        h = ((h ^ _SIGNED[c]) * 16777619) & _M32
    return h


def murmur3(data: bytes, seed: int = FLORET_SEED) -> tuple[int, int, int, int]:
    """Return MurmurHash3 (x64, 128 bit) as four 32-bit numbers, the low half of each word first."""
    c1, c2 = 0x87C37B91114253D5, 0x4CF5AD432745937F
    h1 = h2 = seed
    whole = len(data) - len(data) % 16
    for i in range(0, whole, 16):
        k1 = int.from_bytes(data[i : i + 8], "little")
        k2 = int.from_bytes(data[i + 8 : i + 16], "little")
        h1 ^= _rotl(k1 * c1 & _M64, 31) * c2 & _M64
        h1 = ((_rotl(h1, 27) + h2) * 5 + 0x52DCE729) & _M64
        h2 ^= _rotl(k2 * c2 & _M64, 33) * c1 & _M64
        h2 = ((_rotl(h2, 31) + h1) * 5 + 0x38495AB5) & _M64
    tail = data[whole:]
    if len(tail) > 8:
        h2 ^= _rotl(int.from_bytes(tail[8:], "little") * c2 & _M64, 33) * c1 & _M64
    if tail:
        h1 ^= _rotl(int.from_bytes(tail[:8], "little") * c1 & _M64, 31) * c2 & _M64
    h1 ^= len(data)
    h2 ^= len(data)
    h1 = (h1 + h2) & _M64
    h2 = (h2 + h1) & _M64
    h1, h2 = _finish(h1), _finish(h2)
    h1 = (h1 + h2) & _M64
    h2 = (h2 + h1) & _M64
    return h1 & _M32, h1 >> 32, h2 & _M32, h2 >> 32


def _rotl(x: int, r: int) -> int:
    return (x << r | x >> (64 - r)) & _M64


def _finish(k: int) -> int:
    k = (k ^ k >> 33) * 0xFF51AFD7ED558CCD & _M64
    k = (k ^ k >> 33) * 0xC4CEB9FE1A85EC53 & _M64
    return k ^ k >> 33


def character_starts(text: bytes) -> list[int]:
    """Return where the characters of `text` begin, and its length: continuation bytes stick to what precedes them."""
    starts = [i for i, c in enumerate(text) if c & 0xC0 != 0x80]
    starts.append(len(text))
    return starts


class Subwords:
    """Which rows of the n-gram matrix make up a word.

    minn, maxn: shortest and longest character n-gram; `maxn <= 0` means that there are none (the buckets may still
        serve word n-grams of a classifier).
    bucket: number of hash values. Without pruning, row = hash mod bucket.
    kind: "fasttext" or "floret"; hash_count: rows for each string (floret only).
    pruned: int64 (P, 2) pairs of bucket and row in file order, or None. N-grams whose bucket is not among them are
        dropped; of pairs with the same bucket the last counts.
    """

    def __init__(
        self,
        minn: int,
        maxn: int,
        bucket: int,
        kind: str = "fasttext",
        hash_count: int = 1,
        pruned: Array | None = None,
    ) -> None:
        if kind not in ("fasttext", "floret"):
            raise ValueError(f"kind must be 'fasttext' or 'floret', not {kind!r}")
        if kind == "floret" and not 1 <= hash_count <= 4:
            raise ValueError(f"hash_count must be 1 to 4, not {hash_count}")
        self.minn, self.maxn, self.bucket = minn, maxn, bucket
        self.kind, self.hash_count = kind, hash_count
        self.pruned = pruned
        self._map: dict[int, int] | None = None
        self._pruning: Array | None = None

    @property
    def has_ngrams(self) -> bool:
        """Whether words have character n-grams at all (floret words always have themselves, even if maxn is 0)."""
        return self.kind == "floret" or 0 < self.maxn >= self.minn

    def ngrams(self, word: bytes) -> list[bytes]:
        """Return the strings of a word in the reference program's order: by start, then by length.

        `</s>` has none. A floret word comes first itself, with its brackets.
        """
        if not self.has_ngrams or word == END_OF_SENTENCE:
            return []
        return list(self._strings(BEGIN + word + END))

    def _strings(self, text: bytes) -> Iterator[bytes]:
        if self.kind == "floret":
            yield text
        self.refuse_too_long(len(text) - 2)
        starts = character_starts(text)
        count = len(starts) - 1
        longest = min(self.maxn, count)
        for i in range(count):
            for n in range(max(self.minn, 1), min(longest, count - i) + 1):
                if n > 1 or 0 < i < count - 1:
                    yield text[starts[i] : starts[i + n]]

    def refuse_too_long(self, size: int) -> None:
        """Raise UnsupportedError if a word of `size` bytes can have more n-grams than anyone wants to wait for."""
        length = size + 2
        if length * (min(max(self.maxn, 0), length) - max(self.minn, 1) + 1) > MOST_NGRAMS:
            raise UnsupportedError(
                f"a word of {size} bytes has too many n-grams (minn {self.minn}, maxn {self.maxn})"
            )

    def pairs(self, word: bytes) -> list[tuple[bytes, int]]:
        """Return (string, row of the n-gram matrix) for each string of the word; a dropped n-gram has row -1."""
        if self.kind == "floret":
            return [(s, h % self.bucket) for s in self.ngrams(word) for h in murmur3(s)[: self.hash_count]]
        return [(s, self.row(fnv1a(s))) for s in self.ngrams(word)]

    def rows(self, word: bytes) -> list[int]:
        """Return the rows of the n-gram matrix that make up the word, in order, without the dropped ones."""
        if self.kind == "fasttext" and self.pruned is None and word.isascii():
            return self._ascii_rows(word)
        return [row for _, row in self.pairs(word) if row >= 0]

    def row(self, hashed: int) -> int:
        """Return the row of an n-gram with this hash, or -1 when pruning dropped it."""
        bucket = hashed % self.bucket
        if self.pruned is None:
            return bucket
        if self._map is None:
            self._map = dict(self.pruned.tolist())
        return self._map.get(bucket, -1)

    def _ascii_rows(self, word: bytes) -> list[int]:
        """Do what `rows` does for ASCII words, hashing each start once: the common case, 3 times as fast."""
        if not self.has_ngrams or word == END_OF_SENTENCE:
            return []
        self.refuse_too_long(len(word))
        text = BEGIN + word + END
        count, minn, bucket = len(text), max(self.minn, 1), self.bucket
        rows = []
        for i in range(count - minn + 1):
            h = 2166136261
            for n, c in enumerate(text[i : i + self.maxn], 1):
                h = (h ^ c) * 16777619 & _M32
                if n >= minn and (n > 1 or 0 < i < count - 1):
                    rows.append(h % bucket)
        return rows

    def kernel(self) -> tuple[int, int, int, int, Array]:
        """Return minn, maxn, bucket, hash_count (0: fastText's hash), and the pruning as `_pruning` packs it."""
        if self._pruning is None:
            self._pruning = _pruning(self.pruned)
        return (
            self.minn,
            self.maxn,
            self.bucket,
            self.hash_count if self.kind == "floret" else 0,
            self._pruning,
        )


def _pruning(pruned: Array | None) -> Array:
    """Pack the pruning for `kernels.lookup.pruned_row`: one int64 array, empty when nothing was pruned.

    It holds four numbers (shift, last bit of the sieve, place of the bins, place of the pairs); a sieve of 16 to 32
    bits for each kept bucket, bit `bucket & last`, because most n-grams of a text were dropped; the bins: where the
    pairs of `bucket >> shift` begin; and the pairs (bucket, row), sorted by bucket.
    """
    if pruned is None:
        return np.empty(0, np.int64)
    pairs = np.asarray(pruned, np.int64).reshape(-1, 2)
    pairs = pairs[pairs[:, 0] >= 0]
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    counted = np.ones(len(pairs), np.bool_)  # of pairs with the same bucket the last counts
    counted[:-1] = pairs[1:, 0] != pairs[:-1, 0]
    keys, rows = pairs[counted].T
    width = len(keys).bit_length()
    shift = max(0, int(keys.max(initial=0)).bit_length() - width)
    bits = np.zeros(max(64, 16 << width), np.bool_)
    bits[keys & (len(bits) - 1)] = True
    sieve = np.packbits(bits, bitorder="little").view("<i8")
    bins = np.searchsorted(keys, np.arange((1 << width) + 1, dtype=np.int64) << shift)
    head = [shift, len(bits) - 1, 4 + len(sieve), 4 + len(sieve) + len(bins)]
    return np.concatenate([head, sieve, bins, np.stack([keys, rows], axis=1).ravel()]).astype(np.int64)


#: The kernel arguments of a model that has no n-grams at all.
NO_SUBWORDS = (0, 0, 1, 0, np.empty(0, np.int64))


def word_rows(key: bytes, entry: int, nwords: int, subwords: Subwords | None, limit: int) -> list[int]:
    """Return the rows of the input matrix that make up a word: fastText's numbering, in its order (section 5.3).

    entry: the dictionary entry, or -1 for an unknown word. A known word (or label) begins with its own number; floret's
    words do not, except entry 0. N-gram row r is `nwords + r`. Rows from `limit` on do not exist and are left out.
    """
    own = entry >= 0 and entry < limit
    if subwords is None:
        return [entry] if own else []
    if subwords.kind == "floret" and subwords.has_ngrams:
        if key == END_OF_SENTENCE:
            return [0] if entry == 0 else []
        own = entry == 0
    rows = [nwords + row for row in subwords.rows(key)]
    return [entry, *rows] if own else rows
