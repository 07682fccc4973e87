"""The tokenizer.json of a model: its tokens and their ids, without any library; and the ids of texts, with one.

Opening a model needs the tokens only: plain JSON. Turning texts into ids is the business of the package `tokenizers`
(extra `tokenizers`), which is imported when it is first used. It is asked about each chunk of text between white space
only once where chunks do not depend on each other (`chunk_rule`): what it said is kept in `ChunkTable`, where compiled
code finds it. The ids are those of the library for the whole text, always.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _effort, _threads
from ._json import parse_json
from .errors import FormatError, VecioError

Array = npt.NDArray[Any]
#: ids of all texts (int64), and where those of each text begin (int64, N + 1)
Ids = tuple[Array, Array]

#: Ids are unsigned 32-bit numbers in the library; no matrix has more rows than this.
MOST_IDS = 1 << 31
#: Seconds that the library takes for each byte of text.
BYTE_COST = 0.4e-6
#: Texts of which fewer are always given to the library as they are.
FEW = 8
#: Longer chunks are not kept.
LONGEST_CHUNK = 128
#: How many chunks are kept (with 16 bytes and 4 ids for each); then the table begins again.
MOST_CHUNKS = 1 << 18
#: With more added tokens to watch for, texts go to the library whole.
MOST_WATCHED = 1000
#: Texts that one thread looks at in one go.
PIECE = 512


# -- tokens --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tokens:
    """What a tokenizer.json says of its tokens.

    by_id: token of each id (several tokens of one id: the first). names: how many different tokens there are.
    unknown: id of the unknown token, or None. median: length of the tokens in characters, the median, rounded down.
    """

    by_id: dict[int, str]
    names: int
    unknown: int | None
    median: int
    spec: dict[str, Any] = field(repr=False)

    @property
    def size(self) -> int:
        """One more than the largest id."""
        return max(self.by_id, default=-1) + 1


def read_tokens(data: bytes, path: str) -> Tokens:
    """Return the tokens of a tokenizer.json; `path` is what an error names. Raises FormatError."""
    spec = parse_json(data, path)
    model = _object(_object(spec, "a tokenizer", path).get("model"), "the model of the tokenizer", path)
    vocab = model.get("vocab")
    ids = dict(_listed(vocab, path) if isinstance(vocab, list) else _numbered(vocab, path))
    count = len(vocab) if isinstance(vocab, list) else len(ids)
    by_id = {i: piece for i, (piece, _) in enumerate(vocab)} if isinstance(vocab, list) else {}
    _add_tokens(spec.get("added_tokens"), ids, count, path)
    for token, number in ids.items():
        by_id.setdefault(number, token)
    lengths = sorted(map(len, ids))
    half = len(lengths) // 2
    median = 0 if not lengths else (lengths[half] + lengths[~half]) // 2
    return Tokens(by_id, len(ids), _unknown(model, ids, path), median, {**spec, "model": _without(model)})


def _without(model: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a tokenizer's model without what is long."""
    return {key: value for key, value in model.items() if key not in ("vocab", "merges")}


def _object(value: Any, what: str, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FormatError(path, what, expected="a JSON object", found=ascii(value)[:40])
    return value


def _numbered(vocab: Any, path: str) -> Iterator[tuple[str, int]]:
    """Yield the tokens of WordPiece, BPE and WordLevel models: an object of token -> id."""
    for token, number in _object(vocab, "the vocabulary of the tokenizer", path).items():
        if type(number) is not int or not 0 <= number < MOST_IDS:
            raise FormatError(
                path,
                f"the id of the token {ascii(token)[:60]}",
                expected=f"an integer from 0 to {MOST_IDS - 1}",
                found=ascii(number)[:40],
            )
        yield token, number


def _listed(vocab: list[Any], path: str) -> Iterator[tuple[str, int]]:
    """Yield the tokens of a Unigram model: a list of [token, score]; the id is the place."""
    for number, item in enumerate(vocab):
        if (
            not isinstance(item, list)
            or len(item) != 2
            or type(item[0]) is not str
            or type(item[1]) not in (int, float)
        ):
            raise FormatError(
                path,
                f"entry {number} of the tokenizer's vocabulary",
                expected="[token, score]",
                found=ascii(item)[:40],
            )
        yield item[0], number


def _add_tokens(added: Any, ids: dict[str, int], count: int, path: str) -> None:
    """Give the added tokens their ids as the library does: that of the model's token, else the next free number.

    (The `id` that the file gives is not asked; where it differs the library prints a warning.)
    """
    if added is None:
        return
    if not isinstance(added, list):
        raise FormatError(path, "the added tokens", expected="a list", found=ascii(added)[:40])
    following = count
    for place, item in enumerate(added):
        content = item.get("content") if isinstance(item, dict) else None
        if type(content) is not str or type(item.get("id")) is not int:
            raise FormatError(
                path, f"added token {place}", expected="an object with content and id", found=ascii(item)[:60]
            )
        if not content:
            continue
        known = ids.get(content)
        if known is None:
            ids[content] = known = following
        following = max(following, known + 1)


def _unknown(model: dict[str, Any], ids: dict[str, int], path: str) -> int | None:
    """Return the id of the unknown token as model2vec finds it, or None."""
    if isinstance(model.get("vocab"), list):
        number = model.get("unk_id")
        if number is not None and (type(number) is not int or not 0 <= number < len(model["vocab"])):
            raise FormatError(
                path,
                "unk_id of the tokenizer",
                expected=f"0 to {len(model['vocab']) - 1}",
                found=ascii(number)[:40],
            )
        return number
    token = model.get("unk_token")
    if token is not None and type(token) is not str:
        raise FormatError(
            path, "unk_token of the tokenizer", expected="a string or null", found=ascii(token)[:40]
        )
    return None if token is None else ids.get(token)


def write_word_level(words: Iterator[list[str]], unknown: str, write: Callable[[bytes], Any]) -> None:
    """Write a tokenizer.json whose tokens are whole words, in the order of their ids; `unknown` is the last one.

    Texts are split where C splits them: at space, tab, line feed, vertical tab, form feed and carriage return.
    """
    head: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": WHITE_SPACE,
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "unk_token": unknown, "vocab": {}},
    }
    text = json.dumps(head, ensure_ascii=False, separators=(",", ":"))
    write(text[: text.rindex("{}") + 1].encode())
    place = 0
    for block in words:
        parts = [
            f"{json.dumps(word, ensure_ascii=False)}:{number}" for number, word in enumerate(block, place)
        ]
        if parts:
            write((("," if place else "") + ",".join(parts)).encode("utf-8"))
        place += len(block)
    write(
        (("," if place else "") + f"{json.dumps(unknown, ensure_ascii=False)}:{place}}}}}}}").encode("utf-8")
    )


#: The pre-tokenizer that `write_word_level` names.
WHITE_SPACE = {
    "type": "Split",
    "pattern": {"Regex": "[\\t-\\r ]+"},
    "behavior": "Removed",
    "invert": False,
}


# -- which tokenizers can be asked chunk by chunk --------------------------------------------------------------------


@dataclass(frozen=True)
class ChunkRule:
    """How texts may be cut into chunks whose ids, put one behind the other, are those of the text.

    spaces: the bytes that part chunks. runs: whether several of them in a row, or at the ends of a text, are as one;
    else such a text must go to the library whole. letters: only chunks of letters, digits and ASCII may be kept alone.
    tokens: added tokens that show what stands around them: a text that holds one must go to the library whole.
    """

    spaces: bytes
    runs: bool
    letters: bool
    tokens: tuple[str, ...] = ()

    def is_safe(self, chunk: str) -> bool:
        """Say whether the chunk has the same ids alone as in any text."""
        if self.letters and not all("!" <= c <= "~" or c.isalnum() for c in chunk):
            return False
        return not any(token in chunk for token in self.tokens)


#: Pre-tokenizers that look at nothing beyond a piece that holds no white space.
_LOCAL = {"Punctuation", "Digits", "UnicodeScripts"}
#: Normalizers that change each character, or base and its marks, alone.
_BY_CHARACTER = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "Precompiled"}
_SPACE_RUNS = re.compile(r"(?: |\\s)(?:\{2,\}|\+)")


def chunk_rule(spec: dict[str, Any]) -> ChunkRule | None:
    """Return how texts may be cut for this tokenizer, or None where only whole texts are safe.

    Known: BERT's (normaliser, pre-tokenizer), splitting at white space, and sentencepiece's marks in front of words.
    """
    try:
        return _chunk_rule(spec)
    except (AttributeError, KeyError, TypeError):  # not of a shape that is known
        return None


def _chunk_rule(spec: dict[str, Any]) -> ChunkRule | None:
    if spec["model"].get("dropout"):
        return None
    normalizers = _sequence(spec.get("normalizer"), "normalizers")
    splitters = _sequence(spec.get("pre_tokenizer"), "pretokenizers")
    if not splitters:
        return None
    bert = [n["type"] for n in normalizers] == ["BertNormalizer"]
    if not bert and not all(_is_known(n) for n in normalizers):
        return None
    added = spec.get("added_tokens") or []
    if not all(_is_plain_token(token, bool(normalizers)) for token in added):
        return None
    first, rest = splitters[0], splitters[1:]
    marked = [s for s in rest if s["type"] == "Metaspace"]
    if not all(s["type"] in _LOCAL or s in marked for s in rest):
        return None
    if any(not _split(s) or _scheme(s) not in ("always", "never") for s in marked):
        return None
    if first["type"] in ("BertPreTokenizer", "WhitespaceSplit", "Whitespace") or first == WHITE_SPACE:
        if normalizers and not bert:
            return ChunkRule(b" ", True, True)
        return ChunkRule(b" \t\n\r", True, False)
    if first["type"] == "Metaspace" and not rest and _split(first) and _scheme(first) in ("always", "first"):
        if first.get("replacement") != "\u2581" or len(added) > MOST_WATCHED:
            return None
        if normalizers and any(token.get("normalized") for token in added):
            return None
        return ChunkRule(b" ", False, True, tuple(token["content"] for token in added))
    return None


def _sequence(value: Any, key: str) -> list[dict[str, Any]]:
    """Return the steps of a normaliser or pre-tokenizer."""
    if value is None:
        return []
    if value["type"] != "Sequence":
        return [value]
    return [step for item in value[key] for step in _sequence(item, key)]


def _is_known(normalizer: dict[str, Any]) -> bool:
    kind = normalizer["type"]
    if kind == "Replace":  # several spaces become one
        pattern = normalizer["pattern"].get("Regex")
        return normalizer["content"] == " " and pattern is not None and bool(_SPACE_RUNS.fullmatch(pattern))
    return kind in _BY_CHARACTER or kind == "Strip"


def _split(metaspace: dict[str, Any]) -> bool:
    return metaspace.get("split") is not False


def _scheme(metaspace: dict[str, Any]) -> str:
    if "prepend_scheme" in metaspace:
        return str(metaspace["prepend_scheme"])
    return "always" if metaspace.get("add_prefix_space", True) else "never"


def _is_plain_token(token: dict[str, Any], normalised: bool) -> bool:
    """Say whether an added token is found in a chunk alone just where it is found in a text."""
    content = token["content"]
    if not content or any(c.isspace() for c in content):
        return False
    return not (token.get("normalized") and normalised) or content.isascii()


@dataclass(frozen=True)
class WordPieces:
    """BERT's cutting of words of plain ASCII, which compiled code can do: what `kernels.tokens.cut_words` is given.

    avoid: bytes that added tokens begin with; a chunk that holds one is left to the library. pieces: id by name.
    """

    avoid: Array
    lower: bool
    prefix: bytes
    unknown: int
    longest_word: int
    pieces: dict[bytes, int]


def word_pieces(spec: dict[str, Any]) -> WordPieces | None:
    """Return how a tokenizer cuts words if it is BERT's, else None."""
    try:
        return _word_pieces(spec)
    except (AttributeError, KeyError, TypeError):
        return None


def _word_pieces(spec: dict[str, Any]) -> WordPieces | None:
    model, normalizer = spec["model"], spec.get("normalizer")
    if model["type"] != "WordPiece" or spec["pre_tokenizer"] != {"type": "BertPreTokenizer"}:
        return None
    if normalizer is not None and normalizer["type"] != "BertNormalizer":
        return None
    prefix, longest = model["continuing_subword_prefix"], model["max_input_chars_per_word"]
    vocab, unknown = model["vocab"], model["vocab"].get(model["unk_token"])
    if unknown is None or type(longest) is not int or not prefix.isascii():
        return None
    avoid = np.zeros(256, np.bool_)
    for token in spec.get("added_tokens") or ():
        first = token["content"][:1]
        for c in {first, first.lower(), first.upper()}:
            if len(c) == 1 and c.isascii():
                avoid[ord(c)] = True
    pieces = {token.encode(): number for token, number in vocab.items() if token.isascii() and token}
    lower = normalizer is not None and normalizer["lowercase"]
    return WordPieces(avoid, bool(lower), prefix.encode(), unknown, min(longest, 1 << 30), pieces)


# -- ids -----------------------------------------------------------------------------------------------------------


class Tokenizer:
    """Texts to ids by a tokenizer.json, which is read when it is first needed.

    read: gives its bytes. truncate: whether the file's own truncation counts (it does not in model2vec).
    """

    def __init__(self, read: Callable[[], bytes], path: str, *, truncate: bool = False) -> None:
        self.read, self.path, self.truncate = read, path, truncate
        self._library: Any = None
        self._lock = _threads.Lock()
        self._table: ChunkTable | None = None
        self._most: int | None = None

    def ids(self, texts: list[str], threads: int | None = None) -> Ids:
        """Return the ids of the texts (without special tokens), all in one array, and where each text's begin."""
        self._load()
        cost = sum(map(len, texts)) * BYTE_COST
        if self._table is None or len(texts) < FEW or not _effort.kernels_due(cost):
            ids, bounds = _flat(self._ask(texts))
        else:
            ids, bounds = self._table.ids(texts, self._ask, threads)
        return (ids, bounds) if self._most is None else first_of_each(ids, bounds, self._most)

    def _ask(self, texts: list[str]) -> list[list[int]]:
        """Return what the library says of each text."""
        try:
            return [found.ids for found in self._load().encode_batch_fast(texts, add_special_tokens=False)]
        except BaseException as error:
            raise self._clean(error) from None

    def _load(self) -> Any:
        if self._library is None:
            with self._lock:
                if self._library is None:
                    self._prepare()
        return self._library

    def _prepare(self) -> None:
        try:
            import tokenizers
        except ImportError:
            raise VecioError(
                f"{self.path}: turning texts into tokens needs the package tokenizers: "
                "pip install 'vecio[tokenizers]'"
            ) from None
        data = self.read()
        spec = parse_json(data, self.path)
        try:
            library = tokenizers.Tokenizer.from_buffer(data)
            library.no_padding()
            if not self.truncate:
                library.no_truncation()
        except BaseException as error:
            raise self._clean(error) from None
        self._most, known = (None, True) if not self.truncate else _truncation(spec)
        if self._most is not None:
            library.no_truncation()
        rule = None
        if known and isinstance(spec, dict) and isinstance(spec.get("model"), dict):
            rule = chunk_rule({**spec, "model": _without(spec["model"])})
        self._table = None if rule is None else ChunkTable(rule, word_pieces(spec))
        self._library = library

    def _clean(self, error: BaseException) -> BaseException:
        """Return the error to raise for one of the library (whose panics are no Exception)."""
        panic = type(error).__name__ == "PanicException"
        if not panic and (not isinstance(error, Exception) or isinstance(error, (MemoryError, VecioError))):
            return error
        return FormatError(self.path, "the package tokenizers refuses it", found=ascii(str(error))[:160])


def _truncation(spec: Any) -> tuple[int | None, bool]:
    """Return after how many ids a tokenizer.json cuts a text, and whether that is all that it says about cutting."""
    cut = spec.get("truncation") if isinstance(spec, dict) else None
    if cut is None:
        return None, True
    if not isinstance(cut, dict) or type(cut.get("max_length")) is not int or cut["max_length"] < 1:
        return None, False
    plain = cut.get("direction") == "Right" and cut.get("strategy") in ("LongestFirst", "OnlyFirst")
    return (cut["max_length"], True) if plain else (None, False)


def first_of_each(ids: Array, bounds: Array, most: int) -> Ids:
    """Return the first `most` ids of each text."""
    lengths = np.diff(bounds)
    if not len(lengths) or int(lengths.max()) <= most:
        return ids, bounds
    kept = ids[np.arange(len(ids)) - np.repeat(bounds[:-1], lengths) < most]
    starts = np.zeros(len(bounds), np.int64)
    np.cumsum(np.minimum(lengths, most), out=starts[1:])
    return kept, starts


def _flat(lists: list[list[int]]) -> Ids:
    bounds = np.zeros(len(lists) + 1, np.int64)
    np.cumsum([len(ids) for ids in lists], out=bounds[1:])
    flat = np.fromiter(chain.from_iterable(lists), np.int64, int(bounds[-1]))
    return flat, bounds


class ChunkTable:
    """Chunks of text and the ids that the library gave them; compiled code looks them up without a lock.

    Entries are only added. A kernel gets the arrays and the number of entries that were whole at that time; it takes
    later ones for missing. When the table must grow, or is full and begins again, new arrays take the old ones' place.
    """

    def __init__(self, rule: ChunkRule, words: WordPieces | None = None) -> None:
        self.rule, self.words = rule, words
        self._pieces: tuple[tuple[Array, ...], int] | None = None
        self._lock = _threads.Lock()
        #: how often it began again, its arrays (see kernels/tokens.py), its entries
        self._state: tuple[int, tuple[Array, ...], int] = 0, _table(1 << 12), 0

    def ids(self, texts: list[str], ask: Ask, threads: int | None) -> Ids:
        """Return the ids of the texts; `ask` is the library."""
        from .kernels import tokens as kernels

        blob, bounds = _packed(texts)
        n = len(texts)
        places = (bounds >> 1) + np.arange(n + 1)  # a text of L bytes has at most (L + 1) / 2 chunks
        entries = np.empty(int(places[-1]), np.int64)
        counts = np.zeros(n, np.int64)
        todo = np.ones(n, np.bool_)
        spaces = np.zeros(256, np.bool_)
        spaces[list(self.rule.spaces)] = True
        find: Any = kernels.find_chunks

        def look(last: bool) -> tuple[int, tuple[Array, ...], int]:
            state = _, table, known = self._state

            def work(a: int, b: int) -> None:
                find(
                    blob,
                    bounds,
                    a,
                    b,
                    todo,
                    spaces,
                    self.rule.runs,
                    LONGEST_CHUNK,
                    table,
                    known,
                    places,
                    entries,
                    counts,
                    last,
                )

            _threads.run_chunks(work, n, PIECE, threads)
            return state

        began, table, _ = look(last=False)
        missing = kernels.count_missing(entries, places, counts, todo)
        if missing:
            chunks = np.empty((missing, 2), np.int64)
            kernels.list_missing(blob, bounds, spaces, entries, places, counts, chunks)
            if self.words is not None:
                chunks = chunks[self._cut(blob, chunks)]
            self._learn({bytes(blob[a:b]): None for a, b in chunks.tolist()}, ask)
            if self._state[0] != began:  # entries have other numbers now
                todo[:] = True
            again, table, _ = look(last=True)
            if again != began and not todo.all():  # another thread made it begin again in between
                todo[:] = True
                table = look(last=True)[1]
        return _gather(texts, ask, counts, places, entries, table)

    def _learn(self, chunks: dict[bytes, None], ask: Ask) -> None:
        """Ask the library about chunks and keep what it says, or that it must see their texts whole."""
        from .kernels import tokens as kernels

        keys = list(chunks)
        if not keys:
            return
        texts = [key.decode("utf-8") for key in keys]
        alone = [self.rule.is_safe(text) for text in texts]
        answers = iter(ask([text for text, safe in zip(texts, alone, strict=True) if safe]))
        ids, id_bounds = _flat([next(answers) if safe else [] for safe in alone])
        blob, bounds = _joined(keys)
        flags = np.array([not safe for safe in alone], np.uint8)
        add: Any = kernels.add_chunks
        self._extend(
            lambda done, table, known: add(blob, bounds, ids, id_bounds, flags, done, table, known), len(keys)
        )

    def _cut(self, blob: Array, chunks: Array) -> Array:
        """Cut chunks of plain ASCII by compiled code; return which ones (n, bool) are left to the library."""
        from .kernels import tokens as kernels

        words = self.words
        assert words is not None
        if self._pieces is None:
            self._pieces = _piece_table(words.pieces)
        pieces, known = self._pieces
        longest = max(map(len, words.pieces), default=0)
        numbers = np.array([words.unknown, words.longest_word, longest], np.int64)
        prefix = np.frombuffer(words.prefix, np.uint8)
        rest = np.zeros(len(chunks), np.bool_)
        cut: Any = kernels.cut_words

        def work(done: int, table: Any, there: int) -> Any:
            fixed = words.avoid, words.lower, prefix, numbers, pieces, known
            return cut(blob, chunks, done, rest, *fixed, table, there)

        self._extend(work, len(chunks))
        return rest

    def _extend(self, add: Callable[[int, Any, int], tuple[int, int]], count: int) -> None:
        """Have `add(first, table, known)` add `count` things, and make room when it stops before the last."""
        with self._lock:
            began, table, known = self._state
            known, done = add(0, table, known)
            while done < count:
                if 2 * len(table[1]) <= MOST_CHUNKS:
                    table = _grown(table, known)
                elif known and began == self._state[0]:
                    began, table, known, done = began + 1, _table(len(table[1])), 0, 0
                else:
                    break  # more than it can ever hold: those texts go to the library
                known, done = add(done, table, known)
            self._state = began, table, known


def _piece_table(pieces: dict[bytes, int]) -> tuple[tuple[Array, ...], int]:
    """Return a table of the pieces of words, with one id for each, and how many there are."""
    from .kernels import tokens as kernels

    size = 1 << max(4, (len(pieces) - 1).bit_length())
    blob, bounds = _joined(list(pieces))
    while 16 * size < len(blob):
        size *= 2
    table = _table(size)
    n = len(pieces)
    ids = np.fromiter(pieces.values(), np.int64, n)
    add: Any = kernels.add_chunks
    add(blob, bounds, ids, np.arange(n + 1), np.zeros(n, np.uint8), 0, table, 0)
    return table, n


#: What the library says of each text.
Ask = Callable[[list[str]], list[list[int]]]


def _table(size: int) -> tuple[Array, ...]:
    """Return the arrays of an empty table for `size` entries, with 16 bytes and 4 ids for each."""
    return (
        np.zeros(2 * size, np.int32),
        np.zeros(size, np.uint64),
        np.zeros(size + 1, np.int64),
        np.zeros(16 * size, np.uint8),
        np.zeros(size + 1, np.int64),
        np.zeros(4 * size, np.int32),
        np.zeros(size, np.uint8),
    )


def _grown(table: tuple[Array, ...], known: int) -> tuple[Array, ...]:
    """Return the arrays of a table with the same entries and twice the room."""
    from .kernels import tokens as kernels

    new = _table(2 * len(table[1]))
    for old, array in zip(table[1:], new[1:], strict=True):
        array[: len(old)] = old
    kernels.place_all(new[0], new[1], known)
    return new


def _packed(texts: list[str]) -> tuple[Array, Array]:
    """Return the bytes of the texts, one behind the other, and where each begins."""
    return _joined([text.encode("utf-8") for text in texts])


def _joined(keys: list[bytes]) -> tuple[Array, Array]:
    bounds = np.zeros(len(keys) + 1, np.int64)
    np.cumsum([len(key) for key in keys], out=bounds[1:])
    return np.frombuffer(b"".join(keys), np.uint8), bounds


def _gather(texts: list[str], ask: Ask, counts: Array, places: Array, entries: Array, table: Any) -> Ids:
    """Return the ids of all texts: those of their chunks, or the library's for the whole text."""
    from .kernels import tokens as kernels

    whole = np.flatnonzero(counts < 0).tolist()
    answers = ask([texts[i] for i in whole]) if whole else []
    lengths = np.zeros(len(texts), np.int64)
    kernels.count_ids(entries, places, counts, table[4], lengths)
    lengths[whole] = [len(answer) for answer in answers]
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    ids = np.empty(int(starts[-1]), np.int64)
    kernels.spread_ids(entries, places, counts, table[4], table[5], starts, ids)
    for i, answer in zip(whole, answers, strict=True):
        ids[starts[i] : starts[i + 1]] = answer
    return ids, starts
