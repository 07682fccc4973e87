"""Making product-quantised rows as vecio's own files have them: rows of length 1, turned, cut in pieces; norms apart.

fastText cuts a row in pieces as it stands, so a piece of numbers that hardly vary gets as many codes as one of numbers
that vary much. Here rows are first turned to their principal axes, and the axes are dealt to the pieces so that each
carries about the same share (the parametric form of optimised product quantisation; Ge, He, Ke and Sun 2013). On
n-gram rows of fastText that divides the squared error by two to three at the same size.

The same rows give the same bytes on every machine, with any number of threads: sums are exact or in a fixed order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _pq
from ._rounding import dots, norms_of
from .matrix import ProductQuantised, rotate

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

#: Rows that training looks at, by default.
SAMPLE = 1 << 15
#: Rows longer than this are not turned: the axes of the covariance would take minutes.
WIDEST = 1024
#: Sweeps of the search for axes: it has settled after six to eight.
SWEEPS = 10
#: What numbers of unit rows are multiplied by before they are rounded to whole ones: sums of products are then exact.
GRAIN = 1024.0
#: Norms that a table has: code 0 is the norm 0, the last one NaN.
LEVELS = 256


class Quantiser(NamedTuple):
    """How rows become codes: `rotation` (D, D) or None; `centroids` as in `matrix.ProductQuantised`; `dsub`."""

    dsub: int
    centroids: Floats
    rotation: Floats | None


class Coded(NamedTuple):
    """Rows as codes: codes uint8 (N, S), norms float32 (N,), and the rows that they stand for, float32 (N, D)."""

    codes: npt.NDArray[np.uint8]
    norms: Floats
    rows: Floats


def train(sample: Floats, dsub: int, turned: bool = True) -> Quantiser:
    """Return a quantiser for rows like those of `sample` (n, D) float32. Centroids and rotation are float16 values."""
    units = _units(sample, norms_of(sample))
    rotation = None
    if turned and len(units) > 1 and 1 < units.shape[1] <= WIDEST:
        rotation = _half(axes(units, dsub))
        units = rotate(units, np.ascontiguousarray(rotation.T))
    return Quantiser(dsub, _half(_pq.train(units, dsub)), rotation)


def encode(rows: Floats, quantiser: Quantiser, keep_norms: bool) -> Coded:
    """Return rows (n, D) as codes.

    keep_norms: what is stored has the norms of the rows; otherwise it is as near to the rows as a norm can make it,
    which is better where many rows are added up. A row that is not finite, or too long for float32, reads as NaN.
    """
    norms = norms_of(rows)
    units = _units(rows, norms)
    turned = (
        units if quantiser.rotation is None else rotate(units, np.ascontiguousarray(quantiser.rotation.T))
    )
    codes = _pq.encode(turned, quantiser.centroids, quantiser.dsub)
    made = _pq.decode(codes, quantiser.centroids, rows.shape[1], quantiser.dsub)
    squares = dots(made, made)
    with np.errstate(all="ignore"):
        factor = 1 / np.sqrt(squares) if keep_norms else np.maximum(dots(turned, made), 0) / squares
        stored = np.where(squares > 0, norms * factor, 0).astype(np.float32)
    stored[~np.isfinite(norms)] = np.nan
    stored[norms == 0] = 0
    return Coded(codes, stored, decoded(codes, stored, quantiser))


def decoded(codes: npt.NDArray[np.uint8], norms: Floats, quantiser: Quantiser) -> Floats:
    """Return the rows that codes and norms stand for, as `matrix.Rotated` gives them."""
    dim = len(quantiser.centroids) // 256
    rows = ProductQuantised(codes, quantiser.centroids, dim, quantiser.dsub, norms).block(0, len(codes))
    return rows if quantiser.rotation is None else rotate(rows, quantiser.rotation)


def _half(values: Floats) -> Floats:
    """Return the nearest numbers that float16 has (they are stored as such)."""
    limit = np.float32(65504)
    return np.clip(values, -limit, limit).astype(np.float16).astype(np.float32)


def _units(rows: Floats, norms: Floats) -> Floats:
    """Return the rows divided by their norms; zeros where that is not possible."""
    with np.errstate(all="ignore"):
        divisors = np.where(norms > 0, norms, np.float32(1))
        units = (rows / divisors[:, None]).astype(np.float32)
    units[~np.isfinite(units).all(axis=1) | ~np.isfinite(norms)] = 0
    return units


# -- norms in one byte -----------------------------------------------------------------------------------------------


def norm_table(norms: Floats) -> tuple[npt.NDArray[np.uint8], Floats]:
    """Return a code for each norm, uint8 (N,), and the 256 norms that they stand for.

    The levels are evenly spaced in the bits of float32, which is about evenly in the logarithm: a norm is off by at
    most half a level (1 to 2 % for norms that differ by a factor of 100 to 10,000). Up to 256 different norms are kept
    exactly.
    """
    different = np.unique(norms)
    if len(different) <= LEVELS:
        table = np.full(LEVELS, different[-1] if len(different) else 0, np.float32)
        table[: len(different)] = different
        codes = np.searchsorted(different, norms)
        codes[np.isnan(norms)] = max(0, len(different) - 1)  # numpy sorts NaN to the end
        return codes.astype(np.uint8), table
    bits = np.ascontiguousarray(norms, np.float32).view(np.uint32).astype(np.int64)
    usable = np.isfinite(norms) & (norms > 0)
    least, most = int(bits[usable].min()), int(bits[usable].max())
    step = -(-(most - least) // (LEVELS - 3))
    table = np.zeros(LEVELS, np.float32)
    levels = np.minimum(least + step * np.arange(LEVELS - 2), 0x7F7FFFFF).astype(np.uint32)
    table[1:-1] = levels.view(np.float32)
    table[-1] = np.nan
    codes = np.clip(1 + (bits - least + step // 2) // max(step, 1), 1, LEVELS - 2)
    codes[norms == 0] = 0
    codes[~np.isfinite(norms)] = LEVELS - 1
    return codes.astype(np.uint8), table


# -- axes ------------------------------------------------------------------------------------------------------------


def axes(units: Floats, dsub: int) -> Floats:
    """Return the principal axes of rows of length up to 1, dealt to pieces of `dsub` columns: rows of (D, D).

    From the longest axis to the shortest, each goes to the piece that has the smallest share so far and a column left.
    """
    whole = np.rint(units.astype(np.float64) * GRAIN)
    count = len(whole)
    total = whole.sum(axis=0)
    spread = (whole.T @ whole) * count - np.outer(total, total)  # whole numbers below 2^53, or close to them
    spread /= GRAIN * GRAIN * count * count
    values, vectors = _jacobi(spread)
    order = np.argsort(-values, kind="stable").tolist()
    least = max(float(values[order[0]]) * 1e-9, 1e-30)
    mantissas, exponents = np.frexp(np.maximum(values, least))
    logs = (exponents + 2 * mantissas).tolist()  # about log2, and the same on every machine
    dim = len(values)
    room = [min(dsub, dim - start) for start in range(0, dim, dsub)]
    pieces: list[list[int]] = [[] for _ in room]
    shares = [0.0] * len(room)
    for i in order:
        free = [p for p, columns in enumerate(pieces) if len(columns) < room[p]]
        chosen = min(free, key=lambda p: shares[p])
        pieces[chosen].append(i)
        shares[chosen] += logs[i] - logs[order[-1]] + 1e-6
    dealt: Floats = vectors[:, [i for columns in pieces for i in columns]].T.astype(np.float32)
    return dealt


def _jacobi(matrix: Array) -> tuple[Array, Array]:
    """Return eigenvalues (D,) and eigenvectors (D, D; columns) of a symmetric matrix, by rotations of pairs in rounds.

    LAPACK's answers depend on the machine; these are single operations in a fixed order.
    """
    dim = len(matrix)
    size = dim + dim % 2
    a = np.zeros((size, size))
    a[:dim, :dim] = matrix
    v = np.eye(size)
    ring = np.arange(size)
    for _ in range(SWEEPS):
        for _ in range(size - 1):
            p, q = ring[: size // 2], ring[size // 2 :][::-1]
            off, gap = a[p, q], a[q, q] - a[p, p]
            with np.errstate(all="ignore"):
                t = np.where(
                    off == 0,
                    0.0,
                    2 * off / (gap + np.where(gap < 0, -1.0, 1.0) * np.sqrt(gap * gap + 4 * off * off)),
                )
            t[~np.isfinite(t)] = 0
            c = 1 / np.sqrt(1 + t * t)
            s = t * c
            for rows in (a, v):  # rows of a; and of v, which holds the vectors as rows until the end
                x, y = rows[p], rows[q]
                rows[p], rows[q] = c[:, None] * x - s[:, None] * y, s[:, None] * x + c[:, None] * y
            x, y = a[:, p], a[:, q]
            a[:, p], a[:, q] = c * x - s * y, s * x + c * y
            ring = np.concatenate([ring[:1], ring[-1:], ring[1:-1]])
    keep = np.flatnonzero(np.abs(v[:, dim:]).max(axis=1, initial=0) < 0.5) if size > dim else np.arange(size)
    return np.diag(a)[keep].copy(), v[keep, :dim].T
