"""Slow twins: what the compiled and blocked code must give, written as plainly as possible."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# -- search ------------------------------------------------------------------------------------------------------------


def nearest(
    rows: np.ndarray, queries: np.ndarray, k: int, exclude: Sequence[Sequence[int] | None] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return ids (Q, k) and cosines (Q, k) of the nearest rows, by all cosines in float64 and one sort.

    Rounded to float32 before they are compared, so that what callers see as equal is ordered by row. A norm below
    1e-15 counts as zero; above 1e15, or not a number, as never found.
    """
    k = min(k, len(rows))
    ids = np.full((len(queries), k), -1, np.int64)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    with np.errstate(all="ignore"):
        wide = rows.astype(np.float64)
        norms = np.sqrt((wide * wide).sum(1))
        for q, query in enumerate(queries.astype(np.float64)):
            length = np.sqrt((query * query).sum())
            if not length <= 1e15:
                continue
            cosines = (wide * query).sum(1) / (norms * length)
            cosines[norms < 1e-15] = 0
            if length < 1e-15:
                cosines[:] = 0
            cosines[~(norms <= 1e15)] = np.nan
            found = [
                (-float(np.float32(cosine)), row)
                for row, cosine in enumerate(cosines)
                if not np.isnan(cosine) and (exclude is None or exclude[q] is None or row not in exclude[q])
            ]
            for place, (negative, row) in enumerate(sorted(found)[:k]):
                ids[q, place], scores[q, place] = row, -negative
    return ids, scores


# -- training ----------------------------------------------------------------------------------------------------------


class SplitMix64:
    """The random numbers of the training kernels, in unbounded integers cut to 64 bits."""

    def __init__(self, state: int) -> None:
        self.state = state

    def bits(self) -> int:
        mask = (1 << 64) - 1
        self.state = (self.state + 0x9E3779B97F4A7C15) & mask
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    def unit(self) -> float:
        return (self.bits() >> 11) / 2**53

    def below(self, n: int) -> int:
        return (self.bits() >> 32) * n >> 32


def sgns_passage(
    passage: Sequence[int],
    keep: Sequence[float],
    table: Sequence[int],
    word_rows: Sequence[Sequence[int]],
    inputs: np.ndarray,
    outputs: np.ndarray,
    rate: float,
    window: int,
    negatives: int,
    shared: int,
    random: SplitMix64,
) -> tuple[float, int]:
    """Train a skip-gram with sub-words on one passage, changing both float64 matrices; return (loss, pairs).

    The vector of a place is the mean of its word's rows; it meets its targets one by one, and after each the share of
    the drawn negatives that is due; what it has moved in all is added to each of its rows.
    """

    def meet(other: int, label: int, weight: float) -> float:
        score = float(outputs[other] @ hidden)
        probability = 1 / (1 + np.exp(-score))
        change = rate * weight * (label - probability)
        before = hidden.copy()
        hidden[:] = hidden + change * outputs[other]
        outputs[other] += change * before
        return -weight * float(np.log(probability if label else 1 - probability))

    kept = [word for word in passage if random.unit() < keep[word]]
    loss, pairs = 0.0, 0
    for place, word in enumerate(kept):
        reach = 1 + random.below(window)
        targets = kept[max(place - reach, 0) : place] + kept[place + 1 : place + reach + 1]
        if not targets:
            continue
        rows = list(word_rows[word])
        hidden = inputs[rows].mean(axis=0)
        start = hidden.copy()
        draws = max(negatives, -(-len(targets) * negatives // shared))
        drawn = 0
        for number, target in enumerate(targets, start=1):
            loss += meet(target, 1, 1.0)
            while drawn < draws * number / len(targets):
                drawn += 1
                other = table[random.below(len(table))]
                apart = sum(target != other for target in targets)
                if apart:
                    loss += meet(other, 0, apart * negatives / draws)
        for row in rows:
            inputs[row] += hidden - start
        pairs += len(targets)
    return loss, pairs
