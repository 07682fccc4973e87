"""The command `vecio demo`: word vectors from nothing but the running Python, in under a minute.

It trains a small skip-gram with sub-words on the documentation inside the standard library, saves it, converts it to
float16, opens that file mapped, embeds words that the text never held, and draws a map. `run` does the work and returns
a report; `command` prints it. What it is not: a model for any other use.
"""

from __future__ import annotations

import errno
import json as json_module
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import vecio

    from .corpus import Corpus
    from .progress import ProgressLine
    from .sgns import SgnsConfig, SgnsModel

# Derived, compound and misspelt words that the library's text is unlikely to hold; those that it does hold are passed
# over when the demo runs.
UNKNOWN_WORDS = (
    *(
        "dictionnary",
        "timezoneless",
        "reconnects",
        "unserializable",
        "mutlithreaded",
        "undecodable",
        "recompiling",
    ),
    *("hexadecimals", "coroutining", "decompressible", "asynchronicity", "recursiveness", "unpicklability"),
    *("metaclassing", "webserver", "contravariance", "widgetry", "deserialising", "socketlike", "cookielike"),
)
_SHOWN_UNKNOWN = 10
_NEIGHBOURS = 5
_PROBE_SECONDS = 60


@dataclass
class Report:
    """Everything the demo found, in the units that the names say; `opening` is empty where it could not be measured."""

    files: dict[str, str] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    text: dict[str, int] = field(default_factory=dict)
    training: dict[str, float] = field(default_factory=dict)
    opening: dict[str, float] = field(default_factory=dict)
    neighbours: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    seconds: float = 0.0


def command(
    out: Annotated[Path, typer.Option(help="Folder for the files; made if it is missing.")] = Path(
        "vecio-demo"
    ),
    quick: Annotated[
        bool, typer.Option("--quick", help="Part of the text, a small model: some seconds.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Another seed trains another model.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="More than one: faster, no longer reproducible.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Train word vectors on the text inside this Python, embed unknown words, draw a map: no file, no network."""
    report = run(out, quick=quick, seed=seed, threads=threads)
    sys.stdout.write(
        json_module.dumps(asdict(report), indent=2, ensure_ascii=False) if json else describe(report)
    )
    sys.stdout.write("\n")


def run(out: str | os.PathLike[str], *, quick: bool = False, seed: int = 1, threads: int = 1) -> Report:
    """Do the whole demo in the folder `out`, with progress on standard error; return what was found.

    Equal seeds give equal files on one machine and Python, with one thread. OSError: the folder cannot be written.
    """
    from .progress import ProgressLine

    began = time.perf_counter()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):  # said now, not after the training
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    report = Report(files={name: str(folder / file) for name, file in _FILES.items()})
    with ProgressLine() as line:
        line.note("reading the documentation inside Python ...")
        corpus, unknown = _read(report, quick, seed)
        line.note("compiling the training step, or loading it from the cache ...")
        model = _train(report, corpus, config(quick, seed, threads), line)
        line.note("saving and converting (the first time compiles kernels) ...")
        embeddings = _save(report, model)
        with embeddings:
            unknown = [word for word in unknown if embeddings[word].any()][:_SHOWN_UNKNOWN]
            line.note("asking for neighbours ...")
            _ask(report, embeddings, unknown)
            line.note("drawing the map ...")
            _draw(report, embeddings, unknown, 80 if quick else 350)
        line.note("opening the file in a new process ...")
        report.opening = _probe(report.files["float16"], str(corpus.words[0]), (unknown or ["unknown"])[0])
    report.bytes = {name: os.path.getsize(path) for name, path in report.files.items()}
    report.seconds = time.perf_counter() - began
    return report


_FILES = {"float32": "words.safetensors", "float16": "words-float16.safetensors", "map": "map.svg"}


def config(quick: bool, seed: int, threads: int) -> SgnsConfig:
    """Return the settings of the demo's training."""
    from .sgns import SgnsConfig

    if quick:
        return SgnsConfig(dim=32, epochs=8, bucket=10_000, sample=3e-4, seed=seed, threads=threads)
    return SgnsConfig(dim=80, epochs=12, bucket=100_000, sample=3e-4, seed=seed, threads=threads)


def _read(report: Report, quick: bool, seed: int) -> tuple[Corpus, list[str]]:
    """Collect and encode the text; return it and those of UNKNOWN_WORDS that it does not hold, however rarely."""
    from . import corpus, stdlib_text

    began = time.perf_counter()
    text = stdlib_text.collect(max_files=60) if quick else stdlib_text.collect()
    passages = corpus.shuffled([corpus.tokenise(passage) for passage in text.passages], seed)
    encoded = corpus.encode(passages, min_count=3)
    held = {word for passage in passages for word in passage}
    report.text = {
        "source_files": text.files,
        "source_bytes": text.source_bytes,
        "passages": len(passages),
        "tokens": encoded.tokens,
        "types": encoded.types,
        "vocabulary": len(encoded.words),
        "milliseconds": round(1000 * (time.perf_counter() - began)),
    }
    return encoded, [word for word in UNKNOWN_WORDS if word not in held]


def _train(report: Report, corpus: Corpus, settings: SgnsConfig, line: ProgressLine) -> SgnsModel:
    from . import sgns

    began = time.perf_counter()
    model = sgns.train(corpus, settings, progress=line)
    report.training = {
        "dim": settings.dim,
        "epochs": settings.epochs,
        "ngram_rows": settings.bucket,
        "tokens": settings.epochs * len(corpus),
        "seconds": model.seconds,
        "preparation_seconds": time.perf_counter() - began - model.seconds,
        "first_loss": model.losses[0],
        "last_loss": model.losses[-1],
    }
    return model


def _save(report: Report, model: SgnsModel) -> vecio.Embeddings:
    """Write the float32 file, convert it to float16, and open that one."""
    import vecio

    about = {"text": f"the documentation inside Python {platform.python_version()}"}
    model.embeddings(about).save(report.files["float32"])
    vecio.convert(report.files["float32"], report.files["float16"], dtype="float16")
    return vecio.open(report.files["float16"])


def _ask(report: Report, embeddings: vecio.Embeddings, unknown: list[str]) -> None:
    if not unknown:
        return
    rows, cosines = embeddings.nearest(unknown, k=_NEIGHBOURS)
    for word, own, scores in zip(unknown, rows, cosines, strict=True):
        report.neighbours[word] = [
            (str(embeddings.words[int(i)]), round(float(score), 3))
            for i, score in zip(own, scores, strict=True)
            if i >= 0
        ]


def _draw(report: Report, embeddings: vecio.Embeddings, unknown: list[str], count: int) -> None:
    from . import word_map

    version = ".".join(platform.python_version_tuple()[:2])
    subtitle = (
        f"{{shown}} words of the documentation inside Python {version}, placed by the company they keep in "
        f"{report.text['tokens']:,} words of text: skip-gram with sub-words, {embeddings.dim} dimensions, t-SNE"
    )
    svg = word_map.make(embeddings, unknown, "What Python says about itself", subtitle, count)
    path = Path(report.files["map"])
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(svg, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _probe(path: str, known: str, unknown: str) -> dict[str, float]:
    """Measure what a new process pays for the file; an empty dict where no process can be started."""
    if not sys.executable:
        return {}
    packages = str(Path(__file__).resolve().parent.parent)
    places = [packages, *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "trainers.probe", path, known, unknown],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
            capture_output=True,
            check=True,
            timeout=_PROBE_SECONDS,
        )
        figures: dict[str, float] = json_module.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}
    return figures


def describe(report: Report) -> str:
    """Return the report as text for a terminal."""
    return "\n".join(
        [*_about_text(report), "", *_about_files(report), *_about_opening(report), "", *_table(report)]
    )


def _about_text(report: Report) -> list[str]:
    text, training = report.text, report.training
    speed = training["tokens"] / max(training["seconds"], 1e-9) / 1000
    return [
        f"Text      {text['source_files']:,} files of the standard library: {text['tokens']:,} words, "
        f"{text['types']:,} different, read in {text['milliseconds'] / 1000:.1f} s",
        f"Training  {training['epochs']:.0f} epochs, {training['dim']:.0f} dimensions, {text['vocabulary']:,} words "
        f"and {training['ngram_rows']:,.0f} n-gram rows: {training['seconds']:.1f} s at {speed:,.0f} k words/s, "
        f"loss {training['first_loss']:.3f} to {training['last_loss']:.3f}",
        f"In all    {report.seconds:.1f} s",
    ]


def _about_files(report: Report) -> list[str]:
    width = max(map(len, report.files.values()))
    kinds = {
        "float32": "float32",
        "float16": "float16, half the size",
        "map": "the map: open it in a browser",
    }
    return [
        f"  {path:{width}}  {report.bytes[name] / 1e6:6.2f} MB  {kinds[name]}"
        for name, path in report.files.items()
    ]


def _about_opening(report: Report) -> list[str]:
    if not report.opening:
        return []
    figures = report.opening
    lines = [
        "",
        f"A new process opens the float16 file in {_time(figures['open_s'])} (after {_time(figures['import_s'])} for "
        "`import vecio`)",
        f"  known word    first {_time(figures['first_known_s'])}, then {_time(figures['known_s'])}",
        f"  unknown word  first {_time(figures['first_unknown_s'])}, then {_time(figures['unknown_s'])}",
    ]
    if "private_bytes" in figures:
        lines.append(f"  private memory of the whole process {figures['private_bytes'] / 1e6:.0f} MB")
    return lines


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"


def _table(report: Report) -> list[str]:
    """Return the neighbours of the unknown words in columns."""
    if not report.neighbours:
        return ["The text holds all the words that were to be unknown."]
    rows = [
        [word, *(f"{near} {score:.2f}" for near, score in own)] for word, own in report.neighbours.items()
    ]
    widths = [
        max(len(row[column]) for row in rows if column < len(row)) for column in range(max(map(len, rows)))
    ]
    lines = ["Words that the text never held, and the nearest that it did:", ""]
    for row in rows:
        lines.append(
            "  " + "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        )
    return lines
