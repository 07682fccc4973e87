"""spaCy's folders of vectors: a mapped table, its keys, and the strings behind them. Bytes: `specs/spacy.md`.

In default mode a word is a string whose key leads to a row; several words may share one. In floret mode there are no
words: every vector is the mean of rows of the table. A folder of a whole pipeline is served from its `vocab` folder.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _msgpack, _npy, _spacy_keys
from .._binary import Folder, MappedFile, atomic_folder
from ..embeddings import Embeddings, Parts
from ..errors import FormatError, UnsupportedError
from ..matrix import Converted, Float16, Float32, Gathered, Matrix, Scattered
from ..subwords import FLORET_SEED, Subwords
from ..vocabulary import Vocabulary, pack
from .base import (
    SETTINGS,
    UNKNOWN,
    WORDS,
    Fate,
    Format,
    Progress,
    Written,
    json_value,
    plain_dtype,
    row_blocks,
    vector_blocks,
)
from .base import fate as common_fate

Array = npt.NDArray[Any]

#: spaCy's number for the text of a token itself, the attribute that vectors usually hang on.
ORTH = 65
#: Settings of floret mode that are numbers, and the least that each may be.
NUMBERS = {"minn": 0, "maxn": 0, "hash_count": 1, "hash_seed": 0}
#: Words up to which the strings are written in order; a list of more is not worth its memory.
MOST_SORTED = 2_000_000

#: Strings of a JSON list, each with its comma.
_ITEMS = re.compile(rb'(?:[ \t\r\n]*"[^"\\\x00-\x1f]*(?:\\[^\x00-\x1f][^"\\\x00-\x1f]*)*"[ \t\r\n]*,)+')
#: Bytes of strings that are read at a time; a string of more bytes than that is read alone, up to a limit.
WINDOW, LONGEST = 1 << 20, 16 << 20
_OPEN = re.compile(rb"[ \t\r\n]*\[(?:[ \t\r\n]*(\]))?")
_SPACE = re.compile(rb"[ \t\r\n]*")


def detect(folder: Folder) -> str | None:
    """Return None for a folder of vectors, or a pipeline that has one; else why it is none."""
    return None if _place(folder) is not None else "has no file 'vectors' beside 'key2row' or 'vectors.cfg'"


def _place(folder: Folder) -> str | None:
    """Return what stands before the names of the files: "" or "vocab/"."""
    for place in ("", "vocab/"):
        if f"{place}vectors" in folder and any(
            f"{place}{name}" in folder for name in ("key2row", "vectors.cfg", "keys")
        ):
            return place
    return None


# -- reading -------------------------------------------------------------------------------------------------------


def read(folder: Folder) -> Embeddings:
    """Open a folder of vectors in place. Raises FormatError where its files contradict each other."""
    place = _place(folder)
    if place is None:
        raise FormatError(folder.path, "not a folder of spaCy vectors", expected="vectors and key2row")
    settings = _settings(folder, place)
    table = _table(folder.file(f"{place}vectors"))
    if settings["mode"] == "floret":
        return _floret(folder, table, settings)
    return _default(folder, place, table)


def _settings(folder: Folder, place: str) -> dict[str, Any]:
    """Return the settings of `vectors.cfg`, checked; older folders have none and are in default mode."""
    if f"{place}vectors.cfg" not in folder:
        return {"mode": "default"}
    file = folder.file(f"{place}vectors.cfg")
    found = json_value(file, 1 << 20)
    if not isinstance(found, dict):
        raise FormatError(
            file.path,
            "not the settings of vectors",
            offset=0,
            expected="an object",
            found=type(found).__name__,
        )
    mode = found.get("mode", "default")
    if mode not in ("default", "floret"):
        raise FormatError(
            file.path,
            "an unknown mode of vectors",
            offset=0,
            expected="default or floret",
            found=ascii(mode)[:60],
        )
    if mode == "default":
        return {"mode": mode}
    chosen: dict[str, Any] = {"mode": mode}
    for name, least in NUMBERS.items():
        value = found.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 1 << 32:
            raise FormatError(
                file.path,
                f"impossible {name}",
                offset=0,
                expected=f"a number of at least {least}",
                found=ascii(value)[:60],
            )
        chosen[name] = value
    if chosen["hash_count"] > 4:
        raise FormatError(
            file.path, "impossible hash_count", offset=0, expected="1 to 4", found=chosen["hash_count"]
        )
    if chosen["hash_seed"] != FLORET_SEED:
        raise UnsupportedError(f"{file.path}: hash_seed {chosen['hash_seed']} is not floret's {FLORET_SEED}")
    for name, usual in (("bow", "<"), ("eow", ">")):
        value = found.get(name, usual)
        if not isinstance(value, str):
            raise FormatError(
                file.path, f"impossible {name}", offset=0, expected="a string", found=ascii(value)[:60]
            )
        chosen[name] = value
    chosen["attr"] = found.get("attr", ORTH)
    return chosen


def _table(file: MappedFile) -> Matrix:
    """Return the table of vectors where it lies."""
    values = _npy.array(file, 0, "the table of vectors")
    if values.ndim != 2 or values.dtype.kind not in "fiub":
        raise FormatError(
            file.path,
            "not a table of vectors",
            offset=0,
            expected="numbers in two dimensions",
            found=f"{values.dtype} of shape {values.shape}",
        )
    if values.shape[0] < 1 or values.shape[1] < 1:
        raise FormatError(
            file.path,
            "the table of vectors is empty",
            offset=0,
            expected="at least 1 row and 1 column",
            found=f"{values.shape[0]} x {values.shape[1]}",
        )
    if values.flags.c_contiguous and values.dtype == np.dtype("<f4"):
        return Float32(values)
    if values.flags.c_contiguous and values.dtype == np.dtype("<f2"):
        return Float16(values)
    if values.dtype == np.uint16:  # `Converted` takes these for bfloat16
        raise UnsupportedError(f"{file.path}: a table of dtype {values.dtype} is not served")
    return Converted(values)


def _floret(folder: Folder, table: Matrix, settings: dict[str, Any]) -> Embeddings:
    subwords = Subwords(
        settings["minn"],
        settings["maxn"],
        len(table),
        "spacy",
        settings["hash_count"],
        begin=settings["bow"].encode("utf-8", "surrogatepass"),
        end=settings["eow"].encode("utf-8", "surrogatepass"),
    )
    return Embeddings(
        Parts(
            Vocabulary.from_words([]),
            table.part(0, 0),
            NAME,
            file=folder,
            grams=table,
            subwords=subwords,
            metadata=settings,
        )
    )


def _default(folder: Folder, place: str, table: Matrix) -> Embeddings:
    keys, rows = _keys(folder, place, len(table))
    if f"{place}strings.json" in folder:
        blob, offsets = read_strings(folder.file(f"{place}strings.json"))
    else:
        blob, offsets = np.empty(0, np.uint8), np.zeros(1, np.int64)
    vocabulary, ids, named = _words(blob, offsets, keys, rows)
    unnamed = ~named
    grams, subwords = None, None
    if unnamed.any():
        order = np.argsort(keys[unnamed])
        known = _spacy_keys.KeyTable(keys[unnamed][order], rows[unnamed][order], len(table))
        grams = table
        subwords = Subwords(1, 1, len(table), "spacy-keys", begin=b"", end=b"", table=known)
    return Embeddings(
        Parts(
            vocabulary,
            _gathered(folder.file(f"{place}vectors"), table, ids),
            NAME,
            file=folder,
            grams=grams,
            subwords=subwords,
            metadata={
                "mode": "default",
                "rows": len(table),
                "keys": len(keys),
                "keys_without_string": int(np.count_nonzero(unnamed)),
            },
        )
    )


def _gathered(file: MappedFile, table: Matrix, ids: Array) -> Matrix:
    """Return the rows `ids` of the table: the table itself where that is what they are."""
    if np.array_equal(ids, np.arange(len(ids))):
        return table.part(0, len(ids))
    if isinstance(table, Float32):
        begin = _npy.read_header(file)[3]
        return Scattered(np.frombuffer(file.map, np.uint8), begin + 4 * table.shape[1] * ids, table.shape[1])
    return Gathered(table, ids)


def _keys(folder: Folder, place: str, height: int) -> tuple[Array, Array]:
    """Return the keys (uint64, each once) and the row of each (int64), in the file's order."""
    if f"{place}key2row" in folder:
        file = folder.file(f"{place}key2row")
        keys, rows = _msgpack.read_map(file)
        if len(rows) and int(rows.max()) >= height:
            i = int(np.argmax(rows >= height))
            raise FormatError(
                file.path,
                f"key {int(keys[i])} (pair {i}) leads to a row that is not there",
                offset=0,
                expected=f"0 to {height - 1}",
                found=int(rows[i]),
            )
    elif f"{place}keys" in folder:
        file = folder.file(f"{place}keys")
        stored = _npy.array(file, 0, "the keys")
        if stored.ndim != 1 or stored.dtype.kind not in "iu" or stored.dtype.itemsize != 8:
            raise FormatError(
                file.path,
                "not a list of keys",
                offset=0,
                expected="64-bit numbers in one dimension",
                found=f"{stored.dtype} of shape {stored.shape}",
            )
        if len(stored) > height:
            raise FormatError(
                file.path,
                "more keys than rows",
                offset=0,
                expected=f"at most {height}",
                found=len(stored),
            )
        keys, rows = _msgpack.last_of_equal(stored.astype(np.uint64), np.arange(len(stored)))
    else:
        raise FormatError(folder.path, "no keys beside the vectors", expected="a file key2row")
    if not len(keys):
        raise FormatError(file.path, "no keys: nothing leads to a row", offset=0, expected="at least 1 key")
    return keys, rows


def read_strings(file: MappedFile) -> tuple[Array, Array]:
    """Return the strings of `strings.json` as UTF-8: string i is `blob[offsets[i] : offsets[i + 1]]`.

    Strict JSON: a list of strings and nothing else. Read piece by piece, so that memory follows the file's size.
    """
    data = file.map
    opened = _OPEN.match(data)
    if opened is None:
        raise FormatError(file.path, "not a list of strings", offset=0, expected="[", found=repr(data[:20]))
    place, last = opened.end(), opened[1]
    pieces, sizes = [np.empty(0, np.uint8)], [np.empty(0, np.int64)]
    while last != b"]":
        run = _ITEMS.match(data, place, min(place + WINDOW, file.size))
        stop = run.end() - 1 if run else _string_end(data, place)  # in front of the comma or bracket
        if stop < 0 or stop - place > LONGEST:
            raise _broken(file, sizes, place, ascii(data[place : place + 40]))
        try:
            strings = json.loads(f"[{data[place:stop].decode('utf-8')}]")
        except ValueError as error:
            raise _broken(file, sizes, place, ascii(str(error))[:80]) from None
        blob, offsets, gap = pack(strings)
        if gap:
            blob = blob[blob != 0]
        pieces.append(blob)
        sizes.append(np.diff(offsets) - gap)
        place, last = stop + 1, data[stop : stop + 1]
    end = _SPACE.match(data, place)
    assert end is not None
    if end.end() != file.size:
        raise FormatError(
            file.path,
            "something follows the list of strings",
            offset=end.end(),
            expected="the end of the file",
        )
    bounds = np.zeros(1 + sum(map(len, sizes)), np.int64)
    np.cumsum(np.concatenate(sizes), out=bounds[1:])
    return np.concatenate(pieces), bounds


def _string_end(data: Any, place: int) -> int:
    """Return where the comma or bracket behind one string stands, or -1 where there is none."""
    limit = place + LONGEST
    quote = data.find(b'"', place, limit)
    if quote < 0 or data[place:quote].strip(b" \t\r\n"):
        return -1
    rest = (
        data[quote + 1 : limit].replace(rb"\\", b"  ").replace(rb"\"", b"  ")
    )  # from here on a quote is one
    length = rest.find(b'"')
    if length < 0:
        return -1
    space = _SPACE.match(data, quote + 1 + length + 1)
    assert space is not None
    return space.end() if data[space.end() : space.end() + 1] in (b",", b"]") else -1


def _broken(file: MappedFile, sizes: list[Array], place: int, found: str) -> FormatError:
    count = sum(map(len, sizes))
    return FormatError(
        file.path,
        f"a string is broken, the first {count} are good",
        offset=place,
        expected="strings in JSON",
        found=found,
    )


def _words(blob: Array, offsets: Array, keys: Array, rows: Array) -> tuple[Vocabulary, Array, Array]:
    """Return the words in the order of their rows, the row of each, and which of the keys have a word.

    Words on the same row come in the order of their keys in the file.
    """
    order = np.argsort(keys)
    hashes = _spacy_keys.keys(blob, offsets)
    places = np.minimum(np.searchsorted(keys[order], hashes), len(keys) - 1)
    pairs = order[places]  # which pair of the file belongs to each string
    strings = np.flatnonzero((keys[pairs] == hashes) & (hashes >= len(_spacy_keys.NUMBERS)))
    pairs = pairs[strings]
    # built-in names are not among the strings
    small = np.flatnonzero(keys < len(_spacy_keys.NUMBERS))
    names = (b"", *_spacy_keys.NAMES)
    extra = [names[int(keys[i])] for i in small.tolist()]
    bounds = np.concatenate([offsets[:-1][strings], len(blob) + np.cumsum([0, *map(len, extra)])[:-1]])
    lengths = np.concatenate([np.diff(offsets)[strings], np.array([len(name) for name in extra], np.int64)])
    whole = np.concatenate([blob, np.frombuffer(b"".join(extra), np.uint8)])
    pairs = np.concatenate([pairs, small])
    sequence = np.lexsort((np.arange(len(pairs)), pairs, rows[pairs]))
    pairs, bounds, lengths = pairs[sequence], bounds[sequence], lengths[sequence]
    once = _first_of_each(whole, bounds, lengths, pairs)
    pairs, bounds, lengths = pairs[once], bounds[once], lengths[once]
    named = np.zeros(len(keys), np.bool_)
    named[pairs] = True
    packed, ends = _pack(whole, bounds, lengths)
    return Vocabulary(len(ends) - 1, len(ends) - 1, arrays=(packed, ends, 0)), rows[pairs], named


def _first_of_each(blob: Array, starts: Array, lengths: Array, pairs: Array) -> Array:
    """Return which strings to keep: those with the same key stand together, and a string that comes again goes."""
    keep = np.ones(len(pairs), np.bool_)
    data, last, seen = blob.data, -2, set[bytes]()
    again = np.flatnonzero(pairs[1:] == pairs[:-1]) + 1
    for block in range(0, len(again), 1 << 16):
        some = again[block : block + (1 << 16)]
        for i, start, size in zip(some.tolist(), starts[some].tolist(), lengths[some].tolist(), strict=True):
            if last != i - 1:
                seen = {bytes(data[starts[i - 1] : starts[i - 1] + lengths[i - 1]])}
            word = bytes(data[start : start + size])
            if word in seen:
                keep[i] = False
            seen.add(word)
            last = i
    return keep


def _pack(blob: Array, starts: Array, lengths: Array) -> tuple[Array, Array]:
    """Return the strings in this order, packed, and their bounds."""
    ends = np.zeros(len(starts) + 1, np.int64)
    np.cumsum(lengths, out=ends[1:])
    packed = np.empty(int(ends[-1]), np.uint8)
    i = 0
    while i < len(starts):  # in blocks: the positions of all bytes would take eight times their number
        stop = int(np.searchsorted(ends, ends[i] + WINDOW, "right")) - 1
        if stop <= i:  # one long string
            packed[ends[i] : ends[i + 1]] = blob[starts[i] : starts[i] + lengths[i]]
            i += 1
            continue
        part = np.repeat(starts[i:stop] - ends[i:stop], lengths[i:stop])
        packed[ends[i] : ends[stop]] = blob[part + np.arange(ends[i], ends[stop])]
        i = stop
    return packed, ends


# -- writing -------------------------------------------------------------------------------------------------------


def write(
    embeddings: Embeddings,
    path: str | os.PathLike[str],
    dtype: str | None = None,
    progress: Progress | None = None,
    mode: str | None = None,
) -> Written:
    """Write a folder of vectors that spaCy loads: `Vectors().from_disk`, or as the `vocab` folder of a pipeline.

    mode: "default" (a row for each word) or "floret" (the table of n-grams, no words); by default floret where the
    model is one.
    """
    plain_dtype(dtype)
    floret = _mode(embeddings, mode) == "floret"
    if not floret and not len(embeddings):
        raise UnsupportedError(f"{embeddings.path or 'this model'} has no words that could be written")
    keys = None if floret else _keys_of(embeddings)
    with atomic_folder(path) as folder:
        with open(os.path.join(folder, "vectors"), "wb") as stream:
            if floret:
                grams = embeddings._grams
                assert grams is not None
                stream.write(_npy.header("<f4", grams.shape))
                for _, stop, rows in row_blocks(embeddings, grams):
                    stream.write(rows.astype("<f4", copy=False).data)
                    if progress is not None:
                        progress(stop, len(grams))
            else:
                stream.write(_npy.header("<f4", (len(embeddings), embeddings.dim)))
                for _, _, rows in vector_blocks(embeddings, progress):
                    stream.write(rows.astype("<f4", copy=False).data)
        with open(os.path.join(folder, "key2row"), "wb") as stream:
            empty = np.empty(0, np.uint64)
            found = empty if keys is None else keys
            stream.writelines(_msgpack.map_pieces(found, np.arange(len(found))))
        with open(os.path.join(folder, "strings.json"), "wb") as stream:
            stream.writelines(_string_pieces(embeddings))
        with open(os.path.join(folder, "vectors.cfg"), "w", encoding="ascii") as text:
            json.dump(_config(embeddings, floret), text, indent=2, separators=(",", ":"))
    return Written("float32")


def _mode(e: Embeddings, mode: str | None) -> str:
    """Return the mode to write; UnsupportedError where the model does not have what it takes."""
    if mode not in (None, "default", "floret"):
        raise ValueError(f"mode must be default or floret, not {mode!r}")
    subwords = e._subwords
    why = None
    if subwords is None or subwords.kind not in ("floret", "floret-table", "spacy") or e._grams is None:
        why = "is no floret model"
    elif e._classifier is not None:
        why = "is a classifier"
    elif subwords.pruned is not None:
        why = "has not all rows of its table any more"
    if mode is None:
        return "default" if why else "floret"
    if mode == "floret" and why:
        raise UnsupportedError(f"{e.path or 'this model'} {why}: mode floret cannot be written")
    return mode


def _config(e: Embeddings, floret: bool) -> dict[str, Any]:
    subwords = e._subwords
    if not floret or subwords is None:
        return {"mode": "default"}
    attr = e.metadata.get("attr")
    return {
        "mode": "floret",
        "minn": subwords.minn if subwords.kind == "spacy" else max(subwords.minn, 1),
        "maxn": max(subwords.maxn, 0),
        "hash_count": subwords.hash_count,
        "hash_seed": FLORET_SEED,
        "bow": subwords.begin.decode("utf-8", "surrogatepass"),
        "eow": subwords.end.decode("utf-8", "surrogatepass"),
        "attr": attr if e.format == NAME and isinstance(attr, int) else ORTH,
    }


def _keys_of(e: Embeddings) -> Array:
    """Return the key of each word; UnsupportedError where two words have the same."""
    blob, offsets, gap, _ = e._vocabulary.walkable()
    keys = np.empty(len(e), np.uint64)
    for start in range(0, len(e), 1 << 16):
        stop = min(start + (1 << 16), len(e))
        starts = offsets[start:stop]
        keys[start:stop] = _spacy_keys.keys(
            *_pack(blob, starts, offsets[start + 1 : stop + 1] - gap - starts)
        )
    order = np.argsort(keys, kind="stable")
    same = np.flatnonzero(keys[order[1:]] == keys[order[:-1]])
    if len(same):
        first, second = order[same[0]], order[same[0] + 1]
        raise UnsupportedError(
            f"{e.path or 'this model'}: the words of rows {first} and {second} have the same key in spaCy"
        )
    return keys


def _string_pieces(e: Embeddings) -> Iterator[bytes]:
    """Yield `strings.json`: the words that are no built-in names, sorted by code point, in the style of spaCy."""
    words = sorted(e._vocabulary.entries(0, len(e))) if len(e) <= MOST_SORTED else None
    before = b"[\n  "
    for start in range(0, len(e), 1 << 14):
        stop = min(start + (1 << 14), len(e))
        some = e._vocabulary.entries(start, stop) if words is None else words[start:stop]
        texts = [word.decode("utf-8") for word in some if word not in _spacy_keys.NUMBERS]
        if texts:
            yield before + json.dumps(texts, separators=(",\n  ", ":"))[1:-1].encode("ascii")
            before = b",\n  "
    yield b"[\n\n]" if before[:1] == b"[" else b"\n]"


def refuses(word: bytes) -> str | None:
    """Say why a word cannot be written: spaCy knows words by their text, which is hashed as UTF-8."""
    try:
        word.decode("utf-8")
    except UnicodeDecodeError:
        return "it is not UTF-8"
    return None


def fate(e: Embeddings, dtype: str | None, options: Mapping[str, Any]) -> Fate:
    """Return what the folder will keep, round and lose."""
    plain_dtype(dtype)
    if _mode(e, options.get("mode")) == "default":
        return common_fate(e, "float32", (SETTINGS,) if e.format == NAME else ())
    table_alone = e.format in (NAME, "floret-text")  # all settings are those of the table
    found = common_fate(e, "float32", (UNKNOWN, SETTINGS) if table_alone else (UNKNOWN,))
    found.kept = [line for line in found.kept if not line.startswith("the words")]
    subwords = e._subwords
    assert subwords is not None
    if len(e):
        found.lost.insert(0, WORDS)
    if subwords.kind != "spacy":
        found.approximated.append("the last digit of the vectors: spaCy adds the rows in another order")
        if subwords.minn <= 1:
            found.approximated.append("all vectors: spaCy counts single brackets as n-grams, too")
    if subwords.kind == "floret" and len(e):
        found.approximated.append("the vectors of the first word and of </s>, which are made like any other")
    return found


NAME = "spacy"
FORMAT = Format(NAME, (), detect, read, write, folder=True, fate=fate, refuses=refuses, unique=True)
