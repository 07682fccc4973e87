"""Counts what bad files of each format get, and writes the table: specs/battery.md.

    python tools/battery.py [--random 2000] [--jobs 2]

For every valid file of `fuzz_bases` (tests) are tried: every cut (all of a small file, spread over a large one), every
byte changed in four ways, the damage that knows no format (tests/hostile.py: C19 to C38), and random files as
tools/fuzz.py makes them. All are opened and asked everything in one worker a format, after a warm-up. The cases that
know a format byte by byte (reliability's tables F, Q, W, T, S, U and others) are tests and not counted here.
"""

from __future__ import annotations

import argparse
import collections
import importlib
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fuzz

TARGET = fuzz.ROOT / "specs" / "battery.md"
#: Cuts and changed bytes of one file at most.
MOST = 400


def places(size: int) -> list[int]:
    """Return the places of a file that are tried: all, or the beginning, the end and some between."""
    step = max(1, size // (MOST // 2))
    return sorted({*range(min(size, MOST // 2)), *range(0, size, step), *range(max(0, size - 8), size)})


def broken(valid: list[fuzz.Files], count: int, make: Any) -> Iterator[tuple[str, fuzz.Files]]:
    """Yield (kind, files) of everything that is tried."""
    hostile: Any = importlib.import_module("hostile")
    for files in valid:
        for name, data in files.items():
            for at in places(len(data)):
                yield "cut", {**files, name: data[:at]}
                for value in (data[at] ^ 1, data[at] ^ 0x80, 0, 0xFF):
                    yield "byte changed", {**files, name: data[:at] + bytes([value]) + data[at + 1 :]}
            for _, _, changed, _ in hostile.cases_any(data) if len(data) > 40 else ():
                yield "damaged", {**files, name: changed}
    for seed in range(1, count + 1):
        yield "random", make(seed)


def work(format: str, count: int) -> None:
    """Try everything of one format; print its line of the table."""
    warnings.simplefilter("error")
    valid, make = fuzz.maker(format)
    kinds: collections.Counter[str] = collections.Counter()
    verdicts: collections.Counter[str] = collections.Counter()
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["VECIO_CACHE"] = os.path.join(folder, "cache")
        for i, files in enumerate(valid):  # kernels are compiled and loaded before anything is measured
            for seed in (2, 3):
                fuzz.judge(format, fuzz.place(files, f"{folder}/valid{i}"), b"", seed)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for kind, files in broken(valid, count, make):
            inside = os.path.join(folder, "broken")
            path = fuzz.place(files, inside)
            kinds[kind] += 1
            began = time.perf_counter()
            verdict, text = fuzz.judge(format, path, next(iter(files.values()), b""), kinds[kind])
            if verdict == "refused":
                seconds.append(time.perf_counter() - began)
            elif verdict != "answered":
                print(f"{format}, {kind} {kinds[kind]}: {verdict}: {text}", file=sys.stderr, flush=True)
            verdicts[verdict] += 1
            shutil.rmtree(inside, ignore_errors=True)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    bad = sum(verdicts[name] for name in fuzz.BAD)
    cells = [format, *(f"{kinds[k]:,}" for k in ("cut", "byte changed", "damaged", "random"))]
    cells += [f"{verdicts['refused']:,}", f"{verdicts['answered']:,}", f"{bad:,}"]
    cells += [f"{statistics.median(seconds) * 1e3:.2f}", f"{max(seconds) * 1e3:.0f}", f"{grown:.0f}"]
    print("| " + " | ".join(cells) + " |", flush=True)


HEAD = """\
# The battery: what bad files get

Written by `python tools/battery.py`, which says how. Every file is opened and, where it opens, asked everything: words,
single and batch look-ups, sub-words, sentences, neighbours. "refused": an error that names the file; "answered": the
answers agree with each other. "bad" would be a crash, a hang, another program's exception, answers that contradict each
other or, for fastText, other vectors than a second reader finds. Times are of refusals, milliseconds; the last column
is how much the process grew at most over all of them, MiB. Tables: Parquet, Arrow, numpy, Magnitude, navec.

| format | cut | byte changed | damaged | random | refused | answered | bad | median ms | slowest ms | MiB |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""


def main() -> int:
    """Run all formats, some at a time, and write the table; return 1 where anything was bad."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--random", type=int, default=2000, help="random files of each format")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        work(asked.worker, asked.random)
        return 0
    command = [sys.executable, "-B", str(Path(__file__).resolve()), "--random", str(asked.random), "--worker"]
    waiting, lines = list(fuzz.FORMATS), dict[str, str]()
    running: dict[str, subprocess.Popen[str]] = {}
    while waiting or running:
        while waiting and len(running) < asked.jobs:
            name = waiting.pop(0)
            running[name] = subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True)
        for name, process in list(running.items()):
            if process.poll() is not None:
                lines[name] = running.pop(name).communicate()[0].strip()
        time.sleep(0.1)
    TARGET.write_text(HEAD + "".join(f"{lines[name]}\n" for name in fuzz.FORMATS), encoding="utf-8")
    print(TARGET.read_text(encoding="utf-8"))
    return int(any(not line or line.split(" | ")[7] != "0" for line in lines.values()))


if __name__ == "__main__":
    sys.exit(main())
