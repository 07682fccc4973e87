"""What a new process pays for a file: `python -m trainers.probe FILE KNOWN UNKNOWN` opens it, asks, and prints JSON.

A process of its own, because the one that trained the vectors has them in memory and its code loaded. What it is not: a
benchmark; each first look-up is timed once.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

_REPEATS = 200  # few enough that vecio does not load its compiled kernels for them


def measure(path: str, known: str, unknown: str) -> dict[str, float]:
    """Return seconds to import vecio, open the file and embed a known and an unknown word, first and again.

    `private_bytes`, of the whole process at the end, is there where the system tells (Linux).
    """
    begin = time.perf_counter()
    import vecio

    figures = {"import_s": time.perf_counter() - begin}
    begin = time.perf_counter()
    embeddings = vecio.open(path)
    figures["open_s"] = time.perf_counter() - begin
    for name, word in (("known", known), ("unknown", unknown)):
        begin = time.perf_counter()
        embeddings[word]
        figures[f"first_{name}_s"] = time.perf_counter() - begin
        figures[f"{name}_s"] = _median(partial(embeddings.__getitem__, word))
    private = _private_bytes()
    if private is not None:
        figures["private_bytes"] = private
    return figures


def _median(call: Callable[[], object]) -> float:
    times = []
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return sorted(times)[_REPEATS // 2]


def _private_bytes() -> int | None:
    """Return the memory that belongs to this process alone (Linux), or None."""
    try:
        text = Path("/proc/self/smaps_rollup").read_text()
    except OSError:
        return None
    return 1024 * sum(int(kilobytes) for kilobytes in re.findall(r"^Private_\w+:\s+(\d+) kB", text, re.M))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(*sys.argv[1:4])))
