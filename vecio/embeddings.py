"""The one object a user holds: a vocabulary, a matrix of words and, where the file has them, sub-words.

It is immutable, safe to use from many threads and after a fork, and sent through pickle as path, identity and options.
This file knows no format: readers (`formats/`) build an `Embeddings` from its parts. It knows no rule, either: how the
vector of a word is made of rows is up to `compose`.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import EllipsisType, MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import numpy.typing as npt

from . import _effort, compose
from ._binary import MappedFile, MappedGroup
from .errors import UnsupportedError, VecioError, WordError
from .matrix import Float32, Matrix
from .sentences import BATCH, Pooling, encode_texts
from .sentences import Options as SentenceOptions
from .subwords import Subwords, word_pairs
from .vocabulary import Vocabulary, Words, decode, encode

if TYPE_CHECKING:
    from .classifier import Classifier
    from .explain import Explanation
    from .sentences import TokenEncoder

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Missing = Literal["raise", "zero", "nan"]

#: Bytes from which on it matters how the kernel reads ahead: 10 pages of a cold file take 8 ms by default, 1 ms when
#: they are said to be read at random.
LARGE = 64 << 20
#: How many of the missing words an error names.
NAMED = 5


@dataclass
class Parts:
    """What a reader hands over. Matrices have D columns each.

    words: V rows; grams: B rows or None; accumulated: whether a known word's vector is its row (else it is the mean of
    its row and its n-gram rows); unit: whether the vector of an unknown word is scaled to length 1 (finalfusion);
    norms: float32 (V,) of the word vectors, where the file has them; lengths: float32 (V,) that the vectors had before
    a program scaled them to length 1; encoder: how texts become vectors, where the file says it; reopen and options:
    how `pickle` opens the file again.
    """

    vocabulary: Vocabulary
    words: Matrix
    format: str
    file: MappedFile | MappedGroup | None = None
    grams: Matrix | None = None
    subwords: Subwords | None = None
    accumulated: bool = True
    unit: bool = False
    norms: npt.NDArray[Any] | None = None
    lengths: npt.NDArray[Any] | None = None
    encoder: TokenEncoder | None = None
    #: whether the file packs its vocabulary: a copy does, too.
    packed: bool = False
    classifier: Classifier | None = None
    #: output matrix (V or L rows) of the training objective, where the file has one, and raw word rows kept beside
    #: accumulated ones: what is needed to write the original file again.
    output: Matrix | None = None
    raw_words: Matrix | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    reopen: Callable[..., Embeddings] | None = None
    options: dict[str, Any] = field(default_factory=dict)


class Embeddings:
    """Vectors for words, known or unknown, from a file where it lies. Made by `vecio.open` or `from_arrays`.

    Rows are numbered as fastText does: words are 0 .. V-1, row r of the n-gram matrix is V + r.
    """

    #: Set by `vecio.formats`, so that `save` finds a writer: this file knows no format.
    _save: Callable[..., Any] | None = None

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._file = parts.file
        self._vocabulary = parts.vocabulary
        self._words = parts.words
        self._grams = parts.grams
        self._subwords = parts.subwords
        self._accumulated = parts.accumulated
        self._norms = parts.norms
        self._classifier = parts.classifier
        self._encoder = parts.encoder
        self._size = len(parts.vocabulary)
        self._limit = len(parts.words) + (0 if parts.grams is None else len(parts.grams))
        advice = Advice(parts)
        #: Both may be called by others; neither keeps this object alive.
        self._advise, self._read_ahead = advice.give, advice.read_ahead
        self._advise(self._grams, "RANDOM")
        self._composer = compose.choose(
            compose.Model(
                parts.vocabulary,
                parts.words,
                parts.grams,
                parts.subwords,
                parts.accumulated,
                parts.unit,
                advice.read_ahead,
            )
        )
        #: Whether compiled code makes all of these vectors.
        self._compiled = self._composer.compiled
        #: What makes the vector of one word of its key and entry, or None where nothing does.
        self._vector = self._composer.vector
        self._source: SearchSource | None = None

    @classmethod
    def from_arrays(
        cls,
        words: Iterable[str | bytes],
        vectors: npt.ArrayLike,
        *,
        counts: Sequence[int] | npt.NDArray[Any] | None = None,
        grams: npt.ArrayLike | None = None,
        minn: int = 0,
        maxn: int = 0,
        accumulated: bool = True,
        metadata: dict[str, Any] | None = None,
    ) -> Embeddings:
        """Make embeddings from words and their vectors (V, D), kept as float32 without a copy where they are.

        grams: (B, D) rows for n-grams of `minn` to `maxn` characters, chosen by `fnv1a(ngram) % B` as in fastText.
        accumulated: True when `vectors` are the finished vectors of the words; False when they are the words' own
            rows, to be averaged with those of their n-grams as in a fastText `.bin`.
        Raises ValueError where shapes disagree or a word occurs twice.
        """
        matrix = _float_rows(vectors, "vectors")
        vocabulary = Vocabulary.from_words(words, counts)
        if len(vocabulary) != len(matrix):
            raise ValueError(f"{len(vocabulary)} words, but {len(matrix)} vectors")
        _refuse_duplicates(vocabulary)
        rows, subwords = None, None
        if grams is not None:
            rows = _float_rows(grams, "grams")
            if rows.shape[1] != matrix.shape[1]:
                raise ValueError(f"grams have {rows.shape[1]} columns, vectors {matrix.shape[1]}")
            if not 0 < len(rows) < 1 << 31 or maxn < 1:
                raise ValueError(
                    f"n-grams need rows and maxn >= 1; there are {len(rows)} rows and maxn is {maxn}"
                )
            subwords = Subwords(minn, maxn, len(rows))
        return cls(
            Parts(
                vocabulary,
                Float32(matrix),
                "arrays",
                grams=None if rows is None else Float32(rows),
                subwords=subwords,
                accumulated=accumulated or rows is None,
                metadata=dict(metadata or {}),
            )
        )

    # -- what it is ----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self._size

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._words.shape[1]

    @property
    def dtype(self) -> str:
        """How the rows are stored: "float32", "float16", "int8" or "pq". What comes out is always float32."""
        return self._words.dtype

    @property
    def format(self) -> str:
        """Name of the file's format."""
        return self._parts.format

    @property
    def metadata(self) -> MappingProxyType[str, Any]:
        """What the file says about itself: training settings under fastText's names, provenance; read-only."""
        return MappingProxyType(self._parts.metadata)

    @property
    def path(self) -> str | None:
        """The file, or None for embeddings made from arrays."""
        return None if self._file is None else self._file.path

    @property
    def words(self) -> Words:
        """The words in row order, decoded when asked for; without loss through surrogate escapes."""
        return Words(self._vocabulary, 0, self._size, self._check)

    @property
    def counts(self) -> Integers | None:
        """How often training saw each word: int64 (V,), or None."""
        self._check()
        counts = self._vocabulary.counts
        return None if counts is None else counts[: self._size]

    @property
    def labels(self) -> Words:
        """The labels of a classifier (and label entries that a word model may have), in the file's order."""
        return Words(self._vocabulary, self._size, self._vocabulary.size, self._check)

    def __repr__(self) -> str:
        path = "" if self._file is None else f" of {self._file.path!r}"
        return f"<vecio.Embeddings{path}: {self._size} words x {self.dim}, {self.dtype}, {self.format}>"

    # -- membership ----------------------------------------------------------------------------------------------

    def __contains__(self, word: object) -> bool:
        return isinstance(word, (str, bytes)) and 0 <= self._entry(encode(word)) < self._size

    @overload  # a str is an Iterable[str], too: the first that fits counts
    def index(self, words: str | bytes) -> int: ...  # type: ignore[overload-overlap]
    @overload
    def index(self, words: Iterable[str | bytes]) -> Integers: ...
    def index(self, words: str | bytes | Iterable[str | bytes]) -> int | Integers:
        """Return the row of a word, or of each word of a list (int64); -1 where it is not in the vocabulary."""
        if isinstance(words, (str, bytes)):
            entry = self._entry(encode(words))
            return entry if entry < self._size else -1
        batch = _as_list(words)
        self._check()
        found = self._vocabulary.find_all(batch)
        found[found >= self._size] = -1
        return found

    def can_embed(self, word: str | bytes) -> bool:
        """Say whether the word has a vector: it is in the vocabulary, or made of sub-words."""
        key = encode(word)
        entry = self._entry(key)
        return 0 <= entry < self._size or bool(self._composer.rows(key, entry))

    # -- vectors -------------------------------------------------------------------------------------------------

    def __getitem__(self, word: str | bytes | Sequence[str | bytes]) -> Floats:
        if not isinstance(word, (str, bytes)):
            return self.embed(word)
        key = encode(word)
        vector = self._vector(key, self._entry(key))
        if vector is None:
            raise self._missing_error([word])
        return vector

    def embed(
        self,
        words: str | bytes | Iterable[str | bytes],
        missing: Missing = "raise",
        out: Floats | None = None,
        *,
        threads: int | None = None,
    ) -> Floats:
        """Return the vectors of the words, known or not: float32 (N, D), or (D,) for one word.

        missing: what a word without any vector gets: "raise" a WordError, "zero" a row of zeros, "nan" a row of NaN.
        out: a float32 array of the result's shape to write to. threads: how many to use (all processors).
        """
        if missing not in ("raise", "zero", "nan"):
            raise ValueError(f"missing must be 'raise', 'zero' or 'nan', not {missing!r}")
        if isinstance(words, (str, bytes)):
            one: Floats = self.embed([words], missing, None if out is None else out[None], threads=threads)[0]
            return one
        batch = _as_list(words)
        target = self._target(out, len(batch))
        self._check()
        made = self._fill(batch, target, threads)
        self._check()
        if not made.all():
            self._settle_missing(batch, target, made, missing)
        if out is not None and target is not out:
            out[...] = target
            return out
        return target

    def _fill(self, batch: list[str | bytes], target: Floats, threads: int | None) -> Integers:
        """Write the vectors of a batch to `target`; return for each word how many rows made it (0: none)."""
        return self._composer.fill(batch, target, threads)

    def _block(self, start: int, stop: int) -> Floats:
        """Return the finished vectors of the words `start` .. `stop - 1` (n, D)."""
        self._check()
        return self._composer.block(start, stop)

    # -- sub-words -----------------------------------------------------------------------------------------------

    def subwords(self, word: str | bytes) -> list[tuple[str, int]]:
        """Return (string, row) of what makes up the word, in fastText's order: a known word itself, then its n-grams.

        An n-gram that pruning dropped has row -1. A floret string comes once for each of its rows.
        """
        self._check()
        return [(decode(text), row) for text, row in self._pairs(encode(word))]

    def _pairs(self, key: bytes) -> list[tuple[bytes, int]]:
        return word_pairs(key, self._vocabulary.find(key), self._size, self._subwords, self._limit)

    def explain(self, word: str | bytes) -> Explanation:
        """Tell how the word's vector is made: its n-grams, their rows, which of them training ever saw, and coverage.

        Costs a pass over the vocabulary for an unknown word.
        """
        from .explain import explain

        self._check()
        key = encode(word)
        known = 0 <= self._vocabulary.find(key) < self._size
        return explain(key, known, self._pairs(key), self._vocabulary, self._subwords)

    # -- neighbours ----------------------------------------------------------------------------------------------

    def similarity(self, a: str | bytes, b: str | bytes) -> float:
        """Return the cosine of two words; 0.0 when one of the vectors is zero."""
        from .search import cosine

        return cosine(self[a], self[b])

    def nearest(
        self,
        queries: str | bytes | Sequence[str | bytes] | npt.ArrayLike,
        k: int = 10,
        *,
        threads: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[Integers, Floats]:
        """Return the `k` nearest words by cosine: row numbers int64 (Q, k) and scores float32 (Q, k), best first.

        queries: vectors (Q, D), or words; one vector or word gives arrays of shape (k,). A query word finds itself.
        `k` is cut to the number of words. Exact. progress: called with words done and words in all.
        """
        from . import search

        vectors, single = self._query_vectors(queries)
        self._check()
        ids, scores = search.nearest(self._search_source(), vectors, k, threads=threads, progress=progress)
        self._check()
        return (ids[0], scores[0]) if single else (ids, scores)

    def most_similar(
        self,
        positive: Any = None,
        negative: Any = (),
        topn: int = 10,
        *,
        threads: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[tuple[str, float]]:
        """Return the `topn` words nearest to the sum of `positive` less `negative`, as [(word, cosine), ...].

        As in gensim: an item is a word, a vector, or a pair of one of them and a weight; every vector is first divided
        by its norm; words that were asked for are left out of the answer. king - man + woman is
        `most_similar(positive=["king", "woman"], negative=["man"])`. Exact; a scan of all words (about 50 ms for two
        million float16 rows; seconds for a fastText file in place, whose vectors are computed each time: convert it).
        """
        from . import search

        items = [(item, 1.0) for item in _items(positive)] + [(item, -1.0) for item in _items(negative)]
        if not items:
            raise ValueError("most_similar needs at least one word or vector")
        vectors, weights, rows = self._resolve(items)
        self._check()
        ids, scores = search.most_similar(
            self._search_source(), vectors, weights, topn, exclude=rows, threads=threads, progress=progress
        )
        self._check()
        return [(self.words[int(i)], float(s)) for i, s in zip(ids, scores, strict=True)]

    def _query_vectors(self, queries: Any) -> tuple[Floats, bool]:
        if isinstance(queries, (str, bytes)):
            return self.embed([queries]), True
        if not isinstance(queries, np.ndarray):
            queries = list(queries)
            if queries and all(isinstance(item, (str, bytes)) for item in queries):
                return self.embed(queries), False
        vectors = np.asarray(queries, np.float32)
        if vectors.ndim not in (1, 2) or (vectors.size and vectors.shape[-1] != self.dim):
            raise ValueError(
                f"queries must be of shape (Q, {self.dim}) or ({self.dim},), not {vectors.shape}"
            )
        return vectors.reshape(-1, self.dim), vectors.ndim == 1 and vectors.size > 0

    def _resolve(self, items: list[tuple[Any, float]]) -> tuple[Floats, Floats, list[int]]:
        """Return the vectors (n, D), weights (n,) and vocabulary rows of the items of `most_similar`."""
        vectors, weights, rows = [], [], []
        for item, sign in items:
            thing, weight = item if _is_weighted(item) else (item, 1.0)
            if isinstance(thing, (str, bytes)):
                row = self.index(thing)
                rows.extend([row] if row >= 0 else [])
                vectors.append(self[thing])
            else:
                vector = np.asarray(thing, np.float32)
                if vector.shape != (self.dim,):
                    raise ValueError(f"a vector must be of shape ({self.dim},), not {vector.shape}")
                vectors.append(vector)
            weights.append(sign * weight)
        return np.array(vectors, np.float32), np.array(weights, np.float32), rows

    def _search_source(self) -> SearchSource:
        if self._source is None:
            self._source = SearchSource(self)
        if not self._source.accumulated:  # all vectors are about to be computed
            self._read_ahead()
        return self._source

    # -- sentences and labels ------------------------------------------------------------------------------------

    def encode(
        self,
        sentences: str | bytes | Iterable[str | bytes] | None = None,
        *,
        texts: str | bytes | Iterable[str | bytes] | None = None,
        max_length: int | EllipsisType | None = ...,
        normalize: bool | None = None,
        pooling: Pooling | None = None,
        remove_components: int | npt.ArrayLike = 0,
        batch_size: int = BATCH,
        threads: int | None = None,
        use_multiprocessing: bool = True,
        multiprocessing_threshold: int = 0,
        show_progress_bar: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Floats:
        """Return sentence vectors, float32 (N, D), or (D,) for one text, by the rule of the model's own program.

        A model with a tokenizer (model2vec, sentence-transformers): the mean of its tokens, with that program's ways
        of cutting, leaving out and scaling; needs the package tokenizers (extra `tokenizers`). A word model:
        fastText's mean of the unit vectors of the words of the first line. A supervised model: the mean of all rows of
        the line (words, n-grams, word n-grams), with the end of the line counted in. Zeros without words. The numbers
        do not depend on threads and batches.

        sentences (or texts): bytes are UTF-8; what is not becomes U+FFFD for a tokenizer.
        max_length: how many tokens or words of a text count (None: all; as the model says unless given).
        normalize: whether the vectors are divided by their norms (None: as the model says, which word models do not).
        pooling: another rule: "mean" of the tokens, or of the words between white space that have vectors;
            "fasttext": the mean of their unit vectors; "sif": the mean with weights a / (a + p), a = 1e-3, where p is a
            word's share of the counts (without counts: of Zipf's law by its row).
        remove_components: directions (k, D) that are taken out of the vectors, or how many of their own first ones
            (SIF takes out one); `vecio.sentences.first_components` gives those of other texts.
        batch_size: texts that are worked on at a time. threads: how many to use (all processors).
        use_multiprocessing, multiprocessing_threshold: model2vec's names: False, or no more texts than the threshold,
            is one thread. show_progress_bar: accepted for the same reason; nothing is printed, `progress` is called
            with texts done and texts in all.
        """
        given = sentences if texts is None else texts
        if given is None or (texts is not None and sentences is not None):
            raise TypeError("encode needs sentences (or texts)")
        single = isinstance(given, (str, bytes))
        batch: list[str | bytes] = [given] if isinstance(given, (str, bytes)) else list(given)
        for text in batch:
            if not isinstance(text, (str, bytes)):
                raise TypeError(f"a text must be str or bytes, not {type(text).__name__}")
        if threads is None and (not use_multiprocessing or len(batch) <= multiprocessing_threshold):
            threads = 1
        removed = remove_components if isinstance(remove_components, int) else np.asarray(remove_components)
        options = SentenceOptions(max_length, normalize, batch_size, threads, pooling, removed, progress)
        self._check()
        out = encode_texts(self, batch, options)
        self._check()
        return out[0] if single else out

    def predict(
        self, texts: str | bytes | Iterable[str | bytes], k: int = 1, threshold: float = 0.0, **options: Any
    ) -> Any:
        """Return the `k` most probable labels of each text that reach `threshold`, and their probabilities.

        One text gives (labels, probabilities): a list of str and float32 (k',), k' <= k. Many give a list of such
        pairs. k = -1 asks for all labels. Only for supervised models. Further options: see `Classifier.predict`.
        """
        classifier = self._need_classifier()
        self._check()
        answers = classifier.predict(texts, k, threshold, **options)
        self._check()
        return answers

    def test(self, lines: Any, k: int = 1, threshold: float = 0.0, **options: Any) -> Any:
        """Predict every labelled line and return examples, precision and recall at `k`, as `fasttext test` does.

        lines: the path of a text file, or lines (str or bytes).
        """
        classifier = self._need_classifier()
        self._check()
        if isinstance(lines, (str, os.PathLike)):
            with open(lines, "rb") as stream:
                return classifier.test(stream, k, threshold, **options)
        return classifier.test(lines, k, threshold, **options)

    def _need_classifier(self) -> Classifier:
        if self._classifier is None:
            raise UnsupportedError(
                f"{self.path or 'this model'} is not a supervised model: it has no labels to predict"
            )
        return self._classifier

    # -- the file ------------------------------------------------------------------------------------------------

    def save(self, path: Any, format: str | None = None, dtype: str | None = None, **options: Any) -> None:
        """Write the model to `path`; its extension says the format, unless `format` names one. Atomic.

        dtype: "float32", "float16" or "int8"; as it is stored where None. Further options belong to the format.
        """
        if Embeddings._save is None:
            raise VecioError("vecio.formats is not imported")
        Embeddings._save(self, path, format=format, dtype=dtype, **options)

    def preload(self) -> Embeddings:
        """Do now what would else be done when first needed: map all pages, index the words, load the kernels."""
        self._check()
        _effort.load()
        if self._file is not None:
            self._file.advise("WILLNEED")
            self._file.advise("POPULATE_READ")
        self._vocabulary.kernel()
        if self._size:
            first = self._vocabulary.entry(0)
            self.embed([first], "zero")
            self._vector(first + b"?", -1)
        return self

    def close(self) -> None:
        """Give the file back; what is asked afterwards raises VecioError. Arrays already handed out stay valid."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Embeddings:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        if self._file is None or self._parts.reopen is None:
            raise VecioError("embeddings made from arrays cannot be pickled: save them and open the file")
        return self._parts.reopen, (self._file.path, self._file.identity(), self._parts.options)

    def _check(self) -> None:
        if self._file is not None:
            self._file.check()

    # -- helpers -------------------------------------------------------------------------------------------------

    def _entry(self, key: bytes) -> int:
        """Return the entry of a word in the dictionary, words and labels, or -1."""
        if self._file is not None:
            self._file.check()
        return self._vocabulary.find(key)

    def _find_batch(self, batch: list[str | bytes]) -> Integers:
        return self._vocabulary.find_batch(batch)

    def _target(self, out: Floats | None, n: int) -> Floats:
        """Return where a batch is written: `out` itself when kernels can use it, else a new array."""
        if out is None:
            return np.empty((n, self.dim), np.float32)
        if out.shape != (n, self.dim) or out.dtype != np.float32 or not out.flags.writeable:
            raise ValueError(
                f"out must be a writable float32 array of shape {(n, self.dim)}, not {out.dtype} {out.shape}"
            )
        return out if out.flags.c_contiguous and out.flags.aligned else np.empty((n, self.dim), np.float32)

    def _settle_missing(
        self, batch: list[str | bytes], target: Floats, made: Integers, missing: Missing
    ) -> None:
        absent = np.flatnonzero(made == 0)
        if missing == "raise":
            raise self._missing_error([batch[i] for i in absent[: NAMED + 1]], len(absent))
        target[absent] = np.nan if missing == "nan" else 0.0

    def _missing_error(self, words: list[str | bytes], count: int = 1) -> WordError:
        named = ", ".join(map(_short, words[:NAMED])) + (", ..." if count > NAMED else "")
        why = "has no sub-words" if self._subwords is None else "has no row for any of their n-grams"
        return WordError(
            f"{named}: not in the vocabulary, and {self.path or 'this model'} {why}"
            + (f" ({count} words)" if count > 1 else "")
        )


class Advice:
    """Tells the system how the stored rows of a model will be read, if its file is mapped."""

    def __init__(self, parts: Parts) -> None:
        self._file = parts.file
        #: What the vectors of unknown words are made of, and those of all words where they are computed.
        self._ahead = [parts.grams] if parts.accumulated else [parts.grams, parts.words]

    def give(self, matrix: Matrix | None, advice: str, least: int = LARGE) -> None:
        """Say how these rows will be read, if they take at least `least` bytes."""
        if self._file is None or matrix is None:
            return
        for array in matrix.arrays():
            if array.nbytes >= least:
                self._file.advise_array(advice, array)

    def read_ahead(self) -> None:
        """Have the rows of a large batch read in order, once: 20 times as fast on a cold file as page by page."""
        ahead, self._ahead = self._ahead, []
        for matrix in ahead:
            self.give(matrix, "WILLNEED")


class SearchSource:
    """What `search` may know of an `Embeddings`: rows, norms and finished vectors by block. Does not keep it alive."""

    def __init__(self, embeddings: Embeddings) -> None:
        self.size = len(embeddings)
        self.words = embeddings._words
        self.norms = embeddings._norms
        self.accumulated = embeddings._composer.stored
        self._owner = weakref.ref(embeddings)

    def block(self, start: int, stop: int) -> Floats:
        """Return the finished vectors of the words `start` .. `stop - 1`."""
        return self._embeddings()._block(start, stop)

    def check(self) -> None:
        """Raise if the file was closed, cut or rewritten."""
        self._embeddings()._check()

    def _embeddings(self) -> Embeddings:
        owner = self._owner()
        assert owner is not None
        return owner


def _short(word: str | bytes) -> str:
    """Return a word for an error; the middle of a very long one is left out."""
    return repr(word) if len(word) <= 100 else f"{word[:40]!r} ... {word[-20:]!r} ({len(word):,} characters)"


def _float_rows(values: npt.ArrayLike, name: str) -> Floats:
    array = np.ascontiguousarray(values, np.float32)
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"{name} must be of shape (rows, dim) with dim >= 1, not {array.shape}")
    return array


def _refuse_duplicates(vocabulary: Vocabulary) -> None:
    seen = set()
    for word in vocabulary.entries(0, len(vocabulary)):
        if word in seen:
            raise ValueError(f"the word {decode(word)!r} occurs twice")
        seen.add(word)


def _as_list(words: Any) -> list[Any]:
    batch = words if isinstance(words, list) else list(words)
    for word in batch[:1]:
        if not isinstance(word, (str, bytes)):
            raise TypeError(f"a word must be str or bytes, not {type(word).__name__}")
    return batch


def _items(things: Any) -> list[Any]:
    """Return a list of the items of `positive` or `negative`: one thing, or several."""
    if things is None:
        return []
    if (
        isinstance(things, (str, bytes))
        or _is_weighted(things)
        or (isinstance(things, np.ndarray) and things.ndim == 1)
    ):
        return [things]
    return list(things)


def _is_weighted(item: Any) -> bool:
    return (
        isinstance(item, tuple)
        and len(item) == 2
        and isinstance(item[1], (int, float))
        and isinstance(item[0], (str, bytes, np.ndarray))
    )
