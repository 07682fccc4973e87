"""finalfusion's `.fifu`: words, rows, lengths and settings as a row of chunks. Bytes: `specs/finalfusion.md`."""

from __future__ import annotations

from ..base import Format
from .chunks import NAME
from .reader import detect, read
from .writer import fate, refuses, write

FORMAT = Format(NAME, (".fifu",), detect, read, write, fate=fate, refuses=refuses, unique=True)
