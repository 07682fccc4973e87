"""word2vec's binary file: read in place, whatever the words; written as the C tool does. Bytes: specs/word2vec.md.

The records have no common length, so a file is walked once when it is opened: words are copied together, vectors stay
where they are (`matrix.Scattered`). A small file is walked in plain Python, a large one by `kernels/records.py`.
"""

from __future__ import annotations

import os
import re
import struct
from array import array
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import _effort
from .._binary import MappedFile, atomic_write
from ..embeddings import Embeddings, Parts
from ..errors import FormatError, TruncatedError, UnsupportedError
from ..matrix import Scattered
from ..vocabulary import Vocabulary, table_length
from .base import Fate, Format, Progress, Written, plain_dtype, vector_blocks
from .base import fate as common_fate
from .base import recoded as recode

Array = npt.NDArray[Any]

NAME = "word2vec"
#: The header line is short: two numbers.
LONGEST_HEADER = 128
_HEADER = re.compile(rb"[ \t]*\+?([0-9]{1,30})[ \t]+\+?([0-9]{1,30})[ \t]*\r?\n")
#: Bytes behind the header that `detect` looks at, and the longest text line it measures.
SAMPLE, LONGEST_LINE = 1 << 12, 1 << 16
_NUMBER = re.compile(rb"[-+0-9.eEnaifNAIFty]+\Z")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
#: Line ends that may stand behind the last record.
LAST_LINES = 16
#: Seconds of plain Python for one record; records that are walked between two looks at the file's length.
RECORD_COST, CHUNK = 0.6e-6, 1 << 16
#: Rows that are looked at to tell a big-endian file.
SWAP_SAMPLE = 16
#: Records that are tried with another width, to say what is wrong with a file.
HINT_RECORDS, HINT_WORD = 100, 128


class Header(NamedTuple):
    """rows and dim as the header says; where the records begin."""

    rows: int
    dim: int
    end: int

    @property
    def width(self) -> int:
        """Bytes of a vector."""
        return 4 * self.dim


# -- detection -----------------------------------------------------------------------------------------------------


def detect(file: MappedFile) -> str | None:
    """Return None for a word2vec binary file, else why it is none."""
    match = _HEADER.match(file.map[:LONGEST_HEADER])
    if match is None:
        if _HEADER.match(_swapped(file.map[:LONGEST_HEADER])):
            return "every four bytes are swapped, as a big-endian machine does it"
        return "does not begin with a line of two numbers"
    header = Header(int(match[1]), int(match[2]), match.end())
    if header.rows < 1 or header.dim < 1:
        return f"a header of {_short(header.rows)} rows and {_short(header.dim)} columns"
    if _is_text(file, header):
        return "what follows the header is text"
    return None


def _swapped(head: bytes) -> bytes:
    whole = head[: len(head) // 4 * 4]
    return np.frombuffer(whole, ">u4").astype("<u4").tobytes()


def _is_text(file: MappedFile, header: Header) -> bool:
    """Say whether the records look like lines of text: no control bytes, or a word and `dim` numbers in the first."""
    sample = file.map[header.end : header.end + SAMPLE]
    if not _CONTROL.search(sample) and _mostly_utf8(sample):
        return True
    line = file.map[header.end : header.end + LONGEST_LINE].lstrip(b"\r\n").partition(b"\n")[0]
    numbers = line.split()[-header.dim :]
    return len(numbers) == header.dim and all(map(_NUMBER.match, numbers))


def _mostly_utf8(sample: bytes) -> bool:
    """Say whether text with a few bad bytes, as in real files, explains the sample better than numbers do."""
    return sample.decode("utf-8", "replace").count("�") * 20 <= len(sample)


# -- reading -------------------------------------------------------------------------------------------------------


def read(
    file: MappedFile,
    limit: int | None = None,
    binary: bool = True,
    encoding: str | None = None,
    errors: str | None = None,
) -> Embeddings:
    """Open a word2vec binary file in place; its words are walked over once, its vectors stay in the file.

    limit: walk only the first `limit` records. binary: gensim's name for this format; False is refused. encoding and
    errors: decode the words so, as gensim does ("strict" refuses bytes that do not fit); None keeps their bytes.
    """
    if not binary:
        raise FormatError(file.path, "this is the binary form", expected="binary=True, or format='text'")
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise ValueError(f"limit must be a number of words, not {limit!r}")
    header = _read_header(file)
    rows = header.rows if limit is None else min(limit, header.rows)
    walk = _Walk(file, header, rows)
    try:
        _check_room(file, header)
        walk.run()
        if rows == header.rows:
            walk.check_end()
    except FormatError as error:
        raise _hinted(error, file, header) from None
    matrix = Scattered(walk.data, walk.places, header.dim)
    _refuse_swapped(file, matrix)
    blob, offsets, table = walk.blob, walk.offsets, walk.table
    if encoding is not None or errors is not None:
        words = [
            bytes(blob.data[a:b]) for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
        ]
        blob, offsets = _packed(recode(words, encoding, errors, file.path))
        table = None
    return Embeddings(
        Parts(
            Vocabulary(rows, rows, arrays=(blob, offsets, 0), table=table),
            matrix,
            NAME,
            file=file,
            metadata={},
        )
    )


def _packed(words: Iterable[bytes]) -> tuple[Array, Array]:
    """Return words one behind the other, and where each begins."""
    kept = list(words)
    offsets = np.zeros(len(kept) + 1, np.int64)
    np.cumsum([len(word) for word in kept], out=offsets[1:])
    return np.frombuffer(b"".join(kept), np.uint8), offsets


def _read_header(file: MappedFile) -> Header:
    """Read the header line; refuse numbers that the file has no room for, before anything is done with them."""
    head = file.map[:LONGEST_HEADER]
    match = _HEADER.match(head)
    if match is None:
        line = head.partition(b"\n")[0]
        raise FormatError(
            file.path,
            "the header is not a line of two numbers" if b"\n" in head else "the header line has no end",
            offset=0,
            expected="rows and columns",
            found=ascii(line[:40].decode("latin-1")),
        )
    header = Header(int(match[1]), int(match[2]), match.end())
    for name, value, place in (
        ("rows", header.rows, match.start(1)),
        ("columns", header.dim, match.start(2)),
    ):
        if not 0 < value < 1 << (48 if name == "rows" else 29):
            raise FormatError(
                file.path,
                f"impossible number of {name}",
                offset=place,
                expected="at least 1, and room for them",
                found=_short(value),
            )
    return header


def _check_room(file: MappedFile, header: Header) -> None:
    """Refuse more than the file can hold, before anything is allocated."""
    need, room = header.rows * (1 + header.width), file.size - header.end
    if need > room:
        raise TruncatedError(
            file.path,
            f"{header.rows} words with vectors of {header.dim} float32 do not fit",
            offset=header.end,
            expected=f"at least {need} bytes",
            found=f"{room} bytes",
        )


def _short(number: int) -> str:
    text = str(number)
    return text if len(text) <= 20 else f"a number of {len(text)} digits"


class _Walk:
    """One walk over the records. Afterwards: blob and offsets of the words (no gaps), places of the vectors, and the
    hash table where the kernels made it."""

    def __init__(self, file: MappedFile, header: Header, rows: int) -> None:
        self.file, self.header, self.rows = file, header, rows
        self.data: Array = file.array(np.uint8, file.size, 0, "the file")
        self.end, self.lines = header.end, -1
        self.table: Array | None = None

    def run(self) -> None:
        """Walk by whatever is quicker."""
        if _effort.kernels_due(self.rows * RECORD_COST):
            self.compiled()
        else:
            self.plain()

    def compiled(self) -> None:
        """Walk by the kernels, and make the hash table on the way."""
        from ..kernels import records

        rows, header = self.rows, self.header
        # memory that is never touched costs nothing
        blob = np.empty(self.file.size - header.end - header.rows * (1 + header.width), np.uint8)
        self.offsets = np.zeros(rows + 1, np.int64)
        self.places = np.empty(rows, np.int64)
        crcs = np.empty(rows, np.uint32)
        state = np.array([header.end, -1, 0, 0], np.int64)
        for start in range(0, rows, CHUNK):
            self.file.check()
            stop, place = min(start + CHUNK, rows), int(state[records.PLACE])
            done = records.walk(
                self.data,
                start,
                stop,
                header.rows,
                header.width,
                state,
                blob,
                self.offsets,
                self.places,
                crcs,
            )
            if done < stop:
                raise self.broken(done, int(state[0]), int(state[1]), bool(state[2]))
            if rows > CHUNK:  # the pages stay in the system's cache, and need not in this process
                self.file.advise("DONTNEED", place, int(state[records.PLACE]) - place)
        self.end, self.lines = int(state[records.PLACE]), int(state[records.LINES])
        self.blob = blob[: state[records.USED]]
        self.table = np.zeros(table_length(rows), np.uint64)
        records.fill_table(self.blob, self.offsets, crcs, self.table)

    def plain(self) -> None:
        """Walk in plain Python."""
        data, width = self.file.map, self.header.width
        find, limit = data.find, self.file.size - width - self.header.rows * (1 + width)
        words: list[bytes] = []
        places = array("q")
        place, lines, broken = self.header.end, -1, False
        for i in range(self.rows):
            limit += (
                1 + width
            )  # a space before this place leaves room for its vector and the records after it
            begin = place
            while begin < limit and data[begin] == 10:
                begin += 1
            end = find(b" ", begin, limit)
            if end < 0 or (0 <= lines != begin - place and i):
                raise self.broken(i, place, lines, broken)
            word = data[begin:end]
            here = b"\n" in word
            if (i and begin > place and (broken or here)) or word.startswith(b"\r\n"):
                raise self.broken(i, place, begin - place if i else -1, broken)
            if i:
                lines = begin - place
            broken = broken or here
            words.append(word)
            places.append(end + 1)
            place = end + 1 + width
        self.end, self.lines = place, lines
        self.places = np.frombuffer(places, np.int64) if self.rows else np.zeros(0, np.int64)
        self.blob, self.offsets = _packed(words)

    def broken(self, i: int, place: int, lines: int, newline: bool) -> FormatError:
        """Say what is wrong with record `i`, which begins at `place`, where the records before it were right."""
        file, width = self.file, self.header.width
        data, size = file.map, file.size
        name = f"word {i} of {self.header.rows}"
        begin = place
        while begin < size and data[begin] == 10:
            begin += 1
        if size - begin < 1 + width:
            return TruncatedError(
                file.path,
                f"the file ends inside {name}, or before it",
                offset=begin,
                expected=f"a word, a space and {width} bytes",
                found=f"{size - begin} bytes",
            )
        if i and 0 <= lines != begin - place:
            return FormatError(
                file.path,
                f"the line ends between the vectors are not alike; the first that differs is before {name}",
                offset=place,
                expected=f"{lines} line ends",
                found=f"{begin - place}",
            )
        rest = width + (self.header.rows - 1 - i) * (1 + width)
        end = data.find(b" ", begin, size - rest)
        if end < 0:
            return TruncatedError(
                file.path,
                f"{name} has no end, or leaves no room for the words after it",
                offset=begin,
                expected=f"a space with {rest} bytes behind it",
                found=f"none in {size - begin} bytes",
            )
        word = data[begin : min(end, begin + 40)]
        if word.startswith(b"\r\n"):
            return FormatError(
                file.path,
                f"{name} begins with a carriage return: the file was copied as if it were text",
                offset=begin,
                expected="no line end, or a line feed",
                found=ascii(word.decode("latin-1")),
            )
        return FormatError(
            file.path,
            f"a line end inside a word, in a file with a line end behind each vector; noticed at {name}",
            offset=begin,
            expected="words without line ends",
            found=ascii(word.decode("latin-1")),
        )

    def check_end(self) -> None:
        """Refuse what follows the last record, but for line ends."""
        rest = self.file.size - self.end
        tail = self.file.bytes(self.end, min(self.end + LAST_LINES + 1, self.file.size))
        if rest > LAST_LINES or tail.strip(b"\n"):
            raise FormatError(
                self.file.path,
                f"there are {rest} bytes behind the last of {self.header.rows} words",
                offset=self.end,
                expected=f"a file of {self.end} bytes",
                found=f"{self.file.size} bytes",
            )


def _hinted(error: FormatError, file: MappedFile, header: Header) -> FormatError:
    """Add to an error that the vectors seem to be of another number type, where that fits the first records."""
    for name, size in (("float64", 8), ("float16", 2)):
        if header.rows > 1 and _fits(file, header, header.dim * size):
            text = f"{error.message} (the vectors look like {name}; this format has float32 only)"
            return type(error)(
                error.path, text, offset=error.offset, expected=error.expected, found=error.found
            )
    return error


def _fits(file: MappedFile, header: Header, width: int) -> bool:
    """Say whether the first records, with vectors of `width` bytes, follow each other with short words."""
    data, place = file.map, header.end
    for _ in range(min(header.rows, HINT_RECORDS)):
        space = data.find(b" ", place, place + HINT_WORD)
        place = space + 1 + width
        if space < 0 or place > file.size:
            return False
    return header.rows > HINT_RECORDS or file.size - place <= 1


def _refuse_swapped(file: MappedFile, matrix: Scattered) -> None:
    """Refuse numbers that make sense only when their bytes are swapped: a big-endian machine wrote them."""
    values = matrix.block(0, min(len(matrix), SWAP_SAMPLE)).reshape(-1)
    with np.errstate(all="ignore"):
        here, there = (_sensible(values), _sensible(values.byteswap()))
    if len(values) >= 4 and here * 10 < len(values) and there * 10 > 9 * len(values):
        raise FormatError(
            file.path,
            "the vectors were written by a big-endian machine",
            offset=int(matrix.places[0]),
            expected="little-endian float32",
            found=f"{struct.unpack('<f', values[:1].tobytes())[0]:.3g}",
        )


def _sensible(values: Array) -> int:
    """Return how many of the numbers are of a size that vectors have."""
    size = np.abs(values)
    return int(np.count_nonzero((size > 1e-8) & (size < 1e8)))


# -- writing -------------------------------------------------------------------------------------------------------


def write(
    embeddings: Embeddings,
    path: str | os.PathLike[str],
    dtype: str | None = None,
    binary: bool = True,
    progress: Progress | None = None,
) -> Written:
    """Write words and vectors (float32) as the C tool does: a line feed behind each vector. Streaming, atomic.

    binary: gensim's name for this format; False is refused.
    """
    chosen = plain_dtype(dtype)
    if not binary:
        raise ValueError("binary=False is the format text")
    e = embeddings
    if not len(e):
        raise UnsupportedError(f"{os.fsdecode(path)}: a word2vec file cannot be without words")
    with atomic_write(path) as stream:
        stream.write(b"%d %d\n" % (len(e), e.dim))
        for start, stop, rows in vector_blocks(e, progress):
            view, width = np.ascontiguousarray(rows, "<f4").data.cast("B"), 4 * e.dim
            pieces: list[Any] = []
            for i, word in enumerate(e._vocabulary.entries(start, stop)):
                pieces += (word, b" ", view[i * width : (i + 1) * width], b"\n")
            stream.write(b"".join(pieces))
    return Written(chosen)


def refuses(word: bytes) -> str | None:
    """Say why a word cannot be written, or None."""
    if not word:
        return "it is empty"
    if b" " in word:
        return "it holds a space, which ends a word"
    if b"\n" in word:
        return "it holds a line end"
    return None


def fate(e: Embeddings, dtype: str | None, options: Mapping[str, Any]) -> Fate:
    """Return what the file will keep, round and lose."""
    return common_fate(e, plain_dtype(dtype))


FORMAT = Format(NAME, (".bin", ".w2v"), detect, read, write, fate=fate, refuses=refuses)
