"""How a vector came to be: the n-grams of a word, their rows, and which of them any word of the vocabulary has.

A bucket says little (with two million words nearly every bucket was trained by some word or other), so the n-gram
itself is searched for among the n-grams of the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _effort
from .subwords import END_OF_SENTENCE, Subwords, fnv1a
from .vocabulary import Vocabulary, decode, pack

#: Seconds of plain Python that listing one word's n-grams costs.
NGRAMS_COST = 12e-6


@dataclass(frozen=True)
class Piece:
    """One row that makes up a vector: the word itself or one of its n-grams.

    row: fastText's number of the row, -1 for an n-gram that pruning dropped. trained: whether any word of the
    vocabulary has this n-gram, so that training saw it (the row may be shared with other n-grams all the same).
    """

    text: str
    row: int
    trained: bool


@dataclass(frozen=True)
class Explanation:
    """How the vector of `word` is made.

    coverage: the share of its n-grams that training saw: 1.0 for a word of the vocabulary, 0.0 where nothing is known.
    """

    word: str
    known: bool
    embeddable: bool
    pieces: tuple[Piece, ...]
    coverage: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and numbers, for JSON."""
        pieces = [{"text": p.text, "row": p.row, "trained": p.trained} for p in self.pieces]
        return {
            "word": self.word,
            "known": self.known,
            "embeddable": self.embeddable,
            "coverage": self.coverage,
            "pieces": pieces,
        }


def explain(
    word: bytes,
    known: bool,
    pairs: list[tuple[bytes, int]],
    vocabulary: Vocabulary,
    subwords: Subwords | None,
) -> Explanation:
    """Explain a word from its strings and rows in fastText's order (a known word's own row first)."""
    trained = _trained([text for text, _ in pairs], known, vocabulary, subwords)
    pieces = tuple(
        Piece(decode(text), row, bool(seen)) for (text, row), seen in zip(pairs, trained, strict=True)
    )
    if known:
        coverage = 1.0
    else:
        coverage = sum(p.trained for p in pieces) / len(pieces) if pieces else 0.0
    return Explanation(decode(word), known, any(row >= 0 for _, row in pairs), pieces, coverage)


def _trained(
    texts: list[bytes], known: bool, vocabulary: Vocabulary, subwords: Subwords | None
) -> list[bool]:
    if known or not texts or subwords is None:
        return [known] * len(texts)
    if (subwords.compiled or subwords.rule == "fifu") and _effort.kernels_due(len(vocabulary) * NGRAMS_COST):
        found = _search(texts, vocabulary, subwords)
        if subwords.rule == "fifu" and 0 <= vocabulary.find(END_OF_SENTENCE) < len(vocabulary):
            more = set(subwords.ngrams(END_OF_SENTENCE))  # which the kernel passes by, as fastText does
            found = [seen or text in more for seen, text in zip(found, texts, strict=True)]
        return found
    wanted = set(texts)
    seen: set[bytes] = set()
    for word in vocabulary.entries(0, len(vocabulary)):
        seen.update(wanted.intersection(subwords.ngrams(word)))
    return [text in seen for text in texts]


def _search(texts: list[bytes], vocabulary: Vocabulary, subwords: Subwords) -> list[bool]:
    from .kernels import lookup

    blob, bounds, gap = pack(texts)
    if gap:
        blob, bounds = np.delete(blob, bounds[1:] - 1), bounds - np.arange(len(bounds))
    arrays = vocabulary.walkable()
    longest = int(np.diff(arrays[1]).max(initial=0))
    seen = np.zeros(len(texts), np.int64)
    hashes = np.array([fnv1a(text) for text in texts], np.uint64)
    lookup.ngrams_seen(
        arrays, len(vocabulary), longest, max(subwords.minn, 1), subwords.maxn, blob, bounds, hashes, seen
    )
    return [bool(s) for s in seen]
