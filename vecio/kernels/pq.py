"""Product quantisation: the nearest of 256 centroids for each piece of a row, and the means that become centroids.

The same arithmetic as fastText's `src/productquantizer.cc`, so that the same rows give the same bytes: distances are
float32 sums in order, the first of equals wins, means are float32 sums in order, and random numbers come from the C++
library's recipes. The plain twins are in `vecio/_pq.py`. Nothing is checked here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._jit import jit

_MODULUS = 2147483647
_RANGE = 2147483645


@jit
def nearest(
    x: Any, start: int, stop: int, column: int, width: int, planes: Any, codes: Any, piece: int
) -> None:
    """Write to `codes[start:stop, piece]` which centroid is nearest to `x[i, column : column + width]`.

    planes: the centroids of the piece by coordinate (256 first coordinates, 256 second ones, ...). All numbers of x
    must be finite: distances are compared as integers, which is the order of floats that are not negative.
    """
    distances = np.empty(256, np.float32)
    bits = distances.view(np.int32)
    for i in range(start, stop):
        if width == 2:
            a, b = x[i, column], x[i, column + 1]
            for c in range(256):
                s, t = a - planes[c], b - planes[256 + c]
                distances[c] = s * s + t * t
        elif width == 3:
            a, b, d = x[i, column], x[i, column + 1], x[i, column + 2]
            for c in range(256):
                s, t, u = a - planes[c], b - planes[256 + c], d - planes[512 + c]
                distances[c] = s * s + t * t + u * u
        elif width == 4:
            a, b, d, e = x[i, column], x[i, column + 1], x[i, column + 2], x[i, column + 3]
            for c in range(256):
                s, t, u, v = a - planes[c], b - planes[256 + c], d - planes[512 + c], e - planes[768 + c]
                distances[c] = s * s + t * t + u * u + v * v
        else:
            a = x[i, column]
            for c in range(256):
                s = a - planes[c]
                distances[c] = s * s
            for j in range(1, width):
                a, plane = x[i, column + j], 256 * j
                for c in range(256):
                    s = a - planes[plane + c]
                    distances[c] += s * s
        least = bits[0]
        for c in range(256):
            least = min(least, bits[c])
        first = np.int32(256)
        for c in range(256):
            if bits[c] == least:
                first = min(first, np.int32(c))
        codes[i, piece] = np.uint8(first)


@jit
def draw(state: int, span: int) -> tuple[int, int]:
    """Return a uniform integer of 0 .. span - 1, and the generator's next state."""
    scale = _RANGE // span
    past = span * scale
    while True:
        state = state * 48271 % _MODULUS
        if state - 1 < past:
            return (state - 1) // scale, state


@jit
def shuffle(order: Any, state: int) -> int:
    """Shuffle as GNU's `std::shuffle` does with this generator; return its next state."""
    n = len(order)
    if n < 2:
        return state
    if _RANGE // n >= n:
        i = 1
        if n % 2 == 0:
            k, state = draw(state, 2)
            order[i], order[k] = order[k], order[i]
            i = 2
        while i < n:
            x, state = draw(state, (i + 1) * (i + 2))
            k, m = x // (i + 2), x % (i + 2)
            order[i], order[k] = order[k], order[i]
            order[i + 1], order[m] = order[m], order[i + 1]
            i += 2
        return state
    for i in range(1, n):
        k, state = draw(state, i + 1)
        order[i], order[k] = order[k], order[i]
    return state


@jit
def means(x: Any, codes: Any, centroids: Any, counts: Any, state: int) -> tuple[int, int]:
    """Make each centroid the mean of its points; empty ones split others. Return the next state and how many."""
    n, width = x.shape
    centroids[:] = 0
    counts[:] = 0
    for i in range(n):
        code = codes[i, 0]
        for j in range(width):
            centroids[code, j] += x[i, j]
        counts[code] += 1
    empty = 0
    for k in range(256):
        if counts[k] == 0:
            empty += 1
            continue
        size = np.float32(counts[k])
        for j in range(width):
            centroids[k, j] /= size
    if empty == 0:
        return state, 0
    least = np.float32(1e-7)
    for k in range(256):
        if counts[k] > 0:
            continue
        m = 0
        while True:
            u, state = uniform(state)
            if u * (n - 256) < counts[m] - 1:
                break
            m = (m + 1) % 256
        for j in range(width):
            step = least if j % 2 else -least
            value = centroids[m, j]
            centroids[k, j] = value + step
            centroids[m, j] = value - step
        counts[k] = counts[m] // 2
        counts[m] -= counts[k]
    return state, empty


@jit
def uniform(state: int) -> tuple[float, int]:
    """Return a uniform double of [0, 1), made of two numbers, and the generator's next state."""
    a = state * 48271 % _MODULUS
    b = a * 48271 % _MODULUS
    u = (np.float64(a - 1) + np.float64(b - 1) * 2147483646.0) / (2147483646.0 * 2147483646.0)
    return min(u, 0.99999999999999988898), b
