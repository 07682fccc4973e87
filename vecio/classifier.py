"""What a supervised model adds to word vectors: labels, a loss, and the prediction of labels for a line of text.

Two implementations give the same bits: the one here, in plain Python over numpy, serves the first lines of a process;
`kernels/classify.py` serves everything once there is enough to do. Numbers follow fastText's loops to the last bit
(`src/dictionary.cc` `getLine`, `src/model.cc`, `src/loss.cc`, `src/meter.cc`): sums in float32, in order, each step
rounded; exp and log from the C library. This file opens no model file and knows no format.
"""

from __future__ import annotations

import ctypes
import itertools
import math
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _effort
from ._threads import run_chunks, thread_count
from .errors import FormatError, UnsupportedError
from .matrix import Float32, Matrix, ProductQuantised
from .subwords import END_OF_SENTENCE, MOST_NGRAMS, NO_SUBWORDS, Subwords, fnv1a, word_rows
from .vocabulary import Vocabulary, decode, encode

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
#: Labels and their probabilities (float32), best first.
Prediction = tuple[list[str], Floats]

#: Losses as fastText numbers them.
LOSSES = {"hs": 1, "ns": 2, "softmax": 3, "ova": 4}

#: fastText's separators; a newline is also a token of its own, `</s>`.
_TOKEN = re.compile(rb"\n|[^ \n\r\t\v\f\0]+")

#: Lines that one call of the kernel serves: from so many to so many, so that each thread gets some of them.
LEAST_LINES, MOST_LINES = 128, 8192
#: Bytes of a file that one call of the kernel serves, and that are read at once.
CHUNK_BYTES, BLOCK_BYTES = 1 << 16, 1 << 23
#: Bytes of the longest line of a file.
MOST_BYTES = 1 << 28
#: Predictions that are kept in arrays before they become lists.
MOST_CELLS = 1 << 22
#: Rows that are quantised, or halves, are kept decoded when they all are smaller than this.
DECODED_BYTES = 1 << 24
#: hs: up to this many numbers in the output matrix, all dot products of a line are made at once.
DENSE_TREE = 1 << 14
#: Rows that are added up, or multiplied, at once in plain Python.
BLOCK_ROWS = 4096

#: Seconds of plain Python: for each line, each byte of text (without and with character n-grams), each output row.
LINE_COST, BYTE_COST, NGRAM_COST, LABEL_COST = 60e-6, 0.5e-6, 2e-6, 1e-6


@dataclass(frozen=True)
class LabelReport:
    """One label in a test: how often it stands in the text, was predicted, and was both."""

    gold: int
    predicted: int
    hits: int

    @property
    def precision(self) -> float:
        """Return hits / predicted; NaN when it was never predicted."""
        return _ratio(self.hits, self.predicted)

    @property
    def recall(self) -> float:
        """Return hits / gold; NaN when it never stands in the text."""
        return _ratio(self.hits, self.gold)

    @property
    def f1(self) -> float:
        """Return the harmonic mean of precision and recall; NaN when the label neither stands nor was predicted."""
        return _ratio(2 * self.hits, self.gold + self.predicted)


class _Figures(NamedTuple):
    examples: int
    precision: float
    recall: float


class Evaluation(_Figures):
    """What `Classifier.test` returns: (examples, precision, recall) as fastText's `test`; `labels` has each label's."""

    labels: dict[str, LabelReport]


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


class Classifier:
    """Predicts the labels of lines of text.

    vocabulary: the words (V), then the labels (L). words: (V, D) raw word rows, as in a `.bin`. grams: the n-gram rows,
    of character n-grams and of word n-grams, or None; subwords: which of them a word has; its `bucket` also serves the
    word n-grams (2 .. word_ngrams words). output: (L, D), one row a label, or for "hs" one an inner node of the tree.
    path: for error messages.

    Raises FormatError when these do not fit together. All methods are safe to call from several threads.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        words: Matrix,
        grams: Matrix | None,
        subwords: Subwords | None,
        output: Matrix,
        loss: str,
        word_ngrams: int = 1,
        *,
        label_prefix: str = "__label__",
        path: object = "<memory>",
    ) -> None:
        self.vocabulary, self.words, self.grams, self.subwords = vocabulary, words, grams, subwords
        self.output, self.loss, self.label_prefix = output, loss, label_prefix
        self.word_ngrams = max(word_ngrams, 1)  # a file may say anything below 2 for "none"
        self.path = path
        self._prefix = encode(label_prefix)
        self._count = output.shape[0]
        #: Whether a known word brings its own row and nothing else (matters for floret, whose words are n-grams, too).
        self._plain_words = subwords is None or subwords.maxn <= 0
        #: The kernel for one line and its model, once they are in use.
        self._single: tuple[Any, Any] | None = None
        self._check_parts()

    def _check_parts(self) -> None:
        """Compare the parts with each other: what passes cannot lead a kernel out of its arrays."""
        count, dim = self.vocabulary.size - len(self.vocabulary), self.words.shape[1]
        if self.loss not in LOSSES:
            raise FormatError(self.path, "unknown loss", expected=" or ".join(LOSSES), found=repr(self.loss))
        if count < 1:
            raise FormatError(self.path, "a supervised model without labels")
        if self.words.shape[0] < len(self.vocabulary):
            raise FormatError(
                self.path, "rows of the word matrix", expected=len(self.vocabulary), found=self.words.shape[0]
            )
        if self.output.shape != (count, dim):
            raise FormatError(
                self.path, "shape of the output matrix", expected=(count, dim), found=self.output.shape
            )
        self._check_grams(dim)

    def _check_grams(self, dim: int) -> None:
        wanted = self.word_ngrams > 1 or (self.subwords is not None and self.subwords.has_ngrams)
        if not wanted:
            return
        if self.subwords is None or self.subwords.bucket < 1:
            raise FormatError(self.path, "n-grams are asked for and there are no buckets for them")
        pruned = self.subwords.pruned
        highest = self.subwords.bucket - 1
        if pruned is not None:
            kept = np.asarray(pruned).reshape(-1, 2)[:, 1]
            highest = int(kept.max(initial=-1))
            if kept.min(initial=0) < 0:
                raise FormatError(self.path, "a pruned n-gram has a negative row", found=int(kept.min()))
        rows, columns = (0, dim) if self.grams is None else self.grams.shape
        if rows <= highest:
            raise FormatError(self.path, "rows of the n-gram matrix", expected=highest + 1, found=rows)
        if columns != dim:
            raise FormatError(self.path, "columns of the n-gram matrix", expected=dim, found=columns)

    # -- labels ----------------------------------------------------------------------------------------------

    @cached_property
    def labels(self) -> list[str]:
        """All labels, with their prefix, in the order of the file (falling count)."""
        return [decode(key) for key in self.vocabulary.entries(len(self.vocabulary), self.vocabulary.size)]

    @property
    def label_counts(self) -> Array | None:
        """How often training saw each label: int64 (L,), or None where the file does not say."""
        counts = self.vocabulary.counts
        return None if counts is None else counts[len(self.vocabulary) :]

    @cached_property
    def tree(self) -> Array:
        """The Huffman tree of "hs": int32 (2, L - 1), left and right child of each inner node; leaves are 0 .. L-1.

        Inner node i is number L + i, the last one is the root, and i its row in the output matrix. `Loss::buildTree`.
        """
        counts = self.label_counts
        if counts is None:
            raise FormatError(self.path, "the loss is hs and the labels have no counts, so there is no tree")
        try:
            return _huffman(counts.tolist())
        except ValueError as error:
            raise FormatError(self.path, str(error)) from None

    # -- prediction ------------------------------------------------------------------------------------------

    def predict(
        self,
        texts: str | bytes | Iterable[str | bytes],
        k: int = 1,
        threshold: float = 0.0,
        *,
        newline: bool = True,
        threads: int | None = None,
    ) -> Any:
        """Predict the labels of one line (a `Prediction`), or of many (a list of them).

        A prediction is (labels, probabilities float32): the best `k` whose probability reaches `threshold`, best first;
        k = -1 means all. Probabilities are fastText's: each is 1e-5 too large, so that one can exceed 1. A line that
        has no row in the model (no known word, no n-gram) gives no label. With "hs", a label below about 1e-5 is not
        found even with k = -1.

        newline: whether each text is a whole line, as for fastText's Python module, which appends a newline; `</s>`
        then takes part. False is for the last line of a file that does not end with one. A newline inside a text is a
        ValueError: pass lines one by one. threads: at the most so many (default: all processors).

        Raises ValueError for a bad k or text, FormatError when a dot product is not a number, and UnsupportedError for
        a line with more than 2**24 n-grams.
        """
        k = self._check_k(k)
        if isinstance(texts, (str, bytes)):
            return self._predict_one(_line(texts), k, float(threshold), bool(newline))
        lines = texts if isinstance(texts, (list, tuple)) else list(texts)
        found: list[Prediction] = []
        step = max(1, MOST_CELLS // k)
        for start in range(0, len(lines), step):
            block = lines[start : start + step]
            counts, ids, probs = self._predict_block(
                block, start, k, float(threshold), bool(newline), threads
            )
            found += self._named(counts, ids, probs)
        return found

    def top(
        self,
        texts: Sequence[str | bytes],
        k: int = 1,
        threshold: float = 0.0,
        *,
        newline: bool = True,
        threads: int | None = None,
    ) -> tuple[Array, Array, Floats]:
        """Predict as `predict` does, into arrays: counts int32 (N,), label numbers int32 (N, k), probabilities (N, k).

        Row i holds `counts[i]` labels; the cells behind them are -1 and 0.
        """
        return self._predict_block(texts, 0, self._check_k(k), float(threshold), bool(newline), threads)

    def _check_k(self, k: int) -> int:
        if k < 1 and k != -1:
            raise ValueError(f"k must be 1 or more, or -1 for all labels, not {k}")
        return self._count if k == -1 or k > self._count else int(k)

    def _named(self, counts: Array, ids: Array, probs: Floats) -> list[Prediction]:
        names, found = self.labels, list(probs)
        if ids.shape[1] == 1:
            chosen = [[names[i]] for i in ids[:, 0].tolist()]
        else:
            chosen = [[names[i] for i in row] for row in ids.tolist()]
        for i in np.flatnonzero(counts < ids.shape[1]).tolist():
            chosen[i], found[i] = chosen[i][: counts[i]], found[i][: counts[i]]
        return list(zip(chosen, found, strict=True))

    def _predict_one(self, line: bytes, k: int, threshold: float, newline: bool) -> Prediction:
        kept, probs = np.empty(k, np.int32), np.empty(k, np.float32)
        single, count = self._single, -1
        if single is None and _effort.kernels_due(self._cost(1, len(line))):
            single = self._single = (self._kernels.predict_one, self._model)
        if single is not None:
            count = single[0](single[1], line, newline, k, threshold, kept, probs)
        if count < 0:
            count = self._serve(line, newline, threshold, kept, probs)
        names = self.labels
        if count == k == 1:
            return [names[kept[0]]], probs
        return [names[i] for i in kept[:count].tolist()], probs[:count]

    def _predict_block(
        self,
        texts: Sequence[str | bytes],
        first: int,
        k: int,
        threshold: float,
        newline: bool,
        threads: int | None,
    ) -> tuple[Array, Array, Floats]:
        """Do what `top` does, with a k that was checked; `first` is the number of the first text, for messages."""
        count = len(texts)
        counts, ids = np.zeros(count, np.int32), np.full((count, k), -1, np.int32)
        probs = np.zeros((count, k), np.float32)
        blob, bounds, gap = _pack_lines(texts, first)
        if not _effort.kernels_due(self._cost(count, len(blob))):
            for i in range(count):
                counts[i] = self._serve(_cut(blob, bounds, gap, i), newline, threshold, ids[i], probs[i])
            return counts, ids, probs
        kernel, model = self._kernels.predict, self._model

        def serve(start: int, stop: int) -> None:
            while start < stop:
                i = kernel(model, blob, bounds, gap, start, stop, newline, k, threshold, counts, ids, probs)
                if i < stop:
                    counts[i] = self._serve(_cut(blob, bounds, gap, i), newline, threshold, ids[i], probs[i])
                start = i + 1

        run_chunks(serve, count, _chunk(count, threads), threads)
        return counts, ids, probs

    def sentence_vectors(
        self, texts: Sequence[str | bytes], *, newline: bool = True, threads: int | None = None
    ) -> Floats:
        """Return the mean of the rows of each line, (N, D): what the output layer sees; zeros for a line without rows.

        newline, threads, errors: as for `predict`. This is fastText's sentence vector of a supervised model.
        """
        out = np.zeros((len(texts), self.words.shape[1]), np.float32)
        blob, bounds, gap = _pack_lines(texts, 0)
        if not _effort.kernels_due(self._cost(len(texts), len(blob))):
            for i in range(len(texts)):
                self._serve_vector(_cut(blob, bounds, gap, i), newline, out[i])
            return out
        kernel, model, newline = self._kernels.predict, self._model, bool(newline)
        counts, ids = np.zeros(len(texts), np.int32), np.zeros((len(texts), 0), np.int32)

        def serve(start: int, stop: int) -> None:
            while start < stop:
                i = kernel(model, blob, bounds, gap, start, stop, newline, 0, 0.0, counts, ids, out)
                if i < stop:
                    self._serve_vector(_cut(blob, bounds, gap, i), newline, out[i])
                start = i + 1

        run_chunks(serve, len(texts), _chunk(len(texts), threads), threads)
        return out

    def line(self, text: str | bytes, *, newline: bool = True) -> tuple[list[str], list[str]]:
        """Return the words of a line, known or not, and those of its labels that the model knows."""
        words, labels, _ = self._parse(_tokens(_line(text), newline))
        return [decode(word) for word in words], [self.labels[i] for i in labels]

    # -- test ------------------------------------------------------------------------------------------------

    def test(
        self,
        lines: str | bytes | Iterable[str | bytes],
        k: int = 1,
        threshold: float = 0.0,
        *,
        threads: int | None = None,
    ) -> Evaluation:
        """Predict lines that carry their labels and count how often the prediction is right.

        lines: the content of a file, a file opened for reading, or lines with or without line ends; read once, in
        blocks. As in fastText, `</s>` does not take part in a last line that ends without a newline, unless none of the
        lines has one. Lines without a label of the model or without a row are left out. precision is hits / predicted
        labels, recall hits / labels in the text; NaN for 0 / 0. k, threshold, errors: as `predict`.
        """
        k = self._check_k(k)
        examples = np.zeros(1, np.int64)
        tally = np.zeros((3, self.output.shape[0]), np.int64)
        for block in _blocks(_parts(lines)):
            self._test_block(block, k, float(threshold), threads, examples, tally)
        gold, predicted, hits = tally.sum(axis=1).tolist()
        reports = (LabelReport(*column) for column in tally.T.tolist())
        evaluation = Evaluation(int(examples[0]), _ratio(hits, predicted), _ratio(hits, gold))
        evaluation.labels = dict(zip(self.labels, reports, strict=True))
        return evaluation

    def _test_block(
        self, block: bytes, k: int, threshold: float, threads: int | None, examples: Array, tally: Array
    ) -> None:
        """Add the figures of whole lines to `examples` (1,) and `tally` (3, L)."""
        if not _effort.kernels_due(self._cost(1 + block.count(b"\n"), len(block))):
            self._test_plainly(block, k, threshold, examples, tally)
            return
        share = len(block) // (2 * (thread_count() if threads is None else max(threads, 1)))
        cuts = [0]
        while cuts[-1] < len(block):
            cuts.append((block.find(b"\n", cuts[-1] + max(share, CHUNK_BYTES)) + 1) or len(block))
        kernel, model, lock = self._kernels.test, self._model, threading.Lock()

        def serve(start: int, stop: int) -> None:
            for begin, end in itertools.pairwise(cuts[start : stop + 1]):
                some, part = np.zeros_like(examples), np.zeros_like(tally)
                if not kernel(model, block, begin, end, k, threshold, some, part):
                    some[:], part[:] = 0, 0
                    self._test_plainly(block[begin:end], k, threshold, some, part)
                with lock:
                    np.add(examples, some, out=examples)
                    np.add(tally, part, out=tally)

        run_chunks(serve, len(cuts) - 1, 1, threads)

    def _test_plainly(self, block: bytes, k: int, threshold: float, examples: Array, tally: Array) -> None:
        gold, predicted, hits = tally
        for tokens in _lines(block):
            words, labels, rows = self._parse(tokens)
            rows += self._word_ngram_rows(words)
            if not labels or not rows:
                continue
            _, kept = self._rank(self._mean(rows), k, np.float32(threshold))
            examples[0] += 1
            for label in labels:
                gold[label] += 1
            for label in kept:
                predicted[label] += 1
                hits[label] += label in labels

    # -- the plain implementation ----------------------------------------------------------------------------

    def _cost(self, lines: int, size: int) -> float:
        """Return about how many seconds plain Python needs for so many lines and bytes."""
        with_ngrams = self.subwords is not None and self.subwords.has_ngrams
        return (
            lines * (LINE_COST + LABEL_COST * self._count) + (NGRAM_COST if with_ngrams else BYTE_COST) * size
        )

    def _parse(self, tokens: Iterable[bytes]) -> tuple[list[bytes], list[int], list[int]]:
        """Return the words of a line, the numbers of its labels, and the rows of its words (`Dictionary::getLine`)."""
        words: list[bytes] = []
        labels: list[int] = []
        rows: list[int] = []
        nwords = len(self.vocabulary)
        for token in tokens:
            entry = self.vocabulary.find(token)
            if entry >= nwords:
                labels.append(entry - nwords)
            elif entry >= 0 or not token.startswith(self._prefix):
                words.append(token)
                if entry >= 0 and self._plain_words:
                    rows.append(entry)
                else:
                    rows += word_rows(token, entry, nwords, self.subwords, nwords)
        return words, labels, rows

    def _word_ngram_rows(self, words: list[bytes]) -> list[int]:
        """Return the rows of a line's word n-grams: by first word, then by length (`Dictionary::addWordNgrams`)."""
        if self.word_ngrams < 2 or len(words) < 2:
            return []
        if len(words) * min(self.word_ngrams, len(words)) > MOST_NGRAMS:
            raise UnsupportedError(f"a line of {len(words)} words has too many word n-grams")
        assert self.subwords is not None
        hashes = [fnv1a(word) for word in words]
        signed = [h - (1 << 32) if h >> 31 else h for h in hashes]
        nwords, rows = len(self.vocabulary), []
        for i, h in enumerate(signed):
            for g in signed[i + 1 : i + self.word_ngrams]:
                h = (h * 116049371 + g) & 0xFFFFFFFFFFFFFFFF
                row = self.subwords.row(h)
                if row >= 0:
                    rows.append(nwords + row)
        return rows

    def _serve(self, line: bytes, newline: bool, threshold: float, ids: Array, probs: Floats) -> int:
        """Predict one line into `ids` (k,) and `probs` (k,); return how many labels there are."""
        scores, kept = self._rank(self._read_line(line, newline), len(ids), np.float32(threshold))
        ids[: len(kept)] = kept
        probs[: len(kept)] = [_expf(score) for score in scores]
        return len(kept)

    def _serve_vector(self, line: bytes, newline: bool, out: Floats) -> None:
        hidden = self._read_line(line, newline)
        out[:] = 0 if hidden is None else hidden

    def _read_line(self, line: bytes, newline: bool) -> Floats | None:
        """Return the mean of the rows of a line, (D,), or None when it has none."""
        words, _, rows = self._parse(_tokens(line, newline))
        rows += self._word_ngram_rows(words)
        return self._mean(rows) if rows else None

    def _mean(self, rows: list[int]) -> Floats:
        total = np.zeros(self.words.shape[1], np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(rows), BLOCK_ROWS):
                values = self._take(np.array(rows[start : start + BLOCK_ROWS], np.int64))
                values[0] += total
                total = np.add.accumulate(values, axis=0)[-1]
            mean: Floats = total * np.float32(1.0 / len(rows))
        return mean

    def _take(self, rows: Array) -> Floats:
        """Return rows of the input matrix: word rows first, then n-gram rows."""
        nwords = len(self.vocabulary)
        known = rows < nwords
        if self.grams is None or known.all():
            return self.words.take(rows)
        values = np.empty((len(rows), self.words.shape[1]), np.float32)
        values[known] = self.words.take(rows[known])
        values[~known] = self.grams.take(rows[~known] - nwords)
        return values

    def _rank(
        self, hidden: Floats | None, k: int, threshold: np.float32
    ) -> tuple[list[np.float32], list[int]]:
        """Return the scores (logarithms) and numbers of the best labels, best first."""
        if hidden is None:
            return [], []
        with np.errstate(all="ignore"):
            heap = _Heap(k)
            if self.loss == "hs":
                self._walk_tree(hidden, threshold, heap)
            else:
                for label, p in enumerate(self._probabilities(hidden)):
                    if not p < threshold:
                        heap.offer(_log(p), label)
            return heap.sorted()

    def _probabilities(self, hidden: Floats) -> Floats:
        values = self._dots(hidden, 0, self.output.shape[0])
        bad = np.flatnonzero(np.isnan(values))
        if len(bad):
            raise self._not_a_number(int(bad[0]))
        if self.loss != "softmax":
            return _sigmoid(values)
        shifted = values - values.max()
        powers = np.array([math.exp(x) for x in shifted.tolist()], np.float32)
        probabilities: Floats = powers / np.add.accumulate(powers)[-1]
        return probabilities

    def _dots(self, hidden: Floats, start: int, stop: int) -> Floats:
        """Return the dot products with the output rows `start` .. `stop - 1`, each summed from left to right."""
        rows, norms = self._rows
        values = np.empty(stop - start, np.float32)
        for a in range(start, stop, BLOCK_ROWS):
            b = min(a + BLOCK_ROWS, stop)
            values[a - start : b - start] = np.add.accumulate(rows.block(a, b) * hidden, axis=1)[:, -1]
        return values * norms[start:stop] if len(norms) else values

    def _walk_tree(self, hidden: Floats, threshold: np.float32, heap: _Heap) -> None:
        """Offer the leaves of the tree that are likely enough, depth first, left first."""
        leaves, tree = self.output.shape[0], self.tree
        ready = self._dots(hidden, 0, leaves) if leaves * self.output.shape[1] <= DENSE_TREE else None
        floor = _log(threshold)
        stack = [(2 * leaves - 2, np.float32(0))]
        while stack:
            node, score = stack.pop()
            if score < floor or heap.rejects(score):
                continue
            if node < leaves:
                heap.offer(score, node)
                continue
            row = node - leaves
            f = self._dots(hidden, row, row + 1)[0] if ready is None else ready[row]
            if np.isnan(f):
                raise self._not_a_number(row)
            q = np.float32(1) / (np.float32(1) + _expf(-f))
            stack.append((int(tree[1, row]), score + _log(q)))
            stack.append((int(tree[0, row]), score + _log(np.float32(1) - q)))

    def _not_a_number(self, row: int) -> FormatError:
        return FormatError(
            self.path,
            f"not a number in the weights: the dot product with row {row} of the output matrix is NaN",
        )

    # -- the compiled implementation -------------------------------------------------------------------------

    @cached_property
    def _kernels(self) -> Any:
        from .kernels import classify

        return classify

    @cached_property
    def _rows(self) -> tuple[Matrix, Floats]:
        """The output rows without their norms, and the norms (none: all are 1)."""
        if isinstance(self.output, ProductQuantised):
            bare, norms = self.output, self.output.norms
            none = np.empty(0, np.float32)
            return ProductQuantised(bare.codes, bare.centroids, bare.shape[1], bare.dsub, none), norms
        return self.output, np.empty(0, np.float32)

    @cached_property
    def _model(self) -> tuple[Any, ...]:
        """What the kernels take; see `kernels/classify.py`."""
        rows, norms = self._rows
        count, dim = self.output.shape
        hs = self.loss == "hs"
        transposed = not hs or count * dim <= DENSE_TREE
        if transposed:
            weights = np.ascontiguousarray(rows.block(0, count).T)
        else:
            weights = rows.values if isinstance(rows, Float32) else np.ascontiguousarray(rows.block(0, count))
        weights = weights.view()
        weights.flags.writeable = False  # one type of array, so that one piece of compiled code serves all
        numbers = [len(self.vocabulary), self.word_ngrams, count, LOSSES[self.loss], int(transposed)]
        numbers += [self.vocabulary.find(END_OF_SENTENCE), 7 + 2 * (count - 1)]
        numbers += self.tree.ravel().tolist() if hs else [0] * (2 * (count - 1))
        return (
            np.array([*numbers, *self._prefix], np.int64),
            self.vocabulary.kernel(),
            NO_SUBWORDS if self.subwords is None else self.subwords.kernel(),
            *self._input(),
            weights,
            np.concatenate([sigmoid_table(), norms]).astype(np.float32),
        )

    def _input(self) -> tuple[Any, Any]:
        """The word and n-gram rows for the kernels: where they are stored, or decoded, when they are small."""
        grams = self.words.part(0, 0) if self.grams is None else self.grams
        decoded = 4 * (len(self.words) + len(grams)) * self.words.shape[1] <= DECODED_BYTES
        if not decoded or (self.words.dtype == "float32" and grams.dtype == "float32"):
            return self.words.kernel(), grams.kernel()
        blocks = [np.ascontiguousarray(matrix.block(0, len(matrix))) for matrix in (self.words, grams)]
        for block in blocks:
            block.flags.writeable = False
        return (blocks[0],), (blocks[1],)


# -- lines ---------------------------------------------------------------------------------------------------


def _chunk(lines: int, threads: int | None) -> int:
    """Return how many lines one call of a kernel shall serve; a call remembers words, so that long ones are better."""
    share = -(-lines // (thread_count() if threads is None else max(threads, 1)))
    return min(max(share, LEAST_LINES), MOST_LINES)


def _line(text: str | bytes, name: str = "the text") -> bytes:
    """Return a text as the bytes of one line."""
    if b"\n" in (line := encode(text)):
        raise ValueError(f"{name} holds a newline: pass one line at a time")
    return line


def _pack_lines(texts: Sequence[str | bytes], first: int) -> tuple[bytes, Array, int]:
    """Pack lines for the kernels: line i is `blob[bounds[i] : bounds[i + 1] - gap]`; `first` is the first's number."""
    if isinstance(texts, (str, bytes)):
        raise TypeError("a list of texts is wanted, not a single one")
    try:
        blob = "\n".join([*texts, ""]).encode("utf-8", "surrogateescape")  # type: ignore[list-item]
    except (TypeError, UnicodeEncodeError):
        blob = b"\n".join([*(encode(text) for text in texts), b""])
    ends = np.flatnonzero(np.frombuffer(blob, np.uint8) == 10)
    if len(ends) != len(texts):
        for i, text in enumerate(texts):
            _line(text, f"text {first + i}")
    bounds = np.zeros(len(texts) + 1, np.int64)
    np.add(ends, 1, out=bounds[1:])
    return blob, bounds, 1


def _cut(blob: bytes, bounds: Array, gap: int, i: int) -> bytes:
    return blob[bounds[i] : bounds[i + 1] - gap]


def _tokens(line: bytes, newline: bool) -> list[bytes]:
    """Return the tokens of a line without a newline in it, up to and with `</s>`."""
    tokens = _TOKEN.findall(line)
    if END_OF_SENTENCE in tokens:
        return tokens[: tokens.index(END_OF_SENTENCE) + 1]
    return [*tokens, END_OF_SENTENCE] if newline else tokens


def _lines(block: bytes) -> Iterator[list[bytes]]:
    """Yield the tokens of each line of a text; a token `</s>` ends a line as a newline does."""
    tokens: list[bytes] = []
    for match in _TOKEN.finditer(block):
        token = match.group()
        tokens.append(END_OF_SENTENCE if token == b"\n" else token)
        if tokens[-1] == END_OF_SENTENCE:
            yield tokens
            tokens = []
    if tokens:
        yield tokens


def _parts(lines: Any) -> Iterator[bytes]:
    """Yield the bytes of a text: from its content, an open file, or lines, which get their line ends back."""
    if isinstance(lines, (str, bytes)):
        yield encode(lines)
    elif hasattr(lines, "read"):
        while part := lines.read(BLOCK_BYTES):
            yield encode(part)
    else:
        bare, only_bare = False, True
        for line in lines:
            if bare:
                yield b"\n"
            part = encode(line)
            bare = b"\n" not in part
            only_bare = only_bare and bare
            yield part
        if bare and only_bare:
            yield b"\n"


def _blocks(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in blocks of whole lines, of `BLOCK_BYTES` or the longest line."""
    waiting: list[bytes] = []
    size = 0
    for data in parts:
        for start in range(0, len(data), BLOCK_BYTES):
            waiting.append(data[start : start + BLOCK_BYTES])
            size += len(waiting[-1])
            if size >= BLOCK_BYTES and b"\n" in waiting[-1]:
                last = waiting.pop()
                cut = last.rindex(b"\n") + 1
                yield b"".join([*waiting, last[:cut]])
                waiting, size = [last[cut:]], len(last) - cut
            elif size > MOST_BYTES:
                raise UnsupportedError(f"a line of more than {MOST_BYTES} bytes: is this a text?")
    if size:
        yield b"".join(waiting)


# -- numbers -------------------------------------------------------------------------------------------------


def _c_expf() -> Callable[[Any], np.float32]:
    """Return the C library's float32 exp; numpy's differs from it in last bits."""
    try:
        function = ctypes.CDLL(None).expf
    except (AttributeError, OSError, TypeError):
        return lambda x: np.float32(np.exp(np.float64(x)))
    function.argtypes, function.restype = [ctypes.c_float], ctypes.c_float
    return lambda x: np.float32(function(x))


_expf = _c_expf()


def _log(p: Any) -> np.float32:
    """Return fastText's logarithm of a probability, f32(ln(p + 1e-5)): what the scores of labels are."""
    x = float(p) + 1e-5
    score: np.float32 = np.float32(math.log(x) if x > 0 else -math.inf if x == 0 else math.nan)
    return score


_table: Floats | None = None


def sigmoid_table() -> Floats:
    """Return fastText's table of the logistic function, from -8 to 8: float32 (513,) (`Loss` in `src/loss.cc`)."""
    global _table
    if _table is None:
        x = np.arange(513, dtype=np.float32) * np.float32(16) / np.float32(512) - np.float32(8)
        _table = np.array([1.0 / (1.0 + float(_expf(-v))) for v in x], np.float32)
    return _table


def _sigmoid(x: Floats) -> Floats:
    """Look the logistic function up; below -8 it is 0, above 8 it is 1."""
    place = np.clip(x, np.float32(-8), np.float32(8))
    place = (place + np.float32(8)) * np.float32(512) / np.float32(8) / np.float32(2)
    values: Floats = sigmoid_table()[place.astype(np.int64)]
    values[x < -8] = 0
    values[x > 8] = 1
    return values


def _huffman(counts: list[int]) -> Array:
    """Return the children of the inner nodes of fastText's Huffman tree (`HierarchicalSoftmaxLoss::buildTree`)."""
    leaves = len(counts)
    total = counts + [10**15] * (leaves - 1)
    children = np.zeros((2, max(leaves - 1, 0)), np.int32)
    leaf, node = leaves - 1, leaves
    for i in range(leaves, 2 * leaves - 1):
        picked = []
        for _ in range(2):
            if leaf >= 0 and total[leaf] < total[node]:
                picked.append(leaf)
                leaf -= 1
            else:
                picked.append(node)
                node += 1
        if max(picked) >= i:
            raise ValueError(f"the counts of the labels make no tree: {max(counts)} is too large")
        children[:, i - leaves] = picked
        total[i] = total[picked[0]] + total[picked[1]]
    return children


class _Heap:
    """The best `k` scores, the worst of them first: the heap of the GNU C++ library, which decides between equals."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.items: list[tuple[np.float32, int]] = []

    def rejects(self, score: np.float32) -> bool:
        """Say whether a score lies strictly below all that are kept, and no place is left."""
        return len(self.items) == self.k and bool(score < self.items[0][0])

    def offer(self, score: np.float32, label: int) -> None:
        """Keep an item if there is room, or if it is not worse than the worst (`std::push_heap`, `std::pop_heap`)."""
        if self.rejects(score):
            return
        self.items.append((score, label))
        self._sift_up(len(self.items) - 1, self.items[-1])
        if len(self.items) > self.k:
            self._pop(len(self.items))
            self.items.pop()

    def sorted(self) -> tuple[list[np.float32], list[int]]:
        """Return the scores and labels by falling score (`std::sort_heap`); the heap is spent."""
        for size in range(len(self.items), 1, -1):
            self._pop(size)
        return [score for score, _ in self.items], [label for _, label in self.items]

    def _sift_up(self, place: int, item: tuple[np.float32, int]) -> None:
        while place > 0 and self.items[(place - 1) // 2][0] > item[0]:
            self.items[place] = self.items[(place - 1) // 2]
            place = (place - 1) // 2
        self.items[place] = item

    def _pop(self, size: int) -> None:
        """Move the worst of the first `size` items behind the others."""
        items, last = self.items, size - 1
        item, items[last] = items[last], items[0]
        place, child = 0, 2
        while child < last:
            if items[child][0] > items[child - 1][0]:
                child -= 1
            items[place], place = items[child], child
            child = 2 * place + 2
        if child == last:
            items[place], place = items[child - 1], child - 1
        self._sift_up(place, item)
