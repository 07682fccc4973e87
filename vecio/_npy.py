"""The header of a NumPy array file (`.npy`): read without trust, mapped without a copy, and written.

Python's own parser never sees a byte of it: the header is matched against the few forms that NumPy writes. Arrays of
Python objects are refused, always: reading one would mean to run what it says. Source: numpy `lib/format.py`.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from ._binary import MappedFile
from .errors import FormatError, TruncatedError, UnsupportedError

Array = npt.NDArray[Any]

MAGIC = b"\x93NUMPY"
#: A plain array's header has about 120 bytes; NumPy itself refuses more than 10,000.
LONGEST_HEADER = 10_000
MOST_DIMENSIONS = 8
#: Kinds of numbers and texts that are served: floats, integers, booleans, bytes, text.
KINDS = "fiubSU"

_SPACE = rb"[ \t\n]*"
_STRING = rb"'[^'\\\n]{0,40}'|\"[^\"\\\n]{0,40}\""
_TUPLE = rb"\([0-9L, ]{0,400}\)"
_PAIR = re.compile(
    _SPACE
    + rb"(?P<key>"
    + _STRING
    + rb")"
    + _SPACE
    + rb":"
    + _SPACE
    + rb"(?P<value>True|False|"
    + _STRING
    + rb"|"
    + _TUPLE
    + rb")"
    + _SPACE
    + rb"(?P<after>,|(?=\}))"
)
_CLOSE = re.compile(_SPACE + rb"\}[ \n\t]*\Z")
_SHAPE = re.compile(rb"\( *(?:(?:[0-9]{1,19}L? *, *)*[0-9]{1,19}L? *,?)? *\)\Z")
_DTYPE = re.compile(r"[<>|=]?(?:[fiub][0-9]{1,2}|\?|[SU][0-9]{1,9})\Z")


def read_header(file: MappedFile, offset: int = 0) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    """Return dtype, shape, whether columns come first (Fortran order), and where the numbers begin.

    offset: where the array begins in the file. Whether the numbers are all there is checked, too. Raises FormatError,
    TruncatedError, and UnsupportedError for arrays that are never read: objects, records, dates, complex numbers.
    """
    head = file.bytes(offset, min(offset + 12, file.size))
    if head[:6] != MAGIC[: len(head)]:
        raise FormatError(
            file.path, "not a .npy array", offset=offset, expected=repr(MAGIC), found=repr(head[:6])
        )
    if len(head) < 12:
        raise TruncatedError(
            file.path, "the file ends inside a .npy header", offset=offset, expected="at least 12 bytes"
        )
    version = (head[6], head[7])
    if version not in ((1, 0), (2, 0), (3, 0)):
        found = f"{version[0]}.{version[1]}"
        raise FormatError(
            file.path, "an unknown version of .npy", offset=offset + 6, expected="1.0 to 3.0", found=found
        )
    width = 2 if version == (1, 0) else 4
    begin = offset + 8 + width
    length = int.from_bytes(head[8 : 8 + width], "little")
    if length > LONGEST_HEADER:
        raise FormatError(
            file.path,
            "the .npy header is too long",
            offset=offset + 8,
            expected=f"at most {LONGEST_HEADER} bytes",
            found=f"{length} bytes",
        )
    if length > file.size - begin:
        raise TruncatedError(
            file.path,
            "the file ends inside a .npy header",
            offset=begin,
            expected=f"{length} bytes",
            found=f"{file.size - begin} bytes",
        )
    fields = _fields(file, begin, begin + length)
    dtype, shape = _dtype(file, begin, fields["descr"]), _shape(file, begin, fields["shape"])
    fortran = fields["fortran_order"]
    if fortran not in (b"True", b"False"):
        raise FormatError(file.path, "fortran_order of the .npy header is no truth value", offset=begin)
    count = dtype.itemsize
    for n in shape:
        count *= n
    if count > file.size - begin - length:
        raise TruncatedError(
            file.path,
            f"an array of shape {shape} does not fit",
            offset=begin + length,
            expected=f"{count} bytes",
            found=f"{file.size - begin - length} bytes",
        )
    return dtype, shape, fortran == b"True", begin + length


def array(file: MappedFile, offset: int = 0, what: str = "the array") -> Array:
    """Return the array of a mapped `.npy` file: read-only, not copied. `what` names it in errors.

    Bytes after the array are left alone, as NumPy does.
    """
    dtype, shape, fortran, begin = read_header(file, offset)
    if not fortran:
        return file.array(dtype, shape, begin, what)
    columns: Array = file.array(dtype, shape[::-1], begin, what).T
    return columns


def header(dtype: npt.DTypeLike, shape: tuple[int, ...]) -> bytes:
    """Return the header of a `.npy` file of version 1.0 with rows first: byte for byte what NumPy writes."""
    kind = np.lib.format.dtype_to_descr(np.dtype(dtype))
    text = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {tuple(map(int, shape))!r}, }}"
    # NumPy leaves room for the first dimension to grow to 21 digits
    text += " " * (21 - len(repr(int(shape[0])))) if shape else ""
    pad = -(len(MAGIC) + 4 + len(text) + 1) % 64
    text += " " * pad + "\n"
    return MAGIC + b"\x01\x00" + len(text).to_bytes(2, "little") + text.encode("ascii")


def _fields(file: MappedFile, begin: int, end: int) -> dict[str, bytes]:
    """Return the three entries of the header, each as its text."""
    text = file.bytes(begin, end)
    if b"'O'" in text or b"|O" in text or b'"O"' in text:
        raise UnsupportedError(f"{file.path}: an array of Python objects is never read")
    found: dict[str, bytes] = {}
    place = 1 if text[:1] == b"{" else 0
    while place:
        match = _PAIR.match(text, place)
        if match is None:
            break
        key = match["key"][1:-1].decode("latin-1")
        if key in found:
            break
        found[key] = match["value"]
        place = match.end()
        if not match["after"]:
            break
    if place and _CLOSE.match(text, place) and set(found) == {"descr", "fortran_order", "shape"}:
        return found
    if re.search(rb"'descr'\s*:\s*\[", text):
        raise UnsupportedError(f"{file.path}: an array of records is not served")
    raise FormatError(
        file.path,
        "the .npy header is not what NumPy writes",
        offset=begin,
        expected="descr, fortran_order and shape",
        found=ascii(text[:80].decode("latin-1")),
    )


def _dtype(file: MappedFile, begin: int, text: bytes) -> np.dtype[Any]:
    name = text[1:-1].decode("latin-1")
    if text[:1] not in b"'\"" or not _DTYPE.match(name):
        if re.match(r"[<>|=]?[cmMVO][0-9]{0,9}(\[.*\])?\Z", name) and text[:1] in b"'\"":
            raise UnsupportedError(f"{file.path}: arrays of dtype {name!r} are not served")
        raise FormatError(
            file.path, "the .npy header names an unknown dtype", offset=begin, found=ascii(name)[:60]
        )
    try:
        dtype = np.dtype(name)
    except (TypeError, ValueError):
        raise FormatError(
            file.path, "the .npy header names an unknown dtype", offset=begin, found=ascii(name)[:60]
        ) from None
    if dtype.kind not in KINDS or dtype.itemsize == 0:
        raise FormatError(
            file.path, "the .npy header names an unknown dtype", offset=begin, found=ascii(name)[:60]
        )
    return dtype


def _shape(file: MappedFile, begin: int, text: bytes) -> tuple[int, ...]:
    dims = tuple(int(n) for n in re.findall(rb"[0-9]+", text)) if _SHAPE.match(text) else (-1,)
    size = 1
    for n in dims:
        size *= max(n, 1)
    if min(dims, default=0) < 0 or len(dims) > MOST_DIMENSIONS or size >= 1 << 48:
        raise FormatError(
            file.path,
            "the .npy header has an impossible shape",
            offset=begin,
            expected=f"at most {MOST_DIMENSIONS} numbers",
            found=ascii(text[:80].decode("latin-1")),
        )
    return dims
