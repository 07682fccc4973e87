"""Vectors as text: word2vec's and fastText's `.vec` with a header, and GloVe's without. The bytes: `specs/text.md`.

A line is a word and D numbers between single spaces (or tabs). Lines are split from the right, so that a word may hold
spaces; words keep their bytes. Parsing and the layout of numbers are in `_text.py`.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _text
from .._binary import MappedFile, atomic_write
from .._text import Layout, is_number, shown
from ..embeddings import Embeddings, Parts
from ..errors import FormatError, UnsupportedError
from ..matrix import Float32
from ..vocabulary import Vocabulary
from .base import Fate, Format, Progress, Written, blocks, plain_dtype, recoded, vector_blocks
from .base import fate as common_fate

Array = npt.NDArray[Any]

#: Bytes of a file that detection looks at, and the longest first line without a header.
LOOK, LONGEST_LOOK = 1 << 16, 16 << 20
#: Lines from which the number of columns is taken.
LINES = 100
BOM = b"\xef\xbb\xbf"
_HEADER = re.compile(rb"[ \t]*([0-9]{1,19})[ \t]+([0-9]{1,19})[ \t]*\r?").fullmatch


# -- telling what it is --------------------------------------------------------------------------------------------


class _Beginning:
    """The first lines of a file: whether there is a header, and what the rows look like.

    declared: rows and columns of the header, or None. start: where the rows begin. lines: the first of them, whole.
    """

    def __init__(self, file: MappedFile, no_header: bool | None = None) -> None:
        self.file = file
        head = file.bytes(0, min(file.size, LOOK))
        self.wide = _is_wide(head)
        self.start = len(BOM) if head.startswith(BOM) else 0
        stop = head.find(b"\n", self.start)
        first = head[self.start : len(head) if stop < 0 else stop]
        match = None if no_header or len(first) > 64 else _HEADER(first)
        self.declared = None if match is None else (int(match[1]), int(match[2]))
        if self.declared is not None:
            self.start = file.size if stop < 0 else stop + 1
        self.lines = self._lines(head)

    def _lines(self, head: bytes) -> list[bytes]:
        """Return the first rows, without their ends; a long first one is fetched whole."""
        size = self.file.size
        stop = head.rfind(b"\n")
        if stop < self.start:
            stop = self.file.map.find(b"\n", self.start, min(size, self.start + LONGEST_LOOK))
            if stop < 0:
                if size - self.start > LONGEST_LOOK:
                    return []
                stop = size
            head = self.file.bytes(0, stop)
        elif size == len(head):
            stop = size
        lines = head[self.start : stop].split(b"\n", LINES)[:LINES]
        while len(lines) > 1 and not lines[-1].strip():
            lines.pop()
        return [line.rstrip(b"\r").rstrip(b" ") for line in lines]

    def separator(self, dim: int | None) -> bytes:
        """Return what stands between the columns of the first row: a space, or tabs where only they make sense."""
        for line in self.lines[:1]:
            wanted = 1 if dim is None else dim
            for separator in (b" ", b"\t"):
                fields = line.rstrip(b" \t").rsplit(separator, wanted)
                if len(fields) > wanted and all(map(is_number, fields[1:])):
                    return separator
        return b" "

    def columns(self, separator: bytes) -> tuple[int, int]:
        """Return how many numbers most lines end with, and in how many lines that is so."""
        found = Counter(_run(line, separator) for line in self.lines)
        return found.most_common(1)[0] if found else (0, 0)


def _is_wide(head: bytes) -> bool:
    """Say whether text begins as UTF-16 does: with its mark, or with Latin letters, where every other byte is 0."""
    pair = (head[0:8:2], head[1:8:2])
    return head[:2] in (b"\xff\xfe", b"\xfe\xff") or (bytes(4) in pair and pair != (bytes(4), bytes(4)))


def _run(line: bytes, separator: bytes) -> int:
    """Return how many fields at the end of a line are numbers; the first field is the word."""
    count, end = 0, len(line)
    while (begin := line.rfind(separator, 0, end)) >= 0 and is_number(line, begin + 1, end):
        count, end = count + 1, begin
    return count


def detect_text(file: MappedFile) -> str | None:
    """Return None for text with a header, else why it is none."""
    begin = _Beginning(file)
    if begin.declared is None:
        return _utf16(begin) or "the first line is not two integers"
    separator = begin.separator(None)
    if begin.lines != [b""] and begin.lines and not any(_run(line, separator) for line in begin.lines):
        return "two integers, but no lines with numbers behind them"
    return None


def detect_glove(file: MappedFile) -> str | None:
    """Return None for text without a header, else why it is none."""
    begin = _Beginning(file)
    if begin.declared is not None:
        return "it has a header"
    if begin.wide:
        return _utf16(begin)
    if not begin.lines:
        return "the first line is too long"
    separator = begin.separator(None)
    dim, count = begin.columns(separator)
    if not dim or 2 * count < len(begin.lines):
        return "its lines are not words with numbers"
    if dim == 1:
        return "one number a word: these may be counts (name the format if they are vectors)"
    words = [line.split(separator, 1)[0] for line in begin.lines]
    if len(words) > 1 and all(is_number(word) and not word.isdigit() for word in words):
        return "numbers only, no words"
    return None


def _utf16(begin: _Beginning) -> str | None:
    return "it looks like UTF-16" if begin.wide else None


# -- reading -------------------------------------------------------------------------------------------------------


def read_text(
    file: MappedFile,
    *,
    limit: int | None = None,
    no_header: bool | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    scratch: str | bool = False,
) -> Embeddings:
    """Parse a text file; its numbers are in memory afterwards.

    limit: read the first `limit` rows. no_header: True where the first line is a row, whatever it looks like; False
    where it must be a header; None: by its content. encoding, errors: how the words' bytes become text, as in
    `bytes.decode`; by default they are kept as they are. scratch: a folder (True: the one for temporary files) where
    a large result goes to a nameless file, so that memory stays bounded.
    """
    return _read(file, "text", limit, no_header, encoding, errors, scratch)


def read_glove(
    file: MappedFile,
    *,
    limit: int | None = None,
    no_header: bool | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    scratch: str | bool = False,
) -> Embeddings:
    """Parse a text file without a header; the options are those of `read_text`."""
    return _read(file, "glove", limit, no_header, encoding, errors, scratch)


def _read(
    file: MappedFile,
    name: str,
    limit: int | None,
    no_header: bool | None,
    encoding: str | None,
    errors: str | None,
    scratch: str | bool,
) -> Embeddings:
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise ValueError(f"limit must be a number of words, not {limit!r}")
    start, layout = _layout(file, no_header)
    end = _text.trimmed_end(file, start)
    if end == start:
        raise FormatError(file.path, "no rows", offset=start, expected="words with numbers", found="nothing")
    parsed = _text.parse(file, start, end, layout, limit, scratch)
    blob, offsets = parsed.blob, parsed.offsets
    if encoding is not None or errors is not None:
        blob, offsets = _as_utf8(file, blob, offsets, encoding, errors)
    count = len(offsets) - 1
    return Embeddings(
        Parts(
            Vocabulary(count, count, arrays=(blob, offsets, 0)),
            Float32(parsed.values),
            name,
            file=parsed.file or file,
        )
    )


def _layout(file: MappedFile, no_header: bool | None) -> tuple[int, Layout]:
    """Return where the rows begin and what they are."""
    begin = _Beginning(file, no_header)
    if begin.wide:
        raise FormatError(file.path, "it looks like UTF-16", offset=0, expected="UTF-8 or another 8-bit text",
                          found=file.bytes(0, 8).hex(" "))  # fmt: skip
    if begin.declared is None:
        if no_header is False:
            found = shown(file.bytes(0, 64).split(b"\n")[0])
            raise FormatError(file.path, "line 1: no header", offset=0, expected="two integers", found=found)
        if not begin.lines:
            found = f"none in {min(file.size, LONGEST_LOOK)} bytes"
            raise FormatError(
                file.path, "the first line is too long", offset=0, expected="a newline", found=found
            )
        separator = begin.separator(None)
        dim = begin.columns(separator)[0]
        if not dim:
            found = shown(begin.lines[0][:64])
            raise FormatError(
                file.path, "line 1: no vector", offset=begin.start, expected="a word and numbers", found=found
            )
        words = [line.rsplit(separator, dim)[0] for line in begin.lines]
        if separator == b" " and 2 * sum(map(_ends_with_column, words)) > len(words):
            raise FormatError(
                file.path,
                "tabs and spaces between the columns",
                offset=begin.start,
                expected="one of them",
                found=shown(begin.lines[0][:64]),
            )
        return begin.start, Layout(dim, separator)
    rows, dim = begin.declared
    for what, value in (("rows", rows), ("columns", dim)):
        if not value:
            raise FormatError(file.path, f"the header's {what}", offset=0, expected="at least 1", found=value)
    # a header that promises more columns than a line can have is refused before anything is split
    known = dim if dim <= file.size // 2 else None
    return begin.start, Layout(dim, begin.separator(known), declared=rows, first_line=2)


def _as_utf8(
    file: MappedFile, blob: Array, offsets: Array, encoding: str | None, errors: str | None
) -> tuple[Array, Array]:
    """Return the words, packed, as UTF-8."""
    data, bounds = blob.tobytes(), offsets.tolist()
    keys = (data[a:b] for a, b in pairwise(bounds))
    words = list(recoded(keys, encoding, errors, file.path))
    made = np.zeros(len(words) + 1, np.int64)
    np.cumsum([len(word) for word in words], out=made[1:])
    return np.frombuffer(b"".join(words), np.uint8), made


# -- writing -------------------------------------------------------------------------------------------------------


def write_text(
    embeddings: Embeddings,
    path: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    progress: Progress | None = None,
) -> Written:
    """Write words and vectors as text with a header, as gensim does: each number the shortest that gives it back."""
    return _write(embeddings, path, dtype, progress, header=True)


def write_glove(
    embeddings: Embeddings,
    path: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    progress: Progress | None = None,
) -> Written:
    """Write words and vectors as text without a header."""
    return _write(embeddings, path, dtype, progress, header=False)


def _write(
    e: Embeddings, path: str | os.PathLike[str], dtype: str | None, progress: Progress | None, *, header: bool
) -> Written:
    chosen = plain_dtype(dtype)
    total, dim = len(e), e.dim
    if not total:
        raise UnsupportedError(f"{os.fsdecode(path)}: a text file cannot hold a model without words")
    first = b"" if header else e._vocabulary.entry(0)
    if first.startswith(BOM) or _is_wide(first + b" 0."):
        raise UnsupportedError(
            f"{os.fsdecode(path)}: the first word begins with a byte-order mark, or as UTF-16 does"
        )
    with atomic_write(path) as stream:
        if header:
            stream.write(b"%d %d\n" % (total, dim))
        for start, stop, rows in vector_blocks(e, progress):
            words = e._vocabulary.entries(start, stop)
            for piece in _text.lines_of(rows, words):
                stream.write(piece)
    return Written(chosen)


def refuses_for(e: Embeddings) -> Callable[[bytes], str | None]:
    """Return what says why a word cannot stand in a line, or None: it would be read back as something else."""
    dim = e.dim

    def refuses(word: bytes) -> str | None:
        if b"\n" in word:
            return "it holds a newline"
        if b" " not in word:
            return None
        pieces = word.split(b" ")
        if not pieces[-1]:
            return "it ends with a space"
        if is_number(pieces[-1]):
            return "its last part would be read as a number"
        return "it looks like a row itself" if _text.holds_row(pieces, dim) else None

    return refuses


def refuses_without_header_for(e: Embeddings) -> Callable[[bytes], str | None]:
    """Return the same for a file without a header."""
    refuses = refuses_for(e)

    def without_header(word: bytes) -> str | None:
        return "its last part would be read as a number" if _ends_with_column(word) else refuses(word)

    return without_header


def _ends_with_column(word: bytes) -> bool:
    """Say whether a word ends with a tab and a number."""
    return b"\t" in word and is_number(word.rpartition(b"\t")[2]) is not None


def fate(e: Embeddings, dtype: str | None, options: Mapping[str, Any]) -> Fate:
    """Return what a text file will keep, round and lose."""
    found = common_fate(e, plain_dtype(dtype))
    split = sum(b" " in word for a, b in blocks(len(e), e.dim) for word in e._vocabulary.entries(a, b))
    if split:
        found.lost.append(
            f"{split:,} words with spaces, for readers that split lines at every space as gensim does"
        )
    return found


TEXT = Format(
    "text", (".vec", ".txt"), detect_text, read_text, write_text, fate=fate, refuses_for=refuses_for
)
GLOVE = Format(
    "glove", (), detect_glove, read_glove, write_glove, fate=fate, refuses_for=refuses_without_header_for
)
