"""Writing a finalfusion file: what of a model it can say, and the chunks one after the other."""

from __future__ import annotations

import functools
import os
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from ... import _pq, _toml
from ..._binary import atomic_write
from ..._rounding import norms_of
from ...embeddings import Embeddings
from ...matrix import ProductQuantised, Projected
from ...subwords import BEGIN, END, FLORET_SEED, Subwords
from ...vocabulary import Vocabulary
from ..base import BLOCK_BYTES, LENGTHS, SETTINGS, UNKNOWN, Fate, Written, release, vector_blocks
from ..base import fate as common_fate
from .chunks import (
    BUCKETS,
    CENTROIDS,
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
    U8,
    VERSION,
)

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]

#: Rows that lie together in a sample.
RUN = 64


def refuses(word: bytes) -> str | None:
    """Say why a word cannot be written: the other programs decode every word."""
    try:
        word.decode("utf-8")
    except UnicodeDecodeError:
        return "it is not UTF-8"
    return None if len(word) <= MOST else "it is longer than 4 GiB"


class _Codes(NamedTuple):
    """Rows that are product-quantised as the format has it: words, then n-gram rows."""

    codes: list[Array]
    norms: list[Array]
    centroids: Floats
    dsub: int
    projection: Array | None


class _Plan:
    """What a model becomes, before the first byte is written.

    kind: the id of the vocabulary; dtype: "float32", "pq" (codes that are there already) or "pqN"; scaled: whether word
    rows are divided by their lengths.
    """

    def __init__(self, e: Embeddings, dtype: str | None, unnormalize: bool) -> None:
        self.embeddings = e
        self.kind = _vocabulary_kind(e)
        self.codes = _stored_codes(e, self.kind) if dtype is None else None
        self.pieces = 0
        if self.codes is not None:
            self.dtype = "pq"
        elif dtype is not None and re.fullmatch(r"pq[1-9][0-9]{0,5}", dtype):
            self.pieces, self.dtype = int(dtype[2:]), dtype
            if e.dim % self.pieces:
                fits = ", ".join(str(n) for n in range(1, e.dim + 1) if e.dim % n == 0)
                raise ValueError(f"{dtype}: the codes of a row must divide its {e.dim} columns: {fits}")
        elif dtype is None or dtype == "float32":
            self.dtype = "float32"
        else:
            raise ValueError(f"dtype must be float32 or pqN (N codes a row), not {dtype!r}")
        kept = unnormalize or self.codes is not None
        self.lengths = None if unnormalize else e._parts.lengths
        self.scaled = not (kept or self.lengths is not None or e.format == NAME)

    @property
    def grams(self) -> int:
        """How many n-gram rows are written."""
        e, subwords = self.embeddings, self.embeddings._subwords
        if self.kind == SIMPLE or subwords is None or e._grams is None:
            return 0
        return len(e._grams) if self.kind == EXPLICIT else subwords.bucket


def _vocabulary_kind(e: Embeddings) -> int:
    """Return the vocabulary that can say which n-gram rows make up a word; SIMPLE where none can, or needs to."""
    subwords = e._subwords
    if subwords is None or not subwords.has_ngrams or e._grams is None:
        return SIMPLE
    if subwords.hash == "murmur3":
        ordered = (
            1 if subwords.rule == "spacy" else 0
        ) <= subwords.minn <= subwords.maxn and subwords.maxn > 0
        return FLORET if len(e) == 0 and ordered and subwords.pruned is None else SIMPLE
    if (subwords.begin, subwords.end) != (BEGIN, END):
        return SIMPLE
    if subwords.kind == "fifu-explicit":
        return EXPLICIT if isinstance(subwords.table, Vocabulary) else SIMPLE
    if subwords.hash == "fnv1a" and subwords.bucket <= MOST:
        return FASTTEXT
    exponent = subwords.bucket.bit_length() - 1
    power = subwords.bucket == 1 << exponent and 1 <= exponent <= 31
    return BUCKETS if subwords.kind == "fifu-buckets" and power else SIMPLE


def _stored_codes(e: Embeddings, kind: int) -> _Codes | None:
    """Return the codes of a model that is quantised in the way that the format stores; else None."""
    subwords = e._subwords
    if not e._accumulated or (kind not in (SIMPLE, EXPLICIT) and subwords and subwords.pruned is not None):
        return None
    if kind == EXPLICIT and _gram_order(e) is not None:
        return None
    parts = [e._words] if kind == SIMPLE or e._grams is None else [e._words, e._grams]
    plain: list[ProductQuantised] = []
    norms: list[Array] = []
    projections = []
    for part in parts:
        source = part.source if isinstance(part, Projected) else part
        if not isinstance(source, ProductQuantised):
            return None
        if isinstance(part, Projected):
            if len(source.norms):
                return None
            projections.append(part.projection.T)
            norms.append(np.zeros(0, np.float32) if part.norms is None else part.norms)
        else:
            norms.append(source.norms)
        plain.append(source)
    first = plain[0]
    same = all(
        other.dsub == first.dsub and np.array_equal(other.centroids, first.centroids, equal_nan=True)
        for other in plain[1:]
    )
    normed = {len(n) > 0 for n, part in zip(norms, plain, strict=True) if len(part)}
    if e.dim % first.dsub or not same or len(normed) > 1 or len(projections) not in (0, len(parts)):
        return None
    if any(not np.array_equal(p, projections[0], equal_nan=True) for p in projections[1:]):
        return None
    return _Codes(
        [part.codes for part in plain],
        norms if normed == {True} else [],
        first.centroids,
        first.dsub,
        projections[0] if projections else None,
    )


def _gram_order(e: Embeddings) -> tuple[Array, Array] | None:
    """Return how the n-grams of an explicit vocabulary are numbered anew: (their rows' new numbers, old row of each).

    The programs number rows by the first n-gram that uses them, and want no gaps. None: they are so already. An n-gram
    that was dropped has number -1.
    """
    subwords, grams = e._subwords, e._grams
    assert subwords is not None and grams is not None and isinstance(subwords.table, Vocabulary)
    count = subwords.table.size
    rows = np.full(count, -1, np.int64)
    if subwords.pruned is None:
        rows[:] = np.arange(count)
    else:
        pairs = np.asarray(subwords.pruned, np.int64).reshape(-1, 2)
        pairs = pairs[(pairs[:, 0] >= 0) & (pairs[:, 0] < count)]
        rows[pairs[:, 0]] = pairs[:, 1]
    kept = rows >= 0
    used, first, inverse = np.unique(rows[kept], return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    number = np.empty(len(used), np.int64)
    number[order] = np.arange(len(used))
    new = np.full(count, -1, np.int64)
    new[kept] = number[inverse.reshape(-1)]
    if len(used) == len(grams) and np.array_equal(new, rows):
        return None
    return new, used[order]


def write(
    embeddings: Embeddings,
    path: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    unnormalize: bool = False,
    progress: Progress | None = None,
) -> Written:
    """Write embeddings as a finalfusion file: atomic, in blocks of bounded memory, the same bytes each time.

    dtype: "float32", or "pqN" for product-quantised rows of N codes, N a divisor of the dimension; None keeps codes
    that the model has already. unnormalize: leave the word vectors as they are; else they are scaled to length 1, as
    the other programs expect it, and their lengths written beside them (see specs/finalfusion.md, section 6).
    """
    plan = _Plan(embeddings, dtype, unnormalize)
    with atomic_write(path) as stream:
        writer = _Writer(plan, stream, progress)
        writer.run()
    notes = (
        (f"{writer.broken:,} rows with NaN or infinite numbers: all NaN as codes",) if writer.broken else ()
    )
    return Written(plan.dtype, notes=notes)


class _Writer:
    """Writes one plan to one stream, chunk after chunk."""

    def __init__(self, plan: _Plan, stream: BinaryIO, progress: Progress | None) -> None:
        self.plan, self.e, self.stream, self.progress = plan, plan.embeddings, stream, progress
        self.order = _gram_order(self.e) if plan.kind == EXPLICIT else None
        self.words = len(self.e)
        self.grams = plan.grams if self.order is None else len(self.order[1])
        self.rows = self.words + self.grams
        self.dim = self.e.dim
        self.lengths = np.ones(self.words, np.float32) if plan.scaled else None
        self.done = 0
        #: Rows that codes cannot stand for.
        self.broken = 0

    def run(self) -> None:
        plan = self.plan
        metadata = _toml.dump(self.e.metadata)
        norms = plan.scaled or plan.lengths is not None
        storage = DENSE if plan.dtype == "float32" else QUANTISED
        chunks = [METADATA] * bool(metadata) + [plan.kind, storage] + [NORMS] * norms
        self.stream.write(MAGIC + struct.pack(f"<II{len(chunks)}I", VERSION, len(chunks), *chunks))
        if metadata:
            self.stream.write(struct.pack("<IQ", METADATA, len(metadata)) + metadata)
        self.put_vocabulary()
        if plan.dtype == "float32":
            self.put_dense()
        elif plan.codes is not None:
            self.put_codes(plan.codes)
        else:
            self.put_quantised()
        if norms:
            lengths = self.lengths if plan.lengths is None else plan.lengths
            assert lengths is not None
            self.put_head(NORMS, struct.pack("<QI", self.words, F32), 4 * self.words)
            self.put(np.asarray(lengths))

    def put_head(self, chunk: int, fields: bytes, size: int) -> None:
        """Write the header of a chunk, its fields and the padding before `size` bytes of numbers."""
        pad = 4 - (self.stream.tell() + 12 + len(fields)) % 4
        self.stream.write(struct.pack("<IQ", chunk, len(fields) + pad + size) + fields + bytes(pad))

    def put(self, values: Array, dtype: str = "<f4") -> None:
        flat = values.reshape(-1)
        for start in range(0, len(flat), BLOCK_BYTES):
            block = flat[start : start + BLOCK_BYTES]
            self.stream.write(np.ascontiguousarray(block, dtype).data)
            self.e._check()

    # -- the vocabulary --

    def put_vocabulary(self) -> None:
        subwords, kind = self.e._subwords, self.plan.kind
        if kind == FLORET:
            assert subwords is not None
            fields = _limits(subwords) + struct.pack(
                "<QII", subwords.bucket, subwords.hash_count, FLORET_SEED
            )
            for text in (subwords.begin, subwords.end):
                fields += struct.pack("<I", len(text)) + text
            self.stream.write(struct.pack("<IQ", FLORET, len(fields)) + fields)
            return
        blob, offsets, gap, _ = self.e._vocabulary.walkable()
        bounds = offsets[: self.words + 1]
        size = int(bounds[-1] - bounds[0]) + self.words * (4 - gap)
        fields = struct.pack("<Q", self.words)
        grams: list[tuple[bytes, int]] = []
        if kind != SIMPLE:
            assert subwords is not None
            limits = _limits(subwords)
            if kind == EXPLICIT:
                grams = self.explicit()
                size += sum(12 + len(text) for text, _ in grams)
                fields += struct.pack("<Q", len(grams)) + limits
            else:
                number = subwords.bucket if kind == FASTTEXT else subwords.bucket.bit_length() - 1
                fields += limits + struct.pack("<I", number)
        self.stream.write(struct.pack("<IQ", kind, len(fields) + size) + fields)
        for start in range(0, self.words, 1 << 16):
            self.stream.write(_strings(blob, bounds[start : start + (1 << 16) + 1], gap).data)
        for text, row in grams:
            self.stream.write(struct.pack("<I", len(text)) + text + struct.pack("<Q", row))

    def explicit(self) -> list[tuple[bytes, int]]:
        """Return the n-grams that have a row, each with its number."""
        subwords = self.e._subwords
        assert subwords is not None and isinstance(subwords.table, Vocabulary)
        table = subwords.table
        texts = table.entries(0, table.size)
        if self.order is not None:
            rows = self.order[0].tolist()
        elif subwords.pruned is not None:
            rows = [subwords.row(i) for i in range(len(texts))]
        else:
            rows = list(range(len(texts)))
        return [(text, row) for text, row in zip(texts, rows, strict=True) if row >= 0]

    # -- rows --

    def blocks(self) -> Iterator[Floats]:
        """Yield all rows as they are to be stored, in blocks: words, then n-gram rows."""
        e, grams = self.e, self.e._grams
        for start, stop, rows in vector_blocks(e):
            yield self.scaled(rows, start, stop)
            self.advance(stop - start)
        step = max(1, min(1 << 16, BLOCK_BYTES // (4 * self.dim)))
        for start in range(0, self.grams, step):
            stop = min(start + step, self.grams)
            e._check()
            yield self.gram_rows(start, stop)
            if grams is not None and len(grams) == self.grams:
                release(e, grams, start, stop)
            self.advance(stop - start)

    def scaled(self, rows: Floats, start: int, stop: int) -> Floats:
        """Return word rows divided by their lengths, which are kept; what has no proper length stays as it is."""
        if self.lengths is None:
            return rows
        lengths = norms_of(rows)
        zero = lengths == 0
        odd = zero | ~np.isfinite(lengths)
        divisors = np.where(odd, np.float32(1), lengths)
        self.lengths[start:stop] = np.where(zero, np.float32(0), divisors)
        with np.errstate(all="ignore"):
            return (rows / divisors.astype(np.float64)[:, None]).astype(np.float32)

    def gram_rows(self, start: int, stop: int) -> Floats:
        """Return n-gram rows by the numbers that they have in the file."""
        grams, subwords = self.e._grams, self.e._subwords
        assert grams is not None and subwords is not None
        if self.order is not None:
            return grams.take(self.order[1][start:stop])
        if subwords.pruned is None or self.plan.kind == EXPLICIT:
            return grams.block(start, stop)
        pairs = self.pairs
        low, high = np.searchsorted(pairs[:, 0], [start, stop])
        rows = np.zeros((stop - start, self.dim), np.float32)
        rows[pairs[low:high, 0] - start] = grams.take(pairs[low:high, 1])
        return rows

    @functools.cached_property
    def pairs(self) -> Array:
        """Return the pruned pairs by bucket; of pairs with the same bucket the last counts."""
        subwords = self.e._subwords
        assert subwords is not None
        pairs = np.asarray(subwords.pruned, np.int64).reshape(-1, 2)
        pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
        last = np.ones(len(pairs), np.bool_)
        last[:-1] = pairs[1:, 0] != pairs[:-1, 0]
        return pairs[last]

    def advance(self, rows: int) -> None:
        self.done += rows
        if self.progress is not None:
            self.progress(self.done, self.rows)

    def put_dense(self) -> None:
        self.put_head(DENSE, struct.pack("<QII", self.rows, self.dim, F32), 4 * self.rows * self.dim)
        for block in self.blocks():
            self.stream.write(np.ascontiguousarray(block, "<f4").data)

    def put_quantised_head(self, pieces: int, projection: bool, norms: bool) -> None:
        dim = self.dim
        fields = struct.pack("<IIIIIQII", projection, norms, pieces, dim, CENTROIDS, self.rows, U8, F32)
        size = 4 * dim * dim * projection + 4 * CENTROIDS * dim + 4 * self.rows * norms + self.rows * pieces
        self.put_head(QUANTISED, fields, size)

    def put_codes(self, stored: _Codes) -> None:
        """Write rows whose codes are there already."""
        self.put_quantised_head(self.dim // stored.dsub, stored.projection is not None, bool(stored.norms))
        if stored.projection is not None:
            self.put(stored.projection)
        self.put(stored.centroids)
        for norms in stored.norms:
            self.put(norms)
        for codes in stored.codes:
            self.put(codes, "u1")
            self.advance(len(codes))

    def put_quantised(self) -> None:
        """Train centroids on a sample of the rows; write the codes of all, and their lengths."""
        pieces = self.plan.pieces
        dsub = self.dim // pieces
        self.put_quantised_head(pieces, False, True)
        sample = self.sample()
        centroids = _pq.train(sample, dsub, norms=norms_of(sample))
        del sample
        self.put(centroids)
        place = self.stream.tell()
        written = 0
        for block in self.blocks():
            norms = norms_of(block)
            self.broken += int(np.count_nonzero(~np.isfinite(norms)))
            codes = _pq.encode(block, centroids, dsub, norms=norms)
            self.stream.seek(place + 4 * written)
            self.stream.write(norms.astype("<f4").data)
            self.stream.seek(place + 4 * self.rows + written * pieces)
            self.stream.write(codes.data)
            written += len(block)

    def sample(self) -> Floats:
        """Return rows to train on, as they are to be stored: words and n-gram rows, evenly spread, half each."""
        most = _pq.MOST_POINTS
        words = min(self.words, most if not self.grams else max(most // 2, most - self.grams))
        grams = min(self.grams, most - words)
        parts = [self.scaled(self.e._block(a, b), a, b) for a, b in _spread(self.words, words)]
        parts += [self.gram_rows(a, b) for a, b in _spread(self.grams, grams)]
        return np.concatenate(parts) if parts else np.zeros((0, self.dim), np.float32)


def _limits(subwords: Subwords) -> bytes:
    return struct.pack("<II", max(subwords.minn, 1), min(subwords.maxn, (1 << 31) - 1))


def _spread(size: int, count: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of at most RUN rows, `count` rows in all, evenly spread over `size` rows."""
    runs = -(-count // RUN)
    for i in range(runs):
        width = min(RUN, count - i * RUN)
        start = i * size // runs
        yield start, min(start + width, size)


def _strings(blob: Array, bounds: Array, gap: int) -> Array:
    """Return strings of packed words as the file has them: each with its length before it."""
    part = blob[bounds[0] : bounds[-1]]
    if gap:
        keep = np.ones(len(part), np.bool_)
        keep[(bounds[1:, None] - bounds[0]) - np.arange(1, gap + 1)] = False
        part = part[keep]
    sizes = np.diff(bounds) - gap
    ends = np.cumsum(sizes + 4)
    out = np.empty(int(ends[-1]), np.uint8)
    heads = (ends - sizes - 4)[:, None] + np.arange(4)
    letters = np.ones(len(out), np.bool_)
    letters[heads] = False
    out[heads] = sizes.astype("<u4").view(np.uint8).reshape(-1, 4)
    out[letters] = part
    return out


def fate(e: Embeddings, dtype: str | None, options: Mapping[str, Any]) -> Fate:
    """Return what the file will keep, round and lose."""
    plan = _Plan(e, dtype, bool(options.get("unnormalize")))
    carried, rounded = [SETTINGS], []
    if plan.lengths is not None or e._parts.lengths is None:
        carried.append(LENGTHS)
    if plan.kind != SIMPLE:
        carried.append(UNKNOWN)
    if plan.scaled:
        rounded.append("the word vectors: scaled to length 1, with their lengths beside them")
    found = common_fate(e, "float32" if plan.dtype == "pq" else plan.dtype, carried, rounded)
    found.dtype = plan.dtype
    _add_unknown(e, plan, found)
    return found


def _add_unknown(e: Embeddings, plan: _Plan, found: Fate) -> None:
    """Say what becomes of the vectors of unknown words where they are not kept as they are."""
    subwords = e._subwords
    if plan.kind == SIMPLE or subwords is None:
        return
    notes = []
    if not (e._parts.unit and subwords.kind.startswith("fifu-")):
        notes.append("their direction only, at length 1")
        if subwords.minn < 2 and subwords.rule in ("fasttext", "floret"):
            notes.append("single brackets count as n-grams")
    if subwords.pruned is not None and plan.kind != EXPLICIT:
        notes.append("zeros instead of none where every n-gram was dropped")
    if notes:
        found.kept = [item for item in found.kept if item != UNKNOWN]
        found.approximated.append(f"{UNKNOWN}: {'; '.join(notes)}")
