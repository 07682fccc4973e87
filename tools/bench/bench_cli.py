"""The command line: wall time of whole processes, warm, the output thrown away."""

from __future__ import annotations

import os
from pathlib import Path

from common import Figure, PeerError, Report, Row, note, run_process, run_topic, warm
from peers import read_words

#: Where no `vecio` lies beside the interpreter: the same entry point.
START = "import sys; from vecio.cli import main; sys.exit(main())"


def command(python: Path) -> list[str]:
    """Return the command `vecio` of an environment."""
    script = python.with_name("vecio")
    return [os.fspath(script)] if script.exists() else [os.fspath(python), "-c", START]


def measure(report: Report) -> None:
    """Measure `vecio --help` and `vecio get`."""
    context = report.context
    start = command(context.vecio)
    native, raw = context.native("55", "float16"), context.file("big55.bin")
    known = read_words(str(context.file("known.txt")), 0, 1)[0]
    unknown = read_words(str(context.file("unknown.txt")), 0, 1)[0]
    warm(native)
    warm(raw)
    cases = {
        "`vecio --help`": (["--help"], "≤ 0.3 s", 0.3),
        "`vecio get` on a native file, a known word": (["get", str(native), known], "≤ 0.5 s", 0.5),
        "`vecio get` on a native file, an unknown word": (["get", str(native), unknown], "≤ 0.5 s", 0.5),
        "`vecio get` on the `.bin`, an unknown word": (["get", str(raw), unknown], "", None),
    }
    walls: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(2 * context.rounds + 1):
        for name, (words, _, _) in cases.items():
            try:
                wall = run_process([*start, *words])["wall"]
            except PeerError as error:
                note(f"left out: {error}")
                continue
            if turn:
                walls[name].append(wall)
    for name, (_, goal, limit) in cases.items():
        report.add(Row(f"{name}, wall", Figure(walls[name]) if walls[name] else None, {}, goal, limit))


if __name__ == "__main__":
    run_topic("cli", "The command line", __doc__, measure)
