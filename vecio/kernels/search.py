"""The scans behind `search.py`: every row of a matrix against one query, or against many, keeping the best of each.

They find candidates, fast and almost exactly; `search.py` gives the scores. Two ways through the rows:

`scan_floats` and `scan_codes` read the rows where they are stored, at the speed of the memory: float32 and float16 rows
times a float32 query, int8 rows times an int16 query with int32 sums.

`scan_many` turns a few rows at a time into unit vectors of int16 fixed-point numbers and multiplies them with a tile of
queries of the same kind in registers: two products and a sum per 32-bit lane in one instruction where the processor
has it (x86: pmaddwd, vpdpwssd), and sums that no length of vector can overflow (Cauchy-Schwarz: |row| * |query| is
UNIT**2 < 2**31). No BLAS is involved, so a thread is one thread.

The sums here have no fixed order. The rows of a chunk are taken in order and a row must be better than the worst kept.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._jit import jit

#: Length of a unit vector in fixed-point numbers; the room up to 32767 takes the rounding errors.
UNIT = 32000.0
#: Rows with a norm below TINY count as zero (score 0), above HUGE (or not a number) they are passed over. As in
#: `search.py`.
TINY, HUGE = 1e-15, 1e15
#: Rows that stay in the second cache while a few queries go over them.
NEAR = 512
#: A floor (int32) that no score exceeds: of the columns behind the last query.
NEVER = 2**31 - 1


def _shape() -> tuple[int, int, int]:
    """Return (lanes, rows, vectors): 32-bit lanes of a register, and how many rows times vectors stay in registers."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512bw"):
        return 16, 6, 4
    if features.get("neon"):
        return 4, 6, 4
    return (8 if features.get("avx2") else 4), 3, 4


LANES, ROWS, VECTORS = _shape()
#: Elements of a row that are taken in one step.
STEP = 2 * LANES

_FLOAT, _HALF = ir.FloatType(), ir.HalfType()
_I8, _I16, _I32 = (ir.IntType(bits) for bits in (8, 16, 32))
#: The order of a sum is free and a product may be fused into it; NaN and infinity stay what they are.
_FREE = ("reassoc", "contract", "nsz")
#: 1.5 * 2**23: added to a float32 below 2**22 it leaves the nearest integer in the low bits.
_ROUNDER = 12582912.0


class _Emitter:
    """Writes vector code with llvmlite's builder; every pointer is a pointer to bytes."""

    def __init__(self, context: Any, builder: Any) -> None:
        self.context, self.builder = context, builder

    def array(self, kind: Any, value: Any) -> tuple[Any, list[Any]]:
        """Return where the data of a C-contiguous array begins, and its shape."""
        view = self.context.make_array(kind)(self.context, self.builder, value)
        pointer = self.builder.bitcast(view.data, _I8.as_pointer())
        return pointer, [self.builder.extract_value(view.shape, axis) for axis in range(kind.ndim)]

    def at(self, pointer: Any, item: Any, size: int) -> Any:
        """Return the place of an item of `size` bytes."""
        return self.builder.gep(pointer, [self.builder.mul(item, item.type(size))], source_etype=_I8)

    def load(self, pointer: Any, kind: Any) -> Any:
        value = self.builder.load(self.builder.bitcast(pointer, kind.as_pointer()), typ=kind)
        value.align = 1
        return value

    def store(self, value: Any, pointer: Any) -> None:
        self.builder.store(value, self.builder.bitcast(pointer, value.type.as_pointer())).align = 1

    def pick(self, vector: Any, places: list[int]) -> Any:
        mask = ir.Constant(ir.VectorType(_I32, len(places)), places)
        return self.builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)

    def spread(self, value: Any, count: int) -> Any:
        """Return a vector with `value` in all lanes."""
        empty = ir.Constant(ir.VectorType(value.type, count), ir.Undefined)
        return self.pick(self.builder.insert_element(empty, value, _I32(0)), [0] * count)

    def last(self, vector: Any, count: Any) -> Any:
        """Return the vector with zeros in all but its last `count` lanes."""
        b, lanes = self.builder, vector.type.count
        places = ir.Constant(ir.VectorType(_I32, lanes), list(range(lanes)))
        first = self.spread(b.sub(_I32(lanes), b.trunc(count, _I32)), lanes)
        zero = ir.Constant(vector.type, [0] * lanes)
        return b.select(b.icmp_unsigned(">=", places, first), vector, zero)

    def add_pairs(self, total: Any, x: Any, y: Any) -> Any:
        """Return total + x * y summed in pairs: int32 lanes from twice as many widened int16 (one pmaddwd)."""
        b, lanes = self.builder, total.type.count
        product = b.mul(x, y, flags=["nsw"])
        even = self.pick(product, list(range(0, 2 * lanes, 2)))
        odd = self.pick(product, list(range(1, 2 * lanes, 2)))
        return b.add(total, b.add(even, odd))

    def add_product(self, total: Any, x: Any, y: Any) -> Any:
        b = self.builder
        return b.fadd(total, b.fmul(x, y, flags=_FREE), flags=_FREE)

    def across(self, vector: Any) -> Any:
        """Return the sum of the lanes."""
        b, width = self.builder, vector.type.count
        plus = b.add if isinstance(vector.type.element, ir.IntType) else b.fadd
        while width > 1:
            width //= 2
            vector = plus(
                self.pick(vector, list(range(width))), self.pick(vector, list(range(width, 2 * width)))
            )
        return b.extract_element(vector, _I32(0))


class _Rows:
    """How elements of a stored row are loaded: `STEP` at once or one alone, as they are or widened."""

    def __init__(self, emit: _Emitter, kind: Any, value: Any) -> None:
        self.emit = emit
        self.element = {types.int8: _I8, types.uint16: _HALF, types.float32: _FLOAT}[kind.dtype]
        self.size = kind.dtype.bitwidth // 8
        self.data, (_, self.dim) = emit.array(kind, value)

    def select(self, i: Any) -> None:
        """Let `load` read row i."""
        self.data = self.emit.at(self.data, self.emit.builder.mul(i, self.dim), self.size)

    def load(self, k: Any, count: int = STEP) -> Any:
        """Return the elements k .. k + count - 1, not yet widened."""
        bits = {1: _I8, 2: _I16, 4: _FLOAT}[self.size]
        place = self.emit.at(self.data, k, self.size)
        if count == 1:
            return self.emit.builder.bitcast(self.emit.load(place, bits), self.element)
        values = self.emit.load(place, ir.VectorType(bits, count))
        return self.emit.builder.bitcast(values, ir.VectorType(self.element, count))

    def widen(self, values: Any, target: Any) -> Any:
        """Return loaded elements as float32 or int32 ones."""
        b = self.emit.builder
        kind = ir.VectorType(target, values.type.count) if isinstance(values.type, ir.VectorType) else target
        if self.element is _I8:
            return b.sext(values, kind) if target is _I32 else b.sitofp(values, kind)
        return b.fpext(values, kind) if self.element is _HALF else values


def _emit_dots(context: Any, b: Any, signature: Any, args: Any, squares: bool) -> list[Any]:
    """Write the sum of a row times the query and, if asked for, of the row times itself.

    The rest of a row is taken by one more step that ends where the row ends; a row shorter than a step one by one.
    """
    emit = _Emitter(context, b)
    rows = _Rows(emit, signature.args[0], args[0])
    rows.select(args[1])
    query, _ = emit.array(signature.args[2], args[2])
    integer = rows.element is _I8
    target, part, size = (_I32, _I16, 2) if integer else (_FLOAT, _FLOAT, 4)
    add = emit.add_pairs if integer else emit.add_product
    vector = ir.VectorType(target, STEP // 2 if integer else STEP)
    totals = [
        cgutils.alloca_once_value(b, ir.Constant(vector, [0] * vector.count)) for _ in range(1 + squares)
    ]
    word = rows.dim.type
    rest = b.urem(rows.dim, word(STEP))

    def step(k: Any, values: Any) -> None:
        x = rows.widen(values, target)
        y = emit.load(emit.at(query, k, size), ir.VectorType(part, STEP))
        y = b.sext(y, ir.VectorType(target, STEP)) if integer else y
        for total, factor in zip(totals, (y, x), strict=False):
            b.store(add(b.load(total), x, factor), total)

    with cgutils.for_range(b, b.udiv(rows.dim, word(STEP))) as loop:
        k = b.mul(loop.index, word(STEP))
        step(k, rows.load(k))
    long = b.icmp_unsigned(">=", rows.dim, word(STEP))
    with b.if_then(b.and_(long, b.icmp_unsigned("!=", rest, word(0))), likely=True):
        k = b.sub(rows.dim, word(STEP))
        step(k, emit.last(rows.load(k), rest))
    results = [cgutils.alloca_once_value(b, emit.across(b.load(total))) for total in totals]
    with b.if_then(b.not_(long), likely=False), cgutils.for_range(b, rows.dim) as loop:
        x = rows.widen(rows.load(loop.index, 1), target)
        y = emit.load(emit.at(query, loop.index, size), part)
        y = b.sext(y, target) if integer else y
        for result, factor in zip(results, (y, x), strict=False):
            if integer:
                b.store(b.add(b.load(result), b.mul(x, factor)), result)
            else:
                b.store(emit.add_product(b.load(result), x, factor), result)
    return [b.load(result) for result in results]


@intrinsic  # type: ignore[untyped-decorator]
def _dot(typing_context: Any, rows: Any, i: Any, query: Any) -> Any:
    """Return rows[i] . query: float32, or int32 for rows of int8 and a query of int16."""
    out = types.int32 if rows.dtype == types.int8 else types.float32

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _emit_dots(context, builder, signature, args, squares=False)[0]

    return out(rows, types.intp, query), generate


@intrinsic  # type: ignore[untyped-decorator]
def _dot_and_square(typing_context: Any, rows: Any, i: Any, query: Any) -> Any:
    """Return (rows[i] . query, rows[i] . rows[i]); types as in `_dot`."""
    out = types.int32 if rows.dtype == types.int8 else types.float32

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        sums = _emit_dots(context, builder, signature, args, squares=True)
        return context.make_tuple(builder, signature.return_type, sums)

    return types.UniTuple(out, 2)(rows, types.intp, query), generate


@intrinsic  # type: ignore[untyped-decorator]
def _widen(typing_context: Any, rows: Any, i: Any, out: Any) -> Any:
    """Write rows[i] to out[0] as float32; int8 rows without their scale. out: at least as wide as a row."""

    def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
        emit = _Emitter(context, b)
        stored = _Rows(emit, signature.args[0], args[0])
        stored.select(args[1])
        target, _ = emit.array(signature.args[2], args[2])
        word = stored.dim.type

        def step(k: Any, count: int = STEP) -> None:
            emit.store(stored.widen(stored.load(k, count), _FLOAT), emit.at(target, k, 4))

        with cgutils.for_range(b, b.udiv(stored.dim, word(STEP))) as loop:
            step(b.mul(loop.index, word(STEP)))
        with b.if_else(b.icmp_unsigned(">=", stored.dim, word(STEP)), likely=True) as (long, short):
            with long:
                step(b.sub(stored.dim, word(STEP)))
            with short, cgutils.for_range(b, stored.dim) as loop:
                step(loop.index, 1)
        return context.get_dummy_value()

    return types.void(rows, types.intp, out), generate


@intrinsic  # type: ignore[untyped-decorator]
def _narrow(typing_context: Any, row: Any, factor: Any, tile: Any, r: Any) -> Any:
    """Write row[0] * factor, rounded, to tile[r]. row: float32 (1, a multiple of STEP); tile: int16, as wide."""

    def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
        emit = _Emitter(context, b)
        source, (_, dim) = emit.array(signature.args[0], args[0])
        target, _ = emit.array(signature.args[2], args[2])
        target = emit.at(target, b.mul(args[3], dim), 2)
        word, floats = dim.type, ir.VectorType(_FLOAT, STEP)
        factors = emit.spread(args[1], STEP)
        rounder = ir.Constant(floats, [_ROUNDER] * STEP)
        with cgutils.for_range(b, b.udiv(dim, word(STEP))) as loop:
            k = b.mul(loop.index, word(STEP))
            product = b.fmul(emit.load(emit.at(source, k, 4), floats), factors, flags=("contract",))
            bits = b.bitcast(b.fadd(product, rounder, flags=("contract",)), ir.VectorType(_I32, STEP))
            emit.store(b.trunc(bits, ir.VectorType(_I16, STEP)), emit.at(target, k, 2))
        return context.get_dummy_value()

    return types.void(row, types.float32, tile, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def _above(typing_context: Any, dots: Any, r: Any, first: Any, floors: Any) -> Any:
    """Return whether dots[r, q] > floors[q] for any of the LANES queries from `first` on.

    dots: int32 (ROWS, width); floors: int32 (width,).
    """

    def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
        emit = _Emitter(context, b)
        scores, (_, width) = emit.array(signature.args[0], args[0])
        limits, _ = emit.array(signature.args[3], args[3])
        lanes = ir.VectorType(_I32, LANES)
        x = emit.load(emit.at(scores, b.add(b.mul(args[1], width), args[2]), 4), lanes)
        y = emit.load(emit.at(limits, args[2], 4), lanes)
        bits = b.bitcast(b.icmp_signed(">", x, y), ir.IntType(LANES))
        return b.icmp_unsigned("!=", bits, bits.type(0))

    return types.boolean(dots, types.intp, types.intp, floors), generate


def _make_tile_dots(vectors: int) -> Any:
    """Make the inner loop of `scan_many` for `vectors` registers of queries."""

    @intrinsic  # type: ignore[untyped-decorator]
    def tile_dots(typing_context: Any, tile: Any, queries: Any, first: Any, out: Any) -> Any:
        """out[r, first + l] = tile[r] . query (first + l), for ROWS rows and `vectors` * LANES queries.

        tile: int32 (ROWS, P), queries: int32 (P, width): each number is two int16; out: int32 (ROWS, width).
        """

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _emit_tile_dots(context, builder, signature, args, vectors)
            return context.get_dummy_value()

        return types.void(tile, queries, types.intp, out), generate

    return tile_dots


def _emit_tile_dots(context: Any, b: Any, signature: Any, args: Any, vectors: int) -> None:
    emit = _Emitter(context, b)
    parts, wide = ir.VectorType(_I16, 2 * LANES), ir.VectorType(_I32, 2 * LANES)
    lanes = ir.VectorType(_I32, LANES)
    tile, (_, tile_width) = emit.array(signature.args[0], args[0])
    queries, (pairs, width) = emit.array(signature.args[1], args[1])
    out, _ = emit.array(signature.args[3], args[3])
    word = pairs.type
    zero = ir.Constant(lanes, [0] * LANES)
    totals = [[cgutils.alloca_once_value(b, zero) for _ in range(vectors)] for _ in range(ROWS)]
    with cgutils.for_range(b, pairs) as loop:
        here = b.add(b.mul(loop.index, width), args[2])
        ys = [emit.load(emit.at(queries, b.add(here, word(LANES * v)), 4), lanes) for v in range(vectors)]
        ys = [b.sext(b.bitcast(y, parts), wide) for y in ys]
        for r in range(ROWS):
            pair = emit.load(emit.at(tile, b.add(b.mul(tile_width, word(r)), loop.index), 4), _I32)
            x = b.sext(b.bitcast(emit.spread(pair, LANES), parts), wide)
            for total, y in zip(totals[r], ys, strict=True):
                b.store(emit.add_pairs(b.load(total), x, y), total)
    for r in range(ROWS):
        for v in range(vectors):
            place = b.add(b.add(b.mul(width, word(r)), args[2]), word(LANES * v))
            emit.store(b.load(totals[r][v]), emit.at(out, place, 4))


_tile_dots = _make_tile_dots(VECTORS)
_strip_dots = _make_tile_dots(1)


@jit
def push(scores: Any, ids: Any, count: int, score: Any, row: int) -> int:
    """Put a row into a heap whose root is its worst score (replacing it, if the heap is full); return the new count."""
    size = len(scores)
    if count < size:
        at = count
        while at > 0 and score < scores[(at - 1) >> 1]:
            up = (at - 1) >> 1
            scores[at], ids[at] = scores[up], ids[up]
            at = up
        scores[at], ids[at] = score, row
        return count + 1
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and scores[child + 1] < scores[child]:
            child += 1
        if scores[child] >= score:
            break
        scores[at], ids[at] = scores[child], ids[child]
        at = child
    scores[at], ids[at] = score, row
    return count


@jit
def merge(scores: Any, ids: Any, counts: Any, new_scores: Any, new_ids: Any, new_counts: Any) -> None:
    """Put the heaps of a chunk, (Q, m'), into those of the whole scan, (Q, m)."""
    for q in range(len(counts)):
        for j in range(new_counts[q]):
            if counts[q] < scores.shape[1] or new_scores[q, j] > scores[q, 0]:
                counts[q] = push(scores[q], ids[q], counts[q], new_scores[q, j], new_ids[q, j])


@jit
def scan_floats(
    rows: Any,
    norms: Any,
    start: int,
    stop: int,
    base: int,
    queries: Any,
    floors: Any,
    scores: Any,
    ids: Any,
    counts: Any,
) -> None:
    """Keep, for each of Q queries, the rows `start` .. `stop - 1` that lie nearest.

    rows: float32, or float16 as uint16. norms: float32 (V,), or empty: then they are computed. queries: float32 (Q, D).
    floors: float32 (Q,), only better scores count (changed). scores float32, ids int64 (Q, m), counts int64 (Q,): the
    heaps; `base` is added to row numbers.
    """
    size, stored = scores.shape[1], len(norms) > 0
    for first in range(start, stop, NEAR):
        last = min(first + NEAR, stop)
        for q in range(len(queries)):
            query, floor = queries[q], floors[q]
            for i in range(first, last):
                if stored:
                    dot, norm = _dot(rows, i, query), norms[i]
                else:
                    dot, square = _dot_and_square(rows, i, query)
                    norm = np.sqrt(square)
                score = dot / norm if norm >= TINY else np.float32(0.0)
                if score > floor and norm <= HUGE:
                    counts[q] = push(scores[q], ids[q], counts[q], score, base + i)
                    if counts[q] == size:
                        floor = max(floor, scores[q, 0])
            floors[q] = floor


@jit
def scan_codes(
    rows: Any,
    scales: Any,
    norms: Any,
    start: int,
    stop: int,
    base: int,
    queries: Any,
    floors: Any,
    scores: Any,
    ids: Any,
    counts: Any,
) -> None:
    """Do what `scan_floats` does, for rows of int8 with float32 scales (V,) and queries of int16 (Q, D)."""
    size, stored = scores.shape[1], len(norms) > 0
    for first in range(start, stop, NEAR):
        last = min(first + NEAR, stop)
        for q in range(len(queries)):
            query, floor = queries[q], floors[q]
            for i in range(first, last):
                if stored:
                    dot, norm = _dot(rows, i, query), norms[i]
                else:
                    dot, square = _dot_and_square(rows, i, query)
                    norm = np.sqrt(np.float32(square)) * abs(scales[i])
                score = np.float32(dot) * (scales[i] / norm) if norm >= TINY else np.float32(0.0)
                if score > floor and norm <= HUGE:
                    counts[q] = push(scores[q], ids[q], counts[q], score, base + i)
                    if counts[q] == size:
                        floor = max(floor, scores[q, 0])
            floors[q] = floor


@jit
def scan_many(
    rows: Any,
    scales: Any,
    start: int,
    stop: int,
    base: int,
    queries: Any,
    floors: Any,
    scores: Any,
    ids: Any,
    counts: Any,
) -> None:
    """Keep, for each of Q queries, the rows `start` .. `stop - 1` that lie nearest.

    rows: float32, float16 as uint16, or int8. scales: of int8 rows, else empty. queries: int32 (P, width), from
    `tile_queries`. floors: int32 (width,), only better scores count (changed); NEVER behind the Q-th. scores int32, ids
    int64 (Q, m), counts int64 (Q,): the heaps.
    """
    width, size = queries.shape[1], scores.shape[1]
    padded = -(-rows.shape[1] // STEP) * STEP
    row = np.zeros((1, padded), np.float32)
    values = row[0]
    elements = np.zeros((ROWS, padded), np.int16)
    tile = elements.view(np.int32)
    dots = np.empty((ROWS, width), np.int32)
    good = np.zeros(ROWS, np.bool_)
    whole = width - width % (VECTORS * LANES)
    for first in range(start, stop, ROWS):
        count = min(ROWS, stop - first)
        for r in range(count):
            _widen(rows, first + r, row)
            scale = scales[first + r] if len(scales) > 0 else np.float32(1.0)
            length = np.sqrt(_dot(row, 0, values))
            norm = length * abs(scale)
            good[r] = norm <= HUGE
            factor = np.float32(UNIT) / length * np.sign(scale) if norm >= TINY else np.float32(0.0)
            _narrow(row, factor, elements, r)
        for at in range(0, whole, VECTORS * LANES):
            _tile_dots(tile, queries, at, dots)
        for at in range(whole, width, LANES):
            _strip_dots(tile, queries, at, dots)
        for r in range(count):
            for at in range(0, width, LANES):
                if _above(dots, r, at, floors) and good[r]:
                    for q in range(at, at + LANES):
                        if dots[r, q] > floors[q]:
                            counts[q] = push(scores[q], ids[q], counts[q], dots[r, q], base + first + r)
                            if counts[q] == size:
                                floors[q] = max(floors[q], scores[q, 0])


def tile_queries(units: Any) -> Any:
    """Return fixed-point unit queries, int16 (Q, D), as int32 (P, width) for `scan_many`: pairs of elements, a column
    for each query, columns of zeros up to a multiple of LANES; plain numpy."""
    count, dim = units.shape
    padded = np.zeros((-(-count // LANES) * LANES, dim + dim % 2), np.int16)
    padded[:count, :dim] = units
    return np.ascontiguousarray(padded.view(np.int32).T)
