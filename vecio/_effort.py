"""Decides when the compiled kernels are worth their start.

Importing numba and calling the first kernel costs a process about half a second; plain Python does ten thousands of
look-ups in that time. So plain work reports what it costs, and the kernels are loaded when the work that was done, or
is about to be done, exceeds the price of the start (the ski rental rule: never more than twice the best choice).
"""

from __future__ import annotations

#: Seconds that importing numba and the first compiled call cost (measured: 0.45 to 0.5).
START = 0.45

_spent = 0.0
_loaded = False


def kernels_due(seconds: float) -> bool:
    """Report `seconds` of plain work that is about to be done; return True if the kernels should do it instead."""
    global _spent
    if _loaded:
        return True
    _spent += seconds
    if _spent < START:
        return False
    load()
    return True


def load() -> None:
    """Make every later call use the kernels."""
    global _loaded
    _loaded = True


def loaded() -> bool:
    """Return whether the kernels are in use in this process."""
    return _loaded
