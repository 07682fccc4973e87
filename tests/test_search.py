"""The neighbour search against its slow twin, on every storage, every path and every kind of awkward row."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import vecio
from vecio import _effort, search
from vecio.matrix import Float16, Float32, Int8, Matrix

DATA = Path(__file__).parent / "data"
DTYPES = ["float32", "float16", "int8"]


class Rows:
    """A source of rows: stored ones, or ones that are computed from them block by block."""

    def __init__(self, words: Matrix, norms: np.ndarray | None = None, accumulated: bool = True) -> None:
        self.words, self.norms, self.accumulated = words, norms, accumulated
        self.size = len(words)
        self.checks = 0
        self.blocks: list[tuple[int, int]] = []

    def block(self, start: int, stop: int) -> np.ndarray:
        self.blocks.append((start, stop))
        return self.words.block(start, stop)

    def check(self) -> None:
        self.checks += 1


def read_only(array: np.ndarray, offset: int = 0) -> np.ndarray:
    """Return a read-only copy whose data begins `offset` bytes behind an aligned place."""
    copy = np.ndarray(
        array.shape,
        array.dtype,
        bytes(64 - offset % 64 + offset) + array.tobytes(),
        64 - offset % 64 + offset,
    )
    assert not copy.flags.writeable
    return copy


def stored(values: np.ndarray, dtype: str) -> Matrix:
    """Return float32 rows as one of the storages, read-only; NaN rows stay NaN."""
    if dtype == "float32":
        return Float32(read_only(values, 3))
    if dtype == "float16":
        with np.errstate(over="ignore"):
            return Float16(read_only(values.astype(np.float16)))
    with np.errstate(all="ignore"):
        scales = (np.abs(values).max(1, initial=0) / 127).astype(np.float32)
        scales[~np.isfinite(scales)] = np.nan
        codes = np.nan_to_num(np.rint(values / scales[:, None])).astype(np.int8)
    return Int8(read_only(codes), read_only(scales))


def decoded_norms(words: Matrix) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.sqrt((words.block(0, len(words)).astype(np.float64) ** 2).sum(1)).astype(np.float32)


@pytest.fixture(params=["plain", "compiled"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test once with numpy alone and once with the kernels."""
    monkeypatch.setattr(search, "kernels_due", lambda seconds: request.param == "compiled")
    return str(request.param)


def awkward(rows: int, dim: int, seed: int = 0) -> np.ndarray:
    """Return random rows with clusters, equal rows, opposite rows, rows of zeros and rows that are not numbers."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((rows, dim)).astype(np.float32)
    values += 2 * values[rng.integers(0, 5, rows)]
    pick = lambda share: rng.permutation(rows)[: max(1, rows // share)]
    values[pick(10)] = values[rows // 2]
    values[pick(20)] = -values[rows // 3]
    values[pick(15)] = 0
    bad = pick(25)
    values[bad] = np.nan
    values[bad[::2], -1] = np.inf
    return values


def same(got: tuple[np.ndarray, np.ndarray], expected: tuple[np.ndarray, np.ndarray]) -> None:
    """Compare ids and scores with the twin's: scores within a float32 step, ids wherever scores are told apart."""
    ids, scores = got
    assert ids.dtype == np.int64 and scores.dtype == np.float32
    assert ids.shape == scores.shape == expected[0].shape
    np.testing.assert_array_equal(ids < 0, expected[0] < 0)
    np.testing.assert_allclose(scores, expected[1], rtol=0, atol=2e-7)
    np.testing.assert_array_equal(ids, expected[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("norms", [False, True])
@pytest.mark.parametrize("dim", [1, 2, 7, 31, 32, 33, 64, 100, 300])
def test_equals_the_twin(path: str, dtype: str, norms: bool, dim: int) -> None:
    words = stored(awkward(700, dim, dim), dtype)
    rows = words.block(0, len(words))
    source = Rows(words, decoded_norms(words) if norms else None)
    rng = np.random.default_rng(dim)
    queries = np.concatenate([rng.standard_normal((20, dim)).astype(np.float32), rows[[0, 350, 699]]])
    for count in (1, 2, 5, len(queries)):
        some = queries[-count:]
        for k in (1, 10, 100):
            same(search.nearest(source, some, k), naive.nearest(rows, some, k))
    assert source.blocks == []


@pytest.mark.parametrize("dtype", DTYPES)
def test_computed_vectors(path: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = stored(awkward(900, 20), dtype)
    rows = words.block(0, 900)
    queries = rows[::50]
    for keep in (0, 1 << 20):
        monkeypatch.setattr(search, "KEEP", keep)
        monkeypatch.setattr(search, "BLOCK", 20 * 100)
        source = Rows(words, accumulated=False)
        same(search.nearest(source, queries, 12, threads=2), naive.nearest(rows, queries, 12))
        seen = len(source.blocks)
        same(search.nearest(source, queries[:1], 3), naive.nearest(rows, queries[:1], 3))
        assert (len(source.blocks) == seen == 1) is bool(keep)


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_one_or_many_threads_or_not(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = stored(awkward(6000, 48), dtype)
    source = Rows(words, decoded_norms(words))
    rng = np.random.default_rng(5)
    queries = rng.standard_normal((300, 48)).astype(np.float32)
    queries[::30] = words.take(rng.integers(0, 6000, 10))
    monkeypatch.setattr(search, "kernels_due", lambda seconds: True)
    monkeypatch.setattr(search, "FEWEST", 500)
    monkeypatch.setattr(search, "CHUNK", 1 << 12)
    ids, scores = search.nearest(source, queries, 10, threads=1)
    for threads in (2, 3):
        again = search.nearest(source, queries, 10, threads=threads)
        assert np.array_equal(again[0], ids) and again[1].tobytes() == scores.tobytes()
    for due in (True, False):
        monkeypatch.setattr(search, "kernels_due", lambda seconds, due=due: due)
        for size in (1, 2, 7, 100):
            for a in range(0, 300, 30 if size < 30 else 100):
                part = search.nearest(source, queries[a : a + size], 10)
                assert np.array_equal(part[0], ids[a : a + size])
                assert part[1].tobytes() == scores[a : a + size].tobytes()


def test_ties_go_to_the_lower_row_however_many(path: str) -> None:
    rows = np.ones((5000, 40), np.float32)
    rows[17] = -1
    source = Rows(Float32(rows))
    for count in (1, 8):
        queries = np.arange(1, 1 + 40 * count, dtype=np.float32).reshape(count, 40)
        same(search.nearest(source, queries, 30), naive.nearest(rows, queries, 30))


def test_near_ties_are_told_apart(path: str) -> None:
    """Rows whose cosines differ by less than the scan can see: the formula decides, not the scan."""
    rng = np.random.default_rng(3)
    rows = np.full((4000, 64), 1.0, np.float32)
    rows += rng.uniform(-1e-6, 1e-6, rows.shape).astype(np.float32)
    source = Rows(Float32(rows))
    queries = rng.standard_normal((12, 64)).astype(np.float32)
    for count in (1, 12):
        same(search.nearest(source, queries[:count], 5), naive.nearest(rows, queries[:count], 5))


@pytest.mark.parametrize("dtype", DTYPES)
def test_k_beyond_the_rows_and_excluded_ones(path: str, dtype: str) -> None:
    words = stored(awkward(60, 9), dtype)
    rows = words.block(0, 60)
    source = Rows(words)
    queries = rows[[1, 2, 3]]
    for k in (0, 1, 59, 60, 1000):
        ids, scores = search.nearest(source, queries, k)
        assert ids.shape == scores.shape == (3, min(k, 60))
        same((ids, scores), naive.nearest(rows, queries, k))
    exclude = [[1, 1, 5, 77, -3], None, list(range(55))]
    same(search.nearest(source, queries, 8, exclude=exclude), naive.nearest(rows, queries, 8, exclude))
    ids, scores = search.nearest(source, queries[:1], 8, exclude=[range(60)])
    assert (ids == -1).all() and (scores == -np.inf).all()


def test_many_excluded_rows(path: str) -> None:
    rows = np.random.default_rng(0).standard_normal((3000, 16)).astype(np.float32)
    queries = rows[:4]
    best, _ = naive.nearest(rows, queries, 1000)
    exclude = list(best[:, :900])
    got = search.nearest(Rows(Float32(rows)), queries, 10, exclude=exclude)
    same(got, naive.nearest(rows, queries, 10, exclude))


@pytest.mark.parametrize("dtype", DTYPES)
def test_queries_that_say_nothing(path: str, dtype: str) -> None:
    words = stored(awkward(3000, 10), dtype)
    source = Rows(words)
    rows = words.block(0, 3000)
    queries = np.zeros((4, 10), np.float32)
    queries[1, 3] = np.nan
    queries[2, 4] = np.inf
    queries[3] = rows[7]
    ids, scores = search.nearest(source, queries, 5, exclude=[[0, 2], None, None, None])
    assert (scores[0] == 0).all()
    valid = np.flatnonzero(np.isfinite(rows).all(1))
    assert ids[0].tolist() == [i for i in valid if i not in (0, 2)][:5]
    assert (ids[1:3] == -1).all() and (scores[1:3] == -np.inf).all()
    same((ids[3:], scores[3:]), naive.nearest(rows, queries[3:], 5))
    zeros = search.nearest(source, queries[:1], 3000)
    assert (zeros[0] >= 0).sum() == len(valid) == (zeros[1] == 0).sum()


def test_nothing_asked_and_nothing_there(path: str) -> None:
    source = Rows(Float32(np.ones((5, 3), np.float32)))
    for queries in (np.empty((0, 3), np.float32), np.empty((0, 0), np.float32)):
        ids, scores = search.nearest(source, queries, 4)
        assert ids.shape == scores.shape == (0, 4)
    empty = Rows(Float32(np.empty((0, 3), np.float32)))
    ids, scores = search.nearest(empty, np.ones((2, 3), np.float32), 4)
    assert ids.shape == scores.shape == (2, 0)
    with pytest.raises(ValueError, match="negative"):
        search.nearest(source, np.ones((1, 3), np.float32), -1)
    with pytest.raises(ValueError, match=r"\(Q, 3\)"):
        search.nearest(source, np.ones((1, 4), np.float32), 1)
    with pytest.raises(ValueError, match="exclude"):
        search.nearest(source, np.ones((1, 3), np.float32), 1, exclude=[])
    with pytest.raises(ValueError, match="threads"):
        search.nearest(
            Rows(Float32(np.ones((500, 3), np.float32))), np.ones((1, 3), np.float32), 1, threads=0
        )


def test_kernels_and_formula_share_their_limits() -> None:
    from vecio.kernels import search as kernels

    assert (kernels.TINY, kernels.HUGE) == (search.TINY, search.HUGE)
    assert max(search.FEW.values()) <= search.GROUP


@pytest.mark.parametrize("scale", [1e-20, 1e-14, 1e-6, 1e6, 1e14, 1e20])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_very_long_and_very_short_rows(path: str, scale: float, dtype: str) -> None:
    rng = np.random.default_rng(1)
    values = rng.standard_normal((500, 40)).astype(np.float32)
    values[::2] *= np.float32(scale)
    words = stored(values, dtype)
    rows = words.block(0, 500)
    for count in (1, 9):
        queries = rng.standard_normal((count, 40)).astype(np.float32)
        same(search.nearest(Rows(words), queries, 20), naive.nearest(rows, queries, 20))


def test_negative_scales(path: str) -> None:
    rng = np.random.default_rng(2)
    codes = rng.integers(-127, 128, (400, 33)).astype(np.int8)
    codes[5] = -128
    words = Int8(codes, rng.standard_normal(400).astype(np.float32))
    rows = words.block(0, 400)
    for norms in (None, decoded_norms(words)):
        for count in (1, 9):
            queries = rng.standard_normal((count, 33)).astype(np.float32)
            same(search.nearest(Rows(words, norms), queries, 20), naive.nearest(rows, queries, 20))


@pytest.mark.parametrize("dim", [65536, 140000])
def test_very_wide_rows(dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = np.full((40, dim), 127, np.int8)
    codes[::2, ::3] = -128
    words = Int8(codes, np.linspace(0.5, 1, 40, dtype=np.float32))
    query = np.ones((1, dim), np.float32)
    monkeypatch.setattr(search, "kernels_due", lambda seconds: True)
    same(search.nearest(Rows(words), query, 5), naive.nearest(words.block(0, 40), query, 5))


def test_wrong_stored_norms_never_crash(path: str) -> None:
    values = np.random.default_rng(2).standard_normal((500, 33)).astype(np.float32)
    for number in (np.nan, np.inf, -np.inf, 0, -1, 1e-30):
        source = Rows(Float32(values), np.full(500, number, np.float32))
        ids, scores = search.nearest(source, values[:1], 5)
        assert ids.shape == scores.shape == (1, 5)


@given(
    values=hnp.arrays(
        np.float32, st.tuples(st.integers(40, 90), st.integers(1, 70)), elements=st.floats(width=32)
    ),
    k=st.integers(1, 12),
    dtype=st.sampled_from(DTYPES),
    compiled=st.booleans(),
)
def test_any_numbers(values: np.ndarray, k: int, dtype: str, compiled: bool) -> None:
    words = stored(values, dtype)
    with np.errstate(all="ignore"):
        rows = words.block(0, len(words))
    saved = search.kernels_due
    search.kernels_due = lambda seconds: compiled
    try:
        for queries in (rows[:1], rows[:7]):
            same(search.nearest(Rows(words), queries, k), naive.nearest(rows, queries, k))
    finally:
        search.kernels_due = saved


@pytest.mark.parametrize("kernels", [False, True])
def test_realistic_rows_float16_and_int8_against_float32(
    kernels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "kernels_due", lambda seconds: kernels)
    rng = np.random.default_rng(11)
    dim, rows = 300, 20000
    centres = rng.standard_normal((200, dim)).astype(np.float32)
    values = 0.8 * centres[rng.integers(0, 200, rows)] + rng.standard_normal((rows, dim)).astype(np.float32)
    values *= rng.uniform(0.2, 4, (rows, 1)).astype(np.float32)
    queries = values[rng.integers(0, rows, 100)]
    exact, _ = search.nearest(Rows(Float32(values)), queries, 10)
    for dtype, least in (("float16", 0.99), ("int8", 0.98)):
        ids, _ = search.nearest(Rows(stored(values, dtype)), queries, 10)
        overlap = np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(ids, exact, strict=True)])
        assert overlap >= least


def test_rows_that_kernels_cannot_read_in_place(path: str) -> None:
    """Matrices that do not lie row after row, and norms of another length, are not handed to the kernels."""
    values = np.asfortranarray(np.random.default_rng(4).standard_normal((400, 30)).astype(np.float32))
    for count in (1, 20):
        got = search.nearest(Rows(Float32(values), np.ones(3, np.float32)), values[:count], 5)
        same(got, naive.nearest(values, values[:count], 5))


def test_more_queries_than_one_pass_serves(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "PASS", 7)
    monkeypatch.setattr(search, "GROUP", 3)
    rows = awkward(200, 8)
    queries = np.random.default_rng(1).standard_normal((20, 8)).astype(np.float32)
    calls: list[tuple[int, int]] = []
    got = search.nearest(Rows(Float32(rows)), queries, 5, progress=lambda *call: calls.append(call))
    same(got, naive.nearest(rows, queries, 5))
    assert calls[-1] == (600, 600)


def test_progress_is_called_in_order_and_its_exception_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "kernels_due", lambda seconds: True)
    monkeypatch.setattr(search, "FEWEST", 100)
    monkeypatch.setattr(search, "CHUNK", 1)
    rows = np.random.default_rng(0).standard_normal((1000, 8)).astype(np.float32)
    source = Rows(Float32(rows))
    calls: list[tuple[int, int]] = []
    search.nearest(source, rows[:5], 3, threads=2, progress=lambda done, total: calls.append((done, total)))
    assert [done for done, _ in calls] == list(range(100, 1001, 100)) and {total for _, total in calls} == {
        1000
    }
    assert source.checks == 1

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search.nearest(source, rows[:5], 3, threads=2, progress=stop)


def test_many_callers_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "kernels_due", lambda seconds: True)
    monkeypatch.setattr(search, "FEWEST", 200)
    monkeypatch.setattr(search, "CHUNK", 1)
    rows = awkward(2000, 24)
    source = Rows(Float32(rows), accumulated=False)
    queries = np.random.default_rng(1).standard_normal((20, 24)).astype(np.float32)
    expected = search.nearest(source, queries, 7)
    failed: list[int] = []

    def call(n: int) -> None:
        for _ in range(5):
            got = search.nearest(source, queries, 7, threads=1 + n % 3)
            if not (np.array_equal(got[0], expected[0]) and np.array_equal(got[1], expected[1])):
                failed.append(n)

    callers = [threading.Thread(target=call, args=(n,)) for n in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not failed


def test_small_work_starts_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_effort, "_loaded", False)
    monkeypatch.setattr(_effort, "_spent", 0.0)
    rows = np.random.default_rng(0).standard_normal((2000, 50)).astype(np.float32)
    search.nearest(Rows(Float32(rows)), rows[:3], 10)
    assert not _effort.loaded()
    assert 0 < _effort._spent < 0.05


def test_arithmetic() -> None:
    a, b = np.array([3, 4], np.float32), np.array([0, 2], np.float32)
    assert search.cosine(a, b) == search.cosine(b, a) == float(np.float32(0.8))
    assert search.cosine(a, 0 * b) == search.cosine(0 * a, b) == 0.0
    np.testing.assert_allclose(
        search.combine([a, b], [1, -0.5]), np.array([0.6, 0.3]) / np.hypot(0.6, 0.3), 1e-6
    )
    assert not search.combine([a, a], [1, -1]).any()


def test_most_similar_is_the_nearest_to_the_sum() -> None:
    rows = np.random.default_rng(0).standard_normal((300, 12)).astype(np.float32)
    source = Rows(Float32(rows))
    ids, scores = search.most_similar(source, rows[[3, 5, 8]], [1, -1, 0.5], 6, exclude=[3, 5, 8])
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    mean = units[3] - units[5] + 0.5 * units[8]
    expected = units @ (mean / np.linalg.norm(mean))
    expected[[3, 5, 8]] = -2
    assert ids.tolist() == np.argsort(-expected)[:6].tolist()
    np.testing.assert_allclose(scores, np.sort(expected)[::-1][:6], atol=1e-6)
    assert len(search.most_similar(source, rows[:1], [1], 0)[0]) == 0
    assert len(search.most_similar(source, rows[:1], [1], 999, exclude=[0])[0]) == 299


@pytest.mark.parametrize(
    "name", sorted(p.name for p in DATA.glob("f*/*.bin")) + ["q-plain.ftz", "q-cutoff.ftz"]
)
def test_fasttext_neighbours_and_analogies(name: str, path: str) -> None:
    """The reference program's scores to 1e-6; its order where scores differ by more."""
    file = next(DATA.glob(f"f*/{name}"))
    answers = json.loads(file.with_suffix(".json").read_text("utf-8"))
    e = vecio.open(file)
    for asked in answers.get("neighbours", []):
        check_answer(e.most_similar(asked["word"], topn=asked["k"]), asked, e.similarity, asked["word"])
    for asked in answers.get("analogies", []):
        got = e.most_similar([asked["a"], asked["c"]], [asked["b"]], topn=asked["k"])
        check_answer(got, asked, None, None)


def check_answer(got: list[tuple[str, float]], asked: dict, similarity: object, word: str | None) -> None:
    scores = np.frombuffer(bytes.fromhex(asked["scores"]), "<f4")
    np.testing.assert_allclose([score for _, score in got], scores, rtol=0, atol=1e-6)
    for i, (mine, theirs) in enumerate(zip(got, asked["words"], strict=True)):
        near = np.abs(scores - scores[i]) <= 2e-6
        if i + 1 < len(scores) and near.sum() == 1:
            assert mine[0] == theirs
        if callable(similarity):
            assert abs(similarity(word, mine[0]) - mine[1]) <= 1e-6


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    "name", ["finalfusion/third-party/quantized.fifu", "finalfusion/pq.fifu", "navec/small.tar"]
)
def test_words_of_quantised_files_find_themselves(
    name: str, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vecio._effort, "_loaded", compiled)
    with vecio.open(Path(__file__).parent / "data" / name) as e:
        ids, scores = e.nearest(e.embed(e.words[:5]), k=1)
        vectors = e.embed(e.words[:5])
        found = e.embed([e.words[int(i)] for i in ids[:, 0]])
        assert np.allclose(scores[:, 0], 1.0, atol=1e-5) and np.allclose(found, vectors, rtol=1e-4, atol=1e-4)
