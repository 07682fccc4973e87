"""word2vec's binary form, 1M x 300 (1.2 GB): opening, memory, a batch; beside gensim and finalfusion.

    python tools/bench/bench_word2vec.py --dir bench-data [--rounds 5]

The file (and a list of its words) is made in DIR where it is missing, in the C tool's form. Every measurement is a new
process, the file in the page cache. The clock runs from the call that opens the file to the vector of a known word; the
imports of vecio, gensim and finalfusion stand before it, what vecio imports later (numba) is within. Private memory
is USS after that, less the clean pages of the file; peers hold their matrices as private memory of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from common import (
    Context,
    Figure,
    PeerError,
    Report,
    Row,
    Session,
    arguments,
    figure,
    memory,
    note,
    peak_resident,
    rate,
    table,
    warm,
)

WORDS, DIM, BLOCK = 1_000_000, 300, 20_000
#: Words of a batch, spread over the file.
BATCH = 100_000
SUBJECTS = ("vecio", "gensim-word2vec", "finalfusion-word2vec")


@dataclass(frozen=True)
class Word2vecContext(Context):
    """The arguments of a run, whose one file is its own."""

    def facts(self) -> dict[str, Any]:
        """Return what the file is."""
        return {"words": WORDS, "dim": DIM, "bytes": self.model().stat().st_size}

    def full_size(self) -> bool:
        """Return whether the goals apply: the size is fixed."""
        return True

    def model(self) -> Path:
        """Return the file, made where it is missing."""
        path = self.folder / f"word2vec-{WORDS}x{DIM}.bin"
        if not path.exists():
            make(path, self.folder / "word2vec-words.txt")
        return path


def make(path: Path, words: Path) -> None:
    """Write random vectors in the C tool's form, and every tenth word to a list, in random order."""
    import numpy as np

    note(f"making {path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(b"%d %d\n" % (WORDS, DIM))
        for start in range(0, WORDS, BLOCK):
            rows = rng.standard_normal((BLOCK, DIM), dtype=np.float32)
            rows *= 0.3
            file.write(b"".join(b"w%d %b\n" % (start + i, row.tobytes()) for i, row in enumerate(rows)))
    chosen = rng.permutation(WORDS)[:BATCH]
    words.write_text("".join(f"w{i}\n" for i in chosen), encoding="ascii")
    part.rename(path)


def once(report: Report, subject: str, path: Path, turn: int) -> dict[str, Any] | None:
    """Open, take a vector, look at the memory, embed a batch twice; None where the program cannot."""
    if subject in report.context.skip:
        return None
    try:
        with Session(report.context, subject) as session:
            report.saw([session])
            before = memory(session.pid, path)
            opened = session.call("load_first", path=str(path), word=f"w{WORDS - 1 - 997 * turn}")
            after, peak = memory(session.pid, path), peak_resident(session.pid)
            words = str(report.context.folder / "word2vec-words.txt")
            session.call("batch", path=words, start=0, count=BATCH, given=True)
            batch = session.call("batch", path=words, start=0, count=BATCH, given=True)
            used = {"own": after["own"], "grown": after["own"] - before["own"], "peak": peak}
            return {**opened, **used, "batch": batch}
    except PeerError as error:
        note(f"left out: {error}")
        return None


def measure(report: Report) -> None:
    """Take turns with the peers."""
    context = report.context
    assert isinstance(context, Word2vecContext)
    path = context.model()
    warm(path)
    replies: dict[str, list[dict[str, Any]]] = {}
    for turn in range(-1, context.rounds):
        for subject in SUBJECTS:
            if (turn < 0 and subject != "vecio") or (turn > 1 and subject.startswith("finalfusion")):
                continue  # the first round compiles kernels; finalfusion takes 11 s a time
            reply = once(report, subject, path, turn + 1)
            if reply is not None and turn >= 0:
                replies.setdefault(subject.partition("-")[0], []).append(reply)

    def row(measure: str, make: Any, goal: str = "", limit: float | None = None, **times: float) -> None:
        figures: dict[str, Figure] = {name: make(got) for name, got in replies.items()}
        ours = figures.pop("vecio", None)
        report.add(Row(measure, ours, figures, goal, limit, times))

    name = "word2vec binary, 1M × 300"
    row(f"{name}: open → first vector, wall", figure, "≤ 1 s", 1.0)
    row(f"{name}: the same, CPU", lambda got: figure(got, "cpu"))
    row(f"{name}: private memory then", lambda got: figure(got, "own", "MB"), "≤ 150 MB", 150.0)
    row(f"{name}: most memory resident until then", lambda got: figure(got, "peak", "MB"))
    row(
        f"{name}: {BATCH // 1000}k words as one batch",
        lambda got: rate([each["batch"] for each in got], "wall"),
    )


def main() -> None:
    """Read the arguments, measure, save, print the table."""
    given = arguments(__doc__ or "")
    context = Word2vecContext(**{each.name: getattr(given, each.name) for each in fields(given)})
    context.model()
    report = Report(context, "word2vec", "word2vec binary")
    measure(report)
    path = report.save()
    print(table([row.cells(True) for row in report.rows]))
    note(f"figures in {path}")


if __name__ == "__main__":
    main()
