"""A map of words as a picture: SVG, written by hand, with no library and no font file.

Words stand where the projection put them, in the size of their frequency and the colour of their group, on the group's
territory; words that the text never held stand in dark boxes with lines to their nearest known words. Equal input gives
equal bytes. What it is not: a plotting library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt

from . import layout

Array = npt.NDArray[Any]

WIDTH, HEIGHT = 1600, 1200
_FRAME = (78.0, 204.0, 1522.0, 1030.0)  # of the map: left, top, right, bottom
_PAPER, _INK, _GREY, _PILL = "#fdfcf9", "#22262e", "#6b7280", "#1f2430"
# Fonts of Helvetica's widths first: those are the widths that the layout counts with.
_SANS = "'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', 'Nimbus Sans', 'DejaVu Sans', sans-serif"
_SERIF = "Georgia, 'Iowan Old Style', 'Liberation Serif', 'DejaVu Serif', serif"
# Dark enough to read on their own tint, and told apart by most eyes.
_COLOURS = (
    *(
        "#1f5f99",
        "#b3541e",
        "#1c7c6c",
        "#9a3b7d",
        "#5b6b1f",
        "#6a4fa3",
        "#a8323e",
        "#7a5a2b",
        "#2f7f3f",
        "#4a5a78",
    ),
)
MAX_GROUPS = len(_COLOURS)
_SMALLEST, _LARGEST = 13.0, 27.0  # font sizes
_PILL_SIZE = 19.0


@dataclass(frozen=True)
class Word:
    """One word of the map.

    place: where the projection put it. weight: its frequency. group: its colour, from 0. links: for a word that the
    text never held, the numbers of its nearest known words on the map; None for a known one.
    """

    text: str
    place: tuple[float, float]
    weight: float = 0.0
    group: int = 0
    links: tuple[int, ...] | None = None


def draw(words: list[Word], names: list[str], title: str, subtitle: str) -> str:
    """Return the map as the text of an SVG file; names: of the groups. A known word that finds no room is left out.

    `{shown}` in the subtitle becomes the number of known words on the map.

    ValueError: there are no known words, or more groups than colours.
    """
    groups = np.array([word.group for word in words], np.int64)
    known = np.array([word.links is None for word in words], bool)
    if not known.any() or groups.max() >= MAX_GROUPS:
        raise ValueError(f"a map needs known words in 1 to {MAX_GROUPS} groups")
    sizes = _font_sizes(words)
    boxes = np.array([_box(word, size) for word, size in zip(words, sizes, strict=True)])
    centres = layout.fit(np.array([word.place for word in words]), _FRAME)
    linked = {i for word in words for i in word.links or ()}
    importance = [
        w.weight + (1e12 if w.links is not None else 1e9 * (i in linked)) for i, w in enumerate(words)
    ]
    centres, shown = layout.place(centres, boxes, _FRAME, np.array(importance))
    parts = [
        _territories(centres, boxes, groups, shown & known),
        _lines(words, centres, boxes, shown),
        _labels(words, centres, sizes, shown),
        _pills(words, centres, boxes, shown),
        _legend(names),
    ]
    return _document(title, subtitle.replace("{shown}", str(int((shown & known).sum()))), parts)


def _font_sizes(words: list[Word]) -> list[float]:
    weights = np.log1p(np.array([word.weight for word in words]))
    known = np.array([word.links is None for word in words], bool)
    low, high = np.quantile(weights[known], [0.05, 1.0])
    share = np.clip((weights - low) / max(high - low, 1e-9), 0.0, 1.0)
    return [
        _PILL_SIZE
        if word.links is not None
        else round(_SMALLEST + (_LARGEST - _SMALLEST) * float(s) ** 1.3, 1)
        for word, s in zip(words, share, strict=True)
    ]


def _box(word: Word, size: float) -> tuple[float, float]:
    """Return the width and height that a word takes, with the air around it."""
    width = layout.text_width(word.text, size)
    return (width + 34.0, size + 24.0) if word.links is not None else (width + 10.0, size * 1.06 + 4.0)


def _territories(centres: Array, boxes: Array, groups: Array, chosen: Array) -> str:
    """Return the coloured areas: each word spreads its group's hills over its width."""
    points, owners = [], []
    for i in np.nonzero(chosen)[0]:
        reach = max(boxes[i, 0] / 2.0 - 12.0, 0.0)
        for shift in np.linspace(-reach, reach, max(2, int(boxes[i, 0] / 28))):
            points.append((centres[i, 0] + shift, centres[i, 1]))
            owners.append(int(groups[i]))
    outlines = layout.territories(np.array(points), np.array(owners), _FRAME, reach=27.0, step=5.0)
    return "\n".join(
        f'<path d="{"".join(map(_smooth, lines))}" fill="{_COLOURS[group]}" fill-opacity="0.11" '
        f'stroke="{_COLOURS[group]}" stroke-opacity="0.28" stroke-width="1.2" fill-rule="evenodd"/>'
        for group, lines in enumerate(outlines)
        if lines
    )


def _smooth(line: Array) -> str:
    """Return a closed curve through the middles of the line's edges (quadratic B-spline), as path data."""
    corners = line[::2] if len(line) > 12 else line
    middles = (corners + np.roll(corners, -1, axis=0)) / 2.0
    start = f"M{middles[-1, 0]:.1f} {middles[-1, 1]:.1f}"
    curve = "".join(
        f"Q{c[0]:.1f} {c[1]:.1f} {m[0]:.1f} {m[1]:.1f}" for c, m in zip(corners, middles, strict=True)
    )
    return start + curve + "Z"


def _lines(words: list[Word], centres: Array, boxes: Array, shown: Array) -> str:
    """Return the lines from unknown words to their nearest known ones, each ending in a dot at the word's border."""
    parts = []
    for i, word in enumerate(words):
        for j in word.links or ():
            if shown[i] and shown[j]:
                (x, y), (u, v) = centres[i], _border(centres[j], boxes[j], centres[i])
                parts.append(
                    f'<path d="M{x:.1f} {y:.1f}L{u:.1f} {v:.1f}"/><circle cx="{u:.1f}" cy="{v:.1f}" r="2.6"/>'
                )
    return (
        f'<g stroke="{_PILL}" stroke-width="1.3" stroke-opacity="0.62" fill="{_PILL}">'
        + "".join(parts)
        + "</g>"
    )


def _border(centre: Array, box: Array, towards: Array) -> tuple[float, float]:
    """Return where the line from a box's centre to another point leaves the box."""
    way = towards - centre
    shares = [box[axis] / 2.0 / abs(way[axis]) for axis in (0, 1) if abs(way[axis]) > 1e-9]
    share = min([1.0, *shares])
    return float(centre[0] + way[0] * share), float(centre[1] + way[1] * share)


def _text(text: str, x: float, y: float, size: float, more: str = "") -> str:
    """Return a text element centred at x, held to the width that the layout gave it, whatever the font."""
    width = layout.text_width(text, size)
    return (
        f'<text x="{x:.1f}" y="{y + size * 0.35:.1f}" font-size="{size:g}" textLength="{width:.1f}" '
        f'lengthAdjust="spacingAndGlyphs"{more}>{escape(text)}</text>'
    )


def _labels(words: list[Word], centres: Array, sizes: list[float], shown: Array) -> str:
    """Return the known words, group by group, over a halo of paper that keeps lines off the letters."""
    parts = []
    for group in range(max(word.group for word in words) + 1):
        texts = [
            _text(word.text, centres[i, 0], centres[i, 1], sizes[i])
            for i, word in enumerate(words)
            if shown[i] and word.group == group and word.links is None
        ]
        parts.append(f'<g fill="{_COLOURS[group]}">' + "\n".join(texts) + "</g>")
    return (
        f'<defs><g id="words" text-anchor="middle" font-family="{_SANS}">'
        + "\n".join(parts)
        + "</g></defs>\n"
        f'<use href="#words" stroke="{_PAPER}" stroke-width="3.5" stroke-opacity="0.8" stroke-linejoin="round"/>\n'
        '<use href="#words"/>'
    )


def _pills(words: list[Word], centres: Array, boxes: Array, shown: Array) -> str:
    parts = [
        _pill(word.text, centres[i, 0], centres[i, 1], boxes[i, 0] - 10.0)
        for i, word in enumerate(words)
        if shown[i] and word.links is not None
    ]
    return "\n".join(parts)


def _pill(text: str, x: float, y: float, width: float, size: float = _PILL_SIZE) -> str:
    height = size + 14.0
    return (
        f'<rect x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'rx="{height / 2:.1f}" fill="{_PILL}" stroke="{_PAPER}" stroke-width="2"/>'
        f'<g text-anchor="middle" font-family="{_SANS}" font-weight="600" fill="#fff">{_text(text, x, y, size)}</g>'
    )


def _legend(names: list[str]) -> str:
    """Return the rows of group names below the map, and what a dark box means."""
    columns = 4
    parts = []
    for number, name in enumerate(names):
        x = 70.0 + (number % columns) * 290.0
        y = 1100.0 + (number // columns) * 31.0
        parts.append(
            f'<circle cx="{x}" cy="{y}" r="7.5" fill="{_COLOURS[number]}" fill-opacity="0.85"/>'
            f'<text x="{x + 17}" y="{y + 5}" font-size="15.5" fill="{_INK}">{escape(name)}</text>'
        )
    parts.append(_pill("word", 1268.0, 1104.0, 70.0, 16.0))
    for line, text in enumerate(
        ("not in the text: placed by its spelling,", "lines lead to its nearest known words")
    ):
        parts.append(f'<text x="1314" y="{1102 + 21 * line}" font-size="14" fill="{_GREY}">{text}</text>')
    return f'<g font-family="{_SANS}">' + "\n".join(parts) + "</g>"


def _document(title: str, subtitle: str, parts: list[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img">\n<title>{escape(title)}</title>\n<desc>{escape(subtitle)}</desc>\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{_PAPER}"/>\n'
        f'<text x="62" y="84" font-family="{_SERIF}" font-size="42" font-weight="700" fill="{_INK}">'
        f"{escape(title)}</text>\n"
        f'<text x="64" y="124" font-family="{_SANS}" font-size="18.5" fill="{_GREY}">{escape(subtitle)}</text>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )
