"""Leaving out words and n-gram rows that matter least: which ones, and the model without them (a view, nothing copied).

Words go by their counts, the rarest first; a file without counts has its frequent words in front, as trainers write
them. A word that is left out is made of its n-grams, where the model has them.

An n-gram row goes by how often the words of the vocabulary use it, times the square of its norm: what the vectors of
the words lose in all when it is left out. Rows that no word uses were never trained and go first. (Measured on a model
of 81,500 words: of the rules norm x frequency, frequency weighted by the counts of the words, and this one, this one
keeps the vectors of left-out and unknown words best at every number of rows.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from . import _effort
from ._rounding import norms_of
from .embeddings import Embeddings
from .errors import UnsupportedError
from .subwords import END_OF_SENTENCE
from .views import select

Array = npt.NDArray[Any]
Integers = npt.NDArray[np.int64]

#: Seconds of plain Python for a byte of a word.
BYTE_COST = 2e-6
#: Words, and bytes of rows, that are looked at in one go.
WORDS, BLOCK_BYTES = 1 << 16, 8 << 20
#: Mapped rows of fewer bytes are not worth a call to unmap them.
LEAST_RELEASED = 1 << 20


def prune(e: Embeddings, words: int | None = None, grams: int | None = None) -> Embeddings:
    """Return the model with at most so many words and n-gram rows; None keeps all.

    Raises UnsupportedError for a classifier, and for `grams` where the model has no n-gram rows.
    """
    for name, count in (("words", words), ("grams", grams)):
        if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 0):
            raise ValueError(f"{name} must be a number of rows, not {count!r}")
    if words is None and grams is None:
        return e
    chosen = None if words is None or words >= len(e) else word_order(e)[:words]
    kept = None
    if grams is not None:
        order = gram_order(e)
        kept = order[:grams] if grams < len(e._grams or ()) else None
    if chosen is None and kept is None:
        return e
    return select(e, None if chosen is None else np.sort(chosen), None if kept is None else np.sort(kept))


def word_order(e: Embeddings) -> Integers:
    """Return the rows of the words, the most frequent first; in the file's order where there are no counts."""
    counts = e.counts
    if counts is None:
        return np.arange(len(e))
    return np.argsort(-np.asarray(counts, np.float64), kind="stable")


def gram_order(e: Embeddings) -> Integers:
    """Return the n-gram rows that words use, the one that matters most first. Cost: a pass over words and rows."""
    if e._grams is None or e._subwords is None or e._classifier is not None:
        raise UnsupportedError(f"{e.path or 'this model'} has no n-gram rows to choose from")
    counts = gram_counts(e)
    used = np.flatnonzero(counts)
    scores = counts[used] * _squares(e)[used]
    return used[np.argsort(-np.nan_to_num(scores, nan=np.inf), kind="stable")]


def gram_counts(e: Embeddings) -> Integers:
    """Return how often the words of the vocabulary use each n-gram row, each word taken once: int64 (B,)."""
    subwords, grams = e._subwords, e._grams
    assert subwords is not None and grams is not None
    counts = np.zeros(len(grams), np.int64)
    blob, offsets, gap, _ = e._vocabulary.walkable()
    due = _effort.kernels_due(BYTE_COST * float(offsets[len(e)] - offsets[0]))
    if subwords.compiled and due:
        from .kernels import prune as kernels

        subwords.refuse_too_long(int(np.diff(offsets[: len(e) + 1]).max(initial=0)))
        bare = b"" if subwords.plain_end else END_OF_SENTENCE
        rule, end = subwords.kernel(), np.frombuffer(bare, np.uint8)
        if subwords.has_ngrams:
            for start in range(0, len(e), WORDS):
                e._check()
                kernels.count_rows(blob, offsets, gap, start, min(start + WORDS, len(e)), end, rule, counts)
        return counts
    for start in range(0, len(e), WORDS):
        for key in e._vocabulary.entries(start, min(start + WORDS, len(e))):
            rows = np.array([row for row in subwords.rows(key) if row < len(counts)], np.int64)
            np.add.at(counts, rows, 1)
    return counts


def _squares(e: Embeddings) -> npt.NDArray[np.float64]:
    """Return the squared norms of the n-gram rows, float64 (B,)."""
    grams = e._grams
    assert grams is not None
    found = np.empty(len(grams), np.float64)
    step = max(1, BLOCK_BYTES // (4 * e.dim))
    e._advise(grams, "SEQUENTIAL")
    for start in range(0, len(grams), step):
        stop = min(start + step, len(grams))
        e._check()
        rows = grams.block(start, stop)
        with np.errstate(all="ignore"):
            found[start:stop] = norms_of(rows).astype(np.float64) ** 2
        e._advise(grams.part(start, stop), "DONTNEED", LEAST_RELEASED)
    e._advise(grams, "RANDOM")
    return found
