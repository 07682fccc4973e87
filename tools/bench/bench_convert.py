"""Conversion of the `.bin` to native files: time, private memory, size, and what rounding costs in quality.

Private memory is sampled from outside every 50 ms: USS less the clean pages of the source file. The cosines compare the
vector of every word with the `.bin`'s; overlap and recall compare the nearest 10 of 512 unknown words with those
found in the float32 file. The files stay beside the big files and serve the other benchmarks.
"""

from __future__ import annotations

from typing import Any

from bench_nearest import recall
from common import Context, Figure, PeerError, Report, Row, Sampler, Session, note, run_topic, warm

QUERIES = 512


def convert(report: Report, ngrams: str, dtype: str) -> dict[str, Any]:
    """Convert one file in a new process; returns its times, peak of private memory and size in MB."""
    context = report.context
    source = context.file(f"big{ngrams}.bin")
    target = context.folder / f"big{ngrams}.{dtype}.safetensors"
    warm(source)
    note(f"converting {source.name} to {dtype}")
    with Session(context, "vecio") as session:
        report.saw([session])
        with Sampler(session.pid, source) as watch:
            reply = session.call("convert", source=str(source), target=str(target), dtype=dtype)
    return {**reply, "own": watch.peak["own"], "size": target.stat().st_size / 1e6}


def conversions(report: Report) -> None:
    """Convert to every dtype; float16, which has the goal, twice."""
    for dtype, times in (("float16", 2), ("float32", 1), ("int8", 1)):
        replies = [convert(report, "55", dtype) for _ in range(times)]
        judged = dtype == "float16"
        wall = Figure([reply["wall"] for reply in replies])
        report.add(
            Row(
                f"`.bin` → native {dtype}, wall", wall, {}, "≤ 60 s" if judged else "", 60 if judged else None
            )
        )
        report.add(Row(f"the same, CPU seconds, {dtype}", Figure([reply["cpu"] for reply in replies])))
        own = Figure([reply["own"] for reply in replies], "MB")
        goal = "≤ 300 MB" if judged else ""
        report.add(Row(f"the same, private memory at most, {dtype}", own, {}, goal, 300 if judged else None))
        size = Figure([reply["size"] for reply in replies], "MB")
        goal = "≤ 2.6 GB" if judged else ""
        report.add(Row(f"the same, size of the file, {dtype}", size, {}, goal, 2600 if judged else None))
    for dtype in ("float16", "float32"):  # the other benchmarks want them as they are now
        convert(report, "36", dtype)


def found_rows(context: Context, dtype: str) -> list[list[int]]:
    """Return the rows of the nearest 10 of the queries in a native file."""
    with Session(context, "vecio") as session:
        session.call("load", path=str(context.native("55", dtype)))
        asked = {"path": str(context.exported("queries.npy")), "start": 0, "count": QUERIES, "block": 64}
        rows: list[list[int]] = session.call("nearest", **asked)["rows"]
        return rows


def quality(report: Report) -> None:
    """Compare float16 and int8 with float32."""
    context = report.context
    exact = found_rows(context, "float32")
    for dtype, least, overlap in (("float16", 0.99999, 0.99), ("int8", None, 0.98)):
        with Session(context, "vecio") as session:
            session.call("load", path=str(context.native("55", dtype)))
            reply = session.call("cosines", vectors=str(context.exported("vectors.npy")))
        report.add(
            Row(
                f"{dtype} against float32: least cosine over all {reply['count']:,} words",
                Figure([reply["least"]], ""),
                {},
                f"≥ {least}" if least else "",
                least,
            )
        )
        name = "top-10 overlap" if dtype == "float16" else "recall@10"
        share = recall(found_rows(context, dtype), exact)
        report.add(Row(f"{dtype} against float32: {name}", Figure([share], ""), {}, f"≥ {overlap}", overlap))


def measure(report: Report) -> None:
    """Measure all of conversion, then its quality."""
    conversions(report)
    try:
        quality(report)
    except PeerError as error:
        note(f"left out: {error}")


if __name__ == "__main__":
    run_topic("convert", "Conversion", __doc__, measure)
