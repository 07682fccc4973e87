"""The rows that words must have in a fastText file, so that they come out there as they are in another model.

fastText makes a known word of its own row and the rows of its n-grams: vector = (own + sum) / (number + 1). Where only
vector and n-grams are known, own = vector x (number + 1) - sum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ... import _effort, _threads
from ...embeddings import Embeddings
from ...errors import UnsupportedError
from ...matrix import Float32, Matrix, Uncompiled
from ...subwords import Subwords
from ...vocabulary import pack

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

#: Words that one thread takes at a time; seconds of plain work for a byte of a word.
CHUNK, BYTE_COST = 1024, 4e-6
#: N-gram rows of up to so many bytes are copied where compiled code cannot read them in place.
MOST_COPIED = 128 << 20
#: Steps that bring the computed vector nearer to what it shall be.
STEPS = 2


class OwnRows(Uncompiled):
    """The own rows of all words of a model, beside the n-gram rows `grams` that `subwords` chooses."""

    def __init__(self, e: Embeddings, subwords: Subwords, grams: Matrix) -> None:
        super().__init__(len(e), e.dim)
        self.model, self.subwords, self.grams = e, subwords, readable(grams)

    def block(self, start: int, stop: int) -> Floats:
        blob, offsets, gap, _ = self.model._vocabulary.walkable()
        out = np.empty((stop - start, self.shape[1]), np.float32)

        def work(a: int, b: int) -> None:
            vectors = self.model._block(start + a, start + b)
            out[a:b] = self.own(vectors, blob, offsets[start + a : start + b + 1], gap)

        _threads.run_chunks(work, stop - start, CHUNK)
        return out

    def take(self, ids: npt.ArrayLike) -> Floats:
        picked = np.asarray(ids, np.int64)
        keys = [self.model._vocabulary.entry(int(i)) for i in picked]
        vectors = finished(self.model, picked, keys)
        blob, bounds, gap = pack(keys)
        out = np.empty(vectors.shape, np.float32)

        def work(a: int, b: int) -> None:
            out[a:b] = self.own(vectors[a:b], blob, bounds[a : b + 1], gap)

        _threads.run_chunks(work, len(out), CHUNK)
        return out

    def own(self, vectors: Floats, blob: Array, bounds: Array, gap: int) -> Floats:
        """Return the rows that give these vectors to these words, as nearly as float32 can."""
        total = np.zeros(vectors.shape, np.float32)
        made = add_ngrams(self.subwords, self.grams, blob, bounds, gap, total)
        several = made > 0
        if not several.any():
            return vectors
        count = (made + 1).astype(np.float64)[:, None]
        scale = (1.0 / (made + 1)).astype(np.float32)[:, None]
        with np.errstate(over="ignore", invalid="ignore"):
            row = (vectors * count - total).astype(np.float32)
            row[~several] = vectors[~several]
            best, least = row, np.full(vectors.shape, np.inf)
            for step in range(STEPS):
                forward = row.copy()
                add_ngrams(self.subwords, self.grams, blob, bounds, gap, forward)
                error = vectors - (forward * scale).astype(np.float64)
                better = np.abs(error) < least
                best, least = np.where(better, row, best), np.where(better, np.abs(error), least)
                if step + 1 < STEPS:
                    row = np.where(several[:, None], row + error * count, row).astype(np.float32)
            lost = np.isfinite(vectors) & ~np.isfinite(best)
        if lost.any():
            raise UnsupportedError(
                f"{self.model.path or 'this model'}: a vector is too large to be written as the mean of its rows"
            )
        return best

    def part(self, start: int, stop: int) -> Matrix:
        return self if (start, stop) == (0, len(self)) else self.model._words.part(start, stop)

    def arrays(self) -> list[Array]:
        return self.model._words.arrays()

    @property
    def nbytes(self) -> int:
        return 4 * self.shape[0] * self.shape[1]


class Patched(Uncompiled):
    """The rows of another matrix, one of them replaced."""

    def __init__(self, source: Matrix, row: int, values: Floats) -> None:
        super().__init__(*source.shape)
        self.source, self.place, self.values = source, row, values

    def block(self, start: int, stop: int) -> Floats:
        rows = self.source.block(start, stop)
        if start <= self.place < stop:
            rows[self.place - start] = self.values
        return rows

    def take(self, ids: npt.ArrayLike) -> Floats:
        picked = np.asarray(ids, np.int64)
        rows = self.source.take(picked)
        rows[picked == self.place] = self.values
        return rows

    def part(self, start: int, stop: int) -> Matrix:
        return self.source.part(start, stop)

    def arrays(self) -> list[Array]:
        return self.source.arrays()

    @property
    def nbytes(self) -> int:
        return self.source.nbytes


def finished(e: Embeddings, ids: Array, keys: list[bytes]) -> Floats:
    """Return the vectors of some words."""
    if e._accumulated or e._subwords is None:
        return e._words.take(ids)
    return e.embed(keys, "zero")


def readable(grams: Matrix) -> Matrix:
    """Return rows that compiled code can read, where that takes no more memory than is well spent."""
    if grams.compiled or 4 * grams.shape[0] * grams.shape[1] > MOST_COPIED:
        return grams
    return Float32(grams.block(0, len(grams)))


def add_ngrams(subwords: Subwords, grams: Matrix, blob: Array, bounds: Array, gap: int, out: Floats) -> Array:
    """Add the n-gram rows of each word to its row of `out`, in fastText's order; return how many there were."""
    made = np.zeros(len(out), np.int64)
    if not subwords.has_ngrams or not len(out):
        return made
    longest = int(np.diff(bounds).max())
    subwords.refuse_too_long(longest)
    cost = int(bounds[-1] - bounds[0]) * BYTE_COST
    if grams.compiled and subwords.compiled and _effort.kernels_due(cost):
        from ...kernels import own

        kernel: Any = own.add_ngrams
        kernel(blob, bounds, gap, 0, len(out), longest, grams.kernel(), subwords.kernel(), out, made)
        return made
    view = blob.data
    for i in range(len(out)):
        rows = subwords.rows(bytes(view[int(bounds[i]) : int(bounds[i + 1]) - gap]))
        made[i] = len(rows)
        for row in grams.take(rows) if rows else ():
            out[i] += row
    return made
