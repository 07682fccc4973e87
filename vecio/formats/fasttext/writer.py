"""Writes fastText's `.bin` and `.ftz`, and floret's `.bin`: specs/fasttext.md, "Writing".

What goes into the file is decided first (`Plan`): the settings, which n-grams the layout can hold, the row that each
word needs. Then everything is streamed in blocks. Quantising is in `quantise.py`.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ..._binary import atomic_write
from ...embeddings import Embeddings
from ...errors import UnsupportedError
from ...matrix import Float32, Matrix, ProductQuantised, Quantised
from ...subwords import BEGIN, END, END_OF_SENTENCE, Subwords
from ...views import Finished
from ...vocabulary import Vocabulary
from ..base import (
    ALL_WORDS,
    COUNTS,
    LABELS,
    OUTPUT,
    OWN,
    RAW,
    SETTINGS,
    UNKNOWN,
    WORDS,
    Fate,
    Written,
    blocks,
    columns_of,
    properties,
    release,
)
from .own import OwnRows, Patched
from .reader import ARGS, FLORET_ARGS, LOSSES, MAGIC, MODELS, NEWEST

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]

_I31 = (1 << 31) - 1
#: What the program takes where nothing is said; what a model that it did not train gets.
NEUTRAL = {
    "ws": 5,
    "epoch": 5,
    "minCount": 1,
    "neg": 5,
    "wordNgrams": 1,
    "loss": 2,
    "model": 2,
    "lrUpdateRate": 100,
}
NEUTRAL_T = 1e-4
#: Rules whose n-grams are fastText's (or floret's), in another order or with other brackets alone: those of 1 differ.
LIKE = {
    "fasttext": ("fasttext", "gensim", "fifu-fasttext"),
    "floret": ("floret", "floret-table", "spacy", "fifu-floret"),
}
ALIKE_FROM_2 = ("fifu-fasttext", "spacy", "fifu-floret")
#: Entries that are written at once.
ENTRIES = 1 << 15
#: Words of which a report says whether they are the mean of their n-grams.
SAMPLE = 256


@dataclass
class Options:
    """The options of both writers."""

    qnorm: bool = False
    qout: bool = False
    cutoff: int | None = None
    dsub: int | None = None
    minn: int | None = None
    maxn: int | None = None
    bucket: int | None = None

    def __post_init__(self) -> None:
        for name in ("qnorm", "qout"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, not {getattr(self, name)!r}")
        for name, least in (("cutoff", 1), ("dsub", 1), ("minn", 1), ("maxn", 1), ("bucket", 1)):
            value = getattr(self, name)
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _I31
            ):
                raise ValueError(f"{name} must be a whole number from {least} on, not {value!r}")
        given = [value is not None for value in (self.maxn, self.bucket)]
        if any(given) != all(given) or (self.minn is not None and not all(given)):
            raise ValueError("empty n-gram rows need maxn and bucket, and may have minn")
        if self.maxn is not None and (self.minn or 1) > self.maxn:
            raise ValueError(f"minn {self.minn} is more than maxn {self.maxn}")


def refuses(word: bytes) -> str | None:
    """Say why a word cannot stand in a dictionary whose entries end with a NUL byte."""
    return "it holds a NUL byte" if b"\0" in word else None


def write(
    embeddings: Embeddings,
    path: str | os.PathLike[str],
    dtype: str | None = None,
    qnorm: bool = False,
    qout: bool = False,
    cutoff: int | None = None,
    dsub: int | None = None,
    minn: int | None = None,
    maxn: int | None = None,
    bucket: int | None = None,
    progress: Progress | None = None,
) -> Written:
    """Write embeddings as fastText does: atomic, in blocks of bounded memory, the same bytes each time.

    dtype: "float32", "pq" or "pqN" (N pieces a row); None: pq for `.ftz`, for rows that are quantised and for pruned
    n-grams, else float32. qnorm, qout, cutoff, dsub: as in the program's `quantize`, with its defaults. minn, maxn,
    bucket: give plain word vectors empty n-gram rows. progress: called with rows done and rows in all.
    """
    options = Options(qnorm, qout, cutoff, dsub, minn, maxn, bucket)
    return _write(embeddings, path, dtype, options, False, progress)


def write_floret(
    embeddings: Embeddings,
    path: str | os.PathLike[str],
    dtype: str | None = None,
    qnorm: bool = False,
    qout: bool = False,
    cutoff: int | None = None,
    dsub: int | None = None,
    minn: int | None = None,
    maxn: int | None = None,
    bucket: int | None = None,
    progress: Progress | None = None,
) -> Written:
    """Write embeddings as floret does; options as in `write`."""
    options = Options(qnorm, qout, cutoff, dsub, minn, maxn, bucket)
    return _write(embeddings, path, dtype, options, True, progress)


def fate(e: Embeddings, dtype: str | None, options: Mapping[str, Any]) -> Fate:
    """Return what a fastText file will keep, round and lose."""
    return _fate(e, dtype, options, False)


def fate_floret(e: Embeddings, dtype: str | None, options: Mapping[str, Any]) -> Fate:
    """Return what a floret file will keep, round and lose."""
    return _fate(e, dtype, options, True)


def _write(
    e: Embeddings,
    path: str | os.PathLike[str],
    dtype: str | None,
    options: Options,
    floret: bool,
    progress: Progress | None,
) -> Written:
    plan = Plan(e, floret, dtype, options)
    with atomic_write(path) as stream:
        if plan.quantised:
            from .quantise import write_quantised

            return write_quantised(plan, stream, progress)
        writer = Writer(plan, stream, progress, len(plan.words) + plan.gram_rows + plan.output_rows)
        writer.head()
        writer.flag(0)
        writer.dense([plan.words] if plan.grams is None else [plan.words, plan.grams])
        writer.output()
        return Written(plan.dtype)


class Plan:
    """What is to be written, before the first byte.

    quantised: whether the input matrix is; copied: whether its codes are those of the source. rule: the n-grams that
    the file has. words, grams: the rows of the input matrix (own rows). exact: whether they are stored in the source
    (else they are computed). output: the output matrix or None.
    """

    def __init__(self, e: Embeddings, floret: bool, dtype: str | None, options: Options) -> None:
        self.embeddings, self.options = e, options
        self.classifier = e._classifier
        self.kind = "floret" if floret else "fasttext"
        self.rule, self.grams = self._rule()
        self.pairs = None if self.rule is None else self._pairs(self.rule)
        self.words, self.exact = self._words()
        self.vocabulary, self.added = e._vocabulary, False
        self.kept: Array | None = None  # which words are, when some are cut off
        self._choose(dtype)
        self.output = self._output()
        if not len(e):
            self._add_entry()
        self.nwords, self.nlabels = len(self.words), self.vocabulary.size - len(self.vocabulary)
        self._check()

    # -- what the layout can hold --------------------------------------------------------------------------------

    def _rule(self) -> tuple[Subwords | None, Matrix | None]:
        """Return the n-grams as the file can have them, and their rows."""
        e, given = self.embeddings, self.options
        old = e._subwords
        if given.bucket is not None:
            if old is not None:
                raise ValueError("minn, maxn and bucket are for models without n-grams of their own")
            assert given.maxn is not None
            empty = np.broadcast_to(np.zeros((1, 1), np.float32), (given.bucket, e.dim))
            return Subwords(given.minn or 1, given.maxn, given.bucket), Float32(empty)
        if old is None or e._grams is None:
            return None, None
        floret = old.kind in LIKE["floret"]
        if old.kind not in LIKE["floret" if floret else "fasttext"] or (floret and self.kind != "floret"):
            return None, None
        if (old.begin, old.end) != (BEGIN, END) or (old.kind in ALIKE_FROM_2 and old.minn < 2):
            return None, None
        kind = "floret" if floret else "fasttext"
        return Subwords(old.minn, old.maxn, old.bucket, kind, old.hash_count, old.pruned), e._grams

    def _pairs(self, rule: Subwords) -> Array | None:
        """Return the pruned pairs, with rows 0 .. P-1 each once, and put the n-gram rows in their order."""
        if rule.pruned is None:
            return None
        assert self.grams is not None
        pairs = np.asarray(rule.pruned, np.int64).reshape(-1, 2)
        rows = pairs[:, 1]
        if len(pairs) == len(self.grams) and len(np.unique(rows)) == len(rows) == len(np.unique(pairs[:, 0])):
            return pairs
        last = {int(bucket): i for i, bucket in enumerate(pairs[:, 0].tolist())}
        kept = pairs[np.sort(np.fromiter(last.values(), np.int64, len(last)))]
        from ...matrix import Gathered

        self.grams = Gathered(self.grams, kept[:, 1])
        kept = np.stack([kept[:, 0], np.arange(len(kept))], axis=1)
        self.rule = rule.replaced(kept)
        return kept

    def _words(self) -> tuple[Matrix, bool]:
        """Return the own rows of the words, and whether the source has them as they are."""
        e, rule = self.embeddings, self.rule
        old = e._subwords
        computed = not e._accumulated and old is not None
        if e._classifier is not None:
            return e._words, True
        if rule is None:
            return (Finished(e, np.arange(len(e))), False) if computed else (e._words, True)
        assert self.grams is not None
        same = old is not None and old.kind in (rule.kind, "gensim") and old.pruned is rule.pruned
        raw = e._words if computed else e._parts.raw_words
        if same and raw is not None:
            assert old is not None
            place = e._vocabulary.find(END_OF_SENTENCE) if old.kind == "gensim" else -1
            if not 0 <= place < len(e):
                return raw, True
            return Patched(raw, place, e[END_OF_SENTENCE]), True  # it has n-grams there, and none in fastText
        if rule.kind == "floret":  # its words have no rows of their own, except the first
            rows = Finished(e, np.arange(len(e))) if computed else e._words
            if not len(e):
                return rows, False
            return Patched(rows, 0, OwnRows(e, rule, self.grams).block(0, 1)[0]), False
        return OwnRows(e, rule, self.grams), False

    def _choose(self, dtype: str | None) -> None:
        """Decide how the input matrix is stored."""
        given, dim = self.options, self.embeddings.dim
        self.dsub = given.dsub or 2
        stored = self.words if isinstance(self.words, ProductQuantised) else None
        alike = stored is not None and (self.grams is None or _same_quantiser(stored, self.grams))
        if dtype is None:
            dtype = "pq" if alike or self.pairs is not None else "float32"
        if dtype == "float32":
            if self.pairs is not None:
                raise UnsupportedError(
                    f"{self.embeddings.path or 'this model'}: n-grams were pruned, which fastText's layout has for "
                    "quantised rows only (dtype pq)"
                )
            for name in ("qnorm", "qout", "cutoff", "dsub"):
                if getattr(given, name):
                    raise ValueError(f"{name} is for quantised files (.ftz, or dtype pq)")
        elif dtype.startswith("pq") and (dtype == "pq" or dtype[2:].isdecimal()):
            if len(dtype) > 2:
                if given.dsub is not None:
                    raise ValueError(f"{dtype}: give dsub or pqN, not both")
                self.dsub = columns_of(dtype, dim)
        else:
            raise ValueError(f"dtype must be float32, pq or pqN, not {dtype!r}")
        self.quantised = dtype != "float32"
        asked = (
            given.dsub is not None
            or given.qnorm
            or given.qout
            or given.cutoff
            or dtype not in ("pq", "float32")
        )
        self.copied = stored if self.quantised and alike and not asked else None
        self.dtype = "pq" if self.quantised else "float32"

    def _output(self) -> Matrix | None:
        e = self.embeddings
        if self.classifier is not None:
            return self.classifier.output
        output = e._parts.output
        if output is None or len(output) != len(e):
            return None
        keep = not self.quantised or self.copied is not None or self.options.qout
        return output if keep else None

    def _add_entry(self) -> None:
        """Give a model without words the entry `</s>`: the program cannot look anything up in an empty dictionary."""
        self.words, self.exact, self.added = (
            Float32(np.zeros((1, self.embeddings.dim), np.float32)),
            True,
            True,
        )
        self.vocabulary = Vocabulary.from_words([END_OF_SENTENCE], [1])
        self.output, self.copied = None, None

    def _check(self) -> None:
        e, vocabulary = self.embeddings, self.vocabulary
        name = e.path or "this model"
        rows = self.nwords + self.gram_rows
        if max(vocabulary.size, rows, e.dim) > _I31:
            raise UnsupportedError(f"{name}: {rows} rows are more than the layout can number")
        pieces = -(-e.dim // self.dsub)
        if self.quantised and self.copied is None and rows * pieces > _I31 and not self.options.cutoff:
            least = -(-e.dim // (_I31 // rows))
            raise UnsupportedError(
                f"{name}: {rows} rows of {pieces} codes are too many for the layout; dsub must be {least} or more"
            )
        if self.classifier is not None:
            if self.classifier.loss == "hs" and vocabulary.counts is None:
                raise UnsupportedError(f"{name}: the labels have no counts, and the loss hs is made of them")
            for i, label in enumerate(self.classifier.labels):
                if "\0" in label:
                    raise UnsupportedError(f"{name}: label {i} holds a NUL byte")

    # -- the numbers of the header -------------------------------------------------------------------------------

    @property
    def gram_rows(self) -> int:
        return 0 if self.grams is None else len(self.grams)

    @property
    def output_rows(self) -> int:
        return 0 if self.output is None else len(self.output)

    def args(self) -> dict[str, Any]:
        """Return the args block: what the model says of its training, and what its parts demand."""
        e, said, rule = self.embeddings, trained(self.embeddings), self.rule
        args: dict[str, Any] = {**NEUTRAL, **said}
        if self.classifier is not None:
            args["model"], args["loss"] = 3, {name: n for n, name in LOSSES.items()}[self.classifier.loss]
            if max(args["wordNgrams"], 1) != self.classifier.word_ngrams:
                args["wordNgrams"] = self.classifier.word_ngrams
        elif args["model"] == 3:
            args["model"] = NEUTRAL["model"]
        if rule is not None:
            args["minn"], args["maxn"], args["bucket"] = rule.minn, rule.maxn, rule.bucket
        else:
            minn, maxn = said.get("minn", 0), said.get("maxn", 0)
            args["minn"], args["maxn"], args["bucket"] = (
                (0, 0, 0) if 0 < maxn and minn <= maxn else (minn, maxn, 0)
            )
        args["dim"] = e.dim
        floret = rule is not None and rule.kind == "floret"
        args["mode"] = 2 if floret else 1
        args["hashCount"] = (
            rule.hash_count if rule is not None and floret else _number(e, "hashCount", 1, 4) or 1
        )
        t = e.metadata.get("t")
        args["t"] = t if isinstance(t, float) and math.isfinite(t) else NEUTRAL_T
        return args

    def head(self) -> bytes:
        """Return everything before the dictionary's entries."""
        args, version = self.args(), _number(self.embeddings, "version", 1, NEWEST) or NEWEST
        names = FLORET_ARGS if self.kind == "floret" else ARGS
        counts = self.vocabulary.counts
        ntokens = _number(self.embeddings, "ntokens", 0, 1 << 62)
        if ntokens is None:
            ntokens = self.vocabulary.size if counts is None else min(max(int(counts.sum()), 0), 1 << 62)
        return b"".join(
            (
                struct.pack("<ii", MAGIC, version),
                struct.pack(f"<{len(names)}i", *(args[name] for name in names)),
                struct.pack("<d", args["t"]),
                struct.pack("<iii", self.vocabulary.size, self.nwords, self.nlabels),
                struct.pack("<qq", ntokens, -1 if self.pairs is None else len(self.pairs)),
            )
        )


def trained(e: Embeddings) -> dict[str, int]:
    """Return the settings that a model has from fastText, as they stand in the args block."""
    found = {name: _number(e, name, -_I31 - 1, _I31) for name in (*ARGS, "mode", "hashCount")}
    for name, names in (("loss", LOSSES), ("model", MODELS)):
        found[name] = next((n for n, text in names.items() if text == e.metadata.get(name)), None)
    return {name: value for name, value in found.items() if value is not None}


def _number(e: Embeddings, name: str, least: int, most: int) -> int | None:
    value = e.metadata.get(name)
    return (
        value if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most else None
    )


def _same_quantiser(words: ProductQuantised, grams: Matrix) -> bool:
    """Say whether the codes of both matrices mean the same, and the norms of both come from one table."""
    if not len(grams):
        return True
    return (
        isinstance(grams, ProductQuantised)
        and words.dsub == grams.dsub
        and np.array_equal(words.centroids.view(np.uint32), grams.centroids.view(np.uint32))
        and (len(words.norms) > 0) == (len(grams.norms) > 0)
    )


class Writer:
    """Writes one plan to one stream."""

    def __init__(self, plan: Plan, stream: BinaryIO, progress: Progress | None, total: int) -> None:
        self.plan, self.stream, self.progress = plan, stream, progress
        self.done, self.total = 0, total

    def advance(self, rows: int) -> None:
        """Report that rows were written."""
        self.done += rows
        if self.progress is not None:
            self.progress(self.done, self.total)

    def head(self) -> None:
        """Write the header, the dictionary and the pruned pairs."""
        plan = self.plan
        self.stream.write(plan.head())
        blob, offsets, gap, _ = plan.vocabulary.walkable()
        counts = plan.vocabulary.counts
        for start in range(0, len(offsets) - 1, ENTRIES):
            bounds = offsets[start : start + ENTRIES + 1]
            some = np.ones(len(bounds) - 1, np.int64) if counts is None else counts[start : start + ENTRIES]
            labels = np.arange(start, start + len(some)) >= plan.nwords
            self.stream.write(entries(blob, bounds, gap, some, labels))
        if plan.pairs is not None:
            self.stream.write(np.ascontiguousarray(plan.pairs, "<i4").tobytes())

    def flag(self, value: int) -> None:
        """Write the flag before a matrix."""
        self.stream.write(bytes([value]))

    def dense(self, matrices: list[Matrix]) -> None:
        """Write matrices, one below the other, as a dense one."""
        e = self.plan.embeddings
        self.stream.write(struct.pack("<qq", sum(map(len, matrices)), e.dim))
        for matrix in matrices:
            for _, rows in self.row_blocks(matrix):
                self.stream.write(np.ascontiguousarray(rows, "<f4").data)
                self.advance(len(rows))

    def row_blocks(self, matrix: Matrix) -> Any:
        """Go over the rows of a matrix: (first row, float32 rows), giving the pages back that were read."""
        e = self.plan.embeddings
        computed = isinstance(matrix, (Finished, OwnRows))
        if computed:
            e._read_ahead()
        else:
            e._advise(matrix, "SEQUENTIAL")
        for start, stop in blocks(len(matrix), matrix.shape[1]):
            e._check()
            yield start, matrix.block(start, stop)
            release(e, matrix, start, stop)
        if computed:
            release(e, e._grams)
        elif matrix is e._grams:
            e._advise(matrix, "RANDOM")

    def output(self) -> None:
        """Write the output matrix; an empty one for a word model that has none."""
        output = self.plan.output
        if isinstance(output, ProductQuantised) and self.plan.quantised:
            self.flag(1)
            self.copy_quantised([output])
            return
        self.flag(0)
        self.dense([] if output is None else [output])

    def copy_quantised(self, matrices: list[ProductQuantised]) -> None:
        """Write quantised matrices that share their centroids with their codes as they are."""
        first = matrices[0]
        dim, pieces = first.shape[1], first.codes.shape[1]
        rows = sum(map(len, matrices))
        norms = _norm_codes(matrices)
        self.stream.write(struct.pack("<?qqi", norms is not None, rows, dim, rows * pieces))
        for matrix in matrices:
            for start, stop in blocks(len(matrix), pieces):
                self.plan.embeddings._check()
                self.stream.write(np.ascontiguousarray(matrix.codes[start:stop]).data)
                self.advance(stop - start)
        self.stream.write(quantiser(dim, first.dsub, first.centroids))
        if norms is not None:
            self.stream.write(norms[0].tobytes())
            self.stream.write(quantiser(1, 1, norms[1]))


def _norm_codes(matrices: list[ProductQuantised]) -> tuple[Array, Floats] | None:
    """Return a code for the norm of each row, and the 256 norms that they stand for."""
    if not any(len(matrix.norms) for matrix in matrices):
        return None
    stored = [(m.norm_codes, m.levels) for m in matrices if isinstance(m, Quantised)]
    codes = [codes for codes, _ in stored if codes is not None]
    tables = [levels for _, levels in stored if levels is not None]
    if len(codes) == len(tables) == len(matrices) and all(np.array_equal(t, tables[0]) for t in tables):
        return np.concatenate(codes), tables[0]
    norms = np.concatenate([matrix.norms for matrix in matrices]).astype(np.float32)
    levels, places = np.unique(norms, return_inverse=True)
    if len(levels) <= 256:
        table = np.zeros(256, np.float32)
        table[: len(levels)] = levels
        return places.astype(np.uint8), table
    from ... import _pq

    table = _pq.train(norms[:, None], 1)
    return _pq.encode(norms[:, None], table, 1)[:, 0], table


def quantiser(dim: int, dsub: int, centroids: Floats) -> bytes:
    """Return a product quantiser as it stands in a file."""
    head = struct.pack("<iiii", dim, -(-dim // dsub), dsub, dim % dsub or dsub)
    return head + np.ascontiguousarray(centroids, "<f4").tobytes()


def entries(blob: Array, bounds: Array, gap: int, counts: Array, labels: Array) -> bytes:
    """Return dictionary entries: word, NUL, count, type. Word i is `blob[bounds[i] : bounds[i + 1] - gap]`."""
    part = blob[bounds[0] : bounds[-1]]
    if gap:
        keep = np.ones(len(part), np.bool_)
        keep[(bounds[1:, None] - bounds[0]) - np.arange(1, gap + 1)] = False
        part = part[keep]
    lengths = np.diff(bounds) - gap
    rest = np.cumsum(lengths + 10)[:, None] + np.arange(-10, 0)  # where NUL, count and type of each entry go
    out = np.empty(int(rest[-1, -1]) + 1, np.uint8)
    word = np.ones(len(out), np.bool_)
    word[rest] = False
    out[word] = part
    out[rest[:, 0]] = 0
    out[rest[:, 1:9]] = np.ascontiguousarray(counts, "<i8").view(np.uint8).reshape(-1, 8)
    out[rest[:, 9]] = labels
    return out.tobytes()


# -- what becomes of a model ---------------------------------------------------------------------------------------


def _fate(e: Embeddings, dtype: str | None, options: Mapping[str, Any], floret: bool) -> Fate:
    known = {name: options[name] for name in Options.__dataclass_fields__ if options.get(name) is not None}
    plan = Plan(e, floret, dtype, Options(**known))
    kept = [ALL_WORDS]
    lost: list[str] = []
    added: list[str] = []
    carried = {LABELS}
    if e._vocabulary.counts is not None:
        carried.add(COUNTS)
    elif len(e):
        added.append("counts of the words: each is 1")
    if plan.rule is not None:
        carried.add(UNKNOWN)
    raw = e._parts.raw_words
    stored = plan.exact and (raw is None or plan.words is raw or e._subwords is None)
    if plan.copied is not None or (stored and not plan.quantised):
        carried |= {RAW, OWN} if plan.output is None else {RAW, OWN, OUTPUT}
    said, written = trained(e), plan.args()
    if not all(name in said for name in ARGS):
        added.append("the settings of a training: the program's usual ones")
    elif all(said[name] == written[name] for name in ARGS) and (floret or e.metadata.get("mode") != "floret"):
        carried.add(SETTINGS)
    for name in properties(e):
        (kept if name in carried else lost).append(name)
    if plan.classifier is not None and plan.classifier.label_prefix != "__label__":
        lost.append(
            f"the prefix of the labels, {plan.classifier.label_prefix!r}: the program takes __label__"
        )
    if plan.options.cutoff and plan.options.cutoff < len(plan.words) + plan.gram_rows:
        lost += [WORDS, f"all but {plan.options.cutoff:,} of the rows of words and n-grams, the longest"]
    if plan.added:
        added.append(
            "the word </s> with a vector of zeros, for the program cannot read a model without words"
        )
    return Fate(plan.dtype, kept, _rounded(plan), lost, added)


def _rounded(plan: Plan) -> list[str]:
    """Return which numbers change."""
    e, rule = plan.embeddings, plan.rule
    found = []
    if plan.quantised and plan.copied is None:
        found.append("the word vectors, as pq")
        if plan.grams is not None:
            found.append("the n-gram rows, as pq")
        if plan.classifier is not None:
            found.append("the probabilities of labels, which follow from them")
    elif rule is not None and rule.kind == "floret" and not plan.exact:
        if len(e) and not _means(plan):
            found.append("the vectors of known words: floret makes them of their n-grams")
    elif not plan.exact and rule is not None and len(e):
        found.append("the word vectors: made of a computed row and the n-gram rows, near the last bit")
    if rule is not None and e._parts.unit:
        found.append("the vectors of unknown words: not scaled to length 1")
    elif rule is not None and e._subwords is not None and e._subwords.kind in ALIKE_FROM_2:
        found.append("the vectors of unknown words: the same rows in another order, near the last bit")
    return found


def _means(plan: Plan) -> bool:
    """Say whether the vectors of words are what their n-grams make, on a sample."""
    e, rule = plan.embeddings, plan.rule
    assert rule is not None and plan.grams is not None
    if not e._accumulated:
        return True
    from ...sentences import mean

    for i in (
        np.unique(np.linspace(1, len(e) - 1, min(SAMPLE, len(e) - 1)).astype(np.int64)) if len(e) > 1 else ()
    ):
        rows = rule.rows(e._vocabulary.entry(int(i)))
        made = mean(plan.grams.take(rows)) if rows else np.zeros(e.dim, np.float32)
        if made.tobytes() != e._words.row(int(i)).tobytes():
            return False
    return True
