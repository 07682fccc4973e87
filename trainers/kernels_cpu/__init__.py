"""Training steps compiled by numba: arrays in, arrays out, no checks, no file access.

Every kernel runs off the GIL. The matrices that a step changes may be changed by several threads at once without locks
("Hogwild", Recht et al. 2011): rows are many, collisions few, and a lost update costs one step of one row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a training step: off the GIL, sums reordered and products fused, cached on disk where that is possible.

    Reordering lets dot products use the vector registers. NaN and infinity keep their meaning, so that a diverging run
    shows itself.
    """
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz", "arcp"}}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba finds no place that it may write to
        return numba.njit(**options)(function)
