"""gensim's own files, `.kv` and `.model`: read without unpickling, written as gensim 4 writes them (`specs/gensim.md`).

The pickle goes through `vecio._pickle`, which runs nothing; arrays stay where they lie, in the pickle or in the files
beside it. Read are word vectors of gensim 3 and 4, alone or inside a model; written is the `.kv` of gensim 4, as one
file.
"""

from __future__ import annotations

import errno
import itertools
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from .. import _effort, _npy
from .._binary import MappedFile, MappedGroup, atomic_write
from .._pickle import OLD_NAME, PYTHON_2, Values
from .._pickle_machine import DICT, INT, MAKE, MENTION, NODE, NONE, NUMBER, OBJECT, RUN, SHIFT, TEXT
from .._sources import in_memory, unpacked
from .._version import __version__
from ..compose import CHARACTER_COST
from ..embeddings import Embeddings, Parts
from ..errors import FormatError, UnsupportedError, VecioError
from ..matrix import Converted, Float16, Float32, Gathered, Matrix
from ..subwords import END_OF_SENTENCE, Subwords
from ..vocabulary import Vocabulary, decode, encode
from .base import (
    COUNTS,
    RAW,
    UNKNOWN,
    Fate,
    Format,
    Progress,
    Written,
    plain_dtype,
    row_blocks,
    vector_blocks,
)
from .base import fate as common_fate

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

NAME = "gensim"

#: Classes of word vectors, of models that hold them (under `wv`), and of what stands beside them in a model.
VECTORS = {
    ("gensim.models.keyedvectors", "KeyedVectors"),
    ("gensim.models.keyedvectors", "Word2VecKeyedVectors"),
    ("gensim.models.keyedvectors", "WordEmbeddingsKeyedVectors"),
    ("gensim.models.keyedvectors", "BaseKeyedVectors"),
    ("gensim.models.keyedvectors", "EuclideanKeyedVectors"),
}
SUBWORD_VECTORS = {
    ("gensim.models.fasttext", "FastTextKeyedVectors"),
    ("gensim.models.keyedvectors", "FastTextKeyedVectors"),
}
MODELS = {
    ("gensim.models.word2vec", "Word2Vec"),
    ("gensim.models.fasttext", "FastText"),
    ("gensim.models.doc2vec", "Doc2Vec"),
}
BESIDE = {
    ("gensim.models.keyedvectors", "Vocab"),
    ("gensim.models.keyedvectors", "CompatVocab"),
    ("gensim.models.word2vec", "Vocab"),
    ("gensim.models.word2vec", "Word2VecVocab"),
    ("gensim.models.word2vec", "Word2VecTrainables"),
    ("gensim.models.fasttext", "FastTextVocab"),
    ("gensim.models.fasttext", "FastTextTrainables"),
    ("gensim.models.keyedvectors", "Doc2VecKeyedVectors"),
    ("gensim.models.doc2vec", "Doc2VecVocab"),
    ("gensim.models.doc2vec", "Doc2VecTrainables"),
    ("gensim.models.doc2vec", "Doctag"),
}
#: Names that a pickle may mention, and what for. None of them is ever imported: they are only recognised.
ALLOWED: dict[tuple[str, str], int] = {
    **dict.fromkeys(VECTORS | SUBWORD_VECTORS | MODELS | BESIDE, MAKE),
    ("collections", "defaultdict"): RUN,
    ("gensim.utils", "call_on_class_only"): MENTION,
    **{
        (module, name): MENTION
        for module in ("builtins", "__builtin__")
        for name in ("int", "long", "float", "hash")
    },
    **{(module, name): RUN for module in ("builtins", "__builtin__") for name in ("set", "frozenset")},
    # the state of a random number generator, which is not looked at
    ("numpy.random", "__RandomState_ctor"): RUN,
    ("numpy.random._pickle", "__randomstate_ctor"): RUN,
    ("numpy.random._pickle", "__generator_ctor"): RUN,
    ("numpy.random._pickle", "__bit_generator_ctor"): RUN,
    ("numpy.random._mt19937", "MT19937"): MENTION,
    ("numpy.random._pcg64", "PCG64"): MENTION,
}


def detect(file: MappedFile) -> str | None:
    """Return None for a pickle, of whatever (`read` refuses what holds no word vectors, by its name)."""
    head = file.bytes(0, min(file.size, 1500))
    if (head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5")) or OLD_NAME.match(head):
        return None
    return "does not begin like a pickle of protocol 2 to 5"


# -- reading -----------------------------------------------------------------------------------------------------------


def read(file: MappedFile) -> Embeddings:
    """Open a `.kv` or `.model` in place, with the arrays in files beside it.

    Raises UnsupportedError for a pickle that asks for anything but word vectors, naming it; FormatError for one that
    contradicts itself; OSError for a file beside it that cannot be read.
    """
    values = Values(file, ALLOWED)
    files: list[MappedFile] = []
    try:
        return _Reader(file, values, files).embeddings()
    except BaseException:
        for other in files:
            other.close()
        raise


class _Object:
    """An object in a pickle: the attributes that its state names, and the arrays that were put into files beside it."""

    def __init__(self, reader: _Reader, ref: int, base: str) -> None:
        self.reader, self.values, self.base = reader, reader.values, base
        attributes = self.values.attributes(ref)
        if attributes is None:
            raise FormatError(
                reader.file.path, "an object of the pickle has no attributes", expected="a dictionary of them"
            )
        self.attributes = attributes
        self.outside = self.names("__numpys")

    def names(self, key: str) -> set[str]:
        found = self.values.sequence(self.attributes.get(key, NONE))
        return set() if found is None else {str(self.values.name(ref)) for ref in found[:1000].tolist()}

    def has(self, key: str) -> bool:
        return self.attributes.get(key, NONE) != NONE or key in self.outside

    def first(self, *keys: str) -> str | None:
        """Return the first of these attributes that is there."""
        return next((key for key in keys if self.has(key)), None)

    def ref(self, key: str) -> int:
        return self.attributes.get(key, NONE)

    def plain(self, key: str) -> Any:
        """Return a number, text, truth value or None; None for anything else."""
        value = self.values.plain(self.ref(key))
        return None if value is ... else value

    def number(self, key: str) -> int:
        value = self.plain(key)
        if type(value) is not int or not -(1 << 31) <= value < 1 << 31:
            raise self.error(f"the attribute {key}", "a whole number of 32 bits", ascii(value)[:40])
        return value

    def array(self, key: str) -> Array:
        """Return an array attribute, from the pickle or from its own file."""
        ref = self.ref(key)
        if ref != NONE:
            found = self.values.array(ref, key)
            if found is None:
                raise self.error(f"the attribute {key}", "an array", "something else")
            return found
        return self.reader.sibling(f"{self.base}.{key}", key)

    def part(self, key: str) -> _Object:
        return _Object(self.reader, self.ref(key), f"{self.base}.{key}")

    def error(self, message: str, expected: object, found: object) -> FormatError:
        return FormatError(self.reader.file.path, message, expected=expected, found=found)


class _Reader:
    """Turns the values of one pickle into the parts of an `Embeddings`."""

    def __init__(self, file: MappedFile, values: Values, files: list[MappedFile]) -> None:
        self.file, self.values, self.files = file, values, files
        self.metadata: dict[str, Any] = {}

    def embeddings(self) -> Embeddings:
        root = self.values.root
        kind = self.values.class_of(root)
        known = VECTORS | SUBWORD_VECTORS | MODELS
        if kind is None or kind not in known:
            found = "something else" if kind is None else " ".join(kind)
            raise UnsupportedError(f"{self.file.path}: the pickle holds {found}, which has no word vectors")
        model = None
        vectors = _Object(self, root, self.file.path)
        self.metadata["class"] = kind[1]
        if kind in MODELS and vectors.has("wv"):  # the oldest models are their own vectors
            model, vectors = vectors, vectors.part("wv")
            inner = self.values.class_of(model.ref("wv"))
            if inner not in VECTORS | SUBWORD_VECTORS:
                raise UnsupportedError(f"{self.file.path}: the model's wv is no table of word vectors")
            kind = inner
        return self.assemble(vectors, model, kind in SUBWORD_VECTORS)

    def assemble(self, vectors: _Object, model: _Object | None, subwords: bool) -> Embeddings:
        raw = None
        if subwords:
            rule, words, grams = self.subwords(vectors)
            if rule is not None and vectors.has(
                "vectors"
            ):  # finished ones of gensim 3, which gensim 4 takes, too
                raw, words = words, self.matrix(vectors, "vectors")
                if words.shape != raw.shape:
                    raise vectors.error("the shape of vectors", raw.shape, words.shape)
        else:
            rule, words, grams = None, self.matrix(vectors, "vectors", "syn0"), None
        keys = _Keys(vectors, len(words))
        self.describe(vectors, model, rule)
        output = self.output(model, len(words), words.shape[1]) if keys.whole else None
        group = MappedGroup(self.file.path, [self.file, *self.files]) if self.files else self.file
        return Embeddings(
            Parts(
                keys.vocabulary(),
                words if keys.whole else _rows(words, keys.rows),
                NAME,
                file=group,
                grams=grams,
                subwords=rule,
                accumulated=rule is None or raw is not None,
                raw_words=raw if keys.whole else None,
                output=output,
                metadata=self.metadata,
            )
        )

    def subwords(self, vectors: _Object) -> tuple[Subwords | None, Matrix, Matrix | None]:
        """Return the n-gram rule, the words' own rows and the n-gram rows of a FastTextKeyedVectors."""
        bucket = vectors.number("bucket") if vectors.has("bucket") else 0
        minn, maxn = vectors.number("min_n"), vectors.number("max_n")
        if vectors.plain("compatible_hash") is not True or vectors.has("hash2index"):
            raise UnsupportedError(
                f"{self.file.path}: fastText vectors of gensim before 3.8, whose n-grams have another hash; "
                f"gensim 3.8.3 can load the file and save it anew"
            )
        words = self.matrix(vectors, "vectors_vocab", "syn0_vocab")
        if bucket == 0 or maxn < 1 or minn > maxn or not vectors.has("vectors_ngrams"):
            if bucket and maxn >= minn and maxn > 0:
                raise vectors.error("the attribute vectors_ngrams", f"an array of {bucket} rows", "none")
            return None, words, None
        grams = self.matrix(vectors, "vectors_ngrams")
        if grams.shape != (bucket, words.shape[1]) or bucket < 1:
            raise vectors.error("the shape of vectors_ngrams", (bucket, words.shape[1]), grams.shape)
        return Subwords(minn, maxn, bucket, "gensim"), words, grams

    def matrix(self, owner: _Object, *keys: str) -> Matrix:
        """Return the array under the first of these names as rows of numbers."""
        key = owner.first(*keys)
        if key is None:
            raise owner.error(f"the attribute {keys[0]}", "an array", "none")
        values = owner.array(key)
        size = owner.plain("vector_size")
        if values.ndim != 2 or values.shape[1] < 1 or (type(size) is int and size != values.shape[1]):
            columns = size if type(size) is int else "1 or more"
            raise owner.error(f"the shape of {key}", f"two dimensions, {columns} columns", values.shape)
        return _matrix(values, key, self.file.path)

    def output(self, model: _Object | None, rows: int, dim: int) -> Matrix | None:
        """Return the output matrix of the training, where the model has it."""
        if model is None:
            return None
        owner = model.part("trainables") if model.has("trainables") else model
        key = owner.first("syn1neg", "syn1")
        if key is None:
            return None
        try:
            values = owner.array(key)
        except (VecioError, OSError):  # the vectors do not need it, and it is often deleted
            return None
        return _matrix(values, key, self.file.path) if values.shape == (rows, dim) else None

    def sibling(self, name: str, what: str) -> Array:
        """Return the array in the file `name`.npy beside the pickle, or in the packed `name`.npz."""
        if self.file.unpacked is not None:
            packed = f"{name}.npz"
            if os.path.isfile(packed):
                return self.keep(self.packed(packed), what)
        plain = f"{name}.npy"
        try:
            return self.keep(MappedFile.open(plain, copy=self.file.copied), what)
        except FileNotFoundError:
            raise FormatError(
                self.file.path,
                f"the array {what} lies in a file of its own, which is not there (both must keep their names)",
                expected=os.path.basename(packed if self.file.unpacked is not None else plain),
                found="no such file",
            ) from None

    def keep(self, file: MappedFile, what: str) -> Array:
        self.files.append(file)
        return _npy.array(file, 0, what)

    def packed(self, path: str) -> MappedFile:
        """Unpack the one array of an `.npz` into the cache and map it there."""
        archive = MappedFile.open(path)
        try:
            found = unpacked(archive, cast(Any, _ArchiveMember))
        finally:
            archive.close()
        return in_memory(found) if self.file.copied else found

    def describe(self, vectors: _Object, model: _Object | None, rule: Subwords | None) -> None:
        """Take over the settings, under fastText's names."""
        found = self.metadata
        for owner in (model, vectors):
            if owner is not None and "gensim" not in found:
                found.update(self.version(owner))
        if rule is not None:
            found.update(minn=rule.minn, maxn=rule.maxn, bucket=rule.bucket)
        if model is None:
            return
        for name, key in _SETTINGS.items():
            value = model.plain(key)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                found[name] = value
        if "sg" in model.attributes:
            found["model"] = "skipgram" if model.plain("sg") else "cbow"
            found["loss"] = "hs" if model.plain("hs") else "ns"

    def version(self, owner: _Object) -> dict[str, Any]:
        """Return the version of gensim that the object's first event names."""
        events = self.values.sequence(owner.ref("lifecycle_events"))
        for ref in [] if events is None else events[:1].tolist():
            event = self.values.attributes(ref) or {}
            version = self.values.name(event.get("gensim", NONE))
            if version is not None:
                return {"gensim": version[:40]}
        return {}


#: fastText's names of settings, and gensim's.
_SETTINGS = {
    "ws": "window",
    "epoch": "epochs",
    "minCount": "min_count",
    "neg": "negative",
    "t": "sample",
    "lr": "alpha",
    "ntokens": "corpus_total_words",
}


def _matrix(values: Array, what: str, path: str) -> Matrix:
    """Return rows of numbers in their own type, if there is one for them."""
    if values.dtype in (np.dtype("<f4"), np.dtype("<f2")) and values.flags.c_contiguous:
        return Float32(values) if values.dtype.itemsize == 4 else Float16(values)
    if values.dtype.kind not in "fiu" or values.dtype == np.uint16:  # which would be taken for bfloat16
        raise UnsupportedError(f"{path}: {what} is of the dtype {values.dtype}, which is not served")
    return Converted(values)


def _rows(matrix: Matrix, ids: Array) -> Matrix:
    if np.array_equal(ids, np.arange(len(ids))):
        return matrix.part(0, len(ids))
    return Gathered(matrix, ids)


#: Bytes at the end of a zip archive that say how many members it has; and of the list of its one member.
_LONGEST_END, _LONGEST_LIST = 76 + 22 + 0xFFFF, 1 << 10


class _ArchiveMember:
    """The array in an `.npz` (a zip archive with one member, `val.npy`) as a stream."""

    def __init__(self, stream: BinaryIO) -> None:
        import zipfile

        self.errors = (
            zipfile.BadZipFile,
            ArithmeticError,
            EOFError,
            LookupError,
            RuntimeError,
            ValueError,
            struct.error,
        )
        self.path = str(stream.name)
        self.check_members(stream)
        try:
            self.archive = zipfile.ZipFile(stream)
            names = self.archive.namelist()
            self.member = self.archive.open("val.npy")
            self.size, self.done = self.archive.getinfo("val.npy").file_size, 0
        except self.errors as error:
            raise self.error(error) from None
        except OSError as error:
            if error.errno != errno.EINVAL:  # a place before the file's beginning
                raise
            raise self.error(error) from None
        if names != ["val.npy"]:
            raise self.members(len(names))

    def check_members(self, stream: BinaryIO) -> None:
        """Refuse an archive that says it has many members, before Python makes an object of each."""
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - _LONGEST_END))
        tail = stream.read(_LONGEST_END)
        stream.seek(0)
        place = tail.rfind(b"PK\5\6")
        size = int.from_bytes(tail[place + 12 : place + 16], "little")
        if (
            place >= 76 and tail[place - 20 : place - 16] == b"PK\6\7"
        ):  # zip64: a record of 56 bytes and its place
            size = int.from_bytes(tail[place - 36 : place - 28], "little")
        if place >= 0 and size > _LONGEST_LIST:
            raise self.members(int.from_bytes(tail[place + 10 : place + 12], "little"))

    def members(self, count: int) -> FormatError:
        return FormatError(
            self.path, "an .npz of gensim", expected="one array, val", found=f"{count} members"
        )

    def __enter__(self) -> _ArchiveMember:
        return self

    def __exit__(self, *_: object) -> None:
        self.archive.close()

    def read(self, size: int) -> bytes:
        try:
            piece = self.member.read(size)
        except self.errors as error:
            raise self.error(error) from None
        self.done += len(piece)
        if not piece and self.done != self.size:
            raise FormatError(
                self.path, "the array val", expected=f"{self.size} bytes", found=f"{self.done} bytes"
            )
        return piece

    def error(self, error: BaseException) -> FormatError:
        text = ascii(str(error))[1:81]
        return FormatError(self.path, "the zip archive is damaged", expected="the array val", found=text)


class _Keys:
    """The words and their rows. What both `index_to_key` and `key_to_index` say must agree.

    rows: int64, the rows that have a word. gensim leaves rows without one (key None) where a file that it read had
    a word twice. whole: whether all rows have one.
    """

    def __init__(self, owner: _Object, rows: int) -> None:
        self.owner, self.values, self.total = owner, owner.values, rows
        name = owner.first("index_to_key", "index2word", "index2entity")
        refs = None if name is None else self.values.sequence(owner.ref(name))
        if refs is None:
            raise owner.error("the attribute index_to_key", "a list of words", "none")
        if len(refs) != rows:
            raise owner.error("the number of keys", f"{rows}, one for each row", len(refs))
        kinds = refs & 15
        self.rows = np.flatnonzero(kinds != NONE)
        self.whole = len(self.rows) == rows
        self.refs = refs if self.whole else refs[self.rows]
        wrong = np.flatnonzero(~np.isin(kinds, (NONE, TEXT, INT, NUMBER)))
        if len(wrong):
            raise owner.error(f"key {wrong[0]}", "a text or a number", "something else")
        self.blob, self.offsets = self.pack(self.refs)
        self.counts = self.check()

    def pack(self, refs: Array) -> tuple[Array, Array]:
        """Return the words as packed bytes; numbers become their digits."""
        kinds = refs & 15
        if (kinds == TEXT).all():
            blob, offsets = self.values.texts(refs)
            if not self.odd(refs, blob):
                return blob, offsets
        else:
            self.owner.reader.metadata["number_keys"] = int(np.count_nonzero(kinds != TEXT))
            self.values.places(refs[kinds == TEXT])  # not longer than the file
        words = []
        for ref in refs.tolist():
            value = self.values.plain(ref)
            if value is ...:
                raise self.owner.error("a key", "a text or a number of at most 16 bytes", "a longer number")
            words.append(encode(value if isinstance(value, str) else str(value)))
        offsets = np.zeros(len(words) + 1, np.int64)
        np.cumsum([len(word) for word in words], out=offsets[1:])
        return np.frombuffer(b"".join(words), np.uint8), offsets

    def odd(self, refs: Array, blob: Array) -> bool:
        """Say whether any word is not plain UTF-8: surrogates that stand for bytes, or a text of Python 2."""
        surrogate = np.flatnonzero(blob[:-1] == 0xED)
        if len(surrogate) and (blob[surrogate + 1] >= 0xA0).any():
            return True
        return bool(np.isin(self.values.data[refs >> SHIFT], PYTHON_2).any())

    def vocabulary(self) -> Vocabulary:
        size = len(self.refs)
        path = self.owner.reader.file.path
        return Vocabulary(
            size,
            size,
            arrays=(self.blob, self.offsets, 0),
            counts=self.counts,
            damaged=lambda message, entry: FormatError(path, f"{message} (word {entry})"),
        )

    def check(self) -> Array | None:
        """Compare the words with their index (a dict), and return how often training saw each, or None."""
        owner, values = self.owner, self.values
        if owner.has("key_to_index"):
            pairs = values.pairs(owner.ref("key_to_index"))
            if pairs is None:
                raise owner.error("the attribute key_to_index", "a dictionary", "something else")
            self.agree(*pairs)
            return self.expando()
        if not owner.has("vocab"):
            raise owner.error("the attribute key_to_index", "a dictionary", "none")
        pairs = values.pairs(owner.ref("vocab"))
        if pairs is None:
            raise owner.error("the attribute vocab", "a dictionary", "something else")
        fields = self.fields(pairs[1], ("index", "count"))
        self.agree(pairs[0], fields[0])
        counts = fields[1]
        if not ((counts & 15) == INT).all():
            return None
        found = np.zeros(self.total, np.int64)
        found[fields[0] >> SHIFT] = counts >> SHIFT
        return found[self.rows]

    def agree(self, keys: Array, rows: Array) -> None:
        """Raise FormatError unless the pairs (word, row) say the same as the list of words."""
        own = self.rows << SHIFT | INT
        if np.array_equal(keys, self.refs) and np.array_equal(
            rows, own
        ):  # as gensim writes it: the same texts
            return
        implied = int(np.count_nonzero(self.refs == own))  # tags of documents that are their row's number
        self.agree_slowly(keys, rows, implied)

    def agree_slowly(self, keys: Array, rows: Array, implied: int) -> None:
        self.values.places(keys[keys & 15 == TEXT])  # together not longer than the file
        position = np.full(self.total, -1)
        position[self.rows] = np.arange(len(self.rows))
        blob, offsets = self.blob.data, self.offsets
        seen = set()
        for start in range(0, len(keys), 1 << 16):
            part = keys[start : start + (1 << 16)]
            if not np.isin(part & 15, (TEXT, INT, NUMBER)).all():
                raise self.owner.error("a key of the index", "a text or a number", "something else")
            packed, bounds = self.pack(part)
            places = bounds.tolist()
            refs = rows[start : start + (1 << 16)]
            there = (refs & 15 == INT) & (refs >= 0) & (refs >> SHIFT < self.total)
            for i, at in enumerate(np.where(there, position[np.where(there, refs >> SHIFT, 0)], -1).tolist()):
                word = packed.data[places[i] : places[i + 1]]
                if at < 0 or blob[offsets[at] : offsets[at + 1]] != word:
                    raise self.owner.error(
                        f"row {ascii(self.values.plain(int(refs[i])))[:30]} in the index",
                        ascii(decode(bytes(word[:60]))),
                        "another word" if at >= 0 else "no such row",
                    )
                seen.add(bytes(word))
        if len(seen) in (len(self.refs), len(self.refs) - implied):
            return
        places = offsets.tolist()
        if len({bytes(blob[a:b]) for a, b in itertools.pairwise(places)}) != len(seen):
            raise self.owner.error("the number of words in the index", len(self.refs), len(seen))

    def expando(self) -> Array | None:
        """Return the counts of a file of gensim 4."""
        expandos = self.values.attributes(self.owner.ref("expandos"))
        if expandos is None or expandos.get("count", NONE) == NONE:
            return None
        counts = self.values.array(expandos["count"], "count")
        if counts is None or counts.ndim != 1 or counts.dtype.kind not in "iu":
            return None
        found = np.zeros(self.total, np.int64)  # gensim fills up, or cuts, when it next looks
        found[: len(counts)] = counts[: self.total]
        return found[self.rows]

    def fields(self, refs: Array, names: tuple[str, ...]) -> list[Array]:
        """Return these attributes of many objects of one class (the words of gensim 3), as references."""
        values = self.values
        fast = self.same_layout(refs, names)
        if fast is not None:
            return fast
        out = [np.zeros(len(refs), np.int64) for _ in names]
        known: dict[int, list[int]] = {}  # many words may have one object, and many objects one state
        for i, ref in enumerate(refs.tolist()):
            node = values.node(ref, OBJECT)
            state = NONE if node is None else int(node[3])
            if state not in known:
                found = values.attributes(state)
                known[state] = [NONE if found is None else found.get(name, NONE) for name in names]
            for column, value in zip(out, known[state], strict=True):
                column[i] = value
        return out

    def same_layout(self, refs: Array, names: tuple[str, ...]) -> list[Array] | None:
        """Do what `fields` does, at once, for objects whose attributes have the same texts in the same order."""
        values, nodes, items = self.values, self.values.nodes, self.values.items
        if not len(refs) or not all(values.node(int(ref), OBJECT) is not None for ref in refs[:1]):
            return None
        if not (refs & 15 == NODE).all() or not (nodes[refs >> SHIFT, 0] == OBJECT).all():
            return None
        states = nodes[refs >> SHIFT, 3]
        if (states < 0).any() or not (states & 15 == NODE).all():
            return None
        dicts = nodes[states >> SHIFT]
        many = int(dicts[0, 3])
        if not ((dicts[:, 0] == DICT) & (dicts[:, 3] == many) & (dicts[:, 1] == dicts[:, 2])).all():
            return None
        if not 0 < many < 100:
            return None
        begins = dicts[:, 1] + 2
        texts = [values.name(int(items[begins[0] + i])) for i in range(0, many, 2)]
        for i in range(0, many, 2):
            if not (items[begins + i] == items[begins[0] + i]).all():
                return None
        if any(name not in texts for name in names):
            return None
        return [items[begins + 2 * texts.index(name) + 1] for name in names]


# -- writing -----------------------------------------------------------------------------------------------------------

_PICKLE_INT32 = range(-(1 << 31), 1 << 31)


def write(
    embeddings: Embeddings,
    path: str | os.PathLike[str],
    dtype: str | None = None,
    progress: Progress | None = None,
) -> Written:
    """Write the `.kv` of gensim 4: KeyedVectors, or FastTextKeyedVectors for a model with fastText's n-grams.

    One file, in blocks of bounded memory, the same bytes each time, put in place at once. dtype: float32.
    """
    chosen = plain_dtype(dtype)
    with atomic_write(path) as stream:
        _Writer(embeddings, stream, progress).run()
    return Written(chosen)


def has_rule(e: Embeddings) -> bool:
    """Say whether gensim can make vectors of unknown words as this model does: fastText's n-grams and hash."""
    rule = e._subwords
    return (
        rule is not None
        and e._grams is not None
        and e._classifier is None
        and not e._parts.unit
        and rule.has_ngrams
        and rule.kind in ("fasttext", "gensim")
        and (rule.begin, rule.end) == (b"<", b">")
    )


def refuses_for(e: Embeddings) -> Callable[[bytes], str | None] | None:
    """Return the test of words that cannot be written with the model's n-grams; without n-grams all words can."""
    return not_utf8 if has_rule(e) else None


def not_utf8(word: bytes) -> str | None:
    try:
        word.decode("utf-8")
    except UnicodeDecodeError:
        return "it is not UTF-8, and gensim stops where it makes the n-grams of such a word"
    return None


class _Writer:
    """Writes one pickle by hand: protocol 4 without frames, so that nothing has to be counted before it is written."""

    def __init__(self, e: Embeddings, stream: BinaryIO, progress: Progress | None) -> None:
        self.e, self.stream, self.progress = e, stream, progress
        self.kept = 0
        self.memo: dict[tuple[str, ...], int] = {}
        self.done = 0
        self.total = len(e) + (len(e._grams) if has_rule(e) and e._grams is not None else 0)

    def put(self, data: bytes | memoryview) -> None:
        self.stream.write(data)

    def run(self) -> None:
        rule = has_rule(self.e)
        name = ("gensim.models.fasttext", "FastTextKeyedVectors")
        self.put(b"\x80\x04")
        self.name(*(name if rule else ("gensim.models.keyedvectors", "KeyedVectors")))
        self.put(b")\x81}(")
        self.pair("vector_size", integer(self.e.dim))
        self.words()
        self.pair("next_index", integer(0))
        if not rule:
            self.key("vectors")
            self.floats((len(self.e), self.e.dim), self.vectors())
        self.pair("norms", b"N")
        self.counts()
        self.pair("mapfile_path", b"N")
        if rule:
            self.subwords()
        self.key("lifecycle_events")
        self.put(b"](}(")
        self.pair("event", text("converted"))
        self.pair("vecio", text(__version__))
        self.put(b"ue")
        for key in ("__numpys", "__scipys", "__recursive_saveloads"):
            self.pair(key, b"]")
        self.key("__ignoreds")
        self.put(b"](" + text("vectors") + text("buckets_word") + b"e" if rule else b"]")
        self.put(b"ub.")

    def key(self, name: str) -> None:
        self.put(text(name))

    def pair(self, name: str, value: bytes) -> None:
        self.put(text(name) + value)

    def name(self, module: str, name: str) -> None:
        """Put a class or function on the stack; from the second time on, out of the memo."""
        if (module, name) in self.memo:
            self.put(b"j" + struct.pack("<I", self.memo[module, name]))
            return
        self.put(text(module) + text(name) + b"\x93\x94")
        self.memo[module, name] = self.kept
        self.kept += 1

    def words(self) -> None:
        """Write the list of words, each kept in the memo, and the dict of their rows."""
        e, first = self.e, self.kept
        self.key("index_to_key")
        self.put(b"]")
        for entries in self.portions():
            self.put(b"(" + b"".join(text_of(entry) + b"\x94" for entry in entries) + b"e")
        self.kept += len(e)
        self.key("key_to_index")
        self.put(b"}")
        for start in range(0, len(e), 1000):
            rows = np.arange(start, min(start + 1000, len(e)))
            table = np.zeros(len(rows), [("get", "u1"), ("key", "<u4"), ("int", "u1"), ("row", "<i4")])
            table["get"], table["key"], table["int"], table["row"] = 0x6A, rows + first, 0x4A, rows
            self.put(b"(" + table.tobytes() + b"u")

    def portions(self) -> Iterator[list[bytes]]:
        for start in range(0, len(self.e), 1000):
            yield self.e._vocabulary.entries(start, min(start + 1000, len(self.e)))

    def counts(self) -> None:
        self.key("expandos")
        self.put(b"}")
        counts = self.e._vocabulary.counts
        if counts is not None:
            self.key("count")
            numbers = np.asarray(counts[: len(self.e)], "<i8")
            self.array((len(self.e),), "i8", [numbers])
            self.put(b"s")

    def subwords(self) -> None:
        rule = self.e._subwords
        assert rule is not None
        self.pair("min_n", integer(max(rule.minn, 0)))
        self.pair("max_n", integer(rule.maxn))
        self.pair("bucket", integer(rule.bucket))
        self.pair("compatible_hash", b"\x88")
        self.key("vectors_vocab")
        self.floats((len(self.e), self.e.dim), self.own_rows())
        self.key("vectors_ngrams")
        self.floats((rule.bucket, self.e.dim), self.gram_rows())
        for key in ("vectors_vocab_lockf", "vectors_ngrams_lockf", "vectors_lockf"):
            self.key(key)
            self.floats((1,), [np.ones(1, np.float32)])

    # -- arrays --------------------------------------------------------------------------------------------------

    def floats(self, shape: tuple[int, ...], blocks: Iterable[Array]) -> None:
        self.array(shape, "f4", blocks)

    def array(self, shape: tuple[int, ...], dtype: str, blocks: Iterable[Array]) -> None:
        """Write an array as NumPy pickles it, its bytes block by block."""
        # both NumPy 1 and 2 know the function under its old name
        self.name("numpy.core.multiarray", "_reconstruct")
        self.name("numpy", "ndarray")
        self.put(integer(0) + b"\x85C\x01b\x87R(" + integer(1))
        dims = b"".join(integer(n) for n in shape)
        self.put(dims + (b"\x85" if len(shape) == 1 else b"\x86"))
        self.name("numpy", "dtype")
        self.put(text(dtype) + b"\x89\x88\x87R(" + integer(3) + text("<"))
        self.put(b"NNN" + integer(-1) * 2 + integer(0) + b"tb\x89")
        size = int(dtype[1])
        for n in shape:
            size *= n
        self.put(b"\x8e" + struct.pack("<Q", size))
        for block in blocks:
            values = np.ascontiguousarray(block, "<" + dtype)
            self.put(values.reshape(-1).view(np.uint8).data)
            size -= values.nbytes
        assert size == 0
        self.put(b"tb")

    def vectors(self) -> Iterator[Floats]:
        for _, _, block in vector_blocks(self.e, self.progress):
            yield block

    def advance(self, rows: int) -> None:
        self.done += rows
        if self.progress is not None:
            self.progress(self.done, self.total)

    def own_rows(self) -> Iterator[Floats]:
        """Yield the words' own rows: as stored, or what is left of a finished vector without its n-grams."""
        e = self.e
        raw = own_matrix(e)
        if raw is not None:
            for start, stop, block in row_blocks(e, raw):
                yield self.end_of_sentence(start, stop, block)
                self.advance(stop - start)
            return
        for start, stop, block in vector_blocks(e):
            yield own_rows(e, e._vocabulary.entries(start, stop), block)
            self.advance(stop - start)

    def end_of_sentence(self, start: int, stop: int, block: Floats) -> Floats:
        """Replace the row of `</s>`: fastText gives it no n-grams, gensim does."""
        e = self.e
        assert e._subwords is not None
        entry = e._vocabulary.find(END_OF_SENTENCE)
        if start <= entry < stop and not e._subwords.plain_end:
            block[entry - start] = own_rows(e, [END_OF_SENTENCE], block[entry - start][None])[0]
        return block

    def gram_rows(self) -> Iterator[Floats]:
        """Yield a row for every bucket; those that pruning dropped are zero."""
        e = self.e
        assert e._subwords is not None and e._grams is not None
        if e._subwords.pruned is None:
            for start, stop, block in row_blocks(e, e._grams):
                yield block
                self.advance(stop - start)
            return
        pairs = {bucket: row for bucket, row in np.asarray(e._subwords.pruned).tolist() if bucket >= 0}
        buckets = np.array(sorted(pairs), np.int64)
        rows = np.array([pairs[bucket] for bucket in buckets.tolist()], np.int64)
        step = max(1, (8 << 20) // (4 * e.dim))
        for start in range(0, e._subwords.bucket, step):
            stop = min(start + step, e._subwords.bucket)
            a, b = np.searchsorted(buckets, (start, stop))
            block = np.zeros((stop - start, e.dim), np.float32)
            block[buckets[a:b] - start] = e._grams.take(rows[a:b])
            yield block
        self.advance(len(e._grams))


def own_matrix(e: Embeddings) -> Matrix | None:
    """Return the words' own rows where the model has them as gensim's formula needs them; None: they are computed."""
    assert e._subwords is not None
    if e._subwords.pruned is not None:
        return None
    return e._parts.raw_words if e._accumulated else e._words


def own_rows(e: Embeddings, words: list[bytes], vectors: Floats) -> Floats:
    """Return what gensim must store for the words so that they get these vectors: (k + 1) * vector - sum of n-grams.

    k: the number of a word's n-grams, those among them that pruning dropped (whose rows become zero).
    """
    rule, grams = e._subwords, e._grams
    assert rule is not None and grams is not None
    plain = Subwords(rule.minn, rule.maxn, rule.bucket, "gensim", 1, rule.pruned)
    if grams.compiled and _effort.kernels_due(sum(map(len, words)) * CHARACTER_COST):
        return _own_rows_compiled(e, plain, words, vectors)
    out = np.empty_like(vectors)
    for i, word in enumerate(words):
        strings = plain.pairs(word)
        rows = [row for _, row in strings if row >= 0]
        total = grams.take(rows).sum(axis=0, dtype=np.float64) if rows else 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            out[i] = (len(strings) + 1) * vectors[i].astype(np.float64) - total
    return out


def _own_rows_compiled(e: Embeddings, rule: Subwords, words: list[bytes], vectors: Floats) -> Floats:
    """Do what `own_rows` does through the kernel that makes vectors of unknown words: a model without words."""
    nothing = Float32(np.empty((0, e.dim), np.float32))
    model = Embeddings(
        Parts(Vocabulary.from_words([]), nothing, NAME, grams=e._grams, subwords=rule, accumulated=False)
    )
    means = np.zeros((len(words), e.dim), np.float32)
    made = model._fill(list(words), means, None)
    ends = [i for i, word in enumerate(words) if word == END_OF_SENTENCE]
    made[ends] = len(rule.rows(END_OF_SENTENCE))
    counts = made if rule.pruned is None else np.array([ngram_count(rule, word) for word in words], np.int64)
    with np.errstate(over="ignore", invalid="ignore"):
        own: Floats = ((counts + 1)[:, None] * vectors.astype(np.float64) - made[:, None] * means).astype(
            np.float32
        )
    return own


def ngram_count(rule: Subwords, word: bytes) -> int:
    """Return how many n-grams a word has by fastText's rule."""
    length = 2 + sum(byte & 0xC0 != 0x80 for byte in word)
    shortest, longest = max(rule.minn, 1), min(rule.maxn, length)
    count = sum(length - n + 1 for n in range(shortest, longest + 1))
    return count - (2 if shortest == 1 <= longest else 0)


def text_of(word: bytes) -> bytes:
    """Return the opcode that puts a word on the stack; bytes that are not UTF-8 become lone surrogates, as in `str`."""
    try:
        word.decode("utf-8")
        data = word
    except UnicodeDecodeError:
        data = decode(word).encode("utf-8", "surrogatepass")
    if len(data) < 256:
        return b"\x8c" + bytes([len(data)]) + data
    if len(data) < 1 << 32:
        return b"X" + struct.pack("<I", len(data)) + data
    return b"\x8d" + struct.pack("<Q", len(data)) + data


def text(value: str) -> bytes:
    return text_of(value.encode())


def integer(value: int) -> bytes:
    """Return the opcode that puts a number on the stack."""
    if 0 <= value < 256:
        return b"K" + bytes([value])
    if value in _PICKLE_INT32:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def fate(e: Embeddings, dtype: str | None, options: Mapping[str, Any]) -> Fate:
    """Return what the file will keep, round and lose."""
    carries, approximated = [COUNTS], []
    if has_rule(e):
        carries.append(UNKNOWN)
        if e._parts.output is None:
            carries.append(RAW)
        rule = e._subwords
        if rule is not None and rule.pruned is not None:
            approximated.append("the lengths of unknown words' vectors (their directions are kept)")
        if own_matrix(e) is not None and rule is not None and not rule.plain_end:
            if e._vocabulary.find(END_OF_SENTENCE) >= 0:
                approximated.append("the vector of </s>, in the last digits (gensim gives it n-grams)")
        if own_matrix(e) is None or (e.format == NAME and e._accumulated):
            approximated.append(
                "the word vectors, in the last digits (gensim makes them of own and n-gram rows)"
            )
    return common_fate(e, plain_dtype(dtype), carries, approximated)


FORMAT = Format(NAME, (".kv", ".model"), detect, read, write, fate=fate, refuses_for=refuses_for, unique=True)
