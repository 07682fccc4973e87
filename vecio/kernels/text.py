"""Rows of numbers as text: parsing lines into float32 and writing float32 as the shortest decimal that gives it back.

Parsing: a number's digits make an integer w (18 digits at most, further ones are dropped), and w times a power of ten,
as float64, is within 4 units in the last place of the number. Where that leaves no doubt how it rounds to float32, it
is rounded; else (1 number in 10^7, and subnormal ones) its place is reported and Python decides exactly. So the result
is that of a correctly rounding `strtof` for every string of digits. Eight digits are turned into an integer at once.

Writing: Raffaello Giulietti's Schubfach in the 32-bit form of A. Bolz (Drachennest), laid out as numpy's `str` does.

Buffers end with a newline and at least 32 bytes behind it that may be read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ._jit import jit

NEWLINE, RETURN, SPACE, DOT, PLUS, MINUS, ZERO = 10, 13, 32, 46, 43, 45, 48
#: Digits of an integer that are kept: it then fits into 63 bits.
KEPT = 18

#: Powers of ten as float64 by exponent + LEAST: below them a number is 0 as float32, above them infinite.
LEAST, MOST = 80, 60
POWERS = np.array([float(f"1e{q}") for q in range(-LEAST, MOST + 1)])
#: Signed scales of numbers with n digits behind the dot: [0, n] = 10^-n, [1, n] = -(10^-n).
SCALES = np.array([[float(f"1e-{n}") for n in range(17)], [-float(f"1e-{n}") for n in range(17)]])
TENS = np.array([10**n for n in range(17)], np.int64)

ZEROS = np.uint64(0x3030303030303030)
OVER_NINE = np.uint64(0x7676767676767676)
HIGH_BITS = np.uint64(0x8080808080808080)
LOW_BITS, NEWLINES = np.uint64(0x7F7F7F7F7F7F7F7F), np.uint64(0x0A0A0A0A0A0A0A0A)
M1, M2, M3 = np.uint64(0x0F0F0F0F0F0F0F0F), np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)
F1, F2, F3 = np.uint64(2561), np.uint64(6553601), np.uint64(42949672960001)
U8, U9, U16, U32 = (np.uint64(n) for n in (8, 9, 16, 32))

#: The bits of a float64 that float32 lacks, and the distance from the middle within which rounding is in doubt.
LOW = np.uint64((1 << 29) - 1)
DOUBT_FROM, DOUBT = np.uint64((1 << 28) - 4), np.uint64(8)
#: The least normal float32, and what is certainly 0.
NORMAL, NOTHING = 2.0**-126, 2.0**-151

GOOD, INEXACT, BAD = 0, 1, 2


@intrinsic  # type: ignore[untyped-decorator]
def load64(typing_context: Any, data: Any, place: Any) -> Any:
    """Return the eight bytes at `data[place]` (uint8, contiguous) as a little-endian uint64, at any alignment."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, args[0])
        pointer = builder.gep(view.data, [args[1]], source_etype=ir.IntType(8))
        value = builder.load(builder.bitcast(pointer, ir.IntType(64).as_pointer()), typ=ir.IntType(64))
        value.align = 1
        return value

    return types.uint64(data, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def byte(typing_context: Any, data: Any, place: Any) -> Any:
    """Return `data[place]` (uint8, contiguous) as an integer; the place is not negative."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, args[0])
        pointer = builder.gep(view.data, [args[1]], source_etype=ir.IntType(8))
        return builder.zext(builder.load(pointer, typ=ir.IntType(8)), ir.IntType(64))

    return types.int64(data, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def bits64(typing_context: Any, value: Any) -> Any:
    """Return the bits of a float64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64))

    return types.uint64(types.float64), generate


@intrinsic  # type: ignore[untyped-decorator]
def bits32(typing_context: Any, value: Any) -> Any:
    """Return the bits of a float32, as a wider integer."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(builder.bitcast(args[0], ir.IntType(32)), ir.IntType(64))

    return types.int64(types.float32), generate


@intrinsic  # type: ignore[untyped-decorator]
def trailing_zeros(typing_context: Any, value: Any) -> Any:
    """Return how many low bits are 0 (64 for 0)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def leading_zeros(typing_context: Any, value: Any) -> Any:
    """Return how many high bits are 0 (64 for 0)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def ones(typing_context: Any, value: Any) -> Any:
    """Return how many bits are 1."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def store64(typing_context: Any, data: Any, place: Any, value: Any) -> Any:
    """Write a uint64, little-endian, to the eight bytes at `data[place]`, at any alignment."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, args[0])
        pointer = builder.gep(view.data, [args[1]], source_etype=ir.IntType(8))
        builder.store(args[2], builder.bitcast(pointer, ir.IntType(64).as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(data, types.int64, types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def put(typing_context: Any, data: Any, place: Any, value: Any) -> Any:
    """Write the low eight bits of an integer to `data[place]` (uint8, contiguous); the place is not negative."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, args[0])
        pointer = builder.gep(view.data, [args[1]], source_etype=ir.IntType(8))
        builder.store(builder.trunc(args[2], ir.IntType(8)), pointer)
        return context.get_dummy_value()

    return types.void(data, types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def high_part(typing_context: Any, g: Any, c: Any) -> Any:
    """Return the bits 32 .. 95 of the product of two uint64, of which the second is below 2^32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 32)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), generate


# -- parsing -------------------------------------------------------------------------------------------------------


@jit
def count_newlines(buffer: Any, start: int, stop: int) -> int:
    """Return how many newlines lie in `buffer[start:stop]`."""
    found = np.int64(0)
    i = np.int64(start)
    while i + 8 <= stop:
        x = load64(buffer, i) ^ NEWLINES
        found += ones(~(((x & LOW_BITS) + LOW_BITS) | x | LOW_BITS))
        i += 8
    while i < stop:
        found += buffer[i] == NEWLINE
        i += 1
    return found


@jit
def _digits(x: Any, n: int) -> Any:
    """Return the number that n digits (0 .. 8) spell: `x` holds their values 0 .. 9, one a byte, the first lowest."""
    half = np.uint64(4 * (8 - n))
    y = (x << half) << half
    y = ((y & M1) * F1) >> U8
    y = ((y & M2) * F2) >> U16
    return np.int64(((y & M3) * F3) >> U32)


@jit
def _letter(buffer: Any, p: int, lower: int) -> bool:
    return buffer[p] | 32 == lower


@jit
def _special(buffer: Any, p: int) -> Any:
    """Read nan, inf or infinity at p, in any case; return where it ends and the value (p itself where it is none)."""
    if _letter(buffer, p, 110) and _letter(buffer, p + 1, 97) and _letter(buffer, p + 2, 110):
        return p + 3, np.nan
    if _letter(buffer, p, 105) and _letter(buffer, p + 1, 110) and _letter(buffer, p + 2, 102):
        long = (
            _letter(buffer, p + 3, 105)
            and _letter(buffer, p + 4, 110)
            and _letter(buffer, p + 5, 105)
            and _letter(buffer, p + 6, 116)
            and _letter(buffer, p + 7, 121)
        )
        return p + (8 if long else 3), np.inf
    return p, 0.0


@jit
def _number(buffer: Any, p: int) -> Any:
    """Read any number at p: return where it ends, its value as float64, and GOOD, INEXACT or BAD."""
    negative = buffer[p] == MINUS
    if negative or buffer[p] == PLUS:
        p += 1
    sign = -1.0 if negative else 1.0
    w = np.int64(0)
    kept = np.int64(0)
    exponent = np.int64(0)
    begin = p
    while np.uint8(buffer[p] - ZERO) < 10:
        if kept < KEPT:
            w = w * 10 + (np.int64(buffer[p]) - ZERO)
            kept += w > 0
        else:
            exponent += 1
        p += 1
    there = p - begin
    if buffer[p] == DOT:
        p += 1
        begin = p
        while np.uint8(buffer[p] - ZERO) < 10:
            if kept < KEPT:
                w = w * 10 + (np.int64(buffer[p]) - ZERO)
                kept += w > 0
                exponent -= 1
            p += 1
        there += p - begin
    if there == 0:
        if buffer[p - 1] == DOT:
            return p, 0.0, BAD
        end, value = _special(buffer, p)
        return end, sign * value, GOOD if end > p else BAD
    if buffer[p] | 32 == 101:
        p += 1
        down = buffer[p] == MINUS
        if down or buffer[p] == PLUS:
            p += 1
        begin = p
        power = np.int64(0)
        while np.uint8(buffer[p] - ZERO) < 10:
            if power < 1000000000000:
                power = power * 10 + (np.int64(buffer[p]) - ZERO)
            p += 1
        if p == begin:
            return p, 0.0, BAD
        exponent += -power if down else power
    if w == 0:
        return p, sign * 0.0, GOOD
    if exponent < -LEAST:
        return p, sign * 0.0, GOOD
    if exponent > MOST:
        return p, sign * np.inf, GOOD
    value = np.float64(w) * POWERS[exponent + LEAST]
    if value < NOTHING:
        return p, sign * 0.0, GOOD
    doubt = (bits64(value) & LOW) - DOUBT_FROM <= DOUBT or value < NORMAL
    return p, sign * value, INEXACT if doubt else GOOD


@jit
def _numbers(
    buffer: Any, p: int, dim: int, separator: int, out: Any, row: int, i: int, odd: Any, nodd: int
) -> Any:
    """Read `dim` numbers from p on into `out[row]`, up to the line's end.

    Returns the place of the newline (-1 where this is not what stands there) and the new number of odd ones.
    """
    for j in range(dim):
        negative = np.int64(byte(buffer, p) == MINUS)
        q = p + negative
        first = byte(buffer, q) - ZERO
        x = load64(buffer, q + 2) ^ ZEROS
        over = ((x + OVER_NINE) | x) & HIGH_BITS
        n = trailing_zeros(over) >> 3
        done = False
        if byte(buffer, q + 1) == DOT and np.uint64(first) <= U9:
            w = first * TENS[np.uint64(n)] + _digits(x, n)
            if n == 8:
                x = load64(buffer, q + 10) ^ ZEROS
                over = ((x + OVER_NINE) | x) & HIGH_BITS
                more = trailing_zeros(over) >> 3
                w = w * TENS[np.uint64(more)] + _digits(x, more)
                n += more
            after = byte(buffer, q + 2 + n)
            if n < 16 and (after == separator or after == NEWLINE or after == RETURN):
                value = np.float64(w) * SCALES[np.uint64(negative), np.uint64(n)]
                done = (bits64(value) & LOW) - DOUBT_FROM > DOUBT
                if done:
                    out[np.uint64(row), np.uint64(j)] = value
                    q += 2 + n
        if not done:
            q, value, verdict = _number(buffer, p)
            if verdict == BAD:
                return -1, nodd
            out[row, j] = value
            if verdict == INEXACT:
                if nodd == len(odd):
                    return -1, nodd
                odd[nodd, 0] = i
                odd[nodd, 1] = j
                odd[nodd, 2] = p
                odd[nodd, 3] = q
                nodd += 1
        p = q
        if j < dim - 1:
            if byte(buffer, p) != separator:
                return -1, nodd
            p += 1
    while buffer[p] == SPACE or buffer[p] == separator:
        p += 1
    if buffer[p] == RETURN:
        p += 1
    return p if buffer[p] == NEWLINE else -1, nodd


@jit
def _from_the_right(buffer: Any, start: int, stop: int, dim: int, separator: int) -> int:
    """Return where the separator before the last `dim` fields of a line stands; -1 where Python must look at it.

    The word before it holds separators: it must not end with one, nor may its last piece be a number.
    """
    end = stop
    if end > start and buffer[end - 1] == RETURN:
        end -= 1
    while end > start and (buffer[end - 1] == SPACE or buffer[end - 1] == separator):
        end -= 1
    left = dim
    place = end
    while left > 0:
        place -= 1
        if place < start:
            return -1
        left -= buffer[place] == separator
    inside = 0
    last = start
    for k in range(start, place):
        if buffer[k] == separator:
            inside += 1
            last = k + 1
    if inside == 0 or inside >= max(dim - 1, 1) or last == place:
        return -1
    after, _, verdict = _number(buffer, last)
    return -1 if verdict != BAD and after == place else place


@jit
def parse_rows(
    buffer: Any, p: int, rows: int, dim: int, separator: int, words: bool, out: Any, row: int, starts: Any,
    lengths: Any, odd: Any,
) -> int:  # fmt: skip
    """Parse `rows` lines of `buffer` from p on: numbers into `out[row + i]`, the words' places into starts, lengths.

    A line that is not as it should be gets the length -1 and is left to Python. odd (int64, (n, 4)) takes row, column,
    start and end of numbers whose rounding is in doubt. Returns how many of these there are.
    """
    nodd = 0
    for i in range(rows):
        start = p
        starts[i] = start
        lengths[i] = 0
        before = nodd
        end = -1
        if words:
            while byte(buffer, p) != separator and byte(buffer, p) != NEWLINE:
                p += 1
            if buffer[p] == separator:
                lengths[i] = p - start
                end, nodd = _numbers(buffer, p + 1, dim, separator, out, row + i, i, odd, nodd)
        else:
            end, nodd = _numbers(buffer, p, dim, separator, out, row + i, i, odd, nodd)
        if end < 0:
            nodd = before
            while buffer[p] != NEWLINE:
                p += 1
            if words:
                place = _from_the_right(buffer, start, p, dim, separator)
                if place >= 0:
                    lengths[i] = place - start
                    end, nodd = _numbers(buffer, place + 1, dim, separator, out, row + i, i, odd, nodd)
            if end < 0:
                lengths[i] = -1
                nodd = before
                end = p
        p = end + 1
    return nodd


@jit
def gather_words(buffer: Any, starts: Any, lengths: Any, blob: Any) -> None:
    """Copy the words of a chunk one behind the other."""
    place = 0
    for i in range(len(starts)):
        start = starts[i]
        for k in range(lengths[i]):
            blob[place + k] = buffer[start + k]
        place += lengths[i]


# -- writing -------------------------------------------------------------------------------------------------------

#: Bytes that a number takes at the most ("-1234567900000000.0"), with the separator; and how far one may write.
WIDEST, AHEAD = 20, 32

TEN4, TEN8 = np.uint64(10**4), np.uint64(10**8)
U10, U20, U100 = np.uint64(10), np.uint64(20), np.uint64(100)
#: x * HUNDREDTH >> 20 is x / 100 for x < 10^4, x * TENTH >> 10 is x / 10 for x < 100, in several lanes at once.
HUNDREDTH, TENTH = np.uint64(10486), np.uint64(103)
LANES4, LANES2 = np.uint64(0x0000007F0000007F), np.uint64(0x000F000F000F000F)
ZERO_POINT = np.uint64(int.from_bytes(b"0.000000", "little"))


def _powers_of_ten() -> Any:
    """Return g(k) = 10^k as a 64-bit fraction, rounded up, for k = -31 .. 45."""
    found = []
    for k in range(-31, 46):
        shift = ((k * 1741647) >> 19) - 63  # floor(log2(10^k)) - 63
        if k >= 0:
            value = -(-(10**k) // (1 << shift)) if shift >= 0 else 10**k << -shift
        else:
            value = -(-(1 << -shift) // 10**-k)
        found.append(value)
    return np.array(found, np.uint64)


GS = _powers_of_ten()


@jit
def _round_to_odd(g: Any, c: int) -> int:
    p = high_part(g, np.uint64(c))
    y1 = np.int64(p >> U32)
    y0 = np.int64(p & np.uint64(0xFFFFFFFF))
    return y1 | np.int64(y0 > 1)


@jit
def _shortest(bits: int) -> Any:
    """Return digits (an integer) and exponent of the shortest decimal of a float32, given its bits without sign."""
    fraction = bits & 0x7FFFFF
    raised = bits >> 23
    if raised:
        c = fraction | 0x800000
        q = raised - 150
        if 0 <= -q < 24 and c & ((1 << -q) - 1) == 0:
            return c >> -q, np.int64(0)
    else:
        c = fraction
        q = np.int64(-149)
    closer = np.int64(fraction == 0 and raised > 1)
    shut = c & 1
    k = (q * 1262611 - 524031 * closer) >> 22
    h = q + ((-k * 1741647) >> 19) + 1
    g = GS[np.uint64(31 - k)]
    low = _round_to_odd(g, (4 * c - 2 + closer) << h) + shut
    middle = _round_to_odd(g, (4 * c) << h)
    high = _round_to_odd(g, (4 * c + 2) << h) - shut
    s = middle >> 2
    # all candidates are computed and picked by masks: which one it is cannot be predicted
    below, above = np.int64(low <= 4 * s), np.int64(4 * s + 4 <= high)
    half = 4 * s + 2
    up = np.int64(middle > half) | (np.int64(middle == half) & (s & 1))
    one = -(below ^ above)
    digits = s + ((above & one) | (up & ~one))
    tenth = np.int64(np.uint64(s) // U10)
    below, above = np.int64(low <= 40 * tenth), np.int64(40 * tenth + 40 <= high)
    one = -((below ^ above) & np.int64(s >= 10))
    return ((tenth + above) & one) | (digits & ~one), k - one


@jit
def _count_digits(digits: int) -> int:
    """Return how many decimal digits a number from 1 to 2^32 has."""
    t = ((64 - leading_zeros(np.uint64(digits))) * 1233) >> 12
    return t + np.int64(digits >= TENS[np.uint64(t)])


@jit
def _spread(number: Any) -> Any:
    """Return the eight digits of a number below 10^8 as values 0 .. 9, one a byte, the first lowest."""
    high = number // TEN4
    x = high | (number - high * TEN4) << U32
    t = ((x * HUNDREDTH) >> U20) & LANES4
    x = t | (x - t * U100) << U16
    t = ((x * TENTH) >> U10) & LANES2
    return t | (x - t * U10) << U8


@jit
def _write_number(value: Any, out: Any, p: int) -> int:
    """Write a float32 at `out[p]`; return where it ends. Up to 24 bytes from p on are overwritten."""
    bits = bits32(value)
    magnitude = bits & 0x7FFFFFFF
    put(out, p, MINUS)
    p += bits >> 31
    if magnitude >= 0x7F800000 or magnitude == 0:
        if magnitude > 0x7F800000:
            p -= bits >> 31
            out[p], out[p + 1], out[p + 2] = 110, 97, 110
        elif magnitude == 0:
            out[p], out[p + 1], out[p + 2] = ZERO, DOT, ZERO
        else:
            out[p], out[p + 1], out[p + 2] = 105, 110, 102
        return p + 3
    short, exponent = _shortest(magnitude)
    count = _count_digits(short)
    point = count + exponent  # the number is 0.digits times 10 to this power
    nine = np.uint64(short * TENS[np.uint64(9 - count)])
    first = nine // TEN8
    rest = _spread(nine - first * TEN8)
    digits = np.int64(9) - (leading_zeros(rest) >> 3)
    rest |= ZEROS
    lead = np.int64(first) + ZERO
    if -3 <= point <= 0:
        store64(out, p, ZERO_POINT)
        p += 2 - point
        put(out, p, lead)
        store64(out, p + 1, rest)
        return p + digits
    if 0 < point <= 8:
        put(out, p, lead)
        store64(out, p + 1, rest)
        put(out, p + point, DOT)
        store64(out, p + point + 1, rest >> np.uint64(8 * (point - 1)))
        return p + point + 1 + max(digits - point, 1)
    put(out, p, lead)
    if 0 < point <= 16:
        store64(out, p + 1, rest)
        store64(out, p + 9, ZEROS)
        out[p + point], out[p + point + 1] = DOT, ZERO
        return p + point + 2
    p += 1
    if digits > 1:
        out[p] = DOT
        store64(out, p + 1, rest)
        p += digits
    power = point - 1
    out[p] = 101
    out[p + 1] = MINUS if power < 0 else PLUS
    out[p + 2] = ZERO + abs(power) // 10
    out[p + 3] = ZERO + abs(power) % 10
    return p + 4


@jit
def write_rows(
    values: Any, start: int, stop: int, separator: int, blob: Any, offsets: Any, out: Any, p: int
) -> int:
    """Write the rows `start` .. `stop - 1` of float32 (N, D) as lines at `out[p]`; return where they end.

    Word i is `blob[offsets[i]:offsets[i + 1]]`; rows have no words where there are no offsets.
    """
    for i in range(start, stop):
        if len(offsets):
            for k in range(offsets[i], offsets[i + 1]):
                put(out, p, byte(blob, k))
                p += 1
            put(out, p, separator)
            p += 1
        for j in range(values.shape[1]):
            p = _write_number(values[np.uint64(i), np.uint64(j)], out, p)
            put(out, p, separator)
            p += 1
        out[p - 1] = NEWLINE
    return p
