"""float32 rows to float16 and int8, with norms and the errors that rounding makes: one pass, nothing checked.

The plain twins are in `vecio/_rounding.py`; both give the same bits. `tally` (float64, 8) collects what a report needs,
see `_rounding.Tally`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ._jit import jit
from .rows import half

_NAN_HALF = np.uint16(0x7E00)
_MINUS_NAN_HALF = np.uint16(0xFE00)


@intrinsic  # type: ignore[untyped-decorator]
def to_half(typing_context: Any, value: Any) -> Any:
    """Return the float16 bits (uint16) nearest to a float32, ties to even; compiles to the hardware's conversion."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), ir.IntType(16))

    return types.uint16(types.float32), generate


@intrinsic  # type: ignore[untyped-decorator]
def sign_bit(typing_context: Any, value: Any) -> Any:
    """Return whether the sign bit of a float32 is set (also of a NaN)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], ir.IntType(32))
        return builder.icmp_signed("<", bits, ir.IntType(32)(0))

    return types.boolean(types.float32), generate


@jit
def compare(tally: Any, xx: float, xy: float, yy: float, worst: float, total: float, lost: int) -> None:
    """Add one row to the tally: sums of squares and products of the row (x) and what is stored (y), its errors."""
    tally[0] = max(tally[0], worst)
    tally[1] += total
    if xx > 0.0 and xx < np.inf:
        cosine = xy / np.sqrt(xx * yy) if yy > 0.0 else 0.0
        if cosine == cosine:
            tally[2] = min(tally[2], cosine)
            tally[3] += cosine
            tally[4] += 1.0
    tally[5] += lost


@jit
def float16(x: Any, start: int, stop: int, out: Any, norms: Any, tally: Any) -> None:
    """Round the rows `start` .. `stop - 1` of x (float32) to `out` (bits of float16); a NaN loses its payload."""
    for i in range(start, stop):
        for j in range(x.shape[1]):
            value = x[i, j]
            bits = to_half(value)
            if value != value:
                bits = _MINUS_NAN_HALF if sign_bit(value) else _NAN_HALF
            out[i, j] = bits
        xx, xy, yy, total = 0.0, 0.0, 0.0, 0.0
        worst = np.float32(0)
        lost = 0
        for j in range(x.shape[1]):
            value = x[i, j]
            stored = half(out[i, j])
            a, b = np.float64(value), np.float64(stored)
            xx += a * a
            xy += a * b
            yy += b * b
            error = np.abs(value - stored)
            if error < np.inf:
                worst = max(worst, error)
                total += np.float64(error)
            elif error == np.inf:
                lost += 1
        norms[i] = np.float32(np.sqrt(yy))
        compare(tally, xx, xy, yy, worst, total, lost)


@jit
def int8(x: Any, start: int, stop: int, out: Any, scales: Any, norms: Any, tally: Any) -> None:
    """Round the rows `start` .. `stop - 1` of x (float32) to codes (int8) with a scale for each row (float32)."""
    for i in range(start, stop):
        largest = np.float32(0)
        finite = True
        for j in range(x.shape[1]):
            size = np.abs(x[i, j])
            finite = finite and size < np.inf
            largest = max(largest, size)
        scale = largest / np.float32(127) if finite else np.float32(np.nan)
        scales[i] = scale
        xx, xy, yy, total = 0.0, 0.0, 0.0, 0.0
        worst = np.float32(0)
        for j in range(x.shape[1]):
            value = x[i, j]
            code = np.float32(0)
            if scale > np.float32(0):
                code = min(max(np.rint(value / scale), np.float32(-127)), np.float32(127))
            out[i, j] = np.int8(code)
            stored = scale * code
            a, b = np.float64(value), np.float64(stored)
            xx += a * a
            xy += a * b
            yy += b * b
            error = np.abs(value - stored)
            worst = max(worst, error)
            total += np.float64(error)
        norms[i] = np.float32(np.sqrt(yy))
        if finite:
            compare(tally, xx, xy, yy, worst, total, 0)
        else:
            compare(tally, np.nan, 0.0, 0.0, np.float32(0), 0.0, 1)


@jit
def norms_of(x: Any, start: int, stop: int, norms: Any) -> None:
    """Write the L2 norms of the rows `start` .. `stop - 1` of x (float32): squares summed in float64, in order."""
    for i in range(start, stop):
        total = 0.0
        for j in range(x.shape[1]):
            value = np.float64(x[i, j])
            total += value * value
        norms[i] = np.float32(np.sqrt(total))
