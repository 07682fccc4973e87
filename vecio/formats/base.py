"""What a format is to the rest of vecio: one record with its name, its test, its reader, its writer and its limits."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Union

from .._binary import Folder, MappedFile
from .._rounding import Tally
from ..embeddings import Embeddings
from ..errors import FormatError

#: What a reader gets: a mapped file, or a folder whose files it maps. (Union: a Python 3.10 alias is evaluated.)
Source = Union[MappedFile, Folder]  # noqa: UP007

#: What a model may hold besides words and vectors; a format names those that it can carry.
COUNTS = "the counts of the words"
UNKNOWN = "vectors for unknown words"
LABELS = "labels and their prediction"
RAW = "the words' own rows and the output matrix of the training"
LENGTHS = "the lengths that the vectors had before they were scaled"
ENCODER = "the tokenizer, and with it sentence vectors"
SETTINGS = "the settings"


@dataclass
class Fate:
    """What a writer will do to a model, said before the first byte is written.

    dtype: how numbers will be stored. kept, approximated, lost: properties of the model, in words.
    """

    dtype: str
    kept: list[str] = field(default_factory=list)
    approximated: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


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
    unique: whether a word can stand in a file only once.
    """

    name: str
    extensions: tuple[str, ...]
    detect: Callable[[Any], str | None]
    read: Callable[..., Embeddings]
    write: Callable[..., Written] | None = None
    folder: bool = False
    fate: Callable[[Embeddings, str | None, Mapping[str, Any]], Fate] | None = None
    refuses: Callable[[bytes], str | None] | None = None
    unique: bool = False


def properties(e: Embeddings) -> list[str]:
    """Return which of the properties above a model has."""
    parts, subwords = e._parts, e._subwords
    computed = not e._accumulated and subwords is not None and e._classifier is None
    has = {
        COUNTS: e._vocabulary.counts is not None,
        UNKNOWN: subwords is not None and subwords.has_ngrams and e._classifier is None,
        LABELS: e._classifier is not None,
        RAW: e._classifier is None and (computed or parts.raw_words is not None or parts.output is not None),
        LENGTHS: parts.lengths is not None,
        ENCODER: parts.encoder is not None,
        SETTINGS: bool(e.metadata),
    }
    return [name for name, there in has.items() if there]


def fate(e: Embeddings, dtype: str, carries: Iterable[str] = (), approximated: Iterable[str] = ()) -> Fate:
    """Return the fate of a model in a format that stores `dtype` and carries those properties.

    `approximated` is said besides what rounding to `dtype` does ("float32", "float16", "int8", "pq...").
    """
    carried, has = set(carries), properties(e)
    found = Fate(dtype, ["the words, their order and bytes"])
    found.approximated = [*rounded(e, dtype), *approximated]
    for name in has:
        (found.kept if name in carried else found.lost).append(name)
    return found


def rounded(e: Embeddings, dtype: str) -> list[str]:
    """Return which numbers of a model are rounded when they are stored as `dtype`."""
    exact = {"float32": ("float32", "float16", "int8", "pq"), "float16": ("float16",), "int8": ("int8",)}.get(
        dtype, ()
    )
    computed = not e._accumulated and e._subwords is not None and e._classifier is None
    found = []
    if e.dtype not in exact or (computed and dtype != "float32"):
        found.append(f"the word vectors, as {dtype}")
    if e._grams is not None and e._grams.dtype not in exact:
        found.append(f"the n-gram rows, as {dtype}")
    if found and e._classifier is not None:
        found.append("the probabilities of labels, which follow from them")
    return found


def plain_dtype(dtype: str | None, known: tuple[str, ...] = ("float32",)) -> str:
    """Return the dtype to write (the first of `known` by default); ValueError where the format does not have it."""
    if dtype is None:
        return known[0]
    if dtype not in known:
        raise ValueError(f"dtype must be one of {', '.join(known)}, not {dtype!r}")
    return dtype


#: Brackets that nest deeper are no settings of a model; Python's parser would run out of stack.
DEEPEST = 64


def json_value(source: MappedFile, most: int = 256 << 20) -> Any:
    """Return the JSON value that a whole file holds; FormatError for anything but strict JSON, or nested too deep."""
    return parse_json(source.bytes(0, min(source.size, most + 1)), source.path, most)


def parse_json(data: bytes, path: str, most: int = 256 << 20) -> Any:
    """Return the JSON value in `data`; `path` is what an error names."""
    try:
        if len(data) > most:
            raise ValueError(f"more than {most} bytes")
        _check_depth(data)
        return json.loads(data.decode("utf-8"), parse_int=_short_integer, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        place = getattr(error, "pos", None)
        raise FormatError(
            path, "not JSON", offset=place, expected="JSON", found=ascii(str(error))[:100]
        ) from None


_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)


def _check_depth(data: bytes) -> None:
    if data.count(b"[") + data.count(b"{") <= DEEPEST:
        return
    depth = 0
    for match in _BRACKETS.finditer(data):
        first = data[match.start()]
        depth += (first in b"[{") - (first in b"]}")
        if depth > DEEPEST:
            raise ValueError(f"brackets nested deeper than {DEEPEST}")


def _short_integer(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
