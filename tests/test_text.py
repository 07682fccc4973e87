"""Text vectors: every number to the bit, bad files refused with their line, what is written read back by others.

The rows T1 .. T74 of the reliability table are in `hostile_text.py`. Both ways of parsing, plain Python and the
compiled chunks, are asked for everything.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import os
import random
import re
import sys
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import hostile
import hostile_text
import numpy as np
import pytest
from hostile_text import HEADER, TABLE, TRUTH, WORDS, Case, body, good, lines
from hypothesis import given
from hypothesis import strategies as st
from models import DATA
from verdicts import CLEAN, difference, judge

import vecio
from vecio import _text
from vecio._binary import MappedFile
from vecio.errors import FormatError, VecioError
from vecio.formats import reopen
from vecio.formats import tsv as tsv_format


def fuzz_bases() -> list[bytes | dict[str, bytes]]:
    """Return small valid files for tools/fuzz.py."""
    table = b"".join(line.split(b" ", 1)[1].replace(b" ", b"\t") + b"\n" for line in lines())
    return [
        good(),
        good(False),
        body(lines(sep=b"\t"), b"\r\n"),
        b"4 1\na 0.5\nb 1e-05\nc d -0.25\n nan\n",
        {"vectors.tsv": table, "metadata.tsv": b"".join(word + b"\n" for word in WORDS)},
    ]


@pytest.fixture(params=["plain", "compiled"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Parse (and write) in plain Python, or by the kernels."""
    loaded = request.param == "compiled"
    monkeypatch.setattr("vecio._effort._loaded", loaded)
    if not loaded:
        monkeypatch.setattr("vecio._effort.START", 1e9)
    return str(request.param)


# -- files of others -----------------------------------------------------------------------------------------------


def entries(found: list[dict[str, str]]) -> tuple[list[bytes], np.ndarray]:
    words = [entry["word"].encode("utf-8", "surrogateescape") for entry in found]
    return words, np.array([np.frombuffer(bytes.fromhex(entry["vector"]), "<f4") for entry in found])


def plainly(data: bytes) -> tuple[list[bytes], np.ndarray]:
    """Read a well-formed file in the plainest way: the oracle of the files that come without answers."""
    rows = [line.rstrip(b" ").split(b" ") for line in data.split(b"\n")[1:-1]]
    return [row[0] for row in rows], np.array([[np.float32(float(v)) for v in row[1:]] for row in rows])


@pytest.mark.parametrize("path", sorted(DATA.glob("*/*.vec")), ids=lambda path: path.stem)
def test_vec_of_fasttext_and_floret(path: Path, way: str) -> None:
    words, rows = plainly(path.read_bytes())
    with vecio.open(path) as e:
        assert e.format == "text"
        assert difference(e, (words, rows)) is None


def test_word2vec_text(way: str) -> None:
    answers = json.loads((DATA / "word2vec" / "w2v-c-bin.json").read_text("utf-8"))
    words, rows = entries(answers["entries"])
    with vecio.open(DATA / "word2vec" / "w2v-c-txt.txt") as e:
        assert (len(e), e.dim, e.format) == (219, 6, "text")
        assert [e._vocabulary.entry(i) for i in range(219)] == words
        assert np.abs(e._block(0, 219) - rows).max() <= 5.1e-7  # six decimals


@pytest.mark.parametrize(("name", "format"), [("w2v.txt", "text"), ("w2v-noheader.txt", "glove")])
def test_gensim_text(name: str, format: str, way: str) -> None:
    answers = json.loads((DATA / "gensim" / "gensim.json").read_text("utf-8"))["files"][name]
    rows = np.array([np.frombuffer(bytes.fromhex(v), "<f4") for v in answers["vectors"]])
    with vecio.open(DATA / "gensim" / name) as e:
        assert e.format == format
        assert difference(e, ([key.encode() for key in answers["keys"]], rows)) is None


@pytest.mark.parametrize("name", ["glove.txt", "glove-header.txt"])
def test_glove(name: str, way: str) -> None:
    """The header of GloVe's tool does not count its last row, `<unk>`: it is read all the same."""
    answers = json.loads((DATA / "glove" / "glove.json").read_text("utf-8"))
    words, rows = entries(answers["entries"])
    with vecio.open(DATA / "glove" / name) as e:
        assert e.format == ("glove" if name == "glove.txt" else "text")
        assert (len(e), e.words[-1]) == (220, "<unk>")
        for word, row in zip(words, rows, strict=True):
            assert hostile.same(e[word], row)


def test_glove_with_both_vectors_and_biases(way: str) -> None:
    with vecio.open(DATA / "glove" / "glove-model0.txt") as e:
        assert (len(e), e.dim) == (220, 12)


def test_published_samples(data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECIO_CACHE", str(tmp_path))
    for name, shape in {
        "vectors/glove.6B.50d.head76.txt": (76, 50),
        "vectors/glove.6B.100d.sample.txt.gz": (100, 100),
        "vectors/googlenews-1000.vec.gz": (1000, 300),
        "vectors/EN.1-10.cbow1_wind5_hs0_neg10_size300.txt": (20, 300),
        "finalfusion/similarity.txt": (41, 100),
        "finalfusion/similarity.nodims": (41, 100),
        "finalfusion/utf8-incomplete.dims": (3, 3),
    }.items():
        with vecio.open(data_folder / "models" / name) as e:
            assert (len(e), e.dim) == shape, name
    with vecio.open(data_folder / "models/finalfusion/similarity.txt") as a:
        with vecio.open(data_folder / "models/finalfusion/similarity.bin") as b:
            assert list(a.words) == list(b.words)
            assert hostile.same(a._block(0, 41), b._block(0, 41))


# -- numbers -------------------------------------------------------------------------------------------------------


def strings(count: int, seed: int) -> list[bytes]:
    """Return numbers as text: usual ones, long ones, tiny and huge ones, and ones just between two float32."""
    rng = random.Random(seed)

    def float32(bits: int) -> float:
        return float(np.array([bits], np.uint32).view(np.float32)[0])

    def halfway() -> str:
        bits = rng.randrange(1, 0x7F7FFFFF)
        with localcontext() as context:
            context.prec = 400
            middle = (Decimal(float32(bits)) + Decimal(float32(bits + 1))) / 2
            digits, _, power = format(middle, rng.choice("fe")).partition("e")
        digits += "" if "." in digits else "."
        digits = rng.choice([digits, digits + "0001", digits + "000", digits[: rng.randrange(8, 30)]])
        return f"{digits}e{power}" if power else digits

    makers = [
        lambda: f"{rng.randrange(10)}.{''.join(rng.choices('0123456789', k=rng.randrange(1, 22)))}",
        lambda: f"{rng.randrange(10 ** rng.randrange(1, 25))}e{rng.randrange(-70, 45)}",
        lambda: f"{rng.gauss(0, 1) * 10.0 ** rng.randrange(-8, 8):.{rng.randrange(1, 18)}g}",
        halfway,
        lambda: repr(float32(rng.randrange(1, 0x7F7FFFFF))),
        lambda: str(rng.randrange(2 ** rng.randrange(20, 70))),
        lambda: "0." + "0" * rng.randrange(50) + str(rng.randrange(10 ** rng.randrange(1, 20))),
        lambda: f"{rng.gauss(0, 1) * 10.0 ** rng.randrange(-46, 39):.18e}",
        lambda: f"{rng.gauss(0, 1):.5g}",
        lambda: f"{rng.gauss(0, 1):.6f}",
    ]
    found = [rng.choice(makers)() for _ in range(count)]
    return [(text if text[0] == "-" else rng.choice(["", "-", "+"]) + text).encode() for text in found]


def test_every_number_is_that_of_strtof(way: str, tmp_path: Path) -> None:
    library = ctypes.util.find_library("c")
    if library is None or sys.platform == "win32":
        pytest.skip("needs the C library's strtof")
    strtof = ctypes.CDLL(library).strtof
    strtof.restype, strtof.argtypes = ctypes.c_float, [ctypes.c_char_p, ctypes.c_void_p]
    fields = strings(8000, 5)
    path = tmp_path / "x.vec"
    path.write_bytes(b"8000 1\n" + b"".join(b"w %b\n" % field for field in fields))
    with vecio.open(path) as e:
        found = e._block(0, len(e))[:, 0]
    right = np.array([strtof(field, None) for field in fields], np.float32)
    wrong = np.flatnonzero(found.view(np.uint32) != right.view(np.uint32))
    assert not len(wrong), [(fields[i], found[i], right[i]) for i in wrong[:5]]


def test_halfway_cases() -> None:
    for text, bits in (
        ("1.000000059604644775390625", 0x3F800000),  # between 1 and the next: the even one
        ("1.000000059604644775390625000000000000000000000001", 0x3F800001),
        ("1.000000059604644775390624999999999999999999999999", 0x3F800000),
        ("1.000000178813934326171875", 0x3F800002),
        ("340282356779733661637539395458142568448", 0x7F800000),  # between the largest and 2^128
        ("340282356779733661637539395458142568447.99", 0x7F7FFFFF),
        ("7.006492321624085354618e-46", 0x00000000),  # just below half of the least
        ("7.006492321624085354619e-46", 0x00000001),
        ("-7.006492321624085354619e-46", 0x80000001),
    ):
        found = np.array([_text.exactly(text.encode())])
        assert found.view(np.uint32)[0] == bits, text
        assert hostile.same(found, _text.to_float32([text.encode()])), text


def test_locale_does_not_matter(tmp_path: Path) -> None:
    """T73: a decimal comma of the process changes nothing."""
    import locale

    before = locale.setlocale(locale.LC_NUMERIC)
    try:
        for name in ("de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "C"):
            try:
                locale.setlocale(locale.LC_NUMERIC, name)
                break
            except locale.Error:
                continue
        path = tmp_path / "x.vec"
        path.write_bytes(good())
        judge(path, "O", TRUTH)
    finally:
        locale.setlocale(locale.LC_NUMERIC, before)


# -- bad files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", list(hostile_text.cases()), ids=lambda case: case.id)
def test_case(case: Case, way: str, tmp_path: Path) -> None:
    path = tmp_path / "model.vec"
    path.write_bytes(case.data)
    truth = None if case.must == "A" else case.truth
    judge(path, case.must, truth, place=case.place)
    if not case.id.startswith("T72"):
        for name in ("text", "glove"):
            judge(path, case.must, truth, place=case.place, format=name)


@pytest.mark.parametrize("header", [True, False])
def test_cut_at_every_byte(header: bool, way: str, tmp_path: Path) -> None:
    path, data = tmp_path / "x.vec", good(header)
    last = len(lines()[-1].rsplit(b" ", 1)[1])
    for n in range(1, len(data), 1 if way == "plain" else 5):
        path.write_bytes(data[:n])
        whole_number = n >= len(data) - last
        error = judge(path, "A" if whole_number or not header else "E")
        assert not header or n != len(data) - 1 or error is None


def test_flipped_bytes(way: str, tmp_path: Path) -> None:
    path, data = tmp_path / "x.vec", bytearray(good())
    for place in range(0, len(data), 3 if way == "plain" else 11):
        for value in (0, 10, 32, 9, 46, 53, 101, 255):
            old, data[place] = data[place], value
            path.write_bytes(data)
            judge(path, "A")
            data[place] = old


def test_errors_say_line_word_and_column(tmp_path: Path, way: str) -> None:
    path = tmp_path / "x.vec"
    for rows, says in (
        (hostile_text.with_token(b"0,5"), r"line 6, word 'x': column 3: expected a number, found '0,5'"),
        (
            hostile_text.changed(4, b"x 1 2 3"),
            r"line 6, word 'x': expected a word and 6 numbers, found 3 columns",
        ),
        (hostile_text.changed(4, lines()[4] + b" 1"), r"line 6, word 'x': .* 6 numbers, found 7 columns"),
        (hostile_text.changed(4, b"x"), r"line 6, word 'x': .* found 0 columns"),
        (hostile_text.changed(4, b""), r"line 6 is empty"),
        (lines()[:5], r"fewer rows than the header says: expected 9 rows, found 5 rows"),
        (lines() + lines(), r"more rows than the header says .*expected 9 rows, found more than 10"),
    ):
        path.write_bytes(HEADER + body(rows))
        error = judge(path, "E", place=True)
        assert re.search(says, str(error)), error
    path.write_bytes(body(hostile_text.with_token(b"x5", 2, 5)))
    error = judge(path, "E", place=True)
    assert isinstance(error, vecio.FormatError) and error.offset is not None
    assert path.read_bytes()[error.offset :].startswith(b"x5"), error


def test_odd_rows_in_many_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks smaller than a line, lines longer than a chunk, any number of threads: the same rows, the same error."""
    words = [*WORDS * 20, b"long" * 300, b"new york", b"", b" x", b"a b c d", *WORDS]
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((len(words), 6)).astype(np.float32)
    tokens = [[f"{v:.9g}".encode() for v in row] for row in rows]
    tokens[7][3], tokens[150][0] = b"1.000000059604644775390625", b"1e-42"
    rows[7, 3], rows[150, 0] = 1, 1e-42
    data = body(lines(words, tokens))
    broken = data.replace(tokens[60][2], b"1_0").replace(tokens[120][1], b"--1")
    path = tmp_path / "x.vec"
    messages = set()
    for loaded, chunk, threads in (
        (0, 1 << 20, 1),
        (1, 64, 1),
        (1, 64, 3),
        (1, 700, 2),
        (1, 1 << 20, 2),
        (1, 1, 2),
    ):
        monkeypatch.setattr("vecio._effort._loaded", bool(loaded))
        monkeypatch.setattr(_text, "CHUNK", chunk)
        monkeypatch.setattr(_text, "WINDOW", max(chunk, 50))
        monkeypatch.setenv("VECIO_THREADS", str(threads))
        for header in (b"", b"%d 6\n" % len(words), b"%d 6\n" % (len(words) - 1)):
            path.write_bytes(header + data)
            with vecio.open(path) as e:
                assert difference(e, (words, rows)) is None
            for n in (0, 1, 13, len(words)):
                with vecio.open(path, limit=n) as e:
                    assert len(e) == n == len(e._words)
                    assert hostile.same(e._block(0, n), rows[:n])
            path.write_bytes(header + broken)
            with pytest.raises(vecio.FormatError) as caught:
                vecio.open(path)
            messages.add(
                str(caught.value).replace(f"line {62 if header else 61}", "line 61").split(": ", 2)[2]
            )
    assert len(messages) == 1 and "line 61, word 'bank': column 3" in messages.pop()


def test_file_cut_while_it_is_read(tmp_path: Path, way: str) -> None:
    path = tmp_path / "x.vec"
    path.write_bytes(good())
    file = MappedFile.open(path)
    os.truncate(path, 60)
    with pytest.raises(vecio.FormatError, match="cut"):
        _text.parse(file, 4, file.size - 1, _text.Layout(6, declared=9, first_line=2))
    file.close()


def test_hole_behind_the_rows(tmp_path: Path, way: str) -> None:
    """C39: half a gigabyte of nothing is refused without being read."""
    path = tmp_path / "x.vec"
    for header in (True, False):
        path.write_bytes(good(header))
        os.truncate(path, 512 << 20)
        judge(path, "E", place=True)


def test_endless_first_line(tmp_path: Path) -> None:
    """C26: one token, larger than any line."""
    path = tmp_path / "x.vec"
    with open(path, "wb") as stream:
        for _ in range(40):
            stream.write(b"x" * (1 << 20))
    judge(path, "E")
    judge(path, "E", format="glove")


# -- options -------------------------------------------------------------------------------------------------------


def test_limit_needs_only_those_rows(tmp_path: Path, way: str) -> None:
    path = tmp_path / "x.vec"
    path.write_bytes(b"1000 6\n" + body() + b"broken\n" + body() * 4000)
    with vecio.open(path, limit=5) as e:
        assert difference(e, (WORDS[:5], TABLE[:5])) is None
    judge(path, "E", limit=10)
    path.write_bytes(good() + body())  # more than declared: those that are
    with vecio.open(path, limit=9) as e:
        assert difference(e, TRUTH) is None
    with pytest.raises(ValueError, match="limit"):
        vecio.open(path, limit=-1)


def test_no_header(tmp_path: Path, way: str) -> None:
    path = tmp_path / "x.vec"
    path.write_bytes(good(False))
    with vecio.open(path, no_header=True) as e:
        assert difference(e, TRUTH) is None
    judge(path, "E", place=True, no_header=False)
    path.write_bytes(good())
    judge(path, "E", place=True, no_header=True)
    with vecio.open(path, no_header=False) as e:
        assert difference(e, TRUTH) is None
    path.write_bytes(b"5 1\n7 2\n8 3\n")  # rows of one number, which look like a header
    with vecio.open(path, format="glove", no_header=True) as e:
        assert list(e.words) == ["5", "7", "8"]
    judge(path, "E")


def test_counts_are_not_taken_for_vectors(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(b"the 100\nof 50\n")
    with pytest.raises(vecio.UnknownFormatError, match="counts"):
        vecio.open(path)
    with vecio.open(path, format="glove") as e:
        assert e["of"].tolist() == [50.0]
    path.write_bytes(b"0.5 1.5 2.5\n0.1 0.2 0.3\n")
    with pytest.raises(vecio.UnknownFormatError, match="no words"):
        vecio.open(path)


def test_encoding_and_errors(tmp_path: Path, way: str) -> None:
    path = tmp_path / "x.vec"
    path.write_bytes(b"3 2\ngr\xf6\xdfe 1 2\n\xff 3 4\n\xfe 5 6\n")
    with vecio.open(path) as e:
        assert [e._vocabulary.entry(i) for i in range(3)] == [b"gr\xf6\xdfe", b"\xff", b"\xfe"]
    with vecio.open(path, encoding="latin-1") as e:
        assert list(e.words) == ["größe", "ÿ", "þ"]
    with pytest.raises(vecio.FormatError):
        vecio.open(path, encoding="utf-8")
    with vecio.open(path, errors="replace") as e:
        assert list(e.words) == ["gr\ufffd\ufffde", "\ufffd", "\ufffd"]
        assert e["\ufffd"].tolist() == [3, 4]  # the first of equal words
    with vecio.open(path, errors="ignore") as e:
        assert list(e.words) == ["gre", "", ""]
    with pytest.raises(ValueError):
        vecio.open(path, encoding="no such")


def test_result_in_a_nameless_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vecio._effort._loaded", True)
    monkeypatch.setattr(_text, "SCRATCH", 0)
    monkeypatch.setattr(_text, "CHUNK", 300)
    path = tmp_path / "x.vec"
    path.write_bytes(good())
    for scratch in (True, str(tmp_path)):
        with vecio.open(path, scratch=scratch) as e:
            assert difference(e, TRUTH) is None
            assert not e._words.values.flags.writeable  # type: ignore[attr-defined]
            assert e._file is not None and e._file.size == path.stat().st_size
            copy = reopen(str(path), e._file.identity(), {})
            assert difference(copy, TRUTH) is None
            e.save(tmp_path / "y.vec")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["x.vec", "y.vec"]
    judge(tmp_path / "y.vec", "O", TRUTH)


# -- writing -------------------------------------------------------------------------------------------------------


def model(words: list[bytes], rows: np.ndarray) -> vecio.Embeddings:
    return vecio.Embeddings.from_arrays(words, rows)


def all_kinds_of_floats() -> np.ndarray:
    rng = np.random.default_rng(2)
    bits = [rng.integers(0, 2**32, 6000, dtype=np.uint64), (np.arange(1, 255) << 23)[:, None] + [-1, 0, 1]]
    bits += [np.arange(2**k - 2, 2**k + 2) for k in range(2, 31)]
    tens = np.array([10.0**k for k in range(-45, 39)], np.float32)
    values = np.concatenate([np.ravel(b).astype(np.uint32).view(np.float32) for b in bits])
    usual = rng.standard_normal(3000).astype(np.float32)
    special = np.array([0, -0.0, np.nan, np.inf, -np.inf], np.float32)
    near = [np.nextafter(tens, np.float32(end)) for end in (-np.inf, np.inf)]
    values = np.concatenate([values, tens, *near, usual, np.round(usual, 4), special])
    return values[: len(values) // 5 * 5].reshape(-1, 5)


def test_numbers_are_written_shortest(way: str, tmp_path: Path) -> None:
    rows = all_kinds_of_floats()
    words = [b"w%d" % i for i in range(len(rows))]
    model(words, rows).save(tmp_path / "x.vec")
    data = (tmp_path / "x.vec").read_bytes()
    found = [line.split(b" ")[1:] for line in data.split(b"\n")[1:-1]]
    right = [[repr(float(str(v))).encode() for v in row] for row in rows]
    assert found == right
    with vecio.open(tmp_path / "x.vec") as e:
        assert hostile.same(e._block(0, len(e)), rows)


def test_laid_out_as_gensim_does(way: str, tmp_path: Path) -> None:
    for name in ("w2v.txt", "w2v-noheader.txt"):
        with vecio.open(DATA / "gensim" / name) as e:
            e.save(tmp_path / "x", format=e.format)
        assert (tmp_path / "x").read_bytes() == (DATA / "gensim" / name).read_bytes()


HOSTILE = st.binary(max_size=12) | st.text(max_size=8).map(lambda t: t.encode("utf-8", "surrogatepass"))
PIECES = st.lists(
    st.sampled_from([b" ", b"1", b"a", b"0.5", b"\t", b"\r", b"nan", b"\xef\xbb\xbf", b"\x00"]), max_size=6
)
FLOATS = st.floats(width=32, allow_subnormal=True)


@given(data=st.data())
@pytest.mark.parametrize("format", ["text", "glove", "tsv"])
def test_round_trip_or_refusal(
    format: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    words = data.draw(st.lists(HOSTILE | PIECES.map(b"".join), min_size=1, max_size=5, unique=True))
    dim = data.draw(st.integers(1, 4))
    rows = np.array(
        data.draw(
            st.lists(st.lists(FLOATS, min_size=dim, max_size=dim), min_size=len(words), max_size=len(words))
        ),
        np.float32,
    )
    check_round_trip(words, rows, format, tmp_path_factory.mktemp("r"))


def check_round_trip(words: list[bytes], rows: np.ndarray, format: str, folder: Path) -> None:
    path = folder / "vectors.tsv"
    try:
        model(words, rows).save(path, format=format)
    except vecio.UnsupportedError:
        assert not list(folder.iterdir())
        return
    with vecio.open(path, format=format) as e:
        assert difference(e, (words, rows)) is None
    for name in os.listdir(folder):
        (folder / name).unlink()


@pytest.mark.parametrize(
    "words",
    [[b"a b"], [b" "], [b""], [b" a"], [b"a 1"], [b"1 a"], [b"a 1 2 b"], [b"a\tb"], [b"\t0.5"], [b"x", b"a\t0.5"],
     [b"\xef\xbb\xbf"], [b"x", b"\xef\xbb\xbfy"], [b"a\r"], [b"\r"], [b"5"], [b"5 5"], [b"#"], [b"a" * 70_000],
     [b"a" * 70_000 + b" b", b"\x00"], [b"1", b"2"], [b"nan", b"inf"]],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("format", ["text", "glove", "tsv"])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_hostile_words(words: list[bytes], format: str, dim: int, way: str, tmp_path: Path) -> None:
    check_round_trip(words, np.full((len(words), dim), 3, np.float32), format, tmp_path)


def test_model_without_words_is_refused(tmp_path: Path) -> None:
    empty = model([], np.empty((0, 3), np.float32))
    for format in ("text", "glove", "tsv"):
        with pytest.raises(vecio.UnsupportedError):
            empty.save(tmp_path / "x.tsv", format=format)
    assert not list(tmp_path.iterdir())


def test_threads_write_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vecio._effort._loaded", True)
    rows = np.random.default_rng(0).standard_normal((5000, 7)).astype(np.float32)
    words = [b"w%d" % i for i in range(len(rows))]
    found = set()
    for threads in (1, 2, 5):
        monkeypatch.setenv("VECIO_THREADS", str(threads))
        model(words, rows).save(tmp_path / "x.vec")
        found.add((tmp_path / "x.vec").read_bytes())
    assert len(found) == 1


def test_progress_and_report(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    (tmp_path / "x.vec").write_bytes(good())
    report = vecio.convert(tmp_path / "x.vec", tmp_path / "y.txt", progress=lambda *c: calls.append(c))
    assert calls[-1] == (9, 9) and report.format == "text" and not report.approximated and not report.lost
    report = vecio.convert(DATA / "fasttext" / "cbow-ns.bin", tmp_path / "z.vec")
    assert any("unknown" in what for what in report.lost) and any("counts" in what for what in report.lost)


# -- the pair of the embedding projector ---------------------------------------------------------------------------


def pair(folder: Path, metadata: bytes, vectors: bytes | None = None) -> Path:
    (folder / "metadata.tsv").write_bytes(metadata)
    path = folder / "vectors.tsv"
    path.write_bytes(fuzz_bases()[-1]["vectors.tsv"] if vectors is None else vectors)  # type: ignore[call-overload]
    return path


WORD_LINES = b"".join(word + b"\n" for word in WORDS)


@pytest.mark.parametrize(
    ("metadata", "must"),
    [
        (WORD_LINES, "O"),
        (WORD_LINES[:-1], "O"),
        (WORD_LINES.replace(b"\n", b"\r\n"), "X"),
        (b"\xef\xbb\xbf" + WORD_LINES, "X"),
        (b"word\tcount\n" + WORD_LINES.replace(b"\n", b"\t7\n"), "O"),
        (b"count\tword\n" + b"".join(b"5\t" + word + b"\n" for word in WORDS), "O"),
        (b"a\tb\n" + WORD_LINES.replace(b"\n", b"\tx\n"), "O"),
        (b"word\n" + WORD_LINES, "E"),
        (WORD_LINES + b"more\n", "E"),
        (WORD_LINES[4:], "E"),
        (b"word\tcount\n" + WORD_LINES, "E"),
        (b"", "E"),
        (WORD_LINES.decode().encode("utf-16"), "E"),
    ],
    ids=range(13),
)
def test_tsv_words(metadata: bytes, must: str, tmp_path: Path) -> None:
    path = pair(tmp_path, metadata)
    try:
        with vecio.open(path) as e:
            assert must in "XO" and e.format == "tsv"
            assert difference(e, TRUTH) is None
    except CLEAN as error:
        assert must in "EX" and "tsv" in str(error)


def test_tsv_vectors(tmp_path: Path, way: str) -> None:
    rows = [line.split(b" ", 1)[1].replace(b" ", b"\t") for line in lines()]
    for wrong in (rows[4] + b"\t1", rows[4][:-8], b"", rows[4].replace(b"\t", b" "), b"x" + rows[4]):
        path = pair(tmp_path, WORD_LINES, body([*rows[:4], wrong, *rows[5:]]))
        judge(path, "E", place=True)
    for each in (body(rows, b"\r\n"), body([row + b"\t" for row in rows]), b"\xef\xbb\xbf" + body(rows)):
        judge(pair(tmp_path, WORD_LINES, each), "X", TRUTH)
    with vecio.open(pair(tmp_path, WORD_LINES), limit=3) as e:
        assert difference(e, (WORDS[:3], TABLE[:3])) is None
    os.rename(tmp_path / "metadata.tsv", tmp_path / "other")
    judge(tmp_path / "vectors.tsv", "E")
    with vecio.open(tmp_path / "vectors.tsv", format="tsv", words=str(tmp_path / "other")) as e:
        assert difference(e, TRUTH) is None


def test_tsv_keeps_counts_under_the_projectors_rule(tmp_path: Path) -> None:
    e = vecio.Embeddings.from_arrays(["a", "b c"], [[1, 2], [3, 4]], counts=[7, 5])
    e.save(tmp_path / "vectors.tsv")
    assert (tmp_path / "metadata.tsv").read_bytes() == b"word\tcount\na\t7\nb c\t5\n"
    assert (tmp_path / "vectors.tsv").read_bytes() == b"1.0\t2.0\n3.0\t4.0\n"
    with vecio.open(tmp_path / "vectors.tsv") as back:
        assert back.counts is not None and back.counts.tolist() == [7, 5]
        back.save(tmp_path / "x.vec")
    with vecio.open(tmp_path / "x.vec") as plain:
        plain.save(tmp_path / "my_vectors.tsv")
    assert (tmp_path / "my_metadata.tsv").read_bytes() == b"a\nb c\n"
    assert tsv_format.metadata_path("x/w2v_tensor.tsv") == os.path.join("x", "w2v_metadata.tsv")
    assert tsv_format.metadata_path("model.tsv") == "model-metadata.tsv"


# -- the other side ------------------------------------------------------------------------------------------------


@pytest.mark.judge
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_gensim_reads_what_is_written(tmp_path: Path, way: str) -> None:
    models = pytest.importorskip("gensim.models")
    rng = np.random.default_rng(4)
    words = ["the", "größe", "狐狸", "no\u00a0break", "a\u2028b", "1984", "x"]
    rows = rng.standard_normal((len(words), 20)).astype(np.float32) * np.float32(10) ** rng.integers(
        -30, 30, 20
    )
    rows = rows.astype(np.float32)
    e = model([word.encode() for word in words], rows)
    for format, header in (("text", True), ("glove", False)):
        e.save(tmp_path / "x", format=format)
        kv: Any = models.KeyedVectors.load_word2vec_format(str(tmp_path / "x"), no_header=not header)
        assert kv.index_to_key == words
        assert hostile.same(kv.vectors, rows)


@pytest.mark.judge
def test_what_gensim_writes(tmp_path: Path, way: str) -> None:
    models = pytest.importorskip("gensim.models")
    kv: Any = models.KeyedVectors(5)
    rows = all_kinds_of_floats()
    words = [f"w{i}" for i in range(len(rows))]
    kv.add_vectors(words, rows)
    for header in (True, False):
        kv.save_word2vec_format(str(tmp_path / "x.vec"), write_header=header)
        with vecio.open(tmp_path / "x.vec") as e:
            assert difference(e, ([word.encode() for word in words], rows)) is None
            assert e.format == ("text" if header else "glove")


@pytest.mark.judge
def test_finalfusion_reads_what_is_written(tmp_path: Path) -> None:
    finalfusion = pytest.importorskip("finalfusion")
    e = model(WORDS, TABLE)
    e.save(tmp_path / "x.vec")
    e.save(tmp_path / "x.glove", format="glove")
    for found in (
        finalfusion.load_text_dims(str(tmp_path / "x.vec")),
        finalfusion.load_text(str(tmp_path / "x.glove")),
    ):
        assert [word.encode() for word in found.vocab.words] == WORDS
        rows = np.array([found.storage[i] * found.norms[i] for i in range(len(WORDS))])
        assert np.abs(rows - TABLE).max() < 1e-6


@pytest.mark.judge
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_tsv_of_gensim(tmp_path: Path) -> None:
    script: Any = pytest.importorskip("gensim.scripts.word2vec2tensor")
    source = DATA / "gensim" / "w2v.txt"
    script.word2vec2tensor(str(source), str(tmp_path / "x"))
    with vecio.open(tmp_path / "x_tensor.tsv") as e, vecio.open(source) as right:
        assert e.format == "tsv" and list(e.words) == list(right.words)
        assert hostile.same(e._block(0, len(e)), right._block(0, len(right)))


def test_text_is_the_name_of_vec_and_txt() -> None:
    known = {f["name"]: f["extensions"] for f in vecio.formats()}
    assert known["text"] == [".vec", ".txt"] and known["tsv"] == [".tsv"] and known["glove"] == []


# --- what would be read as something else --------------------------------------------------------------------------


@pytest.mark.parametrize("word", [b"\xff\xfea", b"a\0b\0c\0d\0"])
def test_a_first_word_that_looks_like_utf_16(word: bytes, tmp_path: Path) -> None:
    e = vecio.Embeddings.from_arrays([word, b"b"], np.ones((2, 3), np.float32))
    with pytest.raises(VecioError, match="UTF-16"):
        e.save(tmp_path / "x.txt", format="glove")
    if word.startswith(b"\xff"):
        with pytest.raises(VecioError, match="UTF-16"):
            e.save(tmp_path / "vectors.tsv")
    assert not list(tmp_path.iterdir())
    e.save(tmp_path / "x.vec")
    assert vecio.open(tmp_path / "x.vec")._vocabulary.entry(0) == word


def test_counts_that_a_tsv_cannot_hold_are_said_to_be_lost(tmp_path: Path) -> None:
    e = vecio.Embeddings.from_arrays(["a", "b"], np.ones((2, 3), np.float32), counts=[10**18, 1])
    e.save(tmp_path / "m.safetensors")
    report = vecio.convert(tmp_path / "m.safetensors", tmp_path / "vectors.tsv")
    assert "the counts of the words" in report.lost
    assert vecio.open(tmp_path / "vectors.tsv").counts is None


def test_words_without_vectors_are_counted_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vectors.tsv").write_bytes(b"1\t2\n3\t4\n")
    (tmp_path / "metadata.tsv").write_bytes(b"\t\n" * 1000)
    monkeypatch.setattr(tsv_format, "_words", None)
    with pytest.raises(FormatError, match="expected 2 lines, found 999"):
        vecio.open(tmp_path / "vectors.tsv")


def test_words_with_spaces_are_lost_to_other_readers(tmp_path: Path) -> None:
    e = vecio.Embeddings.from_arrays(["New York", "house"], [[1.0, 2.0], [3.0, 4.0]])
    e.save(tmp_path / "a.safetensors")
    report = vecio.convert(tmp_path / "a.safetensors", tmp_path / "a.vec")
    assert any("1 words with spaces" in text for text in report.lost)
    with pytest.raises(vecio.VecioError, match="spaces"):
        vecio.convert(tmp_path / "a.safetensors", tmp_path / "b.vec", strict=True)
    with vecio.open(tmp_path / "a.vec") as back:
        assert list(back.words) == ["New York", "house"]
