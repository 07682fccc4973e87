"""Opens random broken files that know the structure of their format, and looks for anything that is not a clean answer.

    python tools/fuzz.py --format fasttext --count 100000 --seed 1 [--jobs 2] [--keep FOLDER]
    python tools/fuzz.py --format all --count 2000      each format in turn
    python tools/fuzz.py --format text --seconds 600    for a given time

Each file is made from a valid one and opened in a worker process with bounded memory and time. fastText's and vecio's
own files are broken field by field (tests/hostile.py: `mutant`), those of other formats by bytes, numbers and pieces
(`scrambled` below; the valid ones come from `fuzz_bases` of the format's test module). Counted are: refused (a
VecioError or OSError), answered, and the bad ones: crash (a signal), hang, memory, foreign exception, inconsistent
(answers that contradict each other), wrong (fastText: other vectors than the slow twin reads from the same bytes),
lenient (accepted, where the twin finds a contradiction). Every bad file can be made again from its seed and is kept
with --keep. Exit code 1 when there is any bad one.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import importlib
import json
import os
import queue
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

SECONDS = 20  # one file, on a machine that may be busy
MEMORY = 3 << 30  # address space of a worker
PORTION = 500  # seeds that a worker is given at a time
BAD = ("crash", "hang", "memory", "foreign", "inconsistent", "wrong", "lenient")


#: Where the valid files of the other formats come from: the format's name and its test module.
MODULES = {
    "text": "test_text",
    "word2vec": "test_word2vec",
    "tables": "test_tables",
    "finalfusion": "test_finalfusion",
    "floret-spacy": "test_floret_spacy",
    "gensim": "test_gensim",
    "sentences": "test_sentences",
}
FORMATS = ("fasttext", "safetensors", *MODULES)

#: One broken model: the names of its files (the first is the one to open, "" for a single nameless file; a name that
#: ends in "/" is the folder to open) and their bytes.
Files = dict[str, bytes]


# --- the worker --------------------------------------------------------------------------------------------------


def maker(format: str) -> tuple[list[Files], Callable[[int], Files]]:
    """Return the valid files of a format, and what makes a broken one of a seed."""
    if format in MODULES:
        found = importlib.import_module(MODULES[format]).fuzz_bases()
        valid = [files if isinstance(files, dict) else {"": files} for files in found]
        return valid, lambda seed: scrambled(seed, valid)
    hostile: Any = importlib.import_module("hostile")
    made = bases(format)
    return [{"": data} for data, _ in made], lambda seed: {"": hostile.mutant(seed, made)}


EDGES = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
TEXTS: tuple[bytes, ...] = (
    b"nan",
    b"-inf",
    b"1e999",
    b"9" * 40,
    b"-1",
    b"0",
    b"",
    b" ",
    b"\n",
    b"\t",
    b"\r\n",
    b"\0",
    b"\xff\xfe",
)
TEXTS += (
    b"{",
    b"}",
    b"[" * 100,
    b'"',
    b",",
    b":",
    b"null",
    b"../x",
    b"\xef\xbb\xbf",
    b"1_0",
    b"0x1p3",
    b"\xc2\xa0",
)


def scrambled(seed: int, valid: list[Files]) -> Files:
    """Break one of the files of a model without knowing its format: bits, bytes, numbers, text, pieces moved about."""
    rng = random.Random(seed)
    files = dict(rng.choice(valid))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        name = rng.choice(list(files))
        data = bytearray(files[name])
        if len(files) > 1 and rng.random() < 0.02:
            del files[name]
            continue
        files[name] = bytes(_scramble(rng, data, files, valid))
    return files


def _scramble(rng: random.Random, data: bytearray, files: Files, valid: list[Files]) -> bytearray:
    kind = rng.choice(
        ("bit", "byte", "number", "number", "near", "text", "cut", "delete", "repeat", "move", "splice")
    )
    at = rng.randrange(len(data) + 1) if rng.random() < 0.5 else rng.randrange(min(len(data), 64) + 1)
    n = rng.choice((1, 1, 2, 4, 8, 100))
    if kind == "bit" and at < len(data):
        data[at] ^= 1 << rng.randrange(8)
    elif kind == "byte":
        data[at : at + n] = rng.randbytes(min(n, len(data) - at))
    elif kind in ("number", "near"):
        size = rng.choice((1, 2, 4, 8))
        order = rng.choice(("little", "little", "big"))
        old = int.from_bytes(data[at : at + size], order)  # type: ignore[arg-type]
        value = rng.choice(EDGES) if kind == "number" else old + rng.choice((-2, -1, 1, 2, 8))
        data[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, order)  # type: ignore[arg-type]
    elif kind == "text":
        data[at : at + rng.choice((0, 1, 4))] = rng.choice(TEXTS)
    elif kind == "cut":
        del data[at:]
    elif kind == "delete":
        del data[at : at + n]
    elif kind == "repeat":
        data[at:at] = data[at : at + n] * rng.choice((1, 2, 50))
    elif kind == "move":
        to = rng.randrange(len(data) + 1)
        piece = data[at : at + n]
        del data[at : at + n]
        data[to:to] = piece
    else:
        other = rng.choice(list(rng.choice(valid).values()))
        start = rng.randrange(len(other) + 1)
        data[at : at + n] = other[start : start + rng.choice((4, 30, 1000))]
    return data


def place(files: Files, folder: str) -> str:
    """Write the files of a model into an empty folder; return what is to be opened: a nameless file, a folder whose
    first file lies deeper, the folder of a model with a tokenizer, else the first file.
    """
    first = next(iter(files), "")
    for name, data in files.items():
        path = Path(folder, name or "model")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    whole = not files or "/" in first or "tokenizer.json" in files
    return folder if whole else os.path.join(folder, first or "model")


def bases(format: str) -> list[tuple[bytes, dict[str, tuple[int, str]]]]:
    """Return valid files of a format, with the places of their fields."""
    hostile: Any = importlib.import_module("hostile")
    models = hostile.bases()
    if format == "fasttext":
        return [model.layout() for model in models]
    vecio: Any = importlib.import_module("vecio")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "m.bin", Path(folder) / "m.safetensors"
        for model in models[:4]:
            source.write_bytes(model.dump())
            for dtype in ("float32", "float16", "int8"):
                with vecio.open(source) as e:
                    e.save(target, dtype=dtype)
                data = target.read_bytes()
                end = 8 + int.from_bytes(data[:8], "little")
                places = {"length": (0, "q")} | {f"header{i}": (i, "B") for i in range(8, end)}
                found.append((data, places | {f"data{i}": (i, "q") for i in range(end, len(data) - 8, 97)}))
    return found


def judge(format: str, path: str, data: bytes, seed: int) -> tuple[str, str]:
    """Open one file and ask it everything; return the verdict and a sentence.

    Odd seeds have it opened as if its dictionary were large, every other pair of seeds goes to the kernels.
    """
    hostile, vecio = importlib.import_module("hostile"), importlib.import_module("vecio")
    sys.modules["vecio.formats.fasttext.reader"].EAGER = 0 if seed & 1 else 1 << 20  # type: ignore[attr-defined]
    vecio._effort._loaded = bool(seed & 2)
    clean = (vecio.VecioError, OSError)
    try:
        with vecio.open(path) as e:
            wrong = hostile.inconsistency(e, clean)
            if wrong is not None:
                return "inconsistent", wrong
            return against_twin(hostile, e, data) if format == "fasttext" else ("answered", "")
    except clean as error:
        named = (
            path in str(error)
            or os.path.dirname(path) in str(error)
            or isinstance(error, (vecio.WordError, vecio.UnsupportedError))
        )
        return ("refused", str(error)) if named else ("foreign", f"the file is not named: {error}")
    except MemoryError as error:
        return "memory", str(error)
    except Exception as error:
        return "foreign", f"{type(error).__name__}: {error}"


def against_twin(hostile: Any, e: Any, data: bytes) -> tuple[str, str]:
    """Compare an accepted file with what the slow twin reads from it."""
    if data[:4] != hostile.MAGIC.to_bytes(4, "little") or e.format == "floret":
        return "answered", ""  # without magic, or floret by chance: not the twin's
    try:
        truth = hostile.parse(data)
    except hostile.Refused as reason:
        return "lenient", str(reason)
    if truth.args["maxn"] > 50 or truth.args["bucket"] < 1:
        return "answered", ""  # n-grams without end take the twin too long
    wrong = hostile.difference(e, truth)
    return ("answered", "") if wrong is None else ("wrong", wrong)


def work(format: str) -> None:
    """Take ranges of seeds from standard input, one a line; say what each file did, one line of JSON a seed."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    faulthandler.enable()
    warnings.simplefilter("error")
    valid, make = maker(format)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["VECIO_CACHE"] = os.path.join(folder, "cache")
        for i, files in enumerate(valid):  # compile all kernels before the clock runs
            path = place(files, os.path.join(folder, f"valid{i}"))
            verdict, text = judge(format, path, next(iter(files.values())), 2)
            assert verdict == "answered", f"valid file {i} is {verdict}: {text}"
        print("ready", flush=True)
        for line in sys.stdin:
            for seed in range(*map(int, line.split())):
                print(json.dumps([seed]), flush=True)
                faulthandler.dump_traceback_later(SECONDS, exit=True)
                files = make(seed)
                inside = os.path.join(folder, "broken")
                path = place(files, inside)
                begin = time.perf_counter()
                verdict, text = judge(format, path, next(iter(files.values()), b""), seed)
                print(json.dumps([seed, verdict, text[:500], time.perf_counter() - begin]), flush=True)
                faulthandler.cancel_dump_traceback_later()
                shutil.rmtree(inside, ignore_errors=True)


# --- the master --------------------------------------------------------------------------------------------------

Found = tuple[int, str, str, float]


def run(format: str, first: int, count: int, jobs: int, seconds: float) -> Iterator[Found]:
    """Yield (seed, verdict, text, seconds) of every file, in any order; start no more when the time is over."""
    end = time.monotonic() + seconds
    ranges = [(start, min(start + PORTION, first + count)) for start in range(first, first + count, PORTION)]
    found: queue.Queue[Found | None] = queue.Queue()
    threads = [
        threading.Thread(target=serve, args=(format, ranges, found, end), daemon=True) for _ in range(jobs)
    ]
    for thread in threads:
        thread.start()
    for _ in threads:
        while (one := found.get()) is not None:
            yield one


def serve(format: str, ranges: list[tuple[int, int]], found: queue.Queue[Found | None], end: float) -> None:
    """Give ranges of seeds to a worker process, and to a new one where it dies; put what each seed did in `found`."""
    work: tuple[int, int] | None = None
    try:
        while (work is not None or ranges) and time.monotonic() < end:
            work = one_worker(format, work, ranges, found, end)
    finally:
        found.put(None)


def one_worker(
    format: str,
    work: tuple[int, int] | None,
    ranges: list[tuple[int, int]],
    found: queue.Queue[Found | None],
    end: float,
) -> tuple[int, int] | None:
    """Keep one worker busy until all is done (None) or it dies: return what it leaves of its range."""
    command = [sys.executable, "-B", str(Path(__file__).resolve()), "--worker", "--format", format]
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, text=True, bufsize=1) as worker,
    ):
        assert worker.stdin is not None and worker.stdout is not None
        if worker.stdout.readline() != "ready\n":
            errors.seek(0)
            raise RuntimeError(f"the worker does not start: {errors.read()[-3000:]}")
        while time.monotonic() < end:
            try:
                start, stop = work or ranges.pop(0)
            except IndexError:
                return None  # another worker took the last
            work = None
            worker.stdin.write(f"{start} {stop}\n")
            for line in worker.stdout:
                one = json.loads(line)
                start = one[0] + 1
                if len(one) > 1:
                    found.put((one[0], one[1], one[2], one[3]))
                    if start >= stop or time.monotonic() > end:
                        break
            else:  # it died while it had the file before `start`
                code = worker.wait()
                errors.seek(0)
                said = errors.read()
                verdict = "hang" if said.startswith("Timeout") else "crash"
                found.put((start - 1, verdict, f"exit code {code}: {said[-1500:]}", 0.0))
                return (start, stop) if start < stop else None
    return None


def main() -> int:
    """Read the command line, run, print a table and every bad seed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--format", choices=("all", *FORMATS), default="fasttext")
    parser.add_argument("--count", type=int, default=10_000, help="files of each format")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="time for each format, at the most"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--keep", type=Path, help="folder for the bad files")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        work(asked.format)
        return 0
    return max(fuzz(name, asked) for name in (FORMATS if asked.format == "all" else (asked.format,)))


def fuzz(format: str, asked: argparse.Namespace) -> int:
    """Run one format; print every bad seed and a line of totals; return 1 if any was bad."""
    counts: collections.Counter[str] = collections.Counter()
    slowest, begin = 0.0, time.monotonic()
    for seed, verdict, text, seconds in run(format, asked.seed, asked.count, asked.jobs, asked.seconds):
        counts[verdict] += 1
        slowest = max(slowest, seconds)
        if seconds > 1:
            print(f"slow, not bad: seed {seed}: {seconds:.1f} s, {verdict}: {text}", flush=True)
        if verdict in BAD:
            print(f"{verdict}: {format} seed {seed}: {text}", flush=True)
            if asked.keep is not None:
                place(maker(format)[1](seed), str(asked.keep / f"{format}-{seed}"))
    bad = sum(counts[verdict] for verdict in BAD)
    print(
        f"{format}, from seed {asked.seed}: "
        + ", ".join(f"{counts[verdict]:,} {verdict}" for verdict in ("refused", "answered", *BAD))
        + f"; slowest {slowest:.2f} s; {time.monotonic() - begin:.0f} s in all",
        flush=True,
    )
    return int(bad > 0 or (sum(counts.values()) < asked.count and asked.seconds == float("inf")))


if __name__ == "__main__":
    sys.exit(main())
