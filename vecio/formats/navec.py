"""navec's archives: product-quantised vectors in a tar, read only, the codes where they lie. See specs/navec.md."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from .._binary import Cursor, MappedFile
from ..embeddings import Embeddings, Parts
from ..errors import FormatError, TruncatedError, UnsupportedError
from ..matrix import ProductQuantised
from ..vocabulary import Vocabulary
from .base import Format, parse_json

Array = npt.NDArray[Any]

NAME = "navec"
META, VOCAB, PQ = "meta.json", "vocab.bin", "pq.bin"
BLOCK, MARK_PLACE = 512, 257
#: Members that are looked at, by `detect` and by `read`; bytes of the settings; bytes granted to a word on average.
FEW_MEMBERS, MOST_MEMBERS, MOST_META, WORD = 8, 64, 1 << 16, 64
#: What unpacks to more than FREE bytes must not be more than RATIO times as large as it was packed.
FREE, RATIO = 16 << 20, 100


def detect(file: MappedFile) -> str | None:
    """Return None for an archive with navec's members, else why it is none."""
    if file.size < 2 * BLOCK or file.map[MARK_PLACE : MARK_PLACE + 5] != b"ustar":
        return "does not begin as a tar archive"
    try:
        names = [name for name, _, _ in _members(file, FEW_MEMBERS)]
    except FormatError as error:
        names = []
        if file.map[:10] != b"meta.json\0":
            return f"a tar archive that is damaged: {error.message}"
        return None
    return None if PQ in names else f"a tar archive without {PQ}"


def read(file: MappedFile) -> Embeddings:
    """Open a navec archive in place. Raises FormatError where sizes or counts contradict."""
    places: dict[str, tuple[int, int]] = {}
    for name, begin, size in _members(file, MOST_MEMBERS):
        if name in places:
            raise FormatError(
                file.path,
                f"the member {ascii(name)[:60]} is there twice",
                offset=begin,
                expected="once",
                found="twice",
            )
        places[name] = begin, size
    for name in (META, VOCAB, PQ):
        if name not in places:
            there = ", ".join(ascii(other)[1:40] for other in list(places)[:8])
            raise FormatError(
                file.path,
                f"the archive has no {name}",
                offset=0,
                expected=f"{META}, {VOCAB}, {PQ}",
                found=there,
            )
    settings = _settings(file, *places[META])
    matrix = _matrix(file, *places[PQ])
    vocabulary = _vocabulary(file, *places[VOCAB], len(matrix))
    return Embeddings(Parts(vocabulary, matrix, NAME, file=file, metadata=settings))


# -- the archive ---------------------------------------------------------------------------------------------------


def _members(file: MappedFile, most: int) -> Iterator[tuple[str, int, int]]:
    """Yield name, place and size of each file in the archive, in order."""
    place, count = 0, 0
    while place + BLOCK <= file.size:
        head = file.bytes(place, place + BLOCK)
        if not head.strip(b"\0"):
            return
        count += 1
        if count > most:
            if most == MOST_MEMBERS:
                raise FormatError(
                    file.path, "too many members", offset=place, expected=f"at most {most}", found="more"
                )
            return
        size = _octal(file, head, 124, 12, place)
        total = sum(head) - sum(head[148:156]) + 8 * 32
        if _octal(file, head, 148, 8, place) != total:
            raise FormatError(
                file.path,
                "the header of a member does not have its checksum",
                offset=place + 148,
                expected=total,
                found=ascii(head[148:156].decode("latin-1")),
            )
        begin = place + BLOCK
        if size > file.size - begin:
            raise TruncatedError(
                file.path,
                "a member of the archive does not fit",
                offset=begin,
                expected=f"{size} bytes",
                found=f"{file.size - begin} bytes",
            )
        if head[156:157] in (b"0", b"\0"):
            yield head[:100].partition(b"\0")[0].decode("latin-1"), begin, size
        place = begin + -(-size // BLOCK) * BLOCK
    if not count:
        raise TruncatedError(
            file.path, "the archive has no members", offset=0, expected=f"{BLOCK} bytes", found=file.size
        )


def _octal(file: MappedFile, head: bytes, start: int, length: int, place: int) -> int:
    digits = head[start : start + length].strip(b" \0")
    if not digits or digits.strip(b"01234567"):
        raise FormatError(
            file.path,
            "a number in the header of a member",
            offset=place + start,
            expected="octal digits",
            found=ascii(digits.decode("latin-1")),
        )
    return int(digits, 8)


# -- the members ---------------------------------------------------------------------------------------------------


def _settings(file: MappedFile, begin: int, size: int) -> dict[str, Any]:
    if size > MOST_META:
        raise FormatError(
            file.path, f"{META} is too long", offset=begin, expected=f"at most {MOST_META} bytes", found=size
        )
    value = parse_json(file.bytes(begin, begin + size), f"{file.path} ({META})", MOST_META)
    if not isinstance(value, dict) or "protocol" not in value:
        raise FormatError(
            file.path,
            f"{META} names no protocol",
            offset=begin,
            expected="protocol 1",
            found=type(value).__name__,
        )
    if value["protocol"] != 1 or isinstance(value["protocol"], bool):
        raise UnsupportedError(
            f"{file.path}: navec's protocol {ascii(value['protocol'])[:40]} is not known; this vecio knows 1"
        )
    return {"id": str(value.get("id"))[:200], "protocol": 1}


def _matrix(file: MappedFile, begin: int, size: int) -> ProductQuantised:
    cursor = Cursor(file, begin)
    if size < 16:
        raise TruncatedError(
            file.path, f"{PQ} is too short", offset=begin, expected="at least 16 bytes", found=f"{size} bytes"
        )
    rows, dim, pieces, centroids = (cursor.u32(f"number {i} of {PQ}") for i in range(4))
    for i, (what, value, fine, expected) in enumerate(
        (
            ("number of vectors", rows, rows > 0, "at least 1"),
            ("dimension", dim, dim > 0, "at least 1"),
            ("number of pieces", pieces, pieces > 0 and dim % pieces == 0, f"a divisor of {dim}"),
            ("number of centroids", centroids, 0 < centroids <= 256, "1 to 256"),
        )
    ):
        if not fine:
            raise FormatError(
                file.path, f"impossible {what} in {PQ}", offset=begin + 4 * i, expected=expected, found=value
            )
    need = 16 + rows * pieces + 4 * centroids * dim
    if need != size:
        raise FormatError(
            file.path,
            f"{PQ} does not have the size that its numbers give",
            offset=begin,
            expected=f"{need} bytes ({rows} x {pieces} codes, {centroids} centroids of {dim})",
            found=f"{size} bytes",
        )
    if 1024 * dim > FREE + size * 4:  # the table of 256 centroids, where the file may have fewer
        raise UnsupportedError(
            f"{file.path}: {centroids} centroids of {dim} numbers are more in memory than their file is worth"
        )
    place = cursor.skip(rows * pieces, "the codes")
    codes = file.array(np.uint8, (rows, pieces), place, "the codes")
    width = dim // pieces
    # the fill is NaN, never to be seen: codes are checked where there is any
    table = np.full((pieces, 256, width), np.nan, np.float32)
    stored = file.array("<f4", (pieces, centroids, width), cursor.offset, "the centroids")
    table[:, :centroids] = stored
    if centroids < 256:
        _check_codes(file, codes, place, centroids)
    return ProductQuantised(codes, table.reshape(-1), dim, width, np.zeros(0, np.float32))


def _check_codes(file: MappedFile, codes: Array, place: int, centroids: int) -> None:
    step = max(1, (1 << 22) // codes.shape[1])
    for start in range(0, len(codes), step):
        wrong = np.flatnonzero(codes[start : start + step] >= centroids)
        if len(wrong):
            at = start * codes.shape[1] + int(wrong[0])
            raise FormatError(
                file.path,
                "a code points past the centroids",
                offset=place + at,
                expected=f"0 to {centroids - 1}",
                found=int(codes.reshape(-1)[at]),
            )


def _vocabulary(file: MappedFile, begin: int, size: int, rows: int) -> Vocabulary:
    most = min((1 << 20) + rows * (4 + WORD), max(FREE, RATIO * size))
    data = _unpacked(file, begin, size, most)
    found = int.from_bytes(data[:4], "little")
    if len(data) < 4 or found != rows:
        raise FormatError(
            file.path, f"the number of words in {VOCAB}", offset=begin, expected=rows, found=found
        )
    if len(data) < 4 + 4 * rows:
        raise TruncatedError(
            file.path,
            f"{VOCAB} ends inside the counts",
            offset=begin,
            expected=f"{4 + 4 * rows} bytes unpacked",
            found=f"{len(data)} bytes",
        )
    counts = np.frombuffer(data, "<u4", rows, 4).astype(np.int64)
    blob = np.frombuffer(data[4 + 4 * rows :] + b"\n", np.uint8)
    ends = np.flatnonzero(blob == 10)
    if len(ends) == rows + 1 and len(blob) > 1 and blob[-2] == 10:  # a line end behind the last word
        ends, blob = ends[:-1], blob[:-1]
    if len(ends) != rows:
        raise FormatError(
            file.path,
            f"the words in {VOCAB}",
            offset=begin,
            expected=f"{rows} lines",
            found=f"{len(ends)} lines",
        )
    offsets = np.zeros(rows + 1, np.int64)
    np.add(ends, 1, out=offsets[1:])
    return Vocabulary(rows, rows, arrays=(blob, offsets, 1), counts=counts)


def _unpacked(file: MappedFile, begin: int, size: int, most: int) -> bytes:
    """Return what a gzip member unpacks to, at most `most` bytes."""
    unpacker = zlib.decompressobj(31)
    try:
        data = unpacker.decompress(file.bytes(begin, begin + size), most + 1)
    except zlib.error as error:
        raise FormatError(
            file.path, f"{VOCAB} is damaged", offset=begin, expected="gzip", found=ascii(str(error))[1:80]
        ) from None
    if len(data) > most:
        raise FormatError(
            file.path,
            f"{VOCAB} unpacks to more than its words can take",
            offset=begin,
            expected=f"at most {most} bytes",
            found="more",
        )
    if not unpacker.eof or unpacker.unused_data:
        raise TruncatedError(
            file.path,
            f"{VOCAB} is not one whole gzip stream",
            offset=begin,
            expected="its end at the end of the member",
            found=f"{len(unpacker.unused_data)} bytes behind it" if unpacker.eof else "no end",
        )
    return data


FORMAT = Format(NAME, (".tar",), detect, read)
