"""Reading one stored row inside a kernel, whatever its storage: `add_row`, `copy_row`, `prefetch_row`.

The storage is the tuple that `Matrix.kernel()` gives; its type picks the code at compile time. Sums are rounded to
float32 at each step, in order, with no fused multiply-add, so that a compiled sum equals a plain one to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from ._jit import jit

CACHE_LINE = 64


@intrinsic  # type: ignore[untyped-decorator]
def half(typing_context: Any, bits: Any) -> Any:
    """Return the float32 value of float16 bits (uint16); compiles to the hardware's conversion."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), generate


@intrinsic  # type: ignore[untyped-decorator]
def float_at(typing_context: Any, data: Any, place: Any) -> Any:
    """Return the float32 whose four bytes begin at `data[place]` (uint8, contiguous), at any alignment."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, args[0])
        pointer = builder.gep(view.data, [args[1]], source_etype=ir.IntType(8))
        value = builder.load(builder.bitcast(pointer, ir.FloatType().as_pointer()), typ=ir.FloatType())
        value.align = 1
        return value

    return types.float32(data, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def prefetch(typing_context: Any, array: Any, item: Any) -> Any:
    """Ask the processor to fetch the memory line at the start of `array[item]` (first axis); none is too large."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, args[0])
        stride = builder.extract_value(view.strides, 0)
        _emit_prefetch(builder, view.data, builder.mul(stride, args[1]))
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def prefetch_at(typing_context: Any, array: Any, item: Any, offset: Any) -> Any:
    """Ask for the memory line `offset` bytes behind the start of `array[item]`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, args[0])
        stride = builder.extract_value(view.strides, 0)
        _emit_prefetch(builder, view.data, builder.add(builder.mul(stride, args[1]), args[2]))
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64), generate


def _emit_prefetch(builder: Any, data: Any, offset: Any) -> None:
    """Call LLVM's prefetch for reading, keeping the line in all caches."""
    byte, word = ir.IntType(8), ir.IntType(32)
    pointer = builder.gep(builder.bitcast(data, byte.as_pointer()), [offset], source_etype=byte)
    kind = ir.FunctionType(ir.VoidType(), [pointer.type, word, word, word])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [pointer, word(0), word(3), word(1)])


@jit
def _prefetch_bytes(array: Any, item: int, length: int) -> None:
    for offset in range(0, length, CACHE_LINE):
        prefetch_at(array, item, offset)


def add_row(out: Any, o: int, storage: Any, i: int) -> None:
    """Add row `i` of the storage to `out[o]` (float32)."""
    raise NotImplementedError("compiled code only")


def copy_row(out: Any, o: int, storage: Any, i: int) -> None:
    """Write row `i` of the storage to `out[o]` (float32)."""
    raise NotImplementedError("compiled code only")


def prefetch_row(storage: Any, i: int) -> None:
    """Ask for the memory of row `i`."""
    raise NotImplementedError("compiled code only")


def add_rows(out: Any, o: int, ids: Any, start: int, stop: int, base: int, words: Any, grams: Any) -> None:
    """Add the rows `ids[start:stop]`, in order, to `out[o]`: row i of `words`, or row `i - base` of `grams`.

    Floats are read from four rows at once, which hides the memory's latency without asking for it in advance.
    """
    raise NotImplementedError("compiled code only")


def _number(x: Any) -> Any:
    """Return the float32 that a stored number stands for."""
    raise NotImplementedError("compiled code only")


def storage_kind(storage: Any) -> str:
    """Return which of the five storages a numba tuple type is."""
    if len(storage) == 1:
        return "float16" if storage[0].dtype == types.uint16 else "float32"
    if len(storage) == 2 and storage[0].ndim == 1:
        return "scattered"
    return "int8" if len(storage) == 2 else "pq"


@overload(add_row, inline="never")  # type: ignore[untyped-decorator]
def _add_row(out: Any, o: Any, storage: Any, i: Any) -> Any:
    return {
        "float32": _add_float32,
        "float16": _add_float16,
        "int8": _add_int8,
        "pq": _add_pq,
        "scattered": _add_scattered,
    }[storage_kind(storage)]


@overload(copy_row, inline="never")  # type: ignore[untyped-decorator]
def _copy_row(out: Any, o: Any, storage: Any, i: Any) -> Any:
    return {
        "float32": _copy_float32,
        "float16": _copy_float16,
        "int8": _copy_int8,
        "pq": _copy_pq,
        "scattered": _copy_scattered,
    }[storage_kind(storage)]


@overload(prefetch_row, inline="never")  # type: ignore[untyped-decorator]
def _prefetch_row(storage: Any, i: Any) -> Any:
    kind = storage_kind(storage)
    if kind in ("float32", "float16"):
        return _prefetch_floats
    return _prefetch_scattered if kind == "scattered" else _prefetch_codes


@overload(add_rows, inline="never")  # type: ignore[untyped-decorator]
def _add_rows(out: Any, o: Any, ids: Any, start: Any, stop: Any, base: Any, words: Any, grams: Any) -> Any:
    if words == grams and storage_kind(words) in ("float32", "float16"):
        return _add_floats
    return _add_any


@overload(_number)  # type: ignore[untyped-decorator]
def _as_float(x: Any) -> Any:
    return _from_half if x == types.uint16 else _same


def _from_half(x: Any) -> Any:
    return half(x)


def _same(x: Any) -> Any:
    return x


def _add_floats(out: Any, o: Any, ids: Any, start: Any, stop: Any, base: Any, words: Any, grams: Any) -> Any:
    total, dim = out[o], out.shape[1]
    place = start
    while place + 4 <= stop:
        a = _pick(ids[place], base, words, grams)
        b = _pick(ids[place + 1], base, words, grams)
        c = _pick(ids[place + 2], base, words, grams)
        d = _pick(ids[place + 3], base, words, grams)
        for j in range(dim):
            t = total[j] + _number(a[j])
            t += _number(b[j])
            t += _number(c[j])
            total[j] = t + _number(d[j])
        place += 4
    while place < stop:
        a = _pick(ids[place], base, words, grams)
        for j in range(dim):
            total[j] += _number(a[j])
        place += 1


@jit
def _pick(i: int, base: int, words: Any, grams: Any) -> Any:
    return words[0][i] if i < base else grams[0][i - base]


def _add_any(out: Any, o: Any, ids: Any, start: Any, stop: Any, base: Any, words: Any, grams: Any) -> Any:
    for place in range(start, stop):
        if ids[place] < base:
            add_row(out, o, words, ids[place])
        else:
            add_row(out, o, grams, ids[place] - base)


def _add_float32(out: Any, o: Any, storage: Any, i: Any) -> Any:
    values = storage[0]
    for j in range(out.shape[1]):
        out[o, j] += values[i, j]


def _copy_float32(out: Any, o: Any, storage: Any, i: Any) -> Any:
    values = storage[0]
    for j in range(out.shape[1]):
        out[o, j] = values[i, j]


def _add_float16(out: Any, o: Any, storage: Any, i: Any) -> Any:
    values = storage[0]
    for j in range(out.shape[1]):
        out[o, j] += half(values[i, j])


def _copy_float16(out: Any, o: Any, storage: Any, i: Any) -> Any:
    values = storage[0]
    for j in range(out.shape[1]):
        out[o, j] = half(values[i, j])


def _add_int8(out: Any, o: Any, storage: Any, i: Any) -> Any:
    codes, scale = storage[0], storage[1][i]
    for j in range(out.shape[1]):
        out[o, j] += scale * np.float32(codes[i, j])


def _copy_int8(out: Any, o: Any, storage: Any, i: Any) -> Any:
    codes, scale = storage[0], storage[1][i]
    for j in range(out.shape[1]):
        out[o, j] = scale * np.float32(codes[i, j])


def _add_scattered(out: Any, o: Any, storage: Any, i: Any) -> Any:
    data, place = storage[0], storage[1][i]
    for j in range(out.shape[1]):
        out[o, j] += float_at(data, place + 4 * j)


def _copy_scattered(out: Any, o: Any, storage: Any, i: Any) -> Any:
    data, place = storage[0], storage[1][i]
    for j in range(out.shape[1]):
        out[o, j] = float_at(data, place + 4 * j)


def _add_pq(out: Any, o: Any, storage: Any, i: Any) -> Any:
    codes, centroids, dsub, norms = storage
    norm = norms[i] if len(norms) > 0 else np.float32(1.0)
    dim = out.shape[1]
    if (
        dsub == 2 and dim % 2 == 0
    ):  # what fastText writes unless told otherwise: 4 times as fast without inner loop
        for piece in range(codes.shape[1]):
            first = 512 * piece + 2 * np.int64(codes[i, piece])
            out[o, 2 * piece] += norm * centroids[first]
            out[o, 2 * piece + 1] += norm * centroids[first + 1]
        return
    for piece in range(codes.shape[1]):
        begin = piece * dsub
        width = min(dsub, dim - begin)
        first = begin * 256 + codes[i, piece] * width
        for j in range(width):
            out[o, begin + j] += norm * centroids[first + j]


def _copy_pq(out: Any, o: Any, storage: Any, i: Any) -> Any:
    codes, centroids, dsub, norms = storage
    norm = norms[i] if len(norms) > 0 else np.float32(1.0)
    dim = out.shape[1]
    for piece in range(codes.shape[1]):
        begin = piece * dsub
        width = min(dsub, dim - begin)
        first = begin * 256 + codes[i, piece] * width
        for j in range(width):
            out[o, begin + j] = norm * centroids[first + j]


def _prefetch_floats(storage: Any, i: Any) -> Any:
    _prefetch_bytes(storage[0], i, storage[0].shape[1] * storage[0].itemsize)


def _prefetch_codes(storage: Any, i: Any) -> Any:
    _prefetch_bytes(storage[0], i, storage[0].shape[1])


def _prefetch_scattered(storage: Any, i: Any) -> Any:
    prefetch_at(storage[0], storage[1][i], 0)
