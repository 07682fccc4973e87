"""fastText's sentence vectors for word models (`getSentenceVector` in `src/fasttext.cc`): the mean of unit vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def tokens(text: bytes) -> list[bytes]:
    """Split the first line of a text as a C++ stream does: at ASCII white space, not at NUL."""
    return text.split(b"\n", 1)[0].split()


def sentence_vectors(texts: list[bytes], dim: int, embed: Callable[[list[bytes]], Floats]) -> Floats:
    """Return one vector a text (N, D): each word's vector divided by its norm, then the mean; zeros without words.

    Words whose vector is zero do not count. embed: words -> vectors (zeros where there is none).
    """
    lists = [tokens(text) for text in texts]
    vectors = unit_rows(embed([word for words in lists for word in words]))
    counts = np.asarray(vectors.any(axis=1))
    out = np.zeros((len(texts), dim), np.float32)
    start = 0
    for i, words in enumerate(lists):
        rows = vectors[start : start + len(words)][counts[start : start + len(words)]]
        start += len(words)
        if len(rows):
            out[i] = mean(rows)
    return out


def unit_rows(vectors: Floats) -> Floats:
    """Return the rows divided by their norms as fastText does: float32 sums in order, times the rounded reciprocal."""
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt(np.add.accumulate(vectors * vectors, axis=1)[:, -1:])
        scales = np.zeros_like(norms)
        np.divide(1.0, norms, out=scales, where=norms > 0, dtype=np.float64, casting="same_kind")
        return vectors * scales


class Encoder(Protocol):
    """How a file says that texts become vectors: its own tokenizer, weights and pooling."""

    def encode(self, texts: list[bytes], **options: Any) -> Floats:
        """Return one vector a text, float32 (N, D)."""


def unit_sum(rows: Floats) -> Floats:
    """Return the sum of the rows (n, D) scaled to length 1, as finalfusion does; zeros where the sum is zero."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.add.reduce(np.ascontiguousarray(rows), axis=0, dtype=np.float32)
        norm = np.sqrt(np.dot(total, total))
        return total / norm if norm > 0 else total  # type: ignore[no-any-return]


def mean(rows: Floats) -> Floats:
    """Return the mean of the rows (n, D) as fastText does: float32 sums from zero, row after row, times f32(1 / n)."""
    rows = np.ascontiguousarray(rows)  # numpy adds along the memory's order: pairwise in a column-major array
    with np.errstate(over="ignore", invalid="ignore"):
        if rows.shape[1] == 1:  # ... and in a single column
            total = np.add.accumulate(rows, axis=0)[-1] + np.float32(0)
        else:
            total = np.add.reduce(rows, axis=0, initial=np.float32(0))
        return total * np.float32(1.0 / len(rows)) if len(rows) > 1 else total  # type: ignore[no-any-return]
