"""vecio's own file: a safetensors container with a layout of tensors and settings (specs/vecio.md).

Reading checks everything that the header says against the file's length and maps the tensors where they lie. Writing
streams: blocks of rows go to their places in the file, their digests are made on the way, and the header is written
again when they are known. The container itself is `vecio/_safetensors.py`.
"""

from __future__ import annotations

from ..base import Format
from .reader import MARK, NAME, detect, read, read_object
from .writer import choose_dtype, choose_grams, fate, planned_size, write

__all__ = [
    "FORMAT",
    "MARK",
    "NAME",
    "choose_dtype",
    "choose_grams",
    "detect",
    "fate",
    "planned_size",
    "read",
    "read_object",
    "write",
]

FORMAT = Format(NAME, (".safetensors",), detect, read, write, fate=fate)
