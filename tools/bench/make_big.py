"""Make the big fastText models that the benchmarks read: 2,000,000 words x 300 with 2,000,000 n-gram buckets.

The two files have the exact layout of a published fastText `.bin` (7.2 GB each) and differ only in the two header
numbers that say how long the character n-grams are: `big55.bin` has 5 to 5 (as the published Common Crawl models),
`big36.bin` 3 to 6 (the program's default). Everything is made from one seed: the same arguments give the same bytes.

What the content looks like: words of natural lengths from stems and endings in several scripts (about one in five is
not ASCII), counts that fall by Zipf's law, and vectors with a topic, a stem and a noise part, so that the neighbours of
a word mean something; every row has a scale of its own.

Beside the models stand `known.txt` and `unknown.txt` (words of the vocabulary in random order; words that no
vocabulary holds, each of at least three letters so that it has n-grams) and `rare.txt` (the last words of the
vocabulary), one a line, and `big.json` with the arguments.

This is not a trained model and says nothing about quality; it is as large and as awkward as a real one.

    python tools/bench/make_big.py --dir bench-data                       # 14.5 GB of disk, about two minutes
    python tools/bench/make_big.py --dir bench-small --words 20000 --buckets 20000
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

SEED = 20
BLOCK = 50_000  # matrix rows made and written at a time: 60 MB at 300 columns
SAMPLE = 200_000  # words in known.txt and unknown.txt, at most
TOPICS = 2_000
STEMS = 150_000

# script name, share of the stems, onsets, vowels, codas, endings, prefixes
SCRIPTS = (
    (
        "english",
        0.74,
        "b c d f g h j k l m n p r s t v w b c d f g h l m n p r s t st tr pl ch sh".split(),
        "a e i o u a e i o u ea ou ai".split(),
        ["", "", "", "", "", "n", "r", "l", "s", "t", "m", "ck"],
        [
            "",
            "",
            "",
            "s",
            "ed",
            "ing",
            "er",
            "ly",
            "ness",
            "ment",
            "able",
            "tion",
            "al",
            "ity",
            "y",
            "'s",
            "ish",
            "less",
        ],
        ["un", "re", "over", "pre", "dis", "inter", "anti"],
    ),
    (
        "german",
        0.09,
        "b d f g h k l m n p r s t w z sch st br gr kl pf schl zw".split(),
        "a e i o u ä ö ü ei au ie".split(),
        ["", "", "n", "r", "l", "ß", "cht", "nd", "rt", "ng", "ch"],
        ["", "", "e", "en", "er", "es", "ung", "ungen", "heit", "lich", "keit", "chen", "isch"],
        ["ver", "be", "ge", "un", "über", "ab", "aus"],
    ),
    (
        "romance",
        0.10,
        "b c d f g l m n p r s t v ch qu tr pr cr br".split(),
        "a e i o u é è ó í ã ie io".split(),
        ["", "", "", "n", "r", "l", "s", "ç"],
        ["", "a", "o", "s", "as", "os", "ción", "ment", "mente", "ade", "são", "ées", "eux"],
        ["des", "re", "in", "con", "sub"],
    ),
    (
        "cyrillic",
        0.03,
        "б в г д ж з к л м н п р с т ф х ч ш ст пр кр".split(),
        "а е и о у ы я ю".split(),
        ["", "", "н", "р", "л", "т", "й"],
        ["", "а", "ы", "ов", "ость", "ный", "ная", "ский", "ение", "ами"],
        ["по", "на", "вы", "пере"],
    ),
    (
        "chinese",
        0.02,
        [chr(code) for code in range(0x4E00, 0x5200, 3)],
        [""],
        ["", *[chr(code) for code in range(0x5200, 0x5600, 7)]],
        ["", "", "的", "人", "国", "市", "学"],
        ["大", "小", "新"],
    ),
    (
        "other",
        0.02,
        [chr(code) for code in range(0x05D0, 0x05EA)] + [chr(code) for code in range(0x03B1, 0x03C0)],
        ["ו", "י", "α", "ο", "ε"],
        ["", "ς", "ם", "ν"],
        ["", "ים", "ות", "ος", "ων"],
        ["ה", "ב", "α"],
    ),
)


def make_stems(chance: random.Random) -> list[tuple[str, int]]:
    """Return STEMS stems as (text, number of the script), the scripts mixed."""
    stems: list[tuple[str, int]] = []
    for number, (_, share, onsets, vowels, codas, _, _) in enumerate(SCRIPTS):
        wide = len(vowels) == 1
        for _ in range(int(STEMS * share)):
            syllables = 1 if wide else chance.choice((1, 2, 2, 2))
            text = "".join(
                chance.choice(onsets) + chance.choice(vowels) + chance.choice(codas) for _ in range(syllables)
            )
            stems.append((text, number))
    chance.shuffle(stems)
    return stems


def make_words(total: int, chance: random.Random) -> tuple[list[str], np.ndarray]:
    """Return `total` distinct words and the stem number of each (int32), in the order of their making."""
    stems = make_stems(chance)
    same = [[text for text, script in stems if script == number] for number in range(len(SCRIPTS))]
    seen: set[str] = {"</s>"}
    words: list[str] = []
    owner = np.empty(total, np.int32)
    draw, many = chance.random, len(stems)
    while len(words) < total:
        stem = int(many * draw() ** 1.5)
        text, script = stems[stem]
        endings, prefixes, others = SCRIPTS[script][5], SCRIPTS[script][6], same[script]
        word = text + endings[int(draw() * len(endings))]
        kind = draw()
        if kind < 0.08:
            word = prefixes[int(draw() * len(prefixes))] + word
        elif kind < 0.14:
            word = others[int(len(others) * draw())] + word
        elif kind < 0.15:
            word = word + "-" + others[int(len(others) * draw())]
        elif kind < 0.18:
            word = word + str(int(draw() * 10 ** (1 + int(draw() * 4))))
        elif kind < 0.20:
            word = str(int(draw() * 10 ** (2 + int(draw() * 6)))) + "." * (draw() < 0.3)
        elif kind < 0.202:
            word = (
                "www."
                + word
                + ".com/"
                + others[int(len(others) * draw())]
                + "/"
                + others[int(len(others) * draw())]
            )
        case = draw()
        if case < 0.24:
            word = word.capitalize()
        elif case < 0.27:
            word = word.upper()
        if word not in seen:
            seen.add(word)
            owner[len(words)] = stem
            words.append(word)
    return words, owner


def order_by_rank(words: list[str], chance: np.random.Generator) -> np.ndarray:
    """Return the order of the vocabulary: short words tend to be frequent, with a good deal of chance."""
    lengths = np.fromiter((len(word) for word in words), np.float32, len(words))
    return np.argsort(0.35 * lengths + chance.gumbel(size=len(words)).astype(np.float32), kind="stable")


def zipf_counts(words: int) -> np.ndarray:
    """Return falling counts (int64) of `words` words; the last is 5."""
    rank = np.arange(words, dtype=np.float64)
    return np.maximum(5, 5.0 * ((words + 2.7) / (rank + 2.7)) ** 1.07).astype(np.int64)


def dictionary_bytes(words: list[bytes], counts: np.ndarray) -> Iterator[bytes]:
    """Yield the dictionary entries of the file in pieces: word, 0, count i64, type i8 (0: a word)."""
    for start in range(0, len(words), BLOCK):
        part = zip(words[start : start + BLOCK], counts[start : start + BLOCK].tolist(), strict=True)
        yield b"".join(word + b"\0" + struct.pack("<qb", count, 0) for word, count in part)


def header_bytes(dim: int, buckets: int, minn: int, maxn: int, words: int, tokens: int) -> bytes:
    """Return the first 92 bytes: magic, version, arguments (skipgram, negative sampling), dictionary header."""
    arguments = (dim, 5, 5, 5, 5, 1, 2, 2, buckets, minn, maxn, 100)
    return struct.pack("<2i12idiiiqq", 793712314, 12, *arguments, 1e-4, words, words, 0, tokens, -1)


def word_rows(owner: np.ndarray, dim: int, chance: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the raw rows of the words in blocks (float32): topic + stem + noise, times the row's own scale."""
    topics = chance.standard_normal((TOPICS, dim), np.float32)
    stems = chance.standard_normal((STEMS, dim), np.float32)
    topic_of = chance.integers(0, TOPICS, STEMS)
    stems = 0.75 * topics[topic_of] + 0.5 * stems
    for start in range(0, len(owner), BLOCK):
        part = owner[start : start + BLOCK]
        rows = chance.standard_normal((len(part), dim), np.float32)
        rows *= np.float32(0.45)
        rows += stems[part]
        rows *= (0.25 * np.exp(0.4 * chance.standard_normal((len(part), 1), np.float32))).astype(np.float32)
        yield rows


def plain_rows(total: int, dim: int, scale: float, chance: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield `total` rows of noise in blocks (float32), each row with its own scale around `scale`."""
    for start in range(0, total, BLOCK):
        count = min(BLOCK, total - start)
        rows = chance.standard_normal((count, dim), np.float32)
        rows *= (scale * np.exp(0.4 * chance.standard_normal((count, 1), np.float32))).astype(np.float32)
        yield rows


def write_model(path: Path, vocabulary: list[bytes], owner: np.ndarray, dim: int, buckets: int) -> None:
    """Write the model with n-grams 5 to 5 to `path`."""
    words = len(vocabulary)
    counts = zipf_counts(words)
    inputs, grams, outputs = np.random.SeedSequence(SEED).spawn(3)
    with path.open("wb") as file:
        file.write(header_bytes(dim, buckets, 5, 5, words, int(counts.sum())))
        file.writelines(dictionary_bytes(vocabulary, counts))
        file.write(struct.pack("<?qq", False, words + buckets, dim))
        for block in word_rows(owner, dim, np.random.Generator(np.random.SFC64(inputs))):
            file.write(block.data)
        for block in plain_rows(buckets, dim, 0.075, np.random.Generator(np.random.SFC64(grams))):
            file.write(block.data)
        file.write(struct.pack("<?qq", False, words, dim))
        block = next(plain_rows(min(BLOCK, words), dim, 0.1, np.random.Generator(np.random.SFC64(outputs))))
        for start in range(0, words, BLOCK):  # nobody looks at these rows: one block of noise, repeated
            file.write(block[: min(BLOCK, words - start)].data)


def write_variant(source: Path, target: Path, minn: int, maxn: int) -> None:
    """Copy a model and set its n-gram lengths (shares the disk blocks where the file system can)."""
    shutil.copyfile(source, target)
    with target.open("r+b") as file:
        file.seek(44)
        file.write(struct.pack("<2i", minn, maxn))


def write_lists(folder: Path, vocabulary: list[str], spare: list[str], chance: random.Random) -> None:
    """Write known.txt, unknown.txt and rare.txt."""
    known = chance.sample(vocabulary[1:], min(SAMPLE, len(vocabulary) - 1))
    unknown = [word for word in spare if len(word) >= 3][:SAMPLE]
    rare = vocabulary[-1000:]
    for name, words in (("known", known), ("unknown", unknown), ("rare", rare)):
        (folder / f"{name}.txt").write_text("\n".join(words) + "\n", encoding="utf-8")


def make(folder: Path, words: int, buckets: int, dim: int) -> dict[str, object]:
    """Make both models and the word lists in `folder`; returns what big.json holds."""
    folder.mkdir(parents=True, exist_ok=True)
    need = 2 * (2 * words + buckets) * dim * 4 + 200 * words
    free = shutil.disk_usage(folder).free
    if free < need:
        raise SystemExit(f"{folder}: {need / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")
    began = time.perf_counter()
    chance = random.Random(SEED)
    spare = min(SAMPLE, words) * 6 // 5
    made, owner = make_words(words - 1 + spare, chance)
    vocabulary, extra = made[: words - 1], made[words - 1 :]
    order = order_by_rank(vocabulary, np.random.Generator(np.random.SFC64(SEED)))
    ordered = ["</s>", *(vocabulary[i] for i in order.tolist())]
    owners = np.concatenate([np.zeros(1, np.int32), owner[: words - 1][order]])
    encoded = [word.encode() for word in ordered]
    print(f"{words:,} words made in {time.perf_counter() - began:.1f} s", file=sys.stderr)
    write_lists(folder, ordered, extra, chance)
    write_model(folder / "big55.bin", encoded, owners, dim, buckets)
    print(f"big55.bin written after {time.perf_counter() - began:.1f} s", file=sys.stderr)
    write_variant(folder / "big55.bin", folder / "big36.bin", 3, 6)
    facts: dict[str, object] = {
        "words": words,
        "buckets": buckets,
        "dim": dim,
        "seed": SEED,
        "word_bytes": sum(map(len, encoded)),
        "not_ascii": sum(not word.isascii() for word in ordered),
        "mean_length": round(sum(map(len, ordered)) / words, 2),
        "longest": max(map(len, ordered)),
        "bytes": os.path.getsize(folder / "big55.bin"),
        "numpy": np.__version__,
    }
    (folder / "big.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(f"both files after {time.perf_counter() - began:.1f} s: {facts}", file=sys.stderr)
    return facts


def main() -> None:
    """Read the arguments and make the files, unless they are there with the same arguments."""
    parser = argparse.ArgumentParser(description="Make the big fastText models that the benchmarks read.")
    parser.add_argument("--dir", type=Path, required=True, help="folder for the files (made when missing)")
    parser.add_argument("--words", type=int, default=2_000_000)
    parser.add_argument("--buckets", type=int, default=2_000_000)
    parser.add_argument("--dim", type=int, default=300)
    parser.add_argument("--force", action="store_true", help="make them again even when they are there")
    arguments = parser.parse_args()
    if min(arguments.words - 1, arguments.buckets, arguments.dim) < 1:
        parser.error("--words must be at least 2, --buckets and --dim at least 1")
    there = arguments.dir / "big.json"
    if there.is_file() and not arguments.force:
        facts = json.loads(there.read_text(encoding="utf-8"))
        if all(facts[name] == getattr(arguments, name) for name in ("words", "buckets", "dim")):
            print(f"{arguments.dir}: already made; --force makes it again", file=sys.stderr)
            return
    make(arguments.dir, arguments.words, arguments.buckets, arguments.dim)


if __name__ == "__main__":
    main()
