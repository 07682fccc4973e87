"""The safetensors container and vecio's own layout: what is refused and how, what is written, what comes back.

The judge of the container is the reference library (its verdicts are in tests/data/safetensors, and it opens whatever
is written here); the judge of the layout is the fastText model that a file was made from. Case numbers are those of
the reliability table, section 3.5 (S1 to S85).
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import pickle
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vecio
from vecio import _effort
from vecio._binary import MappedFile, atomic_write
from vecio._rounding import DTYPES, Tally, round_rows
from vecio._safetensors import Container, build_header, looks_like, read_header
from vecio.errors import FormatError, TruncatedError, UnknownFormatError, UnsupportedError, VecioError
from vecio.formats import base
from vecio.formats import safetensors as layout

DATA = Path(__file__).resolve().parent / "data"
MODELS = sorted(
    [*(DATA / "fasttext").glob("*.bin"), *(DATA / "fasttext").glob("*.ftz"), *(DATA / "floret").glob("*.bin")]
)
UNKNOWN = ["unknownword", "Größenwahn", "狐狸犬", "", "x", "🦊🦊", "</s>", "a" * 300, "\udcff\udc80bad"]
PLAIN = '{"words":{"dtype":"F32","shape":[3,2],"data_offsets":[0,24]}}'
FLOATS = struct.pack("<6f", 1, 2, 3, 4, 5, 6)

# -- the container: what the reference library says -----------------------------------------------------------------


def file_of(folder: Path, header: str | bytes, data: bytes = FLOATS, length: int | None = None) -> Path:
    """Write a safetensors file with this header, whatever it says."""
    raw = header if isinstance(header, bytes) else header.encode("utf-8", "surrogatepass")
    path = folder / "x.safetensors"
    path.write_bytes(((len(raw) if length is None else length) % 2**64).to_bytes(8, "little") + raw + data)
    return path


def header_of(path: Path) -> Container:
    file = MappedFile.open(path)
    try:
        return read_header(file)
    finally:
        file.close()


def refused(path: Path, kind: type[Exception] = FormatError) -> FormatError:
    """Check that a file is refused cleanly, by the container and by `vecio.open`; return the container's error."""
    with pytest.raises(kind) as caught:
        header_of(path)
    error = caught.value
    assert isinstance(error, FormatError)
    assert str(error).startswith(f"{path}: ") and len(str(error)) < 600
    assert error.offset is not None and 0 <= error.offset <= max(path.stat().st_size, 8)
    assert (
        error.expected is not None or error.found is not None or "twice" in str(error) or " no " in str(error)
    )
    with pytest.raises(VecioError) as opened:
        vecio.open(path)
    assert not isinstance(opened.value, UnsupportedError) and str(path) in str(opened.value)
    return error


VERDICTS = json.loads((DATA / "safetensors" / "safetensors.json").read_text())["files"]


@pytest.mark.parametrize("name", sorted(VERDICTS))
def test_verdicts_of_the_reference_library(name: str) -> None:
    path, verdict = DATA / "safetensors" / name, VERDICTS[name]
    if not verdict["accepted"]:
        with pytest.raises(VecioError):
            header_of(path)
        with pytest.raises(VecioError):
            vecio.open(path)
        return
    tensors, raw = header_of(path).tensors, path.read_bytes()
    assert set(tensors) == set(verdict["tensors"])
    for key, expected in verdict["tensors"].items():
        found = tensors[key]
        assert (found.dtype, list(found.shape)) == (expected["dtype"], expected["shape"])
        assert raw[found.start : found.stop].hex() == expected["data_hex"]
    with pytest.raises(UnsupportedError) as caught:
        vecio.open(path)
    assert all(ascii(key)[1:-1] in str(caught.value) for key in list(tensors)[:8])


def words(**changes: Any) -> str:
    """Return the plain header with some keys of its tensor changed (None: left out)."""
    entry = {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 24], **changes}
    return json.dumps({"words": {k: v for k, v in entry.items() if v is not None}})


def two(first: list[int], second: list[int]) -> str:
    """Return a header with two tensors at these offsets."""
    return json.dumps(
        {
            "a": {"dtype": "F32", "shape": [(first[1] - first[0]) // 4], "data_offsets": first},
            "b": {"dtype": "F32", "shape": [(second[1] - second[0]) // 4], "data_offsets": second},
        }
    )


META = '{"__metadata__":%s,' + PLAIN[1:]
REFUSED: dict[str, Any] = {
    "S2 length 0": (PLAIN, FLOATS, 0),
    "S2 length 1": (PLAIN, FLOATS, 1),
    "S2 length 2": (PLAIN, FLOATS, 2),
    "S3 one less": (PLAIN, FLOATS, len(PLAIN) - 1),
    "S3 one more": (PLAIN, FLOATS, len(PLAIN) + 1),
    "S4 to the end of the file": (PLAIN, FLOATS, len(PLAIN) + 24),
    "S4 one past it": (PLAIN, FLOATS, len(PLAIN) + 25),
    **{f"S6 {n}": (PLAIN, FLOATS, n) for n in (2**31 - 1, 2**32, 2**40)},
    **{f"S7 {n}": (PLAIN, FLOATS, n) for n in (2**62, 2**63 - 1, 2**63, 2**64 - 8, 2**64 - 1)},
    "S8 big-endian": (PLAIN, FLOATS, int.from_bytes(len(PLAIN).to_bytes(8, "big"), "little")),
    "S10 one byte short": (PLAIN, FLOATS[:-1]),
    "S10 no data": (PLAIN, b""),
    "S11 one byte more": (PLAIN, FLOATS + b"\0"),
    "S11 4 KiB more": (PLAIN, FLOATS + bytes(4096)),
    "S11 a zip behind": (PLAIN, FLOATS + b"PK\x03\x04" + bytes(30)),
    "S12 a hole": (words(data_offsets=[8, 32]), bytes(32)),
    "S13 not UTF-8 in a key": PLAIN.encode().replace(b"words", b"w\xffrds"),
    "S13 not UTF-8 in metadata": (META % '{"a":"@"}').encode().replace(b"@", b"\xc3\x28"),
    "S14 UTF-16": PLAIN.encode("utf-16-le"),
    "S14 UTF-16 with a mark": PLAIN.encode("utf-16"),
    "S14 byte-order mark": b"\xef\xbb\xbf" + PLAIN.encode(),
    **{f"S15 {text[:8]!r}": text for text in ("[" + PLAIN + "]", "12345", '"abc"', "null", "    ")},
    "S17 empty with data": ("{}", FLOATS),
    "S18 junk": PLAIN + "x",
    "S18 two objects": PLAIN + PLAIN,
    "S19 no closing brace": PLAIN[:-1],
    "S19 one brace": "{ ",
    "S20 single quotes": PLAIN.replace('"', "'"),
    "S20 trailing comma": PLAIN[:-1] + ",}",
    "S20 trailing comma in a list": PLAIN.replace("24]", "24,]"),
    "S20 comment": PLAIN.replace("{", "{/* */", 1),
    "S20 equals sign": PLAIN.replace(":", "=", 1),
    **{f"S21 {text}": PLAIN.replace("24]", f"{text}]") for text in ("NaN", "Infinity", "-Infinity")},
    "S21 NaN in an unknown key": PLAIN.replace('"dtype"', '"x":NaN,"dtype"'),
    "S22 leading zero": PLAIN.replace("24]", "024]"),
    "S22 plus": PLAIN.replace("24]", "+24]"),
    "S26 trailing NULs": PLAIN + "\0\0\0",
    "S27 twice, contradicting": PLAIN[:-1] + "," + words(data_offsets=[0, 16], shape=[2, 2])[1:],
    "S28 twice, identical": PLAIN[:-1] + "," + PLAIN[1:],
    "S29 dtype twice": PLAIN.replace('"dtype"', '"dtype":"F32","dtype"'),
    "S30 metadata twice": (META % "{}").replace("{", '{"__metadata__":{},', 1),
    **{f"S31 {n} lists": PLAIN.replace("[3,2]", "[" * n + "3,2" + "]" * n) for n in (200, 2000)},
    **{
        f"S31 {n} lists, unknown key": PLAIN.replace('"dtype"', f'"x":{"[" * n}{"]" * n},"dtype"')
        for n in (200, 10**5)
    },
    "S32 lists": "[" * 10**6,
    "S32 objects": '{"a":' * 10**5,
    "S32 closed objects": '{"a":' * 10**5 + "1" + "}" * 10**5,
    "S33 brackets in shape": '{"words":{"dtype":"F32","shape":' + "[" * 10**6,
    "S34 5,000 digits": PLAIN.replace("24]", "2" * 5000 + "]"),
    "S34 1,000,000 digits": PLAIN.replace("24]", "2" * 10**6 + "]"),
    "S37 tensors over the same bytes": "{" + ",".join(f'"t{i}":' + PLAIN[9:-1] for i in range(10**4)) + "}",
    "S39 end one more": words(data_offsets=[0, 25]),
    "S39 end one less": words(data_offsets=[0, 23]),
    "S40 shifted by 1": words(data_offsets=[1, 25]),
    "S40 shifted by 4": words(data_offsets=[4, 28]),
    "S41 begin above end": words(data_offsets=[24, 0]),
    "S41 begin equal to end": words(data_offsets=[24, 24]),
    "S42 negative begin": words(data_offsets=[-24, 24]),
    "S42 negative end": words(data_offsets=[0, -24]),
    "S43 past the file": words(data_offsets=[0, 48], shape=[6, 2]),
    **{f"S44 {n}": words(data_offsets=[0, n]) for n in (2**62, 2**63, 2**64, 2**65)},
    "S45 the sum wraps": words(data_offsets=[2**64 - 4, 20]),
    **{f"S46 {n}": words(data_offsets=[0, 24, 24][:n]) for n in (0, 1, 3)},
    **{
        f"S47 {value}": PLAIN.replace("[0,24]", value)
        for value in (
            "[0.0,24.0]",
            '["0","24"]',
            "null",
            "{}",
            "24",
            "[false,true]",
            "true",
            '"0,24"',
            "[[0],[24]]",
        )
    },
    "S48 1e300": PLAIN.replace("24]", "1e300]"),
    "S48 10^400": PLAIN.replace("24]", "1" + "0" * 400 + "]"),
    "S49 full overlap": two([0, 24], [0, 24]),
    "S50 overlap": two([0, 16], [8, 24]),
    "S51 an empty tensor past the end": two([0, 24], [28, 28]),
    **{f"S53 {shape}": words(shape=shape) for shape in ([], [0], [1])},
    "S54 times 2": words(shape=[3, 2, 2]),
    "S55 doubled": words(shape=[6, 4]),
    "S55 negated": words(shape=[-3, -2]),
    **{f"S56 {n}": words(shape=[n, 2]) for n in (2**63, 2**64, 10**400)},
    "S57 2^32 x 2^32": words(shape=[2**32, 2**32]),
    "S57 2^31 cubed": words(shape=[2**31] * 3),
    "S58 2^62 x 4 x 0": (words(shape=[2**62, 4, 0], data_offsets=[0, 0]), b""),
    "S59 1.5": words(shape=[1.5, 4]),
    "S59 9.0": words(shape=[3.0, 2.0]),
    **{
        f"S60 {i}": words(shape=v)
        for i, v in enumerate((["3", "2"], {"a": 1}, [[3, 2]], [True, False], "3", 6))
    },
    "S60 null": PLAIN.replace("[3,2]", "null"),
    "S61 100,000 ones": words(shape=[1] * 10**5),
    **{f"S63 {dtype}": words(dtype=dtype) for dtype in ("F16", "BF16", "F64")},
    **{f"S64 {dtype}": words(dtype=dtype) for dtype in ("I8", "U8", "BOOL", "F8_E4M3", "F4", "C64")},
    **{
        f"S66 {dtype[:8]!r}": words(dtype=dtype)
        for dtype in ("f32", "F32 ", "float32", "", "F32\0", "F" * 30000)
    },
    "S67 null": PLAIN.replace('"F32"', "null"),
    "S67 number": words(dtype=32),
    "S67 list": words(dtype=["F32"]),
    **{f"S68 {key}": words(**{key: None}) for key in ("dtype", "shape", "data_offsets")},
    "S70 a list": '{"words":["F32",[3,2],[0,24]]}',
    "S71 null": '{"words":null}',
    "S71 a number": '{"words":24}',
    **{f"S74 {value}": META % f'{{"a":{value}}}' for value in ("1", "null", "{}", "[]", "true", "1.5")},
    "S75 a string": META % '"x"',
    "S75 a list": META % "[]",
    "control character": PLAIN.replace("words", "wo\x01ds"),
    "bad escape": PLAIN.replace("words", "wo\\qds"),
    "unclosed string": '{"words',
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_headers(tmp_path: Path, case: str) -> None:
    made = REFUSED[case]
    header, *rest = made if isinstance(made, tuple) else (made,)
    refused(file_of(tmp_path, header, *rest))


@pytest.mark.parametrize(
    ("header", "names"),
    [
        pytest.param("  \n" + PLAIN, ["words"], id="S23 leading spaces"),
        pytest.param(PLAIN + "   ", ["words"], id="S24 trailing spaces"),
        pytest.param(PLAIN + "\n\n", ["words"], id="S25 trailing newlines"),
        pytest.param(words(shape=[3, 2, 1]), ["words"], id="S54 one dimension more"),
        pytest.param(words(shape=[2, 3]), ["words"], id="S62 exchanged"),
        pytest.param(words(dtype="I32"), ["words"], id="S65 I32"),
        pytest.param(words(dtype="U32"), ["words"], id="S65 U32"),
        pytest.param(
            PLAIN.replace('"dtype"', '"x":[{"y":[1,-2.5e-3,null,true]},"\\u00e9"],"dtype"'),
            ["words"],
            id="S69 unknown key",
        ),
        pytest.param(PLAIN.replace("words", ""), [""], id="S73 empty name"),
        pytest.param(PLAIN.replace("words", "a\\u0000/../b"), ["a\0/../b"], id="S73 NUL and slashes"),
        pytest.param(META % '{"rows":"7","a":"b"}', ["words"], id="S76 contradicting metadata"),
        pytest.param(META % '{"a":"\\ud800"}', ["words"], id="S77 lone surrogate"),
        pytest.param(META % "null", ["words"], id="metadata null"),
        pytest.param(META % '{"a":"1","a":"2"}', ["words"], id="a key of the metadata twice"),
        pytest.param(PLAIN.replace("words", "größe🦊"), ["größe🦊"], id="not ASCII"),
        pytest.param(PLAIN.replace("words", "gr\\u00f6\\u00dfe"), ["größe"], id="escapes"),
        pytest.param(PLAIN.replace("words", "k" * 2**20), ["k" * 2**20], id="S36 a key of 1 MiB"),
        pytest.param(META % ('{"a":"' + "x" * 20_000_000 + '"}'), ["words"], id="S35 a string of 20 MB"),
        pytest.param(META % ('{"a":"' + '\\"' * 500_000 + '"}'), ["words"], id="a string of escapes"),
        pytest.param(
            '{"e":{"dtype":"F32","shape":[0,9],"data_offsets":[0,0]},' + PLAIN[1:],
            ["e", "words"],
            id="S52 empty first",
        ),
        pytest.param(
            "{"
            + "".join(f'"t{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}},' for i in range(50_000))
            + PLAIN[1:],
            None,
            id="S38 50,000 empty tensors",
        ),
    ],
)
def test_accepted_headers(tmp_path: Path, header: str, names: list[str] | None) -> None:
    path = file_of(tmp_path, header)
    tensors = header_of(path).tensors
    assert len(tensors) == 50_001 if names is None else list(tensors) == names
    last = list(tensors.values())[-1]
    assert path.read_bytes()[last.start : last.stop] == FLOATS
    with pytest.raises(UnsupportedError, match="without vecio's layout"):  # S72: it names what is there
        vecio.open(path)


def test_no_tensors_at_all(tmp_path: Path) -> None:
    """S16."""
    path = file_of(tmp_path, "{}", b"")
    assert header_of(path).tensors == {}
    with pytest.raises(UnsupportedError, match="the tensors in it: none"):
        vecio.open(path)


def test_short_files(tmp_path: Path) -> None:
    """S1, S9: a cut at every byte of the header and the data."""
    whole = file_of(tmp_path, PLAIN).read_bytes()
    path = tmp_path / "cut.safetensors"
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        error = refused(path)
        assert isinstance(error, TruncatedError)
        assert str(length) in str(error) or str(length - 8) in str(error) or str(len(whole)) in str(error)


def test_a_length_beyond_the_limit_with_a_file_that_long(tmp_path: Path) -> None:
    """S5: a hole of more than 100 MB is not read."""
    path = file_of(tmp_path, PLAIN, b"", 10**8 + 1)
    with path.open("r+b") as stream:
        stream.truncate(10**8 + 100)
    with pytest.raises(VecioError, match="header length"):
        vecio.open(path)
    with pytest.raises(FormatError, match="header length"):
        header_of(path)


def test_errors_name_the_byte(tmp_path: Path) -> None:
    header = '{"größe":{"dtype":"F32","shape":[3,2],"data_offsets":[0,x24]}}'
    path = file_of(tmp_path, header)
    error = refused(path)
    assert error.offset is not None
    assert path.read_bytes()[error.offset :].startswith(b"[0,x24]")
    assert "F32" not in str(error) and "integers" in str(error.expected)
    error = refused(file_of(tmp_path, PLAIN, FLOATS, int.from_bytes(len(PLAIN).to_bytes(8, "big"), "little")))
    assert "big-endian" in str(error)


def test_too_many_dimensions_tensors_or_wide_characters(tmp_path: Path) -> None:
    refused(file_of(tmp_path, words(shape=[3, 2] + [1] * 63)))
    entries = ",".join(f'"t{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}' for i in range(100_001))
    refused(file_of(tmp_path, "{" + entries + "}", b""))
    with pytest.raises(UnsupportedError, match="not ASCII"):
        header_of(file_of(tmp_path, META % ('{"a":"' + "é" * 2**21 + '"}')))


def test_text_without_end_is_refused(tmp_path: Path) -> None:
    pairs = ",".join(f'"k{i}":"v"' for i in range(70_000))
    assert "pairs" in str(refused(file_of(tmp_path, META % ("{" + pairs + "}"))))
    lists = PLAIN.replace('"dtype"', '"x":[' + "[]," * 60_000 + '1],"dtype"')
    assert "mean nothing" in str(refused(file_of(tmp_path, lists)))


@given(st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_headers(tmp_path: Path, raw: bytes) -> None:
    path = file_of(tmp_path, raw)
    try:
        header_of(path)
    except FormatError as error:
        assert error.path == str(path)


@given(st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_headers_agree_with_the_reference(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever vecio's scanner accepts, the reference library accepts with the same tensors."""
    raw = bytearray((META % '{"a":"b"}').encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(raw) - 1))
        cut = data.draw(st.integers(0, 3))
        raw[place : place + cut] = data.draw(
            st.sampled_from([b"", b"0", b'"', b"}", b"{", b"[", b"]", b",", b" ", b":", b"\\", b"F16"])
        )
    path = file_of(tmp_path, bytes(raw))
    try:
        container = header_of(path)
    except FormatError:
        return
    theirs = safetensors.deserialize(path.read_bytes())
    assert {name: (t["dtype"], list(t["shape"])) for name, t in theirs} == {
        name: (t.dtype, list(t.shape)) for name, t in container.tensors.items()
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"short", "too few"),
        (b"the of and to in a is that\n" * 9, "no header length"),
        (bytes(64), "no JSON object"),
        (b"\xff" * 64, "no header length"),
        (b"<!DOCTYPE html><html></html>", "no header length"),
    ],
)
def test_what_does_not_look_like_safetensors(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    file = MappedFile.open(path)
    assert reason in str(looks_like(file))
    file.close()
    with pytest.raises(UnknownFormatError):
        vecio.open(path)


def test_bytes_swapped_in_fours(tmp_path: Path) -> None:
    """C36."""
    raw = file_of(tmp_path, PLAIN + "   ").read_bytes()
    path = tmp_path / "swapped.safetensors"
    path.write_bytes(np.frombuffer(raw[: len(raw) // 4 * 4], "<u4").byteswap().tobytes())
    with pytest.raises(UnknownFormatError, match="big-endian"):
        vecio.open(path)


def test_built_headers_are_those_of_the_reference_writer(tmp_path: Path) -> None:
    """The same tensors in the same order at the same relative places; only the padding is wider."""
    arrays = {
        "b": np.arange(6, dtype=np.float32).reshape(2, 3),
        "a.half": np.ones((1, 3), np.float16),
        "z": np.arange(4, dtype=np.uint64),
        "i": np.arange(4, dtype=np.int64),
        "bytes": np.arange(5, dtype=np.uint8),
        "codes": np.arange(7, dtype=np.int8),
        "e": np.zeros((0, 3), np.float32),
    }
    codes = {"float32": "F32", "float16": "F16", "uint64": "U64", "int64": "I64", "uint8": "U8", "int8": "I8"}
    theirs = safetensors.numpy.save(arrays)
    head, tensors = build_header([(n, codes[a.dtype.name], a.shape) for n, a in arrays.items()], {"k": "v"})
    length = struct.unpack_from("<Q", theirs)[0]
    reference = json.loads(theirs[8 : 8 + length])
    assert list(reference) == [t.name for t in tensors]
    assert [reference[t.name]["data_offsets"] for t in tensors] == [
        [t.start - len(head), t.stop - len(head)] for t in tensors
    ]
    assert len(head) % 64 == 0
    path = tmp_path / "x.safetensors"
    path.write_bytes(head + theirs[8 + length :])
    assert {n: a.tobytes() for n, a in safetensors.numpy.load_file(path).items()} == {
        n: a.tobytes() for n, a in arrays.items()
    }


# -- rounding: numpy and the kernels give the same bits -------------------------------------------------------------


def rounding_inputs() -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    halves = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16).view(np.float16).astype(np.float32)
    with np.errstate(all="ignore"):
        between = ((halves[:-1].astype(np.float64) + halves[1:]) / 2).astype(np.float32)
    ties = rng.integers(-5, 6, (50, 9)).astype(np.float32) / 2
    ties[:, 0] = 63.5
    return [
        rng.standard_normal((2500, 31)).astype(np.float32),
        rng.integers(0, 1 << 32, (2000, 17), dtype=np.uint64).astype(np.uint32).view(np.float32),
        (rng.standard_normal((100, 5)) * 1e-44).astype(np.float32),
        (rng.standard_normal((300, 5)) * 7e4).astype(np.float32),
        np.array([[0.0, -0.0], [np.nan, -np.inf], [65519.996, 65520.0], [1e-8, -1e-8]], np.float32),
        np.zeros((0, 4), np.float32),
        halves.reshape(-1, 16),
        between[:65520].reshape(-1, 16),
        ties,
    ]


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_by_numpy_and_by_kernels(monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    for x in rounding_inputs():
        results = []
        for compiled in (False, True):
            monkeypatch.setattr(_effort, "kernels_due", lambda seconds, compiled=compiled: compiled)
            tally = Tally()
            results.append((round_rows(x, dtype, tally), tally))
        (plain, first), (fast, second) = results
        assert plain.values.dtype == fast.values.dtype
        assert (
            plain.values.tobytes() == fast.values.tobytes() and plain.norms.tobytes() == fast.norms.tobytes()
        )
        assert (plain.scales is None) == (fast.scales is None) == (dtype != "int8")
        if plain.scales is not None and fast.scales is not None:
            assert plain.scales.tobytes() == fast.scales.tobytes()
        assert (first.lost, first.largest_error) == (second.lost, second.largest_error)
        assert first.mean_error == pytest.approx(second.mean_error, rel=1e-12)
        assert (first.least_cosine is None) == (second.least_cosine is None)


def test_rounding_to_float16_is_numpys() -> None:
    for x in rounding_inputs():
        with np.errstate(all="ignore"):
            expected = x.astype(np.float16)
        found = round_rows(x, "float16").values
        usual = ~np.isnan(x)
        assert np.array_equal(found.view(np.uint16)[usual], expected.view(np.uint16)[usual])
        assert np.isnan(found[~usual]).all()


def test_rounding_to_int8_by_the_book() -> None:
    x = np.array([[127, -127, 0.5, 1.5, 2.5, -0.5], [0, 0, 0, 0, 0, 0], [1, np.nan, 2, 3, 4, 5]], np.float32)
    stored = round_rows(x, "int8")
    assert stored.values.tolist() == [[127, -127, 0, 2, 2, 0], [0] * 6, [0] * 6]
    assert stored.scales is not None
    assert stored.scales[:2].tolist() == [1.0, 0.0] and np.isnan(stored.scales[2])
    assert stored.norms[1] == 0 and np.isnan(stored.norms[2])


def test_what_the_tally_counts() -> None:
    tally = Tally()
    round_rows(np.array([[70000.0, 1.0], [1e6, np.inf]], np.float32), "float16", tally)
    assert tally.lost == 2
    tally = Tally()
    round_rows(np.array([[1.0, 0.0], [np.nan, 0.0], [np.inf, 1.0]], np.float32), "int8", tally)
    assert tally.lost == 2 and tally.least_cosine == 1.0


# -- the layout: what comes back ------------------------------------------------------------------------------------


def bits(vectors: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(vectors, np.float32).view(np.uint32)


@pytest.fixture(params=MODELS, ids=lambda path: path.name)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, vecio.Embeddings, vecio.Embeddings]:
    """A model of the reference programs and the float32 file made from it."""
    source = vecio.open(request.param)
    source.save(tmp_path / "m.safetensors", dtype="float32")
    return request.param, source, vecio.open(tmp_path / "m.safetensors")


def test_float32_gives_the_same_bits(pair: tuple[Path, vecio.Embeddings, vecio.Embeddings]) -> None:
    path, source, native = pair
    words = [*source.words, *UNKNOWN]
    assert np.array_equal(bits(source.embed(words, "zero")), bits(native.embed(words, "zero")))
    for word in words:
        assert source.can_embed(word) == native.can_embed(word)
        if source.can_embed(word):
            assert np.array_equal(bits(source[word]), bits(native[word]))
        assert source.subwords(word) == native.subwords(word)
        assert source.index(word) == native.index(word)
    for query in json.loads(path.with_suffix(".json").read_text())["queries"]:
        expected = np.frombuffer(bytes.fromhex(query["vector"]), "<f4")
        if native.can_embed(query["word"]):
            assert np.array_equal(bits(native[query["word"]]), bits(expected))


def test_everything_else_is_kept(pair: tuple[Path, vecio.Embeddings, vecio.Embeddings]) -> None:
    _, source, native = pair
    assert list(source.words) == list(native.words) and list(source.labels) == list(native.labels)
    assert np.array_equal(source.counts, native.counts)
    assert (len(native), native.dim, native.dtype, native.format) == (
        len(source),
        source.dim,
        "float32",
        "safetensors",
    )
    metadata = dict(native.metadata)
    assert metadata.pop("provenance") == {"format": source.format, "vecio": vecio.__version__}
    assert metadata == dict(source.metadata)
    texts = ["the quick brown fox", "", "Größe 狐狸 unknownword", "\udcff"]
    assert np.array_equal(bits(source.encode(texts)), bits(native.encode(texts)))


def test_predictions_are_the_same(pair: tuple[Path, vecio.Embeddings, vecio.Embeddings]) -> None:
    path, source, native = pair
    if source._classifier is None:
        with pytest.raises(UnsupportedError):
            native.predict("a")
        return
    for case in json.loads(path.with_suffix(".json").read_text())["predict"]:
        texts = [case["text"].replace("\n", " ")]
        ours, theirs = (
            native.predict(texts, case["k"], case["threshold"]),
            source.predict(texts, case["k"], case["threshold"]),
        )
        for (labels, scores), (expected, probabilities) in zip(ours, theirs, strict=True):
            assert labels == expected and np.array_equal(
                bits(np.asarray(scores)), bits(np.asarray(probabilities))
            )


def test_the_reference_library_reads_what_is_written(
    pair: tuple[Path, vecio.Embeddings, vecio.Embeddings],
) -> None:
    _, source, native = pair
    path = native.path
    assert path is not None
    tensors = safetensors.numpy.load_file(path)
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata()
    container = header_of(Path(path))
    assert list(container.tensors) == list(json.loads(Path(path).read_bytes()[8 : container.data_start]))[1:]
    assert metadata == container.metadata and metadata["format"] == "vecio"
    assert all(t.start % max(1, tensors[t.name].itemsize) == 0 for t in container.tensors.values())
    assert container.data_start % 64 == 0
    blob, offsets = tensors["vocab.bytes"].tobytes(), tensors["vocab.offsets"]
    entries = [blob[a:b] for a, b in itertools.pairwise(offsets)]
    assert [e.decode("utf-8", "surrogateescape") for e in entries] == [*source.words, *source.labels]
    table, mask = tensors["vocab.table"], len(tensors["vocab.table"]) - 1
    for i, entry in enumerate(entries):
        slot = zlib.crc32(entry) & mask
        while table[slot] & np.uint64(0xFFFFFFFF) != i + 1:
            assert table[slot] != 0
            slot = (slot + 1) & mask
        assert table[slot] >> np.uint64(32) == zlib.crc32(entry)
    digests = json.loads(metadata["digests"])
    assert digests == {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in tensors.items()}
    if "norms" in tensors:
        exact = np.sqrt((tensors["words"].astype(np.float64) ** 2).sum(axis=1))
        assert np.allclose(tensors["norms"], exact, rtol=1e-7, atol=0)


def test_bytes_are_deterministic(
    pair: tuple[Path, vecio.Embeddings, vecio.Embeddings], tmp_path: Path
) -> None:
    """The same bytes from the source again, from the native file itself, and with one thread or kernels or not."""
    _, source, native = pair
    assert native.path is not None
    first = Path(native.path).read_bytes()
    source.save(tmp_path / "again.safetensors", dtype="float32")
    native.save(tmp_path / "self.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == first
    assert (tmp_path / "self.safetensors").read_bytes() == first


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_smaller_numbers(dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cbow-ns.bin", "sup-softmax-w2-sub.bin", "q-cutoff.ftz"):
        source = vecio.open(DATA / "fasttext" / name)
        path = tmp_path / f"{name}.safetensors"
        source.save(path, dtype=dtype)
        native = vecio.open(path)
        assert native.dtype == dtype
        words = [*source.words, *UNKNOWN]
        before, after = source.embed(words, "zero"), native.embed(words, "zero")
        bound = np.abs(before).max() * (2**-10 if dtype == "float16" else 1 / 120)
        assert np.abs(before - after).max() <= bound
        assert native.can_embed("unknownword") == source.can_embed("unknownword")
        for word in words[::9]:
            if native.can_embed(word):
                assert np.array_equal(bits(native[word]), bits(native.embed([word])[0]))
        once = path.read_bytes()
        native.save(tmp_path / "self.safetensors")
        assert (tmp_path / "self.safetensors").read_bytes() == once
        for compiled in (False, True):
            with monkeypatch.context() as patch:
                patch.setattr(_effort, "kernels_due", lambda seconds, compiled=compiled: compiled)
                vecio.open(source.path or "").save(tmp_path / "other.safetensors", dtype=dtype)
            assert (tmp_path / "other.safetensors").read_bytes() == once
        if source._classifier is not None:
            assert native.predict("the cat sat", k=2)[0]


def test_stored_norms_are_those_of_the_stored_rows(tmp_path: Path) -> None:
    for dtype in DTYPES:
        vecio.open(DATA / "fasttext" / "sg-ns.bin").save(tmp_path / "m.safetensors", dtype=dtype)
        e = vecio.open(tmp_path / "m.safetensors")
        exact = np.sqrt((e.embed(e.words).astype(np.float64) ** 2).sum(axis=1))
        assert e._norms is not None and np.allclose(e._norms, exact, rtol=1e-7, atol=0)
        assert e.most_similar("the", topn=3)


def test_raw_rows_keep_the_whole_model(tmp_path: Path) -> None:
    source = vecio.open(DATA / "fasttext" / "cbow-ns.bin")
    path = tmp_path / "raw.safetensors"
    source.save(path, dtype="float32", raw_rows=True)
    native = vecio.open(path)
    raw, output = native._parts.raw_words, native._parts.output
    assert raw is not None and output is not None and source._grams is not None and native._grams is not None
    assert source._parts.output is not None
    for ours, theirs in (
        (raw, source._words),
        (output, source._parts.output),
        (native._grams, source._grams),
    ):
        assert np.array_equal(bits(ours.block(0, len(ours))), bits(theirs.block(0, len(theirs))))
    native.save(tmp_path / "again.safetensors", raw_rows=True)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    native.save(tmp_path / "slim.safetensors")
    source.save(tmp_path / "slim2.safetensors")
    assert (tmp_path / "slim.safetensors").read_bytes() == (tmp_path / "slim2.safetensors").read_bytes()
    with pytest.raises(ValueError, match="float32"):
        source.save(path, dtype="float16", raw_rows=True)
    with pytest.raises(UnsupportedError, match="no raw rows"):
        vecio.open(tmp_path / "slim.safetensors").save(path, raw_rows=True)
    with pytest.raises(ValueError, match="dtype must be"):
        source.save(path, dtype="float64")


WORDS = st.one_of(
    st.binary(max_size=12),
    st.text(max_size=6),
    st.sampled_from(["</s>", " ", "\n", "\0", "\u2028", "\ufeff", "a b"]),
)
NUMBERS = st.floats(width=32, allow_nan=True, allow_infinity=True, allow_subnormal=True)


@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_can_be_read(tmp_path: Path, data: st.DataObject) -> None:
    """Hostile words and numbers come back as they went in."""
    keys = {vecio.vocabulary.encode(word): word for word in data.draw(st.lists(WORDS, max_size=12))}
    dim = data.draw(st.integers(1, 4))
    rows = data.draw(
        st.lists(st.lists(NUMBERS, min_size=dim, max_size=dim), min_size=len(keys), max_size=len(keys))
    )
    vectors = np.array(rows, np.float32).reshape(len(keys), dim)
    e = vecio.Embeddings.from_arrays(
        list(keys.values()), vectors, metadata={"note": "é\ud800", "inf": float("inf")}
    )
    path = tmp_path / "m.safetensors"
    e.save(path)
    native = vecio.open(path)
    assert [vecio.vocabulary.encode(word) for word in native.words] == list(keys)
    assert np.array_equal(bits(native.embed(list(keys))), bits(vectors))
    assert native.metadata["note"] == "é\ud800" and native.metadata["inf"] == "inf"
    assert vecio.verify(path).to_dict()["ok"] == bool(np.isfinite(vectors).all())
    assert len(safetensors.numpy.load_file(path)) == len(header_of(path).tensors)


def test_models_from_arrays_with_ngrams(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    e = vecio.Embeddings.from_arrays(
        ["alpha", "beta", "gamma"],
        rng.standard_normal((3, 5)).astype(np.float32),
        counts=[3, 2, 1],
        grams=rng.standard_normal((40, 5)).astype(np.float32),
        minn=2,
        maxn=4,
        accumulated=False,
    )
    e.save(tmp_path / "m.safetensors")
    native = vecio.open(tmp_path / "m.safetensors")
    words = ["alpha", "beta", "gamma", "delta"]
    assert np.array_equal(bits(e.embed(words)), bits(native.embed(words)))
    e.save(tmp_path / "raw.safetensors", raw_rows=True)
    raw = vecio.open(tmp_path / "raw.safetensors")._parts.raw_words
    assert raw is not None and np.array_equal(bits(raw.block(0, 3)), bits(e._words.block(0, 3)))
    with pytest.raises(ValueError, match="JSON"):
        vecio.Embeddings.from_arrays(["a"], np.ones((1, 2)), metadata={"x": object()}).save(
            tmp_path / "n.safetensors"
        )
    assert not (tmp_path / "n.safetensors").exists()


def test_blocks_and_threads_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = vecio.open(DATA / "fasttext" / "sg-ns.bin")
    calls: list[tuple[int, int]] = []
    layout.write(
        source, tmp_path / "a.safetensors", "int8", progress=lambda done, total: calls.append((done, total))
    )
    monkeypatch.setattr(layout.writer, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(base, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(base, "CHUNK", 3)
    monkeypatch.setenv("VECIO_THREADS", "3")
    layout.write(source, tmp_path / "b.safetensors", "int8")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert source._grams is not None
    assert calls[-1] == (len(source) + len(source._grams),) * 2


# -- the layout: what is refused ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file with sub-words."""
    rng = np.random.default_rng(1)
    e = vecio.Embeddings.from_arrays(
        ["alpha", "beta"],
        rng.standard_normal((2, 3)),
        counts=[2, 1],
        grams=rng.standard_normal((4, 3)),
        minn=2,
        maxn=3,
    )
    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    e.save(path, dtype="int8")
    return path


def test_every_flipped_bit_is_noticed(tiny: Path, tmp_path: Path) -> None:
    """In the header when the file is opened, in the data by `verify` (G9)."""
    raw = tiny.read_bytes()
    start = header_of(tiny).data_start
    path = tmp_path / "flipped.safetensors"
    path.write_bytes(raw)
    unnoticed = []
    with path.open("r+b", buffering=0) as stream:
        for place in range(len(raw)):
            for bit in range(8):
                os.pwrite(stream.fileno(), bytes([raw[place] ^ 1 << bit]), place)
                if not noticed(path, place >= start):
                    unnoticed.append((place, bit))
            os.pwrite(stream.fileno(), raw[place : place + 1], place)
    assert not unnoticed
    assert path.read_bytes() == raw and vecio.verify(path).ok


def noticed(path: Path, in_data: bool) -> bool:
    """Say whether opening refuses a file, or, where the damage is in the data, `verify` finds it."""
    try:
        vecio.open(path).close()
    except VecioError:
        return True
    return in_data and not vecio.verify(path).ok


def test_every_cut_is_refused(tiny: Path, tmp_path: Path) -> None:
    raw = tiny.read_bytes()
    path = tmp_path / "cut.safetensors"
    for length in range(len(raw)):
        path.write_bytes(raw[:length])
        with pytest.raises(VecioError):
            vecio.open(path)
    path.write_bytes(raw + b"\0")
    with pytest.raises(FormatError, match="no tensor"):
        vecio.open(path)


def remade(path: Path, target: Path, change: Callable[[dict[str, Any], dict[str, np.ndarray]], None]) -> Path:
    """Write a vecio file again with other settings or tensors and a right checksum: only the layout's checks are left.

    `change` gets the metadata (settings and digests as objects) and the tensors.
    """
    tensors = safetensors.numpy.load_file(path)
    metadata: dict[str, Any] = dict(header_of(path).metadata)
    for key in ("settings", "digests", "provenance"):
        metadata[key] = json.loads(metadata[key])
    metadata["header_crc32"] = "00000000"
    change(metadata, tensors)
    text = {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}
    codes = {
        "f4": "F32",
        "f2": "F16",
        "u8": "U64",
        "i8": "I64",
        "u1": "U8",
        "i1": "I8",
        "i4": "I32",
        "f8": "F64",
    }
    head, placed = build_header([(n, codes[a.dtype.str[1:]], a.shape) for n, a in tensors.items()], text)
    crc = b"%08x" % zlib.crc32(head)
    head = head.replace(b'"header_crc32":"00000000"', b'"header_crc32":"' + crc + b'"')
    target.write_bytes(head + b"".join(tensors[t.name].tobytes() for t in placed))
    return target


def test_remade_files_open(tiny: Path, tmp_path: Path) -> None:
    path = remade(tiny, tmp_path / "m.safetensors", lambda metadata, tensors: None)
    assert vecio.open(path)["alpha"].shape == (3,) and vecio.verify(path).ok


def drop(*names: str) -> Callable[[dict[str, Any], dict[str, np.ndarray]], None]:
    return lambda metadata, tensors: [tensors.pop(name) for name in names] and None


def put(**settings: Any) -> Callable[[dict[str, Any], dict[str, np.ndarray]], None]:
    return lambda metadata, tensors: metadata["settings"].update(settings)


def tensor(
    name: str, make: Callable[[np.ndarray], np.ndarray]
) -> Callable[[dict[str, Any], dict[str, np.ndarray]], None]:
    return lambda metadata, tensors: tensors.update({name: make(tensors[name])})


def meta(**values: Any) -> Callable[[dict[str, Any], dict[str, np.ndarray]], None]:
    return lambda metadata, tensors: metadata.update(values)


CONTRADICTIONS = {
    **{
        f"no {n}": drop(n)
        for n in (
            "words",
            "words.scales",
            "grams",
            "grams.scales",
            "vocab.bytes",
            "vocab.offsets",
            "vocab.table",
        )
    },
    "S80 one word too few": put(nwords=1),
    "S80 one word too many": put(nwords=3),
    "S80 no words": put(nwords=0),
    "labels that are not there": put(nlabels=1),
    "dim": put(dim=4),
    "dim 0": put(dim=0),
    "dim huge": put(dim=2**40),
    "dim true": put(dim=True),
    "dim text": put(dim="3"),
    "dim missing": put(dim=None),
    "negative bucket": put(bucket=-1),
    "another bucket": put(bucket=5),
    "no bucket": put(bucket=0),
    "no accumulated": put(accumulated=None),
    "supervised without output": put(model="supervised", nlabels=0),
    "hash": put(hash="md5"),
    "hash count": put(hash="floret", hash_count=5),
    "S62 exchanged": tensor("words", lambda a: a.T.copy()),
    "words of another dtype": tensor("words", lambda a: a.astype(np.float64)),
    "scales of another length": tensor("words.scales", lambda a: a[:1]),
    "norms of another length": tensor("norms", lambda a: a[:1]),
    "counts of another length": tensor("counts", lambda a: a[:1]),
    "table too short": tensor("vocab.table", lambda a: a[:2]),
    "table too long": tensor("vocab.table", lambda a: np.concatenate([a, a])),
    "offsets of another length": tensor("vocab.offsets", lambda a: a[:-1]),
    "first offset": tensor("vocab.offsets", lambda a: a + 1),
    "last offset": tensor("vocab.offsets", lambda a: np.append(a[:-1], 99)),
    "settings no object": meta(settings="[]"),
    "settings no JSON": meta(settings="{"),
    "settings with NaN": meta(settings='{"dim":NaN}'),
    "settings nested": meta(settings="[" * 100_000),
    "settings with a huge number": meta(settings='{"dim":' + "9" * 100_000 + "}"),
    "no settings": lambda metadata, tensors: metadata.pop("settings") and None,
    "no provenance": lambda metadata, tensors: metadata.pop("provenance") and None,
    "min_reader no number": meta(min_reader="one"),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_contradictions(case: str, tiny: Path, tmp_path: Path) -> None:
    path = remade(tiny, tmp_path / "m.safetensors", CONTRADICTIONS[case])
    kind = UnsupportedError if case.startswith("hash") else FormatError
    with pytest.raises(kind, match=str(path)) as caught:
        vecio.open(path)
    assert len(str(caught.value)) < 500


def test_later_layouts(tiny: Path, tmp_path: Path) -> None:
    """More than we know is ignored when the file says that we may; else both numbers are named."""

    def extend(metadata: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        metadata.update(version="7", future="x")
        metadata["settings"]["future"] = [1, {"a": None}]
        tensors["future"] = np.zeros((2, 2), np.float64)

    path = remade(tiny, tmp_path / "m.safetensors", extend)
    assert np.array_equal(vecio.open(path)["alpha"], vecio.open(tiny)["alpha"])
    path = remade(tiny, tmp_path / "n.safetensors", meta(min_reader="3"))
    with pytest.raises(UnsupportedError, match=r"layout 3.*up to 2"):
        vecio.open(path)


def test_a_header_without_its_checksum(tiny: Path, tmp_path: Path) -> None:
    raw = tiny.read_bytes()
    path = tmp_path / "m.safetensors"
    path.write_bytes(raw.replace(b'"header_crc32":"', b'"header_crc33":"'))
    with pytest.raises(FormatError, match="no checksum"):
        vecio.open(path)
    place = raw.index(b'"header_crc32":"') + 16
    path.write_bytes(raw[:place] + b"00000000" + raw[place + 8 :])
    with pytest.raises(FormatError, match="checksum") as caught:
        vecio.open(path)
    assert caught.value.offset == place and caught.value.expected == raw[place : place + 8].decode()


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        tensor("vocab.offsets", lambda a: np.array([0, 10**15, a[-1]])),
        tensor("vocab.offsets", lambda a: np.array([0, -5, a[-1]])),
        tensor("vocab.table", lambda a: np.full_like(a, np.uint64(2**64 - 1))),
        tensor("vocab.table", lambda a: a | np.uint64(0xFFFFFFF0)),
        tensor("vocab.table", lambda a: np.zeros_like(a)),
        tensor("vocab.table", lambda a: a[::-1].copy()),
    ],
)
def test_damaged_vocabularies_neither_crash_nor_mislead(
    change: Any, compiled: bool, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_effort, "kernels_due", lambda seconds: compiled)
    path = remade(tiny, tmp_path / "m.safetensors", change)
    with pytest.raises(FormatError, match=r"vocab\..* does not have its checksum"):
        vecio.open(path)
    monkeypatch.setattr(
        layout.reader, "EAGER", -1
    )  # as if it were a large file, which is not read when opened
    sound, e = vecio.open(tiny), vecio.open(path)
    names = ["alpha", "beta", "gamma", ""]
    for i, word in enumerate(names):
        assert e.index(word) in (-1, i)
    assert all(row in (-1, i) for i, row in enumerate(e.index(names).tolist()))
    for ask in (
        lambda: e.words[0],
        lambda: list(e.words),
        lambda: e.embed(names, "zero"),
        lambda: e["alpha"],
        lambda: e.explain("gamma"),
        lambda: e.most_similar("alpha"),
        lambda: e.save(tmp_path / "again.safetensors"),
    ):
        try:
            ask()
        except FormatError as error:
            assert str(path) in str(error)
    report = vecio.verify(path)
    assert not report.ok
    assert np.array_equal(sound["alpha"], vecio.open(tiny)["alpha"])


def test_pruned_pairs_outside_the_rows(tmp_path: Path) -> None:
    vecio.open(DATA / "fasttext" / "q-cutoff.ftz").save(tmp_path / "a.safetensors", compact=False)
    for wrong in (-1, 10**6):
        change = tensor("prune", lambda a, wrong=wrong: np.vstack([a[:3], [[1, wrong]], a[4:]]))
        path = remade(tmp_path / "a.safetensors", tmp_path / "b.safetensors", change)
        with pytest.raises(FormatError, match=r"prune\[3\]"):
            vecio.open(path)


# -- the file under an open model -----------------------------------------------------------------------------------


def test_overwritten_in_place(tiny: Path, tmp_path: Path) -> None:
    """C46: a clean error, not other vectors."""
    path = tmp_path / "m.safetensors"
    path.write_bytes(tiny.read_bytes())
    e = vecio.open(path)
    with path.open("r+b") as stream:
        stream.seek(-8, 2)
        stream.write(b"\1" * 8)
    for ask in (
        lambda: e["alpha"],
        lambda: e.embed(["alpha"]),
        lambda: "alpha" in e,
        lambda: e.most_similar("alpha"),
    ):
        with pytest.raises(FormatError, match="rewritten"):
            ask()


def test_cut_while_open(tiny: Path, tmp_path: Path) -> None:
    """C40 to C42."""
    for length in (0, 1000, tiny.stat().st_size - 1):
        path = tmp_path / "m.safetensors"
        path.write_bytes(tiny.read_bytes())
        e = vecio.open(path)
        with path.open("r+b") as stream:
            stream.truncate(length)
        with pytest.raises(FormatError, match="cut while it was open"):
            e.embed(["alpha", "delta"])
        path.unlink()


def test_saving_over_the_mapped_file(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    vecio.open(DATA / "fasttext" / "sg-ns.bin").save(path)
    old = vecio.open(path)
    before = old.embed(old.words)
    old.save(path, dtype="float16")
    assert np.array_equal(old.embed(old.words), before)
    assert vecio.open(path).dtype == "float16"


@pytest.mark.parametrize("call", ["write", "seek", "fsync", "replace"])
def test_a_failing_write_leaves_the_old_file(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every write, seek, fsync and rename of a save fails once (G8)."""
    path = tmp_path / "m.safetensors"
    source = vecio.open(DATA / "fasttext" / "sg-ns.bin")
    source.save(path)
    before = path.read_bytes()
    failures = 0
    while failures < 100:
        left = [failures]

        def failing(real: Callable[..., Any], left: list[int] = left) -> Callable[..., Any]:
            def function(*arguments: Any, **options: Any) -> Any:
                left[0] -= 1
                if left[0] == -1:
                    raise OSError(28, "No space left on device")
                return real(*arguments, **options)

            return function

        with monkeypatch.context() as patch:
            if call in ("fsync", "replace"):
                patch.setattr(os, call, failing(getattr(os, call)))
            else:
                patch.setattr(layout.writer, "atomic_write", with_streams(failing, call))
            try:
                source.save(path, dtype="float16")
            except OSError as error:
                assert "No space left" in str(error)
        assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]
        if left[0] >= 0:
            break
        failures += 1
        if path.read_bytes() != before:  # only the folder was not flushed: the new file is in its place
            assert call == "fsync" and vecio.verify(path).ok
            source.save(path)
    assert 0 < failures < 100 and vecio.open(path).dtype == "float16"


def with_streams(failing: Callable[..., Any], call: str) -> Callable[..., Any]:
    """Return `atomic_write` whose stream's `call` fails as told."""

    @contextlib.contextmanager
    def writing(path: Any) -> Iterator[Any]:
        with atomic_write(path) as stream:
            methods = {name: getattr(stream, name) for name in ("write", "seek")}
            methods[call] = failing(methods[call])
            yield SimpleNamespace(**methods)

    return writing


def test_a_published_model(tmp_path: Path, data_folder: Path) -> None:
    """lid.176: quantised, pruned, Huffman tree; the same languages with the same probabilities."""
    source = vecio.open(data_folder / "models" / "fasttext" / "lid.176.ftz")
    source.save(tmp_path / "m.safetensors")
    native = vecio.open(tmp_path / "m.safetensors")
    texts = [*(DATA / "text" / "unsup.txt").read_bytes().split(b"\n")[:200], b""]
    for (labels, scores), (expected, probabilities) in zip(
        native.predict(texts, k=5), source.predict(texts, k=5), strict=True
    ):
        assert labels == expected and np.array_equal(
            bits(np.asarray(scores)), bits(np.asarray(probabilities))
        )


@pytest.mark.parametrize("path", [p for p in MODELS if p.suffix == ".ftz"], ids=lambda path: path.name)
def test_codes_of_a_quantised_classifier_are_kept(path: Path, tmp_path: Path) -> None:
    """Words and n-grams keep their codes, and the norms theirs: the original file can be written again."""
    target, back = tmp_path / "m.safetensors", tmp_path / "back.ftz"
    report = vecio.convert(path, target)
    assert report.dtype == "pq" and not report.approximated and not report.lost
    assert target.stat().st_size < path.stat().st_size + 14_000  # the header, and the centroids twice
    texts = [*(DATA / "text" / "unsup.txt").read_bytes().split(b"\n")[:50], b"", b"unknown words"]
    with vecio.open(path) as source, vecio.open(target) as native:
        assert native.dtype == "pq" and list(native.words) == list(source.words)
        keys = [*source.words, *UNKNOWN]
        assert native.embed(keys, "zero").tobytes() == source.embed(keys, "zero").tobytes()
        for (labels, scores), (expected, wanted) in zip(
            native.predict(texts, k=3), source.predict(texts, k=3), strict=True
        ):
            assert labels == expected and np.array_equal(bits(np.asarray(scores)), bits(np.asarray(wanted)))
    assert vecio.verify(target).ok
    assert not vecio.convert(target, back).approximated
    assert back.read_bytes() == path.read_bytes()
    vecio.open(path).save(target, compact=False)
    vecio.convert(target, back)
    with vecio.open(path) as source, vecio.open(back) as again:
        assert again.embed(keys, "zero").tobytes() == source.embed(keys, "zero").tobytes()


def test_a_published_file_keeps_its_size(tmp_path: Path, data_folder: Path) -> None:
    source, target = data_folder / "models" / "fasttext" / "lid.176.ftz", tmp_path / "m.safetensors"
    vecio.convert(source, target)
    assert target.stat().st_size < source.stat().st_size
    vecio.convert(target, tmp_path / "back.ftz")
    assert (tmp_path / "back.ftz").read_bytes() == source.read_bytes()


def test_packed_pairs_that_are_cut(tmp_path: Path) -> None:
    vecio.open(DATA / "fasttext" / "q-cutoff.ftz").save(tmp_path / "a.safetensors")
    change = tensor("prune.pairs", lambda a: a[:-1])
    with pytest.raises(FormatError, match=r"prune\.pairs"):
        vecio.open(remade(tmp_path / "a.safetensors", tmp_path / "b.safetensors", change))


def test_pickle_and_threads(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    vecio.open(DATA / "fasttext" / "sg-ns.bin").save(path, dtype="float16")
    e = vecio.open(path)
    again = pickle.loads(pickle.dumps(e))
    expected = e.embed([*e.words, "unknownword"])
    assert np.array_equal(again.embed([*e.words, "unknownword"]), expected)
    differences: list[int] = []

    def ask() -> None:
        mine = vecio.open(path)
        differences.append(int((mine.embed([*e.words, "unknownword"]) != expected).sum()))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert differences == [0] * 8


def test_opening_needs_no_kernels_and_no_scan(tmp_path: Path) -> None:
    """A file is opened, and a known word found, without numba and without an index being made."""
    import subprocess
    import sys

    path = tmp_path / "m.safetensors"
    vecio.open(DATA / "fasttext" / "sg-ns.bin").save(path, dtype="float16")
    program = (
        "import sys, vecio\n"
        f"e = vecio.open({str(path)!r})\n"
        "e['the']; e.can_embed('unknownword'); e['unknownword']\n"
        "assert not {'numba', 'typer', 'safetensors', 'mmap_ninja'} & set(sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=DATA.parent.parent)
