"""floret's text form (`.floret`): the table of n-gram rows as decimals. The lines are described in `specs/floret.md`.

The file has no words: every vector is the mean of rows of the table, by floret's rule.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from .. import _text
from .._binary import MappedFile, atomic_write
from ..embeddings import Embeddings, Parts
from ..errors import FormatError, UnsupportedError
from ..matrix import Float32
from ..subwords import FLORET_SEED, Subwords
from ..vocabulary import Vocabulary
from .base import SETTINGS, UNKNOWN, WORDS, Fate, Format, Progress, Written, plain_dtype, row_blocks
from .base import fate as common_fate

Array = npt.NDArray[Any]

#: The header is looked for in so many bytes; each of its eight fields is short.
LONGEST_HEADER = 4096
_SPACES = rb"[ \t]+"
_HEADER = re.compile(
    rb"[ \t]*"
    + _SPACES.join([rb"\+?([0-9]{1,20})"] * 2 + [rb"([+-]?[0-9]{1,20})"] * 2 + [rb"\+?([0-9]{1,20})"] * 2)
    + _SPACES
    + rb"([^\s\x00]{1,1000})"
    + _SPACES
    + rb"([^\s\x00]{1,1000})[ \t\r]*\n"
)


def detect(file: MappedFile) -> str | None:
    """Return None for a file that begins with floret's line of eight fields; else why it is none."""
    match = _HEADER.match(file.map[:LONGEST_HEADER])
    if match is None:
        return "does not begin with floret's line of eight fields"
    brackets = not (_text.is_number(match[7]) or _text.is_number(match[8]))
    return (
        None if brackets or int(match[6]) == FLORET_SEED else "begins with eight numbers, not floret's line"
    )


# -- reading -------------------------------------------------------------------------------------------------------


def read(file: MappedFile, scratch: str | bool = False) -> Embeddings:
    """Read the table of a `.floret` file. Raises FormatError, with the line, where it is not what its header says.

    scratch: a folder (True: the one for temporary files) where a large table goes to a nameless file, not to memory.
    """
    settings, begin = _header(file)
    bucket, dim = settings["bucket"], settings["dim"]
    layout = _text.Layout(dim, declared=bucket, first_line=2)
    parsed = _text.parse(file, begin, _text.trimmed_end(file, begin), layout, scratch=scratch)
    _check_numbers(file, begin, parsed.blob, parsed.offsets, bucket)
    subwords = Subwords(
        settings["minn"],
        settings["maxn"],
        bucket,
        "floret-table",
        settings["hashCount"],
        begin=settings["bow"].encode("utf-8", "surrogateescape"),
        end=settings["eow"].encode("utf-8", "surrogateescape"),
    )
    rows = Float32(parsed.values)
    return Embeddings(
        Parts(
            Vocabulary.from_words([]),
            rows.part(0, 0),
            NAME,
            file=parsed.file or file,
            grams=rows,
            subwords=subwords,
            metadata=settings,
        )
    )


def _header(file: MappedFile) -> tuple[dict[str, Any], int]:
    """Return the settings of the first line, and where the rows begin."""
    match = _HEADER.match(file.map[:LONGEST_HEADER])
    if match is None:
        raise FormatError(
            file.path,
            "line 1 is not floret's header",
            offset=0,
            expected="bucket dim minn maxn hashCount hashSeed BOW EOW",
            found=ascii(file.map[:80]),
        )
    names = ("bucket", "dim", "minn", "maxn", "hashCount", "hashSeed")
    settings: dict[str, Any] = {name: int(match[i]) for i, name in enumerate(names, 1)}
    limits = ((1, 1 << 31), (1, 1 << 31), (-(1 << 31), 1 << 31), (-(1 << 31), 1 << 31), (1, 5), (0, 1 << 32))
    for i, (name, (low, high)) in enumerate(zip(names, limits, strict=True), 1):
        if not low <= settings[name] < high:
            raise FormatError(
                file.path,
                f"line 1: impossible {name}",
                offset=match.start(i),
                expected=f"{low} to {high - 1}",
                found=settings[name],
            )
    if settings["hashSeed"] != FLORET_SEED:
        raise UnsupportedError(f"{file.path}: hashSeed {settings['hashSeed']} is not floret's {FLORET_SEED}")
    settings["bow"] = match[7].decode("utf-8", "surrogateescape")
    settings["eow"] = match[8].decode("utf-8", "surrogateescape")
    return settings, match.end()


def _check_numbers(file: MappedFile, begin: int, blob: Array, offsets: Array, bucket: int) -> None:
    """Refuse rows that are not numbered from 0 in order, and too many of them."""
    for start in range(0, len(offsets) - 1, 1 << 16):
        stop = min(start + (1 << 16), len(offsets) - 1)
        numbers = [b"%d" % i for i in range(start, stop)]
        if blob[offsets[start] : offsets[stop]].tobytes() != b"".join(numbers):
            found = [blob[offsets[i] : offsets[i + 1]].tobytes() for i in range(start, stop)]
            i = next(i for i, number in enumerate(numbers) if found[i] != number)
            raise FormatError(
                file.path,
                f"line {start + i + 2}: rows are numbered from 0 in order",
                offset=_line(file, begin, start + i),
                expected=f"row {start + i}",
                found=_text.shown(found[i]),
            )
    if len(offsets) - 1 != bucket:
        raise FormatError(
            file.path,
            f"line {bucket + 2}: a row too many",
            offset=_line(file, begin, bucket),
            expected=f"{bucket} rows",
            found=f"{len(offsets) - 1} rows",
        )


def _line(file: MappedFile, place: int, number: int) -> int:
    """Return where a line begins, the one at `place` being number 0."""
    for _ in range(number):
        place = file.map.find(b"\n", place) + 1
    return place


# -- writing -------------------------------------------------------------------------------------------------------


def write(
    embeddings: Embeddings,
    path: str | os.PathLike[str],
    dtype: str | None = None,
    progress: Progress | None = None,
) -> Written:
    """Write the table of a floret model as text: atomic, each number as its shortest exact decimal."""
    plain_dtype(dtype)
    _refuse_model(embeddings)
    grams, subwords = embeddings._grams, embeddings._subwords
    assert grams is not None and subwords is not None
    head = (
        len(grams),
        embeddings.dim,
        subwords.minn,
        max(subwords.maxn, 0),
        subwords.hash_count,
        FLORET_SEED,
    )
    with atomic_write(path) as stream:
        stream.write(" ".join(map(str, head)).encode() + b" %b %b\n" % (subwords.begin, subwords.end))
        for start, stop, rows in row_blocks(embeddings, grams):
            stream.writelines(_text.lines_of(rows, [b"%d" % i for i in range(start, stop)]))
            if progress is not None:
                progress(stop, len(grams))
    return Written("float32")


def _refuse_model(e: Embeddings) -> None:
    """Raise UnsupportedError for a model that is no whole floret table."""
    subwords, name = e._subwords, e.path or "this model"
    if subwords is None or subwords.kind not in ("floret", "floret-table", "spacy") or e._grams is None:
        raise UnsupportedError(f"{name} is no floret model: a .floret file holds nothing but floret's table")
    if e._classifier is not None:
        raise UnsupportedError(f"{name} is a classifier: a .floret file cannot hold one")
    if subwords.pruned is not None:
        raise UnsupportedError(f"{name} has not all rows of its table any more: a .floret file needs them")
    for text in (subwords.begin, subwords.end):
        if not text or text.split() != [text] or b"\0" in text or len(text) > 1000:
            raise UnsupportedError(
                f"{name} puts {ascii(text)[1:80]} beside words: a .floret file cannot say it"
            )


def fate(e: Embeddings, dtype: str | None, options: Mapping[str, Any]) -> Fate:
    """Return what the file will keep, round and lose."""
    plain_dtype(dtype)
    _refuse_model(e)
    subwords = e._subwords
    assert subwords is not None
    table_alone = e.format in (NAME, "spacy")  # all settings are those of the table
    found = common_fate(e, "float32", (UNKNOWN, SETTINGS) if table_alone else (UNKNOWN,))
    found.kept = [line for line in found.kept if not line.startswith("the words")]
    if len(e):
        found.lost.insert(0, WORDS)
    if subwords.kind == "floret" and len(e):
        found.approximated.append("the vectors of the first word and of </s>, which are made like any other")
    if subwords.kind == "spacy":
        found.approximated.append("the last digit of the vectors: floret adds the rows in another order")
        if subwords.minn <= 1:
            found.approximated.append("all vectors: floret does not count single brackets as n-grams")
    return found


NAME = "floret-text"
FORMAT = Format(NAME, (".floret",), detect, read, write, fate=fate)
