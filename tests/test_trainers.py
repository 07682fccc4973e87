"""The skip-gram trainer: its text, its tables, its compiled step against the slow twin, and what it learns."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import naive
import numpy as np
import pytest

import vecio
from trainers import corpus, schedule, sgns, stdlib_text
from trainers.kernels_cpu import sgns as kernels
from vecio.subwords import fnv1a

SMALL = sgns.SgnsConfig(dim=12, window=3, epochs=3, minn=3, maxn=4, bucket=500, sample=0.0, seed=7)


def two_subjects(passages: int = 400, length: int = 12) -> list[list[str]]:
    """Return passages that are each about one of two subjects; words of the two never meet, a few stand in both."""
    subjects = (
        ["apple", "cherry", "lemon", "peach", "plum", "quince", "orange", "mango"],
        ["hammer", "chisel", "wrench", "pliers", "drill", "spanner", "anvil", "lathe"],
    )
    both = ["with", "then", "also"]
    choice = random.Random(3)
    return [[choice.choice(subjects[number % 2] + both) for _ in range(length)] for number in range(passages)]


# -- text to numbers -----------------------------------------------------------------------------------------


def test_tokenise_lowers_splits_and_cuts_possessives() -> None:
    text = "The Module's __init__ doesn't use x, 42 or naïve ZipFile.read(); Größe d’accord"
    assert corpus.tokenise(text) == [
        *("the", "module", "init", "doesn't", "use", "or", "naïve", "zipfile", "read", "größe"),
        "accord",
    ]


def test_encode_orders_words_by_count_then_by_appearance() -> None:
    encoded = corpus.encode([["b", "a", "c", "a"], ["rare"], ["c", "b", "d"], []], min_count=2)
    assert encoded.words == ["b", "a", "c"]
    assert encoded.counts.tolist() == [2, 2, 2]
    assert encoded.ids.tolist() == [0, 1, 2, 1, 2, 0]
    assert encoded.starts.tolist() == [0, 4, 6]
    assert (encoded.tokens, encoded.types, len(encoded)) == (8, 5, 6)


def test_shuffled_depends_on_the_seed_alone() -> None:
    passages = [[str(i)] for i in range(50)]
    assert corpus.shuffled(passages, 1) == corpus.shuffled(passages, 1) != corpus.shuffled(passages, 2)
    assert sorted(corpus.shuffled(passages, 1)) == sorted(passages)


@pytest.mark.parametrize(
    ("passages", "min_count", "message"),
    [
        ([], 1, "text is empty"),
        ([[], []], 1, "text is empty"),
        ([["word"] * 9], 1, "one word only"),
        ([["one", "two", "three"]], 5, "of its 3 different words 0 occur 5 times"),
    ],
)
def test_too_small_a_text_is_one_clear_line(passages: list[list[str]], min_count: int, message: str) -> None:
    with pytest.raises(vecio.TrainingError, match=message) as caught:
        corpus.encode(passages, min_count)
    assert "\n" not in str(caught.value)


# -- the text of the standard library ------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path):
    """A folder that looks like a standard library, with things in it that must be passed over."""
    (tmp_path / "pydoc_data").mkdir()
    (tmp_path / "pydoc_data" / "topics.py").write_text(
        'topics = {"if": "The if statement is for choosing paths."}'
    )
    (tmp_path / "a.py").write_text(
        '"""Read and write the files of a thing."""\n'
        "# These two lines are one comment\n# about the function below them.\n"
        'def f():\n    """Return the answer to everything."""\n    raise ValueError("the answer is not known yet")\n'
        'FORMAT = "%s %s %s %d | %d | %x"\n'
    )
    (tmp_path / "b.py").write_text(
        '"""Read and write the files of a thing."""\nimport this_must_not_be_imported\n'
    )
    (tmp_path / "broken.py").write_text("def (:\n# a comment that nobody will ever see\n")
    (tmp_path / "bytes.py").write_bytes(b'"""A text that is not UTF-8: \xff"""')
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "c.py").write_text('"""A test that nobody should read here."""')
    return tmp_path


def test_collect_reads_topics_docstrings_messages_and_comments(library) -> None:
    text = stdlib_text.collect(str(library))
    assert text.passages[:5] == [
        "The if statement is for choosing paths.",
        "Read and write the files of a thing.",
        "Return the answer to everything.",
        "the answer is not known yet",
        "These two lines are one comment\nabout the function below them.",
    ]
    assert not any("nobody" in passage for passage in text.passages)
    assert len(text.passages) > 300  # the built-in types and functions
    assert text.files == 4  # those that could be read, of which one could not be parsed


def test_collect_is_the_same_each_time_and_bounded(library) -> None:
    assert stdlib_text.collect(str(library)) == stdlib_text.collect(str(library))
    seen: list[tuple[int, int]] = []
    text = stdlib_text.collect(
        str(library), max_files=1, progress=lambda done, total: seen.append((done, total))
    )
    assert (text.files, seen) == (1, [(1, 1)])


def test_collect_survives_a_library_without_sources(tmp_path) -> None:
    text = stdlib_text.collect(str(tmp_path / "nowhere"))
    assert text.files == 0
    assert len(text.passages) > 300


# -- tables and schedules ------------------------------------------------------------------------------------


def test_linear_schedule() -> None:
    assert [schedule.linear(done, 4, 0.2) for done in (0, 1, 2, 4, 9)] == [
        0.2,
        0.15000000000000002,
        0.1,
        0.0,
        0.0,
    ]
    assert schedule.linear(3, 0, 0.2, 0.1) == 0.1


def test_keep_chances_thin_frequent_words_only() -> None:
    chances = sgns.keep_chances(np.array([9000, 990, 10]), 0.01)
    ratio = 0.01 / 0.9
    assert chances == pytest.approx([math.sqrt(ratio) + ratio, math.sqrt(0.01 / 0.099) + 0.01 / 0.099, 1.0])
    assert sgns.keep_chances(np.array([9, 1]), 0.0).tolist() == [1.0, 1.0]


def test_negative_table_holds_each_word_by_its_share() -> None:
    counts = np.array([1000, 200, 30, 1])
    table = sgns.negative_table(counts, 0.75, size=100_000)
    share = counts**0.75 / (counts**0.75).sum()
    assert np.bincount(table, minlength=4) / len(table) == pytest.approx(share, abs=2e-5)


def test_input_rows_are_the_words_own_row_and_fasttexts_ngram_rows() -> None:
    words = ["über", "a", "狐狸"]
    rows, starts = sgns.input_rows(words, SMALL)
    for i, word in enumerate(words):
        text = f"<{word}>"
        ngrams = [text[a : a + n] for a in range(len(text)) for n in (3, 4) if a + n <= len(text)]
        expected = [i, *(3 + fnv1a(ngram.encode()) % SMALL.bucket for ngram in ngrams)]
        assert rows[starts[i] : starts[i + 1]].tolist() == expected
    rows, starts = sgns.input_rows(words, replace(SMALL, maxn=0, minn=0, bucket=0))
    assert (rows.tolist(), starts.tolist()) == ([0, 1, 2], [0, 1, 2, 3])


# -- the compiled step ---------------------------------------------------------------------------------------


def test_random_numbers_are_those_of_the_twin() -> None:
    state, twin = np.array([12345], np.uint64), naive.SplitMix64(12345)
    for _ in range(20):
        assert int(kernels.random_bits(state)) == twin.bits()
        assert kernels.random_unit(state) == twin.unit()
        assert kernels.random_below(state, 1000) == twin.below(1000)
    # Vigna's splitmix64.c, seed 1234567.
    state = np.array([1234567], np.uint64)
    assert int(kernels.random_bits(state)) == 6457827717110365317


def test_fill_uniform_stays_within_its_limit() -> None:
    values = np.zeros(10_000, np.float32)
    kernels.fill_uniform(values, 0.25, np.array([1], np.uint64))
    assert -0.25 <= values.min() < -0.24
    assert 0.24 < values.max() <= 0.25
    assert abs(values.mean()) < 0.01


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize(("window", "negatives", "sample"), [(1, 1, 0.0), (4, 5, 0.0), (9, 3, 0.05)])
def test_train_block_does_what_the_twin_does(
    readonly: bool, window: int, negatives: int, sample: float
) -> None:
    encoded = corpus.encode(two_subjects(30))
    config = replace(SMALL, window=window, negatives=negatives, sample=sample)
    rows, row_starts = sgns.input_rows(encoded.words, config)
    keep = sgns.keep_chances(encoded.counts, config.sample)
    table = sgns.negative_table(encoded.counts, config.power, 997)
    for array in (encoded.ids, encoded.starts, rows, row_starts, keep, table):
        array.flags.writeable = not readonly
    numbers = np.random.default_rng(5)
    inputs = numbers.uniform(-0.5, 0.5, (len(encoded.words) + config.bucket, config.dim)).astype(np.float32)
    outputs = numbers.uniform(-0.5, 0.5, (len(encoded.words), config.dim)).astype(np.float32)
    slow_inputs, slow_outputs = inputs.astype(np.float64), outputs.astype(np.float64)
    rate, state, twin = 0.1, np.array([99], np.uint64), naive.SplitMix64(99)
    loss, pairs = kernels.train_block(
        *(encoded.ids, encoded.starts, 3, 25, keep, table, row_starts, rows),
        *(inputs, outputs, np.float32(rate), window, negatives, state),
    )
    slow_loss, slow_pairs = 0.0, 0
    word_rows = [rows[row_starts[i] : row_starts[i + 1]].tolist() for i in range(len(encoded.words))]
    for s in range(3, 25):
        more_loss, more_pairs = naive.sgns_passage(
            encoded.ids[encoded.starts[s] : encoded.starts[s + 1]].tolist(),
            *(keep.tolist(), table.tolist(), word_rows, slow_inputs, slow_outputs, rate, window, negatives),
            *(kernels._SHARED, twin),
        )
        slow_loss, slow_pairs = slow_loss + more_loss, slow_pairs + more_pairs
    assert int(state[0]) == twin.state  # as many random numbers, so the same decisions
    assert pairs == slow_pairs > 0
    assert loss == pytest.approx(slow_loss, rel=1e-4)
    assert inputs == pytest.approx(slow_inputs, abs=1e-4)
    assert outputs == pytest.approx(slow_outputs, abs=1e-4)


def test_train_block_on_nothing_changes_nothing() -> None:
    empty = np.zeros(0, np.int32)
    inputs, outputs = np.ones((2, 4), np.float32), np.ones((2, 4), np.float32)
    result = kernels.train_block(
        *(empty, np.zeros(1, np.int64), 0, 0, np.ones(2, np.float32), np.zeros(1, np.int32)),
        *(np.array([0, 1, 2]), np.array([0, 1], np.int32), inputs, outputs, np.float32(0.1), 5, 5),
        np.zeros(1, np.uint64),
    )
    assert result == (0.0, 0)
    assert (inputs == 1).all()
    assert (outputs == 1).all()


# -- whole runs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
def test_two_subjects_part_and_the_loss_falls(threads: int) -> None:
    encoded = corpus.encode(two_subjects())
    seen: list[sgns.Progress] = []
    model = sgns.train(encoded, replace(SMALL, epochs=12, threads=threads), seen.append)
    embeddings = model.embeddings()
    assert model.losses[-1] < model.losses[0] < (1 + SMALL.negatives) * math.log(2)
    for word, others in (("apple", {"cherry", "plum", "lemon"}), ("hammer", {"wrench", "drill", "chisel"})):
        near = {other for other, _ in embeddings.most_similar(word, topn=7)}
        assert others <= near, near
    assert embeddings.similarity("apple", "hammer") < 0.5 * embeddings.similarity("apple", "cherry")
    done = [progress.done for progress in seen]
    assert done == sorted(done)
    assert done[-1] == seen[-1].total == 12 * len(encoded)
    assert seen[-1].rate == 0.0
    assert seen[-1].seconds_left == 0.0
    assert seen[0].words_per_second > 0


def test_equal_seeds_give_equal_vectors() -> None:
    encoded = corpus.encode(two_subjects(60))
    first, again, other = (sgns.train(encoded, replace(SMALL, seed=seed)) for seed in (1, 1, 2))
    assert (first.inputs == again.inputs).all()
    assert (first.outputs == again.outputs).all()
    assert first.losses == again.losses
    assert (first.inputs != other.inputs).any()


def test_embeddings_are_means_of_the_trained_rows() -> None:
    encoded = corpus.encode(two_subjects(60))
    model = sgns.train(encoded, SMALL)
    embeddings = model.embeddings({"text": "two subjects"})
    rows, starts = sgns.input_rows(encoded.words, SMALL)
    assert list(embeddings.words) == encoded.words
    assert embeddings.counts is not None
    assert embeddings.counts.tolist() == encoded.counts.tolist()
    for i, word in enumerate(encoded.words):
        expected = model.inputs[rows[starts[i] : starts[i + 1]]].mean(axis=0)
        assert embeddings[word] == pytest.approx(expected, abs=1e-6)
    unknown = "applecherry"
    assert unknown not in embeddings
    assert embeddings[unknown] @ embeddings["apple"] > embeddings[unknown] @ embeddings["wrench"]
    assert embeddings.metadata["trainer"] == "sgns"
    assert embeddings.metadata["text"] == "two subjects"


def test_ngrams_of_no_word_stay_zero() -> None:
    encoded = corpus.encode(two_subjects(60))
    model = sgns.train(encoded, SMALL)
    reached = np.zeros(len(model.inputs), bool)
    reached[sgns.input_rows(encoded.words, SMALL)[0]] = True
    assert not model.inputs[~reached].any()
    assert model.inputs[reached].any(axis=1).all()


def test_words_without_ngrams_train_too() -> None:
    encoded = corpus.encode(two_subjects(60))
    model = sgns.train(encoded, replace(SMALL, minn=0, maxn=0, bucket=0))
    assert model.inputs.shape == (len(encoded.words), SMALL.dim)
    assert not model.embeddings().can_embed("applecherry")


def test_a_saved_model_gives_the_same_vectors(tmp_path) -> None:
    model = sgns.train(corpus.encode(two_subjects(60)), SMALL)
    embeddings = model.embeddings()
    path = tmp_path / "model.safetensors"
    embeddings.save(path)
    with vecio.open(path) as opened:
        words = ["apple", "wrench", "applecherry", "hammering"]
        assert opened.embed(words) == pytest.approx(embeddings.embed(words), abs=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dim": 0}, "dim must be at least 1, not 0"),
        ({"window": 0}, "window must be at least 1"),
        ({"negatives": -1}, "negatives must be at least 1"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"lr": 0.0}, "lr must be a positive number"),
        ({"lr": math.nan}, "lr must be a positive number"),
        ({"sample": -1.0}, "sample must not be negative"),
        ({"minn": 5, "maxn": 4}, "minn must not be above maxn"),
        ({"bucket": 0}, "bucket must be at least 1"),
        ({"bucket": 1 << 31}, "more than 2\\^31 rows"),
        ({"bucket": (1 << 31) - 99, "dim": 1 << 40}, "no memory for matrices"),
    ],
)
def test_settings_that_make_no_sense(change: dict[str, float], message: str) -> None:
    encoded = corpus.encode([["one", "two"]])
    with pytest.raises(vecio.TrainingError, match=message) as caught:
        sgns.train(encoded, replace(SMALL, **change))
    assert "\n" not in str(caught.value)


def test_a_diverging_run_says_so() -> None:
    with pytest.raises(vecio.TrainingError, match="diverged in epoch 1: try a smaller lr than"):
        sgns.train(corpus.encode(two_subjects()), replace(SMALL, lr=1e6))


def test_words_that_never_meet_cannot_be_trained() -> None:
    with pytest.raises(vecio.TrainingError, match="no passage of the text holds two words"):
        sgns.train(corpus.encode([["one"], ["two"], ["one"]]), SMALL)
