"""Lines of numbers: what the text formats share. Parsing them into rows of float32, and writing rows as lines.

A line is a word (or none), and D numbers with one separator between them. Large files are parsed in chunks by several
threads and `kernels/text.py`; small ones by plain Python; both give the same bits, those of a correctly rounding
`strtof`. The file is read, not mapped, so that one that is cut meanwhile is an error. This file knows no format.
"""

from __future__ import annotations

import math
import os
import re
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _effort, _threads
from ._binary import MappedFile, MappedGroup
from .errors import FormatError, TruncatedError

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

#: A number: decimal, with or without exponent, or nan, inf, infinity in any case. Nothing else.
NUMBER = (
    rb"[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
    rb"|[nN][aA][nN]|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?)"
)
is_number = re.compile(NUMBER).fullmatch
_all_numbers = {
    separator: re.compile(NUMBER + rb"(?:" + separator + NUMBER + rb")*").fullmatch
    for separator in (b" ", b"\t")
}

#: Bytes of text that one thread parses at a time; and that plain Python reads at a time.
CHUNK, WINDOW = 4 << 20, 1 << 20
#: A line may have so many bytes, and so many more for each number.
LONGEST, LONGEST_NUMBER = 16 << 20, 64
#: Seconds for a byte that plain Python parses, and for a number that it writes.
PARSE_COST, WRITE_COST = 45e-9, 1.7e-6
#: A result that may go to a file goes there from this size on.
SCRATCH = 64 << 20
#: Numbers of a chunk that Python rounds one by one; in a row with more it does all.
ODD = 4096
#: Bytes behind a chunk that kernels may read.
BEHIND = 32
NEWLINE = 10


@dataclass
class Layout:
    """What every line of a file must be.

    separator: b" " or b"\\t". words: whether a word stands before the numbers. declared: how many rows the file says
    it has, or None. first_line: number of the first line, for errors.
    """

    dim: int
    separator: bytes = b" "
    words: bool = True
    declared: int | None = None
    first_line: int = 1

    @property
    def longest(self) -> int:
        return LONGEST + LONGEST_NUMBER * self.dim

    def line(self, row: int) -> int:
        return self.first_line + row

    def room(self, size: int) -> int:
        """Return how many rows can be in so many bytes, line ends included."""
        return size // (2 * self.dim + (1 if self.words else 0))


def holds_row(pieces: list[bytes], dim: int) -> bool:
    """Say whether the pieces of a word are a row themselves, so that two rows stand on one line.

    The last number of the first row and the word of the second may be one piece, where only a line end is missing.
    """
    run = dim - 1 if dim > 2 else dim
    return len(pieces) > run and all(map(is_number, pieces[-1 - run : -1]))


@dataclass
class Parsed:
    """The rows of a file: values float32 (N, D), words packed (blob uint8, offsets int64), and what holds them.

    file: the group of the text and the nameless file in which the values lie, or None when they are in memory.
    """

    values: Floats
    blob: Array
    offsets: Array
    file: MappedGroup | None = None


def trimmed_end(file: MappedFile, start: int) -> int:
    """Return where the last line ends, blank lines and spaces left out."""
    end = file.size
    while end > start:
        piece = file.bytes(max(start, end - (1 << 16)), end)
        left = len(piece.rstrip(b" \r\n"))
        end -= len(piece) - left
        if left:
            break
    return end


def parse(
    file: MappedFile,
    start: int,
    end: int,
    layout: Layout,
    limit: int | None = None,
    scratch: str | bool = False,
) -> Parsed:
    """Parse the lines between `start` and `end` (see `trimmed_end`). Raises FormatError with line and place.

    limit: stop after so many rows. scratch: put a large result into a nameless file (in the folder that is named, or
    where temporary files go) instead of memory.
    """
    _check_size(file, start, end, layout)
    job = _Job(file, start, end, layout, limit)
    if not _effort.kernels_due(job.bytes_to_parse() * PARSE_COST):
        return job.parse_plainly()
    return job.parse_compiled(scratch)


def _check_size(file: MappedFile, start: int, end: int, layout: Layout) -> None:
    """Compare what the header says with the bytes that are there, before anything is allocated."""
    room = layout.room(max(end - start + 1, 0))
    if layout.declared is not None and layout.declared > room:
        raise TruncatedError(
            file.path,
            "the header says more rows than the file can hold",
            offset=0,
            expected=f"{layout.declared} rows of {layout.dim} numbers",
            found=f"{max(end - start, 0)} bytes, at most {room} such rows",
        )


class _Job:
    """The parsing of one file."""

    def __init__(self, file: MappedFile, start: int, end: int, layout: Layout, limit: int | None) -> None:
        self.file, self.start, self.end, self.layout, self.limit = file, start, end, layout, limit
        #: Rows that there may be: one more than declared, for GloVe's tool does not count its last one.
        self.most = None if layout.declared is None else layout.declared + 1

    def bytes_to_parse(self) -> int:
        """Return about how many bytes will have to be parsed."""
        if self.limit is None:
            return self.end - self.start
        newline = self.file.map.find(b"\n", self.start, min(self.end, self.start + WINDOW))
        line = WINDOW if newline < 0 else newline + 1 - self.start
        return min(self.end - self.start, 2 * line * self.limit)

    # -- plain Python ----------------------------------------------------------------------------------------------

    def parse_plainly(self) -> Parsed:
        """Parse line by line."""
        layout = self.layout
        blocks: list[Floats] = [np.empty((0, layout.dim), np.float32)]
        words: list[bytes] = []
        row = 0
        for offset, lines in self.windows():
            fields: list[bytes] = []
            for line in lines:
                self.check_row(row, offset)
                word, numbers = self.split(line, row, offset)
                words.append(word)
                fields += numbers
                offset += len(line) + 1
                row += 1
            blocks.append(to_float32(fields).reshape(-1, layout.dim))
        self.check_rows(row)
        offsets = np.zeros(len(words) + 1, np.int64)
        np.cumsum([len(word) for word in words], out=offsets[1:])
        return Parsed(np.concatenate(blocks), np.frombuffer(b"".join(words), np.uint8), offsets)

    def windows(self) -> Iterator[tuple[int, list[bytes]]]:
        """Yield whole lines, some at a time, with the place of the first; `limit` lines at the most."""
        place, left = self.start, self.limit
        size = WINDOW if left is None else min(WINDOW, max(1 << 12, self.bytes_to_parse()))
        while place < self.end and left != 0:
            stop = min(place + size, self.end)
            data = self.read(place, stop)
            cut = len(data) if stop == self.end else data.rfind(b"\n")
            while cut < 0:
                if len(data) > self.layout.longest:
                    raise self.too_long(place, len(data))
                stop = min(stop + len(data), self.end)
                data = self.read(place, stop)
                cut = len(data) if stop == self.end else data.rfind(b"\n")
            lines = data[:cut].split(b"\n")
            if left is not None:
                lines = lines[:left]
                left -= len(lines)
            yield place, lines
            place += cut + 1

    def read(self, start: int, stop: int) -> bytes:
        data = np.empty(stop - start, np.uint8)
        self.file.read(data, start)
        return data.tobytes()

    def split(self, line: bytes, row: int, offset: int) -> tuple[bytes, list[bytes]]:
        """Return the word of a line and its numbers as text; raises FormatError for a wrong line.

        The numbers are the last D fields: what stands before them is the word, and it may hold separators.
        """
        layout = self.layout
        separator, dim = layout.separator, layout.dim
        text = line[:-1] if line.endswith(b"\r") else line
        text = text.rstrip(b" " if separator == b" " else b" \t")
        fields = text.rsplit(separator, dim) if layout.words else [b"", *text.split(separator)]
        word, numbers = fields[0], fields[1:]
        place = len(word) + 1 if layout.words else 0
        if len(numbers) != dim or not _all_numbers[separator](text, place):
            raise self.wrong_line(text, row, offset)
        if separator in word and not self.is_word(word):
            raise self.wrong_line(text, row, offset)
        return word, numbers

    def is_word(self, word: bytes) -> bool:
        """Say whether something with separators in it is a word, and not a sign that the line has other columns."""
        pieces = word.split(self.layout.separator)
        return bool(pieces[-1]) and not is_number(pieces[-1]) and not holds_row(pieces, self.layout.dim)

    def wrong_line(self, text: bytes, row: int, offset: int) -> FormatError:
        """Return the error that says what is wrong with a line."""
        separator, dim = self.layout.separator, self.layout.dim
        line = self.layout.line(row)
        fields = text.split(separator)
        if not text:
            return FormatError(
                self.file.path, f"line {line} is empty", offset=offset, expected=self.a_row(), found="nothing"
            )
        columns = fields[1:] if self.layout.words else fields
        name = f"line {line}"
        if self.layout.words:
            run = 0  # numbers at the end of the line
            while run < len(fields) - 1 and is_number(fields[-1 - run]):
                run += 1
            if run > dim or len(columns) <= dim:
                word = separator.join(fields[: len(fields) - run]) if run > dim else fields[0]
                columns = fields[len(fields) - run :] if run > dim else columns
            else:
                word, columns = separator.join(fields[:-dim]), fields[-dim:]
            name += f", word {shown(word)}"
        wrong = next((i for i, field in enumerate(columns) if not is_number(field)), None)
        if len(columns) != dim:
            return FormatError(
                self.file.path, name, offset=offset, expected=self.a_row(), found=f"{len(columns)} columns"
            )
        if wrong is not None:
            place = offset + len(text) - sum(len(field) + 1 for field in columns[wrong:]) + 1
            return FormatError(
                self.file.path,
                f"{name}: column {wrong + 1}",
                offset=max(place, offset),
                expected="a number",
                found=shown(columns[wrong]),
            )
        return FormatError(
            self.file.path, f"{name}: more than one row, or an empty column", offset=offset, expected=self.a_row(),
            found=f"{len(fields) - 1} columns",
        )  # fmt: skip

    def a_row(self) -> str:
        return f"{'a word and ' if self.layout.words else ''}{self.layout.dim} numbers"

    def too_long(self, offset: int, length: int) -> FormatError:
        return FormatError(
            self.file.path,
            "a line without end",
            offset=offset,
            expected=f"at most {self.layout.longest} bytes",
            found=f"more than {length}",
        )

    def check_row(self, row: int, offset: int) -> None:
        """Raise where there are more rows than the header says."""
        if self.most is not None and row >= self.most:
            raise self.too_many(offset)

    def too_many(self, offset: int) -> FormatError:
        declared = self.layout.declared
        return FormatError(
            self.file.path,
            f"more rows than the header says (limit={declared} reads those)",
            offset=offset,
            expected=f"{declared} rows",
            found=f"more than {self.most}",
        )

    def check_rows(self, rows: int) -> None:
        """Raise where there are fewer rows than the header says."""
        declared = self.layout.declared
        if declared is not None and rows < declared and (self.limit is None or rows < self.limit):
            raise TruncatedError(
                self.file.path,
                "fewer rows than the header says",
                offset=self.end,
                expected=f"{declared} rows",
                found=f"{rows} rows",
            )

    # -- compiled --------------------------------------------------------------------------------------------------

    def parse_compiled(self, scratch: str | bool) -> Parsed:
        """Parse chunks on several threads, each straight into its place."""
        rows = self.most if self.most is not None else None
        if self.limit is not None and (rows is None or self.limit < rows):
            rows = self.limit
        if self.most is None and (rows is None or rows > 1 << 16):
            rows = min(self.count(), self.end if rows is None else rows)
        assert rows is not None
        rows = min(
            rows, self.layout.room(self.end - self.start) + 1
        )  # with more lines, one of these is too short
        shape = (rows, self.layout.dim)
        if scratch is not False and 4 * rows * self.layout.dim > SCRATCH:
            folder = scratch if isinstance(scratch, str) else None
            with tempfile.TemporaryFile(dir=folder) as stream:
                chunks = _Chunks(self, rows, None, stream.fileno())
                found = chunks.run()
                self.check_rows(found)
                stream.truncate(max(4 * found * self.layout.dim, 1))
                mapped = MappedFile.of_descriptor(stream.fileno(), self.file.path)
            values = mapped.array("<f4", (found, self.layout.dim), 0, "the rows")
            return Parsed(values.view(np.float32), *chunks.words(), Backed(self.file, mapped))
        target = np.empty(shape, np.float32)
        chunks = _Chunks(self, rows, target, -1)
        found = chunks.run()
        self.check_rows(found)
        return Parsed(target[:found], *chunks.words())

    def count(self) -> int:
        """Return how many lines there are; raises FormatError early where one does not end."""
        from .kernels import text

        sums = np.full(-(-(self.end - self.start) // CHUNK), -1, np.int64)
        endless = self.layout.longest // CHUNK + 2  # chunks without a newline that are too many

        def work(k: int, _: int) -> None:
            before = sums[max(k - endless, 0) : k]
            if k > endless and (before[-1] == -2 or not before.any()):
                sums[k] = -2
                return
            begin = self.start + k * CHUNK
            data = np.empty(min(CHUNK, self.end - begin), np.uint8)
            self.file.read(data, begin)
            sums[k] = text.count_newlines(data, 0, len(data))

        _threads.run_chunks(work, len(sums), 1)
        if (sums == -2).any():
            first = next(k for k in range(len(sums)) if not sums[k : k + endless].any())
            raise self.too_long(self.start + first * CHUNK, endless * CHUNK)
        return int(sums.sum()) + 1


class Backed(MappedGroup):
    """The text, and the nameless file that holds what was parsed from it; to others it is the text."""

    def __init__(self, text: MappedFile, rows: MappedFile) -> None:
        super().__init__(text.path, [text, rows])
        self.text = text

    @property
    def size(self) -> int:
        return self.text.size

    def identity(self) -> str:
        return self.text.identity()


class _Chunks:
    """Parses the chunks of one file. A chunk owns the lines that begin behind a newline in it (the first: line 1 too).

    The rows of a chunk have their place once all chunks before it have counted their newlines; nobody waits for more.
    """

    def __init__(self, job: _Job, rows: int, target: Floats | None, descriptor: int) -> None:
        self.job, self.rows, self.target, self.descriptor = job, rows, target, descriptor
        self.total = -(-(job.end - job.start) // CHUNK)
        self.before: list[int | None] = [0] + [None] * self.total
        self.turn = threading.Condition()
        self.errors: dict[int, BaseException] = {}
        self.stop = self.total
        self.pieces: dict[int, tuple[Array, Array]] = {}

    def run(self) -> int:
        """Parse everything; return how many rows there are. The error of the first wrong line is raised."""
        _threads.run_chunks(lambda k, _: self.work(k), self.total, 1)
        if self.errors:
            raise self.errors[min(self.errors)]
        return sum(len(lengths) for _, lengths in self.pieces.values())

    def words(self) -> tuple[Array, Array]:
        """Return the words of all rows, packed: blob and offsets."""
        pieces = [self.pieces.pop(k) for k in sorted(self.pieces)]
        offsets = np.zeros(1 + sum(len(lengths) for _, lengths in pieces), np.int64)
        np.cumsum(np.concatenate([offsets[:0], *(lengths for _, lengths in pieces)]), out=offsets[1:])
        return np.concatenate([np.zeros(0, np.uint8), *(blob for blob, _ in pieces)]), offsets

    def work(self, k: int) -> None:
        try:
            if k < self.stop:
                self.parse(k)
        except BaseException as error:
            with self.turn:
                self.errors[k] = error
                self.stop = min(self.stop, k)
                self.turn.notify_all()

    def parse(self, k: int) -> None:
        """Read chunk `k`, count its lines, wait for its place, parse it."""
        from .kernels import text

        job, layout = self.job, self.job.layout
        begin = job.start + k * CHUNK
        stop = min(begin + CHUNK, job.end)
        buffer, there = self.load(begin, stop)
        lines = text.count_newlines(buffer, 0, stop - begin) + (k == 0)
        with self.turn:
            while self.before[k] is None and self.stop > k:
                self.turn.wait()
            row = self.before[k]
            if row is None:
                return
            self.before[k + 1] = row + lines
            self.turn.notify_all()
            if row + lines >= self.rows and self.rows != job.most:
                self.stop = min(self.stop, k + 1)
        # where there are more lines than rows have room, one of the first is too short
        wanted = max(0, min(lines, self.rows - row, layout.room(stop - begin) + 2))
        if not wanted:
            self.check_rest(row, lines, begin)
            return
        buffer = self.whole_lines(buffer, there, begin, stop)
        place = 0 if k == 0 else _newline(buffer, 0) + 1
        local = self.target is None
        out = np.empty((wanted, layout.dim), np.float32) if self.target is None else self.target
        top = 0 if local else row
        starts, lengths = np.empty(wanted, np.int64), np.empty(wanted, np.int64)
        odd = np.empty((ODD, 4), np.int64)
        count = text.parse_rows(
            buffer,
            place,
            wanted,
            layout.dim,
            layout.separator[0],
            layout.words,
            out,
            top,
            starts,
            lengths,
            odd,
        )
        for i, j, a, b in odd[:count].tolist():
            out[top + i, j] = exactly(buffer[a:b].tobytes())
        for i in np.flatnonzero(lengths < 0).tolist():
            a = int(starts[i])
            b = _newline(buffer, a)
            word, numbers = job.split(buffer[a:b].tobytes(), row + i, begin + a)
            lengths[i] = len(word)
            out[top + i] = to_float32(numbers)
        if local and wanted:
            _write_at(self.descriptor, out, 4 * row * layout.dim)
        blob = np.empty(int(lengths.sum()), np.uint8)
        text.gather_words(buffer, starts, lengths, blob)
        self.pieces[k] = blob, lengths
        self.check_rest(row, lines, begin)

    def check_rest(self, row: int, lines: int, begin: int) -> None:
        """Raise where the chunk holds more rows than the header allows."""
        job = self.job
        if job.most is not None and row + lines > job.most and self.rows == job.most:
            raise job.too_many(begin)

    def load(self, begin: int, stop: int) -> tuple[Array, int]:
        """Return a chunk and some bytes behind it, for its last line, and how many bytes they are."""
        there = min(stop + (1 << 14), self.job.end) - begin
        buffer = np.empty(there + BEHIND, np.uint8)
        self.job.file.read(buffer[:there], begin)
        buffer[there:] = NEWLINE
        return buffer, there

    def whole_lines(self, buffer: Array, there: int, begin: int, stop: int) -> Array:
        """Return the chunk with the whole of its last line, and newlines behind it."""
        job = self.job
        while begin + there < job.end and NEWLINE not in buffer[stop - begin : there]:
            last = begin + there - stop
            if last > job.layout.longest:
                raise job.too_long(stop, last)
            more = min(max(1 << 16, last), job.end - begin - there)
            longer = np.empty(there + more + BEHIND, np.uint8)
            longer[:there] = buffer[:there]
            job.file.read(longer[there : there + more], begin + there)
            there += more
            longer[there:] = NEWLINE
            buffer = longer
        return buffer


def _newline(buffer: Array, place: int) -> int:
    """Return where the first newline from `place` on stands; there is one."""
    step = 1 << 12
    while True:
        found = buffer[place : place + step].tobytes().find(b"\n")
        if found >= 0:
            return place + found
        place += step
        step *= 2


def _write_at(descriptor: int, rows: Floats, place: int) -> None:
    view = rows.data.cast("B")
    while len(view):
        done = os.pwrite(descriptor, view, place)
        view, place = view[done:], place + done


# -- numbers -------------------------------------------------------------------------------------------------------


def to_float32(fields: Sequence[bytes]) -> Floats:
    """Return numbers (all of them valid) as float32, each the nearest to what is written, ties to even."""
    doubles = np.fromiter(map(float, fields), np.float64, len(fields))
    with np.errstate(over="ignore", under="ignore"):
        values = doubles.astype(np.float32)
    bits = doubles.view(np.uint64)
    halfway = (bits & np.uint64((1 << 29) - 1)) == np.uint64(1 << 28)
    small = (np.abs(doubles) < 2.0**-126) & (doubles != 0)
    for i in np.flatnonzero(halfway | small).tolist():
        values[i] = exactly(fields[i])
    return values


def exactly(field: bytes) -> Any:
    """Return the float32 that is nearest to a number as it is written; halfway between two, the even one.

    A float64 on the way rounds twice: that matters only where it is just in the middle of two float32, and then the
    digits themselves decide.
    """
    double = float(field)
    with np.errstate(over="ignore", under="ignore"):
        value = np.float32(double)
    if float(value) == double or double != double or abs(double) == float("inf"):
        return value
    towards = np.float32(np.inf if double > float(value) else -np.inf)
    with np.errstate(over="ignore", under="ignore"):
        other = np.nextafter(value, towards)
    # the next float32 above the largest would be 2^128
    ends = [float(v) if np.isfinite(v) else math.copysign(2.0**128, float(v)) for v in (value, other)]
    middle = (ends[0] + ends[1]) / 2
    if double != middle:
        return value
    from decimal import Decimal

    written, half = Decimal(field.decode("ascii")), Decimal(middle)
    if written == half:
        return value  # numpy rounded to even
    low, high = sorted((value, other))
    return np.float32(low if written < half else high)


# -- writing -------------------------------------------------------------------------------------------------------


def lines_of(
    rows: Floats, words: Sequence[bytes] | None, separator: bytes = b" "
) -> Iterator[bytes | memoryview]:
    """Yield the lines of rows of float32 (N, D), with their words before them, in order.

    A number is the shortest decimal that gives the float32 back, laid out as Python lays out a float.
    """
    if not _effort.kernels_due(rows.size * WRITE_COST):
        yield _plain_lines(rows, words, separator)
        return
    from .kernels import text

    count, dim = rows.shape
    rows = np.ascontiguousarray(rows)
    offsets = np.zeros(0, np.int64)
    blob = np.zeros(0, np.uint8)
    extra = np.zeros(count + 1, np.int64)
    if words is not None:
        offsets = np.zeros(count + 1, np.int64)
        np.cumsum([len(word) for word in words], out=offsets[1:])
        blob = np.frombuffer(b"".join(words), np.uint8)
        extra = offsets + np.arange(count + 1)
    piece = max(1, -(-count // (4 * _threads.thread_count())))
    parts: dict[int, memoryview] = {}

    def work(start: int, stop: int) -> None:
        room = int(extra[stop] - extra[start]) + (stop - start) * dim * text.WIDEST + text.AHEAD
        out = np.empty(room, np.uint8)
        end = text.write_rows(rows, start, stop, separator[0], blob, offsets, out, 0)
        parts[start] = out.data[:end]

    _threads.run_chunks(work, count, piece)
    for start in sorted(parts):
        yield parts[start]


def _plain_lines(rows: Floats, words: Sequence[bytes] | None, separator: bytes) -> bytes:
    between = separator.decode()
    lines = [between.join(map(shortest, row)).encode() for row in rows]
    if words is not None:
        lines = [word + separator + line for word, line in zip(words, lines, strict=True)]
    return b"".join(line + b"\n" for line in lines)


def shortest(value: np.float32) -> str:
    """Return the shortest decimal that gives a float32 back, laid out as Python lays out a float."""
    return repr(float(str(value)))


def shown(text: bytes) -> str:
    """Return bytes of a file as an error shows them."""
    line = ascii(text.decode("utf-8", "surrogateescape"))
    return line if len(line) <= 60 else line[:57] + "...'"
