"""Opens broken files, odd files and things that are no files, and looks at what comes back.

The rows are those of the reliability table: C (any format), F (fastText dense), Q (quantized), B (sections of the
fastText specification). `hostile.py` makes the files and says what each must get; here they are opened, asked
everything, and the answers compared with the slow twin. Time and memory have generous bounds here;
`python tests/test_hostile.py` prints the exact figures. Native files (`.safetensors`) have their own cases in
test_safetensors.py; the C rows are asked of them here.
"""

from __future__ import annotations

import errno
import functools
import gc
import mmap
import os
import re
import resource
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import child
import hostile
import numpy as np
import pytest
from hostile import Case, FastText
from models import DATA, models

import vecio

CLEAN = (vecio.VecioError, OSError)
SECONDS = 2.0  # the promise is 0.1; a loaded machine must not decide a test
MEMORY = 32 << 20  # and 4 bytes for each byte of the file


# --- judging one file --------------------------------------------------------------------------------------------


def ask(path: Path, must: str, truth: FastText | None = None, **options: Any) -> BaseException | None:
    """Open a file and ask it everything. Return the clean error, or None where it answered as it must.

    Raises AssertionError where the verdict is not met, and lets every foreign exception through.
    """
    begin = time.perf_counter()
    error: BaseException | None = None
    try:
        with vecio.open(path, **options) as e:
            assert time.perf_counter() - begin < SECONDS, "opening took too long"
            if must == "E":
                unknown = list(e.embed([b"riverside"], missing="zero")[0])
                wrong = hostile.inconsistency(e, CLEAN)
                raise AssertionError(
                    f"opened, {len(e)} words {list(e.words)[:3]}, riverside {unknown}, {wrong}"
                )
            wrong = hostile.difference(e, truth) if truth is not None else hostile.inconsistency(e, CLEAN)
            assert wrong is None, wrong
    except CLEAN as problem:
        error = problem
        assert time.perf_counter() - begin < SECONDS, "the refusal took too long"
        assert must != "O", f"refused: {problem}"
    return error


def check_text(error: BaseException, path: Path, case: Case) -> None:
    """A refusal names the file and, where the structure is wrong, the place, what was expected and what was found."""
    text = str(error)
    assert str(path) in text, text
    if case.structural and isinstance(error, vecio.FormatError):
        assert error.offset is not None and f"byte {error.offset}" in text, text
        assert 0 <= error.offset <= len(case.data), text
        assert error.expected is not None and error.found is not None, text
    if case.says is not None:
        assert re.search(case.says, text), f"{text!r} does not say {case.says!r}"


CASES = [
    *hostile.cases_bin(),
    *hostile.cases_bin(hostile.whole_supervised(), "sup"),
    *hostile.cases_more(),
    *hostile.cases_ftz(),
    *hostile.cases_ftz(hostile.whole_ftz(qnorm=False), "plain"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_case(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(case.data)
    error = ask(path, case.must, case.truth)
    if error is not None:
        if case.must == "E":
            check_text(error, path, case)
        else:
            assert str(path) in str(error)


def test_word_of_three_mib(tmp_path: Path) -> None:
    """F62: the kernels take it, alone and in a batch."""
    model = hostile.whole_bin().rename(6, b"long" * 786432)
    path = tmp_path / "model.bin"
    path.write_bytes(model.dump())
    with vecio.open(path) as e:
        word = model.entries[6][0]
        assert e.index(word) == 6 and hostile.same(e[word], e.embed([b"the", word])[1])
        assert np.isfinite(e[word]).all() and e.nearest([word], k=1)[0].tolist() == [[6]]


def test_case_asked_for_by_format(tmp_path: Path) -> None:
    """Naming the format does not let anything more through, or other exceptions out."""
    path = tmp_path / "model"
    for case in CASES[::7]:
        path.write_bytes(case.data)
        ask(path, case.must, case.truth, format="fasttext")


def test_case_with_the_kernels_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled path meets the same files and refuses, or answers, alike."""
    monkeypatch.setattr("vecio._effort._loaded", True)
    path = tmp_path / "model.bin"
    for case in CASES[::3]:
        path.write_bytes(case.data)
        try:
            ask(path, case.must, case.truth)
        except AssertionError as wrong:
            raise AssertionError(f"{case.id}: {wrong}") from wrong


def test_case_without_a_walk_over_the_dictionary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a file whose dictionary is large: places from the file's end, entries checked when they are needed."""
    monkeypatch.setattr(sys.modules["vecio.formats.fasttext.reader"], "EAGER", 0)
    path = tmp_path / "model.bin"
    for case in CASES:
        if len(case.data) > 1 << 16:
            continue
        path.write_bytes(case.data)
        try:
            error = ask(path, case.must, case.truth)
            assert error is None or str(path) in str(error)
        except AssertionError as wrong:
            raise AssertionError(f"{case.id}: {wrong}") from wrong


def test_rows_of_the_table_are_all_there() -> None:
    rows = {case.row for case in CASES}
    missing = [f"F{i}" for i in range(1, 81) if f"F{i}" not in rows]
    assert missing == []
    assert [f"Q{i}" for i in range(1, 51) if f"Q{i}" not in rows] == ["Q50"]  # below; Q51 is test_golden.py


def test_case_with_the_longer_header_of_floret(tmp_path: Path) -> None:
    """Nothing in the file says which header it has: the verdicts hold for both."""
    path = tmp_path / "model.bin"
    for case in hostile.cases_bin(hostile.whole_bin().change(floret=(1, 1)), "floret"):
        if len(case.data) > 1 << 16:
            continue
        path.write_bytes(case.data)
        try:
            ask(path, case.must, case.truth)
        except AssertionError as wrong:
            raise AssertionError(f"{case.id}: {wrong}") from wrong


def test_converting_what_is_broken(tmp_path: Path) -> None:
    """A refusal leaves nothing behind; what converts has the vectors of its source."""
    source, target = tmp_path / "model.bin", tmp_path / "model.safetensors"
    for case in CASES[::5]:
        if len(case.data) > 1 << 16:
            continue
        source.write_bytes(case.data)
        try:
            vecio.convert(source, target, dtype="float32")
        except CLEAN as error:
            assert case.must != "O" and "model." in str(error), (case.id, error)
            assert [p.name for p in tmp_path.iterdir()] == ["model.bin"], case.id
            continue
        assert case.must != "E", case.id
        words, vectors = vectors_of(source)
        own_words, own_vectors = vectors_of(target)
        assert own_words == words and hostile.same(own_vectors, vectors), case.id
        target.unlink()


def test_verifying_what_is_broken(tmp_path: Path) -> None:
    """`verify` reports what is wrong, or raises a clean error; it finds nothing in what must open."""
    path = tmp_path / "model.bin"
    for case in CASES[::5]:
        if len(case.data) > 1 << 16:
            continue
        path.write_bytes(case.data)
        try:
            report = vecio.verify(path)
        except CLEAN:
            assert case.must != "O", case.id
            continue
        assert not (case.must == "E" and report.ok), case.id
        assert not (case.must == "O" and not report.ok), (case.id, report)


# --- section 15 of the specification: what the real loader lets through -------------------------------------------

SECTION_15 = {
    "cut anywhere after the dictionary": "F9 F10 F11 Q1 Q2 Q3 Q4 Q5 Q6",
    "cut inside the dictionary": "F6 F7 F8 F65 F66",
    "entry count too high": "F34 F35",
    "rows x cols huge or negative": "F48 F49 F50 F51 F52",
    "row count too small": "F47 F53 Q10",
    "bucket 0 with n-grams": "F23",
    "bucket larger than the matrix": "F25 F26",
    "nwords or nlabels wrong": "F36 F37 F38 F39",
    "pruneidx_size positive in a dense file": "F42 Q41",
    "pruneidx_size 2^40": "F43 Q40",
    "dim field wrong": "F19 F20 F21 F22 Q12",
    "quantizer nsubq or dim too large": "Q16 Q17 Q18 Q19 Q21",
    "quantizer dsub 0": "Q23",
    "wrong entry type": "F68 F69 F70",
}


@pytest.mark.parametrize("damage", SECTION_15)
def test_what_the_real_loader_lets_through_is_refused(damage: str) -> None:
    """Every line of the table stands for rows above; all of their cases demand an error."""
    for row in SECTION_15[damage].split():
        verdicts = {case.must for case in CASES if case.row == row}
        assert verdicts == {"E"}, (damage, row, verdicts)


def test_nan_in_dense_weights_opens_and_answers(tmp_path: Path) -> None:
    """The last line of the table: the real program loads it and throws at the first product."""
    model = hostile.whole_supervised()
    model.input.values[:] = np.nan
    path = tmp_path / "model.bin"
    path.write_bytes(model.dump())
    assert ask(path, "A") is None


# --- cuts --------------------------------------------------------------------------------------------------------


def everywhere(
    path: Path, data: bytes, borders: Iterator[int] | range, must: Callable[[int], str], truth: FastText
) -> None:
    """Cut a file shorter and shorter in place of copies, and judge it each time."""
    path.write_bytes(data)
    for length in sorted(borders, reverse=True):
        os.truncate(path, length)
        try:
            verdict = must(length)
            error = ask(path, verdict, truth if verdict == "X" else None)
        except AssertionError as wrong:
            raise AssertionError(f"cut to {length} of {len(data)} bytes: {wrong}") from wrong
        assert error is None or str(path) in str(error)


@pytest.mark.parametrize("name", ["fasttext/sg-ova.bin", "fasttext/q-ova.ftz"])
def test_cut_at_every_byte(name: str, tmp_path: Path) -> None:
    data = (DATA / name).read_bytes()
    truth = hostile.parse(data)
    end = truth.layout()[1]["qout"][0]
    everywhere(tmp_path / "model", data, range(len(data)), lambda n: "E" if n < end else "X", truth)


def has_magic(model: Path) -> bool:
    with model.open("rb") as file:
        return file.read(4) == hostile.MAGIC.to_bytes(4, "little")


@pytest.mark.parametrize("model", [m for m in models() if has_magic(m)], ids=lambda p: p.name)
def test_cut_at_structural_borders(model: Path, tmp_path: Path) -> None:
    """At and behind every field of a real file (a sample of the words), the reference program's or floret's."""
    data = model.read_bytes()
    if model.parent.name == "floret":  # cut to every 97th byte, and in the header at every one
        _, end = floret_ends(data)
        for n in [*range(120), *range(120, end, 97), end - 1]:
            path = tmp_path / "model"
            path.write_bytes(data[:n])
            assert ask(path, "E") is not None, n
        return
    truth = hostile.parse(data)
    verdicts = {
        length: verdict for name, length, verdict in hostile.cuts(truth) if not re.search(r"[a-y]\d\d", name)
    }
    unknown = truth if len(truth.entries) < 1000 else None
    path = tmp_path / "model"
    for length, verdict in verdicts.items():
        path.write_bytes(data[:length])
        ask(path, verdict, unknown if verdict == "X" else None)


def floret_ends(data: bytes) -> tuple[int, int]:
    """Return where the input matrix of a dense floret file begins and ends."""
    dim = int.from_bytes(data[8:12], "little")
    size = int.from_bytes(data[72:76], "little")
    at = 100
    for _ in range(size):
        at = data.index(b"\0", at) + 10
    rows = int.from_bytes(data[at + 1 : at + 9], "little")
    return at + 17, at + 17 + rows * dim * 4


# --- C: damage that knows nothing of the format, for every format that is written or read here ----------------------


@functools.cache
def base(kind: str) -> bytes:
    """Return a small valid file of each kind."""
    if kind == "bin":
        return hostile.whole_bin().dump()
    if kind == "large bin":  # many pages
        words = [b"the", b"river", *(b"word%d" % i for i in range(2000))]
        return hostile.whole_bin(words=words, dim=50, bucket=1000).dump()
    if kind == "ftz":
        return hostile.whole_ftz().dump()
    if kind == "floret":
        return (DATA / "floret" / "floret-hc2.bin").read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "m.bin", Path(folder) / "m.safetensors"
        source.write_bytes(hostile.whole_bin().dump())
        with vecio.open(source) as e:
            e.save(target)
        return target.read_bytes()


def vectors_of(path: Path, **options: Any) -> tuple[list[str], np.ndarray]:
    """Return all words of a model, and their vectors with those of some unknown words below."""
    with vecio.open(path, **options) as e:
        words = list(e.words)
        return words, e.embed([*words, *hostile.UNKNOWN], missing="zero")


@functools.cache
def right(kind: str) -> tuple[list[str], np.ndarray]:
    """Return what `vectors_of` the whole file says."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"whole{suffix(kind)}"
        path.write_bytes(base(kind))
        return vectors_of(path)


def suffix(kind: str) -> str:
    return {"ftz": ".ftz", "native": ".safetensors"}.get(kind, ".bin")


def agrees(path: Path, kind: str) -> bool:
    words, vectors = vectors_of(path)
    return words == right(kind)[0] and hostile.same(vectors, right(kind)[1])


KINDS = ("bin", "ftz", "floret", "native")


@pytest.mark.parametrize("kind", KINDS)
def test_damage_that_knows_no_format(kind: str, tmp_path: Path) -> None:
    wrong = []
    for i, (row, must, data, says) in enumerate(hostile.cases_any(base(kind))):
        path = tmp_path / f"{i}{suffix(kind)}"
        path.write_bytes(data)
        try:
            error = ask(path, "A" if must == "X" else must)
            if error is None and must == "X":
                assert agrees(path, kind), "other vectors"
            if error is not None:
                assert str(path) in str(error), f"the file is not named: {error}"
                assert says is None or re.search(says, str(error)), f"does not say {says!r}: {error}"
        except AssertionError as problem:
            wrong.append(f"{row}: {problem}")
        path.unlink()
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("kind", KINDS)
def test_another_format_under_this_name(kind: str, tmp_path: Path) -> None:
    """C28: the content decides."""
    for other in KINDS:
        path = tmp_path / f"model{suffix(kind)}"
        path.write_bytes(base(other))
        assert agrees(path, other)


@pytest.mark.parametrize("kind", KINDS)
def test_hole_behind_a_valid_start(kind: str, tmp_path: Path) -> None:
    """C39: exactly the right vectors or a clean error, and no memory for 512 MiB of nothing."""
    path = tmp_path / f"model{suffix(kind)}"
    path.write_bytes(base(kind))
    os.truncate(path, 512 << 20)
    found = child.run(open_measured, [str(path)])[0]
    assert found["peak"] < MEMORY and found["seconds"] < SECONDS
    if found["error"] is None:
        assert agrees(path, kind)


# --- C: things that are no files ---------------------------------------------------------------------------------


def refused(path: Any, kind: type[BaseException] | tuple[type[BaseException], ...] = CLEAN) -> BaseException:
    """Open something that cannot be opened; return the error, which came at once and names the path."""
    begin = time.perf_counter()
    with pytest.raises(kind) as caught:
        vecio.open(path)
    assert isinstance(caught.value, CLEAN), type(caught.value)
    assert time.perf_counter() - begin < SECONDS
    for ask_again in ("fasttext", "safetensors"):
        with pytest.raises(CLEAN):
            vecio.open(path, format=ask_again)
    with pytest.raises(CLEAN):
        vecio.detect(path)
    return caught.value


def test_missing_path(tmp_path: Path) -> None:
    assert "nowhere.bin" in str(refused(tmp_path / "nowhere.bin", FileNotFoundError))


def test_directory(tmp_path: Path) -> None:
    assert str(tmp_path) in str(refused(tmp_path))


def test_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.bin")
    assert "not a regular file" in str(refused(tmp_path / "model.bin"))


def test_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("model.bin")
        refused("model.bin")


@pytest.mark.parametrize(
    "device", ["/dev/zero", "/dev/null", "/dev/urandom", "/dev/tty", "/proc/self/status", "/proc/self/mem"]
)
def test_devices_and_pseudo_files(device: str) -> None:
    if not os.path.exists(device):
        pytest.skip(f"no {device} here")
    error = refused(device)
    assert device in str(error)


def test_links(tmp_path: Path) -> None:
    (tmp_path / "loop.bin").symlink_to("loop.bin")
    assert isinstance(refused(tmp_path / "loop.bin"), OSError)
    (tmp_path / "dangling.bin").symlink_to("gone.bin")
    assert isinstance(refused(tmp_path / "dangling.bin"), FileNotFoundError)
    whole = tmp_path / "whole.bin"
    whole.write_bytes(base("bin"))
    (tmp_path / "link.bin").symlink_to("whole.bin")
    (tmp_path / "hard.bin").hardlink_to(whole)
    assert agrees(tmp_path / "link.bin", "bin") and agrees(tmp_path / "hard.bin", "bin")


def test_read_only_file(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(base("bin"))
    path.chmod(0o444)
    assert agrees(path, "bin")


def open_as_nobody(path: str) -> str:
    """Try to open a file that this user may not read (root becomes another); return the error's type and text."""
    if os.getuid() == 0:
        os.setuid(65534)
    try:
        vecio.open(path)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "opened"


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs users")
def test_no_permission(readable_folder: Path) -> None:
    path = readable_folder / "model.bin"
    path.write_bytes(base("bin"))
    path.chmod(0o000)
    said = child.run(open_as_nobody, path)
    assert said.startswith("PermissionError") and "model.bin" in said


@pytest.fixture
def readable_folder() -> Iterator[Path]:
    """A folder that every user may enter (pytest's own are private)."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.parametrize(
    "name",
    [
        "ein Wort.bin",
        "100%s %d.bin",
        "größe 狐狸 🦊.bin",
        os.fsdecode(b"\xff\xfe.bin"),
        "-rf.bin",
        "a\nb.bin",
    ],
)
def test_odd_names(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(base("bin"))
    assert agrees(path, "bin")
    with vecio.open(str(path)) as e:
        assert len(e) == 7
    path.write_bytes(b"broken")
    str(refused(path)).encode("utf-8", "surrogateescape")


def test_impossible_names(tmp_path: Path) -> None:
    assert isinstance(refused(tmp_path / ("n" * 5000)), OSError)
    refused(str(tmp_path / "model\0.bin"))
    (tmp_path / "file").write_bytes(base("bin"))
    assert isinstance(refused(tmp_path / "file" / "model.bin"), OSError)


@pytest.mark.parametrize("path", [None, 3, 3.5, object(), ["model.bin"]])
def test_what_is_no_path_is_a_type_error(path: Any) -> None:
    with pytest.raises((TypeError, *CLEAN)):
        vecio.open(path)


# --- C: trouble from the system ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOMEM, errno.ENODEV])
def test_map_refused(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C49, C50: what the system says comes through, and no descriptor stays open."""
    path = tmp_path / "model.bin"
    path.write_bytes(base("bin"))

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    gc.collect()  # what other tests left behind may go at any time: never more descriptors than before
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(mmap, "mmap", refuse)
    with pytest.raises(CLEAN):
        vecio.open(path)
    assert len(os.listdir("/proc/self/fd")) <= before


def without_descriptors(path: str) -> str:
    """Open a file when no descriptor is left; then again when there are some."""
    vecio.open(path).close()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, limit[1]))
    try:
        vecio.open(path)
        said = "opened"
    except Exception as error:
        said = type(error).__name__ + (
            " " + errno.errorcode[error.errno] if isinstance(error, OSError) else ""
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    with vecio.open(path) as e:
        return f"{said}, then {len(e)} words"


def test_no_descriptors_left(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(base("bin"))
    assert child.run(without_descriptors, path) == "OSError EMFILE, then 7 words"


def test_interrupted_calls(tmp_path: Path) -> None:
    """C48: signals arrive all the time; every open is whole."""
    path = tmp_path / "model.bin"
    path.write_bytes(base("bin"))
    old = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        assert all(agrees(path, "bin") for _ in range(50))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def test_replaced_while_being_opened(tmp_path: Path) -> None:
    """C47: every open sees one whole version."""
    path, done = tmp_path / "model.bin", threading.Event()
    versions = [hostile.whole_bin(), hostile.whole_bin(words=[b"only", b"these", b"three"])]
    path.write_bytes(versions[0].dump())

    def replace() -> None:
        for i in range(10**9):
            if done.is_set():
                return
            new = tmp_path / "new"
            new.write_bytes(versions[i % 2].dump())
            new.replace(path)

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        for _ in range(300):
            with vecio.open(path) as e:
                wrong = hostile.difference(e, versions[len(e) == 3])
                assert wrong is None, wrong
    finally:
        done.set()
        thread.join()


def test_larger_than_four_gib(tmp_path: Path) -> None:
    """C52: a sparse file of 6 GB; the row of an unknown word's n-gram lies behind 4 GiB."""
    dim, bucket, rows = 300, 5_000_000, 5_000_001
    model = hostile.whole_bin(words=[b"one"], dim=dim, bucket=11, minn=5, maxn=5).change(bucket=bucket)
    word = next(
        w for w in (b"w%02d" % i for i in range(100)) if hostile.fnv1a(b"<" + w + b">") % bucket > 4_500_000
    )
    model.input = hostile.Dense(rows, dim, np.zeros(0, np.float32))
    model.output = hostile.Dense(1, dim, np.ones(dim, np.float32))
    data, places = model.layout()
    start, tail = places["input.values"][0], data[places["qout"][0] :]
    row = np.arange(dim, dtype=np.float32)
    path = tmp_path / "model.bin"
    with path.open("wb") as file:
        file.write(data[:start])
        file.seek(start + (1 + hostile.fnv1a(b"<" + word + b">") % bucket) * dim * 4)
        file.write(row.tobytes())
        file.seek(start + rows * dim * 4)
        file.write(tail)
    if path.stat().st_blocks * 512 > 1 << 30:
        pytest.skip("no sparse files here")
    with vecio.open(path) as e:
        assert hostile.same(e[word], row)
        assert not e[b"one"].any() and list(e.words) == ["one"]
    with path.open("r+b") as file:
        file.truncate(start + rows * dim * 4 - 1)
    assert ask(path, "E") is not None


# --- C40 to C46: the file changes under an open model ---------------------------------------------------------------


def change(mode: str, path: Path) -> None:
    """Do to the file what the mode says."""
    size = path.stat().st_size
    if mode == "truncated to 0":
        os.truncate(path, 0)
    elif mode == "truncated to half":
        os.truncate(path, size // 2)
    elif mode == "cut by one byte":
        os.truncate(path, size - 1)
    elif mode == "replaced by rename":
        new = path.with_suffix(".new")
        new.write_bytes(b"other bytes" * 100)
        new.replace(path)
    elif mode == "unlinked":
        path.unlink()
    elif mode == "made a directory":
        path.unlink()
        path.mkdir()
    elif mode == "appended to":
        with path.open("ab") as file:
            file.write(b"more" * 3000)
    elif mode == "overwritten in place":
        with path.open("r+b") as file:
            file.write(os.urandom(size))
    elif mode == "overwritten, grown":
        with path.open("r+b") as file:
            file.write(bytes(size + 100))


MODES = {
    "truncated to 0": "X",
    "truncated to half": "X",
    "cut by one byte": "X",
    "replaced by rename": "O",
    "unlinked": "O",
    "made a directory": "O",
    "appended to": "O",
    "overwritten in place": "A",
    "overwritten, grown": "A",
}


def file_changes(mode: str, source: str, folder: str, kernels: bool) -> list[str]:
    """Open a model, change its file, and ask every question; return what each of them did."""
    if kernels:
        vecio._effort.load()
    path = Path(folder) / Path(source).name
    path.write_bytes(Path(source).read_bytes())
    time.sleep(0.02)  # a clock tick of the file system, so that a rewrite is newer than the file
    e, fresh, twin = vecio.open(path), vecio.open(path), vecio.open(source)
    words = list(twin.words)[:50]
    questions: dict[str, Callable[[vecio.Embeddings], Any]] = {
        "known": lambda m: m[words[1]],
        "unknown": lambda m: m.embed("riverside", "zero"),
        "words": lambda m: m.words[3],
        "batch": lambda m: m.embed(words, "zero"),
        "index": lambda m: m.index(words),
        "all words": lambda m: list(m.words),
        "nearest": lambda m: m.nearest(words[:2], k=2)[0],
        "encode": lambda m: m.encode("the river"),
        "counts": lambda m: m.counts,
        "subwords": lambda m: m.subwords("river"),
        "in": lambda m: words[0] in m,
    }
    for model in (e, twin):
        for question in questions.values():
            question(model)
    change(mode, path)
    time.sleep(0.02)
    said = []
    for name, question in questions.items():
        for state, model in (("used", e), ("fresh", fresh)):
            try:
                right, found = question(twin), question(model)
                equal = np.array_equal(right, found) if isinstance(right, np.ndarray) else right == found
                said.append(f"{name}, {state}: {'right' if equal else 'wrong'}")
            except CLEAN:
                said.append(f"{name}, {state}: error")
            except Exception as error:
                said.append(f"{name}, {state}: foreign {type(error).__name__}: {error}")
    return said


@pytest.mark.parametrize("kernels", [False, True], ids=["plain", "kernels"])
@pytest.mark.parametrize("kind", ["bin", "large bin", "ftz", "native"])
def test_file_changes_under_an_open_model(kind: str, kernels: bool, tmp_path: Path) -> None:
    source = tmp_path / f"source{suffix(kind)}"
    if kind == "large bin":  # many pages
        source = DATA / "fasttext" / "cbow-hs-nosub.bin"
    else:
        source.write_bytes(base(kind))
    found = child.run(all_changes, source, tmp_path, kernels)
    for mode, said in found.items():
        allowed = {"X": {"right", "error"}, "O": {"right"}, "A": {"right", "error", "wrong"}}[MODES[mode]]
        if mode == "overwritten in place":  # noticed by the file's time; the promise for native files
            allowed = {"error"}
        bad = [line for line in said if line.partition(": ")[2] not in allowed]
        assert not bad, f"{mode}: {bad}"


def all_changes(source: str, folder: str, kernels: bool) -> dict[str, list[str]]:
    """Try every mode in this process, each on a file of its own."""
    found = {}
    for i, mode in enumerate(MODES):
        place = Path(folder) / str(i)
        place.mkdir()
        print(mode, flush=True)
        found[mode] = file_changes(mode, source, str(place), kernels)
    return found


# --- F79, Q50: words without n-grams, and very long ones ----------------------------------------------------------


def test_words_that_have_no_vector(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(hostile.whole_bin(minn=5, maxn=6).dump())
    with vecio.open(path) as e:
        for word in ("z", "", "</s>x"[:0]):
            assert not e.can_embed(word)
            with pytest.raises(vecio.WordError):
                e[word]
            assert not e.embed(word, missing="zero").any()
            assert np.isnan(e.embed([word], missing="nan")).all()


def test_unknown_word_whose_ngrams_are_all_pruned(tmp_path: Path) -> None:
    model = hostile.whole_ftz()
    path = tmp_path / "model.ftz"
    path.write_bytes(model.dump())
    pruned = [w for w in (chr(i).encode() for i in range(0xC0, 0x200)) if not hostile.twin_rows(model, w)]
    assert pruned
    with vecio.open(path) as e:
        for word in pruned:
            assert not e.can_embed(word) and not e.embed(word, missing="zero").any()
            assert {row for _, row in e.subwords(word)} == {-1}


@pytest.mark.parametrize("kernels", [False, True], ids=["plain", "kernels"])
def test_very_long_words(kernels: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vecio._effort._loaded", kernels)
    model = hostile.whole_bin()
    path = tmp_path / "model.bin"
    path.write_bytes(model.dump())
    with vecio.open(path) as e:
        for word in (b"x" * 5000, "狐".encode() * 3000, b"\x80" * 9000):
            assert hostile.same(e[word], hostile.twin(model, word))
            assert hostile.same(e.embed([b"the", word])[1], hostile.twin(model, word))
        begin = time.perf_counter()
        try:
            assert np.isfinite(e["x" * 2**20]).all()
        except vecio.UnsupportedError as error:
            assert len(str(error)) < 1000
        assert time.perf_counter() - begin < 30


def test_maxn_without_end_takes_no_quadratic_time(tmp_path: Path) -> None:
    """F29: n-grams of any length are refused for a long word, not counted up."""
    path = tmp_path / "model.bin"
    path.write_bytes(hostile.whole_bin().change(maxn=2**31 - 1).dump())
    begin = time.perf_counter()
    try:
        with vecio.open(path) as e:
            for word in ("river", "x" * 10_000, "x" * 100_000):
                e.embed([word], missing="zero")
    except CLEAN:
        pass
    assert time.perf_counter() - begin < 60


# --- C54, C53: the end of a model ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_use_after_close(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix(kind)}"
    path.write_bytes(base(kind))
    e = vecio.open(path)
    before, words = e["the"].copy(), e.words
    kept = e["the"]
    e.close()
    e.close()
    for question in (
        lambda: e["the"],
        lambda: e.embed(["the"]),
        lambda: "the" in e,
        lambda: e.index("the"),
        lambda: e.nearest(["the"], k=1),
        lambda: e.encode("the"),
        lambda: e.words[0],
        lambda: e.subwords("the"),
        lambda: e.can_embed("x"),
        lambda: list(words),
        lambda: words[1],
        lambda: e.explain("x"),
        lambda: e.most_similar("the"),
        lambda: e.similarity("the", "a"),
        lambda: e.counts,
    ):
        with pytest.raises(vecio.VecioError):
            question()
    assert hostile.same(kept, before)


# --- time and memory ---------------------------------------------------------------------------------------------


def status(name: str) -> int:
    """Return a figure of /proc/self/status in bytes."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name + ":"))


def open_measured(paths: list[str]) -> list[dict[str, Any]]:
    """Open each file and ask for one unknown word; return seconds, bytes above the idle process, and the error."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.bin"
        whole.write_bytes(hostile.whole_bin().dump())
        with vecio.open(whole) as e:  # what the first open of a process costs is not the file's fault
            e.embed("riverside")
    found = []
    for path in paths:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
        before, error = status("VmRSS"), None
        begin = time.perf_counter()
        try:
            with vecio.open(path) as e:
                e.embed("riverside", missing="zero")
        except CLEAN as problem:
            error = str(problem)
        seconds = time.perf_counter() - begin
        found.append({"seconds": seconds, "peak": max(0, status("VmHWM") - before), "error": error})
    return found


def write_cases(folder: Path) -> list[tuple[str, Path]]:
    """Write every case that must be refused, and the damage that knows no format; return their names and paths."""
    files = [(case.id, case.data) for case in CASES if case.must == "E"]
    files += [(f"{row}:{kind}", data) for kind in KINDS for row, _, data, _ in hostile.cases_any(base(kind))]
    found = []
    for i, (name, data) in enumerate(files):
        path = folder / f"{i}.bin"
        path.write_bytes(data)
        found.append((name, path))
    return found


def test_time_and_memory_of_refusals(tmp_path: Path) -> None:
    """G5, G6: the bound on memory is exact, the one on time generous."""
    files = write_cases(tmp_path)
    found = child.run(open_measured, [str(path) for _, path in files])
    for (name, path), one in zip(files, found, strict=True):
        assert one["peak"] <= MEMORY + 4 * path.stat().st_size, (name, one)
        assert one["seconds"] < SECONDS, (name, one)


def report() -> None:
    """Print the exact figures of time and memory."""
    with tempfile.TemporaryDirectory() as folder:
        files = write_cases(Path(folder))
        found = child.run(open_measured, [str(path) for _, path in files])
        small = [one for (_, path), one in zip(files, found, strict=True) if path.stat().st_size < 1 << 20]
        times = sorted(one["seconds"] * 1000 for one in small)
        print(f"| broken files opened | {len(files):,} |\n| --- | ---: |")
        print(f"| refused | {sum(one['error'] is not None for one in found):,} |")
        print(
            f"| time below 1 MiB: median, 99th percentile, most | {statistics.median(times):.2f}, "
            f"{times[len(times) * 99 // 100]:.2f}, {times[-1]:.2f} ms |"
        )
        print(
            f"| memory above the idle process: most | {max(one['peak'] for one in found) / 2**20:.1f} MiB |"
        )


if __name__ == "__main__":
    import test_hostile  # by its name, so that child.py finds the functions

    test_hostile.report()
