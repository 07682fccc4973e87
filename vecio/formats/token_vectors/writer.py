"""Writes folders that model2vec and sentence-transformers load: rows, a tokenizer.json and settings.

A model with a tokenizer keeps it. For any other model each word is a token, texts are split at white space, and one
row of zeros is added for the unknown token.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from ..._binary import atomic_folder
from ..._rounding import Tally, round_rows
from ..._safetensors import build_header
from ..._tokenizer import write_word_level
from ...embeddings import Embeddings
from ...matrix import Int8
from ...sentences import TokenEncoder, TokenSettings
from ..base import COUNTS, ENCODER, SETTINGS, Fate, Progress, Written, vector_blocks
from ..base import fate as common_fate
from .reader import CONFIG, MARK, MODEL2VEC, MODULES, SENTENCES, SENTENCES_CONFIG, TENSORS, TOKENIZER

_CODES = {"float32": "F32", "float16": "F16", "int8": "I8"}
#: Name of the folder and module that scales to length 1.
NORMALIZE = "1_Normalize"
#: Words whose names are put into the tokenizer in one go.
BLOCK = 1 << 14


def refuses(word: bytes) -> str | None:
    """Say why a word cannot be a token of a tokenizer.json, or None."""
    try:
        word.decode("utf-8")
    except UnicodeDecodeError:
        return "it is not UTF-8"
    return None


def write_model2vec(
    embeddings: Embeddings,
    path: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    progress: Progress | None = None,
) -> Written:
    """Write a folder of model2vec. dtype: "float32", "float16"; "int8" only of int8 without scales."""
    return _write(embeddings, path, MODEL2VEC, dtype, progress)


def write_sentence_transformers(
    embeddings: Embeddings,
    path: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    progress: Progress | None = None,
) -> Written:
    """Write a folder of sentence-transformers; dtypes as for model2vec."""
    return _write(embeddings, path, SENTENCES, dtype, progress)


def fate_model2vec(e: Embeddings, dtype: str | None, options: Mapping[str, Any]) -> Fate:
    """Return what a folder of model2vec keeps, rounds and loses."""
    return _fate(e, dtype, MODEL2VEC)


def fate_sentence_transformers(e: Embeddings, dtype: str | None, options: Mapping[str, Any]) -> Fate:
    """Return what a folder of sentence-transformers keeps, rounds and loses."""
    return _fate(e, dtype, SENTENCES)


def _fate(e: Embeddings, dtype: str | None, format: str) -> Fate:
    carries, own = [COUNTS], _encoder(e)
    if e.format == format:
        carries.append(SETTINGS)
    if own is not None:
        carries.append(ENCODER)
    found = common_fate(e, _dtype(e, dtype, format), carries)
    if own is not None and own.settings.rule != format:  # unknown tokens, cutting, prompts
        found.kept.remove(ENCODER)
        found.approximated.append(f"{ENCODER}: they follow the rule of {format}")
    return found


def _encoder(e: Embeddings) -> TokenEncoder | None:
    """Return the model's encoder if its ids are the rows, or None."""
    return e._encoder if e._encoder is not None and e._encoder.whole else None


def _dtype(e: Embeddings, dtype: str | None, format: str) -> str:
    """Return how rows are written; int8 has no scales in model2vec's files, and torch does not take it at all."""
    words = e._words
    bare = format == MODEL2VEC and isinstance(words, Int8) and bool((words.scales == 1).all())
    known = ("float32", "float16", "int8") if bare else ("float32", "float16")
    if dtype is None:
        return e.dtype if e.dtype in known and (e._accumulated or e._subwords is None) else "float32"
    if dtype not in known:
        raise ValueError(f"dtype must be one of {', '.join(known)}, not {dtype!r}")
    return dtype


def _write(
    e: Embeddings, path: str | os.PathLike[str], format: str, dtype: str | None, progress: Progress | None
) -> Written:
    chosen, own = _dtype(e, dtype, format), _encoder(e)
    with atomic_folder(path) as folder:
        with open(os.path.join(folder, TENSORS), "wb") as stream:
            tally = _write_rows(e, stream, format, chosen, own, progress)
        with open(os.path.join(folder, TOKENIZER), "wb") as stream:
            if own is not None:
                stream.write(own.tokenizer.read())
            else:
                write_word_level(_names(e), _unknown(e), stream.write)
        settings = own.settings if own is not None else TokenSettings(format, len(e) + 1)
        files = _model2vec(e, settings, chosen) if format == MODEL2VEC else _sentences(e, settings)
        for name, value in files.items():
            target = os.path.join(folder, *name.split("/"))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "w", encoding="utf-8") as text:
                json.dump(value, text, indent=4, ensure_ascii=False)
    return Written(chosen, tally)


def _write_rows(
    e: Embeddings,
    stream: BinaryIO,
    format: str,
    dtype: str,
    own: TokenEncoder | None,
    progress: Progress | None,
) -> Tally:
    """Write the tensor file: finished vectors in blocks, zeros for ids that are no words, and counts."""
    ids = own.settings.ids if own is not None else len(e) + 1
    tensors: list[tuple[str, str, tuple[int, ...]]] = [
        ("embeddings" if format == MODEL2VEC else "embedding.weight", _CODES[dtype], (ids, e.dim))
    ]
    counts = e.counts
    if counts is not None:
        tensors.append(("counts", "I64", (len(e),)))
    head, placed = build_header(tensors, {MARK: str(len(e))} if ids == len(e) + 1 else {})
    stream.write(head)
    tally = Tally()
    for tensor in placed:
        if tensor.name == "counts":
            assert counts is not None
            stream.write(np.ascontiguousarray(counts, "<i8").tobytes())
            continue
        for _, _, block in vector_blocks(e, progress):
            stream.write(_stored(block, dtype, tally).tobytes())
        stream.write(bytes(tensor.stop - stream.tell()))
    return tally


def _stored(block: Any, dtype: str, tally: Tally) -> Any:
    return block.astype(np.int8) if dtype == "int8" else round_rows(block, dtype, tally).values


def _names(e: Embeddings) -> Iterator[list[str]]:
    for start in range(0, len(e), BLOCK):
        yield [key.decode("utf-8") for key in e._vocabulary.entries(start, min(start + BLOCK, len(e)))]


def _unknown(e: Embeddings) -> str:
    """Return a name for the unknown token that no word has."""
    name, number = "[UNK]", 0
    while name in e:
        number += 1
        name = f"[UNK{number}]"
    return name


def _module(number: int, path: str, kind: str) -> dict[str, Any]:
    return {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}


def _model2vec(e: Embeddings, settings: TokenSettings, dtype: str) -> dict[str, Any]:
    config: dict[str, Any] = (
        dict(e.metadata)
        if e.format == MODEL2VEC
        else {"model_type": MODEL2VEC, "architectures": ["StaticModel"]}
    )
    config.pop("vocabulary_quantization", None)  # there is a row for each id now
    config.update(normalize=settings.normalize, max_length=settings.max_length, embedding_dtype=dtype)
    config["hidden_dim"] = e.dim
    modules = [_module(0, ".", "StaticEmbedding")]
    if settings.normalize:
        modules.append(_module(1, NORMALIZE, "Normalize"))
    return {CONFIG: config, MODULES: modules}


def _sentences(e: Embeddings, settings: TokenSettings) -> dict[str, Any]:
    config: dict[str, Any] = {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    if e.format == SENTENCES:
        config.update(e.metadata)
    elif settings.prefix:
        config.update(prompts={"default": settings.prefix}, default_prompt_name="default")
    files: dict[str, Any] = {SENTENCES_CONFIG: config, MODULES: [_module(0, "", "StaticEmbedding")]}
    if settings.normalize:
        files[MODULES].append(_module(1, NORMALIZE, "Normalize"))
        files[f"{NORMALIZE}/{CONFIG}"] = {}
    return files
