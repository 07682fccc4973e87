"""fastText's `.bin` and `.ftz`, and floret's `.bin`: specs/fasttext.md and specs/floret.md."""

from __future__ import annotations

from ..base import Format
from . import reader, writer

FORMAT = Format(
    "fasttext",
    (".bin", ".ftz"),
    reader.detect,
    reader.read,
    writer.write,
    fate=writer.fate,
    refuses=writer.refuses,
    dtypes={".ftz": "pq"},
)
FLORET = Format(
    "floret",
    (".bin",),
    reader.detect_floret,
    reader.read,
    writer.write_floret,
    fate=writer.fate_floret,
    refuses=writer.refuses,
    dtypes={".ftz": "pq"},
)
