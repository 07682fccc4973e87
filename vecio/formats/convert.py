"""Converting a file to another format or to smaller numbers, with a report of what was kept, rounded and lost.

The writers stream; this file opens the source, asks the target's format to write, opens what was written and compares
a sample of words, known and unknown. It knows no bytes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..embeddings import Embeddings
from ..errors import FormatError, VecioError
from . import compress, fate_of, prepare, target_format, write
from . import open as open_file
from .base import ALL_WORDS, UNKNOWN, WORDS, Fate, Format, Written, makes_unknown, properties

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

#: Words that are compared after writing, spread evenly over the vocabulary; neighbours are searched for among them.
SAMPLE = 2000
#: What is compared where a model has no words of its own.
MADE_UP = tuple(f"{a}{b}".encode() for a in ("the", "river", "größe", "狐狸") for b in ("", "ing", "x", "s"))
#: What is kept where some words are left out.
KEPT_WORDS = "the order and bytes of the words that are not left out"
#: Words of the sample that are read at once.
PIECE = 64
#: How many of the nearest words are compared.
NEIGHBOURS = 10


@dataclass
class ConversionReport:
    """What a conversion did.

    kept, approximated, lost: properties of the source, in words; added: what the format needs and the source does not
    say. words, grams, labels: how many rows and labels the target has.

    The rest compares the target with the source, for the words that were not left out. largest_error and mean_error
    are of all numbers of the word vectors (of a sample where a compact file rounds lengths, too), least_cosine and
    mean_cosine between the vectors before and after (None: none has a direction). unknown_error: largest error in the
    vectors of unknown words, on a sample, or None. neighbour_overlap: share of the 10 nearest words that stay the same,
    on a sample of words searched among themselves. quality: of a file that was made smaller, what it says of itself:
    mean cosines of all words of the source, those left out and unknown included.
    """

    source: str
    target: str
    source_format: str
    format: str
    dtype: str
    words: int
    dim: int
    grams: int
    labels: int
    source_bytes: int
    target_bytes: int
    seconds: float
    kept: list[str] = field(default_factory=list)
    approximated: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    largest_error: float = 0.0
    mean_error: float = 0.0
    least_cosine: float | None = None
    mean_cosine: float | None = None
    unknown_error: float | None = None
    neighbour_overlap: float | None = None
    quality: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and numbers, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        ratio = self.target_bytes / self.source_bytes
        lines = [
            f"{self.source} ({self.source_format}) -> {self.target} ({self.format}, {self.dtype})",
            f"words         {self.words:,} x {self.dim}, {self.grams:,} n-gram rows, {self.labels:,} labels",
            f"size          {self.source_bytes:,} -> {self.target_bytes:,} bytes ({ratio:.0%}), {self.seconds:.1f} s",
        ]
        said = (
            ("kept", self.kept),
            ("approximated", self.approximated),
            ("lost", self.lost),
            ("added", self.added),
        )
        for title, items in said:
            lines += [f"{title if i == 0 else '':<13} {item}" for i, item in enumerate(items)]
        if self.approximated:
            of = "words that were kept" if KEPT_WORDS in self.kept else "words"
            lines.append(f"error         {of}: largest {self.largest_error:.3g}, mean {self.mean_error:.3g}")
            if self.least_cosine is not None:
                lines.append(
                    f"cosine        {of}: least {self.least_cosine:.7f}, mean {self.mean_cosine:.7f}"
                )
            if self.neighbour_overlap is not None:
                same = f"{self.neighbour_overlap:.2%} of the nearest {NEIGHBOURS}"
                lines.append(f"neighbours    {of}: {same} the same (sample)")
            if self.unknown_error is not None:
                lines.append(f"error         unknown words: largest {self.unknown_error:.3g} (sample)")
        if self.quality is not None:
            lines += [f"{_TITLES[key]:<40} {self.quality[key]:.6f}" for key in _TITLES if key in self.quality]
        return "\n".join(lines)


_TITLES = {
    "mean_cosine": "mean cosine, all words of the source",
    "mean_cosine_by_count": "mean cosine, all words, by their counts",
    "mean_cosine_unknown": "mean cosine, unknown words",
}


def convert(
    src: Any,
    dst: str | os.PathLike[str],
    *,
    format: str | None = None,
    dtype: str | None = None,
    strict: bool = False,
    drop: bool = False,
    source: dict[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> ConversionReport:
    """Convert `src` (whatever `vecio.open` takes) to `dst`, whose extension says the format unless `format` names one.

    Streaming and atomic: memory does not grow with the file, and `dst` is the old file or the whole new one. dtype:
    "float32", "float16", "int8" or "pqN"; None keeps that of the source as far as the format can. strict: refuse to
    lose anything (VecioError, before a byte is written). drop: leave out words that the format cannot hold. source:
    options of `vecio.open`. progress: called with rows done and rows in all. Further options belong to the target's
    format, except those that make the model smaller: words, grams (how many rows to keep), and for vecio's own format
    size (bytes, "20MB", "7.5%") or quality (mean cosine): see `formats.compress`.

    Raises UnsupportedError for a format that cannot be written, VecioError when `dst` is `src` itself and something of
    it would be lost, and what opening `src` raises.
    """
    began = time.perf_counter()
    chosen = target_format(dst, format)
    scratch = os.path.dirname(os.path.realpath(os.fsdecode(dst)))
    with open_file(src, **{"scratch": scratch, **(source or {})}) as opened:
        chosen = target_format(dst, format, opened)  # as `save`: `.bin` means what the source was
        model, left_out = prepare(opened, chosen, dst, drop=drop)
        whole, shrunk, judged = model, None, compress.judged(chosen, dtype, options)
        quality = options.get("quality")
        if compress.asked(options, dtype):
            shrunk = compress.shrink(whole, chosen, dtype, options)
            model, dtype = shrunk.model, shrunk.dtype
        told = {**options, **(shrunk.options if shrunk else {})}
        fate = fate_of(model, chosen, chosen.dtype_for(dst, dtype), told)
        gone = [name for name in properties(opened) if name not in properties(model) + fate.lost]
        limit = (source or {}).get("limit")
        if limit is not None and len(opened) == limit:
            gone.append(f"the words behind the first {limit:,}, which were not read")
        fate.lost += gone + left_out + (shrunk.lost if shrunk else [])
        _refuse_losses(src, dst, chosen, fate, strict)
        report = ConversionReport(
            source=_name(src, opened),
            target=os.fsdecode(dst),
            source_format=opened.format,
            format=chosen.name,
            dtype=fate.dtype,
            words=0,
            dim=model.dim,
            grams=0,
            labels=0,
            source_bytes=opened._file.size if opened._file is not None else 0,
            target_bytes=0,
            seconds=0.0,
            kept=fate.kept,
            approximated=fate.approximated,
            lost=fate.lost,
            added=fate.added,
        )
        if shrunk is not None and judged:
            began_with = shrunk.lost
            shrunk, written, found = compress.write(whole, shrunk, dst, options, quality, progress)
            report.lost = [text for text in report.lost if text not in began_with] + shrunk.lost
            report.quality = compress.report_of(whole, found)
            model = shrunk.model
        else:
            written = write(model, chosen, dst, dtype, {**told, "progress": progress})
        report.dtype = written.dtype
        report.lost += written.notes
        fewer = fewer_grams(whole, model)
        if fewer and UNKNOWN in report.kept:
            report.kept.remove(UNKNOWN)
            report.approximated.append(fewer)
        if len(model) < len(opened):
            report.kept = [KEPT_WORDS if text == ALL_WORDS else text for text in report.kept]
        with open_file(dst, format=chosen.name, scratch=scratch) as target:
            assert target._file is not None
            report.target_bytes = target._file.size
            report.words, report.labels = len(target), len(target.labels)
            report.grams = 0 if target._grams is None else len(target._grams)
            _compare(model, target, report, whole)
        _add_rounding(report, written)
    report.seconds = time.perf_counter() - began
    return report


def _name(src: Any, opened: Embeddings) -> str:
    return os.fsdecode(src) if isinstance(src, (str, bytes, os.PathLike)) else str(opened.path)


def _refuse_losses(src: Any, dst: Any, chosen: Format, fate: Fate, strict: bool) -> None:
    """Raise where something would be lost and must not be."""
    if strict and fate.lost:
        raise VecioError(f"{os.fsdecode(dst)}: {chosen.name} would lose {'; '.join(fate.lost)}")
    changed = fate.approximated + fate.lost
    if changed and isinstance(src, (str, bytes, os.PathLike)) and os.path.exists(src) and os.path.exists(dst):
        if os.path.samefile(src, dst):
            raise VecioError(f"{os.fsdecode(dst)}: writing the file over itself would lose {changed[0]}")


def _add_rounding(report: ConversionReport, written: Written) -> None:
    """Add what the writer counted on its way over all rows: it stands for more than the sample."""
    if written.words is not None:
        words = written.words
        if words.numbers_final:
            report.largest_error, report.mean_error = words.largest_error, words.mean_error
        if words.least_cosine is not None:
            report.least_cosine, report.mean_cosine = words.least_cosine, words.mean_cosine
    for name, tally in (("word vectors", written.words), ("n-gram rows", written.grams)):
        if tally is None or not tally.lost:
            continue
        if written.dtype == "float16":
            report.lost.append(f"{tally.lost:,} numbers of the {name} beyond 65,504: infinite as float16")
        else:
            report.lost.append(
                f"{tally.lost:,} {name} with NaN or infinite numbers: all NaN as {written.dtype}"
            )


def fewer_grams(before: Embeddings, after: Embeddings) -> str | None:
    """Say what the vectors of unknown words are made of, where n-gram rows were left out and some are there."""
    if before._grams is None or after._grams is None or not makes_unknown(after):
        return None
    rows, all_rows = len(after._grams), len(before._grams)
    return f"{UNKNOWN}: from {rows:,} of {all_rows:,} n-gram rows" if rows < all_rows else None


def _compare(source: Embeddings, target: Embeddings, report: ConversionReport, whole: Embeddings) -> None:
    """Read a sample back and compare; what was to be exact must be.

    source: the model that was written; whole: what it was before anything was left out. Errors are against `whole`.
    """
    if len(source) and len(target) != len(source) and WORDS not in report.lost:
        raise FormatError(
            report.target, "written and read back", expected=f"{len(source)} words", found=len(target)
        )
    if not len(source) and UNKNOWN in report.lost:
        return
    rows = np.unique(np.linspace(0, len(source) - 1, min(SAMPLE, len(source))).astype(np.int64))
    words = [source._vocabulary.entry(int(row)) for row in rows] or list(MADE_UP)
    before, after = _read(source, words), _read(target, words)
    unknown = [a + b for a, b in zip(words[:-1:7], words[1::7], strict=False)]
    old, new = _read(source, unknown), _read(target, unknown)
    fewer = fewer_grams(whole, source)
    if report.approximated in ([], [fewer]):
        same = _bits(before) == _bits(after) and (UNKNOWN in report.lost or _bits(old) == _bits(new))
        if not same:
            raise FormatError(report.target, "written and read back, the vectors differ from the source's")
    if not report.approximated:
        return
    if source is not whole:
        before, old = _read(whole, words), _read(whole, unknown)
    _add_errors(report, before, after)
    if UNKNOWN not in report.lost and UNKNOWN in properties(source) and unknown:
        report.unknown_error = _largest(np.abs(old - new))
    if len(rows) > NEIGHBOURS:
        report.neighbour_overlap = _overlap(before, after)


def _add_errors(report: ConversionReport, before: Floats, after: Floats) -> None:
    """Add the errors of a sample; a writer that counted all rows puts its own figures in their place."""
    with np.errstate(all="ignore"):
        errors = np.abs(before.astype(np.float64) - after)
        products = (before.astype(np.float64) * after).sum(axis=1)
        norms = np.sqrt(
            (before.astype(np.float64) ** 2).sum(axis=1) * (after.astype(np.float64) ** 2).sum(axis=1)
        )
        cosines = products[norms > 0] / norms[norms > 0]
    finite = errors[np.isfinite(errors)]
    report.largest_error, report.mean_error = _largest(errors), float(finite.mean()) if len(finite) else 0.0
    cosines = cosines[np.isfinite(cosines)]
    if len(cosines):
        report.least_cosine, report.mean_cosine = float(cosines.min()), float(cosines.mean())


def _read(e: Embeddings, words: list[bytes]) -> Floats:
    """Return the vectors of the words, giving the pages back that were mapped around them (they can be large)."""
    vectors = np.empty((len(words), e.dim), np.float32)
    for start in range(0, len(words), PIECE):
        vectors[start : start + PIECE] = e.embed(words[start : start + PIECE], "zero")
        if e._file is not None:
            e._file.advise("DONTNEED")
    return vectors


def _bits(vectors: Floats) -> bytes:
    """Return the bytes of the vectors, every NaN as the same one, and zeros without a sign: sums have none."""
    same: Floats = np.where(np.isnan(vectors), np.float32(np.nan), vectors) + np.float32(0)
    return same.astype(np.float32).tobytes()


def _largest(errors: Array) -> float:
    finite = errors[np.isfinite(errors)]
    return float(finite.max(initial=0.0))


def _overlap(before: Floats, after: Floats) -> float:
    """Return the share of the nearest words, by cosine among the sample, that is the same before and after."""
    same = 0
    a, b = _unit(before), _unit(after)
    for start in range(0, len(a), 256):
        first = _nearest(a[start : start + 256] @ a.T, start)
        second = _nearest(b[start : start + 256] @ b.T, start)
        same += sum(len(np.intersect1d(x, y)) for x, y in zip(first, second, strict=True))
    return same / (len(a) * NEIGHBOURS)


def _unit(vectors: Floats) -> Floats:
    finite = np.nan_to_num(vectors, nan=0.0, posinf=0.0, neginf=0.0)
    norms = np.linalg.norm(finite.astype(np.float64), axis=1, keepdims=True)
    return (finite / np.where(norms > 0, norms, 1.0)).astype(np.float32)


def _nearest(scores: Floats, start: int) -> Array:
    """Return the columns of the highest scores of each row, the row's own word left out."""
    rows = np.arange(len(scores))
    scores[rows, start + rows] = -np.inf
    return np.argpartition(-scores, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
