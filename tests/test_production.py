"""What a service does with a model: threads, forked workers, pickles, read-only installations, files that are replaced.

Every answer is compared with that of one quiet thread, bit for bit. What may kill a process runs in one of its own
(child.py). Figures of memory are the system's (`/proc/*/smaps_rollup`); without them a test is skipped.
"""

from __future__ import annotations

import gc
import hashlib
import json
import multiprocessing
import os
import pickle
import random
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import child
import hostile
import numpy as np
import pytest
from models import DATA, model_of

import vecio

WORD_MODELS = ("fasttext/cbow-ns.bin", "floret/floret-hc2.bin")
CLASSIFIERS = ("fasttext/sup-softmax-w2-sub.bin", "fasttext/q-cutoff.ftz", "fasttext/many-hs.bin")
UNKNOWN = ["unseen", "größeres", "狐狸们", "🦊🦊", "caf\udce9", "x" * 50, "riverside"]
TEXTS = ["the red fox runs", "fresh bread and cheese", "где находится вокзал", "", "狐狸 走过 桥"]


def native(source: Path, folder: Path, **options: Any) -> Path:
    """Save a model as our own file; return its path."""
    target = folder / f"{source.stem}.safetensors"
    with vecio.open(source) as e:
        e.save(target, **options)
    return target


def digest(e: vecio.Embeddings, seed: int = 0) -> str:
    """Ask one model all kinds of questions in an order of the seed's; return the digest of all answers."""
    words = list(e.words)[:200]
    questions: list[tuple[str, Callable[[], Any]]] = [
        ("batch", lambda: e.embed([*words, *UNKNOWN], missing="zero")),
        ("known", lambda: np.stack([e[word] for word in words[:20]])),
        ("unknown", lambda: np.stack([e.embed(word, "zero") for word in UNKNOWN])),
        ("index", lambda: e.index([*words, *UNKNOWN])),
        ("nearest", lambda: e.nearest(words[1:5], k=5)[0]),
        ("similar", lambda: np.array([score for _, score in e.most_similar(words[1], topn=5)], np.float32)),
        ("encode", lambda: e.encode(TEXTS)),
        ("words", lambda: np.frombuffer("\0".join(e.words).encode("utf-8", "surrogateescape"), np.uint8)),
        ("subwords", lambda: np.array([row for word in UNKNOWN for _, row in e.subwords(word)])),
    ]
    if len(e.labels):
        questions.append(("predict", lambda: np.concatenate([probs for _, probs in e.predict(TEXTS, k=3)])))
    random.Random(seed).shuffle(questions)
    answers = sorted((name, np.ascontiguousarray(ask()).tobytes()) for name, ask in questions)
    return hashlib.sha256(b"".join(answer for _, answer in answers)).hexdigest()


def models(folder: Path) -> list[Path]:
    """Return models of all kinds, our own files among them."""
    foreign = [DATA / name for name in (*WORD_MODELS, *CLASSIFIERS)]
    published = model_of(DATA / "real" / "lid.176.json")
    foreign += [] if published is None else [published]
    own = [
        native(DATA / "fasttext" / "cbow-ns.bin", folder, dtype="float16"),
        native(DATA / "fasttext" / "sup-softmax-w2-sub.bin", folder),
    ]
    return foreign + own


# --- threads -----------------------------------------------------------------------------------------------------


def hammer(paths: list[str], seconds: float, kernels: bool) -> list[str]:
    """Ask fresh and used models from many threads at once, opening and closing others; return what differed."""
    if kernels:
        vecio._effort.load()
    right = {path: digest(vecio.open(path)) for path in paths}
    fresh = {path: vecio.open(path) for path in paths}
    stop, wrong = time.monotonic() + seconds, []

    def ask(number: int) -> None:
        chosen, count = random.Random(number), 0
        while time.monotonic() < stop or count < 2:
            path = chosen.choice(paths)
            try:
                if chosen.random() < 0.3:
                    with vecio.open(path) as e:
                        found = digest(e, count)
                else:
                    found = digest(fresh[path], count)
                if found != right[path]:
                    wrong.append(f"{path}: another answer")
            except Exception as error:
                wrong.append(f"{path}: {type(error).__name__}: {error}")
            count += 1

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


@pytest.mark.parametrize("kernels", [False, True], ids=["new", "kernels"])
def test_many_threads_get_the_answers_of_one(kernels: bool, tmp_path: Path) -> None:
    """Also while the first questions load the kernels and make the indexes, in all threads at once."""
    assert child.run(hammer, [str(path) for path in models(tmp_path)], 3.0, kernels) == []


# --- fork --------------------------------------------------------------------------------------------------------


def use_everything(e: vecio.Embeddings) -> str:
    """Use every kernel and the pool of threads, as a parent that preloads does."""
    vecio._effort.load()
    e.embed(list(e.words) * 50 + UNKNOWN * 50, missing="zero", threads=4)
    e.nearest(list(e.words)[:50], k=3, threads=4)
    return digest(e)


def fork_after_use(paths: list[str]) -> list[str]:
    """Use all kernels, then fork; return what the children said wrong."""
    opened = {path: vecio.open(path) for path in paths}
    right = {path: use_everything(e) for path, e in opened.items()}
    wrong = []
    for _ in range(3):
        readable, writable = os.pipe()
        child_number = os.fork()
        if child_number == 0:
            said = [
                path
                for path, e in opened.items()
                if use_everything(e) != right[path] or digest(vecio.open(path)) != right[path]
            ]
            os.write(writable, json.dumps(said).encode()[:4000])
            os._exit(0)
        os.close(writable)
        with os.fdopen(readable, "rb") as stream:
            said = stream.read()
        _, status = os.waitpid(child_number, 0)
        wrong += json.loads(said) if status == 0 else [f"the child ended with status {status}"]
    return wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_after_use(tmp_path: Path) -> None:
    assert child.run(fork_after_use, [str(path) for path in models(tmp_path)]) == []


def fork_while_a_lock_is_held(path: str) -> str:
    """Fork while another thread makes the index; the child must not wait for it."""
    import threading

    e = vecio.open(path)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with e._vocabulary._lock:
            held.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child_id = os.fork()
    if child_id == 0:
        os._exit(0 if len(e.embed(list(e.words), "zero")) else 1)
    done.set()
    thread.join()
    return "done" if os.waitpid(child_id, 0)[1] == 0 else "failed"


def test_fork_while_a_lock_is_held() -> None:
    assert child.run(fork_while_a_lock_is_held, DATA / "fasttext/cbow-ns.bin") == "done"


def in_worker(e: vecio.Embeddings) -> str:
    return use_everything(e)


def through_multiprocessing(path: str, method: str) -> list[str]:
    """Send a used model to two worker processes; return what they answered, and the right answer first."""
    e = vecio.open(path)
    right = use_everything(e)
    with multiprocessing.get_context(method).Pool(2) as pool:
        return [right, *pool.map(in_worker, [e, e])]


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.parametrize("name", ["fasttext/cbow-ns.bin", "native"])
def test_multiprocessing(name: str, method: str, tmp_path: Path) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    path = native(DATA / "fasttext/cbow-ns.bin", tmp_path) if name == "native" else DATA / name
    answers = child.run(through_multiprocessing, path, method)
    assert len(answers) == 3 and len(set(answers)) == 1


def memory(number: int) -> dict[str, int]:
    """Return the figures of /proc/N/smaps_rollup in bytes."""
    with open(f"/proc/{number}/smaps_rollup") as file:
        lines = [line.split() for line in file if line.endswith("kB\n")]
    return {line[0].rstrip(":"): int(line[1]) * 1024 for line in lines}


def sum_of_all(e: vecio.Embeddings) -> float:
    """Read every vector, a few at a time."""
    return sum(
        float(e._words.block(start, min(start + 500, len(e))).sum()) for start in range(0, len(e), 500)
    )


def prefork(path: str, workers: int) -> dict[str, Any]:
    """Open a model, fork workers as gunicorn does with --preload, let each read all of it; measure them together."""
    e = vecio.open(path)
    use_everything(e)
    right = sum_of_all(e)
    ready, numbers = [], []
    go_read, go_write = os.pipe()
    for _ in range(workers):
        readable, writable = os.pipe()
        number = os.fork()
        if number == 0:
            os.close(go_write)
            total = sum_of_all(e)
            for i in range(200):
                e.embed(UNKNOWN + [e.words[i]], missing="zero")
            os.write(writable, b"y" if total == right else b"n")
            os.read(go_read, 1)  # until the parent has measured
            os._exit(0)
        os.close(writable)
        ready.append(readable)
        numbers.append(number)
    answers = [os.read(readable, 1).decode() for readable in ready]
    figures = [memory(number) for number in numbers]
    os.close(go_write)
    statuses = [os.waitpid(number, 0)[1] for number in numbers]
    mapped = [shared_of(number, path) for number in (os.getpid(),)]
    return {"answers": answers, "statuses": statuses, "figures": figures, "mapped": mapped}


def shared_of(number: int, path: str) -> int:
    """Return the bytes of a file that a process holds privately (copied, dirty)."""
    private, inside = 0, False
    with open(f"/proc/{number}/smaps") as file:
        for line in file:
            if "-" in line.split(" ")[0] and ":" not in line.split(" ")[0]:
                inside = line.rstrip().endswith(path)
            elif inside and line.startswith("Private_Dirty:"):
                private += int(line.split()[1]) * 1024
    return private


def big_model(folder: Path) -> Path:
    """Save a model of 20,000 words x 300 and 20,000 buckets in our own format: 48 MB."""
    rng = np.random.default_rng(1)
    e = vecio.Embeddings.from_arrays(
        [f"word{i}" for i in range(20_000)],
        rng.standard_normal((20_000, 300), np.float32),
        grams=rng.standard_normal((20_000, 300), np.float32),
        minn=3,
        maxn=5,
    )
    path = folder / "big.safetensors"
    e.save(path)
    return path


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="needs /proc/*/smaps_rollup")
def test_preforked_workers_share_the_pages(tmp_path: Path) -> None:
    path = big_model(tmp_path)
    size = path.stat().st_size
    found = child.run(prefork, path, 4)
    assert found["answers"] == ["y"] * 4 and found["statuses"] == [0] * 4
    assert found["mapped"] == [0], "pages of the file were copied"
    for one in found["figures"]:
        assert one["Rss"] > size // 2, "the worker did not read the file"
        assert one["Private_Clean"] + one["Private_Dirty"] < size // 2, one
    together = sum(one["Pss"] for one in found["figures"])
    assert together < 1.2 * size + 4 * (64 << 20), f"{together >> 20} MiB for a file of {size >> 20} MiB"


# --- pickle ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*WORD_MODELS, CLASSIFIERS[1], "native"])
def test_pickle_is_small_and_maps_again(name: str, tmp_path: Path) -> None:
    path = native(DATA / "fasttext/cbow-ns.bin", tmp_path) if name == "native" else DATA / name
    with vecio.open(path) as e:
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            data = pickle.dumps(e, protocol)
            assert len(data) < 200 + len(str(path))
            with pickle.loads(data) as again:
                assert digest(again) == digest(e) and again.format == e.format
    with vecio.open(path, format="fasttext" if name != "native" and "floret" not in name else None) as e:
        assert digest(pickle.loads(pickle.dumps(e))) == digest(e)


def test_pickle_of_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(hostile.whole_bin().dump())
    data = pickle.dumps(vecio.open(path))
    path.write_bytes(hostile.whole_bin().change(t=0.5).dump())
    with pytest.raises(vecio.FormatError, match=r"model\.bin"):
        pickle.loads(data)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        pickle.loads(data)


def test_embeddings_without_a_file_or_closed_do_not_pickle(tmp_path: Path) -> None:
    with pytest.raises(vecio.VecioError):
        pickle.dumps(vecio.Embeddings.from_arrays(["a"], [[1.0]]))
    e = vecio.open(DATA / "fasttext/cbow-ns.bin")
    e.close()
    with pytest.raises(vecio.VecioError):
        pickle.dumps(e)


def test_errors_pickle(tmp_path: Path) -> None:
    """They travel from worker processes."""
    (tmp_path / "model.bin").write_bytes(b"\xba\x16\x4f\x2f")
    with pytest.raises(vecio.TruncatedError) as caught:
        vecio.open(tmp_path / "model.bin")
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is vecio.TruncatedError and str(again) == str(caught.value)
    assert (again.path, again.offset, again.expected) == (
        caught.value.path,
        caught.value.offset,
        caught.value.expected,
    )
    with vecio.open(DATA / "fasttext/cbow-hs-nosub.bin") as e, pytest.raises(vecio.WordError) as missing:
        e["nowhere"]
    assert str(pickle.loads(pickle.dumps(missing.value))) == str(missing.value)


# --- a read-only installation ------------------------------------------------------------------------------------


def without_a_place_to_write(paths: list[str]) -> dict[str, Any]:
    """Embed by the kernels where neither the sources nor the home can be written to; say what they gave."""
    import numba
    import numba.core.caching as caching

    def refuse(self: Any) -> None:
        raise OSError(30, "Read-only file system")

    for locator in caching.CacheImpl._locator_classes:
        locator.ensure_cache_path = refuse
    vecio._effort.load()
    answers = []
    for path in paths:
        with vecio.open(path) as e:
            vectors = e.embed([*e.words, *UNKNOWN], missing="zero", threads=2)
            answers.append(hashlib.sha256(vectors.tobytes()).hexdigest())
    from vecio.kernels import lookup

    return {"answers": answers, "cache": type(lookup.embed._cache).__name__, "numba": numba.__version__}


def test_read_only_installation_without_a_home(tmp_path: Path) -> None:
    paths = [DATA / "fasttext/cbow-ns.bin"]
    env = {
        "HOME": "/nonexistent",
        "NUMBA_CACHE_DIR": "",
        "XDG_CACHE_HOME": "/nonexistent",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    found = child.run(without_a_place_to_write, [str(path) for path in paths], env=env)
    assert found["cache"] == "NullCache"
    for path, answer in zip(paths, found["answers"], strict=True):
        with vecio.open(path) as e:
            vectors = e.embed([*e.words, *UNKNOWN], missing="zero")
            assert hashlib.sha256(vectors.tobytes()).hexdigest() == answer


def read_only_files(path: str) -> str:
    return digest(vecio.open(path))


def test_read_only_file_in_a_read_only_folder(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    path = native(DATA / "fasttext/cbow-ns.bin", folder)
    path.chmod(0o444)
    folder.chmod(0o555)
    try:
        with vecio.open(path) as e:
            right = digest(e)
        assert child.run(read_only_files, path, env={"HOME": "/nonexistent"}) == right
        assert [p.name for p in folder.iterdir()] == [path.name]
    finally:
        folder.chmod(0o755)


# --- the file behind a running server -----------------------------------------------------------------------------


def test_replaced_by_rename_under_a_running_reader(tmp_path: Path) -> None:
    """Readers keep the version that they opened; who opens again gets the new one."""
    path = tmp_path / "model.bin"
    versions = [hostile.whole_bin(words=[b"word", b"version%d" % i, b"end"]) for i in range(20)]
    path.write_bytes(versions[0].dump())
    opened = []
    for i, model in enumerate(versions):
        new = tmp_path / "new"
        new.write_bytes(model.dump())
        new.replace(path)
        opened.append(vecio.open(path))
        for j, e in enumerate(opened):
            wrong = hostile.difference(e, versions[j], hostile.UNKNOWN[:2])
            assert wrong is None, (i, j, wrong)
    for e in opened:
        e.close()


def test_saving_over_the_file_that_is_open(tmp_path: Path) -> None:
    path = native(DATA / "fasttext/cbow-ns.bin", tmp_path)
    with vecio.open(path) as e:
        before = digest(e)
        e.save(path, dtype="float16")
        assert digest(e) == before
        with vecio.open(path) as again:
            assert again.dtype == "float16" and list(again.words) == list(e.words)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def save_for_ever(source: str, target: str) -> None:
    """Save two versions in turn until killed."""
    with vecio.open(source) as e:
        print("ready", flush=True)
        for i in range(10**9):
            e.save(target, dtype=("float32", "float16")[i % 2])


def test_killed_while_saving(tmp_path: Path) -> None:
    """The path holds one of the two versions, byte for byte, whenever the writer dies."""
    source = DATA / "fasttext/cbow-hs-nosub.bin"
    whole = {native(source, tmp_path, dtype=dtype).read_bytes() for dtype in ("float32", "float16")}
    target = tmp_path / "target.safetensors"
    rng = random.Random(1)
    for _ in range(8):
        with child.started(save_for_ever, source, target) as process:
            assert process.stdout is not None and b"ready" in process.stdout.readline()
            time.sleep(rng.uniform(0, 0.1))
            process.kill()
        if target.exists():
            assert target.read_bytes() in whole
    assert target.exists()


def save_on_a_full_disk(source: str, target: str, room: int) -> str:
    """Save where files may not grow beyond `room`; return the error's type."""
    import resource

    with vecio.open(source) as e:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        try:
            e.save(target)
        except OSError as error:
            return type(error).__name__
    return "saved"


@pytest.mark.parametrize("room", [1, 4000, 12_000])
def test_full_disk_leaves_the_old_file(room: int, tmp_path: Path) -> None:
    target = native(DATA / "fasttext/cbow-ns.bin", tmp_path)
    before = target.read_bytes()
    assert child.run(save_on_a_full_disk, DATA / "fasttext/sg-ns.bin", target, room) == "OSError"
    assert target.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_saving_keeps_the_permissions(mode: int, tmp_path: Path) -> None:
    path = native(DATA / "fasttext/cbow-ns.bin", tmp_path)
    path.chmod(mode)
    with vecio.open(path) as e:
        e.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == mode


# --- nothing is left behind --------------------------------------------------------------------------------------


def status(name: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name + ":"))


def open_and_close(paths: list[str], times: int) -> dict[str, Any]:
    """Open models and use them, some closed and some just dropped, broken ones between; return what grew."""

    def once(path: str, i: int) -> None:
        try:
            e = vecio.open(path)
        except vecio.VecioError:
            return
        e.embed("riverside", missing="zero")
        if i % 5 == 0:
            e.index("fox")
        if i % 2:
            e.close()

    def left() -> tuple[int, int]:
        gc.collect()
        with open("/proc/self/maps") as file:
            return len(os.listdir("/proc/self/fd")), sum(any(path in line for path in paths) for line in file)

    for path in paths:
        for i in range(20):
            once(path, i)
    before, memory_before = left(), status("VmRSS")
    for i in range(times):
        once(paths[i % len(paths)], i)
    return {"before": before, "after": left(), "grown": status("VmRSS") - memory_before}


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")
def test_ten_thousand_openings_leave_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "broken.bin"
    broken.write_bytes(hostile.whole_bin().dump()[:-500])
    small = [
        DATA / "fasttext/sg-ova.bin",
        DATA / "fasttext/q-ova.ftz",
        native(DATA / "fasttext/sg-ova.bin", tmp_path),
        broken,
    ]
    found = child.run(open_and_close, [str(path) for path in small], 10_000)
    assert found["after"] == found["before"] and found["after"][1] == 0, found
    assert found["grown"] < 8 << 20, found


def test_arrays_stay_valid_after_close(tmp_path: Path) -> None:
    """Whatever was handed out owns its memory, or holds the map."""
    path = native(DATA / "fasttext/cbow-ns.bin", tmp_path)
    kept = []
    for model in (path, DATA / "fasttext/cbow-ns.bin"):
        e = vecio.open(model)
        kept += [e["the"], e.embed(list(e.words)[:5]), e.counts, e.index(["the"]), e.nearest(["the"], k=2)[0]]
        e.close()
        del e
    gc.collect()
    assert all(np.isfinite(np.asarray(array, np.float64)).all() for array in kept)


def test_with_statement_closes() -> None:
    gc.collect()  # what other tests left behind may go at any time: never more descriptors than before
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    with vecio.open(DATA / "fasttext/cbow-ns.bin") as e:
        assert len(e)
    with pytest.raises(vecio.VecioError):
        e["the"]
    if before:
        del e
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) <= before


def test_import_starts_nothing() -> None:
    found = child.run(threads_and_modules)
    assert found["threads"] == 1 and found["heavy"] == []


def threads_and_modules() -> dict[str, Any]:
    """Say how many threads run after opening and one look-up, and which heavy modules came with it."""
    known = set(sys.modules)
    with vecio.open(DATA / "fasttext/cbow-ns.bin") as e:
        e["riverside"]
    heavy = {"numba", "typer", "rich", "safetensors", "mmap_ninja", "concurrent.futures"} & set(
        sys.modules
    ) - known
    return {"threads": threading.active_count(), "heavy": sorted(heavy)}
