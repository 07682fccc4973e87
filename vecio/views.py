"""Parts of a model that look like a model: some of its words, some of its n-grams, without a copy of any row.

What `limit`, pruning and the removal of duplicates have in common. A writer gets a view and need not know.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .embeddings import Embeddings
from .errors import UnsupportedError
from .matrix import Gathered, Matrix, Uncompiled
from .subwords import Subwords
from .vocabulary import Vocabulary

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


class Finished(Uncompiled):
    """The finished vectors of another model's words, computed when they are asked for: row i is that of `ids[i]`."""

    def __init__(self, model: Embeddings, ids: Array) -> None:
        super().__init__(len(ids), model.dim)
        self.model, self.ids = model, ids

    def take(self, ids: npt.ArrayLike) -> Floats:
        rows = self.ids[np.asarray(ids, np.int64)]
        if len(rows) and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
            return self.model._block(int(rows[0]), int(rows[0]) + len(rows))
        words = [self.model._vocabulary.entry(int(row)) for row in rows]
        return self.model.embed(words, "zero")

    def part(self, start: int, stop: int) -> Matrix:
        return Finished(self.model, self.ids[start:stop])

    def arrays(self) -> list[Array]:
        return self.model._words.arrays()

    @property
    def nbytes(self) -> int:
        return 4 * self.shape[0] * self.shape[1]


def first(e: Embeddings, count: int) -> Embeddings:
    """Return the model with its first `count` words only (gensim's `limit`)."""
    if count < 0:
        raise ValueError(f"limit must be at least 0, not {count}")
    return e if count >= len(e) else select(e, words=np.arange(count))


def select(
    e: Embeddings, words: Array | None = None, grams: Array | None = None, *, labels: bool = True
) -> Embeddings:
    """Return a model with some of the words (rows, in the order given) and some of the n-gram rows.

    None keeps all. Words that are left out are unknown to the result, which makes them of n-grams where it can; the
    vectors of the words that stay do not change. A classifier needs all of its words (UnsupportedError); with
    `labels` False the result is none.
    """
    parts = e._parts
    if e._classifier is not None and labels:
        raise UnsupportedError(f"{e.path or 'this model'}: words of a classifier cannot be left out")
    ids = np.arange(len(e)) if words is None else np.asarray(words, np.int64)
    computed = not e._accumulated and e._subwords is not None
    if grams is not None and e._grams is None:
        raise UnsupportedError(f"{e.path or 'this model'} has no n-gram rows to choose from")
    if computed and grams is None and _is_prefix(ids):
        rows: Matrix = parts.words.part(0, len(ids))
    elif computed:
        rows = Finished(e, ids)
    else:
        rows = _picked(parts.words, ids)
    keeps_raw = grams is None and words is None
    return Embeddings(
        replace(
            parts,
            vocabulary=_vocabulary(e, ids),
            words=rows,
            accumulated=parts.accumulated or isinstance(rows, Finished),
            grams=parts.grams if grams is None or parts.grams is None else _picked(parts.grams, grams),
            subwords=parts.subwords if grams is None else _pruned(e, np.asarray(grams, np.int64)),
            norms=None if parts.norms is None else np.asarray(parts.norms)[ids],
            lengths=None if parts.lengths is None else np.asarray(parts.lengths)[ids],
            classifier=None,
            output=parts.output if keeps_raw else None,
            raw_words=parts.raw_words if keeps_raw else None,
            encoder=parts.encoder if parts.encoder is None or words is None else parts.encoder.selected(ids),
            metadata=dict(parts.metadata),
        )
    )


def _is_prefix(ids: Array) -> bool:
    return bool(np.array_equal(ids, np.arange(len(ids))))


def _picked(matrix: Matrix, ids: Array) -> Matrix:
    if _is_prefix(ids):
        return matrix.part(0, len(ids))
    return Gathered(matrix, ids)


def _vocabulary(e: Embeddings, ids: Array) -> Vocabulary:
    """Return a vocabulary of the entries `ids`, in packed bytes of its own unless they are the first ones."""
    old = e._vocabulary
    blob, offsets, gap, _ = old.walkable()
    counts = old.counts
    chosen = None if counts is None else counts[ids]
    if _is_prefix(ids):
        return Vocabulary(
            len(ids),
            len(ids),
            arrays=(blob, offsets[: len(ids) + 1], gap),
            counts=chosen,
            damaged=old._damaged,
        )
    starts = offsets[ids]
    lengths = offsets[ids + 1] - gap - starts
    bounds = np.zeros(len(ids) + 1, np.int64)
    np.cumsum(lengths, out=bounds[1:])
    packed = np.empty(int(bounds[-1]), np.uint8)
    for i in range(0, len(ids), 1 << 16):  # the positions of all bytes would take eight times their number
        stop = min(i + (1 << 16), len(ids))
        part = np.repeat(starts[i:stop] - bounds[i:stop], lengths[i:stop])
        packed[bounds[i] : bounds[stop]] = blob[part + np.arange(bounds[i], bounds[stop])]
    return Vocabulary(len(ids), len(ids), arrays=(packed, bounds, 0), counts=chosen, damaged=old._damaged)


def _pruned(e: Embeddings, rows: Array) -> Subwords:
    """Return the sub-word rule in which only these n-gram rows are left, renumbered from 0."""
    subwords = e._subwords
    assert subwords is not None
    if subwords.pruned is None:
        pairs = np.stack([rows, np.arange(len(rows))], axis=1)
    else:
        new = np.full(len(e._grams or ()), -1, np.int64)
        new[rows] = np.arange(len(rows))
        old = np.asarray(subwords.pruned, np.int64).reshape(-1, 2)
        pairs = np.stack([old[:, 0], new[old[:, 1]]], axis=1)
        pairs = pairs[pairs[:, 1] >= 0]
    return subwords.replaced(pairs)


def distinct(e: Embeddings) -> Array | None:
    """Return the rows of words that do not occur before, or None when none occurs twice."""
    table = e._vocabulary.kernel()[3]
    if int(np.count_nonzero(table)) == e._vocabulary.size:
        return None
    found = np.empty(len(e), np.int64)
    for start in range(0, len(e), 1 << 15):
        stop = min(start + (1 << 15), len(e))
        found[start:stop] = e.index(e._vocabulary.entries(start, stop))
    return np.flatnonzero(found == np.arange(len(e)))
