"""What a format is to the rest of vecio: one record with its name, its test, its reader, its writer and its limits."""

from __future__ import annotations

import codecs
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from .._binary import Folder, MappedFile, MappedGroup
from .._json import json_value as json_value
from .._json import parse_json as parse_json
from .._rounding import Tally
from .._threads import run_chunks
from ..embeddings import Embeddings
from ..errors import FormatError
from ..matrix import Matrix

#: What a reader gets: a mapped file, or a folder whose files it maps. (Union: a Python 3.10 alias is evaluated.)
Source = Union[MappedFile, Folder]  # noqa: UP007

#: Called with rows done and rows in all.
Progress = Callable[[int, int], None]

#: What a model may hold besides words and vectors; a format names those that it can carry.
COUNTS = "the counts of the words"
UNKNOWN = "vectors for unknown words"
LABELS = "labels and their prediction"
RAW = "the words' own rows and the output matrix of the training"
#: ... and what a file may have of it, if not both.
OWN, OUTPUT = "the words' own rows", "the output matrix of the training"
LENGTHS = "the lengths that the vectors had before they were scaled"
ENCODER = "the tokenizer, and with it sentence vectors"
SETTINGS = "the settings"
#: What a format loses that knows no words: every vector is made of n-grams.
WORDS = "the list of the words"
#: What most formats keep.
ALL_WORDS = "the words, their order and bytes"


@dataclass
class Fate:
    """What a writer will do to a model, said before the first byte is written.

    dtype: how numbers will be stored. kept, approximated, lost: properties of the model, in words. added: what the
    model does not say and the format must, such as counts that are made up.
    """

    dtype: str
    kept: list[str] = field(default_factory=list)
    approximated: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Written:
    """What a writer did: the dtype, and what rounding did to word rows and n-gram rows where it was counted."""

    dtype: str
    words: Tally | None = None
    grams: Tally | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Format:
    """One file format.

    name: what users call it. extensions: lower case, with the dot, the usual one first (a format written as several
        files names the main one). folder: whether it is a folder, not a file.
    detect: looks at the content only; returns None when the source is of this format, else why it is not. It must be
        quick, bounded and must not raise for any bytes.
    read: `read(source, **options)` makes an `Embeddings`; raises FormatError. Its keyword parameters are its options.
    write: `write(embeddings, path, *, dtype=None, progress=None, **options)` -> Written, or None when vecio does not
        write the format. Atomic, streaming. Its keyword parameters are its options.
    fate: `fate(embeddings, dtype, options)` -> Fate of a model that is written (see `fate` below).
    refuses: says why a word (bytes) cannot be written, or None; where it is None every word can.
    refuses_for: returns such a test for one model, where it depends on the model what a file can hold.
    unique: whether a word can stand in a file only once.
    dtypes: the dtype that an extension stands for, where the caller names none.
    beside: the other files that are written beside a path.
    """

    name: str
    extensions: tuple[str, ...]
    detect: Callable[[Any], str | None]
    read: Callable[..., Embeddings]
    write: Callable[..., Written] | None = None
    folder: bool = False
    fate: Callable[[Embeddings, str | None, Mapping[str, Any]], Fate] | None = None
    refuses: Callable[[bytes], str | None] | None = None
    refuses_for: Callable[[Embeddings], Callable[[bytes], str | None] | None] | None = None
    unique: bool = False
    dtypes: Mapping[str, str] = field(default_factory=dict)
    beside: Callable[[str], list[str]] = lambda path: []

    def dtype_for(self, path: Any, dtype: str | None) -> str | None:
        """Return the dtype to write: what the caller says, else what the file's extension stands for."""
        return dtype or self.dtypes.get(os.path.splitext(os.fsdecode(path))[1].lower())


def properties(e: Embeddings) -> list[str]:
    """Return which of the properties above a model has."""
    parts, subwords = e._parts, e._subwords
    own = e._classifier is None and (
        parts.raw_words is not None or (not e._accumulated and subwords is not None)
    )
    output = e._classifier is None and parts.output is not None
    has = {
        COUNTS: e._vocabulary.counts is not None,
        UNKNOWN: makes_unknown(e),
        LABELS: e._classifier is not None,
        RAW: own and output,
        OWN: own and not output,
        OUTPUT: output and not own,
        LENGTHS: parts.lengths is not None,
        ENCODER: parts.encoder is not None,
        SETTINGS: bool(e.metadata),
    }
    return [name for name, there in has.items() if there]


def makes_unknown(e: Embeddings) -> bool:
    """Say whether a model has vectors for words that are not in it: a rule, and rows that pruning left."""
    subwords, grams = e._subwords, e._grams
    if subwords is None or not subwords.has_ngrams:
        return False
    return subwords.hash in ("table", "keys") or (grams is not None and len(grams) > 0)


def fate(
    e: Embeddings,
    dtype: str,
    carries: Iterable[str] = (),
    approximated: Iterable[str] = (),
    grams_dtype: str | None = None,
) -> Fate:
    """Return the fate of a model in a format that stores `dtype` and carries those properties.

    `approximated` is said besides what rounding to `dtype` does ("float32", "float16", "int8", "pq..."; n-gram rows:
    to `grams_dtype` if given). "pq" copies codes that are there.
    """
    carried, has = set(carries), properties(e)
    if RAW in carried:
        carried |= {OWN, OUTPUT}
    found = Fate(dtype, [ALL_WORDS])
    with_grams = bool({UNKNOWN, LABELS} & carried)
    found.approximated = [*rounded(e, dtype, (grams_dtype or dtype) if with_grams else None), *approximated]
    for name in has:
        (found.kept if name in carried else found.lost).append(name)
    return found


#: Which dtypes of rows can be stored as another one without rounding.
EXACT = {
    "float32": ("float32", "float16", "int8", "pq"),
    "float16": ("float16",),
    "int8": ("int8",),
}


def rounded(e: Embeddings, dtype: str, grams_dtype: str | None) -> list[str]:
    """Return which numbers are rounded when words and n-gram rows (None: they are left out) are stored like this."""
    computed = not e._accumulated and e._subwords is not None and e._classifier is None
    found = []
    if dtype != "pq" and (e.dtype not in EXACT.get(dtype, ()) or (computed and dtype != "float32")):
        found.append(f"the word vectors, as {dtype}")
    exact = EXACT.get(grams_dtype or "", ())
    if grams_dtype not in ("pq", None) and e._grams is not None and e._grams.dtype not in exact:
        found.append(f"the n-gram rows, as {grams_dtype}")
    if found and e._classifier is not None:
        found.append("the probabilities of labels, which follow from them")
    return found


#: Bytes of float32 that one block of rows holds; mapped rows of fewer bytes are not worth a call to unmap them.
BLOCK_BYTES, LEAST_RELEASED = 8 << 20, 1 << 20


def blocks(rows: int, dim: int) -> Iterable[tuple[int, int]]:
    """Return the ranges in which a writer goes over rows of `dim` numbers: bounded memory, whatever their number."""
    step = max(1, min(1 << 16, BLOCK_BYTES // (4 * max(dim, 1))))
    return ((start, min(start + step, rows)) for start in range(0, rows, step))


def release(e: Embeddings, matrix: Matrix | None, start: int = 0, stop: int | None = None) -> None:
    """Unmap the pages of rows that were read, so that a pass over a large file does not stay in this process's memory.

    They remain in the page cache, and come back when they are touched again.
    """
    if matrix is not None:
        e._advise(matrix.part(start, len(matrix) if stop is None else stop), "DONTNEED", LEAST_RELEASED)


def plain_dtype(dtype: str | None, known: tuple[str, ...] = ("float32",)) -> str:
    """Return the dtype to write (the first of `known` by default); ValueError where the format does not have it."""
    if dtype is None:
        return known[0]
    if dtype not in known:
        raise ValueError(f"dtype must be one of {', '.join(known)}, not {dtype!r}")
    return dtype


def columns_of(dtype: str, dim: int) -> int:
    """Return the columns of a piece of rows of `dim` numbers for "pqN"; ValueError where N pieces cannot be."""
    pieces = int(dtype[2:])
    possible = sorted({-(-dim // columns) for columns in range(1, dim + 1)})
    if pieces not in possible:
        raise ValueError(f"{dtype}: a row of {dim} numbers can have {', '.join(map(str, possible))} pieces")
    return -(-dim // pieces)


#: Words whose vectors one thread makes at a time.
CHUNK = 2048


def vector_blocks(
    e: Embeddings, progress: Progress | None = None
) -> Iterator[tuple[int, int, npt.NDArray[np.float32]]]:
    """Yield (start, stop, the finished vectors of these words, float32) for all words of a model, in order.

    For writers: memory stays bounded, rows that were read are unmapped again, and the writer may use the block as it
    likes until it asks for the next.
    """
    computed = not e._accumulated and e._subwords is not None
    if computed:
        e._read_ahead()
    for start, stop in blocks(len(e), e.dim):
        yield start, stop, vectors_of(e, start, stop)
        release(e, e._words, start, stop)
        if progress is not None:
            progress(stop, len(e))
    if progress is not None and not len(e):
        progress(0, 0)
    if computed:  # n-gram rows all over the file were read
        release(e, e._grams)


def vectors_of(e: Embeddings, start: int, stop: int) -> npt.NDArray[np.float32]:
    """Return the vectors of the words `start` .. `stop - 1`, made by several threads."""
    out = np.empty((stop - start, e.dim), np.float32)

    def work(a: int, b: int) -> None:
        out[a:b] = e._block(start + a, start + b)

    run_chunks(work, stop - start, CHUNK)
    return out


class RowTarget:
    """Takes rows that a reader decodes, block by block: in memory, or in a nameless file where there are many.

    scratch: a folder (True: the one for temporary files) where more than SCRATCH bytes go to a file; False: never.
    """

    SCRATCH = 64 << 20

    def __init__(
        self, file: MappedFile, rows: int, dim: int, dtype: npt.DTypeLike, scratch: str | bool = False
    ) -> None:
        self.file, self.shape, self.dtype = file, (rows, dim), np.dtype(dtype)
        self._values: npt.NDArray[Any] | None = None
        self._stream: Any = None
        if scratch is not False and rows * dim * self.dtype.itemsize > self.SCRATCH:
            self._stream = tempfile.TemporaryFile(dir=scratch if isinstance(scratch, str) else None)
        else:
            self._values = np.empty(self.shape, self.dtype)

    def put(self, start: int, rows: npt.NDArray[Any]) -> None:
        """Take the rows from `start` on; blocks come in order, without gaps."""
        if self._values is None:
            self._stream.write(np.ascontiguousarray(rows, self.dtype).data.cast("B"))
        else:
            self._values[start : start + len(rows)] = rows

    def done(self) -> tuple[npt.NDArray[Any], MappedFile | MappedGroup]:
        """Return all rows, read-only, and what a model of them gives for its file."""
        if self._values is not None:
            self._values.flags.writeable = False
            return self._values, self.file
        from .._text import Backed

        with self._stream as stream:
            stream.flush()
            mapped = MappedFile.of_descriptor(stream.fileno(), self.file.path)
        return mapped.array(self.dtype, self.shape, 0, "the rows"), Backed(self.file, mapped)


def recoded(words: Iterable[bytes], encoding: str | None, errors: str | None, path: str) -> Iterator[bytes]:
    """Yield the words as UTF-8, decoded as gensim does: with this encoding ("utf8") and these errors ("strict").

    Raises FormatError for bytes that do not fit, ValueError for names that Python does not know.
    """
    encoding, errors = encoding or "utf8", errors or "strict"
    try:
        codecs.lookup(encoding)
        codecs.lookup_error(errors)
    except LookupError as error:
        raise ValueError(str(error)) from None
    for i, word in enumerate(words):
        try:
            yield word.decode(encoding, errors).encode("utf-8", "surrogateescape")
        except UnicodeError as error:
            raise FormatError(
                path, f"word {i} is not {encoding}", expected=encoding, found=ascii(str(error))[1:100]
            ) from None


def row_blocks(e: Embeddings, matrix: Matrix) -> Iterator[tuple[int, int, npt.NDArray[np.float32]]]:
    """Yield (start, stop, rows) for the stored rows of one of the model's matrices, as float32."""
    e._advise(matrix, "SEQUENTIAL")
    for start, stop in blocks(len(matrix), e.dim):
        e._check()
        yield start, stop, matrix.block(start, stop)
        release(e, matrix, start, stop)
    e._advise(matrix, "RANDOM")
