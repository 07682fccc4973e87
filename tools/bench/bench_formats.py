"""The 7.2 GB `.bin` to every other format: private memory and time, beside the rate of the disk in the same run.

Each conversion is a new process that writes, flushes, reads back and compares as `vecio convert` always does; the
source is in the page cache. Private memory is sampled from outside every 50 ms: USS less the clean pages of the files.
The rate is the bytes of the source that the format makes use of (word rows alone, or n-gram rows too) and of the file,
over the time; the disk's is that of writing and flushing 2 GB of zeros and reading them back. Formats whose numbers are
text are bound by digits: their rates are shown, not judged. The files are removed.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from common import Figure, Report, Row, Sampler, Session, note, run_topic, warm

#: format, name of the file, dtype, whether n-gram rows are written, whether the disk's rate is the goal.
TARGETS = (
    ("fasttext", "big.out.bin", "", True, True),
    ("finalfusion", "big.fifu", "", True, True),
    ("gensim", "big.kv", "", True, True),
    ("word2vec", "big.w2v", "", False, True),
    ("numpy", "big.npy", "", False, True),
    ("arrow", "big.arrow", "", False, True),
    ("parquet", "big.parquet", "", False, True),
    ("spacy", "big.spacy", "", False, True),
    ("model2vec", "big.model2vec", "", False, True),
    ("text", "big.vec", "", False, False),
)
MEMORY = 400  # MB


def disk_rate(folder: Path) -> float:
    """Return bytes a second of writing, flushing and reading back."""
    path, block, count = folder / "disk.tmp", bytes(1 << 24), 120
    began = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for _ in range(count):
            file.write(block)
        os.fsync(file.fileno())
    warm(path)
    seconds = time.perf_counter() - began
    path.unlink()
    return len(block) * count / seconds


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files of a folder and of those beside it with the same stem."""
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return (
        sum(p.stat().st_size for p in path.parent.glob(f"{path.stem}.*") if p.suffix not in (".bin",))
        if (path.suffix in (".npy", ".tsv"))
        else path.stat().st_size
    )


def remove(path: Path) -> None:
    """Remove what a conversion wrote."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    for beside in (path.with_suffix(".words.txt"), path.with_name("metadata.tsv")):
        beside.unlink(missing_ok=True)


def measure(report: Report) -> None:
    """Convert to each format in turn."""
    context = report.context
    source = context.file("big55.bin")
    folder = context.folder / "converted"
    folder.mkdir(exist_ok=True)
    for form, name, dtype, grams, judged in TARGETS:
        target = folder / name
        rate = disk_rate(folder)
        warm(source)
        note(f"converting {source.name} to {form}")
        with Session(context, "vecio") as session:
            report.saw([session])
            with Sampler(session.pid, context.folder) as watch:
                reply = session.call(
                    "convert", source=str(source), target=str(target), dtype=dtype or None, format=form
                )
        used = source.stat().st_size if grams else reply["words"] * reply["dim"] * 4
        speed = (used + size_of(target)) / reply["wall"] / 1e6
        what = f"`.bin` → {form}" + (f" {dtype}" if dtype else "")
        report.add(
            Row(
                f"{what}: private memory at most",
                Figure([watch.peak["own"]], "MB"),
                {},
                f"≤ {MEMORY} MB",
                MEMORY,
            )
        )
        half = rate / 2e6
        report.add(
            Row(
                f"{what}: {size_of(target) / 1e9:.2f} GB in {reply['wall']:.0f} s, MB/s",
                Figure([speed], "/s"),
                {"disk": Figure([rate / 1e6], "/s")},
                f"≥ {half:.0f} MB/s" if judged else "",
                half if judged else None,
            )
        )
        remove(target)


if __name__ == "__main__":
    run_topic("formats", "Any format", __doc__, measure)
