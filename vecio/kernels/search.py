"""The scans behind `search.py`: every row of a matrix against one query, or against many, keeping the best of each.

They find candidates, fast and almost exactly; `search.py` gives the scores. Two ways through the rows:

`scan_one` reads the rows where they are stored, at the speed of the memory: float32 and float16 rows times a float32
query, int8 rows times an int16 query with int32 sums.

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
from numba.extending import intrinsic, overload

from ._jit import jit
from .rows import copy_row, half, prefetch_at

#: Length of a unit vector in fixed-point numbers; the room up to 32767 takes the rounding errors.
UNIT = 32000.0
#: Rows with a norm below TINY count as zero (score 0), above HUGE (or not a number) they are passed over.
TINY, HUGE = 1e-15, 1e15
#: No score (int32) is below this, none above that.
NOTHING, NEVER = -(2**31), 2**31 - 1
#: Bytes ahead of the row in hand that are asked for (measured: 10 % on int8 rows, nothing on wider ones).
AHEAD = 8192


def _shape() -> tuple[int, int, int]:
    """Return (lanes, rows, vectors): 32-bit lanes of a register, and how many rows times vectors stay in registers."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512bw"):
        return 16, 6, 4
    if features.get("neon"):
        return 4, 6, 4
    return (8 if features.get("avx2") else 4), 3, 4


LANES, ROWS, VECTORS = _shape()
#: Elements of a row that one step of `scan_one` takes; shorter rows go the plain way.
STEP = 2 * LANES

_FLOAT, _HALF = ir.FloatType(), ir.HalfType()
_I8, _I16, _I32 = ir.IntType(8), ir.IntType(16), ir.IntType(32)
#: The order of the sum is free and products may be fused; NaN and infinity stay what they are.
_FREE = ("reassoc", "contract", "nsz")


class _Emitter:
    """Writes vector code with llvmlite's builder; every pointer is a pointer to bytes."""

    def __init__(self, context: Any, builder: Any) -> None:
        self.context, self.builder = context, builder

    def pointer(self, array_type: Any, array: Any) -> Any:
        """Return where the data of a C-contiguous array begins."""
        view = self.context.make_array(array_type)(self.context, self.builder, array)
        return self.builder.bitcast(view.data, _I8.as_pointer())

    def at(self, pointer: Any, offset: Any) -> Any:
        return self.builder.gep(pointer, [offset], source_etype=_I8)

    def load(self, pointer: Any, kind: Any, align: int = 1) -> Any:
        value = self.builder.load(self.builder.bitcast(pointer, kind.as_pointer()), typ=kind)
        value.align = align
        return value

    def store(self, value: Any, pointer: Any) -> None:
        self.builder.store(value, self.builder.bitcast(pointer, value.type.as_pointer())).align = 1

    def pick(self, vector: Any, places: list[int]) -> Any:
        mask = ir.Constant(ir.VectorType(_I32, len(places)), places)
        return self.builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)

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
            vector = plus(self.pick(vector, list(range(width))), self.pick(vector, list(range(width, 2 * width))))
        return b.extract_element(vector, _I32(0))


class _RowReader:
    """How `STEP` elements of a stored row and of a query are loaded and added up, for one dtype of rows."""

    def __init__(self, emit: _Emitter, dtype: Any) -> None:
        self.emit = emit
        self.integer = dtype == types.int8
        self.element = {types.int8: _I8, types.uint16: _I16, types.float32: _FLOAT}[dtype]
        self.size = dtype.bitwidth // 8
        self.query_size = 2 if self.integer else 4
        self.total = ir.VectorType(_I32, STEP // 2) if self.integer else ir.VectorType(_FLOAT, STEP)
        self.wide = ir.VectorType(_I32, STEP) if self.integer else self.total
        self.add = emit.add_pairs if self.integer else emit.add_product

    def row(self, pointer: Any, k: Any) -> Any:
        b = self.emit.builder
        values = self.emit.load(self.emit.at(pointer, b.mul(k, k.type(self.size))), ir.VectorType(self.element, STEP))
        if self.integer:
            return b.sext(values, self.wide)
        return b.fpext(b.bitcast(values, ir.VectorType(_HALF, STEP)), self.wide) if self.size == 2 else values

    def query(self, pointer: Any, k: Any) -> Any:
        b = self.emit.builder
        kind = ir.VectorType(_I16 if self.integer else _FLOAT, STEP)
        values = self.emit.load(self.emit.at(pointer, b.mul(k, k.type(self.query_size))), kind)
        return b.sext(values, self.wide) if self.integer else values

    def times(self, x: Any, y: Any) -> Any:
        return self.emit.builder.mul(x, y) if self.integer else self.emit.builder.fmul(x, y)


@intrinsic  # type: ignore[untyped-decorator]
def _dot_and_square(typing_context: Any, rows: Any, i: Any, query: Any) -> Any:
    """Return (rows[i] . query, rows[i] . rows[i]) for rows of at least STEP elements; `query` as `lay_out` makes it."""
    out = types.int32 if rows.dtype == types.int8 else types.float32
    signature = types.UniTuple(out, 2)(rows, types.intp, query)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        sums = _emit_dot(context, builder, signature, args, squares=True)
        return context.make_tuple(builder, signature.return_type, sums)

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def _dot(typing_context: Any, rows: Any, i: Any, query: Any) -> Any:
    """Return rows[i] . query for rows of at least STEP elements; `query` as `lay_out` makes it."""
    out = types.int32 if rows.dtype == types.int8 else types.float32

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _emit_dot(context, builder, signature, args, squares=False)[0]

    return out(rows, types.intp, query), generate


def _emit_dot(context: Any, b: Any, signature: Any, args: Any, squares: bool) -> list[Any]:
    """Write the loop over one row. The rest of a row is taken by one more step that ends with the row; behind the full
    steps the query holds what belongs to it (zero where the step overlaps the one before), then ones at the same places.
    """
    emit = _Emitter(context, b)
    reader = _RowReader(emit, signature.args[0].dtype)
    view = context.make_array(signature.args[0])(context, b, args[0])
    dim = b.extract_value(view.shape, 1)
    word = dim.type
    row = emit.at(emit.pointer(signature.args[0], args[0]), b.mul(args[1], b.mul(dim, word(reader.size))))
    query = emit.pointer(signature.args[2], args[2])
    begin, loop = b.block, b.append_basic_block("steps")
    after, rest, end = (b.append_basic_block(name) for name in ("after", "rest", "end"))

    b.branch(loop)
    b.position_at_end(loop)
    k = b.phi(word)
    k.add_incoming(word(0), begin)
    totals = [b.phi(reader.total) for _ in range(1 + squares)]
    x = reader.row(row, k)
    sums = [reader.add(total, x, y) for total, y in zip(totals, (reader.query(query, k), x), strict=False)]
    following = b.add(k, word(STEP))
    k.add_incoming(following, loop)
    for total, value in zip(totals, sums, strict=True):
        total.add_incoming(ir.Constant(reader.total, [0] * reader.total.count), begin)
        total.add_incoming(value, loop)
    b.cbranch(b.icmp_signed("<=", b.add(following, word(STEP)), dim), loop, after)

    b.position_at_end(after)
    b.cbranch(b.icmp_signed("<", following, dim), rest, end)
    b.position_at_end(rest)
    x = reader.row(row, b.sub(dim, word(STEP)))
    ones = reader.query(query, b.add(following, word(STEP)))
    factors = (reader.query(query, following), reader.times(x, ones))
    more = [reader.add(total, x, y) for total, y in zip(sums, factors, strict=False)]
    b.branch(end)

    b.position_at_end(end)
    results = []
    for full, longer in zip(sums, more, strict=True):
        result = b.phi(reader.total)
        result.add_incoming(full, after)
        result.add_incoming(longer, rest)
        results.append(result)
    return [emit.across(result) for result in results]


def lay_out(query: Any) -> Any:
    """Return a query (D,) with what `_emit_dot` reads behind its full steps; same dtype, plain numpy."""
    dim = len(query)
    full = dim // STEP * STEP
    rest = dim - full
    out = np.zeros(full + 2 * STEP, query.dtype)
    out[:full] = query[:full]
    if rest:
        out[full + STEP - rest : full + STEP] = query[full:]
        out[full + 2 * STEP - rest :] = 1
    return out


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
    pair_vector, wide = ir.VectorType(_I16, 2 * LANES), ir.VectorType(_I32, 2 * LANES)
    lanes = ir.VectorType(_I32, LANES)
    shape = context.make_array(signature.args[1])(context, b, args[1]).shape
    pairs, width = b.extract_value(shape, 0), b.extract_value(shape, 1)
    word = pairs.type
    start = b.mul(args[2], word(4))
    tile = emit.pointer(signature.args[0], args[0])
    queries = emit.at(emit.pointer(signature.args[1], args[1]), start)
    out = emit.at(emit.pointer(signature.args[3], args[3]), start)
    tile_line, line = b.mul(pairs, word(4)), b.mul(width, word(4))
    begin, loop, end = b.block, b.append_basic_block("pairs"), b.append_basic_block("sums")

    b.branch(loop)
    b.position_at_end(loop)
    k = b.phi(word)
    k.add_incoming(word(0), begin)
    totals = [[b.phi(lanes) for _ in range(vectors)] for _ in range(ROWS)]
    place = emit.at(queries, b.mul(k, line))
    ys = [emit.load(emit.at(place, word(4 * LANES * v)), lanes, 4) for v in range(vectors)]
    ys = [b.sext(b.bitcast(y, pair_vector), wide) for y in ys]
    sums = []
    for r in range(ROWS):
        pair = emit.load(emit.at(tile, b.add(b.mul(tile_line, word(r)), b.mul(k, word(4)))), _I32, 4)
        spread = emit.pick(b.insert_element(ir.Constant(lanes, ir.Undefined), pair, _I32(0)), [0] * LANES)
        x = b.sext(b.bitcast(spread, pair_vector), wide)
        sums.append([emit.add_pairs(total, x, y) for total, y in zip(totals[r], ys, strict=True)])
    following = b.add(k, word(1))
    k.add_incoming(following, loop)
    for total, value in zip(sum(totals, []), sum(sums, []), strict=True):
        total.add_incoming(ir.Constant(lanes, [0] * LANES), begin)
        total.add_incoming(value, loop)
    b.cbranch(b.icmp_signed("<", following, pairs), loop, end)

    b.position_at_end(end)
    for r in range(ROWS):
        for v in range(vectors):
            emit.store(sums[r][v], emit.at(out, b.add(b.mul(line, word(r)), word(4 * LANES * v))))


_tile_dots = _make_tile_dots(VECTORS)
_strip_dots = _make_tile_dots(1)


@jit
def push(scores: Any, ids: Any, count: int, score: Any, row: int) -> int:
    """Put a row into a heap whose worst score is its root; in a full heap it replaces the root. Return the new count."""
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


def _cosine(storage: Any, norms: Any, i: int, query: Any) -> Any:
    """Return (row i of the storage . query, its norm) as float32; with stored norms the row is not squared."""
    raise NotImplementedError("compiled code only")


@overload(_cosine, inline="always")  # type: ignore[untyped-decorator]
def _overload_cosine(storage: Any, norms: Any, i: Any, query: Any) -> Any:
    return _cosine_int8 if len(storage) == 2 else _cosine_float


def _cosine_float(storage: Any, norms: Any, i: Any, query: Any) -> Any:
    if len(norms) > 0:
        return _dot(storage[0], i, query), norms[i]
    dot, square = _dot_and_square(storage[0], i, query)
    return dot, np.sqrt(square)


def _cosine_int8(storage: Any, norms: Any, i: Any, query: Any) -> Any:
    scale = storage[1][i]
    if len(norms) > 0:
        return np.float32(_dot(storage[0], i, query)) * scale, norms[i]
    dot, square = _dot_and_square(storage[0], i, query)
    return np.float32(dot) * scale, np.sqrt(np.float32(square)) * abs(scale)


@jit
def scan_one(
    storage: Any, norms: Any, start: int, stop: int, base: int, query: Any, floor: Any, scores: Any, ids: Any
) -> int:
    """Keep the rows `start` .. `stop - 1` that lie nearest to one query; return how many are kept.

    storage: float32, float16 (as uint16) or int8 rows of at least STEP elements. norms: float32 (V,) or empty.
    query: from `lay_out`, float32 or, for int8 rows, int16. floor: only better scores count. scores float32, ids int64
    (m,): the heap; `base` is added to row numbers.
    """
    count, size = 0, len(scores)
    for i in range(start, stop):
        prefetch_at(storage[0], i, AHEAD)
        dot, norm = _cosine(storage, norms, i, query)
        score = dot / norm if norm >= TINY else np.float32(0.0)
        if score > floor and norm <= HUGE:
            count = push(scores, ids, count, score, base + i)
            if count == size:
                floor = max(floor, scores[0])
    return count


@jit
def _fill(tile: Any, r: int, storage: Any, i: int, row: Any, padded: Any) -> bool:
    """Write row i as a fixed-point unit vector to tile[r]; return False if it is not a number or too long.

    tile: int16 (ROWS, 2 P). padded: float32 scratch (1, D up to a multiple of STEP), zero at its end; row: (1, D), its
    beginning.
    """
    copy_row(row, 0, storage, i)
    norm = np.sqrt(_dot(padded, 0, padded))
    if not norm <= HUGE:
        return False
    factor = np.float32(UNIT) / norm if norm >= TINY else np.float32(0.0)
    for j in range(row.shape[1]):
        tile[r, j] = np.int16(np.rint(row[0, j] * factor))
    return True


@jit
def scan_many(
    storage: Any,
    dim: int,
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

    storage: any, of rows of `dim` elements. queries: int32 (P, width), from `tile_queries`. floors: int32 (width,), only better scores count
    (changed); NEVER behind the Q-th. scores int32, ids int64 (Q, m), counts int64 (Q,): the heaps.
    """
    pairs, width = queries.shape
    size = scores.shape[1]
    tile = np.zeros((ROWS, pairs), np.int32)
    elements = tile.view(np.int16)
    padded = np.zeros(-(-dim // STEP) * STEP, np.float32)
    row, square = padded[:dim].reshape(1, dim), padded.reshape(1, len(padded))
    dots = np.empty((ROWS, width), np.int32)
    good = np.zeros(ROWS, np.bool_)
    whole = width - width % (VECTORS * LANES)
    for first in range(start, stop, ROWS):
        rows = min(ROWS, stop - first)
        for r in range(rows):
            good[r] = _fill(elements, r, storage, first + r, row, square)
        for at in range(0, whole, VECTORS * LANES):
            _tile_dots(tile, queries, at, dots)
        for at in range(whole, width, LANES):
            _strip_dots(tile, queries, at, dots)
        for r in range(rows):
            if good[r]:
                for at in range(0, width, LANES):
                    hits = 0
                    for q in range(at, at + LANES):
                        hits += dots[r, q] > floors[q]
                    if hits > 0:
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
