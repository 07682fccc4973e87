"""Strict JSON of bounded size and depth, as the settings of a model are written. Errors name the file and the place."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

from ._binary import MappedFile
from .errors import FormatError

#: Brackets that nest deeper are no settings of a model; Python's parser would run out of stack.
DEEPEST = 64


def json_value(source: MappedFile, most: int = 256 << 20) -> Any:
    """Return the JSON value that a whole file holds; FormatError for anything but strict JSON, or nested too deep."""
    return parse_json(source.bytes(0, min(source.size, most + 1)), source.path, most)


def parse_json(data: bytes, path: str, most: int = 256 << 20) -> Any:
    """Return the JSON value in `data`; `path` is what an error names."""
    try:
        if len(data) > most:
            raise ValueError(f"more than {most} bytes")
        _check_depth(data)
        return json.loads(data.decode("utf-8"), parse_int=_short_integer, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        place = getattr(error, "pos", None)
        raise FormatError(
            path, "not JSON", offset=place, expected="JSON", found=ascii(str(error))[:100]
        ) from None


_ESCAPED = re.compile(rb"\\.", re.DOTALL)
#: Bytes of JSON that are looked at in one go.
_BLOCK = 1 << 18


def _check_depth(data: bytes) -> None:
    """Raise ValueError where brackets nest too deep: a count over the bytes that stand outside of strings."""
    if data.count(b"[") + data.count(b"{") <= DEEPEST:
        return
    plain = np.frombuffer(_ESCAPED.sub(b"  ", data) if b"\\" in data else data, np.uint8)
    depth, inside = 0, False
    for start in range(0, len(plain), _BLOCK):
        part = plain[start : start + _BLOCK]
        strings = np.logical_xor.accumulate(part == ord('"')) ^ inside
        folded = part | 0x20  # [ and {, ] and } differ in this bit
        steps = (folded == ord("{")).astype(np.int32) - (folded == ord("}"))
        levels = depth + np.cumsum(np.where(strings, 0, steps))
        if levels.max() > DEEPEST:
            raise ValueError(f"brackets nested deeper than {DEEPEST}")
        depth, inside = int(levels[-1]), bool(strings[-1])


def _short_integer(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
