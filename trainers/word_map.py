"""A map of the words of an `Embeddings`: chooses words worth showing, lays them out, groups and names them, and draws.

What it is not: the projection (`projection`), the arrangement of the labels (`layout`) and the SVG (`picture`). The
choice is made for English text: it knows function words and endings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import vecio

from . import picture, projection

Array = npt.NDArray[Any]

_CANDIDATES = 1_800  # the most frequent words are looked at, no more
_COMPANY = 6  # a word that has this many close neighbours among the candidates belongs on the map
_LINKS = 3  # nearest known words that an unknown one is joined to
_SHORTEST, _LONGEST = 4, 14

# Words that say little alone: they stand everywhere and would stand in the middle of every map.
_FUNCTION_WORDS = frozenset(
    """
    about above according across actual actually after again against allow allowed allows almost along already also
    although always among another anything appear appropriate around based because become becomes been before behind
    being below best better between both cannot case cases causes certain could currently describe described does doing
    done down during each either else enough ensure especially etc even ever every everything exactly except explicitly
    far few following follows foo from full further general generally given gives goes going good has have having hence
    here how however ignored indicate indicates inside instead into itself just keep kind know known last later least
    left less let like likely little long look looks made main make makes making many may maybe mean means might more
    most much must need needed needs neither never next none normally note nothing now often once one ones only onto
    other others otherwise ought over own part particular per perhaps place please possible present previous probably
    provided purpose quite rather really regardless related required respectively right same see seems seen several
    shall should similar simple simply since single so some something sometimes soon special still such suppose sure
    take taken takes than that the their them themselves then there therefore these they thing things think this those
    though three through thus together too toward treated true try trying two under unless unlike until upon used
    useful user uses using usually various very via want wants was way well were what whatever when whenever where
    whether which while who whole whose why will with within without won would xxx yes yet you your
    args bar eggs false kwargs len self spam
    """.split()
)
_ENDINGS = (
    "ations",
    "ation",
    "ings",
    "ing",
    "ions",
    "ion",
    "ors",
    "ers",
    "or",
    "er",
    "ies",
    "ed",
    "es",
    "s",
    "e",
    "y",
)


def make(
    embeddings: vecio.Embeddings,
    unknown: Sequence[str],
    title: str,
    subtitle: str,
    count: int = 350,
    seed: int = 0,
) -> str:
    """Draw the `count` most telling words and the unknown ones; return the map as the text of an SVG file.

    `{shown}` in the subtitle becomes the number of known words drawn. Groups are found by k-means in the plane and in
    the full space at once, so that they hang together on the map and in meaning. Cost: about 3 s for 350 words.
    """
    chosen = choose(embeddings, count)
    rows = [int(i) for i in chosen]
    links: list[tuple[int, ...]] = []
    if unknown:
        nearest, _ = embeddings.nearest(list(unknown), k=min(_LINKS, len(embeddings)))
        rows = list(dict.fromkeys([*rows, *map(int, nearest.flat)]))
        links = [tuple(rows.index(int(i)) for i in row) for row in nearest]
    known = [embeddings.words[i] for i in rows]
    words = known + list(unknown)
    unit = projection.unit_rows(embeddings.embed(words))
    places = projection.tsne(unit, perplexity=14.0)
    scaled = places / np.maximum(places.std(axis=0), 1e-9) / np.sqrt(2.0)
    groups = projection.kmeans(
        np.hstack([scaled, 1.5 * unit]), min(picture.MAX_GROUPS, 1 + len(known) // 12), seed
    )
    counts = _counts(embeddings)[rows]
    drawn = [
        picture.Word(
            word,
            (float(places[i, 0]), float(places[i, 1])),
            weight=float(counts[i]) if i < len(known) else 0.0,
            group=int(groups[i]),
            links=None if i < len(known) else links[i - len(known)],
        )
        for i, word in enumerate(words)
    ]
    names = group_names(known, unit[: len(known)], groups[: len(known)], counts)
    return picture.draw(drawn, names, title, subtitle)


def choose(embeddings: vecio.Embeddings, count: int) -> Array:
    """Return the rows (int64, at most `count`) of frequent content words that have close company, by falling score.

    Of the forms of one word only the most frequent is taken; function words, very short and very long words are not.
    Words with near neighbours make the towns of a map; those without fill its plains with noise.
    """
    candidates, stems = [], set()
    for i in np.argsort(-_counts(embeddings), kind="stable")[:_CANDIDATES]:
        word = embeddings.words[int(i)]
        if not _SHORTEST <= len(word) <= _LONGEST or word in _FUNCTION_WORDS or not word.isalpha():
            continue
        if stem(word) not in stems:
            stems.add(stem(word))
            candidates.append(int(i))
    if not candidates:
        candidates = list(range(min(count, len(embeddings))))
    rows = np.array(candidates, np.int64)
    unit = projection.unit_rows(embeddings.embed([embeddings.words[i] for i in candidates]))
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -1.0)
    company = np.sort(cosines, axis=1)[:, -_COMPANY:].mean(axis=1)
    score = company + 0.03 * np.log1p(_counts(embeddings)[rows])
    return rows[np.argsort(-score, kind="stable")[:count]]


def stem(word: str) -> str:
    """Cut an English ending off, so that the forms of one word fall together; not a stemmer for any other purpose."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


def group_names(words: Sequence[str], unit: Array, groups: Array, counts: Array) -> list[str]:
    """Name each group by the three words that are frequent in it and nearer to its middle than to any other's."""
    total = int(groups.max()) + 1
    middles = np.stack([unit[groups == group].sum(axis=0) for group in range(total)])
    cosines = unit @ projection.unit_rows(middles).T
    names = []
    for group in range(total):
        own = np.nonzero(groups == group)[0]
        others = np.delete(cosines, group, axis=1)
        margin = cosines[own, group] - (others[own].max(axis=1) if total > 1 else 0.0)
        score = margin + 0.12 * np.log1p(counts[own])
        names.append(" · ".join(words[i] for i in own[np.argsort(-score, kind="stable")[:3]]))
    return names


def _counts(embeddings: vecio.Embeddings) -> Array:
    """Return how often each word occurs; for a file that does not say, numbers that fall with the row."""
    counts = embeddings.counts
    return np.arange(len(embeddings), 0, -1) if counts is None else np.asarray(counts)
