"""Quantised classifiers: the `.ftz` that vecio writes beside the one of the program's own `quantize`.

Two small models (16 dimensions, word bigrams, 200,000 buckets, softmax) are trained once by the real fastText on texts
of the data folder, then quantised by both with the same options (without retraining), each in one thread. Compared are
the time, the size, and the precision at 1 on the test texts; a remark says whether both files are the same bytes.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

from common import Figure, Report, Row, Session, note, run_topic

PEER = "fasttext"
TRAINING: dict[str, Any] = {"dim": 16, "wordNgrams": 2, "bucket": 200_000, "loss": "softmax", "thread": 1}
#: name: training file, test file, further options of training, and the ways to quantise
MODELS: dict[str, tuple[str, str, dict[str, Any], list[dict[str, Any]]]] = {
    "ag_news": (
        "ag_news-small.train.txt.gz",
        "ag_news-small.test.txt",
        {"epoch": 5, "lr": 0.25},
        [{}, {"qnorm": True}, {"qnorm": True, "cutoff": 20_000}],
    ),
    "cooking": (
        "cooking.train.txt.gz",
        "cooking.valid.txt",
        {"epoch": 10, "lr": 0.25},
        [{"qnorm": True}, {"qnorm": True, "qout": True, "cutoff": 20_000}],
    ),
}
#: How far apart the precisions may be: 0.2 points.
CLOSE = 0.002


def trained(report: Report, name: str, data: Path, folder: Path) -> Path:
    """Return the path of a dense model, trained if it is not there."""
    path = folder / f"{name}.bin"
    if not path.exists():
        source, _, options, _ = MODELS[name]
        text = folder / f"{name}.train.txt"
        text.write_bytes(gzip.decompress((data / source).read_bytes()))
        with Session(report.context, PEER) as session:
            note(f"training {name}")
            note(
                str(session.call("train", path=str(text), target=str(path), options={**TRAINING, **options}))
            )
    return path


def one_way(report: Report, name: str, model: Path, test: Path, options: dict[str, Any]) -> None:
    """Quantise a model in one way with both programs."""
    said = (
        ", ".join(f"{key} {value}" if value is not True else key for key, value in options.items())
        or "defaults"
    )
    label = f"{name}, {said}"
    note(f"quantising {label}")
    files, spent, precision = {}, {}, {}
    for subject in (PEER, "vecio"):
        files[subject] = model.with_name(f"{model.stem}.{subject}.ftz")
        with Session(report.context, subject) as session:
            report.saw([session])
            asked = {"source": str(model), "target": str(files[subject]), "options": options}
            spent[subject] = session.call("quantise", **asked)["wall"]
    with Session(report.context, "vecio") as judge:
        for subject, path in files.items():
            judge.call("load", path=str(path))
            precision[subject] = judge.call("precision", path=str(test))["precision"]
    mine, theirs = Figure([spent["vecio"]]), {PEER: Figure([spent[PEER]])}
    report.add(Row(f"quantise {label}: wall", mine, theirs, "not slower", None, {PEER: 1.0}))
    sizes = {subject: Figure([path.stat().st_size / 1e6], "MB") for subject, path in files.items()}
    report.add(Row(f"the same: size, {label}", sizes["vecio"], {PEER: sizes[PEER]}, "the same"))
    least = precision[PEER] - CLOSE
    found = Figure([precision["vecio"]], "")
    report.add(
        Row(f"the same: P@1, {label}", found, {PEER: Figure([precision[PEER]], "")}, f"≥ {least:.4f}", least)
    )
    same = files["vecio"].read_bytes() == files[PEER].read_bytes()
    report.remark(f"{label}: the two files are {'the same bytes' if same else 'not the same bytes'}.")


def measure(report: Report) -> None:
    """Measure all ways on all models."""
    if report.context.data is None:
        raise SystemExit("--data is needed: a folder with classification/")
    data = report.context.data / "classification"
    folder = report.context.folder / "quantise"
    folder.mkdir(exist_ok=True)
    for name, (_, test, _, ways) in MODELS.items():
        model = trained(report, name, data, folder)
        for options in ways:
            one_way(report, name, model, data / test, options)


if __name__ == "__main__":
    run_topic("quantise", "Quantised classifiers", __doc__, measure)
