"""The command `vecio`: opens, asks and converts files of word vectors. Every command prints what the library returns.

Results go to standard output, as lines or as JSON (`--json`); progress and warnings go to standard error. Errors are
one line. Exit codes: 0 done (also when the reader of the output left early), 1 the request failed, 2 the command line
is wrong, 130 stopped by Ctrl-C. Other packages add commands through the entry-point group `vecio.commands`: an entry
names a function with typer's annotations, or a `typer.Typer`; its module is imported only when the command is run.

What only some commands need is imported by them, not here: `vecio --help` must not wait for it.
"""

from __future__ import annotations

import contextlib
import enum
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from ._cli_run import Commands, new_app, run, warn

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ._progress import Progress
    from .embeddings import Embeddings
    from .errors import VecioError
    from .explain import Explanation

#: Queries of `nn -` that are searched for together: one pass over the matrix serves them all.
NEIGHBOUR_BLOCK = 256

#: Words of either end of the vocabulary that `info` shows.
SHOWN_WORDS = 5


class Missing(str, enum.Enum):
    """What `get` does with a word that cannot be embedded."""

    fail = "raise"
    zero = "zero"
    nan = "nan"
    skip = "skip"


class MissingQuery(str, enum.Enum):
    """What `nn` does with a word that cannot be embedded."""

    fail = "raise"
    skip = "skip"


class VectorFormat(str, enum.Enum):
    """How `get` writes vectors."""

    text = "text"
    npy = "npy"
    jsonl = "jsonl"


app = new_app(
    cls=Commands,
    name="vecio",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (without the program's name; None takes the process's own); return the exit code."""
    return run(app, list(sys.argv[1:] if argv is None else argv) or ["--help"])


def _wrong(sentence: str, parameter: str) -> NoReturn:
    raise typer.BadParameter(sentence, param_hint=parameter)


def _text(value: str) -> str:
    """Return an argument as it stands: unlike typer's own strings, it need not be valid UTF-8."""
    return value


Model = Annotated[
    str,
    typer.Argument(
        parser=_text,
        metavar="MODEL",
        help="A file or folder of word vectors, of any known format, or hf://owner/name.",
    ),
]
Origin = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="NAME",
        help="Format of the model, if its content shall not say it.",
        show_default=False,
    ),
]
Reading = Annotated[
    list[str] | None,
    typer.Option(
        "--read-option",
        metavar="NAME=VALUE",
        help="An option of the model's format, such as limit=1000, no_header=true or encoding=latin-1.",
        show_default=False,
    ),
]
Words = Annotated[
    list[str],
    typer.Argument(
        parser=_text, metavar="WORD", help="Words; or - to read them from standard input, one a line."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
ShowProgress = Annotated[
    bool | None,
    typer.Option(
        "--progress/--no-progress",
        help="Show progress on standard error, or do not. By default: on a terminal.",
    ),
]
Labels = Annotated[int, typer.Option("-k", min=-1, help="How many labels at most; -1 for all.")]
Threshold = Annotated[float, typer.Option(help="Leave out labels that are less probable than this.")]
Neighbours = Annotated[int, typer.Option("-k", "--topn", min=1, help="How many neighbours.")]


@app.callback(invoke_without_command=True)
def _vecio(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Open any file of word vectors in place, embed any word, find neighbours, convert."""
    if version:
        from . import __version__

        print(f"vecio {__version__}")
        raise typer.Exit


@app.command()
def info(model: Model, as_json: Json = False, origin: Origin = None, reading: Reading = None) -> None:
    """Tell what a file is and what it can do.

    Prints the format, the sizes, the settings it was trained with, whether it can embed unknown words and predict
    labels, and how long it took to open.
    """
    began = time.perf_counter()
    with _opened(model, origin, reading) as e:
        seconds = time.perf_counter() - began
        facts = _facts(e, model, seconds)
    if as_json:
        _print_json(facts)
    else:
        _print(_table(facts))


@app.command()
def get(
    model: Model,
    words: Words,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            parser=_text,
            metavar="FILE",
            help="Write to FILE, atomically, not to standard output.",
        ),
    ] = None,
    form: Annotated[
        VectorFormat | None,
        typer.Option(
            "--format",
            help="text: word v1 v2 ...; npy: a numpy array, without the words; jsonl: JSON lines. "
            "By default what the name of FILE says, else text.",
            show_default=False,
        ),
    ] = None,
    missing: Annotated[
        Missing,
        typer.Option(
            help="A word that cannot be embedded stops the command, gets zeros or nan, or is left out."
        ),
    ] = Missing.fail,
    precision: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=9,
            help="Significant digits. By default as many as the float32 needs.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format jsonl.")] = False,
    progress: ShowProgress = None,
    origin: Origin = None,
    reading: Reading = None,
) -> None:
    """Print the vectors of words, known or not.

    A million words on standard input take the memory of a few thousand: they are embedded and written in blocks.
    Words are bytes: text that is not valid UTF-8 comes out as it went in.

    \b
    vecio get model.bin house houses hausing
    vecio get model.bin - < words.txt -o vectors.npy
    """
    from . import _cli_io as io

    chosen = _vector_format(form, output, as_json)
    if chosen is VectorFormat.npy and output is None and io.stdout().isatty():
        _wrong("will not write an array to a terminal; give a file", "--output")
    done = dropped = 0
    with (
        _opened(model, origin, reading) as e,
        io.sink(output, rewindable=chosen is VectorFormat.npy) as stream,
        _counting(words, "words", output=output, progress=progress) as bar,
    ):
        writer: io.VectorWriter
        if chosen is VectorFormat.npy:
            writer = io.NpyWriter(stream, e.dim)
        else:
            writer = (io.JsonWriter if chosen is VectorFormat.jsonl else io.TextWriter)(stream, precision)
        for block in _arguments(words):
            kept, vectors, error = _embed(e, block, missing, done)
            writer.write(kept, vectors)
            if error is not None:
                raise error
            done += len(block)
            dropped += len(block) - len(kept)
            bar(done)
        writer.finish()
    _warn_of_dropped(dropped, done)


def _vector_format(form: VectorFormat | None, output: str | None, as_json: bool) -> VectorFormat:
    """Return the format asked for, or the one that the output's name says."""
    if as_json:
        if form not in (None, VectorFormat.jsonl):
            _wrong("--json means --format jsonl", "--json")
        return VectorFormat.jsonl
    if form is not None:
        return form
    ending = os.path.splitext(output or "")[1].lower()
    return {".npy": VectorFormat.npy, ".jsonl": VectorFormat.jsonl}.get(ending, VectorFormat.text)


def _embed(
    e: Embeddings, words: list[bytes], missing: Missing, before: int
) -> tuple[list[bytes], npt.NDArray[np.float32], VecioError | None]:
    """Return the words of a block that are kept, their vectors, and the error that ends the command, if any.

    If `missing` says so, a word that cannot be embedded is that error, and what stands before it is kept. `before`: how
    many words came before this block.
    """
    from .errors import VecioError, WordError

    vectors = e.embed(words, missing="zero" if missing is Missing.zero else "nan")
    absent = [] if missing in (Missing.zero, Missing.nan) else _absent(e, words, vectors)
    if not absent:
        return words, vectors, None
    if missing is Missing.skip:
        left_out = set(absent)
        kept = [i for i in range(len(words)) if i not in left_out]
        return [words[i] for i in kept], vectors[kept], None
    first = absent[0]
    try:
        e.embed(words[first].decode("utf-8", "surrogateescape"))
    except WordError as error:
        sentence = f"word {before + first + 1}: {error} (see --missing)"
    return words[:first], vectors[:first], VecioError(sentence)


def _warn_of_dropped(dropped: int, done: int) -> None:
    if dropped:
        warn(f"{dropped} of {done} words cannot be embedded and were left out")


def _absent(e: Embeddings, words: list[bytes], vectors: npt.NDArray[np.float32]) -> list[int]:
    """Return which of the words cannot be embedded, given their vectors with nan for those."""
    import numpy as np

    odd = np.flatnonzero(np.isnan(vectors[:, 0])).tolist()
    return [i for i in odd if not e.can_embed(words[i])]


@app.command()
def nn(
    model: Model,
    words: Words,
    k: Neighbours = 10,
    missing: Annotated[
        MissingQuery, typer.Option(help="A word that cannot be embedded stops the command, or is left out.")
    ] = MissingQuery.fail,
    as_json: Json = False,
    progress: ShowProgress = None,
    origin: Origin = None,
    reading: Reading = None,
) -> None:
    """Print the nearest neighbours of words, known or not.

    One neighbour a line with its cosine, a tab between; the word itself stands before them if several were asked for.

    \b
    vecio nn model.bin house
    vecio nn model.bin - -k 3 < words.txt
    """
    named = words == ["-"] or len(words) > 1
    done = dropped = 0
    with _opened(model, origin, reading) as e:
        for block in _arguments(words, NEIGHBOUR_BLOCK):
            kept, vectors, error = _embed(e, block, Missing(missing.value), done)
            for word, found in zip(kept, _neighbours(e, kept, vectors, k, progress), strict=True):
                _print_neighbours({"word": word}, found, word + b"\t" if named else b"", as_json)
            if error is not None:
                raise error
            done += len(block)
            dropped += len(block) - len(kept)
    _warn_of_dropped(dropped, done)


@app.command()
def analogy(
    model: Model,
    a: Annotated[str, typer.Argument(parser=_text, metavar="A", help="A is to ...")],
    b: Annotated[str, typer.Argument(parser=_text, metavar="B", help="... B as ...")],
    c: Annotated[str, typer.Argument(parser=_text, metavar="C", help="... C is to what?")],
    k: Neighbours = 10,
    as_json: Json = False,
    progress: ShowProgress = None,
    origin: Origin = None,
    reading: Reading = None,
) -> None:
    """Answer "A is to B as C is to ...?": words near B - A + C.

    This is the order of word2vec's tool and question files, and most_similar(positive=[B, C], negative=[A]) in
    Python. fastText's `analogies` asks for the same three words as B A C.

    \b
    vecio analogy model.bin Germany Berlin France
    """
    with _opened(model, origin, reading) as e, _searching(progress) as bar:
        _need_words(e)
        found = e.most_similar([b, c], [a], topn=k, progress=bar)
    _print_neighbours({"a": a, "b": b, "c": c}, found, b"", as_json)


def _neighbours(
    e: Embeddings, words: list[bytes], vectors: npt.NDArray[np.float32], k: int, progress: bool | None
) -> list[list[tuple[str, float]]]:
    """Return the neighbours of each word, without the word itself; all share one pass over the matrix."""
    if not words:
        return []
    _need_words(e)
    with _searching(progress) as bar:
        ids, scores = e.nearest(vectors, k + 1, progress=bar)
    answers = []
    for own, row, cosines in zip(e.index(words).tolist(), ids.tolist(), scores.tolist(), strict=True):
        others = [(i, cosine) for i, cosine in zip(row, cosines, strict=True) if i not in (own, -1)]
        answers.append([(e.words[i], cosine) for i, cosine in others[:k]])
    return answers


def _need_words(e: Embeddings) -> None:
    from .errors import UnsupportedError

    if not len(e):
        raise UnsupportedError(f"{e.path}: holds no list of words, so there are none to search among")


def _searching(progress: bool | None) -> Progress:
    from ._progress import Progress

    return Progress("searching", "words", shown=progress)


def _print_neighbours(
    query: dict[str, Any], found: list[tuple[str, float]], before: bytes, as_json: bool
) -> None:
    from ._cli_io import stdout

    if as_json:
        _print_json({**query, "neighbours": [{"word": word, "score": score} for word, score in found]})
        return
    stdout().write(b"".join(b"%b%b\t%.6f\n" % (before, _bytes(word), score) for word, score in found))


@app.command()
def predict(
    model: Model,
    texts: Annotated[
        list[str],
        typer.Argument(
            parser=_text, metavar="TEXT", help="Texts; or - to read them from standard input, one a line."
        ),
    ],
    k: Labels = 1,
    threshold: Threshold = 0.0,
    as_json: Json = False,
    progress: ShowProgress = None,
    origin: Origin = None,
    reading: Reading = None,
) -> None:
    """Print the most probable labels of texts, by a supervised model.

    One line a text: label, probability, label, probability, ..., as `fasttext predict-prob` prints them.

    \b
    vecio predict lid.176.ftz "ein kleines Haus" "a little house" -k 2
    vecio predict lid.176.ftz - < texts.txt
    """
    _need_labels(k)
    if any("\n" in text for text in texts):
        _wrong("a text is one line; this one has several", "TEXT")
    from ._cli_io import json_line, stdout

    with _opened(model, origin, reading) as e, _counting(texts, "texts", progress=progress) as bar:
        done, out = 0, stdout()
        for block in _arguments(texts):
            answers = e.predict(block, k, threshold)
            if as_json:
                lines = [json_line({"labels": names, "probabilities": values}) for names, values in answers]
            else:
                lines = [_prediction(names, values) for names, values in answers]
            out.write(b"".join(lines))
            out.flush()
            done += len(block)
            bar(done)


def _prediction(labels: Sequence[str], probabilities: npt.NDArray[np.float32]) -> bytes:
    pairs = zip(labels, probabilities.tolist(), strict=True)
    return b" ".join([b"%b %.6g" % (_bytes(label), value) for label, value in pairs]) + b"\n"


@app.command()
def test(
    model: Model,
    file: Annotated[
        str, typer.Argument(parser=_text, metavar="FILE", help="Labelled lines; or - for standard input.")
    ],
    k: Labels = 1,
    threshold: Threshold = 0.0,
    labels: Annotated[bool, typer.Option("--labels", help="Print the figures of each label, too.")] = False,
    as_json: Json = False,
    origin: Origin = None,
    reading: Reading = None,
) -> None:
    """Measure precision and recall of a supervised model.

    The labelled lines look like those that trained it: labels and words, with white space between. The figures are
    those of `fasttext test` (and, for each label, of `fasttext test-label`).
    """
    _need_labels(k)
    from ._cli_io import stdin

    with _opened(model, origin, reading) as e, contextlib.ExitStack() as stack:
        result = e.test(stdin() if file == "-" else stack.enter_context(open(file, "rb")), k, threshold)
    reports = {
        name: {**vars(report), "precision": report.precision, "recall": report.recall, "f1": report.f1}
        for name, report in result.labels.items()
    }
    if as_json:
        totals = {"examples": result.examples, "precision": result.precision, "recall": result.recall}
        _print_json({**totals, "k": k, "labels": reports})
        return
    if labels:
        for name, r in result.labels.items():
            _print(f"{name}\tP {r.precision:.3g}\tR {r.recall:.3g}\tF1 {r.f1:.3g}\tN {r.gold}\n")
    _print(f"N\t{result.examples}\nP@{k}\t{result.precision:.3g}\nR@{k}\t{result.recall:.3g}\n")


def _need_labels(k: int) -> None:
    if k == 0:
        _wrong("0 labels were asked for", "-k")


@app.command()
def explain(
    model: Model,
    words: Words,
    as_json: Json = False,
    origin: Origin = None,
    reading: Reading = None,
) -> None:
    """Show how the vector of a word is made.

    One line for each row of the file that is part of it: the n-gram, the row's number (- where pruning dropped it), and
    whether any word that the model was trained on has this n-gram. Coverage is the share of n-grams that training saw:
    a guess made of none of them is noise.
    """
    with _opened(model, origin, reading) as e:
        for block in _arguments(words):
            for word in block:
                found = e.explain(word)
                if as_json:
                    _print_json(found.to_dict())
                else:
                    _print(_explanation(found))


def _explanation(found: Explanation) -> str:
    """Return an explanation as a sentence and a table."""
    state = "in the vocabulary" if found.known else "not in the vocabulary"
    if not found.embeddable:
        return f"{found.word}: {state}, and nothing in this file makes up its vector\n"
    table = [("part", "row", "trained")]
    table += [(p.text, str(p.row) if p.row >= 0 else "-", "yes" if p.trained else "no") for p in found.pieces]
    wide, narrow = (max(len(row[column]) for row in table) for column in (0, 1))
    rows = [f"  {part:<{wide}}  {row:>{narrow}}  {trained}\n" for part, row, trained in table]
    return f"{found.word}: {state}, coverage {found.coverage:.2f}\n{''.join(rows)}"


@app.command()
def convert(
    source: Annotated[
        str,
        typer.Argument(
            parser=_text, metavar="SRC", help="A file or folder of any known format, or hf://owner/name."
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(parser=_text, metavar="DST", help="What to write; its ending says the format."),
    ],
    dtype: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Numbers of the new file: float32, float16, int8, or pqN for product-quantised rows of N bytes. "
            "By default those of SRC where the format has them, else float32.",
            show_default=False,
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="Format of the new file, if its ending does not say it (`vecio formats` lists them).",
            show_default=False,
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse to write when anything would be lost.")
    ] = False,
    drop: Annotated[
        bool, typer.Option("--drop", help="Leave out words that the format cannot hold, rather than refuse.")
    ] = False,
    words: Annotated[
        int | None,
        typer.Option(min=1, help="Keep the N most frequent words.", metavar="N", show_default=False),
    ] = None,
    grams: Annotated[
        int | None,
        typer.Option(min=0, help="Keep the N n-gram rows that matter most.", metavar="N", show_default=False),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Find the best file of at most this size: bytes, 20MB, or 7.5% of SRC (safetensors only).",
            show_default=False,
        ),
    ] = None,
    quality: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            metavar="COSINE",
            help="Find the smallest file whose vectors have this mean cosine with those of SRC (safetensors only).",
            show_default=False,
        ),
    ] = None,
    raw_rows: Annotated[
        bool,
        typer.Option(
            "--raw-rows", help="Keep the words' own rows too, so that the original can be written again."
        ),
    ] = False,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            "-O",
            metavar="NAME=VALUE",
            help="An option of the new file's format (`vecio formats`), such as dsub=4; may come several times.",
            show_default=False,
        ),
    ] = None,
    origin: Origin = None,
    limit: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Read only the first N words.", show_default=False)
    ] = None,
    reading: Reading = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace DST if it is there.")] = False,
    as_json: Json = False,
    progress: ShowProgress = None,
) -> None:
    """Convert a file to another format, or to smaller numbers.

    Works in blocks, whatever the size of the file, and reports what was kept, rounded and lost. DST appears when it is
    complete, or not at all.

    \b
    vecio convert cc.en.300.bin cc.en.300.safetensors --dtype float16
    vecio convert glove.6B.100d.txt glove.kv
    vecio convert cc.en.300.bin small.safetensors --size 50MB
    """
    from . import convert as convert_file
    from . import formats as known
    from ._progress import Progress
    from .errors import VecioError
    from .formats import written_files

    names = [one["name"] for one in known() if one["write"]]
    if form is not None and form not in names:
        _wrong(f"{form!r} is not a format that can be written; there are: {', '.join(names)}", "--format")
    for place in [] if force else written_files(target, form):
        if os.path.lexists(place):
            raise VecioError(f"{place}: is there already (--force replaces it)")
    given = {"format": origin, "limit": limit, **_pairs(reading, "--read-option")}
    writing: dict[str, Any] = {
        **_pairs(option, "--option"),
        "words": words,
        "grams": grams,
        "size": size,
        "quality": quality,
        "raw_rows": raw_rows or None,
    }

    with Progress("converting", "rows", shown=progress) as bar, _options_checked():
        report = convert_file(
            source,
            target,
            format=form,
            dtype=dtype,
            strict=strict,
            drop=drop,
            source={name: value for name, value in given.items() if value is not None},
            progress=bar,
            **{name: value for name, value in writing.items() if value is not None},
        )
    if as_json:
        _print_json(report.to_dict())
    else:
        _print(f"{report}\n")


def _pairs(texts: list[str] | None, parameter: str) -> dict[str, Any]:
    """Return the options NAME=VALUE as a dict: true and false, numbers, else text."""
    found: dict[str, Any] = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            _wrong(f"{text!r} is not NAME=VALUE", parameter)
        found[name] = _value(value)
    return found


def _value(text: str) -> bool | int | float | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


@app.command()
def formats(as_json: Json = False) -> None:
    """List the formats, their endings and their options."""
    from . import formats as known

    if as_json:
        for one in known():
            _print_json(one)
        return
    for one in known():
        ways = "read, write" if one["write"] else "read"
        _print(f"{one['name']}: {ways}; {'a folder' if one['folder'] else ' '.join(one['extensions'])}\n")
        for way in ("read", "write"):
            if one[f"{way}_options"]:
                _print(f"    {way}: {', '.join(one[f'{way}_options'])}\n")


@app.command()
def verify(
    model: Model,
    as_json: Json = False,
    progress: ShowProgress = None,
    origin: Origin = None,
    reading: Reading = None,
) -> int:
    """Check a whole file: sizes, digests, numbers, words.

    Opening a file checks its structure; this reads every byte of it. Prints what it finds, and ends with exit code 1 if
    any of it is an error.
    """
    from . import verify as verify_file
    from ._progress import Progress

    with Progress("verifying", "B", shown=progress) as bar:
        with _options_checked():
            report = verify_file(model, format=origin, progress=bar, **_pairs(reading, "--read-option"))
    if as_json:
        _print_json(report.to_dict())
    else:
        _print(f"{report}\n")
    return 0 if report.ok else 1


# -- what the commands share ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def _opened(model: str, origin: str | None, reading: list[str] | None) -> Iterator[Embeddings]:
    from . import open as open_file

    with _options_checked():
        e = open_file(model, format=origin, **_pairs(reading, "--read-option"))
    with e:
        yield e


@contextlib.contextmanager
def _options_checked() -> Iterator[None]:
    """Turn what the library says of a wrong name or value of an option into an error of the command line."""
    from .errors import VecioError

    try:
        yield
    except ValueError as error:
        if isinstance(error, VecioError):
            raise
        raise typer.BadParameter(str(error)) from None


def _arguments(items: list[str], most: int = 1 << 14) -> Iterator[list[bytes]]:
    """Yield the items of the command line as bytes, or the lines of standard input, in lists of at most `most`."""
    from ._cli_io import lines, stdin

    blocks = lines(stdin()) if items == ["-"] else iter([[os.fsencode(item) for item in items]])
    for block in blocks:
        for start in range(0, len(block), most):
            yield block[start : start + most]


@contextlib.contextmanager
def _counting(
    items: list[str], unit: str, *, output: str | None = None, progress: bool | None = None
) -> Iterator[Progress]:
    """Count what standard input brings on a progress line, unless the results themselves go to the terminal."""
    from ._progress import Progress

    if progress is None and (items != ["-"] or (output is None and sys.stdout.isatty())):
        progress = False
    with Progress("done", unit, shown=progress) as bar:
        yield bar


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _print(text: str) -> None:
    from ._cli_io import stdout

    stdout().write(_bytes(text))


def _print_json(value: object) -> None:
    from ._cli_io import json_line, stdout

    stdout().write(json_line(value))


def _facts(e: Embeddings, model: str, seconds: float) -> dict[str, Any]:
    """Return what `info` tells, ready for JSON."""
    from .formats.base import makes_unknown

    subwords = e._subwords if makes_unknown(e) else None
    return {
        "path": model,
        "bytes": 0 if e._file is None else e._file.size,
        "unpacked": getattr(e._file, "unpacked", None),
        "format": e.format,
        "words": len(e),
        "dim": e.dim,
        "dtype": e.dtype,
        "labels": len(e.labels),
        "subwords": subwords
        and {
            "kind": subwords.kind,
            "minn": subwords.minn,
            "maxn": subwords.maxn,
            "rows": len(e._grams or ()),
        },
        "can": {
            "embed_unknown_words": subwords is not None,
            "find_neighbours": len(e) > 0,
            "predict_labels": e._classifier is not None,
        },
        "first_words": e.words[:SHOWN_WORDS],
        "last_words": e.words[max(len(e) - SHOWN_WORDS, SHOWN_WORDS) :],
        "open_seconds": round(seconds, 6),
        "metadata": dict(e.metadata),
    }


def _table(facts: dict[str, Any]) -> str:
    """Return the facts of `info` for a person."""
    from ._cli_io import one_line
    from ._progress import amount

    subwords, can = facts["subwords"], facts["can"]
    words = [
        one_line(word)
        for word in (
            *facts["first_words"],
            *(["..."] if facts["words"] > 2 * SHOWN_WORDS else []),
            *facts["last_words"],
        )
    ]
    settings = [f"{n}={_shown(v)}" for n, v in facts["metadata"].items() if isinstance(v, (str, int, float))]
    lines = {
        "file": f"{facts['path']} ({amount(facts['bytes'], 'B')})",
        "unpacked to": facts["unpacked"] or "",
        "format": facts["format"],
        "words": f"{facts['words']:,}" + (f": {' '.join(words)}" if facts["words"] else ""),
        "vectors": f"{facts['dim']} dimensions, {facts['dtype']}",
        "sub-words": "none"
        if subwords is None
        else f"{subwords['kind']}, {subwords['minn']} to {subwords['maxn']} characters, {subwords['rows']:,} rows",
        "unknown words": "yes, from their sub-words" if can["embed_unknown_words"] else "no",
        "neighbours": "yes" if can["find_neighbours"] else "no",
        "predictions": f"yes, {facts['labels']:,} labels" if can["predict_labels"] else "no",
        "labels": ""
        if can["predict_labels"] or not facts["labels"]
        else f"{facts['labels']:,} entries, not used",
        "settings": one_line(" ".join(settings)),
        "opened in": f"{facts['open_seconds'] * 1e3:.2f} ms",
    }
    return "".join(f"{name:<14} {value}\n" for name, value in lines.items() if value)


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
