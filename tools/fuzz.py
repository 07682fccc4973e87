"""Opens random broken files that know the structure of their format, and looks for anything that is not a clean answer.

    python tools/fuzz.py --format fasttext --count 100000 --seed 1 [--jobs 2] [--keep FOLDER]

Each file is made from a valid one (tests/hostile.py: `mutant`) and opened in a worker process with bounded memory and
time. Counted are: refused (a VecioError or OSError), answered, and the bad ones: crash (a signal), hang, memory,
foreign exception, inconsistent (answers that contradict each other), wrong (fastText: other vectors than the slow twin
reads from the same bytes), lenient (accepted, where the twin finds a contradiction). Every bad file can be made again
from its seed and is kept with --keep. Exit code 1 when there is any bad one.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import importlib
import json
import os
import queue
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

SECONDS = 20  # one file, on a machine that may be busy
MEMORY = 3 << 30  # address space of a worker
PORTION = 500  # seeds that a worker is given at a time
BAD = ("crash", "hang", "memory", "foreign", "inconsistent", "wrong", "lenient")


# --- the worker --------------------------------------------------------------------------------------------------


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
    sys.modules["vecio.formats.fasttext"].EAGER = 0 if seed & 1 else 1 << 20  # type: ignore[attr-defined]
    vecio._effort._loaded = bool(seed & 2)
    clean = (vecio.VecioError, OSError)
    try:
        with vecio.open(path) as e:
            wrong = hostile.inconsistency(e, clean)
            if wrong is not None:
                return "inconsistent", wrong
            return against_twin(hostile, e, data) if format == "fasttext" else ("answered", "")
    except clean as error:
        named = path in str(error) or isinstance(error, (vecio.WordError, vecio.UnsupportedError))
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
    hostile: Any = importlib.import_module("hostile")
    made = bases(format)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model")
        for data, _ in made:  # compile all kernels before the clock runs
            Path(path).write_bytes(data)
            assert judge(format, path, data, 2)[0] == "answered"
        print("ready", flush=True)
        for line in sys.stdin:
            for seed in range(*map(int, line.split())):
                print(json.dumps([seed]), flush=True)
                faulthandler.dump_traceback_later(SECONDS, exit=True)
                data = hostile.mutant(seed, made)
                Path(path).write_bytes(data)
                begin = time.perf_counter()
                verdict, text = judge(format, path, data, seed)
                print(json.dumps([seed, verdict, text[:500], time.perf_counter() - begin]), flush=True)
                faulthandler.cancel_dump_traceback_later()


# --- the master --------------------------------------------------------------------------------------------------

Found = tuple[int, str, str, float]


def run(format: str, first: int, count: int, jobs: int) -> Iterator[Found]:
    """Yield (seed, verdict, text, seconds) of every file, in any order."""
    ranges = [(start, min(start + PORTION, first + count)) for start in range(first, first + count, PORTION)]
    found: queue.Queue[Found | None] = queue.Queue()
    threads = [threading.Thread(target=serve, args=(format, ranges, found), daemon=True) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for _ in threads:
        while (one := found.get()) is not None:
            yield one


def serve(format: str, ranges: list[tuple[int, int]], found: queue.Queue[Found | None]) -> None:
    """Give ranges of seeds to a worker process, and to a new one where it dies; put what each seed did in `found`."""
    work: tuple[int, int] | None = None
    try:
        while work is not None or ranges:
            work = one_worker(format, work, ranges, found)
    finally:
        found.put(None)


def one_worker(
    format: str, work: tuple[int, int] | None, ranges: list[tuple[int, int]], found: queue.Queue[Found | None]
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
        while True:
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
                    if start >= stop:
                        break
            else:  # it died while it had the file before `start`
                code = worker.wait()
                errors.seek(0)
                said = errors.read()
                verdict = "hang" if said.startswith("Timeout") else "crash"
                found.put((start - 1, verdict, f"exit code {code}: {said[-1500:]}", 0.0))
                return (start, stop) if start < stop else None


def main() -> int:
    """Read the command line, run, print a table and every bad seed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--format", choices=("fasttext", "safetensors"), default="fasttext")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--keep", type=Path, help="folder for the bad files")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        work(asked.format)
        return 0
    counts: collections.Counter[str] = collections.Counter()
    slowest, begin, made = 0.0, time.monotonic(), None
    for seed, verdict, text, seconds in run(asked.format, asked.seed, asked.count, asked.jobs):
        counts[verdict] += 1
        slowest = max(slowest, seconds)
        if seconds > 1:
            print(f"slow, not bad: seed {seed}: {seconds:.1f} s, {verdict}: {text}", flush=True)
        if verdict in BAD:
            print(f"{verdict}: seed {seed}: {text}", flush=True)
            if asked.keep is not None:
                made = made or bases(asked.format)
                asked.keep.mkdir(parents=True, exist_ok=True)
                (asked.keep / f"{asked.format}-{seed}.bin").write_bytes(
                    importlib.import_module("hostile").mutant(seed, made)
                )
    bad = sum(counts[verdict] for verdict in BAD)
    print(
        f"{asked.format}, seeds {asked.seed} to {asked.seed + asked.count - 1}: "
        + ", ".join(f"{counts[verdict]:,} {verdict}" for verdict in ("refused", "answered", *BAD))
        + f"; slowest {slowest:.2f} s; {time.monotonic() - begin:.0f} s in all"
    )
    return int(bad > 0 or sum(counts.values()) < asked.count)


if __name__ == "__main__":
    sys.exit(main())
