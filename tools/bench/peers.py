"""The programs under test, vecio among them, behind one set of operations; each runs in a process of its own.

    python tools/bench/peers.py SUBJECT          reads one JSON request a line, writes one JSON reply a line

A request is {"op": name, ...arguments}; a reply holds what the operation measured ("wall" and "cpu" in seconds, "cpu"
over all threads of the process) or {"error": text}. `common.Session` is the other end. The file runs in the
environment of the program under test, so it imports nothing of this project; the program itself is imported by the
operation `hello`, before anything is timed. Garbage collection is off while something is timed, for all alike.

This is not an interface for users: the subjects do what a user of each program would do, in its fastest usual form.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

Reply = dict[str, Any]


def timed(work: Callable[[], Any]) -> tuple[Reply, Any]:
    """Return what `work` took ({"wall", "cpu"}) and what it returned."""
    gc.collect()
    gc.disable()
    try:
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}, result
    finally:
        gc.enable()


def read_words(path: str, start: int = 0, count: int | None = None) -> list[str]:
    """Return words (or texts) `start` to `start + count` of a list, one a line; without `count` all that follow."""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        words = file.read().removesuffix("\n").split("\n")
    return words[start:] if count is None else words[start : start + count]


def version(package: str) -> str:
    """Return the installed version of a package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "source tree"


class Subject:
    """What all subjects do; the operations are the methods whose names begin with `op_`."""

    modules: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.np: Any = None
        self.model: Any = None
        self.dim = 0

    # What a subject defines.

    def load(self, path: str) -> None:
        """Open the model; everything up to the first possible question."""
        raise NotImplementedError

    def one(self) -> Callable[[str], Any]:
        """Return the function that gives one word's vector."""
        raise NotImplementedError

    def many(self, words: list[str], out: Any) -> Any:
        """Return the vectors of `words` as one float32 array (in `out` where it is given)."""
        get = self.one()
        result = self.np.empty((len(words), self.dim), self.np.float32) if out is None else out
        for i, word in enumerate(words):
            result[i] = get(word)
        return result

    def neighbours(self, word: str, k: int) -> Any:
        """Return the k nearest words of a known word."""
        raise NotImplementedError

    def nearest(self, queries: Any, k: int) -> Any:
        """Return the row numbers (Q, k) of the nearest words of the query vectors (Q, dim)."""
        raise NotImplementedError

    def predict(self, texts: Any) -> Any:
        """Return the answer for one text or a list of texts, k = 1."""
        raise NotImplementedError

    def labels(self, texts: list[str]) -> list[str]:
        """Return the best label of each text ("" where there is none)."""
        return [str(labels[0]) if len(labels) else "" for labels in self.predict(texts)[0]]

    def encode(self, texts: list[str]) -> Any:
        """Return the sentence vectors of texts, in one thread or as many as the process was given."""
        raise NotImplementedError

    # Operations.

    def op_hello(self) -> Reply:
        """Import the program; return its versions and what the import took."""
        wall, cpu = time.perf_counter(), time.process_time()
        for name in self.modules:
            importlib.import_module(name)
        spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        if "numpy" in sys.modules:
            self.np = sys.modules["numpy"]
        versions = {name: version(name) for name in self.packages}
        return {**spent, "python": sys.version.split()[0], "versions": versions, "pid": os.getpid()}

    def op_load(self, path: str) -> Reply:
        """Open the model."""
        return timed(lambda: self.load(path))[0]

    def op_first(self, word: str) -> Reply:
        """Get one vector, the first of this process."""
        get = self.one()
        return timed(lambda: get(word))[0]

    def op_load_first(self, path: str, word: str) -> Reply:
        """Open the model and get one vector: what a program waits for."""

        def work() -> Any:
            self.load(path)
            return self.one()(word)

        spent, vector = timed(work)
        return {**spent, "norm": float((vector.astype("float64") ** 2).sum() ** 0.5)}

    def op_batch(self, path: str, start: int, count: int, given: bool = False) -> Reply:
        """Get the vectors of `count` words of a list as one array; `given`: into an array made (and touched) before."""
        words = read_words(path, start, count)
        out = self.np.zeros((len(words), self.dim), self.np.float32) if given else None
        if out is not None:
            out.fill(1)
        spent, result = timed(lambda: self.many(words, out))
        return {**spent, "count": len(words), "sum": float(result.sum(dtype="float64"))}

    def op_single(self, path: str, start: int, count: int) -> Reply:
        """Get the vectors of `count` words of a list one by one."""
        words = read_words(path, start, count)
        get = self.one()

        def work() -> None:
            for word in words:
                get(word)

        return {**timed(work)[0], "count": len(words)}

    def op_neighbours(self, words: list[str], k: int = 10) -> Reply:
        """Find the nearest words of known words, one by one: the times of each."""
        each = [timed(lambda word=word: self.neighbours(word, k))[0] for word in words]  # type: ignore[misc]
        return {"wall": [spent["wall"] for spent in each], "cpu": [spent["cpu"] for spent in each]}

    def op_nearest(self, path: str, start: int, count: int, block: int, k: int = 10) -> Reply:
        """Find the nearest words of query vectors, `block` at a time: the times of each block, the rows found."""
        queries = self.np.ascontiguousarray(self.np.load(path, mmap_mode="r")[start : start + count])
        wall, cpu, rows = [], [], []
        for at in range(0, len(queries), block):
            part = queries[at : at + block]
            spent, found = timed(lambda part=part: self.nearest(part, k))  # type: ignore[misc]
            wall.append(spent["wall"])
            cpu.append(spent["cpu"])
            rows.extend(self.np.asarray(found).tolist())
        return {"wall": wall, "cpu": cpu, "rows": rows}

    def op_predict(self, path: str, count: int, batch: bool, repeat: int = 1) -> Reply:
        """Predict the first `count` texts of a file, `repeat` times over: one call, or one call a text."""
        texts = read_words(path, 0, count)

        def work() -> None:
            for _ in range(repeat):
                if batch:
                    self.predict(texts)
                else:
                    for text in texts:
                        self.predict(text)

        return {**timed(work)[0], "count": len(texts) * repeat}

    def op_encode(self, model: str, path: str, count: int, fresh: bool, before: int) -> Reply:
        """Encode the first `count` texts of a file; `fresh`: by a model just opened. `before` others go before."""
        texts = read_words(path, 0, count)
        if fresh or self.model is None:
            self.load(model)
        self.encode(read_words(path, count, before))
        spent, vectors = timed(lambda: self.encode(texts))
        head = [[float(x) for x in row] for row in vectors[:50]]
        return {**spent, "count": count, "head": head}

    def op_labels(self, path: str, count: int) -> Reply:
        """Return the best labels of the first `count` texts of a file."""
        return {"labels": self.labels(read_words(path, 0, count))}


class Vecio(Subject):
    """vecio, any format."""

    modules: tuple[str, ...] = ("vecio",)
    packages: tuple[str, ...] = ("vecio", "numpy", "numba")

    def op_hello(self) -> Reply:
        """Import vecio; numpy may come later than that."""
        reply = super().op_hello()
        self.np = importlib.import_module("numpy")
        return reply

    def load(self, path: str) -> None:
        self.model = sys.modules["vecio"].open(path)
        self.dim = self.model.dim

    def one(self) -> Callable[[str], Any]:
        get: Callable[[str], Any] = self.model.__getitem__
        return get

    def many(self, words: list[str], out: Any) -> Any:
        return self.model.embed(words) if out is None else self.model.embed(words, out=out)

    def neighbours(self, word: str, k: int) -> Any:
        return self.model.most_similar(word, topn=k)

    def nearest(self, queries: Any, k: int) -> Any:
        return self.model.nearest(queries, k=k)[0]

    def predict(self, texts: Any) -> Any:
        return self.model.predict(texts, k=1)

    def encode(self, texts: list[str]) -> Any:
        return self.model.encode(texts)

    def labels(self, texts: list[str]) -> list[str]:
        answers = self.predict(texts)
        if isinstance(answers, tuple):
            answers = answers[0]
        return [best_label(answer) for answer in answers]

    def op_preload(self) -> Reply:
        """Load the compiled code."""
        self.model.preload()
        return {"numba": "numba" in sys.modules}

    def op_index(self, path: str, word: str) -> Reply:
        """Open, ask for the length, the last word and a rare word: what needs to know every word's place."""

        def work() -> Any:
            self.load(path)
            return len(self.model), self.model.words[len(self.model) - 1], self.model[word]

        spent, (length, last, _) = timed(work)
        return {**spent, "length": length, "last": last}

    def op_kernels(self, path: str, count: int) -> Reply:
        """Embed the first 100 words of a list over and over, `count` words at once, so that the kernels are loaded."""
        words = read_words(path, 0, 100)
        self.many((words * (count // len(words) + 1))[:count], None)
        return {"numba": "numba" in sys.modules}

    def op_state(self) -> Reply:
        """Return whether numba was imported."""
        return {"numba": "numba" in sys.modules, "format": self.model.format, "dtype": str(self.model.dtype)}

    def op_convert(self, source: str, target: str, dtype: str | None, format: str | None = None) -> Reply:
        """Convert a file; words that the format cannot spell are left out."""
        vecio = sys.modules["vecio"]
        reply, made = timed(lambda: vecio.convert(source, target, dtype=dtype, format=format, drop=True))
        return {**reply, "words": made.words, "dim": made.dim}

    def op_write(self, target: str) -> Reply:
        """Write the open model in the format that the target's name says."""
        return timed(lambda: self.model.save(target))[0]

    def op_quantise(self, source: str, target: str, options: dict[str, Any]) -> Reply:
        """Quantise a model as the real program does."""
        vecio = sys.modules["vecio"]
        return timed(lambda: vecio.open(source).save(target, **options))[0]

    def op_precision(self, path: str) -> Reply:
        """Return the precision at 1 on a labelled file."""
        return {"precision": self.model.test(path).precision}

    def op_export(self, vectors: str, words: str, queries: str, unknown: str, count: int) -> Reply:
        """Write all words, their vectors and the vectors of `count` unknown words as plain files for the peers."""
        np, every = self.np, list(self.model.words)
        with open(words, "w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            file.writelines(word + "\n" for word in every)
        target = np.lib.format.open_memmap(vectors + ".part", "w+", np.float32, (len(every), self.dim))
        for start in range(0, len(every), 50_000):
            target[start : start + 50_000] = self.model.embed(every[start : start + 50_000])
        target.flush()
        np.save(queries, self.model.embed(read_words(unknown, 0, count)))
        os.replace(vectors + ".part", vectors)
        return {"count": len(every)}

    def op_cosines(self, vectors: str) -> Reply:
        """Compare the vector of every word with the rows of `vectors`: the least and the mean cosine."""
        np, every = self.np, list(self.model.words)
        exact = np.load(vectors, mmap_mode="r")
        least, total = 1.0, 0.0
        for start in range(0, len(every), 20_000):
            ours = self.model.embed(every[start : start + 20_000]).astype(np.float64)
            theirs = exact[start : start + 20_000].astype(np.float64)
            lengths = np.sqrt((ours**2).sum(1) * (theirs**2).sum(1))
            both_zero = lengths == 0
            cosines = np.where(both_zero, 1.0, (ours * theirs).sum(1) / np.where(both_zero, 1.0, lengths))
            least, total = min(least, float(cosines.min())), total + float(cosines.sum())
        return {"least": least, "mean": total / len(every), "count": len(every)}


def best_label(answer: Any) -> str:
    """Return the first label of one text's answer, whatever its shape: [(label, p), ...], ([labels], [p]), [label]."""
    while not isinstance(answer, str):
        if not len(answer):
            return ""
        answer = answer[0]
    return answer


class Model2vec(Subject):
    """model2vec, a folder of its own."""

    modules: tuple[str, ...] = ("numpy", "model2vec")
    packages: tuple[str, ...] = ("model2vec", "tokenizers", "numpy")

    def load(self, path: str) -> None:
        self.model = sys.modules["model2vec"].StaticModel.from_pretrained(path)
        self.dim = self.model.dim

    def encode(self, texts: list[str]) -> Any:
        return self.model.encode(texts, use_multiprocessing=False)  # the faster of its two ways, measured

    def op_make(self, pieces: str, target: str, dim: int) -> Reply:
        """Write a folder: BERT's tokenizer with the pieces of a file, and random rows of length about 1."""
        library = importlib.import_module("tokenizers")
        names = read_words(pieces)
        tokenizer = library.Tokenizer(
            library.models.WordPiece({name: i for i, name in enumerate(names)}, unk_token="[UNK]")
        )
        tokenizer.normalizer = library.normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
        tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
        rows = self.np.random.default_rng(0).standard_normal((len(names), dim)).astype(self.np.float32)
        rows /= self.np.float32(dim) ** 0.5
        sys.modules["model2vec"].StaticModel(rows, tokenizer, normalize=True).save_pretrained(target)
        return {"count": len(names)}


class SentenceTransformers(Subject):
    """sentence-transformers with the same folder; its own default batches."""

    modules: tuple[str, ...] = ("numpy", "torch", "sentence_transformers")
    packages: tuple[str, ...] = ("sentence-transformers", "torch", "numpy")

    def load(self, path: str) -> None:
        sys.modules["torch"].set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        self.model = sys.modules["sentence_transformers"].SentenceTransformer(path, device="cpu")
        self.dim = self.model.encode(["a"]).shape[1]

    def encode(self, texts: list[str]) -> Any:
        return self.model.encode(texts)


class FastText(Subject):
    """The fastText Python binding."""

    modules: tuple[str, ...] = ("numpy", "fasttext")
    packages: tuple[str, ...] = ("fasttext", "numpy")

    def load(self, path: str) -> None:
        fasttext = sys.modules["fasttext"]
        fasttext.FastText.eprint = lambda *_, **__: None
        self.model = fasttext.load_model(path)
        self.dim = self.model.get_dimension()

    def one(self) -> Callable[[str], Any]:
        get: Callable[[str], Any] = self.model.get_word_vector
        return get

    def neighbours(self, word: str, k: int) -> Any:
        return self.model.get_nearest_neighbors(word, k)

    def predict(self, texts: Any) -> Any:
        return self.model.predict(texts, k=1)

    def op_train(self, path: str, target: str, options: dict[str, Any]) -> Reply:
        """Train a supervised model from a file and write it."""
        fasttext = sys.modules["fasttext"]
        model = fasttext.train_supervised(path, verbose=0, **options)
        model.save_model(target)
        return {"labels": len(model.labels), "words": len(model.words)}

    def op_quantise(self, source: str, target: str, options: dict[str, Any]) -> Reply:
        """Quantise a model, without retraining."""
        self.load(source)

        def work() -> None:
            self.model.quantize(**options)
            self.model.save_model(target)

        return timed(work)[0]


class FastTextPredict(FastText):
    """fasttext-predict: the binding cut down to prediction, without numpy."""

    modules: tuple[str, ...] = ("fasttext",)
    packages: tuple[str, ...] = ("fasttext-predict",)

    def load(self, path: str) -> None:
        self.model = sys.modules["fasttext"].load_model(path)

    def predict(self, texts: Any) -> Any:
        if isinstance(texts, str):
            return self.model.predict(texts, k=1)
        # Its own form for lists fails (it expects two values of what is one list), so its C++ call is used.
        return self.model.f.multilinePredict([text + "\n" for text in texts], 1, 0.0, "strict")

    def labels(self, texts: list[str]) -> list[str]:
        return [best_label(self.predict(text)) for text in texts]


class GensimFastText(Subject):
    """gensim reading a fastText `.bin`."""

    modules: tuple[str, ...] = ("numpy", "gensim.models.fasttext")
    packages: tuple[str, ...] = ("gensim", "numpy", "scipy")

    def load(self, path: str) -> None:
        self.model = sys.modules["gensim.models.fasttext"].load_facebook_vectors(path)
        self.dim = self.model.vector_size

    def one(self) -> Callable[[str], Any]:
        get: Callable[[str], Any] = self.model.__getitem__
        return get

    def many(self, words: list[str], out: Any) -> Any:
        return super().many(words, out) if out is not None else self.model[words]

    def neighbours(self, word: str, k: int) -> Any:
        return self.model.most_similar(word, topn=k)


class GensimKeyed(GensimFastText):
    """gensim's KeyedVectors, its own file."""

    modules: tuple[str, ...] = ("numpy", "gensim.models")

    def load(self, path: str) -> None:
        self.model = sys.modules["gensim.models"].KeyedVectors.load(path)
        self.dim = self.model.vector_size

    def op_make(self, words: str, vectors: str, target: str) -> Reply:
        """Write gensim's own file from a list of words and their vectors."""
        model = sys.modules["gensim.models"].KeyedVectors(1)
        every = read_words(words)
        model.index_to_key, model.key_to_index = every, {word: i for i, word in enumerate(every)}
        model.vectors = self.np.asarray(self.np.load(vectors, mmap_mode="r"))
        model.vector_size = model.vectors.shape[1]
        model.save(target)
        return {"count": len(every)}


class GensimWord2vec(GensimKeyed):
    """gensim reading word2vec's binary form."""

    def load(self, path: str) -> None:
        self.model = sys.modules["gensim.models"].KeyedVectors.load_word2vec_format(path, binary=True)
        self.dim = self.model.vector_size


class GensimText(GensimKeyed):
    """gensim reading and writing text, with and without a header."""

    def load(self, path: str) -> None:
        bare = not path.endswith(".vec")
        self.model = sys.modules["gensim.models"].KeyedVectors.load_word2vec_format(path, no_header=bare)
        self.dim = self.model.vector_size

    def op_write(self, target: str) -> Reply:
        """Write the open model as text."""
        return timed(lambda: self.model.save_word2vec_format(target))[0]


class Finalfusion(Subject):
    """finalfusion reading a fastText `.bin`."""

    modules: tuple[str, ...] = ("numpy", "finalfusion.compat")
    packages: tuple[str, ...] = ("finalfusion", "numpy")

    def load(self, path: str) -> None:
        self.model = sys.modules["finalfusion.compat"].load_fasttext(path)
        self.dim = self.model.storage.shape[1]

    def one(self) -> Callable[[str], Any]:
        get: Callable[[str], Any] = self.model.embedding
        return get

    def many(self, words: list[str], out: Any) -> Any:
        result = self.np.empty((len(words), self.dim), self.np.float32) if out is None else out
        for row, word in zip(result, words):  # noqa: B905 (as long as each other; strict costs time)
            self.model.embedding(word, out=row)
        return result


class FinalfusionWord2vec(Finalfusion):
    """finalfusion reading word2vec's binary form."""

    def load(self, path: str) -> None:
        self.model = sys.modules["finalfusion.compat"].load_word2vec(path)
        self.dim = self.model.storage.shape[1]


class FinalfusionText(Finalfusion):
    """finalfusion reading text, with and without a header."""

    def load(self, path: str) -> None:
        compat = sys.modules["finalfusion.compat"]
        self.model = (compat.load_text_dims if path.endswith(".vec") else compat.load_text)(path)
        self.dim = self.model.storage.shape[1]


class Rows(Subject):
    """Searches over a plain matrix of unit rows; what each keeps is made in `keep` from blocks of float32 rows."""

    modules: tuple[str, ...] = ("numpy",)
    packages: tuple[str, ...] = ("numpy",)

    def load(self, path: str) -> None:
        vectors = self.np.load(path, mmap_mode="r")
        self.dim = vectors.shape[1]
        self.start(len(vectors))
        for at in range(0, len(vectors), 50_000):
            rows = vectors[at : at + 50_000].astype(self.np.float32)
            rows /= self.np.maximum(self.np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
            self.keep(at, rows)

    def start(self, count: int) -> None:
        """Make room for `count` rows."""
        self.model = self.np.empty((count, self.dim), self.np.float32)

    def keep(self, at: int, rows: Any) -> None:
        """Take rows `at` and following."""
        self.model[at : at + len(rows)] = rows

    def unit(self, queries: Any) -> Any:
        """Return the queries with length 1."""
        return queries / self.np.maximum(self.np.linalg.norm(queries, axis=1, keepdims=True), 1e-30)


class Numpy(Rows):
    """numpy: one product, argpartition; blocks of 65,536 rows where there are many queries."""

    block = 65_536

    def nearest(self, queries: Any, k: int) -> Any:
        np, unit = self.np, self.unit(queries)
        if len(unit) == 1:
            scores = self.model @ unit[0]
            best = np.argpartition(scores, -k)[-k:]
            return [best[np.argsort(-scores[best], kind="stable")]]
        kept_rows, kept = [], []
        for at in range(0, len(self.model), self.block):
            scores = unit @ self.model[at : at + self.block].T
            best = np.argpartition(scores, -k, axis=1)[:, -k:] if scores.shape[1] > k else None
            if best is None:
                best = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
            kept.append(np.take_along_axis(scores, best, 1))
            kept_rows.append(best + at)
        every, rows = np.concatenate(kept, 1), np.concatenate(kept_rows, 1)
        order = np.argsort(-every, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(rows, order, 1)


class NumpyHalf(Numpy):
    """numpy with the matrix in float16."""

    def start(self, count: int) -> None:
        self.model = self.np.empty((count, self.dim), self.np.float16)

    def nearest(self, queries: Any, k: int) -> Any:
        return super().nearest(queries.astype(self.np.float16), k)


class FaissFlat(Rows):
    """faiss IndexFlatIP."""

    modules: tuple[str, ...] = ("numpy", "faiss")
    packages: tuple[str, ...] = ("faiss-cpu", "numpy")

    def start(self, count: int) -> None:
        faiss = sys.modules["faiss"]
        faiss.omp_set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        self.model = faiss.IndexFlatIP(self.dim)

    def keep(self, at: int, rows: Any) -> None:
        self.model.add(rows)

    def nearest(self, queries: Any, k: int) -> Any:
        return self.model.search(self.unit(queries), k)[1]


class FaissHalf(FaissFlat):
    """faiss with a float16 scalar quantiser."""

    def start(self, count: int) -> None:
        super().start(count)
        faiss = sys.modules["faiss"]
        kind = faiss.ScalarQuantizer.QT_fp16
        self.model = faiss.IndexScalarQuantizer(self.dim, kind, faiss.METRIC_INNER_PRODUCT)
        self.model.train(self.np.zeros((1, self.dim), self.np.float32))


class UsearchHalf(Rows):
    """usearch's exact search, float16."""

    modules: tuple[str, ...] = ("numpy", "usearch.index")
    packages: tuple[str, ...] = ("usearch", "numpy")

    def start(self, count: int) -> None:
        self.model = self.np.empty((count, self.dim), self.np.float16)

    def cast(self, queries: Any) -> Any:
        """Return the queries in the type of the matrix."""
        return self.unit(queries).astype(self.np.float16)

    def nearest(self, queries: Any, k: int) -> Any:
        usearch = sys.modules["usearch.index"]
        kind, threads = usearch.MetricKind.Cos, int(os.environ.get("OMP_NUM_THREADS", "1"))
        found = usearch.search(self.model, self.cast(queries), k, kind, exact=True, threads=threads)
        return self.np.asarray(found.keys).reshape(len(queries), k)


class UsearchByte(UsearchHalf):
    """usearch's exact search, int8 with one scale for all."""

    scale = 300.0

    def start(self, count: int) -> None:
        self.model = self.np.empty((count, self.dim), self.np.int8)

    def keep(self, at: int, rows: Any) -> None:
        self.model[at : at + len(rows)] = self.quantise(rows)

    def quantise(self, rows: Any) -> Any:
        """Return unit rows as int8; the few values beyond the range are cut."""
        return self.np.clip(self.np.rint(rows * self.scale), -127, 127).astype(self.np.int8)

    def cast(self, queries: Any) -> Any:
        return self.quantise(self.unit(queries))


SUBJECTS: dict[str, type[Subject]] = {
    "vecio": Vecio,
    "fasttext": FastText,
    "fasttext-predict": FastTextPredict,
    "model2vec": Model2vec,
    "sentence-transformers": SentenceTransformers,
    "gensim": GensimFastText,
    "gensim-keyed": GensimKeyed,
    "gensim-word2vec": GensimWord2vec,
    "gensim-text": GensimText,
    "finalfusion": Finalfusion,
    "finalfusion-word2vec": FinalfusionWord2vec,
    "finalfusion-text": FinalfusionText,
    "numpy": Numpy,
    "numpy-f16": NumpyHalf,
    "faiss": FaissFlat,
    "faiss-f16": FaissHalf,
    "usearch-f16": UsearchHalf,
    "usearch-i8": UsearchByte,
}


def serve(subject: Subject) -> None:
    """Answer requests until the input ends; what the program prints goes to standard error."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        operation = getattr(subject, "op_" + request.pop("op"))
        try:
            reply = operation(**request)
        except Exception as error:  # the other end decides
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    serve(SUBJECTS[sys.argv[1]]())
