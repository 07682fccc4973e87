"""The safetensors container: a strict scanner of its header, and the header's builder. Rules: specs/vecio.md section 1.

This file knows bytes, names, dtypes, shapes and offsets. What the tensors of a model mean is said elsewhere
(`formats/safetensors.py` for vecio's own layout). The scanner is not a general JSON reader: it makes one pass without
recursion, keeps nothing that it does not need, and every error of it names a byte of the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ._binary import MappedFile
from .errors import FormatError, TruncatedError, UnsupportedError

#: Bits of one element, in the order in which the reference writer puts tensors.
BITS = {
    "U64": 64,
    "I64": 64,
    "F64": 64,
    "C64": 64,
    "F32": 32,
    "U32": 32,
    "I32": 32,
    "BF16": 16,
    "F16": 16,
    "U16": 16,
    "I16": 16,
    "F8_E5M2FNUZ": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E8M0": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "I8": 8,
    "U8": 8,
    "F6_E3M2": 6,
    "F6_E2M3": 6,
    "F4": 4,
    "BOOL": 8,
}
_ORDER = {name: i for i, name in enumerate(BITS)}
#: numpy's name of each dtype that numpy has.
NUMPY = {
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
    "C64": "<c8",
    "F32": "<f4",
    "U32": "<u4",
    "I32": "<i4",
    "F16": "<f2",
    "U16": "<u2",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
    "BOOL": "|b1",
}

METADATA = "__metadata__"
LONGEST_HEADER = 100_000_000  # the reference library's limit
LONGEST_WIDE_HEADER = 1 << 22  # text that is not ASCII takes up to 4 bytes a character in memory
MOST_TENSORS = 100_000
MOST_PAIRS = 1 << 16
MOST_DIMENSIONS = 64  # numpy's limit
#: Values under keys that mean nothing: how many, and how deep in each other.
MOST_SKIPPED, DEEPEST = 50_000, 64
ALIGNMENT = 64

_WHITE = " \t\n\r"
_SPACE = re.compile(r"[ \t\n\r]*")
_STRING = re.compile(r'"([^"\\\x00-\x1f]*)"')
_KEY = re.compile(r'[ \t\n\r]*"([^"\\\x00-\x1f]*)"[ \t\n\r]*:[ \t\n\r]*')
_INTEGERS = re.compile(r"\[([0-9, \t\n\r]*)\]")
_SCALAR = re.compile(
    r"(?:true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)(?![0-9A-Za-z.+-])"
)
_NUMBER = "(?:0|[1-9][0-9]{0,18})"
#: A tensor's object as all writers write it; any other goes the long way.
_USUAL = re.compile(
    rf'\{{"dtype":"([A-Z0-9_]{{1,16}})","shape":\[((?:{_NUMBER}(?:,{_NUMBER}){{0,63}})?)\],'
    rf'"data_offsets":\[({_NUMBER}),({_NUMBER})\]\}}'
)
#: Each dtype's name as one object, however many tensors have it.
_NAMES = {name: name for name in BITS}
_DECODER = json.JSONDecoder()


class Tensor(NamedTuple):
    """One tensor of a file: `start` and `stop` are bytes of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


class Container(NamedTuple):
    """The header of a file: its tensors by name (in the header's order), its metadata, where the data begin."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    data_start: int


def looks_like(file: MappedFile) -> str | None:
    """Return None if the file begins as safetensors do, else what speaks against it."""
    if file.size < 10:
        return f"{file.size} bytes are too few for a header length and a header"
    head = file.bytes(0, min(file.size, 64))
    length = int.from_bytes(head[:8], "little")
    start = head[8:].lstrip(_WHITE.encode()).removeprefix(b"\xef\xbb\xbf")
    if start.startswith(b"{") and (length <= LONGEST_HEADER or re.match(rb'\{"[^"]*":\s*\{', start)):
        return None
    if head[8:12][::-1].startswith(b"{"):
        return "the bytes are swapped in groups of 4, as a big-endian program writes them"
    if length > LONGEST_HEADER:
        return f"the first 8 bytes are no header length: {length} is more than {LONGEST_HEADER}"
    return f"no JSON object follows the header length: found {_shown(head[8:].decode('latin-1'))}"


def read_header(file: MappedFile) -> Container:
    """Read and check the header of a safetensors file against the file's length.

    Raises FormatError (TruncatedError where the file is too short) with the byte, what was expected and what was
    found; UnsupportedError for a header that would need more memory than its size justifies. Time and memory are
    linear in the header's length.
    """
    length = _header_length(file)
    text = _header_text(file, length)
    scanner = _Scanner(file.path, text)
    scanner.scan()
    _check_layout(file, scanner, 8 + length)
    tensors: dict[str, Any] = scanner.tensors
    for name, (dtype, shape, begin, end, _) in tensors.items():
        tensors[name] = Tensor(name, dtype, shape, 8 + length + begin, 8 + length + end)
    return Container(tensors, scanner.metadata, 8 + length)


def _header_length(file: MappedFile) -> int:
    if file.size < 8:
        raise TruncatedError(
            file.path, "the header length", offset=0, expected="8 bytes", found=f"{file.size} bytes"
        )
    raw = file.bytes(0, 8)
    length = int.from_bytes(raw, "little")
    there = file.size - 8
    if 2 <= length <= min(LONGEST_HEADER, there):
        return length
    swapped = int.from_bytes(raw, "big")
    hint = " (its bytes are in big-endian order)" if 2 <= swapped <= there else ""
    if length < 2 or length > LONGEST_HEADER:
        raise FormatError(
            file.path, f"the header length{hint}", offset=0, expected=f"2 to {LONGEST_HEADER}", found=length
        )
    raise TruncatedError(
        file.path, f"the header{hint}", offset=8, expected=f"{length} bytes", found=f"{there} bytes"
    )


def _header_text(file: MappedFile, length: int) -> str:
    raw = file.bytes(8, 8 + length)
    if raw.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise FormatError(file.path, "a byte-order mark", offset=8, expected="'{'", found=raw[:3].hex(" "))
    if raw.isascii():
        return raw.decode("ascii")
    if length > LONGEST_WIDE_HEADER:
        raise UnsupportedError(
            f"{file.path}: the header has text that is not ASCII and {length} bytes; "
            f"at most {LONGEST_WIDE_HEADER} bytes are read then"
        )
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(
            file.path,
            "the header is not UTF-8",
            offset=8 + error.start,
            expected="UTF-8",
            found=raw[error.start : error.start + 4].hex(" "),
        ) from None


#: dtype, shape, begin, end (relative to the data area), place of the name in the header's text
_Entry = tuple[str, tuple[int, ...], int, int, int]


class _Scanner:
    """One pass over the header's text."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        self.pos = 0
        self.tensors: dict[str, _Entry] = {}
        self.metadata: dict[str, str] = {}
        self.skipped = 0
        self._shapes: dict[tuple[int, ...], tuple[int, ...]] = {}

    # -- errors --------------------------------------------------------------------------------------------------

    def fail(
        self, message: str, expected: object = None, found: object = None, at: int | None = None
    ) -> FormatError:
        """Return the error for the place `at` (default: where the scanner stands)."""
        pos = self.pos if at is None else at
        before = pos if self.text.isascii() else len(self.text[:pos].encode())
        return FormatError(self.path, message, offset=8 + before, expected=expected, found=found)

    def unexpected(self, expected: str) -> FormatError:
        """Return the error for whatever stands here instead of `expected`."""
        return self.fail("the header", expected, _shown(self.text[self.pos : self.pos + 24]))

    # -- pieces --------------------------------------------------------------------------------------------------

    def peek(self) -> str:
        """Step over white space; return the character there, or "" at the end."""
        match = _SPACE.match(self.text, self.pos)
        assert match is not None
        self.pos = match.end()
        return self.text[self.pos : self.pos + 1]

    def take(self, character: str) -> None:
        """Step over white space and `character`."""
        if self.peek() != character:
            raise self.unexpected(repr(character))
        self.pos += 1

    def string(self) -> str:
        """Read a string."""
        match = _STRING.match(self.text, self.pos)
        if match is not None:
            self.pos = match.end()
            return match[1]
        if self.text[self.pos : self.pos + 1] != '"':
            raise self.unexpected("a string")
        try:  # it has escapes, or is broken; a string cannot recurse
            value, self.pos = _DECODER.raw_decode(self.text, self.pos)
        except ValueError as error:
            raise self.fail(
                "a string in the header",
                "a closed string of valid escapes",
                at=getattr(error, "pos", self.pos),
            ) from None
        return str(value)

    def key(self) -> str:
        """Read a string and the colon behind it."""
        match = _KEY.match(self.text, self.pos)
        if match is not None:
            self.pos = match.end()
            return match[1]
        if self.peek() != '"':
            raise self.unexpected("a string in double quotes")
        name = self.string()
        self.take(":")
        self.peek()
        return name

    def more(self, closer: str) -> bool:
        """Step over a comma (True) or the closing bracket (False)."""
        found = self.peek()
        if found not in (",", closer) or not found:
            raise self.unexpected(f"',' or '{closer}'")
        self.pos += 1
        return found == ","

    def integers(self, what: str, most: int) -> tuple[int, ...]:
        """Read a list of at most `most` integers from 0 to 2^64 - 1."""
        match = _INTEGERS.match(self.text, self.pos)
        if match is None:
            raise self.fail(
                what, "a list of non-negative integers", _shown(self.text[self.pos : self.pos + 24])
            )
        body = match[1]
        if body.count(",") >= most:
            raise self.fail(what, f"at most {most} numbers", f"{body.count(',') + 1} numbers")
        values = []
        for part in body.split(",") if body.strip(_WHITE) else ():
            digits = part.strip(_WHITE)
            if not digits.isdigit() or len(digits) > 20 or (digits[0] == "0" and digits != "0"):
                raise self.fail(what, "integers in decimal, from 0 to 2^64 - 1", _shown(digits))
            values.append(int(digits))
            if values[-1] >= 1 << 64:
                raise self.fail(what, "integers from 0 to 2^64 - 1", digits)
        self.pos = match.end()
        return tuple(values)

    def skip(self) -> None:
        """Step over one value of any kind, checking its syntax."""
        closers: list[str] = []
        while True:
            self.skipped += 1
            if self.skipped > MOST_SKIPPED:
                raise self.fail("values under keys that mean nothing", f"at most {MOST_SKIPPED}")
            opened = self.peek()
            if opened in ("{", "[") and opened:
                closer = "}" if opened == "{" else "]"
                self.pos += 1
                if self.peek() != closer:
                    closers.append(closer)
                    if len(closers) > DEEPEST:
                        raise self.fail("values nested too deep", f"at most {DEEPEST} levels")
                    if closer == "}":
                        self.key()
                    continue
                self.pos += 1
            elif opened == '"':
                self.string()
            else:
                match = _SCALAR.match(self.text, self.pos)
                if match is None:
                    raise self.unexpected("a value")
                self.pos = match.end()
            while closers and not self.more(closers[-1]):
                closers.pop()
            if not closers:
                return
            if closers[-1] == "}":
                self.key()

    # -- the header ----------------------------------------------------------------------------------------------

    def scan(self) -> None:
        """Read the whole header."""
        if self.text.startswith("{\0"):
            raise self.fail("the header looks like UTF-16", "UTF-8")
        self.take("{")
        seen_metadata = False
        if self.peek() == "}":
            self.pos += 1
        else:
            going = True
            while going:
                self.peek()
                at = self.pos
                name = self.key()
                if name != METADATA:
                    self.tensor(name, at)
                elif seen_metadata:
                    raise self.fail(f"{METADATA} stands twice in the header", at=at)
                else:
                    seen_metadata = True
                    self.pairs()
                going = self.more("}")
        if self.peek():
            raise self.unexpected("nothing but white space after the header's object")

    def pairs(self) -> None:
        """Read the metadata: an object of strings, or null."""
        if self.text.startswith("null", self.pos):
            self.pos += 4
            return
        if self.peek() != "{":
            raise self.unexpected(f"an object of strings (the value of {METADATA})")
        self.pos += 1
        if self.peek() == "}":
            self.pos += 1
            return
        while True:
            name = self.key()
            if self.text[self.pos : self.pos + 1] != '"':
                raise self.unexpected(f"a string (the value of {_shown(name)} in {METADATA})")
            self.metadata[name] = self.string()
            if len(self.metadata) > MOST_PAIRS:
                raise self.fail(f"the pairs in {METADATA}", f"at most {MOST_PAIRS}")
            if not self.more("}"):
                return

    def tensor(self, name: str, at: int) -> None:
        """Read the object that describes the tensor `name`, whose name stands at `at`."""
        label = f"tensor {_shown(name)}"
        if name in self.tensors:
            raise self.fail(f"{label} stands twice in the header", at=at)
        if len(self.tensors) >= MOST_TENSORS:
            raise self.fail("too many tensors", f"at most {MOST_TENSORS}", at=at)
        usual = _USUAL.match(self.text, self.pos)
        if usual is not None and usual[1] in BITS:
            self.pos = usual.end()
            shape = tuple(map(int, usual[2].split(","))) if usual[2] else ()
            self.add(name, usual[1], shape, int(usual[3]), int(usual[4]), at)
        else:
            self.unusual_tensor(name, at, label)

    def add(self, name: str, dtype: str, shape: tuple[int, ...], begin: int, end: int, at: int) -> None:
        self.tensors[name] = (_NAMES[dtype], self._shapes.setdefault(shape, shape), begin, end, at)

    def unusual_tensor(self, name: str, at: int, label: str) -> None:
        """Read an object with other spaces, order or keys, or one that is wrong."""
        if self.peek() != "{":
            raise self.unexpected(f"an object that describes {label}")
        dtype: str | None = None
        shape: tuple[int, ...] | None = None
        offsets: tuple[int, ...] | None = None
        self.pos += 1
        going = self.peek() != "}"
        self.pos += not going
        while going:
            key = self.key()
            if key == "dtype" and dtype is None:
                dtype = self.dtype(label)
            elif key == "shape" and shape is None:
                shape = self.integers(f"the shape of {label}", MOST_DIMENSIONS)
            elif key == "data_offsets" and offsets is None:
                offsets = self.integers(f"the offsets of {label}", 2)
            elif key in ("dtype", "shape", "data_offsets"):
                raise self.fail(f"{key} of {label} stands twice")
            else:
                self.skip()
            going = self.more("}")
        if dtype is None or shape is None or offsets is None:
            missing = "dtype" if dtype is None else "shape" if shape is None else "data_offsets"
            raise self.fail(f"{label} has no {missing}", at=at)
        if len(offsets) != 2:
            raise self.fail(f"the offsets of {label}", "begin and end", f"{len(offsets)} numbers", at=at)
        self.add(name, dtype, shape, offsets[0], offsets[1], at)

    def dtype(self, label: str) -> str:
        at = self.pos
        if self.text[at : at + 1] != '"':
            raise self.unexpected(f"a string (the dtype of {label})")
        dtype = self.string()
        if dtype not in BITS:
            raise self.fail(f"the dtype of {label}", f"one of {', '.join(BITS)}", _shown(dtype), at=at)
        return dtype


def _check_layout(file: MappedFile, scanner: _Scanner, data_start: int) -> None:
    """Raise unless the tensors cover the data area exactly, each with as many bytes as its shape says."""
    there = file.size - data_start
    reached = 0
    entries = scanner.tensors
    for name in sorted(entries, key=lambda name: entries[name][2:4]):
        dtype, shape, begin, end, at = entries[name]
        label = f"tensor {_shown(name)}"
        if begin > end:
            raise scanner.fail(f"the offsets of {label}", "begin <= end", f"[{begin}, {end}]", at=at)
        need = _byte_count(dtype, shape)
        if need != end - begin:
            expected = "a whole number of bytes below 2^64" if need is None else f"{need} bytes"
            raise scanner.fail(
                f"{label} ({dtype}, shape {_shape(shape)})", expected, f"offsets [{begin}, {end}]", at=at
            )
        if end > there:
            raise TruncatedError(
                file.path,
                f"the file ends before {label}",
                offset=data_start + min(begin, there),
                expected=f"a file of {data_start + end} bytes",
                found=f"{file.size} bytes",
            )
        if begin != reached:
            what = "a hole before" if begin > reached else "an overlap with"
            raise scanner.fail(f"{what} {label}", f"it to begin at {reached}", begin, at=at)
        reached = end
    if reached != there:
        raise FormatError(
            file.path,
            "bytes that belong to no tensor",
            offset=data_start + reached,
            expected="the end of the file",
            found=f"{there - reached} more of them",
        )


def _byte_count(dtype: str, shape: tuple[int, ...]) -> int | None:
    """Return the bytes of a tensor, or None where they overflow 64 bits (as in the reference) or end inside a byte."""
    count = 1
    for n in shape:
        count *= n
        if count >= 1 << 64:
            return None
    bits = count * BITS[dtype]
    return None if bits % 8 or bits >= 1 << 64 else bits // 8


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape[:8]))}{', ...' if len(shape) > 8 else ''}]"


def _shown(text: str) -> str:
    """Return a short ASCII form of text from the file, for an error."""
    if not text:
        return "nothing"
    return ascii(text) if len(text) <= 40 else ascii(text[:37]) + "..."


def build_header(
    tensors: Iterable[tuple[str, str, tuple[int, ...]]], metadata: Mapping[str, str]
) -> tuple[bytes, list[Tensor]]:
    """Return the bytes before the data area (length and header), and the tensors in file order.

    tensors: name, dtype and shape of each, in any order; they are put in the reference writer's (dtype, then name).
    The header is ASCII, its metadata sorted, and padded so that the data area begins at a multiple of 64.
    """
    ordered = sorted(tensors, key=lambda t: (_ORDER[t[1]], t[0]))
    entries: dict[str, object] = {METADATA: dict(sorted(metadata.items()))}
    placed, begin = [], 0
    for name, dtype, shape in ordered:
        size = _byte_count(dtype, shape)
        if size is None:
            raise ValueError(f"tensor {name!r} of dtype {dtype} cannot have the shape {shape}")
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, begin + size]}
        placed.append((name, dtype, shape, begin, begin + size))
        begin += size
    header = json.dumps(entries, separators=(",", ":")).encode("ascii")
    header += b" " * (-(8 + len(header)) % ALIGNMENT)
    start = 8 + len(header)
    head = len(header).to_bytes(8, "little") + header
    return head, [Tensor(name, dtype, shape, start + a, start + b) for name, dtype, shape, a, b in placed]
