"""A numpy array of vectors and a file of words beside it, one a line. Bytes: specs/numpy.md."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _npy
from .._binary import Folder, MappedFile, MappedGroup, atomic_write
from .._sources import acquire
from ..embeddings import Embeddings, Parts
from ..errors import FormatError, UnsupportedError
from ..matrix import Converted, Float16, Float32, Matrix
from ..vocabulary import Vocabulary
from .base import Fate, Format, Progress, Written, plain_dtype, vector_blocks
from .base import fate as common_fate

Array = npt.NDArray[Any]

NAME = "numpy"
DTYPES = ("float32", "float16")
#: What the file of words is called, beside STEM.npy; the first is the one that is written.
SUFFIXES = (".words.txt", ".words", ".vocab", ".txt")
#: Numbers that are served: kind and bytes.
NUMBERS = ("f2", "f4", "f8", "i1", "u1", "i2", "i4", "i8")
MARK = b"\xef\xbb\xbf"
#: Packed files keep their name in front of these.
PACKED = (".gz", ".bz2", ".xz", ".zst")
#: Lines that are looked at together.
BLOCK = 1 << 22


def detect(file: MappedFile) -> str | None:
    """Return None for a `.npy` file, else why it is none."""
    return None if file.map[:6] == _npy.MAGIC else "does not begin with numpy's magic bytes"


def read(file: MappedFile, words: str | os.PathLike[str] | None = None) -> Embeddings:
    """Open an array where it lies, with the words beside it.

    words: the file of words, one a line; None looks for STEM.words.txt, STEM.words, STEM.vocab and STEM.txt.
    """
    values = _rows(file)
    try:
        source = _open_words(file, words)
    except FormatError as error:  # name both files
        raise FormatError(
            file.path, f"its words: {error.path}: {error.message}", expected=error.expected, found=error.found
        ) from None
    count = count_lines(source)
    if count != len(values):
        source.close()
        raise FormatError(
            file.path,
            f"the rows are not as many as the lines of {source.path}",
            offset=0,
            expected=f"{count} rows",
            found=f"{len(values)} rows",
        )
    blob, offsets, gap = lines(source)
    return Embeddings(
        Parts(
            Vocabulary(len(values), len(values), arrays=(blob, offsets, gap)),
            _matrix(values),
            NAME,
            file=MappedGroup(file.path, [file, source]),
        )
    )


def _rows(file: MappedFile) -> Array:
    dtype, shape, fortran, begin = _npy.read_header(file)
    if f"{dtype.kind}{dtype.itemsize}" not in NUMBERS:
        raise UnsupportedError(f"{file.path}: an array of {dtype} is not served as vectors")
    if len(shape) != 2 or not all(shape):
        raise FormatError(
            file.path,
            "the array does not have the shape of word vectors",
            offset=0,
            expected="words x numbers",
            found=shape,
        )
    end = begin + shape[0] * shape[1] * dtype.itemsize
    if end != file.size:
        raise FormatError(
            file.path,
            "there are bytes after the end of the array",
            offset=end,
            expected=f"{end} bytes",
            found=f"{file.size} bytes",
        )
    rows = file.array(dtype, shape[::-1] if fortran else shape, begin, "the array")
    return rows.T if fortran else rows


def _matrix(values: Array) -> Matrix:
    if values.dtype == np.dtype("<f4"):
        return Float32(values)
    return Float16(values) if values.dtype == np.dtype("<f2") else Converted(values)


def _open_words(file: MappedFile, words: str | os.PathLike[str] | None) -> MappedFile:
    if words is not None:
        source = acquire(words, copy=file.copied)
        if isinstance(source, Folder):
            raise FormatError(source.path, "the words must be a file", found="a folder")
        return source
    base = file.path
    for suffix in (*PACKED, ".npy"):
        base = base.removesuffix(suffix)
    for suffix in SUFFIXES:
        if os.path.isfile(base + suffix):
            source = MappedFile.open(base + suffix, copy=file.copied)
            if suffix == SUFFIXES[-1] and _has_columns(source):
                source.close()
                raise FormatError(
                    source.path,
                    "lines of numbers, not the words of the array (the option words names their file)",
                    offset=0,
                    expected="a word a line",
                )
            return source
    names = ", ".join(os.path.basename(base) + suffix for suffix in SUFFIXES)
    raise UnsupportedError(
        f"{file.path}: an array without words: none of {names} is beside it (the option words names a file)"
    )


def _has_columns(file: MappedFile) -> bool:
    """Say whether the first lines of a text are words with numbers behind them: vectors of their own."""
    first = file.bytes(0, min(file.size, 1 << 16)).splitlines()[:3]
    return bool(first) and all(
        re.search(rb"( -?[0-9.]+(e[-+]?[0-9]+)?){2,}$", line.rstrip()) for line in first
    )


def count_lines(file: MappedFile) -> int:
    """Return how many lines a mapped file has; the last one may have no end."""
    blob = file.array(np.uint8, file.size, 0, "the words")
    ends = sum(np.count_nonzero(blob[start : start + BLOCK] == 10) for start in range(0, file.size, BLOCK))
    begin = len(MARK) if file.map[: len(MARK)] == MARK else 0
    return int(ends) + (file.size > begin and blob[-1] != 10)


def lines(file: MappedFile) -> tuple[Array, Array, int]:
    """Return blob, offsets and gap of the lines of a mapped file, as a vocabulary takes them."""
    begin = len(MARK) if file.map[: len(MARK)] == MARK else 0
    blob = file.array(np.uint8, file.size, 0, "the words")
    ends = [np.flatnonzero(blob[start : start + BLOCK] == 10) + start for start in range(0, file.size, BLOCK)]
    places = np.concatenate(ends)
    gap = 1
    if len(places) and places[0] > begin and bool((blob[np.maximum(places - 1, 0)] == 13).all()):
        gap = 2
    last = file.size - (int(places[-1]) + 1 if len(places) else begin)
    if last > 0:  # the last line has no end: it gets one
        end = b"\n" if gap == 1 or file.map[file.size - 1] == 13 else b"\r\n"
        blob = np.concatenate([blob, np.frombuffer(end, np.uint8)])
        places = np.append(places, len(blob) - 1)
    offsets = np.empty(len(places) + 1, np.int64)
    offsets[0] = begin
    np.add(places, 1, out=offsets[1:])
    return blob, offsets, gap


def write(
    embeddings: Embeddings,
    path: str | os.PathLike[str],
    dtype: str | None = None,
    progress: Progress | None = None,
) -> Written:
    """Write the vectors as an array and the words beside it, one a line. Streaming; both files are atomic."""
    chosen = _dtype(embeddings, dtype)
    e = embeddings
    name = os.fsdecode(path)
    if not len(e):
        raise UnsupportedError(f"{name}: an array without words cannot be read again")
    with atomic_write(name.removesuffix(".npy") + SUFFIXES[0]) as text, atomic_write(name) as array:
        kind = np.dtype(chosen).newbyteorder("<")
        array.write(_npy.header(kind, (len(e), e.dim)))
        if e._vocabulary.entry(0).startswith(MARK):
            text.write(MARK)
        with np.errstate(over="ignore"):
            for start, stop, rows in vector_blocks(e, progress):
                array.write(np.ascontiguousarray(rows, kind).data.cast("B"))
                text.write(b"\n".join([*e._vocabulary.entries(start, stop), b""]))
    return Written(chosen)


def _dtype(e: Embeddings, dtype: str | None) -> str:
    """Return the dtype that is written: float16 stays float16."""
    return e.dtype if dtype is None and e.dtype in DTYPES else plain_dtype(dtype, DTYPES)


def refuses(word: bytes) -> str | None:
    """Say why a word cannot be written, or None."""
    if b"\n" in word:
        return "it holds a line end"
    return "it ends with a carriage return" if word.endswith(b"\r") else None


def fate(e: Embeddings, dtype: str | None, options: Mapping[str, Any]) -> Fate:
    """Return what the files will keep, round and lose."""
    return common_fate(e, _dtype(e, dtype))


FORMAT = Format(
    NAME,
    (".npy",),
    detect,
    read,
    write,
    beside=lambda path: [os.path.splitext(path)[0] + SUFFIXES[0]],
    fate=fate,
    refuses=refuses,
)
