"""The machine of `vecio._pickle_machine`, compiled, for files with millions of words: the very same function."""

from __future__ import annotations

from .. import _pickle_machine
from ._jit import jit

run = jit(_pickle_machine.run)
