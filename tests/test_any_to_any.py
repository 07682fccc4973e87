"""Every format to every other: each pair is converted, read back and compared; what is lost is what the report says.

`table()` is specs/matrix.md; `python tests/test_any_to_any.py` writes it.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import vecio
from vecio.formats import FORMATS
from vecio.formats.base import COUNTS, ENCODER, LABELS, LENGTHS, RAW, SETTINGS, UNKNOWN

DATA = Path(__file__).resolve().parent / "data"
SPEC = DATA.parent.parent / "specs" / "matrix.md"

#: Letters of the table, and the property that each stands for.
LETTERS = {"c": COUNTS, "u": UNKNOWN, "l": LABELS, "r": RAW, "n": LENGTHS, "t": ENCODER, "s": SETTINGS}

#: One model of each kind, written by the other side's programs: what it is, and its file or folder in tests/data.
SOURCES = {
    "fasttext: words with n-grams": "fasttext/cbow-ns.bin",
    "fasttext: classifier": "fasttext/sup-softmax-w2-sub.bin",
    "fasttext: quantised classifier": "fasttext/q-cutoff.ftz",
    "floret": "floret/floret-hc2.bin",
    "floret-text": "floret/floret-hc2.floret",
    "word2vec": "word2vec/w2v-c-bin.bin",
    "text": "word2vec/w2v-c-txt.txt",
    "glove": "glove/glove.txt",
    "gensim: KeyedVectors": "gensim/inline.kv",
    "gensim: FastText": "gensim/fasttext.model",
    "finalfusion: simple": "finalfusion/simple.fifu",
    "finalfusion: buckets": "finalfusion/bucket.fifu",
    "finalfusion: explicit": "finalfusion/explicit.fifu",
    "finalfusion: quantised": "finalfusion/pq-bucket.fifu",
    "spacy": "spacy/default",
    "spacy: floret": "spacy/from-floret-hc2",
    "sentence-transformers": "sentence-transformers/normalized",
    "model2vec": "model2vec/vocab-quantized",
    "magnitude": "magnitude/plain.magnitude",
    "navec": "navec/small.tar",
}

#: Whose program reads what vecio writes, and agrees (the tests that are marked `judge` and `heavy`).
JUDGES = {
    "safetensors": "safetensors",
    "fasttext": "fastText",
    "floret": "floret",
    "floret-text": "spaCy",
    "word2vec": "gensim",
    "text": "gensim",
    "glove": "gensim",
    "tsv": "numpy",
    "numpy": "numpy",
    "parquet": "pyarrow",
    "arrow": "pyarrow",
    "finalfusion": "finalfusion",
    "gensim": "gensim",
    "spacy": "spaCy",
    "sentence-transformers": "sentence-transformers",
    "model2vec": "model2vec",
}

#: Packages without which a format cannot be written.
NEEDS = {"parquet": "pyarrow", "arrow": "pyarrow"}


def available(name: str) -> bool:
    return name not in NEEDS or importlib.util.find_spec(NEEDS[name]) is not None


def targets() -> list[str]:
    return [f.name for f in FORMATS if f.write is not None]


def place(name: str, folder: Path) -> Path:
    chosen = next(f for f in FORMATS if f.name == name)
    return folder / ("model" + (chosen.extensions[0] if chosen.extensions else ""))


def cell(source: str, target: str) -> str:
    """Convert one pair; return what the table says of it: = or ~, and the letters of what is lost, or - (refused)."""
    with tempfile.TemporaryDirectory() as name:
        path = place(target, Path(name))
        try:
            report = vecio.convert(DATA / SOURCES[source], path, format=target, drop=True)
        except vecio.UnsupportedError:
            assert not list(Path(name).iterdir()), "a refused conversion left files behind"
            return "-"
        compare(DATA / SOURCES[source], path, report)
    lost = "".join(letter for letter, what in LETTERS.items() if what in report.lost)
    others = [what for what in report.lost if what not in LETTERS.values()]
    return ("~" if report.approximated else "=") + lost + ("w" if others else "")


def compare(source: Path, path: Path, report: vecio.ConversionReport) -> None:
    """Check the report against the files: vectors, counts, unknown words and labels that it does not call lost."""
    with vecio.open(source) as before, vecio.open(path, format=report.format) as after:
        assert vecio.detect(path) == report.format or report.format in ("fasttext", "floret", "text", "glove")
        words = [word for word in before.words if word in after]
        assert len(words) >= min(len(set(before.words)), len(after)) - 1
        exact = not report.approximated
        agree(before.embed(words), after.embed(words), exact)
        if before.counts is not None and COUNTS not in report.lost:
            known = [before.counts[before.index(word)] for word in words[:50]]
            assert after.counts is not None and known == [after.counts[after.index(w)] for w in words[:50]]
        if UNKNOWN in report.kept:
            unknown = ["housely", "zzyzx", "größenwahn"]
            same = [word for word in unknown if before.can_embed(word)]
            assert same == [word for word in unknown if after.can_embed(word)]
            agree(before.embed(same), after.embed(same), exact, direction=bool(report.approximated))
        if LABELS in report.kept:
            texts = ["the river and the house", "nothing known here"]
            for (a, p), (b, q) in zip(before.predict(texts, k=2), after.predict(texts, k=2), strict=True):
                assert not exact or (a == b and np.array_equal(p, q))
        if ENCODER in report.kept:
            texts = ["the quick fox", "", "unknownword the"]
            agree(before.encode(texts), after.encode(texts), exact)


def agree(a: np.ndarray, b: np.ndarray, exact: bool, direction: bool = False) -> None:
    assert a.shape == b.shape
    if exact:
        assert np.array_equal(a, b, equal_nan=True)
        return
    a, b = a.astype(np.float64), b.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = (a * b).sum(axis=1)[norms > 0] / norms[norms > 0]
    assert not len(cosines) or cosines.mean() > 0.9, cosines


@functools.cache
def row(source: str) -> dict[str, str]:
    return {target: cell(source, target) for target in targets() if available(target)}


@pytest.mark.parametrize("source", SOURCES)
def test_to_every_format(source: str) -> None:
    found = row(source)
    assert found["safetensors"][0] in "=~"
    if "n-grams" in source or "FastText" in source:
        assert "u" not in found["fasttext"] and "u" not in found["safetensors"]
    if "classifier" in source:
        assert "l" not in found["fasttext"] and "l" not in found["safetensors"]


def table() -> Iterator[str]:
    """Yield the lines of specs/matrix.md."""
    names = targets()
    yield "# Any format to any other"
    yield ""
    yield "Written by `python tests/test_any_to_any.py`, which converts every pair below, reads the result back and"
    yield "compares; the tests fail when this page is not what they find. Sources: small files of the other programs."
    yield ""
    yield "`=` the vectors are kept to the last bit; `~` they are rounded or scaled, as the conversion's report says;"
    yield "`-` refused: the format cannot hold such a model. Letters name what is lost:"
    yield ""
    for letter, what in {
        **LETTERS,
        "w": "words that occur twice or that the format cannot spell (with `drop`)",
    }.items():
        yield f"* `{letter}` {what}"
    yield ""
    short = {name: f"[{i}]" for i, name in enumerate(names, 1)}
    yield "| from \\ to | " + " | ".join(short[name] for name in names) + " |"
    yield "| --- |" + " --- |" * len(names)
    for source in SOURCES:
        found = row(source)
        yield f"| {source} | " + " | ".join(found.get(name, "") for name in names) + " |"
    yield ""
    yield "| | format | read back by |"
    yield "| --- | --- | --- |"
    for name in names:
        yield f"| {short[name]} | {name} | vecio, {JUDGES[name]} |"
    yield ""
    readers = [f.name for f in FORMATS if f.write is None]
    yield f"Read only: {', '.join(readers)}."


def test_the_page_is_what_the_tests_find() -> None:
    if not all(map(available, targets())):
        pytest.skip("needs pyarrow")
    assert SPEC.read_text(encoding="utf-8").splitlines() == list(table())


if __name__ == "__main__":
    SPEC.write_text("\n".join(table()) + "\n", encoding="utf-8")
