"""Writing vecio's own file: one pass over the model in blocks of rows, hashed on the way. Bytes: specs/vecio.md.

What a file holds is planned before the first byte (`_Plan`): every tensor with dtype and shape, and the metadata. Rows
that become codes are the exception that proves it: their quantiser is trained on a sample while the plan is made.
"""

from __future__ import annotations

import json
import math
import os
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ... import _quantise, _varints
from ..._binary import atomic_write
from ..._rounding import DTYPES, Stored, Tally, compared, norms_of, round_rows
from ..._safetensors import NUMPY, Tensor, build_header
from ..._spacy_keys import KeyTable
from ..._version import __version__
from ...embeddings import Embeddings
from ...errors import UnsupportedError
from ...matrix import Gathered, Matrix, ProductQuantised, Quantised, Rotated
from ...subwords import BEGIN, END
from ...vocabulary import Vocabulary, decode
from ..base import (
    BLOCK_BYTES,
    COUNTS,
    ENCODER,
    LABELS,
    LENGTHS,
    RAW,
    SETTINGS,
    UNKNOWN,
    Fate,
    Written,
    blocks,
    columns_of,
    release,
    vectors_of,
)
from ..base import fate as common_fate
from .reader import CRC_KEY, MARK, NAME, NO_CRC, header_crc, parse_object, vocabulary_tensors

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]

#: The layouts: a file that needs nothing of the second is written as the first.
FIRST, SECOND = 1, 2

_CODES = {"float32": "F32", "float16": "F16", "int8": "I8"}
#: dtypes of product-quantised rows: "pq" keeps codes that are there, "pqN" makes N codes a row.
_PQ = re.compile(r"pq([1-9][0-9]{0,4})?")


def write(
    embeddings: Embeddings,
    path: str | os.PathLike[str],
    dtype: str | None = None,
    raw_rows: bool = False,
    progress: Progress | None = None,
    *,
    grams_dtype: str | None = None,
    compact: bool | None = None,
    report: Mapping[str, Any] | None = None,
) -> Written:
    """Write embeddings as a vecio file: atomic, in blocks of bounded memory, the same bytes each time.

    dtype: "float32", "float16", "int8" or "pqN" (rows of N codes of one byte each); None keeps what the source has,
    "pq" (codes that are there, copied) included. raw_rows: keep a word
    model's own rows and output matrix too, so that the original file can be written again; for float32 only. progress:
    called with rows done and rows in all. grams_dtype: of the n-gram rows, where it is not that of the words. compact:
    pack the vocabulary: smaller, and opened with a pass over it; None: as it is stored, packed for codes of other
    formats. report: on quality, goes
    into the file's metadata.
    """
    dtype = _for_raw_rows(embeddings, dtype, raw_rows)
    chosen = choose_dtype(embeddings, dtype)
    grams = choose_grams(embeddings, dtype, grams_dtype)
    packed = embeddings._parts.packed or (chosen == "pq" and embeddings.format != NAME)
    packed = packed if compact is None else bool(compact)
    plan = _Plan(embeddings, chosen, raw_rows, grams, packed, report)
    with atomic_write(path) as stream:
        return _Writer(plan, stream, progress).run()


def planned_size(
    embeddings: Embeddings,
    dtype: str,
    grams_dtype: str,
    compact: bool,
    quality: Mapping[str, Any] | None = None,
) -> int:
    """Return the bytes of the file that `write` would make, without training anything."""
    plan = _Plan(embeddings, dtype, False, grams_dtype, compact, quality, dry=True)
    head, tensors = plan.header(
        {name: "0" * 64 for name, _, _ in plan.tensors()}, dict.fromkeys(plan.crcs, 0)
    )
    return max([len(head), *(tensor.stop for tensor in tensors)])


def choose_dtype(embeddings: Embeddings, dtype: str | None) -> str:
    """Return the dtype that word rows are written in."""
    e = embeddings
    if dtype is not None:
        return _checked(dtype, e._words, e)
    computed = not e._accumulated and e._subwords is not None and e._classifier is None
    return _kept(e._words) if not computed or e._words.dtype in DTYPES else "float32"


def choose_grams(embeddings: Embeddings, dtype: str | None, grams_dtype: str | None) -> str:
    """Return the dtype that n-gram rows are written in, where the caller says `dtype` of all rows, and of these."""
    grams = embeddings._grams
    if grams is None:
        return choose_dtype(embeddings, dtype)
    if grams_dtype is not None:
        return _checked(grams_dtype, grams, embeddings)
    chosen = choose_dtype(embeddings, dtype)
    kept = dtype is None and (embeddings.format == NAME or _has_codes(grams))
    return _kept(grams) if kept or chosen == "pq" else chosen


def _kept(matrix: Matrix) -> str:
    """Return the dtype in which rows are stored as they are."""
    return "pq" if _has_codes(matrix) else matrix.dtype if matrix.dtype in DTYPES else "float32"


def _for_raw_rows(e: Embeddings, dtype: str | None, raw_rows: bool) -> str | None:
    """Return the dtype to write where own rows are kept beside: codes become numbers then."""
    coded = e._words.dtype not in DTYPES or (e._grams is not None and e._grams.dtype not in DTYPES)
    return "float32" if dtype is None and raw_rows and coded and e._classifier is None else dtype


def _checked(dtype: str, matrix: Matrix, e: Embeddings) -> str:
    match = _PQ.fullmatch(dtype)
    if dtype not in DTYPES and match is None:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)} or pqN, not {dtype!r}")
    if dtype == "pq" and _coded(matrix) is None:
        raise ValueError(f"pq keeps the codes of {e.path or 'a model'}, and there are none: say pqN")
    if match is not None and match[1]:
        columns_of(dtype, e.dim)
    return dtype


class _Codes:
    """How a matrix is stored as codes: those that are there (`kept`), or those that a quantiser makes."""

    def __init__(self, dim: int, dsub: int, compact: bool) -> None:
        self.dim, self.dsub, self.compact = dim, dsub, compact
        self.kept: tuple[Array, Array] | None = None  # codes and norms
        self.norm_codes: tuple[Array, Floats] | None = None  # the norms as codes, and what they mean
        self.centroids: Floats = np.zeros(256 * dim, np.float32)
        self.rotation: Floats | None = None
        self.with_norms = True
        self.turned = True
        self.half = True

    def keep(
        self, coded: tuple[Array, Array, Floats, Floats | None], norm_codes: tuple[Array, Floats] | None
    ) -> None:
        codes, norms, self.centroids, self.rotation = coded
        self.kept = codes, norms
        self.with_norms, self.turned = len(norms) == len(codes) > 0, self.rotation is not None
        self.half = _is_half(self.centroids) and (self.rotation is None or _is_half(self.rotation))
        self.norm_codes = norm_codes
        self.compact = self.compact and (norm_codes is not None or _few(norms))

    def train(self, sample: Floats) -> None:
        made = _quantise.train(sample, self.dsub, self.turned)
        self.centroids, self.rotation = made.centroids, made.rotation
        self.turned = self.rotation is not None

    @property
    def quantiser(self) -> _quantise.Quantiser:
        return _quantise.Quantiser(self.dsub, self.centroids, self.rotation)

    def tensors(self, name: str, rows: int) -> list[tuple[str, str, tuple[int, ...]]]:
        """Return the tensors that have a row for each row of the matrix, and the levels of norms."""
        found: list[tuple[str, str, tuple[int, ...]]] = [
            (f"{name}.codes", "U8", (rows, -(-self.dim // self.dsub))),
        ]
        if self.with_norms:
            found.append((f"{name}.norms", "U8" if self.compact else "F32", (rows,)))
            if self.compact:
                found.append((f"{name}.levels", "F32", (256,)))
        return found


def _few(values: Floats) -> bool:
    """Say whether there are at most 256 different numbers: norms that were in one byte before."""
    return len(np.unique(values[:4096])) <= 256 and len(np.unique(values)) <= 256


def _is_half(values: Floats) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.array_equal(values, values.astype(np.float16).astype(np.float32)))


def _coded(matrix: Matrix) -> tuple[Array, Array, Floats, Floats | None] | None:
    """Return codes, norms, centroids and rotation of a matrix that is product-quantised or picked from one."""
    if isinstance(matrix, Rotated):
        return (*_coded(matrix.source)[:3], matrix.rotation)  # type: ignore[index]
    if isinstance(matrix, ProductQuantised):
        return matrix.codes, matrix.norms, matrix.centroids, None
    if isinstance(matrix, Gathered) and matrix.weights is None:
        coded = _coded(matrix.source)
        if coded is not None:
            codes, norms = coded[0][matrix.ids], coded[1][matrix.ids] if len(coded[1]) else coded[1]
            return codes, norms, *coded[2:]
    return None


def _has_codes(matrix: Matrix) -> bool:
    """Say whether `_coded` knows the matrix."""
    if isinstance(matrix, Gathered):
        return matrix.weights is None and _has_codes(matrix.source)
    return isinstance(matrix, (ProductQuantised, Rotated))


def _norm_codes(matrix: Matrix) -> tuple[Array, Floats] | None:
    """Return the codes of the norms of rows that `_coded` knows, and the norms that they mean, where there are such."""
    if isinstance(matrix, Rotated):
        return _norm_codes(matrix.source)
    if isinstance(matrix, Gathered):
        found = _norm_codes(matrix.source)
        return None if found is None else (found[0][matrix.ids], found[1])
    if isinstance(matrix, Quantised) and matrix.norm_codes is not None and matrix.levels is not None:
        return matrix.norm_codes, matrix.levels
    return None


def _dsub(matrix: Matrix) -> int:
    """Return the columns of a piece of rows that `_coded` knows."""
    source = matrix.source if isinstance(matrix, (Rotated, Gathered)) else matrix
    return source.dsub if isinstance(source, ProductQuantised) else _dsub(source)


class _Plan:
    """What is to be written, before the first byte: every tensor with dtype and shape, and the metadata.

    dry: nothing is trained, and the file cannot be written: for `planned_size`.
    """

    def __init__(
        self,
        e: Embeddings,
        dtype: str,
        raw_rows: bool,
        grams_dtype: str,
        compact: bool,
        quality: Mapping[str, Any] | None,
        dry: bool = False,
    ) -> None:
        self.embeddings = e
        self.dtype, self.grams_dtype, self.compact = dtype, grams_dtype, compact
        self.quality = None if quality is None else _dump(dict(quality))
        self.supervised = e._classifier is not None
        self.blob, self.offsets, self.gap, self.table = e._vocabulary.walkable()
        self.counts = e._vocabulary.counts
        self.pruned = None if e._subwords is None else e._subwords.pruned
        self.raw, self.output = self.kept(raw_rows)
        size = len(self.offsets) - 1
        if size >= 1 << 31:
            raise UnsupportedError(f"{size} words are more than the layout can hold")
        self.encoder = {} if e._encoder is None else encoder_state(e._encoder)
        self.packed = self.pack() if compact else {}
        self.crcs = vocabulary_tensors(["vocab.lengths"] if compact else [])
        self.codes = self.make_codes(dry)
        self.settings = self.make_settings()
        parse_object(self.settings)

    def pack(self) -> dict[str, Array]:
        """Return the tensors of packed numbers."""
        lengths = np.diff(self.offsets) - self.gap
        found = {"vocab.lengths": _varints.pack(lengths)}
        if self.counts is not None:
            found["counts.packed"] = _varints.pack(self.counts)
        if self.pruned is not None and len(self.pruned):
            buckets, rows = np.asarray(self.pruned, np.int64).T
            if (
                np.array_equal(rows, np.arange(len(rows)))
                and buckets[0] >= 0
                and (np.diff(buckets) > 0).all()
            ):
                found["prune.packed"] = _varints.pack(np.diff(buckets, prepend=0))
            else:
                found["prune.pairs"] = _varints.pack(np.asarray(self.pruned, np.int64).reshape(-1))
        return found

    def make_codes(self, dry: bool) -> dict[str, _Codes]:
        """Return how those matrices are stored that become codes, with their quantisers trained."""
        found = {}
        for name, dtype in self.dtypes().items():
            if not dtype.startswith("pq"):
                continue
            source = self.rows(name)
            coded = None if dtype != "pq" or source is None else _coded(source)
            if dtype == "pq" and coded is None:
                raise ValueError("pq keeps codes, and these vectors are computed: say pqN")
            if source is not None and coded is not None:
                codes = _Codes(self.embeddings.dim, _dsub(source), self.compact)
                codes.keep(coded, _norm_codes(source))
            else:
                codes = _Codes(self.embeddings.dim, -(-self.embeddings.dim // int(dtype[2:])), self.compact)
                codes.turned = not self.supervised and 1 < self.embeddings.dim <= _quantise.WIDEST
                codes.turned &= self.count(name) > 1
                if not dry:
                    codes.train(self.sample(name))
            found[name] = codes
        return found

    def dtypes(self) -> dict[str, str]:
        """Return the dtype of each matrix that has the model's rows."""
        found = {"words": self.dtype}
        if self.count("grams"):
            found["grams"] = self.grams_dtype
        return found

    def count(self, name: str) -> int:
        """Return the number of rows of `words` or `grams`."""
        e = self.embeddings
        return len(e) if name == "words" else 0 if e._grams is None else len(e._grams)

    def sample(self, name: str) -> Floats:
        """Return rows of a matrix, evenly spread, for training."""
        e, source = self.embeddings, self.rows(name)
        count = self.count(name)
        ids = np.unique(np.linspace(0, max(count - 1, 0), min(count, _quantise.SAMPLE)).astype(np.int64))
        if not count:
            return np.empty((0, e.dim), np.float32)
        if source is not None:
            return source.take(ids)
        return e.embed([e._vocabulary.entry(int(i)) for i in ids], "zero")

    def kept(self, raw_rows: bool) -> tuple[Matrix | None, Matrix | None]:
        """Return the raw word rows and the output matrix that go into the file."""
        e = self.embeddings
        if self.supervised:
            return None, e._parts.output
        if not raw_rows:
            return None, None
        if self.dtype != "float32":
            raise ValueError(
                f"raw_rows keeps the original exactly, which needs dtype float32, not {self.dtype}"
            )
        raw = e._parts.raw_words if e._accumulated else e._words
        if raw is None:
            raise UnsupportedError(f"{e.path or 'this model'} holds no raw rows that could be kept")
        return raw, e._parts.output

    @property
    def packed_pairs(self) -> bool:
        """Whether the pruned pairs are packed."""
        return "prune.packed" in self.packed or "prune.pairs" in self.packed

    @property
    def accumulated(self) -> bool:
        return not self.supervised

    def rows(self, name: str) -> Matrix | None:
        """Return the matrix that is the source of a tensor; None for words whose vectors are computed."""
        e = self.embeddings
        if name == "words":
            return e._words if self.supervised or e._accumulated or e._subwords is None else None
        return {"grams": e._grams, "output": self.output, "words.raw": self.raw}[name]

    def tensors(self) -> list[tuple[str, str, tuple[int, ...]]]:
        e, size = self.embeddings, len(self.offsets) - 1
        found: list[tuple[str, str, tuple[int, ...]]] = [
            ("vocab.bytes", "U8", (int(self.offsets[-1] - self.offsets[0]) - size * self.gap,)),
        ]
        if not self.compact:
            found += [("vocab.offsets", "I64", (size + 1,)), ("vocab.table", "U64", (len(self.table),))]
        found += [(name, "U8", values.shape) for name, values in self.packed.items()]
        for name, dtype in self.dtypes().items():
            rows = self.count(name)
            if name in self.codes:
                found += self.codes[name].tensors(name, rows)
                continue
            found.append((name, _CODES[dtype], (rows, e.dim)))
            if dtype == "int8":
                found.append((f"{name}.scales", "F32", (rows,)))
        if self.with_norms:
            found.append(("norms", "F32", (len(e),)))
        if self.raw is not None:
            found.append(("words.raw", "F32", self.raw.shape))
        if self.output is not None and not isinstance(self.output, ProductQuantised):
            found.append(("output", "F32", self.output.shape))
        if self.counts is not None and not self.compact:
            found.append(("counts", "I64", (size,)))
        if self.pruned is not None and not self.packed_pairs:
            found.append(("prune", "I64", (len(self.pruned), 2)))
        return found + [(name, _NAMES[values.dtype], values.shape) for name, values in self.small()]

    @property
    def with_norms(self) -> bool:
        """Whether the norms of the words are stored: a search of rows in place wants them."""
        return self.accumulated and not self.compact and "words" not in self.codes

    def small(self) -> list[tuple[str, Array]]:
        """Return the tensors that are written as they are: what is in memory or mapped, and needs no blocks."""
        e, found = self.embeddings, []
        if isinstance(self.output, ProductQuantised):
            codes, centroids, _, norms = self.output.kernel()
            found = [("output.codes", codes), ("output.centroids", centroids)]
            coded_norms = _norm_codes(self.output) if self.compact else None
            if coded_norms is not None:
                found += [("output.norms", coded_norms[0]), ("output.levels", coded_norms[1])]
            elif len(norms):
                found.append(("output.norms", norms))
        for name, stored in self.codes.items():
            kind = np.float16 if stored.half else np.float32
            found.append((f"{name}.centroids", stored.centroids.astype(kind)))
            if stored.turned:
                rotation = np.zeros((e.dim, e.dim)) if stored.rotation is None else stored.rotation
                found.append((f"{name}.rotation", rotation.astype(kind)))
        if e._parts.lengths is not None:
            found.append(("lengths", np.asarray(e._parts.lengths, np.float32)))
        table = None if e._subwords is None else e._subwords.table
        if isinstance(table, Vocabulary):
            blob, offsets, gap, cells = table.walkable()
            blob, offsets = _joined(blob, offsets, gap)
            found += [("ngrams.bytes", blob), ("ngrams.offsets", offsets), ("ngrams.table", cells)]
        elif isinstance(table, KeyTable):
            found += [("ngrams.keys", table.keys), ("ngrams.rows", np.asarray(table.rows, np.int64))]
        elif table is not None:
            raise UnsupportedError(f"n-grams in a {type(table).__name__} cannot be written")
        found += [
            (f"encoder.{name}", np.frombuffer(data, np.uint8)) for name, data in sorted(self.encoder.items())
        ]
        return found

    def make_settings(self) -> str:
        e = self.embeddings
        subwords, classifier = e._subwords, e._classifier
        metadata = {key: value for key, value in e.metadata.items() if key != "provenance"}
        if isinstance(metadata.get("quality"), dict) and e.format == NAME:
            del metadata["quality"]  # it told of that file
        settings = {
            "dim": e.dim,
            "nwords": len(e),
            "nlabels": e._vocabulary.size - len(e),
            "accumulated": self.accumulated,
            "minn": subwords.minn if subwords else 0,
            "maxn": subwords.maxn if subwords else 0,
            "bucket": subwords.bucket if subwords else 0,
            "hash": subwords.kind if subwords else "fasttext",
            "hash_count": subwords.hash_count if subwords else 1,
            "word_ngrams": classifier.word_ngrams if classifier else 1,
            "label_prefix": classifier.label_prefix if classifier else "__label__",
            "model": "supervised" if classifier else _text(metadata.get("model")),
            "loss": classifier.loss if classifier else _text(metadata.get("loss")),
            "metadata": metadata,
        }
        if isinstance(self.output, ProductQuantised):
            settings["output_dsub"] = self.output.dsub
        for name, stored in self.codes.items():
            settings[f"{name}_dsub"] = stored.dsub
        if self.packed_pairs and self.pruned is not None:
            settings["grams_kept"] = len(self.pruned)
        if e._parts.unit:
            settings["unit"] = True
        if subwords is not None and (subwords.begin, subwords.end) != (BEGIN, END):
            settings["begin"], settings["end"] = decode(subwords.begin), decode(subwords.end)
        try:
            return _dump(settings)
        except TypeError as error:
            raise ValueError(f"the metadata cannot be written as JSON: {error}") from None

    @property
    def layouts(self) -> tuple[int, int]:
        """Return the layout of the file, and the oldest whose readers understand it."""
        e = self.embeddings
        odd = e._subwords is not None and (
            e._subwords.kind not in ("fasttext", "floret")
            or (e._subwords.begin, e._subwords.end) != (BEGIN, END)
        )
        if self.compact or self.codes or self.encoder or odd or e._parts.unit:
            return SECOND, SECOND
        return (SECOND if self.quality is not None or e._parts.lengths is not None else FIRST), FIRST

    def header(self, digests: dict[str, str], crcs: dict[str, int]) -> tuple[bytes, list[Tensor]]:
        """Return length and header with these digests and checksums, and the tensors in file order."""
        source = self.embeddings.metadata.get("provenance")
        origin = (
            source["format"] if isinstance(source, dict) and "format" in source else self.embeddings.format
        )
        metadata = {
            "format": MARK,
            "version": str(self.layouts[0]),
            "min_reader": str(self.layouts[1]),
            "settings": self.settings,
            "provenance": _dump({"format": origin, "vecio": __version__}),
            "digests": _dump(digests),
            "vocab_crc32": _dump({name: f"{crcs[name]:08x}" for name in self.crcs}),
            "header_crc32": NO_CRC.decode(),
        }
        if self.quality is not None:
            metadata["quality"] = self.quality
        head, tensors = build_header(self.tensors(), metadata)
        return head.replace(CRC_KEY + NO_CRC, CRC_KEY + header_crc(head)), tensors


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _dump(value: dict[str, Any]) -> str:
    return json.dumps(_plain(value), separators=(",", ":"), sort_keys=True, allow_nan=False)


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold; a float that is not finite becomes text."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


#: The container's name of each dtype of numpy.
_NAMES = {np.dtype(kind): name for name, kind in NUMPY.items()}


def _joined(blob: Array, offsets: Array, gap: int) -> tuple[Array, Array]:
    """Return the strings of a vocabulary without what lies between them."""
    if not gap and offsets[0] == 0:
        return blob[: int(offsets[-1])], offsets
    lengths = np.diff(offsets) - gap
    bounds = np.zeros(len(offsets), np.int64)
    np.cumsum(lengths, out=bounds[1:])
    places = np.repeat(offsets[:-1] - bounds[:-1], lengths) + np.arange(bounds[-1])
    return blob[places], bounds


def encoder_state(encoder: Any) -> dict[str, bytes]:
    """Return what makes an encoder again."""
    state: dict[str, bytes] = encoder.state()
    return state


class _Writer:
    """Writes one plan to one stream: each tensor in blocks at its place, hashed on the way."""

    def __init__(self, plan: _Plan, stream: BinaryIO, progress: Progress | None) -> None:
        import hashlib  # 20 ms that opening a file must not wait for

        self.plan, self.stream, self.progress = plan, stream, progress
        self.crcs = dict.fromkeys(plan.crcs, 0)
        head, tensors = plan.header({name: "0" * 64 for name, _, _ in plan.tensors()}, self.crcs)
        self.tensors = {tensor.name: tensor for tensor in tensors}
        self.reached = {tensor.name: tensor.start for tensor in tensors}
        self.hashes = {tensor.name: hashlib.sha256() for tensor in tensors}
        self.done = 0
        self.total = sum(self.row_count(name) for name in self.matrices())
        stream.write(head)

    def matrices(self) -> list[str]:
        names = ("grams", "output", "words.raw", "words")
        return [name for name in names if name in self.tensors or name in self.plan.codes]

    def row_count(self, name: str) -> int:
        return self.tensors[f"{name}.codes" if name in self.plan.codes else name].shape[0]

    def run(self) -> Written:
        """Write everything; return what rounding did."""
        plan = self.plan
        if not plan.compact:
            self.put("vocab.table", plan.table)
            self.put_offsets()
        for name, values in plan.packed.items():
            self.put(name, values)
        if plan.counts is not None and not plan.compact:
            self.put("counts", plan.counts)
        if plan.pruned is not None and not plan.packed_pairs:
            self.put("prune", plan.pruned)
        for name, values in plan.small():
            self.put(name, values)
        tallies = {"words": Tally(), "grams": Tally()}
        for name in self.matrices():
            self.put_rows(name, tallies[name] if name in tallies else None)
        self.put_words()
        head, _ = plan.header({name: found.hexdigest() for name, found in self.hashes.items()}, self.crcs)
        self.stream.seek(0)
        self.stream.write(head)
        return Written(plan.dtype, tallies["words"], tallies["grams"])

    def put(self, name: str, values: Array) -> None:
        """Write values behind what the tensor has already."""
        tensor = self.tensors[name]
        whole = np.ascontiguousarray(values, NUMPY[tensor.dtype]).reshape(-1).view(np.uint8)
        for start in range(0, len(whole), BLOCK_BYTES):
            block = whole[start : start + BLOCK_BYTES].data
            self.stream.seek(self.reached[name])
            self.stream.write(block)
            self.hashes[name].update(block)
            if name in self.crcs:
                self.crcs[name] = zlib.crc32(block, self.crcs[name])
            self.reached[name] += len(block)

    def put_offsets(self) -> None:
        plan, step = self.plan, BLOCK_BYTES // 8
        for start in range(0, len(plan.offsets), step):
            part = plan.offsets[start : start + step]
            self.put("vocab.offsets", part - plan.offsets[0] - plan.gap * np.arange(start, start + len(part)))

    def put_words(self) -> None:
        """Write the entries' bytes, without what the source keeps between them."""
        plan = self.plan
        for start in range(0, len(plan.offsets) - 1, 1 << 16):
            bounds = plan.offsets[start : start + (1 << 16) + 1]
            part = plan.blob[bounds[0] : bounds[-1]]
            if plan.gap:
                keep = np.ones(len(part), np.bool_)
                keep[(bounds[1:, None] - bounds[0]) - np.arange(1, plan.gap + 1)] = False
                part = part[keep]
            self.put("vocab.bytes", part)

    def put_rows(self, name: str, tally: Tally | None) -> None:
        """Write the rows of a matrix, then its scales and norms."""
        rows = self.row_count(name)
        source, coded = self.plan.rows(name), self.plan.codes.get(name)
        e = self.plan.embeddings
        if name == "grams":
            e._advise(e._grams, "SEQUENTIAL")
        elif source is None:
            e._read_ahead()
        scales, norms = [], []
        for start, stop in blocks(rows, e.dim):
            stored = self.stored(name, start, stop, tally)
            self.put(name if coded is None else f"{name}.codes", stored.values)
            release(e, e._words if source is None else source, start, stop)
            norms.append(stored.norms)
            if stored.scales is not None:
                scales.append(stored.scales)
            self.done += stop - start
            if self.progress is not None:
                self.progress(self.done, self.total)
        if name == "grams":
            e._advise(e._grams, "RANDOM")
        elif source is None:  # n-gram rows all over the file were read
            release(e, e._grams)
        for part in scales:
            self.put(f"{name}.scales", part)
        if coded is not None:
            self.put_norms(name, coded, norms)
            if tally is not None:
                tally.numbers_final = not (coded.with_norms and coded.compact)
        elif name == "words" and "norms" in self.tensors:
            for part in norms:
                self.put("norms", part)

    def put_norms(self, name: str, coded: _Codes, parts: list[Floats]) -> None:
        """Write the norms of rows that became codes."""
        if not coded.with_norms:
            return
        norms = np.concatenate(parts) if parts else np.empty(0, np.float32)
        if not coded.compact:
            self.put(f"{name}.norms", norms)
            return
        codes, levels = coded.norm_codes or _quantise.norm_table(norms)
        self.put(f"{name}.norms", codes)
        self.put(f"{name}.levels", levels)

    def stored(self, name: str, start: int, stop: int, tally: Tally | None) -> Stored:
        """Return a block of rows as they are to be stored."""
        e, source = self.plan.embeddings, self.plan.rows(name)
        e._check()
        coded = self.plan.codes.get(name)
        if coded is not None and coded.kept is not None:
            codes, norms = coded.kept
            return Stored(codes[start:stop], None, norms[start:stop])
        block = vectors_of(e, start, stop) if source is None else source.block(start, stop)
        if coded is not None:
            made = _quantise.encode(block, coded.quantiser, keep_norms=name == "words")
            if tally is not None:
                _add(tally, block, made.rows)
            return Stored(made.codes, None, made.norms)
        dtype = self.plan.dtypes().get(name, "float32")
        if source is None:
            return round_rows(block, dtype, tally)
        if dtype == "float32" or source.dtype != dtype or not source.compiled:
            return round_rows(block, dtype, tally)
        values, *scales = source.part(start, stop).kernel()
        return Stored(
            values if dtype == "int8" else values.view(np.float16),
            scales[0] if scales else None,
            norms_of(block),
        )


def _add(tally: Tally, before: Floats, after: Floats) -> None:
    """Count what became of rows; those that cannot be stored are lost."""
    usable = np.isfinite(before).all(axis=1)
    sums = compared(before[usable], after[usable])
    sums[5] = len(before) - np.count_nonzero(usable)
    tally.add(before.size, sums)


def fate(e: Embeddings, dtype: str | None, options: Mapping[str, Any]) -> Fate:
    """Return what the file will keep, round and lose."""
    carried = [COUNTS, UNKNOWN, LABELS, SETTINGS, LENGTHS, ENCODER]
    carried += [RAW] if options.get("raw_rows") else []
    dtype = _for_raw_rows(e, dtype, bool(options.get("raw_rows")))
    chosen, grams = choose_dtype(e, dtype), choose_grams(e, dtype, options.get("grams_dtype"))
    return common_fate(e, chosen, carried, grams_dtype=grams)
