"""English text that every Python installation holds: what its standard library says about itself.

Sources, in this order: the topics of `help()` (`pydoc_data.topics`), the documentation strings, longer messages and
comment blocks of the library's modules, and the documentation strings of the built-in types and functions. The modules
are parsed, never imported: nothing of them runs.

What it is not: a general reader of text, and not the same text everywhere: another Python version says other things.
On one installation the passages and their order are always the same.
"""

from __future__ import annotations

import ast
import builtins
import importlib.util
import inspect
import os
import re
import stat
import sysconfig
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

# Not library text: other people's packages, tests (absent from many installations), caches.
_SKIPPED_FOLDERS = frozenset(
    {
        "site-packages",
        "dist-packages",
        "__pycache__",
        "test",
        "tests",
        "idle_test",
        "lib-dynload",
        "ensurepip",
    }
)
# Bounds, far above what any release holds (Python 3.11: 734 files, 12 MB): a strange folder cannot stall the reader.
_MAX_FILES = 5_000
_MAX_FILE_BYTES = 4 << 20
_MAX_BYTES = 64 << 20

_LEAST_WORDS = 4  # a shorter string or comment is a name, a format or a rule of dashes, not a sentence
_WORD = re.compile(r"[^\W\d_]{2,}")
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass
class Text:
    """What was collected: passages in order, and from how many files and bytes of source they came."""

    passages: list[str] = field(default_factory=list)
    files: int = 0
    source_bytes: int = 0


def collect(
    folder: str | None = None,
    *,
    max_files: int = _MAX_FILES,
    progress: Callable[[int, int], None] | None = None,
) -> Text:
    """Collect the passages of the standard library in `folder` (default: the running Python's).

    Each passage is one documentation string, topic, message or block of comment lines; repeated ones are kept once.
    Files that cannot be read or parsed are passed over. `progress(done, total)` is called after each file.
    Cost: about 3 s for Python 3.11's 12 MB of source.
    """
    folder = folder or sysconfig.get_paths()["stdlib"]
    text, seen = Text(), set[str]()
    paths = _source_files(folder, max_files)
    for number, path in enumerate(paths, start=1):
        source = _read_source(path, _MAX_BYTES - text.source_bytes)
        if source is not None:
            text.files += 1
            text.source_bytes += len(source)
            _add(text, seen, _passages(source))
        if progress is not None:
            progress(number, len(paths))
    _add(text, seen, _builtin_documentation())
    return text


def _add(text: Text, seen: set[str], passages: Iterator[str]) -> None:
    for passage in passages:
        passage = passage.strip()
        if passage not in seen and _is_prose(passage):
            seen.add(passage)
            text.passages.append(passage)


def _is_prose(passage: str) -> bool:
    """Tell sentences from tables, format strings and commented-out code, by their share of letters."""
    words = _WORD.findall(passage)
    return len(words) >= _LEAST_WORDS and sum(map(len, words)) > 0.5 * len(re.sub(r"\s+", "", passage))


def _source_files(folder: str, max_files: int) -> list[str]:
    """List the library's `.py` files, the topics of `help()` first, then by path."""
    found: list[str] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED_FOLDERS)
        found.extend(os.path.join(parent, name) for name in sorted(names) if name.endswith(".py"))
    topics = os.path.join(folder, "pydoc_data", "topics.py")
    found.sort(key=lambda path: path != topics)  # stable: the rest keeps its order
    return found[:max_files]


def _read_source(path: str, budget: int) -> str | None:
    """Read one source file by its own encoding; None when it is no regular file, too large or not decodable."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_size > min(budget, _MAX_FILE_BYTES):
            return None
        with open(path, "rb") as file:
            return importlib.util.decode_source(file.read())
    except (OSError, SyntaxError, UnicodeDecodeError, LookupError):
        return None


def _passages(source: str) -> Iterator[str]:
    """Yield a module's documentation strings and other long strings, in order of the tree, then its comments."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old modules hold escapes that the parser warns about
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED):
            documentation = ast.get_docstring(node)
            if documentation:
                yield documentation
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield inspect.cleandoc(node.value)  # as above: a documentation string met twice is one passage
    yield from _comments(source)


def _comments(source: str) -> Iterator[str]:
    """Yield each block of consecutive comment lines as one passage, without its marks."""
    block: list[str] = []
    for line in source.splitlines():
        line = line.strip()
        if line.startswith("#"):
            block.append(line.lstrip("#! "))
        elif block:
            yield "\n".join(block)
            block = []
    if block:
        yield "\n".join(block)


def _builtin_documentation() -> Iterator[str]:
    """Yield the documentation of the built-in types, their methods, and the built-in functions, by name.

    What a session or a tool has put among them is left out.
    """
    for name in sorted(vars(builtins)):
        thing = vars(builtins)[name]
        if name.startswith("_") or getattr(thing, "__module__", None) != "builtins":
            continue
        yield from _documentation(thing)
        if isinstance(thing, type):
            for member in sorted(vars(thing)):
                yield from _documentation(vars(thing)[member])


def _documentation(thing: object) -> Iterator[str]:
    documentation = getattr(thing, "__doc__", None)
    if isinstance(documentation, str):
        yield documentation
