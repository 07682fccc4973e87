"""Tests labels: prediction, sentence vectors and `test` of supervised models, plain and compiled to the same bits.

The real program's answers (tests/data) are asked of both implementations; then both are compared with each other on
texts and models that nobody trained: every loss, every storage, ties, odd bytes, long lines, cut and pruned n-grams.
"""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vecio
from vecio import _effort, classifier
from vecio.classifier import Classifier
from vecio.errors import FormatError, UnsupportedError
from vecio.matrix import Float16, Float32, Int8, Matrix, ProductQuantised
from vecio.subwords import Subwords, fnv1a
from vecio.vocabulary import Vocabulary

DATA = Path(__file__).resolve().parent / "data"
SUPERVISED = [
    path
    for path in sorted((DATA / "fasttext").glob("*.json"))
    if json.loads(path.read_text("utf-8"))["args"]["model"] == "supervised"
]
TEXT = DATA / "text"
LABELS = [b"__label__a", b"__label__b", b"__label__c\xff", b"__label__d", b"__label__e"]
WORDS = [
    b"</s>",
    b"the",
    b"fox",
    b"a",
    "größe".encode(),
    "狐狸".encode(),
    b"bad\xff\x80",
    b"bridge",
    b"<fox>",
    b"x",
]

Switch = Callable[[bool], None]


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Switch:
    """Return a switch: True for nothing but kernels, False for none."""
    return lambda on: monkeypatch.setattr(_effort, "kernels_due", lambda seconds: on)


@pytest.fixture(params=[False, True], ids=["plain", "compiled"])
def either(request: pytest.FixtureRequest, compiled: Switch) -> bool:
    compiled(request.param)
    return bool(request.param)


def opened(answers: Path) -> tuple[Classifier, dict[str, Any]]:
    golden = json.loads(answers.read_text("utf-8"))
    model = vecio.open(answers.parent / golden["file"])._classifier
    assert model is not None
    return model, golden


def bits(predictions: Any) -> list[tuple[list[str], bytes]]:
    """Return predictions in a form that `==` compares to the last bit."""
    for _, probs in predictions:
        assert probs.dtype == np.float32
    return [(labels, probs.tobytes()) for labels, probs in predictions]


# -- the real program's answers ------------------------------------------------------------------------------


@pytest.mark.parametrize("answers", SUPERVISED, ids=lambda path: path.stem)
def test_predictions_are_the_real_programs(answers: Path, either: bool) -> None:
    model, golden = opened(answers)
    for query in golden["predict"]:
        k, threshold = query["k"], query["threshold"]
        wanted = [(query["labels"], bytes.fromhex(query["probs"]))]
        assert bits([model.predict(query["text"], k, threshold)]) == wanted
        raw = query["text"].encode("utf-8", "surrogateescape")
        assert bits([model.predict(raw, k, threshold)]) == wanted
        among_others = model.predict(["zzz", query["text"], "the fox the fox"], k, threshold)
        assert bits(among_others[1:2]) == wanted


@pytest.mark.parametrize("answers", SUPERVISED, ids=lambda path: path.stem)
def test_lines_and_their_vectors_are_the_real_programs(answers: Path, either: bool) -> None:
    model, golden = opened(answers)
    assert model.labels == golden["labels"]
    assert model.label_counts is not None and model.label_counts.tolist() == golden["label_counts"]
    for query in golden["lines"]:
        assert model.line(query["text"]) == (query["words"], query["labels"])
    found = model.sentence_vectors([query["text"] for query in golden["sentences"]])
    assert [row.tobytes().hex() for row in found] == [query["vector"] for query in golden["sentences"]]


@pytest.mark.parametrize("answers", SUPERVISED, ids=lambda path: path.stem)
def test_the_figures_of_test_are_the_real_programs(answers: Path, either: bool) -> None:
    model, golden = opened(answers)
    for query in golden["test"]:
        with (TEXT / query["data"]).open("rb") as file:
            result = model.test(file, query["k"], query["threshold"])
        assert tuple(result) == (query["examples"], query["precision"], query["recall"])
        assert sum(report.gold for report in result.labels.values()) > 0


# -- models that nobody trained ------------------------------------------------------------------------------


def stored(values: np.ndarray, storage: str, seed: int = 0) -> Matrix:
    """Store rows in one of the four ways."""
    rng = np.random.default_rng(seed)
    if storage == "float16":
        return Float16(values.astype(np.float16))
    if storage == "int8":
        scales = (np.abs(values).max(axis=1) / 127 + 1e-6).astype(np.float32)
        return Int8(np.round(values / scales[:, None]).astype(np.int8), scales)
    if storage in ("pq2", "pq3"):
        dsub = int(storage[2:])
        codes = rng.integers(0, 256, (len(values), -(-values.shape[1] // dsub)), np.uint8)
        centroids = rng.normal(size=256 * values.shape[1]).astype(np.float32)
        norms = np.abs(rng.normal(size=len(values))).astype(np.float32)
        return ProductQuantised(codes, centroids, values.shape[1], dsub, norms if dsub == 2 else norms[:0])
    return Float32(values)


def made(
    loss: str,
    *,
    dim: int = 6,
    labels: list[bytes] = LABELS,
    minn: int = 0,
    maxn: int = 0,
    word_ngrams: int = 1,
    kind: str = "fasttext",
    hash_count: int = 1,
    pruned: bool = False,
    storage: str = "float32",
    output: str = "float32",
    scale: float = 1.0,
    words: list[bytes] = WORDS,
) -> Classifier:
    """Make a classifier of random numbers, the same each time."""
    rng = np.random.default_rng(
        zlib.crc32(repr((loss, dim, minn, maxn, word_ngrams, kind, storage)).encode())
    )
    bucket = 50 if pruned else 37
    kept = rng.permutation(bucket)[:20]
    pairs = np.stack([kept, rng.permutation(20)], axis=1) if pruned else None
    rows = rng.normal(size=(len(words) + bucket, dim)).astype(np.float32)
    counts = [int(n) for n in sorted(rng.integers(1, 50, len(labels)), reverse=True)]
    return Classifier(
        Vocabulary.from_words([*words, *labels], [*range(len(words), 0, -1), *counts], len(words)),
        stored(rows[: len(words)], storage, 1),
        stored(rows[len(words) :], storage, 2),
        Subwords(minn, maxn, bucket, kind, hash_count, pairs),
        stored((scale * rng.normal(size=(len(labels), dim))).astype(np.float32), output, 3),
        loss,
        word_ngrams,
    )


MODELS: dict[str, dict[str, Any]] = {
    "softmax": {"loss": "softmax", "word_ngrams": 2},
    "hs-sub": {"loss": "hs", "minn": 2, "maxn": 4, "word_ngrams": 3},
    "ns-ties": {"loss": "ns", "minn": 1, "maxn": 3, "scale": 30.0},
    "ova-pruned": {"loss": "ova", "minn": 2, "maxn": 3, "word_ngrams": 2, "pruned": True, "storage": "pq2"},
    "quantised-output": {
        "loss": "softmax",
        "minn": 3,
        "maxn": 3,
        "storage": "pq3",
        "output": "pq2",
        "dim": 7,
    },
    "floret": {"loss": "hs", "minn": 2, "maxn": 3, "word_ngrams": 2, "kind": "floret", "hash_count": 3},
    "floret-words": {"loss": "ova", "word_ngrams": 2, "kind": "floret", "hash_count": 2},
    "one-label": {"loss": "hs", "labels": [b"__label__a"], "minn": 2, "maxn": 2},
    "half": {"loss": "softmax", "minn": 2, "maxn": 3, "storage": "float16", "output": "float16"},
    "int8": {"loss": "ns", "minn": 2, "maxn": 3, "storage": "int8", "output": "int8"},
}

PIECES = st.sampled_from(
    [*WORDS, *LABELS, b"__label__unknown", b" ", b"\t", b"\r", b"\v", b"\f", b"\0", b"\x1c", "\u3000".encode(), b"</s>",
     b"zebra", "Ölß".encode(), b"\xff", b"\x80\x80", b"<", b">", "🦊".encode(), b"foxfoxfox"]
)  # fmt: skip
LINES = st.lists(st.one_of(PIECES, st.just(b" "), st.binary(max_size=4)), max_size=12).map(
    lambda parts: b"".join(parts).replace(b"\n", b" ")
)


@pytest.mark.parametrize("name", MODELS)
def test_both_implementations_agree(name: str, compiled: Switch) -> None:
    model = made(**MODELS[name])

    @settings(max_examples=100)
    @given(
        st.lists(LINES, max_size=6),
        st.sampled_from([1, 2, 3, 4, 100, -1]),
        st.sampled_from([0.0, 0.05, 0.2, 0.5, -1.0, 2.0]),
        st.booleans(),
    )
    def check(lines: list[bytes], k: int, threshold: float, newline: bool) -> None:
        answers = []
        for on in (False, True):
            compiled(on)
            many = model.predict(lines, k, threshold, newline=newline)
            assert bits(many) == bits([model.predict(line, k, threshold, newline=newline) for line in lines])
            vectors = model.sentence_vectors(lines, newline=newline)
            text = (b"\n" if newline else b" ").join(lines)
            answers.append((bits(many), vectors.tobytes(), repr(model.test(text, k, threshold))))
            for labels, probs in many:
                assert len(labels) == len(probs) == len(set(labels)) and (np.diff(probs) <= 0).all()
        assert answers[0] == answers[1]

    check()


@pytest.mark.parametrize("storage", ["float16", "int8", "pq2", "pq3"])
def test_rows_are_decoded_in_the_kernel_when_there_are_many(
    storage: str, compiled: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["the fox", "", "zebra größe the", "x " * 50]
    compiled(False)
    wanted = bits(made("softmax", minn=2, maxn=4, dim=8, storage=storage).predict(lines, -1))
    compiled(True)
    monkeypatch.setattr(classifier, "DECODED_BYTES", 0)
    assert bits(made("softmax", minn=2, maxn=4, dim=8, storage=storage).predict(lines, -1)) == wanted


@pytest.mark.parametrize("output", ["float32", "pq2"])
def test_a_large_tree_is_walked_without_all_dot_products(
    output: str, compiled: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = [b"__label__%d" % i for i in range(300)]
    lines = ["the fox", "a bridge", "größe x", ""]
    answers = []
    for least in (1 << 20, 0):
        monkeypatch.setattr(classifier, "DENSE_TREE", least)
        for on in (False, True):
            compiled(on)
            model = made("hs", labels=labels, output=output, storage=output)
            answers.append([bits(model.predict(lines, k, 1e-3)) for k in (1, 5, -1)])
    assert answers[0] == answers[1] == answers[2] == answers[3]


def test_long_lines_are_added_up_in_parts(compiled: Switch) -> None:
    model = made("softmax", minn=2, maxn=5, word_ngrams=3)
    rng = np.random.default_rng(5)
    words = [word.decode("utf-8", "surrogateescape") for word in WORDS] + ["zebra", "Ölß", "w" * 300]
    lines = [" ".join(rng.choice(words, n)) for n in (3000, 1, 900, 4100, 0, 2000)]
    compiled(False)
    wanted = bits(model.predict(lines, -1))
    compiled(True)
    assert bits(model.predict(lines, -1)) == wanted
    assert bits([model.predict(line, -1) for line in lines]) == wanted


def test_words_that_come_again_are_remembered_rightly(compiled: Switch) -> None:
    """A batch keeps the rows of its words (and forgets them when there are too many); a single line does not."""
    compiled(True)
    rng = np.random.default_rng(6)
    words = ["".join(rng.choice(list("abcßé"), rng.integers(1, 30))) for _ in range(3000)]
    lines = [" ".join(words[i] for i in np.minimum(rng.zipf(1.3, 20), 3000) - 1) for _ in range(1500)]
    for name in ("hs-sub", "ova-pruned", "floret"):
        model = made(**MODELS[name])
        assert bits(model.predict(lines, 2)) == bits([model.predict(line, 2) for line in lines])


def test_threads_and_chunks_change_nothing(compiled: Switch, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled(True)
    model = made(**MODELS["hs-sub"])
    text = (TEXT / "sup.txt").read_bytes()
    lines = [line.decode("utf-8", "surrogateescape") for line in text.split(b"\n")]
    wanted = bits(model.predict(lines, 3, threads=1)), repr(model.test(text, 2, threads=1))
    monkeypatch.setattr(classifier, "LEAST_LINES", 3)
    monkeypatch.setattr(classifier, "MOST_LINES", 5)
    monkeypatch.setattr(classifier, "CHUNK_BYTES", 100)
    monkeypatch.setattr(classifier, "MOST_CELLS", 40)
    for threads in (1, 2, 5):
        again = bits(model.predict(lines, 3, threads=threads)), repr(model.test(text, 2, threads=threads))
        assert again == wanted
    with pytest.raises(ValueError, match="threads"):
        model.predict(lines, threads=0)


# -- rules, one by one -----------------------------------------------------------------------------------------


def test_a_newline_is_a_word_unless_told_otherwise(either: bool) -> None:
    model = made("softmax", word_ngrams=2)
    assert model.line("the fox")[0] == ["the", "fox", "</s>"]
    assert model.line("the fox", newline=False)[0] == ["the", "fox"]
    assert model.line("the </s> fox")[0] == ["the", "</s>"]  # the token ends the line
    with_end, without = (model.sentence_vectors(["the fox"], newline=on)[0] for on in (True, False))
    rows = model._word_ngram_rows([b"the", b"fox"])
    assert without.tobytes() == model._mean([1, 2, *rows]).tobytes() != with_end.tobytes()
    assert model.predict("", newline=False) == ([], pytest.approx([]))
    assert len(model.predict("", 2)[0]) == 2  # `</s>` alone
    assert model.predict([], 2) == []
    assert model.sentence_vectors([]).shape == (0, 6)


def test_labels_in_a_text_are_not_words(either: bool) -> None:
    model = made("softmax", minn=2, maxn=4)
    plain, labelled, unknown = model.predict(
        ["the fox", "__label__a the __label__b fox", "the __label__zzz fox"], -1
    )
    assert bits([plain]) == bits([labelled]) == bits([unknown])
    assert model.line(b"__label__b the __label__c\xff __label__q __label__b") == (
        ["the", "</s>"],
        ["__label__b", "__label__c\udcff", "__label__b"],
    )


def test_a_line_without_rows_has_no_labels(either: bool) -> None:
    model = made("softmax", words=[b"the", b"fox"])  # `</s>` is not a word here
    assert model.predict("unknown words", -1)[0] == []
    labels, probs = model.predict(["unknown words", "the"], -1)[0]
    assert labels == [] and probs.shape == (0,) and probs.dtype == np.float32
    assert not model.sentence_vectors(["unknown words"]).any()
    counts, ids, probs = model.top(["unknown words", "the"], 2)
    assert counts.tolist() == [0, 2] and ids[0].tolist() == [-1, -1] and not probs[0].any()
    assert [model.labels[i] for i in ids[1]] == model.predict("the", 2)[0]


def test_k_and_threshold(either: bool) -> None:
    model = made("ova", scale=30.0)
    for k in (0, -2):
        with pytest.raises(ValueError, match=f"not {k}"):
            model.predict("the fox", k)
    every = model.predict("the fox", -1)
    assert sorted(every[0]) == sorted(model.labels)
    assert bits([model.predict("the fox", 10**12)]) == bits([every])
    assert model.predict("the fox", -1, 1.5)[0] == []
    some = model.predict("the fox", -1, 0.5)
    assert some[0] == [label for label, p in zip(*every, strict=True) if p >= 0.5]
    assert bits([model.predict("the fox", np.int64(2), np.float32(0))]) == bits([model.predict("the fox", 2)])


def test_one_label_in_a_tree_is_certain(either: bool) -> None:
    labels, probs = made("hs", labels=[b"__label__a"]).predict("the fox", -1)
    assert labels == ["__label__a"] and probs.tolist() == [1.0]


def test_a_newline_inside_a_text_is_refused(either: bool) -> None:
    model = made("softmax")
    for ask in (model.predict, lambda text: model.sentence_vectors([text]), model.line):
        with pytest.raises(ValueError, match="newline"):
            ask("the\nfox")
    with pytest.raises(ValueError, match="text 1 holds a newline"):
        model.predict(["the", "fox\n"])
    with pytest.raises(TypeError):
        model.sentence_vectors("the fox")


def test_texts_of_every_kind_are_taken(either: bool) -> None:
    model = made("softmax", minn=2, maxn=3)
    texts = ["the fox", "bad\udcff\udc80", "größe"]
    raw = [text.encode("utf-8", "surrogateescape") for text in texts]
    wanted = bits(model.predict(texts, 2))
    assert wanted == bits(model.predict(raw, 2)) == bits(model.predict((t for t in texts), 2))
    assert wanted == bits(model.predict([raw[0], *texts[1:]], 2))
    assert len(model.predict(["a lone \ud800 surrogate", "the"], 2)) == 2


@pytest.mark.parametrize("loss", ["softmax", "hs", "ova"])
def test_not_a_number_is_an_error(loss: str, either: bool) -> None:
    model = made(loss)
    assert isinstance(model.output, Float32)
    model.output.values[0, 2] = np.nan
    for ask in (lambda: model.predict("the fox", -1), lambda: model.predict(["", "the fox"], -1)):
        with pytest.raises(FormatError, match="row 0 of the output matrix is NaN"):
            ask()
    with pytest.raises(FormatError, match="NaN"):
        model.test("__label__a the fox\n", -1)
    assert np.isfinite(model.sentence_vectors(["the fox"])).all()  # the output is not asked


def test_a_tree_is_judged_only_where_it_is_walked(either: bool) -> None:
    model = made("hs")
    assert isinstance(model.output, Float32)
    wanted = bits([model.predict("the fox", -1)])
    model.output.values[-1] = np.nan  # belongs to no inner node
    assert bits([made("hs").predict("the fox", -1)]) == wanted == bits([model.predict("the fox", -1)])


def test_too_many_ngrams_are_refused(either: bool) -> None:
    for model in (made("softmax", word_ngrams=2**31 - 1), made("softmax", minn=1, maxn=2**31 - 1)):
        text = "the " * 5000 if model.word_ngrams > 1 else "w" * 5000
        with pytest.raises(UnsupportedError, match="n-grams"):
            model.predict(text)
        with pytest.raises(UnsupportedError, match="n-grams"):
            model.predict(["the fox", text])
        assert len(model.predict(["the fox", "x"], 2)) == 2


# -- test ----------------------------------------------------------------------------------------------------------


def test_test_counts_each_label(either: bool) -> None:
    model = made("softmax", words=[b"the", b"fox"])
    best = model.predict("the")[0][0]
    other = next(label for label in model.labels if label != best)
    text = f"{best} the\n{other} the\n{best} {other} the\nthe fox\n{best} unknown\n__label__zzz the\n"
    result = model.test(text)
    assert result.examples == 3 and result.precision == 2 / 3 and result.recall == 2 / 4
    assert result.labels[best] == classifier.LabelReport(gold=2, predicted=3, hits=2)
    assert result.labels[best].f1 == 2 * 2 / 5
    assert result.labels[other].recall == 0 and math.isnan(result.labels[other].precision)
    nothing = model.test("")
    assert nothing.examples == 0 and math.isnan(nothing.precision) and math.isnan(nothing.recall)


def test_test_takes_a_text_in_every_form(either: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(**MODELS["hs-sub"])
    text = (TEXT / "sup_test.txt").read_bytes() + b"__label__a the </s> __label__b fox\n__label__a\tfox"
    wanted = repr(model.test(text, 2))
    lines = text.splitlines(keepends=True)
    for block in (1 << 23, 7):
        monkeypatch.setattr(classifier, "BLOCK_BYTES", block)
        assert repr(model.test(io.BytesIO(text), 2)) == wanted
        assert repr(model.test(text.decode("utf-8", "surrogateescape"), 2)) == wanted
        assert repr(model.test((b"".join(lines[i : i + 1]) for i in range(len(lines))), 2)) == wanted
    assert repr(model.test([text], 2)) == repr(model.test([text[:90], text[90:]], 2)) == wanted
    monkeypatch.setattr(classifier, "MOST_BYTES", 99)
    with pytest.raises(UnsupportedError, match="a line of more than 99 bytes"):
        model.test(io.BytesIO(text + b"x" * 150))
    bare = ["__label__a the", "__label__b fox", "", "__label__a x"]
    assert repr(model.test(bare)) == repr(model.test("\n".join(bare) + "\n"))
    assert repr(model.test(["__label__a the"])) == repr(model.test(b"__label__a the\n"))
    assert repr(model.test(["a\n", "__label__a the"])) == repr(model.test(b"a\n__label__a the"))


# -- what does not fit together ----------------------------------------------------------------------------------


def parts(**changes: Any) -> dict[str, Any]:
    """Return the parts of a valid classifier, some of them changed."""
    rows = np.zeros((30, 4), np.float32)
    valid = {
        "vocabulary": Vocabulary.from_words([*WORDS, *LABELS], [1] * 15, len(WORDS)),
        "words": Float32(rows[:10]),
        "grams": Float32(rows[10:]),
        "subwords": Subwords(2, 3, 20),
        "output": Float32(rows[:5]),
        "loss": "softmax",
        "path": "model.bin",
    }
    return {**valid, **changes}


def test_the_valid_parts_are_accepted() -> None:
    assert len(Classifier(**parts()).labels) == 5
    Classifier(**parts(subwords=None, grams=None))
    Classifier(**parts(subwords=Subwords(2, 3, 99, pruned=np.empty((0, 2), np.int64)), grams=None))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "hinge"}, "unknown loss"),
        ({"vocabulary": Vocabulary.from_words(WORDS, [1] * 10)}, "without labels"),
        ({"words": Float32(np.zeros((9, 4), np.float32))}, "rows of the word matrix"),
        ({"output": Float32(np.zeros((6, 4), np.float32))}, "shape of the output matrix"),
        ({"output": Float32(np.zeros((5, 3), np.float32))}, "shape of the output matrix"),
        ({"subwords": None, "word_ngrams": 2}, "no buckets"),
        ({"subwords": Subwords(2, 3, 0)}, "no buckets"),
        ({"subwords": Subwords(2, 3, 21)}, "rows of the n-gram matrix"),
        ({"grams": None}, "rows of the n-gram matrix"),
        ({"grams": Float32(np.zeros((20, 3), np.float32))}, "columns of the n-gram matrix"),
        ({"subwords": Subwords(2, 3, 99, pruned=np.array([[5, 20]]))}, "rows of the n-gram matrix"),
        ({"subwords": Subwords(2, 3, 99, pruned=np.array([[5, -1]]))}, "negative row"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        Classifier(**parts(**changes))
    assert str(caught.value).startswith("model.bin: ")


def test_a_tree_needs_sane_counts(either: bool) -> None:
    for counts, message in ((None, "no counts"), ([1] * 10 + [2 * 10**15] * 5, "too large")):
        model = Classifier(
            **parts(loss="hs", vocabulary=Vocabulary.from_words([*WORDS, *LABELS], counts, 10))
        )
        with pytest.raises(FormatError, match=message):
            model.predict("the fox")


# -- numbers -------------------------------------------------------------------------------------------------------


def paths(counts: list[int]) -> list[tuple[list[int], list[int]]]:
    """Return the rows and bits from each leaf up to the root."""
    left, right = classifier._huffman(counts).tolist()
    above = {child: (row, bit) for bit, side in enumerate((left, right)) for row, child in enumerate(side)}
    found = []
    for leaf in range(len(counts)):
        rows, codes, node = [], [], leaf
        while node in above:
            row, bit = above[node]
            rows.append(row)
            codes.append(bit)
            node = len(counts) + row
        found.append((rows, codes))
    return found


def test_the_tree_is_the_real_programs() -> None:
    assert paths([5, 3, 1]) == [([1], [1]), ([0, 1], [1, 0]), ([0, 1], [0, 0])]
    assert paths([4, 4, 4, 4]) == [([1, 2], [1, 1]), ([1, 2], [0, 1]), ([0, 2], [1, 0]), ([0, 2], [0, 0])]


def test_the_logistic_table_is_the_real_programs() -> None:
    table = classifier.sigmoid_table()
    wanted = [0.00033535013790242374, 0.00034599160426296294, 0.5, 0.5078118443489075, 0.9996646642684937]
    assert table[[0, 1, 256, 257, 512]].tolist() == wanted
    values = classifier._sigmoid(np.array([-8.1, -8, 0, 7.99, 8, 8.1, -np.inf, np.inf], np.float32))
    assert values[[0, 5, 6, 7]].tolist() == [0, 1, 0, 1]
    assert values[[1, 2, 4]].tolist() == [table[0], table[256], table[512]]


@pytest.fixture(scope="module")
def kernels() -> Iterator[Any]:
    from vecio.kernels import classify

    yield classify


def test_logarithms_are_the_c_librarys(kernels: Any) -> None:
    rng = np.random.default_rng(7)
    for p in [0, 1, -1e-5, -1, 1e-30, *rng.random(300)]:
        plain, compiled = classifier._log(np.float32(p)), kernels.log_score(np.float32(p))
        assert np.float32(plain).tobytes() == np.float32(compiled).tobytes() or (
            np.isnan(plain) and np.isnan(compiled)
        )


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from([0.0, 0.1, 0.1000001, 0.25, 0.5, 1.0]), min_size=1, max_size=40),
    st.integers(1, 12),
)
def test_equal_scores_keep_the_order_of_the_heap(values: list[float], k: int) -> None:
    from vecio.kernels import classify

    heap = classifier._Heap(k)
    for label, p in enumerate(np.array(values, np.float32)):
        heap.offer(classifier._log(p), label)
    wanted = heap.sorted()
    scores, ids = np.empty(k + 1, np.float32), np.empty(k + 1, np.int64)
    size = classify._best(np.array(values, np.float32), k, np.float32(0), scores, ids)
    classify._sort(scores, ids, size)
    assert (scores[:size].tolist(), ids[:size].tolist()) == ([float(s) for s in wanted[0]], wanted[1])


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.one_of(st.integers(0, 2**31 - 1), st.integers(0, 300)), st.integers(0, 9999), max_size=60
    )
)
def test_pruned_buckets_are_found(pairs: dict[int, int]) -> None:
    from vecio.kernels.lookup import pruned_row

    subwords = Subwords(2, 3, 2**31 - 1, pruned=np.array(sorted(pairs.items()), np.int64).reshape(-1, 2))
    packed = subwords.kernel()[-1]
    asked = {0, 1, 2**31 - 1, *pairs, *(key + 1 for key in pairs), *(max(key - 1, 0) for key in pairs)}
    for bucket in asked:
        assert pruned_row(bucket, packed) == pairs.get(bucket, -1)


@settings(max_examples=60)
@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12),
    st.integers(-1, 5),
    st.integers(0, 7),
)
def test_ascii_words_have_the_same_ngrams(word: str, minn: int, maxn: int) -> None:
    from vecio.kernels.lookup import push_ascii, rows_a_start

    subwords = Subwords(minn, maxn, 1009)
    if not subwords.has_ngrams or word == "</s>":
        return
    text = np.frombuffer(f"<{word}>".encode(), np.uint8)
    room = rows_a_start(subwords.kernel(), len(text))
    found: list[int] = []
    ids, place = np.empty(room, np.int64), 0
    while place < len(text):  # in the smallest room, so that it must stop after each start
        n, place = push_ascii(text, len(text), place, subwords.kernel(), 100, ids, 0, room)
        found += ids[:n].tolist()
    assert found == [100 + fnv1a(ngram) % 1009 for ngram in subwords.ngrams(word.encode())]


# -- the process ---------------------------------------------------------------------------------------------------


def test_a_first_prediction_needs_no_compiler() -> None:
    script = (
        "import sys, vecio; e = vecio.open(sys.argv[1]); print(e.predict('the fox', 2)[0]);"
        "sys.exit('numba' in sys.modules)"
    )
    model = DATA / "fasttext" / "sup-softmax-w2-sub.bin"
    done = subprocess.run(
        [sys.executable, "-c", script, str(model)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and "__label__" in done.stdout, done.stderr


def test_published_model_in_many_languages(data_folder: Path, compiled: Switch) -> None:
    path = data_folder / "models" / "fasttext" / "lid.176.ftz"
    if not path.exists():
        pytest.skip(f"needs {path}")
    e = vecio.open(path)
    lines = {
        "de": "Ein kleines Haus steht am Fluss.",
        "en": "A little house by the river.",
        "zh": "河边有一座小房子",
        "ru": "Я живу в большом городе и работаю в школе.",
        "hi": "नदी के किनारे एक छोटा सा घर",
        "es": "Una pequeña casa junto al río.",
    }
    answers = []
    for on in (False, True):
        compiled(on)
        answers.append(bits(e.predict(list(lines.values()), 3)))
    assert answers[0] == answers[1]
    assert [labels[0] for labels, _ in answers[0]] == [f"__label__{language}" for language in lines]
