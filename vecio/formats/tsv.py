"""The pair of files of the embedding projector: `vectors.tsv` (numbers) and `metadata.tsv` (words). The bytes:
`specs/tsv.md`.

The file with the numbers is the one that is opened and named; the other one is found beside it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _text
from .._binary import MappedFile, MappedGroup, atomic_write
from .._text import Layout, is_number
from ..embeddings import Embeddings, Parts
from ..errors import FormatError, UnsupportedError
from ..matrix import Float32
from ..vocabulary import Vocabulary
from .base import COUNTS, Fate, Format, Progress, Written, plain_dtype, vector_blocks
from .base import fate as common_fate

Array = npt.NDArray[Any]

NAME = "tsv"
#: How the name of the one file follows from that of the other.
PAIRS = (("vectors", "metadata"), ("vecs", "meta"), ("tensor", "metadata"), ("embeddings", "metadata"))
#: Bytes that detection looks at; names of the columns with words and with counts.
LOOK = 1 << 16
WORD_COLUMNS = ("word", "words", "label", "token", "name", "key", "title")
COUNT_COLUMNS = ("count", "counts", "freq", "frequency")
BOM, UTF16 = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
#: Counts from here on are not written: they have more digits than are read as a count.
MOST_COUNTED = 10**18
_INTEGER = re.compile(rb"[0-9]{1,18}").fullmatch


def metadata_path(path: str) -> str:
    """Return where the words of the vectors in `path` are expected."""
    folder, name = os.path.split(path)
    stem, extension = os.path.splitext(name)
    for vectors, metadata in PAIRS:
        if stem.endswith(vectors):
            return os.path.join(folder, stem[: len(stem) - len(vectors)] + metadata + extension)
    return os.path.join(folder, f"{stem}-metadata{extension}")


def detect(file: MappedFile) -> str | None:
    """Return None where the first line is numbers between tabs and the words' file is there, else why not."""
    first = file.bytes(0, min(file.size, LOOK)).removeprefix(BOM).split(b"\n", 1)[0].rstrip(b"\r")
    fields = first.split(b"\t")
    if len(fields) > 1 and file.size > LOOK and len(first) >= LOOK - len(BOM):
        fields.pop()  # cut in the middle
    if not all(map(is_number, fields)):
        return "the first line is not numbers between tabs"
    if not os.path.isfile(metadata_path(file.path)):
        return f"there is no {os.path.basename(metadata_path(file.path))} beside it"
    return None


def read(
    file: MappedFile, *, words: str | None = None, limit: int | None = None, scratch: str | bool = False
) -> Embeddings:
    """Parse both files. words: the file with the words, where it is not found by its name."""
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise ValueError(f"limit must be a number of words, not {limit!r}")
    start = len(BOM) if file.bytes(0, 3) == BOM else 0
    end = _text.trimmed_end(file, start)
    newline = file.map.find(b"\n", start, min(file.size, start + (16 << 20)))
    first = file.bytes(start, end if newline < 0 else min(newline, end, start + (16 << 20)))
    dim = len(first.rstrip(b" \t\r").split(b"\t"))
    if end == start or not first.strip():
        raise FormatError(file.path, "line 1 is empty", offset=start, expected="numbers", found="nothing")
    place = metadata_path(file.path) if words is None else os.fspath(words)
    metadata = MappedFile.open(place, copy=file.copied)
    try:
        layout = Layout(dim, b"\t", words=False)
        parsed = _text.parse(file, start, end, layout, limit, scratch)
        rows = len(parsed.offsets) - 1
        data = _metadata(metadata)
        lines = (
            data.count(b"\n") + 1 - (b"\t" in data[: data.find(b"\n") + 1])
        )  # without the names of columns
        if lines != rows and (limit is None or lines < rows):
            raise FormatError(
                place, f"words for the rows of {os.path.basename(file.path)}", offset=0,
                expected=f"{rows} lines", found=lines,
            )  # fmt: skip
        keys, counts = _words(metadata, data)
    except BaseException:
        metadata.close()
        raise
    group = parsed.file or MappedGroup(file.path, [file])
    group.files.append(metadata)
    known = None if counts is None else counts[:rows]
    return Embeddings(
        Parts(Vocabulary.from_words(keys[:rows], known), Float32(parsed.values), NAME, file=group)
    )


def _metadata(file: MappedFile) -> bytes:
    """Return the lines of the words' file, without a line end behind the last."""
    data = file.bytes(0, file.size).removeprefix(BOM)
    if data.startswith(UTF16):
        raise FormatError(
            file.path, "it looks like UTF-16", offset=0, expected="UTF-8", found=data[:8].hex(" ")
        )
    return data.removesuffix(b"\n")


def _words(file: MappedFile, data: bytes) -> tuple[list[bytes], Array | None]:
    """Return the words and, where there is such a column, the counts."""
    lines = data.split(b"\n")
    if all(line.endswith(b"\r") for line in lines[:-1]) and len(lines) > 1:
        lines = [line.removesuffix(b"\r") for line in lines]
    if b"\t" not in lines[0]:
        return lines, None
    names = [name.decode("utf-8", "replace").strip().lower() for name in lines[0].split(b"\t")]
    rows = []
    for i, line in enumerate(lines[1:], 2):
        fields = line.split(b"\t")
        if len(fields) != len(names):
            raise FormatError(
                file.path, f"line {i}", offset=sum(map(len, lines[: i - 1])) + i - 1,
                expected=f"{len(names)} columns", found=len(fields),
            )  # fmt: skip
        rows.append(fields)
    word = next((names.index(name) for name in WORD_COLUMNS if name in names), 0)
    count = next((names.index(name) for name in COUNT_COLUMNS if name in names), None)
    counts = None
    if count is not None and all(_INTEGER(fields[count]) for fields in rows):
        counts = np.array([int(fields[count]) for fields in rows], np.int64)
    return [fields[word] for fields in rows], counts


def write(
    embeddings: Embeddings,
    path: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    progress: Progress | None = None,
) -> Written:
    """Write the vectors to `path` and the words beside it (see `metadata_path`), with their counts where known."""
    chosen = plain_dtype(dtype)
    name = os.fsdecode(os.fspath(path))
    e, counts = embeddings, _counts(embeddings)
    if not len(e):
        raise UnsupportedError(f"{name}: a text file cannot hold a model without words")
    if counts is None and e._vocabulary.entry(0).startswith(UTF16):
        raise UnsupportedError(f"{name}: the first word begins as UTF-16 does, and would be taken for it")
    with atomic_write(metadata_path(name)) as words, atomic_write(path) as vectors:
        if counts is not None:
            words.write(b"word\tcount\n")
        for start, stop, rows in vector_blocks(e, progress):
            keys = e._vocabulary.entries(start, stop)
            if counts is None:
                words.write(b"".join([key + b"\n" for key in keys]))
            else:
                numbers = counts[start:stop].tolist()
                words.write(b"".join(b"%b\t%d\n" % pair for pair in zip(keys, numbers, strict=True)))
            for piece in _text.lines_of(rows, None, b"\t"):
                vectors.write(piece)
    return Written(chosen)


def _counts(e: Embeddings) -> Array | None:
    """Return the counts that are written: all, or none."""
    counts = e.counts
    fine = counts is not None and not ((counts < 0) | (counts >= MOST_COUNTED)).any()
    return counts if fine else None


def refuses(word: bytes) -> str | None:
    """Say why a word cannot be a line, or return None."""
    if b"\n" in word or b"\t" in word:
        return "it holds a newline or a tab"
    if word.endswith(b"\r"):
        return "it ends with a carriage return"
    return "it begins with a byte-order mark" if word.startswith(BOM) else None


def fate(e: Embeddings, dtype: str | None, options: Mapping[str, Any]) -> Fate:
    """Return what the files will keep, round and lose."""
    return common_fate(e, plain_dtype(dtype), [] if _counts(e) is None else [COUNTS])


FORMAT = Format(
    NAME,
    (".tsv",),
    detect,
    read,
    write,
    beside=lambda path: [metadata_path(path)],
    fate=fate,
    refuses=refuses,
)
