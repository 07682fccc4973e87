"""Asks vecio about finalfusion files: the Python and Rust programs' own, broken ones, and what vecio writes itself.

`Fifu` below writes a file chunk by chunk, each number of it free to be wrong, from specs/finalfusion.md; it shares no
code with the reader. The rows U1 to U60 are those of the reliability table, and `test_rows_of_the_table` counts them.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import hostile
import numpy as np
import pytest
import verdicts
from hypothesis import given, settings
from hypothesis import strategies as st
from models import DATA

import vecio
from vecio import _toml, views
from vecio.formats.base import LENGTHS, SETTINGS, UNKNOWN

FOLDER = DATA / "finalfusion"
GOLDEN: dict[str, Any] = json.loads((FOLDER / "finalfusion.json").read_text("utf-8"))["files"]
READER = sys.modules["vecio.formats.finalfusion.reader"]

I31, I32, I40, I62, I64 = 2**31, 2**32, 2**40, 2**62, 2**64
WORDS = [b"the", b"of", "größe".encode(), "狐狸".encode(), b"new york", b"x", b"and", b"a", b"to"]
SEED = 2166136261


# -- the other side's view of a file -------------------------------------------------------------------------------


@dataclass
class Fifu:
    """The content of a file. vocabulary: 1, 3, 7, 8 or 9; buckets: exponent (3), number (7, 9); grams: of 8."""

    words: list[bytes] = field(default_factory=lambda: list(WORDS))
    vocabulary: int = 1
    rows: np.ndarray = field(default_factory=lambda: numbers(len(WORDS), 6))
    minn: int = 3
    maxn: int = 6
    buckets: int = 0
    grams: list[tuple[bytes, int]] = field(default_factory=list)
    hashes: int = 2
    metadata: bytes | None = None
    norms: np.ndarray | None = None
    listed: bool = True  # whether the header lists the norms
    #: projection (D, D) or None, centroids (Q, C, D / Q), norms or None, codes (rows, Q)
    quantised: tuple[Any, np.ndarray, Any, np.ndarray] | None = None
    #: numbers by name that are written instead of the right ones
    wrong: dict[str, int] = field(default_factory=dict)

    def layout(self) -> tuple[bytes, dict[str, tuple[int, str]]]:
        """Return the file's bytes and, by field name, the offset and the struct code of every number."""
        out, places = bytearray(), {}

        def put(name: str, code: str, value: int) -> None:
            places[name] = (len(out), code)
            out.extend(struct.pack("<" + code, self.wrong.get(name, value)))

        def put_bytes(name: str, data: bytes) -> None:
            places[name] = (len(out), f"{len(data)}s")
            out.extend(data)

        def put_string(name: str, text: bytes) -> None:
            put(f"{name}.length", "I", len(text))
            put_bytes(name, text)

        def put_pad(name: str) -> None:
            size = 4 - len(out) % 4
            put_bytes(name, bytes([self.wrong.get(name, 0)]) * size)

        def begin(name: str, number: int) -> None:
            put(f"{name}.id", "I", number)
            put(f"{name}.length", "Q", 0)

        def end(name: str) -> None:
            place = places[f"{name}.length"][0]
            size = self.wrong.get(f"{name}.length", len(out) - place - 8)
            out[place : place + 8] = struct.pack("<Q", size)

        storage = 2 if self.quantised is None else 4
        ids = [self.vocabulary, storage] + [6] * (self.norms is not None and self.listed)
        ids = [5] * (self.metadata is not None) + ids
        put_bytes("magic", b"FiFu")
        put("version", "I", 0)
        put("chunks", "I", len(ids))
        for i, number in enumerate(ids):
            put(f"list{i}", "I", number)
        if self.metadata is not None:
            begin("metadata", 5)
            put_bytes("toml", self.metadata)
            end("metadata")
        begin("vocabulary", self.vocabulary)
        if self.vocabulary != 9:
            put("words", "Q", len(self.words))
        if self.vocabulary == 8:
            put("grams", "Q", len(self.grams))
        if self.vocabulary != 1:
            put("minn", "I", self.minn)
            put("maxn", "I", self.maxn)
        if self.vocabulary == 9:
            put("buckets", "Q", self.buckets)
            put("hashes", "I", self.hashes)
            put("seed", "I", SEED)
            put_string("begin", b"<")
            put_string("end", b">")
        elif self.vocabulary in (3, 7):
            put("buckets", "I", self.buckets)
        for i, word in enumerate(self.words):
            put_string(f"word{i}", word)
        for i, (gram, index) in enumerate(self.grams):
            put_string(f"gram{i}", gram)
            put(f"index{i}", "Q", index)
        end("vocabulary")
        begin("array", storage)
        self.put_storage(put, put_bytes, put_pad)
        end("array")
        if self.norms is not None:
            begin("norms", 6)
            put("norms.count", "Q", len(self.norms))
            put("norms.type", "I", 10)
            put_pad("norms.padding")
            put_bytes("norms.values", self.norms.astype("<f4").tobytes())
            end("norms")
        return bytes(out), places

    def put_storage(self, put: Any, put_bytes: Any, put_pad: Any) -> None:
        if self.quantised is None:
            put("rows", "Q", self.rows.shape[0])
            put("columns", "I", self.rows.shape[1])
            put("type", "I", 10)
            put_pad("padding")
            put_bytes("values", self.rows.astype("<f4").tobytes())
            return
        projection, centroids, norms, codes = self.quantised
        pieces, count, width = centroids.shape
        put("projection", "I", projection is not None)
        put("normed", "I", norms is not None)
        put("pieces", "I", pieces)
        put("columns", "I", pieces * width)
        put("centroids", "I", count)
        put("rows", "Q", len(codes))
        put("codes.type", "I", 1)
        put("type", "I", 10)
        put_pad("padding")
        if projection is not None:
            put_bytes("projection.values", projection.astype("<f4").tobytes())
        put_bytes("centroids.values", centroids.astype("<f4").tobytes())
        if norms is not None:
            put_bytes("norms of rows", norms.astype("<f4").tobytes())
        put_bytes("codes", codes.astype(np.uint8).tobytes())

    def dump(self) -> bytes:
        return self.layout()[0]

    def change(self, **wrong: int) -> Fifu:
        return replace(self, wrong={**self.wrong, **{k.replace("_", "."): v for k, v in wrong.items()}})

    @property
    def truth(self) -> verdicts.Truth:
        """Words and their vectors."""
        if self.quantised is None:
            return self.words, self.rows[: len(self.words)]
        projection, centroids, norms, codes = self.quantised
        rows = np.stack([np.concatenate([centroids[q, c] for q, c in enumerate(row)]) for row in codes])
        if projection is not None:
            rows = np.stack([np.matmul(row, projection.T) for row in rows])
        if norms is not None:
            rows = norms[:, None] * rows
        return self.words, rows[: len(self.words)]


def numbers(rows: int, dim: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


def plain() -> Fifu:
    """Nine words of six numbers, with norms and settings."""
    return Fifu(metadata=b'name = "test"\n', norms=np.abs(numbers(1, len(WORDS), 2)[0]))


def buckets(number: int = 7) -> Fifu:
    """Nine words and n-gram rows: 11 buckets, or 2^3 for vocabulary 3."""
    model = replace(plain(), vocabulary=number, buckets=3 if number == 3 else 11, minn=2, maxn=4)
    return replace(model, rows=numbers(len(WORDS) + (8 if number == 3 else 11), 6, 3))


def explicit() -> Fifu:
    """Nine words and five n-grams that share three rows."""
    grams = [(b"<th", 0), (b"the", 1), (b"he>", 0), ("größ".encode(), 2), (b"unse", 1)]
    return replace(plain(), vocabulary=8, grams=grams, rows=numbers(len(WORDS) + 3, 6, 4))


def floret() -> Fifu:
    """A table of 13 rows, and no words."""
    return Fifu(words=[], vocabulary=9, buckets=13, minn=2, maxn=3, rows=numbers(13, 6, 5))


def quantised(projection: bool = False, count: int = 5) -> Fifu:
    """Nine words as codes of three numbers, with the lengths of rows."""
    rng = np.random.default_rng(6)
    codes = rng.integers(0, count, (len(WORDS), 3)).astype(np.uint8)
    centroids = rng.normal(size=(3, count, 2)).astype(np.float32)
    norms = np.abs(rng.normal(size=len(WORDS))).astype(np.float32)
    return Fifu(quantised=(numbers(6, 6, 7) if projection else None, centroids, norms, codes))


ALL = {
    "plain": plain,
    "fasttext": buckets,
    "buckets": lambda: buckets(3),
    "explicit": explicit,
    "floret": floret,
    "quantised": quantised,
    "projected": lambda: quantised(True),
}


def fuzz_bases() -> list[bytes | dict[str, bytes]]:
    """Return small valid files, for tools/fuzz.py."""
    return [make().dump() for make in ALL.values()]


# -- the programs' own files ---------------------------------------------------------------------------------------


def floats(hexed: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(hexed), "<f4")


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name: str) -> None:
    golden = GOLDEN[name]
    with vecio.open(FOLDER / name) as e:
        assert vecio.detect(FOLDER / name) == e.format == "finalfusion"
        assert list(e.words) == golden["words"]
        if sys.version_info >= (3, 11):
            assert dict(e.metadata) == (golden["metadata"] or {})
        lengths = e._parts.lengths
        assert (lengths is None) == (golden["norms"] is None)
        if lengths is not None:
            assert lengths.tobytes() == floats(golden["norms"]).tobytes()
        rows = len(e) + (0 if e._grams is None else len(e._grams))
        assert [rows, e.dim] == golden["storage_shape"]
        for query in golden["queries"]:
            ask(e, query, exact="projection" not in name)


def ask(e: vecio.Embeddings, query: dict[str, Any], exact: bool) -> None:
    word, known = query["word"], query["word"] in e
    if "index" in query:
        assert known == isinstance(query["index"], int)
    if "embedding" not in query:
        assert not e.can_embed(word)
        return
    if known and exact:
        assert e[word].tobytes() == floats(query["embedding"]).tobytes()
    assert np.abs(e[word] - floats(query["embedding"])).max() < 1e-6
    assert hostile.same(e[word], e.embed([word, "the"], "zero")[0])
    if "subwords" in query:
        found = e.subwords(word)
        assert [list(pair) for pair in (found[1:] if known else found)] == query["subwords"]


def test_golden_with_the_kernels_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vecio._effort._loaded", True)
    for name in ("bucket.fifu", "fasttext.fifu", "explicit.fifu", "pq-bucket.fifu"):
        test_golden(name)


def test_own_view_agrees_with_the_golden_files() -> None:
    """The builder above writes the Python program's bytes."""
    for name, golden in GOLDEN.items():
        if "/" in name or "pq" in name or golden["metadata"] is not None:
            continue
        with vecio.open(FOLDER / name) as e:
            made = Fifu(words=[word.encode() for word in e.words], rows=e._block(0, len(e)))
            if golden["norms"] is not None:
                made = replace(made, norms=floats(golden["norms"]))
            if e._subwords is not None and e._grams is not None:
                rule = e._subwords
                made = replace(made, vocabulary=7, minn=rule.minn, maxn=rule.maxn, buckets=rule.bucket)
                made.rows = np.concatenate([made.rows, e._grams.block(0, rule.bucket)])
        assert made.dump() == (FOLDER / name).read_bytes()


# -- bad files -----------------------------------------------------------------------------------------------------


@dataclass
class Case:
    id: str
    must: str
    data: bytes
    truth: verdicts.Truth | None = None
    place: bool = True


def cases() -> Iterator[Case]:
    base = plain()
    data, places = base.layout()

    def put(row: str, must: str, model: Fifu | bytes, truth: bool = True) -> Case:
        content = model if isinstance(model, bytes) else model.dump()
        return Case(row, must, content, base.truth if truth else None)

    def each(row: str, must: str, name: str, *values: int, of: Fifu = base) -> Iterator[Case]:
        for value in values:
            yield Case(f"{row}:{name} {value}", must, of.change(**{name: value}).dump(), of.truth)

    def cut(row: str, must: str, name: str, inside: int = 1) -> Case:
        return put(f"{row}:in {name}", must, data[: places[name][0] + inside])

    for magic in (b"fifu", b"FIFU", b"FuFi", bytes(4)):
        yield Case(f"U1:{magic!r}", "E", magic + data[4:], place=False)
    yield from each("U2", "E", "version", 1, 2, I31, I32 - 1)
    yield from each("U3", "E", "chunks", 0, 1, 2, 3)
    yield from each("U3", "E", "chunks", 5)
    yield from each("U4", "E", "chunks", I31, I32 - 1)
    yield from each("U5", "X", "list1", 3, 7, 2)
    yield from each("U6", "E", "list1", 10, 99, I32 - 1, 0)
    yield from each("U6", "E", "vocabulary_id", 10, 99, I32 - 1)
    start = places["vocabulary.id"][0]
    middle = places["array.id"][0]
    last = places["norms.id"][0]
    yield put("U7:no vocabulary", "E", data[:start] + data[middle:])
    yield put("U7:array first", "E", data[:start] + data[middle:last] + data[start:middle] + data[last:])
    yield put("U8:two vocabularies", "E", data[:middle] + data[start:])
    yield put("U8:two arrays", "E", data[:last] + data[middle:])
    for name in ("magic", "version", "chunks", "list0", "list3"):
        yield cut("U9", "E", name)
    for name in ("metadata", "vocabulary", "array"):
        yield cut("U10", "E", f"{name}.id")
        yield cut("U10", "E", f"{name}.length")
    for name in ("word3.length", "word3", "word8.length", "word8"):
        yield cut("U11", "E", name)
    for name in ("rows", "columns", "type", "padding", "values"):
        yield cut("U12", "E", name)
        yield cut("U12", "E", name, 0)
    for name in ("norms.id", "norms.length", "norms.count", "norms.type", "norms.padding", "norms.values"):
        yield cut("U13", "X", name)
    yield put("U13:one byte short", "X", data[:-1])
    for name in ("vocabulary_length", "array_length", "norms_length"):
        yield from each("U14", "X", name, 0, 1, I32, I62, I64 - 1)
        size = struct.unpack_from("<Q", data, places[name.replace("_", ".")][0])[0]
        yield from each("U15", "X", name, size - 5, size + 9)
    yield from each("U16", "E", "words", 0, 8, 10)
    yield from each("U17", "E", "words", I32, I40, I62, I64 - 1)
    yield put("U18:empty word", "A", base.change(word2_length=0))
    yield from each("U19", "E", "word2_length", 2, 60, 10**6)
    yield from each("U20", "E", "word2_length", I31, I32 - 1)
    yield from each("U21", "E", "rows", 0, 8, 10)
    yield from each("U22", "E", "rows", I32, I40, I62, I64 - 1)
    yield from each("U23", "E", "columns", 0, 5, 7)
    yield from each("U24", "E", "columns", 2**30, I31, I32 - 1)
    for rows, columns in ((I62, 4), (2**61, 8), (2**63, 2)):
        yield put(f"U25:{rows} x {columns}", "E", base.change(rows=rows, columns=columns))
    for rows, columns in ((I32, I31), (2**34, 2**30)):
        yield put(f"U26:{rows} x {columns}", "E", base.change(rows=rows, columns=columns))
    for rows, columns in ((6, 9), (54, 1), (0, 0)):
        yield put(f"U27:{rows} x {columns}", "E", base.change(rows=rows, columns=columns))
    yield put("U28:words and rows", "E", base.change(words=I62, rows=I62))
    yield from each("U29", "E", "type", 0, 1, 9, 11, 12, I32 - 1)
    yield from each("U30", "E", "array_id", 0, 1, 3, 4, 6, 10)
    for size in range(4):
        model = replace(base, words=[*WORDS[:-1], b"to" + b"o" * size])
        yield Case(f"U31:{size}", "O", model.dump(), model.truth)
    for name in ("padding", "norms_padding"):
        yield from each("U32", "X", name, 1, 255)
    yield from each("U33", "X", "norms_count", 0, 8, 10)
    yield from each("U34", "X", "norms_count", I32, I40, I62, I64 - 1)
    yield from each("U35", "X", "norms_type", 0, 1, 9, 11)
    yield from each("U35", "X", "norms_id", 0, 2, 5, 10)
    model = replace(base, norms=None)
    yield Case("U36:no norms", "O", model.dump(), model.truth)
    yield Case("U36:norms not listed", "O", replace(base, listed=False).dump(), base.truth)
    model = replace(base, norms=np.array([0, np.nan, np.inf, -1] + [1] * 5, np.float32))
    yield Case("U37:odd norms", "A", model.dump(), model.truth)
    for row, must, text in metadata_texts():
        model = replace(base, metadata=text)
        yield Case(row, must, model.dump(), model.truth)
    yield from each("U42", "E", "metadata_length", 0, 1, I31, I62, I64 - 1)
    for row, word in (
        ("U43:twice", b"the"),
        ("U44:empty", b""),
        ("U44:NUL", b"a\0b"),
        ("U45:not UTF-8", b"\xff\xfe\x80"),
        ("U45:cut", "ö".encode()[:1]),
        ("U46:1 MiB", b"long" * 2**18),
    ):
        model = replace(base, words=[*WORDS[:5], word, *WORDS[6:]])
        yield Case(row, "A", model.dump(), model.truth)
    for model in (buckets(), buckets(3)):
        number = model.vocabulary
        yield Case(f"U60:vocabulary {number}", "O", model.dump(), model.truth)
        yield from each(f"U47:{number}", "E", "buckets", 0, of=model)
        yield from each(f"U48:{number}", "E", "buckets", I32 - 1, I31, 32, 64, of=model)
        yield from each(f"U49:{number}", "A", "minn", 0, 5, of=model)
        yield from each(f"U49:{number}", "A", "maxn", 0, 1, of=model)
        yield from each(f"U50:{number}", "E", "minn", I32 - 1, of=model)
        yield from each(f"U50:{number}", "E", "maxn", I32 - 1, I31, of=model)
        yield Case(f"U51:{number}", "E", replace(model, rows=model.rows[:-1]).dump())
        yield Case(f"U51:{number}, words only", "E", replace(model, rows=model.rows[:9]).dump())
        yield from each(f"U51:{number}", "E", "buckets", model.buckets - 1, model.buckets + 1, of=model)
    model = explicit()
    yield Case("U60:explicit", "O", model.dump(), model.truth)
    size = struct.unpack_from("<Q", model.dump(), model.layout()[1]["vocabulary.length"][0])[0]
    wrong = model.change(vocabulary_length=size - 40)  # what the Python program writes
    yield Case("U60:explicit, short length", "O", wrong.dump(), model.truth)
    yield from each("U52", "E", "index3", 3, 4, 12, I32, I64 - 1, 2**63, of=model)
    yield from each("U52:gap", "E", "index3", 1, of=model)
    yield from each("U52", "E", "grams", 0, 4, 6, I32, I62, I64 - 1, of=model)
    yield from each("U52", "E", "gram2_length", 2, 60, I31, I32 - 1, of=model)
    twice = replace(model, grams=[*model.grams, (b"the", 2)])
    yield Case("U53:twice", "A", twice.dump(), model.truth)
    model = quantised()
    yield Case("U60:quantised", "O", model.dump(), model.truth)
    assert model.quantised is not None
    codes = model.quantised[3].copy()
    codes[4, 1] = 5
    yield Case("U54:code", "E", replace(model, quantised=(*model.quantised[:3], codes)).dump())
    yield from each("U54", "E", "centroids", 0, 1, 4, 6, 256, 257, I31, I32 - 1, of=model)
    yield from each("U55", "E", "pieces", 0, 1, 2, 4, 6, I32 - 1, of=model)
    yield from each("U55", "E", "columns", 0, 3, 5, 9, 12, I32 - 1, of=model)
    yield from each("U56", "E", "projection", 1, 2, I32 - 1, of=model)
    yield from each("U56:norms", "E", "normed", 0, 2, I32 - 1, of=model)
    yield from each("U56:types", "E", "codes_type", 0, 10, of=model)
    projected = quantised(True)
    yield Case("U56:cut", "E", projected.dump()[:-100])
    yield from each("U56:flag lost", "E", "projection", 0, of=projected)
    for name, tail in (("byte", b"\0"), ("4 KiB", bytes(4096)), ("again", data)):
        yield Case(f"U57:{name}", "X", data + tail, base.truth)
        bare = replace(base, norms=None)
        yield Case(f"U57:{name}, no norms", "X", bare.dump() + tail, bare.truth)
    for size in (4, 8, 12, 100, 5000):
        noise = np.random.default_rng(size).bytes(size)
        yield Case(f"U58:{size}", "E", b"FiFu" + noise)
        yield Case(f"U58:header and {size}", "E", data[:start] + noise)
    odd = base.rows.copy()
    odd[0], odd[1], odd[2, 0] = np.nan, np.inf, 0
    odd[3] = 0
    model = replace(base, rows=odd)
    yield Case("U59:odd numbers", "A", model.dump(), model.truth)
    model = floret()
    yield Case("U60:floret", "O", model.dump(), None)
    yield from each("U47:9", "E", "buckets", 0, 12, I32, I62, I64 - 1, of=model)
    yield from each("U47:hashes", "E", "hashes", 0, 5, I32 - 1, of=model)
    yield from each("U19:9", "E", "begin_length", 2, 60, I32 - 1, of=model)
    yield Case("U47:seed", "E", model.change(seed=1).dump(), place=False)


def metadata_texts() -> list[tuple[str, str, bytes]]:
    return [
        ("U38:tables", "O", b'a = 1\n[b]\nc = [1.5, 2.5]\nd = {e = "f"}\n[[g]]\nh = 2020-01-01T00:00:00Z\n'),
        ("U38:empty", "O", b""),
        ("U39:broken", "X", b"a = = 1"),
        ("U39:cut", "X", b'a = "b'),
        ("U39:twice", "X", b"a = 1\na = 2"),
        ("U39:large number", "X", b"a = " + b"9" * 5000),
        ("U40:invalid UTF-8", "X", b'a = "\xff\xfe"'),
        ("U41:50000 brackets", "X", b"a = " + b"[" * 50_000),
        ("U41:50000 deep", "X", b"a = " + b"[" * 50_000 + b"]" * 50_000),
        ("U41:30000 deep, short", "X", b"a = " + b"[" * 30_000 + b"]" * 30_000),
        ("U41:tables", "X", b"[" + b"a." * 30_000 + b"a]"),
        ("U41:tables, 300", "X", b"[" + b"a." * 150 + b"a]\nb = 1"),
        ("U41:inline", "X", b"a = " + b"{a=" * 20_000),
    ]


CASES = list(cases())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_case(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "model.fifu"
    path.write_bytes(case.data)
    verdicts.judge(path, case.must, case.truth, place=case.place and case.must == "E")


def judge_all(path: Path, chosen: list[Case]) -> None:
    for case in chosen:
        path.write_bytes(case.data)
        try:
            verdicts.judge(path, case.must, case.truth)
        except AssertionError as wrong:
            raise AssertionError(f"{case.id}: {wrong}") from wrong


def test_case_without_a_walk_over_the_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a file with many words: the storage is found by the chunk's length, words are walked when needed."""
    monkeypatch.setattr(READER, "EAGER", -1)
    path = tmp_path / "model.fifu"
    for case in CASES:
        if case.must != "E":
            judge_all(path, [case])
            continue
        path.write_bytes(case.data)
        try:
            with vecio.open(path) as e:
                words = list(e.words)
        except verdicts.CLEAN as error:
            assert str(path) in str(error)
        else:
            raise AssertionError(f"{case.id}: opened, and has the words {words[:3]}")


def test_case_with_the_kernels_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vecio._effort._loaded", True)
    judge_all(tmp_path / "model.fifu", CASES[::2])


def test_rows_of_the_table() -> None:
    rows = {case.id.split(":")[0] for case in CASES}
    assert [f"U{i}" for i in range(1, 61) if f"U{i}" not in rows] == []


@pytest.mark.parametrize("name", ["plain", "explicit", "floret", "projected"])
def test_any_damage(name: str, tmp_path: Path) -> None:
    """The C rows: damage that knows nothing of the format."""
    path = tmp_path / "model.fifu"
    for row, must, data, says in hostile.cases_any(ALL[name]().dump()):
        path.write_bytes(data)
        try:
            error = verdicts.judge(path, must, ALL[name]().truth if must in "OX" else None)
        except AssertionError as wrong:
            raise AssertionError(f"{row}: {wrong}") from wrong
        if says is not None and error is not None:
            assert says.replace("(?i)", "").lower()[:4] in str(error).lower() or must == "E", (row, error)


@pytest.mark.parametrize("name", ALL)
def test_cut_at_every_byte(name: str, tmp_path: Path) -> None:
    path, data = tmp_path / "model.fifu", ALL[name]().dump()
    path.write_bytes(data)
    for size in range(len(data) - 1, 0, -1):
        os.truncate(path, size)
        verdicts.judge(path, "E")


@pytest.mark.parametrize("name", ALL)
def test_every_byte_changed(name: str, tmp_path: Path) -> None:
    path, data = tmp_path / "model.fifu", ALL[name]().dump()
    numbers_from = ALL[name]().layout()[1]["padding"][0]
    for at in [*range(numbers_from), *range(numbers_from, len(data), 7)]:
        value = (data[at] ^ 0x80, data[at] ^ 1, 0, 255)[at % 4]
        path.write_bytes(data[:at] + bytes([value]) + data[at + 1 :])
        verdicts.judge(path, "A")


def test_refusals_are_quick(tmp_path: Path) -> None:
    path, slowest = tmp_path / "model.fifu", 0.0
    for case in CASES:
        path.write_bytes(case.data)
        begin = time.perf_counter()
        try:
            vecio.open(path).close()
        except verdicts.CLEAN:
            slowest = max(slowest, time.perf_counter() - begin)
    assert slowest < 1.0  # the promise is 0.1 on a machine with nothing else to do


# -- settings ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no TOML parser")
def test_settings_that_are_parsed() -> None:
    tables = _toml.parse(metadata_texts()[0][2])
    expected = {"a": 1, "b": {"c": [1.5, 2.5], "d": {"e": "f"}}, "g": [{"h": "2020-01-01T00:00:00+00:00"}]}
    assert tables == expected
    assert _toml.parse(b"") == {}
    for row, must, text in metadata_texts():
        if must == "X":
            assert _toml.parse(text) == {"toml": text.decode("utf-8", "replace")}, row
    long = ("a." * 99 + '"\u2028".') * 150 + "z = 1"  # one key: the parser would take seconds
    began = time.perf_counter()
    assert list(_toml.parse(long.encode())) == ["toml"]
    assert time.perf_counter() - began < 0.1


plain_values = st.recursive(
    st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no TOML parser")
@given(st.dictionaries(st.text(max_size=6), plain_values, max_size=4))
@settings(max_examples=150)
def test_settings_come_back(values: dict[str, Any]) -> None:
    text = _toml.dump(values)
    found = _toml.parse(text)
    assert "toml" not in found or "toml" in values
    assert _toml.dump(found) == text
    if not mixed(values):
        assert json.dumps(found, sort_keys=True) == json.dumps(values, sort_keys=True)


def mixed(value: Any) -> bool:
    """Say whether there is a list of several types: it is written as JSON text, or as floats."""
    if isinstance(value, dict):
        return any(mixed(item) for item in value.values())
    if isinstance(value, list):
        return len({type(item) for item in value}) > 1 or any(mixed(item) for item in value)
    return False


def test_odd_settings_are_written() -> None:
    odd = {"none": None, "big": 2**70, "mixed": [1, "a"], "numpy": np.float32(1.5), 3: b"x", "cut": "\udcff"}
    found = _toml.parse(_toml.dump(odd))
    if sys.version_info >= (3, 11):
        assert found == {
            "big": str(2**70),
            "mixed": '[1, "a"]',
            "numpy": 1.5,
            "3": "b'x'",
            "cut": "\\udcff",
        }
    with pytest.raises(ValueError, match="deeper"):
        deep: Any = 1
        for _ in range(100):
            deep = [deep]
        _toml.dump({"deep": deep})


# -- large vocabularies --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 000 words, 2 MB of them, with buckets."""
    words = [b"word%d" % i + b"x" * (i % 17) for i in range(120_000)]
    path = tmp_path_factory.mktemp("large") / "large.fifu"
    rows = numbers(len(words) + 64, 4)
    path.write_bytes(Fifu(words=words, vocabulary=7, buckets=64, rows=rows).dump())
    return path


def test_large_vocabulary_is_not_walked_at_first(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vecio._effort._loaded", False)
    monkeypatch.setattr("vecio._effort._spent", 0.0)
    rows = numbers(120_064, 4)
    with vecio.open(large) as e:
        assert e._vocabulary._arrays is None and len(e) == 120_000
        assert e["word5xxxxx"].tobytes() == rows[5].tobytes()
        assert "word5" not in e and "word7xxxxxxx" in e and b"x" not in e and "" not in e
        assert e.words[100] == "word100" + "x" * 15 and e.counts is None
        assert e.index("word119999xxxxxxxxxxxxx") == 119_999
        assert e.can_embed("unseen")
    with vecio.open(large) as e:  # again, all of it
        assert e.words[119_999] == "word119999" + "x" * (119_999 % 17)
        assert e.index(list(e.words)).tolist() == list(range(120_000))
        assert e._block(0, len(e)).tobytes() == rows[:120_000].tobytes()


def test_large_vocabulary_walked_by_either_code(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with vecio.open(large) as e:
        file, scanner = e._file, e._vocabulary._scanner
        assert scanner is not None
        monkeypatch.setattr("vecio._effort._loaded", True)
        blob, compiled, gap = scanner.index()
        monkeypatch.setattr("vecio._effort._loaded", False)
        monkeypatch.setattr("vecio._effort._spent", -100.0)
        _, plainly, _ = scanner.index()
        assert np.array_equal(compiled, plainly) and gap == 4 and file is not None
        assert bytes(blob[: compiled[1] - gap]) == b"word0"


def test_broken_word_in_a_large_vocabulary(large: Path, tmp_path: Path) -> None:
    data = bytearray(large.read_bytes())
    at = data.index(b"word60000x") - 4
    for size in (I32 - 1, 3, 40):
        data[at : at + 4] = struct.pack("<I", size)
        path = tmp_path / "broken.fifu"
        path.write_bytes(bytes(data))
        with vecio.open(path) as e, pytest.raises(vecio.FormatError, match=r"word|vocabulary"):
            e.index(list(e.words))


# -- writing -------------------------------------------------------------------------------------------------------


def convert(source: Path, target: Path, **options: Any) -> vecio.ConversionReport:
    return vecio.convert(source, target, **options)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_files_come_back(name: str, tmp_path: Path) -> None:
    """finalfusion to finalfusion changes nothing that can be asked for, and mostly not a byte."""
    path = tmp_path / "again.fifu"
    report = convert(FOLDER / name, path)
    assert not report.approximated and not report.lost
    if GOLDEN[name]["metadata"] is None and "/" not in name:
        assert path.read_bytes() == (FOLDER / name).read_bytes()
    with vecio.open(FOLDER / name) as before, vecio.open(path) as after:
        assert dict(before.metadata) == dict(after.metadata) and before.dtype == after.dtype
        for query in GOLDEN[name]["queries"]:
            word = query["word"]
            assert before.can_embed(word) == after.can_embed(word)
            if after.can_embed(word):
                assert before[word].tobytes() == after[word].tobytes()
                assert before.subwords(word) == after.subwords(word)
        lengths = before._parts.lengths
        assert (lengths is None) == (after._parts.lengths is None)
        assert lengths is None or np.asarray(lengths).tobytes() == np.asarray(after._parts.lengths).tobytes()


@pytest.mark.parametrize("name", ALL)
def test_own_files_come_back(name: str, tmp_path: Path) -> None:
    path, again = tmp_path / "model.fifu", tmp_path / "again.fifu"
    path.write_bytes(ALL[name]().dump())
    assert not convert(path, again).approximated
    if "quantised" not in name and "projected" not in name:  # fewer than 256 centroids are filled up
        assert again.read_bytes() == path.read_bytes()
    third = tmp_path / "third.fifu"
    convert(again, third)
    assert third.read_bytes() == again.read_bytes()


def test_plain_vectors_are_scaled_and_their_lengths_kept(tmp_path: Path) -> None:
    vectors = numbers(40, 7) * 5
    vectors[3], vectors[4, 0], vectors[5], vectors[6] = 0, np.nan, 3e38, 1e-42
    source = vecio.Embeddings.from_arrays([f"w{i}" for i in range(40)], vectors, metadata={"a": {"b": 1}})
    source.save(tmp_path / "m.fifu")
    with vecio.open(tmp_path / "m.fifu") as e:
        normal = np.delete(np.arange(40), [3, 4, 5, 6])
        assert np.allclose(np.linalg.norm(e._block(0, 40)[normal], axis=1), 1, atol=1e-6)
        assert not e["w3"].any() and hostile.same(e["w4"], vectors[4]) and hostile.same(e["w5"], vectors[5])
        lengths = e._parts.lengths
        assert lengths is not None and lengths[3] == 0 and lengths[4] == 1 and lengths[5] == 1
        assert e._subwords is None and (sys.version_info < (3, 11) or e.metadata == {"a": {"b": 1}})
    with vecio.open(tmp_path / "m.fifu", unnormalize=True) as e:
        assert np.allclose(e._block(0, 40)[normal], vectors[normal], rtol=1e-6, atol=0)
        assert e._parts.lengths is None
        e.save(tmp_path / "n.fifu")
    with vecio.open(tmp_path / "n.fifu") as e:  # opened with the lengths, and left so
        assert e._parts.lengths is None and np.allclose(e["w0"], vectors[0], rtol=1e-6, atol=0)


def test_vectors_left_as_they_are(tmp_path: Path) -> None:
    vectors = numbers(40, 7)
    source = vecio.Embeddings.from_arrays([f"w{i}" for i in range(40)], vectors)
    source.save(tmp_path / "m.fifu", unnormalize=True)
    with vecio.open(tmp_path / "m.fifu") as e:
        assert e._block(0, 40).tobytes() == vectors.tobytes() and e._parts.lengths is None
        with pytest.raises(vecio.UnsupportedError, match="norms"):
            vecio.open(tmp_path / "m.fifu", unnormalize=True)


def test_what_the_report_says(tmp_path: Path) -> None:
    target = tmp_path / "m.fifu"
    report = convert(DATA / "fasttext" / "cbow-softmax.bin", target)
    assert any("scaled to length 1" in line for line in report.approximated)
    assert any(UNKNOWN in line and "direction" in line for line in report.approximated)
    assert UNKNOWN not in report.kept and SETTINGS in report.kept
    assert report.least_cosine is not None and report.least_cosine > 0.999999
    report = convert(FOLDER / "bucket.fifu", tmp_path / "other.fifu")
    assert {UNKNOWN, LENGTHS, SETTINGS} <= set(report.kept)
    report = convert(FOLDER / "bucket.fifu", tmp_path / "other.fifu", unnormalize=True)
    assert LENGTHS in report.lost
    report = convert(DATA / "floret" / "floret-hc2.bin", target, drop=True)
    assert UNKNOWN in report.lost  # a floret vocabulary has no words, so the words were kept


@pytest.mark.parametrize(
    "name", ["cbow-softmax.bin", "sg-ova.bin", "q-cutoff.ftz", "q-ns-cutoff-retrain.ftz"]
)
def test_fasttext_directions(name: str, tmp_path: Path) -> None:
    path = tmp_path / "m.fifu"
    convert(DATA / "fasttext" / name, path)
    with vecio.open(DATA / "fasttext" / name) as before, vecio.open(path) as after:
        for word in [*before.words, "unseenword", "größere", "riverside"]:
            old, new = before.embed([word], "zero")[0], after.embed([word], "zero")[0]
            if word != "</s>" and old.any():
                cosine = float(old.astype(np.float64) @ new) / np.linalg.norm(old) / np.linalg.norm(new)
                assert cosine > 1 - 1e-6, word
                assert abs(np.linalg.norm(new) - 1) < 1e-6, word


def test_words_that_cannot_be_written(tmp_path: Path) -> None:
    vectors = numbers(3, 4)
    source = vecio.Embeddings.from_arrays([b"fine", b"\xff", b"also\n \0"], vectors)
    with pytest.raises(vecio.UnsupportedError, match="UTF-8"):
        source.save(tmp_path / "m.fifu")
    assert not list(tmp_path.iterdir())
    source.save(tmp_path / "m.fifu", drop=True)
    with vecio.open(tmp_path / "m.fifu") as e:
        assert list(e.words) == ["fine", "also\n \0"]


@given(st.lists(st.text(max_size=10), max_size=12, unique=True), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_hostile_words_and_numbers(tmp_path_factory: Any, words: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    words = [w for w in words if w.encode("utf-8", "replace").decode() == w]
    bits = rng.integers(0, 2**32, (len(words), 3), dtype=np.uint32)
    vectors = bits.view(np.float32).reshape(len(words), 3)
    path = tmp_path_factory.mktemp("words") / "m.fifu"
    vecio.Embeddings.from_arrays(words, vectors).save(path, unnormalize=True)
    with vecio.open(path) as e:
        assert list(e.words) == words and hostile.same(e._block(0, len(e)), vectors)


def test_explicit_rows_are_numbered_by_their_first_use(tmp_path: Path) -> None:
    """What the Rust program would do while reading; gaps are closed, and dropped n-grams left out."""
    model = explicit()
    moved = {0: 2, 1: 0, 2: 1}
    grams = [(gram, moved[index]) for gram, index in model.grams]
    rows = model.rows.copy()
    for old, new in moved.items():
        rows[len(WORDS) + new] = model.rows[len(WORDS) + old]
    path, again = tmp_path / "m.fifu", tmp_path / "again.fifu"
    path.write_bytes(replace(model, grams=grams, rows=rows).dump())
    with vecio.open(path) as e:
        e.save(again)
        assert again.read_bytes() == model.dump()
        some = views.select(e, grams=np.array([2, 1]))
        some.save(again)
        with vecio.open(again) as f:
            assert f.subwords("unseen") == [] and f.subwords("größen") == [("größ", 10)]
            assert f["größen"].tobytes() == some["größen"].tobytes()
            assert f.subwords("th") == [("<th", 9)]


@pytest.mark.parametrize("name", ["buckets", "fasttext"])
def test_buckets_that_were_dropped_become_zeros(name: str, tmp_path: Path) -> None:
    path, again = tmp_path / "m.fifu", tmp_path / "again.fifu"
    path.write_bytes(ALL[name]().dump())
    with vecio.open(path) as e:
        some = views.select(e, grams=np.array([1, 3, 4, 6]))
        some.save(again)
        with vecio.open(again) as f:
            assert f._grams is not None and e._grams is not None
            kept = np.zeros((len(e._grams), 6), np.float32)
            kept[[1, 3, 4, 6]] = e._grams.take([1, 3, 4, 6])
            assert f._grams.block(0, len(kept)).tobytes() == kept.tobytes()
            for word in ("unseen", "riverside", "größer"):
                assert np.allclose(f.embed([word], "zero"), some.embed([word], "zero"), atol=1e-6)


def test_tables_without_words_become_floret_vocabularies(tmp_path: Path) -> None:
    path = tmp_path / "m.fifu"
    with vecio.open(DATA / "floret" / "floret-hc2.bin") as full:
        table = views.first(full, 0)
        table.save(path)
        with vecio.open(path) as e:
            assert len(e) == 0 and e._subwords is not None and e._subwords.kind == "fifu-floret"
            for word in ("unseenword", "größe", "the", "狐"):
                old, new = full[word] if word not in full else table[word], e[word]
                cosine = float(old.astype(np.float64) @ new) / np.linalg.norm(old)
                assert cosine > 1 - 1e-6, word


def test_floret_vocabulary_by_hand(tmp_path: Path) -> None:
    """Hashes of the specification's own description, computed here."""
    from vecio.subwords import murmur3

    model = floret()
    path = tmp_path / "m.fifu"
    path.write_bytes(model.dump())
    strings = ["<ab>", "<ab", "<a", "ab>", "ab", "b>"]
    rows = [h % 13 for s in strings for h in murmur3(s.encode())[:2]]
    with vecio.open(path) as e:
        assert [row for _, row in e.subwords("ab")] == rows
        total = model.rows[rows].astype(np.float64).sum(axis=0)
        assert np.allclose(e["ab"], total / np.linalg.norm(total), atol=1e-6)


# -- quantised storage ---------------------------------------------------------------------------------------------


def test_codes_are_written_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "m.fifu"
    vectors = numbers(600, 8)
    source = vecio.Embeddings.from_arrays(
        [f"w{i}" for i in range(600)], vectors, grams=numbers(50, 8, 9), minn=3, maxn=5
    )
    source.save(path, dtype="pq4")
    with vecio.open(path) as e:
        assert e.dtype == "pq" and e._parts.lengths is not None and len(e) == 600
        before, after = source._block(0, 600), e._block(0, 600)
        cosines = (
            (before * after).sum(axis=1) / np.linalg.norm(before, axis=1) / np.linalg.norm(after, axis=1)
        )
        assert cosines.mean() > 0.95
        assert np.allclose(e._parts.lengths, np.linalg.norm(before, axis=1), rtol=1e-5)
        assert e.can_embed("unseenword")
    again = tmp_path / "again.fifu"
    assert not convert(path, again).approximated
    assert again.read_bytes() == path.read_bytes()
    convert(path, again, dtype="float32")
    with vecio.open(again) as e:
        assert e.dtype == "float32" and e._block(0, 600).tobytes() == after.tobytes()
    for wrong in ("pq3", "pq0", "pq", "float16", "int8"):
        with pytest.raises(ValueError, match="pq"):
            source.save(path, dtype=wrong)


def test_codes_of_few_rows_and_odd_numbers(tmp_path: Path) -> None:
    vectors = numbers(20, 6)
    vectors[2], vectors[3, 1] = 0, np.nan
    source = vecio.Embeddings.from_arrays([f"w{i}" for i in range(20)], vectors)
    report_path = tmp_path / "m.safetensors"
    source.save(report_path)
    report = convert(report_path, tmp_path / "m.fifu", dtype="pq3")
    assert any("NaN" in line for line in report.lost) and report.dtype == "pq3"
    with vecio.open(tmp_path / "m.fifu", unnormalize=True) as e:
        good = np.delete(np.arange(20), 3)
        assert np.allclose(
            e._block(0, 20)[good], vectors[good], atol=1e-5
        )  # fewer rows than centroids: exact


# -- unknown words: compiled and plain -----------------------------------------------------------------------------

ODD_WORDS = [
    *(
        b"unseen",
        b"riverside",
        b"the",
        b"thx",
        "größer".encode(),
        "狐".encode(),
        "\U0001f98a狐".encode(),
        b"",
        b"<",
        b"</s>",
    ),
    *(
        b"\xff",
        b"a\x80b",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xc0\x80",
        b"gr\xc3",
        b"\xe4\xbd",
        b"a\0b",
        b"x" * 700,
    ),
]


@pytest.mark.parametrize("name", [*ALL, *GOLDEN])
def test_compiled_and_plain_code_agree(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit, in any batch and alone; the same for what explains them."""
    path = FOLDER / name
    if name in ALL:
        path = tmp_path / "m.fifu"
        path.write_bytes(ALL[name]().dump())
    answers = []
    for loaded in (False, True):
        monkeypatch.setattr("vecio._effort._loaded", loaded)
        monkeypatch.setattr("vecio._effort._spent", -1000.0)
        with vecio.open(path) as e:
            batch = e.embed(ODD_WORDS, "nan")
            alone = np.stack([e.embed(word, "nan") for word in ODD_WORDS])
            assert hostile.same(batch, alone)
            for i, word in enumerate(ODD_WORDS):
                assert e.can_embed(word) != bool(np.isnan(batch[i]).all())
                assert not e.can_embed(word) or hostile.same(e[word], batch[i])
            answers.append((batch, [e.explain(word).to_dict() for word in ODD_WORDS]))
    assert hostile.same(answers[0][0], answers[1][0]) and answers[0][1] == answers[1][1]


@pytest.mark.parametrize("name", ["buckets", "fasttext", "explicit"])
def test_pruned_rows_in_compiled_and_plain_code(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with vecio.open(ALL[name]().dump()) as e:
        some = views.select(e, grams=np.array([0, 2]))
        monkeypatch.setattr("vecio._effort._loaded", False)
        monkeypatch.setattr("vecio._effort._spent", -1000.0)
        plain_answers = some.embed(ODD_WORDS, "nan")
        monkeypatch.setattr("vecio._effort._loaded", True)
        assert hostile.same(some.embed(ODD_WORDS, "nan"), plain_answers)


# -- the judge -----------------------------------------------------------------------------------------------------


@pytest.mark.judge
@pytest.mark.parametrize("name", [name for name in ALL if name != "floret"])
def test_finalfusion_reads_what_was_written(name: str, tmp_path: Path) -> None:
    path, again = tmp_path / "model.fifu", tmp_path / "again.fifu"
    path.write_bytes(ALL[name]().dump())
    convert(path, again)
    agree(again)


@pytest.mark.judge
@pytest.mark.parametrize("name", GOLDEN)
def test_finalfusion_reads_golden_files_written_again(name: str, tmp_path: Path) -> None:
    finalfusion = pytest.importorskip("finalfusion")
    convert(FOLDER / name, tmp_path / "m.fifu")
    agree(tmp_path / "m.fifu")
    before = finalfusion.load_finalfusion(str(FOLDER / name))
    after = finalfusion.load_finalfusion(str(tmp_path / "m.fifu"))
    assert before.vocab == after.vocab and before.metadata == after.metadata


@pytest.mark.judge
def test_finalfusion_reads_other_models(tmp_path: Path) -> None:
    path = tmp_path / "m.fifu"
    for name in ("cbow-softmax.bin", "q-cutoff.ftz", "sg-longline.bin"):
        convert(DATA / "fasttext" / name, path)
        agree(path)
    convert(DATA / "fasttext" / "cbow-softmax.bin", path, dtype="pq3")
    agree(path)
    odd = {"a b": [1, 2], "t": {"x.y": 1e-05, "ü": 'q"\\\n', "n": [[1], [2]]}, "l": [{"k": 1}, {"k": 2}]}
    words = ["a b", "", "new\nline", "nul\0", "\u2028", "\ufeffx"]
    vecio.Embeddings.from_arrays(words, numbers(6, 3), metadata=odd).save(path)
    agree(path)
    assert pytest.importorskip("finalfusion").load_finalfusion(str(path)).metadata == odd


@pytest.mark.judge
def test_fasttext_is_converted_as_finalfusion_does(tmp_path: Path) -> None:
    """Its own conversion gives the same file but for `</s>`, for which it counts n-grams that fastText does not."""
    finalfusion = pytest.importorskip("finalfusion")
    for name in ("cbow-softmax", "sg-longline"):
        source, path = DATA / "fasttext" / f"{name}.bin", tmp_path / "m.fifu"
        convert(source, path)
        ours = finalfusion.load_finalfusion(str(path))
        theirs = finalfusion.load_fasttext(str(source))
        assert ours.vocab == theirs.vocab
        near = np.abs(np.asarray(ours.storage) - np.asarray(theirs.storage)).max(axis=1) < 1e-6
        assert [ours.vocab.words[i] for i in np.flatnonzero(~near)] == ["</s>"]


def agree(path: Path) -> None:
    """Ask finalfusion-python and vecio the same questions about one file."""
    finalfusion = pytest.importorskip("finalfusion")
    judge = finalfusion.load_finalfusion(str(path))
    with vecio.open(path) as e:
        assert list(e.words) == judge.vocab.words
        assert (judge.norms is None) == (e._parts.lengths is None)
        assert judge.norms is None or np.array_equal(judge.norms, e._parts.lengths)
        for word in [*e.words, "unseenword", "größer", "riverside", "th"]:
            with np.errstate(all="ignore"):
                theirs = judge.embedding(word)
            if theirs is None:
                assert not e.can_embed(word)
            elif np.isfinite(theirs).all():
                assert np.allclose(e[word], theirs, atol=1e-5), word
