"""The registry: which formats there are, and the four calls that go through it (detect, open, save, reopen).

Detection goes by content; the name of the file only breaks ties. A format is one module and one line here.
"""

from __future__ import annotations

import os
from typing import Any

from .._binary import MappedFile
from ..embeddings import Embeddings
from ..errors import FormatError, UnknownFormatError, UnsupportedError
from . import fasttext, safetensors
from .base import Format

#: In the order in which they are asked.
FORMATS: tuple[Format, ...] = (safetensors.FORMAT, fasttext.FORMAT, fasttext.FLORET)

#: What other files begin with, for a better answer than "unknown".
STRANGERS = (
    (b"\x1f\x8b", "it looks like gzip: unpack it first"),
    (b"BZh", "it looks like bzip2: unpack it first"),
    (b"\xfd7zXZ\x00", "it looks like xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "it looks like zstd: unpack it first"),
    (b"PK\x03\x04", "it looks like a zip archive"),
    (b"version https://git-lfs", "it is a Git LFS pointer: the file itself must be fetched (git lfs pull)"),
    (b"<!DOCTYPE", "it looks like an HTML page, not a model: the download failed"),
    (b"<!doctype", "it looks like an HTML page, not a model: the download failed"),
    (b"<html", "it looks like an HTML page, not a model: the download failed"),
    (b"\x80\x02", "it looks like a pickle, which is never read"),
    (b"\x80\x03", "it looks like a pickle, which is never read"),
    (b"\x80\x04", "it looks like a pickle, which is never read"),
    (b"\x80\x05", "it looks like a pickle, which is never read"),
    (b"\x93NUMPY", "it looks like a numpy array without words"),
    (b"\xff\xfe", "it looks like UTF-16"),
    (b"\xfe\xff", "it looks like UTF-16"),
    (b"\xef\xbb\xbf", "it begins with a UTF-8 byte-order mark"),
)


def formats() -> list[dict[str, Any]]:
    """Return what vecio can read and write: one dict a format with name, extensions, read and write."""
    return [
        {"name": f.name, "extensions": list(f.extensions), "read": True, "write": f.write is not None}
        for f in FORMATS
    ]


def detect(path: str | os.PathLike[str]) -> str:
    """Return the name of the file's format, by its content. Raises UnknownFormatError, FormatError or OSError."""
    file = MappedFile.open(path)
    try:
        return _recognise(file).name
    finally:
        file.close()


def open(path: str | os.PathLike[str], *, format: str | None = None, preload: bool = False) -> Embeddings:
    """Open a file of word vectors where it lies: mapped, read-only, without a copy.

    format: its name, where the content is not to be asked. preload: do at once what is else done when first needed.
    Raises UnknownFormatError (nothing accepted the file), FormatError (it contradicts its format) or OSError.
    """
    file = MappedFile.open(path)
    try:
        chosen = _recognise(file) if format is None else _named(format)
        embeddings = chosen.read(file)
    except BaseException:
        file.close()
        raise
    embeddings._parts.reopen = reopen
    embeddings._parts.options = {} if format is None else {"format": format}
    return embeddings.preload() if preload else embeddings


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
) -> None:
    """Write `embeddings` to `path` in the format that is named, or that its extension says."""
    writer = target_format(path, format)
    assert writer.write is not None
    writer.write(embeddings, path, dtype=dtype, **options)


def target_format(path: str | os.PathLike[str], format: str | None = None) -> Format:
    """Return the format to write `path` in; UnsupportedError when there is none or vecio does not write it."""
    if format is not None:
        chosen = _named(format)
    else:
        extension = os.path.splitext(os.fsdecode(path))[1].lower()
        by_name = [f for f in FORMATS if extension in f.extensions]
        if not by_name:
            known = ", ".join(f.extensions[0] for f in FORMATS if f.write is not None)
            raise UnsupportedError(
                f"{os.fsdecode(path)}: no format has the extension {extension!r}; there are {known}"
            )
        chosen = next((f for f in by_name if f.write is not None), by_name[0])
    if chosen.write is None:
        raise UnsupportedError(f"{os.fsdecode(path)}: vecio does not write {chosen.name} files")
    return chosen


def _named(name: str) -> Format:
    for candidate in FORMATS:
        if candidate.name == name:
            return candidate
    raise ValueError(f"no format is called {name!r}; there are {', '.join(f.name for f in FORMATS)}")


def _recognise(file: MappedFile) -> Format:
    reasons = []
    for candidate in FORMATS:
        reason = candidate.detect(file)
        if reason is None:
            return candidate
        reasons.append(f"{candidate.name}: {reason}")
    head = file.map[:64].lstrip()
    hint = next(
        (text for start, text in STRANGERS if file.map[: len(start)] == start or head.startswith(start)), None
    )
    raise UnknownFormatError(
        f"{file.path}: no format accepts this file of {file.size} bytes"
        + (f" ({hint})" if hint else "")
        + "; "
        + "; ".join(reasons)
    )


Embeddings._save = staticmethod(save)
