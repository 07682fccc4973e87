"""Reads fastText's `.bin` and `.ftz`, and floret's `.bin`, in place.

A dense file is opened without a scan: the places of both matrices follow from the header and the file's length, and
their own headers must agree there. A small dictionary is checked entry by entry all the same; a large one when its
index is made. Everything else (quantised, pruned, without output) is walked from the front.
"""

from __future__ import annotations

import re
import struct
from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import _effort
from ..._binary import Cursor, MappedFile
from ...classifier import Classifier
from ...embeddings import Embeddings, Parts
from ...errors import FormatError, TruncatedError
from ...matrix import Float32, Matrix, Quantised
from ...subwords import Subwords
from ...vocabulary import UNDECIDED, Vocabulary

Array = npt.NDArray[Any]

MAGIC = 793712314
NEWEST = 12
#: The args block, in order: name and whether it is read as a 32-bit integer.
ARGS = (
    "dim",
    "ws",
    "epoch",
    "minCount",
    "neg",
    "wordNgrams",
    "loss",
    "model",
    "bucket",
    "minn",
    "maxn",
    "lrUpdateRate",
)
FLORET_ARGS = (*ARGS[:-1], "mode", "hashCount", "lrUpdateRate")
LOSSES = {1: "hs", 2: "ns", 3: "softmax", 4: "ova"}
MODELS = {1: "cbow", 2: "skipgram", 3: "supervised"}
#: Bytes of an entry besides its word: NUL, count, type.
ENTRY_REST = 10
#: A dictionary up to this size is walked when the file is opened.
EAGER = 1 << 20
#: Seconds for a byte that is searched, for an entry that is walked over by a pattern, and by plain Python.
BYTE_COST, WALK_COST, SCAN_COST = 0.6e-9, 80e-9, 0.45e-6


@dataclass
class Header:
    """The numbers before the dictionary. kind: "fasttext", "floret" or "old" (no magic, no flags)."""

    kind: str
    version: int
    args: dict[str, Any]
    size: int
    nwords: int
    nlabels: int
    ntokens: int
    pruned: int
    dictionary: int  # offset of the first entry

    @property
    def supervised(self) -> bool:
        return bool(self.args["model"] == 3)

    @property
    def rows(self) -> int:
        """Rows of a dense input matrix."""
        return self.nwords + int(self.args["bucket"])

    @property
    def output_rows(self) -> int:
        return self.nlabels if self.supervised else self.nwords

    @property
    def flag(self) -> int:
        """Bytes of the flag before each matrix."""
        return 0 if self.kind == "old" else 1


@dataclass
class Layout:
    """Where everything lies: the end of the dictionary (its entries, if they were walked), matrices, pruned pairs."""

    end: int
    offsets: Array | None
    words: Matrix
    grams: Matrix | None
    output: Matrix | None
    pruned: Array | None
    quantised: bool


def detect(file: MappedFile) -> str | None:
    """Return None for a fastText model, old ones without magic among them; else why it is none."""
    if not _has_magic(file) and not _is_old(file):
        return f"does not begin with fastText's magic number {MAGIC}"
    return "has floret's longer header" if _is_floret(file) else None


def detect_floret(file: MappedFile) -> str | None:
    """Return None for a model that floret wrote; else why it is none."""
    return None if _has_magic(file) and _is_floret(file) else "does not have floret's longer header"


def _has_magic(file: MappedFile) -> bool:
    """Say whether the file begins with the magic number, in either byte order (the reader refuses the wrong one)."""
    return file.size >= 4 and MAGIC in (
        struct.unpack_from("<i", file.map, 0)[0],
        struct.unpack_from(">i", file.map, 0)[0],
    )


def read(file: MappedFile, **options: Any) -> Embeddings:
    """Open a fastText or floret model in place. Raises FormatError where any size, count or flag contradicts."""
    header = _read_header(file)
    _check_header(file, header)
    layout = _dense_layout(file, header) or _walked_layout(file, header)
    return _assemble(file, header, layout)


# -- the header ----------------------------------------------------------------------------------------------------


def _read_header(file: MappedFile) -> Header:
    cursor = Cursor(file)
    magic = cursor.i32("the magic number")
    if magic != MAGIC:
        if struct.unpack(">i", struct.pack("<i", magic))[0] == MAGIC:
            raise FormatError(
                file.path,
                "the file was written by a big-endian machine",
                offset=0,
                expected=MAGIC,
                found=magic,
            )
        if _is_old(file):
            return _read_fields(Cursor(file), "old", 0)
        raise FormatError(file.path, "not a fastText model", offset=0, expected=f"magic {MAGIC}", found=magic)
    version = cursor.i32("the version")
    if not 1 <= version <= NEWEST:
        reason = (
            "a newer version of the format than is known" if version > NEWEST else "no version of the format"
        )
        raise FormatError(file.path, reason, offset=4, expected=f"1 to {NEWEST}", found=version)
    return _read_fields(cursor, "floret" if _is_floret(file) else "fasttext", version)


def _read_fields(cursor: Cursor, kind: str, version: int) -> Header:
    args: dict[str, Any] = {name: cursor.i32(name) for name in (FLORET_ARGS if kind == "floret" else ARGS)}
    args["t"] = cursor.f64("t")
    size = cursor.i32("size (the number of dictionary entries)")
    nwords = cursor.i32("nwords")
    nlabels = cursor.i32("nlabels")
    ntokens = cursor.i64("ntokens")
    pruned = -1 if kind == "old" else cursor.i64("pruneidx_size")
    return Header(kind, version, args, size, nwords, nlabels, ntokens, pruned, cursor.offset)


def _plausible(file: MappedFile, place: int) -> bool:
    """Say whether a dictionary header can begin here: size = nwords + nlabels, nothing negative."""
    if file.size < place + 20:
        return False
    size, nwords, nlabels, ntokens = struct.unpack_from("<iiiq", file.map, place)
    return bool(size > 0 and nwords >= 0 and nlabels >= 0 and ntokens >= 0 and size == nwords + nlabels)


def _is_floret(file: MappedFile) -> bool:
    """Say whether the args block has floret's two more numbers; nothing in the file says so."""
    if file.size < 72 or _plausible(file, 64) or not _plausible(file, 72):
        return False
    mode, hash_count = struct.unpack_from("<ii", file.map, 52)
    return mode in (1, 2) and 1 <= hash_count <= 4


def _is_old(file: MappedFile) -> bool:
    """Say whether this is a file from before May 2017, which has no magic: its sizes must agree exactly."""
    if file.size < 76 + ENTRY_REST + 32 or not _plausible(file, 56):
        return False
    header = _read_fields(Cursor(file), "old", 0)
    args = header.args
    if args["dim"] < 1 or args["model"] not in MODELS or args["loss"] not in LOSSES or args["bucket"] < 0:
        return False
    return _tail(file, header) is not None


def _check_header(file: MappedFile, header: Header) -> None:
    """Refuse numbers that no model can have, before anything is done with them."""
    base = 0 if header.kind == "old" else 8
    names = FLORET_ARGS if header.kind == "floret" else ARGS

    def refuse(name: str, expected: str, offset: int | None = None) -> None:
        place = base + 4 * names.index(name) if offset is None else offset
        found = header.args.get(name, getattr(header, name, None))
        raise FormatError(file.path, f"impossible {name}", offset=place, expected=expected, found=found)

    args, place = header.args, base + 4 * len(names) + 8
    if args["dim"] < 1:
        refuse("dim", "at least 1")
    if args["loss"] not in LOSSES:
        refuse("loss", "1 to 4")
    if args["model"] not in MODELS:
        refuse("model", "1 to 3")
    if args["bucket"] < 0:
        refuse("bucket", "at least 0")
    if header.kind == "floret" and not (args["mode"] in (1, 2) and 1 <= args["hashCount"] <= 4):
        refuse("hashCount", "1 to 4")
    if header.size < 1:
        refuse("size", "at least 1 entry", place)
    if header.nwords < 1:
        refuse("nwords", "at least 1", place + 4)
    if header.nlabels < 0:
        refuse("nlabels", "at least 0", place + 8)
    if header.size != header.nwords + header.nlabels:
        refuse("size", f"nwords + nlabels = {header.nwords + header.nlabels}", place)
    if header.supervised and header.nlabels < 1:
        refuse("nlabels", "at least 1 in a supervised model", place + 8)
    room = file.size - header.dictionary
    if header.size * ENTRY_REST > room:
        raise TruncatedError(
            file.path,
            f"{header.size} dictionary entries do not fit",
            offset=place,
            expected=f"at least {header.size * ENTRY_REST} bytes",
            found=f"{room} bytes",
        )
    if header.pruned > 0 and header.pruned * 8 > room:
        raise TruncatedError(
            file.path,
            f"{header.pruned} pruned pairs do not fit",
            offset=place + 20,
            expected=f"{header.pruned * 8} bytes",
            found=f"{room} bytes",
        )
    _forget_ngrams_of_old_classifiers(header)
    hashed = (args["maxn"] > 0 and args["minn"] <= args["maxn"]) or (
        header.supervised and args["wordNgrams"] > 1
    )
    if hashed and args["bucket"] < 1:
        refuse("bucket", "at least 1 in a model with n-grams")


def _forget_ngrams_of_old_classifiers(header: Header) -> None:
    """Follow the real loader: classifiers of version 11 have no character n-grams, whatever their header says."""
    if header.supervised and header.version in (0, 11):
        header.args["maxn"] = 0


# -- places --------------------------------------------------------------------------------------------------------


def _tail(file: MappedFile, header: Header) -> tuple[int, int | None] | None:
    """Return where the input and output matrices' headers begin if both are dense, by arithmetic from the file's end.

    A word model's output may be empty, or missing altogether (files of the Rust finalfusion library); its place is
    None then. None when the bytes there disagree.
    """
    dim, flag = int(header.args["dim"]), header.flag
    head = flag + 16
    whole_input = head + 4 * header.rows * dim
    least = header.dictionary + header.size * ENTRY_REST
    for rows in (header.output_rows, 0):
        output = file.size - head - 4 * rows * dim
        place = output - whole_input
        if (
            place >= least
            and _dense_header(file, place, flag, header.rows, dim, {0})
            and _dense_header(file, output, flag, rows, dim, {0, 1})
        ):
            return place, output if rows else None
        if header.supervised:
            return None
    place = file.size - whole_input
    if place >= least and _dense_header(file, place, flag, header.rows, dim, {0}):
        return place, None
    return None


def _dense_header(file: MappedFile, place: int, flag: int, rows: int, dim: int, flags: set[int]) -> bool:
    if flag and file.map[place] not in flags:
        return False
    return bool(struct.unpack_from("<qq", file.map, place + flag) == (rows, dim))


def _dense_layout(file: MappedFile, header: Header) -> Layout | None:
    """Place everything without a scan, when the dictionary is too large to be walked now and the sizes agree."""
    places = _tail(file, header)
    if places is None or header.pruned >= 0 or places[0] - header.dictionary <= EAGER:
        return None
    rows = _dense_rows(file, places[0], header, "the input matrix", header.rows)
    output = (
        None
        if places[1] is None
        else Float32(_dense_rows(file, places[1], header, "the output matrix", header.output_rows))
    )
    return Layout(
        places[0], None, Float32(rows[: header.nwords]), _grams(rows, header.nwords), output, None, False
    )


def _dense_rows(file: MappedFile, place: int, header: Header, what: str, rows: int) -> Array:
    return file.array("<f4", (rows, int(header.args["dim"])), place + header.flag + 16, what)


def _grams(rows: Array, nwords: int) -> Matrix | None:
    return Float32(rows[nwords:]) if len(rows) > nwords else None


def _walked_layout(file: MappedFile, header: Header) -> Layout:
    """Place everything by walking the file from the front; every contradiction is found and said here."""
    offsets = scan(file, header)
    end = header.dictionary + int(offsets[-1])
    cursor = Cursor(file, end)
    pruned = _read_pairs(cursor, header)
    quantised = header.flag and _read_flag(cursor, "the flag of the input matrix")
    if pruned is not None and not quantised:
        raise FormatError(
            file.path,
            "a dense model cannot be pruned",
            offset=end,
            expected="pruneidx_size -1",
            found=header.pruned,
        )
    kept = header.nwords + (int(header.args["bucket"]) if pruned is None else len(pruned))
    matrix = _read_matrix(cursor, bool(quantised), "the input matrix", kept, int(header.args["dim"]))
    output = _read_output(cursor, header, bool(quantised))
    if cursor.offset != file.size:
        raise FormatError(
            file.path,
            "there are bytes after the end of the model",
            offset=cursor.offset,
            expected=f"{cursor.offset} bytes",
            found=f"{file.size} bytes",
        )
    grams = matrix.part(header.nwords, kept) if header.args["bucket"] > 0 else None
    return Layout(end, offsets, matrix.part(0, header.nwords), grams, output, pruned, bool(quantised))


def _read_flag(cursor: Cursor, name: str) -> int:
    place = cursor.offset
    flag = cursor.u8(name)
    if flag > 1:
        raise FormatError(
            cursor.file.path, f"impossible value of {name}", offset=place, expected="0 or 1", found=flag
        )
    return flag


def _read_pairs(cursor: Cursor, header: Header) -> Array | None:
    """Return the pruned pairs, int64 (P, 2) of bucket and row, or None when nothing was pruned."""
    if header.pruned < 0:
        return None
    place = cursor.skip(8 * header.pruned, "the pruned pairs")
    pairs = cursor.file.array("<i4", (header.pruned, 2), place, "the pruned pairs").astype(np.int64)
    wrong = np.flatnonzero((pairs[:, 1] < 0) | (pairs[:, 1] >= header.pruned))
    if len(wrong):
        raise FormatError(
            cursor.file.path,
            f"pruned pair {wrong[0]} points outside the rows that were kept",
            offset=place + 8 * int(wrong[0]) + 4,
            expected=f"0 to {header.pruned - 1}",
            found=int(pairs[wrong[0], 1]),
        )
    return pairs


def _read_output(cursor: Cursor, header: Header, quantised: bool) -> Matrix | None:
    if cursor.offset == cursor.file.size and not header.supervised:
        return None  # the Rust finalfusion library writes no output matrix
    flag = header.flag and _read_flag(cursor, "the flag of the output matrix (qout)")
    dim = int(header.args["dim"])
    empty = struct.pack("<qq", 0, dim)
    if not header.supervised and not flag and cursor.file.bytes(cursor.offset, cursor.offset + 17) == empty:
        cursor.skip(16, "the shape of the output matrix")
        return None
    return _read_matrix(cursor, bool(quantised and flag), "the output matrix", header.output_rows, dim)


def _read_matrix(cursor: Cursor, quantised: bool, what: str, rows: int, dim: int) -> Matrix:
    if quantised:
        return _read_quantised(cursor, what, rows, dim)
    _read_shape(cursor, what, rows, dim)
    place = cursor.skip(4 * rows * dim, f"the numbers of {what}")
    return Float32(cursor.file.array("<f4", (rows, dim), place, what))


def _read_shape(cursor: Cursor, what: str, rows: int, dim: int) -> None:
    for name, expected in (("rows", rows), ("columns", dim)):
        _expect(cursor, cursor.i64, f"the number of {name} of {what}", expected)


def _expect(cursor: Cursor, number: Any, name: str, expected: int) -> None:
    """Read one number that the numbers before it determine."""
    place = cursor.offset
    found = number(name)
    if found != expected:
        raise FormatError(
            cursor.file.path, f"wrong value of {name}", offset=place, expected=expected, found=found
        )


def _read_quantised(cursor: Cursor, what: str, rows: int, dim: int) -> Matrix:
    qnorm = _read_flag(cursor, f"qnorm of {what}")
    _read_shape(cursor, what, rows, dim)
    place = cursor.offset
    codesize = cursor.i32(f"codesize of {what}")
    if codesize < 1 or codesize % rows:
        raise FormatError(
            cursor.file.path,
            f"wrong codesize of {what}",
            offset=place,
            expected=f"a multiple of {rows} rows",
            found=codesize,
        )
    pieces = codesize // rows
    if pieces > dim:
        raise FormatError(
            cursor.file.path,
            f"wrong codesize of {what}",
            offset=place,
            expected=f"at most {rows * dim}",
            found=codesize,
        )
    place = cursor.skip(codesize, f"the codes of {what}")
    codes = cursor.file.array(np.uint8, (rows, pieces), place, f"the codes of {what}")
    dsub, centroids = _read_quantiser(cursor, what, dim, pieces)
    if not qnorm:
        return Quantised(codes, centroids, dim, dsub, None, None)
    place = cursor.skip(rows, f"the norm codes of {what}")
    norm_codes = cursor.file.array(np.uint8, rows, place, f"the norm codes of {what}")
    levels = _read_quantiser(cursor, f"the norms of {what}", 1, 1)[1]
    return Quantised(codes, centroids, dim, dsub, norm_codes, levels)


def _read_quantiser(cursor: Cursor, what: str, dim: int, pieces: int) -> tuple[int, Array]:
    """Return dsub and the centroids (float32, 256 * dim, copied to be aligned)."""
    _expect(cursor, cursor.i32, f"dim of the quantiser of {what}", dim)
    _expect(cursor, cursor.i32, f"nsubq of the quantiser of {what}", pieces)
    place = cursor.offset
    dsub = cursor.i32(f"dsub of the quantiser of {what}")
    if dsub < 1 or -(-dim // dsub) != pieces or (dim == 1 and dsub != 1):
        raise FormatError(
            cursor.file.path,
            f"wrong value of dsub of the quantiser of {what}",
            offset=place,
            expected=f"a width that cuts {dim} columns into {pieces}",
            found=dsub,
        )
    _expect(cursor, cursor.i32, f"lastdsub of the quantiser of {what}", dim % dsub or dsub)
    place = cursor.skip(1024 * dim, f"the centroids of {what}")
    return dsub, cursor.file.array("<f4", 256 * dim, place, f"the centroids of {what}").copy()


# -- the dictionary ------------------------------------------------------------------------------------------------


def scan(file: MappedFile, header: Header, end: int | None = None) -> Array:
    """Walk all entries; return where they begin, relative to the first, and where the last ends (int64, size + 1).

    end: where the dictionary must end, if that is known. Raises FormatError with the entry and its place.
    """
    stop = file.size if end is None else end
    if _effort.kernels_due(header.size * SCAN_COST):
        offsets, done, place = _scan_compiled(file, header, stop)
    else:
        offsets, done, place = _scan_plain(file, header, stop)
    if done < header.size:
        raise _entry_error(file, header, done, header.dictionary + place, stop)
    if end is not None and header.dictionary + place != end:
        raise FormatError(
            file.path,
            "the dictionary does not end where the input matrix begins",
            offset=header.dictionary + place,
            expected=end,
            found=header.dictionary + place,
        )
    return offsets


def _scan_compiled(file: MappedFile, header: Header, stop: int) -> tuple[Array, int, int]:
    from ...kernels import lookup

    blob = file.array(np.uint8, stop - header.dictionary, header.dictionary, "the dictionary")
    offsets = np.empty(header.size + 1, np.int64)
    done, place = lookup.scan_entries(blob, header.size, header.nwords, offsets)
    return offsets, done, place


def _scan_plain(file: MappedFile, header: Header, stop: int) -> tuple[Array, int, int]:
    data, first = file.map, header.dictionary
    offsets = array("q", [0])  # a list of numbers would take five times as much
    place = first
    for i in range(header.size):
        end = data.find(b"\0", place, stop)
        if end < 0 or end + ENTRY_REST > stop or data[end + 9] != (i >= header.nwords):
            return np.frombuffer(offsets, np.int64), i, place - first
        place = end + ENTRY_REST
        offsets.append(place - first)
    return np.frombuffer(offsets, np.int64), header.size, place - first


def _entry_error(file: MappedFile, header: Header, i: int, place: int, stop: int) -> FormatError:
    """Say what is wrong with entry `i`, which begins at `place`."""
    end = file.map.find(b"\0", place, stop)
    name = f"dictionary entry {i} of {header.size}"
    if end < 0:
        return TruncatedError(
            file.path,
            f"{name} has no end",
            offset=place,
            expected="a NUL byte",
            found=f"{stop - place} bytes without one",
        )
    if end + ENTRY_REST > stop:
        return TruncatedError(
            file.path,
            f"the file ends inside {name}",
            offset=end + 1,
            expected=f"{ENTRY_REST - 1} bytes (count and type)",
            found=f"{stop - end - 1} bytes",
        )
    expected = "0 (word)" if i < header.nwords else "1 (label)"
    return FormatError(
        file.path, f"wrong type of {name}", offset=end + 9, expected=expected, found=file.map[end + 9]
    )


class Dictionary:
    """fastText's dictionary where it lies: the scanner of a `Vocabulary`.

    Single words are found by searching the mapped bytes. A candidate is a word if walking all entries before it, by a
    pattern at C speed, ends exactly there; the number of entries walked is its row.
    """

    _ENTRY = rb"[^\0]*\0(?s:.{8})[\0\1]"
    _one = re.compile(_ENTRY)
    _many = re.compile(_ENTRY * 16)
    #: Wrong candidates after which an index is the better way.
    PATIENCE = 4

    def __init__(self, file: MappedFile, header: Header, end: int, offsets: Array | None = None) -> None:
        self._file, self._header, self._end = file, header, end
        self._offsets = offsets

    def find_cost(self) -> float:
        return (self._end - self._header.dictionary) * BYTE_COST + self._header.size * WALK_COST / 2

    def find(self, key: bytes) -> int:
        if not key or b"\0" in key:
            return UNDECIDED if not key else -1
        data, first, size = self._file.map, self._header.dictionary, len(key)
        place = first
        for _ in range(self.PATIENCE):
            place = self._candidate(key + b"\0", place)
            if place < 0:
                return -1
            row, reached = self._walk(first, place, self._header.size)
            if reached == place and data[place + size] == 0:
                return row
            place += 1
        return UNDECIDED

    def _candidate(self, text: bytes, place: int) -> int:
        """Return the next place where `text` can be a whole word: what surrounds it must look like an entry."""
        data, first, end = self._file.map, self._header.dictionary, self._end
        while True:
            place = data.find(text, place, end)
            if place < 0:
                return -1
            after = place + len(text) + 8
            if after < end and data[after] < 2:
                if place == first or (place - first >= 10 and data[place - 1] < 2 and data[place - 10] == 0):
                    return place
            place += 1

    def _walk(self, start: int, stop: int, most: int) -> tuple[int, int]:
        """Walk from the entry at `start` up to `stop`, at most `most` entries; return how many, and the place."""
        data, count = self._file.map, 0
        for pattern, step in ((self._many, 16), (self._one, 1)):
            match = pattern.match
            while count + step <= most:
                found = match(data, start, stop)
                if found is None:
                    break
                start = found.end()
                count += step
        return count, start

    def entry(self, i: int) -> bytes:
        count, place = self._walk(self._header.dictionary, self._end, i)
        end = self._file.map.find(b"\0", place, self._end)
        if count != i or end < 0:
            raise _entry_error(self._file, self._header, count, place, self._end)
        return self._file.bytes(place, end)

    def index(self) -> tuple[Array, Array, int]:
        blob = self._file.array(
            np.uint8, self._end - self._header.dictionary, self._header.dictionary, "the dictionary"
        )
        if self._offsets is None:
            self._offsets = scan(self._file, self._header, self._end)
        return blob, self._offsets, ENTRY_REST

    def counts(self, offsets: Array) -> Array:
        blob = self.index()[0]
        counts = np.empty(len(offsets) - 1, np.int64)
        for start in range(0, len(counts), 1 << 16):
            places = offsets[start + 1 : start + 1 + (1 << 16), None] - 9 + np.arange(8)
            counts[start : start + len(places)] = blob[places].view("<i8")[:, 0]
        return counts


# -- putting it together -------------------------------------------------------------------------------------------


def _assemble(file: MappedFile, header: Header, layout: Layout) -> Embeddings:
    args = header.args
    vocabulary = Vocabulary(
        header.size,
        header.nwords,
        scanner=Dictionary(file, header, layout.end, layout.offsets),
    )
    floret = header.kind == "floret" and args["mode"] == 2
    subwords = None
    if args["bucket"] > 0:
        subwords = Subwords(
            args["minn"],
            args["maxn"],
            args["bucket"],
            "floret" if floret else "fasttext",
            args["hashCount"] if floret else 1,
            layout.pruned,
        )
    classifier = None
    if header.supervised:
        assert layout.output is not None
        classifier = Classifier(
            vocabulary,
            layout.words,
            layout.grams,
            subwords,
            layout.output,
            LOSSES[args["loss"]],
            args["wordNgrams"],
            path=file.path,
        )
    return Embeddings(
        Parts(
            vocabulary,
            layout.words,
            "floret" if header.kind == "floret" else "fasttext",
            file=file,
            grams=layout.grams,
            subwords=subwords,
            accumulated=False,
            classifier=classifier,
            output=layout.output,
            metadata=_metadata(header, layout),
        )
    )


def _metadata(header: Header, layout: Layout) -> dict[str, Any]:
    """Return the settings under fastText's own names."""
    named = {"loss": LOSSES[header.args["loss"]], "model": MODELS[header.args["model"]]}
    if header.kind == "floret":
        named["mode"] = {1: "fasttext", 2: "floret"}[header.args["mode"]]
    return {
        **header.args,
        **named,
        "version": header.version,
        "ntokens": header.ntokens,
        "nlabels": header.nlabels,
        "quantized": layout.quantised,
        "pruned": None if layout.pruned is None else len(layout.pruned),
    }
