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
