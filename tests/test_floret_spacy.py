"""floret's text files and spaCy's folders: answers to the bit, bad ones refused, what is written is read by spaCy.

The rows R (floret text), P (spaCy) and N (.npy headers) are tables of this file, in the manner of the reliability
table; C stands for what any file may suffer.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import pickle
import random
import shutil
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import hostile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import DATA
from verdicts import CLEAN, judge

import vecio
from vecio import _effort, _msgpack, _npy, _spacy_keys
from vecio._binary import MappedFile
from vecio.embeddings import Embeddings, Parts
from vecio.formats.spacy import _words, read_strings
from vecio.matrix import Float16, Float32
from vecio.subwords import KINDS, Subwords
from vecio.vocabulary import Vocabulary

SPACY, FLORET = DATA / "spacy", DATA / "floret"
GOLDEN = json.loads((SPACY / "spacy.json").read_text("utf-8"))
FOLDERS = list(GOLDEN["dirs"])
TABLES = [name for name in FOLDERS if "floret" in name]
NAMES = ("hc1", "hc2", "hc4")
ODD_WORDS = [
    "the",
    "",
    "NOUN",
    "nsubj",
    "a b",
    "\0",
    "\u2028",
    "\ufeff",
    "狐",
    "x" * 5000,
    " lead",
    "trail ",
    '"',
    "\\",
    "\n\r\t",
    "\x7f",
]


def bits(vector: Any) -> list[int]:
    found: list[int] = np.ascontiguousarray(vector, np.float32).view(np.uint32).tolist()
    return found


def wanted(hexadecimal: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(hexadecimal), "<f4")


@pytest.fixture(params=[False, True], ids=["plain", "kernels"])
def compiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Ask everything once in plain Python, once by the kernels."""
    monkeypatch.setattr(_effort, "_loaded", request.param)
    monkeypatch.setattr(_effort, "_spent", -1e9)
    return bool(request.param)


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def put(folder: Path, files: dict[str, bytes]) -> Path:
    """Write a folder of vectors and return it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def npy(values: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, values, **options)
    return stream.getvalue()


def mapped(data: bytes) -> MappedFile:
    return MappedFile.of_bytes([data], "some.file")


def fuzz_bases() -> list[bytes | dict[str, bytes]]:
    """Return small valid files for tools/fuzz.py; a folder by its files, as that of a pipeline."""
    found: list[bytes | dict[str, bytes]] = [(FLORET / "floret-hc4.floret").read_bytes()]
    for name in ("default", "keys-only", "from-floret-hc4"):
        found.append({f"vocab/{file}": data for file, data in files_of(SPACY / name).items()})
    return found


# -- .npy headers ----------------------------------------------------------------------------------------------------

ARRAYS = [
    np.arange(12, dtype="<f4").reshape(3, 4),
    np.arange(6, dtype=">i2"),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array(3.0),
    np.array(["a", "größer"]),
    np.array([b"xx", b"y"]),
    np.zeros((0, 300), "<f4"),
    np.array([True, False]),
    np.arange(24, dtype="<f2").reshape(2, 3, 4),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype.str}-{a.shape}")
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_npy_arrays(array: np.ndarray, version: tuple[int, int]) -> None:
    data = npy(array, version=version)
    found = _npy.array(mapped(data))
    assert found.dtype == array.dtype and found.shape == array.shape and np.array_equal(found, array)
    assert not found.flags.writeable
    inside = mapped(b"xyz" + data)  # as part of another file
    assert np.array_equal(_npy.array(inside, 3), array)
    if version == (1, 0) and not (array.ndim > 1 and np.isfortran(array)):
        assert data.startswith(_npy.header(array.dtype, array.shape))


def test_npy_of_python_2() -> None:
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L), }".ljust(117) + b"\n"
    data = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(24)
    assert _npy.array(mapped(data)).shape == (2, 3)


def npy_cases() -> Iterator[tuple[str, bytes]]:
    whole = npy(ARRAYS[0])

    def header(text: bytes, body: bytes = bytes(64)) -> bytes:
        return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body

    for n in range(len(whole)):
        yield f"N1:cut at {n}", whole[:n]
    yield "N2:version 0", whole[:6] + b"\0\0" + whole[8:]
    yield "N2:version 4", whole[:6] + b"\4\0" + whole[8:]
    yield "N3:length past the end", whole[:8] + b"\xff\x20" + whole[10:]
    yield "N3:length 4 GiB", b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(200)
    plain = "{'descr': %s, 'fortran_order': %s, 'shape': %s}"
    for descr in (
        "'|O'",
        "'O'",
        "'<f4O'",
        "[('a', '<f4')]",
        "'<c8'",
        "'<M8[s]'",
        "'|V2'",
        "'<f3'",
        "''",
        "4",
    ):
        yield f"N4:dtype {descr}", header((plain % (descr, "False", "(2, 2)")).encode())
    for shape in ("(-1, 2)", "(2, 99)", "(9999999999999999999, 2)", "(2,) * 3", "2", "[2, 2]", "(2.0, 2)"):
        yield f"N5:shape {shape}", header((plain % ("'<f4'", "False", shape)).encode())
    yield "N5:2^62 x 4", header((plain % ("'<f4'", "False", "(4611686018427387904, 4)")).encode())
    yield "N5:huge x 0", header((plain % ("'<f4'", "False", "(4611686018427387904, 4, 0)")).encode())
    yield "N5:nine dimensions", header((plain % ("'<f4'", "False", "(1,1,1,1,1,1,1,1,1)")).encode())
    yield "N6:fortran_order 2", header((plain % ("'<f4'", "2", "(2, 2)")).encode())
    yield "N6:fortran_order a string", header((plain % ("'<f4'", "'True'", "(2, 2)")).encode())
    yield "N7:a key missing", header(b"{'descr': '<f4', 'shape': (2, 2)}")
    yield (
        "N7:a key twice",
        header(b"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 2)}"),
    )
    yield "N7:a call", header(b"{'descr': '<f4', 'fortran_order': False, 'shape': tuple((2, 2))}")
    yield "N8:brackets", header(b"(" * 9000)
    yield "N8:junk", header(random.Random(1).randbytes(100))


@pytest.mark.parametrize("data", [pytest.param(d, id=i) for i, d in npy_cases() if d])
def test_npy_refused(data: bytes) -> None:
    with pytest.raises(vecio.VecioError) as info:
        _npy.array(mapped(data))
    assert "some.file" in str(info.value)


def test_npy_bytes_changed() -> None:
    whole = npy(ARRAYS[0])
    for i, value in itertools.product(range(128), (0, 32, 39, 48, 57, 128, 255)):
        try:
            found = _npy.array(mapped(whole[:i] + bytes([value]) + whole[i + 1 :]))
        except vecio.VecioError:
            continue
        assert found.nbytes <= 48


# -- keys ------------------------------------------------------------------------------------------------------------


def packed(words: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    return np.frombuffer(b"".join(words), np.uint8), np.cumsum([0, *map(len, words)])


def test_keys_are_those_of_spacy() -> None:
    symbols = json.loads((SPACY / "symbols.json").read_text("utf-8"))
    for table in (GOLDEN["hashes"], symbols):
        words = [word.encode() for word in table]
        assert [_spacy_keys.key(word) for word in words] == list(table.values())
        assert _spacy_keys.keys(*packed(words)).tolist() == list(table.values())


@given(st.lists(st.binary(max_size=40), max_size=60))
def test_keys_of_many(words: list[bytes]) -> None:
    words = words * 3  # several of one length
    assert _spacy_keys.keys(*packed(words)).tolist() == [_spacy_keys.key(word) for word in words]


pairs = st.dictionaries(st.integers(0, 2**64 - 1), st.integers(0, 2**63 - 1), max_size=40)


@settings(deadline=None)
@given(pairs, st.booleans())
def test_maps_come_back(found: dict[int, int], kernels: bool) -> None:
    keys = np.array(list(found), np.uint64)
    values = np.array(list(found.values()), np.int64)
    data = b"".join(_msgpack.map_pieces(keys, values))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_effort, "_loaded", kernels)
        read_keys, read_values = _msgpack.read_map(mapped(data))
    assert dict(zip(read_keys.tolist(), read_values.tolist(), strict=True)) == found
    assert read_keys.tolist() == list(found)


@pytest.mark.parametrize("count", [0, 15, 16, 65535, 65536])
def test_maps_of_all_sizes(count: int, compiled: bool) -> None:
    numbers = np.arange(count) * 7
    data = b"".join(_msgpack.map_pieces(numbers.astype(np.uint64), numbers))
    keys, values = _msgpack.read_map(mapped(data))
    assert np.array_equal(keys, numbers) and np.array_equal(values, numbers)


def test_numbers_of_every_form(compiled: bool) -> None:
    forms = [b"\x05", b"\xcc\x05", b"\xcd\x00\x05", b"\xce\x00\x00\x00\x05", b"\xcf" + bytes(7) + b"\x05"]
    forms += [b"\xd0\x05", b"\xd1\x00\x05", b"\xd2\x00\x00\x00\x05", b"\xd3" + bytes(7) + b"\x05"]
    for a, b in itertools.product(forms, forms):
        keys, values = _msgpack.read_map(mapped(b"\x81" + a + b))
        assert keys.tolist() == [5] and values.tolist() == [5]


def test_equal_keys(compiled: bool) -> None:
    keys, values = _msgpack.read_map(mapped(b"\x84\x05\x01\x06\x02\x05\x03\x07\x04"))
    assert dict(zip(keys.tolist(), values.tolist(), strict=True)) == {5: 3, 6: 2, 7: 4}
    assert keys.tolist() == [5, 6, 7]


MAPS = {
    "P1:no map": b"\x93\x01\x02\x03",
    "P1:an array of maps": b"\x91\x81\x01\x02",
    "P1:nil": b"\xc0",
    "P2:more pairs than bytes": b"\xdf\xff\xff\xff\xff" + bytes(100),
    "P2:more pairs than keys": b"\xdf\x00\x0f\xff\xff" + bytes(1 << 21),
    "P2:one pair too many": b"\x83\x01\x02\x03\x04",
    "P2:cut in the count": b"\xdf\x00\x00",
    "P3:deep maps": b"\x81" * 100000,
    "P3:deep arrays": b"\x81\x01" + b"\x91" * 100000,
    "P4:a string as key": b"\x81\xa1a\x01",
    "P4:a float as row": b"\x81\x01\xca\x00\x00\x00\x00",
    "P4:a negative key": b"\x81\xff\x01",
    "P4:a negative row": b"\x81\x01\xd0\xff",
    "P4:true as row": b"\x81\x01\xc3",
    "P5:a row beyond 2^63": b"\x81\x01\xcf" + b"\xff" * 8,
    "P6:cut in a key": b"\x81\xcf\x01",
    "P6:cut in a row": b"\x81\x01\xcd\x01",
    "P7:bytes after the map": b"\x81\x01\x02\x00",
}


@pytest.mark.parametrize("data", MAPS.values(), ids=MAPS)
def test_maps_refused(data: bytes, compiled: bool) -> None:
    with pytest.raises(vecio.FormatError) as info:
        _msgpack.read_map(mapped(data))
    assert info.value.offset is not None and "some.file" in str(info.value)


def test_damaged_maps_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel and plain Python read the same, or refuse in the same words."""
    rng = random.Random(2)
    keys = np.array([rng.getrandbits(64) for _ in range(12)], np.uint64)
    whole = b"".join(_msgpack.map_pieces(keys, np.arange(12) * 9000))
    for _ in range(300):
        data = bytearray(whole[: rng.choice([len(whole), rng.randrange(1, len(whole))])])
        data[rng.randrange(len(data))] = rng.choice([0xCF, 0xD3, 0xCC, 0x81, 0xFF, rng.randrange(256)])
        answers: list[Any] = []
        for kernels in (False, True):
            monkeypatch.setattr(_effort, "_loaded", kernels)
            monkeypatch.setattr(_effort, "_spent", -1e9)
            try:
                answers.append([a.tolist() for a in _msgpack.read_map(mapped(bytes(data)))])
            except vecio.FormatError as error:
                answers.append(str(error))
        assert answers[0] == answers[1]


def test_strings() -> None:
    strings = ["a", "größer", "狐", '"\\/\b\f\n\r\t', "\ud800", "", "\U0001f98a"]
    plain = [string for string in strings if string != "\ud800"]
    for chosen, text in (
        (strings, json.dumps(strings)),
        (strings, json.dumps(strings, indent=3)),
        (plain, json.dumps(plain, ensure_ascii=False)),
    ):
        blob, offsets = read_strings(mapped(text.encode()))
        found = [bytes(blob[a:b]) for a, b in itertools.pairwise(offsets.tolist())]
        assert found == [string.encode("utf-8", "surrogatepass") for string in chosen]
    assert len(read_strings(mapped(b" [ \n ] \n"))[1]) == 1


def test_long_strings() -> None:
    """A string that does not fit into what is read at a time, with escapes of all kinds at its end, or none."""
    long = "x" * (1 << 20)
    strings = [long, long + "\\", long + '"', '\\"' * (1 << 19), "\\" * (1 << 19), " ", '\\\\"']
    blob, offsets = read_strings(mapped(json.dumps(strings).encode()))
    found = [bytes(blob[a:b]).decode() for a, b in itertools.pairwise(offsets.tolist())]
    assert found == strings
    began = time.perf_counter()
    for broken in (b'["' + b'\\"' * (2 << 20), b'["' + b"\\" * (4 << 20)):
        with pytest.raises(vecio.FormatError):
            read_strings(mapped(broken))
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b'"a"',
        b"[1]",
        b'["a" "b"]',
        b'["a",]',
        b'["a"',
        b'["a]',
        b'["a\x00"]',
        b'["\\x41"]',
        b'["\\u12"]',
        b'["a"] ["b"]',
        b'[["a"]]',
        b"[" * 100000,
        b'["\xff"]',
        b"[,]",
        b"['a']",
        b"\xef\xbb\xbf[]",
        b'["' + b"a" * 100000,
        b'["' + b"\\" * 100001,
    ],
    ids=lambda data: ascii(data[:12]),
)
def test_strings_refused(data: bytes) -> None:
    with pytest.raises(vecio.FormatError) as info:
        read_strings(mapped(data))
    assert info.value.offset is not None


# -- spaCy's folders -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FOLDERS)
def test_spacy_answers(name: str, compiled: bool) -> None:
    golden = GOLDEN["dirs"][name]
    assert vecio.detect(SPACY / name) == "spacy"
    with vecio.open(SPACY / name) as e:
        words = list(golden["vectors"])
        batch = e.embed(words, "zero")
        for word, vector, answer in zip(words, batch, golden["vectors"].values(), strict=True):
            assert bits(vector) == bits(wanted(answer)), (
                word
            )  # floret mode, too: the same sums in the same order
            assert bits(e[word]) == bits(wanted(answer)) and e.can_embed(word)
        for word, strings in golden.get("ngrams", {}).items():
            assert list(dict.fromkeys(s for s, _ in e.subwords(word))) == list(dict.fromkeys(strings))
        for word, row in golden.get("rows", {}).items():
            assert (row >= 0) == (word in e)
        assert hostile.inconsistency(e, CLEAN) is None
        assert e.dtype == "float32" and e.format == "spacy"


def test_spacy_default_mode() -> None:
    with vecio.open(SPACY / "default") as e:
        words = ["the", "THE", "größe", "狐狸", "🦊", "x", "new york", "NOUN", "e\u0301"]
        assert list(e.words) == words  # by row, then in the order of the keys
        assert e.metadata == {"mode": "default", "rows": 9, "keys": 9, "keys_without_string": 0}
        assert bits(e["the"]) == bits(e["THE"]) and "missing" not in e
        with pytest.raises(vecio.WordError):
            e["missing"]
        assert [word for word, _ in e.most_similar("the", topn=1)] == ["THE"]


def test_spacy_keys_without_strings() -> None:
    """They are no words, but a word that has such a key has its vector."""
    with vecio.open(SPACY / "keys-only") as e:
        assert len(e) == 0 and e.metadata["keys_without_string"] == 3
        assert e.can_embed("größe") and not e.can_embed("unseen") and "größe" not in e
        assert e.subwords("größe") == [("größe", 1)]


def test_spacy_pipeline(tmp_path: Path) -> None:
    put(tmp_path / "vocab", files_of(SPACY / "default") | {"lookups.bin": b"\x80"})
    (tmp_path / "meta.json").write_text("{}")
    with vecio.open(tmp_path) as e, vecio.open(SPACY / "default") as other:
        assert list(e.words) == list(other.words) and np.array_equal(e.embed(e.words), other.embed(e.words))
        again = pickle.loads(pickle.dumps(e))
        assert np.array_equal(again.embed(e.words), e.embed(e.words))


def test_spacy_old_layouts(tmp_path: Path) -> None:
    files = files_of(SPACY / "default")
    del files["vectors.cfg"]
    with vecio.open(put(tmp_path / "a", files)) as e:
        assert len(e) == 9
    keys, rows = _msgpack.read_map(mapped(files.pop("key2row")))
    ordered = keys[np.argsort(rows, kind="stable")][:3]
    files["keys"] = npy(ordered)
    with vecio.open(put(tmp_path / "b", files)) as e:
        assert list(e.words) == ["the", "THE", "größe"]
        table = _npy.array(mapped(files["vectors"]))
        assert bits(e["größe"]) == bits(table[2])


@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<f2", "<i4", "F"])
def test_spacy_tables_of_other_types(dtype: str, tmp_path: Path) -> None:
    files = files_of(SPACY / "default")
    table = _npy.array(mapped(files["vectors"]))
    stored = np.asfortranarray(table) if dtype == "F" else (table * 100).astype(dtype)
    files["vectors"] = npy(stored)
    with vecio.open(put(tmp_path / "a", files)) as e:
        assert np.array_equal(e.embed(["the", "x"]), stored[[0, 4]].astype(np.float32))


def test_spacy_words_that_come_twice(tmp_path: Path) -> None:
    files = files_of(SPACY / "default")
    strings = json.loads(files["strings.json"])
    files["strings.json"] = json.dumps(strings * 2 + ["NOUN", "unused"]).encode()
    with vecio.open(put(tmp_path / "a", files)) as e, vecio.open(SPACY / "default") as other:
        assert list(e.words) == list(other.words)


def test_spacy_strings_with_one_key(tmp_path: Path) -> None:
    """MurmurHash2 collides at will: many strings with one key are many words, in linear time."""
    m, mask = 0xC6A4A7935BD1E995, 2**64 - 1
    inverse = pow(m, -1, 2**64)

    def block(mixed: int) -> bytes:
        """Return the eight bytes whose mixed form is this."""
        k = mixed * inverse & mask
        k = (k ^ k >> 47) * inverse & mask
        return k.to_bytes(8, "little")

    # two blocks: whatever the first leaves, the second can undo
    found: list[bytes] = []
    rng = random.Random(1)
    size, target = 16, 12345678901234567890
    while len(found) < 20:
        first = rng.randrange(2**64)
        h = (1 ^ (size * m & mask) ^ first) * m & mask
        found.append(block(first) + block(h ^ target))
    keys = {_spacy_keys.key(word) for word in found}
    assert len(keys) == 1
    blob, offsets = packed(found * 500)
    begin = time.perf_counter()
    vocabulary, ids, named = _words(blob, offsets, np.array(list(keys), np.uint64), np.array([0]))
    assert len(vocabulary) == 20 and ids.tolist() == [0] * 20 and named.all()
    assert vocabulary.entries(0, 20) == found and time.perf_counter() - begin < 2


class Case(NamedTuple):
    id: str
    must: str
    files: dict[str, bytes]


def spacy_cases() -> Iterator[Case]:
    default, floret = files_of(SPACY / "default"), files_of(SPACY / "from-floret-hc2")
    table = np.ones((9, 4), np.float32)

    def case(row: str, must: str, base: dict[str, bytes], **changed: bytes | None) -> Case:
        files = {**base, **{name.replace("_", "."): data for name, data in changed.items()}}
        return Case(row, must, {name: data for name, data in files.items() if data is not None})

    for name, data in MAPS.items():
        yield case(name, "E", default, key2row=data)
    yield case("P8:empty map", "E", default, key2row=b"\x80")
    yield case("P9:row = rows", "E", default, key2row=b"\x81\x01\x09")
    yield case("P9:row 2^62", "E", default, key2row=b"\x81\x01\xcf\x40" + bytes(7))
    yield case("P10:no table", "E", default, vectors=None)
    yield case("P10:no keys", "E", default, key2row=None)
    yield case("P10:no strings", "A", default, strings_json=None)
    yield case("P11:table of objects", "E", default, vectors=npy(np.array([[None]]), allow_pickle=True))
    yield case("P11:table of text", "E", default, vectors=npy(np.array([["a"]])))
    yield case("P11:complex", "E", default, vectors=npy(table.astype("c8")))
    yield case("P11:uint16", "E", default, vectors=npy(table.astype("u2")))
    yield case("P12:one dimension", "E", default, vectors=npy(np.ones(36, np.float32)))
    yield case("P12:three dimensions", "E", default, vectors=npy(np.ones((9, 2, 2), np.float32)))
    yield case("P12:0 x 0", "E", default, vectors=npy(np.ones((0, 0), np.float32)))
    yield case("P12:0 columns", "E", default, vectors=npy(np.ones((9, 0), np.float32)))
    yield case("P12:fewer rows", "E", default, vectors=npy(table[:5]))
    yield case("P13:NaN and infinity", "A", default, vectors=npy(table * np.nan))
    yield case("P14:table cut", "E", default, vectors=npy(table)[:-1])
    yield case("P14:bytes behind", "A", default, vectors=npy(table) + b"x")
    configs: list[tuple[str, Any]] = [
        ("a list", []),
        ("another mode", {"mode": "other"}),
        ("mode 1", {"mode": 1}),
        ("mode null", {"mode": None}),
    ]
    good = json.loads(floret["vectors.cfg"])
    wrong: dict[str, tuple[Any, ...]] = {
        "minn": (-1, "3", None, 1.5, True, 2**40),
        "maxn": (-1, [4], 2**32),
        "hash_count": (0, 5, -1, 2**31, "2"),
        "bow": (1, None, []),
        "eow": (1, {}),
        "hash_seed": (0, 1, -1, "x"),
    }
    for name, values in wrong.items():
        configs += [(f"{name} {value!r}", {**good, name: value}) for value in values]
        if name not in ("bow", "eow"):
            configs.append((f"{name} missing", {k: v for k, v in good.items() if k != name}))
    for name, value in configs:
        yield case(f"P15:{name}", "E", floret, vectors_cfg=json.dumps(value).encode())
    for text in (b"", b"{", b"[" * 100000, b"nan", b"{'mode': 'default'}", b'{"mode":"default"} x', b"\xff"):
        yield case(f"P16:{text[:10]!a}", "E", floret, vectors_cfg=text)
    yield case("P16:a number of 5000 digits", "E", floret, vectors_cfg=b'{"minn":' + b"9" * 5000 + b"}")
    yield case("P17:minn above maxn", "A", floret, vectors_cfg=json.dumps({**good, "minn": 9}).encode())
    yield case("P17:minn 0", "A", floret, vectors_cfg=json.dumps({**good, "minn": 0}).encode())
    yield case("P17:maxn 2^31", "A", floret, vectors_cfg=json.dumps({**good, "maxn": 2**31}).encode())
    yield case(
        "P17:no brackets", "A", floret, vectors_cfg=json.dumps({**good, "bow": "", "eow": ""}).encode()
    )
    yield case(
        "P17:a lone surrogate", "A", floret, vectors_cfg=json.dumps({**good, "bow": "\ud800"}).encode()
    )
    yield case("P18:strings no list", "E", default, strings_json=b"{}")
    yield case("P18:strings cut", "E", default, strings_json=default["strings.json"][:-3])
    yield case("P18:no strings in it", "A", default, strings_json=b"[]")
    yield case("P19:more keys than rows", "E", default, key2row=None, keys=npy(np.arange(10, dtype="u8")))
    yield case("P19:keys of floats", "E", default, key2row=None, keys=npy(np.arange(9.0)))
    yield case("P19:keys in two dimensions", "E", default, key2row=None, keys=npy(np.ones((3, 3), "u8")))
    yield case("P19:keys twice", "A", default, key2row=None, keys=npy(np.ones(9, "u8")))
    yield case("P20:floret without keys", "O", floret, key2row=None)
    yield case("P20:floret without strings", "O", floret, strings_json=None)
    yield case("P21:the empty string", "A", default, key2row=b"\x81\x00\x02")


SPACY_CASES = list(spacy_cases())


@pytest.mark.parametrize("case", SPACY_CASES, ids=lambda case: case.id)
def test_spacy_case(case: Case, tmp_path: Path) -> None:
    path = put(tmp_path / "model", case.files)
    error = judge(path, case.must)
    if isinstance(error, vecio.FormatError) and not isinstance(error, vecio.UnknownFormatError):
        assert error.found is not None or error.expected is not None
    judge(path, case.must, format="spacy")


@pytest.mark.parametrize("name", ["default", "from-floret-hc4"])
def test_spacy_files_cut_and_changed(name: str, tmp_path: Path) -> None:
    files = files_of(SPACY / name)
    path = put(tmp_path / "model", files)
    rng = random.Random(3)
    for file, whole in files.items():
        places = range(len(whole)) if len(whole) < 60 else sorted(rng.sample(range(len(whole)), 60))
        for i in places:
            (path / file).write_bytes(whole[:i])
            judge(path, "E" if file in ("vectors", "strings.json") and name == "default" else "A")
            for value in {whole[i] ^ 1, whole[i] ^ 128, 0, 255}:
                (path / file).write_bytes(whole[:i] + bytes([value]) + whole[i + 1 :])
                judge(path, "A")
        (path / file).write_bytes(whole)


def test_spacy_damage_of_any_file(tmp_path: Path) -> None:
    files = files_of(SPACY / "default")
    path = put(tmp_path / "model", files)
    for file, whole in files.items():
        for row, _, data, _ in hostile.cases_any(whole + bytes(120) if len(whole) < 120 else whole):
            (path / file).write_bytes(data)
            try:
                judge(path, "A")
            except AssertionError as wrong:
                raise AssertionError(f"{file}, {row}: {wrong}") from wrong
        (path / file).write_bytes(whole)
        for name in ("fifo", "folder", "dangling"):
            (path / file).unlink()
            if name == "fifo":
                os.mkfifo(path / file)
            elif name == "folder":
                (path / file).mkdir()
            else:
                (path / file).symlink_to("gone")
            judge(path, "A")
            (path / file).rmdir() if name == "folder" else (path / file).unlink()
            (path / file).write_bytes(whole)
    assert judge(path, "O") is None


# -- the rule of spaCy -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule",
    [(3, 5, 2, b"<", b">"), (0, 2, 1, b"<<", b"\xc2\xbb"), (1, 4, 4, b"", b""), (5, 2, 3, b"<", b">")],
    ids=str,
)
@pytest.mark.parametrize("dim", [1, 7])
def test_spacy_rule_compiled(rule: Any, dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel and plain Python make the same bits, of float32 and float16."""
    minn, maxn, count, begin, end = rule
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((50, dim)).astype(np.float32)
    rows[3] = -0.0
    words: list[Any] = ["", "a", "</s>", "größe", "狐狸🦊", "x" * 50, b"\xff\x80a", b"\x80", "ab" * 9]
    for table in (Float32(rows), Float16(rows.astype(np.float16))):
        subwords = Subwords(minn, maxn, 50, "spacy", count, begin=begin, end=end)
        e = Embeddings(
            Parts(Vocabulary.from_words([]), table.part(0, 0), "x", grams=table, subwords=subwords)
        )
        monkeypatch.setattr(_effort, "_loaded", False)
        monkeypatch.setattr(_effort, "_spent", -1e9)
        plain = e.embed(words, "zero")
        singles = [e.embed(word, "zero") for word in words]
        monkeypatch.setattr(_effort, "_loaded", True)
        assert bits(e.embed(words, "zero")) == bits(plain) == bits(np.array(singles))
        assert bits(np.array([e.embed(word, "zero") for word in words])) == bits(plain)


def test_spacy_counts_empty_strings() -> None:
    """minn 0: spaCy's slices of length 0 are strings, too: one more than there are characters."""
    strings = Subwords(0, 1, 10, "spacy", 1).ngrams(b"ab")
    assert strings == [b"<ab>", b"", b"", b"", b"", b"", b"<", b"a", b"b", b">"]
    assert Subwords(0, 1, 10, "floret-table", 1).ngrams(b"ab") == [b"<ab>", b"a", b"b"]
    assert Subwords(3, 2, 10, "spacy", 1).ngrams(b"ab") == [b"<ab>"]
    assert KINDS["spacy-keys"] == ("word", "keys")


# -- floret's text ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_floret_answers(name: str, compiled: bool) -> None:
    golden = json.loads((FLORET / f"floret-{name}.json").read_text("utf-8"))
    path = FLORET / f"floret-{name}.floret"
    assert vecio.detect(path) == "floret-text"
    with vecio.open(path) as e:
        assert len(e) == 0 and e.dim == golden["args"]["dim"] and e.format == "floret-text"
        assert e.metadata["bucket"] == golden["args"]["bucket"] and e.metadata["bow"] == "<"
        nwords, asked = len(golden["words"]), 0
        for query in golden["queries"]:
            word = query["word"].encode("utf-8", "surrogateescape")
            if query["id"] == 0 or word == b"</s>":
                continue
            asked += 1
            rows = [row for _, row in e.subwords(word)]
            assert [nwords + row for row in rows] == query["rows"]
            assert np.allclose(e.embed(word, "zero"), wanted(query["vector"]), atol=1e-4, rtol=1e-4)
        assert asked > 5
        assert e.can_embed("</s>") and e.subwords("</s>")[0][0] == "<</s>>"  # a word like any other
        words = ["</s>", "the", "", "</s>", "größer"]
        assert bits(e.embed(words)) == bits(np.array([e[word] for word in words]))
        assert hostile.inconsistency(e, CLEAN) is None


def test_floret_text_is_the_table_that_spacy_has() -> None:
    for name in NAMES:
        with (
            vecio.open(FLORET / f"floret-{name}.floret") as e,
            vecio.open(SPACY / f"from-floret-{name}") as f,
        ):
            assert e._grams is not None and f._grams is not None
            assert bits(e._grams.block(0, len(e._grams))) == bits(f._grams.block(0, len(f._grams)))
            words = ["the", "größer", "unseen", "狐狸"]
            assert np.allclose(e.embed(words), f.embed(words), atol=1e-5)


def rows_of(path: Path) -> np.ndarray:
    with vecio.open(path) as e:
        assert e._grams is not None
        return e._grams.block(0, len(e._grams))


def test_floret_decimals(tmp_path: Path, compiled: bool) -> None:
    """Every form of a number, rounded once, to the nearest float32."""
    rng = np.random.default_rng(1)
    texts = [
        "0.5",
        "+.5",
        "5.",
        "-0",
        "1e-45",
        "1E+3",
        "nan",
        "-inf",
        "Infinity",
        "3.4028236e38",
        "1e999",
        "1e-999",
    ]
    for value in rng.standard_normal(300).astype(np.float32):
        middle = (Fraction(float(value)) + Fraction(float(np.nextafter(value, np.float32(9))))) / 2
        exact = f"{float(middle):.60f}".rstrip("0")
        texts += [exact, exact + "0001", f"{float(middle):.17g}", f"{value:.5g}"]
    texts += ["0"] * (-len(texts) % 8)
    lines = [" ".join(texts[i : i + 8]) for i in range(0, len(texts), 8)]
    path = tmp_path / "a.floret"
    body = "".join(f"{i} {line} \n" for i, line in enumerate(lines))
    path.write_text(f"{len(lines)} 8 3 4 2 2166136261 < >\n{body}")
    found = rows_of(path).ravel()
    for text, number in zip(texts, found, strict=True):
        try:
            exact_value = Fraction(text)
        except ValueError:
            assert bits(number) == bits(np.float32(text)) or np.isnan(number)
            continue
        if not np.isfinite(number):
            assert abs(exact_value) > Fraction(float(np.finfo(np.float32).max))
            continue
        error = abs(exact_value - Fraction(float(number)))
        for way in (np.inf, -np.inf):
            other = np.nextafter(number, np.float32(way))
            if np.isfinite(other):
                assert abs(exact_value - Fraction(float(other))) >= error, text


def text_file(
    header: bytes = b"3 2 3 5 1 2166136261 < >\n", rows: bytes = b"0 1 2 \n1 3 4 \n2 5 6 \n"
) -> bytes:
    return header + rows


FLORET_CASES = {
    "R1:whole": ("O", text_file()),
    "R1:no newline at the end": ("O", text_file()[:-1]),
    "R1:no space at the end": ("O", text_file(rows=b"0 1 2\n1 3 4\n2 5 6\n")),
    "R1:CRLF": ("O", text_file().replace(b"\n", b"\r\n")),
    "R1:tabs": ("E", text_file().replace(b" ", b"\t")),
    "R1:blank lines at the end": ("O", text_file() + b"\n \n"),
    "R2:header only": ("E", text_file(rows=b"")),
    "R2:a row missing": ("E", text_file(rows=b"0 1 2 \n1 3 4 \n")),
    "R2:a row too many": ("E", text_file() + b"3 7 8 \n"),
    "R2:the rows again": ("E", text_file() + text_file()),
    "R2:NULs behind": ("E", text_file() + bytes(4096)),
    "R3:a number missing": ("E", text_file(rows=b"0 1 2 \n1 3 \n2 5 6 \n")),
    "R3:a number too many": ("E", text_file(rows=b"0 1 2 \n1 3 4 5 \n2 5 6 \n")),
    "R3:200,000 columns": ("E", text_file(rows=b"0 1 2 \n1" + b" 3" * 200000 + b"\n2 5 6 \n")),
    "R4:rows exchanged": ("E", text_file(rows=b"1 1 2 \n0 3 4 \n2 5 6 \n")),
    "R4:a row twice": ("E", text_file(rows=b"0 1 2 \n0 3 4 \n2 5 6 \n")),
    "R4:row 00": ("E", text_file(rows=b"00 1 2 \n1 3 4 \n2 5 6 \n")),
    "R4:words for numbers": ("E", text_file(rows=b"the 1 2 \nof 3 4 \na 5 6 \n")),
    "R5:a blank line inside": ("E", text_file(rows=b"0 1 2 \n\n1 3 4 \n2 5 6 \n")),
    "R5:two rows on a line": ("E", text_file(rows=b"0 1 2 1 3 4 \n2 5 6 \n")),
    "R8:NaN and infinity": ("A", text_file(rows=b"0 nan inf \n1 -inf 4 \n2 5 6 \n")),
    "R9:8 MiB without an end": ("E", text_file(rows=b"0 1 2 \n1 " + b"3" * 2**23)),
}
for _token in (
    "abc",
    "0.5.5",
    "--1",
    "1e",
    "0x1p3",
    "1_000",
    "0,5",
    "0.5f",
    "1d3",
    "\u22125",
    "٣",
    "1\0",
    "\xff",
):
    FLORET_CASES[f"R6:{_token!a}"] = (
        "E",
        text_file(rows=b"0 1 2 \n1 3 " + _token.encode() + b" \n2 5 6 \n"),
    )
for _header in (
    "0 2 3 5 1 2166136261 < >",
    "-3 2 3 5 1 2166136261 < >",
    "3 0 3 5 1 2166136261 < >",
    "4 2 3 5 1 2166136261 < >",
    "2147483648 2 3 5 1 2166136261 < >",
    "9223372036854775807 2 3 5 1 2166136261 < >",
    "3 2147483647 3 5 1 2166136261 < >",
    "4294967296 4294967296 3 5 1 2166136261 < >",
    "3 2 3 5 0 2166136261 < >",
    "3 2 3 5 5 2166136261 < >",
    "3 2 3 5 1 1 < >",
    "3 2 3 5 1 4294967296 < >",
    "3 2 3 5 1 2166136261 <",
    "3 2 3 5 1 2166136261 < > x",
    "3 2 3.0 5 1 2166136261 < >",
    "3 2 3 5 1 2166136261",
    "3_0 2 3 5 1 2166136261 < >",
    "٣ 2 3 5 1 2166136261 < >",
    "3 2 3 99999999999 1 2166136261 < >",
    "3" * 100000 + " 2 3 5 1 2166136261 < >",
    "3 2 3 5 1 2166136261 " + "<" * 5000 + " >",
):
    FLORET_CASES[f"R7:{_header[:40]}"] = ("E", text_file(header=_header.encode() + b"\n"))
for _header in (
    "3 2 -1 -1 1 2166136261 < >",
    "3 2 9 1 1 2166136261 < >",
    "3 2 3 2147483647 4 2166136261 ^ $$",
):
    FLORET_CASES[f"R7:{_header}"] = ("A", text_file(header=_header.encode() + b"\n"))


@pytest.mark.parametrize("case", FLORET_CASES.values(), ids=FLORET_CASES)
def test_floret_case(case: tuple[str, bytes], tmp_path: Path, compiled: bool) -> None:
    must, data = case
    path = tmp_path / "model.floret"
    path.write_bytes(data)
    options: dict[str, Any]
    for options in ({}, {"format": "floret-text"}):
        error = judge(path, must, place="format" in options, **options)
        assert error is None or must != "O"
    if must == "O":
        assert rows_of(path).tolist() == [[1, 2], [3, 4], [5, 6]]


def test_floret_errors_name_the_line(tmp_path: Path, compiled: bool) -> None:
    path = tmp_path / "model.floret"
    path.write_bytes(text_file(rows=b"0 1 2 \n1 3 x4 \n2 5 6 \n"))
    with pytest.raises(vecio.FormatError, match=r"line 3.*column 2") as info:
        vecio.open(path)
    assert info.value.offset == 36 and "x4" in str(info.value)


def test_floret_cut_and_changed(tmp_path: Path) -> None:
    whole = (FLORET / "floret-hc4.floret").read_bytes()
    path = tmp_path / "model.floret"
    rng = random.Random(4)
    for i in sorted(rng.sample(range(len(whole) - 12), 120)):
        path.write_bytes(whole[:i])
        judge(path, "E", format="floret-text")
        judge(path, "A")  # a few numbers of the first line are a line of numbers
        for value in (whole[i] ^ 1, whole[i] ^ 128, 0, 32, 10, 57):
            path.write_bytes(whole[:i] + bytes([value]) + whole[i + 1 :])
            judge(path, "A")


def test_floret_damage_of_any_file(tmp_path: Path) -> None:
    whole = (FLORET / "floret-hc4.floret").read_bytes()
    path = tmp_path / "model.floret"
    for row, must, data, _ in hostile.cases_any(whole):
        path.write_bytes(data)
        try:
            judge(path, "A")  # a few numbers of the first line are a line of numbers
            harmless = data in (
                whole,
                whole.replace(b"\n", b"\r\n"),
            )  # such as "NULs lost" where there are none
            judge(path, "A" if harmless else must, format="floret-text")
        except AssertionError as wrong:
            raise AssertionError(f"{row}: {wrong}") from wrong


# -- models without words --------------------------------------------------------------------------------------------

WORDLESS = [FLORET / "floret-hc2.floret", SPACY / "from-floret-hc2", SPACY / "keys-only"]


@pytest.mark.parametrize("path", WORDLESS, ids=lambda path: path.name)
def test_models_without_words(path: Path, compiled: bool) -> None:
    with vecio.open(path) as e:
        known = "größe"
        many = [known, "the", "</s>", ""] * 600
        batch = e.embed(many, "zero")
        assert bits(batch) == bits(np.array([e.embed(word, "zero") for word in many[:4]] * 600))
        assert list(e.words) == [] and list(e.labels) == [] and e.counts is None and "the" not in e
        assert e.index("the") == -1 and e.index(["the"]).tolist() == [-1]
        ids, scores = e.nearest(known, k=3)
        assert ids.shape == scores.shape == (0,)
        assert e.nearest(np.ones((2, e.dim), np.float32))[0].shape == (2, 0)
        assert e.most_similar(known) == [] and 0.99 < e.similarity(known, known) < 1.01
        assert e.encode([known, ""]).shape == (2, e.dim)
        assert e.explain(known).embeddable
        with pytest.raises(vecio.UnsupportedError):
            e.predict("the")
        e.preload()
        again = pickle.loads(pickle.dumps(e))
        assert bits(again.embed(many[:4], "zero")) == bits(batch[:4])
        assert vecio.verify(path).ok
    with vecio.open(path, limit=0) as e:
        assert bits(e[known]) == bits(batch[0])


# -- writing ---------------------------------------------------------------------------------------------------------


def odd_model() -> vecio.Embeddings:
    vectors = np.random.default_rng(0).standard_normal((len(ODD_WORDS), 3)).astype(np.float32)
    vectors[:3] = np.array([[np.nan, np.inf, -np.inf], [-0.0, 1e-45, 3.4e38], [0, 0, 0]])
    return vecio.Embeddings.from_arrays(ODD_WORDS, vectors)


def test_spacy_written_and_read(tmp_path: Path, compiled: bool) -> None:
    e = odd_model()
    e.save(tmp_path / "a", format="spacy")
    assert sorted(files_of(tmp_path / "a")) == ["key2row", "strings.json", "vectors", "vectors.cfg"]
    strings = json.loads((tmp_path / "a" / "strings.json").read_text("ascii"))
    assert strings == sorted(set(ODD_WORDS) - {"", "NOUN", "nsubj"})
    with vecio.open(tmp_path / "a") as back:
        assert list(back.words) == ODD_WORDS and bits(back.embed(ODD_WORDS)) == bits(e.embed(ODD_WORDS))
        assert back._compiled  # rows in order need no detour
        back.save(tmp_path / "b", format="spacy")
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_spacy_written_as_by_spacy(tmp_path: Path) -> None:
    """A table that spaCy wrote comes out byte for byte."""
    for name in TABLES:
        with vecio.open(SPACY / name) as e:
            e.save(tmp_path / name, format="spacy")
        original, written = files_of(SPACY / name), files_of(tmp_path / name)
        for file in ("vectors", "key2row", "vectors.cfg"):
            assert written[file] == original[file], (name, file)
    with vecio.open(SPACY / "default") as e:
        e.save(tmp_path / "default", format="spacy")
    for file in ("strings.json", "vectors.cfg"):
        assert (tmp_path / "default" / file).read_bytes() == (SPACY / "default" / file).read_bytes()


def test_spacy_words_that_it_cannot_hold(tmp_path: Path) -> None:
    e = vecio.Embeddings.from_arrays([b"a", b"\xff", "b"], np.eye(3))
    with pytest.raises(vecio.UnsupportedError, match="UTF-8"):
        e.save(tmp_path / "a", format="spacy")
    e.save(tmp_path / "a", format="spacy", drop=True)
    with vecio.open(tmp_path / "a") as back:
        assert list(back.words) == ["a", "b"]
    with pytest.raises(vecio.UnsupportedError, match="no words"), vecio.open(SPACY / "keys-only") as none:
        none.save(tmp_path / "b", format="spacy")
    with pytest.raises(vecio.UnsupportedError, match="no floret model"):
        e.save(tmp_path / "b", format="spacy", mode="floret", drop=True)
    with pytest.raises(ValueError, match="mode"):
        e.save(tmp_path / "b", format="spacy", mode="other", drop=True)
    assert not (tmp_path / "b").exists()


def test_floret_to_spacy(tmp_path: Path) -> None:
    source = FLORET / "floret-hc2.bin"
    report = vecio.convert(source, tmp_path / "a", format="spacy", drop=True)
    assert "the list of the words" in report.lost and "vectors for unknown words" in report.kept
    vecio.convert(source, tmp_path / "b", format="spacy", mode="default", drop=True)
    with vecio.open(source) as e, vecio.open(tmp_path / "a") as a, vecio.open(tmp_path / "b") as b:
        words = [word for word in e.words if word != "</s>"][1:20] + ["unseen", "größer"]
        assert len(a) == 0 and np.allclose(a.embed(words), e.embed(words), atol=1e-5)
        known = list(b.words)
        assert len(known) > 100 and bits(b.embed(known)) == bits(e.embed(known))


@pytest.mark.parametrize("name", NAMES)
def test_floret_written_and_read(name: str, tmp_path: Path, compiled: bool) -> None:
    path, other = tmp_path / "a.floret", tmp_path / "b.floret"
    for source in (
        FLORET / f"floret-{name}.bin",
        FLORET / f"floret-{name}.floret",
        SPACY / f"from-floret-{name}",
    ):
        vecio.convert(source, path)
        with vecio.open(source) as e:
            assert e._grams is not None
            assert bits(rows_of(path)) == bits(e._grams.block(0, len(e._grams)))
            words = [word for word in e.words if word != "</s>"][1:] or ["the", "größer"]
            with vecio.open(path) as back:
                tolerance = 1e-6 if e.format == "spacy" else 0
                assert np.allclose(back.embed(words), e.embed(words), atol=tolerance, rtol=tolerance)
                back.save(other)
        assert other.read_bytes() == path.read_bytes()


def test_floret_refusals(tmp_path: Path) -> None:
    for source in (DATA / "fasttext" / "cbow-ns.bin", SPACY / "default", FLORET / "fasttext-mode.bin"):
        with pytest.raises(vecio.UnsupportedError, match="no floret model"):
            vecio.convert(source, tmp_path / "a.floret")
    with vecio.open(SPACY / "from-floret-hc1") as e:
        table = e._grams
        assert table is not None
        rule = Subwords(3, 5, len(table), "spacy", 1, begin=b"a b")
        odd = Embeddings(Parts(Vocabulary.from_words([]), table.part(0, 0), "x", grams=table, subwords=rule))
        with pytest.raises(vecio.UnsupportedError, match="beside words"):
            odd.save(tmp_path / "a.floret")
        pruned = vecio.views.select(e, grams=np.arange(5))
        for format in ("floret-text", "spacy"):
            with pytest.raises(vecio.UnsupportedError):
                pruned.save(
                    tmp_path / "a", format=format, **({"mode": "floret"} if format == "spacy" else {})
                )
    assert list(tmp_path.iterdir()) == []


# -- judges ----------------------------------------------------------------------------------------------------------


@pytest.mark.heavy
def test_spacy_reads_what_was_written(tmp_path: Path) -> None:
    """spaCy loads every folder, as vectors and as the vocab of a pipeline, and has the same vectors to the bit."""
    spacy = pytest.importorskip("spacy")
    sources: list[tuple[Any, dict[str, Any]]] = [
        (odd_model(), {}),
        (vecio.open(DATA / "fasttext" / "sg-ns.bin"), {"drop": True}),
        (vecio.open(SPACY / "default"), {}),
        (vecio.open(FLORET / "floret-hc1.bin"), {"mode": "default", "drop": True}),
        (vecio.open(FLORET / "floret-hc1.bin"), {"drop": True}),
        (vecio.open(FLORET / "floret-hc2.floret"), {}),
        (vecio.open(SPACY / "from-floret-hc4"), {}),
    ]
    for i, (model, options) in enumerate(sources):
        path = tmp_path / str(i)
        model.save(path, format="spacy", **options)
        vectors = spacy.vectors.Vectors(strings=spacy.strings.StringStore()).from_disk(path)
        vocab = spacy.vocab.Vocab().from_disk(path)
        with vecio.open(path) as e:
            words = list(e.words) or ["the", "größer", "狐狸", "</s>", "NOUN", "x" * 40]
            for word in words:
                vectors.strings.add(word)
                own = e[word]
                found = vectors.get_batch([word])[0] if len(e) == 0 else vectors[word]
                assert bits(found) == bits(own), word
                assert not word or bits(vocab[word].vector) == bits(own), word


@pytest.mark.heavy
def test_spacy_imports_floret_text(tmp_path: Path) -> None:
    """What `spacy init vectors --mode floret` makes of a written file is what vecio reads of it."""
    initialize = pytest.importorskip("spacy.training.initialize")
    for name in NAMES:
        path = tmp_path / f"{name}.floret"
        vecio.convert(FLORET / f"floret-{name}.bin", path)
        table, _, settings = initialize.read_vectors(path, 0, mode="floret")
        assert bits(table) == bits(rows_of(path))
        with vecio.open(path) as e:
            assert (settings["minn"], settings["maxn"]) == (e.metadata["minn"], e.metadata["maxn"])
            assert settings["hash_count"] == e.metadata["hashCount"] and settings["bow"] == "<"
