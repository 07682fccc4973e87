"""Settings as TOML text: read leniently and in bounded time, and written in a form that every TOML reader takes."""

from __future__ import annotations

import datetime
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

#: Text that is longer, nests deeper or has more points in a line is not parsed.
LONGEST, DEEPEST, MOST_POINTS = 1 << 15, 64, 100


class Settings(Mapping[str, Any]):
    """What `parse` finds in a text, when it is first asked for: the parser alone takes 5 ms to import."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._found: dict[str, Any] | None = None

    @property
    def found(self) -> dict[str, Any]:
        if self._found is None:
            self._found = parse(self._data)
        return self._found

    def __getitem__(self, key: str) -> Any:
        return self.found[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def __repr__(self) -> str:
        return repr(self.found)


def parse(data: bytes) -> dict[str, Any]:
    """Return the tables of a TOML text; for what is none, is long or nests deep, the whole text under "toml"."""
    text = data.decode("utf-8", "replace")
    found = _tables(text)
    return {"toml": text} if found is None and text else found or {}


def _tables(text: str) -> dict[str, Any] | None:
    parser = _parser()
    if parser is None or len(text) > LONGEST or "\ufffd" in text:
        return None
    if any(line.count(".") > MOST_POINTS for line in text.split("\n")):
        return None  # a key of very many parts takes the parser quadratic time
    try:
        return {key: _plain(value, 1) for key, value in parser(text).items()}
    except (ValueError, RecursionError):
        return None


def _parser() -> Callable[[str], dict[str, Any]] | None:
    """Return Python's own parser; 3.10 has none."""
    if sys.version_info >= (3, 11):
        import tomllib

        return tomllib.loads
    return None


def _plain(value: Any, depth: int) -> Any:
    """Return a TOML value as JSON could hold it; RecursionError where it nests too deep."""
    if depth > DEEPEST:
        raise RecursionError
    if isinstance(value, dict):
        return {key: _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, (datetime.date, datetime.time)):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise ValueError
    return value


def dump(settings: Mapping[str, Any]) -> bytes:
    """Return settings as TOML text. What TOML has no word for (None) is left out, or stands there as JSON text."""
    if _parser() is None and list(settings) == ["toml"] and isinstance(settings["toml"], str):
        return settings["toml"].encode("utf-8", "backslashreplace")  # text that could not be looked into
    lines = list(_table((), _clean(settings, 0)))
    return "\n".join(lines).lstrip("\n").encode("utf-8") + (b"\n" if lines else b"")


def _clean(value: Any, depth: int) -> Any:
    """Return a value of types that TOML has: dict, list (of one type), str, int, float, bool; None is left out."""
    if depth > DEEPEST:
        raise ValueError(f"the settings nest deeper than {DEEPEST}")
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        pairs = ((_text(str(key)), _clean(item, depth + 1)) for key, item in value.items())
        return {key: item for key, item in pairs if item is not None}
    if isinstance(value, (list, tuple, np.ndarray)):
        items = [item for item in (_clean(item, depth + 1) for item in value) if item is not None]
        kinds = {type(item) for item in items}
        if kinds == {int, float}:
            return [float(item) for item in items]
        if len(kinds) > 1:
            return json.dumps(items)
        return items
    if isinstance(value, bool) or value is None or isinstance(value, float):
        return value
    if isinstance(value, int):
        return value if -(1 << 63) <= value < 1 << 63 else str(value)
    return _text(value if isinstance(value, str) else repr(value))


def _text(text: str) -> str:
    """Return text that is UTF-8: lone surrogates become escapes that can be read."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _table(path: tuple[str, ...], table: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a table: its values first, then the tables in it."""
    later = []
    for key, value in table.items():
        if isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
            later.append((key, value))
        else:
            yield f"{_key(key)} = {_value(value)}"
    for key, value in later:
        name = ".".join(_key(part) for part in (*path, key))
        for item in value if isinstance(value, list) else [value]:
            yield f"\n[[{name}]]" if isinstance(value, list) else f"\n[{name}]"
            yield from _table((*path, key), item)


_BARE = re.compile(r"[A-Za-z0-9_-]+")


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _quoted(key)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + "}"
    return str(value)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub("[\0-\x1f\x7f]", lambda match: f"\\u{ord(match[0]):04x}", escaped) + '"'
