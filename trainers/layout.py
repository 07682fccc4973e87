"""Where things go on a map of words: widths of texts, boxes that do not overlap, and the territories around them.

Coordinates are pixels, y downwards. What it is not: drawing (`picture`) and the choice of words (`demo`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# Helvetica's advance widths in thousandths of the font size, from space (32) to tilde (126): Adobe's font metrics.
_WIDTHS = (
    "278 278 355 556 556 889 667 191 333 333 389 584 278 333 278 278 556 556 556 556 556 556 556 556 556 556 278 278 "
    "584 584 584 556 1015 667 667 722 722 667 611 778 722 278 500 667 556 833 722 778 667 778 722 667 611 722 667 944 "
    "667 667 611 278 278 278 469 556 333 556 556 500 556 556 278 556 556 222 222 500 222 833 556 556 556 556 333 500 "
    "278 556 500 722 500 500 500 334 260 334 584"
)
_WIDTH = dict(zip(map(chr, range(32, 127)), map(int, _WIDTHS.split()), strict=True))
_OTHER_WIDTH = 600


def text_width(text: str, size: float) -> float:
    """Return about how wide the text is in a sans-serif font of this size."""
    return sum(_WIDTH.get(character, _OTHER_WIDTH) for character in text) * size / 1000.0


def fit(places: Array, frame: tuple[float, float, float, float]) -> Array:
    """Stretch points (N, 2) over the frame (left, top, right, bottom), each axis on its own.

    A few outliers do not squeeze the rest: the outermost 2 % of each side are drawn in to the frame's border.
    """
    low, high = np.quantile(places, [0.02, 0.98], axis=0)
    share = np.clip((places - low) / np.maximum(high - low, 1e-9), 0.0, 1.0)
    corner, size = np.array(frame[:2]), np.array(frame[2:]) - np.array(frame[:2])
    return np.asarray(corner + share * size)


def place(
    homes: Array,
    sizes: Array,
    frame: tuple[float, float, float, float],
    importance: Array,
    farthest: float = 170.0,
) -> tuple[Array, Array]:
    """Put boxes near their homes so that none overlaps another; return centres (N, 2) and which found room (bool, N).

    sizes (N, 2): width and height. The boxes first push each other apart; then, the most important first, each takes
    the nearest free spot within `farthest` pixels. Nearest counts one step up or down like two to a side: the boxes
    are flat. Cost: 0.5 s for 400 boxes.
    """
    wanted = _pushed(homes, sizes, frame)
    half = sizes / 2.0
    least, most = np.array(frame[:2]) + half, np.array(frame[2:]) - half
    steps = _steps(farthest)
    centres, placed = wanted.copy(), np.zeros(len(wanted), bool)
    for i in np.argsort(-importance, kind="stable"):
        for some in steps:
            spots = wanted[i] + some
            inside = ((spots >= least[i]) & (spots <= most[i])).all(axis=1)
            reach = half[placed] + half[i]
            apart_x = np.abs(spots[:, :1] - centres[placed, 0]) >= reach[:, 0]
            apart_y = np.abs(spots[:, 1:] - centres[placed, 1]) >= reach[:, 1]
            free = np.nonzero(inside & (apart_x | apart_y).all(axis=1))[0]
            if len(free):
                centres[i], placed[i] = spots[free[0]], True
                break
    return centres, placed


def _steps(farthest: float, grid: float = 5.0) -> list[Array]:
    """Return shifts (n, 2) by rising distance, in portions of rising length: most boxes need only the first."""
    line = np.arange(-farthest, farthest + 1, grid)
    shifts = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    distances = np.hypot(shifts[:, 0], 2.0 * shifts[:, 1])
    order = np.argsort(distances, kind="stable")
    order = order[: int((distances <= farthest).sum())]
    return [portion for portion in np.split(shifts[order], [1, 60, 240, 720]) if len(portion)]


def _pushed(homes: Array, sizes: Array, frame: tuple[float, float, float, float], rounds: int = 80) -> Array:
    """Let overlapping boxes push each other apart, each pair along the axis where that takes less; return the centres.

    A crowd is loosened, not dissolved; each round also draws every box back a little to its home.
    """
    places = homes.astype(np.float64)
    half = sizes / 2.0
    least, most = np.array(frame[:2]) + half, np.array(frame[2:]) - half
    first, second = np.triu_indices(len(places), 1)
    reach = half[first] + half[second]
    for _ in range(rounds):
        apart = places[first] - places[second]
        depth = reach - np.abs(apart)
        pairs = np.nonzero((depth[:, 0] > 0) & (depth[:, 1] > 0))[0]
        if not len(pairs):
            break
        axis = (depth[pairs, 1] <= depth[pairs, 0]).astype(np.int64)
        # Boxes on one spot would never part: the first of the pair goes one way, the second the other.
        push = 0.3 * depth[pairs, axis] * np.where(apart[pairs, axis] < 0, -1.0, 1.0)
        np.add.at(places, (first[pairs], axis), push)
        np.add.at(places, (second[pairs], axis), -push)
        places = np.clip(places + 0.01 * (homes - places), least, most)
    return places


def territories(
    points: Array, groups: Array, frame: tuple[float, float, float, float], reach: float, step: float
) -> list[list[Array]]:
    """Return the outlines of each group's territory: closed lines, each float64 (n, 2), smooth and apart.

    Every point has a Gaussian hill of width `reach`. A group owns a place where its hills are the highest, and high
    enough. Outlines are the zero lines, by marching squares, of how far that holds on a grid of `step` pixels.
    """
    xs = np.arange(frame[0] - 2 * reach, frame[2] + 2 * reach, step)
    ys = np.arange(frame[1] - 2 * reach, frame[3] + 2 * reach, step)
    hills = []
    for group in range(int(groups.max()) + 1):
        own = points[groups == group]
        across = np.exp(-((xs[None, :] - own[:, :1]) ** 2) / (2 * reach**2))
        down = np.exp(-((ys[None, :] - own[:, 1:]) ** 2) / (2 * reach**2))
        hills.append(down.T @ across)
    heights = np.stack(hills)
    outlines = []
    for group in range(len(heights)):
        others = np.delete(heights, group, axis=0).max(axis=0, initial=0.0)
        field = np.minimum(heights[group] - 0.45, (heights[group] - 1.02 * others) * 2.0)
        outlines.append([np.array(frame[:2]) - 2 * reach + line * step for line in zero_lines(field)])
    return outlines


def zero_lines(field: Array) -> list[Array]:
    """Return the lines, as (x, y) in cells, that part positive from other values of a grid (rows, columns); all closed.

    Marching squares: each cell's border is crossed on 0, 2 or 4 sides; crossings that share a cell are joined.
    """
    field = np.pad(field, 1, constant_values=-1.0)
    inside = field > 0
    joined: dict[tuple[int, int, int], list[tuple[int, int, int]]] = {}
    corners = inside[:-1, :-1] * 8 + inside[:-1, 1:] * 4 + inside[1:, 1:] * 2 + inside[1:, :-1] * 1
    for row, column in zip(*np.nonzero((corners != 0) & (corners != 15)), strict=True):
        r, c = int(row), int(column)
        # A side is (row, column, 0) from there to the right or (row, column, 1) downwards.
        top, bottom, left, right = (r, c, 0), (r + 1, c, 0), (r, c, 1), (r, c + 1, 1)
        for a, b in _sides(int(corners[r, c]), top, right, bottom, left):
            joined.setdefault(a, []).append(b)
            joined.setdefault(b, []).append(a)
    lines = []
    while joined:
        side = next(iter(joined))
        line = []
        while side in joined:
            line.append(_crossing(field, side))
            following = joined.pop(side)
            side = next((other for other in following if other in joined), side)
        if len(line) > 2:
            lines.append(np.array(line) - 1.0)
    return lines


_Side = tuple[int, int, int]


def _sides(corners: int, top: _Side, right: _Side, bottom: _Side, left: _Side) -> list[tuple[_Side, _Side]]:
    """Return which sides of a cell are joined, by which of its corners (8 4 / 1 2) are inside."""
    if corners == 10:
        return [(top, right), (bottom, left)]
    if corners == 5:
        return [(top, left), (bottom, right)]
    crossed = []
    for side, (a, b) in ((top, (8, 4)), (right, (4, 2)), (bottom, (1, 2)), (left, (8, 1))):
        if bool(corners & a) != bool(corners & b):
            crossed.append(side)
    return [(crossed[0], crossed[1])]


def _crossing(field: Array, side: _Side) -> tuple[float, float]:
    """Return where on a side of the grid the field is zero, by a straight line between its ends."""
    row, column, downwards = side
    here = float(field[row, column])
    there = float(field[row + downwards, column + 1 - downwards])
    share = here / (here - there)
    return (column + (0 if downwards else share), row + (share if downwards else 0))
