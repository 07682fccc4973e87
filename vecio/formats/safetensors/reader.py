"""Reading vecio's own file: every tensor is mapped where it lies, and no word is looked at. Bytes: specs/vecio.md."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import _varints
from ..._binary import MappedFile
from ..._safetensors import NUMPY, Container, Tensor, looks_like, read_header
from ..._spacy_keys import KeyTable
from ...classifier import Classifier
from ...embeddings import Embeddings, Parts
from ...errors import FormatError, UnsupportedError
from ...matrix import Float16, Float32, Int8, Matrix, ProductQuantised, Quantised, Rotated
from ...sentences import TokenEncoder
from ...subwords import BEGIN, END, KINDS, Subwords
from ...vocabulary import Vocabulary, encode, table_length

Array = npt.NDArray[Any]

NAME = "safetensors"
MARK = "vecio"
#: The newest layout that is understood.
LAYOUT = 2

CRC_KEY = b'"header_crc32":"'
NO_CRC = b"00000000"
#: Vocabularies up to EAGER bytes: their checksums are compared when a file is opened.
EAGER = 1 << 20
#: Settings are short; text beyond this, or with more brackets, is not ours.
LONGEST_SETTINGS, MOST_BRACKETS = 1 << 20, 256
#: What tells vecio's file from another program's, and how far into a file it is looked for.
_MARKED, _SEEN = re.compile(rb'"format"\s*:\s*"vecio"'), 1 << 20


# -- reading -------------------------------------------------------------------------------------------------------


def detect(file: MappedFile) -> str | None:
    """Return None for a safetensors file that says it is vecio's, else why it is none."""
    reason = looks_like(file)
    if reason is not None:
        return reason
    stop = min(file.size, _SEEN, 8 + int.from_bytes(file.bytes(0, 8), "little"))
    if _MARKED.search(file.bytes(8, stop)) is None:
        return f"a safetensors file of another program: its metadata have no 'format' = '{MARK}'"
    return None


def read(file: MappedFile) -> Embeddings:
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
    place = head.find(CRC_KEY) + len(CRC_KEY)
    if place < len(CRC_KEY):
        raise FormatError(file.path, "the header has no checksum", offset=8, expected="header_crc32")
    found = head[place : place + 8]
    expected = header_crc(head)
    if found != expected:
        raise FormatError(
            file.path,
            "the header does not have its checksum: it was damaged or changed",
            offset=place,
            expected=expected.decode(),
            found=ascii(found.decode("latin-1")),
        )


def header_crc(head: bytes) -> bytes:
    """Return the checksum of length and header, 8 digits, its own digits taken as zeros."""
    place = head.index(CRC_KEY) + len(CRC_KEY)
    return b"%08x" % zlib.crc32(head[:place] + NO_CRC + head[place + 8 :])


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
        return parse_object(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(
            file.path,
            f"the metadata's {key}",
            offset=8,
            expected="a JSON object",
            found=ascii(str(error)[:80]),
        ) from None


def parse_object(text: str) -> dict[str, Any]:
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


def vocabulary_tensors(there: Iterable[str]) -> list[str]:
    """Return which tensors make up the vocabulary of a file with these tensors: they have checksums of their own."""
    found = set(there)
    if "vocab.lengths" in found:
        return ["vocab.bytes", "vocab.lengths"]
    return ["vocab.bytes", "vocab.offsets", "vocab.table"]


class _Reader:
    """Turns the tensors and settings of one file into the parts of an `Embeddings`."""

    def __init__(self, file: MappedFile, container: Container) -> None:
        self.file = file
        self.tensors = container.tensors
        self.settings = read_object(file, container, "settings")
        self.provenance = read_object(file, container, "provenance")
        self.crcs = read_object(file, container, "vocab_crc32")
        self.quality = {}
        if "quality" in container.metadata:
            self.quality = {"quality": read_object(file, container, "quality")}
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
        if f"{name}.codes" in self.tensors:
            return self.quantised(name, rows)
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
        return self.quantised("output", rows)

    def quantised(self, name: str, rows: int) -> Matrix:
        """Return the product-quantised matrix `name`, turned or not."""
        dsub = self.number(f"{name}_dsub", 1)
        codes = self.tensor(f"{name}.codes", "U8", (rows, -(-self.dim // dsub)))
        centroids = self.floats(f"{name}.centroids", (256 * self.dim,))
        norms: Array = np.zeros(0, np.float32)
        if f"{name}.norms" in self.tensors:
            norms = self.tensor(f"{name}.norms", "F32 U8", (len(codes),))
        if norms.dtype == np.uint8:
            levels = self.tensor(f"{name}.levels", "F32", (256,))
            matrix: ProductQuantised = Quantised(codes, centroids, self.dim, dsub, norms, levels)
        else:
            matrix = ProductQuantised(codes, centroids, self.dim, dsub, norms)
        if f"{name}.rotation" not in self.tensors:
            return matrix
        return Rotated(matrix, self.floats(f"{name}.rotation", (self.dim, self.dim)))

    def floats(self, name: str, shape: tuple[int, ...]) -> Array:
        """Return a small tensor of float32 or float16 as float32."""
        with np.errstate(invalid="ignore"):
            return self.tensor(name, "F32 F16", shape).astype(np.float32, copy=False)

    def packed(self, name: str, count: int) -> Array:
        """Return the `count` whole numbers that a tensor of packed numbers holds, int64."""
        data = self.tensor(name, "U8", (-1,))
        try:
            return _varints.unpack(data, count)
        except ValueError as error:
            raise FormatError(
                self.file.path,
                f"the tensor {name}",
                offset=self.tensors[name].start,
                expected=f"{count} packed numbers",
                found=str(error),
            ) from None

    def check_vocabulary(self) -> None:
        """Compare the vocabulary's bytes with their checksums, where that is quick (a large one: `vecio verify`)."""
        tensors = [self.tensors[name] for name in vocabulary_tensors(self.tensors)]
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
        if "vocab.lengths" in self.tensors:
            offsets, table = self.added("vocab.lengths", self.size, len(blob)), None
        else:
            offsets, table = self.offsets("vocab", self.size, len(blob)), self.table("vocab", self.size)
        self.check_vocabulary()
        counts = None
        if "counts.packed" in self.tensors:
            counts = self.packed("counts.packed", self.size)
        elif "counts" in self.tensors:
            counts = self.tensor("counts", "I64", (self.size,))
        return Vocabulary(
            self.size,
            self.nwords,
            arrays=(blob, offsets, 0),
            table=table,
            counts=counts,
            damaged=self.damaged,
        )

    def offsets(self, group: str, size: int, length: int) -> Array:
        """Return where the strings of a group begin; first and last are checked."""
        offsets = self.tensor(f"{group}.offsets", "I64", (size + 1,))
        for i, expected in ((0, 0), (size, length)):
            if offsets[i] != expected:
                raise FormatError(
                    self.file.path,
                    f"{group}.offsets[{i}]",
                    offset=self.tensors[f"{group}.offsets"].start + 8 * i,
                    expected=expected,
                    found=int(offsets[i]),
                )
        return offsets

    def table(self, group: str, size: int) -> Array:
        return self.tensor(f"{group}.table", "U64", (table_length(size),))

    def added(self, name: str, size: int, length: int) -> Array:
        """Return where the strings begin whose lengths are packed in the tensor `name`; they fill `length` bytes."""
        lengths = self.packed(name, size)
        if len(lengths) and not 0 <= int(lengths.min()) <= int(lengths.max()) <= length:
            wrong = int(lengths.min()) if int(lengths.min()) < 0 else int(lengths.max())
            raise FormatError(
                self.file.path,
                f"a length in {name}",
                offset=self.tensors[name].start,
                expected=f"0 to {length}",
                found=wrong,
            )
        offsets = np.zeros(size + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        if offsets[-1] != length or (np.diff(offsets) < 0).any():
            raise FormatError(
                self.file.path,
                f"the lengths in {name}",
                offset=self.tensors[name].start,
                expected=f"{length} bytes in all",
                found=int(offsets[-1]),
            )
        return offsets

    def damaged(self, message: str, entry: int) -> FormatError:
        place = self.tensors.get("vocab.offsets") or self.tensors["vocab.lengths"]
        step = 8 if place.name == "vocab.offsets" else 0
        return FormatError(self.file.path, message, offset=place.start + step * entry)

    def subwords(self) -> tuple[Subwords | None, Matrix | None]:
        """Return the n-gram rule and the n-gram rows."""
        bucket = self.number("bucket", 0)
        minn, maxn = self.number("minn"), self.number("maxn")
        kind, hash_count = self.setting("hash", str), self.number("hash_count", 1)
        if kind not in KINDS:
            raise self.strange_hash(kind, hash_count)
        if not bucket:
            if KINDS[kind][0] == "fasttext" and maxn > 0 and minn <= maxn:
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
        if hash_count > 4:
            raise self.strange_hash(kind, hash_count)
        begin, end = self.text("begin", BEGIN), self.text("end", END)
        table = self.ngram_table(kind, bucket)
        rule = Subwords(minn, maxn, bucket, kind, hash_count, pruned, begin=begin, end=end, table=table)
        return rule, grams

    def strange_hash(self, kind: str, hash_count: int) -> UnsupportedError:
        return UnsupportedError(
            f"{self.file.path}: the hash {ascii(kind)[:40]} with {hash_count} rows is not known"
        )

    def text(self, key: str, default: bytes) -> bytes:
        return encode(self.setting(key, str)) if key in self.settings else default

    def ngram_table(self, kind: str, bucket: int) -> Any:
        """Return the n-grams that have a row of their own, for the rules that look them up."""
        hashed = KINDS[kind][1]
        if hashed == "table":
            blob = self.tensor("ngrams.bytes", "U8", (-1,))
            return Vocabulary(
                bucket,
                bucket,
                arrays=(blob, self.offsets("ngrams", bucket, len(blob)), 0),
                table=self.table("ngrams", bucket),
                damaged=lambda message, entry: FormatError(
                    self.file.path, message, offset=self.tensors["ngrams.offsets"].start + 8 * entry
                ),
            )
        if hashed == "keys":
            keys = self.tensor("ngrams.keys", "U64", (-1,))
            return KeyTable(keys, self.tensor("ngrams.rows", "I64", (len(keys),)), bucket)
        return None

    def pruned(self) -> Array | None:
        """Return the pairs of bucket and row, or None where nothing was pruned."""
        if "prune.packed" in self.tensors:
            rows = self.number("grams_kept", 0)
            gaps = self.packed("prune.packed", rows)
            with np.errstate(over="ignore"):
                return np.stack([np.cumsum(gaps), np.arange(rows)], axis=1)
        if "prune.pairs" in self.tensors:
            return self.packed("prune.pairs", 2 * self.number("grams_kept", 0)).reshape(-1, 2)
        return self.tensor("prune", "I64", (-1, 2)) if "prune" in self.tensors else None

    def check_pruned(self, pruned: Array, rows: int) -> None:
        wrong = np.flatnonzero((pruned[:, 1] < 0) | (pruned[:, 1] >= rows))
        if len(wrong):
            raise FormatError(
                self.file.path,
                f"prune[{wrong[0]}] points outside grams",
                offset=self.pruned_place(int(wrong[0])),
                expected=f"0 to {rows - 1}",
                found=int(pruned[wrong[0], 1]),
            )

    def pruned_place(self, i: int) -> int:
        if "prune" in self.tensors:
            return self.tensors["prune"].start + 16 * i + 8
        return next(
            self.tensors[name].start for name in ("prune.packed", "prune.pairs") if name in self.tensors
        )

    def encoder(self) -> TokenEncoder | None:
        """Return how texts become vectors, where the file says it; a large tokenizer is not looked at."""
        prefix = "encoder."
        names = [name for name in self.tensors if name.startswith(prefix)]
        if not names:
            return None
        state: dict[str, bytes | Callable[[], bytes]] = {}
        for name in names:
            self.tensor(name, "U8", (-1,))
            state[name[len(prefix) :]] = self.bytes_of(self.tensors[name])
        for key in ("tokenizer.json", "encoder.json"):
            if key not in state:
                self.tensor(prefix + key, "U8", (-1,))  # says what is missing
        return TokenEncoder.from_state(state, self.file.path, self.nwords)

    def bytes_of(self, tensor: Tensor) -> Callable[[], bytes]:
        return lambda: self.file.bytes(tensor.start, tensor.stop)

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
                unit=self.settings.get("unit") is True,
                norms=norms,
                lengths=self.tensor("lengths", "F32", (self.nwords,)) if "lengths" in self.tensors else None,
                encoder=self.encoder(),
                packed="vocab.lengths" in self.tensors,
                classifier=classifier,
                output=output,
                raw_words=self.optional("words.raw", self.nwords),
                metadata={**self.setting("metadata", dict), "provenance": self.provenance, **self.quality},
            )
        )
