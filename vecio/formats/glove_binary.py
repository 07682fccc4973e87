"""GloVe's binary file: float64 without a header, with the words in a vocabulary file. See specs/glove-binary.md."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from .._binary import Folder, MappedFile, MappedGroup
from .._sources import acquire
from ..embeddings import Embeddings, Parts
from ..errors import FormatError, UnsupportedError
from ..matrix import Converted, Matrix, Uncompiled
from ..vocabulary import Vocabulary
from .base import Format

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

NAME = "glove-binary"


class Summed(Uncompiled):
    """Rows that are the sum of the rows of two arrays of float64, rounded to float32."""

    def __init__(self, first: Array, second: Array) -> None:
        super().__init__(*first.shape)
        self.first, self.second = first, second

    def take(self, ids: npt.ArrayLike) -> Floats:
        picked = np.asarray(ids, np.int64)
        with np.errstate(over="ignore", invalid="ignore"):
            rows: Floats = (self.first[picked] + self.second[picked]).astype(np.float32)
            return rows

    def part(self, start: int, stop: int) -> Matrix:
        return Summed(self.first[start:stop], self.second[start:stop])

    def arrays(self) -> list[Array]:
        return [self.first, self.second]

    @property
    def nbytes(self) -> int:
        return int(self.first.nbytes + self.second.nbytes)


def detect(file: MappedFile) -> str | None:
    """Return why the file is not taken: nothing in it says what it is."""
    return "has no header; it must be asked for by format, with words=FILE"


def read(file: MappedFile, words: str | os.PathLike[str] | None = None, context: bool = True) -> Embeddings:
    """Open GloVe's binary file in place.

    words: its vocabulary file, one `word count` a line. context: add the context vectors, as the text file does by
    default; False leaves the word vectors alone.
    """
    if words is None:
        raise UnsupportedError(f"{file.path}: a GloVe binary file is read with its vocabulary: words=FILE")
    source = acquire(words, copy=file.copied)
    try:
        if isinstance(source, Folder):
            raise FormatError(source.path, "the words must be a file", found="a folder")
        keys, counts = _vocabulary(source, file.size)
        rows = len(keys)
        columns, left = divmod(file.size, 16 * rows)
        if left or columns < 2:
            raise FormatError(
                file.path,
                f"the size does not fit {rows} words",
                offset=0,
                expected=f"a multiple of {16 * rows} bytes, at least {32 * rows}",
                found=f"{file.size} bytes",
            )
    except BaseException:
        source.close()
        raise
    whole = file.array("<f8", (2 * rows, columns), 0, "the vectors")
    first, second = whole[:rows, :-1], whole[rows:, :-1]
    return Embeddings(
        Parts(
            Vocabulary.from_words(keys, counts),
            Summed(first, second) if context else Converted(first),
            NAME,
            file=MappedGroup(file.path, [file, source]),
        )
    )


def _vocabulary(file: MappedFile, size: int) -> tuple[list[bytes], list[int]]:
    """Return the words and counts of the lines `word count`. size: bytes of the file with the vectors."""
    words, counts = [], []
    data = file.bytes(0, file.size)
    most = size // 32  # words with two vectors of a number and a bias each
    if data.count(b"\n") > most:
        raise FormatError(
            file.path,
            f"more words than there are vectors in {size} bytes",
            offset=0,
            expected=f"at most {most} lines",
            found=data.count(b"\n"),
        )
    lines = data.split(b"\n")
    place = 0
    for i, line in enumerate(lines):
        word, space, number = line.rpartition(b" ")
        if line and not (space and word and number.isdigit() and len(number) < 19):
            raise FormatError(
                file.path,
                f"line {i + 1} of the vocabulary",
                offset=place,
                expected="word, space, count",
                found=ascii(line[:60].decode("latin-1")),
            )
        if not line and i + 1 < len(lines):
            raise FormatError(
                file.path,
                f"line {i + 1} of the vocabulary",
                offset=place,
                expected="word, space, count",
                found="nothing",
            )
        if line:
            words.append(word)
            counts.append(int(number))
        place += len(line) + 1
    if not words:
        raise FormatError(
            file.path, "no words", offset=0, expected="lines of word, space, count", found="none"
        )
    return words, counts


FORMAT = Format(NAME, (), detect, read)
