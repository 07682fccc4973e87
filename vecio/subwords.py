"""N-grams and their hashes: which rows of the n-gram matrix make up a word, by the rules in KINDS.

The two that most others are made of: fastText's (one row an n-gram, chosen by a sign-extending FNV-1a hash) and
floret's (the whole bracketed word and its n-grams, one to four rows each, chosen by MurmurHash3). Everything here is
plain Python for one word; `kernels/` does the same for a million. What becomes of the rows: `compose`. Sources:
fastText `src/dictionary.cc` (`hash`, `computeSubwords`, `getSubwords`, `pushHash`), floret `src/dictionary.cc`,
Appleby's `MurmurHash3_x64_128`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

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


class Table(Protocol):
    """The n-grams that have a row, each with a number: what `Vocabulary` is, too."""

    size: int

    def find(self, key: bytes) -> int:
        """Return the number of an n-gram, or -1."""


def fnv1a(data: bytes) -> int:
    """Return fastText's 32-bit hash: FNV-1a with sign-extended bytes (ordinary FNV-1a for ASCII)."""
    h = 2166136261
    for c in data:
        h = ((h ^ _SIGNED[c]) * 16777619) & _M32
    return h


def fnv64(ngram: bytes) -> int:
    """Return finalfusion's hash: 64-bit FNV-1a over the number of characters (u64) and each of them (u32)."""
    text = ngram.decode("utf-8", "replace")
    data = len(text).to_bytes(8, "little") + text.encode("utf-32-le")
    h = 0xCBF29CE484222325
    for c in data:
        h = ((h ^ c) * 0x100000001B3) & _M64
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


#: The rules that are known: which strings a word has, and which hash makes a row number of a string.
#:
#: fasttext: fastText. gensim: the same, but `</s>` is a word like any other. floret: the bracketed word, then
#: fastText's n-grams; floret-table: the same, but `</s>` is a word like any other. spacy: spaCy's reading of a floret
#: table: by length then start, with all boundary characters; every row is scaled before it is added. spacy-keys: the
#: word itself, whose row is found by a 64-bit key (words whose spelling a file does not have).
#: fifu-*: finalfusion's vocabularies: by start, longest first, with all boundary characters.
KINDS = {
    "fasttext": ("fasttext", "fnv1a"),
    "gensim": ("fasttext", "fnv1a"),
    "floret": ("floret", "murmur3"),
    "floret-table": ("floret", "murmur3"),
    "spacy": ("spacy", "murmur3"),
    "spacy-keys": ("word", "keys"),
    "fifu-buckets": ("fifu", "fnv64"),
    "fifu-fasttext": ("fifu", "fnv1a"),
    "fifu-explicit": ("fifu", "table"),
    "fifu-floret": ("fifu-floret", "murmur3"),
}


class Subwords:
    """Which rows of the n-gram matrix make up a word.

    minn, maxn: shortest and longest character n-gram; `maxn <= 0` means that there are none (the buckets may still
        serve word n-grams of a classifier).
    bucket: number of hash values. Without pruning, row = hash mod bucket.
    kind: one of KINDS; hash_count: rows for each string (murmur3 only); begin, end: what a word is put between.
    pruned: int64 (P, 2) pairs of bucket and row in file order, or None. N-grams whose bucket is not among them are
        dropped; of pairs with the same bucket the last counts.
    table: for the hashes "table" and "keys": the strings that have a row (number i of it is "bucket" i), and no others.
    """

    def __init__(
        self,
        minn: int,
        maxn: int,
        bucket: int,
        kind: str = "fasttext",
        hash_count: int = 1,
        pruned: Array | None = None,
        *,
        begin: bytes = BEGIN,
        end: bytes = END,
        table: Table | None = None,
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
        self.minn, self.maxn, self.bucket = minn, maxn, bucket
        self.kind, self.hash_count = kind, hash_count
        self.rule, self.hash = KINDS[kind]
        if self.hash == "murmur3" and not 1 <= hash_count <= 4:
            raise ValueError(f"hash_count must be 1 to 4, not {hash_count}")
        if (self.hash in ("table", "keys")) != (table is not None):
            raise ValueError("a table of n-grams goes with the kind that asks for one")
        self.begin, self.end, self.table = begin, end, table
        self.pruned = pruned
        #: Whether the compiled code knows the rule.
        known = kind in ("fasttext", "gensim", "floret", "floret-table")
        self.compiled = known and (begin, end) == (BEGIN, END)
        #: Whether compiled code, which follows fastText, takes `</s>` for a bare word and the rule does not.
        self.plain_end = kind in ("gensim", "floret-table")
        #: Whether each row is scaled before it is added, not the sum.
        self.scaled = kind == "spacy"
        self._map: dict[int, int] | None = None
        self._pruning: Array | None = None

    def replaced(self, pruned: Array | None) -> Subwords:
        """Return the same rule with other pruned pairs."""
        return Subwords(
            self.minn,
            self.maxn,
            self.bucket,
            self.kind,
            self.hash_count,
            pruned,
            begin=self.begin,
            end=self.end,
            table=self.table,
        )

    @property
    def has_ngrams(self) -> bool:
        """Whether words have n-grams at all (words with a floret table always have themselves, even if maxn is 0)."""
        return self.hash in ("murmur3", "keys") or 0 < self.maxn >= self.minn

    def bare(self, word: bytes) -> bool:
        """Say whether the word has no n-grams by the rule: `</s>` in fastText and floret."""
        return not self.has_ngrams or (word == END_OF_SENTENCE and self.kind in ("fasttext", "floret"))

    def ngrams(self, word: bytes) -> list[bytes]:
        """Return the strings of a word in the reference program's order; none for a bare word."""
        if self.bare(word) or (not word and self.kind == "spacy"):
            return []
        self.refuse_too_long(len(word))
        text = self.begin + word + self.end
        least = 0 if self.rule == "spacy" else 1  # spaCy counts empty strings in if told so
        shortest = max(self.minn, least)
        return list(_STRINGS[self.rule](text, character_starts(text), shortest, self.maxn))

    def refuse_too_long(self, size: int) -> None:
        """Raise UnsupportedError if a word of `size` bytes can have more n-grams than anyone wants to wait for."""
        length = size + 2
        if length * (min(max(self.maxn, 0), length) - max(self.minn, 1) + 1) > MOST_NGRAMS:
            raise UnsupportedError(
                f"a word of {size} bytes has too many n-grams (minn {self.minn}, maxn {self.maxn})"
            )

    def pairs(self, word: bytes) -> list[tuple[bytes, int]]:
        """Return (string, row of the n-gram matrix) for each string of the word; a dropped n-gram has row -1."""
        strings = self.ngrams(word)
        if self.hash == "fnv1a":
            return [(s, self.row(fnv1a(s))) for s in strings]
        if self.hash == "murmur3":
            return [(s, self.row(h)) for s in strings for h in murmur3(s)[: self.hash_count]]
        if self.hash == "fnv64":
            return [(s, self.row(fnv64(s))) for s in strings]
        assert self.table is not None
        return [(s, self.row(i)) for s in strings if (i := self.table.find(s)) >= 0]

    def rows(self, word: bytes) -> list[int]:
        """Return the rows of the n-gram matrix that make up the word, in order, without the dropped ones."""
        if self.rule == "fasttext" and self.pruned is None and word.isascii():
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
        if self.bare(word):
            return []
        self.refuse_too_long(len(word))
        text = self.begin + word + self.end
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
            self.hash_count if self.hash == "murmur3" else 0,
            self._pruning,
        )


def _fasttext_strings(text: bytes, starts: list[int], minn: int, maxn: int) -> Iterator[bytes]:
    """By start, then by length; a bracket alone is no n-gram."""
    count = len(starts) - 1
    longest = min(maxn, count)
    for i in range(count):
        for n in range(minn, min(longest, count - i) + 1):
            if n > 1 or 0 < i < count - 1:
                yield text[starts[i] : starts[i + n]]


def _floret_strings(text: bytes, starts: list[int], minn: int, maxn: int) -> Iterator[bytes]:
    yield text
    yield from _fasttext_strings(text, starts, minn, maxn)


def _spacy_strings(text: bytes, starts: list[int], minn: int, maxn: int) -> Iterator[bytes]:
    """The text itself, then by length, then by start."""
    yield text
    count = len(starts) - 1
    for n in range(minn, min(maxn, count) + 1):
        for i in range(count - n + 1):
            yield text[starts[i] : starts[i + n]]


def _whole_word(text: bytes, starts: list[int], minn: int, maxn: int) -> Iterator[bytes]:
    yield text


def _fifu_strings(text: bytes, starts: list[int], minn: int, maxn: int) -> Iterator[bytes]:
    """By start, the longest first."""
    count = len(starts) - 1
    for i in range(count):
        for n in range(min(maxn, count - i), minn - 1, -1):
            yield text[starts[i] : starts[i + n]]


def _fifu_floret_strings(text: bytes, starts: list[int], minn: int, maxn: int) -> Iterator[bytes]:
    yield text
    yield from _fifu_strings(text, starts, minn, maxn)


_STRINGS: dict[str, Callable[[bytes, list[int], int, int], Iterator[bytes]]] = {
    "fasttext": _fasttext_strings,
    "floret": _floret_strings,
    "spacy": _spacy_strings,
    "word": _whole_word,
    "fifu": _fifu_strings,
    "fifu-floret": _fifu_floret_strings,
}


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


def own_row(entry: int, subwords: Subwords | None, limit: int) -> int:
    """Return the row that a dictionary entry brings besides its n-grams, or -1.

    A known word (or label) has the row of its own number, if that is below `limit`; floret's have none, except entry 0.
    """
    floret = subwords is not None and subwords.kind == "floret"
    return entry if 0 <= entry < (min(limit, 1) if floret else limit) else -1


def word_rows(key: bytes, entry: int, nwords: int, subwords: Subwords | None, limit: int) -> list[int]:
    """Return the rows of the input matrix that make up a word: fastText's numbering, in its order (section 5.3).

    entry: the dictionary entry, or -1 for an unknown word. The entry's own row comes first (`own_row`). N-gram row r is
    `nwords + r`; n-grams that pruning dropped are left out.
    """
    rows = [] if subwords is None else [nwords + row for row in subwords.rows(key)]
    own = own_row(entry, subwords, limit)
    return rows if own < 0 else [own, *rows]


def word_pairs(
    key: bytes, entry: int, nwords: int, subwords: Subwords | None, limit: int
) -> list[tuple[bytes, int]]:
    """Return (string, row) for all of what makes up a word, as `word_rows` does; a dropped n-gram has row -1."""
    pairs = [] if subwords is None else subwords.pairs(key)
    own = own_row(entry, subwords, limit)
    return [(key, own)] * (own >= 0) + [(s, row if row < 0 else nwords + row) for s, row in pairs]
