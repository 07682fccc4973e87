"""Sentence vectors: texts a second with a model2vec folder, the same texts and folder for all, in one thread and two.

The folder has BERT's 30,522 pieces, 256 dimensions and random rows; model2vec writes it. Texts: paragraphs of
Wikipedia and the sentences of the STS benchmark. "again": a model that has seen the texts, as a server that ran for a
while; "first": a model just opened (compiled code is loaded before the clock starts). One thread is judged by CPU
seconds, two by the clock. The largest difference to model2vec's vectors is printed below: it must be 0.
"""

from __future__ import annotations

import csv
import gzip
from itertools import islice
from pathlib import Path
from typing import Any

from common import Report, Row, Session, alternate, note, rate, run_topic, sessions

PEERS = ("model2vec", "sentence-transformers")
DIM = 256
#: Texts that are encoded, and others that go before.
COUNT, WARM_UP = 20_000, 20
GOAL = {"model2vec": 1.5}


def folder_of(report: Report, data: Path, folder: Path) -> Path:
    """Return the path of the model, made by model2vec if it is not there."""
    path = folder / "model"
    if not path.exists():
        pieces = data / "models" / "tokenizer" / "bert-base-uncased.vocab.txt"
        with Session(report.context, "model2vec") as model2vec:
            note(str(model2vec.call("make", pieces=str(pieces), target=str(path), dim=DIM)))
    return path


def texts_of(data: Path, folder: Path) -> dict[str, tuple[Path, int]]:
    """Write the texts, one a line; return the files and how many texts of each are encoded."""
    wiki, pairs = folder / "wiki.txt", folder / "stsb.txt"
    with gzip.open(data / "corpora" / "enwiki.cased.txt.gz", "rt", encoding="utf-8") as file:
        lines = list(islice((line for line in file if line.strip()), COUNT + WARM_UP))
    wiki.write_text("".join(lines), encoding="utf-8")
    sentences = []
    for name in ("dev", "test"):
        with (data / "eval" / "sts" / f"stsb-en-{name}.csv").open(encoding="utf-8", newline="") as file:
            sentences += [text.replace("\n", " ") for row in csv.reader(file) for text in row[:2]]
    pairs.write_text("".join(text + "\n" for text in sentences), encoding="utf-8")
    return {"paragraphs": (wiki, len(lines) - WARM_UP), "STS sentences": (pairs, len(sentences) - WARM_UP)}


def one_set(report: Report, label: str, model: Path, path: Path, count: int, threads: int) -> None:
    """Measure one set of texts with so many threads."""
    wanted: dict[str, tuple[str, Path | None, int]] = {peer: (peer, None, threads) for peer in PEERS}
    asked: dict[str, Any] = {"model": str(model), "path": str(path), "count": count, "before": WARM_UP}
    with sessions(report.context, {**wanted, "vecio": ("vecio", None, threads)}) as started:
        report.saw(started.values())
        if "vecio" in started:  # compiled code is loaded when it pays: have it loaded before the clock starts
            started["vecio"].call("load", path=str(model))
            started["vecio"].call("preload")
        again = alternate(started, report.context.rounds, "encode", fresh=False, **asked)
        first = alternate(started, report.context.rounds, "encode", fresh=True, **asked)
    clock = "cpu" if threads == 1 else "wall"
    unit = "texts/CPU-s" if threads == 1 else "texts/s, two threads"
    for name, replies in (("again", again), ("first", first)):
        theirs = {peer: rate(replies[peer], clock) for peer in PEERS if peer in replies}
        mine = rate(replies["vecio"], clock) if "vecio" in replies else None
        report.add(
            Row(f"encode, {count:,} {label}, {name}: {unit}", mine, theirs, "≥ 1.5× model2vec", None, GOAL)
        )
    if "vecio" in again and "model2vec" in again:
        pairs = zip(again["vecio"][0]["head"], again["model2vec"][0]["head"], strict=True)
        worst = max(abs(a - b) for ours, others in pairs for a, b in zip(ours, others, strict=True))
        report.remark(f"{label}, threads {threads}: largest difference to model2vec's vectors {worst:g}.")


def measure(report: Report) -> None:
    """Measure all of encoding."""
    data = report.context.data
    if data is None:
        raise SystemExit("--data is needed: a folder with models/tokenizer/, corpora/ and eval/sts/")
    folder = report.context.folder / "encode"
    folder.mkdir(parents=True, exist_ok=True)
    model = folder_of(report, data, folder)
    for label, (path, count) in texts_of(data, folder).items():
        for threads in (1, 2):
            one_set(report, label, model, path, count, threads)


if __name__ == "__main__":
    run_topic("encode", "Sentence vectors", __doc__, measure)
