"""Arrays with words, tables, Magnitude, navec, GloVe's binary file: golden answers, bad files, round trips, judges."""

from __future__ import annotations

import functools
import gzip
import importlib
import io
import json
import os
import pickle
import re
import sqlite3
import struct
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import hostile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import DATA
from verdicts import CLEAN, difference, judge, put

import vecio
from vecio import _effort
from vecio.errors import FormatError, UnsupportedError

WORDS = [b"the", "größe".encode(), "狐狸".encode(), b"x", b"two-part", "na\u00a0ve".encode()]
VECTORS = np.random.default_rng(3).standard_normal((6, 4)).astype(np.float32)
TRUTH = (WORDS, VECTORS)
#: name, main file; formats that vecio writes
WRITTEN = {"numpy": "m.npy", "parquet": "m.parquet", "arrow": "m.arrow"}


def needs(format: str) -> None:
    if format in ("parquet", "arrow"):
        pytest.importorskip("pyarrow")


@functools.cache
def written(format: str, dtype: str | None = None) -> dict[str, bytes]:
    """Return the files that vecio writes for the truth, the main one first."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / WRITTEN[format]
        vecio.Embeddings.from_arrays(WORDS, VECTORS, counts=range(9, 3, -1)).save(path, dtype=dtype)
        names = sorted((p.name for p in Path(folder).iterdir()), key=lambda name: name != path.name)
        return {name: (Path(folder) / name).read_bytes() for name in names}


# --- numpy --------------------------------------------------------------------------------------------------------


def npy(array: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, **options)
    return buffer.getvalue()


LINES = b"\n".join(WORDS) + b"\n"


@pytest.mark.parametrize("name", ["m.words.txt", "m.words", "m.vocab", "m.txt"])
def test_numpy_finds_the_words(name: str, tmp_path: Path) -> None:
    path = put(tmp_path, {"m.npy": npy(VECTORS), name: LINES}, "")
    with vecio.open(path) as e:
        assert e.format == "numpy" and difference(e, TRUTH) is None and e.counts is None
    (tmp_path / name).rename(tmp_path / "elsewhere")
    with pytest.raises(vecio.UnsupportedError, match=r"m\.words\.txt"):
        vecio.open(path)
    with vecio.open(path, words=tmp_path / "elsewhere") as e:
        assert difference(e, TRUTH) is None
    (tmp_path / "w.gz").write_bytes(gzip.compress(LINES))
    with vecio.open(path.read_bytes(), words=tmp_path / "w.gz") as e:
        assert difference(e, TRUTH) is None


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", ">f2", "<f8", ">f8", "i1", "u1", "<i2", ">i4", "<i8"])
def test_numpy_numbers(dtype: str, order: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.asarray(VECTORS * (20 if dtype[-2] in "iu" else 1)).astype(dtype, order=order)
    path = put(tmp_path, {"m.npy": npy(array), "m.words.txt": LINES}, "")
    for loaded in (False, True):
        monkeypatch.setattr(_effort, "_loaded", loaded)
        monkeypatch.setattr(_effort, "_spent", -1e9)
        with vecio.open(path) as e:
            assert difference(e, (WORDS, array.astype(np.float32))) is None
            assert hostile.inconsistency(e, CLEAN) is None


@pytest.mark.parametrize(
    "lines",
    [
        LINES[:-1],
        LINES.replace(b"\n", b"\r\n"),
        LINES.replace(b"\n", b"\r\n")[:-1],
        LINES.replace(b"\n", b"\r\n")[:-2],
        b"\xef\xbb\xbf" + LINES,
    ],
)
def test_numpy_line_ends(lines: bytes, tmp_path: Path) -> None:
    with vecio.open(put(tmp_path, {"m.npy": npy(VECTORS), "m.words.txt": lines}, "")) as e:
        assert difference(e, TRUTH) is None


def numpy_cases() -> Iterator[tuple[str, str, dict[str, bytes]]]:
    good = npy(VECTORS)
    for name, lines in (
        ("too few", LINES[4:]),
        ("too many", LINES + b"one more\n"),
        ("empty line more", LINES + b"\n"),
    ):
        yield name, "E", {"m.npy": good, "m.words.txt": lines}
    yield "no words at all", "E", {"m.npy": good, "m.words.txt": b""}

    def array(name: str, data: bytes, must: str = "E") -> tuple[str, str, dict[str, bytes]]:
        return name, must, {"m.npy": data, "m.words.txt": LINES}

    yield array("1-d", npy(VECTORS[0]))
    yield array("3-d", npy(VECTORS[None]))
    yield array("no rows", npy(VECTORS[:0]))
    yield array("no columns", npy(VECTORS[:, :0]))
    yield array("complex", npy(VECTORS.astype(np.complex64)))
    yield array("bool", npy(VECTORS > 0))
    yield array("text", npy(np.array([["a"] * 4] * 6)))
    yield array("objects", npy(np.array([[None] * 4] * 6, object)))
    yield array("records", npy(np.zeros(6, [("a", "f4"), ("b", "f4")])))
    yield array("bytes behind", good + b"\0")
    yield array("one byte short", good[:-1])
    yield array("another version", good[:6] + b"\x09" + good[7:])
    yield array("huge header", good[:6] + b"\x02\0" + b"\xff\xff\xff\x7f" + good[12:])
    for old, new in (
        (b"(6, 4)", b"(6, 5)"),
        (b"(6, 4)", b"(-6, -4)"),
        (b"(6, 4)", b"(2**3, 3)"),
        (b"(6, 4)", b"(4294967296, 4294967296)"),
        (b"(6, 4)", b"(99999999999999999999999, 4)"),
        (b"'<f4'", b"'<f9'"),
        (b"'<f4'", b"__import__('os')"),
        (b"False", b"0     "),
        (b"False", b"exit()"),
        (b"'shape'", b"'shapf'"),
        (b"'descr'", b"'shape'"),
    ):
        yield array(f"{old!r} -> {new!r}", good.replace(old, new))


@pytest.mark.parametrize("case", list(numpy_cases()), ids=lambda case: case[0])
def test_numpy_case(case: tuple[str, str, dict[str, bytes]], tmp_path: Path) -> None:
    path = put(tmp_path, case[2], "")
    error = judge(path, case[1], TRUTH)
    assert "m.words.txt" in str(error) or case[2]["m.words.txt"] == LINES


@pytest.mark.judge
def test_numpy_loads_what_is_written(tmp_path: Path) -> None:
    files = written("numpy")
    assert list(files) == ["m.npy", "m.words.txt"] and files["m.npy"] == npy(VECTORS)
    path = put(tmp_path, files, "")
    assert hostile.same(np.load(path, allow_pickle=False), VECTORS)
    assert files["m.words.txt"] == LINES


# --- tables -------------------------------------------------------------------------------------------------------


def table(columns: dict[str, Any], format: str = "parquet") -> bytes:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    made = pa.table(columns)
    buffer = io.BytesIO()
    if format == "parquet":
        pyarrow.parquet.write_table(made, buffer)
    else:
        with pa.ipc.new_file(buffer, made.schema) as writer:
            writer.write_table(made, max_chunksize=4)
    return buffer.getvalue()


def texts() -> list[str]:
    return [word.decode() for word in WORDS]


@pytest.mark.parametrize("format", ["parquet", "arrow"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
@pytest.mark.parametrize("shape", ["fixed", "list", "large", "columns"])
def test_table_shapes(format: str, dtype: str, shape: str, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    rows = VECTORS.astype(dtype)
    number = {"float16": pa.float16(), "float32": pa.float32(), "float64": pa.float64()}[dtype]
    kinds = {"fixed": pa.list_(number, 4), "list": pa.list_(number), "large": pa.large_list(number)}
    words: Any = pa.array(texts())
    if shape == "large":
        words = words.dictionary_encode()
    if shape == "list":
        words = pa.array(WORDS, pa.large_binary())
    columns = {"any name": words, "n": pa.array(range(6))}
    if shape == "columns":
        columns |= {f"c{j}": pa.array(rows[:, j]) for j in range(4)}
    else:
        columns["numbers"] = pa.array(list(rows), kinds[shape])
    path = put(tmp_path, table(columns, format), f"m.{format}")
    with vecio.open(path) as e:
        assert e.format == format and e.dtype == ("float16" if dtype == "float16" else "float32")
        assert difference(e, (WORDS, rows.astype(np.float32))) is None and e.counts is None
        assert hostile.inconsistency(e, CLEAN) is None


def table_cases() -> Iterator[tuple[str, Callable[[Any], dict[str, Any]]]]:
    yield "no words", lambda pa: {"v": [[1.0]]}
    yield "no vectors", lambda pa: {"w": ["a"]}
    yield "no rows", lambda pa: {"w": pa.array([], pa.string()), "v": pa.array([], pa.list_(pa.float32()))}
    yield "several texts", lambda pa: {"a": ["a"], "b": ["b"], "v": [[1.0]]}
    yield "several lists", lambda pa: {"a": ["a"], "v": [[1.0]], "w": [[1.0]]}
    yield "ragged", lambda pa: {"w": ["a", "b"], "v": [[1.0, 2.0], [1.0]]}
    yield "empty lists", lambda pa: {"w": ["a"], "v": pa.array([[]], pa.list_(pa.float32()))}
    yield "null word", lambda pa: {"w": ["a", None], "v": [[1.0], [2.0]]}
    yield "null vector", lambda pa: {"w": ["a", "b"], "v": [[1.0], None]}
    yield "null number", lambda pa: {"w": ["a", "b"], "v": [[1.0, 2.0], [1.0, None]]}
    yield "null in a column", lambda pa: {"w": ["a", "b"], "v": [1.0, None]}
    yield "null count", lambda pa: {"w": ["a", "b"], "v": [1.0, 2.0], "count": [1, None]}
    yield "fixed lists of 0", lambda pa: {"w": ["a"], "v": pa.array([[]], pa.list_(pa.float32(), 0))}


@pytest.mark.parametrize("format", ["parquet", "arrow"])
@pytest.mark.parametrize("case", list(table_cases()), ids=lambda case: case[0])
def test_table_case(case: tuple[str, Any], format: str, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    try:
        data = table(case[1](pa), format)
    except NotImplementedError:
        pytest.skip("pyarrow cannot write it")
    judge(put(tmp_path, data, "m"), "E")


def test_arrow_stays_in_place(tmp_path: Path) -> None:
    needs("arrow")
    path = put(tmp_path, written("arrow"), "")
    with vecio.open(path) as e:
        assert type(e._words).__name__ == "Scattered" and e.counts is not None
        assert e.counts.tolist() == list(range(9, 3, -1))


def test_parquet_bomb_is_refused(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    rows = 1 << 20
    made = pa.table({"w": pa.array(["a"] * rows), "v": pa.array([[0.0] * 8]).take(pa.array([0] * rows))})
    path = tmp_path / "m.parquet"
    pyarrow.parquet.write_table(made, path, compression="zstd")
    assert path.stat().st_size < 1 << 18
    judge(path, "E")


@pytest.mark.judge
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_pyarrow_reads_what_is_written(dtype: str, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.feather
    import pyarrow.parquet

    for format, read in (("parquet", pyarrow.parquet.read_table), ("arrow", pyarrow.feather.read_table)):
        path = put(tmp_path, written(format, dtype), "")
        found = read(path)
        assert found.column("word").to_pylist() == texts() and found.column("count").to_pylist() == [
            9,
            8,
            7,
            6,
            5,
            4,
        ]
        rows = np.array(found.column("vector").to_pylist(), dtype)
        assert rows.tobytes() == VECTORS.astype(dtype).tobytes()
        assert found.schema.field("vector").type == pa.list_(
            pa.float16() if dtype == "float16" else pa.float32(), 4
        )


@pytest.mark.heavy
def test_polars_reads_what_is_written(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    for format, read in (("parquet", polars.read_parquet), ("arrow", polars.read_ipc)):
        found = read(put(tmp_path, written(format), ""))
        assert found["word"].to_list() == texts() and hostile.same(found["vector"].to_numpy(), VECTORS)


# --- Magnitude ----------------------------------------------------------------------------------------------------

GOLDEN = json.loads((DATA / "magnitude" / "magnitude.json").read_text("utf-8"))["files"]


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("normalized", [False, True])
def test_magnitude_golden(name: str, normalized: bool) -> None:
    golden = GOLDEN[name]
    expected = golden["normalized" if normalized else "unnormalized"]
    with vecio.open(DATA / "magnitude" / name, normalized=normalized) as e:
        assert list(e.words) == golden["keys_in_row_order"] and e.format == "magnitude"
        for word in e.words:
            assert np.allclose(e[word], expected[word], atol=1e-6, rtol=0)
        assert e.metadata["precision"] == dict(golden["format"])["precision"]
        assert (e._parts.lengths is not None) == normalized
    data = (DATA / "magnitude" / name).read_bytes()
    with vecio.open(data) as e:
        assert list(e.words) == golden["keys_in_row_order"]


PLAIN = """CREATE TABLE magnitude (key TEXT COLLATE NOCASE, dim_0 INTEGER, dim_1 INTEGER, magnitude REAL);
CREATE TABLE magnitude_format (key TEXT COLLATE NOCASE, value INTEGER);
INSERT INTO magnitude VALUES ('a', 6, 8, 5.0), ('b', 8, 6, 0.5);
INSERT INTO magnitude_format VALUES ('version', 2), ('elmo', 0), ('size', 2), ('dim', 2), ('precision', 1);
"""
MAGNITUDE_TRUTH = ([b"a", b"b"], np.array([[3, 4], [0.4, 0.3]], np.float32))


@functools.cache
def database(script: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        base = sqlite3.connect(Path(folder) / "m")
        base.executescript("PRAGMA page_size = 512;" + script)
        base.commit()
        base.close()
        return (Path(folder) / "m").read_bytes()


MAGNITUDE = {
    "plain": ("O", PLAIN),
    "a trigger that is never run": (
        "O",
        PLAIN + "CREATE TRIGGER t AFTER INSERT ON magnitude BEGIN SELECT load_extension('x'); END;",
    ),
    "words twice": ("A", PLAIN.replace("('b'", "('a'")),
    "a view": (
        "E",
        PLAIN.replace("CREATE TABLE magnitude (", "CREATE TABLE other (").replace(
            "INSERT INTO magnitude VALUES",
            "CREATE VIEW magnitude AS SELECT * FROM other; INSERT INTO other VALUES",
        ),
    ),
    "an endless view": (
        "E",
        PLAIN.replace("CREATE TABLE magnitude (", "CREATE TABLE other (").replace(
            "INSERT INTO magnitude VALUES",
            "CREATE VIEW magnitude AS WITH RECURSIVE r(key) AS (SELECT 1 UNION ALL SELECT key FROM r) SELECT key,"
            " 1 dim_0, 1 dim_1, 1 magnitude FROM r; INSERT INTO other VALUES",
        ),
    ),
    "a generated column": (
        "E",
        PLAIN.replace("dim_1 INTEGER", "dim_1 INTEGER AS (abs(dim_0))").replace(
            "('a', 6, 8, 5.0), ('b', 8, 6, 0.5)", "('a', 6, 5.0), ('b', 8, 0.5)"
        ),
    ),
    "no settings": ("E", PLAIN.replace("magnitude_format", "magnitude_formax")),
    "settings a view": (
        "E",
        PLAIN.replace("magnitude_format", "f") + "CREATE VIEW magnitude_format AS SELECT * FROM f;",
    ),
    "other columns": ("E", PLAIN.replace("dim_1", "dim_2")),
    "dim wrong": ("E", PLAIN.replace("('dim', 2)", "('dim', 3)")),
    "no dim": ("E", PLAIN.replace("('dim', 2)", "('dom', 2)")),
    "dim is text": ("E", PLAIN.replace("('dim', 2)", "('dim', 'two')")),
    "size 0": ("E", PLAIN.replace("('size', 2)", "('size', 0)")),
    "size -1": ("E", PLAIN.replace("('size', 2)", "('size', -1)")),
    "size more": ("E", PLAIN.replace("('size', 2)", "('size', 3)")),
    "size fewer": ("E", PLAIN.replace("('size', 2)", "('size', 1)")),
    "size huge": ("E", PLAIN.replace("('size', 2)", "('size', 9223372036854775807)")),
    "precision 100": ("E", PLAIN.replace("('precision', 1)", "('precision', 100)")),
    "precision -1": ("E", PLAIN.replace("('precision', 1)", "('precision', -1)")),
    "elmo": ("E", PLAIN.replace("('elmo', 0)", "('elmo', 1)")),
    "null key": ("E", PLAIN.replace("('a'", "(NULL")),
    "blob key": ("A", PLAIN.replace("('a'", "(x'61ff'")),
    "null number": ("E", PLAIN.replace("6, 8", "6, NULL")),
    "text number": ("E", PLAIN.replace("6, 8", "6, 'eight'")),
    "null length": ("E", PLAIN.replace("5.0", "NULL")),
    "huge numbers": ("A", PLAIN.replace("6, 8, 5.0", "9223372036854775807, 8, 1e308")),
    "the table twice, by case": (
        "E",
        PLAIN.replace("CREATE TABLE magnitude_format", "CREATE TABLE x").replace(
            "INTO magnitude_format", "INTO x"
        ),
    ),
}


@pytest.mark.parametrize("name", MAGNITUDE)
def test_magnitude_case(name: str, tmp_path: Path) -> None:
    must, script = MAGNITUDE[name]
    path = put(tmp_path, database(script), "m.magnitude")
    judge(path, must, MAGNITUDE_TRUTH)
    judge(path, must, MAGNITUDE_TRUTH, format="magnitude")
    assert [p.name for p in tmp_path.iterdir()] == ["m.magnitude"], "a file was left"


def test_magnitude_of_a_name_with_signs(tmp_path: Path) -> None:
    path = put(tmp_path, database(PLAIN), "m %41?mode=rwc#x.magnitude")
    with vecio.open(path) as e:
        assert difference(e, MAGNITUDE_TRUTH) is None
    assert len(list(tmp_path.iterdir())) == 1


# --- navec --------------------------------------------------------------------------------------------------------

NAVEC = DATA / "navec" / "small.tar"


def navec_truth() -> tuple[list[bytes], np.ndarray]:
    found = json.loads(NAVEC.with_suffix(".json").read_text("utf-8"))
    rows = np.array([np.frombuffer(bytes.fromhex(text), "<f4") for text in found["vectors"]])
    return [word.encode() for word in found["words"]], rows


def test_navec_golden(monkeypatch: pytest.MonkeyPatch) -> None:
    for loaded in (False, True):
        monkeypatch.setattr(_effort, "_loaded", loaded)
        with vecio.open(NAVEC) as e:
            assert e.format == "navec" and e.dtype == "pq" and difference(e, navec_truth()) is None
            assert e.counts is not None and e.counts.tolist()[:2] == [30, 29] and e.metadata["protocol"] == 1
            assert hostile.inconsistency(e, CLEAN) is None


def archive(members: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name.partition("#")[0])
            info.size, info.type = len(data), kind
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def navec_parts(numbers: tuple[int, ...] = (3, 4, 2, 3), **changed: bytes) -> dict[str, bytes]:
    codes = bytes([0, 1, 2, 0, 1, 2])
    centroids = np.arange(12, dtype="<f4").tobytes()
    vocab = struct.pack("<4I", 3, 9, 8, 7) + "a\nслово\n<unk>".encode()
    parts = {
        "meta.json": b'{"id": "x", "protocol": 1}',
        "vocab.bin": gzip.compress(vocab, mtime=0),
        "pq.bin": struct.pack("<4I", *numbers) + codes + centroids,
    }
    return parts | {name.replace("_", "."): data for name, data in changed.items()}


def packed_words(text: bytes, count: int = 3) -> bytes:
    return gzip.compress(struct.pack(f"<{1 + count}I", count, *range(count)) + text, mtime=0)


def navec_cases() -> Iterator[tuple[str, str, bytes]]:
    good = archive(navec_parts())
    yield "good", "O", good
    yield "another order", "O", archive(dict(reversed(navec_parts().items())))
    yield (
        "a line end behind the last word",
        "O",
        archive(navec_parts(vocab_bin=packed_words("a\nслово\n<unk>\n".encode()))),
    )
    pq = navec_parts()["pq.bin"]
    for i, name in enumerate(("rows", "columns", "pieces", "centroids")):
        for value in (0, 1, 5, 257, 2**31 - 1, 2**32 - 1):
            numbers = [3, 4, 2, 3]
            numbers[i] = value
            yield f"{name} {value}", "E", archive(navec_parts(tuple(numbers)))
    yield "a code past the centroids", "E", archive(navec_parts(pq_bin=pq[:17] + b"\x03" + pq[18:]))
    yield "pq short", "E", archive(navec_parts(pq_bin=pq[:-1]))
    yield "pq long", "E", archive(navec_parts(pq_bin=pq + b"\0"))
    yield "pq of 3 bytes", "E", archive(navec_parts(pq_bin=b"abc"))
    for name in ("meta.json", "vocab.bin", "pq.bin"):
        yield f"no {name}", "E", archive({k: v for k, v in navec_parts().items() if k != name})
        yield f"{name} twice", "E", archive(navec_parts() | {f"{name}#2": navec_parts()[name]})
    for meta in (
        b"",
        b"[]",
        b"{}",
        b'{"protocol": 2}',
        b'{"protocol": true}',
        b"[" * 5000,
        b"\xff",
        b"1" * 5000,
    ):
        yield f"meta {meta[:20]!r}", "E", archive(navec_parts(meta_json=meta))
    for name, data in {
        "no gzip": b"abc",
        "cut gzip": navec_parts()["vocab.bin"][:-9],
        "bytes behind": navec_parts()["vocab.bin"] + b"x",
        "too few words": packed_words(b"a\nb"),
        "too many": packed_words(b"a\nb\nc\nd"),
        "count wrong": packed_words(b"a\nb", 2),
        "nothing": gzip.compress(b""),
        "cut counts": gzip.compress(struct.pack("<2I", 3, 1)),
        "bomb": packed_words(b"a" * (64 << 20)),
    }.items():
        yield f"words: {name}", "E", archive(navec_parts(vocab_bin=data))
    yield "links", "E", archive(dict.fromkeys(navec_parts(), b""), tarfile.SYMTYPE)
    yield "names that lead out", "E", archive({f"../../{k}": v for k, v in navec_parts().items()})
    yield "many members", "E", archive({f"f{i}": b"" for i in range(200)} | navec_parts())
    yield "another tar", "E", archive({"a.txt": b"hello"})
    yield "checksum", "E", good[:100] + b"7" + good[101:]
    yield "size not octal", "E", good[:124] + b"99999999999\0" + good[136:]


NAVEC_TRUTH = (
    [b"a", "слово".encode(), b"<unk>"],
    np.array([[0, 1, 8, 9], [4, 5, 6, 7], [2, 3, 10, 11]], np.float32),
)


@pytest.mark.parametrize("case", list(navec_cases()), ids=lambda case: case[0])
def test_navec_case(case: tuple[str, str, bytes], tmp_path: Path) -> None:
    path = put(tmp_path, case[2], "m.tar")
    judge(path, case[1], NAVEC_TRUTH)
    judge(path, case[1], NAVEC_TRUTH, format="navec", place=not re.match("meta|cut", case[0]))


@pytest.mark.judge
def test_navec_agrees(tmp_path: Path) -> None:
    navec = pytest.importorskip("navec")
    found = navec.Navec.load(str(NAVEC))
    with vecio.open(NAVEC) as e:
        assert list(e.words) == found.vocab.words and hostile.same(e.embed(list(e.words)), found.pq.unpack())


# --- GloVe's binary file ------------------------------------------------------------------------------------------


def test_glove_binary(tmp_path: Path) -> None:
    folder = DATA / "glove"
    entries = json.loads((folder / "glove.json").read_text("utf-8"))["entries"]
    with vecio.open(folder / "glove.bin", format="glove-binary", words=folder / "vocab.txt") as e:
        assert len(e) == 219 and e.counts is not None and e.counts[0] == 211
        for entry in entries[:-1]:
            word = entry["word"].encode("utf-8", "surrogateescape")
            assert np.allclose(e[word], np.frombuffer(bytes.fromhex(entry["vector"]), "<f4"), atol=1e-6)
        assert hostile.inconsistency(e, CLEAN) is None
    raw = np.fromfile(folder / "glove.bin", "<f8").reshape(438, 6)
    with vecio.open(
        folder / "glove.bin", format="glove-binary", words=folder / "vocab.txt", context=False
    ) as e:
        assert hostile.same(e.embed(list(e.words)), raw[:219, :5].astype(np.float32))
    with pytest.raises(vecio.UnsupportedError, match="words="):
        vecio.open(folder / "glove.bin", format="glove-binary")
    with pytest.raises(vecio.UnknownFormatError):
        vecio.open(folder / "glove.bin")
    data = (folder / "glove.bin").read_bytes()
    for lines in (b"a 1\n", b"a\n", b"a 1\n\nb 2\n", b"a x\n", b" 1\n", b"a 1\n" * 218):
        words = put(tmp_path, lines, "v.txt")
        path = put(tmp_path, data[:-8] if lines == b"a 1\n" else data, "g.bin")
        with pytest.raises(CLEAN):
            vecio.open(path, format="glove-binary", words=words)


# --- all of them --------------------------------------------------------------------------------------------------


def fuzz_bases() -> list[dict[str, bytes]]:
    """Return small valid files for tools/fuzz.py: a group each, the main file first."""
    found = [written("numpy"), {"m.magnitude": database(PLAIN)}, {"m.tar": archive(navec_parts())}]
    try:
        import pyarrow
    except ImportError:
        return found
    assert pyarrow
    return [*found, written("parquet"), written("arrow")]


class Base(NamedTuple):
    files: dict[str, bytes]
    truth: tuple[list[bytes], np.ndarray]


def base(name: str) -> Base:
    needs(name)
    if name == "magnitude":
        return Base({"m.magnitude": database(PLAIN)}, MAGNITUDE_TRUTH)
    if name == "navec":
        return Base({"m.tar": archive(navec_parts())}, NAVEC_TRUTH)
    return Base(written(name), TRUTH)


ALL = ["numpy", "parquet", "arrow", "magnitude", "navec"]


@pytest.mark.parametrize("name", ALL)
def test_cut(name: str, tmp_path: Path) -> None:
    """Cut at 200 places and near the end: refused, but for the filling of a tar."""
    files, truth = base(name)
    main, data = next(iter(files.items()))
    put(tmp_path, files, "")
    end = len(data.rstrip(b"\0")) if name == "navec" else len(data)
    for n in [*range(0, len(data), 1 + len(data) // 200), *range(len(data) - 12, len(data))]:
        (tmp_path / main).write_bytes(data[:n])
        try:
            judge(tmp_path / main, "E" if n < end else "X", truth)
        except AssertionError as problem:
            raise AssertionError(f"cut to {n} of {len(data)}: {problem}") from problem


@pytest.mark.parametrize("name", ALL)
def test_changed_bytes(name: str, tmp_path: Path) -> None:
    """Bytes changed to a few values: a model that does not contradict itself, or a clean error."""
    files, _ = base(name)
    main, data = next(iter(files.items()))
    put(tmp_path, files, "")
    step = 1 + len(data) // 150
    for i in range(0, len(data), step):
        for value in (0, 255, data[i] ^ 1 << i % 8):
            (tmp_path / main).write_bytes(data[:i] + bytes([value]) + data[i + 1 :])
            try:
                judge(tmp_path / main, "A")
            except AssertionError as problem:
                raise AssertionError(f"byte {i} is {value}: {problem}") from problem


@pytest.mark.parametrize("name", ALL)
def test_damage_that_knows_no_format(name: str, tmp_path: Path) -> None:
    files, truth = base(name)
    main, data = next(iter(files.items()))
    wrong = []
    for row, must, damaged, _ in hostile.cases_any(data, nul="A"):
        if name in ("magnitude", "navec", "parquet") and row.startswith(("C30", "C36")):
            must = "A"
        path = put(tmp_path, files | {main: damaged}, "")
        try:
            error = judge(path, "A" if must == "X" else must)
            if error is None and must == "X":
                with vecio.open(path) as e:
                    assert difference(e, truth) is None, "other vectors"
        except AssertionError as problem:
            wrong.append(f"{row}: {problem}")
    assert not wrong, "\n".join(wrong)


HOSTILE = [
    b"a b",
    b"",
    b" ",
    b"a\nb",
    b"\n",
    b"\0",
    "\u2028".encode(),
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"gr\xc3",
    b"\r",
    b"a\r",
]
keys = st.one_of(st.sampled_from(HOSTILE), st.binary(max_size=6))


@pytest.mark.parametrize("format", WRITTEN)
@settings(max_examples=40)
@given(words=st.lists(keys, min_size=1, max_size=6, unique=True), dim=st.integers(1, 4), data=st.data())
def test_what_is_written_is_read_back_or_refused(
    format: str, words: list[bytes], dim: int, data: st.DataObject
) -> None:
    needs(format)
    count = len(words) * dim
    bits = data.draw(st.lists(st.integers(0, 2**32 - 1), min_size=count, max_size=count))
    vectors = np.array(bits, np.uint32).view(np.float32).reshape(len(words), dim)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / WRITTEN[format]
        e = vecio.Embeddings.from_arrays(words, vectors)
        if format == "numpy" and any(b"\n" in word or word.endswith(b"\r") for word in words):
            with pytest.raises(vecio.UnsupportedError, match="cannot hold"):
                e.save(path)
            assert not os.listdir(folder)
            return
        e.save(path)
        with vecio.open(path) as again:
            assert difference(again, (words, vectors)) is None


@pytest.mark.parametrize("format", WRITTEN)
def test_written_again_is_the_same(format: str, tmp_path: Path) -> None:
    needs(format)
    files = written(format)
    path = put(tmp_path, files, "")
    with vecio.open(path) as e:
        e.save(path)
    assert {name: (tmp_path / name).read_bytes() for name in files} == files or format == "numpy"
    none = vecio.Embeddings.from_arrays([], np.empty((0, 3), np.float32))
    with pytest.raises(vecio.UnsupportedError, match="without words"):
        none.save(tmp_path / WRITTEN[format])
    with pytest.raises(ValueError, match="dtype"), vecio.open(path) as e:
        e.save(path, dtype="int8")


@pytest.mark.parametrize("name", ["parquet", "arrow", "magnitude"])
def test_decoded_rows_in_a_nameless_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("vecio.formats.base").RowTarget, "SCRATCH", 0)
    files, truth = base(name)
    if name == "arrow":
        files = written("arrow", "float16")
        truth = (WORDS, VECTORS.astype(np.float16).astype(np.float32))
    folder = tmp_path / "scratch"
    folder.mkdir()
    path = put(tmp_path, files, "")
    with vecio.open(path, scratch=str(folder)) as e:
        assert difference(e, truth) is None and not list(folder.iterdir())
        assert e._file is not None and e._file.size == path.stat().st_size and len(e._file.files) == 2
        assert difference(pickle.loads(pickle.dumps(e)), truth) is None


def test_arrow_of_parts_in_place_and_packed_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a later batch cannot be served in place, the earlier ones are copied, too."""
    pa = pytest.importorskip("pyarrow")
    path = tmp_path / "m.arrow"
    path.write_bytes(table({"w": texts(), "v": pa.array(list(VECTORS), pa.list_(pa.float32(), 4))}, "arrow"))
    module = importlib.import_module("vecio.formats.table")
    with vecio.open(path) as e:
        assert type(e._words).__name__ == "Scattered" and difference(e, TRUTH) is None
    take = module._Table.take_vectors

    def takes(self: Any, batch: Any, start: int, stop: int) -> None:
        if start:
            self.base += 1 << 60  # as if these numbers lay outside the file
        take(self, batch, start, stop)

    monkeypatch.setattr(module._Table, "take_vectors", takes)
    with vecio.open(path) as e:
        assert type(e._words).__name__ == "Float32" and difference(e, TRUTH) is None


# --- sizes that are counted before anything is made of them --------------------------------------------------------


def test_lines_without_rows_are_counted_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "a.npy", np.ones((3, 2), np.float32))
    (tmp_path / "a.words.txt").write_bytes(b"\n" * 1000)
    monkeypatch.setattr(importlib.import_module("vecio.formats.numpy_pair"), "lines", None)
    with pytest.raises(FormatError, match="expected 1000 rows, found 3"):
        vecio.open(tmp_path / "a.npy")
    (tmp_path / "g.bin").write_bytes(bytes(320))
    (tmp_path / "g.txt").write_bytes(b"a 1\n" * 11)
    with pytest.raises(FormatError, match="more words than there are vectors"):
        vecio.open(tmp_path / "g.bin", format="glove-binary", words=tmp_path / "g.txt")


def test_navec_centroids_that_grow_are_refused(tmp_path: Path) -> None:
    dim = 100_000
    pq = struct.pack("<4I", 1, dim, 1, 1) + bytes(1 + 4 * dim)
    (tmp_path / "n.tar").write_bytes(archive(navec_parts(pq_bin=pq)))
    with pytest.raises(UnsupportedError, match="more in memory"):
        vecio.open(tmp_path / "n.tar")


def test_vectors_beside_an_array_are_not_its_words(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.ones((3, 2), np.float32))
    (tmp_path / "m.txt").write_text("the 0.1 0.2\nof -0.3 1e-05\nand 1 2\n")
    with pytest.raises(vecio.FormatError, match=r"m\.txt.*not the words"):
        vecio.open(tmp_path / "m.npy")
    (tmp_path / "m.txt").write_text("the\nNew York 5\nand\n")
    with vecio.open(tmp_path / "m.npy") as e:
        assert list(e.words) == ["the", "New York 5", "and"]
