"""Conversion and its report, and `verify`: what is kept, rounded and lost, and what a full pass over a file finds."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecio
from vecio import _effort
from vecio.errors import FormatError, UnknownFormatError, UnsupportedError, VecioError
from vecio.formats import safetensors as layout

DATA = Path(__file__).resolve().parent / "data"
MODELS = sorted(
    [*(DATA / "fasttext").glob("*.bin"), *(DATA / "fasttext").glob("*.ftz"), *(DATA / "floret").glob("*.bin")]
)
SG, CBOW, SUP = (DATA / "fasttext" / f"{name}.bin" for name in ("sg-ns", "cbow-ns", "sup-softmax-w2-sub"))


def levels(report: vecio.VerifyReport) -> list[str]:
    return [finding.level for finding in report.findings]


def messages(report: vecio.VerifyReport) -> str:
    return "\n".join(finding.message for finding in report.findings)


# -- conversion -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.name)
@pytest.mark.parametrize("dtype", [None, "float32", "float16", "int8"])
def test_every_model_to_every_dtype(path: Path, dtype: str | None, tmp_path: Path) -> None:
    target = tmp_path / "m.safetensors"
    report = vecio.convert(path, target, dtype=dtype)
    with vecio.open(path) as source, vecio.open(target) as native:
        assert (report.words, report.dim, report.labels) == (len(source), source.dim, len(source.labels))
        assert report.dtype == native.dtype == (dtype or source.dtype)
        assert list(native.words) == list(source.words)
    assert (report.source_bytes, report.target_bytes) == (path.stat().st_size, target.stat().st_size)
    assert (report.source, report.target, report.format) == (str(path), str(target), "safetensors")
    assert report.source_format == vecio.detect(path)
    assert bool(report.approximated) == (dtype in ("float16", "int8"))
    assert report.kept and report.seconds > 0
    assert json.loads(json.dumps(report.to_dict()))["words"] == report.words
    text = str(report)
    assert path.name in text and str(report.dim) in text and ("error" in text) == bool(report.approximated)
    if report.approximated:
        bound = {"float16": 2e-3, "int8": 2e-1}[report.dtype]
        assert 0 < report.mean_error < report.largest_error < bound
        assert report.least_cosine is not None and report.mean_cosine is not None
        assert 0.99 < report.least_cosine <= report.mean_cosine <= 1 + 1e-9
    else:
        assert report.largest_error == 0
    assert vecio.verify(target).ok


def test_the_same_bytes_as_save(tmp_path: Path) -> None:
    vecio.convert(SG, tmp_path / "a.safetensors", dtype="int8")
    vecio.open(SG).save(tmp_path / "b.safetensors", dtype="int8")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_from_one_native_file_to_another(tmp_path: Path) -> None:
    vecio.convert(SG, tmp_path / "full.safetensors", dtype="float32")
    report = vecio.convert(tmp_path / "full.safetensors", tmp_path / "half.safetensors", dtype="float16")
    assert report.approximated and report.source_format == "safetensors"
    vecio.convert(SG, tmp_path / "direct.safetensors", dtype="float16")
    assert (tmp_path / "half.safetensors").read_bytes() == (tmp_path / "direct.safetensors").read_bytes()
    report = vecio.convert(tmp_path / "half.safetensors", tmp_path / "copy.safetensors")
    assert not report.approximated and not report.lost and report.dtype == "float16"
    assert (tmp_path / "half.safetensors").read_bytes() == (tmp_path / "copy.safetensors").read_bytes()
    report = vecio.convert(tmp_path / "half.safetensors", tmp_path / "wide.safetensors", dtype="float32")
    assert not report.approximated


def test_what_is_lost_is_said(tmp_path: Path) -> None:
    report = vecio.convert(SG, tmp_path / "m.safetensors")
    assert "own rows" in " ".join(report.lost) and "output matrix" in " ".join(report.lost)
    report = vecio.convert(SG, tmp_path / "raw.safetensors", raw_rows=True)
    assert not report.lost and "own rows" in " ".join(report.kept)
    report = vecio.convert(SUP, tmp_path / "sup.safetensors")
    assert not report.lost and not report.approximated and "labels" in " ".join(report.kept)


def test_overflow_and_bad_numbers_are_counted(tmp_path: Path) -> None:
    vectors = np.array([[70000.0, 1], [1, 2], [np.nan, 1], [np.inf, 1]], np.float32)
    vecio.Embeddings.from_arrays(["a", "b", "c", "d"], vectors).save(tmp_path / "m.safetensors")
    report = vecio.convert(tmp_path / "m.safetensors", tmp_path / "half.safetensors", dtype="float16")
    assert any(item.startswith("1 numbers") and "infinite" in item for item in report.lost)
    assert np.isnan(vecio.open(tmp_path / "half.safetensors")["c"][0])
    report = vecio.convert(tmp_path / "m.safetensors", tmp_path / "codes.safetensors", dtype="int8")
    assert any(item.startswith("2 word vectors") and "NaN" in item for item in report.lost)
    assert np.isnan(vecio.open(tmp_path / "codes.safetensors")["d"]).all()
    assert "lost" in str(report)


def test_over_itself(tmp_path: Path) -> None:
    """Allowed while nothing is lost; the open file stays what it was."""
    path = tmp_path / "m.safetensors"
    vecio.convert(SG, path)
    before = path.read_bytes()
    report = vecio.convert(path, path)
    assert not report.lost and path.read_bytes() == before
    link = tmp_path / "link.safetensors"
    os.link(path, link)
    with pytest.raises(VecioError, match="over itself"):
        vecio.convert(path, link, dtype="float16")
    assert path.read_bytes() == before
    model = tmp_path / "m.bin"
    shutil.copy(SG, model)
    with pytest.raises(VecioError, match="over itself"):
        vecio.convert(model, model, format="safetensors")
    assert model.read_bytes() == SG.read_bytes()


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="extension"):
        vecio.convert(SG, tmp_path / "m.xyz")
    with pytest.raises(UnsupportedError, match="does not write"):
        vecio.convert(SG, tmp_path / "m.magnitude")
    with pytest.raises(ValueError, match="no format"):
        vecio.convert(SG, tmp_path / "m", format="nonsense")
    with pytest.raises(ValueError, match="dtype"):
        vecio.convert(SG, tmp_path / "m.safetensors", dtype="float64")
    with pytest.raises(ValueError, match="float32"):
        vecio.convert(SG, tmp_path / "m.safetensors", dtype="int8", raw_rows=True)
    with pytest.raises(FileNotFoundError):
        vecio.convert(tmp_path / "none.bin", tmp_path / "m.safetensors")
    with pytest.raises(FileNotFoundError):
        vecio.convert(SG, tmp_path / "no" / "such" / "folder" / "m.safetensors")
    with pytest.raises(VecioError):
        vecio.convert(DATA / "README.md", tmp_path / "m.safetensors")
    broken = tmp_path / "broken.bin"
    broken.write_bytes(SG.read_bytes()[:-1])
    with pytest.raises(FormatError):
        vecio.convert(broken, tmp_path / "m.safetensors")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken.bin"]
    report = vecio.convert(SG, tmp_path / "m", format="safetensors")
    assert report.format == "safetensors" and vecio.detect(tmp_path / "m") == "safetensors"


def test_progress(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    vecio.convert(SG, tmp_path / "m.safetensors", progress=lambda done, total: calls.append((done, total)))
    assert calls[-1][0] == calls[-1][1] > 0 and [done for done, _ in calls] == sorted(
        done for done, _ in calls
    )
    calls.clear()
    vecio.verify(tmp_path / "m.safetensors", progress=lambda done, total: calls.append((done, total)))
    assert calls[-1][0] == calls[-1][1] > 0 and [done for done, _ in calls] == sorted(
        done for done, _ in calls
    )


def test_a_stopped_conversion_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    target = tmp_path / "m.safetensors"
    target.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        vecio.convert(SG, target, progress=stop)
    assert target.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_quality_on_vectors_with_structure(tmp_path: Path) -> None:
    """float16 keeps cosines to 1e-5 and nearly all neighbours; int8 keeps 98 of 100."""
    rng = np.random.default_rng(3)
    vectors = (
        rng.standard_normal((3000, 20)) @ rng.standard_normal((20, 100)) + rng.standard_normal((3000, 100))
    ).astype(np.float32)
    vecio.Embeddings.from_arrays([f"w{i}" for i in range(3000)], vectors).save(tmp_path / "m.safetensors")
    half = vecio.convert(tmp_path / "m.safetensors", tmp_path / "h.safetensors", dtype="float16")
    assert half.least_cosine is not None and half.least_cosine > 0.99999
    assert half.neighbour_overlap is not None and half.neighbour_overlap > 0.99
    codes = vecio.convert(tmp_path / "m.safetensors", tmp_path / "c.safetensors", dtype="int8")
    assert codes.neighbour_overlap is not None and codes.neighbour_overlap > 0.95
    after = vecio.open(tmp_path / "h.safetensors").embed([f"w{i}" for i in range(3000)])
    assert half.largest_error == pytest.approx(np.abs(after - vectors).max(), rel=1e-6)
    assert half.mean_error == pytest.approx(np.abs(after.astype(np.float64) - vectors).mean(), rel=1e-6)


MEMORY = """
import sys, threading, time
import numpy as np, vecio

def private():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon:")) / 1024

target, dtype = sys.argv[1:]
rng = np.random.default_rng(0)
vecio.Embeddings.from_arrays(
    [f"word{i}" for i in range(40000)], rng.standard_normal((40000, 300), np.float32),
    grams=rng.standard_normal((40000, 300), np.float32), minn=3, maxn=5,
).save(target)
vecio.convert(target, target + ".1.safetensors", dtype=dtype)  # everything is compiled now
before, most, going = private(), [0.0], [True]

def watch():
    while going[0]:
        most[0] = max(most[0], private())
        time.sleep(0.002)

thread = threading.Thread(target=watch)
thread.start()
vecio.convert(target, target + ".2.safetensors", dtype=dtype)
vecio.verify(target)
going[0] = False
thread.join()
print(most[0] - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_memory_is_bounded(dtype: str, tmp_path: Path) -> None:
    """A file of 96 MB is converted and verified within 64 MB."""
    result = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "m.safetensors"), dtype],
        check=True,
        capture_output=True,
        text=True,
        cwd=DATA.parent.parent,
    )
    assert float(result.stdout) < 64


# -- verification ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.name)
@pytest.mark.parametrize("compiled", [False, True])
def test_sound_models(path: Path, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_effort, "kernels_due", lambda seconds: compiled)
    report = vecio.verify(path)
    assert report.ok and report.words == len(vecio.open(path)) and set(levels(report)) <= {"note"}
    assert json.loads(json.dumps(report.to_dict()))["ok"] is True and "no errors" in str(report)


def floats_at(path: Path, offset: int, values: list[float]) -> None:
    with path.open("r+b") as stream:
        stream.seek(offset, 0 if offset >= 0 else 2)
        stream.write(np.array(values, "<f4").tobytes())


def test_numbers_that_are_not_finite(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    shutil.copy(SG, path)
    e = vecio.open(path)
    rows = len(e) * e.dim * 4  # the output matrix ends the file
    floats_at(path, -8, [float("nan")])
    floats_at(path, -rows, [float("inf")])
    report = vecio.verify(path)
    assert not report.ok and "output: 2 rows with numbers that are not finite: row 0, row" in messages(report)
    assert "damaged" in str(report)


def test_rows_of_zeros_duplicates_and_odd_words(tmp_path: Path) -> None:
    from vecio.embeddings import Parts
    from vecio.matrix import Float32
    from vecio.vocabulary import Vocabulary

    keys = [b"a", b"b", b"a", b"\xff", b"", "é".encode(), b"b", b"a"]
    vocabulary = Vocabulary.from_words(keys, [5, 4, 6, 3, 2, -1, 0, 0])
    vectors = np.ones((len(keys), 3), np.float32)
    vectors[4] = 0
    path = tmp_path / "m.safetensors"
    vecio.Embeddings(Parts(vocabulary, Float32(vectors), "arrays")).save(path)
    report = vecio.verify(path)
    text = messages(report)
    assert "3 entries occur before" in text and "'a' (row 2)" in text
    assert "1 entries are not UTF-8" in text and "(row 3)" in text
    assert "words: 1 rows are zero: row 4" in text
    assert "counts of the words do not fall" in text
    assert "negative counts of words, the first at row 5" in text
    assert levels(report).count("error") == 1


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_every_tensor_has_its_digest(dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vecio._binary import MappedFile
    from vecio._safetensors import read_header

    path = tmp_path / "m.safetensors"
    vecio.convert(SUP, path, dtype=dtype)
    raw = path.read_bytes()
    file = MappedFile.open(path)
    tensors = read_header(file).tensors
    file.close()
    assert vecio.verify(path).digests == len(tensors)
    monkeypatch.setattr(layout.reader, "EAGER", -1)  # as in a large file
    for tensor in tensors.values():
        damaged = bytearray(raw)
        damaged[tensor.start + (tensor.stop - tensor.start) // 2] ^= 1
        path.write_bytes(damaged)
        report = vecio.verify(path)
        assert not report.ok and f"tensor {tensor.name} (bytes {tensor.start}" in messages(report)
        assert report.findings[0].place == f"tensor {tensor.name}"


def test_norms_and_tables_that_disagree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found although the digests agree: a program of another hand may have made them."""
    import zlib

    monkeypatch.setattr(layout.reader, "EAGER", -1)  # as in a large file

    from vecio._binary import MappedFile
    from vecio._safetensors import read_header

    path = tmp_path / "m.safetensors"
    vecio.Embeddings.from_arrays(["alpha", "beta"], np.ones((2, 3), np.float32)).save(path)
    file = MappedFile.open(path)
    container = read_header(file)
    file.close()
    sound = path.read_bytes()

    def change(name: str, make: Any) -> vecio.VerifyReport:
        tensor = container.tensors[name]
        raw = bytearray(sound)
        old = raw[tensor.start : tensor.stop]
        new = make(bytes(old))
        raw[tensor.start : tensor.stop] = new
        head = bytes(raw[: container.data_start]).replace(
            hashlib.sha256(old).hexdigest().encode(), hashlib.sha256(new).hexdigest().encode()
        )
        place = head.index(b'"header_crc32":"') + 16
        head = head[:place] + b"00000000" + head[place + 8 :]
        raw[: container.data_start] = head[:place] + b"%08x" % zlib.crc32(head) + head[place + 8 :]
        path.write_bytes(raw)
        return vecio.verify(path)

    assert change("norms", lambda old: old).ok
    report = change("norms", lambda old: old[:4] + np.float32(9).tobytes())
    assert not report.ok and "norms: 1 are not those of the rows: row 1" in messages(report)
    report = change("vocab.table", lambda old: bytes(len(old)))
    assert not report.ok and "does not find 2 entries: 'alpha' (row 0)" in messages(report)
    report = change("vocab.table", lambda old: np.maximum(np.frombuffer(old, "<u8"), 1).tobytes())
    assert not report.ok and "the hash table has 4 entries, the vocabulary 2" in messages(report)
    report = change("vocab.offsets", lambda old: np.array([0, 99, 9], "<i8").tobytes())
    assert not report.ok and "offsets" in messages(report) and report.findings[0].place is not None


def test_bytes_that_contradict_the_format_are_findings(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    path.write_bytes(SG.read_bytes()[:-4])
    report = vecio.verify(path)
    assert not report.ok and len(report.findings) == 1
    assert str(path) in report.findings[0].message and report.to_dict()["ok"] is False
    path.write_bytes(b"no model at all, by no means")
    with pytest.raises(UnknownFormatError):
        vecio.verify(path)
    with pytest.raises(FileNotFoundError):
        vecio.verify(tmp_path / "none.bin")


def test_a_digest_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    shutil.copy(SG, path)
    beside = tmp_path / "m.bin.sha256"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    beside.write_text(f"{digest}  m.bin\n")
    report = vecio.verify(path)
    assert report.ok and report.digests == 1
    floats_at(path, -4, [0.125])
    report = vecio.verify(path)
    assert not report.ok and digest in messages(report)
    beside.write_text("not a digest\n")
    assert vecio.verify(path).digests == 0


# -- reports that are true ------------------------------------------------------------------------------------------


def test_a_report_counts_what_the_target_has(tmp_path: Path) -> None:
    words, grams = np.ones((3, 4), np.float32), np.ones((5, 4), np.float32)
    e = vecio.Embeddings.from_arrays(["a b", "c", "d"], words, grams=grams, minn=2, maxn=3)
    e.save(tmp_path / "m.safetensors")
    calls: list[tuple[int, int]] = []
    report = vecio.convert(
        tmp_path / "m.safetensors",
        tmp_path / "m.bin",
        format="word2vec",
        drop=True,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert (report.words, report.grams, report.labels) == (2, 0, 0) and calls[-1] == (2, 2)
    assert "the words, their order and bytes" not in report.kept
    assert "the order and bytes of the words that are not left out" in report.kept


def test_numbers_that_codes_cannot_hold_are_said(tmp_path: Path) -> None:
    vectors = np.ones((4, 4), np.float32)
    vectors[1, 2], vectors[3, 0] = np.nan, np.inf
    vecio.Embeddings.from_arrays(["a", "b", "c", "d"], vectors).save(tmp_path / "m.safetensors")
    report = vecio.convert(tmp_path / "m.safetensors", tmp_path / "m.ftz")
    assert "2 rows with NaN or infinite numbers: these numbers count as 0" in report.lost
    report = vecio.convert(tmp_path / "m.safetensors", tmp_path / "n.safetensors", dtype="pq2")
    assert "2 word vectors with NaN or infinite numbers: all NaN as pq2" in report.lost


def test_a_switch_that_is_off_reaches_the_writer(tmp_path: Path) -> None:
    e = vecio.Embeddings.from_arrays(["a"], np.ones((1, 2), np.float32))
    with pytest.raises(ValueError, match="binary=False"):
        e.save(tmp_path / "m.bin", format="word2vec", binary=False)


@pytest.mark.parametrize("format", [f["name"] for f in vecio.formats() if f["write"]])
@pytest.mark.parametrize("dtype", ["pq0", "pqx", "pq99", "float8"])
def test_a_dtype_that_cannot_be_is_a_value_error(format: str, dtype: str, tmp_path: Path) -> None:
    if format in ("parquet", "arrow"):
        pytest.importorskip("pyarrow")
    e = vecio.Embeddings.from_arrays(["a", "b"], np.ones((2, 4), np.float32))
    with pytest.raises(ValueError, match=r"dtype must be|pieces|codes of a row"):
        e.save(tmp_path / "m", format=format, dtype=dtype)
    assert not list(tmp_path.iterdir())


def test_settings_that_change_are_not_kept(tmp_path: Path) -> None:
    source = DATA / "floret" / "floret-hc2.bin"
    report = vecio.convert(source, tmp_path / "m.bin", format="fasttext")
    assert "the settings" in report.lost
    report = vecio.convert(source, tmp_path / "n.bin", format="floret")
    assert "the settings" in report.kept


def test_a_name_that_several_formats_share_means_that_of_the_source(tmp_path: Path) -> None:
    source = Path(__file__).parent / "data" / "floret" / "floret-hc2.bin"
    report = vecio.convert(source, tmp_path / "copy.bin")
    assert report.format == "floret" and not report.lost
    assert (tmp_path / "copy.bin").read_bytes() == source.read_bytes()
