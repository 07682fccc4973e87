"""Counting how often words use each n-gram row; the plain twin is in `vecio/prune.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._jit import jit
from .lookup import push_ngrams, rows_a_start

_LT, _GT = np.uint8(60), np.uint8(62)


@jit
def count_rows(
    blob: Any, bounds: Any, gap: int, start: int, stop: int, bare: Any, subwords: Any, counts: Any
) -> None:
    """Add 1 to `counts[row]` for each n-gram row of the words `start` .. `stop - 1`, as often as it occurs in them.

    bare: the word that has no n-grams, or empty where every word has them.
    """
    longest = 0
    for i in range(start, stop):
        longest = max(longest, bounds[i + 1] - gap - bounds[i])
    text = np.empty(longest + 2, np.uint8)
    need = rows_a_start(subwords, longest + 2)
    ids = np.empty(max(4096, 2 * need), np.int64)
    for i in range(start, stop):
        length = bounds[i + 1] - gap - bounds[i]
        if len(bare) > 0 and length == len(bare):
            same = True
            for k in range(length):
                same &= blob[bounds[i] + k] == bare[k]
            if same:
                continue
        text[0] = _LT
        for k in range(length):
            text[1 + k] = blob[bounds[i] + k]
        text[1 + length] = _GT
        place = 0
        while place < length + 2:
            n, place = push_ngrams(text, length + 2, place, subwords, 0, ids, 0, len(ids))
            for k in range(n):
                if ids[k] < len(counts):
                    counts[ids[k]] += 1
