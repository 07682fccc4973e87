"""Rows through a square matrix, a million at a time: `matrix.rotate` is the plain twin and gives the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._jit import jit


@jit
def rotate(rows: Any, start: int, stop: int, rotation: Any, out: Any) -> None:
    """Write to `out[i]` the sum of `rows[i, j] * rotation[j]`, added in the order of j, all float32."""
    dim = rotation.shape[0]
    for i in range(start, stop):
        total = np.zeros(rotation.shape[1], np.float32)
        for j in range(dim):
            x = rows[i, j]
            for k in range(rotation.shape[1]):
                total[k] += x * rotation[j, k]
        for k in range(rotation.shape[1]):
            out[i, k] = total[k]
