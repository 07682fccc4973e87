"""Makes the files of tests/data again with the real programs, and compares them with what is there.

    python tools/make_fixtures.py golden [--write]            the models of tests/data/fasttext and floret
    python tools/make_fixtures.py real FOLDER [--write]       answers of the real program for the models in FOLDER

Needs fasttext 0.9.2 (golden; other versions train other files), any fasttext (real) and floret 0.10.5, numpy below 2:

    python -m venv E && E/bin/pip install wheel setuptools pybind11 'numpy<2'
    E/bin/pip install --no-build-isolation fasttext==0.9.2 && E/bin/pip install --no-deps floret==0.10.5

Without --write nothing in tests/data changes; the exit code is 1 when something differs. A model is trained by the
command kept in its JSON file, and asked the questions kept there, so a new golden file begins with a new JSON file that
holds `file`, `command` and questions. This tool does not import vecio.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import re
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).resolve().parent.parent / "tests" / "data"
#: Models whose answers `real` freezes, by their path in the folder of large files.
REAL = (
    "models/fasttext/lid.176.ftz",
    "models/fasttext/finalfusion/fasttext.bin",
    "models/fasttext/gensim/crime-and-punishment.bin",
    "models/fasttext/gensim/toy-model.bin",
    "models/fasttext/gensim/toy-model-pretrained.bin",
    "models/fasttext/gensim/lee_fasttext_new.bin",
    "models/fasttext/gensim/pang_lee_polarity_fasttext.bin",
    "models/fasttext/gensim/lee_fasttext.bin",
    "models/fasttext/gensim/non_ascii_fasttext.bin",
    "models/fasttext/gensim/cp852_fasttext.bin",
)
TEXTS = (
    "the quick brown fox jumps over the lazy dog",
    "Wo ist der Bahnhof, bitte?",
    "où est la gare s'il vous plaît",
    "¿dónde está la estación de tren?",
    "где находится вокзал",
    "駅はどこですか",
    "请问火车站在哪里",
    "기차역이 어디에 있어요",
    "أين محطة القطار",
    "איפה תחנת הרכבת",
    "रेलवे स्टेशन कहाँ है",
    "waar is het treinstation",
    "onde fica a estação de trem",
    "dove si trova la stazione",
    "gdzie jest dworzec kolejowy",
    "kde je nádraží",
    "tren istasyonu nerede",
    "πού είναι ο σταθμός",
    "nhà ga ở đâu",
    "สถานีรถไฟอยู่ที่ไหน",
    "var ligger tågstationen",
    "missä rautatieasema on",
    "hol van a vasútállomás",
    "a",
    "",
    "   ",
    "123 456",
    "caf\udce9 \udcff",
    "🦊🦊🦊",
    "fox\0bread\tcheese",
    "</s> the </s>",
    "the " * 50,
)
UNKNOWN = (
    "supercalifragilistic",
    "größere",
    "ß",
    "",
    "x",
    "</s>",
    "<",
    "🦊狐狸",
    "caf\udce9",
    "\udcff",
    "неизвестный",
    "naïveté",
)


def raw(text: str) -> bytes:
    """Return the bytes of a text from a JSON file."""
    return text.encode("utf-8", "surrogateescape")


def text(data: bytes | str) -> str:
    """Return bytes of a model as they are kept in a JSON file."""
    return data if isinstance(data, str) else data.decode("utf-8", "surrogateescape")


def hexed(values: Any) -> str:
    """Return float32 numbers as they are kept in a JSON file."""
    return np.asarray(values, "<f4").tobytes().hex()


# --- asking the real program -------------------------------------------------------------------------------------


class Real:
    """A model in the real program, by its compiled interface: bytes in, bytes (as text with escapes) out."""

    def __init__(self, path: Path, module: str = "fasttext") -> None:
        pybind = importlib.import_module(f"{module}_pybind")
        self.pybind, self.model = pybind, pybind.fasttext()
        self.model.loadModel(str(path))
        self.dim = self.model.getArgs().dim

    def vector(self, word: str) -> str:
        found = self.pybind.Vector(self.dim)
        self.model.getWordVector(found, raw(word))
        return hexed(np.array(found))

    def sentence(self, line: str) -> str:
        found = self.pybind.Vector(self.dim)
        self.model.getSentenceVector(found, raw(line + "\n"))
        return hexed(np.array(found))

    def subwords(self, word: str) -> tuple[list[str], list[int]]:
        names, rows = self.model.getSubwords(raw(word), "surrogateescape")
        return list(names), [int(row) for row in rows]

    def predict(self, line: str, k: int, threshold: float) -> tuple[list[str], str]:
        found = self.model.predict(raw(line + "\n"), k, threshold, "surrogateescape")
        return [label for _, label in found], hexed([score for score, _ in found])

    def neighbours(self, word: str, k: int) -> tuple[list[str], str]:
        found = self.model.getNN(raw(word), k, "surrogateescape")
        return [name for _, name in found], hexed([score for score, _ in found])

    def analogies(self, a: str, b: str, c: str, k: int) -> tuple[list[str], str]:
        found = self.model.getAnalogies(raw(a), raw(b), raw(c), k, "surrogateescape")
        return [name for _, name in found], hexed([score for score, _ in found])

    def test(self, path: Path, k: int, threshold: float) -> tuple[int, float, float]:
        examples, precision, recall = self.model.test(str(path), k, threshold)
        return int(examples), float(precision), float(recall)

    def words(self) -> tuple[list[str], list[int]]:
        names, counts = self.model.getVocab("surrogateescape")
        return list(names), [int(n) for n in counts]

    def labels(self) -> tuple[list[str], list[int]]:
        names, counts = self.model.getLabels("surrogateescape")
        return list(names), [int(n) for n in counts]


def answer(real: Real, asked: dict[str, Any], texts: Path) -> dict[str, Any]:
    """Return the JSON file again, with every answer taken from the program now."""
    new = dict(asked)
    new["words"], new["word_counts"] = real.words()
    if "labels" in asked:
        new["labels"], new["label_counts"] = real.labels()
    new["queries"] = [query(real, old) for old in asked["queries"]]
    for name in ("sentences", "predict", "test", "neighbours", "analogies"):
        new[name] = [dict(old) for old in asked.get(name, ())]
        if name not in asked:
            del new[name]
    for one in new.get("sentences", ()):
        one["vector"] = real.sentence(one["text"])
    for one in new.get("predict", ()):
        one["labels"], one["probs"] = real.predict(one["text"], one["k"], one["threshold"])
    for one in new.get("test", ()):
        found = real.test(texts / one["data"], one["k"], one["threshold"])
        one["examples"], one["precision"], one["recall"] = found
    for one in new.get("neighbours", ()):
        one["words"], one["scores"] = real.neighbours(one["word"], one["k"])
    for one in new.get("analogies", ()):
        one["words"], one["scores"] = real.analogies(one["a"], one["b"], one["c"], one["k"])
    return new


def query(real: Real, old: dict[str, Any]) -> dict[str, Any]:
    """Ask for one word. floret's compiled interface cannot say the rows of a string: those stay."""
    new = dict(old, vector=real.vector(old["word"]))
    if "subword_ids" in old:
        new["id"] = int(real.model.getWordId(raw(old["word"])))
        new["subwords"], new["subword_ids"] = real.subwords(old["word"])
    return new


# --- golden: train as the command says ---------------------------------------------------------------------------


def train(command: str, folder: Path, texts: Path) -> Path:
    """Do what a fastText command line does, through the Python package; return the file."""
    fasttext = importlib.import_module("fasttext")
    words = command.split("   (")[0].split()[1:]
    task, options = words[0], words[1:]
    given: dict[str, Any] = {}
    while options:
        name = options.pop(0).lstrip("-")
        given[name] = options.pop(0) if options and not re.match(r"-[a-z]", options[0]) else True
    source, target = texts / Path(given.pop("input")).name, folder / Path(given.pop("output")).name
    values = {name: number(name, value) for name, value in given.items()}
    if task == "quantize":
        model = fasttext.load_model(f"{target}.bin")
        values.pop("verbose")
        model.quantize(str(source), **dict({"epoch": 5, "lr": 0.05, "thread": 1, "verbose": 0}, **values))
        path = folder / command.split("renamed to ")[1].rstrip(")")
    elif task == "supervised":
        model, path = fasttext.train_supervised(str(source), **values), target.with_suffix(".bin")
    else:
        model, path = (
            unsupervised(fasttext, dict(values, input=str(source), model=task)),
            target.with_suffix(".bin"),
        )
    model.save_model(str(path))
    return path


def unsupervised(fasttext: Any, values: dict[str, Any]) -> Any:
    """Train word vectors; `train_unsupervised` of the package takes no seed, what it calls does."""
    inner = fasttext.FastText
    args = inner._build_args(dict(inner.unsupervised_default, **values), {})
    model = inner._FastText(args=args)
    inner.fasttext.train(model.f, args)
    return model


def number(name: str, value: Any) -> Any:
    """Read an option as the command line does: lr and t as float32, the rest as it looks."""
    if value is True or name in ("loss", "label"):
        return value
    return float(np.float32(value)) if name in ("lr", "t") else int(value)


def train_floret(call: str, folder: Path, name: str, texts: Path) -> Path:
    """Do what the Python call in the JSON file says (its arguments are plain numbers and names)."""
    floret = importlib.import_module("floret")
    values: dict[str, Any] = {}
    for key, value in re.findall(r"(\w+)=('[^']*'|[^,)]+)", call):
        plain = value.strip("'")
        values[key] = (
            plain if not re.fullmatch(r"[\d.]+", plain) else float(plain) if "." in plain else int(plain)
        )
    values["input"] = str(texts / Path(values["input"]).name)
    path = folder / name
    floret.train_unsupervised(**values).save_model(str(path))
    return path


def golden(write: bool) -> int:
    """Train every golden file again; return how many differ."""
    differ = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for kind in ("fasttext", "floret"):
            files = sorted((DATA / kind).glob("*.json"), key=lambda p: (p.stem.startswith("q-"), p.stem))
            for file in files:
                asked = json.loads(file.read_text("utf-8"))
                if kind == "fasttext":
                    path = train(asked["command"], folder, DATA / "text")
                else:
                    path = train_floret(asked["call"], folder, asked["file"], DATA / "text")
                new = answer(Real(path, kind), asked, DATA / "text")
                if kind == "floret":  # its Python package pickles no labels and knows no sub-word rows
                    new.pop("labels", None)
                differ += compare(file.with_name(asked["file"]), path.read_bytes(), write)
                differ += compare(file, as_json(new), write, as_json(asked))
    return differ


# --- real: freeze answers for published models -------------------------------------------------------------------


def with_magic(data: bytes) -> bytes:
    """Return a file of before May 2017 in today's form: magic, version, pruned size and flags put in."""
    (size,) = struct.unpack_from("<i", data, 56)
    at = 76
    for _ in range(size):
        at = data.index(b"\0", at) + 10
    rows, dim = struct.unpack_from("<2q", data, at)
    end = at + 16 + rows * dim * 4
    head = struct.pack("<2i", 793712314, 12) + data[:76] + struct.pack("<q", -1)
    return head + data[76:at] + b"\0" + data[at:end] + b"\0" + data[end:]


def questions(real: Real, path: str) -> dict[str, Any]:
    """Make up what to ask a model: every n-th word, unknown ones, texts in many languages."""
    words, _ = real.words()
    known = words[:3] + words[3 :: max(1, len(words) // 25)]
    asked: dict[str, Any] = {
        "path": path,
        "queries": [{"word": w, "id": 0, "subword_ids": []} for w in (*known, *UNKNOWN)],
    }
    asked["sentences"] = [{"text": t} for t in TEXTS]
    asked["neighbours"] = [{"word": w, "k": 5} for w in (known[1], known[5], "supercalifragilistic")]
    asked["analogies"] = [{"a": known[1], "b": known[2], "c": known[5], "k": 5}]
    if real.labels()[0] and real.model.getArgs().model.name == "supervised":
        asked["labels"] = []
        wanted = ((1, 0.0), (3, 0.0), (-1, 0.02))
        asked["predict"] = [{"text": t, "k": k, "threshold": h} for t in TEXTS for k, h in wanted]
    return asked


def freeze(folder: Path, path: str) -> tuple[str, dict[str, Any]]:
    """Ask the real program about one published model; return the JSON file's name and content."""
    data = (folder / path).read_bytes()
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "model"
        old = data[:4] != struct.pack("<i", 793712314)
        copy.write_bytes(with_magic(data) if old else data)
        real = Real(copy)
        asked = questions(real, path)
        new = answer(real, asked, folder)
    words, counts = new.pop("words"), new.pop("word_counts")
    new["sha256"] = hashlib.sha256(data).hexdigest()
    new["vocabulary"] = {
        "size": len(words),
        "sha256": hashlib.sha256(b"\0".join(map(raw, words))).hexdigest(),
        "counts": int(sum(counts)),
    }
    new["note"] = (
        "asked after today's header was put in: the program refuses the file as it is" if old else ""
    )
    return Path(path).stem + ".json", new


def real_models(folder: Path, write: bool) -> int:
    """Freeze the answers of all published models; return how many differ from what is kept."""
    differ = 0
    for path in REAL:
        name, new = freeze(folder, path)
        differ += compare(DATA / "real" / name, as_json(new), write)
    return differ


def as_json(value: dict[str, Any]) -> bytes:
    """Return a JSON file: ASCII, one line for each field, the same bytes each time."""
    fields = ",\n".join(f"{json.dumps(key)}: {json.dumps(item)}" for key, item in value.items())
    return f"{{\n{fields}\n}}\n".encode()


def compare(file: Path, new: bytes, write: bool, old: bytes | None = None) -> int:
    """Report whether a file is as the programs make it now; write it if asked to. Return 1 if it differs."""
    old = file.read_bytes() if old is None and file.exists() else old
    same = old == new
    print(f"{'same   ' if same else 'DIFFERS'} {file.relative_to(DATA)} {len(new)} bytes")
    if not same and write:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(new)
    return int(not same)


def main() -> int:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=("golden", "real"))
    parser.add_argument("folder", nargs="?", type=Path, help="real: the folder of large files")
    parser.add_argument("--write", action="store_true", help="keep what was made")
    asked = parser.parse_args()
    if asked.what == "real" and asked.folder is None:
        parser.error("real needs the folder of large files")
    differ = golden(asked.write) if asked.what == "golden" else real_models(asked.folder, asked.write)
    print(f"{differ} differ")
    return int(differ > 0)


if __name__ == "__main__":
    sys.exit(main())
