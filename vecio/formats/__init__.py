"""The registry: which formats there are, and the calls that go through it (detect, open, save, reopen).

Detection goes by content; the name of the file only breaks ties. A format is one module and one line here.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any

from .. import views
from .._binary import Folder
from .._sources import acquire
from ..embeddings import Embeddings
from ..errors import FormatError, UnknownFormatError, UnsupportedError
from ..vocabulary import decode
from . import (
    fasttext,
    finalfusion,
    floret_text,
    gensim,
    glove_binary,
    magnitude,
    navec,
    numpy_pair,
    safetensors,
    spacy,
    table,
    text,
    token_vectors,
    tsv,
    word2vec,
)
from .base import LABELS, Fate, Format, Source, Written

#: In the order in which they are asked: those that a few bytes decide come first.
FORMATS: tuple[Format, ...] = (
    safetensors.FORMAT,
    token_vectors.FILE,
    finalfusion.FORMAT,
    fasttext.FORMAT,
    fasttext.FLORET,
    gensim.FORMAT,
    floret_text.FORMAT,
    token_vectors.MODEL2VEC,
    token_vectors.SENTENCE_TRANSFORMERS,
    spacy.FORMAT,
    numpy_pair.FORMAT,
    table.FORMAT,
    table.IPC,
    magnitude.FORMAT,
    navec.FORMAT,
    glove_binary.FORMAT,
    word2vec.FORMAT,
    # Text accepts almost anything: it is asked last.
    tsv.FORMAT,
    text.TEXT,
    text.GLOVE,
)

#: What other files begin with, for a better answer than "unknown".
STRANGERS = (
    (b"PK\x03\x04", "it looks like a zip archive"),
    (b"version https://git-lfs", "it is a Git LFS pointer: the file itself must be fetched (git lfs pull)"),
    (b"<!DOCTYPE", "it looks like an HTML page, not a model: the download failed"),
    (b"<!doctype", "it looks like an HTML page, not a model: the download failed"),
    (b"<html", "it looks like an HTML page, not a model: the download failed"),
    (b"\xff\xfe", "it looks like UTF-16"),
    (b"\xfe\xff", "it looks like UTF-16"),
    (b"\xef\xbb\xbf", "it begins with a UTF-8 byte-order mark"),
)

#: Words of which an error names the first, and how many are looked at in one go.
BLOCK = 1 << 15


def formats() -> list[dict[str, Any]]:
    """Return what vecio can read and write: one dict a format.

    Its keys: name, extensions, folder (whether it is one), read, write, read_options, write_options.
    """
    return [
        {
            "name": f.name,
            "extensions": list(f.extensions),
            "folder": f.folder,
            "read": True,
            "write": f.write is not None,
            "read_options": sorted(_options(f.read) | {"limit"}),
            "write_options": sorted(_options(f.write)) if f.write is not None else [],
        }
        for f in FORMATS
    ]


def detect(path: Any) -> str:
    """Return the name of the format, by the content. Raises UnknownFormatError, FormatError or OSError.

    path: whatever `open` takes.
    """
    source = acquire(path)
    try:
        return _recognise(source).name
    finally:
        source.close()


def open(
    path: Any, *, format: str | None = None, preload: bool = False, copy: bool = False, **options: Any
) -> Embeddings:
    """Open a file of word vectors where it lies: mapped, read-only, without a copy where the format allows it.

    path: a file or a folder; bytes, or an open binary file; a file packed by gzip, bzip2, xz or zstd, which is unpacked
        once into a cache; or "hf://owner/name[/file]", fetched through huggingface_hub (extra `hub`).
    format: its name, where the content is not to be asked. preload: do at once what is else done when first needed.
    copy: read the file into memory instead of mapping it: takes its size in memory, and nothing that happens to the
        file afterwards matters (a mapped file that is cut while other threads read it ends the process).
    limit: read only the first `limit` words. Further options belong to the format, under gensim's names: no_header,
        binary, encoding, errors for text and word2vec; words (a file) for arrays without words.
    Raises UnknownFormatError (nothing accepted the file), FormatError (it contradicts its format) or OSError.
    """
    reading = dict(options)
    format = format or _implied(reading)
    source = acquire(path, copy=copy)
    try:
        chosen = _recognise(source) if format is None else named(format)
        embeddings = _read(chosen, source, reading)
    except BaseException:
        source.close()
        raise
    if isinstance(path, (str, os.PathLike)):
        embeddings._parts.reopen = reopen
        own = {"format": format, "copy": copy or None}
        embeddings._parts.options = {n: v for n, v in {**own, **options}.items() if v is not None}
    return embeddings.preload() if preload else embeddings


def _implied(options: dict[str, Any]) -> str | None:
    """Return the format that gensim's `binary` implies: True is word2vec's binary form, False anything else."""
    return "word2vec" if options.pop("binary", None) else None


def _read(chosen: Format, source: Source, options: dict[str, Any]) -> Embeddings:
    if chosen.folder != isinstance(source, Folder):
        found = "a folder" if isinstance(source, Folder) else "a file"
        raise FormatError(
            source.path, f"{chosen.name} is {'a folder' if chosen.folder else 'a file'}", found=found
        )
    known = _options(chosen.read)
    given = {name: value for name, value in options.items() if value is not None}
    limit = given.pop("limit", None) if "limit" not in known else None
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise ValueError(f"limit must be a number of words, not {limit!r}")
    if "scratch" not in known:  # said by `convert`: only a format that is parsed has a use for it
        given.pop("scratch", None)
    _refuse_unknown(chosen, "read", known | {"limit"}, given)
    embeddings = chosen.read(source, **given)
    return embeddings if limit is None else views.first(embeddings, limit)


def _options(function: Callable[..., Any]) -> set[str]:
    """Return the names of a reader's or writer's own options."""
    parameters = inspect.signature(function).parameters.values()
    own = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    return own - {"embeddings", "path", "source", "file", "dtype", "progress"}


def _refuse_unknown(chosen: Format, verb: str, known: set[str], given: dict[str, Any]) -> None:
    wrong = sorted(set(given) - known)
    if wrong:
        there = ", ".join(sorted(known)) or "none"
        raise ValueError(f"{chosen.name} has no option {wrong[0]!r} to {verb}; there are: {there}")


def reopen(path: str, identity: str, options: dict[str, Any]) -> Embeddings:
    """Open a file again where a pickle lands; raises FormatError when it is not the one that was pickled."""
    embeddings = open(path, **options)
    assert embeddings._file is not None
    found = embeddings._file.identity()
    if found != identity:
        embeddings.close()
        raise FormatError(path, "not the file that was pickled", expected=identity, found=found)
    return embeddings


def save(
    embeddings: Embeddings,
    path: str | os.PathLike[str],
    format: str | None = None,
    dtype: str | None = None,
    **options: Any,
) -> Written:
    """Write `embeddings` to `path` in the format that is named, or that its extension says.

    drop: leave out words that the format cannot hold; without it they are refused. words, grams, size, quality: make
    the model smaller (see `compress`). Further options: the writer's.
    """
    from . import compress

    chosen = target_format(path, format, embeddings)
    prepared, _ = prepare(embeddings, chosen, path, drop=bool(options.pop("drop", False)))
    if not compress.asked(options, dtype):
        return write(prepared, chosen, path, dtype, options)
    judged, quality = compress.judged(chosen, dtype, options), options.get("quality")
    shrunk = compress.shrink(prepared, chosen, dtype, options)
    if judged:
        progress = options.pop("progress", None)
        return compress.write(prepared, shrunk, path, options, quality, progress)[1]
    return write(shrunk.model, chosen, path, shrunk.dtype, {**options, **shrunk.options})


def write(
    embeddings: Embeddings,
    chosen: Format,
    path: str | os.PathLike[str],
    dtype: str | None,
    options: dict[str, Any],
) -> Written:
    """Hand a prepared model to the writer of a format."""
    assert chosen.write is not None
    known = _options(chosen.write)
    given = {
        name: value
        for name, value in options.items()
        if value is not None and (value is not False or name in known)  # a format without a switch has it off
    }
    progress = given.pop("progress", None)
    dtype = chosen.dtype_for(path, dtype)
    _refuse_unknown(chosen, "write", known, given)
    return chosen.write(embeddings, path, dtype=dtype, progress=progress, **given)


def fate_of(embeddings: Embeddings, chosen: Format, dtype: str | None, options: dict[str, Any]) -> Fate:
    """Return what writing a model in a format will keep, round and lose."""
    assert chosen.fate is not None
    return chosen.fate(embeddings, dtype, options)


def prepare(
    embeddings: Embeddings, chosen: Format, path: object, *, drop: bool = False
) -> tuple[Embeddings, list[str]]:
    """Return the model as the format can hold it, and what was left out.

    Words that occur twice are left out where a format holds each word once (the first is the one that look-ups find).
    Words that the format cannot spell are refused, or left out with `drop`.
    """
    lost = []
    assert chosen.fate is not None
    labels = embeddings._classifier is not None and LABELS in chosen.fate(embeddings, None, {}).kept
    if chosen.unique:
        rows = views.distinct(embeddings)
        if rows is not None:
            lost.append(f"{len(embeddings) - len(rows):,} rows of words that occur before")
            embeddings = views.select(embeddings, words=rows, labels=labels)
    refuses = chosen.refuses if chosen.refuses_for is None else chosen.refuses_for(embeddings)
    if refuses is not None:
        keep, example, reason = _spellable(embeddings, refuses)
        if keep is not None and not drop:
            raise UnsupportedError(
                f"{path}: {chosen.name} cannot hold {len(embeddings) - len(keep):,} of the words, the first is "
                f"{example}: {reason} (drop leaves them out)"
            )
        if keep is not None:
            lost.append(
                f"{len(embeddings) - len(keep):,} words that {chosen.name} cannot hold, such as {example}"
            )
            embeddings = views.select(embeddings, words=keep, labels=labels)
    return embeddings, lost


def _spellable(e: Embeddings, refuses: Callable[[bytes], str | None]) -> tuple[Any, str, str]:
    """Return the rows of the words that can be written (None: all), and the first other word with its reason."""
    import numpy as np

    bad: list[int] = []
    example, why = "", ""
    for start in range(0, len(e), BLOCK):
        for i, key in enumerate(e._vocabulary.entries(start, min(start + BLOCK, len(e))), start):
            reason = refuses(key)
            if reason is not None:
                if not bad:
                    shown = ascii(decode(key))
                    example, why = f"{shown if len(shown) < 60 else shown[:57] + '...'} (row {i})", reason
                bad.append(i)
    if not bad:
        return None, "", ""
    return np.delete(np.arange(len(e)), bad), example, why


def target_format(
    path: str | os.PathLike[str], format: str | None = None, source: Embeddings | None = None
) -> Format:
    """Return the format to write `path` in; UnsupportedError when there is none or vecio does not write it.

    Of formats with the same extension (`.bin`) it is the one that `source` came in, else the first in FORMATS.
    """
    if format is not None:
        chosen = named(format)
    else:
        extension = os.path.splitext(os.fsdecode(path))[1].lower()
        by_name = [f for f in FORMATS if extension in f.extensions]
        if not by_name:
            known = ", ".join(dict.fromkeys(x for f in FORMATS if f.write is not None for x in f.extensions))
            raise UnsupportedError(
                f"{os.fsdecode(path)}: no format has the extension {extension!r}; there are {known} "
                f"(formats that are folders must be named)"
            )
        origin = None if source is None else _origin(source)
        writable = [f for f in by_name if f.write is not None] or by_name
        chosen = next((f for f in writable if f.name == origin), writable[0])
    if chosen.write is None:
        raise UnsupportedError(f"{os.fsdecode(path)}: vecio does not write {chosen.name} files")
    return chosen


def _origin(e: Embeddings) -> str:
    """Return the format that a model came in before it became a file of ours."""
    provenance = e.metadata.get("provenance")
    found = provenance.get("format") if isinstance(provenance, dict) else None
    return found if isinstance(found, str) else e.format


def written_files(path: str | os.PathLike[str], format: str | None = None) -> list[str]:
    """Return the names of all files (or the folder) that writing `path` makes, `path` itself first."""
    name = os.fsdecode(path)
    return [name, *target_format(path, format).beside(name)]


def named(name: str) -> Format:
    """Return the format of this name; ValueError where there is none."""
    for candidate in FORMATS:
        if candidate.name == name:
            return candidate
    raise ValueError(f"no format is called {name!r}; there are {', '.join(f.name for f in FORMATS)}")


def _recognise(source: Source) -> Format:
    reasons = []
    folder = isinstance(source, Folder)
    for candidate in FORMATS:
        if candidate.folder != folder:
            continue
        reason = candidate.detect(source)
        if reason is None:
            return candidate
        reasons.append(f"{candidate.name}: {reason}")
    if isinstance(source, Folder):
        raise UnknownFormatError(f"{source.path}: a directory that no format accepts; {'; '.join(reasons)}")
    head = source.map[:64].lstrip()
    hint = next(
        (text for start, text in STRANGERS if source.map[: len(start)] == start or head.startswith(start)),
        None,
    )
    raise UnknownFormatError(
        f"{source.path}: no format accepts this file of {source.size} bytes"
        + (f" ({hint})" if hint else "")
        + "; "
        + "; ".join(reasons)
    )


Embeddings._save = staticmethod(save)
