"""Look-ups: unknown and known words, in batches and one by one, n-grams 5 to 5 and 3 to 6.

Batches go from a list of str to one float32 array; rates are words per CPU second of the whole process. All rounds use
the same words, one round before them is not counted (pages touched, kernels compiled); the first pass over a fresh
mapping stands in a row of its own. "One" is a loop over words one by one, CPU seconds a word. Peers: one thread, which
is all they have. vecio: one thread (VECIO_THREADS=1), and two in the rows that say so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common import Figure, Report, Row, Session, alternate, each, rate, run_topic, sessions, warm

BATCH = 100_000
KNOWN_BATCH = 50_000
SINGLE = 20_000
KERNELS = 50_000  # few words many times over: loads the kernels and touches few pages
Replies = dict[str, list[dict[str, Any]]]


def rates(replies: Replies, names: list[str], clock: str = "cpu") -> dict[str, Figure]:
    """Return the rates of those names that have replies."""
    return {name: rate(replies[name], clock) for name in names if name in replies}


def singles(replies: Replies, names: list[str]) -> dict[str, Figure]:
    """Return the CPU seconds a word of those names that have replies."""
    return {name: each(replies[name], "cpu") for name in names if name in replies}


def ours(context_files: dict[str, Path]) -> dict[str, tuple[str, Path | None, int]]:
    """Return vecio's sessions: one thread on each file, two threads on the `.bin` and on float16."""
    wanted: dict[str, tuple[str, Path | None, int]] = {}
    for name, path in context_files.items():
        wanted[name] = ("vecio", path, 1)
        if name in (".bin", "float16"):
            wanted[f"{name}, 2 threads"] = ("vecio", path, 2)
    return wanted


def first_pass(started: dict[str, Session], path: str) -> Replies:
    """Embed the words of the rounds for the first time in these processes, with the kernels loaded before."""
    mine: dict[str, Session] = {name: started[name] for name in (".bin", "float16") if name in started}
    for session in mine.values():
        session.call("kernels", path=path, count=KERNELS)
    return alternate(mine, 1, "batch", warm_up=False, path=path, start=0, count=BATCH)


def unknown_words(report: Report, ngrams: str) -> None:
    """Measure unknown words, n-grams `ngrams`, and (5 to 5) known words of the `.bin` readers."""
    context = report.context
    raw = context.file(f"big{ngrams}.bin")
    files = {kind: context.native(ngrams, kind) for kind in ("float16", "float32")}
    unknown, known = str(context.file("unknown.txt")), str(context.file("known.txt"))
    batch: Replies = {}
    given: Replies = {}
    single: Replies = {}
    known_batch: Replies = {}
    known_single: Replies = {}
    fresh: Replies = {}
    for peer in ("fasttext", "finalfusion", "gensim"):
        # float32 stands where there is most room for its pages: beside the peer that needs the least memory.
        kinds = ("float16", "float32") if peer == "finalfusion" else ("float16",)
        mine = ours({".bin": raw, **{kind: files[kind] for kind in kinds}})
        with sessions(context, {peer: (peer, raw, 1), **mine}) as started:
            for path in (*(files[kind] for kind in kinds), raw):
                warm(path)
            report.saw(started.values())
            if peer == "fasttext":
                fresh = first_pass(started, unknown)
            merge(batch, alternate(started, context.rounds, "batch", path=unknown, start=0, count=BATCH))
            one_thread = {name: session for name, session in started.items() if "2 threads" not in name}
            merge(
                single, alternate(one_thread, context.rounds, "single", path=unknown, start=0, count=SINGLE)
            )
            if peer == "fasttext":
                asked: dict[str, Any] = {"path": unknown, "start": 0, "count": BATCH, "given": True}
                merge(given, alternate(started, context.rounds, "batch", **asked))
            if ngrams == "55":
                asked = {"path": known, "start": 0}
                merge(known_batch, alternate(one_thread, context.rounds, "batch", count=KNOWN_BATCH, **asked))
                merge(
                    known_single, alternate(one_thread, context.rounds, "single", count=KNOWN_BATCH, **asked)
                )
    unknown_rows(report, ngrams, batch, single, given, fresh)
    if ngrams == "55":
        known_words(report, files["float16"], known_batch, known_single)


def merge(into: Replies, more: Replies) -> None:
    """Add replies to those there; vecio's rounds beside each peer are pooled."""
    for name, replies in more.items():
        into.setdefault(name, []).extend(replies)


def unknown_rows(
    report: Report, ngrams: str, batch: Replies, single: Replies, given: Replies, fresh: Replies
) -> None:
    """Write the rows of unknown words."""
    short = {"55": "5–5", "36": "3–6"}[ngrams]
    names = ["fasttext", "finalfusion", "gensim"]
    peers = rates(batch, names)
    goals: dict[str, tuple[str, dict[str, float], dict[str, float]]] = {
        "55.bin": ("≥ 5× fasttext; 7× (issue: ≥ 4×)", {"fasttext": 5}, {"fasttext": 7}),
        "55float16": ("≥ 7× fasttext; 10× (issue: ≥ 6×)", {"fasttext": 7}, {"fasttext": 10}),
        "36.bin": (
            "≥ 4.5× fasttext, ≥ 8× gensim; 6× (issue: ≥ 3×)",
            {"fasttext": 4.5, "gensim": 8},
            {"fasttext": 6},
        ),
        "36float16": (
            "≥ 6× fasttext, ≥ 12× gensim; 9×, 15× (issue: ≥ 4.5×)",
            {"fasttext": 6, "gensim": 12},
            {"fasttext": 9, "gensim": 15},
        ),
    }
    for name in (".bin", "float16", "float32"):
        goal, times, stretch = goals.get(ngrams + name, ("", {}, {}))
        label = f"unknown words, {short}, batch of {BATCH:,}, one thread, {name}: words/CPU-s"
        report.add(Row(label, rates(batch, [name]).get(name), peers, goal, None, times, None, stretch))
    for name in (".bin", "float16"):
        label = f"the same, {name}, into a given array (`out=`)"
        report.add(Row(label, rates(given, [name]).get(name), rates(given, names)))
        label = f"the same, {name}, first pass over a fresh mapping"
        report.add(Row(label, rates(fresh, [name]).get(name), peers))
        both = f"{name}, 2 threads"
        if name in batch and both in batch:
            one = {"vecio, 1 thread": rate(batch[name], "wall")}
            report.add(
                Row(
                    f"the same, {name}, two threads: words per wall second",
                    rate(batch[both], "wall"),
                    one,
                    "≥ 1.8× one thread",
                    None,
                    {"vecio, 1 thread": 1.8},
                )
            )
    least, more = (1.7, 2.0) if ngrams == "55" else (2.5, 3.0)
    goal = f"≥ {least}× fasttext; {more:g}× (issue: not slower)"
    for name in (".bin", "float16"):
        label = f"one unknown word, {short}, warm, {name}"
        mine = singles(single, [name]).get(name)
        report.add(
            Row(
                label, mine, singles(single, names), goal, None, {"fasttext": least}, None, {"fasttext": more}
            )
        )


def known_words(report: Report, native: Path, known_batch: Replies, known_single: Replies) -> None:
    """Measure gensim's own file beside the native one and write the rows of known words."""
    context = report.context
    known = str(context.file("known.txt"))
    if "gensim-keyed" not in context.skip and context.peers.exists():
        wanted: dict[str, tuple[str, Path | None, int]] = {
            "gensim KeyedVectors": ("gensim-keyed", context.keyed(), 1),
            "float16": ("vecio", native, 1),
        }
        with sessions(context, wanted) as started:
            asked: dict[str, Any] = {"path": known, "start": 0, "count": KNOWN_BATCH}
            merge(known_batch, alternate(started, context.rounds, "batch", **asked))
            merge(known_single, alternate(started, context.rounds, "single", **asked))
    names = ["fasttext", "finalfusion", "gensim", "gensim KeyedVectors"]
    for name in ("float16", "float32", ".bin"):
        judged = name == "float16"
        report.add(
            Row(
                f"known words, batch of {KNOWN_BATCH:,}, one thread, {name}: words/CPU-s",
                rates(known_batch, [name]).get(name),
                rates(known_batch, names),
                "≥ 1.5 M/s, ≥ 4× gensim, ≥ 20× fasttext; 6×, 30×" if judged else "",
                1.5e6 if judged else None,
                {"gensim KeyedVectors": 4, "fasttext": 20} if judged else {},
                None,
                {"gensim KeyedVectors": 6, "fasttext": 30},
            )
        )
    for name in ("float16", "float32", ".bin"):
        judged = name == "float16"
        report.add(
            Row(
                f"one known word, warm, {name}",
                singles(known_single, [name]).get(name),
                singles(known_single, names),
                "≤ 1.5 µs and ≥ 2.5× fasttext; 1 µs (issue: ≤ 3 µs)" if judged else "",
                1.5e-6 if judged else None,
                {"fasttext": 2.5} if judged else {},
                1e-6,
            )
        )


def measure(report: Report) -> None:
    """Measure all look-ups."""
    unknown_words(report, "55")
    unknown_words(report, "36")


if __name__ == "__main__":
    run_topic("embed", "Look-ups", __doc__, measure)
