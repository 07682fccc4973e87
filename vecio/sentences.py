"""Sentence vectors: fastText's rule for word models, a tokenizer's for models that have one, means, and SIF.

A text is cut into units: the tokens of the model's tokenizer, or what stands between white space. Each different unit
of a block of texts gets its vector once; the vectors of a text are averaged, in order, in float32. So the result does
not depend on threads or on how many texts are given at once. Sources: fastText's `getSentenceVector`
(`src/fasttext.cc`); model2vec's `StaticModel.encode`; sentence-transformers' `StaticEmbedding`; SIF: Arora, Liang and
Ma, "A simple but tough-to-beat baseline for sentence embeddings", ICLR 2017.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from . import _effort, _threads
from ._json import parse_json
from ._tokenizer import Tokenizer, first_of_each
from .compose import mean as mean
from .errors import FormatError
from .matrix import Float32, Matrix, sum_rows
from .vocabulary import encode as encode_word

if TYPE_CHECKING:
    from .embeddings import Embeddings

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Text = str | bytes
Pooling = Literal["fasttext", "mean", "sif"]
POOLINGS = ("fasttext", "mean", "sif")

#: The `a` of SIF: a unit that is as frequent as this counts half.
SIF = 1e-3
#: Texts that are worked on at a time, and bytes of them.
BATCH, BATCH_BYTES = 8192, 8 << 20
#: Texts of which one thread makes the means in one go.
PIECE = 256
#: Seconds that the mean of one text costs in plain numpy.
MEAN_COST = 8e-6
#: Texts of which fewer are never worth a kernel.
FEW = 4
#: Different rows of a matrix without compiled code that are held at once.
MOST_ROWS = 1 << 16


@dataclass
class Options:
    """How texts are encoded, beside what the model says itself. See `Embeddings.encode`."""

    max_length: int | EllipsisType | None = ...
    normalize: bool | None = None
    batch_size: int = BATCH
    threads: int | None = None
    pooling: Pooling | None = None
    remove_components: int | Array = 0
    progress: Callable[[int, int], None] | None = None

    def __post_init__(self) -> None:
        if self.pooling is not None and self.pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {', '.join(POOLINGS)} or None, not {self.pooling!r}")
        limit = self.max_length
        if limit is not None and limit is not ... and (not isinstance(limit, int) or limit < 0):
            raise ValueError(f"max_length must be a number of tokens or None, not {limit!r}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {self.batch_size}")


def encode_texts(e: Embeddings, texts: Sequence[Text], options: Options) -> Floats:
    """Return one vector a text, float32 (N, D)."""
    out = np.zeros((len(texts), e.dim), np.float32)
    start = 0
    for block in _blocks(texts, options.batch_size):
        out[start : start + len(block)] = _encode_block(e, block, options)
        start += len(block)
        if options.progress is not None:
            options.progress(start, len(texts))
    if isinstance(options.remove_components, np.ndarray) or options.remove_components:
        remove_components(out, options.remove_components)
    encoder = e._encoder
    wanted = encoder is not None and encoder.settings.normalize
    if wanted if options.normalize is None else options.normalize:
        _scale(out, encoder is not None and encoder.settings.rule == "sentence-transformers")
    return out


def _blocks(texts: Sequence[Text], size: int) -> Iterable[Sequence[Text]]:
    """Cut the texts into blocks of at most `size`, and of bounded length (but at least one)."""
    start = total = 0
    for i, text in enumerate(texts):
        if i > start and (i - start == size or total + len(text) > BATCH_BYTES):
            yield texts[start:i]
            start, total = i, 0
        total += len(text)
    if start < len(texts):
        yield texts[start:]


def _encode_block(e: Embeddings, texts: Sequence[Text], options: Options) -> Floats:
    """Return the vectors of a block of texts, not yet scaled."""
    limit, threads = options.max_length, options.threads
    if e._encoder is not None:
        units = e._encoder.units(texts, limit, threads)
        if options.pooling in (None, "mean") and e._words.compiled:
            return pool(e._words, units.rows, units.bounds, units.counts, threads)
        return _pooled_tokens(e, units, options.pooling or "mean", threads)
    keys = [encode_word(text) for text in texts]
    if e._classifier is not None and options.pooling is None:
        vectors: Floats = e._classifier.sentence_vectors(keys, threads=threads)
        return vectors
    pooling = options.pooling or "fasttext"
    lists = [tokens(key) if pooling == "fasttext" else key.split() for key in keys]
    if limit is not None and limit is not ...:
        lists = [words[:limit] for words in lists]
    return _pooled_words(e, lists, pooling, threads)


# -- units ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Units:
    """The rows of all texts (int64), where each text's begin (N + 1), and what its sum is divided by (N)."""

    rows: Array
    bounds: Array
    counts: Array


def tokens(text: bytes) -> list[bytes]:
    """Split the first line of a text as a C++ stream does: at ASCII white space, not at NUL."""
    return text.split(b"\n", 1)[0].split()


def _pooled_words(e: Embeddings, lists: list[list[bytes]], pooling: str, threads: int | None) -> Floats:
    """Return the vectors of texts that are lists of words; words without a vector do not count."""
    numbers: dict[bytes, int] = {}
    lengths = np.array([len(words) for words in lists], np.int64)
    flat = np.array([numbers.setdefault(word, len(numbers)) for words in lists for word in words], np.int64)
    words = list(numbers)
    vectors = np.zeros((len(words), e.dim), np.float32)
    made = np.zeros(len(words), np.bool_)
    if words:
        made = np.asarray(e._fill(words, vectors, threads)) != 0  # type: ignore[arg-type]
        vectors[~made] = 0
    if pooling == "sif":
        vectors *= frequency_weights(e, np.asarray(e.index(words)))[:, None]
    units = _kept(flat, _starts(lengths), made[flat])
    return _pooled(vectors, units, pooling, threads)


def _pooled_tokens(e: Embeddings, units: Units, pooling: str, threads: int | None) -> Floats:
    """Return the vectors of texts by way of their different rows; in parts where there are many."""
    out = np.empty((len(units.counts), e.dim), np.float32)
    start = 0
    while start < len(out):
        bounds = units.bounds
        stop = int(np.searchsorted(bounds, bounds[start] + MOST_ROWS, "right")) - 1
        stop = min(max(stop, start + 1), len(out))
        rows, places = np.unique(units.rows[bounds[start] : bounds[stop]], return_inverse=True)
        vectors = e._words.take(rows)
        if pooling == "sif":
            vectors = vectors * frequency_weights(e, rows)[:, None]
        part = Units(places.reshape(-1), bounds[start : stop + 1] - bounds[start], units.counts[start:stop])
        out[start:stop] = _pooled(vectors, part, pooling, threads)
        start = stop
    return out


def _kept(flat: Array, bounds: Array, keep: Array) -> Units:
    """Return the units of which some are left out."""
    if not keep.all():
        bounds = _starts(keep)[bounds]
        flat = flat[keep]
    return Units(flat, bounds, np.diff(bounds))


def _starts(lengths: Array) -> Array:
    """Return where each of several things of these lengths begins, and where the last ends."""
    bounds = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=bounds[1:])
    return bounds


def _pooled(vectors: Floats, units: Units, pooling: str, threads: int | None) -> Floats:
    """Return the vectors of texts from those of their units."""
    if pooling != "fasttext":
        return pool(Float32(vectors), units.rows, units.bounds, units.counts, threads)
    scaled = unit_rows(vectors)
    units = _kept(units.rows, units.bounds, np.asarray(scaled.any(axis=1))[units.rows])
    out = np.zeros((len(units.counts), vectors.shape[1]), np.float32)
    bounds = units.bounds.tolist()
    for i in np.flatnonzero(units.counts).tolist():
        out[i] = mean(scaled[units.rows[bounds[i] : bounds[i + 1]]])
    return out


def frequency_weights(e: Embeddings, rows: Array) -> Floats:
    """Return SIF's weights a / (a + p) of words, float32; row -1 is a word that training never saw: p = 0.

    p is a word's share of all counts. Where there are no counts the words are taken to stand in the order of their
    frequency and to follow Zipf's law: p of row r is proportional to 1 / (r + 2), as model2vec assumes.
    """
    counts = e.counts
    seen = rows >= 0
    p = np.zeros(len(rows), np.float64)
    if counts is not None:
        total = max(1.0, float(np.sum(counts, dtype=np.float64)))
        p[seen] = np.maximum(counts[rows[seen]], 0) / total
    elif len(e):
        p[seen] = 1.0 / (rows[seen] + 2) / _harmonic(len(e))
    return (SIF / (SIF + p)).astype(np.float32)


def _harmonic(n: int) -> float:
    """Return 1/2 + 1/3 + ... + 1/(n + 1), to about 1e-12."""
    if n < 1000:
        return float(sum(1.0 / (i + 2) for i in range(n)))
    x = float(n + 1)
    return float(np.log(x)) + float(np.euler_gamma) + 1 / (2 * x) - 1 / (12 * x * x) - 1.0


# -- means ---------------------------------------------------------------------------------------------------------


def pool(matrix: Matrix, rows: Array, bounds: Array, counts: Array, threads: int | None) -> Floats:
    """Return sum / count of the rows of each text, float32 (N, D), added in order; zeros where there are none.

    Text i has the rows `rows[bounds[i]:bounds[i + 1]]`. The compiled path and the plain one give the same bits.
    """
    n = len(counts)
    out = np.zeros((n, matrix.shape[1]), np.float32)
    if n >= FEW and matrix.compiled and _effort.kernels_due(n * MEAN_COST):
        from .kernels import tokens as kernels

        add: Any = kernels.pool
        storage = matrix.kernel()
        _threads.run_chunks(lambda a, b: add(rows, bounds, counts, a, b, storage, out), n, PIECE, threads)
        return out
    for i in np.flatnonzero(bounds[1:] > bounds[:-1]).tolist():
        with np.errstate(over="ignore", invalid="ignore"):
            out[i] = sum_rows(matrix.take(rows[bounds[i] : bounds[i + 1]])) / np.float32(counts[i])
    return out


def _scale(vectors: Floats, clipped: bool) -> None:
    """Divide each vector by its norm: at least 1e-12 (torch's `normalize`), or plus 1e-32 (model2vec)."""
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt(np.add.reduce(vectors * vectors, axis=1, keepdims=True))
        vectors /= np.maximum(norms, np.float32(1e-12)) if clipped else norms + np.float32(1e-32)


def first_components(vectors: npt.ArrayLike, count: int = 1) -> Floats:
    """Return the directions (count, D) in which vectors (N, D) are largest: their first right singular vectors."""
    values = np.asarray(vectors, np.float64)
    _, directions = np.linalg.eigh(values.T @ values)
    return np.ascontiguousarray(directions.T[::-1][:count], np.float32)


def remove_components(vectors: Floats, components: int | npt.ArrayLike) -> None:
    """Take out of vectors (N, D), in place, what lies in directions (k, D), or in their own first ones (a number)."""
    if isinstance(components, (int, np.integer)):
        if len(vectors) < 2:
            raise ValueError(
                "the first components of one text are the text itself: give many texts, or an array of components"
            )
        components = first_components(vectors, int(components))
    directions = np.atleast_2d(np.asarray(components, np.float32))
    if directions.ndim != 2 or directions.shape[1] != vectors.shape[1]:
        raise ValueError(f"components must be of shape (k, {vectors.shape[1]}), not {directions.shape}")
    with np.errstate(over="ignore", invalid="ignore"):
        for direction in directions:
            for row in vectors:  # one by one: the order of a sum must not depend on the batch
                row -= np.float32(np.dot(row, direction)) * direction


def unit_rows(vectors: Floats) -> Floats:
    """Return the rows divided by their norms as fastText does: float32 sums in order, times the rounded reciprocal."""
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt(np.add.accumulate(vectors * vectors, axis=1)[:, -1:])
        scales = np.zeros_like(norms)
        np.divide(1.0, norms, out=scales, where=norms > 0, dtype=np.float64, casting="same_kind")
        return vectors * scales


# -- tokenizers ----------------------------------------------------------------------------------------------------

#: Rows of ids that have none: the id counts as a zero vector, or is left out.
ZERO, LEFT_OUT = -1, -2


@dataclass(frozen=True)
class TokenSettings:
    """What a model says of its sentence vectors.

    rule: whose, "model2vec" or "sentence-transformers". ids: how many ids there are; unknown: the id that is left out,
    or None. max_length: ids of a text that count, or None; characters: each of them stands for so many characters, by
    which the text is cut first, or None. normalize: whether the result has length 1. prefix: what is put in front.
    """

    rule: str
    ids: int
    unknown: int | None = None
    max_length: int | None = None
    characters: int | None = None
    normalize: bool = False
    prefix: str = ""


class TokenEncoder:
    """Texts to rows by a model's own tokenizer.

    rows: the row of each id (int64; ZERO or LEFT_OUT), or None where id i is row i and ids from `nrows` on are ZERO.
    """

    def __init__(
        self,
        settings: TokenSettings,
        tokenizer: Callable[[], bytes],
        path: str,
        nrows: int,
        rows: Array | None = None,
    ) -> None:
        self.settings, self.path, self.nrows, self.rows = settings, path, nrows, rows
        self.tokenizer = Tokenizer(tokenizer, path, truncate=settings.rule == "sentence-transformers")

    @property
    def whole(self) -> bool:
        """Whether every id but hidden ones has the row of its number."""
        return self.rows is None

    def units(
        self, texts: Sequence[Text], max_length: int | EllipsisType | None, threads: int | None
    ) -> Units:
        """Return the rows that make up each text."""
        s = self.settings
        limit = s.max_length if max_length is ... else max_length
        plain = [s.prefix + text_of(text) for text in texts]
        if limit is not None and s.characters is not None:
            plain = [text[: limit * s.characters] for text in plain]
        ids, bounds = self.tokenizer.ids(plain, threads)
        if len(ids) and int(ids.max()) >= s.ids:
            raise FormatError(
                self.path,
                "the tokenizer gave an id that has no row",
                expected=f"below {s.ids}",
                found=ids.max(),
            )
        if limit is not None:
            ids, bounds = first_of_each(ids, bounds, limit)
        keep = np.ones(len(ids), np.bool_)
        if s.unknown is not None:
            keep &= ids != s.unknown
        rows = ids if self.rows is None else self.rows[ids]
        keep &= rows != LEFT_OUT
        units = _kept(rows, bounds, keep)
        zero = (units.rows < 0) | (units.rows >= self.nrows)
        if not zero.any():
            return units
        rest = _kept(units.rows, units.bounds, ~zero)
        return Units(rest.rows, rest.bounds, units.counts)

    def selected(self, ids: Array) -> TokenEncoder:
        """Return the encoder of a model that has only these rows, in this order: other tokens are left out."""
        new = np.full(max(self.nrows, int(ids.max(initial=-1)) + 1), LEFT_OUT, np.int64)
        new[ids] = np.arange(len(ids))
        old = np.arange(self.settings.ids) if self.rows is None else self.rows
        old = np.where(old >= self.nrows, ZERO, old)
        rows = np.where(old >= 0, new[np.maximum(old, 0)], old)
        return TokenEncoder(self.settings, self.tokenizer.read, self.path, len(ids), rows)

    def state(self) -> dict[str, bytes]:
        """Return everything that makes this encoder again, as bytes by name."""
        found = {
            "tokenizer.json": self.tokenizer.read(),
            "encoder.json": json.dumps(asdict(self.settings), sort_keys=True, separators=(",", ":")).encode(),
        }
        if self.rows is not None:
            found["rows"] = self.rows.astype("<i8").tobytes()
        return found

    @classmethod
    def from_state(
        cls, state: Mapping[str, bytes | Callable[[], bytes]], path: str, nrows: int
    ) -> TokenEncoder:
        """Make the encoder from what `state` gave; values may be calls that give the bytes. Raises FormatError."""
        settings = _read_settings(_bytes(state["encoder.json"]), path)
        rows = None
        if "rows" in state:
            data = _bytes(state["rows"])
            rows = np.frombuffer(data[: len(data) // 8 * 8], "<i8").astype(np.int64)
            if len(data) != 8 * settings.ids or (
                len(rows) and not LEFT_OUT <= rows.min() <= rows.max() < nrows
            ):
                raise FormatError(
                    path, "the rows of the tokenizer's ids", expected=f"{settings.ids} rows below {nrows}"
                )
        tokenizer = state["tokenizer.json"]
        return cls(settings, lambda: _bytes(tokenizer), path, nrows, rows)


def _bytes(value: bytes | Callable[[], bytes]) -> bytes:
    return value() if callable(value) else bytes(value)


def _read_settings(data: bytes, path: str) -> TokenSettings:
    """Return the settings from JSON; every value must be of its kind."""
    spec = parse_json(data, path, 1 << 20)
    kinds: dict[str, tuple[type, ...]] = {
        "rule": (str,),
        "ids": (int,),
        "unknown": (int, type(None)),
        "max_length": (int, type(None)),
        "characters": (int, type(None)),
        "normalize": (bool,),
        "prefix": (str,),
    }
    if not isinstance(spec, dict):
        raise FormatError(
            path, "the settings of the encoder", expected="an object", found=type(spec).__name__
        )
    for key, types in kinds.items():
        value = spec.get(key)
        if type(value) not in types or (type(value) is int and not 0 <= value < 1 << 31):
            raise FormatError(path, f"the encoder's {key}", found=ascii(value)[:40])
    return TokenSettings(**{key: spec[key] for key in kinds})


def text_of(text: Text) -> str:
    """Return a text as the tokenizer may see it: what is not UTF-8 (bytes, lone surrogates) becomes U+FFFD."""
    if isinstance(text, bytes):
        return text.decode("utf-8", "replace")
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    return text
