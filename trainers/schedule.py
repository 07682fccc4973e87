"""Learning-rate schedules: plain functions of how much of the training is done.

Not here: the optimisers and the loops that ask for the rate.
"""

from __future__ import annotations


def linear(done: int, total: int, start: float, end: float = 0.0) -> float:
    """Return the rate after `done` of `total` tokens: a straight line from `start` down to `end`.

    Past the end the rate stays at `end`. This is word2vec's and fastText's schedule (`FastText::trainThread`:
    `lr * (1 - progress)`).
    """
    if total <= 0:
        return end
    share = min(max(done / total, 0.0), 1.0)
    return start + (end - start) * share
