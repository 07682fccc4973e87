"""The stack machine behind a pickle, as one function over tables of numbers: it notes what the opcodes say.

A value is a reference, `kind | payload << 4`. What is behind it lies in the file (texts, bytes, numbers) or in the
table of nodes (lists, dicts, objects, calls). `run` is in the subset of Python that numba compiles:
`kernels/pickle.py` is this very function, compiled, for files with millions of words. Who calls it is `_pickle.py`;
`specs/gensim.md` has the opcodes. Source: CPython `Lib/pickletools.py`.
"""

from __future__ import annotations

from typing import Any

#: Kinds of values. The payload is the value itself (BOOL, INT), the place of the opcode in the file (FLOAT to NUMBER),
#: or the number of a node.
NONE, BOOL, INT, FLOAT, TEXT, BYTES, NUMBER, NODE, NOTHING = range(9)
SHIFT = 4

#: Kinds of nodes, each four numbers: kind, a, b, c. LIST, DICT, SET: first and last chunk of items, their number.
#: TUPLE: place of its items, their number. GLOBAL: its number among the names, -, what may be done with it. OBJECT and
#: CALL: class or function, arguments, state (-1: none).
LIST, DICT, SET, TUPLE, GLOBAL, OBJECT, CALL = range(7)
WIDTH = 4

#: What may be done with a name: make an object of the class, call it, or only mention it.
MENTION, MAKE, RUN = 0, 1, 2

# -- the machine's registers ------------------------------------------------------------------------------------------

PLACE, FRAME, TOP, MARKS, MEMO, ITEMS, NODES, WANTED = range(8)

#: Why `run` came back. From SHORT on: errors.
DONE, PAUSED, FULL, OTHER, SHORT, UNDERFLOW, NO_MARK, NO_MEMO, BAD_KIND, BAD_FRAME, TRAILING = range(11)


def run(
    data: Any, size: int, state: Any, stack: Any, marks: Any, memo: Any, items: Any, nodes: Any, most: int
) -> int:
    """Do up to `most` opcodes from `state[PLACE]` on; return why it stopped, the place being that of the opcode.

    data: the file's bytes; the others: int64, tables whose lengths are in `state`. No table grows here: FULL says that
    one must, with the items wanted in `state[WANTED]`.
    """
    place, frame, top, depth = state[PLACE], state[FRAME], state[TOP], state[MARKS]
    kept, used, count = state[MEMO], state[ITEMS], state[NODES]
    room_stack, room_marks, room_memo = len(stack) - 2, len(marks) - 1, len(memo) - 1
    room_items, room_nodes = len(items) - 8, (len(nodes) // 4) - 1
    code = 1  # PAUSED
    step = 0
    while step < most:
        step += 1
        base = marks[depth - 1] if depth else 0
        if frame and place >= frame:
            if place > frame:
                code = 9  # BAD_FRAME
                break
            frame = 0
        limit = frame if frame else size
        if place >= limit:
            code = 4  # SHORT
            break
        if top >= room_stack or depth >= room_marks or kept >= room_memo or count >= room_nodes:
            code = 2  # FULL
            break
        if used >= room_items:
            code = 2
            break
        op = 0 + data[place]
        if op == 0x94:  # MEMOIZE
            if top <= base:
                code = 5
                break
            kind = stack[top - 1] & 15
            if kind == 0 or kind == 1 or kind == 2 or kind == 8:
                code = 8  # picklers do not keep what is as short as its number
                break
            memo[kept] = stack[top - 1]
            kept += 1
            place += 1
        elif op == 0x8C or op == 0x43 or op == 0x55:  # SHORT_BINUNICODE, SHORT_BINBYTES, SHORT_BINSTRING
            if place + 2 > limit or place + 2 + data[place + 1] > limit:
                code = 4
                break
            stack[top] = (place << 4) | (5 if op == 0x43 else 4)
            top += 1
            place += 2 + data[place + 1]
        elif op == 0x6A or op == 0x72:  # LONG_BINGET, LONG_BINPUT
            if place + 5 > limit:
                code = 4
                break
            number = (
                (0 + data[place + 1])
                | (0 + data[place + 2]) << 8
                | (0 + data[place + 3]) << 16
                | (0 + data[place + 4]) << 24
            )
            if op == 0x6A:
                if number >= kept:
                    code = 7
                    break
                stack[top] = memo[number]
                top += 1
            else:
                if top <= base:
                    code = 5
                    break
                if number > kept + 1:
                    code = 7
                    break
                if number == kept + 1:  # Python 2 begins to count at 1
                    memo[kept] = 0
                    kept += 1
                memo[number] = stack[top - 1]
                if number == kept:
                    kept += 1
            place += 5
        elif op == 0x4B:  # BININT1
            if place + 2 > limit:
                code = 4
                break
            stack[top] = ((0 + data[place + 1]) << 4) | 2
            top += 1
            place += 2
        elif op == 0x4D:  # BININT2
            if place + 3 > limit:
                code = 4
                break
            stack[top] = (((0 + data[place + 1]) | (0 + data[place + 2]) << 8) << 4) | 2
            top += 1
            place += 3
        elif op == 0x4A:  # BININT
            if place + 5 > limit:
                code = 4
                break
            number = (
                (0 + data[place + 1])
                | (0 + data[place + 2]) << 8
                | (0 + data[place + 3]) << 16
                | (0 + data[place + 4]) << 24
            )
            if number >= 1 << 31:
                number -= 1 << 32
            stack[top] = (number << 4) | 2
            top += 1
            place += 5
        elif op == 0x68 or op == 0x71:  # BINGET, BINPUT
            if place + 2 > limit:
                code = 4
                break
            number = 0 + data[place + 1]
            if op == 0x68:
                if number >= kept:
                    code = 7
                    break
                stack[top] = memo[number]
                top += 1
            else:
                if top <= base:
                    code = 5
                    break
                if number > kept + 1:
                    code = 7
                    break
                if number == kept + 1:
                    memo[kept] = 0
                    kept += 1
                memo[number] = stack[top - 1]
                if number == kept:
                    kept += 1
            place += 2
        elif op == 0x58 or op == 0x42 or op == 0x54:  # BINUNICODE, BINBYTES, BINSTRING
            if place + 5 > limit:
                code = 4
                break
            number = (
                (0 + data[place + 1])
                | (0 + data[place + 2]) << 8
                | (0 + data[place + 3]) << 16
                | (0 + data[place + 4]) << 24
            )
            if number > limit - place - 5:
                code = 4
                break
            stack[top] = (place << 4) | (5 if op == 0x42 else 4)
            top += 1
            place += 5 + number
        elif op == 0x28:  # MARK
            marks[depth] = top
            depth += 1
            place += 1
        elif op == 0x75 or op == 0x65 or op == 0x90:  # SETITEMS, APPENDS, ADDITEMS
            if not depth:
                code = 6
                break
            below = marks[depth - 2] if depth > 1 else 0
            if base <= below:
                code = 5
                break
            target = stack[base - 1]
            many = top - base
            if target & 15 != 7 or (op == 0x75 and many & 1):
                code = 8
                break
            node = (target >> 4) * 4
            kind = nodes[node]
            if kind == (1 if op == 0x75 else 0 if op == 0x65 else 2):
                if used + many + 2 >= room_items:
                    state[WANTED] = many + 2
                    code = 2
                    break
                if many:
                    if nodes[node + 3]:
                        items[nodes[node + 2] + 1] = used
                    else:
                        nodes[node + 1] = used
                    nodes[node + 2] = used
                    nodes[node + 3] += many
                    items[used] = many
                    items[used + 1] = -1
                    used += 2
                    for i in range(many):
                        items[used + i] = stack[base + i]
                    used += many
            elif kind < 5:
                code = 8
                break
            # what an object of an unknown class is filled with is not looked at
            top = base
            depth -= 1
            place += 1
        elif op == 0x73 or op == 0x61:  # SETITEM, APPEND
            many = 2 if op == 0x73 else 1
            if top - many - 1 < base:
                code = 5
                break
            target = stack[top - many - 1]
            if target & 15 != 7:
                code = 8
                break
            node = (target >> 4) * 4
            kind = nodes[node]
            if kind == (1 if op == 0x73 else 0):
                if nodes[node + 3]:
                    items[nodes[node + 2] + 1] = used
                else:
                    nodes[node + 1] = used
                nodes[node + 2] = used
                nodes[node + 3] += many
                items[used] = many
                items[used + 1] = -1
                items[used + 2] = stack[top - many]
                items[used + 3] = stack[top - 1]
                used += 2 + many
            elif kind < 5:
                code = 8
                break
            top -= many
            place += 1
        elif op == 0x7D or op == 0x5D or op == 0x8F:  # EMPTY_DICT, EMPTY_LIST, EMPTY_SET
            nodes[count * 4] = 1 if op == 0x7D else 0 if op == 0x5D else 2
            nodes[count * 4 + 1] = -1
            nodes[count * 4 + 2] = -1
            nodes[count * 4 + 3] = 0
            stack[top] = (count << 4) | 7
            count += 1
            top += 1
            place += 1
        elif op == 0x81 or op == 0x52:  # NEWOBJ, REDUCE
            if top - 2 < base:
                code = 5
                break
            target = stack[top - 2]
            kind = stack[top - 1] & 15
            if target & 15 != 7 or (kind != 8 and kind != 7):
                code = 8
                break
            node = (target >> 4) * 4
            if nodes[node] != 4 or (kind == 7 and nodes[(stack[top - 1] >> 4) * 4] != 3):
                code = 8
                break
            if nodes[node + 3] != (1 if op == 0x81 else 2):
                code = 3  # OTHER: refused by its name
                break
            nodes[count * 4] = 5 if op == 0x81 else 6
            nodes[count * 4 + 1] = target
            nodes[count * 4 + 2] = stack[top - 1]
            nodes[count * 4 + 3] = -1
            stack[top - 2] = (count << 4) | 7
            count += 1
            top -= 1
            place += 1
        elif op == 0x62:  # BUILD
            if top - 2 < base:
                code = 5
                break
            target = stack[top - 2]
            if target & 15 != 7:
                code = 8
                break
            node = (target >> 4) * 4
            if nodes[node] < 5 or nodes[node + 3] != -1:
                code = 8
                break
            nodes[node + 3] = stack[top - 1]
            top -= 1
            place += 1
        elif op == 0x29:  # EMPTY_TUPLE
            stack[top] = 8
            top += 1
            place += 1
        elif op == 0x74 or op == 0x91:  # TUPLE, FROZENSET
            if not depth:
                code = 6
                break
            many = top - base
            if used + many + 2 >= room_items:
                state[WANTED] = many + 2
                code = 2
                break
            nodes[count * 4] = 3
            nodes[count * 4 + 1] = used
            nodes[count * 4 + 2] = many
            nodes[count * 4 + 3] = 0
            for i in range(many):
                items[used + i] = stack[base + i]
            used += many
            top = base
            depth -= 1
            stack[top] = (count << 4) | 7
            count += 1
            top += 1
            place += 1
        elif 0x85 <= op <= 0x87:  # TUPLE1 to TUPLE3
            many = op - 0x84
            if top - many < base:
                code = 5
                break
            nodes[count * 4] = 3
            nodes[count * 4 + 1] = used
            nodes[count * 4 + 2] = many
            nodes[count * 4 + 3] = 0
            for i in range(many):
                items[used + i] = stack[top - many + i]
            used += many
            top -= many
            stack[top] = (count << 4) | 7
            count += 1
            top += 1
            place += 1
        elif op == 0x4E:  # NONE
            stack[top] = 0
            top += 1
            place += 1
        elif op == 0x88 or op == 0x89:  # NEWTRUE, NEWFALSE
            stack[top] = 1 | (0x89 - op) << 4
            top += 1
            place += 1
        elif op == 0x47:  # BINFLOAT
            if place + 9 > limit:
                code = 4
                break
            stack[top] = (place << 4) | 3
            top += 1
            place += 9
        elif op == 0x8A:  # LONG1
            if place + 2 > limit or place + 2 + data[place + 1] > limit:
                code = 4
                break
            stack[top] = (place << 4) | 6
            top += 1
            place += 2 + data[place + 1]
        elif op == 0x95 or op == 0x8D or op == 0x8E or op == 0x96:  # FRAME; texts and bytes of any length
            if place + 9 > limit:
                code = 4
                break
            number = (
                (0 + data[place + 1])
                | (0 + data[place + 2]) << 8
                | (0 + data[place + 3]) << 16
                | (0 + data[place + 4]) << 24
                | (0 + data[place + 5]) << 32
                | (0 + data[place + 6]) << 40
                | (0 + data[place + 7]) << 48
            )
            if data[place + 8] or number > limit - place - 9:
                code = 9 if op == 0x95 else 4
                break
            if op == 0x95:
                if frame:
                    code = 9
                    break
                frame = place + 9 + number
                place += 9
            else:
                stack[top] = (place << 4) | (4 if op == 0x8D else 5)
                top += 1
                place += 9 + number
        elif op == 0x2E:  # STOP
            if top != 1 or depth or place + 1 != limit or place + 1 != size:
                code = 10
                break
            code = 0
            place += 1
            break
        else:
            code = 3  # OTHER
            break
    state[PLACE], state[FRAME], state[TOP], state[MARKS] = place, frame, top, depth
    state[MEMO], state[ITEMS], state[NODES] = kept, used, count
    return code
