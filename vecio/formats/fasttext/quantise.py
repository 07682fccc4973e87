"""Writes quantised input matrices: as the program's `quantize` does for classifiers, and for word models.

A classifier gets the program's own bytes (`src/fasttext.cc` `quantize`, `src/quantmatrix.cc`). The program refuses word
models; here the n-gram rows are quantised first, and each word gets the row that makes up for what its n-grams lost.
"""

from __future__ import annotations

import struct
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ... import _pq
from ..._binary import MappedFile
from ...matrix import Float32, Gathered, Matrix, ProductQuantised
from ...subwords import END_OF_SENTENCE
from ...vocabulary import Vocabulary
from ..base import Written
from .own import OwnRows
from .writer import Plan, Progress, Writer, quantiser

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

#: Codes of n-gram rows of up to so many bytes are kept in memory; more are read back from the file.
MOST_KEPT = 64 << 20
#: Seed of the choice of rows that train the quantiser where not all can.
SEED = 1234


def write_quantised(plan: Plan, stream: BinaryIO, progress: Progress | None) -> Written:
    """Write a model with a quantised input matrix."""
    if plan.copied is not None:
        writer = Writer(plan, stream, progress, len(plan.words) + plan.gram_rows + plan.output_rows)
        writer.head()
        writer.flag(1)
        grams = [plan.grams] if isinstance(plan.grams, ProductQuantised) else []
        writer.copy_quantised([plan.copied, *grams])
        writer.output()
        return Written(plan.dtype)
    norms = None
    cut = plan.options.cutoff is not None and plan.options.cutoff < len(plan.words) + plan.gram_rows
    if cut or (plan.options.qnorm and plan.classifier is not None):
        norms = _norms(plan)
    if cut:
        assert norms is not None
        norms = norms[_cut(plan, norms)]
    rows = len(plan.words) + plan.gram_rows
    rounds = 1 if plan.classifier is not None or plan.rule is None or plan.rule.kind == "floret" else 2
    total = len(plan.words) + rounds * (plan.gram_rows + _training(rows)) + plan.output_rows
    if plan.options.qout:
        total += _training(plan.output_rows)
    quantised = _Quantised(plan, stream, progress, total)
    quantised.head()
    quantised.flag(1)
    if plan.classifier is not None:
        stack = Stack([plan.words] if plan.grams is None else [plan.words, plan.grams])
        quantised.as_the_program(stack, plan.dsub, norms if plan.options.qnorm else None)
    else:
        quantised.word_model()
    quantised.write_output()
    return Written(plan.dtype, notes=quantised.notes())


class Stack:
    """Matrices one below the other, as `_pq.train` reads them: some rows, some columns, nothing copied beside."""

    def __init__(self, matrices: list[Matrix]) -> None:
        self.matrices = matrices
        self.shape = (sum(map(len, matrices)), matrices[0].shape[1])

    @property
    def plain(self) -> bool:
        """Whether columns of single rows can be read alone."""
        return all(_values(matrix) is not None for matrix in self.matrices)

    def __getitem__(self, key: tuple[Any, slice]) -> Floats:
        ids, columns = key
        if isinstance(ids, slice):
            ids = np.arange(self.shape[0])[ids]
        out = np.empty((len(ids), columns.stop - columns.start), np.float32)
        first = 0
        for matrix in self.matrices:
            inside = (ids >= first) & (ids < first + len(matrix))
            rows, values = ids[inside] - first, _values(matrix)
            assert values is not None
            out[inside] = values[matrix.ids[rows] if isinstance(matrix, Gathered) else rows, columns]
            first += len(matrix)
        return out

    def take(self, ids: Array) -> Floats:
        """Return rows in full."""
        out = np.empty((len(ids), self.shape[1]), np.float32)
        first = 0
        for matrix in self.matrices:
            inside = (ids >= first) & (ids < first + len(matrix))
            if inside.any():
                out[inside] = matrix.take(ids[inside] - first)
            first += len(matrix)
        return out


def _values(matrix: Matrix) -> Array | None:
    """Return the float32 numbers behind a matrix, if they are stored as such."""
    if isinstance(matrix, Gathered) and matrix.weights is None:
        matrix = matrix.source
    return matrix.values if isinstance(matrix, Float32) else None


class _Quantised(Writer):
    """Writes quantised matrices."""

    def __init__(self, plan: Plan, stream: BinaryIO, progress: Progress | None, total: int) -> None:
        super().__init__(plan, stream, progress, total)
        self.odd: dict[
            int, int
        ] = {}  # place in the file of the codes of a matrix: its rows that are not finite

    def notes(self) -> tuple[str, ...]:
        """Say what codes cannot tell."""
        odd = sum(self.odd.values())
        return (f"{odd:,} rows with NaN or infinite numbers: these numbers count as 0",) if odd else ()

    def as_the_program(self, rows: Stack, dsub: int, norms: Floats | None) -> None:
        """Quantise a matrix as the program does, to the same bytes where all rows fit into memory or are mapped."""
        count, dim = rows.shape
        few = count <= _pq.MOST_POINTS
        if few or not rows.plain:
            ids = np.arange(count) if few else _some(count, _pq.MOST_POINTS)
            trained: Any = rows.take(ids)
            some = None if norms is None else norms[ids]
        else:
            trained, some = rows, norms
        levels = None
        if norms is not None:
            levels = _pq.train(norms[:, None], 1)
        begin = self.stream.tell()
        self.begin(count, dim, dsub, norms is not None)
        centroids = self.train(trained, dsub, some)
        first = 0
        self.odd[begin] = 0
        for matrix in rows.matrices:
            for start, block in self.row_blocks(matrix):
                self.odd[begin] += _odd(block)
                place = slice(first + start, first + start + len(block))
                codes = _pq.encode(block, centroids, dsub, norms=None if norms is None else norms[place])
                self.stream.write(codes.data)
                self.advance(len(block))
            first += len(matrix)
        assert self.stream.tell() == begin + 21 + count * _pq.pieces(dim, dsub)
        norm_codes = None
        if norms is not None and levels is not None:
            norm_codes = _pq.encode(norms[:, None], levels, 1)[:, 0]
        self.end(dim, dsub, centroids, norm_codes, levels)

    def word_model(self) -> None:
        """Quantise the n-gram rows, then for each word the row that it needs beside them.

        The rows of words make up for what the n-grams lost, so they are longer than those of the source. Hence two
        rounds: the second quantiser is trained on rows as the first one demands them.
        """
        plan, dsub = self.plan, self.plan.dsub
        begin = self.stream.tell() + 21
        self.begin(len(plan.words) + plan.gram_rows, plan.embeddings.dim, dsub, plan.options.qnorm)
        ids, sample = self.sample()
        tables = self.tables(sample)
        words = plan.words
        if plan.grams is not None:
            if plan.rule is not None and plan.rule.kind == "fasttext":
                grams, _ = self.encode(plan.grams, len(words), begin, tables)
                sample[: len(ids)] = OwnRows(plan.embeddings, plan.rule, grams).take(self.numbers(ids))
                tables = self.tables(sample)
            grams, gram_norms = self.encode(plan.grams, len(words), begin, tables)
            if plan.rule is not None and plan.rule.kind == "fasttext":
                words = OwnRows(plan.embeddings, plan.rule, grams)
        else:
            gram_norms = np.zeros(0, np.uint8)
        if plan.kept is not None and isinstance(words, OwnRows):
            words = Gathered(words, plan.kept)
        _, word_norms = self.encode(words, 0, begin, tables)
        self.end(plan.embeddings.dim, dsub, tables[0], np.concatenate([word_norms, gram_norms]), tables[1])

    def numbers(self, ids: Array) -> Array:
        """Return which words of the source these words of the file are."""
        return ids if self.plan.kept is None else self.plan.kept[ids]

    def sample(self) -> tuple[Array, Floats]:
        """Return which words train the quantiser, and the rows that do: those of the words, then of n-grams.

        Half are words, if there are as many.
        """
        plan, most = self.plan, _pq.MOST_POINTS
        words, grams = len(plan.words), plan.gram_rows
        from_words = min(words, max(most // 2, most - grams))
        from_grams = min(grams, most - from_words)
        ids = _some(words, from_words)
        rows = np.empty((from_words + from_grams, plan.embeddings.dim), np.float32)
        rows[:from_words] = plan.words.take(ids)
        if plan.grams is not None and from_grams:
            rows[from_words:] = plan.grams.take(_some(grams, from_grams))
        return ids, rows

    def tables(self, sample: Floats) -> tuple[Floats, Floats | None]:
        """Return the centroids for rows like these, and the norms that get a code if norms are stored apart."""
        if not self.plan.options.qnorm:
            return self.train(sample, self.plan.dsub, None), None
        norms = _pq.norms_of(sample)
        return self.train(sample, self.plan.dsub, norms), _pq.train(norms[:, None], 1)

    def train(self, rows: Any, dsub: int, norms: Floats | None) -> Floats:
        """Train the quantiser, and report it as rows."""
        share = _training(rows.shape[0]) // _pq.pieces(rows.shape[1], dsub)
        return _pq.train(rows, dsub, norms=norms, progress=lambda done, total: self.advance(share))

    def encode(
        self, matrix: Matrix, first: int, begin: int, tables: tuple[Floats, Floats | None]
    ) -> tuple[ProductQuantised, Array]:
        """Write the codes of a matrix whose first row is row `first` of the file.

        Returns what the codes stand for, and the codes of the norms. Behind the last row the stream goes on.
        """
        (centroids, levels), dim, dsub = tables, matrix.shape[1], self.plan.dsub
        pieces = _pq.pieces(dim, dsub)
        kept = np.empty((len(matrix), pieces), np.uint8) if len(matrix) * pieces <= MOST_KEPT else None
        norm_codes = np.empty(0 if levels is None else len(matrix), np.uint8)
        place = begin + first * pieces
        self.stream.seek(place)
        self.odd[place] = 0
        for start, block in self.row_blocks(matrix):
            stop = start + len(block)
            self.odd[place] += _odd(block)
            norms = None if levels is None else _pq.norms_of(block)
            codes = _pq.encode(block, centroids, dsub, norms=norms)
            if levels is not None and norms is not None:
                norm_codes[start:stop] = _pq.encode(norms[:, None], levels, 1)[:, 0]
            if kept is not None:
                kept[start:stop] = codes
            self.stream.write(codes.data)
            self.advance(len(block))
        if kept is None and first:  # n-gram rows: they are read again
            self.stream.flush()
            file = MappedFile.of_descriptor(self.stream.fileno(), "the file that is written")
            view: Any = file.array(np.uint8, (len(matrix), pieces), place, "codes")
            kept = view
        if kept is None:
            kept = np.empty((0, pieces), np.uint8)
        decoded = np.zeros(0, np.float32) if levels is None else levels[norm_codes]
        self.stream.seek(begin + (len(self.plan.words) + self.plan.gram_rows) * pieces)
        return ProductQuantised(kept, centroids, dim, dsub, decoded), norm_codes

    def begin(self, count: int, dim: int, dsub: int, qnorm: bool) -> None:
        """Write what stands before the codes."""
        self.stream.write(struct.pack("<?qqi", qnorm, count, dim, count * _pq.pieces(dim, dsub)))

    def end(
        self, dim: int, dsub: int, centroids: Floats, norm_codes: Array | None, levels: Floats | None
    ) -> None:
        """Write what stands behind them."""
        self.stream.write(quantiser(dim, dsub, centroids))
        if norm_codes is not None and levels is not None:  # norms stored apart
            self.stream.write(norm_codes.tobytes())
            self.stream.write(quantiser(1, 1, levels))

    def write_output(self) -> None:
        """Write the output matrix: quantised with `qout`, in pieces of 2 as the program does."""
        output = self.plan.output
        if not self.plan.options.qout or output is None or isinstance(output, ProductQuantised):
            self.output()
            return
        self.flag(1)
        norms = _norms_of(self, output) if self.plan.options.qnorm else None
        self.as_the_program(Stack([output]), 2, norms)


def _odd(rows: Floats) -> int:
    """Return how many rows have numbers that are not finite."""
    return int(np.count_nonzero(~np.isfinite(rows).all(axis=1)))


def _training(rows: int) -> int:
    """Return how many rows could be encoded in the time that training a quantiser on so many takes."""
    return _pq.ROUNDS * min(rows, _pq.MOST_POINTS)


def _some(count: int, wanted: int) -> Array:
    """Return `wanted` of the numbers 0 .. count - 1, in rising order: all, or a choice that is always the same."""
    if wanted >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(SEED).choice(count, wanted, replace=False, shuffle=False))


def _norms(plan: Plan) -> Floats:
    """Return the norms of all rows of the input matrix."""
    reader = Writer(plan, None, None, 0)  # type: ignore[arg-type]
    matrices = [plan.words] if plan.grams is None else [plan.words, plan.grams]
    return np.concatenate([_norms_of(reader, matrix) for matrix in matrices])


def _norms_of(reader: Writer, matrix: Matrix) -> Floats:
    norms = np.empty(len(matrix), np.float32)
    for start, rows in reader.row_blocks(matrix):
        norms[start : start + len(rows)] = _pq.norms_of(rows)
    return norms


# -- cutting off ---------------------------------------------------------------------------------------------------


def _cut(plan: Plan, norms: Floats) -> Array:
    """Keep the `cutoff` rows of the largest norms, `</s>` before all; return which they are."""
    from ...kernels import own

    nwords = len(plan.words)
    keys = np.where(np.isnan(norms), np.float32(-1), np.minimum(norms, np.finfo(np.float32).max)).astype(
        np.float32
    )
    end = plan.vocabulary.find(END_OF_SENTENCE)
    if 0 <= end < nwords:
        keys[end] = np.inf
    order = np.arange(len(keys), dtype=np.int32)
    own.sort_falling(keys, order)
    kept = order[: plan.options.cutoff].astype(np.int64)
    words, grams = np.sort(kept[kept < nwords]), kept[kept >= nwords] - nwords
    entries = np.concatenate([words, np.arange(nwords, plan.vocabulary.size)])
    old = plan.vocabulary
    counts = None if old.counts is None else old.counts[entries]
    plan.vocabulary = Vocabulary.from_words([old.entry(int(i)) for i in entries], counts, len(words))
    plan.words = Gathered(plan.words, words)
    if plan.classifier is None and plan.output is not None:
        plan.output = Gathered(plan.output, words)
    plan.nwords, plan.kept = len(words), words
    if plan.grams is not None and plan.rule is not None:
        buckets = grams if plan.pairs is None else _buckets(plan.pairs, len(plan.grams))[grams]
        pairs = np.stack([buckets, np.arange(len(grams))], axis=1)
        plan.grams = Gathered(plan.grams, grams)
        plan.pairs = pairs[_map_order(buckets.tolist())]
        plan.rule = plan.rule.replaced(plan.pairs)
    return np.concatenate([words, grams + nwords])


def _buckets(pairs: Array, rows: int) -> Array:
    """Return the bucket of each row that was kept before."""
    buckets = np.empty(rows, np.int64)
    buckets[pairs[:, 1]] = pairs[:, 0]
    return buckets


#: How many cells GNU's hash map has, one size after the other.
CELLS = (
    13, 29, 59, 127, 257, 541, 1109, 2357, 5087, 10273, 20753, 42043, 85229, 172933, 351061, 712697, 1447153, 2938679,
    5967347, 12117689, 24607243, 49969847, 101473717, 206062531, 418463527, 849840833, 1725861241, 2**62,
)  # fmt: skip


def _map_order(keys: list[int]) -> Array:
    """Return the places of `keys` (all different) in the order in which GNU's `std::unordered_map` lists them.

    A key goes to the front of its cell's part of one list; the first key of a cell goes to the front of the list. When
    the cells are full there are more of them, and all keys are put in again, in the order of the list.
    """
    after = [-1] * (len(keys) + 1)  # the list: what follows each place; the last one is its head
    head = len(keys)
    before: dict[int, int] = {}  # of each cell: the place before its first

    def put(i: int, cells: int) -> None:
        cell = keys[i] % cells
        place = before.get(cell)
        if place is None:
            after[i] = after[head]
            after[head] = i
            if after[i] >= 0:
                before[keys[after[i]] % cells] = i
            before[cell] = head
        else:
            after[i] = after[place]
            after[place] = i

    size = 0
    for i in range(len(keys)):
        if i == (CELLS[size - 1] if size else 0):
            size += 1
            order, place = [], after[head]
            while place >= 0:
                order.append(place)
                place = after[place]
            before.clear()
            after[head] = -1
            for old in order:
                put(old, CELLS[size - 1])
        put(i, CELLS[size - 1])
    order, place = [], after[head]
    while place >= 0:
        order.append(place)
        place = after[place]
    return np.array(order, np.int64)
