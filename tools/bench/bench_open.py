"""Opening: from nothing to the first vector, inside a process and as a whole process, warm and cold.

Inside a process the clock runs from the call that opens the file to the vector; imports of the program and of numpy
stand before it. Whole processes are `python -c` with the three lines a user would write. Every measurement is a new
process. Warm means that the file is in the page cache; cold that it was taken out just before.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from common import (
    Context,
    Figure,
    PeerError,
    Report,
    Row,
    Session,
    figure,
    make_cold,
    note,
    run_process,
    run_topic,
    warm,
)
from peers import read_words

#: What each program's user writes; {path} and {word} are put in.
LINES = {
    "vecio": "import vecio; e = vecio.open({path!r}); v = e[{word!r}]",
    "fasttext": "import fasttext; m = fasttext.load_model({path!r}); v = m.get_word_vector({word!r})",
    "gensim": "from gensim.models import KeyedVectors as K; k = K.load({path!r}, mmap='r'); v = k[{word!r}]",
}


def inside(report: Report, subject: str, op: str, **given: Any) -> dict[str, Any] | None:
    """Run one operation in a new process; returns the reply, None where the program cannot do it."""
    if subject in report.context.skip:
        return None
    try:
        with Session(report.context, subject) as session:
            report.saw([session])
            return session.call(op, **given)
    except PeerError as error:
        note(f"left out: {error}")
        return None


def whole(report: Report, subject: str, path: Path, word: str) -> dict[str, float] | None:
    """Run the user's lines as a new process; returns its times, None where the program cannot do it."""
    python = report.context.python(subject)
    if subject in report.context.skip or not python.exists():
        return None
    try:
        return run_process([os.fspath(python), "-c", LINES[subject].format(path=str(path), word=word)])
    except PeerError as error:
        note(f"left out: {error}")
        return None


class Times:
    """Collects replies by name."""

    def __init__(self) -> None:
        self.replies: dict[str, list[dict[str, Any]]] = {}

    def take(self, name: str, reply: dict[str, Any] | None) -> None:
        """Keep a reply, if there is one."""
        if reply is not None:
            self.replies.setdefault(name, []).append(reply)

    def get(self, name: str, clock: str = "wall") -> Figure | None:
        """Return the times of a name, None where there are none."""
        replies = self.replies.get(name)
        return figure(replies, clock) if replies else None

    def peers(self, *names: str, clock: str = "wall") -> dict[str, Figure]:
        """Return the times of the peers that there are."""
        return {name: times for name in names if (times := self.get(name, clock)) is not None}


def open_inside(report: Report, unknown: list[str], rare: list[str]) -> None:
    """Measure opening inside a process: the raw `.bin`, with a full index, and the native file."""
    context, times = report.context, Times()
    raw, native = context.file("big55.bin"), context.native("55", "float16")
    warm(raw)
    warm(native)
    for turn in range(context.rounds):
        word, known = unknown[turn], rare[-1 - turn]
        times.take("fasttext", inside(report, "fasttext", "load_first", path=str(raw), word=word))
        for again in range(3):
            other = unknown[100 + 3 * turn + again]
            times.take("raw", inside(report, "vecio", "load_first", path=str(raw), word=other))
            times.take("index", inside(report, "vecio", "index", path=str(raw), word=known))
            times.take("known", inside(report, "vecio", "load_first", path=str(native), word=known))
            times.take("unknown", inside(report, "vecio", "load_first", path=str(native), word=other))
    for slow in ("finalfusion", "gensim"):
        times.take(slow, inside(report, slow, "load_first", path=str(raw), word=unknown[50]))
        times.take("raw", inside(report, "vecio", "load_first", path=str(raw), word=unknown[51]))
    peers = times.peers("fasttext", "finalfusion", "gensim")
    report.add(
        Row(
            "`.bin` 5–5: open → first unknown word's vector, in process",
            times.get("raw"),
            peers,
            "≤ 0.15 s and ≥ 40× fasttext; 0.03 s",
            0.15,
            {"fasttext": 40},
            0.03,
        )
    )
    report.add(
        Row(
            "`.bin`: open, `len`, `words[-1]`, first known rare word, in process",
            times.get("index"),
            times.peers("fasttext"),
            "≤ 0.4 s",
            0.4,
        )
    )
    report.add(
        Row(
            "native float16: open → first known word, in process",
            times.get("known"),
            peers,
            "≤ 0.5 ms and ≥ 10,000× fasttext; 50,000× (issue: ≤ 10 ms; 3 ms)",
            0.0005,
            {"fasttext": 10_000},
            None,
            {"fasttext": 50_000},
        )
    )
    report.add(
        Row(
            "native float16: open → first unknown word, in process",
            times.get("unknown"),
            peers,
            "≤ 60 ms; 20 ms",
            0.06,
            {},
            0.02,
        )
    )


def open_whole(report: Report, unknown: list[str], rare: list[str]) -> None:
    """Measure whole processes, warm."""
    context, times = report.context, Times()
    raw, native = context.file("big55.bin"), context.native("55", "float16")
    keyed = None if "gensim" in context.skip or not context.peers.exists() else context.keyed()
    for path in (raw, native):
        warm(path)
    whole(report, "vecio", native, rare[0])
    for turn in range(context.rounds):
        word, known = unknown[200 + turn], rare[turn]
        times.take("fasttext", whole(report, "fasttext", raw, word))
        if keyed is not None:
            times.take("gensim .kv mapped", whole(report, "gensim", keyed, known))
        for again in range(3):
            other = unknown[300 + 3 * turn + again]
            times.take("raw", whole(report, "vecio", raw, other))
            times.take("unknown", whole(report, "vecio", native, other))
            times.take("known", whole(report, "vecio", native, known))
    fasttext = times.peers("fasttext")
    report.add(
        Row(
            "new process, `.bin`, one unknown word, wall",
            times.get("raw"),
            fasttext,
            "≤ 0.5 s and ≥ 40× fasttext; 60×",
            0.5,
            {"fasttext": 40},
            None,
            {"fasttext": 60},
        )
    )
    report.add(
        Row(
            "new process, native, one unknown word, wall",
            times.get("unknown"),
            fasttext,
            "≤ 0.4 s; 0.15 s",
            0.4,
            {},
            0.15,
        )
    )
    report.add(
        Row(
            "new process, native, one known word, wall",
            times.get("known"),
            times.peers("fasttext", "gensim .kv mapped"),
            "≤ 0.25 s and ≥ 12× gensim's own mapped file; 15×",
            0.25,
            {"gensim .kv mapped": 12},
            None,
            {"gensim .kv mapped": 15},
        )
    )
    report.add(
        Row(
            "new process, native, one unknown word, CPU seconds",
            times.get("unknown", "cpu"),
            times.peers("fasttext", clock="cpu"),
            "≥ 50× fasttext; 70×",
            None,
            {"fasttext": 50},
            None,
            {"fasttext": 70},
        )
    )


def open_cold(report: Report, unknown: list[str]) -> None:
    """Measure whole processes with the file out of the page cache."""
    context, times = report.context, Times()
    raw, native = context.file("big55.bin"), context.native("55", "float16")
    for turn in range(min(3, context.rounds)):
        for name, subject, path in (
            ("fasttext", "fasttext", raw),
            ("raw", "vecio", raw),
            ("native", "vecio", native),
        ):
            make_cold(path, context.drop_caches)
            times.take(name, whole(report, subject, path, unknown[400 + turn]))
    what = "the whole page cache" if context.drop_caches else "the file"
    for name, label, goal, least in (
        ("raw", "`.bin`", "≥ 20× fasttext; 30×", {"fasttext": 20.0}),
        ("native", "native", "", {}),
    ):
        report.add(
            Row(
                f"new process, {label}, one unknown word, cold ({what} dropped), wall",
                times.get(name),
                times.peers("fasttext"),
                goal,
                None,
                least,
                None,
                {"fasttext": 30.0} if least else {},
            )
        )


def measure(report: Report) -> None:
    """Measure all of opening."""
    context: Context = report.context
    unknown = read_words(str(context.file("unknown.txt")), 0, 1000)
    rare = read_words(str(context.file("rare.txt")))
    open_inside(report, unknown, rare)
    open_whole(report, unknown, rare)
    open_cold(report, unknown)


if __name__ == "__main__":
    run_topic("open", "Opening", __doc__, measure)
