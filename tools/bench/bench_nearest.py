"""Neighbours: the nearest 10 words over the whole vocabulary, one query, 64 at once, and by word from opening on.

Queries are vectors of unknown words, the same for all. Every program has one thread. The matrix peers (numpy, faiss,
usearch) hold unit rows in memory of their own, made before the clock starts; vecio reads its file's pages. Recall is
against numpy's float32 answer. fasttext and gensim are asked by word, as their interfaces want it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common import (
    Figure,
    PeerError,
    Report,
    Row,
    Sampler,
    Session,
    alternate,
    note,
    run_topic,
    sessions,
    warm,
)
from peers import read_words

ONE = 10  # single queries a round
BLOCK = 64
RECALL = 512  # queries for the recall
MATRIX_PEERS = ("numpy", "faiss", "usearch-f16", "usearch-i8", "faiss-f16", "numpy-f16")
SLOW = ("faiss-f16", "numpy-f16")  # half a second a query and more
Rounds = dict[str, list[dict[str, Any]]]


def query_times(replies: Rounds, clock: str = "wall") -> dict[str, Figure]:
    """Return the seconds a query of all single queries."""
    return {name: Figure([t for reply in got for t in reply[clock]]) for name, got in replies.items()}


def query_rates(replies: Rounds, size: int) -> dict[str, Figure]:
    """Return the queries per CPU second of blocks of `size`."""
    return {
        name: Figure([size / t for reply in got for t in reply["cpu"]], "/s") for name, got in replies.items()
    }


def recall(found: list[list[int]], exact: list[list[int]]) -> float:
    """Return the share of the exact neighbours that were found."""
    hits = sum(len(set(a) & set(b)) for a, b in zip(found, exact, strict=True))
    return hits / sum(map(len, exact))


def our_files(report: Report) -> dict[str, Path]:
    """Return vecio's files by name."""
    context = report.context
    natives = {kind: context.native("55", kind) for kind in ("float16", "int8", "float32")}
    return {**natives, ".bin": context.file("big55.bin")}


def by_vector(report: Report) -> tuple[Rounds, Rounds, dict[str, float]]:
    """Ask every program by vector; return single queries, blocks and recalls. One peer at a time is in memory."""
    context, files = report.context, our_files(report)
    queries, vectors = str(context.exported("queries.npy")), context.exported("vectors.npy")
    one: Rounds = {}
    block: Rounds = {}
    rows: dict[str, list[list[int]]] = {}
    for peer in MATRIX_PEERS:
        # Beside numpy stand all native files; beside the others the two that are compared with them.
        names = ("float16", "int8", "float32") if peer == "numpy" else ("float16", "int8")
        chosen = {name: files[name] for name in names}
        mine: dict[str, tuple[str, Path | None, int]] = {
            name: ("vecio", path, 1) for name, path in chosen.items()
        }
        with sessions(context, {peer: (peer, vectors, 1), **mine}) as started:
            for path in chosen.values():
                warm(path)
            report.saw(started.values())
            rounds, count = (2, 2) if peer in SLOW else (context.rounds, ONE)
            one_round: dict[str, Any] = {"path": queries, "start": 0, "count": count, "block": 1}
            merge(one, alternate(started, rounds, "nearest", **one_round))
            if peer not in SLOW:
                blocks: dict[str, Any] = {"path": queries, "start": 0, "count": BLOCK, "block": BLOCK}
                merge(block, alternate(started, max(2, rounds // 2), "nearest", **blocks))
            if peer == "numpy":
                asked = {"path": queries, "start": 0, "count": RECALL, "block": BLOCK}
                rows = {name: session.call("nearest", **asked)["rows"] for name, session in started.items()}
            elif peer in started:
                asked = {"path": queries, "start": 0, "count": 16 if peer in SLOW else BLOCK, "block": BLOCK}
                rows[peer] = started[peer].call("nearest", **asked)["rows"]
    with sessions(
        context, {".bin": ("vecio", files[".bin"], 1)}
    ) as started:  # computes every vector: seconds
        few: dict[str, Any] = {"path": queries, "start": 0}
        merge(one, alternate(started, 1, "nearest", count=3, block=1, **few))
        merge(block, alternate(started, 1, "nearest", warm_up=False, count=BLOCK, block=BLOCK, **few))
        rows.update({name: replies[0]["rows"] for name, replies in block.items() if name == ".bin"})
    exact = rows.get("numpy", [])
    recalls = {name: recall(found, exact[: len(found)]) for name, found in rows.items() if exact}
    return one, block, recalls


def merge(into: Rounds, more: Rounds) -> None:
    """Add replies to those there."""
    for name, replies in more.items():
        into.setdefault(name, []).extend(replies)


def block_memory(report: Report, kind: str) -> Figure | None:
    """Return the most private memory (less the file's clean pages) while 64 queries are answered."""
    context, path = report.context, report.context.native("55", kind)
    queries = str(context.exported("queries.npy"))
    try:
        with Session(context, "vecio") as session:
            session.call("load", path=str(path))
            with Sampler(session.pid, path, 0.02) as watch:
                session.call("nearest", path=queries, start=0, count=4 * BLOCK, block=BLOCK)
            return Figure([watch.peak["own"]], "MB")
    except PeerError as error:
        note(f"left out: {error}")
        return None


def by_word(report: Report) -> None:
    """Ask by word: the first answer after opening, then the next ones."""
    context, files = report.context, our_files(report)
    words = read_words(str(context.file("known.txt")), 0, 1 + context.rounds)
    first: dict[str, list[float]] = {}
    following: dict[str, list[float]] = {}
    raw = context.file("big55.bin")
    for peer in ("fasttext", "gensim"):
        wanted: dict[str, tuple[str, Path | None, int]] = {peer: (peer, raw, 1)}
        for _ in range(2 if peer == "fasttext" else 1):
            for path in files.values():
                warm(path)
            if not ask_by_word(report, wanted, first, following, words):
                break
            for name, path in files.items():
                ask_by_word(report, {name: ("vecio", path, 1)}, first, following, words)
    peers: dict[str, Figure] = {name: Figure(first[name]) for name in ("fasttext", "gensim") if name in first}
    later: dict[str, Figure] = {
        name: Figure(following[name]) for name in ("fasttext", "gensim") if name in following
    }
    next_goals = {"float16": ("≥ 6× fasttext; 9×", 6.0, 9.0), "int8": ("≥ 10× fasttext; 18×", 10.0, 18.0)}
    for name in files:
        judged = name in next_goals
        report.add(
            Row(
                f"`most_similar` of a word, the first after opening, one thread, {name}",
                Figure(first[name]) if name in first else None,
                peers,
                "≥ 60× fasttext" if judged else "",
                None,
                {"fasttext": 60} if judged else {},
            )
        )
        goal, least, stretch = next_goals.get(name, ("", 0.0, 0.0))
        report.add(
            Row(
                f"the following ones, {name}",
                Figure(following[name]) if name in following else None,
                later,
                goal,
                None,
                {"fasttext": least} if goal else {},
                None,
                {"fasttext": stretch} if goal else {},
            )
        )


def ask_by_word(
    report: Report,
    wanted: dict[str, tuple[str, Path | None, int]],
    first: dict[str, list[float]],
    following: dict[str, list[float]],
    words: list[str],
) -> bool:
    """Open one program and ask for all `words`; returns whether it answered."""
    with sessions(report.context, wanted) as started:
        report.saw(started.values())
        for name, session in started.items():
            try:
                walls = session.call("neighbours", words=words)["wall"]
            except PeerError as error:
                note(f"left out: {error}")
                return False
            first.setdefault(name, []).append(walls[0])
            following.setdefault(name, []).extend(walls[1:])
        return bool(started)


def vector_rows(report: Report, one: Rounds, block: Rounds, recalls: dict[str, float]) -> None:
    """Write the rows of the queries by vector."""
    single, blocks = query_times(one), query_rates(block, BLOCK)
    peers = {name: single[name] for name in MATRIX_PEERS if name in single}
    goals: dict[str, tuple[str, float | None, dict[str, float], dict[str, float]]] = {
        "float16": ("≤ 50 ms", 0.05, {}, {}),
        "int8": (
            "≤ 35 ms, ≥ 3× faiss, ≥ 3.5× numpy, ≥ 6× usearch f16; 4×, 5×, 8×",
            0.035,
            {"faiss": 3, "numpy": 3.5, "usearch-f16": 6},
            {"faiss": 4, "numpy": 5, "usearch-f16": 8},
        ),
    }
    for name in ("float16", "int8", "float32", ".bin"):
        goal, limit, times, stretch = goals.get(name, ("", None, {}, {}))
        label = f"nearest 10 of one query, one thread, {name}"
        report.add(Row(label, single.get(name), peers, goal, limit, times, None, stretch))
    peers = {name: blocks[name] for name in MATRIX_PEERS if name in blocks}
    for name in ("float16", "int8", "float32", ".bin"):
        judged = name == "float16"
        report.add(
            Row(
                f"{BLOCK} queries at once, one thread, {name}: queries/CPU-s",
                blocks.get(name),
                peers,
                "≥ 80/s, ≥ 1.5× numpy, ≥ 8× faiss, ≥ 5× usearch i8; 2×, 10×, 6×" if judged else "",
                80.0 if judged else None,
                {"numpy": 1.5, "faiss": 8, "usearch-i8": 5} if judged else {},
                None,
                {"numpy": 2, "faiss": 10, "usearch-i8": 6},
            )
        )
    for name, limit in (("float16", None), ("int8", 0.98), (".bin", None)):
        if name in recalls:
            shown = {each: Figure([recalls[each]], "") for each in MATRIX_PEERS if each in recalls}
            goal = "≥ 0.98 (1.0 after re-ranking)" if limit else ""
            label = f"recall@10 against numpy float32, {name}"
            report.add(Row(label, Figure([recalls[name]], ""), shown, goal, limit, {}, 0.9995))


def measure(report: Report) -> None:
    """Measure all of the search."""
    vector_rows(report, *by_vector(report))
    label = f"private memory at most while {BLOCK} queries at once are answered, float16"
    report.add(Row(label, block_memory(report, "float16"), {}, "≤ 200 MB", 200))
    by_word(report)


if __name__ == "__main__":
    run_topic("nearest", "Neighbours", __doc__, measure)
