"""Properties that hold for every input: hypothesis makes the files, words and arrays.

Damaged files are refused or give a model that agrees with itself; any word at all gets the vector that the slow twin
computes; what was made of arrays and saved is what is opened. test_hostile.py has the cases that were thought of.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hostile
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from models import DATA

import vecio

CLEAN = (vecio.VecioError, OSError)
GOLDEN = (
    "fasttext/sg-ova.bin",
    "fasttext/cbow-softmax.bin",
    "fasttext/sup-softmax.bin",
    "fasttext/q-ova.ftz",
    "floret/floret-hc4.bin",
)

# --- damaged files -----------------------------------------------------------------------------------------------


def native_bytes() -> dict[str, bytes]:
    """Return small models as our own files."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("fasttext/sg-ova.bin", "fasttext/sup-softmax.bin"):
            for dtype in ("float32", "int8"):
                path = Path(folder) / "m.safetensors"
                with vecio.open(DATA / name) as e:
                    e.save(path, dtype=dtype)
                found[f"{name} as {dtype}"] = path.read_bytes()
    return found


FILES = {name: (DATA / name).read_bytes() for name in GOLDEN} | native_bytes()
places = st.one_of(st.integers(0, 300), st.integers(0, 2**31))
edits = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), places, st.integers(0, 7)),
        st.tuples(st.just("set"), places, st.sampled_from([0, 1, 127, 128, 255])),
        st.tuples(st.just("cut"), places, st.just(0)),
        st.tuples(st.just("insert"), places, st.binary(min_size=1, max_size=9)),
        st.tuples(st.just("delete"), places, st.integers(1, 9)),
        st.tuples(st.just("append"), st.just(0), st.binary(min_size=1, max_size=9)),
    ),
    min_size=1,
    max_size=3,
)


def damaged(data: bytes, changes: list[tuple[str, int, Any]]) -> bytes:
    """Do the edits one after the other."""
    made = bytearray(data)
    for kind, place, value in changes:
        at = place % max(1, len(made))
        if kind == "append":
            made += value
        elif kind == "insert":
            made[at:at] = value
        elif kind == "cut":
            del made[at:]
        elif kind == "delete":
            del made[at : at + value]
        elif made:
            made[at] = value if kind == "set" else made[at] ^ 1 << value
    return bytes(made)


@contextmanager
def file_of(data: bytes, name: str = "model") -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        yield path


@settings(max_examples=600)
@given(st.sampled_from(sorted(FILES)), edits)
@example("fasttext/sg-ova.bin", [("cut", 3153, 0)])
@example("fasttext/q-ova.ftz", [("flip", 76, 0)])
def test_damaged_files_are_refused_or_agree_with_themselves(
    name: str, changes: list[tuple[str, int, Any]]
) -> None:
    with file_of(damaged(FILES[name], changes)) as path:
        try:
            with vecio.open(path) as e:
                assert hostile.inconsistency(e, CLEAN) is None
        except CLEAN as error:
            assert str(path) in str(error)


@settings(max_examples=300)
@given(st.integers(0, 2**63))
def test_files_that_know_the_structure(seed: int) -> None:
    """The files of tools/fuzz.py: accepted ones answer as the twin does."""
    bases = [model.layout() for model in hostile.bases()]
    data = hostile.mutant(seed, bases)
    with file_of(data) as path:
        try:
            with vecio.open(path) as e:
                assert hostile.inconsistency(e, CLEAN) is None
                truth = (
                    hostile.parse(data)
                    if data[:4] == b"\xba\x16\x4f\x2f" and e.format == "fasttext"
                    else None
                )
                if truth is not None and truth.args["bucket"] > 0 and truth.args["maxn"] < 50:
                    assert hostile.difference(e, truth) is None
        except CLEAN as error:
            assert str(path) in str(error)


FUZZED = {
    "fasttext": 1200,
    "safetensors": 1200,
    "text": 600,
    "word2vec": 600,
    "tables": 600,
    "finalfusion": 600,
}
FUZZED |= {"floret-spacy": 600, "gensim": 600, "sentences": 600}


@pytest.mark.parametrize("format", FUZZED)
def test_the_fuzzer_finds_nothing_bad(format: str) -> None:
    if format == "tables":
        pytest.importorskip("pyarrow")
    tool = Path(__file__).resolve().parent.parent / "tools" / "fuzz.py"
    command = [sys.executable, "-B", str(tool), "--format", format, "--count", str(FUZZED[format])]
    command += ["--seed", "7", "--jobs", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    counted = [
        int(n.replace(",", ""))
        for n in re.findall(r"([\d,]+) (?:refused|answered)", done.stdout.splitlines()[-1])
    ]
    assert sum(counted) == FUZZED[format] and min(counted) > 0


@settings(max_examples=300)
@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\xba\x16\x4f\x2f", b"\xba\x16\x4f\x2f\x0c\0\0\0", b"\x20\0\0\0\0\0\0\0{"]),
)
def test_any_bytes(data: bytes, start: bytes) -> None:
    with file_of(start + data) as path:
        with pytest.raises(CLEAN) as caught:
            vecio.open(path)
        assert str(path) in str(caught.value)


# --- any word ----------------------------------------------------------------------------------------------------

anything = st.one_of(
    st.text(max_size=30),
    st.text(st.characters(), max_size=12),  # lone surrogates too
    st.binary(max_size=30),
    st.text("<>aß狐🦊\u0301\u200d", max_size=20),
    st.sampled_from(
        [
            "",
            "</s>",
            "<",
            ">",
            "\0",
            "a\0b",
            "\n",
            "\udcff",
            "\ud800",
            "\udc80\ud800",
            b"\xff",
            b"\xed\xa0\x80",
        ]
    ),
)
MODELS = {
    "dense": hostile.whole_bin(),
    "one to three": hostile.whole_bin(minn=1, maxn=3),
    "no end": hostile.whole_bin(minn=0, maxn=40, bucket=97),
    "without n-grams": hostile.whole_bin(minn=0, maxn=0, bucket=0),
    "classifier": hostile.whole_supervised(),
    "pruned": hostile.whole_ftz(),
    "pruned, no norms": hostile.whole_ftz(qnorm=False),
}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, vecio.Embeddings]]:
    """All models of MODELS, and each of them saved as our own file."""
    folder, found = tmp_path_factory.mktemp("models"), {}
    for i, (name, model) in enumerate(MODELS.items()):
        path = folder / f"{i}.bin"
        path.write_bytes(model.dump())
        found[name] = vecio.open(path)
        found[name].save(folder / f"{i}.safetensors", dtype="float32")
        found["native " + name] = vecio.open(folder / f"{i}.safetensors")
    yield found
    for e in found.values():
        e.close()


def key(word: str | bytes) -> bytes:
    """Return a word's bytes as the specification says."""
    if isinstance(word, bytes):
        return word
    try:
        return word.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return word.encode("utf-8", "surrogatepass")


@settings(max_examples=300)
@given(words=st.lists(anything, min_size=1, max_size=8), kernels=st.booleans())
def test_any_word_gets_the_twins_vector(
    words: list[str | bytes], kernels: bool, opened: dict[str, vecio.Embeddings]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vecio._effort._loaded", kernels)
        patch.setattr("vecio._effort._spent", -1e12)
        for name, e in opened.items():
            truth = MODELS[name.removeprefix("native ")]
            batch = e.embed(words, missing="zero", threads=2)
            for word, row in zip(words, batch, strict=True):
                right, rows = hostile.twin(truth, key(word)), hostile.twin_rows(truth, key(word))
                assert hostile.same(row, right), (name, word)
                assert e.can_embed(word) == bool(rows)
                if rows:
                    assert hostile.same(e[word], right), (name, word)
                else:
                    with pytest.raises(vecio.WordError):
                        e[word]
                listed = key(word) in truth.words
                assert (word in e) == listed and e.index(word) == (
                    truth.words.index(key(word)) if listed else -1
                )
                if not name.startswith("native"):
                    found = [row for _, row in e.subwords(word) if row >= 0]
                    assert found == rows, (name, word)
            assert e.index(words).tolist() == [e.index(word) for word in words]


@settings(max_examples=100)
@given(
    texts=st.lists(st.text(st.characters(exclude_characters="\n"), max_size=60), max_size=5),
    kernels=st.booleans(),
)
def test_any_text_can_be_encoded_and_predicted(
    texts: list[str], kernels: bool, opened: dict[str, vecio.Embeddings]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vecio._effort._loaded", kernels)
        for e in opened.values():
            vectors = e.encode(texts)
            assert vectors.shape == (len(texts), e.dim)
            for text, vector in zip(texts, vectors, strict=True):
                assert hostile.same(e.encode(text), vector)
            if len(e.labels):
                for text, (labels, probs) in zip(texts, e.predict(texts, k=-1), strict=True):
                    alone = e.predict(text, k=-1)
                    assert list(alone[0]) == list(labels) and hostile.same(alone[1], probs)
                    assert sorted(probs, reverse=True) == list(probs) and len(set(labels)) == len(labels)


# --- arrays, saved and opened ---------------------------------------------------------------------------------------

floats = st.floats(width=32, allow_nan=True, allow_infinity=True)


@st.composite
def arrays(draw: st.DrawFn) -> dict[str, Any]:
    """Draw words of any bytes, their vectors, counts, and perhaps n-gram rows."""
    words = draw(
        st.lists(
            st.one_of(st.text(max_size=12), st.binary(max_size=12)), min_size=1, max_size=12, unique_by=key
        )
    )
    dim = draw(st.integers(1, 9))
    vectors = draw(st.lists(floats, min_size=len(words) * dim, max_size=len(words) * dim))
    found: dict[str, Any] = {
        "words": words,
        "vectors": np.array(vectors, np.float32).reshape(len(words), dim),
    }
    if draw(st.booleans()):
        found["counts"] = draw(st.lists(st.integers(0, 2**63 - 1), min_size=len(words), max_size=len(words)))
    if draw(st.booleans()):
        bucket, minn = draw(st.integers(1, 20)), draw(st.integers(1, 4))
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        found |= {
            "grams": rng.standard_normal((bucket, dim), np.float32),
            "minn": minn,
            "maxn": minn + draw(st.integers(0, 3)),
            "accumulated": draw(st.booleans()),
        }
    return found


@settings(max_examples=200)
@given(arrays())
def test_saved_arrays_open_as_they_were(made: dict[str, Any]) -> None:
    e = vecio.Embeddings.from_arrays(**made)
    assert hostile.inconsistency(e, CLEAN) is None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.safetensors"
        e.save(path)
        with vecio.open(path) as again:
            assert hostile.inconsistency(again, CLEAN) is None
            assert list(again.words) == list(e.words) and len(again) == len(e) and again.dim == e.dim
            words = [*made["words"], "unknown", "größer", "", b"\xff", "x" * 40]
            assert hostile.same(again.embed(words, missing="zero"), e.embed(words, missing="zero"))
            assert [again.can_embed(word) for word in words] == [e.can_embed(word) for word in words]
            assert (again.counts is None) == (e.counts is None)
            if e.counts is not None and again.counts is not None:
                assert again.counts.tolist() == list(made["counts"])
            if made.get("accumulated", True):
                assert hostile.same(again.embed(made["words"]), made["vectors"])
        first = path.read_bytes()
        e.save(path)
        assert path.read_bytes() == first  # the same model, the same bytes
        assert os.listdir(folder) == ["m.safetensors"]
