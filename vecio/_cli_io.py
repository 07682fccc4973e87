"""Lines in, words, vectors and JSON out: what the commands do with standard input and output, as bytes.

Words are bytes that need not be UTF-8, so nothing here goes through text streams. Every reader and writer works in
blocks: a million words on standard input need the memory of one block. The commands themselves are in `cli.py`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from ._binary import atomic_write
from .errors import VecioError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Lines handed on together, and vectors written together.
BLOCK_LINES = 1 << 14
BLOCK_ROWS = 1 << 10

#: Bytes asked of standard input at once; a pipe gives fewer, and they are worked on at once.
READ_BYTES = 1 << 20

#: Bytes after which an unfinished line is refused (a device, or a binary file).
LINE_BYTES = 1 << 26

#: Length of the header of an .npy file: the same for any number of rows, so that it can be written last.
NPY_HEADER = 128


def stdin() -> BinaryIO:
    """Return standard input as bytes; raises VecioError if the process was started without one."""
    if sys.stdin is None:
        raise VecioError("standard input is closed")
    return sys.stdin.buffer


def stdout() -> BinaryIO:
    """Return standard output as bytes, after what was printed as text; VecioError if there is none."""
    if sys.stdout is None:
        raise VecioError("standard output is closed")
    sys.stdout.flush()
    return sys.stdout.buffer


@contextlib.contextmanager
def sink(output: str | None, *, rewindable: bool) -> Iterator[BinaryIO]:
    """Open where results go: a file that appears when it is complete, or standard output (`output` is None).

    `rewindable`: the writer goes back to its start; standard output then gets everything at the end, from a temporary
    file, and nothing if the writer fails.
    """
    if output is not None:
        with atomic_write(output) as stream:
            yield stream
    elif not rewindable:
        yield stdout()
    else:
        with tempfile.TemporaryFile() as spool:
            yield cast(BinaryIO, spool)
            spool.seek(0)
            shutil.copyfileobj(spool, stdout(), 1 << 20)


def lines(stream: BinaryIO) -> Iterator[list[bytes]]:
    r"""Yield the lines of a stream in lists of at most BLOCK_LINES, as they arrive, without their `\n` or `\r\n`.

    Raises VecioError for a line longer than LINE_BYTES.
    """
    read = getattr(stream, "read1", stream.read)
    rest = bytearray()
    while chunk := read(READ_BYTES):
        end = chunk.rfind(b"\n")
        if end < 0:
            rest += chunk
            if len(rest) > LINE_BYTES:
                raise VecioError(
                    f"a line of the input is longer than {LINE_BYTES} bytes: this is not a list of lines"
                )
            continue
        whole = bytes(rest) + chunk[:end]
        rest = bytearray(chunk[end + 1 :])
        yield from _blocks(whole)
    if rest:
        yield from _blocks(bytes(rest))


def _blocks(text: bytes) -> Iterator[list[bytes]]:
    """Yield the lines of `text`, which does not end in a line feed of its own."""
    whole = text.replace(b"\r\n", b"\n").removesuffix(b"\r").split(b"\n")
    for start in range(0, len(whole), BLOCK_LINES):
        yield whole[start : start + BLOCK_LINES]


def json_line(value: object) -> bytes:
    """Return `value` as one line of JSON in UTF-8.

    Numbers that JSON lacks (nan, inf) become null. Text that is not valid UTF-8 keeps its bytes as lone surrogates in
    `\\u` escapes, which Python's `json` reads back.
    """
    plain = _plain(value)
    try:
        text = json.dumps(plain, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        text = json.dumps(plain, allow_nan=False).encode()
    return text + b"\n"


def _plain(value: Any) -> Any:
    """Return `value` with tuples as lists, bytes as text, numpy's numbers as Python's, and nan and inf as None."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class VectorWriter(Protocol):
    """Takes blocks of words and their vectors, (n, D) float32, in order."""

    def write(self, words: list[bytes], vectors: npt.NDArray[np.float32]) -> None:
        """Write one block."""

    def finish(self) -> None:
        """Write what only the end of the input decides."""


class TextWriter:
    """`word v1 v2 ... vD`, one line a word, as `fasttext print-word-vectors` and the lines of a .vec file have it."""

    def __init__(self, stream: BinaryIO, precision: int | None = None) -> None:
        self._stream = stream
        self._precision = precision

    def write(self, words: list[bytes], vectors: npt.NDArray[np.float32]) -> None:
        """Write one block."""
        from ._cli_text import rows_as_text

        for start in range(0, len(words), BLOCK_ROWS):
            rows = rows_as_text(vectors[start : start + BLOCK_ROWS], self._precision)
            pairs = zip(words[start : start + BLOCK_ROWS], rows, strict=True)
            self._stream.write(b"".join([b"%b %b\n" % pair for pair in pairs]))
        self._stream.flush()

    def finish(self) -> None:
        """Do nothing: a text has no end of its own."""


class JsonWriter:
    """`{"word": ..., "vector": [...]}`, one object a line; a number that JSON lacks is null."""

    def __init__(self, stream: BinaryIO, precision: int | None = None) -> None:
        self._stream = stream
        self._precision = precision

    def write(self, words: list[bytes], vectors: npt.NDArray[np.float32]) -> None:
        """Write one block."""
        from ._cli_text import rows_as_text

        for start in range(0, len(words), BLOCK_ROWS):
            rows = rows_as_text(vectors[start : start + BLOCK_ROWS], self._precision)
            pairs = zip(words[start : start + BLOCK_ROWS], rows, strict=True)
            self._stream.write(b"".join([_json_vector(word, row) for word, row in pairs]))
        self._stream.flush()

    def finish(self) -> None:
        """Do nothing: every line stands alone."""


def _json_vector(word: bytes, row: bytes) -> bytes:
    numbers = row.replace(b" ", b", ")
    if b"n" in numbers:  # nan, inf or -inf: no other number has this letter
        numbers = b", ".join(b"null" if b"n" in part else part for part in row.split(b" "))
    return b'{"word": %b, "vector": [%b]}\n' % (json_line(word)[:-1], numbers)


class NpyWriter:
    """One (n, D) float32 array in numpy's .npy format, without the words.

    The number of rows stands in the header, so the stream must be one that can be written at its start again.
    """

    def __init__(self, stream: BinaryIO, dim: int) -> None:
        self._stream = stream
        self._dim = dim
        self._rows = 0
        stream.write(npy_header(0, dim))

    def write(self, words: list[bytes], vectors: npt.NDArray[np.float32]) -> None:
        """Write one block."""
        self._stream.write(vectors.astype("<f4", order="C", copy=False).data)
        self._rows += len(words)

    def finish(self) -> None:
        """Write the header again, now with the number of rows."""
        self._stream.seek(0)
        self._stream.write(npy_header(self._rows, self._dim))
        self._stream.seek(0, os.SEEK_END)


def npy_header(rows: int, dim: int) -> bytes:
    """Return the NPY_HEADER bytes that begin an .npy file (version 1.0) of (rows, dim) little-endian float32."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dim}), }}"
    return (
        b"\x93NUMPY\x01\x00"
        + (NPY_HEADER - 10).to_bytes(2, "little")
        + f"{text:<{NPY_HEADER - 11}}\n".encode()
    )


def one_line(text: str) -> str:
    """Return `text` on one line, with control characters and broken bytes spelt out: safe for any terminal."""
    words = " ".join(text.split())
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in words
    )
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def silence_stdout() -> None:
    """Make what is still to be written go nowhere: the reader of standard output has gone."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
