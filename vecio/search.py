"""Exact nearest neighbours by cosine, and the arithmetic of analogies: blocks of rows where they are stored, no index.

A scan finds candidates, fast and almost exactly: in compiled kernels (`kernels/search.py`), or with numpy when there is
little to do. The candidates are then scored by one formula, float64 sums in a fixed order rounded to float32, and
sorted by score and row. The scan knows how far its numbers can be off; where that leaves a doubt that a better row was
passed over (many rows lie equally near), it is repeated with more candidates, and at last every row is scored. So the
answer does not depend on the path, the threads, the size of the batch or the block, and is exact for every dtype.

Rows: a norm below TINY counts as zero, the score is 0; a row that is not a number, or longer than HUGE, never wins. The
same holds for queries: a query of zeros scores 0 with every row, one that is not a number finds nothing.

This file knows neither words nor files: `Embeddings` hands over rows through the `Source` protocol.
"""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from ._effort import kernels_due
from ._threads import run_chunks
from .matrix import Matrix

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Progress = Callable[[int, int], None]

#: Rows and queries with a norm below TINY count as zero; above HUGE they are not compared (squares must fit float32).
TINY, HUGE = 1e-15, 1e15
#: Candidates beyond the k that are asked for: at least so many, and this share of k.
SPARE, SPARE_SHARE = 16, 4
#: How many times more candidates a second scan keeps for the queries that the first one left in doubt.
WIDER = 16
#: Bytes up to which the vectors of words that are computed, not stored, are kept for the next call.
KEEP = 64 << 20
#: Elements of a block of rows that is made float32 (4 MB), and of candidates that are scored together.
BLOCK, PIECE = 1 << 20, 1 << 19
#: Multiplications of a chunk of a compiled scan (some 10 ms), and its fewest rows.
CHUNK, FEWEST = 1 << 26, 4096
#: Queries that go over a chunk of rows together, so that they stay in the second cache, and that one pass over all rows
#: serves, so that memory stays bounded.
GROUP, PASS = 256, 8192
#: Up to so many queries are scanned one by one; beyond, turning the rows into fixed-point numbers pays. Measured.
FEW = {"float32": 5, "float16": 6, "int8": 10}
#: Elements of a row up to which the int32 sums over int8 rows as they are stored cannot overflow.
WIDEST = 1 << 16
#: Seconds per element of a block made float32, per multiplication and per score, in numpy.
READ_COST = {"float32": 0.5e-9, "float16": 2.1e-9, "int8": 1e-9}
MULTIPLY_COST, SCORE_COST = 6e-11, 1.2e-8
#: Half the distance of two float32 numbers at 1.
ROUNDING = 2.0**-24


class Source(Protocol):
    """What a search may know: V rows, stored or computed. `block` is called from several threads and starts none."""

    @property
    def size(self) -> int:
        """V."""

    @property
    def words(self) -> Matrix:
        """The stored rows; the vectors themselves if `accumulated`."""

    @property
    def norms(self) -> Floats | None:
        """Norms (V,) of the stored rows, rounded to float32, or None."""

    @property
    def accumulated(self) -> bool:
        """Whether the vector of a word is its stored row."""

    def block(self, start: int, stop: int) -> Floats:
        """Return the vectors of the rows `start` .. `stop - 1`, float32 (n, D)."""

    def check(self) -> None:
        """Raise if the rows cannot be read any more."""


# -- what is asked ---------------------------------------------------------------------------------------------------


def nearest(
    source: Source,
    queries: npt.ArrayLike,
    k: int,
    *,
    exclude: Sequence[Sequence[int] | Integers | None] | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> tuple[Integers, Floats]:
    """Return the k rows nearest to each query: ids int64 (Q, k) and cosines float32 (Q, k), best first.

    queries: float32 (Q, D). k is cut to V. Of equal scores the lower row comes first. exclude: for each query the rows
    that it must not find. Where fewer than k rows can be found, id -1 and score -inf fill up. progress: called with
    rows done and rows in all, never twice at once, from whichever thread is at work.
    """
    wanted = np.ascontiguousarray(queries, np.float32)
    if wanted.ndim != 2 or (wanted.size and wanted.shape[1] != source.words.shape[1]):
        raise ValueError(f"queries must be of shape (Q, {source.words.shape[1]}), not {wanted.shape}")
    if k < 0:
        raise ValueError(f"k must not be negative: {k}")
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    left_out = [np.empty(0, np.int64)] * len(wanted)
    if exclude is not None:
        if len(exclude) != len(wanted):
            raise ValueError(f"exclude holds {len(exclude)} entries for {len(wanted)} queries")
        left_out = [np.unique(np.asarray([] if rows is None else rows, np.int64)) for rows in exclude]
    source.check()
    k = min(k, source.size)
    ids, scores = _nothing(len(wanted), k)
    if k == 0 or len(wanted) == 0:
        return ids, scores
    lengths = _norms(wanted)
    usable = (lengths >= TINY) & (lengths <= HUGE)
    for q in np.flatnonzero(lengths < TINY):
        ids[q], scores[q] = _first_rows(source, k, left_out[q])
    asked = np.flatnonzero(usable)
    meter = _Meter(progress, source.size * math.ceil(len(asked) / PASS))
    for a, b in _ranges(len(asked), PASS):
        part = asked[a:b]
        question = _Question(source, wanted[part], k, [left_out[q] for q in part], threads)
        ids[part], scores[part] = question.answer(meter)
    return ids, scores


def most_similar(
    source: Source,
    vectors: npt.ArrayLike,
    weights: npt.ArrayLike,
    topn: int,
    *,
    exclude: Sequence[int] = (),
    threads: int | None = None,
    progress: Progress | None = None,
) -> tuple[Integers, Floats]:
    """Return the topn rows nearest to a weighted sum of unit vectors: ids (n,) and cosines (n,), best first.

    vectors: float32 (m, D), divided by their norms here; weights (m,), negative for what is taken away. exclude: rows
    that are not found. The same as gensim's `KeyedVectors.most_similar` for words (3CosAdd).
    """
    if topn < 1:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    query = combine(vectors, weights)
    ids, scores = nearest(source, query[None], topn, exclude=[exclude], threads=threads, progress=progress)
    found = ids[0] >= 0
    return ids[0, found], scores[0, found]


def combine(vectors: npt.ArrayLike, weights: npt.ArrayLike) -> Floats:
    """Return the sum of weight * vector / |vector|, scaled to length 1 (gensim's `get_mean_vector`), float32 (D,)."""
    with np.errstate(all="ignore"):  # `nearest` sorts out what is not finite
        units = [_unit(vector) for vector in np.asarray(vectors, np.float64)]
        total = np.sum(
            [w * unit for w, unit in zip(np.asarray(weights, np.float64), units, strict=True)], axis=0
        )
        return _unit(total).astype(np.float32)


def _unit(vector: Doubles) -> Doubles:
    length = float(np.sqrt((vector * vector).sum()))
    return vector / length if length >= TINY else np.zeros_like(vector)


def cosine(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Return the cosine of two vectors (D,), rounded to float32 as `nearest` gives it; 0.0 if one of them is zero."""
    x, y = np.asarray(a, np.float32), np.asarray(b, np.float32)
    lengths = _norms(y[None])
    return float(_cosines(x[None], y[None], lengths)[0]) if lengths[0] >= TINY else 0.0


# -- the formula -----------------------------------------------------------------------------------------------------


def _norms(rows: Floats) -> Doubles:
    """Return the norms of float32 rows (..., D), squares summed as float64 in numpy's order."""
    with np.errstate(all="ignore"):  # a signalling NaN makes numpy warn even when it is only widened
        wide = rows.astype(np.float64)
        norms: Doubles = np.sqrt((wide * wide).sum(axis=-1))
    return norms


def _cosines(rows: Floats, queries: Floats, lengths: Doubles) -> Floats:
    """Return the scores that callers see, float32: rows (..., D) against queries (..., D) of these norms.

    Each row's numbers are the same whatever stands beside it: sums run along the last, contiguous axis. NaN for a row
    that is not compared.
    """
    with np.errstate(all="ignore"):
        wide = np.ascontiguousarray(rows).astype(np.float64)
        norms = np.sqrt((wide * wide).sum(axis=-1))
        wide *= queries
        scores = wide.sum(axis=-1) / (norms * lengths)
        scores = np.where(norms < TINY, 0.0, np.where(norms <= HUGE, scores, np.nan))
        rounded: Floats = scores.astype(np.float32)
    return rounded


def _nothing(count: int, k: int) -> tuple[Integers, Floats]:
    return np.full((count, k), -1, np.int64), np.full((count, k), -np.inf, np.float32)


def _best(ids: Integers, scores: Floats, k: int) -> tuple[Integers, Floats]:
    """Return the best k of each line (Q, m), sorted; entries with id -1 or a score that is not a number are none."""
    none = (ids < 0) | ~(scores > -np.inf)
    scores = np.where(none, np.float32(-np.inf), scores)
    ids = np.where(none, np.iinfo(np.int64).max, ids)
    order = np.lexsort((ids, -scores))[:, :k]
    ids, scores = np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1)
    return np.where(scores > -np.inf, ids, -1), scores


def _first_rows(source: Source, k: int, left_out: Integers) -> tuple[Integers, Floats]:
    """Return the answer to a query of zeros: the first k rows that can be compared, all with score 0."""
    ids, scores = _nothing(1, k)
    found = 0
    for start, rows in _blocks(source, 4 * k + 64):
        valid = start + np.flatnonzero(_norms(rows) <= HUGE)
        valid = valid[~np.isin(valid, left_out)][: k - found]
        ids[0, found : found + len(valid)] = valid
        found += len(valid)
        if found == k:
            break
    scores[0, :found] = 0.0
    return ids[0], scores[0]


# -- rows ------------------------------------------------------------------------------------------------------------

#: No lock: two threads may compute the same, and one result stays.
_kept: WeakKeyDictionary[Source, Floats] = WeakKeyDictionary()


def _vectors(source: Source) -> Floats | None:
    """Return all vectors of a source that computes them, kept for the next call, if they are few enough."""
    dim = source.words.shape[1]
    if _stored(source) or source.size * dim * 4 > KEEP:
        return None
    kept = _kept.get(source)
    if kept is None:
        with np.errstate(all="ignore"):
            kept = np.ascontiguousarray(source.block(0, source.size))
        kept.flags.writeable = False
        kept = _kept.setdefault(source, kept)
    return kept


def _stored(source: Source) -> bool:
    """Return whether the vectors lie in memory as rows that the kernels read."""
    return source.accumulated and source.words.compiled and source.words.dtype in FEW


def _blocks(source: Source, longest: int | None = None) -> Iterator[tuple[int, Floats]]:
    """Yield (start, float32 rows) for all rows of a source, in order."""
    for start, stop in _ranges(source.size, _block_rows(source, longest)):
        yield start, _block(source, start, stop)


def _block_rows(source: Source, longest: int | None = None) -> int:
    rows = max(1, BLOCK // max(1, source.words.shape[1]))
    return rows if longest is None else min(rows, longest)


def _block(source: Source, start: int, stop: int) -> Floats:
    kept = _vectors(source)
    if kept is not None:
        return kept[start:stop]
    with np.errstate(all="ignore"):  # what is not finite is sorted out here
        rows = source.words.block(start, stop) if _stored(source) else source.block(start, stop)
    return np.ascontiguousarray(rows)  # the kernels take rows one behind the other


def _take(source: Source, ids: Integers) -> Floats:
    """Return the vectors of some rows, float32 (n, D); rows that must be computed are computed once each, in runs."""
    if _stored(source):
        with np.errstate(all="ignore"):
            return source.words.take(ids)
    kept = _vectors(source)
    if kept is not None:
        return kept[ids]
    rows, places = np.unique(ids, return_inverse=True)
    cuts = np.flatnonzero(np.diff(rows) > 1) + 1
    runs = [_block(source, int(run[0]), int(run[-1]) + 1) for run in np.split(rows, cuts) if len(run)]
    vectors: Floats = np.concatenate(runs)[places.reshape(-1)]
    return vectors


def _ranges(n: int, step: int) -> Iterator[tuple[int, int]]:
    for start in range(0, n, step):
        yield start, min(start + step, n)


# -- from the question to the answer ---------------------------------------------------------------------------------


class _Question:
    """Some queries, none of them zero, and the way from candidates to the answer."""

    def __init__(
        self, source: Source, queries: Floats, k: int, left_out: list[Integers], threads: int | None
    ) -> None:
        self.source, self.queries, self.k, self.left_out, self.threads = source, queries, k, left_out, threads
        self.lengths = _norms(queries)

    def answer(self, meter: _Meter) -> tuple[Integers, Floats]:
        """Return ids and scores (Q, k)."""
        ids, scores = _nothing(len(self.queries), self.k)
        open_ = np.arange(len(self.queries))
        extra = max(len(rows) for rows in self.left_out)
        for factor in (1, WIDER):
            wanted = (self.k + extra + max(SPARE, self.k // SPARE_SHARE)) * factor
            candidates, limits = _candidates(
                self.source, self.queries[open_], self.lengths[open_], wanted, self.threads, meter
            )
            ids[open_], scores[open_] = self._rank(open_, candidates)
            open_ = open_[(limits > -np.inf) & (limits >= scores[open_, -1])]
            meter = _Meter(None, 0)
            if not len(open_):
                return ids, scores
        ids[open_], scores[open_] = self._all_rows(open_, scores[open_, -1])
        return ids, scores

    def _rank(self, which: Integers, candidates: Integers) -> tuple[Integers, Floats]:
        """Return the best k of the candidates (n, m) of the queries `which`."""
        dim = self.queries.shape[1]
        scores = np.empty(candidates.shape, np.float32)
        each = max(1, PIECE // max(1, dim))  # rows that are scored together
        lines = max(1, each // candidates.shape[1])
        for a, b in _ranges(len(which), lines):
            chosen = which[a:b]
            for c, d in _ranges(candidates.shape[1], each):
                rows = _take(self.source, np.maximum(candidates[a:b, c:d], 0).reshape(-1))
                scores[a:b, c:d] = _cosines(
                    rows.reshape(b - a, -1, dim), self.queries[chosen, None], self.lengths[chosen, None]
                )
        self._leave_out(which, candidates, scores)
        return _best(candidates, scores, self.k)

    def _leave_out(self, which: Integers, ids: Integers, scores: Floats) -> None:
        for line, q in enumerate(which):
            if len(self.left_out[q]):
                scores[line, np.isin(ids[line], self.left_out[q])] = np.nan

    def _all_rows(self, which: Integers, known: Floats) -> tuple[Integers, Floats]:
        """Score every row that may be as good as the k-th best that is known: slow, and never in doubt."""
        ids, scores = _nothing(len(which), self.k)
        units = _units(self.queries[which], self.lengths[which])
        slack = _float_error(units.shape[1])
        for start, rows in _blocks(self.source):
            near = _plain_scores(rows, units, np.empty(0, np.float32))
            for line, q in enumerate(which):
                chosen = np.flatnonzero(~(near[line] < float(known[line]) - slack))
                found = _cosines(rows[chosen], self.queries[q], self.lengths[q])
                self._leave_out(which[line : line + 1], (start + chosen)[None], found[None])
                both = np.concatenate([ids[line], start + chosen]), np.concatenate([scores[line], found])
                ids[line], scores[line] = (x[0] for x in _best(both[0][None], both[1][None], self.k))
        return ids, scores


# -- candidates ------------------------------------------------------------------------------------------------------


def _candidates(
    source: Source,
    queries: Floats,
    lengths: Doubles,
    wanted: int,
    threads: int | None,
    meter: _Meter,
) -> tuple[Integers, Doubles]:
    """Return about the best `wanted` rows of each query, int64 (Q, m), -1 where there is none, and limits (Q,): no
    other row scores higher than that."""
    size, dim = source.size, source.words.shape[1]
    if wanted >= size:
        meter.add(size)
        everything = np.broadcast_to(np.arange(size), (len(queries), size))
        return everything, np.full(len(queries), -np.inf)
    units = _units(queries, lengths)
    norms = _stored_norms(source)
    if not kernels_due(_plain_cost(source, len(queries))):
        plain = _PlainScan(units, wanted)
        for start, stop in _ranges(size, _block_rows(source)):
            plain.take(_block(source, start, stop), norms[start:stop], start)
            meter.add(stop - start)
        return plain.result()
    from .kernels import search as kernels

    arrays, dtype = _arrays(source)
    few = len(queries) <= FEW[dtype] and dim <= WIDEST
    scan = (_OneByOne if few else _Together)(kernels, units, wanted, dtype == "int8")

    def take(start: int, stop: int) -> None:
        if arrays is None:
            scan.take((_block(source, start, stop),), norms[start:stop], 0, stop - start, start)
        else:
            scan.take(arrays, norms, start, stop, 0)
        meter.add(stop - start)

    chunk = max(FEWEST, CHUNK // (dim * math.ceil(len(queries) / (1 if few else 8))))
    run_chunks(take, size, chunk if arrays is not None else _block_rows(source, chunk), threads)
    return scan.result()


def _arrays(source: Source) -> tuple[tuple[Any, ...] | None, str]:
    """Return the arrays that the kernels read in place and their dtype; no arrays where they read blocks of float32."""
    kept = _vectors(source)
    if kept is not None:
        return (kept,), "float32"
    if _stored(source) and source.words.regular and source.words.kernel()[0].flags.c_contiguous:
        return source.words.kernel(), source.words.dtype
    return None, "float32"


def _stored_norms(source: Source) -> Floats:
    """Return the norms of the rows, or an empty array where they must be computed."""
    norms = source.norms if _stored(source) else None
    return np.empty(0, np.float32) if norms is None or norms.shape != (source.size,) else norms


def _units(queries: Floats, lengths: Doubles) -> Doubles:
    units: Doubles = queries / lengths[:, None]
    return units


def _plain_cost(source: Source, count: int) -> float:
    """Return the seconds that numpy needs for `count` queries."""
    size, dim = source.size, source.words.shape[1]
    read = READ_COST[source.words.dtype] if _stored(source) else 0.0
    return size * (dim * (read + MULTIPLY_COST * count) + SCORE_COST * count)


def _float_error(dim: int) -> float:
    """Return how far the cosine of float32 sums in any order can be off."""
    return (1.5 * dim + 16) * ROUNDING


class _Meter:
    """Counts rows and calls the caller's progress, one thread at a time."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0
        self._lock = threading.Lock()

    def add(self, rows: int) -> None:
        if self._progress is not None:
            with self._lock:
                self._done += rows
                self._progress(self._done, self._total)


def _plain_scores(rows: Floats, units: Doubles, norms: Floats) -> Floats:
    """Return cosines (Q, n) of float32 rows by BLAS, -inf for rows that are not compared."""
    with np.errstate(all="ignore"):
        if len(norms) == 0:
            norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        inverse = np.where(norms >= TINY, 1 / norms, 0).astype(np.float32)
        scores: Floats = units.astype(np.float32) @ rows.T
        scores *= inverse
        scores[:, ~(norms <= HUGE)] = -np.inf
    return scores


class _PlainScan:
    """Candidates by numpy alone, for what is over before the kernels would have started."""

    def __init__(self, units: Doubles, wanted: int) -> None:
        self._units, self._wanted = units, wanted
        self._ids, self._scores = _nothing(len(units), 0)

    def take(self, rows: Floats, norms: Floats, base: int) -> None:
        """Look at a block of float32 rows; `base` is the number of the first; no norms: computed."""
        for a, b in _ranges(len(self._units), GROUP):
            scores = _plain_scores(rows, self._units[a:b], norms)
            ids = np.broadcast_to(np.arange(base, base + len(rows)), scores.shape)
            scores, ids = self._cut(scores, ids)
            if a == 0:
                grown = _nothing(len(self._units), min(self._wanted, self._ids.shape[1] + ids.shape[1]))
            both = np.concatenate([self._scores[a:b], scores], 1), np.concatenate([self._ids[a:b], ids], 1)
            grown[1][a:b], grown[0][a:b] = self._cut(*both)
        self._ids, self._scores = grown

    def _cut(self, scores: Floats, ids: Integers) -> tuple[Floats, Integers]:
        if scores.shape[1] <= self._wanted:
            return scores, ids
        best = np.argpartition(-scores, self._wanted - 1, axis=1)[:, : self._wanted]
        return np.take_along_axis(scores, best, 1), np.take_along_axis(ids, best, 1)

    def result(self) -> tuple[Integers, Doubles]:
        """Return candidates and limits as `_candidates` does."""
        limits = self._scores.min(axis=1).astype(np.float64) + _float_error(self._units.shape[1])
        return np.where(self._scores > -np.inf, self._ids, -1), limits


class _CompiledScan(ABC):
    """Candidates by the kernels. `take` may be called from several threads; each chunk has heaps of its own, which are
    then merged; the worst score kept so far is what the next chunk has to beat."""

    #: How much the kernel's score for a cosine of 1 is, and how far a cosine can be off.
    scale: float
    error: float

    def __init__(self, kernels: Any, units: Doubles, wanted: int, codes: bool) -> None:
        self._kernels, self._units, self._wanted, self._codes = kernels, units, wanted, codes
        self._lock = threading.Lock()
        self._heaps = [
            _Heaps(self.score_type, self.lowest, min(GROUP, len(units) - a), wanted)
            for a in range(0, len(units), GROUP)
        ]
        self.prepare()

    score_type: npt.DTypeLike
    lowest: float

    @abstractmethod
    def prepare(self) -> None:
        """Bring the queries into the kernel's form."""

    @abstractmethod
    def take(self, arrays: tuple[Any, ...], norms: Floats, start: int, stop: int, base: int) -> None:
        """Look at the rows `start` .. `stop - 1` of `arrays`; `base` is added to their numbers."""

    def _fixed(self) -> npt.NDArray[np.int16]:
        """Return the queries as fixed-point numbers."""
        numbers: npt.NDArray[np.int16] = np.rint(self._units * self._kernels.UNIT).astype(np.int16)
        return numbers

    def _fixed_error(self) -> float:
        """Return how far a product of unit vectors is off when one of them was made fixed-point, each number rounded
        (with a little for the float32 arithmetic): the length of the change."""
        dim = self._units.shape[1]
        return float(0.51 * math.sqrt(dim) / self._kernels.UNIT + (dim + 16) * ROUNDING)

    def _floors(self, heaps: _Heaps) -> Array:
        with self._lock:
            return heaps.floors()

    def _merge(self, heaps: _Heaps, new: _Heaps) -> None:
        with self._lock:
            self._kernels.merge(heaps.scores, heaps.ids, heaps.counts, new.scores, new.ids, new.counts)

    def result(self) -> tuple[Integers, Doubles]:
        """Return candidates and limits as `_candidates` does."""
        ids = np.concatenate([heaps.known() for heaps in self._heaps])
        floors = np.concatenate([heaps.floors() for heaps in self._heaps])
        full = np.concatenate([heaps.counts == self._wanted for heaps in self._heaps])
        return ids, np.where(full, floors.astype(np.float64) / self.scale + self.error, -np.inf)


class _Heaps:
    """The best m rows so far of each of some queries; the root of a heap is its worst."""

    def __init__(self, score_type: npt.DTypeLike, lowest: float, count: int, size: int) -> None:
        self.scores = np.empty((count, size), score_type)
        self.ids = np.empty((count, size), np.int64)
        self.counts = np.zeros(count, np.int64)
        self.lowest = lowest

    def floors(self) -> Array:
        """Return what a row must beat to be kept, one number of the scores' type for each query."""
        lowest = np.asarray(self.lowest, self.scores.dtype)
        return np.where(self.counts == self.scores.shape[1], self.scores[:, 0], lowest)

    def known(self) -> Integers:
        filled = np.arange(self.ids.shape[1]) < self.counts[:, None]
        return np.where(filled, self.ids, -1)

    def small(self, rows: int) -> _Heaps:
        """Return empty heaps for a chunk."""
        return _Heaps(self.scores.dtype, self.lowest, len(self.counts), min(self.scores.shape[1], rows))


class _OneByOne(_CompiledScan):
    """A few queries, each against the rows as they are stored: the speed of the memory."""

    score_type = np.float32
    lowest = -np.inf
    scale = 1.0

    def prepare(self) -> None:
        if self._codes:
            self._queries: Array = self._fixed()
            self.scale = self._kernels.UNIT
            self.error = self._fixed_error()
        else:
            self._queries = self._units.astype(np.float32)
            self.error = _float_error(self._units.shape[1])

    def take(self, arrays: tuple[Any, ...], norms: Floats, start: int, stop: int, base: int) -> None:
        heaps = self._heaps[0]
        new, floors = heaps.small(stop - start), self._floors(heaps)
        scan = self._kernels.scan_codes if self._codes else self._kernels.scan_floats
        scan(*arrays, norms, start, stop, base, self._queries, floors, new.scores, new.ids, new.counts)
        self._merge(heaps, new)


class _Together(_CompiledScan):
    """Many queries at once: rows and queries as fixed-point unit vectors, multiplied in tiles."""

    score_type = np.int32
    lowest = -(2**31)

    def prepare(self) -> None:
        self.scale = self._kernels.UNIT**2
        self.error = 2.02 * self._fixed_error()
        fixed = self._fixed()
        self._tiles = [self._kernels.tile_queries(fixed[a : a + GROUP]) for a in range(0, len(fixed), GROUP)]

    def take(self, arrays: tuple[Any, ...], norms: Floats, start: int, stop: int, base: int) -> None:
        scales = arrays[1] if self._codes else np.empty(0, np.float32)
        for heaps, tile in zip(self._heaps, self._tiles, strict=True):
            new = heaps.small(stop - start)
            floors = np.full(tile.shape[1], self._kernels.NEVER, np.int32)
            floors[: len(heaps.counts)] = self._floors(heaps)
            self._kernels.scan_many(
                arrays[0], scales, start, stop, base, tile, floors, new.scores, new.ids, new.counts
            )
            self._merge(heaps, new)
