"""What every format that vecio writes must stand: odd words and numbers, cuts, flipped bits, changes, failing disks.

Each test takes the formats from the registry, so a new one is tested the day it is there. What is particular to a
format (its table of bad files, its reference program) is in its own test module.
"""

from __future__ import annotations

import errno
import functools
import os
import pickle
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import child
import hostile
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_any_to_any import available, place

import vecio
from vecio.formats import FORMATS

CLEAN = (vecio.VecioError, OSError)
WRITTEN = [f.name for f in FORMATS if f.write is not None and available(f.name)]
#: Formats that hold a table for sub-words and no words: they are written from such models only.
TABLES = ("floret", "floret-text")
PLAIN = [name for name in WRITTEN if name not in TABLES]
#: A text that ends after a whole row, or inside the last number, is a text: nothing says that there was more.
OPEN_ENDED = ("glove", "tsv", "numpy")
#: Bytes at the end of a file that may be missing: in the last number of a text, the last line's end, an output matrix.
HARMLESS = {"text": 16, "floret-text": 16, "word2vec": 1, "fasttext": 17}
#: Formats in which a vector is a sum that begins at zero, so that no zero has a sign.
SUMMED = ("fasttext",)
#: What asks another package before it can be read again.
ENCODES = ("sentence-transformers", "model2vec")

WORDS = ["the", "of", "größe", "狐狸", "naïve", "x", "two-part", "NOUN"]


@functools.cache
def model() -> vecio.Embeddings:
    """A small model of words with every property that `from_arrays` can give."""
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(len(WORDS), 6)).astype(np.float32)
    return vecio.Embeddings.from_arrays(WORDS, vectors, counts=list(range(100, 100 - len(WORDS), -1)))


def source(format: str) -> vecio.Embeddings:
    if format in TABLES:
        return vecio.open(hostile_table())
    return model()


@functools.cache
def hostile_table() -> Path:
    return Path(__file__).resolve().parent / "data" / "floret" / "floret-hc4.bin"


def written(format: str, folder: Path, e: vecio.Embeddings | None = None, **options: Any) -> Path:
    """Write a small model; return its path, the only thing in a folder of its own."""
    inside = folder / format
    inside.mkdir(parents=True, exist_ok=True)
    path = place(format, inside)
    (e or source(format)).save(path, format=format, **options)
    return path


def files(path: Path) -> dict[str, bytes]:
    """Return all files of a model, by their names in its folder."""
    root = path.parent
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def digest(path: Any, format: str | None = None) -> tuple[list[str], bytes]:
    with vecio.open(path, format=format) as e:
        words = list(e.words)
        return words, e.embed([*words, "unseenword"], "zero").tobytes()


# -- what is written can be read -----------------------------------------------------------------------------------


@pytest.mark.parametrize("format", WRITTEN)
def test_written_and_read(format: str, tmp_path: Path) -> None:
    path = written(format, tmp_path)
    chosen = next(f for f in FORMATS if f.name == format)
    with vecio.open(path, format=format) as e, source(format) as before:
        found = e.embed([*before.words, "unseenword"], "zero")
        expected = before.embed([*before.words, "unseenword"], "zero")
        assert chosen.fate is not None
        fate = chosen.fate(before, None, {})
        if not fate.approximated:
            assert found[: len(before)].tobytes() == expected[: len(before)].tobytes()
        assert np.allclose(np.linalg.norm(e.embed(WORDS, "zero"), axis=1) > 0, True)
        again = pickle.loads(pickle.dumps(e))
        assert again.embed(WORDS, "zero").tobytes() == e.embed(WORDS, "zero").tobytes()
    if format not in TABLES:  # a table has no way of telling itself from another program's
        assert digest(path) == digest(path, format)


@pytest.mark.parametrize("format", WRITTEN)
def test_the_same_bytes_each_time(format: str, tmp_path: Path) -> None:
    first = files(written(format, tmp_path / "a"))
    time.sleep(0.01)
    assert files(written(format, tmp_path / "b")) == first


def small_float(bits: int) -> np.float32:
    return np.uint32(bits).view(np.float32)


odd_words = st.one_of(
    st.text(max_size=12).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=12),
    st.sampled_from(
        [
            b"new york",
            b"a\nb",
            b"a\r",
            b"\ta",
            b"",
            b" ",
            b"\0",
            b"a\0b",
            b"\xef\xbb\xbfbom",
            b"\xc2\xa0",
            b"\xe2\x80\xa8",
            b"\xff\xfe",
            b"</s>",
            b"<unk>",
            b"[UNK]",
            b"1 2",
            b"3.5",
            b"#",
            b'"quoted"',
            b"NOUN",
            b"word\r",
            b"x" * 3000,
        ]
    ),
)
odd_numbers = st.one_of(
    st.floats(width=32),
    st.sampled_from(
        [0.0, -0.0, 1e-45, -1e-40, 3.4028234e38, float("inf"), float("-inf"), float("nan"), 0.1, 1.0]
    ),
)


@st.composite
def odd_models(draw: st.DrawFn) -> tuple[list[bytes], np.ndarray]:
    words = draw(st.lists(odd_words, min_size=1, max_size=6, unique=True))
    dim = draw(st.integers(1, 4))
    rows = draw(
        st.lists(st.lists(odd_numbers, min_size=dim, max_size=dim), min_size=len(words), max_size=len(words))
    )
    return words, np.array(rows, np.float32)


@pytest.mark.parametrize("format", PLAIN)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(odd_models())
@example(([b"a", b"b"], np.array([[0.0, -0.0], [np.nan, np.inf]], np.float32)))
@example(([b"2", b"3 4"], np.array([[5.0], [6.0]], np.float32)))
@example(([b"2 3", b"4"], np.array([[5.0], [6.0]], np.float32)))
def test_odd_words_and_numbers(format: str, odd: tuple[list[bytes], np.ndarray]) -> None:
    """G15: read back identical, or refused by the writer because the format cannot carry them."""
    words, vectors = odd
    e = vecio.Embeddings.from_arrays(words, vectors)
    chosen = next(f for f in FORMATS if f.name == format)
    assert chosen.fate is not None
    scaled = bool(chosen.fate(e, None, {}).approximated)
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = written(format, Path(folder), e)
        except vecio.UnsupportedError:
            assert not [p for p in Path(folder).rglob("*") if p.is_file()]
            return
        with vecio.open(path, format=format) as back:
            keys = [word.encode("utf-8", "surrogateescape") for word in back.words]
            assert set(words) <= set(keys), (words, keys)
            if chosen.name not in ENCODES:
                assert keys == words
            found = back.embed(words)
            if scaled:
                return
            nan = np.isnan(vectors)
            assert (np.isnan(found) == nan).all()
            if format in SUMMED:
                vectors = vectors + np.float32(0)
            assert found[~nan].tobytes() == vectors[~nan].tobytes()


# -- what is broken is refused -------------------------------------------------------------------------------------


def tampered(path: Path, name: str, data: bytes) -> Iterator[Path]:
    """Yield the model with one of its files changed, and put the file back."""
    file = path.parent / name
    whole = file.read_bytes()
    file.write_bytes(data)
    try:
        yield path
    finally:
        file.write_bytes(whole)


def ask(path: Path, format: str, must_fail: bool) -> str | None:
    """Open a broken model and ask it everything; return what is wrong with the answer."""
    began = time.perf_counter()
    try:
        with vecio.open(path, format=format) as e:
            if must_fail:
                return "opened"
            return hostile.inconsistency(e, CLEAN)
    except CLEAN as error:
        if str(path.parent) not in str(error):
            return f"the file is not named: {error}"
        if time.perf_counter() - began > 5:
            return f"took {time.perf_counter() - began:.1f} s"
        return None
    except Exception as error:
        return f"foreign {type(error).__name__}: {error}"


def cuts(size: int) -> list[int]:
    return (
        list(range(size))
        if size <= 600
        else sorted({*range(200), *range(0, size, max(1, size // 300)), size - 1})
    )


@pytest.mark.parametrize("format", WRITTEN)
def test_cut_anywhere(format: str, tmp_path: Path) -> None:
    """A file cut in half never opens, but for texts that nothing could tell from a whole one."""
    path = written(format, tmp_path)
    wrong = []
    for name, data in files(path).items():
        for cut in cuts(len(data)):
            matters = format not in OPEN_ENDED and name.endswith(
                (path.name, "model.safetensors", "vectors", "key2row", "tokenizer.json", ".npy")
            )
            whole_line = cut >= len(data) - HARMLESS.get(format, 0)
            for changed in tampered(path, name, data[:cut]):
                found = ask(changed, format, matters and not whole_line)
                wrong += [f"{name} cut at {cut} of {len(data)}: {found}"] if found else []
    assert not wrong, "\n".join(wrong[:10]) + f"\n{len(wrong)} in all"


@pytest.mark.parametrize("format", WRITTEN)
def test_bits_and_bytes_changed_anywhere(format: str, tmp_path: Path) -> None:
    path = written(format, tmp_path)
    wrong = []
    rng = random.Random(5)
    for name, data in files(path).items():
        for at in cuts(len(data)):
            for value in (data[at] ^ 1, data[at] ^ 0x80, 0, 0xFF, rng.randrange(256)):
                broken = data[:at] + bytes([value]) + data[at + 1 :]
                for changed in tampered(path, name, broken):
                    found = ask(changed, format, False)
                    wrong += [f"{name}, byte {at} is {value}: {found}"] if found else []
    assert not wrong, "\n".join(wrong[:10]) + f"\n{len(wrong)} in all"


@pytest.mark.parametrize("format", WRITTEN)
def test_damage_that_knows_no_format(format: str, tmp_path: Path) -> None:
    """C19 to C38, on each file of the model."""
    path = written(format, tmp_path)
    wrong = []
    for name, data in files(path).items():
        for row, _, broken, _ in hostile.cases_any(data):
            for changed in tampered(path, name, broken):
                found = ask(changed, format, False)
                wrong += [f"{name}, {row}: {found}"] if found else []
    assert not wrong, "\n".join(wrong[:10]) + f"\n{len(wrong)} in all"


@pytest.mark.parametrize("format", WRITTEN)
def test_files_that_are_missing(format: str, tmp_path: Path) -> None:
    path = written(format, tmp_path)
    for name in files(path):
        file = path.parent / name
        data = file.read_bytes()
        file.unlink()
        assert ask(path, format, False) is None, name
        file.mkdir()
        assert ask(path, format, False) is None, f"{name} as a folder"
        file.rmdir()
        os.mkfifo(file)
        assert ask(path, format, False) is None, f"{name} as a FIFO"
        file.unlink()
        file.write_bytes(data)


# -- what happens to an open model ---------------------------------------------------------------------------------


@pytest.mark.parametrize("format", WRITTEN)
def test_use_after_close(format: str, tmp_path: Path) -> None:
    e = vecio.open(written(format, tmp_path), format=format)
    vectors = e.embed(WORDS, "zero")
    e.close()
    for question in (
        lambda: e["the"],
        lambda: e.embed(WORDS, "zero"),
        lambda: "the" in e,
        lambda: e.index(WORDS),
    ):
        with pytest.raises(vecio.VecioError):
            question()
    assert np.isfinite(vectors).all()


def changes(format: str, folder: str, copy: bool) -> list[str]:
    """Change each file of an open model in each way; return what was neither right nor, for a map, an error."""
    bad = []
    ways: dict[str, Callable[[Path], object]] = {
        "cut to 0": lambda p: os.truncate(p, 0),
        "cut to half": lambda p: os.truncate(p, p.stat().st_size // 2),
        "cut by one": lambda p: os.truncate(p, p.stat().st_size - 1),
        "unlinked": lambda p: p.unlink(),
        "replaced": lambda p: (p.with_name("new").write_bytes(b"x" * 99), p.with_name("new").replace(p)),
        "overwritten": lambda p: p.write_bytes(os.urandom(p.stat().st_size)),
    }
    for i, (way, change) in enumerate(ways.items()):
        path = written(format, Path(folder) / str(i))
        for name in files(path):
            path = written(format, Path(folder) / f"{i}-{name.replace('/', '-')}")
            time.sleep(0.02)
            with vecio.open(path, format=format, copy=copy) as e:
                words = [*list(e.words)[:5], "unseenword"]
                right = e.embed(words, "zero")
                change(path.parent / name)
                time.sleep(0.02)
                try:
                    same = e.embed(words, "zero").tobytes() == right.tobytes()
                    bad += [] if same else [f"{name} {way}: other vectors"]
                except CLEAN as error:
                    bad += [f"{name} {way}: {error}"] if copy else []
    return bad


@pytest.mark.parametrize("copy", [False, True], ids=["mapped", "copied"])
@pytest.mark.parametrize("format", WRITTEN)
def test_files_that_change_under_an_open_model(format: str, copy: bool, tmp_path: Path) -> None:
    assert child.run(changes, format, tmp_path, copy) == []


# -- saves that fail -----------------------------------------------------------------------------------------------

#: Calls of the system that a save makes, each of which may fail.
CALLS = ("fsync", "replace", "rename", "open", "chmod")


@pytest.mark.parametrize("format", WRITTEN)
def test_every_call_that_fails_leaves_the_old_files(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G8: the N-th call fails, for every N until a save passes: the old files are there, and nothing else."""
    path = written(format, tmp_path)
    old = files(path)
    names = sorted(p.name for p in path.parent.iterdir())
    other = source(format)
    for call in CALLS:
        original = getattr(os, call)
        for number in range(1, 60):
            count = 0

            def failing(*args: Any, original: Any = original, number: int = number, **kwargs: Any) -> Any:
                nonlocal count
                count += 1
                if count == number:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return original(*args, **kwargs)

            with monkeypatch.context() as patch:
                patch.setattr(os, call, failing)
                try:
                    other.save(path, format=format)
                    failed = False
                except OSError:
                    failed = True
            assert sorted(p.name for p in path.parent.iterdir()) == names, (
                f"{call} {number} left files behind"
            )
            assert files(path) == old, f"{call} {number}"
            if not failed and count < number:
                break
            assert failed or count != number or call in ("chmod", "open"), f"{call} {number}: swallowed"


def save_for_ever(format: str, path: str) -> None:
    """Save two models in turn until killed."""
    models = [source(format), vecio.Embeddings.from_arrays(WORDS, np.ones((len(WORDS), 6), np.float32))]
    if format in TABLES:
        models = [source(format)] * 2
    print("ready", flush=True)
    for i in range(10**9):
        models[i % 2].save(path, format=format)


@pytest.mark.parametrize("format", WRITTEN)
def test_killed_while_saving(format: str, tmp_path: Path) -> None:
    """One of the two models, whole, whenever the writer dies; a folder may for a moment not be there."""
    whole = [files(written(format, tmp_path / "a"))]
    if format not in TABLES:
        ones = vecio.Embeddings.from_arrays(WORDS, np.ones((len(WORDS), 6), np.float32))
        whole.append(files(written(format, tmp_path / "b", ones)))
    path = written(format, tmp_path / "c")
    rng = random.Random(1)
    for _ in range(3):
        with child.started(save_for_ever, format, path) as process:
            assert process.stdout is not None and b"ready" in process.stdout.readline()
            time.sleep(rng.uniform(0, 0.05))
            process.kill()
        names = set(whole[0])
        found = {name: data for name, data in files(path).items() if name in names}
        if len(names) == 1 or path.is_dir():
            assert found in whole
        else:  # several files are renamed one after the other: all whole, and open or are refused
            assert all(data in (w[name] for w in whole) for name, data in found.items())
            assert ask(path, format, False) is None
