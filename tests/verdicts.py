"""What a bad file must get, asked through the public interface: the one helper of the batteries of bad files.

E: a clean error. X: exactly the right vectors, or a clean error. O: opens, with the right vectors. A: any model that
does not contradict itself, or a clean error. Every refusal is quick and names the file; a structural one the place too.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hostile
import numpy as np

import vecio

CLEAN = (vecio.VecioError, OSError)
SECONDS = 2.0  # the promise is 0.1; a loaded machine must not decide a test
#: Words and vectors (V, D), in row order.
Truth = tuple[Sequence[bytes], np.ndarray]


def difference(e: Any, truth: Truth) -> str | None:
    """Return how a model's words or vectors differ from what they must be, or None."""
    words, vectors = truth
    found = [word.encode("utf-8", "surrogateescape") for word in e.words]
    if found != list(words):
        return f"other words: {found[:4]}"
    first: dict[bytes, int] = {}
    for i, word in enumerate(words):
        first.setdefault(word, i)
    right = np.asarray(vectors, np.float32)[[first[word] for word in words]]
    if not hostile.same(e.embed(list(words)), right):
        return f"other vectors: {e.embed(list(words))[:2]}"
    if not hostile.same(e._block(0, len(e)), np.asarray(vectors, np.float32)):
        return "other rows"
    return None


def judge(
    path: str | os.PathLike[str], must: str, truth: Truth | None = None, place: bool = False, **options: Any
) -> BaseException | None:
    """Open a file and ask it everything; return the clean error, or None where it answered as it must.

    place: the error must say where. Raises AssertionError where the verdict is not met; foreign exceptions go through.
    """
    begin = time.perf_counter()
    try:
        with vecio.open(path, **options) as e:
            _check_time(time.perf_counter() - begin, path, options)
            assert must != "E", f"opened, {len(e)} words {list(e.words)[:3]}, {e._block(0, min(2, len(e)))}"
            wrong = hostile.inconsistency(e, CLEAN)
            if wrong is None and truth is not None and must in "OX":
                wrong = difference(e, truth)
            assert wrong is None, wrong
        return None
    except CLEAN as error:
        _check_time(time.perf_counter() - begin, path, options)
        assert must != "O", f"refused: {error}"
        assert str(path) in str(error), f"the file is not named: {error}"
        if place and isinstance(error, vecio.FormatError):
            assert error.offset is not None and f"byte {error.offset}" in str(error), error
            assert error.expected is not None and error.found is not None, error
        return error


def _check_time(seconds: float, path: Any, options: dict[str, Any]) -> None:
    """See that opening was quick; where it was not, once more: the first time kernels may have been compiled."""
    if seconds >= SECONDS:
        begin = time.perf_counter()
        with contextlib.suppress(*CLEAN):
            vecio.open(path, **options).close()
        assert time.perf_counter() - begin < SECONDS, "it took too long"


def put(folder: Path, files: bytes | Mapping[str, bytes], name: str) -> Path:
    """Write a case's file, or its files (the first is the main one), and return the main path."""
    if isinstance(files, bytes):
        files = {name: files}
    for each, data in files.items():
        (folder / each).write_bytes(data)
    return folder / next(iter(files))
