"""From many dimensions to a plane, and from points to groups: exact t-SNE and k-means, in numpy.

For some hundreds of points: both cost O(N²) or O(N·k) an iteration and keep nothing sparse. What it is not: a general
implementation; there is no Barnes-Hut tree and no choice of metric.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_TINY = 1e-12
_SEARCH_STEPS = 50  # halvings in the search for a point's bandwidth: enough for float64


def unit_rows(vectors: Array) -> Array:
    """Return the rows scaled to length 1, as float64; a zero row stays zero."""
    vectors = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, _TINY))


def tsne(vectors: Array, perplexity: float = 15.0, iterations: int = 600) -> Array:
    """Place N points in the plane so that neighbours stay neighbours; return float64 (N, 2), centred at 0.

    t-SNE (van der Maaten and Hinton 2008) on the cosine distances of the rows. Each point i gives the others chances
    p(j|i) ~ exp(-d_ij² / 2 s_i²), with s_i such that exp(entropy) is the perplexity; P is their symmetric mean. In the
    plane q_ij ~ 1 / (1 + |y_i - y_j|²). Gradient descent on KL(P || Q):

        dKL/dy_i = 4 · sum over j of (p_ij - q_ij) (y_i - y_j) / (1 + |y_i - y_j|²),

    with momentum, one gain for each coordinate, and P exaggerated twelvefold in the first quarter, so that groups
    form early. The start is the first two principal components: no random number is drawn, and equal input gives
    equal output. Cost: 1 s for 400 points on one core.
    """
    count = len(vectors)
    if count < 3:  # there are no neighbourhoods: side by side
        return np.stack([np.arange(count) - (count - 1) / 2, np.zeros(count)], axis=1)
    unit = unit_rows(vectors)
    distances = np.maximum(2.0 - 2.0 * (unit @ unit.T), 0.0)
    chances = _chances(distances, max(1.0, min(perplexity, (count - 1) / 3)))
    places = _principal_components(unit)
    places *= 1e-2 / max(float(np.std(places)), _TINY)
    speed = np.zeros_like(places)
    gains = np.ones_like(places)
    early = iterations // 4
    rate = max(count / 12.0 / 4.0, 10.0)
    for iteration in range(iterations):
        near = 1.0 / (1.0 + _squared_distances(places))
        np.fill_diagonal(near, 0.0)
        pull = (12.0 if iteration < early else 1.0) * chances
        force = (pull - near / near.sum()) * near
        gradient = 4.0 * (force.sum(axis=1, keepdims=True) * places - force @ places)
        same = np.sign(gradient) == np.sign(speed)
        gains = np.maximum(np.where(same, gains * 0.8, gains + 0.2), 0.01)
        speed = (0.5 if iteration < early else 0.8) * speed - rate * gains * gradient
        places = places + speed
        places -= places.mean(axis=0)
    return places


def _squared_distances(points: Array) -> Array:
    squares = np.sum(points * points, axis=1)
    return np.asarray(np.maximum(squares[:, None] + squares[None, :] - 2.0 * (points @ points.T), 0.0))


def _principal_components(vectors: Array) -> Array:
    """Return the first two principal components (N, 2), their signs chosen so that the result is always the same."""
    centred = vectors - vectors.mean(axis=0)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(vectors), 2))
    width = min(2, left.shape[1])
    places[:, :width] = left[:, :width] * scale[:width]
    strongest = np.abs(places).argmax(axis=0)
    return places * np.where(places[strongest, [0, 1]] < 0, -1.0, 1.0)


def _chances(distances: Array, perplexity: float) -> Array:
    """Return P, symmetric with sum 1: every row's bandwidth found by bisection, all rows at once."""
    count = len(distances)
    wanted = np.log(perplexity)
    low, high = np.zeros(count), np.full(count, np.inf)
    precision = np.ones(count)
    others = distances + np.where(np.eye(count, dtype=bool), np.inf, 0.0)
    nearest = others.min(axis=1, keepdims=True)  # taken off before exp, so that no row is all zero
    finite = np.where(np.isinf(others), 0.0, others)
    rows = np.zeros_like(distances)
    for _ in range(_SEARCH_STEPS):
        weights = np.exp(-(others - nearest) * precision[:, None])
        rows = weights / weights.sum(axis=1, keepdims=True)
        entropy = np.log(weights.sum(axis=1)) + precision * np.sum(rows * (finite - nearest), axis=1)
        wide = entropy > wanted
        low, high = np.where(wide, precision, low), np.where(wide, high, precision)
        precision = np.where(np.isinf(high), precision * 2.0, (low + high) / 2.0)
    return np.asarray((rows + rows.T) / (2.0 * count))


def kmeans(points: Array, k: int, seed: int = 0, iterations: int = 100) -> Array:
    """Cut the points into k groups (fewer when there are fewer points); return the group of each, int64 (N,).

    Lloyd's iterations from a k-means++ start (Arthur and Vassilvitskii 2007), the best of eight starts. Groups are
    numbered by falling size.
    """
    points = np.asarray(points, np.float64)
    k = min(k, len(points))
    random = np.random.default_rng(seed)
    best, best_cost = np.zeros(len(points), np.int64), np.inf
    for _ in range(8):
        centres = _scattered(points, k, random)
        groups = np.zeros(len(points), np.int64)
        for _ in range(iterations):
            distances = ((points[:, None, :] - centres[None, :, :]) ** 2).sum(axis=2)
            nearest = distances.argmin(axis=1)
            if (nearest == groups).all():
                break
            groups = nearest
            for group in np.unique(groups):
                centres[group] = points[groups == group].mean(axis=0)
        cost = float(((points - centres[groups]) ** 2).sum())
        if cost < best_cost:
            best, best_cost = groups, cost
    order = np.argsort(-np.bincount(best, minlength=k), kind="stable")
    rank = np.empty(k, np.int64)
    rank[order] = np.arange(k)
    return rank[best]


def _scattered(points: Array, k: int, random: np.random.Generator) -> Array:
    """Choose k points as first centres, each with a chance that grows with its distance from those already chosen."""
    chosen = [int(random.integers(len(points)))]
    while len(chosen) < k:
        distances = ((points[:, None, :] - points[chosen][None, :, :]) ** 2).sum(axis=2).min(axis=1)
        total = distances.sum()
        chances = distances / total if total > 0 else np.full(len(points), 1.0 / len(points))
        chosen.append(int(random.choice(len(points), p=chances)))
    return points[chosen]
