"""Compares vecio with the answers of the real programs, number by number, through the public interface.

Every model of tests/data (tests/data/README.md) is opened and asked all the questions of its JSON file; vectors,
probabilities and rows must agree to the last bit, neighbour scores to 1e-6. Each model is asked three times: as a new
process would be, with the compiled kernels kept out, and with nothing but the kernels. `python tests/test_golden.py`
prints the counts as a Markdown table. Nothing here was answered by vecio before.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import ANSWERS, DATA, model_of

import vecio
from vecio import _effort

TOLERANCE = 1e-6  # of neighbour scores
LOSSES = {"hs": 1, "ns": 2, "softmax": 3, "ova": 4}
KINDS = {"cbow": 1, "skipgram": 2, "supervised": 3}


class Tally:
    """Counts comparisons and equal ones by subject, and keeps the first differences."""

    def __init__(self) -> None:
        self.counts: dict[str, list[int]] = {}
        self.differences: list[str] = []

    def check(self, subject: str, equal: bool, what: object) -> None:
        count = self.counts.setdefault(subject, [0, 0])
        count[0] += 1
        count[1] += bool(equal)
        if not equal and len(self.differences) < 10:
            self.differences.append(f"{subject}: {what}")

    def add(self, other: Tally) -> None:
        for subject, (asked, equal) in other.counts.items():
            count = self.counts.setdefault(subject, [0, 0])
            count[0] += asked
            count[1] += equal


def raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def floats(hexed: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(hexed), "<f4")


def same(a: Any, hexed: str) -> bool:
    """Say whether float32 numbers are those of the hex string, bit for bit."""
    return np.asarray(a).dtype == np.float32 and np.asarray(a, "<f4").tobytes() == bytes.fromhex(hexed)


# --- one subject each --------------------------------------------------------------------------------------------


def check_settings(e: vecio.Embeddings, golden: dict[str, Any], tally: Tally) -> None:
    for name, value in golden.get("args", {}).items():
        found = e.metadata.get(name)
        numbers = {"loss": LOSSES, "model": KINDS}.get(name, {})
        tally.check(
            "settings", found == value or (value in numbers and found == numbers[value]), (name, found, value)
        )
    if "args" in golden:
        tally.check("settings", e.dim == golden["args"]["dim"], "dim")


def check_dictionary(e: vecio.Embeddings, golden: dict[str, Any], tally: Tally) -> None:
    words = list(e.words)
    counts = e.counts
    assert counts is not None
    if "vocabulary" in golden:
        kept = golden["vocabulary"]
        tally.check("words", len(e) == len(words) == kept["size"], "number of words")
        tally.check(
            "words", hashlib.sha256(b"\0".join(map(raw, words))).hexdigest() == kept["sha256"], "all words"
        )
        tally.check("counts", int(counts.sum()) == kept["counts"], "sum of counts")
    else:
        tally.check("words", len(e) == len(words) == len(golden["words"]), "number of words")
        for i, (word, count) in enumerate(zip(golden["words"], golden["word_counts"], strict=True)):
            tally.check(
                "words", words[i] == word and e.words[i] == word and word in e and e.index(word) == i, word
            )
            tally.check("counts", int(counts[i]) == count, (word, count))
    for i, label in enumerate(golden.get("labels", ())):
        tally.check("labels", e.labels[i] == label, label)
    if "labels" in golden:
        tally.check("labels", list(e.labels) == golden["labels"], "all labels")


def check_words(e: vecio.Embeddings, golden: dict[str, Any], tally: Tally) -> None:
    queries = golden["queries"]
    for query in queries:
        word, kind = query["word"], "known" if query["id"] >= 0 else "unknown"
        rows = rows_of(query, golden)
        tally.check("index", e.index(word) == query["id"] and (word in e) == (query["id"] >= 0), word)
        tally.check("can_embed", e.can_embed(word) == bool(rows), word)
        if rows:
            tally.check(f"vectors of {kind} words", same(e[word], query["vector"]), word)
            tally.check(f"vectors of {kind} words", same(e[raw(word)], query["vector"]), raw(word))
        else:
            tally.check(f"vectors of {kind} words", same(e.embed(word, "zero"), query["vector"]), word)
            with pytest.raises(vecio.WordError):
                e[word]
    words = [query["word"] for query in queries]
    batch = e.embed(words, missing="zero")
    tally.check("index", e.index(words).tolist() == [query["id"] for query in queries], "as a list")
    for query, row in zip(queries, batch, strict=True):
        tally.check("batches", same(row, query["vector"]), query["word"])


def check_subwords(e: vecio.Embeddings, golden: dict[str, Any], tally: Tally) -> None:
    for query in golden["queries"]:
        found = e.subwords(query["word"])
        strings, rows = [s for s, _ in found], [row for _, row in found]
        wanted = query["subwords"]
        if "rows" in query:  # floret: a string comes once for each of its rows
            times = golden["args"]["hashCount"] if golden["mode"] == "floret" else 1
            wanted = [string for string in wanted for _ in range(times)]
            wanted = [query["word"]] * (len(rows_of(query, golden)) - len(wanted)) + wanted
        tally.check("sub-words", strings == wanted, (query["word"], strings))
        tally.check(
            "rows", [row for row in rows if row >= 0] == rows_of(query, golden), (query["word"], rows)
        )


def rows_of(query: dict[str, Any], golden: dict[str, Any]) -> list[int]:
    """Return the rows that make up a word. floret's JSON leaves out entry 0's own row, which its vector shows."""
    if "rows" not in query:
        return list(query["subword_ids"])
    own = golden["mode"] == "floret" and query["id"] == 0
    return [0] * own + list(query["rows"])


def check_sentences(e: vecio.Embeddings, golden: dict[str, Any], tally: Tally) -> None:
    asked = golden.get("sentences", ())
    batch = e.encode([one["text"] for one in asked]) if asked else ()
    for one, row in zip(asked, batch, strict=True):
        tally.check("sentence vectors", same(e.encode(one["text"]), one["vector"]), one["text"])
        tally.check("sentence vectors", same(row, one["vector"]), ("batch", one["text"]))


def check_predictions(e: vecio.Embeddings, golden: dict[str, Any], tally: Tally) -> None:
    asked = golden.get("predict", ())
    for one in asked:
        labels, probs = e.predict(one["text"], k=one["k"], threshold=one["threshold"])
        tally.check("predicted labels", list(labels) == one["labels"], (one["text"], one["k"], list(labels)))
        tally.check("probabilities", same(probs, one["probs"]), (one["text"], one["k"], probs))
    for k, threshold in sorted({(one["k"], one["threshold"]) for one in asked}):
        part = [one for one in asked if (one["k"], one["threshold"]) == (k, threshold)]
        for one, (labels, probs) in zip(
            part, e.predict([one["text"] for one in part], k, threshold), strict=True
        ):
            equal = list(labels) == one["labels"] and same(probs, one["probs"])
            tally.check("batch predictions", equal, (one["text"], k, threshold))


def check_tests(e: vecio.Embeddings, golden: dict[str, Any], tally: Tally) -> None:
    for one in golden.get("test", ()):
        path = DATA / "text" / one["data"]
        wanted = (one["examples"], one["precision"], one["recall"])
        for lines in (
            path,
            path.read_bytes().splitlines(keepends=True) if b"\r" not in path.read_bytes() else path,
        ):
            found = tuple(e.test(lines, one["k"], one["threshold"]))
            tally.check("test: examples, precision, recall", found == wanted, (one, found))


def check_neighbours(e: vecio.Embeddings, golden: dict[str, Any], tally: Tally) -> None:
    for one in golden.get("neighbours", ()):
        if not e.can_embed(one["word"]):  # the real program compares with zeros; all its scores are 0
            with pytest.raises(vecio.WordError):
                e.most_similar(one["word"], topn=one["k"])
            tally.check("neighbours: no vector", not floats(one["scores"]).any(), one)
            continue
        found = e.most_similar(one["word"], topn=one["k"])
        check_ranking(found, one, tally, "neighbours", e)
        ids, scores = e.nearest([one["word"]], k=one["k"])
        tally.check(
            "neighbours: nearest", ids.shape == scores.shape == (1, min(one["k"], len(e))), one["word"]
        )
    for one in golden.get("analogies", ()):
        found = e.most_similar(positive=[one["a"], one["c"]], negative=[one["b"]], topn=one["k"])
        check_ranking(found, one, tally, "analogies", e)


def check_ranking(
    found: list[tuple[str, float]], one: dict[str, Any], tally: Tally, subject: str, e: vecio.Embeddings
) -> None:
    """Compare scores place by place, and words where scores are farther apart than the tolerance."""
    wanted = floats(one["scores"])
    scores = np.array([score for _, score in found])
    tally.check(
        f"{subject}: scores", len(found) == len(wanted) and np.allclose(scores, wanted, 0, TOLERANCE), found
    )
    if len(found) != len(wanted):
        return
    start = 0
    for i in range(1, len(wanted) + 1):
        if i < len(wanted) and wanted[i - 1] - wanted[i] <= TOLERANCE:
            continue
        mine, theirs = {word for word, _ in found[start:i]}, set(one["words"][start:i])
        if mine == theirs:
            tally.check(f"{subject}: order", True, None)
        else:  # words whose scores are the same within the tolerance may change places, also with those cut off
            further = e.most_similar(*asked_for(one), topn=one["k"] + 20)
            near = {word for word, score in further if abs(score - wanted[i - 1]) <= 2 * TOLERANCE}
            tally.check(f"{subject}: order", mine | theirs <= near, (one, found))
        start = i


def asked_for(one: dict[str, Any]) -> tuple[list[str], list[str]]:
    return ([one["word"]], []) if "word" in one else ([one["a"], one["c"]], [one["b"]])


def check_matrices(e: vecio.Embeddings, golden: dict[str, Any], tally: Tally) -> None:
    grams = np.zeros((0, e.dim), np.float32) if e._grams is None else e._grams.block(0, len(e._grams))
    rows = np.concatenate([e._words.block(0, len(e._words)), grams])
    if "input_matrix" in golden:
        kept = golden["input_matrix"]
        tally.check("input matrix", list(rows.shape) == kept["shape"], rows.shape)
        tally.check(
            "input matrix",
            hashlib.sha256(rows.astype("<f4").tobytes()).hexdigest() == kept["sha256"],
            "sha256",
        )
        for name, row in (("row0", 0), ("last_row", -1)):
            if name in kept:
                tally.check("input matrix", same(rows[row], kept[name]), name)
    for row, vector in golden.get("input_rows", ()):
        tally.check("input matrix", same(rows[row], vector), ("row", row))
    output = e._parts.output
    if "output_matrix" in golden and output is not None:
        kept, values = golden["output_matrix"], output.block(0, len(output))
        tally.check("output matrix", list(values.shape) == kept["shape"], values.shape)
        digest = hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()
        tally.check("output matrix", digest == kept["sha256"], "sha256")


def check_text(e: vecio.Embeddings, file: Path, tally: Tally) -> None:
    """Compare with the `.vec` file, which holds every word's vector with five digits."""
    text = file.with_suffix(".vec")
    if not text.exists():
        return
    head, *lines = text.read_bytes().split(b"\n")[:-1]
    tally.check(".vec lines", head.split() == [b"%d" % len(e), b"%d" % e.dim], head)
    vectors = e.embed(list(e.words), missing="zero")
    for word, vector, line in zip(e.words, vectors, lines, strict=True):
        made = raw(word) + b" " + b"".join(b"%.5g " % float(x) for x in vector)
        tally.check(".vec lines", made == line, word)


def ask(file: Path, model: Path) -> Tally:
    """Open a model, ask all the questions of its JSON file and return the tally."""
    golden = json.loads(file.read_text("utf-8"))
    tally = Tally()
    with vecio.open(model) as e:
        for check in (
            check_settings,
            check_words,
            check_dictionary,
            check_subwords,
            check_sentences,
            check_predictions,
            check_tests,
            check_neighbours,
            check_matrices,
        ):
            check(e, golden, tally)
        check_text(e, file, tally)
    return tally


# --- the tests ---------------------------------------------------------------------------------------------------


WAYS = ("new", "plain", "kernels")


def force(way: str, patch: pytest.MonkeyPatch) -> None:
    """Make the library take one of its two ways: never the kernels, or nothing else; or decide as in a new process."""
    patch.setattr(_effort, "_loaded", way == "kernels")
    patch.setattr(_effort, "_spent", -1e12 if way == "plain" else 0.0)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test three times: as a new process, without the kernels, with the kernels alone."""
    force(request.param, monkeypatch)
    return str(request.param)


@pytest.mark.parametrize("file", ANSWERS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_answers_of_the_real_program(file: Path, way: str) -> None:
    model = model_of(file)
    if model is None:
        pytest.skip("its model is not in the folder of large files (VECIO_DATA)")
    tally = ask(file, model)
    assert not tally.differences, "\n".join(tally.differences)
    assert sum(asked for asked, _ in tally.counts.values()) > 50


def test_all_kinds_of_questions_are_asked() -> None:
    names = {p.stem for p in ANSWERS}
    assert len(names) >= 35 and {"q-many-qout", "lid.176", "floret-hc4", "cp852_fasttext"} <= names


BATCHED = (
    "fasttext/cbow-ns.bin",
    "fasttext/q-cutoff.ftz",
    "fasttext/cbow-hs-nosub.bin",
    "floret/floret-hc2.bin",
)


@pytest.mark.parametrize("name", BATCHED)
def test_batch_and_threads_change_no_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    force("kernels", monkeypatch)
    with vecio.open(DATA / name) as e:
        words = [*e.words, "unseen", "größeres", "狐狸们", "🦊🦊", "caf\udce9", "x", "", "</s>", "\udcff" * 3]
        alone = np.stack([e.embed(word, missing="zero") for word in words])
        force("plain", monkeypatch)
        plain = np.stack([e.embed(word, missing="zero") for word in words])
        force("kernels", monkeypatch)
        many = words * (20_000 // len(words))
        for threads in (1, 2, 5):
            batch = e.embed(many, missing="zero", threads=threads).reshape(-1, len(words), e.dim)
            assert (batch.view(np.uint32) == alone.view(np.uint32)).all()
        assert (plain.view(np.uint32) == alone.view(np.uint32)).all()


@pytest.mark.parametrize(
    "name", ["fasttext/q-cutoff.ftz", "fasttext/many-hs.bin", "fasttext/sup-ova-sub.bin"]
)
def test_predictions_do_not_depend_on_threads_or_batches(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    force("kernels", monkeypatch)
    lines = [line for line in (DATA / "text" / "sup.txt").read_bytes().split(b"\n") if line]
    with vecio.open(DATA / name) as e:
        alone = [e.predict(line, k=3) for line in lines]
        for threads in ("1", "2", "5"):
            monkeypatch.setenv("VECIO_THREADS", threads)
            for (labels, probs), (a, p) in zip(e.predict(lines * 5, k=3), alone * 5, strict=True):
                assert list(labels) == list(a) and probs.tobytes() == p.tobytes()


def test_pruned_ngrams_have_row_minus_one() -> None:
    with vecio.open(DATA / "fasttext" / "q-cutoff.ftz") as e:
        found = dict(e.subwords("bread"))
        assert -1 in found.values() and max(found.values()) < 300


# --- the table for RESULTS.md ------------------------------------------------------------------------------------


def _table() -> Iterator[str]:
    """Ask everything in each way and yield a Markdown table: subject, comparisons, equal ones."""
    total = Tally()
    models, skipped = 0, 0
    for file in ANSWERS:
        model = model_of(file)
        if model is None:
            skipped += 1
            continue
        models += 1
        for way in WAYS:
            with pytest.MonkeyPatch.context() as patch:
                force(way, patch)
                tally = ask(file, model)
            total.add(tally)
            for difference in tally.differences:
                print(f"{file.stem}, {way}: {difference}", file=sys.stderr)
    yield f"{models} models ({skipped} not at hand), each as a new process, without kernels, and with kernels alone.\n"
    yield "| compared | number | equal |\n| --- | ---: | ---: |"
    for subject, (asked, equal) in sorted(total.counts.items()):
        yield f"| {subject} | {asked:,} | {equal:,} |"
    asked, equal = (sum(count[i] for count in total.counts.values()) for i in (0, 1))
    yield f"| **all** | **{asked:,}** | **{equal:,}** |"


if __name__ == "__main__":
    os.environ.setdefault("NUMBA_CACHE_DIR", tempfile.gettempdir() + "/vecio-numba")
    for row in _table():
        print(row)
