"""Prediction: the best label of a text, one by one and in a batch, for lid.176.ftz and two dense models.

The dense models are trained once by the real fastText (100 dimensions, word bigrams, softmax) on texts of the data
folder: ag_news-small (4 labels) and cooking (many labels). Rates are texts per CPU second. The share of texts for which
vecio's best label is fastText's is printed below the table: it must be 1.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

from common import Report, Row, Session, alternate, each, note, rate, run_topic, sessions

PEERS = ("fasttext", "fasttext-predict")
LABEL = "__label__"
TRAINING: dict[str, Any] = {"dim": 100, "wordNgrams": 2, "bucket": 200_000, "loss": "softmax", "thread": 1}
#: name: training file, test file, further options
DENSE: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ag_news": ("ag_news-small.train.txt.gz", "ag_news-small.test.txt", {"epoch": 5, "lr": 0.25}),
    "cooking": ("cooking.train.txt.gz", "cooking.valid.txt", {"epoch": 10, "lr": 0.25}),
}


def plain_texts(source: Path, target: Path) -> Path:
    """Write the texts of a labelled file without their labels; returns `target`."""
    lines = source.read_text(encoding="utf-8").splitlines()
    texts = [" ".join(word for word in line.split() if not word.startswith(LABEL)) for line in lines]
    target.write_text("".join(text + "\n" for text in texts if text), encoding="utf-8")
    return target


def trained(report: Report, name: str, data: Path, folder: Path) -> Path:
    """Return the path of a dense model, trained if it is not there."""
    path = folder / f"{name}.bin"
    if not path.exists():
        source, _, options = DENSE[name]
        text = folder / f"{name}.train.txt"
        text.write_bytes(gzip.decompress((data / source).read_bytes()))
        with Session(report.context, "fasttext") as fasttext:
            note(f"training {name}")
            note(
                str(fasttext.call("train", path=str(text), target=str(path), options={**TRAINING, **options}))
            )
    return path


def one_model(report: Report, label: str, model: Path, texts: Path) -> None:
    """Measure one model on the texts of a file."""
    with texts.open(encoding="utf-8") as file:
        count = sum(1 for _ in file)
    wanted: dict[str, tuple[str, Path | None, int]] = {peer: (peer, model, 1) for peer in PEERS}
    with sessions(report.context, {**wanted, "vecio": ("vecio", model, 1)}) as started:
        report.saw(started.values())
        asked: dict[str, Any] = {"path": str(texts), "count": count}
        single = alternate(started, report.context.rounds, "predict", batch=False, **asked)
        batch = alternate(started, report.context.rounds, "predict", batch=True, repeat=5, **asked)
        answers = {
            name: session.call("labels", **asked)["labels"]
            for name, session in started.items()
            if name in batch
        }
    theirs = {name: each(single[name], "cpu") for name in PEERS if name in single}
    mine = each(single["vecio"], "cpu") if "vecio" in single else None
    not_slower = dict.fromkeys(PEERS, 1.0)
    report.add(Row(f"predict, {label}: one text, CPU", mine, theirs, "not slower", None, not_slower))
    theirs = {name: rate(batch[name]) for name in PEERS if name in batch}
    faster = rate(batch["vecio"]) if "vecio" in batch else None
    goal = dict.fromkeys(PEERS, 3.0)
    report.add(Row(f"predict, {label}: list of {count:,}, texts/CPU-s", faster, theirs, "≥ 3×", None, goal))
    if "vecio" in answers and "fasttext" in answers:
        same = sum(a == b for a, b in zip(answers["vecio"], answers["fasttext"], strict=True)) / count
        report.remark(f"{label}: the best label is fastText's for {same:.2%} of {count:,} texts.")


def measure(report: Report) -> None:
    """Measure all of prediction."""
    data = report.context.data
    if data is None:
        raise SystemExit("--data is needed: a folder with models/fasttext/lid.176.ftz and classification/")
    folder = report.context.folder / "predict"
    folder.mkdir(exist_ok=True)
    texts = {
        name: plain_texts(data / "classification" / test, folder / f"{name}.test.txt")
        for name, (_, test, _) in DENSE.items()
    }
    one_model(report, "lid.176.ftz", data / "models" / "fasttext" / "lid.176.ftz", texts["ag_news"])
    for name in DENSE:
        model = trained(report, name, data / "classification", folder)
        one_model(report, f"dense, {name}", model, texts[name])


if __name__ == "__main__":
    run_topic("predict", "Prediction", __doc__, measure)
