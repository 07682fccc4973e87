"""Makes broken and odd text files on purpose (rows T1 .. T74 of the reliability table), and says what each must get.

Nothing here imports vecio: this is the other side's view of the format (specs/text.md). The verdicts are those of
`verdicts.judge`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

WORDS = [b"the", b"river", b"of", b"gr\xc3\xb6\xc3\x9fe", b"x", b"\xe7\x8b\x90", b"bank", b"and", b"stone"]
V, D = 9, 6
TOKENS = [
    [f"{v:.5g}".encode() for v in row]
    for row in np.random.default_rng(3).standard_normal((V, D)).astype(np.float32)
]
TABLE = np.array([[float(t) for t in row] for row in TOKENS], np.float32)
TRUTH = (WORDS, TABLE)
HEADER = b"9 6\n"
#: Numbers that lie.
BIG = [2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, 2**64, 10**30]


@dataclass(frozen=True)
class Case:
    """One file: its row in the table, its bytes, its verdict, the right answer where the verdict needs one."""

    id: str
    must: str
    data: bytes
    truth: tuple[list[bytes], np.ndarray] | None = None
    place: bool = True  # a refusal says where


def lines(words: list[bytes] = WORDS, tokens: list[list[bytes]] = TOKENS, sep: bytes = b" ") -> list[bytes]:
    """Return the rows without their ends."""
    return [word + sep + sep.join(row) for word, row in zip(words, tokens, strict=True)]


def body(rows: list[bytes] | None = None, end: bytes = b"\n") -> bytes:
    return b"".join(row + end for row in (lines() if rows is None else rows))


def changed(row: int, line: bytes) -> list[bytes]:
    """Return the rows with another line in one place."""
    rows = lines()
    rows[row] = line
    return rows


def with_token(token: bytes, row: int = 4, column: int = 2) -> list[bytes]:
    """Return the rows with another token in one place."""
    tokens = [list(each) for each in TOKENS]
    tokens[row][column] = token
    return lines(tokens=tokens)


def with_value(value: float, row: int = 4, column: int = 2) -> tuple[list[bytes], np.ndarray]:
    table = TABLE.copy()
    table[row, column] = value
    return WORDS, table


def with_word(word: bytes, row: int = 4) -> tuple[list[bytes], list[bytes]]:
    """Return all words, and the rows, with another word in one place."""
    words = list(WORDS)
    words[row] = word
    return words, lines(words)


def good(header: bool = True) -> bytes:
    return (HEADER if header else b"") + body()


def cases() -> Iterator[Case]:
    """Yield every case, with a header and without where both exist."""
    yield from _cuts()
    yield from _headers()
    for header in (HEADER, b""):
        kind = "h" if header else "n"
        for case in _rows():
            yield Case(f"{case.id}:{kind}", case.must, header + case.data, case.truth, case.place)
        for case in _numbers():
            yield Case(f"{case.id}:{kind}", case.must, header + case.data, case.truth, case.place)


def _cuts() -> Iterator[Case]:
    rows = lines()
    yield Case("T1", "E", HEADER + body(rows[:-1]))
    yield Case("T1:half", "E", HEADER + body(rows[:4]))
    yield Case("T2", "A", body(rows[:-1]), (WORDS[:-1], TABLE[:-1]))
    for header in (HEADER, b""):
        kind = "h" if header else "n"
        yield Case(f"T3:{kind}", "E", header + body(rows[:3]) + b"gr")
        yield Case(f"T4:{kind}", "E", header + body(rows[:8]) + rows[8][: rows[8].rindex(b" ") - 2])
        yield Case(f"T5:{kind}", "A", header + body()[:-3])
        yield Case(f"T45:last:{kind}", "E", header + body(changed(8, rows[8].rsplit(b" ", 1)[0])))
        yield Case(f"T45:first:{kind}", "E", header + body(changed(0, rows[0].rsplit(b" ", 1)[0])))


def _headers() -> Iterator[Case]:
    def head(text: bytes) -> bytes:
        return text + b"\n" + body()

    yield Case("T6:0", "E", head(b"0 6"))
    yield Case("T6:-1", "E", head(b"-1 6"))
    yield Case("T7", "A", head(b"8 6"))
    for n in (10, 10**6):
        yield Case(f"T8:{n}", "E", head(b"%d 6" % n))
    for n in BIG:
        yield Case(f"T9:{n}", "E", head(b"%d 6" % n))
        yield Case(f"T12:{n}", "E", head(b"9 %d" % n))
    for n in (0, -1):
        yield Case(f"T10:{n}", "E", head(b"9 %d" % n))
    yield Case("T11:less", "E", head(b"9 5"))
    yield Case("T11:more", "E", head(b"9 7"))
    yield Case("T12:10^6", "E", head(b"9 1000000"))
    for a, b in ((2**32, 2**32), (2**62, 4), (10**9, 10**9), (-9, -6)):
        yield Case(f"T13:{a}x{b}", "E", head(b"%d %d" % (a, b)))
    for text in (b"", b"9", b"9 6 1"):
        yield Case(f"T14:{text.decode()}", "E", head(text))
    for text in (b"nine six", b"nan inf", b"9.0 6.0", b"9e0 6e0"):
        yield Case(f"T15:{text.decode()}", "E", head(text))
    for n in (5000, 200_000):
        yield Case(f"T16:{n}", "E", head(b"9" * n + b" 6"))
        yield Case(f"T16:both:{n}", "E", head(b"9" * n + b" " + b"6" * n))
    for text in (b"9_0 6", b"9,6", b"9\x006", b"\xff\xfe9 6", b"\x80 6", b"9 \xff"):
        yield Case(f"T17:{text!r}", "E", head(text))
    yield Case("T17:arabic", "X", head("٩ ٦".encode()), TRUTH)
    for text in (b"9\t6", b"9  6", b" 9 6", b"+9 +6", b"009 006", b"9 6\r", b"9 6 "):
        yield Case(f"T18:{text!r}", "X", head(text), TRUTH)
    yield Case("T19", "A", body(), TRUTH)
    yield Case("T20:only", "E", HEADER)
    yield Case("T20:blank", "E", HEADER + b"\n\n")
    yield Case("T20:two", "E", HEADER + HEADER + body())
    yield Case("T21", "A", HEADER + body([*lines()[:8], b"<unk> " + lines()[8].split(b" ", 1)[1]]))
    yield Case("T22", "A", body(lines()[:1]))
    yield Case("T23:word", "E", b"word\n")
    yield Case("T23:number", "E", b"0.5\n")
    yield Case("T30:header", "X", b"\xef\xbb\xbf" + good(), TRUTH)
    yield Case("T30:none", "X", b"\xef\xbb\xbf" + good(False), TRUTH)
    for order in ("utf-16", "utf-16-le", "utf-16-be"):
        yield Case(f"T31:{order}", "E", good().decode().encode(order))
    yield Case("T67:h", "E", HEADER + body() + body())
    yield Case("T67:n", "A", body() + body())
    yield Case("T70:h", "E", good() + b"more 0.1 0.2")
    yield Case("T70:n", "E", good(False) + b"more 0.1 0.2")
    yield Case("T71:csv", "E", good(False).replace(b" ", b","))
    yield Case("T71:csv:header", "E", good().replace(b" ", b","))
    yield Case("T71:json", "E", b"[" + b", ".join(b'["the", 0.1, 0.2]' for _ in range(9)) + b"]\n")
    yield Case("T71:json:lines", "E", b'{"the": [0.1, 0.2]}\n' * 9)
    yield Case(
        "T72",
        "X",
        b"9 6\n" + b"".join(w + b" " + r.tobytes() + b"\n" for w, r in zip(*TRUTH, strict=True)),
        TRUTH,
    )


def _rows() -> Iterator[Case]:
    rows = lines()
    yield Case("T24", "O", body()[:-1], TRUTH)
    yield Case("T25", "O", body([row + b" " for row in rows]), TRUTH)
    yield Case("T25:many", "X", body([row + b"   " for row in rows]), TRUTH)
    yield Case("T26", "X", body(end=b"\r\n"), TRUTH)
    yield Case("T26:space", "X", body(end=b" \r\n"), TRUTH)
    yield Case("T27", "X", body(end=b"\r"), TRUTH)
    yield Case("T28", "X", body(lines(sep=b"\t")), TRUTH)
    yield Case("T28:end", "X", body([row + b"\t" for row in lines(sep=b"\t")]), TRUTH)
    yield Case("T28:mixed", "X", body([row.replace(b" ", b"\t", 1) for row in rows]), TRUTH)
    yield Case("T28:one", "X", body(changed(4, rows[4].replace(b" ", b"\t"))), TRUTH)
    yield Case("T29", "X", body([row.replace(b" ", b"  ") for row in rows]), TRUTH)
    yield Case("T29:one", "X", body(changed(4, rows[4].replace(b" ", b"  "))), TRUTH)
    yield Case("T29:word", "X", body(changed(4, rows[4].replace(b" ", b"  ", 1))), TRUTH)
    yield Case("T32:end", "X", body() + b"\n\n \n\r\n", TRUTH)
    yield Case("T32:middle", "X", body([*rows[:4], b"", *rows[4:]]), TRUTH)
    yield Case("T32:first", "X", b"\n" + body(), TRUTH)
    yield Case("T33", "E", body([*rows[:4], b"# a comment", *rows[4:]]))
    for name, word in (
        ("T34", "no\u00a0break"), ("T34:only", "\u00a0"), ("T34:ends", "\u00a0x\u00a0"), ("T35:2028", "a\u2028b"),
        ("T35:85", "a\u0085b"), ("T35:vt", "a\vb"), ("T35:ff", "a\fb"), ("T35:1c", "a\x1cb"), ("T37", "1984"),
        ("T37:float", "0.5"), ("T37:nan", "nan"), ("T37:unk", "<unk>"), ("T37:tab", "a\tb"),
    ):  # fmt: skip
        words, changed_rows = with_word(word.encode())
        yield Case(name, "O", body(changed_rows), (words, TABLE))
    for name, word in (("T36", b". . ."), ("T36:two", b"new york"), ("T36:lead", b" x"), ("T36:number", b"1 a"),
                       ("T36:long", b"a b " * 300 + b"c")):  # fmt: skip
        words, changed_rows = with_word(word)
        yield Case(name, "X", body(changed_rows), (words, TABLE))
    yield Case("T40", "E", body(changed(4, rows[4].rsplit(b" ", 1)[0])))
    yield Case("T41", "E", body(changed(4, rows[4] + b" 0.25")))
    yield Case("T41:three", "E", body(changed(4, rows[4] + b" 1 2 3")))
    yield Case("T42", "E", body(changed(4, b"x")))
    yield Case("T42:space", "E", body(changed(4, b"x ")))
    yield Case("T43", "E", body(changed(4, rows[4].split(b" ", 1)[1])))
    words, changed_rows = with_word(b"")
    yield Case("T44", "A", body(changed_rows), (words, TABLE))
    yield Case("T46", "E", body([*rows[:4], rows[4] + b" " + rows[5], *rows[6:]]))
    yield Case("T46:bare", "E", body([*rows[:4], rows[4] + rows[5], *rows[6:]]))
    yield Case("T47", "E", body(changed(4, b"x" + b" 0.5" * 200_000)))
    words, changed_rows = with_word(b"long" * (1 << 18))
    yield Case("T48", "A", body(changed_rows), (words, TABLE))
    words, changed_rows = with_word(b"long" * (1 << 18), 0)
    yield Case("T48:first", "A", body(changed_rows), (words, TABLE))
    yield Case("T49", "E", body(changed(4, b"x" * (1 << 20))))
    yield Case("T49:first", "E", body(changed(0, b"x" * (1 << 20))))
    for name, word in (
        ("T63", b"a\x00b"),
        ("T63:only", b"\x00"),
        ("T64", b"\xff\xfe\x80"),
        ("T64:cut", b"gr\xc3"),
    ):
        words, changed_rows = with_word(word)
        yield Case(name, "A", body(changed_rows), (words, TABLE))
    words, changed_rows = with_word(b"river")
    yield Case("T66", "A", body(changed_rows), (words, TABLE))
    yield Case("T68", "A", body(lines([b"same"] * V)), ([b"same"] * V, TABLE))
    yield Case("T69", "E", body() + bytes(4096))
    yield Case("T69:noise", "E", body() + np.random.default_rng(1).bytes(300))


def _numbers() -> Iterator[Case]:
    for text, value in (
        ("1e-05", 1e-05), ("-1E+2", -100.0), ("+0.5", 0.5), ("0.12345678901234567", 0.12345678901234567),
        ("-1.671300083398818970e-02", -0.0167130008339881897), ("0", 0.0), ("-0", -0.0), ("1", 1.0), ("-12.5", -12.5),
    ):  # fmt: skip
        yield Case(f"T38:{text}", "O", body(with_token(text.encode())), with_value(value))
    for text, value in ((".5", 0.5), ("5.", 5.0), ("-.5", -0.5), ("5.e1", 50.0), ("-.5e1", -5.0)):
        yield Case(f"T39:{text}", "X", body(with_token(text.encode())), with_value(value))
    for token in (b"abc", b"0.5.5", b"--1", b"1e", b"1e+", b"e5", b".", b"-", b"+", b".e5", b"$1", b"None", b"1-2",
                  b"1e5.5", b"+-1", b"0..5", b"n", b"na", b"nano", b"in", b"info", b"infinit", b"1 "):  # fmt: skip
        yield Case(f"T50:{token.decode()}", "E", body(with_token(token)))
        yield Case(f"T50:last:{token.decode()}", "E", body(with_token(token + b"x", column=D - 1)))
    for row, token in (
        ("T51", "0,5"), ("T52", "0x1p3"), ("T52:plain", "0x1"), ("T53", "1_000"), ("T54", "٠٫٥"), ("T54:digits", "٥"),
        ("T55", "\u22120.5"), ("T56:f", "0.5f"), ("T56:d", "1d3"), ("T57", ""), ("T62", "0.\x005"),
        ("T62:end", "0.5\x00"), ("T65:wide", "\uff15"),
    ):  # fmt: skip
        yield Case(row, "E", body(with_token(token.encode())))
    yield Case("T65", "E", body(with_token(b"0.5\xff")))
    for text, value in (
        ("1e999", np.inf), ("-1e999", -np.inf), ("9" * 400, np.inf), ("1e-400", 0.0), ("-1e-400", -0.0), ("1e-46", 0.0),
        ("nan", np.nan), ("NaN", np.nan), ("-nan", np.nan), ("inf", np.inf), ("-Infinity", -np.inf), ("+INF", np.inf),
        ("0." + "0" * 400 + "1e401", 1.0), ("1" + "0" * 400 + "e-400", 1.0), ("1e00000000000000000000", 1.0),
        ("0e999999999999999999999", 0.0), ("1e-99999999999999999999", 0.0), ("1e99999999999999999999", np.inf),
    ):  # fmt: skip
        row = "T60" if text.strip("+-").lower()[0] in "ni" else "T59" if value == 0 else "T58"
        yield Case(f"{row}:{text[:12]}", "O", body(with_token(text.encode())), with_value(value))
    for token in (b"1.#QNAN", b"-nan(ind)", b"1.#INF"):
        yield Case(f"T61:{token.decode()}", "A", body(with_token(token)))
