"""Magnitude's SQLite databases, read only, and without running anything that is in them. See specs/magnitude.md."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from .._binary import MappedFile
from ..embeddings import Embeddings, Parts
from ..errors import FormatError, TruncatedError, UnsupportedError, VecioError
from ..matrix import Float32
from ..vocabulary import Vocabulary
from .base import Format, RowTarget

Array = npt.NDArray[Any]

NAME = "magnitude"
MAGIC = b"SQLite format 3\0"
TABLE, SETTINGS = "magnitude", "magnitude_format"
#: Entries of the schema and of the settings that are looked at; columns that SQLite can have; digits of a number.
MOST_ENTRIES, MOST_COLUMNS, MOST_DIGITS = 10_000, 32_767, 18
#: Numbers that are read at a time.
BLOCK = 1 << 17
#: Steps of SQLite's machine for each byte of a file, and between two looks at them.
STEPS, LOOK = 16, 1 << 16
#: SQLite's numbers of two limits: the length of a value, and how many databases can be attached.
LENGTH_LIMIT, ATTACHED_LIMIT = 0, 7


def detect(file: MappedFile) -> str | None:
    """Return None for a Magnitude database, else why it is none."""
    if file.map[:16] != MAGIC:
        return "does not begin as a SQLite database"
    page = int.from_bytes(file.map[16:18], "big")
    return (
        None
        if file.map.find(SETTINGS.encode(), 0, max(page, 65536)) >= 0
        else "a SQLite database of another kind"
    )


def read(file: MappedFile, normalized: bool = False, scratch: str | bool = False) -> Embeddings:
    """Read a Magnitude database into memory.

    normalized: vectors of length 1, as Magnitude answers by default. scratch: a folder (True: the one for temporary
    files) where large vectors go to a nameless file, not to memory.
    """
    _check_size(file)
    with _connection(file) as ask:
        return _Reader(file, ask, scratch).embeddings(normalized)


def _check_size(file: MappedFile) -> None:
    """Compare the file's length with the pages that its header counts (SQLite itself reads what it finds)."""
    head = file.bytes(0, min(100, file.size))
    if head[:16] != MAGIC[: len(head)]:
        raise FormatError(
            file.path, "not a SQLite database", offset=0, expected=repr(MAGIC), found=repr(head[:16])
        )
    page = int.from_bytes(head[16:18], "big")
    page = 65536 if page == 1 else page
    if len(head) < 100 or page < 512 or page & (page - 1):
        raise FormatError(
            file.path,
            "the header of a SQLite database",
            offset=16,
            expected="100 bytes, with the size of a page",
            found=f"{len(head)} bytes, pages of {page}",
        )
    pages = int.from_bytes(head[28:32], "big") if head[24:28] == head[92:96] else 0
    if file.size % page or file.size < pages * page:
        raise TruncatedError(
            file.path,
            "the database does not have all of its pages",
            offset=file.size - file.size % page,
            expected=f"{pages or 'whole'} pages of {page} bytes",
            found=f"{file.size} bytes",
        )


@contextlib.contextmanager
def _connection(file: MappedFile) -> Iterator[Any]:
    """Open the database so that it can only be read; yield a function that asks for rows."""
    try:
        import sqlite3
    except ImportError:
        raise VecioError("this Python has no sqlite3, which Magnitude files need") from None

    with contextlib.ExitStack() as stack:
        name = _name(file, stack)
        try:
            base = sqlite3.connect(
                f"file:{quote(os.fsencode(name))}?mode=ro&immutable=1", uri=True, isolation_level=None
            )
            stack.callback(base.close)
            base.text_factory = bytes
            for setting in (
                "trusted_schema = OFF",
                "cell_size_check = ON",
                "query_only = ON",
                "mmap_size = 0",
            ):
                base.execute(f"PRAGMA {setting}").fetchall()
            if hasattr(base, "setlimit"):  # since Python 3.11
                base.setlimit(LENGTH_LIMIT, min(file.size + 1000, (1 << 31) - 1))
                base.setlimit(ATTACHED_LIMIT, 0)
            base.set_authorizer(_authorizer(sqlite3))
            base.set_progress_handler(_budget(file.size), LOOK)
            yield base.execute
        except VecioError:
            raise
        except (ValueError, sqlite3.Error, sqlite3.Warning, OverflowError, MemoryError) as error:
            raise FormatError(
                file.path,
                "SQLite cannot read the database",
                expected="a sound database",
                found=ascii(str(error))[1:120],
            ) from None


def _name(file: MappedFile, stack: contextlib.ExitStack) -> str:
    """Return a name under which SQLite finds the very file that is mapped; a copy where it has none."""
    name = file.unpacked or file.path
    with contextlib.suppress(OSError, ValueError):
        if os.path.samestat(os.stat(name), os.fstat(file._fd)):
            return os.path.abspath(name)
    copy = stack.enter_context(tempfile.NamedTemporaryFile(suffix=".magnitude"))
    for place in range(0, file.size, 1 << 20):
        copy.write(file.bytes(place, min(place + (1 << 20), file.size)))
    copy.flush()
    return copy.name


def _authorizer(sqlite3: Any) -> Any:
    """Allow to read tables and to look at their columns; refuse functions and everything else."""
    allowed = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ}

    def decide(action: int, first: str | None, *_: Any) -> int:
        fine = action in allowed or (action == sqlite3.SQLITE_PRAGMA and first == "table_xinfo")
        return int(sqlite3.SQLITE_OK if fine else sqlite3.SQLITE_DENY)

    return decide


def _budget(size: int) -> Any:
    left = [STEPS * size + (1 << 22)]

    def spend() -> int:
        left[0] -= LOOK
        return left[0] < 0

    return spend


class _Reader:
    """Turns the two tables into a model."""

    def __init__(self, file: MappedFile, ask: Any, scratch: str | bool) -> None:
        self.file, self.ask, self.scratch = file, ask, scratch

    def wrong(self, message: str, expected: object, found: object) -> FormatError:
        return FormatError(self.file.path, message, offset=0, expected=expected, found=found)

    def embeddings(self, normalized: bool) -> Embeddings:
        self.check_schema()
        settings = self.settings()
        columns = self.columns()
        dim = len(columns) - 2
        if settings.get("elmo", 0):
            raise UnsupportedError(f"{self.file.path}: vectors of whole sentences (elmo) are not served")
        for name, value in (("dim", dim), ("precision", None), ("size", None)):
            found = settings.get(name)
            if found is None or (value is not None and found != value):
                raise self.wrong(f"the setting {name}", "a number" if value is None else value, found)
        if not 0 <= settings["precision"] <= MOST_DIGITS:
            raise self.wrong("the setting precision", f"0 to {MOST_DIGITS}", settings["precision"])
        rows = settings["size"]
        if not 0 < rows <= self.file.size // len(columns):  # a column takes a byte at least
            raise self.wrong(
                "the setting size: there is no room for so many words",
                f"1 to {self.file.size // len(columns)} rows of {len(columns)} columns",
                rows,
            )
        return self.model(columns, rows, dim, settings, normalized)

    def check_schema(self) -> None:
        """See to it that both names stand for plain tables."""
        entries = self.ask(
            f"SELECT type, name, rootpage, sql FROM sqlite_master LIMIT {MOST_ENTRIES}"
        ).fetchall()
        for name in (TABLE, SETTINGS):
            found = [entry for entry in entries if _text(entry[1]).lower() == name]
            if len(found) != 1:
                raise self.wrong(f"the database has no table {name}", name, f"{len(found)} of this name")
            kind, root, text = _text(found[0][0]), found[0][2], _text(found[0][3])
            if (
                kind != "table"
                or not isinstance(root, int)
                or root < 1
                or not text.lower().startswith("create table")
            ):
                raise self.wrong(f"{name} is no plain table", "a table", ascii(kind)[:40])

    def columns(self) -> list[str]:
        """Return the names of the columns, as they must be."""
        found = self.ask(f"PRAGMA table_xinfo({TABLE})").fetchmany(MOST_COLUMNS)
        names = [_text(column[1]) for column in found]
        expected = ["key", *(f"dim_{i}" for i in range(len(names) - 2)), "magnitude"]
        if names != expected or len(names) < 3 or any(column[6] for column in found):
            raise self.wrong(
                f"the columns of {TABLE}",
                "key, dim_0, ..., magnitude",
                ascii(", ".join(names[:12]))[1:-1][:120],
            )
        return names

    def settings(self) -> dict[str, int]:
        """Return the settings; those that come several times (entropy) are left out."""
        kinds = [
            _text(column[1]) for column in self.ask(f"PRAGMA table_xinfo({SETTINGS})").fetchmany(MOST_COLUMNS)
        ]
        if kinds != ["key", "value"]:
            raise self.wrong(f"the columns of {SETTINGS}", "key, value", ascii(kinds)[:80])
        found: dict[str, int] = {}
        for key, value in self.ask(f"SELECT key, value FROM {SETTINGS} LIMIT {MOST_ENTRIES}"):
            if isinstance(value, int) and _text(key) != "entropy":
                found.setdefault(_text(key), value)
        return found

    def model(
        self, columns: list[str], rows: int, dim: int, settings: dict[str, int], normalized: bool
    ) -> Embeddings:
        target = RowTarget(self.file, rows, dim, np.float32, self.scratch)
        lengths = np.empty(rows, np.float32)
        words: list[bytes] = []
        cursor = self.ask(f"SELECT {', '.join(columns)} FROM {TABLE} NOT INDEXED ORDER BY rowid")
        step = max(1, BLOCK // dim)
        while block := cursor.fetchmany(step):
            self.file.check()
            start, stop = len(words), len(words) + len(block)
            if stop > rows:
                raise self.wrong("there are more words than the setting size says", rows, f"{stop} or more")
            words.extend(self.key(row[0], start + i) for i, row in enumerate(block))
            numbers = self.numbers(block, start)
            scale = 10.0 ** -settings["precision"]
            with np.errstate(over="ignore", invalid="ignore"):
                found = numbers[:, :-1] * scale
                if not normalized:
                    found = found * numbers[:, -1:] + 0.0
                target.put(start, found)
                lengths[start:stop] = numbers[:, -1]
        if len(words) != rows:
            raise self.wrong("there are fewer words than the setting size says", rows, len(words))
        lengths.flags.writeable = False
        values, backing = target.done()
        offsets = np.zeros(rows + 1, np.int64)
        np.cumsum([len(word) for word in words], out=offsets[1:])
        return Embeddings(
            Parts(
                Vocabulary(rows, rows, arrays=(np.frombuffer(b"".join(words), np.uint8), offsets, 0)),
                Float32(values),
                NAME,
                file=backing,
                lengths=lengths if normalized else None,
                metadata=dict(settings),
            )
        )

    def key(self, key: Any, row: int) -> bytes:
        if not isinstance(key, bytes):
            raise self.wrong(f"the key of row {row}", "text", type(key).__name__)
        return key

    def numbers(self, block: list[Any], start: int) -> Array:
        """Return dimensions and length of some rows as float64."""
        try:
            numbers = np.array([row[1:] for row in block], np.float64)
        except (TypeError, ValueError):
            raise self.wrong(
                f"a number in the rows {start} to {start + len(block) - 1}", "numbers", "text"
            ) from None
        missing = np.flatnonzero(np.isnan(numbers).any(1))
        if len(missing):
            raise self.wrong(f"a number of row {start + int(missing[0])}", "numbers", "null")
        return numbers


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


FORMAT = Format(NAME, (".magnitude",), detect, read)
