"""Text vectors, `.vec` of 1M x 300 (2.3 GB) and GloVe's of 400k x 100: parsing, memory, writing; beside the peers.

    python tools/bench/bench_text.py --dir bench-data [--rounds 3] [--small]

The files are made in DIR where they are missing: normal numbers with five significant digits as fastText prints them
(`.vec`), six decimals as GloVe does. Every measurement is a new process, the file in the page cache. The clock runs
from the call that opens the file to the first vector; imports stand before it, but what vecio imports later (numba) is
within. Private memory is USS then, less the clean pages of the file and what the process had before. Writing takes
100k rows x 300, from float32 in memory and float16 mapped. --small makes files of a tenth; no goals apply then.
"""

from __future__ import annotations

import argparse
import subprocess
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
    add_arguments,
    figure,
    memory,
    note,
    table,
    warm,
)
from common import context as make_context

BLOCK = 10_000
#: Rows and columns of the files, and of the one that is written.
VEC, GLOVE, WRITTEN = (1_000_000, 300), (400_000, 100), (100_000, 300)
SUBJECTS = ("vecio", "gensim-text", "finalfusion-text")


@dataclass(frozen=True)
class TextContext(Context):
    """The arguments of a run, whose files are its own."""

    small: bool = False

    def facts(self) -> dict[str, Any]:
        """Return what the files are."""
        return {"words": self.rows(VEC), "dim": VEC[1], "bytes": self.made(VEC, ".vec").stat().st_size}

    def full_size(self) -> bool:
        """Return whether the goals apply."""
        return not self.small

    def rows(self, shape: tuple[int, int]) -> int:
        """Return how many rows a file has in this run."""
        return shape[0] // 10 if self.small else shape[0]

    def made(self, shape: tuple[int, int], extension: str) -> Path:
        """Return a file, made where it is missing."""
        path = self.folder / f"text-{self.rows(shape)}x{shape[1]}{extension}"
        if not path.exists():
            make(path, self.rows(shape), shape[1])
        return path


def make(path: Path, count: int, dim: int) -> None:
    """Write random vectors as fastText (`.vec`) or GloVe prints them."""
    import numpy as np

    note(f"making {path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    part = path.with_suffix(".part")
    row = " ".join(["%.5g" if path.suffix == ".vec" else "%.6f"] * dim)
    end = " \n" if path.suffix == ".vec" else "\n"
    with part.open("w", encoding="ascii") as file:
        if path.suffix == ".vec":
            file.write(f"{count} {dim}\n")
        for start in range(0, count, BLOCK):
            rows = rng.standard_normal((min(BLOCK, count - start), dim)) * 0.3
            file.writelines(f"w{start + i} {row % tuple(each)}{end}" for i, each in enumerate(rows.tolist()))
    part.rename(path)


def once(report: Report, subject: str, path: Path, threads: int) -> dict[str, Any] | None:
    """Open, take a vector, look at the memory; None where the program cannot."""
    if subject in report.context.skip:
        return None
    try:
        with Session(report.context, subject, threads) as session:
            report.saw([session])
            before = memory(session.pid, path)
            opened = session.call("load_first", path=str(path), word="w17")
            after = memory(session.pid, path)
            size = path.stat().st_size
            grown = after["own"] - before["own"]
            return {**opened, "grown": grown, "rate": size / opened["cpu"]}
    except PeerError as error:
        note(f"left out: {error}")
        return None


def measure_reading(
    report: Report,
    name: str,
    path: Path,
    goals: dict[str, tuple[str, float | None]],
    times: dict[str, float] | None = None,
) -> None:
    """Take turns with the peers over one file."""
    warm(path)
    replies: dict[str, list[dict[str, Any]]] = {}
    for turn in range(-1, report.context.rounds):
        for subject in SUBJECTS:
            if subject != "vecio" and not 0 <= turn < 2:
                continue  # the first round compiles kernels; the peers take minutes a time
            for threads in (1, 2) if subject == "vecio" else (1,):
                reply = once(report, subject, path, threads)
                if reply is not None and turn >= 0:
                    key = subject.partition("-")[0] + (", two threads" if threads == 2 else "")
                    replies.setdefault(key, []).append(reply)

    def row(measure: str, make: Any, key: str = "", **times: float) -> None:
        figures: dict[str, Figure] = {who: make(got) for who, got in replies.items()}
        ours = figures.pop("vecio", None)
        two = figures.pop("vecio, two threads", None)
        goal, limit = goals.get(key, ("", None))
        report.add(Row(f"{name}: {measure}", ours, figures, goal, limit, times))
        if key == "wall" and two is not None:
            alone = {"vecio, one thread": ours} if ours else {}
            goal, times = "≥ 1.8× one thread", {"vecio, one thread": 1.8}
            report.add(Row(f"{name}: {measure}, two threads", two, alone, goal, None, times))

    row("CPU to the first vector", lambda got: figure(got, "cpu"), "cpu", **(times or {}))
    row("wall", figure, "wall")
    row("bytes parsed in a CPU-second", lambda got: figure(got, "rate", "/s"), "rate")
    row("private memory then", lambda got: figure(got, "grown", "MB"), "own")


def measure_writing(report: Report, source: Path) -> None:
    """Write the same rows as text, by vecio from float32 and float16 and by gensim."""
    context = report.context
    halves = source.with_suffix(".float16.safetensors")
    if not halves.exists():
        code = f"import vecio; vecio.convert({str(source)!r}, {str(halves)!r}, dtype='float16')"
        subprocess.run([str(context.python("vecio")), "-c", code], check=True)
    found: dict[str, list[dict[str, Any]]] = {}
    for turn in range(-1, context.rounds):
        for key, subject, path in (
            ("vecio", "vecio", source),
            ("vecio, float16", "vecio", halves),
            ("gensim", "gensim-text", source),
        ):
            if subject in context.skip or (subject != "vecio" and not 0 <= turn < 2):
                continue
            try:
                with Session(context, subject) as session:
                    session.call("load_first", path=str(path), word="w17")
                    reply = session.call("write", target=str(context.folder / "written.vec"))
            except PeerError as error:
                note(f"left out: {error}")
                continue
            if turn >= 0:
                found.setdefault(key, []).append(reply)
    (context.folder / "written.vec").unlink(missing_ok=True)
    peers = {name: figure(got, "cpu") for name, got in found.items() if name == "gensim"}
    for key, name in (("vecio", "float32"), ("vecio, float16", "float16")):
        if key in found:
            report.add(
                Row(
                    f"writing {WRITTEN[0] // 1000}k × {WRITTEN[1]} as text from {name}, CPU",
                    figure(found[key], "cpu"),
                    peers,
                    "≥ 10× gensim",
                    None,
                    {"gensim": 10},
                )
            )


def measure(report: Report) -> None:
    """Measure reading of both files, then writing."""
    context = report.context
    assert isinstance(context, TextContext)
    result = 4 * VEC[0] * VEC[1] / 1e6
    goals: dict[str, tuple[str, float | None]] = {
        "own": (f"≤ the result ({result:.0f} MB) + 200 MB", result + 200),
        "cpu": ("≥ 20× gensim", None),
        "rate": ("≥ 350 M", 350e6),
    }
    measure_reading(report, "`.vec` text, 1M × 300", context.made(VEC, ".vec"), goals, {"gensim": 20})
    measure_reading(report, "GloVe text, 400k × 100", context.made(GLOVE, ".txt"), {"cpu": ("≤ 1 s", 1.0)})
    measure_writing(report, context.made(WRITTEN, ".vec"))


def main() -> None:
    """Read the arguments, measure, save, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_arguments(parser)
    parser.add_argument("--small", action="store_true", help="files of a tenth")
    chosen = parser.parse_args()
    plain = make_context(chosen)
    held = {each.name: getattr(plain, each.name) for each in fields(plain)}
    report = Report(TextContext(**held, small=chosen.small), "text", "Text vectors")
    measure(report)
    path = report.save()
    print(table([row.cells(True) for row in report.rows]))
    note(f"figures in {path}")


if __name__ == "__main__":
    main()
