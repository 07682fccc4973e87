"""Run every benchmark, one after the other, and write the results beside this file (RESULTS.md).

    python tools/bench/make_peers.py                                        # once
    python tools/bench/make_big.py --dir bench-data                         # once, 14.5 GB
    python tools/bench/run_all.py --dir bench-data --data DATA

DATA holds models/fasttext/lid.176.ftz and classification/. The native files, gensim's own file and the plain matrix are
made in the same folder (21 GB more). What bench_compress.py prints (it wants a model of its own) is added where it is
saved as figures/compress.md. A full run takes about an hour and wants a machine with 24 GB of memory that
does nothing else. --only runs some topics; --write only writes the table from the figures that are there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import common

HERE = Path(__file__).resolve().parent
#: In this order: the first makes the native files that the others read.
TOPICS = (
    "convert",
    "formats",
    "text",
    "word2vec",
    "open",
    "memory",
    "embed",
    "encode",
    "nearest",
    "predict",
    "quantise",
    "cli",
)

INTRODUCTION = """\
# Results

What vecio takes beside the programs that do the same work. Made by `tools/bench/run_all.py`; every figure is of the
run and the machine named here. Times and sizes are medians with the least in brackets, rates medians with the greatest;
a ratio is how many times better vecio is, of medians of the same run, in which the programs took turns. MB are 10^6
bytes. Where vecio's column names no number of threads, it is one. How each figure is taken stands in the first lines
of the topic's script.
"""


def sizes(files: dict[str, Any]) -> str:
    """Return a sentence about the big files."""
    return (
        f"Big files: {files['words']:,} words ({files['mean_length']} letters on average, {files['not_ascii']:,} not "
        f"ASCII), {files['buckets']:,} buckets, {files['dim']} dimensions, {files['bytes'] / 1e9:.2f} GB each, "
        "n-grams 5–5 and 3–6."
    )


def row_of(held: dict[str, Any]) -> common.Row:
    """Return the row that was saved as JSON."""
    vecio = None if held["vecio"] is None else common.Figure(**held["vecio"])
    peers = {name: common.Figure(**figure) for name, figure in held["peers"].items()}
    return common.Row(**{**held, "vecio": vecio, "peers": peers})


def section(held: dict[str, Any]) -> str:
    """Return the section of one topic."""
    rows = [row_of(each).cells(held["full_size"]) for each in held["rows"]]
    about = f"Run {held['date']}, {held['seconds'] // 60} min, load of the machine before it {held['load_before']:.2f}."
    script = f"`tools/bench/bench_{held['topic']}.py`"
    parts = [f"## {held['title']}", f"{about} Script: {script}.", common.table(rows)]
    if held["remarks"]:
        parts.append("\n".join(f"- {remark}" for remark in held["remarks"]))
    return "\n\n".join(parts)


def summary(topics: list[dict[str, Any]]) -> str:
    """Return how many goals are met, and which are not."""
    verdicts = [
        (row.measure, row.verdict()) for held in topics for row in map(row_of, held["rows"]) if row.goal
    ]
    missed = [measure for measure, verdict in verdicts if verdict == "no"]
    unknown = [measure for measure, verdict in verdicts if verdict == "?"]
    met = len(verdicts) - len(missed) - len(unknown)
    text = f"Goals met: {met} of {len(verdicts)}."
    if missed:
        text += " Not met: " + "; ".join(missed) + "."
    if unknown:
        text += " A figure is missing for: " + "; ".join(unknown) + "."
    return text


def results(topics: list[dict[str, Any]], ladder: list[str]) -> str:
    """Return the whole of RESULTS.md; `ladder`: what bench_compress.py printed, if it ran."""
    machine, versions = topics[-1]["machine"], {}
    for held in topics:
        versions.update(held["versions"])
    family = f"family {machine.get('family', '?')}, model {machine.get('model', '?')}"
    lines = [
        f"Machine: {machine.get('processor', '?')} ({family}), {machine['cores']} cores, {machine.get('memory', '?')}, "
        f"{machine['system']}.",
        "Versions: "
        + ", ".join(f"{name} {version}" for name, version in sorted(versions.items(), key=str))
        + ".",
        sizes(topics[-1]["files"]),
    ]
    if all(held["full_size"] for held in topics):
        lines.append(summary(topics))
    else:
        lines.append("**The files are not of the full size: the goals are not judged.**")
    parts = [INTRODUCTION.rstrip("\n"), "\n\n".join(lines), *(section(held) for held in topics), *ladder]
    return "\n\n".join(parts) + "\n"


def main() -> int:
    """Run the topics and write the results; returns 1 where a topic failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    common.add_arguments(parser)
    parser.add_argument("--only", default=",".join(TOPICS), help="topics, separated by commas")
    parser.add_argument(
        "--write", action="store_true", help="measure nothing: write the table from the figures"
    )
    parser.add_argument("--results", type=Path, default=HERE / "RESULTS.md")
    chosen = parser.parse_args()
    context = common.context(chosen)
    passed = [argument for argument in sys.argv[1:] if argument != "--write"]
    for name in ("--only", "--results"):
        passed = without(passed, name)
    failed = []
    for topic in TOPICS:
        if topic in chosen.only.split(",") and not chosen.write:
            common.note(f"---- {topic}")
            if subprocess.run(
                [sys.executable, str(HERE / f"bench_{topic}.py"), *passed], check=False
            ).returncode:
                failed.append(topic)
    paths = [context.out / f"{topic}.json" for topic in TOPICS]
    topics = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]
    if topics:
        ladder = context.out / "compress.md"
        found = [ladder.read_text(encoding="utf-8").rstrip()] if ladder.exists() else []
        chosen.results.write_text(results(topics, found), encoding="utf-8")
        common.note(f"{chosen.results} written ({len(topics)} topics)")
    if failed:
        common.note(f"failed: {', '.join(failed)}")
    return 1 if failed or not topics else 0


def without(words: list[str], option: str) -> list[str]:
    """Return command-line words without an option and its value."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word == option:
            skip = True
        elif not word.startswith(option + "="):
            kept.append(word)
    return kept


if __name__ == "__main__":
    sys.exit(main())
