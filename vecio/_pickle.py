"""The structure of a pickle, read without running any of it.

A pickle is a program for a small stack machine, and may name any function of Python to be called. The machine here
(`_pickle_machine.py`) knows the opcodes of protocols 2 to 5 that plain data is made of, and only notes what they say:
a call is a node with a name and arguments, and nothing is ever imported, made or called. A name must be on the
caller's list, or the file is refused by that name. Texts and arrays stay where they lie in the file.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from . import _effort
from ._binary import MappedFile
from ._pickle_machine import (
    BAD_FRAME,
    BAD_KIND,
    BOOL,
    BYTES,
    CALL,
    DICT,
    DONE,
    FLOAT,
    FRAME,
    FULL,
    GLOBAL,
    INT,
    ITEMS,
    LIST,
    MARKS,
    MEMO,
    MENTION,
    NO_MARK,
    NO_MEMO,
    NODE,
    NODES,
    NONE,
    NOTHING,
    NUMBER,
    OBJECT,
    OTHER,
    PAUSED,
    PLACE,
    RUN,
    SHIFT,
    SHORT,
    TEXT,
    TOP,
    TRAILING,
    TUPLE,
    UNDERFLOW,
    WANTED,
    WIDTH,
    run,
)
from .errors import FormatError, TruncatedError, UnsupportedError

Array = npt.NDArray[Any]

_WRONG = {
    SHORT: "the pickle ends in the middle of an opcode",
    UNDERFLOW: "an opcode of the pickle finds too little on the stack",
    NO_MARK: "an opcode of the pickle finds no mark on the stack",
    NO_MEMO: "the pickle asks for a value that it did not keep, or keeps one out of order",
    BAD_KIND: "an opcode of the pickle finds a value of the wrong kind",
    BAD_FRAME: "a frame of the pickle contradicts its contents",
    TRAILING: "the pickle ends before the file does, or leaves values behind",
}

#: How a pickle of protocol 0 or 1 loads a name: perhaps after marks and texts, GLOBAL or INST with two lines.
OLD_NAME = re.compile(
    rb"\(*(?:[SV][^\n]{0,200}\n){0,3}[ci]([A-Za-z_][\w.]{0,200})\r?\n([A-Za-z_][\w.]{0,200})\r?\n"
)
#: Opcodes that a run does in plain Python before it asks whether the compiled machine should go on, and their cost.
SLICE, OPCODE_COST = 20_000, 0.7e-6
#: Bytes of tables that any file may have, and for each of its bytes: no real one needs as much.
FREE, EACH = 8 << 20, 4
#: Values on the stack, and marks: picklers put down lists and dictionaries in portions of 1,000.
DEEPEST = 1 << 17
LONGEST_NAME = 500


# -- the driver ------------------------------------------------------------------------------------------------------


class Machine:
    """Runs a whole file, makes the tables grow, and looks at every name that the pickle mentions."""

    def __init__(self, file: MappedFile, allowed: Mapping[tuple[str, str], int]) -> None:
        self.file = file
        self.allowed = allowed
        self.names: list[tuple[str, str]] = []
        self.data = file.array(np.uint8, file.size, 0, "the pickle")
        self.state = np.zeros(8, np.int64)
        start = min(256, 16 + file.size)
        self.tables = [np.zeros(start, np.int64) for _ in range(5)]  # stack, marks, memo, items, nodes

    def run(self) -> int:
        """Run to the end; return the reference of the value that the pickle holds. Raises VecioError."""
        self._begin()
        compiled = False
        while True:
            code = self._go(compiled)
            if code == DONE:
                return int(self.tables[0][0])
            if code == PAUSED:
                compiled = compiled or _effort.kernels_due(SLICE * OPCODE_COST)
            elif code == FULL:
                self._grow()
            elif code == OTHER:
                self._name()
            else:
                raise self._wrong(code)

    def _begin(self) -> None:
        head = self.file.bytes(0, min(2, self.file.size))
        if len(head) < 2:
            raise TruncatedError(
                self.file.path,
                "no pickle is so short",
                offset=0,
                expected="3 bytes",
                found=f"{len(head)} bytes",
            )
        if head[0] != 0x80:
            self._text_opcode(0)
            raise FormatError(
                self.file.path,
                "not a pickle of protocol 2 to 5",
                offset=0,
                expected="80",
                found=head[:1].hex(),
            )
        if not 2 <= head[1] <= 5:
            raise FormatError(
                self.file.path, "unknown protocol of a pickle", offset=1, expected="2 to 5", found=head[1]
            )
        self.state[PLACE] = 2

    def _go(self, compiled: bool) -> int:
        size = self.file.size
        if compiled:
            from .kernels import pickle

            stack, marks, memo, items, nodes = self.tables
            return int(pickle.run(self.data, size, self.state, stack, marks, memo, items, nodes, 1 << 62))
        views = [table.data for table in self.tables]
        return run(
            self.data.data, size, self.state.data, views[0], views[1], views[2], views[3], views[4], SLICE
        )

    def _grow(self) -> None:
        """Make the tables that are nearly full half as large again at least, within what the file's size allows."""
        state = self.state
        used = [int(state[i]) for i in (TOP, MARKS, MEMO, ITEMS, NODES)]
        used[4] *= WIDTH
        need = [16, 16, 16, 16 + int(state[WANTED]), 16]
        state[WANTED] = 0
        total, allowed = 8 * (sum(used) + sum(need)), FREE + EACH * self.file.size
        if total > allowed:
            raise self._too_much(
                "makes more values than its bytes can mean", f"{allowed} bytes", f"{total} bytes"
            )
        if max(used[:2]) >= DEEPEST:
            deep = "heaps up too many values" if used[0] >= DEEPEST else "nests too deep"
            raise self._too_much(deep, str(DEEPEST), f"{max(used[:2])}")
        for i, old in enumerate(self.tables):
            if used[i] + need[i] >= len(old):
                longer = max(used[i] + need[i], len(old) * 3 // 2) // WIDTH * WIDTH + WIDTH
                self.tables[i] = np.zeros(longer, np.int64)
                self.tables[i][: len(old)] = old

    def _too_much(self, what: str, expected: str, found: str) -> FormatError:
        return FormatError(
            self.file.path,
            f"the pickle {what}",
            offset=int(self.state[PLACE]),
            expected=f"at most {expected}",
            found=found,
        )

    # -- names ---------------------------------------------------------------------------------------------------

    def _name(self) -> None:
        """Do an opcode that mentions a name, or refuse what the machine does not know."""
        place, data = int(self.state[PLACE]), self.file.map
        limit = int(self.state[FRAME]) or self.file.size
        op = data[place]
        if op == 0x63:  # GLOBAL
            module, after = self._line(place + 1, limit)
            name, after = self._line(after, limit)
            self._push_name(module, name, place, after)
        elif op == 0x93:  # STACK_GLOBAL
            top, base = int(self.state[TOP]), self._base()
            parts = [int(ref) for ref in self.tables[0][max(base, top - 2) : top]]
            if len(parts) < 2:
                raise self._wrong(UNDERFLOW)
            if any(ref & 15 != TEXT for ref in parts):
                raise self._wrong(BAD_KIND)
            module, name = (self._short_text(ref >> SHIFT) for ref in parts)
            self.state[TOP] = top - 2
            self._push_name(module, name, place, place + 1)
        elif op in (0x52, 0x81):  # a name that may not be used like this
            called = int(self.tables[0][int(self.state[TOP]) - 2]) >> SHIFT
            self._refuse(*self.names[int(self.tables[4][WIDTH * called + 1])], place, "call")
        else:
            self._text_opcode(place)
            self._refuse_opcode(op, place, limit)

    def _base(self) -> int:
        depth = int(self.state[MARKS])
        return int(self.tables[1][depth - 1]) if depth else 0

    def _short_text(self, place: int) -> str:
        begin, end = bounds(self.file, place)
        if end - begin > LONGEST_NAME:
            raise FormatError(
                self.file.path,
                "a name in the pickle is too long",
                offset=place,
                expected=f"at most {LONGEST_NAME} bytes",
                found=f"{end - begin} bytes",
            )
        return self.file.bytes(begin, end).decode("utf-8", "replace")

    def _line(self, place: int, limit: int) -> tuple[str, int]:
        end = self.file.map.find(b"\n", place, min(limit, place + LONGEST_NAME + 1))
        if end < 0:
            raise TruncatedError(
                self.file.path,
                "a name in the pickle has no end",
                offset=place,
                expected=f"a line of at most {LONGEST_NAME} bytes",
                found=f"{limit - place} bytes",
            )
        return self.file.bytes(place, end).decode("utf-8", "replace"), end + 1

    def _push_name(self, module: str, name: str, place: int, after: int) -> None:
        role = self.allowed.get((module, name))
        if role is None:
            self._refuse(module, name, place)
        state, count = self.state, int(self.state[NODES])
        self.tables[4][WIDTH * count : WIDTH * count + WIDTH] = np.array([GLOBAL, len(self.names), 0, role])
        self.tables[0][int(state[TOP])] = count << SHIFT | NODE
        self.names.append((module, name))
        state[NODES] += 1
        state[TOP] += 1
        state[PLACE] = after

    def _refuse(self, module: str, name: str, place: int, verb: str = "load") -> NoReturn:
        named = ascii(f"{module} {name}")[1:-1]
        raise UnsupportedError(
            f"{self.file.path}: at byte {place}: the pickle asks to {verb} {named[:200]}, which is no part of word "
            f"vectors; it is refused, and nothing was run"
        )

    def _text_opcode(self, place: int) -> None:
        """Refuse the opcodes of protocols 0 and 1 that name something, by that name."""
        found = OLD_NAME.match(self.file.bytes(place, min(place + 1500, self.file.size)))
        if found is not None:
            self._refuse(
                found[1].decode("utf-8", "replace"),
                found[2].decode("utf-8", "replace"),
                place + found.start(1),
            )

    def _refuse_opcode(self, op: int, place: int, limit: int) -> None:
        """Say what an opcode that is never done would have meant."""
        data = self.file.map
        numbers = {0x82: 1, 0x83: 2, 0x84: 4}
        if op in numbers and place + numbers[op] < limit:
            number = int.from_bytes(data[place + 1 : place + 1 + numbers[op]], "little")
            what = f"extension code {number} of the copyreg registry"
        elif op == 0x50:
            what = f"the persistent object {self._line(place + 1, limit)[0]!a}"
        elif op in _NEVER:
            what = _NEVER[op]
        else:
            raise FormatError(
                self.file.path, "no opcode of a pickle", offset=place, expected="an opcode", found=f"{op:02x}"
            )
        raise UnsupportedError(
            f"{self.file.path}: at byte {place}: the pickle asks for {what}, which is no part of word vectors; it is "
            f"refused, and nothing was run"
        )

    def _wrong(self, code: int) -> FormatError:
        place = int(self.state[PLACE])
        kind = TruncatedError if code == SHORT else FormatError
        left = self.file.size - place
        found = (
            f"{left} bytes"
            if code in (SHORT, TRAILING)
            else f"opcode {self.data[min(place, len(self.data) - 1)]:02x}"
        )
        expected = {SHORT: "a whole pickle", TRAILING: "one value and the end of the file"}.get(
            code, "a pickle that Python writes"
        )
        return kind(
            self.file.path, _WRONG[code], offset=min(place, self.file.size), expected=expected, found=found
        )


#: Opcodes that Python knows and this machine does not do.
_NEVER = {
    0x51: "a persistent object",
    0x6F: "an object of an old-style class",
    0x92: "an object with named arguments (NEWOBJ_EX)",
    0x97: "a buffer from outside the file",
    0x98: "a buffer from outside the file",
    0x8B: "an integer of unbounded length (LONG4)",
    0x30: "a value to be dropped (POP)",
    0x31: "values to be dropped (POP_MARK)",
    0x32: "a value twice (DUP)",
    **dict.fromkeys((70, 73, 76, 83, 86, 100, 108, 103, 112), "values written as text (protocol 0 or 1)"),
}


def bounds(file: MappedFile, place: int) -> tuple[int, int]:
    """Return where the bytes of the text or byte string whose opcode is at `place` begin and end (checked by `run`)."""
    op = file.map[place]
    width = 1 if op in (0x8C, 0x43, 0x55) else 4 if op in (0x58, 0x42, 0x54) else 8
    begin = place + 1 + width
    return begin, begin + int.from_bytes(file.map[place + 1 : begin], "little")


def decoded(data: bytes, latin: bool = False) -> str:
    """Return the text that a pickle's bytes stand for; what is not UTF-8 becomes surrogate escapes."""
    if latin:
        return data.decode("latin-1")
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "surrogateescape")


# -- what the tables say -----------------------------------------------------------------------------------------------

#: NumPy's way to write arrays (its modules were renamed with version 2), and what to do with the names.
ARRAYS = {
    ("numpy", "ndarray"): MENTION,
    ("numpy", "dtype"): RUN,
    ("numpy._core.multiarray", "_reconstruct"): RUN,
    ("numpy.core.multiarray", "_reconstruct"): RUN,
    ("numpy._core.multiarray", "scalar"): RUN,
    ("numpy.core.multiarray", "scalar"): RUN,
    ("numpy._core.numeric", "_frombuffer"): RUN,
    ("numpy.core.numeric", "_frombuffer"): RUN,
    ("_codecs", "encode"): RUN,
    ("__builtin__", "bytes"): RUN,  # no bytes, in protocol 2
}
_DTYPES = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}
#: Bytes of a number, attributes of an object and dimensions of an array that are looked at.
LONGEST_NUMBER, MOST_ATTRIBUTES, MOST_DIMENSIONS = 16, 1000, 8
#: The opcodes of Python 2's byte strings, which stand for texts in latin-1 (gensim reads them so), and for bytes.
PYTHON_2 = (0x54, 0x55)
#: Values that are handled at a time, and bytes up to which it is done without a loop.
BLOCK, LONGEST_BLOCK = 1 << 16, 1 << 21


def _is_shape(dims: tuple[Any, ...]) -> bool:
    size = 1
    for n in dims:
        size *= max(n, 1) if type(n) is int and n >= 0 else 1 << 48
    return size < 1 << 48


@dataclass(frozen=True)
class Packed:
    """Where an array lies in the pickle. encoded: as text, one character a byte (protocol 2)."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    begin: int
    end: int
    encoded: bool = False


class Values:
    """The values of a pickle. A value is a reference (int) until it is asked for."""

    def __init__(self, file: MappedFile, allowed: Mapping[tuple[str, str], int]) -> None:
        self.file = file
        self.data = file.array(np.uint8, file.size, 0, "the pickle")
        machine = Machine(file, {**ARRAYS, **allowed})
        self.root = machine.run()
        self.names = machine.names
        _, _, _, items, nodes = machine.tables
        state = machine.state
        self.items = items[: int(state[ITEMS])]
        self.nodes = nodes[: WIDTH * int(state[NODES])].reshape(-1, WIDTH)

    def node(self, ref: int, *kinds: int) -> Array | None:
        """Return the four numbers of a node of one of these kinds; None for anything else."""
        if ref & 15 != NODE:
            return None
        node: Array = self.nodes[ref >> SHIFT]
        return node if node[0] in kinds else None

    def text(self, ref: int) -> str | None:
        """Return a text, or None for anything else."""
        if ref & 15 != TEXT:
            return None
        begin, end = bounds(self.file, ref >> SHIFT)
        return decoded(self.file.bytes(begin, end), self.file.map[ref >> SHIFT] in PYTHON_2)

    def plain(self, ref: int) -> Any:
        """Return None, a truth value, a number or a text; `...` for anything else."""
        kind, payload = ref & 15, ref >> SHIFT
        if kind == NONE:
            return None
        if kind == BOOL:
            return bool(payload)
        if kind == INT:
            return payload
        if kind == FLOAT:
            return float(struct.unpack(">d", self.file.bytes(payload + 1, payload + 9))[0])
        if kind == NUMBER:
            size = self.file.map[payload + 1]
            if size <= LONGEST_NUMBER:
                return int.from_bytes(self.file.bytes(payload + 2, payload + 2 + size), "little", signed=True)
        return self.text(ref) if kind == TEXT else ...

    def sequence(self, ref: int) -> Array | None:
        """Return the references in a list or tuple (int64), or None for anything else."""
        if ref == NOTHING:
            return self.items[:0]
        node = self.node(ref, LIST, TUPLE)
        if node is None:
            return None
        return self._chunks(node) if node[0] == LIST else self.items[int(node[1]) : int(node[1] + node[2])]

    def pairs(self, ref: int) -> tuple[Array, Array] | None:
        """Return the references of the keys and of the values of a dict, in file order; None for anything else."""
        node = self.node(ref, DICT)
        if node is None:
            return None
        flat = self._chunks(node)
        return flat[0::2], flat[1::2]

    def _chunks(self, node: Array) -> Array:
        place, parts = int(node[1]), []
        while place >= 0:
            parts.append(self.items[place + 2 : place + 2 + int(self.items[place])])
            place = int(self.items[place + 1])
        return np.concatenate(parts) if len(parts) > 1 else parts[0] if parts else self.items[:0]

    def attributes(self, ref: int) -> dict[str, int] | None:
        """Return a dict of texts (the state of an object among them) by its texts; None for anything else."""
        node = self.node(ref, OBJECT)
        pairs = self.pairs(int(node[3]) if node is not None else ref)
        if pairs is None or len(pairs[0]) > MOST_ATTRIBUTES:
            return None
        found = {
            self.name(key): value for key, value in zip(pairs[0].tolist(), pairs[1].tolist(), strict=True)
        }
        return {key: value for key, value in found.items() if key is not None}

    def name(self, ref: int) -> str | None:
        """Return a short text, or None for anything else: the same long one may be meant a million times."""
        if ref & 15 != TEXT:
            return None
        begin, end = bounds(self.file, ref >> SHIFT)
        return self.text(ref) if end - begin <= LONGEST_NAME else None

    def class_of(self, ref: int) -> tuple[str, str] | None:
        """Return module and name of the class of an object; None for anything else."""
        node = self.node(ref, OBJECT)
        return None if node is None else self.names[int(self.nodes[int(node[1]) >> SHIFT][1])]

    def called(self, ref: int) -> tuple[str, list[int]] | None:
        """Return the name of the function that a value is the result of, and its arguments; None for anything else."""
        node = self.node(ref, CALL)
        if node is None:
            return None
        arguments = self.sequence(int(node[2]))
        assert arguments is not None  # `run` saw to it
        return self.names[int(self.nodes[int(node[1]) >> SHIFT][1])][1], arguments.tolist()

    # -- arrays --------------------------------------------------------------------------------------------------

    def array(self, ref: int, what: str) -> Array | None:
        """Return an array where it lies (read-only), or a copy of one that protocol 2 wrote as text; None: no array.

        Raises FormatError where it contradicts itself, UnsupportedError for an array of objects.
        """
        found = self._recipe(ref, what)
        if found is None:
            return None
        count = found.dtype.itemsize
        for n in found.shape:
            count *= n
        size = found.end - found.begin
        if count != size if not found.encoded else count > size:
            raise FormatError(
                self.file.path,
                f"{what} has another number of bytes than its shape says",
                offset=found.begin,
                expected=f"{count} bytes for {found.shape} of {found.dtype}",
                found=f"{size} bytes",
            )
        shape = found.shape[::-1] if found.fortran else found.shape
        if found.encoded:
            values: Array = self._decoded(found, count, what).view(found.dtype).reshape(shape)
        else:
            values = self.file.array(found.dtype, shape, found.begin, what)
        return values.T if found.fortran else values

    def _recipe(self, ref: int, what: str) -> Packed | None:
        called = self.called(ref)
        if called is None:
            return None
        name, arguments = called
        if name == "_reconstruct":
            state = self.sequence(int(self.nodes[ref >> SHIFT][3]))
            if state is None or len(state) != 5:
                raise self._contradiction(what, "version, shape, dtype, order and bytes")
            _, shape, dtype, fortran, raw = state.tolist()
        elif name == "_frombuffer" and len(arguments) == 4:
            raw, dtype, shape, order = arguments
            fortran = BOOL | (self.text(order) == "F") << SHIFT
        else:
            return None
        dims = self._shape(shape)
        if dims is None or fortran & 15 != BOOL:
            raise self._contradiction(what, "a shape of whole numbers")
        encoded = raw & 15 == NODE
        kind = self._dtype(dtype, what)
        if encoded and self.called(raw) == ("bytes", []):
            return Packed(kind, dims, bool(fortran >> SHIFT), 0, 0)
        if encoded:
            raw = self._encoded(raw, what)
        if raw & 15 != BYTES and not (
            raw & 15 == TEXT and (encoded or self.file.map[raw >> SHIFT] in PYTHON_2)
        ):
            raise self._contradiction(what, "bytes")
        begin, end = bounds(self.file, raw >> SHIFT)
        return Packed(kind, dims, bool(fortran >> SHIFT), begin, end, encoded and raw & 15 == TEXT)

    def _shape(self, ref: int) -> tuple[int, ...] | None:
        """Return the numbers of a shape; None for anything else, which is not looked at."""
        numbers = self.sequence(ref)
        if (
            numbers is None
            or len(numbers) > MOST_DIMENSIONS
            or not np.isin(numbers & 15, (INT, NUMBER)).all()
        ):
            return None
        dims = tuple(self.plain(n) for n in numbers.tolist())
        return dims if _is_shape(dims) else None

    def _encoded(self, ref: int, what: str) -> int:
        """Return the text that stands for bytes in protocol 2: `_codecs.encode(text, "latin1")`."""
        called = self.called(ref)
        if called is None and self.node(ref, LIST) is not None:
            raise UnsupportedError(
                f"{self.file.path}: {what} is an array of Python objects, which is never read"
            )
        if (
            called is None
            or called[0] != "encode"
            or len(called[1]) != 2
            or self.text(called[1][1]) != "latin1"
        ):
            raise self._contradiction(what, "bytes, or a text in latin1")
        return called[1][0]

    def _dtype(self, ref: int, what: str) -> np.dtype[Any]:
        called = self.called(ref)
        if called is None or called[0] != "dtype" or not called[1]:
            raise self._contradiction(what, "a dtype")
        name = self.text(called[1][0])
        if name in ("O", "O8", "O4"):
            raise UnsupportedError(
                f"{self.file.path}: {what} is an array of Python objects, which is never read"
            )
        state = self.sequence(int(self.nodes[ref >> SHIFT][3])) if self.nodes[ref >> SHIFT][3] != -1 else None
        order = "|" if state is None else self.text(int(state[1])) if len(state) > 4 else None
        if (
            name not in _DTYPES
            or order not in ("<", ">", "|", "=")
            or (state is not None and state[2:5].any())
        ):
            raise UnsupportedError(
                f"{self.file.path}: {what} is of the dtype {ascii(name)[:40]}, which is not served"
            )
        return np.dtype(("<" if order == "=" else order) + str(name))

    def _contradiction(self, what: str, expected: str) -> FormatError:
        return FormatError(self.file.path, f"{what} is not written as NumPy writes arrays", expected=expected)

    def _decoded(self, found: Packed, count: int, what: str) -> Array:
        """Return the bytes of an array that was written as text: every character is one byte."""
        out, done, carry = np.empty(count, np.uint8), 0, b""
        for place in range(found.begin, found.end, 1 << 20):
            piece = carry + self.file.bytes(place, min(place + (1 << 20), found.end))
            carry = piece[-1:] if piece[-1] in (0xC2, 0xC3) else b""
            try:
                part = piece[: len(piece) - len(carry)].decode("utf-8").encode("latin-1")
            except UnicodeError:
                part, done = b"", count + 1
            if done + len(part) > count:
                break
            out[done : done + len(part)] = np.frombuffer(part, np.uint8)
            done += len(part)
        if done != count or carry:
            raise FormatError(
                self.file.path,
                f"{what} has another number of bytes than its shape says",
                offset=found.begin,
                expected=f"{count} characters below 256",
                found="others",
            )
        return out

    # -- many texts ----------------------------------------------------------------------------------------------

    def texts(self, refs: Array) -> tuple[Array, Array]:
        """Return many texts, packed: blob (uint8), offsets (int64, N + 1). Raises FormatError if they are too long.

        The bytes are UTF-8 as the file has them.
        """
        begins, offsets = self.places(refs)
        blob = np.empty(int(offsets[-1]), np.uint8)
        for start in range(
            0, len(refs), BLOCK
        ):  # in blocks: the place of each byte would take eight times its size
            stop = min(start + BLOCK, len(refs))
            if offsets[stop] - offsets[start] > LONGEST_BLOCK:
                for i in range(start, stop):
                    begin, size = int(begins[i]), int(offsets[i + 1] - offsets[i])
                    blob[offsets[i] : offsets[i + 1]] = self.data[begin : begin + size]
                continue
            shift = np.repeat(begins[start:stop] - offsets[start:stop], np.diff(offsets[start : stop + 1]))
            blob[offsets[start] : offsets[stop]] = self.data[shift + np.arange(offsets[start], offsets[stop])]
        return blob, offsets

    def places(self, refs: Array) -> tuple[Array, Array]:
        """Return where texts begin in the file, and the offsets that they have when they are packed (int64, N + 1)."""
        begins, offsets = np.empty(len(refs), np.int64), np.zeros(len(refs) + 1, np.int64)
        total = 0
        for start in range(0, len(refs), BLOCK):
            places = refs[start : start + BLOCK] >> SHIFT
            ops = self.data[places]
            short = (ops == 0x8C) | (ops == 0x55)
            long = ops == 0x8D
            width = np.where(short, 1, np.where(long, 8, 4))
            sizes = self.data[places + 1].astype(np.int64)
            for byte in range(1, 8):
                rest = np.flatnonzero(~short if byte < 4 else long)
                sizes[rest] |= self.data[places[rest] + 1 + byte].astype(np.int64) << (8 * byte)
            begins[start : start + BLOCK] = places + 1 + width
            ends = offsets[start + 1 : start + 1 + BLOCK]
            np.cumsum(sizes, out=ends)
            ends += total
            total = int(ends[-1])
            if total > self.file.size:
                raise FormatError(
                    self.file.path,
                    "the words are longer than the file, which holds some of them many times",
                    offset=int(places[0]),
                    expected=f"at most {self.file.size} bytes",
                    found=f"more than {total} bytes",
                )
        return begins, offsets
