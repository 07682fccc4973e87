"""word2vec's binary files: the C tool's and gensim's to the bit, bad ones refused, what is written read by others.

The rows W1 .. W55 are those of the reliability table.
"""

from __future__ import annotations

import json
import os
import random
import re
import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import child
import hostile
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import DATA
from verdicts import CLEAN, difference, judge

import vecio
from vecio import _effort
from vecio.matrix import Scattered

FOLDER = DATA / "word2vec"
WORDS = [b"the", b"river", b"of", b"gr\xc3\xb6\xc3\x9fe", b"x", b"\xe7\x8b\x90", b"bank", b"and", b"stone"]
V, D = 9, 6


def values(rows: int = V, dim: int = D) -> np.ndarray:
    """Return numbers whose bytes are neither spaces nor line ends."""
    rng = np.random.default_rng(3)
    found = rng.standard_normal((rows, dim)).astype("<f4")
    odd = np.isin(found.view(np.uint8), (10, 13, 32)).reshape(rows, dim, 4).any(2)
    found[odd] = 0.5
    return found


def dump(
    words: list[bytes] = WORDS,
    vectors: np.ndarray | None = None,
    header: bytes | None = None,
    end: bytes = b"\n",
) -> bytes:
    """Return a file; every part of it may be wrong."""
    rows = values(len(words)) if vectors is None else vectors
    head = b"%d %d\n" % rows.shape if header is None else header
    return head + b"".join(word + b" " + row.tobytes() + end for word, row in zip(words, rows, strict=True))


TRUTH = (WORDS, values())
BODY = dump(header=b"")
PLAIN_BODY = dump(header=b"", end=b"")


def fuzz_bases() -> list[bytes]:
    """Return small valid files for tools/fuzz.py."""
    return [dump(), dump(end=b""), dump([b"a", b"b"], values(2, 1)), dump(WORDS * 5, values(45, 3))]


def answers(name: str) -> tuple[list[bytes], np.ndarray]:
    """Return the words and vectors that the real program's file holds."""
    found = json.loads((FOLDER / name).read_text("utf-8"))
    if "entries" in found:
        keys, hexes = zip(*((entry["word"], entry["vector"]) for entry in found["entries"]), strict=True)
    else:
        keys, hexes = found["keys"], found["vectors"]
    rows = np.array([np.frombuffer(bytes.fromhex(text), "<f4") for text in hexes])
    return [key.encode("utf-8", "surrogateescape") for key in keys], rows


@pytest.fixture(params=["plain", "kernels"])
def path_taken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to do the work: plain Python, and the kernels."""
    monkeypatch.setattr(_effort, "_loaded", request.param == "kernels")
    monkeypatch.setattr(_effort, "_spent", -1e9)
    return str(request.param)


# --- the real programs' files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["w2v-c-bin", "gensim"])
def test_real_file_to_the_bit(name: str, path_taken: str) -> None:
    truth = answers(f"{name}.json")
    with vecio.open(FOLDER / f"{name}.bin") as e:
        assert e.format == "word2vec" and e.dtype == "float32" and e.counts is None
        assert difference(e, truth) is None
        assert all(hostile.same(e[word], row) for word, row in zip(*truth, strict=True))


def test_c_file_is_written_again_byte_for_byte(tmp_path: Path) -> None:
    with vecio.open(FOLDER / "w2v-c-bin.bin") as e:
        e.save(tmp_path / "again.bin", format="word2vec")
    assert (tmp_path / "again.bin").read_bytes() == (FOLDER / "w2v-c-bin.bin").read_bytes()


def test_published_files(data_folder: Path) -> None:
    for name, rows, dim in (
        ("finalfusion/analogy.bin", 43, 100),
        ("finalfusion/similarity.bin", 41, 100),
        ("finalfusion/utf8-incomplete.bin", 3, 3),
        ("vectors/gensim-euclidean_vectors.bin", 2747, 10),
    ):
        with vecio.open(data_folder / "models" / name) as e:
            assert (len(e), e.dim, e.format) == (rows, dim, "word2vec")
            assert hostile.inconsistency(e, CLEAN) is None
            if name.endswith("utf8-incomplete.bin"):
                assert e.words[1].encode("utf-8", "surrogateescape") == b"zee\xbfn"


def test_both_paths_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [b"w%d" % (i * i) for i in range(3000)] + [b"w4", b"\xff\xfe"]
    path = tmp_path / "m.bin"
    path.write_bytes(dump(words, values(len(words), 7)))
    found = []
    for loaded in (False, True):
        monkeypatch.setattr(_effort, "_loaded", loaded)
        monkeypatch.setattr(_effort, "_spent", -1e9)
        with vecio.open(path) as e:
            found.append(
                (e.embed(list(e.words)), e.index(list(e.words)), e.nearest(["w1", "w9"], k=5), list(e.words))
            )
            assert isinstance(e._words, Scattered)
    assert hostile.same(found[0][0], found[1][0]) and (found[0][1] == found[1][1]).all()
    assert found[0][1][3000] == 2 and found[0][3] == found[1][3]
    for a, b in zip(found[0][2], found[1][2], strict=True):
        assert (a == b).all()


def test_matrix_over_byte_places() -> None:
    rows = values(50, 5)
    data = np.frombuffer(b"?" + b"ab".join(row.tobytes() for row in rows), np.uint8)
    matrix = Scattered(data, 1 + np.arange(50) * 22, 5)
    ids = np.array([[3, 3], [49, 0]])
    assert hostile.same(matrix.take(ids), rows[ids]) and hostile.same(matrix.row(7), rows[7])
    assert hostile.same(matrix.part(10, 20).block(2, 5), rows[12:15])
    assert len(matrix.part(4, 4)) == 0 and matrix.part(4, 4).block(0, 0).shape == (0, 5)
    assert matrix.take([]).shape == (0, 5)
    assert sum(a.nbytes for a in matrix.part(10, 20).arrays()) == 9 * 22 + 20


# --- options ------------------------------------------------------------------------------------------------------


def test_limit(tmp_path: Path, path_taken: str) -> None:
    path = tmp_path / "m.bin"
    path.write_bytes(dump())
    for limit in (0, 1, 4, 9, 100):
        with vecio.open(path, limit=limit) as e:
            assert difference(e, (WORDS[:limit], values()[:limit])) is None
    path.write_bytes(dump()[:-30] + b"not looked at" + bytes(17))
    with vecio.open(path, limit=3) as e:
        assert len(e) == 3
    with pytest.raises(ValueError, match="limit"):
        vecio.open(path, limit=-1)


def test_encoding_and_errors(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    words = [b"a", b"\xe4\xff", b"c"]
    path.write_bytes(dump(words))
    with vecio.open(path) as e:
        assert (
            "ä\xff".encode("latin-1") in e
            and [w.encode("utf-8", "surrogateescape") for w in e.words] == words
        )
    with vecio.open(path, encoding="latin-1") as e:
        assert list(e.words) == ["a", "äÿ", "c"] and hostile.same(e["äÿ"], values(3)[1])
    with vecio.open(path, errors="ignore") as e:
        assert list(e.words) == ["a", "", "c"]
    with pytest.raises(vecio.FormatError, match=r"m\.bin.*word 1 is not utf8"):
        vecio.open(path, errors="strict")
    with pytest.raises(ValueError, match="unknown encoding"):
        vecio.open(path, encoding="no such thing")
    with vecio.open(path, format="word2vec", binary=True) as e:
        assert len(e) == 3
    with pytest.raises(CLEAN):
        vecio.open(path, format="word2vec", binary=False)


# --- the battery --------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """row of the table, what it is, the verdict, the bytes, whether the structure shows what is wrong, what is said."""

    row: str
    what: str
    must: str
    data: bytes
    place: bool = False
    says: str | None = None


def _cut_cases() -> Iterator[Case]:
    whole, first = dump(), len(b"9 6\n")
    record = len(b"the ") + 4 * D + 1
    for n in (1, 2, 3):
        yield Case("W1", f"cut at {n}", "E", whole[:n])
    yield Case("W2", "no line feed", "E", b"9 6")
    yield Case("W3", "header only", "E", b"9 6\n", True)
    at = first + record + 2
    yield Case("W4", "in word 1", "E", whole[:at], True)
    long = dump([b"w" * 200 if i == 8 else w for i, w in enumerate(WORDS)])
    yield Case("W4", "in the last word", "E", long[: -4 * D - 50], True, "word 8")
    yield Case("W5", "before the last vector", "E", long[: -4 * D - 1], True, "word 8")
    yield Case("W6", "in the last vector", "E", long[:-9], True, "word 8")
    yield Case("W6", "one byte short", "E", whole[:-2], True, "word 8")
    yield Case("W7", "last line feed missing", "O", whole[:-1])


def _header_cases() -> Iterator[Case]:
    big = {"10^6": 10**6, "2^31-1": 2**31 - 1, "2^31": 2**31, "2^32": 2**32}
    huge = {"2^62": 2**62, "2^63-1": 2**63 - 1, "2^64": 2**64, "10^30": 10**30}

    def header(
        row: str, what: str, must: str, line: bytes, place: bool = True, says: str | None = None
    ) -> Case:
        return Case(row, what, must, line + BODY, place, says)

    yield header("W8", "0 rows", "E", b"0 6\n", False)
    yield header("W9", "-1 rows", "E", b"-1 6\n", False)
    yield header("W10", "rows one fewer", "E", b"8 6\n", says="behind the last")
    yield header("W11", "rows one more", "E", b"10 6\n")
    for name, n in big.items():
        yield header("W12", f"rows {name}", "E", b"%d 6\n" % n, says="do not fit")
        yield header("W17", f"columns {name}", "E", b"9 %d\n" % n)
    for name, n in huge.items():
        yield header("W13", f"rows {name}", "E", b"%d 6\n" % n)
        yield header("W18", f"columns {name}", "E", b"9 %d\n" % n)
    for n in (0, -1):
        yield header("W14", f"columns {n}", "E", b"9 %d\n" % n, False)
    yield header("W15", "columns one fewer", "A", b"9 5\n")
    yield header("W16", "columns one more", "E", b"9 7\n")
    for a, b in ((2**32, 2**32), (2**62, 4), (2**31, 2**31)):
        yield header("W19", f"{a} x {b}", "E", b"%d %d\n" % (a, b))
    yield header("W20", "both negative", "E", b"-9 -6\n", False)
    yield header("W21", "empty first line", "E", b"\n", False)
    yield header("W21", "empty line, then the header", "E", b"\n9 6\n", False)
    for row, line in (
        ("W22", b"9\n"),
        ("W22", b"9 6 1\n"),
        ("W23", b"nine six\n"),
        ("W23", b"nan inf\n"),
        ("W24", b"9.0 6.0\n"),
        ("W24", b"9e0 6e0\n"),
        ("W25", b"0x9 0x6\n"),
        ("W25", b"9_0 6\n"),
        ("W25", b"9 6_0\n"),
        ("W27", b"9,6\n"),
        ("W27", b"9\x006\n"),
        ("W28", b"9" * 5000 + b" 6\n"),
        ("W28", b"9 " + b"6" * 100000 + b"\n"),
        ("W29", b"\xff9 6\n"),
        ("W29", b"9\xff 6\n"),
        ("W31", b"9 6"),
        ("W31", b"9 6 "),
        ("W32", b""),
        ("W55", b" " * (1 << 20) + b"9 6\n"),
        ("W55", b"9" * (1 << 20) + b" 6\n"),
    ):
        yield header(row, ascii(line[:20].decode("latin-1")), "E", line, False)
    yield header("W26", "Arabic-Indic digits", "X", "٩ ٦\n".encode(), False)
    for line in (b"9\t6\n", b"9  6\n", b"  9 6\n", b"9 6\r\n", b"+9 +6\n", b"009 0006\n", b"9 6 \n"):
        yield header("W30", ascii(line.decode()), "X", line, False)
    yield header("W33", "two headers", "A", b"9 6\n9 6\n", False)


def _body_cases() -> Iterator[Case]:
    yield Case("W34", "no line feeds", "O", dump(end=b""))
    yield Case("W35", "a line feed before the first word", "X", b"9 6\n\n" + BODY)
    yield Case("W35", "the same without line feeds", "X", b"9 6\n\n" + PLAIN_BODY)
    yield Case("W36", "line feeds", "O", dump())
    for name, word in {
        "twice": b"the",
        "empty": b"",
        "bad UTF-8": b"\xff\xfe\x80",
        "cut in a character": b"gr\xc3",
        "NUL": b"a\0b",
        "tab": b"a\tb",
        "no-break space": b"a\xc2\xa0b",
        "line feed": b"a\nb",
        "line feed first": b"\nab",
        "300 KiB": b"ab" * 153600,
        "U+2028": "a\u2028b".encode(),
        "byte-order mark": b"\xef\xbb\xbfa",
        "CR": b"\ra\r",
        "CR and LF": b"\r\na",
    }.items():
        row = {"twice": "W37", "empty": "W38", "bad UTF-8": "W39", "cut in a character": "W39"}.get(
            name, "W40"
        )
        row = {"line feed": "W41", "line feed first": "W41", "300 KiB": "W42"}.get(name, row)
        renamed = [word if i == 4 else w for i, w in enumerate(WORDS)]
        exact = not word.startswith((b"\n", b"\r\n")) and b"\n" not in word
        for end in (b"\n", b""):
            yield Case(row, f"{name}, ending {end!r}", "O" if exact else "A", dump(renamed, end=end))
    yield Case("W43", "2 MiB without a space", "E", b"9 6\n" + b"\x01" * (2 << 20), True)
    yield Case("W44", "no space at all", "E", b"9 6\n" + BODY.replace(b" ", b"_"), True)
    for row, byte in (("W45", 32), ("W46", 10)):
        odd = values()
        odd[4] = np.frombuffer(bytes([byte]) * 4 * D, "<f4")
        for end in (b"\n", b""):
            yield Case(row, f"a vector of bytes {byte}, ending {end!r}", "O", dump(vectors=odd, end=end))
    for name, value in {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}.items():
        odd = values()
        odd[3] = value
        yield Case("W47", name, "O", dump(vectors=odd))
        yield Case("W47", f"all {name}", "O", dump(vectors=np.full((V, D), value, "<f4")))
    at = 4 + len(b"the ") + 4 * D + 1 + len(b"river ")
    whole, plain = dump(), dump(end=b"")
    yield Case("W48", "4 bytes short", "E", whole[:at] + whole[at + 4 :], True, "line end")
    yield Case("W48", "4 bytes short, without line feeds", "A", plain[: at - 1] + plain[at + 3 :])
    yield Case("W49", "4 bytes long", "E", whole[:at] + b"\x01\x02\x03\x04" + whole[at:], True)
    yield Case(
        "W49", "4 bytes long, no line feeds", "A", plain[: at - 1] + b"\x01\x02\x03\x04" + plain[at - 1 :]
    )
    for name, more in {"a byte": b"x", "NUL": b"\0", "4 KiB": bytes(4096), "itself": whole}.items():
        yield Case("W50", name, "X", whole + more, True)
        yield Case("W50", f"{name}, without line feeds", "X", plain + more, True)
    text = b"9 6\n" + b"".join(
        w + b" " + b" ".join(b"%.6f" % x for x in row) + b"\n" for w, row in zip(*TRUTH, strict=True)
    )
    yield Case("W51", "text", "A", text)  # test_text.py: the text format reads it
    rng = random.Random(1)
    for n in (100, 1000, 5000):
        yield Case("W52", f"noise of {n} bytes", "A", b"9 6\n" + rng.randbytes(n))
    for name in ("float64", "float16"):
        wide = [row.astype(name) for row in values()]
        body = b"".join(w + b" " + r.tobytes() + b"\n" for w, r in zip(WORDS, wide, strict=True))
        yield Case("W53", name, "E", b"9 6\n" + body, True)
    swapped = [row.astype(">f4") for row in values()]
    body = b"".join(w + b" " + r.tobytes() + b"\n" for w, r in zip(WORDS, swapped, strict=True))
    yield Case("C36", "big-endian vectors", "E", b"9 6\n" + body, True, "big-endian")
    short = [bytes([c]) for c in b"abcdefghi"]
    yield Case("W54", "one byte a word", "O", dump(short, values(9, 1)))


CASES = [*_cut_cases(), *_header_cases(), *_body_cases()]


def truth_of(case: Case) -> tuple[list[bytes], np.ndarray] | None:
    """Return what a file that must open holds, read by the plainest reader there is."""
    if case.must not in "OX":
        return None
    data = case.data
    rows, dim = (int(n) for n in data[: data.index(b"\n")].split())
    at, words, vectors = data.index(b"\n") + 1, [], []
    for _ in range(rows):
        while data[at : at + 1] == b"\n":
            at += 1
        end = data.index(b" ", at)
        words.append(data[at:end])
        vectors.append(np.frombuffer(data, "<f4", dim, end + 1))
        at = end + 1 + 4 * dim
    return words, np.array(vectors)


def test_every_row_of_the_table() -> None:
    rows = {case.row for case in CASES}
    assert [f"W{i}" for i in range(1, 56) if f"W{i}" not in rows] == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.row}-{case.what}")
def test_case(case: Case, tmp_path: Path, path_taken: str) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(case.data)
    try:
        truth = truth_of(case)
    except ValueError:  # digits that Python does not take
        truth = TRUTH
    error = judge(path, case.must, truth, place=case.place)
    assert error is None or case.says is None or re.search(case.says, str(error)), error
    judge(path, "A" if case.must == "O" and case.row == "W51" else case.must, truth, format="word2vec")


def test_says_float64(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    for name in ("float64", "float16"):
        rows = np.linspace(0.1, 3, 400).reshape(50, 8).astype(name)
        body = b"".join(b"w%d " % i + row.tobytes() + b"\n" for i, row in enumerate(rows))
        path.write_bytes(b"50 8\n" + body)
        with pytest.raises(vecio.FormatError, match=f"look like {name}"):
            vecio.open(path, format="word2vec")


def test_damage_that_knows_no_format(tmp_path: Path) -> None:
    """The rows C1 to C38; some of the damaged files may be another format by chance, none may contradict itself."""
    wrong = []
    for row, must, data, says in hostile.cases_any(dump(WORDS * 40, values(360)), nul="A"):
        path = tmp_path / "model.bin"
        path.write_bytes(data)
        try:
            error = judge(path, "A" if must == "X" else must)
            if error is None and must == "X":
                with vecio.open(path) as e:
                    assert difference(e, (WORDS * 40, values(360))) is None, "other vectors"
            assert error is None or says is None or re.search(says, str(error)), (
                f"does not say {says}: {error}"
            )
        except AssertionError as problem:
            wrong.append(f"{row}: {problem}")
    assert not wrong, "\n".join(wrong)


def test_cut_at_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    for end in (b"\n", b""):
        data = dump(end=end)
        for n in range(len(data)):
            path.write_bytes(data[:n])
            judge(path, "O" if end and n == len(data) - 1 else "E", TRUTH)


def test_every_byte_changed(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    data = dump(WORDS[:3])
    for i in range(len(data)):
        for value in (0, 10, 32, 255, data[i] ^ 1):
            path.write_bytes(data[:i] + bytes([value]) + data[i + 1 :])
            judge(path, "A")


def _measured(path: str) -> dict[str, Any]:
    import resource
    import time

    import vecio

    vecio.open  # noqa: B018
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    try:
        vecio.open(path, format="word2vec")
        error = None
    except vecio.VecioError as problem:
        error = str(problem)
    seconds = time.perf_counter() - begin
    return {
        "kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before,
        "seconds": seconds,
        "error": error,
    }


@pytest.mark.skipif(sys.platform != "linux", reason="a file with holes")
def test_hole_behind_a_valid_start(tmp_path: Path) -> None:
    """C39: refused, in no memory."""
    path = tmp_path / "model.bin"
    path.write_bytes(dump())
    os.truncate(path, 512 << 20)
    found = child.run(_measured, str(path))
    assert found["error"] is not None and found["kib"] < 32 << 10 and found["seconds"] < 2


# --- writing ------------------------------------------------------------------------------------------------------

HOSTILE = [
    b"a b",
    b"",
    b" ",
    b"a\nb",
    b"\n",
    b"\0",
    b"a\0",
    "\u2028".encode(),
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"gr\xc3",
    "\u00a0".encode(),
    b"\t",
    b"\r",
    b"a\r",
    b"</s>",
    b"9",
    b"x" * 100_000,
]

keys = st.one_of(
    st.sampled_from(HOSTILE),
    st.binary(max_size=6),
    st.text(max_size=4).map(lambda s: s.encode("utf-8", "surrogatepass")),
)
numbers = st.integers(0, 2**32 - 1)


@given(st.lists(keys, min_size=1, max_size=8, unique=True), st.integers(1, 4), st.data())
def test_what_is_written_is_read_back_or_refused(words: list[bytes], dim: int, data: st.DataObject) -> None:
    bits = data.draw(st.lists(numbers, min_size=len(words) * dim, max_size=len(words) * dim))
    vectors = np.array(bits, np.uint32).view(np.float32).reshape(len(words), dim)
    e = vecio.Embeddings.from_arrays(words, vectors)
    bad = [word for word in words if not word or b" " in word or b"\n" in word]
    path = Path(tempfile.gettempdir()) / f"vecio-w2v-{os.getpid()}.bin"
    try:
        if bad:
            with pytest.raises(vecio.UnsupportedError, match="cannot hold"):
                e.save(path, format="word2vec")
            return
        e.save(path, format="word2vec")
        with np.errstate(all="ignore"):
            swapped = np.abs(vectors.byteswap())
            big_endian = np.count_nonzero((swapped > 1e-8) & (swapped < 1e8)) * 10 > 9 * vectors.size
        if big_endian:
            return  # numbers that look like another machine's
        with vecio.open(path, format="word2vec") as again:
            assert difference(again, (words, vectors)) is None
    finally:
        path.unlink(missing_ok=True)


def test_drop_leaves_out_what_cannot_be_written(tmp_path: Path) -> None:
    e = vecio.Embeddings.from_arrays([b"a b", b"c", b""], values(3))
    e.save(tmp_path / "m.bin", format="word2vec", drop=True)
    with vecio.open(tmp_path / "m.bin") as again:
        assert difference(again, ([b"c"], values(3)[1:2])) is None


def test_writing_refuses(tmp_path: Path) -> None:
    e = vecio.Embeddings.from_arrays(WORDS, values())
    with pytest.raises(ValueError, match="dtype"):
        e.save(tmp_path / "m.bin", format="word2vec", dtype="int8")
    none = vecio.Embeddings.from_arrays([], np.empty((0, 3), np.float32))
    with pytest.raises(vecio.UnsupportedError, match="without words"):
        none.save(tmp_path / "m.bin", format="word2vec")
    assert not list(tmp_path.iterdir())


def test_over_the_file_that_is_open(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    path.write_bytes(dump())
    with vecio.open(path) as e:
        e.save(path, format="word2vec")
        assert difference(e, TRUTH) is None
    with vecio.open(path) as e:
        assert difference(e, TRUTH) is None


def test_cut_and_rewritten_while_open(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    path.write_bytes(dump(WORDS * 500, values(4500)))
    with vecio.open(path) as e:
        os.truncate(path, 100)
        with pytest.raises(vecio.FormatError, match="cut"):
            e["the"]


def test_report_of_a_conversion(tmp_path: Path) -> None:
    report = vecio.convert(DATA / "fasttext" / "sg-ns.bin", tmp_path / "m.bin", format="word2vec")
    assert report.format == "word2vec" and any("unknown" in line for line in report.lost)
    with vecio.open(DATA / "fasttext" / "sg-ns.bin") as a, vecio.open(tmp_path / "m.bin") as b:
        assert hostile.same(a.embed(list(b.words)), b.embed(list(b.words)))


@pytest.mark.judge
def test_gensim_reads_what_is_written(tmp_path: Path) -> None:
    models = pytest.importorskip("gensim.models")
    path = tmp_path / "m.bin"
    words = [
        b"the",
        "größe".encode(),
        "狐狸".encode(),
        "a\u2028b".encode(),
        "x\u00a0y".encode(),
        b"a\tb",
        b"\r",
    ]
    vectors = values(len(words), 5)
    vectors[2] = np.frombuffer(b"\n" * 10 + b" " * 10, "<f4")
    vecio.Embeddings.from_arrays(words, vectors).save(path, format="word2vec")
    found = models.KeyedVectors.load_word2vec_format(str(path), binary=True)
    assert [key.encode() for key in found.index_to_key] == words and hostile.same(found.vectors, vectors)


@pytest.mark.judge
def test_finalfusion_reads_what_is_written(tmp_path: Path) -> None:
    finalfusion = pytest.importorskip("finalfusion")
    path = tmp_path / "m.bin"
    vecio.Embeddings.from_arrays(WORDS, values()).save(path, format="word2vec")
    found = finalfusion.load_word2vec(str(path))
    unit = values() / np.linalg.norm(values(), axis=1, keepdims=True)
    assert [word.encode() for word in found.vocab.words] == WORDS
    assert np.allclose(np.asarray(found.storage), unit, atol=1e-6)


def test_header_twin() -> None:
    """The header of what is written is the shortest there is."""
    assert dump().startswith(b"9 6\nthe " + struct.pack("<f", float(values()[0, 0])))
