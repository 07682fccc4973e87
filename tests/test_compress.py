"""Smaller files: packed numbers, product-quantised rows, pruning, and the search for a size or a quality.

The twins: plain Python for packed numbers, n-gram counts and rotations; LAPACK for axes. What a file says of its
quality is measured again here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vecio
from vecio import _effort, _quantise, _varints, matrix, prune
from vecio._rounding import norms_of
from vecio.embeddings import Parts
from vecio.errors import FormatError, UnsupportedError, VecioError
from vecio.formats import compress
from vecio.formats import safetensors as layout
from vecio.matrix import Float32, ProductQuantised, Rotated
from vecio.subwords import KINDS, Subwords
from vecio.vocabulary import Vocabulary

DATA = Path(__file__).resolve().parent / "data"
SG, FLORET, SUP = (
    DATA / "fasttext" / "sg-ns.bin",
    DATA / "floret" / "floret-hc4.bin",
    DATA / "fasttext" / "sup-softmax-w2-sub.bin",
)
UNKNOWN = ["unknownword", "thes", "größe", "狐狸犬", "x", "</s>", "", "a" * 200]


def vectors_of(e: vecio.Embeddings) -> np.ndarray:
    return e.embed([*e._vocabulary.entries(0, len(e)), *UNKNOWN], "zero")


@pytest.fixture
def plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_effort, "_loaded", False)
    monkeypatch.setattr(_effort, "START", float("inf"))


# -- packed numbers ------------------------------------------------------------------------------------------------


def packed_plainly(numbers: list[int]) -> bytes:
    out = bytearray()
    for number in numbers:
        rest = number % 2**64
        while rest >= 128:
            out.append(rest % 128 + 128)
            rest //= 128
        out.append(rest)
    return bytes(out)


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 300), max_size=40))
def test_packed_numbers(numbers: list[int]) -> None:
    data = _varints.pack(np.array(numbers, np.int64))
    assert data.tobytes() == packed_plainly(numbers)
    assert _varints.unpack(data, len(numbers)).tolist() == numbers


def test_many_packed_numbers() -> None:
    """Blocks end inside numbers."""
    numbers = np.random.default_rng(0).integers(0, 1 << 40, 3 * _varints.BLOCK + 5)
    data = _varints.pack(numbers)
    assert np.array_equal(_varints.unpack(data, len(numbers)), numbers)


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (b"", 1),
        (b"\0", 0),
        (b"\x80", 1),
        (b"\0\0", 1),
        (b"\0", 2),
        (b"\xff" * 9 + b"\2", 1),
        (b"\x80" * 10 + b"\0", 1),
    ],
)
def test_broken_packed_numbers(data: bytes, count: int) -> None:
    with pytest.raises(ValueError):
        _varints.unpack(np.frombuffer(data, np.uint8), count)


# -- quantisers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [1, 2, 3, 8, 37])
def test_axes_are_those_of_lapack(dim: int) -> None:
    rng = np.random.default_rng(dim)
    square = rng.standard_normal((dim, dim))
    square = square @ square.T
    values, axes = _quantise._jacobi(square)
    assert np.allclose(np.sort(values), np.linalg.eigvalsh(square))
    assert np.allclose(axes @ np.diag(values) @ axes.T, square) and np.allclose(axes.T @ axes, np.eye(dim))


def test_rotation_by_kernel_and_numpy(plainly: None, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    for dim in (1, 3, 50):
        rows, turn = (rng.standard_normal((n, dim)).astype(np.float32) for n in (1500, dim))
        plain = matrix.rotate(rows, turn)
        assert np.allclose(plain, rows @ turn, atol=1e-4)
        with monkeypatch.context() as patch:
            patch.setattr(_effort, "_loaded", True)
            assert matrix.rotate(rows, turn).tobytes() == plain.tobytes()
        assert b"".join(matrix.rotate(row[None], turn).tobytes() for row in rows[:9]) == plain[:9].tobytes()


def test_quantised_rows() -> None:
    rng = np.random.default_rng(2)
    rows = (
        rng.standard_normal((3000, 12)) * np.geomspace(10, 0.1, 12) @ rng.standard_normal((12, 12))
    ).astype(np.float32)
    rows[5], rows[6, 3], rows[7, 0] = 0, np.nan, np.inf
    cosines = {}
    for turned in (False, True):
        quantiser = _quantise.train(rows[10:], 3, turned)
        made = _quantise.encode(rows, quantiser, keep_norms=True)
        good = np.delete(np.arange(len(rows)), [5, 6, 7])
        assert np.allclose(norms_of(made.rows[good]), norms_of(rows[good]), rtol=2e-3)
        assert not made.rows[5].any() and np.isnan(made.rows[6:8]).all()
        cosines[turned] = compress.mean_cosine(rows[good], made.rows[good])
        nearest = _quantise.encode(rows, quantiser, keep_norms=False)
        errors = [((rows[good] - m.rows[good]) ** 2).sum() for m in (made, nearest)]
        assert errors[1] <= errors[0]
    assert cosines[False] is not None and cosines[True] is not None
    assert 1 - cosines[True] < 0.7 * (1 - cosines[False])


def test_norms_in_a_byte() -> None:
    rng = np.random.default_rng(3)
    norms = rng.lognormal(0, 1.5, 5000).astype(np.float32)
    norms[3], norms[4] = 0, np.nan
    codes, levels = _quantise.norm_table(norms)
    back = levels[codes]
    assert back[3] == 0 and np.isnan(back[4])
    assert np.nanmax(np.abs(back - norms) / np.where(norms > 0, norms, 1)) < 0.05
    few = np.array([3, np.nan, 0, 3, 5], np.float32)
    codes, levels = _quantise.norm_table(few)
    assert levels[codes].tobytes() == few.tobytes()
    assert len(_quantise.norm_table(np.empty(0, np.float32))[1]) == 256


# -- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [SG, FLORET, SUP], ids=lambda path: path.name)
@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize(
    "dtypes", [("pq/3", None), ("pq/2", "int8"), ("float16", "pq/4"), ("int8", "float32")]
)
def test_rows_as_codes(
    path: Path, dtypes: tuple[str, str | None], compact: bool, tmp_path: Path, plainly: None
) -> None:
    with vecio.open(path) as e:
        target = tmp_path / "m.safetensors"
        kinds = [
            f"pq{-(-e.dim // int(d[3:]))}" if d and "/" in d else d for d in dtypes
        ]  # "/3": columns a piece
        dtypes = str(kinds[0]), kinds[1]
        layout.write(e, target, dtypes[0], grams_dtype=dtypes[1], compact=compact)
        assert target.stat().st_size == layout.planned_size(e, dtypes[0], dtypes[1] or dtypes[0], compact)
        with vecio.open(target) as small:
            assert list(small.words) == list(e.words)
            assert (small.counts is None) == (e.counts is None)
            assert e.counts is None or np.array_equal(small.counts, e.counts)
            assert small.dtype == dtypes[0][:2] if dtypes[0].startswith("pq") else small.dtype == dtypes[0]
            before, after = vectors_of(e), vectors_of(small)
            assert (before.any(axis=1) == after.any(axis=1)).all()
            cosine = compress.mean_cosine(before, after)
            assert cosine is not None and cosine > 0.8
            known = small.words[3]
            assert len(small.most_similar(known, topn=3)) == 3 and small.nearest(known, k=2)[1][0] > 0.9999
            assert small[known].tobytes() == small.embed([known])[0].tobytes()
            assert small["unseenword"].tobytes() == small.embed(["unseenword", known])[0].tobytes()
            assert small.encode(["the unseenword"]).shape == (1, e.dim)
            small.save(tmp_path / "again.safetensors")
            assert (tmp_path / "again.safetensors").stat().st_size <= target.stat().st_size
        with vecio.open(tmp_path / "again.safetensors") as again:
            assert vectors_of(again).tobytes() == after.tobytes()
        assert vecio.verify(target).ok


def test_kernels_do_not_show(plainly: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Files and vectors are the same with and without compiled code."""
    e = vecio.open(SG)
    layout.write(e, tmp_path / "plain.safetensors", "pq4")
    before = vectors_of(vecio.open(tmp_path / "plain.safetensors"))
    monkeypatch.setattr(_effort, "_loaded", True)
    layout.write(e, tmp_path / "compiled.safetensors", "pq4")
    assert (tmp_path / "plain.safetensors").read_bytes() == (tmp_path / "compiled.safetensors").read_bytes()
    assert vectors_of(vecio.open(tmp_path / "plain.safetensors")).tobytes() == before.tobytes()


def test_codes_of_fasttext_are_kept(tmp_path: Path) -> None:
    source = DATA / "fasttext" / "q-plain.ftz"
    with vecio.open(source) as e:
        e.save(tmp_path / "m.safetensors", dtype="pq")
        e.save(tmp_path / "n.safetensors")
        assert (tmp_path / "n.safetensors").read_bytes() == (tmp_path / "m.safetensors").read_bytes()
        with vecio.open(tmp_path / "m.safetensors") as kept:
            assert isinstance(kept._words, ProductQuantised)
            text = " ".join(list(e.words)[:5])
            assert kept.predict(text, k=3)[0] == e.predict(text, k=3)[0]
            assert np.array_equal(kept.predict(text, k=3)[1], e.predict(text, k=3)[1])


def test_layouts(tmp_path: Path) -> None:
    """A file says what it needs, no more."""

    def said(**options: Any) -> tuple[str, str]:
        layout.write(vecio.open(SG), tmp_path / "m.safetensors", **options)
        from test_safetensors import header_of

        metadata = header_of(tmp_path / "m.safetensors").metadata
        return metadata["version"], metadata["min_reader"]

    assert said() == said(dtype="int8") == ("1", "1")
    assert said(report={"mean_cosine": 0.5}) == ("2", "1")
    assert said(compact=True) == said(dtype="pq4") == ("2", "2")


def test_rules_and_what_else_a_model_may_say(tmp_path: Path) -> None:
    """Every kind of n-grams, other brackets, sums of length 1, and lengths come back."""
    rng = np.random.default_rng(5)
    for kind, (_, hashed) in KINDS.items():
        table: Any = None
        bucket = 64
        if hashed == "table":
            table = Vocabulary.from_words([b"<al", b"pha", b"eta", b"wor", b"ord"])
            bucket = table.size
        elif hashed == "keys":
            from vecio._spacy_keys import KeyTable, key

            keys = np.sort(np.array([key(b"other"), key(b"third")], np.uint64))
            table, bucket = KeyTable(keys, np.array([1, 0]), 2), 2
        rule = Subwords(2 if hashed != "keys" else 1, 4, bucket, kind, begin=b"<", end=b"\xf0>", table=table)
        e = vecio.Embeddings(
            Parts(
                Vocabulary.from_words(["alpha", "beta", "größe"]),
                Float32(rng.standard_normal((3, 6)).astype(np.float32)),
                "arrays",
                grams=Float32(rng.standard_normal((bucket, 6)).astype(np.float32)),
                subwords=rule,
                unit=True,
                lengths=np.array([1, 2, 3], np.float32),
            )
        )
        for compact in (False, True):
            layout.write(e, tmp_path / "m.safetensors", "float32", compact=compact)
            with vecio.open(tmp_path / "m.safetensors") as native:
                assert native._subwords is not None and native._subwords.kind == kind
                assert (native._subwords.begin, native._subwords.end) == (rule.begin, rule.end)
                words = ["alpha", "words", "other", "third", "größer", ""]
                assert native.embed(words, "zero").tobytes() == e.embed(words, "zero").tobytes()
                assert np.asarray(native._parts.lengths).tolist() == [1, 2, 3]


def test_encoders_come_back(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    texts = ["hello world", "the cat", ""]
    with vecio.open(DATA / "model2vec" / "plain") as e:
        for compact in (False, True):
            layout.write(e, tmp_path / "m.safetensors", compact=compact)
            with vecio.open(tmp_path / "m.safetensors") as native:
                assert np.array_equal(native.encode(texts), e.encode(texts))
                assert native.encode(texts).any()


def test_a_classifier_as_codes(tmp_path: Path) -> None:
    report = vecio.convert(SUP, tmp_path / "m.safetensors", dtype="pq3")
    assert report.quality is not None and report.labels
    with vecio.open(SUP) as e, vecio.open(tmp_path / "m.safetensors") as small:
        text = " ".join(list(e.words)[5:15])
        assert len(small.predict(text, k=2)[0]) == 2
        assert small.dtype == "pq" and list(small.labels) == list(e.labels)


def test_contradictions(tmp_path: Path) -> None:
    from test_safetensors import meta, put, remade, tensor

    base = tmp_path / "base.safetensors"
    with vecio.open(SG) as e:
        layout.write(prune.prune(e, 100, 60), base, "pq4", compact=True)
    assert vecio.open(base) is not None
    cases = {
        "no codes": tensor("words.codes", lambda a: a[:, :-1]),
        "centroids": tensor("words.centroids", lambda a: a[:-1]),
        "rotation": tensor("grams.rotation", lambda a: a[:-1]),
        "norms": tensor("words.norms", lambda a: a[:-1]),
        "levels": tensor("words.levels", lambda a: a[:-1]),
        "dsub": put(words_dsub=3),
        "no dsub": put(grams_dsub=None),
        "lengths cut": tensor("vocab.lengths", lambda a: a[:-1]),
        "lengths too long": tensor("vocab.lengths", lambda a: np.append(a[:-1], a[-1] + 1)),
        "lengths huge": tensor(
            "vocab.lengths", lambda a: np.append(a[:-1], np.frombuffer(packed_plainly([2**62]), np.uint8))
        ),
        "lengths negative": tensor(
            "vocab.lengths", lambda a: np.append(a[:-1], np.frombuffer(packed_plainly([-1]), np.uint8))
        ),
        "counts": tensor("counts.packed", lambda a: a[:-1]),
        "kept": put(grams_kept=3),
        "no kept": put(grams_kept=None),
        "bytes": tensor("vocab.bytes", lambda a: a[:-1]),
        "quality": meta(quality="[]"),
    }
    for name, change in cases.items():
        path = remade(base, tmp_path / "m.safetensors", change)
        with pytest.raises(FormatError, match=r"m\.safetensors"):
            vecio.open(path)
            raise AssertionError(name)


def test_every_byte_of_a_compact_file(tmp_path: Path) -> None:
    """Whatever stands in a byte: an answer or a clean error; verify finds it."""
    path = tmp_path / "m.safetensors"
    with vecio.open(SG) as e:
        layout.write(prune.prune(e, 12, 20), path, "pq2", compact=True)
    raw = path.read_bytes()
    rng = np.random.default_rng(6)
    for place in rng.integers(0, len(raw), 400).tolist():
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 1 << int(rng.integers(8))]) + raw[place + 1 :])
        try:
            with vecio.open(path) as changed:
                vectors_of(changed)
        except VecioError:
            pass
        if place > 4000:
            assert not vecio.verify(path).ok
    for stop in range(0, len(raw), 97):
        path.write_bytes(raw[:stop])
        with pytest.raises(VecioError):
            vecio.open(path)


def fuzz_bases() -> list[bytes | dict[str, bytes]]:
    """Return small valid files, for tools/fuzz.py."""
    import tempfile

    found: list[bytes | dict[str, bytes]] = []
    with tempfile.TemporaryDirectory() as folder, vecio.open(SG) as e:
        for dtype, compact in (("pq2", True), ("pq4", False), ("int8", True)):
            target = Path(folder) / "m.safetensors"
            layout.write(prune.prune(e, 12, 20), target, dtype, compact=compact)
            found.append(target.read_bytes())
    return found


# -- pruning -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [SG, FLORET], ids=lambda path: path.name)
def test_counts_of_ngrams(path: Path, plainly: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with vecio.open(path) as e:
        assert e._subwords is not None and e._grams is not None
        expected = np.zeros(len(e._grams), np.int64)
        for key in e._vocabulary.entries(0, len(e)):
            for row in e._subwords.rows(key):
                expected[row] += 1
        assert np.array_equal(prune.gram_counts(e), expected)
        monkeypatch.setattr(_effort, "_loaded", True)
        assert np.array_equal(prune.gram_counts(e), expected)
        order = prune.gram_order(e)
        assert set(order.tolist()) == set(np.flatnonzero(expected).tolist())
        scores = expected * np.linalg.norm(e._grams.block(0, len(e._grams)), axis=1) ** 2
        assert (np.diff(scores[order]) <= 1e-5 * scores[order[:-1]]).all()


def test_pruned_models() -> None:
    with vecio.open(SG) as e:
        assert prune.prune(e) is e
        few = prune.prune(e, 20, 100)
        assert len(few) == 20 and few._grams is not None and len(few._grams) == 100
        counts = np.asarray(e.counts)
        assert np.asarray(few.counts).min() >= np.sort(counts)[-20]
        for word in few.words:
            assert few[word].tobytes() == e[word].tobytes()
        assert few.can_embed(e.words[len(e) - 1])
        with pytest.raises(ValueError, match="words"):
            prune.prune(e, -1)
    with vecio.open(SUP) as e, pytest.raises(UnsupportedError):
        prune.prune(e, 3)
    plain = vecio.Embeddings.from_arrays(["b", "a", "c"], np.eye(3), counts=[1, 5, 3])
    assert list(prune.prune(plain, 2).words) == ["a", "c"]
    with pytest.raises(UnsupportedError, match="no n-gram rows"):
        prune.prune(plain, grams=2)


# -- options -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose n-grams matter, a little larger than the golden ones."""
    rng = np.random.default_rng(7)
    stems = [
        f"{a}{b}{c}"
        for a in ("ka", "lo", "min", "tra")
        for b in "aeiou"
        for c in ("rt", "ng", "l", "sh", "mp")
    ]
    words = [stem + end for stem in stems for end in ("", "s", "ing", "ed", "er", "ly")]
    base = rng.standard_normal((40, 16)) * np.geomspace(3, 0.1, 16)
    grams = (base[rng.integers(0, 40, 4000)] + 0.3 * rng.standard_normal((4000, 16))).astype(np.float32)
    e = vecio.Embeddings.from_arrays(
        words,
        (rng.standard_normal((len(words), 16)) * 0.5).astype(np.float32),
        counts=[10_000 // (i + 1) + 1 for i in range(len(words))],
        grams=grams,
        minn=3,
        maxn=5,
        accumulated=False,
    )
    grams[prune.gram_counts(e) == 0] *= 0.01  # as training leaves what it never saw
    path = tmp_path_factory.mktemp("model") / "source.safetensors"
    e.save(path)
    return path


def check(path: Path, source: Path) -> dict[str, Any]:
    """Check a compressed file against what it says of itself; return that."""
    with vecio.open(path) as small, vecio.open(source) as e:
        said = small.metadata["quality"]
        found = compress.quality_of(e, small)
        for key, value in zip(
            ("mean_cosine", "mean_cosine_by_count", "mean_cosine_unknown"), found, strict=True
        ):
            assert value is not None and abs(said[key] - value) < 1e-6
        assert said["words"] == len(e) and e._grams is not None and said["grams"] == len(e._grams)
        vectors_of(small)
        assert small.most_similar(e.words[0], topn=2)
    assert vecio.verify(path).ok
    return dict(said)


def test_numbers_of_rows(model: Path, tmp_path: Path) -> None:
    report = vecio.convert(model, tmp_path / "m.safetensors", words=100, grams=500, dtype="pq8")
    assert (report.words, report.grams, report.dtype) == (100, 500, "pq8")
    assert any("words" in text for text in report.lost) and any("n-gram rows" in text for text in report.lost)
    assert report.quality == check(tmp_path / "m.safetensors", model)
    assert "mean cosine, unknown words" in str(report)
    assert json.loads(json.dumps(report.to_dict()))["quality"] == report.quality
    with pytest.raises(VecioError, match="would lose"):
        vecio.convert(model, tmp_path / "n.safetensors", words=100, strict=True)
    with vecio.open(model) as e:
        e.save(tmp_path / "saved.safetensors", words=100, grams=500, dtype="pq8")
    assert (tmp_path / "saved.safetensors").read_bytes() == (tmp_path / "m.safetensors").read_bytes()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_size(model: Path, tmp_path: Path) -> None:
    last = 2.0
    for size in (60_000, "40 kB", "10%"):
        target = tmp_path / "m.safetensors"
        report = vecio.convert(model, target, size=size)
        with vecio.open(model) as e:
            limit = compress.bytes_of(size, e)
        assert 0.7 * limit < target.stat().st_size <= limit
        said = check(target, model)
        score = sum(said[k] for k in ("mean_cosine", "mean_cosine_by_count", "mean_cosine_unknown")) / 3
        assert 0.5 < score < last and report.quality == said
        last = score
    with pytest.raises(VecioError, match="bytes or less"):
        vecio.convert(model, tmp_path / "n.safetensors", size=500)
    assert not (tmp_path / "n.safetensors").exists()


def test_a_quality(model: Path, tmp_path: Path) -> None:
    sizes = []
    for quality in (0.9, 0.999):
        target = tmp_path / "m.safetensors"
        vecio.convert(model, target, quality=quality)
        said = check(target, model)
        score = sum(said[k] for k in ("mean_cosine", "mean_cosine_by_count", "mean_cosine_unknown")) / 3
        assert score >= quality - 1e-6
        sizes.append(target.stat().st_size)
    assert sizes[0] < sizes[1] < model.stat().st_size


def test_words_without_ngrams(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    e = vecio.Embeddings.from_arrays([f"w{i}" for i in range(400)], rng.standard_normal((400, 16)))
    e.save(tmp_path / "m.safetensors", size=20_000)
    assert (tmp_path / "m.safetensors").stat().st_size <= 20_000
    with vecio.open(tmp_path / "m.safetensors") as small:
        assert set(small.metadata["quality"]) >= {"mean_cosine"}


@pytest.mark.parametrize(
    "options",
    [
        {"size": 0},
        {"size": "10 bananas"},
        {"size": -3},
        {"size": True},
        {"quality": 1.5},
        {"quality": 0},
        {"quality": 0.9, "size": 10},
        {"words": -1},
        {"words": "many"},
        {"dtype": "pq0"},
        {"dtype": "pq99"},
        {"dtype": "pq"},
        {"dtype": "pqx"},
        {"words": 3, "bogus": 1},
    ],
)
def test_wrong_options(options: dict[str, Any], model: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        vecio.convert(model, tmp_path / "m.safetensors", **options)
    assert list(tmp_path.iterdir()) == []


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.booleans())
@settings(max_examples=25, deadline=None)
def test_any_shape(rows: int, dim: int, pieces: int, compact: bool) -> None:
    """Few rows, few columns, more pieces than columns: written and read, or refused as a wrong option."""
    import tempfile

    rng = np.random.default_rng(rows * 100 + dim)
    e = vecio.Embeddings.from_arrays([f"w{i}" for i in range(rows)], rng.standard_normal((rows, dim)))
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "m.safetensors"
        if -(-dim // -(-dim // pieces)) != pieces:
            with pytest.raises(ValueError, match="pieces"):
                layout.write(e, target, f"pq{pieces}", compact=compact)
            return
        layout.write(e, target, f"pq{pieces}", compact=compact)
        with vecio.open(target) as small:
            assert isinstance(small._words, (Rotated, ProductQuantised))
            cosine = compress.mean_cosine(e.embed(list(e.words)), small.embed(list(e.words)))
            assert cosine is not None and cosine > 0.99  # fewer rows than centroids: each is one


# -- targets, checked from outside ----------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Path:
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((40, 10)).astype(np.float32)
    vecio.Embeddings.from_arrays([f"w{i}" for i in range(40)], rows).save(tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors"


@pytest.mark.parametrize("dtype", ["pq0", "pqx", "pq99", "pq", "foo"])
def test_a_search_refuses_a_dtype_that_cannot_be(small: Path, dtype: str) -> None:
    with pytest.raises(ValueError, match=r"dtype|pieces|pqN"):
        vecio.convert(small, small.with_name("x.safetensors"), size="50%", dtype=dtype)


def test_small_files_reach_small_sizes_and_full_quality(small: Path) -> None:
    target = small.with_name("x.safetensors")
    report = vecio.convert(small, target, size="60%", words=10)
    assert report.words == 10 and target.stat().st_size <= 0.6 * small.stat().st_size
    report = vecio.convert(small, target, quality=1.0)
    assert report.dtype == "float32" and report.words == 40


def test_a_row_that_points_away_from_its_codes_is_not_made_long() -> None:
    rng = np.random.default_rng(1)
    quantiser = _quantise.train(np.abs(rng.standard_normal((600, 4))).astype(np.float32), 1, False)
    made = _quantise.encode(np.array([[-1, -1, -1, -1]], np.float32), quantiser, False)
    assert (made.norms >= 0).all()


def test_a_size_that_all_fits_into_loses_nothing(model: Path, tmp_path: Path) -> None:
    for dtype in ("float32", "float16"):
        source, target = tmp_path / f"{dtype}.safetensors", tmp_path / "m.safetensors"
        vecio.open(model).save(source, dtype=dtype)
        report = vecio.convert(source, target, size="110%")
        assert report.dtype == dtype and not report.approximated and not report.lost
        assert vectors_of(vecio.open(target)).tobytes() == vectors_of(vecio.open(source)).tobytes()


def test_the_smallest_size_and_the_best_quality_are_said(model: Path, small: Path) -> None:
    target = small.with_name("x.safetensors")
    for source in (small, model):
        with pytest.raises(VecioError, match=r"has 100 bytes or less: the smallest has [\d,]+") as found:
            vecio.convert(source, target, size=100)
        least = int(str(found.value).split("smallest has ")[1].replace(",", ""))
        vecio.convert(source, target, size=least)
        assert target.stat().st_size <= least
        with pytest.raises(VecioError, match="bytes or less"):
            vecio.convert(source, target, size=least - 1)
    with pytest.raises(VecioError, match=r"0\.99999999 is not reached: 0\.\d{9} is the best"):
        vecio.convert(small, target, quality=0.99999999, dtype="int8")


def test_impossible_pieces_are_refused(small: Path) -> None:
    with pytest.raises(ValueError, match="pq7: a row of 10 numbers can have 1, 2, 3, 4, 5, 10 pieces"):
        vecio.convert(small, small.with_name("x.safetensors"), dtype="pq7")


def test_a_report_compares_with_the_source(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.safetensors"
    report = vecio.convert(model, target, grams=500)
    with vecio.open(model) as e, vecio.open(target) as after:
        words = list(e._vocabulary.entries(0, len(e)))
        unknown = [a + b for a, b in zip(words[:-1:7], words[1::7], strict=False)]
        errors = np.abs(e.embed(unknown, "zero") - after.embed(unknown, "zero"))
        rows = len(e._grams or ())
    assert report.unknown_error == errors.max() > 0.1
    text = f"vectors for unknown words: from 500 of {rows:,} n-gram rows"
    assert text in report.approximated and "vectors for unknown words" not in report.kept
    assert report.largest_error == 0 and report.least_cosine is not None and report.least_cosine > 0.9999999
    assert "error         unknown words: largest" in str(report)
    report = vecio.convert(model, target, grams=0)
    assert "vectors for unknown words" in report.lost and not report.approximated
    report = vecio.convert(model, target, words=100, dtype="int8")
    assert "cosine        words that were kept: least" in str(report)
