"""vecio's own file: a safetensors container with a layout of tensors and settings. Bytes: specs/vecio.md.

Reading checks everything that the header says against the file's length and maps the tensors where they lie; no word
is looked at. Writing streams: blocks of rows go through `_rounding` to their places in the file, their digests are
made on the way, and the header is written again when they are known. The container itself is `_safetensors.py`.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from .._binary import MappedFile, atomic_write
from .._rounding import DTYPES, Stored, Tally, norms_of, round_rows
from .._safetensors import NUMPY, Container, Tensor, build_header, looks_like, read_header
from .._threads import run_chunks
from .._version import __version__
from ..classifier import Classifier
from ..embeddings import Embeddings, Parts
from ..errors import FormatError, UnsupportedError
from ..matrix import Float16, Float32, Int8, Matrix, ProductQuantised
from ..subwords import Subwords
from ..vocabulary import Vocabulary, table_length
from .base import COUNTS, LABELS, RAW, SETTINGS, UNKNOWN, Fate, Format, Written
from .base import fate as common_fate

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]

NAME = "safetensors"
MARK = "vecio"
#: The layout that is written, and the newest that is understood.
LAYOUT = 1

_CODES = {"float32": "F32", "float16": "F16", "int8": "I8"}
_CRC_KEY = b'"header_crc32":"'
_NO_CRC = b"00000000"
#: Bytes of float32 that one block holds.
BLOCK_BYTES = 8 << 20
#: The tensors of the vocabulary: up to EAGER bytes in all, their checksums are compared when a file is opened.
VOCABULARY = ("vocab.bytes", "vocab.offsets", "vocab.table")
EAGER = 1 << 20
#: Mapped rows of fewer bytes are not worth a call to unmap them.
LEAST_RELEASED = 1 << 20
#: Words whose vectors one thread makes at a time.
CHUNK = 2048
#: Settings are short; text beyond this, or with more brackets, is not ours.
LONGEST_SETTINGS, MOST_BRACKETS = 1 << 20, 256


# -- reading -------------------------------------------------------------------------------------------------------


def detect(file: MappedFile) -> str | None:
    """Return None for a safetensors file (of any program: `read` tells them apart), else why it is none."""
    return looks_like(file)


def read(file: MappedFile, **options: Any) -> Embeddings:
    """Open a vecio file in place.

    Raises UnsupportedError for a safetensors file of another program or of a later layout, FormatError for one that
    contradicts itself.
    """
    container = read_header(file)
    if container.metadata.get("format") != MARK:
        raise _foreign(file, container)
    _check_crc(file, container)
    _check_version(file, container)
    return _Reader(file, container).embeddings()


def _foreign(file: MappedFile, container: Container) -> UnsupportedError:
    tensors = list(container.tensors.values())
    named = ", ".join(f"{t.name[:40]!a} {t.dtype} {list(t.shape[:4])}" for t in tensors[:8])
    more = f" and {len(tensors) - 8} more" if len(tensors) > 8 else ""
    return UnsupportedError(
        f"{file.path}: a safetensors file without vecio's layout (no 'format' = '{MARK}' in its metadata); "
        f"the tensors in it: {named + more if tensors else 'none'}"
    )


def _check_crc(file: MappedFile, container: Container) -> None:
    """Compare the header with its checksum: whatever bit was flipped in it is noticed here."""
    head = file.bytes(0, container.data_start)
    place = head.find(_CRC_KEY) + len(_CRC_KEY)
    if place < len(_CRC_KEY):
        raise FormatError(file.path, "the header has no checksum", offset=8, expected="header_crc32")
    found = head[place : place + 8]
    expected = _header_crc(head)
    if found != expected:
        raise FormatError(
            file.path,
            "the header does not have its checksum: it was damaged or changed",
            offset=place,
            expected=expected.decode(),
            found=ascii(found.decode("latin-1")),
        )


def _header_crc(head: bytes) -> bytes:
    """Return the checksum of length and header, 8 digits, its own digits taken as zeros."""
    place = head.index(_CRC_KEY) + len(_CRC_KEY)
    return b"%08x" % zlib.crc32(head[:place] + _NO_CRC + head[place + 8 :])


def _check_version(file: MappedFile, container: Container) -> None:
    text = container.metadata.get("min_reader", "")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise FormatError(file.path, "min_reader", offset=8, expected="a number", found=ascii(text[:40]))
    if int(text) > LAYOUT:
        raise UnsupportedError(
            f"{file.path}: the file needs a reader of layout {text}; this vecio knows layouts up to {LAYOUT}"
        )


def read_object(file: MappedFile, container: Container, key: str) -> dict[str, Any]:
    """Return the JSON object that the metadata hold under `key`. Raises FormatError."""
    text = container.metadata.get(key)
    if text is None:
        raise FormatError(file.path, f"the metadata have no {key}", offset=8)
    try:
        return _parse_object(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(
            file.path,
            f"the metadata's {key}",
            offset=8,
            expected="a JSON object",
            found=ascii(str(error)[:80]),
        ) from None


def _parse_object(text: str) -> dict[str, Any]:
    """Return a JSON object of ordinary size; raises ValueError (or RecursionError) for anything else."""
    if len(text) > LONGEST_SETTINGS or text.count("[") + text.count("{") > MOST_BRACKETS:
        raise ValueError(f"text of {len(text)} characters, too long or with too many brackets")
    value = json.loads(text, parse_int=_short_integer, parse_constant=_no_constant)
    if not isinstance(value, dict):
        raise ValueError(f"a {type(value).__name__}")
    return value


def _short_integer(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


class _Reader:
    """Turns the tensors and settings of one file into the parts of an `Embeddings`."""

    def __init__(self, file: MappedFile, container: Container) -> None:
        self.file = file
        self.tensors = container.tensors
        self.settings = read_object(file, container, "settings")
        self.provenance = read_object(file, container, "provenance")
        self.crcs = read_object(file, container, "vocab_crc32")
        self.dim = self.number("dim", 1)
        self.nwords = self.number("nwords", 0)
        self.size = self.nwords + self.number("nlabels", 0)

    def number(self, key: str, least: int = -(1 << 31)) -> int:
        value = self.setting(key, int)
        if not least <= value < 1 << 31:
            raise FormatError(
                self.file.path, f"the setting {key}", offset=8, expected=f"{least} to 2^31 - 1", found=value
            )
        return int(value)

    def setting(self, key: str, kind: type) -> Any:
        value = self.settings.get(key)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            found = "nothing" if value is None else ascii(value)[:40]
            raise FormatError(
                self.file.path, f"the setting {key}", offset=8, expected=kind.__name__, found=found
            )
        return value

    def tensor(self, name: str, dtypes: str, shape: tuple[int, ...]) -> Array:
        """Map the tensor `name`, which must have one of the dtypes and this shape (-1: any length)."""
        tensor = self.tensors.get(name)
        if tensor is None:
            there = ", ".join(ascii(other)[1:-1][:40] for other in list(self.tensors)[:20])
            raise FormatError(
                self.file.path, f"there is no tensor {name}", offset=8, found=there or "no tensors"
            )
        fits = len(shape) == len(tensor.shape) and all(
            want in (-1, n) for want, n in zip(shape, tensor.shape, strict=True)
        )
        if tensor.dtype not in dtypes.split() or not fits:
            raise FormatError(
                self.file.path,
                f"the tensor {name}",
                offset=tensor.start,
                expected=f"{dtypes.replace(' ', ' or ')} of shape {list(shape)}",
                found=f"{tensor.dtype} of shape {list(tensor.shape[:4])}",
            )
        return self.file.array(NUMPY[tensor.dtype], tensor.shape, tensor.start, name)

    def matrix(self, name: str, rows: int) -> Matrix:
        values = self.tensor(name, "F32 F16 I8", (rows, self.dim))
        if values.dtype == np.int8:
            return Int8(values, self.tensor(f"{name}.scales", "F32", (len(values),)))
        return Float16(values) if values.dtype == np.float16 else Float32(values)

    def optional(self, name: str, rows: int) -> Matrix | None:
        return Float32(self.tensor(name, "F32", (rows, self.dim))) if name in self.tensors else None

    def output(self, rows: int) -> Matrix | None:
        """Return the output matrix, dense or product-quantised, or None."""
        if "output.codes" not in self.tensors:
            return self.optional("output", rows)
        dsub = self.number("output_dsub", 1)
        codes = self.tensor("output.codes", "U8", (rows, -(-self.dim // dsub)))
        centroids = self.tensor("output.centroids", "F32", (256 * self.dim,))
        norms = np.zeros(0, np.float32)
        if "output.norms" in self.tensors:
            norms = self.tensor("output.norms", "F32", (rows,))
        return ProductQuantised(codes, centroids, self.dim, dsub, norms)

    def check_vocabulary(self) -> None:
        """Compare the vocabulary's bytes with their checksums, where that is quick (a large one: `vecio verify`)."""
        tensors = [self.tensors[name] for name in VOCABULARY]
        if sum(tensor.stop - tensor.start for tensor in tensors) > EAGER:
            return
        for tensor in tensors:
            found = f"{zlib.crc32(self.file.bytes(tensor.start, tensor.stop)):08x}"
            if found != self.crcs.get(tensor.name):
                raise FormatError(
                    self.file.path,
                    f"the tensor {tensor.name} does not have its checksum: it was damaged or changed",
                    offset=tensor.start,
                    expected=ascii(self.crcs.get(tensor.name))[:40],
                    found=found,
                )

    def vocabulary(self) -> Vocabulary:
        blob = self.tensor("vocab.bytes", "U8", (-1,))
        offsets = self.tensor("vocab.offsets", "I64", (self.size + 1,))
        table = self.tensor("vocab.table", "U64", (table_length(self.size),))
        for i, expected in ((0, 0), (self.size, len(blob))):
            if offsets[i] != expected:
                place = self.tensors["vocab.offsets"].start + 8 * i
                raise FormatError(
                    self.file.path,
                    f"vocab.offsets[{i}]",
                    offset=place,
                    expected=expected,
                    found=int(offsets[i]),
                )
        self.check_vocabulary()
        counts = self.tensor("counts", "I64", (self.size,)) if "counts" in self.tensors else None
        return Vocabulary(
            self.size,
            self.nwords,
            arrays=(blob, offsets, 0),
            table=table,
            counts=counts,
            damaged=self.damaged,
        )

    def damaged(self, message: str, entry: int) -> FormatError:
        return FormatError(self.file.path, message, offset=self.tensors["vocab.offsets"].start + 8 * entry)

    def subwords(self) -> tuple[Subwords | None, Matrix | None]:
        """Return the n-gram rule and the n-gram rows."""
        bucket = self.number("bucket", 0)
        minn, maxn = self.number("minn"), self.number("maxn")
        if not bucket:
            if maxn > 0 and minn <= maxn:
                raise FormatError(
                    self.file.path, "n-grams are asked for and there are no buckets for them", offset=8
                )
            return None, None
        pruned = self.pruned()
        if pruned is None:
            grams = self.matrix("grams", bucket)
        elif len(pruned):
            grams = self.matrix("grams", -1)
            self.check_pruned(pruned, len(grams))
        else:
            grams = Float32(np.empty((0, self.dim), np.float32))  # pruning dropped every n-gram
        kind, hash_count = self.setting("hash", str), self.number("hash_count", 1)
        if kind not in ("fasttext", "floret") or hash_count > 4:
            raise UnsupportedError(
                f"{self.file.path}: the hash {ascii(kind)[:40]} with {hash_count} rows is not known"
            )
        return Subwords(minn, maxn, bucket, kind, hash_count, pruned), grams

    def pruned(self) -> Array | None:
        return self.tensor("prune", "I64", (-1, 2)) if "prune" in self.tensors else None

    def check_pruned(self, pruned: Array, rows: int) -> None:
        wrong = np.flatnonzero((pruned[:, 1] < 0) | (pruned[:, 1] >= rows))
        if len(wrong):
            raise FormatError(
                self.file.path,
                f"prune[{wrong[0]}] points outside grams",
                offset=self.tensors["prune"].start + 16 * int(wrong[0]) + 8,
                expected=f"0 to {rows - 1}",
                found=int(pruned[wrong[0], 1]),
            )

    def embeddings(self) -> Embeddings:
        accumulated = self.setting("accumulated", bool)
        vocabulary = self.vocabulary()
        words = self.matrix("words", self.nwords)
        subwords, grams = self.subwords()
        supervised = self.settings.get("model") == "supervised"
        output = self.output(self.size - self.nwords if supervised else self.nwords)
        classifier = None
        if supervised:
            if output is None:
                raise FormatError(self.file.path, "a supervised model without the tensor output", offset=8)
            classifier = Classifier(
                vocabulary,
                words,
                grams,
                subwords,
                output,
                self.setting("loss", str),
                self.number("word_ngrams", 0),
                label_prefix=self.setting("label_prefix", str),
                path=self.file.path,
            )
        norms = (
            self.tensor("norms", "F32", (self.nwords,)) if accumulated and "norms" in self.tensors else None
        )
        return Embeddings(
            Parts(
                vocabulary,
                words,
                NAME,
                file=self.file,
                grams=grams,
                subwords=subwords,
                accumulated=accumulated,
                norms=norms,
                classifier=classifier,
                output=output,
                raw_words=self.optional("words.raw", self.nwords),
                metadata={**self.setting("metadata", dict), "provenance": self.provenance},
            )
        )


# -- writing -------------------------------------------------------------------------------------------------------


def write(
    embeddings: Embeddings,
    path: str | os.PathLike[str],
    dtype: str | None = None,
    raw_rows: bool = False,
    progress: Progress | None = None,
) -> Written:
    """Write embeddings as a vecio file: atomic, in blocks of bounded memory, the same bytes each time.

    dtype: "float32", "float16" or "int8"; None keeps what the source has (float32 for product-quantised rows).
    raw_rows: keep a word model's own rows and output matrix too, so that the original file can be written again; for
    float32 only. progress: called with rows done and rows in all.
    """
    chosen = choose_dtype(embeddings, dtype)
    plan = _Plan(embeddings, chosen, raw_rows)
    with atomic_write(path) as stream:
        return _Writer(plan, stream, progress).run()


def choose_dtype(embeddings: Embeddings, dtype: str | None) -> str:
    """Return the dtype that rows are written in."""
    if dtype is None:
        return embeddings.dtype if embeddings.dtype in DTYPES else "float32"
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
    return dtype


class _Plan:
    """What is to be written, before the first byte: every tensor with dtype and shape, and the metadata."""

    def __init__(self, e: Embeddings, dtype: str, raw_rows: bool) -> None:
        self.embeddings = e
        self.dtype = dtype
        self.supervised = e._classifier is not None
        self.blob, self.offsets, self.gap, self.table = e._vocabulary.walkable()
        self.counts = e._vocabulary.counts
        self.pruned = None if e._subwords is None else e._subwords.pruned
        self.raw, self.output = self.kept(raw_rows)
        size = len(self.offsets) - 1
        if size >= 1 << 31:
            raise UnsupportedError(f"{size} words are more than the layout can hold")
        self.settings = self.make_settings()
        _parse_object(self.settings)

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
            ("vocab.offsets", "I64", (size + 1,)),
            ("vocab.table", "U64", (len(self.table),)),
        ]
        for name, rows in (("words", len(e)), ("grams", 0 if e._grams is None else len(e._grams))):
            if name == "words" or rows:
                found.append((name, _CODES[self.dtype], (rows, e.dim)))
                if self.dtype == "int8":
                    found.append((f"{name}.scales", "F32", (rows,)))
        if self.accumulated:
            found.append(("norms", "F32", (len(e),)))
        if self.raw is not None:
            found.append(("words.raw", "F32", self.raw.shape))
        if isinstance(self.output, ProductQuantised):
            found += [
                (name, "U8" if values.ndim == 2 else "F32", values.shape) for name, values in self.codes()
            ]
        elif self.output is not None:
            found.append(("output", "F32", self.output.shape))
        if self.counts is not None:
            found.append(("counts", "I64", (size,)))
        if self.pruned is not None:
            found.append(("prune", "I64", (len(self.pruned), 2)))
        return found

    def codes(self) -> list[tuple[str, Array]]:
        """Return the tensors of a product-quantised output matrix."""
        if not isinstance(self.output, ProductQuantised):
            return []
        codes, centroids, _, norms = self.output.kernel()
        tensors = [("output.codes", codes), ("output.centroids", centroids), ("output.norms", norms)]
        return tensors if len(norms) else tensors[:2]

    def make_settings(self) -> str:
        e = self.embeddings
        subwords, classifier = e._subwords, e._classifier
        metadata = {key: value for key, value in e.metadata.items() if key != "provenance"}
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
        try:
            return _dump(settings)
        except TypeError as error:
            raise ValueError(f"the metadata cannot be written as JSON: {error}") from None

    def header(self, digests: dict[str, str], crcs: dict[str, int]) -> tuple[bytes, list[Tensor]]:
        """Return length and header with these digests and checksums, and the tensors in file order."""
        source = self.embeddings.metadata.get("provenance")
        origin = (
            source["format"] if isinstance(source, dict) and "format" in source else self.embeddings.format
        )
        metadata = {
            "format": MARK,
            "version": str(LAYOUT),
            "min_reader": str(LAYOUT),
            "settings": self.settings,
            "provenance": _dump({"format": origin, "vecio": __version__}),
            "digests": _dump(digests),
            "vocab_crc32": _dump({name: f"{crcs[name]:08x}" for name in VOCABULARY}),
            "header_crc32": _NO_CRC.decode(),
        }
        head, tensors = build_header(self.tensors(), metadata)
        return head.replace(_CRC_KEY + _NO_CRC, _CRC_KEY + _header_crc(head)), tensors


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


class _Writer:
    """Writes one plan to one stream: each tensor in blocks at its place, hashed on the way."""

    def __init__(self, plan: _Plan, stream: BinaryIO, progress: Progress | None) -> None:
        import hashlib  # 20 ms that opening a file must not wait for

        self.plan, self.stream, self.progress = plan, stream, progress
        self.crcs = dict.fromkeys(VOCABULARY, 0)
        head, tensors = plan.header({name: "0" * 64 for name, _, _ in plan.tensors()}, self.crcs)
        self.tensors = {tensor.name: tensor for tensor in tensors}
        self.reached = {tensor.name: tensor.start for tensor in tensors}
        self.hashes = {tensor.name: hashlib.sha256() for tensor in tensors}
        self.done = 0
        self.total = sum(self.tensors[name].shape[0] for name in self.matrices())
        stream.write(head)

    def matrices(self) -> list[str]:
        return [name for name in ("grams", "output", "words.raw", "words") if name in self.tensors]

    def run(self) -> Written:
        """Write everything; return what rounding did."""
        plan = self.plan
        self.put("vocab.table", plan.table)
        if plan.counts is not None:
            self.put("counts", plan.counts)
        if plan.pruned is not None:
            self.put("prune", plan.pruned)
        for name, values in plan.codes():
            self.put(name, values)
        self.put_offsets()
        tallies = {"words": Tally(), "grams": Tally()}
        for name in self.matrices():
            self.put_rows(name, tallies.get(name))
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
        rows, dim = self.tensors[name].shape
        source = self.plan.rows(name)
        e = self.plan.embeddings
        if name == "grams":
            e._advise(e._grams, "SEQUENTIAL")
        elif source is None:
            e._read_ahead()
        scales, norms = [], []
        step = max(1, min(1 << 16, BLOCK_BYTES // (4 * dim)))
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            stored = self.stored(name, start, stop, tally)
            self.put(name, stored.values)
            _release(
                self.plan.embeddings, self.plan.embeddings._words if source is None else source, start, stop
            )
            norms.append(stored.norms)
            if stored.scales is not None:
                scales.append(stored.scales)
            self.done += stop - start
            if self.progress is not None:
                self.progress(self.done, self.total)
        if name == "grams":
            e._advise(e._grams, "RANDOM")
        elif source is None:  # n-gram rows all over the file were read
            _release(e, e._grams, 0, None)
        for part in scales:
            self.put(f"{name}.scales", part)
        if name == "words" and "norms" in self.tensors:
            for part in norms:
                self.put("norms", part)

    def stored(self, name: str, start: int, stop: int, tally: Tally | None) -> Stored:
        """Return a block of rows as they are to be stored."""
        e, source = self.plan.embeddings, self.plan.rows(name)
        e._check()
        dtype = self.plan.dtype if name in ("words", "grams") else "float32"
        if source is None:
            return round_rows(_vectors(e, start, stop), dtype, tally)
        block = source.block(start, stop)
        if dtype == "float32" or source.dtype != dtype or not source.compiled:
            return round_rows(block, dtype, tally)
        values, *scales = source.part(start, stop).kernel()
        return Stored(
            values if dtype == "int8" else values.view(np.float16),
            scales[0] if scales else None,
            norms_of(block),
        )


def _vectors(e: Embeddings, start: int, stop: int) -> Floats:
    """Return the vectors of the words `start` .. `stop - 1`, made by several threads."""
    out = np.empty((stop - start, e.dim), np.float32)

    def work(a: int, b: int) -> None:
        out[a:b] = e._block(start + a, start + b)

    run_chunks(work, stop - start, CHUNK)
    return out


def _release(e: Embeddings, matrix: Matrix | None, start: int, stop: int | None) -> None:
    """Unmap the pages of rows that were read, so that a pass over a large file does not stay in this process's memory.

    They remain in the page cache, and come back when they are touched again.
    """
    if matrix is not None:
        e._advise(matrix.part(start, len(matrix) if stop is None else stop), "DONTNEED", LEAST_RELEASED)


def fate(e: Embeddings, dtype: str | None, options: Mapping[str, Any]) -> Fate:
    """Return what the file will keep, round and lose."""
    carried = [COUNTS, UNKNOWN, LABELS, SETTINGS]
    return common_fate(e, choose_dtype(e, dtype), carried + ([RAW] if options.get("raw_rows") else []))


FORMAT = Format(NAME, (".safetensors",), detect, read, write, fate=fate)
