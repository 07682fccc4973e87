"""Making a model smaller on its way to a file: fewer words and n-gram rows, fewer bytes a row, to a size or a quality.

`shrink` turns the options `words`, `grams`, `size` and `quality` into a smaller model (a view) and the options of the
writer. For a size or a quality it looks for the best rung: numbers of words and n-gram rows, and how each is stored.
Every rung is judged on a sample, by the vectors that its file would give: words of the vocabulary, evenly spread and
weighted by their counts, and made-up unknown words.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import _quantise
from .._binary import MappedFile
from .._rounding import DTYPES, round_rows
from ..embeddings import Embeddings
from ..errors import UnsupportedError, VecioError
from ..prune import gram_order, prune, word_order
from ..views import select
from . import safetensors
from .base import Format, Written

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]

#: What callers may say; the rest of the options belongs to the writer.
OPTIONS = ("words", "grams", "size", "quality")
#: Words of each kind that judge a rung while one is looked for, and that the report in the file is made of.
JUDGES, SAMPLE = 500, 10_000
#: Numbers of a vector times words that judge: what is kept for a search stays below 200 MB.
JUDGED = 100_000
#: Rows that a quantiser is trained on while a rung is looked for.
TRAINED = 1 << 13
#: Shares of the words, and of the n-gram rows, that are tried.
SHARES = (0.0, 1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
#: Bytes that the header says of a quantiser's tensors.
QUANTISER_HEADER = 600
#: Files that are made until one reaches a quality.
TRIES = 5
#: Times that the number of rows is corrected by the size that the file would really have.
FITTINGS = 10
#: How near the search for a quality comes to the smallest size.
CLOSE = 0.03


class Quality(NamedTuple):
    """Mean cosines between vectors before and after: of words, of words weighted by counts, of unknown words.

    None where there is nothing to compare: no counts, no vectors for unknown words.
    """

    words: float | None
    weighted: float | None
    unknown: float | None

    @property
    def score(self) -> float:
        """The mean of those that there are, to nine digits: what a search makes as large as it can."""
        there = [value for value in self if value is not None]
        return round(sum(there) / len(there), 9) if there else 1.0


class Rung(NamedTuple):
    """One way to store a model: dtypes of word rows and n-gram rows, and how many of each."""

    dtype: str
    grams_dtype: str
    words: int
    grams: int | None


@dataclass
class Shrunk:
    """What `shrink` found: the smaller model, what its writer is told, and what was left out, in words.

    again: looks for a model of a higher quality; where a quality was asked for.
    """

    model: Embeddings
    dtype: str | None
    options: dict[str, Any] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    again: Callable[[float], Shrunk] | None = None


def judged(chosen: Format, dtype: str | None, options: dict[str, Any]) -> bool:
    """Say whether the file that these options ask for is judged, and tells how good it is."""
    return chosen.name == safetensors.NAME and asked(options, dtype) and dtype != "pq"


def asked(options: dict[str, Any], dtype: str | None) -> bool:
    """Say whether the options make a model smaller in a way that the file should tell about."""
    return any(options.get(name) is not None for name in OPTIONS) or (dtype or "").startswith("pq")


def shrink(e: Embeddings, chosen: Format, dtype: str | None, options: dict[str, Any]) -> Shrunk:
    """Return the model as the options ask for it; they are taken out of `options`.

    words, grams: how many rows to keep. size: bytes of the file, as a number or as text: "20MB", "7.5%" (of the
    source). quality: mean cosine that the file must reach, between 0 and 1: as small as possible. The last two are for
    vecio's own format, and exclude each other.
    """
    words, grams, size, quality = (options.pop(name, None) for name in OPTIONS)
    if size is not None and quality is not None:
        raise ValueError("a size or a quality can be asked for, not both")
    if size is None and quality is None:
        model = prune(e, words, grams)
        return Shrunk(model, dtype, {}, _left_out(e, model))
    if chosen.name != safetensors.NAME:
        raise UnsupportedError(f"{chosen.name} files have one size: a target is for {safetensors.NAME} files")
    if e._classifier is not None:
        raise UnsupportedError(f"{e.path or 'this model'}: a classifier is not made smaller by search")
    search = _Search(e, dtype, words, grams, options.pop("grams_dtype", None))
    if size is not None:
        return _shrunk(search, search.for_size(bytes_of(size, e)))

    asked_for = _share(quality)

    def reaching(wanted: float) -> Shrunk:
        shrunk = _shrunk(search, search.for_quality(wanted, asked_for))
        shrunk.again = reaching
        return shrunk

    return reaching(asked_for)


def _shrunk(search: _Search, rung: Rung) -> Shrunk:
    model = search.model(rung)
    made: dict[str, Any] = {"compact": True}
    if search.e._grams is not None:
        made["grams_dtype"] = rung.grams_dtype
    return Shrunk(model, rung.dtype, made, _left_out(search.e, model))


def write(
    e: Embeddings,
    shrunk: Shrunk,
    path: str | os.PathLike[str],
    options: dict[str, Any],
    quality: float | None = None,
    progress: Progress | None = None,
) -> tuple[Shrunk, Written, Quality]:
    """Write a model that was made smaller from `e` as vecio's own file, with a report on its quality in it.

    The file is made beside its place, opened and judged; then its rows are copied to their place behind a header that
    has the report. quality: what it must reach; where the sample of the search was too kind, the next try aims higher.
    """
    options = {name: value for name, value in options.items() if value is not None and value is not False}
    wrong = sorted(set(options) - {"raw_rows", "compact", "grams_dtype"})
    if wrong:
        raise ValueError(f"{safetensors.NAME} has no option {wrong[0]!r} to write")
    wanted, best = quality, 0.0
    folder = os.path.dirname(os.path.abspath(os.fsdecode(path)))
    for _ in range(TRIES):
        descriptor, made = tempfile.mkstemp(dir=folder, prefix=".vecio-", suffix=".safetensors")
        os.close(descriptor)
        try:
            told = {**options, **shrunk.options}
            written = safetensors.write(shrunk.model, made, shrunk.dtype, progress=progress, **told)
            with safetensors.read(MappedFile.open(made)) as after:
                found = quality_of(e, after)
                best = max(best, found.score)
                if quality is None or wanted is None or found.score >= quality or shrunk.again is None:
                    grams = None if after._grams is None else after._grams.dtype
                    told["grams_dtype"] = grams
                    safetensors.write(after, path, None, report=report_of(e, found), **told)
                    return shrunk, written, found
        finally:
            os.unlink(made)
        wanted = min(1.0, max(wanted + 1.3 * (quality - found.score), wanted + 0.1 * (1 - wanted)))
        shrunk = shrunk.again(wanted)
    raise VecioError(f"a mean cosine of {quality} is not reached: {best:.9f} is the best")


def _left_out(before: Embeddings, after: Embeddings) -> list[str]:
    lost = []
    if len(after) < len(before):
        known = "; they are made of n-grams" if after._grams is not None and len(after._grams) else ""
        lost.append(f"{len(before) - len(after):,} of {len(before):,} words, the rarest{known}")
    if before._grams is not None and after._grams is not None and len(after._grams) < len(before._grams):
        lost.append(
            f"{len(before._grams) - len(after._grams):,} of {len(before._grams):,} n-gram rows, the least used"
        )
    return lost


def bytes_of(size: int | float | str, e: Embeddings) -> int:
    """Return a size in bytes: a number, or text with kB, MB, GB (powers of 1000), KiB, MiB, GiB or % of the source."""
    if isinstance(size, bool) or not isinstance(size, (int, float, str)):
        raise ValueError(f"size must be a number of bytes or text, not {size!r}")
    text = str(size).strip().replace("_", "").lower()
    units = {
        "%": 0,
        "kib": 1 << 10,
        "mib": 1 << 20,
        "gib": 1 << 30,
        "kb": 1000,
        "mb": 10**6,
        "gb": 10**9,
        "b": 1,
    }
    unit = next((name for name in units if text.endswith(name)), "")
    try:
        number = float(text.removesuffix(unit))
    except ValueError:
        raise ValueError(f"a size is a number with kB, MB, GB or %, not {size!r}") from None
    if not 0 < number < float("inf"):
        raise ValueError(f"a size must be more than 0, not {size!r}")
    if unit == "%":
        if e._file is None:
            raise ValueError(f"{size} of what? There is no file")
        return int(number / 100 * e._file.size)
    return int(number * (units[unit] if unit else 1))


def _share(quality: float) -> float:
    if isinstance(quality, bool) or not isinstance(quality, (int, float)) or not 0 < quality <= 1:
        raise ValueError(f"quality must be a mean cosine, above 0 and up to 1, not {quality!r}")
    return float(quality)


# -- judging ---------------------------------------------------------------------------------------------------------


def quality_of(before: Embeddings, after: Embeddings, count: int = SAMPLE) -> Quality:
    """Return how near the vectors of one model are to those of another that it was made from, on a sample."""
    sample = _Sample(before, count)
    made = [after.embed(words, "zero") if words else None for words in sample.groups]
    return _quality(sample, made)


def report_of(before: Embeddings, found: Quality) -> dict[str, Any]:
    """Return what a file says about its quality; `before` is the model that it was made from."""
    report = {
        "mean_cosine": found.words,
        "mean_cosine_by_count": found.weighted,
        "mean_cosine_unknown": found.unknown,
        "sample": min(SAMPLE, len(before)),
        "words": len(before),
        "grams": 0 if before._grams is None else len(before._grams),
        "format": before.format,
    }
    return {key: round(v, 6) if isinstance(v, float) else v for key, v in report.items() if v is not None}


class _Sample:
    """Words to judge by, and their vectors in the model that is judged against.

    groups: keys of words evenly spread over the vocabulary; drawn by counts; made up, each not in the vocabulary.
    """

    def __init__(self, e: Embeddings, count: int) -> None:
        self.embeddings = e
        size = len(e)
        self.even: Array = np.unique(np.linspace(0, max(size - 1, 0), min(size, count)).astype(np.int64))
        self.drawn = self.by_counts(count)
        words = [[e._vocabulary.entry(int(i)) for i in ids] for ids in (self.even, self.drawn)]
        self.groups = [*words, self.made_up(words[0]) if _makes_unknown(e) else []]
        self.vectors = [e.embed(keys, "zero") if keys else None for keys in self.groups]

    def by_counts(self, count: int) -> Array:
        """Return rows drawn in proportion to their counts, evenly along the running sum."""
        counts = self.embeddings.counts
        if counts is None or not len(counts):
            return np.empty(0, np.int64)
        running = np.cumsum(np.maximum(counts, 0).astype(np.float64))
        places = (np.arange(count) + 0.5) / count * running[-1]
        drawn: Array = np.minimum(np.searchsorted(running, places, side="right"), len(counts) - 1)
        return drawn

    def made_up(self, words: list[bytes]) -> list[bytes]:
        """Return words that are not in the vocabulary: known ones with two letters swapped, one lost, or an ending."""
        e, found = self.embeddings, []
        for i, word in enumerate(words):
            try:
                text = word.decode()
            except UnicodeDecodeError:
                continue
            if len(text) < 4:
                continue
            middle = len(text) // 2
            changed = (
                text[: middle - 1] + text[middle] + text[middle - 1] + text[middle + 1 :],
                text[:middle] + text[middle + 1 :],
                text + text[-3:],
            )[i % 3]
            key = changed.encode()
            if e._vocabulary.find(key) < 0:
                found.append(key)
        return found


def _makes_unknown(e: Embeddings) -> bool:
    return e._subwords is not None and e._subwords.has_ngrams and e._grams is not None and len(e._grams) > 0


def _quality(sample: _Sample, made: list[Floats | None]) -> Quality:
    return Quality(
        *(
            None if old is None or new is None else mean_cosine(old, new)
            for old, new in zip(sample.vectors, made, strict=True)
        )
    )


def mean_cosine(before: Floats, after: Floats) -> float | None:
    """Return the mean cosine of the rows of two arrays; a vector that is gone counts as 0; None without any."""
    x, y = before.astype(np.float64), after.astype(np.float64)
    with np.errstate(all="ignore"):
        norms = np.sqrt((x * x).sum(axis=1)), np.sqrt((y * y).sum(axis=1))
        cosines = (x * y).sum(axis=1) / (norms[0] * norms[1])
    usable = np.isfinite(norms[0]) & (norms[0] > 0)
    cosines = np.where(np.isfinite(cosines), cosines, 0.0)[usable]
    return float(cosines.mean()) if len(cosines) else None


# -- looking for a rung ----------------------------------------------------------------------------------------------


class _Search:
    """Tries rungs for one model. What is asked for is kept: a dtype, or numbers of words or n-gram rows."""

    def __init__(
        self, e: Embeddings, dtype: str | None, words: int | None, grams: int | None, grams_dtype: str | None
    ) -> None:
        self.e = e
        self.words, self.grams = words, grams
        #: A classifier is no matter here; other models without n-gram rows have words only.
        self.with_grams = _makes_unknown(e)
        self.word_order = word_order(e)
        self.gram_order = gram_order(e) if self.with_grams else np.empty(0, np.int64)
        self.rank = np.full(0 if e._grams is None else len(e._grams), len(self.gram_order), np.int64)
        self.rank[self.gram_order] = np.arange(len(self.gram_order))
        self.sample = _Sample(e, max(50, min(JUDGES, JUDGED // e.dim)))
        self.free = dtype is None and grams_dtype is None
        self.own = dtype or safetensors.choose_dtype(e, None), safetensors.choose_grams(e, dtype, grams_dtype)
        self.dtypes = [dtype] if dtype is not None else self.usual("float16", "int8", 1, 2, 4)
        last = grams_dtype or dtype
        self.grams_dtypes = [last] if last is not None else self.usual("float16", "int8", 1, 2, 3, 4)
        for name in (*self.dtypes, *self.grams_dtypes):
            safetensors.choose_dtype(e, name)  # raises ValueError
            if name == "pq":
                raise ValueError(f"a search cannot use the dtype {name!r}: say pqN")
        self.made: dict[tuple[str, str], Any] = {}

    def usual(self, *kinds: str | int) -> list[str]:
        """Return dtypes to try: names, and columns of a piece of product-quantised rows."""
        dim = self.e.dim
        found = [k if isinstance(k, str) else f"pq{-(-dim // k)}" for k in kinds]
        return list(dict.fromkeys(found if dim >= 4 else found[:2]))

    def model(self, rung: Rung) -> Embeddings:
        """Return the view of a rung."""
        words = None if rung.words >= len(self.e) else np.sort(self.word_order[: rung.words])
        grams = None
        if rung.grams is not None and rung.grams < len(self.rank):
            grams = np.sort(self.gram_order[: rung.grams])
        return self.e if words is None and grams is None else select(self.e, words, grams)

    def size(self, rung: Rung) -> int:
        """Return the bytes of the file of a rung, with its report."""
        report = {"mean_cosine": 0.123456, "mean_cosine_by_count": 0.123456, "mean_cosine_unknown": 0.123456}
        report |= {"sample": SAMPLE, "words": len(self.e), "grams": len(self.rank)}
        full = {**report, "format": self.e.format}
        return safetensors.planned_size(self.model(rung), rung.dtype, rung.grams_dtype, True, full)

    # -- what a rung is worth

    @cached_property
    def sources(self) -> list[tuple[Array, Array]]:
        """Return the n-gram rows of the words of each group, the best of a word first, and where each word's begin."""
        found = []
        for keys in self.sample.groups:
            lists = [self.e._subwords.rows(key) if self.e._subwords is not None else [] for key in keys]
            bounds = np.cumsum([0, *map(len, lists)])
            rows = np.array([row for some in lists for row in some], np.int64)
            owners = np.repeat(np.arange(len(keys)), np.diff(bounds))
            found.append((rows[np.lexsort((self.rank[rows], owners))], bounds))
        return found

    @cached_property
    def needed(self) -> Array:
        """Return the n-gram rows that the sample uses, sorted."""
        return np.unique(np.concatenate([rows for rows, _ in self.sources]))

    def sums(self, dtype: str) -> list[Floats]:
        """Return for each group the running sums of each word's n-gram rows, as they come back from `dtype`."""
        key = ("sums", dtype)
        if key not in self.made:
            assert self.e._grams is not None
            stored = self._rounded("grams", dtype, self.e._grams.take(self.needed))
            self.made[key] = []
            for rows, bounds in self.sources:
                running = stored[np.searchsorted(self.needed, rows)]
                for start, stop in itertools.pairwise(bounds.tolist()):
                    np.cumsum(running[start:stop], axis=0, out=running[start:stop])
                self.made[key].append(running)
        return self.made[key]  # type: ignore[no-any-return]

    def stored(self, dtype: str) -> list[Floats | None]:
        """Return the words of the first two groups as they come back from `dtype`."""
        key = ("words", dtype)
        if key not in self.made:
            vectors = self.sample.vectors[:2]
            self.made[key] = [None if v is None else self._rounded("words", dtype, v) for v in vectors]
        return self.made[key]  # type: ignore[no-any-return]

    def _rounded(self, name: str, dtype: str, rows: Floats) -> Floats:
        if dtype == "float32":
            return rows
        if dtype in DTYPES:
            stored = round_rows(rows, dtype)
            values = stored.values.astype(np.float32)
            return values if stored.scales is None else values * stored.scales[:, None]
        quantiser = self.quantiser(name, dtype)
        return _quantise.encode(rows, quantiser, keep_norms=name == "words").rows

    def quantiser(self, name: str, dtype: str) -> _quantise.Quantiser:
        key = ("train " + name, dtype)
        if key not in self.made:
            dsub = -(-self.e.dim // int(dtype[2:]))
            self.made[key] = _quantise.train(self.training(name), dsub)
        return self.made[key]  # type: ignore[no-any-return]

    def training(self, name: str) -> Floats:
        """Return rows to train a quantiser on: of the frequent half, which is the one that is kept."""
        order = self.word_order if name == "words" else self.gram_order
        ids = order[np.linspace(0, len(order) // 2, min(TRAINED, len(order))).astype(np.int64)]
        if name == "grams":
            assert self.e._grams is not None
            return self.e._grams.take(np.unique(ids))
        return self.e.embed([self.e._vocabulary.entry(int(i)) for i in np.unique(ids)], "zero")

    def quality(self, rung: Rung) -> Quality:
        """Return what the file of a rung would be worth."""
        made: list[Floats | None] = []
        for i, keys in enumerate(self.sample.groups):
            if not keys:
                made.append(None)
                continue
            vectors = np.zeros((len(keys), self.e.dim), np.float32)
            if self.with_grams:
                rows, bounds = self.sources[i]
                limit = len(self.rank) if rung.grams is None else rung.grams
                kept = np.concatenate([[0], np.cumsum(self.rank[rows] < limit)])
                counts = kept[bounds[1:]] - kept[bounds[:-1]]
                some = np.flatnonzero(counts)
                vectors[some] = self.sums(rung.grams_dtype)[i][bounds[:-1][some] + counts[some] - 1]
            if i < 2:
                ids = (self.sample.even, self.sample.drawn)[i]
                known, words = self.word_rank[ids] < rung.words, self.stored(rung.dtype)[i]
                assert words is not None
                vectors[known] = words[known]
            made.append(vectors)
        return _quality(self.sample, made)

    @cached_property
    def word_rank(self) -> Array:
        rank = np.empty(len(self.e), np.int64)
        rank[self.word_order] = np.arange(len(self.e))
        return rank

    # -- the search

    def for_size(self, limit: int) -> Rung:
        """Return the best rung whose file has at most `limit` bytes."""
        whole = self.asked(*self.own, len(self.e), None)
        if self.size(whole) <= limit:
            return whole
        best = self.best(limit)
        if best is None:
            return self.smallest(limit)
        rung, fits = best[1], None
        for _ in range(FITTINGS):  # the estimate was a little low, or high
            size = self.size(rung)
            if size <= limit:
                fits = rung
                if self.grams is not None or limit - size < limit // 500:
                    return rung
            changed = self.changed(rung, limit - size)
            if changed == rung:
                break
            rung = changed
        return self.smallest(limit) if fits is None else fits

    def asked(self, dtype: str, grams_dtype: str, words: int, grams: int | None) -> Rung:
        """Return a rung with the numbers of words and n-gram rows that are asked for, else with these."""
        words = words if self.words is None else min(self.words, len(self.e))
        return Rung(dtype, grams_dtype, words, grams if self.grams is None else self.grams)

    def smallest(self, limit: int) -> Rung:
        """Return the smallest rung of all; raises VecioError where it is larger than `limit`."""
        none = 0 if self.with_grams else None
        pairs = itertools.product(self.dtypes, self.grams_dtypes if self.with_grams else self.dtypes[:1])
        sizes = {rung: self.size(rung) for rung in (self.asked(*pair, 0, none) for pair in pairs)}
        rung = min(sizes, key=lambda rung: sizes[rung])
        if sizes[rung] > limit:
            raise VecioError(
                f"no file of this model has {limit:,} bytes or less: the smallest has {sizes[rung]:,}"
            )
        return rung

    def changed(self, rung: Rung, room: int) -> Rung:
        """Return the rung with about so many bytes more, or fewer where `room` is negative."""
        a_word, a_gram = self.costs(rung.dtype, rung.grams_dtype)
        if rung.grams is not None and self.grams is None and (rung.grams or room > 0):
            step = int(room / a_gram * 0.98) if room > 0 else int(room / a_gram * 1.01) - 1
            return rung._replace(grams=max(0, min(rung.grams + step, len(self.gram_order))))
        if self.words is None and (rung.grams is None or room < 0):
            step = int(room / a_word * 0.98) if room > 0 else int(room / a_word * 1.01) - 1
            return rung._replace(words=max(0, min(rung.words + step, len(self.e))))
        return rung

    def for_quality(self, wanted: float, least: float) -> Rung:
        """Return the smallest rung that is found to reach a quality; the best one, where that reaches `least` only."""
        low, high = 1, 2 * self.size(self.largest())
        best = self.best(high)
        if best is not None and best[0] < least and self.free:  # no rounding at all
            self.dtypes = self.grams_dtypes = ["float32"]
            high = 2 * self.size(self.largest())
            best = self.best(high)
        if best is None or best[0] < least:
            reached = "nothing" if best is None else f"{best[0]:.9f}"
            raise VecioError(f"a mean cosine of {least} is not reached: {reached} is the best")
        if best[0] < wanted:
            return best[1]
        while high - low > CLOSE * high:
            middle = (low + high) // 2
            found = self.best(middle)
            if found is not None and found[0] >= wanted:
                best, high = found, middle
            else:
                low = middle
        return best[1]

    def largest(self) -> Rung:
        return Rung(self.dtypes[0], self.grams_dtypes[0], len(self.e), len(self.rank))

    def costs(self, dtype: str, grams_dtype: str) -> tuple[float, float]:
        """Return about how many bytes a word and an n-gram row take."""
        e = self.e
        offsets = e._vocabulary.walkable()[1]
        text = float(offsets[len(e)] - offsets[0]) / max(1, len(e))
        counts = 0 if e.counts is None else 1.3
        return text + 1 + counts + self.width(dtype), 1.2 + self.width(grams_dtype)

    def width(self, dtype: str) -> int:
        """Return the bytes of one row."""
        dim = self.e.dim
        if dtype.startswith("pq"):
            dsub = -(-dim // int(dtype[2:]))
            return -(-dim // dsub) + 1
        return {"float32": 4 * dim, "float16": 2 * dim, "int8": dim + 4}[dtype]

    def fixed(self, dtype: str, grams_dtype: str) -> int:
        """Return the bytes of centroids, rotations and levels."""
        one = 2 * 256 * self.e.dim + 2 * self.e.dim**2 + 1024 + QUANTISER_HEADER
        return self.header + one * (
            dtype.startswith("pq") + (self.with_grams and grams_dtype.startswith("pq"))
        )

    @cached_property
    def header(self) -> int:
        """Return the bytes of a file without rows."""
        return self.size(Rung("float32", "float32", 0, 0 if self.with_grams else None))

    def best(self, limit: int) -> tuple[float, Rung] | None:
        """Return the score of the best rung that fits in about `limit` bytes, and the rung."""
        found = None
        for rung in self.rungs(limit):
            score = self.quality(rung).score
            if found is None or score > found[0]:
                found = score, rung
        return found

    def rungs(self, limit: int) -> Iterable[Rung]:
        """Yield the rungs that are worth a try: as many n-gram rows as fit beside a number of words."""
        size, used, whole = len(self.e), len(self.gram_order), False
        for dtype in self.dtypes:
            for grams_dtype in self.grams_dtypes if self.with_grams else [dtype]:
                if self.width(grams_dtype) > self.width(dtype) or whole:
                    continue  # finer n-grams than words, or coarser than what is known to fit as a whole
                a_word, a_gram = self.costs(dtype, grams_dtype)
                room = limit - self.fixed(dtype, grams_dtype)
                if room < 0:
                    continue
                fitting = int(room / a_word)
                numbers = {min(self.words, size)} if self.words is not None else self.numbers(size, fitting)
                for words in sorted(numbers):
                    left = room - words * a_word
                    if left < 0:
                        continue
                    if not self.with_grams:
                        yield Rung(dtype, grams_dtype, words, None)
                        continue
                    if self.grams is None and left >= len(self.rank) * self.width(grams_dtype):
                        yield Rung(
                            dtype, grams_dtype, words, None
                        )  # unknown words may use rows that known ones do not
                    grams = min(int(left / a_gram), used)
                    if self.grams is not None:
                        if self.grams > grams and self.grams <= used:
                            continue
                        grams = min(grams, self.grams)
                    whole |= words == size and grams == used
                    yield Rung(dtype, grams_dtype, words, grams)

    def numbers(self, size: int, fitting: int) -> set[int]:
        """Return numbers of words to try: shares of all, and of what fits."""
        most = min(size, fitting)
        if not self.with_grams:
            return {most}
        return {n for share in SHARES for n in (int(share * size), int(share * most)) if n <= most}
