"""Makes broken fastText files on purpose, and knows what each of them must get.

A `FastText` is the whole content of a `.bin` or `.ftz` file, every number of it free to be wrong; `dump` writes it
as told, `layout` names the place of every field, and `cases_bin`, `cases_ftz` and `cases_any` list what the reliability
table asks for. `twin` answers look-ups in the slowest and plainest way. Nothing here imports vecio: this is the other
side's view of the format (specs/fasttext.md), so it shares no code and no mistake with the reader.

The four verdicts, as everywhere in the tests:

    E  a clean error and nothing else          X  exactly the right vectors, or a clean error
    O  opens, with exactly the right vectors   A  any self-consistent model, or a clean error
"""

from __future__ import annotations

import copy
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

MAGIC = 793712314
I31, I32, I33, I62, I63 = 2**31 - 1, 2**32, 2**33, 2**62, 2**63
ARGS = (
    "dim",
    "ws",
    "epoch",
    "minCount",
    "neg",
    "wordNgrams",
    "loss",
    "model",
    "bucket",
    "minn",
    "maxn",
    "lrUpdateRate",
)


# --- the content of a file ---------------------------------------------------------------------------------------


@dataclass
class Dense:
    """A dense matrix: m rows of n float32; `values` are written whatever m and n say."""

    m: int
    n: int
    values: np.ndarray

    def row(self, i: int) -> np.ndarray:
        return self.values.reshape(self.m, self.n)[i]


@dataclass
class Quantizer:
    """A product quantizer: four numbers and 256 * dim centroids."""

    dim: int
    nsubq: int
    dsub: int
    lastdsub: int
    centroids: np.ndarray


@dataclass
class Quantized:
    """A product-quantized matrix, with its row norms apart when qnorm."""

    qnorm: int
    m: int
    n: int
    codesize: int
    codes: np.ndarray
    pq: Quantizer
    norm_codes: np.ndarray | None = None
    npq: Quantizer | None = None

    def row(self, i: int) -> np.ndarray:
        pq, pieces = self.pq, []
        for s in range(pq.nsubq):
            width = pq.lastdsub if s == pq.nsubq - 1 else pq.dsub
            start = s * 256 * pq.dsub + int(self.codes[i * pq.nsubq + s]) * width
            pieces.append(pq.centroids[start : start + width])
        norm = np.float32(1)
        if self.norm_codes is not None and self.npq is not None:
            norm = self.npq.centroids[int(self.norm_codes[i])]
        return np.concatenate(pieces) * norm


@dataclass
class FastText:
    """All of one file. `size`, `nwords`, `nlabels` and `pruned` are what the header says, true or not."""

    args: dict[str, int]
    entries: list[tuple[bytes, int, int]]  # word, count, type
    size: int
    nwords: int
    nlabels: int
    input: Dense | Quantized
    output: Dense | Quantized | None
    magic: int = MAGIC
    version: int = 12
    t: float = 1e-4
    ntokens: int = 1000
    pruned: int = -1
    pairs: list[tuple[int, int]] = field(default_factory=list)
    quant: int = 0
    qout: int = 0
    floret: tuple[int, int] | None = None  # mode, hashCount
    old: bool = False  # before May 2017: no magic, no pruned size, no flags

    def layout(self) -> tuple[bytes, dict[str, tuple[int, str]]]:
        """Return the file's bytes and, by field name, the offset and the struct code of every number."""
        out, places = bytearray(), {}

        def put(name: str, code: str, value: float) -> None:
            places[name] = (len(out), code)
            out.extend(struct.pack("<" + code, value))

        def put_bytes(name: str, data: bytes) -> None:
            places[name] = (len(out), f"{len(data)}s")
            out.extend(data)

        def put_quantizer(name: str, pq: Quantizer) -> None:
            for part in ("dim", "nsubq", "dsub", "lastdsub"):
                put(f"{name}.{part}", "i", getattr(pq, part))
            put_bytes(f"{name}.centroids", np.asarray(pq.centroids, "<f4").tobytes())

        def put_matrix(name: str, matrix: Dense | Quantized) -> None:
            if isinstance(matrix, Quantized):
                put(f"{name}.qnorm", "B", matrix.qnorm)
            put(f"{name}.m", "q", matrix.m)
            put(f"{name}.n", "q", matrix.n)
            if isinstance(matrix, Dense):
                put_bytes(f"{name}.values", np.asarray(matrix.values, "<f4").tobytes())
                return
            put(f"{name}.codesize", "i", matrix.codesize)
            put_bytes(f"{name}.codes", np.asarray(matrix.codes, np.uint8).tobytes())
            put_quantizer(f"{name}.pq", matrix.pq)
            if matrix.norm_codes is not None and matrix.npq is not None:
                put_bytes(f"{name}.norm_codes", np.asarray(matrix.norm_codes, np.uint8).tobytes())
                put_quantizer(f"{name}.npq", matrix.npq)

        if not self.old:
            put("magic", "i", self.magic)
            put("version", "i", self.version)
        for name in ARGS:
            put(name, "i", self.args[name])
            if name == "maxn" and self.floret is not None:
                put("mode", "i", self.floret[0])
                put("hashCount", "i", self.floret[1])
        put("t", "d", self.t)
        for name in ("size", "nwords", "nlabels"):
            put(name, "i", getattr(self, name))
        put("ntokens", "q", self.ntokens)
        if not self.old:
            put("pruned", "q", self.pruned)
        for i, (word, count, kind) in enumerate(self.entries):
            put_bytes(f"word{i}", word + b"\0")
            put(f"count{i}", "q", count)
            put(f"type{i}", "b", kind)
        for i, (key, value) in enumerate(self.pairs):
            put(f"key{i}", "i", key)
            put(f"value{i}", "i", value)
        if not self.old:
            put("quant", "B", self.quant)
        put_matrix("input", self.input)
        if self.output is not None:
            if not self.old:
                put("qout", "B", self.qout)
            put_matrix("output", self.output)
        places["end"] = (len(out), "0s")
        return bytes(out), places

    def dump(self) -> bytes:
        return self.layout()[0]

    def change(self, **values: object) -> FastText:
        """Return a deep copy with fields changed; a dotted name is written with two underscores."""
        new = copy.deepcopy(self)
        for name, value in values.items():
            target: object = new
            *path, last = name.split("__")
            for part in path:
                target = getattr(target, part)
            if isinstance(target, FastText) and last in ARGS:
                target.args[last] = value  # type: ignore[assignment]
            else:
                if not hasattr(target, last):
                    raise AttributeError(f"a fastText file has no field {name}")
                setattr(target, last, value)
        return new

    def rename(self, i: int, word: bytes) -> FastText:
        """Return a copy in which entry i has another word."""
        new = copy.deepcopy(self)
        new.entries[i] = (word, *new.entries[i][1:])
        return new

    @property
    def words(self) -> list[bytes]:
        return [word for word, _, _ in self.entries[: self.nwords]]


# --- the twin: look-ups in the slowest and plainest way ----------------------------------------------------------


def fnv1a(data: bytes) -> int:
    """Hash as fastText does: FNV-1a in which a byte of 0x80 and above is sign-extended first."""
    h = 2166136261
    for c in data:
        h = ((h ^ (c if c < 128 else c + 0xFFFFFF00)) * 16777619) & 0xFFFFFFFF
    return h


def ngrams(word: bytes, minn: int, maxn: int) -> list[bytes]:
    """List the character n-grams of a word in fastText's order (specs/fasttext.md)."""
    text = b"<" + word + b">"
    starts = [i for i, c in enumerate(text) if c & 0xC0 != 0x80] + [len(text)]
    found = []
    for i in range(len(starts) - 1):
        for n in range(1, min(maxn, len(starts) - 1 - i) + 1):
            single = n == 1 and (starts[i] == 0 or starts[i + n] == len(text))
            if n >= minn and not single:
                found.append(text[starts[i] : starts[i + n]])
    return found


def twin_rows(model: FastText, word: bytes) -> list[int]:
    """List the input rows whose mean is the vector of a word (not for floret's mode)."""
    listed = model.words
    rows = [listed.index(word)] if word in listed else []
    minn, maxn, bucket = model.args["minn"], model.args["maxn"], model.args["bucket"]
    if model.version == 11 and model.args["model"] == 3 and not model.old:
        maxn = 0
    if word == b"</s>" or maxn <= 0:
        return rows
    kept = dict(model.pairs)
    for gram in ngrams(word, minn, maxn):
        h = fnv1a(gram) % bucket
        if model.pruned >= 0:
            if h in kept:
                rows.append(model.nwords + kept[h])
        else:
            rows.append(model.nwords + h)
    return rows


def twin(model: FastText, word: bytes) -> np.ndarray:
    """Return the vector of a word: the sum of its rows in order, times the float32 reciprocal of their number."""
    total = np.zeros(model.args["dim"], np.float32)
    rows = twin_rows(model, word)
    with np.errstate(over="ignore", invalid="ignore"):
        for row in rows:
            total = total + model.input.row(row)
        return total * np.float32(1.0 / len(rows)) if rows else total


# --- whole, valid files ------------------------------------------------------------------------------------------

WORDS = [b"</s>", b"the", "größe".encode(), "狐狸".encode(), b"\xfe\xff\x80\xc0", b"a", b"river"]
LABELS = [b"__label__yes", b"__label__no", b"__label__maybe"]
UNKNOWN = [b"riverside", "größer".encode(), b"\xff", "🦊狐".encode(), b"z"]


def _entries(words: list[bytes], labels: list[bytes]) -> list[tuple[bytes, int, int]]:
    return [(w, 100 - i, 0) for i, w in enumerate(words)] + [(w, 50 - i, 1) for i, w in enumerate(labels)]


def _args(dim: int, bucket: int, model: int, loss: int, minn: int = 2, maxn: int = 4) -> dict[str, int]:
    values = (dim, 10, 5, 1, 5, 2 if model == 3 else 1, loss, model, bucket, minn, maxn, 100)
    return dict(zip(ARGS, values, strict=True))


def _values(rng: np.random.Generator, m: int, n: int) -> np.ndarray:
    return rng.standard_normal(m * n).astype(np.float32)


def whole_bin(words: list[bytes] | None = None, labels: list[bytes] | None = None, **args: int) -> FastText:
    """Make a valid dense skip-gram file: 7 words, 11 buckets, 5 dimensions."""
    rng = np.random.default_rng(1)
    words, labels = WORDS if words is None else words, labels or []
    settings = _args(5, 11, 2, 2) | args
    dim, bucket, v = settings["dim"], settings["bucket"], len(words)
    return FastText(
        settings,
        _entries(words, labels),
        v + len(labels),
        v,
        len(labels),
        Dense(v + bucket, dim, _values(rng, v + bucket, dim)),
        Dense(v, dim, _values(rng, v, dim)),
    )


def whole_supervised(**args: int) -> FastText:
    """Make a valid dense classifier: 7 words, 3 labels, softmax, word pairs."""
    rng = np.random.default_rng(2)
    settings = _args(5, 11, 3, 3) | args
    dim, v = settings["dim"], len(WORDS)
    return FastText(
        settings,
        _entries(WORDS, LABELS),
        v + 3,
        v,
        3,
        Dense(v + settings["bucket"], dim, _values(rng, v + settings["bucket"], dim)),
        Dense(3, dim, _values(rng, 3, dim)),
    )


def _quantized(rng: np.random.Generator, m: int, n: int, dsub: int, qnorm: bool) -> Quantized:
    nsubq = -(-n // dsub)
    pq = Quantizer(n, nsubq, dsub, n % dsub or dsub, _values(rng, 256, n))
    norm_codes, npq = None, None
    if qnorm:
        norm_codes = rng.integers(0, 256, m, np.uint8)
        npq = Quantizer(1, 1, 1, 1, np.abs(_values(rng, 256, 1)) + np.float32(0.5))
    codes = rng.integers(0, 256, m * nsubq).astype(np.uint8)
    return Quantized(int(qnorm), m, n, m * nsubq, codes, pq, norm_codes, npq)


def whole_ftz(*, qnorm: bool = True, qout: bool = False, dim: int = 5, dsub: int = 2) -> FastText:
    """Make a valid quantized classifier cut to 7 words and 6 kept buckets of 11; 5 = 2 + 2 + 1 dimensions."""
    rng = np.random.default_rng(3)
    v, kept = len(WORDS), [9, 2, 0, 7, 10, 4]
    output = _quantized(rng, 3, dim, 2, qnorm) if qout else Dense(3, dim, _values(rng, 3, dim))
    return FastText(
        _args(dim, 11, 3, 3),
        _entries(WORDS, LABELS),
        v + 3,
        v,
        3,
        _quantized(rng, v + 6, dim, dsub, qnorm),
        output,
        pruned=6,
        pairs=[(key, i) for i, key in enumerate(kept)],
        quant=1,
        qout=int(qout),
    )


def whole_old() -> FastText:
    """Make a file as it was written before May 2017, without magic."""
    return whole_bin().change(old=True)


# --- the cases ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One broken (or merely odd) file: its name in the table, its bytes, its verdict."""

    id: str
    must: str
    data: bytes
    truth: FastText | None = None  # X and O: the model whose vectors are right
    says: str | None = None  # a regular expression that the error's text must match
    structural: bool = True  # an error must state offset, expected and found

    @property
    def row(self) -> str:
        return self.id.split(":")[0]


def _cut(model: FastText, name: str, inside: int = 0) -> bytes:
    data, places = model.layout()
    return data[: places[name][0] + inside]


class _Table:
    """Collects cases made from one base model."""

    def __init__(self, prefix: str, base: FastText) -> None:
        self.prefix, self.base, self.cases = prefix, base, []  # type: str, FastText, list[Case]

    def add(
        self,
        row: str,
        note: object,
        must: str,
        model: FastText | bytes,
        *,
        truth: FastText | None = None,
        says: str | None = None,
        structural: bool = True,
    ) -> None:
        data = model if isinstance(model, bytes) else model.dump()
        truth = (truth or self.base) if must in "XO" else None
        self.cases.append(Case(f"{row}:{self.prefix}:{note}", must, data, truth, says, structural))

    def change(self, row: str, must: str, says: str | None = None, **values: object) -> None:
        note = ",".join(f"{name.replace('__', '.')}={value}" for name, value in values.items())
        self.add(row, note, must, self.base.change(**values), says=says)

    def patch(self, row: str, must: str, name: str, *values: int, says: str | None = None) -> None:
        """Write other numbers in the place of one field."""
        data, places = self.base.layout()
        offset, code = places[name]
        for value in values:
            raw = struct.pack("<" + code, value)
            self.add(row, f"{name}={value}", must, data[:offset] + raw + data[offset + len(raw) :], says=says)

    def cut(self, row: str, must: str, name: str, *inside: int, says: str | None = None) -> None:
        for i in inside or (0, 1):
            self.add(row, f"cut {name}+{i}", must, _cut(self.base, name, i), says=says)

    def bytes(self, name: str) -> tuple[bytes, int]:
        data, places = self.base.layout()
        return data, places[name][0]


def _header_cases(t: _Table) -> None:
    """F1 to F45: everything up to the matrices; for dense and for quantized files alike."""
    base, quantized = t.base, t.base.quant == 1
    t.cut("F1", "E", "magic", 1, 2, 3)
    t.cut("F1", "E", "version", 0, 1, 3)
    for name in ARGS:
        t.cut("F2", "E", name, says=name)
    t.cut("F3", "E", "t", 0, 4, 7)
    for name in ("size", "nwords", "nlabels"):
        t.cut("F4", "E", name, 0, 3)
    t.cut("F5", "E", "ntokens", 0, 7)
    t.cut("F5", "E", "pruned", 0, 7)
    t.cut("F6", "E", "word0", 0, 1, 3)
    t.cut("F6", "E", "word3", 0, 3, 6)
    t.cut("F7", "E", "count0", 0)
    t.cut("F7", "E", "count4", 0)
    t.cut("F8", "E", "count0", 4)
    t.cut("F8", "E", "type6", 0)
    t.cut("F9", "E", "quant", 0)
    t.patch("F13", "E", "magic", 0, -1)
    swapped = int.from_bytes(struct.pack("<i", MAGIC), "big", signed=True)
    t.patch("F14", "E", "magic", swapped, says="(?i)big-endian")
    t.patch("F15", "X", "version", 0, -1)  # the real program accepts them: one layout, read as written
    t.patch("F15", "E", "version", I31)
    t.patch("F16", "E", "version", 13, says="13")
    t.patch("F19", "E", "dim", 0, -1, -(2**31))
    t.patch("F20", "E", "dim", I31)
    t.patch("F21", "E", "dim", 4, 6, says=r"(?s)5.*[46]|[46].*5")
    if not quantized:
        for n in (0, -1, I31):
            t.change("F22", "E", dim=n, input__n=n)
        t.change("F26", "E", bucket=I31, input__m=I31 + base.nwords)
        t.patch("F23", "E", "bucket", 0)
        t.patch("F24", "E", "bucket", -1, -(2**31))
        t.patch("F25", "E", "bucket", 10, 12, 1, 2_000_000)
    for minn, maxn in ((5, 2), (4, 3), (I31, 4)):
        t.change("F27", "A", minn=minn, maxn=maxn)
    t.change("F28", "A", minn=-1)
    t.change("F28", "A", minn=0)
    t.change("F28", "A", maxn=-1)
    t.change("F29", "A", maxn=I31)
    for name in ("loss", "model"):
        t.patch("F30", "A", name, 0, -1, 99)
    for name in ("ws", "epoch", "minCount", "neg", "wordNgrams", "lrUpdateRate"):
        t.patch("F31", "X", name, 0, -1, I31)
    for value in (float("nan"), float("inf"), -1.0):
        t.change("F32", "X", t=value)
    t.patch("F33", "E", "size", 0, -1, -(2**31))
    t.patch("F34", "E", "size", I31, 10**6)
    t.patch("F35", "E", "size", base.size - 1, base.size + 1)
    t.patch("F36", "E", "nwords", base.size + 1, I31)
    t.patch("F37", "E", "nwords", 0, -1, base.nwords - 1, base.nwords + 1)
    t.patch("F38", "E", "nlabels", -1, base.nlabels + 1, I31)
    t.change("F39", "E", nwords=I31, nlabels=I31, size=-2)
    t.change("F39", "E", nwords=base.nwords + 2, nlabels=-2)
    t.change("F39", "E", nwords=base.nwords - 1, nlabels=base.nlabels + 2)
    t.patch("F40", "X", "ntokens", 0, -1, I63 - 1)
    if not quantized:
        t.patch("F41", "A", "pruned", 0)
        t.patch("F42", "E", "pruned", 1, 5)
        t.patch("F44", "X", "pruned", -2, -I63)
        t.patch("F45", "E", "quant", 1)
    t.patch("F43", "E", "pruned", I31, I62, I63 - 1)
    t.patch("F46", "X", "quant", 2, 255)


def _dictionary_cases(t: _Table) -> None:
    """F55 to F78: words, counts, types; the truth is always the model as it was written."""
    base = t.base
    v = base.nwords

    def words(row: str, note: object, must: str, model: FastText, says: str | None = None) -> None:
        t.add(row, note, must, model, truth=model, says=says)

    words("F55", "one word twice", "A", base.rename(5, base.entries[1][0]))
    same = base
    for i in range(v):
        same = same.rename(i, b"same")
    words("F56", "every word the same", "A", same)
    words("F57", "empty word", "A", base.rename(3, b""))
    words("F58", "word cut inside a character", "X", base.rename(2, "größe".encode()[:3]))
    for i, raw in enumerate(
        (b"\xfe\xff\x80\xc0\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"\x80", b"\xf4\x90\x80\x80")
    ):
        words("F59", i, "X", base.rename(3, raw))
    words("F60", "differ in invalid bytes only", "X", base.rename(5, b"x\xff").rename(6, b"x\xfe"))
    for raw in (b"new\nline", b"new york", b"tab\there", b"\r", b" "):
        words("F61", raw, "X", base.rename(3, raw))
    words("F62", "70 KiB", "X", base.rename(6, b"long" * 17920))
    words("F62", "3 MiB", "A", base.rename(6, b"long" * 786432))
    words("F63", "< and >", "X", base.rename(5, b"<").rename(6, b">"))
    data, places = base.layout()
    ends = [places[f"count{i}"][0] - 1 for i in range(base.size)]
    for note, which in (("first", ends[:1]), ("last", ends[-1:]), ("all", ends)):
        broken = bytearray(data)
        for end in which:
            broken[end] = 0x41
        t.add("F64", f"no NUL, {note}", "E", bytes(broken))
    tail = places["word2"][0]
    t.add("F65", "no NUL in the rest", "E", data[:tail] + data[tail:].replace(b"\0", b"A"))
    t.add("F66", "2 MiB without NUL", "E", data[:tail] + b"A" * 2**21)
    at = places["count1"][0]
    t.add("F67", "two NULs", "E", data[:at] + b"\0" + data[at:])
    t.patch("F68", "E", "type1", 2, -1)
    t.patch("F68", "E", f"type{v - 1}", 2, -1)
    if base.nlabels == 0:
        t.patch("F69", "E", f"type{v - 1}", 1)
    for kind in (0, 1):
        flipped = copy.deepcopy(base)
        flipped.entries = [(w, c, kind) for w, c, _ in flipped.entries]
        if flipped.entries != base.entries:
            t.add("F70", f"all of type {kind}", "E", flipped)
    if base.nlabels:
        turned = copy.deepcopy(base)
        turned.entries = turned.entries[v:] + turned.entries[:v]
        t.add("F71", "labels first", "A", turned)
    for note, counts in (("0", [0]), ("negative", [-1]), ("-2^63", [-I63]), ("2^63-1", [I63 - 1])):
        odd = copy.deepcopy(base)
        odd.entries = [(w, counts[0], k) for w, _, k in odd.entries]
        words("F73", note, "X", odd)
    rising = copy.deepcopy(base)
    rising.entries = [(w, i, k) for i, (w, _, k) in enumerate(rising.entries)]
    words("F73", "ascending", "X", rising)
    for note, junk in (
        ("1 byte", b"\x01"),
        ("4 KiB", b"junk" * 1024),
        ("the file again", data),
        ("NULs", bytes(64)),
    ):
        t.add("F74", note, "X", data + junk)
    noise = random.Random(77).randbytes(4096)
    t.add("F77", "magic, noise", "E", data[:8] + noise)
    t.add("F77", "header, noise", "E", data[: places["word0"][0]] + noise)
    words("F78", "</s> last", "O", base.rename(0, b"other").rename(6, b"</s>"))
    words("F78", "</s> first", "O", base)


def cases_bin(base: FastText | None = None, prefix: str = "bin") -> list[Case]:
    """F1 to F80 for a dense file (default: `whole_bin`)."""
    t = _Table(prefix, base or whole_bin())
    base = t.base
    _header_cases(t)
    t.cut("F10", "E", "input.m", 0, 1, 7)
    t.cut("F10", "E", "input.n", 0, 1, 7)
    t.cut("F11", "E", "input.values", 0, 1, 20, 21)
    values = base.layout()[1]["input.values"]
    t.cut("F11", "E", "input.values", int(values[1][:-1]) - 1)
    t.cut("F12", "X", "qout", 0)
    t.cut("F12", "X", "output.m", 0, 1, 7)
    t.cut("F12", "X", "output.n", 0, 7)
    t.cut("F12", "X", "output.values", 0, 1, 21)
    t.cut("F12", "X", "end", -1)
    m, n = base.input.m, base.input.n
    t.patch("F47", "E", "input.m", 0, -1, m - 1, m + 1, 2 * m)
    t.patch("F48", "E", "input.m", I32, I62, I63 - 1, -I63)
    t.patch("F49", "E", "input.n", 0, -1, n - 1, n + 1, 2 * n)
    t.patch("F49", "E", "input.n", I32, I62, I63 - 1, -I63)
    for row, pairs in (
        ("F50", ((I62, 4), (I62 // 2, 8))),
        ("F51", ((I33, 2**31), (I32, I32))),
        ("F52", ((-m, -n),)),
        ("F53", ((n, m), (m * n, 1))),
    ):
        for a, b in pairs:
            t.change(row, "E", input__m=a, input__n=b)
    t.patch("F54", "X", "qout", 1, 255)
    t.patch("F54", "X", "output.m", 0, -1, I62, I63 - 1)
    t.patch("F54", "X", "output.n", 0, -1, I62, I63 - 1)
    _dictionary_cases(t)
    for value in (np.nan, np.inf, -np.inf, 1e38):
        odd = copy.deepcopy(base)
        odd.input.values[3 * n : 5 * n] = value
        t.add("F75", value, "A", odd)
    half = copy.deepcopy(base)
    half.input.values[len(half.input.values) // 2 :] = 0
    t.add("F76", "second half zero", "X", half, truth=half)
    if base.output is not None:
        t.change("F80", "O", output__values=np.zeros_like(base.output.values))
    return t.cases


def cases_more() -> list[Case]:
    """The rows that need a base of their own: version 11, labels in a word model, old files, missing output."""
    t = _Table("more", whole_bin())
    t.add("F17", "version 11, skip-gram", "O", t.base.change(version=11))
    sup = whole_supervised().change(version=11)
    t.add("F18", "version 11, supervised", "X", sup, truth=sup)
    for version in (3, -5):
        t.add("F15", f"version {version}, accepted by the real program", "X", t.base.change(version=version))
    labelled = whole_bin(labels=[b"__label__fr"])
    t.add("F72", "label in a word model", "O", labelled, truth=labelled)
    t.add("F79", "no n-grams", "O", plain := whole_bin(minn=0, maxn=0, bucket=0), truth=plain)
    t.add("F72", "minn = maxn = 0 with buckets kept", "X", odd := whole_bin(minn=0, maxn=0), truth=odd)
    t.add("B15", "output missing altogether (finalfusion)", "O", t.base.change(output=None))
    old = whole_old()
    t.add("B1", "no magic (before May 2017)", "O", old, truth=old)
    old_supervised = whole_supervised(minn=0, maxn=0).change(old=True)
    t.add("B1", "no magic, supervised", "X", old_supervised, truth=old_supervised)
    data, places = old.layout()
    for name in (
        "ws",
        "bucket",
        "t",
        "size",
        "ntokens",
        "word0",
        "count3",
        "input.m",
        "input.n",
        "input.values",
    ):
        t.add("B1", f"no magic, cut {name}+1", "E", data[: places[name][0] + 1], structural=False)
    t.add("B1", "no magic, one byte short", "X", data[:-1], truth=old)
    t.add("Q41", "pairs in a dense file", "E", t.base.change(pruned=1, pairs=[(3, 0)]))
    for bucket in (0, -1):
        t.add(
            "F23",
            f"bucket {bucket}, m to match",
            "E",
            whole_bin(bucket=11).change(bucket=bucket, input=Dense(7, 5, np.ones(35, np.float32))),
        )
    return t.cases


def cases_ftz(base: FastText | None = None, prefix: str = "ftz") -> list[Case]:
    """Q1 to Q50, and F1 to F45 and F54 to F77, for a quantized file (default: `whole_ftz`)."""
    t = _Table(prefix, base or whole_ftz())
    base = t.base
    assert isinstance(base.input, Quantized)
    _header_cases(t)
    _dictionary_cases(t)
    q, pq = base.input, base.input.pq
    for name in ("qnorm", "m", "n", "codesize"):
        t.cut("Q1", "E", f"input.{name}", 0, *(() if name == "qnorm" else (1, 3)))
    t.cut("Q2", "E", "input.codes", 0, 1, len(q.codes) - 1)
    for name in ("dim", "nsubq", "dsub", "lastdsub"):
        t.cut("Q3", "E", f"input.pq.{name}", 0, 3)
    t.cut("Q4", "E", "input.pq.centroids", 0, 1, 4000, len(pq.centroids) * 4 - 1)
    t.patch("Q7", "E", "quant", 0)
    t.patch("Q10", "E", "input.m", q.m - 1, q.m + 1, 0, -1)
    t.patch("Q11", "E", "input.m", I31, I32, I62)
    t.patch("Q12", "E", "input.n", q.n - 1, q.n + 1, 0, -1, I31, I62)
    t.patch("Q13", "E", "input.codesize", 0, -1, -(2**31))
    t.patch("Q14", "E", "input.codesize", I31)
    t.patch(
        "Q15", "E", "input.codesize", q.codesize - 1, q.codesize + 1, 2 * q.codesize, q.codesize - pq.nsubq
    )
    t.patch("Q16", "E", "input.pq.dim", 0, -1, pq.dim - 1, pq.dim + 1)
    t.patch("Q17", "E", "input.pq.dim", 2**30)
    t.patch("Q18", "E", "input.pq.dim", 2**24)
    t.patch("Q19", "E", "input.pq.dim", I31)
    t.patch("Q20", "E", "input.pq.nsubq", 0, -1)
    t.patch("Q21", "E", "input.pq.nsubq", 1, 2, 4, 5, I31)
    t.change("Q22", "E", input__pq__nsubq=0, input__codesize=0)
    t.patch("Q23", "E", "input.pq.dsub", 0, -1)
    t.patch("Q24", "E", "input.pq.dsub", 1, 3, 5, I31)
    t.change("Q25", "E", input__pq__dsub=-2, input__pq__nsubq=-3)
    t.patch("Q26", "E", "input.pq.lastdsub", 0, -1)
    t.patch("Q27", "E", "input.pq.lastdsub", 2, 3, 5, I31)
    if q.npq is not None:
        t.cut("Q5", "E", "input.norm_codes", 0, 3)
        for name in ("dim", "nsubq", "dsub", "lastdsub"):
            t.cut("Q5", "E", f"input.npq.{name}", 0, 3)
        t.cut("Q5", "E", "input.npq.centroids", 0, 1023)
        t.patch("Q8", "E", "input.qnorm", 0)
        t.patch("Q9", "X", "input.qnorm", 2, 255)
        t.patch("Q28", "E", "input.npq.dim", 0, 2, -1, I31)
        t.patch("Q29", "E", "input.npq.nsubq", 0, 2, -1)
        t.patch("Q30", "E", "input.npq.dsub", 0, -1, 2)
        t.patch("Q31", "E", "input.npq.lastdsub", 0, -1, 2)
        for value in (-1.0, np.nan, 0.0):
            odd = copy.deepcopy(base)
            odd.input.npq.centroids[:] = value  # type: ignore[union-attr]
            t.add("Q44", value, "A", odd)
    else:
        t.patch("Q8", "E", "input.qnorm", 1)
        t.patch("Q9", "E", "input.qnorm", 2, 255)
    kept = len(base.pairs)
    if kept:
        t.cut("Q6", "E", "key0", 0, 1)
        t.cut("Q6", "E", "value0", 0, 3)
        t.cut("Q6", "E", f"value{kept - 1}", 0, 3)
        t.patch("Q32", "E", "value1", kept)
        t.patch("Q33", "E", "value1", -1, -(2**31))
        t.patch("Q34", "E", "value1", I31, 100_000)
        t.change("Q35", "E", pairs=[(k, v + kept) for k, v in base.pairs])
        t.patch("Q36", "A", "key2", -1, base.args["bucket"], I31)
        t.change("Q37", "A", pairs=[(base.pairs[0][0], v) for _, v in base.pairs])
        t.change("Q38", "A", pairs=[(k, 0) for k, _ in base.pairs])
        t.patch("Q39", "E", "pruned", 0, 1, -1, kept + 1)
        t.patch("Q40", "E", "pruned", I31, I62, I63 - 1, -I63)
        t.patch("Q42", "A", "bucket", 0, -1)
    for value in (np.nan, np.inf):
        odd = copy.deepcopy(base)
        odd.input.pq.centroids[::7] = value
        t.add("Q43", value, "A", odd)
    full = base.change(input__codes=np.full(len(q.codes), 255, np.uint8))
    t.add("Q45", "codes all 255", "O", full, truth=full)
    t.add("Q46", f"dim {q.n} in parts of {pq.dsub}", "O", base)
    t.add("Q47", "output quantized too", "O", both := whole_ftz(qout=True), truth=both)
    t.patch("Q48", "X", "qout", 1)
    bare = base.change(pruned=0, pairs=[])
    bare.input = _quantized(np.random.default_rng(4), base.nwords, base.args["dim"], 2, True)
    t.add("Q49", "all n-grams pruned", "O", bare, truth=bare)
    return t.cases


def cuts(model: FastText) -> Iterator[tuple[str, int, str]]:
    """Yield (field, length, verdict) for a cut at and just inside every field of a file."""
    _, places = model.layout()
    input_end = places["qout"][0] if "qout" in places else places["end"][0]
    for name, (offset, _) in places.items():
        for length in (offset, offset + 1):
            if length < places["end"][0]:
                yield name, length, "E" if length < input_end else "X"


# --- damage that knows nothing of the format (C) -----------------------------------------------------------------


def cases_any(data: bytes, *, nul: str = "E") -> list[tuple[str, str, bytes, str | None]]:
    """Make (row, verdict, bytes, what the error says) for damage to any binary file; `nul` is the verdict of C32."""
    rng = random.Random(5)
    made: list[tuple[str, str, bytes, str | None]] = [("C1:empty", "E", b"", "0 bytes")]

    def add(row: str, must: str, content: bytes, says: str | None = None) -> None:
        made.append((row, must, content, says))

    for n in (1, 3, 4, 7, 8, 12):
        add(f"C2:first {n}", "E", data[:n])
    page = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body>Not Found</body></html>\n"
    add("C19:html", "E", page, "HTML")
    add("C19:html, spaces first", "E", b"\r\n  <html>\n<body>Sign in</body></html>", "HTML")
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 7242218345\n"
    add("C20:git-lfs pointer", "E", pointer, "(?i)git.?lfs")
    for name, packed in compressed(data):
        add(f"C21:{name}", "X", packed, f"(?i){name}")
    add("C22:zip", "E", zipped(data), "(?i)zip")
    add(
        "C23:pickle",
        "E",
        b"\x80\x04\x95\x1f\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    )
    add(
        "C23:npy of objects",
        "E",
        b"\x93NUMPY\x01\x00v\x00"
        + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117)
        + b"\n\x80\x04N.",
    )
    add("C24:zeros", "E", bytes(65536))
    add("C24:0xff", "E", b"\xff" * 65536)
    add("C25:newlines", "E", b"\n" * 65536)
    add("C25:spaces", "E", b" " * 65536)
    add("C26:one token, 64 KiB", "E", b"a" * 65536)
    add("C26:one token, 8 MiB", "E", b"a" * 2**23)
    for n in (16, 100, 1000, 4096):
        add(f"C27:random {n}", "E", rng.randbytes(n))
    add("C29:utf-16", "E", data.decode("latin-1").encode("utf-16-le"))
    add("C29:utf-16 with mark", "E", data.decode("latin-1").encode("utf-16"))
    copied = data.decode("ascii", "replace").encode()
    add("C30:text-mode copy", "E", copied)
    add("C31:crlf", "X", data.replace(b"\n", b"\r\n"))
    add("C32:NULs lost", nul, data.replace(b"\0", b""))
    add("C33:high bit stripped", "A", bytes(c & 0x7F for c in data))
    for at in (len(data) // 3, len(data) // 2, len(data) - 100):
        add(f"C34:byte inserted at {at}", "A", data[:at] + b"\x07" + data[at:])
        add(f"C34:byte lost at {at}", "A", data[:at] + data[at + 1 :])
    add("C35:byte-order mark", "E", b"\xef\xbb\xbf" + data)
    whole = data + bytes(-len(data) % 4)
    add("C36:swapped by 4", "E", np.frombuffer(whole, ">u4").astype("<u4").tobytes(), "(?i)big-endian")
    for i in range(64):
        at, bit = rng.randrange(min(400, len(data))), rng.randrange(8)
        add(f"C37:bit {bit} of byte {at}", "A", data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])
        flipped = bytearray(data)
        for _ in range(20):
            flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        add(f"C38:20 bits, {i}", "A", bytes(flipped))
        at = rng.randrange(len(data) - 16)
        add(f"C38:16 bytes, {i}", "A", data[:at] + rng.randbytes(16) + data[at + 16 :])
    return made


def compressed(data: bytes) -> list[tuple[str, bytes]]:
    """Return the data packed by each compressor at hand, and a zstd frame."""
    import bz2
    import gzip
    import lzma

    zstd = b"\x28\xb5\x2f\xfd\x24\x05\x29\x00\x00hello" + bytes(40)
    return [
        ("gzip", gzip.compress(data, mtime=0)),
        ("bzip2", bz2.compress(data)),
        ("xz", lzma.compress(data)),
        ("zstd", zstd),
    ]


def zipped(data: bytes) -> bytes:
    """Return a zip archive that holds the data."""
    import io
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("model.bin"), data)
    return buffer.getvalue()


# --- the twin as a reader: what a careful program accepts --------------------------------------------------------


class Refused(ValueError):
    """What the twin says of a file whose numbers contradict each other."""


def parse(data: bytes) -> FastText:
    """Read a dense or quantized file of the present format, strictly; floret's and the old form are not for it.

    Raise Refused wherever a size, a flag or an index contradicts another. Bytes after the end are accepted.
    """
    at = 0

    def take(code: str) -> int:
        nonlocal at
        size = struct.calcsize("<" + code)
        if at + size > len(data):
            raise Refused(f"cut at {at}")
        (value,) = struct.unpack_from("<" + code, data, at)
        at += size
        return value  # type: ignore[no-any-return]

    def array(dtype: str, n: int) -> np.ndarray:
        nonlocal at
        size = np.dtype(dtype).itemsize * n
        if n < 0 or at + size > len(data):
            raise Refused(f"array of {n} at {at}")
        found = np.frombuffer(data, dtype, n, at).copy()
        at += size
        return found

    def need(condition: bool, what: str) -> None:
        if not condition:
            raise Refused(f"{what} at {at}")

    def quantizer(n: int) -> Quantizer:
        dim, nsubq, dsub, lastdsub = (take("i") for _ in range(4))
        need(dim == n and dsub >= 1 and nsubq == -(-dim // dsub), "quantizer")
        need(lastdsub == (dim % dsub or dsub) if dsub <= dim else lastdsub == dim, "lastdsub")
        return Quantizer(dim, nsubq, dsub, lastdsub, array("<f4", 256 * dim))

    def matrix(quantized: int, rows: int, dim: int) -> Dense | Quantized:
        qnorm = take("B") if quantized else 0
        need(qnorm in (0, 1), "qnorm")
        m, n = take("q"), take("q")
        need(m == rows and n == dim, f"shape {m} x {n}, not {rows} x {dim}")
        if not quantized:
            return Dense(m, n, array("<f4", m * n))
        codesize = take("i")
        need(0 <= codesize <= len(data), "codesize")
        codes = array("u1", codesize)
        pq = quantizer(n)
        need(codesize == m * pq.nsubq, "codesize")
        if not qnorm:
            return Quantized(0, m, n, codesize, codes, pq)
        return Quantized(1, m, n, codesize, codes, pq, array("u1", m), quantizer(1))

    magic, version = take("i"), take("i")
    need(magic == MAGIC and version <= 12, "magic or version")
    args = {name: take("i") for name in ARGS}
    t = take("d")
    size, nwords, nlabels, ntokens, pruned = take("i"), take("i"), take("i"), take("q"), take("q")
    need(size >= 1 and nwords >= 1 and nlabels >= 0 and nwords + nlabels == size, "counts")
    need(args["dim"] >= 1 and args["bucket"] >= (-1 if pruned >= 0 else 0), "dim or bucket")
    entries = []
    for i in range(size):
        end = data.find(b"\0", at)
        need(end >= 0, f"word {i}")
        word = data[at:end]
        at = end + 1
        entries.append((word, take("q"), take("b")))
        need(entries[-1][2] == (0 if i < nwords else 1), f"type of entry {i}")
    need(pruned <= len(data) // 8, "pairs")
    pairs = [(take("i"), take("i")) for _ in range(max(0, pruned))]
    need(all(0 <= value < pruned for _, value in pairs), "pairs")
    quant = take("B")
    need(quant in (0, 1) and (quant == 1 or pruned < 0), "flag")
    grams = pruned if pruned >= 0 else args["bucket"]
    maxn = 0 if version == 11 and args["model"] == 3 else args["maxn"]
    need(not (maxn >= max(1, args["minn"]) and args["bucket"] == 0 and pruned < 0), "bucket 0 with n-grams")
    found = FastText(
        args,
        entries,
        size,
        nwords,
        nlabels,
        matrix(quant, nwords + grams, args["dim"]),
        None,
        magic,
        version,
        t,
        ntokens,
        pruned,
        pairs,
        quant,
    )
    if at == len(data):
        return found
    qout = take("B")
    need(qout in (0, 1), "qout")
    rows = nlabels if args["model"] == 3 else nwords
    return replace(found, qout=qout, output=matrix(qout and quant, rows, args["dim"]))


# --- random files that know the structure ------------------------------------------------------------------------

EDGES = (0, 1, -1, 2, 3, 7, 8, 255, 256, 65535, 2**24, 2**30, I31, -(2**31), I32, 2**40, I62, I63 - 1, -I63)


def mutant(seed: int, bases: list[tuple[bytes, dict[str, tuple[int, str]]]]) -> bytes:
    """Make one random file from valid ones: fields set to edge values, swapped, cut, inserted, bits turned."""
    rng = random.Random(seed)
    data, places = rng.choice(bases)
    broken = bytearray(data)
    names = [name for name, (_, code) in places.items() if code in "iqBbd"]
    heads = [name for name in names if not name.startswith(("count", "type", "key", "value"))]
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        kind = rng.choice(
            ("field", "field", "field", "near", "bit", "byte", "cut", "insert", "delete", "repeat", "pair")
        )
        if kind in ("field", "near", "pair"):
            for name in rng.sample(heads if rng.random() < 0.8 else names, 2 if kind == "pair" else 1):
                _set_field(rng, broken, *places[name], near=kind == "near")
        elif broken:
            _damage(rng, broken, kind)
    return bytes(broken)


def _set_field(rng: random.Random, broken: bytearray, offset: int, code: str, *, near: bool) -> None:
    size = struct.calcsize("<" + code)
    if offset + size > len(broken):
        return
    if code == "d":
        struct.pack_into("<d", broken, offset, rng.choice((float("nan"), float("inf"), -1.0, 0.0)))
        return
    old = int.from_bytes(broken[offset : offset + size], "little", signed=True)
    value = (
        old + rng.choice((-2, -1, 1, 2, 8))
        if near
        else rng.choice((*EDGES, rng.getrandbits(8 * size), old * 2))
    )
    broken[offset : offset + size] = (value % (1 << 8 * size)).to_bytes(size, "little")


def _damage(rng: random.Random, broken: bytearray, kind: str) -> None:
    at = rng.randrange(len(broken))
    n = rng.choice((1, 1, 2, 4, 8, 100))
    if kind == "bit":
        broken[at] ^= 1 << rng.randrange(8)
    elif kind == "byte":
        broken[at : at + n] = rng.randbytes(min(n, len(broken) - at))
    elif kind == "cut":
        del broken[at:]
    elif kind == "insert":
        broken[at:at] = rng.randbytes(n)
    elif kind == "delete":
        del broken[at : at + n]
    elif kind == "repeat":
        broken[at:at] = broken[at : at + n]


def bases() -> list[FastText]:
    """Return one valid model of every kind."""
    makers: list[Callable[[], FastText]] = [whole_bin, whole_supervised, whole_ftz]
    return [make() for make in makers] + [
        whole_ftz(qnorm=False),
        whole_ftz(qout=True, dim=6, dsub=3),
        whole_bin(labels=[b"__label__fr"]),
        whole_bin(minn=0, maxn=0, bucket=0),
        whole_old(),
        whole_bin().change(floret=(2, 2)),
    ]


# --- what an opened model must satisfy ---------------------------------------------------------------------------


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Say whether two float32 arrays are the same to the last bit; every NaN equals every other."""
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype != np.float32 or b.dtype != np.float32 or a.shape != b.shape:
        return False
    return bool(((a.view(np.uint32) == b.view(np.uint32)) | (np.isnan(a) & np.isnan(b))).all())


def inconsistency(e: object, clean: tuple[type[BaseException], ...], sample: int = 40) -> str | None:
    """Ask a model (an open `vecio.Embeddings`) everything; return what contradicts itself, or None.

    Clean errors of the file as a whole go through to the caller; `clean` are those that single questions may raise.
    """
    model, rng = e, random.Random(0)  # type: Any, random.Random
    words = list(model.words)
    if len(model) != len(words) or not all(isinstance(word, str) for word in words):
        return f"len is {len(model)}, there are {len(words)} words"
    if model.counts is not None and model.counts.shape != (len(words),):
        return f"counts of shape {model.counts.shape} for {len(words)} words"
    first: dict[str, int] = {}
    for i, word in enumerate(words):
        first.setdefault(word, i)
    if [first[word] for word in words] != model.index(words).tolist():
        return "index and words disagree"
    some = words if len(words) <= sample else rng.sample(words, sample)
    some = [word for word in some if len(word) < 1 << 20]  # 12 million n-grams are a test of their own
    batch = model.embed(some, missing="zero")
    if batch.shape != (len(some), model.dim) or batch.dtype != np.float32 or model.dim < 1:
        return f"a batch of shape {batch.shape}, {batch.dtype}"
    for word, row in zip(some, batch, strict=True):
        if word not in model or model.index(word) != first[word]:
            return f"{word!r} is listed and not found"
        if not _agrees(model, word, row):
            return f"the vector of {word!r} is not that of the batch"
    for word in ("unseenword", "größer", "", "\udcff"):
        if not _agrees(model, word, model.embed([word], missing="zero")[0]):
            return f"{word!r} has a vector, and has none"
        if any(row < -1 for _, row in model.subwords(word)):
            return f"the rows of {word!r} are {model.subwords(word)}"
    return _ask_the_rest(model, words, clean)


def _agrees(model: Any, word: str, row: np.ndarray) -> bool:
    """Say whether a word's single answer is its row of a batch, or a WordError where it cannot be embedded."""
    try:
        found = model[word]
    except KeyError:
        return not model.can_embed(word) and not row.any()
    return bool(model.can_embed(word)) and same(found, row)


def _ask_the_rest(model: Any, words: list[str], clean: tuple[type[BaseException], ...]) -> str | None:
    if model.encode(["the river", "", "größer"]).shape != (3, model.dim):
        return "sentence vectors of another shape"
    try:
        for labels, probs in model.predict(["the river", "</s>", ""], k=2):
            if (
                len(labels) != len(probs)
                or len(labels) > 2
                or any(label not in model.labels for label in labels)
            ):
                return f"predicted {labels} with {probs}"
    except clean:
        pass
    if words and max(map(len, words)) < 1 << 20:
        ids, scores = model.nearest([words[0]], k=3)
        found = ids[ids >= 0]  # -1 fills up where scores are no numbers
        if ids.shape != scores.shape or (ids < -1).any() or (found >= len(words)).any():
            return f"neighbours {ids}"
        try:
            ranking = model.most_similar(words[0], topn=3)
        except clean:
            return None
        if len(ranking) > 3 or any(word not in words or np.isnan(score) for word, score in ranking):
            return f"most similar {ranking}"
    return None


def difference(e: object, truth: FastText, unknown: list[bytes] | None = None) -> str | None:
    """Compare the words and vectors of an open model with the twin's, bit for bit; return the first difference."""
    model: Any = e
    words = [word.decode("utf-8", "surrogateescape") for word in truth.words]
    if list(model.words) != words:
        return f"words {list(model.words)[:10]} instead of {words[:10]}"
    for word in [*truth.words, *(UNKNOWN if unknown is None else unknown)]:
        rows = twin_rows(truth, word)
        found = model.embed([word], missing="zero")[0]
        if not same(found, twin(truth, word)):
            return f"the vector of {word[:40]!r} is {found}, not {twin(truth, word)}"
        if model.can_embed(word) != bool(rows):
            return f"can_embed({word[:40]!r}) is {model.can_embed(word)}"
    return None
