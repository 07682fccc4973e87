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
import contextlib
import faulthandler
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

SECONDS = 20  # one file, on a machine that may be busy
MEMORY = 3 << 30  # address space of a worker
BAD = ("crash", "hang", "memory", "foreign", "inconsistent", "wrong", "lenient")


# --- the worker --------------------------------------------------------------------------------------------------


def bases(format: str) -> list[tuple[bytes, dict[str, tuple[int, str]]]]:
    """Return valid files of a format, with the places of their fields."""
    hostile: Any = __import__("hostile")
    models = hostile.bases()
    if format == "fasttext":
        return [model.layout() for model in models]
    vecio: Any = __import__("vecio")
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


def judge(format: str, path: str, data: bytes) -> tuple[str, str]:
    """Open one file and ask it everything; return the verdict and a sentence."""
    hostile, vecio = __import__("hostile"), __import__("vecio")
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
    if len(set(truth.words)) < len(truth.words) or truth.args["maxn"] > 50 or truth.args["bucket"] < 1:
        return "answered", ""  # of equal words the twin too finds the first; very long n-grams take it too long
    wrong = hostile.difference(e, truth)
    return ("answered", "") if wrong is None else ("wrong", wrong)


def work(format: str) -> None:
    """Take ranges of seeds from standard input, one a line; say what each file did, one line of JSON a seed."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    faulthandler.enable()
    warnings.simplefilter("error")
    hostile: Any = __import__("hostile")
    made = bases(format)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model")
        for line in sys.stdin:
            for seed in range(*map(int, line.split())):
                print(json.dumps([seed]), flush=True)
                data = hostile.mutant(seed, made)
                Path(path).write_bytes(data)
                begin = time.perf_counter()
                verdict, text = judge(format, path, data)
                print(json.dumps([seed, verdict, text[:500], time.perf_counter() - begin]), flush=True)
            print(json.dumps([]), flush=True)


# --- the master --------------------------------------------------------------------------------------------------


class Worker:
    """One worker process and what it is doing."""

    def __init__(self, format: str) -> None:
        command = [sys.executable, "-B", str(Path(__file__).resolve()), "--worker", "--format", format]
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True
        )
        self.seed, self.stop, self.since = 0, 0, time.monotonic()

    def give(self, start: int, stop: int) -> None:
        assert self.process.stdin is not None
        self.seed, self.stop, self.since = start, stop, time.monotonic()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{start} {stop}\n")
            self.process.stdin.flush()

    def end(self) -> str:
        """Stop the worker; return the last it said about itself."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self.errors.seek(0)
        return self.errors.read()[-1500:]


def run(format: str, first: int, count: int, jobs: int) -> Iterator[tuple[int, str, str, float]]:
    """Yield (seed, verdict, text, seconds) of every file, in any order."""
    ranges = [(start, min(start + 200, first + count)) for start in range(first, first + count, 200)]
    ranges.reverse()
    selector = selectors.DefaultSelector()
    active = 0

    def start(work: tuple[int, int]) -> None:
        worker = Worker(format)
        worker.give(*work)
        assert worker.process.stdout is not None
        selector.register(worker.process.stdout, selectors.EVENT_READ, worker)

    for _ in range(min(jobs, len(ranges))):
        start(ranges.pop())
        active += 1
    while active:
        ready = [key.data for key, _ in selector.select(timeout=1)]
        for worker in [key.data for key in list(selector.get_map().values())]:
            line = worker.process.stdout.readline() if worker in ready else ""
            if not line and worker not in ready and time.monotonic() - worker.since < SECONDS:
                continue
            if line:
                found = json.loads(line)
                worker.since = time.monotonic()
                if len(found) == 4:
                    yield found[0], found[1], found[2], found[3]
                    continue
                if found:
                    worker.seed = found[0]
                    continue
                rest = (worker.stop, worker.stop)
            else:  # it died, or hangs
                verdict = "hang" if worker not in ready else "crash"
                selector.unregister(worker.process.stdout)
                yield worker.seed, verdict, f"exit code {worker.process.poll()}: {worker.end()}", 0.0
                rest = (worker.seed + 1, worker.stop)
                active -= 1
                if rest[0] < rest[1] or ranges:
                    start(rest if rest[0] < rest[1] else ranges.pop())
                    active += 1
                continue
            if ranges:
                worker.give(*ranges.pop())
            else:
                selector.unregister(worker.process.stdout)
                worker.end()
                active -= 1


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
        if verdict in BAD:
            print(f"{verdict}: seed {seed}: {text}", flush=True)
            if asked.keep is not None:
                made = made or bases(asked.format)
                asked.keep.mkdir(parents=True, exist_ok=True)
                (asked.keep / f"{asked.format}-{seed}.bin").write_bytes(__import__("hostile").mutant(seed, made))
    bad = sum(counts[verdict] for verdict in BAD)
    print(f"{asked.format}, seeds {asked.seed} to {asked.seed + asked.count - 1}: " + ", ".join(
        f"{counts[verdict]:,} {verdict}" for verdict in ("refused", "answered", *BAD)
    ) + f"; slowest {slowest:.2f} s; {time.monotonic() - begin:.0f} s in all")  # fmt: skip
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
