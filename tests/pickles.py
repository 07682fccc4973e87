"""Makes pickles by hand: small gensim files of any version without gensim, and pickles that try to run something.

Nothing here imports vecio. `evil` lists programs that the ordinary unpickler would run; each knows the name that the
refusal must say. They only ever touch the file that they are given.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

#: Python's own pickler, in Python: its way to write the names of classes can be changed.
_Pickler: Any = pickle._Pickler  # type: ignore[attr-defined]


class Writer(_Pickler):  # type: ignore[misc]
    """A pickler that writes the names of classes that exist nowhere."""

    def save_global(self, obj: Any, name: str | None = None) -> None:
        names = getattr(obj, "pickled_as", None)
        if names is None:
            super().save_global(obj, name)
        elif self.proto >= 4:
            self.save(names[0])
            self.save(names[1])
            self.write(pickle.STACK_GLOBAL)
            self.memoize(obj)
        else:
            self.write(pickle.GLOBAL + f"{names[0]}\n{names[1]}\n".encode())
            self.memoize(obj)

    def save_type(self, obj: Any) -> None:
        self.save_global(obj)

    dispatch = {**_Pickler.dispatch, type: save_type}  # noqa: RUF012


def kind(module: str, name: str) -> Any:
    """Return a class that is written under another module's name."""
    return type(name, (), {"pickled_as": (module, name)})


def thing(module: str, name: str, **attributes: Any) -> Any:
    """Return an object with these attributes, of a class that is written under that name."""
    made = kind(module, name)()
    made.__dict__.update(attributes)
    return made


def dump(value: Any, protocol: int = 4) -> bytes:
    stream = io.BytesIO()
    Writer(stream, protocol).dump(value)
    return stream.getvalue()


KEYED = "gensim.models.keyedvectors"
WORDS = ["the", "größe", "狐狸", "x"]
VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3) / 7
APART: dict[str, list[str]] = {"__numpys": [], "__scipys": [], "__ignoreds": [], "__recursive_saveloads": []}


def keyed(words: Any = None, vectors: Any = VECTORS, **changes: Any) -> Any:
    """Return a KeyedVectors as gensim 4 has it, with some attributes changed (None in `leave`: left out)."""
    words = WORDS if words is None else words
    found = {
        "vector_size": 3,
        "index_to_key": list(words),
        "next_index": 0,
        "key_to_index": {word: i for i, word in enumerate(words)},
        "vectors": vectors,
        "norms": None,
        "expandos": {"count": np.arange(40, 40 - len(words), -1)},
        "mapfile_path": None,
        **APART,
    }
    leave = changes.pop("leave", ())
    found.update(changes)
    for name in leave:
        del found[name]
    return thing(KEYED, "KeyedVectors", **found)


GRAMS = np.arange(30, dtype=np.float32).reshape(10, 3) / 11


def fasttext(**changes: Any) -> Any:
    """Return a FastTextKeyedVectors as gensim 4 has it."""
    found = {
        **keyed(leave=("vectors",)).__dict__,
        "min_n": 2,
        "max_n": 3,
        "bucket": 10,
        "vectors_vocab": VECTORS,
        "vectors_ngrams": GRAMS,
        "compatible_hash": True,
        **changes,
    }
    return thing("gensim.models.fasttext", "FastTextKeyedVectors", **found)


def old(module: str = KEYED, name: str = "Word2VecKeyedVectors", *, newer: bool = True, **more: Any) -> Any:
    """Return word vectors as gensim 3 has them (newer), or as it was before: syn0 and index2word."""
    vocab = kind(KEYED, "Vocab")
    entries = {}
    for i, word in enumerate(WORDS):
        entries[word] = vocab()
        entries[word].__dict__.update(count=100 - 7 * i, index=i, sample_int=2**32 - i)
    found: dict[str, Any] = {"vocab": entries, "vector_size": 3, **APART}
    found |= {"vectors": VECTORS, "index2entity": WORDS} if newer else {"syn0": VECTORS, "index2word": WORDS}
    return thing(module, name, **{**found, **more})


# -- pickles that would run something ------------------------------------------------------------------------------


def short(text: str) -> bytes:
    data = text.encode()
    return b"\x8c" + bytes([len(data)]) + data


def name(module: str, attribute: str, protocol: int) -> bytes:
    """Return the opcodes that load a name."""
    if protocol < 4:
        return b"c" + f"{module}\n{attribute}\n".encode()
    return short(module) + short(attribute) + b"\x93"


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def call(module: str, attribute: str, *arguments: bytes, protocol: int = 4) -> bytes:
    """Return the opcodes that call a function by REDUCE."""
    return name(module, attribute, protocol) + b"(" + b"".join(arguments) + b"tR"


#: Functions that run a program, or Python, when they are called with one text or a few.
RUNNERS = [
    ("os", "system"), ("posix", "system"), ("nt", "system"), ("os", "popen"), ("os", "execl"), ("os", "remove"),
    ("subprocess", "Popen"), ("subprocess", "call"), ("subprocess", "check_output"), ("subprocess", "getoutput"),
    ("builtins", "eval"), ("builtins", "exec"), ("builtins", "compile"), ("builtins", "open"),
    ("builtins", "getattr"), ("builtins", "__import__"), ("builtins", "map"), ("builtins", "globals"),
    ("__builtin__", "eval"), ("__builtin__", "execfile"), ("__builtin__", "apply"), ("__builtin__", "getattr"),
    ("operator", "attrgetter"), ("operator", "methodcaller"), ("functools", "partial"), ("functools", "reduce"),
    ("types", "FunctionType"), ("types", "CodeType"), ("importlib", "import_module"), ("runpy", "run_path"),
    ("pty", "spawn"), ("shutil", "rmtree"), ("sys", "exit"), ("code", "interact"), ("codecs", "decode"),
    ("_codecs", "decode"), ("pickle", "loads"), ("_pickle", "loads"), ("marshal", "loads"), ("ctypes", "CDLL"),
    ("socket", "create_connection"), ("urllib.request", "urlopen"), ("webbrowser", "open"), ("timeit", "timeit"),
    ("cProfile", "run"), ("pdb", "run"), ("pydoc", "pipepager"), ("asyncio", "run"), ("logging.config", "listen"),
    ("numpy", "load"), ("numpy.testing._private.utils", "runstring"), ("numpy.f2py.crackfortran", "getlincoef"),
    ("torch", "load"), ("torch.storage", "_load_from_bytes"), ("joblib", "load"), ("dill", "loads"),
    ("cloudpickle", "loads"), ("copyreg", "_reconstructor"), ("copy_reg", "_reconstructor"),
    ("collections", "OrderedDict"), ("gensim.utils", "unpickle"), ("gensim.models.ldamodel", "LdaModel"),
    ("gensim.models.keyedvectors", "KeyedVectors.load"), ("gensim.models.keyedvectors", "load"),
    ("numpy", "dtype.__reduce__"), ("numpy.random", "RandomState"),
]  # fmt: skip


def programs(target: str) -> Iterator[tuple[str, bytes, str]]:
    """Yield (label, opcodes that leave one value, what the refusal must name): no program, but parts of one."""
    command = f"touch {target}"
    for module, attribute in RUNNERS:
        for protocol in (2, 4):
            said = f"{module} {attribute}"
            yield f"{said} {protocol}", call(module, attribute, text(command), protocol=protocol), said
    system = name("os", "system", 4)
    yield "os system by NEWOBJ", system + b"(" + text(command) + b"t\x81", "os system"
    yield "os system by NEWOBJ_EX", system + b"(" + text(command) + b"t}\x92", "os system"
    yield "os system by INST", b"(" + text(command) + b"ios\nsystem\n", "os system"
    yield "os system by OBJ", b"(" + system + text(command) + b"o", "os system"
    yield "hash called", call("builtins", "hash", text(command)), "builtins hash"
    yield "int called", call("builtins", "int", text("1")), "builtins int"
    yield "ndarray called", call("numpy", "ndarray", b"K\x01"), "numpy ndarray"
    yield "a class called", call(KEYED, "KeyedVectors", b"K\x01"), f"{KEYED} KeyedVectors"
    yield "dtype by NEWOBJ", name("numpy", "dtype", 4) + b"(" + text("f4") + b"t\x81", "numpy dtype"
    yield "generator's utility called", call("gensim.utils", "call_on_class_only"), "gensim.utils call_on"
    yield "a dotted name", name("builtins", "__import__.__self__", 4), "builtins __import__.__self__"
    yield "a name of two lines", name("os\nsystem", "x", 4), r"os\nsystem x"
    yield "a name in other letters", name("ｏｓ", "ｓｙｓｔｅｍ", 4), r"\uff4f\uff53"
    yield "an empty name", name("", "", 4), "load"
    yield "extension code 1", b"\x82\x07", "extension code 7"
    yield "extension code 2", b"\x83\x07\x01", "extension code 263"
    yield "extension code 4", b"\x84\x07\x00\x00\x01", "extension code 16777223"
    yield "persistent id", b"Pevil.id\n", "evil.id"
    yield "binary persistent id", text("evil") + b"Q", "persistent"
    yield "buffer from outside", b"\x97", "buffer"
    yield "read-only buffer", b"C\x01a\x98", "buffer"
    yield (
        "a chain of getattr",
        call("builtins", "getattr", name("builtins", "__dict__", 4), text("eval")),
        "getattr",
    )
    yield (
        "a name put together",
        name("operator", "attrgetter", 4) + text("system") + b"\x85R" + name("os", "path", 4) + b"\x85R",
        "operator attrgetter",
    )
    yield "inside a dtype", call("numpy", "dtype", call("os", "system", text(command))), "os system"
    yield (
        "inside a defaultdict",
        call("collections", "defaultdict", name("os", "system", 4)) + b"(K\x01K\x02u",
        "os system",
    )
    yield "behind an ordinary list", b"](K\x01K\x02" + call("os", "system", text(command)) + b"e", "os system"
    yield "in the memo", call("os", "system", text(command)) + b"\x94h\x00\x86", "os system"
    yield "POP hides it", call("os", "system", text(command)) + b"0N", "os system"


def evil(target: str) -> Iterator[tuple[str, bytes, str]]:
    """Yield (label, a pickle, what the refusal must name): each alone, and inside an ordinary KeyedVectors."""
    head = b"\x80\x04"
    for label, opcodes, said in programs(target):
        yield f"{label}, alone", head + opcodes + b".", said
        model = name(KEYED, "KeyedVectors", 4) + b")\x81}(" + text("vector_size") + opcodes + b"ub."
        yield f"{label}, inside", head + model, said
        yield (
            f"{label}, as the state",
            head + name(KEYED, "KeyedVectors", 4) + b")\x81" + opcodes + b"b.",
            said,
        )
    line = f"(S'touch {target}'\ntR.".encode()
    yield "protocol 0", b"cos\nsystem\n" + line, "os system"
    yield "protocol 0, mark first", b"(S'touch'\nios\nsystem\n.", "os system"
    yield "protocol 0, instance", b"(ios\nsystem\n.", "os system"
    yield "protocol 1", b"(cos\nsystem\n" + b"X\x01\x00\x00\x00ao.", "os system"
