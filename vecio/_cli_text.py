"""Vectors as decimal text, for the command `vecio get`: float32 in, the shortest decimals that read back the same out.

Python formats about six million floats a second, and not the shortest ones; a million words of 300 dimensions are 300
million floats. So the digits are made by numpy for a block of rows at once, four digits per table look-up. This file
reads and prints nothing.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

#: Floats in one pass: its working arrays, about 20 of 8 bytes each, stay in the second-level cache.
BLOCK = 1 << 14

#: Most significant digits that a float32 needs to read back the same.
DIGITS = 9

#: Numbers outside [LOW, HIGH) and not zero take the slow path; LOW fixes DECIMALS, HIGH the three digits of `_heads`.
LOW, HIGH = 1e-6, 100.0

#: Digits after the point that hold DIGITS significant ones of any number >= LOW.
DECIMALS = 14

#: 10**0 .. 10**DECIMALS, all exact.
_POWERS = np.array([float(10**n) for n in range(DECIMALS + 1)])

FloatArray = npt.NDArray[np.float32]


def rows_as_text(rows: FloatArray, precision: int | None = None) -> list[bytes]:
    """Return one text a row of (n, D): its numbers with one space between, without one before or after.

    `precision` None writes the shortest decimal that reads back as the same float32; 1 to 9 writes so many significant
    digits. Trailing zeros are never written; nan, inf and -inf are written as these words.
    """
    n, dim = rows.shape
    if dim == 0:
        return [b""] * n
    step = max(1, BLOCK // dim)
    lines: list[bytes] = []
    for start in range(0, n, step):
        lines += _block(np.ascontiguousarray(rows[start : start + step], dtype=np.float32), precision)
    return lines


def _block(rows: FloatArray, precision: int | None) -> list[bytes]:
    """Return the texts of a few rows: all numbers by `_fields`, then the odd ones put in place one by one."""
    size = np.abs(rows).astype(np.float64)
    odd = ~(((size >= LOW) & (size < HIGH)) | (size == 0.0))
    size[odd] = 0.0
    fields = _fields(rows, size, precision)
    lines = fields.tobytes().translate(None, b"\0").split(b"\n")[1:]
    for i in np.flatnonzero(odd.any(axis=1)).tolist():
        parts = lines[i].split(b" ")
        for j in np.flatnonzero(odd[i]).tolist():
            parts[j] = _one(rows[i, j], precision)
        lines[i] = b" ".join(parts)
    return lines


def _one(value: np.float32, precision: int | None) -> bytes:
    """Return the text of one number of any size."""
    text = str(value) if precision is None else f"{float(value):.{precision}g}"
    return text.removesuffix(".0").encode()


def _fields(rows: FloatArray, size: npt.NDArray[np.float64], precision: int | None) -> npt.NDArray[np.uint8]:
    """Return (n, D, 24) characters, one field a number: separator, sign, digits; NUL where a place stays empty.

    A field is 8 bytes of `_heads` and 16 digits after the point, of which DECIMALS can be other than zero. The
    separator is a space, and a line feed before a row's first number. `size` holds the absolute values.
    """
    exponent = _decimal_exponents(rows, size)
    places = (DIGITS - 1) - exponent
    unit = _POWERS[places]
    digits = _shortest(rows, size, unit) if precision is None else _rounded(size, unit, precision)
    whole = np.floor(digits / unit)
    rest = (digits - whole * unit) * _POWERS[DECIMALS - places]
    fields = np.empty((*rows.shape, 6), np.uint32)
    fours = _fours()
    chunks = []
    for power in (_POWERS[10], _POWERS[6], _POWERS[2]):
        chunk = np.floor(rest / power)
        rest -= chunk * power
        chunks.append(chunk.astype(np.intp))
    chunks.append(rest.astype(np.intp) * 100)
    last = np.ones(rows.shape, np.intp)  # 1 while nothing but zeros follows
    for column in (3, 2, 1, 0):
        chunk = chunks[column]
        fields[..., 2 + column] = fours.take(chunk + 10_000 * last)
        last &= chunk == 0
    head = whole.astype(np.intp) + 101 * (last + 2 * np.signbit(rows))
    head[:, 0] += 404
    fields.view(np.uint64)[..., 0] = _heads().take(head)
    return fields.view(np.uint8)


def _decimal_exponents(rows: FloatArray, size: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return floor(log10(size)) exactly, for sizes in [LOW, HIGH); something in that range for zero."""
    binary = (rows.view(np.uint32) >> 23) & 0xFF
    exponent: npt.NDArray[np.int64] = _first_exponents()[binary]
    np.clip(exponent, -6, 1, out=exponent)
    exponent += size >= _next_powers()[exponent]
    return exponent


def _shortest(
    rows: FloatArray, size: npt.NDArray[np.float64], unit: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return `size * unit` rounded to the fewest significant digits that read back as the same float32.

    Six digits never lose a decimal, nine never lose a float32; what is shorter than six ends in zeros here.
    """
    target = np.abs(rows)
    digits = np.rint(size * unit)
    for dropped in (1, 2, 3):
        scale = _POWERS[dropped]
        fewer = np.rint(size * (unit / scale))
        same = (fewer / (unit / scale)).astype(np.float32) == target
        np.copyto(digits, fewer * scale, where=same)
    return digits


def _rounded(
    size: npt.NDArray[np.float64], unit: npt.NDArray[np.float64], precision: int
) -> npt.NDArray[np.float64]:
    """Return `size * unit` rounded to `precision` significant digits."""
    scale = _POWERS[max(DIGITS - precision, 0)]
    return np.asarray(np.rint(size * unit / scale) * scale)


@lru_cache(maxsize=1)
def _first_exponents() -> npt.NDArray[np.int64]:
    """Return, for each binary exponent field of a float32, floor(log10) of the smallest number that has it."""
    smallest = np.ldexp(1.0, np.arange(256) - 127)
    return np.floor(np.log10(smallest)).astype(np.int64)


@lru_cache(maxsize=1)
def _next_powers() -> npt.NDArray[np.float64]:
    """Return the table of 10**(e + 1), for e = 0, 1 and, from the end of the table, -6 .. -1."""
    return np.array([float(f"1e{e + 1}") for e in (0, 1, -6, -5, -4, -3, -2, -1)])


@lru_cache(maxsize=1)
def _heads() -> npt.NDArray[np.uint64]:
    """Return the 808 possible first 8 bytes of a field: separator, sign, whole part, point.

    The index is whole (0 to 100) + 101 * (1 without a point) + 202 * (1 if negative) + 404 * (1 before a row).
    """
    texts = [
        f"{separator}{sign}{whole}{point}".encode().ljust(8, b"\0")
        for separator in " \n"
        for sign in ("", "-")
        for point in (".", "")
        for whole in range(101)
    ]
    return np.frombuffer(b"".join(texts), np.uint64)


@lru_cache(maxsize=1)
def _fours() -> npt.NDArray[np.uint32]:
    """Return four digits as 4 bytes: rows 0 to 9999 whole, then the same with NUL in place of the zeros at the end."""
    full = [b"%04d" % number for number in range(10_000)]
    cut = [text.rstrip(b"0").ljust(4, b"\0") for text in full]
    return np.frombuffer(b"".join(full + cut), np.uint32)
