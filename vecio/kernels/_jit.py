"""How every kernel is compiled: outside the GIL, cached on disk where there is a place to write, compiled without
cache where there is none (a read-only installation without a home), and for whatever arrays it is first given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])


def jit(function: F) -> F:
    """Compile `function` on its first call. Divisions follow numpy (no exception)."""
    options = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no folder for its cache
        return numba.njit(**options)(function)
