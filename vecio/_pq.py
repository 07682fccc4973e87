"""Product quantisation as in fastText (`src/productquantizer.cc`): one byte for each piece of `dsub` numbers of a row.

The same rows give the same centroids and codes as the real program: its generator (started at 1234), its order of
shuffles, its 25 rounds of k-means over at most 65,536 rows. Results do not depend on the number of threads. Large work
is done by `kernels/pq.py`, small work by numpy; both give the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _effort, _threads

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]
Progress = Callable[[int, int], None]

#: Centroids of a piece; rows that training looks at; rounds of k-means; the real program's seed.
CENTROIDS, MOST_POINTS, ROUNDS, SEED = 256, 65536, 25, 1234
#: Points, and rows, that one thread takes at a time.
POINTS, ROWS = 4096, 1024
#: Seconds of numpy work for one distance in one dimension, and for one step of a shuffle.
DISTANCE_COST, SHUFFLE_COST = 1.5e-9, 1e-6

_MODULUS, _RANGE = 2147483647, 2147483645
_LARGEST = float(np.finfo(np.float32).max)


def pieces(dim: int, dsub: int) -> int:
    """Return into how many pieces a row of `dim` numbers is cut."""
    return -(-dim // dsub)


def train(
    rows: Array,
    dsub: int,
    *,
    norms: Array | None = None,
    seed: int = SEED,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Floats:
    """Return centroids for rows (n, D) of float32: float32 (256 * D), in the order of `matrix.ProductQuantised`.

    rows: mapped or not, at any alignment; only the rows that are looked at are read. norms: (n,), what each row is
    divided by first where it is not 0. progress: called with pieces done and pieces in all.
    Rows that are not finite teach nothing. Fewer than 256 rows become the centroids themselves.
    """
    n, dim = rows.shape
    if dsub < 1:
        raise ValueError(f"dsub must be at least 1, not {dsub}")
    count = pieces(dim, dsub)
    centroids = np.zeros(CENTROIDS * dim, np.float32)
    points = min(n, MOST_POINTS)
    shuffled = count * (points + (n if n > points else 0)) * SHUFFLE_COST
    due = _effort.kernels_due(points * CENTROIDS * dim * ROUNDS * DISTANCE_COST + shuffled)
    trainer = (_Compiled if due else _Plain)(seed, threads)
    order = np.arange(n, dtype=np.int32)
    for piece in range(count):
        start, stop = piece * dsub, min((piece + 1) * dsub, dim)
        if n > points:
            trainer.shuffle(order)
        chosen = order[:points] if n > points else slice(None)
        some = _divided(rows[chosen, start:stop], None if norms is None else norms[chosen])
        found = centroids[CENTROIDS * start : CENTROIDS * stop].reshape(CENTROIDS, stop - start)
        if n < CENTROIDS:
            found[:n] = some
        else:
            _k_means(trainer, some, found)
        if progress is not None:
            progress(piece + 1, count)
    return np.nan_to_num(centroids, copy=False, nan=0.0, posinf=_LARGEST, neginf=-_LARGEST)


def _k_means(trainer: _Compiled | _Plain, x: Floats, centroids: Floats) -> None:
    order = np.arange(len(x), dtype=np.int32)
    trainer.shuffle(order)
    centroids[:] = x[order[:CENTROIDS]]
    codes = np.zeros((len(x), 1), np.uint8)
    for _ in range(ROUNDS):
        old = codes.copy()
        trainer.assign(x, centroids, codes)
        empty = trainer.recompute(x, codes, centroids)
        if not empty and np.array_equal(old, codes) and _ > 0:
            return  # nothing would change in the rounds that are left


def encode(
    rows: Array,
    centroids: Floats,
    dsub: int,
    *,
    norms: Array | None = None,
    threads: int | None = None,
) -> Codes:
    """Return the codes of rows (n, D): uint8 (n, pieces), the nearest centroid of each piece, the first of equals.

    norms: (n,), what each row is divided by first where it is not 0. Numbers that are not finite count as 0.
    """
    n, dim = rows.shape
    codes = np.empty((n, pieces(dim, dsub)), np.uint8)
    planes = _planes(centroids, dim, dsub)
    due = _effort.kernels_due(n * CENTROIDS * dim * DISTANCE_COST)

    def work(start: int, stop: int) -> None:
        some = _divided(rows[start:stop], None if norms is None else norms[start:stop])
        for piece, plane in enumerate(planes):
            width = len(plane) // CENTROIDS
            if due:
                from .kernels import pq

                pq.nearest(some, 0, stop - start, piece * dsub, width, plane, codes[start:stop], piece)
            else:
                part = some[:, piece * dsub : piece * dsub + width]
                codes[start:stop, piece] = _nearest(part, plane)

    _threads.run_chunks(work, n, ROWS, threads if due else 1)
    return codes


def norms_of(rows: Array) -> Floats:
    """Return fastText's norm of each row: float32 squares, summed as float64 in order, the root rounded to float32."""
    total = np.zeros(len(rows), np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        for column in np.ascontiguousarray(rows.T, np.float32):
            total += column * column
        return np.sqrt(total).astype(np.float32)


def decode(codes: Codes, centroids: Floats, dim: int, dsub: int) -> Floats:
    """Return the rows that codes stand for, float32 (n, dim), without norms."""
    out = np.empty((len(codes), dim), np.float32)
    for piece in range(codes.shape[1]):
        start, stop = piece * dsub, min((piece + 1) * dsub, dim)
        table = centroids[CENTROIDS * start : CENTROIDS * stop].reshape(CENTROIDS, stop - start)
        out[:, start:stop] = table[codes[:, piece]]
    return out


def _divided(rows: Array, norms: Array | None) -> Floats:
    """Return a float32 copy of rows, divided by their norms; what is not finite becomes 0."""
    some = np.array(rows, np.float32, order="C")
    with np.errstate(all="ignore"):
        if norms is not None:
            some /= np.where(norms == 0, np.float32(1), norms).astype(np.float32)[:, None]
    some[~np.isfinite(some)] = 0
    return some


def _planes(centroids: Floats, dim: int, dsub: int) -> list[Floats]:
    """Return for each piece its centroids by coordinate: 256 first numbers, 256 second ones, ..."""
    planes = []
    for start in range(0, dim, dsub):
        stop = min(start + dsub, dim)
        table = centroids[CENTROIDS * start : CENTROIDS * stop].reshape(CENTROIDS, stop - start)
        planes.append(np.ascontiguousarray(table.T).reshape(-1))
    return planes


def _nearest(x: Floats, plane: Floats) -> Codes:
    """Do what `kernels.pq.nearest` does, in numpy."""
    with np.errstate(over="ignore"):
        distances = np.zeros((len(x), CENTROIDS), np.float32)
        for j in range(x.shape[1]):
            step = x[:, j, None] - plane[CENTROIDS * j : CENTROIDS * (j + 1)]
            distances += step * step
        codes: Codes = distances.argmin(axis=1).astype(np.uint8)
        return codes


class _Compiled:
    """The steps of k-means by the kernels, with the generator's state."""

    def __init__(self, seed: int, threads: int | None) -> None:
        self.state, self.threads = seed % _MODULUS or 1, threads

    def shuffle(self, order: Array) -> None:
        from .kernels import pq

        self.state = int(pq.shuffle(order, self.state))

    def assign(self, x: Floats, centroids: Floats, codes: Codes) -> None:
        from .kernels import pq

        plane, width = np.ascontiguousarray(centroids.T).reshape(-1), x.shape[1]
        _threads.run_chunks(
            lambda start, stop: pq.nearest(x, start, stop, 0, width, plane, codes, 0),
            len(x),
            POINTS,
            self.threads,
        )

    def recompute(self, x: Floats, codes: Codes, centroids: Floats) -> int:
        from .kernels import pq

        state, empty = pq.means(x, codes, centroids, np.empty(CENTROIDS, np.int64), self.state)
        self.state = int(state)
        return int(empty)


class _Plain:
    """The same in Python and numpy."""

    def __init__(self, seed: int, threads: int | None) -> None:
        self.state = seed % _MODULUS or 1

    def _next(self) -> int:
        self.state = self.state * 48271 % _MODULUS
        return self.state

    def _draw(self, span: int) -> int:
        scale = _RANGE // span
        while True:
            r = self._next() - 1
            if r < span * scale:
                return r // scale

    def _uniform(self) -> float:
        a, b = self._next(), self._next()
        u = (float(a - 1) + float(b - 1) * 2147483646.0) / (2147483646.0 * 2147483646.0)
        return min(u, math.nextafter(1.0, 0.0))

    def shuffle(self, order: Array) -> None:
        n = len(order)
        items = order.tolist()
        if n > 1 and _RANGE // n >= n:
            first = 1
            if n % 2 == 0:
                k = self._draw(2)
                items[1], items[k] = items[k], items[1]
                first = 2
            for i in range(first, n, 2):
                k, m = divmod(self._draw((i + 1) * (i + 2)), i + 2)
                items[i], items[k] = items[k], items[i]
                items[i + 1], items[m] = items[m], items[i + 1]
        else:
            for i in range(1, n):
                k = self._draw(i + 1)
                items[i], items[k] = items[k], items[i]
        order[:] = items

    def assign(self, x: Floats, centroids: Floats, codes: Codes) -> None:
        plane = np.ascontiguousarray(centroids.T).reshape(-1)
        for start in range(0, len(x), POINTS):
            codes[start : start + POINTS, 0] = _nearest(x[start : start + POINTS], plane)

    def recompute(self, x: Floats, codes: Codes, centroids: Floats) -> int:
        with np.errstate(over="ignore", invalid="ignore"):
            counts = np.bincount(codes[:, 0], minlength=CENTROIDS).tolist()
            centroids[:] = 0
            np.add.at(centroids, codes[:, 0], x)
            centroids /= np.maximum(counts, 1).astype(np.float32)[:, None]
        empty = [k for k, count in enumerate(counts) if not count]
        step = np.where(np.arange(x.shape[1]) % 2, np.float32(1e-7), np.float32(-1e-7)).astype(np.float32)
        for k in empty:
            m = 0
            while self._uniform() * (len(x) - CENTROIDS) >= counts[m] - 1:
                m = (m + 1) % CENTROIDS
            centroids[k], centroids[m] = centroids[m] + step, centroids[m] - step
            counts[k] = counts[m] // 2
            counts[m] -= counts[k]
        return len(empty)
