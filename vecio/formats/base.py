"""What a format is to the rest of vecio: one record with its name, its test, its reader and its writer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .._binary import MappedFile
from ..embeddings import Embeddings


@dataclass(frozen=True)
class Format:
    """One file format.

    name: what users call it. extensions: lower case, with the dot, the usual one first.
    detect: looks at the content only; returns None when the file is of this format, else why it is not.
    read: makes an `Embeddings` from the mapped file; raises FormatError.
    write: `write(embeddings, path, dtype=..., **options)`, or None when vecio does not write the format.
    """

    name: str
    extensions: tuple[str, ...]
    detect: Callable[[MappedFile], str | None]
    read: Callable[..., Embeddings]
    write: Callable[..., Any] | None = None
