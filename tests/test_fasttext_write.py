"""Writing fastText's and floret's files: the same bytes as the programs' where there is an original, else the same
vectors and labels. Tests marked `judge` ask the real programs.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import vecio
from vecio import _effort, _pq, views
from vecio.errors import UnsupportedError, VecioError
from vecio.formats import fasttext, fate_of
from vecio.formats.base import COUNTS, LABELS, RAW, SETTINGS, UNKNOWN
from vecio.formats.fasttext.quantise import _map_order

DATA = Path(__file__).resolve().parent / "data"
FASTTEXT = DATA / "fasttext"
MODELS = sorted([*FASTTEXT.glob("*.bin"), *FASTTEXT.glob("*.ftz"), *(DATA / "floret").glob("*.bin")])
WORD_MODELS = ("cbow-ns", "sg-ns", "sg-hs", "cbow-hs-nosub", "init-only", "sg-ova", "sg-longline")
#: What the program's `quantize` made, of which model and how.
QUANTISED: dict[str, tuple[str, dict[str, Any]]] = {
    "q-plain": ("sup-softmax-w2-sub", {}),
    "q-qnorm-dsub3": ("sup-softmax-w2-sub", {"qnorm": True, "dsub": 3}),
    "q-cutoff": ("sup-softmax-w2-sub", {"qnorm": True, "cutoff": 300}),
    "q-hs": ("sup-hs-w2", {"qnorm": True, "dsub": 2}),
    "q-ova": ("sup-ova-sub", {"dsub": 6}),
    "q-many-qout": ("many-hs", {"qnorm": True, "qout": True, "cutoff": 350}),
}
UNKNOWN_WORDS = ["riverside", "zzzq", "größe", "狐狸", "x" * 40, "a-b"]


def fuzz_bases() -> list[bytes]:
    """Return small valid files for tools/fuzz.py."""
    return [(FASTTEXT / name).read_bytes() for name in ("sg-ova.bin", "q-ova.ftz")]


@pytest.fixture(params=["plain", "compiled"])
def path_of_work(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Do everything in plain Python, and then by the kernels."""
    monkeypatch.setattr(_effort, "_loaded", request.param == "compiled")
    monkeypatch.setattr(_effort, "START", 1e9 if request.param == "plain" else 0.45)
    return str(request.param)


def random_model(words: int = 500, dim: int = 10, **options: Any) -> vecio.Embeddings:
    rng = np.random.default_rng(words + dim)
    names = ["</s>", "größe", *(f"w{i}" for i in range(words - 2))]
    return vecio.Embeddings.from_arrays(names, rng.normal(size=(words, dim)), **options)


def with_ngrams(words: int = 300, dim: int = 7, buckets: int = 900) -> vecio.Embeddings:
    grams = np.random.default_rng(1).normal(size=(buckets, dim)) / 3
    return random_model(words, dim, grams=grams, minn=2, maxn=4)


def vectors(e: vecio.Embeddings) -> np.ndarray:
    return e.embed(e._vocabulary.entries(0, len(e)), "zero")


def mean_cosine(a: np.ndarray, b: np.ndarray) -> float:
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.mean((a * b).sum(axis=1)[norms > 0] / norms[norms > 0]))


# -- the same bytes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.name)
def test_a_copy_is_the_same_bytes(path: Path, tmp_path: Path) -> None:
    target = tmp_path / path.name
    format = vecio.detect(path)
    report = vecio.convert(path, target, format=format)
    assert target.read_bytes() == path.read_bytes()
    assert not report.approximated and not report.lost and not report.added
    with vecio.open(path) as e:
        e.save(target, format=format, dtype="pq" if e.dtype == "pq" else "float32")
    assert target.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", WORD_MODELS)
def test_back_from_a_native_file_with_raw_rows(name: str, tmp_path: Path) -> None:
    vecio.convert(FASTTEXT / f"{name}.bin", tmp_path / "raw.safetensors", raw_rows=True)
    report = vecio.convert(tmp_path / "raw.safetensors", tmp_path / "back.bin")
    assert (tmp_path / "back.bin").read_bytes() == (FASTTEXT / f"{name}.bin").read_bytes()
    assert RAW in report.kept and not report.approximated


@pytest.mark.parametrize(
    "name", ["sup-softmax-w2-sub", "sup-hs-w2", "sup-ns-w3-sub", "sup-ova-sub", "many-hs"]
)
def test_back_from_a_native_classifier(name: str, tmp_path: Path) -> None:
    vecio.convert(FASTTEXT / f"{name}.bin", tmp_path / "m.safetensors")
    vecio.convert(tmp_path / "m.safetensors", tmp_path / "back.bin")
    assert (tmp_path / "back.bin").read_bytes() == (FASTTEXT / f"{name}.bin").read_bytes()


@pytest.mark.parametrize("name", QUANTISED)
def test_quantised_as_the_program_does(name: str, tmp_path: Path, path_of_work: str) -> None:
    source, options = QUANTISED[name]
    with vecio.open(FASTTEXT / f"{source}.bin") as e:
        e.save(tmp_path / "q.ftz", **options)
    assert (tmp_path / "q.ftz").read_bytes() == (FASTTEXT / f"{name}.ftz").read_bytes()


def test_quantised_whatever_the_source_is_stored_as(tmp_path: Path) -> None:
    vecio.convert(FASTTEXT / "sup-softmax-w2-sub.bin", tmp_path / "m.safetensors")
    vecio.convert(tmp_path / "m.safetensors", tmp_path / "q.ftz", qnorm=True, dsub=3)
    assert (tmp_path / "q.ftz").read_bytes() == (FASTTEXT / "q-qnorm-dsub3.ftz").read_bytes()


def test_real_files(data_folder: Path, tmp_path: Path) -> None:
    folder = data_folder / "models" / "fasttext"
    names = [
        "lid.176.ftz",
        "finalfusion/fasttext.bin",
        *(f"gensim/{n}.bin" for n in ("lee_fasttext_new", "toy-model")),
    ]
    names += ["gensim/toy-model-pretrained.bin", "gensim/crime-and-punishment.bin"]
    for name in names:
        target = tmp_path / f"copy{Path(name).suffix}"
        vecio.convert(folder / name, target)
        assert target.read_bytes() == (folder / name).read_bytes(), name


def test_a_file_without_magic_is_written_as_the_newest_version(data_folder: Path, tmp_path: Path) -> None:
    path = data_folder / "models" / "fasttext" / "gensim" / "lee_fasttext.bin"
    vecio.convert(path, tmp_path / "new.bin")
    data = (tmp_path / "new.bin").read_bytes()
    assert struct.unpack_from("<ii", data) == (793712314, 12)
    with vecio.open(path) as old, vecio.open(tmp_path / "new.bin") as new:
        assert vectors(old).tobytes() == vectors(new).tobytes()


# -- the quantiser --------------------------------------------------------------------------------------------------


def cases() -> Iterator[tuple[str, np.ndarray, int, np.ndarray | None]]:
    rng = np.random.default_rng(5)
    normal = rng.normal(size=(700, 10)).astype(np.float32)
    for dsub in (1, 2, 3, 4, 5, 7, 10, 13):
        yield f"dsub {dsub}", normal, dsub, None
    yield "norms", normal, 2, _pq.norms_of(normal)
    yield "256 rows", normal[:256], 2, None
    yield "255 rows", normal[:255], 3, None
    yield "1 row", normal[:1], 4, None
    yield "few values", rng.integers(0, 3, size=(400, 2)).astype(np.float32), 2, None
    yield "all the same", np.ones((300, 3), np.float32), 2, None
    yield "zeros", np.zeros((300, 3), np.float32), 3, np.zeros(300, np.float32)
    odd = normal.copy()
    odd[3, 3], odd[5, 5], odd[7] = np.nan, np.inf, 3e38
    yield "not finite", odd, 2, None
    yield "large", normal * np.float32(5e37), 5, None
    yield "tiny", normal[:300] * np.float32(1e-42), 5, None


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case[0])
def test_plain_and_compiled_quantisers_agree(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, rows, dsub, norms = case
    found = []
    for compiled, threads in ((False, 1), (True, 1), (True, 3)):
        monkeypatch.setattr(_effort, "_loaded", compiled)
        monkeypatch.setattr(_effort, "START", 1e9)
        centroids = _pq.train(rows, dsub, norms=norms, threads=threads)
        codes = _pq.encode(rows, centroids, dsub, norms=norms, threads=threads)
        found.append((centroids.tobytes(), codes.tobytes()))
        assert np.isfinite(centroids).all()
        assert codes.shape == (len(rows), _pq.pieces(rows.shape[1], dsub))
        if len(rows) < 256:
            assert np.array_equal(_pq.decode(codes, centroids, rows.shape[1], dsub), rows)
    assert found[0] == found[1] == found[2]


def test_more_rows_than_are_looked_at() -> None:
    _effort.load()
    rows = np.random.default_rng(0).normal(size=(70_000, 2)).astype(np.float32)
    done: list[tuple[int, int]] = []
    centroids = _pq.train(rows, 2, progress=lambda a, b: done.append((a, b)))
    assert centroids.tobytes() == _pq.train(rows, 2, threads=2).tobytes() and done == [(1, 1)]
    back = _pq.decode(_pq.encode(rows, centroids, 2), centroids, 2, 2)
    assert mean_cosine(rows, back) > 0.99
    with pytest.raises(ValueError, match="dsub"):
        _pq.train(rows, 0)


def test_the_order_of_equals() -> None:
    """The check of the specification: 20 equal entries."""
    _effort.load()
    from vecio.kernels import own

    order = np.arange(20, dtype=np.int32)
    own.sort_falling(np.ones(20, np.float32), order)
    assert order.tolist() == [10, *range(19, 10, -1), 0, *range(9, 0, -1)]
    for n in (0, 1, 2, 16, 17, 100, 5000):
        keys = np.random.default_rng(n).integers(0, max(n // 3, 1), n).astype(np.float32)
        order = np.arange(n, dtype=np.int32)
        own.sort_falling(keys, order)
        assert sorted(order.tolist()) == list(range(n)) and (np.diff(keys[order]) <= 0).all()


def test_the_order_of_a_hash_map() -> None:
    assert _map_order([5, 18, 31, 4]).tolist() == [3, 2, 1, 0]  # 5, 18 and 31 share a cell of 13
    for n in (0, 1, 13, 14, 400):
        assert sorted(_map_order(list(range(0, 7 * n, 7))).tolist()) == list(range(n))


# -- words without n-grams ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("floret", [False, True])
def test_plain_vectors(floret: bool, tmp_path: Path) -> None:
    e = random_model(counts=list(range(500)))
    path = tmp_path / "m.bin"
    e.save(path, format="floret" if floret else "fasttext")
    with vecio.open(path) as back:
        assert back.format == ("floret" if floret else "fasttext") and list(back.words) == list(e.words)
        assert vectors(back).tobytes() == vectors(e).tobytes()
        assert back.counts is not None and back.counts.tolist() == list(range(500))
        assert (
            back.metadata["ntokens"] == sum(range(500))
            and back.metadata["bucket"] == back.metadata["maxn"] == 0
        )
        assert back._parts.output is None and not back.can_embed("unknown")


def test_empty_rows_for_ngrams(tmp_path: Path, path_of_work: str) -> None:
    e, path = random_model(60), tmp_path / "m.bin"
    report = fate_of(e, fasttext.FORMAT, None, {"maxn": 4, "bucket": 50})
    assert report.approximated and COUNTS not in report.lost
    e.save(path, minn=2, maxn=4, bucket=50)
    with vecio.open(path) as back:
        assert (back.metadata["minn"], back.metadata["maxn"], back.metadata["bucket"]) == (2, 4, 50)
        assert np.allclose(vectors(back), vectors(e), rtol=3e-7, atol=0)
        assert not back.embed(["unknown"]).any() and back.can_embed("unknown")


WORDS = st.binary(max_size=12).filter(lambda word: b"\0" not in word)
ODD = [
    b"",
    b"a b",
    b"\n",
    "a\u2028b".encode(),
    b"\xff\xfe",
    "\ufeffx".encode(),
    b"__label__x",
    b"<",
    b"</s>",
    b"x" * 70_000,
]


@settings(max_examples=60)
@given(st.lists(WORDS, min_size=1, max_size=40), st.integers(0, 2**32 - 1))
@example(ODD, 7)
def test_any_words_and_numbers(words: list[bytes], seed: int) -> None:
    import tempfile

    bits = np.random.default_rng(seed).integers(0, 2**32, (len(words), 3), dtype=np.uint32)
    rows = bits.view(np.float32)
    rows[0] = (np.nan, -0.0, 1e-45)
    e = vecio.Embeddings(
        vecio.embeddings.Parts(
            vecio.vocabulary.Vocabulary.from_words(words), vecio.matrix.Float32(rows), "arrays"
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.bin"
        e.save(path)
        with vecio.open(path) as back:
            assert back._vocabulary.entries(0, len(back)) == words
            assert back._words.block(0, len(words)).tobytes() == rows.tobytes()


@pytest.mark.parametrize("extension", [".bin", ".ftz"])
def test_a_word_with_a_nul_is_refused(extension: str, tmp_path: Path) -> None:
    e = vecio.Embeddings.from_arrays(["good", "b\0d"], np.ones((2, 3)))
    path = tmp_path / f"m{extension}"
    with pytest.raises(UnsupportedError, match="NUL"):
        e.save(path)
    assert not path.exists()
    e.save(path, drop=True)
    assert list(vecio.open(path).words) == ["good"]


def test_no_words_at_all(tmp_path: Path) -> None:
    e = vecio.Embeddings.from_arrays([], np.zeros((0, 4)))
    for format, name in (("fasttext", "m.bin"), ("floret", "m.bin"), ("fasttext", "m.ftz")):
        e.save(tmp_path / name, format=format)
        with vecio.open(tmp_path / name) as back:
            assert list(back.words) == ["</s>"] and not back["</s>"].any()
    assert fate_of(e, fasttext.FORMAT, None, {}).added


# -- words with n-grams ---------------------------------------------------------------------------------------------


def test_own_rows_are_computed_back(tmp_path: Path, path_of_work: str) -> None:
    """A native file keeps finished vectors: the row that a word has beside its n-grams follows from them."""
    for name in WORD_MODELS if path_of_work == "compiled" else ("sg-ns",):
        vecio.convert(FASTTEXT / f"{name}.bin", tmp_path / "m.safetensors")
        report = vecio.convert(tmp_path / "m.safetensors", tmp_path / "m.bin")
        with vecio.open(FASTTEXT / f"{name}.bin") as e, vecio.open(tmp_path / "m.bin") as back:
            assert list(back.words) == list(e.words) and list(back.labels) == list(e.labels)
            a, b = vectors(e), vectors(back)
            assert np.abs(a - b).max() <= 4e-7 * max(1.0, np.abs(a).max())
            unknown = [word for word in UNKNOWN_WORDS if word not in e]
            assert e.embed(unknown, "zero").tobytes() == back.embed(unknown, "zero").tobytes()
            assert bool(report.approximated) == (e._grams is not None) == (UNKNOWN in report.kept)
            assert SETTINGS in report.kept and COUNTS in report.kept and not report.added


def test_a_vector_that_is_too_large_is_refused(tmp_path: Path) -> None:
    vectors = np.full((2, 2), 3e38, np.float32)
    e = vecio.Embeddings.from_arrays(["river", "bank"], vectors, grams=np.ones((50, 2)), minn=2, maxn=3)
    with pytest.raises(UnsupportedError, match="too large"):
        e.save(tmp_path / "m.bin")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options", [{}, {"qnorm": True}, {"dsub": 3}, {"qnorm": True, "qout": True}], ids=str
)
def test_word_models_are_quantised(options: dict[str, Any], tmp_path: Path, path_of_work: str) -> None:
    for name in ("cbow-ns", "sg-ns", "cbow-hs-nosub"):
        with vecio.open(FASTTEXT / f"{name}.bin") as e:
            e.save(tmp_path / "m.ftz", **options)
            with vecio.open(tmp_path / "m.ftz") as back:
                assert back.dtype == "pq" and list(back.words) == list(e.words)
                assert (
                    back.counts is not None and e.counts is not None and np.array_equal(back.counts, e.counts)
                )
                assert mean_cosine(vectors(e), vectors(back)) > 0.9995
                a, b = e.embed(UNKNOWN_WORDS, "zero"), back.embed(UNKNOWN_WORDS, "zero")
                assert e._grams is None or mean_cosine(a, b) > 0.99
                assert (back._parts.output is None) == (not options.get("qout"))


def test_words_make_up_for_their_ngrams(tmp_path: Path) -> None:
    """The row of a word is computed with the quantised n-grams; to quantise the row that it had would be worse."""
    rng = np.random.default_rng(2)
    own, grams = rng.normal(size=(600, 12)) / 3, rng.normal(size=(3000, 12)) / 3
    e = random_model(600, 12, grams=grams, minn=2, maxn=4, accumulated=False)
    e._parts.words = vecio.matrix.Float32(own.astype(np.float32))
    e = vecio.Embeddings(e._parts)
    e.save(tmp_path / "m.ftz", dsub=3)
    with vecio.open(tmp_path / "m.ftz") as back:
        words: Any = back._words
        codes = _pq.encode(own.astype(np.float32), words.centroids, 3)
        back._parts.words = vecio.matrix.ProductQuantised(codes, words.centroids, 12, 3, words.norms)
        plain = vecio.Embeddings(back._parts)
        assert mean_cosine(vectors(e), vectors(back)) > mean_cosine(vectors(e), vectors(plain)) + 0.01


def test_codes_that_are_too_many_for_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vecio.formats.fasttext import quantise

    e = with_ngrams()
    for qnorm in (False, True):
        e.save(tmp_path / "a.ftz", qnorm=qnorm)
        monkeypatch.setattr(quantise, "MOST_KEPT", 0)
        e.save(tmp_path / "b.ftz", qnorm=qnorm)
        monkeypatch.undo()
        assert (tmp_path / "a.ftz").read_bytes() == (tmp_path / "b.ftz").read_bytes()


def test_more_rows_than_train_the_quantiser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pq, "MOST_POINTS", 300)
    e = with_ngrams()
    e.save(tmp_path / "m.ftz")
    assert mean_cosine(vectors(e), vectors(vecio.open(tmp_path / "m.ftz"))) > 0.99
    vecio.open(FASTTEXT / "sup-softmax-w2-sub.bin").save(tmp_path / "a.safetensors", dtype="float16")
    for source in (FASTTEXT / "sup-softmax-w2-sub.bin", tmp_path / "a.safetensors"):
        with vecio.open(source) as model:
            model.save(tmp_path / "c.ftz", qnorm=True)
            assert mean_cosine(vectors(model), vectors(vecio.open(tmp_path / "c.ftz"))) > 0.99


@pytest.mark.parametrize("name", ["cbow-ns", "sg-hs"])
def test_cut_off_word_models(name: str, tmp_path: Path) -> None:
    with vecio.open(FASTTEXT / f"{name}.bin") as e:
        e.save(tmp_path / "m.ftz", cutoff=200, qnorm=True)
        with vecio.open(tmp_path / "m.ftz") as back:
            rows = len(back._words) + (0 if back._grams is None else len(back._grams))
            assert rows == 200 and "</s>" in back and len(back) <= len(e)
            words = list(back.words)
            assert words == [w for w in e.words if w in back]
            assert mean_cosine(e.embed(words), back.embed(words)) > 0.999
        fate = fate_of(e, fasttext.FORMAT, "pq", {"cutoff": 200})
        assert any("200" in text for text in fate.lost)


def test_pruned_views(tmp_path: Path) -> None:
    with vecio.open(FASTTEXT / "cbow-ns.bin") as e:
        assert e._grams is not None
        for words in (None, np.arange(0, len(e), 2)):
            view = views.select(e, words=words, grams=np.arange(0, len(e._grams), 3))
            view.save(tmp_path / "m.ftz")
            view.save(tmp_path / "m.bin")  # the layout has pruned n-grams for quantised rows only
            for target in (tmp_path / "m.ftz", tmp_path / "m.bin"):
                with vecio.open(target) as back:
                    assert back.dtype == "pq" and list(back.words) == list(view.words)
                    assert mean_cosine(vectors(view), vectors(back)) > 0.9999
                    a, b = view.embed(UNKNOWN_WORDS, "zero"), back.embed(UNKNOWN_WORDS, "zero")
                    assert mean_cosine(a, b) > 0.99
            with pytest.raises(UnsupportedError, match="pruned"):
                view.save(tmp_path / "m.bin", dtype="float32")


def test_pairs_that_share_rows(tmp_path: Path) -> None:
    """Several buckets may have one row in a native file; the program wants one each."""
    e = with_ngrams(words=150, buckets=40)
    assert e._subwords is not None
    pairs = np.array([[3, 1], [7, 1], [9, 0], [7, 2], [20, 5]], np.int64)
    e._parts.subwords = e._subwords.replaced(pairs)
    shared = vecio.Embeddings(e._parts)
    shared.save(tmp_path / "m.ftz")
    with vecio.open(tmp_path / "m.ftz") as back:
        assert back.metadata["pruned"] == 4
        assert np.allclose(vectors(back), vectors(shared), atol=1e-5)
        assert np.allclose(back.embed(UNKNOWN_WORDS, "zero"), shared.embed(UNKNOWN_WORDS, "zero"), atol=1e-6)


def test_ngrams_that_the_layout_cannot_hold_are_lost(tmp_path: Path) -> None:
    with vecio.open(DATA / "floret" / "floret-hc2.bin") as e:
        report = vecio.convert(DATA / "floret" / "floret-hc2.bin", tmp_path / "m.bin", format="fasttext")
        assert UNKNOWN in report.lost and not report.approximated
        with vecio.open(tmp_path / "m.bin") as back:
            assert back.format == "fasttext" and vectors(back).tobytes() == vectors(e).tobytes()


def test_floret_from_a_native_file(tmp_path: Path) -> None:
    for name in ("floret-hc1", "floret-hc2", "floret-hc4"):
        vecio.convert(DATA / "floret" / f"{name}.bin", tmp_path / "m.safetensors")
        report = vecio.convert(tmp_path / "m.safetensors", tmp_path / "m.bin", format="floret")
        assert UNKNOWN in report.kept and not report.approximated
        with vecio.open(DATA / "floret" / f"{name}.bin") as e, vecio.open(tmp_path / "m.bin") as back:
            assert back.metadata["hashCount"] == e.metadata["hashCount"]
            assert vectors(back).tobytes() == vectors(e).tobytes()


def test_floret_words_that_are_not_the_mean_of_their_ngrams(tmp_path: Path) -> None:
    with vecio.open(DATA / "floret" / "floret-hc2.bin") as e:
        rows = np.random.default_rng(0).normal(size=(len(e), e.dim)).astype(np.float32)
        e._parts.words, e._parts.accumulated = vecio.matrix.Float32(rows), True
        other = vecio.Embeddings(e._parts)
        assert any("n-grams" in text for text in fate_of(other, fasttext.FLORET, None, {}).approximated)
        other.save(tmp_path / "m.bin", format="floret")
        with vecio.open(tmp_path / "m.bin") as back:
            word = other.words[0]
            assert np.allclose(back[word], other[word], atol=1e-6)  # entry 0 alone has a row of its own


# -- classifiers ----------------------------------------------------------------------------------------------------


TEXTS = ["fresh cheese and wine", "a ball game", "Käse 狐狸", "", "the river bank of the bank"]


@pytest.mark.parametrize("name", ["sup-softmax", "sup-hs-w2", "sup-ova-sub", "q-cutoff"])
@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_classifiers_of_few_bits(name: str, dtype: str, tmp_path: Path) -> None:
    source = FASTTEXT / f"{name}{'.ftz' if name.startswith('q-') else '.bin'}"
    vecio.convert(source, tmp_path / "m.safetensors", dtype=dtype)
    report = vecio.convert(tmp_path / "m.safetensors", tmp_path / "m.bin")
    with vecio.open(tmp_path / "m.safetensors") as e, vecio.open(tmp_path / "m.bin") as back:
        assert LABELS in report.kept and list(back.labels) == list(e.labels)
        if not report.approximated:
            for a, b in zip(e.predict(TEXTS, k=3), back.predict(TEXTS, k=3), strict=True):
                assert a[0] == b[0] and np.array_equal(a[1], b[1])


def test_a_copied_quantised_file_can_be_quantised_again(tmp_path: Path) -> None:
    with vecio.open(FASTTEXT / "q-plain.ftz") as e:
        e.save(tmp_path / "dense.bin", dtype="float32")
        e.save(tmp_path / "coarse.ftz", dsub=4)
        with vecio.open(tmp_path / "dense.bin") as dense, vecio.open(tmp_path / "coarse.ftz") as coarse:
            assert dense.dtype == "float32" and vectors(dense).tobytes() == vectors(e).tobytes()
            assert (tmp_path / "coarse.ftz").stat().st_size < (FASTTEXT / "q-plain.ftz").stat().st_size
            assert mean_cosine(vectors(coarse), vectors(e)) > 0.9


# -- what is refused, and what an interruption leaves ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": "float16"}, "dtype"),
        ({"dtype": "pq0"}, "pieces"),
        ({"dtype": "pq99"}, "pieces"),
        ({"dtype": "pq4", "dsub": 2}, "not both"),
        ({"dtype": "pqx"}, "dtype"),
        ({"dsub": -1}, "dsub"),
        ({"dsub": 2.5}, "dsub"),
        ({"cutoff": -3}, "cutoff"),
        ({"cutoff": 0}, "cutoff"),
        ({"cutoff": True}, "cutoff"),
        ({"dsub": 0}, "dsub"),
        ({"dtype": "pq7"}, "1, 2, 3, 4, 5, 10 pieces"),
        ({"dtype": "pq", "qnorm": 1}, "qnorm"),
        ({"dtype": "pq", "qnorm": "no"}, "qnorm"),
        ({"dtype": "pq", "qout": 0}, "qout"),
        ({"dtype": "float32", "qnorm": True}, "qnorm"),
        ({"bucket": 100}, "maxn"),
        ({"minn": 3}, "maxn"),
        ({"minn": 5, "maxn": 3, "bucket": 10}, "minn"),
        ({"retrain": True}, "retrain"),
    ],
    ids=str,
)
def test_options_that_make_no_sense(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        random_model(20).save(tmp_path / "m.bin", **options)
    assert not list(tmp_path.iterdir())


def test_empty_rows_are_for_models_without_ngrams(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="of their own"):
        with_ngrams().save(tmp_path / "m.bin", maxn=3, bucket=10)


def test_pieces_of_a_row(tmp_path: Path) -> None:
    random_model(300, 10).save(tmp_path / "m.ftz", dtype="pq4")
    with vecio.open(tmp_path / "m.ftz") as back:
        assert back._words.dsub == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "options", [{}, {"dtype": "pq"}, {"dtype": "pq", "qnorm": True, "cutoff": 200}], ids=str
)
@pytest.mark.parametrize("model", [with_ngrams, random_model])
def test_an_interrupted_save_leaves_the_old_file(
    model: Callable[[], Any], options: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "m.bin"
    path.write_bytes(b"old")

    def stop(done: int, total: int) -> None:
        assert 0 < done <= total
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model().save(path, progress=stop, **options)
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["m.bin"]


def progress_of(source: Path, target: Path, options: dict[str, Any]) -> list[tuple[int, int]]:
    seen: list[tuple[int, int]] = []
    with vecio.open(source) as e:
        e.save(target, progress=lambda done, total: seen.append((done, total)), **options)
    return seen


def test_progress_reaches_its_end(tmp_path: Path) -> None:
    for options in ({}, {"dtype": "pq"}, {"dtype": "pq", "qnorm": True, "qout": True}):
        seen = progress_of(FASTTEXT / "cbow-ns.bin", tmp_path / "m.bin", options)
        assert seen[-1][0] <= seen[-1][1] and seen == sorted(seen)
        assert seen[-1][0] > 0.9 * seen[-1][1]


def test_an_empty_output_is_read_and_a_wrong_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    random_model(30).save(path)
    data = path.read_bytes()
    assert data.endswith(struct.pack("<?qq", False, 0, 10))
    for tail in (
        struct.pack("<?qq", False, 0, 9),
        struct.pack("<?qq", False, 1, 10),
        struct.pack("<?qq", True, 0, 10),
    ):
        path.write_bytes(data[:-17] + tail)
        with pytest.raises(VecioError):
            vecio.open(path)
    for size in range(1, 17):
        path.write_bytes(data[:-size])
        with pytest.raises(VecioError):
            vecio.open(path)


def test_fates(tmp_path: Path) -> None:
    with vecio.open(FASTTEXT / "cbow-ns.bin") as e:
        fate = fate_of(e, fasttext.FORMAT, None, {})
        assert {UNKNOWN, RAW, COUNTS, SETTINGS} <= set(fate.kept) and not (
            fate.approximated or fate.lost or fate.added
        )
        fate = fate_of(e, fasttext.FORMAT, "pq", {"qnorm": True})
        assert fate.dtype == "pq" and RAW in fate.lost and len(fate.approximated) == 2
    fate = fate_of(random_model(), fasttext.FORMAT, None, {})
    assert len(fate.added) == 2 and not fate.approximated and not fate.lost
    random_model().save(tmp_path / "m.safetensors")
    report = vecio.convert(tmp_path / "m.safetensors", tmp_path / "m.bin")
    assert report.added == fate.added and "added         counts" in str(report)


# -- the real programs ----------------------------------------------------------------------------------------------


def real(path: Path, module: str = "fasttext") -> Any:
    """Load a file with the real program."""
    program = pytest.importorskip(module)
    if module == "fasttext":
        program.FastText.eprint = lambda *_, **__: None
    return program.load_model(str(path))


def agree(path: Path, module: str = "fasttext") -> Any:
    """Compare the vectors of all words and of unknown ones, bit for bit; return the program's model."""
    model = real(path, module)
    with vecio.open(path) as e:
        words = [word for word in e.words if word.isprintable() and word]
        assert words
        for word in words + UNKNOWN_WORDS:
            expected = model.get_word_vector(word)
            assert np.array_equal(e.embed(word, "zero"), expected, equal_nan=True), word
    return model


@pytest.mark.judge
@pytest.mark.parametrize("name", WORD_MODELS)
def test_fasttext_reads_word_models(name: str, tmp_path: Path) -> None:
    with vecio.open(FASTTEXT / f"{name}.bin") as e:
        e.save(tmp_path / "m.safetensors")
        for number, options in enumerate(
            ({}, {"qnorm": True, "dsub": 3}, {"cutoff": 200}, {"qout": True, "dsub": 1})
        ):
            e.save(tmp_path / f"{number}.ftz", **options)
            agree(tmp_path / f"{number}.ftz")
        for limited in (views.first(e, 20), views.select(e, words=np.arange(0, len(e), 2))):
            limited.save(tmp_path / "some.bin")
            agree(tmp_path / "some.bin")
    with vecio.open(tmp_path / "m.safetensors") as e:
        e.save(tmp_path / "m.bin")
        agree(tmp_path / "m.bin")
        e.save(tmp_path / "m.ftz")
        agree(tmp_path / "m.ftz")


@pytest.mark.judge
def test_fasttext_reads_plain_vectors(tmp_path: Path) -> None:
    e = random_model()
    for name, options in (
        ("a.bin", {}),
        ("b.bin", {"minn": 2, "maxn": 4, "bucket": 77}),
        ("c.ftz", {"qnorm": True}),
    ):
        e.save(tmp_path / name, **options)
        model = agree(tmp_path / name)
        assert model.get_words()[:2] == ["</s>", "größe"]
        assert len(model.get_nearest_neighbors("w3", 5)) == 5
    e = with_ngrams()
    e.save(tmp_path / "d.bin")
    agree(tmp_path / "d.bin")
    vecio.Embeddings.from_arrays([], np.zeros((0, 4))).save(tmp_path / "e.bin")
    agree(tmp_path / "e.bin")


@pytest.mark.judge
@pytest.mark.parametrize("name", ["sup-softmax", "sup-hs-w2", "sup-ns-w3-sub", "sup-ova-sub", "many-hs"])
def test_fasttext_predicts_with_what_was_written(name: str, tmp_path: Path) -> None:
    source = FASTTEXT / f"{name}.bin"
    vecio.convert(source, tmp_path / "half.safetensors", dtype="float16")
    targets = []
    for number, options in enumerate(({}, {"qnorm": True}, {"cutoff": 150}, {"qout": True, "dsub": 4})):
        targets.append(tmp_path / f"{number}.ftz")
        vecio.convert(source, targets[-1], **options)
    targets.append(tmp_path / "m.bin")
    vecio.convert(tmp_path / "half.safetensors", targets[-1])
    texts = json.loads((FASTTEXT / f"{name}.json").read_text(encoding="utf-8"))["predict"]
    for target in targets:
        model = real(target)
        with vecio.open(target) as e:
            for asked in texts[:20]:
                try:
                    asked["text"].encode()
                except UnicodeEncodeError:
                    continue
                text = asked["text"].replace("\n", " ")
                expected = model.f.predict(text + "\n", 3, 0.0, "surrogateescape")
                labels, probabilities = e.predict(text, k=3)
                assert np.allclose([p for p, _ in expected], probabilities, rtol=1e-5)
                assert [label for _, label in expected] == labels or len(set(probabilities.tolist())) < len(
                    labels
                )


@pytest.mark.judge
def test_floret_reads_what_was_written(tmp_path: Path) -> None:
    pytest.importorskip("floret")
    for name in ("floret-hc1", "floret-hc2", "floret-hc4", "fasttext-mode"):
        vecio.convert(DATA / "floret" / f"{name}.bin", tmp_path / "m.safetensors")
        vecio.convert(tmp_path / "m.safetensors", tmp_path / "m.bin", format="floret")
        vecio.convert(DATA / "floret" / f"{name}.bin", tmp_path / "m.ftz", format="floret", dsub=3)
        for target in (tmp_path / "m.bin", tmp_path / "m.ftz"):
            agree(target, "floret")
    random_model().save(tmp_path / "plain.bin", format="floret")
    agree(tmp_path / "plain.bin", "floret")
