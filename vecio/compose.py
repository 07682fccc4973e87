"""Vectors of rows: every rule by which a program makes the vector of a word, each a class with the same few calls.

`choose` takes the class once, when a model is opened; `Embeddings` asks it and knows no rule. `Composer` does
everything in plain Python and numpy, for every kind of model; the others add compiled code for the models that it
knows. Both give the same numbers to the last bit. Which rows make up a word is not said here but in `subwords`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _effort, _threads
from .matrix import Matrix, Rotated, rotate, sum_rows
from .subwords import END_OF_SENTENCE, NO_SUBWORDS, Subwords, own_row, word_rows
from .vocabulary import ROW_COST, Vocabulary, encode, pack

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Batch = list[str | bytes] | list[bytes]

#: Seconds that the mean of the sub-words of one word costs in plain Python, and each byte of a word made of them.
MEAN_COST, CHARACTER_COST = 20e-6, 1.3e-6
#: Seconds for each byte of a word that is made by finalfusion's rules, and of a floret table by spaCy's.
UNIT_COST, SCALED_COST = 5 * CHARACTER_COST, 5e-6
#: Words that one thread takes at a time; and of rules that cost more than fastText's.
CHUNK, FEW = 4096, 512
#: A table of n-grams for the compiled code where a model has none.
NO_TABLE = (np.empty(0, np.uint8), np.zeros(1, np.int64), 0, np.zeros(2, np.uint64))


@dataclass(frozen=True)
class Model:
    """What a rule works on; see `embeddings.Parts`. read_ahead: to be called before a large batch of unknown words."""

    vocabulary: Vocabulary
    words: Matrix
    grams: Matrix | None
    subwords: Subwords | None
    accumulated: bool
    unit: bool
    read_ahead: Callable[[], None]


def choose(model: Model) -> Composer:
    """Return the rule of a model, with compiled code where there is some for it."""
    rule, words, grams = model.subwords, model.words, model.grams
    if rule is not None and rule.scaled:
        known = grams is not None and grams.compiled and rule.pruned is None
        return ScaledMeans(model) if known else Composer(model, scaled_mean)
    if model.unit:
        return UnitSums(model) if UnitSums.knows(model) else Composer(model, unit_sum)
    if rule is not None and not rule.compiled:
        return Composer(model)
    if words.compiled and (grams is None or grams.compiled):
        return EveryWordMeans(model) if rule is not None and rule.plain_end else Means(model)
    if rule is not None and isinstance(grams, Rotated) and model.accumulated:
        words = words.source if isinstance(words, Rotated) else words
        if words.compiled:
            return TurnedMeans(model, choose(replace(model, words=words, grams=grams.source)), grams)
    return Composer(model)


class Composer:
    """Any model, in plain Python. A known word's vector is its row, or made like that of an unknown one."""

    #: Whether compiled code makes all of these vectors.
    compiled = False

    def __init__(self, model: Model, combine: Callable[[Floats], Floats] | None = None) -> None:
        self._model = model
        self._vocabulary, self._words, self._grams = model.vocabulary, model.words, model.grams
        self._subwords, self._accumulated = model.subwords, model.accumulated
        self._combine = combine or mean
        self._size, self._dim = len(model.vocabulary), model.words.shape[1]
        #: Rows from here on do not exist.
        self._limit = len(model.words) + (0 if model.grams is None else len(model.grams))
        #: Whether the vectors of all known words are their rows.
        self.stored = model.accumulated or model.subwords is None

    def vector(self, key: bytes, entry: int) -> Floats | None:
        """Return the vector of one word (its entry may be -1), or None; by compiled code once that is there."""
        if self._accumulated and 0 <= entry < self._size:
            return self._words.row(entry)
        return self.plain(key, entry)

    def plain(self, key: bytes, entry: int) -> Floats | None:
        """Do what `vector` does in plain Python."""
        if self._accumulated and 0 <= entry < self._size:
            return self._words.row(entry)
        rows = self.rows(key, entry)
        return self._combine(self._take(rows)) if rows else None

    def rows(self, key: bytes, entry: int) -> list[int]:
        """Return the rows that make up a word that is not stored: fastText's numbers, words first, then n-grams."""
        return word_rows(key, entry, self._size, self._subwords, self._limit)

    def fill(self, batch: Batch, target: Floats, threads: int | None) -> Integers:
        """Write the vectors of a batch to `target`; return for each word how many rows made it (0: none, zeros)."""
        entries = self._vocabulary.find_all(batch)
        made = np.ones(len(batch), np.int64)
        known = (entries >= 0) & (entries < self._size) & self.stored
        places = np.flatnonzero(known)
        for start in range(0, len(places), CHUNK):
            some = places[start : start + CHUNK]
            target[some] = self._words.take(entries[some])
        self._fill_unknown(batch, np.flatnonzero(~known), target, made, threads)
        return made

    def block(self, start: int, stop: int) -> Floats:
        """Return the vectors of the words `start` .. `stop - 1`, float32 (n, D); zeros where nothing makes one."""
        if self.stored:
            return self._words.block(start, stop)
        self._vocabulary.walkable()
        target = np.empty((stop - start, self._dim), np.float32)
        words = self._vocabulary.entries(start, stop)
        self._fill_plain(words, range(len(words)), target, np.ones(len(words), np.int64))
        return target

    def _fill_unknown(
        self, batch: Batch, places: Integers, target: Floats, made: Integers, threads: int | None
    ) -> None:
        """Make the vectors at `places` of a batch, words without a row of their own."""
        self._fill_plain(batch, places.tolist(), target, made)

    def _fill_plain(self, batch: Batch, places: Iterable[int], target: Floats, made: Integers) -> None:
        """Make the vectors at `places` of a batch one by one; `made` (ones) becomes 0 where there is none."""
        for i in places:
            key = encode(batch[i])
            vector = self.plain(key, self._vocabulary.find(key))
            if vector is None:
                made[i] = 0
                target[i] = 0
            else:
                target[i] = vector

    def _take(self, rows: list[int]) -> Floats:
        """Return rows by fastText's numbers: words, then n-grams."""
        ids = np.array(rows, np.int64)
        in_words = ids < self._size
        if in_words.all():
            return self._words.take(ids)
        assert self._grams is not None
        if not in_words.any():
            return self._grams.take(ids - self._size)
        vectors = np.empty((len(ids), self._dim), np.float32)
        vectors[in_words] = self._words.take(ids[in_words])
        vectors[~in_words] = self._grams.take(ids[~in_words] - self._size)
        return vectors


class Means(Composer):
    """fastText's and floret's means of rows, and words without any sub-words, by `kernels.lookup`."""

    compiled = True

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self._compute: Callable[[bytes, int], Floats | None] | None = None

    def vector(self, key: bytes, entry: int) -> Floats | None:
        if self._accumulated and 0 <= entry < self._size:
            return self._words.row(entry)
        rule = self._subwords
        if rule is None or not _effort.kernels_due(CHARACTER_COST * (8 + len(key))):
            return self.plain(key, entry)
        if key == END_OF_SENTENCE or not rule.has_ngrams:
            return self.plain(key, entry)
        rule.refuse_too_long(len(key))
        compute = self._compute or self._make_compute(rule)
        return compute(key, own_row(entry, rule, self._limit))

    def fill(self, batch: Batch, target: Floats, threads: int | None) -> Integers:
        if _effort.kernels_due(self._plain_cost(batch)):
            return self.fill_packed(*pack(batch), target, threads)
        made = np.ones(len(batch), np.int64)
        self._fill_plain(batch, range(len(batch)), target, made)
        return made

    def fill_packed(
        self, blob: Array, bounds: Integers, gap: int, target: Floats, threads: int | None
    ) -> Integers:
        """Do what `fill` does by the kernel, for words as `vocabulary.pack` packs them."""
        from .kernels import lookup

        made = np.zeros(len(bounds) - 1, np.int64)
        if not len(made):
            return made
        if len(made) >= CHUNK:  # a large batch meets most pages
            self._model.read_ahead()
        longest = int(np.diff(bounds).max())
        model = self._kernel_model(longest)
        embed: Any = lookup.embed

        def work(start: int, stop: int) -> None:
            embed(blob, bounds, gap, start, stop, longest, *model, target, made)

        _threads.run_chunks(work, len(made), CHUNK, threads)
        return made

    def block(self, start: int, stop: int) -> Floats:
        if self.stored:
            return self._words.block(start, stop)
        blob, offsets, gap, _ = self._vocabulary.walkable()
        length = int(offsets[stop] - offsets[start])
        if not _effort.kernels_due((stop - start) * MEAN_COST + length * CHARACTER_COST):
            return super().block(start, stop)
        target = np.empty((stop - start, self._dim), np.float32)
        self.fill_packed(blob, offsets[start : stop + 1], gap, target, 1)
        return target

    def _plain_cost(self, batch: Batch) -> float:
        """Return about how many seconds the batch takes in plain Python."""
        if self._subwords is None:
            return len(batch) * ROW_COST
        cost = len(batch) * MEAN_COST
        return cost if cost > _effort.START else max(cost, CHARACTER_COST * sum(map(len, batch)))

    def _kernel_model(self, longest: int) -> tuple[Any, ...]:
        """Return the model's part of the kernel's arguments; refuse words with too many n-grams."""
        subwords = NO_SUBWORDS
        if self._subwords is not None:
            self._subwords.refuse_too_long(longest)
            subwords = self._subwords.kernel()
        words = self._words.kernel()
        grams = words if self._grams is None else self._grams.kernel()
        return self._vocabulary.kernel(), self._size, self._limit, self._accumulated, words, grams, subwords

    def _make_compute(self, rule: Subwords) -> Callable[[bytes, int], Floats | None]:
        """Return (and keep) the kernel for one word with everything bound that does not depend on the word."""
        from .kernels import lookup

        embed_one: Any = lookup.embed_one
        nwords, words, subwords, shape = self._size, self._words.kernel(), rule.kernel(), (1, self._dim)
        grams = words if self._grams is None else self._grams.kernel()

        def compute(key: bytes, own: int) -> Floats | None:
            out = np.empty(shape, np.float32)
            return out[0] if embed_one(key, own, nwords, words, grams, subwords, out) else None

        self._compute = compute
        return compute


class EveryWordMeans(Means):
    """The same for gensim and floret's tables, to whom `</s>` is a word like any other; the kernel takes it bare."""

    def fill_packed(
        self, blob: Array, bounds: Integers, gap: int, target: Floats, threads: int | None
    ) -> Integers:
        made = super().fill_packed(blob, bounds, gap, target, threads)
        if END_OF_SENTENCE not in blob[int(bounds[0]) : int(bounds[-1])].tobytes():
            return made
        end = np.frombuffer(END_OF_SENTENCE, np.uint8)
        places = np.flatnonzero(np.diff(bounds) - gap == len(end))
        places = places[(blob[bounds[places, None] + np.arange(len(end))] == end).all(axis=1)]
        if len(places):
            vector = self.plain(END_OF_SENTENCE, self._vocabulary.find(END_OF_SENTENCE))
            made[places] = vector is not None
            target[places] = 0 if vector is None else vector
        return made


class TurnedMeans(Composer):
    """fastText's and floret's rules where rows are stored turned: a sum of turned rows is turned back, not each row."""

    def __init__(self, model: Model, source: Composer, grams: Rotated) -> None:
        super().__init__(model)
        self._source, self._rotation = source, grams.rotation

    def vector(self, key: bytes, entry: int) -> Floats | None:
        if 0 <= entry < self._size:
            return self._words.row(entry)
        return self._turn(self._source.vector(key, entry))

    def plain(self, key: bytes, entry: int) -> Floats | None:
        if 0 <= entry < self._size:
            return self._words.row(entry)
        return self._turn(self._source.plain(key, entry))

    def _turn(self, vector: Floats | None) -> Floats | None:
        return None if vector is None else rotate(vector[None], self._rotation)[0]

    def _fill_unknown(
        self, batch: Batch, places: Integers, target: Floats, made: Integers, threads: int | None
    ) -> None:
        rows = np.empty((len(places), self._dim), np.float32)
        made[places] = self._source.fill([batch[i] for i in places.tolist()], rows, threads)
        target[places] = rotate(rows, self._rotation)


class UnitSums(Composer):
    """finalfusion's sums that are scaled to length 1, by `kernels.finalfusion`."""

    def __init__(self, model: Model) -> None:
        super().__init__(model, unit_sum)
        self._kernel: tuple[Any, tuple[Any, ...]] | None = None

    @staticmethod
    def knows(model: Model) -> bool:
        """Say whether the kernel can make the unknown words of this model."""
        rule, grams = model.subwords, model.grams
        if rule is None or grams is None or not grams.compiled or not model.accumulated:
            return False
        return rule.rule in ("fifu", "fifu-floret") and (
            rule.table is None or isinstance(rule.table, Vocabulary)
        )

    def vector(self, key: bytes, entry: int) -> Floats | None:
        if 0 <= entry < self._size:
            return self._words.row(entry)
        if not _effort.kernels_due(UNIT_COST * (8 + len(key))):
            return self.plain(key, entry)
        assert self._subwords is not None
        self._subwords.refuse_too_long(len(key))
        row, count = np.empty((1, self._dim), np.float32), np.empty(1, np.int64)
        embed, model = self._kernel or self._make_kernel(self._subwords)
        bounds = np.array([0, len(key)])
        embed(np.frombuffer(key, np.uint8), bounds, 0, 0, 1, len(key), *model, row, count)
        made = int(count[0])
        if made < 0:
            return self.plain(key, entry)
        return row[0] if made else None

    def _fill_unknown(
        self, batch: Batch, places: Integers, target: Floats, made: Integers, threads: int | None
    ) -> None:
        chosen = [batch[i] for i in places.tolist()]
        if _effort.kernels_due(UNIT_COST * sum(8 + len(word) for word in chosen)):
            rows, counts = self._run(chosen, threads)
            left = counts < 0
            target[places], made[places] = rows, np.where(left, 1, counts)
            places = places[left]
        super()._fill_unknown(batch, places, target, made, threads)

    def _run(self, words: Batch, threads: int | None) -> tuple[Floats, Integers]:
        """Return the vectors of words and how many rows made each; -1 leaves a word to the plain code."""
        assert self._subwords is not None
        blob, bounds, gap = pack(words)
        longest = int(np.diff(bounds).max(initial=gap)) - gap
        self._subwords.refuse_too_long(longest)
        rows, counts = np.empty((len(words), self._dim), np.float32), np.empty(len(words), np.int64)
        embed, model = self._kernel or self._make_kernel(self._subwords)

        def work(start: int, stop: int) -> None:
            embed(blob, bounds, gap, start, stop, longest, *model, rows, counts)

        _threads.run_chunks(work, len(words), FEW, threads)
        return rows, counts

    def _make_kernel(self, rule: Subwords) -> tuple[Any, tuple[Any, ...]]:
        """Return (and keep) the kernel and the model's part of its arguments."""
        from .kernels import finalfusion

        assert self._grams is not None
        kinds = {"fnv1a": finalfusion.FNV32, "fnv64": finalfusion.FNV64, "murmur3": finalfusion.MURMUR}
        self._kernel = (
            finalfusion.embed,
            (
                np.frombuffer(rule.begin, np.uint8),
                np.frombuffer(rule.end, np.uint8),
                kinds.get(rule.hash, finalfusion.TABLE),
                rule.kernel(),
                rule.table.kernel() if isinstance(rule.table, Vocabulary) else NO_TABLE,
                self._grams.kernel(),
            ),
        )
        return self._kernel


class ScaledMeans(Composer):
    """spaCy's reading of a floret table, by `kernels.spacy`: each row is scaled before it is added."""

    def __init__(self, model: Model) -> None:
        super().__init__(model, scaled_mean)

    def _fill_unknown(
        self, batch: Batch, places: Integers, target: Floats, made: Integers, threads: int | None
    ) -> None:
        chosen = [batch[i] for i in places.tolist()]
        if not _effort.kernels_due(SCALED_COST * sum(8 + len(word) for word in chosen)):
            super()._fill_unknown(batch, places, target, made, threads)
            return
        from .kernels import spacy

        rule, grams = self._subwords, self._grams
        assert rule is not None and grams is not None
        blob, bounds, gap = pack(chosen)
        sizes = np.diff(bounds) - gap
        rule.refuse_too_long(int(sizes.max(initial=0)))
        rows = np.empty((len(places), self._dim), np.float32)
        begin, end = (np.frombuffer(text, np.uint8) for text in (rule.begin, rule.end))
        numbers = max(rule.minn, 0), rule.maxn, rule.hash_count, rule.bucket
        table = grams.kernel()
        embed: Any = spacy.embed

        def work(start: int, stop: int) -> None:
            embed(blob, bounds, gap, start, stop, begin, end, *numbers, table, rows)

        _threads.run_chunks(work, len(places), FEW, threads)
        target[places], made[places] = rows, sizes > 0


# -- what becomes of the rows --------------------------------------------------------------------------------------


def mean(rows: Floats) -> Floats:
    """Return the mean of the rows (n, D) as fastText does: float32 sums from zero, row after row, times f32(1 / n)."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = sum_rows(rows)
        return total * np.float32(1.0 / len(rows)) if len(rows) > 1 else total


def scaled_mean(rows: Floats) -> Floats:
    """Return the mean of the rows (n, D) as spaCy does (thinc's `cpu_reduce_mean`): rows times f32(1 / n), added up."""
    with np.errstate(over="ignore", invalid="ignore"):
        return sum_rows(rows * np.float32(1.0 / len(rows)))


def unit_sum(rows: Floats) -> Floats:
    """Return the sum of the rows (n, D) scaled to length 1, as finalfusion does; zeros where the sum is zero.

    The sum is one of float32 from zero, row after row; its length one of float64 in column order.
    """
    with np.errstate(all="ignore"):
        total = sum_rows(rows)
        wide = total.astype(np.float64)
        norm = np.sqrt(np.add.accumulate(wide * wide)[-1])
        return (wide / norm).astype(np.float32) if norm > 0 else total
