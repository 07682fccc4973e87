"""Reads the folders of model2vec and sentence-transformers in place: rows are mapped, words are the tokens."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._binary import Folder, MappedFile
from ..._json import json_value
from ..._safetensors import NUMPY, Container, Tensor, looks_like, read_header
from ..._tokenizer import Tokens, read_tokens
from ...embeddings import Embeddings, Parts
from ...errors import FormatError, UnsupportedError, VecioError
from ...matrix import Converted, Float16, Float32, Gathered, Int8, Matrix
from ...sentences import TokenEncoder, TokenSettings
from ...vocabulary import Vocabulary

Array = npt.NDArray[Any]

MODEL2VEC, SENTENCES = "model2vec", "sentence-transformers"
TENSORS, PICKLE, TOKENIZER, CONFIG = "model.safetensors", "pytorch_model.bin", "tokenizer.json", "config.json"
MODULES, SENTENCES_CONFIG = "modules.json", "config_sentence_transformers.json"
OLD_PLACE = "0_StaticEmbedding"
STATIC, NORMALIZE = "StaticEmbedding", "Normalize"
#: What model2vec takes where the settings say nothing.
MAX_LENGTH = 512
#: The settings are short.
LONGEST_SETTINGS = 1 << 20
#: Key of the tensor file's metadata: how many rows are words; the one behind them is the unknown token's.
MARK = "vecio.words"
_TYPES = {"F32", "F16", "F64", "BF16", "I8"}


# -- which is it -----------------------------------------------------------------------------------------------------


def detect_model2vec(folder: Folder) -> str | None:
    """Return None for a folder of model2vec, else what speaks against it."""
    missing = [name for name in (CONFIG, TENSORS, TOKENIZER) if name not in folder.names]
    if missing:
        return f"there is no {missing[0]}"
    first = _first_module(folder)
    if first is not None:
        return None if first == STATIC else f"its first module is {ascii(first)[:60]}"
    config = _quietly(folder, CONFIG)
    kind = config.get("model_type") if isinstance(config, dict) else None
    return None if kind in (None, MODEL2VEC) else f"its config.json is that of {ascii(kind)[:60]}"


def detect_sentence_transformers(folder: Folder) -> str | None:
    """Return None for a folder of sentence-transformers that holds a StaticEmbedding, else what speaks against it."""
    first = _first_module(folder)
    if first is not None:
        return None if first == STATIC else f"its first module is {ascii(first)[:60]}, not a {STATIC}"
    if MODULES in folder.names:
        return None  # it is damaged, which reading says
    if SENTENCES_CONFIG in folder.names and (TENSORS in folder.names or f"{OLD_PLACE}/{TENSORS}" in folder):
        return None
    return f"there is no {MODULES}"


def _first_module(folder: Folder) -> str | None:
    """Return the class of the first module, or None where nothing says it."""
    modules = _quietly(folder, MODULES) if MODULES in folder.names else None
    first = modules[0] if isinstance(modules, list) and modules else None
    kind = first.get("type") if isinstance(first, dict) else None
    return kind.rpartition(".")[2] if isinstance(kind, str) else None


def _quietly(folder: Folder, name: str) -> Any:
    try:
        return json_value(folder.file(name), LONGEST_SETTINGS)
    except (VecioError, OSError):
        return None


def detect_file(file: MappedFile) -> str | None:
    """Return None for a safetensors file (vecio's own are asked for before), else what speaks against it."""
    return looks_like(file)


# -- reading -------------------------------------------------------------------------------------------------------


def read_model2vec(source: Folder) -> Embeddings:
    """Open a folder of model2vec. Raises FormatError, UnsupportedError."""
    config = _object(source, CONFIG)
    file = _tensor_file(source, "")
    normalize = config.get("normalize")
    limit = config.get("max_length", MAX_LENGTH)
    if type(normalize) not in (bool, type(None)):
        raise _wrong(source, CONFIG, "normalize", "true or false", normalize)
    if limit is not None and (type(limit) is not int or not 0 <= limit < 1 << 31):
        raise _wrong(source, CONFIG, "max_length", "a number of tokens or null", limit)
    model = _Model(source, file, "")
    if model.mapping is None and model.tokens.names != model.ids:
        raise FormatError(
            model.tokens_path,
            "the tokens are not as many as the rows",
            expected=f"{model.ids} tokens",
            found=f"{model.tokens.names} tokens",
        )
    settings = TokenSettings(
        MODEL2VEC, model.ids, model.tokens.unknown, limit, model.tokens.median, bool(normalize)
    )
    return model.embeddings(MODEL2VEC, settings, config)


def read_sentence_transformers(source: Folder) -> Embeddings:
    """Open a folder of sentence-transformers. Raises FormatError, UnsupportedError for modules beside the two known."""
    place, normalize = _modules(source)
    config = _object(source, SENTENCES_CONFIG) if SENTENCES_CONFIG in source else {}
    model = _Model(source, _tensor_file(source, place), place)
    settings = TokenSettings(SENTENCES, model.ids, normalize=normalize, prefix=_prompt(source, config))
    return model.embeddings(SENTENCES, settings, config)


def read_file(file: MappedFile) -> Embeddings:
    """Open a model.safetensors whose tokenizer.json lies beside it; UnsupportedError for any other file.

    The rule for sentences is model2vec's where the tensor has its name and a config.json lies beside, too.
    """
    container = read_header(file)
    parent = os.path.dirname(file.path)
    beside = {name for name in (CONFIG, TOKENIZER) if os.path.isfile(os.path.join(parent, name))}
    known = {"embeddings", "embedding.weight"} & set(container.tensors)
    if not known or TOKENIZER not in beside or not os.path.isfile(file.path) or file.unpacked:
        raise _foreign(file, container)
    folder = Folder(parent or ".", frozenset({*beside, TENSORS}), file.copied)
    folder._mapped[TENSORS] = file
    folder.files.append(file)
    if "embeddings" in known and CONFIG in beside:
        e = read_model2vec(folder)
    else:
        model = _Model(folder, file, "")
        e = model.embeddings(SENTENCES, TokenSettings(SENTENCES, model.ids), {})
    folder.path = file.path
    return e


def _foreign(file: MappedFile, container: Container) -> UnsupportedError:
    tensors = list(container.tensors.values())
    named = ", ".join(f"{t.name[:40]!a} {t.dtype} {list(t.shape[:4])}" for t in tensors[:8])
    more = f" and {len(tensors) - 8} more" if len(tensors) > 8 else ""
    return UnsupportedError(
        f"{file.path}: a safetensors file without vecio's layout (no 'format' = 'vecio' in its metadata), and not "
        f"one of token vectors with its {TOKENIZER} beside it; "
        f"the tensors in it: {named + more if tensors else 'none'}"
    )


def _wrong(source: Folder, name: str, key: str, expected: str, found: object) -> FormatError:
    return FormatError(os.path.join(source.path, name), key, expected=expected, found=ascii(found)[:60])


def _object(source: Folder, name: str) -> dict[str, Any]:
    if name not in source:
        raise FormatError(source.path, f"{name} is missing")
    value = json_value(source.file(name), LONGEST_SETTINGS)
    if not isinstance(value, dict):
        raise _wrong(source, name, "the settings", "an object", value)
    return value


def _tensor_file(source: Folder, place: str) -> MappedFile:
    """Map the tensors; a pickle is never read in their place."""
    name = place + TENSORS
    if name in source:
        return source.file(name)
    if place + PICKLE in source:
        raise UnsupportedError(
            f"{os.path.join(source.path, place + PICKLE)}: a pickle, which is never read; "
            f"there is no {TENSORS} (save the model again with safe_serialization=True)"
        )
    raise FormatError(source.path, f"{name} is missing")


def _modules(source: Folder) -> tuple[str, bool]:
    """Return where the tensors lie ("" or a folder with its slash), and whether the result has length 1."""
    if MODULES not in source:
        return ("", False) if TENSORS in source.names else (f"{OLD_PLACE}/", False)
    modules = json_value(source.file(MODULES), LONGEST_SETTINGS)
    if not isinstance(modules, list) or not modules or len(modules) > 100:
        raise _wrong(source, MODULES, "the modules", "a list of objects", modules)
    kinds = []
    for module in modules:
        kind = module.get("type") if isinstance(module, dict) else None
        path = module.get("path") if isinstance(module, dict) else None
        if not isinstance(kind, str) or not isinstance(path, str):
            raise _wrong(source, MODULES, "a module", "an object with type and path", module)
        kinds.append(kind.rpartition(".")[2])
    if kinds[0] != STATIC or any(kind != NORMALIZE for kind in kinds[1:]):
        raise UnsupportedError(
            f"{source.path}: only a {STATIC} with a {NORMALIZE} behind it is read; "
            f"the modules are {', '.join(ascii(kind)[1:-1][:40] for kind in kinds[:8])}"
        )
    for module in modules[1:]:
        _check_normalize(source, module["path"].strip("/"))
    place = modules[0]["path"].strip("/").removeprefix("./")
    return ("" if place in ("", ".") else f"{place}/"), len(modules) > 1


def _check_normalize(source: Folder, place: str) -> None:
    """Refuse a Normalize that works on anything but the vector of the sentence."""
    name = f"{place}/{CONFIG}"
    config = _object(source, name) if place and name in source else {}
    for key in ("module_input_name", "module_output_name"):
        value = config.get(key)
        if value not in (None, "sentence_embedding"):
            raise UnsupportedError(
                f"{os.path.join(source.path, name)}: {key} is {ascii(value)[:60]}, not the sentence"
            )


def _prompt(source: Folder, config: dict[str, Any]) -> str:
    """Return what the library puts in front of each text unless told otherwise."""
    name, prompts = config.get("default_prompt_name"), config.get("prompts")
    if name is None or prompts is None:
        return ""
    if not isinstance(name, str) or not isinstance(prompts, dict):
        raise _wrong(source, SENTENCES_CONFIG, "the prompts", "an object, and the name of one", name)
    prompt = prompts.get(name)
    if not isinstance(prompt, (str, type(None))):
        raise _wrong(source, SENTENCES_CONFIG, f"the prompt {ascii(name)[:40]}", "a string", prompt)
    return prompt or ""


class _Model:
    """The tensors and tokens of one folder. `ids` is how many token ids have a row."""

    def __init__(self, source: Folder, file: MappedFile, place: str) -> None:
        self.source, self.file = source, file
        if place + TOKENIZER not in source:
            raise FormatError(source.path, f"{place}{TOKENIZER} is missing")
        self.container = read_header(file)
        self.rows = self._matrix()
        self.mapping = self._vector("mapping", {"I32", "I64"})
        self.weights = self._vector("weights", {"F32", "F64", "F16"})
        self.ids = len(self.rows) if self.mapping is None else len(self.mapping)
        if self.weights is not None and len(self.weights) != self.ids:
            raise self._wrong("weights", f"{self.ids} of them", f"{len(self.weights)}")
        self._check_mapping()
        tokenizer = source.file(place + TOKENIZER)
        self.read_tokenizer: Callable[[], bytes] = partial(tokenizer.bytes, 0, tokenizer.size)
        self.tokens_path = tokenizer.path
        self.tokens: Tokens = read_tokens(self.read_tokenizer(), tokenizer.path)
        self._check_tokens()

    def _tensor(self, name: str, rank: int, dtypes: set[str]) -> Tensor:
        tensor = self.container.tensors[name]
        if len(tensor.shape) != rank or tensor.dtype not in dtypes:
            raise self._wrong(
                name,
                f"{' or '.join(sorted(dtypes))} of rank {rank}",
                f"{tensor.dtype} of shape {list(tensor.shape[:4])}",
            )
        return tensor

    def _wrong(self, name: str, expected: str, found: str) -> FormatError:
        tensor = self.container.tensors[name]
        return FormatError(
            self.file.path, f"the tensor {name}", offset=tensor.start, expected=expected, found=found
        )

    def _matrix(self) -> Matrix:
        tensors = self.container.tensors
        name = next((n for n in ("embedding.weight", "embeddings") if n in tensors), None)
        if name is None:
            there = ", ".join(ascii(other)[1:-1][:40] for other in list(tensors)[:20])
            raise FormatError(
                self.file.path,
                "there is no matrix",
                offset=8,
                expected="the tensor embeddings or embedding.weight",
                found=there or "no tensors",
            )
        tensor = self._tensor(name, 2, _TYPES)
        if tensor.shape[1] < 1:
            raise self._wrong(name, "at least one column", f"shape {list(tensor.shape)}")
        dtype = "<u2" if tensor.dtype == "BF16" else NUMPY[tensor.dtype]
        values = self.file.array(dtype, tensor.shape, tensor.start, name)
        if tensor.dtype == "I8":
            return Int8(values, np.ones(len(values), np.float32))
        if tensor.dtype in ("F32", "F16"):
            return Float32(values) if tensor.dtype == "F32" else Float16(values)
        return Converted(values)

    def _vector(self, name: str, dtypes: set[str]) -> Array | None:
        if name not in self.container.tensors:
            return None
        tensor = self._tensor(name, 1, dtypes)
        return self.file.array(NUMPY[tensor.dtype], tensor.shape, tensor.start, name)

    def _check_mapping(self) -> None:
        if self.mapping is None:
            return
        wrong = np.flatnonzero((self.mapping < 0) | (self.mapping >= len(self.rows)))
        if len(wrong):
            tensor, at = self.container.tensors["mapping"], int(wrong[0])
            raise FormatError(
                self.file.path,
                f"mapping[{at}] points outside the matrix",
                offset=tensor.start + at * self.mapping.itemsize,
                expected=f"0 to {len(self.rows) - 1}",
                found=int(self.mapping[at]),
            )

    def _check_tokens(self) -> None:
        """Refuse a tokenizer that is not that of the matrix: ids without rows, or far more rows than ids."""
        if self.tokens.size > self.ids or self.ids > 2 * len(self.tokens.by_id) + 64:
            raise FormatError(
                self.tokens_path,
                "the tokens do not belong to the rows",
                expected=f"ids of {self.ids} rows",
                found=f"{len(self.tokens.by_id)} ids, the largest is {self.tokens.size - 1}",
            )

    def words(self) -> list[str]:
        """Return the token of each row; a row without one is called `[row 17]`."""
        by_id = self.tokens.by_id
        if len(by_id) == self.ids:
            return [by_id[i] for i in range(self.ids)]
        taken, found = set(by_id.values()), []
        for i in range(self.ids):
            name = by_id.get(i)
            if name is None:
                name = f"[row {i}]"
                while name in taken:
                    name += "'"
            found.append(name)
        return found

    def matrix(self) -> Matrix:
        """Return one row for each id."""
        if self.mapping is None and self.weights is None:
            return self.rows
        ids = np.arange(self.ids) if self.mapping is None else self.mapping.astype(np.int64)
        with np.errstate(over="ignore"):
            weights = None if self.weights is None else self.weights.astype(np.float32)
        return Gathered(self.rows, ids, weights)

    def hidden(self) -> bool:
        """Say whether vecio put the last row there for the unknown token: it is no word."""
        last = self.ids - 1
        return self.container.metadata.get(MARK) == str(last) and self.tokens.unknown == last

    def embeddings(self, format: str, settings: TokenSettings, config: dict[str, Any]) -> Embeddings:
        nwords = self.ids - self.hidden()
        vocabulary = Vocabulary.from_words(self.words()[:nwords], self.counts(nwords))
        matrix = self.matrix()
        encoder = TokenEncoder(settings, self.read_tokenizer, self.tokens_path, nwords)
        return Embeddings(
            Parts(
                vocabulary,
                matrix if nwords == len(matrix) else matrix.part(0, nwords),
                format,
                file=self.source,
                encoder=encoder,
                metadata=config,
            )
        )

    def counts(self, nwords: int) -> Array | None:
        """Return the counts that vecio wrote beside the rows, or None."""
        tensor = self.container.tensors.get("counts")
        if tensor is None or tensor.dtype != "I64" or tensor.shape != (nwords,):
            return None
        return self.file.array("<i8", tensor.shape, tensor.start, "counts")
