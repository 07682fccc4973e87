"""gensim's files: the golden answers, files of gensim 3 and 4 made by hand, pickles that would run something, bad ones.

The judge is gensim itself: it loads what vecio wrote and agrees, and vecio reads whatever gensim saves.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import child
import hostile
import numpy as np
import pickles
import pytest
from models import DATA
from pickles import APART, GRAMS, KEYED, VECTORS, WORDS, dump, fasttext, keyed, old, thing

import vecio
from vecio import views
from vecio._binary import MappedFile
from vecio._pickle import Machine
from vecio._pickle_machine import DONE, MAKE
from vecio.embeddings import Embeddings, Parts
from vecio.matrix import Float32
from vecio.vocabulary import Vocabulary

CLEAN = (vecio.VecioError, OSError)
GENSIM = DATA / "gensim"
ANSWERS: dict[str, Any] = json.loads((GENSIM / "gensim.json").read_text("utf-8"))["files"]
OURS = (
    "inline.kv",
    "separate.kv",
    "proto2.kv",
    "compressed.kv.gz",
    "word2vec.model",
    "fasttext.kv",
    "fasttext.model",
)


def fuzz_bases() -> list[bytes | dict[str, bytes]]:
    """Return small valid files, for tools/fuzz.py; the first of several is the main one."""
    apart = {name: (GENSIM / name).read_bytes() for name in ("separate.kv", "separate.kv.vectors.npy")}
    packed = {
        name: (GENSIM / name).read_bytes() for name in ("compressed.kv.gz", "compressed.kv.gz.vectors.npz")
    }
    plain: list[bytes | dict[str, bytes]] = [dump(keyed(), p) for p in (2, 3, 4, 5)]
    return [*plain, dump(fasttext()), dump(old(), 2), dump(old(newer=False), 3), apart, packed]


def numbers(text: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(text), "<f4")


def put(path: Path, value: Any, protocol: int = 4) -> Path:
    """Write a pickle of `value` (or these very bytes) and return the path."""
    path.write_bytes(value if isinstance(value, bytes) else dump(value, protocol))
    return path


def error_of(path: Path, **options: Any) -> str:
    """Open what must be refused; return what the clean error says: the file is named, and it came at once."""
    began = time.perf_counter()
    with pytest.raises(CLEAN) as caught:
        vecio.open(path, **options)
    assert time.perf_counter() - began < 2
    assert str(path.parent) in str(caught.value), caught.value
    return str(caught.value)


def check(path: Path, words: list[str] = WORDS, vectors: np.ndarray = VECTORS) -> None:
    with vecio.open(path) as e:
        assert e.format == "gensim" and list(e.words) == words
        assert e.embed(words).tobytes() == np.asarray(vectors, np.float32).tobytes()
        assert hostile.inconsistency(e, CLEAN) is None


# -- golden answers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OURS)
def test_golden(name: str) -> None:
    answers = ANSWERS[name]
    assert vecio.detect(GENSIM / name) == "gensim"
    with vecio.open(GENSIM / name) as e:
        assert list(e.words) == answers["keys"] and e.dim == answers["dim"]
        assert e.counts is not None and e.counts.tolist() == answers["counts"]
        expected = np.stack([numbers(vector) for vector in answers["vectors"]])
        found = e.embed(answers["keys"])
        if name.startswith("fasttext"):  # gensim sums in another order
            assert np.abs(found - expected).max() < 1e-6
        else:
            assert found.tobytes() == expected.tobytes()
        for word, vector in answers.get("oov", {}).items():
            assert np.abs(e.embed([word], "zero")[0] - numbers(vector)).max() < 1e-6
        assert hostile.inconsistency(e, CLEAN) is None
        assert e.metadata["gensim"] == "4.4.0"
        again = pickle.loads(pickle.dumps(e))
        assert again.embed(answers["keys"]).tobytes() == found.tobytes()


def test_settings_of_a_model() -> None:
    with vecio.open(GENSIM / "fasttext.model") as e:
        assert {
            key: e.metadata[key] for key in ("class", "model", "loss", "ws", "neg", "minn", "maxn", "bucket")
        } == {
            "class": "FastText",
            "model": "cbow",
            "loss": "ns",
            "ws": 5,
            "neg": 5,
            "minn": 2,
            "maxn": 4,
            "bucket": 60,
        }
        assert e._parts.output is not None and e._parts.output.shape == (len(e), e.dim)


def test_arrays_are_mapped_not_copied(tmp_path: Path) -> None:
    """A matrix lies in the file, in the pickle or beside it; only protocol 2 makes a copy of it."""
    for path in (GENSIM / "inline.kv", GENSIM / "separate.kv"):
        with vecio.open(path) as e:
            array: Any = e._words.arrays()[0]
            while isinstance(array.base, np.ndarray):
                array = array.base
            assert not array.flags.writeable


# -- all that gensim 3 and 4 write ---------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol(protocol: int, tmp_path: Path) -> None:
    check(put(tmp_path / "a.kv", keyed(), protocol))
    with vecio.open(tmp_path / "a.kv") as e:
        assert e.counts is not None and e.counts.tolist() == [40, 39, 38, 37]


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("newer", [True, False])
def test_gensim_3(protocol: int, newer: bool, tmp_path: Path) -> None:
    """Vocab objects with index and count; index2entity and vectors, or index2word and syn0; alone or in a model."""
    check(put(tmp_path / "a.kv", old(newer=newer), protocol))
    with vecio.open(tmp_path / "a.kv") as e:
        assert e.counts is not None and e.counts.tolist() == [100, 93, 86, 79]
    model = thing("gensim.models.word2vec", "Word2Vec", wv=old(newer=newer), window=4, iter=5, **APART)
    model.trainables = thing("gensim.models.word2vec", "Word2VecTrainables", syn1neg=VECTORS, seed=1)
    model.vocabulary = thing("gensim.models.word2vec", "Word2VecVocab", min_count=5)
    check(put(tmp_path / "a.model", model, protocol))
    with vecio.open(tmp_path / "a.model") as e:
        assert e.metadata["ws"] == 4 and e._parts.output is not None
    older = old("gensim.models.word2vec", "Word2Vec", newer=newer, window=4)
    check(put(tmp_path / "b.model", older, protocol))  # the oldest models are their own vectors


def test_gensim_3_with_words_of_different_make(tmp_path: Path) -> None:
    model = old()
    model.vocab["x"].__dict__["extra"] = 1.5
    del model.vocab["the"].__dict__["sample_int"]
    check(put(tmp_path / "a.kv", model))
    model.vocab["x"].index = 2
    assert "row 2" in error_of(put(tmp_path / "a.kv", model))
    model.vocab["x"].__dict__.pop("index")
    assert "index" in error_of(put(tmp_path / "a.kv", model))


def test_python_2(tmp_path: Path) -> None:
    """Byte strings stand for texts (of attributes) and for the bytes of arrays; the memo begins at 1."""

    def string(data: bytes) -> bytes:
        return b"U" + bytes([len(data)]) + data

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85U\x01b\x87R(K\x01K\x02K\x03\x86"
        b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + string(VECTORS[:2].tobytes())
        + b"tb"
    )
    words = b"](" + string(b"the") + b"q\x04" + pickles.text("größe") + b"q\x05e"
    index = b"}(h\x04K\x00h\x05K\x01u"
    state = b"".join(
        string(key) + value
        for key, value in (
            (b"vectors", array),
            (b"index_to_key", words),
            (b"key_to_index", index),
            (b"vector_size", b"K\x03"),
        )
    )
    data = b"\x80\x02cgensim.models.keyedvectors\nKeyedVectors\nq\x01)\x81}(" + state + b"ub."
    check(put(tmp_path / "a.kv", data), ["the", "größe"], VECTORS[:2])


@pytest.mark.parametrize("dtype", ["<f4", "<f2", "<f8", ">f4", ">f8", "i4", "u1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numbers_of_every_kind(dtype: str, order: Any, tmp_path: Path) -> None:
    values = np.array(VECTORS * 7, dtype, order=order)
    for protocol in (2, 4, 5):
        check(put(tmp_path / "a.kv", keyed(vectors=values), protocol), vectors=values.astype(np.float32))
    apart = keyed(leave=("vectors",), __numpys=["vectors"])
    np.save(tmp_path / "b.kv.vectors.npy", values)
    check(put(tmp_path / "b.kv", apart), vectors=values.astype(np.float32))


def test_odd_keys(tmp_path: Path) -> None:
    for words in (["", "a b", "\n\0", "\u2028\ufeff"], ["x", "\udcff", "y\udc80z", "x" * 70_000]):
        check(put(tmp_path / "a.kv", keyed(words)), words)
    with vecio.open(put(tmp_path / "c.kv", keyed([7, "7a", -3, 2**40]))) as e:
        assert list(e.words) == ["7", "7a", "-3", str(2**40)] and e.metadata["number_keys"] == 3
        assert e["-3"].tobytes() == VECTORS[2].tobytes()
    with vecio.open(put(tmp_path / "d.kv", keyed([0, 1, 2, "tag"], key_to_index={"tag": 3}))) as e:
        assert list(e.words) == ["0", "1", "2", "tag"]  # tags of documents that are their row's number
    assert "key 1" in error_of(put(tmp_path / "e.kv", keyed(["a", (1, 2), "b", "c"])))
    assert "key 2" in error_of(put(tmp_path / "e.kv", keyed(["a", "b", 1.5, "c"])))


def test_rows_without_a_word(tmp_path: Path) -> None:
    """gensim leaves them where a text file had a word twice."""
    index = {"the": 0, "x": 2}
    path = put(tmp_path / "a.kv", keyed(["the", None, "x", None], key_to_index=index))
    check(path, ["the", "x"], VECTORS[[0, 2]])
    with vecio.open(path) as e:
        assert e.counts is not None and e.counts.tolist() == [40, 38]
    check(
        put(tmp_path / "b.kv", keyed(["the", "x", None, None], key_to_index={"the": 0, "x": 1})),
        ["the", "x"],
        VECTORS[:2],
    )


def test_index_in_another_order(tmp_path: Path) -> None:
    """The texts of the index need not be the same objects, nor in the same order."""
    index = {"".join(word): i for i, word in reversed(list(enumerate(WORDS)))}
    check(put(tmp_path / "a.kv", keyed(key_to_index=index)))


@pytest.mark.parametrize(
    "index",
    [
        {"the": 0, "größe": 1, "狐狸": 2, "x": 2},
        {"the": 0, "größe": 1, "狐狸": 3, "x": 2},
        {"the": 0, "größe": 1, "狐狸": 2, "other": 3},
        {"the": 0, "größe": 1, "狐狸": 2, "x": 4},
        {"the": 0, "größe": 1, "狐狸": 2, "x": -1},
        {"the": 0, "größe": 1, "狐狸": 2, "x": "3"},
        {"the": 0, "größe": 1, "狐狸": 2, "x": 3.0},
        {"the": 0, "größe": 1, "狐狸": 2},
        {"the": 0, "größe": 1, "狐狸": 2, "x": 3, "more": 4},
        {},
        ["the"],
        None,
    ],
    ids=repr,
)
def test_index_that_contradicts_the_words(index: Any, tmp_path: Path) -> None:
    said = error_of(put(tmp_path / "a.kv", keyed(key_to_index=index)))
    assert "index" in said or "key_to_index" in said


def test_fasttext_vectors(tmp_path: Path) -> None:
    for protocol in (2, 4, 5):
        with vecio.open(put(tmp_path / "a.kv", fasttext(), protocol)) as e:
            assert e._subwords is not None and e._subwords.kind == "gensim"
            rows = e._subwords.rows(b"x")
            expected = (VECTORS[3] + GRAMS[rows].sum(axis=0)) / (len(rows) + 1)
            assert np.allclose(e["x"], expected, atol=1e-6)
            assert e.can_embed("</s>") and np.allclose(
                e["</s>"], GRAMS[e._subwords.rows(b"</s>")].mean(axis=0)
            )
            assert hostile.inconsistency(e, CLEAN) is None
    moved = fasttext()
    moved.__class__ = pickles.kind(KEYED, "FastTextKeyedVectors")  # where gensim 3 had it
    assert vecio.open(put(tmp_path / "b.kv", moved)).can_embed("unseen")
    with vecio.open(put(tmp_path / "c.kv", fasttext(bucket=0, vectors_ngrams=None))) as e:
        assert e["x"].tobytes() == VECTORS[3].tobytes() and not e.can_embed("unseen")
    with vecio.open(put(tmp_path / "d.kv", fasttext(vectors=VECTORS * 2))) as e:  # as gensim 3 saved it
        assert e.embed(WORDS).tobytes() == (VECTORS * 2).tobytes() and e.can_embed("unseen")
        unseen = e["unseen"]
        e.save(tmp_path / "e.kv")
    with vecio.open(
        tmp_path / "e.kv"
    ) as e:  # gensim 4 has no place for other vectors than those that it computes
        assert e["unseen"].tobytes() == unseen.tobytes()


def test_fasttext_vectors_that_cannot_be_served(tmp_path: Path) -> None:
    path = tmp_path / "a.kv"
    for changes in ({"compatible_hash": False}, {"compatible_hash": None}, {"hash2index": {1: 2}}):
        assert "3.8" in error_of(put(path, fasttext(**changes)))
    for changes in (
        {"bucket": 11},
        {"bucket": -1},
        {"bucket": 2**40},
        {"bucket": "10"},
        {"min_n": None},
        {"max_n": 2.5},
        {"vectors_ngrams": None},
        {"vectors_ngrams": GRAMS[:, :2]},
        {"vectors_ngrams": [1, 2]},
        {"vectors_vocab": VECTORS[:3]},
        {"vectors_vocab": None},
        {"vectors": VECTORS[:3]},
    ):
        error_of(put(path, fasttext(**changes)))


# -- files beside the pickle ---------------------------------------------------------------------------------------


def test_array_in_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = put(tmp_path / "renamed.kv", (GENSIM / "separate.kv").read_bytes())
    assert "renamed.kv.vectors.npy" in error_of(path)
    with pytest.raises(vecio.VecioError, match="vectors"):
        vecio.open(path.read_bytes())


def npy(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def test_array_in_a_file_that_is_wrong(tmp_path: Path) -> None:
    path = put(tmp_path / "a.kv", keyed(leave=("vectors",), __numpys=["vectors"]))
    beside = tmp_path / "a.kv.vectors.npy"
    whole = npy(VECTORS)
    for data in (
        b"",
        whole[:50],
        whole[:-1],
        npy(VECTORS[:3]),
        npy(VECTORS[:, :2]),
        npy(VECTORS[0]),
        npy(np.array([["a"] * 3] * 4)),
        b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (4, 3), }".ljust(128)
        + b"\x80\x04N.",
        dump(keyed()),
    ):
        beside.write_bytes(data)
        error_of(path)
    beside.write_bytes(whole)
    check(path)


def test_names_of_arrays_lead_nowhere_else(tmp_path: Path) -> None:
    """Only arrays that are needed are opened, under names that are made here."""
    for name in ("../../secret", "/etc/passwd", "vectors\0", "."):
        model = keyed(leave=("vectors",), __numpys=[name])
        assert "vectors" in error_of(put(tmp_path / "a.kv", model))
        check(put(tmp_path / "b.kv", keyed(__numpys=[name, "syn1"])))


def packed(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def test_packed_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECIO_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "a.kv.gz"
    path.write_bytes(gzip.compress(dump(keyed(leave=("vectors",), __numpys=["vectors"]))))
    beside = tmp_path / "a.kv.gz.vectors.npz"
    whole = packed({"val.npy": npy(VECTORS)})
    assert "a.kv.gz.vectors.npz" in error_of(path)
    bomb = packed({"val.npy": npy(np.zeros((1 << 21, 3), np.float32))})
    assert len(bomb) < 1 << 17
    lying = whole.replace(len(npy(VECTORS)).to_bytes(4, "little"), (1 << 31).to_bytes(4, "little"))
    for data in (
        b"",
        b"PK\x03\x04",
        whole[:100],
        whole[:-1],
        whole[:60] + b"\xff" * 20 + whole[80:],
        packed({"other.npy": npy(VECTORS)}),
        packed({"val.npy": npy(VECTORS), "../x": b""}),
        packed({"val.npy": npy(VECTORS), **{f"{i}": b"" for i in range(1000)}}),
        packed({"val.npy": b"text"}),
        packed({"val.npy": npy(VECTORS)[:-1]}),
        bomb,
        lying,
    ):
        beside.write_bytes(data)
        error_of(path)
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        beside.write_bytes(packed({"val.npy": npy(VECTORS)}, method))
        check(path)


# -- pickles that would run something ------------------------------------------------------------------------------


def try_all(folder: str) -> list[Any]:
    """Open every evil pickle; return what was refused wrongly, what Python's audit saw, and how many there were."""
    seen: list[str] = []
    watched = (
        "os.",
        "subprocess.",
        "pickle.",
        "marshal.",
        "exec",
        "compile",
        "import",
        "socket.",
        "ctypes.",
        "shutil.",
    )
    harmless = ("os.listdir", "os.scandir")
    path, target = os.path.join(folder, "evil.kv"), os.path.join(folder, "executed")
    list(vecio.open(GENSIM / "fasttext.model").words)  # what is imported when it is first needed is there now
    wrong: list[str] = []
    count = 0
    on = False
    sys.addaudithook(
        lambda event, args: (
            seen.append(f"{event} {args!r:.100}")
            if on and event.startswith(watched) and event not in harmless
            else None
        )
    )
    for label, data, said in pickles.evil(target):
        Path(path).write_bytes(data)
        count += 1
        on = True
        try:
            vecio.open(path)
            wrong.append(f"{label}: opened")
        except vecio.VecioError as error:
            on = False
            text = str(error)
            if said not in text or path not in text or "nothing was run" not in text:
                wrong.append(f"{label}: {text}")
        except Exception as error:
            wrong.append(f"{label}: foreign {type(error).__name__}: {error}")
        on = False
    return [wrong, seen, count, os.path.exists(target)]


def test_nothing_in_a_pickle_is_run(tmp_path: Path) -> None:
    """G14: every payload is refused by its name, and Python itself saw no import, no call, no other file."""
    wrong, seen, count, executed = child.run(try_all, tmp_path)
    assert not wrong, "\n".join(wrong[:20]) + f"\n{len(wrong)} of {count}"
    assert not seen and not executed and count > 300


def test_the_payloads_are_real(tmp_path: Path) -> None:
    """What vecio refuses, the ordinary unpickler runs."""
    target = tmp_path / "executed"
    data = next(data for label, data, _ in pickles.evil(str(target)) if label == "os system 4, alone")
    assert pickle.loads(data) == 0 and target.exists()


def test_what_reduce_gives_is_refused_by_name(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'executed'}",)

    class Later:
        def __reduce__(self) -> Any:
            return eval, ("__import__('os').system('id')",)

    system = f"{os.system.__module__} system"
    for protocol in (2, 3, 4, 5):
        path = tmp_path / "a.kv"
        path.write_bytes(pickle.dumps(Evil(), protocol))
        assert system in error_of(path)
        for place in ("vectors", "vector_size", "expandos", "key_to_index", "lifecycle_events"):
            assert system in error_of(put(path, keyed(**{place: Evil()}), protocol))
        assert "eval" in error_of(put(path, keyed(["a", "b", "c", Later()]), protocol))
        objects = np.array([[Evil()] * 3] * 4, object)
        assert system in error_of(put(path, keyed(vectors=objects), protocol))
    assert not (tmp_path / "executed").exists()


def test_arrays_of_objects_are_never_read(tmp_path: Path) -> None:
    objects = np.array([["a", 1, None]] * 4, object)
    for protocol in (2, 4, 5):
        assert "objects" in error_of(put(tmp_path / "a.kv", keyed(vectors=objects), protocol))


def test_other_models_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.model"
    assert "LdaModel" in error_of(put(path, thing("gensim.models.ldamodel", "LdaModel", a=1)))
    assert "Vocab" in error_of(put(path, thing(KEYED, "Vocab", a=1)))
    assert "no word vectors" in error_of(put(path, pickle.dumps([1, 2])))
    assert "wv" in error_of(put(path, thing("gensim.models.word2vec", "Word2Vec", wv={"a": 1})))
    error_of(put(path, thing("gensim.models.word2vec", "Word2Vec", a=1)))
    error_of(put(path, thing(KEYED, "KeyedVectors")))
    error_of(put(path, pickle.dumps(None)))


# -- pickles that contradict themselves ----------------------------------------------------------------------------


def whole(protocol: int = 4) -> bytes:
    return dump(keyed(), protocol)


def opcodes(data: bytes) -> bytes:
    """Return the opcodes of a pickle of protocol 4 without its only frame."""
    return data[11:]


HEAD = b"\x80\x04"
BAD: dict[str, Callable[[], bytes]] = {
    "no STOP": lambda: whole()[:-1],
    "no STOP, no frame": lambda: HEAD + opcodes(whole())[:-1],
    "bytes after STOP": lambda: whole() + b"N",
    "zeros after STOP": lambda: whole() + bytes(4096),
    "another pickle after STOP": lambda: whole() + whole(),
    "STOP at once": lambda: HEAD + b".",
    "two values": lambda: HEAD + b"NN.",
    "a mark left": lambda: HEAD + b"N(.",
    "a frame that ends inside a text": lambda: whole()[:3] + (100).to_bytes(8, "little") + whole()[11:],
    "a frame too long": lambda: whole()[:3] + (len(whole()) - 10).to_bytes(8, "little") + whole()[11:],
    "a frame of 2^63": lambda: whole()[:3] + (1 << 63).to_bytes(8, "little") + whole()[11:],
    "a frame of nothing at the end": lambda: HEAD + opcodes(whole())[:-1] + b"\x95" + bytes(8),
    "a frame in a frame": lambda: (
        whole()[:11] + b"\x95" + (len(whole()) - 20).to_bytes(8, "little") + whole()[20:]
    ),
    "a frame that ends inside an opcode": lambda: HEAD + b"\x95" + (1).to_bytes(8, "little") + b"K\x01.",
    "protocol 6": lambda: b"\x80\x06" + whole()[2:],
    "protocol 1": lambda: b"\x80\x01" + whole()[2:],
    "protocol 255": lambda: b"\x80\xff" + whole()[2:],
    "PROTO twice": lambda: HEAD + HEAD + opcodes(whole()),
    "a text of 2^32 - 1": lambda: HEAD + b"X\xff\xff\xff\xffabc.",
    "a text of 2^63": lambda: HEAD + b"\x8d" + (1 << 63).to_bytes(8, "little") + b"abc.",
    "a text of 2^56": lambda: HEAD + b"\x8d" + (1 << 56).to_bytes(8, "little") + b"abc.",
    "bytes of 2^40": lambda: HEAD + b"\x8e" + (1 << 40).to_bytes(8, "little") + b"abc.",
    "a byte array of 2^64 - 1": lambda: HEAD + b"\x96" + b"\xff" * 8 + b"abc.",
    "a string of -1": lambda: HEAD + b"T\xff\xff\xff\xff.",
    "a LONG1 of 255": lambda: HEAD + b"\x8a\xff\x01.",
    "a LONG4 of 2^31 - 1": lambda: HEAD + b"\x8b\xff\xff\xff\x7f.",
    "the memo's number 2^32 - 1": lambda: HEAD + b"j\xff\xff\xff\xff.",
    "kept as number 2^32 - 1": lambda: HEAD + b"]r\xff\xff\xff\xff.",
    "kept as number 200": lambda: HEAD + b"]q\xc8.",
    "the memo is empty": lambda: HEAD + b"h\x00.",
    "nothing to keep": lambda: HEAD + b"\x94.",
    "a number kept": lambda: HEAD + b"K\x01\x94.",
    "nothing to append to": lambda: HEAD + b"(K\x01e.",
    "appended to a number": lambda: HEAD + b"K\x01(K\x02e.",
    "an odd number of items": lambda: HEAD + b"}(K\x01u.",
    "items without a mark": lambda: HEAD + b"}K\x01K\x02u.",
    "item of nothing": lambda: HEAD + b"K\x01s.",
    "below the mark": lambda: HEAD + b"](K\x01a.",
    "three of two": lambda: HEAD + b"K\x01K\x02\x87.",
    "BUILD of a list": lambda: HEAD + b"]}b.",
    "BUILD twice": lambda: HEAD + pickles.name(KEYED, "KeyedVectors", 4) + b")\x81}b}b.",
    "BUILD of a class": lambda: HEAD + pickles.name(KEYED, "KeyedVectors", 4) + b"}b.",
    "REDUCE of a text": lambda: HEAD + pickles.text("os.system") + b")R.",
    "NEWOBJ of a number": lambda: HEAD + b"K\x01)\x81.",
    "arguments that are a list": lambda: HEAD + pickles.name("numpy", "dtype", 4) + b"]R.",
    "STACK_GLOBAL of numbers": lambda: HEAD + b"K\x01K\x02\x93.",
    "STACK_GLOBAL of nothing": lambda: HEAD + b"\x93.",
    "a name without an end": lambda: HEAD + b"cos",
    "a name of 100,000 bytes": lambda: HEAD + b"c" + b"o" * 100_000 + b"\nx\n.",
    "an unknown opcode": lambda: HEAD + b"\xff.",
    "a NUL": lambda: HEAD + b"\x00.",
    "only PROTO": lambda: HEAD,
    "half of PROTO": lambda: HEAD[:1],
    "DUP": lambda: HEAD + b"N2\x86.",
    "POP_MARK": lambda: HEAD + b"N(N1.",
    "text opcodes": lambda: HEAD + b"I1\n.",
    "a list that holds itself": lambda: HEAD + b"]\x94h\x00a.",
    "an object that is its own state": lambda: (
        HEAD + pickles.name(KEYED, "KeyedVectors", 4) + b")\x81\x94h\x00b."
    ),
    "nested lists": lambda: HEAD + b"]" * 200_000 + b"a" * 199_999 + b".",
    "nested tuples": lambda: HEAD + b"N" + b"\x85" * 300_000 + b".",
    "a million marks": lambda: HEAD + b"(" * 1_500_000 + b".",
    "a million values": lambda: HEAD + b"N" * 1_500_000 + b".",
    "empty dicts": lambda: HEAD + b"(" + b"}" * 900_000 + b"t.",
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("compiled", [False, True])
def test_bad_pickle(what: str, compiled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is refused with the file, the place, what was expected and what was found; plain and compiled alike."""
    monkeypatch.setattr("vecio._effort._loaded", compiled)
    path = put(tmp_path / "a.kv", BAD[what]())
    with pytest.raises(vecio.VecioError) as caught:
        vecio.open(path, format="gensim")
    error = caught.value
    assert str(path) in str(error)
    if isinstance(error, vecio.FormatError) and "attribute" not in str(error):
        assert error.expected is not None and error.found is not None
        assert error.offset is not None and 0 <= error.offset <= path.stat().st_size


def test_laughs_stay_small(tmp_path: Path) -> None:
    """A memo that multiplies itself: only references are made, and nothing long is looked at many times."""
    lists = b"".join(b"](h" + bytes([i]) + b"h" + bytes([i]) + b"e\x94" for i in range(200))
    error_of(put(tmp_path / "a.kv", HEAD + b"(]\x94" + lists + b"t."))
    made = pickles.name(KEYED, "KeyedVectors", 4) + b")\x81"
    error_of(put(tmp_path / "a.kv", HEAD + made + b"(]\x94" + lists + b"tb."))
    word = "w" * 100_000
    same = keyed([word] * 50_000, np.zeros((50_000, 1), np.float32), vector_size=1)
    assert "longer than the file" in error_of(put(tmp_path / "b.kv", same))
    shared = old()
    one = shared.vocab["the"]
    one.__dict__.update({f"{i}" * 100: 1 for i in range(900)})
    shared.vocab = {f"w{i}": one for i in range(20_000)}
    shared.__dict__.update(index2entity=list(shared.vocab), vectors=np.zeros((20_000, 3), np.float32))
    error_of(put(tmp_path / "d.kv", shared))
    states = old()
    states.vocab = {f"w{i}": pickles.kind(KEYED, "Vocab")() for i in range(2000)}
    for entry in states.vocab.values():  # objects of their own, with one state
        entry.__dict__ = one.__dict__
    states.__dict__.update(index2entity=list(states.vocab), vectors=np.zeros((2000, 3), np.float32))
    begin = time.perf_counter()
    error_of(put(tmp_path / "e.kv", states))
    text = b"X" + (1 << 20).to_bytes(4, "little") + b"w" * (1 << 20)
    shape = b"(" + text + b"q\x00" + b"h\x00" * 10_000 + b"t"
    long = HEAD + whole()[11:].replace(b"K\x04K\x03\x86", shape)  # without the frame
    assert "shape" in error_of(put(tmp_path / "f.kv", long))
    assert time.perf_counter() - begin < 1


@pytest.mark.parametrize(
    "changes",
    [
        {"vectors": VECTORS[:3]},
        {"vectors": VECTORS[0]},
        {"vectors": VECTORS[:, :2]},
        {"vectors": VECTORS[:, :0]},
        {"vectors": VECTORS.reshape(4, 3, 1)},
        {"vectors": None},
        {"vectors": [1.0, 2.0]},
        {"vectors": VECTORS.astype(np.complex64)},
        {"vectors": VECTORS.astype("S4")},
        {"vectors": VECTORS > 0},
        {"vectors": np.zeros((4, 3), [("a", "f4")])},
        {"vector_size": 4},
        {"index_to_key": None},
        {"index_to_key": "the"},
        {"index_to_key": WORDS[:3]},
        {"index_to_key": [*WORDS, "more"]},
    ],
    ids=lambda changes: str(next(iter(changes.items())))[:40],
)
def test_attributes_that_contradict(changes: dict[str, Any], tmp_path: Path) -> None:
    for protocol in (2, 4, 5):
        error_of(put(tmp_path / "a.kv", keyed(**changes), protocol))


def test_array_recipes_that_lie(tmp_path: Path) -> None:
    """The bytes of an array against its shape, the shape's numbers, the dtype's parts."""
    data = whole()
    raw, shape = VECTORS.tobytes(), b"K\x04K\x03\x86"
    assert data.count(raw) == 1 and data.count(shape) == 1
    huge = b"J\xff\xff\xff\x7f"
    for new in (b"K\x04K\x04\x86", b"K\x05K\x03\x86", b"J\xff\xff\xff\xffK\x03\x86", huge * 2 + b"\x86"):
        error_of(put(tmp_path / "a.kv", HEAD + opcodes(data.replace(shape, new))))
    for a, b in (
        (b"\x02f4", b"\x02f8"),
        (b"\x02f4", b"\x02O8"),
        (b"\x02f4", b"\x02c8"),
        (b"\x01<", b"\x01?"),
    ):
        assert b"\x8c" + a in data
        error_of(put(tmp_path / "a.kv", data.replace(b"\x8c" + a, b"\x8c" + b)))
    text = dump(keyed(), 2)
    assert "shape" in error_of(put(tmp_path / "b.kv", text.replace(b"K\x04K\x03\x86", b"K\x05K\x03\x86")))


@pytest.mark.parametrize("base", range(9))
def test_cut_and_changed_anywhere(base: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cut is refused; every changed byte gives a clean error or a model that agrees with itself."""
    monkeypatch.setenv("VECIO_CACHE", str(tmp_path / "cache"))
    found = fuzz_bases()[base]
    files = {"a.kv": found} if isinstance(found, bytes) else found
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    main = next(iter(files))
    for name, data in files.items():
        path = tmp_path / name
        for at in range(len(data)):
            if at % 11 == base or len(data) - at < 5 or (base == 0 and at % 2):
                path.write_bytes(data[:at])
                error_of(tmp_path / main, format="gensim")
            if (at + base) % 3:
                continue
            value = (data[at] ^ 1, data[at] ^ 0x80, 0xFF, 0)[at % 4]
            path.write_bytes(data[:at] + bytes([value]) + data[at + 1 :])
            try:
                with vecio.open(tmp_path / main, format="gensim") as e:
                    assert at % 7 or hostile.inconsistency(e, CLEAN) is None
            except CLEAN as error:
                assert str(tmp_path) in str(error)
        path.write_bytes(data)


def test_damage_that_knows_no_format(tmp_path: Path) -> None:
    """C1 to C38."""
    wrong = []
    for i, (row, must, data, _) in enumerate(hostile.cases_any(whole())):
        path = tmp_path / f"{i}.kv"
        path.write_bytes(data)
        try:
            with vecio.open(path) as e:
                if must == "E":
                    wrong.append(f"{row}: opened")
                elif must == "X" and e.embed(WORDS, "zero").tobytes() != VECTORS.tobytes():
                    wrong.append(f"{row}: other vectors")
                elif (problem := hostile.inconsistency(e, CLEAN)) is not None:
                    wrong.append(f"{row}: {problem}")
        except CLEAN as error:
            if str(path) not in str(error):
                wrong.append(f"{row}: {error}")
    assert not wrong, "\n".join(wrong)


def test_hole_behind_a_valid_start(tmp_path: Path) -> None:
    path = put(tmp_path / "a.kv", whole())
    os.truncate(path, 512 << 20)
    assert "before the file does" in error_of(path)


# -- the compiled machine ------------------------------------------------------------------------------------------


def tables(data: bytes, compiled: bool) -> list[Any]:
    """Run the machine; return its tables and how it ended."""
    file = MappedFile.of_bytes([data], "<test>")
    machine = Machine(file, Anything())
    code: Any = -1
    try:
        machine.state[0] = 2
        while code != DONE:
            code = machine._go(compiled)
            if code == 2:
                machine._grow()
            elif code == 3:
                machine._name()
            elif code > 3:
                break
    except vecio.VecioError as error:
        code = str(error)
    finally:
        file.close()
    used = machine.state.tolist()
    parts = zip(machine.tables[:4], (2, 3, 4, 5), strict=True)
    return [code, used, *[table[: used[i]].tolist() for table, i in parts]]


class Anything(dict[tuple[str, str], int]):
    def get(self, key: Any, default: Any = None) -> Any:
        return MAKE if key[0].startswith("gensim") else 2


@pytest.mark.parametrize("name", ["inline.kv", "proto2.kv", "word2vec.model", "fasttext.model"])
def test_compiled_machine_does_the_same(name: str) -> None:
    data = (GENSIM / name).read_bytes()
    assert tables(data, True) == tables(data, False)
    for cut in range(2, len(data), 97):
        assert tables(data[:cut], True) == tables(data[:cut], False)


def test_many_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Portions, frames and tables that grow, by both machines."""
    words = [f"word{i}" for i in range(30_000)]
    vectors = np.arange(60_000, dtype=np.float32).reshape(-1, 2)
    model = keyed(words, vectors, vector_size=2)
    for protocol in (2, 4):
        data = pickles.dump(model, protocol)
        for compiled in (False, True):
            monkeypatch.setattr("vecio._effort._loaded", compiled)
            with vecio.open(put(tmp_path / f"{protocol}{compiled}.kv", data)) as e:
                assert list(e.words) == words and e.embed(words[::99]).tobytes() == vectors[::99].tobytes()


# -- writing -------------------------------------------------------------------------------------------------------


def loaded(path: Path) -> Any:
    models = pytest.importorskip("gensim.models")
    return models.KeyedVectors.load(str(path))


ODD = [
    "the",
    "new york",
    "",
    "\n",
    "a\0b",
    "\u2028",
    "\ufeff",
    "größe",
    "\udcff\udc80",
    "</s>",
    "x" * 70_000,
    "None",
]


@pytest.mark.judge
def test_gensim_loads_what_is_written(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).normal(size=(len(ODD), 5)).astype(np.float32)
    vectors[0, :4] = (np.nan, np.inf, -0.0, 1e-45)
    e = vecio.Embeddings.from_arrays(ODD, vectors, counts=range(len(ODD)))
    e.save(tmp_path / "a.kv")
    k = loaded(tmp_path / "a.kv")
    assert type(k).__name__ == "KeyedVectors" and k.index_to_key == ODD and len(k.key_to_index) == len(ODD)
    assert k.vectors.tobytes() == vectors.tobytes() and k.vectors.dtype == np.float32
    assert [k.get_vecattr(word, "count") for word in ODD] == list(range(len(ODD)))
    assert [k.key_to_index[word] for word in ODD] == list(range(len(ODD)))
    k.add_vectors(["new"], vectors[1:2])
    k.save(str(tmp_path / "b.kv"))
    with vecio.open(tmp_path / "b.kv") as back:
        assert list(back.words) == [*ODD, "new"]
        assert back.embed(ODD).tobytes() == vectors.tobytes()


@pytest.mark.judge
@pytest.mark.parametrize("name", ["fasttext/sg-ns.bin", "fasttext/sg-hs.bin", "gensim/fasttext.kv"])
@pytest.mark.parametrize("through", [None, "float32", "pruned"])
def test_gensim_makes_the_vectors_of_unknown_words(name: str, through: str | None, tmp_path: Path) -> None:
    """From own rows as they are, from finished vectors, and with n-grams that pruning dropped."""
    e = vecio.open(DATA / name)
    if through == "float32":
        e.save(tmp_path / "native.safetensors")
        e = vecio.open(tmp_path / "native.safetensors")
    if through == "pruned":
        assert e._grams is not None
        e = views.select(e, grams=np.arange(0, len(e._grams), 2))
    if name.startswith("fasttext"):
        with pytest.raises(vecio.UnsupportedError, match="not UTF-8"):
            e.save(tmp_path / "a.kv")
    e.save(tmp_path / "a.kv", drop=True)
    k = loaded(tmp_path / "a.kv")
    assert type(k).__name__ == "FastTextKeyedVectors"
    words = k.index_to_key
    assert words == [word for word in e.words if not any("\udc80" <= c <= "\udcff" for c in word)]
    assert np.abs(e.embed(words) - np.stack([k[word] for word in words])).max() < 2e-6
    for word in ("unseen", "größere", "狐狸们", "x</s>"):
        if e.can_embed(word):
            a, b = e[word], k[word]
            if through == "pruned":
                assert np.dot(a, b) > 0.9999 * np.linalg.norm(a) * np.linalg.norm(b)
            else:
                assert np.abs(a - b).max() < 1e-6
    with vecio.open(tmp_path / "a.kv") as back:
        assert np.abs(back.embed(words) - e.embed(words)).max() < 2e-6


@pytest.mark.judge
@pytest.mark.filterwarnings("ignore")
def test_whatever_gensim_saves(tmp_path: Path) -> None:
    """Word2Vec, FastText and Doc2Vec in every protocol: in one file, apart, packed, through an open file."""
    models = pytest.importorskip("gensim.models")
    from gensim.models.doc2vec import TaggedDocument

    rng = np.random.default_rng(0)
    known = ["größe", "狐狸", "</s>", "a", "x y", "🦊", *[f"w{i}" for i in range(20)]]
    texts = [[known[i] for i in rng.integers(0, len(known), 12)] for _ in range(60)]
    common = {"vector_size": 6, "min_count": 1, "workers": 1, "epochs": 1}
    made = {
        "w2v": models.Word2Vec(texts, **common),
        "hs": models.Word2Vec(texts, hs=1, negative=0, sg=1, **common),
        "ft": models.FastText(texts, min_n=2, max_n=4, bucket=50, **common),
        "ft0": models.FastText(texts, max_n=0, **common),
        "d2v": models.Doc2Vec([TaggedDocument(text, [i]) for i, text in enumerate(texts)], **common),
    }
    for name, model in made.items():
        words = model.wv.index_to_key
        for protocol in (2, 3, 4, 5):
            for what, extension in ((model, "model"), (model.wv, "kv")):
                stem = f"{name}{protocol}.{extension}"
                arrays = (
                    ["syn1neg"] if extension == "model" else ["vectors", "vectors_vocab", "vectors_ngrams"]
                )
                what.save(str(tmp_path / stem), pickle_protocol=protocol)
                what.save(str(tmp_path / f"apart.{stem}"), pickle_protocol=protocol, separately=arrays)
                what.save(str(tmp_path / f"{stem}.gz"), pickle_protocol=protocol, separately=arrays)
                with (tmp_path / f"open.{stem}").open("wb") as stream:
                    what.save(stream, pickle_protocol=protocol)
                for path in (stem, f"apart.{stem}", f"{stem}.gz", f"open.{stem}"):
                    with vecio.open(tmp_path / path) as e:
                        assert list(e.words) == words, path
                        expected = np.stack([model.wv[word] for word in words])
                        assert np.abs(e.embed(words) - expected).max() < 1e-6, path
                        assert e.counts is not None and e.counts[0] == model.wv.get_vecattr(words[0], "count")
                        if name == "ft":
                            assert np.abs(e["unseen"] - model.wv["unseen"]).max() < 1e-6
    made["d2v"].dv.save(str(tmp_path / "dv.kv"))
    with vecio.open(tmp_path / "dv.kv") as e:
        assert list(e.words) == [str(i) for i in range(60)]


def test_fate_says_what_happens(tmp_path: Path) -> None:
    report = vecio.convert(DATA / "fasttext" / "sg-ns.bin", tmp_path / "a.kv", drop=True)
    assert any("unknown" in line for line in report.kept) and any("settings" in line for line in report.lost)
    report = vecio.convert(GENSIM / "inline.kv", tmp_path / "b.kv")
    assert not report.approximated and report.lost == ["the settings"]
    with pytest.raises(ValueError, match="dtype"):
        vecio.convert(GENSIM / "inline.kv", tmp_path / "c.kv", dtype="float16")


def test_duplicates_are_left_out(tmp_path: Path) -> None:
    e = Embeddings(Parts(Vocabulary.from_words(["a", "b", "a"]), Float32(VECTORS[:3]), "test"))
    e.save(tmp_path / "a.kv")
    check(tmp_path / "a.kv", ["a", "b"], VECTORS[:2])
