"""Rounding rows of float32 to what a file stores: float32, float16 or int8 with a scale for each row; and their norms.

The rules are in specs/vecio.md, sections 2.3 and 2.4. Small work is done by numpy, large work by `kernels/convert.py`;
both give the same bits, whatever the number of threads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _effort, _threads

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

DTYPES = ("float32", "float16", "int8")
#: Seconds of numpy work for one number.
COST = {"float32": 4e-9, "float16": 28e-9, "int8": 47e-9}
#: Rows that one thread takes at a time.
CHUNK = 1024


class Stored(NamedTuple):
    """Rows as they are stored: values (N, D) of float32, float16 or int8, scales (N,) for int8, norms (N,) float32."""

    values: Array
    scales: Floats | None
    norms: Floats


class Tally:
    """What rounding did to all the rows so far.

    numbers_final: whether the errors of the numbers are those of the file; False where lengths were rounded later.
    """

    def __init__(self) -> None:
        self.numbers = 0
        self.numbers_final = True
        self._sums = _empty_sums()

    def add(self, numbers: int, sums: Array) -> None:
        """Add the sums of a range of rows."""
        mine = self._sums
        mine[0] = max(mine[0], sums[0])
        mine[2] = min(mine[2], sums[2])
        for i in (1, 3, 4, 5):
            mine[i] += sums[i]
        self.numbers += numbers

    @property
    def largest_error(self) -> float:
        """The largest absolute error of a number."""
        return float(self._sums[0])

    @property
    def mean_error(self) -> float:
        """The mean absolute error of a number."""
        return float(self._sums[1] / self.numbers) if self.numbers else 0.0

    @property
    def least_cosine(self) -> float | None:
        """The smallest cosine between a row and what is stored for it; None where no row has a direction."""
        return float(self._sums[2]) if self._sums[4] else None

    @property
    def mean_cosine(self) -> float | None:
        """The mean of these cosines."""
        return float(self._sums[3] / self._sums[4]) if self._sums[4] else None

    @property
    def lost(self) -> int:
        """float16: finite numbers that became infinite; int8: rows with a NaN or an infinity, stored as NaN."""
        return int(self._sums[5])


def _empty_sums() -> Array:
    """Return largest error, sum of errors, least cosine, sum and number of cosines, lost, and two to fill a line."""
    return np.array([0.0, 0.0, np.inf, 0.0, 0.0, 0.0, 0.0, 0.0])


def round_rows(x: Floats, dtype: str, tally: Tally | None = None) -> Stored:
    """Return rows of float32 (N, D) as `dtype` stores them, with the norms of the stored rows."""
    rows, dim = x.shape
    if dtype == "float32":
        return Stored(x, None, norms_of(x))
    if not _effort.kernels_due(x.size * COST[dtype]):
        stored, sums = _round_plainly(x, dtype)
        if tally is not None:
            tally.add(x.size, sums)
        return stored
    from .kernels import convert

    norms = np.empty(rows, np.float32)
    scales = np.empty(rows, np.float32) if dtype == "int8" else None
    values = np.empty((rows, dim), np.uint16 if dtype == "float16" else np.int8)
    parts = [_empty_sums() for _ in range(0, rows, CHUNK)]

    def work(start: int, stop: int) -> None:
        if scales is None:
            convert.float16(x, start, stop, values, norms, parts[start // CHUNK])
        else:
            convert.int8(x, start, stop, values, scales, norms, parts[start // CHUNK])

    _threads.run_chunks(work, rows, CHUNK)
    if tally is not None:
        for i, part in enumerate(parts):
            tally.add(min(CHUNK, rows - i * CHUNK) * dim, part)
    return Stored(values.view(np.float16) if scales is None else values, scales, _one_nan(norms))


def compared(x: Floats, y: Floats) -> Array:
    """Return what `Tally.add` takes: the sums of the errors and cosines between rows and what is stored for them."""
    with np.errstate(all="ignore"):
        return _sums(x, y, _dot(y, y), np.abs(x - y))


def dots(x: Floats, y: Floats) -> Array:
    """Return the dot products of the rows of x and y, summed as float64 in column order."""
    with np.errstate(all="ignore"):
        return _dot(x, y)


def norms_of(x: Floats) -> Floats:
    """Return the L2 norm of each row: squares summed as float64 in column order, the root rounded to float32."""
    norms = np.empty(len(x), np.float32)
    if not _effort.kernels_due(x.size * COST["float32"]):
        with np.errstate(all="ignore"):
            norms[:] = np.sqrt(_dot(x, x))
        return _one_nan(norms)
    from .kernels import convert

    _threads.run_chunks(lambda start, stop: convert.norms_of(x, start, stop, norms), len(x), CHUNK)
    return _one_nan(norms)


def _one_nan(values: Floats) -> Floats:
    """Give every NaN the same bits: which one a sum ends with is the processor's choice."""
    values[np.isnan(values)] = np.nan
    return values


def _dot(x: Array, y: Array) -> Array:
    """Return the dot products of the rows of x and y, summed as float64 from left to right."""
    total = np.zeros(len(x))
    for j in range(x.shape[1]):
        total += x[:, j].astype(np.float64) * y[:, j]
    return total


def _round_plainly(x: Floats, dtype: str) -> tuple[Stored, Array]:
    with np.errstate(all="ignore"):
        return _plain_float16(x) if dtype == "float16" else _plain_int8(x)


def _plain_float16(x: Floats) -> tuple[Stored, Array]:
    values = x.astype(np.float16)
    bits = values.view(np.uint16)
    nan = np.isnan(x)
    bits[nan] = np.where(np.signbit(x[nan]), np.uint16(0xFE00), np.uint16(0x7E00))
    back = values.astype(np.float32)
    squares = _dot(back, back)
    error = np.abs(x - back)
    sums = _sums(x, back, squares, error)
    sums[5] = np.count_nonzero(np.isinf(error))
    return Stored(values, None, _one_nan(np.sqrt(squares).astype(np.float32))), sums


def _plain_int8(x: Floats) -> tuple[Stored, Array]:
    largest = np.abs(x).max(axis=1, initial=np.float32(0))
    finite = np.isfinite(x).all(axis=1)
    scales = np.where(finite, largest / np.float32(127), np.float32(np.nan)).astype(np.float32)
    codes = np.zeros(x.shape, np.float32)
    usable = scales > 0
    codes[usable] = np.clip(np.rint(x[usable] / scales[usable, None]), np.float32(-127), np.float32(127))
    back = scales[:, None] * codes
    squares = _dot(back, back)
    sums = _sums(x[finite], back[finite], squares[finite], np.abs(x[finite] - back[finite]))
    sums[5] = len(x) - np.count_nonzero(finite)
    return Stored(codes.astype(np.int8), scales, _one_nan(np.sqrt(squares).astype(np.float32))), sums


def _sums(x: Array, y: Array, yy: Array, error: Array) -> Array:
    sums = _empty_sums()
    counted = error[error < np.inf]
    sums[0] = counted.max(initial=0.0)
    sums[1] = counted.sum(dtype=np.float64)
    xx = _dot(x, x)
    with_direction = (xx > 0) & (xx < np.inf)
    cosines = np.where(yy > 0, _dot(x, y) / np.sqrt(xx * np.where(yy > 0, yy, 1.0)), 0.0)[with_direction]
    cosines = cosines[~np.isnan(cosines)]
    sums[2] = cosines.min(initial=np.inf)
    sums[3], sums[4] = cosines.sum(), len(cosines)
    return sums
