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
from . import open as open_file
from . import safetensors, target_format

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

#: Words that are compared after writing, spread evenly over the vocabulary; neighbours are searched for among them.
SAMPLE = 2000
#: Words of the sample that are read at once.
PIECE = 64
#: How many of the nearest words are compared.
NEIGHBOURS = 10


@dataclass
class ConversionReport:
    """What a conversion did.

    kept, approximated, lost: properties of the source, in words. largest_error and mean_error are of all numbers of the
    word vectors, least_cosine and mean_cosine between the vectors before and after (None: no vector has a direction).
    unknown_error: largest error in the vectors of unknown words, on a sample, or None. neighbour_overlap: share of the
    10 nearest words that stay the same, on a sample of words searched among themselves.
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
    largest_error: float = 0.0
    mean_error: float = 0.0
    least_cosine: float | None = None
    mean_cosine: float | None = None
    unknown_error: float | None = None
    neighbour_overlap: float | None = None

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
        for title, items in (("kept", self.kept), ("approximated", self.approximated), ("lost", self.lost)):
            lines += [f"{title if i == 0 else '':<13} {item}" for i, item in enumerate(items)]
        if self.approximated:
            lines.append(f"error         largest {self.largest_error:.3g}, mean {self.mean_error:.3g}")
            if self.least_cosine is not None:
                lines.append(f"cosine        least {self.least_cosine:.7f}, mean {self.mean_cosine:.7f}")
            if self.unknown_error is not None:
                lines.append(f"unknown words largest error {self.unknown_error:.3g} (sample)")
            if self.neighbour_overlap is not None:
                lines.append(
                    f"neighbours    {self.neighbour_overlap:.2%} of the nearest {NEIGHBOURS} the same (sample)"
                )
        return "\n".join(lines)


def convert(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    *,
    format: str | None = None,
    dtype: str | None = None,
    raw_rows: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> ConversionReport:
    """Convert the file `src` to `dst`, whose extension says the format unless `format` names one.

    Streaming and atomic: memory does not grow with the file, and `dst` is the old file or the whole new one. dtype:
    "float32", "float16" or "int8"; None keeps that of the source. raw_rows: keep what the original file needs to be
    written again. progress: called with rows done and rows in all. Further options belong to the target's format.

    Raises UnsupportedError for a format that cannot be written, VecioError when `dst` is `src` itself and something of
    it would be lost, and what opening `src` raises.
    """
    began = time.perf_counter()
    chosen = target_format(dst, format)
    assert chosen.write is not None
    with open_file(src) as source:
        rounded, lost = _losses(source, dtype, raw_rows)
        if (rounded or lost) and os.path.exists(dst) and os.path.samefile(src, dst):
            raise VecioError(
                f"{os.fsdecode(dst)}: writing the file over itself would lose {(rounded + lost)[0]}"
            )
        source_bytes = os.stat(src).st_size
        written = chosen.write(source, dst, dtype=dtype, raw_rows=raw_rows, progress=progress, **options)
        report = ConversionReport(
            source=os.fsdecode(src),
            target=os.fsdecode(dst),
            source_format=source.format,
            format=chosen.name,
            dtype=safetensors.choose_dtype(source, dtype),
            words=len(source),
            dim=source.dim,
            grams=0 if source._grams is None else len(source._grams),
            labels=len(source.labels),
            source_bytes=source_bytes,
            target_bytes=os.stat(dst).st_size,
            seconds=0.0,
            kept=_kept(source, raw_rows),
            approximated=rounded,
            lost=lost,
        )
        if isinstance(written, safetensors.Written):
            _add_rounding(report, written)
        with open_file(dst, format=chosen.name) as target:
            _compare(source, target, report)
    report.seconds = time.perf_counter() - began
    return report


def _losses(e: Embeddings, dtype: str | None, raw_rows: bool) -> tuple[list[str], list[str]]:
    """Return what will be rounded, and what will be left out."""
    chosen = safetensors.choose_dtype(e, dtype)
    rounded, lost = [], []
    exact = {"float32": ("float32", "float16", "int8", "pq"), "float16": ("float16",), "int8": ("int8",)}[
        chosen
    ]
    computed = not e._accumulated and e._subwords is not None and e._classifier is None
    if e.dtype not in exact or (computed and chosen != "float32"):
        rounded.append(f"the word vectors, as {chosen}")
    if e._grams is not None and e._grams.dtype not in exact:
        rounded.append(f"the n-gram rows, as {chosen}")
    if rounded and e._classifier is not None:
        rounded.append("the probabilities of labels, which follow from them")
    if e._classifier is None and not raw_rows:
        if computed or e._parts.raw_words is not None:
            lost.append(
                "the words' own rows: the vectors are kept, the original file cannot be written again"
            )
        if e._parts.output is not None:
            lost.append("the output matrix of the training (raw_rows keeps both)")
    return rounded, lost


def _kept(e: Embeddings, raw_rows: bool) -> list[str]:
    kept = ["the words, their order and bytes"]
    if e._vocabulary.counts is not None:
        kept.append("their counts")
    if e._subwords is not None and e._subwords.has_ngrams:
        kept.append("vectors for unknown words")
    if e._classifier is not None:
        kept.append("labels and their prediction")
    if raw_rows and e._classifier is None:
        kept.append("the words' own rows and the output matrix")
    return kept + ["the settings"]


def _add_rounding(report: ConversionReport, written: safetensors.Written) -> None:
    """Add what the writer counted on its way over all rows."""
    words, grams = written.words, written.grams
    report.dtype = written.dtype
    report.largest_error, report.mean_error = words.largest_error, words.mean_error
    report.least_cosine, report.mean_cosine = words.least_cosine, words.mean_cosine
    for name, tally in (("word vectors", words), ("n-gram rows", grams)):
        if tally.lost and written.dtype == "float16":
            report.lost.append(f"{tally.lost:,} numbers of the {name} beyond 65,504: infinite as float16")
        elif tally.lost:
            report.lost.append(f"{tally.lost:,} {name} with NaN or infinite numbers: all NaN as int8")


def _compare(source: Embeddings, target: Embeddings, report: ConversionReport) -> None:
    """Read a sample back and compare; what was to be exact must be."""
    if len(target) != len(source):
        raise FormatError(
            report.target, "written and read back", expected=f"{len(source)} words", found=len(target)
        )
    if not len(source):
        return
    rows = np.unique(np.linspace(0, len(source) - 1, min(SAMPLE, len(source))).astype(np.int64))
    words = [source._vocabulary.entry(int(row)) for row in rows]
    before, after = _read(source, words), _read(target, words)
    unknown = [a + b for a, b in zip(words[:-1:7], words[1::7], strict=False)]
    old, new = _read(source, unknown), _read(target, unknown)
    if not report.approximated:
        same = _bits(before) == _bits(after) and _bits(old) == _bits(new)
        if not same:
            raise FormatError(report.target, "written and read back, the vectors differ from the source's")
        return
    if source._subwords is not None and source._subwords.has_ngrams and unknown:
        report.unknown_error = _largest(np.abs(old - new))
    if len(rows) > NEIGHBOURS:
        report.neighbour_overlap = _overlap(before, after)


def _read(e: Embeddings, words: list[bytes]) -> Floats:
    """Return the vectors of the words, giving the pages back that were mapped around them (they can be large)."""
    vectors = np.empty((len(words), e.dim), np.float32)
    for start in range(0, len(words), PIECE):
        vectors[start : start + PIECE] = e.embed(words[start : start + PIECE], "zero")
        if e._file is not None:
            e._file.advise("DONTNEED")
    return vectors


def _bits(vectors: Floats) -> bytes:
    """Return the bytes of the vectors, every NaN as the same one."""
    return np.where(np.isnan(vectors), np.float32(np.nan), vectors).astype(np.float32).tobytes()


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
