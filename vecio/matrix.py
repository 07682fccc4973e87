"""One interface over the ways that rows of numbers are stored: float32, float16, int8 with scales, product-quantised.

Nothing is copied until a row is asked for; what comes out is float32. `kernel()` gives the arrays behind a matrix, as a
tuple whose types tell the compiled code (`kernels/rows.py`) how to read them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _effort
from ._threads import run_chunks

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


def sum_rows(rows: Floats) -> Floats:
    """Return the sum of rows (n, D), n >= 1: float32, from zero, row after row, however they lie in memory."""
    rows = np.ascontiguousarray(rows)  # numpy adds along the memory's order: pairwise in a column-major array
    if rows.shape[1] == 1:  # ... and in a single column
        single: Floats = np.add.accumulate(rows, axis=0)[-1] + np.float32(0)
        return single
    total: Floats = np.add.reduce(rows, axis=0, initial=np.float32(0))
    return total


class Matrix(ABC):
    """N rows of D numbers, read-only."""

    #: "float32", "float16", "int8" or "pq"
    dtype: str
    #: Whether `kernel()` gives something that compiled code can read.
    compiled = True
    #: Whether the rows lie one behind the other, at one distance.
    regular = True

    def __init__(self, rows: int, dim: int) -> None:
        self.shape = (rows, dim)

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def take(self, ids: npt.ArrayLike) -> Floats:
        """Return the rows `ids` as float32 (n, D)."""

    @abstractmethod
    def block(self, start: int, stop: int) -> Floats:
        """Return the rows `start` .. `stop - 1` as float32 (n, D)."""

    @abstractmethod
    def kernel(self) -> tuple[Any, ...]:
        """Return the arrays behind the matrix, for the compiled code (only where `compiled`)."""

    def arrays(self) -> list[Array]:
        """Return the stored arrays behind the matrix, for hints to the kernel of the system."""
        return [array for array in self.kernel() if isinstance(array, np.ndarray)]

    @abstractmethod
    def part(self, start: int, stop: int) -> Matrix:
        """Return the rows `start` .. `stop - 1` as a matrix over the same memory."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes that the rows take where they are stored."""

    def row(self, i: int) -> Floats:
        """Return row `i` as a float32 copy (D,)."""
        row: Floats = self.block(i, i + 1)[0]
        return row


class Float32(Matrix):
    """Rows of float32, mapped or not, at any alignment."""

    dtype = "float32"

    def __init__(self, values: Array) -> None:
        super().__init__(*values.shape)
        self.values = values

    def row(self, i: int) -> Floats:
        row: Floats = self.values[i].copy()
        return row

    def take(self, ids: npt.ArrayLike) -> Floats:
        rows: Floats = self.values[np.asarray(ids, np.int64)]
        return rows

    def block(self, start: int, stop: int) -> Floats:
        rows: Floats = self.values[start:stop].copy()
        return rows

    def part(self, start: int, stop: int) -> Matrix:
        return Float32(self.values[start:stop])

    def kernel(self) -> tuple[Any, ...]:
        return (self.values,)

    @property
    def nbytes(self) -> int:
        return int(self.values.nbytes)


class Float16(Matrix):
    """Rows of float16."""

    dtype = "float16"

    def __init__(self, values: Array) -> None:
        super().__init__(*values.shape)
        self.values = values

    def row(self, i: int) -> Floats:
        row: Floats = self.values[i].astype(np.float32)
        return row

    def take(self, ids: npt.ArrayLike) -> Floats:
        rows: Floats = self.values[np.asarray(ids, np.int64)].astype(np.float32)
        return rows

    def block(self, start: int, stop: int) -> Floats:
        rows: Floats = self.values[start:stop].astype(np.float32)
        return rows

    def part(self, start: int, stop: int) -> Matrix:
        return Float16(self.values[start:stop])

    def kernel(self) -> tuple[Any, ...]:
        return (self.values.view(np.uint16),)

    @property
    def nbytes(self) -> int:
        return int(self.values.nbytes)


class Int8(Matrix):
    """Rows of int8, each with a float32 scale: value = f32(scale * code)."""

    dtype = "int8"

    def __init__(self, codes: Array, scales: Array) -> None:
        super().__init__(*codes.shape)
        self.codes, self.scales = codes, scales

    def take(self, ids: npt.ArrayLike) -> Floats:
        picked = np.asarray(ids, np.int64)
        return self._decode(self.codes[picked], self.scales[picked])

    def block(self, start: int, stop: int) -> Floats:
        return self._decode(self.codes[start:stop], self.scales[start:stop])

    def _decode(self, codes: Array, scales: Array) -> Floats:
        with np.errstate(over="ignore", invalid="ignore"):  # a scale may be anything in a damaged file
            rows: Floats = codes.astype(np.float32) * scales[:, None]
            return rows

    def part(self, start: int, stop: int) -> Matrix:
        return Int8(self.codes[start:stop], self.scales[start:stop])

    def kernel(self) -> tuple[Any, ...]:
        return (self.codes, self.scales)

    @property
    def nbytes(self) -> int:
        return int(self.codes.nbytes + self.scales.nbytes)


class ProductQuantised(Matrix):
    """fastText's quantised rows (`src/productquantizer.cc`): value = f32(norm * centroid).

    codes: uint8 (N, S), one for each of the S = ceil(D / dsub) pieces of a row.
    centroids: float32 (256 * D): piece s, code c begins at `s * 256 * dsub + c * width`, where width is dsub, or what
        is left of D in the last piece.
    norms: float32 (N,), or empty when rows have no norm of their own.
    """

    dtype = "pq"

    def __init__(self, codes: Array, centroids: Array, dim: int, dsub: int, norms: Array) -> None:
        super().__init__(codes.shape[0], dim)
        self.codes, self.centroids, self.dsub, self.norms = codes, centroids, dsub, norms
        self._places = self._first_places()

    def _first_places(self) -> tuple[Array, Array]:
        """Return for each of the D numbers of a row its piece (D,); and (2, D): where code 0 lies, and the width.

        Code c lies `c * width` further on among the centroids.
        """
        dim = self.shape[1]
        column = np.arange(dim)
        piece = column // self.dsub
        first = piece * 256 * self.dsub + column % self.dsub
        width = np.minimum(self.dsub, dim - piece * self.dsub)
        return piece, np.stack([first, width])

    def take(self, ids: npt.ArrayLike) -> Floats:
        return self._decode(np.asarray(ids, np.int64))

    def block(self, start: int, stop: int) -> Floats:
        return self._decode(slice(start, stop))

    def _decode(self, which: Any) -> Floats:
        piece, (first, width) = self._places
        codes = np.take(self.codes[which], piece, axis=1).astype(
            np.int64
        )  # `[:, piece]` would lie by columns
        values: Floats = self.centroids[first + codes * width]
        if len(self.norms):
            with np.errstate(over="ignore", invalid="ignore"):
                values = self.norms[which][:, None] * values
        return values

    def part(self, start: int, stop: int) -> Matrix:
        norms = self.norms[start:stop] if len(self.norms) else self.norms
        return ProductQuantised(self.codes[start:stop], self.centroids, self.shape[1], self.dsub, norms)

    def kernel(self) -> tuple[Any, ...]:
        return (self.codes, self.centroids, self.dsub, self.norms)

    @property
    def nbytes(self) -> int:
        return int(self.codes.nbytes + self.centroids.nbytes + self.norms.nbytes)


class Quantised(ProductQuantised):
    """Product-quantised rows whose norms are codes, too: a code for each row (or None), and what they mean."""

    def __init__(
        self,
        codes: Array,
        centroids: Array,
        dim: int,
        dsub: int,
        norm_codes: Array | None,
        levels: Array | None,
    ) -> None:
        norms = np.zeros(0, np.float32) if norm_codes is None or levels is None else levels[norm_codes]
        super().__init__(codes, centroids, dim, dsub, norms)
        self.norm_codes, self.levels = norm_codes, levels

    def part(self, start: int, stop: int) -> Matrix:
        norm_codes = None if self.norm_codes is None else self.norm_codes[start:stop]
        return Quantised(
            self.codes[start:stop], self.centroids, self.shape[1], self.dsub, norm_codes, self.levels
        )


class Scattered(Matrix):
    """Rows of float32 at byte places of a file: row i begins at `data[places[i]]`, at any alignment.

    data: uint8, the mapped file; places: int64 (N,), each with 4 * D bytes behind it (the reader has checked that).
    """

    dtype = "float32"
    regular = False

    def __init__(self, data: Array, places: Array, dim: int) -> None:
        super().__init__(len(places), dim)
        self.data, self.places = data, places
        # an item for each byte, each as long as a row: numpy gathers such items as fast as memory is copied
        count = max(len(data) - 4 * dim + 1, 0)
        self._windows: Array = np.ndarray((count,), f"V{4 * dim}", buffer=data.data, strides=(1,))

    def row(self, i: int) -> Floats:
        place = self.places[i]
        row: Floats = np.ndarray((self.shape[1],), "<f4", buffer=self.data.data, offset=place).copy()
        return row

    def take(self, ids: npt.ArrayLike) -> Floats:
        return self._at(self.places[np.asarray(ids, np.int64)])

    def block(self, start: int, stop: int) -> Floats:
        return self._at(self.places[start:stop])

    def _at(self, places: Array) -> Floats:
        rows: Floats = self._windows[places].view("<f4").reshape(*places.shape, self.shape[1])
        return rows

    def part(self, start: int, stop: int) -> Matrix:
        return Scattered(self.data, self.places[start:stop], self.shape[1])

    def kernel(self) -> tuple[Any, ...]:
        return (self.data, self.places)

    def arrays(self) -> list[Array]:
        if not len(self.places):
            return []
        return [self.data[int(self.places.min()) : int(self.places.max()) + 4 * self.shape[1]]]

    @property
    def nbytes(self) -> int:
        return 4 * self.shape[0] * self.shape[1]


class Uncompiled(Matrix):
    """Rows that are computed from other rows; compiled code does not know how."""

    dtype = "float32"
    compiled = False

    def kernel(self) -> tuple[Any, ...]:
        raise AssertionError("rows that compiled code cannot read")

    def block(self, start: int, stop: int) -> Floats:
        return self.take(np.arange(start, stop))


class Converted(Uncompiled):
    """Rows of another number type that are cast to float32: float64, bfloat16 (given as uint16), integers."""

    def __init__(self, values: Array) -> None:
        super().__init__(*values.shape)
        self.values = values

    def take(self, ids: npt.ArrayLike) -> Floats:
        return self._cast(self.values[np.asarray(ids, np.int64)])

    def block(self, start: int, stop: int) -> Floats:
        return self._cast(self.values[start:stop])

    def _cast(self, rows: Array) -> Floats:
        if rows.dtype == np.uint16:
            return (rows.astype(np.uint32) << 16).view(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            return rows.astype(np.float32)

    def part(self, start: int, stop: int) -> Matrix:
        return Converted(self.values[start:stop])

    def arrays(self) -> list[Array]:
        return [self.values]

    @property
    def nbytes(self) -> int:
        return int(self.values.nbytes)


#: Seconds that numpy takes for one multiplication of a rotation.
ROTATE_COST = 1.2e-9


def rotate(rows: Floats, rotation: Floats) -> Floats:
    """Return rows (n, D) times a matrix (D, D): float32 products added from zero in the order of D, for each row alone.

    Large work is done by `kernels/rotate.py`, by several threads; the bits are the same.
    """
    out = np.empty((len(rows), rotation.shape[1]), np.float32)
    if _effort.kernels_due(len(rows) * rotation.size * ROTATE_COST):
        from .kernels import rotate as kernels

        rows = np.ascontiguousarray(rows)
        run_chunks(lambda start, stop: kernels.rotate(rows, start, stop, rotation, out), len(rows), 1024)
        return out
    with np.errstate(over="ignore", invalid="ignore"):
        for i, row in enumerate(rows):
            out[i] = sum_rows(row[:, None] * rotation)
    return out


class Rotated(Uncompiled):
    """Product-quantised rows that were turned before they were cut in pieces: row i = source[i] @ rotation.

    Sums of such rows can be made of the source's rows and turned once: `compose.TurnedMeans` does so.
    """

    dtype = "pq"

    def __init__(self, source: ProductQuantised, rotation: Floats) -> None:
        super().__init__(len(source), rotation.shape[1])
        self.source, self.rotation = source, rotation

    def take(self, ids: npt.ArrayLike) -> Floats:
        return rotate(self.source.take(ids), self.rotation)

    def block(self, start: int, stop: int) -> Floats:
        return rotate(self.source.block(start, stop), self.rotation)

    def part(self, start: int, stop: int) -> Matrix:
        part = self.source.part(start, stop)
        assert isinstance(part, ProductQuantised)
        return Rotated(part, self.rotation)

    def arrays(self) -> list[Array]:
        return self.source.arrays()

    @property
    def nbytes(self) -> int:
        return self.source.nbytes + int(self.rotation.nbytes)


class Gathered(Uncompiled):
    """Rows of another matrix in another order, or several times: row i = f32(weights[i] * source[ids[i]])."""

    def __init__(self, source: Matrix, ids: Array, weights: Floats | None = None) -> None:
        super().__init__(len(ids), source.shape[1])
        self.source, self.ids, self.weights = source, ids, weights
        if weights is None and source.dtype in ("float32", "float16"):  # others have numbers beside the rows
            self.dtype = source.dtype

    def take(self, ids: npt.ArrayLike) -> Floats:
        picked = np.asarray(ids, np.int64)
        rows = self.source.take(self.ids[picked])
        if self.weights is None:
            return rows
        with np.errstate(over="ignore", invalid="ignore"):
            return self.weights[picked][:, None] * rows

    def part(self, start: int, stop: int) -> Matrix:
        weights = None if self.weights is None else self.weights[start:stop]
        return Gathered(self.source, self.ids[start:stop], weights)

    def arrays(self) -> list[Array]:
        return self.source.arrays()

    @property
    def nbytes(self) -> int:
        return self.source.nbytes * len(self.ids) // max(1, len(self.source))


class Projected(Uncompiled):
    """Rows of another matrix through a linear map: row i = norms[i] * (source[i] @ projection), or without norms."""

    def __init__(self, source: Matrix, projection: Floats, norms: Floats | None = None) -> None:
        super().__init__(len(source), projection.shape[1])
        self.source, self.projection, self.norms = source, projection, norms

    def take(self, ids: npt.ArrayLike) -> Floats:
        picked = np.asarray(ids, np.int64)
        return self._project(self.source.take(picked), None if self.norms is None else self.norms[picked])

    def block(self, start: int, stop: int) -> Floats:
        return self._project(
            self.source.block(start, stop), None if self.norms is None else self.norms[start:stop]
        )

    def _project(self, rows: Floats, norms: Floats | None) -> Floats:
        with np.errstate(over="ignore", invalid="ignore"):
            # one product for each row: a sum's order, and so its last bit, must not depend on the batch
            out = np.empty((len(rows), self.shape[1]), np.float32)
            for i, row in enumerate(rows):
                np.matmul(row, self.projection, out=out[i])
            return out if norms is None else norms[:, None] * out

    def part(self, start: int, stop: int) -> Matrix:
        norms = None if self.norms is None else self.norms[start:stop]
        return Projected(self.source.part(start, stop), self.projection, norms)

    def arrays(self) -> list[Array]:
        return self.source.arrays()

    @property
    def nbytes(self) -> int:
        return self.source.nbytes + self.projection.nbytes
