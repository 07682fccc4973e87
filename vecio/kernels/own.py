"""Sums of the n-gram rows of words, for writers that need the row a word must have beside them; GNU's order of sorting.

The plain twin of `add_ngrams` is in `vecio/formats/fasttext/own.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._jit import jit
from .lookup import PENDING, bracket, is_end, push_ngrams, rows_a_start
from .rows import add_rows


@jit
def add_ngrams(
    blob: Any,
    bounds: Any,
    gap: int,
    start: int,
    stop: int,
    longest: int,
    grams: Any,
    subwords: Any,
    out: Any,
    made: Any,
) -> None:
    """Add the n-gram rows of the words `start` .. `stop - 1` to `out`, in order; made[i] becomes their number."""
    text = np.empty(longest + 2, np.uint8)
    room = PENDING + rows_a_start(subwords, longest + 2)
    ids = np.empty(room, np.int64)
    for i in range(start, stop):
        made[i] = 0
        begin, end = bounds[i], bounds[i + 1] - gap
        if is_end(blob, begin, end):
            continue
        length = bracket(blob, begin, end, text)
        place = 0
        while place < length:
            n, place = push_ngrams(text, length, place, subwords, 0, ids, 0, room)
            add_rows(out, i, ids, 0, n, 0, grams, grams)
            made[i] += n


@jit
def sort_falling(keys: Any, order: Any) -> None:
    """Sort `order` by falling `keys[order]` as GNU's `std::sort` does: the places of equals depend on the algorithm."""
    n = len(order)
    depth = 0
    while n >> (depth + 1):
        depth += 1
    stack = np.empty((2 * depth + 64, 3), np.int64)
    stack[0] = 0, n, 2 * depth
    height = 1
    while height:
        height -= 1
        first, last, left = stack[height]
        while last - first > 16:
            if left == 0:
                part = order[first:last].copy()
                order[first:last] = part[np.argsort(-keys[part], kind="mergesort")]
                break
            left -= 1
            cut = _partition(keys, order, first, last)
            stack[height] = cut, last, left
            height += 1
            last = cut
    for i in range(1, n):
        value = order[i]
        key, j = keys[value], i
        if i < 16 and key > keys[order[0]]:
            while j > 0:
                order[j] = order[j - 1]
                j -= 1
        else:
            while key > keys[order[j - 1]]:
                order[j] = order[j - 1]
                j -= 1
        order[j] = value


@jit
def _partition(keys: Any, order: Any, first: int, last: int) -> int:
    a, b, c = first + 1, first + (last - first) // 2, last - 1
    x, y, z = keys[order[a]], keys[order[b]], keys[order[c]]
    if x > y:
        chosen = b if y > z else (c if x > z else a)
    elif x > z:
        chosen = a
    else:
        chosen = c if y > z else b
    order[first], order[chosen] = order[chosen], order[first]
    pivot = keys[order[first]]
    low, high = first + 1, last
    while True:
        while keys[order[low]] > pivot:
            low += 1
        high -= 1
        while pivot > keys[order[high]]:
            high -= 1
        if low >= high:
            return low
        order[low], order[high] = order[high], order[low]
        low += 1
