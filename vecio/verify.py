"""`vecio verify`: what opening a file does not look for, because it takes a pass over all of it.

Digests (of vecio's own files, and of any file with a `.sha256` beside it), numbers that are not finite, rows of zeros,
words that occur twice or are no UTF-8, counts out of order, norms and hash tables that disagree with the data. What is
wrong is an error; what is odd but can be read is a note.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ._binary import MappedFile
from ._rounding import norms_of
from ._safetensors import read_header
from .embeddings import Embeddings
from .errors import FormatError, VecioError
from .formats import open as open_file
from .formats import safetensors
from .matrix import Matrix
from .vocabulary import decode

Array = npt.NDArray[Any]
Progress = Callable[[int, int], None]

#: Bytes that are hashed, and rows that are read, at a time.
BLOCK_BYTES, BLOCK_ROWS = 1 << 24, 1 << 14
#: Words that are looked up at a time.
BLOCK_WORDS = 1 << 15
#: Places that a finding names.
NAMED = 3


@dataclass(frozen=True)
class Finding:
    """One thing that was found. level: "error" or "note". place: a tensor, a row or a byte, or None for the file."""

    level: str
    message: str
    place: str | None = None


@dataclass
class VerifyReport:
    """All that `verify` found in one file."""

    path: str
    format: str | None
    bytes: int
    words: int = 0
    digests: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether there are no errors among the findings."""
        return all(finding.level != "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and numbers, for JSON."""
        return {**asdict(self), "ok": self.ok}

    def __str__(self) -> str:
        lines = [f"{f.level}: {f.message}" for f in self.findings]
        return "\n".join([*lines, f"{self.path}: {'no errors' if self.ok else 'damaged'}"])


def verify(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> VerifyReport:
    """Read a whole file and return what is wrong or odd in it; memory does not grow with a file that is mapped.

    format and options: as for `vecio.open`. progress: called with bytes read and bytes in all. Raises what opening
    raises for a file that no format accepts (UnknownFormatError, UnsupportedError) or that cannot be opened (OSError);
    bytes that contradict the file's format become findings.
    """
    began = time.perf_counter()
    report = VerifyReport(os.fsdecode(path), None, 0)
    try:
        _Verifier(report, progress).run(path, {"format": format, **options})
    except FormatError as error:
        report.findings.append(_from_error(error))
    report.seconds = time.perf_counter() - began
    return report


def _from_error(error: FormatError) -> Finding:
    return Finding("error", str(error), None if error.offset is None else f"byte {error.offset}")


class _Verifier:
    """One pass over one file."""

    def __init__(self, report: VerifyReport, progress: Progress | None) -> None:
        self.report, self.progress = report, progress
        self.done, self.total = 0, report.bytes

    def error(self, message: str, place: str | None = None) -> None:
        self.report.findings.append(Finding("error", message, place))

    def note(self, message: str, place: str | None = None) -> None:
        self.report.findings.append(Finding("note", message, place))

    def advance(self, count: int) -> None:
        self.done += count
        if self.progress is not None:
            self.progress(min(self.done, self.total), self.total)

    def run(self, path: str | os.PathLike[str], options: dict[str, Any]) -> None:
        with open_file(path, **options) as e:
            assert e._file is not None
            self.report.format, self.report.words, self.report.bytes = e.format, len(e), e._file.size
            sidecar = _sidecar(e._file.path) if isinstance(e._file, MappedFile) else None
            matrices = _matrices(e)
            native = e.format == safetensors.NAME
            self.total = sum(m.nbytes for _, m in matrices) + e._file.size * (native + (sidecar is not None))
            if sidecar is not None and isinstance(e._file, MappedFile):
                self.check_sidecar(e._file, sidecar)
            if native and isinstance(e._file, MappedFile):
                self.check_digests(e._file)
            if self.check_words(e):
                self.check_counts(e)
            for name, matrix in matrices:
                self.check_rows(e, name, matrix)

    # -- digests -------------------------------------------------------------------------------------------------

    def digest(self, file: MappedFile, start: int, stop: int) -> str:
        from hashlib import sha256

        found = sha256()
        for place in range(start, stop, BLOCK_BYTES):
            file.check()
            block = file.bytes(place, min(place + BLOCK_BYTES, stop))
            found.update(block)
            self.advance(len(block))
        self.report.digests += 1
        return found.hexdigest()

    def check_sidecar(self, file: MappedFile, expected: str) -> None:
        found = self.digest(file, 0, file.size)
        if found != expected:
            self.error(f"{file.path}: the SHA-256 in {file.path}.sha256 is {expected}, the file's is {found}")

    def check_digests(self, file: MappedFile) -> None:
        container = read_header(file)
        expected = safetensors.read_object(file, container, "digests")
        self.advance(container.data_start)
        for name, tensor in container.tensors.items():
            shown = ascii(name)[1:-1][:40]
            found = self.digest(file, tensor.start, tensor.stop)
            if name not in expected:
                self.error(f"tensor {shown} has no digest in the header", f"tensor {shown}")
            elif found != expected[name]:
                self.error(
                    f"tensor {shown} (bytes {tensor.start} to {tensor.stop}) does not have the digest of the header: "
                    f"expected {ascii(expected[name])[1:65]}, found {found}",
                    f"tensor {shown}",
                )

    # -- words ---------------------------------------------------------------------------------------------------

    def check_words(self, e: Embeddings) -> bool:
        """Look up every word; return whether the vocabulary can be walked at all."""
        try:
            table = e._vocabulary.walkable()[3]
        except FormatError as error:
            self.report.findings.append(_from_error(error))
            return False
        twice: list[str] = []
        lost: list[str] = []
        broken: list[str] = []
        counts = [0, 0, 0]
        for start, keys in _entries(e):
            found = e._vocabulary.find_all(keys)
            for i in np.flatnonzero(found != np.arange(start, start + len(keys))).tolist():
                key, entry = keys[i], int(found[i])
                kind = 0 if 0 <= entry < start + i and e._vocabulary.entry(entry) == key else 1
                _name((twice, lost)[kind], counts, kind, f"{_shown(key)} (row {start + i})")
            for i, key in enumerate(keys):
                if not _is_text(key):
                    _name(broken, counts, 2, f"{_shown(key)} (row {start + i})")
        if counts[0]:
            self.note(
                f"{counts[0]:,} entries occur before; the first one is found: {_list(twice, counts[0])}"
            )
        if counts[1]:
            self.error(f"the hash table does not find {counts[1]:,} entries: {_list(lost, counts[1])}")
        if counts[2]:
            self.note(f"{counts[2]:,} entries are not UTF-8: {_list(broken, counts[2])}")
        filled, different = int(np.count_nonzero(table)), e._vocabulary.size - counts[0]
        if filled != different - counts[1]:
            self.error(f"the hash table has {filled:,} entries, the vocabulary {different:,} different ones")
        return True

    def check_counts(self, e: Embeddings) -> None:
        counts = e._vocabulary.counts
        if counts is None:
            return
        for name, part in (("words", counts[: len(e)]), ("labels", counts[len(e) :])):
            if len(part) and int(part.min()) < 0:
                self.error(f"negative counts of {name}, the first at row {int(np.flatnonzero(part < 0)[0])}")
            rising = np.flatnonzero(np.diff(part) > 0)
            if len(rising):
                self.note(
                    f"the counts of the {name} do not fall: {len(rising):,} rise, the first at row {int(rising[0]) + 1}"
                )

    # -- numbers -------------------------------------------------------------------------------------------------

    def check_rows(self, e: Embeddings, name: str, matrix: Matrix) -> None:
        """Look for numbers that are not finite, rows of zeros, and norms that are not those of the rows."""
        stored = e._norms if name == "words" else None
        bad: list[int] = []
        zero: list[int] = []
        other: list[int] = []
        totals = [0, 0, 0]
        for start in range(0, len(matrix), BLOCK_ROWS):
            e._check()
            stop = min(start + BLOCK_ROWS, len(matrix))
            block = matrix.block(start, stop)
            norms = norms_of(block)
            suspect = np.flatnonzero(~np.isfinite(norms))
            _collect(bad, totals, 0, start + suspect[~np.isfinite(block[suspect]).all(axis=1)])
            suspect = np.flatnonzero(norms == 0)
            _collect(zero, totals, 1, start + suspect[~block[suspect].any(axis=1)])
            if stored is not None:
                given = np.asarray(stored[start:stop])
                differ = (given != norms) & ~(np.isnan(given) & np.isnan(norms))
                _collect(other, totals, 2, start + np.flatnonzero(differ))
            self.advance(matrix.nbytes * (stop - start) // len(matrix))
        if totals[0]:
            self.error(
                f"{name}: {totals[0]:,} rows with numbers that are not finite: {_rows(bad, totals[0])}", name
            )
        if totals[1] == len(matrix) and totals[1]:
            self.note(f"{name}: all {totals[1]:,} rows are zero", name)
        elif totals[1] and name == "words":
            self.note(f"{name}: {totals[1]:,} rows are zero: {_rows(zero, totals[1])}", name)
        if totals[2]:
            self.error(f"norms: {totals[2]:,} are not those of the rows: {_rows(other, totals[2])}", "norms")


def _matrices(e: Embeddings) -> list[tuple[str, Matrix]]:
    """Return all matrices of a model under the names of vecio's tensors."""
    named = [
        ("words", e._words),
        ("grams", e._grams),
        ("output", e._parts.output),
        ("words.raw", e._parts.raw_words),
    ]
    return [(name, matrix) for name, matrix in named if matrix is not None]


def _entries(e: Embeddings) -> Iterator[tuple[int, list[bytes]]]:
    size = e._vocabulary.size
    for start in range(0, size, BLOCK_WORDS):
        e._check()
        yield start, e._vocabulary.entries(start, min(start + BLOCK_WORDS, size))


def _is_text(key: bytes) -> bool:
    if key.isascii():
        return True
    with suppress(UnicodeDecodeError):
        key.decode("utf-8")
        return True
    return False


def _sidecar(path: str) -> str | None:
    """Return the digest that `path`.sha256 gives (as `sha256sum` writes it), or None where there is no such file."""
    try:
        file = MappedFile.open(f"{path}.sha256")
    except (OSError, VecioError):
        return None
    try:
        match = re.match(rb"\\?([0-9a-fA-F]{64})(?![0-9a-fA-F])", file.bytes(0, min(file.size, 128)))
    finally:
        file.close()
    return match[1].decode().lower() if match else None


def _name(names: list[str], counts: list[int], kind: int, name: str) -> None:
    counts[kind] += 1
    if len(names) < NAMED:
        names.append(name)


def _collect(rows: list[int], totals: list[int], kind: int, found: Array) -> None:
    totals[kind] += len(found)
    rows.extend(int(row) for row in found[: NAMED - len(rows)])


def _shown(key: bytes) -> str:
    text = ascii(decode(key))
    return text if len(text) <= 40 else text[:37] + "..."


def _list(names: list[str], count: int) -> str:
    return ", ".join(names) + (", ..." if count > len(names) else "")


def _rows(rows: list[int], count: int) -> str:
    return _list([f"row {row}" for row in rows], count)
